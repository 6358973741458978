"""arrays -> rows of whole vectors: how compiled kernels want their numbers.

A row is filled up with zeros to a multiple of ``WIDE``, so that no loop over it leaves a rest.
"""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32, Shaped

WIDE = 16
"""Numbers in a vector."""


def address(array: Shaped[np.ndarray, "..."]) -> int:
    """Where an array's numbers are in memory."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    except (TypeError, ValueError):  # of what may not be written, or is empty: three times as slow
        return int(array.ctypes.data)


def empty(*shape: int) -> Float32[np.ndarray, "..."]:
    """An array that begins where a line of the cache does."""
    size = math.prod(shape)
    room = np.empty(size + WIDE, dtype=np.float32)
    begin = -(address(room) // 4) % WIDE
    return room[begin : begin + size].reshape(shape)


def zeros(*shape: int) -> Float32[np.ndarray, "..."]:
    """The same, filled."""
    array = empty(*shape)
    array[...] = 0.0
    return array


def wide(size: int) -> int:
    """Whole vectors for so many numbers."""
    return -(-size // WIDE) * WIDE


def widen(rows: Float32[np.ndarray, "*N W"], fill: float = 0.0) -> Float32[np.ndarray, "*N V"]:
    """Rows filled up to whole vectors."""
    array = empty(*rows.shape[:-1], wide(rows.shape[-1]))
    array[..., : rows.shape[-1]] = rows
    array[..., rows.shape[-1] :] = fill
    return array


def interleave(gates: int, rows: Float32[np.ndarray, "GH I"]) -> Float32[np.ndarray, "GW I"]:
    """Rows of a cell, gate after gate, in the order of steps: sixteen units, all their gates."""
    split = rows.reshape(gates, len(rows) // gates, rows.shape[1])
    padded = np.zeros((gates, wide(split.shape[1]), rows.shape[1]), dtype=np.float32)
    padded[:, : split.shape[1]] = split
    turned = padded.reshape(gates, -1, WIDE, rows.shape[1]).transpose(1, 0, 2, 3)
    return np.ascontiguousarray(turned).reshape(-1, rows.shape[1])
