"""Texts of a call are checked one by one; a DataFrame becomes a file of pairs and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from charseq.data import pairs
from charseq.data.frames import Texts, frame_file, is_frame, is_series, with_columns
from charseq.errors import DataError, SettingError, UsageError


@pytest.mark.parametrize(
    "given",
    [
        ["a", "b"],
        ("a", "b"),
        (text for text in "ab"),
        map(str.strip, [" a", "b "]),
        {"a": 1, "b": 2}.keys(),
        np.array(["a", "b"]),
        pd.Index(["a", "b"]),
        iter(["a", "b"]),
    ],
    ids=lambda given: type(given).__name__,
)
def test_any_iterable_is_read_once(given: Any) -> None:
    texts = Texts(given)
    assert list(texts) == list(texts) == ["a", "b"]
    assert len(texts) == 2
    assert texts[1] == "b"
    assert texts.answers([1, 2]) == [1, 2]


def test_one_text_is_one_text() -> None:
    assert list(Texts("3 May 2020")) == ["3 May 2020"]
    assert list(Texts("")) == [""]
    assert list(Texts([])) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "texts is None, expected a str or several in an iterable"),
        (5, r"texts is 5 \(int\)"),
        (b"ab", r"texts is b'ab' \(bytes, not decoded\)"),
        ({"a": 1}, r"texts is {'a': 1} \(dict\)"),
        (["a", None], r"texts\[1\] is None, expected a str"),
        ([float("nan")], r"texts\[0\] is nan \(float\), expected a str"),
        (["a", "b", b"c"], r"texts\[2\] is b'c' \(bytes, not decoded\)"),
        ([("a", "V")], r"texts\[0\] is \('a', 'V'\) \(tuple\)"),
        (["a", pd.NA], r"texts\[1\] is <NA> \(NAType\)"),
        (np.array([["a"]]), r"texts\[0\] is array"),
        (pd.Series([1, 2]), r"texts\[0\] is 1 \(int\)"),
        (pd.DataFrame({"a": ["x"]}), r"texts is a DataFrame, expected one of its columns"),
        (["x" * 500, list(range(500))], r"texts\[1\] is .{40}… \(list\)"),
    ],
)
def test_a_wrong_value_is_told_with_its_position(given: Any, told: str) -> None:
    with pytest.raises(UsageError, match=f"^{told}"):
        Texts(given)


@pytest.mark.parametrize("kind", ["object", "string", "str", "category", "string[pyarrow]"])
def test_a_series_keeps_index_order_name_and_nulls(kind: Any) -> None:
    series = pd.Series(["b", None, "a", pd.NA], index=[7, 7, 2, 0], name="date", dtype=kind)
    texts = Texts(series)
    assert list(texts) == ["b", "a"]
    answers: Any = texts.answers([{"at": 1}, {"at": 2}])
    assert isinstance(answers, pd.Series)
    assert answers.tolist() == [{"at": 1}, None, {"at": 2}, None]
    assert answers.index.tolist() == [7, 7, 2, 0]
    assert answers.name == "date"


def test_what_is_a_frame_and_what_a_series() -> None:
    frame = pd.DataFrame({"a": ["x"]})
    assert is_frame(frame)
    assert not is_frame(frame["a"])
    assert is_series(frame["a"])
    assert not any(map(is_series, (frame, ["a"], None)))


def rows_of(frame: pd.DataFrame, columns: str = "") -> tuple[list[tuple[str, str, str]], str]:
    with frame_file(frame, columns) as (path, setting):
        data = pairs.read_file(path, columns=setting)
        rows = [(one.source, one.target, one.features) for one in data.examples]
    assert not path.exists()
    return rows, setting


def test_columns_have_roles_as_in_files() -> None:
    frame = pd.DataFrame({"Target": ["A"], "SOURCE": ["a"], "id": [1]})
    assert rows_of(frame) == ([("a", "A", "")], "")
    frame = pd.DataFrame({"word": ["a\tb\n"], "ipa": ["null"]}, index=["row"])
    assert rows_of(frame) == ([("a\tb\n", "null", "")], "")
    assert rows_of(frame, "target,source")[0] == [("null", "a\tb\n", "")]
    assert rows_of(frame, "target=word,source=2")[0] == [("null", "a\tb\n", "")]
    three = pd.DataFrame({0: ["ga"], 1: ["V"], 2: ["went"]})
    assert rows_of(three, "source,features,target") == (
        [("ga", "went", "V")],
        "source=0,features=1,target=2",
    )


def test_cells_of_other_types_are_as_in_sheets() -> None:
    day = pd.Timestamp("2021-03-03")
    frame = pd.DataFrame({"source": [day], "target": [np.int64(7)], "features": [["V", "PST"]]})
    assert rows_of(frame)[0] == [("2021-03-03", "7", "V;PST")]


@pytest.mark.parametrize(
    ("frame", "columns", "told"),
    [
        (pd.DataFrame({"a": [1], "b": [2], "c": [3]}), "", "frame:1: 3 columns.*which is which"),
        (pd.DataFrame({"a": ["x", "y"], "b": ["u", None]}), "", "frame:2: the target is empty"),
        (pd.DataFrame({"a": [1], "b": [2]}), "source,target,skip", "frame: 2 columns .a, b., but"),
        (pd.DataFrame([["x", "y"]], columns=["a", "a"]), "", "frame: 2 columns are named 'a'"),
        (pd.DataFrame({"a": [], "b": []}), "", "^frame: no rows"),
    ],
)
def test_a_frame_that_cannot_be_read_is_called_frame(
    frame: pd.DataFrame, columns: str, told: str
) -> None:
    with pytest.raises(DataError, match=told):
        rows_of(frame, columns)


def test_wrong_columns_are_a_setting_error() -> None:
    with pytest.raises(SettingError, match="role"):
        rows_of(pd.DataFrame({"a": [1]}), "nothing")


def test_errors_of_other_files_keep_their_path(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught, frame_file(pd.DataFrame({"a": ["x"], "b": ["y"]})):
        raise DataError("found 3", path=tmp_path / "other.tsv", line=1)
    assert caught.value.path == tmp_path / "other.tsv"


def test_the_same_cells_are_the_same_bytes() -> None:
    frame = pd.DataFrame({"source": ["ä", "b"], "target": ["x", "y"]})
    other = frame.astype("string").set_index(pd.Index([9, 4]))
    with frame_file(frame) as (path, _), frame_file(other) as (same, _):
        assert path.read_bytes() == same.read_bytes()
        assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [
            {"source": "ä", "target": "x"},
            {"source": "b", "target": "y"},
        ]


def test_new_columns_are_added_to_a_copy() -> None:
    frame = pd.DataFrame({"a": ["x", None]}, index=[3, 3])
    wide = with_columns(frame, ["b", "b_note"], [("y", ""), (None, None)], force=False)
    assert list(frame.columns) == ["a"]
    assert list(wide.columns) == ["a", "b", "b_note"]
    assert wide.index.tolist() == [3, 3]
    assert wide["b"].tolist()[0] == "y"
    assert wide["b"].isna().tolist() == [False, True]
    assert list(with_columns(frame.iloc[:0], ["b"], [], force=False).columns) == ["a", "b"]
    with pytest.raises(DataError, match="frame: there is a column 'a'"):
        with_columns(frame, ["a"], [("y",), ("z",)], force=False)
    assert with_columns(frame, ["a"], [("y",), ("z",)], force=True)["a"].tolist() == ["y", "z"]
