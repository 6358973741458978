"""Joint n-grams: how likely a source symbol and what is written for it follow those before them.

A network with hard attention writes edit actions, and each action belongs to the source symbol it
is taken at. Source and output together are thus one sequence of units (symbol, action)::

    u_1 ... u_T,   log P(x, y) = sum_t log P(u_t | u_(t-n+1) ... u_(t-1))

which is the joint-sequence model of Bisani & Ney 2008, "Joint-Sequence Models for
Grapheme-to-Phoneme Conversion", with edit actions in place of their graphones. It is counted in
seconds and makes other errors than a network, so that both together are right more often than
either (see :mod:`charseq.confidence.rescoring`). Probabilities are smoothed by interpolated,
modified Kneser-Ney discounting (Chen & Goodman 1999, equations 27 and 28), and stored in the form
of a back-off model (ARPA): where the longest n-gram is not known, its probability is that of the
next shorter one times the back-off weight of the context.

An n-gram is kept as a hash of 32 bits: of a million n-grams one unknown in four thousand is taken
for a known one.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import EOS
from charseq.errors import CheckpointError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8, UInt32

Ids = Sequence[int]

ORDER = 6
"""Units of the longest n-grams."""
MAX_UNITS = 4_000_000
"""Units that are counted; of more pairs, pairs at even distances."""
MAX_NGRAMS = 1_000_000
"""N-grams that are kept. Of more, those of three and more units that were seen once are left out,
then those seen twice, and so on."""
FIRST_PRUNED = 3
STEPS_PER_NAT = 16
"""Logarithms are stored as multiples of a sixteenth, in one byte: none is below -15.9."""
UNSEEN = 0.1
"""Probability of a unit that was never seen, times the number of those that were."""
BEGINNING = np.uint32(0)
"""Of a row, in place of a unit; it is its own hash, and that of no unit."""
_TABLES = ("keys", "chances", "backoffs")


class _Units(NamedTuple):
    """Rows of units, one after the other, each with a sign for its beginning before it."""

    values: UInt32[np.ndarray, "U"]
    place: Int[np.ndarray, "U"]
    """In its row; 0 for the beginning."""
    first: Int[np.ndarray, "B"]
    """Where each row begins."""

    @classmethod
    def of(cls, sources: Iterable[Ids], outputs: Iterable[Ids], actions: Actions) -> _Units:
        """The units of each source and its edit actions, without EOS, and of its end.

        ``sources`` may have EOS and features behind it.
        """
        sources, outputs = list(sources), list(outputs)
        read = np.array([len(one) + 1 for one in sources])
        taken = np.fromiter(chain.from_iterable((EOS, *one, EOS) for one in outputs), np.int64)
        sizes = np.array([len(one) + 2 for one in outputs])
        symbols = np.fromiter(chain.from_iterable((*one, EOS) for one in sources), np.int64)
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        starts = np.concatenate([[0], np.cumsum(read)[:-1]]).astype(np.int64)
        place = np.arange(len(taken)) - np.repeat(first, sizes)
        advances = np.cumsum(taken >= actions.symbols)
        position = np.zeros(len(taken), np.int64)
        position[1:] = advances[:-1]
        position -= np.repeat(position[first], sizes)
        symbol = symbols[np.repeat(starts, sizes) + position]
        values = (symbol * actions.size + taken + 1).astype(np.uint32)
        values[first] = BEGINNING
        return cls(values, place, first)

    def hashes(self, order: int) -> list[UInt32[np.ndarray, "U"]]:
        """Hashes of the n-grams that end at each unit, by their order; the first has none."""
        found = [np.zeros_like(self.values), _mixed(np.zeros_like(self.values), self.values)]
        for size in range(2, order + 1):
            rows = np.flatnonzero(self.place >= size - 1)
            hashes = np.zeros_like(self.values)
            before = found[-1][rows] + np.uint32(size)
            hashes[rows] = _mixed(before, self.values[rows - size + 1])
            found.append(hashes)
        return found


class _Counted(NamedTuple):
    """The different n-grams of one order, by their hashes, which ascend."""

    keys: UInt32[np.ndarray, "M"]
    example: Int[np.ndarray, "M"]
    """A unit at which each of them ends."""
    counts: Int[np.ndarray, "M"]
    """How often each occurs; of those that a longer one ends in, after how many different units."""
    seen: Int[np.ndarray, "M"]
    """How often each occurs."""


@dataclass(frozen=True, eq=False)
class JointNgrams:
    """The n-grams of one direction, from single units (first) to the longest (last)."""

    actions: Actions
    keys: tuple[UInt32[np.ndarray, "_"], ...]
    """Hashes, ascending."""
    chances: tuple[UInt8[np.ndarray, "_"], ...]
    """-log P(last unit | those before it), in steps; see ``STEPS_PER_NAT``."""
    backoffs: tuple[UInt8[np.ndarray, "_"], ...]
    """-log of the back-off weight of the n-gram as a context; 0 where it is none."""

    @classmethod
    def count(
        cls, sources: Sequence[Ids], outputs: Sequence[Ids], actions: Actions, *, order: int = ORDER
    ) -> JointNgrams:
        """The n-grams of pairs.

        Args:
            sources: ids of the sources, as a network with hard attention reads them.
            outputs: the edit actions of each, without EOS.
            actions: the kinds of actions.
            order: units of the longest n-grams.
        """
        step = max(1, -(-sum(len(one) + 2 for one in outputs) // MAX_UNITS))
        rows = range(0, len(outputs), step)
        units = _Units.of((sources[row] for row in rows), (outputs[row] for row in rows), actions)
        hashes = units.hashes(order)
        counted = _counted(units, hashes)
        logs, backoffs = _smoothed(counted, hashes)
        kept = _kept([one.seen for one in counted])
        keys = [one.keys[keep] for one, keep in zip(counted, kept, strict=True)]
        logs, backoffs = (
            [table[keep] for table, keep in zip(tables, kept, strict=True)]
            for tables in (logs, backoffs)
        )
        if order > 1:  # the beginning is a context, and never predicted
            at = int(np.searchsorted(keys[0], BEGINNING))
            keys[0] = np.insert(keys[0], at, BEGINNING)
            logs[0] = np.insert(logs[0], at, -math.inf)
            backoffs[0] = np.insert(backoffs[0], at, _first_backoff(counted[1], hashes[1]))
        return cls(actions, tuple(keys), tuple(map(_steps, logs)), tuple(map(_steps, backoffs)))

    def __len__(self) -> int:
        """The number of n-grams."""
        return sum(map(len, self.keys))

    def scores(self, sources: Sequence[Ids], outputs: Sequence[Ids]) -> Float[np.ndarray, "B"]:
        """Log P(x, y) of each source and its edit actions; a row does not change those of others.

        It is a multiple of ``1 / STEPS_PER_NAT``, so that sums are exact.
        """
        if not outputs:
            return np.zeros(0)
        units = _Units.of(sources, outputs, self.actions)
        hashes = units.hashes(len(self.keys))
        unseen = min(255, round(STEPS_PER_NAT * math.log(max(len(self.keys[0]), 1) / UNSEEN)))
        total = np.full(len(units.values), unseen, np.int64)
        backoff = np.zeros(len(units.values), np.int64)
        for size, (keys, chances, backoffs) in enumerate(
            zip(self.keys, self.chances, self.backoffs, strict=True), start=1
        ):
            if not len(keys):
                break
            at = np.minimum(np.searchsorted(keys, hashes[size]), len(keys) - 1)
            known = (keys[at] == hashes[size]) & (units.place >= size - 1)
            total[1:] += backoff[:-1] * (units.place[1:] >= size - 1)
            total = np.where(known, chances[at], total)
            backoff = np.where(known, backoffs[at], 0)
        total[units.first] = 0
        found: np.ndarray = np.add.reduceat(total, units.first) / -STEPS_PER_NAT
        return found

    def to_json(self) -> dict[str, Any]:
        """Tables in base64; the inverse of :meth:`from_json`."""
        keys = [_text(table.astype("<u4")) for table in self.keys]
        chances, backoffs = (
            [_text(table) for table in one] for one in (self.chances, self.backoffs)
        )
        return {"keys": keys, "chances": chances, "backoffs": backoffs}

    @classmethod
    def from_json(cls, value: Any, actions: Actions) -> JointNgrams:
        """The n-grams from an object that may come from a stranger.

        Raises:
            CheckpointError: not an object of these fields, or a value out of its limits.
        """
        if not isinstance(value, dict) or value.keys() != set(_TABLES):
            raise damaged(f"must have {', '.join(_TABLES)}")
        tables = [value[name] for name in _TABLES]
        if any(not isinstance(one, list) or len(one) != len(tables[0]) for one in tables):
            raise damaged("have tables of several orders")
        if not 0 < len(tables[0]) <= ORDER:
            raise damaged(f"are of {len(tables[0])} orders, expected 1 to {ORDER}")
        keys = [np.frombuffer(_bytes(one, 4), "<u4").astype(np.uint32) for one in tables[0]]
        others = [
            [np.frombuffer(_bytes(one, 1), np.uint8) for one in table] for table in tables[1:]
        ]
        for hashes, *numbers in zip(keys, *others, strict=True):
            if any(len(one) != len(hashes) for one in numbers):
                raise damaged("have tables of several sizes")
            if (hashes[1:] <= hashes[:-1]).any():
                raise damaged("are not in order")
        return cls(actions, tuple(keys), tuple(others[0]), tuple(others[1]))


def _mixed(
    hashes: UInt32[np.ndarray, "N"], values: UInt32[np.ndarray, "N"]
) -> UInt32[np.ndarray, "N"]:
    """Hashes of 32 bits with one more value each: multiplications and shifts that lose nothing."""
    mixed: np.ndarray = (hashes ^ values) * np.uint32(0x9E3779B1)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x85EBCA77)
    mixed ^= mixed >> np.uint32(13)
    return mixed


def _counted(units: _Units, hashes: Sequence[UInt32[np.ndarray, "U"]]) -> list[_Counted]:
    """The different n-grams of every order, shortest first."""
    found: list[_Counted] = []
    for size in range(len(hashes) - 1, 0, -1):
        ends = np.flatnonzero(units.place >= max(1, size - 1))
        keys, first, seen = np.unique(hashes[size][ends], return_index=True, return_counts=True)
        example, counts = ends[first], seen.copy()
        if found:  # shorter ones count by what is before them, but for those at a beginning
            counts = np.zeros(len(keys), np.int64)
            inner, times = np.unique(hashes[size][found[-1].example], return_counts=True)
            counts[np.searchsorted(keys, inner)] = times
            begins = units.place[example] == size - 1
            counts[begins] = seen[begins]
            counts = np.maximum(counts, 1)  # where two hashes are the same
        found.append(_Counted(keys, example, counts, seen))
    return found[::-1]


def _smoothed(
    counted: Sequence[_Counted], hashes: Sequence[UInt32[np.ndarray, "U"]]
) -> tuple[list[Float[np.ndarray, "_"]], list[Float[np.ndarray, "_"]]]:
    """The logarithms of the probabilities, and of the back-off weights, of every order."""
    logs: list[np.ndarray] = []
    backoffs = [np.zeros(len(one.keys)) for one in counted]
    lower: np.ndarray = np.zeros(0)
    for number, one in enumerate(counted):
        discounts = _discounts(one.counts)[np.minimum(one.counts, 3)]
        contexts = hashes[number][one.example - 1] if number else np.zeros_like(one.keys)
        keys, place = np.unique(contexts, return_inverse=True)
        totals = np.bincount(place, weights=one.counts)
        left = np.bincount(place, weights=discounts) / totals
        if number:
            before = counted[number - 1].keys
            shorter = lower[np.searchsorted(before, hashes[number][one.example])]
            at = np.minimum(np.searchsorted(before, keys), len(before) - 1)
            known = before[at] == keys  # a beginning is no n-gram that is predicted
            backoffs[number - 1][at[known]] = np.log(left[known])
        else:
            shorter = np.full(len(one.keys), 1 / len(one.keys))
        lower = (one.counts - discounts) / totals[place] + left[place] * shorter
        logs.append(np.log(lower))
    return logs, backoffs


def _first_backoff(pairs: _Counted, hashes: UInt32[np.ndarray, "U"]) -> float:
    """The logarithm of the back-off weight of a beginning; ``pairs`` are the n-grams of two."""
    counts = pairs.counts[hashes[pairs.example - 1] == BEGINNING]
    left = _discounts(pairs.counts)[np.minimum(counts, 3)].sum() / counts.sum()
    return float(np.log(left))


def _discounts(counts: Int[np.ndarray, "M"]) -> Float[np.ndarray, "4"]:
    """The discounts of counts of 0, 1, 2, and 3 or more; within limits, where these are few."""
    often = [int((counts == times).sum()) for times in range(5)]
    share = often[1] / max(often[1] + 2 * often[2], 1)
    found = np.zeros(4)
    for times in (1, 2, 3):
        ideal = times - (times + 1) * share * often[times + 1] / max(often[times], 1)
        found[times] = min(max(ideal, 0.05 * times), 0.95 * times)
    return found


def _kept(seen: Sequence[Int[np.ndarray, "_"]]) -> list[Bool[np.ndarray, "_"]]:
    """Which n-grams of every order are kept, ``MAX_NGRAMS`` at most if longer ones can make room.

    What is left out was seen no more often than what is kept, so that contexts are kept with all
    that follows them.
    """
    least = 1
    while True:
        kept = [
            table >= (least if size >= FIRST_PRUNED else 1)
            for size, table in enumerate(seen, start=1)
        ]
        fits = sum(int(one.sum()) for one in kept) <= MAX_NGRAMS
        if fits or not any(one.any() for one in kept[FIRST_PRUNED - 1 :]):
            return kept
        least += 1


def _steps(logs: Float[np.ndarray, "M"]) -> UInt8[np.ndarray, "M"]:
    """Logarithms of at most 0 as steps."""
    steps: np.ndarray = np.rint(np.minimum(-STEPS_PER_NAT * logs, 255)).astype(np.uint8)
    return steps


def _text(table: np.ndarray) -> str:
    return base64.b64encode(table.tobytes()).decode()


def _bytes(value: Any, size: int) -> bytes:
    """The bytes of a table with ``size`` of them for each n-gram."""
    try:
        content = base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        content = None
    if content is None or len(content) > size * 4 * MAX_NGRAMS or len(content) % size:
        raise damaged(f"have tables of at most {4 * MAX_NGRAMS:,} n-grams")
    return content


def damaged(what: str) -> CheckpointError:
    """The error of n-grams in a run that are none."""
    return CheckpointError(f"is damaged: the joint n-grams {what}")
