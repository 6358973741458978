"""Command ``charseq gradients``: the worked sheets checked against autograd; the gradient flow.

The derivations are imported when the command runs, so that its help loads neither torch nor NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from charseq.cli import console, options
from charseq.config import CELLS
from charseq.errors import CharseqError, UsageError

SHEETS = ("A", "B1", "B2", "B3", "C", "D", "E", "F")
RECURRENCES = (*CELLS, "sigmoid")
ACTIVATIONS = ("identity", "tanh", "sigmoid")
MAX_STEPS, MOST = 20, 1e6


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """Up to ``most`` numbers with commas between: 10,10; with a ``most`` of 1 one number."""

    name = "numbers"

    def __init__(self, most: int = MAX_STEPS) -> None:
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The numbers. Raises click.BadParameter."""
        if not isinstance(value, str):
            return value
        expected = f"1 to {self._most} numbers with commas between, such as 10,10"
        with suppress(ValueError):
            numbers = tuple(float(word) for word in value.split(","))
            if all(abs(number) <= MOST for number in numbers) and len(numbers) <= self._most:
                return numbers if self._most > 1 else numbers[0]
        if self._most == 1:
            expected = f"a number between {-MOST:g} and {MOST:g}"
        raise click.BadParameter(f"'{value}', expected {expected}", ctx=ctx, param=param)


_numbers = options.together(
    click.option("--x", "x", type=Numbers(), metavar="X1,X2,...", help="With --sheet D: inputs."),
    click.option("--y", "y", type=Numbers(), metavar="Y1,Y2,...", help="With --sheet D: targets."),
    click.option("--w-x", type=Numbers(1), metavar="W", help="With --sheet D: input weight."),
    click.option("--w-h", type=Numbers(1), metavar="W", help="With --sheet D: recurrent weight."),
    click.option("--w-y", type=Numbers(1), metavar="W", help="With --sheet D: output weight."),
    click.option("--h-0", type=Numbers(1), metavar="H", help="With --sheet D: first state."),
    click.option(
        "--activation",
        type=click.Choice(ACTIVATIONS),
        help="With --sheet D: h_t is this of a_t.  [default: identity]",
    ),
)
"""Own numbers for sheet D."""


@click.command(
    short_help="Check the gradients of the worked sheets, and draw their flow.",
    epilog=options.example(
        "charseq gradients --sheet D",
        "charseq gradients --sheet D --x 10,10,10,10 --w-h 0.5 --activation tanh",
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
@_numbers
@click.option("--flow", is_flag=True, help="Measure how gradients vanish or explode over time.")
@options.model
@click.option(
    "--cell",
    "cells",
    type=click.Choice(RECURRENCES),
    multiple=True,
    help="With --flow: a cell to measure; may be repeated.  [default: all five]",
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
    help="Seed of the random weights and inputs, of every sheet but D and of --flow.",
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
    as_json: bool, activation: str | None, **numbers: Any,
) -> None:  # fmt: skip
    """Compare the gradients of the worked sheets, derived by hand, with those of autograd.

    Each question of a sheet is shown by its name, with its formulas and the numbers that answer
    it; with --sheet also the answer in words. Every number is compared. Where a sheet has a
    mistake, its value is shown beside the right one. The exit code is 1 if any difference exceeds
    1e-10. Sheet D can be worked with other numbers (--x to --activation).

    With --flow: how much gradient is left after up to 500 time steps, for each cell and several
    scales of W_hh. With a TEXT (and -m RUN): the gradient of each output symbol of a trained model
    with respect to each input symbol, and the flow through its recurrences.
    """
    numbers = {name: value for name, value in numbers.items() if value is not None}
    if (numbers or activation) and sheet != "D":
        raise UsageError("--x, --y, --w-x, --w-h, --w-y, --h-0 and --activation are for --sheet D")
    if text is None and not flow:
        if plot or cells or scales or model:
            raise UsageError("--plot, --cell, --scale and --model are for --flow")
        _compare(sheet, seed, numbers, activation or "identity", as_json=as_json)
        return
    if sheet:
        raise UsageError("--sheet and --flow exclude each other")
    if text is None and model:
        raise UsageError('--model needs a text: charseq gradients --flow -m RUN "text"')
    from charseq.gradients import study

    if plot:
        study.require_plots()
    if text is None:
        found = study.study_cells(cells, scales=scales, steps=steps, hidden=hidden, seed=seed)
    else:
        found = study.study_run(options.chosen(model, task="pairs"), text)
    if as_json:
        console.write_json(found.facts)
    else:
        console.show(found.lines)
    if plot:
        for path in found.draw(plot, force=force):
            console.note(f"drawn {path}")


def _check_lengths(numbers: Mapping[str, Any]) -> None:
    """Check that inputs and targets are as many.

    Raises:
        UsageError: they are not.
    """
    inputs, targets = len(numbers.get("x", (0, 0))), numbers.get("y")
    if targets is not None and len(targets) != inputs:
        raise UsageError(f"--y has {len(targets)} numbers, expected one for each of --x: {inputs}")


def _compare(
    sheet: str | None, seed: int, numbers: Mapping[str, Any], activation: str, *, as_json: bool
) -> None:
    """Print the sheets against autograd. Raises CharseqError where they differ."""
    from charseq.gradients import compare, report

    if sheet == "D":
        _check_lengths(numbers)
        found = compare.compare_numbers(numbers, activation=activation)
    else:
        found = compare.compare(sheet, seed=seed)
    if as_json:
        console.write_json([one.to_json() for one in found])
    else:
        console.show(report.lines(found, full=sheet is not None))
    difference = compare.worst(found)
    limit = compare.LIMIT * (compare.largest(found) if numbers else 1)
    if not difference <= limit:
        raise CharseqError(f"by hand and by autograd differ by {difference:g}")
