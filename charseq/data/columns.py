"""rows -> the texts that a model reads: the columns of a conversion.

``column`` is a name of the header, else a number counted from 1; by default the column named
``source`` if there is one, else the first. A model with features reads two ("lemma,features",
"1,2"), by default ``source`` and ``features``, else the first two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from charseq.data.formats.rows import Row, Table, locate, text_of
from charseq.data.formats.writer import Rejected
from charseq.errors import DataError, UsageError

MAX_KEYED = 64
"""Lists of keys whose positions are remembered."""
MAX_KEYS = 1024
"""Keys of such a list, at most."""
MAX_LETTERS = 16_384
"""Letters of such a list, at most."""


def column_reader(
    table: Table, column: str | int | None, *, features: bool
) -> Callable[[Row], str | None]:
    """A function from a row to the model's text ("" if there is none; None: a blank line).

    Raises:
        (at once if there is a header, else at a row)
        UsageError: another number of columns than the model reads.
        DataError: with path and line: no such column.
        Rejected: this row alone has no such key, or no text there.
    """
    count = 2 if features and table.format.has_columns else 1
    labels: list[str | int] = []
    if table.header is not None:
        labels = _labels(column, table.header, count)
        line = table.header_row.line if table.header_row else None
        for label in labels:
            _position(table, label, table.header, len(table.header), line)

    known: dict[tuple[str, ...], list[int]] = {}
    is_single = count == 1 and not features

    def positions_in(row: Row) -> list[int]:
        names = table.header or row.names
        may_lack_keys = bool(labels) and table.format.has_keys
        if not labels:
            labels.extend(_labels(column, names, count))
        try:
            return [_position(table, label, names, len(row.cells), row.line) for label in labels]
        except DataError as fault:
            if not may_lack_keys:
                raise
            raise Rejected(fault.message) from None

    def read(row: Row) -> str | None:
        cells = row.cells
        if not cells:
            return None
        positions = known.get(row.names)
        if positions is None:
            positions = positions_in(row)
            _remember(known, row.names, positions)
        if is_single and type(text := cells[positions[0]]) is str and text.isascii():
            return text
        try:
            return _join([text_of(cells[position]) for position in positions], features=features)
        except DataError as fault:
            raise Rejected(fault.message) from None

    return read


def _remember(
    known: dict[tuple[str, ...], list[int]], names: tuple[str, ...], positions: list[int]
) -> None:
    """Keep the positions of a list of keys, within limits: each row may have keys of its own."""
    if len(known) >= MAX_KEYED:
        known.clear()
    if len(names) <= MAX_KEYS and sum(map(len, names)) <= MAX_LETTERS:
        known[names] = positions


def _position(
    table: Table, label: str | int, names: Sequence[str], width: int, line: int | None
) -> int:
    try:
        return locate(label, names, width)
    except DataError as fault:
        raise fault.at(table.path, line) from None


def _join(parts: list[str], *, features: bool) -> str:
    """Source, tab, features; "" without a source."""
    if len(parts) > 1 and "\t" in parts[0]:
        raise DataError("a tab in the source, which a model with features cannot tell apart")
    text = "\t".join(parts)
    return "" if features and text.startswith("\t") else text


def _labels(column: str | int | None, names: Sequence[str], count: int) -> list[str | int]:
    """The labels of the ``count`` columns to read: names, or numbers from 1."""
    if column is not None:
        given = str(column).split(",") if count > 1 else [str(column)]
        if len(given) != count:
            raise UsageError(f"--column is '{column}', expected SOURCE,FEATURES for this model")
        return list(given)
    roles = ("source", "features")[:count]
    if all(role in names for role in roles):
        return list(roles)
    # Names if possible, not numbers: keys of JSON may change their order.
    first = list(names[:count])
    return list(first) if len(set(names)) == len(names) >= count else list(range(1, count + 1))
