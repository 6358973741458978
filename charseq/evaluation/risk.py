"""answers with probabilities -> risk-coverage curve, its area, error detection, strangers.

Only the answers with at least some probability are given: their share is the *coverage*, and the
share of wrong ones among them is the *risk* (Geifman & El-Yaniv 2017, "Selective Classification for
Deep Neural Networks").

    AURC          mean over all rows of the risk at the row's own probability
    excess AURC   AURC less that of the best possible order, all right answers first (Geifman et al.
                  2019, there by an approximation, here exactly)
    AUROC         probability that a right answer has more probability than a wrong one, a tie half
                  (error detection: Hendrycks & Gimpel 2017)
    coverage      the largest one whose risk is at most a given error

Answers of equal probability are given together, so the order of the rows changes nothing. Right is
what the exact match counts. *Strangers* are texts that have no right answer: the only right answer
to one is none, that is, an empty one. All scores are in percent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.data.text.normalise import normalise
from charseq.evaluation import bootstrap

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from charseq.evaluation.scoring import Outcome
    from charseq.inference.prediction import Prediction

ERRORS = (1, 5)
"""Errors in percent of the coverages that are reported."""
THRESHOLDS = (0.5, 0.9, 0.99)
"""Probabilities above which answers to strangers are counted."""
MAX_POINTS = 100
"""Points of the risk-coverage curve in a report."""
ARRAYS = 8
"""Arrays of as many numbers as there are rows that the scores of a sample need."""
REFUSED = -1.0
"""The place of a refusal among the probabilities: below every answer."""


@dataclass(frozen=True)
class Levels:
    """Rows by their probability: all that the scores of this module depend on.

    A *level* is one distinct probability; N rows of S sources have G levels, the highest first.
    """

    thresholds: Float[np.ndarray, "G"]
    order: Int[np.ndarray, "N"]
    """The rows by level."""
    starts: Int[np.ndarray, "G"]
    """The place of each level's first row in ``order``."""
    wrong: Bool[np.ndarray, "N"]
    sources: Int[np.ndarray, "N"]

    @classmethod
    def of(
        cls,
        probabilities: Sequence[float],
        wrong: Sequence[bool],
        sources: Sequence[str],
    ) -> Levels:
        """Rows with the probability of their answer, whether it is wrong, and their source."""
        values = np.asarray(probabilities, dtype=float)
        order = np.argsort(-values, kind="stable")
        thresholds, starts = np.unique(-values[order], return_index=True)
        numbers = bootstrap.numbered([normalise(source, "NFC") for source in sources])
        return cls(-thresholds, order, starts, np.asarray(wrong, dtype=bool), numbers)

    @classmethod
    def of_outcome(cls, outcome: Outcome) -> Levels:
        """The scored rows of an evaluation."""
        return cls.of(
            [one.probability for one in outcome.predictions],
            [not one.right for one in outcome.judgements],
            [row.source for row in outcome.rows],
        )

    def once(self) -> Int[np.ndarray, "1 S"]:
        """The weights with which each source counts once."""
        return np.ones((1, int(self.sources.max()) + 1), dtype=np.int64)

    def counts(self, weights: Int[np.ndarray, "R S"]) -> Counts:
        """Rows and wrong rows down to each level, for R samples of sources."""
        rows = weights[:, self.sources[self.order]]
        wrong = rows * self.wrong[self.order]
        if len(self.starts) < len(self.order):
            rows, wrong = (np.add.reduceat(part, self.starts, axis=1) for part in (rows, wrong))
        return Counts(rows, wrong)


@dataclass(frozen=True)
class Counts:
    """Rows and wrong rows of each level, for R samples."""

    rows_here: Int[np.ndarray, "R G"]
    wrong_here: Int[np.ndarray, "R G"]

    @cached_property
    def rows(self) -> Int[np.ndarray, "R G"]:
        """Rows whose probability is at least that of a level."""
        return np.cumsum(self.rows_here, axis=1)

    @cached_property
    def wrong(self) -> Int[np.ndarray, "R G"]:
        """Wrong rows whose probability is at least that of a level."""
        return np.cumsum(self.wrong_here, axis=1)

    @cached_property
    def risk(self) -> Float[np.ndarray, "R G"]:
        """Share of wrong rows down to each level; 0 where a sample has no row so far."""
        return np.asarray(self.wrong / np.maximum(1, self.rows))

    @cached_property
    def aurc(self) -> Float[np.ndarray, "R"]:
        """Area under the risk-coverage curve in percent."""
        return np.asarray(100 * (self.rows_here * self.risk).sum(axis=1) / self.rows[:, -1])

    @cached_property
    def excess_aurc(self) -> Float[np.ndarray, "R"]:
        """AURC less that of the best possible order of the same answers, in percent."""
        rows, wrong = self.rows[:, -1], self.wrong[:, -1]
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, rows.max() + 1))])
        # the k-th wrong row, after all right ones, comes at a risk of k / (right + k)
        best = (wrong - (rows - wrong) * (harmonic[rows] - harmonic[rows - wrong])) / rows
        return np.asarray(np.maximum(0.0, self.aurc - 100 * best))

    @cached_property
    def auroc(self) -> Float[np.ndarray, "R"]:
        """Area under the ROC curve of right against wrong in percent; NaN where one has no rows."""
        right = self.rows - self.wrong
        here = self.rows_here - self.wrong_here
        above = (self.wrong_here * (2 * right - here)).sum(axis=1) / 2
        pairs = right[:, -1] * self.wrong[:, -1]
        return np.asarray(np.where(pairs > 0, 100 * above / np.maximum(1, pairs), np.nan))

    def coverage(self, error: int) -> Float[np.ndarray, "R"]:
        """Largest coverage in percent at which at most ``error`` percent are wrong."""
        allowed = 100 * self.wrong <= error * self.rows
        most = self.rows.max(axis=1, where=allowed, initial=0)
        return np.asarray(100 * most / self.rows[:, -1])


def aurc(outcome: Outcome) -> float:
    """Area under the risk-coverage curve in percent."""
    return float(_counts(outcome).aurc[0])


def excess_aurc(outcome: Outcome) -> float:
    """Area under the risk-coverage curve above that of the best possible order, in percent."""
    return float(_counts(outcome).excess_aurc[0])


def auroc(outcome: Outcome) -> float | None:
    """AUROC of right against wrong answers in percent; None if all are right, or all wrong."""
    return _defined(_counts(outcome).auroc[0])


def _counts(outcome: Outcome) -> Counts:
    levels = Levels.of_outcome(outcome)
    return levels.counts(levels.once())


def assess(outcome: Outcome) -> dict[str, Any]:
    """The trust that the probabilities of scored rows deserve, for JSON.

    Returns:
        intervals: of aurc, excess_aurc and auroc; None where resampling cannot find them: every
        row is right, or wrong, or there is one source only.
        coverage: for each of :data:`ERRORS` error, coverage, its interval (all in percent), rows,
        and threshold: the least probability that is answered (None: no answer can be given).
        risk_coverage: the curve, at most :data:`MAX_POINTS` points of threshold, coverage, risk.
    """
    levels = Levels.of_outcome(outcome)
    counts = levels.counts(levels.once())
    names = ("aurc", "excess_aurc", "auroc")
    drawn: dict[Any, list[Float[np.ndarray, "_"]]] = {name: [] for name in (*names, *ERRORS)}
    some_wrong = 0 < counts.wrong[0, -1] < counts.rows[0, -1]
    if some_wrong and levels.once().shape[1] > 1:
        for weights in bootstrap.weights(levels.once().shape[1], ARRAYS * len(levels.order)):
            sample = levels.counts(weights)
            for name in names:
                drawn[name].append(getattr(sample, name))
            for error in ERRORS:
                drawn[error].append(sample.coverage(error))
    return {
        "intervals": {name: _interval(drawn[name]) for name in names},
        "coverage": [
            {**_coverage(levels, counts, error), "interval": _interval(drawn[error])}
            for error in ERRORS
        ],
        "risk_coverage": _points(levels, counts),
    }


def _interval(parts: Sequence[Float[np.ndarray, "_"]]) -> list[float] | None:
    """Percentile interval of resampled values; None where they are none, all alike, or undefined.

    A sample in which every row is right has no AUROC. As many samples may be so as an interval
    leaves out.
    """
    values = np.concatenate(parts) if parts else np.empty(0)
    known = values[np.isfinite(values)]
    if not len(known) or 100 * len(known) < bootstrap.CONFIDENCE * len(values):
        return None
    if np.ptp(known) <= bootstrap.ROUNDING:
        return None
    return bootstrap.interval(known)


def _coverage(levels: Levels, counts: Counts, error: int) -> dict[str, Any]:
    """The lowest level at which at most ``error`` percent are wrong."""
    rows, wrong = counts.rows[0], counts.wrong[0]
    allowed = np.flatnonzero(100 * wrong <= error * rows)
    last = int(allowed[-1]) if len(allowed) else None
    found = 0 if last is None else int(rows[last])
    return {
        "error": error,
        "coverage": 100 * found / int(rows[-1]),
        "rows": found,
        "threshold": None if last is None else _threshold(levels, last),
    }


def _threshold(levels: Levels, level: int) -> float:
    """The shortest number that is at most a level and above the next lower one; 0 for the last."""
    if level + 1 == len(levels.thresholds):
        return 0.0
    value, lower = float(levels.thresholds[level]), float(levels.thresholds[level + 1])
    for digits in range(1, 18):
        short = float(Decimal(repr(value)).quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR))
        if lower < short <= value:
            return short
    return value


def _points(levels: Levels, counts: Counts) -> list[dict[str, float]]:
    """The curve at the levels that first reach 1, 2, … percent of the rows."""
    rows, risk = counts.rows[0], counts.risk[0]
    wanted = np.arange(1, MAX_POINTS + 1) * rows[-1] / MAX_POINTS
    return [
        {
            "threshold": float(levels.thresholds[level]),
            "coverage": float(100 * rows[level] / rows[-1]),
            "risk": float(100 * risk[level]),
        }
        for level in dict.fromkeys(np.searchsorted(rows, wanted).tolist())
    ]


# --- strangers


def assess_strangers(
    outcome: Outcome, strangers: Sequence[Prediction], coverage: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Answers to texts that have no right answer, for JSON.

    Args:
        outcome: the scored rows, which have right answers.
        strangers: the predictions for the strangers, at least one.
        coverage: the coverages of :func:`assess`, whose thresholds are reported as well.

    Returns:
        texts; refused: empty answers; auroc (percent): rows with a right answer against strangers
        by the probability of their answers, where an empty answer is below every other; its
        interval; thresholds: those of :data:`THRESHOLDS` and of the coverages, each with threshold,
        answered (strangers), and in percent share (of the strangers), coverage and risk (of the
        rows; risk is None if none is answered).
    """
    known = [place for place, row in enumerate(outcome.rows) if row.target]
    rows = [outcome.predictions[place] for place in known]
    names = [f"row {outcome.rows[place].source}" for place in known]
    names += [f"text {one.source}" for one in strangers]
    answered = [_answered(one) for one in (*rows, *strangers)]
    levels = Levels.of(answered, [False] * len(rows) + [True] * len(strangers), names)
    found = _defined(levels.counts(levels.once()).auroc[0])
    width = len(set(levels.sources[: len(rows)].tolist()))
    drawn = [levels.counts(weights).auroc for weights in _weights_of_both(levels, width)]
    thresholds = {*THRESHOLDS, *(one["threshold"] for one in coverage if one["rows"])}
    return {
        "texts": len(strangers),
        "refused": sum(not one.prediction for one in strangers),
        "auroc": found,
        "interval": _interval(drawn),
        "thresholds": [
            {"threshold": least, **_given(outcome, strangers, least)}
            for least in sorted(thresholds)
        ],
    }


def _answered(one: Prediction) -> float:
    """The probability of an answer; a refusal is below every answer."""
    return one.probability if one.prediction else REFUSED


def _weights_of_both(levels: Levels, width: int) -> Iterator[Int[np.ndarray, "R S"]]:
    """Samples of the first ``width`` sources and of the others, each on its own."""
    others = levels.once().shape[1] - width
    if width < 2 or others < 2:
        return
    size = ARRAYS * len(levels.order)
    for first, second in zip(
        bootstrap.weights(width, size),
        bootstrap.weights(others, size, seed=bootstrap.SEED + 1),
        strict=True,
    ):
        yield np.hstack([first, second])


def _given(outcome: Outcome, strangers: Sequence[Prediction], least: float) -> dict[str, Any]:
    """The answers with a probability of at least ``least``."""
    answered = sum(_answered(one) >= least for one in strangers)
    given = [
        judged.right
        for one, judged in zip(outcome.predictions, outcome.judgements, strict=True)
        if one.probability >= least
    ]
    wrong = len(given) - sum(given)
    return {
        "answered": answered,
        "share": 100 * answered / len(strangers),
        "coverage": 100 * len(given) / len(outcome.rows),
        "risk": 100 * wrong / len(given) if given else None,
    }


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
