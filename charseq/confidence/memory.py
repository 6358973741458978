"""Memory: source -> its targets and their counts in training, beside the answers of the model.

Most tokens of running text were seen in training, and how often each was rewritten to what is known
better by counting than by any network. For a source with the counts n_t of its targets t, n in all,
and the model's probabilities p_t::

    P_t = (n_t + a p_t) / (n + a)

which is the estimate under a Dirichlet prior with the model's answers as its mean (MacKay and Peto
1995, "A hierarchical Dirichlet language model"). So a source that was seen often has the shares of
its targets, one that was seen once is weighed against the model, and one that was never seen has
the model's answer. The P of one source sum to at most 1, as the p do. The strength a maximises the
likelihood of the dev rows whose source was seen; held-out rows (each half with the fit on the
other) decide whether there is a memory at all.

Nothing here knows a network, so all engines and ensembles remember the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charseq.errors import CheckpointError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from charseq.data.text.vocabulary import Vocabulary

MAX_CHARACTERS = 2**20
"""Characters of the stored entries, about 50,000 words; of more, those seen most often are kept."""
MAX_COUNT = 1e15
MIN_ROWS, MIN_SOURCES = 100, 20
"""Fewer dev rows with a known source, or fewer such sources, decide nothing."""
STRENGTHS: tuple[float, ...] = tuple(0.01 * 2.0 ** (step / 4) for step in range(53))
"""Values of a that are tried: 0.01 to 82."""
LEAST = 1e-6
"""Least probability of what came, in the likelihood."""
_KEYS = {"strength", "rows", "right_before", "right_after", "left_out", "entries"}

Targets = Mapping[str, float]
"""Target -> its count, the largest first."""


class SeenRow(NamedTuple):
    """A dev row whose source was seen in training."""

    key: str
    """Rows of one source are in the same half."""
    model: Mapping[str, float]
    """The model's answers and their probabilities, best first."""
    target: str
    right: frozenset[str]
    """Every answer to the source that counts as right."""


@dataclass(frozen=True, eq=False)
class Memory:
    """The targets of the sources that were seen in training, and how they are weighed."""

    entries: Mapping[str, Targets]
    """By :func:`key_of` a source and its features."""
    left_out: int = 0
    """Sources that were seen, but are not kept."""
    strength: float = 1.0
    """a: so many occurrences the model's word is worth."""
    rows: int = 0
    """Dev rows that it was fitted on."""
    right_before: float = 0.0
    """Percent of them that the model has right."""
    right_after: float = 0.0
    """The same with the memory: each half of the rows by the fit on the other half."""

    @classmethod
    def count(
        cls, pairs: Iterable[tuple[str, str, float]], *, most: int = MAX_CHARACTERS
    ) -> Memory:
        """The memory of pairs: key of the source, target as the model would write it, count.

        The sources with the largest counts are kept, as many as ``most`` characters hold, and of
        equal ones the first. A text with a tab or line end is not kept.
        """
        found: dict[str, dict[str, float]] = {}
        for key, target, count in pairs:
            if key.count("\t") == 1 and "\t" not in target and "\n" not in key + target:
                targets = found.setdefault(key, {})
                targets[target] = targets.get(target, 0.0) + count
        kept: dict[str, Targets] = {}
        size = 0
        for key, targets in sorted(found.items(), key=lambda item: -math.fsum(item[1].values())):
            ordered = _ordered(targets)
            size += len(_line(key, ordered)) + 1
            if size > most:
                break
            kept[key] = ordered
        return cls(kept, len(found) - len(kept))

    def find(self, key: str) -> Targets:
        """The targets of a source and their counts; none where it is not known."""
        return self.entries.get(key, {})

    def mixed(self, key: str, model: Mapping[str, float]) -> dict[str, float]:
        """The probability of every answer of the memory or the model, best first.

        ``model``: the model's answers and their probabilities, which sum to at most 1. Equal ones
        keep their order, those of the memory first.
        """
        return mix(self.find(key), model, self.strength)

    def to_json(self) -> dict[str, Any]:
        """All fields by name; the inverse of :meth:`from_json`. The entries are one text."""
        lines = (_line(key, targets) for key, targets in self.entries.items())
        numbers = {name: getattr(self, name) for name in sorted(_KEYS - {"entries"})}
        return {**numbers, "entries": "\n".join(lines)}

    @classmethod
    def from_json(cls, value: Any) -> Memory | None:
        """The memory from an object that may come from a stranger; None from None.

        Raises:
            CheckpointError: not an object of these fields, or a value out of its limits.
        """
        if value is None:
            return None
        if not isinstance(value, dict) or value.keys() != _KEYS:
            raise _damaged(f"must have {', '.join(sorted(_KEYS))}")
        limits = {
            "strength": (0, MAX_COUNT),
            "right_before": (0, 100),
            "right_after": (0, 100),
        }
        for name, (least, most) in limits.items():
            if type(value[name]) not in (int, float) or not least <= value[name] <= most:
                raise _damaged(f"{name} is {value[name]!r:.40}, expected {least} to {most:g}")
        for name in ("rows", "left_out"):
            if type(value[name]) is not int or not 0 <= value[name] <= MAX_COUNT:
                raise _damaged(f"{name} is {value[name]!r:.40}, expected a whole number")
        if not value["strength"]:
            raise _damaged("strength is 0, expected more")
        text = value["entries"]
        if not isinstance(text, str) or not text or len(text) > MAX_CHARACTERS:
            raise _damaged(f"entries are no text of at most {MAX_CHARACTERS:,} characters")
        entries = dict(map(_entry, text.split("\n")))
        if len(entries) != text.count("\n") + 1:
            raise _damaged("entries have a source twice")
        numbers = {name: float(value[name]) for name in limits}
        return cls(entries, rows=value["rows"], left_out=value["left_out"], **numbers)


def mix(counts: Targets, model: Mapping[str, float], strength: float) -> dict[str, float]:
    """The probability of every target of ``counts`` and every answer of the model, best first.

    ``model`` and the order are as in :meth:`Memory.mixed`.
    """
    total = math.fsum(counts.values()) + strength
    found = {
        text: (counts.get(text, 0.0) + strength * model.get(text, 0.0)) / total
        for text in dict.fromkeys([*counts, *model])
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def key_of(vocabulary: Vocabulary, source: str, features: str) -> str:
    """Source and features as one text, in the form in which the model reads them."""
    from charseq.data.text.normalise import normalise

    parts = vocabulary.split_features(features) if features else ()
    return f"{normalise(source, vocabulary.form)}\t{vocabulary.feature_separator.join(parts)}"


def written(vocabulary: Vocabulary, target: str) -> str:
    """A target as the model would write it; unchanged where it cannot."""
    from charseq.data.text.vocabulary import UNK

    ids = vocabulary.encode(target)
    return target if UNK in ids else vocabulary.decode(ids)


def fit(
    memory: Memory, rows: Sequence[SeenRow], report: Callable[[str], None] = lambda _: None
) -> Memory | None:
    """The memory with the weights of the largest likelihood of dev's ``rows``.

    Args:
        memory: with its entries.
        rows: the dev rows whose source is among these.
        report: gets the reason where there is no memory.

    Returns:
        None where it would not help: fewer than :data:`MIN_ROWS` rows or :data:`MIN_SOURCES`
        sources, or held-out rows of which no more are right, or as many and no likelier.
    """
    numbers: dict[str, int] = {}
    halves = np.array([numbers.setdefault(row.key, len(numbers)) % 2 for row in rows])
    if len(rows) < MIN_ROWS or len(numbers) < MIN_SOURCES:
        least = f"expected {MIN_ROWS} rows of {MIN_SOURCES}"
        report(f"{len(rows)} rows of dev have one of {len(numbers)} sources of train, {least}")
        return None
    table = _Rows.of(memory, rows)
    right, loss = np.zeros(len(rows), dtype=bool), 0.0
    for half in (0, 1):
        strength = table.fit(halves != half)
        loss += float(table.losses(strength)[halves == half].sum())
        weighed = replace(memory, strength=strength)
        for number in np.flatnonzero(halves == half).tolist():
            best = next(iter(weighed.mixed(rows[number].key, rows[number].model)))
            right[number] = best in rows[number].right
    before = [next(iter(row.model), "") in row.right for row in rows]
    model = float(-np.log(np.maximum(table.model, LEAST)).sum())
    gain = int(right.sum()) - sum(before)
    if gain < 0 or (not gain and loss >= model):
        shares = f"{100 * right.mean():.1f} %, without it {100 * np.mean(before):.1f} %"
        report(f"of {len(rows):,} rows of dev with sources of train it would make right {shares}")
        return None
    return replace(
        memory,
        strength=table.fit(slice(None)),
        rows=len(rows),
        right_before=100 * float(np.mean(before)),
        right_after=100 * float(right.mean()),
    )


@dataclass(frozen=True)
class _Rows:
    """Dev rows as arrays: all that their likelihood depends on."""

    total: Float[np.ndarray, "N"]
    """Occurrences of the source."""
    count: Float[np.ndarray, "N"]
    """Those with the row's target; 0 where neither the memory nor the model has it."""
    model: Float[np.ndarray, "N"]
    """The model's probability of the target; of all that it did not find where it is not there."""

    @classmethod
    def of(cls, memory: Memory, rows: Sequence[SeenRow]) -> _Rows:
        known = [memory.find(row.key) for row in rows]
        model = [
            row.model.get(row.target, 0.0 if row.target in counts else _left(row.model))
            for row, counts in zip(rows, known, strict=True)
        ]
        return cls(
            np.array([math.fsum(counts.values()) for counts in known]),
            np.array([c.get(row.target, 0.0) for row, c in zip(rows, known, strict=True)]),
            np.array(model),
        )

    def losses(self, strength: float) -> Float[np.ndarray, "N"]:
        """The negative log-likelihood of each row by the memory with this strength."""
        chances = (self.count + strength * self.model) / (self.total + strength)
        losses: np.ndarray = -np.log(np.maximum(chances, LEAST))
        return losses

    def fit(self, chosen: Bool[np.ndarray, "N"] | slice) -> float:
        """The strength of the largest likelihood of the chosen rows."""
        return min(STRENGTHS, key=lambda one: float(self.losses(one)[chosen].sum()))


def _left(model: Mapping[str, float]) -> float:
    """The probability of all answers that the model did not find."""
    return max(1.0 - math.fsum(model.values()), 0.0)


def _ordered(targets: Mapping[str, float]) -> Targets:
    return dict(sorted(targets.items(), key=lambda item: -item[1]))


def _line(key: str, targets: Targets) -> str:
    """Source, features, then each target and its count, by tabs; the inverse of :func:`_entry`."""
    cells = ((text, f"{count:.6g}") for text, count in targets.items())
    return "\t".join([key, *(cell for pair in cells for cell in pair)])


def _entry(line: str) -> tuple[str, Targets]:
    source, *cells = line.split("\t")
    if not source or len(cells) < 3 or len(cells) % 2 == 0:
        raise _damaged("entries must have a source, features, targets and counts")
    targets = {}
    for text, number in zip(cells[1::2], cells[2::2], strict=True):
        try:
            count = float(number)
        except ValueError:
            count = math.nan
        if not 0 < count <= MAX_COUNT or text in targets:
            raise _damaged("entries must have different targets with counts above 0")
        targets[text] = count
    return f"{source}\t{cells[0]}", _ordered(targets)


def _damaged(what: str) -> CheckpointError:
    return CheckpointError(f"is damaged: the memory's {what}")
