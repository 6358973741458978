"""run folder, texts -> predictions: the public Python API; no torch.

    model = load("checkpoints/dates")
    model.predict(["3. März 2021"], n=3)

It knows no files of texts and no command line. Equal texts are computed once; the others are put
into groups of similar length, which changes no answer (see ``inference``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq import language
from charseq.batching import buckets
from charseq.checkpoint import find
from charseq.config import Config
from charseq.contents import read_run
from charseq.decoding import Hypothesis, Limits, beam, greedy
from charseq.errors import SettingError
from charseq.inference import WIDTH, Network
from charseq.prediction import Prediction, add_logs, rank
from charseq.suggest import LanguageModel
from charseq.vocabulary import BOS, EOS, UNK, Vocabulary

if TYPE_CHECKING:
    import numpy as np

    from charseq.units import Units


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
            scores[spelt] = one.score if before is None else add_logs(before, one.score)
        candidates = rank(scores, n)
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


def load(run: str | Path | None = None) -> Model | LanguageModel:
    """The model of a run folder; without one, of the run that :func:`checkpoint.find` chooses.

    Raises:
        CheckpointError: missing, unfinished before its first evaluation, damaged or foreign.
    """
    path = find(run)
    about, config, source, target, weights, units = read_run(path)
    if units is not None:
        return language_model(path, about, config, units, weights)
    network = Network(weights, cell=config.cell, layers=config.layers)
    transducer = Transducer(network, source, target, Limits(tuple(about["limits"])))
    return Model(path, about, config, transducer)


def language_model(
    path: Path,
    about: dict[str, Any],
    config: Config,
    units: Units,
    weights: Mapping[str, np.ndarray],
) -> LanguageModel:
    """A model that predicts words, wherever the weights come from."""
    network = language.Network(
        weights,
        cell=config.cell,
        layers=config.layers,
        context=config.context,
        # in running text a line begins where the one before it ended
        begin=EOS if config.running else BOS,
    )
    return LanguageModel(path, about, config, units, network)
