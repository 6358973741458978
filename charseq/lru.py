"""Least-recently-used cache, bounded in bytes.

It is approximate: entries stand in two generations. When the young generation has half of the
capacity it becomes the old one, and the entries of the old one before it go unless they were asked
for in the meantime. An entry that is found in the young generation, as most are, moves nothing.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

ENTRY_BYTES = 250
"""Bytes of an entry besides its contents: its slot in a dictionary, and the heads of objects."""


class ByteLru(Generic[Key, Value]):
    """A cache of at most ``capacity`` bytes; an entry of more than half of it is not kept."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._young: dict[Key, tuple[Value, int]] = {}
        self._old: dict[Key, tuple[Value, int]] = {}
        self._young_bytes = 0

    def __len__(self) -> int:
        """The number of different keys."""
        return len(self._young.keys() | self._old.keys())

    def __contains__(self, key: Key) -> bool:
        """Whether the key has a value; this does not count as a use of the entry."""
        return key in self._young or key in self._old

    def get(self, key: Key) -> Value | None:
        """The value of a key, or None where it was never put or has been evicted."""
        entry = self._young.get(key)
        if entry is None:
            entry = self._old.get(key)
            if entry is None:
                return None
            self.put(key, *entry)
        return entry[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Keep a value that takes about ``size`` bytes together with its key."""
        taken = size + ENTRY_BYTES
        if 2 * taken > self.capacity:
            return
        if 2 * (self._young_bytes + taken) > self.capacity:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[key] = (value, size)
        self._young_bytes += taken
