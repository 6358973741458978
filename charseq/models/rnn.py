"""inputs T B I, lengths -> outputs T B DH, final state: a cell over time, layers and directions.

The product W_x x_t of all steps is one matrix product; the loop over time and its gradient are
the hand-derived ones of ``bptt``, run as one ``autograd.Function``. Time comes first.

On a GPU a layer is one kernel for all steps (see ``fused``), else, of gated cells, a call of the
vendor's library (see ``cudnn``), where there are such.

No step is masked. The backward direction reads each row reversed within its own length, so the
padding of both directions lies at the end, where nothing reads it: the final state is taken at
each row's last symbol, and whoever uses the outputs masks the padded ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from charseq.kernels import rnn_cudnn, rnn_fused, rnn_native
from charseq.kernels.bptt import RECURRENCES, Trace
from charseq.kernels.matmul import linear
from charseq.models.cells import CELLS, Cell
from charseq.models.layers import Dropout, drop_locked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int


class Recurrence(nn.Module):
    """Layers of one cell, in one direction or both; ``cells[l * D + d]``.

    In training, ``dropout`` thins what goes from layer to layer, with one mask for all steps of a
    row, and ``recurrent_dropout`` the weights W_h, with one mask for the whole batch (DropConnect,
    Wan et al. 2013; Merity et al. 2018).
    """

    compiled = True
    """Whether the compiled library is used, where it is there and suits the weights."""

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
        self.kept = CELLS[cell].kept

    def forward(
        self,
        inputs: Float[Tensor, "T B I"],
        lengths: Int[Tensor, "B"] | None = None,
        initial: Float[Tensor, "L K B H"] | None = None,
    ) -> tuple[Float[Tensor, "T B DH"], Float[Tensor, "L K B DH"]]:
        """Outputs of the last layer, and every layer's state after each row's last symbol.

        Without ``lengths`` every row is T long; without ``initial`` the state starts at zero
        (with two directions it always does). Outputs beyond a row's length are to be ignored.
        """
        if not self._is_fused(inputs) and rnn_cudnn.fits(self.cell, inputs):
            return self._call(inputs, lengths, initial)
        finals = []
        for layer in range(self.layers):
            if layer:
                inputs = drop_locked(inputs, self.dropout, training=self.training)
            cells = [self.cells[layer * self.directions + d] for d in range(self.directions)]
            start = self._start(initial, layer, inputs)
            if self.compiled and rnn_native.fits(start, inputs):
                inputs, final = self._run_compiled(cells, inputs, lengths, start)
            else:
                inputs, final = self._run_layer(cells, inputs, lengths, start)
            finals.append(final)
        return inputs, torch.stack(finals)

    def _call(
        self, inputs: Tensor, lengths: Tensor | None, initial: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What :meth:`forward` gives, by calls of the vendor's library."""
        low = rnn_cudnn.number_format(self._low(inputs))
        beyond = rnn_cudnn.held(len(inputs), lengths, inputs.device)
        finals = []
        for layer in range(self.layers):
            if layer:
                inputs = drop_locked(inputs, self.dropout, training=self.training)
            start = self._start(initial, layer, inputs)
            first = layer * self.directions
            cells: Any = self.cells[first : first + self.directions]
            weights = [(one.input, one.bias, self._thin(one.recurrent)) for one in cells]
            inputs, final = rnn_cudnn.run_layer(
                self.cell, weights, inputs, start, beyond=beyond, low=low
            )
            finals.append(final)
        return inputs, torch.stack(finals)

    def _is_fused(self, inputs: Tensor) -> bool:
        """Whether a layer is one kernel of ours."""
        return rnn_fused.fits(
            self.cell, self.hidden, inputs.shape[1], inputs.device, self._low(inputs)
        )

    @staticmethod
    def _low(inputs: Tensor) -> torch.dtype:
        """The format of products."""
        kind = inputs.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype

    def _thin(self, recurrent: Tensor) -> Tensor:
        """W_h, in training with some of its weights left out."""
        if not self.training or not self.recurrent_dropout:
            return recurrent
        thinned: Tensor = Dropout.apply(recurrent, self.recurrent_dropout)
        return thinned

    def _start(self, initial: Tensor | None, layer: int, inputs: Tensor) -> Tensor:
        """K D B H, the state before the first step of one layer, in the format of the weights."""
        if initial is None:
            like = next(self.parameters())
            return like.new_zeros(self.kept, self.directions, inputs.shape[1], self.hidden)
        return initial[layer][:, None]

    def _run_compiled(
        self, cells: Sequence[Any], inputs: Tensor, lengths: Tensor | None, start: Tensor
    ) -> tuple[Tensor, Tensor]:
        """T B DH and K B DH; the former in the format of products."""
        weight, bias = (
            torch.cat([getattr(cell, name) for cell in cells])
            if len(cells) > 1
            else getattr(cells[0], name)
            for name in ("input", "bias")
        )
        projected = linear(inputs, weight, bias)
        recurrent = [self._thin(cell.recurrent) for cell in cells]
        found: tuple[Tensor, Tensor] = rnn_native.Unrolled.apply(
            self.cell, projected, lengths, start, *recurrent
        )
        return found

    def _run_layer(
        self, cells: Sequence[Any], inputs: Tensor, lengths: Tensor | None, start: Tensor
    ) -> tuple[Tensor, Tensor]:
        """T B DH and K B DH."""
        order = None
        if self.directions == 2:
            steps, batch, _ = inputs.shape
            order = reversal(steps, batch, lengths, inputs.device)
        states = self.run_layer(cells, inputs, order, start)
        ways = list(states.unbind()[0].unbind())
        if order is not None:
            ways[1] = Permute.apply(ways[1], order)
        return torch.cat(ways, dim=-1), _last(states, lengths)

    def run_layer(
        self, cells: Sequence[Any], inputs: Tensor, order: Tensor | None, start: Tensor
    ) -> Tensor:
        """K D T B H: the states after every step of one layer, each direction in its own order.

        ``order`` (see :func:`reversal`) turns the inputs for the second direction, if there is
        one; ``start`` is K D B H.
        """
        if self._is_fused(inputs):
            return self._run_fused(cells, inputs, order, start)
        ways = [inputs] if order is None else [inputs, Permute.apply(inputs, order)]
        recurrent = torch.stack([cell.recurrent for cell in cells]).transpose(1, 2)
        kind = inputs.device.type
        if torch.is_autocast_enabled(kind):
            recurrent = recurrent.to(torch.get_autocast_dtype(kind))
        recurrent = self._thin(recurrent).contiguous()
        projected = torch.stack(
            [cell.project(way).to(start.dtype) for cell, way in zip(cells, ways, strict=True)]
        )
        states: Tensor = Unroll.apply(self.cell, projected, recurrent, start)
        return states

    def _run_fused(
        self, cells: Sequence[Any], inputs: Tensor, order: Tensor | None, start: Tensor
    ) -> Tensor:
        """The same in one kernel, and the input products of both directions in one."""
        low = self._low(inputs)
        inputs = inputs.to(low)
        ways = [inputs] if order is None else [inputs, Permute.apply(inputs, order)]
        given = torch.stack(ways).flatten(1, 2)
        weight = torch.stack([cell.input for cell in cells]).to(low).transpose(1, 2)
        bias = torch.stack([cell.bias for cell in cells]).to(low)[:, None]
        projected = torch.baddbmm(bias, given, weight).unflatten(1, inputs.shape[:2])
        recurrent = torch.stack([cell.recurrent for cell in cells]).transpose(1, 2)
        recurrent = self._thin(recurrent).to(low).contiguous()
        states: Tensor = rnn_fused.Fused.apply(self.cell, projected, recurrent, start)
        return states


class Unroll(torch.autograd.Function):
    """One layer over all steps, forward and backward by ``bptt``."""

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
    """Rows of T B I in another order that is its own inverse."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, order: Tensor) -> Tensor:
        """The same shape, its first two axes reordered."""
        ctx.save_for_backward(order)
        return values.flatten(0, 1).index_select(0, order).view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """An order that is its own inverse brings the gradients back as well."""
        (order,) = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        return gradient.flatten(0, 1).index_select(0, order).view_as(gradient), None


def reversal(
    steps: int, batch: int, lengths: Int[Tensor, "B"] | None, device: torch.device
) -> Int[Tensor, "TB"]:
    """The flat order of T B that reverses each row within its length and leaves its padding."""
    time = torch.arange(steps, device=device)[:, None].expand(steps, batch)
    if lengths is None:
        turned = steps - 1 - time
    else:
        turned = torch.where(time < lengths, lengths - 1 - time, time)
    return (turned * batch + torch.arange(batch, device=device)).flatten()


def unroll_cell(
    cell: Cell, inputs: Float[Tensor, "T B I"], state: Float[Tensor, "K B H"]
) -> Float[Tensor, "K T B H"]:
    """The plain loop over a cell, differentiated by autograd: what ``Unroll`` is compared with."""
    states = []
    for given in cell.project(inputs):
        state = cell(given, state)
        states.append(state)
    return torch.stack(states, dim=1)


class StepByStep(Recurrence):
    """The same recurrence as loops of whole single steps, input products and all, under autograd.

    It is what one writes without ``bptt``, and what the benchmark compares with.
    """

    compiled = False

    def run_layer(
        self, cells: Sequence[Any], inputs: Tensor, order: Tensor | None, start: Tensor
    ) -> Tensor:
        """K D T B H, as in :class:`Recurrence`."""
        ways = [inputs] if order is None else [inputs, Permute.apply(inputs, order)]
        found = []
        for direction, (cell, way) in enumerate(zip(cells, ways, strict=True)):
            state, states = start[:, direction], []
            for given in way:
                state = cell(cell.project(given), state)
                states.append(state)
            found.append(torch.stack(states, dim=1))
        return torch.stack(found, dim=1)


def _last(states: Tensor, lengths: Tensor | None) -> Tensor:
    """K B DH: the state at each row's last symbol, from K D T B H."""
    kept, directions, steps, batch, size = states.shape
    if lengths is None:
        chosen = states[:, :, -1]
    else:
        rows = (lengths - 1) * batch + torch.arange(batch, device=states.device)
        chosen = states.reshape(kept, directions, steps * batch, size).index_select(2, rows)
    return chosen.permute(0, 2, 1, 3).reshape(kept, batch, directions * size)
