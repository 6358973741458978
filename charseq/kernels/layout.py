"""arrays -> rows padded to whole vectors: the memory layout of the compiled kernels.

Rows are padded with zeros to a multiple of ``VECTOR``, so that no loop over a row has a rest.
"""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32, Shaped

VECTOR = 16
"""float32 numbers in a vector of the compiled library (``native/native.h``)."""


def address(array: Shaped[np.ndarray, "..."]) -> int:
    """The memory address of an array's first element."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    except (TypeError, ValueError):  # read-only or empty arrays; three times slower
        return int(array.ctypes.data)


def empty(*shape: int) -> Float32[np.ndarray, "..."]:
    """An uninitialised float32 array that starts at a cache line."""
    size = math.prod(shape)
    buffer = np.empty(size + VECTOR, dtype=np.float32)
    begin = -(address(buffer) // 4) % VECTOR
    return buffer[begin : begin + size].reshape(shape)


def zeros(*shape: int) -> Float32[np.ndarray, "..."]:
    """A float32 array of zeros that starts at a cache line."""
    array = empty(*shape)
    array[...] = 0.0
    return array


def padded_size(size: int) -> int:
    """``size`` rounded up to whole vectors."""
    return -(-size // VECTOR) * VECTOR


def pad_rows(rows: Float32[np.ndarray, "*N W"], fill: float = 0.0) -> Float32[np.ndarray, "*N V"]:
    """Rows padded with ``fill`` to whole vectors."""
    array = empty(*rows.shape[:-1], padded_size(rows.shape[-1]))
    array[..., : rows.shape[-1]] = rows
    array[..., rows.shape[-1] :] = fill
    return array


def interleave(gates: int, rows: Float32[np.ndarray, "GH I"]) -> Float32[np.ndarray, "GW I"]:
    """A cell's rows reordered from gate by gate to sixteen units with all their gates at a time."""
    split = rows.reshape(gates, len(rows) // gates, rows.shape[1])
    padded = np.zeros((gates, padded_size(split.shape[1]), rows.shape[1]), dtype=np.float32)
    padded[:, : split.shape[1]] = split
    blocks = padded.reshape(gates, -1, VECTOR, rows.shape[1]).transpose(1, 0, 2, 3)
    return np.ascontiguousarray(blocks).reshape(-1, rows.shape[1])
