"""Pairs as a family that can be trained: what it says, what it is scored by, what is kept."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charseq import checkpoint, examples, recipes
from charseq.config import Config, configure
from charseq.errors import DataError, SettingError, UsageError
from charseq.pairs import Pairs, evaluate
from charseq.predictor import Model, load


def config_of(**settings: Any) -> Config:
    small = {
        "epochs": 12, "threads": 1, "device": "cpu", "precision": "float32", "hidden": 12,
        "embedding": 6, "batch_size": 8, "evaluations": 1, "learning_rate": 0.03, "dropout": 0,
        "beam": 2, "task": "pairs",
    }  # fmt: skip
    return configure({**small, **settings})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "upper"
    folder.mkdir()
    draw = random.Random(1)
    words = list(dict.fromkeys("".join(draw.choices("abc", k=4)) for _ in range(70)))
    for name, part in (("dev", words[:8]), ("test", words[8:14]), ("train", words[14:])):
        text = "".join(f"{word}\t{word.upper()}\n" for word in part)
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def lesson(data: Path) -> Pairs:
    return Pairs(data, config_of())


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    run = tmp_path_factory.mktemp("runs") / "upper"
    recipes.train(data, run=run, config=config_of())
    found = load(run)
    assert isinstance(found, Model)
    return found


def test_what_is_known_before_training(lesson: Pairs, data: Path) -> None:
    read = examples.load(data, splits=("train", "dev"))
    assert lesson.name == "upper"
    assert lesson.about["settings"] == config_of().to_json()
    assert lesson.about["data"]["fingerprint"] == read.fingerprint
    assert lesson.about["data"]["examples"] == {"train": len(read.train), "dev": 8}
    assert set(lesson.about["source"]["symbols"]) == set("abc")
    assert set(lesson.about["target"]["symbols"]) == set("ABC")
    told = lesson.describe()
    assert told[0].startswith(f"data       {len(read.train)} train, 8 dev")


def test_everything_that_was_trained_is_kept(lesson: Pairs) -> None:
    weights = lesson.trainer().averaged()
    kept = lesson.publish(weights)
    assert kept.keys() == weights.keys()
    assert all(np.array_equal(kept[name], weights[name]) for name in weights)


def test_scores_are_those_of_greedy_search_on_dev(model: Model, data: Path) -> None:
    weights = checkpoint.load_model(model.path)[1]
    words = [row.source for row in examples.load(data).dev]
    found = model.predict(words, beam=1)
    right = [one.prediction == one.source.upper() for one in found]
    assert 0 < sum(right) < 8, "a model that knows some"
    scores = Pairs(data, config_of()).score(weights)
    assert scores["exact_match"] == pytest.approx(100 * sum(right) / 8)
    assert scores["examples"] == 8
    assert Pairs(data, config_of(dev_limit=3)).score(weights)["exact_match"] == pytest.approx(
        100 * sum(right[:3]) / 3
    )


def test_more_matches_win_then_fewer_errors() -> None:
    def rank(exact: float, ser: float) -> tuple[float, float]:
        return Pairs.rank({"exact_match": exact, "ser": ser, "wer": 0.0, "examples": 9.0})

    assert rank(30, 60) > rank(10, 40) > rank(10, 50)
    assert rank(10, 40) == rank(10, 40)
    told = Pairs.tell({"exact_match": 7.25, "ser": 100.0})
    assert told == "dev exact   7.2 %  ser 100.0 %"


def test_the_last_report_is_an_evaluation_of_dev(model: Model, data: Path) -> None:
    facts = Pairs(data, config_of()).evaluate(model, version="9")
    assert facts == evaluate(model, data, split="dev", version="9")
    assert facts["split"] == "dev"
    assert facts["beam"] == 2
    assert facts["signature"].startswith("charseq:9|split:dev|n:8|")
    assert evaluate(model, data, version="9")["examples"] == 6
    with pytest.raises(SettingError, match="beam is 0, expected 1 or more"):
        evaluate(model, data, beam=0, version="9")


def test_without_dev_there_is_no_lesson(tmp_path: Path) -> None:
    (tmp_path / "one.tsv").write_text("a\tA\n")
    with pytest.raises(DataError, match="no examples for dev: more than one source is needed"):
        Pairs(tmp_path / "one.tsv", config_of())


def test_text_without_columns_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("I love\nmachine learning\n")
    with pytest.raises(DataError) as caught:
        Pairs(tmp_path, config_of())
    assert str(caught.value) == f"{tmp_path / 'train.txt'}:1: 1 column, expected source and target"


def test_a_run_of_pairs_is_a_start_and_a_next_word_network_is_not(model: Model, data: Path) -> None:
    lesson = Pairs(data, config_of(), model.path)
    weights = lesson.trainer().averaged()
    start = checkpoint.load_model(model.path)[1]
    assert all(np.array_equal(weights[name], start[name]) for name in start)
    with pytest.raises(UsageError, match="--task next-word"):
        Pairs(data, config_of(cell="mlp")).trainer()
