"""model, examples -> predictions, judgements, scores; a file of the errors.

A prediction is compared with every target that its source has in the rows. The rows of a split are
chosen here, and the facts that every evaluation reports of its run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq.data import pairs
from charseq.errors import DataError
from charseq.evaluation import metrics

if TYPE_CHECKING:
    from charseq.data.pairs import Dataset, Example
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.prediction import Prediction
    from charseq.inference.predictor import PairsModel, Translator


@dataclass(frozen=True)
class Outcome:
    """The rows of an evaluation with, in their order, predictions, references and judgements."""

    rows: Sequence[Example]
    predictions: Sequence[Prediction]
    references: Sequence[Sequence[str]]
    judgements: Sequence[metrics.Judgement]
    scores: metrics.Scores


def score_examples(
    translator: Translator,
    rows: Sequence[Example],
    *,
    width: int,
    n: int = 1,
    batch_size: int = 256,
) -> Outcome:
    """The predictions for all rows, scored: right is any target that the source has in ``rows``.

    Args:
        translator: the model's translator.
        rows: the examples.
        width: width of the beam.
        n: candidates of each prediction.
        batch_size: texts that are decoded at once.
    """
    rivals: dict[str, list[str]] = {}
    texts = []
    for row in rows:
        text = f"{row.source}\t{row.features}" if translator.source.features else row.source
        texts.append(text)
        if row.target not in rivals.setdefault(text, []):
            rivals[text].append(row.target)
    predictions = translator.predict(texts, n=n, width=width, batch_size=batch_size)
    references = [rivals[text] for text in texts]
    split = translator.target.pieces
    judgements = [
        metrics.judge(one.prediction, rivals[text], split)
        for one, text in zip(predictions, texts, strict=True)
    ]
    return Outcome(rows, predictions, references, judgements, metrics.summarise(judgements))


def choose_rows(
    data: str | Path, settings: Mapping[str, Any], split: str | None, fingerprint: str
) -> tuple[Sequence[Example], str]:
    """The rows to score, and the name of their split.

    Without ``split`` the rows are those of the test split; of a single file that is not the file
    of the training they are all its rows.

    Raises:
        DataError: there is no such split; the message names those there are.
    """
    known = {name: settings[name] for name in ("columns", "header", "feature_separator")}
    if split is None or split == "all":
        if Path(data).is_dir():
            split = split or "test"
        else:
            whole = pairs.load(data, splits=("train", "dev", "test"), **known)
            if split or whole.fingerprint != fingerprint:
                return [*whole.train, *whole.dev, *whole.test], "all"
            return whole.test, "test"
    if split == "all":
        return _every_split(pairs.load(data, **known)), "all"
    rows = pairs.load(data, splits=(split,), **known).split(split)
    if not rows:
        raise DataError(f"the {split} split is empty", path=data)
    return rows, split


def write_errors(path: str | Path, outcome: Outcome) -> int:
    """The distinct wrong rows as TSV: source, prediction, references; returns their number.

    Raises:
        OSError: the file cannot be written; what was there stays.
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
    with writer.replacing(path, force=True) as file:
        file.write("".join(lines).encode())
    return len(lines) - 1


def run_facts(model: PairsModel | LanguageModel, data: str | Path, split: str) -> dict[str, Any]:
    """What an evaluation says of its run and its data, before the metrics."""
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
