"""The ranks of a data-parallel training learn what one process learns, and end together."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charseq.config import configure, defaults
from charseq.data.batches import Batch, Batches, LineBatches, StreamBatches
from charseq.errors import TrainingError
from charseq.kernels import library
from charseq.models.device import seed_all
from charseq.models.factory import build, build_next_word
from charseq.models.loss import TrainableModel
from charseq.training.parallel.group import Group
from charseq.training.trainer import OptimizerSettings, Step, Trainer

SYMBOLS = 9
NO_NOISE = {"dropout": 0.0, "embedding_dropout": 0.0, "recurrent_dropout": 0.0}
CPU = torch.device("cpu")


def pairs_model(dropout: float = 0.0) -> TrainableModel:
    config = configure(
        {"hidden": 16, "embedding": 8, "layers": 1, "attention": "soft", "dropout": dropout}
    )
    model: TrainableModel = build(config, sources=SYMBOLS, targets=SYMBOLS)
    return model


def rows(count: int) -> list[list[int]]:
    draw = np.random.default_rng(5)
    return [draw.integers(4, SYMBOLS, draw.integers(1, 6)).tolist() for _ in range(count)]


def pairs_batches() -> Batches:
    """Batches of seven rows, the last of an epoch of two; the weights of the rows differ."""
    sources = rows(23)
    weights = np.linspace(0.5, 2.0, 23)
    return Batches(sources, [one[::-1] for one in sources], weights=weights, batch_size=7, seed=3)


def text(
    kind: type[LineBatches] | type[StreamBatches], **options: int
) -> LineBatches | StreamBatches:
    lines = rows(60)
    offsets = np.cumsum([0, *map(len, lines)])
    return kind(np.concatenate(lines), offsets, batch_size=5, seed=2, **options)


def words_model(**options: Any) -> TrainableModel:
    settings = {"hidden": 16, "embedding": 8, "dropout": 0.3, "cell": "lstm", **options}
    config = configure(settings, base=defaults("next-word"))
    counts = np.arange(SYMBOLS)
    model: TrainableModel = build_next_word(config, counts=counts, traits=None, samples=0)
    return model


def trainer_of(
    make: Any, batches: Any, ranks: int, *, processes: bool = True, **settings: Any
) -> Trainer:
    seed_all(1)
    return Trainer(
        make(),
        batches,
        OptimizerSettings(**{"learning_rate": 1e-2, **settings}),
        device=CPU,
        ranks=ranks,
        build=make if processes else None,
    )


def take(trainer: Trainer, count: int, total: int = 12) -> list[Step]:
    """Steps by all processes of a group, from the first one on."""
    if trainer.group is None:
        return list(islice(trainer.steps(lambda step: step / total), count))
    with trainer.group as group:
        assert not group.processes or group.ready(wait=True)
        return list(islice(trainer.steps(lambda step: step / total), count))


def same(left: Trainer, right: Trainer) -> bool:
    before, after = left.state(), right.state()
    return before.keys() == after.keys() and all(
        np.array_equal(before[name], after[name]) for name in before
    )


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize(
    ("make", "batches", "accuracy"),
    [
        (pairs_model, pairs_batches(), 1e-6),  # its softmax is in float32
        (partial(words_model, **NO_NOISE), text(LineBatches), 1e-10),
    ],
    ids=["pairs", "lines"],
)
def test_ranks_have_the_gradient_of_one_process(
    make: Any, batches: Any, accuracy: float, ranks: int
) -> None:
    """In float64: the sum over all symbols, not the mean of the ranks' means."""

    def double() -> TrainableModel:
        return make().double()

    for step in range(4):
        given = batches[step]
        alone, shared = (
            trainer_of(double, batches, count, processes=False, ema=0.0, clip=1e9)
            for count in (1, ranks)
        )
        alone.number = step
        expected, gradient = take(alone, 1)[0], alone.weights.grad
        assert gradient is not None
        assert shared.group is not None
        sums, used = shared.group.gradient(given, step, None)
        assert used == min(ranks, len(given.weights))
        norm = shared.group.add_up(used) / sums.count
        found = shared.group.memory.gradients[0] / sums.count
        assert sums.total / sums.count == pytest.approx(expected.loss, rel=accuracy)
        assert norm == pytest.approx(expected.gradient_norm, rel=accuracy)
        assert float((found - gradient).norm()) <= accuracy * expected.gradient_norm


def test_a_training_by_ranks_learns_what_one_process_learns() -> None:
    alone = trainer_of(pairs_model, pairs_batches(), 1)
    shared = trainer_of(pairs_model, pairs_batches(), 2, processes=False)
    expected, found = take(alone, 12), take(shared, 12)
    for one, other in zip(expected, found, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=2e-4)
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=2e-3)
        assert (other.examples, other.learning_rate) == (one.examples, one.learning_rate)
    # the smallest gradients have no sign of their own, and AdamW takes whole steps by signs
    for name in ("weights", "average"):
        difference = np.abs(alone.state()[name] - shared.state()[name])
        assert np.median(difference) < 1e-6


@pytest.mark.parametrize(
    ("make", "batches"),
    [
        (partial(pairs_model, 0.3), pairs_batches()),
        (partial(words_model, stateful=True), text(StreamBatches, steps=6)),
    ],
    ids=["pairs", "stream"],
)
def test_processes_give_the_bits_of_one_and_resume_exactly(make: Any, batches: Any) -> None:
    one = trainer_of(make, batches, 2, processes=False, dropout_growth=0.5)
    steps = take(one, 9)
    several = trainer_of(make, batches, 2, dropout_growth=0.5)
    assert take(several, 5) == steps[:5]
    assert ("carried" in several.state()) == isinstance(batches, StreamBatches)
    resumed = trainer_of(make, batches, 2, dropout_growth=0.5)
    resumed.restore(several.state())
    assert take(resumed, 4) == steps[5:]
    assert same(one, resumed)
    other = trainer_of(make, batches, 3, processes=False)
    assert take(other, 9)[-1].loss != steps[-1].loss, "dropout's noise belongs to the rank"


class Broken(Batches):
    """Batches whose second one has a weight that is not a number, in the row of one rank."""

    def __getitem__(self, step: int) -> Batch:
        batch = super().__getitem__(step)
        if step == 1:
            batch.weights[1] = np.nan
        return batch


def test_no_rank_learns_from_a_step_that_is_not_finite() -> None:
    sources = rows(23)
    batches = Broken(sources, sources, weights=np.ones(23), batch_size=7, seed=3)
    shared = trainer_of(pairs_model, batches, 2)
    with shared.group as group:  # type: ignore[union-attr]
        assert group.ready(wait=True)
        steps = shared.steps(lambda step: step / 5)
        next(steps)
        before = shared.state()
        assert next(steps).skipped
        after = shared.state()
        assert all(np.array_equal(before[name], after[name]) for name in ("weights", "exp_avg"))
        step = next(steps)
        assert not step.skipped
        assert np.isfinite(step.loss)
        assert not np.array_equal(shared.state()["weights"], before["weights"])


def test_updates_without_the_compiled_library_are_those_of_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_library = trainer_of(pairs_model, pairs_batches(), 2, processes=False)
    expected = take(with_library, 6)
    monkeypatch.setattr(library, "find", lambda: None)
    without = trainer_of(pairs_model, pairs_batches(), 2, processes=False)
    for one, other in zip(expected, take(without, 6), strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-3)


@pytest.fixture
def running() -> Iterator[tuple[Trainer, Group]]:
    trainer = trainer_of(pairs_model, pairs_batches(), 2)
    assert trainer.group is not None
    with trainer.group as group:
        assert group.ready(wait=True)
        yield trainer, group


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_ends_the_training_with_one_line(
    running: tuple[Trainer, Group], number: signal.Signals
) -> None:
    trainer, group = running
    steps = trainer.steps(lambda step: step / 1e9)
    next(steps)
    os.kill(group.processes[0], number)
    with pytest.raises(TrainingError) as caught:
        for _ in steps:
            pass
    assert str(caught.value) == (
        f"process 2 of 2 was ended by {number.name}; the same training goes on from what is saved"
    )


def test_a_group_leaves_nothing_behind() -> None:
    trainer = trainer_of(pairs_model, pairs_batches(), 3)
    shared_memory = Path("/dev/shm")
    before = set(shared_memory.iterdir()) if shared_memory.is_dir() else set()
    with trainer.group as group:  # type: ignore[union-attr]
        processes = group.processes
        assert len(processes) == 2
        assert group.ready(wait=True)
        assert all(Path(f"/proc/{one}").exists() for one in processes)
        now = set(shared_memory.iterdir()) if shared_memory.is_dir() else set()
        assert now <= before
    for one in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(one, 0)
    assert group.processes == []
    assert len(take(trainer, 2)) == 2, "a group may be started again"
