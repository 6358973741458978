"""settings -> an untrained torch module: the registry of the networks that train.

``decoding.networks`` has the same networks for inference, by the same names of tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from charseq.config import WORDS_ONLY
from charseq.errors import SettingError
from charseq.models.next_word import NextWord
from charseq.models.seq2seq import EncoderDecoder

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int

    from charseq.config import Config
    from charseq.models.loss import TrainableModel


def build(
    config: Config,
    *,
    sources: int,
    targets: int,
    prior: Float[np.ndarray, "S V"] | None = None,
) -> Any:
    """The untrained network of pairs for ``sources`` and ``targets`` symbols.

    ``prior`` is where the logits of hard attention begin at each source symbol, if anywhere.

    Raises:
        SettingError: the cell "mlp", which rewrites nothing, or a number of layers that
            :func:`charseq.training.prepare.resolve` has not resolved.
    """
    return BUILDERS["pairs"](config, sources=sources, targets=targets, prior=prior)


def build_next_word(
    config: Config,
    *,
    counts: Int[np.ndarray, "V"],
    traits: Int[np.ndarray, "K V"] | None,
    samples: int,
) -> Any:
    """The untrained network of next words for symbols with these counts; see ``next_word``."""
    return BUILDERS["next-word"](config, counts=counts, traits=traits, samples=samples)


def _seq2seq(
    config: Config,
    *,
    sources: int,
    targets: int,
    prior: Float[np.ndarray, "S V"] | None = None,
) -> EncoderDecoder:
    if config.cell == "mlp":
        raise SettingError(WORDS_ONLY)
    return EncoderDecoder(
        sources=sources,
        targets=targets,
        cell=config.cell,
        embedding=config.embedding,
        hidden=config.hidden,
        layers=_layers(config),
        attention=config.attention == "soft",
        pointer=config.attention == "hard",
        tied=config.tie_embeddings,
        dropout=config.dropout,
        prior=None if prior is None else torch.from_numpy(prior).float(),
    )


def _next_word(
    config: Config,
    *,
    counts: Int[np.ndarray, "V"],
    traits: Int[np.ndarray, "K V"] | None,
    samples: int,
) -> NextWord:
    return NextWord(
        symbols=len(counts),
        cell=config.cell,
        embedding=config.embedding,
        hidden=config.hidden,
        layers=_layers(config),
        context=config.context,
        tied=config.tie_embeddings,
        dropout=config.dropout,
        embedding_dropout=config.embedding_dropout,
        recurrent_dropout=config.recurrent_dropout,
        samples=samples,
        counts=torch.from_numpy(counts),
        traits=None if traits is None else torch.from_numpy(traits),
    )


def _layers(config: Config) -> int:
    """The number of layers. Raises SettingError where the settings leave it open."""
    if not config.layers:
        raise SettingError("layers is 0, expected 1 or more: a network needs a number of layers")
    return config.layers


BUILDERS: dict[str, Callable[..., TrainableModel]] = {
    "pairs": _seq2seq,
    "next-word": _next_word,
}
