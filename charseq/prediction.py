"""scores of texts -> candidates, best first: what every model says of a source.

It knows no models; ``predictor`` and ``suggest`` both answer in these terms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """One output and the model's probability of exactly it (over all outputs they sum to 1)."""

    prediction: str
    probability: float
    score: float
    """The natural logarithm of the probability."""


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


def rank(scores: Mapping[str, float], n: int) -> list[Candidate]:
    """The ``n`` best of texts and the logarithms of their probabilities; equals stay in order."""
    ranked = sorted(scores.items(), key=lambda item: -item[1])[:n]
    return [Candidate(text, math.exp(score), score) for text, score in ranked]


def add_logs(first: float, second: float) -> float:
    """log(e^first + e^second)."""
    high, low = max(first, second), min(first, second)
    return high + math.log1p(math.exp(low - high))
