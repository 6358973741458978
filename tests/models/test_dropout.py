"""Dropout: what share is dropped, what is shared by the steps of a row, and what is not."""

from __future__ import annotations

import math

import pytest
import torch

from charseq.kernels import library as kernels
from charseq.models.layers import Dropout, drop_locked


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
    factors = drop_locked(values, 0.5, training=True) / values
    assert bool((factors == factors[:1]).all())
    assert factors.unique().tolist() == [0, 2]
    correlations = torch.corrcoef(factors[0]) - torch.eye(6)
    assert float(correlations.abs().max()) < 0.5


def test_a_locked_mask_holds_gradients_back_where_it_held_values_back() -> None:
    torch.manual_seed(6)
    values = torch.randn(3, 4, 30, dtype=torch.float64, requires_grad=True)
    thinned = drop_locked(values, 0.25, training=True)
    thinned.sum().backward()
    torch.testing.assert_close(values.grad * values.detach(), thinned.detach())


def test_outside_training_and_without_a_probability_nothing_is_dropped() -> None:
    values = torch.randn(3, 4, 5)
    assert drop_locked(values, 0.5, training=False) is values
    assert drop_locked(values, 0.0, training=True) is values
