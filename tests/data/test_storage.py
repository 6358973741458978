import resource
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.data import storage
from charseq.data.storage import SpillingArray, as_ragged, pack
from charseq.errors import DataError

ROWS = st.lists(st.lists(st.integers(0, 300), max_size=5), max_size=30)


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Arrays stay in memory, or go to a file at once."""
    if request.param == "file":
        monkeypatch.setattr(storage, "MOST", 8)
    return str(request.param)


@pytest.mark.usefixtures("place")
@given(ROWS)
def test_rows_come_back_as_they_were(rows: list[list[int]]) -> None:
    packed = pack(rows, size=301)
    assert packed == rows
    assert list(packed) == [packed[i] for i in range(len(rows))] == packed[:] == rows
    assert packed[1:7] == rows[1:7]
    assert packed[::-2] == rows[::-2]
    assert packed.lengths.tolist() == [len(row) for row in rows]
    assert packed != [*rows, [1]]


@pytest.mark.usefixtures("place")
@given(ROWS.filter(bool), st.data())
def test_some_rows_are_taken_together(rows: list[list[int]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    numbers, inside, lengths = pack(rows, size=301).take(np.array(chosen))
    table = np.full(inside.shape, -1)
    table[inside] = numbers
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
def test_rows_that_are_packed_stay(rows: Sequence[Sequence[int]]) -> None:
    packed = as_ragged(rows)
    assert packed == list(rows)
    assert as_ragged(packed) is packed


@pytest.mark.usefixtures("place")
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
    monkeypatch.setattr(storage, "MOST", 2**16)
    array = SpillingArray("q")
    for number in range(100_000):
        array.append(number)
    found = array.close()
    assert len(array._held) == 0
    assert (len(found), int(found.sum())) == (100_000, 100_000 * 99_999 // 2)
    assert not list(tmp_path.iterdir())
    assert not found.flags.writeable
    monkeypatch.setattr("tempfile.tempdir", None)


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MOST", 2**16)
    array = SpillingArray("q")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, before[1]))
    try:
        with pytest.raises(DataError, match=r"no room for the data: File too large.*TMPDIR"):
            array.extend(range(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
