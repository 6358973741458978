"""cell weights, states and inputs -> states: what networks in NumPy compute with, text by text.

Same text, same answer. In a product ``X @ W`` with one row per text, the bits of a row change with
the number of rows and with its place, because the library picks other kernels. So texts are lanes:
blocks of 16 texts side by side, states as G H 16 (G blocks), and every product is ``W @ X`` with
X of exactly 16 columns, the last block filled up with idle lanes. Sums run over an axis that is not
the contiguous one, so they add in a fixed order. What is computed for a text then depends on that
text alone, to the last bit. The number of threads does not matter either: networks compute with
``one_thread``.

Gates need a sigmoid: σ(x) = ½ tanh(x/2) + ½, with the inner ½ multiplied into the weights, which
changes no bit since it is a power of two. It knows no vocabularies and no networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charseq.kernels.openblas import OneThread, find_openblas

if TYPE_CHECKING:
    from jaxtyping import Float32, Int

BLOCK = 16
"""Texts in a block."""

one_thread = OneThread(find_openblas())
"""The limit under which every product of these networks is computed."""

GATES = {"tanh": 1, "residual": 1, "gru": 3, "lstm": 4}
STATES = {"tanh": 1, "residual": 1, "gru": 1, "lstm": 2}
_SIGMOID_GATES = {"tanh": (), "residual": (), "gru": (0, 1), "lstm": (0, 1, 3)}


@dataclass(frozen=True)
class CellWeights:
    """One cell's matrices, the sigmoid gates' rows already halved."""

    input: Float32[np.ndarray, "GH I"]
    bias: Float32[np.ndarray, "GH 1"]
    recurrent: Float32[np.ndarray, "GH H"]

    @one_thread
    def table(self, embedding: Float32[np.ndarray, "V I"]) -> Float32[np.ndarray, "V GH"]:
        """W_x E^T + b: the projected input of every symbol, so that x_t costs one gather."""
        return np.ascontiguousarray((np.matmul(self.input, embedding.T) + self.bias).T)


def scale_cell(weights: Mapping[str, np.ndarray], name: str, cell: str) -> CellWeights:
    """A cell's matrices with the rows of its sigmoid gates halved."""
    recurrent = weights[f"{name}.recurrent"].copy()
    given = weights[f"{name}.input"].copy()
    bias = weights[f"{name}.bias"].copy()
    size = recurrent.shape[1]
    for gate in _SIGMOID_GATES[cell]:
        for matrix in (recurrent, given, bias):
            matrix[gate * size : (gate + 1) * size] *= np.float32(0.5)
    return CellWeights(given, bias[:, None], recurrent)


def cell_step(
    cell: str,
    recurrent: Float32[np.ndarray, "GH H"],
    projected: Float32[np.ndarray, "G GH 16"],
    state: Float32[np.ndarray, "K G H 16"],
    after: Float32[np.ndarray, "K G H 16"],
) -> None:
    """One step of a cell, written into ``after``; the equations are those of ``bptt``."""
    hidden = state[0]
    size = hidden.shape[1]
    product = np.matmul(recurrent, hidden)
    if cell in ("tanh", "residual"):
        product += projected
        np.tanh(product, out=after[0])
        if cell == "residual":
            after[0] += hidden
    elif cell == "gru":
        gates = product[:, : 2 * size]
        gates += projected[:, : 2 * size]
        _sigmoid(gates)
        new = product[:, 2 * size :]
        new *= gates[:, :size]
        new += projected[:, 2 * size :]
        np.tanh(new, out=new)
        np.subtract(hidden, new, out=after[0])
        after[0] *= gates[:, size:]
        after[0] += new
    else:
        product += projected
        _sigmoid(product[:, : 2 * size])
        np.tanh(product[:, 2 * size : 3 * size], out=product[:, 2 * size : 3 * size])
        _sigmoid(product[:, 3 * size :])
        np.multiply(product[:, size : 2 * size], state[1], out=after[1])
        after[1] += product[:, :size] * product[:, 2 * size : 3 * size]
        np.tanh(after[1], out=after[0])
        after[0] *= product[:, 3 * size :]


def run_cell(
    cell: str,
    recurrent: Float32[np.ndarray, "GH H"],
    projected: Float32[np.ndarray, "S G GH 16"],
    state: Float32[np.ndarray, "K G H 16"],
) -> Float32[np.ndarray, "S K G H 16"]:
    """The states after every step of one layer, from ``state``."""
    states = np.empty((len(projected) + 1, *state.shape), dtype=np.float32)
    states[0] = state
    for step in range(len(projected)):
        cell_step(cell, recurrent, projected[step], states[step], states[step + 1])
    return states[1:]


def pick_rows(
    hidden: Float32[np.ndarray, "L K G H 16"], rows: Int[np.ndarray, "M"]
) -> Float32[np.ndarray, "L K F H 16"]:
    """The states of ``rows``, which may come again or be left out, in F blocks of their own."""
    layers, kept, _, size, _ = hidden.shape
    lanes = -(-len(rows) // BLOCK) * BLOCK
    padded = np.zeros(lanes, dtype=np.int64)
    padded[: len(rows)] = rows
    chosen = hidden[:, :, padded // BLOCK, :, padded % BLOCK]
    # an index array on both sides of a slice puts the rows first: M L K H
    blocks = chosen.reshape(lanes // BLOCK, BLOCK, layers, kept, size)
    return np.ascontiguousarray(blocks.transpose(2, 3, 0, 4, 1))


def log_softmax(logits: Float32[np.ndarray, "G V 16"], rows: int) -> Float32[np.ndarray, "N V"]:
    """Over the symbols, which are not the contiguous axis; the idle lanes are left out."""
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(add_up(np.exp(logits)))
    return to_rows(logits)[:rows]


def add_up(values: Float32[np.ndarray, "N S K"]) -> Float32[np.ndarray, "N 1 K"]:
    """The sum over the middle axis, added in its order: NumPy keeps it where the last axis is > 1.

    With a last axis of one, the middle one would be contiguous and summed in pairs, in an order of
    the library's choosing; that order still depends on the length of the axis alone.
    """
    total: np.ndarray = values.sum(axis=1, keepdims=True)
    return total


def to_blocks(rows: Float32[np.ndarray, "N *S I"]) -> Float32[np.ndarray, "*S G I 16"]:
    """Rows (N a multiple of 16), or sequences of rows, as blocks of lanes, time first."""
    lanes = rows.shape[0]
    split = rows.reshape(lanes // BLOCK, BLOCK, *rows.shape[1:])
    axes = (0, 2, 1) if rows.ndim == 2 else (2, 0, 3, 1)
    return np.ascontiguousarray(split.transpose(axes))


def to_rows(blocks: Float32[np.ndarray, "*S G I 16"]) -> Float32[np.ndarray, "N *S I"]:
    """The inverse of :func:`to_blocks`."""
    axes = (0, 2, 1) if blocks.ndim == 3 else (1, 3, 0, 2)
    turned = blocks.transpose(axes)
    return np.ascontiguousarray(turned).reshape(-1, *turned.shape[2:])


def _sigmoid(halved: Float32[np.ndarray, "G H 16"]) -> None:
    """σ of twice the values, in place."""
    np.tanh(halved, out=halved)
    halved *= np.float32(0.5)
    halved += np.float32(0.5)
