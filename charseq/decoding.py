"""a step function -> sequences: greedy and beam search, sampling.

Search knows no model and models know no search; they meet in ``step`` and ``select``. A sequence's
score is the sum of its symbols' log-probabilities, so exp(score) is the probability that the model
gives to exactly this output, and over all outputs they sum to one. A beam may prefer longer outputs
than the score alone does: see :func:`penalty`. The scores stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from charseq.vocabulary import BOS, EOS

if TYPE_CHECKING:
    from jaxtyping import Float, Int


ROOM = 1.25
"""How much longer than the longest output seen for a length an output may get."""


@runtime_checkable
class Model(Protocol):
    """What search asks of a model; a state is the model's own affair."""

    def step(self, symbols: Int[np.ndarray, "N"], state: Any) -> tuple[Any, Any]:
        """Log-probabilities N V of the next symbol of every row, and the state after it."""
        ...

    def select(self, state: Any, rows: Int[np.ndarray, "M"], width: int) -> Any:
        """The state of other rows: ``width`` old rows for each text that stays, text by text."""
        ...


@dataclass(frozen=True)
class Hypothesis:
    """One output: its ids without EOS, its log-probability, and whether the limit cut it off."""

    ids: tuple[int, ...]
    score: float
    truncated: bool = False


@dataclass(frozen=True)
class Limits:
    """The longest output to allow, learnt from pairs: a table by source length, then a line.

    ``longest[i]`` is the most target symbols seen for any source of up to i symbols.
    """

    longest: tuple[int, ...]

    @classmethod
    def learn(cls, lengths: Sequence[tuple[int, int]]) -> Limits:
        """From (source symbols, target symbols) of the training pairs."""
        longest = [0] * (max(source for source, _ in lengths) + 1)
        for source, target in lengths:
            longest[source] = max(longest[source], target)
        for place in range(1, len(longest)):
            longest[place] = max(longest[place], longest[place - 1])
        return cls(tuple(longest))

    def of(self, length: int) -> int:
        """The limit for a source of so many symbols: what was seen, a quarter more, and four."""
        seen = self.longest[min(length, len(self.longest) - 1)]
        beyond = max(1.0, length / max(len(self.longest) - 1, 1))
        return math.ceil(seen * beyond * ROOM) + 4


def penalty(length: int, strength: float) -> float:
    """What the score of an output of ``length`` symbols, its end counted, is divided by.

    ((5 + length) / 6) ** strength (Wu et al. 2016, equation 14); 1 for the strength 0.
    """
    return math.pow((5 + length) / 6, strength)


def greedy(model: Model, state: Any, limits: Sequence[int]) -> list[Hypothesis]:
    """The likeliest symbol at every step, for one row per text; ``limits`` count symbols."""
    begin = np.full(len(limits), BOS)
    return _follow(model, begin, state, limits, lambda logs, _: logs.argmax(axis=1))


def sample(
    model: Model,
    symbols: Int[np.ndarray, "N"],
    state: Any,
    limits: Sequence[int],
    *,
    temperature: float,
    top_p: float,
    seeds: Sequence[Any],
    forbidden: Sequence[int] = (),
) -> list[Hypothesis]:
    """A sequence drawn for each row, which goes on after ``symbols``.

    Probabilities are raised to the power 1 / ``temperature``, where 0 takes the likeliest symbol;
    then the likeliest symbols whose sum reaches ``top_p``, in (0, 1], are drawn from (Holtzman et
    al. 2020). ``forbidden`` symbols are never written. A row has a generator of random numbers of
    its own, from its seed as ``numpy.random.default_rng`` takes it, so what is drawn for a row
    does not depend on its neighbours. Scores are the model's, whatever the temperature.
    """
    generators = [np.random.default_rng(seed) for seed in seeds]

    def choose(logs: Any, rows: Any) -> Any:
        allowed = np.array(logs, dtype=np.float64)
        allowed[:, list(forbidden)] = -np.inf
        if temperature == 0:
            return np.argmax(allowed, axis=1)
        pairs = zip(allowed, rows, strict=True)
        return np.array(
            [_draw(one, temperature, top_p, generators[row].random()) for one, row in pairs]
        )

    return _follow(model, symbols, state, limits, choose)


def best_places(values: Float[np.ndarray, "M"], n: int) -> Int[np.ndarray, "K"]:
    """Where the ``n`` largest values stand, the largest first; of equals the earlier place."""
    n = min(n, len(values))
    if not n:
        return np.empty(0, dtype=np.int64)
    least = np.partition(values, len(values) - n)[len(values) - n]
    places = np.flatnonzero(values >= least)
    return places[np.argsort(-values[places], kind="stable")][:n]


def beam(
    model: Model,
    state: Any,
    limits: Sequence[int],
    *,
    width: int,
    length_penalty: float = 0.0,
) -> list[list[Hypothesis]]:
    """Up to ``width`` outputs per text, best first; ``state`` has one row per text.

    Of the 2 x ``width`` best continuations of a text, those among the first ``width`` that end are
    finished and the first ``width`` that do not end go on. A text is done when nothing that goes on
    can still beat its ``width``-th finished output: scores only fall. So a beam of one is greedy,
    and a beam as wide as the space of outputs enumerates it. With ``length_penalty`` finished
    outputs are compared by their scores over the :func:`penalty` of their lengths; what goes on
    could at best keep its score and become as long as its limit allows.
    """
    searches = [_Search(limit, width, length_penalty) for limit in limits]
    alive = list(range(len(limits)))
    count = len(alive)
    state = model.select(state, np.repeat(np.arange(count), width), width)
    symbols = np.full(count * width, BOS)
    scores = np.full((count, width), -np.inf)
    scores[:, 0] = 0.0
    written = np.zeros((count, width, 0), dtype=np.int64)
    while alive:
        logs, state = model.step(symbols, state)
        parents, chosen, totals = _expand(scores, logs.reshape(len(alive), width, -1))
        rows, staying = [], []
        kept = np.zeros((len(alive), width), dtype=np.int64)
        for place, text in enumerate(alive):
            going = searches[text].advance(
                parents[place], chosen[place], totals[place], written[place], scores[place]
            )
            if going is not None:
                staying.append(place)
                kept[place] = going
                rows.append(place * width + parents[place][going])
        if not staying:
            break
        taken = kept[staying]
        parents = np.take_along_axis(parents[staying], taken, axis=1)
        chosen = np.take_along_axis(chosen[staying], taken, axis=1)
        scores = np.take_along_axis(totals[staying], taken, axis=1)
        before = np.take_along_axis(written[staying], parents[:, :, None], axis=1)
        written = np.concatenate([before, chosen[:, :, None]], axis=2)
        state = model.select(state, np.concatenate(rows), width)
        symbols = chosen.ravel()
        alive = [alive[place] for place in staying]
    return [search.best() for search in searches]


def _follow(
    model: Model,
    symbols: Int[np.ndarray, "N"],
    state: Any,
    limits: Sequence[int],
    choose: Callable[[Any, Any], Any],
) -> list[Hypothesis]:
    """One symbol at a time, as ``choose`` takes it from the log-probabilities of some rows."""
    count = len(limits)
    most = np.asarray(limits)
    found: list[Hypothesis | None] = [None] * count
    history: list[np.ndarray] = []
    scores = np.zeros(count)
    alive = np.arange(count)
    while len(alive):
        logs, state = model.step(symbols, state)
        symbols = choose(logs, alive)
        ended = symbols == EOS
        cut = ~ended & (most[alive] <= len(history))
        # a cut text keeps the score of what it wrote; the symbol beyond the limit is dropped
        scores[alive] += np.where(cut, 0.0, logs[np.arange(len(alive)), symbols])
        for row in np.flatnonzero(ended | cut):
            text = alive[row]
            ids = tuple(int(step[text]) for step in history)
            found[text] = Hypothesis(ids, float(scores[text]), bool(cut[row]))
        going = np.flatnonzero(~(ended | cut))
        if len(going) < len(alive):
            if not len(going):
                break
            state = model.select(state, going, 1)
        alive, symbols = alive[going], symbols[going]
        written = np.zeros(count, dtype=np.int64)
        written[alive] = symbols
        history.append(written)
    return [hypothesis for hypothesis in found if hypothesis is not None]


def _draw(logs: Float[np.ndarray, "V"], temperature: float, top_p: float, uniform: float) -> int:
    """The symbol that ``uniform``, in [0, 1), stands for."""
    with np.errstate(over="ignore"):
        chances = np.exp((logs - logs.max()) / temperature)
    if top_p < 1:
        places = np.argsort(-chances, kind="stable")
        sums = chances[places].cumsum()
        places = places[: int(np.searchsorted(sums, top_p * sums[-1])) + 1]
    else:
        places = np.flatnonzero(chances)
    sums = chances[places].cumsum()
    place = np.searchsorted(sums, uniform * sums[-1], side="right")
    return int(places[min(int(place), len(places) - 1)])


class _Search:
    """The finished outputs of one text, and whether its search goes on."""

    def __init__(self, limit: int, width: int, length_penalty: float) -> None:
        self.limit = limit
        self.width = width
        self.length_penalty = length_penalty
        self.largest = penalty(limit + 1, length_penalty)
        self.finished: list[Hypothesis] = []

    def advance(
        self,
        parents: Int[np.ndarray, "C"],
        chosen: Int[np.ndarray, "C"],
        totals: Float[np.ndarray, "C"],
        written: Int[np.ndarray, "W T"],
        scores: Float[np.ndarray, "W"],
    ) -> Int[np.ndarray, "W"] | None:
        """Take in one step's continuations, best first; the places of those that go on, or None."""
        ends = (chosen == EOS) & (totals > -np.inf)
        for place in np.flatnonzero(ends[: self.width]):
            ids = tuple(written[parents[place]].tolist())
            self.finished.append(Hypothesis(ids, float(totals[place])))
        self.finished = sorted(self.finished, key=self._demerit)[: self.width]
        going = np.flatnonzero(chosen != EOS)[: self.width]
        full = len(self.finished) == self.width
        if not len(going) or totals[going[0]] == -np.inf:
            return None
        if full and totals[going[0]] / self.largest <= -self._demerit(self.finished[-1]):
            return None
        if written.shape[1] >= self.limit:
            if not self.finished:
                best = int(scores.argmax())
                ids = tuple(written[best].tolist())
                self.finished = [Hypothesis(ids, float(scores[best]), truncated=True)]
            return None
        return going

    def best(self) -> list[Hypothesis]:
        """The finished outputs, best first."""
        return self.finished

    def _demerit(self, one: Hypothesis) -> float:
        return -one.score / penalty(len(one.ids) + 1, self.length_penalty)


def _expand(
    scores: Float[np.ndarray, "B W"], logs: Float[np.ndarray, "B W V"]
) -> tuple[Int[np.ndarray, "B C"], Int[np.ndarray, "B C"], Float[np.ndarray, "B C"]]:
    """The 2 W best continuations of every text, best first: parent row, symbol, total score."""
    count, width, size = logs.shape
    totals = (scores[:, :, None] + logs).reshape(count, width * size)
    wanted = min(2 * width, width * size)
    places = np.argpartition(-totals, wanted - 1, axis=1)[:, :wanted]
    found = np.take_along_axis(totals, places, axis=1)
    # Of equal totals the earlier place comes first. The partition does not know that, so where the
    # last one taken has equals that were left out, the whole row is sorted.
    last = found.min(axis=1, keepdims=True)
    tied = np.flatnonzero((totals == last).sum(axis=1) > (found == last).sum(axis=1))
    if len(tied):
        places[tied] = np.argsort(-totals[tied], axis=1, kind="stable")[:, :wanted]
        found = np.take_along_axis(totals, places, axis=1)
    order = np.lexsort((places, -found), axis=1)
    places = np.take_along_axis(places, order, axis=1)
    return places // size, places % size, np.take_along_axis(found, order, axis=1)
