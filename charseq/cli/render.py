"""Answers of a model -> lines for people, or JSON.

This module knows neither models nor options: it is given predictions, generated lines and scores.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charseq.display import KEPT, ONE_LINE, describe, shorten
from charseq.inference.prediction import UNLIKELY, Prediction, is_unlikely

if TYPE_CHECKING:
    from charseq.inference.alignment.pairs import Alignment
    from charseq.inference.language_model import LineScore

    Align = Callable[[Prediction], Alignment | None]

MAX_NAMED = 20
"""Unknown symbols that are named in a warning of their own, and in the totals."""


@dataclass(frozen=True)
class GeneratedLines:
    """Lines that a language model sampled for one text."""

    lines: list[str]
    unknown: list[str]
    """Symbols of the text that the model has never seen, each once."""
    truncated: bool = False


Answer = Prediction | GeneratedLines | None
"""The answer to one text; None to an empty text that has none."""


def as_text(_: str, answer: Prediction | None) -> Iterator[str]:
    """The best answer alone."""
    yield answer.prediction.translate(ONE_LINE) if answer else ""


def as_table(text: str, answer: Prediction | None) -> Iterator[str]:
    """Source (without features), rank, answer and probability of each candidate, by tabs.

    Without any candidate there is one line all the same, so that every text has its own. Of an
    answer that is withheld it has the probability.
    """
    source = text.partition("\t")[0].translate(ONE_LINE)
    if answer and answer.unsure:
        yield f"{source}\t1\t\t{answer.probability:.6f}"
        return
    if answer is None or not answer.candidates:
        yield f"{source}\t1\t\t"
        return
    for rank, best in enumerate(answer.candidates, 1):
        yield f"{source}\t{rank}\t{best.prediction.translate(ONE_LINE)}\t{best.probability:.6f}"


def as_json(
    text: str,
    answer: Prediction | None,
    *,
    with_origin: bool = False,
    with_rule: bool = False,
    with_unsure: bool = False,
    align: Align | None = None,
) -> Iterator[str]:
    """One object with everything; the source as it was given, with its features.

    ``with_origin`` adds ``from``: "model", "words", "memory" or "lexicon". ``with_rule`` adds
    ``answered``: whether there is an answer that keeps the rule. ``with_unsure`` adds ``unsure``:
    whether the prediction is withheld. ``align`` adds ``alignment``: symbols of text and answer,
    pairs and weights.
    """
    facts: dict[str, Any] = {
        "source": text,
        "prediction": answer.prediction if answer else "",
        "probability": answer.probability if answer else None,
        **({"from": answer.origin if answer else None} if with_origin else {}),
        **({"answered": bool(answer and answer.candidates)} if with_rule else {}),
        **(
            {"familiarity": answer.familiarity} if answer and answer.familiarity is not None else {}
        ),
        **({"unsure": bool(answer and answer.unsure)} if with_unsure else {}),
        "unknown": list(answer.unknown) if answer else [],
        "truncated": answer.truncated if answer else False,
        "candidates": [
            {
                "prediction": best.prediction,
                "probability": best.probability,
                **({"from": best.origin} if with_origin else {}),
            }
            for best in (answer.candidates if answer else ())
        ],
    }
    if align is not None:
        found = align(answer) if answer else None
        facts["alignment"] = None if found is None else found.to_json()
    yield json.dumps(facts, ensure_ascii=False)


def as_pairs(_: str, answer: Prediction | None, *, align: Align) -> Iterator[str]:
    """The parts of the text and the answer that belong together: ``k→k ae→æ t→t``."""
    found = align(answer) if answer else None
    yield "" if found is None else found.text


def generated_as_text(_: str, answer: GeneratedLines) -> Iterator[str]:
    """Each generated line alone."""
    yield from (line.translate(ONE_LINE) for line in answer.lines)


def generated_as_json(text: str, answer: GeneratedLines) -> Iterator[str]:
    """One object with all generated lines; the source as it was given."""
    facts = {"source": text, "lines": answer.lines, "unknown": answer.unknown}
    yield json.dumps(facts, ensure_ascii=False)


def score_as_row(text: str, score: LineScore) -> str:
    """Log-probability, number of words and text of a line, by tabs."""
    return f"{score.score:.4f}\t{score.words}\t{text.translate(ONE_LINE)}"


def score_as_json(text: str, score: LineScore) -> str:
    """One object with everything; the text as it was given."""
    facts = {"text": text, "log_probability": score.score, "words": score.words}
    return json.dumps({**facts, "unknown": score.unknown}, ensure_ascii=False)


def warnings(answers: Iterable[tuple[str, Answer]], seen: Counter[str]) -> Iterator[str]:
    """A line for each symbol that is unknown for the first time, and for each truncated answer.

    ``seen`` as for :func:`unknown_symbols`.
    """
    for text, answer in answers:
        yield from unknown_symbols(text, answer.unknown if answer else (), seen)
        if answer and answer.truncated:
            yield f"the answer to '{shorten(text)}' is cut at the longest length learnt"


class NoAnswers:
    """How many texts have no answer: the model says so, or no answer keeps the rule."""

    def __init__(self) -> None:
        self.count = 0

    def warnings(self, answers: Iterable[tuple[str, Answer]]) -> Iterator[str]:
        """A line for each text without an answer, up to :data:`MAX_NAMED`."""
        for text, answer in answers:
            if isinstance(answer, Prediction) and not (
                answer.prediction or answer.truncated or answer.unsure
            ):
                self.count += 1
                if self.count <= MAX_NAMED:
                    why = "" if answer.candidates else " that keeps the rule was found"
                    yield f"no answer to '{shorten(text)}'{why}"

    def totals(self) -> str:
        """How many texts have no answer, if more than are named; else empty."""
        return f"no answer to {self.count:,} texts" if self.count > MAX_NAMED else ""


class Unlikely:
    """How many texts have an answer that keeps the rule, but that the model does not believe."""

    def __init__(self) -> None:
        self.count = 0

    def warnings(self, answers: Iterable[tuple[str, Answer]]) -> Iterator[str]:
        """A line for each such text, up to :data:`MAX_NAMED`."""
        for text, answer in answers:
            if not isinstance(answer, Prediction) or answer.unsure or not answer.prediction:
                continue
            if is_unlikely(answer.probability, answer.origin):
                self.count += 1
                if self.count <= MAX_NAMED:
                    share = f"less than {UNLIKELY:.0%} of the probability"
                    yield f"the answer to '{shorten(text)}' keeps the rule, and has {share}"

    def totals(self) -> str:
        """How many there are, if more than are named; else empty."""
        if self.count <= MAX_NAMED:
            return ""
        return f"{self.count:,} answers keep the rule, and have less than {UNLIKELY:.0%}"


class ReachedMass:
    """How many answers have the probability ``mass`` of ``--mass`` together; None: not asked."""

    def __init__(self, mass: float | None) -> None:
        self.mass = mass
        self.asked = 0
        self.missed = 0

    def warnings(self, answers: Iterable[tuple[str, Answer]]) -> Iterator[str]:
        """A line for each text whose answers miss the mass, up to :data:`MAX_NAMED`."""
        for text, answer in answers if self.mass is not None else ():
            if not isinstance(answer, Prediction):
                continue
            self.asked += 1
            if self.mass is None or answer.reaches(self.mass):
                continue
            self.missed += 1
            if self.missed <= MAX_NAMED:
                count = len(answer.candidates)
                total = sum(one.probability for one in answer.candidates)
                found = f"{count} answers to '{shorten(text)}' have"
                if count == 1:
                    found = f"1 answer to '{shorten(text)}' has"
                yield f"the {found} {total:.3f} of the probability, less than {self.mass:g}"

    def totals(self) -> str:
        """How many texts miss the mass, if more than are named; else empty."""
        if self.missed <= MAX_NAMED:
            return ""
        missed = f"{self.missed:,} of {self.asked:,} texts"
        return f"the answers to {missed} have less than {self.mass:g} of the probability"


class Withheld:
    """How many answers are withheld below the ``threshold`` of ``--threshold``; None: not asked."""

    def __init__(self, threshold: float | None) -> None:
        self.threshold = threshold
        self.asked = 0
        self.unsure = 0

    def count(self, answers: Iterable[tuple[str, Answer]]) -> None:
        """Count the texts that have answers, and those whose answers are withheld."""
        found = [one for _, one in answers if isinstance(one, Prediction)]
        self.asked += len(found)
        self.unsure += sum(one.unsure for one in found)

    def totals(self) -> str:
        """How many answers are withheld; empty if none is."""
        if not self.unsure:
            return ""
        texts = f"{self.unsure:,} of {self.asked:,} texts"
        return f"unsure: {texts}, whose best answer is less probable than {self.threshold:g}"


class Messages:
    """The warnings on the answers to all texts of an input, and their totals at its end."""

    def __init__(
        self, mass: float | None, threshold: float | None, *, counts_words: bool, with_rule: bool
    ) -> None:
        """No warnings yet.

        ``counts_words``: the model predicts words, of which one may be missing. ``with_rule``: an
        answer may be one that only the rule has left.
        """
        self._seen: Counter[str] = Counter()
        self._reached, self._withheld = ReachedMass(mass), Withheld(threshold)
        self._unanswered, self._unlikely = NoAnswers(), Unlikely()
        self._counts_words, self._with_rule = counts_words, with_rule

    def on(self, answers: Sequence[tuple[str, Answer]]) -> Iterator[str]:
        """A line for each answer of which people should know, as far as they are named."""
        yield from warnings(answers, self._seen)
        yield from self._reached.warnings(answers)
        if not self._counts_words:
            yield from self._unanswered.warnings(answers)
        if self._with_rule:
            yield from self._unlikely.warnings(answers)
        self._withheld.count(answers)

    def totals(self) -> Iterator[str]:
        """Lines on what more there was."""
        totals = (unknown_totals(self._seen), self._reached.totals(), self._unanswered.totals())
        yield from filter(None, (*totals, self._unlikely.totals(), self._withheld.totals()))


def unknown_symbols(text: str, unknown: Iterable[str], seen: Counter[str]) -> Iterator[str]:
    """A line for each symbol of ``text`` that is unknown for the first time.

    At most :data:`MAX_NAMED` symbols are named. ``seen`` counts, over all calls, the texts that
    have an unknown symbol.
    """
    for symbol in unknown:
        if symbol not in seen and len(seen) < MAX_NAMED:
            yield f"{describe(symbol)} is unknown to the model (in '{shorten(text)}')"
        if symbol in seen or len(seen) < KEPT:
            seen[symbol] += 1


def unknown_totals(seen: Counter[str]) -> str:
    """How many texts have the unknown symbols that came more than once; empty if none did.

    Of more than :data:`MAX_NAMED` unknown symbols the number of those that are not named is added.
    """
    most = [(symbol, count) for symbol, count in seen.most_common(MAX_NAMED) if count > 1]
    parts = [f"{describe(symbol)} in {count:,} texts" for symbol, count in most]
    if len(seen) > MAX_NAMED:
        parts.append(f"{len(seen) - len(most):,} others" if most else f"{len(seen):,} symbols")
    return f"unknown to the model: {', '.join(parts)}" if parts else ""
