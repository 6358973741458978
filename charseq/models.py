"""config -> module: the only room that knows all models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charseq.seq2seq import EncoderDecoder

if TYPE_CHECKING:
    from charseq.config import Config


def build(config: Config, *, sources: int, targets: int) -> EncoderDecoder:
    """The untrained model of ``config`` for so many source and target ids."""
    return EncoderDecoder(
        sources=sources,
        targets=targets,
        cell=config.cell,
        embedding=config.embedding,
        hidden=config.hidden,
        layers=config.layers,
        attention=config.attention,
        tied=config.tied,
        dropout=config.dropout,
    )
