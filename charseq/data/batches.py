"""ids -> length buckets -> padded batches: ``batches[step]`` is a function of (seed, step).

Texts of similar length share a batch, and the shorter ones are padded (sheet E). Texts out of all
proportion have batches of their own, with so few rows that no batch takes much more memory than the
others (:func:`outlier_batches`).

The order of the data has no state: an epoch is a permutation drawn from (seed, epoch). A resumed
run therefore reads the same batches as an uninterrupted one, and rank r of W may take
``batches[step * W + r]``.

There are three orders of the data: ``Batches`` of pairs, ``LineBatches`` of a text's lines, each by
itself, and ``StreamBatches`` of a running text, where every row of a batch continues the same row
of the batch before (truncated backpropagation through time).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from charseq.data.storage import as_ragged
from charseq.data.text.vocabulary import BOS, EOS, PAD

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Integer

Ids = Sequence[int]

LENGTH_NOISE = 0.1
"""Half-width of the noise on the logarithm of a length: buckets differ between epochs."""
MAX_SHUFFLED = 2**20
"""Examples that are shuffled at once; an epoch of more examples is shuffled in parts."""
MIN_OUTLIER = 256
"""Symbols up to which no text is an outlier."""
MAX_LINE = 2**14
"""Symbols of a line that are read at once; a longer line is read as several."""
OUTLIER_FACTOR = 4
"""Multiple of the median length up to which no text is an outlier."""


@dataclass(frozen=True)
class Batch:
    """Padded rows of ids; ``inputs`` begin with BOS, ``labels`` are one step ahead, with EOS."""

    source: Int[np.ndarray, "B S"]
    """Without columns where the data are a text."""
    source_lengths: Int[np.ndarray, "B"]
    inputs: Int[np.ndarray, "B T"]
    labels: Int[np.ndarray, "B T"]
    weights: Float[np.ndarray, "B"]
    continues: bool = False
    """Whether the rows of the next batch continue the rows of this one."""


class Batches:
    """The batches of pairs by step; ``len`` is the number of batches in an epoch.

    An epoch of more than ``MAX_SHUFFLED`` examples is shuffled in parts. Every k-th example belongs
    to the same part, so each part is a sample of the whole. Only the order of one part is in
    memory. The length of an example is that of its longer side.

    Args:
        sources: ids of each source.
        targets: ids of each target, without BOS and EOS.
        weights: a weight of each example, in any scale; None: all are equal.
        batch_size: examples of a batch; the last batch of an epoch may have fewer, and batches of
            outliers have fewer.
        seed: of the order.

    Raises:
        ValueError: different numbers of sources and targets.
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
        self._parts = max(1, -(-count // MAX_SHUFFLED))
        sides = (self.sources.offsets, self.targets.offsets)
        self.longest, self._outliers = outlier_batches(sides, batch_size)
        self._batches = np.array(
            [
                -(-len(self._ordinary(part)) // batch_size)
                + len(self._outliers[part :: self._parts])
                for part in range(self._parts)
            ]
        )
        self._order = lru_cache(maxsize=2)(self._shuffle)

    def __len__(self) -> int:
        return int(self._batches.sum())

    def __getitem__(self, step: int) -> Batch:
        """The batch of ``step`` = 0, 1, 2, …: epochs follow each other without end."""
        return self.collate(self.rows(step))

    def rows(self, step: int) -> Int[np.ndarray, "B"]:
        """The examples in the batch of ``step``."""
        epoch, number = divmod(step, len(self))
        if self._parts == 1:
            return self._order(epoch, 0)[number]
        order = np.random.default_rng([self.seed, epoch]).permutation(self._parts)
        ends = self._batches[order].cumsum()
        turn = int(np.searchsorted(ends, number, side="right"))
        part = int(order[turn])
        return self._order(epoch, part)[number - int(ends[turn] - self._batches[part])]

    @property
    def weights(self) -> Float[np.ndarray, "N"]:
        """The weight of each example; their mean is 1."""
        if self._weights is None:
            return np.ones(len(self.sources), dtype=np.float32)
        return self._weights

    @property
    def lengths(self) -> Int[np.ndarray, "N 2"]:
        """The numbers of symbols of source and target of each example."""
        return np.stack([self.sources.lengths, self.targets.lengths], axis=1)

    def collate(self, rows: Sequence[int] | Int[np.ndarray, "B"]) -> Batch:
        """The batch of the examples ``rows``."""
        rows = np.asarray(rows)
        ids, mask, lengths = self.sources.take(rows)
        source = np.full(mask.shape, PAD, dtype=np.int64)
        source[mask] = ids
        ids, mask, ends = self.targets.take(rows)
        inputs = np.full((len(rows), mask.shape[1] + 1), PAD, dtype=np.int64)
        labels = inputs.copy()
        inputs[:, 0] = BOS
        inputs[:, 1:][mask] = ids
        labels[:, :-1][mask] = ids
        labels[np.arange(len(rows)), ends] = EOS
        weights = np.ones(len(rows), dtype=np.float32)
        if self._weights is not None:
            weights = self._weights[rows]
        return Batch(source, lengths, inputs, labels, weights)

    def _shuffle(self, epoch: int, part: int) -> list[Int[np.ndarray, "B"]]:
        """The examples of every batch of one epoch, or of a part of it."""
        examples = self._ordinary(part)
        seed = [self.seed, epoch] if self._parts == 1 else [self.seed, epoch, part]
        random = np.random.default_rng(seed)
        total = len(examples)
        noise = random.uniform(-LENGTH_NOISE, LENGTH_NOISE, size=(total, 2))
        offsets = (self.sources.offsets, self.targets.offsets)
        lengths = np.stack([each[examples + 1] - each[examples] for each in offsets], axis=1)
        keys = np.log1p(lengths) + noise
        # Sorted by rounded source lengths, then by target lengths: both sides get little padding.
        coarse = np.round(keys[:, 0] * 8)
        order = np.lexsort((random.permutation(total), keys[:, 1], coarse))
        outliers = self._outliers[part :: self._parts]
        return _cut(examples[order], self.batch_size, random, outliers)

    def _ordinary(self, part: int) -> Int[np.ndarray, "_"]:
        """The examples of a part that are no outliers."""
        return _without(np.arange(part, len(self.sources), self._parts), self._outliers)


class LineBatches:
    """The batches of a text's lines; each line is read from BOS and predicted to EOS.

    A line of more than ``MAX_LINE`` symbols is read as several lines, so that it takes a bounded
    memory. ``ids`` are the ids of all lines, without EOS, and may be a memory-mapped file; line i
    is ``ids[offsets[i]:offsets[i + 1]]``. The order of an epoch takes a few numbers for each line.
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
        self.offsets = offsets = _divide_lines(offsets)
        self.batch_size = batch_size
        self.seed = seed
        self.longest, self._outliers = outlier_batches((offsets,), batch_size)
        self._order = lru_cache(maxsize=1)(self._shuffle)

    def __len__(self) -> int:
        ordinary = len(self.offsets) - 1 - sum(map(len, self._outliers))
        return -(-ordinary // self.batch_size) + len(self._outliers)

    def __getitem__(self, step: int) -> Batch:
        """The batch of ``step`` = 0, 1, 2, …: epochs follow each other without end."""
        return self.collate(self.rows(step))

    def rows(self, step: int) -> Int[np.ndarray, "B"]:
        """The lines in the batch of ``step``."""
        epoch, number = divmod(step, len(self))
        return self._order(epoch)[number]

    def collate(self, rows: Sequence[int] | Int[np.ndarray, "B"]) -> Batch:
        """The batch of the lines ``rows``."""
        lines = [self.ids[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        return _text(
            pad([np.concatenate([[BOS], line]) for line in lines]),
            pad([np.concatenate([line, [EOS]]) for line in lines]),
        )

    def _shuffle(self, epoch: int) -> list[Int[np.ndarray, "B"]]:
        """The lines of every batch of one epoch."""
        random = np.random.default_rng([self.seed, epoch])
        lines = _without(np.arange(len(self.offsets) - 1), self._outliers)
        keys = np.log1p(np.diff(self.offsets)[lines])
        keys += random.uniform(-LENGTH_NOISE, LENGTH_NOISE, size=len(keys))
        return _cut(lines[np.argsort(keys)], self.batch_size, random, self._outliers)


class StreamBatches:
    """The batches of a running text; each row of a batch reads another part of the text.

    The text is a circle of N symbols: its lines (see :class:`LineBatches`), each with EOS at its
    end. For each epoch a position is drawn, from which the circle is cut into B rows of N // B
    symbols; the last N mod B symbols are left out. The input of a step is the symbol before its
    label, so a line begins with EOS, and BOS never occurs. Batches have ``steps`` columns or a few
    less, and are about equally wide.
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
        self._ends = offsets[1:] + np.arange(len(offsets) - 1)  # positions of EOS
        self._size = len(ids) + len(self._ends)
        self._rows = min(batch_size, self._size)
        self._columns = self._size // self._rows
        self._count = -(-self._columns // steps)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, step: int) -> Batch:
        """The batch of ``step`` = 0, 1, 2, …: epochs follow each other without end."""
        epoch, number = divmod(step, len(self))
        cut = int(np.random.default_rng([self.seed, epoch]).integers(self._size))
        begin, end = (self._columns * k // self._count for k in (number, number + 1))
        rows = np.stack(
            [
                self._read(cut + row * self._columns + begin - 1, end - begin + 1)
                for row in range(self._rows)
            ]
        )
        inputs, labels = rows[:, :-1].copy(), rows[:, 1:].copy()
        return _text(inputs, labels, continues=number + 1 < self._count)

    def _read(self, begin: int, count: int) -> Int[np.ndarray, "T"]:
        """``count`` symbols of the circle, from position ``begin``."""
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
    inputs: Int[np.ndarray, "B T"], labels: Int[np.ndarray, "B T"], *, continues: bool = False
) -> Batch:
    """A batch of text: it has no sources, and all weights are 1."""
    rows = len(inputs)
    return Batch(
        source=np.empty((rows, 0), dtype=np.int64),
        source_lengths=np.zeros(rows, dtype=np.int64),
        inputs=inputs,
        labels=labels,
        weights=np.ones(rows, dtype=np.float32),
        continues=continues,
    )


def _divide_lines(offsets: Int[np.ndarray, "_"]) -> Int[np.ndarray, "_"]:
    """The offsets of lines of up to ``MAX_LINE`` symbols each."""
    long = np.flatnonzero(np.diff(offsets) > MAX_LINE)
    if not len(long):
        return offsets
    cuts = [np.arange(offsets[row], offsets[row + 1], MAX_LINE)[1:] for row in long]
    return np.sort(np.concatenate([offsets, *cuts]), kind="stable")


def outlier_length(lengths: Integer[np.ndarray, "_"]) -> int:
    """The length above which a text is an outlier among texts of these lengths.

    It is ``OUTLIER_FACTOR`` times their median, but at least ``MIN_OUTLIER`` symbols.
    """
    median = float(np.median(lengths)) if len(lengths) else 0.0
    return max(MIN_OUTLIER, math.ceil(OUTLIER_FACTOR * median))


def outlier_batches(
    offsets: Sequence[Int[np.ndarray, "_"]], batch_size: int
) -> tuple[int, list[Int[np.ndarray, "B"]]]:
    """The rows that are much longer than the others, in batches of their own, the longest first.

    The first number is the length up to which a row is ordinary.

    Padded to one outlier, a whole batch would take its memory once for every row. Of a batch with
    R rows of up to n symbols the padded symbols grow with R n, and the weights of soft attention
    with R n². Batches of outliers have so few rows that R n² is no more than it may be in an
    ordinary batch, but always one.

    Args:
        offsets: for each side the beginnings of the rows, and the end of the last; the length of a
            row is that of its longest side.
        batch_size: rows of an ordinary batch.
    """
    count = len(offsets[0]) - 1
    step = max(1, -(-count // MAX_SHUFFLED))
    limit = outlier_length(_lengths(offsets, np.arange(0, count, step)))
    found = [np.empty(0, dtype=np.int64)]
    for first in range(0, count, MAX_SHUFFLED):
        rows = np.arange(first, min(first + MAX_SHUFFLED, count))
        found.append(rows[_lengths(offsets, rows) > limit])
    rows = np.concatenate(found)
    lengths = _lengths(offsets, rows)
    ordered = rows[np.argsort(-lengths, kind="stable")]
    return limit, list(_divide(ordered, offsets, batch_size * limit**2))


def _divide(
    rows: Int[np.ndarray, "_"], offsets: Sequence[Int[np.ndarray, "_"]], most: int
) -> Iterator[Int[np.ndarray, "B"]]:
    """Rows, the longest first, in groups: the number of rows times n² is up to ``most``."""
    while len(rows):
        longest = int(_lengths(offsets, rows[:1])[0])
        count = max(1, most // longest**2)
        yield rows[:count]
        rows = rows[count:]


def _lengths(
    offsets: Sequence[Int[np.ndarray, "_"]], rows: Int[np.ndarray, "N"]
) -> Int[np.ndarray, "N"]:
    """The length of each row: that of its longest side."""
    sides = [each[rows + 1] - each[rows] for each in offsets]
    longest: np.ndarray = np.max(sides, axis=0)
    return longest


def _without(
    rows: Int[np.ndarray, "_"], groups: Sequence[Int[np.ndarray, "_"]]
) -> Int[np.ndarray, "_"]:
    """The rows that are in none of the groups."""
    return rows[~np.isin(rows, np.concatenate(groups))] if groups else rows


def _cut(
    order: Int[np.ndarray, "_"],
    size: int,
    random: np.random.Generator,
    more: Sequence[Int[np.ndarray, "_"]],
) -> list[Int[np.ndarray, "_"]]:
    """An order cut into batches of ``size``; these and ``more`` batches are shuffled."""
    cuts = [*(order[i : i + size] for i in range(0, len(order), size)), *more]
    return [cuts[i] for i in random.permutation(len(cuts))]


def pad(rows: Sequence[Int[np.ndarray, "_"]]) -> Int[np.ndarray, "B T"]:
    """Rows of different lengths -> one array, padded with ``PAD`` at the ends of rows."""
    padded = np.full((len(rows), max((len(row) for row in rows), default=0)), PAD, dtype=np.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded


def buckets(lengths: Sequence[int], *, width: int, size: int) -> list[list[int]]:
    """Lengths of rows -> groups of rows whose lengths round up to the same multiple of ``width``.

    A group that is padded to this multiple gives each row the same result, whatever the other rows
    are. A group has at most ``size`` rows, in their order.
    """
    groups: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        groups.setdefault(-(-length // width), []).append(row)
    return [
        rows[start : start + size]
        for _, rows in sorted(groups.items())
        for start in range(0, len(rows), size)
    ]
