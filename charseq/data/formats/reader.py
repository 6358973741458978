"""path -> rows: plain text, TSV, CSV, JSON Lines and Parquet, each also as .gz.

It knows no roles and no models: it gives cells as they stand, with the bytes they came from, so
that whoever writes them again can leave them alone. Reading is streaming: one window of rows
(``rows.WINDOW`` rows or :data:`WINDOW_BYTES` bytes) is in memory at a time.

    text     one line, one cell: ``cells == (line,)``; an empty line gives ``("",)``
    tsv      cut at tabs, no quoting of any kind
    csv      RFC 4180, strict: a cell may be quoted and then hold commas, quotes and line ends
    jsonl    one JSON object a line: ``names`` are its keys, ``cells`` its values as JSON types
    parquet  ``names`` are the columns, ``cells`` the values as Python types; needs pyarrow

A blank line of TSV, CSV or JSONL (or ``{}``) is no row of the table, but is not lost: it comes as
a Row whose ``cells`` are ``()``. All other rows of a TSV or CSV have the same number of cells.

A row that cannot be read is an error that names its line, or, to who asks for ``faulty`` rows, a
Row that says its ``fault``. What leaves open where rows end (half a .gz, a quote that is never
closed) is an error in any case.

Text is UTF-8, with or without a byte order mark. Only LF and CRLF end a line: U+2028, U+0085,
VT, FF and a lone CR are characters like others, and no white space is ever stripped.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from charseq.data.formats import parquet, rows
from charseq.data.formats.rows import Row, Table, Window, count_columns
from charseq.errors import DataError, UsageError

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
WINDOW_BYTES = 4 * 2**20
LONGEST_LINE = 16 * 2**20
UNCLOSED = "a quote is opened here and not closed"
BOM = b"\xef\xbb\xbf"

# The cells of one CSV record up to the quote that opens a cell which is never closed.
_UNCLOSED = re.compile(r'(?:(?:"(?:[^"]|"")*+"|[^",\n][^,\n]*+)?+,)*+"')

Lines = Iterator[tuple[int, bytes]]


def sniff(path: str | Path) -> str:
    """The format by the file's name, a trailing ``.gz`` aside; text if nothing else fits."""
    name = Path(path).name.lower().removesuffix(".gz")
    return ENDINGS.get(Path(name).suffix, "text")


def read_table(
    path: str | Path, *, format: str = "auto", header: str = "auto", faulty: bool = False
) -> Table:
    """Open a file of rows; ``-`` is stdin, a name that ends in ``.gz`` is unpacked.

    With ``faulty`` a row that cannot be read comes as one that says its fault.

    ``header`` (TSV and CSV): "yes", "no", or "auto", which takes the first row for a header if
    it has the cells ``source`` and ``target``, in whatever case.

    Raises:
        UsageError: an unknown format or header, or Parquet through a pipe.
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
        return parquet.read(path)
    shown = "stdin" if path == "-" else path
    rows = _READERS[kind](shown, _lines(path, shown), faulty)
    first = next(rows, None)
    named = kind in ("tsv", "csv") and (
        header == "yes" or (header == "auto" and first is not None and _is_header(first))
    )
    if not named:
        started = itertools.chain(() if first is None else (first,), rows)
        return Table(shown, kind, None, _windows(started))
    if first is None or not first.cells:
        what = (first and first.fault) or "nothing here"
        raise DataError(f"{what}, expected a header row", path=shown, line=1)
    return Table(shown, kind, first.cells, _windows(rows), header_row=first)


def line_end(raw: bytes) -> bytes:
    """What ends a row's bytes: LF, CRLF, or nothing in the last line of some files."""
    if raw[-1:] != b"\n":
        return b""
    return b"\r\n" if raw[-2:-1] == b"\r" else b"\n"


def _is_header(row: Row) -> bool:
    return {"source", "target"} <= {cell.lower() for cell in row.cells}


def _windows(given: Iterator[Row]) -> Iterator[Window]:
    held: list[Row] = []
    size = 0
    for row in given:
        held.append(row)
        size += len(row.raw)
        if len(held) >= rows.WINDOW or size >= WINDOW_BYTES:
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


def _line(raw: bytes, path: str, number: int) -> str:
    """The text of a line without its end."""
    body = raw[: len(raw) - len(line_end(raw))]
    if number == 1:
        return _decode(body, path, number)
    try:
        return body.decode()
    except UnicodeDecodeError:
        return _decode(body, path, number)


def _text_row(path: str, number: int, raw: bytes) -> Row:
    return Row(number, (_line(raw, path, number),), (), raw)


def _tsv_row(path: str, number: int, raw: bytes) -> Row:
    text = _line(raw, path, number)
    return Row(number, tuple(text.split("\t")) if text else (), (), raw)


def _by_line(
    read: Callable[[str, int, bytes], Row], path: str, lines: Lines, faulty: bool
) -> Iterator[Row]:
    """A row for each line."""
    for number, raw in lines:
        try:
            yield read(path, number, raw)
        except DataError as fault:
            if not faulty:
                raise
            yield Row(number, (), raw=raw, fault=fault.message)


def _csv_rows(path: str, lines: Lines, faulty: bool) -> Iterator[Row]:
    taken: list[bytes] = []
    line = 1

    def feed() -> Iterator[str]:
        for number, raw in lines:
            taken.append(raw)
            try:
                text = _decode(raw, path, number)
            except DataError:
                if not faulty:
                    raise
                text = raw.decode("utf-8", "surrogateescape")  # found again when the row is whole
            yield text

    reader = csv.reader(feed(), strict=True)
    while True:
        try:
            cells, why = next(reader), ""
            if faulty:
                _decode(b"".join(taken), path, line)
        except StopIteration:
            return
        except csv.Error as fault:
            found = _csv_fault(path, line, b"".join(taken), str(fault))
            if not faulty or found.message.startswith(UNCLOSED):
                raise found from None
            why = found.message
        except DataError as fault:
            if not faulty:
                raise
            why = fault.message
        yield Row(line, () if why else tuple(cells), raw=b"".join(taken), fault=why)
        line += len(taken)
        taken.clear()


def _csv_fault(path: str, line: int, raw: bytes, reason: str) -> DataError:
    """Which quote or cell the csv module stumbled over, in the record that starts at ``line``."""
    opened = _UNCLOSED.match(raw.decode("utf-8", "replace").removeprefix("\ufeff"))
    if opened and ("end of data" in reason or "limit" in reason):
        where = line + opened.group().count("\n")
        limit = "" if "end of data" in reason else f" within {csv.field_size_limit()} characters"
        return DataError(f"{UNCLOSED}{limit}", path=path, line=where)
    if "new-line" in reason:
        reason = "a lone carriage return outside quotes"
    return DataError(f"not valid CSV: {reason}", path=path, line=line)


def _even(rows: Iterator[Row], path: str, faulty: bool) -> Iterator[Row]:
    """The same rows, all (but blank ones) as wide as the first."""
    width = 0
    for row in rows:
        width = width or len(row.cells)
        if len(row.cells) in (0, width):
            yield row
            continue
        what = f"{count_columns(len(row.cells))}, expected {width}"
        if not faulty:
            raise DataError(what, path=path, line=row.line)
        yield row._replace(cells=(), fault=what)


def _jsonl_row(path: str, number: int, raw: bytes) -> Row:
    text = _line(raw, path, number)
    if not text:
        return Row(number, (), raw=raw)
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
    return Row(number, tuple(value.values()), tuple(value), raw)


_READERS: dict[str, Callable[[str, Lines, bool], Iterator[Row]]] = {
    "text": partial(_by_line, _text_row),
    "tsv": lambda path, lines, faulty: _even(_by_line(_tsv_row, path, lines, faulty), path, faulty),
    "csv": lambda path, lines, faulty: _even(_csv_rows(path, lines, faulty), path, faulty),
    "jsonl": partial(_by_line, _jsonl_row),
}
