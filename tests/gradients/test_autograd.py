"""The plain forward passes against the sheets' forward quantities; derivatives that are known."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from charseq.gradients import autograd, derivations

SIZES = {
    "A": {
        "x": "TI",
        "y": "TO",
        "W_xh": "HI",
        "W_hh": "HH",
        "W_hz": "OH",
        "b_h": "H",
        "b_z": "O",
        "h_0": "H",
    },
    "B1": {"x": "N", "y": "N", "W_embed": "HN", "W_unembed": "NH"},
    "B2": {"x": "TN", "y": "N", "W_e": "HN", "W_r": "HH", "W_u": "NH", "h_0": "H"},
    "C": {"x": "TI", "y": "TO", "W_x": "HI", "W_H": "HH", "W_y": "OH", "h_0": "H"},
    "D": {"x": "TI", "y": "TO", "w_x": "HI", "w_h": "HH", "w_y": "OH", "h_0": "H"},
    "D, numbers": {"x": "T", "y": "T", "w_x": "", "w_h": "", "w_y": "", "h_0": ""},
    "F": {
        "x": "TI",
        "targets": "TO",
        "W_xh": "HI",
        "W_hh": "HH",
        "W_hy": "OH",
        "b_h": "H",
        "b_y": "O",
        "h_0": "H",
    },
}
SIZES["B3"] = SIZES["B2"]

PAIRS: dict[str, tuple[Callable[..., derivations.Worked], Callable[..., dict[str, Tensor]]]] = {
    "A": (derivations.tanh_rnn, autograd.tanh_rnn),
    "B1": (derivations.bigram, autograd.bigram),
    "B2": (derivations.next_word, autograd.next_word),
    "B3": (
        partial(derivations.next_word, residual=True),
        partial(autograd.next_word, residual=True),
    ),
    "C": (derivations.double_sum, autograd.double_sum),
    "D": (derivations.linear_rnn, autograd.linear_rnn),
    "D, numbers": (derivations.linear_rnn, autograd.linear_rnn),
    "F": (derivations.sigmoid_rnn, autograd.sigmoid_rnn),
}
SHARED = {
    "A": {"h_t", "o_t", "E_t", "E"},
    "B1": {"h", "s", "J"},
    "B2": {"h_t", "s", "J"},
    "B3": {"h_t", "s", "J"},
    "C": {"h_t", "L_t", "L"},
    "D": {"h_t", "ŷ_t", "L_t", "L"},
    "D, numbers": {"h_t", "ŷ_t", "L_t", "L"},
    "F": {"h_t", "y_t", "L_t", "L"},
}

each_sheet = pytest.mark.parametrize("name", PAIRS)


def draw(name: str, steps: int = 4) -> dict[str, Tensor]:
    """Random numbers in double precision; targets sum to 1 where they must."""
    sizes = {"T": steps, "I": 3, "H": 2, "O": 5, "N": 4}
    random = torch.Generator().manual_seed(1)
    found = {
        key: torch.randn([sizes[axis] for axis in axes], generator=random, dtype=torch.float64)
        for key, axes in SIZES[name].items()
    }
    if "D" not in name and "y" in found:
        found["y"] = torch.softmax(found["y"], dim=-1)
    return {key: value.requires_grad_() for key, value in found.items()}


@each_sheet
@pytest.mark.parametrize("steps", [1, 4])
def test_the_forward_quantities_are_the_sheets(name: str, steps: int) -> None:
    given = draw(name, steps)
    by_hand, plain = PAIRS[name]
    expected = by_hand(**{key: value.detach().numpy() for key, value in given.items()}).values
    found = plain(**given)
    names = {one.replace("_t", f"_{t}") for one in SHARED[name] for t in range(1, steps + 1)}
    assert {key for key in found if "(" not in key} == names
    for key in names:
        np.testing.assert_allclose(found[key].detach(), expected[key], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "matrix"), [("A", "W_hh"), ("C", "W_H")])
def test_the_copies_of_a_shared_matrix_share_its_gradient(name: str, matrix: str) -> None:
    given = draw(name)
    tensors = given | PAIRS[name][1](**given)
    loss = "E" if name == "A" else "L"
    shares = [autograd.derivative(tensors, f"∂{loss}/∂{matrix}({t})") for t in range(1, 5)]
    assert all(bool(share.any()) for share in shares)
    torch.testing.assert_close(sum(shares), autograd.derivative(tensors, f"∂{loss}/∂{matrix}"))


def test_the_table_of_terms_is_empty_where_the_step_comes_later() -> None:
    given = draw("C")
    tensors = given | autograd.double_sum(**given)
    table = autograd.derivative(tensors, "∂L_t/∂W_H(k)")
    assert table.shape == (4, 4, 2, 2)
    for t in range(4):
        for k in range(4):
            expected = autograd.derivative(tensors, f"∂L_{t + 1}/∂W_H({k + 1})")
            assert torch.equal(table[t, k], expected)
            assert bool(table[t, k].any()) == (k <= t)


def test_the_derivative_of_a_vector_is_its_jacobian() -> None:
    matrix = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    x = torch.ones(3, requires_grad=True)
    tensors = {"W": matrix, "x": x, "y": matrix @ x, "E": (x**3).sum()}
    assert torch.equal(autograd.derivative(tensors, "∂y/∂x"), matrix)
    assert torch.equal(autograd.derivative(tensors, "∂E/∂x"), torch.full((3,), 3.0))


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        autograd.derivative({"E": torch.ones(())}, "∂E/∂nothing")
