"""projected inputs, recurrent matrix, first state -> states, in one GPU kernel for all steps.

Step by step, a recurrence on a GPU is a queue of hundreds of small kernels, and launching them
takes the time. Here all steps of both directions are one Triton kernel, and all steps of BPTT
another (see ``rnn_triton``). ∂L/∂W_h = Σ_t h_{t-1} (∂L/∂g_t)^T is one product over all steps, as in
``bptt``, whose letters and layouts these are.

Products take 16-bit factors; states stay in float32 from step to step. cuDNN (``rnn_cudnn``)
spreads a step's product over all multiprocessors: an LSTM, and a GRU of a small batch, are faster
there.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from charseq.kernels.cell_table import CELLS

RESIDENT = 256
"""Units up to which a single square W_h fits in a multiprocessor's registers."""
SHARED = 160 * 1024
"""Bytes of shared memory that the kernels need: data-centre GPUs from 2020 on have them."""
SPARE = 24 * 1024
"""Bytes of shared memory that W_h leaves to everything else."""
MIN_ROWS = 16
"""Rows of the batch in a program, as few as a tensor core takes; more if programs would queue."""


class LaunchPlan(NamedTuple):
    """Tiling of a kernel."""

    rows: int
    """Rows of the batch in a program."""
    units: int
    """H rounded up to a power of two."""
    tile: int
    """Rows of W_h in a tile."""
    warps: int
    stages: int
    """Tiles of W_h that are loaded at a time."""


def fits(cell: str, hidden: int, batch: int, device: torch.device, low: torch.dtype) -> bool:
    """Whether the cell has a Triton kernel for these sizes and 16-bit products, and gains by it."""
    limits = CELLS[cell].triton if cell in CELLS else None
    if limits is None or device.type != "cuda" or low not in (torch.bfloat16, torch.half):
        return False
    suits = hidden <= limits.max_units and batch >= limits.min_batch
    return suits and is_installed() and shared(device) >= SHARED


@lru_cache(maxsize=1)
def is_installed() -> bool:
    """Whether Triton is installed."""
    return find_spec("triton") is not None


def plan(
    cell: str, batch: int, directions: int, hidden: int, *, processors: int, shared_memory: int
) -> LaunchPlan:
    """Few rows a program while each program has a multiprocessor to itself, more otherwise.

    ``shared_memory``: bytes of a multiprocessor's shared memory, into which tiles of W_h are
    loaded. Raises ValueError for a cell without a Triton kernel.
    """
    entry = CELLS[cell]
    if entry.triton is None:
        raise ValueError(f"there is no Triton kernel of the cell {cell}")
    units = max(16, 1 << (hidden - 1).bit_length())
    rows = MIN_ROWS
    max_rows = entry.triton.max_rows if units <= RESIDENT else MIN_ROWS
    while rows < max_rows and -(-batch // rows) * directions > processors:
        rows *= 2
    if entry.gates == 1:
        resident = units <= RESIDENT
        warps = 4 if resident and rows == MIN_ROWS else 8
        return LaunchPlan(rows, units, min(units, 64), warps, 1 if resident else 3)
    stages = 3 if 2 * 3 * 32 * units * entry.gates < shared_memory - SPARE else 2
    return LaunchPlan(rows, units, min(units, 32), 8, stages)


class Fused(torch.autograd.Function):
    """One layer over all steps, forward and backward, by Triton kernels."""

    @staticmethod
    def forward(
        ctx: Any, cell: str, projected: Tensor, recurrent: Tensor, initial: Tensor
    ) -> Tensor:
        """K D T B H: the states after every step, in the format of ``projected``."""
        states, gates = run(cell, projected, recurrent, initial)
        ctx.cell = cell
        ctx.kind = initial.dtype
        ctx.save_for_backward(states, gates, recurrent)
        return states[:, :, 1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:
        """Gradients of the projected inputs, the recurrent weights and the first state."""
        states, gates, recurrent = ctx.saved_tensors
        collected, through, first = back(ctx.cell, states, gates, recurrent, gradients[0])
        directions, steps, batch, _ = collected.shape
        before = states[0, :, :steps].reshape(directions, steps * batch, -1)
        after = through.reshape(directions, steps * batch, -1)
        weight = torch.bmm(before.to(recurrent.dtype).transpose(1, 2), after.to(recurrent.dtype))
        return None, collected, weight, first.to(ctx.kind)


def run(cell: str, projected: Tensor, recurrent: Tensor, initial: Tensor) -> tuple[Tensor, Tensor]:
    """States K D T+1 B H, and the values saved for the backward pass.

    Saved are the gates of ``bptt``'s trace, of an ungated cell the slope 1 - tanh² (D T B H).
    ``projected`` is D T B GH, ``recurrent`` D H GH and ``initial`` K D B H.
    """
    directions, steps, batch, _ = projected.shape
    size = initial.shape[-1]
    states = projected.new_empty((len(initial), directions, steps + 1, batch, size))
    states[:, :, 0] = initial
    saved = 4 if cell == "gru" else 1
    gates = projected.new_empty((directions, steps, batch, saved * size))
    arguments = (projected.contiguous(), recurrent.contiguous(), states, gates)
    _launch(cell, 0, arguments, (directions, steps, batch, size))
    return states, gates


def back(
    cell: str, states: Tensor, gates: Tensor, recurrent: Tensor, arriving: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the projected inputs, of the products W h (both D T B GH), of the first state.

    The first two are the same but for a GRU.
    """
    directions, steps, batch, _ = gates.shape
    size = states.shape[-1]
    collected = gates.new_empty((directions, steps, batch, CELLS[cell].gates * size))
    through = torch.empty_like(collected) if cell == "gru" else collected
    first = states.new_empty((len(states), directions, batch, size), dtype=torch.float32)
    trace = (states, gates) if CELLS[cell].gates > 1 else (gates,)
    found = (collected, through) if cell == "gru" else (collected,)
    arguments = (
        arriving.contiguous(), *trace, recurrent.transpose(1, 2).contiguous(), *found, first,
    )  # fmt: skip
    _launch(cell, 1, arguments, (directions, steps, batch, size))
    return collected, through, first


def _launch(
    cell: str, way: int, arguments: tuple[Tensor, ...], size: tuple[int, int, int, int]
) -> None:
    """Launch a kernel: forward (0) or backward (1)."""
    from charseq.kernels import rnn_triton

    kernels = rnn_triton.run_ungated, rnn_triton.back_ungated
    if cell == "gru":
        kernels = rnn_triton.run_gru, rnn_triton.back_gru
    directions, steps, batch, units = size
    device = arguments[0].device
    found = plan(
        cell, batch, directions, units,
        processors=processors(device), shared_memory=shared(device),
    )  # fmt: skip
    kernels[way][-(-batch // found.rows), directions](
        *arguments, steps, batch, units, **options(cell, found)
    )


def options(cell: str, found: LaunchPlan) -> dict[str, Any]:
    """Compile-time arguments of a kernel."""
    chosen: dict[str, Any] = {
        "ROWS": found.rows,
        "UNITS": found.units,
        "TILE": found.tile,
        "num_warps": found.warps,
        "num_stages": found.stages,
    }
    if CELLS[cell].gates > 1:
        return chosen
    return {**chosen, "RESIDUAL": cell == "residual", "RESIDENT": found.units <= RESIDENT}


def processors(device: torch.device) -> int:
    """Multiprocessors of a GPU; one elsewhere, where the kernels are interpreted."""
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def shared(device: torch.device) -> int:
    """Bytes of shared memory that a program can have on a GPU."""
    if device.type != "cuda":
        return SHARED
    found = torch.cuda.get_device_properties(device)
    return int(getattr(found, "shared_memory_per_block_optin", found.shared_memory_per_block))
