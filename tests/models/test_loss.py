"""Cross-entropy from its formula and by autograd; what padding, weights and samples may change."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import charseq.models.loss
from charseq.data.text.vocabulary import PAD
from charseq.kernels import matmul
from charseq.models.loss import (
    MAX_GROWN_DROPOUT,
    OUTCOMES,
    SoftmaxSample,
    TensorBatch,
    TrainableModel,
    cross_entropy,
    draw,
    sample_size,
    sampling_probabilities,
    softmax_loss,
)
from charseq.models.next_word import NextWord


def logits_of(seed: int, batch: int, steps: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
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
    logits, labels, weights = logits_of(seed, *sizes)
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
    logits, labels, weights = logits_of(3, 4, 5, 6)
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
    logits, labels, weights = logits_of(9, 5, 4, 6)
    whole = cross_entropy(logits, labels, weights=weights, smoothing=0.1)
    parts = [
        cross_entropy(logits[rows], labels[rows], weights=weights[rows], smoothing=0.1)
        for rows in (slice(0, 2), slice(2, 5))
    ]
    for one, *others in zip(whole, *parts, strict=True):
        assert float(one) == pytest.approx(float(sum(others)), rel=1e-6)


def test_half_precision_logits_are_summed_in_single() -> None:
    logits, labels, _ = logits_of(2, 3, 4, 6)
    coarse = logits.bfloat16()
    loss, _ = cross_entropy(coarse, labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, cross_entropy(coarse.float(), labels)[0])


# --- a softmax over many symbols, together with the product before it


class Case(NamedTuple):
    """Arguments of :func:`softmax_loss`, in double precision, the first three with gradients."""

    outputs: Tensor
    matrix: Tensor
    bias: Tensor
    labels: Tensor
    weights: Tensor

    @property
    def learnt(self) -> tuple[Tensor, ...]:
        return self[:3]


def case_of(seed: int, rows: int = 7, size: int = 9, units: int = 4) -> Case:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    learnt = [value.requires_grad_() for value in (normal(rows, units), normal(size, units))]
    labels = torch.randint(OUTCOMES, size, (rows,), generator=random)
    return Case(*learnt, normal(size).requires_grad_(), labels, normal(rows).abs())


def plainly(case: Case, smoothing: float = 0.0) -> Tensor:
    """The same by torch: over the outcomes alone."""
    logits = (case.outputs @ case.matrix.T + case.bias)[:, OUTCOMES:]
    losses = torch.nn.functional.cross_entropy(
        logits, case.labels - OUTCOMES, label_smoothing=smoothing, reduction="none"
    )
    return (losses * case.weights).sum()


def loss_of(case: Case, sample: SoftmaxSample | None = None, smoothing: float = 0.0) -> Tensor:
    """By the module under test, over all symbols or over a sample."""
    outputs, matrix, bias, labels, weights = case
    if sample is None:
        return softmax_loss(outputs, matrix, bias, labels, weights=weights, smoothing=smoothing)
    chosen = sample.symbols
    places = torch.searchsorted(chosen, labels)
    return softmax_loss(
        outputs,
        matrix[chosen],
        bias[chosen],
        places,
        weights=weights,
        correction=sample.correction,
        smoothing=smoothing,
    )


def same_gradients(case: Case, one: Tensor, other: Tensor, *, within: float = 1e-10) -> None:
    pairs = zip(
        torch.autograd.grad(one, case.learnt), torch.autograd.grad(other, case.learnt), strict=True
    )
    for mine, wanted in pairs:
        torch.testing.assert_close(mine, wanted, rtol=within, atol=within)


@pytest.mark.parametrize(("block", "tile"), [(2**25, 2**19), (30, 20), (1, 1)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_softmax_over_all_is_that_of_autograd(
    smoothing: float, block: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charseq.models.loss, "MAX_LOGITS", block)
    monkeypatch.setattr(charseq.models.loss, "MAX_FLOAT32_LOGITS", tile)
    case = case_of(1)
    mine, wanted = loss_of(case, smoothing=smoothing), plainly(case, smoothing)
    torch.testing.assert_close(mine, wanted)
    same_gradients(case, 3 * mine, 3 * wanted)


def test_it_never_holds_more_than_a_block_of_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = charseq.models.loss.losses_and_gradients

    def noted(logits: Tensor, *rest: object) -> Tensor:
        sizes.append(logits.numel())
        return real(logits, *rest)

    monkeypatch.setattr(charseq.models.loss, "losses_and_gradients", noted)
    monkeypatch.setattr(charseq.models.loss, "MAX_LOGITS", 50)
    loss_of(case_of(2, rows=23, size=12))
    assert max(sizes) <= 50
    assert sum(sizes) == 23 * 12


def test_padding_and_the_beginning_are_no_outcomes() -> None:
    case = case_of(3)
    loss_of(case).backward()
    assert not bool(case.matrix.grad[:OUTCOMES].any())
    assert not bool(case.bias.grad[:OUTCOMES].any())
    assert bool(case.matrix.grad[OUTCOMES:].all())
    with torch.no_grad():
        case.bias[:OUTCOMES] += 100
    torch.testing.assert_close(loss_of(case), plainly(case))


def test_what_is_certain_costs_nothing_and_what_is_impossible_teaches() -> None:
    bias = torch.tensor([0.0, 0, 0, 200, 0], requires_grad=True)
    right, wrong = (
        Case(torch.ones(2, 1), torch.zeros(5, 1), bias, torch.tensor([k, k]), torch.ones(2))
        for k in (3, 4)
    )
    assert loss_of(right).item() == 0
    value = loss_of(wrong)
    assert 2 * 80 < value.item() <= 2 * 200  # the logarithm of the smallest float32 is -87
    (gradient,) = torch.autograd.grad(value, bias)
    assert gradient.tolist() == [0, 0, 0, 2, -2]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_low_precision_rounds_products_and_neither_shares_nor_sums(
    smoothing: float, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiled and not matmul.available():
        pytest.skip("the processor does not multiply bfloat16, or the library is not built")
    monkeypatch.setattr(matmul, "available", lambda: compiled)
    taken: list[int] = []
    multiply = matmul.multiply
    monkeypatch.setattr(matmul, "multiply", lambda *given: taken.append(1) or multiply(*given))
    case = case_of(4, rows=300, size=500, units=16)
    single = Case(*(value.detach().float() for value in case[:3]), *case[3:])
    single = single._replace(weights=torch.ones(300))
    for value in single.learnt:
        value.requires_grad_()
    exact = loss_of(single, smoothing=smoothing)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = loss_of(single._replace(outputs=single.outputs.bfloat16()), smoothing=smoothing)
    assert rough.dtype == torch.float32
    assert rough.item() != exact.item()
    assert rough.item() == pytest.approx(exact.item(), rel=2e-3)
    pairs = zip(
        torch.autograd.grad(rough, single.learnt),
        torch.autograd.grad(exact, single.learnt),
        strict=True,
    )
    for mine, wanted in pairs:
        assert mine.dtype == torch.float32
        assert float((mine - wanted).norm() / wanted.norm()) < 0.01
    # torch keeps compiled code for every shape of its own products
    assert len(taken) == (4 if compiled else 0)


# --- over a sample


COUNTS = torch.tensor([0, 9, 60, 0, 40, 20, 5, 3, 2, 1, 1, 1])


@settings(max_examples=60)
@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=50), st.integers(1, 60))
def test_chances_follow_the_counts_as_far_as_chances_go(counts: list[int], samples: int) -> None:
    chances = sampling_probabilities(torch.tensor(counts), samples).double()
    assert chances[:OUTCOMES].tolist() == [0] * OUTCOMES
    real, shares = chances[OUTCOMES:], torch.tensor(counts[OUTCOMES:]).clamp(min=1) ** 0.75
    assert float(real.max()) <= 1
    assert float(real.sum()) == pytest.approx(min(samples, len(real)), rel=1e-5)
    rates = (real / shares)[real < 1 - 1e-6]
    if len(rates):
        assert float(rates.max()) == pytest.approx(float(rates.min()), rel=1e-5)
        # and those that are certain would have had more than that
        assert bool((shares[real >= 1 - 1e-6] * rates[0] > 1 - 1e-5).all())


def test_each_symbol_is_drawn_as_often_as_its_chance_says() -> None:
    torch.manual_seed(1)
    chances = sampling_probabilities(COUNTS, 5)
    nothing = torch.zeros(0, dtype=torch.int64)
    seen = torch.zeros(len(COUNTS))
    for _ in range(4000):
        symbols, correction, _ = draw(chances, nothing)
        seen[symbols] += 1
        torch.testing.assert_close(correction, -chances[symbols].log())
    assert float((seen / 4000 - chances).abs().max()) < 0.03


def test_the_symbols_of_the_batch_are_there_but_count_only_if_drawn() -> None:
    torch.manual_seed(2)
    chances = sampling_probabilities(COUNTS, 4)
    own = torch.tensor([[11, 10, 4], [0, 1, 4]])
    for _ in range(50):
        symbols, correction, _ = draw(chances, own)
        assert symbols.tolist() == sorted(set(symbols.tolist()))
        assert {0, 1, 4, 10, 11} <= set(symbols.tolist())
        weights = dict(zip(symbols.tolist(), correction.exp().tolist(), strict=True))
        assert weights[0] == weights[1] == 0
        assert all(
            weight == 0 or weight == pytest.approx(1 / float(chances[symbol]), rel=1e-5)
            for symbol, weight in weights.items()
        )
        assert all(weight > 0 for symbol, weight in weights.items() if symbol not in own)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_sample_of_all_symbols_is_the_softmax_itself(smoothing: float) -> None:
    case = case_of(5, size=12)
    sample = draw(sampling_probabilities(COUNTS, 10), case.labels)
    assert len(sample.symbols) == 10
    mine, wanted = loss_of(case, sample, smoothing), plainly(case, smoothing)
    torch.testing.assert_close(mine, wanted)
    same_gradients(case, mine, wanted)


def test_the_drawn_symbols_stand_for_all_but_the_right_one() -> None:
    """By hand: the right one counts once, whether it was drawn or not; the others 1 / π."""
    case = case_of(6, rows=1, size=12)
    label = int(case.labels)
    chances = sampling_probabilities(COUNTS, 4).double()
    hits = set()
    for seed in range(20):
        logits = (case.outputs @ case.matrix.T + case.bias)[0]
        torch.manual_seed(seed)
        drawn = set(draw(chances, torch.zeros(0, dtype=torch.int64)).symbols.tolist())
        hits.add(label in drawn)
        torch.manual_seed(seed)
        mine = loss_of(case, draw(chances, case.labels))
        others = sum(logits[k].exp() / chances[k] for k in drawn - {label})
        wanted = case.weights[0] * (torch.log(logits[label].exp() + others) - logits[label])
        torch.testing.assert_close(mine, wanted)
        same_gradients(case, mine, wanted)
    assert hits == {True, False}


def test_with_nothing_to_compare_there_is_nothing_to_learn() -> None:
    case = case_of(8)
    only = SoftmaxSample(torch.arange(9), torch.full((9,), -math.inf), torch.arange(9))
    value = loss_of(case, only, smoothing=0.2)
    assert value.item() == 0
    for gradient in torch.autograd.grad(value, case.learnt):
        assert not bool(gradient.any())


def test_over_many_draws_the_gradient_is_that_of_the_full_softmax() -> None:
    torch.manual_seed(3)
    case = case_of(7, rows=30, size=300)
    case.matrix.data *= 0.5
    counts = (1000 / torch.arange(1, 301)).long()
    chances = sampling_probabilities(counts, 200)
    exact = torch.autograd.grad(plainly(case, 0.1), case.learnt)
    draws = 400
    sums = [torch.zeros_like(value) for value in case.learnt]
    for _ in range(draws):
        found = torch.autograd.grad(
            loss_of(case, draw(chances, case.labels), smoothing=0.1), case.learnt
        )
        sums = [total + value for total, value in zip(sums, found, strict=True)]
    for total, wanted in zip(sums, exact, strict=True):
        assert float((total / draws - wanted).norm() / wanted.norm()) < 0.03


# --- what a model has to say


def test_a_model_without_a_loss_says_so() -> None:
    ids = torch.zeros(2, 3, dtype=torch.int64)
    given = TensorBatch(ids, ids[:, 0], ids, ids, torch.ones(2))
    with pytest.raises(TypeError, match=r"TrainableModel has no loss for .*2, 3"):
        TrainableModel().loss(given, smoothing=0.0)


def test_a_sample_of_fixed_size_is_the_same_sample() -> None:
    """Those of the batch first, then those drawn, then others, which count for nothing."""
    chances = sampling_probabilities(COUNTS, 4)
    own = torch.tensor([[11, 10, 4], [0, 1, 4]])
    for seed in range(30):
        torch.manual_seed(seed)
        free = draw(chances, own)
        torch.manual_seed(seed)
        fixed = draw(chances, own, size=len(COUNTS) - 1)
        assert fixed.symbols.shape == fixed.correction.shape == (len(COUNTS) - 1,)
        assert fixed.positions[own].max() < 5, "the batch's own are always there"
        assert torch.equal(fixed.symbols[fixed.positions[own]], own)
        assert torch.equal(free.symbols[free.positions[own]], own)
        known = dict(zip(free.symbols.tolist(), free.correction.tolist(), strict=True))
        for symbol, value in zip(fixed.symbols.tolist(), fixed.correction.tolist(), strict=True):
            assert value == known.get(symbol, -math.inf)


def test_there_is_room_for_what_is_drawn() -> None:
    assert sample_size(100, 30, 50_000) == 30 + 100 + 60
    assert sample_size(100, 30, 150) == 150


def test_dropout_is_scaled_from_what_it_was_at_first_and_not_beyond_its_limit() -> None:
    model = NextWord(
        symbols=9, embedding=4, hidden=4, layers=2, dropout=0.3, embedding_dropout=0.1,
        recurrent_dropout=0.8,
    )  # fmt: skip
    for factor in (2.0, 1.5):
        model.scale_dropout(factor)
        found = [model.dropout, model.recurrence.dropout, model.embedding_dropout]
        assert found == pytest.approx([0.3 * factor, 0.3 * factor, 0.1 * factor])
        assert model.recurrence.recurrent_dropout == 0.8  # as it was set
    model.scale_dropout(9.0)
    assert [model.dropout, model.embedding_dropout] == [MAX_GROWN_DROPOUT, MAX_GROWN_DROPOUT]
    model.scale_dropout(1.0)
    assert model.dropout == pytest.approx(0.3)


def test_no_dropout_stays_none() -> None:
    model = NextWord(symbols=9, embedding=4, hidden=4, dropout=0.0)
    model.scale_dropout(2.0)
    assert model.dropout == model.recurrence.dropout == 0
