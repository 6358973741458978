"""arrays -> figures: line plots and heat maps in a PNG or SVG file, by the suffix of its name.

It is the only module with matplotlib, an extra that is loaded when a figure is drawn; without it
every function raises ModuleNotFoundError. A user's own matplotlib settings change nothing, and the
same numbers give the same file, byte for byte.

Texts of any script are written in the installed fonts that have their characters. A character that
none has is written as U+XXXX, and ``report`` gets a line on its script and the fonts that have it.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.errors import UsageError, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
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
PLAIN_FONT = "Sans"
"""A part of the names of fonts that are preferred, where several have a character."""
NOUNS = frozenset({
    "CAPITAL", "SMALL", "LETTER", "VOWEL", "CONSONANT", "SYLLABLE", "SYLLABICS", "IDEOGRAPH",
    "IDEOGRAPHIC", "UNIFIED", "COMPATIBILITY", "SIGN", "DIGIT", "NUMBER", "NUMERAL", "MARK", "TONE",
    "INDEPENDENT", "DEPENDENT", "COMBINING", "LIGATURE", "PUNCTUATION", "DANDA", "FRACTION",
    "SUBJOINED", "CHARACTER", "HIEROGLYPH", "RADICAL",
})  # fmt: skip
"""Words of Unicode names that follow the name of a script."""
SYMBOLS = "symbols"
PACKAGES: Mapping[str, str] = {
    **dict.fromkeys(("CJK", "Hiragana", "Katakana", "Hangul", "Bopomofo"), "fonts-noto-cjk"),
    **dict.fromkeys(("Fullwidth", "Halfwidth", "Kangxi"), "fonts-noto-cjk"),
    SYMBOLS: "fonts-symbola",
}
"""The Debian packages with fonts of scripts that fonts-noto-core has not."""
NAMED_CHARACTERS = 8
"""Characters of a script without a font that are named."""

Report = Callable[[str], None]


def unreported(text: str) -> None:
    """Drop a line for people."""


def check_name(path: str | Path) -> None:
    """Refuse a picture that cannot be drawn, before the work begins.

    Raises:
        UsageError: the name ends in neither .png nor .svg.
        MissingExtraError: matplotlib is not installed.
    """
    if Path(path).suffix.lower() not in METADATA:
        raise UsageError(f"{path}: a picture's name ends in {' or '.join(METADATA)}")
    require("matplotlib", "drawing pictures")


def curves(
    path: str | Path,
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    legend: str = "",
    limits: tuple[float, float] = (-20.0, 20.0),
    report: Report = unreported,
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
    with figure_page(path, 1.5 + 4.25 * columns, 1.2 + 2.7 * rows, report=report) as figure:
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
        figure.suptitle(title)
        figure.supxlabel(xlabel, size="medium")
        figure.supylabel(ylabel + note, size="medium")
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
    most: float | None = None,
    marked: Iterable[tuple[int, int]] = (),
    from_right: bool = False,
    report: Report = unreported,
) -> None:
    """Heat map of a table of numbers (at least 0); ``scale`` is the label of the colour bar.

    ``rows`` and ``columns`` label the axes, by default with numbers from 1. The darkest colour is
    ``most``, by default the largest number. Cells that are ``marked`` (row and column, from 0) have
    a frame. With ``from_right`` the first column is the rightmost one, as right-to-left letters
    are read.

    Raises:
        ValueError: ``path`` ends in neither .png nor .svg.
    """
    from matplotlib.ticker import MaxNLocator

    table = np.asarray(values, dtype=float)
    height, width = (
        min(MAX_INCHES, max(MIN_INCHES, CELL_INCHES * count)) if labels else UNLABELLED_INCHES
        for count, labels in zip(table.shape, (rows, columns), strict=True)
    )
    with figure_page(path, width + 2.0, height + 1.2, report=report) as figure:
        axes = figure.subplots()
        axes.grid(visible=False)
        edges = (0.5, table.shape[1] + 0.5, table.shape[0] + 0.5, 0.5)
        most = most or float(table.max(initial=0.0)) or 1.0
        image = axes.imshow(table, cmap="Blues", vmin=0.0, vmax=most, aspect="auto", extent=edges)
        figure.colorbar(image, label=scale)
        label_axes(axes, xlabel + _named(columns), ylabel + _named(rows), title)
        for axis, labels in ((axes.xaxis, columns), (axes.yaxis, rows)):
            if labels:
                words = [label.replace("\n", "U+000A") for label in labels]
                set_tick_labels(axis, words, rotate=axis is axes.xaxis)
            else:
                axis.set_major_locator(MaxNLocator(integer=True))
        for row, column in marked:
            axes.add_patch(_frame(row + 1, column + 1))
        if from_right:
            axes.invert_xaxis()


def heat_maps(
    path: str | Path,
    panels: Mapping[str, ArrayLike],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    scale: str,
    report: Report = unreported,
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
    with figure_page(path, 1.9 + 3.1 * columns, 1.1 + 3.0 * rows, report=report) as figure:
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
        figure.suptitle(title)
        figure.supxlabel(xlabel, size="medium")
        figure.supylabel(ylabel, size="medium")
        bar.set_label(scale)


@contextmanager
def figure_page(
    path: str | Path, width: float, height: float, *, report: Report = unreported
) -> Iterator[Figure]:
    """An empty figure of ``width`` by ``height`` inches; it is written when the block has ended.

    Its texts get fonts that have their characters. ``report`` gets a line for each script that no
    installed font has.

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
        for line in _make_legible(figure):
            report(line)
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
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title)


def set_tick_labels(axis: Axis, labels: Sequence[str], *, rotate: bool = False) -> None:
    """Labels at 1, 2, 3, …; with ``rotate`` labels of more than two characters are upright."""
    from matplotlib.ticker import FixedFormatter, FixedLocator

    shown = range(0, len(labels), -(-len(labels) // MAX_LABELS) or 1)
    axis.set_major_locator(FixedLocator([number + 1 for number in shown]))
    axis.set_major_formatter(FixedFormatter([labels[number] for number in shown]))
    for text in axis.get_ticklabels() if rotate else ():
        if len(text.get_text()) > 2:
            text.set_rotation(90)


def _named(labels: Sequence[str]) -> str:
    """A note on labels of which only some have room."""
    step = -(-len(labels) // MAX_LABELS)
    ordinals = {2: "2nd", 3: "3rd"}
    return f" (every {ordinals.get(step, f'{step}th')} is named)" if step > 1 else ""


def _frame(row: float, column: float) -> Rectangle:
    """The frame of a cell of a heat map."""
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=COLOURS[3])


def add_legend(figure: Figure, drawn: Iterable[Axes], *, title: str = "") -> None:
    """One legend for all axes, to their right; each name once."""
    named = {
        name: handle
        for axes in drawn
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(named.values(), named.keys(), loc="outside right center", title=title)


def _log_colours(values: np.ndarray[Any, Any]) -> tuple[Normalize, bool]:
    """Logarithmic colours of numbers, and whether a number above 0 lies below their range."""
    from matplotlib.colors import LogNorm

    positive = values[values > 0]
    most = float(positive.max(initial=0.0)) or 1.0
    least = float(positive.min(initial=most / 10))
    low = max(least, most * 10.0**-DECADES)
    return LogNorm(low, most), least < low


# --- fonts for every script


def _make_legible(figure: Figure) -> list[str]:
    """Give each text a font that has its characters; the lines on characters that no font has.

    Numbers along an axis stay as their formatter writes them; dollar signs in other texts are no
    mathematics.
    """
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter

    labels = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    named = [one for one in labels if isinstance(one.get_major_formatter(), FixedFormatter)]
    numbers = {text for one in labels if one not in named for text in one.findobj(Text)}
    numbers -= {one.label for one in labels}
    texts = [text for text in figure.findobj(Text) if text not in numbers]
    written = [text.get_text() for text in texts]
    for axis in named:
        written += axis.get_major_formatter().seq  # type: ignore[attr-defined]
    visible = {c for text in written for c in text if unicodedata.category(c) != "Cc"}
    fonts = _fonts(visible)
    known = set[str]().union("\n", *(characters for _, characters in fonts))
    for axis in named:
        formatter: Any = axis.get_major_formatter()
        before, formatter.seq = formatter.seq, [_by_number(one, known) for one in formatter.seq]
        for text, one in zip(axis.get_majorticklabels(), before, strict=True):
            texts.append(text)
            if axis.axis_name == "x" and one != _by_number(one, known):
                text.set_rotation(90)
    for text in dict.fromkeys(texts):
        words = _by_number(text.get_text(), known)
        text.set_text(words)
        text.set_parse_math(False)
        if families := _families(words, fonts):
            text.set_fontfamily(families)
    return _lines_on_missing({c for text in written for c in text} - known)


def _by_number(text: str, known: set[str]) -> str:
    return "".join(c if c in known else f"U+{ord(c):04X}" for c in text)


def _families(text: str, fonts: Sequence[tuple[str, set[str]]]) -> list[str]:
    """The names of the fonts for a text, one that has all of it before others; none: the default.

    Marks stand where they belong if they are in the font of their letters.
    """
    needed = set(text) - {"\n"}
    if needed <= fonts[0][1]:
        return []
    whole = [name for name, has in fonts if needed <= has][:1]
    return list(dict.fromkeys([*whole, *(name for name, has in fonts if has & needed)]))


def _fonts(characters: set[str]) -> list[tuple[str, set[str]]]:
    """Names of fonts with those of ``characters`` that they have: the default, then fallbacks.

    Fonts of boxes and of coloured pictures are left out. Fonts that were installed since matplotlib
    wrote its list of them are found too.
    """
    from matplotlib.font_manager import findSystemFonts, fontManager

    found = _covering(characters, [])
    missing = characters.difference(*(has for _, has in found))
    if any(unicodedata.category(c)[0] != "C" for c in missing):
        listed = {entry.fname for entry in fontManager.ttflist}
        for file in sorted(set(findSystemFonts()) - listed):
            with suppress(OSError, RuntimeError, ValueError):  # it cannot be read
                fontManager.addfont(file)
        found = _covering(missing, found)
    return found


def _covering(
    characters: set[str], found: Sequence[tuple[str, set[str]]]
) -> list[tuple[str, set[str]]]:
    """The fonts that were found, and those that add to their ``characters``."""
    from matplotlib.font_manager import findfont, fontManager, get_font

    upright = [e for e in fontManager.ttflist if e.style == "normal" and e.weight == 400]
    named = {e.name: e.fname for e in upright if not any(bad in e.name for bad in PICTURE_FONTS)}
    others = sorted(named.items(), key=lambda one: (PLAIN_FONT not in one[0], one))
    fonts, missing = list(found), set(characters)
    for name, file in [*([] if fonts else [(FONT, findfont(FONT))]), *others]:
        if fonts and not missing:
            break
        known: set[str] = set()
        with suppress(OSError, RuntimeError):  # a font that cannot be read is skipped
            font = get_font(file)
            known = {c for c in characters if font.get_char_index(ord(c))}
        if known & missing or not fonts:
            fonts.append((name, known))
        missing -= known
    return fonts


def _lines_on_missing(characters: set[str]) -> list[str]:
    """A line for each script, with the Debian package of a font that has it."""
    scripts: dict[str, list[str]] = {}
    for c in sorted(characters):
        if unicodedata.category(c)[0] != "C":
            scripts.setdefault(_script(c), []).append(c)
    lines = []
    for script, found in scripts.items():
        package = PACKAGES.get(script.partition(" ")[0], "fonts-noto-core")
        shown = " ".join(found[:NAMED_CHARACTERS]) + (" …" if len(found) > NAMED_CHARACTERS else "")
        lines.append(
            f"no installed font has {script} ({shown}), so the picture has U+XXXX in their place: "
            f"install one (Debian: apt install {package})"
        )
    return lines


def _script(character: str) -> str:
    """The name of the script of a character, by its Unicode name."""
    words = unicodedata.name(character, "").partition("-")[0].split()
    script = " ".join(takewhile(lambda word: word not in NOUNS, words))
    if unicodedata.category(character)[0] == "S" or not script:
        return SYMBOLS
    return script if script == "CJK" else script.title()
