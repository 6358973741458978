"""Plain text, TSV and CSV: lines of text, cells between tabs, cells between commas.

    text  one line, one cell: ``cells == (line,)``; an empty line gives ``("",)``
    tsv   cut at tabs, no quoting of any kind
    csv   RFC 4180, strict: a cell may be quoted and then hold commas, quotes and line ends

A blank line of TSV or CSV is a Row whose ``cells`` are ``()``. All other rows of a file have the
same number of cells. A new cell is written at the end of its row; quotes, tabs and line ends of
the other cells stay as they are.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

from charseq.data.formats.lines import (
    BOM,
    Lines,
    TextFormat,
    before_line_end,
    decode,
    even,
    line_end,
    rows_by_line,
)
from charseq.data.formats.rows import Row
from charseq.display import ONE_LINE
from charseq.errors import DataError

OPEN_QUOTE = "a quote is opened here and not closed"

# The cells of one CSV record up to the quote that opens a cell which is never closed.
_OPEN_QUOTE = re.compile(r'(?:(?:"(?:[^"]|"")*+"|[^",\n][^,\n]*+)?+,)*+"')
Cell = TypeVar("Cell", str, bytes)
_NEEDS_QUOTES = re.compile('[,"\r\n]')


class Text(TextFormat):
    """Plain text: a line is a text, and a conversion replaces it."""

    name = "text"
    title = "plain text"
    endings = (".txt",)
    shares_endings = True
    has_columns = False
    one_line_cells = True

    def rows(self, path: str, lines: Lines, *, faulty: bool) -> Iterator[Row]:
        """A row of one cell for each line."""
        return rows_by_line(lambda text: ((text,), ()), path, lines, faulty=faulty)

    def encode(self, names: Sequence[str], values: Sequence[str]) -> bytes:  # noqa: ARG002
        """The texts, separated by tabs."""
        return b"\t".join(map(_flat, values))

    def extend(self, row: Row, cells: bytes) -> bytes:
        """The new texts in place of the line."""
        mark = BOM if row.line == 1 and row.raw.startswith(BOM) else b""
        return mark + cells + line_end(row.raw)


class Tsv(TextFormat):
    """TSV: cells between tabs, without quoting."""

    name = "tsv"
    title = "TSV"
    endings = (".tsv", ".tab")
    shares_endings = True
    may_have_header = True
    one_line_cells = True

    def rows(self, path: str, lines: Lines, *, faulty: bool) -> Iterator[Row]:
        """A row for each line."""
        rows = rows_by_line(_cut_at_tabs, path, lines, faulty=faulty)
        return even(rows, path, faulty=faulty)

    def encode(self, names: Sequence[str], values: Sequence[str]) -> bytes:  # noqa: ARG002
        """A tab before each text."""
        return b"".join([b"\t" + _flat(value) for value in values])

    def extend(self, row: Row, cells: bytes) -> bytes:
        """The new cells before the line end."""
        return before_line_end(row.raw, cells)

    def replace(
        self,
        row: Row,
        names: Sequence[str],  # noqa: ARG002
        values: Sequence[str],
        positions: Sequence[int | None],
    ) -> bytes:
        """The row with some cells replaced; the others keep their bytes."""
        end = line_end(row.raw)
        cells = row.raw[: len(row.raw) - len(end)].split(b"\t")
        return b"\t".join(_put(cells, [_flat(value) for value in values], positions)) + end


class Csv(TextFormat):
    """CSV: cells between commas, quoted as in RFC 4180."""

    name = "csv"
    title = "CSV"
    endings = (".csv",)
    may_have_header = True
    expects_header = True

    def rows(self, path: str, lines: Lines, *, faulty: bool) -> Iterator[Row]:
        """A row for each record, which may have several lines."""
        return even(_csv_rows(path, lines, faulty=faulty), path, faulty=faulty)

    def encode(self, names: Sequence[str], values: Sequence[str]) -> bytes:  # noqa: ARG002
        """A comma before each text, which is quoted where it must be."""
        return b"".join([b"," + _quoted(value).encode() for value in values])

    def extend(self, row: Row, cells: bytes) -> bytes:
        """The new cells before the line end."""
        # A quoted cell ends in a quote, so all CR and LF at the end belong to the line end.
        body = row.raw.rstrip(b"\r\n")
        return body + cells + row.raw[len(body) :]

    def replace(
        self,
        row: Row,
        names: Sequence[str],  # noqa: ARG002
        values: Sequence[str],
        positions: Sequence[int | None],
    ) -> bytes:
        """The row with some cells replaced; all cells are quoted anew."""
        cells = _put(list(row.cells), values, positions)
        end = row.raw[len(row.raw.rstrip(b"\r\n")) :]
        return ",".join(map(_quoted, cells)).encode() + end


def _put(cells: list[Cell], new: Sequence[Cell], positions: Sequence[int | None]) -> list[Cell]:
    for value, position in zip(new, positions, strict=True):
        if position is None:
            cells.append(value)
        else:
            cells[position] = value
    return cells


def _cut_at_tabs(text: str) -> tuple[Sequence[str], tuple[()]]:
    return (text.split("\t") if text else ()), ()


def _flat(text: str) -> bytes:
    return text.translate(ONE_LINE).encode()


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _NEEDS_QUOTES.search(cell) else cell


def _csv_rows(path: str, lines: Lines, *, faulty: bool) -> Iterator[Row]:
    record: list[bytes] = []
    line = 1

    def texts() -> Iterator[str]:
        for number, raw in lines:
            record.append(raw)
            try:
                text = decode(raw, path, number)
            except DataError:
                if not faulty:
                    raise
                text = raw.decode("utf-8", "surrogateescape")  # found again when the row is whole
            yield text

    reader = csv.reader(texts(), strict=True)
    while True:
        try:
            cells, reason = next(reader), ""
            if faulty:
                decode(b"".join(record), path, line)
        except StopIteration:
            return
        except csv.Error as fault:
            found = _csv_fault(path, line, b"".join(record), str(fault))
            if not faulty or found.message.startswith(OPEN_QUOTE):
                raise found from None
            reason = found.message
        except DataError as fault:
            if not faulty:
                raise
            reason = fault.message
        yield Row(line, () if reason else tuple(cells), raw=b"".join(record), fault=reason)
        line += len(record)
        record.clear()


def _csv_fault(path: str, line: int, raw: bytes, reason: str) -> DataError:
    """The quote or cell at which the csv module failed, in the record that starts at ``line``."""
    opened = _OPEN_QUOTE.match(raw.decode("utf-8", "replace").removeprefix("\ufeff"))
    if opened and ("end of data" in reason or "limit" in reason):
        start = line + opened.group().count("\n")
        limit = "" if "end of data" in reason else f" within {csv.field_size_limit()} characters"
        return DataError(f"{OPEN_QUOTE}{limit}", path=path, line=start)
    if "new-line" in reason:
        reason = "a lone carriage return outside quotes"
    return DataError(f"not valid CSV: {reason}", path=path, line=line)
