"""A run folder is read as it was written, and what is no run of charseq is refused in one line."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import save_arrays

from charseq.config import configure, defaults
from charseq.data.text.alignment import Actions
from charseq.data.text.tokenizer import Tokenizer
from charseq.data.text.vocabulary import BOS, EOS, SPECIALS, Vocabulary
from charseq.decoding import next_word_numpy, seq2seq_numpy
from charseq.decoding.ensemble import cells_of, part
from charseq.errors import CheckpointError
from charseq.inference.loading import is_next_word, read_run, shapes_of
from charseq.inference.predictor import load
from charseq.runs import folder as checkpoint
from charseq.runs import weights as weights_module

DATES = Path(__file__).parents[2] / "checkpoints" / "dates"
WORDS = ("I", "love", "machine", "learning", "the")
UNITS = Tokenizer(Vocabulary("spaced", "NFC", "NFC", WORDS), punctuation="split")
SIDES = (
    Vocabulary("characters", "NFC", "NFC", tuple("ab")),
    Vocabulary("characters", "NFC", "NFC", tuple("xyz")),
)
SMALL = {"hidden": 6, "embedding": 5, "epochs": 1}

About = dict[str, Any]
Weights = dict[str, np.ndarray]
Spoil = Callable[[About, Weights], Any]


def facts() -> About:
    """What a run of both kinds says of itself."""
    return {
        "format": 1, "finished": True, "parameters": 7, "seconds": 1.5, "epochs": 2.0,
        "scores": {}, "versions": {"python": "3"}, "start": None,
        "data": {"name": "toy", "fingerprint": "f" * 64, "columns": "", "examples": {"train": 9}},
    }  # fmt: skip


def random_weights(shapes: dict[str, tuple[int, ...]]) -> Weights:
    draw = np.random.default_rng(1)
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def next_word(units: Tokenizer = UNITS, **settings: Any) -> tuple[About, Weights]:
    """A run that predicts words."""
    told = {"units": units.kind, "case": units.case, "punctuation": units.punctuation}
    config = configure({**SMALL, **told, **settings}, base=defaults("next-word"))
    shapes = next_word_numpy.shapes_of(
        cell=config.cell, embedding=config.embedding, hidden=config.hidden, layers=config.layers,
        context=config.context, tied=config.tie_embeddings, symbols=len(units.vocabulary),
    )  # fmt: skip
    scores = {"scores": {"perplexity": 12.5}, "units": units.to_json()}
    return {**facts(), "settings": config.to_json(), **scores}, random_weights(shapes)


def pairs(**settings: Any) -> tuple[About, Weights]:
    """A run of pairs."""
    sizes = {**SMALL, "attention": "soft", "layers": 1, **settings}
    config = configure(sizes, base=defaults("pairs"))
    source, target = SIDES
    shapes = seq2seq_numpy.shapes_of(
        cell=config.cell, embedding=config.embedding, hidden=config.hidden, layers=config.layers,
        attention=config.attention == "soft", pointer=(hard := config.attention == "hard"),
        prior=hard and config.alignment_prior,
        tied=config.tie_embeddings, sources=len(source),
        targets=Actions(len(target)).size if hard else len(target),
    )  # fmt: skip
    sides = {"source": source.to_json(), "target": target.to_json(), "limits": [0, 2]}
    return {**facts(), "settings": config.to_json(), **sides}, random_weights(shapes)


def ensemble(**settings: Any) -> tuple[About, Weights]:
    """A run of pairs with three members, two of them with a GRU."""
    about, _ = pairs(**{"ensemble": 3, "cells": "gru,lstm", **settings})
    cells = cells_of(configure(about["settings"]))
    scores = {"examples": 3, "exact_match": 50.0, "ser": 25.0}
    about["members"] = [
        {"seed": number + 1, "cell": cell, "scores": scores, "seconds": 2.5, "epochs": 1}
        for number, cell in enumerate(cells)
    ]
    return about, random_weights(shapes_of(about))


def publish(folder: Path, about: About, weights: Weights) -> Path:
    files = {"about.json": json.dumps(about).encode()}
    checkpoint.publish(folder, {**files, "model.safetensors": save_arrays(weights)})
    return folder


# --- what was written is read


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"cell": "gru", "layers": 2, "tie_embeddings": False},
        {"cell": "tanh"},
        {"cell": "residual"},
        {"cell": "mlp", "context": 4},
    ],
)
def test_a_next_word_run_comes_back(settings: dict[str, Any], tmp_path: Path) -> None:
    about, weights = next_word(**settings)
    found = read_run(publish(tmp_path / "run", about, weights))
    assert found.metadata == about
    assert found.config.to_json() == about["settings"]
    assert found.tokenizer == UNITS
    assert found.source == found.target == UNITS.vocabulary
    assert found.weights.keys() == weights.keys()
    assert all(np.array_equal(found.weights[name], weights[name]) for name in weights)
    assert is_next_word(about)
    assert shapes_of(about) == {name: value.shape for name, value in weights.items()}


@pytest.mark.parametrize("running", [False, True])
def test_it_predicts_as_the_network_of_its_weights(running: bool, tmp_path: Path) -> None:
    """In running text a line begins with the end of the one before it."""
    about, weights = next_word(running=running)
    model = load(publish(tmp_path / "run", about, weights))
    begin = EOS if running else BOS
    network = next_word_numpy.NumpyNextWord(weights, cell="lstm", layers=1, context=3, begin=begin)
    logs, _ = network.step(*network.start([UNITS.encode("I love")]))
    best = [WORDS[k] for k in np.argsort(-logs[0, SPECIALS:])[:3]]
    assert [one.prediction for one in model.predict(["I love"], n=3)[0].candidates] == best
    (score,) = [one.score for one in model.score(["love"])]
    first, state = network.step(*network.start([[]]))
    second, _ = network.step(np.array(UNITS.encode("love")), state)
    expected = first[0, UNITS.encode("love")[0]] + second[0, EOS]
    assert score == pytest.approx(float(expected), rel=1e-5)


def test_a_run_of_pairs_comes_back(tmp_path: Path) -> None:
    about, weights = pairs()
    found = read_run(publish(tmp_path / "run", about, weights))
    assert (found.source, found.target) == SIDES
    assert found.tokenizer is None
    assert not is_next_word(about)
    assert shapes_of(about) == {name: value.shape for name, value in weights.items()}


def test_a_run_without_a_task_is_one_of_pairs(tmp_path: Path) -> None:
    """So were the first ones; settings they lack are the defaults."""
    about, weights = pairs()
    new = (
        "task",
        "units",
        "stateful",
        "word_features",
        "context",
        "case",
        "punctuation",
        "word_limit",
    )
    for name in new:
        del about["settings"][name]
    found = read_run(publish(tmp_path / "run", about, weights))
    assert found.tokenizer is None
    assert found.config.hidden == 6
    assert load(tmp_path / "run").predict(["ab"], n=2)[0].candidates
    assert found.metadata["settings"] == found.config.to_json(), "as they are written now"


@pytest.mark.parametrize(("written", "kind"), [(True, "soft"), (False, "none")])
def test_attention_may_be_true_or_false_as_in_the_first_runs(
    written: bool, kind: str, tmp_path: Path
) -> None:
    about, weights = pairs(attention=kind)
    assert ("attention.key.weight" in weights) is written
    about["settings"]["attention"] = written
    found = read_run(publish(tmp_path / "run", about, weights))
    assert found.config.attention == found.metadata["settings"]["attention"] == kind
    assert shapes_of(found.metadata) == {name: value.shape for name, value in weights.items()}
    assert load(tmp_path / "run").predict(["ab"], n=2)[0].candidates


@pytest.mark.parametrize("tied", [True, False])
def test_a_run_with_hard_attention_comes_back(tied: bool, tmp_path: Path) -> None:
    """What is written are actions: to write each symbol and stay, or go on; or only to go on."""
    about, weights = pairs(attention="hard", tied=tied)
    found = read_run(publish(tmp_path / "run", about, weights))
    size = 2 * (SPECIALS + 3) + 1
    shapes = shapes_of(found.metadata)
    assert shapes == {name: value.shape for name, value in weights.items()}
    assert shapes["target_embedding"] == (size, 5)
    assert shapes["output_bias"] == (size,)
    assert shapes.get("output", (size, 5)) == (size, 5)
    assert shapes["pointer.input.weight"] == shapes["pointer.output.weight"] == (5, 12)
    assert shapes["source_embedding"] == (SPECIALS + 2, 5)
    assert "attention.key.weight" not in shapes
    assert load(tmp_path / "run").predict(["ab"], n=2)[0].candidates


def test_an_ensemble_comes_back(tmp_path: Path) -> None:
    about, weights = ensemble()
    found = read_run(publish(tmp_path / "run", about, weights))
    assert found.metadata == about
    assert found.weights.keys() == weights.keys()
    assert weights["members.0.decoder.cells.0.recurrent"].shape == (3 * 6, 6)
    assert weights["members.1.decoder.cells.0.recurrent"].shape == (4 * 6, 6)
    single = shapes_of(pairs(cell="lstm")[0])
    assert {name: value.shape for name, value in part(weights, 1).items()} == single
    answer = load(tmp_path / "run").predict(["ab", ""], n=2)
    assert answer[0].candidates


# --- what is refused


def gone(key: str) -> Spoil:
    return lambda about, weights: about.pop(key)


def has(**changes: Any) -> Spoil:
    return lambda about, weights: about.update(copy.deepcopy(changes))


def within(part: str, **changes: Any) -> Spoil:
    return lambda about, weights: about[part].update(changes)


def lacks(part: str, key: str) -> Spoil:
    return lambda about, weights: about[part].pop(key)


def weighs(name: str, *shape: int) -> Spoil:
    return lambda about, weights: weights.update({name: np.zeros(shape, np.float32)})


OF_BOTH = {
    "layers that are still to be chosen": (within("settings", layers=0), "about.json"),
    **{
        f"no {key}": (gone(key), "about.json")
        for key in (
            "format", "finished", "settings", "parameters", "seconds", "epochs", "scores",
            "versions", "data",
        )
    },
    **{
        f"no {key} of the data": (lacks("data", key), "about.json")
        for key in ("name", "fingerprint", "columns", "examples")
    },
    "parameters are a text": (has(parameters="7"), "about.json"),
    "parameters are true": (has(parameters=True), "about.json"),
    "parameters are a fraction": (has(parameters=1.5), "about.json"),
    "seconds are none": (has(seconds=None), "about.json"),
    "epochs are true": (has(epochs=True), "about.json"),
    "scores are a list": (has(scores=[1]), "about.json"),
    "scores of something else": (has(scores={"x": 1}), "about.json"),
    "versions are a text": (has(versions="1"), "about.json"),
    "data are a text": (has(data="toy"), "about.json"),
    "the name is a number": (within("data", name=1), "about.json"),
    "the fingerprint is none": (within("data", fingerprint=None), "about.json"),
    "columns are a list": (within("data", columns=[]), "about.json"),
    "examples are a number": (within("data", examples=9), "about.json"),
    "examples are texts": (within("data", examples={"train": "9"}), "about.json"),
    "finished is a number": (has(finished=1), "about.json"),
    "settings are a list": (has(settings=[]), "about.json"),
    "an unknown setting": (within("settings", code="import os"), "about.json"),
    "an unknown task": (within("settings", task="os.system"), "about.json"),
    "hidden is a list": (within("settings", hidden=[1]), "about.json"),
    "hidden is another": (within("settings", hidden=7), "model.safetensors"),
    "embedding is another": (within("settings", embedding=4), "model.safetensors"),
    "layers are more": (within("settings", layers=2), "model.safetensors"),
    "not tied": (within("settings", tied=False), "model.safetensors"),
    "a weight of another shape": (weighs("readout.bias", 6), "model.safetensors"),
    "a weight of more axes": (weighs("readout.bias", 5, 1), "model.safetensors"),
    "a weight too many": (weighs("x" * 999, 1), "model.safetensors"),
    "a weight less": (lambda about, weights: weights.pop(max(weights)), "model.safetensors"),
    "no weights": (lambda about, weights: weights.clear(), "model.safetensors"),
}  # fmt: skip
OF_WORDS = {
    "no units": (gone("units"), "about.json"),
    "units are a list": (has(units=[]), "about.json"),
    "units without words": (lacks("units", "vocabulary"), "about.json"),
    "units without case": (lacks("units", "case"), "about.json"),
    "units with more": (within("units", more=1), "about.json"),
    "a case of its own": (within("units", case="upper"), "about.json"),
    "the case is a list": (within("units", case=[]), "about.json"),
    "another case than set": (within("settings", case="lower"), "about.json"),
    "another punctuation than set": (within("settings", punctuation="keep"), "about.json"),
    "other units than set": (within("settings", units="characters"), "about.json"),
    "words are numbers": (
        lambda about, _: about["units"]["vocabulary"].update(symbols=[1]), "about.json",
    ),
    "a word twice": (
        lambda about, _: about["units"]["vocabulary"]["symbols"].append("I"), "about.json",
    ),
    "a word more than rows": (
        lambda about, _: about["units"]["vocabulary"]["symbols"].append("new"),
        "model.safetensors",
    ),
    "another cell": (within("settings", cell="gru"), "model.safetensors"),
    "a cell without recurrence": (within("settings", cell="mlp"), "model.safetensors"),
    "a recurrence of pairs": (within("settings", task="pairs"), "about.json"),
    "it does not say its task": (lacks("settings", "task"), "about.json"),
    "the perplexity is a text": (has(scores={"perplexity": "12"}), "about.json"),
    "the perplexity is nothing": (has(scores={"perplexity": None}), "about.json"),
    "scores of pairs": (has(scores={"exact_match": 1.0, "ser": 1.0, "examples": 1}), "about.json"),
    "traits in the weights": (weighs("traits", 3, 5), "model.safetensors"),
}  # fmt: skip
CALIBRATION = {
    "temperature": 0.5, "rest": -1.0, "ece_before": 20.0, "ece_after": 2.0, "examples": 200,
}  # fmt: skip
OF_PAIRS = {
    "no source": (gone("source"), "about.json"),
    "no target": (gone("target"), "about.json"),
    "no limits": (gone("limits"), "about.json"),
    "limits are texts": (has(limits=["1"]), "about.json"),
    "a cell that only predicts words": (within("settings", cell="mlp"), "about.json"),
    "said to predict words": (within("settings", task="next-word"), "about.json"),
    "scores of words": (has(scores={"perplexity": 3.0}), "about.json"),
    "attention of another kind": (within("settings", attention="hard"), "model.safetensors"),
    "attention that is not decided": (within("settings", attention="auto"), "model.safetensors"),
    "an unknown attention": (within("settings", attention="os.system"), "about.json"),
    "a pointer besides attention": (weighs("pointer.input.weight", 5, 12), "model.safetensors"),
    "averaged from nothing": (has(averaged={"of": 1}), "about.json"),
    "taught by a list": (has(distilled=["A"]), "about.json"),
    "members that are none": (has(members=[]), "about.json"),
    "an ensemble without members": (within("settings", ensemble=2), "about.json"),
    "cells without an ensemble": (within("settings", cells="gru"), "about.json"),
    "half of the scores": (has(scores={"exact_match": 3.0}), "about.json"),
    "a memory of nothing": (has(memory={}), "about.json"),
    "a memory that is a text": (has(memory="a\tx"), "about.json"),
    "rows that are a text": (within("data", rows="9"), "about.json"),
    "rows below 0": (within("data", rows=-1), "about.json"),
    "a calibration of nothing": (has(calibration={}), "about.json"),
    "a calibration that is a number": (has(calibration=1.5), "about.json"),
    "a temperature of nothing": (
        has(calibration={**CALIBRATION, "temperature": 0}), "about.json",
    ),
    "a temperature that is none": (
        has(calibration={**CALIBRATION, "temperature": math.nan}), "about.json",
    ),
    "a rest of text": (has(calibration={**CALIBRATION, "rest": "0"}), "about.json"),
}  # fmt: skip
OF_ENSEMBLES = {
    "no members": (gone("members"), "about.json"),
    "members are nothing": (has(members=None), "about.json"),
    "members are a number": (has(members=3), "about.json"),
    "a member less": (lambda about, _: about["members"].pop(), "about.json"),
    "members are numbers": (has(members=[1, 2, 3]), "about.json"),
    "of words": (within("settings", task="next-word"), "about.json"),
    "a single run": (within("settings", ensemble=1, cells=""), "about.json"),
    "more than there may be": (within("settings", ensemble=65), "about.json"),
    "cells that are none": (within("settings", cells="gru,os.system"), "about.json"),
    "another cell than set": (within("settings", cells="gru"), "about.json"),
    "a cell that is none": (lambda about, _: about["members"][1].update(cell="x"), "about.json"),
    "the seed is a text": (lambda about, _: about["members"][2].update(seed="1"), "about.json"),
    "seconds are true": (lambda about, _: about["members"][2].update(seconds=True), "about.json"),
    "no epochs": (lambda about, _: about["members"][0].pop("epochs"), "about.json"),
    "scores are texts": (
        lambda about, _: about["members"][0].update(scores={"ser": "1"}), "about.json",
    ),
    "half of a member's scores": (
        lambda about, _: about["members"][0].update(scores={"ser": 1.0}), "about.json",
    ),
    "the weights of another member": (
        lambda about, weights: weights.update({"members.3.readout.bias": np.zeros(5, np.float32)}),
        "model.safetensors",
    ),
    "the weights of a single run": (
        lambda about, weights: (weights.clear(), weights.update(pairs()[1])), "model.safetensors",
    ),
}  # fmt: skip
CASES = [
    *(("ensemble", name, *case) for name, case in {**OF_BOTH, **OF_ENSEMBLES}.items()),
    *(("next-word", name, *case) for name, case in {**OF_BOTH, **OF_WORDS}.items()),
    *(("pairs", name, *case) for name, case in {**OF_BOTH, **OF_PAIRS}.items()),
]


@pytest.mark.parametrize(
    ("task", "spoil", "file"),
    [(task, spoil, file) for task, _, spoil, file in CASES],
    ids=[f"{task}: {name}" for task, name, *_ in CASES],
)
def test_a_damaged_run_is_refused_in_one_line(
    task: str, spoil: Spoil, file: str, tmp_path: Path
) -> None:
    make = {"next-word": next_word, "pairs": pairs, "ensemble": ensemble}[task]
    about, weights = make()
    spoil(about, weights)
    publish(tmp_path / "bad", about, weights)
    with pytest.raises(CheckpointError) as caught:
        read_run(tmp_path / "bad")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/bad/{file}: ")
    assert len(message) < 500 + len(str(tmp_path))
    assert "\n" not in message


def test_shapes_are_compared_before_any_weight_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about, weights = next_word()
    weights["embedding"] = weights["embedding"][:-1]
    publish(tmp_path / "bad", about, weights)
    monkeypatch.setattr(weights_module, "load_arrays", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(CheckpointError, match=r"'embedding' as \(8, 5\), expected \(9, 5\)"):
        read_run(tmp_path / "bad")


def test_a_run_without_a_model_is_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        read_run(tmp_path / "none")


def test_a_run_with_the_earlier_name_of_a_kind_is_read(tmp_path: Path) -> None:
    about, weights = pairs(source_symbols="decomposed")
    about["settings"]["source_symbols"] = about["source"]["kind"] = "parts"
    found = read_run(publish(tmp_path / "run", about, weights))
    assert found.source is not None
    assert found.source.kind == found.metadata["source"]["kind"] == "decomposed"
    assert found.config.source_symbols == "decomposed"
