"""Command ``charseq plot``: runs -> a picture of their trainings.

The drawing is imported when the command runs, so that its help loads no NumPy.
"""

from __future__ import annotations

from pathlib import Path

import click

from charseq.cli import console, options


@click.command(
    short_help="Draw the training of a run.",
    epilog=options.example(
        "charseq plot checkpoints/mine -o training.png",
        "charseq plot checkpoints/mine checkpoints/dates -o both.svg",
    ),
)
@click.argument("runs", nargs=-1, required=True, type=options.Name(), metavar="RUN...")
@options.output("FILE", "A .png or .svg file.", required=True)
@options.force("Overwrite FILE.")
@options.debug
def plot(*, runs: tuple[str, ...], output: Path, force: bool) -> None:
    """Draw how RUN was trained: its scores on dev, its loss and its learning rate, over minutes.

    Several runs of one task share the panels, with a line for each; so do the members of an
    ensemble. A dot is an evaluation. A large dot marks the best one, whose weights the run has.
    """
    from charseq.evaluation.pictures import learning_curve
    from charseq.runs.lookup import find

    learning_curve.draw(output, [find(run) for run in runs], force=force, report=console.note)
    console.note(f"drawn {output}")
