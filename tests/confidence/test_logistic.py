"""The weights against the gradient of the loss, and against drawn outcomes; signs; limits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charseq.confidence import logistic
from charseq.errors import CheckpointError


def drawn(weights: list[float], rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    features = random.normal(2.0, 3.0, (rows, len(weights) - 1))
    chances = 1 / (1 + np.exp(-(features @ weights[:-1] + weights[-1])))
    return features, random.random(rows) < chances


def test_weights_are_found_again() -> None:
    true = [0.8, -0.5, 0.3]
    features, outcomes = drawn(true)
    found = logistic.fit(features, outcomes, np.ones(len(features)), [1, -1], [0.0, 0.0])
    assert found == pytest.approx(true, abs=0.07)


def test_the_gradient_is_zero_at_the_minimum() -> None:
    features, outcomes = drawn([0.8, -0.5, 0.3], rows=300)
    shares = np.random.default_rng(4).uniform(0.1, 2.0, 300)
    weights = np.array(logistic.fit(features, outcomes, shares, [1, -1], [0.5, 0.0]))
    left = shares * (logistic.chances(features, weights.tolist()) - outcomes)
    centre = np.average(features, axis=0, weights=shares)
    spread = np.sqrt(np.average((features - centre) ** 2, axis=0, weights=shares))
    gradient = ((features - centre) / spread).T @ left + (weights[:-1] - [0.5, 0.0]) * spread
    assert gradient == pytest.approx([0, 0], abs=1e-5)
    assert left.sum() == pytest.approx(0, abs=1e-5)


def test_a_weight_of_the_wrong_sign_is_left_out() -> None:
    features, outcomes = drawn([0.8, -0.5, 0.3])
    found = logistic.fit(features, outcomes, np.ones(len(features)), [1, 1], [0.0, 0.0])
    assert found[1] == 0
    alone = logistic.fit(features[:, :1], outcomes, np.ones(len(features)), [1], [0.0])
    assert [found[0], found[2]] == pytest.approx(alone, rel=1e-6)


def test_without_evidence_the_weights_are_those_expected() -> None:
    features = np.random.default_rng(7).normal(size=(2, 2))
    found = logistic.fit(features, np.array([True, False]), np.full(2, 1e-9), [1, -1], [1.0, -0.5])
    assert found[:2] == pytest.approx([1.0, -0.5])


def test_shares_count_as_repeated_rows() -> None:
    features, outcomes = drawn([0.8, 0.3], rows=200)
    shares = np.where(np.arange(200) < 50, 3.0, 1.0)
    index = np.repeat(np.arange(200), shares.astype(int))
    weighted = logistic.fit(features, outcomes, shares, [1], [0.0])
    repeated = logistic.fit(features[index], outcomes[index], np.ones(len(index)), [1], [0.0])
    assert weighted == pytest.approx(repeated, rel=0.02)


@pytest.mark.parametrize("outcome", [True, False])
def test_outcomes_that_are_all_equal_have_a_finite_fit(outcome: bool) -> None:
    features = np.random.default_rng(5).normal(size=(100, 2))
    found = logistic.fit(features, np.full(100, outcome), np.ones(100), [1, -1], [0.0, 0.0])
    assert all(math.isfinite(weight) for weight in found)
    chances = logistic.chances(features, found)
    assert (chances > 0.9).all() if outcome else (chances < 0.1).all()


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    features = np.random.default_rng(6).normal(size=(37, 4))
    weights = [0.3, -1.0, 0.7, 0.1, 2.0]
    together = logistic.chances(features, weights)
    alone = [logistic.chances(features[i : i + 1], weights)[0] for i in range(37)]
    assert together.tolist() == alone


def test_the_logistic_function_has_no_overflow() -> None:
    assert logistic.chance(0.0) == 0.5
    assert logistic.chance(-1e9) == pytest.approx(0, abs=1e-200)
    assert logistic.chance(1e9) == 1


@pytest.mark.parametrize(
    "value", [None, [1.0], [1.0, "2"], [1.0, True], [1.0, math.nan], [1.0, 1e5]]
)
def test_unsound_weights_are_refused(value: object) -> None:
    with pytest.raises(CheckpointError, match="weights of the thing"):
        logistic.weights_from_json(value, 2, "thing")


def test_sound_weights_are_taken() -> None:
    assert logistic.weights_from_json([1, -2.5], 2, "thing") == (1.0, -2.5)
