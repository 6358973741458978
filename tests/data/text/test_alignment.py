"""Chances and walks against all walks, one by one; and what is said to follow the source."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.data.text import alignment
from charseq.data.text.alignment import DOUBT, LOG_ZERO, SURE, Actions, Aligner, cells, learn
from charseq.data.text.vocabulary import EOS, SPECIALS

A, B, C = range(SPECIALS, SPECIALS + 3)
SIZE = SPECIALS + 3
GO, SKIP = SIZE, 2 * SIZE
SIZES = (SIZE, SIZE)

Step = tuple[str, int, int]
"""What is done, at which source symbol, and what is written (0: nothing)."""


def walks(source: Sequence[int], target: Sequence[int]) -> Iterator[tuple[Step, ...]]:
    """Every way from the beginning of both to their ends."""
    if source:
        here = source[0]
        for rest in walks(source[1:], target):
            yield ("skip", here, 0), *rest
        if target:
            for rest in walks(source[1:], target[1:]):
                yield ("go", here, target[0]), *rest
    here = source[0] if source else EOS
    if target:
        for rest in walks(source, target[1:]):
            yield ("stay", here, target[0]), *rest
    elif not source:
        yield ()


def actions(walk: Sequence[Step]) -> list[int]:
    beginnings = {"stay": 0, "go": GO, "skip": SKIP}
    return [beginnings[what] + written for what, _, written in walk]


def log_of(aligner: Aligner, walk: Sequence[Step]) -> float:
    """The logarithm of the chance of a walk, up to where it stops."""
    total = 0.0
    for what, here, written in walk:
        if what == "skip":
            total += aligner.skip[here]
        else:
            total += (aligner.stay if what == "stay" else aligner.go_on)[here, written]
    return float(total)


def drawn(seed: int) -> Aligner:
    """Chances of any kind, none equal to another; nothing goes on from the end."""
    random = np.random.default_rng(seed)
    stay, go_on, skip = (-random.exponential(2.0, shape) for shape in (SIZES, SIZES, SIZE))
    go_on[EOS] = skip[EOS] = LOG_ZERO
    return Aligner(stay, go_on, skip)


def left_open(
    aligner: Aligner, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
) -> float:
    """The surprise of the likeliest walks."""
    return aligner.surprise(sources, targets, aligner.align(sources, targets))


def strings(count: int, seed: int, *, longest: int = 3) -> list[list[int]]:
    draw = random.Random(seed)
    return [draw.choices((A, B, C), k=draw.randint(0, longest)) for _ in range(count)]


IDS = st.lists(st.integers(A, C), max_size=4)
SOME = st.lists(st.tuples(IDS, IDS), min_size=1, max_size=6)


# --- actions


def test_actions_stay_go_on_or_only_go_on() -> None:
    made = Actions(SIZE)
    assert made.size == 2 * SIZE + 1
    assert Actions.of(made.size) == made
    assert made.spell([A, GO + B, SKIP, B, GO + C]) == [A, B, B, C]
    assert made.spell([]) == made.spell([SKIP, SKIP]) == []


@pytest.mark.parametrize("size", [0, 2, 30])
def test_their_number_is_odd(size: int) -> None:
    with pytest.raises(ValueError, match=f"^{size} is no number of actions"):
        Actions.of(size)


# --- the likeliest walk


@given(SOME, st.integers(0, 9))
def test_a_walk_is_the_best_of_all(pairs: list[tuple[list[int], list[int]]], seed: int) -> None:
    """Texts of all lengths in one table, sources longer than targets, shorter, and empty."""
    aligner = drawn(seed)
    found = aligner.align(*zip(*pairs, strict=True))
    for (source, target), walk in zip(pairs, found, strict=True):
        best = max(walks(source, target), key=lambda one: log_of(aligner, one))
        assert walk == actions(best)
        assert Actions(SIZE).spell(walk) == target
        assert sum(action >= SIZE for action in walk) == len(source)
        assert EOS not in walk


def test_nothing_is_written_for_nothing() -> None:
    aligner = drawn(1)
    assert aligner.align([[], [A]], [[], []]) == [[], [SKIP]]
    assert aligner.align([], []) == []


def test_at_the_end_it_can_only_write() -> None:
    assert drawn(2).align([[]], [[A, B]]) == [[A, B]]


@pytest.mark.parametrize("block", [1, 40, 10**6])
def test_blocks_change_no_walk(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, targets = strings(60, 1, longest=9), strings(60, 2, longest=9)
    aligner = drawn(3)
    alone = [aligner.align([s], [t])[0] for s, t in zip(sources, targets, strict=True)]
    monkeypatch.setattr(alignment, "BLOCK", block)
    assert aligner.align(sources, targets) == alone
    order = random.Random(1).sample(range(60), 60)
    turned = aligner.align([sources[row] for row in order], [targets[row] for row in order])
    assert turned == [alone[row] for row in order]


# --- expectation maximisation


PAIRS = strings(40, 5), strings(40, 6)


def after(rounds: int, patch: pytest.MonkeyPatch) -> Aligner:
    patch.setattr(alignment, "EM_ITERATIONS", rounds)
    return learn(*PAIRS, sizes=SIZES)


def expected(aligner: Aligner) -> Counter[Step]:
    """How often each step is taken, over all walks of ``PAIRS`` by their chances."""
    counts: Counter[Step] = Counter()
    for source, target in zip(*PAIRS, strict=True):
        ways = list(walks(source, target))
        chances = np.exp([log_of(aligner, way) for way in ways])
        for way, chance in zip(ways, chances / chances.sum(), strict=True):
            for step in way:
                counts[step] += chance
    return counts


@pytest.mark.parametrize("block", [1, 10**6])
@pytest.mark.parametrize("rounds", [0, 3])
def test_a_round_sets_chances_to_what_all_walks_expect(
    rounds: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for a pinch of what was believed at first."""
    monkeypatch.setattr(alignment, "BLOCK", block)
    counts = expected(after(rounds, monkeypatch))
    found = after(rounds + 1, monkeypatch)
    assert (found.go_on[EOS] == LOG_ZERO).all(), "from the end nothing goes on"
    assert found.skip[EOS] == LOG_ZERO
    totals = Counter({EOS: float(len(PAIRS[0]))})  # there every walk stops once
    for (_, here, _), count in counts.items():
        totals[here] += count
    for here in (A, B, C, EOS):
        chances = {"stay": found.stay[here], "go": found.go_on[here]}
        for what, written in ((w, t) for w in chances for t in (A, B, C)):
            wanted = counts[what, here, written] / totals[here]
            assert np.exp(chances[what][written]) == pytest.approx(wanted, abs=5e-4)
        wanted = counts["skip", here, 0] / totals[here]
        assert np.exp(found.skip[here]) == pytest.approx(wanted, abs=5e-4)


def test_the_pairs_become_likelier_with_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    likelihoods = []
    for rounds in range(12):
        aligner = after(rounds, monkeypatch)
        stop = np.log(1 - np.exp(aligner.stay[EOS]).sum())
        total = 0.0
        for source, target in zip(*PAIRS, strict=True):
            logs = [log_of(aligner, way) for way in walks(source, target)]
            total += np.logaddexp.reduce(logs) + stop
        likelihoods.append(total)
    assert (np.diff(likelihoods) > -1e-2).all()
    assert likelihoods[1] - likelihoods[0] > 1.0


def test_what_is_learnt_does_not_depend_on_blocks_or_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = learn(*PAIRS, sizes=SIZES)
    assert all(np.array_equal(*both) for both in zip(parts(one), again(), strict=True))
    turned = learn(PAIRS[0][::-1], PAIRS[1][::-1], sizes=SIZES)
    monkeypatch.setattr(alignment, "BLOCK", 7)
    for other in (learn(*PAIRS, sizes=SIZES), turned):
        for left, right in zip(parts(one), parts(other), strict=True):
            np.testing.assert_allclose(np.exp(left), np.exp(right), rtol=1e-9, atol=1e-15)


def parts(aligner: Aligner) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return aligner.stay, aligner.go_on, aligner.skip


def again() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return parts(learn(*PAIRS, sizes=SIZES))


def test_letters_that_vanish_or_double_are_found() -> None:
    """a is written x, b not at all, c as yy; and a z closes the word."""
    x, y, z = A, B, C
    rules = {A: [x], B: [], C: [y, y]}
    sources = [source for source in strings(80, 7, longest=6) if source]
    targets = [[t for s in source for t in rules[s]] + [z] for source in sources]
    aligner = learn(sources, targets, sizes=SIZES)
    assert aligner.align([[A, B, C, B, A]], [[x, y, y, x, z]]) == [
        [GO + x, SKIP, y, GO + y, SKIP, GO + x, z]
    ]


@pytest.mark.parametrize("known", [True, False])
def test_symbols_of_both_sides_answer_each_other(known: bool) -> None:
    """One pair says nothing of which symbol answers which; that they are the same does."""
    source, target = [A, B, C, B], [C, A, B, C, B]
    same = [(id_, id_) for id_ in (A, B, C)] if known else []
    (walk,) = learn([source], [target], sizes=SIZES, same=same).align([source], [target])
    copied = [C, GO + A, GO + B, GO + C, GO + B]
    assert (walk == copied) is known


def test_ids_that_were_not_drawn_can_be_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large data are learnt from in part: the other part has symbols of its own."""
    monkeypatch.setattr(alignment, "MOST_CELLS", 1)
    sources, targets = [[A, A], [B], [C, C, C]], [[A], [B, B, B], [C, C]]
    found = set()
    for seed in range(9):
        aligner = learn(sources, targets, sizes=SIZES, seed=seed)
        assert np.array_equal(aligner.stay, learn(sources, targets, sizes=SIZES, seed=seed).stay)
        found.add(aligner.stay.tobytes())
        for target, walk in zip(targets, aligner.align(sources, targets), strict=True):
            assert Actions(SIZE).spell(walk) == target
        assert np.isfinite(left_open(aligner, sources, targets))
    assert len(found) == 3, "one pair is drawn, even if it is too large, and any may be"


def test_enough_pairs_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not change nothing."""
    sources, targets = [[A, B]] * 30, [[A, B]] * 30
    monkeypatch.setattr(alignment, "MOST_CELLS", 9 * 12)
    part, twelve = (learn(sources[:k], targets[:k], sizes=SIZES) for k in (30, 12))
    assert all(np.array_equal(*both) for both in zip(parts(part), parts(twelve), strict=True))
    assert not np.array_equal(part.stay, learn(sources[:11], targets[:11], sizes=SIZES).stay)


def test_pairs_without_symbols_are_no_fault() -> None:
    for sources, targets in (([[]], [[]]), ([[A]], [[]]), ([[]], [[A]])):
        aligner = learn(sources, targets, sizes=SIZES)
        assert all(np.isfinite(part).all() for part in parts(aligner))
        assert Actions(SIZE).spell(aligner.align(sources, targets)[0]) == targets[0]
    bare = (SPECIALS + 1, SPECIALS)
    assert learn([[A]], [[]], sizes=bare).align([[A]], [[]]) == [[2 * SPECIALS]]


# --- whether the source is followed


def chances(**of: float) -> Aligner:
    """A goes on with A, B or nothing, as ``of`` says; nothing else can be."""
    go_on, skip = np.full(SIZES, LOG_ZERO), np.full(SIZE, LOG_ZERO)
    stay = np.full(SIZES, -1.0)
    go_on[A, A], go_on[A, B] = np.log(of["a"]), np.log(of["b"])
    skip[A] = np.log(of["none"])
    return Aligner(stay, go_on, skip)


def test_surprise_is_a_share_of_the_entropy() -> None:
    """Of two symbols that are written as often as each other, ln 2 each."""
    even = chances(a=0.5, b=0.5, none=1e-9)
    assert left_open(even, [[A], [A]], [[A], [B]]) == pytest.approx(1.0)
    biased = chances(a=0.75, b=0.25, none=1e-9)
    wanted = -(np.log(0.75) + np.log(0.25)) / 2 / np.log(2)
    assert left_open(biased, [[A], [A]], [[A], [B]]) == pytest.approx(wanted)
    silent = chances(a=0.5, b=0.25, none=0.25)  # what is left unwritten is a surprise as well
    wanted = -(np.log(0.5) + np.log(0.25) + np.log(0.25)) / 2 / np.log(2)
    assert left_open(silent, [[A], [A, A]], [[A], [B]]) == pytest.approx(wanted)
    # the B at the end is written while the walk stays: it counts for the entropy alone
    sure = chances(a=0.5, b=1e-9, none=1e-9)
    assert left_open(sure, [[A]], [[A, B]]) == pytest.approx(1.0)


def test_where_nothing_could_surprise_nothing_is_followed() -> None:
    aligner = drawn(1)
    assert left_open(aligner, [[A], [B]], [[A], [A]]) == 1.0, "one symbol alone is no choice"
    assert left_open(aligner, [[A]], [[]]) == 1.0
    assert left_open(aligner, [], []) == 1.0


LETTERS = 12
SHIFTED = {
    "copy": list,
    "caesar": lambda ids: [SPECIALS + (id_ - SPECIALS + 3) % LETTERS for id_ in ids],
    "with an ending": lambda ids: [*ids, SPECIALS, SPECIALS + 1],
    "without vowels": lambda ids: [id_ for id_ in ids if id_ > SPECIALS + 2],
    "doubled": lambda ids: [id_ for id_ in ids for _ in range(2)],
}
SCATTERED = {"reversed": lambda ids: ids[::-1], "sorted": sorted}


@pytest.mark.parametrize("name", [*SHIFTED, *SCATTERED])
def test_what_follows_its_source_is_told_from_what_does_not(name: str) -> None:
    draw = random.Random(3)
    sources = [
        [draw.randrange(SPECIALS, SPECIALS + LETTERS) for _ in range(draw.randint(3, 9))]
        for _ in range(250)
    ]
    targets = [({**SHIFTED, **SCATTERED}[name])(source) for source in sources]
    sizes = (SPECIALS + LETTERS,) * 2
    same = [(id_, id_) for id_ in range(SPECIALS, SPECIALS + LETTERS)]
    for hints in ([], same):
        left = left_open(learn(sources, targets, sizes=sizes, same=hints), sources, targets)
        if name in SCATTERED:
            assert left > SURE
        elif name == "doubled":
            assert left < SURE
        else:
            assert left < 0.2


def test_the_work_is_known_before_it_is_done() -> None:
    assert cells(np.array([0, 2]), np.array([1, 3])) == 1 * 2 + 3 * 4


# --- what a network begins with


def test_a_prior_is_what_the_alignment_expects() -> None:
    """By the definition, row by row: a softmax of it is the chances, mixed with a little doubt."""
    aligner = learn([[4, 5], [5, 4], [4]], [[6, 7], [7, 6, 6], [6]], sizes=(6, 8))
    prior = aligner.prior()
    assert prior.shape == (6, Actions(8).size)
    np.testing.assert_allclose(prior.mean(axis=1), 0.0, atol=1e-12)
    found = np.exp(prior) / np.exp(prior).sum(axis=1, keepdims=True)
    for symbol in (4, 5):
        chances = np.exp([*aligner.stay[symbol], *aligner.go_on[symbol], aligner.skip[symbol]])
        wanted = chances + DOUBT / len(chances)
        np.testing.assert_allclose(found[symbol], wanted / wanted.sum(), rtol=1e-9)
    assert found[4].argmax() == 8 + 6
    assert found[5].argmax() == 8 + 7


def test_at_the_end_of_a_source_a_prior_expects_the_end() -> None:
    aligner = learn([[4]] * 9, [[6]] * 8 + [[6, 7]], sizes=(5, 8))
    ends = np.exp(aligner.prior()[EOS])
    assert ends.argmax() == EOS
    assert ends[8:].max() < 0.1 * ends[EOS], "nothing goes on from the end"
