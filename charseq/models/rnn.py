"""inputs T B I, lengths -> outputs T B DH, final state: a cell over time, layers and directions.

The product W_x x_t of all steps is one matrix product. The loop over time is the first of these
that has the cell (``kernels.cell_table``) and suits the device and the number formats:

    GPU   a Triton kernel (``rnn_fused``), a call of cuDNN (``rnn_cudnn``)
    CPU   the compiled library (``rnn_native``)
    both  the hand-derived BPTT of ``bptt`` as one ``autograd.Function``, or autograd

No step is masked. The backward direction reads each row reversed within its own length, so the
padding of both directions is at the end, where nothing depends on it. The final state is taken at
each row's last symbol; outputs in the padding have no meaning. Time comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from charseq.kernels import rnn_cudnn, rnn_fused, rnn_native
from charseq.kernels.bptt import RECURRENCES, Trace
from charseq.kernels.matmul import linear
from charseq.models.cells import CELLS, Cell
from charseq.models.layers import Dropout, variational_dropout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int


class Recurrence(nn.Module):
    """Layers of one cell, in one direction or both; ``cells[l * D + d]``.

    In training, ``dropout`` applies between layers, with one mask for all steps of a row (Gal &
    Ghahramani 2016), and ``recurrent_dropout`` to the weights W_h, with one mask for the batch
    (DropConnect, Wan et al. 2013; Merity et al. 2018).
    """

    compiled = True
    """Whether the compiled library may be used."""

    def __init__(
        self,
        cell: str,
        inputs: int,
        hidden: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.hidden = hidden
        self.layers = layers
        self.directions = 2 if bidirectional else 1
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        sizes = [inputs] + [hidden * self.directions] * (layers - 1)
        self.cells = nn.ModuleList(
            CELLS[cell](size, hidden) for size in sizes for _ in range(self.directions)
        )
        self.states = CELLS[cell].states

    def forward(
        self,
        inputs: Float[Tensor, "T B I"],
        lengths: Int[Tensor, "B"] | None = None,
        initial: Float[Tensor, "L K B H"] | None = None,
    ) -> tuple[Float[Tensor, "T B DH"], Float[Tensor, "L K B DH"]]:
        """Outputs of the last layer, and every layer's state after each row's last symbol.

        Without ``lengths`` every row is T long. Without ``initial`` the state starts at zero, as it
        always does with two directions. Outputs beyond a row's length have no meaning.
        """
        if not self._is_fused(inputs) and rnn_cudnn.fits(self.cell, inputs):
            return self._run_cudnn(inputs, lengths, initial)
        finals = []
        for layer in range(self.layers):
            if layer:
                inputs = variational_dropout(inputs, self.dropout, training=self.training)
            cells = [self.cells[layer * self.directions + d] for d in range(self.directions)]
            start = self._first_state(initial, layer, inputs)
            if self.compiled and rnn_native.fits(self.cell, start, inputs):
                inputs, final = self._run_native(cells, inputs, lengths, start)
            else:
                inputs, final = self._run_layer(cells, inputs, lengths, start)
            finals.append(final)
        return inputs, torch.stack(finals)

    def _run_cudnn(
        self, inputs: Tensor, lengths: Tensor | None, initial: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`forward`, by calls of cuDNN."""
        low = rnn_cudnn.number_format(self._product_format(inputs))
        padding = rnn_cudnn.padding_mask(len(inputs), lengths, inputs.device)
        finals = []
        for layer in range(self.layers):
            if layer:
                inputs = variational_dropout(inputs, self.dropout, training=self.training)
            start = self._first_state(initial, layer, inputs)
            first = layer * self.directions
            cells: Any = self.cells[first : first + self.directions]
            weights = [(one.input, one.bias, self._drop_weights(one.recurrent)) for one in cells]
            inputs, final = rnn_cudnn.run_layer(
                self.cell, weights, inputs, start, padding=padding, low=low
            )
            finals.append(final)
        return inputs, torch.stack(finals)

    def _is_fused(self, inputs: Tensor) -> bool:
        """Whether a Triton kernel runs each layer."""
        return rnn_fused.fits(
            self.cell, self.hidden, inputs.shape[1], inputs.device, self._product_format(inputs)
        )

    @staticmethod
    def _product_format(inputs: Tensor) -> torch.dtype:
        """The number format of products."""
        kind = inputs.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype

    def _drop_weights(self, recurrent: Tensor) -> Tensor:
        """W_h, in training with ``recurrent_dropout``."""
        if not self.training or not self.recurrent_dropout:
            return recurrent
        dropped: Tensor = Dropout.apply(recurrent, self.recurrent_dropout)
        return dropped

    def _first_state(self, initial: Tensor | None, layer: int, inputs: Tensor) -> Tensor:
        """K D B H: one layer's state before the first step, in the format of the weights."""
        if initial is None:
            like = next(self.parameters())
            return like.new_zeros(self.states, self.directions, inputs.shape[1], self.hidden)
        return initial[layer][:, None]

    def _run_native(
        self, cells: Sequence[Any], inputs: Tensor, lengths: Tensor | None, start: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Outputs T B DH in the format of products, and the final state K B DH, by the library."""
        weight, bias = (
            torch.cat([getattr(cell, name) for cell in cells])
            if len(cells) > 1
            else getattr(cells[0], name)
            for name in ("input", "bias")
        )
        projected = linear(inputs, weight, bias)
        recurrent = [self._drop_weights(cell.recurrent) for cell in cells]
        found: tuple[Tensor, Tensor] = rnn_native.Unrolled.apply(
            self.cell, projected, lengths, start, *recurrent
        )
        return found

    def _run_layer(
        self, cells: Sequence[Any], inputs: Tensor, lengths: Tensor | None, start: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Outputs T B DH and the final state K B DH of one layer, by any loop but the library's."""
        order = None
        if self.directions == 2:
            steps, batch, _ = inputs.shape
            order = reversal(steps, batch, lengths, inputs.device)
        states = self.run_layer(cells, inputs, order, start)
        outputs = list(states.unbind()[0].unbind())
        if order is not None:
            outputs[1] = Permute.apply(outputs[1], order)
        return torch.cat(outputs, dim=-1), _final_state(states, lengths)

    def run_layer(
        self, cells: Sequence[Any], inputs: Tensor, order: Tensor | None, start: Tensor
    ) -> Tensor:
        """K D T B H: the states after every step of one layer, each direction in its own order.

        ``order`` (see :func:`reversal`) reverses the inputs of the second direction, if there is
        one; ``start`` is K D B H.
        """
        if self._is_fused(inputs):
            return self._run_fused(cells, inputs, order, start)
        read = [inputs] if order is None else [inputs, Permute.apply(inputs, order)]
        if self.cell not in RECURRENCES:
            return self._run_autograd(cells, read, start)
        recurrent = torch.stack([cell.recurrent for cell in cells]).transpose(1, 2)
        kind = inputs.device.type
        if torch.is_autocast_enabled(kind):
            recurrent = recurrent.to(torch.get_autocast_dtype(kind))
        recurrent = self._drop_weights(recurrent).contiguous()
        projected = torch.stack(
            [cell.project(one).to(start.dtype) for cell, one in zip(cells, read, strict=True)]
        )
        states: Tensor = Unroll.apply(self.cell, projected, recurrent, start)
        return states

    def _run_autograd(self, cells: Sequence[Any], read: Sequence[Tensor], start: Tensor) -> Tensor:
        """K D T B H of a cell without hand-derived BPTT; ``read`` has each direction's inputs."""
        found = []
        for direction, (cell, inputs) in enumerate(zip(cells, read, strict=True)):
            weights = {"recurrent": self._drop_weights(cell.recurrent)}
            state, states = start[:, direction], []
            for projected in cell.project(inputs).to(start.dtype):
                state = functional_call(cell, weights, (projected, state)).to(start.dtype)
                states.append(state)
            found.append(torch.stack(states, dim=1))
        return torch.stack(found, dim=1)

    def _run_fused(
        self, cells: Sequence[Any], inputs: Tensor, order: Tensor | None, start: Tensor
    ) -> Tensor:
        """K D T B H by one Triton kernel; the input products of both directions are one product."""
        low = self._product_format(inputs)
        inputs = inputs.to(low)
        read = [inputs] if order is None else [inputs, Permute.apply(inputs, order)]
        factors = torch.stack(read).flatten(1, 2)
        weight = torch.stack([cell.input for cell in cells]).to(low).transpose(1, 2)
        bias = torch.stack([cell.bias for cell in cells]).to(low)[:, None]
        projected = torch.baddbmm(bias, factors, weight).unflatten(1, inputs.shape[:2])
        recurrent = torch.stack([cell.recurrent for cell in cells]).transpose(1, 2)
        recurrent = self._drop_weights(recurrent).to(low).contiguous()
        states: Tensor = rnn_fused.Fused.apply(self.cell, projected, recurrent, start)
        return states


class Unroll(torch.autograd.Function):
    """One layer over all steps, with the hand-derived gradients of ``bptt``."""

    @staticmethod
    def forward(
        ctx: Any, cell: str, projected: Tensor, recurrent: Tensor, initial: Tensor
    ) -> Tensor:
        """K D T B H: the states after every step."""
        trace = RECURRENCES[cell][0](projected, recurrent, initial)
        ctx.cell = cell
        ctx.save_for_backward(*trace, recurrent)
        return trace.states[:, :, 1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        """Gradients of the projected inputs, the recurrent weights and the first state."""
        states, gates, recurrent = ctx.saved_tensors
        found = RECURRENCES[ctx.cell][1](Trace(states, gates), recurrent, gradients[0])
        return None, *found


class Permute(torch.autograd.Function):
    """Rows of T B I permuted by an order that is its own inverse."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, order: Tensor) -> Tensor:
        """The same shape, its T B rows reordered."""
        ctx.save_for_backward(order)
        return values.flatten(0, 1).index_select(0, order).view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient, permuted by the same order."""
        (order,) = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        return gradient.flatten(0, 1).index_select(0, order).view_as(gradient), None


def reversal(
    steps: int, batch: int, lengths: Int[Tensor, "B"] | None, device: torch.device
) -> Int[Tensor, "TB"]:
    """Indices into T B that reverse each row within its length and keep its padding."""
    time = torch.arange(steps, device=device)[:, None].expand(steps, batch)
    if lengths is None:
        mirrored = steps - 1 - time
    else:
        mirrored = torch.where(time < lengths, lengths - 1 - time, time)
    return (mirrored * batch + torch.arange(batch, device=device)).flatten()


def unroll_cell(
    cell: Cell, inputs: Float[Tensor, "T B I"], state: Float[Tensor, "K B H"]
) -> Float[Tensor, "K T B H"]:
    """The plain loop over a cell, differentiated by autograd: the reference for ``Unroll``."""
    states = []
    for projected in cell.project(inputs):
        state = cell(projected, state)
        states.append(state)
    return torch.stack(states, dim=1)


def _final_state(states: Tensor, lengths: Tensor | None) -> Tensor:
    """K B DH: the state at each row's last symbol, from K D T B H."""
    count, directions, steps, batch, size = states.shape
    if lengths is None:
        chosen = states[:, :, -1]
    else:
        rows = (lengths - 1) * batch + torch.arange(batch, device=states.device)
        chosen = states.reshape(count, directions, steps * batch, size).index_select(2, rows)
    return chosen.permute(0, 2, 1, 3).reshape(count, batch, directions * size)
