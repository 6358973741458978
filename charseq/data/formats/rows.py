"""what passes between files and everything else: Row, Window, Table, and a cell as text.

It knows no format and opens no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from charseq.errors import DataError

WINDOW = 4096
"""Rows in a window, at most."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class Row(NamedTuple):
    """One row as it stands in the file.

    ``line``: where it starts, counted from 1 (Parquet: the number of the row).
    ``cells``: strings (text, TSV, CSV) or values (JSONL, Parquet); ``()`` for a blank line.
    ``names``: the cells' names where each row has its own (JSONL, Parquet); else ``()``, and
    :attr:`Table.header` has them if there are any.
    ``raw``: the row's bytes with its line end and byte order mark (Parquet: empty).
    ``fault``: why it could not be read, where faulty rows are not refused; ``cells`` is ``()``.
    """

    line: int
    cells: tuple[Any, ...]
    names: tuple[str, ...] = ()
    raw: bytes = b""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive rows; ``batch`` is the ``pyarrow.RecordBatch`` they came from, if any."""

    rows: Sequence[Row]
    batch: Any = None


@dataclass(frozen=True)
class Table:
    """An opened file. Go once through either ``windows`` or ``rows``.

    ``path``: as shown to people ("stdin" for "-"). ``format``: one of :data:`FORMATS`.
    ``header``: the columns' names; None where there is no header row, and for text and JSONL.
    ``header_row``: the header as a row of its own (TSV, CSV); it is not among the rows.
    ``source``: the ``pyarrow.parquet.ParquetFile``, if it is one.
    """

    path: str
    format: str
    header: tuple[str, ...] | None
    windows: Iterator[Window]
    header_row: Row | None = None
    source: Any = None

    @property
    def rows(self) -> Iterator[Row]:
        """The rows one by one, without the header."""
        return (row for window in self.windows for row in window.rows)


def locate(column: str | int, names: Sequence[str], width: int) -> int:
    """The position (from 0) of the column called ``column``, else of that number (from 1).

    An int is always a number. ``names`` may be empty; ``width`` is the number of columns.

    Raises:
        DataError: no such column, or several of that name (the caller adds path and line).
    """
    wanted = str(column)
    found = [i for i, name in enumerate(names) if name == column]
    if len(found) > 1:
        raise DataError(f"{len(found)} columns are named '{wanted}': give a column's number")
    if found:
        return found[0]
    if wanted.isascii() and wanted.isdigit() and 1 <= int(wanted) <= width:
        return int(wanted) - 1
    there = f"only {count_columns(width)} and no header"
    if names:
        there = "expected one of " + ", ".join(f"'{name}'" for name in names)
    raise DataError(f"no column '{wanted}': {there}")


def text_of(value: Any) -> str:
    """A cell as text: strings as they are, null as "", whole numbers by their digits.

    Half a surrogate pair, which JSON can hold and UTF-8 cannot, becomes U+FFFD.

    Raises:
        DataError: any other type (the caller adds path and line).
    """
    if isinstance(value, str):
        whole = value.isascii() or not _SURROGATE.search(value)
        return value if whole else _SURROGATE.sub("\ufffd", value)
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"a value of type {type(value).__name__}, expected text")


def count_columns(count: int) -> str:
    """So many columns, in words."""
    return f"{count} column" if count == 1 else f"{count} columns"
