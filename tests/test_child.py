"""A module of ours as a process: it is told, it is heard, and its end has a reason."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from charseq.child import Child, cores


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Child:
    """A module with this body, after the package that is found beside it."""
    (tmp_path / "told.py").write_text(f"import os, sys, time, charseq\n{body}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Child("told")


def test_it_hears_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = run(tmp_path, monkeypatch, "for line in sys.stdin: sys.stdout.write(line)")
    child.tell({"text": "ß\n"})
    assert child.process.stdin is not None
    child.process.stdin.close()
    assert child.process.stdout is not None
    with child.process.stdout as pipe:
        assert pipe.read() == b'{"text": "\\u00df\\n"}\n'
    assert [child.end(), child.end()] == ["", ""]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("sys.exit('first\\nno space left')", "failed: no space left"),
        ("sys.exit(3)", "failed: "),
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("pass", ""),
    ],
)
def test_its_end_has_a_reason(
    body: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = run(tmp_path, monkeypatch, body)
    assert child.process.stdout is not None
    child.process.stdout.close()
    assert [child.end(), child.end()] == [why, why]
    with pytest.raises((BrokenPipeError, ValueError)):
        child.tell({})


def test_who_does_not_end_in_time_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True)"
    child = run(tmp_path, monkeypatch, f"{deaf}; time.sleep(60)")
    assert child.process.stdout is not None
    with child.process.stdout as pipe:
        assert pipe.readline() == b"deaf\n"
    child.process.terminate()
    begun = time.monotonic()
    child.wait(0.2)
    assert child.end() == f"was ended by {signal.SIGKILL.name}"
    assert 0.2 <= time.monotonic() - begun < 20


def test_it_is_out_of_reach_of_the_terminals_signals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = run(tmp_path, monkeypatch, "print(os.getpgid(0) == os.getpid(), flush=True)")
    assert child.process.stdout is not None
    with child.process.stdout as pipe:
        assert pipe.read() == b"True\n"
    assert child.end() == ""


def test_there_is_a_core() -> None:
    assert cores() >= 1
