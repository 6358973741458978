"""Rows are filled up, and a unit's gates come to stand together."""

from __future__ import annotations

import numpy as np
import pytest

from charseq.kernels.layout import VECTOR, address, empty, interleave, pad_rows, padded_size, zeros


def test_sizes_are_rounded_up() -> None:
    assert [padded_size(size) for size in (0, 1, 15, 16, 17, 33)] == [0, 16, 16, 16, 32, 48]


@pytest.mark.parametrize("shape", [(1,), (3, 17), (2, 3, 4)])
def test_arrays_begin_where_a_line_of_the_cache_does(shape: tuple[int, ...]) -> None:
    for _ in range(20):
        array = empty(*shape)
        assert (array.shape, array.dtype) == (shape, np.float32)
        assert array.ctypes.data % 64 == 0
    assert not zeros(*shape).any()


def test_where_an_array_is() -> None:
    array = np.arange(12, dtype="f4").reshape(3, 4)
    locked = array.view()
    locked.flags.writeable = False
    for one in (array, array[1:], locked, locked[2:], array[:0], np.zeros(3, dtype=np.bool_)):
        assert address(one) == one.ctypes.data


def test_rows_are_filled_up() -> None:
    rows = np.arange(2 * 3 * 17, dtype="f4").reshape(2, 3, 17)
    found = pad_rows(rows, -1.0)
    assert found.shape == (2, 3, 32)
    assert np.array_equal(found[:, :, :17], rows)
    assert bool((found[:, :, 17:] == -1).all())


@pytest.mark.parametrize("size", [5, 16, 40])
def test_a_units_gates_stand_with_those_of_its_vector(size: int) -> None:
    rows = np.arange(1, 3 * size * 2 + 1, dtype="f4").reshape(3 * size, 2)
    found = interleave(3, rows).reshape(-1, 3, VECTOR, 2)
    for gate in range(3):
        for unit in range(size):
            expected = rows[gate * size + unit]
            assert np.array_equal(found[unit // VECTOR, gate, unit % VECTOR], expected)
    assert np.count_nonzero(found) == rows.size
