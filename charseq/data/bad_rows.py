"""Rows of a file that are no pair: told all at once, or passed over, counted and kept in a file.

    bad = BadRows("skip", path, rejects)
    bad.add(row, "the source is empty")
    note = bad.finish(good=27_999)

``stop`` collects them and :meth:`BadRows.finish` raises one error that lists the first
:data:`LISTED`. ``skip`` passes over them; with ``rejects`` they are kept with their bytes, one JSON
object a line, as a conversion keeps its rejected rows (see ``charseq.data.formats.writer``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from charseq.data.formats.rows import Row, Table
from charseq.data.formats.sqlite import split_location
from charseq.data.formats.writer import REJECTS_ENDING, Rejects, rejecting
from charseq.errors import DataError, argument

SKIP_HINT = f": {argument('bad_rows', 'skip')} passes over such rows"
EMPTY_TARGET = "the target is empty"
REFUSED_TARGET = "the target is 'no answer'"
"""In a review file, where that takes the place of an empty target."""
EMPTY_HINT = f", {argument('empty_targets', True)} takes an empty target as no answer"
LISTED = 20
"""Bad rows that a message lists."""


class BadRows:
    """The bad rows of one file."""

    def __init__(self, mode: str, path: Path, rejects: Rejects | None = None) -> None:
        """``mode`` is "stop" or "skip"; ``rejects`` keeps the rows that are passed over."""
        self.count = 0
        self._skips = mode == "skip"
        self._path = path
        self._rejects = rejects if self._skips else None
        self._first: list[tuple[int, str]] = []
        self._offset = 0
        self._raw = b""

    def passing(self, table: Table) -> Iterator[Row]:
        """The rows of a table that was not read yet; :meth:`add` is for the last one given."""
        if self._rejects is None:
            yield from table.rows
            return
        stored = table.format.stored
        lead = [*table.preamble, *([] if table.header_row is None else [table.header_row])]
        self._offset = sum(len(stored(row.raw)) for row in lead)
        for row in table.rows:
            self._raw = stored(row.raw)
            yield row
            self._offset += len(self._raw)

    def add(self, row: Row, reason: str) -> None:
        """Count a row.

        Raises:
            AccessError: the file of rejects cannot be written.
        """
        self.count += 1
        if len(self._first) < LISTED:
            self._first.append((row.line, reason))
        if self._rejects is not None:
            offset = self._offset if row.raw else None
            self._rejects.add(row.line, offset, reason, self._raw, file=self._path.name)

    def finish(self, *, good: int) -> str:
        """A note on the rows that were passed over, or "".

        Raises:
            DataError: with path and line of the first: there are bad rows and the mode is "stop",
                or there are no ``good`` rows beside them.
        """
        if not self.count:
            return ""
        line, reason = self._first[0]
        if not self._skips or not good:
            raise DataError(self._message(good=good), path=self._path, line=line)
        kept = "" if self._rejects is None else f"; see {self._rejects.path}"
        total = f"{self.count:,} of {self.count + good:,} rows skipped"
        return f"{total}, the first in line {line}: {reason}{kept}"

    def _message(self, *, good: int) -> str:
        text = reason = self._first[0][1]
        if self.count > 1:
            others = "; ".join(
                f"line {place}" + ("" if why == reason else f": {why}")
                for place, why in self._first[1:]
            )
            more = self.count - len(self._first)
            text += (
                f" ({self.count:,} such rows, also {others}" + f"; {more:,} more" * (more > 0) + ")"
            )
        if not good:
            return text
        emptied = any(why in (EMPTY_TARGET, REFUSED_TARGET) for _, why in self._first)
        return text + SKIP_HINT + (EMPTY_HINT if emptied else "")


@contextmanager
def rejects_beside(data: str | Path, mode: str) -> Iterator[Rejects | None]:
    """The file for rejects beside a folder or file of data; None with the mode "stop".

    Raises:
        UsageError, AccessError: it cannot be written.
    """
    if mode != "skip":
        yield None
        return
    place = Path(split_location(data)[0])  # of an SQLite table: its database
    with rejecting(place.with_name(place.resolve().name + REJECTS_ENDING)) as rejects:
        yield rejects
