"""What a wrong reader would do: lose a line, shift a cell, or say nothing about a bad byte."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charseq.data.formats import reader
from charseq.data.formats.reader import read_table, sniff
from charseq.data.formats.rows import Row, Table, locate, text_of
from charseq.errors import CharseqError, DataError, MissingExtraError, UsageError

SHARED = Path(os.environ.get("CHARSEQ_SHARED_DATA", Path(__file__).parents[4] / "shared"))

# Characters that some reader somewhere takes for a line end, a blank, a quote or nothing at all.
ODD = "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e\u00a0\u3000\ufeff\x00\"',;\\# null"
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\t")
CELL = st.text(LETTERS | st.sampled_from(ODD), max_size=6)
QUOTED = CELL | st.sampled_from(["a\nb", "\r\n", "\r", '"\n"', ',"\n,'])
TABLES = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=6)
)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def read(folder: Path, name: str, content: str | bytes, **options: str) -> list[Row]:
    return list(read_table(write(folder, name, content), **options).rows)


def cells(folder: Path, name: str, content: str | bytes, **options: str) -> list[tuple[Any, ...]]:
    return [row.cells for row in read(folder, name, content, **options)]


def fault(folder: Path, name: str, content: str | bytes, **options: str) -> CharseqError:
    """What reading the whole file raises; its message has the folder cut off."""
    path = write(folder, name, content)
    with pytest.raises(CharseqError) as caught:
        list(read_table(path, **options).rows)
    return caught.value


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))


# --- names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.tsv", "tsv"), ("a.TSV.gz", "tsv"), ("a.csv", "csv"), ("a.csv.gz", "csv"),
        ("a.jsonl", "jsonl"), ("a.ndjson", "jsonl"), ("x/y.parquet", "parquet"),
        ("a.txt", "text"), ("-", "text"), ("words", "text"), ("a.gz", "text"),
        ("a.csv.bak", "text"), (".csv", "text"), ("csv", "text"),
    ],
)  # fmt: skip
def test_the_name_tells_the_format(name: str, expected: str) -> None:
    assert sniff(name) == expected
    assert sniff(Path(name)) == expected


def test_format_and_header_are_checked(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", "a\n")
    with pytest.raises(UsageError, match="unknown format 'xlsx', expected one of auto, text, tsv"):
        read_table(path, format="xlsx")
    with pytest.raises(UsageError, match="header is 'maybe', expected auto, yes or no"):
        read_table(path, header="maybe")


# --- lines and characters


def test_only_lf_and_crlf_end_a_line(tmp_path: Path) -> None:
    odd = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\rh"
    for name in ("a.txt", "a.tsv"):
        assert cells(tmp_path, name, f"{odd}\r\n{odd}\n{odd}") == [(odd,)] * 3
    quoted = odd.replace("\r", "")
    assert cells(tmp_path, "a.csv", f"{quoted}\r\n{quoted}\n{quoted}") == [(quoted,)] * 3
    line = json.dumps({"w": odd}, ensure_ascii=False)
    assert cells(tmp_path, "a.jsonl", f"{line}\r\n{line}") == [(odd,)] * 2


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.tsv.gz", "a.csv.gz"])
def test_words_that_look_like_nothing_are_words(tmp_path: Path, name: str) -> None:
    mark = "," if "csv" in name else "\t"
    words = ["null", "NA", "nan", "None", "N/A", "", "-1.0", "007", "true"]
    content = "".join(f"{word}{mark}x\n" for word in words)
    assert cells(tmp_path, name, content) == [(word, "x") for word in words]


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.txt"])
def test_white_space_is_never_stripped(tmp_path: Path, name: str) -> None:
    word = "\u00a0 \u3000x\u3000 \u00a0"
    assert cells(tmp_path, name, f"{word}\n\u00a0\n") == [(word,), ("\u00a0",)]


def test_quotes_mean_nothing_in_tsv(tmp_path: Path) -> None:
    content = '"a\tb\n"c"\td"\n\'\t"\n'
    assert cells(tmp_path, "a.tsv", content) == [('"a', "b"), ('"c"', 'd"'), ("'", '"')]


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl"])
def test_a_byte_order_mark_is_no_letter_and_only_at_the_start(tmp_path: Path, name: str) -> None:
    line = '{"k": "\ufeffx"}' if name == "a.jsonl" else "\ufeffx"
    first, second = read(tmp_path, name, b"\xef\xbb\xbf" + f"{line}\n{line}\n".encode())
    assert first.cells == second.cells == ("\ufeffx",)
    assert first.raw.startswith(b"\xef\xbb\xbf")


def test_blank_lines_are_kept_apart_from_rows(tmp_path: Path) -> None:
    assert cells(tmp_path, "a.txt", "a\n\n\r\nb\n") == [("a",), ("",), ("",), ("b",)]
    assert cells(tmp_path, "a.tsv", "\na\tb\n\n\r\nc\td\n") == [(), ("a", "b"), (), (), ("c", "d")]
    assert cells(tmp_path, "a.csv", "\na,b\n\n\r\nc,d\n") == [(), ("a", "b"), (), (), ("c", "d")]
    assert cells(tmp_path, "a.jsonl", '\n{"a": 1}\n\n') == [(), (1,), ()]


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl"])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, name, b"") == []


@given(TABLES)
@example([["\ufeff"]])
@example([["", "\ufeff"], ["a", "b"]])
def test_tsv_gives_back_what_was_joined(tmp_path_factory: Any, table: list[list[str]]) -> None:
    folder = tmp_path_factory.getbasetemp()
    lines = ["\t".join(row) + end for row, end in zip(table, ["\n", "\r\n"] * 9, strict=False)]
    rows = read(folder, "a.tsv", b"\xef\xbb\xbf" + "".join(lines).encode(), header="no")
    assert [row.cells for row in rows] == [() if row == [""] else tuple(row) for row in table]
    assert b"".join(row.raw for row in rows) == ("\ufeff" + "".join(lines)).encode()
    assert [row.line for row in rows] == list(range(1, len(table) + 1))


@given(st.lists(st.lists(QUOTED, min_size=2, max_size=2), min_size=1))
def test_csv_gives_back_what_the_csv_module_wrote(
    tmp_path_factory: Any, table: list[list[str]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    text = io.StringIO(newline="")
    csv.writer(text).writerows(table)
    content = b"\xef\xbb\xbf" + text.getvalue().encode()
    rows = read(folder, "a.csv", content, header="no")
    assert [list(row.cells) for row in rows] == table
    assert b"".join(row.raw for row in rows) == content
    lines = [1 + sum(row.raw.count(b"\n") for row in rows[:i]) for i in range(len(rows))]
    assert [row.line for row in rows] == lines


JSON_VALUES = st.none() | st.booleans() | st.integers() | CELL | st.lists(CELL, max_size=2)


@given(st.lists(st.dictionaries(CELL, JSON_VALUES, max_size=4), max_size=5))
def test_jsonl_gives_back_keys_and_values(tmp_path_factory: Any, objects: list[Any]) -> None:
    folder = tmp_path_factory.getbasetemp()
    content = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects)
    rows = read(folder, "a.jsonl", content)
    assert [dict(zip(row.names, row.cells, strict=True)) for row in rows] == objects


@given(st.binary(max_size=60))
@example(b"\xff")
@example(b"\xef\xbb\xbf\n\xef\xbb")
@example(b'a,"\xe2\x80\xa8\n')
@example(b"[" * 60)
def test_any_bytes_give_every_line_or_one_fault(tmp_path_factory: Any, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name in ("a.txt", "a.tsv", "a.csv", "a.jsonl"):
        path = write(folder, name, content)
        told = ""
        raw = b""
        try:
            raw = b"".join(row.raw for row in read_table(path, header="no").rows)
        except DataError as caught:
            told = str(caught)
        assert raw == content or re.fullmatch(re.escape(str(path)) + r":[1-9][0-9]*: [^\n]+", told)


# --- faults, each one line with its place


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl", "a.csv.gz"])
def test_a_byte_that_is_not_utf8_is_named(tmp_path: Path, name: str) -> None:
    content = b'{"w": "x"}\n{"w": "' + "ä".encode() + b'\xe9"}\n'
    caught = fault(tmp_path, name, content, header="no")
    assert str(caught) == f"{tmp_path / name}:2: byte 0xe9 at column 9 is not UTF-8"


def test_utf16_is_recognised(tmp_path: Path) -> None:
    caught = fault(tmp_path, "a.tsv", "word\tx\n".encode("utf-16"))
    assert "byte 0xff at column 1 is not UTF-8 (the file looks like UTF-16)" in str(caught)


@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_a_ragged_row_is_named(tmp_path: Path, name: str) -> None:
    mark = "," if name == "a.csv" else "\t"
    three = fault(tmp_path, name, f"a{mark}b\n\nc{mark}d{mark}e\n")
    assert str(three) == f"{tmp_path / name}:3: 3 columns, expected 2"
    one = fault(tmp_path, name, f"source{mark}target\na\n")
    assert str(one) == f"{tmp_path / name}:2: 1 column, expected 2"


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ('a,b\nc,"d\ne,f\n', 2, "a quote is opened here and not closed"),
        ('a,b\n"x\ny""z","ok\n\nstill ""here\n', 3, "a quote is opened here and not closed"),
        ('a,b\n"' + "x,y\n" * 50_000, 2, "a quote is opened here and not closed within 131072"),
        ('a,b\nc,"d"e\n', 2, "not valid CSV: ',' expected after '\"'"),
        ("a,b\nc\rd,e\n", 2, "not valid CSV: a lone carriage return outside quotes"),
    ],
)
def test_bad_csv_is_named_where_it_begins(
    tmp_path: Path, content: str, line: int, message: str
) -> None:
    caught = fault(tmp_path, "a.csv", content)
    assert str(caught).startswith(f"{tmp_path / 'a.csv'}:{line}: {message}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'a': 1}", "not valid JSON: Expecting property name"),
        ('{"a": 1', "not valid JSON: Expecting ',' delimiter"),
        ('{"a": 1} {"a": 2}', "not valid JSON: Extra data at column 10"),
        ("[1, 2]", "a JSON list, expected one object a line"),
        ('"word"', "a JSON str, expected one object a line"),
        ('{"a": ' + "[" * 100_000 + "}", "not readable JSON: maximum recursion depth"),
        ('{"a": ' + "9" * 5_000 + "}", "not readable JSON: Exceeds the limit"),
    ],
)
def test_bad_json_is_named(tmp_path: Path, line: str, message: str) -> None:
    caught = fault(tmp_path, "a.jsonl", f'{{"a": 1}}\n{line}\n')
    assert str(caught).startswith(f"{tmp_path / 'a.jsonl'}:2: {message}")


def test_half_a_gz_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"word %d\tx\n" % i for i in range(2_000)))
    path = tmp_path / "a.tsv.gz"
    for length in (1, 9, 11, 200, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.tsv\.gz: the \.gz is damaged or incomplete"):
            list(read_table(path).rows)
    path.write_bytes(whole[:100] + b"\x00\xff\x00" + whole[103:])
    with pytest.raises(DataError, match="damaged or incomplete"):
        list(read_table(path).rows)


def test_a_gz_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(b"a\tb\n")
    with pytest.raises(DataError, match=r"the \.gz is damaged or incomplete"):
        read_table(path)


@pytest.mark.parametrize("name", ["no.tsv", "no.txt", "no.csv.gz", "no.parquet", "no.jsonl"])
def test_a_missing_file_is_named_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(DataError, match="No such file or directory") as caught:
        read_table(path)
    assert str(caught.value).startswith(f"{path}: cannot be read")


@pytest.mark.parametrize("name", ["folder.tsv", "folder.tsv.gz", "folder.parquet"])
def test_a_folder_is_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / name)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "LONGEST_LINE", 100)
    assert cells(tmp_path, "a.txt", "x" * 99 + "\n") == [("x" * 99,)]
    caught = fault(tmp_path, "a.txt", "ok\n" + "x" * 101)
    assert str(caught) == f"{tmp_path / 'a.txt'}:2: no line end within 100 bytes"


# --- headers and columns


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


@pytest.mark.parametrize("content", ["", "\nx\ty\n"])
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
    for value in (1.5, True, ["a"], {"a": "b"}, b"x"):
        with pytest.raises(DataError, match=f"a value of type {type(value).__name__}, expected t"):
            text_of(value)


# --- stdin, memory, windows


def test_a_dash_is_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"a\tb\nc\td\n")
    assert [row.cells for row in read_table("-", format="tsv").rows] == [("a", "b"), ("c", "d")]
    stdin(monkeypatch, b"a\n\xff\n")
    with pytest.raises(DataError, match=r"^stdin:2: byte 0xff at column 1"):
        list(read_table("-").rows)


def test_stdin_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"a\n")
    list(read_table("-").rows)
    assert not sys.stdin.buffer.closed


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl", "a.tsv.gz"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    def peak(count: int) -> int:
        path = write(tmp_path, name, ('{"w": "x"}\n' if "json" in name else "word,x\n") * count)
        tracemalloc.start()
        try:
            assert sum(1 for _ in read_table(path, header="no").rows) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(60_000) < peak(10_000) + 500_000


def test_windows_are_bounded_in_rows_and_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "a.txt", "ab\n" * 10)
    monkeypatch.setattr("charseq.data.formats.rows.WINDOW", 4)
    assert [len(window.rows) for window in read_table(path).windows] == [4, 4, 2]
    monkeypatch.setattr(reader, "WINDOW_BYTES", 6)
    assert [len(window.rows) for window in read_table(path).windows] == [2] * 5


# --- Parquet


def parquet(folder: Path, table: Any, **options: Any) -> Path:
    path = folder / "a.parquet"
    pq.write_table(table, path, **options)
    return path


def test_parquet_gives_names_and_values(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "w": ["null", None, "nan"],
        "k": pa.array([1, 2, 3], pa.int16()),
        "c": pa.array(["x", "y", "x"]).dictionary_encode(),
        "f": [0.5, None, 2.0],
    }
    table = read_table(parquet(tmp_path, pa.table(columns)))
    assert table.header == ("w", "k", "c", "f")
    rows = list(table.rows)
    assert [row.cells for row in rows] == [
        ("null", 1, "x", 0.5), (None, 2, "y", None), ("nan", 3, "x", 2.0)
    ]  # fmt: skip
    assert [row.line for row in rows] == [1, 2, 3]
    assert {row.names for row in rows} == {("w", "k", "c", "f")}


def test_parquet_values_without_a_like_in_python_do_no_harm(tmp_path: Path) -> None:
    far = pa.array([2**62, 1], pa.timestamp("ns"))
    rows = list(read_table(parquet(tmp_path, pa.table({"w": ["a", "b"], "t": far}))).rows)
    assert [row.cells[0] for row in rows] == ["a", "b"]
    with pytest.raises(DataError, match="a value of type TimestampScalar, expected text"):
        text_of(rows[0].cells[1])


def test_parquet_comes_in_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path, pa.table({"w": [str(i) for i in range(10)]}), row_group_size=3)
    monkeypatch.setattr("charseq.data.formats.rows.WINDOW", 4)
    windows = list(read_table(path).windows)
    assert max(len(window.rows) for window in windows) <= 4
    rows = [row for window in windows for row in window.rows]
    assert [(row.line, row.cells[0]) for row in rows] == [(i + 1, str(i)) for i in range(10)]
    assert all(window.batch.num_rows == len(window.rows) for window in windows)


def test_damaged_parquet_is_one_line(tmp_path: Path) -> None:
    path = parquet(tmp_path, pa.table({"w": [f"word {i}" for i in range(1000)]}))
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
    plain = parquet(tmp_path, pa.table({"source": ["a", "b"], "target": ["1", "2"]}))
    packed = tmp_path / "packed.parquet.gz"
    packed.write_bytes(gzip.compress(Path(plain).read_bytes()))
    assert [row.cells for row in read_table(packed).rows] == [("a", "1"), ("b", "2")]
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged or incomplete"):
        read_table(packed)


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'charseq\[parquet\]'"):
        read_table("a.parquet")


def test_tables_of_text_load_neither_pandas_nor_pyarrow(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "a,b\n")
    program = (
        "import sys; from charseq.data.formats.reader import read_table; "
        f"list(read_table({str(path)!r}).rows); "
        "print(*({'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert result.stdout.strip() == b""


# --- public data


@pytest.mark.parametrize(
    ("name", "lines", "width"),
    [
        ("g2p/eng_us/train.tsv", 33_344, 2),
        ("transliteration/hi/train.tsv", 44_204, 3),
        ("inflection/swa/train.tsv", 10_000, 3),
        ("normalisation/sl_bohoric/train.tsv", 60_811, 2),
    ],
)
def test_public_tables_are_read_whole(name: str, lines: int, width: int) -> None:
    path = SHARED / name if (SHARED / name).exists() else SHARED / "data" / name
    if not path.exists():
        pytest.skip(f"{path} is absent: set CHARSEQ_SHARED_DATA")
    table: Table = read_table(path)
    assert [len(row.cells) for row in table.rows] == [width] * lines


# --- rows that say their fault


def faulty(folder: Path, name: str, content: bytes, **options: Any) -> list[Row]:
    (folder / name).write_bytes(content)
    return list(read_table(folder / name, faulty=True, **options).rows)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", b"a\n\xff\nb\n", [
            Row(1, ("a",), raw=b"a\n"),
            Row(2, (), raw=b"\xff\n", fault="byte 0xff at column 1 is not UTF-8"),
            Row(3, ("b",), raw=b"b\n"),
        ]),
        ("a.tsv", b"a\tb\n\nc\n\xff\nd\te", [
            Row(1, ("a", "b"), raw=b"a\tb\n"),
            Row(2, (), raw=b"\n"),
            Row(3, (), raw=b"c\n", fault="1 column, expected 2"),
            Row(4, (), raw=b"\xff\n", fault="byte 0xff at column 1 is not UTF-8"),
            Row(5, ("d", "e"), raw=b"d\te"),
        ]),
        ("a.csv", b'a,"b\nc"\n"d"e,f\ng\n"\xff\n",h\ni\rj,k\nl,m', [
            Row(1, ("a", "b\nc"), raw=b'a,"b\nc"\n'),
            Row(3, (), raw=b'"d"e,f\n', fault="not valid CSV: ',' expected after '\"'"),
            Row(4, (), raw=b"g\n", fault="1 column, expected 2"),
            Row(5, (), raw=b'"\xff\n",h\n', fault="byte 0xff at column 2 is not UTF-8"),
            Row(7, (), raw=b"i\rj,k\n",
                fault="not valid CSV: a lone carriage return outside quotes"),
            Row(8, ("l", "m"), raw=b"l,m"),
        ]),
        ("a.jsonl", b'{"a": 1}\n[]\n{\n\xff\n{"b": 2}\n', [
            Row(1, (1,), ("a",), b'{"a": 1}\n'),
            Row(2, (), raw=b"[]\n", fault="a JSON list, expected one object a line"),
            Row(3, (), raw=b"{\n", fault="not valid JSON: Expecting property name enclosed in "
                "double quotes at column 2"),
            Row(4, (), raw=b"\xff\n", fault="byte 0xff at column 1 is not UTF-8"),
            Row(5, (2,), ("b",), b'{"b": 2}\n'),
        ]),
    ],
)  # fmt: skip
def test_a_faulty_row_says_its_fault_and_the_others_are_as_ever(
    tmp_path: Path, name: str, content: bytes, expected: list[Row]
) -> None:
    found = faulty(tmp_path, name, content, **({"header": "no"} if name == "a.csv" else {}))
    assert found == expected
    assert b"".join(row.raw for row in found) == content


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b'a\n"b\nc\n', "a.csv:2: a quote is opened here and not closed"),
        ("a.csv", b'\xff,"b\nc\n', "a.csv:1: a quote is opened here and not closed"),
        ("a.csv", b"\xff,b\n", "a.csv:1: byte 0xff at column 1 is not UTF-8, expected a header"),
        ("a.csv", b"", "a.csv:1: nothing here, expected a header row"),
        (
            "a.txt.gz",
            gzip.compress(b"a\n" * 99, mtime=0)[:-9],
            "a.txt.gz: the .gz is damaged or incomplete",
        ),
    ],
)
def test_where_rows_end_must_be_known_all_the_same(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    with pytest.raises(DataError) as caught:
        faulty(tmp_path, name, content, header="yes" if name == "a.csv" else "auto")
    assert str(caught.value).replace(f"{tmp_path}{os.sep}", "").startswith(told)
