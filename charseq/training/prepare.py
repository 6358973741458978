"""Data set, settings -> symbols, length limits, batches, and the trainer before its first step.

In the order of use: the run to start from (``--init-from``) and the inheritance of its weights, the
preparation of pairs, in which :func:`resolve` settles what the settings leave to the data, and the
assembly of a :class:`charseq.training.trainer.Trainer` for every kind of task.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.config import Config, parse
from charseq.data.pairs import side, weights
from charseq.data.storage import Ragged, pack
from charseq.data.text import alignment
from charseq.data.text.alignment import Actions
from charseq.data.text.features import AUTO
from charseq.data.text.normalise import altered_note
from charseq.data.text.vocabulary import SPECIALS, Vocabulary, build
from charseq.decoding.ensemble import direction_of
from charseq.decoding.search import LengthLimits
from charseq.errors import DataError, SettingError, argument
from charseq.inference.hub.download import find
from charseq.inference.loading import is_next_word, read_run
from charseq.runs.folder import WEIGHTS, read
from charseq.runs.untrusted import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from charseq.data.batches import Batches, LineBatches, StreamBatches
    from charseq.data.pairs import Dataset, Example
    from charseq.models.loss import TrainableModel
    from charseq.training.trainer import Trainer

    Arrays = Mapping[str, np.ndarray]
    Pairing = tuple[np.ndarray, np.ndarray]

SHAPING = ("cell", "embedding", "hidden", "layers", "attention", "direction", "tie_embeddings")
"""Settings that decide the weights' shapes, or what they mean; a start must have the same."""
MANY_PAIRS = 20_000
"""Pairs from which two layers are better with hard attention (docs/measured/accuracy.md)."""


@dataclass(frozen=True)
class PretrainedRun:
    """A trained run whose weights are the start of another: settings, symbols, weights.

    The two vocabularies of a next-word run are the same.
    """

    fingerprint: str
    """The sha256 of its weights."""
    settings: Mapping[str, Any]
    source: Vocabulary
    target: Vocabulary
    weights: Arrays

    @classmethod
    def load(cls, run: str | Path, *, next_word: bool) -> PretrainedRun:
        """Read the run folder for a training of pairs, or with ``next_word`` of next words.

        Raises:
            CheckpointError: there is no such run, or it is damaged.
            SettingError: the run is of the other task, or it is an ensemble.
        """
        path = find(run)
        found = read_run(path)
        if is_next_word(found.metadata) != next_word:
            other = "predicts words, it is no start for pairs"
            if next_word:
                other = "rewrites pairs, it is no start for predicting words"
            raise SettingError(f"{path} {other}")
        if found.config.ensemble > 1:
            what = "is an ensemble, its members' weights are no start for one run"
            raise SettingError(f"{path} {what}")
        fingerprint = hashlib.sha256(read(path, WEIGHTS)).hexdigest()
        settings = found.config.to_json()
        return cls(fingerprint, settings, found.source, found.target, found.weights)

    def require(self, settings: Mapping[str, Any]) -> None:
        """Raise SettingError where ``settings`` contradict those of this run."""
        for name, asked in settings.items():
            has = parse(name, self.settings[name])
            if asked != has:
                raise SettingError(
                    f"{name} is {asked}, but the run to start from has {has}: {argument(name, has)}"
                )


def inherit_rows(
    old: Arrays, fresh: Arrays, axes: Mapping[str, tuple[Pairing, ...]]
) -> dict[str, np.ndarray]:
    """The ``old`` weights, in the shapes of ``fresh`` for more symbols.

    ``axes`` names the tables that grow. For each of their growing axes, in order, it has the
    indices of the common rows in the old and in the new table. All other rows stay as in ``fresh``.
    """
    found = {name: np.array(value) for name, value in old.items()}
    for name in axes.keys() & found.keys():
        table = np.array(fresh[name])
        before, after = zip(*axes[name], strict=True)
        table[np.ix_(*after)] = found[name][np.ix_(*before)]
        found[name] = table
    return found


@dataclass(frozen=True)
class PreparedPairs:
    """A training of pairs, as far as it is known before the first step."""

    config: Config
    """The settings; the kind of attention, the number of layers and, of a single model, the
    direction are resolved."""
    dataset: Dataset
    source: Vocabulary
    target: Vocabulary
    limits: LengthLimits
    why: tuple[str, str, str]
    """Reasons for the symbols of the source, those of the target, and the kind of attention."""
    sources: Ragged
    """The ids of the training sources."""
    outputs: Ragged
    """The ids to be written for each source: symbols, or actions with hard attention."""
    start: PretrainedRun | None = None
    prior: Float[np.ndarray, "S A"] | None = None
    """Logits of the actions at each source symbol with which hard attention begins, by the
    alignment; None without."""

    @property
    def metadata(self) -> dict[str, Any]:
        """The contents of the run's about.json that are known before training."""
        data = self.dataset
        return {
            "settings": self.config.to_json(),
            "source": self.source.to_json(),
            "target": self.target.to_json(),
            "limits": list(self.limits.longest),
            "start": None if self.start is None else self.start.fingerprint,
            "data": {
                "name": encode(data.name).decode(),
                "fingerprint": data.fingerprint,
                "columns": data.columns,
                "examples": {"train": len(data.train), "dev": len(data.dev)},
                **({"rows": data.rows} if data.rows else {}),
            },
        }

    def trainer(self, halvings: int = 0) -> Trainer:
        """Model, batches and optimiser before the first step; ``halvings`` of the batch size."""
        from charseq.data.batches import Batches
        from charseq.models.factory import build as build_model

        config, start = self.config, self.start
        batches = Batches(
            self.sources,
            self.outputs,
            weights=weights(self.dataset.train),
            batch_size=halved(config.batch_size, halvings),
            seed=config.seed,
        )
        model = partial(
            build_model,
            config,
            sources=len(self.source),
            targets=_output_size(config, self.target),
            prior=self.prior,
        )
        inherited = None if start is None else partial(inherit, start, self)
        return assemble_trainer(config, model, batches, inherited)


def assemble_trainer(
    config: Config,
    model: Callable[[], TrainableModel],
    batches: Batches | LineBatches | StreamBatches,
    inherited: Callable[[Arrays], Arrays] | None,
) -> Trainer:
    """The trainer of any task before its first step.

    Args:
        config: the settings.
        model: builds the model, with random weights that are drawn from the seeded generator.
        batches: the training data.
        inherited: random weights -> the weights to start from; None to start from the former.

    Raises:
        SettingError: the settings ask for a GPU, and there is none.
    """
    from charseq.models.device import choose_device, choose_precision, choose_threads, seed_all
    from charseq.training.parallel.pace import choose_workers
    from charseq.training.trainer import OptimizerSettings, Trainer

    device = choose_device(config.device)
    workers = choose_workers(config, device.type)
    choose_threads(1 if workers > 1 else config.threads, timed=not config.epochs)
    seed_all(config.seed)
    trainer = Trainer(
        model(),
        batches,
        OptimizerSettings(
            learning_rate=config.learning_rate,
            warmup=config.warmup,
            weight_decay=config.weight_decay,
            beta2=config.beta2,
            clip=config.clip,
            label_smoothing=config.label_smoothing,
            ema=config.ema,
            dropout_growth=config.dropout_growth,
            seed=config.seed,
        ),
        device=device,
        precision=choose_precision(config.precision, device),
        ranks=workers,
        build=model,
    )
    if inherited is not None:
        trainer.start_from(inherited(trainer.averaged()))
    return trainer


def halved(batch_size: int, halvings: int) -> int:
    """The batch size after it was halved so many times; at least 1."""
    return max(1, batch_size >> halvings)


def prepare(dataset: Dataset, config: Config, start: PretrainedRun | None = None) -> PreparedPairs:
    """Symbols, alignment and limits, learnt from the training split alone.

    Raises:
        DataError: every target is empty.
        SettingError: a setting contradicts the run to start from.
        MissingExtraError: graphemes without the package ``regex``.
    """
    if start is not None:
        config = _shaped(config, start)
    if config.feature_separator == AUTO:
        config = replace(config, feature_separator=dataset.feature_separator)
    train = dataset.train
    if not any(side(train, "target")):
        raise DataError("every target is empty, expected answers for some of the sources")
    source, source_why = _vocabulary(train, config, "source", start)
    target, target_why = _vocabulary(train, config, "target", start)
    expected = resolve(config, pairs=len(train), hard=True)
    backward = _is_backward(expected)
    targets = pack(
        map(partial(target.encode, backward=backward), side(train, "target")), size=len(target)
    )
    actions, prior, attention_why = _align(train, targets, expected, config, source, target)
    config = resolve(config, pairs=len(train), hard=actions is not None)
    config = replace(config, alignment_prior=prior is not None)
    if _is_backward(config) != backward:  # the alignment has decided against hard attention
        backward = not backward
        targets = pack((ids[::-1] for ids in targets), size=len(target))
    read = partial(source.encode, ended=config.attention == "hard", backward=backward)
    sources = pack(map(read, side(train, "source"), side(train, "features")), size=len(source))
    outputs = targets if actions is None else actions
    limits = LengthLimits.learn(_sizes(sources, outputs))
    why = (source_why, target_why, attention_why)
    return PreparedPairs(
        config, dataset, source, target, limits, why, sources, outputs, start, prior
    )


def resolve(config: Config, *, pairs: int, hard: bool) -> Config:
    """The settings of a training on so many pairs: attention, direction and layers resolved.

    ``hard`` is whether hard attention suits the pairs. The direction of an ensemble stays "auto":
    its members have one and the other in turn.
    """
    attention = config.attention
    if attention == "auto":
        attention = "hard" if hard else "soft"
    many = pairs >= MANY_PAIRS
    direction = config.direction
    if direction == "auto" and config.ensemble == 1:
        direction = "backward" if attention == "hard" and not many else "forward"
    layers = config.layers or (2 if attention == "hard" and many else 1)
    return replace(config, attention=attention, direction=direction, layers=layers)


def _is_backward(config: Config) -> bool:
    """Whether texts are read from the end; of an ensemble, by its first member."""
    return direction_of(config) == "backward"


def _shaped(config: Config, start: PretrainedRun) -> Config:
    """The settings with those of ``start`` where they are left open.

    Raises:
        SettingError: they contradict those of ``start``.
    """
    config = replace(
        config, alignment_prior=parse("alignment_prior", start.settings["alignment_prior"])
    )
    left_open = {
        name: parse(name, start.settings[name])
        for name in ("attention", "direction", "layers")
        if getattr(config, name) in ("auto", 0)
    }
    config = replace(config, **left_open)
    start.require({name: getattr(config, name) for name in SHAPING})
    return config


def _align(
    examples: Sequence[Example],
    targets: Ragged,
    expected: Config,
    config: Config,
    source: Vocabulary,
    target: Vocabulary,
) -> tuple[Ragged | None, Float[np.ndarray, "S A"] | None, str]:
    """The actions of hard attention, where it is set or suits the pairs; their prior; the reason.

    ``targets`` are in the direction of ``expected``, the settings with hard attention; ``config``
    may leave the kind of attention open.

    Raises:
        SettingError: hard attention is set, but the alignment takes too much work or memory.
    """
    if config.attention in ("soft", "none"):
        return None, None, "as set"
    read = partial(source.encode, backward=_is_backward(expected))
    sources = pack(map(read, side(examples, "source")), size=len(source))
    required = config.attention == "hard"
    for what, size, limit in (
        (
            "texts are too long",
            alignment.cells(sources.lengths, targets.lengths),
            alignment.MAX_ALIGNED_CELLS,
        ),
        ("symbols are too many", len(source) * len(target), alignment.MAX_SYMBOL_PAIRS),
    ):
        if size > limit and required:
            raise SettingError(
                f"attention is hard, but the {what} to be aligned: that takes a table of "
                f"{size:,} cells, more than {limit:,}: {argument('attention', 'soft')}"
            )
        if size > limit:
            return None, None, f"the {what} to be aligned"
    same = _equal_symbols(source, target)
    sizes = (len(source), len(target))
    aligner = alignment.learn(sources, targets, sizes=sizes, same=same, seed=config.seed)
    paths = pack(aligner.paths(sources, targets), size=Actions(len(target)).size)
    entropy = aligner.entropy_ratio(sources, targets, paths)
    if not required and entropy > alignment.MAX_ENTROPY_RATIO:
        return None, None, f"the output does not follow the input ({entropy:.0%} left open)"
    why = "as set" if required else f"the output follows the input ({entropy:.0%} left open)"
    small = len(source) * Actions(len(target)).size <= alignment.MAX_PRIOR
    return paths, aligner.prior() if config.alignment_prior and small else None, why


def _equal_symbols(source: Vocabulary, target: Vocabulary) -> list[tuple[int, int]]:
    """The ids, on both sides, of each symbol that both sides have."""
    index = {symbol: row for row, symbol in enumerate(target.symbols)}
    return [
        (SPECIALS + row, SPECIALS + index[symbol])
        for row, symbol in enumerate(source.symbols)
        if symbol in index
    ]


def _output_size(config: Config, target: Vocabulary) -> int:
    """The number of different ids that are written."""
    return Actions(len(target)).size if config.attention == "hard" else len(target)


def inherit(start: PretrainedRun, pairs: PreparedPairs, fresh: Arrays) -> dict[str, np.ndarray]:
    """The weights of ``start`` in the shapes of ``pairs``; rows of new symbols stay ``fresh``."""
    rows = _common(start.source, pairs.source, len(fresh["source_embedding"]))
    columns = _common(start.target, pairs.target, len(fresh["target_embedding"]))
    axes: dict[str, tuple[Pairing, ...]] = {
        "source_embedding": (rows,),
        "target_embedding": (columns,),
        "output": (columns,),
        "output_bias": (columns,),
        "prior": (rows, columns),
    }
    return inherit_rows(start.weights, fresh, axes)


def _common(old: Vocabulary, new: Vocabulary, size: int) -> Pairing:
    """The ids that both have, in the old and in the new table, which has ``size`` rows.

    A table with more rows than symbols is one of actions.
    """
    index = _rows(new)
    pairs = [(row, index[key]) for key, row in _rows(old).items() if key in index]
    before, after = np.array(pairs).T
    if size > len(new):  # write and stay, write and advance, advance only
        before = np.concatenate([before, len(old) + before, [2 * len(old)]])
        after = np.concatenate([after, len(new) + after, [2 * len(new)]])
    return before, after


def _rows(vocabulary: Vocabulary) -> dict[tuple[str, str | int], int]:
    """The row of each special, symbol and feature."""
    special = [("special", number) for number in range(SPECIALS)]
    symbols = [("symbol", symbol) for symbol in vocabulary.symbols]
    features = [("feature", feature) for feature in vocabulary.features]
    keys: list[tuple[str, str | int]] = [*special, *symbols, *features]
    return {key: row for row, key in enumerate(keys)}


def _vocabulary(
    examples: Sequence[Example], config: Config, name: str, start: PretrainedRun | None
) -> tuple[Vocabulary, str]:
    """The symbols of the side ``name``, and why; those of the run to start from come first."""
    settings = config.to_json()
    kind, form = settings[f"{name}_symbols"], settings[f"{name}_form"]
    old: Vocabulary | None = getattr(start, name) if start is not None else None
    if old is not None:
        for what, asked, has in (("symbols", kind, old.kind), ("form", form, old.form)):
            if asked not in ("auto", has):
                raise SettingError(f"{name}_{what} is {asked}, but the run to start from has {has}")
        kind, form = old.kind, old.form
    found, why = build(
        side(examples, name),
        kind=kind,
        form=form,
        features=filter(None, side(examples, "features")) if name == "source" else (),
        feature_separator=config.feature_separator,
        min_count=config.min_count if name == "source" else 1,
        subword_size=config.subword_size,
        seed=config.seed,
        outputs=name == "target",
    )
    if old is None:
        return found, why
    note = altered_note(side(examples, name), old.written) if name == "target" else ""
    return old.extended(found), "as in the run to start from" + note


def _sizes(sources: Ragged, outputs: Ragged) -> list[tuple[int, int]]:
    """The different pairs of a source's length, without features behind EOS, and its output's."""
    pairs = zip(sources, outputs, strict=True)
    return sorted({(alignment.source_length(read), len(ids)) for read, ids in pairs})
