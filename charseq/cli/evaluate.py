"""Command ``charseq evaluate``: data and runs -> scores, as lines for people or as JSON.

The evaluation is imported when the command runs, so that its help loads no NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import click

from charseq.cli import console, options
from charseq.display import table, visible
from charseq.errors import UsageError
from charseq.process import prepare_inference

SHOWN_EDITS = 10
"""Most frequent edits of each kind that are listed."""
EDIT_FORMS = {"substitutions": "{} → {}", "deletions": "{} left out", "insertions": "{1} added"}

Facts = Mapping[str, Any]


@click.command(
    short_help="Score a model, or compare two models.",
    epilog=options.example(
        "charseq evaluate data/ -m checkpoints/mine --split test --errors errors.tsv",
        "charseq evaluate data/ -m checkpoints/mine --details",
        "charseq evaluate data/ -m checkpoints/mine --strangers other.txt --plot trust.png",
        "charseq evaluate data/ -m checkpoints/before -m checkpoints/after --plot differ.png",
    ),
)
@options.data
@options.models
@click.option(
    "--split",
    type=click.Choice(["train", "dev", "test", "all"]),
    help="Part of DATA to score on.  [default: test; all of a single file of other data]",
)
@options.beam
@options.target_words
@options.rule
@options.device
@options.reading
@click.option(
    "--errors",
    type=options.OutputName(Path),
    metavar="FILE",
    help="Write the wrong answers to this TSV file.",
)
@click.option(
    "--strangers",
    type=options.Name(),
    metavar="FILE",
    help="Texts that have no right answer, one a line: count how many are answered.",
)
@click.option(
    "--strangers-column",
    metavar="NAME",
    help="Column of the FILE of --strangers, its name or number.  [default: the one named source, "
    "else the first]",
)
@click.option(
    "--plot",
    type=options.OutputName(Path),
    metavar="FILE",
    help="Draw how far probabilities can be trusted, error by length and wrong symbols into this "
    ".png or .svg file; with -m twice, where the models differ.",
)
@options.force("Overwrite the FILE of --errors and of --plot.")
@click.option(
    "--details",
    is_flag=True,
    help="Add tables: candidates, lengths, confusions.  --json always has them.",
)
@click.option(
    "--adapt",
    is_flag=True,
    help="Models of text: also the perplexity of a model that learns from what it has read.",
)
@options.as_json
@options.debug
def evaluate(
    *, data: str, models: tuple[str, ...], split: str | None, beam: int | None,
    device: str | None, errors: Path | None, strangers: str | None,
    strangers_column: str | None, plot: Path | None, force: bool, details: bool,
    as_json: bool, target_words: str | None, pattern: str | None, within: str | None,
    check: tuple[str, ...], adapt: bool, **settings: Any,
) -> None:  # fmt: skip
    """Score a model on pairs or on lines of text, as it was trained.

    Scores on pairs: exact match, word error rate and symbol error rate, each with its 95 %
    confidence interval. Scores on lines: perplexity per word, how often the right word is among
    the first 1, 3 and 5 suggestions, keystrokes saved, and the share of unknown words (oov).

    A model of pairs gives each answer a probability. Ordered by it, aurc is the area under the
    curve of risk (wrong answers among those given) and coverage (rows answered); excess_aurc is
    its distance from the best possible order; auroc tells right answers from wrong ones. A table
    shows how many rows can be answered with 1 % and 5 % errors, and from which probability.

    With --details also: how often one of the first k candidates is right, exact match by the
    length of the source, and which symbols were written in place of which.

    With --pattern, --within or --check the scores are those of answers that keep the rule; a row
    without such an answer is wrong.

    With --adapt a model of text is scored twice more. session_perplexity is that of a session that
    learns each line after it; adapted_perplexity that of weights which follow the text by gradients
    (dynamic evaluation), which takes torch and many times as long.

    With -m twice, two models of pairs are scored on the same rows and compared.
    """
    _check_outputs(models, errors, strangers)
    prepare_inference()
    from charseq.data.corpus import task_of
    from charseq.evaluation import evaluate as evaluation
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.predictor import load

    reading = options.given(settings, ())
    loading = {
        "device": device,
        "target_words": target_words,
        "pattern": pattern,
        "within": within,
        "check": check,
    }
    load_arguments: dict[str, Any] = {k: v for k, v in loading.items() if v not in (None, ())}
    task = task_of(data, reading)
    runs = [options.chosen(run, task=task) for run in models or (None,)]
    loaded = [load(run, **load_arguments) for run in runs]
    console.tell_lexicon(loaded[0], quiet=False)
    stages = {"before": f"reading {data}", "after": "intervals and tables"}
    with console.rows_line(1.0, quiet=False, **stages) as line:
        if len(loaded) == 2:
            facts = evaluation.compare(
                data, models=(loaded[0], loaded[1]), split=split, beam=beam, plot=plot, force=force,
                reading=reading, report=line.note, watch=line.show,
            )  # fmt: skip
            describe = describe_comparison
        else:
            predicts_words = isinstance(loaded[0], LanguageModel)
            if predicts_words and details:
                raise UsageError("--details is for runs of pairs; this run predicts words")
            if predicts_words and not options.is_typed("beam"):
                beam = None
            facts = evaluation.evaluate(
                data,
                model=loaded[0],
                split=split,
                beam=beam,
                errors=errors,
                strangers=strangers,
                strangers_column=strangers_column,
                plot=plot,
                force=force,
                adapt=adapt,
                reading=reading,
                report=line.note,
                watch=line.show,
            )
            describe = describe_evaluation
    if plot is not None:
        console.note(f"drawn {plot}")
    if as_json:
        console.write_json(facts)
    else:
        console.show(describe(facts, details=details))


def _check_outputs(models: Sequence[str], errors: Path | None, strangers: str | None) -> None:
    """Raise UsageError for more than two models, for files of two, and for errors on stdout."""
    if len(models) > 2:
        raise UsageError(f"--model names {len(models)} runs, expected one, or two to compare")
    for name, value in (("errors", errors), ("strangers", strangers)):
        if len(models) == 2 and value is not None:
            raise UsageError(f"--{name} is for one model")
    from charseq.files import is_stdout

    if errors is not None and is_stdout(errors):
        raise UsageError("--errors names stdout, where the scores go: give the name of a file")


# --- scores -> lines for people


def describe_evaluation(facts: Facts, *, details: bool = False) -> list[str]:
    """The scores, one a line, with their intervals, and tables; ``details`` adds more of them."""
    lines = [*_fields(_values(facts)), *_coverage(facts), *_strangers(facts)]
    return [*lines, *describe_details(facts)] if details else lines


def describe_details(facts: Facts) -> list[str]:
    """Tables of an evaluation of pairs: candidates, source lengths and edits."""
    first = [(f"{one['k']}", _percent(one["exact_match"])) for one in facts["top_k"]]
    lengths = [
        (_range(one), f"{one['examples']:,}", _percent(one["exact_match"]))
        for one in facts["by_length"]
    ]
    return [
        "",
        *table([("right among the first", ""), *first], ">"),
        "",
        *table([("symbols of the source", "examples", "exact match"), *lengths], ">"),
        *_memory(facts.get("by_memory", ())),
        *_edits(facts["confusions"]),
    ]


def _memory(rows: Sequence[Facts]) -> list[str]:
    """A table of rows by what the memory of the run has of their sources; empty without."""
    if not rows:
        return []
    head = ("source in the memory", "examples", "with the memory", "by the model alone")
    cells = [
        (
            one["seen"],
            f"{one['examples']:,}",
            *(
                _percent(one[f"{prefix}exact_match"])
                + (f" ({_span(bounds)})" if (bounds := one[f"{prefix}interval"]) else "")
                for prefix in ("", "model_")
            ),
        )
        for one in rows
    ]
    return ["", *table([head, *cells], ">")]


def describe_comparison(facts: Facts, *, details: bool = False) -> list[str]:
    """The scores of two models side by side, their differences, and which model is better."""
    models, found = facts["models"], facts["comparison"]
    values = [dict(_values(one)) for one in models]
    common = [(name, values[0][name]) for name in ("data", "split", "examples", "intervals")]
    apart = [name for name in values[0] if name not in ("signature", *dict(common))]
    rows = [(name, [one.get(name, "") for one in values]) for name in apart]
    width = max(len(shown) for _, (shown, _) in rows)
    order = ("first", "second")
    lines = _fields(
        chain(
            common,
            [("", f"{order[0]:{width}}  {order[1]}")],
            ((name, f"{one:{width}}  {other}".rstrip()) for name, (one, other) in rows),
            (
                (f"signature {place}", one["signature"])
                for place, one in zip(order, models, strict=True)
            ),
            ((name, f"{found[name]:,}") for name in found if name.startswith(("both", "only"))),
            _differences(found),
            [("verdict", _verdict(found, [one["run"] for one in models]))],
        )
    )
    if details:
        for one in models:
            lines += ["", one["run"], *_coverage(one), *describe_details(one)]
    return lines


def _values(facts: Facts) -> Iterator[tuple[str, str]]:
    """Names and values of the scores that are known, without the tables."""
    intervals = facts.get("intervals", {})
    for name, value in facts.items():
        if name == "intervals":
            text = f"{value['confidence']} %, bootstrap over {value['sources']:,} sources"
            yield name, text
        elif not isinstance(value, list | dict) and (value is not None or _metric(name)):
            bounds = intervals.get(name)
            decimals = metric.decimals if (metric := _metric(name)) else 2
            span = f"  ({_span(bounds, decimals=decimals)})" if bounds else ""
            yield name, _shown(name, value) + span


def _coverage(facts: Facts) -> list[str]:
    """A table of the rows that can be answered with few errors; nothing for next-word models."""
    rows = []
    for one in facts.get("coverage", ()):
        bounds = f"  ({_span(one['interval'])})" if one["interval"] else ""
        answered = _percent(one["coverage"]) + bounds
        rows.append((f"{one['error']} %", answered, _least(one["threshold"])))
    head = ("wrong at most", "rows answered", "from probability")
    return ["", *table([head, *rows], "><")] if rows else []


def _strangers(facts: Facts) -> list[str]:
    """A table of the answers to strangers, if there are any."""
    if (found := facts.get("strangers")) is None:
        return []
    bounds = f"  ({_span(found['interval'])})" if found["interval"] else ""
    auroc = "undefined" if found["auroc"] is None else f"{_percent(found['auroc'])}{bounds}"
    rows = [
        (
            _least(one["threshold"]),
            f"{one['answered']:,}",
            _percent(one["share"]),
            _percent(one["coverage"]),
            "none answered" if one["risk"] is None else _percent(one["risk"]),
        )
        for one in found["thresholds"]
    ]
    refused = f"{found['refused']:,} without an answer"
    head = ("from probability", "strangers answered", "of all", "rows answered", "of them wrong")
    return [
        "",
        f"{_number(found['texts'], 'strangers')}, {refused}; auroc of rows and strangers {auroc}",
        *table([head, *rows], ">"),
    ]


def _least(threshold: float | None) -> str:
    """A probability in full, since a rounded one would answer other rows."""
    return "none" if threshold is None else "0" if not threshold else str(threshold)


def _differences(found: Facts) -> Iterator[tuple[str, str]]:
    for head, name in (("first to second", "exact_match"), ("", "ser")):
        one = found[name]
        if one is not None:
            bounds = f" ({_span(one['interval'], '+')})" if one["interval"] else ""
            points = f"{one['difference']:+.2f} points of {name.replace('_', ' ')}"
            yield head, f"{points}{bounds}, {_chance(one['p'])}"


def _verdict(found: Facts, runs: Sequence[str]) -> str:
    points = abs(found["exact_match"]["difference"])
    chance = _chance(found["exact_match"]["p"])
    if found["better"] is None:
        return f"not distinguishable by exact match, {chance}"
    run = runs[found["better"] == "second"]
    return f"{run} is better by {points:.2f} points of exact match, {chance}"


def _edits(found: Facts) -> list[str]:
    """A table for each kind of edit, the most frequent first."""
    counted = ", ".join(_number(found[kind]["count"], kind) for kind in EDIT_FORMS)
    kinds = f": {counted}" if found["edits"] else ""
    lines = ["", _number(found["edits"], "edits") + kinds]
    for kind, form in EDIT_FORMS.items():
        most = found[kind]["most"][:SHOWN_EDITS]
        counts = [(f"{one['count']:,}", _percent(one["share"])) for one in most]
        edits = [
            form.format("".join(visible(one["reference"])), "".join(visible(one["written"])))
            for one in most
        ]
        if most:
            rows = table([(kind, "of all edits"), *counts], ">")
            lines += ["", *map("  ".join, zip_longest(rows, ["", *edits], fillvalue=""))]
    return [line.rstrip() for line in lines]


def _fields(named: Iterable[tuple[str, str]]) -> list[str]:
    """Names and values, aligned."""
    return table([(name.replace("_", " "), value) for name, value in named], "<")


def _range(one: Facts) -> str:
    shortest, longest = one["shortest"], one["longest"]
    return f"{shortest}" if shortest == longest else f"{shortest} to {longest}"


def _span(bounds: Sequence[float], sign: str = "", decimals: int = 2) -> str:
    return " to ".join(f"{bound:{sign}.{decimals}f}" for bound in bounds)


def _chance(p: float) -> str:
    return f"p = {p:.3g}" if p >= 0.001 else "p < 0.001"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what.removesuffix('s') if count == 1 else what}"


def _percent(value: float) -> str:
    return f"{value:.2f} %"


def _metric(name: str) -> Any:
    """The entry of a metric in the table; None for another value."""
    from charseq.evaluation.metrics import METRICS

    return METRICS.get(name)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "undefined"
    if isinstance(value, float):
        metric = _metric(name)
        unit, decimals = (metric.unit, metric.decimals) if metric else ("", 2)
        return f"{value:,.{decimals}f} {unit}".rstrip()
    return f"{value:,}" if type(value) is int else str(value)
