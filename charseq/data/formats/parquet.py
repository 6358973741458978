"""path -> rows of a Parquet file, by pyarrow (``charseq[parquet]``); also as .gz.

It knows no other format. Rows come as everywhere (see ``rows``), with the record batch they came
from, so that a writer can leave the other columns alone.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import itertools
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any, cast

from charseq.data.formats import rows
from charseq.data.formats.rows import Row, Table, Window
from charseq.errors import DataError, MissingExtraError, UsageError


def arrow(purpose: str, name: str = "pyarrow") -> Any:
    """The module ``name`` of pyarrow, loaded when it is first needed.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet", purpose) from None


def read(path: str) -> Table:
    """Open a Parquet file; one in a .gz is unpacked to a temporary file first.

    Raises:
        UsageError: a pipe, in which a Parquet file cannot be read from its end.
        DataError: no such file, half a .gz, or no Parquet.
        MissingExtraError: pyarrow is not installed.
    """
    if path == "-":
        raise UsageError("Parquet is read from a file, not from stdin")
    module = arrow("reading Parquet", "pyarrow.parquet")
    with contextlib.ExitStack() as stack:
        try:
            packed = path.lower().endswith(".gz")
            file = stack.enter_context(_unpacked(path)) if packed else path
            source = stack.enter_context(module.ParquetFile(file))
        except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
            what = f"the .gz is damaged or incomplete ({fault})"
            raise DataError(what, path=path) from None
        except (OSError, ValueError) as fault:
            what = f"cannot be read as Parquet: {_reason(fault)}"
            raise DataError(what, path=path) from None
        header = tuple(source.schema_arrow.names)
        windows = _batches(source, header, path, stack.pop_all())
    return Table(path, "parquet", header, windows, source=source)


def _unpacked(path: str) -> Any:
    """The bytes inside a .gz as a file that can be read from its end; it goes when closed."""
    file = tempfile.TemporaryFile()  # noqa: SIM115, it is closed by whoever reads it
    try:
        with gzip.open(path, "rb") as packed:
            shutil.copyfileobj(packed, file)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _batches(
    source: Any, header: tuple[str, ...], path: str, opened: contextlib.ExitStack
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
            found = [Row(number + i, row, header) for i, row in enumerate(cells)]
            yield Window(found, batch)
            number += len(found)


def _values(column: Any) -> list[Any]:
    """Text and plain numbers as Python values, other types as pyarrow's scalars."""
    # Some values (far dates, nanoseconds) have no like in Python, and nobody may ever ask.
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


def _reason(fault: Exception) -> str:
    number = getattr(fault, "errno", None)
    return os.strerror(number) if number else " ".join(str(fault).split())
