"""counts per source -> confidence intervals and p-values, by resampling.

    interval   percentile bootstrap: as many sources as there are, drawn with replacement (Efron &
               Tibshirani 1993; for word error rates Bisani & Ney 2004; paired: Koehn 2004)
    p-value    paired randomisation: if both systems are alike, exchanging the two results of a
               source changes nothing (Noreen 1989; Riezler & Maxwell 2005); two-sided

A source is drawn or exchanged with all its rows, since these are not independent of each other.
Sources with the same counts are drawn together from a multinomial distribution. The work therefore
grows with the number of different counts, not with the number of sources.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    Statistic = Callable[[Int[np.ndarray, "R K"]], Float[np.ndarray, "R"]]

RESAMPLES = 2000
SEED = 1
CONFIDENCE = 95

MAX_DRAWN = 2**21
"""Numbers that are drawn at a time, to limit memory."""
ROUNDING = 1e-9
"""Differences below this are taken for rounding errors."""


def gather(labels: Sequence[Hashable], counts: Int[np.ndarray, "N K"]) -> Int[np.ndarray, "C K"]:
    """Sums of the rows of each label, in the order in which the labels first appear."""
    groups = numbered(labels)
    sums = np.zeros((int(groups.max(initial=-1)) + 1, counts.shape[1]), dtype=np.int64)
    np.add.at(sums, groups, counts)
    return sums


def numbered(labels: Sequence[Hashable]) -> Int[np.ndarray, "N"]:
    """The number of each label, from 0, in the order in which the labels first appear."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64)


def bootstrap(
    counts: Int[np.ndarray, "C K"], *, resamples: int = RESAMPLES, seed: int = SEED
) -> Int[np.ndarray, "R K"]:
    """Sums over C sources drawn with replacement, ``resamples`` times."""
    kinds, sizes = np.unique(counts, axis=0, return_counts=True)
    random = np.random.default_rng(seed)
    probabilities = sizes / len(counts)
    parts = [
        random.multinomial(len(counts), probabilities, size=size) @ kinds
        for size in _portions(resamples, len(kinds))
    ]
    return np.concatenate(parts)


def weights(
    sources: int, rows: int, *, resamples: int = RESAMPLES, seed: int = SEED
) -> Iterator[Int[np.ndarray, "R S"]]:
    """How often each source is drawn, with replacement, in portions of the ``resamples`` samples.

    For scores that no sum of counts gives, such as those of an order. ``rows``: the numbers that
    the caller needs for a sample, to limit memory.
    """
    random = np.random.default_rng(seed)
    for size in _portions(resamples, max(sources, rows)):
        drawn = random.integers(sources, size=(size, sources))
        drawn += sources * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * sources).reshape(size, sources)


def interval(values: Float[np.ndarray, "R"]) -> list[float]:
    """Percentile interval: as many resamples lie below it as above it."""
    tail = (100 - CONFIDENCE) / 200
    return [float(bound) for bound in np.quantile(values, (tail, 1 - tail))]


def largest_unseen(count: int) -> float:
    """Upper bound of a share of which ``count`` sources have no example (Clopper & Pearson 1934).

    The bootstrap finds no such bound, since it only repeats sources that were seen. The confidence
    is that of :func:`interval`.
    """
    tail = (100 - CONFIDENCE) / 200
    return 1 - float(tail ** (1 / count))


def exchange(
    first: Int[np.ndarray, "C K"],
    second: Int[np.ndarray, "C K"],
    statistic: Statistic,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> float:
    """Two-sided p-value of a difference of ``statistic``, by approximate randomisation."""
    pairs, sizes = np.unique(np.hstack([first, second]), axis=0, return_counts=True)
    columns = first.shape[1]
    changes = (
        pairs[:, columns:] - pairs[:, :columns]
    )  # the change of the first system's counts by an exchange
    changed = changes.any(axis=1)
    changes, sizes = changes[changed], sizes[changed]
    one, other = first.sum(axis=0), second.sum(axis=0)
    random = np.random.default_rng(seed)

    def difference(change: Int[np.ndarray, "R K"]) -> Float[np.ndarray, "R"]:
        return statistic(other - change) - statistic(one + change)

    found = abs(difference(np.zeros((1, columns), dtype=np.int64))[0])
    as_large = 0
    for size in _portions(resamples, len(sizes)):
        change = random.binomial(sizes, 0.5, size=(size, len(sizes))) @ changes
        as_large += int((np.abs(difference(change)) >= found - ROUNDING).sum())
    return (1 + as_large) / (1 + resamples)


def exchange_all(differences: Int[np.ndarray, "C"]) -> float:
    """Two-sided p-value of a sum of differences, one a source, over every way to exchange them.

    If each difference is -1, 0 or 1, this is the exact test of McNemar (1947), a sign test. With
    random signs the sum has the characteristic function Π cos(d t), so one Fourier transform gives
    the probability of every sum.
    """
    total = abs(int(differences.sum()))
    if not total:
        return 1.0
    sizes, numbers = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    reach = int(sizes @ numbers)
    period = 2 * reach + 1
    angles = 2 * math.pi * np.arange(reach + 1) / period
    characteristic = np.ones(reach + 1)
    for size, number in zip(sizes, numbers, strict=True):
        characteristic *= np.cos(size * angles) ** number
    probabilities = np.fft.irfft(
        characteristic, period
    )  # of the sums 0 … reach, then of the negative sums
    least = 2.0 ** (1 - int(numbers.sum()))  # all signs alike; less than that is rounding
    return min(1.0, max(least, 2 * float(probabilities[total : reach + 1].sum())))


def _portions(total: int, width: int) -> list[int]:
    """``total`` in portions, each of which times ``width`` is at most :data:`MAX_DRAWN`."""
    size = max(1, MAX_DRAWN // max(1, width))
    return [min(size, total - begin) for begin in range(0, total, size)]
