"""Parquet, by pyarrow (``charseq[parquet]``), as a stream of record batches; also read as .gz.

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
from charseq.data.formats.lines import open_seekable, reading, refuse_stdin
from charseq.data.formats.rows import Format, Row, Table, Window, Write
from charseq.errors import DataError, MissingExtraError

ROW_GROUP = 2**16
ROW_GROUP_BYTES = 64 * 2**20
CODECS = {"SNAPPY", "GZIP", "BROTLI", "ZSTD"}


class Parquet(Format):
    """Parquet: typed columns, streamed."""

    name = "parquet"
    title = "Parquet"
    endings = (".parquet", ".pq")
    has_lines = False
    packs_itself = True

    def read(self, path: str, *, header: str, faulty: bool) -> Table:  # noqa: ARG002
        """Open a Parquet file; see :meth:`Format.read`."""
        refuse_stdin(path, self.title)
        module = arrow("reading Parquet", "pyarrow.parquet")
        with contextlib.ExitStack() as stack:
            file: BinaryIO | str = path
            if path.lower().endswith(".gz"):
                with reading(path):
                    file = stack.enter_context(open_seekable(path))
            try:
                source = stack.enter_context(module.ParquetFile(file))
            except (OSError, ValueError) as fault:
                message = f"cannot be read as Parquet: {_reason(fault)}"
                raise DataError(message, path=path) from None
            names = tuple(source.schema_arrow.names)
            windows = _batches(source, names, path, stack.pop_all())
        return Table(path, self, names, windows, source=source)

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
        columns = list(zip(names, positions, strict=True))
        held: list[Any] = []

        def widen(old: Any, values: Sequence[Sequence[str] | None]) -> Any:
            for i, (name, position) in enumerate(columns):
                texts = pyarrow.array([row[i] if row else None for row in values], pyarrow.string())
                if position is None:
                    old = old.append_column(name, texts)
                else:
                    old = old.set_column(position, name, texts)
            return old

        def flush() -> None:
            if held:
                writer.write_table(pyarrow.concat_tables(held))
                held.clear()

        def write(window: Window, values: Sequence[Sequence[str] | None]) -> None:
            held.append(widen(pyarrow.Table.from_batches([window.batch]), values))
            count, size = sum(part.num_rows for part in held), sum(part.nbytes for part in held)
            if count >= ROW_GROUP or size >= ROW_GROUP_BYTES:
                flush()

        schema = widen(table.source.schema_arrow.empty_table(), []).schema
        parquet = arrow("writing Parquet", "pyarrow.parquet")
        with parquet.ParquetWriter(file, schema, compression=_codec(table.source)) as writer:
            yield write
            flush()


def arrow(purpose: str, name: str = "pyarrow") -> Any:
    """The module ``name`` of pyarrow, loaded when it is first needed.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet", purpose) from None


def _batches(
    source: Any, names: tuple[str, ...], path: str, opened: contextlib.ExitStack
) -> Iterator[Window]:
    number = 1
    with opened:
        batches = source.iter_batches(batch_size=rows.WINDOW)
        while True:
            try:
                batch = next(batches, None)
            except (OSError, ValueError) as fault:
                raise DataError(f"damaged Parquet: {_reason(fault)}", path=path) from None
            if batch is None:
                return
            columns = [_values(column) for column in batch.columns]
            cells = zip(*columns, strict=True) if columns else itertools.repeat((), batch.num_rows)
            found = [Row(number + i, row, names) for i, row in enumerate(cells)]
            yield Window(found, batch)
            number += len(found)


def _values(column: Any) -> list[Any]:
    """Text and plain numbers as Python values, other types as pyarrow's scalars."""
    # Some values (far dates, nanoseconds) have no like in Python, and mostly nobody asks for them.
    types = arrow("reading Parquet").types
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    plain = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_integer,
        types.is_floating,
        types.is_boolean,
        types.is_null,
    )
    return cast(list[Any], column.to_pylist()) if any(is_(kind) for is_ in plain) else [*column]


def _codec(source: Any) -> str:
    metadata = source.metadata
    if not metadata.num_row_groups or not metadata.row_group(0).num_columns:
        return "snappy"
    name = str(metadata.row_group(0).column(0).compression)
    if name == "UNCOMPRESSED":
        return "none"
    return name.lower() if name in CODECS else "snappy"


def _reason(fault: Exception) -> str:
    number = getattr(fault, "errno", None)
    return os.strerror(number) if number else " ".join(str(fault).split())
