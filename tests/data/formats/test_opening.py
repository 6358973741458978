"""Opening: encodings, packed files, line ends, and files that are no text."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_files import cells, fault, faulty, read, stdin, write

from charseq.data.formats.opening import HEAD_BYTES, Source, find_codec, packed_ending, stored
from charseq.data.formats.reader import read_table
from charseq.data.formats.writer import replacing
from charseq.errors import AccessError, DataError, UsageError

TEXT = "id,ordered on\r\n1,3. März 2021\r\n2,1º de agosto de 1994\r\n"
ROWS = [("id", "ordered on"), ("1", "3. März 2021"), ("2", "1º de agosto de 1994")]


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (TEXT.encode(), ""),
        (b"\xef\xbb\xbf" + TEXT.encode(), ""),
        (TEXT.encode("cp1252"), "read as cp1252, since it is not UTF-8 (encoding names another)"),
        (TEXT.encode("utf-16"), "read as UTF-16-LE"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "read as UTF-16-BE"),
        (TEXT.encode("utf-16-le"), "read as UTF-16-LE"),
        (TEXT.encode("utf-16-be"), "read as UTF-16-BE"),
        (TEXT.encode("utf-32"), "read as UTF-32-LE"),
    ],
)
def test_the_encoding_is_found_and_told(tmp_path: Path, content: bytes, note: str) -> None:
    table = read_table(write(tmp_path, "a.csv", content), header="no")
    assert [row.cells for row in table.rows] == ROWS
    assert note in table.note
    assert ("read as" in table.note) == bool(note) or "read as a row" in table.note


@pytest.mark.parametrize(
    "text", ["col·lecció", "el señor", "naïve", "œuvre", "Straße", "l’été dernier"]
)
def test_words_of_western_europe_are_read(tmp_path: Path, text: str) -> None:
    content = f"{text}\tx\n".encode("cp1252")
    assert cells(tmp_path, "a.tsv", content, header="no") == [(text, "x")]


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "gbk", "shift_jis", "cp037"])
def test_any_encoding_can_be_named(tmp_path: Path, encoding: str) -> None:
    letters = {"cp1251": "слово", "koi8-r": "слово", "gbk": "中文", "shift_jis": "日本語"}
    text = letters.get(encoding, "word")
    content = f"{text}\t1\n{text}\t2\n".encode(encoding)
    assert cells(tmp_path, "a.tsv", content, encoding=encoding) == [(text, "1"), (text, "2")]


@pytest.mark.parametrize(
    "content",
    [
        "слово\tслова\n".encode("cp1251"),
        "中文\t汉语\n".encode("gbk"),
        "日本\t語\n".encode("shift_jis"),
        "całość\tpółka\n".encode("cp1250"),
        "ä\t".encode() + b"b\xe4r\n",  # a sequence of UTF-8 is there
        b"a\t\xe4\n",  # no letter beside it
        b"a\tb\x81r\n",  # no character of cp1252
    ],
)
def test_what_is_not_clearly_western_is_not_read_as_cp1252(tmp_path: Path, content: bytes) -> None:
    assert "not UTF-8" in str(fault(tmp_path, "a.tsv", content))


def test_the_evidence_may_be_far_down(tmp_path: Path) -> None:
    content = b"word\tx\n" * (HEAD_BYTES // 4) + "Bär\tx\n".encode("cp1252")
    assert cells(tmp_path, "a.tsv", content)[-1] == ("Bär", "x")


def test_a_named_encoding_is_not_second_guessed(tmp_path: Path) -> None:
    content = TEXT.encode("cp1252")
    assert "byte 0xe4" in str(fault(tmp_path, "a.csv", content, encoding="utf-8", header="no"))
    assert cells(tmp_path, "a.csv", TEXT.encode("utf-16"), encoding="utf-16", header="no") == ROWS
    assert find_codec("UTF8") == find_codec("utf-8-sig") == "utf-8"
    for name in ("nonsense", "rot13", "base64"):
        with pytest.raises(UsageError, match=f"unknown encoding '{name}', expected auto, utf-8"):
            read_table(tmp_path / "a.csv", encoding=name)


def test_bytes_without_a_character_make_a_faulty_row_and_are_not_lost(tmp_path: Path) -> None:
    content = b"a\tb\n\x81\tc\nB\xe4r\td\n"
    rows = list(read_table(write(tmp_path, "a.tsv", content), encoding="cp1252", faulty=True).rows)
    assert rows[1].fault == "byte 0x81 at column 1 is no character of the file's encoding"
    assert rows[2].cells == ("Bär", "d")
    assert stored(b"".join(row.raw for row in rows), "cp1252") == content
    content = "a\tb\n\ud800\tc\n".encode("utf-16-le", "surrogatepass")
    rows = faulty(tmp_path, "a.tsv", b"\xff\xfe" + content)
    assert (
        rows[1].fault == "half a surrogate pair at column 1 is no character of the file's encoding"
    )
    assert stored(b"".join(row.raw for row in rows), "utf-16-le") == b"\xff\xfe" + content


def test_utf16_cut_in_a_character_is_named(tmp_path: Path) -> None:
    caught = fault(tmp_path, "a.txt", b"\xff\xfea\0\n\0b\0c")
    assert str(caught) == f"{tmp_path / 'a.txt'}:2: not UTF-16-LE: truncated data"


@given(st.binary(max_size=40), st.sampled_from(["cp1252", "latin-1", "gbk", "utf-16-le"]))
def test_lines_in_any_encoding_can_be_stored_again(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, encoding: str
) -> None:
    path = write(tmp_path_factory.getbasetemp(), "a.txt", content)
    try:
        raw = b"".join(raw for _, raw in Source(str(path), encoding=encoding).lines())
    except DataError:
        return
    assert stored(raw, encoding) == content


@pytest.mark.parametrize(
    ("ending", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)]
)
def test_packed_files_are_read_and_written(tmp_path: Path, ending: str, pack: object) -> None:
    content = b"".join(b"word %d\tx\n" % number for number in range(30_000))
    path = tmp_path / f"a.tsv{ending}"
    path.write_bytes(pack(content))
    assert sum(1 for row in read_table(path).rows if len(row.cells) == 2) == 30_000
    path.write_bytes(path.read_bytes()[: -len(path.read_bytes()) // 2])
    with pytest.raises(DataError, match=rf"the \{ending} is damaged or incomplete"):
        list(read_table(path).rows)
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"the \{ending} is damaged or incomplete"):
        list(read_table(path).rows)
    with replacing(path, force=True) as file:
        file.write(content)
    assert path.read_bytes() != content
    assert b"".join(row.raw for row in read_table(path).rows) == content
    assert packed_ending(path.with_name(path.name.upper())) == ending.upper()


def test_zstd_is_refused_with_a_way_out(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv.zst", b"\x28\xb5\x2f\xfd0000")
    with pytest.raises(DataError, match=r"\.zst is not read: unpack it, or pack it as \.gz, \.xz"):
        read_table(path)
    with pytest.raises(AccessError, match="No such file"):
        read_table(tmp_path / "none.tsv.zst")
    with (
        pytest.raises(UsageError, match=r"\.zst is not written"),
        replacing(tmp_path / "b.tsv.zst"),
    ):
        pass


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"PK\x03\x04", "is a workbook or another zip file, expected text"),
        (b"PAR1", "is a Parquet file, expected text: name it .parquet"),
        (b"SQLite format 3\0", "is a database of SQLite"),
        (gzip.compress(b"a\tb\n", mtime=0), "is packed, expected text: name it .gz"),
        (lzma.compress(b"a\tb\n"), "is packed, expected text: name it .xz"),
        (bz2.compress(b"a\tb\n"), "is packed, expected text: name it .bz2"),
        (b"\x28\xb5\x2f\xfd0000", "is packed with zstd, expected text: unpack it first"),
        (b"%PDF-1.7\n", "is a PDF"),
        (b"\x7fELF" + bytes(60), "is a program"),
        (b"\0\1\2\3abc\n" * 100, "is a binary file, expected text"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.jsonl"])
def test_a_file_that_is_no_text_is_named(
    tmp_path: Path, start: bytes, told: str, name: str
) -> None:
    assert str(fault(tmp_path, name, start)).startswith(f"{tmp_path / name}: {told}")


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl"])
def test_lines_that_end_in_cr_alone_are_named(tmp_path: Path, name: str) -> None:
    for content in (b"3 May 2020\r5 May 2020\r", "a\rb\r".encode("utf-16")):
        told = str(fault(tmp_path, name, content))
        assert told == (
            f"{tmp_path / name}:1: lines end in CR alone, as on old Macs, expected LF or CRLF: "
            "tr '\\r' '\\n' mends that"
        )
    assert len(read(tmp_path, "a.txt", b"a\rb\n")) == 1


def test_a_pipe_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"a\tb\n" * 40_000
    stdin(monkeypatch, content)
    assert b"".join(row.raw for row in read_table("-").rows) == content
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    assert [row.cells for row in read_table(pipe).rows] == [("a", "b")] * 40_000
    writer.join()
