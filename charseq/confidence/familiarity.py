"""How familiar a source is: its character n-grams and its length against those of the training.

A model has an answer to every source, also to one of a kind that it was never taught, and its own
score says little there. A character trigram model of the training's sources tells: the surprise of
a symbol is -log p(symbol | two before it), in nats, where with n(.) the counts in the training's
sources and a = ``BACKOFF``::

    p1(c) = (n(c) + a0 p0) / (n + a0),   p2(c | b) = (n(bc) + a p1(c)) / (n(b) + a),
    p3(c | ab) = (n(abc) + a p2(c | b)) / (n(ab) + a)

which is Witten and Bell's interpolation with a constant. :data:`FEATURES` says what is taken of
it. A logistic regression on these features between dev's sources and strangers (see
:mod:`charseq.confidence.strangers`) gives the familiarity, 0 to 1. Nothing here knows a network, so
that all engines and ensembles have the same numbers, and the numbers of a text do not depend on
other texts.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charseq.confidence import logistic
from charseq.errors import CheckpointError

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8, UInt32, UInt64

MAX_NGRAMS = 28_000
"""N-grams of a model, the most frequent ones: five bytes each, in base64 187 kilobytes."""
MAX_TEXTS = 200_000
"""Sources, evenly spread over the training's, that are counted."""
START, END = "\x02", "\x03"
"""Symbols before (two) and after a text."""
BACKOFF = 2.0
UNIGRAM_BACKOFF = 1.0
UNSEEN = 1e-5
"""p0: the probability of a character that was never seen."""
CODES_PER_OCTAVE = 10
"""Counts are stored as round(10 log2(count + 1)), in one byte: within 3.5 %, up to 47 million."""
WINDOW = 3
"""Symbols next to each other whose mean surprise is compared: one odd place in a long text."""
FEATURES = ("surprise", "strangest", "long", "short")
"""Mean surprise of a text's symbols; that of its strangest three in a row; both as nats above the
median of dev. The logarithm of its length over the 99.5th percentile of dev's, and of the 0.5th
percentile over its length. Each is 0 where it would be negative."""
MAX_FEATURE = 20.0
TABLES = ("keys", "counts")
"""Fields of the stored form that are tables in base64."""
MAX_CHARACTERS = 2**40
MEDIAN, LONGEST, SHORTEST = 0.5, 0.995, 0.005
HASH_BITS = 22
_MIXERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
"""Odd numbers that spread n-grams over ``HASH_BITS``."""


class Surprise(NamedTuple):
    """Of each text, in nats."""

    mean: Float[np.ndarray, "N"]
    strangest: Float[np.ndarray, "N"]
    """The largest mean of ``WINDOW`` symbols in a row."""
    length: Int[np.ndarray, "N"]
    """Characters of the text."""


@dataclass(frozen=True, eq=False)
class Ngrams:
    """Counts of the n-grams of up to three characters of the training's sources."""

    keys: UInt32[np.ndarray, "M"]
    """Hashes of n-grams below 2^22, in order. They are the places of the counts in a table: one
    n-gram of 150 that were never seen is taken for one of 28,000 that were."""
    codes: UInt8[np.ndarray, "M"]
    """Their counts; see ``CODES_PER_OCTAVE``."""
    symbols: int
    """Characters and ends of texts that were counted."""

    @classmethod
    def count(cls, texts: Sequence[str]) -> Ngrams:
        """The n-grams of ``texts``; of too many the rarest are left out."""
        chosen = texts[:: -(-len(texts) // MAX_TEXTS) or 1]
        joined = _Joined.of(chosen)
        hashes = np.concatenate(
            [part[at] for part, at in zip(joined.hashes(), joined.counted, strict=True)]
        )
        keys, number = np.unique(hashes, return_counts=True)
        kept = np.sort(np.argsort(-number, kind="stable")[:MAX_NGRAMS])
        codes = np.rint(CODES_PER_OCTAVE * np.log2(number[kept] + 1.0))
        symbols = int(joined.events.sum())
        return cls(keys[kept], np.minimum(codes, 255).astype(np.uint8), symbols)

    def surprise(self, texts: Sequence[str]) -> Surprise:
        """How surprising each text is."""
        joined = _Joined.of(texts)
        counts = [self._counts(hashes) for hashes in joined.hashes()]
        # the count of the n-gram that ends one symbol earlier: the context
        single, double = (np.concatenate([[0.0], part[:-1]]) for part in counts[:2])
        chance = (counts[0] + UNIGRAM_BACKOFF * UNSEEN) / (self.symbols + UNIGRAM_BACKOFF)
        for count, context in ((counts[1], single), (counts[2], double)):
            # a rounded count may exceed that of its context
            chance = np.minimum((count + BACKOFF * chance) / (context + BACKOFF), 1.0)
        nats = np.where(joined.events, -np.log(chance), 0.0)
        before = np.concatenate([np.zeros(WINDOW - 1), nats])
        windows: np.ndarray = np.zeros(len(nats))
        for shift in range(WINDOW):
            windows += before[shift : shift + len(nats)] / WINDOW
        windows[~joined.events] = 0.0  # there they reach into the text before
        sizes = joined.sizes + 1  # END is an event too
        return Surprise(
            np.add.reduceat(nats, joined.starts) / sizes,
            np.maximum.reduceat(windows, joined.starts),
            joined.sizes,
        )

    def to_json(self) -> dict[str, Any]:
        """Symbols, and both tables in base64; the inverse of :meth:`from_json`."""
        return {
            "symbols": self.symbols,
            "keys": base64.b64encode(self.keys.astype("<u4").tobytes()).decode(),
            "counts": base64.b64encode(self.codes.tobytes()).decode(),
        }

    @classmethod
    def from_json(cls, value: Any, owner: str) -> Ngrams:
        """The n-grams from an object that may come from a stranger; ``owner`` is named in errors.

        Raises:
            CheckpointError: not an object of these fields, or a value out of its limits.
        """
        if not isinstance(value, dict) or value.keys() != {"symbols", *TABLES}:
            raise _damaged(f"n-grams must have symbols, {', '.join(TABLES)}", owner)
        symbols = value["symbols"]
        if type(symbols) is not int or not 1 <= symbols <= MAX_CHARACTERS:
            raise _damaged(f"symbols is {symbols!r:.40}, expected a number of characters", owner)
        keys, codes = (_bytes(value[name], name, owner) for name in TABLES)
        found = cls(np.frombuffer(keys, "<u4"), np.frombuffer(codes, np.uint8), symbols)
        size = len(found.codes)
        if len(found.keys) != size or (found.keys[1:] <= found.keys[:-1]).any():
            raise _damaged("keys must be in order, one for each count", owner)
        if found.keys[-1] >= 2**HASH_BITS:
            raise _damaged(f"keys must be below 2^{HASH_BITS}", owner)
        return found

    @cached_property
    def _values(self) -> Float[np.ndarray, "256"]:
        return np.exp2(np.arange(256) / CODES_PER_OCTAVE) - 1

    @cached_property
    def _table(self) -> UInt8[np.ndarray, "2**22"]:
        table = np.zeros(2**HASH_BITS, dtype=np.uint8)
        table[self.keys] = self.codes
        return table

    def _counts(self, hashes: UInt32[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
        counts: np.ndarray = self._values[self._table[hashes]]
        return counts


class _Joined(NamedTuple):
    """Texts with their starts and ends, one after the other, as characters."""

    characters: UInt64[np.ndarray, "C"]
    starts: Int[np.ndarray, "N"]
    """Where each text begins: its first START."""
    sizes: Int[np.ndarray, "N"]
    """Characters of each text, without starts and end."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Joined:
        whole = "".join([f"{START}{START}{text}{END}" for text in texts])
        characters = np.frombuffer(whole.encode("utf-32-le", "surrogatepass"), np.uint32)
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        starts = np.cumsum(sizes + 3) - (sizes + 3)
        return cls(characters.astype(np.uint64), starts, sizes)

    @property
    def events(self) -> Any:
        """Whether a position is a character or the end of a text, not one of its starts."""
        events = np.ones(len(self.characters), dtype=np.bool_)
        events[self.starts] = events[self.starts + 1] = False
        return events

    @property
    def counted(self) -> tuple[Any, Any, Any]:
        """Where an n-gram of each order may end: contexts need one START, and two."""
        inner = np.ones(len(self.characters), dtype=np.bool_)
        inner[self.starts] = False
        return inner, inner, self.events

    def hashes(self) -> list[UInt32[np.ndarray, "C"]]:
        """Hashes of the one, two and three characters that end at each position."""
        found, mixed = [], np.zeros(len(self.characters), dtype=np.uint64)
        for order in range(3):
            shifted = np.zeros_like(self.characters)
            shifted[order:] = self.characters[: len(shifted) - order]
            mixed = mixed + (shifted + np.uint64(1)) * np.uint64(_MIXERS[order])
            spread = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(_MIXERS[3])
            found.append((spread >> np.uint64(64 - HASH_BITS)).astype(np.uint32))
        return found


@dataclass(frozen=True, eq=False)
class Familiarity:
    """The n-grams of a run's sources, what is ordinary among dev's, and the weights."""

    ngrams: Ngrams
    surprise: float
    """Median over dev of the mean surprise."""
    strangest: float
    """Median over dev of the strangest part's surprise."""
    longest: int
    """99.5th percentile over dev of the length in characters."""
    shortest: int
    """0.5th percentile of the same."""
    weights: tuple[float, ...] = (0.0,) * (len(FEATURES) + 1)
    """Of the features, then the intercept: the logit of the familiarity."""

    @classmethod
    def of(cls, ngrams: Ngrams, ordinary: Sequence[str]) -> Familiarity:
        """With what is ordinary among dev's sources ``ordinary``; without weights."""
        found = ngrams.surprise(ordinary)
        longest, shortest = (np.quantile(found.length, q) for q in (LONGEST, SHORTEST))
        return cls(
            ngrams,
            float(np.quantile(found.mean, MEDIAN)),
            float(np.quantile(found.strangest, MEDIAN)),
            max(math.ceil(longest), 1),
            max(math.floor(shortest), 1),
        )

    def features(self, texts: Sequence[str]) -> Float[np.ndarray, "N F"]:
        """The :data:`FEATURES` of each text."""
        if not texts:
            return np.zeros((0, len(FEATURES)))
        found = self.ngrams.surprise(texts)
        length = np.log(np.maximum(found.length, 1))
        columns = [
            found.mean - self.surprise,
            found.strangest - self.strangest,
            length - math.log(self.longest),
            math.log(self.shortest) - length,
        ]
        clipped: np.ndarray = np.clip(np.stack(columns, axis=1), 0.0, MAX_FEATURE)
        return clipped

    def of_features(self, features: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N"]:
        """Familiarity of texts with these features, 0 to 1."""
        return logistic.chances(features, self.weights)

    def to_json(self) -> dict[str, Any]:
        """All fields by name; the inverse of :meth:`from_json`."""
        return {
            **self.ngrams.to_json(),
            "surprise": self.surprise,
            "strangest": self.strangest,
            "longest": self.longest,
            "shortest": self.shortest,
            "weights": list(self.weights),
        }

    @classmethod
    def from_json(cls, value: Any) -> Familiarity:
        """The familiarity from an object that may come from a stranger.

        Raises:
            CheckpointError: not an object of these fields, or a value out of its limits.
        """
        numbers = {"longest", "shortest"}
        parts = {"symbols", *TABLES}
        names = numbers | parts | {"surprise", "strangest", "weights"}
        if not isinstance(value, dict) or value.keys() != names:
            raise _damaged(f"must have {', '.join(sorted(names))}")
        for name in ("surprise", "strangest"):
            if type(value[name]) not in (int, float) or not 0 <= value[name] <= 1000:
                raise _damaged(f"{name} is {value[name]!r:.40}, expected a number of nats")
        for name in sorted(numbers):
            if type(value[name]) is not int or not 1 <= value[name] <= MAX_CHARACTERS:
                raise _damaged(f"{name} is {value[name]!r:.40}, expected a number of characters")
        weights = logistic.weights_from_json(value["weights"], len(FEATURES) + 1, "familiarity")
        ngrams = Ngrams.from_json({name: value[name] for name in parts}, "familiarity")
        return cls(
            ngrams, float(value["surprise"]), float(value["strangest"]), value["longest"],
            value["shortest"], weights,
        )  # fmt: skip


def _bytes(value: Any, name: str, owner: str) -> bytes:
    try:
        content = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        content = b""
    if not content or len(content) > 4 * MAX_NGRAMS or (name == "keys" and len(content) % 4):
        raise _damaged(f"{name} are no table of at most {MAX_NGRAMS:,} n-grams", owner)
    return content


def _damaged(what: str, owner: str = "familiarity") -> CheckpointError:
    return CheckpointError(f"is damaged: the {owner}'s {what}")
