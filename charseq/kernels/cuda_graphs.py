"""a step from tensors to tensors -> the same step, on a GPU captured once as a CUDA graph.

A step of a hundred small kernels takes as long as their launches. If shapes are fixed and no value
is read back, a CUDA graph launches all kernels at once. A graph works on memory of its own: a
loop's initial values are copied there, and each step's results are copied over its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Advance = Callable[[Any, Any], Any]
"""(constants, state) -> next state: nested tuples of tensors, and None."""

MAX_GRAPHS = 8
"""Loops that are captured, each with memory of its own; further loops run eagerly."""


class EagerLoop:
    """A loop of single kernels; ``moving`` is the state after each ``step``."""

    def __init__(self, advance: Advance, fixed: Any, moving: Any) -> None:
        self.advance = advance
        self.fixed = fixed
        self.moving = moving

    def step(self) -> None:
        """One step."""
        self.moving = self.advance(self.fixed, self.moving)


class GraphedLoop(EagerLoop):
    """A loop whose step is a CUDA graph on memory of its own."""

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
        """Restart from other values of the same shapes."""
        for target, value in zip(
            leaves((self.fixed, self.moving)), leaves((fixed, moving)), strict=True
        ):
            target.copy_(value)

    def step(self) -> None:
        """One step."""
        self._graph.replay()


class GraphCache:
    """The CUDA graphs of one network, by name and shapes."""

    def __init__(self, device: torch.device) -> None:
        self._enabled = device.type == "cuda"
        self._known: dict[Any, GraphedLoop | None] = {}

    def begin(self, name: str, advance: Advance, fixed: Any, moving: Any) -> EagerLoop:
        """A loop: the first of a name and shapes runs eagerly, the second is captured."""
        key = name, tuple(leaf.shape for leaf in leaves((fixed, moving)))
        found = self._known.get(key)
        if found is None and self._enabled and key in self._known and self._count() < MAX_GRAPHS:
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
    """A deep copy."""
    if isinstance(nest, Tensor):
        return nest.clone()
    if nest is None:
        return None
    parts = [clone(part) for part in nest]
    # a named tuple takes its parts one by one
    return type(nest)(*parts) if hasattr(nest, "_fields") else tuple(parts)


def write_back(targets: Any, values: Any) -> None:
    """Copy each value into its target; values in a target's memory are cloned first."""
    buffers, found = leaves(targets), leaves(values)
    storages = {target.untyped_storage().data_ptr() for target in buffers}
    safe = [
        value
        if value is target or value.untyped_storage().data_ptr() not in storages
        else value.clone()
        for target, value in zip(buffers, found, strict=True)
    ]
    for target, value in zip(buffers, safe, strict=True):
        if value is not target:
            target.copy_(value)
