"""Arrays in memory or in a file, ragged arrays, and packed records."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.data import storage
from charseq.data.storage import (
    Numbers,
    PackedRecords,
    RecordBuilder,
    SpillingArray,
    as_ragged,
    pack,
)
from charseq.errors import DataError

ROWS = st.lists(st.lists(st.integers(0, 300), max_size=5), max_size=30)


@pytest.fixture(params=["memory", "file"])
def storage_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Arrays stay in memory, or go to a file at once."""
    if request.param == "file":
        monkeypatch.setattr(storage, "MAX_IN_MEMORY", 8)
    return str(request.param)


@pytest.mark.usefixtures("storage_place")
@given(ROWS)
def test_rows_come_back_as_they_were(rows: list[list[int]]) -> None:
    packed = pack(rows, size=301)
    assert packed == rows
    assert list(packed) == [packed[i] for i in range(len(rows))] == packed[:] == rows
    assert packed[1:7] == rows[1:7]
    assert packed[::-2] == rows[::-2]
    assert packed.lengths.tolist() == [len(row) for row in rows]
    assert packed != [*rows, [1]]


@pytest.mark.usefixtures("storage_place")
@given(ROWS.filter(bool), st.data())
def test_some_rows_are_taken_together(rows: list[list[int]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    numbers, mask, lengths = pack(rows, size=301).take(np.array(chosen))
    table = np.full(mask.shape, -1)
    table[mask] = numbers
    width = max(len(rows[i]) for i in chosen)
    assert table.tolist() == [rows[i] + [-1] * (width - len(rows[i])) for i in chosen]
    assert lengths.tolist() == [len(rows[i]) for i in chosen]


@pytest.mark.parametrize(
    ("size", "bytes_each"), [(1, 1), (256, 1), (257, 2), (65_536, 2), (65_537, 4)]
)
def test_numbers_take_no_more_bytes_than_they_need(size: int, bytes_each: int) -> None:
    packed = pack([[size - 1], []], size=size)
    assert packed.flat.itemsize == bytes_each
    assert packed == [[size - 1], []]


@pytest.mark.parametrize("rows", [[[1, 2], []], [], [[]]])
def test_packed_rows_are_not_packed_again(rows: Sequence[Sequence[int]]) -> None:
    packed = as_ragged(rows)
    assert packed == list(rows)
    assert as_ragged(packed) is packed


@pytest.mark.usefixtures("storage_place")
def test_numbers_of_every_kind_are_kept() -> None:
    for code, numbers in (("d", [0.1, -2.5]), ("q", [-(2**62), 2**40]), ("I", [2**32 - 1, 0])):
        array = SpillingArray(code)
        for number in numbers:
            array.append(number)
        assert array.close().tolist() == numbers
        assert SpillingArray(code).close().tolist() == []


def test_a_large_array_is_not_in_memory_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(storage, "MAX_IN_MEMORY", 2**16)
    array = SpillingArray("q")
    for number in range(100_000):
        array.append(number)
    found = array.close()
    assert len(array._buffer) == 0
    assert (len(found), int(found.sum())) == (100_000, 100_000 * 99_999 // 2)
    assert not list(tmp_path.iterdir())
    assert not found.flags.writeable
    monkeypatch.setattr("tempfile.tempdir", None)


def test_a_full_disk_gives_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_IN_MEMORY", 2**16)
    array = SpillingArray("q")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, before[1]))
    try:
        with pytest.raises(DataError, match=r"no room for the data: File too large.*TMPDIR"):
            array.extend(range(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- records

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


class Thing(NamedTuple):
    one: str
    other: str
    weight: float = 1.0


THINGS = st.lists(st.builds(Thing, TEXT, TEXT, st.sampled_from([1.0, 1.0, 0.1, 2.5])), max_size=25)
PLAIN = st.lists(st.builds(Thing, TEXT, TEXT, st.just(1.0)), max_size=25)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three things are many, a few rows are read at once, and arrays go to a file soon."""
    monkeypatch.setattr(storage, "MAX_OBJECTS", 3)
    monkeypatch.setattr(storage, "READ_ROWS", 4)
    monkeypatch.setattr(storage, "MAX_IN_MEMORY", 64)


def collect(things: list[Thing]) -> RecordBuilder[Thing]:
    found = RecordBuilder(Thing, lambda one: ((one.one, one.other), one.weight))
    for number, thing in enumerate(things):
        found.add(thing, 10 * number)
        assert len(found) == number + 1
    return found


@pytest.mark.usefixtures("many")
@given(st.one_of(THINGS, PLAIN))
def test_records_come_back_as_they_were(things: list[Thing]) -> None:
    made, lines = collect(things).close()
    assert isinstance(made, PackedRecords) == (len(things) >= 3)
    assert made == things
    assert list(made) == [made[i] for i in range(len(things))] == things
    assert (made[:3], made[::-2], made[-1:]) == (things[:3], things[::-2], things[-1:])
    assert list(lines) == [10 * number for number in range(len(things))]
    assert list(lines[1:3]) == [10, 20][: max(0, len(things) - 1)]


@pytest.mark.usefixtures("many")
@given(THINGS.filter(lambda things: len(things) > 3), st.randoms())
def test_some_records_are_chosen_and_some_of_those(things: list[Thing], random: object) -> None:
    made, _ = collect(things).close()
    assert isinstance(made, PackedRecords)
    wanted = np.array([len(thing.one) % 2 == 0 for thing in things])
    some = made.select(wanted)
    expected = [thing for thing, one in zip(things, wanted, strict=True) if one]
    assert some == expected
    assert [some[i] for i in range(len(expected))] == expected
    assert list(some.column(1)) == [thing.other for thing in expected]
    again = np.arange(len(expected)) % 3 == 1
    assert some.select(again) == expected[1::3]
    if some.weights is not None:
        assert some.weights.tolist() == [thing.weight for thing in expected]


@pytest.mark.usefixtures("many")
@given(PLAIN.filter(lambda things: len(things) > 3))
def test_weights_are_not_stored_where_all_are_one(things: list[Thing]) -> None:
    made, _ = collect(things).close()
    assert isinstance(made, PackedRecords)
    assert made.weights is None
    column = made.column(0)
    assert (len(column), column[1], column[::2]) == (
        len(things),
        things[1].one,
        [thing.one for thing in things[::2]],
    )


@pytest.mark.usefixtures("many")
def test_records_that_are_far_apart_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_READ", 10)
    things = [Thing(f"long text {number}", "x") for number in range(20)]
    made, _ = collect(things).close()
    assert isinstance(made, PackedRecords)
    assert made.select(np.arange(20) % 7 == 0) == things[::7]


def test_numbers_are_plain() -> None:
    numbers = Numbers(np.array([3, 1], dtype=np.int64))
    assert (len(numbers), numbers[0], numbers[:], type(numbers[1])) == (2, 3, [3, 1], int)
