"""run folder, texts -> predictions: the public Python API; no torch.

    model = load("checkpoints/dates")
    model.predict(["3. März 2021"], n=3)

It knows no files of texts to rewrite and no command line. Equal texts are computed once; the
others are put into groups of similar length, which changes no answer (see ``inference``).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from charseq.config import Config, configure
from charseq.data.batches import buckets
from charseq.data.text.alignment import Actions, source_length
from charseq.data.text.vocabulary import BOS, EOS, UNK, Vocabulary
from charseq.decoding import next_word_numpy
from charseq.decoding.ensemble import DirectionGroup, direction_groups_on
from charseq.decoding.search import (
    LENGTH_MARGIN,
    Hypothesis,
    LengthLimits,
    Searcher,
    add_logs,
    beam,
    greedy,
    penalty,
)
from charseq.decoding.seq2seq_numpy import WIDTH
from charseq.errors import SettingError, UsageError
from charseq.inference.calibration import Calibration
from charseq.inference.language_model import LanguageModel
from charseq.inference.loading import read_run
from charseq.inference.prediction import Prediction, rank
from charseq.runs.folder import find
from charseq.runs.store import state_of

if TYPE_CHECKING:
    import numpy as np

    from charseq.data.text.tokenizer import Tokenizer
    from charseq.inference.lexicon import Lexicon


class ScoredText(NamedTuple):
    """A text that was written, the logarithm of its probability, and what its length costs."""

    text: str
    score: float
    penalty: float
    truncated: bool


class Translator:
    """Vocabularies, limits and networks: texts to predictions, wherever the weights come from.

    Of several voices each searches on its own. An output has the mean of the probabilities that
    they give it, by their shares; one that a voice has not found has none of it.
    """

    def __init__(
        self,
        voices: Sequence[DirectionGroup],
        source: Vocabulary,
        target: Vocabulary,
        limits: LengthLimits,
        *,
        calibration: Calibration | None = None,
        length_penalty: float = 0.0,
    ) -> None:
        self.voices = tuple(voices)
        self.source = source
        self.target = target
        self.limits = limits
        self.calibration = calibration
        self.length_penalty = length_penalty

    def predict(
        self, texts: Sequence[str], *, n: int = 1, width: int = 1, batch_size: int = 256
    ) -> list[Prediction]:
        """One prediction per text, in their order, with up to ``n`` candidates each.

        ``width`` is the beam's; it is raised to ``n`` where it is less.
        """
        distinct = list(dict.fromkeys(texts))
        split = [self.parts(text) for text in distinct]
        ids = [self.encode(*parts) for parts in split]
        width = max(width, n)
        searches = [self._outputs(split, ids, voice, width, batch_size) for voice in self.voices]
        found = {}
        for text, parts, row, *outputs in zip(distinct, split, ids, *searches, strict=True):
            unknown = self.source.unknown(*parts) if UNK in row else []
            found[text] = self._prediction(text, outputs, unknown, n, searched=bool(row))
        return [found[text] for text in texts]

    def parts(self, text: str) -> tuple[str, str]:
        """(source, features) of one text; features stand behind a tab.

        Raises:
            SettingError: a text without its features, or with more than one tab.
        """
        if not self.source.features:
            return text, ""
        source, tab, features = text.partition("\t")
        if not tab or "\t" in features:
            raise SettingError(
                f"'{text}' has {text.count(chr(9))} tabs, expected one, between source and features"
            )
        return source, features

    @property
    def actions(self) -> Actions | None:
        """What hard attention writes; None where symbols are written."""
        return self.voices[0].network.actions

    def encode(self, source: str, features: str, *, backward: bool = False) -> list[int]:
        """The ids that a network reads; none of a text without symbols."""
        hard = self.actions is not None
        ids = self.source.encode(source, features, ended=hard, backward=backward)
        return [] if ids == [EOS] else ids

    def search(
        self, sources: Sequence[Sequence[int]], width: int, voice: DirectionGroup | None = None
    ) -> list[list[Hypothesis]]:
        """What a voice, else the first, writes for texts of similar length: ids, or actions.

        The best come first. A voice that writes backward is given, and gives, all of it backward.
        """
        limits = [self._limit(ids) for ids in sources]
        network = (self.voices[0] if voice is None else voice).network
        if isinstance(network, Searcher):
            return network.search(sources, limits, width=width, length_penalty=self.length_penalty)
        state = network.start(sources)
        if width == 1:
            return [[best] for best in greedy(network, state, limits)]
        return beam(network, state, limits, width=width, length_penalty=self.length_penalty)

    def _limit(self, ids: Sequence[int]) -> int:
        """The most that is written for a source; with hard attention, enough to come to its end."""
        size = source_length(ids)
        limit = self.limits.of(size)
        return limit if self.actions is None else max(limit, math.ceil(LENGTH_MARGIN * size))

    def _outputs(
        self,
        texts: Sequence[tuple[str, str]],
        ids: Sequence[list[int]],
        voice: DirectionGroup,
        width: int,
        batch_size: int,
    ) -> list[list[ScoredText]]:
        """What one voice finds for each of ``texts``, whose ids read forward are ``ids``."""
        if voice.backward:
            ids = [self.encode(*parts, backward=True) for parts in texts]
        # a text without symbols, an empty line say, has no output
        found = [[ScoredText("", 0.0, 1.0, truncated=False)] for _ in ids]
        # who searches by itself cuts what it gets as suits it
        size = max(len(ids), 1) if isinstance(voice.network, Searcher) else batch_size
        for group in buckets([len(row) for row in ids], width=WIDTH, size=size):
            if ids[group[0]]:
                searched = self.search([ids[row] for row in group], width, voice)
                for row, hypotheses in zip(group, searched, strict=True):
                    found[row] = self._spell(hypotheses, backward=voice.backward)
        return found

    def _spell(self, hypotheses: Sequence[Hypothesis], *, backward: bool) -> list[ScoredText]:
        """The texts of what was written; sequences that spell the same are one, their sum."""
        found: dict[str, ScoredText] = {}
        actions, strength = self.actions, self.length_penalty
        for one in hypotheses:
            ids = one.ids if actions is None else actions.target_ids(one.ids)
            text = self.target.decode(reversed(ids) if backward else ids)
            if text in found:
                score = add_logs(found[text].score, one.score)
                found[text] = found[text]._replace(score=score)
            else:
                loss = penalty(len(one.ids) + 1, strength) if strength else 1.0
                found[text] = ScoredText(text, one.score, loss, one.truncated)
        return list(found.values())

    def _prediction(
        self,
        text: str,
        outputs: Sequence[Sequence[ScoredText]],
        unknown: list[str],
        n: int,
        *,
        searched: bool,
    ) -> Prediction:
        """The ``n`` best of what the voices found.

        Probabilities are calibrated by all that was found, not by the ``n``; where nothing was
        searched there is nothing to calibrate.
        """
        merged = self._merge(outputs) if len(outputs) > 1 else {one.text: one for one in outputs[0]}
        calibrated = self.calibration.probabilities if self.calibration and searched else None
        candidates = rank(
            {one.text: one.score for one in merged.values()},
            n,
            penalties={one.text: one.penalty for one in merged.values()},
            calibrated=calibrated,
        )
        best = candidates[0]
        cut = merged[best.prediction].truncated
        return Prediction(text, best.prediction, best.probability, unknown, cut, candidates)

    def _merge(self, outputs: Sequence[Sequence[ScoredText]]) -> dict[str, ScoredText]:
        """What several voices found, each text once, with its mean probability."""
        merged: dict[str, ScoredText] = {}
        for voice, some in zip(self.voices, outputs, strict=True):
            for one in some:
                score = one.score + math.log(voice.share)
                if one.text in merged:
                    score = add_logs(merged[one.text].score, score)
                merged[one.text] = merged.get(one.text, one)._replace(score=score)
        return merged


class PairsModel:
    """A trained run, ready to use."""

    def __init__(
        self,
        path: Path,
        about: dict[str, Any],
        config: Config,
        transducer: Translator,
        lexicon: Lexicon | None = None,
    ) -> None:
        self.path = path
        self.name = path.name
        self.about = about
        self.config = config
        self.transducer = transducer
        self.lexicon = lexicon
        """The user's own pairs, whose answers come first."""

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
        ask = partial(self.transducer.predict, n=n, width=width, batch_size=batch_size)
        if self.lexicon is None:
            return ask(texts)
        parts = {text: self.transducer.parts(text) for text in texts}
        found = self.lexicon.answer(parts, n, ask)
        return [found[text] for text in texts]


def load(
    run: str | Path | None = None,
    *,
    lexicon: str | Path | None = None,
    lexicon_columns: str = "",
    length_penalty: float | None = None,
    device: str = "cpu",
) -> PairsModel | LanguageModel:
    """The model of a run folder; without one, of the run that :func:`checkpoint.find` chooses.

    Args:
        run: the folder.
        lexicon: a file of pairs whose answers come before the model's (see ``lexicon``).
        lexicon_columns: its columns, as the setting ``columns``; by default by its header, else
            as in the data of the training.
        length_penalty: how much the beam prefers longer outputs; by default the run's setting.
        device: ``cuda`` computes on a GPU, by torch; ``cpu`` needs none.

    Raises:
        SettingError: there is no such GPU, or the run predicts words, which one has no use for.
        CheckpointError: missing, unfinished before its first evaluation, damaged or foreign.
        DataError: with path and line: the lexicon cannot be read as asked.
        UsageError: lexicon or length penalty for a run that predicts words, or no such penalty.
    """
    path = find(run)
    about, config, source, target, weights, units = read_run(path)
    if units is not None:
        if lexicon is not None or length_penalty is not None:
            what = "a length penalty" if lexicon is None else "a lexicon"
            raise UsageError(f"{what} is for runs of pairs; {path} predicts words")
        if device != "cpu":
            raise SettingError(f"device is {device}; {path} predicts words, on the CPU only")
        return language_model(path, about, config, units, weights)
    if length_penalty is not None:
        config = configure({"length_penalty": length_penalty}, base=config)
    limits = LengthLimits(tuple(about["limits"]))
    transducer = Translator(
        direction_groups_on(device, config, weights),
        source,
        target,
        limits,
        calibration=Calibration.from_json(about.get("calibration")),
        length_penalty=config.length_penalty,
    )
    own = None
    if lexicon is not None:
        from charseq.inference import lexicon as lexicons

        own = lexicons.read(lexicon, source, settings=config.to_json(), columns=lexicon_columns)
    return PairsModel(path, about, config, transducer, own)


def fingerprint(model: PairsModel | LanguageModel) -> str:
    """A hash of all that decides a model's answers: its files, its lexicon, its length penalty."""
    files = state_of(model.path).files
    parts: list[Any] = [sorted((name, entry.sha256) for name, entry in files.items())]
    if isinstance(model, PairsModel):
        parts += [model.config.length_penalty, model.lexicon and model.lexicon.fingerprint]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def language_model(
    path: Path,
    about: dict[str, Any],
    config: Config,
    units: Tokenizer,
    weights: Mapping[str, np.ndarray],
) -> LanguageModel:
    """A model that predicts words, wherever the weights come from."""
    network = next_word_numpy.NumpyNextWord(
        weights,
        cell=config.cell,
        layers=config.layers,
        context=config.context,
        # in running text a line begins where the one before it ended
        begin=EOS if config.running else BOS,
    )
    return LanguageModel(path, about, config, units, network)
