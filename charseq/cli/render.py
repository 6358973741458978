"""words and lines -> texts for a model; its answers -> lines for people, or JSON.

It knows no files and no options. A text is one line; with a model that has features it is
source TAB features. An empty text has nothing to rewrite, and is not put to such a model: its
answer is None. To a model of sentences it is a line that has not begun.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from charseq.display import KEPT, ONE_LINE, describe, shorten
from charseq.errors import DataError, UsageError
from charseq.inference.convert import SHOWN
from charseq.inference.journal import Outcome
from charseq.inference.language_model import LanguageModel, LineScore

if TYPE_CHECKING:
    from charseq.inference.predictor import PairsModel


class Candidate(Protocol):
    """One of the best answers, with its probability."""

    @property
    def prediction(self) -> str:
        """The answer."""

    @property
    def probability(self) -> float:
        """How likely it is that exactly this answer is right, 0 to 1."""

    @property
    def origin(self) -> str:
        """Where it comes from: the model, or the user's lexicon."""


class Answer(Outcome, Protocol):
    """What a model says of one text (:class:`charseq.inference.prediction.Prediction` is one)."""

    @property
    def probability(self) -> float:
        """That of the best candidate."""

    @property
    def candidates(self) -> Sequence[Candidate]:
        """The n best answers, best first."""


Ask = Callable[[list[str]], Sequence[Any]]


def asker(
    model: PairsModel | LanguageModel,
    *,
    n: int,
    beam: int | None,
    mass: float | None,
    scores: bool,
    complete: bool,
    generate: int | None,
    how: Mapping[str, Any],
) -> Ask:
    """From texts to answers, one for each, in the way that was asked for.

    Up to ``n`` candidates each; with ``mass``, no more of them than have it together.

    Raises:
        UsageError: options that do not go together, or not with this model.
    """
    if generate is None:
        if how:
            raise UsageError(f"--{min(how).replace('_', '-')} is for --generate")
        answer: Callable[..., Sequence[Any]] = partial(_rewrite, model)
        if isinstance(model, LanguageModel):
            answer = model.predict
        if complete:
            answer = reader(model, "--complete").complete
        found = partial(answer, n=n, beam=beam)
        return found if mass is None else partial(_reaching, found, mass)
    if complete or scores or n > 1 or beam is not None or mass is not None:
        what = "--complete, --scores, -n, --mass and --beam"
        raise UsageError(f"--generate goes with none of {what}")
    drawing = reader(model, "--generate")

    def draw(texts: list[str]) -> list[Lines]:
        found = drawing.generate(texts, count=generate, **how)
        return [
            Lines([text + more for more in rest], drawing.units.unknown(text))
            for text, rest in zip(texts, found, strict=True)
        ]

    return draw


def reader(model: PairsModel | LanguageModel, what: str) -> LanguageModel:
    """The model, which must be one of sentences. Raises UsageError: it rewrites pairs."""
    if not isinstance(model, LanguageModel):
        raise UsageError(
            f"{what} wants a model of sentences, but {model.path} rewrites: see `charseq info`"
        )
    return model


@dataclass(frozen=True)
class Lines:
    """Lines that were drawn for one text."""

    lines: list[str]
    unknown: list[str]
    truncated: bool = False


def _rewrite(model: Any, texts: list[str], *, n: int, beam: int | None) -> list[Any]:
    """The model's answers; None for empty texts."""
    found = iter(model.predict([text for text in texts if text], n=n, beam=beam))
    return [next(found) if text else None for text in texts]


def _reaching(ask: Ask, mass: float, texts: list[str]) -> list[Any]:
    """The same answers with as many candidates as have the mass together."""
    return [answer and answer.reaching(mass) for answer in ask(texts)]


def as_lines(_: str, answer: Lines) -> Iterator[str]:
    """Each line alone."""
    yield from (line.translate(ONE_LINE) for line in answer.lines)


def from_words(words: Iterable[str], *, has_features: bool) -> Iterator[str]:
    """The texts that stand on the command line.

    Raises:
        UsageError: bytes that are not UTF-8, or tabs that do not fit the model.
    """
    for word in words:
        if any("\ud800" <= letter <= "\udfff" for letter in word):
            raise UsageError(f"the text {word!a} is not UTF-8")
        if fault := _fault(word, has_features=has_features):
            raise UsageError(f"the text {word!r} has {fault}")
        yield word


def from_lines(stream: BinaryIO, *, has_features: bool) -> Iterator[str]:
    """The lines of stdin; only LF and CRLF end a line, a byte order mark is no text.

    Raises:
        DataError: with the line: bytes that are not UTF-8, or tabs that do not fit the model.
    """
    for number, raw in enumerate(stream, 1):
        line = raw.removesuffix(b"\n").removesuffix(b"\r") if raw.endswith(b"\n") else raw
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            what = f"byte 0x{line[error.start]:02x} at column {error.start + 1} is not UTF-8"
            raise DataError(what, path="stdin", line=number) from None
        if fault := _fault(text, has_features=has_features):
            raise DataError(fault, path="stdin", line=number)
        yield text


def windows(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Lists of up to ``size`` texts; the texts before a fault come before the fault."""
    window: list[str] = []
    try:
        for text in texts:
            window.append(text)
            if len(window) == size:
                yield window
                window = []
    except DataError:
        if window:
            yield window
        raise
    if window:
        yield window


def as_text(_: str, answer: Answer | None) -> Iterator[str]:
    """The best answer alone."""
    yield answer.prediction.translate(ONE_LINE) if answer else ""


def as_table(text: str, answer: Answer | None) -> Iterator[str]:
    """Source (without features), rank, answer and probability of each candidate.

    Without any candidate there is one line all the same, so that every text has its own.
    """
    source = text.partition("\t")[0].translate(ONE_LINE)
    if answer is None or not answer.candidates:
        yield f"{source}\t1\t\t"
        return
    for rank, best in enumerate(answer.candidates, 1):
        yield f"{source}\t{rank}\t{best.prediction.translate(ONE_LINE)}\t{best.probability:.6f}"


def as_json(text: str, answer: Answer | Lines | None, *, marked: bool = False) -> Iterator[str]:
    """One object with everything; the source as it was given, features and all.

    ``marked``: with ``from``, the model or the lexicon.
    """
    if isinstance(answer, Lines):
        drawn = {"source": text, "lines": answer.lines, "unknown": answer.unknown}
        yield json.dumps(drawn, ensure_ascii=False)
        return
    facts = {
        "source": text,
        "prediction": answer.prediction if answer else "",
        "probability": answer.probability if answer else None,
        **({"from": answer.origin if answer else None} if marked else {}),
        "unknown": list(answer.unknown) if answer else [],
        "truncated": answer.truncated if answer else False,
        "candidates": [
            {
                "prediction": best.prediction,
                "probability": best.probability,
                **({"from": best.origin} if marked else {}),
            }
            for best in (answer.candidates if answer else ())
        ],
    }
    yield json.dumps(facts, ensure_ascii=False)


def score_as_row(text: str, one: LineScore) -> str:
    """Logarithm, words and text of a line, by tabs."""
    return f"{one.score:.4f}\t{one.words}\t{text.translate(ONE_LINE)}"


def score_as_json(text: str, one: LineScore) -> str:
    """One object with everything; the text as it was given."""
    facts = {"text": text, "log_probability": one.score, "words": one.words}
    return json.dumps({**facts, "unknown": one.unknown}, ensure_ascii=False)


def warnings(answers: Iterable[tuple[str, Answer | None]], seen: Counter[str]) -> Iterator[str]:
    """A line for each symbol that is unknown for the first time, and for each answer cut short."""
    for text, answer in answers:
        yield from strangers(text, answer.unknown if answer else (), seen)
        if answer and answer.truncated:
            yield f"the answer to '{shorten(text)}' is cut at the longest length learnt"


def strangers(text: str, unknown: Iterable[str], seen: Counter[str]) -> Iterator[str]:
    """A line for each symbol of ``text`` that is unknown for the first time, up to ``SHOWN``.

    ``seen`` counts, over all calls, the texts that have an unknown symbol.
    """
    for symbol in unknown:
        if symbol not in seen and len(seen) < SHOWN:
            yield f"{describe(symbol)} is unknown to the model (in '{shorten(text)}')"
        if symbol in seen or len(seen) < KEPT:
            seen[symbol] += 1


def totals(seen: Counter[str]) -> str:
    """How many texts have the unknown symbols that came more than once; empty if none did.

    Of more than ``SHOWN`` unknown symbols also how many are not named here.
    """
    most = [(symbol, count) for symbol, count in seen.most_common(SHOWN) if count > 1]
    parts = [f"{describe(symbol)} in {count:,} texts" for symbol, count in most]
    if len(seen) > SHOWN:
        parts.append(f"{len(seen) - len(most):,} others" if most else f"{len(seen):,} symbols")
    return f"unknown to the model: {', '.join(parts)}" if parts else ""


def _fault(text: str, *, has_features: bool) -> str:
    """What is wrong with the tabs of a text."""
    tabs = text.count("\t")
    if has_features and tabs != 1 and text:
        return f"{tabs} tabs, expected one: source TAB features"
    return "a tab, but the model takes no features" if tabs and not has_features else ""
