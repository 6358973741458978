"""arrays -> figures: a PNG or SVG file, by the suffix of its name.

It knows nothing of what the numbers mean, and it is the only room with matplotlib, an extra that
is loaded when a figure is drawn: without it every function raises ModuleNotFoundError. A user's
own matplotlib settings change nothing, and the same numbers give the same file, byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from numpy.typing import ArrayLike

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
"""Told apart by colour-blind people as well (Okabe and Ito 2008); dashes and markers help."""
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 2)), (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
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
"""What would change from one version or second to the next is left out of a file."""
DOTS = 150
"""Dots per inch of a PNG."""
CELL, SIDE, SHORTEST, LONGEST = 0.3, 5.0, 4.0, 24.0
"""Inches of a heat map: a labelled cell, a side without labels, and the limits of a side."""
LABELS = 120
"""At most so many labels stand along an axis; of more, every n-th is shown."""
DECADES = 8
"""A logarithmic colour scale reaches so many powers of ten below its largest value."""
FAMILY = "DejaVu Sans"
PICTURES = ("Last Resort", "LastResort", "Emoji")


def curves(
    path: str | Path,
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    limits: tuple[float, float] = (-20.0, 20.0),
) -> None:
    """A panel per name with a line per name; the values are log10, at x = 0, 1, 2, …

    All panels share their axes. Values are shown within ``limits`` (log10), and the axis says so
    where it cuts a line. A line has a gap where a value is not finite.

    Raises:
        ValueError: ``path`` ends in neither .png nor .svg.
    """
    from matplotlib.ticker import MaxNLocator

    columns = 1 if len(panels) == 1 else 2
    rows = -(-len(panels) // columns)
    with _page(path, 1.5 + 4.25 * columns, 1.2 + 2.7 * rows) as figure:
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
        for axes, (panel, lines) in zip(grid, panels.items(), strict=False):
            axes.set_title(panel)
            for name, values in lines.items():
                _line(axes, names.index(name), name, range(len(values)), values)
        shown = grid[: len(panels)]
        for axes in grid[len(panels) :]:
            axes.remove()
        for axes in shown[-columns:]:  # also where no panel stands below
            axes.tick_params(labelbottom=True)
        every = [y for lines in panels.values() for values in lines.values() for y in values]
        note = _limit(grid[0], [y for y in every if math.isfinite(y)], limits)
        grid[0].yaxis.set_major_locator(MaxNLocator(integer=True))
        grid[0].yaxis.set_major_formatter(lambda y, _: f"$10^{{{y:g}}}$")
        words = [figure.suptitle(title), figure.supxlabel(xlabel, size="medium")]
        words.append(figure.supylabel(ylabel + note, size="medium"))
        _make_legible([*words, *(axes.title for axes in shown)])
        _legend(figure, shown)


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
    """A line with markers per name, from its (xs, ys). Few different xs become the ticks.

    Raises:
        ValueError: ``path`` ends in neither .png nor .svg.
    """
    with _page(path, 8.5, 4.5) as figure:
        axes = figure.subplots()
        for number, (name, (xs, ys)) in enumerate(named.items()):
            _line(axes, number, name, xs, ys, marker=MARKERS[number % len(MARKERS)])
        _label(axes, xlabel, ylabel, title)
        if log_y:
            axes.set_yscale("log")
        if log_x:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
        ticks = sorted({x for xs, _ in named.values() for x in xs})
        if len(ticks) <= 12:
            axes.set_xticks(ticks)
            axes.minorticks_off()
        _legend(figure, [axes])


class Panel(NamedTuple):
    """Lines by their names, each from its (xs, ys), and what stands along the axes."""

    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    xlabel: str
    ylabel: str


def panels(path: str | Path, shown: Sequence[Panel], *, columns: int, title: str) -> None:
    """Panels of lines with markers, logarithmic both ways; a name has one look in all of them.

    Panels side by side share what is on their vertical axis.
    A straight line that rises by one decade in a decade is what grows as fast as x.

    Raises:
        ValueError: ``path`` ends in neither .png nor .svg.
    """
    names = list(dict.fromkeys(name for panel in shown for name in panel.lines))
    rows = -(-len(shown) // columns)
    with _page(path, 1.8 + 3.4 * columns, 1.0 + 2.9 * rows) as figure:
        grid = figure.subplots(rows, columns, sharey="row", squeeze=False).flatten()
        for axes, panel in zip(grid, shown, strict=False):
            for name, (xs, ys) in panel.lines.items():
                number = names.index(name)
                _line(axes, number, name, xs, ys, marker=MARKERS[number % len(MARKERS)])
            axes.set_xscale("log")
            axes.set_yscale("log")
            _label(axes, panel.xlabel, panel.ylabel, "")
        for axes in grid[len(shown) :]:
            axes.remove()
        _make_legible([figure.suptitle(title)])
        _legend(figure, grid[: len(shown)])


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
    log: bool = False,
) -> None:
    """A table of numbers (at least 0) as colours; ``scale`` says what they are.

    ``rows`` and ``columns`` are the labels, numbers from 1 where there are none; characters that
    no font here has are shown as U+XXXX. With ``log`` zeros stay white, and the colours cover
    ``DECADES`` powers of ten at most.

    Raises:
        ValueError: ``path`` ends in neither .png nor .svg.
    """
    from matplotlib.ticker import MaxNLocator

    table = np.asarray(values, dtype=float)
    height, width = (
        min(LONGEST, max(SHORTEST, CELL * count)) if labels else SIDE
        for count, labels in zip(table.shape, (rows, columns), strict=True)
    )
    with _page(path, width + 2.0, height + 1.2) as figure:
        axes = figure.subplots()
        axes.grid(visible=False)
        edges = (0.5, table.shape[1] + 0.5, table.shape[0] + 0.5, 0.5)
        norm, cut = _colours(table, log=log)
        shown = np.ma.masked_less_equal(table, 0) if log else table
        image = axes.imshow(shown, norm=norm, aspect="auto", extent=edges)
        image.set_cmap("viridis_r" if log else "Blues")
        figure.colorbar(image, label=scale, extend="min" if cut else "neither")
        _label(axes, xlabel, ylabel, title)
        for axis, labels in ((axes.xaxis, columns), (axes.yaxis, rows)):
            if labels:
                _name(axis, labels, turned=axis is axes.xaxis)
            else:
                axis.set_major_locator(MaxNLocator(integer=True))


@contextmanager
def _page(path: str | Path, width: float, height: float) -> Iterator[Figure]:
    """An empty figure of so many inches, written to ``path`` when the block ends well."""
    suffix = Path(path).suffix.lower()
    if suffix not in METADATA:
        raise ValueError(f"{path}: a figure's name ends in {' or '.join(METADATA)}")
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(["default", STYLE]):
        figure = Figure((width, height), layout="constrained")
        yield figure
        figure.savefig(path, format=suffix[1:], dpi=DOTS, metadata=METADATA[suffix])


def _line(axes: Axes, number: int, name: str, xs: ArrayLike, ys: ArrayLike, **look: Any) -> None:
    """A line with the colour, dashes and marker of its number; gaps where it is not finite."""
    values = np.asarray(ys, dtype=float)
    axes.plot(
        np.asarray(xs, dtype=float),
        np.where(np.isfinite(values), values, np.nan),
        label=name,
        color=COLOURS[number % len(COLOURS)],
        linestyle=DASHES[number % len(DASHES)],
        **look,
    )


def _limit(axes: Axes, values: Sequence[float], limits: tuple[float, float]) -> str:
    """Sets the axis of log10 values to what they need within ``limits``; a note if that cuts."""
    least, most = min(values, default=0.0), max(values, default=0.0)
    low, high = max(limits[0], math.floor(least)), min(limits[1], math.ceil(most))
    axes.set_ylim(low, max(high, low + 1))
    cut = [f"below 1e{limits[0]:+g}"] * (least < low) + [f"above 1e{limits[1]:+g}"] * (most > high)
    return f" (cut off {' and '.join(cut)})" if cut else ""


def _label(axes: Axes, xlabel: str, ylabel: str, title: str) -> None:
    _make_legible([axes.set_xlabel(xlabel), axes.set_ylabel(ylabel), axes.set_title(title)])


def _name(axis: Axis, labels: Sequence[str], *, turned: bool) -> None:
    """Labels at 1, 2, 3, …; ``turned``: those that take too much room on their side stand up."""
    places = range(0, len(labels), -(-len(labels) // LABELS))
    seen = _legible(labels[place] for place in places)
    axis.set_ticks([place + 1 for place in places], [words for words, _ in seen])
    for text, (words, file) in zip(axis.get_ticklabels(), seen, strict=True):
        _dress(text, file)
        if turned and len(words) > 2:
            text.set_rotation(90)


def _legend(figure: Figure, drawn: Iterable[Axes]) -> None:
    """One legend beside all axes, a name once."""
    named = {
        name: handle
        for axes in drawn
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    legend = figure.legend(named.values(), named.keys(), loc="outside right center")
    _make_legible(legend.get_texts())


def _colours(table: np.ndarray[Any, Any], *, log: bool) -> tuple[Normalize, bool]:
    """The scale of colours, and whether values above 0 lie below its end."""
    from matplotlib.colors import LogNorm, Normalize

    positive = table[table > 0]
    most = float(positive.max(initial=0.0)) or 1.0
    if not log:
        return Normalize(0.0, most), False
    least = float(positive.min(initial=most / 10))
    low = max(least, most * 10.0**-DECADES)
    return LogNorm(low, most), least < low


def _make_legible(texts: Sequence[Text]) -> None:
    """Gives each text a font that has its characters, or U+XXXX for those that none has."""
    for text, (words, file) in zip(texts, _legible([t.get_text() for t in texts]), strict=True):
        text.set_text(words)
        _dress(text, file)


def _dress(text: Text, file: str | None) -> None:
    """A font for a text, where it is not the usual one; dollar signs mean themselves."""
    from matplotlib.font_manager import FontProperties

    text.set_parse_math(False)
    if file is not None:
        text.set_fontproperties(FontProperties(fname=file, size=text.get_fontsize()))


def _legible(texts: Iterable[str]) -> list[tuple[str, str | None]]:
    """Each text as it can be shown, and the file of its font; None for the usual one."""
    texts = list(texts)
    (_, usual), *others = _fonts({c for text in texts for c in text})
    found: list[tuple[str, str | None]] = []
    for text in texts:
        file = next((file for file, known in others if known.issuperset(text)), None)
        if file is None or usual.issuperset(text):
            codes = (c if c in usual else f"U+{ord(c):04X}" for c in text)
            found.append(("".join(codes), None))
        else:
            found.append((text, file))
    return found


def _fonts(characters: set[str]) -> list[tuple[str, set[str]]]:
    """Files of fonts with the ``characters`` they have: the usual one, then what it needs help of.

    Fonts of boxes and of coloured pictures do not count.
    """
    from matplotlib.font_manager import findfont, fontManager, get_font

    usual = findfont(FAMILY)
    upright = [e for e in fontManager.ttflist if e.style == "normal" and e.weight == 400]
    files = {e.fname for e in upright if not any(bad in e.name for bad in PICTURES)}
    found: list[tuple[str, set[str]]] = []
    missing = set(characters)
    for file in [usual, *sorted(files)]:
        known: set[str] = set()
        with suppress(OSError, RuntimeError):  # a font that cannot be read helps nobody
            font = get_font(file)
            known = {c for c in characters if font.get_char_index(ord(c))}
        if known & missing or not found:
            found.append((file, known))
        missing -= known
        if not missing:
            break
    return found
