"""this process -> ready for numbers: threads of the libraries, memory that stays.

What has to be said before NumPy or torch is loaded, and so it loads neither.
"""

from __future__ import annotations

import ctypes
import os
import sys

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
