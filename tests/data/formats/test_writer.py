"""What a wrong writer would do: leave half a file, change a byte nobody asked for, or lose one."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charseq.data.formats import writer
from charseq.data.formats.reader import read_table
from charseq.data.formats.writer import refuse, replacing, writing
from charseq.errors import DataError, UsageError

CELL = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\t")
    | st.sampled_from("\u2028\u0085\x0b\x0c\u00a0\u3000\ufeff\",'\\{}:"),
    max_size=6,
)
ENDS = st.sampled_from(["\n", "\r\n"])


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rewrite(
    content: bytes,
    folder: Path,
    name: str,
    names: Sequence[str],
    values: Sequence[str],
    *,
    header: str = "no",
    force: bool = False,
) -> bytes:
    """The file's bytes after every row got the same new ``values``; blank lines are kept."""
    source, target = folder / f"in.{name}", folder / f"out.{name}"
    source.write_bytes(content)
    table = read_table(source, header=header)
    with (
        replacing(target, force=True) as file,
        writing(table, file, names, force=force) as write,
    ):
        for window in table.windows:
            write(window, [values if row.cells else None for row in window.rows])
    return target.read_bytes()


# --- all or nothing


def test_the_name_appears_with_the_last_byte(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with replacing(target) as file:
        file.write(b"one\n")
        assert not target.exists()
    assert target.read_bytes() == b"one\n"
    assert listing(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize("fault", [ValueError, DataError, KeyboardInterrupt, BrokenPipeError])
def test_a_fault_leaves_nothing(tmp_path: Path, name: str, fault: type[BaseException]) -> None:
    def interrupted() -> None:
        with replacing(tmp_path / name) as file:
            file.write(b"x" * 100_000)
            raise fault("stop")

    with pytest.raises(fault, match="stop"):
        interrupted()
    assert listing(tmp_path) == []


def test_no_file_stays_open(tmp_path: Path) -> None:
    numbers = Path("/dev/fd")
    if not numbers.is_dir():
        pytest.skip("this system does not list open files")
    before = len(listing(numbers))
    for i in range(5):
        with replacing(tmp_path / f"{i}.txt") as file:
            file.write(b"x")
    assert len(listing(numbers)) == before


def test_a_fault_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")

    def interrupted() -> None:
        with replacing(target, force=True) as file:
            file.write(b"new")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        interrupted()
    assert target.read_bytes() == b"old"
    assert listing(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os if call == "fsync" else Path, call, full)
    target = tmp_path / "a.txt"
    with (
        pytest.raises(DataError, match=r"a\.txt: cannot be written: No space left on device"),
        replacing(target) as file,
    ):
        file.write(b"x")
    assert listing(tmp_path) == []


def test_what_is_written_is_on_the_disk_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, object]] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(number: int) -> None:
        steps.append(("fsync", os.fstat(number).st_size if steps == [] else "folder"))
        real_fsync(number)

    def replace(old: Path, new: Path) -> Path:
        steps.append(("replace", new.name))
        return real_replace(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    with replacing(tmp_path / "a.txt") as file:
        file.write(b"12345")
    assert steps == [("fsync", 5), ("replace", "a.txt"), ("fsync", "folder")]


def test_a_kill_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    program = (
        "import sys, time; from charseq.data.formats.writer import replacing\n"
        f"with replacing({str(tmp_path / 'a.txt')!r}) as file:\n"
        "    file.write(b'x' * 100_000); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "a.txt").exists()
    with replacing(tmp_path / "a.txt") as file:
        file.write(b"again")
    assert (tmp_path / "a.txt").read_bytes() == b"again"


# --- names


def test_a_file_is_not_overwritten_without_force(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")
    with pytest.raises(UsageError, match=r"a\.txt exists: .* --force"), replacing(target):
        pass
    with replacing(target, force=True) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"


def test_a_file_that_came_in_the_meantime_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"

    def overtaken() -> None:
        with replacing(target) as file:
            file.write(b"new")
            target.write_bytes(b"somebody else's")

    with pytest.raises(UsageError, match="exists"):
        overtaken()
    assert target.read_bytes() == b"somebody else's"
    assert listing(tmp_path) == ["a.txt"]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder, expected a file"):
        refuse(tmp_path, force=True)
    refuse("-", force=False)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    target = tmp_path / "no" / "a.txt"
    with pytest.raises(DataError, match="cannot be written: No such file") as caught:
        replacing(target).__enter__()
    assert str(caught.value).startswith(f"{target}: ")


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with replacing(tmp_path / "a.txt") as file:
            file.write(b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a.txt").write_bytes(b"old")
    (tmp_path / "a.txt").symlink_to("far/a.txt")
    with replacing(tmp_path / "a.txt", force=True) as file:
        file.write(b"new")
    assert (tmp_path / "a.txt").is_symlink()
    assert (tmp_path / "far" / "a.txt").read_bytes() == b"new"


def test_a_long_name_is_no_trouble(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 251 + ".txt")
    with replacing(target) as file:
        file.write(b"x")
    assert target.read_bytes() == b"x"


def test_a_named_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    with replacing(pipe) as file:
        file.write(b"through")
    reader.join(10)
    assert got == [b"through"]
    assert pipe.is_fifo()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_device_is_one_line() -> None:
    with (
        pytest.raises(DataError, match="/dev/full: cannot be written: No space left"),
        replacing("/dev/full") as file,
    ):
        file.write(b"x")


def test_a_dash_is_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=buffer))
    with replacing("-") as file:
        file.write(b"x")
    assert buffer.getvalue() == b"x"
    assert not buffer.closed


def test_gz_has_no_date_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for moment, name in ((1e9, "a.txt.gz"), (2e9, "b.txt.gz")):
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        with replacing(tmp_path / name) as file:
            file.write(b"words\n" * 1000)
    first, second = ((tmp_path / name).read_bytes() for name in ("a.txt.gz", "b.txt.gz"))
    assert first == second
    assert gzip.decompress(first) == b"words\n" * 1000


# --- lines keep their bytes


def test_text_lines_are_replaced_and_line_ends_kept(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfa\r\n\nb\xe2\x80\xa8c\nd"
    assert rewrite(content, tmp_path, "txt", [], ["X"]) == b"\xef\xbb\xbfX\r\nX\nX\nX"
    assert rewrite(b"a\nb\n", tmp_path, "txt", [], ["X", "Y"]) == b"X\tY\nX\tY\n"
    assert rewrite(b"a\n", tmp_path, "txt", [], ["X\nY\r\tZ"]) == b"X Y  Z\n"


def test_tsv_rows_grow_at_the_end(tmp_path: Path) -> None:
    content = '\ufeff"a\tb\r\n\n\u00a0c\t\u3000\u2028\nd\t'.encode()
    assert rewrite(content, tmp_path, "tsv", ["p", "q"], ["X", "1\t2\n"]) == (
        '\ufeff"a\tb\tX\t1 2 \r\n\n\u00a0c\t\u3000\u2028\tX\t1 2 \nd\t\tX\t1 2 '.encode()
    )


def test_csv_rows_grow_at_the_end_and_keep_their_quotes(tmp_path: Path) -> None:
    content = '\ufeffa,"b"\r\n\n"c\r\nd", e\n"f""",\n,"g\n"'.encode()
    assert (
        rewrite(content, tmp_path, "csv", ["p", "q"], ["X,Y", 'a"b'])
        == (
            '\ufeffa,"b","X,Y","a""b"\r\n\n"c\r\nd", e,"X,Y","a""b"\n"f""",,"X,Y","a""b"\n'
            ',"g\n","X,Y","a""b"'
        ).encode()
    )


def test_csv_line_ends_with_a_lone_cr_make_no_new_row(tmp_path: Path) -> None:
    for content in (b"a\r\r\nb\r\n", b"a\r\nb\r"):
        rewrite(content, tmp_path, "csv", ["p"], ["X"])
        rows = [row.cells for row in read_table(tmp_path / "out.csv").rows]
        assert rows == [("a", "X"), ("b", "X")]


def test_json_keeps_its_numbers_escapes_and_key_order(tmp_path: Path) -> None:
    line = '{"b": 1.10, "a":1e400,"c": "\\u00e4 ä", "d" : {"p": [1]} } \r\n'
    expected = '{"b": 1.10, "a":1e400,"c": "\\u00e4 ä", "d" : {"p": [1]} , "p": "ß\\n"} \r\n'
    assert rewrite(line.encode(), tmp_path, "jsonl", ["p"], ["ß\n"]) == expected.encode()
    assert rewrite(b"{}\n", tmp_path, "jsonl", ["p", "q"], ["1", "2"]) == b"{}\n"  # blank: no cells
    marked = b'\xef\xbb\xbf{"a": "x"}'
    assert rewrite(marked, tmp_path, "jsonl", ["p"], ["1"]) == marked[:-1] + b', "p": "1"}'


@given(
    st.lists(st.tuples(CELL, CELL, ENDS), min_size=1, max_size=5), CELL, CELL,
    st.sampled_from(["tsv", "csv", "jsonl", "txt"]),
)  # fmt: skip
@example([("", "", "\r\n")], "", "", "csv")
@example([("", "\ufeff", "\r\n")], '"', ",", "csv")
def test_other_cells_and_their_bytes_never_change(
    tmp_path_factory: Any, rows: list[tuple[str, str, str]], new: str, other: str, name: str
) -> None:
    def line(a: str, b: str) -> str:
        if name == "csv":
            return ",".join('"' + cell.replace('"', '""') + '"' for cell in (a, b))
        return json.dumps({"a": a, "b": b}) if name == "jsonl" else f"{a}\t{b}"

    folder = tmp_path_factory.getbasetemp()
    content = "".join(line(a, b) + end for a, b, end in rows).encode()
    names = [] if name == "txt" else ["p", "q"]
    rewrite(content, folder, name, names, [new, other])
    before = list(read_table(folder / f"in.{name}", header="no").rows)
    after = list(read_table(folder / f"out.{name}", header="no").rows)
    assert len(before) == len(after) == len(rows)
    if name == "txt":
        assert [row.cells[0].removeprefix("\ufeff") for row in after] == [
            f"{new}\t{other}".removeprefix("\ufeff") if i == 0 else f"{new}\t{other}"
            for i in range(len(rows))
        ]
        return
    for old, row in zip(before, after, strict=True):
        assert row.cells == (*old.cells, new, other)
        assert row.raw.startswith(old.raw.rstrip(b"\r\n}"))
        assert row.raw.endswith(b"\r\n") == old.raw.endswith(b"\r\n")


# --- columns that are there already


@pytest.mark.parametrize(
    ("name", "content"),
    [("tsv", b"a\tp\n1\t2\n"), ("csv", b"a,p\n1,2\n"), ("jsonl", b'{"p": 1}\n')],
)
def test_a_column_is_not_replaced_without_force(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(DataError, match=r"in\..*:1: there is a column 'p': name another with --to"):
        rewrite(content, tmp_path, name, ["p"], ["X"], header="yes")
    assert not (tmp_path / f"out.{name}").exists()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("tsv", '\ufeffa\tp\t"b\n1\t2\t"3\r\n', '\ufeffa\tp\t"b\tq\n1\tX,\t"3\tY\r\n'),
        ("csv", '\ufeffa,"p"," b"\n"1",2,"3\n"\r\n', '\ufeffa,"p"," b",q\n1,"X,","3\n",Y\r\n'),
        ("jsonl", '{"a": 1.0,"p" :[1, {"p": "}"}] , "b":"\\u00e4"}\n',
         '{"a": 1.0,"p" :"X," , "b":"\\u00e4", "q": "Y"}\n'),
        ("jsonl", '{"p":null}\n{"a":"p"}\n',
         '{"p":"X,", "q": "Y"}\n{"a":"p", "p": "X,", "q": "Y"}\n'),
        ("jsonl", '{ "p" : 1, "p":2 }\n', '{ "p" : "X,", "p":"X," , "q": "Y"}\n'),
    ],
)  # fmt: skip
def test_with_force_cells_are_replaced_in_place(
    tmp_path: Path, name: str, content: str, expected: str
) -> None:
    out = rewrite(
        content.encode(), tmp_path, name, ["p", "q"], ["X,", "Y"], header="yes", force=True
    )
    assert out.decode() == expected


# --- Parquet


def parquet(folder: Path, table: Any, **options: Any) -> Any:
    pq.write_table(table, folder / "in.parquet", **options)
    return read_table(folder / "in.parquet")


def widened(folder: Path, table: Any, names: list[str], *, force: bool = False) -> Any:
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
    table = parquet(tmp_path, made, compression="zstd")
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
    after = widened(folder, parquet(folder, before, row_group_size=2), ["p"]).read()
    assert after.drop_columns(["p"]).equals(before)
    assert after["p"].to_pylist() == [f"p{i + 1}" for i in range(len(rows))]


def test_parquet_is_flushed_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charseq.data.formats.rows.WINDOW", 10)
    monkeypatch.setattr(writer, "ROW_GROUP", 25)
    table = parquet(tmp_path, pa.table({"w": [str(i) for i in range(100)]}))
    out = widened(tmp_path, table, ["p"])
    groups = [out.metadata.row_group(i).num_rows for i in range(out.num_row_groups)]
    assert groups == [30, 30, 30, 10]


def test_parquet_columns_are_replaced_with_force_only(tmp_path: Path) -> None:
    before = pa.table({"p": [1, 2], "w": ["a", "b"]})
    with pytest.raises(DataError, match=r"in\.parquet: there is a column 'p'"):
        widened(tmp_path, parquet(tmp_path, before), ["p"])
    after = widened(tmp_path, parquet(tmp_path, before), ["p", "q"], force=True).read()
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
