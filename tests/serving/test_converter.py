"""The process that reads and converts a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from served import RUNS

from charseq.errors import DataError
from charseq.process import ChildProcess
from charseq.serving.converter import CELL, COLUMNS, ROWS, table

MODULE = "charseq.serving.converter"


def test_the_first_rows_of_formats(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1, "b": "x"}\n{"b": null, "c": "y"}\n', encoding="utf-8")
    found = table(str(path))
    assert found["columns"] == ["a", "b", "c"]
    assert found["rows"] == [["1", "x", ""], ["", "", "y"]]
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n", encoding="utf-8")
    assert table(str(path))["has_columns"] is False
    path = tmp_path / "wide.csv"
    path.write_text(("x" * 999 + ",") * 99 + "y\n" + ("1," * 99 + "2\n") * 20, encoding="utf-8")
    found = table(str(path))
    assert found["width"] == COLUMNS
    assert len(found["rows"]) <= ROWS
    assert max(len(cell) for row in found["rows"] for cell in row) <= CELL
    with pytest.raises(DataError):
        table(str(tmp_path / "absent.csv"))


def test_an_excel_sheet_is_read_in_the_process(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed")
    book = openpyxl.Workbook()
    book.active.append(["id", "word"])
    book.active.append([1, "kogima"])
    book.save(tmp_path / "a.xlsx")
    child = ChildProcess(MODULE)
    child.send({"path": str(tmp_path / "a.xlsx"), "limit": 2**20})
    message = child.receive()
    assert message is not None
    assert message["table"]["columns"] == ["id", "word"]
    assert message["table"]["rows"] == [["1", "kogima"]]
    assert child.end() == ""


def test_a_result_that_grows_beyond_its_bound_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("w\n" + "kogima\n" * 50, encoding="utf-8")
    child = ChildProcess(MODULE)
    options = {"out": str(tmp_path / "b.csv"), "column": "w"}
    child.send({"path": str(path), "limit": 2, "run": str(RUNS[0]), "options": options})
    message = child.receive()
    assert message is not None
    assert "fault" in message
    assert not (tmp_path / "b.csv").exists()
    child.end()
