"""Comparison of gradients: derived by hand, by autograd, and as the worked sheet has them.

Sheets A to D and F: the gradients of an example by ``derivations`` and by ``autograd``. Sheet E,
the main task: the recurrences that train (``models.rnn.Unroll``, derived by hand in
``kernels.bptt``) and the plain loop over ``models.cells``. ``mistakes`` has the wrong values of the
sheets. All numbers are float64 and the examples are the same each time. A difference above LIMIT is
a mistake in the derivation.

:func:`compare` returns the numbers, :func:`lines` a table of them for people.
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
from charseq.gradients.mistakes import MISTAKES, Mistake
from charseq.models.cells import CELLS
from charseq.models.rnn import Unroll, unroll_cell

Array = NDArray[Any]
Given = dict[str, Array]

LIMIT = 1e-10
SEED = 1
TERMS = "∂L_t/∂W_H(k)"
"""The quantity of sheet C that is the table of all terms."""
WORDS = ("I", "love", "machine", "learning")


@dataclass(frozen=True, eq=False)
class Comparison:
    """A quantity of a sheet: by hand, by autograd and, if known, as the sheet has it."""

    sheet: str
    quantity: str
    by_hand: Array
    autograd: Array
    difference: float
    """The largest absolute difference of an entry; inf if the shapes differ."""
    on_sheet: Array | None = None
    slip: str = ""
    """The mistake of the sheet; empty if the sheet is right or does not have the quantity."""

    def to_json(self) -> dict[str, Any]:
        """Values for JSON; ``on_sheet`` and ``slip`` only if the sheet has the quantity."""
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
    """The example of a sheet, its derivation by hand and its forward pass for autograd."""

    given: Callable[[], Given]
    by_hand: Callable[..., derivations.Worked]
    plain: Callable[..., dict[str, Tensor]]


def compare(sheet: str | None = None) -> list[Comparison]:
    """Comparisons of every gradient and every scalar of one sheet, or of all sheets.

    Raises:
        ValueError: there is no such sheet.
    """
    if sheet is None:
        return [one for name in TITLES for one in compare(name)]
    if sheet == "B":
        return [one for name in ("B1", "B2", "B3") for one in compare(name)]
    if sheet == "E":
        return [one for cell in CELLS for one in _compare_recurrences(cell)]
    if sheet not in SHEETS:
        raise ValueError(f"sheet is '{sheet}', expected one of {', '.join(TITLES)}")
    return list(_compare_sheet(sheet))


def worst(comparisons: Sequence[Comparison]) -> float:
    """The largest difference; inf if a difference is NaN, so that it exceeds any limit."""
    return max(
        (math.inf if math.isnan(one.difference) else one.difference for one in comparisons),
        default=0.0,
    )


# --- sheets A to D and F


def _compare_sheet(name: str) -> Iterator[Comparison]:
    """The comparisons of one sheet of A to D and F."""
    sheet = SHEETS[name]
    given = sheet.given()
    values, gradients = sheet.by_hand(**given)
    leaves = {key: torch.tensor(array, requires_grad=True) for key, array in given.items()}
    tensors = leaves | sheet.plain(**leaves)
    mistakes = MISTAKES[name](given, values, gradients) if name in MISTAKES else {}
    for key, value in values.items():
        if value.ndim == 0 and key not in given:
            yield _comparison(name, key, value, tensors[key], mistakes.get(key))
    for key, value in gradients.items():
        yield _comparison(name, key, value, autograd.derivative(tensors, key), mistakes.get(key))
    if name == "C":
        key, shape = "shape of W_y", np.array(derivations.shapes()["W_y"])
        of_torch = torch.tensor(autograd.derivative(tensors, "∂L/∂W_y").shape)
        yield _comparison(name, key, shape, of_torch, mistakes[key])


def _comparison(
    sheet: str, quantity: str, by_hand: Array, by_torch: Tensor, mistake: Mistake | None = None
) -> Comparison:
    """One comparison; ``mistake`` has the value of the sheet."""
    found = by_torch.detach().numpy()
    same = by_hand.shape == found.shape
    difference = float(np.abs(by_hand - found).max()) if same else math.inf
    if mistake is None:
        return Comparison(sheet, quantity, by_hand, found, difference)
    return Comparison(
        sheet, quantity, by_hand, found, difference, np.asarray(mistake.value), mistake.why
    )


def _normal(**shapes: tuple[int, ...]) -> Given:
    """Random arrays by name, the same each time."""
    random = np.random.default_rng(SEED)
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def _one_hot(*words: str) -> Array:
    """A row for each word."""
    return np.eye(len(WORDS))[[WORDS.index(word) for word in words]]


def _tanh_rnn() -> Given:
    """Three steps; as many outputs as hidden units, so that the mistakes have a meaning."""
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
    """Five words, embedding 15, hidden 7, vocabulary 10; small weights do not saturate tanh."""
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


def _compare_recurrences(name: str) -> Iterator[Comparison]:
    """One cell over a batch, by ``Unroll`` and by ``unroll_cell``; L = Σ random weight · state."""
    steps, batch, inputs, hidden = 4, 3, 3, 4
    with torch.random.fork_rng(devices=[]):  # the weights of the cell are replaced below
        cell = CELLS[name](inputs, hidden).double()
    wide, kept = cell.gates * hidden, cell.states
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
    recurrent = cell.recurrent.T[None].contiguous()  # W_x x_t + b is torch's product in both
    by_hand = Unroll.apply(name, cell.project(x)[None], recurrent, h_0[:, None])[:, 0]
    losses = [(states * weighting).sum() for states in (by_hand, unroll_cell(cell, x, h_0))]
    yield _comparison("E", f"L ({name})", losses[0].detach().numpy(), losses[1])
    found = [torch.autograd.grad(loss, list(tensors.values())) for loss in losses]
    for key, one, other in zip(tensors, *found, strict=True):
        yield _comparison("E", f"∂L/∂{key} ({name})", one.numpy(), other)


# --- for people

HEADINGS = ("quantity", "shape", "by hand", "autograd", "difference", "on the sheet")


def lines(comparisons: Sequence[Comparison], *, full: bool) -> list[str]:
    """A table for each sheet with its mistakes, and a summary; ``full``: all entries as well.

    Arrays are shown by their Euclidean norms.
    """
    found = ["Arrays are shown by their Euclidean norm."]
    for sheet in dict.fromkeys(one.sheet for one in comparisons):
        chosen = [one for one in comparisons if one.sheet == sheet]
        found += ["", f"{sheet}. {TITLES[sheet]}", *_table(chosen, full=full)]
        if sheet == "C":
            found += ["", *_grid(_shapes()), "", *_grid(_term_norms(chosen)), ""]
        found += [f"  {one.quantity} on the sheet: {one.slip}" for one in chosen if one.slip]
    numbers = sum(one.by_hand.size for one in comparisons)
    found += ["", f"{len(comparisons)} gradients and values, {numbers:,} numbers compared"]
    found[-1] += f"; the largest difference is {worst(comparisons):.1e}"
    return found


def _table(comparisons: Sequence[Comparison], *, full: bool) -> Iterator[str]:
    """The lines of the comparisons of a sheet."""
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
    """The cells of a comparison, below HEADINGS."""
    shape = "" if _is_shape(one.by_hand) else "×".join(map(str, one.by_hand.shape))
    on_sheet = "" if one.on_sheet is None else _format(one.on_sheet)
    sides = (_format(one.by_hand), _format(one.autograd))
    return (one.quantity, shape, *sides, f"{one.difference:.1e}", on_sheet)


def _is_shape(array: Array) -> bool:
    """Whether the array is a shape, of integers, which only sheet C compares."""
    return array.dtype.kind == "i"


def _format(array: Array) -> str:
    """The number, the norm, or a shape as 10×7."""
    if _is_shape(array):
        return "×".join(map(str, array))
    return f"{array if array.ndim == 0 else np.linalg.norm(array):.6g}"


def _entries(one: Comparison) -> Iterator[str]:
    """All entries of a quantity, by hand and, if the sheet has it, on the sheet."""
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


def _term_norms(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """Norms of sheet C's terms: the contribution of step k to the gradient of the loss at t."""
    rows: list[tuple[str, ...]] = []
    for terms in (one.by_hand for one in comparisons if one.quantity == TERMS):
        norms = np.linalg.norm(terms, axis=(2, 3))
        rows.append((TERMS, *(f"k = {k}" for k in range(1, len(norms) + 1))))
        for t, norm in enumerate(norms, 1):
            cells = (f"{size:.3g}" if k <= t else "" for k, size in enumerate(norm, 1))
            rows.append((f"t = {t}", *cells))
    return rows
