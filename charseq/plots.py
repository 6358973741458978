"""arrays -> figures: line plots and heat maps in a PNG or SVG file, by the suffix of its name.

It is the only module with matplotlib, an extra that is loaded when a figure is drawn; without it
every function raises ModuleNotFoundError. A user's own matplotlib settings change nothing, and the
same numbers give the same file, byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from numpy.typing import ArrayLike

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
"""A palette for colour-blind readers too (Okabe and Ito 2008); dashes distinguish lines as well."""
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 2)), (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
STYLE: dict[str, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "legend.handlelength": 3,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "charseq",
}
METADATA: dict[str, dict[str, Any]] = {".png": {"Software": None}, ".svg": {"Date": None}}
"""Metadata that change with the version or the date are left out of a file."""
DPI = 150
"""Dots per inch of a PNG."""
CELL_INCHES, UNLABELLED_INCHES, MIN_INCHES, MAX_INCHES = 0.3, 5.0, 4.0, 24.0
"""Sizes of a heat map: a labelled cell, a side without labels, and the limits of a side."""
MAX_COLUMNS = 3
"""Heat maps side by side."""
MAX_LABELS = 120
"""Labels along an axis; of more labels, every n-th is shown."""
DECADES = 8
"""Powers of ten that a logarithmic colour scale covers, below its largest value."""
FONT = "DejaVu Sans"
PICTURE_FONTS = ("Last Resort", "LastResort", "Emoji")
"""Parts of the names of fonts that have boxes or coloured pictures instead of characters."""


def curves(
    path: str | Path,
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    legend: str = "",
    limits: tuple[float, float] = (-20.0, 20.0),
) -> None:
    """Line plots in panels with shared axes; ``panels``: panel -> line -> log10 at x = 0, 1, 2, …

    ``legend`` is the heading of the names of the lines. Values outside ``limits`` (log10) are cut
    off, and the label of the axis says so. A line has a gap where a value is not finite.

    Raises:
        ValueError: ``path`` ends in neither .png nor .svg.
    """
    from matplotlib.ticker import MaxNLocator

    columns = 1 if len(panels) == 1 else 3 if len(panels) > 4 else 2
    rows = -(-len(panels) // columns)
    with figure_page(path, 1.5 + 4.25 * columns, 1.2 + 2.7 * rows) as figure:
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
        for axes, (panel, lines) in zip(grid, panels.items(), strict=False):
            axes.set_title(panel)
            for name, values in lines.items():
                draw_line(axes, names.index(name), name, range(len(values)), values)
        shown = grid[: len(panels)]
        for axes in grid[len(panels) :]:
            axes.remove()
        for axes in shown[-columns:]:  # the last row may be shorter than the others
            axes.tick_params(labelbottom=True)
        every = [y for lines in panels.values() for values in lines.values() for y in values]
        note = _set_limits(grid[0], [y for y in every if math.isfinite(y)], limits)
        grid[0].yaxis.set_major_locator(MaxNLocator(integer=True))
        grid[0].yaxis.set_major_formatter(lambda y, _: f"$10^{{{y:g}}}$")
        words = [figure.suptitle(title), figure.supxlabel(xlabel, size="medium")]
        words.append(figure.supylabel(ylabel + note, size="medium"))
        make_legible([*words, *(axes.title for axes in shown)])
        add_legend(figure, shown, title=legend)


def heat_map(
    path: str | Path,
    values: ArrayLike,
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    scale: str,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> None:
    """Heat map of a table of numbers (at least 0); ``scale`` is the label of the colour bar.

    ``rows`` and ``columns`` label the axes, by default with numbers from 1. Characters that no
    installed font has are shown as U+XXXX.

    Raises:
        ValueError: ``path`` ends in neither .png nor .svg.
    """
    from matplotlib.ticker import MaxNLocator

    table = np.asarray(values, dtype=float)
    height, width = (
        min(MAX_INCHES, max(MIN_INCHES, CELL_INCHES * count)) if labels else UNLABELLED_INCHES
        for count, labels in zip(table.shape, (rows, columns), strict=True)
    )
    with figure_page(path, width + 2.0, height + 1.2) as figure:
        axes = figure.subplots()
        axes.grid(visible=False)
        edges = (0.5, table.shape[1] + 0.5, table.shape[0] + 0.5, 0.5)
        most = float(table.max(initial=0.0)) or 1.0
        image = axes.imshow(table, cmap="Blues", vmin=0.0, vmax=most, aspect="auto", extent=edges)
        figure.colorbar(image, label=scale)
        label_axes(axes, xlabel, ylabel, title)
        for axis, labels in ((axes.xaxis, columns), (axes.yaxis, rows)):
            if labels:
                _set_tick_labels(axis, labels, rotate=axis is axes.xaxis)
            else:
                axis.set_major_locator(MaxNLocator(integer=True))


def heat_maps(
    path: str | Path,
    panels: Mapping[str, ArrayLike],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    scale: str,
) -> None:
    """Heat maps of tables of numbers (at least 0) side by side, with one logarithmic colour scale.

    The axes count from 1. Zeros stay white, and the colours cover ``DECADES`` powers of ten below
    the largest number of all tables; the same colour is the same number in every panel.

    Raises:
        ValueError: ``path`` ends in neither .png nor .svg.
    """
    from matplotlib.ticker import MaxNLocator

    tables = {name: np.asarray(values, dtype=float) for name, values in panels.items()}
    norm, cut = _log_colours(np.concatenate([table.ravel() for table in tables.values()]))
    columns = min(len(tables), MAX_COLUMNS)
    rows = -(-len(tables) // columns)
    with figure_page(path, 1.9 + 3.1 * columns, 1.1 + 3.0 * rows) as figure:
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for axes, (name, table) in zip(grid, tables.items(), strict=False):
            edges = (0.5, table.shape[1] + 0.5, table.shape[0] + 0.5, 0.5)
            image = axes.imshow(np.ma.masked_less_equal(table, 0), norm=norm, extent=edges)
            image.set_cmap("viridis_r")
            axes.grid(visible=False)
            axes.set_title(name)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        shown = grid[: len(tables)]
        for axes in grid[len(tables) :]:
            axes.remove()
        for axes in shown[-columns:]:
            axes.tick_params(labelbottom=True)
        bar = figure.colorbar(image, ax=list(shown), extend="min" if cut else "neither")
        words = [figure.suptitle(title), figure.supxlabel(xlabel, size="medium")]
        words.append(figure.supylabel(ylabel, size="medium"))
        bar.set_label(scale)
        make_legible([*words, bar.ax.yaxis.label, *(axes.title for axes in shown)])


@contextmanager
def figure_page(path: str | Path, width: float, height: float) -> Iterator[Figure]:
    """An empty figure of ``width`` by ``height`` inches; it is written when the block has ended.

    Raises:
        ValueError: ``path`` ends in neither .png nor .svg.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in METADATA:
        raise ValueError(f"{path}: a figure's name ends in {' or '.join(METADATA)}")
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(["default", STYLE]):
        figure = Figure((width, height), layout="constrained")
        yield figure
        figure.savefig(path, format=suffix[1:], dpi=DPI, metadata=METADATA[suffix])


def draw_line(
    axes: Axes, number: int, name: str, xs: ArrayLike, ys: ArrayLike, **look: Any
) -> None:
    """A line with the colour and the dashes of its ``number``; gaps where a value is not finite."""
    values = np.asarray(ys, dtype=float)
    axes.plot(
        np.asarray(xs, dtype=float),
        np.where(np.isfinite(values), values, np.nan),
        label=name,
        color=COLOURS[number % len(COLOURS)],
        linestyle=DASHES[number % len(DASHES)],
        **look,
    )


def _set_limits(axes: Axes, values: Sequence[float], limits: tuple[float, float]) -> str:
    """Fit the axis to log10 ``values`` within ``limits``; a note for its label if that cuts any."""
    least, most = min(values, default=0.0), max(values, default=0.0)
    low, high = max(limits[0], math.floor(least)), min(limits[1], math.ceil(most))
    axes.set_ylim(low, max(high, low + 1))
    cut = [f"below 1e{limits[0]:+g}"] * (least < low) + [f"above 1e{limits[1]:+g}"] * (most > high)
    return f" (cut off {' and '.join(cut)})" if cut else ""


def label_axes(axes: Axes, xlabel: str, ylabel: str, title: str) -> None:
    """Label both axes and set the title."""
    make_legible([axes.set_xlabel(xlabel), axes.set_ylabel(ylabel), axes.set_title(title)])


def _set_tick_labels(axis: Axis, labels: Sequence[str], *, rotate: bool) -> None:
    """Labels at 1, 2, 3, …; with ``rotate`` labels of more than two characters are upright."""
    shown = range(0, len(labels), -(-len(labels) // MAX_LABELS))
    texts = _legible_texts(labels[number] for number in shown)
    axis.set_ticks([number + 1 for number in shown], [words for words, _ in texts])
    for text, (words, file) in zip(axis.get_ticklabels(), texts, strict=True):
        _set_font(text, file)
        if rotate and len(words) > 2:
            text.set_rotation(90)


def add_legend(figure: Figure, drawn: Iterable[Axes], *, title: str = "") -> None:
    """One legend for all axes, to their right; each name once."""
    named = {
        name: handle
        for axes in drawn
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    legend = figure.legend(named.values(), named.keys(), loc="outside right center", title=title)
    make_legible(legend.get_texts())


def _log_colours(values: np.ndarray[Any, Any]) -> tuple[Normalize, bool]:
    """Logarithmic colours of numbers, and whether a number above 0 lies below their range."""
    from matplotlib.colors import LogNorm

    positive = values[values > 0]
    most = float(positive.max(initial=0.0)) or 1.0
    least = float(positive.min(initial=most / 10))
    low = max(least, most * 10.0**-DECADES)
    return LogNorm(low, most), least < low


def make_legible(texts: Sequence[Text]) -> None:
    """Give each text a font that has its characters; write U+XXXX for those that no font has."""
    for text, (words, file) in zip(
        texts, _legible_texts([t.get_text() for t in texts]), strict=True
    ):
        text.set_text(words)
        _set_font(text, file)


def _set_font(text: Text, file: str | None) -> None:
    """Set the font of a text if it is not the default; dollar signs are no mathematics."""
    from matplotlib.font_manager import FontProperties

    text.set_parse_math(False)
    if file is not None:
        text.set_fontproperties(FontProperties(fname=file, size=text.get_fontsize()))


def _legible_texts(texts: Iterable[str]) -> list[tuple[str, str | None]]:
    """Each text as it can be shown, and the file of its font; None for the default font."""
    texts = list(texts)
    (_, default), *others = _font_files({c for text in texts for c in text})
    found: list[tuple[str, str | None]] = []
    for text in texts:
        file = next((file for file, known in others if known.issuperset(text)), None)
        if file is None or default.issuperset(text):
            codes = (c if c in default else f"U+{ord(c):04X}" for c in text)
            found.append(("".join(codes), None))
        else:
            found.append((text, file))
    return found


def _font_files(characters: set[str]) -> list[tuple[str, set[str]]]:
    """Font files with those of ``characters`` that they have: the default font, then fallbacks.

    Fonts of boxes and of coloured pictures are left out.
    """
    from matplotlib.font_manager import findfont, fontManager, get_font

    default = findfont(FONT)
    upright = [e for e in fontManager.ttflist if e.style == "normal" and e.weight == 400]
    files = {e.fname for e in upright if not any(bad in e.name for bad in PICTURE_FONTS)}
    found: list[tuple[str, set[str]]] = []
    missing = set(characters)
    for file in [default, *sorted(files)]:
        known: set[str] = set()
        with suppress(OSError, RuntimeError):  # a font that cannot be read is skipped
            font = get_font(file)
            known = {c for c in characters if font.get_char_index(ord(c))}
        if known & missing or not found:
            found.append((file, known))
        missing -= known
        if not missing:
            break
    return found
