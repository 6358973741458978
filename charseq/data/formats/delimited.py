"""Plain text, TSV and CSV: lines of text, cells between tabs, cells between commas.

    text  one line, one cell: ``cells == (line,)``; an empty line gives ``("",)``
    tsv   cut at tabs, no quoting of any kind
    csv   RFC 4180, strict: a cell may be quoted and then hold commas, quotes and line ends

The cells of a CSV may be between other delimiters (:data:`DELIMITERS`). The delimiter is that of a
first line ``sep=;``, as Excel reads it, which is no row. Else it is the first that cuts all of the
first rows into the same number of cells, two at least; else the one that does so with most rows.
Where all commas stand between digits, as in 1,50, another delimiter comes first.

A blank line of TSV or CSV is a Row whose ``cells`` are ``()``. All other rows of a file have the
same number of cells. A new cell is written at the end of its row; quotes, tabs and line ends of
the other cells stay as they are.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import Self, TypeVar

from charseq.data.formats.lines import TextFormat, before_line_end, even, line_end, rows_by_line
from charseq.data.formats.opening import BOM, MAX_LINE_BYTES, Lines, Source, decode
from charseq.data.formats.rows import COMMENTS, Row
from charseq.display import ONE_LINE
from charseq.errors import DataError, UsageError

OPEN_QUOTE = "a quote is opened here and not closed"
DELIMITERS = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
"""Delimiters that are found, in this order, and their names."""
SAMPLE_LINES = 1000
SAMPLE_ROWS = 200
"""Lines and rows by which the delimiter is found, at most."""
MAX_CELL = MAX_LINE_BYTES
"""Characters of a cell of a CSV."""

csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))  # 131,072 for the whole process, else

Cell = TypeVar("Cell", str, bytes)
COMMENT_TEXTS = tuple(start.decode() for start in COMMENTS)
_SEPARATOR_LINE = re.compile('"?sep=(.)"?\r?\n?')


class Text(TextFormat):
    """Plain text: a line is a text, and a conversion replaces it."""

    name = "text"
    title = "plain text"
    endings = (".txt",)
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
    may_have_header = True
    one_line_cells = True

    def recognise(self, sample: Sequence[str], name: str) -> Self | None:  # noqa: ARG002
        """Every line has a tab, comments aside; see :meth:`Format.recognise`."""
        lines = [line for line in sample if not line.startswith(COMMENT_TEXTS)]
        return self if lines and all("\t" in line for line in lines) else None

    def rows(self, path: str, lines: Lines, *, faulty: bool) -> Iterator[Row]:
        """A row for each line."""
        rows = rows_by_line(_cut_at_tabs, path, lines, faulty=faulty, odd=self.odd)
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
    """CSV: cells between commas or another delimiter, quoted as in RFC 4180."""

    name = "csv"
    title = "CSV"
    endings = (".csv",)
    may_have_header = True
    expects_header = True
    cuts_prose = True

    def __init__(self, delimiter: str = ",") -> None:
        self.delimiter = delimiter
        self._needs_quotes = re.compile(f'[{re.escape(delimiter)}"\r\n]')
        cut = re.escape(delimiter)
        # The cells of one record up to the quote that opens a cell which is never closed.
        self._open_quote = re.compile(rf'(?:(?:"(?:[^"]|"")*+"|[^"{cut}\n][^{cut}\n]*+)?+{cut})*+"')

    def fitted(self, source: Source) -> Csv:
        """The format with the encoding and the delimiter of the file."""
        delimiter = parse_delimiter(source.delimiter)
        found = Csv(delimiter or find_delimiter(source.sample))
        found.encoding = source.encoding
        if not delimiter and found.delimiter != ",":
            named = {sign: name for name, sign in DELIMITERS.items()}
            name = named.get(found.delimiter, found.delimiter)
            source.notes.append(f"the delimiter is the {name} (delimiter names another)")
        return found

    def rows(self, path: str, lines: Lines, *, faulty: bool) -> Iterator[Row]:
        """A row for each record, which may have several lines."""
        return even(self._records(path, lines, faulty=faulty), path, faulty=faulty)

    def encode(self, names: Sequence[str], values: Sequence[str]) -> bytes:  # noqa: ARG002
        """A delimiter before each text, which is quoted where it must be."""
        return "".join([self.delimiter + self._quoted(value) for value in values]).encode()

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
        return self.delimiter.join(map(self._quoted, cells)).encode() + end

    def _quoted(self, cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"' if self._needs_quotes.search(cell) else cell

    def _records(self, path: str, lines: Lines, *, faulty: bool) -> Iterator[Row]:
        record: list[bytes] = []
        broken: list[DataError] = []
        line = 1

        def texts() -> Iterator[str]:
            for number, raw in lines:
                record.append(raw)
                try:
                    text = decode(raw, path, number)
                except DataError as fault:
                    if not faulty:
                        raise
                    broken.append(fault)
                    text = raw.decode("utf-8", "replace")
                yield text

        reader = csv.reader(texts(), strict=True, delimiter=self.delimiter)
        while True:
            try:
                cells, reason = next(reader), ""
            except StopIteration:
                return
            except csv.Error as fault:
                found = self._fault(path, line, b"".join(record), str(fault))
                if not faulty or found.message.startswith(OPEN_QUOTE):
                    raise found from None
                reason = found.message
            reason = broken[0].message if broken else reason
            if line == 1 and _is_separator_line(record[0]):
                cells = []
            yield Row(line, () if reason else tuple(cells), raw=b"".join(record), fault=reason)
            line += len(record)
            record.clear()
            broken.clear()

    def _fault(self, path: str, line: int, raw: bytes, reason: str) -> DataError:
        """The quote or cell at which the csv module failed, in a record that starts at ``line``."""
        opened = self._open_quote.match(raw.decode("utf-8", "replace").removeprefix("\ufeff"))
        if opened and ("end of data" in reason or "limit" in reason):
            start = line + opened.group().count("\n")
            limit = "" if "end of data" in reason else f" within {MAX_CELL:,} characters"
            return DataError(f"{OPEN_QUOTE}{limit}", path=path, line=start)
        if "new-line" in reason:
            reason = "a lone carriage return outside quotes"
        return DataError(f"not valid CSV: {reason}", path=path, line=line)


def parse_delimiter(text: str) -> str:
    """A delimiter from its name or itself: tab, comma, semicolon, pipe, or one sign; auto is "".

    Raises:
        UsageError: anything else.
    """
    if text == "auto":
        return ""
    sign = DELIMITERS.get(text.lower(), "\t" if text == "\\t" else text)
    if len(sign) != 1 or sign in '"\r\n' or sign.isalnum():
        known = ", ".join(["auto", *DELIMITERS])
        raise UsageError(f"delimiter is '{text:.20}', expected {known} or one sign")
    return sign


def find_delimiter(sample: str) -> str:
    """The delimiter of a CSV by its first lines; a comma where nothing speaks for another."""
    named = _SEPARATOR_LINE.match(sample)
    if named:
        return named[1]
    parts = sample.removesuffix("\n").split("\n", SAMPLE_LINES)[:SAMPLE_LINES]
    lines = [f"{line}\n" for line in parts]
    while lines and lines[0].startswith(COMMENT_TEXTS):
        del lines[0]
    shares = {sign: _share_of_even_rows(lines, sign) for sign in DELIMITERS.values()}
    text = "".join(lines)
    if text.count(",") == len(re.findall(r"(?<=\d),(?=\d)", text)):  # none but decimal commas
        others = {sign: share for sign, share in shares.items() if sign != ","}
        shares = others if any(others.values()) else shares
    best = max(shares.values())
    return next((sign for sign, share in shares.items() if share == best > 0), ",")


def _is_separator_line(raw: bytes) -> bool:
    text = raw.decode("utf-8", "replace").removeprefix("\ufeff")
    return _SEPARATOR_LINE.fullmatch(text) is not None


def _share_of_even_rows(lines: Sequence[str], delimiter: str) -> float:
    """The share of the rows that have the most frequent number of cells; 0 where it is one."""
    widths: list[int] = []
    try:
        for cells in csv.reader(lines, strict=True, delimiter=delimiter):
            widths += [len(cells)] if cells else []
            if len(widths) == SAMPLE_ROWS:
                break
    except csv.Error:  # a fault of this row, or the end of the sample within quotes
        pass
    usual = max(widths, key=widths.count, default=0)
    return widths.count(usual) / len(widths) if usual > 1 else 0.0


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
