"""Bad rows: all told at once, or passed over, counted and kept with their bytes."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from charseq.data.bad_rows import LISTED, rejects_beside
from charseq.data.pairs import Example, load
from charseq.errors import AccessError, DataError, UsageError

BAD = (
    b"a\tb\t1\n\tc\t1\n\nd\te\n\xff\xfe\tf\t1\ng\t \t1\nh\ti\t0\nj\tk\t2\n"
    b"l\tm\t1\nn\to\t1\np\tq\t1\nr\ts\t1\n"
)


def data(folder: Path, content: bytes = BAD) -> Path:
    path = folder / "words.tsv"
    path.write_bytes(content)
    return path


def kept(path: Path) -> list[tuple[object, ...]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        (one["file"], one["line"], one["offset"], one["reason"], base64.b64decode(one["raw"]))
        for one in lines
    ]


def test_all_bad_rows_are_told_at_once(tmp_path: Path) -> None:
    path = data(tmp_path)
    with pytest.raises(DataError) as caught:
        load(path, columns="source,target,weight")
    assert str(caught.value) == (
        f"{path}:2: the source is empty (5 such rows, also line 4: 2 columns, expected 3; "
        "line 5: byte 0xff at column 1 is not UTF-8; line 6: the target is empty; "
        "line 7: the weight is '0', expected a number above 0): bad_rows='skip' passes over such "
        "rows, empty_targets=True takes an empty target as no answer"
    )


def test_of_many_bad_rows_the_first_are_listed_and_all_counted(tmp_path: Path) -> None:
    path = data(tmp_path, b"a\tb\n" + b"\tc\n" * 50)
    with pytest.raises(DataError) as caught:
        load(path)
    told = str(caught.value)
    assert "(50 such rows, also line 3; line 4; " in told
    assert f"; line {LISTED + 1}; {50 - LISTED} more)" in told


def test_bad_rows_are_skipped_counted_and_kept(tmp_path: Path) -> None:
    path = data(tmp_path)
    with rejects_beside(path, "skip") as rejects:
        found = load(path, columns="source,target,weight", bad_rows="skip", rejects=rejects)
    pairs = {(one.source, one.target) for one in [*found.train, *found.dev, *found.test]}
    assert pairs == {tuple(pair) for pair in ("ab", "jk", "lm", "no", "pq", "rs")}
    rejected = tmp_path / "words.tsv.rejects.jsonl"
    assert found.problems[0] == (
        f"{path}: 5 of 11 rows skipped, the first in line 2: the source is empty; see {rejected}"
    )
    assert kept(rejected) == [
        ("words.tsv", 2, 6, "the source is empty", b"\tc\t1\n"),
        ("words.tsv", 4, 12, "2 columns, expected 3", b"d\te\n"),
        ("words.tsv", 5, 16, "byte 0xff at column 1 is not UTF-8", b"\xff\xfe\tf\t1\n"),
        ("words.tsv", 6, 23, "the target is empty", b"g\t \t1\n"),
        ("words.tsv", 7, 29, "the weight is '0', expected a number above 0", b"h\ti\t0\n"),
    ]


def test_offsets_count_from_the_start_of_the_file_in_its_own_encoding(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_bytes("source,target\n\nä,b\n,c\n".encode("utf-16"))
    with rejects_beside(path, "skip") as rejects:
        found = load(path, bad_rows="skip", rejects=rejects)
    assert found.train == [Example("ä", "b")]
    whole = path.read_bytes()
    ((_, line, offset, _, raw),) = kept(tmp_path / "words.csv.rejects.jsonl")
    assert (line, raw) == (4, ",c\n".encode("utf-16-le"))
    assert whole[offset : offset + len(raw)] == raw


def test_the_same_files_without_bad_rows_leave_no_rejects(tmp_path: Path) -> None:
    path = data(tmp_path, b"a\t\nb\tc\n")
    for count in (1, 0):
        with rejects_beside(path, "skip") as rejects:
            load(path, bad_rows="skip", rejects=rejects)
        assert (tmp_path / "words.tsv.rejects.jsonl").exists() == bool(count)
        path.write_bytes(b"a\tx\nb\tc\n")
    with rejects_beside(path, "stop") as rejects:
        assert rejects is None


def test_bad_rows_alone_are_an_error_even_if_they_are_skipped(tmp_path: Path) -> None:
    path = data(tmp_path, b"\tb\n\tc\n")
    with pytest.raises(DataError, match=r":1: the source is empty \(2 such rows, also line 2\)$"):
        load(path, bad_rows="skip")


def test_wrong_columns_are_no_bad_rows(tmp_path: Path) -> None:
    path = data(tmp_path, b"a\tb\tc\nd\te\tf\n")
    with pytest.raises(DataError, match=r":1: 3 columns, expected source and target"):
        load(path, bad_rows="skip")


def test_rejects_are_not_written_through_a_link(tmp_path: Path) -> None:
    path, other = data(tmp_path), tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "words.tsv.rejects.jsonl").symlink_to(other)
    with pytest.raises((UsageError, AccessError)), rejects_beside(path, "skip"):
        pass
    assert other.read_text() == "mine"


def test_bad_rows_of_a_database_are_kept_beside_it(tmp_path: Path) -> None:
    base = tmp_path / "words.db"
    with closing(sqlite3.connect(base)) as connection, connection:
        connection.execute("create table pairs (source text, target text)")
        connection.executemany("insert into pairs values (?, ?)", [("a", "b"), ("", "c")])
    place = f"sqlite:///{base}#pairs"
    with rejects_beside(place, "skip") as rejects:
        found = load(place, bad_rows="skip", rejects=rejects, splits=["train"])
    assert [one.source for one in found.train] == ["a"]
    (line,) = (tmp_path / "words.db.rejects.jsonl").read_text().splitlines()
    assert "the source is empty" in line
