"""Processes whose OpenBLAS uses the kernels of a given processor core.

Properties of every processor are tested with several sets of kernels: for AVX2 (Haswell,
Zen), for AVX-512 (SkylakeX), and with the set that OpenBLAS chooses for the machine at hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charseq.kernels.openblas import find_openblas

OWN = "its own choice"
_AVX2 = {"avx2", "fma"}
_NEEDS = {
    OWN: set(),
    "Haswell": _AVX2,
    "Zen": _AVX2,
    "SkylakeX": _AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
each_core = pytest.mark.parametrize("core", _NEEDS)


def run_on(core: str, program: str, **changes: str) -> str:
    """The output of a program on a core's kernels; skips the test if they cannot run here."""
    missing = _NEEDS[core] - _flags()
    if missing:
        pytest.skip(f"the kernels for {core} need {', '.join(sorted(missing))}")
    environment = {name: text for name, text in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    if core != OWN:
        environment["OPENBLAS_CORETYPE"] = core
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=environment | changes, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def products_on(threads: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """OpenBLAS with so many threads; the list collects the number during each product."""
    library = find_openblas()
    if library is None:
        pytest.skip("NumPy's products are not OpenBLAS's, or its threads are OpenMP's")
    before, matmul, met = library.get(), np.matmul, list[int]()

    def spy(*given: Any, **how: Any) -> Any:
        met.append(library.get())
        return matmul(*given, **how)

    library.set(threads)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(np, "matmul", spy)
            yield met
        assert library.get() == threads
    finally:
        library.set(before)


def _flags() -> set[str]:
    """The processor's instruction sets as Linux names them; none on other systems."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {flag for line in lines if line.startswith("flags") for flag in line.split()}
