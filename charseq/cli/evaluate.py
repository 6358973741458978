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
        "charseq evaluate data/ -m checkpoints/before -m checkpoints/after",
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
@options.device
@options.reading
@click.option(
    "--errors",
    type=options.OutputName(Path),
    metavar="FILE",
    help="Write the wrong answers to this TSV file.",
)
@options.force("Overwrite the FILE of --errors.")
@click.option(
    "--details",
    is_flag=True,
    help="Add tables: candidates, lengths, confusions.  --json always has them.",
)
@options.as_json
@options.debug
def evaluate(
    *, data: str, models: tuple[str, ...], split: str | None, beam: int | None,
    device: str | None, errors: Path | None, force: bool, details: bool,
    as_json: bool, **settings: Any,
) -> None:  # fmt: skip
    """Score a model on pairs or on lines of text, as it was trained.

    Scores on pairs: exact match, word error rate and symbol error rate, each with its 95 %
    confidence interval. Scores on lines: perplexity per word, how often the right word is among
    the first 1, 3 and 5 suggestions, keystrokes saved, and the share of unknown words (oov).

    With --details also: how often one of the first k candidates is right, exact match by the
    length of the source, and which symbols were written in place of which.

    With -m twice, two models of pairs are scored on the same rows and compared.
    """
    if len(models) > 2:
        raise UsageError(f"--model names {len(models)} runs, expected one, or two to compare")
    if len(models) == 2 and errors is not None:
        raise UsageError("--errors is for one model")
    from charseq.files import is_stdout

    if errors is not None and is_stdout(errors):
        raise UsageError("--errors names stdout, where the scores go: give the name of a file")
    prepare_inference()
    from charseq.data.corpus import task_of
    from charseq.evaluation import evaluate as evaluation
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.predictor import load

    reading = options.given(settings, ())
    load_arguments: dict[str, Any] = {} if device is None else {"device": device}
    task = task_of(data, reading)
    runs = [options.chosen(run, task=task) for run in models or (None,)]
    loaded = [load(run, **load_arguments) for run in runs]
    if len(loaded) == 2:
        facts = evaluation.compare(
            data, models=(loaded[0], loaded[1]), split=split, beam=beam, reading=reading,
            report=console.note,
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
            force=force,
            reading=reading,
            report=console.note,
        )
        describe = describe_evaluation
    if as_json:
        console.write_json(facts)
    else:
        console.show(describe(facts, details=details))


# --- scores -> lines for people


def describe_evaluation(facts: Facts, *, details: bool = False) -> list[str]:
    """The scores, one a line, with their intervals; ``details`` adds the tables."""
    lines = _fields(_values(facts))
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
        *_edits(facts["confusions"]),
    ]


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
            lines += ["", one["run"], *describe_details(one)]
    return lines


def _values(facts: Facts) -> Iterator[tuple[str, str]]:
    """Names and values of the scores that are known, without the tables."""
    intervals = facts.get("intervals", {})
    for name, value in facts.items():
        if name == "intervals":
            text = f"{value['confidence']} %, bootstrap over {value['sources']:,} sources"
            yield name, text
        elif value is not None and not isinstance(value, list | dict):
            bounds = intervals.get(name)
            yield name, _shown(name, value) + (f"  ({_span(bounds)})" if bounds else "")


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


def _span(bounds: Sequence[float], sign: str = "") -> str:
    return " to ".join(f"{bound:{sign}.2f}" for bound in bounds)


def _chance(p: float) -> str:
    return f"p = {p:.3g}" if p >= 0.001 else "p < 0.001"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what.removesuffix('s') if count == 1 else what}"


def _percent(value: float) -> str:
    return f"{value:.2f} %"


def _shown(name: str, value: Any) -> str:
    if isinstance(value, float):
        from charseq.evaluation.metrics import METRICS

        unit = METRICS[name].unit if name in METRICS else ""
        return f"{value:,.2f} {unit}".rstrip()
    return f"{value:,}" if type(value) is int else str(value)
