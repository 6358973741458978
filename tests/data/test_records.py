from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.data import storage
from charseq.data import storage as records
from charseq.data.storage import Numbers, PackedRecords, RecordBuilder

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


class Thing(NamedTuple):
    one: str
    other: str
    weight: float = 1.0


THINGS = st.lists(st.builds(Thing, TEXT, TEXT, st.sampled_from([1.0, 1.0, 0.1, 2.5])), max_size=25)
PLAIN = st.lists(st.builds(Thing, TEXT, TEXT, st.just(1.0)), max_size=25)


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three things are many, a few rows are read at once, and arrays go to a file soon."""
    monkeypatch.setattr(records, "FEW", 3)
    monkeypatch.setattr(records, "CHUNK", 4)
    monkeypatch.setattr(storage, "MOST", 64)


def collect(things: list[Thing]) -> RecordBuilder[Thing]:
    found = RecordBuilder(Thing, lambda one: ((one.one, one.other), one.weight))
    for number, thing in enumerate(things):
        found.add(thing, 10 * number)
        assert len(found) == number + 1
    return found


@given(st.one_of(THINGS, PLAIN))
def test_what_was_added_comes_back(things: list[Thing]) -> None:
    made, lines = collect(things).close()
    assert isinstance(made, PackedRecords) == (len(things) >= 3)
    assert made == things
    assert list(made) == [made[i] for i in range(len(things))] == things
    assert (made[:3], made[::-2], made[-1:]) == (things[:3], things[::-2], things[-1:])
    assert list(lines) == [10 * number for number in range(len(things))]
    assert list(lines[1:3]) == [10, 20][: max(0, len(things) - 1)]


@given(THINGS.filter(lambda things: len(things) > 3), st.randoms())
def test_some_are_chosen_and_some_of_those(things: list[Thing], random: object) -> None:
    made, _ = collect(things).close()
    assert isinstance(made, PackedRecords)
    wanted = np.array([len(thing.one) % 2 == 0 for thing in things])
    some = made.choose(wanted)
    expected = [thing for thing, one in zip(things, wanted, strict=True) if one]
    assert some == expected
    assert [some[i] for i in range(len(expected))] == expected
    assert list(some.column(1)) == [thing.other for thing in expected]
    again = np.arange(len(expected)) % 3 == 1
    assert some.choose(again) == expected[1::3]
    if some.weights is not None:
        assert some.weights.tolist() == [thing.weight for thing in expected]


@given(PLAIN.filter(lambda things: len(things) > 3))
def test_weights_of_one_are_not_kept(things: list[Thing]) -> None:
    made, _ = collect(things).close()
    assert isinstance(made, PackedRecords)
    assert made.weights is None
    column = made.column(0)
    assert (len(column), column[1], column[::2]) == (
        len(things),
        things[1].one,
        [thing.one for thing in things[::2]],
    )


def test_rows_that_are_far_apart_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "FAR", 10)
    things = [Thing(f"long text {number}", "x") for number in range(20)]
    made, _ = collect(things).close()
    assert isinstance(made, PackedRecords)
    assert made.choose(np.arange(20) % 7 == 0) == things[::7]


def test_numbers_are_plain() -> None:
    numbers = Numbers(np.array([3, 1], dtype=np.int64))
    assert (len(numbers), numbers[0], numbers[:], type(numbers[1])) == (2, 3, [3, 1], int)
