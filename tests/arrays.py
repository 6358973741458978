"""Arrays by name as the bytes of a safetensors file, for tests that need them whole."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from charseq.runs.weights import ArrayFile


def save_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of the file."""
    return b"".join(ArrayFile(arrays))
