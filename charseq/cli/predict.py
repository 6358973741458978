"""Commands ``charseq predict`` and ``charseq score``: texts -> a model -> lines on stdout.

Texts come from the command line, else from stdin, see :mod:`charseq.cli.input.texts`. They are
answered in windows, so that the answers to a long input appear while it is read.

An empty text has nothing to rewrite: its answer is None, and a model of pairs is not asked. To a
language model it is the beginning of a line.

The model is imported when a command runs, so that its help loads no NumPy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charseq.cli import console, options, render
from charseq.cli.input import session as sessions
from charseq.cli.input.texts import counting, text_windows
from charseq.cli.pictures import attention
from charseq.cli.render import Answer, GeneratedLines
from charseq.errors import UsageError
from charseq.process import prepare_inference

if TYPE_CHECKING:
    from charseq.inference.alignment.pairs import Alignment
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.prediction import Prediction
    from charseq.inference.predictor import PairsModel

RULES = {"pattern", "within", "check"}
NEEDS_PAIRS = {"lexicon", "target_words", "length_penalty", "device", *RULES}
"""Arguments of ``predictor.load`` that only models of pairs take."""

AnswerFunction = Callable[[list[str]], Sequence[Answer]]

_generation = options.together(
    click.option(
        "--generate",
        type=options.Integer(1, 10_000),
        metavar="N",
        help="Language models: sample N whole lines that begin with the text.",
    ),
    click.option(
        "--temperature",
        type=options.Number(0, 100),
        metavar="T",
        help="With --generate: below 1 prefers likely words, 0 takes the likeliest.  [default: 1]",
    ),
    click.option(
        "--top-p",
        type=options.Number(0, 1, min_open=True),
        metavar="P",
        help="With --generate: sample only from the likeliest words, whose probabilities sum to P."
        "  [default: 1]",
    ),
    click.option(
        "--most",
        type=options.Integer(1, 10_000),
        metavar="W",
        help="With --generate: at most W new words in a line.  [default: 40]",
    ),
    click.option(
        "--seed",
        type=options.Integer(0),
        metavar="S",
        help="With --generate: seed of the sampling; the same seed gives the same lines.  "
        "[default: 1]",
    ),
)


threshold = click.option(
    "--threshold",
    type=options.Number(0, 1, min_open=True),
    metavar="T",
    help="Withhold answers of the model that are less probable than T. Those of the lexicon are "
    "given.",
)


@click.command(
    short_help="Rewrite texts, or predict their next words.",
    epilog=options.example(
        'charseq predict "3. März 2021" "le 14 juillet 1789"',
        "charseq predict -n 3 < words.txt > answers.tsv",
        'charseq predict --mass 0.9 --lexicon names.tsv --json "03/04/05"',
        'charseq predict --threshold 0.9 "03/04/05"',
        'charseq predict --check date "31 June 2020"',
        'charseq predict --align "3. März 2021"',
        'charseq predict --plot attention.png "3. März 2021"',
        'charseq predict -m checkpoints/sentences -n 5 "I love machine"',
        'charseq predict -m checkpoints/sentences --generate 3 --temperature 0.7 "I love"',
    ),
)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@options.inference
@threshold
@click.option("--scores", is_flag=True, help="Print source, rank, answer and probability.")
@click.option(
    "--align",
    is_flag=True,
    help="Models with attention: print which symbols of the text each part of the best answer "
    "looked at, as k→k ae→æ t→t; with --json, pairs and weights.",
)
@click.option(
    "--plot",
    type=options.OutputName(Path),
    metavar="FILE",
    help="Models with attention, one TEXT: draw which symbols of it each symbol of the best answer "
    "looked at into this .png or .svg file.",
)
@options.force("Overwrite the FILE of --plot.")
@click.option(
    "--complete",
    is_flag=True,
    help="Language models: complete the last word of each text, which is unfinished.",
)
@sessions.session
@_generation
@options.reporting
def predict(
    *, texts: tuple[str, ...], model: str | None, n: int | None, mass: float | None,
    beam: int | None, scores: bool, align: bool, complete: bool, generate: int | None,
    temperature: float | None, top_p: float | None, most: int | None, seed: int | None,
    threshold: float | None, plot: Path | None, force: bool, as_json: bool, quiet: bool,
    session: str | None, learn: bool,
    **loading: Any,
) -> None:  # fmt: skip
    """Rewrite each TEXT, or each line of stdin; one line of output for each, in order.

    With -n above 1, --mass or --scores a line is source, rank, answer and probability, separated
    by tabs. For a model with features a text is source TAB features.

    With --lexicon, a text that is a source of the lexicon gets its targets as answers; with -n,
    answers of the model follow. The text must equal the source, except for its Unicode form.

    With --threshold an answer of the model that is less probable is withheld: its line is empty
    (with -n, --mass or --scores it has the probability alone). In JSON "unsure" is true, and the
    candidates stay.

    With --pattern, --within or --check no other answer is given: where the model finds none, the
    answer is empty, with a warning, and "answered" is false in JSON. More may be found with a
    larger --beam.

    A language model (trained on text) answers with the next word; with --complete, with words that
    begin like the last one; with --generate, with whole lines that begin with TEXT. To it an empty
    TEXT is the beginning of a line; elsewhere the answer to an empty text is empty.

    A model that was trained with --empty-targets may say that a text has no answer: its line is
    empty, and stderr names the text.
    """
    prepare_inference()
    from charseq.inference.predictor import load

    arguments = options.load_arguments(loading)
    if plot is not None:
        attention.check(plot, texts, force=force)
    words = bool(complete or generate or session)
    needs_pairs = align or plot is not None or threshold is not None
    needed = needed_task(arguments, words=words, pairs=needs_pairs)
    run = options.chosen(model, task=needed, quiet=quiet)
    loaded = load(run, **arguments)
    if align:
        require_attention(loaded, others=bool(complete or generate or scores or mass or n))
    if plot is not None:
        require_attention(loaded, option="--plot", others=bool(complete or generate))
    console.tell_lexicon(loaded, quiet=quiet)
    has_rule = bool(RULES & arguments.keys())
    count = options.candidate_count(loaded, n=n, beam=beam, mass=mass)
    sampling = {"temperature": temperature, "top_p": top_p, "most": most, "seed": seed}
    answer = answer_function(
        loaded, n=count, beam=None if generate and not options.is_typed("beam") else beam,
        mass=mass, scores=scores, complete=complete, generate=generate, threshold=threshold,
        sampling={name: value for name, value in sampling.items() if value is not None},
    )  # fmt: skip
    others = bool(generate or mass is not None or threshold is not None or align)
    answer = sessions.answering(
        loaded, answer, session, learn=learn, others=others, n=count, beam=beam, complete=complete
    )
    if generate is None:
        options.warn_of_wider_beam(loaded, count, beam=beam, quiet=quiet)
    lines_of = _renderer(
        loaded, generate=generate, as_json=as_json, align=align, with_rule=has_rule,
        as_table=scores or mass is not None or count > 1, with_unsure=threshold is not None,
        with_lexicon=loading["lexicon"] is not None,
    )  # fmt: skip
    messages = render.Messages(
        mass, threshold, counts_words=hasattr(loaded, "append"), with_rule=has_rule
    )
    with counting(texts, "texts", quiet=quiet) as counts:
        for window in text_windows(texts, has_features=loaded.has_features, quiet=quiet):
            answers = list(zip(window, answer(window), strict=True))
            console.write(line for text, one in answers for line in lines_of(text, one))
            for line in messages.on(answers):
                counts.warn(line)
            counts.add(window)
            if plot is not None:
                (text, one), told = answers[0], console.silence if quiet else console.note
                attention.draw(loaded, one, partial(alignment_of, loaded), plot, text, report=told)
        for line in messages.totals():
            counts.warn(line)


def _renderer(
    model: Any,
    *,
    generate: int | None,
    as_json: bool,
    as_table: bool,
    align: bool,
    with_rule: bool,
    with_unsure: bool,
    with_lexicon: bool,
) -> Callable[[str, Any], Iterator[str]]:
    """The function from a text and its answer to lines of output, as the options ask for them."""
    if generate:
        return render.generated_as_json if as_json else render.generated_as_text
    aligned = partial(alignment_of, model) if align else None
    if as_json:
        remembers = any(getattr(model, part, None) for part in ("memory", "word_prior"))
        return partial(
            render.as_json,
            with_origin=with_lexicon or remembers,
            with_rule=with_rule,
            with_unsure=with_unsure,
            align=aligned,
        )
    if as_table:
        return render.as_table
    return partial(render.as_pairs, align=aligned) if aligned else render.as_text


@click.command(
    short_help="Score whole lines with a language model.",
    epilog=options.example(
        'charseq score -m checkpoints/sentences "I love machine learning."',
        "charseq score -m checkpoints/sentences < hypotheses.txt > scores.tsv",
    ),
)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@options.model
@options.reporting
def score(*, texts: tuple[str, ...], model: str | None, as_json: bool, quiet: bool) -> None:
    """Print the log-probability of each TEXT, or of each line of stdin, as a whole line.

    The model must be a language model (trained on text). One line of output for each, in order:
    natural logarithm of the probability, number of words including the end of the line, and text,
    separated by tabs. Useful to rank the hypotheses of a speech recogniser or a translator.
    """
    prepare_inference()
    from charseq.inference.predictor import load

    run = options.chosen(model, task="next-word", quiet=quiet)
    loaded = require_language_model(load(run), "score")
    line_of = render.score_as_json if as_json else render.score_as_row
    seen: Counter[str] = Counter()
    with counting(texts, "lines", quiet=quiet) as counts:
        for window in text_windows(texts, has_features=False, quiet=quiet):
            found = loaded.score(window)
            console.write(map(line_of, window, found))
            for text, one in zip(window, found, strict=True):
                for line in render.unknown_symbols(text, one.unknown, seen):
                    counts.warn(line)
            counts.add(window)
        if totals := render.unknown_totals(seen):
            counts.warn(totals)


# --- texts -> answers


def needed_task(loading: Mapping[str, Any], *, words: bool, pairs: bool = False) -> str | None:
    """The task that the model must have learnt for these options; None: either will do.

    ``loading``: arguments of ``predictor.load``. ``words``, ``pairs``: whether other options need
    a model that predicts words, or one of pairs.
    """
    if words:
        return "next-word"
    return "pairs" if pairs or NEEDS_PAIRS & loading.keys() else None


def answer_function(
    model: PairsModel | LanguageModel,
    *,
    n: int,
    beam: int | None,
    mass: float | None,
    scores: bool,
    complete: bool,
    generate: int | None,
    sampling: Mapping[str, Any],
    threshold: float | None = None,
) -> AnswerFunction:
    """The function from texts to their answers, one for each, that the options ask for.

    An answer has up to ``n`` candidates; with ``mass``, the first that have this probability
    together. ``sampling``: options of ``LanguageModel.generate``. ``threshold``: answers that are
    less probable are withheld.

    Raises:
        UsageError: options that do not go together, or not with this model.
    """
    from charseq.inference.language_model import LanguageModel

    if threshold is not None and (isinstance(model, LanguageModel) or complete or generate):
        raise UsageError("--threshold is for models that rewrite texts, not for next words")
    if generate is not None:
        if complete or scores or n > 1 or beam is not None or mass is not None:
            others = "--complete, --scores, -n, --mass and --beam"
            raise UsageError(f"--generate goes with none of {others}")
        language_model = require_language_model(model, "--generate")
        return partial(_generate, language_model, count=generate, sampling=sampling)
    if sampling:
        raise UsageError(f"--{min(sampling).replace('_', '-')} is for --generate")
    ask: Any  # one of several methods, of which each has overloads
    if complete:
        ask = require_language_model(model, "--complete").complete
    elif isinstance(model, LanguageModel):
        ask = model.predict
    else:
        ask = partial(_rewrite, model)
    answer: Callable[..., Sequence[Prediction | None]] = partial(ask, n=n, beam=beam)
    if threshold is not None:
        answer = partial(_above, answer, threshold)
    return answer if mass is None else partial(_reaching, answer, mass)


def require_attention(
    model: PairsModel | LanguageModel, *, others: bool, option: str = "--align"
) -> None:
    """Raise UsageError where an option does not go with the model or with other options."""
    if others:
        besides = "-n, --mass, --scores, " if option == "--align" else ""
        raise UsageError(f"{option} goes with none of {besides}--complete, --generate")
    if getattr(model, "append", None) is not None or model.config.attention == "none":
        raise UsageError(f"{option} needs a model with attention, and {model.path} has none")


def alignment_of(model: Any, answer: Prediction) -> Alignment | None:
    """The alignment of a text with its best answer, withheld or not."""
    best = answer.candidates[0].prediction if answer.candidates else ""
    found: list[Alignment | None] = model.align([answer.source], [best])
    return found[0]


def require_language_model(model: PairsModel | LanguageModel, purpose: str) -> LanguageModel:
    """``model``, which must be a language model. Raises UsageError for a model of pairs."""
    from charseq.inference.language_model import LanguageModel

    if not isinstance(model, LanguageModel):
        raise UsageError(
            f"{purpose} needs a language model, but {model.path} is a model of pairs "
            "(see `charseq info`)"
        )
    return model


def _rewrite(
    model: PairsModel, texts: list[str], *, n: int, beam: int | None
) -> list[Prediction | None]:
    """The model's answers; None for empty texts."""
    found = iter(model.predict([text for text in texts if text], n=n, beam=beam))
    return [next(found) if text else None for text in texts]


def _reaching(
    answer: Callable[[list[str]], Sequence[Prediction | None]], mass: float, texts: list[str]
) -> list[Prediction | None]:
    """The same answers, each with as many candidates as have ``mass`` together."""
    return [one and one.reaching(mass) for one in answer(texts)]


def _above(
    answer: Callable[[list[str]], Sequence[Prediction | None]], threshold: float, texts: list[str]
) -> list[Prediction | None]:
    """The same answers; those that are less probable than ``threshold`` are withheld."""
    return [one and one.above(threshold) for one in answer(texts)]


def _generate(
    model: LanguageModel, texts: list[str], *, count: int, sampling: Mapping[str, Any]
) -> list[GeneratedLines]:
    """``count`` sampled lines for each text."""
    continuations = model.generate(texts, count=count, **sampling)
    return [
        GeneratedLines([text + one for one in found], model.tokenizer.unknown(text))
        for text, found in zip(texts, continuations, strict=True)
    ]
