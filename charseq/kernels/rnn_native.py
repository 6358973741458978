"""projected inputs, recurrent matrices, first state -> outputs, final state: ``bptt`` compiled.

The same mathematics as ``bptt``, of which it knows nothing, with all that lies between two products
of a step in one pass over memory (``native/unroll.c``). The products are torch's, a step at a time;
where the processor multiplies bfloat16 and that is the format, the library makes them as well and
one call does all steps.

Letters as in ``bptt``, but time comes first and directions lie side by side: what a direction reads
or says stands where the input lies, so nothing is turned round outside. In bfloat16 all that is
multiplied is, and what goes on from step to step stays float32.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from charseq.kernels import library, matmul

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charseq.kernels.library import Kernels

CELLS = ("tanh", "residual", "gru", "lstm")
GATES = {"tanh": 1, "residual": 1, "gru": 3, "lstm": 4}
KEPT = {"tanh": 0, "residual": 1, "gru": 4, "lstm": 5}
"""Values of a unit that a step keeps for the way back."""


class Loop(ctypes.Structure):
    """``struct loop`` of ``native/unroll.h``."""

    _fields_ = (
        *(
            (name, ctypes.c_int64)
            for name in (
                "cell", "level", "coarse", "directions", "steps", "batch", "hidden",
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


def fits(state: Tensor, inputs: Tensor) -> bool:
    """Whether the library is there and computes with such states and inputs."""
    kind = state.device.type
    low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype
    return (
        kind == "cpu"
        and state.dtype == torch.float32
        and low in (torch.float32, torch.bfloat16)
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
        gates = initial.new_empty(directions, steps, batch, KEPT[cell] * hidden)
        before, outputs = projected.new_empty(2, steps, batch, directions * hidden)
        final = initial.new_empty(kept, batch, directions * hidden)
        current = weights.room(batch, hidden)
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
        wide = directions * GATES[ctx.cell] * hidden
        collected = before.new_empty(*before.shape[:2], wide)
        through = torch.empty_like(collected) if ctx.cell == "gru" else collected
        delta = states.new_zeros(kept, directions, batch, hidden)
        current = weights.room(batch, GATES[ctx.cell] * hidden)
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
        of_gates = through.view(-1, directions, GATES[ctx.cell] * hidden).unbind(1)
        of_states = before.view(-1, directions, hidden).unbind(1)
        found = [
            weights.gradient(gate, state) for gate, state in zip(of_gates, of_states, strict=True)
        ]
        return None, collected, None, delta, *found


class _Weights:
    """The recurrent matrices as a product wants them: packed for the library's, or not."""

    def __init__(self, matrices: Sequence[Tensor], low: torch.dtype) -> None:
        self.matrices = [matrix.contiguous() for matrix in matrices]
        self.low = low
        self.packed = low == torch.bfloat16 and matmul.available()

    def room(self, batch: int, width: int) -> Tensor:
        """D rows width: of what is multiplied in a step."""
        if self.packed:
            batch, width = _up(batch), _up(width)
        make = torch.zeros if self.packed else torch.empty
        return make(len(self.matrices), batch, width, dtype=self.low)

    def pack(self, *, back: bool) -> Tensor:
        """All matrices in the order of the library's products, for W h or for W^T g."""
        wide, hidden = self.matrices[0].shape
        depth, columns = (wide, hidden) if back else (hidden, wide)
        packed = torch.empty(len(self.matrices), _up(depth) * _up(columns), dtype=torch.bfloat16)
        for matrix, room in zip(self.matrices, packed, strict=True):
            side = matmul.side(matrix if back else matrix.T)
            _library().charseq_pack_matrix(
                ctypes.byref(side),
                *map(ctypes.c_int64, (depth, columns)),
                ctypes.c_void_p(room.data_ptr()),
            )
        return packed

    def stack(self, *, back: bool) -> Tensor:
        """D I O, in the format of the products."""
        stacked = torch.stack([matrix.to(self.low) for matrix in self.matrices])
        return stacked if back else stacked.transpose(1, 2).contiguous()

    def gradient(self, gates: Tensor, states: Tensor) -> Tensor:
        """∂L/∂W_h = Σ_t ∂L/∂g_t h_{t-1}^T, one product over all rows and steps."""
        if not self.packed:
            return (gates.T @ states).to(self.matrices[0].dtype)
        return matmul.multiply(gates.T, states, torch.empty_like(self.matrices[0]))


class _Call:
    """The library's struct, and the tensors that it points into."""

    def __init__(self, loop: Loop, **tensors: Tensor | None) -> None:
        self.loop = loop
        self.tensors = {name: value for name, value in tensors.items() if value is not None}
        for name, value in self.tensors.items():
            setattr(loop, name.rstrip("_"), value.data_ptr())

    def forward(self, weights: _Weights) -> None:
        """All steps."""
        if weights.packed:
            self._all(_library().charseq_unroll, weights.pack(back=False))
            return
        matrices = weights.stack(back=False)
        for step in range(self.loop.steps):
            product = torch.bmm(self.tensors["current"], matrices)
            self._one(_library().charseq_unroll, step, product)

    def backward(self, weights: _Weights) -> None:
        """All steps; the gradient of the first state is left in the tensor ``delta``."""
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


def _loop(cell: str, low: Tensor, state: Tensor, lengths: Tensor | None, current: Tensor) -> Loop:
    """The sizes: ``low`` is T B and so on, ``state`` K D B H."""
    steps, batch = low.shape[:2]
    if lengths is not None and (lengths.dtype != torch.int64 or not lengths.is_contiguous()):
        raise ValueError("lengths are expected as int64, side by side")
    return Loop(
        cell=CELLS.index(cell),
        level=_kernels().number,
        coarse=low.dtype == torch.bfloat16,
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


def _up(size: int) -> int:
    """To a multiple of what is multiplied at once."""
    return -(-size // matmul.EDGE) * matmul.EDGE


def _check(done: int) -> None:
    if not done:
        raise MemoryError("no memory for a step of the recurrence")
