"""Journals that somebody else wrote, moved or damaged: none of their answers is ever used."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from charseq import files, state
from charseq.errors import AccessError, DataError, UsageError
from charseq.inference import journal as module
from charseq.inference.convert import convert
from charseq.inference.journal import journal_path
from charseq.inference.prediction import Candidate, Prediction


class Killed(BaseException): ...


@dataclass
class Model:
    """A model that writes texts in capitals, and fails at a call."""

    fails_at: int = -1
    fault: BaseException = field(default_factory=Killed)
    has_features: bool = False
    calls: int = 0

    def predict(self, texts: Sequence[str], **_: Any) -> list[Prediction]:
        self.calls += 1
        if self.calls == self.fails_at:
            raise self.fault
        return [
            Prediction(text, text.upper(), 0.5, [], False, [Candidate(text.upper(), 0.5, -1.0)])
            for text in texts
        ]


TEXTS = [f"{number:03x}" for number in range(40)]
RIGHT = "".join(f"{text.upper()}\n" for text in TEXTS)


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks stay as small as they begin."""
    monkeypatch.setattr("charseq.inference.answer_cache.CHUNK_SECONDS", 0.0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    return tmp_path / "in.txt"


def go(source: Path, out: Path, model: Any = None, **options: Any) -> tuple[Any, list[str]]:
    told: list[str] = []
    keeping = {"kept_for": "m", "batch_size": 10, "report": told.append, **options}
    return convert(model or Model(), source, out, **keeping), told


def interrupt(source: Path, out: Path, after: int = 2, **options: Any) -> bytes:
    """The journal of a conversion that was killed after some chunks of ten."""
    with pytest.raises(Killed):
        go(source, out, Model(after + 1), **options)
    return journal_path(out).read_bytes()


def crc(value: Any) -> bytes:
    text = json.dumps(value).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def other_key(lines: bytes) -> bytes:
    """The same lines, signed with a key of somebody else."""
    chain = module._Chain(b"s" * 32)
    texts = [line.partition(b" ")[2] for line in lines.splitlines()]
    return b"".join(chain.sign(text.replace(b"001", b"evil")) for text in texts)


FORGED: dict[str, Callable[[bytes], bytes]] = {
    "of an older version": lambda lines: (
        crc({"the model": "m"}) + crc([[["evil"], [], False, "m"]])
    ),
    "another user's": other_key,
    "other answers": lambda lines: lines.replace(b'"001"', b'"evil"'),
    "nested": lambda lines: lines[:33] + b"[" * 500_000 + b"]" * 500_000 + b"\n",
    "one endless line": lambda lines: b"x" * (module.MAX_LINE_BYTES + 5),
    "cut in the first line": lambda lines: lines[:20],
    "of a newer version": lambda lines: b"f" * 64 + lines[32:],
    "not text": lambda lines: bytes(range(256)) * 100,
    "only line ends": lambda lines: b"\n" * 1000,
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_journal_is_not_believed(source: Path, name: str) -> None:
    out = source.with_name("out.txt")
    forged = FORGED[name](interrupt(source, out))
    journal_path(out).write_bytes(forged)
    found, told = go(source, out)
    assert out.read_text() == RIGHT
    if name == "other answers":  # the first line is the user's own, the next is not
        assert found.kept == 0
        return
    assert "its journal is not one that you have written with this version" in told[0]
    assert (found.kept, found.distinct) == (0, 40)
    assert sorted(path.name for path in source.parent.iterdir()) == ["in.txt", "out.txt"]


def test_lines_cannot_be_moved_left_out_or_taken_from_another_journal(source: Path) -> None:
    out, other = source.with_name("out.txt"), source.with_name("other.txt")
    lines = interrupt(source, out, after=3).splitlines(keepends=True)
    head, first, second, third = lines
    foreign = interrupt(source, other, after=3, n=2).splitlines(keepends=True)
    for attack, kept in (
        ([head, second, first, third], 0),
        ([head, first, third], 10),
        ([head, first, first], 10),
        ([head, first, foreign[2]], 10),
        ([head, *foreign[1:]], 0),
    ):
        journal_path(out).write_bytes(b"".join(attack))
        found, _ = go(source, out, force=True)
        assert found.kept == kept
        assert out.read_text() == RIGHT


def test_a_signed_line_of_another_shape_is_not_used(source: Path) -> None:
    """A key is no reason to believe everything: a version with a fault may have signed."""
    out = source.with_name("out.txt")
    head = interrupt(source, out).splitlines()[0]
    for odd in (
        [["x", [], False, "model", []]],
        [[[1], [], False, "model", []]],
        [[["x", "too many"], [], False, "model", []]],
        [[["x"], [None], False, "model", []]],
        [[["x"], [], 0, "model", []]],
        [[["x"], [], False, "a stranger", []]],
        [[["x"], [], False, "model", [0.5, 0.5]]],
        [[["x"], [], False, "model", [1.5]]],
        [[["x"], [], False, "model", ["0.5"]]],
        [[["x"], [], False, "model"]],
        [[["x"], [], False]],
        {"published": [1]},
        "text",
        None,
    ):
        chain = module._Chain(state.user_key("journal"))
        signed = chain.sign(head.partition(b" ")[2]) + chain.sign(json.dumps(odd).encode())
        journal_path(out).write_bytes(signed)
        found, _ = go(source, out, force=True)
        assert found.kept == 0
        assert out.read_text() == RIGHT


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("thing", ["folder", "full folder", "pipe", "link", "hard link", "locked"])
def test_whatever_has_the_name_of_a_journal_is_left_as_it_is(
    source: Path, thing: str, force: bool
) -> None:
    out, dear = source.with_name("out.txt"), source.with_name("dear")
    path = journal_path(out)
    dear.write_text("dear")
    if "folder" in thing:
        path.mkdir()
    if thing == "full folder":
        (path / "file").write_text("x")
    if thing == "pipe":
        os.mkfifo(path)
    if thing == "link":
        path.symlink_to(dear)
        with pytest.raises(DataError, match="is a link to"):
            go(source, out, force=force)
    elif thing == "locked":
        handle = files.lock(path)
        with pytest.raises(UsageError, match="is being written by another process"):
            go(source, out, force=force)
        os.close(handle)
    else:
        if thing == "hard link":
            path.hardlink_to(dear)
        _, told = go(source, out, force=force)
        assert out.read_text() == RIGHT
        assert "journal" in told[0]
        assert path.exists() == (thing != "hard link")
    assert dear.read_text() == "dear"


def test_what_has_the_name_of_a_part_file_or_its_lock_is_no_trouble(source: Path) -> None:
    for ending in ("part", "lock"):
        out = source.with_name(f"out.{ending}.txt")
        files.hidden_path(out, ending).mkdir()
        go(source, out)
        assert out.read_text() == RIGHT
        assert files.hidden_path(out, ending).is_dir()


def test_without_a_state_folder_it_is_told_and_works(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME")
    out = source.with_name("out.txt")
    found, told = go(source, out)
    assert told[0].endswith("HOME names no folder: an interrupted conversion will begin anew")
    assert out.read_text() == RIGHT
    assert found.kept == 0


def test_a_journal_is_as_private_as_the_answers(source: Path) -> None:
    interrupt(source, source.with_name("out.txt"))
    assert journal_path(source.with_name("out.txt")).stat().st_mode & 0o777 == 0o600


# --- faults of the system


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EMFILE, "Too many open files"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=repr,
)
def test_faults_of_the_system_cost_no_answers(source: Path, fault: BaseException) -> None:
    out = source.with_name("out.txt")
    with pytest.raises(AccessError, match=r"out\.txt: cannot be written"):
        go(source, out, Model(4, fault))
    found, _ = go(source, out)
    assert found.kept == 30
    assert out.read_text() == RIGHT


def test_texts_for_which_memory_is_short_are_answered_in_smaller_chunks(source: Path) -> None:
    out, model = source.with_name("out.txt"), Model(4, MemoryError())
    go(source, out, model)
    assert out.read_text() == RIGHT
    assert model.calls == 4 + 2


def test_a_text_alone_for_which_memory_is_short_is_named(source: Path) -> None:
    class Short(Model):
        def predict(self, texts: Sequence[str], **options: Any) -> list[Prediction]:
            if "01f" in texts:
                raise MemoryError
            return super().predict(texts, **options)

    out = source.with_name("out.txt")
    with pytest.raises(AccessError, match=r"in\.txt:32: memory is too short for a text of 3 "):
        go(source, out, Short())
    found, _ = go(source, out)
    assert found.kept == 31
    assert out.read_text() == RIGHT


def test_a_full_disk_costs_no_answers(source: Path) -> None:
    """The limit of a file's size is the disk that is full here."""
    out = source.with_name("out.jsonl")
    rows = [json.dumps({"w": text, "pad": "x" * 2000}) for text in TEXTS]
    source = source.with_name("in.jsonl")
    source.write_text("\n".join(rows) + "\n")
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with pytest.raises(AccessError, match="cannot be written: File too large"):
            go(source, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    assert not out.exists()
    found, _ = go(source, out)
    assert found.kept == 40
    assert len(out.read_text().splitlines()) == 40


# --- kills


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_forged_journals as here
from charseq import files

source, out, call, kill_at = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], int(sys.argv[5])
real, seen = getattr(files, call), 0

def killing(*args, **options):
    global seen
    seen += 1
    if seen == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)

setattr(files, call, killing)
here.go(source, out)
"""


@pytest.mark.parametrize(("call", "kill_at"), [
    ("sync", 1), ("sync", 2), ("publish", 1), ("publish", 2), ("sync_folder", 1),
    ("sync_folder", 2),
])  # fmt: skip
def test_the_same_command_finishes_what_was_killed_between_two_renames(
    tmp_path: Path, call: str, kill_at: int
) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_bytes(b"abc\n\xff\ndef\n")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(source), str(out), call,
         str(kill_at)], check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    found, _ = go(source, out)
    assert (found.kept, found.rejected) == (2, 1)
    assert out.read_bytes() == b"ABC\n\nDEF\n"
    assert (tmp_path / "out.txt.rejects.jsonl").read_text().count("\n") == 1
    assert len(list(tmp_path.iterdir())) == 3, "no part file and no lock is left"


@pytest.mark.parametrize("name", ["out.txt", "out.txt.rejects.jsonl"])
def test_a_file_that_came_after_the_kill_is_not_overwritten(tmp_path: Path, name: str) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_bytes(b"abc\n\xff\ndef\n")
    subprocess.run(
        [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(source), str(out),
         "sync_folder", "2"], check=False,
    )  # fmt: skip
    (tmp_path / name).unlink()
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match="exists: give another name, or force=True"):
        go(source, out)
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("free", [0, 1, 2, 3])
def test_too_many_open_files_leave_nothing_before_the_first_answer(
    tmp_path: Path, free: int
) -> None:
    """Whatever cannot be opened first, no hidden file without an answer in it stays.

    With three files the answer is there before the folder cannot be synchronised: it is kept.
    """
    source, out = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("abc\n", encoding="utf-8")
    program = (
        "import os, resource, sys; sys.path.insert(0, sys.argv[1])\n"
        "import test_forged_journals as here\nfrom pathlib import Path\n"
        "free = os.dup(0); os.close(free)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (free + int(sys.argv[4]),) * 2)\n"
        "here.go(Path(sys.argv[2]), Path(sys.argv[3]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(Path(__file__).parent), str(source), str(out),
         str(free)], capture_output=True, text=True, check=False,
    )  # fmt: skip
    there = sorted(path.name for path in tmp_path.iterdir())
    if free < 3:
        assert there == (["in.txt"] if done.returncode else ["in.txt", "out.txt"]), done.stderr
    go(source, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.txt"]


def test_part_files_without_a_journal_are_cleaned_by_the_next_attempt(tmp_path: Path) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_bytes(b"abc\n\xff\n")
    program = KILLED.replace("here.go(source, out)", "here.go(source, out, kept_for=None)")
    subprocess.run(
        [sys.executable, "-c", program, str(Path(__file__).parent), str(source), str(out),
         "publish", "1"], check=False,
    )  # fmt: skip
    assert len(list(tmp_path.glob(".charseq-*.part"))) == 2
    partial(go, source, out, kept_for=None)()
    assert not list(tmp_path.glob(".charseq-*"))
