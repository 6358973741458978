"""Members of an ensemble: trained side by side, stopped together, gone on with, made one run."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from world import write_capitals

from charseq.config import Config, configure
from charseq.decoding.ensemble import member_of, part
from charseq.errors import CheckpointError, SettingError, TrainingError, UsageError
from charseq.evaluation import evaluate
from charseq.gradients import study
from charseq.inference import describe
from charseq.inference.predictor import PairsModel, load
from charseq.runs import folder as checkpoint
from charseq.training import averaging, ensemble, train
from charseq.training.ensemble import Job, available_memory, slots
from charseq.training.pairs import PairsTask

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
MANY = 20_000  # that take too long


def config_of(**settings: Any) -> Config:
    small = {
        "epochs": 2, "device": "cpu", "precision": "float32", "hidden": 12, "embedding": 6,
        "batch_size": 8, "evaluations": 2, "learning_rate": 0.01, "beam": 2, "ensemble": 2,
        "task": "pairs", "save_seconds": 0.05,
    }  # fmt: skip
    return configure({**small, **settings})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(1)
    words = list(dict.fromkeys("".join(draw.choices("abc", k=4)) for _ in range(70)))
    folder = tmp_path_factory.mktemp("members") / "upper"
    return write_capitals(folder, dev=words[:8], train=words[8:])


def sha256(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def start(data: Path, run: Path, **settings: Any) -> subprocess.Popen[str]:
    """The command as a process of its own; its lines come through stderr."""
    told = [
        f"--set={name}={value}"
        for name, value in config_of(**settings).to_json().items()
        if name != "minutes"
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CHARSEQ_")}
    return subprocess.Popen(
        [sys.executable, "-m", "charseq", "train", str(data), "-o", str(run), *told],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**environment, "PYTHONPATH": str(ROOT)},
        text=True,
    )


def saves(run: Path, number: int) -> int:
    """How often a member has been saved."""
    folder = run / "members" / str(number)
    states = [name for name in checkpoint.names(folder) if name.startswith("resume.")]
    notes = [checkpoint.read_json(folder, name) for name in states if name.endswith(".json")]
    return max((note["progress"]["saves"] for note in notes), default=0)


def saved_since(run: Path, before: list[int]) -> bool:
    """Whether each member has been saved more often than ``before``."""
    return all(saves(run, number) > count for number, count in enumerate(before, 1))


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def writer(run: Path, number: int) -> int:
    """The process that trains a member."""
    return int((run / "members" / str(number) / ".lock").read_text())


# --- one model


LONG: dict[str, Any] = {"epochs": 120, "evaluations": 3, "dropout": 0.3, "cells": "gru,tanh"}
"""A training of a few seconds, long enough to be stopped on its way."""


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What was reported of :func:`whole`."""
    return []


@pytest.fixture(scope="module")
def whole(data: Path, told: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    train.train(data, run=run, config=config_of(**LONG), report=told.append)
    return run


def test_an_ensemble_is_one_run(data: Path, whole: Path) -> None:
    about, weights = checkpoint.load_model(whole)
    assert about["finished"]
    assert [one["cell"] for one in about["members"]] == ["gru", "tanh"]
    assert [one["seed"] for one in about["members"]] == [1, 2]
    assert about["parameters"] == sum(value.size for value in weights.values())
    assert about["epochs"] == LONG["epochs"]
    assert about["settings"] == PairsTask(data, config_of(**LONG)).metadata["settings"]
    assert {path.name for path in whole.iterdir()} == {
        "about.json", "README.md", "model.safetensors", "metrics.jsonl", "manifest.json",
    }  # fmt: skip
    model = load(whole)
    assert isinstance(model, PairsModel)
    assert model.predict(["abca"])[0].candidates
    facts = evaluate.evaluate(data, model=model, split="dev", beam=1)
    assert facts["exact_match"] == pytest.approx(about["scores"]["exact_match"])
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line.get("member") for line in lines] == [1, 1, 1, 2, 2, 2, None]
    assert lines[-1]["exact_match"] == about["scores"]["exact_match"]


def test_people_are_told_of_the_members(whole: Path) -> None:
    facts, lines = describe.info(whole)
    assert facts["shapes"]["members.1.encoder.cells.0.recurrent"] == [12, 12]
    assert (
        sum(line.startswith(("member 1   gru, seed 1, ", "member 2   tanh")) for line in lines) == 2
    )
    assert any("members.1.bridge.weight" in line for line in lines)
    assert "mean of 2 encoder-decoders" in (whole / "README.md").read_text()
    with pytest.raises(UsageError, match="is an ensemble; this shows one network"):
        study.study_run(whole, "abca")
    with pytest.raises(CheckpointError, match="is an ensemble: its members are not averaged"):
        averaging.average([whole], whole.parent / "mean", report=print)


def test_a_member_is_what_a_run_of_its_own_would_be(
    data: Path, whole: Path, tmp_path: Path
) -> None:
    config = config_of(**LONG)
    train.train(data, run=tmp_path / "alone", config=member_of(config, 1))
    about, alone = checkpoint.load_model(tmp_path / "alone")
    assert "members" not in about
    found = part(checkpoint.load_model(whole)[1], 1)
    assert found.keys() == alone.keys()
    assert all(np.array_equal(found[name], alone[name]) for name in alone)


def test_lines_are_the_members(data: Path, whole: Path, told: list[str]) -> None:
    for number in (1, 2):
        assert sum(line.startswith(f"member {number} ") and "dev ex" in line for line in told) == 3
    (begins,) = (at for at, line in enumerate(told) if line.startswith("ensemble   2 members  dev"))
    assert told[begins + 1] == "trained    120.00 epochs a member, 120.00 to 120.00"
    assert told[begins + 2].startswith("verdict    ")
    assert told[-1] == f"kept       {whole}"
    assert not any("kept" in line or "pair 1" in line for line in told if "member" in line)
    with pytest.raises(CheckpointError, match="is finished already"):
        train.train(data, run=whole, config=config_of(**LONG))


def test_the_minutes_are_those_of_the_command(data: Path, tmp_path: Path) -> None:
    """Side by side, or in waves that share them: a wave's clock begins when it is its turn."""
    config = config_of(epochs=0, minutes=0.05, evaluations=1)
    train.train(data, run=tmp_path / "run", config=config)
    about = checkpoint.load_model(tmp_path / "run")[0]
    for member in about["members"]:
        assert member["seconds"] >= 3
        assert member["epochs"] > 0
    assert about["seconds"] >= max(member["seconds"] for member in about["members"])
    pattern = Job("data", "run", config.to_json())
    jobs = ensemble._jobs(pattern, config_of(epochs=0, minutes=6.0, ensemble=5), 2)
    assert [job.number for job in jobs] == [0, 1, 2, 3, 4]
    assert {job.config["minutes"] for job in jobs} == {2.0}
    assert {job.config["minutes"] for job in ensemble._jobs(pattern, config, 2)} == {0.05}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cells": "gru,mlp"}, "cells has 'mlp'"),
        ({"keep": 2}, "keep_checkpoints is for single runs"),
        ({"task": "next-word"}, "ensembles are for pairs"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(
    settings: dict[str, Any], said: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=said):
        train.train(data, run=tmp_path / "run", config=config_of(**settings))
    assert not (tmp_path / "run").exists()


def test_an_ensemble_is_no_start_and_starts_from_one_cell(
    data: Path, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match="is an ensemble, its members' weights are no start"):
        train.train(data, run=tmp_path / "a", config=config_of(ensemble=1), init_from=whole)
    config = config_of(cells="gru,lstm")
    with pytest.raises(SettingError, match="members of several cells cannot start"):
        train.train(data, run=tmp_path / "b", config=config, init_from=tmp_path / "none")


# --- stopping and going on


def test_a_signal_stops_and_saves_all_and_the_same_command_goes_on(
    data: Path, whole: Path, tmp_path: Path
) -> None:
    """The result has the bits of a training that was not stopped.

    SIGINT takes the same way (``process.catch_signals``); stops one after the other are tested with
    a single network, in end_to_end/test_resume.py.
    """
    run = tmp_path / "run"
    before = [saves(run, 1), saves(run, 2)]
    process = start(data, run, **LONG)
    wait(partial(saved_since, run, before))
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 128 + signal.SIGTERM, said
    last = said.strip().split("\n")[-1]
    assert last.startswith("charseq: error: stopped by SIGTERM; what was learnt is in ")
    lines: list[str] = []
    train.train(data, run=run, config=config_of(**LONG), report=lines.append)
    assert any(" resume     at step " in line for line in lines)
    assert sha256(run) == sha256(whole)
    assert not (run / "members").exists()


def test_a_killed_member_is_named_and_the_others_are_saved(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(data, run, epochs=MANY)
    wait(lambda: min(saves(run, 1), saves(run, 2)) >= 2)
    before = saves(run, 1)
    os.kill(writer(run, 2), signal.SIGKILL)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 1
    assert said.strip().split("\n")[-1] == (
        "charseq: error: member 2 was ended by SIGKILL; "
        "the same training goes on from what is saved"
    )
    assert saves(run, 1) > before
    with pytest.raises(CheckpointError, match="was begun with epochs = 20000, now it is 3"):
        train.train(data, run=run, config=config_of(epochs=3))


def test_members_whose_command_is_killed_save_and_end(data: Path, tmp_path: Path) -> None:
    """They end by themselves, with a save that was not due yet; the folder can be used again."""
    run = tmp_path / "run"
    process = start(data, run, epochs=MANY, save_seconds=2)
    wait(lambda: min(saves(run, 1), saves(run, 2)) >= 1)
    before = [saves(run, 1), saves(run, 2)]
    orphans = [writer(run, 1), writer(run, 2)]
    process.kill()
    process.communicate(timeout=PATIENCE)
    wait(lambda: not any(Path(f"/proc/{orphan}").exists() for orphan in orphans))
    assert saved_since(run, before)
    assert not any((run / "members" / name / ".lock").exists() for name in "12")
    with pytest.raises(CheckpointError, match="was begun with epochs = 20000, now it is 3"):
        train.train(data, run=run, config=config_of(epochs=3, save_seconds=2))


# --- processes


FAKE = """
import json, os, pathlib, signal, sys, time
main = lambda: 0
job = json.loads(sys.stdin.readline())
mark = pathlib.Path(job["run"]) / str(job["number"])
mark.write_text(str(time.monotonic()))
say = lambda **message: print(json.dumps(message), flush=True)
{body}
mark.with_suffix(".end").write_text(str(time.monotonic()))
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Callable[..., Any]]:
    """A function from the body of a worker, in Python, to a function that starts several."""

    def make(body: str) -> Callable[..., Any]:
        (tmp_path / "stand_in.py").write_text(FAKE.format(body=body))
        monkeypatch.setattr(ensemble, "WORKER", "stand_in")
        monkeypatch.syspath_prepend(tmp_path)

        def work(count: int, side_by_side: int, **options: Any) -> list[str]:
            lines: list[str] = []
            jobs = [Job("data", str(tmp_path), {}, number) for number in range(count)]
            told = {"stop": lambda: None, "tick": lambda: None, "report": lines.append, **options}
            ensemble.work(jobs, side_by_side, lambda: 0.0, **told)
            return lines

        return work

    return make


def test_no_more_than_so_many_work_at_a_time(
    fake: Callable[[str], Callable[..., Any]], tmp_path: Path
) -> None:
    work = fake("say(say=f'hello {job[\"number\"]}'); print('noise'); time.sleep(0.2)")
    assert sorted(work(5, 2)) == [f"member {n + 1}   hello {n}" for n in range(5)]
    begun = [float((tmp_path / str(n)).read_text()) for n in range(5)]
    ended = [float((tmp_path / f"{n}.end").read_text()) for n in range(5)]
    for moment in begun:
        assert sum(a <= moment < b for a, b in zip(begun, ended, strict=True)) <= 2
    assert any(begun[a] < begun[b] < ended[a] for a in range(5) for b in range(5) if a != b), (
        "two at a time"
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "if job['number']: say(fault='the loss is lost'); sys.exit(1)\ntime.sleep(9)",
            "member 2: the loss is lost",
        ),
        (
            "if job['number']: os.kill(os.getpid(), 9)\ntime.sleep(9)",
            "member 2 was ended by SIGKILL; the same training goes on from what is saved",
        ),
        (
            "if job['number']: raise MemoryError('no more')\ntime.sleep(9)",
            "member 2 failed: MemoryError: no more; the same training goes on from what is saved",
        ),
        ("if job['number']: os.close(1); sys.exit(3)\ntime.sleep(9)", "member 2 failed: "),
    ],
)
def test_a_fault_of_one_stops_the_others(
    body: str, said: str, fake: Callable[[str], Callable[..., Any]], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError) as caught:
        fake(body)(2, 2)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "0.end").exists()


def test_who_does_not_stop_is_killed(
    fake: Callable[[str], Callable[..., Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensemble, "GRACE", 0.3)
    work = fake("signal.signal(15, signal.SIG_IGN); say(say='deaf'); time.sleep(30)")
    seen: list[str] = []
    begun = time.monotonic()
    work(1, 1, report=seen.append, stop=lambda: bool(seen))
    assert time.monotonic() - begun < 10
    assert seen == ["member 1   deaf"]
    assert not (tmp_path / "0.end").exists()


# --- how many at a time


def memory(root: Path, available: str, most: str = "", current: str = "") -> Path:
    (root / "proc").mkdir()
    (root / "proc" / "meminfo").write_text(f"MemTotal: 9 kB\n{available}\nBuffers: 1 kB\n")
    if most:
        (root / "sys/fs/cgroup").mkdir(parents=True)
        (root / "sys/fs/cgroup/memory.max").write_text(most)
        (root / "sys/fs/cgroup/memory.current").write_text(current)
    return root


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (("MemAvailable: 5000 kB",), 5000 * 1024),
        (("MemAvailable: 5000 kB", "3000000", "1000000"), 2_000_000),
        (("MemAvailable: 5000 kB", "max", "1000000"), 5000 * 1024),
        (("MemAvailable: 5000 kB", "10", "20"), 0),
        (("Nothing: 5",), None),
    ],
)
def test_memory_is_the_machines_or_the_containers(
    told: tuple[str, ...], expected: int | None, tmp_path: Path
) -> None:
    assert available_memory(memory(tmp_path, *told)) == expected
    assert available_memory(tmp_path / "none") is None


def test_as_many_at_a_time_as_the_clock_the_cores_and_memory_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ensemble, "cores", lambda: 2)
    monkeypatch.setattr(ensemble, "available_memory", lambda: 1000)
    assert slots(8, clocked=True, need=100) == 8
    assert slots(8, clocked=True, need=300) == 3
    assert slots(8, clocked=False, need=300) == 2
    assert slots(1, clocked=False, need=300) == 1
    assert slots(8, clocked=True, need=5000) == 1
    monkeypatch.setattr(ensemble, "available_memory", lambda: None)
    assert slots(8, clocked=True, need=5000) == 8
