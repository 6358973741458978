"""Learns to rewrite strings from pairs of examples, or to predict the next word from text.

    model = charseq.load("checkpoints/dates")
    model.predict(["3. März 2021"], n=3)

Importing this costs nothing: NumPy and torch are loaded by the first call that needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from charseq.version import __version__

if TYPE_CHECKING:
    from charseq.api import compare, convert, evaluate, train
    from charseq.config import configure
    from charseq.errors import CharseqError
    from charseq.inference.predictor import load
    from charseq.training.callbacks.protocol import Callback

__all__ = [
    "Callback",
    "CharseqError",
    "__version__",
    "compare",
    "configure",
    "convert",
    "evaluate",
    "load",
    "train",
]


def __getattr__(name: str) -> object:
    """A name of ``__all__``, imported when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'charseq' has no attribute '{name}'")
    if name == "CharseqError":
        from charseq.errors import CharseqError

        return CharseqError
    if name == "Callback":
        from charseq.training.callbacks.protocol import Callback

        return Callback
    from charseq.api import public

    globals()[name] = value = public(name)
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
