"""What a wrong one-hot encoder would do: shift an id, forget a repeated symbol's gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from charseq.models.layers import FEW, add_up, decode, embed, encode

SHAPES = st.lists(st.integers(1, 4), max_size=3).map(tuple)
SEEDS = st.integers(0, 10_000)


def some_ids(shape: tuple[int, ...], size: int, seed: int) -> torch.Tensor:
    return torch.randint(size, shape, generator=torch.Generator().manual_seed(seed))


def test_a_row_is_one_at_its_id_and_zero_elsewhere() -> None:
    rows = encode(torch.tensor([[2, 0], [1, 2]]), 3)
    assert rows.tolist() == [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 1]]]


@settings(max_examples=40)
@given(SHAPES, st.integers(1, 9), SEEDS)
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
@given(SHAPES, st.integers(1, 9), st.integers(1, 5), SEEDS)
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


@pytest.mark.parametrize("size", [7, FEW + 1])
def test_rows_of_equal_ids_add_up_in_a_fixed_order(size: int) -> None:
    """As a product, or where that would be large by sorting: what a GPU does."""
    ids = torch.tensor([[0, 3, 3], [6, 0, 3]])
    gradient = torch.randn(6, 4, dtype=torch.float64)
    wanted = torch.zeros(size, 4, dtype=torch.float64).index_add_(0, ids.flatten(), gradient)
    torch.testing.assert_close(add_up(ids, gradient, size), wanted, rtol=1e-12, atol=1e-12)
