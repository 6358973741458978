"""Nothing loads Triton where no GPU needs it; the kernels' values are in ``test_rnn_fused``."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "modules",
    [
        "charseq.training.trainer, charseq.models.factory",
        "charseq.training.train, charseq.decoding.seq2seq_gpu",
    ],
)
def test_training_and_decoding_do_not_import_triton(modules: str) -> None:
    code = f"import {modules}, sys; print('charseq.kernels.rnn_triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
