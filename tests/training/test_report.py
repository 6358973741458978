"""Lines for people on prepared data, lines of text and evaluations."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charseq.config import Config, configure
from charseq.data import corpus
from charseq.data.corpus import Corpus
from charseq.data.pairs import Dataset, Example
from charseq.data.text import tokenizer
from charseq.runs.training_state import Progress
from charseq.training.prepare import prepare
from charseq.training.report import (
    Speed,
    describe_end,
    describe_lines,
    describe_members_end,
    describe_pairs,
    describe_plan,
    describe_scores,
    verdict,
)
from charseq.training.trainer import Step


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


# --- the plan and the end


def test_the_speed_is_told_once_after_the_first_seconds() -> None:
    now = [100.0]
    told: list[str] = []
    speed = Speed(lambda: now[0], told.append)
    for number in range(1, 21):
        now[0] += 9.0 if number == 1 else 0.5  # the first step is slow
        step = Step(number, number / 10, 0.0, 1.0, 1.0, 1e-3, 32, skipped=False)
        speed.note(step, number / 20)
        assert len(told) == (number >= 7)
    (line,) = told
    assert line == "speed      64 examples a second, about 2.0 epochs in all, 0.1 min to go"


def test_the_plan_names_network_budget_device_and_folder() -> None:
    config = configure({"epochs": 1, "layers": 2, "batch_size": 64, "attention": "soft"})
    about: dict[str, Any] = {"parameters": 1234567, "examples": 40, "device": "cpu, 1 thread"}
    config = replace(config, task="pairs")
    assert describe_plan(config, Path("runs/a"), **about) == [
        "network    gru, 2 layers of 256 units, soft attention: 1,234,567 parameters",
        "budget     1 epoch, batches of 40, 12 evaluations of dev",
        "device     cpu, 1 thread",
        "folder     runs/a",
    ]
    four = replace(config, epochs=0, minutes=2.5, ensemble=4, cells="gru,lstm")
    network, budget, *_ = describe_plan(four, Path("runs/a"), **about)
    assert network.startswith("network    4 networks, each gru,lstm, 2 layers of 256 units, soft")
    assert budget.startswith("budget     2.5 min, ")


@pytest.mark.parametrize(
    ("errors", "epochs", "said"),
    [
        ([60, 50, 40, 30, 20, 10], 9, "still improving at the end"),
        ([60, 30, 20, 15, 15.2, 14.9], 9, "levelled off"),
        ([60, 30, 20, 22, 24, 26], 9, "best at 50% of the run, worse since: more data"),
        ([60, 30, 0, 2, 2, 2], 9, "all of dev is right"),
        ([60, 50, 40, 30, 20, 10], 0.25, "only 0.25 passes over the data: more time"),
        ([100, 100, 100, 100, 100, 100], 9, "levelled off"),
        ([math.nan, math.nan, 40, 30, 20, 10], 9, "still improving"),
        ([30, 20], 9, ""),
        ([math.nan] * 6, 9, ""),
    ],
)
def test_the_verdict_follows_the_curve(errors: list[float], epochs: float, said: str) -> None:
    shares = [(place + 1) / len(errors) for place in range(len(errors))]
    found = verdict(errors, shares, epochs=epochs)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_the_verdict_on_an_ensemble_is_on_the_mean_of_its_members() -> None:
    lines = [
        {"member": member, "evaluation": number, "step": 10 * number, "epoch": member + number}
        for member in (1, 2)
        for number in (1, 2, 3, 4)
    ]
    told = describe_members_end(lines, [50, 30, 20, 9, 50, 30, 20, 11], epochs=5.5)
    assert told == [
        "trained    5.50 epochs a member, 5.00 to 6.00",
        "verdict    the mean of the members: still improving at the end: more time will help",
    ]
    del lines[5]  # an evaluation that one of them left out is no point of the mean
    assert describe_members_end(lines, [50, 30, 20, 9, 50, 20, 11], epochs=5.5)[1] == told[1]
    assert len(describe_members_end([], [], epochs=5.5)) == 1


def test_evaluations_that_were_left_out_are_counted_with_the_reason() -> None:
    timed = configure({"minutes": 1, "evaluations": 12})
    so_far = Progress(seconds=60, prepared=5, scoring=15, epochs=4)
    so_far.metrics = [{"step": step} for step in (10, 50, 100)]
    lines = describe_end(so_far, [30, 20, 10], timed, examples=100)
    assert lines[0] == "trained    4.00 epochs, 10 examples a second, scoring not counted"
    assert lines[1].startswith("verdict    still improving")
    assert lines[2].startswith("note       9 of 12 evaluations left out: one takes 5.0 s, and all")
    so_far.scoring = 0.1
    lines = describe_end(so_far, [30, 20, 10], timed, examples=100)
    assert lines[2].endswith("left out: steps, or the time, were too few for more")
    by_steps = configure({"epochs": 4, "evaluations": 12})
    assert len(describe_end(so_far, [30, 20, 10], by_steps, examples=100)) == 2


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
    lines = describe_lines(text, made, why)
    train, dev = tmp_path / "d" / "train.txt", tmp_path / "d" / "dev.txt"
    assert lines == [
        f"data       8 lines train, 2 dev, from {train}, {dev}",
        f"note       {text.problems[0]}",
        "line 1     I <unk> <unk> <unk> .",
        "line 2     Don't !",
        "line 3     a <unk>",
        "lines      as set: the state is begun anew at each line",
        f"symbols    words: {why}",
    ]
    assert "2 blank lines" in lines[1]
    found = replace(text, running=True, reason="continue each other (74 % begin inside a sentence)")
    assert describe_lines(found, made, why)[5] == (
        "lines      continue each other (74 % begin inside a sentence): the state is carried from "
        "line to line"
    )


def test_a_text_that_serves_two_splits_is_named_once(tmp_path: Path) -> None:
    text = corpus_of(tmp_path / "d", dev=False)
    made, why = tokenizer.build(
        text.train, kind="characters", limit=50, min_count=1, subword_size=300, seed=1
    )
    lines = describe_lines(text, made, why)
    assert lines[0].endswith(f", from {tmp_path / 'd' / 'train.txt'}")
    assert f"symbols    characters: {why}" in lines
    assert lines[0].count("train.txt") == 1
