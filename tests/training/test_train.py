"""Whole trainings on tiny data: the task, the run folder, resume, the run to start from."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_pairs import make, words_of, write

import charseq
from charseq.cli import check
from charseq.config import Config, configure
from charseq.data import pairs as examples
from charseq.data.corpus import choose_task
from charseq.errors import (
    CharseqError,
    CheckpointError,
    DataError,
    Interrupted,
    SettingError,
    TrainingError,
)
from charseq.evaluation import evaluate
from charseq.inference import describe
from charseq.inference.predictor import load
from charseq.kernels import library
from charseq.runs import folder as checkpoint
from charseq.training import train as recipes
from charseq.training.trainer import Trainer

KEYS = {
    "run", "parameters", "seconds", "epochs", "data", "split", "examples", "exact_match", "wer",
    "ser", "standard_error", "ece", "aurc", "excess_aurc", "auroc", "intervals", "top_k",
    "by_length", "confusions", "coverage", "risk_coverage", "beam", "signature",
}  # fmt: skip


def config_of(**settings: Any) -> Config:
    small = {
        "epochs": 2, "threads": 1, "device": "cpu", "precision": "float32", "hidden": 12,
        "embedding": 6, "batch_size": 8, "evaluations": 3, "learning_rate": 0.01, "beam": 2,
        "attention": "soft",
    }  # fmt: skip
    return configure({**small, **settings})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("data") / "upper", words_of(80))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows its task about half."""
    folder = tmp_path_factory.mktemp("runs") / "upper"
    recipes.train(data, run=folder, config=config_of(epochs=10, learning_rate=0.03, dropout=0))
    return folder


def weights_of(run: Path) -> dict[str, np.ndarray]:
    return checkpoint.load_model(run)[1]


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


# --- the task


def test_the_task_is_as_set_or_by_the_data(data: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    (text / "train.txt").write_text("I love machine learning\na line\n")
    (tmp_path / "lines.txt").write_text("a line\nanother\n")
    (tmp_path / "pairs.txt").write_text("a\tb\nc\td\n")
    for path in (text, tmp_path / "lines.txt"):
        assert choose_task(path) == choose_task(str(path), "auto") == "next-word"
    for path in (data, data / "train.tsv", tmp_path / "pairs.txt", tmp_path / "none"):
        assert choose_task(path) == "pairs"
    for path in (text, data, tmp_path / "none"):
        assert choose_task(path, "pairs") == "pairs"
        assert choose_task(path, "next-word") == "next-word"


def test_settings_that_are_not_given_are_those_beside_the_data(data: Path, tmp_path: Path) -> None:
    """As on the command line; a base says how all of them are to be."""
    shutil.copytree(data, tmp_path / "data")
    beside = tmp_path / "data/charseq.toml"
    beside.write_text('cell = "tanh"\nhidden = 24\nepochs = 7\nseed = 9\n')

    def resolved(config: Config) -> tuple[Any, ...]:
        found = recipes.resolve_task(tmp_path / "data", config)
        return found.cell, found.hidden, found.epochs, found.minutes, found.task

    assert resolved(configure({"hidden": 32})) == ("tanh", 32, 7, 0.0, "pairs")
    assert resolved(configure({"hidden": 32, "minutes": 2})) == ("tanh", 32, 0, 2.0, "pairs")
    whole = configure({"hidden": 32}, base=configure({"cell": "lstm"}))
    assert resolved(whole) == ("lstm", 32, whole.epochs, whole.minutes, "pairs")
    assert recipes.resolve_task(tmp_path / "data", None).seed == 9
    again = recipes.resolve_task(tmp_path / "data", configure({"hidden": 32}))
    assert recipes.resolve_task(tmp_path / "data", again) == again
    beside.write_text("hidden = 0\n")
    assert resolved(configure({"hidden": 32}))[1] == 32
    with pytest.raises(SettingError, match=f"^{re.escape(str(beside))}: hidden is 0"):
        resolved(configure({"cell": "lstm"}))


def test_the_resolved_task_is_saved(data: Path, tmp_path: Path) -> None:
    """So that a run begun with the choice made elsewhere, by the command line, goes on."""
    config = config_of(epochs=3)
    assert config.task == "auto"
    with pytest.raises(Interrupted):
        recipes.train(data, run=tmp_path, config=config, report=interrupting(1))
    assert checkpoint.read_json(tmp_path, "about.json")["settings"]["task"] == "pairs"
    facts = recipes.train(data, run=tmp_path, config=config_of(epochs=3, task="pairs"))
    assert facts["epochs"] == 3.0


# --- train


def test_training_on_a_folder_leaves_a_model(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    facts = charseq.train(data, config=config_of(), report=lines.append)
    run = tmp_path / "checkpoints" / "upper"
    assert facts.keys() == KEYS
    assert facts["run"] == str(Path("checkpoints") / "upper")
    assert (facts["split"], facts["examples"], facts["epochs"]) == ("dev", 10, 2.0)
    about, weights = checkpoint.load_model(run)
    assert about["finished"]
    assert facts["parameters"] == sum(value.size for value in weights.values())
    found = {"task": "pairs", "direction": "forward", "layers": 1, "alignment_prior": False}
    found |= {"feature_separator": ";", "counts": "none"}
    assert about["settings"] == {**config_of().to_json(), **found}, "what auto came to"
    assert about["data"]["examples"] == {"train": 60, "dev": 10}
    assert about["data"]["fingerprint"] == examples.load(data, splits=("train", "dev")).fingerprint
    assert about["scores"]["examples"] == 10
    assert charseq.load(run).predict(["ab"])[0].source == "ab"
    assert charseq.load().path == Path("checkpoints") / "upper"
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_bytes().splitlines()]
    assert len(metrics) == 3
    assert metrics[-1]["step"] == 2 * 8
    assert about["scores"]["exact_match"] == max(one["exact_match"] for one in metrics)
    card = (run / "README.md").read_text(encoding="utf-8")
    assert f"dev exact match {about['scores']['exact_match']:.2f} %" in card
    assert "upper: 60 train, 10 dev" in card
    assert [line.split()[0] for line in lines[:5]] == ["data", "columns", "pair", "pair", "pair"]
    assert sum("dev exact" in line for line in lines) == 3
    assert lines[-1] == f"kept       {Path('checkpoints') / 'upper'}"
    assert capfd.readouterr() == ("", "")


def test_training_on_one_file_splits_it(tmp_path: Path) -> None:
    words = words_of(150)
    write(tmp_path / "pairs.tsv", words)
    facts = recipes.train(tmp_path / "pairs.tsv", run=tmp_path / "run", config=config_of(epochs=1))
    whole = examples.load(tmp_path / "pairs.tsv")
    assert facts["examples"] == len(whole.dev) > 0
    about = checkpoint.read_json(tmp_path / "run", "about.json")
    assert about["data"]["examples"] == {"train": len(whole.train), "dev": len(whole.dev)}
    model = load(tmp_path / "run")
    assert evaluate.evaluate(tmp_path / "pairs.tsv", model=model)["examples"] == len(whole.test)
    write(tmp_path / "other.tsv", [*words, "zzz"])
    assert evaluate.evaluate(tmp_path / "other.tsv", model=model)["examples"] == 151


def test_a_dry_run_reads_and_reports_and_writes_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    facts = recipes.train(data, config=config_of(), dry_run=True, report=lines.append)
    assert facts["run"] == str(Path("checkpoints") / "upper")
    assert facts["epochs"] == 0
    assert lines[0].startswith("data       60 train, 10 dev")
    assert not list(tmp_path.iterdir())
    made = recipes.train(data, run=tmp_path / "run", config=config_of())
    assert f"soft attention: {made['parameters']:,} parameters" in lines[-4]
    assert lines[-3] == "budget     2 epochs, batches of 8, 3 evaluations of dev"
    assert lines[-2].startswith("device     cpu, ")
    assert lines[-2].endswith(", float32, 1 thread")
    assert lines[-1] == f"folder     {Path('checkpoints') / 'upper'}"


def test_a_training_of_epochs_is_told_to_take_one_thread(data: Path, tmp_path: Path) -> None:
    """By default, on any number of cores: more may be slower, and change the last bits."""
    lines: list[str] = []
    given = {"config": config_of(threads=0), "dry_run": True, "report": lines.append}
    recipes.train(data, run=tmp_path / "run", **given)
    assert [line.split(", ")[-1] for line in lines if line.startswith("device ")] == ["1 thread"]


def test_a_dry_run_checks_the_folder(data: Path, tmp_path: Path) -> None:
    def refused(folder: Path, expected: str, **settings: Any) -> None:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(CheckpointError, match=expected):
            recipes.train(data, run=folder, config=config_of(**settings), dry_run=True)
        assert sorted(tmp_path.rglob("*")) == before

    (tmp_path / "file").write_text("a file")
    refused(tmp_path / "file" / "run", "cannot be written")
    (tmp_path / "link").symlink_to(tmp_path)
    refused(tmp_path / "link", "link")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "README.md").write_text("something else")
    refused(tmp_path / "other", "holds README.md of something else than a run")
    with pytest.raises(Interrupted):
        recipes.train(data, run=tmp_path / "run", config=config_of(), report=interrupting(1))
    refused(tmp_path / "run", "was begun with seed = 1, now it is 2", seed=2)
    facts = recipes.train(data, run=tmp_path / "run", config=config_of(), dry_run=True)
    assert facts["epochs"] == 0, "it would go on"


def test_a_finished_run_refuses_before_data_are_read(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match="is finished already"):
        recipes.train(tmp_path / "none.tsv", run=trained, config=config_of())
    monkeypatch.chdir(trained.parent)
    trained.parent.joinpath("checkpoints").symlink_to(trained.parent)
    with pytest.raises(CheckpointError, match="is finished already"):
        recipes.train(tmp_path / "upper", config=config_of(), dry_run=True)


def test_missing_kernels_are_said_and_without_a_report_warned_of(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "absence", lambda: "kernels not found")
    lines: list[str] = []
    recipes.train(data, run=tmp_path / "a", config=config_of(), dry_run=True, report=lines.append)
    assert "kernels    kernels not found" in lines
    with pytest.warns(RuntimeWarning, match="kernels not found"):
        recipes.train(data, run=tmp_path / "a", config=config_of(), dry_run=True)


def test_the_end_of_a_training_tells_its_speed_and_what_would_help(
    data: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    recipes.train(data, run=tmp_path, config=config_of(epochs=6), report=lines.append)
    (trained,) = [line for line in lines if line.startswith("trained ")]
    assert re.match(r"trained    6\.00 epochs, [0-9,]+ examples a second, scoring not", trained)
    assert any(line.startswith("verdict    ") for line in lines)


def test_refused_data_or_settings_leave_no_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "empty.tsv").write_bytes(b"")
    refused: list[tuple[Path, Config, type[CharseqError]]] = [
        (tmp_path / "none", config_of(), DataError),
        (tmp_path / "empty.tsv", config_of(), DataError),
        (data, config_of(columns="target,target"), SettingError),
        (data, config_of(device="cuda"), SettingError),
    ]
    for source, config, fault in refused:
        with pytest.raises(fault) as caught:
            recipes.train(source, run=tmp_path / "run", config=config)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()


def test_a_missing_gpu_is_an_error_before_data_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for ensemble in (1, 2):
        config = replace(config_of(device="cuda"), task="pairs", ensemble=ensemble)
        with pytest.raises(SettingError, match="no CUDA device here"):
            recipes.train(tmp_path / "none.tsv", run=tmp_path / "run", config=config)
        with pytest.raises(SettingError, match="no CUDA device here"):
            recipes.train(tmp_path / "none.tsv", config=config, dry_run=True)


def test_a_finished_run_is_trained_anew_only_by_force(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    recipes.train(data, run=run, config=config_of(epochs=1))
    before = weights_of(run)
    lines: list[str] = []
    with pytest.raises(CheckpointError, match=r"is finished already: force=True trains it anew"):
        recipes.train(data, run=run, config=config_of(epochs=2))
    assert equal(weights_of(run), before)
    other = config_of(epochs=1, seed=2)
    recipes.train(data, run=run, config=other, force=True, report=lines.append)
    assert not any(line.startswith("resume") for line in lines)
    assert checkpoint.read_json(run, "about.json")["settings"]["seed"] == 2
    assert not equal(weights_of(run), before)


def test_a_budget_that_is_over_at_once_still_gives_a_model(data: Path, tmp_path: Path) -> None:
    facts = recipes.train(data, run=tmp_path / "run", config=config_of(epochs=0, minutes=1e-6))
    assert 0 < facts["epochs"] <= 0.5
    assert load(tmp_path / "run").predict(["ab"])


def test_a_loss_that_is_never_finite_ends_with_advice(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_backward", lambda *_: float("nan"))
    with pytest.raises(TrainingError, match=r"10 steps in a row .*learning_rate=0"):
        recipes.train(data, run=tmp_path, config=config_of())
    assert not checkpoint.is_finished(tmp_path)
    assert all(np.isfinite(value).all() for value in weights_of(tmp_path).values())


# --- interrupted and resumed


def interrupting(after: int) -> Callable[[str], None]:
    """A report that asks this process to stop at an evaluation."""
    seen: list[str] = []

    def report(line: str) -> None:
        if "dev exact" in line:
            seen.append(line)
            if len(seen) == after:
                os.kill(os.getpid(), signal.SIGTERM)

    return report


def test_attention_resolved_from_the_data_is_reported_saved_and_resumed(
    data: Path, tmp_path: Path
) -> None:
    """Capitals follow their letters, so it is hard; new symbols join such a run as well."""
    run, config = tmp_path / "run", config_of(attention="auto", epochs=3, evaluations=4)
    lines: list[str] = []
    with pytest.raises(Interrupted):
        recipes.train(data, run=run, config=config, report=interrupting(2))
    recipes.train(data, run=run, config=config, report=lines.append)
    assert any(line.startswith("attention  hard: the output follows the input") for line in lines)
    assert any(line.startswith("resume ") for line in lines)
    assert checkpoint.read_json(run, "about.json")["settings"]["attention"] == "hard"
    recipes.train(data, run=tmp_path / "whole", config=config)
    assert equal(weights_of(run), weights_of(tmp_path / "whole"))
    assert load(run).predict(["ab", "dcba"], n=2, beam=4)[1].candidates
    more = make(tmp_path / "more", [word + "é" for word in words_of(60, seed=2)])
    recipes.train(more, run=tmp_path / "next", config=config_of(attention="auto"), init_from=run)
    about = checkpoint.read_json(tmp_path / "next", "about.json")
    assert about["settings"]["attention"] == "hard"
    rows = {name: len(value) for name, value in weights_of(tmp_path / "next").items()}
    assert rows["output_bias"] == weights_of(run)["output_bias"].size + 2


def test_an_unfinished_run_with_the_earlier_name_of_a_kind_is_resumed(
    tmp_path: Path,
) -> None:
    folder = make(tmp_path / "data", [" ".join(word) for word in words_of(40)])
    run, config = tmp_path / "run", config_of(source_symbols="decomposed", epochs=3)
    with pytest.raises(Interrupted):
        recipes.train(folder, run=run, config=config, report=interrupting(1))
    names = [name for name in checkpoint.names(run) if name.endswith(".json")]
    old = {name: checkpoint.read(run, name).replace(b"decomposed", b"parts") for name in names}
    assert any(b"parts" in content for name, content in old.items() if name.startswith("resume"))
    checkpoint.publish(run, old)
    lines: list[str] = []
    recipes.train(folder, run=run, config=config, report=lines.append)
    assert any(line.startswith("resume ") for line in lines)


def test_by_force_an_unfinished_run_begins_anew(data: Path, tmp_path: Path) -> None:
    config = config_of(epochs=3)
    with pytest.raises(Interrupted):
        recipes.train(data, run=tmp_path, config=config, report=interrupting(1))
    other = config_of(epochs=1, seed=2)
    with pytest.raises(CheckpointError, match="was begun with epochs = 3, now it is 1"):
        recipes.train(data, run=tmp_path, config=other)
    lines: list[str] = []
    facts = recipes.train(data, run=tmp_path, config=other, force=True, report=lines.append)
    assert facts["epochs"] == 1.0
    assert not any(line.startswith("resume") for line in lines)


# --- a run to start from


def test_new_symbols_join_a_run_whose_weights_are_the_start(trained: Path, tmp_path: Path) -> None:
    """At a rate of zero the weights stay what they were."""
    data = make(tmp_path / "more", [word + "é" for word in words_of(60, "dcbaz", seed=2)])
    config = config_of(epochs=1, learning_rate=0.0, seed=5)
    recipes.train(data, run=tmp_path / "run", config=config, init_from=trained)
    old, new = load(trained), load(tmp_path / "run")
    assert new.translator.source.symbols[:4] == old.translator.source.symbols
    assert set(new.translator.source.symbols[4:]) == {"z", "é"}
    assert new.translator.target.symbols[:4] == old.translator.target.symbols
    before, after = weights_of(trained), weights_of(tmp_path / "run")
    for name, value in before.items():
        rows = len(value) if "embedding" in name or name == "output_bias" else None
        assert np.array_equal(after[name][:rows], value), name
    assert len(after["source_embedding"]) == len(before["source_embedding"]) + 2


def test_weights_of_the_start_lower_the_first_loss(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    losses = []
    for name, start in (("fresh", None), ("tuned", trained)):
        config = config_of(epochs=1, evaluations=1, learning_rate=1e-4, dropout=0)
        recipes.train(data, run=tmp_path / name, config=config, init_from=start)
        line = (tmp_path / name / "metrics.jsonl").read_bytes().splitlines()[-1]
        losses.append(json.loads(line)["loss"])
    assert losses[1] < 0.75 * losses[0]


def test_a_start_of_another_shape_is_refused(trained: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"hidden is 13, .* has 12: hidden=12"):
        recipes.train(data, run=tmp_path / "run", config=config_of(hidden=13), init_from=trained)
    with pytest.raises(CheckpointError, match="there is no such run"):
        recipes.train(data, run=tmp_path / "run", config=config_of(), init_from=tmp_path / "none")
    assert not (tmp_path / "run").exists()


# --- check and info


def test_check_counts_and_warns(tmp_path: Path) -> None:
    folder = make(tmp_path / "data", words_of(40))
    (folder / "train.tsv").write_text("a\tB\na\tC\nb\tB\n", encoding="utf-8")
    train, dev, test = check.inspect_data(folder).to_json()["splits"]
    assert (train["rows"], train["sources"], train["ambiguous"]) == (3, 2, 1)
    assert (dev["rows"], test["rows"]) == (10, 10)
    with pytest.raises(DataError):
        check.inspect_data(folder, config=config_of(columns="source,features,target"))


def test_info_tells_the_shapes_of_the_weights(trained: Path) -> None:
    facts, lines = describe.info(trained)
    shapes = {name: list(value.shape) for name, value in weights_of(trained).items()}
    assert facts["shapes"] == shapes
    assert facts["parameters"] == sum(int(np.prod(shape)) for shape in shapes.values())
    assert facts["settings"]["hidden"] == 12
    assert any(line.startswith("training   finished; 10.0 epochs") for line in lines)
    assert json.loads(json.dumps(facts)) == facts
