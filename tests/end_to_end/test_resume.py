"""A training that is killed, stopped or damaged on its way ends with the bits it would have had."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from charseq import process as charseq_process
from charseq.config import Config, configure
from charseq.errors import CheckpointError, Interrupted
from charseq.runs import folder as checkpoint
from charseq.training import train

ROOT = Path(__file__).parents[2]
CHARSEQ = [sys.executable, "-m", "charseq"]
SETTINGS: dict[str, Any] = {
    "epochs": 20,
    "threads": 1,
    "device": "cpu",
    "hidden": 64,
    "embedding": 16,
    "batch_size": 16,
    "dropout": 0.3,
    "save_seconds": 0.03,
    "evaluations": 5,
    "seed": 7,
}
ROWS = 41 * SETTINGS["batch_size"] - 5  # an epoch is 41 steps, the last of them smaller
PATIENCE = 60.0


def words_of(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(draw.choices("abcde", k=draw.randint(2, 6)))] = None
    return list(found)


@dataclass
class Training:
    """One command, which may be started again and again, and the folder that it fills."""

    data: Path
    run: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, **changes: Any) -> subprocess.Popen[bytes]:
        settings = [f"--set={name}={value}" for name, value in {**SETTINGS, **changes}.items()]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CHARSEQ_")}
        environment["PYTHONPATH"] = str(ROOT)
        with self.said_in(len(self.processes)).open("wb") as said:
            process = subprocess.Popen(
                [*CHARSEQ, "train", str(self.data), "-o", str(self.run), *settings],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env=environment,
            )
        self.processes.append(process)
        return process

    def said_in(self, number: int) -> Path:
        return self.run.parent / f"{self.run.name}.{number}.stderr"

    @property
    def said(self) -> str:
        """What the last process printed for people."""
        return self.said_in(len(self.processes) - 1).read_text(encoding="utf-8")

    def states(self) -> dict[str, int]:
        """The slots that hold a state, and the number of the save that made each."""
        there = checkpoint.names(self.run)
        return {
            slot: checkpoint.read_json(self.run, f"resume.{slot}.json")["progress"]["saves"]
            for slot in "ab"
            if f"resume.{slot}.json" in there
        }

    def saves(self) -> int:
        try:
            return max(self.states().values(), default=0)
        except CheckpointError:  # the writer was faster than this reader
            return 0

    def start_and_wait(self, saves: int) -> subprocess.Popen[bytes]:
        """A process that has saved a state ``saves`` times more than those before it."""
        wanted = self.saves() + saves
        process = self.start()
        end = time.monotonic() + PATIENCE
        while self.saves() < wanted:
            assert process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.01)
        return process

    def result(self) -> str:
        """The sha256 of the weights, when the last process has come to its end."""
        assert self.processes[-1].wait(PATIENCE) == 0, self.said
        about = checkpoint.read_json(self.run, "about.json")
        assert about["finished"]
        assert about["epochs"] == SETTINGS["epochs"]
        assert not self.states()
        return hashlib.sha256((self.run / "model.safetensors").read_bytes()).hexdigest()

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reverse")
    words = words_of(ROWS + 20, seed=1)
    for name, part in (("train", words[:ROWS]), ("dev", words[ROWS:])):
        text = "".join(f"{word}\t{word[::-1]}\n" for word in part)
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8", newline="")
    return folder


@pytest.fixture
def training(data: Path, tmp_path: Path) -> Iterator[Training]:
    result = Training(data, tmp_path / "run")
    yield result
    result.end()


@pytest.fixture
def whole(data: Path, tmp_path: Path) -> Iterator[Training]:
    """The same training, undisturbed and seldom saved, beside the other."""
    result = Training(data, tmp_path / "whole")
    result.start(save_seconds=30)
    yield result
    result.end()


def resumed_at(said: str) -> int:
    found = re.search(r"^resume +at step ([\d,]+), \d+ s spent$", said, flags=re.MULTILINE)
    assert found, said
    return int(found[1].replace(",", ""))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def refusal(data: Path, run: Path, config: Config, **options: Any) -> str:
    """The one line that refuses to train; nothing in the folder is touched."""
    before = snapshot(run)
    with pytest.raises(CheckpointError) as caught:
        train.train(data, run=run, config=config, **options)
    assert "\n" not in str(caught.value)
    assert snapshot(run).keys() - {".lock"} == before.keys() - {".lock"}
    return str(caught.value)


def test_however_often_it_is_ended_it_ends_with_the_same_bits(
    training: Training, whole: Training, tmp_path: Path
) -> None:
    config = configure(SETTINGS)
    draw = random.Random()  # other moments in every run: any of them has to do

    kill(training.start_and_wait(1), draw.uniform(0.0, 0.2))

    process = training.start_and_wait(3)
    steps = [resumed_at(training.said)]
    process.send_signal(signal.SIGSTOP)  # held: it may not end while the other is refused
    message = refusal(training.data, training.run, config)
    process.send_signal(signal.SIGCONT)
    assert message == f"{training.run}: in use by process {process.pid}"
    stop(process, signal.SIGTERM, 143)
    last = training.said.split("\n")[-2]
    assert re.match(r"charseq: error: stopped by SIGTERM after step \d+; ", last)
    check_other_training_is_refused(training, tmp_path / "changed")

    states = training.states()
    assert len(states) == 2
    newest = max(states, key=lambda slot: states[slot])
    flip(training.run / f"resume.{newest}.safetensors")
    kill(training.start_and_wait(2), draw.uniform(0.0, 0.2))
    assert f"resume.{newest}.safetensors: is damaged" in training.said
    steps.append(resumed_at(training.said))

    stop(training.start_and_wait(1), signal.SIGINT, 130)
    assert "is damaged" not in training.said
    assert "stopped by SIGINT" in training.said
    steps.append(resumed_at(training.said))

    training.start()
    assert training.result() == whole.result()
    steps.append(resumed_at(training.said))
    assert sorted(set(steps)) == steps, "each process went on where the one before it had saved"
    epoch = -(-ROWS // SETTINGS["batch_size"])
    assert any(step % epoch for step in steps), steps
    assert "force=True" in refusal(training.data, training.run, config)


def children_of(process: int) -> list[int]:
    """The processes that a process has started, and that run."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for one in tasks for child in one.read_text(encoding="ascii").split()]


def until(true: Callable[[], Any]) -> None:
    """Wait for something that two processes do, each of which loads torch."""
    end = time.monotonic() + 5 * PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_processes_that_share_each_batch_are_killed_and_resumed(data: Path, tmp_path: Path) -> None:
    """Either process is killed, before the second one is ready or later; the bits are those of a
    training that nobody disturbed, and nothing is left behind."""
    draw = random.Random(5)
    shared: dict[str, Any] = {"workers": 2, "threads": 0, "epochs": 4}
    whole, training = (Training(data, tmp_path / name) for name in ("whole", "run"))
    try:
        whole.start(**shared, save_seconds=30)
        for victim in ("worker", "parent", "parent"):
            saves = training.saves() + draw.randint(1, 3)
            process = training.start(**shared)
            until(lambda: children_of(process.pid) or process.poll() is not None)  # noqa: B023
            worker = children_of(process.pid)[0]
            until(lambda: training.saves() >= saves or process.poll() is not None)  # noqa: B023
            if process.poll() is not None:  # it came to its end first
                break
            os.kill(worker if victim == "worker" else process.pid, signal.SIGKILL)
            code = process.wait(PATIENCE)
            until(lambda: not Path(f"/proc/{worker}").exists())  # noqa: B023
            if victim == "worker" and code:
                assert code == 1
                assert training.said.split("\n")[-2] == (
                    "charseq: error: process 2 of 2 was ended by SIGKILL; the same training goes "
                    "on from what is saved"
                )
        if process.returncode:
            config = configure({**SETTINGS, **shared, "workers": 3})
            assert "was begun with workers = 2, now it is 3" in refusal(data, training.run, config)
            training.start(**shared)
        until(lambda: None not in (training.processes[-1].poll(), whole.processes[0].poll()))
        ends = [(one.run / "model.safetensors").read_bytes() for one in (whole, training)]
        assert ends[0] == ends[1], training.said
        assert all(
            checkpoint.read_json(one.run, "about.json")["finished"] for one in (whole, training)
        )
    finally:
        whole.end()
        training.end()


def test_seconds_of_all_processes_count_against_the_minutes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every reading of the training takes the clock 0.1 s further, a minute passes between calls.

    The clock's own thread reads it as often as the machine is slow, which takes it nowhere.
    """
    now = [1000.0]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            if threading.current_thread() is threading.main_thread():
                now[0] += 0.1
            return now[0]

        process_time = monotonic

    monkeypatch.setattr(charseq_process, "time", Clock)
    config = configure({**SETTINGS, "epochs": 0, "minutes": 0.3, "evaluations": 6})
    spent: list[float] = []

    def interrupt(line: str) -> None:
        if "dev exact" in line:
            os.kill(os.getpid(), signal.SIGTERM)

    for _ in range(3):
        with pytest.raises(Interrupted):
            train.train(data, run=tmp_path / "run", config=config, report=interrupt)
        training = Training(data, tmp_path / "run")
        slot, _ = max(training.states().items(), key=lambda pair: pair[1])
        note = checkpoint.read_json(tmp_path / "run", f"resume.{slot}.json")
        spent.append(note["progress"]["seconds"])
        now[0] += 60.0
    assert 0 < spent[0] < spent[1] < spent[2] < 18
    lines: list[str] = []
    facts = train.train(data, run=tmp_path / "run", config=config, report=lines.append)
    assert any(line.endswith(f", {spent[2]:.0f} s spent") for line in lines)
    assert facts["seconds"] == pytest.approx(18, abs=1)


def check_other_training_is_refused(training: Training, changed: Path) -> None:
    """Other settings or other data, and the folder is as it was."""
    before = snapshot(training.run)
    other = refusal(training.data, training.run, configure({**SETTINGS, "dropout": 0.2}))
    assert "was begun with dropout = 0.3, now it is 0.2" in other
    shutil.copytree(training.data, changed)
    with (changed / "train.tsv").open("a", encoding="utf-8") as file:
        file.write("abc\tcba\n")
    assert "was begun on other data" in refusal(changed, training.run, configure(SETTINGS))
    assert snapshot(training.run) == before


def kill(process: subprocess.Popen[bytes], delay: float) -> None:
    time.sleep(delay)
    process.kill()
    assert process.wait(PATIENCE) == -signal.SIGKILL


def stop(process: subprocess.Popen[bytes], number: signal.Signals, code: int) -> None:
    """Asked to stop, it does so within five seconds."""
    process.send_signal(number)
    assert process.wait(60) == code


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-len(content) // 3] ^= 0x10
    path.write_bytes(content)
