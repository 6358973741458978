"""Predictions and their candidates: the answer type of every model.

:class:`charseq.inference.predictor.PairsModel` and
:class:`charseq.inference.language_model.LanguageModel` return them; file conversion, evaluation
and the command line read them. This module knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from charseq.errors import CheckpointError, SettingError, UsageError

ORIGINS = MODEL, LEXICON = "model", "lexicon"
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
    answer that cannot end there."""
    origin: str = MODEL
    """``model`` or ``lexicon``. Probabilities from the lexicon sum to 1 for themselves."""


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

    @property
    def origin(self) -> str:
        """The origin of the best answer: ``model`` or ``lexicon``."""
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
            if math.fsum(probabilities[:count]) >= mass - _ROUNDING:
                return replace(self, candidates=self.candidates[:count])
        return self


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
    by = scores if merits is None else merits
    ranked = sorted(scores.items(), key=lambda item: -by[item[0]])
    if calibrated is None:
        return [Candidate(text, math.exp(score), score) for text, score in ranked[:n]]
    probabilities = calibrated([score for _, score in ranked])
    return [
        Candidate(text, probability, score)
        for (text, score), probability in zip(ranked[:n], probabilities, strict=False)
    ]
