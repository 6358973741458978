"""run folder, texts -> predictions: the public Python API; no torch.

    model = load("checkpoints/dates")
    model.predict(["3. März 2021"], n=3)

It knows no files of texts and no command line. Equal texts are computed once; the others are put
into groups of similar length, which changes no answer (see ``inference``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from charseq.batching import buckets
from charseq.checkpoint import find, load_model
from charseq.config import Config, configure
from charseq.decoding import Hypothesis, Limits, beam, greedy
from charseq.errors import CheckpointError, SettingError
from charseq.inference import WIDTH, Network, shapes_of
from charseq.vocabulary import UNK, Vocabulary

if TYPE_CHECKING:
    import numpy as np


_ABOUT: dict[str, type | tuple[type, ...]] = {
    "parameters": int,
    "seconds": (int, float),
    "epochs": (int, float),
    "scores": dict,
    "versions": dict,
    "limits": list,
    "data": dict,
}
_DATA: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "fingerprint": str,
    "columns": str,
    "examples": dict,
}


@dataclass(frozen=True)
class Candidate:
    """One output and the model's probability of exactly it (over all outputs they sum to 1)."""

    prediction: str
    probability: float
    score: float
    """The natural logarithm of the probability."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one source; ``candidates`` are best first, the first is the answer."""

    source: str
    prediction: str
    probability: float
    unknown: list[str]
    """Symbols of the source that the model has never seen, each once."""
    truncated: bool
    """No output came to its end within the length limit; this is its beginning."""
    candidates: list[Candidate]


class Transducer:
    """Vocabularies, limits and a network: texts to predictions, wherever the weights come from."""

    def __init__(
        self, network: Network, source: Vocabulary, target: Vocabulary, limits: Limits
    ) -> None:
        self.network = network
        self.source = source
        self.target = target
        self.limits = limits

    def predict(
        self, texts: Sequence[str], *, n: int = 1, width: int = 1, batch_size: int = 256
    ) -> list[Prediction]:
        """One prediction per text, in their order, with up to ``n`` candidates each.

        ``width`` is the beam's; it is raised to ``n`` where it is less.
        """
        distinct = list(dict.fromkeys(texts))
        split = [self._parts(text) for text in distinct]
        ids = [self.source.encode(*parts) for parts in split]
        found: dict[str, Prediction] = {}
        for group in buckets([len(row) for row in ids], width=WIDTH, size=batch_size):
            # a text without symbols, an empty line say, has no output
            searched = (
                self._search([ids[row] for row in group], max(width, n))
                if ids[group[0]]
                else [[Hypothesis((), 0.0)] for _ in group]
            )
            for row, hypotheses in zip(group, searched, strict=True):
                unseen = UNK in ids[row]
                unknown = self.source.unknown(*split[row]) if unseen else []
                text = distinct[row]
                found[text] = self._prediction(text, hypotheses, unknown, n)
        return [found[text] for text in texts]

    def _parts(self, text: str) -> tuple[str, str]:
        """(source, features) of one text; features stand behind a tab."""
        if not self.source.features:
            return text, ""
        source, tab, features = text.partition("\t")
        if not tab or "\t" in features:
            raise SettingError(
                f"'{text}' has {text.count(chr(9))} tabs, expected one, between source and features"
            )
        return source, features

    def _search(self, sources: Sequence[Sequence[int]], width: int) -> list[list[Hypothesis]]:
        limits = [self.limits.of(len(ids)) for ids in sources]
        state = self.network.start(sources)
        if width == 1:
            return [[best] for best in greedy(self.network, state, limits)]
        return beam(self.network, state, limits, width=width)

    def _prediction(
        self, text: str, hypotheses: Sequence[Hypothesis], unknown: list[str], n: int
    ) -> Prediction:
        """The ``n`` best; sequences that spell the same text are one candidate, their sum."""
        scores: dict[str, float] = {}
        for one in hypotheses:
            spelt = self.target.decode(one.ids)
            before = scores.get(spelt)
            scores[spelt] = one.score if before is None else _add(before, one.score)
        ranked = sorted(scores.items(), key=lambda item: -item[1])[:n]
        candidates = [Candidate(spelt, math.exp(score), score) for spelt, score in ranked]
        best = candidates[0]
        cut = hypotheses[0].truncated
        return Prediction(text, best.prediction, best.probability, unknown, cut, candidates)


class Model:
    """A trained run, ready to use."""

    def __init__(
        self, path: Path, about: dict[str, Any], config: Config, transducer: Transducer
    ) -> None:
        self.path = path
        self.name = path.name
        self.about = about
        self.config = config
        self.transducer = transducer

    @property
    def has_features(self) -> bool:
        """Whether a text is ``source<TAB>features``."""
        return bool(self.transducer.source.features)

    def predict(
        self,
        texts: Sequence[str],
        *,
        n: int = 1,
        beam: int | None = None,
        batch_size: int = 256,
    ) -> list[Prediction]:
        """One prediction per text, in their order; the same text always gets the same answer.

        Args:
            texts: sources; with a model that has features, ``source<TAB>features``.
            n: candidates per text, best first; there may be fewer.
            beam: width of the beam, 1 is greedy; by default what the run was made with.
            batch_size: texts computed at once; it changes the speed, never an answer.

        Raises:
            SettingError: n, beam or batch_size below 1, or a text without its features.
        """
        width = self.config.beam if beam is None else beam
        for name, value in (("n", n), ("beam", width), ("batch_size", batch_size)):
            if value < 1:
                raise SettingError(f"{name} is {value}, expected 1 or more")
        return self.transducer.predict(texts, n=n, width=width, batch_size=batch_size)


def load(run: str | Path | None = None) -> Model:
    """The model of a run folder; without one, of the run that :func:`checkpoint.find` chooses.

    Raises:
        CheckpointError: missing, unfinished before its first evaluation, damaged or foreign.
    """
    path = find(run)
    contents = read_run(path)
    config = contents.config
    network = Network(contents.weights, cell=config.cell, layers=config.layers)
    limits = Limits(tuple(contents.about["limits"]))
    transducer = Transducer(network, contents.source, contents.target, limits)
    return Model(path, contents.about, config, transducer)


class Contents(NamedTuple):
    """A run folder as read, each part checked."""

    about: dict[str, Any]
    config: Config
    source: Vocabulary
    target: Vocabulary
    weights: dict[str, np.ndarray]


def read_run(path: Path) -> Contents:
    """What stands in the run folder ``path``.

    Raises:
        CheckpointError: missing, damaged, or not what a run of charseq holds.
    """
    about, weights = load_model(path, check=partial(_check, path))
    return Contents(about, _settings(about, path), *_vocabularies(about, path), weights)


def _add(first: float, second: float) -> float:
    """log(e^first + e^second)."""
    high, low = max(first, second), min(first, second)
    return high + math.log1p(math.exp(low - high))


def _settings(about: Mapping[str, Any], path: Path) -> Config:
    """The settings in ``about``. Raises CheckpointError where they are not settings of ours."""
    try:
        return configure(about["settings"])
    except SettingError as error:
        raise CheckpointError(f"is damaged: {error}", path=path / "about.json") from error


def _vocabularies(about: Mapping[str, Any], path: Path) -> tuple[Vocabulary, Vocabulary]:
    """Source and target symbols of a run. Raises CheckpointError where they are malformed."""
    try:
        return Vocabulary.from_json(about.get("source")), Vocabulary.from_json(about.get("target"))
    except CheckpointError as error:
        raise CheckpointError(str(error), path=path / "about.json") from error


def _check(path: Path, about: dict[str, Any], found: dict[str, tuple[int, ...]]) -> None:
    """Refuse what a run does not say of itself, and weights that its settings do not call for."""
    for part, kinds in (("", _ABOUT), ("data", _DATA)):
        fields = about[part] if part else about
        for key, kind in kinds.items():
            if not isinstance(fields.get(key), kind) or isinstance(fields[key], bool):
                raise CheckpointError(f"is damaged: no sound '{key}'", path=path / "about.json")
    _check_limits(about["limits"], path)
    source, target = _vocabularies(about, path)
    config = _settings(about, path)
    wanted = shapes_of(
        cell=config.cell,
        embedding=config.embedding,
        hidden=config.hidden,
        layers=config.layers,
        attention=config.attention,
        tied=config.tied,
        sources=len(source),
        targets=len(target),
    )
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise CheckpointError(
                f"has {name[:60]!r} as {found.get(name, 'nothing')}, expected "
                f"{wanted.get(name, 'nothing')} from the settings",
                path=path / "model.safetensors",
            )


def _check_limits(limits: list[Any], path: Path) -> None:
    """Refuse a table of length limits that is none."""
    if not limits or any(type(item) is not int or not 0 <= item < 2**20 for item in limits):
        raise CheckpointError(
            "is damaged: 'limits' must be a list of whole numbers", path=path / "about.json"
        )
