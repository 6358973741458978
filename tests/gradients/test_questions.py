"""The questions of the sheets: every one is there by its name, and every quantity has one."""

from __future__ import annotations

import re

import pytest
from world import ROOT

from charseq.gradients.compare import TITLES, compare
from charseq.gradients.questions import FORWARD, NOT_ASKED, QUESTIONS, of_sheet, question_of

NAMES = {
    "A": "Question 1, Question 2",
    "B1": "1a, 1b",
    "B2": "2, 2b",
    "B3": "3.1, 3.2",
    "C": "Task 1, Task 2",
    "D": "1) 1, 1) 2, 1) 3, 1) 4, [2], [3], [4]",
    "E": "5 a, 5 b, 5 c, 5 d, 5 e, 5 f, 5 g, 5 h",
    "F": ", ".join(f"Exercise 1 (a) {k}" for k in range(1, 7))
    + ", Exercise 1 (b) 1, Exercise 1 (b) 2, Exercise 1 (b) 3, Exercise 1 (b) 4"
    + ", Exercise 2, Exercise 3",
}  # fmt: skip


def test_every_question_of_the_sheets_is_there_in_order() -> None:
    assert NAMES.keys() == TITLES.keys()
    for sheet, names in NAMES.items():
        found = [one.name for one in of_sheet(sheet) if one.name not in (FORWARD, NOT_ASKED)]
        assert found == names.split(", ")


def test_every_quantity_answers_one_question_and_every_pattern_is_needed() -> None:
    used = set()
    for row in compare():
        used.add(id(question_of(row.sheet, row.quantity)))
    idle = [(one.sheet, one.name) for one in QUESTIONS if one.quantities and id(one) not in used]
    assert idle == []
    with pytest.raises(KeyError, match="sheet D has no question about J"):
        question_of("D", "J")


@pytest.mark.parametrize(
    ("sheet", "quantity", "name"),
    [
        ("A", "∂E/∂W_hh(3)", "Question 1"),
        ("B3", "∂J/∂h_1 (plain)", "3.1"),
        ("C", "∂L_t/∂W_H(k)", "Task 2"),
        ("D", "∂L/∂h_1", "1) 3"),
        ("D", "∂h_2/∂h_0", "[2]"),
        ("F", "∂L/∂y_3", "Exercise 1 (a) 1"),
        ("F", "∂L/∂y_2", "Exercise 1 (a) 2"),
        ("F", "∂L_3/∂h_3", "Exercise 1 (a) 3"),
        ("F", "∂h_3/∂h_2", "Exercise 1 (a) 4"),
        ("F", "∂L/∂h_2", "Exercise 1 (a) 5"),
        ("F", "∂L/∂h_1", "Exercise 1 (a) 6"),
        ("F", "∂⁺h_2/∂W_xh", "Exercise 1 (b) 1"),
        ("F", "∂h_2/∂W_hh", "Exercise 1 (b) 2"),
        ("F", "∂L/∂W_hh", "Exercise 1 (b) 4"),
    ],
)
def test_a_question_has_its_quantities(sheet: str, quantity: str, name: str) -> None:
    assert question_of(sheet, quantity).name == name


def test_every_question_has_an_answer() -> None:
    """A formula, words or numbers; and words where the sheet asks why or when."""
    for one in QUESTIONS:
        assert one.formulas or one.answer
        if re.match("why|when", one.asked):
            assert len(one.answer) > 150


def test_the_modules_that_an_answer_names_exist() -> None:
    paths = {path for one in QUESTIONS for path in re.findall(r"[a-z]\w*/[\w/]+\.\w+", one.answer)}
    assert len(paths) > 8
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
