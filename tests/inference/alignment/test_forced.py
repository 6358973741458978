"""Forced decoding: the attention of any target, as the search itself had it."""

from __future__ import annotations

import numpy as np
import pytest
from networks import make

from charseq.data.text.alignment import source_length
from charseq.data.text.vocabulary import EOS
from charseq.decoding.ensemble import Ensemble
from charseq.decoding.search import beam
from charseq.decoding.seq2seq_native import NativeSeq2Seq
from charseq.inference.alignment.forced import attention, hard_places
from charseq.kernels import library

SOURCES = [[5, 6, 7, 8, 9], [9, 4, 11], [6, 6, 6, 6, 6, 6, 6, 6, 10]]
TARGETS = [[4, 5, 6], [7], [8, 9, 10, 11, 4]]


def test_weights_are_a_distribution_over_the_own_source() -> None:
    found = attention(make("gru"), SOURCES, TARGETS)
    for table, source, target in zip(found, SOURCES, TARGETS, strict=True):
        assert table is not None
        assert table.shape == (len(target), len(source))
        assert table.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
        assert (table >= 0).all()


def test_weights_depend_on_what_was_written_before() -> None:
    network = make("gru")
    one, two = attention(network, [SOURCES[0]] * 2, [[4, 5, 6], [9, 5, 6]])
    assert one is not None
    assert two is not None
    assert np.array_equal(one[0], two[0]), "nothing is written before the first symbol"
    assert not np.allclose(one[1], two[1])


def test_the_compiled_network_and_an_ensemble_have_the_same_weights() -> None:
    network = make("gru")
    plain = attention(network, SOURCES, TARGETS)
    others = [Ensemble([network, network])]
    kernels = library.find()
    if kernels is not None:
        others.append(NativeSeq2Seq(network, kernels))  # type: ignore[arg-type]
    for other in others:
        for one, two in zip(plain, attention(other, SOURCES, TARGETS), strict=True):
            assert one == pytest.approx(two, abs=1e-5)


def test_without_attention_or_symbols_there_is_nothing() -> None:
    assert attention(make("gru", attention="none"), SOURCES[:1], TARGETS[:1]) == [None]
    assert attention(make("gru"), [[], SOURCES[0]], [[4], []]) == [None, None]


def test_hard_attention_writes_where_the_search_wrote() -> None:
    """The actions of a beam search name their places; forced decoding finds the same ones."""
    network = make("gru", attention="hard")
    actions = network.actions
    assert actions is not None
    compared = 0
    for symbols in SOURCES:
        source = [*symbols, EOS]
        (outputs,) = beam(
            network, network.start([source]), [12], width=16, length_penalty=0.0,
            silent=actions.deletion,
        )  # fmt: skip
        best = next((one for one in outputs if not one.truncated), None)
        target = best and actions.target_ids(best.ids)
        if not best or not target:
            continue
        position, places = 0, []
        for action in best.ids:
            if action != actions.deletion:
                places.append(position)
            position += action >= actions.symbols
        assert hard_places(network, source, target) == tuple(places)
        (table,) = attention(network, [source], [target])
        assert table is not None
        assert table.shape == (len(target), source_length(source) + 1)
        assert table.argmax(axis=1).tolist() == places
        compared += 1
    assert compared
