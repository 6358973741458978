"""predictions and references -> scores, with a signature that says how they were made.

It knows no models and no files; what one symbol is, the caller's ``split`` says.

    exact match = 100 * right rows / rows        WER = 100 - exact match
    SER         = 100 * symbol edits / gold symbols
    error bar   = sqrt(exact match * WER / rows), in percentage points (binomial)
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from charseq.errors import DataError

Split = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Scores:
    """``examples``: rows scored. ``exact_match``, ``wer`` and ``ser`` in percent.

    ``ser`` can be above 100, where predictions are much longer than what they should be.
    """

    examples: int
    exact_match: float
    wer: float
    ser: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one row adds to the scores: whether it is right, and edits out of gold ``symbols``."""

    right: bool
    edits: int
    symbols: int


def score(predictions: Sequence[str], references: Sequence[Sequence[str]], split: Split) -> Scores:
    """How well ``predictions[i]`` meets any of ``references[i]``, after NFC on both sides.

    Raises:
        DataError: there is nothing to score.
        ValueError: not one list of references, with at least one in it, for each prediction.
    """
    rows = zip(predictions, references, strict=True)
    return summarise([judge(prediction, rivals, split) for prediction, rivals in rows])


def judge(prediction: str, references: Sequence[str], split: Split) -> Judgement:
    """One row: edits (insertions, deletions, substitutions of symbols, each 1) to the nearest."""
    from rapidfuzz.distance import Levenshtein

    guess, gold = cut(prediction, references, split)
    edits = Levenshtein.distance(guess, gold)
    return Judgement(is_right(prediction, references), edits, len(gold))


def summarise(judgements: Sequence[Judgement]) -> Scores:
    """The scores of all rows together.

    Raises:
        DataError: there is nothing to score.
    """
    if not judgements:
        raise DataError("no examples to score")
    exact = 100 * sum(one.right for one in judgements) / len(judgements)
    symbols = sum(one.symbols for one in judgements)
    edits = sum(one.edits for one in judgements)
    return Scores(len(judgements), exact, 100 - exact, 100 * edits / max(1, symbols))


def cut(
    prediction: str, references: Sequence[str], split: Split
) -> tuple[Sequence[str], Sequence[str]]:
    """The symbols of the prediction, and those of the nearest reference, after NFC on both sides.

    The nearest is the one that needs the fewest edits; of several such, the shortest, then the
    first.
    """
    from rapidfuzz.distance import Levenshtein

    guess = split(_nfc(prediction))
    golds = [split(_nfc(reference)) for reference in references]
    return guess, min(golds, key=lambda gold: (Levenshtein.distance(guess, gold), len(gold)))


def is_right(prediction: str, references: Sequence[str]) -> bool:
    """Whether the prediction is one of the references, after NFC on both sides."""
    return prediction in references or _nfc(prediction) in map(_nfc, references)


def standard_error(scores: Scores) -> float:
    """One binomial standard error of the exact match, in percentage points."""
    return math.sqrt(scores.exact_match * (100 - scores.exact_match) / scores.examples)


def signature(**facts: object) -> str:
    """The facts in their order, as ``name:value|name:value``; those that are None stay out.

    A bar or a percent sign in a value is written as in a URL, so that the facts can be read back.
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
