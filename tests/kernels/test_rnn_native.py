"""The compiled loop against the one in torch, which is checked against autograd in float64.

What it would get wrong: a place in memory (directions, turned rows, padding, sizes that fill no
vector and no tile), a term of a gradient, a rounding too much.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from charseq.kernels import library, matmul, rnn_native
from charseq.models.cells import CELLS
from charseq.models.rnn import Recurrence

LIBRARY = library.find()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="the library is not built here")
ABLE = () if LIBRARY is None else library.LEVELS[: LIBRARY.number + 1]
NAMES = tuple(CELLS)
FINE, COARSE = torch.float32, torch.bfloat16


class Case(NamedTuple):
    """A recurrence, what it is given, and what arrives on the way back."""

    recurrence: Recurrence
    inputs: Tensor
    lengths: Tensor | None
    initial: Tensor | None
    arriving: Tensor
    at_end: Tensor


def draw(
    name: str, seed: int, sizes: tuple[int, int, int], *, directions: int = 2, layers: int = 1
) -> Case:
    """T steps of B rows and H units; in two directions each row ends where it likes."""
    steps, batch, hidden = sizes
    torch.manual_seed(seed)
    both = directions == 2
    recurrence = Recurrence(name, 5, hidden, layers=layers, bidirectional=both)
    with torch.no_grad():
        for cell in recurrence.cells:
            cell.bias.normal_()
    wide = directions * hidden
    lengths = torch.randint(1, steps + 1, (batch,)) if both else None
    inside = torch.ones(steps, batch, 1)
    if lengths is not None:
        inside = (torch.arange(steps)[:, None] < lengths)[..., None].float()
    initial = None if both else torch.randn(layers, recurrence.states, batch, hidden)
    return Case(
        recurrence,
        torch.randn(steps, batch, 5),
        lengths,
        initial,
        torch.randn(steps, batch, wide) * inside,
        torch.randn(layers, recurrence.states, batch, wide),
    )


def follow(case: Case, precision: torch.dtype, *, compiled: bool) -> list[Tensor]:
    """Outputs, final states and the gradients of everything, in float64."""
    kind = torch.float64 if precision == torch.float64 else torch.float32
    recurrence = copy.deepcopy(case.recurrence).to(kind)
    recurrence.compiled = compiled  # type: ignore[misc]
    inputs = case.inputs.to(kind).requires_grad_()
    wanted = [inputs, *recurrence.parameters()]
    initial = None
    if case.initial is not None:
        initial = case.initial.to(kind).requires_grad_()
        wanted.append(initial)
    with torch.autocast("cpu", COARSE, enabled=precision == COARSE):
        outputs, final = recurrence(inputs, case.lengths, initial)
    loss = (outputs * case.arriving.to(kind)).sum() + (final * case.at_end.to(kind)).sum()
    inside = (case.arriving != 0).double()
    found = [outputs.detach().double() * inside, final.detach()]
    return [value.double() for value in (*found, *torch.autograd.grad(loss, wanted))]


def errors(found: list[Tensor], wanted: list[Tensor]) -> list[float]:
    """Of each tensor, in relation to its norm, or to 1: gradients of saturated units are small."""
    pairs = zip(found, wanted, strict=True)
    return [float((one - other).norm() / (1 + other.norm())) for one, other in pairs]


@pytest.fixture(params=ABLE)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every level of the library that this processor can run."""
    name: str = request.param
    assert LIBRARY is not None
    found = library.Kernels(LIBRARY.library, name)
    monkeypatch.setattr(library, "find", lambda: found)
    return name


SIZES = st.tuples(st.integers(1, 6), st.integers(1, 70), st.integers(1, 40))


# --- by value


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**31), SIZES, st.integers(1, 2), st.integers(1, 2))
def test_states_and_gradients_are_those_of_double_precision(
    name: str, seed: int, sizes: tuple[int, int, int], directions: int, layers: int
) -> None:
    case = draw(name, seed, sizes, directions=directions, layers=layers)
    wanted = follow(case, torch.float64, compiled=False)
    assert max(errors(follow(case, FINE, compiled=True), wanted)) < 3e-6


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**31), SIZES, st.integers(1, 2))
def test_in_bfloat16_only_the_products_are_coarse(
    name: str, seed: int, sizes: tuple[int, int, int], directions: int
) -> None:
    case = draw(name, seed, sizes, directions=directions)
    wanted = follow(case, torch.float64, compiled=False)
    found = errors(follow(case, COARSE, compiled=True), wanted)
    usual = errors(follow(case, COARSE, compiled=False), wanted)
    assert max(found) < 1.5 * max(usual) + 2e-3


@pytest.mark.parametrize("precision", [FINE, COARSE])
@pytest.mark.parametrize("name", NAMES)
def test_every_level_of_the_processor_says_the_same(
    name: str, precision: torch.dtype, level: str
) -> None:
    case = draw(name, 3, (4, 35, 37))
    wanted = follow(case, torch.float64, compiled=False)
    assert max(errors(follow(case, precision, compiled=True), wanted)) < (
        3e-6 if precision == FINE else 2e-2
    )


@pytest.mark.parametrize("name", NAMES)
def test_packed_weights_are_multiplied_as_torch_does(
    name: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not matmul.available():
        pytest.skip(f"bfloat16 is not multiplied at the level {level}")
    case = draw(name, 5, (3, 33, 40))
    packed = follow(case, COARSE, compiled=True)
    monkeypatch.setattr(matmul, "available", lambda: False)
    apart = follow(case, COARSE, compiled=True)
    assert 0 < max(errors(packed, apart)) < 1e-2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", [FINE, COARSE])
def test_a_row_does_not_see_its_neighbours(name: str, precision: torch.dtype) -> None:
    case = draw(name, 9, (5, 40, 24))
    whole = follow(case, precision, compiled=True)[0]
    assert case.lengths is not None
    some = case._replace(
        inputs=case.inputs[:, 7:9],
        lengths=case.lengths[7:9],
        arriving=case.arriving[:, 7:9],
        at_end=case.at_end[:, :, 7:9],
    )
    alone = follow(some, precision, compiled=True)[0]
    assert errors([alone], [whole[:, 7:9]])[0] < 1e-2 if precision == COARSE else 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_a_second_thread_changes_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = draw(name, 9, (5, 70, 24))
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(follow(case, COARSE, compiled=True))
    for other in found[1:]:
        assert all(torch.equal(one, same) for one, same in zip(other, found[0], strict=True))


# --- when it is used


def test_it_is_used_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    apply = rnn_native.Unrolled.apply
    monkeypatch.setattr(
        rnn_native.Unrolled, "apply", lambda *given: called.append(given) or apply(*given)
    )
    case = draw("gru", 1, (2, 3, 4))
    follow(case, FINE, compiled=True)
    assert len(called) == 1
    follow(case, FINE, compiled=False)
    follow(case, torch.float64, compiled=True)
    monkeypatch.setattr(library, "find", lambda: None)
    follow(case, FINE, compiled=True)
    assert len(called) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", [FINE, COARSE])
def test_what_is_no_number_stays_none(name: str, precision: torch.dtype) -> None:
    """A trainer that skips such steps has to see them."""
    case = draw(name, 2, (3, 2, 20), directions=1)
    case.inputs[0, 1, 0] = torch.nan
    outputs, *rest = follow(case, precision, compiled=True)
    assert not outputs[:, 0].isnan().any()
    assert outputs[-1, 1].isnan().any()
    assert rest[2].isnan().any()


def test_lengths_of_another_kind_are_refused() -> None:
    case = draw("gru", 1, (2, 3, 4))
    assert case.lengths is not None
    with pytest.raises(ValueError, match="int64"):
        case.recurrence(case.inputs, case.lengths.int())
