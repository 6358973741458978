"""charseq.state: a key that is the user's alone, or none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from charseq import state


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "deep" / "state"))
    return tmp_path / "deep" / "state" / "charseq"


def test_a_key_is_made_once_and_for_the_user_alone(folder: Path) -> None:
    key = state.user_key("journal")
    assert len(key) == state.KEY_BYTES
    assert state.user_key("journal") == key != state.user_key("other")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["journal.key", "other.key"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())


def test_where_it_lies_follows_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_STATE_HOME", "/var/me")
    assert state.folder_path() == Path("/var/me/charseq")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert state.folder_path() == Path("/home/me/.local/state/charseq")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME")
    with pytest.raises(FileNotFoundError, match="HOME names no folder"):
        state.user_key("journal")


@pytest.mark.parametrize("harm", ["mode", "short", "long", "link", "pipe"])
def test_a_key_that_is_not_the_users_alone_is_replaced(
    folder: Path, harm: str, tmp_path: Path
) -> None:
    before, path = state.user_key("journal"), folder / "journal.key"
    if harm == "mode":
        path.chmod(0o644)
    else:
        path.unlink()
    if harm in ("short", "long"):
        path.write_bytes(b"x" * (31 if harm == "short" else 33))
        path.chmod(0o600)
    if harm == "link":
        (tmp_path / "known").write_bytes(b"k" * 32)
        (tmp_path / "known").chmod(0o600)
        path.symlink_to(tmp_path / "known")
    if harm == "pipe":
        os.mkfifo(path, 0o600)
    after = state.user_key("journal")
    assert after not in (before, b"k" * 32)
    assert state.user_key("journal") == after
    assert path.is_file()
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_others_may_enter_or_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    state.user_key("journal")
    folder.chmod(0o770)
    with pytest.raises(PermissionError, match="is open to others: chmod 700"):
        state.user_key("journal")
    folder.chmod(0o700)
    folder.rename(tmp_path / "far")
    folder.symlink_to(tmp_path / "far")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        state.user_key("journal")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_home_of_another_user_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(PermissionError, match="belongs to another user"):
        state.user_key("journal")
    assert list(tmp_path.iterdir()) == []


def test_processes_that_make_it_at_once_agree(folder: Path) -> None:
    program = "from charseq import state; print(state.user_key('journal').hex())"
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(6)
    ]
    said = {process.communicate()[0] for process in started}
    assert said == {state.user_key("journal").hex().encode() + b"\n"}
    assert [path.name for path in folder.iterdir()] == ["journal.key"]


def test_the_key_of_a_process_stays_for_the_process() -> None:
    assert state.process_key() == state.process_key()
    assert len(state.process_key()) == state.KEY_BYTES
