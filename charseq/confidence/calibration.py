"""Scores of candidates -> calibrated probabilities, by two numbers fitted on held-out pairs.

A calibrated probability says how often such an answer is right. The model's own probability
p = exp(score) of an output is too low, because label smoothing takes a part of it away at every
symbol. For the candidates i of one source, where r = 1 - sum p is the probability of all outputs
that the search did not find::

    q_i = p_i^(1/T) / (sum_j p_j^(1/T) + e^b r^(1/T))

T is the temperature (Guo et al. 2017, "On Calibration of Modern Neural Networks"). b, called
``rest``, weighs the outputs that were not found: most of their probability comes from label
smoothing, so it must not count in full. The q of one source keep the order of the scores and sum to
less than 1; they do not depend on other texts. T and b maximise the likelihood of the dev rows:
in each row either one of the candidates is the target, or none is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.errors import CheckpointError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

MIN_INPUTS, MIN_SOURCES = 100, 20
"""Fewer inputs or sources are not fitted."""
BINS = 15
"""Bins of the expected calibration error."""
MIN_REST = 1e-6
"""Least value of r; the probabilities may sum to 1, or by rounding to more."""
MAX_TEMPERATURE = 10.0
"""The temperature is between this and its inverse; a fit outside is rejected."""
MAX_REST = 50.0
"""The largest absolute value of b; a fit outside is rejected."""
PRIOR_DEVIATIONS = (0.5, 5.0)
"""Standard deviations of the normal priors of 1/T (mean 1) and of b (mean 0). They keep the fit
finite where all rows are right, and hardly change it with hundreds of rows."""
NEWTON_STEPS = 50


@dataclass(frozen=True)
class Event:
    """One dev row: the scores of its candidates, and which of them is right."""

    source: str
    """Rows of one source are all in the same half of the dev rows."""
    scores: Sequence[float]
    """Log-probabilities of the candidates, best first."""
    right: int | None
    """Index of the row's target among the candidates; None where it is not among them."""


@dataclass(frozen=True)
class Calibration:
    """The temperature and the rest of a run, and their effect on held-out rows."""

    temperature: float
    rest: float
    ece_before: float
    """Expected calibration error of the first candidates without calibration, in percent."""
    ece_after: float
    """The same with calibration: each half of the rows with the fit on the other half."""
    examples: int
    """Dev rows."""

    def probabilities(self, scores: Sequence[float]) -> list[float]:
        """The calibrated probability of each candidate of one source, from all their scores."""
        left = max(1.0 - math.fsum(map(math.exp, scores)), MIN_REST)
        powers = [score / self.temperature for score in scores]
        other = math.log(left) / self.temperature + self.rest
        top = max([*powers, other])
        shares = [math.exp(power - top) for power in powers]
        total = math.fsum([*shares, math.exp(other - top)])
        return [share / total for share in shares]

    def to_json(self) -> dict[str, Any]:
        """All fields by name; the inverse of :meth:`from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Calibration | None:
        """The calibration from an object that may come from a stranger; None from None.

        Raises:
            CheckpointError: not an object of these fields, or a number out of its limits.
        """
        if value is None:
            return None
        limits = {
            "temperature": (1 / MAX_TEMPERATURE, MAX_TEMPERATURE),
            "rest": (-MAX_REST, MAX_REST),
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


def fit(
    events: Sequence[Event], report: Callable[[str], None] = lambda _: None
) -> Calibration | None:
    """Temperature and rest of the largest likelihood of ``events``.

    Args:
        events: the dev rows.
        report: gets the reason where there is no calibration.

    Returns:
        None where a calibration would not help: fewer than :data:`MIN_INPUTS` inputs (an input is
        a source with one set of features), fewer than :data:`MIN_SOURCES` sources, or held-out
        rows (each half with the fit on the other) that are no likelier than without calibration,
        or whose expected calibration error is larger.
    """
    sources = {
        source: number for number, source in enumerate(dict.fromkeys(e.source for e in events))
    }
    inputs = {(event.source, tuple(event.scores)) for event in events}
    if len(inputs) < MIN_INPUTS or len(sources) < MIN_SOURCES:
        least = f"expected {MIN_INPUTS} inputs of {MIN_SOURCES} sources"
        report(f"dev has {len(inputs)} answered inputs of {len(sources)} sources, {least}")
        return None
    rows = _Rows.of(events)
    halves = np.array([sources[event.source] % 2 for event in events])
    whole = _fit(rows)
    parts = [_fit(rows.where(halves == half)) for half in (0, 1)]
    if not all(map(_is_sound, [whole, *parts])):
        report("the answers to dev allow no sound fit")
        return None
    after = np.empty_like(rows.values)
    for half in (0, 1):
        after[halves == half] = rows.where(halves == half).probabilities(parts[1 - half])
    before = rows.probabilities((1.0, 0.0))
    if rows.negative_log_likelihood(after) >= rows.negative_log_likelihood(before):
        report("it would make held-out rows no likelier")
        return None
    right = rows.right == 0
    ece_before, ece_after = (
        100 * expected_calibration_error(sure[:, 0], right) for sure in (before, after)
    )
    if ece_after > ece_before:
        grown = f"from {ece_before:.1f} to {ece_after:.1f} %"
        report(f"the error of the probabilities of held-out rows would grow {grown}")
        return None
    return Calibration(
        temperature=float(1 / whole[0]),
        rest=float(whole[1]),
        ece_before=ece_before,
        ece_after=ece_after,
        examples=len(events),
    )


def unchanged(events: Sequence[Event]) -> Calibration:
    """The calibration that leaves probabilities as they are, for scores that were fitted on dev."""
    right = [event.right == 0 for event in events]
    error = 100 * expected_calibration_error([math.exp(one.scores[0]) for one in events], right)
    return Calibration(1.0, 0.0, error, error, len(events))


def expected_calibration_error(
    probabilities: Sequence[float] | Float[np.ndarray, "N"],
    right: Sequence[bool] | Bool[np.ndarray, "N"],
    *,
    bins: int = BINS,
) -> float:
    """Expected calibration error, 0 to 1: distance of probabilities from observed frequencies.

    The rows are sorted by probability and divided into bins. The error is the mean over the bins of
    the distance between the mean probability and the share of rows that are ``right`` (Guo et al.
    2017, there with bins of equal width; here of equal mass, after Nixon et al. 2019). Rows of
    equal probability share their outcomes, so that the order of the rows does not matter. Where a
    source has several targets, only the target of the row itself is right, because the
    probabilities of one source sum to 1.

    Raises:
        ValueError: as :func:`reliability`.
    """
    mean, came, sizes = reliability(probabilities, right, bins=bins)
    return float((np.abs(mean - came) * sizes).sum() / sizes.sum())


def reliability(
    probabilities: Sequence[float] | Float[np.ndarray, "N"],
    right: Sequence[bool] | Bool[np.ndarray, "N"],
    *,
    bins: int = BINS,
) -> tuple[Float[np.ndarray, "B"], Float[np.ndarray, "B"], Int[np.ndarray, "B"]]:
    """The bins of :func:`expected_calibration_error`: the points of a reliability diagram.

    Returns:
        mean probability, share of right rows, and number of rows of each bin, lowest first; there
        are fewer bins than ``bins`` where there are fewer rows.

    Raises:
        ValueError: no rows, or not one outcome for each probability.
    """
    sure, came = np.asarray(probabilities, float), np.asarray(right, float)
    if not len(sure) or sure.shape != came.shape or bins < 1:
        raise ValueError(f"{sure.shape} probabilities, {came.shape} outcomes, {bins} bins")
    _, group, sizes = np.unique(sure, return_inverse=True, return_counts=True)
    came = (np.bincount(group, weights=came) / sizes)[group]
    order = np.argsort(sure, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return (
        np.array([sure[part].mean() for part in parts]),
        np.array([came[part].mean() for part in parts]),
        np.array([len(part) for part in parts]),
    )


@dataclass(frozen=True)
class _Rows:
    """Events as arrays."""

    values: Float[np.ndarray, "N K"]
    """Scores, -inf where there is no candidate; the last column is log r."""
    right: Int[np.ndarray, "N"]
    """The column that is right."""

    @classmethod
    def of(cls, events: Sequence[Event]) -> _Rows:
        width = max(len(event.scores) for event in events)
        values = np.full((len(events), width + 1), -np.inf)
        for row, event in zip(values, events, strict=True):
            row[: len(event.scores)] = event.scores
        left = 1.0 - np.exp(values[:, :-1]).sum(axis=1)
        values[:, -1] = np.log(np.maximum(left, MIN_REST))
        right = np.array([width if event.right is None else event.right for event in events])
        return cls(values, right)

    def where(self, chosen: Bool[np.ndarray, "N"]) -> _Rows:
        return _Rows(self.values[chosen], self.right[chosen])

    def probabilities(self, found: tuple[float, float]) -> Float[np.ndarray, "N K"]:
        """Calibrated probabilities of all columns; ``found`` is 1/T and b."""
        powers = found[0] * self.values
        powers[:, -1] += found[1]
        shares = np.exp(powers - powers.max(axis=1, keepdims=True))
        chances: np.ndarray = shares / shares.sum(axis=1, keepdims=True)
        return chances

    def negative_log_likelihood(self, chances: Float[np.ndarray, "N K"]) -> float:
        """That of the right columns, in nats, summed over the rows."""
        right = chances[np.arange(len(chances)), self.right]
        return float(-np.log(np.maximum(right, np.finfo(float).tiny)).sum())


def _is_sound(found: tuple[float, float]) -> bool:
    return 1 / MAX_TEMPERATURE <= found[0] <= MAX_TEMPERATURE and abs(found[1]) <= MAX_REST


def _fit(rows: _Rows) -> tuple[float, float]:
    """1/T and b of the largest posterior, by Newton's method; the loss is convex in both."""
    point = np.array([1.0, 0.0])
    centre, weight = point.copy(), 1 / np.square(PRIOR_DEVIATIONS)

    def cost(at: Float[np.ndarray, "2"]) -> float:
        if at[0] <= 0:
            return math.inf
        prior = 0.5 * float((weight * (at - centre) ** 2).sum())
        return rows.negative_log_likelihood(rows.probabilities((at[0], at[1]))) + prior

    finite = np.where(np.isneginf(rows.values), 0.0, rows.values)
    right = finite[np.arange(len(finite)), rows.right]
    missed = rows.right == finite.shape[1] - 1
    now = cost(point)
    for _ in range(NEWTON_STEPS):
        chances = rows.probabilities((point[0], point[1]))
        mean, rest = (chances * finite).sum(axis=1), chances[:, -1]
        variance = (chances * finite**2).sum(axis=1) - mean**2
        joint = rest * (finite[:, -1] - mean)
        gradient = np.array([(mean - right).sum(), (rest - missed).sum()]) + weight * (
            point - centre
        )
        hessian = np.array(
            [[variance.sum(), joint.sum()], [joint.sum(), (rest * (1 - rest)).sum()]]
        ) + np.diag(weight)
        step = np.linalg.solve(hessian, gradient)
        while (after := cost(point - step)) > now:
            step = step / 2
            if np.abs(step).max() < 1e-9:
                return float(point[0]), float(point[1])
        point, now = point - step, after
        if np.abs(step).max() < 1e-9:
            break
    return float(point[0]), float(point[1])
