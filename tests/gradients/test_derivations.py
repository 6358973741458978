"""The sheets by hand against autograd, against differences, against each other and what trains.

What they would get wrong: a transposed matrix, a sign, a step too early, a factor taken from h_t
where it belongs to g_t, the sum over earlier steps, h_0.
"""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from charseq.gradients import derivations
from charseq.gradients.derivations import Activation
from charseq.kernels.bptt import RECURRENCES

Array = NDArray[np.float64]
Given = dict[str, Array]
Sizes = tuple[int, int, int, int]

SINE = Activation(np.sin, np.cos)
IDENTITY = Activation(lambda a: a, np.ones_like)


# --- examples of any size: T steps, I inputs, H hidden, O outputs


def draw(seed: int, **shapes: tuple[int, ...]) -> Given:
    random = np.random.default_rng(seed)
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def one_hot(seed: int, rows: int, size: int) -> Array:
    return np.eye(size)[np.random.default_rng(seed).integers(size, size=rows)]


def given_a(seed: int, sizes: Sizes) -> Given:
    """Targets that are neither one-hot nor sum to 1."""
    T, I, H, O = sizes  # noqa: E741
    weights = draw(seed, W_xh=(H, I), W_hh=(H, H), W_hz=(O, H), b_h=(H,), b_z=(O,), h_0=(H,))
    return weights | draw(seed + 1, x=(T, I)) | {"y": np.abs(draw(seed + 2, y=(T, O))["y"])}


def given_b1(seed: int, sizes: Sizes) -> Given:
    _, N, M, _ = sizes
    x, y = one_hot(seed, 2, N)
    return {"x": x, "y": y} | draw(seed, W_embed=(M, N), W_unembed=(N, M))


def given_b2(seed: int, sizes: Sizes) -> Given:
    T, N, M, _ = sizes
    weights = draw(seed, W_e=(M, N), W_r=(M, M), W_u=(N, M), h_0=(M,))
    return weights | {"x": one_hot(seed, T, N), "y": one_hot(seed + 1, 1, N)[0]}


def given_c(seed: int, sizes: Sizes) -> Given:
    T, I, H, O = sizes  # noqa: E741
    weights = draw(seed, x=(T, I), W_x=(H, I), W_H=(H, H), W_y=(O, H), h_0=(H,))
    return weights | {"y": one_hot(seed, T, O)}


def given_d(seed: int, sizes: Sizes) -> Given:
    T, I, H, O = sizes  # noqa: E741
    return draw(seed, x=(T, I), y=(T, O), w_x=(H, I), w_h=(H, H), w_y=(O, H), h_0=(H,))


def given_d_numbers(seed: int, sizes: Sizes) -> Given:
    return draw(seed, x=sizes[:1], y=sizes[:1], w_x=(), w_h=(), w_y=(), h_0=())


def given_f(seed: int, sizes: Sizes) -> Given:
    T, I, H, O = sizes  # noqa: E741
    sequences = draw(seed + 1, x=(T, I), targets=(T, O))
    weights = draw(seed, W_xh=(H, I), W_hh=(H, H), W_hy=(O, H), b_h=(H,), b_y=(O,), h_0=(H,))
    return weights | sequences


# --- the same in torch: the loss only, with something to be added to every vector


Added = Callable[[str, Tensor], Tensor]


def torch_a(g: dict[str, Tensor], add: Added) -> Tensor:
    h, loss = add("h_0", g["h_0"]), torch.zeros(())
    for t, (x, y) in enumerate(zip(g["x"], g["y"], strict=True), 1):
        h = add(f"h_{t}", torch.tanh(x @ g["W_xh"].T + h @ own(g, "W_hh", t, add).T + g["b_h"]))
        o = add(f"o_{t}", h @ g["W_hz"].T + g["b_z"])
        loss = loss + y.sum() * torch.logsumexp(o, 0) - (y * o).sum()
    return loss


def torch_b1(g: dict[str, Tensor], add: Added) -> Tensor:
    s = add("s", add("h", g["x"] @ g["W_embed"].T) @ g["W_unembed"].T)
    return (s * g["y"]).sum() - torch.logsumexp(s, 0)


def torch_b2(g: dict[str, Tensor], add: Added, *, kept: float = 0.0) -> Tensor:
    h = add("h_0", g["h_0"])
    for t, x in enumerate(g["x"], 1):
        h = add(f"h_{t}", torch.tanh(x @ g["W_e"].T + h @ g["W_r"].T) + kept * h)
    s = add("s", h @ g["W_u"].T)
    return (s * g["y"]).sum() - torch.logsumexp(s, 0)


def torch_c(g: dict[str, Tensor], add: Added) -> Tensor:
    h, loss = g["h_0"], torch.zeros(())
    for t, (x, y) in enumerate(zip(g["x"], g["y"], strict=True), 1):
        h = torch.tanh(x @ g["W_x"].T + h @ own(g, "W_H", t, add).T)
        loss = loss + torch.logsumexp(g["W_y"] @ h, 0) - y @ g["W_y"] @ h
    return loss


def torch_d(
    g: dict[str, Tensor], add: Added, *, act: Callable[[Tensor], Tensor] = torch.positive
) -> Tensor:
    h, loss = add("h_0", g["h_0"]), torch.zeros(())
    for t, (x, y) in enumerate(zip(g["x"], g["y"], strict=True), 1):
        h = add(f"h_{t}", act(g["w_x"] @ x + g["w_h"] @ h))
        loss = loss + (add(f"ŷ_{t}", g["w_y"] @ h) - y).square().sum()
    return loss


def torch_d_numbers(g: dict[str, Tensor], add: Added) -> Tensor:
    h, loss = add("h_0", g["h_0"]), torch.zeros(())
    for t in range(1, len(g["x"]) + 1):
        h = add(f"h_{t}", g["w_x"] * g["x"][t - 1] + g["w_h"] * h)
        loss = loss + (add(f"ŷ_{t}", g["w_y"] * h) - g["y"][t - 1]) ** 2
    return loss


def torch_f(
    g: dict[str, Tensor], add: Added, *, act: Callable[[Tensor], Tensor] = torch.sigmoid
) -> Tensor:
    h, loss = add("h_0", g["h_0"]), torch.zeros(())
    for t, (x, target) in enumerate(zip(g["x"], g["targets"], strict=True), 1):
        h = add(f"h_{t}", act(x @ g["W_xh"].T + h @ g["W_hh"].T + g["b_h"]))
        y = add(f"y_{t}", act(h @ g["W_hy"].T + g["b_y"]))
        loss = loss + (y - target).square().sum()
    return loss


def own(g: dict[str, Tensor], name: str, t: int, add: Added) -> Tensor:
    """Step t's own copy of a shared matrix."""
    return add(f"{name}({t})", g[name])


CASES = {
    "A": (given_a, derivations.tanh_rnn, torch_a, "E"),
    "B1": (given_b1, derivations.bigram, torch_b1, "J"),
    "B2": (given_b2, derivations.next_word, torch_b2, "J"),
    "B3": (
        given_b2,
        partial(derivations.next_word, residual=True),
        partial(torch_b2, kept=1.0),
        "J",
    ),
    "C": (given_c, derivations.double_sum, torch_c, "L"),
    "D": (given_d, derivations.linear_rnn, torch_d, "L"),
    "D, numbers": (given_d_numbers, derivations.linear_rnn, torch_d_numbers, "L"),
    "D, sine": (
        given_d,
        partial(derivations.linear_rnn, activation=SINE),
        partial(torch_d, act=torch.sin),
        "L",
    ),
    "F": (given_f, derivations.sigmoid_rnn, torch_f, "L"),
    "F, sine": (
        given_f,
        partial(derivations.sigmoid_rnn, activation=SINE),
        partial(torch_f, act=torch.sin),
        "L",
    ),
}

each_sheet = pytest.mark.parametrize("name", CASES)
any_sizes = st.tuples(st.integers(1, 6), *[st.integers(1, 4)] * 3)
any_seed = st.integers(0, 2**31)


def close(one: object, other: object, *, within: float = 1e-10) -> None:
    np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=within, atol=within)


def by_autograd(name: str, values: Given) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss, and its derivative by all that is given and by all that can be added to."""
    leaves = {key: torch.tensor(value, requires_grad=True) for key, value in values.items()}
    added: dict[str, Tensor] = {}

    def add(key: str, value: Tensor) -> Tensor:
        added[key] = torch.zeros_like(value, requires_grad=True)
        return value + added[key]

    loss = CASES[name][2](leaves, add)
    wanted = leaves | added
    found = torch.autograd.grad(loss, list(wanted.values()), materialize_grads=True)
    return loss.detach(), dict(zip(wanted, found, strict=True))


@each_sheet
@settings(max_examples=40)
@given(any_seed, any_sizes)
def test_every_gradient_of_the_loss_is_that_of_autograd(name: str, seed: int, sizes: Sizes) -> None:
    make, by_hand, _, loss = CASES[name]
    values = make(seed, sizes)
    worked = by_hand(**values)
    expected, derivatives = by_autograd(name, values)
    close(worked.values[loss], expected)
    for key, gradient in worked.gradients.items():
        above, _, below = key.partition("/∂")
        if above == f"∂{loss}":
            close(gradient, derivatives[below])
    sequences = {"x", "y", "targets"}
    wanted = {"W_H"} if name == "C" else set(values) - sequences
    assert {f"∂{loss}/∂{key}" for key in wanted} <= set(worked.gradients)


@each_sheet
@settings(max_examples=8)
@given(any_seed, st.tuples(*[st.integers(1, 3)] * 4))
def test_every_gradient_of_something_given_is_its_central_difference(
    name: str, seed: int, sizes: Sizes
) -> None:
    make, by_hand, _, loss = CASES[name]
    values = make(seed, sizes)
    gradients = by_hand(**values).gradients
    for key, value in values.items():
        if f"∂{loss}/∂{key}" not in gradients:
            continue
        slope = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = value.copy()
                moved[place] += step
                ends.append(float(by_hand(**values | {key: moved}).values[loss]))
            slope[place] = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(gradients[f"∂{loss}/∂{key}"], slope, rtol=1e-5, atol=1e-7)


@each_sheet
def test_every_state_has_its_gradient_and_nothing_given_is_changed(name: str) -> None:
    make, by_hand, _, loss = CASES[name]
    values = make(3, (4, 3, 2, 3))
    kept = {key: value.copy() for key, value in values.items()}
    worked = by_hand(**values)
    assert all(np.array_equal(values[key], kept[key]) for key in values)
    assert all(array.dtype == np.float64 for found in worked for array in found.values())
    if name not in ("B1", "C"):
        states = [f"h_{t}" for t in range(5)]
        assert [key for key in worked.values if key.startswith("h_")] == states
        assert {f"∂{loss}/∂{state}" for state in states} <= set(worked.gradients)


@each_sheet
def test_h_0_is_zero_unless_given(name: str) -> None:
    make, by_hand, _, _ = CASES[name]
    values = make(5, (3, 3, 2, 3))
    if "h_0" in values:
        start = values.pop("h_0")
        without = by_hand(**values).gradients
        zero = by_hand(**values, h_0=np.zeros_like(start)).gradients
        assert all(np.array_equal(without[key], zero[key]) for key in zero)
        moved = by_hand(**values, h_0=start).gradients
        assert not all(np.array_equal(without[key], moved[key]) for key in zero)


@each_sheet
def test_names_are_precomposed(name: str) -> None:
    make, by_hand, _, _ = CASES[name]
    for names in by_hand(**make(1, (3, 3, 2, 3))):
        assert all(unicodedata.is_normalized("NFC", key) for key in names)


# --- A


def test_a_one_hot_target_leaves_z_minus_y() -> None:
    values = given_a(1, (3, 2, 4, 5)) | {"y": one_hot(2, 3, 5)}
    worked = derivations.tanh_rnn(**values)
    for t in (1, 2, 3):
        close(worked.gradients[f"∂E/∂o_{t}"], worked.values[f"z_{t}"] - values["y"][t - 1])
        close(worked.values[f"z_{t}"].sum(), 1.0)


def test_scores_far_apart_overflow_nowhere() -> None:
    values = given_a(1, (2, 2, 3, 3))
    values["W_hz"] *= 1e4
    worked = derivations.tanh_rnn(**values)
    assert all(np.isfinite(array).all() for found in worked for array in found.values())


def test_a_factor_below_one_at_every_step_and_early_inputs_stop_being_heard() -> None:
    """tanh' is at most 1, so with |W_hh| = 1 and an error at the end alone the chain shrinks."""
    T = 12
    values = given_a(4, (T, 2, 5, 3))
    values["W_hh"] = np.linalg.qr(values["W_hh"])[0]
    values["y"][:-1] = 0  # no target, no error
    worked = derivations.tanh_rnn(**values)
    norms = [np.linalg.norm(worked.gradients[f"∂E/∂h_{t}"]) for t in range(T + 1)]
    assert all(early < late for early, late in itertools.pairwise(norms))
    assert norms[0] < 1e-2 * norms[T]


# --- B


def test_b_maximises_what_a_minimises() -> None:
    """With its target at the last step only, sheet A is B2 with the signs turned round."""
    values = given_b2(1, (3, 4, 3, 0))
    x, y = values["x"], np.zeros((3, 4))
    y[-1] = values["y"]
    matrices = {"W_xh": values["W_e"], "W_hh": values["W_r"], "W_hz": values["W_u"]}
    biases = {"b_h": np.zeros(3), "b_z": np.zeros(4)}
    a = derivations.tanh_rnn(x, y, **matrices, **biases, h_0=values["h_0"])
    b = derivations.next_word(**values)
    close(-a.values["E"], b.values["J"])
    for left, right in (("W_xh", "W_e"), ("W_hh", "W_r"), ("W_hz", "W_u"), ("h_1", "h_1")):
        close(-a.gradients[f"∂E/∂{left}"], b.gradients[f"∂J/∂{right}"])


def test_an_embedding_of_a_word_that_is_not_read_has_no_gradient() -> None:
    values = given_b1(1, (0, 5, 3, 0)) | {"x": np.eye(5)[2]}
    gradient = derivations.bigram(**values).gradients["∂J/∂W_embed"]
    assert not gradient[:, [0, 1, 3, 4]].any()
    assert gradient[:, 2].all()


def test_the_residual_factor_is_taken_from_g_not_from_h() -> None:
    values = given_b2(2, (3, 4, 3, 0))
    worked = derivations.next_word(**values, residual=True)
    h_2, g_2 = worked.values["h_2"], worked.values["g_2"]
    assert not np.allclose(np.tanh(g_2), h_2)
    later, W_r = worked.gradients["∂J/∂h_2"], values["W_r"]
    right = W_r.T @ ((1 - np.tanh(g_2) ** 2) * later) + later
    wrong = W_r.T @ ((1 - h_2 * h_2) * later) + later
    close(worked.gradients["∂J/∂h_1"], right)
    assert not np.allclose(worked.gradients["∂J/∂h_1"], wrong)


def test_where_tanh_saturates_only_the_residual_gradient_lives() -> None:
    values = given_b2(3, (3, 4, 3, 0))
    values["W_e"] = np.full((3, 4), 20.0)
    plain = derivations.next_word(**values).gradients
    residual = derivations.next_word(**values, residual=True).gradients
    assert np.linalg.norm(plain["∂J/∂h_1"]) < 1e-9 * np.linalg.norm(plain["∂J/∂h_3"])
    close(residual["∂J/∂h_1"], residual["∂J/∂h_3"])


# --- C


def test_the_table_of_shapes_is_the_sheets() -> None:
    assert derivations.shapes() == {
        "x_t": (15, 1),
        "W_x": (7, 15),
        "W_H": (7, 7),
        "a_t": (7, 1),
        "h_t": (7, 1),
        "W_y": (10, 7),
        "ŷ_t": (10, 1),
    }
    table = derivations.shapes(words=2, embedding=3, hidden=4, vocabulary=1)
    assert list(table.values()) == [(3, 1), (4, 3), (4, 4), (4, 1), (4, 1), (1, 4), (1, 1)]


@settings(max_examples=25)
@given(any_seed, any_sizes)
def test_the_double_sum_is_what_back_propagation_gives(seed: int, sizes: Sizes) -> None:
    values = given_c(seed, sizes)
    c = derivations.double_sum(**values)
    H, O = sizes[2:]  # noqa: E741
    matrices = {"W_xh": values["W_x"], "W_hh": values["W_H"], "W_hz": values["W_y"]}
    biases = {"b_h": np.zeros(H), "b_z": np.zeros(O)}
    a = derivations.tanh_rnn(values["x"], values["y"], **matrices, **biases, h_0=values["h_0"])
    close(c.values["L"], a.values["E"])
    close(c.gradients["∂L/∂W_H"], a.gradients["∂E/∂W_hh"])
    terms = c.gradients["∂L_t/∂W_H(k)"]
    for k in range(1, sizes[0] + 1):
        close(terms[:, k - 1].sum(axis=0), a.gradients[f"∂E/∂W_hh({k})"])


@settings(max_examples=15)
@given(any_seed, any_sizes)
def test_each_term_is_the_gradient_by_that_steps_own_matrix(seed: int, sizes: Sizes) -> None:
    values = given_c(seed, sizes)
    terms = derivations.double_sum(**values).gradients["∂L_t/∂W_H(k)"]
    g = {key: torch.tensor(value) for key, value in values.items()}
    T, h = sizes[0], g["h_0"]
    copies = [g["W_H"].clone().requires_grad_() for _ in range(T)]
    for t in range(T):
        h = torch.tanh(g["W_x"] @ g["x"][t] + copies[t] @ h)
        loss = -torch.log_softmax(g["W_y"] @ h, 0)[g["y"][t].argmax()]
        found = torch.autograd.grad(loss, copies, retain_graph=True, materialize_grads=True)
        close(terms[t], torch.stack(found))
    assert not any(terms[t, k].any() for t in range(T) for k in range(t + 1, T))


# --- D


def test_the_numbers_of_d_are_exact() -> None:
    values, gradients = derivations.linear_rnn([10, 10], [5, 5], w_x=0.1, w_h=1, w_y=2, h_0=1)
    assert values == {
        "a_1": 2, "a_2": 3,
        "h_0": 1, "h_1": 2, "h_2": 3, "ŷ_1": 4, "ŷ_2": 6, "L_1": 1, "L_2": 1, "L": 2,
    }  # fmt: skip
    terms = gradients.pop("∂L_t/∂w_h(k)")
    assert terms.tolist() == [[-4, 0], [4, 8]]  # their sum is ∂L/∂w_h
    assert gradients == {
        "∂h_2/∂h_0": 1, "∂L/∂ŷ_1": -2, "∂L/∂ŷ_2": 2, "∂L/∂h_0": 0, "∂L/∂h_1": 0, "∂L/∂h_2": 4,
        "∂L/∂w_h": 8, "∂L/∂w_x": 40, "∂L/∂w_y": 2,
    }  # fmt: skip
    assert all(value.shape == () for value in (values | gradients).values())


def test_numbers_are_matrices_of_size_one() -> None:
    numbers = given_d_numbers(1, (4, 0, 0, 0))
    rows = {"x": (4, 1), "y": (4, 1), "w_x": (1, 1), "w_h": (1, 1), "w_y": (1, 1), "h_0": (1,)}
    matrices = {key: numbers[key].reshape(shape) for key, shape in rows.items()}
    for one, other in zip(
        derivations.linear_rnn(**numbers), derivations.linear_rnn(**matrices), strict=True
    ):
        for key, value in one.items():
            close(value, other[key].reshape(value.shape))


@settings(max_examples=15)
@given(any_seed, any_sizes)
def test_the_terms_of_d_and_the_way_to_the_first_state(seed: int, sizes: Sizes) -> None:
    """Each term by a copy of w_h for each step; ∂h_T/∂h_0 by autograd, a sine in between."""
    values = given_d(seed, sizes)
    gradients = derivations.linear_rnn(**values, activation=SINE).gradients
    g = {key: torch.tensor(value) for key, value in values.items()}
    T, h = sizes[0], g["h_0"].requires_grad_()
    copies, start = [g["w_h"].clone().requires_grad_() for _ in range(T)], h
    terms = gradients["∂L_t/∂w_h(k)"]
    for t in range(T):
        h = torch.sin(g["w_x"] @ g["x"][t] + copies[t] @ h)
        loss = (g["w_y"] @ h - g["y"][t]).square().sum()
        found = torch.autograd.grad(loss, copies, retain_graph=True, materialize_grads=True)
        close(terms[t], torch.stack(found))
    rows = [torch.autograd.grad(entry, start, retain_graph=True)[0] for entry in h]
    close(gradients[f"∂h_{T}/∂h_0"], torch.stack(rows))
    close(terms.sum(axis=(0, 1)), gradients["∂L/∂w_h"])


# --- F


def test_the_immediate_and_the_total_derivative_of_a_state_by_a_weight() -> None:
    """∂⁺ by the step's own copy, ∂ by the shared matrix; the losses' parts sum to ∂L/∂W."""
    values = given_f(4, (3, 2, 4, 3))
    gradients = derivations.sigmoid_rnn(**values).gradients
    g = {key: torch.tensor(value) for key, value in values.items()}
    jacobian = torch.autograd.functional.jacobian
    for t in (1, 2, 3):

        def state(W_xh: Tensor, W_hh: Tensor, upto: int = t) -> Tensor:
            h = g["h_0"]
            for x in g["x"][:upto]:
                h = torch.sigmoid(W_xh @ x + W_hh @ h + g["b_h"])
            return h

        def step(W_xh: Tensor, W_hh: Tensor, last: int = t) -> Tensor:
            before = state(g["W_xh"], g["W_hh"], last - 1)
            return torch.sigmoid(W_xh @ g["x"][last - 1] + W_hh @ before + g["b_h"])

        given = (g["W_xh"], g["W_hh"])
        for name, total, own in zip(
            ("W_xh", "W_hh"), jacobian(state, given), jacobian(step, given), strict=True
        ):
            close(gradients[f"∂h_{t}/∂{name}"], total)
            close(gradients[f"∂⁺h_{t}/∂{name}"], own)
    for name in ("W_xh", "W_hh"):
        parts = [
            np.einsum("i,ijl->jl", gradients[f"∂L_{t}/∂h_{t}"], gradients[f"∂h_{t}/∂{name}"])
            for t in (1, 2, 3)
        ]
        close(gradients[f"∂L/∂{name}"], sum(parts))
    assert not np.allclose(gradients["∂h_2/∂W_hh"], gradients["∂⁺h_2/∂W_hh"])


def test_the_parts_of_the_chain_of_f() -> None:
    """∂L_t/∂h_t and ∂h_t/∂h_{t-1} by autograd; their products sum to ∂L/∂h_1."""
    values = given_f(1, (3, 2, 4, 3))
    gradients = derivations.sigmoid_rnn(**values).gradients
    g = {key: torch.tensor(value) for key, value in values.items()}
    before = g["h_0"]
    for t in range(1, 4):

        def step(h: Tensor, t: int = t) -> Tensor:
            return torch.sigmoid(g["W_xh"] @ g["x"][t - 1] + g["W_hh"] @ h + g["b_h"])

        def error(h: Tensor, t: int = t) -> Tensor:
            y = torch.sigmoid(g["W_hy"] @ h + g["b_y"])
            return ((g["targets"][t - 1] - y) ** 2).sum()

        jacobian = torch.autograd.functional.jacobian
        close(gradients[f"∂h_{t}/∂h_{t - 1}"], jacobian(step, before))
        before = step(before)
        close(gradients[f"∂L_{t}/∂h_{t}"], jacobian(error, before))
    chain = gradients["∂h_3/∂h_2"] @ gradients["∂h_2/∂h_1"]
    total = gradients["∂L_1/∂h_1"] + gradients["∂L_2/∂h_2"] @ gradients["∂h_2/∂h_1"]
    close(gradients["∂L/∂h_1"], total + gradients["∂L_3/∂h_3"] @ chain)


@pytest.mark.parametrize("size", [0.5, 2.0])
def test_a_small_matrix_lets_the_gradient_vanish_and_a_large_one_explode(size: float) -> None:
    T = 10
    values = given_f(2, (T, 2, 3, 3)) | {"W_hh": size * np.eye(3)}
    gradients = derivations.sigmoid_rnn(**values, activation=IDENTITY).gradients
    chain = np.eye(3)
    for t in range(T, 0, -1):
        chain = chain @ gradients[f"∂h_{t}/∂h_{t - 1}"]
    close(chain, size**T * np.eye(3))


def test_the_logistic_function_overflows_nowhere() -> None:
    a = np.array([-1e4, -2.0, 0.0, 3.0, 1e4])
    close(derivations.sigmoid(a), torch.sigmoid(torch.tensor(a)))
    close(derivations.SIGMOID.derivative(np.array([0.0, -1e4])), [0.25, 0.0])


# --- what trains


def trained(
    name: str, x: Array, at: Array, *, W_x: Array, W_h: Array, b: Array, h_0: Array
) -> Given:
    """The production recurrence on a batch of one; ``at`` (T H) arrives at its states."""
    run, back = RECURRENCES[name]
    projected = torch.tensor(x @ W_x.T + b)[None, :, None]
    recurrent, initial = torch.tensor(W_h.T.copy())[None], torch.tensor(h_0)[None, None, None]
    trace = run(projected, recurrent, initial)
    found = back(trace, recurrent, torch.tensor(at)[None, None, :, None])
    of_gates = found.projected[0, :, 0].numpy()
    return {
        "states": trace.states[0, 0, :, 0].numpy(),
        "W_x": of_gates.T @ x,
        "W_h": found.recurrent[0].T.numpy(),
        "b": of_gates.sum(axis=0),
        "h_0": found.initial[0, 0, 0].numpy(),
    }


@settings(max_examples=25)
@given(any_seed, any_sizes)
def test_what_trains_is_sheet_a(seed: int, sizes: Sizes) -> None:
    v = given_a(seed, sizes)
    values, gradients = derivations.tanh_rnn(**v)
    steps = range(1, sizes[0] + 1)
    at = np.array([gradients[f"∂E/∂o_{t}"] @ v["W_hz"] for t in steps])
    weights = {"W_x": v["W_xh"], "W_h": v["W_hh"], "b": v["b_h"], "h_0": v["h_0"]}
    found = trained("tanh", v["x"], at, **weights)
    close(found["states"], [values[f"h_{t}"] for t in range(len(steps) + 1)], within=1e-9)
    for key, name in (("W_x", "W_xh"), ("W_h", "W_hh"), ("b", "b_h"), ("h_0", "h_0")):
        close(found[key], gradients[f"∂E/∂{name}"], within=1e-9)


@pytest.mark.parametrize("name", ["tanh", "residual"])
@settings(max_examples=25)
@given(any_seed, any_sizes)
def test_what_trains_is_sheet_b(name: str, seed: int, sizes: Sizes) -> None:
    v = given_b2(seed, sizes)
    values, gradients = derivations.next_word(**v, residual=name == "residual")
    T, M = sizes[0], sizes[2]
    at = np.zeros((T, M))
    at[-1] = gradients[f"∂J/∂h_{T}"]
    weights = {"W_x": v["W_e"], "W_h": v["W_r"], "b": np.zeros(M), "h_0": v["h_0"]}
    found = trained(name, v["x"], at, **weights)
    close(found["states"], [values[f"h_{t}"] for t in range(T + 1)], within=1e-9)
    for key, of_sheet in (("W_x", "W_e"), ("W_h", "W_r"), ("h_0", "h_0")):
        close(found[key], gradients[f"∂J/∂{of_sheet}"], within=1e-9)


# --- what is refused, and what is not needed


FIRST = {name: case[0](0, (3, 4, 2, 5)) for name, case in CASES.items()}


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("A", {"W_hh": np.ones((2, 3))}, "W_hh is 2×3, expected 2×2"),
        ("A", {"W_xh": np.ones((4, 2))}, "W_xh is 4×2, expected 4×4"),
        ("A", {"y": np.ones((2, 5))}, "y is 2×5, expected 3×5"),
        ("A", {"x": np.ones((0, 4))}, "x is 0×4, expected T×4"),
        ("A", {"b_h": np.ones((2, 1))}, "b_h is 2×1, expected 2"),
        ("A", {"b_z": 1.0}, "b_z is a number, expected 5"),
        ("B1", {"x": np.ones((1, 4))}, "x is 1×4, expected N"),
        ("B1", {"W_unembed": np.ones((2, 4))}, "W_unembed is 2×4, expected 4×2"),
        ("B1", {"y": np.ones(4)}, "y sums to 4.0, expected 1"),
        ("B2", {"y": np.ones(4) / 2}, "y sums to 2.0, expected 1"),
        ("B2", {"h_0": np.ones(3)}, "h_0 is 3, expected 2"),
        ("C", {"y": np.eye(5)[:3] * [[1], [0], [1]]}, r"y sums to \[1.0, 0.0, 1.0\], expected 1"),
        ("C", {"W_y": np.ones((2, 2))}, "W_y is 2×2, expected 5×2"),
        ("D", {"w_x": 1.0}, "x is 3×4, expected T"),
        ("D, numbers", {"w_x": np.ones((2, 1))}, "x is 3, expected T×I"),
        ("D, numbers", {"w_y": np.ones(1)}, "w_y is 1, expected a number"),
        ("F", {"targets": np.ones((3, 4))}, "W_hy is 5×2, expected 4×2"),
    ],
)
def test_what_does_not_fit_is_named(name: str, changed: Given, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        CASES[name][1](**FIRST[name] | changed)


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="x is 0×15, expected T×15"):
        derivations.shapes(words=0)


def test_numpy_is_all_it_takes() -> None:
    tree = ast.parse(Path(derivations.__file__).read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    names = [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [one.name for node in nodes if isinstance(node, ast.Import) for one in node.names]
    allowed = {"__future__", "collections", "typing", "numpy"}
    assert {name.partition(".")[0] for name in names} <= allowed
    program = "import sys, charseq.gradients.derivations; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
