"""Predictions and their candidates: the answer type of every model.

:class:`charseq.inference.predictor.PairsModel` and
:class:`charseq.inference.language_model.LanguageModel` return them; file conversion, evaluation
and the command line read them. This module knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from charseq.errors import CheckpointError, SettingError, UsageError

if TYPE_CHECKING:
    from charseq.decoding.search import Hypothesis

ORIGINS = MODEL, LEXICON, MEMORY, WORDS = "model", "lexicon", "memory", "words"
"""The origins of a candidate."""

Calibrated = Callable[[Sequence[float]], Sequence[float]]
"""Scores of all candidates of a text, best first -> their probabilities."""

UNLIKELY = 0.01
"""Below this probability an answer under a rule is told to be unlikely."""
_ROUNDING = 1e-9
"""Probabilities that miss a mass by less count as reaching it: 0.5 + 0.3 + 0.1 is below 0.9."""
_RULE_ROUNDING = 1e-5
"""A bound for the rounding of the probability that a rule removes, from float32 logits."""


@dataclass(frozen=True)
class Candidate:
    """One possible answer to a text."""

    prediction: str
    """The answer: the rewritten text, or a word. An empty one says that there is no answer."""
    probability: float
    """How likely it is that exactly this answer is right, 0 to 1: calibrated, where the run was
    calibrated; else the model's own probability. For one text they sum to at most 1. Of a truncated
    answer it is the probability that the text ends where it was cut. Under a rule it is that of the
    answer among all answers which keep the rule."""
    score: float
    """Natural logarithm of the model's own probability, with what its joint n-grams, and a list
    of words in use, make of it; -inf where that is 0, as of a truncated answer that cannot end
    there, or where the model did not find a remembered answer."""
    origin: str = MODEL
    """``model``, ``words`` (a list of words has moved the answer up), ``memory`` (a target of this
    source in training) or ``lexicon``. Probabilities from the lexicon sum to 1 for themselves."""


@dataclass(frozen=True)
class Prediction:
    """The answer of a model to one text, with the next best candidates."""

    source: str
    """The text."""
    prediction: str
    """The best answer: that of the first candidate; empty without candidates, where the model is
    ``unsure``, and where one that was taught empty targets says that there is no answer."""
    probability: float
    """How likely it is that the best answer is right, 0 to 1; also of one that is withheld."""
    unknown: list[str]
    """Symbols of the text that the model has never seen, each once."""
    truncated: bool
    """Whether the answer was cut at the length limit, because the model did not end it. It is the
    likeliest beginning, but mostly less probable than the candidates after it, which did end."""
    candidates: list[Candidate]
    """The best answers, best first, as many as were asked for; there may be fewer, and none where
    no answer was found that keeps a rule."""
    familiarity: float | None = None
    """How much the text is like those that the model was taught, 0 to 1; None where the run has no
    measure of it."""
    unsure: bool = False
    """Whether the best answer is withheld, because its probability is below the threshold that was
    asked for. The candidates stay."""

    @property
    def origin(self) -> str:
        """The origin of the best answer: ``model``, ``words``, ``memory`` or ``lexicon``."""
        return self.candidates[0].origin if self.candidates else MODEL

    def reaching(self, mass: float) -> Prediction:
        """The same prediction with its first candidates, until their probabilities reach ``mass``.

        All candidates stay if their sum is less than ``mass``.

        Raises:
            SettingError: ``mass`` is not above 0 and at most 1.
        """
        if not 0 < mass <= 1:
            raise SettingError(f"mass is {mass}, expected a number above 0, at most 1")
        probabilities = [one.probability for one in self.candidates]
        for count in range(1, len(probabilities)):
            if reach(probabilities[:count], mass):
                return replace(self, candidates=self.candidates[:count])
        return self

    def reaches(self, mass: float) -> bool:
        """Whether the probabilities of all candidates together reach ``mass``."""
        return reach((one.probability for one in self.candidates), mass)

    def above(self, threshold: float) -> Prediction:
        """The same prediction, its answer withheld where its probability is below ``threshold``.

        Answers of a lexicon are never withheld: they are the user's own.

        Raises:
            SettingError: ``threshold`` is not above 0 and at most 1.
        """
        check_threshold(threshold, SettingError)
        if self.candidates and is_unsure(self.probability, self.origin, threshold):
            return replace(self, prediction="", unsure=True)
        return self


def withholding(answers: list[Prediction], threshold: float | None) -> list[Prediction]:
    """The predictions, each :meth:`Prediction.above` the threshold; None withholds nothing."""
    return answers if threshold is None else [one.above(threshold) for one in answers]


def is_unsure(probability: float, origin: str, threshold: float | None) -> bool:
    """Whether a threshold withholds an answer of this probability; None withholds nothing."""
    return threshold is not None and origin != LEXICON and not probability >= threshold


def is_unlikely(probability: float, origin: str) -> bool:
    """Whether an answer under a rule is one that only the rule has left."""
    return origin == MODEL and probability < UNLIKELY


def check_threshold(threshold: Any, error: type[UsageError] = UsageError) -> None:
    """Raise ``error`` for a threshold that is no number above 0 and at most 1; None is none."""
    if threshold is None:
        return
    if not isinstance(threshold, int | float) or not 0 < threshold <= 1:
        what = f"threshold is {threshold!r:.60}, expected a number above 0, at most 1"
        raise error(what)


def reach(probabilities: Iterable[float], mass: float) -> bool:
    """Whether the sum of ``probabilities`` is ``mass`` or more, but for rounding."""
    return math.fsum(probabilities) >= mass - _ROUNDING


def remembered(
    answer: Prediction,
    ended: Sequence[Candidate],
    probabilities: Mapping[str, float],
    memory: Container[str],
    n: int,
) -> Prediction:
    """An answer of the model, with the targets that its source had in training.

    Args:
        answer: the model's.
        ended: its candidates that are not truncated.
        probabilities: of each candidate and each target in training, best first.
        memory: the targets in training.
        n: the most candidates.
    """
    own = {one.prediction: one for one in ended}
    candidates = [
        Candidate(text, probability, own[text].score if text in own else -math.inf,
                  MEMORY if text in memory else own[text].origin)
        for text, probability in islice(probabilities.items(), n)
    ]  # fmt: skip
    best = candidates[0]
    return replace(
        answer,
        prediction=best.prediction,
        probability=best.probability,
        unknown=[] if best.origin == MEMORY else answer.unknown,
        truncated=False,
        candidates=candidates,
    )


class ScoredText(NamedTuple):
    """One output of a search as a text."""

    text: str
    score: float
    """Log-probability of exactly this text, its end included."""
    penalty: float = 1.0
    """The score is divided by it before candidates are compared; 1 without a length penalty."""
    beginning: float | None = None
    """Of an output that was cut at the length limit: the log-probability of the text with whatever
    comes after it. None for outputs that ended."""

    @property
    def truncated(self) -> bool:
        """Whether the output was cut at the length limit."""
        return self.beginning is not None

    @property
    def merit(self) -> float:
        """The number by which outputs are compared: of a truncated one that of its beginning."""
        return (self.score if self.beginning is None else self.beginning) / self.penalty

    @property
    def continued(self) -> float:
        """Log-probability of whatever goes on after this text, whose output is truncated."""
        if self.beginning is None or self.score >= self.beginning:
            return -math.inf
        return self.beginning + math.log1p(-math.exp(self.score - self.beginning))

    def merged(self, other: ScoredText) -> ScoredText:
        """The same text with both probabilities added; truncated where both are."""
        from charseq.decoding.search import add_logs  # which loads NumPy

        beginning = None
        if self.beginning is not None and other.beginning is not None:
            beginning = add_logs(self.beginning, other.beginning)
        return self._replace(score=add_logs(self.score, other.score), beginning=beginning)


class FoundTexts(NamedTuple):
    """The outputs of a search as texts, and the probability that a rule has removed."""

    texts: list[ScoredText]
    removed: float = 0.0

    @classmethod
    def of(
        cls,
        texts: Sequence[ScoredText],
        allows: Callable[[str], str | None] | None,
        removed: float = 0.0,
    ) -> FoundTexts:
        """The texts that keep a rule, as ``allows`` gives them; None: there is no rule.

        ``removed`` grows by the probability of the others. An output that the length limit cut
        where the rule lets nothing end is not kept.
        """
        if allows is None:
            return cls(list(texts))
        named = [(allows(one.text), one) for one in texts]
        outside = [math.exp(one.score) for answer, one in named if answer is None]
        kept = [
            one._replace(text=answer)
            for answer, one in named
            if answer is not None and one.score > -math.inf
        ]
        return cls(kept, math.fsum([removed, *outside]))


def texts_of(
    hypotheses: Sequence[Hypothesis], write: Callable[[Sequence[int]], str], length_penalty: float
) -> list[ScoredText]:
    """Outputs of a search as texts; the probabilities of those that spell the same text are added.

    ``write``: ids -> text.
    """
    from charseq.decoding.search import penalty  # which loads NumPy

    found: dict[str, ScoredText] = {}
    cut = hypotheses[0].ids if hypotheses and hypotheses[0].truncated else None
    for one in hypotheses:
        if one.ids == cut and not one.truncated:
            continue  # the truncated output with its end, which its score has
        text = write(one.ids)
        divisor = penalty(len(one.ids) + 1, length_penalty) if length_penalty else 1.0
        beginning = one.score if one.truncated else None
        scored = ScoredText(text, one.score + one.end, divisor, beginning)
        found[text] = found[text].merged(scored) if text in found else scored
    return list(found.values())


def merge(outputs: Sequence[FoundTexts], weights: Sequence[float]) -> FoundTexts:
    """The outputs of several groups of networks, each text once, with its mean probability."""
    if len(outputs) == 1:
        return outputs[0]
    merged: dict[str, ScoredText] = {}
    for found, weight in zip(outputs, weights, strict=True):
        share = math.log(weight)
        for one in found.texts:
            beginning = None if one.beginning is None else one.beginning + share
            shared = one._replace(score=one.score + share, beginning=beginning)
            before = merged.get(one.text)
            merged[one.text] = shared if before is None else before.merged(shared)
    removed = [weight * found.removed for found, weight in zip(outputs, weights, strict=True)]
    return FoundTexts(list(merged.values()), math.fsum(removed))


def best_of(
    text: str,
    outputs: FoundTexts,
    unknown: list[str],
    n: int,
    *,
    calibrated: Calibrated | None,
    by_merit: bool,
    familiarity: float | None = None,
) -> Prediction:
    """The prediction for ``text``: the ``n`` best of all ``outputs``.

    Probabilities are calibrated by all outputs, not only by the ``n`` best, and by what goes on
    after truncated ones. A truncated output is the best or none. Without outputs, because a rule
    allows none of them, the prediction is empty and has no candidates.

    Args:
        text: the source.
        outputs: those that were found, each text once; and what a rule has removed, which
            :func:`given_rule` accounts for.
        unknown: symbols of the source that the model has never seen.
        n: the most candidates.
        calibrated: scores of all outputs -> probabilities; by default the exponential.
        by_merit: whether outputs are compared by merit although none is truncated.
        familiarity: of the source, see :class:`Prediction`.
    """
    merits: dict[str, float] | None = None
    kept = {one.text: one for one in outputs.texts}
    cut = [one for one in kept.values() if one.beginning is not None]
    if outputs.removed:
        calibrated = partial(given_rule, calibrated, outputs.removed)
    if cut or by_merit:
        merits = {one.text: one.merit for one in kept.values()}
    if cut and merits is not None:
        best = max(merits, key=merits.__getitem__)
        for one in cut:
            if one.text != best:
                del kept[one.text]
        if calibrated is not None:
            calibrated = partial(_beside, calibrated, [one.continued for one in cut])
    scores = {one.text: one.score for one in kept.values()}
    candidates = rank(scores, n, merits=merits, calibrated=calibrated)
    if not candidates:
        return Prediction(text, "", 0.0, unknown, False, [], familiarity)
    first = candidates[0]
    truncated = kept[first.prediction].truncated
    return Prediction(
        text, first.prediction, first.probability, unknown, truncated, candidates, familiarity
    )


def _beside(
    calibrated: Calibrated, continued: Sequence[float], scores: Sequence[float]
) -> Sequence[float]:
    """The calibrated probabilities of candidates beside outputs that go on beyond the limit."""
    return calibrated([*scores, *continued])[: len(scores)]


def given_rule(
    calibrated: Calibrated | None, removed: float, scores: Sequence[float]
) -> Sequence[float]:
    """The probabilities of candidates, given that the right answer keeps a rule.

    ``removed`` is the model's probability of outputs outside of the rule, as far as a search or a
    check has met them. What it has not met counts as within. So p / (1 - removed), which takes the
    place of the model's own probability p, is at most the conditional probability, and over all
    answers within the rule it sums to at most 1. It is calibrated like p. Where the model gives
    all answers within the rule less than about :data:`_RULE_ROUNDING`, all of these are small.
    """
    found = math.fsum(map(math.exp, scores))
    left = math.log(min(max(1.0 - removed + _RULE_ROUNDING, found), 1.0))
    given = [score - left for score in scores]
    return list(map(math.exp, given)) if calibrated is None else calibrated(given)


def refuse_below(least: int, *, whole: bool = True, **values: Any) -> None:
    """Raise SettingError for a value below ``least``, or of a wrong type, by its name."""
    kind: Any = Integral if whole else Real
    expected = "a whole number" if whole else "a number"
    for name, value in values.items():
        if not isinstance(value, kind):
            raise SettingError(f"{name} is {value!r:.60}, expected {expected}")
        if not value >= least:
            raise SettingError(f"{name} is {value}, expected {least} or more")


def check_counts(*, n: int, beam: int | None, mass: float | None, batch_size: int) -> None:
    """Raise UsageError for a number of candidates, or of texts, that is out of its limits."""
    for name, value in (("n", n), ("beam", beam), ("batch size", batch_size)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}, expected 1 or more")
    if mass is not None and not 0 < mass <= 1:
        raise UsageError(f"mass is {mass}, expected a number above 0, at most 1")


def require_numbers(scores: Iterable[float], path: Path | None) -> None:
    """Raise CheckpointError where a score of a model's answer is NaN or infinite.

    Finite weights can be so large that sums of them are not. ``path``: the run folder.
    """
    if not all(map(math.isfinite, scores)):
        raise CheckpointError("its weights overflow: no probability is a number", path=path)


def rank(
    scores: Mapping[str, float],
    n: int,
    *,
    merits: Mapping[str, float] | None = None,
    calibrated: Calibrated | None = None,
) -> list[Candidate]:
    """The ``n`` best candidates, best first; texts of equal merit keep their order.

    Args:
        scores: log-probability of each text.
        n: the most candidates to return.
        merits: the number of each text by which candidates are compared; by default the score.
        calibrated: scores of all texts, best first -> probabilities; by default the exponential.
    """
    if merits is None:
        ranked = sorted(scores.items(), key=lambda item: -item[1])
    else:
        ranked = sorted(scores.items(), key=lambda item: -merits[item[0]])
    if calibrated is None:
        return [Candidate(text, math.exp(score), score) for text, score in ranked[:n]]
    probabilities = calibrated([score for _, score in ranked])
    return [
        Candidate(text, probability, score)
        for (text, score), probability in zip(ranked[:n], probabilities, strict=False)
    ]
