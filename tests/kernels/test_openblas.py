"""charseq.kernels.openblas: one thread while a network computes, then the number from before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

from charseq.kernels.openblas import OneThread, Threads, find_openblas


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
    program = "from charseq.kernels import openblas; print(openblas.find_openblas())"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "None\n"
