"""Whoever has no Triton never loads the kernels; with it, they are tested in ``test_fused``."""

from __future__ import annotations

import subprocess
import sys


def test_nothing_that_trains_loads_triton() -> None:
    rooms = "charseq.training.trainer, charseq.models.factory"
    code = f"import {rooms}, sys; print('charseq.kernels.rnn_triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
