"""rows and new columns -> file, in the format they came in, all or nothing.

It knows no models: it takes windows of rows (from ``reader``) and, for each row, the
texts of the new columns. What was read is written with its own bytes: text, TSV and CSV lines,
line ends, byte order marks, quotes, numbers in JSON; a new column is added at the end of a row.

    with replacing("out.csv") as file, writing(table, file, ["prediction"]) as write:
        for window in table.windows:
            write(window, [["text of the new column"] for row in window.rows])

A file is written beside its final name, flushed to the disk and renamed at the end of the
block; if the block fails, nothing is left. ``-`` is stdout, where nothing can be taken back.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from sys import getsizeof
from typing import Any, BinaryIO, cast

from charseq.data.formats.parquet import arrow
from charseq.data.formats.reader import BOM, line_end
from charseq.data.formats.rows import Row, Table, Window
from charseq.display import ONE_LINE
from charseq.errors import DataError, UsageError
from charseq.lru import ByteLru

ROW_GROUP = 2**16
ROW_GROUP_BYTES = 64 * 2**20
TAILS = 8 * 2**20
"""Bytes of memory for what was appended to rows before."""
CODECS = {"SNAPPY", "GZIP", "BROTLI", "ZSTD"}

Write = Callable[[Window, Sequence[Sequence[str] | None]], None]

_JSON = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


@contextmanager
def replacing(
    path: str | Path, *, force: bool = False, part: Path | None = None
) -> Iterator[BinaryIO]:
    """The bytes of ``path``, which takes its name only when the block ends well.

    Until then it is called ``part``, which the caller holds alone, else by a name of its own.

    A name that ends in ``.gz`` is packed, without a date, so that equal rows give equal bytes.
    What is no regular file (``/dev/null``, a named pipe) is written straight away.

    Raises:
        UsageError: the file exists and ``force`` is false, or it is a folder.
        DataError: the system refuses to write (no such folder, no space left, ...).
        BrokenPipeError: the reader of stdout has gone.
    """
    if str(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    final = Path(os.path.realpath(path))
    refuse(path, force=force)
    try:
        if final.exists() and not final.is_file():
            with final.open("wb") as device:
                yield device
            return
        temporary = part or final.with_name(f".charseq-{secrets.token_hex(8)}.part")
        try:
            if part is not None:
                part.unlink(missing_ok=True)  # of an attempt that was killed
            with temporary.open("xb") as file:
                with _packed(file, str(path)) as packed:
                    yield packed
                file.flush()
                os.fsync(file.fileno())
            refuse(path, force=force)
            temporary.replace(final)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(final.parent)
    except BrokenPipeError:
        raise
    except OSError as fault:
        reason = fault.strerror or fault
        raise DataError(f"cannot be written: {reason}", path=path) from None


def refuse(path: str | Path, *, force: bool) -> None:
    """Raise UsageError where ``path`` must not be written: a folder, or a file without force."""
    if str(path) == "-":
        return
    if Path(path).is_dir():
        raise UsageError(f"{path} is a folder, expected a file to write")
    if Path(path).is_file() and not force:
        raise UsageError(f"{path} exists: give another name, or --force to overwrite it")


@contextmanager
def writing(
    table: Table, file: BinaryIO, names: Sequence[str], *, force: bool = False
) -> Iterator[Write]:
    """``write(window, values)``, which writes the rows of ``table`` with new columns ``names``.

    ``values`` holds one entry a row: the texts of the new columns, or None to keep the row as
    it is. A row with a fault keeps its bytes and its place, and gains columns where it can; in
    JSONL an object of the new keys stands for it.

    In plain text the line is replaced by the texts, separated by tabs; ``names`` is empty.
    Without a header the new columns have no names. Tabs and line ends in the texts are written as
    spaces in text and TSV (:data:`glyphs.FLAT`).

    Raises:
        DataError: a column or key of ``names`` is there already and ``force`` is false; with
            ``force`` its cells are replaced.
    """
    places = _places(table, names, force=force)
    if table.format == "parquet":
        with _parquet(table, file, list(zip(names, places, strict=True))) as write_batch:
            yield write_batch
        return
    encode = _encoder(table.format, names, places, force=force)

    inside = any(place is not None for place in places)

    def write(window: Window, values: Sequence[Sequence[str] | None]) -> None:
        lines = []
        for row, new in zip(window.rows, values, strict=True):
            try:
                if new is None or (row.fault and inside):
                    lines.append(row.raw)
                elif row.fault and table.format == "jsonl":
                    lines.append(_object(names, new) + line_end(row.raw))
                else:
                    lines.append(encode(row, new))
            except DataError as fault:
                raise fault.at(table.path, row.line) from None
        file.write(b"".join(lines))

    if table.header_row is not None:
        added = [name for name, place in zip(names, places, strict=True) if place is None]
        if table.format == "tsv":
            file.write(_before_end(table.header_row, _tsv_tail(added)))
        else:
            file.write(_after_quotes(table.header_row, _csv_tail(added)))
    yield write


def _encoder(
    kind: str, names: Sequence[str], places: Sequence[int | None], *, force: bool
) -> Callable[[Row, Sequence[str]], bytes]:
    """From a row and the texts of its new columns to its bytes."""
    if any(place is not None for place in places):
        inside = _tsv_cells if kind == "tsv" else _csv_cells
        return lambda row, values: inside(row, values, places)
    ways: dict[str, tuple[Callable[[Sequence[str]], bytes], Callable[[Row, bytes], bytes]]] = {
        "text": (lambda values: b"\t".join(map(_flat, values)), _replaced),
        "tsv": (_tsv_tail, _before_end),
        "csv": (_csv_tail, _after_quotes),
        "jsonl": (partial(_jsonl_tail, names), _before_brace),
    }
    encode, join = ways[kind]
    tails: ByteLru[tuple[str, ...], bytes] = ByteLru(TAILS)

    def with_tail(row: Row, values: Sequence[str]) -> bytes:
        if kind == "jsonl" and not new.isdisjoint(row.names):
            return _jsonl_row(row, names, values, force=force)
        key = tuple(values)
        tail = tails.get(key)
        if tail is None:
            tail = encode(key)
            tails.put(key, tail, getsizeof(tail))  # the texts are somebody else's as well
        return join(row, tail)

    new = frozenset(names)
    return with_tail


def _places(table: Table, names: Sequence[str], *, force: bool) -> list[int | None]:
    """Where each new column stands in the header; None: at the end."""
    header = table.header or ()
    there = [name for name in names if name in header]
    if there and not force:
        raise _taken(there[0]).at(table.path, table.header_row.line if table.header_row else None)
    return [header.index(name) if name in header else None for name in names]


def _taken(name: str) -> DataError:
    return DataError(
        f"there is a column '{name}': name another with --to, or replace it with --force"
    )


# ------------------------------------------------------------------ lines


def _tsv_tail(values: Sequence[str]) -> bytes:
    return b"".join([b"\t" + _flat(value) for value in values])


def _csv_tail(values: Sequence[str]) -> bytes:
    return b"".join([b"," + _quoted(value).encode() for value in values])


def _jsonl_tail(names: Sequence[str], values: Sequence[str]) -> bytes:
    members = zip(names, values, strict=True)
    return ", ".join([f"{_json(key)}: {_json(value)}" for key, value in members]).encode()


def _replaced(row: Row, tail: bytes) -> bytes:
    """The tail in place of a line."""
    mark = BOM if row.line == 1 and row.raw.startswith(BOM) else b""
    return mark + tail + line_end(row.raw)


def _before_end(row: Row, tail: bytes) -> bytes:
    """The tail behind a line of TSV."""
    end = line_end(row.raw)
    return row.raw[: len(row.raw) - len(end)] + tail + end


def _after_quotes(row: Row, tail: bytes) -> bytes:
    """The tail behind a record of CSV."""
    # A quoted cell ends in a quote, so all CR and LF at the end belong to the line end.
    body = row.raw.rstrip(b"\r\n")
    return body + tail + row.raw[len(body) :]


def _before_brace(row: Row, tail: bytes) -> bytes:
    body = row.raw.rstrip(b" \t\r\n")
    return body[:-1] + (b", " if row.names else b"") + tail + row.raw[len(body) - 1 :]


def _tsv_cells(row: Row, values: Sequence[str], places: Sequence[int | None]) -> bytes:
    """The row with some cells replaced."""
    end = line_end(row.raw)
    cells = row.raw[: len(row.raw) - len(end)].split(b"\t")
    for value, place in zip(values, places, strict=True):
        if place is None:
            cells.append(_flat(value))
        else:
            cells[place] = _flat(value)
    return b"\t".join(cells) + end


def _csv_cells(row: Row, values: Sequence[str], places: Sequence[int | None]) -> bytes:
    """The row with some cells replaced; all are quoted anew."""
    cells = list(row.cells)
    for value, place in zip(values, places, strict=True):
        if place is None:
            cells.append(value)
        else:
            cells[place] = value
    end = row.raw[len(row.raw.rstrip(b"\r\n")) :]
    return ",".join(map(_quoted, cells)).encode() + end


def _jsonl_row(row: Row, names: Sequence[str], values: Sequence[str], *, force: bool) -> bytes:
    """The object with some values replaced."""
    new = dict(zip(names, values, strict=True))
    there = [name for name in names if name in row.names]
    if not force:
        raise _taken(there[0])
    body = row.raw.decode().rstrip(" \t\r\n")
    end = row.raw.decode()[len(body) :]
    for key, start, stop in reversed(list(_members(body))):
        if key in new:
            body = body[:start] + _json(new[key]) + body[stop:]
    added = [f", {_json(key)}: {_json(new[key])}" for key in names if key not in there]
    return (body[:-1] + "".join(added) + "}" + end).encode()


def _object(names: Sequence[str], values: Sequence[str]) -> bytes:
    return json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False).encode()


def _members(text: str) -> Iterator[tuple[str, int, int]]:
    """Each key of a valid JSON object, with the place where its value starts and stops."""
    at = _skip(text, text.index("{") + 1)
    while text[at] == '"':
        key, at = _JSON.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, stop = _JSON.raw_decode(text, start)
        yield key, start, stop
        at = _skip(text, _skip(text, stop) + 1) if text[_skip(text, stop)] == "," else stop
        if at == stop:
            return


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _flat(text: str) -> bytes:
    return text.translate(ONE_LINE).encode()


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if re.search('[,"\r\n]', cell) else cell


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# ------------------------------------------------------------------ Parquet


@contextmanager
def _parquet(
    table: Table, file: BinaryIO, columns: Sequence[tuple[str, int | None]]
) -> Iterator[Write]:
    """The same schema, metadata and compression, with the new columns as strings."""
    pyarrow = arrow("writing Parquet")
    held: list[Any] = []

    def widen(old: Any, values: Sequence[Sequence[str] | None]) -> Any:
        for i, (name, place) in enumerate(columns):
            texts = pyarrow.array([row[i] if row else None for row in values], pyarrow.string())
            old = (
                old.append_column(name, texts)
                if place is None
                else old.set_column(place, name, texts)
            )
        return old

    def flush() -> None:
        if held:
            writer.write_table(pyarrow.concat_tables(held))
            held.clear()

    def write(window: Window, values: Sequence[Sequence[str] | None]) -> None:
        held.append(widen(pyarrow.Table.from_batches([window.batch]), values))
        rows, size = sum(part.num_rows for part in held), sum(part.nbytes for part in held)
        if rows >= ROW_GROUP or size >= ROW_GROUP_BYTES:
            flush()

    schema = widen(table.source.schema_arrow.empty_table(), []).schema
    parquet = arrow("writing Parquet", "pyarrow.parquet")
    with parquet.ParquetWriter(file, schema, compression=_codec(table.source)) as writer:
        yield write
        flush()


def _codec(source: Any) -> str:
    facts = source.metadata
    if not facts.num_row_groups or not facts.row_group(0).num_columns:
        return "snappy"
    name = str(facts.row_group(0).column(0).compression)
    if name == "UNCOMPRESSED":
        return "none"
    return name.lower() if name in CODECS else "snappy"


# ------------------------------------------------------------------ disk


@contextmanager
def _packed(file: BinaryIO, path: str) -> Iterator[BinaryIO]:
    if not path.lower().endswith(".gz"):
        yield file
        return
    with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed:
        yield cast(BinaryIO, packed)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself last; some systems have no folders to sync."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


ENDING = ".rejects.jsonl"


class Rejected(DataError):
    """One row cannot be used, and the others can."""


class Rejects:
    """The rejected rows of one conversion, counted and written as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: BinaryIO | None = None
        self._part = path.with_name(f".charseq-{secrets.token_hex(8)}.part")

    def add(self, line: int, offset: int | None, reason: str, raw: bytes) -> None:
        """Keep one row. Raises OSError where the system refuses to write."""
        if self._file is None:
            self._file = self._part.open("xb")
        facts = {"line": line, "offset": offset, "reason": reason}
        packed = base64.b64encode(raw).decode()
        text = json.dumps({**facts, "raw": packed}, ensure_ascii=False)
        self._file.write(text.encode("utf-8", "backslashreplace") + b"\n")
        self.count += 1

    def finish(self) -> None:
        """Give the file its name; where nothing was rejected, one of an earlier attempt goes."""
        if self._file is None:
            self.path.unlink(missing_ok=True)
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self.path)

    def drop(self) -> None:
        """Leave nothing, unless it was finished."""
        if self._file is not None:
            self._file.close()
            self._part.unlink(missing_ok=True)


@contextlib.contextmanager
def rejecting(path: Path) -> Iterator[Rejects]:
    """Rejects that are in ``path`` if the block ends well, and nowhere else.

    Raises:
        DataError: the system refuses to write them.
    """
    rejects = Rejects(path)
    try:
        yield rejects
        try:
            rejects.finish()
        except OSError as fault:
            raise DataError(f"cannot be written: {fault.strerror or fault}", path=path) from None
    finally:
        rejects.drop()


def place(path: str, out: str) -> Path:
    """Where the rejects of ``path`` go: beside the output, else beside the input, else here."""
    if out != "-" and (not Path(out).exists() or Path(out).is_file()):
        return Path(out + ENDING)
    return Path(("stdin" if path == "-" else path) + ENDING)
