"""Answers as JSON: everything that the library says, and the lines of next words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from served import RUNS

from charseq.errors import UsageError
from charseq.inference.predictor import load
from charseq.serving.worker import Question, answer, line_with


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {run.name: load(run) for run in RUNS}


def test_an_answer_is_that_of_the_library(models: dict[str, Any]) -> None:
    texts = ["kogima", "", "xyz", "kogima"]
    found = [json.loads(one) for one in answer(models["hard"], Question("hard", n=2), texts)]
    (own,) = models["hard"].predict(["kogima"], n=2)
    assert found[0] == found[3]
    assert found[0]["prediction"] == own.prediction
    assert [one["probability"] for one in found[0]["candidates"]] == [
        one.probability for one in own.candidates
    ]
    assert found[1]["prediction"] == ""
    assert found[1]["candidates"] == []
    assert found[2]["unknown"] == ["x", "y", "z"]
    assert "alignment" not in found[0]


def test_alignment_and_threshold(models: dict[str, Any]) -> None:
    asked = Question("hard", align=True, threshold=1.0)
    (found,) = map(json.loads, answer(models["hard"], asked, ["kogima"]))
    assert found["unsure"]
    assert found["prediction"] == ""
    best = found["candidates"][0]["prediction"]
    assert "".join(part for _, part in found["alignment"]["pairs"]) == best


def test_next_words_have_the_line_with_them(models: dict[str, Any]) -> None:
    model = models["words"]
    (found,) = map(json.loads, answer(model, Question("words", n=2), ["I love"]))
    assert [one["line"] for one in found["candidates"]] == [
        f"I love {one['prediction']}" for one in found["candidates"]
    ]
    (found,) = map(json.loads, answer(model, Question("words", "complete", n=2), ["I love t"]))
    assert found["candidates"]
    assert all(one["line"] == f"I love {one['prediction']}" for one in found["candidates"])
    assert line_with(model, "I love ", "the", completes=True) == "I love the"


@pytest.mark.parametrize(
    "question",
    [
        Question("words", align=True),
        Question("words", threshold=0.5),
        Question("hard", "complete"),
    ],
)
def test_what_a_model_has_not_is_refused(models: dict[str, Any], question: Question) -> None:
    with pytest.raises(UsageError):
        answer(models[question.model], question, ["to"])
