"""The roles of columns: given by name or position, or found."""

from __future__ import annotations

from pathlib import Path

import pytest

from charseq.data.formats.reader import read_table
from charseq.data.formats.rows import Row, Table
from charseq.data.roles import describe_roles, locate_roles
from charseq.errors import DataError


def opened(path: Path, text: str) -> tuple[Table, Row]:
    path.write_text(text, encoding="utf-8")
    table = read_table(path)
    (row, *_) = table.rows
    return table, row


def test_roles_are_found_by_the_names_of_the_header_in_any_case(tmp_path: Path) -> None:
    table, row = opened(tmp_path / "a.csv", "Target,n,Source\nx,1,y\n")
    numbers = locate_roles((), table, row)
    assert numbers == (2, 0, None, None)
    assert (
        describe_roles(numbers, table, row)
        == "target = column 1 (Target), source = column 3 (Source)"
    )


def test_roles_are_given_by_position_and_by_name(tmp_path: Path) -> None:
    table, row = opened(tmp_path / "a.tsv", "x\ty\tz\n")
    assert locate_roles(("target", "skip", "source"), table, row) == (2, 0, None, None)
    with pytest.raises(DataError, match="3 columns, but columns names 2"):
        locate_roles(("source", "target"), table, row)
    table, row = opened(tmp_path / "b.csv", "old,new\nx,y\n")
    assert locate_roles({"source": "2", "target": "1"}, table, row) == (1, 0, None, None)


def test_too_few_or_too_many_columns_need_roles(tmp_path: Path) -> None:
    table, row = opened(tmp_path / "a.tsv", "x\n")
    with pytest.raises(DataError, match="1 column"):
        locate_roles((), table, row)
    table, row = opened(tmp_path / "b.tsv", "x\ty\tz\n")
    with pytest.raises(DataError, match="expected source and target"):
        locate_roles((), table, row)
