"""this process -> ready for numbers and signals: threads of the libraries, memory that stays.

What has to be said before NumPy or torch is loaded, and so it loads neither.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's names in malloc.h, without their M_
_KEPT = 2**30
_SPINS = "10000"  # turns of a loop; the default of the GNU library is thirty times as many


def prepare_inference() -> None:
    """For NumPy's products: one thread, and memory that stays.

    Products of 16 columns gain nothing from a second thread, which costs start-up time and waits
    for its turn on a busy machine. A number that the user has set stays.
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
