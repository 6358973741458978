"""Rows, columns and cells as they pass between files and the rest."""

from __future__ import annotations

import pytest

from charseq.data.formats.rows import Row, Table, Window, count_columns, locate, text_of
from charseq.errors import DataError


def test_rows_come_out_of_their_windows_in_order() -> None:
    rows = [Row(line, (str(line),)) for line in range(1, 6)]
    table = Table("a.tsv", "tsv", None, iter([Window(rows[:2]), Window([]), Window(rows[2:])]))
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
