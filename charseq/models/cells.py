"""(projected input, state) -> state: tanh, residual, GRU and LSTM, one step at a time.

A cell owns its weights and says how one step goes; ``recurrence`` runs it over time. Written for
autograd, in the plainest form: the fast, hand-derived form of the same equations is in ``bptt``,
and the two are compared by value. A state is K B H with K = 1 (h) or 2 (h and c); index 0 is the
output. The gates' weights lie below each other: GH rows, G gates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from charseq.kernels.matmul import linear

if TYPE_CHECKING:
    from jaxtyping import Float


class Cell(nn.Module):
    """Weights of one cell: ``input`` GH I, ``bias`` GH, ``recurrent`` GH H."""

    gates: ClassVar[int] = 1
    kept: ClassVar[int] = 1

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.input = nn.Parameter(torch.empty(self.gates * hidden, inputs))
        self.bias = nn.Parameter(torch.zeros(self.gates * hidden))
        self.recurrent = nn.Parameter(torch.empty(self.gates * hidden, hidden))
        self.reset()

    def reset(self) -> None:
        """Fresh weights: Glorot and Bengio (2010) for inputs, orthogonal for the recurrence."""
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


class TanhCell(Cell):
    """h_t = tanh(W_x x_t + W_h h_{t-1} + b)  (sheet A; Elman 1990)."""

    def forward(
        self, projected: Float[Tensor, "B GH"], state: Float[Tensor, "K B H"]
    ) -> Float[Tensor, "K B H"]:
        """The state after one step."""
        return torch.tanh(projected + state @ self.recurrent.T)


class ResidualCell(Cell):
    """h_t = tanh(W_x x_t + W_h h_{t-1} + b) + h_{t-1}  (sheet B3)."""

    def reset(self) -> None:
        """W_h = -0.5 I + 0.1 Q with Q orthogonal.

        So ∂h_t/∂h_{t-1} = I + diag(tanh') W_h contracts. From an orthogonal start the sum over
        steps grows, and an encoder-decoder hardly trains; what has to remember does (see
        docs/sheets.md).
        """
        super().reset()
        with torch.no_grad():
            self.recurrent.mul_(0.1).sub_(0.5 * torch.eye(self.hidden))

    def forward(
        self, projected: Float[Tensor, "B GH"], state: Float[Tensor, "K B H"]
    ) -> Float[Tensor, "K B H"]:
        """The state after one step."""
        return torch.tanh(projected + state @ self.recurrent.T) + state


class GRUCell(Cell):
    """Gated recurrent unit (Cho et al. 2014), reset gate after the product; gates r z n."""

    gates: ClassVar[int] = 3

    def forward(
        self, projected: Float[Tensor, "B GH"], state: Float[Tensor, "K B H"]
    ) -> Float[Tensor, "K B H"]:
        """The state after one step."""
        hidden = state[0]
        given_reset, given_update, given_new = projected.chunk(3, dim=-1)
        from_reset, from_update, from_new = (hidden @ self.recurrent.T).chunk(3, dim=-1)
        reset = torch.sigmoid(given_reset + from_reset)
        update = torch.sigmoid(given_update + from_update)
        new = torch.tanh(given_new + reset * from_new)
        return ((1 - update) * new + update * hidden)[None]


class LSTMCell(Cell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gate; gates i f g o."""

    gates: ClassVar[int] = 4
    kept: ClassVar[int] = 2

    def reset(self) -> None:
        """The forget gate starts open: bias 1 (Jozefowicz et al. 2015)."""
        super().reset()
        with torch.no_grad():
            self.bias[self.hidden : 2 * self.hidden] = 1.0

    def forward(
        self, projected: Float[Tensor, "B GH"], state: Float[Tensor, "K B H"]
    ) -> Float[Tensor, "K B H"]:
        """The state after one step."""
        hidden, memory = state
        gates = projected + hidden @ self.recurrent.T
        enter, forget, new, leave = gates.chunk(4, dim=-1)
        memory = torch.sigmoid(forget) * memory + torch.sigmoid(enter) * torch.tanh(new)
        return torch.stack([torch.sigmoid(leave) * torch.tanh(memory), memory])


CELLS: dict[str, type[Cell]] = {
    "tanh": TanhCell,
    "residual": ResidualCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
}
