"""Pairs of strings -> a task for the training loop.

:class:`PairsTask` is a :class:`charseq.training.loop.Task`. It can also be a student of a trained
run (:mod:`charseq.training.distillation`), and give the tasks of the members of an ensemble.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from charseq.confidence import word_list
from charseq.confidence.joint_ngrams import JointNgrams
from charseq.confidence.memory import Memory, key_of, written
from charseq.confidence.word_list import WordList
from charseq.confidence.word_prior import BEAM
from charseq.config import WORDS_ONLY, Config, cells_of, configure
from charseq.data import counts, pairs, settings_file
from charseq.data.bad_rows import rejects_beside
from charseq.data.pairs import side
from charseq.data.text.alignment import Actions
from charseq.data.text.features import AUTO
from charseq.decoding.ensemble import direction_groups_on, direction_of, member_of
from charseq.decoding.search import LengthLimits
from charseq.errors import DataError, SettingError
from charseq.evaluation.calibrate import calibrate
from charseq.evaluation.pairs import answer, facts
from charseq.evaluation.scoring import TimeLimit, score_examples
from charseq.inference.predictor import PairsModel
from charseq.inference.translator import Translator
from charseq.inference.verify import MAX_LINES
from charseq.training.distillation import mix
from charseq.training.loop import silent
from charseq.training.prepare import PretrainedRun, prepare
from charseq.training.report import describe_pairs

if TYPE_CHECKING:
    import numpy as np

    from charseq.decoding.ensemble import DirectionGroup
    from charseq.evaluation.scoring import Outcome
    from charseq.inference.loading import LoadedRun
    from charseq.training.distillation import Label, Source
    from charseq.training.trainer import Trainer

    Weights = Mapping[str, np.ndarray]


MAX_REMEMBERED = 500_000
"""Distinct pairs that are looked through for the memory, the most frequent ones."""
MIN_SCORING_SECONDS = 10.0
"""Seconds that an evaluation on dev may take, however short the training is."""


class PairsTask:
    """A training on pairs; see :class:`charseq.training.loop.Task`."""

    may_ensemble: ClassVar[bool] = True
    minimize: ClassVar[bool] = False
    """Whether the least :meth:`objective` is the best."""

    def __init__(
        self,
        data: str | Path,
        config: Config,
        init_from: str | Path | None = None,
        *,
        keep_rejects: bool = True,
    ) -> None:
        """Read the data, and prepare the training split.

        ``keep_rejects``: whether bad rows that are skipped are written to a file, which only one
        process may do.

        Raises:
            CharseqError: the data, the settings or the run to start from do not allow it.
        """
        cells = cells_of(config)
        if cells[0] == "mlp":
            raise SettingError(WORDS_ONLY)
        config = replace(config, cell=cells[0])
        if config.ensemble > 1 and config.keep_checkpoints:
            what = "keep_checkpoints is for single runs"
            raise SettingError(f"{what}: an ensemble's members are not averaged")
        if config.ensemble * config.evaluations >= MAX_LINES:
            raise SettingError(
                f"{config.ensemble} members of {config.evaluations:,} evaluations, expected fewer "
                f"than {MAX_LINES:,} evaluations in a run: lower evaluations"
            )
        if init_from and len(set(cells)) > 1:
            raise SettingError("members of several cells cannot start from one run's weights")
        start = PretrainedRun.load(init_from, next_word=False) if init_from else None
        if start and start.source.features and config.feature_separator == AUTO:
            config = replace(config, feature_separator=start.source.feature_separator)
        self.data = data
        how = {name: getattr(config, name) for name in pairs.SETTINGS}
        with rejects_beside(data, config.bad_rows if keep_rejects else "stop") as rejects:
            dataset = pairs.load(data, **how, splits=("train", "dev"), rejects=rejects)
        if not dataset.dev:
            wanted = "one source is" if Path(data).is_dir() else "two sources are"
            reason = "; ".join(
                [f"no examples for dev: more than {wanted} needed", *dataset.problems]
            )
            raise DataError(reason, path=data)
        dataset, merged = counts.merge(dataset.trainable(), config.counts)
        config = replace(config, counts=merged)
        self.name = dataset.name
        self.counts = {"train": len(dataset.train), "dev": len(dataset.dev)}
        """Numbers of true pairs, each once where they are merged, without those of a teacher."""
        self._true = dataset
        """The data without a teacher's pairs."""
        self.words: WordList | None = None
        """The list of words that the model is to have; None without."""
        if config.target_words:
            self.words = word_list.read(config.target_words)
        self.given = config
        """The settings before :func:`charseq.training.prepare.resolve`."""
        self.prepared = prepare(dataset, config, start)
        self.config = self.prepared.config
        self.distilled: dict[str, Any] | None = None
        """The teacher, as the run's metadata have it."""
        self.limit = None if config.epochs else TimeLimit(_scoring_seconds(config.minutes))
        """The time of an evaluation on dev, where the training has one."""

    @classmethod
    def of_run(cls, run: LoadedRun, data: str | Path) -> PairsTask:
        """The task of a trained run, with its symbols, on ``data``: to score other weights."""
        own = settings_file.settings_of(data)
        settings: dict[str, Any] = {name: own[name] for name in own if name in pairs.SETTINGS}
        # on the CPU, where scoring needs no torch, which would take longer to load
        own_config = configure({**settings, "device": "cpu", "target_words": ""}, base=run.config)
        task = cls(data, own_config, keep_rejects=False)
        if stored := run.metadata.get("words"):
            task.words = WordList.from_json(stored["list"])
        limits = LengthLimits(tuple(run.metadata["limits"]))
        task.prepared = replace(task.prepared, source=run.source, target=run.target, limits=limits)
        return task

    @property
    def metadata(self) -> dict[str, Any]:
        """The contents of the run's about.json that are known before training."""
        metadata = self.prepared.metadata
        metadata["data"]["examples"] = dict(self.counts)
        return metadata if self.distilled is None else {**metadata, "distilled": self.distilled}

    def student(self) -> PairsTask:
        """This task, for :func:`charseq.training.distillation.distil`."""
        return self

    def add_teacher_labels(
        self, sources: Sequence[Source], labels: Sequence[Label], teacher: Mapping[str, Any]
    ) -> None:
        """Add a teacher's outputs for ``sources`` to the training pairs, and their symbols."""
        before = self.prepared
        train = mix(before.dataset.train, sources, labels)
        # the network is that for the true pairs, however many labels there are
        given = replace(self.given, layers=self.config.layers, direction=self.config.direction)
        self.prepared = prepare(replace(before.dataset, train=train), given, before.start)
        self.config = self.prepared.config
        self.distilled = dict(teacher)

    def member(self, number: int) -> PairsTask:
        """The training of a member of the ensemble, counted from 0, on the same symbols."""
        task = copy(self)
        task.config = member_of(self.config, number)
        prepared = self.prepared
        if direction_of(task.config) != direction_of(self.config):
            again = prepare(prepared.dataset, task.config, prepared.start)
            prepared = replace(again, limits=prepared.limits)
        task.prepared = replace(prepared, config=task.config)
        return task

    def describe(self) -> list[str]:
        """Lines for people: the data, the first pairs, the symbols."""
        return describe_pairs(self.prepared)

    def trainer(self, halvings: int = 0) -> Trainer:
        """Model, batches and optimiser before the first step; ``halvings`` of the batch size."""
        return self.prepared.trainer(halvings)

    def publish(self, weights: Weights) -> Weights:
        """The weights that a run keeps: copies of all."""
        return {name: value.copy() for name, value in weights.items()}

    def score(self, weights: Weights) -> dict[str, float]:
        """The dev scores of ``weights``, by greedy search.

        Rows whose answers come too late count as wrong; ``late`` is their number, if there are any.
        """
        rows = self.prepared.dataset.dev[: self.config.dev_limit]
        found = score_examples(self._translator(weights), rows, width=1, limit=self.limit)
        late = self._late(found)
        return asdict(found.scores) | ({"late": late} if late else {})

    def calibrate(self, weights: Weights, report: Callable[[str], None] = silent) -> dict[str, Any]:
        """What makes probabilities of scores, for the metadata; empty where dev is too small."""
        config, dataset, limit = self.config, self.prepared.dataset, self.limit
        if limit is not None and self.words is not None:  # with a wider beam, and twice
            limit = TimeLimit(limit.seconds * 2 * BEAM / min(config.beam, BEAM), limit.late)
        return calibrate(
            self._translator(weights, length_penalty=config.length_penalty),
            dataset.train,
            dataset.dev,
            beam=config.beam,
            seed=config.seed,
            limit=limit,
            memory=self._memory(),
            words=self.words,
            ngrams=self._ngrams(),
            report=report,
        )

    def _ngrams(self) -> dict[bool, JointNgrams] | None:
        """The joint n-grams of each direction that is in use; None without hard attention."""
        config, actions = self.config, Actions(len(self.prepared.target))
        if config.attention != "hard" or config.joint_ngrams == "off" or config.beam == 1:
            return None
        found = {}
        for number in range(config.ensemble):
            direction = direction_of(config, number)
            if (backward := direction == "backward") not in found:
                pairs = self.member(number).prepared if config.ensemble > 1 else self.prepared
                found[backward] = JointNgrams.count(pairs.sources, pairs.outputs, actions)
        return found

    def _memory(self) -> Memory | None:
        """The targets of the training sources; None where no source of dev is among these."""
        data, prepared = self._true, self.prepared
        asked = {(row.source, row.features) for row in data.dev}
        sources = zip(side(data.train, "source"), side(data.train, "features"), strict=True)
        if self.config.memory == "off" or not any(one in asked for one in sources):
            return None
        return Memory.count(
            (
                key_of(prepared.source, row.source, row.features),
                written(prepared.target, row.target),
                count,
            )
            for row, count in counts.occurrences(data, most=MAX_REMEMBERED)
        )

    @staticmethod
    def rank(scores: Mapping[str, float]) -> tuple[float, float]:
        """A key for sorting by quality: more exact matches, then fewer symbol errors."""
        return scores["exact_match"], -scores["ser"]

    @staticmethod
    def objective(scores: Mapping[str, Any]) -> float:
        """Dev scores -> the number that a search over settings maximises; it sorts as ``rank``.

        It is the exact match in percent less a penalty. The penalty grows with the symbol error
        rate and stays below the share of one example, so one more exact match outweighs any
        symbol error rate.
        """
        penalty = scores["ser"] / (100 + scores["ser"])
        return float(scores["exact_match"] - penalty * 100 / scores["examples"])

    @staticmethod
    def summary(scores: Mapping[str, float]) -> str:
        """Dev scores in a few words."""
        shown = f"dev exact {scores['exact_match']:5.1f} %  ser {scores['ser']:5.1f} %"
        if late := scores.get("late"):
            shown += f"  ({late:,} of {scores['examples']:,} rows too slow to answer)"
        return shown

    def evaluate(self, model: PairsModel, *, version: str) -> dict[str, Any]:
        """The result of :func:`charseq.evaluation.pairs.evaluate` on the dev split."""
        rows = self.prepared.dataset.dev
        limit = self.limit and TimeLimit(_closing_seconds(self.config.minutes))
        found = answer(model, rows, limit=limit)
        return facts(model, self.data, "dev", *found, version=version)

    def _late(self, outcome: Outcome) -> int:
        """The number of rows whose answers came too late."""
        late = set() if self.limit is None else self.limit.late
        return sum(one.source in late for one in outcome.predictions)

    def _translator(self, weights: Weights, *, length_penalty: float = 0.0) -> Translator:
        """The search with ``weights``, on the device of the training."""
        prepared = self.prepared
        return Translator(
            self._networks(weights),
            prepared.source,
            prepared.target,
            prepared.limits,
            length_penalty=length_penalty,
            empty=self.config.empty_targets,
        )

    def _networks(self, weights: Weights) -> tuple[DirectionGroup, ...]:
        """The networks in use, on the device of the training."""
        from charseq.models.device import choose_device

        return direction_groups_on(choose_device(self.config.device).type, self.config, weights)


def _scoring_seconds(minutes: float) -> float:
    """Seconds of an evaluation on dev: a tenth of the budget, but enough for an ordinary dev."""
    return max(MIN_SCORING_SECONDS, 60 * minutes / 10)


def _closing_seconds(minutes: float) -> float:
    """Seconds of the evaluation at the end, on all of dev and by beam search: as many as trained.

    It is there for rows out of all proportion; an ordinary dev takes a small part of it.
    """
    return max(6 * MIN_SCORING_SECONDS, 60 * minutes)
