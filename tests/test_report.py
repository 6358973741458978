"""What people are told of data, tasks and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from charseq.config import Config, configure
from charseq.examples import Dataset, Example
from charseq.metrics import Scores
from charseq.models import build
from charseq.report import describe_run, describe_scores, describe_task, run_shapes
from charseq.run import Progress
from charseq.task import prepare
from charseq.vocabulary import Vocabulary


def dataset(train: list[Example], **changes: Any) -> Dataset:
    facts = {
        "dev": train[:1], "test": [], "name": "toy", "fingerprint": "f" * 64,
        "columns": "source = column 1, target = column 2",
        "files": {"train": Path("d/train.tsv"), "dev": Path("d/dev.tsv")}, "lines": {},
        "problems": [],
    }  # fmt: skip
    return Dataset(train=train, **{**facts, **changes})


def test_a_task_is_told_as_it_was_understood() -> None:
    rows = [
        Example("ab c", "t ʃ a", "V;NOM(3,SG)"),
        Example("e\u0301", "a", "N"),
        Example("b", "a"),
        Example("never shown", "a"),
    ]
    task = prepare(
        dataset(rows, problems=["d/train.tsv:7: 2 blank lines passed over, this is the first"]),
        configure({"epochs": 1, "target_symbols": "spaced"}),
    )
    lines = describe_task(task)
    assert lines[:6] == [
        "data       4 train, 1 dev, from d/train.tsv, d/dev.tsv",
        "columns    source = column 1, target = column 2",
        "note       d/train.tsv:7: 2 blank lines passed over, this is the first",
        "pair 1     a b ␣ c <V> <NOM(3)> <NOM(SG)>  =>  t ʃ a",
        "pair 2     é <N>  =>  a",
        "pair 3     b  =>  a",
    ]
    source, target = lines[6:]
    symbols = len(set("ab cnever showné"))
    assert source == f"source     {symbols} symbols and 4 features; {task.why[0]}"
    assert target == f"target     3 symbols; {task.why[1]}"
    assert "as set" in target


def test_a_file_that_serves_two_splits_is_named_once() -> None:
    rows = [Example("a", "b")]
    one = dataset(rows, files={"train": Path("d.tsv"), "dev": Path("d.tsv")})
    line = describe_task(prepare(one, Config()))[0]
    assert line == "data       1 train, 1 dev, from d.tsv"


def said_of_a_run(**changes: Any) -> dict[str, Any]:
    side = Vocabulary("characters", "NFC", "NFC", tuple(map(chr, range(0x4E00, 0x4E00 + 60))))
    other = Vocabulary("spaced", "NFD", "NFC", ("a", "b"), features=("V", "N"))
    return {
        "finished": True, "epochs": 3.5, "seconds": 61.4, "parameters": 1234567,
        "scores": {"examples": 20, "exact_match": 75.0, "wer": 25.0, "ser": 12.5},
        "data": {"name": "toy", "fingerprint": "f" * 64, "examples": {"train": 4000, "dev": 1}},
        "versions": {"python": "3.11", "charseq": "0.1"},
        "source": other.to_json(), "target": side.to_json(),
        "settings": Config(hidden=32, embedding=16).to_json(), **changes,
    }  # fmt: skip


def test_a_run_is_told_with_all_settings_and_shapes() -> None:
    about = said_of_a_run()
    lines = describe_run(about)
    assert lines[:5] == [
        "training   finished; 3.5 epochs, 61 s",
        "scores     dev exact match 75.00 %, ser 12.50 %, 20 examples, greedy",
        "data       toy, 4,000 train, 1 dev",
        "           sha256 " + "f" * 64,
        "versions   python 3.11, charseq 0.1",
    ]
    assert lines[5] == "source     2 spaced, NFD, 2 features: a b"
    shown = " ".join(map(chr, range(0x4E00, 0x4E00 + 40)))
    assert lines[6] == f"target     60 characters, NFC: {shown} …"
    words = [line.split() for line in lines]
    for name, value in about["settings"].items():
        assert [name, *str(value).split()] in words
    for name, shape in run_shapes(about).items():
        assert [name, "×".join(map(str, shape))] in words
    assert ["target_embedding", "64×16"] in words
    assert ["source_embedding", "8×16"] in words
    assert lines[-1] == "parameters 1,234,567"


def test_an_unfinished_run_without_scores() -> None:
    lines = describe_run(said_of_a_run(finished=False, scores={}))
    assert lines[0].startswith("training   not finished; ")
    assert lines[1] == "scores     none yet"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"cell": "lstm", "layers": 2, "tied": False},
        {"cell": "tanh", "attention": False},
        {"cell": "residual", "layers": 3},
    ],
)
def test_the_shapes_are_those_of_the_model(settings: dict[str, Any]) -> None:
    config = configure({"hidden": 6, "embedding": 5, **settings})
    model = build(config, sources=4 + 2 + 2, targets=4 + 60)
    wanted = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert run_shapes(said_of_a_run(settings=config.to_json())) == wanted


def test_a_step_is_told_in_one_line() -> None:
    state, scores = Progress(seconds=61.4, epochs=3.21), Scores(20, 75.0, 25.0, 12.5)
    line = describe_scores(0.5, state, 0.456, scores, best=True)
    assert line == (
        " 50 %     61 s  epoch   3.21  loss 0.456  dev exact  75.0 %  ser  12.5 %  best so far"
    )
    short = line.removesuffix("  best so far")
    assert describe_scores(0.5, state, 0.456, scores, best=False) == short
    assert describe_scores(0.5, state, None, scores, best=False) == short.replace(
        "loss 0.456  ", ""
    )
