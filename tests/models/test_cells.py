"""One step of each cell against torch's own cells, the sheets' formulas, and the right start."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from charseq.models.cells import CELLS, Cell

NAMES = tuple(CELLS)
B, I, H = 3, 4, 5  # noqa: E741


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(3)


def random_cell(name: str) -> Cell:
    """A cell whose weights are all different, the bias among them."""
    cell = CELLS[name](I, H).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_()
    return cell


def like_torch(cell: Cell, other: nn.RNNCellBase) -> nn.RNNCellBase:
    """torch's cell with the same weights."""
    other.load_state_dict(
        {
            "weight_ih": cell.input,
            "weight_hh": cell.recurrent,
            "bias_ih": cell.bias,
            "bias_hh": torch.zeros_like(cell.bias),
        }
    )
    return other


def test_the_four_cells_and_what_they_keep() -> None:
    facts = {name: (kind.gates, kind.states) for name, kind in CELLS.items()}
    assert facts == {"tanh": (1, 1), "residual": (1, 1), "gru": (3, 1), "lstm": (4, 2)}


@pytest.mark.parametrize("name", NAMES)
def test_sizes(name: str) -> None:
    cell = random_cell(name)
    rows = cell.gates * H
    assert {key: tuple(value.shape) for key, value in cell.named_parameters()} == {
        "input": (rows, I),
        "bias": (rows,),
        "recurrent": (rows, H),
    }
    state = torch.randn(cell.states, B, H, dtype=torch.float64)
    assert cell(cell.project(torch.randn(B, I, dtype=torch.float64)), state).shape == state.shape


@pytest.mark.parametrize(
    ("name", "other"), [("tanh", nn.RNNCell), ("gru", nn.GRUCell), ("lstm", nn.LSTMCell)]
)
def test_a_step_is_that_of_torchs_cell(name: str, other: type[nn.RNNCellBase]) -> None:
    cell = random_cell(name)
    peer = like_torch(cell, other(I, H, dtype=torch.float64))
    x = torch.randn(B, I, dtype=torch.float64)
    state = torch.randn(cell.states, B, H, dtype=torch.float64)
    expected = peer(x, tuple(state) if cell.states == 2 else state[0])
    wanted = torch.stack(expected) if cell.states == 2 else expected[None]
    torch.testing.assert_close(cell(cell.project(x), state), wanted, rtol=0, atol=1e-12)


def test_a_residual_step_by_hand() -> None:
    """h_t = tanh(W_x x_t + W_h h_{t-1} + b) + h_{t-1}  (sheet B3)."""
    cell = random_cell("residual")
    x, h = torch.randn(I, dtype=torch.float64), torch.randn(H, dtype=torch.float64)
    after = cell(cell.project(x[None]), h[None, None])[0, 0].tolist()
    given, recurrent = cell.input.tolist(), cell.recurrent.tolist()
    for unit, bias in enumerate(cell.bias.tolist()):
        g = bias + sum(given[unit][k] * float(x[k]) for k in range(I))
        g += sum(recurrent[unit][k] * float(h[k]) for k in range(H))
        assert after[unit] == pytest.approx(math.tanh(g) + float(h[unit]), abs=1e-12)


def test_the_projection_of_all_steps_is_that_of_each() -> None:
    cell = random_cell("gru")
    inputs = torch.randn(6, B, I, dtype=torch.float64)
    whole = cell.project(inputs)
    assert whole.shape == (6, B, 3 * H)
    for step in range(6):
        one = inputs[step] @ cell.input.T + cell.bias
        torch.testing.assert_close(whole[step], one, rtol=0, atol=1e-12)


def is_orthogonal(matrix: Tensor) -> bool:
    return torch.allclose(matrix @ matrix.T, torch.eye(len(matrix)), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_gate_starts_by_its_own_size(name: str) -> None:
    """Glorot's bound holds a gate's rows, not all gates' together; W_h is orthogonal by gate."""
    cell = CELLS[name](20, 30)
    bound = math.sqrt(6 / (20 + 30))
    for gate, recurrent in zip(cell.input.split(30), cell.recurrent.split(30), strict=True):
        assert 0.97 * bound < float(gate.detach().abs().max()) <= bound
        orthogonal = (recurrent + 0.5 * torch.eye(30)) / 0.1 if name == "residual" else recurrent
        assert is_orthogonal(orthogonal.detach())


@pytest.mark.parametrize("name", NAMES)
def test_biases_start_at_zero_but_the_forget_gate_open(name: str) -> None:
    expected = torch.zeros(CELLS[name].gates * H)
    if name == "lstm":
        expected[H : 2 * H] = 1.0
    assert torch.equal(CELLS[name](I, H).bias.detach(), expected)


def test_a_residual_step_contracts_at_the_start() -> None:
    """|I + tanh'(g) W_h| < 1 for the largest tanh' = 1, so that the sum over steps is bounded."""
    jacobian = torch.eye(30) + CELLS["residual"](20, 30).recurrent.detach()
    assert float(torch.linalg.matrix_norm(jacobian, 2)) < 0.61


def test_the_plan_of_a_cell_is_no_cell() -> None:
    with pytest.raises(TypeError, match="Cell"):
        Cell(I, H)(torch.zeros(B, H), torch.zeros(1, B, H))
