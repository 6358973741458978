"""Evaluation and comparison of runs on data: the kind of the model, splits, columns, errors."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from world import write_capitals

import charseq
from charseq.cli import main
from charseq.config import configure, defaults
from charseq.errors import UsageError
from charseq.evaluation import evaluate
from charseq.evaluation.metrics import METRICS, Metric
from charseq.inference.predictor import load
from charseq.runs import folder as checkpoint

KEYS = {
    "run", "parameters", "seconds", "epochs", "data", "split", "examples", "exact_match", "wer",
    "ser", "standard_error", "ece", "aurc", "excess_aurc", "auroc", "intervals", "top_k",
    "by_length", "confusions", "coverage", "risk_coverage", "beam", "signature",
}  # fmt: skip
SMALL = {"epochs": 1, "threads": 1, "device": "cpu", "hidden": 12, "embedding": 6, "evaluations": 1}


def words_of(count: int) -> list[str]:
    draw = random.Random(1)
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(draw.choices("abcd", k=draw.randint(2, 5)))] = None
    return list(found)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs: 60 to train with, 10 each in dev and test."""
    words = words_of(80)
    folder = tmp_path_factory.mktemp("data") / "upper"
    return write_capitals(folder, dev=words[:10], test=words[10:20], train=words[20:])


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of pairs that knows its task about half."""
    run = tmp_path_factory.mktemp("runs") / "upper"
    settings = {
        "epochs": 10, "batch_size": 8, "learning_rate": 0.03, "dropout": 0, "beam": 2,
        "precision": "float32", "attention": "soft",
    }  # fmt: skip
    charseq.train(data, run=run, config=configure({**SMALL, **settings}))
    return run


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of lines to predict words of."""
    text = tmp_path_factory.mktemp("data") / "text.txt"
    text.write_text("".join(f"a b {word}\n" for word in words_of(30)))
    return text


@pytest.fixture(scope="module")
def next_word(sentences: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that predicts words."""
    run = tmp_path_factory.mktemp("runs") / "words"
    charseq.train(sentences, run=run, config=configure(SMALL, base=defaults("next-word")))
    return run


def test_the_numbers_of_an_evaluation_are_those_of_a_hand_count(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    model = load(trained)
    words = words_of(80)[10:20]
    answers = [one.prediction for one in model.predict(words, beam=1)]
    right = sum(answer == word.upper() for answer, word in zip(answers, words, strict=True))
    assert 0 < right < 10, "a model that knows some"
    facts = evaluate.evaluate(data, model=model, beam=1, errors=tmp_path / "errors.tsv")
    assert facts.keys() == KEYS
    assert facts["exact_match"] == pytest.approx(10 * right)
    assert facts["wer"] == pytest.approx(100 - 10 * right)
    assert facts["standard_error"] == pytest.approx(
        100 * (right / 10 * (1 - right / 10) / 10) ** 0.5
    )
    edits = sum(distance(answer, word.upper()) for answer, word in zip(answers, words, strict=True))
    assert facts["ser"] == pytest.approx(100 * edits / sum(map(len, words)))
    about = checkpoint.read_json(trained, "about.json")
    assert {name: facts[name] for name in ("parameters", "seconds", "epochs")} == {
        name: about[name] for name in ("parameters", "seconds", "epochs")
    }
    assert (facts["run"], facts["data"]) == (str(trained), str(data))
    assert (facts["split"], facts["examples"], facts["beam"]) == ("test", 10, 1)
    assert facts["signature"] == (
        f"charseq:{charseq.__version__}|split:test|n:10|unit:row|references:any|match:NFC|"
        "ser:characters|beam:1"
    )
    wrong = [
        f"{word}\t{answer}\t{word.upper()}"
        for word, answer in zip(words, answers, strict=True)
        if answer != word.upper()
    ]
    lines = (tmp_path / "errors.tsv").read_text(encoding="utf-8").split("\n")
    assert lines == ["source\tprediction\treferences", *wrong, ""]


def distance(one: str, other: str) -> int:
    """Levenshtein's, in its textbook form."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def test_splits_and_beams_are_those_asked_for(trained: Path, data: Path) -> None:
    model = load(trained)
    found = evaluate.evaluate(data, model=model, split="dev")
    assert (found["split"], found["examples"], found["beam"]) == ("dev", 10, 2)
    assert "|split:dev|n:10|" in found["signature"]
    assert found["signature"].endswith("|beam:2")
    assert evaluate.evaluate(data, model=model, split="train")["examples"] == 60
    assert evaluate.evaluate(data, model=model, split="all")["examples"] == 80


def test_columns_are_those_of_the_training_or_of_the_data(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = words_of(10)
    (tmp_path / "test.tsv").write_text("".join(f"{w.upper()}\t{w}\n" for w in words))
    (tmp_path / "charseq.toml").write_text('columns = "target,source"\n')
    monkeypatch.setenv("CHARSEQ_MODEL", str(trained))
    found = evaluate.evaluate(tmp_path)
    assert found["exact_match"] > 0
    (tmp_path / "charseq.toml").unlink()
    assert evaluate.evaluate(tmp_path)["exact_match"] == 0


@pytest.mark.parametrize(
    "option",
    [{"beam": 2}, {"errors": "errors.tsv"}, {"strangers": "s.txt"}, {"plot": "errors.png"}],
)
def test_these_options_are_for_pairs(
    option: dict[str, Any],
    next_word: Path,
    sentences: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (name,) = option
    with pytest.raises(UsageError, match=f"{name} is for runs of pairs"):
        evaluate.evaluate(sentences, model=load(next_word), **option)
    with pytest.raises(UsageError, match=f"beam and {name} are|beam is"):
        evaluate.evaluate(sentences, model=load(next_word), **({"beam": 2} | option))
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_words_is_scored_by_perplexity(next_word: Path, sentences: Path) -> None:
    facts = evaluate.evaluate(sentences, model=load(next_word))
    assert facts["perplexity"] > 1
    assert facts["split"] == "test", "the file of the training has a split of its own"
    assert "exact_match" not in facts


@pytest.mark.parametrize(("unit", "shown"), [("%", "25.00 %"), ("ms", "25.00 ms"), ("", "25.00")])
def test_a_metric_in_the_table_is_reported_everywhere(
    unit: str,
    shown: str,
    trained: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """A further metric is one entry of METRICS: no other place knows the names of metrics."""
    toy = Metric("toy_score", "pairs", lambda outcome: 2.5 * len(outcome.rows), unit=unit)
    monkeypatch.setitem(METRICS, "toy_score", toy)
    assert evaluate.evaluate(data, model=load(trained))["toy_score"] == 25.0
    assert main.run(["evaluate", str(data), "-m", str(trained), "--json"]) == 0
    assert json.loads(capsysbinary.readouterr().out)["toy_score"] == 25.0
    assert main.run(["evaluate", str(data), "-m", str(trained)]) == 0
    lines = [line.split("  ") for line in capsysbinary.readouterr().out.decode().splitlines()]
    assert [line[-1].strip() for line in lines if line[0] == "toy score"] == [shown]


def test_a_metric_of_the_other_task_is_not_reported(
    trained: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Metric("toy_score", "next-word", lambda scores: scores.words)
    monkeypatch.setitem(METRICS, "toy_score", toy)
    assert "toy_score" not in evaluate.evaluate(data, model=load(trained))


def test_only_two_different_runs_of_pairs_are_compared(
    trained: Path, next_word: Path, data: Path, tmp_path: Path
) -> None:
    pairs, words = load(trained), load(next_word)
    link = tmp_path / "link"
    link.symlink_to(trained)
    for other in (pairs, load(link)):
        with pytest.raises(UsageError, match="is given twice, expected two runs to compare"):
            evaluate.compare(data, models=(pairs, other))
    message = r"runs of pairs can be compared; .*words predicts words"
    for models in ((pairs, words), (words, pairs)):
        with pytest.raises(UsageError, match=message):
            evaluate.compare(data, models=models)
