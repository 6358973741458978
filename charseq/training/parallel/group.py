"""The ranks of a data-parallel training: this process is rank 0, its children are the others.

    with group:                      starts the children
        group.gradient(batch, ...)   every rank computes the gradient of its rows
        group.add_up(...)            every rank adds up a slice of the gradients
        group.update(...)            every rank updates a slice of the weights

Until the children are ready, this process does the jobs of all ranks in turn, which gives the same
bits. A rank waits in a system call, so that it takes nothing from other programs. Nothing of a
group has a name in the file system.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from charseq.data.batches import Batch
from charseq.errors import TrainingError
from charseq.models.loss import TrainableModel
from charseq.process import ChildProcess, terminate
from charseq.training.parallel.gradient import Sums, split
from charseq.training.parallel.rank import Layout, Memory, Rank, flatten_into

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from jaxtyping import Float

    from charseq.kernels import adamw

WORKER = "charseq.training.parallel.worker"
GRACE = 2.0
"""Seconds that a child has to end, which waits for a job or computes the last one."""

Build = Callable[[], TrainableModel]


class Group:
    """Ranks that share every batch, and the memory of a training."""

    def __init__(
        self,
        model: TrainableModel,
        ranks: int,
        *,
        precision: torch.dtype = torch.float32,
        smoothing: float = 0.0,
        seed: int = 1,
        build: Build | None = None,
    ) -> None:
        """Move the parameters of ``model`` into shared memory.

        ``build`` makes a network of the same shapes in another process, and has to be picklable;
        without it this process does all jobs.
        """
        parameters = list(model.parameters())
        self.layout = Layout(
            sum(value.numel() for value in parameters),
            ranks,
            parameters[0].dtype,
            precision,
            smoothing,
            seed,
        )
        self.memory = Memory(self.layout)
        self.weights: nn.Parameter = flatten_into(self.memory, parameters)
        self.rank = Rank(model, self.memory, self.layout)
        self._dropout_factor = 1.0
        self.split = True
        """Whether batches are shared. If not, a step is that of a training without a group."""
        self._build = build
        self._children: list[ChildProcess] = []
        self._pipes: list[Connection] = []
        self._waiting: list[Connection] = []

    @property
    def ranks(self) -> int:
        """The number of ranks."""
        return self.layout.ranks

    @property
    def processes(self) -> list[int]:
        """The numbers of the child processes."""
        return [child.process.pid for child in self._children]

    def __enter__(self) -> Group:
        """Start the children, which take seconds to be ready."""
        if self._build is None:
            return self
        for _ in range(1, self.ranks):
            own, other = Pipe()
            handles = (other.fileno(), self.memory.handle)
            child = ChildProcess(WORKER, handles=handles)
            other.close()
            child.send({"socket": handles[0], "memory": handles[1]})
            self._children.append(child)
            self._pipes.append(own)
            with suppress(OSError):  # a child that has ended is found out by what it answers
                own.send((self._build, self.layout))
        self._waiting = list(self._pipes)
        return self

    def __exit__(self, *_fault: object) -> None:
        """End the children, even in the middle of a job, and wait for them."""
        for pipe in self._pipes:
            pipe.close()
        terminate(self._children, GRACE)
        for child in self._children:
            child.end()
        self._children, self._pipes, self._waiting = [], [], []

    def ready(self, *, wait: bool = False) -> bool:
        """Whether the children do their jobs from now on; with ``wait`` as soon as they can.

        Raises:
            TrainingError: one of them has ended.
        """
        while self._waiting and (wait or self._waiting[-1].poll()):
            self._receive(self._waiting[-1])
            self._waiting.pop()
        return bool(self._pipes) and not self._waiting

    def scale_dropout(self, factor: float) -> None:
        """Set every dropout of all ranks to ``factor`` times what it was at first."""
        self._dropout_factor = factor

    def gradient(
        self, batch: Batch, step: int, state: Float[np.ndarray, "L K B H"] | None
    ) -> tuple[Sums, int]:
        """Sums over all rows of a batch, and the number of ranks that had rows.

        Every rank's gradient is in its row of the memory. ``state`` is that before the batch.

        Raises:
            MemoryError: memory is short in one of the processes.
            TrainingError: one of them has ended.
        """
        ranks, parts = self.ranks, split(batch, self.ranks)
        jobs = [
            (rank, step, part, None if state is None else _rows(state, rank, ranks))
            for rank, part in enumerate(parts)
        ]
        found: list[Sums] = self._do("compute", jobs, dropout_factor=self._dropout_factor)
        after = None
        if found[0].state is not None:
            shape = list(found[0].state.shape)
            shape[2] = len(batch.weights)
            after = np.empty(shape, dtype=found[0].state.dtype)
            for rank, one in enumerate(found):
                after[:, :, rank::ranks] = one.state
        total, count = sum(one.total for one in found), sum(one.count for one in found)
        return Sums(total, count, after), len(parts)

    def add_up(self, used: int) -> float:
        """The norm of the sum of the first ``used`` gradients, which is in the first of them."""
        squares: list[float] = self._do("add_up", [(rank, used) for rank in range(self.ranks)])
        return float(np.sqrt(sum(squares)))

    def update(self, by: adamw.StepSizes, steps: int, *, averaged: bool) -> None:
        """A step of AdamW by the compiled library, a slice of the weights in every rank."""
        jobs = [(rank, by, steps) for rank in range(self.ranks)]
        self._do("update", jobs, averaged=averaged)

    def _do(self, name: str, jobs: list[tuple[Any, ...]], **options: Any) -> list[Any]:
        """The results of a rank's method for the job of each rank, in their order."""
        own = getattr(self.rank, name)
        if not self.ready():
            return [own(*job, **options) for job in jobs]
        others = self._pipes[: len(jobs) - 1]
        for pipe, job in zip(others, jobs[1:], strict=True):
            with suppress(OSError):
                pipe.send((name, (job, options)))
        return [own(*jobs[0], **options), *map(self._receive, others)]

    def _receive(self, pipe: Connection) -> Any:
        try:
            found = pipe.recv()
        except (EOFError, OSError):
            number = self._pipes.index(pipe)
            child = self._children[number]
            child.process.kill()
            end = child.end() or "has ended"
            raise TrainingError(
                f"process {number + 2} of {self.ranks} {end}; the same training goes on from what "
                "is saved"
            ) from None
        if isinstance(found, MemoryError):
            raise found
        return found


def _rows(state: Float[np.ndarray, "L K B H"], rank: int, ranks: int) -> np.ndarray:
    """The state of the rows of a rank."""
    return np.ascontiguousarray(state[:, :, rank::ranks])
