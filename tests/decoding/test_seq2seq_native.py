"""The compiled network against NumPy's at every level; bits in any batch; whole searches."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from levels import LIBRARY, at_level, each_level, needs_library
from networks import ODD, TARGETS, answers, ended, every, make, some_texts, tiny

from charseq.data.text.vocabulary import BOS, EOS, PAD, UNK
from charseq.decoding.search import _greedy, _search, beam, greedy
from charseq.decoding.seq2seq_native import NativeSeq2Seq, NativeState
from charseq.decoding.seq2seq_numpy import NumpySeq2Seq
from charseq.kernels import library
from charseq.kernels.cell_table import CELLS

pytestmark = needs_library
FAST = "avx512"
"""Where one level stands for all; a processor without it takes its best."""


def compiled(network: NumpySeq2Seq, level: str) -> NativeSeq2Seq:
    return NativeSeq2Seq(network, at_level(level))


def best(network: NumpySeq2Seq) -> NativeSeq2Seq:
    return compiled(network, LIBRARY[-1])


# --- the same network as in NumPy


@each_level
@pytest.mark.parametrize("attention", ["hard", "soft", "none"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_step_is_that_of_numpy(cell: str, attention: str, level: str) -> None:
    """Within what the level's arithmetic allows; the networks are wilder than trained ones."""
    bound = 5e-3 if level == "amx" else 5e-4
    for (hidden, embedding), layers in ((ODD["33/17"], 2), (ODD["256/128"], 1), ((8, 16), 2)):
        network = make(cell, hidden=hidden, embedding=embedding, layers=layers, attention=attention)
        kernels = compiled(network, level)
        texts = some_texts([0, 19])
        texts = ended(texts) if attention == "hard" else texts
        one, other = network.start(texts), kernels.start(texts)
        symbols = np.full(len(texts), BOS)
        for _ in range(5):
            expected, one = network.step(symbols, one)
            found, other = kernels.step(symbols, other)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, rtol=0, atol=bound)
            symbols = np.argmax(expected, axis=1)


@pytest.mark.parametrize("cell", CELLS)
def test_levels_with_fused_products_have_the_same_bits(cell: str) -> None:
    """AVX2 and AVX-512 do the same operations in the same order."""
    if FAST not in LIBRARY:
        pytest.skip("this processor has no AVX-512")
    sizes = ODD["33/17"], ODD["256/128"]
    for attention, (hidden, embedding) in itertools.product(("hard", "soft"), sizes):
        network = make(cell, hidden=hidden, embedding=embedding, attention=attention)
        texts = ended(some_texts([3, 8]))
        found = [
            answers(compiled(network, level), texts, size=64, width=3) for level in ("avx2", FAST)
        ]
        assert found[0] == found[1]


@pytest.mark.parametrize("width", [1, 5])
@pytest.mark.parametrize("attention", ["soft", "hard"])
def test_outputs_are_those_of_numpy(attention: str, width: int) -> None:
    network = make("gru", hidden=100, embedding=50, attention=attention)
    texts = some_texts([6, 34, 5])
    texts = ended(texts) if attention == "hard" else texts
    expected = answers(network, texts, size=64, width=width)
    found = answers(compiled(network, LIBRARY[-1]), texts, size=64, width=width)
    for ones, others in zip(found, expected, strict=True):
        assert ones[0][0] == others[0][0]
        assert float.fromhex(ones[0][1]) == pytest.approx(float.fromhex(others[0][1]), abs=1e-2)


# --- the same text, the same answer


@each_level
@pytest.mark.parametrize(("attention", "width"), [("soft", 1), ("hard", 3)])
@pytest.mark.parametrize("cell", CELLS)
def test_an_answer_does_not_depend_on_its_company(
    cell: str, attention: str, width: int, level: str
) -> None:
    network = compiled(make(cell, hidden=33, embedding=17, attention=attention), level)
    texts = some_texts([2, 32, 3])
    texts = ended(texts) if attention == "hard" else texts
    expected = answers(network, texts, size=64, width=width)
    assert len({answer[0] for answer in expected}) >= 10
    for size, every_so_many in ((1, 12), (2, 8), (7, 3), (16, 2), (17, 1)):
        some = answers(network, texts[::every_so_many], size=size, width=width)
        assert some == expected[::every_so_many]
    order = np.random.default_rng(1).permutation(len(texts)).tolist()
    shuffled = answers(network, [texts[row] for row in order], size=64, width=width)
    assert shuffled == [expected[row] for row in order]


@pytest.mark.parametrize(("cell", "attention"), [("gru", "hard"), ("lstm", "soft")])
def test_an_answer_is_the_same_in_a_batch_of_257(cell: str, attention: str) -> None:
    network = best(make(cell, hidden=48, embedding=24, layers=2, attention=attention))
    texts = some_texts([2, 257])
    texts = ended(texts) if attention == "hard" else texts
    expected = answers(network, texts, size=257, width=2)
    assert answers(network, texts[::-1], size=64, width=2) == expected[::-1]
    assert answers(network, texts[::50], size=1, width=2) == expected[::50]


# --- step, select, start


def test_probabilities_are_of_what_may_be_written() -> None:
    network = best(make("gru"))
    logs, _ = network.step(np.array([BOS, BOS]), network.start([[4, 5], [6]]))
    assert (logs.shape, logs.dtype) == ((2, TARGETS), np.float32)
    assert bool((logs[:, [PAD, BOS, UNK]] == -np.inf).all())
    assert np.isfinite(np.delete(logs, [PAD, BOS, UNK], axis=1)).all()
    assert np.exp(logs).sum(axis=1) == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.parametrize("attention", ["hard", "soft", "none"])
def test_select_is_that_of_numpy(attention: str) -> None:
    """Rows repeated, then reordered within their texts, then texts left out."""
    network = make("lstm", layers=2, attention=attention)
    kernels = best(network)
    texts = ended(some_texts([7]))
    random = np.random.default_rng(1)
    one, other = network.start(texts), kernels.start(texts)
    choices = [
        (np.repeat(np.arange(7), 3), 3),
        (np.concatenate([3 * text + np.array([2, 0, 0]) for text in range(7)]), 3),
        (np.concatenate([3 * text + np.array([1, 2, 0]) for text in (1, 4, 6)]), 3),
        (np.array([2, 7]), 1),
    ]
    for rows, width in choices:
        one, other = network.select(one, rows, width), kernels.select(other, rows, width)
        symbols = random.integers(4, TARGETS, size=len(rows))
        expected, one = network.step(symbols, one)
        found, other = kernels.step(symbols, other)
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-3)


def test_a_step_leaves_its_state_as_it_was() -> None:
    network = best(make("lstm", attention="hard"))
    state = network.start([[4, 5, EOS], [6, EOS]])
    once, after = network.step(np.array([BOS, BOS]), state)
    network.step(np.array([5, 6]), after)
    again, _ = network.step(np.array([BOS, BOS]), state)
    assert np.array_equal(once, again)


@pytest.mark.parametrize("texts", [[[4] * 4, [4] * 5], [[4], [4] * 8], [[], [4]], [[]], []])
def test_texts_of_other_rounded_lengths_or_none_are_refused(texts: list[list[int]]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - in whatever words
        best(make("gru")).start(texts)


def test_symbols_that_the_network_does_not_have_are_refused() -> None:
    network = best(make("gru"))
    with pytest.raises(IndexError):
        network.start([[4, 10**9]])
    with pytest.raises(IndexError):
        network.step(np.array([-1]), network.start([[4]]))


@pytest.mark.parametrize("text", [[4, 5, 6, EOS], [6, EOS, 7, 8], [EOS]])
def test_a_beam_as_wide_as_the_space_finds_every_walk(text: list[int]) -> None:
    network = tiny(2, staying=-40.0)
    kernels = best(network)
    found = beam(kernels, kernels.start([text]), [text.index(EOS)], width=30)[0]
    expected = every(network, text, text.index(EOS))
    deletions = (network.actions.deletion,) * text.index(EOS)
    nothing = math.exp(expected.pop(deletions))  # the output that is empty
    ended = [one for one in found if not one.truncated]
    assert {one.ids for one in ended} == set(expected)
    assert sum(np.exp(one.score) for one in ended) == pytest.approx(1.0 - nothing, abs=1e-4)


def test_features_are_heard_though_no_walk_comes_to_them() -> None:
    network = best(make("gru", attention="hard"))
    one, other = (network.step(np.array([BOS]), network.start([[4, EOS, k]]))[0] for k in (5, 6))
    assert not np.allclose(one, other)


# --- whole searches in one call


@each_level
@pytest.mark.parametrize("attention", ["hard", "soft", "none"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_whole_search_is_that_of_its_steps(cell: str, attention: str, level: str) -> None:
    """To the last bit, whoever ends when; more texts than are computed side by side."""
    random = np.random.default_rng(5)
    searches = ((150, 1, 0.0), (70, 2, 0.9), (30, 5, 0.0), (2, 150, 0.4))
    for (hidden, embedding), layers in ((ODD["33/17"], 2), ((8, 16), 1)):
        network = make(cell, hidden=hidden, embedding=embedding, layers=layers, attention=attention)
        for one in (network, flat(network)):
            kernels = compiled(one, level)
            for count, width, strength in searches:
                texts = some_texts([0, count])
                texts = ended(texts) if attention == "hard" else texts
                limits = random.integers(0, 9, size=count).tolist()
                state = kernels.start(texts)
                silent = kernels.actions and kernels.actions.deletion
                for empty in (False, True):
                    found = beam(
                        kernels, state, limits, width=width, length_penalty=strength, empty=empty
                    )
                    assert found == _search(
                        kernels, state, limits, width, strength, silent, empty=empty
                    )
                    if width == 1:
                        ones = greedy(kernels, state, limits, empty=empty)
                        assert ones == _greedy(kernels, state, limits, silent, empty=empty)


def flat(network: NumpySeq2Seq) -> NumpySeq2Seq:
    """The same with as many equal probabilities as can be."""
    other = copy.copy(network)
    other.output = np.zeros_like(network.output[0]), np.minimum(network.output[1], 0)
    other.prior = None if network.prior is None else np.zeros_like(network.prior)
    return other


@pytest.mark.parametrize("attention", ["hard", "soft"])
def test_work_of_many_calls_is_that_of_one(monkeypatch: pytest.MonkeyPatch, attention: str) -> None:
    """However small the portions are between which signals are taken, the bits are the same."""
    kernels = best(make("lstm", attention=attention, layers=2))
    texts, limits = some_texts([0, 200]), [7, 0, 3, 5] * 50
    texts = ended(texts) if attention == "hard" else texts
    searches = ((1, 0.0), (3, 0.7), (150, 0.0))

    def outputs() -> list[Any]:
        state = kernels.start(texts)
        found = [beam(kernels, state, limits, width=w, length_penalty=p) for w, p in searches]
        step, _ = kernels.step(np.full(200, BOS), state)
        return [state.hidden.tobytes(), step.tobytes(), *found]

    expected = outputs()
    for portion in (1, 10_000, 1_000_000):
        calls: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(library, "MULTIPLICATIONS", portion)
            patch.setattr(kernels.kernels, "call", call_and_note(kernels.kernels.call, calls))
            assert outputs() == expected
        assert calls.count("search") >= (5 * len(searches) if portion == 1 else len(searches))


def test_a_search_that_is_interrupted_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernels = best(make("gru", hidden=64))
    state, limits = kernels.start(some_texts([0, 0, 128])), [50] * 128
    expected = beam(kernels, state, limits, width=4)
    monkeypatch.setattr(library, "MULTIPLICATIONS", 1)
    call, calls = kernels.kernels.call, []

    def interrupted(name: str, what: object) -> bool:
        more = call(name, what)
        calls.append(what)
        if len(calls) % 5 == 0:
            raise KeyboardInterrupt
        return more

    monkeypatch.setattr(kernels.kernels, "call", interrupted)
    for _ in range(200):
        with pytest.raises(KeyboardInterrupt):
            beam(kernels, state, limits, width=4)
        assert calls[-1].work is None
    monkeypatch.undo()
    assert beam(kernels, state, limits, width=4) == expected


def call_and_note(call: Callable[..., bool], calls: list[str]) -> Callable[..., bool]:
    def noted(name: str, what: object) -> bool:
        calls.append(name)
        return call(name, what)

    return noted


@pytest.mark.parametrize("attention", ["hard", "soft"])
def test_a_search_that_cannot_be_is_refused(attention: str) -> None:
    kernels = best(make("lstm", attention=attention))
    texts = ended(some_texts([6]))
    state = kernels.start(texts)
    _, after = kernels.step(np.full(6, BOS), state)
    wide = kernels.select(state, np.repeat(np.arange(6), 2), 2)
    fewer = kernels.select(state, np.arange(5), 1)
    ahead = replace(after, positions=np.ones(6, dtype=np.int64))
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
    if state.context is not None:
        ends = state.context.ends + state.context.ids.shape[1]
        return replace(state, context=replace(state.context, ends=ends))
    assert state.memory is not None
    lengths = state.memory.lengths + state.memory.keys.shape[1]
    return replace(state, memory=replace(state.memory, lengths=lengths))


def test_source_ids_without_a_prior_are_refused() -> None:
    kernels = best(make("gru", attention="hard"))
    state = kernels.start(ended(some_texts([3])))
    assert state.context is not None
    ids = np.full_like(state.context.ids, 10**6)
    with pytest.raises(IndexError):
        beam(kernels, replace(state, context=replace(state.context, ids=ids)), [4] * 3, width=2)
