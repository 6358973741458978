"""cell weights, states, inputs -> states: the blocked layout of the networks in NumPy.

Same text, same answer. In a product ``X @ W`` with one row per text, the bits of a row depend on
the number of rows and on its index, because BLAS chooses its kernel by the shape. So texts are
columns of blocks: 16 texts side by side, states as G H 16 (G blocks), the last block padded. Every
product is ``W @ X`` with exactly 16 columns, on one thread (``one_thread``). Sums run over an axis
that is not contiguous, so their order is fixed. Then the bits of a text depend on that text alone.

Gates need σ(x) = ½ tanh(x/2) + ½. The inner ½ is multiplied into the weights, which changes no bit
since it is a power of two. A cell is an entry of ``kernels.cell_table`` and of ``STEPS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charseq.kernels.cell_table import CELLS
from charseq.kernels.openblas import OneThread, find_openblas

if TYPE_CHECKING:
    from jaxtyping import Float32, Int

BLOCK = 16
"""Texts in a block."""

one_thread = OneThread(find_openblas())
"""The limit under which every product of these networks is computed."""

Array = np.ndarray


@dataclass(frozen=True)
class CellWeights:
    """One cell's matrices; the rows of sigmoid gates are halved."""

    input: Float32[np.ndarray, "GH I"]
    bias: Float32[np.ndarray, "GH 1"]
    recurrent: Float32[np.ndarray, "GH H"]

    @one_thread
    def table(self, embedding: Float32[np.ndarray, "V I"]) -> Float32[np.ndarray, "V GH"]:
        """W_x E^T + b: the projected input of every symbol, so that a step needs only a gather."""
        return np.ascontiguousarray((np.matmul(self.input, embedding.T) + self.bias).T)


def scale_cell(weights: Mapping[str, np.ndarray], name: str, cell: str) -> CellWeights:
    """A cell's matrices with the rows of its sigmoid gates halved."""
    recurrent = weights[f"{name}.recurrent"].copy()
    inputs = weights[f"{name}.input"].copy()
    bias = weights[f"{name}.bias"].copy()
    size = recurrent.shape[1]
    for gate in CELLS[cell].sigmoid_gates:
        for matrix in (recurrent, inputs, bias):
            matrix[gate * size : (gate + 1) * size] *= np.float32(0.5)
    return CellWeights(inputs, bias[:, None], recurrent)


def cell_step(
    cell: str,
    recurrent: Float32[np.ndarray, "GH H"],
    projected: Float32[np.ndarray, "G GH 16"],
    state: Float32[np.ndarray, "K G H 16"],
    after: Float32[np.ndarray, "K G H 16"],
) -> None:
    """One step of a cell, written into ``after``; the equations are those of ``kernels.bptt``."""
    STEPS[cell](np.matmul(recurrent, state[0]), projected, state, after)


def _step_tanh(product: Array, projected: Array, _state: Array, after: Array) -> None:
    product += projected
    np.tanh(product, out=after[0])


def _step_residual(product: Array, projected: Array, state: Array, after: Array) -> None:
    product += projected
    np.tanh(product, out=after[0])
    after[0] += state[0]


def _step_gru(product: Array, projected: Array, state: Array, after: Array) -> None:
    hidden = state[0]
    size = hidden.shape[1]
    gates = product[:, : 2 * size]
    gates += projected[:, : 2 * size]
    sigmoid(gates)
    new = product[:, 2 * size :]
    new *= gates[:, :size]
    new += projected[:, 2 * size :]
    np.tanh(new, out=new)
    np.subtract(hidden, new, out=after[0])
    after[0] *= gates[:, size:]
    after[0] += new


def _step_lstm(product: Array, projected: Array, state: Array, after: Array) -> None:
    size = state.shape[2]
    product += projected
    sigmoid(product[:, : 2 * size])
    np.tanh(product[:, 2 * size : 3 * size], out=product[:, 2 * size : 3 * size])
    sigmoid(product[:, 3 * size :])
    np.multiply(product[:, size : 2 * size], state[1], out=after[1])
    after[1] += product[:, :size] * product[:, 2 * size : 3 * size]
    np.tanh(after[1], out=after[0])
    after[0] *= product[:, 3 * size :]


STEPS: dict[str, Callable[[Array, Array, Array, Array], None]] = {
    "tanh": _step_tanh,
    "residual": _step_residual,
    "gru": _step_gru,
    "lstm": _step_lstm,
}
"""(W_h h, G GH 16, to be overwritten; projected inputs; state; state after), for each cell."""


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
    """The states of ``rows``, repeated, reordered or left out, in F new blocks."""
    layers, states, _, size, _ = hidden.shape
    columns = -(-len(rows) // BLOCK) * BLOCK
    padded = np.zeros(columns, dtype=np.int64)
    padded[: len(rows)] = rows
    chosen = hidden[:, :, padded // BLOCK, :, padded % BLOCK]
    # index arrays on both sides of a slice put the rows first: M L K H
    blocks = chosen.reshape(columns // BLOCK, BLOCK, layers, states, size)
    return np.ascontiguousarray(blocks.transpose(2, 3, 0, 4, 1))


def log_softmax(logits: Float32[np.ndarray, "G V 16"], rows: int) -> Float32[np.ndarray, "N V"]:
    """Log-softmax over the symbols, row by row; the padding of the last block is left out."""
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(sum_rows(np.exp(logits)))
    return to_rows(logits)[:rows]


def sum_rows(values: Float32[np.ndarray, "N S K"]) -> Float32[np.ndarray, "N 1 K"]:
    """The sum over the middle axis, in the order of that axis where the last axis is longer than 1.

    With a last axis of 1 the middle one is contiguous, and NumPy sums it pairwise, in an order that
    depends on the length of the axis alone.
    """
    total: np.ndarray = values.sum(axis=1, keepdims=True)
    return total


def to_blocks(rows: Float32[np.ndarray, "N *S I"]) -> Float32[np.ndarray, "*S G I 16"]:
    """Rows (N a multiple of 16), or sequences of rows, in blocks, time first."""
    split = rows.reshape(rows.shape[0] // BLOCK, BLOCK, *rows.shape[1:])
    axes = (0, 2, 1) if rows.ndim == 2 else (2, 0, 3, 1)
    return np.ascontiguousarray(split.transpose(axes))


def to_rows(blocks: Float32[np.ndarray, "*S G I 16"]) -> Float32[np.ndarray, "N *S I"]:
    """The inverse of :func:`to_blocks`."""
    axes = (0, 2, 1) if blocks.ndim == 3 else (1, 3, 0, 2)
    split = blocks.transpose(axes)
    return np.ascontiguousarray(split).reshape(-1, *split.shape[2:])


def sigmoid(halved: Float32[np.ndarray, "G H 16"]) -> None:
    """σ(2x) of the values x, in place: the weights of sigmoid gates are halved."""
    np.tanh(halved, out=halved)
    halved *= np.float32(0.5)
    halved += np.float32(0.5)
