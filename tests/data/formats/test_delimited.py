"""Plain text, TSV and CSV: cells as they were written, and bytes that nobody asked to change."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from table_files import QUOTED, TABLES, cells, fault, read, rewrite

from charseq.data.formats.delimited import find_delimiter, parse_delimiter
from charseq.data.formats.reader import read_table
from charseq.errors import UsageError


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.tsv.gz", "a.csv.gz"])
def test_words_such_as_null_and_nan_stay_words(tmp_path: Path, name: str) -> None:
    mark = "," if "csv" in name else "\t"
    words = ["null", "NA", "nan", "None", "N/A", "", "-1.0", "007", "true"]
    content = "".join(f"{word}{mark}x\n" for word in words)
    assert cells(tmp_path, name, content) == [(word, "x") for word in words]


def test_quotes_mean_nothing_in_tsv(tmp_path: Path) -> None:
    content = '"a\tb\n"c"\td"\n\'\t"\n'
    assert cells(tmp_path, "a.tsv", content) == [('"a', "b"), ('"c"', 'd"'), ("'", '"')]


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
        ('a,b\n"' + "x,y\n" * 50_000, 2, "a quote is opened here and not closed"),
        ('a,b\nc,"d"e\n', 2, "not valid CSV: ',' expected after '\"'"),
        ("a,b\nc\rd,e\n", 2, "not valid CSV: a lone carriage return outside quotes"),
    ],
)
def test_bad_csv_is_named_where_it_begins(
    tmp_path: Path, content: str, line: int, message: str
) -> None:
    caught = fault(tmp_path, "a.csv", content)
    assert str(caught).startswith(f"{tmp_path / 'a.csv'}:{line}: {message}")


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


def test_a_cell_of_a_csv_may_be_long(tmp_path: Path) -> None:
    long = "x" * 300_000
    assert cells(tmp_path, "a.csv", f'{long},"{long}\n{long}"\n', header="no") == [
        (long, f"{long}\n{long}")
    ]


# --- delimiters


@pytest.mark.parametrize(
    ("sample", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ('id;ordered on;price\n1;3. May;1,50\n2;"5 May;2020";2,00\n', ";"),
        ("1;1,50\n2;2,00\n", ";"),  # commas between digits
        ("1,2\n3,4\n", ","),
        ("1,2\t3\n4,5\t6\n", "\t"),
        ("Hello, world\tBonjour\nGood, then\tBon\n", "\t"),
        ("a|b\nc|d, e\n", "|"),
        ("walk,V;PST,walked\nsing,V;PST,sang\n", ","),
        ("parla,V;PRS;1;SG\ncanta,V;PRS;2;SG\n", ","),
        ("a,b\nc\nd,e\n", ","),
        ("a\nb\n", ","),
        ("", ","),
        ("# one, two; three\na;b\nc;d\n", ";"),
        ('"a;b",c\n"d;e",f\n', ","),
        ("sep=|\na;b|c\n", "|"),
        ('a;b\n"open;', ";"),
    ],
)
def test_the_delimiter_is_found(sample: str, delimiter: str) -> None:
    assert find_delimiter(sample) == delimiter


def test_a_csv_with_another_delimiter_keeps_its_bytes_and_its_delimiter(tmp_path: Path) -> None:
    content = '\ufeffid;price\r\n1;1,50\r\n2;"2;00"\r\n'.encode()
    table = read_table(tmp_path / write_csv(tmp_path, content))
    assert table.header == ("id", "price")
    assert [row.cells for row in table.rows] == [("1", "1,50"), ("2", "2;00")]
    assert table.note.startswith("the delimiter is the semicolon (delimiter names another)")
    assert rewrite(content, tmp_path, "csv", ["p", "q"], ["a,b", "c;d"], header="yes") == (
        '\ufeffid;price;p;q\r\n1;1,50;a,b;"c;d"\r\n2;"2;00";a,b;"c;d"\r\n'.encode()
    )
    forced = rewrite(content, tmp_path, "csv", ["price"], ["a;b"], header="yes", force=True)
    assert forced == b'\xef\xbb\xbfid;price\r\n1;"a;b"\r\n2;"a;b"\r\n'


def write_csv(folder: Path, content: bytes) -> str:
    (folder / "a.csv").write_bytes(content)
    return "a.csv"


def test_the_line_that_names_the_separator_is_no_row(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfsep=;\r\nsource;target\r\na;b,c\r\n"
    table = read_table(tmp_path / write_csv(tmp_path, content))
    assert table.header == ("source", "target")
    assert [row.cells for row in table.rows] == [("a", "b,c")]
    assert rewrite(content, tmp_path, "csv", ["p"], ["x"], header="auto") == (
        b"\xef\xbb\xbfsep=;\r\nsource;target;p\r\na;b,c;x\r\n"
    )


def test_a_named_delimiter_is_not_second_guessed(tmp_path: Path) -> None:
    content = "a,b;c\nd,e;f\n"
    assert cells(tmp_path, "a.csv", content, delimiter=";") == [("a,b", "c"), ("d,e", "f")]
    assert cells(tmp_path, "a.csv", content, delimiter="comma") == [("a", "b;c"), ("d", "e;f")]
    assert cells(tmp_path, "a.txt", "a^b\n", delimiter="^") == [("a", "b")]
    assert cells(tmp_path, "a.tsv", content, delimiter="semicolon")[0] == ("a,b", "c")
    assert cells(tmp_path, "a.txt", "a\tb\n", delimiter="tab") == [("a", "b")]
    assert [parse_delimiter(text) for text in ("auto", "TAB", "\\t", "|")] == ["", "\t", "\t", "|"]
    for wrong in ("", "::", "a", '"', "\n", "7"):
        with pytest.raises(UsageError, match="expected auto, tab, comma, semicolon, pipe or one"):
            read_table(tmp_path / "a.csv", delimiter=wrong)


def test_commas_and_semicolons_of_a_tsv_are_letters(tmp_path: Path) -> None:
    content = "a, b\tc;d\ne, f\tg;h\n"
    assert cells(tmp_path, "a.tsv", content) == [("a, b", "c;d"), ("e, f", "g;h")]


def test_a_title_is_the_line_with_another_number_of_cells(tmp_path: Path) -> None:
    caught = fault(tmp_path, "a.tsv", "My list\na\tb\nc\td\n")
    assert str(caught) == f"{tmp_path / 'a.tsv'}:1: 1 column, expected 2"
