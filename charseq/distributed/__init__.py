"""A model on many machines: a callable for batches of any engine, and folders by Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charseq.distributed.converter import Converter as Converter

__all__ = ["Converter"]


def __getattr__(name: str) -> object:
    """The class ``Converter``, imported when it is first asked for."""
    if name != "Converter":
        raise AttributeError(f"module 'charseq.distributed' has no attribute '{name}'")
    from charseq.distributed.converter import Converter

    return Converter
