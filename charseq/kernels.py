"""native/*.c -> functions on arrays: the compiled kernels, where the install could build them.

The library is plain C (see ``native/README.md``), built when charseq is installed and a compiler is
there. Whoever can use it asks :func:`find`, and does the same work in NumPy or torch on None.

The environment variable ``CHARSEQ_KERNELS`` is ``auto`` (the best that the processor can run),
``off``, or the name of a level: ``plain``, ``avx2``, ``avx512``.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from charseq.errors import SettingError

VERSION = 1
"""The library's, as ``native.h`` has it: another one was left behind by an older install."""
LEVELS = ("plain", "avx2", "avx512")
"""What the kernels are compiled for; each processor can run the first ones, up to its own."""
VARIABLE = "CHARSEQ_KERNELS"


class Kernels:
    """The library's functions at one level of the processor."""

    def __init__(self, library: ctypes.CDLL, level: str) -> None:
        self.level = level
        self._library = library
        self._number = LEVELS.index(level)


@cache
def find() -> Kernels | None:
    """The kernels as the environment asks for them; None where they are absent or switched off.

    Raises:
        SettingError: the variable names no level, or one that this processor cannot run.
    """
    wanted = os.environ.get(VARIABLE) or "auto"
    if wanted == "off":
        return None
    if wanted not in ("auto", *LEVELS):
        raise SettingError(f"{VARIABLE} is '{wanted}', expected auto, off, {', '.join(LEVELS)}")
    library = load(Path(__file__).parent / "native")
    if library is None:
        return None
    able = LEVELS[: library.charseq_level() + 1]
    if wanted != "auto" and wanted not in able:
        raise SettingError(f"{VARIABLE} is {wanted}, but this processor runs {', '.join(able)}")
    return Kernels(library, able[-1] if wanted == "auto" else wanted)


def load(folder: Path) -> ctypes.CDLL | None:
    """The library in a folder; None if there is none that this program can use."""
    for suffix in EXTENSION_SUFFIXES:
        path = folder / f"kernels{suffix}"
        if not path.is_file():
            continue
        try:
            library = ctypes.CDLL(str(path))
        except OSError:  # made for another processor or system
            continue
        version = getattr(library, "charseq_version", None)
        if version is not None and version() == VERSION:
            return library
    return None
