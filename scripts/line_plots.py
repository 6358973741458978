"""measurements -> line plots with markers, in the look of :mod:`charseq.plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from charseq.plots import add_legend, draw_line, figure_page, label_axes

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def series(
    path: str | Path,
    named: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    log_x: bool = False,
    log_y: bool = False,
) -> None:
    """One panel; ``named``: line -> (xs, ys). Up to twelve different xs become the ticks.

    Raises:
        ValueError: ``path`` ends in neither .png nor .svg.
    """
    with figure_page(path, 8.5, 4.5) as figure:
        axes = figure.subplots()
        for number, (name, (xs, ys)) in enumerate(named.items()):
            draw_line(axes, number, name, xs, ys, marker=MARKERS[number % len(MARKERS)])
        label_axes(axes, xlabel, ylabel, title)
        if log_y:
            axes.set_yscale("log")
        if log_x:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
        ticks = sorted({x for xs, _ in named.values() for x in xs})
        if len(ticks) <= 12:
            axes.set_xticks(ticks)
            axes.minorticks_off()
        add_legend(figure, [axes])


class Panel(NamedTuple):
    """Lines by their names, each as (xs, ys), and the labels of the axes."""

    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    xlabel: str
    ylabel: str


def panels(path: str | Path, shown: Sequence[Panel], *, columns: int, title: str) -> None:
    """Log-log panels; a name has the same colour and marker in all of them.

    Panels in a row share their vertical axis. Linear growth is a line of slope one.

    Raises:
        ValueError: ``path`` ends in neither .png nor .svg.
    """
    names = list(dict.fromkeys(name for panel in shown for name in panel.lines))
    rows = -(-len(shown) // columns)
    with figure_page(path, 1.8 + 3.4 * columns, 1.0 + 2.9 * rows) as figure:
        grid = figure.subplots(rows, columns, sharey="row", squeeze=False).flatten()
        for axes, panel in zip(grid, shown, strict=False):
            for name, (xs, ys) in panel.lines.items():
                number = names.index(name)
                draw_line(axes, number, name, xs, ys, marker=MARKERS[number % len(MARKERS)])
            axes.set_xscale("log")
            axes.set_yscale("log")
            label_axes(axes, panel.xlabel, panel.ylabel, "")
        for axes in grid[len(shown) :]:
            axes.remove()
        figure.suptitle(title)
        add_legend(figure, grid[: len(shown)])
