"""The run folder: to lock it, and to read metadata and weights.

``about.json`` holds the metadata, ``model.safetensors`` the weights, float arrays by name. Both are
untrusted until they are checked here; the shapes that the settings require are checked by the
caller. The bytes are kept by ``store``, whose functions are importable from here as well. Nothing
is ever unpickled.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from charseq import files
from charseq.errors import CheckpointError, NewerVersionError, UsageError, argument
from charseq.runs.store import (
    FORMAT,
    LOCK,
    MANIFEST,
    NEW,
    OF_A_RUN,
    PLAIN,
    FolderState,
    check_format,
    consistently,
    delete,
    delete_inner,
    fetch,
    foreign_files,
    names,
    open_file,
    publish,
    read,
    read_all,
    remove,
)
from charseq.runs.untrusted import parse_object, reason
from charseq.runs.weights import WEIGHT_TYPES, Shapes, check_finite, load_arrays, read_header
from charseq.setting import renamed, with_present_kinds
from charseq.version import __version__

__all__ = [
    "ABOUT",
    "FORMAT",
    "WEIGHTS",
    "check_links",
    "check_place",
    "delete",
    "delete_inner",
    "files_of",
    "is_finished",
    "is_newer",
    "load_model",
    "lock",
    "metadata_of",
    "names",
    "publish",
    "read",
    "read_all",
    "read_json",
    "refuse_inputs",
    "remove",
]

ABOUT = "about.json"
WEIGHTS = "model.safetensors"
INNER = ("members", "tune")
"""Folders of a run that hold runs."""
# Keys of about.json that every run has, and their types; further keys are allowed.
SCHEMA: dict[str, type] = {"format": int, "finished": bool, "settings": dict}
_JSON_NAMES = {int: "a whole number", bool: "true or false", dict: "an object"}


def load_model(
    run: str | Path, *, check: Callable[[dict[str, Any], Shapes], None] | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(metadata, weights) of a run; the weights by name, as float32.

    ``check(metadata, shapes)`` is called before any weight is read; it may raise CheckpointError.

    Raises:
        CheckpointError: the run is missing, damaged or of a newer charseq, or a weight is not a
            finite float16 or float32.
    """
    path = Path(run) / WEIGHTS

    def load(state: FolderState) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        metadata = _parse_metadata(fetch(state, ABOUT), path.parent)
        with open_file(state, WEIGHTS) as file, explaining(metadata, path.parent):
            size = os.fstat(file.fileno()).st_size
            shapes = read_header(file, size, path, WEIGHT_TYPES)
            if check is not None:
                check(metadata, shapes)
        weights = load_arrays(fetch(state, WEIGHTS), path=path)
        check_finite(weights, path)
        return metadata, {name: array.astype(np.float32) for name, array in weights.items()}

    return consistently(run, load)


def is_finished(run: str | Path) -> bool:
    """Whether there is a run whose training is complete.

    Raises:
        CheckpointError: the run is damaged.
    """
    if ABOUT not in names(run):
        return False
    return bool(metadata_of(run)["finished"])


def metadata_of(run: str | Path) -> dict[str, Any]:
    """The metadata of a run, in the types of :data:`SCHEMA` and not checked any further.

    Raises:
        CheckpointError: the run is missing, damaged or of a newer charseq.
    """
    return _parse_metadata(read(run, ABOUT), Path(run))


def read_json(run: str | Path, name: str) -> dict[str, Any]:
    """One file of the run as a JSON object.

    Raises:
        CheckpointError: as :func:`charseq.runs.store.read`, or the file is no JSON object.
    """
    return parse_object(read(run, name), Path(run) / name)


def _parse_metadata(content: bytes, folder: Path) -> dict[str, Any]:
    """The metadata in the bytes of about.json, with the keys of SCHEMA checked."""
    path = folder / ABOUT
    metadata = parse_object(content, path)
    check_format(metadata, path)
    with explaining(metadata, folder):
        for key, kind in SCHEMA.items():
            if type(metadata.get(key)) is not kind:
                raise CheckpointError(f"is damaged: '{key}' must be {_JSON_NAMES[kind]}", path=path)
    return with_present_kinds(metadata) | {"settings": renamed(metadata["settings"])}


@contextlib.contextmanager
def explaining(metadata: Mapping[str, Any], folder: Path) -> Iterator[None]:
    """A block whose CheckpointErrors are due to the version, if a newer charseq wrote the run."""
    try:
        yield
    except CheckpointError as fault:
        versions = metadata.get("versions")
        version = versions.get("charseq") if isinstance(versions, dict) else None
        if not isinstance(version, str) or not is_newer(version):
            raise
        what = f"was written by a newer charseq ({version}, this is {__version__}): upgrade charseq"
        raise NewerVersionError(f"{what} (here it {_cause(fault)})", path=folder) from fault


def _cause(fault: CheckpointError) -> str:
    """The message of a fault, without its path."""
    return str(fault).removeprefix(f"{fault.path}: ")


def is_newer(version: str) -> bool:
    """Whether a version of charseq, such as 1.2.3, is newer than this one."""
    parts = [re.match(r"(\d{1,6})(?:\.(\d{1,6}))?(?:\.(\d{1,6}))?", one)
             for one in (version, __version__)]  # fmt: skip
    numbers = [tuple(int(part or 0) for part in found.groups()) for found in parts if found]
    return len(numbers) == 2 and len(version) <= 40 and numbers[0] > numbers[1]


def files_of(run: str | Path) -> Iterator[Path]:
    """The files of a run and of the runs inside of it, by their names; no other file there."""
    folder = Path(run)
    for one in (folder, *(inner for name in INNER for inner in (folder / name).glob("*"))):
        with contextlib.suppress(CheckpointError):  # a damaged one lists nothing
            for name in (*names(one), MANIFEST):
                yield one / name
                yield one / NEW / name


def refuse_inputs(run: str | Path, reads: Iterable[str | Path | None]) -> None:
    """Refuse a folder for a new run that would take the place of what the command reads.

    Args:
        run: the folder.
        reads: files of data and settings, and folders of runs; None is passed over.

    Raises:
        UsageError: one of them is the folder, or lies in it under the name of a run's file.
    """
    folder = Path(os.path.realpath(run))
    for one in reads:
        path = None if one is None else Path(os.path.realpath(one))
        if path is None or not path.is_relative_to(folder):
            continue
        first, *inner = path.relative_to(folder).parts or ("",)
        is_own = first in ("", MANIFEST, LOCK) or OF_A_RUN.fullmatch(first)
        if first in (*INNER, NEW) if inner else is_own:
            what = f"{one} is read, and the run in {run} would overwrite or delete it"
            raise UsageError(f"{what}: give another folder for the run")


@contextlib.contextmanager
def lock(run: str | Path, *, force: bool = False) -> Iterator[None]:
    """Lock the folder ``run``, made if missing, for writing; the end of the process frees it.

    Args:
        run: the folder. Nothing in it may be a link, which would lead the writer elsewhere.
        force: whether files may be overwritten that have the names of a run's and are of none.

    Raises:
        CheckpointError: another process has locked it, it cannot be locked, it is a link or holds
            one, or it holds files of others that would be overwritten.
    """
    folder, created = Path(run), False
    try:
        files.refuse_link(folder)
        created = not folder.exists()
        handle = _hold(folder)
    except files.BusyError as busy:
        holder = busy.holder or "unknown"
        raise CheckpointError(f"in use by process {holder}", path=folder) from None
    except OSError as error:
        raise CheckpointError(f"cannot be written: {reason(error)}", path=folder) from error
    try:
        _check_own(folder, force=force)
        yield
    finally:
        # deleted while it is locked: a process that has opened it sees that it is not the lock
        with contextlib.suppress(OSError):  # a lock file left behind locks nothing
            (folder / LOCK).unlink(missing_ok=True)
        os.close(handle)
        if created:
            with contextlib.suppress(OSError):  # not empty: there is a run
                folder.rmdir()


def check_place(run: str | Path, *, force: bool = False) -> None:
    """Check, writing nothing, that :func:`lock` could lock the folder ``run``, or make it.

    Raises:
        CheckpointError: it cannot be written, it is a link or holds one, or it holds files of
            others that would be overwritten.
    """
    folder = Path(run)
    try:
        files.refuse_link(folder)
        if folder.exists():
            _check_own(folder, force=force)
        place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError as error:
        raise CheckpointError(f"cannot be written: {reason(error)}", path=folder) from error
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        what = "no permission" if place.is_dir() else "it is no folder"
        raise CheckpointError(f"cannot be written: {place}: {what}", path=folder)


def check_links(folder: Path) -> None:
    """Refuse a folder that is a link or holds one: what is written there would go elsewhere.

    Raises:
        CheckpointError: with the path of the link.
    """
    try:
        links = files.links_in(folder)
    except OSError as error:
        raise CheckpointError(f"cannot be read: {reason(error)}", path=folder) from error
    if links:
        what = "is a link, and nothing of a run is written through a link: delete it"
        raise CheckpointError(what, path=links[0])


def _check_own(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds a link, or without ``force`` files of others to be overwritten."""
    check_links(folder)
    if not force and (others := foreign_files(folder)):
        what = f"holds {' and '.join(others[:3])} of something else than a run"
        hint = f"{argument('run')} names another folder, {argument('force', True)} overwrites"
        raise CheckpointError(f"{what}: {hint}", path=folder)


def _hold(folder: Path) -> int:
    """The descriptor of the lock file, locked, with the number of this process in it.

    Raises:
        CheckpointError: a file of this name is there, and no run has made it.
        BusyError, OSError: as :func:`charseq.files.lock`.
    """
    handle = files.lock(folder / LOCK, flags=PLAIN, parents=True)
    try:
        content = os.pread(handle, 64, 0).strip(b"\0")  # zeros: after a power cut
        if content and not content.isdigit():
            raise CheckpointError("is no lock of a run: move it, or delete it", path=folder / LOCK)
        os.truncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
    except (OSError, CheckpointError):
        os.close(handle)
        raise
    return handle
