"""Run folder -> everything that a runner must know beside the weights, as JSON values.

``model.json`` beside ONNX graphs and the data of a web page are this object. It holds the symbols,
the limits, the settings of the search, and what makes probabilities of scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import BOS, EOS
from charseq.decoding.ensemble import direction_groups
from charseq.errors import UsageError
from charseq.inference.hub.download import find
from charseq.inference.language_model import LanguageModel
from charseq.inference.loading import LoadedRun, read_run
from charseq.inference.predictor import PairsModel, load
from charseq.version import __version__

if TYPE_CHECKING:
    from charseq.config import Config

FORMAT = 1
KINDS = ("characters", "graphemes", "spaced", "decomposed")
"""Kinds of symbols that runners know; subwords need sentencepiece."""


class Member(NamedTuple):
    """One network of a run, with its weights as they are stored in the run."""

    config: Config
    weights: Mapping[str, np.ndarray]


class Group(NamedTuple):
    """Networks of a run of pairs that write in one direction."""

    members: Sequence[Member]
    backward: bool
    weight: float


class Exported(NamedTuple):
    """A run that can be exported."""

    path: Path
    facts: dict[str, Any]
    """JSON values, without the names of the graphs."""
    groups: Sequence[Group]
    """Of a next-word run a single one of a single member."""
    has_words: bool = False
    """Whether the run weighs its answers by a list of words, which runners do not know."""

    @property
    def is_pairs(self) -> bool:
        """Whether the run rewrites texts; else it predicts words."""
        return bool(self.facts["task"] == "pairs")

    @property
    def notes(self) -> list[str]:
        """What of the run is left out, for people."""
        if not self.has_words:
            return []
        told = "the list of words is left out: answers are those without it, and probabilities"
        return [f"{told} are not calibrated for them"]

    def model(self) -> PairsModel | LanguageModel:
        """The run in charseq's own engine, without what is left out: a new one at each call."""
        model = load(self.path)
        if isinstance(model, PairsModel):
            model.translator.words = None
        return model


def read(run: str | Path) -> Exported:
    """A run folder or a name, checked as for :func:`charseq.load`.

    Raises:
        CheckpointError: the run is missing or damaged.
        UsageError: runners do not know its symbols.
    """
    path = find(run)
    loaded = read_run(path)
    if loaded.tokenizer is not None:
        return _next_word(path, loaded)
    for side, vocabulary in (("source", loaded.source), ("target", loaded.target)):
        if vocabulary.kind not in KINDS:
            raise UsageError(
                f"{path}: {side} symbols are {vocabulary.kind}, expected {', '.join(KINDS)}: a "
                "model of subwords cannot be exported"
            )
    found = direction_groups(loaded.config, loaded.weights, _together)
    groups = [Group(one.network, one.backward, one.weight) for one in found]
    metadata, config = loaded.metadata, loaded.config
    size = len(groups[0].members[0].weights["output_bias"])
    facts = _common(path, config) | {
        "source": loaded.source.to_json(),
        "target": loaded.target.to_json(),
        "writes": Actions.of(size).symbols if config.attention == "hard" else None,
        "limits": metadata["limits"],
        "length_penalty": config.length_penalty,
        "empty": config.empty_targets,
        "calibration": metadata.get("calibration"),
        "confidence": metadata.get("confidence"),
        "memory": metadata.get("memory"),
        "ngrams": metadata.get("ngrams"),
    }
    return Exported(path, facts, groups, metadata.get("words") is not None)


def _next_word(path: Path, loaded: LoadedRun) -> Exported:
    """A run that predicts words."""
    config, tokenizer = loaded.config, loaded.tokenizer
    if tokenizer is None or tokenizer.kind != "words":
        units = tokenizer and tokenizer.kind
        raise UsageError(
            f"{path}: units are {units}, expected words: other models of text cannot be exported"
        )
    facts = _common(path, config) | {
        "units": tokenizer.to_json(),
        "begin": EOS if config.stateful == "yes" else BOS,
    }
    return Exported(path, facts, [Group([Member(config, loaded.weights)], False, 1.0)])


def _common(path: Path, config: Config) -> dict[str, Any]:
    """What the runners of both tasks know."""
    return {
        "format": FORMAT,
        "charseq": __version__,
        "name": path.resolve().name,
        "task": config.task,
        "beam": config.beam,
    }


def _together(
    configs: Sequence[Config], weights: Sequence[Mapping[str, np.ndarray]]
) -> list[Member]:
    return [Member(*pair) for pair in zip(configs, weights, strict=True)]
