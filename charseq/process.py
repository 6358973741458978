"""this process -> ready for numbers and signals: threads of the libraries, memory that stays.

The environment has to be set before NumPy or torch is loaded, so this module loads neither.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, contextmanager
from types import FrameType
from typing import Any, NamedTuple

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's names in malloc.h, without their M_
_KEPT = 2**30
_SPINS = "10000"  # turns of a loop; the default of the GNU library is thirty times as many

_CORES = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")  # NumPy 2, NumPy 1
# OpenBLAS's functions as NumPy's wheels of several years call them, and as distributions do
_NAMES = ("scipy_openblas_{}64_", "openblas_{}64_", "openblas_{}", "scipy_openblas_{}")
_POSIX_THREADS = 1  # what openblas_get_parallel returns if the number belongs to the process


def prepare_inference() -> None:
    """For NumPy's products: one thread, and memory that stays.

    Products of 16 columns gain nothing from a second thread, which costs start-up time and waits
    for its turn on a busy machine. A number that the user has set stays, but networks
    compute in :class:`OneThread` all the same.
    """
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    keep_memory()


def prepare_training() -> None:
    """For torch's threads: they soon sleep while they wait, and memory stays.

    By default an idle thread spins for milliseconds before it sleeps. On two cores with a busy
    neighbour that was measured to slow training down twentyfold; sleeping at once costs a quiet
    machine a third. A spin of some microseconds has neither fault.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's, for scoring
    keep_memory()


def keep_memory() -> None:
    """Ask the C library to keep freed memory for the next step instead of giving it back.

    Every step needs the same megabytes again. Fetched anew from the system, page by page, they
    cost up to a sixth of a step. Where the library has no such switch, nothing happens.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "mallopt"):
        for switch in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            library.mallopt(switch, _KEPT)


class Threads(NamedTuple):
    """Functions that get and set a library's number of threads."""

    get: Callable[[], int]
    set: Callable[[int], None]


class OneThread(ContextDecorator):
    """A context manager and decorator that limits a library to one thread.

    OpenBLAS gives parts of a large product to its threads. The order of sums changes where the
    parts meet, so the last bits depend on the number of threads. That number belongs to the whole
    process: contexts of several Python threads may overlap, and the last one to end restores the
    number that the first one found, unless the number was changed meanwhile.
    """

    def __init__(self, threads: Threads | None) -> None:
        """None stands for a library without such a number: the context does nothing."""
        self._threads = threads
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def __enter__(self) -> None:
        if self._threads is None:
            return
        with self._lock:
            if not self._inside:
                self._before = self._threads.get()
                if self._before != 1:
                    self._threads.set(1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        if self._threads is None:
            return
        with self._lock:
            self._inside -= 1
            if not self._inside and self._before != 1 and self._threads.get() == 1:
                self._threads.set(self._before)

    def _begin(self) -> None:
        """No context is open: at first, and in a forked child, where other threads do not exist."""
        self._lock = threading.Lock()
        self._inside = 0
        self._before = 1


def find_openblas() -> Threads | None:
    """The number of threads of the OpenBLAS that NumPy uses; to be called once NumPy is loaded.

    None if NumPy uses another library, or an OpenBLAS on OpenMP, where each Python thread has a
    number of its own.
    """
    paths = [sys.modules[name].__file__ for name in _CORES if name in sys.modules]
    if not paths or paths[0] is None:
        return None
    library = ctypes.PyDLL(paths[0])  # also finds functions of the libraries it is linked with
    for name in _NAMES:
        parts = [name.format(part) for part in ("get_num_threads", "set_num_threads")]
        kind = name.format("get_parallel")
        if all(hasattr(library, part) for part in (*parts, kind)):
            get, change = (library[part] for part in parts)
            change.argtypes, change.restype = [ctypes.c_int], None
            return Threads(get, change) if library[kind]() == _POSIX_THREADS else None
    return None


class Hurried(BaseException):
    """A signal asked to stop while something went on that is not worth waiting for."""


class Stop:
    """Whether a signal has asked to stop: ``stop()`` is its number, or None."""

    def __init__(self) -> None:
        self._seen: list[signal.Signals] = []
        self._hurry = False

    def __call__(self) -> signal.Signals | None:
        """The first signal that came."""
        return self._seen[0] if self._seen else None

    def note(self, number: int) -> None:
        """A signal has come."""
        self._seen.append(signal.Signals(number))
        if self._hurry:
            raise Hurried

    @contextmanager
    def hurrying(self) -> Iterator[None]:
        """Inside, a signal ends the block at once, and is noted as any."""
        self._hurry = True
        try:
            if self._seen:
                raise Hurried
            yield
        finally:
            self._hurry = False


@contextmanager
def stopping() -> Iterator[Stop]:
    """Inside, SIGINT and SIGTERM only leave a note, which what is yielded tells.

    The old handlers come back at the end, and a second signal meets them at once. Outside the main
    thread, where Python takes no signals, nothing is caught.
    """
    stop = Stop()

    def note(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, before[number])
        stop.note(number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    try:
        yield stop
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)
