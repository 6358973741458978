"""Files that are written whole or not at all: a part file beside, synced, then renamed.

The one place where charseq makes files that replace others, where it deletes what it made, and
where it locks files. Nothing is written, deleted or locked through a link: an archive of a
stranger may hold a link under every name that a command writes. A part file is new (``O_EXCL``) and
has a hidden name in the folder of its target, so that the rename stays on one file system: a random
one, or, where attempts are repeated, one that the next attempt finds and deletes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Protocol, TextIO

from charseq.errors import DataError, UsageError, argument, reduced

SYSTEM = ("/dev", "/dev/fd", "/dev/pts", "/proc/self/fd")
"""Folders whose links are the system's, such as ``/dev/stdout`` and ``/dev/fd/63``."""
STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Names of stdout. To open one of the others anew would empty a file behind it."""
MAX_NAME_BYTES = 255
"""Bytes of a file's name, at most, on the usual file systems."""


class Parts(Protocol):
    """The content of a file that is too large to be in memory a second time."""

    def __len__(self) -> int:
        """The number of bytes."""

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """The bytes in parts, each of which is taken when the one before is written."""


Content = bytes | Parts


class LinkError(OSError):
    """A path is a link, or leads through one, and nothing is written through links."""

    __reduce__ = reduced

    def __init__(self, path: Path) -> None:
        target = path.readlink()
        what = (
            f"'{path}' is a link to '{target}', and nothing is written through a link: delete it, "
            "or give the path that it leads to"
        )
        super().__init__(errno.ELOOP, what)


class HardLinkError(LinkError):
    """A file has a second name, and its content may be somebody's under that name."""

    def __init__(self, path: Path) -> None:
        what = f"'{path}' is a hard link: its file has other names, and is not written: delete it"
        OSError.__init__(self, errno.EMLINK, what)


class BusyError(Exception):
    """The file is locked by another process; ``holder`` is what that one wrote into it."""

    __reduce__ = reduced

    def __init__(self, holder: str) -> None:
        super().__init__(f"locked by {holder or 'another process'}")
        self.holder = holder


def refuse_link(path: Path) -> None:
    """Refuse a path through a link that may be a stranger's.

    That is the last part of the path, and every folder of it that lies in or below the current
    folder, by whatever name that is reached; of a relative path, every folder. Other links, such as
    ``/tmp`` on some systems, belong to the machine.

    Raises:
        LinkError: one of them is a link.
    """
    if is_system(path):
        return
    for part in (*reversed(path.parents), path):
        if part.is_symlink() and (part == path or not path.is_absolute() or _is_below(part)):
            raise LinkError(part)


def _is_below(link: Path) -> bool:
    """Whether a link lies in the current folder or below it."""
    return Path(os.path.realpath(link.parent)).is_relative_to(os.path.realpath(Path.cwd()))


def is_stdout(path: str | Path) -> bool:
    """Whether a path names this process's stdout."""
    return os.fspath(path) in STDOUT


def standard_stream(name: str) -> TextIO:
    """The process's ``stdin`` or ``stdout``.

    Raises:
        UsageError: whoever started the process had closed it.
    """
    found: TextIO | None = getattr(sys, name)
    if found is None:
        what = "there is nothing to read" if name == "stdin" else "answers have nowhere to go"
        raise UsageError(f"{name} is closed: {what}")
    return found


def is_system(path: str | Path) -> bool:
    """Whether a path names a device or an open file of the process, not a file of a folder."""
    return os.path.dirname(path) in SYSTEM  # noqa: PTH120, a name of the system is no path


def kind(path: Path) -> str:
    """The kind of a thing that is no plain file, for a message."""
    if path.is_symlink() and not path.exists():
        return f"a link to '{path.readlink()}', which leads to no file"
    return "a folder" if path.is_dir() else "a device or a pipe"


def check_name(path: str | Path) -> None:
    """Check the name that a user gives to an output.

    Raises:
        UsageError: it is empty, begins with ``~``, or has a part of more than 255 bytes.
    """
    name = os.fspath(path)
    if not name:
        raise UsageError("an empty name, expected the name of a file or folder to write")
    if name.startswith("~"):
        raise UsageError(
            f"'{name}' begins with ~, which your shell has not replaced: write the folder out, or "
            "./~ where the name is meant"
        )
    for part in Path(name).parts:
        if (size := len(os.fsencode(part))) > MAX_NAME_BYTES:
            what = f"a name of {size} bytes, expected at most {MAX_NAME_BYTES}: give a shorter one"
            raise UsageError(f"'{part[:40]}…{part[-16:]}' is {what}")


def refuse(
    path: str | Path, *, force: bool, inputs: Iterable[str | Path] = (), what: str = "file"
) -> None:
    """Refuse an output that must not be written.

    Args:
        path: the output; ``-`` is stdout.
        force: whether a file may be overwritten.
        inputs: everything that the command reads; it is never overwritten. Where nothing has the
            name ``path``, they are not asked for.
        what: what the output is, for the message.

    Raises:
        UsageError: its name is none (see :func:`check_name`), or it is a link, a folder, an input,
            or there without ``force``.
    """
    out = Path(path)
    if is_stdout(path) or is_system(path):
        return
    check_name(path)
    try:
        refuse_link(out)
    except LinkError as fault:
        raise UsageError(fault.strerror) from None
    if out.is_dir():
        raise UsageError(f"{out} is a folder, expected a {what} to write")
    if not os.path.lexists(out):
        return
    if is_among(out, inputs):
        raise UsageError(f"{out} is an input and would be overwritten: give another name")
    if not force:
        anyway = argument("force", True)
        raise UsageError(f"{out} exists: give another name, or {anyway} to overwrite it")


def is_among(path: Path, others: Iterable[str | Path]) -> bool:
    """Whether one of the others is the same file or folder, by whatever name."""
    for one in others:
        with contextlib.suppress(OSError):  # one of them is missing, so they are not the same
            if path.samefile(one):
                return True
    return False


def part_path(path: Path) -> Path:
    """A new hidden name beside ``path``, such as ``.charseq-0f3c….part``."""
    return path.with_name(f".charseq-{secrets.token_hex(8)}.part")


def hidden_path(path: Path, ending: str) -> Path:
    """A hidden name beside ``path``, the same one each time and of the same length for all."""
    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    return path.with_name(f".charseq-{name}.{ending}")


@contextmanager
def claiming(path: Path) -> Iterator[Path]:
    """The name for the part file of ``path``, which this process has alone until the block ends.

    The name is the same for each attempt, so that a part file that a killed attempt left is
    deleted here. Where something else has the names of the part file or of its lock, or the file
    system has no locks, the name is a new one of :func:`part_path`.

    Raises:
        BusyError: another process is writing ``path``.
        LinkError: a link has the name of the lock.
    """
    part, guard = hidden_path(path, "part"), hidden_path(path, "lock")
    try:
        handle = lock(guard, flags=os.O_NONBLOCK)
    except LinkError:
        raise
    except OSError:  # if the folder cannot be written, the part file will tell
        yield part_path(path)
        return
    try:
        try:
            part.unlink(missing_ok=True)
        except OSError:  # a folder, or a stranger's file
            part = part_path(path)
        yield part
    finally:
        with contextlib.suppress(OSError):
            guard.unlink()
        os.close(handle)


def clean(path: Path) -> None:
    """Delete the part file of ``path`` and its lock, which a killed attempt has left."""
    if any(os.path.lexists(hidden_path(path, ending)) for ending in ("part", "lock")):
        with contextlib.suppress(BusyError, OSError), claiming(path):
            pass


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


def create(path: Path, content: Content, *, like: Path | None = None) -> str:
    """A new file, on disk when this returns; its mode is that of ``like``, else by the umask.

    Returns:
        the sha256 of the content, in hexadecimal.

    Raises:
        FileExistsError: something has that name already, be it a link that leads nowhere.
    """
    with path.open("xb") as file:
        _inherit_mode(file, like)
        digest = hashlib.sha256()
        for part in (content,) if isinstance(content, bytes) else content:
            file.write(part)
            digest.update(part)
        sync(file)
    return digest.hexdigest()


@contextmanager
def replacing(path: Path, *, part: Path | None = None) -> Iterator[tuple[BinaryIO, Path]]:
    """A part file to write into; it gets the name ``path`` at :func:`publish`, or is deleted.

    The part file has the mode of the file that it is to replace: what was private stays private.

    Args:
        path: the name that the file is to have in the end.
        part: the name of the part file; by default a new one of :func:`part_path`. A file that
            has this name, left by a killed attempt, is deleted first.

    Yields:
        the open part file, and its path. A block that ends by an exception leaves no part file.

    Raises:
        LinkError: ``path`` is a link.
    """
    refuse_link(path)
    beside = part or part_path(path)
    if part is not None:
        part.unlink(missing_ok=True)
    try:
        with beside.open("xb") as file:
            _inherit_mode(file, path)
            yield file, beside
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _inherit_mode(file: IO[bytes], like: Path | None) -> None:
    """Give an open file the mode of the plain file ``like``, if there is one."""
    if like is None or os.name == "nt":
        return
    with contextlib.suppress(FileNotFoundError):
        facts = like.lstat()
        if stat.S_ISREG(facts.st_mode):
            os.fchmod(file.fileno(), stat.S_IMODE(facts.st_mode) & 0o777)


def publish(part: Path, path: Path) -> None:
    """The part file gets its name, which is on disk when this returns.

    Raises:
        LinkError: ``path`` is a link.
    """
    refuse_link(path)
    part.replace(path)
    sync_folder(path.parent)


@contextmanager
def drawing(path: Path) -> Iterator[Path]:
    """A hidden name with the ending of ``path``; the file there gets its name at the end.

    Raises:
        DataError: the file cannot be written; an older file of this name stays as it was.
    """
    part = part_path(path).with_suffix(path.suffix)
    try:
        yield part
        publish(part, path)
    except OSError as fault:
        raise DataError(f"cannot be written: {fault.strerror or fault}", path=path) from None
    finally:
        part.unlink(missing_ok=True)


def replace(path: Path, content: bytes) -> None:
    """``path`` has this content, or the one that it had before: never a part of it.

    Raises:
        LinkError: ``path`` is a link.
    """
    with replacing(path) as (file, part):
        file.write(content)
        sync(file)
    publish(part, path)


def make_folder(path: Path, *, parents: bool = False) -> None:
    """The folder ``path`` is there, made if it is missing.

    Raises:
        LinkError: it is a link.
        OSError: it cannot be made, or is a file.
    """
    refuse_link(path)
    path.mkdir(parents=parents, exist_ok=True)


def links_in(folder: Path) -> list[Path]:
    """The links that lie in a folder, in the order of their names; none where there is no folder.

    Raises:
        LinkError: the folder is itself a link.
        OSError: it cannot be listed.
    """
    refuse_link(folder)
    try:
        with os.scandir(folder) as entries:
            found = sorted(entry.name for entry in entries if entry.is_symlink())
    except FileNotFoundError:
        return []
    return [folder / name for name in found]


def lock(path: Path, *, flags: int = 0, parents: bool = False) -> int:
    """An open, exclusively locked file, made if it is missing; the system frees it at the end.

    Another holder may delete the file while this one waits for nothing: then the lock is taken on
    the new file of that name.

    Args:
        path: the lock file.
        flags: further flags for ``os.open``.
        parents: whether to make the folder as well, which another holder may have deleted.

    Returns:
        the file's descriptor, to be closed by the caller.

    Raises:
        BusyError: another process has locked it.
        LinkError: it is a link, or a hard link to a file that has another name as well.
        OSError: it cannot be opened or locked.
    """
    import fcntl  # POSIX only: nothing else of this module needs it

    while True:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        refuse_link(path)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | flags, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink > 1:
                raise HardLinkError(path)
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
