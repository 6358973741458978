"""Pictures of errors: the heights of their bars, and the names below them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from charseq.evaluation.pictures import error_plots

LENGTHS = [
    {"shortest": 1, "longest": 4, "examples": 1990, "exact_match": 98.0},
    {"shortest": 5, "longest": 5, "examples": 1, "exact_match": 0.0},
]
FOUND = {
    "both_right": 5, "only_first": 3, "only_second": 1, "both_wrong": 1,
    "exact_match": {"difference": -20.0, "interval": None, "p": 0.6},
}  # fmt: skip


def axes_of(figure: Figure | None = None) -> Axes:
    return (figure or Figure()).subplots()


def heights(axes: Axes) -> list[float]:
    return [round(one.get_height(), 6) for one in axes.patches if isinstance(one, Rectangle)]


def names(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_xticklabels()]


def test_error_by_length_has_a_bar_for_each_range() -> None:
    axes = axes_of()
    error_plots.draw_lengths(axes, {"": LENGTHS})
    assert heights(axes) == [2, 100]
    assert names(axes) == ["1 to 4\n1,990 rows", "5\n1 row"]
    assert axes.get_ylim() == pytest.approx((0, 110))
    assert axes.get_legend() is None


def test_two_models_share_the_ranges() -> None:
    axes = axes_of()
    better = [one | {"exact_match": 100.0} for one in LENGTHS]
    error_plots.draw_lengths(axes, {"a": LENGTHS, "b": better})
    assert heights(axes) == [2, 100, 0, 0]
    lefts = [one.get_x() for one in axes.patches]
    assert lefts[0] < lefts[2] < lefts[1]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]


def test_edits_are_shares_of_all_the_most_frequent_first() -> None:
    axes = axes_of()
    error_plots.draw_edits(axes, {("e", "i"): 3, ("", "\u0301"): 1, (" ", ""): 6})
    assert heights(axes) == [60, 30, 10]
    assert names(axes) == ["␣\n↓\n∅", "e\n↓\ni", "∅\n↓\n◌\u0301"]
    assert axes.get_title() == "Wrong symbols: 10 edits"
    many = {(chr(97 + n), "x"): 2 for n in range(23)} | {("y", "z"): 2, ("z", "y"): 1}
    axes = axes_of()
    error_plots.draw_edits(axes, many)
    assert len(heights(axes)) == error_plots.MOST_EDITS
    assert axes.get_title().endswith("1 others are rarer")


def test_long_symbols_stand_upright() -> None:
    axes = axes_of()
    error_plots.draw_edits(axes, {("AH0", "AH1"): 1})
    assert names(axes) == ["AH0\n↓\nAH1"]
    axes = axes_of()
    error_plots.draw_edits(axes, {("nation", "ation"): 1})
    assert names(axes) == ["nation → ation"]
    assert axes.get_xticklabels()[0].get_rotation() == 90


def test_without_edits_the_panel_says_so() -> None:
    axes = axes_of()
    error_plots.draw_edits(axes, {})
    assert axes.get_title() == "Wrong symbols: none"
    assert heights(axes) == []


def compare(path: Path, edits: tuple[Any, Any] | None) -> None:
    error_plots.draw_comparison(
        path, FOUND, ("a", "b"), lengths=(LENGTHS, LENGTHS), edits=edits, title="a and b"
    )


def test_two_models_are_compared_by_rows_lengths_and_symbols(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    first = {("e", "i"): 5, ("o", "u"): 2, ("x", ""): 1}
    compare(tmp_path / "x.png", (first, {("e", "i"): 1, ("o", "u"): 2, ("", "y"): 3}))
    rows, _, symbols = drawn[0].axes
    assert [one.get_width() for one in rows.patches] == [5, 3, 1, 1]
    assert [text.get_text() for text in rows.texts][1] == "3 (30.0 %)"
    assert rows.get_title() == "first to second -20.00 points of exact match, p = 0.6"
    assert heights(symbols) == [-4, -1, 3]
    assert names(symbols) == ["e\n↓\ni", "x\n↓\n∅", "∅\n↓\ny"]
    assert symbols.get_ylabel() == "edits, b minus a"
    assert "8 edits by the first, 6 by the second" in symbols.get_title()
    assert all(np.equal(np.mod(symbols.get_yticks(), 1), 0))


def test_symbols_that_are_cut_otherwise_or_alike_have_no_bars(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    compare(tmp_path / "x.svg", None)
    assert len(drawn[0].axes) == 2
    compare(tmp_path / "y.svg", ({}, {}))
    assert drawn[1].axes[2].get_title().endswith("no symbol differs")
