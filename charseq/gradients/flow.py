"""Gradient flow: the norm of the gradient that reaches each earlier step of a recurrence.

Recurrences are random ones or those of a trained model. Gradients go back one step at a time
through the hand-derived ``kernels.bptt`` that training uses:

    δ_T = u, ‖u‖ = 1                       a random direction at the last output: ∂L_T/∂h_T
    δ_{k-1} = (∂h_k/∂h_{k-1})^T δ_k                                       (sheets A, B3, C)
    log ‖∂L_T/∂h_{T-n}‖ = Σ log (‖δ_{k-1}‖ / ‖δ_k‖)                   over the last n steps

δ is scaled to norm 1 after each step and the logarithms are summed, so that norms of 1e-400 and
1e+400 can be represented. An LSTM's state is (h, c), and its norms are over both. All numbers are
float64. Letters as in ``kernels.bptt``: K state tensors, D recurrences side by side, T steps, B
rows, H hidden, G gates.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import statistics
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from charseq.data.text.vocabulary import BOS, EOS, SPECIALS
from charseq.display import fill, shown, width
from charseq.kernels import bptt
from charseq.kernels.bptt import Gradients, Trace
from charseq.models.cells import CELLS, TanhCell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from charseq.models.rnn import Recurrence
    from charseq.models.seq2seq import EncoderDecoder

SCALES = (0.5, 0.9, 1.0, 1.1, 1.5)
START, END = "start", "<end>"
VANISHED, EXPLODED = 1e-3, 1e3
"""A gradient has vanished below the first bound, and exploded above the second."""
DISTANCES = (1, 10, 50, 100, 200, 500)
PROBES, JACOBIANS = 8, 9
"""Random directions for a recurrence of a trained model; steps whose Jacobian is computed."""
CANDIDATE = {"tanh": 0, "residual": 0, "sigmoid": 0, "gru": 2, "lstm": 2}
"""Index of the candidate block of W_hh, which computes new content; other blocks are gates."""
MAX_WIDTH = 100
"""Width of a table in columns of a terminal."""
LEGEND = (
    "radius, one step: spectral radius of W_hh (gru, lstm: its candidate block), of ∂h_t/∂h_{t-1}",
    "growth: factor per step over the whole distance; at n: ‖∂L_T/∂h_{T-n}‖, which is 1 at 0",
    f"vanishes: under {VANISHED:g} at the farthest step; explodes: over {EXPLODED:g}; holds: else",
)


def run_sigmoid(projected: Tensor, recurrent: Tensor, initial: Tensor) -> Trace:
    """Sheet F: h_t = σ(a_t). It is here to be looked at; charseq trains no such cell.

    Arguments and results are those of :mod:`charseq.kernels.bptt`.
    """
    states = [initial[0]]
    for step in range(projected.shape[1]):
        states.append(torch.sigmoid(projected[:, step] + states[-1] @ recurrent))
    return Trace(torch.stack(states, dim=1)[None], projected.new_empty(0))


def back_sigmoid(trace: Trace, recurrent: Tensor, arriving: Tensor) -> Gradients:
    """δ_{t-1} = ∂L_{t-1} + W_h^T (h_t ⊙ (1 - h_t) ⊙ δ_t), where σ' = σ (1 - σ) ≤ 1/4  (sheet F)."""
    hidden, outputs = trace.states[0], arriving[0]
    collected, delta = torch.empty_like(outputs), torch.zeros_like(outputs[:, 0])
    for step in reversed(range(outputs.shape[1])):
        value = hidden[:, step + 1]
        collected[:, step] = value * (1 - value) * (delta + outputs[:, step])
        delta = collected[:, step] @ recurrent.transpose(1, 2)
    weight = torch.einsum("dtbh,dtbg->dhg", hidden[:, :-1], collected)
    return Gradients(collected, weight, delta[None])


RECURRENCES = {**bptt.RECURRENCES, "sigmoid": (run_sigmoid, back_sigmoid)}
"""The recurrences that are trained, and that of sheet F."""


@dataclass(frozen=True)
class Flow:
    """Gradient flow of one recurrence."""

    cell: str
    name: str
    """The factor of W_hh, ``start``, or the layer and direction in a model."""
    radius: float
    """Spectral radius of W_hh; for a gated cell, of its candidate block."""
    jacobian: float
    """Spectral radius of ∂h_t/∂h_{t-1}: the median over several steps of the first row."""
    logs: tuple[float, ...]
    """log10 of ‖∂L_T/∂h_{T-n}‖ for n = 0 … T, geometric mean over rows; -inf where it is zero."""

    @property
    def growth(self) -> float:
        """Factor per step: the geometric mean over all steps."""
        return float(10.0 ** (self.logs[-1] / (len(self.logs) - 1)))

    @property
    def verdict(self) -> str:
        """The gradient at the farthest step: ``vanishes``, ``explodes`` or ``holds``."""
        if self.logs[-1] < math.log10(VANISHED):
            return "vanishes"
        return "explodes" if self.logs[-1] > math.log10(EXPLODED) else "holds"

    def to_json(self) -> dict[str, Any]:
        """Values for JSON; null in ``logs`` stands for a gradient of zero."""
        logs = [log if math.isfinite(log) else None for log in self.logs]
        growth = {"growth": self.growth, "verdict": self.verdict}
        return dataclasses.asdict(self) | growth | {"logs": logs}


# --- random recurrences


def flow(
    cells: Sequence[str] = tuple(RECURRENCES),
    *,
    scales: Sequence[float] = SCALES,
    steps: int = 500,
    hidden: int = 64,
    batch: int = 4,
    input_scale: float = 0.1,
    seed: int = 1,
) -> list[Flow]:
    """Gradient flow of every cell for each scale of W_hh and for the initial weights (``start``).

    :func:`draw` says how weights and inputs are drawn. h_0 = 0, so the farthest distances are the
    first steps, when states are still small. Equal arguments give equal numbers.
    """
    names, last = [*(f"{scale:g}" for scale in scales), START], _directions(batch, hidden, seed)
    found, sizes = [], (steps, batch, hidden)
    for cell in cells:
        drawn = draw(cell, [*scales, None], sizes, input_scale=input_scale, seed=seed)
        found += _measure(cell, names, *drawn, last)
    return found


def draw(
    cell: str,
    scales: Sequence[float | None],
    sizes: tuple[int, int, int],
    *,
    input_scale: float,
    seed: int,
) -> tuple[Trace, Float[Tensor, "D H GH"]]:
    """Random recurrences run over random inputs: the trace and W_hh; ``sizes`` are T, B, H.

    For a scale, every gate's block of W_hh is the scale times an orthogonal matrix, and W_x x_t is
    normal noise of standard deviation ``input_scale``: the larger it is, the more tanh saturates
    and the more gradients vanish. For None, W_x and W_hh have the initial values of
    ``models.cells``, and inputs have the size of charseq's initial embeddings, which amounts to an
    ``input_scale`` of 1. Biases have their initial values. All scales share the random numbers.
    """
    steps, batch, size = sizes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = CELLS.get(cell, TanhCell)(size, size).double().requires_grad_(requires_grad=False)
        noise = torch.randn(steps, batch, fresh.gates * size, dtype=torch.float64)
        symbols = torch.randn(steps, batch, size, dtype=torch.float64)
        blocks = [nn.init.orthogonal_(noise.new_empty(size, size)) for _ in range(fresh.gates)]
    orthogonal = torch.cat(blocks)
    noise = input_scale * noise + fresh.bias
    projected = torch.stack([fresh.project(symbols) if s is None else noise for s in scales])
    weights = [fresh.recurrent if scale is None else scale * orthogonal for scale in scales]
    recurrent = torch.stack(weights).transpose(1, 2).contiguous()
    start = projected.new_zeros(fresh.states, len(scales), batch, size)
    return _run(cell, projected, recurrent, start), recurrent


def terms(
    cell: str,
    *,
    scale: float | None = None,
    steps: int = 40,
    hidden: int = 64,
    input_scale: float = 0.1,
    seed: int = 1,
) -> Float[Tensor, "T T"]:
    """Norms of sheet C's terms, ‖∂L_t/∂h_t · ∂h_t/∂h_k · ∂⁺h_k/∂W_hh‖_F in row t, column k.

    They are 0 for k > t. The sequence is a random one of :func:`draw`, and ∂L_t/∂h_t is a random
    direction of norm 1. The first column is 0 as well, because h_0 = 0. All losses go back side by
    side.
    """
    trace, recurrent = draw(cell, [scale], (steps, 1, hidden), input_scale=input_scale, seed=seed)
    losses = _directions(steps, hidden, seed)
    states = trace.states.expand(-1, steps, -1, -1, -1)
    copies = Trace(states, trace.gates.expand(steps, -1, -1, -1))
    delta = torch.zeros_like(copies.states[:, :, 0])
    found = losses.new_zeros(steps, steps)
    for step in range(steps, 0, -1):
        delta[0, step - 1, 0] = losses[step - 1]
        back = _step_back(cell, copies, recurrent.expand(steps, -1, -1), step, delta)
        found[:, step - 1] = back.recurrent.flatten(1).norm(dim=1)
        delta = back.initial
    return found


def _measure(
    cell: str, names: Sequence[str], trace: Trace, recurrent: Tensor, last: Tensor
) -> list[Flow]:
    """A :class:`Flow` for each of the D recurrences; ``last`` B H is ∂L_T/∂h_T, of norm 1."""
    logs = log_norms(cell, trace, recurrent, last)
    steps, hidden, place = logs.shape[1] - 1, last.shape[1], CANDIDATE[cell]
    chosen = {round(1 + (steps - 1) * i / (JACOBIANS - 1)) for i in range(JACOBIANS)}
    found = []
    for index, name in enumerate(names):
        only = slice(index, index + 1)
        alone = Trace(trace.states[:, only], trace.gates[only])
        radii = [_radius(jacobian(cell, alone, recurrent[only], step)) for step in chosen]
        block = recurrent[index, :, place * hidden : (place + 1) * hidden]
        norms = tuple(logs[index].tolist())
        found.append(Flow(cell, name, _radius(block), statistics.median(radii), norms))
    return found


def log_norms(
    cell: str, trace: Trace, recurrent: Float[Tensor, "D H GH"], last: Float[Tensor, "B H"]
) -> Float[Tensor, "D distances"]:
    """log10 ‖∂L_T/∂h_{T-n}‖, n = 0 … T, mean over rows; ``last`` is ∂L_T/∂h_T, of norm 1."""
    delta = torch.zeros_like(trace.states[:, :, 0])
    delta[0] = last
    logs = [delta.new_zeros(delta.shape[1:3])]
    for step in range(trace.states.shape[2] - 1, 0, -1):
        delta = _step_back(cell, trace, recurrent, step, delta).initial
        norms = delta.square().sum(dim=(0, 3)).sqrt()
        logs.append(logs[-1] + norms.log10())
        delta = delta / norms.where(norms > 0, 1.0)[None, :, :, None]
    return torch.stack(logs, dim=1).mean(dim=-1)


def jacobian(
    cell: str, trace: Trace, recurrent: Float[Tensor, "1 H GH"], step: int
) -> Float[Tensor, "KH KH"]:
    """∂h_step/∂h_{step-1} at the first row: a row for each unit of h_step (lstm: of h, then c)."""
    kept, _, _, _, hidden = trace.states.shape
    size = kept * hidden
    states = trace.states[:, :, :, :1].expand(-1, -1, -1, size, -1)
    copies = Trace(states, trace.gates[:, :, :1].expand(-1, -1, size, -1))
    units = torch.eye(size, dtype=states.dtype).view(size, kept, 1, hidden).permute(1, 2, 0, 3)
    back = _step_back(cell, copies, recurrent, step, units).initial
    return back.permute(2, 1, 0, 3).reshape(size, size)


def _step_back(cell: str, trace: Trace, recurrent: Tensor, step: int, delta: Tensor) -> Gradients:
    """``bptt`` over the one step h_{step-1} -> h_step, where ``delta`` K D B H is ∂L/∂h_step.

    ``initial`` of the result is ∂L/∂h_{step-1}, ``recurrent`` is the step's term of sheet C.
    """
    alone = Trace(trace.states[:, :, step - 1 : step + 1], trace.gates[:, step - 1 : step])
    return RECURRENCES[cell][1](alone, recurrent, delta[:, :, None])


def _run(cell: str, projected: Tensor, recurrent: Tensor, initial: Tensor) -> Trace:
    """The trace. A cell without gates has its outputs in their place, unread."""
    trace = RECURRENCES[cell][0](projected, recurrent, initial)
    return trace if trace.gates.ndim > 1 else Trace(trace.states, trace.states[0, :, 1:])


def _radius(matrix: Tensor) -> float:
    """The spectral radius: the largest absolute value of an eigenvalue."""
    return float(torch.linalg.eigvals(matrix).abs().max())


def _directions(number: int, hidden: int, seed: int) -> Tensor:
    """Random directions: rows of norm 1."""
    random = torch.Generator().manual_seed(seed)
    rows = torch.randn(number, hidden, generator=random, dtype=torch.float64)
    return nn.functional.normalize(rows, dim=1)


# --- a trained model


def trained_flow(
    model: EncoderDecoder, source: Sequence[int], target: Sequence[int], *, seed: int = 1
) -> list[Flow]:
    """Gradient flow of every recurrence of a trained model on one text.

    Steps of an encoder's backward direction count from the end of the text. The decoder reads BOS
    and the ids of ``target``, starting from the encoder's final state. The norms are means over
    ``PROBES`` random directions of ∂L_T/∂h_T.

    Raises:
        ValueError: ``source`` has no symbols.
    """
    exact = _exact(model, source)
    symbols = torch.tensor([list(source)])
    read, memory, final = exact.read(symbols, torch.tensor([len(source)]))
    start = exact.bridge(final)[:, :, 0]
    # embeddings are scaled as in the model's forward pass
    given = exact.target_embedding[[BOS, *target]] * math.sqrt(exact.target_embedding.shape[1])
    if exact.pointer is not None:
        places = exact.pointer.positions(torch.tensor([[BOS, *target]]), len(memory))
        given = given + exact.pointer(memory, places)[0][:, 0]
    found = _measure_layers("encoder", exact.encoder, read[:, 0], torch.zeros_like(start), seed)
    return found + _measure_layers("decoder", exact.decoder, given, start, seed)


def _measure_layers(
    place: str, recurrence: Recurrence, inputs: Tensor, initial: Tensor, seed: int
) -> list[Flow]:
    """The flow of each layer and direction over the inputs T I of a text, from the states L K H."""
    last = _directions(PROBES, recurrence.hidden, seed)
    found: list[Flow] = []
    outputs_of_layer: list[Tensor] = []
    for layer, direction in product(range(recurrence.layers), range(recurrence.directions)):
        if layer and direction == 0:
            inputs, outputs_of_layer = torch.cat(outputs_of_layer, dim=-1), []
        cell: Any = recurrence.cells[layer * recurrence.directions + direction]
        projected = cell.project(inputs.flip(0) if direction else inputs)
        recurrent = cell.recurrent.T[None]
        copies = projected[None, :, None].expand(-1, -1, PROBES, -1)
        start = initial[layer][:, None, None].expand(-1, -1, PROBES, -1)
        trace = _run(recurrence.cell, copies, recurrent, start)
        direction_name = (" backward" if direction else " forward") * (recurrence.directions > 1)
        found += _measure(
            recurrence.cell, [f"{place} {layer + 1}{direction_name}"], trace, recurrent, last
        )
        outputs = trace.states[0, 0, 1:, 0]
        outputs_of_layer.append(outputs.flip(0) if direction else outputs)
    return found


def character_gradients(
    model: EncoderDecoder, source: Sequence[int], target: Sequence[int]
) -> Float[Tensor, "outputs inputs"]:
    """Saliency of the inputs: ‖∂ log p(y_t | y_<t, source) / ∂ e_s‖ for every output t, input s.

    e_s is the embedding of the symbol at position s; equal symbols at two positions have two
    vectors. ``target`` is given (teacher forcing); the last row is that of the end symbol.

    Raises:
        ValueError: ``source`` has no symbols.
    """
    exact = _exact(model, source)
    # an embedding for each position; EOS keeps its own, since hard attention gives it a meaning
    positions = [EOS if symbol == EOS else SPECIALS + k for k, symbol in enumerate(source)]
    rows = exact.source_embedding.new_zeros(SPECIALS + len(source), exact.source_embedding.shape[1])
    rows[positions] = exact.source_embedding[list(source)]
    rows.requires_grad_()
    given = (torch.tensor([positions]), torch.tensor([len(source)]), torch.tensor([[BOS, *target]]))
    logits = torch.func.functional_call(exact, {"source_embedding": rows}, given)
    written = torch.tensor([*target, EOS])[:, None]
    log_probs = logits[0].log_softmax(dim=-1).gather(1, written)[:, 0]
    found = torch.stack([torch.autograd.grad(p, rows, retain_graph=True)[0] for p in log_probs])
    return found[:, positions].square().sum(dim=-1).sqrt()


def _exact(model: EncoderDecoder, source: Sequence[int]) -> EncoderDecoder:
    """A copy in float64 without dropout, whose weights require no gradients."""
    if not source:
        raise ValueError("a text without symbols has no gradients to look at")
    return copy.deepcopy(model).double().eval().requires_grad_(requires_grad=False)


# --- lines for people


def lines(flows: Sequence[Flow]) -> list[str]:
    """A table with a row for each recurrence, and a legend of its columns."""
    near = [n for n in DISTANCES if n < max(len(one.logs) for one in flows) - 1]
    head = ["cell", "weights", "radius", "one step", "growth", *(f"at {n}" for n in near)]
    table = [[*head, "farthest", ""]]
    for one in flows:
        factors = [f"{one.radius:.3f}", f"{one.jacobian:.3f}", f"{one.growth:.4f}"]
        norms = [_number(one.logs[n]) if n < len(one.logs) else "" for n in near]
        end = f"{_number(one.logs[-1])} at {len(one.logs) - 1}"
        table.append([one.cell, one.name, *factors, *norms, end, one.verdict])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rows = []
    for row in table:
        cells = [f"{cell:{'<' if i < 2 else '>'}{widths[i]}}" for i, cell in enumerate(row[:-1])]
        rows.append("  ".join([*cells, row[-1]]).rstrip())
    return [*rows, *LEGEND]


def character_lines(
    gradients: Float[Tensor, "outputs inputs"], inputs: Sequence[str], outputs: Sequence[str]
) -> list[str]:
    """Table of :func:`character_gradients` in percent of each row; wide tables in blocks.

    ``outputs`` are the symbols without the end symbol, which has the last row.
    """
    heads, sides = [*map(shown, inputs)], [*map(shown, outputs), END]
    left, wide = max(map(width, sides)), 1 + max(3, *map(width, heads))
    columns = max(1, (MAX_WIDTH - left) // wide)
    sums = gradients.sum(dim=1, keepdim=True)
    shares = (100 * gradients / sums.where(sums > 0, 1.0)).tolist()
    found = []
    for first in range(0, len(heads), columns):
        block = slice(first, first + columns)
        found += [""] * (first > 0)
        found.append(" " * left + "".join(fill(head, wide) for head in heads[block]))
        for side, row in zip(sides, shares, strict=True):
            found.append(fill(side, left) + "".join(f"{share:{wide}.0f}" for share in row[block]))
    return found


def _number(log: float) -> str:
    """10^log, however small or large it is."""
    return "0" if log == -math.inf else f"{Decimal(10) ** Decimal(log):.1e}"
