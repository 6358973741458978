"""The sheets, checked: nothing differs, a mistake would show, numbers can be replaced."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from charseq.gradients import compare as gradients
from charseq.gradients import derivations
from charseq.gradients.compare import LIMIT, Comparison, compare, compare_numbers, worst
from charseq.kernels.bptt import RECURRENCES, Gradients, Trace
from charseq.models.cells import CELLS

ALL = compare()
SHEETS = ("A", "B1", "B2", "B3", "C", "D", "E", "F")


def one(sheet: str, quantity: str) -> Comparison:
    (found,) = [row for row in ALL if (row.sheet, row.quantity) == (sheet, quantity)]
    return found


def made(difference: float, *, sheet: str = "A") -> Comparison:
    return Comparison(sheet, "E", np.array(1.0), np.array(1.0), difference)


# --- the numbers


def test_every_sheet_is_there_in_order() -> None:
    assert tuple(dict.fromkeys(row.sheet for row in ALL)) == SHEETS
    for sheet in SHEETS:
        chosen = [row for row in ALL if row.sheet == sheet]
        assert [row.to_json() for row in compare(sheet)] == [row.to_json() for row in chosen]


def test_nothing_differs() -> None:
    assert LIMIT == 1e-10
    for row in ALL:
        assert row.by_hand.shape == row.autograd.shape
        assert row.difference == np.abs(row.by_hand - row.autograd).max()
        assert row.difference < LIMIT, row.quantity
    assert 0 < worst(ALL) < 1e-13


def test_no_gradient_is_compared_at_zero() -> None:
    """A gradient that vanishes in the example would agree with anything that is forgotten."""
    zero = {(row.sheet, row.quantity) for row in ALL if not row.by_hand.any()}
    assert zero == {("D", "∂L/∂h_0"), ("D", "∂L/∂h_1")}  # as on the sheet


@pytest.mark.parametrize(
    ("sheet", "quantities"),
    [
        ("A", "E ∂E/∂o_1 ∂E/∂o_3 ∂E/∂h_0 ∂E/∂h_3 ∂E/∂W_hz ∂E/∂b_z ∂E/∂W_hh ∂E/∂W_xh ∂E/∂b_h"),
        ("B1", "J ∂J/∂s ∂J/∂h ∂J/∂W_unembed ∂J/∂W_embed"),
        ("B2", "J ∂J/∂s ∂J/∂h_0 ∂J/∂h_1 ∂J/∂h_2 ∂J/∂h_3 ∂J/∂W_r ∂J/∂W_e ∂J/∂W_u"),
        ("B3", "J ∂J/∂s ∂J/∂h_0 ∂J/∂h_1 ∂J/∂h_2 ∂J/∂h_3 ∂J/∂W_r ∂J/∂W_e ∂J/∂W_u"),
        ("C", "L_5 L ∂L_1/∂W_H ∂L_5/∂W_H ∂L_t/∂W_H(k) ∂L/∂W_H"),
        ("D", "h_1 h_2 ŷ_1 ŷ_2 L ∂L/∂h_1 ∂L/∂w_h ∂L/∂w_x ∂L/∂w_y ∂h_2/∂h_0 ∂L_t/∂w_h(k)"),
        ("F", "∂⁺h_1/∂W_xh ∂⁺h_3/∂W_hh ∂h_3/∂W_xh ∂h_3/∂W_hh"),
        ("F", "L ∂L/∂y_1 ∂L_3/∂h_3 ∂h_3/∂h_2 ∂L/∂h_0 ∂L/∂h_1 ∂L/∂W_xh ∂L/∂W_hh ∂L/∂W_hy ∂L/∂b_h"),
    ],
)
def test_what_a_sheet_names_is_compared(sheet: str, quantities: str) -> None:
    assert set(quantities.split()) <= {row.quantity for row in ALL if row.sheet == sheet}


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_as_it_is_trained_is_on_sheet_e(cell: str) -> None:
    wanted = [f"∂L/∂{name} ({cell})" for name in ("W_x", "W_h", "b", "h_0", "x")]
    found = [row.quantity for row in ALL if row.sheet == "E" and f"({cell})" in row.quantity]
    assert found == [f"L ({cell})", *wanted]
    kept, gates = CELLS[cell].states, CELLS[cell].gates
    assert one("E", f"∂L/∂W_h ({cell})").by_hand.shape == (4 * gates, 4)
    assert one("E", f"∂L/∂h_0 ({cell})").by_hand.shape == (kept, 3, 4)


def test_c_has_the_sheets_sizes_and_d_its_numbers() -> None:
    assert one("C", "∂L_t/∂W_H(k)").by_hand.shape == (5, 5, 7, 7)
    right = {"h_1": 2, "h_2": 3, "ŷ_1": 4, "ŷ_2": 6, "L": 2, "∂L/∂h_1": 0, "∂L/∂w_h": 8}
    for quantity, value in (right | {"∂L/∂w_x": 40, "∂L/∂w_y": 2}).items():
        assert one("D", quantity).by_hand == one("D", quantity).autograd == value


def test_drawing_the_examples_disturbs_no_generator() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    compare("E")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def test_a_sheet_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="sheet is 'G', expected one of A, B1, B2, B3, C, D, E, F"):
        compare("G")


def test_another_seed_has_other_numbers_and_agrees_as_well() -> None:
    for sheet in ("A", "B1", "B2", "B3", "C", "E", "F"):
        other = compare(sheet, seed=5)
        assert worst(other) < LIMIT
        assert [row.quantity for row in other] == [r.quantity for r in ALL if r.sheet == sheet]
        same = [row.quantity for row in other if np.array_equal(
            row.by_hand, one(sheet, row.quantity).by_hand
        )]  # fmt: skip
        assert set(same) <= {"shape of W_y"}


def test_the_plain_recurrence_is_beside_the_residual_one() -> None:
    for t in range(4):
        plain = one("B3", f"∂J/∂h_{t} (plain)").by_hand
        assert np.array_equal(plain, one("B2", f"∂J/∂h_{t}").by_hand)
    assert not np.allclose(plain, one("B3", "∂J/∂h_0").by_hand)


# --- own numbers


def values(**numbers: object) -> dict[str, float]:
    activation = str(numbers.pop("activation", "identity"))
    found = compare_numbers(numbers, activation=activation)
    assert worst(found) < 1e-12
    return {row.quantity: float(row.by_hand) for row in found if not row.by_hand.ndim}


def test_the_numbers_of_the_sheet_are_those_without_any() -> None:
    given = {"x": (10, 10), "y": (5, 5), "w_x": 0.1, "w_h": 1, "w_y": 2, "h_0": 1}
    rows = [[row.to_json() for row in compare_numbers(some)] for some in ({}, given)]
    assert rows[0] == rows[1] == [row.to_json() for row in ALL if row.sheet == "D"]
    other = compare_numbers({"w_h": 0.5})
    assert all(row.on_sheet is None and not row.slip for row in other)
    assert all(row.on_sheet is None for row in compare_numbers(activation="tanh"))


def test_other_numbers_by_mental_arithmetic() -> None:
    """h = 1, 2; ŷ = 3, 6; errors 2, 4; ∂L/∂h_2 = 12·... as a reader would do it."""
    found = values(x=(1, 2, 0), y=(3, 3, 3), w_x=1, w_h=0, w_y=3, h_0=7)
    assert (found["h_1"], found["h_2"], found["h_3"]) == (1, 2, 0)
    assert found["L"] == 0 + 9 + 9
    assert (found["∂L/∂h_1"], found["∂L/∂h_2"], found["∂L/∂h_3"]) == (0, 18, -18)
    assert found["∂L/∂w_h"] == 0 * 7 + 18 * 1 - 18 * 2
    assert found["∂h_3/∂h_0"] == 0
    assert values(x=(10, 10, 10))["L_3"] == (2 * 4 - 5) ** 2  # the target stays 5


def test_an_activation_is_a_factor_of_each_step() -> None:
    found = values(x=(0.0,), w_x=1, w_h=2, h_0=0.5, activation="sigmoid")
    middle = 1 / (1 + math.exp(-1))
    assert found["h_1"] == pytest.approx(middle)
    assert found["∂h_1/∂h_0"] == pytest.approx(2 * middle * (1 - middle))
    found = values(x=(10,) * 4, w_h=0.5, activation="tanh")
    slopes = [1 - found[f"h_{t}"] ** 2 for t in range(1, 5)]
    assert found["∂h_4/∂h_0"] == pytest.approx(0.5**4 * math.prod(slopes))


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="y is 1, expected 2"):
        compare_numbers({"y": (1,)})
    with pytest.raises(ValueError, match="no number w_z, expected x, y, w_x"):
        compare_numbers({"w_z": 1})


# --- what the sheets have


def test_every_slip_is_shown_and_differs() -> None:
    slipped = {(row.sheet, row.quantity) for row in ALL if row.slip}
    assert slipped == {
        ("A", "E"), ("A", "∂E/∂h_3"), ("A", "∂E/∂W_hh(3)"), ("A", "∂E/∂W_hh"),
        ("C", "shape of W_y"),
        ("D", "ŷ_1"), ("D", "L"), ("D", "∂L/∂h_1"), ("D", "∂L/∂w_h"),
        ("F", "∂L/∂W_xh"), ("F", "∂L/∂W_hh"),
    }  # fmt: skip
    for row in ALL:
        if row.slip:
            assert row.on_sheet is not None
            assert row.on_sheet.shape == row.by_hand.shape
            assert np.abs(row.on_sheet - row.by_hand).max() > 1e-3
        elif row.on_sheet is not None:
            assert (row.sheet, row.quantity) in {("D", "h_1"), ("D", "h_2"), ("D", "ŷ_2")}
            assert row.on_sheet == row.by_hand


def test_the_column_of_d_is_the_sheets() -> None:
    column = {row.quantity: row.on_sheet for row in ALL if row.sheet == "D"}
    wanted = {"h_1": 2, "h_2": 3, "ŷ_1": 2, "ŷ_2": 6, "L": 10, "∂L/∂h_1": -8, "∂L/∂w_h": -4}
    assert {name: value for name, value in column.items() if value is not None} == wanted


# --- a mistake shows


@pytest.mark.parametrize("cell", CELLS)
def test_a_wrong_derivative_of_a_trained_cell_shows(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, back = RECURRENCES[cell]

    def wrong(trace: Trace, recurrent: Tensor, arriving: Tensor) -> Gradients:
        found = back(trace, recurrent, arriving)
        return found._replace(recurrent=found.recurrent * (1 + 1e-6))

    monkeypatch.setitem(RECURRENCES, cell, (run, wrong))
    over = [row.quantity for row in compare("E") if row.difference > LIMIT]
    assert over == [f"∂L/∂W_h ({cell})"]


@pytest.mark.parametrize("sheet", [sheet for sheet in SHEETS if sheet != "E"])
def test_a_wrong_derivative_by_hand_shows(sheet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gradients.SHEETS[sheet]
    quantity = [row.quantity for row in ALL if row.sheet == sheet and "∂" in row.quantity][-1]

    def wrong(**given: object) -> derivations.Worked:
        values, found = whole.by_hand(**given)
        return derivations.Worked(values, found | {quantity: found[quantity] + 1e-9})

    monkeypatch.setitem(gradients.SHEETS, sheet, whole._replace(by_hand=wrong))
    assert [row.quantity for row in compare(sheet) if row.difference > LIMIT] == [quantity]


def test_another_shape_is_no_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gradients.SHEETS["A"]

    def wrong(**given: object) -> derivations.Worked:
        values, found = whole.by_hand(**given)
        return derivations.Worked(values, found | {"∂E/∂b_h": found["∂E/∂b_h"][:, None]})

    monkeypatch.setitem(gradients.SHEETS, "A", whole._replace(by_hand=wrong))
    assert worst(compare("A")) == math.inf


def test_the_worst_is_worse_than_any_limit_if_it_is_no_number() -> None:
    assert worst([]) == 0
    assert worst([made(1e-3), made(1e-2), made(0.0)]) == 1e-2
    for order in ([made(math.nan), made(1.0)], [made(1.0), made(math.nan)]):
        assert worst(order) > LIMIT
        assert worst(order) == math.inf
    assert worst([made(0.0), made(math.inf)]) == math.inf


def test_not_a_number_by_hand_is_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gradients.SHEETS["D"]

    def wrong(**given: object) -> derivations.Worked:
        values, found = whole.by_hand(**given)
        return derivations.Worked(values, found | {"∂L/∂w_h": np.array(math.nan)})

    monkeypatch.setitem(gradients.SHEETS, "D", whole._replace(by_hand=wrong))
    assert worst(compare("D")) > LIMIT


# --- JSON


def test_json_has_what_the_sheet_has_only_where_it_has_it() -> None:
    keys = ["sheet", "question", "quantity", "by_hand", "autograd", "difference"]
    for row in ALL:
        found = json.loads(json.dumps(row.to_json()))
        wanted = keys if row.on_sheet is None else [*keys, "on_sheet", "slip"]
        assert list(found) == wanted + ["in_numbers"] * bool(row.in_numbers)
        for key, array in (("by_hand", row.by_hand), ("autograd", row.autograd)):
            assert isinstance(found[key], list) == bool(array.ndim)
            assert np.array_equal(found[key], array)
    assert one("D", "ŷ_1").to_json()["on_sheet"] == 2.0
    assert one("D", "ŷ_1").to_json()["slip"] == "w_h is used in place of w_y"
