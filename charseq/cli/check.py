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
    found = inspect_data(data, config=config, quiet=False)
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


def inspect_data(
    data: str | Path, *, config: Config | None = None, quiet: bool = True
) -> PairsReport | LinesReport:
    """Statistics and faults of ``data``, a folder or a file.

    Of pairs: counts, symbols, duplicates, contradictions, leakage between the splits and odd
    characters. Of text: counts, duplicates, leakage and the words that are not known.

    Args:
        data: a folder with ``train.*`` (and ``dev.*``, ``test.*``), or one file.
        config: settings; by default the defaults of the task that the data look like.
        quiet: show no progress on a terminal.

    Raises:
        DataError: with path and line: a row cannot be read as the settings say.
    """
    from charseq.data import corpus, pairs, statistics
    from charseq.data.bad_rows import rejects_beside

    config = config or defaults(corpus.choose_task(data))
    if corpus.choose_task(data, config.task) == "next-word":
        with console.rows_line(_size(data), quiet=quiet, unit="lines") as line:
            found = corpus.load(
                data, running=None if config.stateful == "auto" else config.stateful == "yes",
                encoding=config.encoding, units=config.units, watch=line.add,
            )  # fmt: skip
        with console.waiting("counting words", quiet=quiet):
            return statistics.inspect_lines(
                found,
                case=config.case,
                punctuation=config.punctuation,
                limit=config.word_limit,
                min_count=config.min_count,
                form=config.target_form,
            )
    how = {name: getattr(config, name) for name in pairs.SETTINGS}
    with (
        rejects_beside(data, config.bad_rows) as rejects,
        console.rows_line(_size(data), quiet=quiet) as line,
    ):
        dataset = pairs.load(data, **how, rejects=rejects, watch=line.add)
    with console.waiting("counting symbols and comparing rows", quiet=quiet):
        return statistics.inspect_pairs(dataset)


def _size(data: str | Path) -> int | None:
    """Bytes of the files of data, where rows take as many as they have; None for packed files."""
    from charseq.data.corpus import data_files
    from charseq.data.formats.opening import packed_ending
    from charseq.data.formats.reader import find_format, sniff

    found = [path for path in data_files(data) if path.is_file()]
    packed = (find_format(sniff(path)).packs_itself or packed_ending(path) for path in found)
    return None if any(packed) else sum(path.stat().st_size for path in found) or None
