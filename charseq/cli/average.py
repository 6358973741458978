"""Command ``charseq average``: runs -> one run with the mean of their weights.

The averaging is imported when the command runs, so that its help loads no NumPy.
"""

from __future__ import annotations

from pathlib import Path

import click

from charseq.cli import console, options
from charseq.process import prepare_inference


@click.command(
    short_help="Average the weights of several runs.",
    epilog=options.example(
        "charseq average checkpoints/mine -o checkpoints/mean --data data/",
        "charseq average checkpoints/tuned-1 checkpoints/tuned-2 -o checkpoints/mean",
    ),
)
@click.argument("runs", nargs=-1, required=True, type=options.Name(), metavar="RUN...")
@options.output("OUT", "Folder of the new run.", required=True)
@click.option(
    "--last",
    type=options.Integer(1),
    metavar="K",
    help="Of one RUN: its last K evaluations.  [default: all that it kept]",
)
@click.option(
    "--best",
    type=options.Integer(1),
    metavar="K",
    help="Of one RUN: the K evaluations with the best dev score, of those that it kept.",
)
@click.option(
    "--data",
    type=options.Name(),
    metavar="DATA",
    help="Score the result on the dev split of DATA.",
)
@options.force("Replace a finished run at OUT.")
@options.reporting
def average(
    *, runs: tuple[str, ...], output: Path, last: int | None, best: int | None, data: str | None,
    force: bool, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Make one run whose weights are the mean of the weights of others.

    Of one RUN: of its last evaluations, which it keeps with the setting keep_checkpoints (charseq
    train --set keep_checkpoints=5). Of several: runs that were fine-tuned from the same one with
    --init-from. The result is as fast as a single run.
    """
    prepare_inference()
    from charseq.training import averaging

    with console.preparing(f"averaging into {output}", quiet=quiet, again=True) as listening:
        facts = averaging.average(
            runs,
            output,
            last=last,
            best=best,
            data=data,
            force=force,
            report=listening["report"],
        )
    if as_json:
        console.write_json(facts)
