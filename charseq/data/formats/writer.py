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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from charseq import files
from charseq.data.formats.rows import Table, Write, column_taken
from charseq.errors import AccessError, DataError, UsageError

REJECTS_ENDING = ".rejects.jsonl"
_BEGINNING = b'{"line": '


@contextmanager
def replacing(
    path: str | Path,
    *,
    force: bool = False,
    ready: Callable[[Path | None], None] = lambda _: None,
) -> Iterator[BinaryIO]:
    """The bytes of ``path``, which takes its name only when the block ends well.

    Until then the bytes are in a hidden part file beside ``path``, and the next attempt deletes
    one that a killed attempt left. ``ready`` is called with it, or with None where there is none,
    when it is complete and on disk and its name comes next.

    A file whose name ends in ``.gz`` is packed, without a date, so that equal rows give equal
    bytes. A device (``/dev/null``) or a named pipe is written straight away.

    Raises:
        UsageError: as :func:`charseq.files.refuse`; or another process is writing ``path``.
        AccessError: the system refuses to write (no such folder, no space left, ...).
        BrokenPipeError: the reader of stdout has gone.
    """
    if files.is_stdout(path):
        out = files.standard_stream("stdout").buffer
        yield out
        out.flush()
        ready(None)
        return
    final = Path(path)
    files.refuse(path, force=force)
    try:
        if files.is_system(path) or (final.exists() and not final.is_file()):
            with final.open("wb") as device:
                yield device
            ready(None)
            return
        with files.claiming(final) as part, files.replacing(final, part=part) as (file, beside):
            with _packed(file, str(path)) as packed:
                yield packed
            files.sync(file)
            files.refuse(path, force=force)
            ready(beside)
            files.publish(beside, final)
    except files.BusyError:
        raise UsageError(f"{path} is being written by another process") from None
    except BrokenPipeError:
        raise
    except OSError as fault:
        reason = fault.strerror or fault
        raise AccessError(f"cannot be written: {reason}", path=path) from None


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

    def __init__(self, path: Path, *, force: bool = True) -> None:
        self.path = path
        self.part: Path | None = None
        """The file that holds them until it gets its name; None while nothing was rejected."""
        self.count = 0
        self._held = ExitStack()
        self._file: BinaryIO | None = None
        self._force = force
        self._is_finished = False
        files.refuse(path, force=force, what="file of rejects")
        files.clean(path)

    def add(self, line: int, offset: int | None, reason: str, raw: bytes) -> None:
        """Write one row.

        Raises:
            UsageError: another process is writing the file.
            AccessError: the system refuses to write.
        """
        members = {"line": line, "offset": offset, "reason": reason}
        packed = base64.b64encode(raw).decode()
        text = json.dumps({**members, "raw": packed}, ensure_ascii=False)
        with _writing_to(self.path):
            if self._file is None:
                self.part = self._held.enter_context(files.claiming(self.path))
                self._file, _ = self._held.enter_context(files.replacing(self.path, part=self.part))
            self._file.write(text.encode("utf-8", "backslashreplace") + b"\n")
        self.count += 1

    def close(self) -> None:
        """All rows are on disk when this returns. Raises AccessError where they cannot be."""
        if self._file is not None and not self._file.closed:
            with _writing_to(self.path):
                files.sync(self._file)
                self._file.close()

    def finish(self) -> None:
        """Give the file its name; if nothing was rejected, one of an earlier conversion goes.

        Raises:
            UsageError: another file has got the name meanwhile, and ``force`` is false.
        """
        if self._is_finished:
            return
        self.close()
        files.refuse(self.path, force=self._force, what="file of rejects")
        with _writing_to(self.path):
            if self.part is not None:
                files.publish(self.part, self.path)
            elif _holds_rejects(self.path):
                self.path.unlink()
        self._is_finished = True

    def release(self) -> None:
        """Free the name of the part file, and leave no part file."""
        if self.part is not None:
            self.part.unlink(missing_ok=True)
        with suppress(OSError):  # of a full disk, which was told when a row was written
            self._held.close()


@contextmanager
def rejecting(path: Path, *, force: bool = True) -> Iterator[Rejects]:
    """Rejects that are written to ``path`` if the block ends well, and nowhere otherwise.

    Raises:
        UsageError: as :func:`charseq.files.refuse`; or another process is writing ``path``.
        AccessError: the system refuses to write them.
    """
    rejects = Rejects(path, force=force)
    try:
        yield rejects
        rejects.finish()
    finally:
        rejects.release()


@contextmanager
def _writing_to(path: Path) -> Iterator[None]:
    """Faults of the system as errors that name the file."""
    try:
        yield
    except files.BusyError:
        raise UsageError(f"{path} is being written by another process") from None
    except OSError as fault:
        raise AccessError(f"cannot be written: {fault.strerror or fault}", path=path) from None


def _holds_rejects(path: Path) -> bool:
    """Whether there is a file that begins as a file of rejects does."""
    try:
        with path.open("rb") as file:
            return file.read(len(_BEGINNING)) == _BEGINNING
    except FileNotFoundError:
        return False


def rejects_path(path: str, out: str) -> Path:
    """The file for rejects: beside the output, else beside the input, else in this folder."""
    if out != "-" and (not Path(out).exists() or Path(out).is_file()):
        return Path(out + REJECTS_ENDING)
    return Path(("stdin" if path == "-" else path) + REJECTS_ENDING)
