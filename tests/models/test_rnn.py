"""A batch over time against its rows alone; what lies beyond a row's end must not matter."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from charseq.kernels import library, rnn_fused
from charseq.models import rnn as module
from charseq.models.cells import CELLS
from charseq.models.rnn import Permute, Recurrence, Unroll, reversal, unroll_cell

NAMES = tuple(CELLS)
I, H = 3, 2  # noqa: E741
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(4)


def build(name: str, *, layers: int = 1, bidirectional: bool = True) -> Recurrence:
    """A recurrence in double precision whose biases are not zero."""
    made = Recurrence(name, I, H, layers=layers, bidirectional=bidirectional).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def alone(recurrence: Recurrence, row: Tensor, initial: Tensor | None = None) -> list[Tensor]:
    """One row, T I, by the plain loop: outputs T DH, then each layer's final state K DH."""
    finals = []
    for layer in range(recurrence.layers):
        ways, ends = [], []
        for direction in range(recurrence.directions):
            cell = recurrence.cells[layer * recurrence.directions + direction]
            start = normal(cell.states, 1, H) * 0 if initial is None else initial[layer][:, None]
            given = row.flip(0) if direction else row
            states = unroll_cell(cell, given[:, None], start)[:, :, 0]
            ends.append(states[:, -1])
            ways.append(states[0].flip(0) if direction else states[0])
        finals.append(torch.cat(ends, dim=-1))
        row = torch.cat(ways, dim=-1)
    return [row, *finals]


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


# --- the function over time


@pytest.mark.parametrize("name", NAMES)
def test_unroll_has_the_gradient_of_its_differences(name: str) -> None:
    wide, kept = CELLS[name].gates * H, CELLS[name].states
    inputs = (normal(2, 3, 2, wide), normal(2, H, wide), normal(kept, 2, 2, H))
    for value in inputs:
        value.requires_grad_()
    assert torch.autograd.gradcheck(lambda *given: Unroll.apply(name, *given), inputs)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_weight_and_the_first_state(name: str) -> None:
    recurrence = build(name, bidirectional=False)
    cell = recurrence.cells[0]
    inputs, initial = (
        normal(5, 3, I).requires_grad_(),
        normal(1, cell.states, 3, H).requires_grad_(),
    )
    wanted = [inputs, initial, cell.input, cell.bias, cell.recurrent]
    arriving, at_end = normal(5, 3, H), normal(1, cell.states, 3, H)

    outputs, final = recurrence(inputs, initial=initial)
    loss = (outputs * arriving).sum() + (final * at_end).sum()
    states = unroll_cell(cell, inputs, initial[0])
    plain = (states[0] * arriving).sum() + (states[:, -1] * at_end[0]).sum()
    close(loss, plain)
    pairs = zip(torch.autograd.grad(loss, wanted), torch.autograd.grad(plain, wanted), strict=True)
    for one, other in pairs:
        close(one, other)


# --- a batch and its rows


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 2))
def test_both_directions_of_a_batch_are_those_of_each_row_alone(
    name: str, layers: int, lengths: list[int], extra: int
) -> None:
    torch.manual_seed(9)  # for every example anew
    recurrence = build(name, layers=layers)
    inputs = normal(max(lengths) + extra, len(lengths), I)
    outputs, final = recurrence(inputs, torch.tensor(lengths))
    assert outputs.shape == (*inputs.shape[:2], 2 * H)
    assert final.shape == (layers, CELLS[name].states, len(lengths), 2 * H)
    for row, length in enumerate(lengths):
        expected, *ends = alone(recurrence, inputs[:length, row])
        close(outputs[:length, row], expected)
        close(final[:, :, row], torch.stack(ends))


@pytest.mark.parametrize("name", NAMES)
def test_one_direction_from_a_given_state_with_lengths(name: str) -> None:
    recurrence = build(name, layers=2, bidirectional=False)
    lengths = [4, 1, 3]
    inputs, initial = normal(4, 3, I), normal(2, CELLS[name].states, 3, H)
    outputs, final = recurrence(inputs, torch.tensor(lengths), initial)
    for row, length in enumerate(lengths):
        expected, *ends = alone(recurrence, inputs[:length, row], initial[:, :, row])
        close(outputs[:length, row], expected)
        close(final[:, :, row], torch.stack(ends))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_without_lengths_every_row_is_whole(bidirectional: bool) -> None:
    recurrence = build("gru", layers=2, bidirectional=bidirectional)
    inputs = normal(4, 3, I)
    pairs = zip(recurrence(inputs), recurrence(inputs, torch.full((3,), 4)), strict=True)
    for one, other in pairs:
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing_and_gets_no_gradient(name: str) -> None:
    recurrence = build(name, layers=2)
    lengths = torch.tensor([2, 5, 1])
    padding = torch.arange(5)[:, None] >= lengths
    inputs = normal(5, 3, I).requires_grad_()
    outputs, final = recurrence(inputs, lengths)
    spoilt = inputs.detach().masked_fill(padding[..., None], 1e3)
    other_outputs, other_final = recurrence(spoilt, lengths)
    assert torch.equal(outputs[~padding], other_outputs[~padding])
    assert torch.equal(final, other_final)
    (outputs[~padding].sum() + final.sum()).backward()
    assert bool((inputs.grad[padding] == 0).all())
    assert bool((inputs.grad[~padding] != 0).all())


def test_memory_laid_out_in_another_order_is_read_alike() -> None:
    recurrence = build("lstm")
    inputs = normal(3, 5, I)
    assert torch.equal(
        recurrence(inputs.transpose(0, 1))[0], recurrence(inputs.transpose(0, 1).contiguous())[0]
    )


# --- the two directions


def test_reversal_turns_each_row_within_its_length() -> None:
    order = reversal(4, 3, torch.tensor([4, 2, 1]), CPU).view(4, 3)
    assert (order // 3).T.tolist() == [[3, 2, 1, 0], [1, 0, 2, 3], [0, 1, 2, 3]]
    assert (order % 3).tolist() == [[0, 1, 2]] * 4
    assert (reversal(3, 1, None, CPU)).tolist() == [2, 1, 0]


@settings(max_examples=30)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 3))
def test_reversal_twice_is_nothing(lengths: list[int], extra: int) -> None:
    steps = max(lengths) + extra
    order = reversal(steps, len(lengths), torch.tensor(lengths), CPU)
    assert torch.equal(order[order], torch.arange(steps * len(lengths)))


def test_permute_brings_gradients_back() -> None:
    order = reversal(4, 3, torch.tensor([4, 2, 3]), CPU)
    values = normal(4, 3, 2).requires_grad_()
    assert torch.equal(Permute.apply(values, order).reshape(12, 2), values.reshape(12, 2)[order])
    assert torch.autograd.gradcheck(lambda given: Permute.apply(given, order), (values,))


# --- noise


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_on_the_recurrent_weights_holds_for_the_whole_batch(name: str) -> None:
    """A weight that was dropped has no gradient; without those, it is the plain recurrence."""
    noisy = Recurrence(name, I, 6, layers=2, recurrent_dropout=0.5).double()
    inputs = normal(5, 3, I)
    outputs, final = noisy(inputs)
    loss = outputs.square().sum() + final.square().sum()
    found = torch.autograd.grad(loss, [cell.recurrent for cell in noisy.cells])
    plain = Recurrence(name, I, 6, layers=2).double()
    plain.load_state_dict(noisy.state_dict())
    for cell, gradient in zip(plain.cells, found, strict=True):
        dropped = gradient == 0
        assert 0 < int(dropped.sum()) < dropped.numel()
        cell.recurrent.data *= 2 * ~dropped
    expected, end = plain(inputs)
    close(outputs, expected)
    close(final, end)
    wanted = torch.autograd.grad(
        expected.square().sum() + end.square().sum(), [cell.recurrent for cell in plain.cells]
    )
    for gradient, other in zip(found, wanted, strict=True):
        close(gradient, 2 * other * (gradient != 0))


def test_at_rest_no_weight_is_dropped() -> None:
    noisy, inputs = Recurrence("gru", I, H, recurrent_dropout=0.5), torch.randn(3, 2, I)
    exact = noisy.eval()(inputs)[0]
    assert not torch.allclose(noisy.train()(inputs)[0], exact)
    noisy.recurrent_dropout = 0.0
    assert torch.equal(noisy(inputs)[0], exact)


def test_another_mask_is_drawn_for_every_layer_and_every_batch() -> None:
    noisy = Recurrence("tanh", 16, 16, layers=2, recurrent_dropout=0.5)
    masks = set()
    for _ in range(2):
        loss = noisy(torch.randn(3, 2, 16))[0].sum()
        for gradient in torch.autograd.grad(loss, [cell.recurrent for cell in noisy.cells]):
            masks.add(tuple((gradient == 0).flatten().tolist()))
    assert len(masks) == 4


def test_between_layers_the_same_units_are_dropped_at_every_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noisy = Recurrence("lstm", I, H, layers=3, dropout=0.25)
    calls = []

    def noted(values: Tensor, probability: float, *, training: bool) -> Tensor:
        calls.append((tuple(values.shape), probability, training))
        return -values

    inputs = torch.randn(4, 2, I)
    exact = noisy.eval()(inputs)[0]
    assert torch.equal(noisy(inputs)[0], exact)
    assert not torch.allclose(noisy.train()(inputs)[0], exact)
    monkeypatch.setattr(module, "variational_dropout", noted)
    changed = noisy(inputs)[0]
    assert calls == [((4, 2, H), 0.25, True)] * 2
    # what was returned is what the next layer read
    for cell in list(noisy.cells)[1:]:
        cell.input.data.neg_()
    monkeypatch.undo()
    assert torch.equal(noisy.eval()(inputs)[0], changed)


# --- half precision


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_autocast_rounds_the_products_and_keeps_the_states(name: str, compiled: bool) -> None:
    if compiled and library.find() is None:
        pytest.skip("the library is not built here")
    recurrence = Recurrence(name, I, 8, layers=2, bidirectional=True)
    recurrence.compiled = compiled  # type: ignore[misc]
    inputs = torch.randn(6, 4, I)
    lengths = torch.tensor([6, 2, 5, 1])
    exact = recurrence(inputs, lengths)[0].detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, final = recurrence(inputs, lengths)
    assert outputs.dtype == (torch.bfloat16 if compiled else torch.float32)
    assert final.dtype == torch.float32
    assert 0 < float((outputs.detach() - exact).abs().max()) < 0.1
    outputs.sum().backward()
    for parameter in recurrence.parameters():
        assert parameter.grad.dtype == torch.float32
        assert bool(torch.isfinite(parameter.grad).all())
        assert bool((parameter.grad != 0).any())


@pytest.mark.parametrize("name", NAMES)
def test_autocast_rounds_the_products_with_the_state_as_well(name: str) -> None:
    recurrence = Recurrence(name, I, 8)
    inputs, initial = torch.zeros(3, 2, I), torch.randn(1, CELLS[name].states, 2, 8)
    exact = recurrence(inputs, initial=initial)[0].detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = recurrence(inputs, initial=initial)[0].detach()
    assert 0 < float((outputs - exact).abs().max()) < 0.1


# --- in one kernel


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("name", ["tanh", "residual", "gru"])
def test_around_a_kernel_for_all_steps_nothing_else_changes(
    name: str, bidirectional: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes in and comes out of it, with the loop over steps in its place."""
    made = build(name, layers=2, bidirectional=bidirectional)
    inputs = normal(5, 3, I).requires_grad_()
    lengths = torch.tensor([5, 1, 3])
    inside = (torch.arange(5)[:, None] < lengths)[:, :, None]
    found = []
    for able in (False, True):
        monkeypatch.setattr(rnn_fused, "fits", lambda *_, able=able: able)
        monkeypatch.setattr(rnn_fused, "Fused", Unroll)
        torch.manual_seed(6)
        outputs, final = made(inputs, lengths)
        loss = (outputs * inside * normal(*outputs.shape)).sum() + (
            final * normal(*final.shape)
        ).sum()
        gradients = torch.autograd.grad(loss, [inputs, *made.parameters()])
        found.append([outputs * inside, final, *gradients])
    for one, other in zip(*found, strict=True):
        close(one, other)
