"""Every text has its own answer, whatever was kept and however it is cut into pieces."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from charseq.inference import journal as pieces
from charseq.inference.journal import JournalEntry, answers

TEXTS = ["ccc", "a", "bb", "dddd", "e", "ff"]


class Model:
    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> list[Any]:
        self.calls.append(list(texts))
        return [self.outcome(text) for text in texts]

    def outcome(self, text: str) -> Any:
        others = [SimpleNamespace(prediction=f"{text}{rank}") for rank in range(3)]
        facts = {"unknown": ["ß"], "truncated": len(text) > 3, "origin": "model"}
        found = SimpleNamespace(prediction=text.upper(), candidates=others, **facts)
        found.reaching = lambda mass: SimpleNamespace(**{**vars(found), "candidates": others[:2]})
        return found


class Journal:
    def __init__(self) -> None:
        self.added: list[list[JournalEntry]] = []

    def add(self, told: list[JournalEntry]) -> None:
        self.added.append(told)


def ask(
    model: Model, journal: Any = None, kept: Sequence[JournalEntry] = (), **options: Any
) -> Any:
    given = {"n": 1, "mass": None, "batch_size": 2, **options}
    return partial(answers, ask=model, journal=journal, kept=iter(kept), **given)


def test_without_a_journal_all_are_asked_for_at_once_in_their_order() -> None:
    model = Model()
    found = ask(model)(TEXTS)
    assert model.calls == [TEXTS]
    assert {text: one.prediction for text, one in found.items()} == {t: t.upper() for t in TEXTS}
    assert ask(model)([]) == {}
    assert len(model.calls) == 1


def test_with_a_journal_in_pieces_that_are_kept_as_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pieces, "SECONDS", 0.0)
    model, journal = Model(), Journal()
    found = ask(model, journal)(TEXTS)
    assert model.calls == [["a", "e"], ["bb", "ff"], ["ccc", "dddd"]]
    assert [[one.prediction for one in told] for told in journal.added] == [
        ["A", "E"], ["BB", "FF"], ["CCC", "DDDD"],
    ]  # fmt: skip
    assert found["dddd"] == JournalEntry(("DDDD",), ("ß",), truncated=True, origin="model")
    again = Model()
    told = [one for part in journal.added[:2] for one in part]
    assert ask(again, Journal(), told)(TEXTS) == found
    assert again.calls == [["ccc", "dddd"]]


def test_pieces_grow_while_they_are_quick() -> None:
    model = Model()
    ask(model, Journal())([str(number) for number in range(100, 120)])
    assert list(map(len, model.calls)) == [2, 4, 8, 6]


def test_as_many_as_were_asked_for_or_have_the_mass() -> None:
    assert ask(Model(), n=3)(["a"])["a"].texts == ("A", "a1", "a2")
    assert ask(Model(), n=3, mass=0.5)(["a"])["a"].texts == ("A", "a1")
