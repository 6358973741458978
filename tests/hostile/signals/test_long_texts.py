"""Texts that take minutes: every command ends within a second of a signal, in one line.

A command is known to compute by the processor time that it has used, never by a sleep.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DATES, SENTENCES = ROOT / "checkpoints/dates", ROOT / "checkpoints/sentences"
PROMISED = 1.0
SLACK = 1.5
"""Seconds for a busy machine: starting to handle the signal, and the end of Python."""
PATIENCE = 60.0
LINES = {
    signal.SIGINT: "charseq: interrupted",
    signal.SIGTERM: "charseq: terminated",
    signal.SIGHUP: "charseq: terminal closed",
}
TICKS = os.sysconf("SC_CLK_TCK")

Start = Callable[..., "subprocess.Popen[str]"]


def stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; none for a process that has ended."""
    try:
        found = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [] if found[0] == "Z" else found


def children(pid: int) -> list[int]:
    found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [one for one in found if stat(one)[1:2] == [str(pid)]]


def wait_until(holds: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    end = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(0.02)
    return held


def wait_for_work(pid: int, seconds: float) -> None:
    """Return when a process has used so many seconds of a processor."""

    def worked() -> bool:
        fields = stat(pid)
        assert fields, "the process has ended before it was to be ended"
        return (int(fields[11]) + int(fields[12])) / TICKS >= seconds

    assert wait_until(worked)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ``charseq WORDS``, with its stdin; the process is gone after the test."""
    begun: list[subprocess.Popen[str]] = []

    def run(*words: object, text: str = "", kernels: str = "auto") -> subprocess.Popen[str]:
        given = tmp_path / "stdin.txt"
        given.write_text(text, encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CHARSEQ_KERNELS": kernels}
        with given.open(encoding="utf-8") as stdin:
            process = subprocess.Popen(
                [sys.executable, "-m", "charseq", *map(str, words)],
                stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                cwd=tmp_path, env=environment,
            )  # fmt: skip
        begun.append(process)
        return process

    yield run
    for process in begun:
        process.kill()
        process.communicate()


def check_end(process: subprocess.Popen[str], number: signal.Signals) -> list[str]:
    """Send a signal; the process and its children end in time. The lines of its stderr."""
    workers = children(process.pid)
    begun = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    spent = time.monotonic() - begun
    assert process.returncode == 128 + number, said
    assert spent < PROMISED + SLACK, said
    assert not any(map(stat, workers))
    assert "Traceback" not in said
    return list(filter(None, said.splitlines()))  # click ends the line of ^C


def long_text(length: int, number: int = 0) -> str:
    return f"{number} " + "3. März 2021 " * (length // 13)


@pytest.mark.parametrize(("number", "kernels"), [(signal.SIGTERM, "auto"), (signal.SIGINT, "off")])
def test_predict_of_a_long_text(start: Start, number: signal.Signals, kernels: str) -> None:
    process = start("predict", "-m", DATES, text=long_text(1_000_000), kernels=kernels)
    wait_for_work(process.pid, 2.5)
    assert check_end(process, number)[-1] == LINES[number]


def test_predict_of_arguments(start: Start) -> None:
    texts = [long_text(60_000, number) for number in range(8)]
    process = start("predict", "-m", DATES, "--beam", 10, *texts)
    wait_for_work(process.pid, 1.5)
    assert check_end(process, signal.SIGINT) == [LINES[signal.SIGINT]]


def test_score_of_a_long_line(start: Start) -> None:
    process = start("score", "-m", SENTENCES, text="ein Satz " * 200_000)
    wait_for_work(process.pid, 2.0)
    assert check_end(process, signal.SIGINT) == [LINES[signal.SIGINT]]


def test_next_word_of_a_long_line(start: Start) -> None:
    process = start("predict", "-m", SENTENCES, text="ein Satz " * 500_000)
    wait_for_work(process.pid, 2.0)
    assert check_end(process, signal.SIGTERM) == [LINES[signal.SIGTERM]]


def write_lines(path: Path) -> None:
    """Some seconds of work for the first process alone, then minutes for all."""
    lengths = [800] * 256 + [100_000] * 64
    lines = [long_text(length, row) for row, length in enumerate(lengths)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_convert_keeps_its_journal_and_leaves_no_worker(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    source = tmp_path / "a.txt"
    write_lines(source)
    process = start("convert", source, "-m", DATES, "--jobs", 2, "-o", tmp_path / "b.txt")
    assert wait_until(lambda: len(children(process.pid)) == 1)
    wait_for_work(children(process.pid)[0], 1.5)
    assert check_end(process, number)[-1] == LINES[number]
    assert not (tmp_path / "b.txt").exists()
    hidden = [path.suffix for path in tmp_path.iterdir() if path.name.startswith(".charseq-")]
    assert hidden == [".journal"], "and neither a part file nor a lock"


def test_nohup_keeps_a_conversion_alive(start: Start, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("\n".join(long_text(20_000, row) for row in range(40)), encoding="utf-8")
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does for its command
    try:
        process = start("convert", source, "-m", DATES, "--jobs", 1, "-o", tmp_path / "b.txt")
    finally:
        signal.signal(signal.SIGHUP, ignored)
    wait_for_work(process.pid, 0.7)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=PATIENCE)
    assert (process.returncode, (tmp_path / "b.txt").exists()) == (0, True)


def test_a_search_ends_before_its_first_trial(start: Start, tmp_path: Path) -> None:
    """While its data are read there is nothing to save; the line and the code are there."""
    data = tmp_path / "data"
    data.mkdir()
    rows = "".join(f"{row} {'abc' * 20}\t{'cba' * 20}\n" for row in range(400_000))
    (data / "train.tsv").write_text(f"source\ttarget\n{rows}", encoding="utf-8")
    process = start("tune", data, "-o", tmp_path / "run", "--trials", 2, "--epochs", 1, "-q")
    wait_for_work(process.pid, 1.0)
    assert check_end(process, signal.SIGHUP)[-1] == LINES[signal.SIGHUP]
    assert not (tmp_path / "run").exists()


def test_a_worker_ends_with_a_parent_that_is_killed(start: Start, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    write_lines(source)
    process = start("convert", source, "-m", DATES, "--jobs", 2, "-o", tmp_path / "b.txt")
    assert wait_until(lambda: len(children(process.pid)) == 1)
    (worker,) = children(process.pid)
    wait_for_work(worker, 1.5)
    process.kill()
    process.wait()
    assert wait_until(lambda: not stat(worker), PROMISED + SLACK)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_evaluate_on_long_texts(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    rows = [f"{long_text(60_000, row)}\t2021-03-03\n" for row in range(16)]
    data = tmp_path / "rows.tsv"
    data.write_text("source\ttarget\n" + "".join(rows), encoding="utf-8")
    process = start("evaluate", data, "-m", DATES)
    wait_for_work(process.pid, 2.0)
    assert check_end(process, number)[-1] == LINES[number]


def test_check_of_a_long_line(start: Start, tmp_path: Path) -> None:
    data = tmp_path / "rows.tsv"
    rows = f"{'abcdefghij klm' * 700_000}\t{'xyz' * 1_500_000}\na\tb\nb\tc\nd\te\n"
    data.write_text("source\ttarget\n" + rows, encoding="utf-8")
    process = start("check", data)
    wait_for_work(process.pid, 0.4)
    assert check_end(process, signal.SIGINT)[-1] == LINES[signal.SIGINT]


def test_training_with_a_long_dev_row(start: Start, tmp_path: Path) -> None:
    """The signal comes during the evaluation, which alone takes longer than the training."""
    data = tmp_path / "data"
    data.mkdir()
    rows = [f"{word}\t{word[::-1]}\n" for word in ("abc", "bca", "cab", "acb", "cba", "bac")]
    (data / "train.tsv").write_text("source\ttarget\n" + "".join(rows), encoding="utf-8")
    dev = "source\ttarget\n" + "".join(f"{'abc' * (200_000 + n)}\tx\n" for n in range(8))
    (data / "dev.tsv").write_text(dev, encoding="utf-8")
    process = start(
        "train", data, "-o", tmp_path / "run", "--epochs", 1, "--set", "attention=soft",
        "--threads", 1, "--quiet",
    )  # fmt: skip
    wait_for_work(process.pid, 6.0)
    assert "stopped by SIGTERM" in check_end(process, signal.SIGTERM)[-1]
