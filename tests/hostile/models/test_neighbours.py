"""Odd folders below ``checkpoints`` beside a sound run: the sound one is found."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from frozen import FIXTURES
from hostile.models.corpus import MANIFEST

from charseq.errors import CheckpointError
from charseq.runs.folder import ABOUT, metadata_of, names, publish
from charseq.runs.lookup import TRAINED_AT, find

NOBODY = 65534
_Result = TypeVar("_Result")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder that everybody may read, with a sound run."""
    folder = Path(tempfile.mkdtemp(prefix="charseq-"))
    folder.chmod(0o755)
    (folder / "checkpoints").mkdir()
    run = folder / "checkpoints" / "m-sound"
    shutil.copytree(FIXTURES / "soft", run)
    about = {**metadata_of(run), TRAINED_AT: "2026-03-01T10:00:00Z"}
    publish(run, {ABOUT: json.dumps(about).encode()})
    monkeypatch.chdir(folder)
    monkeypatch.delenv("CHARSEQ_MODEL", raising=False)
    yield folder
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


def as_nobody(work: Callable[[], str]) -> str:
    """The result of ``work``, or its error, without the rights of root."""
    if os.geteuid():
        return _told(work)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.write(write, _told(work).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        return pipe.read()


def _told(work: Callable[[], str]) -> str:
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - the test compares it
        return f"{type(error).__name__}: {error}"


def lock(path: Path) -> None:
    """Take all rights from a folder or file."""
    path.chmod(0o000)


def neighbours(folder: Path) -> None:
    """Entries of all sorts in ``folder``, before and behind the sound run by name."""
    for first in "az":
        at = folder / first
        at.with_name(f"{first}-file").write_text("x")
        at.with_name(f"{first}-loop").symlink_to(f"{first}-loop")
        at.with_name(f"{first}-nowhere").symlink_to("nowhere")
        os.mkfifo(at.with_name(f"{first}-pipe"))
        at.with_name(f"{first}-empty").mkdir()
        for name, spoil in {
            "locked": lock,
            "locked-manifest": lambda run: lock(run / MANIFEST),
            "locked-about": lambda run: lock(run / "about.json"),
            "locked-new": lambda run: ((run / ".new").mkdir(), lock(run / ".new")),
            "piped": lambda run: ((run / MANIFEST).unlink(), os.mkfifo(run / MANIFEST)),
            "damaged": lambda run: (run / MANIFEST).write_bytes(b"{" * 5000),
            "looping": lambda run: (
                (run / MANIFEST).unlink(),
                (run / MANIFEST).symlink_to(MANIFEST),
            ),
            "without": lambda run: (run / "about.json").unlink(),
        }.items():
            run = at.with_name(f"{first}-{name}")
            shutil.copytree(FIXTURES / "soft", run)
            spoil(run)


def test_odd_neighbours_are_passed_over(place: Path) -> None:
    neighbours(place / "checkpoints")
    # a run whose .new cannot be read is usable if nothing is committed there, and may be newest
    assert as_nobody(lambda: str(find())) in {
        "checkpoints/m-sound", "checkpoints/a-locked-new", "checkpoints/z-locked-new",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["locked", "locked-manifest"])
def test_a_run_that_is_named_and_cannot_be_read_is_one_line(place: Path, name: str) -> None:
    run = place / "checkpoints" / name
    shutil.copytree(FIXTURES / "soft", run)
    lock(run if name == "locked" else run / MANIFEST)
    told = as_nobody(lambda: str(find(run)))
    assert told.startswith(f"{CheckpointError.__name__}: {run}")
    assert told.endswith(": Permission denied")
    assert as_nobody(lambda: str(names(run))) == told


def test_a_folder_of_runs_that_cannot_be_listed(place: Path) -> None:
    lock(place / "checkpoints")
    assert as_nobody(lambda: find().name) == "dates"
