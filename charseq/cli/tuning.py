"""Command ``charseq tune``: options -> a search over settings.

The search is imported when the command runs, so its help loads neither NumPy nor Optuna.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from charseq.cli import console, options
from charseq.process import prepare_training

RANGES = """\b
Ranges, in [tune] or in FILE:
  cell = ["gru", "lstm"]
  hidden = {low = 128, high = 512, step = 64}
  learning_rate = {low = 0.0005, high = 0.008, log = true}
  dropout = true                                  # the usual range"""


@click.command(
    short_help="Find the settings that do best.",
    epilog=RANGES
    + "\n\n"
    + options.example(
        "charseq tune data/ --trials 30 --minutes 2",
        "charseq tune data/ --cell gru --set layers=1 --hours 3 --minutes 2",
        "charseq tune words.tsv -o checkpoints/words --ranges ranges.toml --dry-run",
    ),
)
@click.argument("data")
@click.option(
    "-o",
    "--output",
    metavar="RUN",
    help="Folder of the best model.  [default: checkpoints/NAME-tuned of DATA]",
)
@click.option(
    "--trials",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Trainings, those of earlier calls counted.  [default: 20; with --hours, any]",
)
@click.option(
    "--hours",
    type=click.FloatRange(0, min_open=True),
    metavar="H",
    help="Begin no trial after H hours of training, those of earlier calls counted.",
)
@click.option(
    "--ranges",
    metavar="FILE",
    help="TOML that says what is searched.  [default: [tune] in DATA/charseq.toml]",
)
@options.settings
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any setting, see charseq train --help; it is not searched then. May be repeated.",
)
@click.option("--force", is_flag=True, help="Begin anew, whatever RUN holds.")
@click.option("--dry-run", is_flag=True, help="Show what would be searched, and stop.")
@options.as_json
@options.quiet
@options.debug
def tune(
    *, data: str, output: str | None, trials: int | None, hours: float | None, ranges: str | None,
    assignments: tuple[str, ...], force: bool, dry_run: bool, as_json: bool, quiet: bool,
    **named: Any,
) -> None:  # fmt: skip
    """Train on DATA again and again, each time with other settings, and keep the best model.

    --minutes, or --epochs, is the budget of one trial. The first one has the settings as they are
    given; those of the others are drawn from ranges, the usual ones or those in a table [tune] of
    DATA/charseq.toml. Trials that do worse than half of the others are given up on their way.

    What an option or the environment sets is not searched. Nor is what DATA/charseq.toml sets,
    unless it has a range in [tune] or in --ranges.

    RUN holds the best model so far, and RUN/tune/charseq.toml its settings, to lay beside the
    data. The same command goes on with an unfinished search, and with more --trials with a
    finished one. It needs Optuna: pip install 'charseq[tune]'.
    """
    flags = options.given(named, assignments)
    config = options.configured(data, flags)
    prepare_training()
    from charseq.training.tuning import tune as search

    facts = search.tune(
        data,
        run=None if output is None else Path(output),
        config=config,
        ranges=None if ranges is None else Path(ranges),
        fixed={*flags, *options.environment()},
        trials=trials,
        hours=hours,
        force=force,
        dry_run=dry_run,
        **console.listening(quiet=quiet),
    )
    if as_json:
        console.write_json(facts)
