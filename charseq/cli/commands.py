"""words of the command line -> train, predict, convert, evaluate, score.

Each command turns its options into one call of a journey and writes what comes back. What it
needs is imported when it runs, so that help comes at once.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from charseq.cli import console, options
from charseq.errors import CharseqError, UsageError
from charseq.process import prepare_inference, prepare_training
from charseq.version import __version__

WINDOW = 256
FORMATS = ("auto", "text", "tsv", "csv", "jsonl", "parquet")


@click.command(
    short_help="Learn from pairs, or from sentences.",
    epilog=options.table()
    + "\n\n"
    + options.example(
        "charseq train data/ -o checkpoints/mine --minutes 5",
        "charseq train words.tsv --columns target,source --cell lstm --set hidden=512",
        "charseq train data/ -o checkpoints/four --ensemble 4 --cells gru,lstm",
        "charseq train data/ -o checkpoints/one --distil-from checkpoints/four",
        "charseq train data/sentences -o checkpoints/words --set punctuation=split",
    ),
)
@click.argument("data")
@click.option(
    "-o", "--output", metavar="RUN", help="Folder of the run.  [default: checkpoints/NAME of DATA]"
)
@options.settings
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any setting, see below; may be repeated.",
)
@click.option("--init-from", metavar="RUN", help="Start from the weights of another run.")
@click.option(
    "--distil-from", metavar="RUN", help="Learn what RUN answers to the sources of DATA as well."
)
@click.option("--unlabelled", metavar="FILE", help="With --distil-from: further sources, a column.")
@click.option("--force", is_flag=True, help="Train a finished run anew.")
@click.option("--dry-run", is_flag=True, help="Read the data, show what would be done, and stop.")
@options.as_json
@options.quiet
@options.debug
def train(
    *, data: str, output: str | None, assignments: tuple[str, ...], init_from: str | None,
    distil_from: str | None, unlabelled: str | None, force: bool, dry_run: bool, as_json: bool,
    quiet: bool, **named: Any,
) -> None:  # fmt: skip
    """Train a model on DATA: a folder with train.* (and dev.*, test.*), or one file.

    From pairs (two columns or more) it learns to rewrite; from text (.txt without tabs, a sentence
    a line) to predict the next word.

    The same command on an unfinished run resumes it. A setting is taken from the options, else
    from the environment (CHARSEQ_CELL and so on), else from DATA/charseq.toml.
    """
    config = options.configured(data, options.given(named, assignments))
    prepare_training()
    from charseq.training import train as recipes

    facts = recipes.train(
        data,
        run=None if output is None else Path(output),
        config=config,
        init_from=None if init_from is None else Path(init_from),
        distil_from=distil_from,
        unlabelled=unlabelled,
        force=force,
        dry_run=dry_run,
        **console.listening(quiet=quiet),
    )
    if as_json:
        console.write_json(facts)


@click.command(
    short_help="Rewrite texts, or predict their next words.",
    epilog=options.example(
        'charseq predict "3. März 2021" "le 14 juillet 1789"',
        "charseq predict -n 3 < words.txt > answers.tsv",
        'charseq predict --mass 0.9 --lexicon names.tsv --json "03/04/05"',
        'charseq predict -m checkpoints/sentences -n 5 "I love machine"',
        'charseq predict -m checkpoints/sentences --generate 3 --temperature 0.7 "I love"',
    ),
)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@options.model
@options.answers
@options.mass
@options.beam
@options.searching
@click.option("--scores", is_flag=True, help="Print source, rank, prediction and probability.")
@options.complete
@options.generate
@options.as_json
@options.quiet
@options.debug
def predict(
    *, texts: tuple[str, ...], model: str | None, n: int | None, mass: float | None,
    beam: int | None, scores: bool, complete: bool, generate: int | None,
    temperature: float | None, top_p: float | None, most: int | None, seed: int | None,
    as_json: bool, quiet: bool, **searching: Any,
) -> None:  # fmt: skip
    """Rewrite each TEXT, or each line of stdin; one line each, in order.

    With -n 2 and more, --mass or --scores: source, rank, prediction and probability, separated by
    tabs. A model with features takes a text as source TAB features.

    What stands in the --lexicon is answered from there; with -n, others by the model come after it.
    A text must stand there as it is, but for its Unicode form.

    A model of sentences answers with the next word; with --complete, with words that begin as the
    last one does; with --generate, with N whole lines that begin with TEXT. There an empty TEXT is
    a line that has not begun; elsewhere its answer is empty.
    """
    prepare_inference()
    from charseq.cli import render as answers
    from charseq.inference.predictor import load

    loaded = load(model, **options.chosen(searching))
    count = _count(loaded, n, beam, mass)
    how = {"temperature": temperature, "top_p": top_p, "most": most, "seed": seed}
    ask = answers.asker(
        loaded, n=count, beam=None if generate and not options.is_typed("beam") else beam,
        mass=mass, scores=scores, complete=complete, generate=generate,
        how={name: value for name, value in how.items() if value is not None},
    )  # fmt: skip
    render: Callable[[str, Any], Iterator[str]] = answers.as_text
    if as_json:
        render = partial(answers.as_json, marked=searching["lexicon"] is not None)
    elif scores or mass is not None or count > 1:
        render = answers.as_table
    if generate and not as_json:
        render = answers.as_lines
    seen: Counter[str] = Counter()
    warn = console.silence if quiet else console.warn
    for window in _windows(texts, has_features=loaded.has_features, quiet=quiet):
        pairs = list(zip(window, ask(window), strict=True))
        console.write(line for text, answer in pairs for line in render(text, answer))
        for line in answers.warnings(pairs, seen):
            warn(line)
    if often := answers.totals(seen):
        warn(often)


@click.command(
    short_help="Rewrite files.",
    epilog=options.example(
        "charseq convert orders.csv --column date -o orders.iso.csv",
        "cat words.txt | charseq convert - -m checkpoints/mine > answers.txt",
    ),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@options.model
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="File to write, or a folder that exists; - is stdout.  "
    "[default: NAME.converted.csv beside NAME.csv]",
)
@click.option(
    "--column",
    metavar="NAME",
    help="Column to rewrite, by header or by number from 1.  [default: source, else the first]",
)
@click.option("--to", metavar="NAME", help="Name of the new column.  [default: prediction]")
@options.answers
@options.mass
@options.beam
@options.searching
@click.option(
    "--batch-size",
    type=click.IntRange(1, 65_536),
    default=256,
    metavar="B",
    show_default=True,
    help="Texts computed together; it never changes an answer.",
)
@click.option(
    "--jobs",
    type=click.IntRange(0, 256),
    default=0,
    metavar="N",
    help="Processes that answer, once that takes a while; no answer changes.  [default: cores]",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    default="auto",
    help="Format of FILE.  [default: by its name]",
)
@options.header
@click.option("--force", is_flag=True, help="Overwrite OUT, and columns of the same name.")
@options.quiet
@options.debug
def convert(
    *, files: tuple[str, ...], model: str | None, output: str | None, column: str | None,
    to: str | None, n: int | None, mass: float | None, beam: int | None, batch_size: int,
    jobs: int, kind: str, header: str, force: bool, quiet: bool, **searching: Any,
) -> None:  # fmt: skip
    """Rewrite one column of each FILE: text, TSV, CSV, JSON Lines or Parquet, also .gz.

    Rows, order and all other columns stay; the answers come as a new column. In plain text each
    line is replaced by its answer, or goes on with its next word. - is stdin.

    With -n or --mass there is a column for each of the best answers. What is answered from the
    --lexicon has the word lexicon in the column for notes.

    A row that cannot be read keeps its place; it stands with its bytes and the reason in
    OUT.rejects.jsonl, and the exit code is 1. After Ctrl-C or a kill the same command goes on.
    """
    prepare_inference()
    from charseq.inference import convert as converter
    from charseq.inference.pool import sharing
    from charseq.inference.predictor import fingerprint, load

    places = converter.targets(files, output)
    how = options.chosen(searching)
    loaded = load(model, **how)
    count = _count(loaded, n, beam, mass)
    known = fingerprint(loaded)
    rejected = []
    with sharing(loaded, jobs, known, how) as pool:
        for path, place in zip(files, places, strict=True):
            found = converter.convert(
                pool, path, place, column=column, to=to, n=count, beam=beam, mass=mass,
                batch_size=batch_size, format=kind, header=header, force=force,
                kept_for=f"{__version__} {known}",
                report=console.silence if quiet else console.note,
            )  # fmt: skip
            if found.rejected:
                rejected.append(f"{found.path}: {found.refused}: {found.rejects}")
    if rejected:
        raise CharseqError("; ".join(rejected))


@click.command(
    short_help="Score a model, or compare two.",
    epilog=options.example(
        "charseq evaluate data/ -m checkpoints/mine --split test --errors errors.tsv",
        "charseq evaluate data/ -m checkpoints/mine --details",
        "charseq evaluate data/ -m checkpoints/before -m checkpoints/after",
    ),
)
@click.argument("data")
@options.models
@click.option(
    "--split",
    type=click.Choice(["train", "dev", "test", "all"]),
    help="Which part of DATA.  [default: test; all of a single file of other data]",
)
@options.beam
@options.device
@click.option("--errors", metavar="FILE", help="Write the wrong answers there, as TSV.")
@click.option(
    "--details",
    is_flag=True,
    help="Add tables: candidates, lengths, confusions.  --json always has them.",
)
@options.as_json
@options.debug
def evaluate(
    *, data: str, models: tuple[str, ...], split: str | None, beam: int | None,
    device: str | None, errors: str | None, details: bool, as_json: bool,
) -> None:  # fmt: skip
    """Score a model on pairs or on lines of text, whichever it was trained on.

    Pairs: exact match, word and symbol error rate, each with the interval that holds it with 95 %
    confidence. Lines: perplexity per word, how often the word is among the first 1, 3 and 5
    suggested, keystrokes saved, words it does not know (oov).

    With --details also: how often one of the first k candidates is right, exact match by the
    length of the source, and which symbols were written for which.

    With -m twice, two models of pairs are scored on the same rows and compared.
    """
    if len(models) > 2:
        raise UsageError(f"--model names {len(models)} runs, expected one, or two to compare")
    if len(models) == 2 and errors is not None:
        raise UsageError("--errors is for one model")
    prepare_inference()
    from charseq.cli import scorecard
    from charseq.evaluation import evaluate as evaluate_module
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.predictor import load

    how: dict[str, Any] = {} if device is None else {"device": device}
    loaded = [load(run, **how) for run in models or (None,)]
    words = isinstance(loaded[0], LanguageModel)
    if len(loaded) == 2:
        facts = evaluate_module.compare(data, models=(loaded[0], loaded[1]), split=split, beam=beam)
        describe = scorecard.describe_comparison
    else:
        if words and details:
            raise UsageError("--details is for runs of pairs; this run predicts words")
        facts = evaluate_module.evaluate(
            data,
            model=loaded[0],
            split=split,
            beam=None if words and not options.is_typed("beam") else beam,
            errors=None if errors is None else Path(errors),
        )
        describe = scorecard.describe_evaluation
    if as_json:
        console.write_json(facts)
    else:
        console.write(describe(facts, details=details))


@click.command(
    short_help="Tell how likely whole lines are.",
    epilog=options.example(
        'charseq score -m checkpoints/sentences "I love machine learning."',
        "charseq score -m checkpoints/sentences < hypotheses.txt > scores.tsv",
    ),
)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@options.model
@options.as_json
@options.quiet
@options.debug
def score(*, texts: tuple[str, ...], model: str | None, as_json: bool, quiet: bool) -> None:
    """The logarithm of the probability of each TEXT, or line of stdin, as a whole line.

    It wants a model of sentences. One line each, in order: natural logarithm, number of words with
    the line's end, text, separated by tabs. For choosing among what a recogniser or a translator
    offers.
    """
    prepare_inference()
    from charseq.cli import render as answers
    from charseq.inference.predictor import load

    loaded = answers.reader(load(model), "score")
    render = answers.score_as_json if as_json else answers.score_as_row
    seen: Counter[str] = Counter()
    warn = console.silence if quiet else console.warn
    for window in _windows(texts, has_features=False, quiet=quiet):
        found = loaded.score(window)
        console.write(map(render, window, found))
        for text, one in zip(window, found, strict=True):
            for line in answers.strangers(text, one.unknown, seen):
                warn(line)
    if often := answers.totals(seen):
        warn(often)


def _count(model: Any, n: int | None, beam: int | None, mass: float | None) -> int:
    """The candidates to ask for: N, else 1; to have a mass together, as many as the beam has."""
    if n is not None or mass is None:
        return n or 1
    return int(model.config.beam if beam is None else beam)


def _windows(texts: tuple[str, ...], *, has_features: bool, quiet: bool) -> Iterator[list[str]]:
    """The texts of the command line, else of stdin, as many as are answered at once."""
    from charseq.cli import render as answers

    if texts not in ((), ("-",)):
        given = answers.from_words(texts, has_features=has_features)
        return answers.windows(given, WINDOW)
    typed = sys.stdin.buffer.isatty()
    if typed and not quiet:
        console.note("charseq: one text a line, Ctrl-D ends")
    lines = answers.from_lines(sys.stdin.buffer, has_features=has_features)
    return answers.windows(lines, 1 if typed else WINDOW)
