"""Attention against a loop over positions, one-hot embeddings by value, dropout by its shares."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn

from charseq.data.text.alignment import Actions
from charseq.kernels import library as kernels
from charseq.models.layers import (
    MAX_ONE_HOT,
    Attention,
    Dropout,
    Pointer,
    decode,
    embed,
    encode,
    select,
    select_positions,
    sum_by_id,
    sum_rows,
    variational_dropout,
)  # fmt: skip

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


def test_attention_is_a_loop_over_positions(attention: Attention) -> None:
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
    assert pointer.positions(WALKS, 5).tolist() == PLACES
    # what stands in the padding leads nowhere
    assert pointer.positions(torch.full((1, 7), SKIP), 4).tolist() == [[1, 2, 3, 3, 3, 3, 3]]


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
    found = select_positions(values, places)
    wanted = values.gather(0, places[:, :, None].expand(-1, -1, 4))
    assert torch.equal(found, wanted)
    arriving = torch.randn_like(wanted)
    gradients = [torch.autograd.grad(one, values, arriving)[0] for one in (found, wanted)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


# --- one-hot rows and embeddings

SHAPES = st.lists(st.integers(1, 4), max_size=3).map(tuple)
SEEDS = st.integers(0, 10_000)


def some_ids(shape: tuple[int, ...], size: int, seed: int) -> torch.Tensor:
    return torch.randint(size, shape, generator=torch.Generator().manual_seed(seed))


def test_a_row_is_one_at_its_id_and_zero_elsewhere() -> None:
    rows = encode(torch.tensor([[2, 0], [1, 2]]), 3)
    assert rows.tolist() == [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 1]]]


@settings(max_examples=40)
@given_by(SHAPES, st.integers(1, 9), SEEDS)
def test_decode_undoes_encode(shape: tuple[int, ...], size: int, seed: int) -> None:
    ids = some_ids(shape, size, seed)
    rows = encode(ids, size)
    assert rows.shape == (*shape, size)
    assert bool((rows.sum(-1) == 1).all())
    assert torch.equal(decode(rows), ids)


def test_decode_takes_the_likeliest_symbol_of_a_softmax() -> None:
    logits = torch.tensor([[-3.0, -1.0, -2.0], [0.0, 5.0, 9.0]])
    assert decode(logits.softmax(-1)).tolist() == [1, 2]


@settings(max_examples=60)
@given_by(SHAPES, st.integers(1, 9), st.integers(1, 5), SEEDS)
def test_the_gather_is_the_one_hot_product_bit_for_bit(
    shape: tuple[int, ...], size: int, width: int, seed: int
) -> None:
    ids = some_ids(shape, size, seed)
    random = torch.Generator().manual_seed(seed)
    matrix = torch.randn(size, width, generator=random)
    # whole numbers, so that both ways of adding are exact and the gradients can be equal
    arriving = torch.randint(-9, 10, (*shape, width), generator=random).float()
    gathered, multiplied = matrix.clone().requires_grad_(), matrix.clone().requires_grad_()
    rows, product = embed(ids, gathered), encode(ids, size) @ multiplied
    assert torch.equal(rows, product)
    rows.backward(arriving)
    product.backward(arriving)
    assert torch.equal(gathered.grad, multiplied.grad)


def test_the_gradient_adds_the_steps_of_a_symbol_and_leaves_unused_symbols_alone() -> None:
    matrix = torch.zeros(3, 1, requires_grad=True)
    embed(torch.tensor([2, 0, 2]), matrix).backward(torch.tensor([[1.0], [10.0], [100.0]]))
    assert matrix.grad.flatten().tolist() == [10.0, 0.0, 101.0]


def test_the_gradient_by_differences() -> None:
    matrix = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([[1, 3, 1], [0, 1, 3]])
    assert torch.autograd.gradcheck(lambda values: embed(ids, values), (matrix,))


def test_sums_of_rows_have_the_gradient_of_torch_bit_for_bit() -> None:
    """Rows that occur often, and many that do not; into a buffer, without a dense gradient."""
    torch.manual_seed(3)
    matrix = nn.Parameter(torch.randn(3000, 16))
    ids = torch.cat([torch.randint(3000, (800, 3)), torch.randint(5, (800, 2))], dim=1)
    upper = torch.randn(800, 16)
    expected = nn.functional.embedding_bag(ids, matrix, mode="sum")
    (dense,) = torch.autograd.grad(expected, matrix, upper)
    assert not torch.autograd.grad(sum_rows(ids, matrix), matrix, upper)[0].is_sparse
    matrix.grad = buffer = torch.zeros_like(matrix)
    found = sum_rows(ids, matrix)
    assert torch.equal(found, expected)
    assert torch.autograd.grad(found, matrix, upper)[0].is_sparse
    sum_rows(ids, matrix).backward(upper)
    assert torch.equal(buffer, dense)


def test_selected_rows_are_those_of_the_gather() -> None:
    torch.manual_seed(4)
    matrix = nn.Parameter(torch.randn(50, 4))
    ids, upper = torch.randperm(50)[:20], torch.randn(20, 4)
    expected = embed(ids, matrix)
    (dense,) = torch.autograd.grad(expected, matrix, upper)
    for buffer in (None, torch.zeros_like(matrix)):
        matrix.grad = buffer
        found = select(ids, matrix)
        assert torch.equal(found, expected)
        found.backward(upper)
        assert matrix.grad is not None
        assert torch.equal(matrix.grad, dense)


def test_transposed_ids_are_read_in_their_own_order() -> None:
    ids = torch.tensor([[0, 1, 2], [3, 4, 0]])
    matrix = torch.arange(5.0)[:, None].requires_grad_()
    rows = embed(ids.T, matrix)
    assert rows[..., 0].tolist() == [[0, 3], [1, 4], [2, 0]]
    rows.backward(torch.tensor([[[1.0], [2.0]], [[4.0], [8.0]], [[16.0], [32.0]]]))
    assert matrix.grad.flatten().tolist() == [33.0, 4.0, 16.0, 2.0, 8.0]


@pytest.mark.parametrize("wrong", [-1, 3])
def test_an_id_outside_the_vocabulary_is_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to 2"):
        encode(torch.tensor([0, wrong, 2]), 3)
    with pytest.raises(IndexError):
        embed(torch.tensor([0, wrong, 2]), torch.zeros(3, 2))


def test_no_ids_give_no_rows() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert encode(none, 3).shape == (0, 3)
    assert embed(none, torch.ones(3, 2)).shape == (0, 2)


@pytest.mark.parametrize("size", [7, MAX_ONE_HOT + 1])
def test_rows_of_equal_ids_add_up_in_a_fixed_order(size: int) -> None:
    """As a product, or where that would be large by sorting: what a GPU does."""
    ids = torch.tensor([[0, 3, 3], [6, 0, 3]])
    gradient = torch.randn(6, 4, dtype=torch.float64)
    wanted = torch.zeros(size, 4, dtype=torch.float64).index_add_(0, ids.flatten(), gradient)
    torch.testing.assert_close(sum_by_id(ids, gradient, size), wanted, rtol=1e-12, atol=1e-12)


# --- dropout


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.5, 0.9])
def test_dropout_drops_the_share_it_says_and_scales_the_rest(probability: float) -> None:
    torch.manual_seed(1)
    values = torch.ones(400_000 - 3, requires_grad=True)
    thinned = Dropout.apply(values, probability)
    share = round(256 * probability) / 256
    dropped = thinned == 0
    deviation = math.sqrt(share * (1 - share) / values.numel())
    assert abs(float(dropped.float().mean()) - share) < 4 * deviation
    kept = thinned[~dropped].detach()
    torch.testing.assert_close(kept.unique(), torch.tensor([1 / (1 - share)]))
    assert float(thinned.detach().mean()) == pytest.approx(1, abs=4 * deviation / (1 - share))
    thinned.backward(torch.full_like(values, 3.0))
    assert bool((values.grad[dropped] == 0).all())
    torch.testing.assert_close(values.grad[~dropped].unique(), torch.tensor([3 / (1 - share)]))


def test_every_place_is_dropped_alike_and_by_itself() -> None:
    torch.manual_seed(2)
    rows = (Dropout.apply(torch.ones(4000, 20), 0.5) == 0).float()
    assert float((rows.mean(0) - 0.5).abs().max()) < 0.04
    correlations = torch.corrcoef(rows.T) - torch.eye(20)
    assert float(correlations.abs().max()) < 0.08


def test_dropout_follows_the_seed_and_changes_from_call_to_call() -> None:
    values = torch.randn(5, 7)
    torch.manual_seed(3)
    one, other = Dropout.apply(values, 0.5), Dropout.apply(values, 0.5)
    assert not torch.equal(one, other)
    torch.manual_seed(3)
    assert torch.equal(Dropout.apply(values, 0.5), one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_dropout_takes_any_layout_and_number_format(dtype: torch.dtype) -> None:
    torch.manual_seed(4)
    values = torch.full((60, 91), -2.0, dtype=dtype).T.requires_grad_()
    thinned = Dropout.apply(values, 0.25)
    assert (thinned.shape, thinned.dtype) == (values.shape, dtype)
    assert float((thinned == 0).double().mean()) == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(
        thinned[thinned != 0].unique().double().item(), -8 / 3, rtol=5e-3, atol=0
    )
    thinned.sum().backward()
    assert torch.equal(values.grad == 0, thinned == 0)


@pytest.mark.skipif(kernels.find() is None, reason="the library is not built here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1,), (33,), (5, 7, 9)])
def test_the_library_drops_what_torch_drops(
    dtype: torch.dtype, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    values, arriving = torch.randn(2, *shape).to(dtype)
    found = []
    for library in (kernels.find(), None):
        monkeypatch.setattr(kernels, "find", lambda library=library: library)
        torch.manual_seed(7)
        given = values.clone().requires_grad_()
        thinned = Dropout.apply(given, 0.4)
        found.append((thinned.detach(), *torch.autograd.grad(thinned, given, arriving)))
    for one, other in zip(*found, strict=True):
        within = 1e-6 if dtype == torch.float32 else 1e-2
        torch.testing.assert_close(one, other, rtol=within, atol=0)
        assert torch.equal(one == 0, other == 0)


# --- one mask for all steps


def test_a_locked_mask_is_the_same_at_every_step_and_differs_between_rows() -> None:
    torch.manual_seed(5)
    values = torch.randn(7, 6, 50)
    factors = variational_dropout(values, 0.5, training=True) / values
    assert bool((factors == factors[:1]).all())
    assert factors.unique().tolist() == [0, 2]
    correlations = torch.corrcoef(factors[0]) - torch.eye(6)
    assert float(correlations.abs().max()) < 0.5


def test_a_locked_mask_holds_gradients_back_where_it_held_values_back() -> None:
    torch.manual_seed(6)
    values = torch.randn(3, 4, 30, dtype=torch.float64, requires_grad=True)
    thinned = variational_dropout(values, 0.25, training=True)
    thinned.sum().backward()
    torch.testing.assert_close(values.grad * values.detach(), thinned.detach())


def test_outside_training_and_without_a_probability_nothing_is_dropped() -> None:
    values = torch.randn(3, 4, 5)
    assert variational_dropout(values, 0.5, training=False) is values
    assert variational_dropout(values, 0.0, training=True) is values
