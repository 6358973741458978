"""The compiled library at every level that this machine runs, and marks for its tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from charseq.kernels import library
from charseq.kernels.cell_table import CELLS
from charseq.kernels.library import Kernels

FOLDER = Path(library.__file__).parent / "native"
BUILT = library.load(FOLDER)
LIBRARY = () if BUILT is None else library.levels_of(BUILT)
"""The levels that can be run here."""
needs_library = pytest.mark.skipif(BUILT is None, reason="the library is not built here")
each_level = pytest.mark.parametrize("level", LIBRARY)
each_cell = pytest.mark.parametrize("cell", CELLS)


def at_level(level: str) -> Kernels:
    assert BUILT is not None
    return Kernels(BUILT, level)
