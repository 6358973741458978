"""Probabilities by the formula in plain arithmetic, numbers found again in drawn rows, ECE."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.confidence.calibration import (
    MAX_TEMPERATURE,
    MIN_INPUTS,
    MIN_SOURCES,
    Calibration,
    Event,
    expected_calibration_error,
    fit,
    reliability,
)
from charseq.errors import CheckpointError

PLAIN = {"temperature": 1.0, "rest": 0.0, "ece_before": 9.0, "ece_after": 1.5, "examples": 200}
SCORES = st.lists(st.floats(1e-12, 1.0), min_size=1, max_size=8).map(
    lambda parts: [math.log(part / (sum(parts) * 1.01)) for part in parts]
)


def calibration(temperature: float, rest: float) -> Calibration:
    return Calibration(**{**PLAIN, "temperature": temperature, "rest": rest})


def draw(
    temperature: float, rest: float, rows: int, *, width: int = 4, seed: int = 1
) -> list[Event]:
    """Rows that come true as the formula says."""
    random = np.random.default_rng(seed)
    events = []
    for row in range(rows):
        parts = np.sort(random.dirichlet([0.6] * (width + 1))[1:])
        scores = np.log(np.maximum(parts[::-1], 1e-9)).tolist()
        chances = calibration(temperature, rest).probabilities(scores)
        place = int(random.choice(width + 1, p=[*chances, 1 - math.fsum(chances)]))
        events.append(Event(f"source {row}", scores, None if place == width else place))
    return events


# --- probabilities


@given(SCORES, st.floats(0.2, 5), st.floats(-8, 8))
def test_the_formula(scores: list[float], temperature: float, rest: float) -> None:
    found = calibration(temperature, rest).probabilities(scores)
    powers = [math.exp(score) ** (1 / temperature) for score in scores]
    left = max(1 - sum(math.exp(score) for score in scores), 1e-6) ** (1 / temperature)
    total = sum(powers) + math.exp(rest) * left
    assert found == pytest.approx([power / total for power in powers], rel=1e-6, abs=1e-12)


@given(SCORES, st.floats(0.2, 5), st.floats(-8, 8))
def test_the_order_stays_and_the_sum_is_at_most_one(
    scores: list[float], temperature: float, rest: float
) -> None:
    scores = sorted(scores, reverse=True)
    found = calibration(temperature, rest).probabilities(scores)
    assert found == sorted(found, reverse=True)
    assert min(found) >= 0
    assert math.fsum(found) <= 1 + 1e-12


def test_temperature_one_and_rest_zero_change_nothing() -> None:
    scores = [math.log(0.5), math.log(0.2), math.log(0.1)]
    assert calibration(1.0, 0.0).probabilities(scores) == pytest.approx([0.5, 0.2, 0.1])


@pytest.mark.parametrize("scores", [[0.0], [1e-7, -20.0], [-4000.0, -5000.0], [-1e-12]])
def test_scores_at_the_edge_give_probabilities(scores: list[float]) -> None:
    for temperature in (1 / MAX_TEMPERATURE, 1.0, MAX_TEMPERATURE):
        found = calibration(temperature, -3.0).probabilities(scores)
        assert all(0 <= one <= 1 for one in found)
        assert math.fsum(found) <= 1 + 1e-12


# --- fit


@pytest.mark.parametrize(("temperature", "rest"), [(0.6, -2.0), (1.8, 1.0), (0.8, 0.5)])
def test_the_parameters_of_drawn_rows_are_found(temperature: float, rest: float) -> None:
    found = fit(draw(temperature, rest, 6000))
    assert found is not None
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.rest == pytest.approx(rest, abs=0.2)
    assert found.examples == 6000
    assert found.ece_after < 2.5
    assert found.ece_after < found.ece_before


def test_the_fit_is_a_maximum_of_the_likelihood() -> None:
    """Nothing of the fit's own arithmetic is used to judge it."""
    events = draw(0.7, -1.5, 1500)
    found = fit(events)
    assert found is not None

    def surprise(temperature: float, rest: float) -> float:
        """With what is held against extremes: 1/T around 1, by 0.5; rest around 0, by 5."""
        total = 0.5 * ((1 / temperature - 1) / 0.5) ** 2 + 0.5 * (rest / 5) ** 2
        for event in events:
            chances = calibration(temperature, rest).probabilities(event.scores)
            came = 1 - math.fsum(chances) if event.right is None else chances[event.right]
            total -= math.log(came)
        return total

    best = surprise(found.temperature, found.rest)
    for temperature, rest in ((1.02, 0), (0.98, 0), (1, 0.05), (1, -0.05)):
        assert surprise(found.temperature * temperature, found.rest + rest) > best


def test_rows_come_in_any_order_and_have_few_or_many_candidates() -> None:
    events = draw(0.5, -1.0, 400, width=3)
    events += [Event(f"greedy {one.source}", one.scores[:1], None) for one in events[:50]]
    found, turned = fit(events), fit(events[::-1])
    assert found is not None
    assert turned is not None
    assert found.temperature == pytest.approx(turned.temperature)
    assert found.rest == pytest.approx(turned.rest)


def test_too_few_sources_give_nothing() -> None:
    events = draw(0.5, -2.0, MIN_INPUTS)
    assert fit(events) is not None
    assert fit(events[1:]) is None
    assert fit(events[1:] * 5) is None, "the same sources again are no more of them"
    assert fit([]) is None


def test_where_every_row_is_right_or_none_is_the_numbers_stay_sound() -> None:
    events = draw(1.0, 0.0, 500)
    right = fit([Event(one.source, one.scores, 0) for one in events])
    assert right is not None
    assert 1 / MAX_TEMPERATURE <= right.temperature <= MAX_TEMPERATURE
    sure = right.probabilities(events[0].scores)[0]
    assert 0.5 < sure < 1
    wrong = fit([Event(one.source, one.scores, None) for one in events])
    assert wrong is not None
    assert 0 < math.fsum(wrong.probabilities(events[0].scores)) < 0.2


def test_scores_in_the_wrong_order_are_not_fitted() -> None:
    events = [Event(one.source, one.scores, 3) for one in draw(1.0, 0.0, 2000)]
    found = fit(events)
    assert found is None or found.temperature <= MAX_TEMPERATURE


def test_a_fit_that_makes_the_held_out_error_worse_is_not_kept() -> None:
    """Likelihood counts the few rows that were sure and wrong; the error counts the many others."""
    events = draw(1.0, 0.0, 160)
    random = np.random.default_rng(0)
    kept = grown = 0
    for _ in range(60):
        some = [events[row] for row in random.integers(0, 160, 150)]
        some = [replace(one, source=str(row)) for row, one in enumerate(some)]
        reasons: list[str] = []
        found = fit(some, reasons.append)
        assert (found is None) == (len(reasons) == 1)
        if found is not None:
            assert found.ece_after <= found.ece_before
            kept += 1
        grown += "would grow from" in "".join(reasons)
    assert kept
    assert grown


def test_the_reason_for_no_fit_is_told() -> None:
    reasons: list[str] = []
    assert fit(draw(0.5, -2.0, MIN_INPUTS)[1:], reasons.append) is None
    assert reasons == [
        "dev has 99 answered inputs of 99 sources, expected 100 inputs of 20 sources"
    ]


def test_calibrated_scores_are_hardly_changed() -> None:
    found = fit(draw(1.0, 0.0, 3000))
    assert found is None or (abs(found.temperature - 1) < 0.1 and abs(found.rest) < 0.2)


# --- expected calibration error


def test_the_error_of_two_bins_by_hand() -> None:
    sure = [0.9, 0.1, 0.8, 0.3]
    # sorted 0.1 0.3 | 0.8 0.9: means 0.2 and 0.85 against shares 0.5 and 0.5
    right = [True, False, False, True]
    assert expected_calibration_error(sure, right, bins=2) == pytest.approx((0.3 + 0.35) / 2)
    assert expected_calibration_error(sure, right, bins=1) == pytest.approx(abs(0.525 - 0.5))


def test_equal_probabilities_do_not_depend_on_the_order_of_rows() -> None:
    sure = [0.5] * 40
    right = [True] * 20 + [False] * 20
    assert expected_calibration_error(sure, right) == pytest.approx(0)
    assert expected_calibration_error(sure, right[::-1]) == pytest.approx(0)
    assert expected_calibration_error([0.75] * 40, right) == pytest.approx(0.25)


def test_errors_of_opposite_sign_do_not_cancel() -> None:
    sure = [0.2] * 50 + [0.8] * 50
    right = [True] * 25 + [False] * 25 + [True] * 25 + [False] * 25
    assert expected_calibration_error(sure, right, bins=10) == pytest.approx(0.3)


def test_arrays_and_few_rows_are_taken() -> None:
    found = expected_calibration_error(np.array([1.0, 0.0]), np.array([True, False]))
    assert found == 0
    assert expected_calibration_error([0.25], [False]) == 0.25


def test_the_bins_of_a_reliability_diagram_by_hand() -> None:
    sure = [0.9, 0.1, 0.8, 0.3, 0.3]
    right = [True, False, False, True, False]
    mean, came, sizes = reliability(sure, right, bins=2)
    assert mean == pytest.approx([0.7 / 3, 0.85])
    assert came == pytest.approx([1 / 3, 0.5])
    assert sizes.tolist() == [3, 2]
    mean, came, sizes = reliability(sure[:2], right[:2])
    assert (mean.tolist(), came.tolist(), sizes.tolist()) == ([0.1, 0.9], [0.0, 1.0], [1, 1])


@pytest.mark.parametrize(("sure", "right"), [([], []), ([0.5], []), ([0.5], [True, False])])
def test_outcomes_of_another_length_are_refused(sure: list[float], right: list[bool]) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        expected_calibration_error(sure, right)


# --- JSON


def test_json_round_trip() -> None:
    one = Calibration(**PLAIN)
    assert Calibration.from_json(one.to_json()) == one
    assert Calibration.from_json(None) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"temperature": math.nan}, "temperature is nan, expected a number from 0.1 to 10"),
        ({"temperature": 0}, "temperature is 0,"),
        ({"temperature": -1.0}, "temperature is -1.0,"),
        ({"temperature": math.inf}, "temperature is inf,"),
        ({"temperature": "1"}, "temperature is '1',"),
        ({"temperature": True}, "temperature is True,"),
        ({"temperature": None}, "temperature is None,"),
        ({"rest": math.nan}, "rest is nan, expected a number from -50 to 50"),
        ({"rest": 1e9}, "rest is "),
        ({"rest": [1] * 99}, r"rest is \[1, 1"),
        ({"ece_before": -1}, "ece_before is -1"),
        ({"ece_after": 101.0}, "ece_after is 101.0"),
        ({"examples": 0}, "examples is 0, expected a number above 0"),
        ({"examples": 1.5}, "examples is 1.5"),
        ({"more": 1}, "must have temperature, rest, ece_before, ece_after, examples"),
    ],
)
def test_a_damaged_calibration_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said) as caught:
        Calibration.from_json({**PLAIN, **change})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 160


@pytest.mark.parametrize("value", [[], "text", 1.5, {}, {"temperature": 1.0}])
def test_an_object_with_other_fields_is_refused(value: Any) -> None:
    with pytest.raises(CheckpointError, match="'calibration' must have"):
        Calibration.from_json(value)


def test_the_least_number_of_sources() -> None:
    events = draw(0.5, -2.0, 400)

    def of(words: int) -> list[Event]:
        return [Event(str(k % words), one.scores, one.right) for k, one in enumerate(events)]

    assert fit(of(MIN_SOURCES)) is not None
    assert fit(of(MIN_SOURCES - 1)) is None
