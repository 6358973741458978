"""Search against enumeration, its own rule in plain loops, and rescoring; sampling, counted."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charseq.data.text.vocabulary import BOS, EOS
from charseq.decoding.search import (
    Hypothesis,
    LengthLimits,
    _expand,
    beam,
    greedy,
    penalty,
    sample,
    top_k,
)
from charseq.decoding.seq2seq_numpy import NumpySeq2Seq, shapes_of
from charseq.kernels.cell_table import CELLS

SEEDS = st.integers(0, 2**31)
Found = list[tuple[tuple[int, ...], float]]


class Markov:
    """A model as a table: text, symbol before last, last symbol -> log-probabilities.

    All it knows is in its state, so a search that hands back the wrong rows gets wrong answers.
    """

    def __init__(self, seed: int, *, texts: int = 1, size: int = 6, banned: float = 0.0) -> None:
        random = np.random.default_rng(seed)
        logits = 2 * random.normal(size=(texts, size, size, size))
        forbidden = random.random(logits.shape) < banned
        forbidden[..., EOS] &= ~forbidden.all(axis=-1)
        forbidden[:, BOS, BOS, 3] = False  # no output is empty, so something can be written
        logits[forbidden] = -np.inf
        with np.errstate(divide="ignore"):
            self.table = np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
        self.rows: list[int] = []

    def start(self, *texts: int) -> np.ndarray:
        return np.array([[text, BOS] for text in texts], dtype=np.int64).reshape(-1, 2)

    def step(self, symbols: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert len(symbols) == len(state)
        self.rows.append(len(symbols))
        logs = self.table[state[:, 0], state[:, 1], symbols]
        return logs, np.stack([state[:, 0], symbols], axis=1)

    def select(self, state: np.ndarray, rows: np.ndarray, width: int) -> np.ndarray:
        chosen = state[rows]
        # rows come text by text, ``width`` for each
        assert len(rows) % width == 0
        assert bool((chosen.reshape(-1, width, 2)[:, :, 0] == chosen[::width, :1]).all())
        return chosen

    def logs(self, text: int, ids: tuple[int, ...]) -> np.ndarray:
        """What may follow ``ids``."""
        before, last = (BOS, BOS, *ids)[-2:]
        return self.table[text, before, last]

    def score(self, text: int, ids: tuple[int, ...]) -> float:
        """The sum of the logarithms of ``ids``, without an end."""
        return float(sum(self.logs(text, ids[:place])[one] for place, one in enumerate(ids)))

    def enumerate(self, text: int, limit: int) -> Found:
        """Every output of 1 to ``limit`` symbols that can end, best first."""
        others = [symbol for symbol in range(self.table.shape[-1]) if symbol != EOS]
        found = []
        for length in range(1, limit + 1):
            for ids in itertools.product(others, repeat=length):
                score = self.score(text, ids) + self.logs(text, ids)[EOS]
                if score > -np.inf:
                    found.append((ids, score))
        return sorted(found, key=lambda one: -one[1])


class Table:
    """A model whose answer is the same table at every step of every text."""

    def __init__(self, logs: list[float]) -> None:
        self.logs = np.array(logs)

    def step(self, symbols: np.ndarray, state: None) -> tuple[np.ndarray, None]:
        return np.tile(self.logs, (len(symbols), 1)), state

    def select(self, state: None, rows: np.ndarray, width: int) -> None:
        return state


def pairs(hypotheses: list[Hypothesis]) -> Found:
    assert not any(one.truncated for one in hypotheses)
    return [(one.ids, one.score) for one in hypotheses]


def agree(found: Found, expected: Found) -> None:
    assert [ids for ids, _ in found] == [ids for ids, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected])


def by_the_rule(
    model: Markov,
    text: int,
    limit: int,
    width: int,
    silent: int | None = None,
    *,
    empty: bool = False,
) -> list[Hypothesis]:
    """The rule of ``beam`` in plain loops, for one text."""
    alive: Found = [((), 0.0)]
    finished: Found = []
    for length in range(limit + 1):
        continuations = [
            (ids, symbol, score + logs)
            for ids, score in alive
            for symbol, logs in enumerate(model.logs(text, ids))
            if logs > -np.inf and (empty or not (symbol == EOS and set(ids) <= {silent}))
        ]
        best = heapq.nlargest(2 * width, continuations, key=lambda one: one[2])
        finished += [(ids, total) for ids, symbol, total in best[:width] if symbol == EOS]
        finished = heapq.nlargest(width, finished, key=lambda one: one[1])
        going = [((*ids, one), total) for ids, one, total in best if one != EOS][:width]
        if not going or (len(finished) == width and going[0][1] <= finished[-1][1]):
            break
        if length == limit and (not finished or going[0][1] > finished[0][1]):
            ids = going[0][0][:-1]
            blank = set(ids) <= {silent} and not empty
            end = -math.inf if blank else float(model.logs(text, ids)[EOS])
            cut = Hypothesis(ids, dict(alive)[ids], truncated=True, end=end)
            return [cut, *(Hypothesis(*one) for one in finished)][:width]
        alive = going
    return [Hypothesis(*one) for one in finished]


# --- against the whole space


@settings(max_examples=60)
@given(SEEDS, st.integers(0, 3), st.sampled_from([0.0, 0.4]))
def test_a_beam_as_wide_as_the_space_enumerates_it(seed: int, limit: int, banned: float) -> None:
    model = Markov(seed, size=4, banned=banned)
    expected = model.enumerate(0, limit)
    (found,) = beam(model, model.start(0), [limit], width=4 ** (limit + 1))
    ended = [one for one in found if not one.truncated]
    agree(pairs(ended), expected)
    assert sum(math.exp(one.score + one.end) for one in found) < 1 + 1e-9
    assert [one.truncated for one in found] == [True] * (len(found) - len(ended)) + [False] * len(
        ended
    )
    assert len(found) - len(ended) == 1 or expected


def test_the_probabilities_of_all_outputs_are_one() -> None:
    model = Markov(1, size=4)
    model.table[...] = np.log([0.1, 0.05, 0.8, 0.05])
    (found,) = beam(model, model.start(0), [4], width=4**5)
    # all but the empty one, and those that are longer than the limit
    assert sum(math.exp(one.score) for one in found) == pytest.approx(0.2 - 0.2**5)


# --- against the rule


@settings(max_examples=80)
@given(SEEDS, st.integers(0, 6), st.integers(1, 5), st.sampled_from([0.0, 0.5]))
def test_a_beam_follows_its_rule(seed: int, limit: int, width: int, banned: float) -> None:
    model = Markov(seed, banned=banned)
    (found,) = beam(model, model.start(0), [limit], width=width)
    expected = by_the_rule(model, 0, limit, width)
    assert [one.truncated for one in found] == [one.truncated for one in expected]
    agree(*([(one.ids, one.score) for one in ones] for ones in (found, expected)))


@settings(max_examples=60)
@given(SEEDS, st.integers(0, 6), st.sampled_from([0.0, 0.6]))
def test_a_beam_of_one_is_greedy(seed: int, limit: int, banned: float) -> None:
    model = Markov(seed, banned=banned)
    (expected,) = greedy(model, model.start(0), [limit])
    assert beam(model, model.start(0), [limit], width=1) == [[expected]]
    assert expected == by_the_rule(model, 0, limit, 1)[0]


@settings(max_examples=60)
@given(SEEDS, st.integers(1, 6), st.integers(1, 8))
def test_n_best_are_distinct_sorted_within_the_limit_and_scored_right(
    seed: int, limit: int, width: int
) -> None:
    model = Markov(seed, banned=0.3)
    (found,) = beam(model, model.start(0), [limit], width=width)
    assert 1 <= len(found) <= width
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert len({(one.ids, one.truncated) for one in found}) == len(found)
    for one in found:
        end = 0.0 if one.truncated else model.logs(0, one.ids)[EOS]
        assert len(one.ids) <= limit
        assert EOS not in one.ids
        assert math.isfinite(one.score)
        assert one.score == pytest.approx(model.score(0, one.ids) + end)


# --- several texts in one call


@settings(max_examples=40)
@given(SEEDS, st.lists(st.integers(0, 6), min_size=1, max_size=6), st.integers(1, 4))
def test_texts_in_one_call_are_found_as_alone(seed: int, limits: list[int], width: int) -> None:
    texts = range(len(limits))
    model = Markov(seed, texts=len(limits), banned=0.2)
    together = beam(model, model.start(*texts), limits, width=width)
    alone = [beam(model, model.start(k), [limits[k]], width=width)[0] for k in texts]
    assert together == alone
    model.rows = []
    at_once = greedy(model, model.start(*texts), limits)
    assert at_once == [greedy(model, model.start(k), [limits[k]])[0] for k in texts]


def test_finished_texts_cost_nothing() -> None:
    model = Markov(5, texts=5)
    limits = [0, 5, 1, 5, 3]
    found = greedy(model, model.start(*range(5)), limits)
    lengths = [len(one.ids) for one in found]
    assert len(set(lengths)) > 2
    assert model.rows == [sum(n >= step for n in lengths) for step in range(max(lengths) + 1)]
    model.rows = []
    beam(model, model.start(*range(5)), limits, width=3)
    assert model.rows == sorted(model.rows, reverse=True)
    assert model.rows[0] == 15
    assert model.rows[1] <= 12
    assert all(rows % 3 == 0 for rows in model.rows)


def test_no_texts_have_no_outputs() -> None:
    model = Markov(6)
    assert greedy(model, model.start(), []) == []
    assert beam(model, model.start(), [], width=3) == []


# --- limits and edges


NEVER_ENDS = Table([-np.inf, -np.inf, -np.inf, -np.inf, -0.25, -1.5])


@pytest.mark.parametrize("limit", [0, 1, 4])
def test_an_output_that_does_not_end_is_cut_and_marked(limit: int) -> None:
    expected = Hypothesis((4,) * limit, -0.25 * limit, truncated=True, end=-math.inf)
    assert greedy(NEVER_ENDS, None, [limit]) == [expected]
    assert beam(NEVER_ENDS, None, [limit], width=3) == [[expected]]


def test_an_output_as_long_as_the_limit_is_not_cut() -> None:
    logs = np.full((1, 6, 6, 6), -np.inf)
    # 4 after the start, 5 after 4, then the end
    logs[0, BOS, BOS, 4] = logs[0, BOS, 4, 5] = logs[0, 4, 5, EOS] = -0.5
    model = Markov(1)
    model.table = logs
    for found in (greedy(model, model.start(0), [2]), beam(model, model.start(0), [2], width=2)[0]):
        assert found == [Hypothesis((4, 5), -1.5)]
    for found in (greedy(model, model.start(0), [1]), beam(model, model.start(0), [1], width=2)[0]):
        assert found == [Hypothesis((4,), -0.5, truncated=True, end=-math.inf)]


@pytest.mark.parametrize("width", [1, 2, 3, 7])
def test_a_likelier_unfinished_output_is_first_and_truncated(width: int) -> None:
    """At the limit the likelier beginning wins in a beam of any width, as in greedy search."""
    model = Table([-np.inf, -np.inf, -3.0, -np.inf, -0.1, -np.inf])
    cut = Hypothesis((4, 4), -0.2, truncated=True, end=-3.0)
    ended = [Hypothesis((4,), -3.1), Hypothesis((4, 4), -3.2)]
    (found,) = beam(model, None, [2], width=width)
    # a beam of one never takes the end, which is not the likeliest symbol
    assert found == [cut, *ended][: 3 if width > 1 else 1][:width]
    assert greedy(model, None, [2]) == [cut]


def test_a_likelier_finished_output_stays_first_at_the_limit() -> None:
    """The beginning is likelier, but not together with anything after it."""
    logs = np.full((1, 6, 6, 6), -np.inf)
    logs[0, BOS, BOS, 4], logs[0, BOS, 4, EOS], logs[0, BOS, 4, 5] = -0.1, -0.5, -0.9
    model = Markov(1)
    model.table = logs
    for width in (1, 2, 5):
        assert beam(model, model.start(0), [1], width=width) == [[Hypothesis((4,), -0.6)]]
    assert greedy(model, model.start(0), [1]) == [Hypothesis((4,), -0.6)]


@pytest.mark.parametrize("width", [1, 2, 5])
def test_no_output_is_empty(width: int) -> None:
    """The end is by far the likeliest at once; the first symbol is the likeliest of the others."""
    model = Table([-np.inf, -np.inf, -0.01, -np.inf, -5.0, -6.0])
    (found,) = beam(model, None, [3], width=width)
    assert found[0] == Hypothesis((4,), -5.01)
    assert () not in [one.ids for one in found]
    assert greedy(model, None, [3]) == [Hypothesis((4,), -5.01)]


@pytest.mark.parametrize("width", [1, 2, 5])
def test_an_output_may_be_empty_where_that_is_allowed(width: int) -> None:
    model = Table([-np.inf, -np.inf, -0.01, -np.inf, -5.0, -6.0])
    (found,) = beam(model, None, [3], width=width, empty=True)
    assert found[0] == Hypothesis((), -0.01)
    assert [one.ids for one in found[1:2]] == ([(4,)] if width > 1 else [])
    assert greedy(model, None, [3], empty=True) == [Hypothesis((), -0.01)]


@settings(max_examples=60)
@given(SEEDS, st.integers(0, 5), st.integers(1, 5), st.sampled_from([None, 5]))
def test_a_beam_with_empty_outputs_follows_its_rule(
    seed: int, limit: int, width: int, silent: int | None
) -> None:
    model = Markov(seed)
    model.table[..., EOS] += 1.0
    (found,) = beam(model, model.start(0), [limit], width=width, silent=silent, empty=True)
    expected = by_the_rule(model, 0, limit, width, silent, empty=True)
    assert [(one.truncated, one.end) for one in found] == [
        (one.truncated, one.end) for one in expected
    ]
    agree(*([(one.ids, one.score) for one in ones] for ones in (found, expected)))
    narrow = greedy(model, model.start(0), [limit], silent=silent, empty=True)
    assert narrow == [by_the_rule(model, 0, limit, 1, silent, empty=True)[0]]


@pytest.mark.parametrize("width", [1, 2, 5])
def test_an_output_of_silent_symbols_does_not_end(width: int) -> None:
    model = Table([-np.inf, -np.inf, -0.5, -np.inf, -9.0, -1.5])
    (found,) = beam(model, None, [3], width=width, silent=5)
    cut = Hypothesis((5, 5, 5), -4.5, truncated=True, end=-math.inf)
    assert found[0] == cut
    assert found[1:2] == ([Hypothesis((4,), -9.5)] if width > 1 else [])
    assert all(set(one.ids) != {5} for one in found[1:])
    assert greedy(model, None, [3], silent=5) == [cut]


@settings(max_examples=60)
@given(SEEDS, st.integers(0, 5), st.integers(1, 5), st.sampled_from([0.0, 0.5]))
def test_a_beam_with_a_silent_symbol_follows_its_rule(
    seed: int, limit: int, width: int, banned: float
) -> None:
    model = Markov(seed, banned=banned)
    model.table[..., 5] += 3.0  # deletions are likely
    (found,) = beam(model, model.start(0), [limit], width=width, silent=5)
    expected = by_the_rule(model, 0, limit, width, silent=5)
    assert [(one.truncated, one.end) for one in found] == [
        (one.truncated, one.end) for one in expected
    ]
    agree(*([(one.ids, one.score) for one in ones] for ones in (found, expected)))
    assert greedy(model, model.start(0), [limit], silent=5) == [
        by_the_rule(model, 0, limit, 1, silent=5)[0]
    ]


@settings(max_examples=80)
@given(SEEDS, st.integers(1, 5), st.integers(1, 6), st.sampled_from([3, 12]))
def test_of_equal_scores_the_earlier_row_and_symbol_come_first(
    seed: int, limit: int, width: int, most: int
) -> None:
    model = Markov(seed, texts=2, size=12)
    costs = np.random.default_rng(seed).integers(1, most + 1, model.table.shape)
    model.table = -costs.astype(float)
    limits = [limit, 1]
    wide = [by_the_rule(model, text, limits[text], width) for text in (0, 1)]
    assert beam(model, model.start(0, 1), limits, width=width) == wide
    narrow = [by_the_rule(model, text, limits[text], 1)[0] for text in (0, 1)]
    assert greedy(model, model.start(0, 1), limits) == narrow


def test_the_best_continuations_are_the_first_of_a_stable_sort() -> None:
    random = np.random.default_rng(1)
    for _ in range(300):
        width, size, most = (int(random.integers(*ends)) for ends in ((1, 7), (5, 60), (3, 200)))
        logs = -random.integers(1, most, size=(3, width, size)).astype(np.float32)
        scores = -random.integers(0, most, size=(3, width)).astype(float)
        parents, chosen, totals = _expand(scores, logs)
        every = (scores[:, :, None] + logs).reshape(3, -1)
        places = np.argsort(-every, axis=1, kind="stable")[:, : 2 * width]
        assert np.array_equal(parents * size + chosen, places)
        assert np.array_equal(totals, np.take_along_axis(every, places, axis=1))


def test_search_goes_on_while_a_longer_output_can_win() -> None:
    """A sure way that ends late beats the end at once, although a beam of one is full at once."""
    logs = np.full((1, 6, 6, 6), -np.inf)
    logs[0, BOS, BOS, 3] = 0.0
    logs[0, BOS, 3, EOS] = math.log(0.4)
    logs[0, BOS, 3, 4] = math.log(0.35)
    logs[0, BOS, 3, 5] = math.log(0.25)
    logs[0, 3, 4, EOS] = logs[0, 3, 5, EOS] = 0.0
    model = Markov(1)
    model.table = logs
    (found,) = beam(model, model.start(0), [3], width=2)
    assert [one.ids for one in found] == [(3,), (3, 4)]
    (found,) = beam(model, model.start(0), [3], width=3)
    assert [one.ids for one in found] == [(3,), (3, 4), (3, 5)]


def test_a_search_ends_when_nothing_can_get_better() -> None:
    certain = np.full((1, 6, 6, 6), -np.inf)
    certain[..., EOS] = 0.0
    certain[0, BOS, BOS, 3] = 0.0
    likely = np.broadcast_to(np.log([0.02, 0.02, 0.9, 0.02, 0.02, 0.02]), (1, 6, 6, 6))
    for table, steps in ((certain, 2), (likely, 5)):
        model = Markov(1)
        model.table = table
        beam(model, model.start(0), [50], width=3)
        assert len(model.rows) <= steps


# --- length penalty


def test_the_penalty_is_that_of_the_paper() -> None:
    assert penalty(1, 0.7) == pytest.approx(1)
    assert penalty(7, 1.0) == pytest.approx(2)
    assert penalty(13, 0.5) == pytest.approx(math.sqrt(3))
    assert [penalty(length, 0.0) for length in (1, 2, 77)] == [1.0, 1.0, 1.0]


@settings(max_examples=60)
@given(SEEDS, st.integers(0, 3), st.floats(0.1, 3))
def test_a_beam_as_wide_as_the_space_finds_the_best_by_penalised_score(
    seed: int, limit: int, strength: float
) -> None:
    model = Markov(seed, size=4, banned=0.2)

    def merit(one: tuple[tuple[int, ...], float]) -> float:
        return one[1] / penalty(len(one[0]) + 1, strength)

    space = 4 ** (limit + 1)
    expected = sorted(model.enumerate(0, limit), key=lambda one: -merit(one))
    (found,) = beam(model, model.start(0), [limit], width=space, length_penalty=strength)
    ended = [one for one in found if not one.truncated]
    assert [one.score for one in ended] == pytest.approx([score for _, score in expected])
    assert [merit((one.ids, one.score)) for one in ended] == pytest.approx(
        [merit(one) for one in expected]
    )


def test_the_search_goes_on_while_a_longer_output_may_win_by_its_length() -> None:
    """Two short outputs fill the beam; what is less likely than both is longer, and better."""
    logs = np.full((1, 6, 6, 6), -np.inf)
    logs[0, BOS, BOS, 3] = 0.0
    logs[0, BOS, 3, EOS] = math.log(0.5)
    logs[0, BOS, 3, 4] = math.log(0.3)
    logs[0, BOS, 3, 5] = math.log(0.2)
    logs[0, 3, 4, EOS] = logs[0, 3, 5, 5] = logs[0, 5, 5, EOS] = 0.0
    model = Markov(1)
    model.table = logs
    (found,) = beam(model, model.start(0), [3], width=2)
    assert [one.ids for one in found] == [(3,), (3, 4)]
    (found,) = beam(model, model.start(0), [3], width=2, length_penalty=5.0)
    assert [one.ids for one in found] == [(3, 5, 5), (3, 4)]
    assert [one.score for one in found] == pytest.approx([math.log(0.2), math.log(0.3)])


@pytest.mark.parametrize(("chance", "steps"), [(0.41, 2), (0.47, 3)])
def test_the_search_ends_when_no_longer_output_can_win(chance: float, steps: int) -> None:
    """What goes on from 0.47 could, at its longest, be worth more than the 0.5 that has ended."""
    logs = np.full((1, 6, 6, 6), -np.inf)
    logs[0, BOS, BOS, 3] = 0.0
    logs[0, BOS, 3, EOS], logs[0, BOS, 3, 4] = math.log(0.5), math.log(chance)
    logs[0, 3, 4, EOS] = math.log(0.1)
    model = Markov(1)
    model.table = logs
    ended = math.log(0.5) / penalty(2, 1.0)
    assert (math.log(chance) / penalty(3, 1.0) > ended) == (steps == 3)
    (found,) = beam(model, model.start(0), [2], width=1, length_penalty=1.0)
    assert [one.ids for one in found] == [(3,)]
    assert len(model.rows) == steps


# --- sampling

CHANCES = [0.0, 0.0, 0.1, 0.2, 0.4, 0.3]
"""Of PAD, BOS, EOS and three symbols."""
with np.errstate(divide="ignore"):
    LOADED = Table(np.log(CHANCES).tolist())


def drawn(count: int, *, limit: int = 0, seed: int = 0, **how: Any) -> list[Hypothesis]:
    """``count`` rows of dice, each with its own seed."""
    how = {"temperature": 1.0, "top_p": 1.0} | how
    seeds = [(seed, row) for row in range(count)]
    return sample(LOADED, np.full(count, BOS), None, [limit] * count, seeds=seeds, **how)


def shares(**how: Any) -> np.ndarray:
    """How often each symbol came first, of 4,000 times."""
    firsts = [(*one.ids, EOS)[0] for one in drawn(4000, limit=1, **how)]
    return np.bincount(firsts, minlength=len(CHANCES)) / 4000


def expect(found: np.ndarray, chances: list[float]) -> None:
    """Pearson's test: with up to three degrees of freedom, 16.3 is met once in a thousand."""
    expected = np.array(chances) / sum(chances)
    assert (found[expected == 0] == 0).all()
    known = expected > 0
    assert (4000 * (found - expected)[known] ** 2 / expected[known]).sum() < 16.3


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_symbols_come_as_often_as_they_should(temperature: float) -> None:
    expect(shares(temperature=temperature), [p ** (1 / temperature) for p in CHANCES])


@pytest.mark.parametrize(
    ("top_p", "chances"),
    [
        (0.39, [0, 0, 0, 0, 1, 0]),
        (0.41, [0, 0, 0, 0, 0.4, 0.3]),
        (0.69, [0, 0, 0, 0, 0.4, 0.3]),
        (0.71, [0, 0, 0, 0.2, 0.4, 0.3]),
        (0.95, CHANCES),
        (1.0, CHANCES),
    ],
)
def test_the_likeliest_that_reach_top_p_are_drawn_from(top_p: float, chances: list[float]) -> None:
    expect(shares(top_p=top_p), chances)


def test_top_p_is_of_what_the_temperature_leaves() -> None:
    """At a temperature of a half 0.4 and 0.3 become 0.53 and 0.3: they reach 0.8."""
    expect(shares(top_p=0.8, temperature=0.5), [0, 0, 0, 0, 0.16, 0.09])


def test_what_is_forbidden_is_left_to_the_others() -> None:
    expect(shares(forbidden=[4]), [0, 0, 0.1, 0.2, 0, 0.3])
    # the others are what top_p is of
    expect(shares(forbidden=[4, EOS], top_p=0.55), [0, 0, 0, 0, 0, 1])
    assert {one.ids for one in drawn(5, limit=1, temperature=0.0, forbidden=[4])} == {(5,)}


@settings(max_examples=40)
@given(
    SEEDS, st.integers(0, 6), st.sampled_from([(0.0, 1.0), (1.0, 1e-9), (1e-9, 1.0), (0.0, 0.5)])
)
def test_without_chance_it_is_greedy(seed: int, limit: int, how: tuple[float, float]) -> None:
    model = Markov(seed, texts=3, banned=0.3)
    model.table[:, BOS, BOS, EOS] = -np.inf  # a drawn text may be empty, a greedy one is not
    temperature, top_p = how
    found = sample(
        model, np.full(3, BOS), model.start(0, 1, 2), [limit] * 3,
        temperature=temperature, top_p=top_p, seeds=[1, 2, 3],
    )  # fmt: skip
    assert found == greedy(model, model.start(0, 1, 2), [limit] * 3)


def test_a_temperature_near_zero_is_no_overflow() -> None:
    assert {one.ids for one in drawn(3, limit=1, temperature=1e-300)} == {(4,)}


@settings(max_examples=40)
@given(SEEDS, st.lists(st.integers(0, 6), min_size=1, max_size=6), st.sampled_from([1.0, 0.8]))
def test_what_is_drawn_for_a_text_does_not_depend_on_its_neighbours(
    seed: int, limits: list[int], top_p: float
) -> None:
    texts = range(len(limits))
    model = Markov(seed, texts=len(limits), banned=0.2)
    how = {"temperature": 1.3, "top_p": top_p}
    symbols = np.full(len(limits), BOS)
    together = sample(model, symbols, model.start(*texts), limits, seeds=[*texts], **how)
    for k in texts:
        alone = sample(model, symbols[:1], model.start(k), limits[k : k + 1], seeds=[k], **how)
        assert alone == together[k : k + 1]
        (one,) = alone
        end = 0.0 if one.truncated else model.logs(k, one.ids)[EOS]
        assert one.score == pytest.approx(model.score(k, one.ids) + end)
        assert len(one.ids) == limits[k] or not one.truncated


def test_seeds_decide_what_is_drawn() -> None:
    assert drawn(50, limit=9, seed=1) == drawn(50, limit=9, seed=1)
    assert drawn(50, limit=9, seed=1) != drawn(50, limit=9, seed=2)
    assert len({one.ids for one in drawn(50, limit=9)}) > 20


def test_a_drawn_text_goes_on_after_the_given_symbol() -> None:
    logs = np.full((1, 6, 6, 6), -np.inf)
    logs[0, BOS, 5, 4] = logs[0, 5, 4, EOS] = 0.0
    model = Markov(1)
    model.table = logs
    (found,) = sample(
        model, np.array([5]), model.start(0), [3], temperature=1.0, top_p=1.0, seeds=[0]
    )
    assert found == Hypothesis((4,), 0.0)


@settings(max_examples=80)
@given(st.lists(st.integers(-5, 5), max_size=30), st.integers(0, 33))
def test_the_best_places_are_the_first_of_a_stable_sort(values: list[int], n: int) -> None:
    array = np.where(np.array(values) == -5, -np.inf, np.array(values, dtype=float))
    assert top_k(array, n).tolist() == np.argsort(-array, kind="stable")[:n].tolist()


# --- with a network


def network(cell: str) -> NumpySeq2Seq:
    random = np.random.default_rng(8)
    sizes = {"embedding": 8, "hidden": 12, "layers": 1, "sources": 12, "targets": 11}
    shapes = shapes_of(cell=cell, attention=True, tied=True, **sizes)
    weights = {key: random.normal(0, 0.5, shape).astype("f4") for key, shape in shapes.items()}
    weights["output_bias"][EOS] -= 0.5  # so that some outputs are cut
    return NumpySeq2Seq(weights, cell=cell, layers=1)


def forced(model: NumpySeq2Seq, source: list[int], one: Hypothesis) -> float:
    """The score of an output when it is given symbol by symbol."""
    state: Any = model.start([source])
    labels = one.ids if one.truncated else (*one.ids, EOS)
    total = 0.0
    for given_symbol, label in zip((BOS, *one.ids), labels, strict=False):
        logs, state = model.step(np.array([given_symbol]), state)
        total += float(logs[0, label])
    return total


def test_a_score_is_that_of_teacher_forcing() -> None:
    sources, limits = [[4, 5, 6], [7, 8], [9], [4, 11, 10, 6]], [6, 1, 8, 5]
    kinds = set()
    for model in (network(cell) for cell in CELLS):
        state = model.start(sources)
        found = [[one] for one in greedy(model, state, limits)]
        found += beam(model, state, limits, width=4)
        for source, answer in zip(sources * 2, found, strict=True):
            for one in answer:
                assert one.score == pytest.approx(forced(model, source, one), abs=1e-5)
                if one.truncated:
                    whole = forced(model, source, replace(one, truncated=False))
                    assert one.score + one.end == pytest.approx(whole, abs=1e-5)
                kinds.add((one.truncated, min(len(one.ids), 2)))
    assert len(kinds) == 4  # short and long ones, cut and ended


# --- how long an output may get


PAIRS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 30)), min_size=1, max_size=30)


@settings(max_examples=60)
@given(PAIRS)
def test_limits_learn_the_longest_target_of_sources_up_to_a_length(
    lengths: list[tuple[int, int]],
) -> None:
    longest = LengthLimits.learn(lengths).longest
    assert len(longest) == max(source for source, _ in lengths) + 1
    for length, seen in enumerate(longest):
        assert seen == max([t for s, t in lengths if s <= length], default=0)


@settings(max_examples=60)
@given(PAIRS)
def test_limits_leave_room_and_never_fall(lengths: list[tuple[int, int]]) -> None:
    limits = LengthLimits.learn(lengths)
    for source, target in lengths:
        assert limits.of(source) >= target + 4
    found = [limits.of(length) for length in range(40)]
    assert found == sorted(found)


def test_limits_by_hand() -> None:
    limits = LengthLimits((0, 2, 2, 8))
    assert [limits.of(length) for length in range(4)] == [7, 7, 7, 14]
    # sources shorter than all seen have the limit of the shortest
    assert [LengthLimits((0, 0, 0, 0, 23, 28)).of(length) for length in (1, 3, 4)] == [33, 33, 33]
    # beyond the longest source seen they grow in proportion
    assert [limits.of(length) for length in (4, 6, 30)] == [18, 24, 104]
    assert LengthLimits((3,)).of(2) == 12
