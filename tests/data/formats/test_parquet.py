"""Parquet: values and types come through, in windows and in row groups."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_files import CELL

from charseq.data.formats import parquet as module
from charseq.data.formats.reader import read_table
from charseq.data.formats.rows import text_of
from charseq.data.formats.writer import replacing, writing
from charseq.errors import DataError, MissingExtraError, UsageError


def write_parquet(folder: Path, table: Any, **options: Any) -> Path:
    path = folder / "in.parquet"
    pq.write_table(table, path, **options)
    return path


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.parquet"
    table = pa.table({"source": ["null", None, "a\u2028b"], "weight": [1, 2, 3]})
    pq.write_table(table, path)
    return path


def test_rows_keep_types_names_and_numbers(words: Path) -> None:
    table = read_table(str(words))
    assert (table.format.name, table.header) == ("parquet", ("source", "weight"))
    rows = list(table.rows)
    assert [row.cells for row in rows] == [("null", 1), (None, 2), ("a\u2028b", 3)]
    assert [row.line for row in rows] == [1, 2, 3]
    assert rows[0].names == ("source", "weight")


def test_windows_carry_their_batch(words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charseq.data.formats.rows.WINDOW", 2)
    windows = list(read_table(str(words)).windows)
    assert [len(window.rows) for window in windows] == [2, 1]
    assert [window.batch.num_rows for window in windows] == [2, 1]


def test_a_gz_is_unpacked(words: Path, tmp_path: Path) -> None:
    packed = tmp_path / "words.parquet.gz"
    packed.write_bytes(gzip.compress(words.read_bytes()))
    plain = [row.cells for row in read_table(str(words)).rows]
    assert [row.cells for row in read_table(str(packed)).rows] == plain


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
        read_table(str(packed))
    assert str(caught.value).startswith(f"{packed}: ")
    assert "\n" not in str(caught.value)


def test_a_pipe_is_refused() -> None:
    with pytest.raises(UsageError, match="from a file, not from stdin"):
        read_table("-", format="parquet")


def test_parquet_gives_names_and_values(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "w": ["null", None, "nan"],
        "k": pa.array([1, 2, 3], pa.int16()),
        "c": pa.array(["x", "y", "x"]).dictionary_encode(),
        "f": [0.5, None, 2.0],
    }
    table = read_table(write_parquet(tmp_path, pa.table(columns)))
    assert table.header == ("w", "k", "c", "f")
    rows = list(table.rows)
    assert [row.cells for row in rows] == [
        ("null", 1, "x", "0.5"), (None, 2, "y", None), ("nan", 3, "x", "2")
    ]  # fmt: skip
    assert [row.line for row in rows] == [1, 2, 3]
    assert {row.names for row in rows} == {("w", "k", "c", "f")}


def test_values_that_python_cannot_hold_do_no_harm(tmp_path: Path) -> None:
    far = pa.array([2**62, 1], pa.timestamp("us"))
    rows = list(read_table(write_parquet(tmp_path, pa.table({"w": ["a", "b"], "t": far}))).rows)
    assert [row.cells[0] for row in rows] == ["a", "b"]
    with pytest.raises(DataError, match=r"a timestamp\[us\] out of the range of dates"):
        text_of(rows[0].cells[1])


def test_parquet_comes_in_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path, pa.table({"w": [str(i) for i in range(10)]}), row_group_size=3)
    monkeypatch.setattr("charseq.data.formats.rows.WINDOW", 4)
    windows = list(read_table(path).windows)
    assert max(len(window.rows) for window in windows) <= 4
    rows = [row for window in windows for row in window.rows]
    assert [(row.line, row.cells[0]) for row in rows] == [(i + 1, str(i)) for i in range(10)]
    assert all(window.batch.num_rows == len(window.rows) for window in windows)


def test_damaged_parquet_is_one_line(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, pa.table({"w": [f"word {i}" for i in range(1000)]}))
    whole = path.read_bytes()
    for content in (b"", b"w\nx\n" * 30, whole[:-1], whole[:60] + b"\xff" * 40 + whole[100:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="Parquet") as caught:
            list(read_table(path).rows)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_parquet_is_not_read_from_a_pipe() -> None:
    with pytest.raises(UsageError, match="not from stdin"):
        read_table("-", format="parquet")


def test_parquet_in_a_gz_is_read_and_half_of_it_is_not(tmp_path: Path) -> None:
    plain = write_parquet(tmp_path, pa.table({"source": ["a", "b"], "target": ["1", "2"]}))
    packed = tmp_path / "packed.parquet.gz"
    packed.write_bytes(gzip.compress(Path(plain).read_bytes()))
    assert [row.cells for row in read_table(packed).rows] == [("a", "1"), ("b", "2")]
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged or incomplete"):
        read_table(packed)


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install pyarrow$"):
        read_table("a.parquet")


def widened(folder: Path, path: Path, names: list[str], *, force: bool = False) -> Any:
    table = read_table(path)
    target = folder / "out.parquet"
    with (
        replacing(target, force=True) as file,
        writing(table, file, names, force=force) as write,
    ):
        for window in table.windows:
            write(window, [[f"{name}{row.line}" for name in names] for row in window.rows])
    return pq.ParquetFile(target)


def test_parquet_keeps_schema_metadata_and_compression(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "w": pa.array(["a", None, "c"], pa.large_string()),
        "t": pa.array([2**62, 1, None], pa.timestamp("ns", tz="UTC")),
        "c": pa.array(["x", "y", "x"]).dictionary_encode(),
        "s": pa.array([{"p": [1]}, None, {"p": []}]),
        "d": pa.array([1, 2, None], pa.int8()),
    }
    made = pa.table(columns).replace_schema_metadata({"made": "by hand"})
    table = write_parquet(tmp_path, made, compression="zstd")
    before = pq.read_table(tmp_path / "in.parquet")
    out = widened(tmp_path, table, ["p", "p_note"])
    after = out.read()
    assert before.schema.metadata == {b"made": b"by hand"}
    assert after.select(before.column_names).equals(before, check_metadata=True)
    assert after.column_names == [*before.column_names, "p", "p_note"]
    assert after["p"].to_pylist() == ["p1", "p2", "p3"]
    assert after.schema.field("p").type == pa.string()
    assert out.metadata.row_group(0).column(0).compression == "ZSTD"


@given(st.lists(st.tuples(st.none() | CELL, st.none() | st.integers(-9, 9)), max_size=9))
@settings(max_examples=20)
def test_parquet_rows_stay_in_order(tmp_path_factory: Any, rows: list[tuple[Any, Any]]) -> None:
    folder = tmp_path_factory.getbasetemp()
    types = (pa.string(), pa.int64())
    before = pa.table(
        {name: pa.array([row[i] for row in rows], types[i]) for i, name in enumerate(("w", "k"))}
    )
    after = widened(folder, write_parquet(folder, before, row_group_size=2), ["p"]).read()
    assert after.drop_columns(["p"]).equals(before)
    assert after["p"].to_pylist() == [f"p{i + 1}" for i in range(len(rows))]


def test_parquet_is_flushed_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charseq.data.formats.rows.WINDOW", 10)
    monkeypatch.setattr(module, "ROW_GROUP", 25)
    table = write_parquet(tmp_path, pa.table({"w": [str(i) for i in range(100)]}))
    out = widened(tmp_path, table, ["p"])
    groups = [out.metadata.row_group(i).num_rows for i in range(out.num_row_groups)]
    assert groups == [30, 30, 30, 10]


def test_parquet_columns_are_replaced_with_force_only(tmp_path: Path) -> None:
    before = pa.table({"p": [1, 2], "w": ["a", "b"]})
    with pytest.raises(DataError, match=r"in\.parquet: there is a column 'p'"):
        widened(tmp_path, write_parquet(tmp_path, before), ["p"])
    after = widened(tmp_path, write_parquet(tmp_path, before), ["p", "q"], force=True).read()
    assert after.to_pydict() == {"p": ["p1", "p2"], "w": ["a", "b"], "q": ["q1", "q2"]}


def test_parquet_goes_through_a_pipe(tmp_path: Path) -> None:
    pq.write_table(pa.table({"w": ["a", "b"]}), tmp_path / "in.parquet")
    program = (
        "from charseq.data.formats.reader import read_table\n"
        "from charseq.data.formats.writer import *\n"
        f"table = read_table({str(tmp_path / 'in.parquet')!r})\n"
        "with replacing('-') as file, writing(table, file, ['p']) as write:\n"
        "    [write(window, [['x']] * len(window.rows)) for window in table.windows]"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    assert pq.read_table(io.BytesIO(out)).to_pydict() == {"w": ["a", "b"], "p": ["x", "x"]}
