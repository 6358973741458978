"""Shared memory and the slices of the ranks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from charseq.config import configure
from charseq.kernels import adamw, library
from charseq.models.factory import build
from charseq.training.parallel.rank import Layout, Memory, Rank, flatten_into


def layout_of(size: int, ranks: int, dtype: torch.dtype = torch.float32) -> Layout:
    return Layout(size, ranks, dtype, precision=torch.float32, smoothing=0.0, seed=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000])
def test_every_number_is_in_the_slice_of_one_rank(
    size: int, ranks: int, dtype: torch.dtype
) -> None:
    layout = layout_of(size, ranks, dtype)
    numbers = [number for rank in range(ranks) for number in range(size)[layout.part(rank)]]
    assert numbers == list(range(size))
    for rank in range(1, ranks):  # no line of the cache belongs to two
        assert layout.part(rank).start * dtype.itemsize % 64 == 0 or layout.part(rank).start == size


def test_two_processes_would_see_the_same_numbers() -> None:
    layout = layout_of(100, 2)
    memory = Memory(layout)
    other = Memory(layout, os.dup(memory.handle))
    memory.gradients[1][99] = 3.0
    other.weights[0] = 2.0
    assert float(other.gradients[1].sum()) == 3.0
    assert float(memory.weights.sum()) == 2.0
    assert not any(row.any() for row in (memory.average, memory.exp_avg, memory.gradients[0]))


def test_memory_without_a_name_is_freed_with_its_arrays() -> None:
    memory = Memory(layout_of(100, 2))
    handle, weights = memory.handle, memory.weights
    assert str(Path(f"/proc/self/fd/{handle}").readlink()).endswith("(deleted)")
    del memory
    weights[:] = 1.0
    assert float(weights.sum()) == 100.0
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(handle)


def test_slices_are_updated_as_the_whole() -> None:
    """Sums of all gradients, in the slice of each rank, then AdamW and the average."""
    if library.find() is None:
        pytest.skip("AdamW in slices is the library's")
    torch.manual_seed(0)
    config = configure({"hidden": 8, "embedding": 8, "layers": 1, "attention": "none"})
    model = build(config, sources=9, targets=9)
    size = sum(value.numel() for value in model.parameters())
    layout = layout_of(size, 3)
    memory = Memory(layout)
    flatten_into(memory, list(model.parameters()))
    rank = Rank(model, memory, layout)
    for row in (*memory.gradients, memory.average, memory.exp_avg, memory.exp_avg_sq):
        row.copy_(torch.rand(size))
    weights, average = memory.weights.clone(), memory.average.clone()
    moments = {name: getattr(memory, name).clone() for name in ("exp_avg", "exp_avg_sq")}
    moments["step"] = torch.tensor(4.0)
    total = memory.gradients[0] + memory.gradients[1]
    by = adamw.StepSizes(0.5, 1e-2, 0.01, 0.9, 0.98, 0.1)
    adamw.advance(weights, total.clone(), moments, average, by)
    squares = [rank.add_up(number, 2) for number in range(3)]
    assert sum(squares) == pytest.approx(float(total.norm()) ** 2, rel=1e-5)
    assert torch.equal(memory.gradients[0], total), "the third rank had no rows"
    for number in range(3):
        rank.update(number, by, 4, averaged=True)
    for found, expected in ((memory.weights, weights), (memory.average, average)):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(memory.exp_avg_sq, moments["exp_avg_sq"], rtol=1e-6, atol=1e-8)
