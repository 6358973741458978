"""The compiled AdamW against torch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from charseq.kernels import adamw, library
from charseq.kernels.adamw import StepSizes

LIBRARY = library.find()
needs_library = pytest.mark.skipif(LIBRARY is None, reason="the library is not built here")
LEVELS = () if LIBRARY is None else library.LEVELS[: LIBRARY.number + 1]


def moments_of(weights: Tensor) -> dict[str, Tensor]:
    return {
        "exp_avg": torch.zeros_like(weights),
        "exp_avg_sq": torch.zeros_like(weights),
        "step": torch.zeros(()),
    }


@needs_library
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("count", [1, 37, 5000])
def test_steps_are_those_of_torch(count: int, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert LIBRARY is not None
    found = library.Kernels(LIBRARY.library, level)
    monkeypatch.setattr(library, "find", lambda: found)
    torch.manual_seed(count)
    weights = torch.randn(count)
    moments, average = moments_of(weights), weights.clone()
    other = torch.nn.Parameter(weights.clone())
    other_average = weights.clone()
    usual = torch.optim.AdamW([other], betas=(0.9, 0.98), weight_decay=0.1)
    for step in range(20):
        gradient = torch.randn(count) * 10.0 ** (step % 5 - 3)
        rate, scale, follow = 0.01 / (step + 1), 1 / (1 + step % 3), 0.3
        adamw.advance(
            weights, gradient, moments, average, StepSizes(scale, rate, 0.1, 0.9, 0.98, follow)
        )
        other.grad = gradient * scale
        usual.param_groups[0]["lr"] = rate
        usual.step()
        other_average.lerp_(other.detach(), follow)
    torch.testing.assert_close(weights, other.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(average, other_average, rtol=1e-5, atol=1e-6)
    for name in ("exp_avg", "exp_avg_sq", "step"):
        torch.testing.assert_close(moments[name], usual.state[other][name], rtol=1e-5, atol=1e-6)


@needs_library
def test_an_average_that_follows_by_nothing_stays() -> None:
    weights = torch.ones(40)
    average = torch.full_like(weights, 2.0)
    given = StepSizes(1.0, 0.1, 0.0, 0.9, 0.98, 0.0)
    adamw.advance(weights, torch.ones(40), moments_of(weights), average, given)
    assert bool((average == 2.0).all())
    assert bool((weights < 1.0).all())


@needs_library
@pytest.mark.parametrize("level", LEVELS)
def test_without_an_average_the_weights_are_the_same(
    level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LIBRARY is not None
    found = library.Kernels(LIBRARY.library, level)
    monkeypatch.setattr(library, "find", lambda: found)
    given, ends = StepSizes(0.7, 0.1, 0.01, 0.9, 0.98, 0.0), []
    for average in (torch.zeros(1003), None):
        torch.manual_seed(1)
        weights = torch.randn(1003)
        moments = moments_of(weights)
        for _ in range(3):
            adamw.advance(weights, torch.randn(1003), moments, average, given)
        ends.append(torch.cat([weights, moments["exp_avg"], moments["exp_avg_sq"]]))
    assert torch.equal(*ends)


@needs_library
def test_arrays_that_do_not_fit_are_refused() -> None:
    given = StepSizes(1.0, 0.1, 0.0, 0.9, 0.98, 0.0)
    weights = torch.ones(4)
    for wrong in (torch.ones(5), torch.ones(4).double(), torch.ones(8)[::2]):
        with pytest.raises(ValueError, match="one size"):
            adamw.advance(weights, wrong, moments_of(weights), weights.clone(), given)


def test_it_is_for_float32_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert adamw.fits(torch.ones(3)) == (LIBRARY is not None)
    assert not adamw.fits(torch.ones(3).double())
    assert not adamw.fits(torch.ones(3, device="meta"))
    monkeypatch.setattr(library, "find", lambda: None)
    assert not adamw.fits(torch.ones(3))
