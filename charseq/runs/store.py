"""Named bytes in a folder, changed atomically by a redo log, and checked by sha256 when read.

A run folder holds plain files and ``manifest.json``, which lists size and sha256 of each of them.
:func:`publish` changes any number of files at once, with the folder ``.new`` as a redo log:

    1. write    RUN/.new/<file> for each new file                   (fsync)
    2. commit   RUN/.new/manifest.json appears, by a rename         (fsync)   <- old becomes new
    3. move     each RUN/.new/<file> to RUN/<file>, manifest last   (fsync)

A process killed before 2 leaves the old state: a ``.new`` without a manifest is ignored, and the
next writer removes it. A process killed after 2 leaves the new state: readers use the manifest in
``.new``, and look for each file first there and then in RUN; the next writer completes step 3.
Every read is compared with the manifest, so one flipped bit is an error that names the file. There
is one writer at a time, which holds :func:`charseq.runs.folder.lock`. Readers need no lock. Models,
arrays and training are not known here.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from charseq.errors import CheckpointError, NewerVersionError, argument
from charseq.files import Content, create, refuse_link, sync_folder
from charseq.runs.untrusted import parse_object, reason, shown

FORMAT = 1
MANIFEST = "manifest.json"
NEW = ".new"
LOCK = ".lock"

MAX_BYTES = {".safetensors": 8 * 2**30, ".json": 64 * 2**20, "": 256 * 2**20}
"""Largest size of a file of a run, by its ending; a larger one is refused before it is read."""
MAX_MANIFEST_BYTES = 2**20
MIN_STORED = 1 / 4
"""Least share of a file that is on the disk; the rest are holes, which read as zeros."""
SMALL = 2**16
"""Bytes of a file whose holes do not matter."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
OF_A_RUN = re.compile(
    r"about\.json|model\.safetensors|README\.md|metrics\.jsonl|resume\.[ab]\.(json|safetensors)"
    r"|kept\.[0-9]+\.safetensors"
)
_ATTEMPTS = 20
# A link is not followed and a pipe not waited for, on systems that have these flags.
PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Entry:
    """A file in the manifest: size in bytes, and sha256 in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True)
class FolderState:
    """The files of a run at one time, and the folders in which to look for them, in order."""

    folder: Path
    files: dict[str, Entry]
    folders: tuple[Path, ...]


def publish(run: str | Path, files: Mapping[str, Content], *, drop: Iterable[str] = ()) -> None:
    """Write ``files`` into ``run`` and delete those in ``drop``, atomically.

    The other files stay. The caller holds :func:`charseq.runs.folder.lock`.

    Raises:
        CheckpointError: a name is no plain file name, a file is larger than a reader takes, or the
            disk is full or read-only. The run is then in the complete old or the complete new
            state.
    """
    folder, gone, created = Path(run), set(drop), False
    for name, content in files.items():
        _check_name(name, folder)
        check_size(name, len(content), folder)
    try:
        created = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        _recover(folder)
        kept = {name: item for name, item in state_of(folder).files.items() if name not in gone}
        sizes = {name: Entry(len(content), "") for name, content in files.items()}
        _check_manifest_size(kept | sizes, folder)
        _commit(folder, files, kept)
    except OSError as error:
        with contextlib.suppress(OSError):  # the disk that cannot be written may not delete either
            _discard(folder)
            if created:
                folder.rmdir()
        what = f"cannot be written: {reason(error)}; the last complete state is kept"
        raise CheckpointError(what, path=folder) from error
    committed = _decode_manifest(folder / NEW / MANIFEST)  # one that cannot be read is no commit
    try:
        _move(folder)
    except OSError as error:
        what = f"is stored, but cannot be tidied: {reason(error)}; the next save will do it"
        raise CheckpointError(what, path=folder) from error
    landed = _decode_manifest(folder / NEW / MANIFEST) or _decode_manifest(folder / MANIFEST)
    if committed is None or landed != committed:
        raise CheckpointError("was not stored: the last complete state is kept", path=folder)


def remove(run: str | Path, unwanted: Iterable[str]) -> None:
    """Delete files of the run; names of no file are ignored.

    Raises:
        CheckpointError: as :func:`publish`.
    """
    gone = set(unwanted) & names(run)
    if gone:
        publish(run, {}, drop=gone)


def _commit(folder: Path, files: Mapping[str, Content], kept: Mapping[str, Entry]) -> None:
    """Write and commit (steps 1 and 2); an error leaves the old state."""
    new = folder / NEW
    new.mkdir()
    entries = dict(kept)
    for name, content in files.items():
        digest = create(new / name, content, like=folder / name)
        entries[name] = Entry(len(content), digest)
    part = new / f"{MANIFEST}.part"
    create(part, _encode_manifest(entries))
    sync_folder(new)  # the files' names are on disk before the manifest that lists them
    sync_folder(folder)
    sync_folder(folder.parent)
    part.replace(new / MANIFEST)
    sync_folder(new)


def _move(folder: Path) -> None:
    """Move the committed files (step 3); may be repeated any number of times."""
    entries = _redo_log(folder)
    if entries is None:
        return
    new = folder / NEW
    for name in entries:
        with contextlib.suppress(FileNotFoundError):  # a kept file, or moved before a kill
            (new / name).replace(folder / name)
    with contextlib.suppress(CheckpointError):  # a damaged old manifest names nothing to remove
        for name in (_decode_manifest(folder / MANIFEST) or {}).keys() - entries.keys():
            (folder / name).unlink(missing_ok=True)
    sync_folder(folder)
    (new / MANIFEST).replace(folder / MANIFEST)
    sync_folder(folder)
    _remove_log(new)


def _recover(folder: Path) -> None:
    """Complete the commit of a killed writer, or remove its files without a commit."""
    if _redo_log(folder) is not None:
        _move(folder)
    else:
        _discard(folder)


def _discard(folder: Path) -> None:
    """Remove ``.new``, its manifest first: without a manifest there is no commit."""
    new = folder / NEW
    if new.is_dir():
        refuse_link(new)
        (new / MANIFEST).unlink(missing_ok=True)
        _remove_log(new)


def _remove_log(new: Path) -> None:
    """Remove the folder ``.new`` with the files that a writer made there, and nothing else.

    Raises:
        OSError: it holds something else, such as a folder.
    """
    for path in new.iterdir():
        if _NAME.fullmatch(path.name):
            path.unlink()
    new.rmdir()


def foreign_files(run: str | Path) -> list[str]:
    """The names of files that a run would overwrite, and that are none of its own.

    Raises:
        CheckpointError: the manifest is damaged.
    """
    own = {MANIFEST, *names(run)}
    there = (path.name for path in Path(run).iterdir())
    return sorted(name for name in there if OF_A_RUN.fullmatch(name) and name not in own)


def delete(run: str | Path) -> None:
    """Delete a run, files first that its manifest lists; the caller deletes the runs inside it.

    Raises:
        CheckpointError: it is a link, damaged, or holds files that are not of the run.
    """
    folder = Path(run)
    if not os.path.lexists(folder):
        return
    try:
        refuse_link(folder)
        _recover(folder)
        listed = names(folder)
        others = {path.name for path in folder.iterdir()} - listed - {MANIFEST, LOCK}
        if others:
            what = f"holds {shown(min(others))}, which is no file of the run, so it is not deleted"
            raise CheckpointError(f"{what}: move it, or delete the folder", path=folder)
        for name in (*sorted(listed), MANIFEST, LOCK):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    except OSError as error:
        raise CheckpointError(f"cannot be deleted: {reason(error)}", path=folder) from error


def delete_inner(folder: Path, name: str) -> None:
    """Delete the runs in ``folder`` whose names match the regular expression ``name``.

    The folder goes with them, unless it holds something else.

    Raises:
        CheckpointError: as :func:`delete`.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for run in sorted(folder.iterdir()):
            if re.fullmatch(name, run.name):
                delete(run)
    with contextlib.suppress(OSError):  # there is none, or it is not empty
        folder.rmdir()


def names(run: str | Path) -> set[str]:
    """The names of the run's files; empty where there is no run.

    Raises:
        CheckpointError: the manifest is damaged.
    """
    return set(state_of(run).files)


def read(run: str | Path, name: str) -> bytes:
    """The content of one file, compared with the manifest.

    Raises:
        CheckpointError: there is no such run or file, or it is damaged.
    """
    return read_all(run, [name])[name]


def read_all(run: str | Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """The contents of several files, all of one and the same state, even while a writer works.

    Raises:
        CheckpointError: there is no such run or file, or it is damaged.
    """
    listed = list(wanted)
    return consistently(run, lambda state: {name: fetch(state, name) for name in listed})


def consistently(run: str | Path, work: Callable[[FolderState], _Result]) -> _Result:
    """The result of ``work`` on one state; repeated if a writer replaced the state meanwhile.

    Raises:
        CheckpointError: ``work`` raised it although the state did not change.
    """
    before = None
    for _ in range(_ATTEMPTS):
        state = state_of(run)
        try:
            return work(state)
        except CheckpointError:
            if state == before:
                raise
            before = state
            time.sleep(0.01)
    raise CheckpointError("changes too fast to be read; try again", path=run)


def state_of(run: str | Path) -> FolderState:
    """The present state of the run; it has no files where there is no run.

    Raises:
        CheckpointError: the manifest is damaged, or the folder cannot be read.
    """
    folder = Path(run)
    try:
        entries = _redo_log(folder)
        if entries is not None:
            return FolderState(folder, entries, (folder / NEW, folder))
        return FolderState(folder, _decode_manifest(folder / MANIFEST) or {}, (folder,))
    except OSError as error:
        raise CheckpointError(reason(error), path=folder) from error


def fetch(state: FolderState, name: str) -> bytes:
    """The content of one file of ``state``, compared with the manifest.

    Raises:
        CheckpointError: it is not part of the run, missing, or damaged.
    """
    with open_file(state, name) as file:
        entry = state.files[name]
        size = os.fstat(file.fileno()).st_size
        content = file.read(entry.size + 1) if size == entry.size else b""
    if len(content) != entry.size or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise CheckpointError(
            f"is damaged: it differs from {MANIFEST}; restore it from a copy or train again",
            path=state.folder / name,
        )
    return content


def open_file(state: FolderState, name: str) -> BinaryIO:
    """A file of the run, open, not yet compared with the manifest.

    Raises:
        CheckpointError: it is not part of the run, missing, no plain file, or a hole.
    """
    if name not in state.files:
        if state.files:
            raise CheckpointError("is not part of this run", path=state.folder / name)
        raise CheckpointError(absence(state.folder), path=state.folder)
    for folder in state.folders:
        with contextlib.suppress(FileNotFoundError):
            file = open_plain(folder / name)
            if _is_hole(file):
                file.close()
                raise CheckpointError("is damaged: the disk holds little of it", path=folder / name)
            return file
    raise CheckpointError("is missing", path=state.folder / name)


def open_plain(path: Path) -> BinaryIO:
    """A file, open to be read. Raises FileNotFoundError, or CheckpointError if it is not plain."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | PLAIN), "rb")
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        link = path.is_symlink()
        what = "is a link, expected a plain file" if link else reason(error)
        raise CheckpointError(what, path=path) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise CheckpointError("is not a plain file", path=path)
    return file


def _is_hole(file: BinaryIO) -> bool:
    """Whether the disk holds less than :data:`MIN_STORED` of a file.

    A file of gigabytes without content costs nothing to send, and long to read. Systems that do
    not tell holes have none.
    """
    size, stored, place = os.fstat(file.fileno()).st_size, 0, 0
    if size <= SMALL or not hasattr(os, "SEEK_DATA"):
        return False
    try:
        while stored < MIN_STORED * size:
            begin = os.lseek(file.fileno(), place, os.SEEK_DATA)
            place = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            stored += place - begin
    except OSError as error:
        return error.errno == errno.ENXIO  # no data after this place
    finally:
        os.lseek(file.fileno(), 0, os.SEEK_SET)
    return False


def absence(folder: Path) -> str:
    """The reason why ``folder`` holds no run, for a message."""
    if folder.is_dir():
        return f"holds no trained model ({MANIFEST} is missing)"
    return "is a file, expected the folder of a run" if folder.exists() else "there is no such run"


def check_format(fields: Mapping[str, Any], path: str | Path) -> None:
    """Check that this version of charseq can read a file, by its format number.

    Raises:
        CheckpointError: the number is missing or larger than :data:`FORMAT`.
    """
    number = fields.get("format")
    if type(number) is not int or number < 1:
        raise CheckpointError("is damaged or foreign: it has no format number", path=path)
    if number > FORMAT:
        what = f"was written by a newer charseq, in a format after {FORMAT}: upgrade charseq"
        raise NewerVersionError(what, path=path)


def check_size(name: str, size: int, folder: str | Path) -> None:
    """Raise CheckpointError for a file that is larger than a file of a run may be."""
    limit = _limit(name)
    if size > limit:
        what = f"takes {size:,} bytes, more than the {limit:,} of such a file of a run"
        hint = "train a smaller network or vocabulary"
        raise CheckpointError(f"{what}: {hint}", path=f"{folder}/{name}")


def _limit(name: str) -> int:
    """The largest size of a file of a run with this name, in bytes."""
    return MAX_BYTES.get(Path(name).suffix, MAX_BYTES[""])


def _check_manifest_size(entries: Mapping[str, Entry], folder: Path) -> None:
    """Raise CheckpointError for more files than a manifest can list."""
    sized = {name: Entry(item.size, "0" * 64) for name, item in entries.items()}
    if len(_encode_manifest(sized)) >= MAX_MANIFEST_BYTES:
        what = f"has {len(entries):,} files, more than the manifest of a run can list"
        raise CheckpointError(
            f"{what}: {argument('keep_checkpoints', 0)}, or a longer save_seconds", path=folder
        )


def _encode_manifest(files: Mapping[str, Entry]) -> bytes:
    listed = {name: {"size": e.size, "sha256": e.sha256} for name, e in sorted(files.items())}
    seal = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    return (json.dumps({"format": FORMAT, "files": listed, "seal": seal}, indent=1) + "\n").encode()


def _decode_manifest(path: Path) -> dict[str, Entry] | None:
    """The files that a manifest lists; None where there is none.

    The manifest must be equal, byte for byte, to :func:`_encode_manifest` of its files, so that a
    flipped bit in the manifest itself is an error too.
    """
    try:
        with open_plain(path) as file:
            content = file.read(MAX_MANIFEST_BYTES)
    except FileNotFoundError:
        return None
    fields = parse_object(content, path)
    check_format(fields, path)
    listed = fields.get("files")
    if not isinstance(listed, dict):
        raise CheckpointError("is damaged: it lists no files", path=path)
    entries = {name: _check_entry(name, item, path) for name, item in listed.items()}
    if _encode_manifest(entries) != content:
        raise CheckpointError("is damaged: it does not agree with its seal", path=path)
    return entries


def _redo_log(folder: Path) -> dict[str, Entry] | None:
    """The files of a committed ``.new``; None without a commit. Raises NewerVersionError."""
    if (folder / NEW).is_symlink():
        return None
    try:
        return _decode_manifest(folder / NEW / MANIFEST)
    except NewerVersionError:
        raise
    except CheckpointError:  # damaged, so not committed: the files in the run folder are the state
        return None


def _check_entry(name: str, item: Any, path: Path) -> Entry:
    _check_name(name, path)
    limit = _limit(name)
    match item:
        case {"size": int(size), "sha256": str(digest)}:
            if _DIGEST.fullmatch(digest) and type(size) is int and 0 <= size <= limit:
                return Entry(size, digest)
    raise CheckpointError(f"is damaged: bad size or sha256 of {shown(name)}", path=path)


def _check_name(name: str, path: Path) -> None:
    if not _NAME.fullmatch(name) or name == MANIFEST:
        raise CheckpointError(f"{shown(name)} is not the plain name of a run's file", path=path)
