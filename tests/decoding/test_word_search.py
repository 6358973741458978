"""The search for words against the enumeration of everything that a small model can spell."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charseq.data.text.vocabulary import BOS, EOS, SPECIALS, UNK
from charseq.decoding.search import sample
from charseq.decoding.word_search import Index, SymbolTable, WordLimit, Words, find_words, log_sum

SEEDS = st.integers(0, 2**31)
LETTERS = ["a", "b", " "]
PIECES = [" a", " ab", "a", "b", "ab", " "]


def inventory_of(symbols: Sequence[str]) -> SymbolTable:
    return SymbolTable([""] * SPECIALS + list(symbols))


class Markov:
    """Log-probabilities by the two symbols before; a state is the symbol before the last."""

    def __init__(self, seed: int, symbols: Sequence[str]) -> None:
        size = SPECIALS + len(symbols)
        logits = 2 * np.random.default_rng(seed).normal(size=(size, size, size))
        logits[:, :, :EOS] = -np.inf
        chances = np.exp(logits)
        with np.errstate(divide="ignore"):
            table = np.log(chances / chances.sum(-1, keepdims=True))
        self.table = table.astype(np.float32)
        self.symbols = symbols

    def step(self, symbols: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert len(symbols) == len(state)
        return self.table[state, symbols], symbols

    def select(self, state: np.ndarray, rows: np.ndarray, width: int) -> np.ndarray:
        return state[rows]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.symbols[number - SPECIALS] for number in ids)

    def chance(self, before: tuple[int, int], ids: Sequence[int]) -> float:
        """Of ``ids`` after two symbols."""
        path = (*before, *ids)
        logs = [self.table[path[k], path[k + 1], path[k + 2]] for k in range(len(ids))]
        return float(np.exp(np.sum(logs, dtype="f8")))

    def boundary(self, before: tuple[int, int]) -> float:
        """That a symbol follows which closes what stood before."""
        ends = [k for k, text in enumerate(self.symbols, SPECIALS) if text.startswith(" ")]
        return sum(self.chance(before, [end]) for end in (EOS, *ends))

    def words(self, before: tuple[int, int], wanted: str, limit: int) -> dict[str, float]:
        """Every word of up to ``limit`` symbols that begins as wanted, by plain enumeration."""
        found: dict[str, float] = {}
        numbers = range(SPECIALS, SPECIALS + len(self.symbols))
        for length in range(1, limit + 1):
            for ids in itertools.product(numbers, repeat=length):
                text = self.decode(ids)
                word = text.removeprefix(" ")
                # a space before the word where one is wanted, and none elsewhere
                if " " in word or not word or text.startswith(" ") != wanted.startswith(" "):
                    continue
                if text.startswith(wanted):
                    chance = self.chance(before, ids) * self.boundary((*before, *ids)[-2:])
                    found[word] = found.get(word, 0.0) + chance
        return found


def search(
    model: Markov,
    before: Sequence[tuple[int, int]],
    wanted: Sequence[str],
    *,
    n: int = 9999,
    width: int = 9999,
    limit: int = 3,
) -> list[Words]:
    pairs = np.array(before)
    return find_words(
        model,
        pairs[:, 1],
        pairs[:, 0],
        wanted,
        inventory_of(model.symbols),
        n=n,
        width=width,
        limit=limit,
        decode=model.decode,
    )


def chances(words: Words) -> dict[str, float]:
    return {word: math.exp(score) for word, score in words.scores.items()}


# --- texts in order


WORDS = st.lists(st.text("ab c", max_size=4), max_size=20)


@settings(max_examples=100)
@given(WORDS, st.text("ab c", max_size=5))
def test_texts_that_begin_alike_stand_together(texts: list[str], prefix: str) -> None:
    index = Index(texts)
    expected = [k for k, text in enumerate(texts) if text and text.startswith(prefix)]
    assert index.starting(prefix).tolist() == expected
    assert sorted(index.ids[index.range(prefix)].tolist()) == expected
    assert [texts[k] for k in index.ids] == index.texts == sorted(filter(None, texts))


@settings(max_examples=100)
@given(WORDS, st.text("ab c", max_size=5))
def test_heads_are_the_shorter_texts_that_a_text_begins_with(texts: list[str], text: str) -> None:
    expected = [k for k, one in enumerate(texts) if one and text != one and text.startswith(one)]
    assert sorted(Index(texts).heads(text)) == expected


# --- against everything there is


@pytest.mark.parametrize("symbols", [LETTERS, PIECES])
@settings(max_examples=25)
@given(seed=SEEDS, wanted=st.sampled_from(["", " ", "a", " a", "ab", " ab", "b", " ba", "c"]))
def test_a_wide_search_finds_every_word(symbols: list[str], seed: int, wanted: str) -> None:
    model = Markov(seed, symbols)
    (found,) = search(model, [(BOS, 5)], [wanted])
    expected = model.words((BOS, 5), wanted, limit=3)
    assert chances(found) == pytest.approx(expected, rel=1e-5)
    assert math.exp(found.boundary) == pytest.approx(model.boundary((BOS, 5)), rel=1e-5)


@pytest.mark.parametrize("symbols", [LETTERS, PIECES])
@pytest.mark.parametrize("wanted", ["", " ", "ab", " ab"])
def test_all_words_are_as_likely_as_their_beginning(symbols: list[str], wanted: str) -> None:
    """The sum over words of up to 14 symbols, where longer ones are next to impossible."""
    model = Markov(3, symbols)
    model.table[:, :, EOS] = np.log(0.7)
    others = np.delete(np.arange(len(model.table)), EOS)
    rest = np.exp(model.table[:, :, others])
    rest[..., UNK - 1] = 0  # no word has an unknown symbol in it
    model.table[:, :, others] = np.log(np.maximum(0.3 * rest / rest.sum(-1, keepdims=True), 1e-30))
    (found,) = search(model, [(BOS, 5)], [wanted], limit=14, width=400)
    total = sum(chances(found).values())
    assert total == pytest.approx(math.exp(found.prefix), rel=1e-3)


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 4), st.integers(1, 6))
def test_the_first_n_of_a_wide_search_are_the_likeliest(seed: int, n: int, limit: int) -> None:
    """The search may stop early: what it has not seen is less likely."""
    model = Markov(seed, LETTERS)
    (found,) = search(model, [(BOS, 4)], [" "], n=n, width=3**limit, limit=limit)
    expected = model.words((BOS, 4), " ", limit)
    best = sorted(expected.values(), reverse=True)[:n]
    assert sorted(chances(found).values(), reverse=True)[:n] == pytest.approx(best, rel=1e-5)


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 4), st.sampled_from([LETTERS, PIECES]))
def test_a_narrow_search_finds_words_with_no_more_than_their_probability(
    seed: int, width: int, symbols: list[str]
) -> None:
    model = Markov(seed, symbols)
    (found,) = search(model, [(BOS, 4)], [" a"], n=2, width=width, limit=4)
    expected = model.words((BOS, 4), " a", limit=4)
    assert all(chance <= expected[word] * (1 + 1e-5) for word, chance in chances(found).items())


@settings(max_examples=25)
@given(SEEDS, st.lists(st.sampled_from(["", " ", " a", "ab", " bb"]), min_size=1, max_size=6))
def test_places_in_one_call_are_searched_as_alone(seed: int, wanted: list[str]) -> None:
    model = Markov(seed, PIECES)
    before = [(BOS, SPECIALS + k) for k in range(len(wanted))]
    together = search(model, before, wanted, n=2, width=3, limit=5)
    for place, text, found in zip(before, wanted, together, strict=True):
        assert search(model, [place], [text], n=2, width=3, limit=5) == [found]


def test_nothing_begins_with_what_cannot_be_spelt() -> None:
    model = Markov(1, LETTERS)
    before = [(BOS, 4)] * 2
    missing, other = search(model, before, [" c", " a"])
    assert (missing.scores, missing.prefix) == ({}, -math.inf)
    assert other == search(model, before[:1], [" a"])[0]


def test_the_ways_to_cut_a_word_add_up() -> None:
    model = Markov(2, PIECES)
    (found,) = search(model, [(BOS, 4)], [" ab"], limit=2)
    ways = [(4, 7), (5,), (9, 8)]
    expected = sum(
        model.chance((BOS, 4), way) * model.boundary((BOS, 4, *way)[-2:]) for way in ways
    )
    assert chances(found)["ab"] == pytest.approx(expected, rel=1e-5)


def test_bytes_that_are_no_text_are_no_word() -> None:
    model = Markov(2, ["a", "\ufffd", " "])
    (found,) = search(model, [(BOS, 4)], [" "])
    assert set(found.scores) == {"a", "aa"}


def test_sums_of_logarithms() -> None:
    assert log_sum(np.log([0.25, 0.5])) == pytest.approx(math.log(0.75))
    assert log_sum(np.array([-3000.0, -3000.0])) == pytest.approx(-3000 + math.log(2))
    assert log_sum(np.array([-np.inf, -np.inf])) == -math.inf
    assert log_sum(np.array([])) == -math.inf


# --- what may be drawn


def lines(model: Markov, wanted: Sequence[str], most: int, seed: int = 0) -> list[str]:
    bounded = WordLimit(model, inventory_of(model.symbols), most)
    count = len(wanted)
    symbols = np.where([bool(text) for text in wanted], 5, BOS)
    begun = bounded.start(symbols, np.full(count, BOS), wanted)
    found = sample(
        bounded, symbols, begun, [40] * count, temperature=1.0, top_p=1.0,
        seeds=[(seed, row) for row in range(count)], forbidden=(UNK,),
    )  # fmt: skip
    return [model.decode(one.ids) for one in found]


@settings(max_examples=12)
@given(SEEDS, st.integers(1, 3), st.sampled_from([LETTERS, PIECES]))
def test_drawn_lines_begin_a_word_and_have_so_many_words(
    seed: int, most: int, symbols: list[str]
) -> None:
    model = Markov(seed, symbols)
    going_on, fresh = lines(model, [" "] * 20, most), lines(model, [""] * 20, most)
    assert all(line == "" or line.startswith(" ") for line in going_on)
    assert all(line.count(" ") <= most for line in going_on)
    assert all(line.count(" ") < most for line in fresh)


def test_drawn_lines_have_as_many_words_as_they_may() -> None:
    found = lines(Markov(3, PIECES), [" "] * 50, 3)
    assert {line.count(" ") for line in found} == {0, 1, 2, 3}


def test_the_last_word_is_finished() -> None:
    """It ends where another would begin, as often as the model ends it there."""
    model = Markov(4, LETTERS)
    space = SPECIALS + LETTERS.index(" ")
    model.table[:, :, :] = -np.inf
    model.table[:, :, 4] = math.log(0.5)
    model.table[:, :, space] = math.log(0.5)
    model.table[:, space] = -np.inf
    model.table[:, space, 4] = 0.0
    found = lines(model, [" "] * 400, 1)
    assert {line.strip("a") for line in found} == {" "}
    assert sum(line == " a" for line in found) == pytest.approx(200, abs=40)
