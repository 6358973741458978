"""scores of texts -> candidates, best first: what every model says of a source.

It knows no models; ``predictor`` and ``suggest`` both answer in these terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from charseq.errors import SettingError

MODEL, LEXICON = "model", "lexicon"
"""Where a candidate may come from."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Candidate:
    """One output, and how likely it is that exactly it is right."""

    prediction: str
    probability: float
    """Calibrated, where the run was; else the model's own. They sum to at most 1 for one source."""
    score: float
    """The natural logarithm of the probability that the model itself gives to this output."""
    origin: str = MODEL
    """``model``, or ``lexicon``: it stands in the user's own file. Each sums to 1 for itself."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one source; ``candidates`` are best first, the first is the answer."""

    source: str
    prediction: str
    probability: float
    unknown: list[str]
    """Symbols of the source that the model has never seen, each once."""
    truncated: bool
    """No output came to its end within the length limit; this is its beginning."""
    candidates: list[Candidate]

    @property
    def origin(self) -> str:
        """Where the answer comes from."""
        return self.candidates[0].origin if self.candidates else MODEL

    def reaching(self, mass: float) -> Prediction:
        """The same with the first candidates, as many as it takes to have ``mass`` together.

        All of them, if together they have less.

        Raises:
            SettingError: ``mass`` is not above 0 and at most 1.
        """
        if not 0 < mass <= 1:
            raise SettingError(f"mass is {mass}, expected a number above 0, at most 1")
        chances = [one.probability for one in self.candidates]
        for count in range(1, len(chances)):
            if math.fsum(chances[:count]) >= mass - _ROUNDING:
                return replace(self, candidates=self.candidates[:count])
        return self


def rank(
    scores: Mapping[str, float],
    n: int,
    *,
    penalties: Mapping[str, float] | None = None,
    calibrated: Callable[[Sequence[float]], Sequence[float]] | None = None,
) -> list[Candidate]:
    """The ``n`` best of texts and the logarithms of their probabilities; equals stay in order.

    ``penalties``: what a text's score is divided by before it is compared. ``calibrated``: from
    the scores of all texts, not only of the ``n``, to probabilities.
    """

    def merit(item: tuple[str, float]) -> float:
        return -item[1] / (penalties[item[0]] if penalties else 1.0)

    ranked = sorted(scores.items(), key=merit)
    if calibrated is None:
        return [Candidate(text, math.exp(score), score) for text, score in ranked[:n]]
    chances = calibrated([score for _, score in ranked])
    return [
        Candidate(text, chance, score)
        for (text, score), chance in zip(ranked[:n], chances, strict=False)
    ]
