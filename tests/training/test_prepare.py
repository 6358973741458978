"""Everything that is fixed before the first step: symbols, limits, and weights that are given."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charseq.config import Config, configure
from charseq.data.pairs import Dataset, Example, load
from charseq.data.storage import PackedRecords
from charseq.data.text import alignment
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import EOS, PAD, SPECIALS, UNK, Vocabulary
from charseq.decoding.seq2seq_numpy import shapes_of
from charseq.errors import DataError, SettingError
from charseq.training.prepare import (
    MANY_PAIRS,
    SHAPING,
    PreparedPairs,
    PretrainedRun,
    inherit,
    prepare,
    resolve,
)
from charseq.training.trainer import Trainer

SMALL = {
    "epochs": 1, "hidden": 6, "embedding": 5, "batch_size": 4, "threads": 1, "device": "cpu",
    "precision": "float32", "attention": "soft",
}  # fmt: skip

OPEN = ("attention", "direction", "layers")


def dataset(train: Sequence[Example], dev: Sequence[Example] = (), **changes: Any) -> Dataset:
    facts = {
        "test": [Example("test", "TEST")], "name": "toy", "fingerprint": "f" * 64,
        "columns": "source = column 1", "files": {}, "lines": {}, "problems": [], **changes,
    }  # fmt: skip
    return Dataset(train=list(train), dev=list(dev), **facts)


def task_of(
    *pairs: tuple[str, ...], start: PretrainedRun | None = None, **settings: Any
) -> PreparedPairs:
    rows = [Example(*pair) for pair in pairs]  # type: ignore[arg-type]
    return prepare(dataset(rows), configure({**SMALL, **settings}), start)


def start_of(
    source: str, target: str, features: tuple[str, ...] = (), **settings: Any
) -> PretrainedRun:
    """A trained run whose every weight can be told from every other."""
    config = configure({**SMALL, "layers": 1, **settings})
    sides = (
        Vocabulary("characters", "NFC", "NFC", tuple(source), features),
        Vocabulary("characters", "NFC", "NFC", tuple(target)),
    )
    shapes = shapes_of(
        cell=config.cell, embedding=config.embedding, hidden=config.hidden, layers=config.layers,
        attention=config.attention == "soft", pointer=(hard := config.attention == "hard"),
        prior=hard and config.alignment_prior,
        tied=config.tie_embeddings, sources=len(sides[0]),
        targets=Actions(len(sides[1])).size if hard else len(sides[1]),
    )  # fmt: skip
    draw = np.random.default_rng(4)
    weights = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return PretrainedRun("f" * 64, config.to_json(), *sides, weights)


# --- symbols and limits


def test_symbols_and_limits_come_from_the_training_split_alone() -> None:
    train = [Example("aab", "xyz"), Example("c", "x")]
    dev = [Example("abcdefghij", "uvw" * 20)]
    task = prepare(dataset(train, dev), configure(SMALL))
    assert task.source.symbols == ("a", "b", "c")
    assert task.target.symbols == ("x", "y", "z")
    assert task.limits.longest == (0, 1, 1, 3)
    assert task.start is None


def test_targets_that_are_all_empty_teach_nothing() -> None:
    config = Config(empty_targets=True)
    with pytest.raises(DataError, match="every target is empty, expected answers for some"):
        prepare(dataset([Example("a", ""), Example("b", "")]), config)
    some = prepare(dataset([Example("a", ""), Example("b", "x")]), config)
    assert [list(ids) for ids in some.outputs] == [[], [4]]
    assert some.limits.longest == (0, 1)


def test_features_count_as_symbols_of_the_source_alone() -> None:
    task = task_of(("ab", "y", "V;NOM(3,SG)"), ("a", "yyyy", ""), ("a", "y", "V"))
    assert task.source.features == ("V", "NOM(3)", "NOM(SG)")
    assert task.target.features == ()
    assert task.limits.longest == (0, 4, 4, 4, 4, 4)
    other = task_of(("ab", "y", "V+N"), feature_separator="+")
    assert other.source.features == ("N", "V")


def test_a_separator_that_the_data_have_is_a_setting_of_the_run() -> None:
    rows = [Example("ab", "y", "pos=V,num=SG"), Example("a", "y", "pos=V,num=PL")]
    found = replace(dataset(rows), feature_separator=",")
    task = prepare(found, configure(SMALL))
    assert task.source.features == ("pos=V", "num=PL", "num=SG")
    assert task.config.feature_separator == task.source.feature_separator == ","
    given = prepare(found, configure({**SMALL, "feature_separator": "="}))
    assert given.config.feature_separator == given.source.feature_separator == "="


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


def test_metadata_of_prepared_pairs() -> None:
    rows = [Example("ab", "x"), Example("b", "xy", "V")]
    task = prepare(dataset(rows, rows[:1]), configure({**SMALL, "seed": 3}))
    about = json.loads(json.dumps(task.metadata))
    assert about == task.metadata
    found = {
        "direction": "forward",
        "layers": 1,
        "alignment_prior": False,
        "feature_separator": ";",
    }
    assert about["settings"] == configure({**SMALL, "seed": 3, **found}).to_json()
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
        "label_smoothing": 0.0625, "ema": 0.5, "dropout_growth": 0.5, "seed": 9,
        "dropout": 0.25,
    }  # fmt: skip
    trainer = prepare(dataset(rows), configure({**SMALL, **numbers})).trainer()
    settings = vars(trainer.settings)
    assert settings == {name: value for name, value in numbers.items() if name != "dropout"}
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
def test_shaping_settings_must_agree_with_the_start(name: str) -> None:
    start = start_of("ab", "x")
    settings: dict[str, Any] = {
        "cell": "lstm", "embedding": 7, "hidden": 7, "layers": 2, "attention": "none",
        "direction": "backward", "tie_embeddings": False,
    }  # fmt: skip
    with pytest.raises(SettingError) as caught:
        task_of(("ab", "x"), start=start, **{name: settings[name]})
    was = start.settings[name]
    assert str(caught.value) == (
        f"{name} is {settings[name]}, but the run to start from has {was}: {name}={was!r}"
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
    other = PreparedPairs(
        task.config,
        task.dataset,
        Vocabulary("characters", "NFC", "NFC", ("c", "n", "a"), ("G", "F")),
        Vocabulary("characters", "NFC", "NFC", ("y",)),
        task.limits,
        task.why,
        task.sources,
        task.outputs,
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
    assert task.config == Config(
        attention="soft",
        direction="forward",
        layers=1,
        alignment_prior=False,
        feature_separator=";",
    )
    assert len(task.source) == len(task.target) == SPECIALS + 1


# --- hard attention

CAESAR = str.maketrans("abcdef", "defabc")
ROWS = 77


def toy(write: Callable[[str], str], *features: str) -> list[tuple[str, ...]]:
    """Random strings and what is written of them."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdef", k=draw.randint(2, 7))) for _ in range(ROWS)]
    return [(word, write(word), *features) for word in words]


def caesar(word: str) -> str:
    return word.translate(CAESAR)


@pytest.mark.parametrize("write", [str, caesar, lambda word: f"{word}s"])
def test_where_the_output_follows_the_input_attention_is_hard(write: Callable[[str], str]) -> None:
    task = task_of(*toy(write), attention="auto")
    assert task.config.attention == task.metadata["settings"]["attention"] == "hard"
    assert re.fullmatch(r"the output follows the input \(\d+% left open\)", task.why[2])


@pytest.mark.parametrize("write", [lambda word: word[::-1], lambda word: "".join(sorted(word))])
def test_where_it_does_not_attention_is_soft(write: Callable[[str], str]) -> None:
    task = task_of(*toy(write), attention="auto")
    assert task.config.attention == "soft"
    assert re.fullmatch(r"the output does not follow the input \(\d+% left open\)", task.why[2])
    assert task.outputs == [task.target.encode(row.target) for row in task.dataset.train]
    assert task.sources == [task.source.encode(row.source) for row in task.dataset.train]


def test_a_kind_of_attention_that_is_set_is_taken() -> None:
    pairs = toy(lambda word: word[::-1])
    for kind in ("hard", "soft", "none"):
        task = task_of(*pairs, attention=kind)
        assert (task.config.attention, task.why[2]) == (kind, "as set")
        names = set(task.trainer().averaged())
        assert ("pointer.input.weight" in names) is (kind == "hard")
        assert ("attention.key.weight" in names) is (kind == "soft")


def test_hard_attention_reads_an_end_before_features_and_writes_actions() -> None:
    """Features say nothing of the alignment: no walk comes to them."""
    task = task_of(*toy(caesar, "V;PL"), attention="hard", direction="forward")
    actions = Actions(len(task.target))
    for row, source, written in zip(task.dataset.train, task.sources, task.outputs, strict=True):
        assert source == [*task.source.encode(row.source), EOS, *task.source.encode("", "V;PL")]
        assert actions.target_ids(written) == task.target.encode(row.target)
        assert sum(action >= actions.symbols for action in written) == len(row.source)
        # each letter stands for another, and the walk has found which
        assert written == [actions.symbols + id_ for id_ in task.target.encode(row.target)]
    longest = max(len(row.source) for row in task.dataset.train)
    assert task.limits.longest[-1] == longest
    assert len(task.limits.longest) == longest + 1  # by the walked symbols: no features, no EOS
    trainer = task.trainer()
    batch = trainer.batches.collate([0])
    assert batch.source.tolist() == [task.sources[0]]
    assert batch.labels.tolist() == [[*task.outputs[0], EOS]]
    shapes = {name: value.shape for name, value in trainer.averaged().items()}
    assert shapes["target_embedding"] == (actions.size, 5)
    assert shapes["source_embedding"] == (len(task.source), 5)


def test_with_hard_attention_texts_are_read_and_written_from_the_end() -> None:
    """What attention it is to be is only known when the pairs have been aligned."""
    hard = task_of(*toy(caesar), attention="auto")
    soft = task_of(*toy(lambda word: "".join(sorted(word))), attention="auto")
    assert (hard.config.attention, hard.config.direction) == ("hard", "backward")
    assert (soft.config.attention, soft.config.direction) == ("soft", "forward")
    actions = Actions(len(hard.target))
    for row, source, written in zip(hard.dataset.train, hard.sources, hard.outputs, strict=True):
        assert source == [*hard.source.encode(row.source)[::-1], EOS]
        assert actions.target_ids(written) == hard.target.encode(row.target)[::-1]
    for row, source, written in zip(soft.dataset.train, soft.sources, soft.outputs, strict=True):
        assert source == soft.source.encode(row.source)
        assert written == soft.target.encode(row.target)


def test_the_alignment_is_a_function_of_data_and_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of large data the seed draws what the alignment is learnt from; here it is one pair."""
    monkeypatch.setattr(alignment, "MAX_TRAINING_CELLS", 1)
    pairs = toy(lambda word: word + word[0])
    found = [task_of(*pairs, attention="hard", seed=seed).outputs for seed in (1, 2, 3, 1)]
    assert found[0] == found[3]
    assert found[0] != found[1] or found[0] != found[2]


@pytest.mark.parametrize(
    ("limit", "what"),
    [("MAX_ALIGNED_CELLS", "texts are too long"), ("MAX_SYMBOL_PAIRS", "symbols are too many")],
)
def test_pairs_too_large_to_align_get_soft_attention_or_are_refused(
    monkeypatch: pytest.MonkeyPatch, limit: str, what: str
) -> None:
    pairs = toy(str)
    size = sum((len(source) + 1) ** 2 for source, _ in pairs)
    if limit == "MAX_SYMBOL_PAIRS":
        letters = {letter for source, _ in pairs for letter in source}
        size = (SPECIALS + len(letters)) ** 2
    monkeypatch.setattr(alignment, limit, size)
    assert task_of(*pairs, attention="auto").config.attention == "hard"
    monkeypatch.setattr(alignment, limit, size - 1)
    task = task_of(*pairs, attention="auto")
    assert task.config.attention == "soft"
    assert task.why[2] == f"the {what} to be aligned"
    with pytest.raises(SettingError) as caught:
        task_of(*pairs, attention="hard")
    assert str(caught.value) == (
        f"attention is hard, but the {what} to be aligned: that takes a table of {size:,} cells, "
        f"more than {size - 1:,}: attention='soft'"
    )
    assert task_of(*pairs, attention="soft").why[2] == "as set"


def test_auto_takes_the_kind_of_the_start() -> None:
    for kind, write in (("hard", lambda word: word[::-1]), ("soft", str), ("none", str)):
        start = start_of("abcdef", "abcdef", attention=kind)
        task = task_of(*toy(write), start=start, attention="auto")
        assert task.config.attention == kind
        assert all(np.isfinite(value).all() for value in task.trainer().averaged().values())
    with pytest.raises(SettingError, match=r"attention is soft, .* has hard: attention='hard'"):
        task_of(("a", "b"), start=start_of("a", "b", attention="hard"), attention="soft")


def test_layers_left_open_are_two_for_many_pairs_with_hard_attention_or_those_of_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = toy(caesar)
    assert task_of(*pairs, attention="hard").config.layers == 1
    monkeypatch.setattr("charseq.training.prepare.MANY_PAIRS", ROWS + 1)
    assert task_of(*pairs, attention="hard").config.layers == 1
    monkeypatch.setattr("charseq.training.prepare.MANY_PAIRS", ROWS)
    assert task_of(*pairs, attention="hard").config.layers == 2
    monkeypatch.undo()
    assert task_of(*pairs, attention="soft").config.layers == 1
    assert task_of(*pairs, attention="hard", layers=1).config.layers == 1
    assert task_of(*pairs, attention="soft", layers=3).config.layers == 3
    for layers in (1, 2):
        start = start_of("abcdef", "abcdef", attention="hard", layers=layers)
        assert task_of(*pairs, start=start, attention="hard").config.layers == layers
        with pytest.raises(SettingError, match=f"layers is 3, .* has {layers}: layers="):
            task_of(*pairs, start=start, attention="hard", layers=3)


def test_many_pairs_are_written_forward_where_nothing_else_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = toy(caesar)
    few = task_of(*pairs, attention="hard")
    monkeypatch.setattr("charseq.training.prepare.MANY_PAIRS", ROWS)
    many = task_of(*pairs, attention="hard")
    assert (few.config.direction, many.config.direction) == ("backward", "forward")
    assert list(many.outputs[0]) != list(few.outputs[0])
    set_so = task_of(*pairs, attention="hard", direction="backward")
    assert list(set_so.outputs[0]) == list(few.outputs[0])
    start = start_of("abcdef", "abcdef", attention="hard", direction="backward")
    assert task_of(*pairs, start=start, attention="hard").config.direction == "backward"
    assert task_of(*pairs, attention="hard", ensemble=2).config.direction == "auto"


def test_a_start_that_only_said_whether_there_is_attention_is_understood() -> None:
    start = start_of("ab", "x", attention="none")
    start = replace(start, settings={**start.settings, "attention": False})
    assert task_of(("ab", "x"), start=start, attention="auto").config.attention == "none"
    assert task_of(("ab", "x"), start=start, attention="none").config.attention == "none"


@pytest.mark.parametrize("tied", [True, False])
def test_actions_are_inherited_by_symbol_and_by_what_they_do(tied: bool) -> None:
    start = start_of("ba", "yx", attention="hard", tied=tied)
    task = task_of(("abz", "xwv"), ("a", "x"), start=start, attention="hard", tied=tied)
    assert task.target.symbols[:2] == ("y", "x")
    old, new = 4 + 2, 4 + 4
    fresh = {
        name: np.full((2 * new + 1 if "source" not in name else 7, *rest), 9.0, np.float32)
        for name, rest in (
            ("source_embedding", (5,)), ("target_embedding", (5,)), ("output_bias", ()),
            ("output", (5,)),
        )
    }  # fmt: skip
    fresh["prior"] = np.full((7, 2 * new + 1), 9.0, np.float32)
    found = inherit(start, task, fresh)
    for name in {"target_embedding", "output", "output_bias"} & start.weights.keys():
        before, after = start.weights[name], found[name]
        assert len(before) == 2 * old + 1
        for row in range(old):
            assert np.array_equal(after[row], before[row]), "to stay"
            assert np.array_equal(after[new + row], before[old + row]), "to go on"
        assert np.array_equal(after[2 * new], before[2 * old]), "to go on in silence"
        rest = [old, old + 1, new + old, new + old + 1]
        assert (after[rest] == 9.0).all(), "new symbols"
        assert (after == 9.0).all(axis=tuple(range(1, after.ndim))).sum() == 4
    assert np.array_equal(found["source_embedding"][:6], start.weights["source_embedding"])
    both = [*range(old), *range(new, new + old), 2 * new]
    assert np.array_equal(found["prior"][np.ix_(range(6), both)], start.weights["prior"])
    assert (found["prior"][6] == 9.0).all()
    assert (found["prior"][:, [old, old + 1, new + old, new + old + 1]] == 9.0).all()
    assert np.array_equal(found["pointer.input.weight"], start.weights["pointer.input.weight"])
    trainer = task.trainer()
    assert np.array_equal(trainer.averaged()["output_bias"][2 * new], found["output_bias"][2 * new])


def test_inherited_actions_help_with_new_symbols() -> None:
    """Weights that know a caesar of some letters are surprised less by a caesar of more."""
    settings = {
        "attention": "hard", "epochs": 12, "learning_rate": 0.03, "dropout": 0, "ema": 0,
        "alignment_prior": False,
    }  # fmt: skip
    losses = []
    first = task_of(*toy(caesar), **settings).trainer()
    steps = [step.loss for step in first.steps(lambda step: step / 120)]
    assert steps[-1] < 0.6 * steps[0]
    config = configure({**SMALL, **settings})
    known = task_of(*toy(caesar), **settings)
    start = PretrainedRun("f" * 64, config.to_json(), known.source, known.target, first.averaged())
    more = [(f"g{word}", f"g{written}") for word, written in toy(caesar)]
    for begin in (None, start):
        trainer = task_of(*more, start=begin, **settings).trainer()
        losses.append(next(trainer.steps(lambda step: step / 10)).loss)
    assert losses[1] < 0.7 * losses[0]


def test_a_run_with_hard_attention_resumes_to_the_same_bits() -> None:
    def trainer() -> Trainer:
        return task_of(*toy(caesar, "V"), attention="hard", batch_size=8, dropout=0.3).trainer()

    whole, half, rest = trainer(), trainer(), trainer()
    list(whole.steps(lambda step: step / 9))
    for step in half.steps(lambda step: step / 9):
        if step.number == 4:
            break
    rest.restore(half.state())
    list(rest.steps(lambda step: step / 9))
    ends = whole.state(), rest.state()
    assert all(np.array_equal(ends[0][name], ends[1][name]) for name in ends[0])


# --- the direction, and what logits begin with


def test_backward_all_texts_are_reversed_and_features_are_not() -> None:
    pairs = toy(caesar, "V;PL")
    ways = {
        way: task_of(*pairs, attention="hard", direction=way) for way in ("forward", "backward")
    }
    forward, backward = ways["forward"], ways["backward"]
    assert backward.config.direction == backward.metadata["settings"]["direction"] == "backward"
    assert (backward.source, backward.target) == (forward.source, forward.target)
    actions = Actions(len(forward.target))
    for one, other in zip(forward.sources, backward.sources, strict=True):
        end = one.index(EOS)
        assert other == one[:end][::-1] + one[end:]
    for one, other in zip(forward.outputs, backward.outputs, strict=True):
        assert actions.target_ids(other) == actions.target_ids(one)[::-1]
    soft = task_of(*pairs, attention="soft", direction="backward")
    assert soft.outputs == [forward.target.encode(caesar(row[0]))[::-1] for row in pairs]


@pytest.mark.parametrize("ensemble", [1, 2])
def test_an_open_direction_of_an_ensemble_stays_open(ensemble: int) -> None:
    task = task_of(*toy(caesar), direction="auto", ensemble=ensemble)
    assert task.config.direction == ("forward" if ensemble == 1 else "auto")
    assert task.sources[0] == task.source.encode(task.dataset.train[0].source)


def test_logits_begin_with_what_the_alignment_expects() -> None:
    """Of a caesar it knows nearly all, before the first step."""
    losses = {}
    for prior in (True, False):
        task = task_of(*toy(caesar), attention="hard", prior=prior)
        assert task.config.alignment_prior is prior
        trainer = task.trainer()
        assert ("prior" in trainer.averaged()) is prior
        losses[prior] = next(trainer.steps(lambda step: step / 10)).loss
    assert losses[True] < 0.5 * losses[False]


def test_a_prior_that_would_be_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(*toy(caesar), attention="hard")
    assert task.prior is not None
    monkeypatch.setattr(alignment, "MAX_PRIOR", task.prior.size - 1)
    assert task_of(*toy(caesar), attention="hard").prior is None


# --- many rows


@pytest.mark.parametrize("attention", ["soft", "hard"])
def test_data_in_files_train_as_data_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attention: str
) -> None:
    draw = random.Random(3)
    words = ["".join(draw.choices("abcdé", k=draw.randint(1, 7))) for _ in range(120)]
    lines = [f"{word}\t{word.upper()}\tV;{i % 3}\t{1 + i % 2}\n" for i, word in enumerate(words)]
    path = tmp_path / "words.tsv"
    path.write_text("".join(lines), encoding="utf-8")
    config = configure({**SMALL, "attention": attention})

    def trained() -> tuple[PreparedPairs, list[float], dict[str, np.ndarray]]:
        task = prepare(load(path, columns="source,target,features,weight"), config)
        trainer = task.trainer()
        steps = trainer.steps(lambda number: number / (2 * len(trainer.batches)))
        return task, [step.loss for step in steps], trainer.averaged()

    task, losses, weights = trained()
    places = [
        ("data.storage.MAX_OBJECTS", 16),
        ("data.storage.MAX_IN_MEMORY", 128),
        ("data.storage.READ_ROWS", 9),
    ]
    for name, value in [*places, ("data.text.alignment.SORTED_PAIRS", 17)]:
        monkeypatch.setattr(f"charseq.{name}", value)
    other, same, weights_too = trained()
    assert isinstance(other.dataset.train, PackedRecords)
    assert (other.sources, other.outputs) == (task.sources, task.outputs)
    assert (other.metadata, other.why, other.limits) == (task.metadata, task.why, task.limits)
    assert same == losses
    assert all(np.array_equal(weights[name], weights_too[name]) for name in weights)


# --- settings that are resolved


@pytest.mark.parametrize(
    ("given", "pairs", "hard", "attention", "direction", "layers"),
    [
        ({}, MANY_PAIRS - 1, True, "hard", "backward", 1),
        ({}, MANY_PAIRS - 1, False, "soft", "forward", 1),
        ({}, MANY_PAIRS, True, "hard", "forward", 2),
        ({}, MANY_PAIRS, False, "soft", "forward", 1),
        ({"attention": "soft"}, 9, True, "soft", "forward", 1),
        ({"attention": "none"}, 9, True, "none", "forward", 1),
        ({"attention": "hard"}, 9, False, "hard", "backward", 1),
        ({"direction": "backward"}, MANY_PAIRS, False, "soft", "backward", 1),
        ({"layers": 3}, MANY_PAIRS, True, "hard", "forward", 3),
        ({"ensemble": 2}, 9, True, "hard", "auto", 1),
        ({"ensemble": 2}, MANY_PAIRS, False, "soft", "auto", 1),
    ],
)
def test_open_settings_are_resolved_once(
    given: dict[str, Any], pairs: int, hard: bool, attention: str, direction: str, layers: int
) -> None:
    """The members of an ensemble have one direction and the other, so that one stays open."""
    config = configure({"attention": "auto", **given})
    found = resolve(config, pairs=pairs, hard=hard)
    assert (found.attention, found.direction, found.layers) == (attention, direction, layers)
    assert replace(found, **{name: getattr(config, name) for name in OPEN}) == config
    assert resolve(found, pairs=pairs, hard=not hard) == found, "nothing is left to resolve"


def test_targets_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the alignment has decided against hard attention, and with it the direction."""
    calls: list[str] = []
    encode = Vocabulary.encode

    def counted(self: Vocabulary, text: str, *rest: Any, **options: Any) -> list[int]:
        calls.append(text)
        return encode(self, text, *rest, **options)

    monkeypatch.setattr(Vocabulary, "encode", counted)
    rows = toy(lambda word: "".join(sorted(word)).upper())
    task = task_of(*rows, attention="auto")
    assert (task.config.attention, task.config.direction) == ("soft", "forward")
    written = [target for _, target, *_ in rows]
    assert [text for text in calls if text.isupper()] == written
