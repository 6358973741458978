"""One step of every cell against its equations, and a text's bits against its company."""

from __future__ import annotations

import numpy as np
import pytest

from charseq.decoding.blocks import (
    BLOCK,
    CellWeights,
    cell_step,
    log_softmax,
    pick_rows,
    run_cell,
    scale_cell,
    sum_rows,
    to_blocks,
    to_rows,
)
from charseq.kernels.cell_table import CELLS

each_cell = pytest.mark.parametrize("cell", CELLS)


def weights_of(cell: str, hidden: int = 9, inputs: int = 5) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    rows = CELLS[cell].gates * hidden
    shapes = {"c.input": (rows, inputs), "c.bias": (rows,), "c.recurrent": (rows, hidden)}
    return {name: random.normal(0, 0.6, shape).astype("f4") for name, shape in shapes.items()}


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def equations(
    cell: str, weights: dict[str, np.ndarray], vector: np.ndarray, state: np.ndarray
) -> np.ndarray:
    """One step for one text, K H, as the papers write it."""
    given, bias, recurrent = (
        weights[f"c.{name}"].astype("f8") for name in ("input", "bias", "recurrent")
    )
    hidden = state[0]
    projected = np.split(given @ vector + bias, CELLS[cell].gates)
    products = np.split(recurrent @ hidden, CELLS[cell].gates)
    if cell in ("tanh", "residual"):
        new = np.tanh(projected[0] + products[0])
        return np.stack([new + hidden if cell == "residual" else new])
    if cell == "gru":
        reset, update = (sigmoid(projected[k] + products[k]) for k in range(2))
        new = np.tanh(projected[2] + reset * products[2])
        return np.stack([(1 - update) * new + update * hidden])
    enter, forget, new, leave = (p + q for p, q in zip(projected, products, strict=True))
    memory = sigmoid(forget) * state[1] + sigmoid(enter) * np.tanh(new)
    return np.stack([sigmoid(leave) * np.tanh(memory), memory])


def some_states(cell: str, blocks: int = 2, hidden: int = 9) -> np.ndarray:
    random = np.random.default_rng(2)
    return random.normal(size=(CELLS[cell].states, blocks, hidden, BLOCK)).astype("f4")


@each_cell
def test_a_step_is_the_equations(cell: str) -> None:
    weights = weights_of(cell)
    scaled = scale_cell(weights, "c", cell)
    vectors = np.random.default_rng(3).normal(size=(2 * BLOCK, 5)).astype("f4")
    state = some_states(cell)
    kept = state.copy()
    after = np.empty_like(state)
    projected = np.matmul(scaled.input, to_blocks(vectors)) + scaled.bias
    cell_step(cell, scaled.recurrent, projected, state, after)
    assert np.array_equal(state, kept)
    for row, vector in enumerate(vectors):
        expected = equations(cell, weights, vector, state[:, row // BLOCK, :, row % BLOCK])
        found = after[:, row // BLOCK, :, row % BLOCK]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@each_cell
def test_a_run_is_its_steps(cell: str) -> None:
    weights = scale_cell(weights_of(cell), "c", cell)
    state = some_states(cell)
    shape = (4, 2, CELLS[cell].gates * 9, BLOCK)
    projected = np.random.default_rng(4).normal(size=shape).astype("f4")
    states = run_cell(cell, weights.recurrent, projected, state)
    for step, found in enumerate(states):
        after = np.empty_like(state)
        cell_step(cell, weights.recurrent, projected[step], state, after)
        assert np.array_equal(found, after)
        state = after
    assert len(states) == 4


@each_cell
def test_scaling_leaves_the_given_weights(cell: str) -> None:
    weights = weights_of(cell)
    kept = {name: value.copy() for name, value in weights.items()}
    scale_cell(weights, "c", cell)
    assert all(np.array_equal(weights[name], kept[name]) for name in kept)


def test_a_table_has_the_projected_input_of_every_symbol() -> None:
    cell = scale_cell(weights_of("gru"), "c", "gru")
    embedding = np.random.default_rng(5).normal(size=(7, 5)).astype("f4")
    expected = embedding @ cell.input.T + cell.bias[:, 0]
    np.testing.assert_allclose(cell.table(embedding), expected, rtol=0, atol=1e-5)
    assert isinstance(cell, CellWeights)


def test_blocks_hold_texts_side_by_side() -> None:
    rows = np.random.default_rng(6).normal(size=(3 * BLOCK, 5)).astype("f4")
    blocks = to_blocks(rows)
    assert blocks.shape == (3, 5, BLOCK)
    assert all(
        np.array_equal(blocks[row // BLOCK, :, row % BLOCK], one) for row, one in enumerate(rows)
    )
    assert np.array_equal(to_rows(blocks), rows)


def test_blocks_of_sequences_have_time_first() -> None:
    rows = np.random.default_rng(7).normal(size=(2 * BLOCK, 4, 3)).astype("f4")
    blocks = to_blocks(rows)
    assert blocks.shape == (4, 2, 3, BLOCK)
    for step in range(4):
        assert np.array_equal(blocks[step], to_blocks(rows[:, step]))
    assert np.array_equal(to_rows(blocks), rows)


@pytest.mark.parametrize("rows", [[], [3], [20, 20, 0], list(range(40, 0, -1))])
def test_lanes_are_picked_by_row(rows: list[int]) -> None:
    hidden = np.random.default_rng(8).normal(size=(2, 2, 3, 5, BLOCK)).astype("f4")
    chosen = pick_rows(hidden, np.array(rows, dtype=np.int64))
    assert chosen.shape == (2, 2, -(-len(rows) // BLOCK), 5, BLOCK)
    for place, row in enumerate(rows):
        found = chosen[:, :, place // BLOCK, :, place % BLOCK]
        assert np.array_equal(found, hidden[:, :, row // BLOCK, :, row % BLOCK])


def test_log_probabilities_are_over_the_symbols() -> None:
    logits = np.random.default_rng(9).normal(0, 50, size=(2, 7, BLOCK)).astype("f4")
    expected = to_rows(logits).astype("f8")
    expected -= np.log(np.exp(expected - expected.max(1, keepdims=True)).sum(1, keepdims=True))
    expected -= to_rows(logits).max(1, keepdims=True)
    logs = log_softmax(logits.copy(), 20)
    assert logs.shape == (20, 7)
    np.testing.assert_allclose(logs, expected[:20], rtol=1e-5, atol=1e-4)


def test_sums_keep_the_middle_axis() -> None:
    values = np.arange(24, dtype="f4").reshape(2, 3, 4)
    assert sum_rows(values).tolist() == values.sum(axis=1, keepdims=True).tolist()


@each_cell
def test_a_lane_does_not_depend_on_its_neighbours(cell: str) -> None:
    """Nor on how many blocks there are, nor on its place in them."""
    weights = scale_cell(weights_of(cell, hidden=33, inputs=17), "c", cell)
    vectors = np.random.default_rng(10).normal(size=(5 * BLOCK, 17)).astype("f4")
    states = some_states(cell, blocks=5, hidden=33)

    def final(rows: np.ndarray) -> np.ndarray:
        projected = np.matmul(weights.input, to_blocks(vectors[rows])) + weights.bias
        state = pick_rows(states[None], rows)[0]
        return run_cell(cell, weights.recurrent, projected[None].repeat(3, axis=0), state)[-1]

    every = final(np.arange(5 * BLOCK))
    rows = np.random.default_rng(11).permutation(5 * BLOCK)[: 2 * BLOCK]
    some = final(rows)
    for place, row in enumerate(rows):
        one, other = (
            blocks[:, k // BLOCK, :, k % BLOCK] for blocks, k in ((some, place), (every, row))
        )
        assert np.array_equal(one, other)
