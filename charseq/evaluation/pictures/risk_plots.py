"""scored rows -> one picture of how far answers can be trusted, and of the errors in them.

The upper three panels: the risk-coverage curve beside that of the best possible order, the
reliability diagram (Guo et al. 2017), and the probabilities of right answers, wrong ones and those
to strangers. Below them the panels of :mod:`charseq.evaluation.pictures.error_plots`. matplotlib is
an extra, which is loaded when the picture is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq import files, plots
from charseq.confidence.calibration import reliability
from charseq.display import count as counted
from charseq.evaluation.metrics import right_targets
from charseq.evaluation.pictures import error_plots
from charseq.evaluation.risk import Levels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from charseq.evaluation.scoring import Outcome
    from charseq.inference.prediction import Prediction

BINS = 25
"""Bars of the histogram from 0 to 1."""


def check(path: str | Path, *, force: bool) -> None:
    """Refuse a picture that cannot be drawn, before the work begins.

    Raises:
        UsageError: the name ends in neither .png nor .svg, or the file exists and ``force`` is
            false.
        MissingExtraError: matplotlib is not installed.
    """
    plots.check_name(path)
    files.refuse(path, force=force, what="picture")


@contextmanager
def drawing(
    path: Path, width: float, height: float, *, report: Callable[[str], None]
) -> Iterator[Figure]:
    """An empty figure of ``width`` by ``height`` inches, which is written when the block has ended.

    ``report`` gets a line on each script that no installed font has.

    Raises:
        DataError: the file cannot be written.
    """
    with (
        files.drawing(path) as part,
        plots.figure_page(part, width, height, report=report) as figure,
    ):
        yield figure


def draw(
    path: str | Path,
    outcome: Outcome,
    strangers: Sequence[Prediction] = (),
    *,
    coverage: Sequence[dict[str, Any]],
    lengths: Sequence[Mapping[str, Any]],
    edits: Mapping[tuple[str, str], int],
    title: str,
    force: bool = False,
    report: Callable[[str], None] = plots.unreported,
) -> None:
    """Draw the panels into a PNG or SVG file.

    Args:
        path: the file to write.
        outcome: the scored rows.
        strangers: predictions for texts that have no right answer.
        coverage: the coverages of :func:`charseq.evaluation.risk.assess`, which are marked.
        lengths: see :func:`charseq.evaluation.analysis.by_length`.
        edits: see :func:`charseq.evaluation.analysis.edit_counts`.
        title: the line above the panels.
        force: overwrite the file.
        report: gets a line on each script that no installed font has.

    Raises:
        UsageError: as :func:`check`.
        DataError: the file cannot be written.
    """
    final = Path(path)
    check(final, force=force)
    with drawing(final, 16.5, 9.6, report=report) as figure:
        grid = figure.add_gridspec(2, 3)
        curve, diagram, histogram = (figure.add_subplot(grid[0, column]) for column in range(3))
        _draw_curve(curve, Levels.of_outcome(outcome), coverage)
        _draw_reliability(diagram, outcome)
        _draw_histogram(histogram, outcome, strangers)
        error_plots.draw_lengths(figure.add_subplot(grid[1, 0]), {"": lengths})
        error_plots.draw_edits(figure.add_subplot(grid[1, 1:]), edits)
        figure.suptitle(title)


def _draw_curve(axes: Axes, levels: Levels, coverage: Sequence[dict[str, Any]]) -> None:
    counts = levels.counts(levels.once())
    rows, wrong = counts.rows[0], counts.wrong[0]
    share = 100 * rows / rows[-1]
    best = np.maximum(0, np.arange(1, rows[-1] + 1) - (rows[-1] - wrong[-1]))
    steps = np.arange(1, rows[-1] + 1)
    look = {"drawstyle": "steps-pre"}
    plots.draw_line(axes, 0, "by probability", share, 100 * counts.risk[0], **look)
    plots.draw_line(axes, 2, "best possible order", 100 * steps / rows[-1], 100 * best / steps)
    top = 1.1 * max(float(100 * counts.risk[0].max()), float(100 * best[-1] / rows[-1]))
    for number, one in enumerate(coverage):
        if one["rows"]:
            name = f"{one['coverage']:.1f} % at {one['error']} % error"
            at = int(np.flatnonzero(rows == one["rows"])[0])
            y = 100 * wrong[at] / rows[at]
            axes.plot(one["coverage"], y, "os"[number % 2], color=plots.COLOURS[3], label=name)
    axes.set(xlim=(0, 101), ylim=(0, top or 1.0))
    plots.label_axes(axes, "rows answered (%)", "wrong among them (%)", "Risk and coverage")
    axes.legend()


def _draw_reliability(axes: Axes, outcome: Outcome) -> None:
    sure = [one.probability for one in outcome.predictions]
    mean, came, _ = reliability(sure, right_targets(outcome))
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    plots.draw_line(axes, 0, "", mean, came, marker="o", markersize=5)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    title = f"Reliability ({len(mean)} bins of equal size)"
    plots.label_axes(axes, "mean probability", "share of right answers", title)


def _draw_histogram(axes: Axes, outcome: Outcome, strangers: Sequence[Prediction]) -> None:
    judged = list(zip(outcome.predictions, outcome.judgements, strict=True))
    answered = [one.probability for one in strangers if one.prediction]
    groups = {
        "right": [one.probability for one, verdict in judged if verdict.right],
        "wrong": [one.probability for one, verdict in judged if not verdict.right],
        "strangers": answered,
    }
    edges = np.linspace(0, 1, BINS + 1).tolist()
    for number, (name, values) in enumerate(groups.items()):
        if values:
            colour, dash = plots.COLOURS[(0, 3, 6)[number]], plots.DASHES[number]
            label = f"{name} ({len(values):,})"
            axes.hist(
                values, edges, histtype="step", label=label, color=colour, linestyle=dash,
                linewidth=1.8,
            )  # fmt: skip
    axes.set(yscale="log", xlim=(0, 1.02), ylim=(0.7, None))
    refused = len(strangers) - len(answered)
    note = f"; {counted(refused, 'stranger')} refused" if refused else ""
    plots.label_axes(axes, "probability", "answers", f"Probabilities of answers{note}")
    axes.legend(loc="upper left")
