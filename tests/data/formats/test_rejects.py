"""A rejected row is found again by its line, its offset and its bytes."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from charseq.data.formats.writer import place, rejecting
from charseq.errors import DataError


def test_a_row_is_a_line_with_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.rejects.jsonl"
    with rejecting(path) as rejects:
        rejects.add(3, 17, "byte 0xe9 at column 1 is not UTF-8", b"\xe9t\r\n")
        rejects.add(9, None, "half a pair: \ud800", b"")
        assert not path.exists()
    first, second = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    reason = "byte 0xe9 at column 1 is not UTF-8"
    assert first == {"line": 3, "offset": 17, "reason": reason, "raw": "6XQNCg=="}
    assert base64.b64decode(first["raw"]) == b"\xe9t\r\n"
    assert (second["line"], second["offset"], second["raw"]) == (9, None, "")
    assert rejects.count == 2
    assert [one.name for one in tmp_path.iterdir()] == ["a.rejects.jsonl"]


def test_without_rejects_there_is_no_file_and_an_old_one_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.rejects.jsonl"
    path.write_text("old")
    with rejecting(path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_where_the_block_fails_nothing_is_left_and_nothing_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.rejects.jsonl"
    path.write_text("old")

    def fail() -> None:
        with rejecting(path) as rejects:
            rejects.add(1, 0, "x", b"")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [(path.name, "old")]


def test_a_name_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(DataError, match="folder: cannot be written: Is a directory"),
        rejecting(tmp_path / "folder") as rejects,
    ):
        rejects.add(1, 0, "x", b"")
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]


def test_they_lie_beside_the_output_or_else_the_input(tmp_path: Path) -> None:
    assert place("in.csv", f"{tmp_path}/out.csv") == tmp_path / "out.csv.rejects.jsonl"
    assert place(f"{tmp_path}/in.csv", "-") == tmp_path / "in.csv.rejects.jsonl"
    assert place(f"{tmp_path}/in.csv", "/dev/null") == tmp_path / "in.csv.rejects.jsonl"
    assert place("-", "-") == Path("stdin.rejects.jsonl")
