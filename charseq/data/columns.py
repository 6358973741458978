"""rows -> the texts that a model reads: the columns of a conversion.

``column`` is a name of the header, else a number counted from 1; by default the column named
``source`` if there is one, in any case, else the first. A model with features reads two
("lemma,features", "1,2"), by default ``source`` and ``features``, else the first two. A list of
features, as JSON has them, is joined by the separator of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from charseq.data.formats.headers import roles_among
from charseq.data.formats.rows import Row, Table, Window, locate, text_of
from charseq.data.formats.writer import Rejected, Rejects
from charseq.errors import DataError, UsageError

Texts = Sequence[str | Rejected | None]
"""The texts of the rows of a window; None for a blank line."""

MAX_KEYED = 64
"""Lists of keys whose positions are remembered."""
MAX_KEYS = 1024
"""Keys of such a list, at most."""
MAX_LETTERS = 16_384
"""Letters of such a list, at most."""


def column_names(column: str | int | None, *, features: bool) -> list[str]:
    """The names among the labels in ``column``: those that are no numbers."""
    labels = [] if column is None else str(column).split(",") if features else [str(column)]
    return [label for label in labels if not (label.isascii() and label.isdigit())]


def column_reader(
    table: Table,
    column: str | int | None,
    *,
    features: bool,
    separator: str = ";",
    report: Callable[[str], None] = lambda _: None,
) -> Callable[[Row], str | None]:
    """A function from a row to the model's text ("" if there is none; None: a blank line).

    ``separator`` joins the features of a list. ``report`` gets a line on the columns that are read.

    Raises:
        (at once if there is a header, else at a row)
        UsageError: another number of columns than the model reads.
        DataError: with path and line: no such column.
        Rejected: this row alone has no such key, no text there, or a tab in it where features are
            read.
    """
    count = 2 if features and table.format.has_columns else 1
    labels = _labels(column, table.header, count) if table.header is not None else []
    for label in labels:  # a wrong one is told at once
        line = table.header_row.line if table.header_row else None
        _position(table, label, table.header or (), len(table.header or ()), line)

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
            if not known:
                report(describe_columns(table, row, positions))
            _remember(known, row.names, positions)
        if is_single and type(text := cells[positions[0]]) is str and text.isascii():
            return text
        try:
            return _text(cells, positions, features=features, separator=separator)
        except DataError as fault:
            raise Rejected(fault.message) from None

    return read


def read_texts(
    table: Table, read_text: Callable[[Row], str | None], rejects: Rejects
) -> Iterator[tuple[Window, Texts]]:
    """Each window with its rows' texts; rows that cannot be read go to ``rejects``."""
    stored = table.format.stored
    lead = [*table.preamble, *filter(None, [table.header_row])]
    offset = sum(len(stored(row.raw)) for row in lead)
    for window in table.windows:
        texts: list[str | Rejected | None] = []
        for row in window.rows:
            raw = stored(row.raw)
            try:
                if row.fault:
                    raise Rejected(row.fault)
                texts.append(read_text(row))
            except Rejected as fault:
                rejects.add(row.line, offset if raw else None, fault.message, raw)
                texts.append(fault)
            offset += len(raw)
        yield window, texts


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


def describe_columns(table: Table, row: Row, positions: Sequence[int]) -> str:
    """The columns that are read, such as ``column 2 (ordered on)``; "" where there are none."""
    if not table.format.has_columns:
        return ""
    names = () if table.format.recognised else table.header or row.names
    if table.format.has_keys:
        return ", ".join(f"key '{names[position]}'" for position in positions)
    return ", ".join(
        f"column {position + 1}" + (f" ({names[position]})" if names else "")
        for position in positions
    )


def features_text(value: Any, separator: str) -> str:
    """The features of a cell as text; a list of them is joined by ``separator``.

    Raises:
        DataError: another type, or an item with the separator in it (the caller adds path and
            line).
    """
    if not isinstance(value, list):
        return text_of(value)
    items = [text_of(item) for item in value]
    for item in items:
        if separator in item:
            raise DataError(
                f"the feature '{item[:40]}' has '{separator}' in it, which joins the features of a "
                "list: set feature_separator to another sign"
            )
    return separator.join(items)


def _text(cells: Sequence[Any], positions: Sequence[int], *, features: bool, separator: str) -> str:
    """Source, tab, features; "" without a source. Raises DataError, as :func:`column_reader`."""
    parts = [text_of(cells[position]) for position in positions[:1]]
    parts += [features_text(cells[position], separator) for position in positions[1:]]
    if len(parts) > 1:
        for part, what in zip(parts, ("source", "features"), strict=True):
            if "\t" in part:
                raise DataError(
                    f"a tab in the {what}, which a model with features cannot tell apart"
                )
    text = "\t".join(parts)
    if features and len(parts) == 1 and text and text.count("\t") != 1:
        raise DataError(f"{text.count(chr(9))} tabs, expected one, between source and features")
    return "" if features and text.startswith("\t") else text


def _labels(column: str | int | None, names: Sequence[str], count: int) -> list[str | int]:
    """The labels of the ``count`` columns to read: names, or numbers from 1."""
    if column is not None:
        given = str(column).split(",") if count > 1 else [str(column)]
        if len(given) != count:
            raise UsageError(f"column is '{column}', expected SOURCE,FEATURES for this model")
        return list(given)
    found = roles_among(names)
    roles = ("source", "features")[:count]
    if all(role in found for role in roles) and len(set(names)) == len(names):
        return [names[found[role]] for role in roles]
    # Names if possible, not numbers: keys of JSON may change their order.
    first = list(names[:count])
    return list(first) if len(set(names)) == len(names) >= count else list(range(1, count + 1))
