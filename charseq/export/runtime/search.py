"""a step function -> outputs: the beam search of ``charseq.decoding.search``, without its options.

A model has ``step(symbols, state) -> (log-probabilities, state)`` and ``select(state, rows,
width)``. A width of 1 is greedy search.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from charseq.export.runtime.text import BOS, EOS


class Hypothesis(NamedTuple):
    """One output: ids without EOS, log-probability, and whether the limit cut it."""

    ids: tuple[int, ...]
    score: float
    """Of the ids, and of EOS unless the output is truncated."""
    truncated: bool = False
    end: float = 0.0
    """Log-probability of EOS after a truncated output."""


def penalty(length: int, strength: float) -> float:
    """The divisor of the score of an output of ``length`` symbols (Wu et al. 2016)."""
    return math.pow((5 + length) / 6, strength)


def add_logs(first: float, second: float) -> float:
    """log(e^first + e^second)."""
    high, low = max(first, second), min(first, second)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


class Finished:
    """The finished outputs of every text, best first, and the bound for unfinished ones."""

    def __init__(self, limits: Sequence[int], width: int, strength: float) -> None:
        self.outputs: list[list[Hypothesis]] = [[] for _ in limits]
        self.width = width
        self.strength = strength
        self.limits = limits
        self.largest = [penalty(limit + 1, strength) for limit in limits]

    def normalised(self, one: Hypothesis) -> float:
        """The score by which outputs are compared."""
        return one.score / penalty(len(one.ids) + 1, self.strength)

    def threshold(self, text: int) -> float:
        """The normalised score of output number ``width``; -inf while there are fewer."""
        own = self.outputs[text]
        return self.normalised(own[-1]) if len(own) == self.width else -math.inf

    def add(self, text: int, ids: tuple[int, ...], score: float) -> None:
        """Add an output that ended, if it is better than the last of ``width``."""
        one = Hypothesis(ids, score)
        if self.normalised(one) > self.threshold(text):
            own = self.outputs[text]
            own.append(one)
            own.sort(key=lambda each: -self.normalised(each))
            del own[self.width :]

    def continues(
        self, text: int, best: float, ids: tuple[int, ...], score: float, end: float
    ) -> bool:
        """Whether the ``best`` continuation, of the row ``ids``, may still be an output.

        At the limit the row is the first output, truncated, if its continuation beats all others.
        """
        normalised = best / self.largest[text]
        if best == -math.inf or normalised <= self.threshold(text):
            return False
        if len(ids) < self.limits[text]:
            return True
        own = self.outputs[text]
        if not own or normalised > self.normalised(own[0]):
            own.insert(0, Hypothesis(ids, score, truncated=True, end=end))
            del own[self.width :]
        return False


def expand(scores: Any, logs: Any) -> tuple[Any, Any, Any]:
    """The 2 W best continuations of each text, best first: row, symbol, score; ties by index."""
    count, width, size = logs.shape
    totals = (scores[:, :, None] + logs).reshape(count, width * size)
    wanted = min(2 * width, width * size)
    best = np.empty((count, wanted), dtype=np.int64)
    for text, row in enumerate(totals):
        least = np.partition(row, len(row) - wanted)[len(row) - wanted]
        indices = np.flatnonzero(row >= least)
        best[text] = indices[np.argsort(-row[indices], kind="stable")][:wanted]
    return best // size, best % size, np.take_along_axis(totals, best, axis=1)


def beam(
    model: Any,
    state: Any,
    limits: Sequence[int],
    *,
    width: int,
    length_penalty: float = 0.0,
    silent: int | None = None,
    empty: bool = False,
) -> list[list[Hypothesis]]:
    """Up to ``width`` outputs for each text, best first; ``state`` has one row per text.

    ``silent`` is the symbol that writes nothing; ``empty``: whether an output may be empty.
    """
    found = Finished(limits, width, length_penalty)
    alive = np.arange(len(limits))
    state = model.select(state, np.repeat(alive, width), width)
    symbols = np.full(len(limits) * width, BOS)
    scores = np.full((len(limits), width), -np.inf)
    scores[:, 0] = 0.0
    written: list[list[tuple[int, ...]]] = [[()] * width for _ in limits]
    blank = np.zeros((len(limits), width), dtype=bool)  # rows that cannot end yet
    blank[:, 0] = not empty
    while len(alive):
        logs, state = model.step(symbols, state)
        logs = logs.reshape(len(alive), width, -1)
        logs[blank, EOS] = -np.inf
        parents, chosen, totals = expand(scores, logs)
        stays, taken = [], []
        for place, text in enumerate(alive.tolist()):
            ends = chosen[place] == EOS
            for index in np.flatnonzero(ends[:width]).tolist():
                found.add(text, written[place][parents[place, index]], float(totals[place, index]))
            going = np.argsort(ends, kind="stable")[:width]
            row = int(parents[place, going[0]])
            best, score = float(totals[place, going[0]]), float(scores[place, row])
            if found.continues(
                text, best, written[place][row], score, float(logs[place, row, EOS])
            ):
                stays.append(place)
                taken.append(going)
        if not stays:
            break
        active = np.array(taken)
        parents, chosen, scores = (
            np.take_along_axis(one[stays], active, axis=1) for one in (parents, chosen, totals)
        )
        blank = np.take_along_axis(blank[stays], parents, axis=1)
        blank &= chosen == (-1 if silent is None else silent)
        written = [
            [(*written[place][row], symbol) for row, symbol in zip(*pair, strict=True)]
            for place, *pair in zip(stays, parents.tolist(), chosen.tolist(), strict=True)
        ]
        state = model.select(state, (np.array(stays)[:, None] * width + parents).ravel(), width)
        symbols = chosen.ravel()
        alive = alive[stays]
    return found.outputs
