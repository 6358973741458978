"""string pairs -> what there is to learn from them, and how well it was learnt.

One of the two families that ``recipes`` can train; the other is ``sentences``, with the same
functions. It knows the flow of neither training nor saving.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq.config import Config, configure
from charseq.data import pairs, settings_file
from charseq.decoding.ensemble import cells_of, direction_groups_on, direction_of, member_of
from charseq.decoding.search import LengthLimits
from charseq.errors import DataError, SettingError
from charseq.evaluation.metrics import is_right
from charseq.evaluation.pairs import answer, facts
from charseq.evaluation.scoring import score_examples
from charseq.inference.calibration import MIN_INPUTS, Event, fit
from charseq.inference.loading import LoadedRun, read_run
from charseq.inference.predictor import PairsModel, Translator
from charseq.runs.folder import WEIGHTS, find, read
from charseq.training.distillation import mix
from charseq.training.prepare import PretrainedRun, prepare
from charseq.training.report import describe_task

if TYPE_CHECKING:
    import numpy as np

    from charseq.decoding.ensemble import DirectionGroup
    from charseq.inference.prediction import Prediction
    from charseq.training.distillation import Label, Source
    from charseq.training.trainer import Trainer

    Weights = Mapping[str, np.ndarray]


MOST_CALIBRATED = 2000
"""Rows of dev that probabilities are calibrated by."""


class PairsTask:
    """A training of pairs, as ``recipes`` sees it: before, during and after."""

    def __init__(
        self, data: str | Path, config: Config, init_from: str | Path | None = None
    ) -> None:
        """Read the data and prepare the task.

        Raises:
            CharseqError: the data, the settings or the run to start from do not allow it.
        """
        cells = cells_of(config)
        if cells[0] == "mlp":
            raise SettingError("the cell mlp predicts words, it does not rewrite: --task next-word")
        config = replace(config, cell=cells[0])
        if config.ensemble > 1 and config.keep:
            raise SettingError("keep is for single runs: an ensemble's members are not averaged")
        self.data = data
        self.config = config
        dataset = pairs.load(
            data,
            columns=config.columns,
            header=config.header,
            feature_separator=config.feature_separator,
            splits=("train", "dev"),
        )
        if not dataset.dev:
            raise DataError("no examples for dev: more than one source is needed", path=data)
        if init_from and len(set(cells)) > 1:
            raise SettingError("members of several cells cannot start from one run's weights")
        start = _start(init_from) if init_from else None
        self.counts = {"train": len(dataset.train), "dev": len(dataset.dev)}
        self.task = prepare(dataset, config, start)
        self.asked = config
        self.config = self.task.config  # what was to be chosen by the data is chosen
        self.name = dataset.name
        self.distilled: dict[str, Any] | None = None

    @property
    def about(self) -> dict[str, Any]:
        """What the run says of itself before training."""
        about = self.task.about
        about["data"]["examples"] = dict(self.counts)
        return about if self.distilled is None else {**about, "distilled": self.distilled}

    def attend(
        self, sources: Sequence[Source], labels: Sequence[Label], teacher: Mapping[str, Any]
    ) -> None:
        """Learn what a teacher says of ``sources`` as well; its symbols join those of the pairs."""
        task = self.task
        train = mix(task.dataset.train, sources, labels)
        # labels are many, but they ask for no other network
        asked = replace(self.asked, layers=self.config.layers, direction=self.config.direction)
        self.task = prepare(replace(task.dataset, train=train), asked, task.start)
        self.config = self.task.config
        self.distilled = dict(teacher)

    def member(self, number: int) -> PairsTask:
        """The training of one member of an ensemble, on the same data and symbols."""
        found = copy(self)
        found.config = member_of(self.config, number)
        task = self.task
        if direction_of(found.config) != direction_of(self.config):
            limits = task.limits
            task = replace(prepare(task.dataset, found.config, task.start), limits=limits)
        found.task = replace(task, config=found.config)
        return found

    def describe(self) -> list[str]:
        """What was understood, for people."""
        return describe_task(self.task)

    def trainer(self, halved: int = 0) -> Trainer:
        """Model, batches and optimiser, before the first step; batches ``halved`` so often."""
        size = max(1, self.task.config.batch_size >> halved)
        return replace(self.task, config=replace(self.task.config, batch_size=size)).trainer()

    def publish(self, weights: Weights) -> Weights:
        """What a run keeps of the trainer's weights: all."""
        return weights

    def score(self, weights: Weights) -> dict[str, float]:
        """Dev scores of ``weights``, by greedy search."""
        task, config = self.task, self.config
        translator = Translator(
            self._direction_groups(weights), task.source, task.target, task.limits
        )
        rows = task.dataset.dev[: config.dev_limit]
        return asdict(score_examples(translator, rows, width=1).scores)

    def calibrate(self, weights: Weights) -> dict[str, Any]:
        """What a run says of its probabilities, learnt from dev; nothing where that is too little.

        About ``MOST_CALIBRATED`` rows at most, from all over the split, searched as in use.
        """
        task, config = self.task, self.config
        translator = Translator(
            self._direction_groups(weights),
            task.source,
            task.target,
            task.limits,
            length_penalty=config.length_penalty,
        )
        dev = task.dataset.dev
        if len({(row.source, row.features) for row in dev}) < MIN_INPUTS:
            return {}
        rows = dev[:: -(-len(dev) // MOST_CALIBRATED)]
        outcome = score_examples(translator, rows, width=config.beam, n=config.beam)
        found = fit([_event(*one) for one in zip(rows, outcome.predictions, strict=True)])
        return {} if found is None else {"calibration": found.to_json()}

    def _direction_groups(self, weights: Weights) -> tuple[DirectionGroup, ...]:
        """The networks in use, where the run is trained."""
        from charseq.models.device import choose_device

        return direction_groups_on(choose_device(self.config.device).type, self.config, weights)

    @staticmethod
    def rank(scores: Mapping[str, float]) -> tuple[float, float]:
        """More exact matches win, then fewer symbol errors."""
        return scores["exact_match"], -scores["ser"]

    @staticmethod
    def tell(scores: Mapping[str, float]) -> str:
        """Dev scores in a few words."""
        return f"dev exact {scores['exact_match']:5.1f} %  ser {scores['ser']:5.1f} %"

    def evaluate(self, model: PairsModel, *, version: str) -> dict[str, Any]:
        """What :func:`evaluate` returns of the dev split."""
        rows = self.task.dataset.dev
        return facts(model, self.data, "dev", *answer(model, rows), version=version)


def _event(row: pairs.Example, found: Prediction) -> Event:
    """Which of the candidates, if any, is the target of the row itself."""
    places = range(len(found.candidates))
    right = (i for i in places if is_right(found.candidates[i].prediction, [row.target]))
    return Event(row.source, [one.score for one in found.candidates], next(right, None))


def of_run(found: LoadedRun, data: str | Path) -> PairsTask:
    """A run's own training again, on the dev split of ``data``: to score other weights for it."""
    known = ("columns", "header", "feature_separator")
    own: dict[str, Any] = settings_file.settings_of(data)
    own = {name: value for name, value in own.items() if name in known}
    # to score a few times needs no torch, which would take longer to load
    lesson = PairsTask(data, configure({**own, "device": "cpu"}, base=found.config))
    limits = LengthLimits(tuple(found.metadata["limits"]))
    lesson.task = replace(lesson.task, source=found.source, target=found.target, limits=limits)
    return lesson


def _start(run: str | Path) -> PretrainedRun:
    """A trained run as the start of another.

    Raises:
        SettingError: the run predicts words, or is an ensemble.
    """
    path = find(run)
    found = read_run(path)
    if found.tokenizer is not None:
        raise SettingError(f"{path} predicts words, it is no start for pairs")
    if found.config.ensemble > 1:
        raise SettingError(f"{path} is an ensemble, its members' weights are no start for one run")
    fingerprint = hashlib.sha256(read(path, WEIGHTS)).hexdigest()
    settings = found.config.to_json()
    return PretrainedRun(fingerprint, settings, found.source, found.target, found.weights)
