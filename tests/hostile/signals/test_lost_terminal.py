"""A terminal that is closed, a stderr that cannot be written: what was learnt is not lost."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from toy_pairs import TINY, reversed_words

from charseq.runs import folder as checkpoint

ROOT = Path(__file__).parents[3]
SMALL = {**TINY, "evaluations": 20}
PATIENCE = 120.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reversed_words(tmp_path_factory.mktemp("toy"))


def start(
    data: Path, run: Path, before: tuple[str, ...] = (), *, stderr: Any, **settings: Any
) -> subprocess.Popen[bytes]:
    words = [f"--set={name}={value}" for name, value in {**SMALL, **settings}.items()]
    return subprocess.Popen(
        [*before, sys.executable, "-m", "charseq", "train", str(data), "-o", str(run), *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def begun(run: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not (run / "resume.a.json").exists():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_reader_of_stderr_that_ends_ends_no_training(data: Path, tmp_path: Path) -> None:
    """As ``2>&1 | head`` does: every later line is a broken pipe."""
    reader, writer = os.pipe()
    training = start(data, tmp_path / "run", stderr=writer, epochs=40, save_seconds=0)
    os.close(writer)
    begun(tmp_path / "run")
    os.close(reader)
    assert training.wait(PATIENCE) == 0
    assert checkpoint.is_finished(tmp_path / "run")


def test_a_full_disk_below_stderr_ends_no_training(data: Path, tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        training = start(data, tmp_path / "run", stderr=full, epochs=5)
    assert training.wait(PATIENCE) == 0
    assert checkpoint.is_finished(tmp_path / "run")


def test_a_fault_without_stderr_keeps_its_exit_code(data: Path, tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        assert start(data, tmp_path / "run", stderr=full, cell="none").wait(PATIENCE) == 2
        assert start(tmp_path / "none", tmp_path / "run", stderr=full).wait(PATIENCE) == 1


def test_a_closed_terminal_ends_the_bar_and_not_the_training(data: Path, tmp_path: Path) -> None:
    """Without SIGHUP (another session), writing to the terminal is an input/output error."""
    master, terminal = pty.openpty()
    training = start(data, tmp_path / "run", stderr=terminal, epochs=40, save_seconds=0)
    os.close(terminal)
    seen = b""
    while b" epoch " not in seen:  # a bar, not only the lines of evaluations
        seen += os.read(master, 100_000)
    os.close(master)
    assert training.wait(PATIENCE) == 0
    assert checkpoint.is_finished(tmp_path / "run")


def test_sighup_saves_and_ends(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    training = start(data, run, stderr=subprocess.PIPE, epochs=20_000, save_seconds=0.05)
    begun(run)
    training.send_signal(signal.SIGHUP)
    said = training.communicate(timeout=PATIENCE)[1].decode()
    assert training.returncode == 129, said
    assert "stopped by SIGHUP after step" in said
    assert any(name.startswith("resume.") for name in checkpoint.names(run))


def test_nohup_goes_on(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    training = start(data, run, ("nohup",), stderr=subprocess.DEVNULL, epochs=40, save_seconds=0)
    begun(run)
    training.send_signal(signal.SIGHUP)
    assert training.wait(PATIENCE) == 0
    assert checkpoint.is_finished(run)
