"""The step of a GPU, run on a CPU without graphs, and the data on the device."""

from __future__ import annotations

from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from arrays import save_arrays
from hypothesis import given
from hypothesis import strategies as st

from charseq.data.batches import Batch, Batches, LineBatches, StreamBatches
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import EOS, PAD
from charseq.errors import TrainingError
from charseq.models.device import seed_all
from charseq.models.loss import TrainableModel
from charseq.models.next_word import NextWord
from charseq.models.seq2seq import EncoderDecoder
from charseq.runs.weights import load_arrays
from charseq.training.gpu_step import (
    Reading,
    Shape,
    padded_length,
    upload_of,
)
from charseq.training.trainer import MAX_SKIPPED, READ_EVERY, OptimizerSettings, Trainer

SYMBOLS = 9
CPU = torch.device("cpu")
KINDS = ("soft", "hard", "none", "lines", "sampled", "running")


def rows(count: int = 21) -> list[list[int]]:
    draw = np.random.default_rng(5)
    return [draw.integers(4, SYMBOLS, draw.integers(1, 6)).tolist() for _ in range(count)]


def learner(
    kind: str, dropout: float, cell: str
) -> tuple[TrainableModel, Batches | LineBatches | StreamBatches]:
    """A small model and its data; hard attention has features behind EOS."""
    seed_all(1)
    given = rows()
    size: dict[str, Any] = {"embedding": 8, "hidden": 16, "dropout": dropout, "cell": cell}
    if kind in ("soft", "hard", "none"):
        hard = kind == "hard"
        targets = Actions(SYMBOLS).size if hard else SYMBOLS
        sources = [[*row, EOS, 7] for row in given] if hard else given
        model = EncoderDecoder(
            sources=SYMBOLS, targets=targets, attention=kind == "soft", pointer=hard, **size
        )
        return model, Batches(sources, [row[::-1] for row in given], batch_size=4, seed=3)
    samples = 3 if kind == "sampled" else 0
    model = NextWord(symbols=SYMBOLS, samples=samples, counts=torch.arange(SYMBOLS), **size)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in given])])
    if kind == "running":
        return model, StreamBatches(np.concatenate(given), offsets, batch_size=4, steps=5, seed=3)
    return model, LineBatches(np.concatenate(given), offsets, batch_size=4, seed=3)


def trainer_of(
    kind: str, *, graphed: bool, dropout: float = 0.0, cell: str = "gru", **numbers: Any
) -> Trainer:
    model, batches = learner(kind, dropout, cell)
    return Trainer(model, batches, OptimizerSettings(**numbers), device=CPU, graphed=graphed)


def take(trainer: Trainer, count: int) -> list[float]:
    """The losses of the next steps, each looked at when it is done."""
    found = []
    for step in islice(trainer.steps(lambda number: number / 60), count):
        graphed = trainer._graphed
        found.append(step.loss if graphed is None else graphed.read().loss)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_weights_are_those_of_the_plain_step(kind: str) -> None:
    plain, queued = (trainer_of(kind, graphed=graphed) for graphed in (False, True))
    np.testing.assert_allclose(take(queued, 25), take(plain, 25), rtol=1e-5)
    for name in ("weights", "average", "exp_avg", "exp_avg_sq", "step"):
        np.testing.assert_allclose(
            queued.state()[name], plain.state()[name], rtol=1e-4, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize(("kind", "cell"), [("soft", "lstm"), ("hard", "gru"), ("running", "lstm")])
def test_a_restored_training_takes_the_same_steps(kind: str, cell: str) -> None:
    """Through bytes, with noise, stopped between two readings of the loss."""
    made = {"graphed": True, "dropout": 0.3, "cell": cell}
    whole, first = trainer_of(kind, **made), trainer_of(kind, **made)
    steps = [list(islice(whole.steps(lambda number: number / 90), READ_EVERY + 9))]
    found = list(islice(first.steps(lambda number: number / 90), 7))
    data = save_arrays(first.state())
    second = trainer_of(kind, **made)
    second.restore(load_arrays(data))
    found += list(islice(second.steps(lambda number: number / 90), READ_EVERY + 2))
    assert [step.number for step in found] == [step.number for step in steps[0]]
    assert found[-1].loss == steps[0][-1].loss
    one, other = second.state(), whole.state()
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_broken_step_changes_nothing_and_is_counted() -> None:
    trainer = trainer_of("soft", graphed=True)
    take(trainer, 3)
    before = trainer.state()
    assert trainer._graphed is not None
    weights = trainer._graphed._data._weights
    weights.fill_(torch.inf)
    take(trainer, 2)
    weights.fill_(1.0)
    after = trainer.state()
    for name in ("weights", "average", "exp_avg", "exp_avg_sq", "step"):
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    assert after["counts"].tolist() == [5, 2, 2]
    take(trainer, 1)
    assert trainer.state()["counts"].tolist() == [6, 2, 0]


def test_a_broken_step_forgets_the_state_carried() -> None:
    trainer = trainer_of("running", graphed=True)
    graphed = trainer._graphed
    assert graphed is not None
    take(trainer, 1)
    assert graphed.carried_state is not None
    assert graphed.carried_state.any()
    with torch.no_grad():
        trainer.model.output_bias[5] = torch.nan
    take(trainer, 1)
    assert not graphed.carried_state.any()


def test_many_broken_steps_end_the_training_soon() -> None:
    trainer = trainer_of("soft", graphed=True)
    with torch.no_grad():
        trainer.model.output_bias[5] = torch.nan
    with pytest.raises(TrainingError, match=f"not finite for {MAX_SKIPPED} steps in a row"):
        for _ in trainer.steps(lambda number: number / 100):
            pass
    assert trainer.number <= READ_EVERY


def test_the_loss_is_read_back_every_so_many_steps() -> None:
    trainer = trainer_of("soft", graphed=True)
    steps = list(islice(trainer.steps(lambda number: number / 100), 2 * READ_EVERY))
    looks = [step.number for step, last in zip(steps[1:], steps, strict=False) if step != last]
    changed = [
        one.number for one, last in zip(steps[1:], steps, strict=False) if one.loss != last.loss
    ]
    assert len(looks) == 2 * READ_EVERY - 1
    assert changed == [READ_EVERY, 2 * READ_EVERY]
    assert steps[0].loss == steps[READ_EVERY - 2].loss > steps[-1].loss


def test_counting_goes_on_from_a_reading() -> None:
    trainer = trainer_of("soft", graphed=True)
    graphed = trainer._graphed
    assert graphed is not None
    graphed.set_counts(Reading(1.5, 0.25, 7, 3, 0))
    assert graphed.read() == Reading(1.5, 0.25, 7, 3, 3)


# --- the data on the device

SOURCES = [[4, 5], [6], [7, 8, 9, 4, 5], [], [5, 5, 5], [8, 4], [6, 7, 8, 9]]
TARGETS = [[5], [], [9, 8, 7, 6, 5, 4], [4], [7, 7], [8, 9], [4, 4]]


def texts(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return np.concatenate([np.array(row, dtype=np.int64) for row in rows]), offsets


def check_batch(
    upload: DeviceDataset | StreamUpload, batches: Batches | LineBatches | StreamBatches, step: int
) -> None:
    """The uploaded batch is that of the step, then padding and rows of no weight."""
    batch = batches[step]
    shape, examples, continues = upload.upload(step)
    found = upload.batch(shape)
    rows = len(batch.weights)
    assert (examples, continues) == (rows, batch.continues)
    assert found.source.shape == (shape.rows, shape.source)
    assert found.inputs.shape == found.labels.shape == (shape.rows, shape.target)
    for name in ("source", "inputs", "labels"):
        wanted, padded = getattr(batch, name), getattr(found, name).numpy()
        width = wanted.shape[1]
        np.testing.assert_array_equal(padded[:rows, :width], wanted)
        assert (padded[:rows, width:] == PAD).all()
    np.testing.assert_array_equal(found.source_lengths[:rows].numpy(), batch.source_lengths)
    np.testing.assert_array_equal(found.weights[:rows].numpy(), batch.weights)
    assert not found.weights[rows:].any()


def test_pairs_are_gathered_on_the_device() -> None:
    batches = Batches(
        SOURCES, TARGETS, weights=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], batch_size=3, seed=2
    )
    upload = upload_of(batches, CPU)
    for step in range(2 * len(batches) + 1):
        check_batch(upload, batches, step)


def test_lines_are_gathered_on_the_device() -> None:
    lines = LineBatches(*texts(SOURCES), batch_size=4)
    upload = upload_of(lines, CPU)
    for step in range(len(lines) + 1):
        check_batch(upload, lines, step)


def test_running_text_is_sent() -> None:
    stream = StreamBatches(*texts(SOURCES), batch_size=2, steps=4)
    upload = upload_of(stream, CPU)
    for step in range(len(stream) + 1):
        check_batch(upload, stream, step)


def test_a_batch_of_outliers_has_no_more_rows_on_the_device() -> None:
    sources = [*SOURCES, [4] * 700, [5] * 600]
    for batches in (
        Batches(sources, [*TARGETS, [6], [7]], batch_size=4, seed=2),
        LineBatches(*texts(sources), batch_size=4),
    ):
        upload = upload_of(batches, CPU)
        rows = set()
        for step in range(2 * len(batches)):
            check_batch(upload, batches, step)
            shape, *_ = upload.upload(step)
            rows.add((shape.rows, max(shape.source, shape.target) > 500))
        assert rows == {(4, False), (1, True)}


def test_fewer_rows_than_a_batch_has() -> None:
    batches = Batches(SOURCES, TARGETS, batch_size=100)
    shape, examples, _ = upload_of(batches, CPU).upload(0)
    assert shape == Shape(7, 8, 7)
    assert examples == 7


@given(st.integers(1, 100_000))
def test_lengths_are_rounded_up_a_little(length: int) -> None:
    found = padded_length(length)
    assert length <= found <= max(length + 3, 1.25 * length)
    assert padded_length(found) == found


def test_few_lengths_are_left() -> None:
    assert len({padded_length(length) for length in range(1, 1001)}) == 8 + 4 * 5
    assert all(
        padded_length(one) <= padded_length(other) for one, other in pairwise(range(1, 1000))
    )


@pytest.mark.parametrize("kind", [Batches, LineBatches])
def test_a_batch_type_tells_its_rows(kind: type) -> None:
    """The rows alone are sent, so they must be those that are collated."""
    made = (
        Batches(SOURCES, TARGETS, batch_size=3)
        if kind is Batches
        else LineBatches(*texts(SOURCES), batch_size=3)
    )
    for step in range(5):
        found: Batch = made.collate(made.rows(step))
        np.testing.assert_array_equal(found.labels, made[step].labels)
        assert (found.labels == EOS).sum() == len(found.labels)


def test_dropout_that_grows_is_that_of_the_plain_step_in_every_pass() -> None:
    """Captured graphs, which have the dropout in them, are dropped when it changes."""
    model, batches = learner("soft", 0.2, "gru")
    numbers = OptimizerSettings(dropout_growth=0.5)
    trainer = Trainer(model, batches, numbers, device=CPU, graphed=True)
    assert trainer._graphed is not None
    before: list[float] = []
    for step in islice(trainer.steps(lambda number: number / 1000), 3 * len(batches) + 1):
        before.append(model.dropout)
        if (step.number - 1) % len(batches) == 0 and before[-1] not in before[:-1]:
            assert len(trainer._graphed._graphs) == 1  # the shape of this step alone
    assert sorted(set(before)) == pytest.approx([0.1, 0.2, 0.3])
