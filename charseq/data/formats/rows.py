"""Rows, windows, tables and the Format class: the terms in which files and the rest talk.

A :class:`Format` reads a file as a :class:`Table` of rows and writes the same rows with new
columns. Everyone else asks a format for the facts below and never compares names of formats. This
module opens no file and knows no format.
"""

from __future__ import annotations

import abc
import copy
import datetime as dt
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, BinaryIO, ClassVar, NamedTuple, Self

from charseq.data.formats.opening import BOM, UTF8, Source, stored
from charseq.errors import DataError, argument

WINDOW = 4096
"""Rows in a window, at most."""
WINDOW_BYTES = 4 * 2**20
"""Bytes of a window; its last row may go beyond."""

COMMENTS = (b"#", b";;;")
"""Beginnings of comments."""

MAX_WHOLE = 2**53
"""Whole numbers below are exact in a float, and written by their digits."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class Row(NamedTuple):
    """One row as it stands in the file.

    ``line``: the line where the row starts, from 1; in tables without lines the row's number.
    ``cells``: strings, or values of other types where the format has them; ``()`` for a blank line.
    ``names``: the cells' names where the file itself gives them to each row (JSON Lines, Parquet);
    else ``()``, and :attr:`Table.header` has the names if there are any.
    ``raw``: the row's bytes with its line end and byte order mark; empty in binary formats.
    ``fault``: the reason why the row could not be read, if faulty rows were asked for; ``cells``
    is ``()`` then.
    """

    line: int
    cells: tuple[Any, ...]
    names: tuple[str, ...] = ()
    raw: bytes = b""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive rows, and about how many ``bytes`` they have in the file.

    ``batch`` is the ``pyarrow.RecordBatch`` they came from, if any.
    """

    rows: Sequence[Row]
    batch: Any = None
    bytes: int = 0


@dataclass(frozen=True)
class Table:
    """An opened file. Iterate once over either ``windows`` or ``rows``.

    ``path``: as shown to people ("stdin" for "-"). ``format``: the format that opened the file.
    ``header``: the columns' names; None without a header row, and where each row has keys.
    ``header_row``: the header as a row of its own; it is not among the rows. ``preamble``: rows
    before the header or the first row that are none, such as comments; not among the rows either.
    ``source``: the opened object that the format needs for writing, such as a ``ParquetFile``.
    ``note``: choices that people should know of, such as the sheet that is read; mostly "".
    """

    path: str
    format: Format
    header: tuple[str, ...] | None
    windows: Iterator[Window]
    header_row: Row | None = None
    source: Any = None
    note: str = ""
    preamble: tuple[Row, ...] = ()

    @property
    def rows(self) -> Iterator[Row]:
        """The rows one by one, without the header."""
        return (row for window in self.windows for row in window.rows)

    def watched(self, watch: Watch | None) -> Self:
        """The same table; ``watch`` gets the rows and the bytes of each window that is read."""
        if watch is None:
            return self
        return replace(self, windows=_watched(self.windows, watch))


Watch = Callable[[int, int], None]
"""Gets numbers of rows, and the bytes that they take in their file."""
Write = Callable[[Window, Sequence[Sequence[str] | None]], None]
"""``write(window, values)``: one entry a row, the texts of its new columns; None keeps the row."""


class Format(abc.ABC):
    """A file format. A subclass, registered in ``reader.FORMATS``, is all that a format needs.

    Formats of text lines start from :class:`charseq.data.formats.lines.TextFormat`.
    """

    name: ClassVar[str]
    """The word for ``--format``."""
    title: ClassVar[str]
    """The name in sentences."""
    endings: ClassVar[tuple[str, ...]] = ()
    """Endings of file names, in lower case, with the dot; ``.gz`` may follow."""
    has_columns: ClassVar[bool] = True
    """False: each row is one text, and a conversion replaces it (plain text)."""
    may_have_header: ClassVar[bool] = False
    """The first row may name the columns."""
    expects_header: ClassVar[bool] = False
    """Files of the format usually have a header, so people are told of one that has none."""
    cuts_prose: ClassVar[bool] = False
    """Cells are cut at a sign of prose (a comma), so a comment may have as many cells as a row."""
    has_keys: ClassVar[bool] = False
    """Each row names its own cells, in an order of its own."""
    has_lines: ClassVar[bool] = True
    """A place in the file is a line (or a row of a sheet), and a message may name it."""
    one_line_cells: ClassVar[bool] = False
    """Tabs and line ends in new cells are written as spaces."""
    holds_pairs: ClassVar[bool] = False
    """Each row is a source and a target, perhaps with a weight: a dictionary, not a table."""
    recognised: ClassVar[str] = ""
    """What people are told of a file of this format, where not they have named the format."""
    odd: tuple[str, ...] = ()
    """Of a recognised file: its first lines that do not fit the others, each once."""
    packs_itself: ClassVar[bool] = False
    """Output is compressed inside and never written as ``.gz``."""
    encoding: str = UTF8
    """The encoding of a file of text."""

    def recognise(self, sample: Sequence[str], name: str) -> Self | None:  # noqa: ARG002
        """The format as it is in a file of it, whose name tells no format, or several; else None.

        ``sample``: the first lines of the file that are not blank, at least one. ``name``: the
        file's name in lower case, without the ending of a packed file.
        """
        return None

    def with_odd(self, odd: tuple[str, ...]) -> Self:
        """The format as it is in a file with these odd lines."""
        found = copy.copy(self)
        found.odd = odd
        return found

    @abc.abstractmethod
    def read(self, source: Source, *, faulty: bool) -> Table:
        """Open a file; its header, if any, comes as a row (see ``headers``).

        Args:
            source: the file.
            faulty: give a row that cannot be read as a row with a ``fault``.

        Raises:
            UsageError: the format cannot be read from a pipe.
            DataError: with path and line: the file cannot be read.
            MissingExtraError: a package is not installed.
        """

    def stored(self, raw: bytes) -> bytes:
        """The ``raw`` bytes of rows, or a new text in UTF-8, as they are in the file.

        Raises:
            UnicodeEncodeError: a character that the file's encoding does not have.
        """
        return stored(raw, self.encoding)

    @abc.abstractmethod
    def append(
        self,
        table: Table,
        file: BinaryIO,
        names: Sequence[str],
        positions: Sequence[int | None],
        *,
        force: bool,
    ) -> AbstractContextManager[Write]:
        """A function that writes the rows of ``table`` to ``file`` with new columns.

        Args:
            table: an opened table of this format.
            file: the bytes are written here, in one pass.
            names: the new columns.
            positions: for each new column the position of the column that it replaces; None: the
                new column is added at the end.
            force: replace cells of the same name where rows have keys.

        Raises:
            DataError: rows have a key of ``names`` without ``force``, or a text cannot be written.
        """


def is_comment(row: Row) -> bool:
    """Whether a row begins as comments do. Such a row may be data: see ``headers``."""
    return row.raw.removeprefix(BOM).startswith(COMMENTS)


def _watched(windows: Iterator[Window], watch: Watch) -> Iterator[Window]:
    for window in windows:
        yield window
        watch(len(window.rows), window.bytes)


def group(rows: Iterator[Row]) -> Iterator[Window]:
    """Rows -> windows of up to ``WINDOW`` rows and about ``WINDOW_BYTES`` bytes."""
    held: list[Row] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row.raw)
        if len(held) >= WINDOW or size >= WINDOW_BYTES:
            yield Window(held, bytes=size)
            held, size = [], 0
    if held:
        yield Window(held, bytes=size)


def locate(column: str | int, names: Sequence[str], width: int) -> int:
    """The position (from 0) of the column called ``column``, else of that number (from 1).

    A name in another case is found where no column has the very name, before a number. An int is
    always a number. ``names`` may be empty; ``width`` is the number of columns.

    Raises:
        DataError: no such column, or several of that name (the caller adds path and line).
    """
    wanted = str(column)
    found = [i for i, name in enumerate(names) if name == column]
    if not found and isinstance(column, str):
        found = [i for i, name in enumerate(names) if name.lower() == column.lower()]
    if len(found) > 1:
        raise DataError(f"{len(found)} columns are named '{wanted}': give a column's number")
    if found:
        return found[0]
    if wanted.isascii() and wanted.isdigit() and 1 <= int(wanted) <= width:
        return int(wanted) - 1
    expected = f"only {count_columns(width)} and no header"
    if names:
        expected = "expected one of " + ", ".join(f"'{name}'" for name in names)
    raise DataError(f"no column '{wanted}': {expected}")


def column_taken(name: str) -> DataError:
    """The error that a new column has the name of an old one."""
    return DataError(
        f"there is a column '{name}': name another with {argument('to')}, or replace it with "
        f"{argument('force', True)}"
    )


def text_of(value: Any) -> str:
    """A cell as text: strings as they are, null as "", whole numbers by their digits.

    Dates, times and decimal numbers are texts as well, be they scalars of Arrow. Half a surrogate
    pair, which JSON can hold and UTF-8 cannot, becomes U+FFFD.

    Raises:
        DataError: any other type (the caller adds path and line).
    """
    if isinstance(value, str):
        whole = value.isascii() or not _SURROGATE.search(value)
        return value if whole else _SURROGATE.sub("\ufffd", value)
    if value is None:
        return ""
    if isinstance(value, bytes):
        raise DataError("bytes, expected text in UTF-8")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, dt.date | dt.time | dt.timedelta | Decimal):
        return str(typed_text(value))
    if hasattr(value, "as_py"):  # a scalar of Arrow is converted when it is asked for
        try:
            return text_of(value.as_py())
        except (ValueError, OverflowError):  # Python's dates end with the year 9999
            raise DataError(f"a {value.type} out of the range of dates, expected text") from None
    raise DataError(f"a value of type {type(value).__name__}, expected text")


def typed_text(value: Any) -> Any:
    """A cell of a typed column as text; lists and other values that are no single cell stay.

    Truth values are TRUE and FALSE, NaN is empty, a whole number has no decimals (integers beside
    nulls are often stored as floats), and midnight without a zone is a day.
    """
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value) if value.is_integer() and abs(value) < MAX_WHOLE else value)
    if isinstance(value, dt.datetime):
        return str(value.date() if is_day(value) else value)
    if isinstance(value, dt.timedelta):
        return str(
            dt.timedelta(value.days, value.seconds, value.microseconds)
        )  # not as pandas does
    if isinstance(value, int | dt.date | dt.time | Decimal):
        return str(value)
    return value


def cell_text(value: Any) -> Any:
    """A cell as text; lists and other values that are no single cell stay as they are."""
    if isinstance(value, str):
        return value
    return "" if is_missing(value) else typed_text(value)


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: None, NaN, or a null of pandas, which is not imported for it."""
    is_nan = isinstance(value, float) and math.isnan(value)
    return is_nan or value is None or type(value).__name__ in ("NAType", "NaTType")


def is_day(value: dt.datetime) -> bool:
    """Whether a point in time is midnight, without a zone."""
    is_midnight = value.time() == dt.time() and not getattr(value, "nanosecond", 0)  # of pandas
    return is_midnight and value.tzinfo is None


def count_columns(count: int) -> str:
    """A number of columns, in words."""
    return f"{count} column" if count == 1 else f"{count} columns"
