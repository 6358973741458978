"""Attention by a loop over positions; a pointer by walking. What is not seen gets nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from charseq.data.text.alignment import Actions
from charseq.models.layers import Attention, Pointer, look_up

H, M, E = 3, 4, 5
LENGTHS = [5, 2, 1]
MASK = torch.arange(5) < torch.tensor(LENGTHS)[:, None]


@pytest.fixture
def attention() -> Attention:
    torch.manual_seed(5)
    return Attention(H, M, E).double()


def given() -> tuple[Tensor, Tensor]:
    """Queries T B H and a memory S B M."""
    return torch.randn(4, 3, H, dtype=torch.float64), torch.randn(5, 3, M, dtype=torch.float64)


def test_it_is_the_loop_over_positions(attention: Attention) -> None:
    """weights_t = softmax_s(q_t · k_s / √H), context_t = Σ_s weights_{t,s} v_s."""
    queries, memory = given()
    contexts, weights = attention(queries, memory, MASK)
    assert (contexts.shape, weights.shape) == ((4, 3, E), (3, 4, 5))
    with torch.no_grad():
        for row, length in enumerate(LENGTHS):
            keys = [attention.key.weight @ memory[s, row] for s in range(length)]
            values = [attention.value.weight @ memory[s, row] for s in range(length)]
            for step in range(4):
                powers = [math.exp(queries[step, row] @ key / math.sqrt(H)) for key in keys]
                shares = [power / sum(powers) for power in powers]
                context = sum(p * value for p, value in zip(shares, values, strict=True))
                torch.testing.assert_close(contexts[step, row], context, rtol=0, atol=1e-12)
                wanted = torch.tensor(shares + [0.0] * (5 - length), dtype=torch.float64)
                torch.testing.assert_close(weights[row, step], wanted, rtol=0, atol=1e-12)


def test_masked_positions_get_no_weight_and_no_gradient(attention: Attention) -> None:
    queries, memory = given()
    memory.requires_grad_()
    contexts, weights = attention(queries, memory, MASK)
    hidden = ~MASK[:, None].expand_as(weights)
    assert bool((weights[hidden] == 0).all())
    assert bool((weights[~hidden] > 0).all())
    assert torch.allclose(weights.sum(-1), torch.ones((), dtype=torch.float64))
    (contexts * torch.randn_like(contexts)).sum().backward()
    assert bool((memory.grad[~MASK.T] == 0).all())
    # every position that is seen has a gradient, by its value if not by its key
    assert bool((memory.grad[MASK.T].abs().sum(-1) > 0).all())


def test_what_stands_in_the_padding_changes_no_bit(attention: Attention) -> None:
    queries, memory = given()
    spoilt = memory.masked_fill(~MASK.T[..., None], 1e6)
    for one, other in zip(
        attention(queries, memory, MASK), attention(queries, spoilt, MASK), strict=True
    ):
        assert torch.equal(one, other)


def test_a_single_position_gets_everything(attention: Attention) -> None:
    queries, memory = given()
    contexts, weights = attention(queries, memory, MASK)
    assert torch.equal(weights[2, :, 0], torch.ones(4, dtype=torch.float64))
    value = memory[0, 2] @ attention.value.weight.T
    torch.testing.assert_close(contexts[:, 2], value.expand(4, E), rtol=0, atol=1e-12)


def test_scores_of_a_thousand_do_not_overflow(attention: Attention) -> None:
    queries, memory = given()
    contexts, weights = attention(queries * 1e4, memory, MASK)
    assert bool(torch.isfinite(contexts).all())
    assert torch.allclose(weights.sum(-1), torch.ones((), dtype=torch.float64))


def test_under_autocast_the_softmax_is_exact() -> None:
    torch.manual_seed(6)
    attention = Attention(8, M, E)
    queries, memory = torch.randn(4, 3, 8), torch.randn(5, 3, M)
    exact, _ = attention(queries, memory, MASK)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        contexts, weights = attention(queries, memory, MASK)
    assert weights.dtype == torch.float32
    assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-6)
    assert float((contexts.float() - exact).detach().abs().max()) < 0.1


def test_its_weights_are_two_matrices(attention: Attention) -> None:
    shapes = {name: tuple(value.shape) for name, value in attention.named_parameters()}
    assert shapes == {"key.weight": (H, M), "value.weight": (E, M)}
    for weight in attention.parameters():
        bound = math.sqrt(6 / sum(weight.shape))
        assert 0.7 * bound < float(weight.detach().abs().max()) <= bound


# --- hard attention

V = 6
GO, SKIP = V, 2 * V
WALKS = torch.tensor(
    [
        [1, 4, GO + 5, 5, SKIP, GO + 4],
        [1, SKIP, SKIP, 4, 4, 0],
        [1, GO + 4, 0, 0, 0, 0],
    ]
)
PLACES = [[0, 0, 1, 1, 2, 3], [0, 1, 2, 2, 2, 2], [0, 1, 1, 1, 1, 1]]


@pytest.fixture
def pointer() -> Pointer:
    torch.manual_seed(5)
    return Pointer(M, E, Actions(V)).double()


def test_it_goes_on_after_what_goes_on(pointer: Pointer) -> None:
    """To write EOS, padding or a symbol and stay moves nothing; the place is the next step's."""
    assert pointer.places(WALKS, 5).tolist() == PLACES
    # what stands in the padding leads nowhere
    assert pointer.places(torch.full((1, 7), SKIP), 4).tolist() == [[1, 2, 3, 3, 3, 3, 3]]


def test_what_is_heard_and_said_is_of_the_place(pointer: Pointer) -> None:
    memory = torch.randn(5, 3, M, dtype=torch.float64)
    heard, said = pointer(memory, torch.tensor(PLACES))
    assert heard.shape == said.shape == (6, 3, E)
    assert not torch.allclose(heard, said)
    with torch.no_grad():
        for row, places in enumerate(PLACES):
            for step, place in enumerate(places):
                for found, layer in ((heard, pointer.input), (said, pointer.output)):
                    wanted = layer.weight @ memory[place, row]
                    torch.testing.assert_close(found[step, row], wanted, rtol=0, atol=1e-12)


def test_only_places_that_were_walked_get_a_gradient(pointer: Pointer) -> None:
    memory = torch.randn(5, 3, M, dtype=torch.float64, requires_grad=True)
    heard, said = pointer(memory, torch.tensor(PLACES))
    (heard.square().sum() + said.sum()).backward()
    assert memory.grad is not None
    seen = memory.grad.abs().sum(-1) > 0
    wanted = [[place in places for places in PLACES] for place in range(5)]
    assert seen.tolist() == wanted


def test_a_pointers_weights_are_two_matrices(pointer: Pointer) -> None:
    shapes = {name: tuple(value.shape) for name, value in pointer.named_parameters()}
    assert shapes == {"input.weight": (E, M), "output.weight": (E, M)}
    for weight in pointer.parameters():
        bound = math.sqrt(6 / sum(weight.shape))
        assert 0.7 * bound < float(weight.detach().abs().max()) <= bound


def test_a_product_with_one_hot_rows_looks_up_the_same() -> None:
    values = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    places = torch.tensor(PLACES).T
    found = look_up(values, places)
    wanted = values.gather(0, places[:, :, None].expand(-1, -1, 4))
    assert torch.equal(found, wanted)
    arriving = torch.randn_like(wanted)
    gradients = [torch.autograd.grad(one, values, arriving)[0] for one in (found, wanted)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)
