"""words of the command line -> check, info, verify, gradients: looking at data, runs, mathematics.

As in ``commands``, what a command needs is imported when it runs.
"""

from __future__ import annotations

from pathlib import Path

import click

from charseq.cli import console, options
from charseq.config import CELLS
from charseq.errors import CharseqError, CheckpointError, UsageError

SHEETS = ("A", "B1", "B2", "B3", "C", "D", "E", "F")


@click.command(
    short_help="Look for faults in the data.", epilog=options.example("charseq check data/")
)
@click.argument("data")
@options.setting("columns")
@options.as_json
@options.debug
def check(*, data: str, columns: str | None, as_json: bool) -> None:
    """Count what is in DATA, and look for what spoils a training."""
    config = options.configured(data, options.given({"columns": columns}, ()))
    from charseq.cli import check as check_module

    found = check_module.inspect_data(data, config=config)
    if as_json:
        console.write_json(found.to_json())
    else:
        console.write(found.lines())


@click.command(
    short_help="Tell how a run was made.", epilog=options.example("charseq info checkpoints/dates")
)
@click.argument("folder", metavar="RUN")
@options.as_json
@options.debug
def info(*, folder: str, as_json: bool) -> None:
    """Tell how RUN was made: settings, shapes, parameters, scores and data."""
    from charseq.inference import describe

    facts, lines = describe.info(folder)
    if as_json:
        console.write_json(facts)
    else:
        console.write(lines)


@click.command(
    short_help="Check a run before it is used.",
    epilog=options.example("charseq verify checkpoints/dates"),
)
@click.argument("folder", metavar="RUN")
@options.as_json
@options.debug
def verify(*, folder: str, as_json: bool) -> None:
    """Check all that can be checked in RUN without using it, above all where it is a stranger's.

    Sizes and sha256 of its files, headers, shapes by the settings, finite weights, symbols. One
    line a fault, and exit code 1 if there is any. Only what charseq reads is checked.
    """
    from charseq.inference.verify import verify as audit

    found = audit(folder)
    if as_json:
        console.write_json(found.to_json())
    else:
        console.write(map(console.printable, found.lines()))
    if found.faults:
        count = len(found.faults)
        raise CheckpointError(f"{count} fault{'s' * (count > 1)}: do not use it", path=folder)


@click.command(
    short_help="Check and draw the mathematics.",
    epilog=options.example(
        "charseq gradients --sheet D",
        "charseq gradients --flow --plot figures",
        'charseq gradients --flow -m checkpoints/dates "3. März 2021"',
    ),
)
@click.argument("text", required=False)
@click.option(
    "--sheet",
    type=click.Choice(SHEETS, case_sensitive=False),
    metavar=f"[{'|'.join(SHEETS)}]",
    help="One worked sheet, with all numbers.  [default: all]",
)
@click.option("--flow", is_flag=True, help="How gradients vanish or explode over time.")
@options.model
@click.option(
    "--cell",
    "cells",
    type=click.Choice(CELLS),
    multiple=True,
    help="With --flow: a cell; may be repeated.  [default: all four]",
)
@click.option(
    "--scale",
    "scales",
    type=click.FloatRange(0, 1e6),
    multiple=True,
    metavar="S",
    help="With --flow: W_hh is this times an orthogonal matrix; may be repeated.",
)
@click.option(
    "--steps",
    type=click.IntRange(2, 10_000),
    default=500,
    metavar="T",
    show_default=True,
    help="With --flow: steps of time.",
)
@click.option(
    "--hidden",
    type=click.IntRange(1, 1024),
    default=64,
    metavar="H",
    show_default=True,
    help="With --flow: size of the state.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    metavar="N",
    show_default=True,
    help="With --flow: seed of the random weights and inputs.",
)
@click.option("--plot", metavar="FOLDER", help="With --flow: draw pictures into this folder.")
@options.as_json
@options.debug
def gradients(
    *, text: str | None, sheet: str | None, flow: bool, model: str | None, cells: tuple[str, ...],
    scales: tuple[float, ...], steps: int, hidden: int, seed: int, plot: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Compare the gradients derived by hand on the worked sheets with autograd's, number by number.

    Where a sheet has a slip, what it gives instead stands beside. Exit code 1 if any difference
    exceeds 1e-10.

    With --flow: how much gradient is left after up to 500 steps, for each cell and several scales
    of W_hh. With a TEXT (and -m RUN): the gradient that each input symbol receives from each
    output symbol of a trained model, and the flow in its recurrences.
    """
    if text is None and not flow:
        if plot or cells or scales or model:
            raise UsageError("--plot, --cell, --scale and --model are for --flow")
        _compare(sheet, as_json=as_json)
        return
    if sheet:
        raise UsageError("--sheet and --flow exclude each other")
    if text is None and model:
        raise UsageError('--model wants a text: charseq gradients --flow -m RUN "text"')
    from charseq.gradients import study

    if plot:
        study.require_plots()
    if text is None:
        found = study.study_cells(
            cells or CELLS, scales=scales, steps=steps, hidden=hidden, seed=seed
        )
    else:
        found = study.study_run(model, text)
    if as_json:
        console.write_json(found.facts)
    else:
        console.write(found.lines)
    if plot:
        for path in found.draw(Path(plot)):
            console.note(f"drawn {path}")


def _compare(sheet: str | None, *, as_json: bool) -> None:
    """Sheets against autograd. Raises CharseqError where they differ."""
    from charseq.gradients import compare as checked

    found = checked.compare(sheet)
    if as_json:
        console.write_json([one.to_json() for one in found])
    else:
        console.write(checked.lines(found, full=sheet is not None))
    difference = checked.worst(found)
    if not difference <= checked.LIMIT:
        raise CharseqError(f"by hand and by autograd differ by {difference:g}")
