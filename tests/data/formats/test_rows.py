"""Rows, columns and cells as they pass between files and the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from table_files import fault, write

from charseq.data.formats.delimited import Tsv
from charseq.data.formats.reader import read_table
from charseq.data.formats.rows import Row, Table, Window, count_columns, locate, text_of
from charseq.errors import DataError


def test_rows_come_out_of_their_windows_in_order() -> None:
    rows = [Row(line, (str(line),)) for line in range(1, 6)]
    table = Table("a.tsv", Tsv(), None, iter([Window(rows[:2]), Window([]), Window(rows[2:])]))
    assert list(table.rows) == rows


@pytest.mark.parametrize(
    ("column", "names", "place"),
    [("b", ("a", "b"), 1), ("2", ("a", "b"), 1), ("1", ("2", "1"), 1), (1, ("2", "1"), 0)],
)
def test_a_column_is_a_name_first_and_a_number_second(
    column: str | int, names: tuple[str, ...], place: int
) -> None:
    assert locate(column, names, len(names)) == place


@pytest.mark.parametrize(
    ("column", "names", "told"),
    [
        ("c", ("a", "b"), "no column 'c': expected one of 'a', 'b'"),
        ("3", (), "no column '3': only 2 columns and no header"),
        ("0", (), "no column '0': only 2 columns and no header"),
        ("a", ("a", "a"), "2 columns are named 'a': give a column's number"),
        ("٢", (), "no column '٢': only 2 columns and no header"),
    ],
)
def test_a_wrong_column_says_what_there_is(column: str, names: tuple[str, ...], told: str) -> None:
    with pytest.raises(DataError) as caught:
        locate(column, names, 2)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("value", "text"),
    [("ä", "ä"), ("", ""), (None, ""), (7, "7"), (-(10**20), "-" + "1" + "0" * 20)],
)
def test_a_cell_as_text(value: object, text: str) -> None:
    assert text_of(value) == text


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    assert text_of("a\ud83dz") == "a\ufffdz"


@pytest.mark.parametrize("value", [True, 1.5, [1], {"a": 1}])
def test_other_types_are_no_text(value: object) -> None:
    with pytest.raises(DataError, match=f"a value of type {type(value).__name__}, expected text"):
        text_of(value)


def test_columns_are_counted_in_words() -> None:
    assert [count_columns(n) for n in (1, 2)] == ["1 column", "2 columns"]


def test_a_header_is_seen_by_its_roles_or_on_demand(tmp_path: Path) -> None:
    def header(content: str, **options: str) -> tuple[str, ...] | None:
        table = read_table(write(tmp_path, "a.tsv", content), **options)
        assert len(list(table.rows)) == (1 if table.header else 2)
        return table.header

    assert header("Target\tSOURCE\na\tb\n") == ("Target", "SOURCE")
    assert header("source\tx\na\tb\n") is None
    assert header("x\ty\na\tb\n") is None
    assert header("x\ty\na\tb\n", header="yes") == ("x", "y")
    assert header("source\ttarget\na\tb\n", header="no") is None


def test_a_header_keeps_its_bytes_and_the_lines_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", b'\xef\xbb\xbfsource,"tar\nget"\r\na,b\n')
    table = read_table(path, header="yes")
    assert table.header == ("source", "tar\nget")
    assert table.header_row is not None
    assert table.header_row.raw == b'\xef\xbb\xbfsource,"tar\nget"\r\n'
    assert [row.line for row in table.rows] == [3]


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_header_that_is_asked_for_must_be_there(tmp_path: Path, content: str) -> None:
    caught = fault(tmp_path, "a.tsv", content, header="yes")
    assert str(caught) == f"{tmp_path / 'a.tsv'}:1: nothing here, expected a header row"


def test_columns_are_found_by_name_then_by_number() -> None:
    assert locate("b", ("a", "b"), 2) == 1
    assert locate("2", ("a", "b"), 2) == 1
    assert locate("2", ("2", "b"), 2) == 0
    assert locate(2, ("2", "b"), 2) == 1
    assert locate("1", (), 3) == 0
    with pytest.raises(DataError, match="no column 'c': expected one of 'a', 'b'"):
        locate("c", ("a", "b"), 2)
    for wrong in ("0", "3", "-1", "٢", "", 3, 0, -1):
        with pytest.raises(DataError, match=r"no column '.*': only 2 columns and no header"):
            locate(wrong, (), 2)
    with pytest.raises(DataError, match="2 columns are named 'a'"):
        locate("a", ("a", "a"), 2)
    assert locate(2, ("a", "a"), 2) == 1


def test_a_value_becomes_text_only_if_nothing_is_lost() -> None:
    assert [text_of(value) for value in ("nan", "", None, 12, -3)] == ["nan", "", "", "12", "-3"]
    assert text_of(json.loads(r'"\ud83d\ude00 \ud83d x"')) == "😀 \ufffd x"
    for value in (1.5, True, ["a"], {"a": "b"}):
        with pytest.raises(DataError, match=f"a value of type {type(value).__name__}, expected t"):
            text_of(value)
    with pytest.raises(DataError, match="bytes, expected text in UTF-8"):
        text_of(b"x")


def test_windows_are_bounded_in_rows_and_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "a.txt", "ab\n" * 10)
    monkeypatch.setattr("charseq.data.formats.rows.WINDOW", 4)
    assert [len(window.rows) for window in read_table(path).windows] == [4, 4, 2]
    monkeypatch.setattr("charseq.data.formats.rows.WINDOW_BYTES", 6)
    assert [len(window.rows) for window in read_table(path).windows] == [2] * 5
