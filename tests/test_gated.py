"""Whoever has no Triton never loads the kernel; with it, it is tested in ``test_fused``."""

from __future__ import annotations

import subprocess
import sys


def test_nothing_that_is_used_loads_triton() -> None:
    code = "import charseq.recipes, charseq.accelerator, sys; print('charseq.gated' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
