"""The process is made ready before any library is loaded, what the user set stays; signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from charseq import process
from charseq.process import Hurried, stopping

NAMES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def test_inference_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    process.prepare_inference()
    assert [os.environ[name] for name in NAMES] == ["1", "1", "1"]


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_it_loads_no_library() -> None:
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
    both = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda n, _: seen.append(n)) for number in both]
    mine = [signal.getsignal(number) for number in both]
    yield seen
    assert [signal.getsignal(number) for number in both] == mine, "the old handlers came back"
    for number, handler in zip(both, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_note_and_a_second_one_gets_through(
    number: signal.Signals, caught: list[int]
) -> None:
    with stopping() as asked:
        assert asked() is None
        os.kill(os.getpid(), number)
        assert asked() is number
        assert caught == []
        os.kill(os.getpid(), number)
        assert caught == [number]
        assert asked() is number
    os.kill(os.getpid(), number)
    assert caught == [number, number]


def test_a_signal_ends_at_once_what_is_not_worth_waiting_for(caught: list[int]) -> None:
    came: list[str] = []

    def work() -> None:
        with stop.hurrying():
            came.append("in")
            os.kill(os.getpid(), signal.SIGTERM)
            came.append("after")

    with stopping() as stop:
        with stop.hurrying():
            came.append("before")
        with pytest.raises(Hurried):
            work()
        assert stop() is signal.SIGTERM
        with pytest.raises(Hurried), stop.hurrying():
            came.append("too late")
    assert came == ["before", "in"]
    assert caught == []


def test_the_first_of_two_signals_is_the_reason(caught: list[int]) -> None:
    with stopping() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert asked() is signal.SIGTERM
    assert caught == []


def test_handlers_come_back_after_a_fault(caught: list[int]) -> None:
    with pytest.raises(ZeroDivisionError), stopping():
        _ = 1 / 0
    os.kill(os.getpid(), signal.SIGINT)
    assert caught == [signal.SIGINT]


def test_other_threads_catch_nothing(caught: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def work() -> None:
        with stopping() as asked:
            found.append((asked(), signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(None, True)]
    assert caught == []
