"""The process is made ready before any library is loaded, what the user set stays; signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from charseq import process
from charseq.process import Hurried, OneThread, Threads, find_openblas, stopping

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


# --- threads of products


class Library:
    """A library that has a number of threads, and remembers what it was told."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.told: list[int] = []

    def set(self, threads: int) -> None:
        self.threads = threads
        self.told.append(threads)

    def one_thread(self) -> OneThread:
        return OneThread(Threads(lambda: self.threads, self.set))


def test_inside_there_is_one_thread_and_the_number_comes_back() -> None:
    library = Library(8)
    one = library.one_thread()
    with one:
        assert library.threads == 1
        with one:
            assert library.threads == 1
        assert library.threads == 1
    assert library.threads == 8
    library.threads = 5
    assert one(lambda: library.threads)() == 1
    assert library.threads == 5
    assert library.told == [1, 8, 1, 5]


def test_the_number_comes_back_after_an_error() -> None:
    library = Library(8)
    with pytest.raises(KeyError), library.one_thread():
        raise KeyError
    assert library.threads == 8


def test_one_thread_is_left_alone() -> None:
    library = Library(1)
    with library.one_thread():
        pass
    assert library.told == []


def test_a_number_that_is_set_meanwhile_stays() -> None:
    library = Library(8)
    with library.one_thread():
        library.threads = 4
    assert library.threads == 4


def test_without_a_library_nothing_happens() -> None:
    with OneThread(None) as nothing:
        assert nothing is None


def test_contexts_of_several_threads_overlap() -> None:
    """The first one to end leaves the others their one thread."""
    library = Library(8)
    one = library.one_thread()
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with one:
            entered.set()
            leave.wait(60)

    other = threading.Thread(target=stay)
    with one:
        other.start()
        assert entered.wait(60)
    assert library.threads == 1
    leave.set()
    other.join()
    assert library.threads == 8


def test_a_child_process_does_not_wait_for_threads_that_it_does_not_have() -> None:
    """The process forks while another thread is about to ask for the number."""
    parent = os.getpid()
    asked, answer = threading.Event(), threading.Event()

    def get() -> int:
        if os.getpid() == parent:
            asked.set()
            answer.wait(60)
        return 8

    one = OneThread(Threads(get, lambda _: None))
    other = threading.Thread(target=one(lambda: None))
    other.start()
    assert asked.wait(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside a thread
        child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        with one:
            os._exit(7)
    answer.set()
    other.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_openblas_of_numpy_is_found_and_told() -> None:
    names = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    library = find_openblas()
    if library is None:
        assert "openblas" not in names
        pytest.skip(f"NumPy multiplies with {names}")
    before = library.get()
    try:
        library.set(3)
        with OneThread(library):
            assert library.get() == 1
        assert library.get() == 3
    finally:
        library.set(before)


def test_before_numpy_is_loaded_there_is_no_openblas() -> None:
    program = "from charseq import process; print(process.find_openblas())"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "None\n"


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
