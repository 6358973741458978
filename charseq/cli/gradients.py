"""Command ``charseq gradients``: the worked sheets checked against autograd; the gradient flow.

The derivations are imported when the command runs, so that its help loads neither torch nor NumPy.
"""

from __future__ import annotations

from pathlib import Path

import click

from charseq.cli import console, options
from charseq.config import CELLS
from charseq.errors import CharseqError, UsageError

SHEETS = ("A", "B1", "B2", "B3", "C", "D", "E", "F")


@click.command(
    short_help="Check the gradients of the worked sheets, and draw their flow.",
    epilog=options.example(
        "charseq gradients --sheet D",
        "charseq gradients --flow --plot figures",
        'charseq gradients --flow -m checkpoints/dates "3. März 2021"',
    ),
)
@click.argument("text", required=False)
@click.option(
    "--sheet",
    type=click.Choice((*SHEETS, "B"), case_sensitive=False),
    metavar=f"[{'|'.join(SHEETS)}]",
    help="One worked sheet, with all of its numbers; B is B1, B2 and B3.  [default: all sheets]",
)
@click.option("--flow", is_flag=True, help="Measure how gradients vanish or explode over time.")
@options.model
@click.option(
    "--cell",
    "cells",
    type=click.Choice(CELLS),
    multiple=True,
    help="With --flow: a cell to measure; may be repeated.  [default: all four]",
)
@click.option(
    "--scale",
    "scales",
    type=options.Number(0, 1e6),
    multiple=True,
    metavar="S",
    help="With --flow: W_hh is S times an orthogonal matrix; may be repeated.",
)
@click.option(
    "--steps",
    type=options.Integer(2, 10_000),
    default=500,
    metavar="T",
    show_default=True,
    help="With --flow: number of time steps.",
)
@click.option(
    "--hidden",
    type=options.Integer(1, 1024),
    default=64,
    metavar="H",
    show_default=True,
    help="With --flow: size of the hidden state.",
)
@click.option(
    "--seed",
    type=options.Integer(0),
    default=1,
    metavar="N",
    show_default=True,
    help="With --flow: seed of the random weights and inputs.",
)
@click.option(
    "--plot",
    type=options.OutputName(Path),
    metavar="FOLDER",
    help="With --flow: draw figures into this folder.",
)
@options.force("Overwrite figures in the FOLDER of --plot.")
@options.as_json
@options.debug
def gradients(
    *, text: str | None, sheet: str | None, flow: bool, model: str | None, cells: tuple[str, ...],
    scales: tuple[float, ...], steps: int, hidden: int, seed: int, plot: Path | None, force: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Compare the gradients of the worked sheets, derived by hand, with those of autograd.

    Every number is compared. Where a sheet has a mistake, its value is shown beside the right one.
    The exit code is 1 if any difference exceeds 1e-10.

    With --flow: how much gradient is left after up to 500 time steps, for each cell and several
    scales of W_hh. With a TEXT (and -m RUN): the gradient of each output symbol of a trained model
    with respect to each input symbol, and the flow through its recurrences.
    """
    if text is None and not flow:
        if plot or cells or scales or model:
            raise UsageError("--plot, --cell, --scale and --model are for --flow")
        _compare(sheet, as_json=as_json)
        return
    if sheet:
        raise UsageError("--sheet and --flow exclude each other")
    if text is None and model:
        raise UsageError('--model needs a text: charseq gradients --flow -m RUN "text"')
    from charseq.gradients import study

    if plot:
        study.require_plots()
    if text is None:
        found = study.study_cells(
            cells or CELLS, scales=scales, steps=steps, hidden=hidden, seed=seed
        )
    else:
        found = study.study_run(options.chosen(model, task="pairs"), text)
    if as_json:
        console.write_json(found.facts)
    else:
        console.show(found.lines)
    if plot:
        for path in found.draw(plot, force=force):
            console.note(f"drawn {path}")


def _compare(sheet: str | None, *, as_json: bool) -> None:
    """Print the sheets against autograd. Raises CharseqError where they differ."""
    from charseq.gradients import compare

    found = compare.compare(sheet)
    if as_json:
        console.write_json([one.to_json() for one in found])
    else:
        console.show(compare.lines(found, full=sheet is not None))
    difference = compare.worst(found)
    if not difference <= compare.LIMIT:
        raise CharseqError(f"by hand and by autograd differ by {difference:g}")
