"""Answers as lines and as JSON; warnings of unknown symbols and of truncated answers."""

import json
from collections import Counter

import pytest

from charseq.cli import render
from charseq.inference.language_model import LineScore
from charseq.inference.prediction import Candidate, Prediction


def answer(
    *candidates: tuple[str, float], unknown: tuple[str, ...] = (), truncated: bool = False
) -> Prediction:
    best = [Candidate(text, chance, -1.0) for text, chance in candidates]
    first = candidates[0] if candidates else ("", 0.0)
    return Prediction("x", *first, list(unknown), truncated=truncated, candidates=best)


BOTH = answer(("a\tb\nc", 0.75), ("d", 0.125), unknown=("ß",), truncated=True)


def test_answers_stay_in_their_line_and_column() -> None:
    assert list(render.as_text("x", BOTH)) == ["a b c"]
    assert list(render.as_text("", None)) == [""]
    assert list(render.as_table("x\tV;PST", BOTH)) == [
        "x\t1\ta b c\t0.750000", "x\t2\td\t0.125000",
    ]  # fmt: skip
    assert list(render.as_table("", None)) == ["\t1\t\t"]
    nothing = answer()
    assert list(render.as_table("x", nothing)) == ["x\t1\t\t"], "a line for each text"
    assert list(render.as_text("x", nothing)) == [""]


def test_a_withheld_answer_is_empty_and_its_candidates_are_in_json() -> None:
    known = answer(("a", 0.75), ("b", 0.125))
    unsure = known.above(0.8)
    assert list(render.as_text("x", unsure)) == [""]
    assert list(render.as_table("x", unsure)) == ["x\t1\t\t0.750000"], "no other answer either"
    [line] = render.as_json("x", unsure, with_unsure=True)
    facts = json.loads(line)
    assert (facts["prediction"], facts["probability"], facts["unsure"]) == ("", 0.75, True)
    assert [one["prediction"] for one in facts["candidates"]] == ["a", "b"]
    for other in (known, None):
        [line] = render.as_json("x", other, with_unsure=True)
        assert json.loads(line)["unsure"] is False
    assert "unsure" not in next(render.as_json("x", known))


def test_withheld_answers_are_counted_among_those_that_were_asked_for() -> None:
    withheld = render.Withheld(0.8)
    assert withheld.totals() == ""
    sure = answer(("a", 0.9))
    withheld.count([("x", sure), ("", None)])
    assert withheld.totals() == ""
    withheld.count([("y", answer(("a", 0.75)).above(0.8)), ("x", sure)])
    assert withheld.totals() == (
        "unsure: 1 of 3 texts, whose best answer is less probable than 0.8"
    )


def test_json_has_everything_as_it_is() -> None:
    [line] = render.as_json("x\tß", BOTH)
    assert "ß" in line
    assert json.loads(line) == {
        "source": "x\tß",
        "prediction": "a\tb\nc",
        "probability": 0.75,
        "unknown": ["ß"],
        "truncated": True,
        "candidates": [
            {"prediction": "a\tb\nc", "probability": 0.75},
            {"prediction": "d", "probability": 0.125},
        ],
    }
    [line] = render.as_json("", None)
    assert json.loads(line) == {
        "source": "", "prediction": "", "probability": None, "unknown": [], "truncated": False,
        "candidates": [],
    }  # fmt: skip


def test_an_unknown_symbol_is_named_once_and_counted() -> None:
    seen: Counter[str] = Counter()
    plain = answer(("y", 1.0))
    first = list(render.warnings([("Straße", BOTH), ("x", plain), ("", None)], seen))
    assert len(first) == 2
    assert "U+00DF" in first[0]
    assert "LATIN SMALL LETTER SHARP S" in first[0]
    assert "'Straße'" in first[0]
    assert "'Straße' is cut" in first[1]
    assert render.unknown_totals(seen) == ""
    again = answer(("y", 1.0), unknown=("ß", "ё"))
    second = list(render.warnings([("Maß", again)], seen))
    assert len(second) == 1
    assert "U+0451" in second[0]
    assert seen == {"ß": 2, "ё": 1}
    assert "SHARP S in 2 texts" in render.unknown_totals(seen)
    assert "U+0451" not in render.unknown_totals(seen)


def test_unknown_symbols_are_named_up_to_a_number_and_all_are_counted() -> None:
    seen: Counter[str] = Counter()
    words = [f"word{number}" for number in range(30)]
    said = list(render.unknown_symbols(" ".join(words), words, seen))
    assert len(said) == render.MAX_NAMED == 20
    assert "'word19' is unknown" in said[-1]
    assert all(len(line) < 120 for line in said), "of a long text the beginning"
    assert render.unknown_totals(seen) == "unknown to the model: 30 symbols"
    assert list(render.unknown_symbols("word3 word29", ["word3", "word29"], seen)) == []
    assert render.unknown_totals(seen) == (
        "unknown to the model: 'word3' in 2 texts, 'word29' in 2 texts, 28 others"
    )


def test_the_counter_of_unknown_symbols_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "KEPT", 3)
    seen: Counter[str] = Counter()
    list(render.unknown_symbols("", "abcdea", seen))
    assert seen == {"a": 2, "b": 1, "c": 1}


def test_texts_without_an_answer_are_named_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "MAX_NAMED", 2)
    unanswered = render.NoAnswers()
    nothing, cut = answer(("", 0.9), ("y", 0.1)), answer(truncated=True)
    told = list(
        unanswered.warnings([("a", nothing), ("b", cut), ("", None), ("c", answer(("y", 1)))])
    )
    assert (told, unanswered.totals()) == (["no answer to 'a'"], "")
    told = list(unanswered.warnings([("d", nothing), ("e", nothing)]))
    assert (told, unanswered.totals()) == (["no answer to 'd'"], "no answer to 3 texts")


def test_answers_that_only_a_rule_has_left_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "MAX_NAMED", 1)
    unlikely = render.Unlikely()
    doubtful, sound = answer(("y", 0.009)), answer(("y", 0.01))
    told = list(unlikely.warnings([("a", doubtful), ("b", sound), ("c", answer(("", 0.001)))]))
    assert told == ["the answer to 'a' keeps the rule, and has less than 1% of the probability"]
    assert (unlikely.count, unlikely.totals()) == (1, "")
    assert not list(unlikely.warnings([("d", doubtful), ("", None)]))
    assert unlikely.totals() == "2 answers keep the rule, and have less than 1%"
    with_rule = render.Messages(None, None, counts_words=False, with_rule=True)
    without = render.Messages(None, None, counts_words=False, with_rule=False)
    assert len(list(with_rule.on([("a", doubtful)]))) == 1
    assert not list(without.on([("a", doubtful)]))


def test_scores_stay_in_their_row() -> None:
    one = LineScore(-12.34567, 3, ["xyzzy"])
    assert render.score_as_row("a\nxyzzy", one) == "-12.3457\t3\ta xyzzy"
    assert json.loads(render.score_as_json("a\nxyzzy", one)) == {
        "text": "a\nxyzzy", "log_probability": -12.34567, "words": 3, "unknown": ["xyzzy"],
    }  # fmt: skip
