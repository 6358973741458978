"""The parts of a batch: every row once, each as it was."""

from __future__ import annotations

import numpy as np

from charseq.data.batches import Batches
from charseq.training.parallel.gradient import split


def test_every_row_belongs_to_one_rank() -> None:
    draw = np.random.default_rng(5)
    rows = [draw.integers(4, 9, draw.integers(1, 6)).tolist() for _ in range(7)]
    batch = Batches(
        rows, [row[::-1] for row in rows], weights=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], batch_size=7
    )[0]
    parts = split(batch, 3)
    assert [len(part.weights) for part in parts] == [3, 2, 2]
    for rank, part in enumerate(parts):
        for row, whole in enumerate(range(rank, 7, 3)):
            for name in ("source", "inputs", "labels"):
                found, expected = getattr(part, name)[row], getattr(batch, name)[whole]
                assert found.tolist() == expected[: len(found)].tolist()
                assert not expected[len(found) :].any()
            assert part.weights[row] == batch.weights[whole]
    assert [len(part.weights) for part in split(split(batch, 4)[3], 4)] == [1], "no empty parts"
