"""pairs of ids -> what is written at which source symbol; actions <-> ids: hard attention's texts.

A pair is read as a walk along its source. At each source symbol a target symbol is written and the
walk stays, or one is written and it goes on, or it goes on without a word; at the end of the source
it can only write or stop. P(action | source symbol) is learnt by expectation maximisation (Dempster
et al. 1977; Ristad & Yianilos 1998 for strings), and each pair's likeliest walk is what a network
with hard monotonic attention (Aharoni & Goldberg 2017) is taught to write.

With V target symbols, an action's id is v to write v and stay, V + v to write v and go on, and 2V
to go on; EOS stops. So the place of each action follows from those before it, and nothing besides
ids goes through training and search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.data.text.vocabulary import EOS, SPECIALS

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Ids = Sequence[int]

EM_ITERATIONS = 12
"""Of expectation maximisation. It has not settled then: of English words to phones, thirty rounds
would walk a sixth in another way, of Hindi names a sixteenth; whether that is better is not known.
"""
MOST_CELLS = 2**18
"""Cells of the tables of the pairs that the actions' chances are learnt from: a second's work."""
MOST_WALKED = 2**29
"""Cells of the tables of all pairs: beyond it, aligning takes minutes."""
MOST_TABLE = 2**22
"""Source symbols times target symbols: a table of them is held several times while it is learnt."""
TOGETHER = 2**16
"""Pairs that are sorted by their lengths together."""
BLOCK = 2**18
"""Cells that are filled in together."""
MOST_PRIOR = 2**20
"""Numbers of a table of what the alignment expects: source symbols times actions."""
DOUBT = 0.1
"""Probability that such a table spreads over all actions, whatever was seen."""
LOG_ZERO = -1e30
"""The logarithm of what is impossible."""
SURE = 0.55
"""Walks with less than this share of a target's surprise left when its source symbol is known are
said to follow the source. Measured: pronunciation, transliteration, inflection and old spelling
have 0.03 to 0.37; dates and reversed letters 0.98, sorted ones 0.75."""


@dataclass(frozen=True)
class Actions:
    """The ids that hard attention writes, for so many ids of target symbols, specials included."""

    symbols: int

    @property
    def size(self) -> int:
        """Their number, V to stay, V to go on and one to go on without a word."""
        return 2 * self.symbols + 1

    @classmethod
    def of(cls, size: int) -> Actions:
        """The actions whose number is ``size``.

        Raises:
            ValueError: an even number, which it never is.
        """
        if size % 2 == 0:
            raise ValueError(f"{size} is no number of actions")
        return cls(size // 2)

    def spell(self, ids: Ids) -> list[int]:
        """The target symbols that actions write."""
        silent = 2 * self.symbols
        return [action % self.symbols for action in ids if action != silent]


def places(source: Ids) -> int:
    """The symbols of a source before EOS, if it has one; what stands behind it are features."""
    return list(source).index(EOS) if EOS in source else len(source)


@dataclass(frozen=True)
class Aligner:
    """Log-probabilities of the actions at each source symbol; row EOS is the source's end."""

    stay: Float[np.ndarray, "S V"]
    go_on: Float[np.ndarray, "S V"]
    skip: Float[np.ndarray, "S"]

    def align(self, sources: Sequence[Ids], targets: Sequence[Ids]) -> list[list[int]]:
        """The actions of each pair's likeliest walk, without EOS."""
        found: list[list[int]] = [[] for _ in sources]
        for rows in _blocks(sources, targets):
            table = _Table(self, [sources[row] for row in rows], [targets[row] for row in rows])
            for row, actions in zip(rows, table.walks(), strict=True):
                found[row] = actions
        return found

    def walks(self, sources: Sequence[Ids], targets: Sequence[Ids]) -> Iterator[list[int]]:
        """The same of any number of pairs, of which a few are in memory at a time."""
        for first in range(0, len(sources), TOGETHER):
            some = slice(first, first + TOGETHER)
            yield from self.align(sources[some], targets[some])

    def prior(self) -> Float[np.ndarray, "S A"]:
        """Where a network's logits may begin: log P(action | source symbol), less its row's mean.

        With a little doubt, so that nothing is impossible. At a source's end, EOS is what is left.
        """
        chances = np.exp(np.hstack([self.stay, self.go_on, self.skip[:, None]]))
        chances[EOS, EOS] = max(1.0 - float(chances[EOS].sum()), 0.0)
        logs = np.log(chances + DOUBT / chances.shape[1])
        centred: np.ndarray = logs - logs.mean(axis=1, keepdims=True)
        return centred

    def surprise(
        self, sources: Sequence[Ids], targets: Sequence[Ids], walks: Sequence[Ids]
    ) -> float:
        """How much of what is written on going on the source symbol leaves open: 0 nothing, 1 all.

        The mean of -log P(action | source symbol) over ``walks``, which :meth:`align` finds, as a
        share of the entropy of target symbols; what is written while a walk stays is not counted.
        """
        size = self.stay.shape[1]
        counts = np.zeros(size)
        nats = 0.0
        written = 0
        for source, target, walk in zip(sources, targets, walks, strict=True):
            np.add.at(counts, list(target), 1)
            going = [action for action in walk if action >= size]
            for symbol, action in zip(source, going, strict=True):
                silent = action == 2 * size
                nats -= self.skip[symbol] if silent else self.go_on[symbol, action - size]
                written += not silent
        shares = counts[counts > 0] / max(counts.sum(), 1)
        entropy = -float((shares * np.log(shares)).sum())
        return nats / written / entropy if written and entropy else 1.0


def learn(
    sources: Sequence[Ids],
    targets: Sequence[Ids],
    *,
    sizes: tuple[int, int],
    same: Sequence[tuple[int, int]] = (),
    seed: int = 1,
) -> Aligner:
    """The chances of actions, from some of the pairs.

    ``sizes`` are the numbers of ids of both sides; ``same`` the ids of symbols that both sides
    have, which at first are likely to answer each other.
    """
    size = max(sizes[1] - SPECIALS, 1)
    stay = np.full(sizes, 0.05 / size)
    go_on = np.full(sizes, 0.8 / size)
    skip = np.full(sizes[0], 0.15)
    for source, target in same:
        go_on[source] *= 0.3
        go_on[source, target] += 0.5
    rows = _choose(sources, targets, seed)
    sources, targets = [sources[row] for row in rows], [targets[row] for row in rows]
    tables = list(_blocks(sources, targets))
    for _ in range(EM_ITERATIONS):
        go_on[EOS] = skip[EOS] = 0.0
        aligner = Aligner(_log(stay), _log(go_on), _log(skip))
        stay, go_on, skip = np.zeros(sizes), np.zeros(sizes), np.zeros(sizes[0])
        for block in tables:
            some = [sources[row] for row in block], [targets[row] for row in block]
            _Table(aligner, *some).count(stay, go_on, skip)
        totals = stay.sum(axis=1) + go_on.sum(axis=1) + skip
        totals[EOS] += len(sources)  # there, every walk stops once
        # a pinch of what was believed at first, so that nothing becomes impossible
        pinch = 0.01
        totals += pinch
        stay = (stay + pinch * 0.2 / size) / totals[:, None]
        go_on = (go_on + pinch * 0.6 / size) / totals[:, None]
        skip = (skip + pinch * 0.2) / totals
    go_on[EOS] = skip[EOS] = 0.0
    return Aligner(_log(stay), _log(go_on), _log(skip))


def cells(sources: Int[np.ndarray, "N"], targets: Int[np.ndarray, "N"]) -> int:
    """How much work it is to align pairs of these lengths."""
    return int(((sources + 1) * (targets + 1)).sum())


class _Table:
    """Pairs of similar lengths, and the log-probabilities of every step of every walk."""

    def __init__(self, aligner: Aligner, sources: Sequence[Ids], targets: Sequence[Ids]) -> None:
        self.source = _fill(sources, more=1, fill=EOS)
        self.target = _fill(targets, more=0, fill=EOS, least=2)  # so that there are diagonals
        self.lengths = np.array([len(ids) for ids in sources])
        self.ends = np.array([len(ids) for ids in targets])
        pairs = self.source[:, :, None], self.target[:, None, :]
        self.stay = aligner.stay[pairs]
        self.go_on = aligner.go_on[pairs]
        self.skip = aligner.skip[self.source]
        self.size = aligner.stay.shape[1]

    def walks(self) -> list[list[int]]:
        """The likeliest walk of each pair; of equals, the one that stays longest."""
        before = self._before(np.maximum)
        rows = np.arange(len(self.lengths))
        place, written = self.lengths.copy(), self.ends.copy()
        found = []
        while (place + written).any():
            above, left = np.maximum(place - 1, 0), np.maximum(written - 1, 0)
            went, wrote = place > 0, written > 0
            stayed = before[rows, place, left] + self.stay[rows, place, left]
            came = before[rows, above, left] + self.go_on[rows, above, left]
            skipped = before[rows, above, written] + self.skip[rows, above]
            ways = np.stack([stayed, came, skipped])
            ways[~np.stack([wrote, wrote & went, went])] = -np.inf
            way = ways.argmax(axis=0)
            symbol = self.target[rows, left]
            silent = np.full_like(symbol, 2 * self.size)
            actions = np.choose(way, [symbol, self.size + symbol, silent])
            going = went | wrote
            found.append(np.where(going, actions, -1))
            place = place - ((way > 0) & going)
            written = written - ((way < 2) & going)
        turned = np.array(found[::-1], dtype=np.int64).reshape(len(found), len(rows)).T
        return [[int(action) for action in row if action >= 0] for row in turned]

    def count(
        self,
        stay: Float[np.ndarray, "S V"],
        go_on: Float[np.ndarray, "S V"],
        skip: Float[np.ndarray, "S"],
    ) -> None:
        """Add how often each action is expected, over all walks."""
        before, after = self._before(_add), self._after()
        rows = np.arange(len(self.lengths))
        after -= before[rows, self.lengths, self.ends][:, None, None]
        cell = self.source[:, :, None] * self.size + self.target[:, None, :]
        chances = np.exp(before[:, :, :-1] + self.stay + after[:, :, 1:])
        stay += _gather(cell, chances, stay.size).reshape(stay.shape)
        chances = np.exp(before[:, :-1, :-1] + self.go_on[:, :-1] + after[:, 1:, 1:])
        go_on += _gather(cell[:, :-1], chances, go_on.size).reshape(go_on.shape)
        chances = np.exp(before[:, :-1] + self.skip[:, :-1, None] + after[:, 1:]).sum(axis=2)
        skip += _gather(self.source[:, :-1], chances, skip.size)

    def _before(self, add: Callable[[Any, Any], Any]) -> Float[np.ndarray, "B S T"]:
        """Log-probability to come to each cell from the beginning, over all walks or the best.

        Cells of one diagonal depend on those before it alone and are filled in together.
        """
        rows, places, ends = self.stay.shape
        table = np.full((rows, places, ends + 1), LOG_ZERO)
        table[:, 0, 0] = 0.0
        flat, stay, go_on = (_flat(part) for part in (table, self.stay, self.go_on))
        for total in range(1, places + ends):
            first, last = max(0, total - ends), min(places - 1, total)
            left, above = min(last, total - 1), max(first, 1)
            found = np.full((rows, last - first + 1), LOG_ZERO)
            before = flat[:, _along(above - 1, last - 1, total - 1, ends + 1)]
            found[:, above - first :] = before + self.skip[:, above - 1 : last]
            if left >= above:
                came = flat[:, _along(above - 1, left - 1, total - 2, ends + 1)]
                came = came + go_on[:, _along(above - 1, left - 1, total - 2, ends)]
                part = found[:, above - first : left - first + 1]
                part[:] = add(part, came)
            stayed = flat[:, _along(first, left, total - 1, ends + 1)]
            stayed = stayed + stay[:, _along(first, left, total - 1, ends)]
            part = found[:, : left - first + 1]
            part[:] = add(part, stayed)
            flat[:, _along(first, last, total, ends + 1)] = found
        return table

    def _after(self) -> Float[np.ndarray, "B S T"]:
        """Log-probability to come from each cell to the end of its pair."""
        rows, places, ends = self.stay.shape
        table = np.full((rows, places, ends + 1), LOG_ZERO)
        table[np.arange(rows), self.lengths, self.ends] = 0.0
        flat, stay, go_on = (_flat(part) for part in (table, self.stay, self.go_on))
        for total in reversed(range(places + ends - 1)):
            first, last = max(0, total - ends), min(places - 1, total)
            right, below = max(first, total - ends + 1), min(last, places - 2)
            found = flat[:, _along(first, last, total, ends + 1)]
            if below >= first:
                going = flat[:, _along(first + 1, below + 1, total + 1, ends + 1)]
                going = going + self.skip[:, first : below + 1]
                if below >= right:
                    further = flat[:, _along(right + 1, below + 1, total + 2, ends + 1)]
                    further = further + go_on[:, _along(right, below, total, ends)]
                    part = going[:, right - first :]
                    part[:] = _add(part, further)
                part = found[:, : below - first + 1]
                part[:] = _add(part, going)
            if last >= right:
                staying = flat[:, _along(right, last, total + 1, ends + 1)]
                staying = staying + stay[:, _along(right, last, total, ends)]
                part = found[:, right - first :]
                part[:] = _add(part, staying)
        return table


def _flat(table: Float[np.ndarray, "B S T"]) -> Float[np.ndarray, "B ST"]:
    """Tables whose rows stand one behind the other, without a copy."""
    return table.reshape(len(table), -1)


def _along(first: int, last: int, total: int, width: int) -> slice:
    """The cells (place, total - place), from place ``first`` to ``last``, of such a table."""
    step = width - 1
    return slice(first * step + total, last * step + total + 1, step)


def _choose(sources: Sequence[Ids], targets: Sequence[Ids], seed: int) -> list[int]:
    """Rows drawn until their tables are large enough; in the order of the data."""
    drawn: list[int] = []
    room = MOST_CELLS
    for row in map(int, np.random.default_rng(seed).permutation(len(sources))):
        room -= (len(sources[row]) + 1) * (len(targets[row]) + 1)
        if room < 0 and drawn:
            break
        drawn.append(row)
    return sorted(drawn)


def _blocks(sources: Sequence[Ids], targets: Sequence[Ids]) -> list[list[int]]:
    """Rows of similar lengths together, so many that their tables have about ``BLOCK`` cells."""
    order = sorted(range(len(sources)), key=lambda row: (len(sources[row]), len(targets[row])))
    blocks: list[list[int]] = []
    longest = 0
    for row in order:
        longest = max(longest if blocks else 0, len(targets[row]) + 1)
        if not blocks or (len(blocks[-1]) + 1) * (len(sources[row]) + 1) * longest > BLOCK:
            blocks.append([])
            longest = len(targets[row]) + 1
        blocks[-1].append(row)
    return blocks


def _fill(rows: Sequence[Ids], *, more: int, fill: int, least: int = 1) -> Int[np.ndarray, "B T"]:
    """Rows in one array, of ``least`` columns, with ``more`` columns than the longest needs."""
    width = max(least, max(map(len, rows)) + more)
    table = np.full((len(rows), width), fill, dtype=np.int64)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return table


def _gather(
    cells_of: Int[np.ndarray, "..."], chances: Float[np.ndarray, "..."], size: int
) -> Float[np.ndarray, "N"]:
    """The sums of the chances by cell."""
    sums = np.bincount(cells_of.ravel(), weights=chances.ravel(), minlength=size)
    return sums.astype(np.float64, copy=False)  # of no cells they come as whole numbers


def _add(one: Float[np.ndarray, "..."], other: Float[np.ndarray, "..."]) -> Any:
    """log(e^one + e^other), several times as fast as ``numpy.logaddexp``."""
    return np.maximum(one, other) + np.log1p(np.exp(-np.abs(one - other)))


def _log(chances: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The logarithm, of 0 a number that is as good as -inf and can be calculated with."""
    logs: np.ndarray = np.log(chances, out=np.full_like(chances, LOG_ZERO), where=chances > 0)
    return logs
