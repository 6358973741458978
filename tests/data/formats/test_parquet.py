"""Parquet as a source of rows; more of it is in test_formats and test_outputs."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from charseq.data.formats import parquet
from charseq.errors import DataError, UsageError

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet  # noqa: E402


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.parquet"
    table = pa.table({"source": ["null", None, "a\u2028b"], "weight": [1, 2, 3]})
    pyarrow.parquet.write_table(table, path)
    return path


def test_rows_keep_types_names_and_numbers(words: Path) -> None:
    table = parquet.read(str(words))
    assert (table.format, table.header) == ("parquet", ("source", "weight"))
    rows = list(table.rows)
    assert [row.cells for row in rows] == [("null", 1), (None, 2), ("a\u2028b", 3)]
    assert [row.line for row in rows] == [1, 2, 3]
    assert rows[0].names == ("source", "weight")


def test_windows_carry_their_batch(words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charseq.data.formats.rows.WINDOW", 2)
    windows = list(parquet.read(str(words)).windows)
    assert [len(window.rows) for window in windows] == [2, 1]
    assert [window.batch.num_rows for window in windows] == [2, 1]


def test_a_gz_is_unpacked(words: Path, tmp_path: Path) -> None:
    packed = tmp_path / "words.parquet.gz"
    packed.write_bytes(gzip.compress(words.read_bytes()))
    plain = [row.cells for row in parquet.read(str(words)).rows]
    assert [row.cells for row in parquet.read(str(packed)).rows] == plain


@pytest.mark.parametrize("damage", ["half", "not gzip", "not parquet"])
def test_a_damaged_gz_is_one_line(words: Path, tmp_path: Path, damage: str) -> None:
    packed = tmp_path / "words.parquet.gz"
    content = {
        "half": gzip.compress(words.read_bytes())[:-20],
        "not gzip": b"PAR1 but no gzip",
        "not parquet": gzip.compress(b"a\tb\n"),
    }[damage]
    packed.write_bytes(content)
    with pytest.raises(DataError) as caught:
        parquet.read(str(packed))
    assert str(caught.value).startswith(f"{packed}: ")
    assert "\n" not in str(caught.value)


def test_a_pipe_is_refused() -> None:
    with pytest.raises(UsageError, match="from a file, not from stdin"):
        parquet.read("-")
