"""Whoever has no Triton never loads the kernel; with it, it is tested in ``test_fused``."""

from __future__ import annotations

import subprocess
import sys


def test_nothing_that_is_used_loads_triton() -> None:
    rooms = "charseq.training.train, charseq.decoding.seq2seq_gpu"
    code = f"import {rooms}, sys; print('charseq.kernels.rnn_triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
