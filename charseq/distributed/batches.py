"""batch of an engine -> names, cells of some columns, and the same batch with more columns.

The packages of the batches are not imported here: a batch of their types shows that they are
loaded. Only the columns that are asked for become objects of Python.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from charseq.arguments import shown_value
from charseq.data.formats.parquet import arrow, column_cells, with_texts
from charseq.data.formats.rows import cell_text, column_taken
from charseq.data.frames import frame_columns, frame_rows, is_frame, with_columns
from charseq.errors import ArgumentError

Rows = Sequence[tuple[str, ...]]
"""New cells of each row."""


class RowBatch(ABC):
    """Rows with named columns, of one library."""

    def __init__(self, rows: Any) -> None:
        """A batch of a type that the class is for."""
        self.rows = rows

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """The names of the columns."""

    @abstractmethod
    def columns(self, positions: Sequence[int]) -> list[list[Any]]:
        """The cells of the columns at these positions, for ``charseq.data.columns``."""

    @abstractmethod
    def extended(self, names: Sequence[str], read: list[Any], rows: Rows, *, force: bool) -> Any:
        """A new batch with more columns of texts.

        Args:
            names: the new columns.
            read: the cells of the first column that was read.
            rows: the new cells of each row.
            force: replace columns that have these names.

        Raises:
            DataError: there is a column of such a name, without ``force``.
        """

    def _check(self, names: Sequence[str], *, force: bool) -> None:
        for name in names:
            if name in self.names and not force:
                raise column_taken(name)


class PandasBatch(RowBatch):
    """A pandas DataFrame; the index stays, and a null has null answers."""

    @property
    def names(self) -> list[str]:
        """The names of the columns, as texts."""
        return list(map(str, self.rows.columns))

    def columns(self, positions: Sequence[int]) -> list[list[Any]]:
        """The cells as texts; see :meth:`RowBatch.columns`."""
        return frame_columns(self.rows, positions)

    def extended(self, names: Sequence[str], read: list[Any], rows: Rows, *, force: bool) -> Any:
        """A copy with more columns, of one type whatever the batch holds."""
        made: Any = with_columns(self.rows, names, frame_rows(read, rows), force=force)
        kind = "object" if sys.modules["pandas"].__version__ < "3" else "str"
        return made.astype(dict.fromkeys(names, kind))  # dask wants the same in each partition


class ArrowBatch(RowBatch):
    """A pyarrow Table or RecordBatch."""

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.rows.schema.names)

    def columns(self, positions: Sequence[int]) -> list[list[Any]]:
        """The cells as Parquet has them; see :meth:`RowBatch.columns`."""
        return [column_cells(self.rows.column(position)) for position in positions]

    def extended(self, names: Sequence[str], read: list[Any], rows: Rows, *, force: bool) -> Any:  # noqa: ARG002
        """The same columns, not copied, and more of them; types and metadata stay."""
        self._check(names, force=force)
        old = self.rows.schema.names
        places = [old.index(name) if name in old else None for name in names]
        pyarrow = arrow("a batch of Arrow")
        if isinstance(self.rows, pyarrow.Table):
            return with_texts(self.rows, names, places, rows)
        made = with_texts(pyarrow.Table.from_batches([self.rows]), names, places, rows)
        chunks = [column.combine_chunks() for column in made.columns]
        return pyarrow.RecordBatch.from_arrays(chunks, schema=made.schema)


class PolarsBatch(RowBatch):
    """A Polars DataFrame."""

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.rows.columns)

    def columns(self, positions: Sequence[int]) -> list[list[Any]]:
        """The cells as texts; see :meth:`RowBatch.columns`."""
        found = (self.rows.to_series(position).to_list() for position in positions)
        return [list(map(cell_text, cells)) for cells in found]

    def extended(self, names: Sequence[str], read: list[Any], rows: Rows, *, force: bool) -> Any:  # noqa: ARG002
        """The same columns and more of them; see :meth:`RowBatch.extended`."""
        self._check(names, force=force)
        polars = sys.modules["polars"]
        columns = zip(*rows, strict=True) if rows else ((),) * len(names)
        return self.rows.with_columns(
            polars.Series(name, list(cells), dtype=polars.String)
            for name, cells in zip(names, columns, strict=True)
        )


def batch_of(given: object) -> RowBatch:
    """A batch of an engine.

    Raises:
        ArgumentError: of a type that no engine hands over.
    """
    if is_frame(given):
        return PandasBatch(given)
    pyarrow, polars = sys.modules.get("pyarrow"), sys.modules.get("polars")
    if pyarrow is not None and isinstance(given, pyarrow.Table | pyarrow.RecordBatch):
        return ArrowBatch(given)
    if polars is not None and isinstance(given, polars.DataFrame):
        return PolarsBatch(given)
    expected = "expected a pyarrow Table or RecordBatch, or a DataFrame of pandas or Polars"
    if isinstance(given, dict):
        expected += '; Ray Data hands over Tables with batch_format="pyarrow"'
    raise ArgumentError(f"the batch is {shown_value(given)}, {expected}")
