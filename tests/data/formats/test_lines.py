"""Lines of text: line ends, UTF-8, byte order marks, .gz and stdin, in every text format."""

from __future__ import annotations

import gzip
import json
import re
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from table_files import cells, fault, read, stdin, write

from charseq.data.formats.reader import read_table
from charseq.errors import DataError


def test_only_lf_and_crlf_end_a_line(tmp_path: Path) -> None:
    odd = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\rh"
    for name in ("a.txt", "a.tsv"):
        assert cells(tmp_path, name, f"{odd}\r\n{odd}\n{odd}") == [(odd,)] * 3
    quoted = odd.replace("\r", "")
    assert cells(tmp_path, "a.csv", f"{quoted}\r\n{quoted}\n{quoted}") == [(quoted,)] * 3
    line = json.dumps({"w": odd}, ensure_ascii=False)
    assert cells(tmp_path, "a.jsonl", f"{line}\r\n{line}") == [(odd,)] * 2


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.txt"])
def test_white_space_is_never_stripped(tmp_path: Path, name: str) -> None:
    word = "\u00a0 \u3000x\u3000 \u00a0"
    assert cells(tmp_path, name, f"{word}\n\u00a0\n") == [(word,), ("\u00a0",)]


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl"])
def test_a_byte_order_mark_is_no_letter_and_only_at_the_start(tmp_path: Path, name: str) -> None:
    line = '{"k": "\ufeffx"}' if name == "a.jsonl" else "\ufeffx"
    first, second = read(tmp_path, name, b"\xef\xbb\xbf" + f"{line}\n{line}\n".encode())
    assert first.cells == second.cells == ("\ufeffx",)
    assert first.raw.startswith(b"\xef\xbb\xbf")


@given(st.binary(max_size=60))
@example(b"\xff")
@example(b"\xef\xbb\xbf\n\xef\xbb")
@example(b'a,"\xe2\x80\xa8\n')
@example(b"[" * 60)
@example(b"\n#\xff\n,")
def test_any_bytes_give_every_line_or_one_fault(tmp_path_factory: Any, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name in ("a.txt", "a.tsv", "a.csv", "a.jsonl"):
        path = write(folder, name, content)
        told = ""
        raw = b""
        try:
            table = read_table(path, header="no", encoding="utf-8")
            raw = b"".join(row.raw for row in [*table.preamble, *table.rows])
        except DataError as caught:
            told = str(caught)
        place = re.escape(str(path)) + r":[1-9][0-9]*: [^\n]+"
        assert raw == content or re.fullmatch(place, told)


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl", "a.csv.gz"])
def test_a_byte_that_is_not_utf8_is_named(tmp_path: Path, name: str) -> None:
    content = b'{"w": "x"}\n{"w": "' + "ä".encode() + b'\xe9"}\n'
    caught = fault(tmp_path, name, content, header="no")
    assert str(caught) == f"{tmp_path / name}:2: byte 0xe9 at column 9 is not UTF-8"


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


def test_a_file_named_gz_that_is_not_packed_is_refused(tmp_path: Path) -> None:
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
    monkeypatch.setattr("charseq.data.formats.opening.MAX_LINE_BYTES", 100)
    assert cells(tmp_path, "a.txt", "x" * 99 + "\n") == [("x" * 99,)]
    caught = fault(tmp_path, "a.txt", "ok\n" + "x" * 101)
    assert str(caught) == f"{tmp_path / 'a.txt'}:2: no line end within 100 bytes"


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
