"""The runner weighs outputs by joint n-grams as charseq does."""

from __future__ import annotations

import math
import random
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.confidence.joint_ngrams import JointNgrams as WholeNgrams
from charseq.confidence.rescoring import Rescoring as WholeRescoring
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import EOS, SPECIALS
from charseq.export.runtime.joint_ngrams import JointNgrams, Rescoring, mixed
from charseq.export.runtime.search import Hypothesis

SIZES = st.sampled_from([9, 40_000])
"""Target symbols; units of many exceed 32 bits."""


def pair(draw: random.Random, symbols: int) -> tuple[list[int], list[int]]:
    """A source with its end and a feature, and actions that reach that end."""
    source = [draw.randrange(3, symbols) for _ in range(draw.randint(1, 7))]
    actions: list[int] = []
    for _ in source:
        actions += [draw.randrange(SPECIALS, 7) for _ in range(draw.choice([0, 0, 0, 2]))]
        actions.append(draw.choice([symbols + SPECIALS, symbols + SPECIALS + 1, 2 * symbols]))
    return [*source, EOS, symbols], actions


@cache
def ngrams_of(symbols: int, order: int = 6) -> WholeNgrams:
    draw = random.Random(3)
    # few sources of many symbols, so that their n-grams occur again
    pairs = [pair(random.Random(draw.randrange(80)), symbols) for _ in range(300)]
    sources, outputs = zip(*pairs, strict=True)
    return WholeNgrams.count(sources, outputs, Actions(symbols), order=order)


@given(symbols=SIZES, order=st.integers(1, 6), seeds=st.lists(st.integers(0, 160), min_size=1))
def test_scores_are_those_of_the_run(symbols: int, order: int, seeds: list[int]) -> None:
    whole = ngrams_of(symbols, order)
    own = JointNgrams(whole.to_json(), symbols)
    source, _ = pair(random.Random(seeds[0]), symbols)
    outputs = [[], *(pair(random.Random(seed), symbols)[1] for seed in seeds)]
    fitting = [one for one in outputs if sum(act >= symbols for act in one) < len(source) - 1]
    wanted = whole.scores([source] * len(fitting), fitting)
    assert own.scores(source, fitting) == wanted.tolist()


def test_known_ngrams_are_found() -> None:
    """The scores of pairs that were counted are far above those of others."""
    whole = ngrams_of(40_000)
    own = JointNgrams(whole.to_json(), 40_000)
    source, actions = pair(random.Random(random.Random(3).randrange(80)), 40_000)
    (known,) = own.scores(source, [actions])
    (unknown,) = own.scores([one + 1 for one in source], [actions])
    assert known > unknown / 2


def test_a_hash_is_of_32_bits() -> None:
    """Computed with whole numbers of any size."""

    def exact(hashed: int, value: int) -> int:
        found = ((hashed ^ value) * 0x9E3779B1) & 0xFFFFFFFF
        found ^= found >> 15
        found = (found * 0x85EBCA77) & 0xFFFFFFFF
        return found ^ (found >> 13)

    values = np.array([0, 1, 2**31, 2**32 - 1], dtype=np.uint32)
    found = mixed(np.uint32(77), values)
    assert found.dtype == np.uint32
    assert found.tolist() == [exact(77, value) for value in values.tolist()]


@given(logs=st.lists(st.floats(-30, -0.1), min_size=0, max_size=5), backward=st.booleans())
def test_what_was_found_is_shared_as_in_the_run(logs: list[float], backward: bool) -> None:
    ngrams = ngrams_of(9)
    whole = WholeRescoring({False: ngrams, True: ngrams_of(9, 2)}, 0.7)
    own = Rescoring(whole.to_json(), 9)
    source, _ = pair(random.Random(5), 9)
    draw = random.Random(8)
    ids = [tuple(draw.randrange(4, 9) for _ in range(size)) for size, _ in enumerate(logs)]
    outputs = [Hypothesis(one, log) for one, log in zip(ids, logs, strict=True)]
    cut = Hypothesis((5, 5, 5), -0.4, truncated=True, end=-2.0)
    found = own.weighed(source, [cut, *outputs], backward=backward)
    assert found[0] == cut
    pairs = [(one.ids, one.score) for one in outputs]
    (wanted,) = whole.scores([source], [pairs], backward=backward)
    scores = {one.ids: one.score for one in found[1:]}
    assert [scores[one] for one in ids] == pytest.approx(wanted, abs=1e-12)
    assert [one.score for one in found[1:]] == sorted(wanted, reverse=True)
    total = math.fsum(map(math.exp, logs))
    assert math.fsum(math.exp(one.score) for one in found[1:]) == pytest.approx(total)
