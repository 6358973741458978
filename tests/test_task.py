"""Everything that is fixed before the first step: symbols, limits, and weights that are given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from charseq.alignment import Actions
from charseq.config import Config, configure
from charseq.errors import SettingError
from charseq.examples import Dataset, Example
from charseq.inference import shapes_of
from charseq.task import SHAPING, Start, Task, inherit, prepare
from charseq.vocabulary import PAD, SPECIALS, UNK, Vocabulary

SMALL = {
    "epochs": 1, "hidden": 6, "embedding": 5, "batch_size": 4, "threads": 1, "device": "cpu",
    "precision": "float32", "attention": "soft",
}  # fmt: skip


def dataset(train: Sequence[Example], dev: Sequence[Example] = (), **changes: Any) -> Dataset:
    facts = {
        "test": [Example("test", "TEST")], "name": "toy", "fingerprint": "f" * 64,
        "columns": "source = column 1", "files": {}, "lines": {}, "problems": [], **changes,
    }  # fmt: skip
    return Dataset(train=list(train), dev=list(dev), **facts)


def task_of(*pairs: tuple[str, ...], start: Start | None = None, **settings: Any) -> Task:
    rows = [Example(*pair) for pair in pairs]  # type: ignore[arg-type]
    return prepare(dataset(rows), configure({**SMALL, **settings}), start)


def start_of(source: str, target: str, features: tuple[str, ...] = (), **settings: Any) -> Start:
    """A trained run whose every weight can be told from every other."""
    config = configure({**SMALL, **settings})
    sides = (
        Vocabulary("characters", "NFC", "NFC", tuple(source), features),
        Vocabulary("characters", "NFC", "NFC", tuple(target)),
    )
    shapes = shapes_of(
        cell=config.cell, embedding=config.embedding, hidden=config.hidden, layers=config.layers,
        attention=config.attention == "soft", pointer=(hard := config.attention == "hard"),
        tied=config.tied, sources=len(sides[0]),
        targets=Actions(len(sides[1])).size if hard else len(sides[1]),
    )  # fmt: skip
    draw = np.random.default_rng(4)
    weights = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return Start("f" * 64, config.to_json(), *sides, weights)


# --- symbols and limits


def test_symbols_and_limits_come_from_the_training_split_alone() -> None:
    train = [Example("aab", "xyz"), Example("c", "x")]
    dev = [Example("abcdefghij", "uvw" * 20)]
    task = prepare(dataset(train, dev), configure(SMALL))
    assert task.source.symbols == ("a", "b", "c")
    assert task.target.symbols == ("x", "y", "z")
    assert task.limits.longest == (0, 1, 1, 3)
    assert task.start is None


def test_features_count_as_symbols_of_the_source_alone() -> None:
    task = task_of(("ab", "y", "V;NOM(3,SG)"), ("a", "yyyy", ""), ("a", "y", "V"))
    assert task.source.features == ("V", "NOM(3)", "NOM(SG)")
    assert task.target.features == ()
    assert task.limits.longest == (0, 4, 4, 4, 4, 4)
    other = task_of(("ab", "y", "V+N"), feature_separator="+")
    assert other.source.features == ("N", "V")


def test_settings_of_each_side_go_to_that_side() -> None:
    pairs = [("ab é", "x y"), ("ab", "z")]
    task = task_of(*pairs, source_form="NFD", target_symbols="spaced", min_count=2)
    assert (task.source.kind, task.source.form) == ("characters", "NFD")
    assert (task.target.kind, task.target.form) == ("spaced", "NFC")
    assert task.source.symbols == ("a", "b"), "rare sources are treated as unseen"
    assert task.target.symbols == ("x", "y", "z"), "rare targets are to be written"
    assert task.source.encode("aé") == [SPECIALS, UNK, UNK]
    assert task.why[0].startswith("characters (")
    assert task.why[1].startswith("spaced (as set)")


def test_a_task_says_of_itself_what_a_run_keeps() -> None:
    rows = [Example("ab", "x"), Example("b", "xy", "V")]
    task = prepare(dataset(rows, rows[:1]), configure({**SMALL, "seed": 3}))
    about = json.loads(json.dumps(task.about))
    assert about == task.about
    assert about["settings"] == configure({**SMALL, "seed": 3}).to_json()
    assert Vocabulary.from_json(about["source"]) == task.source
    assert Vocabulary.from_json(about["target"]) == task.target
    assert tuple(about["limits"]) == task.limits.longest
    assert about["data"] == {
        "name": "toy",
        "fingerprint": "f" * 64,
        "columns": "source = column 1",
        "examples": {"train": 2, "dev": 1},
    }


# --- the trainer


def test_the_trainer_gets_ids_weights_and_numbers() -> None:
    rows = [Example("ab", "xy", "V", 3.0), Example("b", "y", "", 1.0)]
    numbers = {
        "learning_rate": 0.5, "warmup": 0.25, "weight_decay": 0.125, "beta2": 0.75, "clip": 2.0,
        "label_smoothing": 0.0625, "ema": 0.5, "seed": 9, "dropout": 0.25,
    }  # fmt: skip
    trainer = prepare(dataset(rows), configure({**SMALL, **numbers})).trainer()
    recipe = vars(trainer.recipe)
    assert recipe == {name: value for name, value in numbers.items() if name != "dropout"}
    assert trainer.model.dropout == 0.25
    assert trainer.batches.seed == 9
    assert trainer.batches.batch_size == 4
    batch = trainer.batches.collate([0, 1])
    assert batch.source.tolist() == [[5, 4, 6], [4, PAD, PAD]]
    assert batch.labels.tolist() == [[5, 4, 2], [4, 2, PAD]]
    assert batch.weights.tolist() == [1.5, 0.5]
    (group,) = trainer.optimizer.param_groups
    assert (group["betas"], group["weight_decay"]) == ((0.9, 0.75), 0.125)


def test_the_first_weights_are_a_function_of_the_seed() -> None:
    pairs = [("ab", "x"), ("b", "xy")]
    one, same, other = (task_of(*pairs, seed=seed).trainer().averaged() for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["bridge.weight"], other["bridge.weight"])


# --- beginning with another run


@pytest.mark.parametrize("name", SHAPING)
def test_what_shapes_the_weights_must_agree_with_the_start(name: str) -> None:
    start = start_of("ab", "x")
    settings: dict[str, Any] = {
        "cell": "lstm", "embedding": 7, "hidden": 7, "layers": 2, "attention": "none",
        "tied": False,
    }  # fmt: skip
    with pytest.raises(SettingError) as caught:
        task_of(("ab", "x"), start=start, **{name: settings[name]})
    was = start.settings[name]
    assert str(caught.value) == (
        f"{name} is {settings[name]}, but the run to start from has {was}: --set {name}={was}"
    )


def test_new_symbols_and_features_join_those_of_the_start() -> None:
    start = start_of("ba", "yx", ("N", "V"))
    task = task_of(("abz", "xxxw", "V;PL"), ("a", "x", "V"), start=start)
    assert task.source.symbols == ("b", "a", "z")
    assert task.source.features == ("N", "V", "PL")
    assert task.target.symbols == ("y", "x", "w")
    assert task.why[:2] == ("as in the run to start from",) * 2
    assert task.start is start


def test_kind_and_form_are_those_of_the_start() -> None:
    start = start_of("ab", "x")
    spaced = Vocabulary("spaced", "NFD", "NFD", ("p",))
    start = replace(start, target=spaced)
    task = task_of(("ab", "q é"), ("a", "q p"), start=start)
    assert (task.target.kind, task.target.form, task.target.written) == ("spaced", "NFD", "NFD")
    assert task.target.symbols == ("p", "q", "e\u0301")


@pytest.mark.parametrize("tied", [True, False])
def test_weights_are_inherited_by_symbol(tied: bool) -> None:
    """Symbols push the features behind them to other rows; new ones keep their fresh rows."""
    start = start_of("ba", "yx", ("N", "V"), tied=tied)
    task = task_of(("abz", "xxxw", "V;PL"), ("a", "x", "V"), start=start, tied=tied)
    fresh = {
        name: np.full((len(task.source if name.startswith("source") else task.target), *rest), 9.0)
        for name, rest in (
            ("source_embedding", (5,)), ("target_embedding", (5,)), ("output_bias", ()),
            ("output", (5,)),
        )
    }  # fmt: skip
    found = inherit(start, task, fresh)
    assert found.keys() == start.weights.keys()
    old = start.weights
    new = 9.0 * np.ones((1, 5), np.float32)
    source = old["source_embedding"]
    assert np.array_equal(
        found["source_embedding"], np.concatenate([source[:6], new, source[6:8], new])
    )
    for name in {"target_embedding", "output", "output_bias"} & old.keys():
        rest = new if old[name].ndim == 2 else new[0, :1]
        assert np.array_equal(found[name], np.concatenate([old[name], rest])), name
    for name in old.keys() - fresh.keys():
        assert np.array_equal(found[name], old[name])
        assert found[name] is not old[name]


def test_rows_are_found_by_symbol_wherever_they_stand() -> None:
    """The order of a vocabulary that was made elsewhere does not matter."""
    start = start_of("abc", "xy", ("F",))
    task = task_of(("ab", "x"), start=None)
    other = Task(
        task.config,
        task.dataset,
        Vocabulary("characters", "NFC", "NFC", ("c", "n", "a"), ("G", "F")),
        Vocabulary("characters", "NFC", "NFC", ("y",)),
        task.limits,
        task.why,
        task.sources,
        task.written,
    )
    shapes = {"source_embedding": (9, 5), "target_embedding": (5, 5), "output_bias": (5,)}
    fresh = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    found = inherit(start, other, fresh)
    source, table = start.weights["source_embedding"], found["source_embedding"]
    assert np.array_equal(table[[0, 1, 2, 3, 4, 6, 8]], source[[0, 1, 2, 3, 6, 4, 7]])
    assert not table[[5, 7]].any()
    target = start.weights["target_embedding"]
    assert np.array_equal(found["target_embedding"], target[[0, 1, 2, 3, 5]])
    assert np.array_equal(found["output_bias"], start.weights["output_bias"][[0, 1, 2, 3, 5]])


def test_a_trainer_begins_with_the_inherited_weights() -> None:
    start = start_of("ba", "yx", ("N",))
    pairs = [("abz", "xxxw", "N"), ("a", "x", "")]
    task = task_of(*pairs, start=start)
    found = task.trainer().averaged()
    fresh = replace(task, start=None).trainer().averaged()
    wanted = inherit(start, task, fresh)
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    assert np.array_equal(found["source_embedding"][6], fresh["source_embedding"][6])
    assert not np.array_equal(found["source_embedding"][5], fresh["source_embedding"][5])


def test_the_defaults_make_a_task() -> None:
    task = prepare(dataset([Example("a", "b")]), Config())
    assert task.config == Config(attention="soft")
    assert len(task.source) == len(task.target) == SPECIALS + 1
