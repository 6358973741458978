"""The network in NumPy against plain loops and its twin in torch; and a text's bits."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from cores import each_core, products_on, run_on

from charseq.data.text.vocabulary import BOS, EOS, PAD, UNK
from charseq.decoding import next_word_numpy
from charseq.decoding.next_word_numpy import NextWordState, NumpyNextWord, shapes_of
from charseq.models.next_word import NextWord

CELLS = ("tanh", "residual", "gru", "lstm", "mlp")
KINDS = [
    *((cell, layers, 1) for cell in CELLS[:-1] for layers in (1, 2)),
    *(("mlp", 1, n) for n in (1, 2, 3)),
]
each_kind = pytest.mark.parametrize(("cell", "layers", "context"), KINDS)


def weights_of(
    cell: str,
    *,
    embedding: int = 7,
    hidden: int = 9,
    layers: int = 1,
    context: int = 1,
    tied: bool = True,
    symbols: int = 25,
) -> dict[str, np.ndarray]:
    shapes = shapes_of(
        cell=cell,
        embedding=embedding,
        hidden=hidden,
        layers=layers,
        context=context,
        tied=tied,
        symbols=symbols,
    )
    random = np.random.default_rng(hidden)
    return {
        name: random.normal(0, 1.2 / np.sqrt(shape[-1]) if len(shape) > 1 else 0.3, shape).astype(
            np.float32
        )
        for name, shape in shapes.items()
    }


def make(
    cell: str, *, layers: int = 1, context: int = 1, begin: int = BOS, **sizes: Any
) -> NumpyNextWord:
    weights = weights_of(cell, layers=layers, context=context, **sizes)
    return NumpyNextWord(weights, cell=cell, layers=layers, context=context, begin=begin)


def some_rows(count: int, symbols: int = 25, longest: int = 40, seed: int = 3) -> list[list[int]]:
    """Rows of 0 to ``longest`` symbols, the unknown one among them."""
    random = np.random.default_rng(seed)
    lengths = [0, 1, longest, *random.integers(0, longest + 1, size=max(count, 3) - 3)]
    rows = [random.integers(UNK, symbols, size=int(length)).tolist() for length in lengths]
    return [rows[k] for k in random.permutation(len(rows))][:count]


# --- the same network as in plain loops


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def step_plainly(
    cell: str, weights: dict[str, np.ndarray], name: str, vector: np.ndarray, state: np.ndarray
) -> np.ndarray:
    """One step of one layer, K H, as the papers write it."""
    gates = {"tanh": 1, "residual": 1, "gru": 3, "lstm": 4}[cell]
    hidden = state[0]
    projected = np.split(weights[f"{name}.input"] @ vector + weights[f"{name}.bias"], gates)
    products = np.split(weights[f"{name}.recurrent"] @ hidden, gates)
    if cell in ("tanh", "residual"):
        new = np.tanh(projected[0] + products[0])
        return np.stack([new + hidden if cell == "residual" else new] * 2)
    if cell == "gru":
        reset, update = (sigmoid(projected[k] + products[k]) for k in range(2))
        new = np.tanh(projected[2] + reset * products[2])
        return np.stack([(1 - update) * new + update * hidden] * 2)
    enter, forget, new, leave = (p + q for p, q in zip(projected, products, strict=True))
    memory = sigmoid(forget) * state[1] + sigmoid(enter) * np.tanh(new)
    return np.stack([sigmoid(leave) * np.tanh(memory), memory])


def read_plainly(
    weights: dict[str, np.ndarray], inputs: Sequence[int], *, cell: str, layers: int, context: int
) -> np.ndarray:
    """T V of log-probabilities in float64, one symbol and one layer after the other."""
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    embedding = weights["embedding"]
    size, hidden = embedding.shape[1], weights["readout.weight"].shape[1]
    states = [np.zeros((2, hidden)) for _ in range(layers)]
    window = [np.zeros(size)] * context
    found = []
    for symbol in inputs:
        vector = embedding[symbol]
        if cell == "mlp":
            window = [*window[1:], vector]
            vector = np.tanh(
                weights["hidden.weight"] @ np.concatenate(window) + weights["hidden.bias"]
            )
        else:
            for layer in range(layers):
                name = f"recurrence.cells.{layer}"
                states[layer] = step_plainly(cell, weights, name, vector, states[layer])
                vector = states[layer][0]
        mixed = weights["readout.weight"] @ vector + weights["readout.bias"]
        logits = weights.get("output", embedding) @ mixed + weights["output_bias"]
        logits[[PAD, BOS]] = -np.inf
        found.append(logits - np.log(np.exp(logits).sum()))
    return np.array(found)


@pytest.mark.parametrize("tied", [True, False])
@each_kind
def test_every_step_is_that_of_plain_loops(
    cell: str, layers: int, context: int, tied: bool
) -> None:
    kind: dict[str, Any] = {"cell": cell, "layers": layers, "context": context}
    weights = weights_of(**kind, tied=tied)
    network = NumpyNextWord(weights, **kind)
    prefixes = some_rows(19, longest=6)
    after = np.random.default_rng(4).integers(UNK, 25, size=(19, 4))
    symbols, state = network.start(prefixes)
    assert symbols.tolist() == [[BOS, *prefix][-1] for prefix in prefixes]
    for step in range(4):
        logs, state = network.step(symbols, state)
        for row, prefix in enumerate(prefixes):
            inputs = [BOS, *prefix, *after[row, :step]]
            expected = read_plainly(weights, inputs, **kind)[-1]
            np.testing.assert_allclose(logs[row], expected, rtol=0, atol=2e-5)
        symbols = after[:, step]


@each_kind
def test_a_scan_is_that_of_plain_loops(cell: str, layers: int, context: int) -> None:
    kind: dict[str, Any] = {"cell": cell, "layers": layers, "context": context}
    weights = weights_of(**kind)
    rows = some_rows(7)
    found = scanned(NumpyNextWord(weights, **kind), rows)
    for row, ids in enumerate(rows):
        expected = read_plainly(weights, [BOS, *ids], **kind)
        np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=2e-5)


def scanned(
    network: NumpyNextWord, rows: Sequence[Sequence[int]], size: int = 256
) -> list[np.ndarray]:
    """The log-probabilities T V of every row, each position seen once and with its label."""
    found = [np.full((len(ids) + 1, len(network.embedding)), np.nan, dtype="f4") for ids in rows]
    for numbers, positions, labels, logs in network.scan(rows, size=size):
        assert 0 < len(numbers) == len(positions) == len(labels) == len(logs) <= size
        for number, position, label, one in zip(numbers, positions, labels, logs, strict=True):
            assert label == [*rows[number], EOS][position]
            assert np.isnan(found[number][position]).all()
            found[number][position] = one
    assert not any(np.isnan(one).any() for one in found)
    return found


@pytest.mark.parametrize("size", [1, 15, 100, 256])
@each_kind
def test_scores_are_those_of_a_scan_bit_for_bit(
    cell: str, layers: int, context: int, size: int
) -> None:
    kind: dict[str, Any] = {"cell": cell, "layers": layers, "context": context}
    network = NumpyNextWord(weights_of(**kind), **kind)
    rows = some_rows(90)
    scans, scores = list(network.scan(rows, size=size)), list(network.score(rows, size=size))
    assert len(scans) == len(scores)
    for (numbers, _, labels, logs), (same, found) in zip(scans, scores, strict=True):
        assert np.array_equal(numbers, same)
        assert np.array_equal(found, logs[np.arange(len(labels)), labels])


def test_scores_take_little_memory_however_many_symbols_there_are() -> None:
    """A part of the log-probabilities of 256 positions, which a scan holds twice."""
    symbols = 20_000
    network = NumpyNextWord(weights_of("lstm", symbols=symbols), cell="lstm", layers=1, context=1)
    rows = [[4] * 15] * 16
    tracemalloc.start()
    try:
        assert [len(found) for _, found in network.score(rows)] == [256]
        assert tracemalloc.get_traced_memory()[1] < 256 * symbols * 4
    finally:
        tracemalloc.stop()


# --- the same network as in torch


def twin(cell: str, layers: int, context: int, tied: bool) -> NextWord:
    torch.manual_seed(2)
    model = NextWord(
        symbols=25,
        cell=cell,
        embedding=7,
        hidden=9,
        layers=layers,
        context=context,
        tied=tied,
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter)) if "bias" in name else None
    return model


@pytest.mark.parametrize("tied", [True, False])
@each_kind
def test_a_scan_is_that_of_torch(cell: str, layers: int, context: int, tied: bool) -> None:
    model = twin(cell, layers, context, tied)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    network = NumpyNextWord(weights, cell=cell, layers=layers, context=context)
    inputs = np.random.default_rng(4).integers(UNK, 25, size=(5, 12))
    inputs[:, 0] = BOS
    with torch.no_grad():
        expected = model(torch.from_numpy(inputs)).log_softmax(-1).numpy()
    found = scanned(network, [row[1:].tolist() for row in inputs])
    for row in range(5):
        np.testing.assert_allclose(found[row], expected[row], rtol=0, atol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
@each_kind
def test_shapes_are_those_of_the_torch_model(
    cell: str, layers: int, context: int, tied: bool
) -> None:
    shapes = shapes_of(
        cell=cell,
        embedding=7,
        hidden=9,
        layers=layers,
        context=context,
        tied=tied,
        symbols=25,
    )
    found = twin(cell, layers, context, tied).state_dict()
    assert shapes == {name: tuple(value.shape) for name, value in found.items()}


# --- the same text, the same bits

ODD = {"33/17": (33, 17, 700), "100/50": (100, 50, 301), "12/8": (12, 8, 25)}
"""Hidden, embedding and vocabulary sizes that leave every kernel and tile with an odd rest."""


def started(network: NumpyNextWord, rows: Sequence[list[int]], size: int) -> list[bytes]:
    """The bits of two steps after every row, with rows read in batches of ``size``."""
    found = []
    for first in range(0, len(rows), size):
        symbols, state = network.start(rows[first : first + size])
        one, state = network.step(symbols, state)
        other, _ = network.step(np.full(len(symbols), UNK), state)
        found += [one[k].tobytes() + other[k].tobytes() for k in range(len(one))]
    return found


@pytest.mark.parametrize("sizes", ODD)
@each_kind
def test_an_answer_does_not_depend_on_its_company(
    cell: str, layers: int, context: int, sizes: str
) -> None:
    hidden, embedding, symbols = ODD[sizes]
    network = make(
        cell, layers=layers, context=context, hidden=hidden, embedding=embedding, symbols=symbols
    )
    rows = some_rows(257 if sizes == "12/8" else 40, symbols=symbols)
    expected = started(network, rows, 257)
    assert len(set(expected)) > 20
    for size, every in ((1, 9), (7, 2), (16, 1)):
        assert started(network, rows[::every], size) == expected[::every]
    order = np.random.default_rng(1).permutation(len(rows)).tolist()
    shuffled = started(network, [rows[row] for row in order], 64)
    assert shuffled == [expected[row] for row in order]


@pytest.mark.parametrize("sizes", ODD)
@each_kind
def test_scanning_and_stepping_are_the_same_bits(
    cell: str, layers: int, context: int, sizes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, embedding, symbols = ODD[sizes]
    network = make(
        cell, layers=layers, context=context, hidden=hidden, embedding=embedding, symbols=symbols
    )
    rows = some_rows(23, symbols=symbols)
    found = scanned(network, rows)
    for size, group, steps in ((5, 256, 16), (1, 16, 3), (1000, 7, 100)):
        monkeypatch.setattr(next_word_numpy, "MAX_LINES", group)
        monkeypatch.setattr(next_word_numpy, "MAX_STEPS", steps)
        some = rows[:4] if size == 1 else rows[::-1]
        again = scanned(network, some, size)
        if size != 1:
            again.reverse()
        assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=False))
        prefixes = [row[:place] for row in rows for place in range(0, len(row) + 1, 6)]
        logs, _ = network.step(*network.start(prefixes))
        scans = [one[place] for one in found for place in range(0, len(one), 6)]
        assert np.array_equal(logs, np.stack(scans))


@each_kind
def test_lines_may_be_read_in_parts(cell: str, layers: int, context: int) -> None:
    network = make(cell, layers=layers, context=context)
    rows = some_rows(20)
    expected = started(network, rows, 32)
    cuts = np.random.default_rng(5).integers(0, 41, size=20)
    symbols, state = network.start([row[:cut] for row, cut in zip(rows, cuts, strict=True)])
    same = network.extend(symbols, state, [[] for _ in rows])
    assert np.array_equal(same[0], symbols)
    assert np.array_equal(network.step(*same)[0], network.step(symbols, state)[0])
    symbols, state = network.extend(
        symbols, state, [row[cut:] for row, cut in zip(rows, cuts, strict=True)]
    )
    logs, state = network.step(symbols, state)
    other, _ = network.step(np.full(20, UNK), state)
    assert expected == [logs[k].tobytes() + other[k].tobytes() for k in range(20)]


@pytest.mark.parametrize("cell", CELLS[:-1])
def test_the_table_of_first_products_changes_no_bit(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = weights_of(cell, hidden=33, embedding=17, symbols=301)
    with_table = NumpyNextWord(weights, cell=cell, layers=1, context=1)
    monkeypatch.setattr(next_word_numpy, "MAX_TABLE", with_table.cells[0].bias.size * 301 - 1)
    without = NumpyNextWord(weights, cell=cell, layers=1, context=1)
    assert (with_table._table is None, without._table is None) == (False, True)
    rows = some_rows(20, symbols=301)
    assert started(with_table, rows, 20) == started(without, rows, 20)
    assert started(without, rows[::3], 1) == started(without, rows, 20)[::3]


def digest() -> str:
    """A hash of many answers, by products large enough to be shared between threads."""
    sha = hashlib.sha256()
    for cell, hidden, embedding, symbols in (("lstm", 256, 128, 3001), ("mlp", 100, 50, 700)):
        network = make(cell, context=2, hidden=hidden, embedding=embedding, symbols=symbols)
        rows = some_rows(20, symbols=symbols)
        found = started(network, rows, 20)
        if started(network, rows[::5], 1) != found[::5]:
            return "an answer depends on its company"
        sha.update(b"".join(found))
    return sha.hexdigest()


@each_core
def test_answers_do_not_depend_on_the_number_of_threads(core: str) -> None:
    """Nor on their company, with the kernels of other processors, whose bits are their own."""
    parts = [inspect.getsource(part) for part in (weights_of, make, some_rows, started, digest)]
    imports = "from charseq.decoding.next_word_numpy import NextWordState, NumpyNextWord, shapes_of"
    names = "from charseq.data.text.vocabulary import BOS, UNK"
    header = ["from __future__ import annotations", "import hashlib", "import numpy as np"]
    program = "\n".join([*header, imports, names, *parts, "print(digest())"])
    one, two = (run_on(core, program, OPENBLAS_NUM_THREADS=count) for count in "12")
    assert len(one) == 64
    assert one == two


@each_kind
def test_every_product_is_made_on_one_thread(
    cell: str, layers: int, context: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a new network's table, of beginnings, of steps, and of whole lines."""
    with products_on(3, monkeypatch) as counts:
        network = make(cell, layers=layers, context=context)
        made = len(counts)
        symbols, state = network.start([[4, 5], [6]])
        begun = len(counts)
        network.step(symbols, state)
        stepped = len(counts)
        assert len(list(network.scan([[4, 5, 6], [7]]))) == 1
        scanned = len(counts)
        assert len(list(network.score([[4, 5, 6], [7]]))) == 1
    assert made == (cell != "mlp")
    assert made < begun < stepped < scanned < len(counts)
    assert set(counts) == {1}


# --- step, select, start


def test_probabilities_are_of_what_may_come() -> None:
    """The unknown word and the end of the line are outcomes; padding and the beginning are not."""
    network = make("gru", symbols=1000)
    logs, _ = network.step(*network.start([[4, 5], []]))
    assert (logs.shape, logs.dtype) == ((2, 1000), np.float32)
    assert bool((logs[:, [PAD, BOS]] == -np.inf).all())
    assert np.isfinite(np.delete(logs, [PAD, BOS], axis=1)).all()
    assert np.exp(logs.astype("f8")).sum(axis=1) == pytest.approx([1, 1], abs=1e-6)


def test_many_small_probabilities_are_not_lost_in_the_sum() -> None:
    """A word of nearly all probability, and 50,000 others of which each is next to nothing."""
    weights = weights_of("mlp", symbols=50_004)
    weights["embedding"] *= 0
    weights["output_bias"] *= 0
    weights["output_bias"][4] = 17.0
    network = NumpyNextWord(weights, cell="mlp", layers=1, context=1)
    logs, _ = network.step(*network.start([[]]))
    rest = 50_001 * np.exp(-17.0)
    assert float(logs[0, 4]) == pytest.approx(-np.log1p(rest), rel=0.05)


def test_logits_of_hundreds_do_not_overflow() -> None:
    weights = weights_of("gru", symbols=40)
    plain, shifted = (
        NumpyNextWord(
            weights | {"output_bias": weights["output_bias"] + shift},
            cell="gru",
            layers=1,
            context=1,
        )
        for shift in (np.float32(0), np.float32(300))
    )
    one, other = (network.step(*network.start([[4, 5]]))[0] for network in (plain, shifted))
    np.testing.assert_allclose(one[0, 2:], other[0, 2:], atol=1e-3)


def test_a_line_may_begin_with_another_symbol() -> None:
    """As in running text, where the end of a line is read before the next one."""
    weights = weights_of("lstm")
    network = NumpyNextWord(weights, cell="lstm", layers=1, context=1, begin=EOS)
    expected = read_plainly(weights, [EOS, 5, EOS, 6], cell="lstm", layers=1, context=1)
    (found,) = scanned(network, [[5, EOS, 6]])
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    logs, _ = network.step(*network.start([[]]))
    np.testing.assert_allclose(logs[0], expected[0], rtol=0, atol=2e-5)


@each_kind
def test_a_step_leaves_its_state_as_it_was(cell: str, layers: int, context: int) -> None:
    network = make(cell, layers=layers, context=context)
    symbols, state = network.start([[4, 5], [6]])
    kept = state.past.copy()
    once, after = network.step(symbols, state)
    network.step(np.array([7, 8]), after)
    network.extend(symbols, state, [[5], []])
    again, _ = network.step(symbols, state)
    assert np.array_equal(once, again)
    assert np.array_equal(kept, state.past)


@each_kind
def test_select_gives_every_row_its_own_past(cell: str, layers: int, context: int) -> None:
    network = make(cell, layers=layers, context=context)
    prefixes = some_rows(20, longest=5)
    symbols, state = network.start(prefixes)
    rows = np.array([*range(19, -1, -1), 3, 3, 17])
    chosen = network.select(state, rows, 1)
    assert chosen.rows == 23
    found, _ = network.step(symbols[rows], chosen)
    expected, _ = network.step(symbols, state)
    assert np.array_equal(found, expected[rows])


@pytest.mark.parametrize("cell", CELLS)
def test_no_rows_have_no_answers(cell: str) -> None:
    network = make(cell)
    symbols, state = network.start([])
    logs, after = network.step(symbols, state)
    assert logs.shape == (0, 25)
    assert isinstance(after, NextWordState)
    assert list(network.scan([])) == list(network.score([])) == []


def test_the_given_weights_stay_as_they_are() -> None:
    for cell, tied in itertools.product(("lstm", "mlp"), (True, False)):
        weights = weights_of(cell, context=2, tied=tied)
        kept = {name: value.copy() for name, value in weights.items()}
        network = NumpyNextWord(weights, cell=cell, layers=1, context=2)
        network.step(*network.start([[4, 5]]))
        assert all(np.array_equal(weights[name], kept[name]) for name in kept)
