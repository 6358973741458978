"""A member's process: a job comes in on stdin, lines of JSON go out, and an orphan ends itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from charseq.config import configure
from charseq.runs import folder as checkpoint
from charseq.training.ensemble import Job

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


def job_of(folder: Path, **settings: Any) -> Job:
    (folder / "data").mkdir()
    words = [f"{a}{b}{c}" for a in "abc" for b in "abc" for c in "abc"]
    for name, rows in (("dev", words[:4]), ("train", words[4:])):
        text = "".join(f"{word}\t{word.upper()}\n" for word in rows)
        (folder / "data" / f"{name}.tsv").write_text(text)
    small = {
        "epochs": 1, "device": "cpu", "precision": "float32", "hidden": 8, "embedding": 4,
        "batch_size": 8, "evaluations": 1, "ensemble": 2, "task": "pairs", "save_seconds": 0.01,
    }  # fmt: skip
    config = configure({**small, **settings}).to_json()
    return Job(str(folder / "data"), str(folder / "run"), config, number=1)


def start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "charseq.training.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def tell(process: subprocess.Popen[str], job: Job) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(job)) + "\n")
    process.stdin.flush()


def test_a_job_is_done(tmp_path: Path) -> None:
    job, process = job_of(tmp_path), start()
    tell(process, job)
    assert process.stdout is not None
    lines = [json.loads(line) for line in process.stdout]
    assert process.wait(PATIENCE) == 0
    process.communicate()
    assert ["dev exact" in line["say"] for line in lines] == [True]
    folder = tmp_path / "run" / "members" / "2"
    assert checkpoint.is_finished(folder)
    about = checkpoint.read_json(folder, "about.json")
    assert (about["settings"]["seed"], about["settings"]["ensemble"]) == (2, 1)


def test_a_fault_is_one_line(tmp_path: Path) -> None:
    job, process = job_of(tmp_path), start()
    (tmp_path / "data" / "train.tsv").write_text("no columns\n")
    tell(process, job)
    assert process.stdout is not None
    (line,) = process.stdout
    assert "train.tsv:1: 1 column, expected source and target" in json.loads(line)["fault"]
    assert process.wait(PATIENCE) == 1
    assert process.communicate()[1] == ""


def test_an_orphan_saves_and_ends(tmp_path: Path) -> None:
    job, process = job_of(tmp_path, epochs=20_000, evaluations=1000), start()
    tell(process, job)
    assert process.stdout is not None
    assert "say" in json.loads(process.stdout.readline())
    process.communicate(timeout=PATIENCE)  # closes stdin
    assert process.returncode == 143
    folder = tmp_path / "run" / "members" / "2"
    assert any(name.startswith("resume.") for name in checkpoint.names(folder))
    assert not (folder / ".lock").exists()


def test_nothing_to_do(tmp_path: Path) -> None:
    process = start()
    assert process.communicate("", timeout=PATIENCE) == ("", "")
    assert process.returncode == 2
