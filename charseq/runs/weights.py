"""Arrays by name <-> the bytes of a safetensors file, which are checked before use.

A safetensors file is 8 bytes with the length of the header, a JSON header (name -> type, shape,
first byte, byte after the last), and the numbers.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
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
_RANKS = ("BOOL", "U8", "I8", "I16", "U16", "F16", "I32", "U32", "F32", "F64", "I64", "U64")
"""Types in the order in which the library sorts them, the last first."""
_TYPES = {
    "|b1": "BOOL", "|u1": "U8", "|i1": "I8", "<u2": "U16", "<i2": "I16", "<f2": "F16",
    "<u4": "U32", "<i4": "I32", "<f4": "F32", "<u8": "U64", "<i8": "I64", "<f8": "F64",
}  # fmt: skip
"""NumPy's names of the types."""
NUMBER_TYPES = tuple(_ITEM_BYTES)
WEIGHT_TYPES = ("F16", "F32")
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 16 * 2**20
_MAX_NUMBER = 2**40
_MAX_AXES = 8
_CHECKED_AT_ONCE = 2**20
"""Numbers that are checked at a time, so that a check takes little memory."""


class ArrayFile:
    """The bytes of a safetensors file, in parts that are the memory of its arrays, not copies.

    The arrays have any shape and number type; equal arrays give equal bytes. ``len`` is the number
    of bytes. The arrays must stay as they are until the last part is written.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Check that the arrays can be stored.

        Raises:
            CheckpointError: a number is NaN or infinite, or a type cannot be stored.
        """
        check_finite({name: arrays[name] for name in sorted(arrays)})
        head, order = _header(arrays)
        self._head = head
        self._arrays = [arrays[name] for name in order]
        self._size = len(head) + sum(array.nbytes for array in self._arrays)
        read_header(io.BytesIO(head), self._size, None, tuple(_ITEM_BYTES))  # as a reader does

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes | memoryview]:
        yield self._head
        for array in self._arrays:
            plain = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
            yield plain.reshape(-1).view(np.uint8).data


def _header(arrays: Mapping[str, np.ndarray]) -> tuple[bytes, list[str]]:
    """The bytes before the numbers, and the names of the arrays in the order of their numbers.

    They are those of the library: the widest numbers come first, then names in order.

    Raises:
        CheckpointError: a type that cannot be stored.
    """
    header: dict[str, Any] = {}
    kinds = {name: array.dtype.newbyteorder("<").str for name, array in arrays.items()}
    for name, array in arrays.items():
        if kinds[name] not in _TYPES:
            raise CheckpointError(f"arrays cannot be stored: {shown(name)} is {array.dtype}")
    rank = {name: number for number, name in enumerate(_RANKS)}
    order = sorted(arrays, key=lambda name: (-rank[_TYPES[kinds[name]]], name))
    end = 0
    for name in order:
        begin, end = end, end + arrays[name].nbytes
        header[name] = {
            "dtype": _TYPES[kinds[name]],
            "shape": list(arrays[name].shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text, order


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
        if array.dtype.kind in "fc" and not _is_finite(array):
            raise CheckpointError(f"{shown(name)} holds NaN or infinity", path=path)


def _is_finite(array: np.ndarray) -> bool:
    """Whether all numbers are finite; an array in one piece is checked without copies."""
    flat = array.reshape(-1)
    return all(
        np.isfinite(flat[first : first + _CHECKED_AT_ONCE]).all()
        for first in range(0, len(flat), _CHECKED_AT_ONCE)
    )


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
