"""(projected input, state) -> state: one step of the tanh, residual, GRU and LSTM cells.

A cell owns its weights and defines one step; ``rnn.Recurrence`` runs it over time. The steps are
plain autograd. ``kernels.bptt`` has the same equations with hand-derived gradients, and the tests
compare the two by value. A cell without an entry there is trained by autograd.

A state is K B H with K = 1 (h) or 2 (h and c); index 0 is the output. The gates' weights are
stacked: GH rows, G gates. G and K are in ``kernels.cell_table``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from charseq.kernels import cell_table
from charseq.kernels.matmul import linear

if TYPE_CHECKING:
    from jaxtyping import Float


class Cell(nn.Module):
    """Weights of one cell: ``input`` GH I, ``bias`` GH, ``recurrent`` GH H.

    A subclass is defined with the name of its entry in ``kernels.cell_table``.
    """

    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1

    def __init_subclass__(cls, *, name: str) -> None:
        super().__init_subclass__()
        cls.gates, cls.states = cell_table.CELLS[name].gates, cell_table.CELLS[name].states

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.input = nn.Parameter(torch.empty(self.gates * hidden, inputs))
        self.bias = nn.Parameter(torch.zeros(self.gates * hidden))
        self.recurrent = nn.Parameter(torch.empty(self.gates * hidden, hidden))
        self.reset()

    def reset(self) -> None:
        """First weights: Glorot & Bengio (2010) for W_x, orthogonal (Saxe et al. 2014) for W_h."""
        with torch.no_grad():
            for gate in range(self.gates):
                rows = slice(gate * self.hidden, (gate + 1) * self.hidden)
                nn.init.xavier_uniform_(self.input[rows])
                nn.init.orthogonal_(self.recurrent[rows])
            self.bias.zero_()

    def project(self, inputs: Float[Tensor, "*time I"]) -> Float[Tensor, "*time GH"]:
        """W_x x_t + b for one step or for all steps at once."""
        return linear(inputs, self.input, self.bias)

    def forward(
        self, projected: Float[Tensor, "B GH"], state: Float[Tensor, "K B H"]
    ) -> Float[Tensor, "K B H"]:
        """The state after one step."""
        raise TypeError(f"{type(self).__name__} has no step for {projected.shape}, {state.shape}")


class TanhCell(Cell, name="tanh"):
    """h_t = tanh(W_x x_t + W_h h_{t-1} + b)  (sheet A; Elman 1990)."""

    def forward(
        self, projected: Float[Tensor, "B GH"], state: Float[Tensor, "K B H"]
    ) -> Float[Tensor, "K B H"]:
        """The state after one step."""
        return torch.tanh(projected + state @ self.recurrent.T)


class ResidualCell(Cell, name="residual"):
    """h_t = tanh(W_x x_t + W_h h_{t-1} + b) + h_{t-1}  (sheet B3)."""

    def reset(self) -> None:
        """W_h = -0.5 I + 0.1 Q with Q orthogonal.

        So ∂h_t/∂h_{t-1} = I + diag(tanh') W_h contracts. With an orthogonal W_h the sum over steps
        grows, and an encoder-decoder hardly trains; a task of long memory does (docs/sheets.md).
        """
        super().reset()
        with torch.no_grad():
            self.recurrent.mul_(0.1).sub_(0.5 * torch.eye(self.hidden))

    def forward(
        self, projected: Float[Tensor, "B GH"], state: Float[Tensor, "K B H"]
    ) -> Float[Tensor, "K B H"]:
        """The state after one step."""
        return torch.tanh(projected + state @ self.recurrent.T) + state


class GRUCell(Cell, name="gru"):
    """Gated recurrent unit (Cho et al. 2014), reset gate after the product; gates r z n."""

    def forward(
        self, projected: Float[Tensor, "B GH"], state: Float[Tensor, "K B H"]
    ) -> Float[Tensor, "K B H"]:
        """The state after one step."""
        hidden = state[0]
        input_reset, input_update, input_new = projected.chunk(3, dim=-1)
        from_reset, from_update, from_new = (hidden @ self.recurrent.T).chunk(3, dim=-1)
        reset = torch.sigmoid(input_reset + from_reset)
        update = torch.sigmoid(input_update + from_update)
        new = torch.tanh(input_new + reset * from_new)
        return ((1 - update) * new + update * hidden)[None]


class LSTMCell(Cell, name="lstm"):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gate; gates i f g o."""

    def reset(self) -> None:
        """The forget gate starts open, with a bias of 1 (Jozefowicz et al. 2015)."""
        super().reset()
        with torch.no_grad():
            self.bias[self.hidden : 2 * self.hidden] = 1.0

    def forward(
        self, projected: Float[Tensor, "B GH"], state: Float[Tensor, "K B H"]
    ) -> Float[Tensor, "K B H"]:
        """The state after one step."""
        hidden, memory = state
        gates = projected + hidden @ self.recurrent.T
        enter, forget, new, output = gates.chunk(4, dim=-1)
        memory = torch.sigmoid(forget) * memory + torch.sigmoid(enter) * torch.tanh(new)
        return torch.stack([torch.sigmoid(output) * torch.tanh(memory), memory])


CELLS: dict[str, type[Cell]] = {
    "tanh": TanhCell,
    "residual": ResidualCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
}
