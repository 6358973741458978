"""ids -> length buckets -> padded batches: ``batches[step]`` is a function of (seed, step).

Texts of similar length share a batch and the rest is padded (sheet E). The order of the data has
no state: every pass over the data is a permutation drawn from (seed, epoch), so a resumed run reads
on exactly where it stopped, and rank r of W may take ``batches[step * W + r]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from charseq.vocabulary import BOS, EOS, PAD

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Ids = Sequence[int]

MINGLED = 0.1
"""Half-width of the noise on the logarithm of a length, so that buckets differ between epochs."""


@dataclass(frozen=True)
class Batch:
    """Padded rows of ids; ``inputs`` begin with BOS, ``labels`` are the same shifted, with EOS."""

    source: Int[np.ndarray, "B S"]
    source_lengths: Int[np.ndarray, "B"]
    inputs: Int[np.ndarray, "B T"]
    labels: Int[np.ndarray, "B T"]
    weights: Float[np.ndarray, "B"]


class Batches:
    """All batches of a training run, by number; ``len`` is the number of batches in an epoch."""

    def __init__(
        self,
        sources: Sequence[Ids],
        targets: Sequence[Ids],
        *,
        weights: Sequence[float] | None = None,
        batch_size: int = 64,
        seed: int = 1,
    ) -> None:
        self.sources = [np.asarray(ids, dtype=np.int64) for ids in sources]
        self.targets = [np.asarray(ids, dtype=np.int64) for ids in targets]
        given = np.ones(len(sources)) if weights is None else np.asarray(weights, dtype=np.float64)
        self.weights = (given / given.mean()).astype(np.float32)
        self.lengths = np.array(
            [[len(s), len(t)] for s, t in zip(self.sources, self.targets, strict=True)]
        )
        self.batch_size = batch_size
        self.seed = seed
        self._plan = lru_cache(maxsize=2)(self._draw)

    def __len__(self) -> int:
        return -(-len(self.sources) // self.batch_size)

    def __getitem__(self, step: int) -> Batch:
        """The batch of ``step`` = 0, 1, 2, …, without end."""
        epoch, place = divmod(step, len(self))
        return self.collate(self._plan(epoch)[place])

    def collate(self, rows: Sequence[int] | Int[np.ndarray, "B"]) -> Batch:
        """The batch of the examples ``rows``."""
        targets = [self.targets[row] for row in rows]
        lengths = np.array([len(self.sources[row]) for row in rows])
        return Batch(
            source=pad([self.sources[row] for row in rows]),
            source_lengths=lengths,
            inputs=pad([np.concatenate([[BOS], target]) for target in targets]),
            labels=pad([np.concatenate([target, [EOS]]) for target in targets]),
            weights=self.weights[np.asarray(rows)],
        )

    def _draw(self, epoch: int) -> list[Int[np.ndarray, "B"]]:
        """The rows of every batch of one epoch."""
        random = np.random.default_rng([self.seed, epoch])
        total = len(self.sources)
        noise = random.uniform(-MINGLED, MINGLED, size=(total, 2))
        keys = np.log1p(self.lengths) + noise
        # the first key decides coarsely, the second finely: both sides end up with little padding
        coarse = np.round(keys[:, 0] * 8)
        order = np.lexsort((random.permutation(total), keys[:, 1], coarse))
        cuts = [order[i : i + self.batch_size] for i in range(0, total, self.batch_size)]
        return [cuts[i] for i in random.permutation(len(cuts))]


def pad(rows: Sequence[Int[np.ndarray, "_"]]) -> Int[np.ndarray, "B T"]:
    """Rows of different lengths in one array, filled up with ``PAD`` at the end."""
    padded = np.full((len(rows), max((len(row) for row in rows), default=0)), PAD, dtype=np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded


def buckets(lengths: Sequence[int], *, width: int, size: int) -> list[list[int]]:
    """Rows grouped so that all lengths of a group round up to the same multiple of ``width``.

    What is computed for a row then depends on its own length only, never on its neighbours'.
    Groups hold ``size`` rows at most; rows keep their order inside a length.
    """
    groups: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        groups.setdefault(-(-length // width), []).append(row)
    return [
        rows[start : start + size]
        for _, rows in sorted(groups.items())
        for start in range(0, len(rows), size)
    ]
