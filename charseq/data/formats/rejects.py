"""rows that cannot be read -> FILE.rejects.jsonl, a line for each: nothing is lost silently.

    {"line": 3, "offset": 17, "reason": "byte 0xe9 at column 1 is not UTF-8", "raw": "6Q=="}

``line`` is counted from 1, ``offset`` is that of the row's first byte in the (unpacked) input,
``raw`` are the row's own bytes in Base64, with their line end. Of Parquet there are no bytes:
``offset`` is null, ``raw`` is empty and ``line`` the number of the row.

The file appears with its last line, or not at all; it knows no formats and no models.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from charseq.errors import DataError

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
