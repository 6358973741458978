"""charseq.files: a file is there whole or not at all, and one process at a time holds a lock."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from charseq import files
from charseq.errors import DataError, UsageError


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


@pytest.mark.parametrize("there", [True, False])
def test_nothing_is_written_through_a_link(tmp_path: Path, *, there: bool) -> None:
    victim = tmp_path / "victim"
    if there:
        victim.write_bytes(b"mine")
    path = tmp_path / "a.txt"
    path.symlink_to(victim)
    for write in (
        lambda: files.replace(path, b"new"),
        lambda: files.publish(tmp_path / "part", path),
        lambda: files.lock(path),
        lambda: files.make_folder(path),
        lambda: files.links_in(path),
    ):
        with pytest.raises(files.LinkError, match=r"a\.txt' is a link to '.*victim'"):
            write()
    assert path.is_symlink()
    assert sorted(tmp_path.iterdir()) == [path, *[victim] * there]
    assert not there or victim.read_bytes() == b"mine"


def test_links_of_the_machine_are_followed_and_those_below_the_current_folder_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, here = tmp_path / "real", tmp_path / "machine" / "here"
    for folder in (real / "inner", here):
        folder.mkdir(parents=True)
    (tmp_path / "alias").symlink_to(tmp_path / "machine")
    (here / "out").symlink_to(real)
    monkeypatch.chdir(here)
    files.refuse_link(tmp_path / "alias" / "here" / "new.txt")  # a link above the current folder
    files.refuse_link(Path("new.txt"))
    for path in (Path("out/new.txt"), Path("out/inner/new.txt"), here / "out" / "new.txt"):
        with pytest.raises(files.LinkError, match=r"out' is a link"):
            files.refuse_link(path)
    files.refuse_link(Path("/dev/stdout"))
    files.refuse_link(Path("/proc/self/fd/1"))


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"secret")
    path.chmod(0o600)
    with files.replacing(path) as (file, part):
        assert part.stat().st_mode & 0o777 == 0o600, "private from the first byte"
        file.write(b"new")
    files.publish(part, path)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)


def test_an_output_that_must_not_be_written_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.refuse(path, force=False)
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"a\.txt exists: give another name, or force=True"):
        files.refuse(path, force=False)
    files.refuse(path, force=True)
    with pytest.raises(UsageError, match="is an input and would be overwritten"):
        files.refuse(path, force=True, inputs=[tmp_path / "none", path])
    with pytest.raises(UsageError, match="is a folder, expected a picture to write"):
        files.refuse(tmp_path, force=True, what="picture")
    dangling = tmp_path / "b.txt"
    dangling.symlink_to(tmp_path / "none")
    with pytest.raises(UsageError, match=r"b\.txt' is a link to '.*none'"):
        files.refuse(dangling, force=True)
    files.refuse("-", force=False)
    files.refuse(os.devnull, force=False)


class Halves:
    """A content in two parts."""

    def __len__(self) -> int:
        return 6

    def __iter__(self) -> Iterator[bytes | memoryview]:
        yield b"abc"
        yield memoryview(b"def")


def test_create_tells_the_sha256_of_what_it_writes(tmp_path: Path) -> None:
    contents: list[files.Content] = [b"abcdef", Halves()]
    for number, content in enumerate(contents):
        path = tmp_path / str(number)
        found = files.create(path, content)
        assert path.read_bytes() == b"abcdef"
        assert found == hashlib.sha256(b"abcdef").hexdigest()


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
from collections.abc import Iterator
from pathlib import Path
from charseq import files
from charseq.errors import UsageError
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


# --- part files that the next attempt finds


def test_a_claimed_part_file_has_the_same_name_each_time_and_is_fresh(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)
    with files.claiming(path) as part:
        part.write_bytes(b"left by a kill")
    with files.claiming(path) as again:
        assert again == part
        assert not part.exists()
        with pytest.raises(files.BusyError), files.claiming(path):
            pass
    assert leftovers(tmp_path) == []


def test_what_a_killed_attempt_left_is_cleaned_but_not_what_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with files.claiming(path) as part:
        part.write_bytes(b"in use")
        files.clean(path)
        assert part.exists()
    files.hidden_path(path, "lock").touch()
    files.clean(path)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_claimed_is_left_and_a_random_name_taken(tmp_path: Path) -> None:
    for ending in ("part", "lock"):
        path = tmp_path / f"a.{ending}"
        files.hidden_path(path, ending).mkdir()
        with files.claiming(path) as part:
            assert part != files.hidden_path(path, "part")
        assert files.hidden_path(path, ending).is_dir()
    files.hidden_path(tmp_path / "b", "lock").symlink_to(tmp_path / "far")
    with pytest.raises(files.LinkError), files.claiming(tmp_path / "b"):
        pass
    assert not (tmp_path / "far").exists()


def test_a_picture_gets_its_name_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "x.svg"
    with files.drawing(path) as part:
        part.write_text("new")
        assert part.suffix == ".svg"
        assert not path.exists()
    assert path.read_text() == "new"
    with suppress(ZeroDivisionError), files.drawing(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
    with (
        pytest.raises(DataError, match=r"y\.png: cannot be written: No such file"),
        files.drawing(tmp_path / "no" / "y.png") as part,
    ):
        part.write_text("new")
