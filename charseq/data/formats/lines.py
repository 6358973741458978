"""path -> numbered lines of bytes -> rows: opening, .gz, UTF-8, line ends, byte order marks.

:class:`TextFormat` is what plain text, TSV, CSV and JSON Lines share. A row keeps its bytes, and a
conversion adds bytes at the end of a row, so everything else of the file stays as it is.

Text is UTF-8, with or without a byte order mark. Only LF and CRLF end a line: U+2028, U+0085, VT,
FF and a lone CR are characters like others, and no white space is ever stripped.
"""

from __future__ import annotations

import abc
import gzip
import io
import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from sys import getsizeof
from typing import Any, BinaryIO, cast

from charseq.data.formats.rows import (
    Format,
    Row,
    Table,
    Window,
    Write,
    column_taken,
    count_columns,
    group,
    take_header,
)
from charseq.errors import AccessError, DataError, UsageError
from charseq.files import standard_stream
from charseq.lru import ByteLru

MAX_LINE_BYTES = 16 * 2**20
BOM = b"\xef\xbb\xbf"
ENCODED_BYTES = 8 * 2**20
"""Bytes of memory for new cells that were encoded before."""

Lines = Iterator[tuple[int, bytes]]
"""Numbered lines (from 1) as bytes, each with its line end."""


class TextFormat(Format):
    """A format whose rows are lines of UTF-8 text."""

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
        raise DataError(f"{self.title} cannot replace a column: name another with --to")

    def extend_faulty(self, row: Row, names: Sequence[str], values: Sequence[str]) -> bytes:
        """The bytes of a row that could not be read, with new cells."""
        return self.extend(row, self.encode(names, values))

    def read(self, path: str, *, header: str, faulty: bool) -> Table:
        """Open a file of text; see :meth:`Format.read`."""
        shown = "stdin" if path == "-" else path
        rows = self.rows(shown, read_lines(path, shown), faulty=faulty)
        first, others = take_header(rows, self, header, shown)
        return Table(shown, self, first.cells if first else None, group(others), header_row=first)

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
            file.write(b"".join(encoded))

        if table.header_row is not None:
            added = [n for n, position in zip(names, positions, strict=True) if position is None]
            file.write(self.extend(table.header_row, self.encode(added, added)))
        yield write


def rows_by_line(
    read: Callable[[str], tuple[Sequence[Any], Sequence[str]]],
    path: str,
    lines: Lines,
    *,
    faulty: bool,
) -> Iterator[Row]:
    """A row for each line; ``read`` makes cells and their names of the line's text.

    Raises:
        DataError: as :meth:`TextFormat.rows`; ``read`` may raise one without path and line.
    """
    for number, raw in lines:
        try:
            cells, names = read(decode_line(raw, path, number))
        except DataError as fault:
            if not faulty:
                raise fault.at(path, number) from None
            yield Row(number, (), raw=raw, fault=fault.message)
        else:
            yield Row(number, tuple(cells), tuple(names), raw)


def even(rows: Iterator[Row], path: str, *, faulty: bool) -> Iterator[Row]:
    """The same rows, checked: all but blank ones have as many cells as the first.

    Raises:
        DataError: with path and line: another number of cells, and ``faulty`` is false.
    """
    width = 0
    for row in rows:
        width = width or len(row.cells)
        if len(row.cells) in (0, width):
            yield row
            continue
        message = f"{count_columns(len(row.cells))}, expected {width}"
        if not faulty:
            raise DataError(message, path=path, line=row.line)
        yield row._replace(cells=(), fault=message)


def line_end(raw: bytes) -> bytes:
    """The line end of a row's bytes: LF, CRLF, or nothing in the last line of some files."""
    if raw[-1:] != b"\n":
        return b""
    return b"\r\n" if raw[-2:-1] == b"\r" else b"\n"


def before_line_end(raw: bytes, cells: bytes) -> bytes:
    """The bytes of a line with more bytes before its line end."""
    end = line_end(raw)
    return raw[: len(raw) - len(end)] + cells + end


def read_lines(path: str, shown: str) -> Lines:
    """Numbered lines as bytes, each with its line end; ``shown`` is the path for messages.

    Raises:
        DataError: the file cannot be read, is half a .gz, or has a line without end.
    """
    with reading(shown), _opened(path) as file:
        for number in itertools.count(1):
            raw = file.readline(MAX_LINE_BYTES + 1)
            if not raw:
                return
            if len(raw) > MAX_LINE_BYTES:
                message = f"no line end within {MAX_LINE_BYTES:,} bytes"
                raise DataError(message, path=shown, line=number)
            yield number, raw


@contextmanager
def reading(shown: str) -> Iterator[None]:
    """Faults of the system and of a .gz as a DataError that names the file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        message = f"the .gz is damaged or incomplete ({fault})"
        raise DataError(message, path=shown) from None
    except OSError as fault:
        raise AccessError(f"cannot be read: {fault.strerror or fault}", path=shown) from None


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked."""
    if path == "-":
        yield standard_stream("stdin").buffer
    elif path.lower().endswith(".gz"):
        with gzip.open(path, "rb") as packed:
            yield cast(BinaryIO, io.BufferedReader(cast(Any, packed)))
    else:
        with Path(path).open("rb") as file:
            _refuse_workbook(file.peek(8), path)
            yield file


def _refuse_workbook(start: bytes, path: str) -> None:
    """Raise DataError for a file that begins as a workbook does, whatever its name says."""
    if start.startswith(b"PK\x03\x04"):
        message = "is a workbook or another zip file, expected text: --format xlsx reads Excel"
        raise DataError(f"{message}, --format ods OpenDocument", path=path)
    if start.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        message = "is an Excel workbook of the old kind (.xls), expected text: save it as .xlsx"
        raise DataError(message, path=path)


def refuse_stdin(path: str, title: str) -> None:
    """Raise UsageError for "-": a format called ``title`` cannot be read from a pipe."""
    if path == "-":
        raise UsageError(f"{title} is read from a file, not from stdin")


def open_seekable(path: str) -> BinaryIO:
    """A file that can be read from its end; a .gz is unpacked to a temporary file.

    Raises:
        OSError, EOFError, zlib.error: see :func:`reading`.
    """
    if not path.lower().endswith(".gz"):
        return Path(path).open("rb")
    import shutil
    import tempfile

    file = tempfile.TemporaryFile()  # noqa: SIM115, the caller closes it
    try:
        with gzip.open(path, "rb") as packed:
            shutil.copyfileobj(packed, file)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return cast(BinaryIO, file)


def decode(raw: bytes, path: str, line: int) -> str:
    """Bytes as text; a byte order mark at the start of the first line is no letter of it.

    Raises:
        DataError: with path, line and column: a byte that is not UTF-8.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as fault:
        column = len(raw[: fault.start].decode("utf-8")) + 1
        utf16 = line == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff")
        raise DataError(
            f"byte 0x{raw[fault.start]:02x} at column {column} is not UTF-8"
            + (" (the file looks like UTF-16)" if utf16 else ""),
            path=path,
            line=line,
        ) from None
    return text.removeprefix("\ufeff") if line == 1 else text


def decode_line(raw: bytes, path: str, number: int) -> str:
    """The text of a line without its line end; see :func:`decode`."""
    return decode(raw[: len(raw) - len(line_end(raw))], path, number)
