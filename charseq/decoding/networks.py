"""Task -> its network: shapes of the weights, and the classes that compute it.

The torch modules of the same names are built by ``models.factory``. A network is one entry here,
one there, and its modules (``models/NAME``, ``decoding/NAME_numpy``). Only the class in NumPy is
required: without a compiled or a GPU class, or without the library, a GPU or the network's cell in
the library, prediction runs NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import BOS, EOS
from charseq.decoding import next_word_numpy, seq2seq_numpy
from charseq.decoding.seq2seq_native import NativeSeq2Seq
from charseq.kernels import library

if TYPE_CHECKING:
    import torch

    from charseq.config import Config
    from charseq.decoding.search import Searcher
    from charseq.kernels.library import Kernels

Weights = Mapping[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


class Network(NamedTuple):
    """A network as inference builds it."""

    shapes: Callable[[Mapping[str, Any], str, Mapping[str, int]], Shapes]
    """(settings, cell, numbers of symbols by name) -> name and shape of every weight."""
    numpy: Callable[[Config, Weights], Any]
    """The network in NumPy: ``start``, ``step`` and ``select``, see ``search.StepModel``."""
    native: Callable[[Any, Kernels], Any] | None = None
    """(the network in NumPy, the library) -> the compiled network."""
    gpu: Callable[[Sequence[Config], Sequence[Weights], torch.device], Searcher] | None = None
    """Members on a GPU as one network that searches by itself."""


def build(task: str, config: Config, weights: Weights) -> Any:
    """The network of a task on the CPU: compiled where it can be, else in NumPy."""
    network = NETWORKS[task]
    made = network.numpy(config, weights)
    kernels = library.find()
    if network.native is None or kernels is None or not library.has_cell(config.cell):
        return made
    return network.native(made, kernels)


def _seq2seq_shapes(settings: Mapping[str, Any], cell: str, symbols: Mapping[str, int]) -> Shapes:
    hard = settings["attention"] == "hard"
    targets = symbols["target"]
    return seq2seq_numpy.shapes_of(
        cell=cell,
        **{name: settings[name] for name in ("embedding", "hidden", "layers")},
        tied=settings["tie_embeddings"],
        attention=settings["attention"] == "soft",
        pointer=hard,
        prior=hard and settings["alignment_prior"],
        sources=symbols["source"],
        targets=Actions(targets).size if hard else targets,
    )


def _next_word_shapes(settings: Mapping[str, Any], cell: str, symbols: Mapping[str, int]) -> Shapes:
    return next_word_numpy.shapes_of(
        cell=cell,
        **{name: settings[name] for name in ("embedding", "hidden", "layers", "context")},
        tied=settings["tie_embeddings"],
        symbols=symbols["units"],
    )


def _seq2seq(config: Config, weights: Weights) -> seq2seq_numpy.NumpySeq2Seq:
    return seq2seq_numpy.NumpySeq2Seq(weights, cell=config.cell, layers=config.layers)


def _next_word(config: Config, weights: Weights) -> next_word_numpy.NumpyNextWord:
    return next_word_numpy.NumpyNextWord(
        weights,
        cell=config.cell,
        layers=config.layers,
        context=config.context,
        # in running text a line starts where the one before it ended
        begin=EOS if config.stateful == "yes" else BOS,
    )


def _seq2seq_gpu(
    configs: Sequence[Config], weights: Sequence[Weights], device: torch.device
) -> Searcher:
    from charseq.decoding.seq2seq_gpu import GpuEnsemble

    return GpuEnsemble(configs, weights, device)


NETWORKS: dict[str, Network] = {
    "pairs": Network(_seq2seq_shapes, _seq2seq, native=NativeSeq2Seq, gpu=_seq2seq_gpu),
    "next-word": Network(_next_word_shapes, _next_word),
}
