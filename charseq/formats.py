"""path -> rows: plain text, TSV, CSV, JSON Lines and Parquet, each but the last also as .gz.

It knows no roles and no models: it gives cells as they stand, with the bytes they came from, so
that whoever writes them again can leave them alone. Reading is streaming: one window of rows
(:data:`WINDOW` rows or :data:`WINDOW_BYTES` bytes) is in memory at a time.

    text     one line, one cell: ``cells == (line,)``; an empty line gives ``("",)``
    tsv      cut at tabs, no quoting of any kind
    csv      RFC 4180, strict: a cell may be quoted and then hold commas, quotes and line ends
    jsonl    one JSON object a line: ``names`` are its keys, ``cells`` its values as JSON types
    parquet  ``names`` are the columns, ``cells`` the values as Python types; needs pyarrow

A blank line of TSV, CSV or JSONL (or ``{}``) is no row of the table, but is not lost: it comes as
a Row whose ``cells`` are ``()``. All other rows of a TSV or CSV have the same number of cells.

Text is UTF-8, with or without a byte order mark. Only LF and CRLF end a line: U+2028, U+0085,
VT, FF and a lone CR are characters like others, and no white space is ever stripped.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import itertools
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from charseq.errors import DataError, MissingExtraError, UsageError

FORMATS = ("text", "tsv", "csv", "jsonl", "parquet")
ENDINGS = {
    ".tsv": "tsv",
    ".tab": "tsv",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
WINDOW = 4096
WINDOW_BYTES = 4 * 2**20
LONGEST_LINE = 16 * 2**20
BOM = b"\xef\xbb\xbf"

# The cells of one CSV record up to the quote that opens a cell which is never closed.
_UNCLOSED = re.compile(r'(?:(?:"(?:[^"]|"")*+"|[^",\n][^,\n]*+)?+,)*+"')
_SURROGATE = re.compile("[\ud800-\udfff]")

Lines = Iterator[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the file.

    ``line``: where it starts, counted from 1 (Parquet: the number of the row).
    ``cells``: strings (text, TSV, CSV) or values (JSONL, Parquet); ``()`` for a blank line.
    ``names``: the cells' names where each row has its own (JSONL, Parquet); else ``()``, and
    :attr:`Table.header` has them if there are any.
    ``raw``: the row's bytes with its line end and byte order mark (Parquet: empty).
    """

    line: int
    cells: tuple[Any, ...]
    names: tuple[str, ...] = ()
    raw: bytes = b""


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


def sniff(path: str | Path) -> str:
    """The format by the file's name, a trailing ``.gz`` aside; text if nothing else fits."""
    name = Path(path).name.lower().removesuffix(".gz")
    return ENDINGS.get(Path(name).suffix, "text")


def read_table(path: str | Path, *, format: str = "auto", header: str = "auto") -> Table:
    """Open a file of rows; ``-`` is stdin, a name that ends in ``.gz`` is unpacked.

    ``header`` (TSV and CSV): "yes", "no", or "auto", which takes the first row for a header if
    it has the cells ``source`` and ``target``, in whatever case.

    Raises:
        UsageError: an unknown format or header, or Parquet through a pipe or in a .gz.
        DataError: with path and line: no such file, bytes that are not UTF-8, a half .gz,
            a quote never closed, a ragged row, a line that is no JSON object, no header row.
            Raised here for the first row, for the others when they are reached.
        MissingExtraError: Parquet without pyarrow.
    """
    path = str(path)
    kind = sniff(path) if format == "auto" else format
    if kind not in FORMATS:
        raise UsageError(f"unknown format '{kind}', expected one of auto, {', '.join(FORMATS)}")
    if header not in ("auto", "yes", "no"):
        raise UsageError(f"header is '{header}', expected auto, yes or no")
    if kind == "parquet":
        return _read_parquet(path)
    shown = "stdin" if path == "-" else path
    rows = _READERS[kind](shown, _lines(path, shown))
    first = next(rows, None)
    named = kind in ("tsv", "csv") and (
        header == "yes" or (header == "auto" and first is not None and _is_header(first))
    )
    if not named:
        started = itertools.chain(() if first is None else (first,), rows)
        return Table(shown, kind, None, _windows(started))
    if first is None or not first.cells:
        raise DataError("nothing here, expected a header row", path=shown, line=1)
    return Table(shown, kind, first.cells, _windows(rows), header_row=first)


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
    there = f"only {_columns(width)} and no header"
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


def line_end(raw: bytes) -> bytes:
    """What ends a row's bytes: LF, CRLF, or nothing in the last line of some files."""
    if raw.endswith(b"\r\n"):
        return b"\r\n"
    return b"\n" if raw.endswith(b"\n") else b""


def arrow(purpose: str, name: str = "pyarrow") -> Any:
    """The module ``name`` of pyarrow, loaded when it is first needed.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet", purpose) from None


def _columns(count: int) -> str:
    return f"{count} column" if count == 1 else f"{count} columns"


def _is_header(row: Row) -> bool:
    return {"source", "target"} <= {cell.lower() for cell in row.cells}


def _windows(rows: Iterator[Row]) -> Iterator[Window]:
    held: list[Row] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row.raw)
        if len(held) >= WINDOW or size >= WINDOW_BYTES:
            yield Window(held)
            held, size = [], 0
    if held:
        yield Window(held)


@contextmanager
def _opened(path: str, shown: str) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked; the system's faults become a DataError."""
    try:
        if path == "-":
            yield sys.stdin.buffer
        elif path.lower().endswith(".gz"):
            with gzip.open(path, "rb") as packed:
                yield cast(BinaryIO, io.BufferedReader(cast(Any, packed)))
        else:
            with Path(path).open("rb") as file:
                yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise DataError(f"the .gz is damaged or incomplete ({fault})", path=shown) from None
    except OSError as fault:
        raise DataError(f"cannot be read: {fault.strerror or fault}", path=shown) from None


def _lines(path: str, shown: str) -> Lines:
    """Numbered lines as bytes, each with its line end."""
    with _opened(path, shown) as file:
        for number in itertools.count(1):
            raw = file.readline(LONGEST_LINE + 1)
            if not raw:
                return
            if len(raw) > LONGEST_LINE:
                message = f"no line end within {LONGEST_LINE:,} bytes"
                raise DataError(message, path=shown, line=number)
            yield number, raw


def _decode(raw: bytes, path: str, line: int) -> str:
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


def _body(raw: bytes) -> bytes:
    return raw[: len(raw) - len(line_end(raw))]


def _text_rows(path: str, lines: Lines) -> Iterator[Row]:
    for number, raw in lines:
        yield Row(number, (_decode(_body(raw), path, number),), raw=raw)


def _tsv_rows(path: str, lines: Lines) -> Iterator[Row]:
    for number, raw in lines:
        text = _decode(_body(raw), path, number)
        yield Row(number, tuple(text.split("\t")) if text else (), raw=raw)


def _csv_rows(path: str, lines: Lines) -> Iterator[Row]:
    taken: list[bytes] = []

    def feed() -> Iterator[str]:
        for number, raw in lines:
            taken.append(raw)
            yield _decode(raw, path, number)

    reader = csv.reader(feed(), strict=True)
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as fault:
            raise _csv_fault(path, line, b"".join(taken), str(fault)) from None
        yield Row(line, tuple(cells), raw=b"".join(taken))
        line += len(taken)
        taken.clear()


def _csv_fault(path: str, line: int, raw: bytes, reason: str) -> DataError:
    """Which quote or cell the csv module stumbled over, in the record that starts at ``line``."""
    opened = _UNCLOSED.match(_decode(raw, path, line))
    if opened and ("end of data" in reason or "limit" in reason):
        where = line + opened.group().count("\n")
        limit = "" if "end of data" in reason else f" within {csv.field_size_limit()} characters"
        return DataError(f"a quote is opened here and not closed{limit}", path=path, line=where)
    if "new-line" in reason:
        reason = "a lone carriage return outside quotes"
    return DataError(f"not valid CSV: {reason}", path=path, line=line)


def _even(rows: Iterator[Row], path: str) -> Iterator[Row]:
    """The same rows, all (but blank ones) as wide as the first."""
    width = 0
    for row in rows:
        width = width or len(row.cells)
        if len(row.cells) not in (0, width):
            raise DataError(
                f"{_columns(len(row.cells))}, expected {width}", path=path, line=row.line
            )
        yield row


def _jsonl_rows(path: str, lines: Lines) -> Iterator[Row]:
    for number, raw in lines:
        text = _decode(_body(raw), path, number)
        if not text:
            yield Row(number, (), raw=raw)
            continue
        try:
            value = json.loads(text)
        except json.JSONDecodeError as fault:
            message = f"not valid JSON: {fault.msg} at column {fault.colno}"
            raise DataError(message, path=path, line=number) from None
        except (ValueError, RecursionError) as fault:
            raise DataError(f"not readable JSON: {fault}", path=path, line=number) from None
        if not isinstance(value, dict):
            message = f"a JSON {type(value).__name__}, expected one object a line"
            raise DataError(message, path=path, line=number)
        yield Row(number, tuple(value.values()), tuple(value), raw)


_READERS: dict[str, Callable[[str, Lines], Iterator[Row]]] = {
    "text": _text_rows,
    "tsv": lambda path, lines: _even(_tsv_rows(path, lines), path),
    "csv": lambda path, lines: _even(_csv_rows(path, lines), path),
    "jsonl": _jsonl_rows,
}


def _read_parquet(path: str) -> Table:
    if path == "-" or path.lower().endswith(".gz"):
        raise UsageError(f"{path}: Parquet is read from a file of its own, not from a pipe or .gz")
    parquet = arrow("reading Parquet", "pyarrow.parquet")
    try:
        source = parquet.ParquetFile(path)
    except (OSError, ValueError) as fault:
        raise DataError(f"cannot be read as Parquet: {_reason(fault)}", path=path) from None
    header = tuple(source.schema_arrow.names)
    return Table(path, "parquet", header, _batches(source, header, path), source=source)


def _batches(source: Any, header: tuple[str, ...], path: str) -> Iterator[Window]:
    number = 1
    with source:
        batches = source.iter_batches(batch_size=WINDOW)
        while True:
            try:
                batch = next(batches, None)
            except (OSError, ValueError) as fault:
                raise DataError(f"damaged Parquet: {_reason(fault)}", path=path) from None
            if batch is None:
                return
            columns = [_values(column) for column in batch.columns]
            cells = zip(*columns, strict=True) if columns else itertools.repeat((), batch.num_rows)
            rows = [Row(number + i, row, header) for i, row in enumerate(cells)]
            yield Window(rows, batch)
            number += len(rows)


def _values(column: Any) -> list[Any]:
    """Text and plain numbers as Python values, other types as pyarrow's scalars."""
    # Some values (far dates, nanoseconds) have no like in Python, and nobody may ever ask.
    types = arrow("reading Parquet").types
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    plain = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_integer,
        types.is_floating,
        types.is_boolean,
        types.is_null,
    )
    return cast(list[Any], column.to_pylist()) if any(is_(kind) for is_ in plain) else [*column]


def _reason(fault: Exception) -> str:
    number = getattr(fault, "errno", None)
    return os.strerror(number) if number else " ".join(str(fault).split())
