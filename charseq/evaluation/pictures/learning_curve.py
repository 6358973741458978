"""Runs -> one picture of their trainings: the scores on dev, the loss and the learning rate.

A panel for each score that the evaluations of a training measured, the error of the whole output
first, one for the loss on the training data, and one for the learning rate, which
older runs have not recorded. A point is an evaluation. matplotlib is an extra, which is loaded when
the picture is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from charseq import plots
from charseq.errors import CheckpointError, UsageError
from charseq.evaluation.pictures import risk_plots
from charseq.runs.store import read
from charseq.runs.untrusted import parse_object

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EVALUATIONS = "metrics.jsonl"
RATE = "learning_rate"
PANELS: Mapping[str, tuple[str, str]] = {
    "wer": ("Whole outputs", "wrong outputs (%)"),
    "ser": ("Symbols", "wrong symbols (%)"),
    "perplexity": ("Next word", "perplexity"),
    "loss": ("Training data", "loss (nats per symbol)"),
    RATE: ("Learning rate", "learning rate"),
}
"""Values that are drawn, with the title and the label of their panels."""
UNSCORED = ("loss", RATE)
"""Values that are no scores on dev; of the scores smaller is better."""
MOST_RUNS = 7
"""Lines that colours and dashes keep apart."""


class Curve(NamedTuple):
    """The evaluations of one training, or of one member of an ensemble."""

    name: str
    minutes: list[float]
    scores: dict[str, list[float]]
    """Values by the names of :data:`PANELS`, as many as minutes."""


def curves_of(run: str | Path) -> list[Curve]:
    """The curve of a run; of an ensemble one for each member.

    Raises:
        CheckpointError: there is no such run, or its evaluations cannot be read.
    """
    folder = Path(run)
    path = folder / EVALUATIONS
    found: dict[Any, Curve] = {}
    for line in read(folder, EVALUATIONS).splitlines():
        facts = parse_object(line, path)
        if "loss" not in facts:  # the score of a whole ensemble, at the end
            continue
        member = facts.get("member")
        name = folder.name + (f" {member}" if member else "")
        curve = found.setdefault(member, Curve(name, [], {}))
        names = [one for one in PANELS if one in facts]
        values = [facts.get("seconds"), *(facts[one] for one in names)]
        if not all(_is_number(value) for value in values):
            raise CheckpointError("an evaluation has no numbers", path=path)
        curve.minutes.append(facts["seconds"] / 60)
        for one in names:
            curve.scores.setdefault(one, []).append(float(facts[one]))
    for curve in found.values():  # a run that was begun before rates were recorded
        if len(curve.scores.get(RATE, ())) != len(curve.minutes):
            curve.scores.pop(RATE, None)
    if any(len(ys) != len(one.minutes) for one in found.values() for ys in one.scores.values()):
        raise CheckpointError("its evaluations have different scores", path=path)
    if not found:
        raise CheckpointError("it has no evaluations to draw", path=path)
    return list(found.values())


def draw(
    path: str | Path,
    runs: Sequence[str | Path],
    *,
    force: bool = False,
    report: Callable[[str], None] = plots.unreported,
) -> None:
    """Draw the trainings of one run or several into a PNG or SVG file; a dot marks the best.

    Args:
        path: the file to write.
        runs: folders of runs of one task.
        force: overwrite the file.
        report: gets a line on each script that no installed font has.

    Raises:
        UsageError: the name of the file or its place does not fit, there are more than
            ``MOST_RUNS`` lines, or the runs have no score in common.
        CheckpointError: as :func:`curves_of`.
        DataError: the file cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    final = Path(path)
    risk_plots.check(final, force=force)
    curves = [curve for run in runs for curve in curves_of(run)]
    if len(curves) > MOST_RUNS:
        raise UsageError(f"{len(curves)} trainings to draw, expected {MOST_RUNS} at most")
    shown = [name for name in PANELS if all(name in one.scores for one in curves)]
    if not set(shown) - set(UNSCORED):
        raise UsageError("the runs have no score in common: draw those of one task together")
    columns = len(shown) if len(shown) < 4 else 2
    rows = -(-len(shown) // columns)
    with risk_plots.drawing(final, 1.0 + 4.2 * columns, 0.5 + 3.1 * rows, report=report) as figure:
        _fill(figure, curves, shown, rows, columns)


def _fill(
    figure: Figure, curves: Sequence[Curve], shown: Sequence[str], rows: int, columns: int
) -> None:
    """A panel for each value, all with the same minutes; scores and rates from 0."""
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False).flatten()
    for axes, name in zip(grid, shown, strict=False):
        title, label = PANELS[name]
        for number, curve in enumerate(curves):
            ys = curve.scores[name]
            plots.draw_line(axes, number, curve.name, curve.minutes, ys, marker="o", markersize=3)
            if name not in UNSCORED:
                best = min(range(len(ys)), key=ys.__getitem__)
                colour = plots.COLOURS[number % len(plots.COLOURS)]
                axes.plot(curve.minutes[best], ys[best], "o", color=colour, markersize=8)
                axes.annotate(
                    f"{ys[best]:.3g}", (curve.minutes[best], ys[best]), (0, 8), ha="center",
                    textcoords="offset points", color=colour,
                )  # fmt: skip
        if name != "loss":
            axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        on = "" if name in UNSCORED else ", dev split"
        plots.label_axes(axes, "minutes of training", label, f"{title}{on}")
    for axes in grid[len(shown) :]:
        axes.remove()
    for axes in grid[: len(shown)]:
        axes.tick_params(labelbottom=True)
    points = "a point is an evaluation, a large one the best"
    figure.suptitle(points if len(curves) > 1 else f"{curves[0].name}: {points}")
    if len(curves) > 1:
        plots.add_legend(figure, grid[: len(shown)])


def _is_number(value: Any) -> bool:
    """Whether a value of JSON is a finite number; true and false are none."""
    return isinstance(value, int | float) and value is not True and math.isfinite(value)
