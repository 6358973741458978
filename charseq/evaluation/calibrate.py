"""A trained network, dev's rows and strangers -> what makes probabilities of its scores.

Dev's rows are answered by beam search, and so are strangers made from the training's sources
(:mod:`charseq.confidence.strangers`); on both the probabilities are fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

from charseq.confidence import calibration, confidence
from charseq.confidence.calibration import MIN_INPUTS, Event
from charseq.confidence.confidence import StrangerEvent
from charseq.confidence.familiarity import Familiarity, Ngrams
from charseq.confidence.strangers import make
from charseq.data.pairs import Example
from charseq.display import field
from charseq.evaluation.metrics import is_right
from charseq.evaluation.scoring import TimeLimit, score_examples
from charseq.inference.prediction import Prediction
from charseq.inference.translator import Translator

MAX_ROWS = 2000
"""Rows of dev, at most about, evenly spread, by which probabilities are calibrated."""

Report = Callable[[str], None]


def calibrate(
    translator: Translator,
    train: Sequence[Example],
    dev: Sequence[Example],
    *,
    beam: int,
    seed: int,
    limit: TimeLimit | None,
    report: Report,
) -> dict[str, Any]:
    """Metadata of a run: ``calibration`` and ``confidence``, as far as dev is enough for them.

    Truncated answers do not count.

    Args:
        translator: the network, without a calibration.
        train: the training rows, of whose sources strangers are made.
        dev: the rows to fit on.
        beam: beam width, and number of answers.
        seed: of the strangers.
        limit: of the time for all answers.
        report: gets a line with the reason where dev or strangers change no probability.
    """
    inputs = len({(row.source, row.features) for row in dev})
    if inputs < MIN_INPUTS:
        _refuse(report, f"dev has {inputs} inputs, expected {MIN_INPUTS}")
        return {}

    def answered(rows: Sequence[Example]) -> list[tuple[int, Event]]:
        found = score_examples(translator, rows, width=beam, n=beam, limit=limit).predictions
        return [
            (number, _event(row, one))
            for number, (row, one) in enumerate(zip(rows, found, strict=True))
            if one.candidates and not one.truncated
        ]

    events = [event for _, event in answered(dev[:: -(-len(dev) // MAX_ROWS)])]
    fitted = calibration.fit(events, partial(_refuse, report))
    if fitted is None:
        return {}
    ngrams = Ngrams.count([row.source for row in train])
    familiarity = Familiarity.of(ngrams, [event.source for event in events])
    made = make([row.source for row in train], seed=seed)
    random = Random(seed)
    rows = [Example(one.text, "", random.choice(train).features) for one in made]
    strange = [StrangerEvent(event, made[number].kind) for number, event in answered(rows)]
    judged = confidence.fit(
        fitted, familiarity, events, strange, partial(_refuse, report, name="strangers")
    )
    if judged is None:
        return {"calibration": fitted.to_json()}
    return {"calibration": judged.calibration.to_json(), "confidence": judged.to_json()}


def _refuse(report: Report, reason: str, *, name: str = "calibrated") -> None:
    report(field(name, f"no: {reason}"))


def _event(row: Example, found: Prediction) -> Event:
    """The scores of the candidates, and which of them, if any, is the row's own target."""
    numbers = range(len(found.candidates))
    right = (i for i in numbers if is_right(found.candidates[i].prediction, [row.target]))
    return Event(row.source, [one.score for one in found.candidates], next(right, None))
