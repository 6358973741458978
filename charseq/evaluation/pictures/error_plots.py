"""scored rows -> pictures of errors: by the length of the source, by symbol, and of two models.

The panels of one model are drawn beside those of :mod:`charseq.evaluation.pictures.risk_plots`. Two
models that were scored on the same rows have a picture of their own: where they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq import files, plots
from charseq.display import shown, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lengths = Sequence[Mapping[str, Any]]
Edits = Mapping[tuple[str, str], int]

MOST_EDITS = 24
"""Edits that a panel has room for."""
WIDE = 5
"""Cells of the longest label below which the labels stand side by side."""
NONE = "∅"
"""A symbol that is left out, or was added."""
SYMBOLS = f"right symbol, and below it the one that was written ({NONE}: none)"
OUTCOMES = (
    ("both right", "both_right", 2),
    ("only the first right", "only_first", 0),
    ("only the second right", "only_second", 1),
    ("both wrong", "both_wrong", 6),
)
"""Outcomes of two models on a row: label, name in the report, number of the colour."""


def draw_lengths(axes: Axes, models: Mapping[str, Lengths]) -> None:
    """Bars of wrong rows, in percent, by ranges of source lengths; for each model one a range.

    ``models``: name -> what :func:`charseq.evaluation.analysis.by_length` returns, with the same
    ranges for all of them.
    """
    ranges = next(iter(models.values()))
    places, share = np.arange(1, len(ranges) + 1), 0.8 / len(models)
    highest = 0.0
    for number, (name, found) in enumerate(models.items()):
        heights = [100 - one["exact_match"] for one in found]
        highest = max(highest, *heights)
        left = places - 0.4 + share * (number + 0.5)
        axes.bar(left, heights, 0.95 * share, color=plots.COLOURS[number], label=name or None)
    labels = [
        f"{_range(one)}\n{one['examples']:,} row{'s' * (one['examples'] != 1)}" for one in ranges
    ]
    plots.set_tick_labels(axes.xaxis, labels)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(visible=False, axis="x")
    axes.set_axisbelow(True)
    axes.set(ylim=(0, 1.1 * highest or 1.0), xlim=(0.4, len(ranges) + 0.6))
    plots.label_axes(axes, "symbols of the source", "wrong outputs (%)", "Error by length")
    if len(models) > 1:
        axes.legend()


def draw_edits(axes: Axes, edits: Edits) -> None:
    """Bars of the most frequent edits, in percent of all, each below its bar: right over written.

    ``edits``: see :func:`charseq.evaluation.analysis.edit_counts`.
    """
    total = sum(edits.values())
    most = sorted(edits.items(), key=lambda one: (-one[1], one[0]))[:MOST_EDITS]
    shares = {edit: 100 * count / total for edit, count in most}
    _draw_edit_bars(axes, shares, [plots.COLOURS[3]] * len(shares))
    rest = total - sum(count for _, count in most)
    more = f"; {rest:,} others are rarer" if rest else ""
    title = f"Wrong symbols: {total:,} edits{more}" if total else "Wrong symbols: none"
    plots.label_axes(axes, SYMBOLS, "share of all edits (%)", title)


def draw_comparison(
    path: str | Path,
    found: Mapping[str, Any],
    names: tuple[str, str],
    *,
    lengths: tuple[Lengths, Lengths],
    edits: tuple[Edits, Edits] | None,
    title: str,
    report: Callable[[str], None] = plots.unreported,
) -> None:
    """Draw where two models differ into a PNG or SVG file.

    Args:
        path: the file to write.
        found: what :func:`charseq.evaluation.analysis.compare_outcomes` returns.
        names: of the models.
        lengths: error by length of each, in the same ranges.
        edits: of each; None where the models cut their targets into different symbols.
        title: the line above the panels.
        report: gets a line on each script that no installed font has.

    Raises:
        DataError: the file cannot be written.
    """
    with (
        files.drawing(Path(path)) as part,
        plots.figure_page(part, 13.0, 9.0 if edits else 4.8, report=report) as figure,
    ):
        grid = figure.add_gridspec(2 if edits else 1, 2)
        _draw_outcomes(figure.add_subplot(grid[0, 0]), found)
        both = dict(zip(_apart(names), lengths, strict=True))
        draw_lengths(figure.add_subplot(grid[0, 1]), both)
        if edits:
            _draw_differences(figure.add_subplot(grid[1, :]), *edits, names=names)
        figure.suptitle(title)


def _draw_outcomes(axes: Axes, found: Mapping[str, Any]) -> None:
    """Bars of the rows that both models, one of them, or none has right, on one scale."""
    rows = sum(found[name] for _, name, _ in OUTCOMES)
    for place, (label, name, colour) in enumerate(OUTCOMES, 1):
        bars = axes.barh(place, found[name], 0.7, color=plots.COLOURS[colour], label=label)
        axes.bar_label(bars, [f"{found[name]:,} ({100 * found[name] / rows:.1f} %)"], padding=4)
    plots.set_tick_labels(axes.yaxis, [label for label, _, _ in OUTCOMES])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_axisbelow(True)
    axes.set_xlim(0, 1.3 * max(found[name] for _, name, _ in OUTCOMES))
    exact = found["exact_match"]
    chance = f"p = {exact['p']:.3g}" if exact["p"] >= 0.001 else "p < 0.001"
    what = f"first to second {exact['difference']:+.2f} points of exact match, {chance}"
    plots.label_axes(axes, "rows", "", what)


def _draw_differences(axes: Axes, first: Edits, second: Edits, *, names: tuple[str, str]) -> None:
    """Bars of the edits that one model makes more often than the other, from less to more."""
    from matplotlib.ticker import MaxNLocator

    changes = {edit: second.get(edit, 0) - first.get(edit, 0) for edit in {**first, **second}}
    found = {edit: change for edit, change in changes.items() if change}
    most = sorted(found.items(), key=lambda one: (-abs(one[1]), one[0]))[:MOST_EDITS]
    ordered = dict(sorted(most, key=lambda one: (one[1], one[0])))
    colours = [plots.COLOURS[change > 0] for change in ordered.values()]
    _draw_edit_bars(axes, ordered, colours)
    axes.axhline(0, color="0.3", linewidth=1)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    before, after = sum(first.values()), sum(second.values())
    title = f"Wrong symbols that differ: {before:,} edits by the first, {after:,} by the second"
    if not found:
        title += "; no symbol differs"
    label = f"edits, {names[1]} minus {names[0]}"
    plots.label_axes(axes, SYMBOLS, label, title)


def _draw_edit_bars(
    axes: Axes, heights: Mapping[tuple[str, str], float], colours: Sequence[str]
) -> None:
    """A bar for each edit, with the right symbol over the written one as its label."""
    places = np.arange(1, len(heights) + 1)
    axes.bar(places, np.array(list(heights.values()), dtype=float), 0.7, color=colours)
    pairs = [(shown(one) or NONE, shown(two) or NONE) for one, two in heights]
    is_wide = max((width(part) for pair in pairs for part in pair), default=0) > WIDE
    labels = [f"{one} → {two}" if is_wide else f"{one}\n↓\n{two}" for one, two in pairs]
    plots.set_tick_labels(axes.xaxis, labels, rotate=is_wide)
    axes.grid(visible=False, axis="x")
    axes.set_axisbelow(True)
    axes.set_xlim(0.4, max(len(heights), 8) + 0.6)
    if not heights:
        axes.set_yticks([])


def _apart(names: tuple[str, str]) -> tuple[str, str]:
    """Two names for a legend, which differ even where the runs have one name."""
    return (f"first: {names[0]}", f"second: {names[1]}")


def _range(one: Mapping[str, Any]) -> str:
    shortest, longest = one["shortest"], one["longest"]
    return f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
