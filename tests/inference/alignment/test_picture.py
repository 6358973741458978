"""The picture of an alignment: its symbols, its weights, and the direction of its text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from charseq.inference.alignment import picture
from charseq.inference.alignment.pairs import Alignment


def labels(figure: Figure) -> tuple[list[str], list[str]]:
    axes = figure.axes[0]
    return (
        [text.get_text() for text in axes.get_xticklabels()],
        [text.get_text() for text in axes.get_yticklabels()],
    )


def framed(figure: Figure) -> set[tuple[float, float]]:
    """Row and column, from 1, of the cells with a frame."""
    found = [one for one in figure.axes[0].patches if isinstance(one, Rectangle)]
    return {(one.get_y() + 0.5, one.get_x() + 0.5) for one in found}


def test_columns_are_the_text_and_rows_the_answer(tmp_path: Path, drawn: list[Figure]) -> None:
    weights = [[0.7, 0.3, 0.0], [0.1, 0.2, 0.7]]
    one = Alignment(["a", " ", "\u0301"], ["B", "\n"], weights, 3)
    picture.draw(tmp_path / "x.png", one, title="a title")
    assert labels(drawn[0]) == (["a", "␣", "◌\u0301"], ["B", "U+000A"])
    axes = drawn[0].axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), weights)
    assert axes.images[0].get_clim() == (0, 1), "one scale for all texts"
    assert framed(drawn[0]) == {(1, 1), (2, 3)}
    assert axes.get_xlim() == (0.5, 3.5)
    assert axes.get_title() == "a title"


def test_symbols_that_are_written_at_the_end_have_a_place(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    one = Alignment(["a"], ["b", "c"], [[1.0], [0.0]], 1)
    picture.draw(tmp_path / "x.svg", one, title="")
    assert labels(drawn[0])[0] == ["a", "end"]
    np.testing.assert_array_equal(drawn[0].axes[0].images[0].get_array(), [[1, 0], [0, 1]])
    assert framed(drawn[0]) == {(1, 1), (2, 2)}


@pytest.mark.parametrize(
    ("text", "from_right"), [("كتاب", True), ("1 שלום", True), ("a ש", False), ("12", False)]
)
def test_right_to_left_letters_run_from_the_right(
    text: str, from_right: bool, tmp_path: Path, drawn: list[Figure]
) -> None:
    one = Alignment(list(text), ["x"], [[1.0] + [0.0] * (len(text) - 1)], len(text))
    picture.draw(tmp_path / "x.png", one, title="")
    axes = drawn[0].axes[0]
    left, right = axes.get_xlim()
    assert (left > right) == from_right
    assert ("right to left" in axes.get_xlabel()) == from_right
    assert picture.reads_from_right(list(text)) == from_right
