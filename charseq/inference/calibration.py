"""scores of candidates -> probabilities that mean what they say, fitted on pairs held out.

The probability p = exp(score) that a model gives to exactly one output is too modest: label
smoothing takes something away at every symbol. What a user wants to know is how often such an
answer is right. Of one source, with r = 1 - sum p for all that the search did not find::

    q_i = p_i^(1/T) / (sum_j p_j^(1/T) + e^b r^(1/T))

T is the temperature (Guo et al. 2017, "On Calibration of Modern Neural Networks"). b, called
``rest``, weighs what was not found; with T alone what smoothing spread over all outputs would
count as if it were to be feared. The q of one source keep the order of the scores and sum to less
than 1, and nothing else in a batch enters. T and b make the dev rows likeliest: of each row one
thing is true, that a certain candidate is its target or that none is.

It knows no texts, no search and no network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.errors import CheckpointError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

FEWEST, FEWEST_SOURCES = 100, 20
"""Inputs and sources below which nothing is fitted."""
BINS = 15
LEAST_REST = 1e-6
"""What is taken for r where the probabilities sum to 1, or by rounding to more."""
HOTTEST = 10.0
"""The temperature is between this and its inverse; a fit beyond is no fit."""
LARGEST_REST = 50.0
SPREADS = (0.5, 5.0)
"""Standard deviations of 1/T around 1 and of b around 0, before any row is seen: they keep the fit
finite where all rows are right, and say nothing against hundreds of rows."""
STEPS = 50


@dataclass(frozen=True)
class Event:
    """One row that was searched for: the candidates' scores, best first, and which was right.

    Rows of one ``source`` are never used on both sides of a comparison.
    """

    source: str
    scores: Sequence[float]
    right: int | None
    """The place of the row's target among the candidates; None where it is not among them."""


@dataclass(frozen=True)
class Calibration:
    """Two numbers that a run carries, and what they did on rows that they were not fitted on."""

    temperature: float
    rest: float
    ece_before: float
    """Expected calibration error of the first candidates, in percent, before."""
    ece_after: float
    """The same after; each half of the rows with what was fitted on the other."""
    examples: int

    def probabilities(self, scores: Sequence[float]) -> list[float]:
        """For the scores of all candidates of one source, how likely each is right."""
        left = max(1.0 - math.fsum(map(math.exp, scores)), LEAST_REST)
        powers = [score / self.temperature for score in scores]
        other = math.log(left) / self.temperature + self.rest
        top = max([*powers, other])
        shares = [math.exp(power - top) for power in powers]
        total = math.fsum([*shares, math.exp(other - top)])
        return [share / total for share in shares]

    def to_json(self) -> dict[str, Any]:
        """All fields by name; :meth:`from_json` gives an equal calibration."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Calibration | None:
        """What :meth:`to_json` wrote, checked: it may come from a stranger. None stays None.

        Raises:
            CheckpointError: not an object of these fields, or a number out of its limits.
        """
        if value is None:
            return None
        limits = {
            "temperature": (1 / HOTTEST, HOTTEST),
            "rest": (-LARGEST_REST, LARGEST_REST),
            "ece_before": (0, 100),
            "ece_after": (0, 100),
            "examples": (1, math.inf),
        }
        if not isinstance(value, dict) or value.keys() != limits.keys():
            raise CheckpointError(f"is damaged: 'calibration' must have {', '.join(limits)}")
        for name, (least, most) in limits.items():
            number = value[name]
            kinds = (int,) if name == "examples" else (int, float)
            if type(number) not in kinds or not least <= number <= most:
                raise CheckpointError(
                    f"is damaged: calibration {name} is {number!r:.40}, expected a number "
                    + (f"from {least:g} to {most:g}" if most < math.inf else "above 0")
                )
        examples = value["examples"]
        numbers = {name: float(value[name]) for name in limits if name != "examples"}
        return cls(**numbers, examples=examples)


def fit(events: Sequence[Event]) -> Calibration | None:
    """Temperature and rest by the likelihood of ``events``.

    None where they would be of no use: fewer than :data:`FEWEST` inputs (a source with one set of
    features is one) or :data:`FEWEST_SOURCES` sources, or rows held out (each
    half by the fit of the other) that are no likelier than with the scores as they are.
    """
    sources = {
        source: place for place, source in enumerate(dict.fromkeys(e.source for e in events))
    }
    inputs = {(event.source, tuple(event.scores)) for event in events}
    if len(inputs) < FEWEST or len(sources) < FEWEST_SOURCES:
        return None
    rows = _Rows.of(events)
    halves = np.array([sources[event.source] % 2 for event in events])
    whole = _fit(rows)
    parts = [_fit(rows.where(halves == half)) for half in (0, 1)]
    if not all(map(_is_sound, [whole, *parts])):
        return None
    after = np.empty_like(rows.values)
    for half in (0, 1):
        after[halves == half] = rows.where(halves == half).probabilities(parts[1 - half])
    before = rows.probabilities((1.0, 0.0))
    if rows.surprise(after) >= rows.surprise(before):
        return None
    right = rows.right == 0
    return Calibration(
        temperature=float(1 / whole[0]),
        rest=float(whole[1]),
        ece_before=100 * expected_calibration_error(before[:, 0], right),
        ece_after=100 * expected_calibration_error(after[:, 0], right),
        examples=len(events),
    )


def expected_calibration_error(
    probabilities: Sequence[float] | Float[np.ndarray, "N"],
    right: Sequence[bool] | Bool[np.ndarray, "N"],
    *,
    bins: int = BINS,
) -> float:
    """How far probabilities are from how often they came true, 0 to 1.

    The mean over bins, cut in the order of the probabilities, of the distance between their mean
    and the share that is ``right`` (Guo et al. 2017, there with bins of equal width; here of equal
    mass, after Nixon et al. 2019). Equal probabilities share what came true of them, so that the
    order of the rows does not matter. Where a source has several targets, ``right`` is what the row
    itself has, not any of them: the probabilities of one source sum to 1.

    Raises:
        ValueError: no rows, or not one outcome for each probability.
    """
    sure, came = np.asarray(probabilities, float), np.asarray(right, float)
    if not len(sure) or sure.shape != came.shape or bins < 1:
        raise ValueError(f"{sure.shape} probabilities, {came.shape} outcomes, {bins} bins")
    _, group, sizes = np.unique(sure, return_inverse=True, return_counts=True)
    came = (np.bincount(group, weights=came) / sizes)[group]
    gap = (sure - came)[np.argsort(sure, kind="stable")]
    return float(sum(abs(part.sum()) for part in np.array_split(gap, bins)) / len(gap))


@dataclass(frozen=True)
class _Rows:
    """Events as arrays. The last of the K columns is what was not found; -inf: no candidate."""

    values: Float[np.ndarray, "N K"]
    right: Int[np.ndarray, "N"]

    @classmethod
    def of(cls, events: Sequence[Event]) -> _Rows:
        width = max(len(event.scores) for event in events)
        values = np.full((len(events), width + 1), -np.inf)
        for row, event in zip(values, events, strict=True):
            row[: len(event.scores)] = event.scores
        left = 1.0 - np.exp(values[:, :-1]).sum(axis=1)
        values[:, -1] = np.log(np.maximum(left, LEAST_REST))
        right = np.array([width if event.right is None else event.right for event in events])
        return cls(values, right)

    def where(self, chosen: Bool[np.ndarray, "N"]) -> _Rows:
        return _Rows(self.values[chosen], self.right[chosen])

    def probabilities(self, found: tuple[float, float]) -> Float[np.ndarray, "N K"]:
        """Those of all columns, by 1/T and b."""
        powers = found[0] * self.values
        powers[:, -1] += found[1]
        shares = np.exp(powers - powers.max(axis=1, keepdims=True))
        chances: np.ndarray = shares / shares.sum(axis=1, keepdims=True)
        return chances

    def surprise(self, chances: Float[np.ndarray, "N K"]) -> float:
        """The negative logarithm of the likelihood of what was right."""
        came = chances[np.arange(len(chances)), self.right]
        return float(-np.log(np.maximum(came, np.finfo(float).tiny)).sum())


def _is_sound(found: tuple[float, float]) -> bool:
    return 1 / HOTTEST <= found[0] <= HOTTEST and abs(found[1]) <= LARGEST_REST


def _fit(rows: _Rows) -> tuple[float, float]:
    """1/T and b of the least surprise, by Newton's method: in these two numbers it is convex."""
    point = np.array([1.0, 0.0])
    centre, weight = point.copy(), 1 / np.square(SPREADS)

    def cost(at: Float[np.ndarray, "2"]) -> float:
        if at[0] <= 0:
            return math.inf
        prior = 0.5 * float((weight * (at - centre) ** 2).sum())
        return rows.surprise(rows.probabilities((at[0], at[1]))) + prior

    finite = np.where(np.isneginf(rows.values), 0.0, rows.values)
    seen = finite[np.arange(len(finite)), rows.right]
    lost = rows.right == finite.shape[1] - 1
    now = cost(point)
    for _ in range(STEPS):
        chances = rows.probabilities((point[0], point[1]))
        mean, rest = (chances * finite).sum(axis=1), chances[:, -1]
        spread = (chances * finite**2).sum(axis=1) - mean**2
        joint = rest * (finite[:, -1] - mean)
        slope = np.array([(mean - seen).sum(), (rest - lost).sum()]) + weight * (point - centre)
        bend = np.array(
            [[spread.sum(), joint.sum()], [joint.sum(), (rest * (1 - rest)).sum()]]
        ) + np.diag(weight)
        step = np.linalg.solve(bend, slope)
        while (after := cost(point - step)) > now:
            step = step / 2
            if np.abs(step).max() < 1e-9:
                return float(point[0]), float(point[1])
        point, now = point - step, after
        if np.abs(step).max() < 1e-9:
            break
    return float(point[0]), float(point[1])
