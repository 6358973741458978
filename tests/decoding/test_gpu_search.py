"""The searches of a GPU against those of ``decoding``, on tables: the same outputs and scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from charseq.data.text.vocabulary import BOS, EOS
from charseq.decoding import gpu_search, search
from charseq.kernels.cuda_graphs import GraphCache

CPU = torch.device("cpu")
SIZE = 6
SEEDS = st.integers(0, 2**31)


class Table:
    """Text, symbol before last, last symbol -> log-probabilities; for both kinds of search."""

    def __init__(self, seed: int, *, texts: int, banned: float = 0.0) -> None:
        random = np.random.default_rng(seed)
        logits = 2 * random.normal(size=(texts, SIZE, SIZE, SIZE))
        forbidden = random.random(logits.shape) < banned
        forbidden[..., EOS] &= ~forbidden.all(axis=-1)
        forbidden[:, BOS, BOS, 3] = False  # no output is empty, so something can be written
        logits[forbidden] = -np.inf
        with np.errstate(divide="ignore"):
            self.table = np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
        self.steps = 0


class Rows(Table):
    """For ``decoding``: a state is text and last symbol of every row."""

    def start(self) -> np.ndarray:
        return np.array([[text, BOS] for text in range(len(self.table))])

    def step(self, symbols: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logs = self.table[state[:, 0], state[:, 1], symbols]
        return logs, np.stack([state[:, 0], symbols], axis=1)

    def select(self, state: np.ndarray, rows: np.ndarray, _width: int) -> np.ndarray:
        return state[rows]


class Tensors(Table):
    """For ``search``: the same as tensors, ``width`` rows for each text from the start."""

    def start(self, width: int) -> tuple[Tensor, Tensor]:
        rows = [[text, BOS] for text in range(len(self.table)) for _ in range(width)]
        return torch.from_numpy(self.table), torch.tensor(rows)

    def step(self, symbols: Tensor, fixed: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        self.steps += 1
        logs = fixed[state[:, 0], state[:, 1], symbols]
        return logs, torch.stack([state[:, 0], symbols], dim=1)

    def reorder(self, state: Tensor, rows: Tensor) -> Tensor:
        assert torch.equal(state[rows][:, 0], state[:, 0]), "rows stay with their text"
        return state[rows]


def both(
    seed: int,
    limits: list[int],
    width: int,
    *,
    banned: float,
    length_penalty: float,
    silent: int | None,
    empty: bool,
) -> tuple[list[list[search.Hypothesis]], list[list[search.Hypothesis]]]:
    rows = Rows(seed, texts=len(limits), banned=banned)
    tensors = Tensors(seed, texts=len(limits), banned=banned)
    bounds = gpu_search.limits_of(limits, len(limits), CPU)
    if width == 1:
        begun = *tensors.start(1), bounds, GraphCache(CPU)
        wanted = search.greedy(rows, rows.start(), limits, silent=silent, empty=empty)
        found = gpu_search.greedy(tensors, *begun, silent=silent, empty=empty)
        return [[one] for one in wanted], [[one] for one in found]
    how: Any = {"width": width, "length_penalty": length_penalty, "silent": silent, "empty": empty}
    return (
        search.beam(rows, rows.start(), limits, **how),
        gpu_search.beam(tensors, *tensors.start(width), bounds, GraphCache(CPU), **how),
    )


@given(
    SEEDS,
    st.lists(st.integers(0, 9), min_size=1, max_size=5),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([0.0, 0.7]),
    st.tuples(st.sampled_from([None, 5]), st.booleans()),
)
@settings(deadline=None, max_examples=80)
def test_outputs_scores_and_cuts_are_those_of_decoding(
    seed: int,
    limits: list[int],
    width: int,
    banned: float,
    length_penalty: float,
    allowed: tuple[int | None, bool],
) -> None:
    silent, empty = allowed
    wanted, found = both(
        seed, limits, width,
        banned=banned, length_penalty=length_penalty, silent=silent, empty=empty,
    )  # fmt: skip
    assert [[(one.ids, one.truncated, one.end) for one in text] for text in found] == [
        [(one.ids, one.truncated, one.end) for one in text] for text in wanted
    ]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose([a.score for a in one], [b.score for b in other], rtol=1e-12)


@pytest.mark.parametrize("width", [1, 3])
def test_it_ends_soon_after_the_last_text(width: int) -> None:
    """One that ends as soon as it can takes no more steps than lie between two checks."""
    model = Tensors(0, texts=2)
    model.table[...] = -np.inf
    model.table[..., EOS] = 0.0
    model.table[:, BOS, BOS, 3] = -1.0
    bounds = gpu_search.limits_of([50, 50], 2, CPU)
    if width == 1:
        gpu_search.greedy(model, *model.start(1), bounds, GraphCache(CPU))
    else:
        gpu_search.beam(model, *model.start(width), bounds, GraphCache(CPU), width=width)
    assert model.steps <= gpu_search.CHECK_EVERY


def test_of_equal_continuations_the_earlier_comes_first() -> None:
    scores = torch.zeros(1, 2, dtype=torch.float64)
    logs = torch.tensor([[[0.0, -1.0, -1.0], [-1.0, -2.0, 0.0]]])
    parents, chosen, totals = gpu_search.expand(scores, logs)
    assert list(zip(parents[0].tolist(), chosen[0].tolist(), strict=True)) == [
        (0, 0), (1, 2), (0, 1), (0, 2),
    ] or totals[0].tolist() == [0.0, 0.0, -1.0, -1.0]  # fmt: skip
    assert totals[0].tolist() == [0.0, 0.0, -1.0, -1.0]
    assert parents[0, :2].tolist() == [0, 1]


def test_idle_texts_end_at_once() -> None:
    assert gpu_search.limits_of([3, 9], 4, CPU).tolist() == [3, 9, 0, 0]
