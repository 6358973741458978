"""A module as a child process: JSON goes in and out, its end has a reason, nothing shadows it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import charseq
from charseq.child import ChildProcess, cores, terminate

PACKAGE = Path(charseq.__file__).parent


@pytest.fixture(autouse=True)
def _paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)


def start(folder: Path, body: str) -> ChildProcess:
    """A child whose main() is ``body``."""
    lines = body.replace("\n", "\n    ")
    program = f"import os, signal, sys, time, charseq\ndef main():\n    {lines}\n    return 0\n"
    (folder / "stand_in.py").write_text(program)
    return ChildProcess("stand_in")


def test_messages_go_in_and_out(tmp_path: Path) -> None:
    child = start(tmp_path, "for line in sys.stdin: sys.stdout.write(line)")
    child.send({"text": "ß\n\ud800"})
    assert child.receive() == {"text": "ß\n\ud800"}
    assert child.process.stdin is not None
    child.process.stdin.close()
    assert child.receive() is None
    assert [child.end(), child.end()] == ["", ""]


def test_dataclasses_go_to_the_parent_and_other_lines_are_skipped(tmp_path: Path) -> None:
    child = start(
        tmp_path,
        "from charseq.child import send_to_parent\n"
        "from charseq.inference.prediction import Candidate\n"
        "print('noise'); print(3, flush=True)\n"
        "send_to_parent({'best': [Candidate('b', 1 / 3, -1e-17)]})\n"
        "print('{\"half\": ', end='')",
    )
    assert child.receive() == {"best": [["b", 1 / 3, -1e-17, "model"]]}
    assert child.receive() is None
    assert child.end() == ""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit('first\\nno space left')", "failed: no space left"),
        ("sys.exit(3)", "failed: "),
        ("return 3", "failed: "),
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("pass", ""),
    ],
)
def test_its_end_has_a_reason(body: str, reason: str, tmp_path: Path) -> None:
    child = start(tmp_path, body)
    assert child.receive() is None
    child.process.wait()
    child.send({"text": "x" * 100_000})  # nobody reads it
    assert [child.end(), child.end()] == [reason, reason]
    child.send({})
    assert child.receive() is None


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_child_that_does_not_stop_in_time_is_killed(
    interrupted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or at once, where a second Ctrl-C comes while the parent waits."""
    deaf = "signal.signal(15, signal.SIG_IGN); print('{}', flush=True); time.sleep(60)"
    children = [start(tmp_path, deaf) for _ in range(2)]
    assert [child.receive() for child in children] == [{}, {}]
    begun = time.monotonic()
    if interrupted:

        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(children[0].process, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            terminate(children, 30.0)
        monkeypatch.undo()
    else:
        terminate(children, 0.2)
        assert time.monotonic() - begun >= 0.2
    reasons = [child.end() for child in children]
    assert reasons == [f"was ended by {signal.SIGKILL.name}"] * 2
    assert time.monotonic() - begun < 20


def test_signals_of_the_terminal_do_not_reach_it(tmp_path: Path) -> None:
    child = start(tmp_path, "print('{}' if os.getpgid(0) == os.getpid() else '', flush=True)")
    assert child.receive() == {}
    assert child.end() == ""


def test_nothing_beside_the_package_hides_the_standard_library(tmp_path: Path) -> None:
    """Old back-ports lie in site-packages, and the working folder has files of any name."""
    site, work = tmp_path / "site-packages", tmp_path / "work"
    site.mkdir()
    work.mkdir()
    (site / "charseq").symlink_to(PACKAGE)
    for name in ("pathlib", "enum", "typing", "dataclasses", "pickle", "json"):
        for folder in (site, work):
            (folder / f"{name}.py").write_text("raise ImportError('an old back-port')")
    (site / "told.py").write_text(
        "import charseq, dataclasses, enum, json, pathlib, pickle, sys, typing\n"
        "def main():\n    print(json.dumps({'from': charseq.__file__})); return 0\n"
    )
    program = (
        f"import sys; sys.path.append({str(site)!r})\n"
        "from charseq.child import ChildProcess; child = ChildProcess('told')\n"
        "print(child.receive(), child.end())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", program],  # -S: charseq is found in that folder alone
        cwd=work, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == f"{{'from': '{site / 'charseq' / '__init__.py'}'}} \n", done.stderr


def test_a_child_has_the_package_of_its_parent(tmp_path: Path) -> None:
    """Even where the parent found it in a folder that it has left since."""
    program = (
        f"import os, sys; os.chdir({str(PACKAGE.parent)!r}); sys.path.insert(0, '')\n"
        "from charseq.child import ChildProcess; os.chdir('/')\n"
        f"sys.path.append({str(tmp_path)!r})\n"
        "child = ChildProcess('told'); print(child.receive(), child.end())"
    )
    (tmp_path / "told.py").write_text(
        "import charseq, charseq.errors as one\n"
        'def main():\n    print(\'{"from": "%s"}\' % one.__file__); return 0\n'
    )
    other = tmp_path / "charseq"
    other.mkdir()
    (other / "__init__.py").write_text("raise ImportError('another version')")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", program],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == f"{{'from': '{PACKAGE / 'errors.py'}'}} \n", done.stderr


def test_there_is_a_core() -> None:
    assert cores() >= 1
