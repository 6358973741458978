"""Alignment of pairs of ids by edit operations; the edit actions of hard monotonic attention.

A target is written while the source is read from left to right. At each source symbol one of three
edit operations is taken, until the end of the source, where only insertions and the end are left:

    insert v       write the target symbol v and stay at the source symbol
    substitute v   write v and advance to the next source symbol
    delete         advance and write nothing

P(operation | source symbol) is a conditional stochastic transducer (Ristad & Yianilos 1998; Oncina
& Sebban 2006 for the conditional one). It is learnt by expectation maximisation (Dempster et al.
1977) with the forward-backward algorithm. The Viterbi path of each pair is the sequence of actions
that a network with hard monotonic attention (Aharoni & Goldberg 2017) learns to write.

With V ids of target symbols, the id of an action is v for insert v, V + v for substitute v, and 2V
for delete; EOS ends the target. The source position of each action follows from the actions before
it, so that training and search handle ids only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.data.storage import as_ragged
from charseq.data.text.vocabulary import EOS, SPECIALS

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Ids = Sequence[int]

EM_ITERATIONS = 12
"""Iterations of expectation maximisation. They have not converged: with thirty, a sixth of the
paths from English words to phones would differ, of Hindi names a sixteenth. Whether those are
better is not known."""
MAX_TRAINING_CELLS = 2**18
"""Cells of the tables of the pairs from which probabilities are learnt: a second of work."""
MAX_ALIGNED_CELLS = 2**29
"""Cells of the tables of all pairs; more take minutes to align."""
MAX_SYMBOL_PAIRS = 2**22
"""Source symbols times target symbols; several tables of this size are in memory."""
SORTED_PAIRS = 2**16
"""Pairs that are sorted by their lengths at once."""
BLOCK_CELLS = 2**18
"""Cells of the tables that are filled together."""
MAX_PRIOR = 2**20
"""Entries of a prior: source symbols times actions."""
SMOOTHING = 0.1
"""Probability that a prior spreads evenly over all actions."""
LOG_ZERO = -1e30
"""The logarithm of 0, finite so that sums stay finite."""
MAX_ENTROPY_RATIO = 0.55
"""Largest entropy ratio (see :meth:`Aligner.entropy_ratio`) of monotonic pairs. Measured:
pronunciation, transliteration, inflection and old spelling have 0.03 to 0.37, dates and reversed
letters 0.98, sorted letters 0.75."""


@dataclass(frozen=True)
class Actions:
    """The ids of edit actions. ``symbols``: the number V of target ids, specials included."""

    symbols: int

    @property
    def size(self) -> int:
        """The number of actions: V insertions, V substitutions and one deletion."""
        return 2 * self.symbols + 1

    @property
    def deletion(self) -> int:
        """The action that advances and writes nothing."""
        return 2 * self.symbols

    @classmethod
    def of(cls, size: int) -> Actions:
        """The actions for a given number of actions.

        Raises:
            ValueError: ``size`` is even.
        """
        if size % 2 == 0:
            raise ValueError(f"{size} is no number of actions")
        return cls(size // 2)

    def target_ids(self, actions: Ids) -> list[int]:
        """The ids of the target symbols that ``actions`` write."""
        return [action % self.symbols for action in actions if action != self.deletion]


def source_length(source: Ids) -> int:
    """The number of symbols before EOS, if a source has EOS; features come after it."""
    return list(source).index(EOS) if EOS in source else len(source)


@dataclass(frozen=True)
class Aligner:
    """Log-probabilities of the actions at each source symbol; row EOS is the end of the source."""

    insert: Float[np.ndarray, "S V"]
    substitute: Float[np.ndarray, "S V"]
    delete: Float[np.ndarray, "S"]

    def align(self, sources: Sequence[Ids], targets: Sequence[Ids]) -> list[list[int]]:
        """The actions of the Viterbi path of each pair, without EOS."""
        found: list[list[int]] = [[] for _ in sources]
        for rows in _blocks(sources, targets):
            table = _Table(self, [sources[row] for row in rows], [targets[row] for row in rows])
            for row, actions in zip(rows, table.viterbi(), strict=True):
                found[row] = actions
        return found

    def paths(self, sources: Sequence[Ids], targets: Sequence[Ids]) -> Iterator[list[int]]:
        """The same actions as :meth:`align`, with only a part of the pairs in memory."""
        for first in range(0, len(sources), SORTED_PAIRS):
            some = slice(first, first + SORTED_PAIRS)
            yield from self.align(sources[some], targets[some])

    def prior(self) -> Float[np.ndarray, "S A"]:
        """First logits of a network: smoothed log P(action | source symbol), less the row's mean.

        In row EOS, the end of the source, the action EOS has the probability that is left.
        """
        chances = np.exp(np.hstack([self.insert, self.substitute, self.delete[:, None]]))
        chances[EOS, EOS] = max(1.0 - float(chances[EOS].sum()), 0.0)
        logs = np.log(chances + SMOOTHING / chances.shape[1])
        centred: np.ndarray = logs - logs.mean(axis=1, keepdims=True)
        return centred

    def entropy_ratio(
        self, sources: Sequence[Ids], targets: Sequence[Ids], paths: Sequence[Ids]
    ) -> float:
        """Conditional entropy of advancing actions, as a share of the target's entropy.

        The mean of -log P(action | source symbol) over the substitutions and deletions of
        ``paths``, which :meth:`align` finds, per substitution; divided by the entropy of single
        target symbols. 0: the source symbol decides the target symbol; 1: it says nothing about
        it, or there is nothing to decide. A source that says less than nothing can be left aside,
        so there is no larger ratio. Insertions are not counted, nor are pairs with an empty target,
        which is not written from left to right: they say that there is no answer.
        """
        size = self.insert.shape[1]
        counts = np.zeros(size)
        nats = 0.0
        substitutions = 0
        for source, target, path in zip(sources, targets, paths, strict=True):
            if not len(target):
                continue
            np.add.at(counts, list(target), 1)
            advancing = [action for action in path if action >= size]
            for symbol, action in zip(source, advancing, strict=True):
                deletes = action == 2 * size
                nats -= self.delete[symbol] if deletes else self.substitute[symbol, action - size]
                substitutions += not deletes
        shares = counts[counts > 0] / max(counts.sum(), 1)
        entropy = -float((shares * np.log(shares)).sum())
        return min(nats / substitutions / entropy, 1.0) if substitutions and entropy else 1.0


def learn(
    sources: Sequence[Ids],
    targets: Sequence[Ids],
    *,
    sizes: tuple[int, int],
    same: Sequence[tuple[int, int]] = (),
    seed: int = 1,
) -> Aligner:
    """Learn the probabilities of actions by expectation maximisation from a sample of the pairs.

    Pairs with an empty target have one path, of deletions alone. With them each deletion would seem
    the likelier, and the paths of the other pairs would be worse. So they are left out if there are
    others.

    Args:
        sources: ids of the sources.
        targets: ids of the targets, without EOS.
        sizes: numbers of ids of both sides.
        same: source id and target id of each symbol that both sides have; their substitution has a
            higher probability at first.
        seed: of the sample.
    """
    size = max(sizes[1] - SPECIALS, 1)
    insert = np.full(sizes, 0.05 / size)
    substitute = np.full(sizes, 0.8 / size)
    delete = np.full(sizes[0], 0.15)
    for source, target in same:
        substitute[source] *= 0.3
        substitute[source, target] += 0.5
    rows = _sample(sources, targets, seed)
    sources, targets = [sources[row] for row in rows], [targets[row] for row in rows]
    blocks = list(_blocks(sources, targets))
    for _ in range(EM_ITERATIONS):
        substitute[EOS] = delete[EOS] = 0.0
        aligner = Aligner(_log(insert), _log(substitute), _log(delete))
        insert, substitute, delete = np.zeros(sizes), np.zeros(sizes), np.zeros(sizes[0])
        for block in blocks:
            some = [sources[row] for row in block], [targets[row] for row in block]
            _Table(aligner, *some).count(insert, substitute, delete)
        totals = insert.sum(axis=1) + substitute.sum(axis=1) + delete
        totals[EOS] += len(sources)  # every path ends once
        # Pseudo-counts keep every probability above 0.
        pseudo = 0.01
        totals += pseudo
        insert = (insert + pseudo * 0.2 / size) / totals[:, None]
        substitute = (substitute + pseudo * 0.6 / size) / totals[:, None]
        delete = (delete + pseudo * 0.2) / totals
    substitute[EOS] = delete[EOS] = 0.0
    return Aligner(_log(insert), _log(substitute), _log(delete))


def cells(sources: Int[np.ndarray, "N"], targets: Int[np.ndarray, "N"]) -> int:
    """Lengths of sources and of targets -> cells of the tables that their alignment fills."""
    return int(((sources + 1) * (targets + 1)).sum())


class _Table:
    """The lattice of some pairs of similar lengths, with the log-probability of every edge.

    Cell (i, j) of a pair means that i source symbols are read and j target symbols are written.
    """

    def __init__(self, aligner: Aligner, sources: Sequence[Ids], targets: Sequence[Ids]) -> None:
        self.source = _pad(sources, more=1, fill=EOS)
        self.target = _pad(targets, more=0, fill=EOS, least=2)  # diagonals need two columns
        self.lengths = np.array([len(ids) for ids in sources])
        self.ends = np.array([len(ids) for ids in targets])
        pairs = self.source[:, :, None], self.target[:, None, :]
        self.insert = aligner.insert[pairs]
        self.substitute = aligner.substitute[pairs]
        self.delete = aligner.delete[self.source]
        self.size = aligner.insert.shape[1]

    def viterbi(self) -> list[list[int]]:
        """The actions of the most probable path of each pair; among equals, the latest to advance.

        Paths are traced back from the ends of all pairs at once.
        """
        forward = self._forward(np.maximum)
        rows = np.arange(len(self.lengths))
        read, written = self.lengths.copy(), self.ends.copy()
        found = []
        while (read + written).any():
            above, left = np.maximum(read - 1, 0), np.maximum(written - 1, 0)
            may_read, may_write = read > 0, written > 0
            inserted = forward[rows, read, left] + self.insert[rows, read, left]
            substituted = forward[rows, above, left] + self.substitute[rows, above, left]
            deleted = forward[rows, above, written] + self.delete[rows, above]
            edges = np.stack([inserted, substituted, deleted])
            edges[~np.stack([may_write, may_write & may_read, may_read])] = -np.inf
            best = edges.argmax(axis=0)
            symbol = self.target[rows, left]
            delete = np.full_like(symbol, 2 * self.size)
            actions = np.choose(best, [symbol, self.size + symbol, delete])
            unfinished = may_read | may_write
            found.append(np.where(unfinished, actions, -1))
            read = read - ((best > 0) & unfinished)
            written = written - ((best < 2) & unfinished)
        paths = np.array(found[::-1], dtype=np.int64).reshape(len(found), len(rows)).T
        return [[int(action) for action in path if action >= 0] for path in paths]

    def count(
        self,
        insert: Float[np.ndarray, "S V"],
        substitute: Float[np.ndarray, "S V"],
        delete: Float[np.ndarray, "S"],
    ) -> None:
        """Add the expected number of each action over all paths (the expectation step)."""
        forward, backward = self._forward(_log_add), self._backward()
        rows = np.arange(len(self.lengths))
        backward -= forward[rows, self.lengths, self.ends][:, None, None]
        cell = self.source[:, :, None] * self.size + self.target[:, None, :]
        chances = np.exp(forward[:, :, :-1] + self.insert + backward[:, :, 1:])
        insert += _sum_by_cell(cell, chances, insert.size).reshape(insert.shape)
        chances = np.exp(forward[:, :-1, :-1] + self.substitute[:, :-1] + backward[:, 1:, 1:])
        substitute += _sum_by_cell(cell[:, :-1], chances, substitute.size).reshape(substitute.shape)
        chances = np.exp(forward[:, :-1] + self.delete[:, :-1, None] + backward[:, 1:]).sum(axis=2)
        delete += _sum_by_cell(self.source[:, :-1], chances, delete.size)

    def _forward(self, add: Callable[[Any, Any], Any]) -> Float[np.ndarray, "B S T"]:
        """Log-probability of the paths from the beginning to each cell.

        ``add`` joins paths: :func:`_log_add` for all paths, maximum for the best one. The cells of
        a diagonal depend on the diagonals before it only and are filled together.
        """
        rows, positions, ends = self.insert.shape
        table = np.full((rows, positions, ends + 1), LOG_ZERO)
        table[:, 0, 0] = 0.0
        flat, insert, substitute = (_flat(part) for part in (table, self.insert, self.substitute))
        for total in range(1, positions + ends):
            first, last = max(0, total - ends), min(positions - 1, total)
            left, above = min(last, total - 1), max(first, 1)
            found = np.full((rows, last - first + 1), LOG_ZERO)
            before = flat[:, _diagonal(above - 1, last - 1, total - 1, ends + 1)]
            found[:, above - first :] = before + self.delete[:, above - 1 : last]
            if left >= above:
                before = flat[:, _diagonal(above - 1, left - 1, total - 2, ends + 1)]
                before = before + substitute[:, _diagonal(above - 1, left - 1, total - 2, ends)]
                part = found[:, above - first : left - first + 1]
                part[:] = add(part, before)
            before = flat[:, _diagonal(first, left, total - 1, ends + 1)]
            before = before + insert[:, _diagonal(first, left, total - 1, ends)]
            part = found[:, : left - first + 1]
            part[:] = add(part, before)
            flat[:, _diagonal(first, last, total, ends + 1)] = found
        return table

    def _backward(self) -> Float[np.ndarray, "B S T"]:
        """Log-probability of all paths from each cell to the end of its pair."""
        rows, positions, ends = self.insert.shape
        table = np.full((rows, positions, ends + 1), LOG_ZERO)
        table[np.arange(rows), self.lengths, self.ends] = 0.0
        flat, insert, substitute = (_flat(part) for part in (table, self.insert, self.substitute))
        for total in reversed(range(positions + ends - 1)):
            first, last = max(0, total - ends), min(positions - 1, total)
            right, below = max(first, total - ends + 1), min(last, positions - 2)
            found = flat[:, _diagonal(first, last, total, ends + 1)]
            if below >= first:
                after = flat[:, _diagonal(first + 1, below + 1, total + 1, ends + 1)]
                after = after + self.delete[:, first : below + 1]
                if below >= right:
                    both = flat[:, _diagonal(right + 1, below + 1, total + 2, ends + 1)]
                    both = both + substitute[:, _diagonal(right, below, total, ends)]
                    part = after[:, right - first :]
                    part[:] = _log_add(part, both)
                part = found[:, : below - first + 1]
                part[:] = _log_add(part, after)
            if last >= right:
                after = flat[:, _diagonal(right, last, total + 1, ends + 1)]
                after = after + insert[:, _diagonal(right, last, total, ends)]
                part = found[:, right - first :]
                part[:] = _log_add(part, after)
        return table


def _flat(table: Float[np.ndarray, "B S T"]) -> Float[np.ndarray, "B ST"]:
    """Tables with their rows one after the other, not copied."""
    return table.reshape(len(table), -1)


def _diagonal(first: int, last: int, total: int, width: int) -> slice:
    """The cells (i, total - i) of a flat table, from i = ``first`` to ``last``."""
    step = width - 1
    return slice(first * step + total, last * step + total + 1, step)


def _sample(sources: Sequence[Ids], targets: Sequence[Ids], seed: int) -> list[int]:
    """A random sample of the pairs, whose tables have at most ``MAX_TRAINING_CELLS``; in order.

    A pair whose table is out of all proportion is left out: it would end the sample. So is one with
    an empty target, if not all are empty.
    """
    ends = as_ragged(targets).lengths
    sizes = (as_ragged(sources).lengths + 1) * (ends + 1)
    longest = max(MAX_TRAINING_CELLS // 4, 16 * float(np.median(sizes)))
    least = min(1, int(ends.max(initial=0)))
    drawn: list[int] = []
    left = MAX_TRAINING_CELLS
    for row in map(int, np.random.default_rng(seed).permutation(len(sources))):
        if sizes[row] > longest or ends[row] < least:
            continue
        left -= int(sizes[row])
        if left < 0 and drawn:
            break
        drawn.append(row)
    return sorted(drawn)


def _blocks(sources: Sequence[Ids], targets: Sequence[Ids]) -> list[list[int]]:
    """Groups of pairs of similar lengths, whose tables have about ``BLOCK_CELLS`` cells."""
    order = sorted(range(len(sources)), key=lambda row: (len(sources[row]), len(targets[row])))
    blocks: list[list[int]] = []
    longest = 0
    for row in order:
        longest = max(longest if blocks else 0, len(targets[row]) + 1)
        if not blocks or (len(blocks[-1]) + 1) * (len(sources[row]) + 1) * longest > BLOCK_CELLS:
            blocks.append([])
            longest = len(targets[row]) + 1
        blocks[-1].append(row)
    return blocks


def _pad(rows: Sequence[Ids], *, more: int, fill: int, least: int = 1) -> Int[np.ndarray, "B T"]:
    """Padded rows, ``more`` columns longer than the longest; ``least`` columns at least."""
    width = max(least, max(map(len, rows)) + more)
    table = np.full((len(rows), width), fill, dtype=np.int64)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return table


def _sum_by_cell(
    cell: Int[np.ndarray, "..."], chances: Float[np.ndarray, "..."], size: int
) -> Float[np.ndarray, "N"]:
    """The sum of the probabilities of each cell."""
    sums = np.bincount(cell.ravel(), weights=chances.ravel(), minlength=size)
    return sums.astype(np.float64, copy=False)  # integers if there are no cells


def _log_add(one: Float[np.ndarray, "..."], other: Float[np.ndarray, "..."]) -> Any:
    """log(exp(one) + exp(other)), several times as fast as ``numpy.logaddexp``."""
    return np.maximum(one, other) + np.log1p(np.exp(-np.abs(one - other)))


def _log(chances: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The logarithm, with ``LOG_ZERO`` for 0."""
    logs: np.ndarray = np.log(chances, out=np.full_like(chances, LOG_ZERO), where=chances > 0)
    return logs
