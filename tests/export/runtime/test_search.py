"""The runner's beam search has the outputs of charseq's, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from networks import ended, make, some_texts

from charseq.decoding import search as whole
from charseq.export.runtime import search


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("attention", ["soft", "hard"])
@pytest.mark.parametrize("strength", [0.0, 1.5])
@pytest.mark.parametrize("empty", [False, True])
def test_outputs_are_those_of_the_engine(
    width: int, attention: str, strength: float, empty: bool
) -> None:
    network = make("gru", attention=attention)
    texts = some_texts([6])
    texts = ended(texts) if attention == "hard" else texts
    silent = None if network.actions is None else network.actions.deletion
    limits = [1, 3, 4, 6, 8, 12]
    how = {"width": width, "length_penalty": strength, "silent": silent, "empty": empty}
    wanted = whole.beam(network, network.start(texts), limits, **how)
    found = search.beam(network, network.start(texts), limits, **how)
    assert [[tuple(one) for one in outputs] for outputs in found] == [
        [(one.ids, one.score, one.truncated, one.end) for one in outputs] for outputs in wanted
    ]
    if width == 2 and attention == "soft":  # both kinds of outputs have been compared
        assert {one.truncated for outputs in found for one in outputs} == {True, False}


def test_ties_are_in_the_order_of_their_symbols() -> None:
    logs = np.log(np.array([[[0.25, 0.25, 0.25, 0.25]]]))
    parents, symbols, totals = search.expand(np.zeros((1, 1)), logs)
    assert (parents.tolist(), symbols.tolist()) == ([[0, 0]], [[0, 1]])
    assert totals.tolist() == [logs[0, 0, :2].tolist()]
