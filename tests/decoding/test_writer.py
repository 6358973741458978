"""Whole searches in one call against the same steps searched in Python, to the last bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from decoding.test_seq2seq_native import best, engine_of
from decoding.test_seq2seq_numpy import ODD, ended, make, some_texts
from kernels.test_library import each_level, needs_library

from charseq.data.text.vocabulary import BOS
from charseq.decoding import seq2seq_native
from charseq.decoding.search import _follow, _search, beam, greedy
from charseq.decoding.seq2seq_native import NativeState
from charseq.decoding.seq2seq_numpy import GATES, NumpySeq2Seq

pytestmark = needs_library


@each_level
@pytest.mark.parametrize("attention", ["hard", "soft", "none"])
@pytest.mark.parametrize("cell", GATES)
def test_a_whole_search_is_that_of_its_steps(cell: str, attention: str, level: str) -> None:
    """To the last bit, whoever ends when; more texts than are computed side by side."""
    random = np.random.default_rng(5)
    searches = ((150, 1, 0.0), (70, 2, 0.9), (30, 5, 0.0), (2, 150, 0.4))
    for (hidden, embedding), layers in ((ODD["33/17"], 2), ((8, 16), 1)):
        network = make(cell, hidden=hidden, embedding=embedding, layers=layers, attention=attention)
        for one in (network, flat(network)):
            kernels = engine_of(one, level)
            for count, width, strength in searches:
                texts = some_texts([0, count])
                texts = ended(texts) if attention == "hard" else texts
                limits = random.integers(0, 9, size=count).tolist()
                state = kernels.start(texts)
                expected = _search(kernels, state, limits, width, strength)
                found = beam(kernels, state, limits, width=width, length_penalty=strength)
                assert found == expected
                if width == 1:
                    ones = greedy(kernels, state, limits)
                    assert ones == _follow(kernels, np.full(count, BOS), state, limits, likeliest)


def likeliest(logs: np.ndarray, _: object) -> np.ndarray:
    return logs.argmax(axis=1)


def flat(network: NumpySeq2Seq) -> NumpySeq2Seq:
    """The same with as many equal probabilities as can be."""
    other = copy.copy(network)
    other.output = np.zeros_like(network.output[0]), np.minimum(network.output[1], 0)
    other.prior = None if network.prior is None else np.zeros_like(network.prior)
    return other


def test_a_search_of_many_calls_is_that_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = best(make("gru", attention="hard"))
    state, limits = kernels.start(ended(some_texts([40]))), [7, 0, 3, 5] * 10
    expected = beam(kernels, state, limits, width=3)
    calls: list[str] = []
    monkeypatch.setattr(seq2seq_native, "STINT", 30)
    monkeypatch.setattr(kernels.kernels, "call", call_and_note(kernels.kernels.call, calls))
    assert beam(kernels, state, limits, width=3) == expected
    assert len(calls) == 15


def call_and_note(call: Callable[..., None], calls: list[str]) -> Callable[..., None]:
    def noted(name: str, what: object) -> None:
        calls.append(name)
        call(name, what)

    return noted


@pytest.mark.parametrize("attention", ["hard", "soft"])
def test_a_search_that_cannot_be_is_refused(attention: str) -> None:
    kernels = best(make("lstm", attention=attention))
    texts = ended(some_texts([6]))
    state = kernels.start(texts)
    _, after = kernels.step(np.full(6, BOS), state)
    wide = kernels.select(state, np.repeat(np.arange(6), 2), 2)
    fewer = kernels.select(state, np.arange(5), 1)
    ahead = replace(after, places=np.ones(6, dtype=np.int64))
    turned = kernels.select(state, np.arange(6)[::-1].copy(), 1)
    for wrong, limits in (
        (state, [4] * 5), (wide, [4] * 6), (fewer, [4] * 5), (ahead, [4] * 6), (turned, [4] * 6),
    ):  # fmt: skip
        with pytest.raises(ValueError):  # noqa: PT011 - in whatever words
            beam(kernels, wrong, limits, width=2)
    with pytest.raises(IndexError):
        beam(kernels, state, [4, 4, 4, -1, 4, 4], width=2)
    with pytest.raises(IndexError):
        beam(kernels, out_of_range(state), [4] * 6, width=2)


def out_of_range(state: NativeState) -> NativeState:
    """A state whose attention would read behind the end of its arrays."""
    if state.track is not None:
        ends = state.track.ends + state.track.steps
        return replace(state, track=replace(state.track, ends=ends))
    assert state.memory is not None
    lengths = state.memory.lengths + state.memory.keys.shape[1]
    return replace(state, memory=replace(state.memory, lengths=lengths))


def test_source_ids_without_a_prior_are_refused() -> None:
    kernels = best(make("gru", attention="hard"))
    state = kernels.start(ended(some_texts([3])))
    assert state.track is not None
    ids = np.full_like(state.track.ids, 10**6)
    with pytest.raises(IndexError):
        beam(kernels, replace(state, track=replace(state.track, ids=ids)), [4] * 3, width=2)
