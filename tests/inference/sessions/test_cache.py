"""The cache against its formula, written out word by word."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charseq.inference.sessions import cache as module
from charseq.inference.sessions.cache import HALF, SHARE, SHARPNESS, ContinuousCache

RANDOM = np.random.default_rng(3)
CONTEXTS = RANDOM.normal(size=(40, 6)).astype(np.float32)
WORDS = [int(word) for word in RANDOM.integers(0, 9, 40)]


def filled(count: int = 40) -> ContinuousCache:
    cache = ContinuousCache(6)
    cache.add(CONTEXTS[: count // 2], WORDS[: count // 2])
    cache.add(CONTEXTS[count // 2 : count], WORDS[count // 2 : count])
    return cache


def by_hand(context: np.ndarray, words: list[int], contexts: np.ndarray, size: int) -> np.ndarray:
    weights = [
        math.exp(SHARPNESS * float(one @ context) / (np.linalg.norm(one) * np.linalg.norm(context)))
        for one in contexts.astype(np.float64)
    ]
    found = np.zeros(size)
    for word, weight in zip(words, weights, strict=True):
        found[word] += weight
    return found / sum(weights)


def test_probabilities_are_those_of_the_formula() -> None:
    context = RANDOM.normal(size=6).astype(np.float32)
    found = filled().probabilities(context, 12)
    np.testing.assert_allclose(found, by_hand(context, WORDS, CONTEXTS, 12), rtol=1e-4)
    assert found.sum() == pytest.approx(1)
    # the length of a vector does not count
    np.testing.assert_allclose(filled().probabilities(9 * context, 12), found, rtol=1e-4)


def test_the_mixture_is_a_distribution_over_known_and_new_words() -> None:
    logs = np.log(np.full(5, 0.2, np.float32))
    logs[0] = -np.inf
    logs[1] = math.log(0.4)
    cache, context = filled(), CONTEXTS[3]
    mixed = cache.mixed(logs, context, 9)
    share = SHARE * 40 / (40 + HALF)
    assert cache.share == pytest.approx(share)
    wanted = share * by_hand(context, WORDS, CONTEXTS, 9)
    wanted[:5] += (1 - share) * np.exp(logs.astype(np.float64))
    np.testing.assert_allclose(np.exp(mixed), wanted, rtol=1e-4)
    assert np.exp(mixed).sum() == pytest.approx(1)
    for word in range(5):
        one = cache.mixed_one(float(logs[word]), context, word)
        assert one == pytest.approx(float(mixed[word]))


def test_an_empty_cache_leaves_the_network_alone() -> None:
    logs = np.log(np.array([0.5, 0.25, 0.25], np.float32))
    cache = ContinuousCache(6)
    np.testing.assert_allclose(cache.mixed(logs, CONTEXTS[0], 4)[:3], logs, rtol=1e-6)
    assert cache.mixed(logs, CONTEXTS[0], 4)[3] == -np.inf
    assert cache.mixed_one(float(logs[0]), CONTEXTS[0], 0) == pytest.approx(math.log(0.5))


def test_the_oldest_words_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPACITY", 15)
    cache = filled()
    assert cache.words.tolist() == WORDS[-15:]
    found = cache.probabilities(CONTEXTS[0], 9)
    np.testing.assert_allclose(
        found, by_hand(CONTEXTS[0], WORDS[-15:], CONTEXTS[-15:], 9), rtol=1e-4
    )


def test_a_vector_of_zeros_is_a_context_like_any() -> None:
    cache = ContinuousCache(6)
    cache.add(np.zeros((2, 6), np.float32), [1, 1])
    assert cache.probabilities(np.zeros(6, np.float32), 3).tolist() == [0, 1, 0]
