"""inputs, lengths -> outputs, final state: a GRU or an LSTM over all steps in one call of cuDNN.

cuDNN's equations and order of gates are those of ``models.cells`` (Appleyard et al. 2016). Only
packed sequences may differ in length there, and packing is slow and needs the lengths on the host.
So nothing is packed: the state is held through the padding. An extra input is 1 in the padding and
0 elsewhere, and its weights drive the gates to exactly 0 and 1,

    gru   z = 1: h_t = h_{t-1}            lstm  i = 0, f = 1: c_t = c_{t-1}

so that the state after the last step is the one after each row's last symbol, and no gradient comes
from the padding. An LSTM's output gate is not held: its final h is the output at the last symbol.
The second direction, in the same call, reads time backward: it meets the padding first and stays
zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from charseq.kernels.cell_table import CELLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int

SATURATED = 1e4
"""Saturates a gate: the sigmoid of it is exactly 1, of its negative exactly 0."""
ALIGNMENT = 8
"""Inputs are padded to a multiple of so many columns, for the tensor cores."""
BFLOAT16_VERSION = 91300
"""The first version of cuDNN whose recurrences take bfloat16."""


def fits(cell: str, inputs: Tensor) -> bool:
    """Whether cuDNN runs this cell on the device of ``inputs``."""
    return has_cell(cell) and inputs.is_cuda and torch.backends.cudnn.is_available()


def has_cell(cell: str) -> bool:
    """Whether cuDNN has a cell. Its tanh recurrence is no faster than our kernel and not used."""
    return cell in CELLS and CELLS[cell].cudnn


def number_format(wanted: torch.dtype) -> torch.dtype:
    """``wanted``, or float32 where cuDNN is older than ``BFLOAT16_VERSION``."""
    found = (
        torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else BFLOAT16_VERSION
    )
    return torch.float32 if wanted == torch.bfloat16 and (found or 0) < BFLOAT16_VERSION else wanted


def padding_mask(
    steps: int, lengths: Int[Tensor, "B"] | None, device: torch.device
) -> Float[Tensor, "T B 1"] | None:
    """1 in the padding of each row, 0 elsewhere; None where no row has padding."""
    if lengths is None:
        return None
    return (torch.arange(steps, device=device)[:, None] >= lengths).float()[:, :, None]


def run_layer(
    cell: str,
    weights: Sequence[tuple[Tensor, Tensor, Tensor]],
    inputs: Float[Tensor, "T B I"],
    start: Float[Tensor, "K D B H"],
    *,
    padding: Float[Tensor, "T B 1"] | None = None,
    low: torch.dtype,
) -> tuple[Float[Tensor, "T B DH"], Float[Tensor, "K B DH"]]:
    """One layer in one direction or both: outputs, and the state after each row's last symbol.

    ``weights``: for each direction those of a ``models.cells.Cell``, input GH I, bias GH and
    recurrent GH H. ``padding`` is what :func:`padding_mask` gives; products are in the format
    ``low``.
    """
    size = start.shape[-1]
    given = [part for part, _, _ in weights]
    if padding is not None:
        inputs, given = _append_hold(cell, inputs, given, padding, size)
    with torch.autocast(inputs.device.type, enabled=False):
        pairs = zip(given, weights, strict=True)
        matrices = [matrix for part, (_, _, turn) in pairs for matrix in (part, turn)]
        biases = [part for _, bias, _ in weights for part in (bias, torch.zeros_like(bias))]
        parts = _pack_weights([*matrices, *biases], low)
        # cuDNN takes weights direction by direction, from one buffer with all matrices first
        directions = len(weights)
        order = [index for d in range(directions) for index in _of_direction(d, directions)]
        outputs, final = _call(cell, inputs.to(low), start.to(low), [parts[k] for k in order])
    if cell == "lstm" and padding is not None:
        ends = _last_outputs(outputs[..., :size], padding)
        final = torch.stack([torch.stack([ends, *final[0, 1:]]), final[1]])
    return outputs, final.transpose(1, 2).flatten(2)


def _of_direction(direction: int, directions: int) -> tuple[int, int, int, int]:
    """Indices of a direction's input and recurrent matrix and its two biases among all."""
    first = 2 * direction
    return first, first + 1, first + 2 * directions, first + 2 * directions + 1


def _append_hold(
    cell: str, inputs: Tensor, given: list[Tensor], padding: Tensor, size: int
) -> tuple[Tensor, list[Tensor]]:
    """Inputs and input weights with the column that holds the state in the padding."""
    width = inputs.shape[-1]
    extra = -(width + 1) % ALIGNMENT
    inputs = torch.cat([inputs, torch.nn.functional.pad(padding.to(inputs.dtype), (0, extra))], -1)
    column = given[0].new_zeros(len(given[0]), 1 + extra)
    if cell == "gru":
        column[size : 2 * size, 0] = SATURATED
    else:
        column[:size, 0] = -SATURATED
        column[size : 2 * size, 0] = SATURATED
    return inputs, [torch.cat([part, column], -1) for part in given]


def _pack_weights(parts: list[Tensor], low: torch.dtype) -> list[Tensor]:
    """Views into one contiguous buffer in the format ``low``, as cuDNN reads weights."""
    flat = torch.cat([part.reshape(-1) for part in parts]).to(low)
    cut = flat.split([part.numel() for part in parts])
    return [piece.view_as(part) for piece, part in zip(cut, parts, strict=True)]


def _call(cell: str, inputs: Tensor, start: Tensor, parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """One layer: outputs T B DH, and the last state K D B H.

    ``train`` is on, since only then cuDNN saves what the backward pass needs.
    """
    how: tuple[Any, ...] = (parts, True, 1, 0.0, True, start.shape[1] == 2, False)
    if cell == "gru":
        outputs, last = torch._VF.gru(inputs, start[0], *how)  # noqa: SLF001 - what nn.GRU calls
        return outputs, last[None]
    outputs, last, memory = torch._VF.lstm(inputs, (start[0], start[1]), *how)  # noqa: SLF001
    return outputs, torch.stack([last, memory])


def _last_outputs(outputs: Tensor, padding: Tensor) -> Tensor:
    """B H: the output at each row's last symbol."""
    last = (padding.shape[0] - padding.sum(0) - 1).to(torch.int64)
    return outputs.gather(0, last[None].expand(1, -1, outputs.shape[-1]))[0]
