"""Parquet, by pyarrow (the extra ``parquet``), as a stream of record batches; also read as .gz.

``names`` are the columns of a row and ``cells`` the values as Python types. A window carries the
record batch that its rows came from, and a conversion writes that batch with more columns, so
types, schema, metadata and compression of the other columns stay as they are.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from charseq.data.formats import rows
from charseq.data.formats.opening import (
    Source,
    open_seekable,
    packed_ending,
    reading,
    refuse_stdin,
)
from charseq.data.formats.rows import Format, Row, Table, Window, Write
from charseq.errors import AccessError, DataError, MissingExtraError

ROW_GROUP = 2**16
ROW_GROUP_BYTES = 64 * 2**20
BUFFER_BYTES = 2**20
"""Bytes of each column that are fetched from the file at a time."""
CODED_BYTES = 2**14
"""Bytes of a text, assumed where a dictionary hides how long the texts are."""
CODECS = {"SNAPPY", "GZIP", "BROTLI", "ZSTD"}


class Parquet(Format):
    """Parquet: typed columns, streamed."""

    name = "parquet"
    title = "Parquet"
    endings = (".parquet", ".pq")
    has_lines = False
    packs_itself = True

    def read(self, source: Source, *, faulty: bool) -> Table:  # noqa: ARG002
        """Open a Parquet file; see :meth:`Format.read`."""
        path = source.path
        refuse_stdin(path, self.title)
        module = arrow("reading Parquet", "pyarrow.parquet")
        with contextlib.ExitStack() as stack:
            file: BinaryIO | str = path
            if packed_ending(path):
                with reading(path):
                    file = stack.enter_context(open_seekable(path))
            try:
                # streamed: by default whole row groups are fetched
                opened = stack.enter_context(
                    module.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER_BYTES)
                )
            except (OSError, ValueError) as fault:
                raise _fault("cannot be read as Parquet", fault, path) from None
            names = tuple(opened.schema_arrow.names)
            windows = _batches(opened, names, path, stack.pop_all())
        return Table(path, self, names, windows, source=opened)

    @contextmanager
    def append(
        self,
        table: Table,
        file: BinaryIO,
        names: Sequence[str],
        positions: Sequence[int | None],
        *,
        force: bool,  # noqa: ARG002
    ) -> Iterator[Write]:
        """Write record batches with more columns of strings; see :meth:`Format.append`."""
        pyarrow = arrow("writing Parquet")
        held: list[Any] = []
        count = size = 0

        def flush() -> None:
            nonlocal count, size
            if held:
                writer.write_table(pyarrow.concat_tables(held))
                held.clear()
                count = size = 0

        def write(window: Window, values: Sequence[Sequence[str] | None]) -> None:
            nonlocal count, size
            part = with_texts(pyarrow.Table.from_batches([window.batch]), names, positions, values)
            held.append(part)
            count, size = count + part.num_rows, size + part.nbytes
            if count >= ROW_GROUP or size >= ROW_GROUP_BYTES:
                flush()

        schema = with_texts(table.source.schema_arrow.empty_table(), names, positions, []).schema
        parquet = arrow("writing Parquet", "pyarrow.parquet")
        with parquet.ParquetWriter(file, schema, compression=_codec(table.source)) as writer:
            yield write
            flush()


def with_texts(
    table: Any,
    names: Sequence[str],
    positions: Sequence[int | None],
    values: Sequence[Sequence[str] | None],
) -> Any:
    """A pyarrow Table with more columns of strings; see :meth:`Format.append`."""
    pyarrow = arrow("writing Parquet")
    for i, (name, position) in enumerate(zip(names, positions, strict=True)):
        texts = pyarrow.array([row[i] if row else None for row in values], pyarrow.string())
        if position is None:
            table = table.append_column(name, texts)
        else:
            table = table.set_column(position, name, texts)
    return table


def arrow(purpose: str, name: str = "pyarrow") -> Any:
    """The module ``name`` of pyarrow, loaded when it is first needed.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError("pyarrow", purpose) from None


def _batches(
    source: Any, names: tuple[str, ...], path: str, opened: contextlib.ExitStack
) -> Iterator[Window]:
    number = 1
    with opened:
        batches = source.iter_batches(batch_size=_batch_rows(source.metadata))
        while True:
            try:
                batch = next(batches, None)
                if batch is None:
                    return
                batch = _with_own_dictionaries(batch)
            except (OSError, ValueError) as fault:
                raise _fault("damaged Parquet", fault, path) from None
            columns = [column_cells(column) for column in batch.columns]
            cells = zip(*columns, strict=True) if columns else itertools.repeat((), batch.num_rows)
            found = [Row(number + i, row, names) for i, row in enumerate(cells)]
            yield Window(found, batch, batch.nbytes)
            number += len(found)


def _batch_rows(metadata: Any) -> int:
    """Rows of a batch: about ``WINDOW_BYTES`` bytes, as far as the file tells it in advance."""
    widest = 1
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        width = 0
        for chunk in map(group.column, range(group.num_columns)):
            width += chunk.total_uncompressed_size // max(group.num_rows, 1)
            facts = chunk.statistics
            if chunk.has_dictionary_page and chunk.physical_type == "BYTE_ARRAY":
                is_told = facts is not None and facts.has_min_max
                longest = max(len(facts.min_raw), len(facts.max_raw)) if is_told else CODED_BYTES
                width += min(longest, chunk.total_uncompressed_size)
        widest = max(widest, width)
    return max(1, min(rows.WINDOW, rows.WINDOW_BYTES // widest))


def _with_own_dictionaries(batch: Any) -> Any:
    """The batch with dictionaries of only those values that it has.

    Arrow gives each batch a copy of the dictionary of the whole row group.
    """
    pyarrow = arrow("reading Parquet")
    for i, column in enumerate(batch.columns):
        if pyarrow.types.is_dictionary(column.type) and len(column.dictionary) > len(column):
            own = column.dictionary_decode().dictionary_encode()
            indices = own.indices.cast(column.type.index_type)
            new = pyarrow.DictionaryArray.from_arrays(
                indices, own.dictionary, ordered=column.type.ordered
            )
            batch = batch.set_column(i, batch.schema.field(i), new)
    return batch


def column_cells(column: Any) -> list[Any]:
    """Text, integers and lists of text as Python values, other types as pyarrow's scalars.

    ``column``: an Array or a ChunkedArray.

    Floats and truth values are texts. A text that is not UTF-8 stays bytes, so that only its own
    row is refused.
    """
    # Some values (far dates, nanoseconds) have no like in Python, and mostly nobody asks for them.
    types = arrow("reading Parquet").types
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if types.is_floating(kind) or types.is_boolean(kind):
        return list(map(rows.typed_text, column.to_pylist()))
    if types.is_list(kind) or types.is_large_list(kind):
        kind = kind.value_type
    plain = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_integer,
        types.is_null,
    )
    if not any(is_(kind) for is_ in plain):
        return [*column]
    try:
        return cast(list[Any], column.to_pylist())
    except UnicodeDecodeError:
        return [_text_or_bytes(value) for value in column]


def _text_or_bytes(value: Any) -> Any:
    """The value of a scalar of text; bytes where they are not UTF-8."""
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return value.cast(arrow("reading Parquet").binary()).as_py()


def _codec(source: Any) -> str:
    metadata = source.metadata
    if not metadata.num_row_groups or not metadata.row_group(0).num_columns:
        return "snappy"
    name = str(metadata.row_group(0).column(0).compression)
    if name == "UNCOMPRESSED":
        return "none"
    return name.lower() if name in CODECS else "snappy"


def _fault(what: str, fault: Exception, path: str) -> DataError:
    number = getattr(fault, "errno", None)
    if number:
        return AccessError(f"{what}: {os.strerror(number)}", path=path)
    return DataError(f"{what}: {' '.join(str(fault).split())}", path=path)
