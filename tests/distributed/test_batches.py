"""Batches of pandas, Arrow and Polars give their columns and take new ones, and nothing else."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from charseq.distributed.batches import ArrowBatch, PandasBatch, batch_of
from charseq.errors import ArgumentError, DataError

CELLS = {"id": [1, 2, 3], "text": ["a", None, "c"]}
NEW = [("A", ""), ("", "empty"), ("C", "")]


def frames() -> list[Any]:
    """The same rows as every type of batch that can be made here."""
    table = pa.table(CELLS)
    made = [pd.DataFrame(CELLS), table, pa.RecordBatch.from_pydict(CELLS)]
    try:
        import polars as pl
    except ImportError:
        return made
    return [*made, pl.DataFrame(CELLS)]


each_frame = pytest.mark.parametrize("frame", frames(), ids=lambda one: f"{type(one).__module__}")


def as_dict(batch: Any) -> dict[str, list[Any]]:
    """The columns of a batch; a null is None."""
    if isinstance(batch, pd.DataFrame):
        return {str(k): [None if pd.isna(v) else v for v in batch[k]] for k in batch}
    if isinstance(batch, pa.Table | pa.RecordBatch):
        return batch.to_pydict()
    return batch.to_dict(as_series=False)


@each_frame
def test_columns_are_read_and_added(frame: Any) -> None:
    batch = batch_of(frame)
    assert batch.names == ["id", "text"]
    (read,) = batch.columns([1])
    assert [cell or None for cell in read] == CELLS["text"]
    made = batch.extended(["new", "new_note"], read, NEW, force=False)
    assert type(made) is type(frame)
    found = as_dict(made)
    assert list(found) == ["id", "text", "new", "new_note"]
    assert found["id"] == [1, 2, 3]
    assert found["text"] == CELLS["text"]
    null = (None, None) if isinstance(frame, pd.DataFrame) else NEW[1]
    assert list(zip(found["new"], found["new_note"], strict=True)) == [NEW[0], null, NEW[2]]
    assert as_dict(frame).keys() == CELLS.keys(), "the batch itself stays"


@each_frame
def test_a_column_of_the_same_name_is_replaced_with_force_alone(frame: Any) -> None:
    batch = batch_of(frame)
    rows = [(one,) for one in "xyz"]
    with pytest.raises(DataError, match="there is a column 'id'"):
        batch.extended(["id"], ["a"] * 3, rows, force=False)
    made = as_dict(batch.extended(["id"], ["a"] * 3, rows, force=True))
    assert made == {"id": ["x", "y", "z"], "text": CELLS["text"]}


@each_frame
def test_no_rows_have_new_columns_of_the_same_types(frame: Any) -> None:
    full = batch_of(frame).extended(["new"], ["a"] * 3, [("x",)] * 3, force=False)
    none = batch_of(frame[:0]).extended(["new"], [], [], force=False)
    assert list(as_dict(none)) == ["id", "text", "new"]
    types = [getattr(one, "dtypes", None) for one in (full, none)]
    if isinstance(frame, pa.Table | pa.RecordBatch):
        types = [one.schema for one in (full, none)]
    assert list(types[0]) == list(types[1])


def test_the_index_of_pandas_and_the_metadata_of_arrow_stay() -> None:
    frame = pd.DataFrame(CELLS, index=[7, 7, 9])
    made = PandasBatch(frame).extended(["new"], ["a"] * 3, [("x",)] * 3, force=False)
    assert list(made.index) == [7, 7, 9]
    schema = pa.schema([pa.field("t", pa.dictionary(pa.int8(), pa.string()))], {b"k": b"v"})
    batch = pa.RecordBatch.from_pydict({"t": ["a", "a"]}, schema=schema)
    made = ArrowBatch(batch).extended(["new"], ["a"] * 2, [("x",)] * 2, force=False)
    assert isinstance(made, pa.RecordBatch)
    assert made.schema.metadata == {b"k": b"v"}
    assert made.schema.field("t").type == schema.field("t").type


@pytest.mark.parametrize("given", [{"text": ["a"]}, ["a"], None])
def test_other_types_are_refused(given: object) -> None:
    with pytest.raises(ArgumentError, match="expected a pyarrow Table") as fault:
        batch_of(given)
    assert ("batch_format" in str(fault.value)) == isinstance(given, dict)
