"""Cross-entropy from its formula, and what padding, weights and smoothing may and may not do."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from charseq.loss import cross_entropy
from charseq.vocabulary import PAD


def draw(seed: int, batch: int, steps: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, labels (some of them PAD) and weights."""
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, steps, size, generator=random)
    labels = torch.randint(size, (batch, steps), generator=random)
    labels[torch.rand(batch, steps, generator=random) < 0.3] = PAD
    return logits, labels, torch.rand(batch, generator=random) + 0.5


def by_hand(
    logits: Tensor, labels: Tensor, weights: Tensor | None, smoothing: float
) -> tuple[float, float]:
    """-Σ_i w_i Σ_k q_k log softmax(o_i)_k with q = (1 - ε) y + ε / V, symbol by symbol."""
    loss = count = 0.0
    size = logits.shape[-1]
    for row, (scores, symbols) in enumerate(zip(logits.tolist(), labels.tolist(), strict=True)):
        weight = 1.0 if weights is None else float(weights[row])
        for values, symbol in zip(scores, symbols, strict=True):
            if symbol == PAD:
                continue
            count += weight
            norm = math.log(sum(math.exp(value) for value in values))
            for k, value in enumerate(values):
                q = (1 - smoothing) * (k == symbol) + smoothing / size
                loss -= weight * q * (value - norm)
    return loss, count


@settings(max_examples=60)
@given(
    st.integers(0, 2**31),
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(2, 6)),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.booleans(),
)
def test_it_is_the_formula(
    seed: int, sizes: tuple[int, int, int], smoothing: float, weighted: bool
) -> None:
    logits, labels, weights = draw(seed, *sizes)
    given_weights = weights if weighted else None
    options = {"smoothing": smoothing} if smoothing else {}
    loss, count = cross_entropy(logits, labels, weights=given_weights, **options)
    expected, wanted = by_hand(logits, labels, given_weights, smoothing)
    assert float(loss) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert float(count) == pytest.approx(wanted, rel=1e-6)


def test_without_an_opinion_a_symbol_costs_the_logarithm_of_their_number() -> None:
    loss, count = cross_entropy(torch.zeros(2, 3, 7), torch.tensor([[4, 5, PAD], [6, PAD, PAD]]))
    assert float(count) == 3
    assert float(loss) == pytest.approx(3 * math.log(7))


def test_the_gradient_is_softmax_less_label_times_weight_and_zero_on_padding() -> None:
    logits, labels, weights = draw(3, 4, 5, 6)
    logits.requires_grad_()
    cross_entropy(logits, labels, weights=weights, smoothing=0.2)[0].backward()
    onehot = torch.nn.functional.one_hot(labels, 6)
    expected = (logits.softmax(-1) - 0.8 * onehot - 0.2 / 6) * weights[:, None, None]
    padding = labels == PAD
    assert 0 < int(padding.sum()) < padding.numel()
    torch.testing.assert_close(logits.grad[~padding], expected[~padding].detach())
    assert bool((logits.grad[padding] == 0).all())


def test_nothing_but_padding_is_nothing() -> None:
    loss, count = cross_entropy(torch.randn(2, 3, 5), torch.full((2, 3), PAD), smoothing=0.1)
    assert (float(loss), float(count)) == (0.0, 0.0)


def test_parts_of_a_batch_add_up() -> None:
    logits, labels, weights = draw(9, 5, 4, 6)
    whole = cross_entropy(logits, labels, weights=weights, smoothing=0.1)
    parts = [
        cross_entropy(logits[rows], labels[rows], weights=weights[rows], smoothing=0.1)
        for rows in (slice(0, 2), slice(2, 5))
    ]
    for one, *others in zip(whole, *parts, strict=True):
        assert float(one) == pytest.approx(float(sum(others)), rel=1e-6)


def test_half_precision_logits_are_summed_in_single() -> None:
    logits, labels, _ = draw(2, 3, 4, 6)
    coarse = logits.bfloat16()
    loss, _ = cross_entropy(coarse, labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, cross_entropy(coarse.float(), labels)[0])
