"""alignment -> a letter-to-letter picture: how much each symbol of an answer looked at each symbol.

The symbols of the text are the columns, those of the answer the rows, and a darker cell is a larger
weight of attention. Texts of right-to-left scripts run from right to left. matplotlib is an extra,
which is loaded when the picture is drawn.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charseq import files, plots
from charseq.display import shown

if TYPE_CHECKING:
    from charseq.inference.alignment.pairs import Alignment

END = "end"
"""The place behind the text: hard attention writes there what follows the last symbol."""
RIGHT_TO_LEFT = ("R", "AL")
"""Bidirectional classes of right-to-left letters."""


def draw(
    path: str | Path,
    alignment: Alignment,
    *,
    title: str,
    report: Callable[[str], None] = plots.unreported,
) -> None:
    """Draw an alignment into a PNG or SVG file; a frame marks the largest weight of each row.

    Args:
        path: the file to write.
        alignment: of a text and its answer.
        title: the line above the picture.
        report: gets a line on each script that no installed font has.

    Raises:
        DataError: the file cannot be written.
    """
    columns = [shown(symbol) for symbol in alignment.source]
    weights = [list(row) for row in alignment.weights]
    if not all(map(any, weights)):
        columns.append(END)
        weights = [[*row, float(not any(row))] for row in weights]
    from_right = reads_from_right(alignment.source[: alignment.letters])
    with files.drawing(Path(path)) as part:
        plots.heat_map(
            part,
            weights,
            rows=[shown(symbol) for symbol in alignment.target],
            columns=columns,
            marked=[(row, one.index(max(one))) for row, one in enumerate(weights)],
            xlabel="symbols of the text" + (", from right to left" if from_right else ""),
            ylabel="symbols of the answer, from top to bottom",
            title=title,
            scale="weight of attention; those of a row sum to 1",
            most=1.0,
            from_right=from_right,
            report=report,
        )


def reads_from_right(symbols: Sequence[str]) -> bool:
    """Whether the first letter with a direction is read from right to left."""
    for symbol in symbols:
        for letter in symbol:
            kind = unicodedata.bidirectional(letter)
            if kind in ("L", *RIGHT_TO_LEFT):
                return kind in RIGHT_TO_LEFT
    return False


def check(path: str | Path, *, force: bool) -> None:
    """Refuse a picture that cannot be drawn, before the model is asked.

    Raises:
        UsageError: the name ends in neither .png nor .svg, or the file exists and ``force`` is
            false.
        MissingExtraError: matplotlib is not installed.
    """
    plots.check_name(path)
    files.refuse(path, force=force, what="picture")
