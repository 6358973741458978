"""Scores of answers and the source itself -> probabilities that hold off the beaten track.

A calibration by dev alone (:mod:`charseq.confidence.calibration`) holds for texts like dev's. It
says nothing of a text of another kind, to which a network mostly has a sure answer as well
(selective prediction under domain shift: Kamath et al. 2020, "Selective Question Answering under
Domain Shift"). So the probability of the first answer is fitted again, on dev and on strangers,
texts without a right answer, which count as ``SHARE`` of all texts::

    P = sigmoid(w0 logit q + w . features(source) + b)

with q the probability by the calibration, and features of :mod:`charseq.confidence.familiarity`.
The weights are those of a logistic regression, w0 not negative, w not positive: what is less
familiar is never surer. The other answers keep their ratios to the first, and all of one source sum
to at most 1; so the order of the answers stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charseq.confidence import logistic
from charseq.confidence.calibration import Calibration, Event, expected_calibration_error
from charseq.confidence.familiarity import FEATURES, Familiarity
from charseq.errors import CheckpointError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

SHARE = 0.1
"""The share of strangers among the texts for which the probabilities are to hold."""
SEPARABLE = 0.9
"""Least AUROC of dev's sources against a kind of strangers. Texts of a kind below it are too much
like sources: there may be right answers to them."""
SURE = 0.5
"""Strangers with an answer of a higher probability are counted; an empty answer is none."""
LEAST = 1e-12
"""Least probability, and least complement, of which a logit is taken."""
UNCHANGED = (1.0, *[0.0] * (len(FEATURES) + 1))
"""Weights that leave every probability as the calibration has it."""
_KEYS = {"weights", "strangers", "sure_before", "sure_after", "familiarity"}


class Source(NamedTuple):
    """The facts on a source without its answers."""

    familiarity: float
    """0 to 1: how much it is like dev's sources and unlike strangers."""
    penalty: float
    """The part of the logit of P that its features have: 0 or less."""


@dataclass(frozen=True)
class StrangerEvent:
    """A stranger with its kind and the scores of the answers to it."""

    event: Event
    kind: str


@dataclass(frozen=True, eq=False)
class Confidence:
    """What makes probabilities of scores: the calibration, and weights for the source."""

    calibration: Calibration
    familiarity: Familiarity
    weights: tuple[float, ...]
    """Of logit q, of the features, and the intercept."""
    strangers: int
    """Strangers that were learnt from."""
    sure_before: float
    """Percent of the strangers that have an answer of more than ``SURE`` by the calibration."""
    sure_after: float
    """The same with the confidence: each half of the strangers by the fit on the other half."""

    def sources(self, texts: Sequence[str]) -> list[Source]:
        """Familiarity and penalty of each source; a text does not change those of others."""
        features = self.familiarity.features(texts)
        familiar = self.familiarity.of_features(features)
        penalties = logistic.logits(features, [*self.weights[1:-1], 0.0])
        return [Source(*pair) for pair in zip(familiar.tolist(), penalties.tolist(), strict=True)]

    def probabilities(self, penalty: float, scores: Sequence[float]) -> list[float]:
        """The probability of each answer to a source with this penalty, from all their scores."""
        if not scores:
            return []
        shares = self.calibration.probabilities(scores)
        first = logistic.chance(self.weights[0] * _logit(shares[0]) + penalty + self.weights[-1])
        ratio = min(first / max(shares[0], LEAST), 1 / math.fsum(shares))
        return [share * ratio for share in shares]

    def to_json(self) -> dict[str, Any]:
        """All but the calibration; the inverse of :meth:`from_json`."""
        return {
            "weights": list(self.weights),
            "strangers": self.strangers,
            "sure_before": self.sure_before,
            "sure_after": self.sure_after,
            "familiarity": self.familiarity.to_json(),
        }

    @classmethod
    def from_json(cls, value: Any, calibration: Calibration | None) -> Confidence | None:
        """The confidence from an object that may come from a stranger; None from None.

        Raises:
            CheckpointError: not an object of these fields, a value out of its limits, or there is
                no calibration beside it.
        """
        if value is None:
            return None
        if not isinstance(value, dict) or value.keys() != _KEYS or calibration is None:
            names = ", ".join(sorted(_KEYS))
            raise CheckpointError(
                f"is damaged: 'confidence' must have {names}, beside a calibration"
            )
        if type(value["strangers"]) is not int or value["strangers"] < 1:
            raise CheckpointError("is damaged: no sound 'strangers' of the confidence")
        for name in ("sure_before", "sure_after"):
            if type(value[name]) not in (int, float) or not 0 <= value[name] <= 100:
                raise CheckpointError(f"is damaged: no sound '{name}' of the confidence")
        return cls(
            calibration,
            Familiarity.from_json(value["familiarity"]),
            logistic.weights_from_json(value["weights"], len(FEATURES) + 2, "confidence"),
            value["strangers"],
            float(value["sure_before"]),
            float(value["sure_after"]),
        )


def fit(
    calibration: Calibration,
    familiarity: Familiarity,
    events: Sequence[Event],
    strangers: Sequence[StrangerEvent],
    report: Callable[[str], None] = lambda _: None,
) -> Confidence | None:
    """The confidence of the largest likelihood of dev's ``events`` and ``strangers``.

    Args:
        calibration: fitted on ``events``.
        familiarity: of the training's and dev's sources, without weights.
        events: the dev rows.
        strangers: texts without a right answer; where a model was taught that some sources have
            none, the right answer is the empty one.
        report: gets the reason where strangers change no probability.

    Returns:
        None where no kind of strangers is told apart from dev's sources by their features. Where
        held-out rows (each half with the fit on the other) are no likelier, the familiarity is
        told, and the weights change no probability.
    """
    ordinary = familiarity.features([event.source for event in events])
    odd = familiarity.features([one.event.source for one in strangers])
    familiarity = _separated(familiarity, ordinary, odd)
    chosen = _separable(familiarity, ordinary, odd, [one.kind for one in strangers])
    if not chosen.any():
        report("no kind of strangers is unlike the sources of dev")
        return None
    odd = odd[chosen]
    strange = [one.event for one, kept in zip(strangers, chosen, strict=True) if kept]
    rows = _Rows.of(calibration, [*events, *strange], np.concatenate([ordinary, odd]), len(events))
    held_out = np.empty(len(rows.right))
    for half in (0, 1):
        weights = rows.where(rows.halves != half).fit()
        held_out[rows.halves == half] = rows.where(rows.halves == half).chances(weights)
    before = 1 / (1 + np.exp(-rows.features[:, 0]))
    known, odd_rows = slice(0, len(events)), slice(len(events), None)
    helps = rows.loss(held_out) < rows.loss(before)
    if not helps:
        report("held-out rows would be no likelier")
        held_out = before
    error = 100 * expected_calibration_error(held_out[known], rows.right[known])
    answered = ~rows.right[odd_rows]
    sure = [100 * float((answered & (part[odd_rows] > SURE)).mean()) for part in (before, held_out)]
    weights = rows.fit() if helps else UNCHANGED
    judged = replace(calibration, ece_after=error) if helps else calibration
    return Confidence(judged, familiarity, weights, len(strange), *sure)


def auroc(high: Float[np.ndarray, "N"], low: Float[np.ndarray, "M"]) -> float:
    """The probability that one of ``high`` exceeds one of ``low``; of equal values a half.

    Raises:
        ValueError: one of them is empty.
    """
    if not len(high) or not len(low):
        raise ValueError(f"{len(high)} and {len(low)} values, expected 1 or more of both")
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, "left") + np.searchsorted(ordered, high, "right")
    return float(below.sum() / (2 * len(high) * len(low)))


def _separated(
    familiarity: Familiarity,
    ordinary: Float[np.ndarray, "N F"],
    odd: Float[np.ndarray, "M F"],
) -> Familiarity:
    """With weights that tell dev's sources from strangers, both of the same weight in all."""
    features = np.concatenate([ordinary, odd])
    known = np.arange(len(features)) < len(ordinary)
    shares = np.where(known, 1.0, len(ordinary) / max(len(odd), 1))
    weights = logistic.fit(features, known, shares, [-1] * len(FEATURES), [0.0] * len(FEATURES))
    return replace(familiarity, weights=weights)


def _separable(
    familiarity: Familiarity,
    ordinary: Float[np.ndarray, "N F"],
    odd: Float[np.ndarray, "M F"],
    kinds: Sequence[str],
) -> Bool[np.ndarray, "M"]:
    """Whether each stranger is of a kind that the features tell apart from dev's sources."""
    known, strange = (familiarity.of_features(part) for part in (ordinary, odd))
    names = np.array(kinds)
    apart = [
        kind for kind in dict.fromkeys(kinds) if auroc(known, strange[names == kind]) >= SEPARABLE
    ]
    return np.isin(names, apart)


@dataclass(frozen=True)
class _Rows:
    """First answers as rows: logit q and the features of the source."""

    features: Float[np.ndarray, "N F"]
    right: Bool[np.ndarray, "N"]
    shares: Float[np.ndarray, "N"]
    """How much each row counts."""
    halves: Any
    """0 or 1; rows of one source are in the same half."""

    @classmethod
    def of(
        cls,
        calibration: Calibration,
        events: Sequence[Event],
        features: Float[np.ndarray, "N F"],
        known: int,
    ) -> _Rows:
        """``events`` are ``known`` dev rows, then strangers; these have ``SHARE`` of the weight."""
        logits = [_logit(calibration.probabilities(event.scores)[0]) for event in events]
        sources: dict[str, int] = {}
        halves = [sources.setdefault(event.source, len(sources)) % 2 for event in events]
        weight = SHARE / (1 - SHARE) * known / max(len(events) - known, 1)
        return cls(
            np.concatenate([np.array(logits)[:, None], features], axis=1),
            np.array([event.right == 0 for event in events]),
            np.where(np.arange(len(events)) < known, 1.0, weight),
            np.array(halves),
        )

    def where(self, chosen: Bool[np.ndarray, "N"]) -> _Rows:
        return _Rows(
            self.features[chosen], self.right[chosen], self.shares[chosen], self.halves[chosen]
        )

    def fit(self) -> tuple[float, ...]:
        """The weights; without evidence the calibration is right whatever the source."""
        signs = [1] + [-1] * len(FEATURES)
        calibrated = [1.0] + [0.0] * len(FEATURES)
        return logistic.fit(self.features, self.right, self.shares, signs, calibrated)

    def chances(self, weights: Sequence[float]) -> Float[np.ndarray, "N"]:
        return logistic.chances(self.features, weights)

    def loss(self, chances: Float[np.ndarray, "N"]) -> float:
        """The weighted negative log-likelihood of the outcomes, in nats."""
        came = np.where(self.right, chances, 1 - chances)
        return float((self.shares * -np.log(np.maximum(came, LEAST))).sum())


def _logit(share: float) -> float:
    bounded = min(max(share, LEAST), 1 - LEAST)
    return math.log(bounded / (1 - bounded))
