"""a step from tensors to tensors -> the same step, on a GPU recorded once and then played again.

A loop whose step is a hundred small kernels takes as long as it takes to start them. If shapes stay
and nothing asks the device, a CUDA graph starts all of them at once. It works on memory of its own:
what a loop begins with is copied there, what a step gives is copied back over what it was given. It
knows nothing of what is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Advance = Callable[[Any, Any], Any]
"""(what stays, what moves) -> what has moved: nested tuples of tensors, and None."""

MOST = 8
"""Loops that are recorded, each with memory of its own; others run as they are."""


class EagerLoop:
    """A loop as it is: ``moving`` after each ``step``."""

    def __init__(self, advance: Advance, fixed: Any, moving: Any) -> None:
        self.advance = advance
        self.fixed = fixed
        self.moving = moving

    def step(self) -> None:
        """One step."""
        self.moving = self.advance(self.fixed, self.moving)


class GraphedLoop(EagerLoop):
    """A loop on memory of its own, whose step is a graph."""

    def __init__(self, advance: Advance, fixed: Any, moving: Any) -> None:
        super().__init__(advance, clone(fixed), clone(moving))
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            self._graph.capture_begin(capture_error_mode="thread_local")
            try:
                write_back(self.moving, advance(self.fixed, self.moving))
            finally:
                self._graph.capture_end()

    def begin(self, fixed: Any, moving: Any) -> None:
        """Start anew, from other values of the same shapes."""
        for room, value in zip(
            leaves((self.fixed, self.moving)), leaves((fixed, moving)), strict=True
        ):
            room.copy_(value)

    def step(self) -> None:
        """One step."""
        self._graph.replay()


class GraphCache:
    """The recordings of one network."""

    def __init__(self, device: torch.device) -> None:
        self._able = device.type == "cuda"
        self._known: dict[Any, GraphedLoop | None] = {}

    def begin(self, name: str, advance: Advance, fixed: Any, moving: Any) -> EagerLoop:
        """A loop; the second of a name and of shapes is recorded, those after it are played."""
        key = name, tuple(leaf.shape for leaf in leaves((fixed, moving)))
        found = self._known.get(key)
        if found is None and self._able and key in self._known and self._count() < MOST:
            found = self._known[key] = GraphedLoop(advance, fixed, moving)
        if found is None:
            self._known.setdefault(key, None)
            return EagerLoop(advance, fixed, moving)
        found.begin(fixed, moving)
        return found

    def _count(self) -> int:
        return sum(one is not None for one in self._known.values())


def leaves(nest: Any) -> list[Tensor]:
    """The tensors of nested tuples, in order."""
    if isinstance(nest, Tensor):
        return [nest]
    return [] if nest is None else [leaf for part in nest for leaf in leaves(part)]


def clone(nest: Any) -> Any:
    """The same with copies of the tensors."""
    if isinstance(nest, Tensor):
        return nest.clone()
    if nest is None:
        return None
    parts = [clone(part) for part in nest]
    # a tuple with names takes its parts one by one
    return type(nest)(*parts) if hasattr(nest, "_fields") else tuple(parts)


def write_back(rooms: Any, values: Any) -> None:
    """Each value into its room; values that are in a room themselves are kept safe first."""
    places, found = leaves(rooms), leaves(values)
    kept = {room.untyped_storage().data_ptr() for room in places}
    safe = [
        value if value is room or value.untyped_storage().data_ptr() not in kept else value.clone()
        for room, value in zip(places, found, strict=True)
    ]
    for room, value in zip(places, safe, strict=True):
        if value is not room:
            room.copy_(value)
