"""projected inputs, recurrent matrix, first state -> states, in one kernel for all steps, on a GPU.

Step by step, a recurrence on a GPU is a queue of hundreds of tiny kernels, and the time goes into
starting them. Here the whole walk through time is one kernel for both directions, and the walk back
another (see ``persistent`` and ``gated``); ∂L/∂W_h = Σ_t h_{t-1} (∂L/∂g_t)^T remains one product
over all steps, as in ``bptt``, whose letters and layouts these are.

Products are of 16-bit numbers; what is carried from step to step stays in float32. Gated cells have
whole-sequence calls of the vendor's library (see ``cudnn``), which share a step's large product
among all multiprocessors: an LSTM, and a GRU of a small batch, are faster there.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

RESIDENT = 256
"""Most units of which a single square W_h stays in a multiprocessor's registers."""
MOST_UNITS = {"tanh": 1024, "residual": 1024, "gru": 256}
"""The cells that have such kernels, and to how many units."""
FEWEST = {"gru": 1024}
"""Rows of a batch from which a kernel is faster than the library, where that has the cell."""
GATES = {"tanh": 1, "residual": 1, "gru": 3}
SHARED = 160 * 1024
"""Bytes of shared memory that the kernels want: data-centre cards from 2020 on have them."""
SPARE = 24 * 1024
"""Bytes of it that are left to everything but W_h."""
FEWEST_ROWS = 16
MOST_ROWS = {"tanh": 64, "residual": 64, "gru": 32}
"""Rows of the batch in a program: as few as the matrix units take, unless programs would queue; of
many units as few."""


class Plan(NamedTuple):
    """How the work is cut: rows in a program, units up to a power of two, rows of W_h at once.

    And the warps of a program, and how many tiles of W_h are on their way at a time.
    """

    rows: int
    units: int
    tile: int
    warps: int
    stages: int


def fits(cell: str, hidden: int, batch: int, device: torch.device, low: torch.dtype) -> bool:
    """Whether such a recurrence has a kernel there, for 16-bit products on a GPU, and gains."""
    able = device.type == "cuda" and low in (torch.bfloat16, torch.half)
    suits = hidden <= MOST_UNITS.get(cell, 0) and batch >= FEWEST.get(cell, 0)
    return able and suits and is_there() and shared(device) >= SHARED


@lru_cache(maxsize=1)
def is_there() -> bool:
    """Whether Triton is installed."""
    return find_spec("triton") is not None


def plan(
    cell: str, batch: int, directions: int, hidden: int, *, processors: int, room: int
) -> Plan:
    """Few rows a program while every program has a multiprocessor to itself, more beyond.

    ``room``: the bytes of its shared memory, where tiles of W_h arrive.
    """
    units = max(16, 1 << (hidden - 1).bit_length())
    rows = FEWEST_ROWS
    most = MOST_ROWS[cell] if units <= RESIDENT else FEWEST_ROWS
    while rows < most and -(-batch // rows) * directions > processors:
        rows *= 2
    if GATES[cell] == 1:
        resident = units <= RESIDENT
        warps = 4 if resident and rows == FEWEST_ROWS else 8
        return Plan(rows, units, min(units, 64), warps, 1 if resident else 3)
    stages = 3 if 2 * 3 * 32 * units * GATES[cell] < room - SPARE else 2
    return Plan(rows, units, min(units, 32), 8, stages)


class Fused(torch.autograd.Function):
    """One layer over all steps, forward and backward: what ``recurrence.Unroll`` is elsewhere."""

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
    """States K D T+1 B H, and what the way back needs: of gated cells the trace's gates.

    Of the others it is the slope 1 - tanh², D T B H. ``projected`` is D T B GH, ``recurrent`` D H
    GH and ``initial`` K D B H.
    """
    directions, steps, batch, _ = projected.shape
    size = initial.shape[-1]
    states = projected.new_empty((len(initial), directions, steps + 1, batch, size))
    states[:, :, 0] = initial
    kept = 4 if cell == "gru" else 1
    gates = projected.new_empty((directions, steps, batch, kept * size))
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
    collected = gates.new_empty((directions, steps, batch, GATES[cell] * size))
    through = torch.empty_like(collected) if cell == "gru" else collected
    first = states.new_empty((len(states), directions, batch, size), dtype=torch.float32)
    trace = (states, gates) if GATES[cell] > 1 else (gates,)
    found = (collected, through) if cell == "gru" else (collected,)
    arguments = (
        arriving.contiguous(), *trace, recurrent.transpose(1, 2).contiguous(), *found, first,
    )  # fmt: skip
    _launch(cell, 1, arguments, (directions, steps, batch, size))
    return collected, through, first


def _launch(
    cell: str, way: int, arguments: tuple[Tensor, ...], size: tuple[int, int, int, int]
) -> None:
    """Start a kernel: forward (0) or back (1)."""
    from charseq.kernels import rnn_triton
    from charseq.kernels import rnn_triton as gated

    kernels = rnn_triton.forward, rnn_triton.backward
    if cell == "gru":
        kernels = gated.run_gru, gated.back_gru
    directions, steps, batch, units = size
    device = arguments[0].device
    found = plan(cell, batch, directions, units, processors=processors(device), room=shared(device))
    kernels[way][-(-batch // found.rows), directions](
        *arguments, steps, batch, units, **options(cell, found)
    )


def options(cell: str, found: Plan) -> dict[str, Any]:
    """What the kernels are compiled for."""
    chosen: dict[str, Any] = {
        "ROWS": found.rows,
        "UNITS": found.units,
        "TILE": found.tile,
        "num_warps": found.warps,
        "num_stages": found.stages,
    }
    if GATES[cell] > 1:
        return chosen
    return {**chosen, "RESIDUAL": cell == "residual", "RESIDENT": found.units <= RESIDENT}


def processors(device: torch.device) -> int:
    """Multiprocessors of a GPU; one elsewhere, where the kernels are interpreted."""
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def shared(device: torch.device) -> int:
    """Bytes of shared memory that a program on a GPU can have."""
    if device.type != "cuda":
        return SHARED
    found = torch.cuda.get_device_properties(device)
    return int(getattr(found, "shared_memory_per_block_optin", found.shared_memory_per_block))
