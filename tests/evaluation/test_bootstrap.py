"""Intervals and p-values against laws, closed forms and the counting of every case."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.evaluation.bootstrap import (
    MAX_DRAWN,
    bootstrap,
    exchange,
    exchange_all,
    gather,
    interval,
    largest_unseen,
    numbered,
    weights,
)


def share(totals: Any) -> Any:
    return 100 * totals[:, 1] / totals[:, 0]


def sources(right: int, wrong: int, rows: int = 1) -> Any:
    return np.array([[rows, rows]] * right + [[rows, 0]] * wrong)


# --- sums


def test_rows_of_a_label_are_summed_where_it_first_stood() -> None:
    counts = np.array([[1, 2], [1, 3], [1, 4], [1, 5]])
    assert gather(["b", "a", "b", "c"], counts).tolist() == [[2, 6], [1, 3], [1, 5]]


# --- the bootstrap


def test_as_many_sources_are_drawn_as_there_are() -> None:
    drawn = bootstrap(np.array([[1, 0], [1, 1], [1, 1], [1, 7]]), resamples=500)
    assert drawn.shape == (500, 2)
    assert set(drawn[:, 0].tolist()) == {4}
    assert 0 <= drawn[:, 1].min() < drawn[:, 1].max() <= 28


def test_the_spread_is_the_binomial_one() -> None:
    drawn = share(bootstrap(sources(300, 100), resamples=4000))
    assert drawn.mean() == pytest.approx(75, abs=0.2)
    assert drawn.std() == pytest.approx(100 * math.sqrt(0.75 * 0.25 / 400), rel=0.05)
    low, high = interval(drawn)
    assert (low, high) == pytest.approx((75 - 1.96 * 2.165, 75 + 1.96 * 2.165), abs=0.4)


def test_rows_of_a_source_go_together() -> None:
    alone = share(bootstrap(sources(60, 40), resamples=2000)).std()
    together = share(bootstrap(sources(12, 8, rows=5), resamples=2000)).std()
    assert together == pytest.approx(alone * math.sqrt(5), rel=0.1)


def test_the_seed_decides_and_the_order_of_sources_does_not() -> None:
    counts = np.array([[1, k % 3] for k in range(50)])
    assert np.array_equal(bootstrap(counts), bootstrap(counts[::-1]))
    assert not np.array_equal(bootstrap(counts), bootstrap(counts, seed=2))


def test_it_is_drawn_in_portions_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.array([[1, k] for k in range(20)])
    whole = bootstrap(counts, resamples=101)
    others = counts[::-1] + np.array([[0, 1]])
    one = exchange(counts, others, share, resamples=101)
    monkeypatch.setattr("charseq.evaluation.bootstrap.MAX_DRAWN", 37)
    assert np.array_equal(bootstrap(counts, resamples=101), whole)
    assert exchange(counts, others, share, resamples=101) == one


def test_an_interval_leaves_out_as_much_on_either_side() -> None:
    assert interval(np.arange(1001.0)) == [25.0, 975.0]


@pytest.mark.parametrize("count", [1, 10, 2000])
def test_what_was_not_seen_can_be_so_large(count: int) -> None:
    bound = largest_unseen(count)
    assert (1 - bound) ** count == pytest.approx(0.025)


# --- p-values


def by_counting(differences: Sequence[int]) -> float:
    found = abs(sum(differences))
    signs = list(itertools.product((-1, 1), repeat=len(differences)))
    sums = [abs(sum(s * d for s, d in zip(one, differences, strict=True))) for one in signs]
    return sum(value >= found for value in sums) / len(sums)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_every_exchange_is_counted(differences: list[int]) -> None:
    assert exchange_all(np.array(differences)) == pytest.approx(by_counting(differences))


@pytest.mark.parametrize(
    ("better", "worse", "p"), [(5, 0, 0.0625), (9, 1, 22 / 1024), (3, 3, 1.0), (0, 0, 1.0)]
)
def test_of_single_rows_it_is_mcnemars_exact_test(better: int, worse: int, p: float) -> None:
    differences = np.array([1] * better + [-1] * worse + [0] * 1000)
    assert exchange_all(differences) == pytest.approx(p)


def test_many_sources_are_no_trouble() -> None:
    ahead, behind = 20_400, 20_000
    z = (ahead - behind - 1) / math.sqrt(ahead + behind)
    p = exchange_all(np.array([1] * ahead + [-1] * behind))
    assert p == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-3)
    assert exchange_all(np.ones(200, dtype=np.int64)) == 2.0**-199


def test_drawn_exchanges_come_near_to_all_of_them() -> None:
    draw = np.random.default_rng(3)
    first = np.stack([np.full(60, 2), draw.integers(0, 3, 60)], axis=1)
    second = np.stack([np.full(60, 2), draw.integers(0, 3, 60)], axis=1)
    second[:9, 1] = 2
    exact = exchange_all(second[:, 1] - first[:, 1])
    assert 0.02 < exact < 0.9
    drawn = exchange(first, second, share, resamples=20_000)
    assert drawn == pytest.approx(exact, abs=0.015)
    assert exchange(second, first, share, resamples=20_000) == pytest.approx(exact, abs=0.015)


def test_a_drawn_p_value_is_never_zero_and_of_equals_it_is_one() -> None:
    right, wrong = sources(200, 0), sources(0, 200)
    assert exchange(wrong, right, share, resamples=99) == 0.01
    assert exchange(right, right, share, resamples=99) == 1.0
    assert exchange_all(right[:, 1] - right[:, 1]) == 1.0


def test_the_denominator_is_exchanged_as_well() -> None:
    # The second has a tenth of the errors of the first, but on references a tenth as long.
    first = np.array([[100, 50]] * 30)
    second = np.array([[10, 5]] * 30)
    assert exchange(first, second, share, resamples=99) == 1.0


# --- weights of sources, for scores that no sum of counts gives


def test_labels_are_numbered_in_the_order_of_their_first_row() -> None:
    assert numbered(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]
    assert numbered([]).tolist() == []


def test_each_sample_draws_as_many_sources_as_there_are() -> None:
    drawn = np.concatenate(list(weights(40, 40, resamples=3000)))
    assert drawn.shape == (3000, 40)
    assert (drawn.sum(axis=1) == 40).all()
    assert np.var(drawn) == pytest.approx(1 - 1 / 40, rel=0.02), "multinomial"
    assert drawn.mean(axis=0) == pytest.approx(1, abs=0.1)
    again = np.concatenate(list(weights(40, MAX_DRAWN // 7, resamples=3000)))
    assert (drawn == again).all(), "the samples do not depend on the size of the portions"


def test_portions_are_as_small_as_the_callers_rows_need() -> None:
    sizes = [len(part) for part in weights(3, MAX_DRAWN // 2, resamples=5)]
    assert sizes == [2, 2, 1]
