"""inputs, lengths -> outputs, final state: a gated cell over all steps in one call of a library.

torch hands a whole sequence of a GRU or an LSTM to cuDNN, whose equations and whose order of gates
are those of ``cells``. Only its packed form knows rows of different lengths, and that form is slow
and wants the lengths on the host. So nothing is packed: behind a row's end the state is held. One
more input, which is 1 there and 0 elsewhere, has weights that drive the gates to exactly 0 and 1,

    gru   z = 1: h_t = h_{t-1}            lstm  i = 0, f = 1: c_t = c_{t-1}

so that the state after the last step is that after each row's last symbol (of an LSTM's h, whose
output gate is not held, the output at that place), and no gradient comes from beyond it. The second
direction, in the same call, reads time backwards: it meets the padding first and holds its zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int

CELLS = ("gru", "lstm")
"""The cells that the library has; its own tanh recurrence has no faster form than our kernel."""
HOLD = 1e4
"""What drives a gate: the logistic function of it is exactly 1, of its negative exactly 0."""
ALIGNED = 8
"""Columns that inputs are filled up to a multiple of, for the matrix units."""
WITH_BFLOAT16 = 91300
"""The version of cuDNN whose recurrences take bfloat16."""


def fits(cell: str, inputs: Tensor) -> bool:
    """Whether such a recurrence has such a call here."""
    return cell in CELLS and inputs.is_cuda and torch.backends.cudnn.is_available()


def number_format(wanted: torch.dtype) -> torch.dtype:
    """``wanted``, or float32 (in whose products tensor cores round) where the library is older."""
    found = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else WITH_BFLOAT16
    return torch.float32 if wanted == torch.bfloat16 and (found or 0) < WITH_BFLOAT16 else wanted


def held(
    steps: int, lengths: Int[Tensor, "B"] | None, device: torch.device
) -> Float[Tensor, "T B 1"] | None:
    """1 behind each row's end, 0 elsewhere; None where all rows are whole."""
    if lengths is None:
        return None
    return (torch.arange(steps, device=device)[:, None] >= lengths).float()[:, :, None]


def run_layer(
    cell: str,
    weights: Sequence[tuple[Tensor, Tensor, Tensor]],
    inputs: Float[Tensor, "T B I"],
    start: Float[Tensor, "K D B H"],
    *,
    beyond: Float[Tensor, "T B 1"] | None = None,
    low: torch.dtype,
) -> tuple[Float[Tensor, "T B DH"], Float[Tensor, "K B DH"]]:
    """Outputs, and the state after each row's last symbol read, of one direction or both.

    ``weights``: for each direction those of a ``models.cells.Cell``, input GH I, bias GH and
    recurrent GH H. ``beyond`` is what :func:`held` gives; products are in the format ``low``.
    """
    size = start.shape[-1]
    given = [part for part, _, _ in weights]
    if beyond is not None:
        inputs, given = _with_hold(cell, inputs, given, beyond, size)
    with torch.autocast(inputs.device.type, enabled=False):
        pairs = zip(given, weights, strict=True)
        matrices = [matrix for part, (_, _, turn) in pairs for matrix in (part, turn)]
        biases = [part for _, bias, _ in weights for part in (bias, torch.zeros_like(bias))]
        parts = _together([*matrices, *biases], low)
        # the library takes them direction by direction, but wants all matrices side by side
        ways = len(weights)
        order = [place for d in range(ways) for place in _of_direction(d, ways)]
        outputs, final = _call(cell, inputs.to(low), start.to(low), [parts[k] for k in order])
    if cell == "lstm" and beyond is not None:
        ends = _at_end(outputs[..., :size], beyond)
        final = torch.stack([torch.stack([ends, *final[0, 1:]]), final[1]])
    return outputs, final.transpose(1, 2).flatten(2)


def _of_direction(direction: int, ways: int) -> tuple[int, int, int, int]:
    """Where a direction's input and recurrent matrix and its two biases stand among all."""
    first = 2 * direction
    return first, first + 1, first + 2 * ways, first + 2 * ways + 1


def _with_hold(
    cell: str, inputs: Tensor, given: list[Tensor], beyond: Tensor, size: int
) -> tuple[Tensor, list[Tensor]]:
    """Inputs and their weights with the column that holds the state."""
    width = inputs.shape[-1]
    more = -(width + 1) % ALIGNED
    inputs = torch.cat([inputs, torch.nn.functional.pad(beyond.to(inputs.dtype), (0, more))], -1)
    column = given[0].new_zeros(len(given[0]), 1 + more)
    if cell == "gru":
        column[size : 2 * size, 0] = HOLD
    else:
        column[:size, 0] = -HOLD
        column[size : 2 * size, 0] = HOLD
    return inputs, [torch.cat([part, column], -1) for part in given]


def _together(parts: list[Tensor], low: torch.dtype) -> list[Tensor]:
    """The same side by side in one buffer, as the library reads them, in its format."""
    flat = torch.cat([part.reshape(-1) for part in parts]).to(low)
    cut = flat.split([part.numel() for part in parts])
    return [piece.view_as(part) for piece, part in zip(cut, parts, strict=True)]


def _call(cell: str, inputs: Tensor, start: Tensor, parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """One layer: outputs T B DH, and the last state K D B H.

    ``train`` is on, since the library keeps what the way back needs only then.
    """
    how: tuple[Any, ...] = (parts, True, 1, 0.0, True, start.shape[1] == 2, False)
    if cell == "gru":
        outputs, last = torch._VF.gru(inputs, start[0], *how)  # noqa: SLF001 - what nn.GRU calls
        return outputs, last[None]
    outputs, last, memory = torch._VF.lstm(inputs, (start[0], start[1]), *how)  # noqa: SLF001
    return outputs, torch.stack([last, memory])


def _at_end(outputs: Tensor, beyond: Tensor) -> Tensor:
    """B H: the output at each row's last symbol."""
    last = (beyond.shape[0] - beyond.sum(0) - 1).to(torch.int64)
    return outputs.gather(0, last[None].expand(1, -1, outputs.shape[-1]))[0]
