"""Files that are written whole or not at all: a part file beside, synced, then renamed.

The one place where charseq makes files that replace others, and where it locks files. A part file
is new (``O_EXCL``) and has a random hidden name in the folder of its target, so that the rename
stays on one file system and nothing that lies there is written through.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO


class BusyError(Exception):
    """The file is locked by another process; ``holder`` is what that one wrote into it."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"locked by {holder or 'another process'}")
        self.holder = holder


def part_path(path: Path) -> Path:
    """A new hidden name beside ``path``, such as ``.charseq-0f3c….part``."""
    return path.with_name(f".charseq-{secrets.token_hex(8)}.part")


def sync(file: IO[bytes]) -> None:
    """The bytes of an open file are on disk when this returns."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """The names in a folder are on disk when this returns.

    Windows opens no folders; NTFS journals their entries itself.
    """
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def create(path: Path, content: bytes) -> None:
    """A new file, on disk when this returns; its mode follows the umask.

    Raises:
        FileExistsError: something has that name already.
    """
    with path.open("xb") as file:
        file.write(content)
        sync(file)


@contextmanager
def replacing(path: Path, *, part: Path | None = None) -> Iterator[tuple[BinaryIO, Path]]:
    """A part file to write into; it gets the name ``path`` at :func:`publish`, or is deleted.

    Args:
        path: the name that the file is to have in the end.
        part: the name of the part file; by default a new one of :func:`part_path`. A file that
            has this name, left by a killed attempt, is deleted first.

    Yields:
        the open part file, and its path. A block that ends by an exception leaves no part file.
    """
    beside = part or part_path(path)
    if part is not None:
        part.unlink(missing_ok=True)
    try:
        with beside.open("xb") as file:
            yield file, beside
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def publish(part: Path, path: Path) -> None:
    """The part file gets its name, which is on disk when this returns."""
    part.replace(path)
    sync_folder(path.parent)


def replace(path: Path, content: bytes) -> None:
    """``path`` has this content, or the one that it had before: never a part of it."""
    with replacing(path) as (file, part):
        file.write(content)
        sync(file)
    publish(part, path)


def lock(path: Path, *, flags: int = 0, parents: bool = False) -> int:
    """An open, exclusively locked file, made if it is missing; the system frees it at the end.

    Another holder may delete the file while this one waits for nothing: then the lock is taken on
    the new file of that name.

    Args:
        path: the lock file.
        flags: further flags for ``os.open``, such as ``O_NOFOLLOW``.
        parents: whether to make the folder as well, which another holder may have deleted.

    Returns:
        the file's descriptor, to be closed by the caller.

    Raises:
        BusyError: another process has locked it.
        OSError: it cannot be opened or locked.
    """
    import fcntl  # POSIX only: nothing else of this module needs it

    while True:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace")
            os.close(handle)
            raise BusyError(holder) from None
        except OSError:
            os.close(handle)
            raise
        os.close(handle)  # it was deleted by its holder meanwhile
