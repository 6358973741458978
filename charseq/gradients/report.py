"""Comparisons -> text for people: each question with its formulas, its numbers and its answer.

Questions are those of :mod:`charseq.gradients.questions`, in the order of the sheets. Arrays are
shown by their Euclidean norms; a single sheet has the entries of vectors and matrices as well.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

import numpy as np

from charseq.gradients import derivations
from charseq.gradients.compare import NUMBER_TERMS, TERMS, TITLES, Array, Comparison, worst
from charseq.gradients.questions import Question, of_sheet, question_of

HEADINGS = ("quantity", "shape", "by hand", "autograd", "difference", "on the sheet", "in numbers")
WIDTH = 96
"""Longest line of an answer in words, in characters."""
ROUNDING = 1e-9
"""Percent of a sum below which a difference is one of rounding."""
MOST_TRUNCATIONS = 8
"""Lengths of truncated BPTT in a table, besides the full one."""


def lines(comparisons: Sequence[Comparison], *, full: bool) -> list[str]:
    """The questions of the sheets that are compared, and a summary.

    ``full``: answers in words, questions without numbers, and the entries of arrays as well.
    """
    found = ["Arrays are shown by their Euclidean norm."]
    for sheet in dict.fromkeys(one.sheet for one in comparisons):
        chosen = [one for one in comparisons if one.sheet == sheet]
        found += ["", f"{sheet}. {TITLES[sheet]}", *_sheet(sheet, chosen, full=full)]
    numbers = sum(one.by_hand.size for one in comparisons)
    found += ["", f"{len(comparisons)} gradients and values, {numbers:,} numbers compared"]
    found[-1] += f"; the largest difference is {worst(comparisons):.1e}"
    return found


def _sheet(sheet: str, comparisons: Sequence[Comparison], *, full: bool) -> Iterator[str]:
    """The questions of one sheet; the columns of its tables line up."""
    headings, rows = _columns(comparisons)
    table = list(_grid([headings, *rows]))
    for question in of_sheet(sheet):
        own = [
            (line, one)
            for line, one in zip(table[1:], comparisons, strict=True)
            if question_of(sheet, one.quantity) is question
        ]
        if not own and not full:
            continue
        yield from _heading(question, full=full)
        if own:
            yield table[0]
        for line, one in own:
            yield line
            if full and one.by_hand.ndim in (1, 2) and not _is_shape(one.by_hand):
                yield from _entries(one)
        yield from (f"  {one.quantity} on the sheet: {one.slip}" for _, one in own if one.slip)
        yield from _more(question, comparisons)


def _heading(question: Question, *, full: bool) -> Iterator[str]:
    """The name of a question, what is asked, the formulas and, if ``full``, the answer."""
    yield ""
    yield f"  {question.title}: {question.asked}"
    yield from (f"      {formula}" for formula in question.formulas)
    if full and question.answer:
        margin = "    "
        yield from textwrap.wrap(
            question.answer, WIDTH, initial_indent=margin, subsequent_indent=margin
        )


def _more(question: Question, comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Tables of a question that are not of one quantity."""
    tables: list[list[tuple[str, ...]]] = []
    if (question.sheet, question.name) == ("C", "Task 1"):
        tables = [_shapes()]
    elif (question.sheet, question.name) == ("C", "Task 2"):
        tables = [_term_norms(comparisons), _truncated(comparisons)]
    elif (question.sheet, question.name) == ("D", "[3]"):
        tables = [_truncated(comparisons)]
    for table in filter(None, tables):
        yield ""
        yield from _grid(table)


def _columns(
    comparisons: Sequence[Comparison],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and cells of all comparisons; a column without any entry is left out."""
    rows = [_row(one) for one in comparisons]
    kept = [place for place in range(len(HEADINGS)) if place < 5 or any(row[place] for row in rows)]
    if not any(row[1] for row in rows):
        kept.remove(1)
    return tuple(HEADINGS[place] for place in kept), [
        tuple(row[place] for place in kept) for row in rows
    ]


def _grid(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of cells -> lines; the first column and formulas to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [
        "<" if not place or head == HEADINGS[-1] else ">" for place, head in enumerate(rows[0])
    ]
    for row in rows:
        cells = [
            f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)
        ]
        yield f"  {'  '.join(cells)}".rstrip()


def _row(one: Comparison) -> tuple[str, ...]:
    """The cells of a comparison, below HEADINGS."""
    shape = "" if _is_shape(one.by_hand) else "×".join(map(str, one.by_hand.shape))
    on_sheet = "" if one.on_sheet is None else _format(one.on_sheet)
    sides = (_format(one.by_hand), _format(one.autograd))
    return (one.quantity, shape, *sides, f"{one.difference:.1e}", on_sheet, one.in_numbers)


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


def _truncated(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """∂L/∂W with each loss going back n steps at most: truncated BPTT, and what it leaves out."""
    tables = [one.by_hand for one in comparisons if one.quantity in (TERMS, NUMBER_TERMS)]
    if not tables:
        return []
    (terms,) = tables
    steps = len(terms)
    full = terms.sum(axis=(0, 1))
    head, sizes, lost = ["truncated to n steps"], ["∂L/∂W"], ["left out, in percent"]
    for n in dict.fromkeys((*range(1, min(steps, MOST_TRUNCATIONS) + 1), steps)):
        kept = sum(terms[t, max(0, t - n + 1) : t + 1].sum(axis=0) for t in range(steps))
        head.append(f"n = {n}")
        sizes.append(_format(np.asarray(kept)))
        norm = np.linalg.norm(full)
        share = 100 * np.linalg.norm(full - kept) / norm if norm else 0.0
        lost.append(f"{share:.3g}" if share > ROUNDING else "0")
    return [tuple(head), tuple(sizes), tuple(lost)]
