"""Scores that can be worked out by hand, and the laws that every score must keep."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charseq.errors import DataError
from charseq.evaluation.metrics import (
    Judgement,
    Scores,
    is_right,
    judge,
    nearest_reference,
    score,
    signature,
    standard_error,
    summarise,
)


def spaced(text: str) -> list[str]:
    return text.split()


def test_scores_by_hand() -> None:
    scores = score(["abc", "axc", "ab"], [["abc"], ["abc"], ["abcd"]], list)
    assert scores.examples == 3
    assert scores.exact_match == pytest.approx(100 / 3)
    assert scores.wer == pytest.approx(200 / 3)
    assert scores.ser == pytest.approx(100 * 3 / 10)


def test_symbols_are_what_split_says() -> None:
    # One phone of three is wrong, although it has three letters.
    assert score(["t͡ʃ a b"], [["x a b"]], spaced).ser == pytest.approx(100 / 3)
    assert score(["t͡ʃ a b"], [["x a b"]], list).ser > 50


def test_any_target_is_right_and_the_nearest_counts() -> None:
    scores = score(["colour", "grxy"], [["color", "colour"], ["gray", "greyish"]], list)
    assert scores.exact_match == 50
    assert scores.ser == pytest.approx(100 * 1 / (6 + 4))


def test_of_equally_near_targets_the_shortest_counts_in_whatever_order() -> None:
    one = score(["ab"], [["abc", "a"]], list)
    assert one == score(["ab"], [["a", "abc"]], list)
    assert one.ser == 100


def test_the_nearest_reference_is_cut_beside_the_prediction() -> None:
    assert nearest_reference("grxy", ["greyish", "gray"], list) == (list("grxy"), list("gray"))
    assert nearest_reference("ab", ["abc", "a"], list) == (list("ab"), ["a"])
    assert nearest_reference("ab", ["ax", "xb"], list) == (list("ab"), ["a", "x"])
    assert nearest_reference("a e\u0301", ["é b"], spaced) == (["a", "é"], ["é", "b"])


def test_scores_are_the_sums_of_the_rows() -> None:
    assert judge("grxy", ["greyish", "gray"], list) == Judgement(False, 1, 4)
    assert judge("gray", ["grey", "gray"], list) == Judgement(True, 0, 4)
    rows = [Judgement(True, 0, 4), Judgement(False, 1, 4), Judgement(False, 3, 2)]
    found = summarise(rows)
    assert (found.examples, found.exact_match) == (3, pytest.approx(100 / 3))
    assert (found.wer, found.ser) == (pytest.approx(200 / 3), 40.0)
    with pytest.raises(DataError, match="no examples"):
        summarise([])


def test_composed_and_decomposed_are_equal() -> None:
    scores = score(["e\u0301"], [["é"]], list)
    assert (scores.exact_match, scores.ser) == (100, 0)
    assert is_right("é", ["a", "e\u0301"])
    assert not is_right("e", ["é"])


def test_case_and_spaces_are_not_forgiven() -> None:
    assert score(["A", "a ", "\u00a0a"], [["a"], ["a"], ["a"]], list).exact_match == 0


def test_an_empty_prediction_misses_everything() -> None:
    assert score([""], [["abc"]], list) == Scores(1, 0.0, 100.0, 100.0)


def test_runaway_output_costs_more_than_100_percent() -> None:
    assert score(["aaaaaa"], [["a"]], list).ser == 500


def test_nothing_to_score_is_said() -> None:
    with pytest.raises(DataError, match="no examples"):
        score([], [], list)


@pytest.mark.parametrize("references", [[], [["a"], ["b"]], [[]]])
def test_references_that_do_not_fit_are_refused(references: list[list[str]]) -> None:
    with pytest.raises(ValueError, match=r"arg|empty"):
        score(["a"], references, list)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.text("abé", max_size=5), st.text("abe\u0301", min_size=1)), min_size=1)
)
def test_laws(pairs: list[tuple[str, str]]) -> None:
    predictions = [p for p, _ in pairs]
    references = [[r] for _, r in pairs]
    scores = score(predictions, references, list)
    assert scores.exact_match + scores.wer == pytest.approx(100)
    assert (scores.ser == 0) == (scores.wer == 0)
    assert score([r for _, r in pairs], references, list).exact_match == 100
    # Rows do not know each other: the order does not matter.
    back = score(predictions[::-1], references[::-1], list)
    assert back.ser == pytest.approx(scores.ser)
    assert back.exact_match == scores.exact_match
    # A further target can only help.
    more = score(predictions, [[*r, "b"] for r in references], list)
    assert more.exact_match >= scores.exact_match


def test_standard_error_is_the_binomial_one_in_points() -> None:
    assert standard_error(Scores(400, 80.0, 20.0, 9.0)) == pytest.approx(2.0)
    assert standard_error(Scores(10, 100.0, 0.0, 0.0)) == 0
    p = 0.37
    assert standard_error(Scores(123, 37.0, 63.0, 1.0)) == pytest.approx(
        100 * math.sqrt(p * (1 - p) / 123)
    )


def test_signature_keeps_order_and_can_be_read_back() -> None:
    text = signature(
        charseq="0.1.0", split="test", beam=5, alpha=0.5, ema=True, seed=None, data="a|b%"
    )
    assert text == "charseq:0.1.0|split:test|beam:5|alpha:0.5|ema:yes|data:a%7Cb%25"


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, charseq.evaluation.metrics; print({*sys.modules} & {'numpy', 'rapidfuzz'})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
