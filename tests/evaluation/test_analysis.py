"""Error analysis against counts by hand and closed forms: intervals, top k, lengths, edits."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from charseq.data.pairs import Example
from charseq.evaluation import analysis, metrics
from charseq.evaluation.scoring import Outcome, score_examples
from charseq.inference.prediction import Candidate, Prediction


class Table:
    """A translator that answers from a table: for each text its candidates, the likeliest first."""

    def __init__(
        self, answers: dict[str, Sequence[str]], *, features: Sequence[str] = (), sure: float = 0.5
    ) -> None:
        self.answers = answers
        self.sure = sure
        self.source: Any = SimpleNamespace(features=features)
        self.target: Any = SimpleNamespace(pieces=str.split)

    def predict(self, texts: Sequence[str], **_: Any) -> list[Prediction]:
        found = []
        for text in texts:
            chances = [self.sure**rank for rank, _ in enumerate(self.answers[text], 1)]
            candidates = [
                Candidate(answer, chance, math.log(chance))
                for answer, chance in zip(self.answers[text], chances, strict=True)
            ]
            first = candidates[0]
            found.append(Prediction(text, first.prediction, chances[0], [], False, candidates))
        return found


def outcome_of(rows: Sequence[Example], answers: dict[str, Sequence[str]], **how: Any) -> Outcome:
    translator: Any = Table(answers, **how)
    return score_examples(translator, rows, width=5, n=5)


def right_and_wrong(right: int, wrong: int, rows: int = 1) -> Outcome:
    """So many sources, each with so many rows of two symbols."""
    answers = {f"s{k}": ["a b" if k < right else "a x y"] for k in range(right + wrong)}
    return outcome_of([Example(name, "a b") for name in answers for _ in range(rows)], answers)


# --- memory


def test_rows_are_counted_by_what_is_remembered_of_them() -> None:
    """Of two unseen rows none is right, of three with one target all are with the memory."""
    names = ["u", "v", "a", "b", "c", "m"]
    rows = [Example(name, "x y") for name in names]
    wrong, right = ["x z"], ["x y"]
    with_memory = outcome_of(rows, {n: right if n in "abc" else wrong for n in names})
    alone = outcome_of(rows, {n: right if n in "am" else wrong for n in names})
    found = analysis.by_memory(with_memory, alone, [0, 0, 1, 1, 1, 7])
    assert [(one["seen"], one["examples"]) for one in found] == [
        ("unseen", 2), ("one target", 3), ("several targets", 1),
    ]  # fmt: skip
    assert [one["exact_match"] for one in found] == [0, 100, 0]
    assert [one["model_exact_match"] for one in found] == pytest.approx([0, 100 / 3, 100])
    assert found[1]["interval"] == [pytest.approx(100 * 0.025 ** (1 / 3)), 100]
    assert found[1]["model_interval"] == [0, 100]
    assert analysis.by_memory(alone, alone, [2] * 6)[0]["seen"] == "several targets"


# --- intervals


def test_an_interval_holds_the_score_and_has_the_binomial_width() -> None:
    found = analysis.intervals(right_and_wrong(300, 100))
    low, high = found["exact_match"]
    error = 100 * math.sqrt(0.75 * 0.25 / 400)
    assert low == pytest.approx(75 - 1.96 * error, abs=0.5)
    assert high == pytest.approx(75 + 1.96 * error, abs=0.5)
    assert found["wer"] == pytest.approx([100 - high, 100 - low])
    low, high = found["ser"]
    assert low < 100 * 200 / 800 < high
    assert high - low == pytest.approx(2 * 1.96 * error, abs=1)
    assert {name: found[name] for name in ("confidence", "sources", "resamples", "seed")} == {
        "confidence": 95, "sources": 400, "resamples": 2000, "seed": 1,
    }  # fmt: skip


def test_repeated_rows_of_a_source_do_not_narrow_the_interval() -> None:
    once = analysis.intervals(right_and_wrong(30, 10))
    often = analysis.intervals(right_and_wrong(30, 10, rows=20))
    assert often == once


def test_a_source_is_one_whatever_its_unicode_form_and_features() -> None:
    rows = [Example("e\u0301", "a", "V"), Example("é", "b", "N"), Example("e", "b", "N")]
    answers = {f"{row.source}\t{row.features}": ["a"] for row in rows}
    outcome = outcome_of(rows, answers, features=("V", "N"))
    assert analysis.counts(outcome).tolist() == [[2, 1, 1, 2], [1, 0, 1, 1]]
    assert analysis.intervals(outcome)["sources"] == 2


def test_without_errors_the_bounds_are_those_of_clopper_and_pearson() -> None:
    perfect = analysis.intervals(right_and_wrong(100, 0))
    bound = 100 * (1 - 0.025 ** (1 / 100))
    assert perfect["exact_match"] == [pytest.approx(100 - bound), 100.0]
    assert perfect["wer"] == [0.0, pytest.approx(bound)]
    assert perfect["ser"] is None
    hopeless = analysis.intervals(right_and_wrong(0, 100))
    assert hopeless["exact_match"] == [0.0, pytest.approx(bound)]
    assert hopeless["ser"] == [100.0, 100.0]


def test_one_source_has_no_bootstrap_interval() -> None:
    assert analysis.intervals(right_and_wrong(1, 0))["exact_match"] == [pytest.approx(2.5), 100.0]
    rows = [Example("s", "a", "V"), Example("s", "b", "N")]
    mixed = outcome_of(rows, {"s\tV": ["a"], "s\tN": ["a"]}, features=("V", "N"))
    found = analysis.intervals(mixed)
    assert (found["exact_match"], found["wer"], found["ser"]) == (None, None, None)


# --- candidates


def test_top_k_accuracy_counts_answers_among_the_first_k() -> None:
    rows = [Example("p", "1"), Example("q", "2"), Example("r", "3"), Example("s", "é")]
    answers = {
        "p": ["1", "x"], "q": ["x", "2"], "r": ["x", "y", "z", "u", "3"], "s": ["u", "v", "e\u0301"]
    }  # fmt: skip
    outcome = outcome_of([*rows, Example("q", "x")], answers)
    assert analysis.top_k_accuracy(outcome, 5) == [
        {"k": 1, "exact_match": 60.0},
        {"k": 2, "exact_match": 60.0},
        {"k": 3, "exact_match": 80.0},
        {"k": 5, "exact_match": 100.0},
    ]
    outcome = outcome_of(rows, answers)
    assert analysis.top_k_accuracy(outcome, 2) == [
        {"k": 1, "exact_match": outcome.scores.exact_match},
        {"k": 2, "exact_match": 50.0},
    ]
    assert [one["k"] for one in analysis.top_k_accuracy(outcome, 4)] == [1, 2, 3]


# --- probabilities


def test_the_calibration_error_is_that_of_the_rows_own_target() -> None:
    rows = [Example("p", "1"), Example("p", "2"), Example("q", "e\u0301"), Example("r", "1")]
    answers = {"p": ["1"], "q": ["é"], "r": ["2"]}
    # of four rows two have what was answered: of p one target of two
    assert metrics.calibration_error(outcome_of(rows, answers, sure=0.5)) == pytest.approx(0.0)
    assert metrics.calibration_error(outcome_of(rows, answers, sure=0.75)) == pytest.approx(25.0)


# --- lengths


def lengths_of(counts: dict[int, tuple[int, int]]) -> Outcome:
    """For each length of source so many right rows, and so many wrong ones."""
    rows, answers = [], {}
    for length, (right, wrong) in counts.items():
        for number in range(right + wrong):
            source = f"{number} " + "x " * (length - 1)
            answers[source] = ["a" if number < right else "b"]
            rows.append(Example(source, "a"))
    random.Random(1).shuffle(rows)
    return outcome_of(rows, answers)


def test_few_lengths_have_a_range_each() -> None:
    found = analysis.by_length(lengths_of({7: (3, 1), 2: (5, 0), 3: (1, 3)}), str.split)
    assert found == [
        {"shortest": 2, "longest": 2, "examples": 5, "exact_match": 100.0},
        {"shortest": 3, "longest": 3, "examples": 4, "exact_match": 25.0},
        {"shortest": 7, "longest": 7, "examples": 4, "exact_match": 75.0},
    ]
    letters = analysis.by_length(outcome_of([Example("a b", "a")], {"a b": ["a"]}), list)
    assert [one["shortest"] for one in letters] == [3]


def test_many_lengths_are_grouped_and_none_is_lost() -> None:
    outcome = lengths_of({length: (20, length % 3) for length in range(1, 40)} | {90: (0, 1)})
    found = analysis.by_length(outcome, str.split)
    assert 5 <= len(found) <= 9
    assert sum(one["examples"] for one in found) == len(outcome.rows)
    assert (found[0]["shortest"], found[-1]["longest"]) == (1, 90)
    for before, after in pairwise(found):
        assert before["longest"] + 1 == after["shortest"]
    assert min(one["examples"] for one in found) >= len(outcome.rows) / 16
    right = sum(one["examples"] * one["exact_match"] for one in found)
    assert right / len(outcome.rows) == pytest.approx(outcome.scores.exact_match)


# --- confusions


def test_edits_are_counted_by_reference_and_written_symbol() -> None:
    rows = [
        Example("p", "t͡ʃ a b"),
        Example("p", "t͡ʃ a b"),
        Example("q", "a b c"),
        Example("r", "a b"),
        Example("s", "x y"),
        Example("s", "é b"),
    ]
    answers = {"p": ["t a b"], "q": ["a b"], "r": ["a b c d"], "s": ["e\u0301 a"]}
    outcome = outcome_of(rows, answers)
    found = analysis.confusions(outcome, str.split)
    edits = 7
    assert found["edits"] == edits == sum(one.edits for one in outcome.judgements)
    assert found["substitutions"] == {
        "count": 4,
        "most": [
            {"reference": "b", "written": "a", "count": 2, "share": 100 * 2 / edits},
            {"reference": "t͡ʃ", "written": "t", "count": 2, "share": 100 * 2 / edits},
        ],
    }
    assert found["deletions"] == {
        "count": 1, "most": [{"reference": "c", "written": "", "count": 1, "share": 100 / edits}]
    }  # fmt: skip
    assert found["insertions"] == {
        "count": 2,
        "most": [
            {"reference": "", "written": "c", "count": 1, "share": 100 / edits},
            {"reference": "", "written": "d", "count": 1, "share": 100 / edits},
        ],
    }


def test_the_edits_are_those_of_the_symbol_error_rate() -> None:
    draw = random.Random(7)
    words = [" ".join(draw.choices("abc", k=draw.randint(1, 6))) for _ in range(200)]
    rows = [Example(f"s{k % 60}", word) for k, word in enumerate(words)]
    outcome = outcome_of(rows, {f"s{k}": [words[-k]] for k in range(60)})
    found = analysis.confusions(outcome, str.split)
    kinds = [found[kind]["count"] for kind in ("substitutions", "deletions", "insertions")]
    assert min(kinds) > 0
    assert sum(kinds) == found["edits"]
    gold = sum(one.symbols for one in outcome.judgements)
    assert 100 * found["edits"] / gold == pytest.approx(outcome.scores.ser)
    gold_minus_written = sum(
        one.symbols - len(answer.prediction.split())
        for one, answer in zip(outcome.judgements, outcome.predictions, strict=True)
    )
    assert found["deletions"]["count"] - found["insertions"]["count"] == gold_minus_written


def test_only_the_most_frequent_edits_are_listed() -> None:
    letters = [chr(0x4E00 + k) for k in range(30)]
    rows = [Example(one, one) for k, one in enumerate(letters) for _ in range(k + 1)]
    found = analysis.confusions(outcome_of(rows, {one: ["-"] for one in letters}), str.split)
    told = found["substitutions"]["most"]
    assert found["substitutions"]["count"] == sum(range(31))
    assert [one["count"] for one in told] == list(range(30, 10, -1))


def test_an_outcome_without_errors_has_no_edits() -> None:
    outcome = right_and_wrong(3, 0)
    found = analysis.confusions(outcome, str.split)
    assert found["edits"] == 0
    assert found["deletions"] == {"count": 0, "most": []}
    assert json.loads(json.dumps(found)) == found


# --- comparison of two models


def answered(rows: Sequence[Example], known: set[str]) -> Outcome:
    """The outcome of a model that answers "a" to the sources it knows, else two symbols more."""
    return outcome_of(rows, {row.source: ["a" if row.source in known else "a b c"] for row in rows})


def names(prefix: str, count: int) -> set[str]:
    return {f"{prefix}{k}" for k in range(count)}


def comparison_of(
    both: int, first: int, second: int, neither: int, rows: int = 1
) -> dict[str, Any]:
    """A comparison where so many sources are right in both, in the first only, and so on."""
    sources = sorted(names("b", both) | names("f", first) | names("s", second))
    sources += sorted(names("n", neither))
    examples = [Example(source, "a") for source in sources for _ in range(rows)]
    one = answered(examples, names("b", both) | names("f", first))
    other = answered(examples, names("b", both) | names("s", second))
    return analysis.compare_outcomes(one, other, same_symbols=True)


def test_rows_are_counted_and_the_difference_goes_from_first_to_second() -> None:
    found = comparison_of(50, 2, 18, 30)
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


def test_models_in_the_other_order_give_the_other_sign() -> None:
    one, other = comparison_of(50, 2, 18, 30), comparison_of(50, 18, 2, 30)
    assert other["better"] == "first"
    for name in ("exact_match", "ser"):
        assert other[name]["difference"] == pytest.approx(-one[name]["difference"])
        assert other[name]["p"] == pytest.approx(one[name]["p"], abs=0.01)
        low, high = one[name]["interval"]
        assert other[name]["interval"] == pytest.approx([-high, -low], abs=1.5)


def test_a_difference_that_chance_explains_is_not_called_better() -> None:
    found = comparison_of(500, 12, 18, 30)
    assert found["better"] is None
    assert found["exact_match"]["p"] > 0.3
    low, high = found["exact_match"]["interval"]
    assert low < 0 < high


def test_a_paired_test_is_sharper_than_two_intervals() -> None:
    # 80.5 and 82 % of 1,000: each interval holds the other's score, but no row got worse.
    found = comparison_of(805, 0, 15, 180)
    assert found["better"] == "second"
    assert found["exact_match"]["p"] == pytest.approx(2 * 0.5**15)


def test_rows_of_a_source_are_one_observation() -> None:
    # Forty rows of four sources are no more than four tosses of a coin.
    found = comparison_of(5, 0, 4, 5, rows=10)
    assert (found["only_second"], found["sources"]) == (40, 14)
    assert found["exact_match"]["p"] == pytest.approx(2 * 0.5**4)
    assert found["better"] is None


def test_equal_answers_have_no_difference() -> None:
    found = comparison_of(9, 0, 0, 3)
    for name in ("exact_match", "ser"):
        assert found[name] == {"difference": 0.0, "interval": None, "p": 1.0}
    assert found["better"] is None


def test_symbol_error_rates_of_unlike_symbols_are_not_compared() -> None:
    rows = [Example("s", "a")]
    found = analysis.compare_outcomes(
        answered(rows, {"s"}), answered(rows, set()), same_symbols=False
    )
    assert found["ser"] is None
    assert found["exact_match"]["difference"] == -100.0


def test_false_alarms_are_as_rare_as_the_level_says() -> None:
    draw = random.Random(5)
    rows = [Example(f"s{k}", "a") for k in range(60)]
    alarms = {"exact_match": 0, "ser": 0}
    for _ in range(100):
        sides = [answered(rows, {row.source for row in rows if draw.random() < 0.6}) for _ in "ab"]
        found = analysis.compare_outcomes(*sides, same_symbols=True)
        for name in alarms:
            alarms[name] += found[name]["p"] < 0.05
        assert (found["better"] is not None) == (found["exact_match"]["p"] < 0.05)
    assert 0 < alarms["exact_match"] <= 9
    assert 0 < alarms["ser"] <= 9
