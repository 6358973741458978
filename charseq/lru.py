"""keys -> values that were found before, as many as fit into so many bytes.

It knows no texts and no models. What was asked for lately stays: entries stand in two generations,
and when the young one has half of the room it becomes the old one, whose entries go unless they are
asked for again in the meantime. So an entry that is found young, as most are, moves nothing.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

ENTRY = 250
"""Bytes of an entry besides what it holds: its place in a dictionary, and the heads of objects."""


class ByteLru(Generic[Key, Value]):
    """A dictionary of bounded size."""

    def __init__(self, room: int) -> None:
        """``room`` is in bytes; an entry of more than half of it is not kept at all."""
        self.room = room
        self._young: dict[Key, tuple[Value, int]] = {}
        self._old: dict[Key, tuple[Value, int]] = {}
        self._taken = 0

    def __len__(self) -> int:
        """The number of different keys."""
        return len(self._young.keys() | self._old.keys())

    def get(self, key: Key) -> Value | None:
        """What was put there, or None where there is nothing, or no more."""
        entry = self._young.get(key)
        if entry is None:
            entry = self._old.get(key)
            if entry is None:
                return None
            self.put(key, *entry)
        return entry[0]

    def holds(self, key: Key) -> bool:
        """Whether there is something; it is not thereby asked for."""
        return key in self._young or key in self._old

    def put(self, key: Key, value: Value, size: int) -> None:
        """Keep a value, which takes about ``size`` bytes together with its key."""
        taken = size + ENTRY
        if 2 * taken > self.room:
            return
        if 2 * (self._taken + taken) > self.room:
            self._old, self._young, self._taken = self._young, {}, 0
        self._young[key] = (value, size)
        self._taken += taken
