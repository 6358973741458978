"""What a step on a GPU is found with is what ``batching`` collates, padded to few shapes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charseq.data.batches import Batch, Batches, LineBatches, StreamBatches
from charseq.data.text.vocabulary import EOS, PAD
from charseq.training.gpu_step import DeviceDataset, Shape, StreamUpload, padded_length, upload_of

CPU = torch.device("cpu")
SOURCES = [[4, 5], [6], [7, 8, 9, 4, 5], [], [5, 5, 5], [8, 4], [6, 7, 8, 9]]
TARGETS = [[5], [], [9, 8, 7, 6, 5, 4], [4], [7, 7], [8, 9], [4, 4]]


def texts(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return np.concatenate([np.array(row, dtype=np.int64) for row in rows]), offsets


def check_batch(
    upload: DeviceDataset | StreamUpload, batches: Batches | LineBatches | StreamBatches, step: int
) -> None:
    """What is found is the batch, then padding and rows of no weight."""
    batch = batches[step]
    shape, examples, goes_on = upload.upload(step)
    found = upload.batch(shape)
    rows = len(batch.weights)
    assert (examples, goes_on) == (rows, batch.goes_on)
    assert found.source.shape == (shape.rows, shape.source)
    assert found.inputs.shape == found.labels.shape == (shape.rows, shape.target)
    for name in ("source", "inputs", "labels"):
        wanted, found = getattr(batch, name), getattr(found, name).numpy()
        width = wanted.shape[1]
        np.testing.assert_array_equal(found[:rows, :width], wanted)
        assert (found[:rows, width:] == PAD).all()
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
