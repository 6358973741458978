"""Repeated rows become distinct pairs, weighted by the roots of their counts; in any storage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.data import counts, pairs, storage
from charseq.data.counts import merge, occurrences
from charseq.data.pairs import Dataset, Example

ROWS = [
    Example("b", "x", "V"),
    Example("a", "x"),
    Example("b", "x", "V"),
    Example("a", "y"),
    Example("b", "x", "N"),
    Example("a", "x", weight=2.5),
    Example("b", "x", "V"),
]


def data(train: Sequence[Example], dev: Sequence[Example] = ()) -> Dataset:
    lines = {"train": [*range(1, len(train) + 1)], "dev": [*range(1, len(dev) + 1)]}
    return Dataset(train, dev, (), "name", "0", "", {}, lines, [])


@pytest.fixture(params=["one part", "parts"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Rows are compared all at once, or in parts."""
    if request.param == "parts":
        monkeypatch.setattr(counts, "PART", 2)
    return str(request.param)


@pytest.mark.usefixtures("parts")
def test_equal_rows_become_one_where_the_first_stood() -> None:
    """Three rows of weight 1 count √3; a row of weight 1 and one of 2.5 count √3.5."""
    merged, how = merge(data(ROWS, dev=ROWS), "sqrt")
    assert how == "sqrt"
    assert [(row.source, row.features, row.target) for row in merged.train] == [
        ("b", "V", "x"), ("a", "", "x"), ("a", "", "y"), ("b", "N", "x"),
    ]  # fmt: skip
    weights = [row.weight for row in merged.train]
    assert weights == pytest.approx([math.sqrt(3), math.sqrt(3.5), 1, 1])
    assert merged.lines["train"] == [1, 2, 4, 5]
    assert (merged.dev, merged.lines["dev"]) == (ROWS, [1, 2, 3, 4, 5, 6, 7])
    assert merged.rows == 7
    assert [count for _, count in occurrences(merged, most=9)] == pytest.approx([3, 3.5, 1, 1])


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize(("repeated", "how"), [(1, "none"), (2, "sqrt"), (8, "sqrt")])
def test_a_fifth_of_the_rows_must_be_repetitions(repeated: int, how: str) -> None:
    rows = [Example(f"{number}", "x", weight=2.0) for number in range(10 - repeated)]
    given = data([*rows, *[rows[0]] * repeated])
    merged, resolved = merge(given, "auto")
    assert resolved == how
    if how == "none":
        assert merged is given
    else:
        assert merged.train[0].weight == pytest.approx(math.sqrt(2 * (1 + repeated)))


def test_the_setting_decides_where_it_is_given() -> None:
    repeated = data(ROWS)
    assert merge(repeated, "none") == (repeated, "none")
    merged, how = merge(data(ROWS[:2] + ROWS[5:6]), "sqrt")
    assert (len(merged.train), how) == (2, "sqrt")
    assert merge(data([]), "auto") == (data([]), "none")


def test_cells_are_told_apart_and_nothing_is_normalised() -> None:
    rows = [
        Example("ab", "c"), Example("a", "bc"), Example("a", "c", "b"), Example("ab", "", "c"),
        Example("\u00e9", "c"), Example("e\u0301", "c"), Example("ab ", "c"), Example("AB", "c"),
    ]  # fmt: skip
    merged, _ = merge(data(rows), "sqrt")
    assert merged.train == rows


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.integers(1, 3))))
def test_packed_rows_are_merged_alike(rows: list[tuple[str, str, int]]) -> None:
    examples = [Example(source, target, weight=float(n)) for source, target, n in rows]
    expected, how = merge(data(examples), "auto")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "MAX_OBJECTS", 2)
        patch.setattr(storage, "READ_ROWS", 2)
        patch.setattr(counts, "PART", 3)
        packed = storage.RecordBuilder(Example, pairs._fields)
        for number, one in enumerate(examples, 1):
            packed.add(one, number)
        records, lines = packed.close()
        given_rows = Dataset(records, (), (), "name", "0", "", {}, {"train": lines}, [])
        merged, packed_how = merge(given_rows, "auto")
        assert packed_how == how
        assert list(merged.train) == list(expected.train)
        assert list(merged.lines["train"]) == list(expected.lines["train"])
        found = pairs.weights(merged.train)
        assert found is None or found.tolist() == [row.weight for row in merged.train]
        if how == "sqrt":
            again, _ = merge(merged, "sqrt")
            roots = [math.sqrt(row.weight) for row in expected.train]
            assert [row.weight for row in again.train] == pytest.approx(roots), (
                "of selected records"
            )


def test_of_many_pairs_the_most_frequent_are_looked_through() -> None:
    merged, _ = merge(data(ROWS), "sqrt")
    few = [(row.source, row.features) for row, _ in occurrences(merged, most=2)]
    assert few == [("b", "V"), ("a", "")]
    single = [row.target for row, _ in occurrences(data(ROWS[:4]), most=3)]
    assert single == ["x", "x", "x"]


def test_what_was_read_is_merged(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("a\tx\nb\ty\na\tx\na\tx\n", encoding="utf-8")
    (tmp_path / "dev.tsv").write_text("a\tx\na\tx\n", encoding="utf-8")
    merged, _ = merge(pairs.load(tmp_path, splits=("train", "dev")), "auto")
    assert [(row.source, row.weight) for row in merged.train] == [("a", math.sqrt(3)), ("b", 1.0)]
    assert len(merged.dev) == 2
