"""predictions, references -> metrics, with a signature that says how they were counted.

    exact match    = 100 * right rows / rows       WER = 100 - exact match
    SER            = 100 * symbol edits / gold symbols
    standard error = sqrt(exact match * WER / rows), in percentage points (binomial)
    ECE            = 100 * mean |probability - share of right rows|, over bins of equal size
    AURC, AUROC    = of the answers ordered by probability, see :mod:`charseq.evaluation.risk`

Every metric is one entry of :data:`METRICS`, with its unit, its better direction and the function
that counts it. ``evaluate`` reports all metrics of a task, in the order of the table, and the
command line shows them with their units. ``split`` cuts a text into symbols.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charseq.errors import DataError

if TYPE_CHECKING:
    from charseq.evaluation.scoring import Outcome
    from charseq.inference.prediction import Prediction

Split = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Scores:
    """Scores of all rows; ``exact_match``, ``wer`` and ``ser`` are in percent.

    ``ser`` exceeds 100 if the predictions are much longer than the references.
    """

    examples: int
    exact_match: float
    wer: float
    ser: float


@dataclass(frozen=True)
class Metric:
    """A measure of quality, by its name in reports."""

    name: str
    """The key in JSON."""
    task: str
    """``pairs`` or ``next-word``."""
    measure: Callable[[Any], float | None]
    """``scoring.Outcome`` (pairs) or ``next_word.NextWordScores`` (next-word) -> the number; None
    where it is undefined."""
    unit: str = "%"
    """The unit behind the number; empty for a plain number."""
    higher_is_better: bool = True
    decimals: int = 2
    """Decimals that people are shown."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The judgement of one row: right or wrong, edits, and symbols of the nearest reference."""

    right: bool
    edits: int
    symbols: int


def score(predictions: Sequence[str], references: Sequence[Sequence[str]], split: Split) -> Scores:
    """Scores of all rows: ``predictions[i]`` against any of ``references[i]``, in NFC.

    Raises:
        DataError: there is nothing to score.
        ValueError: a prediction has no list of references, or an empty one.
    """
    rows = zip(predictions, references, strict=True)
    return summarise([judge(prediction, targets, split) for prediction, targets in rows])


def judge(prediction: str, references: Sequence[str], split: Split) -> Judgement:
    """Judgement of one row by its nearest reference; insertion, deletion, substitution cost 1."""
    from rapidfuzz.distance import Levenshtein

    guess, gold = nearest_reference(prediction, references, split)
    edits = Levenshtein.distance(guess, gold)
    return Judgement(is_right(prediction, references), edits, len(gold))


def summarise(judgements: Sequence[Judgement]) -> Scores:
    """Scores of all rows, from their judgements.

    Raises:
        DataError: there is nothing to score.
    """
    if not judgements:
        raise DataError("no examples to score")
    exact = 100 * sum(one.right for one in judgements) / len(judgements)
    symbols = sum(one.symbols for one in judgements)
    edits = sum(one.edits for one in judgements)
    return Scores(len(judgements), exact, 100 - exact, 100 * edits / max(1, symbols))


def nearest_reference(
    prediction: str, references: Sequence[str], split: Split
) -> tuple[Sequence[str], Sequence[str]]:
    """Symbols of the prediction and of the nearest reference, in NFC.

    The nearest reference needs the fewest edits. Of several such, the shortest is taken, then the
    first.
    """
    from rapidfuzz.distance import Levenshtein

    guess = split(_nfc(prediction))
    golds = [split(_nfc(reference)) for reference in references]
    return guess, min(golds, key=lambda gold: (Levenshtein.distance(guess, gold), len(gold)))


def is_answered(prediction: Prediction, references: Sequence[str]) -> bool:
    """Whether the best answer is one of the references, in NFC.

    An empty answer is right where a reference is empty, but not where it is truncated: then the
    model has given none.
    """
    given = prediction.prediction != "" or not prediction.truncated
    return given and is_right(prediction.prediction, references)


def is_right(prediction: str, references: Sequence[str]) -> bool:
    """Whether the prediction is one of the references, in NFC."""
    return prediction in references or _nfc(prediction) in map(_nfc, references)


def standard_error(scores: Scores) -> float:
    """Binomial standard error of the exact match, in percentage points."""
    return math.sqrt(scores.exact_match * (100 - scores.exact_match) / scores.examples)


def calibration_error(outcome: Outcome) -> float:
    """Expected calibration error (ECE) of the predictions' probabilities, in percent.

    A prediction is right here if it is the target of its own row: the probabilities of several
    targets of a source sum to at most 1.
    """
    from charseq.confidence.calibration import expected_calibration_error

    probabilities = [prediction.probability for prediction in outcome.predictions]
    return 100 * expected_calibration_error(probabilities, right_targets(outcome))


def right_targets(outcome: Outcome) -> list[bool]:
    """For each row, whether its prediction is the target of this very row."""
    return [
        is_answered(prediction, [row.target])
        for prediction, row in zip(outcome.predictions, outcome.rows, strict=True)
    ]


def _of_order(name: str) -> Callable[[Outcome], float | None]:
    """A measure of :mod:`charseq.evaluation.risk`, which is loaded when it is counted."""

    def measure(outcome: Outcome) -> float | None:
        from charseq.evaluation import risk

        found: float | None = getattr(risk, name)(outcome)
        return found

    return measure


def _table(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


METRICS = _table(
    Metric("exact_match", "pairs", lambda found: found.scores.exact_match),
    Metric("wer", "pairs", lambda found: found.scores.wer, higher_is_better=False),
    Metric("ser", "pairs", lambda found: found.scores.ser, higher_is_better=False),
    Metric(
        "standard_error",
        "pairs",
        lambda found: standard_error(found.scores),
        higher_is_better=False,
    ),
    Metric("ece", "pairs", calibration_error, higher_is_better=False),
    Metric("aurc", "pairs", _of_order("aurc"), higher_is_better=False, decimals=4),
    Metric("excess_aurc", "pairs", _of_order("excess_aurc"), higher_is_better=False, decimals=4),
    Metric("auroc", "pairs", _of_order("auroc")),
    Metric(
        "perplexity", "next-word", lambda found: found.perplexity, unit="", higher_is_better=False
    ),
    Metric(
        "bits_per_character",
        "next-word",
        lambda found: found.bits_per_character,
        unit="",
        higher_is_better=False,
    ),
    Metric("hit_at_1", "next-word", lambda found: found.hit_at(1)),
    Metric("hit_at_3", "next-word", lambda found: found.hit_at(3)),
    Metric("hit_at_5", "next-word", lambda found: found.hit_at(5)),
    Metric("keystrokes_saved", "next-word", lambda found: found.keystrokes_saved),
    Metric("oov", "next-word", lambda found: found.oov, higher_is_better=False),
)
"""Every metric by its name. To add a metric, add an entry: reports and their units follow."""


def measure_all(task: str, outcome: Any) -> dict[str, float | None]:
    """All metrics of a task, by name, in the order of the table; None: undefined."""
    return {one.name: one.measure(outcome) for one in METRICS.values() if one.task == task}


def signature(**facts: object) -> str:
    """Signature of a score: ``name:value|name:value``, in order, without values that are None.

    A bar or a percent sign in a value is escaped as in a URL, so that the signature can be parsed.
    """
    return "|".join(f"{name}:{_shown(value)}" for name, value in facts.items() if value is not None)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    for character in "%|\n\r":
        text = text.replace(character, f"%{ord(character):02X}")
    return text
