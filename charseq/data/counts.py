"""Repeated rows -> distinct pairs, weighted by the square roots of their counts.

Running text, logs and columns repeat their rows: few pairs have most of them. Learnt row by row,
they take most of the time of a training, and the pairs that tell how rare texts are rewritten take
the least. As distinct pairs each of them is read once in an epoch, and one that n rows repeat
counts √n times as much in the loss as one of a single row, between learning by tokens (n) and by
types (1). Rows are equal if source, features and target are. Weights of rows count as numbers of
rows: those of equal rows are added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from charseq.data.pairs import side, weights
from charseq.data.storage import PackedRecords, SpillingArray, select

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from charseq.data.pairs import Dataset, Example

MIN_REPEATED = 0.2
"""Least share of rows that are equal to an earlier row for which ``auto`` is ``sqrt``."""
PART = 2**20
"""Rows, about, that are compared at once."""


def merge(dataset: Dataset, counts: str) -> tuple[Dataset, str]:
    """The data with the distinct pairs of train in place of its rows, where ``counts`` asks for it.

    A pair stands where its first row stood. Dev and test stay as they are.

    Args:
        dataset: the data, row by row.
        counts: ``sqrt``: the pairs are merged; ``none``: they are not; ``auto``: they are where
            :data:`MIN_REPEATED` of the rows or more are repetitions.

    Returns:
        The data, and ``sqrt`` or ``none``.
    """
    rows = dataset.train
    if counts == "none" or not len(rows):
        return dataset, "none"
    keys = _keys(rows)
    if counts == "auto":
        distinct = sum(len(first) for first, _, _ in _groups(keys))
        if len(rows) - distinct < MIN_REPEATED * len(rows):
            return dataset, "none"
    first, sums = _sums(keys, weights(rows))
    wanted = np.zeros(len(rows), dtype=bool)
    wanted[first] = True
    train = _weighted(select(rows, wanted), np.sqrt(sums))
    lines = {**dataset.lines, "train": select(dataset.lines["train"], wanted)}
    return replace(dataset, train=train, lines=lines, rows=len(rows)), "sqrt"


def occurrences(dataset: Dataset, *, most: int) -> Iterator[tuple[Example, float]]:
    """The rows of train and how often each occurs; of more than ``most``, the most frequent."""
    rows, found = dataset.train, weights(dataset.train)
    if len(rows) > most:
        wanted = np.zeros(len(rows), dtype=bool)
        order = range(most) if found is None else np.argsort(-found, kind="stable")[:most]
        wanted[order] = True
        rows = select(rows, wanted)
    for row in rows:
        yield row, row.weight**2 if dataset.rows else row.weight


def _keys(rows: Sequence[Example]) -> Int[np.ndarray, "N"]:
    """64 bits of a hash of each row: two different pairs in a billion rows hardly share one."""
    keys = SpillingArray("q")
    columns = (side(rows, name) for name in ("source", "features", "target"))
    for texts in zip(*columns, strict=True):
        content = b"\xff".join(map(str.encode, texts))
        keys.write(hashlib.blake2b(content, digest_size=8).digest())
    return keys.close()


def _groups(
    keys: Int[np.ndarray, "N"],
) -> Iterator[tuple[Int[np.ndarray, "K"], Int[np.ndarray, "M"], Int[np.ndarray, "M"]]]:
    """Parts of the rows, equal rows in the same part.

    Of each part: the first row of each distinct pair, all rows, and the number of each row's pair.
    """
    parts = max(1, -(-len(keys) // PART))
    for part in range(parts):
        found = [
            begin + np.flatnonzero(keys[begin : begin + PART] % parts == part)
            for begin in range(0, len(keys), PART)
        ]
        rows = np.concatenate(found)
        _, first, pairs = np.unique(keys[rows], return_index=True, return_inverse=True)
        yield rows[first], rows, pairs


def _sums(
    keys: Int[np.ndarray, "N"], given: Float[np.ndarray, "N"] | None
) -> tuple[Int[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    """The first row of each distinct pair, in order, and the sum of the weights of its rows."""
    places, sums = [], []
    for first, rows, pairs in _groups(keys):
        places.append(first)
        sums.append(np.bincount(pairs, weights=None if given is None else given[rows]))
    place, total = np.concatenate(places), np.concatenate(sums).astype(np.float64)
    order = np.argsort(place)
    return place[order], total[order]


def _weighted(rows: Sequence[Example], found: Float[np.ndarray, "K"]) -> Sequence[Example]:
    """The rows with these weights."""
    if isinstance(rows, PackedRecords):
        return cast("Sequence[Example]", rows.weighted(found))
    return [replace(row, weight=weight) for row, weight in zip(rows, found.tolist(), strict=True)]
