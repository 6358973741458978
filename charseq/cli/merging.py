"""words of the command line -> average: one model out of several.

As in ``commands``, what a command needs is imported when it runs.
"""

from __future__ import annotations

from pathlib import Path

import click

from charseq.cli import console, options
from charseq.process import prepare_inference


@click.command(
    short_help="Average the weights of runs.",
    epilog=options.example(
        "charseq average checkpoints/mine -o checkpoints/mean --data data/",
        "charseq average checkpoints/tuned-1 checkpoints/tuned-2 -o checkpoints/mean",
    ),
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("-o", "--output", required=True, metavar="OUT", help="Folder of the new run.")
@click.option(
    "--last",
    type=click.IntRange(1),
    metavar="K",
    help="Of one RUN: its last K evaluations.  [default: all it kept]",
)
@click.option(
    "--best",
    type=click.IntRange(1),
    metavar="K",
    help="Of one RUN: its K best evaluations by dev score, of those it kept.",
)
@click.option("--data", metavar="DATA", help="Score the result on the dev split of DATA.")
@click.option("--force", is_flag=True, help="Replace a finished run at OUT.")
@options.as_json
@options.quiet
@options.debug
def average(
    *, runs: tuple[str, ...], output: str, last: int | None, best: int | None, data: str | None,
    force: bool, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Make one run whose weights are the mean of others.

    Of one RUN: of the evaluations that it kept, which the setting keep is for. Of several: runs
    that were fine-tuned from the same one with --init-from. The result is as quick as a single run.
    """
    prepare_inference()
    from charseq.training import averaging

    facts = averaging.average(
        runs,
        Path(output),
        last=last,
        best=best,
        data=data,
        force=force,
        report=console.silence if quiet else console.note,
    )
    if as_json:
        console.write_json(facts)
