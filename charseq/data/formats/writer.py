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
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from charseq import files
from charseq.data.formats.opening import packed_ending, packing, unpacked_name
from charseq.data.formats.rows import Table, Write, column_taken
from charseq.data.formats.sqlite import plain_location, split_location
from charseq.errors import AccessError, DataError, UsageError, argument

REJECTS_ENDING = ".rejects.jsonl"
_BEGINNINGS = b'{"line": ', b'{"file": '


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

    A file whose name ends in ``.gz``, ``.xz`` or ``.bz2`` is packed, without a date, so that equal
    rows give equal bytes. A device (``/dev/null``) or a named pipe is written straight away.

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
            with packing(file, str(path)) as packed:
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

    def add(
        self, line: int, offset: int | None, reason: str, raw: bytes, *, file: str = ""
    ) -> None:
        """Write one row; ``file`` names its file, where the rows are of several.

        Raises:
            UsageError: another process is writing the file.
            AccessError: the system refuses to write.
        """
        members: dict[str, str | int | None] = {"file": file} if file else {}
        members |= {"line": line, "offset": offset, "reason": reason}
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
    if not path.exists():  # nothing is opened where nothing is: too many files may be open
        return False
    with path.open("rb") as file:
        return file.read(16).startswith(_BEGINNINGS)


def rejects_path(path: str, out: str) -> Path:
    """The file for rejects: beside the output, else beside the input, else in this folder."""
    if out != "-" and (not Path(out).exists() or Path(out).is_file()):
        return Path(out + REJECTS_ENDING)
    return Path(("stdin" if path == "-" else split_location(path)[0]) + REJECTS_ENDING)


def targets(paths: Sequence[str], out: str | None, ending: str = "") -> list[str]:
    """The output file of each of ``paths``; its name has the ``ending``, if one is given.

    No ``out``: beside the input, ``words.csv.gz`` as ``words.converted.csv.gz``, stdin to
    stdout. A folder: there, under the input's name. Else ``out`` itself, for a single input.

    Raises:
        UsageError: several inputs and no folder, or two outputs of one name, or an output that
            is an input.
    """
    if out is not None and files.is_stdout(out):
        out = "-"
    if out is None:
        found = [_beside(path, ending) for path in paths]
    elif out != "-" and Path(out).is_dir():
        if "-" in paths:
            raise UsageError(f"{out} is a folder, but stdin has no name: give a file or -")
        found = [str(Path(out) / Path(path).name) for path in paths]
    elif len(paths) > 1:
        raise UsageError(f"{len(paths)} files cannot go to '{out}': give a folder that exists")
    elif out.endswith(os.sep):
        raise UsageError(f"{out}: there is no such folder; make it, or give the name of a file")
    else:
        found = [out]
    rejects = [
        str(rejects_path(path, split_location(name)[0]))
        for path, name in zip(paths, found, strict=True)
    ]
    written = [*found, *rejects]
    for name, times in Counter(split_location(one)[0] for one in written).items():
        if times > 1:
            raise UsageError(f"{times} inputs would be written to '{name}': convert them apart")
    inputs = {os.path.realpath(split_location(path)[0]) for path in paths if path != "-"}
    for name in written:
        if name != "-" and os.path.realpath(split_location(name)[0]) in inputs:
            what = f"{name} is an input and would be overwritten"
            raise UsageError(f"{what}: give another {argument('out')}")
    return found


def _beside(path: str, ending: str) -> str:
    if path == "-":
        return "-"
    target = Path(plain_location(path))
    if not target.name:  # a folder, or nothing: the reader refuses it
        return f"{path}.converted"
    name = Path(unpacked_name(target))
    suffix = ending or name.suffix
    return str(target.with_name(f"{name.stem}.converted{suffix}{packed_ending(path)}"))
