"""Threads and memory of a process, its signals, and modules as child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import charseq
from charseq import process
from charseq.process import (
    ChildProcess,
    SignalReceived,
    TimeLimitReached,
    catch_signals,
    cores,
    terminate,
    time_limit,
)

PACKAGE = Path(charseq.__file__).parent

NAMES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def test_inference_uses_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    process.prepare_inference()
    assert [os.environ[name] for name in NAMES] == ["1", "1", "1"]


def test_variables_that_the_user_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "3")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    process.prepare_inference()
    process.prepare_training()
    assert [os.environ[name] for name in NAMES] == ["3", "3", "3"]
    assert os.environ["GOMP_SPINCOUNT"] == "7"


def test_idle_threads_of_training_soon_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", *NAMES):
        monkeypatch.delenv(name, raising=False)
    process.prepare_training()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"  # scoring; torch keeps its threads
    assert "OMP_NUM_THREADS" not in os.environ
    assert 1000 <= int(os.environ["GOMP_SPINCOUNT"]) <= 100_000


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults as Linux does")
def test_freed_memory_is_kept() -> None:
    # 8 times 4 MiB again and again: given back to the system, every page has to be fetched anew
    program = (
        "import resource\n"
        "from charseq import process\n"
        "process.keep_memory()\n"
        "work = lambda: [bytearray(2**22) for _ in range(8)]\n"
        "work()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(10): work()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    faults = {
        kept: int(subprocess.check_output([sys.executable, "-c", text], text=True))
        for kept, text in ((True, program), (False, program.replace("process.keep_", "# keep_")))
    }
    if faults[False] < 5000:
        pytest.skip("this C library keeps freed memory by itself")
    assert faults[True] < faults[False] / 10


RESIDENT = """
from charseq import process
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
process.keep_memory()
kept = []
def use(count, size):
    blocks = []
    for _ in range(count):
        blocks.append(bytearray(size))
        kept.append(bytearray(2**12))  # behind it, so that it is not the end of what may shrink
before = resident()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts resident memory as Linux does")
@pytest.mark.parametrize(
    ("work", "least", "most"),
    [
        ("use(2, 2**26)", -5, 5),
        ("use(32, 2**22)", 120, 140),
        ("use(32, 2**22); process.return_memory()", -5, 5),
    ],
)
def test_large_blocks_are_returned_and_others_when_asked(
    work: str, least: float, most: float
) -> None:
    """128 MiB are used and freed; the memory of a step is kept, the copies of a load are not."""
    program = f"{RESIDENT}{work}\nprint(resident() - before)"
    left = float(subprocess.check_output([sys.executable, "-c", program], text=True))
    if "2**22)" in work and least > 0 and left < 5:
        pytest.skip("this C library returns freed memory by itself")
    assert least < left < most


def test_process_loads_neither_numpy_nor_torch() -> None:
    program = (
        "import sys; from charseq import process; process.prepare_training(); "
        "process.prepare_inference(); print(sorted({'numpy', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"


# --- signals


@pytest.fixture
def caught() -> Iterator[list[int]]:
    """The signals that reached the handlers which were there before."""
    seen: list[int] = []
    both = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, lambda n, _: seen.append(n)) for number in both]
    mine = [signal.getsignal(number) for number in both]
    yield seen
    assert [signal.getsignal(number) for number in both] == mine, "the old handlers came back"
    for number, handler in zip(both, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_recorded_and_a_second_one_reaches_the_old_handler(
    number: signal.Signals, caught: list[int]
) -> None:
    with catch_signals() as asked:
        assert asked() is None
        os.kill(os.getpid(), number)
        assert asked() is number
        assert caught == []
        os.kill(os.getpid(), number)
        assert caught == [number]
        assert asked() is number
    os.kill(os.getpid(), number)
    assert caught == [number, number]


def test_a_signal_ends_an_interruptible_block_at_once(caught: list[int]) -> None:
    came: list[str] = []

    def work() -> None:
        with stop.interruptible():
            came.append("in")
            os.kill(os.getpid(), signal.SIGTERM)
            came.append("after")

    with catch_signals() as stop:
        with stop.interruptible():
            came.append("before")
        with pytest.raises(SignalReceived):
            work()
        assert stop() is signal.SIGTERM
        with pytest.raises(SignalReceived), stop.interruptible():
            came.append("too late")
    assert came == ["before", "in"]
    assert caught == []


def test_the_first_of_two_signals_is_the_reason(caught: list[int]) -> None:
    with catch_signals() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert asked() is signal.SIGTERM
    assert caught == []


def test_handlers_come_back_after_a_fault(caught: list[int]) -> None:
    with pytest.raises(ZeroDivisionError), catch_signals():
        _ = 1 / 0
    os.kill(os.getpid(), signal.SIGINT)
    assert caught == [signal.SIGINT]


def test_other_threads_catch_nothing(caught: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def work() -> None:
        with catch_signals() as asked:
            found.append((asked(), signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(None, True)]
    assert caught == []


def test_a_block_ends_when_its_time_is_over() -> None:
    before = signal.getsignal(signal.SIGALRM)
    begun = time.monotonic()

    def work() -> None:
        with time_limit(0.05):
            while time.monotonic() - begun < 20:
                sum(range(1000))

    with pytest.raises(TimeLimitReached):
        work()
    assert time.monotonic() - begun < 10
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_block_that_ends_in_time_is_left_alone() -> None:
    before, threads = signal.getsignal(signal.SIGALRM), threading.active_count()
    for _ in range(50):
        with suppress(TimeLimitReached), time_limit(0.0005):
            pass
    assert signal.getsignal(signal.SIGALRM) is before
    assert threading.active_count() == threads


STOPPED = """
import time
from charseq.process import TimeLimitReached, time_limit
print("ready", flush=True)
spent = last = 0.0
with time_limit(3.0):
    last = time.monotonic()
    while spent < 1.0:
        time.sleep(0.01)
        now = time.monotonic()
        spent, last = spent + min(now - last, 0.1), now
print("done", flush=True)
"""


def test_a_stopped_process_has_the_rest_of_its_time_when_it_goes_on() -> None:
    child = subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child, child.stdout as out:
        assert out.readline() == "ready\n"
        child.send_signal(signal.SIGSTOP)
        time.sleep(4.0)
        child.send_signal(signal.SIGCONT)
        assert out.readline() == "done\n"


def test_other_threads_have_no_time_limit() -> None:
    found = []

    def work() -> None:
        with time_limit(0.0):
            time.sleep(0.02)
            found.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == ["done"]


# --- child processes


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def start(folder: Path, body: str) -> ChildProcess:
    """A child whose main() is ``body``."""
    lines = body.replace("\n", "\n    ")
    program = f"import os, signal, sys, time, charseq\ndef main():\n    {lines}\n    return 0\n"
    (folder / "stand_in.py").write_text(program)
    return ChildProcess("stand_in")


def test_messages_go_in_and_out(folder: Path) -> None:
    child = start(folder, "for line in sys.stdin: sys.stdout.write(line)")
    child.send({"text": "ß\n\ud800"})
    assert child.receive() == {"text": "ß\n\ud800"}
    assert child.process.stdin is not None
    child.process.stdin.close()
    assert child.receive() is None
    assert [child.end(), child.end()] == ["", ""]


def test_dataclasses_go_to_the_parent_and_other_lines_are_skipped(folder: Path) -> None:
    child = start(
        folder,
        "from charseq.process import send_to_parent\n"
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
def test_end_gives_the_reason(body: str, reason: str, folder: Path) -> None:
    child = start(folder, body)
    assert child.receive() is None
    child.process.wait()
    child.send({"text": "x" * 100_000})  # nobody reads it
    assert [child.end(), child.end()] == [reason, reason]
    child.send({})
    assert child.receive() is None


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_child_that_does_not_stop_in_time_is_killed(
    interrupted: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or at once, where a second Ctrl-C comes while the parent waits."""
    deaf = "signal.signal(15, signal.SIG_IGN); print('{}', flush=True); time.sleep(60)"
    children = [start(folder, deaf) for _ in range(2)]
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


def test_a_child_leads_its_own_process_group(folder: Path) -> None:
    child = start(folder, "print('{}' if os.getpgid(0) == os.getpid() else '', flush=True)")
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
        "from charseq.process import ChildProcess; child = ChildProcess('told')\n"
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
        "from charseq.process import ChildProcess; os.chdir('/')\n"
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


def test_there_is_at_least_one_core() -> None:
    assert cores() >= 1
