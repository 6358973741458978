"""a step function -> sequences: greedy and beam search, sampling.

A search needs ``step`` and ``select`` of a model (:class:`StepModel`) and nothing else. The score
of a sequence is the sum of its symbols' log-probabilities, so exp(score) is the model's probability
of exactly this output, and over all outputs they sum to one. With a length penalty a beam compares
outputs by score over :func:`penalty`; the scores themselves do not change.

An output of a greedy or beam search is empty only where the caller allows it with ``empty``, for a
model that has learnt from empty targets. Else EOS is impossible until a symbol is written.
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
"""Longest output allowed, as a multiple of the longest one seen for a source length."""


@runtime_checkable
class StepModel(Protocol):
    """A model that predicts step by step; search does not look into its states."""

    def step(self, symbols: Int[np.ndarray, "N"], state: Any) -> tuple[Any, Any]:
        """Log-probabilities N V of the next symbol of every row, and the state after it.

        The caller may change the log-probabilities.
        """
        ...

    def select(self, state: Any, rows: Int[np.ndarray, "M"], width: int) -> Any:
        """The state of selected rows: ``width`` old rows for each text that stays, text by text."""
        ...


@runtime_checkable
class Guide(Protocol):
    """A rule that the rows of a beam follow, see ``constrained``."""

    def mask(
        self,
        logs: Float[np.ndarray, "B W V"],
        scores: Float[np.ndarray, "B W"],
        texts: Int[np.ndarray, "B"],
    ) -> None:
        """Make symbols impossible, in place. ``texts``: the numbers of the texts under way."""
        ...

    def follow(
        self,
        stays: Int[np.ndarray, "S"],
        parents: Int[np.ndarray, "S W"],
        chosen: Int[np.ndarray, "S W"],
    ) -> None:
        """The new rows: for the texts that stay, those ``parents`` and their next symbols."""
        ...


@dataclass(frozen=True)
class Hypothesis:
    """One output: ids without EOS, log-probability, and whether the limit truncated it."""

    ids: tuple[int, ...]
    score: float
    """Of the ids, and of EOS unless the output is truncated."""
    truncated: bool = False
    end: float = 0.0
    """Log-probability of EOS after a truncated output; 0 for others, whose score has it."""


NOTHING = Hypothesis((), -math.inf, truncated=True, end=-math.inf)
"""The output of a greedy search in which no symbol is possible."""


@runtime_checkable
class Searcher(Protocol):
    """A network with searches of its own, from sources to outputs, such as on a GPU."""

    @property
    def actions(self) -> Any:
        """The actions of hard attention; None where outputs are symbols."""
        ...

    def search(
        self,
        sources: Sequence[Sequence[int]],
        limits: Sequence[int],
        *,
        width: int,
        length_penalty: float = 0.0,
        empty: bool = False,
    ) -> list[list[Hypothesis]]:
        """Up to ``width`` outputs for each source, best first, as :func:`beam` gives them."""
        ...


@dataclass(frozen=True)
class LengthLimits:
    """The longest output to allow: a table by source length, learnt from pairs, then a line.

    ``longest[i]`` is the largest number of target symbols for any source of up to i symbols; 0
    where there was no source as short as that.
    """

    longest: tuple[int, ...]

    @classmethod
    def learn(cls, lengths: Sequence[tuple[int, int]]) -> LengthLimits:
        """From (source symbols, target symbols) of the training pairs."""
        longest = [0] * (max(source for source, _ in lengths) + 1)
        for source, target in lengths:
            longest[source] = max(longest[source], target)
        for index in range(1, len(longest)):
            longest[index] = max(longest[index], longest[index - 1])
        return cls(tuple(longest))

    def of(self, length: int) -> int:
        """The limit for a source of ``length`` symbols: the longest seen plus a quarter, plus 4.

        Sources shorter than all seen have the limit of the shortest; beyond the longest the limit
        grows in proportion.
        """
        seen = self.longest[min(length, len(self.longest) - 1)]
        seen = seen or next(filter(None, self.longest), 0)
        beyond = max(1.0, length / max(len(self.longest) - 1, 1))
        return math.ceil(seen * beyond * LENGTH_MARGIN) + 4


@runtime_checkable
class BeamSearcher(Protocol):
    """A model with a beam search of its own, from a fresh state, such as the compiled one."""

    def beam(
        self,
        state: Any,
        limits: Sequence[int],
        *,
        width: int,
        length_penalty: float,
        empty: bool = False,
    ) -> list[list[Hypothesis]]:
        """The outputs of :func:`beam`, to the last bit."""
        ...


def penalty(length: int, strength: float) -> float:
    """The divisor of the score of an output of ``length`` symbols, EOS included.

    ((5 + length) / 6) ** strength (Wu et al. 2016, equation 14); 1 for the strength 0.
    """
    return math.pow((5 + length) / 6, strength)


def greedy(
    model: StepModel,
    state: Any,
    limits: Sequence[int],
    *,
    silent: int | None = None,
    empty: bool = False,
) -> list[Hypothesis]:
    """The most probable symbol at every step, one row per text; ``limits`` count symbols.

    ``silent``: the symbol that writes nothing, such as a deletion; None where each writes.
    ``empty``: whether an output may be empty.
    """
    if isinstance(model, BeamSearcher):
        found = model.beam(state, limits, width=1, length_penalty=0.0, empty=empty)
        return [best[0] if best else NOTHING for best in found]
    return _greedy(model, state, limits, silent, empty=empty)


def _greedy(
    model: StepModel, state: Any, limits: Sequence[int], silent: int | None, *, empty: bool
) -> list[Hypothesis]:
    """A greedy search, step by step, of all texts at once."""
    blank = np.full(len(limits), not empty)  # rows that cannot end yet

    def choose(logs: Any, rows: Any) -> Any:
        logs[blank[rows], EOS] = -np.inf
        symbols = logs.argmax(axis=1)
        blank[rows] &= symbols == (-1 if silent is None else silent)
        return symbols

    return _follow(model, np.full(len(limits), BOS), state, limits, choose)


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
    """A random sequence after ``symbols`` for each row, by nucleus sampling (Holtzman et al. 2020).

    Probabilities are raised to the power 1 / ``temperature``, where 0 takes the most probable
    symbol. A symbol is drawn from the most probable ones whose sum reaches ``top_p``, in (0, 1].
    ``forbidden`` symbols are never drawn. Each row has a generator of its own, from its seed as
    ``numpy.random.default_rng`` takes it, so a row does not depend on its neighbours. Scores are
    the model's, whatever the temperature.
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
    """Indices of the ``n`` largest values, largest first; of equal values the earlier index."""
    n = min(n, len(values))
    if not n:
        return np.empty(0, dtype=np.int64)
    least = np.partition(values, len(values) - n)[len(values) - n]
    indices = np.flatnonzero(values >= least)
    return indices[np.argsort(-values[indices], kind="stable")][:n]


def beam(
    model: StepModel,
    state: Any,
    limits: Sequence[int],
    *,
    width: int,
    length_penalty: float = 0.0,
    silent: int | None = None,
    guide: Guide | None = None,
    empty: bool = False,
) -> list[list[Hypothesis]]:
    """Up to ``width`` outputs per text, best first; ``state`` has one row per text.

    Of the 2 x ``width`` best continuations of a text, those with EOS among the first ``width`` are
    finished, and the first ``width`` without EOS are continued. A text is done when none of these
    can beat its finished output number ``width``, since scores only fall. So a beam of one is
    greedy, and a beam as wide as the space of outputs enumerates it. With ``length_penalty``
    outputs are compared by their scores over the :func:`penalty` of their lengths; the bound for a
    continued row is its score over the penalty of the longest output allowed.

    At the limit of a text its best continuation is cut off. Where it is likelier than every
    finished output, the ids before it are the first output, truncated. ``silent`` and ``empty``
    as for :func:`greedy`. ``guide``: the rule that the rows follow.
    """
    if guide is None and isinstance(model, BeamSearcher):
        return model.beam(state, limits, width=width, length_penalty=length_penalty, empty=empty)
    return _search(model, state, limits, width, length_penalty, silent, guide=guide, empty=empty)


def _search(
    model: StepModel,
    state: Any,
    limits: Sequence[int],
    width: int,
    length_penalty: float,
    silent: int | None,
    *,
    guide: Guide | None = None,
    empty: bool,
) -> list[list[Hypothesis]]:
    """A beam search, step by step, of all texts at once; by ``guide``, if there is one."""
    outputs = _Outputs(limits, width, length_penalty)
    count = len(limits)
    alive = np.arange(count)
    state = model.select(state, np.repeat(alive, width), width)
    symbols = np.full(count * width, BOS)
    scores = np.full((count, width), -np.inf)
    scores[:, 0] = 0.0
    written = np.zeros((count, width, 0), dtype=np.int64)
    blank = np.zeros((count, width), dtype=np.bool_)  # rows that cannot end yet
    blank[:, 0] = not empty
    while len(alive):
        logs, state = model.step(symbols, state)
        logs = logs.reshape(len(alive), width, -1)
        logs[blank, EOS] = -np.inf
        if guide is not None:
            guide.mask(logs, scores, alive)
        parents, chosen, totals = _best(scores, logs)
        outputs.add_finished(alive, parents, chosen, totals, written)
        active = np.argsort(chosen == EOS, axis=1, kind="stable")[:, :width]
        best, above = (_pick(array, active[:, :1])[:, 0] for array in (totals, parents))
        stays = np.flatnonzero(
            outputs.continues(alive, best, above, written, scores, logs[:, :, EOS])
        )
        if not len(stays):
            break
        alive, taken = alive[stays], active[stays]
        parents = _pick(parents[stays], taken)
        chosen = _pick(chosen[stays], taken)
        if guide is not None:
            guide.follow(stays, parents, chosen)
        scores = _pick(totals[stays], taken)
        blank = _pick(blank[stays], parents) & (chosen == (-1 if silent is None else silent))
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
    """One symbol at a time, chosen by ``choose`` from the log-probabilities of some rows."""
    count = len(limits)
    bounds = np.asarray(limits, dtype=np.int64)
    history: list[np.ndarray] = []
    lengths, cuts = np.zeros_like(bounds), np.zeros(count, dtype=np.bool_)
    scores, ends = np.zeros(count), np.zeros(count)
    alive = np.arange(count)
    while len(alive):
        logs, state = model.step(symbols, state)
        symbols = choose(logs, alive)
        ended = symbols == EOS
        cut = ~ended & (bounds[alive] <= len(history))
        # a truncated text keeps the score of its symbols; the one beyond the limit is dropped
        scores[alive] += np.where(cut, 0.0, logs[np.arange(len(alive)), symbols])
        over = ended | cut
        if over.any():
            lengths[alive[over]], cuts[alive[over]] = len(history), cut[over]
            ends[alive[cut]] = logs[cut, EOS]
            active = np.flatnonzero(~over)
            if not len(active):
                break
            state = model.select(state, active, 1)
            alive, symbols = alive[active], symbols[active]
        history.append(np.zeros_like(bounds))
        history[-1][alive] = symbols
    ids = np.array(history, dtype=np.int64).reshape(len(history), count).T
    columns = (ids, lengths, scores, cuts, ends)
    facts = zip(*(column.tolist() for column in columns), strict=True)
    return [Hypothesis(tuple(text[:size]), *rest) for text, size, *rest in facts]


def _draw(logs: Float[np.ndarray, "V"], temperature: float, top_p: float, uniform: float) -> int:
    """The symbol that a uniform random number in [0, 1) selects."""
    with np.errstate(over="ignore"):
        probabilities = np.exp((logs - logs.max()) / temperature)
    if top_p < 1:
        indices = np.argsort(-probabilities, kind="stable")
        sums = probabilities[indices].cumsum()
        indices = indices[: int(np.searchsorted(sums, top_p * sums[-1])) + 1]
    else:
        indices = np.flatnonzero(probabilities)
    sums = probabilities[indices].cumsum()
    index = np.searchsorted(sums, uniform * sums[-1], side="right")
    return int(indices[min(int(index), len(indices) - 1)])


class _Outputs:
    """The finished outputs of every text, best first, and the bound for unfinished ones."""

    def __init__(self, limits: Sequence[int], width: int, length_penalty: float) -> None:
        self.width = width
        self.length_penalty = length_penalty
        self.finished: list[list[Hypothesis]] = [[] for _ in limits]
        self._limits = np.asarray(limits)
        self._largest = np.array([penalty(limit + 1, length_penalty) for limit in limits])
        self._threshold = np.full(len(limits), -np.inf)
        """Normalised score of a text's finished output number ``width``, once there is one."""

    def add_finished(
        self,
        texts: Int[np.ndarray, "B"],
        parents: Int[np.ndarray, "B C"],
        chosen: Int[np.ndarray, "B C"],
        totals: Float[np.ndarray, "B C"],
        written: Int[np.ndarray, "B W T"],
    ) -> None:
        """Add those of one step's continuations, best first, that end with EOS."""
        first = slice(self.width)
        normalised = totals[:, first] / penalty(written.shape[2] + 1, self.length_penalty)
        ends = (chosen[:, first] == EOS) & (normalised > self._threshold[texts, None])
        for row in np.flatnonzero(ends.any(axis=1)):
            text = texts[row]
            finished = self.finished[text]
            for index in np.flatnonzero(ends[row]):
                ids = tuple(written[row, parents[row, index]].tolist())
                finished.append(Hypothesis(ids, float(totals[row, index])))
            finished.sort(key=self._negated_score)
            del finished[self.width :]
            if len(finished) == self.width:
                self._threshold[text] = -self._negated_score(finished[-1])

    def continues(
        self,
        texts: Int[np.ndarray, "B"],
        best: Float[np.ndarray, "B"],
        above: Int[np.ndarray, "B"],
        written: Int[np.ndarray, "B W T"],
        scores: Float[np.ndarray, "B W"],
        ends: Float[np.ndarray, "B W"],
    ) -> Bool[np.ndarray, "B"]:
        """Whether the ``best`` continuation of a text, of row ``above``, can beat its threshold.

        At the limit of a text the row is its first output, truncated, if that continuation beats
        all finished ones. ``ends``: log-probabilities of EOS after each row.
        """
        normalised = best / self._largest[texts]
        promising = (best > -np.inf) & (normalised > self._threshold[texts])
        within: np.ndarray = written.shape[2] < self._limits[texts]
        for row in np.flatnonzero(promising & ~within):
            finished, at = self.finished[texts[row]], (row, above[row])
            if not finished or normalised[row] > -self._negated_score(finished[0]):
                ids, score, end = tuple(written[at].tolist()), float(scores[at]), float(ends[at])
                finished.insert(0, Hypothesis(ids, score, truncated=True, end=end))
                del finished[self.width :]
        active: np.ndarray = promising & within
        return active

    def _negated_score(self, one: Hypothesis) -> float:
        """Minus the normalised score, the key that sorts outputs best first."""
        return -one.score / penalty(len(one.ids) + 1, self.length_penalty)


def _best(
    scores: Float[np.ndarray, "B W"], logs: Float[np.ndarray, "B W V"]
) -> tuple[Int[np.ndarray, "B C"], Int[np.ndarray, "B C"], Float[np.ndarray, "B C"]]:
    """As :func:`_expand`, by the compiled library where it is there, to the last bit."""
    found = library.find() if logs.dtype == np.float32 else None
    return _expand(scores, logs) if found is None else found.expand(scores, logs)


def _expand(
    scores: Float[np.ndarray, "B W"], logs: Float[np.ndarray, "B W V"]
) -> tuple[Int[np.ndarray, "B C"], Int[np.ndarray, "B C"], Float[np.ndarray, "B C"]]:
    """The 2 W best continuations of every text, best first: parent row, symbol, total score."""
    count, width, size = logs.shape
    totals = (scores[:, :, None] + logs).reshape(count, width * size)
    wanted = min(2 * width, width * size)
    indices = np.argpartition(-totals, wanted - 1, axis=1)[:, :wanted]
    found = _pick(totals, indices)
    # Ties are ordered by index. A partition is not stable, so where the last total taken equals one
    # that was left out, the whole row is sorted.
    last = found.min(axis=1, keepdims=True)
    tied = np.flatnonzero((totals == last).sum(axis=1) > (found == last).sum(axis=1))
    if len(tied):
        indices[tied] = np.argsort(-totals[tied], axis=1, kind="stable")[:, :wanted]
        found = _pick(totals, indices)
    order = np.lexsort((indices, -found), axis=1)
    indices = _pick(indices, order)
    return indices // size, indices % size, _pick(found, order)


def _pick(values: Shaped[np.ndarray, "B ..."], indices: Int[np.ndarray, "B ..."]) -> Any:
    """The values of each text at its indices."""
    return np.take_along_axis(values, indices, axis=1)


def add_logs(first: float, second: float) -> float:
    """log(e^first + e^second)."""
    high, low = max(first, second), min(first, second)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
