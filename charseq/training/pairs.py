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
from charseq.data import pairs
from charseq.data.text.vocabulary import SUBWORDS
from charseq.decoding.ensemble import cells_of, direction_of, member_of
from charseq.decoding.search import Limits
from charseq.errors import DataError, SettingError, UsageError
from charseq.evaluation import analysis, comparison
from charseq.evaluation.metrics import is_right, signature, standard_error
from charseq.evaluation.scoring import choose_rows, score_examples, write_errors
from charseq.inference.calibration import FEWEST, Event, fit
from charseq.inference.loading import Contents, read_run
from charseq.inference.predictor import Model, Transducer, voices_on
from charseq.runs.folder import WEIGHTS, find, read
from charseq.training.distillation import mix
from charseq.training.prepare import Start, prepare
from charseq.training.report import describe_task

if TYPE_CHECKING:
    import numpy as np

    from charseq.data.text.vocabulary import Vocabulary
    from charseq.decoding.ensemble import Voice
    from charseq.evaluation.scoring import Outcome
    from charseq.inference.prediction import Prediction
    from charseq.training.distillation import Label, Source
    from charseq.training.trainer import Trainer

    Weights = Mapping[str, np.ndarray]


MOST_CALIBRATED = 2000
"""Rows of dev that probabilities are calibrated by."""


class Pairs:
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

    def member(self, number: int) -> Pairs:
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
        transducer = Transducer(self._voices(weights), task.source, task.target, task.limits)
        rows = task.dataset.dev[: config.dev_limit]
        return asdict(score_examples(transducer, rows, width=1).scores)

    def calibrate(self, weights: Weights) -> dict[str, Any]:
        """What a run says of its probabilities, learnt from dev; nothing where that is too little.

        About ``MOST_CALIBRATED`` rows at most, from all over the split, searched as in use.
        """
        task, config = self.task, self.config
        transducer = Transducer(
            self._voices(weights),
            task.source,
            task.target,
            task.limits,
            length_penalty=config.length_penalty,
        )
        dev = task.dataset.dev
        if len({(row.source, row.features) for row in dev}) < FEWEST:
            return {}
        rows = dev[:: -(-len(dev) // MOST_CALIBRATED)]
        outcome = score_examples(transducer, rows, width=config.beam, n=config.beam)
        found = fit([_event(*one) for one in zip(rows, outcome.predictions, strict=True)])
        return {} if found is None else {"calibration": found.to_json()}

    def _voices(self, weights: Weights) -> tuple[Voice, ...]:
        """The networks in use, where the run is trained."""
        from charseq.models.device import choose_device

        return voices_on(choose_device(self.config.device).type, self.config, weights)

    @staticmethod
    def rank(scores: Mapping[str, float]) -> tuple[float, float]:
        """More exact matches win, then fewer symbol errors."""
        return scores["exact_match"], -scores["ser"]

    @staticmethod
    def tell(scores: Mapping[str, float]) -> str:
        """Dev scores in a few words."""
        return f"dev exact {scores['exact_match']:5.1f} %  ser {scores['ser']:5.1f} %"

    def evaluate(self, model: Model, *, version: str) -> dict[str, Any]:
        """What :func:`evaluate` returns of the dev split."""
        rows = self.task.dataset.dev
        return _facts(model, self.data, "dev", *_answer(model, rows), version=version)


def _event(row: pairs.Example, found: Prediction) -> Event:
    """Which of the candidates, if any, is the target of the row itself."""
    places = range(len(found.candidates))
    right = (i for i in places if is_right(found.candidates[i].prediction, [row.target]))
    return Event(row.source, [one.score for one in found.candidates], next(right, None))


def evaluate(
    model: Model,
    data: str | Path,
    *,
    split: str | None = None,
    beam: int | None = None,
    errors: str | Path | None = None,
    version: str,
) -> dict[str, Any]:
    """Score ``model`` on a split of ``data``; its columns are read as in the model's training.

    ``version`` is the program's, for the signature.

    Returns:
        run, parameters, seconds (of training), epochs, data, split, examples, exact_match, wer,
        ser, standard_error, ece (in percent), intervals, top_k, by_length, confusions (see
        :mod:`charseq.evaluation.analysis`), beam, signature.
    """
    rows, split = _rows(model, data, split)
    outcome, width = _answer(model, rows, beam)
    if errors is not None:
        write_errors(errors, outcome)
    return _facts(model, data, split, outcome, width, version=version)


def compare(
    first: Model,
    second: Model,
    data: str | Path,
    *,
    split: str | None = None,
    beam: int | None = None,
    version: str,
) -> dict[str, Any]:
    """Score both on the same rows; without ``split``, on test if one was trained on the file.

    Returns:
        data, split, examples, models (what :func:`evaluate` returns of each) and comparison (see
        :func:`charseq.evaluation.comparison.compare`).

    Raises:
        UsageError: only one of the models has features, so a row is not the same task to both.
        DataError: the models' columns read other rows from ``data``.
    """
    if first.has_features != second.has_features:
        blind = second if first.has_features else first
        raise UsageError(f"{blind.path} takes no features, the other model does")
    models = (first, second)
    found = [_rows(model, data, split) for model in models]
    if found[0][1] != found[1][1]:
        found = [_rows(model, data, "test") for model in models]
    (rows, split), (others, _) = found
    if [_task(row, first) for row in rows] != [_task(row, second) for row in others]:
        raise DataError(
            f"{first.path} reads other columns of it than {second.path}; what is compared must "
            "have been trained on the same columns",
            path=data,
        )
    outcomes = [_answer(model, rows, beam) for model in models]
    return {
        "data": str(data),
        "split": split,
        "examples": len(rows),
        "models": [
            _facts(model, data, split, *outcome, version=version)
            for model, outcome in zip(models, outcomes, strict=True)
        ],
        "comparison": comparison.compare(
            outcomes[0][0],
            outcomes[1][0],
            same_symbols=_cut_alike(first.transducer.target, second.transducer.target),
        ),
    }


def _task(row: pairs.Example, model: Model) -> tuple[str, ...]:
    """What of a row matters to the scores of ``model``."""
    return (row.source, row.target, *([row.features] if model.has_features else []))


def _cut_alike(one: Vocabulary, other: Vocabulary) -> bool:
    """Whether the errors of both are counted in the same pieces of text."""
    same = one.piece_kind == other.piece_kind
    if one.form != other.form:  # phones that Unicode calls equal are the same in either form
        same = same and one.piece_kind == "spaced" and {one.form, other.form} == {"NFC", "NFD"}
    learnt = one.kind in SUBWORDS
    return same and (not learnt or (one.symbols, one.scores) == (other.symbols, other.scores))


def of_run(found: Contents, data: str | Path) -> Pairs:
    """A run's own training again, on the dev split of ``data``: to score other weights for it."""
    known = ("columns", "header", "feature_separator")
    own: dict[str, Any] = pairs.settings_of(data)
    own = {name: value for name, value in own.items() if name in known}
    # to score a few times needs no torch, which would take longer to load
    lesson = Pairs(data, configure({**own, "device": "cpu"}, base=found.config))
    limits = Limits(tuple(found.about["limits"]))
    lesson.task = replace(lesson.task, source=found.source, target=found.target, limits=limits)
    return lesson


def _rows(model: Model, data: str | Path, split: str | None) -> tuple[Sequence[pairs.Example], str]:
    """The rows to score, as the model's settings and those of ``data`` read them; their split."""
    settings = {**model.about["settings"], **pairs.settings_of(data)}
    return choose_rows(data, settings, split, model.about["data"]["fingerprint"])


def _answer(
    model: Model, rows: Sequence[pairs.Example], beam: int | None = None
) -> tuple[Outcome, int]:
    """The scored answers to ``rows``, with candidates, and the beam's width."""
    width = model.config.beam if beam is None else beam
    if width < 1:
        raise SettingError(f"beam is {width}, expected 1 or more")
    n = min(width, max(analysis.TOP))
    return score_examples(model.transducer, rows, width=width, n=n), width


def _facts(
    model: Model,
    data: str | Path,
    split: str,
    outcome: Outcome,
    width: int,
    *,
    version: str,
) -> dict[str, Any]:
    """What :func:`evaluate` returns, of given answers."""
    about, source, target = model.about, model.transducer.source, model.transducer.target
    return {
        "run": str(model.path),
        "parameters": about["parameters"],
        "seconds": about["seconds"],
        "epochs": about["epochs"],
        "data": str(data),
        "split": split,
        **asdict(outcome.scores),
        "standard_error": standard_error(outcome.scores),
        "ece": analysis.calibration_error(outcome),
        "intervals": analysis.intervals(outcome),
        "top_k": analysis.among_first(outcome, width),
        "by_length": analysis.by_length(outcome, source.pieces),
        "confusions": analysis.confusions(outcome, target.pieces),
        "beam": width,
        "signature": signature(
            charseq=version,
            split=split,
            n=outcome.scores.examples,
            unit="row",
            references="any",
            match="NFC",
            ser=target.piece_kind,
            beam=width,
            length_penalty=model.transducer.length_penalty or None,
        ),
    }


def _start(run: str | Path) -> Start:
    """A trained run as the start of another.

    Raises:
        SettingError: the run predicts words, or is an ensemble.
    """
    path = find(run)
    found = read_run(path)
    if found.units is not None:
        raise SettingError(f"{path} predicts words, it is no start for pairs")
    if found.config.ensemble > 1:
        raise SettingError(f"{path} is an ensemble, its members' weights are no start for one run")
    fingerprint = hashlib.sha256(read(path, WEIGHTS)).hexdigest()
    settings = found.config.to_json()
    return Start(fingerprint, settings, found.source, found.target, found.weights)
