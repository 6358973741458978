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

from charseq.data.text.vocabulary import BOS, EOS
from charseq.kernels import library

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped


LENGTH_MARGIN = 1.25
"""How much longer than the longest output seen for a length an output may get."""


@runtime_checkable
class StepModel(Protocol):
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


@runtime_checkable
class Searcher(Protocol):
    """A network that searches by itself, since it is not here that it is fast."""

    @property
    def actions(self) -> Any:
        """What hard attention writes; None where symbols are written."""
        ...

    def search(
        self,
        sources: Sequence[Sequence[int]],
        limits: Sequence[int],
        *,
        width: int,
        length_penalty: float = 0.0,
    ) -> list[list[Hypothesis]]:
        """Up to ``width`` outputs for each source, best first, as :func:`beam` gives them."""
        ...


@dataclass(frozen=True)
class LengthLimits:
    """The longest output to allow, learnt from pairs: a table by source length, then a line.

    ``longest[i]`` is the most target symbols seen for any source of up to i symbols.
    """

    longest: tuple[int, ...]

    @classmethod
    def learn(cls, lengths: Sequence[tuple[int, int]]) -> LengthLimits:
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
        return math.ceil(seen * beyond * LENGTH_MARGIN) + 4


@runtime_checkable
class Writer(Protocol):
    """A model that goes through a whole search by itself, from where its texts begin."""

    def write(
        self, state: Any, limits: Sequence[int], *, width: int, length_penalty: float
    ) -> list[list[Hypothesis]]:
        """What :func:`beam` finds, to the last bit."""
        ...


def penalty(length: int, strength: float) -> float:
    """What the score of an output of ``length`` symbols, its end counted, is divided by.

    ((5 + length) / 6) ** strength (Wu et al. 2016, equation 14); 1 for the strength 0.
    """
    return math.pow((5 + length) / 6, strength)


def greedy(model: StepModel, state: Any, limits: Sequence[int]) -> list[Hypothesis]:
    """The likeliest symbol at every step, for one row per text; ``limits`` count symbols."""
    if isinstance(model, Writer):
        return [one for one, *_ in model.write(state, limits, width=1, length_penalty=0.0)]
    begin = np.full(len(limits), BOS)
    return _follow(model, begin, state, limits, lambda logs, _: logs.argmax(axis=1))


def sample(
    model: StepModel,
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


def top_k(values: Float[np.ndarray, "M"], n: int) -> Int[np.ndarray, "K"]:
    """Where the ``n`` largest values stand, the largest first; of equals the earlier place."""
    n = min(n, len(values))
    if not n:
        return np.empty(0, dtype=np.int64)
    least = np.partition(values, len(values) - n)[len(values) - n]
    places = np.flatnonzero(values >= least)
    return places[np.argsort(-values[places], kind="stable")][:n]


def beam(
    model: StepModel,
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
    if isinstance(model, Writer):
        return model.write(state, limits, width=width, length_penalty=length_penalty)
    return _search(model, state, limits, width, length_penalty)


def _search(
    model: StepModel, state: Any, limits: Sequence[int], width: int, length_penalty: float
) -> list[list[Hypothesis]]:
    """A beam search, step by step, of all texts at once."""
    outputs = _Outputs(limits, width, length_penalty)
    count = len(limits)
    alive = np.arange(count)
    state = model.select(state, np.repeat(alive, width), width)
    symbols = np.full(count * width, BOS)
    scores = np.full((count, width), -np.inf)
    scores[:, 0] = 0.0
    written = np.zeros((count, width, 0), dtype=np.int64)
    while len(alive):
        logs, state = model.step(symbols, state)
        parents, chosen, totals = _best(scores, logs.reshape(len(alive), width, -1))
        outputs.finish(alive, parents, chosen, totals, written)
        going = np.argsort(chosen == EOS, axis=1, kind="stable")[:, :width]
        best = _pick(totals, going[:, :1])[:, 0]
        stays = np.flatnonzero(outputs.go_on(alive, best, written, scores))
        if not len(stays):
            break
        alive, taken = alive[stays], going[stays]
        parents = _pick(parents[stays], taken)
        chosen = _pick(chosen[stays], taken)
        scores = _pick(totals[stays], taken)
        before = _pick(written[stays], parents[:, :, None])
        written = np.concatenate([before, chosen[:, :, None]], axis=2)
        state = model.select(state, (stays[:, None] * width + parents).ravel(), width)
        symbols = chosen.ravel()
    return outputs.finished


def _follow(
    model: StepModel,
    symbols: Int[np.ndarray, "N"],
    state: Any,
    limits: Sequence[int],
    choose: Callable[[Any, Any], Any],
) -> list[Hypothesis]:
    """One symbol at a time, as ``choose`` takes it from the log-probabilities of some rows."""
    count = len(limits)
    most = np.asarray(limits, dtype=np.int64)
    history: list[np.ndarray] = []
    lengths, cuts, scores = np.zeros_like(most), np.zeros(count, dtype=np.bool_), np.zeros(count)
    alive = np.arange(count)
    while len(alive):
        logs, state = model.step(symbols, state)
        symbols = choose(logs, alive)
        ended = symbols == EOS
        cut = ~ended & (most[alive] <= len(history))
        # a cut text keeps the score of what it wrote; the symbol beyond the limit is dropped
        scores[alive] += np.where(cut, 0.0, logs[np.arange(len(alive)), symbols])
        over = ended | cut
        if over.any():
            lengths[alive[over]], cuts[alive[over]] = len(history), cut[over]
            going = np.flatnonzero(~over)
            if not len(going):
                break
            state = model.select(state, going, 1)
            alive, symbols = alive[going], symbols[going]
        history.append(np.zeros_like(most))
        history[-1][alive] = symbols
    ids = np.array(history, dtype=np.int64).reshape(len(history), count).T
    facts = zip(ids.tolist(), lengths.tolist(), scores.tolist(), cuts.tolist(), strict=True)
    return [Hypothesis(tuple(text[:size]), score, cut) for text, size, score, cut in facts]


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


class _Outputs:
    """The finished outputs of every text, best first, and whether its search goes on."""

    def __init__(self, limits: Sequence[int], width: int, length_penalty: float) -> None:
        self.width = width
        self.length_penalty = length_penalty
        self.finished: list[list[Hypothesis]] = [[] for _ in limits]
        self._limits = np.asarray(limits)
        self._largest = np.array([penalty(limit + 1, length_penalty) for limit in limits])
        self._bar = np.full(len(limits), -np.inf)
        """What a text's ``width``-th finished output is worth, once there is one: more is asked."""

    def finish(
        self,
        texts: Int[np.ndarray, "B"],
        parents: Int[np.ndarray, "B C"],
        chosen: Int[np.ndarray, "B C"],
        totals: Float[np.ndarray, "B C"],
        written: Int[np.ndarray, "B W T"],
    ) -> None:
        """Take in those of one step's continuations, best first, that end."""
        first = slice(self.width)
        worth = totals[:, first] / penalty(written.shape[2] + 1, self.length_penalty)
        ends = (chosen[:, first] == EOS) & (worth > self._bar[texts, None])
        for row in np.flatnonzero(ends.any(axis=1)):
            text = texts[row]
            finished = self.finished[text]
            for place in np.flatnonzero(ends[row]):
                ids = tuple(written[row, parents[row, place]].tolist())
                finished.append(Hypothesis(ids, float(totals[row, place])))
            finished.sort(key=self._demerit)
            del finished[self.width :]
            if len(finished) == self.width:
                self._bar[text] = -self._demerit(finished[-1])

    def go_on(
        self,
        texts: Int[np.ndarray, "B"],
        best: Float[np.ndarray, "B"],
        written: Int[np.ndarray, "B W T"],
        scores: Float[np.ndarray, "B W"],
    ) -> Bool[np.ndarray, "B"]:
        """Whether what does not end, the ``best`` of a text first, can still come to anything.

        A text that has come to its limit without an output keeps the best of what was written.
        """
        hopes = (best > -np.inf) & (best / self._largest[texts] > self._bar[texts])
        within: np.ndarray = written.shape[2] < self._limits[texts]
        for row in np.flatnonzero(hopes & ~within):
            if not self.finished[texts[row]]:
                place = int(scores[row].argmax())
                ids = tuple(written[row, place].tolist())
                cut = Hypothesis(ids, float(scores[row, place]), truncated=True)
                self.finished[texts[row]].append(cut)
        going: np.ndarray = hopes & within
        return going

    def _demerit(self, one: Hypothesis) -> float:
        return -one.score / penalty(len(one.ids) + 1, self.length_penalty)


def _best(
    scores: Float[np.ndarray, "B W"], logs: Float[np.ndarray, "B W V"]
) -> tuple[Int[np.ndarray, "B C"], Int[np.ndarray, "B C"], Float[np.ndarray, "B C"]]:
    """As :func:`_expand`, compiled where it can be; sums and order are the same to the last bit."""
    found = library.find() if logs.dtype == np.float32 else None
    return _expand(scores, logs) if found is None else found.expand(scores, logs)


def _expand(
    scores: Float[np.ndarray, "B W"], logs: Float[np.ndarray, "B W V"]
) -> tuple[Int[np.ndarray, "B C"], Int[np.ndarray, "B C"], Float[np.ndarray, "B C"]]:
    """The 2 W best continuations of every text, best first: parent row, symbol, total score."""
    count, width, size = logs.shape
    totals = (scores[:, :, None] + logs).reshape(count, width * size)
    wanted = min(2 * width, width * size)
    places = np.argpartition(-totals, wanted - 1, axis=1)[:, :wanted]
    found = _pick(totals, places)
    # Of equal totals the earlier place comes first. The partition does not know that, so where the
    # last one taken has equals that were left out, the whole row is sorted.
    last = found.min(axis=1, keepdims=True)
    tied = np.flatnonzero((totals == last).sum(axis=1) > (found == last).sum(axis=1))
    if len(tied):
        places[tied] = np.argsort(-totals[tied], axis=1, kind="stable")[:, :wanted]
        found = _pick(totals, places)
    order = np.lexsort((places, -found), axis=1)
    places = _pick(places, order)
    return places // size, places % size, _pick(found, order)


def _pick(values: Shaped[np.ndarray, "B ..."], places: Int[np.ndarray, "B ..."]) -> Any:
    """Of each text's values those at its places."""
    return np.take_along_axis(values, places, axis=1)


def add_logs(first: float, second: float) -> float:
    """log(e^first + e^second)."""
    high, low = max(first, second), min(first, second)
    return high + math.log1p(math.exp(low - high))
