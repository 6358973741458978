"""Lines of text -> a task for the training loop: next-word prediction.

Inside: the traits of words, which share a part of their vectors (stem, shape, beginning, endings),
and :class:`NextWordTask`, a :class:`charseq.training.loop.Task`.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from charseq.config import Config
from charseq.data import corpus
from charseq.data.text import tokenizer
from charseq.data.text.vocabulary import EOS, SPECIALS
from charseq.display import field
from charseq.errors import DataError, SettingError, UsageError, argument
from charseq.evaluation.next_word import facts, perplexity_of
from charseq.inference.loading import language_model
from charseq.runs.untrusted import encode
from charseq.training.loop import MAX_SCORING_SHARE
from charseq.training.prepare import PretrainedRun, assemble_trainer, halved, inherit_rows
from charseq.training.report import describe_lines

if TYPE_CHECKING:
    from jaxtyping import Int

    from charseq.inference.language_model import LanguageModel
    from charseq.inference.loading import LoadedRun
    from charseq.training.trainer import Trainer

    Weights = Mapping[str, np.ndarray]

Trait = Callable[[str], str]


def stem(word: str) -> str:
    """The word in lower case without the punctuation around it; all of it, if it has no letter."""
    core = word[_core(word)]
    return core.lower() if core else word


def shape(word: str) -> str:
    """The punctuation around the word, and its case: x lower, Xx title, XX upper, 0 a number.

    For example ``"Xx,`` of ``"Hello,``.
    """
    span = _core(word)
    core = word[span]
    if not core:
        return word
    kind = "x"
    if core[0].isdigit():
        kind = "0"
    elif core.isupper() and sum(letter.isalnum() for letter in core) > 1:
        kind = "XX"
    elif core[0].isupper():
        kind = "Xx"
    return f"{word[: span.start]}{kind}{word[span.stop :]}"


def _core(word: str) -> slice:
    """The span from the first letter or digit to the last with its combining marks; else empty."""
    letters = [k for k, letter in enumerate(word) if letter.isalnum()]
    if not letters:
        return slice(0, 0)
    end = letters[-1] + 1
    while end < len(word) and unicodedata.category(word[end])[0] == "M":
        end += 1
    return slice(letters[0], end)


TRAITS: tuple[Trait, ...] = (
    stem,
    shape,
    lambda word: stem(word)[:4],
    lambda word: stem(word)[-3:],
    lambda word: stem(word)[-2:],
)


def traits_of(words: Sequence[str]) -> Int[np.ndarray, "K V"]:
    """Words -> the number of the value of each of the K traits.

    The values are numbered in the order of the words, one trait after the other. So the same words
    in the same order have the same numbers.
    """
    table = np.empty((len(TRAITS), len(words)), dtype=np.int64)
    count = 0
    for row, trait in enumerate(TRAITS):
        numbers: dict[str, int] = {}
        table[row] = [numbers.setdefault(trait(word), len(numbers)) for word in words]
        table[row] += count
        count += len(numbers)
    return table


SHAPING = (
    *("cell", "embedding", "hidden", "layers", "context", "tie_embeddings"),
    *("units", "case", "punctuation"),
)
"""Settings that decide the weights' shapes, or what a word is; a start must have the same."""

SAMPLED_FROM = 5000
"""Number of symbols from which the softmax is sampled, if the settings leave that open."""
SAMPLES = 2000
"""Symbols that a sampled softmax is over."""
MIN_SCORED = 2000
"""Symbols of dev that every evaluation scores, however short the training is."""
ROWS_AT_ONCE = 4096
"""Words whose vectors are added up at a time, so that they take little memory."""
OPERATIONS_PER_SECOND = 3e10
"""Multiplications of a core of 2024 in the scoring of dev, by which its time is estimated."""
SOFTMAX_OPERATIONS = 200
"""Multiplications that take as long as the softmax of one symbol."""


class NextWordTask:
    """A training on lines of text; see :class:`charseq.training.loop.Task`."""

    may_ensemble: ClassVar[bool] = False
    minimize: ClassVar[bool] = True
    """Whether the least :meth:`objective` is the best."""

    def __init__(
        self, data: str | Path, config: Config, init_from: str | Path | None = None
    ) -> None:
        """Read the data once, and learn the symbols of the training split.

        Raises:
            CharseqError: the data, the settings or the run to start from do not allow it.
        """
        self.data = data
        self.start = None if init_from is None else self._load_start(init_from, config)
        stateful = config.stateful
        if stateful == "auto" and self.start is not None:
            stateful = self.start.settings["stateful"]
        self.corpus = corpus.load(
            data,
            splits=("train", "dev"),
            running=None if stateful == "auto" else stateful == "yes",
            encoding=config.encoding,
            units=config.units,
        )
        self.config = config = replace(
            config, layers=config.layers or 1, stateful="yes" if self.corpus.running else "no"
        )
        if not self.corpus.dev:
            raise DataError("no lines for dev: more lines, different ones, are needed", path=data)
        self.name = self.corpus.name
        self.units, self.why = tokenizer.build(
            self.corpus.train,
            kind=config.units,
            case=config.case,
            punctuation=config.punctuation,
            limit=config.word_limit,
            min_count=config.min_count,
            form=config.target_form if self.start is None else self.start.target.form,
            subword_size=config.subword_size,
            seed=config.seed,
        )
        if self.start is not None:
            known = self.start.target.extended(self.units.vocabulary)
            self.units = replace(self.units, vocabulary=known)
            self.why = "as in the run to start from"
        if not self.units.vocabulary.symbols:
            fault = f"no word in it {config.min_count} times: {argument('min_count', 1)}"
            raise DataError("; ".join([fault, *self.corpus.problems]), path=data)

    @classmethod
    def of_run(cls, run: LoadedRun, data: str | Path) -> NextWordTask:
        """The task of a trained run, with its symbols, on ``data``: to score other weights."""
        task = cls(data, run.config)
        if run.tokenizer is not None:
            task.units = run.tokenizer
        return task

    @property
    def metadata(self) -> dict[str, Any]:
        """The contents of the run's about.json that are known before training."""
        data = self.corpus
        return {
            "settings": self.config.to_json(),
            "units": self.units.to_json(),
            "start": None if self.start is None else self.start.fingerprint,
            "data": {
                "name": encode(data.name).decode(),
                "fingerprint": data.fingerprint,
                "columns": "",
                "examples": {"train": len(data.train), "dev": len(data.dev)},
            },
        }

    def describe(self) -> list[str]:
        """Lines for people: the data, the first lines, the symbols."""
        lines = describe_lines(self.corpus, self.units, self.why)
        if self.units.kind == "words" and self.config.min_count == 1:
            # an unseen word in use then costs as much as many others
            lines.append("note       min_count=1: training meets no unseen word and rules them out")
        whole, scored = min(len(self.corpus.dev), self.config.dev_limit), len(self.dev_lines)
        if scored < whole:
            what = f"{scored:,} of {whole:,} lines of dev are scored on the way, for want of time"
            lines.append(field("note", f"{what}; all at the end"))
        return lines

    def student(self) -> NoReturn:
        """Raise UsageError: next words are not distilled."""
        raise UsageError(f"{argument('distil_from')} is for pairs, these data are text")

    def trainer(self, halvings: int = 0) -> Trainer:
        """Model, batches and optimiser before the first step; ``halvings`` of the batch size."""
        from charseq.data.batches import LineBatches, StreamBatches
        from charseq.models.device import limit_compiled_products
        from charseq.models.factory import build_next_word

        limit_compiled_products()
        config, start = self.config, self.start
        ids, offsets = tokenizer.encode(self.corpus.train, self.units)
        counts = np.bincount(ids, minlength=len(self.units.vocabulary))
        counts[EOS] = len(offsets) - 1
        size = halved(config.batch_size, halvings)
        batches: LineBatches | StreamBatches
        if self.corpus.running:
            # as many symbols as so many lines have, so that there are as many updates
            line = (len(ids) + len(offsets) - 1) / (len(offsets) - 1)
            rows = max(1, min(size, round(size * line / config.segment)))
            batches = StreamBatches(
                ids, offsets, batch_size=rows, steps=config.segment, seed=config.seed
            )
        else:
            batches = LineBatches(ids, offsets, batch_size=size, seed=config.seed)
        model = partial(
            build_next_word, config, counts=counts, traits=self._traits(), samples=self._samples()
        )
        inherited = None if start is None else partial(_inherit, start)
        return assemble_trainer(config, model, batches, inherited)

    def publish(self, weights: Weights) -> Weights:
        """The weights that a run keeps: each word's vector is added up with those of its traits."""
        kept = {name: np.array(value) for name, value in weights.items() if name != "traits"}
        shared, table = weights.get("traits"), self._traits()
        if shared is not None and table is not None:
            for first in range(0, table.shape[1], ROWS_AT_ONCE):
                part = slice(first, first + ROWS_AT_ONCE)
                total = shared[table[0, part]]
                for rows in table[1:, part]:
                    total += shared[rows]
                kept["embedding"][part] += total
        return kept

    def score(self, weights: Weights) -> dict[str, float]:
        """The dev perplexity of ``weights``."""
        model = language_model(Path(), self.metadata, self.config, self.units, weights)
        return {"perplexity": perplexity_of(model, self.dev_lines)}

    @cached_property
    def dev_lines(self) -> list[str]:
        """The lines of dev that are scored during training, as many as the minutes allow.

        They follow from data and settings alone, so that all evaluations have the same ones. Where
        ``dev_limit`` lines would take too long, the lines are evenly spread over those, or the
        first of them where lines continue each other.
        """
        config = self.config
        lines = list(islice(self.corpus.dev, config.dev_limit))
        if config.epochs:
            return lines
        symbols = sum(len(self.units.encode(line)) + 1 for line in lines)
        embedding, hidden = config.embedding, config.hidden
        operations = len(self.units.vocabulary) * (embedding + SOFTMAX_OPERATIONS)
        operations += 4 * hidden * (embedding + hidden) * config.layers
        seconds = 60 * config.minutes * MAX_SCORING_SHARE / config.evaluations
        most = max(MIN_SCORED, int(seconds * OPERATIONS_PER_SECOND / operations))
        step = -(-symbols // most)
        return lines[: -(-len(lines) // step)] if self.corpus.running else lines[::step]

    def calibrate(self, _weights: Weights, _report: Callable[[str], None]) -> dict[str, Any]:
        """No metadata: the probabilities of next words are not calibrated."""
        return {}

    @staticmethod
    def rank(scores: Mapping[str, float]) -> tuple[float, float]:
        """A key for sorting by quality: the lower perplexity is the better."""
        return -scores["perplexity"], 0.0

    @staticmethod
    def objective(scores: Mapping[str, Any]) -> float:
        """Dev scores -> the number that a search over settings minimises: the perplexity.

        It is NaN where the perplexity was not finite, which is null in the metrics.
        """
        perplexity = scores["perplexity"]
        return math.nan if perplexity is None else float(perplexity)

    @staticmethod
    def summary(scores: Mapping[str, float]) -> str:
        """Dev scores in a few words."""
        return f"dev perplexity {scores['perplexity']:7.1f}"

    def evaluate(self, model: LanguageModel, *, version: str) -> dict[str, Any]:
        """The result of :func:`charseq.evaluation.next_word.evaluate` on the dev split."""
        return facts(model, self.data, self.corpus.dev, "dev", version=version)

    def _traits(self) -> Int[np.ndarray, "K V"] | None:
        """The traits of each id, or None where symbols are not words or traits are off."""
        if self.config.units != "words" or not self.config.word_features:
            return None
        # no word looks like these, so they share nothing
        specials = ["\0" * (number + 1) for number in range(SPECIALS)]
        return traits_of([*specials, *self.units.vocabulary.symbols])

    def _samples(self) -> int:
        """The number of symbols that the softmax is sampled over; 0 for all."""
        if self.config.sampled_softmax >= 0:
            return self.config.sampled_softmax
        return SAMPLES if len(self.units.vocabulary) > SAMPLED_FROM else 0

    @staticmethod
    def _load_start(run: str | Path, config: Config) -> PretrainedRun:
        """The run to start from. Raises SettingError where it contradicts the settings."""
        start = PretrainedRun.load(run, next_word=True)
        start.require({name: getattr(config, name) for name in SHAPING if name != "layers"})
        start.require({"layers": config.layers or 1})
        form = config.target_form
        if form not in ("auto", start.target.form):
            raise SettingError(
                f"target_form is {form}, but the run to start from has {start.target.form}: "
                f"{argument('target_form', start.target.form)}"
            )
        return start


def _inherit(start: PretrainedRun, fresh: Weights) -> dict[str, np.ndarray]:
    """The weights of ``start`` for more symbols; new ones keep their ``fresh`` rows."""
    ids = np.arange(len(start.target))
    axes = dict.fromkeys(("embedding", "output", "output_bias"), ((ids, ids),))
    weights = inherit_rows(start.weights, fresh, axes)
    if "traits" in fresh:  # those of the start are in its words' vectors already
        weights["traits"] = np.zeros_like(fresh["traits"])
    return weights
