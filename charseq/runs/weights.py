"""Arrays by name <-> the bytes of a safetensors file, which are checked before use.

A safetensors file is 8 bytes with the length of the header, a JSON header (name -> type, shape,
first byte, byte after the last), and the numbers.
"""

from __future__ import annotations

import io
import json
import math
import mmap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from charseq.errors import CheckpointError
from charseq.runs.untrusted import parse_object, reason, shown

Shapes = dict[str, tuple[int, ...]]

_ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
NUMBER_TYPES = tuple(_ITEM_BYTES)
WEIGHT_TYPES = ("F16", "F32")
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 16 * 2**20
_MAX_NUMBER = 2**40
_MAX_AXES = 8


def save_arrays(
    arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of arrays of any shape and number type; equal arrays give equal bytes.

    ``metadata`` are stored as JSON under the one key ``charseq``: the order in which safetensors
    writes several keys differs from process to process.

    Raises:
        CheckpointError: a number is NaN or infinite, or a type cannot be stored.
        MemoryError: there is not enough memory for the bytes.
    """
    plain = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
    check_finite(plain)
    notes = {"charseq": json.dumps(dict(metadata), sort_keys=True)} if metadata else None
    _require_memory(2 * sum(array.nbytes for array in plain.values()))  # Rust's and Python's copy
    try:
        content = safetensors.save(plain, notes)
    except (SafetensorError, TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"arrays cannot be stored: {reason(error)}") from error
    read_header(io.BytesIO(content), len(content), None, tuple(_ITEM_BYTES))  # as a reader does
    return content


def _require_memory(size: int) -> None:
    """Raise MemoryError where ``size`` bytes are not free: Rust would end the process."""
    try:
        mmap.mmap(-1, size + 1).close()  # its pages are never touched
    except (OSError, OverflowError) as error:
        raise MemoryError(f"no memory for the {size / 1e6:,.0f} MB of a save") from error


def load_arrays(data: bytes, *, path: Path | None = None) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file; ``path`` is named in errors.

    Raises:
        CheckpointError: sizes, types or shapes contradict the file's length.
    """
    read_header(io.BytesIO(data), len(data), path, NUMBER_TYPES)
    try:
        return dict(safetensors.load(data))
    except (SafetensorError, ValueError, OverflowError) as error:
        raise CheckpointError(f"is damaged: {reason(error)}", path=path) from error


def load_weights(data: bytes, path: Path, shapes: Shapes) -> dict[str, np.ndarray]:
    """The weights of a safetensors file, which must have the names and shapes ``shapes``.

    Raises:
        CheckpointError: as :func:`load_arrays`, or they are others, or not finite.
    """
    if read_header(io.BytesIO(data), len(data), path, WEIGHT_TYPES) != shapes:
        raise CheckpointError("is damaged: these are not the run's weights", path=path)
    arrays = load_arrays(data, path=path)
    check_finite(arrays, path)
    return arrays


def check_arrays(data: bytes, path: Path) -> Shapes:
    """The shapes of a safetensors file whose numbers are all finite.

    Raises:
        CheckpointError: as :func:`load_arrays`, or a number is NaN or infinite.
    """
    arrays = load_arrays(data, path=path)
    check_finite(arrays, path)
    return {name: array.shape for name, array in arrays.items()}


def check_finite(arrays: Mapping[str, np.ndarray], path: Path | None = None) -> None:
    """Raise CheckpointError for an array with an infinite value or NaN."""
    for name, array in arrays.items():
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            raise CheckpointError(f"{shown(name)} holds NaN or infinity", path=path)


def header_of(file: BinaryIO, size: int, path: Path | None) -> bytes:
    """The JSON of the header of a safetensors file of ``size`` bytes.

    Raises:
        CheckpointError: its length is not that of a header.
    """
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if length > min(size - _LENGTH_BYTES, _MAX_HEADER_BYTES):
        what = f"is damaged: no safetensors header fits its {size} bytes"
        raise CheckpointError(what, path=path)
    return file.read(length)


def read_header(file: BinaryIO, size: int, path: Path | None, types: Iterable[str]) -> Shapes:
    """The shapes in the header of a safetensors file of ``size`` bytes; the numbers are not read.

    Raises:
        CheckpointError: the header is damaged, or has a type that is not in ``types``.
    """
    content = header_of(file, size, path)
    length, header = len(content), parse_object(content, path)
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
    """(shape, (first byte, byte after the last)) of an array in the header."""
    match item:
        case {"dtype": str(kind), "shape": [*shape], "data_offsets": [begin, end]}:
            numbers = [*shape, begin, end]
            if kind in _ITEM_BYTES and kind not in types:
                wanted = " or ".join(types)
                raise CheckpointError(f"{shown(name)} is {kind}, expected {wanted}", path=path)
            plain = all(type(n) is int and 0 <= n <= _MAX_NUMBER for n in numbers)
            if (
                kind in _ITEM_BYTES
                and plain
                and len(shape) <= _MAX_AXES
                and math.prod(shape) * _ITEM_BYTES[kind] == end - begin
            ):
                return tuple(shape), (begin, end)
    raise CheckpointError(f"is damaged: bad type, shape or place of {shown(name)}", path=path)
