"""The training loop: tasks, interruption and resume, the weights that are kept, and the clock."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from torch import nn
from toy_pairs import make, words_of

from charseq import process
from charseq.config import Config, configure
from charseq.data.batches import Batches
from charseq.data.text.vocabulary import EOS
from charseq.errors import Interrupted, UsageError
from charseq.evaluation.metrics import Scores
from charseq.inference.predictor import load
from charseq.models.loss import Loss, TensorBatch, TrainableModel, cross_entropy
from charseq.process import WorkClock
from charseq.runs import folder as checkpoint
from charseq.runs.folder import lock
from charseq.runs.training_state import Progress, TrainingState
from charseq.training import loop, pairs, train
from charseq.training.loop import Task
from charseq.training.prepare import assemble_trainer, halved
from charseq.training.trainer import Step, Trainer, schedule


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


def weights_of(run: Path) -> dict[str, np.ndarray]:
    return checkpoint.load_model(run)[1]


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


# --- a task of a further kind


class ConstantModel(TrainableModel):
    """The same distribution over symbols at every position, whatever the source."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(symbols))

    def loss(self, given: TensorBatch, *, smoothing: float) -> Loss:
        logits = self.logits.expand(*given.labels.shape, -1)
        return Loss(*cross_entropy(logits, given.labels, smoothing=smoothing))


class ConstantTask:
    """Learns how often each symbol is written: a task that the loop has never heard of."""

    name = "constant"

    def __init__(self, rows: Sequence[Sequence[int]], config: Config) -> None:
        self.rows = rows
        self.config = config
        self.counts = np.bincount([s for row in rows for s in (*row, EOS)], minlength=8)

    @property
    def metadata(self) -> dict[str, Any]:
        side = {"kind": "characters", "symbols": list("abcde"), "features": [], "form": "NFC"}
        data = {"name": self.name, "fingerprint": "f" * 64, "columns": "", "examples": {"train": 3}}
        common = {"settings": self.config.to_json(), "start": None, "data": data}
        return {**common, "source": side, "target": side}

    def describe(self) -> list[str]:
        return [f"rows       {len(self.rows)}"]

    def student(self) -> NoReturn:
        raise UsageError("constants are not distilled")

    def trainer(self, halvings: int = 0) -> Trainer:
        size = halved(self.config.batch_size, halvings)
        batches = Batches([[5]] * len(self.rows), self.rows, batch_size=size)
        return assemble_trainer(self.config, lambda: ConstantModel(8), batches, None)

    def publish(self, weights: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return {"probabilities": np.exp(weights["logits"]) / np.exp(weights["logits"]).sum()}

    def score(self, weights: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Bits per symbol, and the other keys that a model card shows."""
        logs = np.log2(weights["probabilities"])
        bits = float(-(self.counts * logs).sum() / self.counts.sum())
        return {"bits": bits, "exact_match": 0.0, "ser": bits, "examples": len(self.rows)}

    def rank(self, scores: Mapping[str, float]) -> tuple[float, ...]:
        return (-scores["bits"],)

    def summary(self, scores: Mapping[str, float]) -> str:
        return f"{scores['bits']:.3f} bits"

    def calibrate(
        self, weights: Mapping[str, np.ndarray], report: Callable[[str], None]
    ) -> dict[str, Any]:
        return {}

    def evaluate(self, model: Any, *, version: str) -> dict[str, Any]:
        return {}


def constant(config: Config) -> Task:
    """The task with symbols 3 to 7 at the shares 8, 4, 2, 1, 1 of 16, and an end for each."""
    return ConstantTask([[3] * 8, [4] * 4, [5] * 2, [6], [7]], config)


def learn(task: Task, folder: Path, report: Callable[[str], None] = loop.silent) -> TrainingState:
    state = TrainingState(folder, task.metadata)
    with lock(folder):
        loop.learn(task, state, WorkClock(), report=report)
        state.finish()
    return state


def test_a_further_kind_of_task_is_learnt_to_its_optimum(tmp_path: Path) -> None:
    """The best constant distribution is that of the counts; its entropy is the least loss."""
    config = config_of(epochs=300, learning_rate=0.05, weight_decay=0, label_smoothing=0, ema=0)
    lines: list[str] = []
    task = constant(config)
    state = learn(task, tmp_path, lines.append)
    share = np.array([0, 0, 5, 8, 4, 2, 1, 1]) / 21
    entropy = -(share[2:] * np.log2(share[2:])).sum()
    assert state.progress.scores["bits"] == pytest.approx(entropy, abs=0.01)
    (found,) = weights_of(tmp_path).values()
    assert found == pytest.approx(share, abs=0.02)
    assert [line.split("  ")[-1] for line in lines][-1] == "best so far"
    assert sum(" bits" in line for line in lines) == config.evaluations


def test_a_further_kind_of_task_resumes_to_the_same_bits(tmp_path: Path) -> None:
    config = config_of(epochs=20, evaluations=5)
    whole = learn(constant(config), tmp_path / "whole")

    def interrupt(line: str) -> None:
        if " bits" in line:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        learn(constant(config), tmp_path / "run", interrupt)
    lines: list[str] = []
    learn(constant(config), tmp_path / "run", lines.append)
    assert lines[0].startswith("resume ")
    assert equal(weights_of(tmp_path / "run"), weights_of(tmp_path / "whole"))
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(metrics) == len(whole.progress.metrics)
    for line in map(json.loads, metrics):
        rate = config.learning_rate * schedule(line["epoch"] / config.epochs, config.warmup)
        assert line["learning_rate"] == pytest.approx(rate)
    assert json.loads(metrics[-1])["learning_rate"] == pytest.approx(0)


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


def test_a_signal_stops_after_saving_and_the_same_call_resumes(data: Path, tmp_path: Path) -> None:
    run, config = tmp_path / "run", config_of(epochs=3, evaluations=4, dropout=0.3)
    with pytest.raises(Interrupted) as caught:
        train.train(data, run=run, config=config, report=interrupting(2))
    assert caught.value.exit_code == 143
    assert f"what was learnt is in {run}" in str(caught.value)
    assert not checkpoint.is_finished(run)
    assert checkpoint.read_json(run, "about.json")["scores"]["examples"] == 10
    assert load(run).predict(["ab"])[0].source == "ab"
    lines: list[str] = []
    train.train(data, run=run, config=config, report=lines.append)
    (resumed,) = [line for line in lines if line.startswith("resume ")]
    number = int(str(caught.value).split("after step ")[1].split(";")[0])
    assert resumed.startswith(f"resume     at step {number}, ")
    assert 0 < number < 3 * 8
    train.train(data, run=tmp_path / "whole", config=config)
    assert equal(weights_of(run), weights_of(tmp_path / "whole"))
    assert len((run / "metrics.jsonl").read_bytes().splitlines()) == 4


# --- a callback that watches


def test_a_callback_gets_each_evaluation_that_is_saved(data: Path, tmp_path: Path) -> None:
    seen: list[list[int]] = []

    def watch(progress: Progress) -> None:
        seen.append([line["evaluation"] for line in progress.metrics])
        assert progress.metrics[-1]["examples"] == 10
        assert checkpoint.names(tmp_path) >= {"model.safetensors", "resume.a.json"}

    config = config_of(epochs=2, evaluations=4)
    assert train.train(data, run=tmp_path, config=config, watch=watch, evaluated=False) == {}
    assert seen == [[1], [1, 2], [1, 2, 3]], "at the last there is nothing to end any more"
    lines = (tmp_path / "metrics.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["evaluation"] for line in lines] == [1, 2, 3, 4]


def test_a_callback_can_end_a_training_but_a_signal_comes_first(data: Path, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def watch(progress: Progress) -> None:
        raise Enough

    config = config_of(epochs=2, evaluations=4)
    with pytest.raises(Enough):
        train.train(data, run=tmp_path / "run", config=config, watch=watch)
    assert not checkpoint.is_finished(tmp_path / "run")
    with pytest.raises(Interrupted):
        train.train(
            data, run=tmp_path / "other", config=config, watch=watch, report=interrupting(1)
        )


# --- the weights that are kept, and the times of evaluations


def scripted(monkeypatch: pytest.MonkeyPatch, script: list[tuple[float, float]]) -> list[Any]:
    """Dev scores (exact match, ser) as in ``script``; the target embeddings that were scored."""
    scored: list[Any] = []
    real = pairs.score_examples
    # the compiled engine packs the weights, so that they cannot be looked at
    monkeypatch.setattr("charseq.kernels.library.find", lambda: None)
    monkeypatch.setenv("CHARSEQ_KERNELS", "off")  # and nobody misses it

    def score(translator: Any, rows: Any, **options: Any) -> Any:
        outcome = real(translator, rows, **options)
        if len(scored) >= len(script):
            return outcome
        exact, ser = script[len(scored)]
        scored.append(translator.direction_groups[0].network.output[0].copy())
        return replace(outcome, scores=Scores(len(rows), exact, 100 - exact, ser))

    monkeypatch.setattr(pairs, "score_examples", score)
    return scored


@pytest.mark.parametrize(
    ("script", "best"),
    [
        ([(10, 50), (30, 60), (20, 10), (25, 5)], 1),
        ([(10, 50), (10, 40), (10, 45), (10, 40)], 1),
        ([(0, 90), (0, 95), (0, 80), (0, 70)], 3),
        ([(50, 5), (40, 1), (40, 1), (49, 1)], 0),
    ],
)
def test_the_weights_with_the_best_dev_exact_match_are_kept(
    script: list[tuple[float, float]], best: int, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Then fewer symbol errors; of equals the first."""
    scored = scripted(monkeypatch, script)
    lines: list[str] = []
    config = config_of(epochs=1, evaluations=4)
    train.train(data, run=tmp_path, config=config, report=lines.append)
    assert len(scored) == 4
    assert np.array_equal(weights_of(tmp_path)["target_embedding"], scored[best])
    assert not any(np.array_equal(scored[best], scored[n]) for n in range(4) if n != best)
    about = checkpoint.read_json(tmp_path, "about.json")
    assert (about["scores"]["exact_match"], about["scores"]["ser"]) == script[best]
    marks = [line.endswith("best so far") for line in lines if "dev exact" in line]
    assert max(n for n, mark in enumerate(marks) if mark) == best


def test_the_dev_split_is_scored_up_to_a_limit(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [])
    sizes: list[int] = []
    inner = pairs.score_examples

    def count(transducer: Any, rows: Any, **options: Any) -> Any:
        sizes.append(len(rows))
        return inner(transducer, rows, **options)

    monkeypatch.setattr(pairs, "score_examples", count)
    config = config_of(epochs=1, evaluations=2, dev_limit=4)
    facts = train.train(data, run=tmp_path, config=config)
    assert sizes == [4, 4]
    assert facts["examples"] == 10, "the last report is on the whole split"


class Clock:
    """Time passes only where a test says so, and all of it is work of the processor."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    process_time = monotonic


@pytest.mark.parametrize(("cost", "least", "most"), [(0.0, 10, 10), (2.0, 2, 5), (500.0, 1, 2)])
def test_scoring_takes_its_share_of_the_minutes(
    cost: float, least: int, most: int, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A step takes 0.4 s; evaluations are left out where they are slow, but never the last."""
    clock = Clock()
    scored: list[float] = []
    score, step = pairs.score_examples, Trainer._step

    def slow_score(transducer: Any, rows: Any, **options: Any) -> Any:
        scored.append(clock.now)
        clock.now += cost
        return score(transducer, rows, **options)

    def slow_step(trainer: Trainer, progress: float) -> Step:
        clock.now += 0.4
        return step(trainer, progress)

    monkeypatch.setattr(process, "time", clock)
    monkeypatch.setattr(pairs, "score_examples", slow_score)
    monkeypatch.setattr(Trainer, "_step", slow_step)
    train.train(data, run=tmp_path, config=config_of(epochs=0, minutes=0.5, evaluations=10))
    assert least <= len(scored) <= most
    assert scored[-1] - 100 >= 30 or cost > 30
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_bytes().splitlines()]
    assert [one["seconds"] for one in metrics] == pytest.approx([at - 100 for at in scored])


def test_the_schedule_begins_at_the_first_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 of 30 s are gone then: the rate rises all the same, and no untrained model is scored."""
    clock = Clock()
    steps: list[Step] = []
    scored: list[int] = []
    score, step, trainer_of = pairs.score_examples, Trainer._step, pairs.PairsTask.trainer

    def slow_trainer(task: Any, halvings: int) -> Trainer:
        clock.now += 20
        return trainer_of(task, halvings)

    def slow_step(trainer: Trainer, progress: float) -> Step:
        clock.now += 0.4
        steps.append(step(trainer, progress))
        return steps[-1]

    def noted(transducer: Any, rows: Any, **options: Any) -> Any:
        scored.append(len(steps))
        return score(transducer, rows, **options)

    monkeypatch.setattr(process, "time", clock)
    monkeypatch.setattr(pairs.PairsTask, "trainer", slow_trainer)
    monkeypatch.setattr(pairs, "score_examples", noted)
    monkeypatch.setattr(Trainer, "_step", slow_step)
    config = config_of(epochs=0, minutes=0.5, evaluations=5, warmup=0.2)
    train.train(data, run=tmp_path, config=config)
    assert len(steps) == 25
    progress = [number / 25 for number in range(25)]
    assert [one.progress for one in steps] == pytest.approx(progress)
    rates = [one.learning_rate for one in steps]
    assert rates.index(max(rates)) == 5
    assert scored[0] >= 4
    assert clock.now == pytest.approx(130)


def test_the_progress_bar_needs_a_terminal(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    config = config_of(epochs=1, evaluations=1)
    train.train(data, run=tmp_path / "plain", config=config, progress=True)
    assert screen.getvalue() == ""
    monkeypatch.setattr(screen, "isatty", lambda: True)
    train.train(data, run=tmp_path / "bar", config=config, progress=False)
    assert screen.getvalue() == ""
    train.train(data, run=tmp_path / "shown", config=config, progress=True)
    assert "0 %" in screen.getvalue()
