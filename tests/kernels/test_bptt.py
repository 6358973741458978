"""The hand-derived gradients against autograd, against differences, and against the sheets.

What they would get wrong: a sign, a factor taken from h_t where it belongs to g_t, the sum over
earlier steps, the reset gate's place, the memory's second path.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from charseq.kernels.bptt import RECURRENCES, Gradients
from charseq.models.cells import CELLS
from charseq.models.rnn import unroll_cell

NAMES = tuple(RECURRENCES)
GATES = {"tanh": 1, "residual": 1, "gru": 3, "lstm": 4}
KEPT = {"tanh": 1, "residual": 1, "gru": 1, "lstm": 2}


class Case(NamedTuple):
    """The arguments of a recurrence, and what arrives at its states on the way back."""

    projected: Tensor
    recurrent: Tensor
    initial: Tensor
    arriving: Tensor

    def double(self) -> Case:
        return Case(*(value.double() for value in self))


def draw(name: str, seed: int, sizes: tuple[int, int, int, int]) -> Case:
    """A random case of D directions, T steps, B rows, H units; each row ends where it likes."""
    directions, steps, batch, size = sizes
    random = torch.Generator().manual_seed(seed)
    wide = GATES[name] * size
    lengths = torch.randint(1, steps + 1, (batch,), generator=random)
    inside = (torch.arange(steps)[:, None] < lengths)[:, :, None].double()

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    return Case(
        normal(directions, steps, batch, wide),
        normal(directions, size, wide),
        normal(KEPT[name], directions, batch, size),
        normal(KEPT[name], directions, steps, batch, size) * inside,
    )


def by_hand(name: str, case: Case) -> tuple[Tensor, Gradients]:
    """K D T B H of states, and the gradients, by the module under test."""
    run, back = RECURRENCES[name]
    trace = run(case.projected, case.recurrent, case.initial)
    return trace.states[:, :, 1:], back(trace, case.recurrent, case.arriving)


def by_autograd(name: str, case: Case) -> tuple[Tensor, Gradients]:
    """The same through the plain loop over ``cells``, one direction after the other."""
    states, found = [], []
    for direction, projected in enumerate(case.projected.unbind()):
        wide, size = projected.shape[-1], case.initial.shape[-1]
        cell = CELLS[name](wide, size).double()
        cell.recurrent = nn.Parameter(case.recurrent[direction].T.clone())
        with torch.no_grad():
            cell.input.copy_(torch.eye(wide))
            cell.bias.zero_()
        given = projected.clone().requires_grad_()
        start = case.initial[:, direction].clone().requires_grad_()
        after = unroll_cell(cell, given, start)
        loss = (after * case.arriving[:, direction]).sum()
        states.append(after.detach())
        of_given, of_weight, of_start = torch.autograd.grad(loss, (given, cell.recurrent, start))
        found.append((of_given, of_weight.T, of_start))
    projected, recurrent, initial = zip(*found, strict=True)
    return torch.stack(states, dim=1), Gradients(
        torch.stack(projected), torch.stack(recurrent), torch.stack(initial, dim=1)
    )


def close(one: Tensor, other: Tensor, *, within: float = 1e-10) -> None:
    torch.testing.assert_close(one, other, rtol=within, atol=within)


# --- by value


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(
    st.integers(0, 2**31),
    st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 4), st.integers(1, 4)),
)
def test_states_and_gradients_are_those_of_autograd(
    name: str, seed: int, sizes: tuple[int, int, int, int]
) -> None:
    case = draw(name, seed, sizes)
    states, gradients = by_hand(name, case)
    expected, wanted = by_autograd(name, case)
    close(states, expected)
    for one, other in zip(gradients, wanted, strict=True):
        close(one, other)
    # beyond the last step that anything was asked of, nothing flows back
    silent = case.arriving.flip(2).cumsum(2).flip(2).abs().sum(dim=(0, -1)) == 0
    assert bool((gradients.projected[silent] == 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_central_differences(name: str) -> None:
    case = draw(name, 11, (2, 4, 2, 2))
    run, _ = RECURRENCES[name]
    _, gradients = by_hand(name, case)
    inputs = [value.clone() for value in case[:3]]

    def loss() -> float:
        return float((run(*inputs).states[:, :, 1:] * case.arriving).sum())

    for value, gradient in zip(inputs, gradients, strict=True):
        flat = value.view(-1)
        for place in range(flat.numel()):
            middle = float(flat[place])
            flat[place] = middle + 1e-5
            above = loss()
            flat[place] = middle - 1e-5
            below = loss()
            flat[place] = middle
            slope = (above - below) / 2e-5
            assert float(gradient.reshape(-1)[place]) == pytest.approx(slope, rel=1e-6, abs=1e-7)


# --- by the sheets, written out in plain loops


Vector = list[float]
Matrix = list[list[float]]


def times(matrix: Matrix, vector: Vector) -> Vector:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def turned(matrix: Matrix) -> Matrix:
    return [list(row) for row in zip(*matrix, strict=True)]


def plus(*vectors: Vector) -> Vector:
    return [sum(values) for values in zip(*vectors, strict=True)]


def outer(left: Vector, right: Vector) -> Matrix:
    return [[a * b for b in right] for a in left]


def total(matrices: list[Matrix]) -> list[float]:
    """Σ_t of the matrices, row by row."""
    return [
        sum(matrix[i][j] for matrix in matrices)
        for i in range(len(matrices[0]))
        for j in range(len(matrices[0][0]))
    ]


def softmax(values: Vector) -> Vector:
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def some(random: torch.Generator, rows: int, columns: int) -> Matrix:
    values: Matrix = torch.randn(rows, columns, generator=random, dtype=torch.float64).tolist()
    return values


def tensor(*values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_tanh_is_sheet_a() -> None:
    """E = Σ_t cross-entropy of softmax(W_hz h_t + b_z); every gradient of the sheet."""
    random = torch.Generator().manual_seed(1)
    size, symbols = 3, 4
    text, labels = [2, 0, 3, 2, 1], [0, 3, 2, 1, 1]
    steps = range(len(text))
    w_xh, w_hh = some(random, size, symbols), some(random, size, size)
    w_hz, (b_h, h_0) = some(random, symbols, size), some(random, 2, size)
    x = [[float(k == symbol) for k in range(symbols)] for symbol in text]
    # forward
    h, error = [h_0], []
    for t in steps:
        h.append([math.tanh(a) for a in plus(times(w_xh, x[t]), times(w_hh, h[t]), b_h)])
        z = softmax(times(w_hz, h[t + 1]))
        error.append([z[k] - float(k == labels[t]) for k in range(symbols)])
    # backward: δ_t = W_hz^T (z_t - y_t) + W_hh^T ((1 - h_{t+1} ⊙ h_{t+1}) ⊙ δ_{t+1})
    arriving = [times(turned(w_hz), e) for e in error]
    through: list[Vector] = [[]] * len(text)
    carried = [0.0] * size
    for t in reversed(steps):
        delta = plus(arriving[t], carried)
        through[t] = [(1 - v * v) * d for v, d in zip(h[t + 1], delta, strict=True)]
        carried = times(turned(w_hh), through[t])

    projected = tensor(*[plus(times(w_xh, x[t]), b_h) for t in steps])[None, :, None]
    recurrent, initial = tensor(*turned(w_hh))[None], tensor(h_0)[None, None]
    case = Case(projected, recurrent, initial, tensor(*arriving)[None, None, :, None])
    states, gradients = by_hand("tanh", case)
    close(states[0, 0, :, 0], tensor(*h[1:]))
    of_gates = gradients.projected[0, :, 0]
    close(of_gates, tensor(*through))
    close(of_gates.sum(dim=0), tensor(*plus(*through)))  # ∂E/∂b_h
    of_w_xh = total([outer(through[t], x[t]) for t in steps])
    close((of_gates.T @ tensor(*x)).flatten(), tensor(*of_w_xh))
    of_w_hh = total([outer(through[t], h[t]) for t in steps])
    close(gradients.recurrent[0].T.flatten(), tensor(*of_w_hh))
    close(gradients.initial[0, 0, 0], tensor(*carried))


def test_residual_is_sheet_b3() -> None:
    """J = log p(y | s), s = W_u h_3, after "I love machine"; ∂J/∂s = y - p."""
    random = torch.Generator().manual_seed(2)
    size, words, text, answer = 3, 4, [0, 1, 2], 3
    w_e, w_r, w_u = (some(random, *shape) for shape in ((size, words), (size, size), (words, size)))
    x = [[float(k == word) for k in range(words)] for word in text]
    h, g = [[0.0] * size], []
    for t in range(3):
        g.append(plus(times(w_e, x[t]), times(w_r, h[t])))
        h.append(plus([math.tanh(v) for v in g[t]], h[t]))
    p = softmax(times(w_u, h[3]))
    error = [float(k == answer) - p[k] for k in range(words)]
    # ∂J/∂h_{t-1} = [W_r^T diag(1 - tanh² g_t) + I] ∂J/∂h_t
    at_end = times(turned(w_u), error)
    delta, through = at_end, [[0.0]] * 3
    for t in reversed(range(3)):
        through[t] = [(1 - math.tanh(v) ** 2) * d for v, d in zip(g[t], delta, strict=True)]
        delta = plus(times(turned(w_r), through[t]), delta)

    arriving = torch.zeros(1, 1, 3, 1, size, dtype=torch.float64)
    arriving[0, 0, 2, 0] = tensor(*at_end)
    projected = tensor(*[times(w_e, x[t]) for t in range(3)])[None, :, None]
    case = Case(projected, tensor(*turned(w_r))[None], tensor(h[0])[None, None], arriving)
    states, gradients = by_hand("residual", case)
    close(states[0, 0, :, 0], tensor(*h[1:]))
    close(gradients.projected[0, :, 0], tensor(*through))
    of_w_r = total([outer(through[t], h[t]) for t in range(3)])
    close(gradients.recurrent[0].T.flatten(), tensor(*of_w_r))
    close(gradients.initial[0, 0, 0], tensor(*delta))


# --- how the pieces behave


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_is_given_is_changed(name: str) -> None:
    case = draw(name, 5, (2, 3, 2, 3))
    kept = Case(*(value.clone() for value in case))
    by_hand(name, case)
    assert all(torch.equal(one, other) for one, other in zip(case, kept, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_is_near_double(name: str) -> None:
    case = Case(*(value.float() for value in draw(name, 6, (1, 5, 3, 4))))
    states, gradients = by_hand(name, case)
    expected, wanted = by_hand(name, case.double())
    assert states.dtype == torch.float32
    close(states.double(), expected, within=1e-5)
    for one, other in zip(gradients, wanted, strict=True):
        assert one.dtype == torch.float32
        close(one.double(), other, within=3e-5)


@pytest.mark.parametrize("name", NAMES)
def test_with_bfloat16_weights_only_the_products_are_coarse(name: str) -> None:
    case = Case(*(value.float() for value in draw(name, 7, (2, 4, 3, 5))))
    coarse = case._replace(recurrent=case.recurrent.bfloat16())
    states, gradients = by_hand(name, coarse)
    expected, wanted = by_hand(name, case)
    assert states.dtype == gradients.projected.dtype == gradients.initial.dtype == torch.float32
    assert gradients.recurrent.dtype == torch.bfloat16
    for one, other in zip((states, *gradients), (expected, *wanted), strict=True):
        error = float((one.float() - other).norm() / other.norm())
        assert error < 0.05
    # without products nothing is rounded, the way over the state least of all
    none = torch.zeros_like(case.recurrent)
    exact, _ = by_hand(name, case._replace(recurrent=none))
    assert torch.equal(by_hand(name, case._replace(recurrent=none.bfloat16()))[0], exact)


def test_tanh_from_sigmoid_is_within_two_roundings_of_one() -> None:
    values = torch.linspace(-12, 12, 10_001)
    run, _ = RECURRENCES["tanh"]
    projected = values[None, None, :, None]
    trace = run(projected, torch.zeros(1, 1, 1), torch.zeros(1, 1, len(values), 1))
    error = trace.states[0, 0, 1, :, 0].double() - values.double().tanh()
    assert float(error.abs().max()) <= 2.0**-22


@pytest.mark.parametrize("name", NAMES)
def test_projected_inputs_of_another_cell_are_refused(name: str) -> None:
    case = draw(name, 8, (1, 2, 2, 3))
    with pytest.raises(ValueError, match=f"expected {GATES[name]} x 3"):
        RECURRENCES[name][0](case.projected[..., :-1], case.recurrent, case.initial)
