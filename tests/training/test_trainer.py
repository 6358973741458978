"""The training loop: exact resume, one flat buffer, and nothing learnt from a broken step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from arrays import save_arrays
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from charseq.data.batches import Batch, Batches, LineBatches, StreamBatches
from charseq.errors import CheckpointError, TrainingError
from charseq.kernels import library
from charseq.kernels.bptt import RECURRENCES
from charseq.models.device import seed_all
from charseq.models.loss import Loss, TensorBatch, TrainableModel
from charseq.models.next_word import NextWord
from charseq.models.seq2seq import EncoderDecoder
from charseq.process import SignalReceived
from charseq.runs.weights import load_arrays
from charseq.training.trainer import (
    MAX_SKIPPED,
    OptimizerSettings,
    Step,
    Trainer,
    dropout_factor,
    flatten,
    schedule,
)

SYMBOLS = 9
CPU = torch.device("cpu")


def model_of(seed: int = 1, **options: Any) -> EncoderDecoder:
    seed_all(seed)
    sizes = {"embedding": 8, "hidden": 16, "dropout": 0.3, **options}
    return EncoderDecoder(sources=SYMBOLS, targets=SYMBOLS, **sizes)


def rows(count: int) -> list[list[int]]:
    draw = np.random.default_rng(5)
    return [draw.integers(4, SYMBOLS, draw.integers(1, 6)).tolist() for _ in range(count)]


def batches_of(count: int = 21, kind: type[Batches] = Batches, **options: Any) -> Batches:
    sources = rows(count)
    return kind(sources, [row[::-1] for row in sources], **{"batch_size": 4, "seed": 3, **options})


def trainer_of(
    model: TrainableModel | None = None,
    batches: Batches | LineBatches | StreamBatches | None = None,
    *,
    precision: torch.dtype = torch.float32,
    **numbers: Any,
) -> Trainer:
    return Trainer(
        model or model_of(),
        batches or batches_of(),
        OptimizerSettings(**numbers),
        device=CPU,
        precision=precision,
    )


def up_to(total: int) -> Callable[[int], float]:
    return lambda step: step / total


def take(trainer: Trainer, total: int, count: int) -> list[Step]:
    """The next ``count`` steps of a budget of ``total``."""
    return list(islice(trainer.steps(up_to(total)), count))


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


# --- the derivation by hand, in use


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", ["tanh", "residual", "gru", "lstm"])
def test_training_by_hand_has_the_losses_of_autograd_step_by_step(
    cell: str, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward, gradients, clipping and AdamW, 30 steps with dropout: one wrong term would drift."""
    losses = []
    for _ in range(2):
        model = model_of(cell=cell, layers=layers).double()
        losses.append([step.loss for step in take(trainer_of(model), 30, 30)])
        monkeypatch.delitem(RECURRENCES, cell, raising=False)  # no gradient by hand: autograd
    assert np.mean(losses[0][-6:]) < np.mean(losses[0][:6])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)


@pytest.mark.skipif(library.find() is None, reason="the library is not built here")
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", ["tanh", "residual", "gru", "lstm"])
def test_compiled_training_has_the_losses_of_the_training_by_hand(cell: str, layers: int) -> None:
    """In float32, 30 steps with dropout."""
    losses = []
    for compiled in (True, False):
        model = model_of(cell=cell, layers=layers)
        for part in (model.encoder, model.decoder):
            part.compiled = compiled
        losses.append([step.loss for step in take(trainer_of(model), 30, 30)])
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


# --- resume


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_restored_training_takes_the_same_steps(cell: str, precision: torch.dtype) -> None:
    """Through bytes, into a trainer that began elsewhere, with the random state disturbed."""
    whole = trainer_of(model_of(cell=cell), precision=precision)
    wanted = take(whole, 24, 24)
    first = trainer_of(model_of(cell=cell), precision=precision)
    found = take(first, 24, 9)
    data = save_arrays(first.state())
    take(first, 24, 1)  # what is done after saving does not matter
    second = trainer_of(model_of(seed=2, cell=cell), precision=precision)
    second.restore(load_arrays(data))
    for step in second.steps(up_to(24)):
        found.append(step)
        torch.rand(3)
        torch.manual_seed(0)
    assert found == wanted
    assert equal(second.state(), whole.state())
    assert equal(second.averaged(), whole.averaged())
    assert len({step.loss for step in wanted}) == 24


def test_reading_the_state_changes_nothing() -> None:
    looked, plain = trainer_of(), trainer_of()
    states = []
    for _ in looked.steps(up_to(10)):
        looked.averaged()
        states.append((looked.state(), save_arrays(looked.state())))
    take(plain, 10, 10)
    assert equal(looked.state(), plain.state())
    assert all(save_arrays(state) == data for state, data in states), "states are copies"
    assert len({data for _, data in states}) == 10


def test_without_an_average_none_is_kept_and_that_of_older_states_is_passed_over() -> None:
    whole, first, second = (trainer_of(ema=0.0) for _ in range(3))
    wanted = take(whole, 9, 9)
    found = take(first, 9, 4)
    state = first.state()
    assert "average" not in state
    assert "average" in trainer_of(ema=0.5).state()
    second.restore({**state, "average": np.zeros_like(state["weights"])})
    assert found + take(second, 9, 5) == wanted
    assert equal(second.averaged(), whole.averaged())
    with pytest.raises(CheckpointError, match="average is not that of this training"):
        trainer_of(ema=0.5).restore(state)


def test_a_gradient_that_was_freed_is_made_anew() -> None:
    whole, other = trainer_of(), trainer_of()
    wanted = take(whole, 9, 5)
    found = take(other, 9, 2)
    other.free_gradient()
    assert all(part.grad is None for part in (other.weights, *other.model.parameters()))
    assert found + take(other, 9, 3) == wanted
    assert equal(other.state(), whole.state())


def test_weights_that_are_not_copied_are_those_of_the_trainer() -> None:
    for ema in (0.0, 0.5):
        trainer = trainer_of(ema=ema)
        take(trainer, 9, 2)
        shown, kept = trainer.averaged(copied=False), trainer.averaged()
        assert equal(shown, kept)
        take(trainer, 9, 1)
        assert not equal(shown, kept)
        assert equal(shown, trainer.averaged())


@pytest.mark.parametrize("tied", [True, False])
def test_a_step_of_a_sampled_softmax_makes_no_array_of_all_symbols(tied: bool) -> None:
    """Neither a gradient of the embedding nor one of the traits' vectors, in any operation."""
    symbols, embedding = 20_000, 8
    traits = torch.arange(2 * symbols).reshape(2, symbols)
    seed_all(1)
    model = NextWord(
        symbols=symbols, embedding=embedding, hidden=12, samples=30, traits=traits, tied=tied
    )
    trainer = trainer_of(model, text_of(LineBatches), ema=0.0)
    take(trainer, 9, 1)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as found:
        take(trainer, 9, 1)
    largest = max(event.self_cpu_memory_usage for event in found.key_averages())
    assert 0 < largest < 4 * symbols * embedding


def test_a_state_of_another_model_is_refused() -> None:
    state = trainer_of(model_of(hidden=12)).state()
    with pytest.raises(CheckpointError, match="weights is not that of this training"):
        trainer_of().restore(state)
    with pytest.raises(CheckpointError, match="is not that of this training"):
        trainer_of().restore({})


# --- running text


def text_model(seed: int = 1, **options: Any) -> NextWord:
    seed_all(seed)
    sizes = {"symbols": SYMBOLS, "embedding": 8, "hidden": 12, "dropout": 0.3, **options}
    return NextWord(**sizes)


def text_of(
    kind: type[LineBatches] | type[StreamBatches], count: int = 29, **options: Any
) -> LineBatches | StreamBatches:
    lines = rows(count)
    offsets = np.cumsum([0, *map(len, lines)])
    ids = np.concatenate(lines).astype(np.int32)
    return kind(ids, offsets, **{"batch_size": 4, "seed": 3, **options})


@pytest.mark.parametrize(
    ("options", "running"),
    [
        ({"cell": "lstm", "layers": 2, "recurrent_dropout": 0.3}, True),
        ({"cell": "residual", "embedding_dropout": 0.2}, True),
        ({"cell": "mlp"}, True),
        ({"cell": "gru", "samples": 3}, False),
    ],
)
def test_a_text_is_read_on_where_a_restored_training_stopped(
    options: dict[str, Any], running: bool
) -> None:
    """In the middle of an epoch, through bytes, into a trainer that began elsewhere."""
    batches = text_of(StreamBatches, steps=5) if running else text_of(LineBatches)
    assert len(batches) in (6, 8)
    whole = trainer_of(text_model(**options), batches)
    wanted = take(whole, 24, 24)
    first = trainer_of(text_model(**options), batches)
    found = take(first, 24, 9)
    assert ("carried" in first.state()) == running
    data = save_arrays(first.state())
    take(first, 24, 1)
    second = trainer_of(text_model(seed=2, **options), batches)
    take(second, 24, 2)
    second.restore(load_arrays(data))
    for step in second.steps(up_to(24)):
        found.append(step)
        torch.rand(3)
    assert found == wanted
    assert equal(second.state(), whole.state())
    # what was carried did matter
    lost = trainer_of(text_model(**options), batches)
    lost.restore({name: value for name, value in load_arrays(data).items() if name != "carried"})
    assert (take(lost, 24, 1)[0].loss != wanted[9].loss) == running


def test_a_step_that_is_interrupted_changes_nothing_that_is_saved() -> None:
    whole = trainer_of(text_model(), text_of(StreamBatches, steps=5))
    wanted = take(whole, 24, 12)
    trainer = trainer_of(text_model(), text_of(StreamBatches, steps=5))
    found = take(trainer, 24, 9)
    before = trainer.state()

    @contextmanager
    def interrupted() -> Iterator[None]:
        yield
        raise SignalReceived

    trainer.interruptible = interrupted
    with pytest.raises(SignalReceived):
        take(trainer, 24, 1)
    assert equal(trainer.state(), before)
    trainer.interruptible = nullcontext
    assert found + take(trainer, 24, 3) == wanted
    assert equal(trainer.state(), whole.state())


class Remembering(TrainableModel):
    """Carries a state that can be differentiated, and notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.given: list[Tensor | None] = []
        self.left: list[Tensor] = []
        self.worth = 1.0

    def loss(self, given: TensorBatch, *, smoothing: float) -> Loss:
        self.given.append(given.state)
        total = self.worth * self.weight.square().sum()
        state = self.weight * (len(self.given) + torch.zeros(1, 1, len(given.inputs), 2))
        self.left.append(state)
        return Loss(total, torch.ones(()), state)


def test_the_state_is_carried_over_without_its_gradient_and_starts_anew_in_an_epoch() -> None:
    model = Remembering()
    batches = text_of(StreamBatches, steps=5)
    trainer = trainer_of(model, batches, learning_rate=0.0)
    for step in trainer.steps(up_to(3 * len(batches))):
        kept = trainer.state().get("carried")
        if step.number % len(batches):
            assert np.array_equal(kept, model.left[-1].detach().numpy())
        else:
            assert kept is None
    for step, carried in enumerate(model.given):
        if step % len(batches):
            assert carried is not None
            assert torch.equal(carried, model.left[step - 1])
            assert not carried.requires_grad
        else:
            assert carried is None


def test_nothing_is_carried_between_lines() -> None:
    model = Remembering()
    trainer = trainer_of(model, text_of(LineBatches))
    take(trainer, 20, 20)
    assert model.given == [None] * 20
    assert "carried" not in trainer.state()


def test_after_a_step_that_is_not_finite_the_text_is_read_from_an_empty_state() -> None:
    """What made the loss infinite may well be in the state."""
    model = Remembering()
    trainer = trainer_of(model, text_of(StreamBatches, steps=5))
    take(trainer, 20, 2)
    model.worth = math.nan
    (step,) = take(trainer, 20, 1)
    assert step.skipped
    assert "carried" not in trainer.state()
    model.worth = 1.0
    take(trainer, 20, 2)
    assert [carried is None for carried in model.given] == [True, False, False, True, False]


def test_a_restored_training_forgets_what_it_carried_itself() -> None:
    batches = text_of(StreamBatches, steps=5)
    fresh = trainer_of(Remembering(), batches)
    trainer = trainer_of(Remembering(), batches)
    take(trainer, 20, 3)
    trainer.restore(fresh.state())
    assert "carried" not in trainer.state()


# --- the flat buffer


def test_flat_parameters_keep_names_values_and_gradients() -> None:
    plain = model_of(dropout=0.0)
    model = copy.deepcopy(plain)
    flat = flatten(model)
    assert flat.numel() == sum(value.numel() for value in plain.parameters())
    wanted = dict(plain.named_parameters())
    assert list(wanted) == [name for name, _ in model.named_parameters()]
    batch = batches_of()[0]
    given = [torch.from_numpy(x) for x in (batch.source, batch.source_lengths, batch.inputs)]
    plain(*given).square().sum().backward()
    model(*given).square().sum().backward()
    assert flat.grad is not None
    place = 0
    for name, value in model.named_parameters():
        part = slice(place, place + value.numel())
        assert value.data_ptr() == flat[part].data_ptr()
        assert torch.equal(value, wanted[name])
        assert torch.equal(flat.grad[part].view_as(value), wanted[name].grad)
        place = part.stop
    with torch.no_grad():
        flat.zero_()
    assert all(not value.any() for value in model.parameters())


def test_averages_are_named_copies() -> None:
    trainer = trainer_of(ema=0.0)
    take(trainer, 5, 5)
    found = trainer.averaged()
    for name, value in trainer.model.named_parameters():
        assert np.array_equal(found.pop(name), value.detach().numpy())
    assert not found
    kept = trainer.averaged()
    take(trainer, 50, 3)
    assert not equal(trainer.averaged(), kept)


# --- one step


def test_large_gradients_are_clipped_and_small_ones_left() -> None:
    """AdamW's first moment after one step is a tenth of the gradient that it was given."""
    norms = []
    for clip in (1e-3, 1e3):
        trainer = trainer_of(clip=clip)
        (step,) = take(trainer, 9, 1)
        norms.append(step.gradient_norm)
        given = 10 * float(np.linalg.norm(trainer.state()["exp_avg"]))
        assert given == pytest.approx(min(clip, step.gradient_norm), rel=1e-4)
    assert norms[0] == norms[1]
    assert 1e-2 < norms[0] < 1e3


def test_the_facts_of_a_step() -> None:
    batches = batches_of()
    assert len(batches) == 6
    settings = {"learning_rate": 0.01, "warmup": 0.25}
    steps = take(trainer_of(batches=batches, **settings), 12, 99)
    assert [step.number for step in steps] == list(range(1, 13))
    assert [step.epoch for step in steps] == [number / 6 for number in range(1, 13)]
    assert [step.progress for step in steps] == [number / 12 for number in range(12)]
    rates = [0.01 * schedule(number / 12, 0.25) for number in range(12)]
    assert [step.learning_rate for step in steps] == pytest.approx(rates)
    assert sum(step.examples for step in steps) == 2 * 21
    assert not any(step.skipped for step in steps)


def test_the_rate_of_the_step_is_the_rate_of_the_update() -> None:
    """The first update of Adam is as large as the rate, whatever the gradient."""
    trainer = trainer_of(learning_rate=0.01, warmup=0.5, weight_decay=0.0)
    before = trainer.state()["weights"]
    list(trainer.steps(lambda step: 0.25 if step == 0 else 1.0))
    change = np.abs(trainer.state()["weights"] - before)
    assert change.max() == pytest.approx(0.005, rel=1e-3)


def test_seeds_and_dropout_take_part() -> None:
    losses = {take(trainer_of(seed=seed), 9, 1)[0].loss for seed in (1, 2, 3)}
    assert len(losses) == 3
    plain = [take(trainer_of(model_of(dropout=0.0), seed=seed), 9, 1)[0].loss for seed in (1, 2)]
    assert plain[0] == plain[1]


def test_dropout_is_drawn_anew_at_every_step() -> None:
    """The same batch and the same weights, step after step; also if the model was put to rest."""
    trainer = trainer_of(batches=batches_of(4), learning_rate=0.0)
    trainer.model.eval()
    steps = take(trainer, 9, 9)
    assert steps[-1].epoch == 9.0
    assert len({round(step.loss, 4) for step in steps}) == 9


def test_smoothing_mixes_the_labels() -> None:
    """The loss is linear in the share that is spread over all symbols."""
    shares = (0.0, 0.2, 0.4)
    plain = model_of(dropout=0.0)
    none, some, more = (
        take(trainer_of(copy.deepcopy(plain), label_smoothing=share), 9, 1)[0].loss
        for share in shares
    )
    assert some == pytest.approx((none + more) / 2, rel=1e-5)
    assert none != pytest.approx(more, rel=1e-3)


def test_weights_of_examples_weigh_their_losses() -> None:
    """(3 a + b) / (3 n_a + n_b) for losses a and b of n_a and n_b symbols."""
    sources, targets = [[4, 5], [6]], [[5, 4, 7, 8], [6]]
    losses = []
    for chosen, weights in (([0], None), ([1], None), ([0, 1], None), ([0, 1], [3.0, 1.0])):
        batches = Batches(
            [sources[row] for row in chosen], [targets[row] for row in chosen], weights=weights
        )
        losses.append(take(trainer_of(model_of(dropout=0.0), batches), 9, 1)[0].loss)
    first, second = 5 * losses[0], 2 * losses[1]
    assert losses[2] == pytest.approx((first + second) / 7, rel=1e-5)
    assert losses[3] == pytest.approx((3 * first + second) / 17, rel=1e-5)
    assert losses[2] != pytest.approx(losses[3], rel=1e-4)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_both_precisions_train_float32_weights(precision: torch.dtype) -> None:
    numbers = {"learning_rate": 0.02, "label_smoothing": 0.0}
    trainer = trainer_of(model_of(dropout=0.0), precision=precision, **numbers)
    steps = take(trainer, 60, 60)
    assert np.mean([step.loss for step in steps[-6:]]) < 0.5 * steps[0].loss
    assert trainer.weights.dtype == torch.float32
    assert {value.dtype for value in trainer.averaged().values()} == {np.dtype(np.float32)}


def test_low_precision_is_really_low() -> None:
    losses = [
        take(trainer_of(model_of(dropout=0.0), precision=precision), 9, 1)[0].loss
        for precision in (torch.float32, torch.bfloat16)
    ]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


# --- the average


def test_the_average_follows_the_weights() -> None:
    trainer = trainer_of(ema=0.5, learning_rate=0.01)
    average = trainer.state()["weights"]
    for number, _ in enumerate(trainer.steps(up_to(12))):
        decay = min(0.5, (1 + number) / (10 + number))
        average = decay * average + (1 - decay) * trainer.state()["weights"]
        assert np.allclose(trainer.state()["average"], average, atol=1e-6)
    flat = np.concatenate([value.ravel() for value in trainer.averaged().values()])
    assert np.array_equal(flat, trainer.state()["average"])
    assert not np.allclose(flat, trainer.state()["weights"], atol=1e-4)


# --- steps that go wrong


class Poisoned(Batches):
    """Batches whose loss is NaN at the steps in ``bad``."""

    bad: Sequence[int] = ()

    def __getitem__(self, step: int) -> Batch:
        batch = super().__getitem__(step)
        return replace(batch, weights=batch.weights * np.nan) if step in self.bad else batch


def poisoned(bad: Sequence[int]) -> Trainer:
    batches = batches_of(kind=Poisoned)
    batches.bad = bad  # type: ignore[attr-defined]
    return trainer_of(batches=batches)


def test_a_step_that_is_not_finite_is_skipped() -> None:
    trainer = poisoned([2, 3, 6])
    states = [trainer.state()]
    for step in trainer.steps(up_to(9)):
        states.append(trainer.state())
        before, after = states[-2:]
        changed = {name for name in after if not np.array_equal(after[name], before[name])}
        assert changed == ({"counts"} if step.skipped else after.keys())
        assert step.skipped == math.isnan(step.loss) == (step.number in (3, 4, 7))
    assert trainer.number == 9
    assert trainer.skipped == 3


def test_a_gradient_that_is_not_finite_is_skipped() -> None:
    """The loss is sound, only its gradient is not."""
    model = model_of()
    trainer = trainer_of(model)
    before = trainer.state()["weights"]
    hook = model.output_bias.register_hook(lambda gradient: gradient / 0)
    (step,) = take(trainer, 9, 1)
    assert math.isfinite(step.loss)
    assert not math.isfinite(step.gradient_norm)
    assert step.skipped
    assert np.array_equal(trainer.state()["weights"], before)
    hook.remove()
    (step,) = take(trainer, 9, 1)
    assert not step.skipped
    assert np.isfinite(trainer.state()["weights"]).all()


def test_a_loss_that_is_not_finite_is_skipped_whatever_its_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = trainer_of()
    before = trainer.state()["weights"]
    backward = trainer._backward
    monkeypatch.setattr(trainer, "_backward", lambda batch: backward(batch) * math.inf)
    (step,) = take(trainer, 9, 1)
    assert step.skipped
    assert math.isfinite(step.gradient_norm)
    assert np.array_equal(trainer.state()["weights"], before)


def test_ten_bad_steps_in_a_row_end_the_training() -> None:
    assert MAX_SKIPPED == 10
    sound = poisoned([*range(1, 10), *range(11, 20)])
    take(sound, 20, 20)
    assert sound.skipped == 18
    first = poisoned(range(3, 13))
    steps = take(first, 20, 7)
    assert [step.skipped for step in steps] == [False] * 3 + [True] * 4
    second = poisoned(range(3, 13))
    second.restore(first.state())
    with pytest.raises(TrainingError, match=r"step 13\).*learning_rate=0") as caught:
        take(second, 20, 20)
    assert "\n" not in str(caught.value)
    assert np.isfinite(second.state()["weights"]).all()


# --- where to begin


def test_given_weights_are_the_start() -> None:
    weights = trainer_of(model_of(seed=2)).averaged()
    trainer = trainer_of()
    trainer.start_from({**weights, "another": np.zeros(3, np.float32)})
    assert equal(trainer.averaged(), weights)
    assert np.array_equal(trainer.state()["weights"], trainer.state()["average"])


@pytest.mark.parametrize("wrong", [np.zeros(1, np.float32), np.zeros((3, 3), np.float32), None])
def test_given_weights_that_do_not_fit_are_refused(wrong: np.ndarray | None) -> None:
    trainer = trainer_of()
    weights = trainer.averaged()
    given = {**weights, "output_bias": wrong}
    if wrong is None:
        del given["output_bias"]
    with pytest.raises(ValueError, match=r"output_bias is .*, expected"):
        trainer.start_from(given)


# --- the schedule

SHARE = st.floats(0.0, 1.0)


@given(st.floats(0.0, 0.99), SHARE, SHARE)
def test_the_rate_rises_in_the_warmup_and_falls_after_it(
    warmup: float, one: float, other: float
) -> None:
    low, high = sorted([one, other])
    assert 0 <= schedule(low, warmup) <= 1
    if high < warmup:
        assert schedule(low, warmup) <= schedule(high, warmup)
    if low >= warmup:
        assert schedule(low, warmup) >= schedule(high, warmup)


def test_the_rate_at_its_corners() -> None:
    assert schedule(0.0, 0.1) > 0, "the first step does something"
    assert schedule(0.05, 0.1) == pytest.approx(0.5)
    assert schedule(0.1, 0.1) == pytest.approx(1.0)
    assert schedule(0.0, 0.0) == pytest.approx(1.0)
    assert schedule(0.55, 0.1) == pytest.approx(0.5)
    assert schedule(0.325, 0.1) == pytest.approx(0.5 + math.sqrt(0.125))
    assert schedule(1.0, 0.1) == pytest.approx(0.0)
    assert schedule(0.5, 1.0) == pytest.approx(0.5)


def test_a_state_that_is_not_copied_is_the_trainers_own() -> None:
    trainer = trainer_of(model_of())
    list(islice(trainer.steps(lambda number: number / 9), 2))
    copied, own = trainer.state(), trainer.state(copied=False)
    assert equal(copied, own)
    next(trainer.steps(lambda number: number / 9))
    assert not np.array_equal(copied["weights"], own["weights"])
    assert np.array_equal(own["weights"], trainer.state()["weights"])


@pytest.mark.parametrize(
    ("passes", "doublings"), [(0, -1), (1, 0), (2, 0), (3, 1), (6, 1), (7, 2), (15, 3), (31, 4)]
)
def test_dropout_grows_with_each_doubling_of_the_passes(passes: int, doublings: int) -> None:
    assert dropout_factor(passes, 0.3) == pytest.approx(1 + 0.3 * doublings)
    assert dropout_factor(passes, 0.0) == 1.0


def test_dropout_of_a_step_is_that_of_its_pass() -> None:
    model = model_of(dropout=0.2)
    trainer = trainer_of(model, dropout_growth=0.5)
    seen: dict[int, float] = {}
    for step in islice(trainer.steps(up_to(1000)), 8 * len(trainer.batches)):
        seen.setdefault((step.number - 1) // len(trainer.batches), model.dropout)
    grown = [0.1, 0.2, 0.2, 0.3, 0.3, 0.3, 0.3, 0.4]
    assert [seen[k] for k in range(8)] == pytest.approx(grown)


def test_a_training_restored_in_a_later_pass_has_its_dropout() -> None:
    numbers = {"dropout_growth": 0.5}
    whole = trainer_of(**numbers)
    several = 4 * len(whole.batches)
    expected = take(whole, 1000, several + 5)[several:]
    first = trainer_of(**numbers)
    take(first, 1000, several)
    second = trainer_of(**numbers)
    second.restore(first.state())
    assert [step.loss for step in take(second, 1000, 5)] == [step.loss for step in expected]
