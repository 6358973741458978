"""rows and new columns -> file, in the format they came in: the whole file or nothing.

:func:`writing` takes windows of rows (from ``reader``) and, for each row, the texts of the new
columns. All that was read is written with its own bytes: lines, line ends, byte order marks,
quotes, numbers in JSON; a new column is added at the end of a row.

    with replacing("out.csv") as file, writing(table, file, ["prediction"]) as write:
        for window in table.windows:
            write(window, [["text of the new column"] for row in window.rows])

A file is written beside its final name, flushed to the disk and renamed at the end of the
block; if the block fails, nothing is left. ``-`` is stdout, where nothing can be taken back.

:func:`rejecting` writes the rows that could not be read, one JSON object a line: the ``line``
where the row starts, the ``offset`` of its first byte, the ``reason``, and its bytes in Base64
(``raw``).
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from charseq import files
from charseq.data.formats.rows import Table, Write, column_taken
from charseq.errors import DataError

REJECTS_ENDING = ".rejects.jsonl"


@contextmanager
def replacing(
    path: str | Path, *, force: bool = False, part: Path | None = None
) -> Iterator[BinaryIO]:
    """The bytes of ``path``, which takes its name only when the block ends well.

    Until then the bytes are in the file ``part``, which belongs to the caller alone, or in a file
    with a random name beside ``path``.

    A file whose name ends in ``.gz`` is packed, without a date, so that equal rows give equal
    bytes. A device (``/dev/null``) or a named pipe is written straight away.

    Raises:
        UsageError: as :func:`charseq.files.refuse`.
        DataError: the system refuses to write (no such folder, no space left, ...).
        BrokenPipeError: the reader of stdout has gone.
    """
    if str(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    final = Path(path)
    files.refuse(path, force=force)
    try:
        if files.is_system(path) or (final.exists() and not final.is_file()):
            with final.open("wb") as device:
                yield device
            return
        with files.replacing(final, part=part) as (file, beside):
            with _packed(file, str(path)) as packed:
                yield packed
            files.sync(file)
            files.refuse(path, force=force)
            files.publish(beside, final)
    except BrokenPipeError:
        raise
    except OSError as fault:
        reason = fault.strerror or fault
        raise DataError(f"cannot be written: {reason}", path=path) from None


@contextmanager
def writing(
    table: Table, file: BinaryIO, names: Sequence[str], *, force: bool = False
) -> Iterator[Write]:
    """``write(window, values)``, which writes the rows of ``table`` with new columns ``names``.

    ``values`` holds one entry a row: the texts of the new columns, or None to keep the row as
    it is. A row with a fault keeps its bytes and its position, and gains columns where it can; in
    JSON Lines an object of the new keys stands for it.

    In plain text the line is replaced by the texts, separated by tabs; ``names`` is empty.
    Without a header the new columns have no names. Tabs and line ends in the texts are written as
    spaces in text and TSV (:data:`charseq.display.ONE_LINE`).

    Raises:
        DataError: a column or key of ``names`` exists already and ``force`` is false; with
            ``force`` its cells are replaced.
    """
    positions = _positions(table, names, force=force)
    with table.format.append(table, file, names, positions, force=force) as write:
        yield write


def _positions(table: Table, names: Sequence[str], *, force: bool) -> list[int | None]:
    """The position of each new column in the header; None: at the end."""
    header = table.header or ()
    existing = [name for name in names if name in header]
    if existing and not force:
        line = table.header_row.line if table.header_row else None
        raise column_taken(existing[0]).at(table.path, line)
    return [header.index(name) if name in header else None for name in names]


@contextmanager
def _packed(file: BinaryIO, path: str) -> Iterator[BinaryIO]:
    if not path.lower().endswith(".gz"):
        yield file
        return
    with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed:
        yield cast(BinaryIO, packed)


class Rejected(DataError):
    """One row cannot be used, and the others can."""


class Rejects:
    """The rejected rows of one conversion, counted and written as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: BinaryIO | None = None
        self._part = files.part_path(path)

    def add(self, line: int, offset: int | None, reason: str, raw: bytes) -> None:
        """Write one row. Raises OSError where the system refuses to write."""
        if self._file is None:
            self._file = self._part.open("xb")
        members = {"line": line, "offset": offset, "reason": reason}
        packed = base64.b64encode(raw).decode()
        text = json.dumps({**members, "raw": packed}, ensure_ascii=False)
        self._file.write(text.encode("utf-8", "backslashreplace") + b"\n")
        self.count += 1

    def finish(self) -> None:
        """Give the file its name; if nothing was rejected, a file of an earlier attempt goes."""
        if self._file is None:
            self.path.unlink(missing_ok=True)
            return
        files.sync(self._file)
        self._file.close()
        self._part.replace(self.path)

    def discard(self) -> None:
        """Leave no file, unless it was finished."""
        if self._file is not None:
            self._file.close()
            self._part.unlink(missing_ok=True)


@contextmanager
def rejecting(path: Path) -> Iterator[Rejects]:
    """Rejects that are written to ``path`` if the block ends well, and nowhere otherwise.

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
        rejects.discard()


def rejects_path(path: str, out: str) -> Path:
    """The file for rejects: beside the output, else beside the input, else in this folder."""
    if out != "-" and (not Path(out).exists() or Path(out).is_file()):
        return Path(out + REJECTS_ENDING)
    return Path(("stdin" if path == "-" else path) + REJECTS_ENDING)
