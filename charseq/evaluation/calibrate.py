"""A trained network, dev's rows and strangers -> what makes probabilities of its scores.

Dev's rows are answered by beam search, and so are strangers made from the training's sources
(:mod:`charseq.confidence.strangers`); on both the probabilities are fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, NamedTuple

import numpy as np

from charseq.confidence import calibration, confidence
from charseq.confidence.calibration import MIN_INPUTS, Calibration, Event
from charseq.confidence.confidence import Confidence, StrangerEvent
from charseq.confidence.familiarity import Familiarity, Ngrams
from charseq.confidence.joint_ngrams import JointNgrams
from charseq.confidence.memory import Memory, SeenRow, key_of, written
from charseq.confidence.memory import fit as fit_memory
from charseq.confidence.rescoring import Rescoring, WeighedRow
from charseq.confidence.rescoring import fit as fit_ngrams
from charseq.confidence.strangers import make
from charseq.confidence.word_list import WordList
from charseq.confidence.word_prior import BEAM, FoundRow, WordPrior
from charseq.confidence.word_prior import fit as fit_words
from charseq.data.pairs import Example, side
from charseq.data.storage import select
from charseq.display import field
from charseq.evaluation.metrics import is_right
from charseq.evaluation.scoring import TimeLimit, score_examples
from charseq.inference.prediction import Prediction
from charseq.inference.translator import Translator

MAX_ROWS = 2000
"""Rows of dev, at most about, evenly spread, by which probabilities are calibrated."""

Report = Callable[[str], None]
_SCORED = ("prediction", "score")


def calibrate(
    translator: Translator,
    train: Sequence[Example],
    dev: Sequence[Example],
    *,
    memory: Memory | None = None,
    words: WordList | None = None,
    ngrams: Mapping[bool, JointNgrams] | None = None,
    beam: int,
    seed: int,
    limit: TimeLimit | None,
    report: Report,
) -> dict[str, Any]:
    """Metadata of a run as far as dev supports them: n-grams, words, calibration, memory and so on.

    Joint n-grams are weighed first, then a list of words; all else is fitted on the answers with
    them.

    With a memory, the model's own probabilities stand alone for sources that are not in it. So they
    are fitted on dev's rows with such sources, as far as there are enough of them; by the rows with
    the others the memory is weighed. Truncated answers to the former do not count.

    Args:
        translator: the network, without a calibration.
        train: the training rows, of whose sources strangers are made.
        dev: the rows to fit on.
        memory: the targets of training, still to be weighed; None: nothing is remembered.
        words: the list of words, still to be weighed; None: there is none.
        ngrams: joint n-grams of each direction, still to be weighed; None: there are none.
        beam: beam width, and number of answers.
        seed: of the strangers.
        limit: of the time for all answers.
        report: gets a line with the reason where dev or strangers change no probability.
    """
    inputs = _inputs(dev)
    if inputs < MIN_INPUTS:
        _refuse(report, f"dev has {inputs} inputs, expected {MIN_INPUTS}")
        if words is not None:
            _refuse(report, f"dev has {inputs} inputs, expected {MIN_INPUTS}", name="words")
        return {}
    fitting = _Fitting(translator, train, beam, seed, limit)
    found: dict[str, Any] = {}
    new = _unseen(translator, memory, dev)
    if ngrams:
        rescoring = fitting.rescoring(ngrams, new, partial(_refuse, report, name="ngrams"))
        if rescoring is not None:
            found["ngrams"] = rescoring.to_json()
            translator = translator.rescored(rescoring)
            fitting = _Fitting(translator, train, beam, seed, limit)
    if words is not None:
        prior = fitting.prior(words, new, partial(_refuse, report, name="words"))
        if prior is not None:
            found["words"] = prior.to_json()
            translator = translator.having(words=prior)
            fitting = _Fitting(translator, train, max(beam, BEAM), seed, limit)
    if memory is not None:
        known = np.array([bool(memory.find(_key(translator, row))) for row in dev])
        seen = select(dev, known)
        told: list[str] = []
        judged = fitting.judge(_unseen(translator, memory, dev), told.append)
        weighed = fitting.weigh(memory, seen, judged, partial(_refuse, report, name="memory"))
        if weighed is not None:
            for line in told:
                report(line)
            return {**_metadata(judged), **found, "memory": weighed.to_json()}
    return {**_metadata(fitting.judge(dev, report)), **found}


def _unseen(
    translator: Translator, memory: Memory | None, dev: Sequence[Example]
) -> Sequence[Example]:
    """The rows of dev whose source is not in the memory, or all where these are too few."""
    if memory is None:
        return dev
    new = select(dev, np.array([not memory.find(_key(translator, row)) for row in dev]))
    return new if _inputs(new) >= MIN_INPUTS else dev


class _Judged(NamedTuple):
    """What makes probabilities of scores, as far as dev supports it."""

    calibration: Calibration | None = None
    confidence: Confidence | None = None


@dataclass(frozen=True)
class _Fitting:
    """A network whose answers to rows of dev, and to strangers, are fitted on."""

    translator: Translator
    train: Sequence[Example]
    beam: int
    seed: int
    limit: TimeLimit | None

    def rescoring(
        self, ngrams: Mapping[bool, JointNgrams], dev: Sequence[Example], report: Report
    ) -> Rescoring | None:
        """The n-grams, weighed by rows of dev; None where they help none."""
        chosen = _spread(dev)
        how: dict[str, Any] = {"width": self.beam, "n": self.beam, "limit": self.limit}
        outcome = score_examples(self.translator, chosen, **how)
        with_all = self.translator.rescored(Rescoring(ngrams, weight=1.0))
        others = score_examples(with_all, chosen, **how).predictions
        found = []
        for row, one, other, targets in zip(
            chosen, outcome.predictions, others, outcome.references, strict=True
        ):
            weighed = {each.prediction: each.score for each in other.candidates}
            ended = [
                each
                for each in one.candidates[one.truncated :]
                if min(each.score, weighed.get(each.prediction, -math.inf)) > -math.inf
            ]
            right = (i for i, each in enumerate(ended) if is_right(each.prediction, targets))
            if ended:
                scores = [each.score for each in ended]
                joint = [weighed[each.prediction] - each.score for each in ended]
                found.append(WeighedRow(row.source, scores, joint, frozenset(right)))
        return fit_ngrams(ngrams, found, report)

    def prior(self, words: WordList, dev: Sequence[Example], report: Report) -> WordPrior | None:
        """The list, weighed by rows of dev; None where it helps none."""
        chosen = _spread(dev)
        how: dict[str, Any] = {"width": max(self.beam, BEAM), "n": max(self.beam, BEAM)}
        outcome = score_examples(self.translator, chosen, limit=self.limit, **how)
        found = []
        for row, one, targets in zip(chosen, outcome.predictions, outcome.references, strict=True):
            ended = one.candidates[one.truncated :]
            right = (i for i, each in enumerate(ended) if is_right(each.prediction, targets))
            if ended:
                texts, scores = ([getattr(each, part) for each in ended] for part in _SCORED)
                found.append(FoundRow(row.source, texts, scores, frozenset(right)))
        return fit_words(words, found, report)

    def judge(self, dev: Sequence[Example], report: Report) -> _Judged:
        """Calibration by rows of dev; by strangers, too, where their features tell them apart.

        With a list of words, whose weights make probabilities as well, a calibration that is none
        better leaves these as they are.
        """
        events = [event for _, event in self._answered(_spread(dev))]
        fitted = calibration.fit(events, partial(_refuse, report))
        if fitted is None and self.translator.words is not None and len(events) >= MIN_INPUTS:
            fitted = calibration.unchanged(events)  # the list's weights are fitted on dev already
        if fitted is None:
            return _Judged()
        sources = side(self.train, "source")
        familiarity = Familiarity.of(Ngrams.count(sources), [event.source for event in events])
        made = make(sources, seed=self.seed)
        random = Random(self.seed)
        rows = [Example(one.text, "", random.choice(self.train).features) for one in made]
        strange = [
            StrangerEvent(event, made[number].kind) for number, event in self._answered(rows)
        ]
        judged = confidence.fit(
            fitted, familiarity, events, strange, partial(_refuse, report, name="strangers")
        )
        return _Judged(fitted) if judged is None else _Judged(judged.calibration, judged)

    def weigh(
        self, memory: Memory, seen: Sequence[Example], judged: _Judged, report: Report
    ) -> Memory | None:
        """The memory, weighed by rows of dev whose sources are in it; None where it helps none."""
        translator = self.translator.having(words=self.translator.words, **judged._asdict())
        right: dict[str, set[str]] = {}
        for row in seen:
            own = right.setdefault(_key(translator, row), set())
            own.add(written(translator.target, row.target))
        chosen = _spread(seen)
        found: list[SeenRow] = []
        for row, one in zip(chosen, self._scored(translator, chosen), strict=True):
            if one.candidates:  # it was not too late
                key, ended = _key(translator, row), one.candidates[one.truncated :]
                model = {each.prediction: each.probability for each in ended}
                target = written(translator.target, row.target)
                found.append(SeenRow(key, model, target, frozenset(right[key])))
        return fit_memory(memory, found, report)

    def _answered(self, rows: Sequence[Example]) -> list[tuple[int, Event]]:
        return [
            (number, _event(row, one))
            for number, (row, one) in enumerate(
                zip(rows, self._scored(self.translator, rows), strict=True)
            )
            if one.candidates and not one.truncated
        ]

    def _scored(self, translator: Translator, rows: Sequence[Example]) -> Sequence[Prediction]:
        if not rows:
            return []
        how: dict[str, Any] = {"width": self.beam, "n": self.beam, "limit": self.limit}
        return score_examples(translator, rows, **how).predictions


def _metadata(judged: _Judged) -> dict[str, Any]:
    parts = judged._asdict().items()
    return {name: part.to_json() for name, part in parts if part is not None}


def _inputs(rows: Sequence[Example]) -> int:
    return len({(row.source, row.features) for row in rows})


def _spread(rows: Sequence[Example]) -> Sequence[Example]:
    """At most about :data:`MAX_ROWS` of the rows, evenly spread."""
    return rows[:: -(-len(rows) // MAX_ROWS) or 1]


def _key(translator: Translator, row: Example) -> str:
    return key_of(translator.source, row.source, row.features)


def _refuse(report: Report, reason: str, *, name: str = "calibrated") -> None:
    report(field(name, f"no: {reason}"))


def _event(row: Example, found: Prediction) -> Event:
    """The scores of the candidates, and which of them, if any, is the row's own target."""
    numbers = range(len(found.candidates))
    right = (i for i in numbers if is_right(found.candidates[i].prediction, [row.target]))
    return Event(row.source, [one.score for one in found.candidates], next(right, None))
