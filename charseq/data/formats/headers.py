"""rows -> header and rows: the one rule for comments at the start of a file, and for its header.

The first row is a header if the caller looks for columns by name; if it names the roles source and
target; if its cells are usual names of columns (:data:`NAMES`), in CSV and sheets most of three or
more; or if a column has digits in
each of the other rows, dates or numbers, and none in the first. A row with a number in it is no
header. In any other case the first row is data, so no row is lost. What was decided by such
evidence is told in :attr:`Table.note`, with the way to decide otherwise.

Comments are the lines before the first row that begin with ``#`` or ``;;;`` and have another number
of cells than the rows have. In CSV, where a comment may have as many commas, it is enough that a
space follows. Further down such a line is a row like others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, takewhile

from charseq.data.formats.opening import BOM
from charseq.data.formats.rows import Row, Table, is_comment
from charseq.display import shorten
from charseq.errors import DataError

HEADERS = ("auto", "yes", "no")
ROLE_NAMES = {
    "source": ("source", "src", "input"),
    "target": ("target", "tgt", "output"),
    "features": ("features", "feats"),
    "weight": ("weight",),
}
"""Names of columns that have a role without being told, in any case."""
NAMES = frozenset(
    """
    amount answer author category city class code column comment context correct corrected count
    country date dates day description en english feature form forms freq frequency from gender
    gold grapheme graphemes id idx index inflected inflection ipa iso item key label labels lang
    language latin lemma lemmas line modern month msd name names native no normalised normalized
    note notes nr num number order orig original phone phoneme phonemes phones place pos prediction
    price prob probability pron pronunciation query question rank raw ref reference roman romanized
    row score sentence split surname tag tags text texts time title to token transcription
    translation transliteration type url value variant word words wordform year
    """.split()  # noqa: SIM905
).union(*ROLE_NAMES.values())
"""Usual names of columns, in lower case."""
REVIEWED = ("candidate", "probability")
"""Columns of a review file that are numbered, from 1."""
NO_ANSWER = "no answer"
"""In the column target of a review file: the source has no answer. An empty cell is not filled in
yet."""
EVIDENCE_ROWS = 200
"""Rows that the first is compared with, at most."""
FEWEST_ROWS = 2
"""Rows that it is compared with, at least, in formats whose files need not have a header."""
MANY_COLUMNS = 3
USUAL = 0.6
"""Share of usual names that is enough in so many columns, in formats that often have a header."""
DIGITS = 0.35
"""Share of digits among the letters and digits of a column of dates or numbers, at least."""
MAX_SHOWN = 6
"""Cells of a row that a note shows."""

_NUMBER = re.compile(r"[^\w]*\d[\d\W]*")


def take_header(
    table: Table, *, header: str, names: Sequence[str] = (), added: Sequence[str] = ()
) -> Table:
    """The table with its header and its comments taken from its rows.

    Args:
        table: an opened table whose rows were not read yet.
        header: "yes", "no", or "auto": by the rule of this module.
        names: names of columns that the caller looks for; with any there is a header.
        added: names of columns that are added to the table; a first row that has one is a header.

    Raises:
        DataError: with path and line: a header is expected and not there.
    """
    window = next(table.windows, None)
    if not table.format.may_have_header:
        first = iter(() if window is None else (window,))
        return replace(table, windows=chain(first, table.windows))
    rows = [] if window is None else list(window.rows)
    count = _count_comments(table, rows)
    notes = [table.note] if table.note else []
    if count:
        comments = [row.line for row in rows[:count] if is_comment(row)]
        lines = "1 comment" if len(comments) == 1 else f"{len(comments)} lines of comments"
        notes.append(f"{lines} passed over, in line {comments[0]}")
    preamble, rows = rows[:count], rows[count:]
    blanks = len(list(takewhile(_is_blank, rows)))
    row, told = _choose(table, rows[blanks:], header, names, added)
    notes += told
    if row is not None:
        preamble, rows = [*preamble, *rows[:blanks]], rows[blanks + 1 :]
    # an iterator, which forgets the window when it has given it
    first = iter(() if window is None else (replace(window, rows=rows),))
    return replace(
        table,
        header=None if row is None else row.cells,
        header_row=row,
        preamble=tuple(preamble),
        windows=chain(first, table.windows),
        note="; ".join(notes),
    )


def roles_among(names: Sequence[str]) -> dict[str, int]:
    """The positions of the columns whose names are roles, in any case; of each role the first.

    Raises:
        DataError: two columns have the same role.
    """
    lower = [name.strip().lower() for name in names]
    found: dict[str, int] = {}
    for role, known in ROLE_NAMES.items():
        for name in known:
            if lower.count(name) > 1:
                raise DataError(f"{lower.count(name)} columns are named '{name}'")
            if name in lower:
                found[role] = lower.index(name)
                break
    return found


def review_names(candidates: int, *, features: bool) -> list[str]:
    """The header of a review file, see ``charseq.inference.conversion.review``."""
    own = ["source", *["features"] * features, "target"]
    pairs = [f"{what}_{rank}" for rank in range(1, candidates + 1) for what in REVIEWED]
    return [*own, *pairs, "rows", "line", "note"]


def is_review(names: Sequence[str]) -> bool:
    """Whether the columns are those of a review file, in which targets may be empty."""
    lower = {name.strip().lower() for name in names}
    return {"source", "target", *(f"{what}_1" for what in REVIEWED)} <= lower


def says_no_answer(target: str) -> bool:
    """Whether a person has written into a review file that the source has no answer."""
    return " ".join(target.split()).casefold() == NO_ANSWER


def _count_comments(table: Table, rows: Sequence[Row]) -> int:
    """The number of lines at the start up to the last comment, blank lines among them."""
    count = 0
    for number, row in enumerate(rows, 1):
        is_prose = table.format.cuts_prose and row.raw.removeprefix(BOM).startswith(b"# ")
        if is_comment(row) and (row.fault or is_prose):
            count = number
        elif not _is_blank(row):
            break
    return count


def _choose(
    table: Table,
    rows: Sequence[Row],
    header: str,
    names: Sequence[str],
    added: Sequence[str],
) -> tuple[Row | None, list[str]]:
    """The header among the first rows, or None, and notes on the choice."""
    first = rows[0] if rows else None
    if header == "no":
        return None, []
    has_names = first is not None and (
        {"source", "target"} <= _roles(first).keys() or not set(added).isdisjoint(first.cells)
    )
    if header == "yes" or names or has_names:
        if first is None or not first.cells:
            fault = (first and first.fault) or "nothing here"
            line = 1 if first is None else first.line
            raise DataError(f"{fault}, expected a header row", path=table.path, line=line)
        return first, _repeated(first)
    if first is None or not first.cells:
        return None, []
    others = [row for row in rows[1 : EVIDENCE_ROWS + 1] if row.cells]
    cells = ", ".join(shorten(cell) for cell in _texts(first)[:MAX_SHOWN])
    if _is_header(first, others, lone=table.format.expects_header):
        told = f"line {first.line} is taken for a header ({cells}): header=no reads it as a row"
        return first, [told, *_repeated(first)]
    if table.format.expects_header:
        told = f"line {first.line} is read as a row ({cells}): header=yes makes it the header"
        return None, [told]
    return None, []


def _is_header(first: Row, others: Sequence[Row], *, lone: bool) -> bool:
    """Whether usual names, or digits in the other rows, say that a row is a header.

    ``lone``: a single column, or a single other row, is enough.
    """
    cells = [cell.strip().lower() for cell in _texts(first)]
    named = cells[1:] if cells[0] == "" else cells  # pandas gives the column of row numbers no name
    if "" in named or any(map(_NUMBER.fullmatch, named)):
        return False
    known = sum(re.sub("[ _#-]", "", cell) in NAMES for cell in named)
    wanted = len(named) if not lone or len(named) < MANY_COLUMNS else USUAL * len(named)
    if known >= wanted and (lone or len(named) > 1) and len(set(named)) == len(named):
        return lone or bool(others)
    if named is not cells:
        return False
    if len(others) < (1 if lone else FEWEST_ROWS):
        return False
    columns = list(zip(*map(_texts, others), strict=True))
    found = False
    for cell, column in zip(cells, columns, strict=True):
        has_digits = _is_of_digits([text for text in column if text])
        if (
            has_digits
            and any(map(str.isdigit, cell))
            and not all(_NUMBER.fullmatch(text) for text in column if text)
        ):
            return False
        found = found or (has_digits and not any(map(str.isdigit, cell)))
    return found


def _is_of_digits(texts: Sequence[str]) -> bool:
    """Whether each text has a digit, and all together as many as dates and numbers have."""
    letters = [letter for text in texts for letter in text if letter.isalnum()]
    digits = sum(map(str.isdigit, letters))
    has_each = all(any(map(str.isdigit, text)) for text in texts)
    return bool(texts) and has_each and digits >= DIGITS * len(letters)


def _repeated(row: Row) -> list[str]:
    """A note on columns of the same name."""
    cells = _texts(row)
    twice = sorted({cell for cell in cells if cell and cells.count(cell) > 1}, key=cells.index)
    return [f"{cells.count(cell)} columns are named '{shorten(cell)}'" for cell in twice]


def _roles(row: Row) -> dict[str, int]:
    try:
        return roles_among(_texts(row))
    except DataError:
        return {"source": 0, "target": 0}


def _texts(row: Row) -> list[str]:
    return [str(cell) for cell in row.cells]


def _is_blank(row: Row) -> bool:
    return not row.cells and not row.fault
