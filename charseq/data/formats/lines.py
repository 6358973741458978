"""numbered lines of bytes -> rows -> the same lines with new cells: plain text, TSV, CSV, JSON.

:class:`TextFormat` is what plain text, TSV, CSV and JSON Lines share. A row keeps its bytes, and a
conversion adds bytes at the end of a row, so everything else of the file stays as it is. In memory
lines are UTF-8; they are written in the encoding of their file (see ``opening``).
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from sys import getsizeof
from typing import Any, BinaryIO, Self

from charseq.data.formats.opening import Lines, Source, decode
from charseq.data.formats.rows import (
    Format,
    Row,
    Table,
    Window,
    Write,
    column_taken,
    count_columns,
    group,
    is_comment,
)
from charseq.errors import DataError, argument
from charseq.lru import ByteLru

FIRST_ROWS = 100
"""Rows by which the number of columns is found."""
ENCODED_BYTES = 8 * 2**20
"""Bytes of memory for new cells that were encoded before."""


class TextFormat(Format):
    """A format whose rows are lines of text."""

    @abc.abstractmethod
    def rows(self, path: str, lines: Lines, *, faulty: bool) -> Iterator[Row]:
        """Lines -> rows; the rows' ``raw`` bytes together are the bytes of the lines.

        Raises:
            DataError: with path and line: a row cannot be read and ``faulty`` is false, or the
                end of a row cannot be found.
        """

    @abc.abstractmethod
    def encode(self, names: Sequence[str], values: Sequence[str]) -> bytes:
        """The bytes of new cells, called ``names``, as they stand in a row."""

    @abc.abstractmethod
    def extend(self, row: Row, cells: bytes) -> bytes:
        """The row's bytes with new cells, which :meth:`encode` made."""

    def replace(
        self,
        row: Row,  # noqa: ARG002
        names: Sequence[str],  # noqa: ARG002
        values: Sequence[str],  # noqa: ARG002
        positions: Sequence[int | None],  # noqa: ARG002
    ) -> bytes:
        """The row's bytes with cells replaced at ``positions``, or under keys of ``names``."""
        raise DataError(f"{self.title} cannot replace a column: name another with {argument('to')}")

    def extend_faulty(self, row: Row, names: Sequence[str], values: Sequence[str]) -> bytes:
        """The bytes of a row that could not be read, with new cells."""
        return self.extend(row, self.encode(names, values))

    def fitted(self, source: Source) -> Self:
        """The format as it is in this file: its encoding, and what else a subclass finds there."""
        found = copy.copy(self)
        found.encoding = source.encoding
        return found

    def read(self, source: Source, *, faulty: bool) -> Table:
        """Open a file of text; see :meth:`Format.read`."""
        found = self.fitted(source)
        rows = found.rows(source.shown, source.lines(), faulty=faulty)
        return Table(source.shown, found, None, group(rows), note="; ".join(source.notes))

    @contextmanager
    def append(
        self,
        table: Table,
        file: BinaryIO,
        names: Sequence[str],
        positions: Sequence[int | None],
        *,
        force: bool,
    ) -> Iterator[Write]:
        """Write rows with their own bytes and new columns; see :meth:`Format.append`."""
        known: ByteLru[tuple[str, ...], bytes] = ByteLru(ENCODED_BYTES)
        replaces = any(position is not None for position in positions)
        keys = frozenset(names)

        def encode(row: Row, values: Sequence[str] | None) -> bytes:
            if values is None or (row.fault and replaces):
                return row.raw
            if row.fault:
                return self.extend_faulty(row, names, values)
            if replaces or not keys.isdisjoint(row.names):
                if not replaces and not force:
                    raise column_taken(next(name for name in names if name in row.names))
                return self.replace(row, names, values, positions)
            texts = tuple(values)
            cells = known.get(texts)
            if cells is None:
                cells = self.encode(names, texts)
                known.put(texts, cells, getsizeof(cells))  # the texts are held elsewhere as well
            return self.extend(row, cells)

        def write(window: Window, values: Sequence[Sequence[str] | None]) -> None:
            encoded = []
            for row, texts in zip(window.rows, values, strict=True):
                try:
                    encoded.append(encode(row, texts))
                except DataError as fault:
                    raise fault.at(table.path, row.line) from None
            file.write(self.stored(b"".join(encoded)))

        lead = b"".join([row.raw for row in table.preamble])
        if table.header_row is not None:
            added = [n for n, position in zip(names, positions, strict=True) if position is None]
            lead += self.extend(table.header_row, self.encode(added, added))
        file.write(self.stored(lead))
        yield write


def rows_by_line(
    read: Callable[[str], tuple[Sequence[Any], Sequence[str]]],
    path: str,
    lines: Lines,
    *,
    faulty: bool,
    odd: Sequence[str] = (),
) -> Iterator[Row]:
    """A row for each line; ``read`` makes cells and their names of the line's text.

    ``odd``: lines that are none of the format (:attr:`Format.odd`).

    Raises:
        DataError: as :meth:`TextFormat.rows`; ``read`` may raise one without path and line.
    """
    for number, raw in lines:
        try:
            text = decode_line(raw, path, number)
            cells, names = read(text)
            if odd and text in odd:
                raise DataError(f"'{text[:40]}' is not like the other lines")
        except DataError as fault:
            if not faulty:
                raise fault.at(path, number) from None
            yield Row(number, (), raw=raw, fault=fault.message)
        else:
            yield Row(number, tuple(cells), tuple(names), raw)


def even(rows: Iterator[Row], path: str, *, faulty: bool) -> Iterator[Row]:
    """The same rows, checked: all but blank ones have as many cells as most of the first rows.

    Comments before the first row with another number of cells have a fault, ``faulty`` or not: see
    ``headers``.

    Raises:
        DataError: with path and line: another number of cells, and ``faulty`` is false.
    """
    first = list(islice(rows, FIRST_ROWS))
    width = _usual_width(first)
    is_lead = True
    rows = chain(iter(first), rows)
    del first  # else it is in memory to the end
    for row in rows:
        size = len(row.cells)
        is_lead = is_lead and (not size or is_comment(row))
        if size == width or not size:
            yield row
            continue
        message = f"{count_columns(size)}, expected {width}"
        if not faulty and not is_lead:
            raise DataError(message, path=path, line=row.line)
        yield row._replace(cells=(), fault=message)


def _usual_width(rows: Sequence[Row]) -> int:
    """The number of cells that most rows have; of equal numbers the first. Comments do not count.

    A title or a comment in the first line is then the line with another number of columns.
    """
    widths: dict[int, int] = {}
    is_lead = True
    for row in rows:
        is_lead = is_lead and (is_comment(row) or not row.cells)
        if row.cells and not is_lead:
            widths[len(row.cells)] = widths.get(len(row.cells), 0) + 1
    if not widths:
        widths = {len(row.cells): 1 for row in rows if row.cells}
    return max(widths, key=lambda width: widths[width], default=0)


def line_end(raw: bytes) -> bytes:
    """The line end of a row's bytes: LF, CRLF, or nothing in the last line of some files."""
    if raw[-1:] != b"\n":
        return b""
    return b"\r\n" if raw[-2:-1] == b"\r" else b"\n"


def before_line_end(raw: bytes, cells: bytes) -> bytes:
    """The bytes of a line with more bytes before its line end."""
    end = line_end(raw)
    return raw[: len(raw) - len(end)] + cells + end


def decode_line(raw: bytes, path: str, number: int) -> str:
    """The text of a line without its line end; see :func:`decode`."""
    return decode(raw[: len(raw) - len(line_end(raw))], path, number)
