"""Candidates in their order, and sums of probabilities as logarithms."""

from __future__ import annotations

import math

import pytest

from charseq.prediction import Candidate, add_logs, rank


def test_the_best_come_first_and_equals_keep_their_order() -> None:
    scores = {"a": -2.0, "b": -1.0, "c": -2.0, "d": -0.5}
    found = rank(scores, 3)
    assert [one.prediction for one in found] == ["d", "b", "a"]
    assert [one.score for one in found] == [-0.5, -1.0, -2.0]
    assert [one.probability for one in found] == [math.exp(one.score) for one in found]


@pytest.mark.parametrize("n", [4, 9])
def test_there_may_be_fewer(n: int) -> None:
    assert rank({"a": 0.0}, n) == [Candidate("a", 1.0, 0.0)]
    assert rank({}, n) == []


@pytest.mark.parametrize(("one", "other"), [(0.5, 0.25), (1e-300, 0.3), (0.2, 0.2)])
def test_probabilities_are_added(one: float, other: float) -> None:
    expected = math.log(one + other)
    assert add_logs(math.log(one), math.log(other)) == pytest.approx(expected)
    assert add_logs(math.log(other), math.log(one)) == pytest.approx(expected)


def test_sums_of_what_is_far_too_small_for_a_float() -> None:
    assert add_logs(-5000.0, -5000.0) == pytest.approx(-5000 + math.log(2))
    assert add_logs(-2.0, -5000.0) == -2.0
