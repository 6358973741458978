"""Comparison of gradients: derived by hand, by autograd, and as the worked sheet has them.

Sheets A to D and F: the gradients of an example by ``derivations`` and by ``autograd``. Sheet E,
the main task: the recurrences that train (``models.rnn.Unroll``, derived by hand in
``kernels.bptt``) and the plain loop over ``models.cells``. ``mistakes`` has the wrong values of the
sheets. All numbers are float64 and the same each time for a seed; sheet D has numbers of its own,
which can be replaced. A difference above LIMIT is a mistake in the derivation.

:func:`compare` returns the numbers, :func:`charseq.gradients.report.lines` tables of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charseq.gradients import autograd, derivations, questions
from charseq.gradients.mistakes import MISTAKES, Mistake
from charseq.gradients.substitution import Substitution
from charseq.models.cells import CELLS
from charseq.models.rnn import Unroll, unroll_cell

Array = NDArray[Any]
Given = dict[str, Array]

LIMIT = 1e-10
SEED = 1
TERMS = "∂L_t/∂W_H(k)"
"""The quantity of sheet C that is the table of all terms."""
NUMBER_TERMS = "∂L_t/∂w_h(k)"
"""The same of sheet D."""
WORDS = ("I", "love", "machine", "learning")
NUMBERS: Mapping[str, float | tuple[float, ...]] = {
    "x": (10.0, 10.0), "y": (5.0, 5.0), "w_x": 0.1, "w_h": 1.0, "w_y": 2.0, "h_0": 1.0,
}  # fmt: skip
"""The numbers of sheet D."""
ACTIVATIONS: Mapping[str, tuple[derivations.Activation, Callable[[Tensor], Tensor]]] = {
    "identity": (derivations.IDENTITY, torch.positive),
    "tanh": (derivations.TANH, torch.tanh),
    "sigmoid": (derivations.SIGMOID, torch.sigmoid),
}
"""What h_t = σ(a_t) can be on sheet D: by hand and in torch."""


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
    in_numbers: str = ""
    """The formula with the numbers put in, such as ``2·(-2) + 1·4``; on sheet D only."""

    @property
    def question(self) -> str:
        """The name of the question that the quantity answers."""
        return questions.question_of(self.sheet, self.quantity).name

    def to_json(self) -> dict[str, Any]:
        """Values for JSON; ``on_sheet`` and ``slip`` only if the sheet has the quantity."""
        found = {
            "sheet": self.sheet,
            "question": self.question,
            "quantity": self.quantity,
            "by_hand": self.by_hand.tolist(),
            "autograd": self.autograd.tolist(),
            "difference": self.difference,
        }
        if self.on_sheet is not None:
            found |= {"on_sheet": self.on_sheet.tolist(), "slip": self.slip}
        return found | ({"in_numbers": self.in_numbers} if self.in_numbers else {})


class Sheet(NamedTuple):
    """The example of a sheet, its derivation by hand and its forward pass for autograd."""

    given: Callable[[int], Given]
    """The example for a seed."""
    by_hand: Callable[..., derivations.Worked]
    plain: Callable[..., dict[str, Tensor]]


def compare(sheet: str | None = None, *, seed: int = SEED) -> list[Comparison]:
    """Comparisons of every gradient and every scalar of one sheet, or of all sheets.

    ``seed`` chooses the random numbers of all sheets but D, which has its own.

    Raises:
        ValueError: there is no such sheet.
    """
    if sheet is None:
        return [one for name in TITLES for one in compare(name, seed=seed)]
    if sheet == "B":
        return [one for name in ("B1", "B2", "B3") for one in compare(name, seed=seed)]
    if sheet == "D":
        return compare_numbers()
    if sheet == "E":
        return [one for cell in CELLS for one in _compare_recurrences(cell, seed)]
    if sheet not in SHEETS:
        raise ValueError(f"sheet is '{sheet}', expected one of {', '.join(TITLES)}")
    found = list(_compare_sheet(sheet, SHEETS[sheet].given(seed)))
    if sheet == "B3":
        plain = [one for one in compare("B2", seed=seed) if one.quantity.startswith("∂J/∂h_")]
        found[:0] = [replace(one, sheet="B3", quantity=f"{one.quantity} (plain)") for one in plain]
    return found


def compare_numbers(
    numbers: Mapping[str, float | Sequence[float]] | None = None, *, activation: str = "identity"
) -> list[Comparison]:
    """Sheet D with ``numbers`` in place of those of the sheet: x, y, w_x, w_h, w_y, h_0.

    Without y each target is that of the sheet, 5. The values of the sheet, with its mistakes, are
    only beside the numbers of the sheet. ``activation``: identity, tanh or sigmoid.

    Raises:
        ValueError: x and y have different lengths, or a name or the activation is unknown.
    """
    numbers = numbers or {}
    if unknown := numbers.keys() - NUMBERS.keys():
        raise ValueError(f"no number {min(unknown)}, expected {', '.join(NUMBERS)}")
    by_hand, plain = ACTIVATIONS[activation]
    given = {name: np.array(value, float) for name, value in {**NUMBERS, **numbers}.items()}
    if "y" not in numbers:
        given["y"] = np.full_like(given["x"], 5.0)
    sheet = SHEETS["D"]
    changed = Sheet(
        sheet.given, partial(sheet.by_hand, activation=by_hand),
        partial(sheet.plain, activation=plain),
    )  # fmt: skip
    of_sheet = all(np.array_equal(given[name], value) for name, value in NUMBERS.items())
    found = _compare_sheet("D", given, changed, has_mistakes=of_sheet and activation == "identity")
    known = Substitution(given, changed.by_hand(**given), activation)
    return [replace(one, in_numbers=known.formula(one.quantity)) for one in found]


def worst(comparisons: Sequence[Comparison]) -> float:
    """The largest difference; inf if a difference is NaN, so that it exceeds any limit."""
    return max(
        (math.inf if math.isnan(one.difference) else one.difference for one in comparisons),
        default=0.0,
    )


def largest(comparisons: Sequence[Comparison]) -> float:
    """The largest size of a number, or 1: rounding errors of numbers of a user grow with it."""
    return max([1.0, *(float(np.abs(one.by_hand).max(initial=0)) for one in comparisons)])


# --- sheets A to D and F


def _compare_sheet(
    name: str, given: Given, sheet: Sheet | None = None, *, has_mistakes: bool = True
) -> Iterator[Comparison]:
    """The comparisons of one sheet of A to D and F on an example."""
    sheet = sheet or SHEETS[name]
    values, gradients = sheet.by_hand(**given)
    leaves = {key: torch.tensor(array, requires_grad=True) for key, array in given.items()}
    tensors = leaves | sheet.plain(**leaves)
    mistakes: dict[str, Mistake] = {}
    if has_mistakes and name in MISTAKES:
        mistakes = MISTAKES[name](given, values, gradients)
    for key, value in values.items():
        if value.ndim == 0 and key not in given and not key.startswith("a_"):
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


def _normal(seed: int, **shapes: tuple[int, ...]) -> Given:
    """Random arrays by name, the same each time for a seed."""
    random = np.random.default_rng(seed)
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def _one_hot(*words: str) -> Array:
    """A row for each word."""
    return np.eye(len(WORDS))[[WORDS.index(word) for word in words]]


def _tanh_rnn(seed: int) -> Given:
    """Three steps; as many outputs as hidden units, so that the mistakes have a meaning."""
    sizes = {"x": (3, 3), "y": (3, 4), "W_xh": (4, 3), "W_hh": (4, 4), "W_hz": (4, 4)}
    given = _normal(seed, **sizes, b_h=(4,), b_z=(4,), h_0=(4,))
    return given | {"y": np.abs(given["y"])}


def _bigram(seed: int) -> Given:
    """After "machine" comes "learning"."""
    x, y = _one_hot("machine", "learning")
    return {"x": x, "y": y} | _normal(seed, W_embed=(3, 4), W_unembed=(4, 3))


def _next_word(seed: int) -> Given:
    """After "I love machine" comes "learning"."""
    x, (y,) = _one_hot("I", "love", "machine"), _one_hot("learning")
    return {"x": x, "y": y, "h_0": np.zeros(3)} | _normal(seed, W_e=(3, 4), W_r=(3, 3), W_u=(4, 3))


def _double_sum(seed: int) -> Given:
    """Five words, embedding 15, hidden 7, vocabulary 10; small weights do not saturate tanh."""
    given = _normal(seed, x=(5, 15), W_x=(7, 15), W_H=(7, 7), W_y=(10, 7), h_0=(7,))
    smaller = {name: given[name] / 4 for name in ("W_x", "W_H")}
    return given | smaller | {"y": np.eye(10)[[3, 1, 4, 1, 5]]}


def _linear_rnn(_seed: int) -> Given:
    """The numbers of the sheet."""
    return {name: np.array(value) for name, value in NUMBERS.items()}


def _sigmoid_rnn(seed: int) -> Given:
    """Three steps from an h_0 that is not zero."""
    sizes = {"x": (3, 3), "targets": (3, 2), "W_xh": (4, 3), "W_hh": (4, 4), "W_hy": (2, 4)}
    given = _normal(seed, **sizes, b_h=(4,), b_y=(2,), h_0=(4,))
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


def _compare_recurrences(name: str, seed: int) -> Iterator[Comparison]:
    """One cell over a batch, by ``Unroll`` and by ``unroll_cell``; L = Σ random weight · state."""
    steps, batch, inputs, hidden = 4, 3, 3, 4
    with torch.random.fork_rng(devices=[]):  # the weights of the cell are replaced below
        cell = CELLS[name](inputs, hidden).double()
    wide, kept = cell.gates * hidden, cell.states
    given = _normal(
        seed,
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
