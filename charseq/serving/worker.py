"""texts -> answers as JSON, in a process of its own: the computing half of ``charseq serve``.

    {"models": {"dates": "/runs/dates"}}                            to a worker, first
    {"ready": true}                                                 from it; {"fault": "..."}
    {"model": "dates", "method": "predict", "texts": [...], ...}    to it
    {"answers": ["{...}", ...]}                                     from it; {"fault": "..."}

A worker that computes for too long can be killed, and its interpreter lock is not that of the
server. Answers are JSON already, so that the server only puts them together.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from charseq.errors import CharseqError, UsageError
from charseq.inference.alignment.pairs import Alignment
from charseq.inference.prediction import Prediction, withholding
from charseq.process import prepare_inference, send_to_parent

if TYPE_CHECKING:
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.predictor import PairsModel


@dataclass(frozen=True)
class Question:
    """All that the answers to some texts depend on but the texts."""

    model: str
    method: str = "predict"
    """``predict``, or ``complete`` of a language model."""
    n: int = 1
    beam: int | None = None
    threshold: float | None = None
    align: bool = False
    """Whether an answer says which symbols of the text each of its symbols looked at."""


def answer(
    model: PairsModel | LanguageModel, question: Question, texts: Sequence[str]
) -> list[str]:
    """The answer to each text as an object of JSON.

    Raises:
        UsageError: a method or an option that the model has not, or a text without its features.
    """
    words = getattr(model, "append", None)
    if words is None:
        return _rewritten(model, question, texts)  # type: ignore[arg-type]
    if question.threshold is not None or question.align:
        raise UsageError(f"{question.model} predicts words: it has no threshold and no alignment")
    return _continued(model, question, texts)  # type: ignore[arg-type]


def _rewritten(model: PairsModel, question: Question, texts: Sequence[str]) -> list[str]:
    if question.method != "predict":
        raise UsageError(f"{question.model} rewrites texts: it completes none")
    found = dict.fromkeys(filter(None, texts))
    answers = model.predict(list(found), n=question.n, beam=question.beam)
    answers = withholding(answers, question.threshold)
    alignments: list[Alignment | None] = [None] * len(answers)
    if question.align:
        best = [one.candidates[0].prediction if one.candidates else "" for one in answers]
        alignments = model.align([one.source for one in answers], best)
    known = {
        one.source: json.dumps(
            _facts(one) | ({"alignment": aligned and aligned.to_json()} if question.align else {}),
            ensure_ascii=False,
        )
        for one, aligned in zip(answers, alignments, strict=True)
    }
    empty = Prediction("", "", 0.0, [], False, [])
    known[""] = json.dumps(_facts(empty) | ({"alignment": None} if question.align else {}))
    return [known[text] for text in texts]


def _continued(model: LanguageModel, question: Question, texts: Sequence[str]) -> list[str]:
    completes = question.method == "complete"
    ask: Callable[..., list[Prediction]] = model.complete if completes else model.predict
    found = []
    for one in ask(list(texts), n=question.n, beam=question.beam):
        facts = _facts(one)
        for candidate in facts["candidates"]:
            candidate["line"] = line_with(
                model, one.source, candidate["prediction"], completes=completes
            )
        found.append(json.dumps(facts, ensure_ascii=False))
    return found


def line_with(model: LanguageModel, text: str, word: str, *, completes: bool) -> str:
    """A text with one more word, or with its unfinished last word completed to ``word``."""
    if completes and text.strip() and not text[-1].isspace():
        begun = last = text.rsplit(maxsplit=1)[-1]
        if model.has_word_symbols:
            begun = model.tokenizer.words(text)[-1]
        if text[-len(begun) :].casefold() != begun.casefold():
            begun = last
        return text[: len(text) - len(begun)] + word
    return model.append(text, word)


def _facts(one: Prediction) -> dict[str, Any]:
    """An answer as an object of JSON."""
    return {
        "source": one.source,
        "prediction": one.prediction,
        "probability": one.probability if one.candidates else None,
        "from": one.origin if one.candidates else None,
        "familiarity": one.familiarity,
        "unsure": one.unsure,
        "unknown": one.unknown,
        "truncated": one.truncated,
        "candidates": [
            {"prediction": best.prediction, "probability": best.probability, "from": best.origin}
            for best in one.candidates
        ],
    }


def main() -> NoReturn:
    """Answer one batch after another until stdin ends, and with it the process of a worker."""
    prepare_inference()
    from charseq.inference.predictor import load

    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines.put,), daemon=True).start()
    models: dict[str, Any] = {}
    try:
        for name, path in json.loads(lines.get())["models"].items():
            models[name] = load(path)
        send_to_parent({"ready": True})
    except (CharseqError, OSError) as fault:
        send_to_parent({"fault": str(fault), "usage": False})
    while True:
        send_to_parent(_batch(models, json.loads(lines.get())))


def _batch(models: Mapping[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    texts = job.pop("texts")
    try:
        return {"answers": answer(models[job["model"]], Question(**job), texts)}
    except CharseqError as fault:
        return {"fault": str(fault), "usage": isinstance(fault, UsageError)}


def _read(put: Callable[[bytes], None]) -> None:
    """Pass on the lines of stdin; at their end, when nobody waits for answers, end the process."""
    for line in sys.stdin.buffer:
        put(line)
    os._exit(0)
