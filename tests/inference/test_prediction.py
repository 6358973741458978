"""Candidates in their order, and sums of probabilities as logarithms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charseq.decoding.search import add_logs
from charseq.errors import CheckpointError, SettingError
from charseq.inference.prediction import (
    Candidate,
    FoundTexts,
    Prediction,
    ScoredText,
    best_of,
    given_rule,
    merge,
    rank,
    require_numbers,
)


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


def test_sums_of_probabilities_too_small_for_a_float() -> None:
    assert add_logs(-5000.0, -5000.0) == pytest.approx(-5000 + math.log(2))
    assert add_logs(-2.0, -5000.0) == -2.0


def test_probabilities_may_be_calibrated_by_all_that_was_found() -> None:
    seen: list[list[float]] = []

    def halves(scores: Sequence[float]) -> list[float]:
        seen.append(list(scores))
        return [0.5 ** (place + 1) for place in range(len(scores))]

    found = rank({"a": -2.0, "b": -1.0, "c": -3.0}, 2, calibrated=halves)
    assert found == [Candidate("b", 0.5, -1.0), Candidate("a", 0.25, -2.0)]
    assert seen == [[-1.0, -2.0, -3.0]]


def test_merits_change_the_order_and_no_number() -> None:
    scores = {"long": -3.0, "short": -2.0}
    found = rank(scores, 2, merits={"long": -1.5, "short": -2.0})
    assert found == [Candidate("long", math.exp(-3), -3.0), Candidate("short", math.exp(-2), -2.0)]


# --- as many as have a mass together


def answer(*chances: float) -> Prediction:
    candidates = [Candidate(str(k), chance, -k) for k, chance in enumerate(map(float, chances))]
    return Prediction("a", "0", chances[0], [], truncated=False, candidates=candidates)


@pytest.mark.parametrize(
    ("mass", "count"),
    [(0.01, 1), (0.5, 1), (0.51, 2), (0.8, 2), (0.9, 3), (0.90001, 4), (0.99, 4), (1.0, 4)],
)
def test_the_fewest_candidates_that_reach_the_mass(mass: float, count: int) -> None:
    """0.5 + 0.3 + 0.1 is less than 0.9 in binary, which is no reason for a fourth."""
    full = answer(0.5, 0.3, 0.1, 0.05)
    assert full.reaching(mass).candidates == full.candidates[:count]
    assert full.reaching(mass).prediction == "0"


def test_the_first_candidate_always_stays() -> None:
    assert answer(0.0).reaching(1.0).candidates == answer(0.0).candidates
    empty = Prediction("a", "", 0.0, [], truncated=False, candidates=[])
    assert empty.reaching(0.5) == empty
    assert empty.origin == "model"


@pytest.mark.parametrize("mass", [0.0, -0.5, 1.01, math.nan, math.inf])
def test_a_mass_out_of_its_limits(mass: float) -> None:
    with pytest.raises(SettingError, match=r"^mass is .*, expected a number above 0, at most 1$"):
        answer(0.5).reaching(mass)


# --- answers that are withheld


@pytest.mark.parametrize(
    ("threshold", "unsure"), [(0.4, False), (0.5, False), (0.50001, True), (1, True)]
)
def test_an_answer_below_the_threshold_is_withheld(threshold: float, unsure: bool) -> None:
    """The second candidate does not count, whatever both have together."""
    full = answer(0.5, 0.5)
    found = full.above(threshold)
    assert found == (replace(full, prediction="", unsure=True) if unsure else full)
    assert found.candidates == full.candidates
    assert found.probability == 0.5


def test_answers_of_the_lexicon_are_never_withheld() -> None:
    own = [Candidate("x", 0.5, -0.7, "lexicon"), Candidate("y", 0.5, -0.7, "lexicon")]
    found = Prediction("a", "x", 0.5, [], truncated=False, candidates=own)
    assert found.above(0.9) == found


def test_a_text_without_candidates_has_nothing_to_withhold() -> None:
    empty = Prediction("a", "", 0.0, [], truncated=False, candidates=[])
    assert empty.above(0.9) == empty


@pytest.mark.parametrize("threshold", [0, 0.0, -0.5, 1.01, math.nan, math.inf, "0.9"])
def test_a_threshold_out_of_its_limits(threshold: Any) -> None:
    expected = r"^threshold is .*, expected a number above 0, at most 1$"
    with pytest.raises(SettingError, match=expected):
        answer(0.5).above(threshold)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_are_numbers(bad: float) -> None:
    require_numbers([], None)
    require_numbers([0.0, -1e308], Path("run"))
    with pytest.raises(CheckpointError, match=r"^run: its weights overflow: no probab"):
        require_numbers([-1.0, bad], Path("run"))


# --- a rule


def test_texts_that_a_rule_does_not_allow_are_removed_with_their_probability() -> None:
    texts = [
        ScoredText("a", math.log(0.4)),
        ScoredText("b", math.log(0.2)),
        ScoredText("c", -math.inf, beginning=-1.0),
    ]
    found = FoundTexts.of(texts, lambda text: None if text == "b" else text.upper(), 0.1)
    assert found.texts == [ScoredText("A", math.log(0.4))]
    assert found.removed == pytest.approx(0.3)
    assert FoundTexts.of(texts, None) == FoundTexts(texts, 0.0)


@pytest.mark.parametrize(
    ("removed", "expected"), [(0.5, [0.8, 0.2]), (0.2, [0.5, 0.125]), (0.9, [0.8, 0.2])]
)
def test_probabilities_given_a_rule_sum_to_at_most_one(
    removed: float, expected: list[float]
) -> None:
    """Also where rounding has removed too much."""
    scores = [math.log(0.4), math.log(0.1)]
    found = given_rule(None, removed, scores)
    assert found == pytest.approx(expected, abs=1e-4)
    assert sum(found) <= 1 + 1e-12
    # a rule that removes nothing changes nothing
    assert given_rule(None, 0.0, scores) == [math.exp(score) for score in scores]
    # the calibration gets scores, which never exceed 0
    assert all(score <= 0 for score in given_rule(lambda given: given, removed, scores))


def test_outputs_of_several_groups_remove_the_mean() -> None:
    groups = [FoundTexts([ScoredText("a", 0.0)], 0.5), FoundTexts([], 0.3)]
    merged = merge(groups, [0.25, 0.75])
    assert merged.texts == [ScoredText("a", math.log(0.25))]
    assert merged.removed == pytest.approx(0.35)


def test_without_outputs_there_is_no_candidate() -> None:
    found = best_of("x", FoundTexts([], 1.0), ["ß"], 3, calibrated=None, by_merit=True)
    assert found == Prediction("x", "", 0.0, ["ß"], False, [])
