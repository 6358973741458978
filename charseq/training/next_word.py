"""lines of text -> what there is to learn from them, and how well it was learnt.

One of the two families that ``recipes`` can train; the other is ``pairs``, with the same
functions. It knows the flow of neither training nor saving.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.config import Config
from charseq.data import corpus
from charseq.data.text import tokenizer as unit
from charseq.data.text.vocabulary import EOS, SPECIALS
from charseq.errors import DataError, SettingError
from charseq.evaluation.next_word import facts, perplexity_of
from charseq.inference.loading import LoadedRun, read_run
from charseq.inference.predictor import language_model
from charseq.runs.folder import WEIGHTS, find, read
from charseq.training.prepare import optimizer_settings
from charseq.training.report import describe_lines

if TYPE_CHECKING:
    from charseq.inference.language_model import LanguageModel
    from charseq.training.trainer import Trainer

    Weights = Mapping[str, np.ndarray]
    from jaxtyping import Int

Trait = Callable[[str], str]


def stem(word: str) -> str:
    """The word in small letters without the signs around it; all of it, if it is only signs."""
    core = word[_core(word)]
    return core.lower() if core else word


def shape(word: str) -> str:
    """The signs around the word, and how it is written: x small, X capital, XX capitals, 0 digits.

    For example ``"Xx,`` of ``"Hello,``.
    """
    place = _core(word)
    core = word[place]
    if not core:
        return word
    kind = "x"
    if core[0].isdigit():
        kind = "0"
    elif core.isupper() and sum(letter.isalnum() for letter in core) > 1:
        kind = "XX"
    elif core[0].isupper():
        kind = "Xx"
    return f"{word[: place.start]}{kind}{word[place.stop :]}"


def _core(word: str) -> slice:
    """Where the first letter or digit stands to the last, with its marks; empty without any."""
    places = [k for k, letter in enumerate(word) if letter.isalnum()]
    if not places:
        return slice(0, 0)
    end = places[-1] + 1
    while end < len(word) and unicodedata.category(word[end])[0] == "M":
        end += 1
    return slice(places[0], end)


TRAITS: tuple[Trait, ...] = (
    stem,
    shape,
    lambda word: stem(word)[:4],
    lambda word: stem(word)[-3:],
    lambda word: stem(word)[-2:],
)


def traits_of(words: Sequence[str]) -> Int[np.ndarray, "K V"]:
    """The number of each word's value of each trait.

    Values are numbered in the order of the words, one trait after the other, so equal words in
    equal order have equal numbers.
    """
    table = np.empty((len(TRAITS), len(words)), dtype=np.int64)
    count = 0
    for row, trait in enumerate(TRAITS):
        numbers: dict[str, int] = {}
        table[row] = [numbers.setdefault(trait(word), len(numbers)) for word in words]
        table[row] += count
        count += len(numbers)
    return table


SHARED = (
    *("cell", "embedding", "hidden", "layers", "context", "tied"),
    *("units", "case", "punctuation"),
)
"""Settings that decide the weights' shapes, and what is a word; a run that starts from another must
have the same."""

LARGE = 5000
"""From so many symbols on, the softmax is sampled where the settings leave it open, over"""
SAMPLES = 2000
"""so many."""


class NextWordTask:
    """A training on lines of text, as ``recipes`` sees it: before, during and after."""

    def __init__(
        self, data: str | Path, config: Config, init_from: str | Path | None = None
    ) -> None:
        """Read the data once, and learn its symbols.

        Raises:
            CharseqError: the data, the settings or the run to start from do not allow it.
        """
        self.data = data
        self.config = config = replace(config, layers=config.layers or 1)
        self.corpus = corpus.load(data, splits=("train", "dev"), running=config.running)
        if not self.corpus.dev:
            raise DataError("no lines for dev: more lines, different ones, are needed", path=data)
        self.name = self.corpus.name
        self.start_print: str | None = None
        self.start = None if init_from is None else self._begin_with(find(init_from))
        form = config.target_form if self.start is None else self.start.target.form
        self.units, self.why = unit.build(
            self.corpus.train,
            kind=config.units,
            case=config.case,
            punctuation=config.punctuation,
            limit=config.word_limit,
            min_count=config.min_count,
            form=form,
            subword_size=config.subword_size,
            seed=config.seed,
        )
        if self.start is not None:
            known = self.start.target.extended(self.units.vocabulary)
            self.units = replace(self.units, vocabulary=known)
            self.why = "as in the run to start from"
        if not self.units.vocabulary.symbols:
            raise DataError(f"no word in it {config.min_count} times: --set min_count=1", path=data)

    @property
    def about(self) -> dict[str, Any]:
        """What the run says of itself before training."""
        data = self.corpus
        return {
            "settings": self.config.to_json(),
            "units": self.units.to_json(),
            "start": self.start_print,
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint,
                "columns": "",
                "examples": {"train": len(data.train), "dev": len(data.dev)},
            },
        }

    def describe(self) -> list[str]:
        """What was understood, for people."""
        lines = describe_lines(self.corpus, self.units, self.why, running=self.config.running)
        if self.units.kind == "words" and self.config.min_count == 1:
            # and where they come all the same, each costs as much as many others
            lines.append("note       min_count=1: training meets no unseen word and rules them out")
        return lines

    def trainer(self, halved: int = 0) -> Trainer:
        """Model, batches and optimiser, before the first step; batches ``halved`` so often."""
        from charseq.data.batches import LineBatches, StreamBatches
        from charseq.models.device import choose_device, choose_precision, choose_threads, seed_all
        from charseq.models.factory import build_next_word
        from charseq.training.trainer import Trainer

        config = replace(self.config, batch_size=max(1, self.config.batch_size >> halved))
        ids, offsets = unit.encode(self.corpus.train, self.units)
        counts = np.bincount(ids, minlength=len(self.units.vocabulary))
        counts[EOS] = len(offsets) - 1
        device = choose_device(config.device)
        choose_threads(config.threads)
        seed_all(config.seed)
        batches: LineBatches | StreamBatches
        if config.running:
            batches = StreamBatches(
                ids, offsets, batch_size=config.batch_size, steps=config.segment, seed=config.seed
            )
        else:
            batches = LineBatches(ids, offsets, batch_size=config.batch_size, seed=config.seed)
        model = build_next_word(
            config, counts=counts, traits=self._traits(), samples=self._samples()
        )
        trainer = Trainer(
            model,
            batches,
            optimizer_settings(config),
            device=device,
            precision=choose_precision(config.precision, device),
        )
        if self.start is not None:
            trainer.start_from(_inherit(self.start, trainer.averaged()))
        return trainer

    def publish(self, weights: Weights) -> Weights:
        """What a run keeps of the trainer's weights: vectors of words with their traits' added."""
        kept = dict(weights)
        shared = kept.pop("traits", None)
        table = self._traits()
        if shared is not None and table is not None:
            kept["embedding"] = kept["embedding"] + shared[table].sum(axis=0)
        return kept

    def score(self, weights: Weights) -> dict[str, float]:
        """Dev perplexity of ``weights``."""
        config = self.config
        model = language_model(Path(), self.about, config, self.units, weights)
        lines = list(islice(self.corpus.dev, config.dev_limit))
        return {"perplexity": perplexity_of(model, lines)}

    @staticmethod
    def rank(scores: Mapping[str, float]) -> tuple[float, float]:
        """Less perplexity wins."""
        return -scores["perplexity"], 0.0

    @staticmethod
    def tell(scores: Mapping[str, float]) -> str:
        """Dev scores in a few words."""
        return f"dev perplexity {scores['perplexity']:7.1f}"

    def evaluate(self, model: LanguageModel, *, version: str) -> dict[str, Any]:
        """What :func:`evaluate` returns of the dev split."""
        return facts(model, self.data, self.corpus.dev, "dev", version=version)

    def _traits(self) -> np.ndarray | None:
        """A row of traits for each id, or None where symbols are not words or have none."""
        if self.config.units != "words" or not self.config.traits:
            return None
        # no word looks like these, so they share nothing
        specials = ["\0" * (number + 1) for number in range(SPECIALS)]
        return traits_of([*specials, *self.units.vocabulary.symbols])

    def _samples(self) -> int:
        """How many symbols the softmax is sampled over; 0 for all."""
        if self.config.samples >= 0:
            return self.config.samples
        return SAMPLES if len(self.units.vocabulary) > LARGE else 0

    def _begin_with(self, path: Path) -> LoadedRun:
        """Another run, whose symbols ours join, and whose weights are the first."""
        found = read_run(path)
        if found.tokenizer is None:
            raise SettingError(f"{path} rewrites pairs, it is no start for predicting words")
        asked = {name: getattr(self.config, name) for name in SHARED}
        theirs = {name: getattr(found.config, name) for name in SHARED}
        if self.config.target_form != "auto":
            asked["target_form"], theirs["target_form"] = self.config.target_form, found.target.form
        for name, ours in asked.items():
            if ours != theirs[name]:
                raise SettingError(
                    f"{name} is {ours}, but the run to start from has {theirs[name]}: "
                    f"--set {name}={theirs[name]}"
                )
        self.start_print = hashlib.sha256(read(path, WEIGHTS)).hexdigest()
        return found


def of_run(found: LoadedRun, data: str | Path) -> NextWordTask:
    """A run's own training again, on the dev split of ``data``: to score other weights for it."""
    lesson = NextWordTask(data, found.config)
    if found.tokenizer is not None:
        lesson.units = found.tokenizer
    return lesson


def _inherit(start: LoadedRun, fresh: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of ``start`` for more symbols; new ones keep their ``fresh`` rows."""
    weights = {name: np.array(value) for name, value in start.weights.items()}
    before = len(start.target)
    for name in ("embedding", "output", "output_bias"):
        if name in weights:
            weights[name] = np.concatenate([weights[name], fresh[name][before:]])
    if "traits" in fresh:  # already in the words' vectors
        weights["traits"] = np.zeros_like(fresh["traits"])
    return weights
