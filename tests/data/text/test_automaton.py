"""Automata against enumeration; their limits."""

from __future__ import annotations

import itertools
import re
import time

import numpy as np
import pytest
from automata import accepted, words
from hypothesis import given
from hypothesis import strategies as st

from charseq.data.text import automaton
from charseq.data.text.alignment import Actions
from charseq.data.text.automaton import Automaton, Spelling, of_pattern, of_sequences, of_texts
from charseq.data.text.pattern import Pattern
from charseq.data.text.vocabulary import EOS, SPECIALS
from charseq.errors import UsageError

SEEDS = st.integers(0, 2**31)
SYMBOLS = ["a", "b", "ab", "ba", "c", "aa"]
LETTERS = {letter: letter for letter in "abc"}


def made(source: str, *, backward: bool = False) -> Automaton:
    """The automaton of an expression over :data:`SYMBOLS`."""
    spellings = [Spelling(number, text) for number, text in enumerate(SYMBOLS, SPECIALS)]
    size = SPECIALS + len(SYMBOLS)
    return of_pattern(Pattern(source), LETTERS, spellings, size, backward=backward)


@given(SEEDS)
def test_a_trie_accepts_its_sequences_and_nothing_else(seed: int) -> None:
    known = set(words(seed, 9))
    trie = of_sequences(sorted(known, reverse=True), 9)
    assert accepted(trie, 5) == known
    assert trie.least == max(map(len, known))
    assert len(trie.offsets) == 1 + len({ids[:end] for ids in known for end in range(9)})


@given(SEEDS)
def test_texts_are_cut_into_symbols_in_every_way(seed: int) -> None:
    random = np.random.default_rng(seed)
    texts = {"".join(random.choice(list("abc"), size=random.integers(1, 5))) for _ in range(4)}
    spellings = [Spelling(number, text) for number, text in enumerate(SYMBOLS, SPECIALS)]
    size = SPECIALS + len(SYMBOLS)
    found = of_texts(texts, spellings, size, least=4)
    outputs = (
        ids for k in range(1, 5) for ids in itertools.product(range(SPECIALS, size), repeat=k)
    )
    assert accepted(found, 4) == {
        ids for ids in outputs if "".join(SYMBOLS[one - SPECIALS] for one in ids) in texts
    }
    assert found.least == 4
    states = np.repeat(np.arange(len(found.offsets) - 1), np.diff(found.offsets))
    assert (np.diff(states * size + found.symbols) > 0).all()


@given(SEEDS)
def test_actions_write_the_same_outputs(seed: int) -> None:
    known = set(words(seed, 7, longest=2))
    actions = Actions(7)
    trie = of_sequences(list(known), 7).for_actions(actions)
    found = accepted(trie, 3)
    assert {tuple(actions.target_ids(ids)) for ids in found} == known
    for ids in known:
        for places in itertools.product((0, 7), repeat=len(ids)):
            written = tuple(one + place for one, place in zip(ids, places, strict=True))
            assert {written, (actions.deletion, *written), (*written, actions.deletion)} <= found


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(
    "source",
    ["a*", "(ab)+", "a?b?c", "(a|b)*abb", "[^a]+", ".{2,3}", "(?:a|ab)(?:c|bc)", "(a*)*b", "b{2}|"],
)
def test_it_accepts_the_outputs_whose_text_matches(source: str, backward: bool) -> None:
    automaton = made(source, backward=backward)
    found = accepted(automaton, 4)
    order = -1 if backward else 1
    symbols = range(SPECIALS, SPECIALS + len(SYMBOLS))
    every = {ids for size in range(5) for ids in itertools.product(symbols, repeat=size)}
    texts = {ids: "".join(SYMBOLS[one - SPECIALS] for one in ids[::order]) for ids in every}
    assert found == {ids for ids in every if re.fullmatch(source, texts[ids])}
    assert automaton.least == min(len(ids) for ids in found if ids)


@given(SEEDS)
def test_edges_are_trimmed_deterministic_and_sorted(seed: int) -> None:
    draw = np.random.default_rng(seed)
    parts = ["a", "b", "(?:ab|c)", "[bc]*", "a?", "(?:b|aa){1,2}", "."]
    source = "".join(draw.choice(parts, size=4))
    automaton = made(source)
    keys = automaton.keys
    assert (np.diff(keys) > 0).all()
    ends = set(np.flatnonzero(np.diff(automaton.offsets) > 0))
    assert ends == set(range(len(automaton.offsets) - 1))
    reached, stack = {0}, [0]
    for state in stack:
        for edge in range(automaton.offsets[state], automaton.offsets[state + 1]):
            target = int(automaton.targets[edge])
            if automaton.symbols[edge] != EOS and target not in reached:
                reached.add(target)
                stack.append(target)
    assert reached == set(range(len(automaton.offsets) - 1))


@pytest.mark.parametrize("source", ["x", "a{3}x", "[^abc]+", ""])
def test_a_pattern_that_no_output_matches_is_refused(source: str) -> None:
    with pytest.raises(UsageError, match="matches no text that the model can write"):
        made(source)


@pytest.mark.parametrize(
    "source", ["(a|b)*a(a|b){24}", "(?:.{0,90}a.{0,90}){30}", "(?:(?:a?b?c?){40}){40}"]
)
def test_an_automaton_that_would_be_too_large_is_refused_in_time(source: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(UsageError, match="too large"):
        made(source)
    assert time.perf_counter() - begun < 60


def test_sequences_that_are_too_large_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automaton, "MAX_EDGES", 9)
    assert of_sequences([(4, 5), (4, 5, 6)], 9).least == 3
    with pytest.raises(UsageError, match="10 symbols, expected 9 at most"):
        of_sequences([(4, 5), (4, 5, 6), (5, 5)], 9)
