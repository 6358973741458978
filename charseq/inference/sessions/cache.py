"""words written, contexts -> probabilities of words to come: a continuous cache.

The cache of Grave et al. (2017, https://arxiv.org/abs/1612.04426), without training. Of each word
that was written it keeps the vector r from which the network predicted it. A word that was written
in contexts like the present one becomes likely:

    s_i      = cos(r, r_i)                      similarity of the present context and of word i's
    P_c(w)   = Σ exp(θ s_i) [w_i = w] / Σ exp(θ s_i)
    λ        = Λ n / (n + n_0)                  the more words n there are, the more they weigh
    P(w)     = (1 - λ) P_network(w) + λ P_c(w)

The published cache takes the product of the vectors, whose scale differs from model to model; the
cosine does not need a θ for each. Λ, θ, n_0 and the capacity were chosen on dev splits, see
docs/measured/accuracy.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int

CAPACITY = 5000
"""Words that are kept; the oldest are forgotten."""
SHARPNESS = 12.0
"""θ: how much a similar context counts more than another."""
SHARE = 0.12
"""Λ: the most that the cache weighs."""
HALF = 500
"""n_0: words at which the cache weighs half of that."""


class ContinuousCache:
    """The last ``CAPACITY`` words and the contexts in which they were written.

    A word is a number: the id of a symbol, or any number that the caller gives to a further word.
    """

    def __init__(self, size: int) -> None:
        """``size``: numbers of a vector r."""
        self.words: Int[np.ndarray, "N"] = np.empty(0, dtype=np.int64)
        """The oldest first."""
        self._contexts: Float32[np.ndarray, "N E"] = np.empty((0, size), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.words)

    @property
    def share(self) -> float:
        """λ: the share of the cache in the mixture."""
        return SHARE * len(self) / (len(self) + HALF)

    def add(self, contexts: Float32[np.ndarray, "T E"], words: Sequence[int]) -> None:
        """Words in the order of the text, and the vector r before each of them."""
        added = np.asarray(words, dtype=np.int64)
        self.words = np.concatenate([self.words, added])[-CAPACITY:]
        self._contexts = np.concatenate([self._contexts, _unit(contexts)])[-CAPACITY:]

    def probabilities(
        self, context: Float32[np.ndarray, "E"], size: int
    ) -> Float64[np.ndarray, "W"]:
        """P_c of the words 0 to ``size`` - 1 in a context; all are 0 while the cache is empty."""
        weights = self._weights(context)
        found: Float64[np.ndarray, "W"] = np.bincount(self.words, weights, minlength=size)
        return found.astype(np.float64)  # whole numbers where there are no words

    def mixed(
        self, logs: Float32[np.ndarray, "V"], context: Float32[np.ndarray, "E"], size: int
    ) -> Float64[np.ndarray, "W"]:
        """Logarithms of P for the words 0 to ``size`` - 1, of which the network knows the first V.

        Args:
            logs: the network's log-probabilities in this context.
            context: the vector r.
            size: one more than the largest word; at least V.
        """
        found = self.share * self.probabilities(context, size)
        found[: len(logs)] += (1 - self.share) * np.exp(logs.astype(np.float64))
        with np.errstate(divide="ignore"):  # PAD and BOS are never predicted
            np.log(found, out=found)
        return found

    def mixed_one(self, log: float, context: Float32[np.ndarray, "E"], word: int) -> float:
        """The logarithm of P of one word, whose log-probability by the network is ``log``."""
        own = float(self._weights(context)[self.words == word].sum())
        return math.log(self.share * own + (1 - self.share) * math.exp(log))

    def _weights(self, context: Float32[np.ndarray, "E"]) -> Float64[np.ndarray, "N"]:
        """How much each word of the cache counts in a context; their sum is 1."""
        similar = (self._contexts @ _unit(context[None])[0]).astype(np.float64)
        weights: Float64[np.ndarray, "N"] = np.exp(SHARPNESS * (similar - 1))
        weights /= weights.sum() or 1.0
        return weights


def _unit(vectors: Float32[np.ndarray, "T E"]) -> Float32[np.ndarray, "T E"]:
    """The vectors at length 1; zero stays zero."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    found: Float32[np.ndarray, "T E"] = vectors / np.maximum(lengths, np.float32(1e-12))
    return found
