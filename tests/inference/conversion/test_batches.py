"""Columns in memory -> new cells of each row, by the rules of files."""

from __future__ import annotations

from typing import Any

import pytest
from world import Upper

from charseq.data.formats.writer import Rejected
from charseq.errors import DataError, UsageError
from charseq.inference.conversion.batches import BatchAnswers


def answers(model: Any = None, **options: Any) -> BatchAnswers:
    """Answers of a model that writes capitals."""
    return BatchAnswers(model or Upper(), path="rows", **options)


@pytest.mark.parametrize(
    ("names", "column", "expected"),
    [
        (["id", "Source"], None, [1]),
        (["id", "text"], None, [0]),
        (["id", "text"], "TEXT", [1]),
        (["id", "2"], 2, [1]),
        (["2", "id"], "2", [0]),
        (["text", "text"], 2, [1]),
    ],
)
def test_the_column_is_found_as_in_a_file(
    names: list[str], column: Any, expected: list[int]
) -> None:
    assert answers(column=column).positions(names) == expected


def test_a_model_with_features_reads_two_columns() -> None:
    found = answers(Upper(has_features=True), column="tags,lemma")
    assert found.positions(["lemma", "id", "tags"]) == [2, 0]
    texts = found.texts([["sing", "", "a\tb"], ["V;PST", "N", "N"]])
    assert texts[:2] == ["sing\tV;PST", ""]
    assert isinstance(texts[2], Rejected)
    assert found.texts([["sing"], [["V", "PST"]]]) == ["sing\tV;PST"]
    with pytest.raises(UsageError, match="SOURCE,FEATURES"):
        answers(Upper(has_features=True), column="tags").positions(["lemma", "tags"])


def test_a_column_that_is_not_there_is_told() -> None:
    with pytest.raises(DataError, match="rows: no column 'x': expected one of 'a', 'b'"):
        answers(column="x").positions(["a", "b"])
    with pytest.raises(DataError, match="rows: no columns"):
        answers().positions([])


def test_each_row_has_its_cells() -> None:
    model = Upper()
    found = answers(model, to="big")
    assert found.names == ["big", "big_note"]
    texts = found.texts([["a", None, "", {"no": "text"}, 7, "a", "ß"]])
    cells = [one.cells for one in found.answer(texts)]
    assert cells[:3] == [("A", ""), ("", "empty"), ("", "empty")]
    assert cells[3] == ("", "rejected")
    assert cells[4:6] == [("7", ""), ("A", "")]
    assert cells[6][1] == "unknown U+00DF"
    found.answer(["a", "b"])
    asked = [text for call in model.calls for text in call[0]]
    assert sorted(asked) == ["7", "a", "b", "ß"], "each text once"


def test_wrong_arguments_are_refused() -> None:
    for wrong in ({"n": 0}, {"mass": 2.0}, {"batch_size": 0}, {"threshold": 0}, {"to": ""}):
        with pytest.raises(UsageError):
            answers(**wrong)
