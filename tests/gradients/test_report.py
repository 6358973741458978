"""Questions, formulas and tables for people: they line up, with the right numbers."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest
from matplotlib.mathtext import MathTextParser
from world import ROOT

from charseq.gradients import compare as gradients
from charseq.gradients import questions
from charseq.gradients.compare import Comparison, compare, compare_numbers, worst
from charseq.gradients.report import lines

ALL = compare()
UNASKED = (questions.FORWARD, questions.NOT_ASKED)
SHEETS = ("A", "B1", "B2", "B3", "C", "D", "E", "F")


def one(sheet: str, quantity: str) -> Comparison:
    (found,) = [row for row in ALL if (row.sheet, row.quantity) == (sheet, quantity)]
    return found


def tables(text: list[str]) -> dict[str, list[str]]:
    """The headings and the rows of each sheet, of all of its questions."""
    found: dict[str, list[str]] = {}
    sheet = ""
    for line in text:
        title = re.match(r"([A-F][123]?)\. ", line)
        if title:
            sheet = title[1]
        elif line.startswith("  quantity"):
            assert found.setdefault(sheet, [line])[0] == line  # the same columns in each question
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
        assert sorted(line[2:].split("  ")[0] for line in rows) == sorted(
            row.quantity for row in chosen
        )
        ends = [head.index(name) + len(name) for name in ("by hand", "autograd", "difference")]
        for line in rows:
            for end in ends:
                assert line[end - 1] != " "
                assert line[end : end + 1] in ("", " ")


def test_numbers_are_numbers_and_arrays_their_norms() -> None:
    found = tables(lines(ALL, full=False))
    (line,) = [row for row in found["D"] if row.startswith("  ∂L/∂h_1 ")]
    assert line.split() == ["∂L/∂h_1", "0", "0", "0.0e+00", "-8", "2·(-2)", "+", "1·4"]
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


# --- questions


def test_every_number_stands_below_its_question() -> None:
    """Each quantity below the name of the question that claims it, and below no other."""
    for sheet in SHEETS:
        chosen = [row for row in ALL if row.sheet == sheet]
        by_title = {question.title: question for question in questions.of_sheet(sheet)}
        current, placed = None, []
        for line in lines(chosen, full=False):
            title = re.match(r"  ([^:]+): ", line)
            if title and title[1] in by_title:
                current = by_title[title[1]]
            elif re.match(r"  \S.* \d\.\de[-+]\d\d\b", line):
                quantity = line[2:].split("  ")[0]
                assert questions.question_of(sheet, quantity) is current
                placed.append(quantity)
        assert len(placed) == len(chosen)


@pytest.mark.parametrize("sheet", SHEETS)
def test_one_sheet_has_every_question_with_its_formulas_and_its_answer(sheet: str) -> None:
    text = lines(compare(sheet), full=True)
    flat = " ".join(" ".join(text).split())
    for question in questions.of_sheet(sheet):
        assert f"  {question.title}: {question.asked}" in text
        assert all(f"      {formula}" in text for formula in question.formulas)
        assert " ".join(question.answer.split()) in flat
    assert max(map(len, text)) <= 106


def test_truncated_gradients_are_sums_of_the_terms() -> None:
    """n = 1 keeps the diagonal, n = T everything; sheet D: 4 of 8."""
    text = lines(compare_numbers(), full=False)
    place = next(k for k, line in enumerate(text) if line.startswith("  truncated"))
    assert text[place].split()[-6:] == ["n", "=", "1", "n", "=", "2"]
    assert text[place + 1].split() == ["∂L/∂W", "4", "8"]
    assert text[place + 2].split()[-2:] == ["50", "0"]
    text = lines(compare("C"), full=False)
    place = next(k for k, line in enumerate(text) if line.startswith("  truncated"))
    terms = one("C", "∂L_t/∂W_H(k)").by_hand
    kept = [sum(terms[t, k] for t in range(5) for k in range(t + 1) if t - k < n) for n in range(6)]
    norms = [f"{np.linalg.norm(one):.6g}" for one in kept[1:]]
    assert text[place + 1].split()[1:] == norms


def test_the_page_of_the_sheets_has_every_question_as_a_heading() -> None:
    page = (ROOT / "docs" / "sheets.md").read_text(encoding="utf-8")
    names = [one.title for one in questions.QUESTIONS if one.name not in UNASKED]
    headings = re.findall(r"^#+ (.*)$", page, flags=re.MULTILINE)
    found = [name for name in names if any(f"{name}:" in line for line in headings)]
    assert found == names
    assert set(re.findall(r"--sheet (\w+)", page)) >= gradients.TITLES.keys()


def test_every_formula_of_the_page_can_be_typeset() -> None:
    """Braces, commands and dollars: a formula that is broken shows as its source on GitHub."""
    page = (ROOT / "docs" / "sheets.md").read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^\$\$(.+)\$\$$", text, flags=re.MULTILINE)
    inline = re.findall(r"(?<!\$)\$([^$]+)\$(?!\$)", re.sub(r"\$\$.*\$\$", "", text))
    assert len(blocks) > 35
    assert len(inline) > 50
    for formula in (*blocks, *inline):
        MathTextParser("path").parse(f"${' '.join(formula.split())}$")
        assert not re.search(r"\\[^a-zA-Z]", formula)  # Markdown would take the backslash away
    assert len(re.findall(r"\$\$", text)) == 2 * len(blocks)
