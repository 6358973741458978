"""Worker process of a member: a job on stdin, reports on stdout, and it ends with its parent."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from charseq.config import configure
from charseq.process import ChildProcess
from charseq.runs import folder as checkpoint
from charseq.training.ensemble import Job

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


def start(job: Job | None = None) -> ChildProcess:
    child = ChildProcess("charseq.training.worker")
    if job is not None:
        child.send(asdict(job))
    return child


def test_a_job_is_done(tmp_path: Path) -> None:
    worker = start(job_of(tmp_path))
    message = worker.receive()
    assert message is not None
    assert "dev exact" in message["say"]
    assert worker.receive() is None
    assert worker.end() == ""
    folder = tmp_path / "run" / "members" / "2"
    assert checkpoint.is_finished(folder)
    about = checkpoint.read_json(folder, "about.json")
    assert (about["settings"]["seed"], about["settings"]["ensemble"]) == (2, 1)


def test_a_fault_is_one_line(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    (tmp_path / "data" / "train.tsv").write_text("no columns\n")
    worker = start(job)
    message = worker.receive()
    assert message is not None
    assert "train.tsv:1: 1 column, expected source and target" in message["fault"]
    assert worker.receive() is None
    assert worker.end() == "failed: "  # nothing on stderr
    assert worker.process.returncode == 1


def test_a_worker_whose_parent_has_ended_saves_and_ends(tmp_path: Path) -> None:
    worker = start(job_of(tmp_path, epochs=20_000, evaluations=1000))
    assert "say" in (worker.receive() or {})
    assert worker.process.stdin is not None
    worker.process.stdin.close()
    worker.process.wait(PATIENCE)
    worker.end()
    assert worker.process.returncode == 143
    folder = tmp_path / "run" / "members" / "2"
    assert any(name.startswith("resume.") for name in checkpoint.names(folder))
    assert not (folder / ".lock").exists()


def test_nothing_to_do() -> None:
    worker = start()
    assert worker.process.stdin is not None
    worker.process.stdin.close()
    assert worker.receive() is None
    assert worker.end() == "failed: "
    assert worker.process.returncode == 2
