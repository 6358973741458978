"""the sheets' examples -> every gradient by hand, by autograd and as the sheet has it.

Sheets A to D and F: an example is worked through by ``sheets``, and again by ``autograd``. On
sheet E, the main job, the recurrences as they are trained (``recurrence.Unroll``, derived by hand
in ``bptt``) meet the plain loop over ``cells``. ``slips`` says what a sheet has where it is wrong.
All of it is float64, the examples are the same each time, and a difference above LIMIT is a
mistake.

It prints nothing: :func:`compare` gives the numbers, :func:`lines` a table of them for people.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charseq.gradients import autograd, derivations
from charseq.gradients.mistakes import SLIPS, Slip
from charseq.models.cells import CELLS
from charseq.models.rnn import Unroll, unroll_cell

Array = NDArray[Any]
Given = dict[str, Array]

LIMIT = 1e-10
SEED = 1
TERMS = "∂L_t/∂W_H(k)"  # sheet C's table of terms
WORDS = ("I", "love", "machine", "learning")


@dataclass(frozen=True, eq=False)
class Comparison:
    """One quantity of a sheet, by hand and by autograd; ``on_sheet`` is what the sheet has."""

    sheet: str
    quantity: str
    by_hand: Array
    autograd: Array
    difference: float
    """The largest absolute difference of an entry; inf if the shapes differ."""
    on_sheet: Array | None = None
    slip: str = ""
    """What the sheet did, and why that differs; empty if it is right or has nothing."""

    def to_json(self) -> dict[str, Any]:
        """Arrays as nested lists, scalars as numbers; what the sheet has only if it has it."""
        found = {
            "sheet": self.sheet,
            "quantity": self.quantity,
            "by_hand": self.by_hand.tolist(),
            "autograd": self.autograd.tolist(),
            "difference": self.difference,
        }
        if self.on_sheet is not None:
            found |= {"on_sheet": self.on_sheet.tolist(), "slip": self.slip}
        return found


class Sheet(NamedTuple):
    """A sheet's example, and what works it through by hand and for autograd."""

    given: Callable[[], Given]
    by_hand: Callable[..., derivations.Worked]
    plain: Callable[..., dict[str, Tensor]]


def compare(sheet: str | None = None) -> list[Comparison]:
    """Every gradient and every scalar (losses, the numbers of D) of one sheet, or of all.

    Raises:
        ValueError: there is no such sheet.
    """
    if sheet is None:
        return [one for name in TITLES for one in compare(name)]
    if sheet == "E":
        return [one for cell in CELLS for one in _production(cell)]
    if sheet not in SHEETS:
        raise ValueError(f"sheet is '{sheet}', expected one of {', '.join(TITLES)}")
    return list(_worked(sheet))


def worst(comparisons: Sequence[Comparison]) -> float:
    """The largest difference; inf if one is not a number, so that it exceeds any limit."""
    return max(
        (math.inf if math.isnan(one.difference) else one.difference for one in comparisons),
        default=0.0,
    )


# --- sheets A to D and F


def _worked(name: str) -> Iterator[Comparison]:
    """One sheet's example, by hand and by autograd."""
    sheet = SHEETS[name]
    given = sheet.given()
    values, gradients = sheet.by_hand(**given)
    leaves = {key: torch.tensor(array, requires_grad=True) for key, array in given.items()}
    tensors = leaves | sheet.plain(**leaves)
    slips = SLIPS[name](given, values, gradients) if name in SLIPS else {}
    for key, value in values.items():
        if value.ndim == 0 and key not in given:
            yield _compared(name, key, value, tensors[key], slips.get(key))
    for key, value in gradients.items():
        yield _compared(name, key, value, autograd.derivative(tensors, key), slips.get(key))
    if name == "C":
        key, shape = "shape of W_y", np.array(derivations.shapes()["W_y"])
        of_torch = torch.tensor(autograd.derivative(tensors, "∂L/∂W_y").shape)
        yield _compared(name, key, shape, of_torch, slips[key])


def _compared(
    sheet: str, quantity: str, by_hand: Array, by_torch: Tensor, slip: Slip | None = None
) -> Comparison:
    found = by_torch.detach().numpy()
    same = by_hand.shape == found.shape
    difference = float(np.abs(by_hand - found).max()) if same else math.inf
    if slip is None:
        return Comparison(sheet, quantity, by_hand, found, difference)
    return Comparison(sheet, quantity, by_hand, found, difference, np.asarray(slip.value), slip.why)


def _normal(**shapes: tuple[int, ...]) -> Given:
    """Random arrays by name, the same each time."""
    random = np.random.default_rng(SEED)
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def _one_hot(*words: str) -> Array:
    return np.eye(len(WORDS))[[WORDS.index(word) for word in words]]


def _tanh_rnn() -> Given:
    """Three steps; as many outputs as hidden units, so that the sheet's slips can be written."""
    sizes = {"x": (3, 3), "y": (3, 4), "W_xh": (4, 3), "W_hh": (4, 4), "W_hz": (4, 4)}
    given = _normal(**sizes, b_h=(4,), b_z=(4,), h_0=(4,))
    return given | {"y": np.abs(given["y"])}


def _bigram() -> Given:
    """After "machine" comes "learning"."""
    x, y = _one_hot("machine", "learning")
    return {"x": x, "y": y} | _normal(W_embed=(3, 4), W_unembed=(4, 3))


def _next_word() -> Given:
    """After "I love machine" comes "learning"."""
    x, (y,) = _one_hot("I", "love", "machine"), _one_hot("learning")
    return {"x": x, "y": y, "h_0": np.zeros(3)} | _normal(W_e=(3, 4), W_r=(3, 3), W_u=(4, 3))


def _double_sum() -> Given:
    """Five words, embedding 15, hidden 7, vocabulary 10; weights so small that tanh is not flat."""
    given = _normal(x=(5, 15), W_x=(7, 15), W_H=(7, 7), W_y=(10, 7), h_0=(7,))
    smaller = {name: given[name] / 4 for name in ("W_x", "W_H")}
    return given | smaller | {"y": np.eye(10)[[3, 1, 4, 1, 5]]}


def _linear_rnn() -> Given:
    """The numbers of the sheet."""
    given = {"x": [10.0, 10.0], "y": [5.0, 5.0], "w_x": 0.1, "w_h": 1.0, "w_y": 2.0, "h_0": 1.0}
    return {name: np.array(value) for name, value in given.items()}


def _sigmoid_rnn() -> Given:
    """Three steps from an h_0 that is not zero."""
    sizes = {"x": (3, 3), "targets": (3, 2), "W_xh": (4, 3), "W_hh": (4, 4), "W_hy": (2, 4)}
    given = _normal(**sizes, b_h=(4,), b_y=(2,), h_0=(4,))
    return given | {"targets": derivations.sigmoid(given["targets"])}


SHEETS = {
    "A": Sheet(_tanh_rnn, derivations.tanh_rnn, autograd.tanh_rnn),
    "B1": Sheet(_bigram, derivations.bigram, autograd.bigram),
    "B2": Sheet(_next_word, derivations.next_word, autograd.next_word),
    "B3": Sheet(
        _next_word,
        partial(derivations.next_word, residual=True),
        partial(autograd.next_word, residual=True),
    ),
    "C": Sheet(_double_sum, derivations.double_sum, autograd.double_sum),
    "D": Sheet(_linear_rnn, derivations.linear_rnn, autograd.linear_rnn),
    "F": Sheet(_sigmoid_rnn, derivations.sigmoid_rnn, autograd.sigmoid_rnn),
}
TITLES = {
    "A": "tanh RNN, softmax and cross-entropy at each of 3 steps",
    "B1": 'next word by an MLP, "machine" -> "learning"; J = log p is maximised',
    "B2": 'next word by an RNN, "I love machine" -> "learning"; J = log p is maximised',
    "B3": "the same by a residual RNN, with the numbers of B2",
    "C": "the total derivative as a double sum: 5 words, embedding 15, hidden 7, vocabulary 10",
    "D": "linear RNN with squared error, in numbers",
    "E": "many to many: the recurrences as they are trained, 3 texts of 4 symbols in one batch",
    "F": "sigmoid RNN with squared error at each of 3 steps",
}


# --- sheet E


def _production(name: str) -> Iterator[Comparison]:
    """One cell over a batch, by ``Unroll`` and by ``unroll_cell``; L weighs states at random."""
    steps, batch, inputs, hidden = 4, 3, 3, 4
    with torch.random.fork_rng(devices=[]):  # the cell draws weights, which are replaced
        cell = CELLS[name](inputs, hidden).double()
    wide, kept = cell.gates * hidden, cell.kept
    given = _normal(
        W_x=(wide, inputs),
        W_h=(wide, hidden),
        b=(wide,),
        h_0=(kept, batch, hidden),
        x=(steps, batch, inputs),
        weighting=(kept, steps, batch, hidden),
    )
    tensors = {key: torch.tensor(array) for key, array in given.items()}
    weighting = tensors.pop("weighting")
    with torch.no_grad():
        for key, weight in (("W_x", cell.input), ("W_h", cell.recurrent), ("b", cell.bias)):
            tensors[key] = weight.copy_(tensors[key])
    x, h_0 = tensors["x"].requires_grad_(), tensors["h_0"].requires_grad_()
    recurrent = cell.recurrent.T[None].contiguous()  # W_x x_t + b is torch's product both times
    by_hand = Unroll.apply(name, cell.project(x)[None], recurrent, h_0[:, None])[:, 0]
    losses = [(states * weighting).sum() for states in (by_hand, unroll_cell(cell, x, h_0))]
    yield _compared("E", f"L ({name})", losses[0].detach().numpy(), losses[1])
    found = [torch.autograd.grad(loss, list(tensors.values())) for loss in losses]
    for key, one, other in zip(tensors, *found, strict=True):
        yield _compared("E", f"∂L/∂{key} ({name})", one.numpy(), other)


# --- for people

HEADINGS = ("quantity", "shape", "by hand", "autograd", "difference", "on the sheet")


def lines(comparisons: Sequence[Comparison], *, full: bool) -> list[str]:
    """A table per sheet, its slips below it, and one line about all; ``full``: entries as well.

    Arrays stand there as their Euclidean norms.
    """
    found = ["Arrays are shown by their Euclidean norm."]
    for sheet in dict.fromkeys(one.sheet for one in comparisons):
        chosen = [one for one in comparisons if one.sheet == sheet]
        found += ["", f"{sheet}. {TITLES[sheet]}", *_table(chosen, full=full)]
        if sheet == "C":
            found += ["", *_grid(_shapes()), "", *_grid(_shares(chosen)), ""]
        found += [f"  {one.quantity} on the sheet: {one.slip}" for one in chosen if one.slip]
    numbers = sum(one.by_hand.size for one in comparisons)
    found += ["", f"{len(comparisons)} gradients and values, {numbers:,} numbers compared"]
    found[-1] += f"; the largest difference is {worst(comparisons):.1e}"
    return found


def _table(comparisons: Sequence[Comparison], *, full: bool) -> Iterator[str]:
    rows = _grid([HEADINGS, *(_row(one) for one in comparisons)])
    yield next(rows)
    for one, row in zip(comparisons, rows, strict=True):
        yield row
        if full and one.by_hand.ndim and not _is_shape(one.by_hand):
            yield from _entries(one)


def _grid(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of cells -> lines; the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join([f"  {first:{widths[0]}}", *cells]).rstrip()


def _row(one: Comparison) -> tuple[str, ...]:
    shape = "" if _is_shape(one.by_hand) else "×".join(map(str, one.by_hand.shape))
    on_sheet = "" if one.on_sheet is None else _shown(one.on_sheet)
    sides = (_shown(one.by_hand), _shown(one.autograd))
    return (one.quantity, shape, *sides, f"{one.difference:.1e}", on_sheet)


def _is_shape(array: Array) -> bool:
    """Sheet C compares a shape; all else is float64."""
    return array.dtype.kind == "i"


def _shown(array: Array) -> str:
    """The number, the norm, or a shape as 10×7."""
    if _is_shape(array):
        return "×".join(map(str, array))
    return f"{array if array.ndim == 0 else np.linalg.norm(array):.6g}"


def _entries(one: Comparison) -> Iterator[str]:
    """The entries by hand and, where it has its own, on the sheet."""
    for head, array in (("by hand", one.by_hand), ("on the sheet", one.on_sheet)):
        if array is not None:
            text = np.array2string(
                array,
                max_line_width=100,
                threshold=array.size + 1,
                prefix=f"    {head:12} ",
                formatter={"float_kind": lambda entry: f"{entry:9.3g}"},
            )
            yield from f"    {head:12} {text}".splitlines()


def _shapes() -> list[tuple[str, ...]]:
    """Sheet C's table of shapes."""
    table = derivations.shapes()
    return [("", *table), ("shape", *(f"{rows}×{columns}" for rows, columns in table.values()))]


def _shares(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """Sheet C's table of terms: how much step k contributes to the gradient of the loss at t."""
    rows: list[tuple[str, ...]] = []
    for terms in (one.by_hand for one in comparisons if one.quantity == TERMS):
        norms = np.linalg.norm(terms, axis=(2, 3))
        rows.append((TERMS, *(f"k = {k}" for k in range(1, len(norms) + 1))))
        for t, norm in enumerate(norms, 1):
            shares = (f"{share:.3g}" if k <= t else "" for k, share in enumerate(norm, 1))
            rows.append((f"t = {t}", *shares))
    return rows
