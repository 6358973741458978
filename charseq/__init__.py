"""Learns to rewrite strings from pairs of examples, or to predict the next word from text.

    model = charseq.load("checkpoints/dates")
    model.predict(["3. März 2021"], n=3)

Importing this costs nothing: NumPy and torch are loaded by the first call that needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from charseq.version import __version__

if TYPE_CHECKING:
    from charseq.inference.predictor import load
    from charseq.training.train import train

__all__ = ["__version__", "load", "train"]


def __getattr__(name: str) -> Any:
    """``load`` and ``train``, imported when they are first asked for."""
    if name == "load":
        from charseq.inference.predictor import load

        return load
    if name == "train":
        from charseq.training.train import train

        return train
    raise AttributeError(f"module 'charseq' has no attribute '{name}'")
