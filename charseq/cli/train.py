"""Command ``charseq train``: data and settings -> a trained run.

The training is imported when the command runs, so that its help loads neither torch nor NumPy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from charseq.cli import console, options
from charseq.process import prepare_training


@click.command(
    short_help="Train a model on pairs of strings or on text.",
    epilog=options.table()
    + "\n\n"
    + options.example(
        "charseq train data/ -o checkpoints/mine --minutes 5",
        "charseq train words.tsv --columns target,source --cell lstm --hidden 512",
        "charseq train data/ -o checkpoints/four --ensemble 4 --cells gru,lstm",
        "charseq train data/ -o checkpoints/one --distil-from checkpoints/four",
        "charseq train data/sentences -o checkpoints/words --set punctuation=split",
    ),
)
@options.training(
    "Run folder, which will hold the model.  [default: checkpoints/NAME of DATA]",
    "Any setting, see below; may be repeated.",
)
@click.option(
    "--init-from",
    type=options.Name(),
    metavar="RUN",
    help="Start from the weights of another run (fine-tuning).",
)
@click.option(
    "--distil-from",
    type=options.Name(),
    metavar="RUN",
    help="Knowledge distillation: also learn the answers of RUN to the sources of DATA.",
)
@click.option(
    "--unlabelled",
    type=options.Name(),
    metavar="FILE",
    help="With --distil-from: a file of further sources for RUN to answer.",
)
@options.force("Train a finished run again, from the beginning.")
@options.dry_run("Read the data, print the plan of the training, and stop.")
@options.reporting
def train(
    *, data: str, output: Path | None, assignments: tuple[str, ...], init_from: str | None,
    distil_from: str | None, unlabelled: str | None, force: bool, dry_run: bool, as_json: bool,
    quiet: bool, **settings: Any,
) -> None:  # fmt: skip
    """Train a model on DATA: a folder with train.* (and dev.*, test.*), or one file.

    From pairs (two or more columns) the model learns to rewrite the first into the second. From
    text (.txt without tabs, one sentence a line) it learns to predict the next word.

    The same command continues an interrupted training. A setting comes from the options, else from
    the environment (CHARSEQ_CELL and so on), else from DATA/charseq.toml.
    """
    config = options.configured(data, options.given(settings, assignments))
    prepare_training()
    from charseq.training import train as training

    with console.preparing(f"reading {data}", quiet=quiet) as listening:
        facts = training.train(
            data,
            run=output,
            config=config,
            init_from=init_from,
            distil_from=distil_from,
            unlabelled=unlabelled,
            force=force,
            dry_run=dry_run,
            **listening,
        )
    if as_json:
        console.write_json(facts)
