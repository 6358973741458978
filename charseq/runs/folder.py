"""folder <-> (about, weights, resume state), all or nothing.

It knows no network and no training: ``about.json`` says how the weights were made, weights are
float arrays with names, both are untrusted until they are checked here. The shapes that the
settings call for are known to whoever builds the network.

Bytes are kept by ``store``, whose functions are part of this room's door. Arrays are
safetensors: 8 bytes with the header's length, a JSON header (name -> type, shape, first and last
byte), then the numbers. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from charseq.errors import CheckpointError
from charseq.runs.store import (
    FORMAT,
    PLAIN,
    FolderState,
    absence,
    check_format,
    consistently,
    fetch,
    names,
    open_file,
    parse_object,
    publish,
    read,
    read_all,
    reason,
    remove,
    state_of,
)
from charseq.runs.weights import WEIGHT_TYPES, Shapes, check_finite, load_arrays, read_header

__all__ = [
    "ABOUT",
    "FORMAT",
    "WEIGHTS",
    "find",
    "is_finished",
    "load_model",
    "lock",
    "names",
    "publish",
    "read",
    "read_all",
    "read_json",
    "remove",
]

ABOUT = "about.json"
WEIGHTS = "model.safetensors"
LOCK = ".lock"
# What every reader of about.json relies on; further keys are welcome.
SCHEMA: dict[str, type] = {"format": int, "finished": bool, "settings": dict}
_JSON_NAMES = {int: "a whole number", bool: "true or false", dict: "an object"}


def load_model(
    run: str | Path, *, check: Callable[[dict[str, Any], Shapes], None] | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(about, weights): what the run says of itself, and its arrays by name, as float32.

    ``check(about, shapes)`` may refuse, by raising CheckpointError, before any weight is read.

    Raises:
        CheckpointError: missing, damaged, written by a newer charseq, or a weight that is no
            finite float16 or float32.
    """
    path = Path(run) / WEIGHTS

    def load(state: FolderState) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        about = _about(fetch(state, ABOUT), path.parent)
        with open_file(state, WEIGHTS) as file:
            size = os.fstat(file.fileno()).st_size
            shapes = read_header(file, size, path, WEIGHT_TYPES)
        if check is not None:
            check(about, shapes)
        weights = load_arrays(fetch(state, WEIGHTS), path=path)
        check_finite(weights, path)
        return about, {name: array.astype(np.float32) for name, array in weights.items()}

    return consistently(run, load)


def is_finished(run: str | Path) -> bool:
    """Whether a run is there and its training came to its end.

    Raises:
        CheckpointError: the run is damaged.
    """
    if ABOUT not in names(run):
        return False
    return bool(_about(read(run, ABOUT), Path(run))["finished"])


def read_json(run: str | Path, name: str) -> dict[str, Any]:
    """One file of the run as a JSON object.

    Raises:
        CheckpointError: as :func:`charseq.runs.store.read`, or the file is no JSON object.
    """
    return parse_object(read(run, name), Path(run) / name)


def _about(content: bytes, folder: Path) -> dict[str, Any]:
    path = folder / ABOUT
    about = parse_object(content, path)
    check_format(about, path)
    for key, kind in SCHEMA.items():
        if type(about.get(key)) is not kind:
            raise CheckpointError(f"is damaged: '{key}' must be {_JSON_NAMES[kind]}", path=path)
    return about


def find(model: str | Path | None = None) -> Path:
    """The run that is meant.

    ``model``, else $CHARSEQ_MODEL, else the newest run with weights below ./checkpoints, else the
    dates model that comes with charseq.

    Raises:
        CheckpointError: the named folder holds no run, or there is none at all.
    """
    named = model or os.environ.get("CHARSEQ_MODEL")
    if named:
        if not names(named):
            raise CheckpointError(absence(Path(named)), path=named)
        return Path(named)
    folders = []
    with contextlib.suppress(OSError):  # there is no such folder, or it may not be listed
        folders = sorted(Path("checkpoints").iterdir())
    found = [(_trained_at(folder), folder) for folder in folders if _trained_at(folder)]
    if found:
        return max(found)[1]
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "checkpoints" / "dates", package.parent / "checkpoints" / "dates"):
        if _trained_at(folder):
            return folder
    raise CheckpointError("there is no trained model here: name one with -m RUN, or train one")


def _trained_at(folder: Path) -> int:
    """When a run's about.json was written, in nanoseconds; 0 where there is no usable model."""
    try:
        state = state_of(folder)
        if WEIGHTS not in state.files:
            return 0
        with open_file(state, ABOUT) as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except CheckpointError:  # damaged: not chosen by itself; whoever names it is told why
        return 0


@contextlib.contextmanager
def lock(run: str | Path) -> Iterator[None]:
    """Hold ``run`` (made if missing) as its one writer; the system frees it if we are killed.

    Raises:
        CheckpointError: another process holds it, or it cannot be locked.
    """
    folder, created = Path(run), False
    try:
        created = not folder.exists()
        handle = _hold(folder)
    except OSError as error:
        raise CheckpointError(f"cannot be locked: {reason(error)}", path=folder) from error
    try:
        yield
    finally:
        # Unlinked while held: whoever opened the old file sees that it is no longer the lock.
        with contextlib.suppress(OSError):  # a lock file left behind locks nothing
            (folder / LOCK).unlink(missing_ok=True)
        os.close(handle)
        if created:
            with contextlib.suppress(OSError):  # not empty: the run is there
                folder.rmdir()


def _hold(folder: Path) -> int:
    """The locked file's handle; retried while an earlier holder is taking the file away."""
    import fcntl  # POSIX only: reading a run works without it

    path = folder / LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, PLAIN | os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                os.truncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
                return handle
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace") or "unknown"
            os.close(handle)
            raise CheckpointError(f"in use by process {holder}", path=folder) from None
        except OSError:
            os.close(handle)
            raise
        os.close(handle)
