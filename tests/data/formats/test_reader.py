"""The registry of formats: a file is read by its name, and every line is accounted for."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from table_files import cells, faulty, read, write

from charseq.data.formats.reader import read_table, sniff
from charseq.data.formats.rows import Row, Table
from charseq.errors import DataError, UsageError

SHARED = Path(os.environ.get("PUBLIC_DATA", Path(__file__).parents[4] / "shared" / "data")).parent


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
    with pytest.raises(UsageError, match="unknown format 'docx', expected one of auto, text, tsv"):
        read_table(path, format="docx")
    with pytest.raises(UsageError, match="header is 'maybe', expected auto, yes or no"):
        read_table(path, header="maybe")


def test_blank_lines_are_kept_apart_from_rows(tmp_path: Path) -> None:
    assert cells(tmp_path, "a.txt", "a\n\n\r\nb\n") == [("a",), ("",), ("",), ("b",)]
    assert cells(tmp_path, "a.tsv", "\na\tb\n\n\r\nc\td\n") == [(), ("a", "b"), (), (), ("c", "d")]
    assert cells(tmp_path, "a.csv", "\na,b\n\n\r\nc,d\n") == [(), ("a", "b"), (), (), ("c", "d")]
    assert cells(tmp_path, "a.jsonl", '\n{"a": 1}\n\n') == [(), (1,), ()]


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl"])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, name, b"") == []


def test_tables_of_text_load_neither_pandas_nor_pyarrow(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "a,b\n")
    program = (
        "import sys; from charseq.data.formats.reader import read_table; "
        f"list(read_table({str(path)!r}).rows); "
        "print(*({'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert result.stdout.strip() == b""


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
        pytest.skip(f"{path} is absent: set PUBLIC_DATA")
    table: Table = read_table(path)
    assert [len(row.cells) for row in table.rows] == [width] * lines


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
def test_a_faulty_row_has_its_fault_and_the_other_rows_do_not_change(
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
def test_a_file_whose_rows_have_no_clear_end_is_an_error_in_any_case(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    with pytest.raises(DataError) as caught:
        faulty(tmp_path, name, content, header="yes" if name == "a.csv" else "auto")
    assert str(caught.value).replace(f"{tmp_path}{os.sep}", "").startswith(told)
