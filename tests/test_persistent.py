"""Whoever has no Triton never loads the kernels; with it, they are tested in ``test_fused``."""

from __future__ import annotations

import subprocess
import sys


def test_nothing_that_trains_loads_triton() -> None:
    code = "import charseq.trainer, charseq.models, sys; print('charseq.persistent' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
