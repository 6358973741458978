"""data set, settings -> symbols, length limits, and the trainer before its first step.

It knows no files and no run folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.config import Config, parse
from charseq.data.pairs import side, weights
from charseq.data.storage import Ragged, pack
from charseq.data.text import alignment
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import SPECIALS, Vocabulary, build
from charseq.decoding.ensemble import direction_of
from charseq.decoding.search import LengthLimits
from charseq.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from charseq.data.pairs import Dataset, Example
    from charseq.training.trainer import OptimizerSettings, Trainer

    Arrays = Mapping[str, np.ndarray]
    Pairing = tuple[np.ndarray, np.ndarray]

SHAPING = ("cell", "embedding", "hidden", "layers", "attention", "direction", "tied")
"""Settings that the weights are made for; a run that starts from another takes them from it."""
MANY = 20_000
"""Pairs from which two layers are better with hard attention (docs/measured/accuracy.md)."""


@dataclass(frozen=True)
class PretrainedRun:
    """A trained run to start from: its settings, symbols and weights."""

    fingerprint: str
    """The sha256 of its weights."""
    settings: Mapping[str, Any]
    source: Vocabulary
    target: Vocabulary
    weights: Arrays


@dataclass(frozen=True)
class PreparedPairs:
    """What there is to learn, and everything that is known before training."""

    config: Config
    dataset: Dataset
    source: Vocabulary
    target: Vocabulary
    limits: LengthLimits
    why: tuple[str, str, str]
    """How the symbols of source and target were told apart, and how the input is looked at."""
    sources: Ragged
    """The ids of the training sources."""
    written: Ragged
    """What is to be written for each: symbols, or actions where attention is hard."""
    start: PretrainedRun | None = None
    prior: Float[np.ndarray, "S A"] | None = None
    """What the alignment expects of each source symbol, where hard attention begins with it."""

    @property
    def about(self) -> dict[str, Any]:
        """What a run says of itself, as far as it is known before training."""
        data = self.dataset
        return {
            "settings": self.config.to_json(),
            "source": self.source.to_json(),
            "target": self.target.to_json(),
            "limits": list(self.limits.longest),
            "start": None if self.start is None else self.start.fingerprint,
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint,
                "columns": data.columns,
                "examples": {"train": len(data.train), "dev": len(data.dev)},
            },
        }

    def trainer(self) -> Trainer:
        """Model, batches and optimiser, before the first step."""
        from charseq.data.batches import Batches
        from charseq.models.device import choose_device, choose_precision, choose_threads, seed_all
        from charseq.models.factory import build as build_model
        from charseq.training.trainer import Trainer

        config = self.config
        device = choose_device(config.device)
        choose_threads(config.threads)
        seed_all(config.seed)
        trainer = Trainer(
            build_model(
                config,
                sources=len(self.source),
                targets=_outputs(config, self.target),
                prior=self.prior,
            ),
            Batches(
                self.sources,
                self.written,
                weights=weights(self.dataset.train),
                batch_size=config.batch_size,
                seed=config.seed,
            ),
            optimizer_settings(config),
            device=device,
            precision=choose_precision(config.precision, device),
        )
        if self.start is not None:
            trainer.start_from(inherit(self.start, self, trainer.averaged()))
        return trainer


def optimizer_settings(config: Config) -> OptimizerSettings:
    """How the weights are moved, by the settings; for every kind of task."""
    from charseq.training.trainer import OptimizerSettings

    return OptimizerSettings(
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        beta2=config.beta2,
        clip=config.clip,
        label_smoothing=config.label_smoothing,
        ema=config.ema,
        seed=config.seed,
    )


def prepare(dataset: Dataset, config: Config, start: PretrainedRun | None = None) -> PreparedPairs:
    """Symbols, alignment and limits, learnt from the training split alone.

    Raises:
        SettingError: a setting contradicts the run to start from.
        MissingExtraError: graphemes without the package ``regex``.
    """
    if start is not None:
        config = _shaped(config, start)
    many = len(dataset.train) >= MANY
    if many and config.direction == "auto" and config.ensemble == 1:
        config = replace(config, direction="forward")
    source, source_why = _vocabulary(dataset.train, config, "source", start)
    target, target_why = _vocabulary(dataset.train, config, "target", start)
    before = direction_of(config)
    targets = _written(dataset, config, target)
    actions, prior, attention_why = _align(dataset.train, targets, config, source, target)
    config = replace(
        config, attention=_resolved(config, found=actions is not None), prior=prior is not None
    )
    if direction_of(config) != before:  # it was to be seen what attention suits the pairs
        targets = _written(dataset, config, target)
    backward = direction_of(config) == "backward"
    if config.ensemble == 1:
        config = replace(config, direction=direction_of(config))
    if not config.layers:
        config = replace(config, layers=2 if many and config.attention == "hard" else 1)
    read = partial(source.encode, ended=config.attention == "hard", backward=backward)
    texts, features = side(dataset.train, "source"), side(dataset.train, "features")
    sources = pack(map(read, texts, features), size=len(source))
    written = targets if actions is None else actions
    limits = LengthLimits.learn(_sizes(sources, written))
    why = (source_why, target_why, attention_why)
    return PreparedPairs(
        config, dataset, source, target, limits, why, sources, written, start, prior
    )


def _written(dataset: Dataset, config: Config, target: Vocabulary) -> Ragged:
    """The ids of the training split's targets, in the order in which they are written."""
    write = partial(target.encode, backward=direction_of(config) == "backward")
    return pack(map(write, side(dataset.train, "target")), size=len(target))


def _shaped(config: Config, start: PretrainedRun) -> Config:
    """``config`` with what it leaves to ``start``; raises SettingError where they contradict."""
    config = replace(config, prior=parse("prior", start.settings["prior"]))
    for name in SHAPING:
        asked, has = getattr(config, name), parse(name, start.settings[name])
        if name in ("attention", "direction", "layers") and asked in ("auto", 0):
            config = replace(config, **{name: has})
        elif asked != has:
            raise SettingError(
                f"{name} is {asked}, but the run to start from has {has}: --set {name}={has}"
            )
    return config


def _resolved(config: Config, *, found: bool) -> str:
    """The kind of attention, where actions were ``found`` or not."""
    if config.attention == "auto":
        return "hard" if found else "soft"
    return config.attention


def _align(
    examples: Sequence[Example],
    targets: Ragged,
    config: Config,
    source: Vocabulary,
    target: Vocabulary,
) -> tuple[Ragged | None, Float[np.ndarray, "S A"] | None, str]:
    """What hard attention is to write, where it is asked for or suits the pairs; its prior; why.

    Raises:
        SettingError: it is asked for, and that is too much work, or takes too much memory.
    """
    if config.attention in ("soft", "none"):
        return None, None, "as set"
    read = partial(source.encode, backward=direction_of(config) == "backward")
    sources = pack(map(read, side(examples, "source")), size=len(source))
    asked = config.attention == "hard"
    for what, size, most in (
        (
            "texts are too long",
            alignment.cells(sources.lengths, targets.lengths),
            alignment.MAX_ALIGNED_CELLS,
        ),
        ("symbols are too many", len(source) * len(target), alignment.MAX_SYMBOL_PAIRS),
    ):
        if size > most and asked:
            raise SettingError(
                f"attention is hard, but the {what} to be aligned: that takes a table of "
                f"{size:,} cells, more than {most:,}: --set attention=soft"
            )
        if size > most:
            return None, None, f"the {what} to be aligned"
    places = {symbol: place for place, symbol in enumerate(target.symbols)}
    same = [
        (SPECIALS + place, SPECIALS + places[symbol])
        for place, symbol in enumerate(source.symbols)
        if symbol in places
    ]
    sizes = (len(source), len(target))
    aligner = alignment.learn(sources, targets, sizes=sizes, same=same, seed=config.seed)
    walks = pack(aligner.paths(sources, targets), size=Actions(len(target)).size)
    left = aligner.entropy_ratio(sources, targets, walks)
    if not asked and left > alignment.MAX_ENTROPY_RATIO:
        return None, None, f"the output does not follow the input ({left:.0%} left open)"
    why = "as set" if asked else f"the output follows the input ({left:.0%} left open)"
    small = len(source) * Actions(len(target)).size <= alignment.MAX_PRIOR
    return walks, aligner.prior() if config.prior and small else None, why


def _outputs(config: Config, target: Vocabulary) -> int:
    """The number of ids that are written."""
    return Actions(len(target)).size if config.attention == "hard" else len(target)


def inherit(start: PretrainedRun, task: PreparedPairs, fresh: Arrays) -> dict[str, np.ndarray]:
    """The weights of ``start`` in the shapes of ``task``; new symbols keep their ``fresh`` rows."""
    weights = {name: np.array(value) for name, value in start.weights.items()}
    rows = _common(start.source, task.source, len(fresh["source_embedding"]))
    columns = _common(start.target, task.target, len(fresh["target_embedding"]))
    tables: dict[str, tuple[Pairing, ...]] = {
        "source_embedding": (rows,),
        "target_embedding": (columns,),
        "output": (columns,),
        "output_bias": (columns,),
        "prior": (rows, columns),
    }
    for name in tables.keys() & weights.keys():
        table = np.array(fresh[name])
        before, after = zip(*tables[name], strict=True)
        table[np.ix_(*after)] = weights[name][np.ix_(*before)]
        weights[name] = table
    return weights


def _common(old: Vocabulary, new: Vocabulary, size: int) -> Pairing:
    """The ids of what both have, in the old and in the new; of actions, if ``size`` says so."""
    places = _rows(new)
    pairs = [(row, places[key]) for key, row in _rows(old).items() if key in places]
    before, after = np.array(pairs).T
    if size > len(new):  # of actions: to stay, to go on, and to go on in silence
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
    """The symbols of the side ``name``; those of the run to start from come first."""
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
    )
    return (found, why) if old is None else (old.extended(found), "as in the run to start from")


def _sizes(sources: Ragged, written: Ragged) -> list[tuple[int, int]]:
    """The different lengths of what is read, without features behind EOS, and written for it."""
    pairs = zip(sources, written, strict=True)
    return sorted({(alignment.source_length(read), len(ids)) for read, ids in pairs})
