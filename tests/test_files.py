"""charseq.files: a file is there whole or not at all, and one process at a time holds a lock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from charseq import files


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".charseq-")]


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.replace(path, b"old")
    files.replace(path, b"new content")
    assert path.read_bytes() == b"new content"
    assert leftovers(tmp_path) == []


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def fail() -> None:
        with files.replacing(path) as (file, part):
            file.write(b"half")
            assert part.parent == tmp_path
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_a_part_file_is_never_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    part = tmp_path / "known.part"
    part.symlink_to(victim)
    path = tmp_path / "a.txt"
    with files.replacing(path, part=part) as (file, beside):
        file.write(b"new")
        files.sync(file)
    files.publish(beside, path)
    assert (victim.read_bytes(), path.read_bytes()) == (b"mine", b"new")
    assert not path.is_symlink()


def test_a_link_is_replaced_and_its_target_is_left_alone(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    path = tmp_path / "a.txt"
    path.symlink_to(victim)
    files.replace(path, b"new")
    assert (victim.read_bytes(), path.read_bytes()) == (b"mine", b"new")


def test_create_refuses_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.create(path, b"first")
    with pytest.raises(FileExistsError):
        files.create(path, b"second")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        files.create(path, b"third")
    assert not (tmp_path / "elsewhere").exists()


HOLDER = """
import os, sys
from pathlib import Path
from charseq import files
handle = files.lock(Path(sys.argv[1]))
os.pwrite(handle, str(os.getpid()).encode(), 0)
print("held", flush=True)
sys.stdin.read()
"""


def test_one_process_holds_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(files.BusyError, match=f"locked by {holder.pid}"):
        files.lock(path)
    holder.kill()
    holder.communicate()
    os.close(files.lock(path))  # the system frees a killed process's lock


def test_a_lock_on_a_deleted_file_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder" / "lock"
    real, deleted = os.open, []

    def open_then_delete(name: Path, *rest: int) -> int:
        handle = real(name, *rest)
        if not deleted:
            deleted.append(name)
            path.unlink()
            path.parent.rmdir()
        return handle

    monkeypatch.setattr(os, "open", open_then_delete)
    handle = files.lock(path, parents=True)
    assert os.path.samestat(os.fstat(handle), path.stat())
    os.close(handle)
