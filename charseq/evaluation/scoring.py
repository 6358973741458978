"""model, examples -> predictions, judgements, scores; a file of the errors.

A prediction is compared with every target that its source has in the rows. Also here: the choice
of the rows of a split, and the facts about a run that every evaluation reports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq.data import pairs
from charseq.data.splits import SPLITS
from charseq.errors import DataError
from charseq.evaluation import metrics
from charseq.inference.prediction import Prediction
from charseq.process import TimeLimitReached, time_limit

if TYPE_CHECKING:
    from charseq.data.pairs import Dataset, Example
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.predictor import PairsModel
    from charseq.inference.translator import Translator


@dataclass(frozen=True)
class Outcome:
    """Rows of an evaluation; predictions, references and judgements are in the same order."""

    rows: Sequence[Example]
    predictions: Sequence[Prediction]
    references: Sequence[Sequence[str]]
    judgements: Sequence[metrics.Judgement]
    scores: metrics.Scores


Watch = Callable[[int, float], None]
"""Gets the rows that are done and the share of the work that they are, 0 to 1."""
WATCHED = 1024
"""Texts that are answered together where somebody watches: batches of a length are full."""
PORTION = 2**16
"""Characters of texts that are answered together where the time is limited."""


@dataclass
class TimeLimit:
    """A limit to the time of an evaluation; texts without an answer by then have an empty one."""

    seconds: float
    late: set[str] = field(default_factory=set)
    """Texts that came too late once: later evaluations do not try them again."""

    def predict(
        self, texts: Sequence[str], ask: Callable[[Sequence[str]], list[Prediction]]
    ) -> list[Prediction]:
        """The predictions of ``ask``, the shortest texts first; truncated empty ones for others."""
        found: dict[str, Prediction] = {}
        waiting = sorted(set(texts) - self.late, key=lambda text: (len(text), text))
        with suppress(TimeLimitReached), time_limit(self.seconds):
            while waiting:
                sizes = accumulate(map(len, waiting))
                most = max(1, sum(size <= PORTION for size in sizes))
                found |= zip(waiting[:most], ask(waiting[:most]), strict=True)
                del waiting[:most]
        self.late |= set(texts) - found.keys()
        return [found.get(text) or Prediction(text, "", 0.0, [], True, []) for text in texts]


def score_examples(
    translator: Translator,
    rows: Sequence[Example],
    *,
    width: int,
    n: int = 1,
    batch_size: int = 256,
    limit: TimeLimit | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Predictions for all rows, scored; any target that the source has in ``rows`` is right.

    Args:
        translator: the model's translator.
        rows: the examples.
        width: width of the beam.
        n: candidates of each prediction.
        batch_size: number of texts that are decoded together.
        limit: of the time for all predictions.
        watch: gets the rows that are answered and the share of the work that they are, 0 to 1.
    """
    targets: dict[str, list[str]] = {}
    texts = []
    for row in rows:
        text = f"{row.source}\t{row.features}" if translator.source.features else row.source
        texts.append(text)
        if row.target not in targets.setdefault(text, []):
            targets[text].append(row.target)
    ask = partial(translator.predict, n=n, width=width, batch_size=batch_size)
    if watch is not None and limit is None:
        predictions = _watched(texts, ask, watch)
    else:
        predictions = ask(texts) if limit is None else limit.predict(texts, ask)
    references = [targets[text] for text in texts]
    split = translator.target.pieces
    judgements = [
        replace(
            metrics.judge(one.prediction, targets[text], split),
            right=metrics.is_answered(one, targets[text]),
        )
        for one, text in zip(predictions, texts, strict=True)
    ]
    return Outcome(rows, predictions, references, judgements, metrics.summarise(judgements))


def _watched(
    texts: Sequence[str], ask: Callable[[Sequence[str]], list[Prediction]], watch: Watch
) -> list[Prediction]:
    """The predictions of ``ask``, the shortest texts first; ``watch`` is called on the way."""
    counts = Counter(texts)
    waiting = sorted(counts, key=lambda text: (len(text), text))
    total, done, rows = sum(map(len, waiting)) or 1, 0, 0
    found: dict[str, Prediction] = {}
    for first in range(0, len(waiting), WATCHED):
        portion = waiting[first : first + WATCHED]
        found |= zip(portion, ask(portion), strict=True)
        done += sum(map(len, portion))
        rows += sum(counts[text] for text in portion)
        watch(rows, done / total)
    return [found[text] for text in texts]


def choose_rows(
    data: str | Path,
    settings: Mapping[str, Any],
    split: str | None,
    fingerprint: str,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[Sequence[Example], str]:
    """The rows to score, and the name of their split.

    Without ``split`` the rows are those of the test split, or all rows of a single file that the
    model was not trained on. ``report`` gets a line on the columns, and what else was found out.

    Raises:
        DataError: there is no such split, or it is empty; the message names the existing splits.
    """
    known = {name: settings[name] for name in pairs.SETTINGS}

    def load(*splits: str) -> pairs.Dataset:
        found = pairs.load(data, splits=splits or SPLITS, **known)
        for line in [f"{data}: {found.columns}", *found.problems]:
            report(line)
        return found

    if split is None or split == "all":
        if Path(data).is_dir():
            split = split or "test"
        else:
            whole = load()
            if split or whole.fingerprint != fingerprint:
                return [*whole.train, *whole.dev, *whole.test], "all"
            return whole.test, "test"
    if split == "all":
        return _every_split(load()), "all"
    rows = load(split).split(split)
    if not rows:
        raise DataError(f"the {split} split is empty", path=data)
    return rows, split


def write_errors(path: str | Path, outcome: Outcome, *, force: bool) -> int:
    """Write the distinct wrong rows as TSV (source, prediction, references); their number.

    Raises:
        UsageError: the file exists and ``force`` is false, or must not be written at all.
        DataError: it cannot be written; an older file of this name stays as it was.
    """
    from charseq import display
    from charseq.data.formats import writer

    lines = ["source\tprediction\treferences\n"]
    rows = zip(outcome.predictions, outcome.references, outcome.judgements, strict=True)
    for prediction, references, judged in rows:
        if not judged.right:
            cells = (prediction.source, prediction.prediction, " | ".join(references))
            # a tab or line end inside a cell, and the tab before features, is written as a space
            lines.append("\t".join(cell.translate(display.ONE_LINE) for cell in cells) + "\n")
    lines = list(dict.fromkeys(lines))
    with writer.replacing(path, force=force) as file:
        file.write("".join(lines).encode())
    return len(lines) - 1


def run_facts(model: PairsModel | LanguageModel, data: str | Path, split: str) -> dict[str, Any]:
    """Facts about the run and the data, for the head of every report."""
    metadata = model.metadata
    return {
        "run": str(model.path),
        "parameters": metadata["parameters"],
        "seconds": metadata["seconds"],
        "epochs": metadata["epochs"],
        "data": str(data),
        "split": split,
    }


def _every_split(dataset: Dataset) -> list[Example]:
    return [*dataset.train, *dataset.dev, *dataset.test]
