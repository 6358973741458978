"""Metadata of a run -> the YAML head of its model card, which the Hugging Face Hub reads.

The keys are those of the Hub's model cards: ``license``, ``language``, ``library_name``,
``pipeline_tag``, ``tags``, ``metrics``, and the dev scores as ``model-index``. The language is left
out where its owner does not state it. The licence is then ``unknown``, a value of the Hub's own.

Texts are written as JSON strings, which YAML reads as the same texts. So no name of a stranger can
add a key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from charseq.display import printable
from charseq.errors import UsageError

MAX_TEXT = 200
"""Characters of a text of others in the head."""
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
"""The identifier of a licence as the Hub has it: mit, cc-by-4.0."""
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
"""The code of a language: hr, sr-Latn."""
PIPELINES = {"pairs": "text2text-generation", "next-word": "text-generation"}
"""Task -> the task of the Hub."""
METRICS = {
    "exact_match": "exact match, %",
    "ser": "symbol error rate, %",
    "perplexity": "perplexity per word",
}
"""Scores of a run that the head tells, and their names."""


class Owner(NamedTuple):
    """Facts that only the owner of a run can state."""

    license: str | None = None
    languages: tuple[str, ...] = ()


def owned(license: str | None, languages: Sequence[str]) -> Owner:
    """The facts of the owner, checked.

    Raises:
        UsageError: no identifier of a licence, or no code of a language.
    """
    if license is not None and not LICENSE.fullmatch(license):
        what = f"'{printable(license, most=MAX_TEXT)}', expected an identifier of the Hub"
        raise UsageError(f"the licence is {what}, such as mit or cc-by-4.0")
    for language in languages:
        if not LANGUAGE.fullmatch(language):
            what = f"'{printable(language, most=MAX_TEXT)}', expected a code"
            raise UsageError(f"the language is {what}, such as hr or sr-Latn")
    return Owner(license, tuple(languages))


def head(name: str, metadata: Mapping[str, Any], owner: Owner = Owner()) -> str:  # noqa: B008
    """The head of the card of the run ``name``, between lines of three hyphens."""
    return "\n".join(["---", *_lines(name, metadata, owner), "---", ""])


def _lines(name: str, metadata: Mapping[str, Any], owner: Owner) -> Iterator[str]:
    """The lines of the head."""
    task = "next-word" if metadata["settings"].get("task") == "next-word" else "pairs"
    scores = {one: metadata["scores"][one] for one in METRICS if one in metadata["scores"]}
    yield f"license: {owner.license or 'unknown'}"
    if owner.languages:
        yield "language:"
        yield from (f"- {_text(language)}" for language in owner.languages)  # no is no boolean
    yield "library_name: charseq"
    yield f"pipeline_tag: {PIPELINES[task]}"
    yield "tags:"
    yield from (f"- {tag}" for tag in ("charseq", *_tags(task, metadata["settings"])))
    if not scores:
        return
    yield "metrics:"
    yield from (f"- {one}" for one in scores)
    yield from _index(name, metadata, PIPELINES[task], scores)


def _tags(task: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """The tags of a run: kinds of networks, by the words that people search for."""
    yield "rnn"
    if task == "next-word":
        yield "language-model"
        return
    yield from ("character-level", "sequence-to-sequence")
    if settings.get("attention") in ("soft", "hard"):
        yield f"{settings['attention']}-attention"
    if settings.get("ensemble", 1) > 1:
        yield "ensemble"


def _index(
    name: str, metadata: Mapping[str, Any], pipeline: str, scores: Mapping[str, float]
) -> Iterator[str]:
    """The scores on the dev split as a ``model-index`` of one result."""
    data = metadata["data"]
    yield from ("model-index:", f"- name: {_text(name)}", "  results:")
    yield from ("  - task:", f"      type: {pipeline}", "    dataset:")
    yield f"      name: {_text(data['name'])}"
    yield f"      type: {_text('sha256-' + data['fingerprint'][:16])}"
    yield from ("      split: dev", "    metrics:")
    for one, value in scores.items():
        yield f"    - type: {one}"
        yield f"      name: {_text(METRICS[one])}"
        yield f"      value: {json.dumps(value)}"


def _text(text: str) -> str:
    """A text as a quoted scalar of YAML, on one line."""
    return json.dumps(printable(text, most=MAX_TEXT), ensure_ascii=False)
