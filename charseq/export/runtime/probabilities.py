"""Scores of outputs and the source -> answers with probabilities.

As in ``charseq.inference.prediction`` and ``charseq.confidence``, where the formulas are derived.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from charseq.export.runtime.search import Hypothesis, add_logs, penalty

MIN_REST = 1e-6
LEAST = 1e-12
BACKOFF, UNIGRAM_BACKOFF, UNSEEN = 2.0, 1.0, 1e-5
WINDOW = 3
MAX_FEATURE = 20.0
HASH_BITS = 22
MIXERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
SPREAD = 0xD6E8FEB86659FD93
WORD = 2**64 - 1


class Answer(NamedTuple):
    """One possible answer to a text."""

    text: str
    probability: float


class ScoredText(NamedTuple):
    """One output as a text; ``beginning`` is None for outputs that ended."""

    text: str
    score: float
    penalty: float = 1.0
    beginning: float | None = None

    @property
    def merit(self) -> float:
        """The number by which outputs are compared."""
        return (self.score if self.beginning is None else self.beginning) / self.penalty

    def merged(self, other: ScoredText) -> ScoredText:
        """The same text with both probabilities added; truncated where both are."""
        beginning = None
        if self.beginning is not None and other.beginning is not None:
            beginning = add_logs(self.beginning, other.beginning)
        return self._replace(score=add_logs(self.score, other.score), beginning=beginning)

    def shared(self, weight: float) -> ScoredText:
        """The same text with a part of its probability."""
        share = math.log(weight)
        beginning = None if self.beginning is None else self.beginning + share
        return self._replace(score=self.score + share, beginning=beginning)


def texts_of(
    outputs: Sequence[Hypothesis], write: Callable[[Sequence[int]], str], length_penalty: float
) -> list[ScoredText]:
    """Outputs as texts; those that spell the same text are added."""
    cut = outputs[0].ids if outputs and outputs[0].truncated else None
    found = []
    for one in outputs:
        if one.ids != cut or one.truncated:
            divisor = penalty(len(one.ids) + 1, length_penalty)
            beginning = one.score if one.truncated else None
            found.append(ScoredText(write(one.ids), one.score + one.end, divisor, beginning))
    return merge(found)


def merge(texts: Sequence[ScoredText]) -> list[ScoredText]:
    """Each text once, in the order of the first of its kind."""
    found: dict[str, ScoredText] = {}
    for one in texts:
        found[one.text] = found[one.text].merged(one) if one.text in found else one
    return list(found.values())


def rank(texts: Sequence[ScoredText], calibrated: Any) -> tuple[list[Answer], bool]:
    """All answers, best first, and whether the first is truncated: such a one is first or none."""
    ranked = sorted(texts, key=lambda one: -one.merit)
    beyond = [
        -math.inf
        if one.score >= one.beginning
        else one.beginning + math.log1p(-math.exp(one.score - one.beginning))
        for one in texts
        if one.beginning is not None
    ]
    kept = [one for place, one in enumerate(ranked) if one.beginning is None or not place]
    if not kept:
        return [], False
    scores = [one.score for one in kept]
    found = calibrated([*scores, *beyond]) if calibrated else map(math.exp, scores)
    answers = [Answer(one.text, share) for one, share in zip(kept, found, strict=False)]
    return answers, kept[0].beginning is not None


class Calibration:
    """A temperature and the weight of what was not found."""

    def __init__(self, fields: Mapping[str, float]) -> None:
        self.temperature = fields["temperature"]
        self.rest = fields["rest"]

    def probabilities(self, scores: Sequence[float]) -> list[float]:
        """The probability of each answer, from the scores of all."""
        left = max(1.0 - math.fsum(map(math.exp, scores)), MIN_REST)
        powers = [score / self.temperature for score in scores]
        other = math.log(left) / self.temperature + self.rest
        top = max([*powers, other])
        shares = [math.exp(power - top) for power in powers]
        total = math.fsum([*shares, math.exp(other - top)])
        return [share / total for share in shares]


class Confidence:
    """How familiar a source is, by its character n-grams and length; less is never surer."""

    def __init__(self, fields: Mapping[str, Any], calibration: Calibration) -> None:
        self.calibration = calibration
        self.weights = fields["weights"]
        self.known = known = fields["familiarity"]
        keys = np.frombuffer(base64.b64decode(known["keys"]), "<u4")
        codes = np.frombuffer(base64.b64decode(known["counts"]), np.uint8)
        values = np.exp2(codes.astype(np.float64) / 10) - 1
        self.counts = dict(zip(keys.tolist(), values.tolist(), strict=True))

    def measures(self, source: str) -> tuple[float, float]:
        """The familiarity of a source, 0 to 1, and the part of the logit that it has."""
        known, size = self.known, math.log(max(len(source), 1))
        mean, strangest = self._surprise(source)
        features = [
            min(max(value, 0.0), MAX_FEATURE)
            for value in (
                mean - known["surprise"],
                strangest - known["strangest"],
                size - math.log(known["longest"]),
                math.log(known["shortest"]) - size,
            )
        ]
        familiar = _logit_of(features, known["weights"])
        return _chance(familiar), _logit_of(features, [*self.weights[1:-1], 0.0])

    def probabilities(self, penalised: float, scores: Sequence[float]) -> list[float]:
        """The probability of each answer to a source with this part of the logit."""
        shares = self.calibration.probabilities(scores)
        bounded = min(max(shares[0], LEAST), 1 - LEAST)
        logit = math.log(bounded / (1 - bounded))
        first = _chance(self.weights[0] * logit + penalised + self.weights[-1])
        ratio = min(first / max(shares[0], LEAST), 1 / math.fsum(shares))
        return [share * ratio for share in shares]

    def _surprise(self, source: str) -> tuple[float, float]:
        """Mean surprise of the characters, and that of the strangest three in a row, in nats."""
        codes = [2, 2, *map(ord, source), 3]
        single = double = 0.0
        nats = [0.0, 0.0]
        for place in range(len(codes)):
            counts, mixed = [], 0
            for order in range(3):
                code = codes[place - order] if place >= order else 0
                mixed = (mixed + (code + 1) * MIXERS[order]) & WORD
                spread = ((mixed ^ (mixed >> 29)) * SPREAD) & WORD
                counts.append(self.counts.get(spread >> (64 - HASH_BITS), 0.0))
            if place >= 2:
                chance = (counts[0] + UNIGRAM_BACKOFF * UNSEEN) / (
                    self.known["symbols"] + UNIGRAM_BACKOFF
                )
                chance = min((counts[1] + BACKOFF * chance) / (single + BACKOFF), 1.0)
                chance = min((counts[2] + BACKOFF * chance) / (double + BACKOFF), 1.0)
                nats.append(-math.log(chance))
            single, double = counts[0], counts[1]
        windows = [sum(nats[end - WINDOW : end]) / WINDOW for end in range(3, len(nats) + 1)]
        return sum(nats) / (len(codes) - 2), max(windows)


def _logit_of(features: Sequence[float], weights: Sequence[float]) -> float:
    return weights[-1] + sum(w * f for w, f in zip(weights, features, strict=False))


def _chance(logit: float) -> float:
    return 1 / (1 + math.exp(-max(min(logit, 500.0), -500.0)))


class Memory:
    """The targets that sources had in training, and the weight of the model's word beside them."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.strength: float = fields["strength"]
        self._lines = {
            "\t".join(cells[:2]): cells[2:]
            for cells in (line.split("\t") for line in fields["entries"].split("\n"))
        }

    def find(self, key: str) -> dict[str, float]:
        """The targets of a source and their counts, the largest first."""
        cells = self._lines.get(key, [])
        counts = zip(cells[::2], map(float, cells[1::2]), strict=True)
        return dict(sorted(counts, key=lambda item: -item[1]))

    def mixed(self, counts: Mapping[str, float], answers: Sequence[Answer]) -> list[Answer]:
        """All answers of the memory and the model, best first."""
        total = math.fsum(counts.values()) + self.strength
        model = {one.text: one.probability for one in answers}
        found = [
            Answer(text, (counts.get(text, 0.0) + self.strength * model.get(text, 0.0)) / total)
            for text in dict.fromkeys([*counts, *model])
        ]
        return sorted(found, key=lambda one: -one.probability)
