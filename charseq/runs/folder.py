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
import io
import json
import math
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from charseq.errors import CheckpointError
from charseq.runs.store import (
    FORMAT,
    PLAIN,
    State,
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
    shown,
    state_of,
)

__all__ = [
    "ABOUT",
    "FORMAT",
    "WEIGHTS",
    "check_arrays",
    "find",
    "is_finished",
    "load_arrays",
    "load_model",
    "lock",
    "names",
    "publish",
    "read",
    "read_all",
    "read_json",
    "remove",
    "save_arrays",
]

ABOUT = "about.json"
WEIGHTS = "model.safetensors"
LOCK = ".lock"
# What every reader of about.json relies on; further keys are welcome.
SCHEMA: dict[str, type] = {"format": int, "finished": bool, "settings": dict}

Shapes = dict[str, tuple[int, ...]]

_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
_WEIGHT_TYPES = ("F16", "F32")
_LENGTH_BYTES = 8
_LARGEST_HEADER = 16 * 2**20
_LARGEST_NUMBER = 2**40
_MOST_AXES = 8
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

    def load(state: State) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        about = _about(fetch(state, ABOUT), path.parent)
        with open_file(state, WEIGHTS) as file:
            size = os.fstat(file.fileno()).st_size
            shapes = _read_header(file, size, path, _WEIGHT_TYPES)
        if check is not None:
            check(about, shapes)
        weights = load_arrays(fetch(state, WEIGHTS), path=path)
        _check_finite(weights, path)
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


def save_arrays(
    arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Arrays of any shape and number type as one safetensors file; equal arrays, equal bytes.

    ``metadata`` is stored under the one key ``charseq``, as JSON: safetensors writes several keys
    in an order that changes from process to process.

    Raises:
        CheckpointError: a number is NaN or infinite, or a type cannot be stored.
        MemoryError: there is no room for the bytes.
    """
    plain = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
    _check_finite(plain)
    notes = {"charseq": json.dumps(dict(metadata), sort_keys=True)} if metadata else None
    _require_memory(2 * sum(array.nbytes for array in plain.values()))  # Rust's and Python's copy
    try:
        return safetensors.save(plain, notes)
    except (SafetensorError, TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"arrays cannot be stored: {reason(error)}") from error


def _require_memory(size: int) -> None:
    """Raise MemoryError where ``size`` bytes cannot be had: Rust ends the process there."""
    try:
        mmap.mmap(-1, size + 1).close()  # nothing of it is touched
    except (OSError, OverflowError) as error:
        raise MemoryError(f"no memory for the {size / 1e6:,.0f} MB of a save") from error


def load_arrays(data: bytes, *, path: Path | None = None) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file; ``path`` is its name in errors.

    Raises:
        CheckpointError: sizes, types or shapes that do not fit the file's length.
    """
    _read_header(io.BytesIO(data), len(data), path, tuple(_SIZES))
    try:
        return dict(safetensors.load(data))
    except (SafetensorError, ValueError, OverflowError) as error:
        raise CheckpointError(f"is damaged: {reason(error)}", path=path) from error


def check_arrays(data: bytes, path: Path) -> Shapes:
    """The shapes of a safetensors file whose numbers are all finite.

    Raises:
        CheckpointError: as :func:`load_arrays`, or a number is NaN or infinite.
    """
    arrays = load_arrays(data, path=path)
    _check_finite(arrays, path)
    return {name: array.shape for name, array in arrays.items()}


def _check_finite(arrays: Mapping[str, np.ndarray], path: Path | None = None) -> None:
    for name, array in arrays.items():
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            raise CheckpointError(f"{shown(name)} holds NaN or infinity", path=path)


def _read_header(file: BinaryIO, size: int, path: Path | None, types: Iterable[str]) -> Shapes:
    """The shapes that a safetensors file of ``size`` bytes declares; its numbers are not read."""
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if length > min(size - _LENGTH_BYTES, _LARGEST_HEADER):
        what = f"is damaged: no safetensors header fits its {size} bytes"
        raise CheckpointError(what, path=path)
    header = parse_object(file.read(length), path)
    header.pop("__metadata__", None)
    shapes: Shapes = {}
    spans = []
    for name, item in header.items():
        shapes[name], span = _check_array(name, item, path, types)
        spans.append(span)
    end = 0
    for begin, stop in sorted(spans):
        if begin != end:
            raise CheckpointError("is damaged: its arrays overlap or leave gaps", path=path)
        end = stop
    if end != size - _LENGTH_BYTES - length:
        what = f"is damaged: its header speaks of {end} bytes of numbers, it holds another count"
        raise CheckpointError(what, path=path)
    return shapes


def _check_array(
    name: str, item: Any, path: Path | None, types: Iterable[str]
) -> tuple[tuple[int, ...], tuple[int, int]]:
    """(shape, (first byte, byte after the last)) of one array in the header."""
    match item:
        case {"dtype": str(kind), "shape": [*shape], "data_offsets": [begin, end]}:
            numbers = [*shape, begin, end]
            if kind in _SIZES and kind not in types:
                wanted = " or ".join(types)
                raise CheckpointError(f"{shown(name)} is {kind}, expected {wanted}", path=path)
            plain = all(type(n) is int and 0 <= n <= _LARGEST_NUMBER for n in numbers)
            if (
                kind in _SIZES
                and plain
                and len(shape) <= _MOST_AXES
                and math.prod(shape) * _SIZES[kind] == end - begin
            ):
                return tuple(shape), (begin, end)
    raise CheckpointError(f"is damaged: bad type, shape or place of {shown(name)}", path=path)
