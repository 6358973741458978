"""Which rows are answered to fit probabilities by, and what is told where there is no fit."""

from __future__ import annotations

from typing import Any

import pytest

from charseq.data.pairs import Example
from charseq.evaluation import calibrate as module
from charseq.evaluation.calibrate import calibrate

ROWS = [Example(f"w{number}", "x") for number in range(150)]


def ask(dev: list[Example], told: list[str]) -> dict[str, Any]:
    translator: Any = object()
    return calibrate(translator, ROWS, dev, beam=3, seed=1, limit=None, report=told.append)


def test_few_inputs_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "score_examples", None)
    told: list[str] = []
    assert ask(ROWS[:99] * 3, told) == {}
    assert told == ["calibrated no: dev has 99 inputs, expected 100"]


@pytest.mark.parametrize(("most", "step"), [(150, 1), (149, 2), (50, 3)])
def test_rows_come_from_all_over_dev(most: int, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def spy(_translator: Any, rows: Any, **options: Any) -> Any:
        asked.append((list(rows), options))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "score_examples", spy)
    monkeypatch.setattr(module, "MAX_ROWS", most)
    with pytest.raises(KeyboardInterrupt):
        ask(ROWS, [])
    assert asked == [(ROWS[::step], {"width": 3, "n": 3, "limit": None})]
