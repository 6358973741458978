"""Searches along automata against enumeration, in every engine; what is removed; odd automata."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from automata import Ids, accepted, words
from hypothesis import given, settings
from hypothesis import strategies as st
from levels import LIBRARY, at_level
from networks import TARGETS, ended, make, some_texts

from charseq.config import configure
from charseq.data.text.alignment import Actions
from charseq.data.text.automaton import Automaton, of_sequences
from charseq.data.text.vocabulary import BOS, EOS, SPECIALS
from charseq.decoding.constrained import Walk, constrained
from charseq.decoding.ensemble import Ensemble, direction_groups
from charseq.decoding.search import Hypothesis, beam
from charseq.decoding.seq2seq_gpu import GpuEnsemble
from charseq.decoding.seq2seq_native import NativeSeq2Seq
from charseq.kernels import library
from charseq.models import factory

SEEDS = st.integers(0, 2**31)


class Plain:
    """A network with ``step`` and ``select`` only, whatever searches it has of its own."""

    def __init__(self, network: Any) -> None:
        self.step, self.select, self.actions = network.step, network.select, network.actions


def rule_of(network: Any, seed: int) -> Automaton:
    """The automaton of some sequences, for what ``network`` writes."""
    if network.actions is None:
        return of_sequences(words(seed, TARGETS), TARGETS)
    size = network.actions.symbols
    return of_sequences(words(seed, size), size).for_actions(network.actions)


def log_probability(network: Any, source: list[int], ids: Sequence[int]) -> float:
    """The score of one output by teacher forcing, without any search."""
    state, before, total = network.start([source]), BOS, 0.0
    for one in (*ids, EOS):
        logs, state = network.step(np.array([before]), state)
        total += float(logs[0, one])
        before = one
    return total


def blank_end(network: Any, source: list[int]) -> float:
    """The probability of the empty output, which no search writes."""
    return math.exp(log_probability(network, source, ()))


def check(
    network: Any, source: list[int], wanted: set[Ids], found: list[Hypothesis], removed: float
) -> None:
    """All outputs of the rule were found, with their probabilities given the rule."""
    assert {one.ids for one in found} == wanted
    assert not any(one.truncated for one in found)
    scores = {ids: log_probability(network, source, ids) for ids in wanted}
    for one in found:
        assert one.score == pytest.approx(scores[one.ids], abs=1e-4)
    inside = math.fsum(map(math.exp, scores.values()))
    # besides the rule's outputs and the empty one all probability is removed
    assert removed == pytest.approx(1 - inside - blank_end(network, source), abs=1e-4)


# --- engines


def engines(attention: str, cell: str = "gru") -> list[tuple[str, Any]]:
    """The same random network in NumPy, in C, in C by steps, and two as an ensemble."""
    network = make(cell, attention=attention)
    found = [("numpy", network), ("ensemble", Ensemble([network, make(cell, attention=attention)]))]
    kernels = library.find()
    if kernels is not None:
        compiled = NativeSeq2Seq(network, kernels)
        found += [("native", compiled)]
    return found


@pytest.mark.parametrize("engine", [0, 1, 2])
@pytest.mark.parametrize("attention", ["soft", "none"])
@settings(max_examples=4)
@given(seed=SEEDS)
def test_a_wide_beam_gives_the_probabilities_given_the_rule(
    attention: str, engine: int, seed: int
) -> None:
    made = engines(attention)
    if engine >= len(made):
        pytest.skip("no library")
    network = made[engine][1]
    wanted = set(words(seed, TARGETS))
    automaton = of_sequences(list(wanted), TARGETS)
    texts = some_texts([3], seed=seed)
    found, removed = constrained(network, network.start(texts), [5] * 3, automaton, width=40)
    for text, outputs, lost in zip(texts, found, removed, strict=True):
        check(network, text, wanted, outputs, lost)


@pytest.mark.parametrize("engine", [0, 1, 2])
@settings(max_examples=4)
@given(seed=SEEDS)
def test_actions_give_the_probabilities_given_the_rule(engine: int, seed: int) -> None:
    """With hard attention: every sequence of actions that writes an output of the rule."""
    made = engines("hard")
    if engine >= len(made):
        pytest.skip("no library")
    network = made[engine][1]
    actions = network.actions
    wanted = set(words(seed, actions.symbols, most=3, longest=2))
    automaton = of_sequences(list(wanted), actions.symbols).for_actions(actions)
    text = [*some_texts([1], seed=seed)[0][:2], EOS]
    found, removed = constrained(
        network, network.start([text]), [6], automaton, width=200, silent=actions.deletion
    )
    scores = {one.ids: one.score for one in found[0]}
    assert {tuple(actions.target_ids(ids)) for ids in scores} == wanted
    possible = [ids for ids in accepted(automaton, 6) if len(actions.target_ids(ids))]
    expected = {ids: log_probability(network, text, ids) for ids in possible}
    expected = {ids: score for ids, score in expected.items() if score > -math.inf}
    assert scores.keys() == expected.keys()
    for ids, score in scores.items():
        assert score == pytest.approx(expected[ids], abs=1e-4)
    # deletions alone write nothing, and may not end
    nothing = [(actions.deletion,) * number for number in range(3)]
    empty = math.fsum(math.exp(log_probability(network, text, ids)) for ids in nothing)
    inside = math.fsum(map(math.exp, expected.values()))
    assert removed[0] == pytest.approx(1 - inside - empty, abs=1e-4)


@pytest.mark.parametrize("level", LIBRARY)
@pytest.mark.parametrize("attention", ["soft", "hard"])
def test_the_compiled_search_is_that_of_its_steps(attention: str, level: str) -> None:
    """The outputs to the last bit; more texts than are computed side by side."""
    kernels = at_level(level)
    network = NativeSeq2Seq(make("gru", attention=attention, hidden=33, embedding=17), kernels)
    silent = network.actions and network.actions.deletion
    for count, width, strength in ((150, 1, 0.0), (70, 2, 0.9), (9, 30, 0.0)):
        automaton = rule_of(network, count)
        texts = some_texts([0, count])
        texts = ended(texts) if attention == "hard" else texts
        limits = np.random.default_rng(1).integers(0, 9, size=count).tolist()
        options: dict[str, Any] = {"width": width, "length_penalty": strength}
        found, removed = constrained(network, network.start(texts), limits, automaton, **options)
        expected, lost = constrained(
            Plain(network), network.start(texts), limits, automaton, silent=silent, **options
        )
        assert found == expected
        assert removed == pytest.approx(lost, abs=1e-9)
        assert 0 < max(removed) < 1.001


def test_an_automaton_of_other_symbols_is_refused() -> None:
    kernels = library.find()
    if kernels is None:
        pytest.skip("no library")
    network = NativeSeq2Seq(make("gru"), kernels)
    with pytest.raises(ValueError, match="12 symbols, expected 25"):
        constrained(network, network.start([[4]]), [3], of_sequences([(5,)], 12), width=1)


@pytest.mark.parametrize("engine", ["numpy", "ensemble", "native"])
@pytest.mark.parametrize(("attention", "width"), [("soft", 1), ("hard", 3), ("none", 2)])
def test_an_answer_does_not_depend_on_its_company(engine: str, attention: str, width: int) -> None:
    """Outputs, scores and what is removed: to the last bit."""
    made = dict(engines(attention))
    if engine not in made:
        pytest.skip("no library")
    network = made[engine]
    silent = network.actions and network.actions.deletion
    automaton = rule_of(network, 3)
    texts = some_texts([0, 40])
    texts = ended(texts) if attention == "hard" else texts

    def ask(some: list[list[int]]) -> list[Any]:
        limits = [9] * len(some)
        pair = constrained(
            network, network.start(some), limits, automaton, width=width, silent=silent
        )
        return list(zip(*pair, strict=True))

    whole = ask(texts)
    assert len({outputs[0].ids for outputs, _ in whole if outputs}) > 1
    assert ask(texts[::-1]) == whole[::-1]
    for row in (0, 7, 39):
        assert ask(texts[row : row + 1]) == [whole[row]]


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize(
    "options",
    [
        {"attention": "soft", "cell": "gru"},
        {"attention": "hard", "cell": "lstm"},
        {"attention": "none", "ensemble": 2},
    ],
)
def test_the_search_of_a_gpu_is_that_without_torch(options: dict[str, Any], width: int) -> None:
    torch.manual_seed(0)
    sizes = {"hidden": 16, "embedding": 8, "layers": 1, "direction": "forward"}
    config = configure({**sizes, **options})
    hard = config.attention == "hard"
    made = {
        f"members.{number}.{name}" if config.ensemble > 1 else name: 2 * value.numpy()
        for number in range(config.ensemble)
        for name, value in factory.build(
            config, sources=12, targets=Actions(9).size if hard else 9,
            prior=np.ones((12, Actions(9).size), np.float32) if hard else None,
        ).state_dict().items()
    }  # fmt: skip
    (group,) = direction_groups(config, made)
    (other,) = direction_groups(
        config, made, lambda configs, parts: GpuEnsemble(configs, parts, torch.device("cpu"))
    )
    automaton = of_sequences(words(1, 9), 9)
    if hard:
        automaton = automaton.for_actions(Actions(9))
    random = np.random.default_rng(3)
    texts = [random.integers(SPECIALS, 12, random.integers(5, 9)).tolist() for _ in range(15)]
    texts = [[*text[:-2], EOS, text[-1]] for text in texts] if hard else texts
    limits = random.integers(2, 12, 15).tolist()
    silent = Actions(9).deletion if hard else None
    expected, lost = constrained(
        group.network, group.network.start(texts), limits, automaton, width=width, silent=silent
    )
    found, removed = other.network.constrained_search(texts, limits, automaton, width=width)
    assert [[(one.ids, one.truncated) for one in text] for text in found] == [
        [(one.ids, one.truncated) for one in text] for text in expected
    ]
    assert removed == pytest.approx(lost, abs=1e-4)
    assert any(one.ids for text in found for one in text)
    # a search without an automaton comes after, with another state
    assert len(other.network.search(texts, limits, width=width)) == 15


# --- rows that cannot go on


def test_one_output_is_found_by_a_beam_of_one() -> None:
    network = make("gru")
    automaton = of_sequences([(4, 4, 9, 7)], TARGETS)
    found, removed = constrained(network, network.start([[5, 6]]), [9], automaton, width=1)
    check(network, [5, 6], {(4, 4, 9, 7)}, found[0], removed[0])


def test_an_output_at_the_limit_that_is_not_accepted_cannot_end() -> None:
    network = make("gru")
    automaton = of_sequences([(4, 4, 9, 7)], TARGETS)
    found, _ = constrained(network, network.start([[5, 6]]), [2], automaton, width=3)
    (only,) = found[0]
    assert (only.ids, only.truncated, only.end) == ((4, 4), True, -math.inf)


def test_a_walk_removes_nothing_where_everything_may_come() -> None:
    """The search is that without an automaton, to the last bit."""
    network = make("gru")
    every = np.arange(TARGETS, dtype=np.int32)
    states = np.where(every == EOS, 0, 0).astype(np.int32)
    automaton = Automaton(np.array([0, TARGETS]), every, states, TARGETS, 1)
    texts = some_texts([12])
    walk = Walk(automaton, 12, 3)
    found = beam(network, network.start(texts), [8] * 12, width=3, guide=walk)
    assert found == beam(network, network.start(texts), [8] * 12, width=3)
    assert walk.removed.tolist() == [0.0] * 12
