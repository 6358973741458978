"""Commands ``charseq check``, ``info`` and ``verify``: inspection of data and of runs.

What a command needs is imported when it runs, so that its help loads no NumPy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charseq.cli import console, options
from charseq.config import Config, defaults
from charseq.errors import CheckpointError

if TYPE_CHECKING:
    from charseq.data.statistics import LinesReport, PairsReport


@click.command(
    short_help="Count what is in the data, and find its faults.",
    epilog=options.example("charseq check data/"),
)
@options.data
@options.setting("task")
@options.reading
@options.as_json
@options.debug
def check(*, data: str, as_json: bool, **settings: Any) -> None:
    """Count what is in DATA, and find what harms a training.

    Of pairs: their symbols, duplicates, contradictions, rows of dev and test that are also in
    train, and odd characters. Of text: lines, words, duplicates and unknown words.
    """
    config = options.configured(data, options.given(settings, ()))
    found = inspect_data(data, config=config)
    if as_json:
        console.write_json(found.to_json())
    else:
        console.show(found.lines())


@click.command(
    short_help="Show how a run was made.", epilog=options.example("charseq info checkpoints/dates")
)
@click.argument("folder", type=options.Name(), metavar="RUN")
@options.as_json
@options.debug
def info(*, folder: str, as_json: bool) -> None:
    """Show how RUN was made: settings, shapes, parameters, scores and data."""
    from charseq.inference import describe

    facts, lines = describe.info(folder)
    if as_json:
        console.write_json(facts)
    else:
        console.show(lines)


@click.command(
    short_help="Check the files of a run before it is used.",
    epilog=options.example("charseq verify checkpoints/dates"),
)
@click.argument("folder", type=options.Name(), metavar="RUN")
@options.as_json
@options.debug
def verify(*, folder: str, as_json: bool) -> None:
    """Check the files of RUN without using the model, above all where RUN comes from a stranger.

    Checked are sizes and sha256 of the files, headers, shapes of the weights, finite numbers and
    symbols. Each fault is a line, and the exit code is 1 if there is any. Files that charseq never
    reads are not checked.
    """
    from charseq.inference.hub.download import download
    from charseq.inference.hub.repository import is_address
    from charseq.inference.verify import verify as verify_run

    found = verify_run(download(folder) if is_address(folder) else folder)
    if as_json:
        console.write_json(found.to_json())
    else:
        console.show(found.lines())
    if found.faults:
        count = len(found.faults)
        raise CheckpointError(f"{count} fault{'s' * (count > 1)}: do not use it", path=folder)


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
    """Draw how RUN was trained: its scores on dev and its loss, over the minutes of training.

    Several runs of one task share the panels, with a line for each; so do the members of an
    ensemble. A large dot marks the best evaluation, whose weights the run has.
    """
    from charseq.evaluation import learning_curve
    from charseq.inference.hub.download import find

    learning_curve.draw(output, [find(run) for run in runs], force=force)
    console.note(f"drawn {output}")


def inspect_data(data: str | Path, *, config: Config | None = None) -> PairsReport | LinesReport:
    """Statistics and faults of ``data``, a folder or a file.

    Of pairs: counts, symbols, duplicates, contradictions, leakage between the splits and odd
    characters. Of text: counts, duplicates, leakage and the words that are not known.

    Args:
        data: a folder with ``train.*`` (and ``dev.*``, ``test.*``), or one file.
        config: settings; by default the defaults of the task that the data look like.

    Raises:
        DataError: with path and line: a row cannot be read as the settings say.
    """
    from charseq.data import corpus, pairs, statistics
    from charseq.data.bad_rows import rejects_beside

    config = config or defaults(corpus.choose_task(data))
    if corpus.choose_task(data, config.task) == "next-word":
        return statistics.inspect_lines(
            corpus.load(
                data, running=config.stateful, encoding=config.encoding, units=config.units
            ),
            case=config.case,
            punctuation=config.punctuation,
            limit=config.word_limit,
            min_count=config.min_count,
            form=config.target_form,
        )
    how = {name: getattr(config, name) for name in pairs.SETTINGS}
    with rejects_beside(data, config.bad_rows) as rejects:
        dataset = pairs.load(data, **how, rejects=rejects)
    return statistics.inspect_pairs(dataset)
