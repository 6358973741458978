"""Risk and coverage against counts by hand, brute force over rows and pairs, and closed forms."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from charseq.data.pairs import Example
from charseq.evaluation import bootstrap, metrics, risk
from charseq.evaluation.risk import Levels
from charseq.evaluation.scoring import Outcome
from charseq.inference.prediction import Prediction


def outcome_of(rows: Sequence[tuple[float, bool]], names: Sequence[str] = ()) -> Outcome:
    """Rows by the probability of their answer and whether it is right, each of its own source."""
    names = names or [f"s{place}" for place in range(len(rows))]
    predictions = [
        Prediction(name, "a" if right else "b", sure, [], False, [])
        for name, (sure, right) in zip(names, rows, strict=True)
    ]
    judgements = [metrics.Judgement(right, 0 if right else 1, 1) for _, right in rows]
    return Outcome(
        [Example(name, "a") for name in names],
        predictions,
        [["a"]] * len(rows),
        judgements,
        metrics.summarise(judgements),
    )


def strangers_of(*answers: tuple[str, float]) -> list[Prediction]:
    return [
        Prediction(f"x{k}", text, sure, [], False, []) for k, (text, sure) in enumerate(answers)
    ]


def risk_at(rows: Sequence[tuple[float, bool]], least: float) -> tuple[float, float]:
    """Coverage and risk of the rows whose probability is at least ``least``."""
    given = [right for sure, right in rows if sure >= least]
    return len(given) / len(rows), 1 - sum(given) / len(given)


def brute_aurc(rows: Sequence[tuple[float, bool]]) -> float:
    return 100 * sum(risk_at(rows, sure)[1] for sure, _ in rows) / len(rows)


def brute_best(rows: Sequence[tuple[float, bool]]) -> float:
    """AURC with the right rows first and no ties."""
    order = sorted((right for _, right in rows), reverse=True)
    return brute_aurc([(-place, right) for place, right in enumerate(order)])


def brute_auroc(rows: Sequence[tuple[float, bool]]) -> float | None:
    pairs = [
        (one > other) + (one == other) / 2
        for one, right in rows
        if right
        for other, also in rows
        if not also
    ]
    return 100 * sum(pairs) / len(pairs) if pairs else None


def brute_coverage(rows: Sequence[tuple[float, bool]], error: int) -> float:
    found = [risk_at(rows, sure) for sure, _ in rows]
    return 100 * max((share for share, wrong in found if wrong <= error / 100 + 1e-12), default=0.0)


def drawn_rows(seed: int) -> list[tuple[float, bool]]:
    """Rows with many ties; the higher the probability, the more are right."""
    draw = random.Random(seed)
    sures = [draw.randint(0, 12) / 12 for _ in range(draw.randint(1, 60))]
    return [(sure, draw.random() < 0.4 + 0.6 * sure) for sure in sures]


FOUR = [(0.9, True), (0.8, False), (0.7, True), (0.6, False)]


def test_the_scores_of_four_rows_by_hand() -> None:
    outcome = outcome_of(FOUR)
    risks = [0, 1 / 2, 1 / 3, 1 / 2]
    assert risk.aurc(outcome) == pytest.approx(100 * sum(risks) / 4)
    assert risk.excess_aurc(outcome) == pytest.approx(100 * (sum(risks) - 1 / 3 - 1 / 2) / 4)
    assert risk.auroc(outcome) == pytest.approx(75), "three of the four pairs are in order"
    curve = risk.assess(outcome)["risk_coverage"]
    assert [(one["threshold"], one["coverage"]) for one in curve] == [
        (0.9, 25.0), (0.8, 50.0), (0.7, 75.0), (0.6, 100.0),
    ]  # fmt: skip
    assert [one["risk"] for one in curve] == pytest.approx([100 * one for one in risks])


def test_rows_of_equal_probability_are_answered_together() -> None:
    rows = [(0.9, True), (0.5, False), (0.5, True), (0.5, True)]
    for order in (rows, rows[::-1]):
        outcome = outcome_of(order)
        # the risk at 0.5 is 1/4, for each of three rows
        assert risk.aurc(outcome) == pytest.approx(100 * 3 / 16)
        assert risk.excess_aurc(outcome) == pytest.approx(100 * (3 / 16 - 1 / 16))
        assert risk.auroc(outcome) == pytest.approx(100 * (1 + 1 / 2 + 1 / 2) / 3)
        (one, five) = risk.assess(outcome)["coverage"]
        assert (one["rows"], one["coverage"], one["threshold"]) == (1, 25.0, 0.9)
        assert five["rows"] == 1


@pytest.mark.parametrize("seed", range(40))
def test_every_score_is_that_of_brute_force(seed: int) -> None:
    rows = drawn_rows(seed)
    outcome = outcome_of(rows)
    assert risk.aurc(outcome) == pytest.approx(brute_aurc(rows))
    excess = brute_aurc(rows) - brute_best(rows)
    assert risk.excess_aurc(outcome) == pytest.approx(excess, abs=1e-9)
    assert risk.auroc(outcome) == pytest.approx(brute_auroc(rows))
    for one in risk.assess(outcome)["coverage"]:
        assert one["coverage"] == pytest.approx(brute_coverage(rows, one["error"]))
        assert one["rows"] == round(one["coverage"] * len(rows) / 100)
        if one["rows"]:
            given = [right for sure, right in rows if sure >= one["threshold"]]
            assert len(given) == one["rows"], "the threshold answers these rows and no others"
            assert 100 * given.count(False) <= one["error"] * len(given)
        else:
            assert one["threshold"] is None


def test_the_order_of_the_rows_changes_nothing() -> None:
    rows = drawn_rows(3)
    names = [f"s{place}" for place in range(len(rows))]
    found = risk.assess(outcome_of(rows, names))
    mixed = list(zip(rows, names, strict=True))
    random.Random(1).shuffle(mixed)
    again = risk.assess(outcome_of(*zip(*mixed, strict=True)))  # type: ignore[arg-type]
    assert (again["coverage"][0]["coverage"], again["risk_coverage"]) == (
        found["coverage"][0]["coverage"],
        found["risk_coverage"],
    )


def test_the_error_of_a_coverage_may_be_reached_exactly() -> None:
    rows = [(1 - place / 1000, place != 50) for place in range(300)]
    one = risk.assess(outcome_of(rows))["coverage"][0]
    assert (one["rows"], one["threshold"]) == (300, 0.0), "1 of 300 is less than 1 %"
    hundred = [(1 - place / 1000, place != 40) for place in range(100)]
    levels = Levels.of_outcome(outcome_of(hundred))
    assert levels.counts(levels.once()).coverage(1) == [100.0]
    assert risk.assess(outcome_of(hundred))["coverage"][0]["rows"] == 100, "1 of 100 is 1 %"
    assert risk.assess(outcome_of(hundred[:99]))["coverage"][0]["rows"] == 40, "1 of 99 is more"


def test_a_threshold_is_the_shortest_number_between_two_levels() -> None:
    def threshold(first: float, second: float) -> float:
        (found, _) = risk.assess(outcome_of([(first, True), (second, False)]))["coverage"]
        return float(found["threshold"])

    assert threshold(0.97314, 0.5) == 0.9
    assert threshold(0.97314, 0.95) == 0.97
    assert threshold(0.97314, 0.9731399) == 0.97314
    assert threshold(1.0, 0.999) == 1.0
    near = float(np.nextafter(0.3, 0))
    assert threshold(0.3, near) == 0.3


def test_the_curve_has_a_point_for_each_percent_of_many_rows() -> None:
    rows = [(place / 1000, place > 500) for place in range(1000)]
    curve = risk.assess(outcome_of(rows))["risk_coverage"]
    assert len(curve) == risk.MAX_POINTS
    assert [round(one["coverage"]) for one in curve] == list(range(1, 101))
    assert curve[-1]["risk"] == pytest.approx(50.1)


# --- undefined scores and intervals


@pytest.mark.parametrize(("right", "area"), [(True, 0.0), (False, 100.0)])
@pytest.mark.parametrize("count", [1, 30])
def test_without_right_or_without_wrong_rows_nothing_is_invented(
    right: bool, area: float, count: int
) -> None:
    outcome = outcome_of([(place / 100, right) for place in range(count)])
    assert risk.aurc(outcome) == area
    assert risk.excess_aurc(outcome) == 0
    assert risk.auroc(outcome) is None
    found = risk.assess(outcome)
    assert found["intervals"] == {"aurc": None, "excess_aurc": None, "auroc": None}
    whole = {"coverage": 100.0, "rows": count, "threshold": 0.0, "interval": None}
    none = {"coverage": 0.0, "rows": 0, "threshold": None, "interval": None}
    assert found["coverage"] == [{"error": e, **(whole if right else none)} for e in risk.ERRORS]


def test_rows_of_one_source_have_no_interval() -> None:
    found = risk.assess(outcome_of([(0.9, True), (0.8, False)], ["s", "s"]))
    assert found["intervals"] == {"aurc": None, "excess_aurc": None, "auroc": None}


def test_a_source_is_one_whatever_its_unicode_form() -> None:
    sources = Levels.of([0.9, 0.8, 0.7], [True, False, True], ["e\u0301", "\u00e9", "e"]).sources
    assert sources.tolist() == [0, 0, 1]


def test_an_auroc_that_many_samples_lack_has_no_interval() -> None:
    rows = [(0.5 + place / 100, place != 9) for place in range(40)]
    assert risk.assess(outcome_of(rows))["intervals"]["auroc"] is None, "36 % have no wrong row"
    rows = [(0.5 + place / 100, place > 5) for place in range(40)]
    rows[7] = (0.7, False)
    low, high = risk.assess(outcome_of(rows))["intervals"]["auroc"]
    assert low < risk.auroc(outcome_of(rows)) < high  # type: ignore[operator]


def test_intervals_are_those_of_samples_counted_one_by_one() -> None:
    rows = drawn_rows(2)
    assert len(rows) > 10, "several sources"
    names = [f"s{place // 2}" for place in range(len(rows))]
    found = risk.assess(outcome_of(rows, names))
    sources = len(set(names))
    drawn: dict[Any, list[float]] = {"aurc": [], "excess_aurc": [], "auroc": [], 1: [], 5: []}
    for portion in bootstrap.weights(sources, risk.ARRAYS * len(rows)):
        for weights in portion:
            sample = [
                row
                for row, name in zip(rows, names, strict=True)
                for _ in range(weights[int(name[1:])])
            ]
            drawn["aurc"].append(brute_aurc(sample))
            drawn["excess_aurc"].append(drawn["aurc"][-1] - brute_best(sample))
            if (area := brute_auroc(sample)) is not None:
                drawn["auroc"].append(area)
            for error in (1, 5):
                drawn[error].append(brute_coverage(sample, error))
    for name, bounds in found["intervals"].items():
        assert bounds == pytest.approx(bootstrap.interval(np.array(drawn[name])), abs=1e-9)
    for one in found["coverage"]:
        bounds = bootstrap.interval(np.array(drawn[one["error"]]))
        assert one["interval"] == pytest.approx(bounds)


def test_a_source_is_drawn_with_all_its_rows() -> None:
    rows = [(0.5 + place / 100, place % 3 > 0) for place in range(30)]
    once = risk.assess(outcome_of(rows))
    names = [f"s{place}" for place in range(30)]
    often = risk.assess(outcome_of(rows * 20, names * 20))
    for name in ("aurc", "auroc"):
        assert often["intervals"][name] == pytest.approx(once["intervals"][name])


# --- strangers


def test_strangers_are_counted_by_hand() -> None:
    outcome = outcome_of([(0.95, True), (0.9, False), (0.6, True), (0.2, True)])
    strangers = strangers_of(("z", 0.92), ("z", 0.5), ("", 0.99), ("z", 0.1))
    found = risk.assess_strangers(outcome, strangers, risk.assess(outcome)["coverage"])
    assert (found["texts"], found["refused"]) == (4, 1)
    above = [4, 3, 3, 2]  # strangers below 0.95, 0.9, 0.6, 0.2: the refusal is below all of them
    assert found["auroc"] == pytest.approx(100 * sum(above) / 16)
    by = {one.pop("threshold"): one for one in found["thresholds"]}
    assert list(by) == sorted(by)
    third = pytest.approx(100 / 3)
    assert by[0.5] == {"answered": 2, "share": 50.0, "coverage": 75.0, "risk": third}
    assert by[0.9] == {"answered": 1, "share": 25.0, "coverage": 50.0, "risk": 50.0}
    assert by[0.99] == {"answered": 0, "share": 0.0, "coverage": 0.0, "risk": None}
    assert by.keys() == {0.5, 0.9, 0.95, 0.99}, "and the threshold of the coverage at 1 and 5 %"


def test_refusals_tie_and_rows_without_a_right_answer_are_no_known_rows() -> None:
    outcome = outcome_of([(0.7, True), (0.8, True)])
    rows = [outcome.rows[0], Example("s1", "")]
    refused = [outcome.predictions[0], Prediction("s1", "", 0.8, [], False, [])]
    outcome = Outcome(rows, refused, [["a"], [""]], outcome.judgements, outcome.scores)
    found = risk.assess_strangers(outcome, strangers_of(("", 1.0), ("z", 0.7)), [])
    assert found["auroc"] == pytest.approx(75), "0.7 is above the refusal and ties with 0.7"
    known = Outcome(
        [Example("s0", "a")], [Prediction("s0", "", 0.9, [], False, [])], [["a"]],
        [metrics.Judgement(False, 1, 1)], outcome.scores,
    )  # fmt: skip
    found = risk.assess_strangers(known, strangers_of(("", 0.4)), [])
    assert (found["auroc"], found["interval"], found["refused"]) == (50.0, None, 1)


def test_without_known_rows_the_auroc_of_strangers_is_undefined() -> None:
    outcome = outcome_of([(0.7, True)])
    empty = Outcome(
        [Example("s0", "")], outcome.predictions, [[""]], outcome.judgements, outcome.scores
    )
    found = risk.assess_strangers(empty, strangers_of(("z", 0.3)), [])
    assert (found["auroc"], found["interval"]) == (None, None)


def test_the_interval_of_strangers_has_the_width_of_the_delta_method() -> None:
    """Rows and strangers are drawn apart, though each stranger here follows a row."""
    draw = random.Random(1)
    rows = [(draw.random() ** 0.5, True) for _ in range(200)]
    strangers = strangers_of(*(("z", 0.8 * sure) for sure, _ in rows))
    found = risk.assess_strangers(outcome_of(rows), strangers, [])
    assert found["auroc"] == pytest.approx(
        brute_auroc([*rows, *((one.probability, False) for one in strangers)])
    )
    sures, others = [sure for sure, _ in rows], [one.probability for one in strangers]
    above = [sum(one > other for other in others) / len(others) for one in sures]
    below = [sum(one > other for one in sures) / len(sures) for other in others]
    error = 100 * math.sqrt(np.var(above) / len(sures) + np.var(below) / len(others))
    low, high = found["interval"]
    assert low < found["auroc"] < high
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1), "DeLong et al. 1988"
