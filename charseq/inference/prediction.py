"""Predictions and their candidates: the answer type of every model.

:class:`charseq.inference.predictor.PairsModel` and
:class:`charseq.inference.language_model.LanguageModel` return them; file conversion, evaluation
and the command line read them. This module knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

from charseq.errors import CheckpointError, SettingError, UsageError

ORIGINS = MODEL, LEXICON, MEMORY = "model", "lexicon", "memory"
"""The origins of a candidate."""

_ROUNDING = 1e-9
"""Probabilities that miss a mass by less count as reaching it: 0.5 + 0.3 + 0.1 is below 0.9."""


@dataclass(frozen=True)
class Candidate:
    """One possible answer to a text."""

    prediction: str
    """The answer: the rewritten text, or a word."""
    probability: float
    """How likely it is that exactly this answer is right, 0 to 1: calibrated, where the run was
    calibrated; else the model's own probability. For one text they sum to at most 1. Of a truncated
    answer it is the probability that the text ends where it was cut."""
    score: float
    """Natural logarithm of the model's own probability; -inf where that is 0, as of a truncated
    answer that cannot end there, or where the model did not find a remembered answer."""
    origin: str = MODEL
    """``model``, ``memory`` (a target of this source in training) or ``lexicon``. Probabilities
    from the lexicon sum to 1 for themselves."""


@dataclass(frozen=True)
class Prediction:
    """The answer of a model to one text, with the next best candidates."""

    source: str
    """The text."""
    prediction: str
    """The best answer: that of the first candidate, empty without candidates."""
    probability: float
    """How likely it is that the best answer is right, 0 to 1."""
    unknown: list[str]
    """Symbols of the text that the model has never seen, each once."""
    truncated: bool
    """Whether the answer was cut at the length limit, because the model did not end it. It is the
    likeliest beginning, but mostly less probable than the candidates after it, which did end."""
    candidates: list[Candidate]
    """The best answers, best first, as many as were asked for; there may be fewer."""
    familiarity: float | None = None
    """How much the text is like those that the model was taught, 0 to 1; None where the run has no
    measure of it."""

    @property
    def origin(self) -> str:
        """The origin of the best answer: ``model``, ``memory`` or ``lexicon``."""
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
    scores = {one.prediction: one.score for one in ended}
    candidates = [
        Candidate(
            text, probability, scores.get(text, -math.inf), MEMORY if text in memory else MODEL
        )
        for text, probability in islice(probabilities.items(), n)
    ]
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
    calibrated: Callable[[Sequence[float]], Sequence[float]] | None = None,
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
