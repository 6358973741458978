"""ids -> length buckets -> padded batches: ``batches[step]`` is a function of (seed, step).

Texts of similar length share a batch and the rest is padded (sheet E). The order of the data has
no state: every pass over the data is a permutation drawn from (seed, epoch), so a resumed run reads
on exactly where it stopped, and rank r of W may take ``batches[step * W + r]``.

Three orders of the data: ``Batches`` of pairs, ``Lines`` of a text by themselves, and a text as a
``Stream`` that every row of a batch reads on where it stopped in the batch before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from charseq.data.storage import as_ragged
from charseq.data.text.vocabulary import BOS, EOS, PAD

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Ids = Sequence[int]

MINGLED = 0.1
"""Half-width of the noise on the logarithm of a length, so that buckets differ between epochs."""


MAX_DRAWN = 2**20
"""Examples whose order is drawn together."""


@dataclass(frozen=True)
class Batch:
    """Padded rows of ids; ``inputs`` begin with BOS, ``labels`` are the same shifted, with EOS."""

    source: Int[np.ndarray, "B S"]
    """Of no columns where there are no pairs."""
    source_lengths: Int[np.ndarray, "B"]
    inputs: Int[np.ndarray, "B T"]
    labels: Int[np.ndarray, "B T"]
    weights: Float[np.ndarray, "B"]
    goes_on: bool = False
    """Whether each row of the next batch begins where the row ends in this one."""


class Batches:
    """All batches of a training run, by number; ``len`` is the number of batches in an epoch.

    Of more than ``MOST_DRAWN`` examples an epoch is drawn in parts, one after the other: every
    k-th example belongs to the same part, so that each is like the whole. The order then takes no
    more memory than that of one part.
    """

    def __init__(
        self,
        sources: Sequence[Ids],
        targets: Sequence[Ids],
        *,
        weights: Sequence[float] | Float[np.ndarray, "N"] | None = None,
        batch_size: int = 64,
        seed: int = 1,
    ) -> None:
        if len(sources) != len(targets):
            raise ValueError(f"{len(sources)} sources and {len(targets)} targets")
        self.sources = as_ragged(sources)
        self.targets = as_ragged(targets)
        self._weights: Float[np.ndarray, "_"] | None = None
        if weights is not None:
            given = np.asarray(weights, dtype=np.float64)
            self._weights = (given / given.mean()).astype(np.float32)
        self.batch_size = batch_size
        self.seed = seed
        count = len(sources)
        self._parts = max(1, -(-count // MAX_DRAWN))
        sizes = [len(range(part, count, self._parts)) for part in range(self._parts)]
        self._batches = np.array([-(-size // batch_size) for size in sizes])
        self._plan = lru_cache(maxsize=2)(self._draw)

    def __len__(self) -> int:
        return int(self._batches.sum())

    def __getitem__(self, step: int) -> Batch:
        """The batch of ``step`` = 0, 1, 2, …, without end."""
        return self.collate(self.rows(step))

    def rows(self, step: int) -> Int[np.ndarray, "B"]:
        """The examples in the batch of ``step``."""
        epoch, place = divmod(step, len(self))
        if self._parts == 1:
            return self._plan(epoch, 0)[place]
        order = np.random.default_rng([self.seed, epoch]).permutation(self._parts)
        ends = self._batches[order].cumsum()
        turn = int(np.searchsorted(ends, place, side="right"))
        part = int(order[turn])
        return self._plan(epoch, part)[place - int(ends[turn] - self._batches[part])]

    @property
    def weights(self) -> Float[np.ndarray, "N"]:
        """The weight of each example; their mean is 1."""
        if self._weights is None:
            return np.ones(len(self.sources), dtype=np.float32)
        return self._weights

    @property
    def lengths(self) -> Int[np.ndarray, "N 2"]:
        """The symbols of source and target of each example."""
        return np.stack([self.sources.lengths, self.targets.lengths], axis=1)

    def collate(self, rows: Sequence[int] | Int[np.ndarray, "B"]) -> Batch:
        """The batch of the examples ``rows``."""
        rows = np.asarray(rows)
        read, inside, lengths = self.sources.take(rows)
        source = np.full(inside.shape, PAD, dtype=np.int64)
        source[inside] = read
        written, inside, ends = self.targets.take(rows)
        inputs = np.full((len(rows), inside.shape[1] + 1), PAD, dtype=np.int64)
        labels = inputs.copy()
        inputs[:, 0] = BOS
        inputs[:, 1:][inside] = written
        labels[:, :-1][inside] = written
        labels[np.arange(len(rows)), ends] = EOS
        weights = np.ones(len(rows), dtype=np.float32)
        if self._weights is not None:
            weights = self._weights[rows]
        return Batch(source, lengths, inputs, labels, weights)

    def _draw(self, epoch: int, part: int) -> list[Int[np.ndarray, "B"]]:
        """The rows of every batch of one epoch, or of a part of it."""
        places = np.arange(part, len(self.sources), self._parts)
        seed = [self.seed, epoch] if self._parts == 1 else [self.seed, epoch, part]
        random = np.random.default_rng(seed)
        total = len(places)
        noise = random.uniform(-MINGLED, MINGLED, size=(total, 2))
        offsets = (self.sources.offsets, self.targets.offsets)
        lengths = np.stack([each[places + 1] - each[places] for each in offsets], axis=1)
        keys = np.log1p(lengths) + noise
        # the first key decides coarsely, the second finely: both sides end up with little padding
        coarse = np.round(keys[:, 0] * 8)
        order = np.lexsort((random.permutation(total), keys[:, 1], coarse))
        return _cut(places[order], self.batch_size, random)


class LineBatches:
    """Lines of a text, each by itself, read from BOS and predicted to EOS.

    ``ids`` are those of all lines one after another, without EOS, and may be a file mapped into
    memory; line i is ``ids[offsets[i]:offsets[i + 1]]``. An epoch's plan takes a few numbers a
    line.
    """

    def __init__(
        self,
        ids: Int[np.ndarray, "_"],
        offsets: Int[np.ndarray, "_"],
        *,
        batch_size: int = 64,
        seed: int = 1,
    ) -> None:
        self.ids = ids
        self.offsets = offsets
        self.batch_size = batch_size
        self.seed = seed
        self._plan = lru_cache(maxsize=1)(self._draw)

    def __len__(self) -> int:
        return -(-(len(self.offsets) - 1) // self.batch_size)

    def __getitem__(self, step: int) -> Batch:
        """The batch of ``step`` = 0, 1, 2, …, without end."""
        return self.collate(self.rows(step))

    def rows(self, step: int) -> Int[np.ndarray, "B"]:
        """The lines in the batch of ``step``."""
        epoch, place = divmod(step, len(self))
        return self._plan(epoch)[place]

    def collate(self, rows: Sequence[int] | Int[np.ndarray, "B"]) -> Batch:
        """The batch of the lines ``rows``."""
        lines = [self.ids[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        return _text(
            pad([np.concatenate([[BOS], line]) for line in lines]),
            pad([np.concatenate([line, [EOS]]) for line in lines]),
        )

    def _draw(self, epoch: int) -> list[Int[np.ndarray, "B"]]:
        """The lines of every batch of one epoch."""
        random = np.random.default_rng([self.seed, epoch])
        keys = np.log1p(np.diff(self.offsets))
        keys += random.uniform(-MINGLED, MINGLED, size=len(keys))
        return _cut(np.argsort(keys), self.batch_size, random)


class StreamBatches:
    """A text read without a break, in as many places at once as a batch has rows.

    The text is its lines (see :class:`Lines`) with EOS after each, closed to a circle of N symbols
    and cut at a place drawn for each epoch into B rows of N // B symbols; the N mod B symbols left
    over change from epoch to epoch. A row's input is the symbol before its label, so a line begins
    with EOS, and BOS never occurs. Batches have ``steps`` columns, or a few less, so that those of
    an epoch are about equal.
    """

    def __init__(
        self,
        ids: Int[np.ndarray, "_"],
        offsets: Int[np.ndarray, "_"],
        *,
        batch_size: int = 64,
        steps: int = 64,
        seed: int = 1,
    ) -> None:
        self.ids = ids
        self.seed = seed
        self._ends = offsets[1:] + np.arange(len(offsets) - 1)  # where EOS stands in the circle
        self._size = len(ids) + len(self._ends)
        self._rows = min(batch_size, self._size)
        self._columns = self._size // self._rows
        self._count = -(-self._columns // steps)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, step: int) -> Batch:
        """The batch of ``step`` = 0, 1, 2, …, without end."""
        epoch, place = divmod(step, len(self))
        cut = int(np.random.default_rng([self.seed, epoch]).integers(self._size))
        begin, end = (self._columns * k // self._count for k in (place, place + 1))
        rows = np.stack(
            [
                self._read(cut + row * self._columns + begin - 1, end - begin + 1)
                for row in range(self._rows)
            ]
        )
        inputs, labels = rows[:, :-1].copy(), rows[:, 1:].copy()
        return _text(inputs, labels, goes_on=place + 1 < self._count)

    def _read(self, begin: int, count: int) -> Int[np.ndarray, "T"]:
        """``count`` symbols of the circle."""
        begin %= self._size
        end = min(begin + count, self._size)
        first, last = np.searchsorted(self._ends, [begin, end])
        found = np.full(end - begin, EOS, dtype=np.int64)
        words = np.ones(end - begin, dtype=bool)
        words[self._ends[first:last] - begin] = False
        found[words] = self.ids[begin - first : end - last]
        left = count - len(found)
        return np.concatenate([found, self._read(0, left)]) if left else found


def _text(
    inputs: Int[np.ndarray, "B T"], labels: Int[np.ndarray, "B T"], *, goes_on: bool = False
) -> Batch:
    """A batch without sources, whose rows weigh the same."""
    rows = len(inputs)
    return Batch(
        source=np.empty((rows, 0), dtype=np.int64),
        source_lengths=np.zeros(rows, dtype=np.int64),
        inputs=inputs,
        labels=labels,
        weights=np.ones(rows, dtype=np.float32),
        goes_on=goes_on,
    )


def _cut(
    order: Int[np.ndarray, "_"], size: int, random: np.random.Generator
) -> list[Int[np.ndarray, "_"]]:
    """An order in pieces of ``size``, the pieces in disorder."""
    cuts = [order[i : i + size] for i in range(0, len(order), size)]
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
