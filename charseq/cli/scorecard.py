"""what an evaluation or a comparison found -> lines for people.

It scores nothing and prints nothing. The units of metrics are those of :data:`METRICS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

from charseq.display import visible

SHOWN_EDITS = 10
CHANGED = {"substitutions": "{} → {}", "deletions": "{} left out", "insertions": "{1} added"}

Facts = Mapping[str, Any]


def describe_evaluation(facts: Facts, *, details: bool = False) -> list[str]:
    """One value a line, with its interval where it has one; ``details`` adds the tables."""
    lines = _columns(_values(facts))
    return [*lines, *describe_details(facts)] if details else lines


def describe_details(facts: Facts) -> list[str]:
    """Candidates, lengths and edits of an evaluation of pairs, as tables."""
    first = [(f"{one['k']}", _percent(one["exact_match"])) for one in facts["top_k"]]
    lengths = [
        (_range(one), f"{one['examples']:,}", _percent(one["exact_match"]))
        for one in facts["by_length"]
    ]
    return [
        "",
        *_table(("right among the first", ""), first),
        "",
        *_table(("symbols of the source", "examples", "exact match"), lengths),
        *_edits(facts["confusions"]),
    ]


def describe_comparison(facts: Facts, *, details: bool = False) -> list[str]:
    """Both models side by side, where they differ, and which is better."""
    models, found = facts["models"], facts["comparison"]
    values = [dict(_values(one)) for one in models]
    common = [(name, values[0][name]) for name in ("data", "split", "examples", "intervals")]
    apart = [name for name in values[0] if name not in ("signature", *dict(common))]
    rows = [(name, [one.get(name, "") for one in values]) for name in apart]
    width = max(len(shown) for _, (shown, _) in rows)
    order = ("first", "second")
    lines = _columns(
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
    """Names and values, without tables and without what is not known."""
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
    counted = ", ".join(_number(found[kind]["count"], kind) for kind in CHANGED)
    told = f": {counted}" if found["edits"] else ""
    lines = ["", _number(found["edits"], "edits") + told]
    for kind, form in CHANGED.items():
        most = found[kind]["most"][:SHOWN_EDITS]
        rows = [(f"{one['count']:,}", _percent(one["share"])) for one in most]
        what = [
            form.format("".join(visible(one["reference"])), "".join(visible(one["written"])))
            for one in most
        ]
        if most:
            table = _table((kind, "of all edits"), rows)
            lines += ["", *map("  ".join, zip_longest(table, ["", *what], fillvalue=""))]
    return [line.rstrip() for line in lines]


def _columns(rows: Iterator[tuple[str, str]] | chain[tuple[str, str]]) -> list[str]:
    """Names and values, aligned."""
    named = [(name.replace("_", " "), text) for name, text in rows]
    width = max(len(name) for name, _ in named)
    return [f"{name:{width}}  {text}".rstrip() for name, text in named]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells aligned to the right, below their heads."""
    table = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(map(str.rjust, row, widths)).rstrip() for row in table]


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
