"""Several networks as one: the mean of probabilities, and an answer that no company changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from charseq.config import Config, configure
from charseq.data.batches import buckets
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import BOS, EOS, PAD, UNK
from charseq.decoding.ensemble import (
    Ensemble,
    direction_groups,
    direction_of,
    join,
    mean_of,
    member_of,
    name_of,
    part,
)
from charseq.decoding.search import StepModel, beam, greedy
from charseq.decoding.seq2seq_numpy import WIDTH, shapes_of
from charseq.errors import SettingError

SOURCES, TARGETS = 30, 21


def config_of(**settings: Any) -> Config:
    small = {
        "epochs": 1, "hidden": 12, "embedding": 7, "attention": "soft", "direction": "forward",
        "layers": 1,
    }  # fmt: skip
    return configure({**small, **settings})


def random_weights(config: Config, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = shapes_of(
        cell=config.cell,
        embedding=config.embedding,
        hidden=config.hidden,
        layers=config.layers,
        attention=config.attention == "soft",
        pointer=config.attention == "hard",
        prior=config.attention == "hard" and config.alignment_prior,
        tied=config.tie_embeddings,
        sources=SOURCES,
        targets=Actions(TARGETS).size if config.attention == "hard" else TARGETS,
    )
    weights = {}
    for name, shape in shapes.items():
        scale = 1.0 if "embedding" in name else 1.5 / np.sqrt(shape[-1])
        weights[name] = random.normal(0, scale, shape).astype(np.float32)
    weights["output_bias"][EOS] += 1.0
    return weights


def make(config: Config) -> tuple[Ensemble, list[Any]]:
    """An ensemble, and its members each alone."""
    members = [member_of(config, number) for number in range(config.ensemble)]
    weights = [random_weights(one, seed) for seed, one in enumerate(members)]
    ((made, *_),) = direction_groups(config, join(weights))
    assert isinstance(made, Ensemble)
    pairs = zip(weights, members, strict=True)
    alone = [direction_groups(one, own)[0].network for own, one in pairs]
    return made, alone


def some_texts(count: int, seed: int = 3) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(4, SOURCES, size=random.integers(1, 9)).tolist() for _ in range(count)]


# --- the mean


def test_each_step_is_the_mean_of_the_members_probabilities() -> None:
    """Against float64, after symbols that differ from row to row and a change of rows."""
    ensemble, alone = make(config_of(ensemble=3, cells="gru,lstm,residual"))
    assert isinstance(ensemble, StepModel)
    assert {one.cell for one in alone} == {"gru", "lstm", "residual"}
    texts = [text for text in some_texts(60) if len(text) <= WIDTH]
    state, states = ensemble.start(texts), [one.start(texts) for one in alone]
    symbols = np.full(len(texts), BOS)
    for _ in range(3):
        logs, state = ensemble.step(symbols, state)
        found = [one.step(symbols, own) for one, own in zip(alone, states, strict=True)]
        states = [own for _, own in found]
        wanted = np.mean([np.exp(own.astype(np.float64)) for own, _ in found], axis=0)
        assert logs.dtype == np.float32
        np.testing.assert_allclose(np.exp(logs.astype(np.float64)), wanted, rtol=2e-5, atol=1e-9)
        assert np.isneginf(logs[:, [PAD, BOS, UNK]]).all()
        rows = np.arange(len(symbols))[::-2].copy()
        symbols = np.arange(len(rows)) % 5 + 4
        state = ensemble.select(state, rows, 1)
        states = [one.select(own, rows, 1) for one, own in zip(alone, states, strict=True)]


def test_the_mean_is_not_that_of_logarithms() -> None:
    sure, other = np.log(np.array([[0.8, 0.2], [0.4, 0.6]], np.float32))
    found = np.exp(mean_of([sure[None], other[None]]))
    np.testing.assert_allclose(found, [[0.6, 0.4]], rtol=1e-6)


def test_tiny_and_impossible_symbols_stay_what_they_are() -> None:
    """Where a probability is below what float32 holds, its logarithm still says which is less."""
    logs = np.array([[0.0, -200.0, -300.0, -np.inf, -np.inf]], np.float32)
    other = np.array([[0.0, -200.0, -np.inf, -400.0, -np.inf]], np.float32)
    found = mean_of([logs, other])
    half = np.log(2)
    np.testing.assert_allclose(
        found, [[0.0, -200.0, -300.0 - half, -400.0 - half, -np.inf]], rtol=1e-6
    )
    assert mean_of([logs] * 3).max() <= 0.0


def test_one_and_the_same_member_twice_changes_no_choice() -> None:
    config = config_of(ensemble=2)
    weights = random_weights(member_of(config, 0), 5)
    ((single, *_),) = direction_groups(member_of(config, 0), weights)
    ((twice, *_),) = direction_groups(config, join([weights, weights]))
    texts = [text for text in some_texts(40) if len(text) <= WIDTH]
    limits = [6] * len(texts)
    one = greedy(single, single.start(texts), limits)
    two = greedy(twice, twice.start(texts), limits)
    assert [best.ids for best in one] == [best.ids for best in two]
    assert [best.score for best in one] == pytest.approx([best.score for best in two], abs=1e-5)


# --- the same text, the same answer


def answers(network: Any, texts: Sequence[list[int]], *, size: int, width: int) -> list[Any]:
    """Outputs and scores, to the last bit, in the order of the texts."""
    found: list[Any] = [None] * len(texts)
    for group in buckets([len(text) for text in texts], width=WIDTH, size=size):
        state = network.start([texts[row] for row in group])
        limits = [6] * len(group)
        if width == 1:
            hypotheses = [[best] for best in greedy(network, state, limits)]
        else:
            hypotheses = beam(network, state, limits, width=width)
        for row, ones in zip(group, hypotheses, strict=True):
            found[row] = [(one.ids, one.score.hex()) for one in ones]
    return found


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("attention", ["soft", "hard", "none"])
@pytest.mark.parametrize("cells", ["gru", "tanh,lstm"])
def test_an_answer_does_not_depend_on_its_company(cells: str, attention: str, width: int) -> None:
    network, _ = make(config_of(ensemble=3, cells=cells, attention=attention))
    texts = [[*text, EOS] for text in some_texts(37)]
    expected = answers(network, texts, size=64, width=width)
    assert len({answer[0] for answer in expected}) >= 15
    for size, every in ((1, 7), (3, 2), (16, 1)):
        assert answers(network, texts[::every], size=size, width=width) == expected[::every]
    assert answers(network, texts[::-1], size=64, width=width) == expected[::-1]


@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17, 100])
def test_the_bits_of_a_row_do_not_change_with_the_number_of_rows(rows: int) -> None:
    random = np.random.default_rng(2)
    logs = [random.normal(-3, 2, (100, 13)).astype(np.float32) for _ in range(4)]
    whole = mean_of(logs)
    for begin in (0, 3, 100 - rows):
        place = slice(begin, begin + rows)
        assert np.array_equal(mean_of([one[place] for one in logs]), whole[place])


# --- who the members are


def test_members_differ_in_their_seed_and_take_the_cells_in_turn() -> None:
    config = config_of(ensemble=5, cells="gru, lstm", seed=2**32 - 2, threads=4, dropout=0.2)
    members = [member_of(config, number) for number in range(5)]
    assert [one.cell for one in members] == ["gru", "lstm", "gru", "lstm", "gru"]
    assert [one.seed for one in members] == [2**32 - 2, 2**32 - 1, 0, 1, 2]
    assert {(one.ensemble, one.cells, one.threads, one.dropout) for one in members} == {
        (1, "", 1, 0.2)
    }


@pytest.mark.parametrize("count", ["0", "65", "2.5", "many"])
def test_there_are_1_to_64_members(count: str) -> None:
    with pytest.raises(SettingError, match=r"^ensemble is "):
        config_of(ensemble=count)


def test_weights_are_joined_and_taken_apart() -> None:
    members = [{"a": np.ones(2), "b.c": np.zeros(1)}, {"a": np.zeros(3)}] + [{"a": np.ones(1)}] * 9
    joined = join(members)
    assert set(joined) == {name_of(0, "b.c"), *(name_of(number, "a") for number in range(11))}
    assert name_of(0, "b.c") == "members.0.b.c"
    for number, weights in enumerate(members):
        assert part(joined, number).keys() == weights.keys()
        assert all(part(joined, number)[name] is weights[name] for name in weights)


# --- both directions


@pytest.mark.parametrize(
    ("attention", "first"), [("hard", "backward"), ("soft", "forward"), ("none", "forward")]
)
def test_members_write_from_one_end_and_the_other_in_turn(attention: str, first: str) -> None:
    config = config_of(ensemble=3, direction="auto", attention=attention)
    ways = [direction_of(config, number) for number in range(3)]
    assert ways == [first, ({"forward", "backward"} - {first}).pop(), first]
    assert direction_of(config_of(attention=attention, direction="forward"), 1) == "forward"


def test_members_that_write_in_one_direction_are_one_group() -> None:
    config = config_of(ensemble=5, direction="auto")
    weights = [random_weights(member_of(config, number), number) for number in range(5)]
    forward, backward = direction_groups(config, join(weights))
    assert (forward.backward, backward.backward) == (False, True)
    assert (forward.weight, backward.weight) == (3 / 5, 2 / 5)
    texts = [text for text in some_texts(20) if len(text) <= WIDTH]
    for direction_group, own in ((forward, (0, 2, 4)), (backward, (1, 3))):
        alone = [direction_groups(member_of(config, k), weights[k])[0].network for k in own]
        symbols = np.full(len(texts), BOS)
        found, _ = direction_group.network.step(symbols, direction_group.network.start(texts))
        wanted = mean_of([one.step(symbols, one.start(texts))[0] for one in alone])
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_direction_that_is_set_is_that_of_every_member(direction: str) -> None:
    for size in (1, 3):
        config = config_of(ensemble=size, direction=direction)
        weights = [random_weights(member_of(config, number), number) for number in range(size)]
        (direction_group,) = direction_groups(config, join(weights) if size > 1 else weights[0])
        assert (direction_group.backward, direction_group.weight) == (direction == "backward", 1.0)
        assert {member_of(config, number).direction for number in range(size)} == {direction}
