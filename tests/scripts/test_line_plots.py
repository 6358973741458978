"""Line plots of measurements: their points, ticks, scales and shared axes."""

from __future__ import annotations

import math
from pathlib import Path

import line_plots
import numpy as np
from matplotlib.figure import Figure

from charseq import plots

WORDS = {"xlabel": "steps", "ylabel": "norm", "title": "a title"}


def draw_series(path: Path) -> None:
    named = {"tanh": ([10, 100], [0.9, math.nan]), "gru": ([10, 100, 1000], [1.0, 0.9, 0.5])}
    line_plots.series(path, named, log_x=True, **WORDS)


def test_series_keep_their_points_and_few_of_them_are_the_ticks(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    draw_series(tmp_path / "x.png")
    (axes,) = drawn[0].axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["10", "100", "1000"]
    first, second = axes.get_lines()
    np.testing.assert_array_equal(first.get_ydata(), [0.9, math.nan])
    np.testing.assert_array_equal(second.get_xdata(), [10, 100, 1000])
    assert first.get_marker() != second.get_marker()
    many = {"a": (list(range(1, 40)), list(range(1, 40)))}
    line_plots.series(tmp_path / "x.png", many, log_y=True, **WORDS)
    assert drawn[1].axes[0].get_yscale() == "log"
    assert len(drawn[1].axes[0].get_xticks()) < 15


def test_panels_are_logarithmic_and_share_their_vertical_axis(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    shown = [
        line_plots.Panel({"one": ([1, 10, 100], [2.0, 20.0, 200.0])}, "rows", "seconds"),
        line_plots.Panel(
            {"one": ([1, 10], [1.0, 3.0]), "two": ([1, 10], [5.0, 5.0])}, "é$", "seconds"
        ),
        line_plots.Panel({"two": ([1, 2], [1.0, 1.0])}, "rows", "MB"),
    ]
    line_plots.panels(tmp_path / "a.png", shown, columns=2, title="Growth")
    seen = drawn[0].axes
    assert [(axes.get_xscale(), axes.get_yscale()) for axes in seen] == [("log", "log")] * 3
    assert seen[0].get_ylim() == seen[1].get_ylim() != seen[2].get_ylim()
    colours = [line.get_color() for axes in seen for line in axes.get_lines()]
    assert colours == [plots.COLOURS[0], plots.COLOURS[0], plots.COLOURS[1], plots.COLOURS[1]]
    assert (tmp_path / "a.png").stat().st_size > 5000
