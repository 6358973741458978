"""Candidates of a model and a list of words -> candidates reweighed by the words that there are.

A network that was trained on pairs knows the words of its targets only as far as the pairs go. A
list of words of the language knows more, so each candidate y of a source is weighed anew::

    log p'(y) = log p(y) + w . features(y) - log Z,
    Z = sum_y p(y) e^(w . features(y)) + r e^b

with the :data:`charseq.confidence.word_list.FEATURES` of the list, and r = 1 - sum_y p(y) the
probability of all outputs that the search did not find, which count with the constant b. So the p'
of one source sum to less than 1, as the p do, and do not depend on other texts. It is a log-linear
model (Och & Ney 2002, "Discriminative Training and Maximum Entropy Models for Statistical Machine
Translation"). The trigrams of the list take out of a listed word what any word-like string would
have: a long word is listed by chance less often than a short one, so that it is stronger evidence.
The weights and b maximise the likelihood of dev's rows: one of the candidates is right, or none.

The network's own idea of targets (its internal prior, as in a density ratio: McDermott et al. 2019)
was tried as a further feature; the weights of the trigrams have taken its part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charseq.confidence.calibration import MIN_REST
from charseq.confidence.word_list import FEATURES, WordList, damaged

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

BEAM = 20
"""Beam width with a list, at least: the right answer is often far down."""
MIN_ROWS, MIN_SOURCES = 100, 20
"""Fewer dev rows, or fewer sources, decide nothing."""
DEFAULT_WEIGHTS = (0.2, 3.5, 0.0, -0.4, 2.0)
"""For a run that was trained without a list: about the mean of what four data sets come to."""
NO_WEIGHTS = (0.0,) * (len(FEATURES) + 1)
SIGNED = (0, 1, 3)
"""Weights that are not negative: of the network's score, the frequency and the spelling of what is
not listed. A frequent word, or a text more like the words of the list, is never less likely."""
MAX_WEIGHT = 100.0
"""The largest absolute value of a weight; a fit outside is rejected."""
LEAST_SCALE = 0.05
"""The least weight of the network's own score, by which all others are divided."""
PRIOR_DEVIATION = 3.0
"""Standard deviation of the normal prior of each weight; that of the network has the mean 1."""
NEWTON_STEPS = 60
SMALLEST_GAIN = 1e-7
IMPOSSIBLE = -1e30
_KEYS = {"list", "weights", "rows", "right_before", "right_after"}


class FoundRow(NamedTuple):
    """A dev row with the candidates that the model alone has for its source."""

    source: str
    """Rows of one source are in the same half."""
    texts: Sequence[str]
    """The candidates, best first; none is truncated."""
    scores: Sequence[float]
    """Their log-probabilities."""
    right: frozenset[int]
    """The candidates that are right."""


@dataclass(frozen=True, eq=False)
class WordPrior:
    """A list of words, and how it is weighed against the scores of a network."""

    words: WordList
    weights: tuple[float, ...] = DEFAULT_WEIGHTS
    """Of the features, then b."""
    rows: int = 0
    """Dev rows that they were fitted on; 0: they are the default ones."""
    right_before: float = 0.0
    """Percent of them that the model has right."""
    right_after: float = 0.0
    """The same with the list: each half of the rows by the fit on the other half."""

    @property
    def notes(self) -> list[str]:
        """How the file of the list was read, for people; nothing for a list in a run."""
        if self.words.path is None:
            return []
        note = f"{self.words.path}: a list of {len(self.words):,} words"
        if self.words.left_out:
            note += f" ({self.words.left_out:,} rarer ones left out)"
        if not self.rows:
            note += (
                "; the run was trained without one, so it has default weights, and probabilities "
                "are not calibrated for it: evaluate with and without the list tells its gain"
            )
        return [*self.words.notes, note]

    @property
    def rest(self) -> float:
        """b: the gain of outputs that were not found."""
        return self.weights[-1]

    def gains(self, texts: Sequence[str]) -> tuple[Float[np.ndarray, "N"], Bool[np.ndarray, "N"]]:
        """The sum of the weighted features of each text, in nats, and whether it is listed."""
        features = self.words.features(texts)
        total = np.zeros(len(features))
        for column, weight in zip(features.T, self.weights, strict=False):
            total += weight * column  # a matrix product may depend on the number of rows
        return total, features[:, 1] == 0

    def to_json(self) -> dict[str, Any]:
        """All fields by name; the inverse of :meth:`from_json`."""
        numbers = {name: getattr(self, name) for name in ("rows", "right_before", "right_after")}
        return {"list": self.words.to_json(), "weights": list(self.weights), **numbers}

    @classmethod
    def from_json(cls, value: Any) -> WordPrior | None:
        """The prior from an object that may come from a stranger; None from None.

        Raises:
            CheckpointError: not an object of these fields, or a value out of its limits.
        """
        if value is None:
            return None
        if not isinstance(value, dict) or value.keys() != _KEYS:
            raise damaged(f"fields must be {', '.join(sorted(_KEYS))}")
        weights = value["weights"]
        sound = isinstance(weights, list) and len(weights) == len(NO_WEIGHTS)
        if not sound or any(
            type(one) not in (int, float) or not abs(one) <= MAX_WEIGHT for one in weights
        ):
            raise damaged(f"weights are not {len(NO_WEIGHTS)} numbers up to {MAX_WEIGHT:g}")
        if type(value["rows"]) is not int or not 0 <= value["rows"] <= 2**40:
            raise damaged("rows are no whole number")
        for name in ("right_before", "right_after"):
            if type(value[name]) not in (int, float) or not 0 <= value[name] <= 100:
                raise damaged(f"{name} is {value[name]!r:.40}, expected 0 to 100")
        return cls(
            WordList.from_json(value["list"]), tuple(map(float, weights)), value["rows"],
            float(value["right_before"]), float(value["right_after"]),
        )  # fmt: skip


def fit(
    words: WordList, rows: Sequence[FoundRow], report: Callable[[str], None] = lambda _: None
) -> WordPrior | None:
    """The list with the weights of the largest likelihood of dev's ``rows``.

    Args:
        words: the list.
        rows: dev rows with the candidates of the model alone.
        report: gets the reason where the list is not used.

    Returns:
        None where it would not help: fewer than :data:`MIN_ROWS` rows or :data:`MIN_SOURCES`
        sources, or held-out rows (each half with the fit on the other) of which no more are right.
    """
    numbers: dict[str, int] = {}
    halves = np.array([numbers.setdefault(row.source, len(numbers)) % 2 for row in rows])
    if len(rows) < MIN_ROWS or len(numbers) < MIN_SOURCES:
        least = f"expected {MIN_ROWS} rows of {MIN_SOURCES}"
        report(f"dev has {len(rows)} answered rows of {len(numbers)} sources, {least}")
        return None
    table = _Rows.of(words, rows)
    right = np.zeros(len(rows), dtype=bool)
    parts = [table.where(halves == half).fit() for half in (0, 1)]
    whole = table.fit()
    if any(not _is_sound(weights) for weights in (whole, *parts)):
        report("the answers to dev allow no sound fit")
        return None
    for half in (0, 1):
        chosen = halves == half
        right[chosen] = table.where(chosen).is_right(parts[1 - half])
    before = table.is_right(np.array([1.0, *NO_WEIGHTS]))
    after_share, before_share = 100 * float(right.mean()), 100 * float(before.mean())
    if right.sum() <= before.sum():
        shares = f"{after_share:.1f} %, without it {before_share:.1f} %"
        report(f"of {len(rows):,} rows of dev it would make right {shares}")
        return None
    weights = tuple(float(one) for one in whole[1:] / whole[0])
    return replace(
        WordPrior(words, weights), rows=len(rows), right_before=before_share,
        right_after=after_share,
    )  # fmt: skip


def _is_sound(weights: Float[np.ndarray, "W"]) -> bool:
    return bool(
        np.isfinite(weights).all()
        and weights[0] >= LEAST_SCALE
        and np.abs(weights[1:] / weights[0]).max() <= MAX_WEIGHT
    )


@dataclass(frozen=True)
class _Rows:
    """Dev rows as arrays; the last alternative of each row is that no candidate is right."""

    inputs: Float[np.ndarray, "N K W"]
    """Score of the network, features, and 1 for the last alternative, whose weight is b."""
    exists: Bool[np.ndarray, "N K"]
    right: Bool[np.ndarray, "N K"]

    @classmethod
    def of(cls, words: WordList, rows: Sequence[FoundRow]) -> _Rows:
        texts = list(dict.fromkeys(text for row in rows for text in row.texts))
        places = {text: number for number, text in enumerate(texts)}
        features = words.features(texts)
        most = max(len(row.texts) for row in rows) + 1
        inputs = np.zeros((len(rows), most, len(FEATURES) + 2))
        exists = np.zeros((len(rows), most), dtype=bool)
        right = np.zeros_like(exists)
        for number, row in enumerate(rows):
            size = len(row.texts)
            inputs[number, :size, 0] = row.scores
            inputs[number, :size, 1:-1] = features[[places[text] for text in row.texts]]
            left = max(1.0 - math.fsum(map(math.exp, row.scores)), MIN_REST)
            inputs[number, -1, 0], inputs[number, -1, -1] = math.log(left), 1.0
            exists[number, :size] = exists[number, -1] = True
            right[number, sorted(row.right) or [-1]] = True
        return cls(inputs, exists, right)

    def where(self, chosen: Bool[np.ndarray, "N"]) -> _Rows:
        return _Rows(self.inputs[chosen], self.exists[chosen], self.right[chosen])

    def is_right(self, weights: Float[np.ndarray, "W"]) -> Bool[np.ndarray, "N"]:
        """Whether the best candidate of each row is right; of equal ones the first."""
        logits = np.where(self.exists, self.inputs @ weights, -np.inf)[:, :-1]
        best = logits.argmax(axis=1)
        found: np.ndarray = self.right[np.arange(len(best)), best] & self.exists[:, :-1].any(axis=1)
        return found

    def fit(self) -> Float[np.ndarray, "W"]:
        """The weights of the largest likelihood; one of the wrong sign is 0, the worst first."""
        active = np.ones(self.inputs.shape[2], dtype=bool)
        while True:
            point = np.zeros(len(active))
            point[active] = _Rows(self.inputs[:, :, active], self.exists, self.right).minimum()
            wrong = min(SIGNED, key=lambda weight: float(point[weight]))
            if wrong == 0 or point[wrong] >= 0:
                return point
            active[wrong] = False

    def minimum(self) -> Float[np.ndarray, "A"]:
        """The weights of the largest likelihood, by Newton's method."""
        point = np.zeros(self.inputs.shape[2])
        point[0] = 1.0
        assumed, least = point, np.full(len(point), PRIOR_DEVIATION**-2)
        now, gradient, curvature = self._loss(point)
        for _ in range(NEWTON_STEPS):
            gradient = gradient + least * (point - assumed)
            step = np.linalg.solve(curvature + np.diag(least), gradient)
            before = now + 0.5 * float((least * (point - assumed) ** 2).sum())
            size = 1.0
            while True:
                tried = point - size * step
                now, gradient, curvature = self._loss(tried)
                after = now + 0.5 * float((least * (tried - assumed) ** 2).sum())
                if after <= before or size < SMALLEST_GAIN:
                    break
                size /= 2
            if not after < before:
                break
            point = tried
            if before - after < SMALLEST_GAIN * before:
                break
        return point

    def _loss(
        self, weights: Float[np.ndarray, "W"]
    ) -> tuple[float, Float[np.ndarray, "W"], Float[np.ndarray, "W W"]]:
        """Negative log-likelihood, its gradient, and a bound of its curvature.

        Where several candidates are right, the curvature is that of all alternatives alone, which
        keeps it positive.
        """
        logits = np.where(self.exists, self.inputs @ weights, IMPOSSIBLE)
        came = np.where(self.right, logits, IMPOSSIBLE)
        totals, parts = (np.logaddexp.reduce(one, axis=1) for one in (logits, came))
        shares = np.exp(logits - totals[:, None])
        among = np.exp(came - parts[:, None])
        means = (shares[:, :, None] * self.inputs).sum(axis=1)
        gradient = means.sum(axis=0) - (among[:, :, None] * self.inputs).sum(axis=(0, 1))
        squares = np.einsum("nk,nki,nkj->ij", shares, self.inputs, self.inputs)
        return float((totals - parts).sum()), gradient, squares - means.T @ means
