"""Cell name -> gates, states, and the fast paths that know the cell.

A recurrent cell is one module class (``models.cells``), one NumPy step (``decoding.blocks``) and
one entry here. A fast path that an entry does not name is not taken: training then runs the
hand-derived BPTT (``kernels.bptt``) or, without one, autograd, and prediction runs NumPy.
"""

from __future__ import annotations

from typing import NamedTuple


class TritonLimits(NamedTuple):
    """Where the Triton kernel of a cell is used (``rnn_fused``), as measured."""

    max_units: int
    max_rows: int
    """Rows of the batch in one program."""
    min_batch: int = 0
    """Rows of the batch from which it is faster than cuDNN, where that has the cell."""


class NativeCell(NamedTuple):
    """A cell of the compiled library."""

    number: int
    """In ``enum cell`` of ``native/native.h``."""
    saved: int
    """Values of a unit that a training step saves for the backward pass."""


class CellEntry(NamedTuple):
    """Shape of a cell's weights and state, and its fast paths."""

    gates: int
    """Blocks of H rows in each weight matrix."""
    states: int = 1
    """K: 1 (h) or 2 (h and c); the first is the output."""
    sigmoid_gates: tuple[int, ...] = ()
    """Gates whose weights inference halves, so that σ(x) is computed as ½ tanh(x/2) + ½."""
    native: NativeCell | None = None
    cudnn: bool = False
    triton: TritonLimits | None = None


CELLS: dict[str, CellEntry] = {
    "tanh": CellEntry(1, native=NativeCell(0, 0), triton=TritonLimits(1024, 64)),
    "residual": CellEntry(1, native=NativeCell(1, 1), triton=TritonLimits(1024, 64)),
    "gru": CellEntry(
        3,
        sigmoid_gates=(0, 1),
        native=NativeCell(2, 4),
        cudnn=True,
        triton=TritonLimits(256, 32, min_batch=1024),
    ),
    "lstm": CellEntry(4, states=2, sigmoid_gates=(0, 1, 3), native=NativeCell(3, 5), cudnn=True),
}
