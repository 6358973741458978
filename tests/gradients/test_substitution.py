"""Formulas with numbers: evaluated, they give the number that the derivation computes."""

from __future__ import annotations

import math

import pytest

from charseq.gradients.compare import compare_numbers

GIVEN = [
    ({}, "identity"),
    ({"x": (1, -2, 3), "y": (0, 0.5, 1), "w_x": -0.5, "w_h": 0.25, "h_0": -1}, "identity"),
    ({"x": (0.5, -0.2, 0.1), "w_h": -1.5, "w_x": 1}, "tanh"),
    ({"x": (1, 2, 3, 4), "w_h": 2, "h_0": 0.5}, "sigmoid"),
]  # fmt: skip


def evaluate(formula: str) -> float:
    """The value of a formula as a student computes it."""
    text = formula.replace("·", "*").replace("²", "**2").replace("^", "**")
    names = {"tanh": math.tanh, "sigmoid": lambda a: 1 / (1 + math.exp(-a))}
    return float(eval(text, {"__builtins__": {}}, names))  # a formula of this test


@pytest.mark.parametrize(("numbers", "activation"), GIVEN)
def test_a_formula_gives_its_number(numbers: dict[str, object], activation: str) -> None:
    found = compare_numbers(numbers, activation=activation)
    formulas = {row.quantity: row.in_numbers for row in found if row.in_numbers}
    assert len(formulas) == len(found) - 1  # all but the table of the terms
    for row in found:
        if row.in_numbers:
            value = float(row.by_hand)
            assert evaluate(row.in_numbers) == pytest.approx(value, rel=2e-2, abs=2e-2)


def test_the_formulas_of_the_sheet() -> None:
    formulas = {row.quantity: row.in_numbers for row in compare_numbers()}
    assert formulas["h_2"] == "0.1·10 + 1·2"
    assert formulas["ŷ_1"] == "2·2"
    assert formulas["L_1"] == "(4 - 5)²"
    assert formulas["∂L/∂h_1"] == "2·(-2) + 1·4"
    assert formulas["∂L/∂w_h"] == "0·1 + 4·2"


def test_long_sums_are_cut() -> None:
    formulas = {row.quantity: row.in_numbers for row in compare_numbers({"x": range(12)})}
    assert formulas["L"].count(" + ") == 4
    assert " + … + " in formulas["L"]
    assert formulas["∂h_12/∂h_0"] == "1^12"
