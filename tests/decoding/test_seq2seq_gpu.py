"""The network of a GPU, run on a CPU, against the one without torch: equal outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from charseq.config import Config, configure
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import EOS, SPECIALS
from charseq.decoding import search, seq2seq_gpu
from charseq.decoding.ensemble import direction_groups, join, member_of
from charseq.decoding.search import Hypothesis, Searcher
from charseq.decoding.seq2seq_gpu import GpuEnsemble
from charseq.models import factory

SOURCES, TARGETS = 12, 9
CPU = torch.device("cpu")
Weights = dict[str, np.ndarray]


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seq2seq_gpu, "MAX_ROWS", 24)


def build(**options: Any) -> tuple[Config, Weights]:
    """Settings and weights; embeddings are doubled, so that outputs differ."""
    torch.manual_seed(0)
    sizes = {"hidden": 16, "embedding": 8, "layers": 1}
    config = configure({**sizes, "direction": "forward", **options})
    targets = Actions(TARGETS).size if config.attention == "hard" else TARGETS

    def single(one: Config) -> Weights:
        prior = None
        if one.attention == "hard":
            prior = np.random.default_rng(1).normal(size=(SOURCES, targets)).astype(np.float32)
        model = factory.build(one, sources=SOURCES, targets=targets, prior=prior)
        return {
            name: value.numpy() * (2 if "embedding" in name else 1)
            for name, value in model.state_dict().items()
        }

    if config.ensemble == 1:
        return config, single(config)
    return config, join([single(member_of(config, k)) for k in range(config.ensemble)])


def texts(config: Config, count: int = 15) -> tuple[list[list[int]], list[int]]:
    """Sources of 5 to 8 ids, with hard attention features behind EOS; and limits."""
    random = np.random.default_rng(3)
    rows = [
        random.integers(SPECIALS, SOURCES, random.integers(5, 9)).tolist() for _ in range(count)
    ]
    if config.attention == "hard":
        rows = [[*row[:-2], EOS, row[-1]] for row in rows]
    return rows, random.integers(2, 12, count).tolist()


def united(config: Config, weights: Weights) -> GpuEnsemble:
    """The network of the only direction_group."""
    made = lambda configs, parts: GpuEnsemble(configs, parts, CPU)  # noqa: E731
    (direction_group,) = direction_groups(config, weights, made)
    assert isinstance(direction_group.network, GpuEnsemble)
    return direction_group.network


def on_cpu(
    config: Config, weights: Weights, sources: list[list[int]], limits: list[int], width: int
) -> list[list[Hypothesis]]:
    (direction_group,) = direction_groups(config, weights)
    network: Any = direction_group.network
    state = network.start(sources)
    if width == 1:
        return [[one] for one in search.greedy(network, state, limits)]
    return search.beam(network, state, limits, width=width)


def outputs(found: list[list[Hypothesis]]) -> list[list[tuple[tuple[int, ...], bool]]]:
    return [[(one.ids, one.truncated) for one in text] for text in found]


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"attention": "soft", "cell": "gru", "layers": 2},
        {"attention": "hard", "cell": "lstm"},
        {"attention": "none", "cell": "residual", "tied": False},
        {"attention": "hard", "cell": "tanh", "ensemble": 2},
        {"attention": "soft", "ensemble": 2, "cells": "gru,lstm"},
    ],
)
def test_it_writes_what_the_network_without_torch_writes(
    options: dict[str, Any], width: int
) -> None:
    config, weights = build(**options)
    sources, limits = texts(config)
    network = united(config, weights)
    wanted = on_cpu(config, weights, sources, limits, width)
    found = network.search(sources, limits, width=width)
    assert outputs(found) == outputs(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose([a.score for a in one], [b.score for b in other], atol=1e-4)
    assert len({one.ids for text in found for one in text}) > 1
    assert isinstance(network, Searcher)


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("attention", ["soft", "hard"])
def test_the_same_text_has_the_same_answer_to_the_bit(attention: str, width: int) -> None:
    """Alone, among others, in another order, and more than are computed at once."""
    config, weights = build(attention=attention)
    sources, limits = texts(config)
    network = united(config, weights)
    found = network.search(sources, limits, width=width)
    for row in (0, 7, 14):
        alone = network.search(sources[row : row + 1], limits[row : row + 1], width=width)
        assert alone == [found[row]]
    again = network.search(sources[::-1] * 4, limits[::-1] * 4, width=width)
    assert again == found[::-1] * 4


def test_lengths_that_do_not_round_to_one_are_refused() -> None:
    config, weights = build(attention="soft")
    with pytest.raises(ValueError, match="do not round up to one length"):
        united(config, weights).search([[4] * 3, [4] * 5], [3, 3], width=1)


def test_longer_sources_have_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    config, weights = build(attention="soft")
    seen: list[tuple[int, ...]] = []
    network = united(config, weights)
    start = network.members[0].start

    def watched(source: torch.Tensor, *rest: Any) -> Any:
        seen.append(tuple(source.shape))
        return start(source, *rest)

    monkeypatch.setattr(network.members[0], "start", watched)
    monkeypatch.setattr(seq2seq_gpu, "MAX_SYMBOLS", 80)
    network.search([[4] * 8] * 11, [2] * 11, width=2)
    assert seen == [(10, 8), (10, 8)]
