"""The user's state folder, with secrets that only processes of this user know.

    user_key("journal")     32 random bytes, the same ones in every process of the user
    process_key()           32 random bytes of this process alone, where no key can be kept

The folder is ``$XDG_STATE_HOME/charseq``, by default ``~/.local/state/charseq``. It is mode 0700
and a key in it is mode 0600, both owned by the user. A folder that somebody else may enter is
refused. A key that somebody else may have read or written is replaced. Neither is reached through
a link. A file that was signed with a key (HMAC) was written by this user, whoever can write beside
it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from functools import cache
from pathlib import Path

KEY_BYTES = 32


def user_key(name: str) -> bytes:
    """The key called ``name``, made when it is first asked for.

    Raises:
        OSError: no key can be kept: there is no home, it cannot be written, or the folder is
            open to others; ``strerror`` says which.
    """
    folder = _open_folder()
    try:
        return _read(folder, f"{name}.key") or _make(folder, f"{name}.key")
    finally:
        os.close(folder)


@cache
def process_key() -> bytes:
    """A key that ends with this process."""
    return secrets.token_bytes(KEY_BYTES)


def folder_path() -> Path:
    """The path of the state folder, which need not be there.

    Raises:
        FileNotFoundError: neither XDG_STATE_HOME nor HOME names a folder.
    """
    state, home = os.environ.get("XDG_STATE_HOME", ""), os.environ.get("HOME", "")
    if state.startswith("/"):  # others are to be ignored, says the standard
        return Path(state) / "charseq"
    if home.startswith("/"):
        return Path(home) / ".local" / "state" / "charseq"
    raise FileNotFoundError(errno.ENOENT, "HOME names no folder")


def _open_folder() -> int:
    """A descriptor of the state folder, which is made where it is missing."""
    path = folder_path()
    if not os.path.lexists(path):
        above = next(folder for folder in path.parents if folder.exists())
        if above.stat().st_uid != os.geteuid():  # such as sudo with the home of another user
            raise PermissionError(errno.EPERM, f"'{above}' belongs to another user")
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # another process was quicker
            path.mkdir(mode=0o700)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    if not _is_private(os.fstat(folder)):
        os.close(folder)
        raise PermissionError(errno.EPERM, f"'{path}' is open to others: chmod 700 '{path}'")
    return folder


def _is_private(facts: os.stat_result) -> bool:
    return facts.st_uid == os.geteuid() and not facts.st_mode & 0o077


def _read(folder: int, name: str) -> bytes | None:
    """The key in a file; None where there is none, or one that is not the user's alone."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as fault:
        if fault.errno == errno.ELOOP:  # a link
            return None
        raise
    try:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode) or not _is_private(facts):
            return None
        key = os.read(file, KEY_BYTES + 1)
        return key if len(key) == KEY_BYTES else None
    finally:
        os.close(file)


def _make(folder: int, name: str) -> bytes:
    """A new key in the place of whatever has the name: all of it is there, or nothing."""
    key, new = secrets.token_bytes(KEY_BYTES), f".{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    file = os.open(new, flags, 0o600, dir_fd=folder)
    try:
        with open(file, "wb") as written:  # noqa: PTH123, a descriptor is no path
            os.fchmod(file, 0o600)
            written.write(key)
            written.flush()
            os.fsync(file)
        if _read(folder, name) is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
        try:
            os.link(new, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:  # another process was quicker, and its key counts
            key = _read(folder, name) or key
    finally:
        os.unlink(new, dir_fd=folder)
    os.fsync(folder)
    return key
