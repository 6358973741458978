"""texts -> answers, a piece at a time, each kept in a journal: what a conversion asks of a model.

It knows neither rows nor files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from charseq.inference.journal import Journal, Kept

SECONDS = 1.0
"""Of work that a kill may cost, once the pace is known."""


class Candidate(Protocol):
    """One of the best outputs."""

    @property
    def prediction(self) -> str:
        """The output text."""


class Outcome(Protocol):
    """What a model says of one text; ``candidates`` are the n best, the prediction first."""

    @property
    def prediction(self) -> str:
        """The best output."""

    @property
    def unknown(self) -> Sequence[str]:
        """The symbols of the text that the model has never seen, each once."""

    @property
    def truncated(self) -> bool:
        """Whether the output was cut at the longest length allowed."""

    @property
    def candidates(self) -> Sequence[Candidate]:
        """The n best outputs, best first."""

    @property
    def origin(self) -> str:
        """Where the best output comes from: the model, or the user's lexicon."""

    def reaching(self, mass: float) -> Outcome:
        """The same with as many candidates as have so much probability together."""


def answers(
    texts: list[str],
    *,
    ask: Callable[[Sequence[str]], Sequence[Outcome]],
    n: int,
    mass: float | None,
    batch_size: int,
    kept: Iterator[Kept],
    journal: Journal | None,
) -> dict[str, Kept]:
    """The answer to each text: those ``kept`` first, the others asked for, and kept in turn.

    With a journal they are asked for in pieces, in the order of their length, so that a piece
    costs no more than its share; each is as large as takes a second.
    """
    size = len(texts)
    if journal is not None:
        texts, size = sorted(texts, key=len), batch_size
    found = list(islice(kept, len(texts)))
    while len(found) < len(texts):
        piece, began = texts[len(found) : len(found) + size], time.monotonic()
        outcomes = ask(piece)
        if mass is not None:
            outcomes = [outcome.reaching(mass) for outcome in outcomes]
        told = [_kept(outcome, n) for _, outcome in zip(piece, outcomes, strict=True)]
        if journal is not None:
            journal.add(told)
        found += told
        if time.monotonic() - began < SECONDS / 2:
            size *= 2
    return dict(zip(texts, found, strict=True))


def _kept(outcome: Outcome, n: int) -> Kept:
    others = (other.prediction for other in outcome.candidates[1:n])
    texts = (outcome.prediction, *others)
    return Kept(texts, tuple(outcome.unknown), outcome.truncated, outcome.origin)
