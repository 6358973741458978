"""Logistic regression with weights of known signs: features of an example -> a probability.

The loss is the weighted negative log-likelihood plus half the squared distances of the weights of
the standardised features (by weighted mean and deviation) from what is assumed. It is convex, and
Newton's method finds its minimum. A feature whose weight would get the wrong sign is left out (its
weight is 0), so that, for example, a stranger text is never surer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.errors import CheckpointError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

MAX_WEIGHT = 1e4
"""Largest absolute weight of a run."""
NEWTON_STEPS = 60
SMALLEST_STEP = 1e-9


def fit(
    features: Float[np.ndarray, "N F"],
    outcomes: Bool[np.ndarray, "N"],
    shares: Float[np.ndarray, "N"],
    signs: Sequence[int],
    expected: Sequence[float],
) -> tuple[float, ...]:
    """The weights of the features as they are, then the intercept.

    Args:
        features: one row for each example.
        outcomes: whether it came true.
        shares: how much each example counts.
        signs: 1 or -1 for each feature, the sign that its weight must have.
        expected: the weight of each feature that is assumed without evidence.
    """
    centre = np.average(features, axis=0, weights=shares)
    spread = np.sqrt(np.average((features - centre) ** 2, axis=0, weights=shares)) + 1e-9
    inputs = np.concatenate([(features - centre) / spread, np.ones((len(features), 1))], axis=1)
    active = np.ones(inputs.shape[1], dtype=np.bool_)
    wanted = np.array([*signs, 0.0])
    assumed = np.array([*(np.array(expected) * spread), 0.0])
    while True:
        point = np.zeros(inputs.shape[1])
        point[active] = _minimum(inputs[:, active], outcomes.astype(float), shares, assumed[active])
        wrong = wanted * point
        if not (wrong < 0).any():
            break
        active[int(wrong.argmin())] = False
    weights = point[:-1] / spread
    return (*map(float, weights), float(point[-1] - (weights * centre).sum()))


def _minimum(
    inputs: Float[np.ndarray, "N A"],
    outcomes: Float[np.ndarray, "N"],
    shares: Float[np.ndarray, "N"],
    assumed: Float[np.ndarray, "A"],
) -> Float[np.ndarray, "A"]:
    """The weights of the least loss; the last input is the intercept, which is free."""
    penalties = np.ones(inputs.shape[1])
    penalties[-1] = 1e-6

    def loss(at: Float[np.ndarray, "A"]) -> float:
        logits = inputs @ at
        likelihood = shares * (np.logaddexp(0.0, logits) - outcomes * logits)
        return float(likelihood.sum() + 0.5 * (penalties * (at - assumed) ** 2).sum())

    point = assumed.copy()
    now = loss(point)
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ point, -500, 500)))
        gradient = inputs.T @ (shares * (chance - outcomes)) + penalties * (point - assumed)
        curvature = (inputs * (shares * chance * (1 - chance))[:, None]).T @ inputs
        step = np.linalg.solve(curvature + np.diag(penalties), gradient)
        while (after := loss(point - step)) > now and np.abs(step).max() > SMALLEST_STEP:
            step = step / 2
        if after > now:
            break
        point, now = point - step, after
        if np.abs(step).max() <= SMALLEST_STEP:
            break
    return point


def logits(features: Float[np.ndarray, "N F"], weights: Sequence[float]) -> Float[np.ndarray, "N"]:
    """Sum of the weighted features and the intercept, each row by itself."""
    total = np.full(len(features), weights[-1])
    for column, weight in zip(features.T, weights, strict=False):
        total += weight * column  # a matrix product may depend on the number of rows
    return total


def chances(features: Float[np.ndarray, "N F"], weights: Sequence[float]) -> Float[np.ndarray, "N"]:
    """The probability of each row, 0 to 1."""
    found: np.ndarray = 1 / (1 + np.exp(-np.clip(logits(features, weights), -500, 500)))
    return found


def chance(logit: float) -> float:
    """1 / (1 + e^-x)."""
    return 1 / (1 + math.exp(-max(min(logit, 500.0), -500.0)))


def weights_from_json(value: Any, size: int, what: str) -> tuple[float, ...]:
    """The weights in an object that may come from a stranger.

    Raises:
        CheckpointError: not ``size`` numbers of at most ``MAX_WEIGHT``.
    """
    sound = isinstance(value, list) and len(value) == size
    if not sound or any(type(w) not in (int, float) or not abs(w) <= MAX_WEIGHT for w in value):
        raise CheckpointError(f"is damaged: the weights of the {what} are not {size} numbers")
    return tuple(map(float, value))
