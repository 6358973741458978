"""Scores of a model on the columns of data/columns: right answers, refusals, and what is invented.

    python scripts/columns.py -m checkpoints/dates

A table for people, in Markdown, with a row for each kind of column, one for all of them, and one
for each form of target. An answer is given where it is not empty and has at least the probability
of ``--threshold``. Rows without a date have the empty target, which a model reaches by an empty
answer. The last lines are the strangers, none of which is a date. ``--wrong`` lists the wrong
answers as TSV instead: kind, source, target, answer, probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import charseq
from charseq.display import table

ROOT = Path(__file__).resolve().parent.parent
STRANGERS = "strangers.txt"
STRANGER_THRESHOLDS = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Answer:
    """One row of a column with the answer of a model."""

    source: str
    target: str
    prediction: str
    probability: float

    @property
    def is_right(self) -> bool:
        """Whether the answer is the target; no answer is right where there is no date."""
        return self.prediction == self.target

    def is_given(self, threshold: float) -> bool:
        """Whether a reader who demands this probability gets an answer."""
        return bool(self.prediction) and self.probability >= threshold


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """The rows of a column: source and target, which is empty where there is no date.

    Raises:
        click.ClickException: a line without exactly one tab.
    """
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], 1):
        if line.count("\t") != 1:
            tabs = line.count("\t")
            raise click.ClickException(f"{path}:{number}: {tabs} tabs, expected one")
        source, _, target = line.partition("\t")
        pairs.append((source, target))
    return pairs


def score(name: str, answers: Sequence[Answer], threshold: float) -> tuple[str, ...]:
    """A row of the table: name, rows, exact match, given answers, wrong ones among them."""
    given = [one for one in answers if one.is_given(threshold)]
    return (
        name,
        f"{len(answers)}",
        percent(sum(one.is_right for one in answers), len(answers)),
        percent(len(given), len(answers)),
        percent(sum(not one.is_right for one in given), len(given)),
    )


def form(target: str) -> str:
    """The form of a target, as a row of the table names it."""
    if "/" in target:
        return "two dates"
    return {0: "no date", 10: "a day"}.get(len(target), "a month or a year")


def percent(part: int, whole: int) -> str:
    """A share in percent; a dash where there is nothing to share."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose first row is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    rule = "| --- |" + " ---: |" * (len(rows[0]) - 1)
    return [lines[0], rule, *lines[1:]]


@click.command()
@click.option("-m", "--model", default="dates", metavar="RUN", show_default=True)
@click.option("--data", type=click.Path(path_type=Path), default=ROOT / "data" / "columns")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.9, show_default=True)
@click.option("--wrong", is_flag=True, help="List the wrong answers instead.")
def main(model: str, data: Path, threshold: float, *, wrong: bool) -> None:
    """Score RUN on hand-written columns of dates, and on texts that are no dates."""
    run = charseq.load(model)
    files = sorted(data.glob("*.tsv"))
    if not files:
        raise click.ClickException(f"{data} has no .tsv file, expected one for each kind of column")
    answered: dict[str, list[Answer]] = {}
    for path in files:
        pairs = read_pairs(path)
        predictions = run.predict([source for source, _ in pairs])
        answered[path.stem] = [
            Answer(source, target, one.prediction, one.probability)
            for (source, target), one in zip(pairs, predictions, strict=True)
        ]
    if wrong:
        for name, answers in answered.items():
            for one in answers:
                if not one.is_right:
                    cells = (name, one.source, one.target, one.prediction, f"{one.probability:.4f}")
                    click.echo("\t".join(cells))
        return
    every = [one for answers in answered.values() for one in answers]
    groups = {**answered, "**all**": every}
    for one in every:
        groups.setdefault(form(one.target), []).append(one)
    head = ("column", "rows", "exact", f"given at {threshold:g}", "wrong of given")
    rows = [score(name, answers, threshold) for name, answers in groups.items()]
    click.echo("\n".join([*markdown([head, *rows]), "", *told_strangers(run, data / STRANGERS)]))


def told_strangers(run: Any, path: Path) -> list[str]:
    """Lines on how many strangers are answered."""
    texts = path.read_text(encoding="utf-8").split("\n")[:-1]
    answers = [
        Answer(one.source, "", one.prediction, one.probability) for one in run.predict(texts)
    ]
    counts = [sum(one.is_given(least) for one in answers) for least in STRANGER_THRESHOLDS]
    lines = [
        (f"at {least:g}", f"{count} of {len(texts)}")
        for least, count in zip(STRANGER_THRESHOLDS, counts, strict=True)
    ]
    return table([("strangers answered", ""), *lines])


if __name__ == "__main__":
    main()
