"""Probabilities and Viterbi paths against an enumeration of all paths; the entropy ratio."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.data.text import alignment
from charseq.data.text.alignment import (
    LOG_ZERO,
    MAX_ENTROPY_RATIO,
    SMOOTHING,
    Actions,
    Aligner,
    cells,
    learn,
)
from charseq.data.text.vocabulary import EOS, SPECIALS

A, B, C = range(SPECIALS, SPECIALS + 3)
SIZE = SPECIALS + 3
SUBSTITUTE, DELETE = SIZE, 2 * SIZE
SIZES = (SIZE, SIZE)

Step = tuple[str, int, int]
"""The operation, its source symbol, and its target symbol (0 for a deletion)."""


def paths(source: Sequence[int], target: Sequence[int]) -> Iterator[tuple[Step, ...]]:
    """All paths that read the source and write the target."""
    if source:
        here = source[0]
        for rest in paths(source[1:], target):
            yield ("delete", here, 0), *rest
        if target:
            for rest in paths(source[1:], target[1:]):
                yield ("substitute", here, target[0]), *rest
    here = source[0] if source else EOS
    if target:
        for rest in paths(source, target[1:]):
            yield ("insert", here, target[0]), *rest
    elif not source:
        yield ()


def actions(path: Sequence[Step]) -> list[int]:
    beginnings = {"insert": 0, "substitute": SUBSTITUTE, "delete": DELETE}
    return [beginnings[what] + written for what, _, written in path]


def log_of(aligner: Aligner, path: Sequence[Step]) -> float:
    """The log-probability of a path without its end."""
    total = 0.0
    for what, here, written in path:
        if what == "delete":
            total += aligner.delete[here]
        else:
            total += (aligner.insert if what == "insert" else aligner.substitute)[here, written]
    return float(total)


def random_aligner(seed: int) -> Aligner:
    """Random log-probabilities without ties; the end of the source only allows insertions."""
    random = np.random.default_rng(seed)
    insert, substitute, delete = (-random.exponential(2.0, shape) for shape in (SIZES, SIZES, SIZE))
    substitute[EOS] = delete[EOS] = LOG_ZERO
    return Aligner(insert, substitute, delete)


def entropy_ratio(
    aligner: Aligner, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
) -> float:
    """The entropy ratio of the Viterbi paths."""
    return aligner.entropy_ratio(sources, targets, aligner.align(sources, targets))


def strings(count: int, seed: int, *, longest: int = 3) -> list[list[int]]:
    draw = random.Random(seed)
    return [draw.choices((A, B, C), k=draw.randint(0, longest)) for _ in range(count)]


IDS = st.lists(st.integers(A, C), max_size=4)
SOME = st.lists(st.tuples(IDS, IDS), min_size=1, max_size=6)


# --- actions


def test_actions_insert_substitute_or_delete() -> None:
    made = Actions(SIZE)
    assert made.size == 2 * SIZE + 1
    assert Actions.of(made.size) == made
    assert made.target_ids([A, SUBSTITUTE + B, DELETE, B, SUBSTITUTE + C]) == [A, B, B, C]
    assert made.target_ids([]) == made.target_ids([DELETE, DELETE]) == []


@pytest.mark.parametrize("size", [0, 2, 30])
def test_an_even_number_of_actions_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"^{size} is no number of actions"):
        Actions.of(size)


# --- Viterbi paths


@given(SOME, st.integers(0, 9))
def test_the_viterbi_path_is_the_best_of_all_paths(
    pairs: list[tuple[list[int], list[int]]], seed: int
) -> None:
    """Texts of all lengths in one table, sources longer than targets, shorter, and empty."""
    aligner = random_aligner(seed)
    found = aligner.align(*zip(*pairs, strict=True))
    for (source, target), path in zip(pairs, found, strict=True):
        logs = {tuple(actions(one)): log_of(aligner, one) for one in paths(source, target)}
        assert logs[tuple(path)] == pytest.approx(max(logs.values()), rel=1e-12)
        assert Actions(SIZE).target_ids(path) == target
        assert sum(action >= SIZE for action in path) == len(source)
        assert EOS not in path


def test_a_source_without_a_target_is_deleted() -> None:
    aligner = random_aligner(1)
    assert aligner.align([[], [A]], [[], []]) == [[], [DELETE]]
    assert aligner.align([], []) == []


def test_a_target_without_a_source_is_inserted() -> None:
    assert random_aligner(2).align([[]], [[A, B]]) == [[A, B]]


@pytest.mark.parametrize("block", [1, 40, 10**6])
def test_blocks_and_order_change_no_path(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, targets = strings(60, 1, longest=9), strings(60, 2, longest=9)
    aligner = random_aligner(3)
    alone = [aligner.align([s], [t])[0] for s, t in zip(sources, targets, strict=True)]
    monkeypatch.setattr(alignment, "BLOCK_CELLS", block)
    assert aligner.align(sources, targets) == alone
    order = random.Random(1).sample(range(60), 60)
    turned = aligner.align([sources[row] for row in order], [targets[row] for row in order])
    assert turned == [alone[row] for row in order]


# --- expectation maximisation


PAIRS = strings(40, 5), [ids or [A] for ids in strings(40, 6)]
"""No target is empty: pairs without an answer are not learnt from."""


def after(iterations: int, patch: pytest.MonkeyPatch) -> Aligner:
    patch.setattr(alignment, "EM_ITERATIONS", iterations)
    return learn(*PAIRS, sizes=SIZES)


def expected(aligner: Aligner) -> Counter[Step]:
    """The expected number of each step over all paths of ``PAIRS``."""
    counts: Counter[Step] = Counter()
    for source, target in zip(*PAIRS, strict=True):
        found = list(paths(source, target))
        chances = np.exp([log_of(aligner, path) for path in found])
        for path, chance in zip(found, chances / chances.sum(), strict=True):
            for step in path:
                counts[step] += chance
    return counts


@pytest.mark.parametrize("block", [1, 10**6])
@pytest.mark.parametrize("iterations", [0, 3])
def test_an_iteration_sets_probabilities_to_the_expected_shares(
    iterations: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tolerance is for the pseudo-counts."""
    monkeypatch.setattr(alignment, "BLOCK_CELLS", block)
    counts = expected(after(iterations, monkeypatch))
    found = after(iterations + 1, monkeypatch)
    assert (found.substitute[EOS] == LOG_ZERO).all(), "the end of the source allows no substitution"
    assert found.delete[EOS] == LOG_ZERO
    totals = Counter({EOS: float(len(PAIRS[0]))})  # every path ends once
    for (_, here, _), count in counts.items():
        totals[here] += count
    for here in (A, B, C, EOS):
        chances = {"insert": found.insert[here], "substitute": found.substitute[here]}
        for what, written in ((w, t) for w in chances for t in (A, B, C)):
            wanted = counts[what, here, written] / totals[here]
            assert np.exp(chances[what][written]) == pytest.approx(wanted, abs=5e-4)
        wanted = counts["delete", here, 0] / totals[here]
        assert np.exp(found.delete[here]) == pytest.approx(wanted, abs=5e-4)


def test_every_iteration_raises_the_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    likelihoods = []
    for iterations in range(12):
        aligner = after(iterations, monkeypatch)
        stop = np.log(1 - np.exp(aligner.insert[EOS]).sum())
        total = 0.0
        for source, target in zip(*PAIRS, strict=True):
            logs = [log_of(aligner, path) for path in paths(source, target)]
            total += np.logaddexp.reduce(logs) + stop
        likelihoods.append(total)
    assert (np.diff(likelihoods) > -1e-2).all()
    assert likelihoods[1] - likelihoods[0] > 1.0


def test_probabilities_do_not_depend_on_blocks_or_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = learn(*PAIRS, sizes=SIZES)
    assert all(np.array_equal(*both) for both in zip(parts(one), again(), strict=True))
    turned = learn(PAIRS[0][::-1], PAIRS[1][::-1], sizes=SIZES)
    monkeypatch.setattr(alignment, "BLOCK_CELLS", 7)
    for other in (learn(*PAIRS, sizes=SIZES), turned):
        for left, right in zip(parts(one), parts(other), strict=True):
            np.testing.assert_allclose(np.exp(left), np.exp(right), rtol=1e-9, atol=1e-15)


def parts(aligner: Aligner) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return aligner.insert, aligner.substitute, aligner.delete


def again() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return parts(learn(*PAIRS, sizes=SIZES))


def test_deletions_and_doubled_symbols_are_found() -> None:
    """a becomes x, b nothing, c yy, and a z ends the word."""
    x, y, z = A, B, C
    rules = {A: [x], B: [], C: [y, y]}
    sources = [source for source in strings(80, 7, longest=6) if source]
    targets = [[t for s in source for t in rules[s]] + [z] for source in sources]
    aligner = learn(sources, targets, sizes=SIZES)
    assert aligner.align([[A, B, C, B, A]], [[x, y, y, x, z]]) == [
        [SUBSTITUTE + x, DELETE, y, SUBSTITUTE + y, DELETE, SUBSTITUTE + x, z]
    ]


@pytest.mark.parametrize("known", [True, False])
def test_symbols_that_both_sides_have_are_aligned(known: bool) -> None:
    """One pair has several likely alignments; the hint that symbols are the same decides."""
    source, target = [A, B, C, B], [C, A, B, C, B]
    same = [(id_, id_) for id_ in (A, B, C)] if known else []
    (path,) = learn([source], [target], sizes=SIZES, same=same).align([source], [target])
    copied = [C, SUBSTITUTE + A, SUBSTITUTE + B, SUBSTITUTE + C, SUBSTITUTE + B]
    assert (path == copied) is known


def test_pairs_outside_the_sample_can_be_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs outside the sample may have other symbols."""
    monkeypatch.setattr(alignment, "MAX_TRAINING_CELLS", 1)
    sources, targets = [[A, A], [B], [C, C, C]], [[A], [B, B, B], [C, C]]
    found = set()
    for seed in range(9):
        aligner = learn(sources, targets, sizes=SIZES, seed=seed)
        assert np.array_equal(
            aligner.insert, learn(sources, targets, sizes=SIZES, seed=seed).insert
        )
        found.add(aligner.insert.tobytes())
        for target, path in zip(targets, aligner.align(sources, targets), strict=True):
            assert Actions(SIZE).target_ids(path) == target
        assert np.isfinite(entropy_ratio(aligner, sources, targets))
    assert len(found) == 3, "one pair is random_aligner, even if it is too large, and any may be"


def test_the_sample_is_as_large_as_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs outside the sample change nothing."""
    sources, targets = [[A, B]] * 30, [[A, B]] * 30
    monkeypatch.setattr(alignment, "MAX_TRAINING_CELLS", 9 * 12)
    part, twelve = (learn(sources[:k], targets[:k], sizes=SIZES) for k in (30, 12))
    assert all(np.array_equal(*both) for both in zip(parts(part), parts(twelve), strict=True))
    assert not np.array_equal(part.insert, learn(sources[:11], targets[:11], sizes=SIZES).insert)


def test_pairs_without_symbols_are_no_fault() -> None:
    for sources, targets in (([[]], [[]]), ([[A]], [[]]), ([[]], [[A]])):
        aligner = learn(sources, targets, sizes=SIZES)
        assert all(np.isfinite(part).all() for part in parts(aligner))
        assert Actions(SIZE).target_ids(aligner.align(sources, targets)[0]) == targets[0]
    bare = (SPECIALS + 1, SPECIALS)
    assert learn([[A]], [[]], sizes=bare).align([[A]], [[]]) == [[2 * SPECIALS]]


# --- entropy ratio


def chances(**of: float) -> Aligner:
    """A becomes A, B or nothing with the probabilities ``of``; B becomes B."""
    substitute, delete = np.full(SIZES, LOG_ZERO), np.full(SIZE, LOG_ZERO)
    insert = np.full(SIZES, -1.0)
    substitute[A, A], substitute[A, B] = np.log(of["a"]), np.log(of["b"])
    substitute[B, B] = 0.0
    delete[A] = np.log(of["none"])
    return Aligner(insert, substitute, delete)


def test_the_entropy_ratio_is_a_share_of_the_targets_entropy() -> None:
    """Two equally frequent target symbols have an entropy of ln 2."""
    even = chances(a=0.5, b=0.5, none=1e-9)
    assert entropy_ratio(even, [[A], [A]], [[A], [B]]) == pytest.approx(1.0)
    assert entropy_ratio(even, [[A], [B]], [[A], [B]]) == pytest.approx(0.5)
    biased = chances(a=0.75, b=0.25, none=1e-9)
    wanted = -np.log(0.75) / 2 / np.log(2)
    assert entropy_ratio(biased, [[A], [B]], [[A], [B]]) == pytest.approx(wanted)
    silent = chances(a=0.75, b=1e-9, none=0.6)  # deletions count, too
    wanted = -(np.log(0.75) + np.log(0.6)) / 2 / np.log(2)
    assert entropy_ratio(silent, [[A], [A, B]], [[A], [B]]) == pytest.approx(wanted)
    # The insertion of B at the end counts for the entropy of the target only.
    sure = chances(a=0.75, b=1e-9, none=1e-9)
    wanted = -np.log(0.75) / np.log(2)
    assert entropy_ratio(sure, [[A]], [[A, B]]) == pytest.approx(wanted)


def test_the_entropy_ratio_is_never_above_1() -> None:
    """A source that costs more than it tells is as good as none."""
    wrong = chances(a=0.01, b=0.01, none=0.98)
    assert entropy_ratio(wrong, [[A], [A]], [[A], [B]]) == 1.0


def test_pairs_without_an_answer_change_neither_ratio_nor_paths() -> None:
    """However many sources have no answer, what is known of the others stays."""
    rows = random.Random(4).choices((A, B, C), k=400)
    sources = [rows[i : i + 4] for i in range(0, 400, 4)]
    targets = [ids[:3] for ids in sources]
    alone = learn(sources, targets, sizes=SIZES)
    strange = strings(900, 5, longest=9)
    both = learn([*sources, *strange], [*targets, *([] for _ in strange)], sizes=SIZES)
    assert all(np.allclose(*one, atol=1e-9) for one in zip(parts(alone), parts(both), strict=True))
    assert both.align(sources, targets) == alone.align(sources, targets)
    wanted = entropy_ratio(alone, sources, targets)
    assert 0 < wanted < 0.9
    found = entropy_ratio(both, [*sources, *strange], [*targets, *([] for _ in strange)])
    assert found == pytest.approx(wanted)


def test_the_entropy_ratio_is_1_where_there_is_no_entropy() -> None:
    aligner = random_aligner(1)
    assert entropy_ratio(aligner, [[A], [B]], [[A], [A]]) == 1.0, "one symbol alone is no choice"
    assert entropy_ratio(aligner, [[A]], [[]]) == 1.0
    assert entropy_ratio(aligner, [], []) == 1.0


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
def test_the_entropy_ratio_separates_monotonic_pairs_from_others(name: str) -> None:
    draw = random.Random(3)
    sources = [
        [draw.randrange(SPECIALS, SPECIALS + LETTERS) for _ in range(draw.randint(3, 9))]
        for _ in range(250)
    ]
    targets = [({**SHIFTED, **SCATTERED}[name])(source) for source in sources]
    sizes = (SPECIALS + LETTERS,) * 2
    same = [(id_, id_) for id_ in range(SPECIALS, SPECIALS + LETTERS)]
    for hints in ([], same):
        left = entropy_ratio(learn(sources, targets, sizes=sizes, same=hints), sources, targets)
        if name in SCATTERED:
            assert left > MAX_ENTROPY_RATIO
        elif name == "doubled":
            assert left < MAX_ENTROPY_RATIO
        else:
            assert left < 0.2


def test_cells_of_the_tables_are_counted() -> None:
    assert cells(np.array([0, 2]), np.array([1, 3])) == 1 * 2 + 3 * 4


# --- prior


def test_a_prior_is_the_smoothed_probability_of_actions() -> None:
    """By its definition: the softmax of a row is a mix of the probabilities and a uniform one."""
    aligner = learn([[4, 5], [5, 4], [4]], [[6, 7], [7, 6, 6], [6]], sizes=(6, 8))
    prior = aligner.prior()
    assert prior.shape == (6, Actions(8).size)
    np.testing.assert_allclose(prior.mean(axis=1), 0.0, atol=1e-12)
    found = np.exp(prior) / np.exp(prior).sum(axis=1, keepdims=True)
    for symbol in (4, 5):
        chances = np.exp(
            [*aligner.insert[symbol], *aligner.substitute[symbol], aligner.delete[symbol]]
        )
        wanted = chances + SMOOTHING / len(chances)
        np.testing.assert_allclose(found[symbol], wanted / wanted.sum(), rtol=1e-9)
    assert found[4].argmax() == 8 + 6
    assert found[5].argmax() == 8 + 7


def test_a_prior_expects_eos_at_the_end_of_a_source() -> None:
    aligner = learn([[4]] * 9, [[6]] * 8 + [[6, 7]], sizes=(5, 8))
    ends = np.exp(aligner.prior()[EOS])
    assert ends.argmax() == EOS
    assert ends[8:].max() < 0.1 * ends[EOS], "the end of the source allows no substitution"


def test_a_pair_out_of_all_proportion_does_not_end_the_sample() -> None:
    sources = [[4, 5], [5, 4], [4, 4]] * 20
    targets = [[9 - symbol for symbol in row] for row in sources]
    expected = alignment.learn(sources, targets, sizes=(6, 6))
    for place in range(0, 60, 7):
        more = [[*rows[:place], [4] * 3000, *rows[place:]] for rows in (sources, targets)]
        found = alignment.learn(*more, sizes=(6, 6))
        np.testing.assert_allclose(found.substitute, expected.substitute, rtol=1e-6)
