"""Lines for people on prepared data, lines of text and evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charseq.config import Config, configure
from charseq.data import corpus
from charseq.data.corpus import Corpus
from charseq.data.pairs import Dataset, Example
from charseq.data.text import tokenizer
from charseq.runs.training_state import Progress
from charseq.training.prepare import prepare
from charseq.training.report import describe_lines, describe_pairs, describe_scores


def dataset(train: list[Example], **changes: Any) -> Dataset:
    facts = {
        "dev": train[:1], "test": [], "name": "toy", "fingerprint": "f" * 64,
        "columns": "source = column 1, target = column 2",
        "files": {"train": Path("d/train.tsv"), "dev": Path("d/dev.tsv")}, "lines": {},
        "problems": [],
    }  # fmt: skip
    return Dataset(train=train, **{**facts, **changes})


def test_pairs_are_described_as_understood() -> None:
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
    lines = describe_pairs(task)
    assert lines[:7] == [
        "data       4 train, 1 dev, from d/train.tsv, d/dev.tsv",
        "columns    source = column 1, target = column 2",
        "note       d/train.tsv:7: 2 blank lines passed over, this is the first",
        "features   4, separated by ';'",
        "pair 1     a b ␣ c <V> <NOM(3)> <NOM(SG)>  =>  t ʃ a",
        "pair 2     é <N>  =>  a",
        "pair 3     b  =>  a",
    ]
    source, target, attention = lines[7:]
    symbols = len(set("ab cnever showné"))
    assert source == f"source     {symbols} symbols and 4 features; {task.why[0]}"
    assert target == f"target     3 symbols; {task.why[1]}"
    assert "as set" in target
    assert attention == f"attention  soft: {task.why[2]}"
    assert "the output does not follow the input" in attention


def test_a_file_that_serves_two_splits_is_named_once() -> None:
    rows = [Example("a", "b")]
    one = dataset(rows, files={"train": Path("d.tsv"), "dev": Path("d.tsv")})
    line = describe_pairs(prepare(one, Config()))[0]
    assert line == "data       1 train, 1 dev, from d.tsv"


def test_an_evaluation_is_one_line() -> None:
    state, told = Progress(seconds=61.4, epochs=3.21), "dev exact  75.0 %  ser  12.5 %"
    line = describe_scores(0.5, state, 0.456, told, best=True)
    assert line == (
        " 50 %     61 s  epoch   3.21  loss 0.456  dev exact  75.0 %  ser  12.5 %  best so far"
    )
    short = line.removesuffix("  best so far")
    assert describe_scores(0.5, state, 0.456, told, best=False) == short
    assert describe_scores(0.5, state, None, told, best=False) == short.replace("loss 0.456  ", "")


# --- lines of text


def corpus_of(folder: Path, *, dev: bool = True) -> Corpus:
    folder.mkdir()
    lines = ["I love machine learning.", "Don't!", "", "a zebra", "a horse"]
    (folder / "train.txt").write_text("\n".join(lines * 2), encoding="utf-8")
    if dev:
        (folder / "dev.txt").write_text("a\nb\n", encoding="utf-8")
    return corpus.load(folder, splits=("train", "dev"))


def test_lines_are_described_as_understood(tmp_path: Path) -> None:
    text = corpus_of(tmp_path / "d")
    rules: dict[str, Any] = {"limit": 5, "min_count": 1, "subword_size": 300, "seed": 1}
    made, why = tokenizer.build(text.train, kind="words", punctuation="split", **rules)
    lines = describe_lines(text, made, why, running=False)
    train, dev = tmp_path / "d" / "train.txt", tmp_path / "d" / "dev.txt"
    assert lines == [
        f"data       8 lines train, 2 dev, from {train}, {dev}",
        f"note       {text.problems[0]}",
        "line 1     I <unk> <unk> <unk> .",
        "line 2     Don't !",
        "line 3     a <unk>",
        f"symbols    words: {why}",
        "state      begun anew at each line",
    ]
    assert "2 blank lines" in lines[1]
    assert "running" in describe_lines(text, made, why, running=True)[-1]


def test_a_text_that_serves_two_splits_is_named_once(tmp_path: Path) -> None:
    text = corpus_of(tmp_path / "d", dev=False)
    made, why = tokenizer.build(
        text.train, kind="characters", limit=50, min_count=1, subword_size=300, seed=1
    )
    lines = describe_lines(text, made, why, running=False)
    assert lines[0].endswith(f", from {tmp_path / 'd' / 'train.txt'}")
    assert f"symbols    characters: {why}" in lines
    assert lines[0].count("train.txt") == 1
