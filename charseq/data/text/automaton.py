"""Automata over the symbols of a network: the outputs that a search may write.

An :class:`Automaton` is deterministic and trimmed: from each state some end can be reached. Its
edges are compressed rows, as of a sparse matrix. EOS is an edge of the accepting states.

    of_pattern    a regular expression, by the subset construction (Rabin & Scott 1959)
    of_sequences  some sequences of symbols, as a trie
    of_texts      some texts, cut into symbols in every way

A regular expression runs over the characters of texts, and a symbol writes several of them, or one,
or with subwords a byte of one. Where phones are separated by spaces, the space belongs to the
symbol after it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charseq.data.text.pattern import CharSet, Nfa, Pattern
from charseq.data.text.vocabulary import EOS, SPECIALS
from charseq.display import shorten
from charseq.errors import UsageError

if TYPE_CHECKING:
    from jaxtyping import Int

    from charseq.data.text.alignment import Actions

MAX_STATES = 50_000
"""States of an automaton from a pattern."""
MAX_WORK = 5_000_000
"""Steps of the construction of such an automaton: some seconds."""
MAX_EDGES = 2**24
"""Edges of an automaton: 128 MiB."""


@dataclass(frozen=True)
class Automaton:
    """Q states, E edges; state 0 is the start."""

    offsets: Int[np.ndarray, "O"]
    """Q + 1: the first edge of each state, and E."""
    symbols: Int[np.ndarray, "E"]
    """The symbol of each edge; they ascend in each state."""
    targets: Int[np.ndarray, "E"]
    """The state after it; 0 after EOS."""
    size: int
    """The number of symbols of the network, V."""
    least: int
    """Symbols that a search must be able to write: without the length limit in the way, those of
    the shortest output of a pattern, and of the longest of a set of sequences."""
    empty: bool = False
    """Whether the empty output, which says that there is no answer, is taken too."""

    @cached_property
    def keys(self) -> Int[np.ndarray, "E"]:
        """State times V plus symbol of each edge, which ascend."""
        states = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        found: np.ndarray = states * self.size + self.symbols
        return found

    def with_empty(self) -> Automaton:
        """The automaton that also takes the empty output, by a start of its own."""
        begin = slice(self.offsets[1])
        writes = self.symbols[begin] != EOS
        symbols = np.concatenate([[EOS], self.symbols[begin][writes]])
        targets = np.concatenate([[0], self.targets[begin][writes] + 1])
        later = np.where(self.symbols == EOS, 0, self.targets + 1)
        return _packed(
            np.concatenate([[len(symbols)], np.diff(self.offsets)]),
            np.concatenate([symbols, self.symbols]),
            np.concatenate([targets, later]),
            self.size,
            self.least,
            empty=True,
        )

    def for_actions(self, actions: Actions) -> Automaton:
        """The automaton of the edit actions that write the same outputs; a deletion stays."""
        states = np.arange(len(self.offsets) - 1)
        rows = np.repeat(states, np.diff(self.offsets))
        writes = self.symbols != EOS
        parts = (
            (rows, self.symbols, self.targets),
            (rows[writes], self.symbols[writes] + actions.symbols, self.targets[writes]),
            (states, np.full(len(states), actions.deletion), states),
        )
        every, symbols, targets = (np.concatenate(one) for one in zip(*parts, strict=True))
        order = np.lexsort((symbols, every))
        return _packed(
            np.bincount(every, minlength=len(states)), symbols[order], targets[order],
            actions.size, self.least, empty=self.empty,
        )  # fmt: skip


class Spelling(NamedTuple):
    """How one symbol is written."""

    symbol: int
    text: str
    """In the characters of the automaton: of texts, or of their bytes."""
    joins_before: bool = True
    """Whether no separator stands before it."""
    joins_after: bool = True
    """Whether no separator stands after it."""


def of_sequences(sequences: Sequence[Sequence[int]], size: int) -> Automaton:
    """The trie of some sequences of symbols, of which there is at least one.

    Raises:
        UsageError: they have too many symbols together.
    """
    rows = sorted({(*ids, EOS) for ids in sequences})
    lengths = np.array([len(row) for row in rows])
    if lengths.sum() > MAX_EDGES:
        raise UsageError(f"{lengths.sum():,} symbols, expected {MAX_EDGES:,} at most")
    flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=int(lengths.sum()))
    begins = lengths.cumsum() - lengths
    nodes, alive = np.zeros(len(rows), dtype=np.int64), np.arange(len(rows))
    states, symbols, targets = 1, [], []
    counts = []
    for level in range(int(lengths.max())):
        # the rows are sorted, so those with one beginning are neighbours
        taken = flat[begins[alive] + level]
        new = np.ones(len(alive), dtype=np.bool_)
        new[1:] = (nodes[1:] != nodes[:-1]) | (taken[1:] != taken[:-1])
        edges = np.flatnonzero(new)
        continues = taken[edges] != EOS
        numbers = np.where(continues, states + continues.cumsum() - 1, 0)
        first = int(nodes[0])
        counts.append(np.bincount(nodes[edges] - first, minlength=states - first))
        symbols.append(taken[edges])
        targets.append(numbers)
        states += int(continues.sum())
        after = numbers[new.cumsum() - 1]
        stays = taken != EOS
        alive, nodes = alive[stays], after[stays]
    return _packed(
        np.concatenate(counts), np.concatenate(symbols), np.concatenate(targets), size,
        int(lengths.max()) - 1,
    )  # fmt: skip


def of_texts(
    texts: Iterable[str], spellings: Sequence[Spelling], size: int, *, least: int
) -> Automaton:
    """The outputs that write one of some texts, however that is cut into symbols.

    Args:
        texts: at least one, in the characters of the spellings, which are those of bytes.
        spellings: of all symbols; none is empty, and each byte is one. No separator is between
            symbols.
        size: the number of symbols of the network.
        least: symbols that a search must be able to write.

    Raises:
        UsageError: they have too many characters, or ways, together.
    """
    trie = of_sequences(
        [[SPECIALS + byte for byte in text.encode("latin-1")] for text in texts], SPECIALS + 256
    )
    nodes: dict[str, int] = {"": 0}
    symbols: list[list[int]] = [[]]
    for one in spellings:
        for end in range(1, len(one.text) + 1):
            if one.text[:end] not in nodes:
                nodes[one.text[:end]] = len(nodes)
                symbols.append([])
        symbols[nodes[one.text]].append(one.symbol)
    below = sorted((nodes[one[:-1]] * 256 + ord(one[-1]), at) for one, at in nodes.items() if one)
    keys, children = np.array(below).T
    sizes = np.array([len(some) for some in symbols])
    firsts, written = sizes.cumsum() - sizes, np.array(list(chain.from_iterable(symbols)))
    count = len(trie.offsets) - 1
    starts, states, places = np.arange(count), np.arange(count), np.zeros(count, dtype=np.int64)
    ends = np.repeat(starts, np.diff(trie.offsets))[trie.symbols == EOS]
    edges = [(ends, np.full_like(ends, EOS), np.zeros_like(ends))]
    total = len(ends)
    while len(starts):  # all beginnings of symbols of one length, after every state
        taken = _ranges(trie.offsets[states], trie.offsets[states + 1] - trie.offsets[states])
        wanted = places[taken.rows] * 256 + trie.symbols[taken.items] - SPECIALS
        at = np.minimum(keys.searchsorted(wanted), len(keys) - 1)
        known = (keys[at] == wanted) & (trie.symbols[taken.items] != EOS)
        starts, places = starts[taken.rows[known]], children[at[known]]
        states = trie.targets[taken.items[known]].astype(np.int64)
        whole = _ranges(firsts[places], sizes[places])
        edges.append((starts[whole.rows], written[whole.items], states[whole.rows]))
        total += len(whole.rows)
        if total > MAX_EDGES:
            what = f"{total:,} ways to cut the answers into symbols"
            raise UsageError(f"{what}, expected {MAX_EDGES:,} at most: give fewer answers")
    rows, found, targets = (np.concatenate(one) for one in zip(*edges, strict=True))
    order = np.lexsort((found, rows))
    counts = np.bincount(rows, minlength=count)
    return _packed(counts, found[order], targets[order], size, least)


class _Ranges(NamedTuple):
    rows: Int[np.ndarray, "N"]
    """The number of the range of each item."""
    items: Int[np.ndarray, "N"]


def _ranges(firsts: Int[np.ndarray, "R"], sizes: Int[np.ndarray, "R"]) -> _Ranges:
    """The numbers in ranges, one after the other."""
    rows = np.repeat(np.arange(len(sizes)), sizes)
    return _Ranges(rows, np.arange(len(rows)) + np.repeat(firsts - sizes.cumsum() + sizes, sizes))


def of_pattern(
    pattern: Pattern,
    letters: Mapping[str, str],
    spellings: Sequence[Spelling],
    size: int,
    *,
    separator: str = "",
    backward: bool = False,
) -> Automaton:
    """The outputs whose text matches ``pattern`` as a whole.

    Args:
        pattern: the regular expression.
        letters: each character of texts, as the spellings write it.
        spellings: those of the symbols.
        size: the number of symbols of the network.
        separator: stands between symbols that do not join.
        backward: whether symbols, and the characters in them, come from the end of the text.

    Raises:
        UsageError: no output matches, or the automaton would be too large.
    """
    made = _Subsets(pattern, pattern.nfa(backward=backward), letters, backward=backward)
    if backward:
        spellings = [
            Spelling(one.symbol, one.text[::-1], one.joins_after, one.joins_before)
            for one in spellings
        ]
    groups: dict[tuple[tuple[int, ...], bool, bool], list[int]] = defaultdict(list)
    for one in spellings:
        classes = tuple(made.class_of.get(character, -1) for character in one.text)
        if -1 not in classes:
            groups[classes, one.joins_before, one.joins_after].append(one.symbol)
    between = made.class_of.get(separator, -1) if separator else -1
    known: dict[tuple[int, bool], int] = {(0, True): 0}
    order, rows = [(0, True)], []
    for state, is_open in order:
        row: list[tuple[int, int]] = []
        for number, (classes, before, after) in enumerate(groups):
            found = state if is_open or before else made.step(state, between)
            for character_class in classes:
                found = made.step(found, character_class)
            if found < 0:
                continue
            key = found, after
            if key not in known:
                known[key] = len(order)
                order.append(key)
            row.append((number, known[key]))
        rows.append(row)
    accepting = [made.is_accepting(state) for state, _ in order]
    return _trimmed(pattern, rows, accepting, list(groups.values()), size)


class _Subsets:
    """A deterministic automaton over classes of characters, made where it is walked."""

    def __init__(
        self, pattern: Pattern, nfa: Nfa, letters: Mapping[str, str], *, backward: bool
    ) -> None:
        self._pattern = pattern
        self._work = 0
        edges = _spelled(nfa, letters, backward=backward)
        self._sets = list(dict.fromkeys(one for arcs in edges for one, _ in arcs))
        signatures: dict[str, list[int]] = defaultdict(list)
        for number, characters in enumerate(self._sets):
            self._spend(len(characters))
            for character in characters:
                signatures[character].append(number)
        numbers: dict[tuple[int, ...], int] = {}
        self.class_of = {
            character: numbers.setdefault(tuple(signature), len(numbers))
            for character, signature in signatures.items()
        }
        """The class of each character that some state can read."""
        classes = {one: sorted({self.class_of[c] for c in one}) for one in self._sets}
        self._arcs = [[(classes[one], target) for one, target in arcs] for arcs in edges]
        self._nfa = nfa
        self._closures: dict[int, frozenset[int]] = {}
        start = self._closure(0)
        self._numbers = {start: 0}
        self._subsets = [start]
        self._steps: list[dict[int, int] | None] = [None]

    def is_accepting(self, state: int) -> bool:
        """Whether a text may end in a state."""
        return self._nfa.accept in self._subsets[state]

    def step(self, state: int, character_class: int) -> int:
        """The state after a character of a class; -1: there is none, or there was none before."""
        self._spend(1)
        if state < 0:
            return -1
        steps = self._steps[state]
        if steps is None:
            steps = self._steps[state] = self._leave(state)
        return steps.get(character_class, -1)

    def _leave(self, state: int) -> dict[int, int]:
        reached: dict[int, set[int]] = defaultdict(set)
        for one in self._subsets[state]:
            for classes, target in self._arcs[one]:
                closure = self._closure(target)
                self._spend(len(closure) * len(classes))
                for character_class in classes:
                    reached[character_class] |= closure
        return {one: self._number(frozenset(subset)) for one, subset in reached.items()}

    def _number(self, subset: frozenset[int]) -> int:
        found = self._numbers.get(subset)
        if found is None:
            found = self._numbers[subset] = len(self._subsets)
            if found >= MAX_STATES:
                raise self._too_large()
            self._subsets.append(subset)
            self._steps.append(None)
        return found

    def _closure(self, state: int) -> frozenset[int]:
        found = self._closures.get(state)
        if found is None:
            # states after those of `nfa` are within a character
            within = state >= len(self._nfa.free)
            found = frozenset((state,)) if within else self._nfa.closure(state)
            self._spend(len(found))
            self._closures[state] = found
        return found

    def _spend(self, steps: int) -> None:
        self._work += steps
        if self._work > MAX_WORK:
            raise self._too_large()

    def _too_large(self) -> UsageError:
        return too_large(self._pattern)


def too_large(pattern: Pattern) -> UsageError:
    """The error of a pattern whose automaton is beyond the limits."""
    return UsageError(
        f"the pattern '{shorten(pattern.source)}' needs too large an automaton: take smaller "
        "repetitions, and fewer of them side by side"
    )


def _spelled(
    nfa: Nfa, letters: Mapping[str, str], *, backward: bool
) -> list[list[tuple[frozenset[str], int]]]:
    """The arcs of each state over the characters of spellings; some letters take several.

    States after those of ``nfa`` are within such a letter.
    """
    every = "".join(letters)
    single = {one: text for one, text in letters.items() if len(text) == 1}
    edges: list[list[tuple[frozenset[str], int]]] = [[] for _ in nfa.arcs]
    known: dict[CharSet, tuple[frozenset[str], list[str]]] = {}
    for state, arc in enumerate(nfa.arcs):
        if arc is None:
            continue
        characters, target = arc
        if characters not in known:
            members = characters.members(every)
            several = sorted({letters[one] for one in members if one not in single} - {""})
            known[characters] = frozenset(single[one] for one in members & single.keys()), several
        plain, several = known[characters]
        if plain:
            edges[state].append((plain, target))
        nodes = {"": state}
        for text in (one[::-1] if backward else one for one in several):
            for end in range(1, len(text)):
                if text[:end] not in nodes:
                    nodes[text[:end]] = len(edges)
                    edges[nodes[text[: end - 1]]].append((frozenset(text[end - 1]), len(edges)))
                    edges.append([])
            edges[nodes[text[:-1]]].append((frozenset(text[-1]), target))
    return edges


def _trimmed(
    pattern: Pattern,
    rows: Sequence[Sequence[tuple[int, int]]],
    accepting: Sequence[bool],
    groups: Sequence[Sequence[int]],
    size: int,
) -> Automaton:
    """The automaton of the states from which an end can be reached.

    ``rows``: for each state the groups of symbols that leave it, and the states after them.
    """
    before: list[list[int]] = [[] for _ in rows]
    for state, row in enumerate(rows):
        for _, target in row:
            before[target].append(state)
    distances = {state: 0 for state, ends in enumerate(accepting) if ends}
    queue = list(distances)
    for state in queue:
        for other in before[state]:
            if other not in distances:
                distances[other] = distances[state] + 1
                queue.append(other)
    if not any(target in distances for _, target in rows[0]):
        raise UsageError(
            f"the pattern '{shorten(pattern.source)}' matches no text that the model can write"
        )
    least = 1 + min(distances[target] for _, target in rows[0] if target in distances)
    # state 0 leads to an end, so it stays the first
    numbers = {state: number for number, state in enumerate(sorted(distances))}
    members = [np.array(group) for group in groups]
    counts, symbols, targets, edges = [], [], [], 0
    for state in numbers:
        leaving = [(members[group], numbers[to]) for group, to in rows[state] if to in numbers]
        if accepting[state]:
            leaving.append((np.array([EOS]), 0))
        found = np.concatenate([np.zeros(0, dtype=np.int64), *(group for group, _ in leaving)])
        edges += len(found)
        if edges > MAX_EDGES:
            raise too_large(pattern)
        order = found.argsort()
        after = np.repeat([to for _, to in leaving], [len(group) for group, _ in leaving])
        counts.append(len(found))
        symbols.append(found[order])
        targets.append(after[order])
    return _packed(np.array(counts), np.concatenate(symbols), np.concatenate(targets), size, least)


def _packed(
    counts: Int[np.ndarray, "Q"],
    symbols: Int[np.ndarray, "E"],
    targets: Int[np.ndarray, "E"],
    size: int,
    least: int,
    *,
    empty: bool = False,
) -> Automaton:
    """The automaton of the edges, whose numbers by state are ``counts``."""
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    symbols, targets = symbols.astype(np.int32), targets.astype(np.int32)
    return Automaton(offsets, symbols, targets, size, least, empty)
