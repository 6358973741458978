"""projected inputs, recurrent matrices, first state -> outputs, final state: BPTT, compiled.

The equations of ``bptt``, with everything between two products of a step in one pass over memory
(``native/unroll.c``). torch makes the products, one a step. Where the processor has products of
bfloat16 and that is the format, the library makes them as well, and one call makes all steps.

Letters as in ``bptt``, but time comes first and directions lie side by side. Both directions index
their arrays by the input's time, so the caller reverses nothing. Factors of products are in the
format of the products (float32 or bfloat16); states and sums stay float32.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from charseq.kernels import library, matmul
from charseq.kernels.cell_table import CELLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charseq.kernels.library import Kernels


class Loop(ctypes.Structure):
    """``struct loop`` of ``native/unroll.h``."""

    _fields_ = (
        *(
            (name, ctypes.c_int64)
            for name in (
                "cell", "level", "bf16", "directions", "steps", "batch", "hidden",
                "first", "end", "rows", "width",
            )
        ),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "lengths", "projected", "product", "weights", "states", "gates", "current",
                "before", "outputs", "final", "arriving", "finally", "delta", "collected",
                "through",
            )
        ),
    )  # fmt: skip


def fits(cell: str, state: Tensor, inputs: Tensor) -> bool:
    """Whether the compiled library is there, has the cell, and computes in these formats."""
    kind = state.device.type
    low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype
    return (
        kind == "cpu"
        and state.dtype == torch.float32
        and low in (torch.float32, torch.bfloat16)
        and library.has_cell(cell)
        and library.find() is not None
    )


class Unrolled(torch.autograd.Function):
    """One layer over all steps, its directions side by side."""

    @staticmethod
    def forward(
        ctx: Any,
        cell: str,
        projected: Tensor,
        lengths: Tensor | None,
        initial: Tensor,
        *recurrent: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """T B DH in the format of ``projected`` and K B DH in float32, from float32 W_h.

        ``projected`` is T B DGH, ``initial`` K D B H, each matrix GH H. Without ``lengths`` every
        row is T long. The second direction reads each row from its last symbol.
        """
        steps, batch, _ = projected.shape
        kept, directions, _, hidden = initial.shape
        low = projected.dtype
        projected = projected.contiguous()
        weights = _Weights(recurrent, low)
        states = initial.new_empty(kept, directions, steps + 1, batch, hidden)
        states[:, :, 0] = initial
        gates = initial.new_empty(directions, steps, batch, saved_values(cell) * hidden)
        before, outputs = projected.new_empty(2, steps, batch, directions * hidden)
        final = initial.new_empty(kept, batch, directions * hidden)
        current = weights.operand(batch, hidden)
        current[:, :batch, :hidden] = initial[0]
        call = _Call(
            _loop(cell, projected, initial, lengths, current),
            lengths=lengths,
            projected=projected,
            states=states,
            gates=gates,
            current=current,
            before=before,
            outputs=outputs,
            final=final,
        )
        call.forward(weights)
        ctx.cell = cell
        ctx.low = low
        ctx.save_for_backward(states, gates, before, lengths, *recurrent)
        return outputs, final

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the projected inputs, the first state and the matrices."""
        states, gates, before, lengths, *recurrent = ctx.saved_tensors
        kept, directions, _, batch, hidden = states.shape
        arriving, at_end = gradients[0].contiguous(), gradients[1].contiguous()
        weights = _Weights(recurrent, ctx.low)
        gate_rows = CELLS[ctx.cell].gates * hidden
        collected = before.new_empty(*before.shape[:2], directions * gate_rows)
        through = torch.empty_like(collected) if ctx.cell == "gru" else collected
        delta = states.new_zeros(kept, directions, batch, hidden)
        current = weights.operand(batch, gate_rows)
        call = _Call(
            _loop(ctx.cell, arriving, delta, lengths, current),
            lengths=lengths,
            states=states,
            gates=gates,
            current=current,
            arriving=arriving,
            finally_=at_end,
            delta=delta,
            collected=collected,
            through=through,
        )
        call.backward(weights)
        of_gates = through.view(-1, directions, gate_rows).unbind(1)
        of_states = before.view(-1, directions, hidden).unbind(1)
        found = [
            weights.gradient(gate, state) for gate, state in zip(of_gates, of_states, strict=True)
        ]
        return None, collected, None, delta, *found


class _Weights:
    """The recurrent matrices in the layout of the products: the library's, packed, or torch's."""

    def __init__(self, matrices: Sequence[Tensor], low: torch.dtype) -> None:
        self.matrices = [matrix.contiguous() for matrix in matrices]
        self.low = low
        self.packed = low == torch.bfloat16 and matmul.available()

    def operand(self, batch: int, width: int) -> Tensor:
        """D rows width: a buffer for the left factor of a step's product."""
        if self.packed:
            batch, width = _round_up(batch), _round_up(width)
        make = torch.zeros if self.packed else torch.empty
        return make(len(self.matrices), batch, width, dtype=self.low)

    def pack(self, *, back: bool) -> Tensor:
        """All matrices packed for the library's products, for W h or with ``back`` for W^T g."""
        gate_rows, hidden = self.matrices[0].shape
        depth, columns = (gate_rows, hidden) if back else (hidden, gate_rows)
        packed = torch.empty(
            len(self.matrices), _round_up(depth) * _round_up(columns), dtype=torch.bfloat16
        )
        for matrix, buffer in zip(self.matrices, packed, strict=True):
            view = matmul.matrix_of(matrix if back else matrix.T)
            _library().charseq_pack_matrix(
                ctypes.byref(view),
                *map(ctypes.c_int64, (depth, columns)),
                ctypes.c_void_p(buffer.data_ptr()),
            )
        return packed

    def stack(self, *, back: bool) -> Tensor:
        """D I O, in the format of the products, for torch."""
        stacked = torch.stack([matrix.to(self.low) for matrix in self.matrices])
        return stacked if back else stacked.transpose(1, 2).contiguous()

    def gradient(self, gates: Tensor, states: Tensor) -> Tensor:
        """∂L/∂W_h = Σ_t ∂L/∂g_t h_{t-1}^T, one product over all rows and steps."""
        if not self.packed:
            return (gates.T @ states).to(self.matrices[0].dtype)
        return matmul.multiply(gates.T, states, torch.empty_like(self.matrices[0]))


class _Call:
    """The library's struct, with the tensors that it points into kept alive."""

    def __init__(self, loop: Loop, **tensors: Tensor | None) -> None:
        self.loop = loop
        self.tensors = {name: value for name, value in tensors.items() if value is not None}
        for name, value in self.tensors.items():
            setattr(loop, name.rstrip("_"), value.data_ptr())

    def forward(self, weights: _Weights) -> None:
        """All steps forward."""
        if weights.packed:
            self._all(_library().charseq_unroll, weights.pack(back=False))
            return
        matrices = weights.stack(back=False)
        for step in range(self.loop.steps):
            product = torch.bmm(self.tensors["current"], matrices)
            self._one(_library().charseq_unroll, step, product)

    def backward(self, weights: _Weights) -> None:
        """All steps backward; the tensor ``delta`` ends as the gradient of the first state."""
        if weights.packed:
            self._all(_library().charseq_unroll_back, weights.pack(back=True))
            return
        matrices, product = weights.stack(back=True), None
        for step in reversed(range(self.loop.steps)):
            self._one(_library().charseq_unroll_back, step, product)
            product = torch.bmm(self.tensors["current"], matrices)
        if product is not None:
            self.tensors["delta"][0] += product

    def _all(self, function: Any, packed: Tensor) -> None:
        self.loop.weights = packed.data_ptr()

        def rows(first: int, end: int) -> None:
            part = Loop.from_buffer_copy(self.loop)
            part.first, part.end = first, end
            _check(function(ctypes.byref(part), ctypes.c_int64(0)))

        matmul.share(rows, self.loop.batch)

    def _one(self, function: Any, step: int, product: Tensor | None) -> None:
        if product is not None:
            self.loop.product = product.data_ptr()
        _check(function(ctypes.byref(self.loop), ctypes.c_int64(step)))


def saved_values(cell: str) -> int:
    """Values of a unit that a step saves for the backward pass."""
    native = CELLS[cell].native
    return 0 if native is None else native.saved


def _loop(cell: str, low: Tensor, state: Tensor, lengths: Tensor | None, current: Tensor) -> Loop:
    """The struct with its sizes; ``low`` has the shape T B ..., ``state`` K D B H."""
    steps, batch = low.shape[:2]
    if lengths is not None and (lengths.dtype != torch.int64 or not lengths.is_contiguous()):
        raise ValueError("lengths must be contiguous int64")
    return Loop(
        cell=library.number_of(cell),
        level=_kernels().number,
        bf16=low.dtype == torch.bfloat16,
        directions=state.shape[1],
        steps=steps,
        batch=batch,
        hidden=state.shape[3],
        end=batch,
        rows=current.shape[1],
        width=current.shape[2],
    )


def _library() -> ctypes.CDLL:
    return _kernels().library


def _kernels() -> Kernels:
    found = library.find()
    if found is None:
        raise RuntimeError("there is no compiled library")
    return found


def _round_up(size: int) -> int:
    """``size`` rounded up to whole blocks of the library's products."""
    return -(-size // matmul.EDGE) * matmul.EDGE


def _check(done: int) -> None:
    if not done:
        raise MemoryError("no memory for a step of the recurrence")
