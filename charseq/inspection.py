"""words of the command line -> check, info, gradients: looking at data, runs and mathematics.

As in ``commands``, what a command needs is imported when it runs.
"""

from __future__ import annotations

import click

from charseq import options, terminal


@click.command(
    short_help="Look for faults in pairs.", epilog=options.example("charseq check data/")
)
@click.argument("data")
@options.setting("columns")
@options.as_json
@options.debug
def check(*, data: str, columns: str | None, as_json: bool) -> None:
    """Count what is in DATA, and look for what spoils a training."""
    config = options.configured(data, options.given({"columns": columns}, ()))
    from charseq import recipes

    found = recipes.check(data, config=config)
    if as_json:
        terminal.write_json(found.to_json())
    else:
        terminal.write(found.lines())


@click.command(
    short_help="Tell how a run was made.", epilog=options.example("charseq info checkpoints/dates")
)
@click.argument("folder", metavar="RUN")
@options.as_json
@options.debug
def info(*, folder: str, as_json: bool) -> None:
    """Tell how RUN was made: settings, shapes, parameters, scores and data."""
    from charseq import recipes

    facts, lines = recipes.info(folder)
    if as_json:
        terminal.write_json(facts)
    else:
        terminal.write(lines)
