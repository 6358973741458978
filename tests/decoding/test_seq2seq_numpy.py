"""The network in NumPy against its twin in torch, and the bits of an answer against its company."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
import torch
from cores import each_core, products_on, run_on
from networks import ODD, SOURCES, TARGETS, answers, ended, every, make, some_texts, tiny

from charseq.config import configure
from charseq.data.batches import pad
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import BOS, EOS, PAD, SPECIALS, UNK
from charseq.decoding.blocks import BLOCK
from charseq.decoding.search import beam
from charseq.decoding.seq2seq_numpy import (
    WIDTH,
    NumpySeq2Seq,
    NumpyState,
    shapes_of,
)
from charseq.models.cells import CELLS
from charseq.models.factory import build
from charseq.models.seq2seq import EncoderDecoder

TESTS = str(Path(networks.__file__).parent)


# --- the same text, the same answer


def test_answers_are_varied_enough_to_tell_anything() -> None:
    for cell, (hidden, embedding) in itertools.product(CELLS, ODD.values()):
        for attention in ("soft", "hard"):
            network = make(cell, hidden=hidden, embedding=embedding, attention=attention)
            found = answers(network, ended(some_texts([2, 17])), size=64, width=3)
            assert len({len(answer[0][0]) for answer in found}) >= 3
            assert len({answer[0] for answer in found}) >= 15


@pytest.mark.parametrize("width", [1, 3, 5])
@pytest.mark.parametrize(
    ("sizes", "attention"),
    [
        ("33/17", "soft"),
        ("100/50", "none"),
        ("48/24", "soft"),
        ("256/128", "soft"),
        ("33/17", "hard"),
        ("48/24", "hard"),
    ],
)
@pytest.mark.parametrize("cell", CELLS)
def test_an_answer_does_not_depend_on_its_company(
    cell: str, sizes: str, attention: str, width: int
) -> None:
    hidden, embedding = ODD[sizes]
    layers = 2 if sizes == "48/24" else 1
    network = make(cell, hidden=hidden, embedding=embedding, layers=layers, attention=attention)
    texts = some_texts([2, 17]) if hidden == 256 else some_texts([6, 34, 5])
    texts = ended(texts) if attention == "hard" else texts
    expected = answers(network, texts, size=64, width=width)
    for size, stride in ((1, 9), (2, 5), (7, 2), (16, 1)):
        assert answers(network, texts[::stride], size=size, width=width) == expected[::stride]
    order = np.random.default_rng(1).permutation(len(texts)).tolist()
    shuffled = answers(network, [texts[row] for row in order], size=64, width=width)
    assert shuffled == [expected[row] for row in order]


@pytest.mark.parametrize("width", [1, 5])
@pytest.mark.parametrize("attention", ["soft", "hard"])
@pytest.mark.parametrize("cell", CELLS)
def test_an_answer_is_the_same_in_a_batch_of_257(cell: str, attention: str, width: int) -> None:
    network = make(cell, hidden=33, embedding=17, attention=attention)
    texts = some_texts([2, 257, 3])
    texts = ended(texts) if attention == "hard" else texts
    expected = answers(network, texts, size=257, width=width)
    assert answers(network, texts, size=64, width=width) == expected
    assert answers(network, texts[::9], size=1, width=width) == expected[::9]
    assert answers(network, texts[::-1], size=257, width=width) == expected[::-1]


@each_core
def test_answers_do_not_depend_on_the_number_of_threads(core: str) -> None:
    """Nor on their company, with the kernels of other processors, whose bits are their own."""
    program = f"import sys; sys.path.append({TESTS!r}); import networks; print(networks.digest())"
    one, two = (run_on(core, program, OPENBLAS_NUM_THREADS=count) for count in "12")
    assert len(one) == 64
    assert one == two


@pytest.mark.parametrize("attention", ["soft", "hard"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_product_is_made_on_one_thread(
    cell: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the tables of a new network to the last step of a search, of two layers."""
    with products_on(3, monkeypatch) as counts:
        network = make(cell, layers=2, attention=attention)
        made = len(counts)
        answers(network, ended(some_texts([2, 17])), size=64, width=3)
    assert made == 3  # both directions of the encoder, and the decoder
    assert len(counts) > 50
    assert set(counts) == {1}


# --- the same network as in torch


def twin(
    cell: str, layers: int, attention: str, tied: bool
) -> tuple[EncoderDecoder, dict[str, np.ndarray]]:
    """A torch model with random biases, and its weights as arrays."""
    torch.manual_seed(2)
    settings = {"cell": cell, "layers": layers, "attention": attention, "tied": tied}
    config = configure({"embedding": 7, "hidden": 9, **settings})
    prior = (
        np.random.default_rng(6).normal(0, 2, (SOURCES, TARGETS)) if attention == "hard" else None
    )
    hard = attention == "hard"
    model = build(config, sources=SOURCES, targets=TARGETS, prior=prior if hard else None).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter)) if "bias" in name else None
    return model, {name: value.numpy() for name, value in model.state_dict().items()}


def in_torch(model: EncoderDecoder, texts: list[list[int]], inputs: np.ndarray) -> np.ndarray:
    """B T V of log-probabilities among the symbols that may be written."""
    source = torch.from_numpy(pad([np.array(text) for text in texts]))
    lengths = torch.tensor([len(text) for text in texts])
    with torch.no_grad():
        logits = model(source, lengths, torch.from_numpy(inputs))
        logits[..., [PAD, BOS, UNK]] = -torch.inf
        if model.pointer is not None:
            forbid(logits, texts, inputs)
        return logits.log_softmax(-1).numpy()


def forbid(logits: torch.Tensor, texts: list[list[int]], inputs: np.ndarray) -> None:
    """What hard attention never writes: EOS before the end of a text, going on from it."""
    size = Actions.of(TARGETS).symbols
    logits[..., size : size + SPECIALS] = -torch.inf
    for row, text in enumerate(texts):
        for step in range(inputs.shape[1]):
            place = (inputs[row, : step + 1] >= size).sum()
            if place == text.index(EOS):
                logits[row, step, size:] = -torch.inf
            else:
                logits[row, step, EOS] = -torch.inf


def walks(texts: list[list[int]], steps: int) -> np.ndarray:
    """BOS and random actions, none of which goes on from the end of its text."""
    random, size = np.random.default_rng(4), Actions.of(TARGETS).symbols
    found = np.full((len(texts), steps), BOS)
    for row, text in enumerate(texts):
        left = text.index(EOS)
        for step in range(1, steps):
            goes = left > 0 and random.random() < 0.6
            found[row, step] = random.integers(size * goes + 4, TARGETS if goes else size)
            left -= goes
    return found


@pytest.mark.parametrize("attention", ["hard", "soft", "none"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_every_step_is_that_of_torch(cell: str, layers: int, attention: str, tied: bool) -> None:
    model, weights = twin(cell, layers, attention, tied)
    network = NumpySeq2Seq(weights, cell=cell, layers=layers)
    texts = some_texts([0, BLOCK + 3])
    inputs = np.random.default_rng(4).integers(4, TARGETS, size=(len(texts), 6))
    inputs[:, 0] = BOS
    if attention == "hard":
        texts = ended(texts)
        inputs = walks(texts, 8)
    expected = in_torch(model, texts, inputs)
    state = network.start(texts)
    for step in range(inputs.shape[1]):
        logs, state = network.step(inputs[:, step], state)
        np.testing.assert_allclose(logs, expected[:, step], rtol=0, atol=1e-4)


def test_texts_of_every_length_are_those_of_torch() -> None:
    model, weights = twin("gru", 2, "soft", True)
    network = NumpySeq2Seq(weights, cell="gru", layers=2)
    for length in range(1, 2 * WIDTH + 2):
        texts = [some_texts([1], seed=length)[0][:1] * length]
        logs, _ = network.step(np.array([BOS]), network.start(texts))
        expected = in_torch(model, texts, np.array([[BOS]]))[:, 0]
        np.testing.assert_allclose(logs, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_shapes_are_those_of_the_torch_model(cell: str) -> None:
    kinds = ("hard", "soft", "none")
    for layers, attention, tied in itertools.product([1, 2, 3], kinds, [True, False]):
        _, weights = twin(cell, layers, attention, tied)
        shapes = shapes_of(
            cell=cell,
            embedding=7,
            hidden=9,
            layers=layers,
            attention=attention == "soft",
            pointer=attention == "hard",
            prior=attention == "hard",
            tied=tied,
            sources=SOURCES,
            targets=TARGETS,
        )
        assert shapes == {name: value.shape for name, value in weights.items()}


# --- step, select, start


def test_probabilities_are_of_what_may_be_written() -> None:
    network = make("gru")
    logs, _ = network.step(np.array([BOS, BOS]), network.start([[4, 5], [6]]))
    assert (logs.shape, logs.dtype) == ((2, TARGETS), np.float32)
    assert bool((logs[:, [PAD, BOS, UNK]] == -np.inf).all())
    assert np.isfinite(np.delete(logs, [PAD, BOS, UNK], axis=1)).all()
    assert np.exp(logs).sum(axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_logits_of_hundreds_do_not_overflow() -> None:
    _, weights = twin("gru", 1, "soft", True)
    plain, shifted = (
        NumpySeq2Seq(
            weights | {"output_bias": weights["output_bias"] + shift}, cell="gru", layers=1
        )
        for shift in (np.float32(0), np.float32(300))
    )
    ones, others = (step(one, one.start([[4, 5]]), [BOS])[0] for one in (plain, shifted))
    np.testing.assert_allclose(ones[0, EOS], others[0, EOS], atol=1e-3)
    assert np.isfinite(others[0, 4:]).all()


def step(
    network: NumpySeq2Seq, state: NumpyState, symbols: Sequence[int]
) -> tuple[np.ndarray, NumpyState]:
    return network.step(np.array(symbols), state)


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_leaves_its_state_as_it_was(cell: str) -> None:
    network = make(cell)
    _, state = step(network, network.start([[4, 5], [6]]), [BOS, BOS])
    once, after = step(network, state, [5, 6])
    step(network, after, [7, 8])
    again, _ = step(network, state, [5, 6])
    assert np.array_equal(once, again)


@pytest.mark.parametrize("attention", ["hard", "soft", "none"])
@pytest.mark.parametrize("cell", CELLS)
def test_select_gives_every_row_its_own_past(cell: str, attention: str) -> None:
    """Rows repeated, then reordered within their texts, then texts left out, over two blocks."""
    network = make(cell, layers=2, attention=attention)
    texts = ended(some_texts([7]))
    state = network.select(network.start(texts), np.repeat(np.arange(7), 3), 3)
    assert (state.rows, state.width, state.hidden.shape[2]) == (21, 3, 2)
    symbols = np.random.default_rng(1).integers(4, TARGETS, size=(4, 21))
    pasts = [[BOS, symbols[0, row]] for row in range(21)]
    _, state = step(network, state, [BOS] * 21)
    _, state = step(network, state, symbols[0].tolist())

    def check(texts: list[list[int]], state: NumpyState, given: np.ndarray) -> NumpyState:
        logs, after = network.step(given, state)
        for row, past in enumerate(pasts):
            past.append(int(given[row]))
            alone = network.start([texts[row // state.width]])
            for symbol in past:
                expected, alone = step(network, alone, [symbol])
            np.testing.assert_allclose(logs[row], expected[0], rtol=0, atol=1e-5)
        return after

    rows = np.concatenate([3 * text + np.array([2, 0, 0]) for text in range(7)])
    state, pasts = network.select(state, rows, 3), [list(pasts[row]) for row in rows]
    state = check(texts, state, symbols[1])
    stay = [1, 4, 6]
    rows = np.concatenate([3 * text + np.array([1, 2, 0]) for text in stay])
    state, pasts = network.select(state, rows, 3), [list(pasts[row]) for row in rows]
    state = check([texts[text] for text in stay], state, symbols[2, :9])
    rows = np.array([2, 7])
    state, pasts = network.select(state, rows, 1), [list(pasts[row]) for row in rows]
    assert (state.rows, state.width, state.hidden.shape[2]) == (2, 1, 1)
    check([texts[1], texts[6]], state, symbols[3, :2])


def test_selecting_every_row_changes_nothing() -> None:
    network = make("lstm")
    state = network.start(some_texts([5]))
    chosen = network.select(state, np.arange(5), 1)
    ones, others = (step(network, given, [BOS] * 5)[0] for given in (state, chosen))
    assert np.array_equal(ones, others)


@pytest.mark.parametrize("texts", [[[4] * 4, [4] * 5], [[4], [4] * 8], [[], [4]], [[]], []])
def test_texts_of_other_rounded_lengths_or_none_are_refused(texts: list[list[int]]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - in whatever words
        make("gru").start(texts)


def test_texts_that_round_up_alike_are_read_together() -> None:
    network = make("gru")
    for lengths in ((1, 4), (5, 8, 6), (9, 12)):
        assert network.start([[4] * length for length in lengths]).rows == len(lengths)


def test_the_given_weights_stay_as_they_are() -> None:
    _, weights = twin("lstm", 2, "hard", False)
    kept = {name: value.copy() for name, value in weights.items()}
    network: Any = NumpySeq2Seq(weights, cell="lstm", layers=2)
    step(network, network.start([[4, EOS]]), [BOS])
    assert all(np.array_equal(weights[name], kept[name]) for name in kept)


# --- hard attention


@pytest.mark.parametrize("text", [[4, 5, EOS], [6, EOS, 7, 8], [EOS], [EOS, 8]])
def test_a_walk_ends_at_the_end_of_the_text_and_not_at_its_features(text: list[int]) -> None:
    """Before it EOS is not written, at it nothing goes on, whatever stands behind it."""
    network = tiny(2)
    found = every(network, text, 4)
    going, size = text.index(EOS), SPECIALS + 2
    assert {sum(action >= size for action in ids) for ids in found} == {going}
    wanted = 0
    for length in range(going, 5):  # where in the walk it goes on, and what it writes there
        places = len(list(itertools.combinations(range(length), going)))
        wanted += places * 3**going * 2 ** (length - going)
    assert len(found) == wanted
    written = {action for ids in found for action in ids}
    assert written <= {4, 5, size + 4, size + 5, 2 * size}


@pytest.mark.parametrize("text", [[4, 5, 6, EOS], [6, EOS, 7, 8], [EOS]])
def test_a_beam_as_wide_as_the_space_finds_every_walk(text: list[int]) -> None:
    """And where nothing stays, the probabilities of all of them come to 1."""
    network = tiny(2, staying=-40.0)
    found = beam(network, network.start([text]), [text.index(EOS)], width=30)[0]
    expected = every(network, text, text.index(EOS))
    assert len(expected) == 3 ** text.index(EOS)
    assert {one.ids for one in found} == set(expected)
    for one in found:
        assert one.score == pytest.approx(expected[one.ids], abs=1e-5)
    assert sum(np.exp(one.score) for one in found) == pytest.approx(1.0, abs=1e-5)


def test_what_comes_after_a_few_steps_has_the_rest_of_the_probability() -> None:
    network = tiny(2, staying=-3.0)
    longer = [sum(np.exp([*every(network, [4, EOS, 5], k).values()])) for k in range(1, 8)]
    assert longer == sorted(longer)
    assert 0.9 < longer[-1] <= 1.0 + 1e-5


def test_a_beam_that_is_wider_than_what_there_is_stays_within_its_text() -> None:
    """It is filled up with what is impossible, which must lead nowhere."""
    network = tiny(1)
    for texts in ([[4, EOS]], [[4, EOS], [EOS, 5]], [[EOS], [4, 5, EOS, 6]]):
        found = beam(network, network.start(texts), [5] * len(texts), width=128)
        for text, answer in zip(texts, found, strict=True):
            expected = every(network, text, 5)
            expected.pop((), None)  # no output is empty
            cut = {one.ids for one in answer if one.truncated}
            assert all(len(ids) == 5 for ids in cut), "only at the limit"
            ended = [one.ids for one in answer if not one.truncated]
            assert ended == sorted(ended, key=lambda ids: -expected[ids])
            assert len(ended) == len(set(ended))
            assert expected.keys() - cut <= set(ended) <= expected.keys()


def test_features_are_heard_though_no_walk_comes_to_them() -> None:
    network = make("gru", attention="hard")
    one, other = (network.step(np.array([BOS]), network.start([[4, EOS, k]]))[0] for k in (5, 6))
    assert not np.allclose(one, other)


@pytest.mark.parametrize("embedding", [1, 2, 17])
def test_features_are_added_up_in_the_same_order_in_any_company(embedding: int) -> None:
    """Where a vector is one number, NumPy would add up many of them in another order than few."""
    network = make("gru", hidden=5, embedding=embedding, attention="hard")
    random = np.random.default_rng(1)
    texts = [[4, EOS, *random.integers(4, SOURCES, size=11 + k % 4).tolist()] for k in range(12)]
    together = answers(network, texts, size=12, width=3)
    assert answers(network, texts, size=1, width=3) == together
    assert answers(network, texts[:5], size=5, width=3) == together[:5]
