"""Sequences that automata accept, and random ones, for the tests of several modules."""

from __future__ import annotations

import numpy as np

from charseq.data.text.automaton import Automaton
from charseq.data.text.vocabulary import EOS, SPECIALS

Ids = tuple[int, ...]


def words(seed: int, size: int, *, most: int = 12, longest: int = 4) -> list[Ids]:
    """Some sequences of symbols, which share beginnings."""
    random = np.random.default_rng(seed)
    symbols = random.integers(SPECIALS, size, size=4)
    return [
        tuple(random.choice(symbols, size=random.integers(1, longest + 1)).tolist())
        for _ in range(random.integers(1, most + 1))
    ]


def accepted(automaton: Automaton, limit: int) -> set[Ids]:
    """All sequences of up to ``limit`` symbols, read off the edges one by one."""
    found: set[Ids] = set()
    stack: list[tuple[Ids, int]] = [((), 0)]
    while stack:
        ids, state = stack.pop()
        for edge in range(automaton.offsets[state], automaton.offsets[state + 1]):
            symbol = int(automaton.symbols[edge])
            if symbol == EOS:
                found.add(ids)
            elif len(ids) < limit:
                stack.append(((*ids, symbol), int(automaton.targets[edge])))
    return found
