"""What a wrong writer would do: leave half a file, change a byte nobody asked for, or lose one."""

from __future__ import annotations

import base64
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
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from table_files import rewrite

from charseq import files
from charseq.data.formats.reader import read_table
from charseq.data.formats.writer import rejecting, rejects_path, replacing, targets
from charseq.errors import DataError, UsageError

CELL = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\t")
    | st.sampled_from("\u2028\u0085\x0b\x0c\u00a0\u3000\ufeff\",'\\{}:"),
    max_size=6,
)
ENDS = st.sampled_from(["\n", "\r\n"])


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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


def test_a_file_is_not_overwritten_without_force(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_bytes(b"old")
    with pytest.raises(UsageError, match=r"a\.txt exists: .* force=True"), replacing(target):
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


@pytest.mark.parametrize("target", ["far/a.txt", "far/none.txt", "far", os.devnull])
def test_nothing_is_written_through_a_link(tmp_path: Path, target: str) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a.txt").write_bytes(b"old")
    (tmp_path / "a.txt").symlink_to(target)
    for force in (False, True):
        with (
            pytest.raises(UsageError, match=r"a\.txt' is a link to '.*'.*nothing is written"),
            replacing(tmp_path / "a.txt", force=force),
        ):
            pass
    assert (tmp_path / "a.txt").is_symlink()
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["a.txt"]
    assert (tmp_path / "far" / "a.txt").read_bytes() == b"old"


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
    with pytest.raises(UsageError, match="pipe exists"), replacing(pipe):
        pass
    with replacing(pipe, force=True) as file:
        file.write(b"through")
    reader.join(10)
    assert got == [b"through"]
    assert pipe.is_fifo()


def test_stdout_by_another_name_does_not_empty_the_file_behind_it(tmp_path: Path) -> None:
    code = (
        "import sys; from charseq.data.formats.writer import replacing\n"
        "print('before', flush=True)\n"
        "with replacing('/dev/stdout') as file: file.write(b'written\\n')\n"
        "print('after')"
    )
    with (tmp_path / "out.txt").open("wb") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out.txt").read_text() == "before\nwritten\nafter\n"


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
    how = {"header": "no", "format": "text" if name == "txt" else name}
    before = list(read_table(folder / f"in.{name}", **how).rows)
    after = list(read_table(folder / f"out.{name}", **how).rows)
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


@pytest.mark.parametrize(
    ("name", "content"),
    [("tsv", b"a\tp\n1\t2\n"), ("csv", b"a,p\n1,2\n"), ("jsonl", b'{"p": 1}\n')],
)
def test_a_column_is_not_replaced_without_force(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(DataError, match=r"in\..*:1: there is a column 'p': name another with to,"):
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
    ],
)  # fmt: skip
def test_with_force_cells_are_replaced_in_place(
    tmp_path: Path, name: str, content: str, expected: str
) -> None:
    out = rewrite(
        content.encode(), tmp_path, name, ["p", "q"], ["X,", "Y"], header="yes", force=True
    )
    assert out.decode() == expected


def test_a_folder_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder, expected a file"):
        files.refuse(tmp_path, force=True)
    files.refuse("-", force=False)


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
    with rejecting(path) as rejects:
        rejects.add(1, 0, "x", b"")
    assert path.exists()
    with rejecting(path, force=True):
        pass
    assert list(tmp_path.iterdir()) == []
    path.write_text("of somebody else")
    with rejecting(path, force=True):
        pass
    assert list(tmp_path.iterdir()) == [path]


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
        pytest.raises(UsageError, match="folder is a folder, expected a file of rejects"),
        rejecting(tmp_path / "folder") as rejects,
    ):
        rejects.add(1, 0, "x", b"")
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]


def test_they_lie_beside_the_output_or_else_the_input(tmp_path: Path) -> None:
    assert rejects_path("in.csv", f"{tmp_path}/out.csv") == tmp_path / "out.csv.rejects.jsonl"
    assert rejects_path(f"{tmp_path}/in.csv", "-") == tmp_path / "in.csv.rejects.jsonl"
    assert rejects_path(f"{tmp_path}/in.csv", "/dev/null") == tmp_path / "in.csv.rejects.jsonl"
    assert rejects_path("-", "-") == Path("stdin.rejects.jsonl")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("words.csv", "words.converted.csv"),
        ("x/words.csv.gz", "x/words.converted.csv.gz"),
        ("a.b/words", "a.b/words.converted"),
        (".hidden", ".hidden.converted"),
        ("words.GZ", "words.converted.GZ"),
        ("-", "-"),
        ("", ".converted"),
        (".", "..converted"),
    ],
)
def test_without_a_target_it_lies_beside(path: str, expected: str) -> None:
    assert targets([path], None) == [expected]


def test_targets_in_a_folder_or_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    assert targets(["a.csv", "x/b.tsv.gz"], "out") == ["out/a.csv", "out/b.tsv.gz"]
    assert targets(["a.csv"], "b.csv") == ["b.csv"]
    assert targets(["a.csv"], "-") == ["-"]
    assert targets(["-"], "b.csv") == ["b.csv"]
    assert targets(["a.csv", "b.csv"], None) == ["a.converted.csv", "b.converted.csv"]
    for paths, out, told in (
        (["a.csv", "b.csv"], "c.csv", "2 files cannot go to 'c.csv'"),
        (["a.csv", "b.csv"], "-", "2 files cannot go to '-'"),
        (["x/a.csv", "y/a.csv"], "out", "2 inputs would be written to 'out/a.csv'"),
        (["-"], "out", "stdin has no name"),
        (["out/a.csv"], "out", "out/a.csv is an input"),
        (["a.csv", "a.converted.csv"], None, "a.converted.csv is an input"),
    ):
        with pytest.raises(UsageError, match=told):
            targets(paths, out)
