"""Stopped processes and clocks that jump: a pause is no progress, and a budget counts work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy_pairs import TINY, reversed_words

from charseq import process
from charseq.config import configure
from charseq.process import LONGEST_GAP, WorkClock
from charseq.runs import folder as checkpoint
from charseq.runs.training_state import TrainingState
from charseq.training import pairs, train
from charseq.training.trainer import Step, Trainer

ROOT = Path(__file__).parents[3]
SMALL = {**TINY, "evaluations": 4}
PATIENCE = 120.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reversed_words(tmp_path_factory.mktemp("toy"))


class Time:
    """A system's time that a test moves: by work of the processor, by waiting, or by jumps."""

    def __init__(self) -> None:
        self.now, self.used = 1000.0, 5.0

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.used

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.used += seconds


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(process, "time", clock)
    return clock


# --- the clock


def test_jumps_either_way_do_no_harm(fake: Time) -> None:
    clock = WorkClock()
    fake.work(2.0)
    assert clock() == 2.0
    fake.now -= 10_000.0
    assert clock() == 2.0
    fake.work(3.0)
    assert clock() == 5.0
    fake.now += 10_000.0
    assert clock() == 5.0 + LONGEST_GAP
    fake.work(400.0)  # a long step counts in full, though nobody read the time meanwhile
    assert clock() == 405.0 + LONGEST_GAP


def test_a_wait_for_a_gpu_counts_in_full() -> None:
    """It uses no processor, but the process is not stopped: the thread goes on reading."""
    with WorkClock() as clock:
        time.sleep(2.5)
        assert clock() == pytest.approx(2.5, abs=0.2)
    assert not any(thread.name == "work clock" for thread in threading.enumerate())


# --- a training by the fake clock


def steps_of(
    data: Path, run: Path, fake: Time, monkeypatch: pytest.MonkeyPatch, jumps: dict[int, float],
    **settings: Any,
) -> int:  # fmt: skip
    """The number of steps of a training of half a minute whose steps take 0.4 s.

    The time jumps before some of the steps.
    """
    count, step = 0, Trainer._step

    def slow(trainer: Trainer, progress: float) -> Step:
        nonlocal count
        fake.now += jumps.get(count, 0.0)
        fake.work(0.4)
        count += 1
        return step(trainer, progress)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", slow)
        config = configure({**SMALL, "minutes": 0.5, **settings})
        train.train(data, run=run, config=config, evaluated=False)
    return count


@pytest.mark.parametrize(
    "jumps", [{10: 3600.0}, {10: -3600.0}, {5: 1e9, 20: -2e9, 30: 50.0}, {0: 86400.0}]
)
def test_jumps_of_the_time_are_no_progress(
    jumps: dict[int, float], data: Path, tmp_path: Path, fake: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plain = steps_of(data, tmp_path / "plain", fake, monkeypatch, {})
    assert plain == 75
    jumped = steps_of(data, tmp_path / "jumped", fake, monkeypatch, jumps)
    # a jump ahead counts as one gap; after a jump back the step at hand counts as none
    assert abs(jumped - plain) <= len(jumps) * LONGEST_GAP / 0.4 + 1
    lines = (tmp_path / "jumped" / "metrics.jsonl").read_bytes().splitlines()
    seconds = [json.loads(line)["seconds"] for line in lines]
    assert seconds == sorted(seconds)
    assert len(lines) == SMALL["evaluations"]
    assert seconds[-1] == pytest.approx(30, abs=1.5)


def test_epochs_know_no_clock(
    data: Path, tmp_path: Path, fake: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bits, however the time jumps."""
    settings = {"epochs": 3, "minutes": 0}
    for name, jumps in (("plain", {}), ("jumped", {3: 1e6, 7: -2e6})):
        steps_of(data, tmp_path / name, fake, monkeypatch, jumps, **settings)
    first, second = (
        checkpoint.read(tmp_path / name, "model.safetensors") for name in ("plain", "jumped")
    )
    assert first == second


@pytest.mark.parametrize("where", ["prepare", "score", "save"])
def test_a_pause_beside_the_steps_is_no_progress(
    where: str, data: Path, tmp_path: Path, fake: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    place: Any = TrainingState if where == "save" else pairs
    name = {"prepare": "prepare", "score": "score_examples", "save": "save"}[where]
    inner, left = getattr(place, name), [1]

    def paused(*args: Any, **options: Any) -> Any:
        if left:
            left.pop()
            fake.now += 7200.0
        return inner(*args, **options)

    monkeypatch.setattr(place, name, paused)
    assert steps_of(data, tmp_path / "run", fake, monkeypatch, {}) >= 70
    assert not left
    assert checkpoint.read_json(tmp_path / "run", "about.json")["seconds"] < 32


def test_a_halved_batch_counts_its_seconds_once(
    data: Path, tmp_path: Path, fake: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is short after 20 of 30 s: 10 s are left, not none."""
    failed, backward = [], Trainer._backward

    def short(trainer: Trainer, batch: Any) -> float:
        if trainer.number == 50 and not failed:
            failed.append(trainer.number)
            raise MemoryError("no more")
        return backward(trainer, batch)

    monkeypatch.setattr(Trainer, "_backward", short)
    assert steps_of(data, tmp_path / "run", fake, monkeypatch, {}) == 75
    assert failed


# --- real trainings that are really stopped


def start(data: Path, run: Path, **settings: Any) -> subprocess.Popen[str]:
    words = [f"--set={name}={value}" for name, value in {**SMALL, **settings}.items()]
    return subprocess.Popen(
        [sys.executable, "-m", "charseq", "train", str(data), "-o", str(run), *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    found: list[subprocess.Popen[str]] = []
    yield found
    for one in found:
        if one.poll() is None:
            one.send_signal(signal.SIGCONT)
            one.kill()
        one.communicate()


def begun(run: Path) -> None:
    """Return when a training has saved its first state."""
    end = time.monotonic() + PATIENCE
    while not (run / "resume.a.json").exists():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("ensemble", [1, 2])
def test_a_stop_for_longer_than_the_budget(
    ensemble: int, data: Path, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    """Six seconds of budget, ten seconds of SIGSTOP: six seconds of work are done all the same.

    Of an ensemble the processes of all members are stopped, as ``docker pause`` does.
    """
    budget, pause, run = 6.0, 10.0, tmp_path / "run"
    training = start(data, run, minutes=budget / 60, save_seconds=0.1, ensemble=ensemble)
    started.append(training)
    begun(run if ensemble == 1 else run / "members" / "1")
    if ensemble > 1:
        begun(run / "members" / "2")
    children = Path(f"/proc/{training.pid}/task/{training.pid}/children").read_text().split()
    assert len(children) == (ensemble if ensemble > 1 else 0)
    group = [training.pid, *map(int, children)]
    begin = time.monotonic()
    for one in group:
        os.kill(one, signal.SIGSTOP)
    time.sleep(pause)
    for one in group:
        os.kill(one, signal.SIGCONT)
    said = training.communicate(timeout=PATIENCE)[1]
    assert training.returncode == 0, said
    worked = time.monotonic() - begin - pause
    assert worked > budget / 3, "it goes on after the pause"
    about = checkpoint.read_json(run, "about.json")
    for one in about.get("members", [about]):
        assert budget <= one["seconds"] < budget + pause / 3
