"""Weights, their average, AdamW's moments, the gradients of all ranks: memory that processes share.

Every rank computes the gradient of its rows into its own row of the memory. Then every rank adds up
one slice of all gradients, in the order of the ranks, and updates the weights in that slice. Who
computes is free: the same jobs in one process or in several give the same bits.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from charseq.data.batches import Batch
from charseq.kernels import adamw
from charseq.models.device import seed_all
from charseq.models.loss import TrainableModel
from charseq.training.parallel.gradient import Sums, loss_of, to_tensors

if TYPE_CHECKING:
    from jaxtyping import Float

_LINE = 64
"""Bytes of a line of the cache: two processes write to none of the same lines."""


def can_share() -> bool:
    """Whether the system has memory without a name, which nobody has to clean up."""
    return hasattr(os, "memfd_create")


@dataclass(frozen=True)
class Layout:
    """The sizes of the shared memory, and how a rank computes."""

    size: int
    """Number of weights."""
    ranks: int
    dtype: torch.dtype
    precision: torch.dtype
    """Number format of products."""
    smoothing: float
    seed: int

    @property
    def row(self) -> int:
        """Numbers of a row of the memory."""
        each = _LINE // self.dtype.itemsize
        return -(-self.size // each) * each

    def part(self, rank: int) -> slice:
        """The numbers that a rank adds up and updates."""
        each = _LINE // self.dtype.itemsize
        lines = self.row // each
        begin, end = (each * (lines * k // self.ranks) for k in (rank, rank + 1))
        return slice(min(begin, self.size), min(end, self.size))


class Memory:
    """The arrays of a data-parallel training in anonymous memory, which is filled with zeros.

    ``handle`` is its file descriptor, for processes that are started with it.
    """

    def __init__(self, layout: Layout, handle: int | None = None) -> None:
        """Make the memory, or open that of another process.

        Raises:
            MemoryError: there is not enough.
        """
        rows = 4 + layout.ranks
        size = rows * layout.row * layout.dtype.itemsize
        self.handle = os.memfd_create("charseq") if handle is None else handle
        self.close = weakref.finalize(self, os.close, self.handle)
        """Close the descriptor; the memory is freed with the last array in it."""
        try:
            if handle is None:
                os.ftruncate(self.handle, size)
            self._map = mmap.mmap(self.handle, size)
        except OSError as fault:
            raise MemoryError(f"{size / 1e6:,.0f} MB of shared memory: {fault}") from None
        flat = torch.frombuffer(self._map, dtype=layout.dtype).view(rows, layout.row)
        self.weights, self.average, self.exp_avg, self.exp_avg_sq, *self.gradients = (
            flat[row, : layout.size] for row in range(rows)
        )


class Rank:
    """The jobs of a rank, by a model whose parameters are views into the shared weights."""

    def __init__(self, model: TrainableModel, memory: Memory, layout: Layout) -> None:
        self.model = model
        self.memory = memory
        self.layout = layout
        self._dropout_factor = 1.0
        offset = 0
        self._views: list[list[Tensor]] = [[] for _ in memory.gradients]
        for value in model.parameters():
            part = slice(offset, offset + value.numel())
            value.data = memory.weights[part].view_as(value)
            for views, gradient in zip(self._views, memory.gradients, strict=True):
                views.append(gradient[part].view_as(value))
            offset += value.numel()

    def compute(
        self,
        rank: int,
        step: int,
        batch: Batch,
        state: Float[np.ndarray, "L K B H"] | None,
        *,
        dropout_factor: float = 1.0,
    ) -> Sums:
        """The gradient of the sum of the losses, into the row of a rank."""
        if dropout_factor != self._dropout_factor:
            self._dropout_factor = dropout_factor
            self.model.scale_dropout(dropout_factor)
        self.memory.gradients[rank].zero_()
        for value, view in zip(self.model.parameters(), self._views[rank], strict=True):
            value.grad = view
        layout = self.layout
        seed_all(layout.seed, step, rank)
        before = None if state is None else torch.from_numpy(state)
        given = to_tensors(batch, before, torch.device("cpu"))
        found = loss_of(self.model, given, precision=layout.precision, smoothing=layout.smoothing)
        found.total.backward()
        after = None
        if batch.continues and found.state is not None:
            after = found.state.detach().to(layout.dtype).numpy()
        return Sums(float(found.total.detach()), float(found.count), after)

    def add_up(self, rank: int, used: int) -> float:
        """The sum of the first ``used`` gradients in the slice of a rank, into the first row.

        Returns:
            the sum of its squares.
        """
        part = self.layout.part(rank)
        total = self.memory.gradients[0][part]
        for other in self.memory.gradients[1:used]:
            total += other[part]
        return float(torch.linalg.vector_norm(total)) ** 2 if total.numel() else 0.0

    def update(self, rank: int, by: adamw.StepSizes, steps: int, *, averaged: bool) -> None:
        """The slice of a rank after a step of AdamW by the sum of the gradients.

        ``steps`` are those of AdamW before this one.
        """
        part, memory = self.layout.part(rank), self.memory
        moments = {name: getattr(memory, name)[part] for name in ("exp_avg", "exp_avg_sq")}
        moments["step"] = torch.tensor(float(steps))
        average = memory.average[part] if averaged else None
        adamw.advance(memory.weights[part], memory.gradients[0][part], moments, average, by)


def flatten_into(memory: Memory, parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    """The shared weights with the values of a model's parameters, as one parameter."""
    with torch.no_grad():
        torch.cat([value.detach().reshape(-1) for value in parameters], out=memory.weights)
    return nn.Parameter(memory.weights)
