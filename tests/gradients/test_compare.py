"""The sheets, checked: nothing differs, a mistake would show, and the table can be read."""

from __future__ import annotations

import json
import math
import re
import unicodedata

import numpy as np
import pytest
import torch
from torch import Tensor
from world import ROOT

from charseq.gradients import compare as gradients
from charseq.gradients import derivations
from charseq.gradients.compare import LIMIT, Comparison, compare, lines, worst
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
        ("D", "h_1 h_2 ŷ_1 ŷ_2 L ∂L/∂h_1 ∂L/∂w_h ∂L/∂w_x ∂L/∂w_y"),
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
    keys = ["sheet", "quantity", "by_hand", "autograd", "difference"]
    for row in ALL:
        found = json.loads(json.dumps(row.to_json()))
        assert list(found) == (keys if row.on_sheet is None else [*keys, "on_sheet", "slip"])
        for key, array in (("by_hand", row.by_hand), ("autograd", row.autograd)):
            assert isinstance(found[key], list) == bool(array.ndim)
            assert np.array_equal(found[key], array)
    assert one("D", "ŷ_1").to_json()["on_sheet"] == 2.0
    assert one("D", "ŷ_1").to_json()["slip"] == "w_h is used in place of w_y"


# --- for people


def tables(text: list[str]) -> dict[str, list[str]]:
    """The rows of each sheet's main table, headings first."""
    found, sheet = {}, ""
    for line in text:
        title = re.match(r"([A-F][123]?)\. ", line)
        if title:
            sheet = title[1]
        elif line.startswith("  quantity"):
            found[sheet] = [line]
        elif sheet in found and re.match(r"  \S.* \d\.\de[-+]\d\d\b", line):
            found[sheet].append(line)
    return found


def test_the_tables_line_up() -> None:
    text = lines(ALL, full=False)
    assert all(unicodedata.is_normalized("NFC", line) for line in text)
    assert not any(unicodedata.combining(letter) for line in text for letter in line)
    found = tables(text)
    assert tuple(found) == SHEETS
    for sheet, (head, *rows) in found.items():
        chosen = [row for row in ALL if row.sheet == sheet]
        assert len(rows) == len(chosen)
        ends = [head.index(name) + len(name) for name in ("by hand", "autograd", "difference")]
        for line, row in zip(rows, chosen, strict=True):
            assert line.startswith(f"  {row.quantity} ")
            for end in ends:
                assert line[end - 1] != " "
                assert line[end : end + 1] in ("", " ")
            if row.on_sheet is None:
                assert len(line) == ends[-1]
            else:
                assert len(line) == len(head)


def test_numbers_are_numbers_and_arrays_their_norms() -> None:
    found = tables(lines(ALL, full=False))
    (line,) = [row for row in found["D"] if row.startswith("  ∂L/∂h_1 ")]
    assert line.split() == ["∂L/∂h_1", "0", "0", "0.0e+00", "-8"]
    row = one("A", "∂E/∂W_hh")
    (line,) = [text for text in found["A"] if text.startswith("  ∂E/∂W_hh ")]
    norm, slipped = (float(np.sqrt((array**2).sum())) for array in (row.by_hand, row.on_sheet))
    assert line.split()[1:4] == ["4×4", f"{norm:.6g}", f"{norm:.6g}"]
    assert line.split()[-1] == f"{slipped:.6g}"
    (line,) = [text for text in found["C"] if text.startswith("  shape of W_y")]
    assert line.split()[-4:] == ["10×7", "10×7", "0.0e+00", "7×7"]


def test_mistakes_are_below_their_sheet_and_the_summary_is_last() -> None:
    text = lines(ALL, full=False)
    for row in ALL:
        assert (f"  {row.quantity} on the sheet: {row.slip}" in text) == bool(row.slip)
    assert max(map(len, text)) <= 100
    numbers = sum(row.by_hand.size for row in ALL)
    assert text[-1] == (
        f"{len(ALL)} gradients and values, {numbers:,} numbers compared; "
        f"the largest difference is {worst(ALL):.1e}"
    )
    assert sum("norm" in line for line in text) == 1


def test_the_tables_of_c() -> None:
    text = lines(compare("C"), full=False)
    place = text.index("          x_t   W_x  W_H  a_t  h_t   W_y   ŷ_t")
    assert text[place + 1] == "  shape  15×1  7×15  7×7  7×1  7×1  10×7  10×1"
    place = next(number for number, line in enumerate(text) if "k = 1" in line)
    terms = one("C", "∂L_t/∂W_H(k)").by_hand
    for t in range(5):
        shares = [f"{np.linalg.norm(terms[t, k]):.3g}" for k in range(t + 1)]
        assert text[place + 1 + t].split() == ["t", "=", str(t + 1), *shares]


def test_only_the_sheets_that_are_given_are_shown() -> None:
    text = lines(compare("B2"), full=False)
    assert tuple(tables(text)) == ("B2",)
    assert "shape  15×1" not in "\n".join(text)
    assert lines([], full=False)[-1].startswith("0 gradients")
    some = [row for row in compare("C") if row.quantity == "L"]
    assert not any("k = 1" in line for line in lines(some, full=False))


def test_full_prints_the_entries() -> None:
    short, full = (lines(compare("A"), full=full) for full in (False, True))
    assert set(short) <= set(full)
    row = one("A", "∂E/∂W_hh(3)")
    place = next(k for k, line in enumerate(full) if line.startswith("  ∂E/∂W_hh(3) "))
    printed = "\n".join(full[place + 1 : place + 9])
    numbers = [float(number) for number in re.findall(r"-?\d[\d.e+-]*", printed)]
    expected = np.concatenate([row.by_hand.ravel(), row.on_sheet.ravel()])
    np.testing.assert_allclose(numbers, expected, rtol=1e-2)
    assert full[place + 1].startswith("    by hand ")
    assert full[place + 5].startswith("    on the sheet ")
    table = lines(compare("C"), full=True)
    assert not any("..." in line for line in table)
    assert max(map(len, table)) <= 100


def test_the_page_of_the_sheets_names_what_exists() -> None:
    page = (ROOT / "docs" / "sheets.md").read_text(encoding="utf-8")
    functions = set(re.findall(r"`derivations\.(\w+)`", page))
    assert len(functions) == 7
    assert [name for name in functions if not hasattr(derivations, name)] == []
    sheets = set(re.findall(r"--sheet (\w+)", page))
    assert sheets == gradients.TITLES.keys() - {"E"}
