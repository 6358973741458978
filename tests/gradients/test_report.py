"""Questions, formulas and tables for people: they line up, and the numbers are the compared ones."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest
from world import ROOT

from charseq.gradients import compare as gradients
from charseq.gradients import derivations, questions
from charseq.gradients.compare import Comparison, compare, compare_numbers, worst
from charseq.gradients.report import lines

ALL = compare()
SHEETS = ("A", "B1", "B2", "B3", "C", "D", "E", "F")


def one(sheet: str, quantity: str) -> Comparison:
    (found,) = [row for row in ALL if (row.sheet, row.quantity) == (sheet, quantity)]
    return found


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
