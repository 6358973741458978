"""string pairs -> what there is to learn from them, and how well it was learnt.

One of the two families that ``recipes`` can train; the other is ``sentences``, with the same
functions. It knows the flow of neither training nor saving.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq import examples
from charseq.checkpoint import WEIGHTS, find, read
from charseq.config import Config
from charseq.contents import read_run
from charseq.errors import DataError, SettingError
from charseq.inference import Network
from charseq.metrics import signature, standard_error
from charseq.predictor import Model, Transducer
from charseq.report import describe_task
from charseq.scoring import choose_rows, score_examples, write_errors
from charseq.task import Start, prepare

if TYPE_CHECKING:
    import numpy as np

    from charseq.trainer import Trainer

    Weights = Mapping[str, np.ndarray]


class Pairs:
    """A training of pairs, as ``recipes`` sees it: before, during and after."""

    def __init__(
        self, data: str | Path, config: Config, init_from: str | Path | None = None
    ) -> None:
        """Read the data and prepare the task.

        Raises:
            CharseqError: the data, the settings or the run to start from do not allow it.
        """
        if config.cell == "mlp":
            raise SettingError("the cell mlp predicts words, it does not rewrite: --task next-word")
        self.data = data
        self.config = config
        dataset = examples.load(
            data,
            columns=config.columns,
            header=config.header,
            feature_separator=config.feature_separator,
            splits=("train", "dev"),
        )
        if not dataset.dev:
            raise DataError("no examples for dev: more than one source is needed", path=data)
        self.task = prepare(dataset, config, _start(init_from) if init_from else None)
        self.name = dataset.name

    @property
    def about(self) -> dict[str, Any]:
        """What the run says of itself before training."""
        return self.task.about

    def describe(self) -> list[str]:
        """What was understood, for people."""
        return describe_task(self.task)

    def trainer(self) -> Trainer:
        """Model, batches and optimiser, before the first step."""
        return self.task.trainer()

    def publish(self, weights: Weights) -> Weights:
        """What a run keeps of the trainer's weights: all."""
        return weights

    def score(self, weights: Weights) -> dict[str, float]:
        """Dev scores of ``weights``, by greedy search."""
        task, config = self.task, self.config
        network = Network(weights, cell=config.cell, layers=config.layers)
        transducer = Transducer(network, task.source, task.target, task.limits)
        rows = task.dataset.dev[: config.dev_limit]
        return asdict(score_examples(transducer, rows, width=1).scores)

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
        return _facts(model, self.data, self.task.dataset.dev, "dev", version=version)


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
        ser, standard_error (in percent), beam, signature.
    """
    settings = {**model.about["settings"], **examples.settings_of(data)}
    rows, split = choose_rows(data, settings, split, model.about["data"]["fingerprint"])
    return _facts(model, data, rows, split, beam=beam, errors=errors, version=version)


def _facts(
    model: Model,
    data: str | Path,
    rows: Sequence[examples.Example],
    split: str,
    *,
    beam: int | None = None,
    errors: str | Path | None = None,
    version: str,
) -> dict[str, Any]:
    """What :func:`evaluate` returns, for given rows."""
    about = model.about
    width = model.config.beam if beam is None else beam
    if width < 1:
        raise SettingError(f"beam is {width}, expected 1 or more")
    outcome = score_examples(model.transducer, rows, width=width)
    if errors is not None:
        write_errors(errors, outcome)
    return {
        "run": str(model.path),
        "parameters": about["parameters"],
        "seconds": about["seconds"],
        "epochs": about["epochs"],
        "data": str(data),
        "split": split,
        **asdict(outcome.scores),
        "standard_error": standard_error(outcome.scores),
        "beam": width,
        "signature": signature(
            charseq=version,
            split=split,
            n=outcome.scores.examples,
            unit="row",
            references="any",
            match="NFC",
            ser=model.transducer.target.kind,
            beam=width,
        ),
    }


def _start(run: str | Path) -> Start:
    """A trained run as the start of another.

    Raises:
        SettingError: the run predicts words.
    """
    path = find(run)
    found = read_run(path)
    if found.units is not None:
        raise SettingError(f"{path} predicts words, it is no start for pairs")
    fingerprint = hashlib.sha256(read(path, WEIGHTS)).hexdigest()
    settings = found.config.to_json()
    return Start(fingerprint, settings, found.source, found.target, found.weights)
