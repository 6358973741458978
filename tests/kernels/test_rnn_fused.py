"""The kernels for all steps against ``bptt``, run by Triton's interpreter where there is Triton."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from charseq.kernels import rnn_fused
from charseq.kernels.cell_table import CELLS
from charseq.kernels.rnn_fused import plan

TRITON = tuple(name for name, entry in CELLS.items() if entry.triton is not None)

VALUES = """
import torch
from charseq.kernels import rnn_fused as fused
from charseq.kernels.bptt import RECURRENCES
from charseq.kernels.cell_table import CELLS

torch.manual_seed(0)
for cell, entry in CELLS.items():
    if entry.triton is None:
        continue
    count = entry.gates
    for fused.RESIDENT in (256, 8):  # the matrix in registers, or read in every step
        for directions, steps, batch, hidden in ((2, 3, 5, 20), (1, 2, 17, 16)):
            projected = torch.randn(directions, steps, batch, count * hidden)
            recurrent = torch.randn(directions, hidden, count * hidden) * 0.4
            initial = torch.randn(1, directions, batch, hidden)
            arriving = torch.randn(len(initial), directions, steps, batch, hidden)
            run, back = RECURRENCES[cell]
            trace = run(projected, recurrent, initial)
            wanted = back(trace, recurrent, arriving)
            inputs = [part.clone().requires_grad_() for part in (projected, recurrent, initial)]
            found = fused.Fused.apply(cell, *inputs)
            torch.testing.assert_close(found, trace.states[:, :, 1:], rtol=1e-5, atol=1e-5)
            gradients = torch.autograd.grad(found, inputs, arriving)
            for one, other in zip(gradients, wanted, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
            print(cell, end=" ")
"""


@pytest.mark.skipif(not rnn_fused.is_installed(), reason="Triton is not installed")
def test_forward_and_gradients_are_those_of_bptt_by_value() -> None:
    """In a process of its own: whether Triton interprets is settled when it is loaded."""
    done = subprocess.run(
        [sys.executable, "-c", VALUES],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [cell for cell in TRITON for _ in range(4)]


@pytest.mark.parametrize(
    ("cell", "batch", "directions", "hidden", "rows", "units"),
    [
        ("tanh", 64, 2, 256, 16, 256),  # eight programs: none has to wait
        ("residual", 512, 2, 200, 16, 256),
        ("residual", 4096, 2, 256, 64, 256),
        ("tanh", 4096, 1, 512, 16, 512),  # beyond what registers hold, rows stay few
        ("gru", 4096, 2, 256, 32, 256),
        ("gru", 1, 1, 3, 16, 16),
    ],
)
def test_the_work_is_cut_by_the_batch(
    cell: str, batch: int, directions: int, hidden: int, rows: int, units: int
) -> None:
    found = plan(cell, batch, directions, hidden, processors=132, shared_memory=rnn_fused.SHARED)
    assert (found.rows, found.units) == (rows, units)


def test_what_has_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rnn_fused, "is_installed", lambda: True)
    monkeypatch.setattr(rnn_fused, "shared", lambda _: rnn_fused.SHARED)
    gpu, low = torch.device("cuda"), torch.bfloat16
    assert all(rnn_fused.fits(cell, 256, 4096, gpu, low) for cell in TRITON)
    assert rnn_fused.fits("tanh", 512, 1, gpu, low)
    assert not rnn_fused.fits("gru", 256, 64, gpu, low), "there the library is faster"
    assert not rnn_fused.fits("gru", 512, 4096, gpu, low)
    assert not rnn_fused.fits("lstm", 256, 4096, gpu, low)
    assert not rnn_fused.fits("tanh", 256, 64, torch.device("cpu"), low)
    assert not rnn_fused.fits("tanh", 256, 64, gpu, torch.float32)
    monkeypatch.setattr(rnn_fused, "shared", lambda _: rnn_fused.SHARED - 1)
    assert not rnn_fused.fits("tanh", 256, 64, gpu, low)
    monkeypatch.setattr(rnn_fused, "shared", lambda _: rnn_fused.SHARED)
    monkeypatch.setattr(rnn_fused, "is_installed", lambda: False)
    assert not rnn_fused.fits("tanh", 256, 64, gpu, low)
