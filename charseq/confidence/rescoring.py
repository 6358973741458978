"""Outputs of a search -> the same outputs, weighed anew by joint n-grams.

The probability that the search has found for all outputs of a source together stays, and is shared
among them by log p(y | x) + w log P(x, y): the log-linear combination of a network and the joint
n-grams of its training pairs (Och & Ney 2002; the n-grams are those of
:mod:`charseq.confidence.joint_ngrams`). Outputs that were cut at the length limit keep what they
have. So probabilities still sum to at most 1, a source does not change the answers to others, and a
greedy search, which has one output, is not changed at all.

The weight w is the one of the largest likelihood on dev's rows, and n-grams that do not help there
are not kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charseq.confidence.joint_ngrams import JointNgrams, damaged
from charseq.data.text.alignment import Actions

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Ids = Sequence[int]
Output = tuple[Ids, float]
"""The edit actions of an output, and its score."""

WEIGHTS = tuple(step / 20 for step in range(1, 31))
"""Weights that are tried: 0.05 to 1.5."""
SHARPNESS = (0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2)
"""Exponents of the combined probability that are tried with each: a network is mostly too sure of
its answers, and a calibration of its own comes later."""
EXPECTED, DEVIATION = 0.3, 0.3
"""Mean and standard deviation of the normal prior of the weight, which few rows do not move far."""
MIN_ROWS = 50
"""Fewer dev rows decide nothing."""
MAX_WEIGHT = 10.0
DIRECTIONS = {"forward": False, "backward": True}
"""Names of directions, and whether each is read from the end."""
_NUMBERS = ("weight", "right_before", "right_after")
_KEYS = {"rows", *_NUMBERS, *DIRECTIONS}


class WeighedRow(NamedTuple):
    """A dev row with the candidates of the network alone."""

    source: str
    """Rows of one source are in the same half."""
    scores: Sequence[float]
    """Log-probability of each candidate."""
    joint: Sequence[float]
    """What each gains by the n-grams at a weight of 1, but for a number that all have in common."""
    right: frozenset[int]
    """The candidates that are right."""


@dataclass(frozen=True, eq=False)
class Rescoring:
    """The joint n-grams of each direction, and their weight."""

    ngrams: Mapping[bool, JointNgrams]
    """By whether pairs are read from the end."""
    weight: float
    rows: int = 0
    """Dev rows that the weight was fitted on."""
    right_before: float = 0.0
    """Percent of them that the network has right."""
    right_after: float = 0.0
    """The same with the n-grams: each half of the rows by the fit on the other half."""

    def scores(
        self, sources: Sequence[Ids], outputs: Sequence[Sequence[Output]], *, backward: bool
    ) -> list[list[float]]:
        """The new scores of the outputs of each source, in their order.

        Args:
            sources: ids of the sources.
            outputs: of each the edit actions of its outputs that ended, and their scores.
            backward: whether they are read and written from the end.
        """
        flat = [(source, *one) for source, found in zip(sources, outputs, strict=True)
                for one in found]  # fmt: skip
        joint = self.ngrams[backward].scores([one[0] for one in flat], [one[1] for one in flat])
        powers = iter((self.weight * joint).tolist())
        return [_shared([(score, next(powers)) for _, score in found]) for found in outputs]

    def to_json(self) -> dict[str, Any]:
        """All fields by name; the inverse of :meth:`from_json`."""
        numbers = {name: getattr(self, name) for name in ("rows", *_NUMBERS)}
        tables = {
            name: self.ngrams[backward].to_json() if backward in self.ngrams else None
            for name, backward in DIRECTIONS.items()
        }
        return {**numbers, **tables}

    @classmethod
    def from_json(cls, value: Any, actions: Actions) -> Rescoring | None:
        """The n-grams from an object that may come from a stranger; None from None.

        Raises:
            CheckpointError: not an object of these fields, or a value out of its limits.
        """
        if value is None:
            return None
        if not isinstance(value, dict) or value.keys() != _KEYS:
            raise damaged(f"must have {', '.join(sorted(_KEYS))}")
        if type(value["rows"]) is not int or not 0 <= value["rows"] <= 2**40:
            raise damaged("have rows that are no whole number")
        for name, most in zip(_NUMBERS, (MAX_WEIGHT, 100, 100), strict=True):
            if type(value[name]) not in (int, float) or not 0 <= value[name] <= most:
                raise damaged(f"have {name} {value[name]!r:.40}, expected 0 to {most:g}")
        ngrams = {
            backward: JointNgrams.from_json(value[name], actions)
            for name, backward in DIRECTIONS.items()
            if value[name] is not None
        }
        return cls(
            ngrams, float(value["weight"]), value["rows"],
            float(value["right_before"]), float(value["right_after"]),
        )  # fmt: skip


def _shared(outputs: Sequence[tuple[float, float]]) -> list[float]:
    """Scores and gains of the outputs of one source -> scores that have the same sum of chances."""
    if len(outputs) < 2:
        return [score for score, _ in outputs]
    powers = [score + gain for score, gain in outputs]
    level = _log_sum([score for score, _ in outputs]) - _log_sum(powers)
    return [power + level for power in powers]


def _log_sum(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(math.fsum(math.exp(one - top) for one in logs))


def fit(
    ngrams: Mapping[bool, JointNgrams],
    rows: Sequence[WeighedRow],
    report: Callable[[str], None] = lambda _: None,
) -> Rescoring | None:
    """The n-grams with the weight of the largest likelihood of dev's ``rows``.

    Args:
        ngrams: of each direction.
        rows: dev rows with the candidates of the network alone.
        report: gets the reason where the n-grams are not used.

    Returns:
        None where they would not help: fewer than :data:`MIN_ROWS` rows, or held-out rows (each
        half with the fit on the other) of which no more are right.
    """
    if len(rows) < MIN_ROWS:
        report(f"dev has {len(rows)} answered rows, expected {MIN_ROWS}")
        return None
    table = _Rows.of(rows)
    numbers: dict[str, int] = {}
    first: np.ndarray = np.array(
        [numbers.setdefault(row.source, len(numbers)) % 2 == 0 for row in rows]
    )
    second: np.ndarray = np.logical_not(first)
    right = np.zeros(len(rows), dtype=bool)
    for chosen, others in ((first, second), (second, first)):
        right[chosen] = table.where(chosen).is_right(table.where(others).weight())
    before = table.is_right(0.0)
    shares = 100 * float(before.mean()), 100 * float(right.mean())
    if right.sum() <= before.sum():
        report(f"of {len(rows):,} rows of dev they would make right {shares[1]:.1f} %, "
               f"without them {shares[0]:.1f} %")  # fmt: skip
        return None
    return Rescoring(ngrams, table.weight(), len(rows), *shares)


@dataclass(frozen=True)
class _Rows:
    """Dev rows as arrays; a row without a right candidate decides nothing."""

    scores: Float[np.ndarray, "N K"]
    """-inf where there is no candidate."""
    joint: Float[np.ndarray, "N K"]
    right: Bool[np.ndarray, "N K"]

    @classmethod
    def of(cls, rows: Sequence[WeighedRow]) -> _Rows:
        most = max(len(row.scores) for row in rows)
        scores = np.full((len(rows), most), -np.inf)
        joint = np.zeros((len(rows), most))
        right = np.zeros((len(rows), most), dtype=bool)
        for number, row in enumerate(rows):
            size = len(row.scores)
            scores[number, :size], joint[number, :size] = row.scores, row.joint
            right[number, sorted(row.right)] = True
        return cls(scores, joint, right)

    def where(self, chosen: Bool[np.ndarray, "N"]) -> _Rows:
        return _Rows(self.scores[chosen], self.joint[chosen], self.right[chosen])

    def is_right(self, weight: float) -> Bool[np.ndarray, "N"]:
        """Whether the best candidate of each row is right; of equal ones the first."""
        best = (self.scores + weight * self.joint).argmax(axis=1)
        found: np.ndarray = self.right[np.arange(len(best)), best]
        return found

    def weight(self) -> float:
        """The weight of the largest likelihood that the right one is chosen, if one is there."""
        decided = np.asarray(self.right.any(axis=1))
        rows = self.where(decided)
        if not len(rows.scores):
            return EXPECTED

        def likelihood(weight: float, sharpness: float) -> float:
            logits = sharpness * (rows.scores + weight * rows.joint)
            came = np.where(rows.right, logits, -np.inf)
            logs = np.logaddexp.reduce(came, axis=1) - np.logaddexp.reduce(logits, axis=1)
            return float(logs.sum()) - 0.5 * ((weight - EXPECTED) / DEVIATION) ** 2

        return max(WEIGHTS, key=lambda weight: max(likelihood(weight, one) for one in SHARPNESS))
