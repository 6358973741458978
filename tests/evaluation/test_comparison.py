"""Two models on the same rows: counts by hand, tests against closed forms, and no false alarms."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from charseq.data.pairs import Example
from charseq.evaluation.analysis import compare_outcomes
from charseq.evaluation.scoring import Outcome, score_examples
from charseq.inference.prediction import Prediction


class Fixed:
    """A translator that answers "a" where it knows the source, else something longer."""

    def __init__(self, known: set[str]) -> None:
        self.known = known
        self.source: Any = SimpleNamespace(features=())
        self.target: Any = SimpleNamespace(pieces=list)

    def predict(self, texts: Sequence[str], **_: Any) -> list[Prediction]:
        answers = ["a" if text in self.known else "abc" for text in texts]
        return [
            Prediction(text, answer, 0.5, [], False, [])
            for text, answer in zip(texts, answers, strict=True)
        ]


def outcome(rows: Sequence[Example], known: set[str]) -> Outcome:
    translator: Any = Fixed(known)
    return score_examples(translator, rows, width=1)


def names(prefix: str, count: int) -> set[str]:
    return {f"{prefix}{k}" for k in range(count)}


def contest(both: int, first: int, second: int, neither: int, rows: int = 1) -> dict[str, Any]:
    """What is said where so many sources are right in both, in the first only, and so on."""
    sources = sorted(names("b", both) | names("f", first) | names("s", second))
    sources += sorted(names("n", neither))
    examples = [Example(source, "a") for source in sources for _ in range(rows)]
    one = outcome(examples, names("b", both) | names("f", first))
    other = outcome(examples, names("b", both) | names("s", second))
    return compare_outcomes(one, other, same_symbols=True)


def test_rows_are_counted_and_the_difference_goes_from_first_to_second() -> None:
    found = contest(50, 2, 18, 30)
    counted = ("both_right", "only_first", "only_second", "both_wrong")
    assert [found[name] for name in counted] == [50, 2, 18, 30]
    exact, ser = found["exact_match"], found["ser"]
    assert exact["difference"] == pytest.approx(16.0)
    assert ser["difference"] == pytest.approx(-32.0)  # a wrong answer has two letters too many
    assert exact["p"] == pytest.approx(2 * sum(math.comb(20, k) for k in range(3)) / 2**20)
    assert 1 / 2001 <= ser["p"] < 0.005
    low, high = exact["interval"]
    error = 100 * math.sqrt((20 / 100 - 0.16**2) / 100)  # of a difference of paired shares
    assert low == pytest.approx(16 - 1.96 * error, abs=1.5)
    assert high == pytest.approx(16 + 1.96 * error, abs=1.5)
    assert ser["interval"] == pytest.approx([-2 * high, -2 * low])
    assert found["better"] == "second"
    assert (found["confidence"], found["sources"]) == (95, 100)


def test_turned_round_it_is_the_same_with_the_other_sign() -> None:
    one, other = contest(50, 2, 18, 30), contest(50, 18, 2, 30)
    assert other["better"] == "first"
    for name in ("exact_match", "ser"):
        assert other[name]["difference"] == pytest.approx(-one[name]["difference"])
        assert other[name]["p"] == pytest.approx(one[name]["p"], abs=0.01)
        low, high = one[name]["interval"]
        assert other[name]["interval"] == pytest.approx([-high, -low], abs=1.5)


def test_what_chance_explains_is_no_difference() -> None:
    found = contest(500, 12, 18, 30)
    assert found["better"] is None
    assert found["exact_match"]["p"] > 0.3
    low, high = found["exact_match"]["interval"]
    assert low < 0 < high


def test_paired_rows_tell_more_than_their_intervals() -> None:
    # 80.5 and 82 % of 1,000: each interval holds the other's score, but no row got worse.
    found = contest(805, 0, 15, 180)
    assert found["better"] == "second"
    assert found["exact_match"]["p"] == pytest.approx(2 * 0.5**15)


def test_rows_of_a_source_are_one_observation() -> None:
    # Forty rows of four sources are no more than four tosses of a coin.
    found = contest(5, 0, 4, 5, rows=10)
    assert (found["only_second"], found["sources"]) == (40, 14)
    assert found["exact_match"]["p"] == pytest.approx(2 * 0.5**4)
    assert found["better"] is None


def test_equal_answers_are_equal() -> None:
    found = contest(9, 0, 0, 3)
    for name in ("exact_match", "ser"):
        assert found[name] == {"difference": 0.0, "interval": None, "p": 1.0}
    assert found["better"] is None


def test_unlike_symbols_are_not_compared() -> None:
    rows = [Example("s", "a")]
    found = compare_outcomes(outcome(rows, {"s"}), outcome(rows, set()), same_symbols=False)
    assert found["ser"] is None
    assert found["exact_match"]["difference"] == -100.0


def test_equally_good_models_are_seldom_told_apart() -> None:
    draw = random.Random(5)
    rows = [Example(f"s{k}", "a") for k in range(60)]
    alarms = {"exact_match": 0, "ser": 0}
    for _ in range(100):
        sides = [outcome(rows, {row.source for row in rows if draw.random() < 0.6}) for _ in "ab"]
        found = compare_outcomes(*sides, same_symbols=True)
        for name in alarms:
            alarms[name] += found[name]["p"] < 0.05
        assert (found["better"] is not None) == (found["exact_match"]["p"] < 0.05)
    assert 0 < alarms["exact_match"] <= 9
    assert 0 < alarms["ser"] <= 9
