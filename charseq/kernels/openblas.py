"""The number of threads of NumPy's OpenBLAS: one while a network computes.

OpenBLAS gives parts of a large product to its threads, so the last bits of a sum depend on their
number. With :class:`OneThread` answers do not, whatever number the user's program has set. They
still depend on the kernels that OpenBLAS chooses for the processor.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import NamedTuple

_CORES = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")  # NumPy 2, NumPy 1
# OpenBLAS's functions as NumPy's wheels of several years call them, and as distributions do
_NAMES = ("scipy_openblas_{}64_", "openblas_{}64_", "openblas_{}", "scipy_openblas_{}")
_POSIX_THREADS = 1  # what openblas_get_parallel returns if the number belongs to the process


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
