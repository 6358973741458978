"""Command ``charseq tune``: data and ranges of settings -> the best of many trained runs.

The search is imported when the command runs, so that its help loads neither NumPy nor Optuna.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from charseq.cli import console, options
from charseq.process import prepare_training

RANGES = """\b
Ranges, in [tune] or in FILE of --ranges:
  cell = ["gru", "lstm"]
  hidden = {low = 128, high = 512, step = 64}
  learning_rate = {low = 0.0005, high = 0.008, log = true}
  dropout = true                                  # the usual range"""


@click.command(
    short_help="Search for the settings that do best.",
    epilog=RANGES
    + "\n\n"
    + options.example(
        "charseq tune data/ --trials 30 --minutes 2",
        "charseq tune data/ --cell gru --layers 1 --hours 3 --minutes 2",
        "charseq tune words.tsv -o checkpoints/words --ranges ranges.toml --dry-run",
    ),
)
@options.training(
    "Run folder of the best model.  [default: checkpoints/NAME-tuned of DATA]",
    "Any setting, see charseq train --help; it is then not searched. May be repeated.",
)
@click.option(
    "--trials",
    type=options.Integer(1, 10_000),
    metavar="N",
    help="Number of trainings, including those of earlier calls.  [default: 20; with --hours: "
    "10000]",
)
@click.option(
    "--hours",
    type=options.Number(0, min_open=True),
    metavar="H",
    help="Start no trial after H hours of training, including those of earlier calls.",
)
@click.option(
    "--ranges",
    type=options.Name(Path),
    metavar="FILE",
    help="TOML file with the ranges to search.  [default: [tune] in DATA/charseq.toml]",
)
@options.force("Start a new search, whatever RUN holds.")
@options.dry_run("Print the settings that would be searched, and stop.")
@options.reporting
def tune(
    *, data: str, output: Path | None, assignments: tuple[str, ...], trials: int | None,
    hours: float | None, ranges: Path | None, force: bool, dry_run: bool, as_json: bool,
    quiet: bool, **settings: Any,
) -> None:  # fmt: skip
    """Search for better settings: train on DATA many times, and keep the best model.

    --minutes, or --epochs, is the budget of one trial. The first trial has the settings as they
    are given. Those of the others are drawn from ranges: the usual ones, or those in a table
    [tune] of DATA/charseq.toml. Trials that do worse than half of the others are stopped early.

    A setting from an option or from the environment is not searched. Nor is one from
    DATA/charseq.toml, unless it has a range in [tune] or in --ranges.

    RUN holds the best model so far, and RUN/tune/charseq.toml its settings, to copy beside the
    data. The same command continues an interrupted search; with more --trials it extends a
    finished one. The search needs Optuna: pip install optuna.
    """
    flags = options.given(settings, assignments)
    config = options.configured(data, flags)
    prepare_training()
    from charseq.training.tuning import tune as search

    with console.preparing(f"reading {data}", quiet=quiet) as listening:
        facts = search.tune(
            data,
            run=output,
            config=config,
            ranges=ranges,
            fixed={*flags, *options.environment()},
            trials=trials,
            hours=hours,
            force=force,
            dry_run=dry_run,
            **listening,
        )
    if as_json:
        console.write_json(facts)
