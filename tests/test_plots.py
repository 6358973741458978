"""Figures as files: their format, the same bytes every time, and the numbers that they show."""

from __future__ import annotations

import math
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure

from charseq import plots

WORDS = {"xlabel": "steps", "ylabel": "norm", "title": "a title"}
PANELS = {
    "tanh": {"0.5": [0.0, -30.0, -60.0], "2": [0.0, 3.0, 7.0]},
    "gru": {"0.5": [0.0, -1.0, -math.inf]},
    "lstm": {"3": [0.0, 1.0]},
}


def draw_curves(path: Path) -> None:
    plots.curves(path, PANELS, **WORDS)


def draw_terms(path: Path) -> None:
    tables = {name: np.tril(np.full((6, 6), 10.0**-k)) for k, name in enumerate("abcd")}
    plots.heat_maps(path, tables, scale="norm", **WORDS)


def draw_symbols(path: Path) -> None:
    columns = ["a", "$x$", "日", "\n", "◌\u0301", "<V;PST>"]
    plots.heat_map(path, [range(6)] * 2, rows=["b", "<end>"], columns=columns, scale="%", **WORDS)


EVERY = [draw_curves, draw_terms, draw_symbols]
each_figure = pytest.mark.parametrize("draw", EVERY, ids=lambda draw: draw.__name__)
Draw = Callable[[Path], None]


# --- files


@each_figure
def test_a_png_has_its_size_and_no_version(draw: Draw, tmp_path: Path) -> None:
    path = tmp_path / "one.PNG"
    draw(path)
    raw = path.read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", raw[16:24])
    assert 600 < width < 2000
    assert 500 < height < 1500
    assert b"matplotlib" not in raw.lower()


@each_figure
def test_an_svg_is_valid_and_has_no_date(draw: Draw, tmp_path: Path) -> None:
    path = tmp_path / "one.svg"
    draw(path)
    text = path.read_text(encoding="utf-8")
    assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "dc:date" not in text
    assert "nan" not in re.sub(r"<!--.*?-->", "", text).lower()


@each_figure
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_numbers_give_the_same_file(draw: Draw, suffix: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}{suffix}" for number in range(2)]
    for file in files:
        draw(file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_another_process_gives_the_same_file(tmp_path: Path) -> None:
    draw_curves(tmp_path / "here.svg")
    program = (
        "from pathlib import Path; from math import inf; from charseq import plots;"
        f"plots.curves(Path('there.svg'), {PANELS!r}, **{WORDS!r})"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    assert (tmp_path / "there.svg").read_bytes() == (tmp_path / "here.svg").read_bytes()


def test_a_users_own_settings_change_nothing_and_stay(tmp_path: Path) -> None:
    import matplotlib as mpl

    draw_curves(tmp_path / "one.png")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9}):
        before = dict(mpl.rcParams)
        draw_curves(tmp_path / "other.png")
        assert dict(mpl.rcParams) | {"backend": before["backend"]} == before
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()


@each_figure
@pytest.mark.parametrize("name", ["x.pdf", "x", "png", "x.png.gz"])
def test_an_unknown_suffix_is_refused_in_one_sentence(
    draw: Draw, name: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"x?\S*: a figure's name ends in \.png or \.svg$"):
        draw(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_matplotlib_is_loaded_when_a_figure_is_drawn_and_pyplot_never(tmp_path: Path) -> None:
    program = (
        "import sys; from charseq import plots; before = 'matplotlib' in sys.modules;"
        "plots.curves('x.png', {'a': {'b': [1]}}, xlabel='', ylabel='', title='');"
        "print(before, 'matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert result.stdout.split() == ["False", "True", "False"]


def test_without_matplotlib_the_import_error_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in EVERY:
        with pytest.raises(ModuleNotFoundError, match="matplotlib"):
            draw(tmp_path / "x.png")


# --- what they show


def test_a_panel_per_cell_with_its_lines_alike_in_all(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.curves(tmp_path / "x.svg", PANELS, legend="scale", **WORDS)
    panels = drawn[0].axes
    assert [axes.get_title() for axes in panels] == list(PANELS)
    for axes, lines in zip(panels, PANELS.values(), strict=True):
        assert [line.get_label() for line in axes.get_lines()] == list(lines)
        for line, values in zip(axes.get_lines(), lines.values(), strict=True):
            assert list(line.get_xdata()) == list(range(len(values)))
            wanted = [value if math.isfinite(value) else math.nan for value in values]
            np.testing.assert_array_equal(line.get_ydata(), wanted)
    # the lowest panel of each column has numbers on its axis
    below = [axes.xaxis.get_tick_params()["labelbottom"] for axes in panels]
    assert below == [False, True, True]
    styles = {
        name: {
            (line.get_color(), line.get_linestyle())
            for axes in panels
            for line in axes.get_lines()
            if line.get_label() == name
        }
        for name in ("0.5", "2", "3")
    }
    assert all(len(found) == 1 for found in styles.values())
    assert len(set.union(*styles.values())) == 3
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["0.5", "2", "3"]
    assert legend.get_title().get_text() == "scale"


@pytest.mark.parametrize(
    ("values", "limits", "note"),
    [
        ([0, -60.0], (-20, 7), "norm (cut off below 1e-20)"),
        ([0, 60.0], (0, 20), "norm (cut off above 1e+20)"),
        ([-60.0, 60.0], (-20, 20), "norm (cut off below 1e-20 and above 1e+20)"),
        ([0, -19.5], (-20, 7), "norm"),
        ([0.0, -math.inf], (0, 7), "norm"),
    ],
)
def test_an_axis_says_where_it_cuts(
    values: list[float], limits: tuple[int, int], note: str, tmp_path: Path, drawn: list[Figure]
) -> None:
    plots.curves(tmp_path / "x.png", {"a": {"1": values}, "b": {"1": [6.5]}}, **WORDS)
    low, high = drawn[0].axes[0].get_ylim()
    assert (low, max(high, 7)) == (limits[0], max(limits[1], 7))
    assert drawn[0].axes[1].get_ylim() == (low, high)
    assert drawn[0].get_supylabel() == note


def test_values_of_the_axis_are_powers_of_ten(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.curves(tmp_path / "x.png", {"a": {"1": [0.2, 0.9]}}, **WORDS)
    axes = drawn[0].axes[0]
    assert axes.get_ylim() == (0, 1)
    assert {text.get_text() for text in axes.get_yticklabels()} <= {
        f"$10^{{{power}}}$" for power in range(-1, 3)
    }


def test_a_heat_map_has_its_first_row_on_top_and_counts_from_one(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    table = np.arange(1.0, 31.0).reshape(5, 6)
    plots.heat_map(tmp_path / "x.png", table, scale="norm", **WORDS)
    axes, bar = drawn[0].axes
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), table)
    assert image.origin == "upper"
    assert image.get_extent() == [0.5, 6.5, 5.5, 0.5]
    assert image.get_clim() == (0, 30)
    assert bar.get_ylabel() == "norm"
    assert all(float(tick).is_integer() for tick in (*axes.get_xticks(), *axes.get_yticks()))


@pytest.mark.parametrize(
    ("table", "limits", "cut"),
    [
        ([[0.0, 1e-3], [1e-5, 10.0]], (1e-5, 10.0), "neither"),
        ([[0.0, 1e-30], [1e-5, 10.0]], (1e-7, 10.0), "min"),
        ([[0.0, 4.0]], (0.4, 4.0), "neither"),
        ([[0.0, 0.0]], (0.1, 1.0), "neither"),
    ],
)
def test_logarithmic_colours_leave_zeros_white_and_say_where_they_end(
    table: list[list[float]],
    limits: tuple[float, float],
    cut: str,
    tmp_path: Path,
    drawn: list[Figure],
) -> None:
    plots.heat_maps(tmp_path / "x.png", {"a": table}, scale="norm", **WORDS)
    axes, bar = drawn[0].axes
    (image,) = axes.images
    assert image.get_clim() == pytest.approx(limits)
    assert bar._colorbar.extend == cut
    np.testing.assert_array_equal(np.ma.getmaskarray(image.get_array()), np.array(table) == 0)


def test_heat_maps_side_by_side_have_one_scale(tmp_path: Path, drawn: list[Figure]) -> None:
    """The same colour is the same number in every panel."""
    tables = {"a": [[1e-2, 0.0], [1e-1, 1e-2]], "b": [[100.0, 0.0], [1.0, 1.0]]}
    plots.heat_maps(tmp_path / "x.png", tables, scale="norm", **WORDS)
    first, second, bar = drawn[0].axes
    assert [axes.get_title() for axes in (first, second)] == ["a", "b"]
    for axes, table in zip((first, second), tables.values(), strict=True):
        (image,) = axes.images
        assert image.get_clim() == pytest.approx((1e-2, 100.0))
        assert image.get_extent() == [0.5, 2.5, 2.5, 0.5]
        np.testing.assert_array_equal(image.get_array().filled(0), table)
    assert bar.get_ylabel() == "norm"


def test_labels_that_no_font_has_are_shown_by_their_number(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    unknown = "\U000e0100"  # a mark that has no picture of its own in any font
    columns = ["a", "$x$", unknown, "\n", "ж"]
    plots.heat_map(tmp_path / "x.png", [range(5)], rows=["b"], columns=columns, scale="%", **WORDS)
    labels = drawn[0].axes[0].get_xticklabels()
    assert [text.get_text() for text in labels] == ["a", "$x$", "U+E0100", "U+000A", "ж"]
    assert [text.get_rotation() for text in labels] == [0, 90, 90, 90, 0]
    assert not any(text.get_parse_math() for text in labels)  # a dollar is a dollar


def test_a_character_of_another_font_is_written_in_that(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    # matplotlib brings both fonts along: "⎴" is missing in DejaVu Sans and stands in STIX
    plots.heat_map(tmp_path / "x.png", [[1, 2]], columns=["a", "⎴"], rows=["⎴"], scale="%", **WORDS)
    axes = drawn[0].axes[0]
    first, second = axes.get_xticklabels()
    assert [first.get_text(), second.get_text()] == ["a", "⎴"]
    assert first.get_fontfamily() == ["sans-serif"]
    assert second.get_fontfamily()[0] not in ("sans-serif", plots.FONT)
    assert second.get_fontsize() == first.get_fontsize()
    plots.curves(tmp_path / "x.png", {"⎴": {"⎴ $": [0.0]}}, **(WORDS | {"title": "\0 $1 $2 ⎴"}))
    assert drawn[1].get_suptitle() == "U+0000 $1 $2 ⎴", "a text may need several fonts"


def test_a_script_without_a_font_is_told_with_the_package_that_has_it(
    tmp_path: Path, drawn: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib import font_manager

    own = [e for e in font_manager.fontManager.ttflist if "mpl-data" in e.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)  # only those of matplotlib
    said: list[str] = []
    columns = ["क", "ख", "年", "あ", "a", "\0", "\U00013000"]
    plots.heat_map(
        tmp_path / "x.png", [range(7)], rows=["b"], columns=columns, scale="%",
        report=said.append, **(WORDS | {"title": "क"}),
    )  # fmt: skip
    place = "so the picture has U+XXXX in their place: install one (Debian: apt install"
    assert said == [
        f"no installed font has Devanagari (क ख), {place} fonts-noto-core)",
        f"no installed font has Hiragana (あ), {place} fonts-noto-cjk)",
        f"no installed font has CJK (年), {place} fonts-noto-cjk)",
        f"no installed font has Egyptian (\U00013000), {place} fonts-noto-core)",
    ]
    labels = drawn[0].axes[0].get_xticklabels()
    assert [one.get_text() for one in labels] == [
        "U+0915", "U+0916", "U+5E74", "U+3042", "a", "U+0000", "U+13000",
    ]  # fmt: skip
    assert [one.get_rotation() for one in labels] == [90, 90, 90, 90, 0, 90, 90]
    assert drawn[0].axes[0].get_title() == "U+0915"


def test_a_font_that_was_installed_since_the_last_time_is_found(
    tmp_path: Path, drawn: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    """matplotlib keeps a list of the fonts, which it does not renew by itself."""
    from matplotlib import font_manager

    every = font_manager.fontManager.ttflist
    new = next(e for e in every if e.name == "STIXGeneral" and e.style == "normal")
    others = [e for e in every if "DejaVu" in e.name and "mpl-data" in e.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", others)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [new.fname])
    said: list[str] = []
    plots.curves(tmp_path / "x.png", PANELS, report=said.append, **(WORDS | {"title": "⎴"}))
    assert said == []
    assert drawn[0].get_suptitle() == "⎴"
    assert new.fname in {e.fname for e in font_manager.fontManager.ttflist}


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_text_of_several_scripts_is_drawn_without_empty_boxes(
    suffix: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """matplotlib warns of every glyph that is missing; warnings are errors here."""
    plots.curves(tmp_path / f"x{suffix}", PANELS, **(WORDS | {"title": "⎴ Яß → ∂ ⎴ \U00013000"}))
    assert not recwarn.list


def test_marked_cells_have_a_frame_and_columns_may_run_from_the_right(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    plots.heat_map(
        tmp_path / "x.png", [[1, 2], [4, 3]], columns=["a", "b"], scale="%", most=10,
        marked=[(1, 0)], from_right=True, **WORDS,
    )  # fmt: skip
    axes = drawn[0].axes[0]
    (frame,) = axes.patches
    assert frame.get_bbox().extents.tolist() == [0.5, 1.5, 1.5, 2.5]
    assert axes.get_xlim() == (2.5, 0.5)
    assert axes.images[0].get_clim() == (0, 10)


def test_of_very_many_labels_every_nth_is_shown(tmp_path: Path, drawn: list[Figure]) -> None:
    columns = [chr(97 + i % 26) for i in range(300)]
    plots.heat_map(
        tmp_path / "x.png", [range(300)], rows=["b"], columns=columns, scale="%", **WORDS
    )
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == columns[::3]
    assert list(axes.get_xticks()) == list(range(1, 301, 3))
    assert axes.get_xlabel() == "steps (every 3rd is named)"
    assert drawn[0].get_size_inches()[0] < 30
