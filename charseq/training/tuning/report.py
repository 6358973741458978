"""Search -> report: lines for people, and the best settings as TOML.

The module holds what a search is about and where its files are. Sampling and training are the
business of others.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq.config import Config, defaults
from charseq.data.settings_file import SETTINGS_FILE
from charseq.training.train import TaskType, task_type
from charseq.training.tuning.storage import DONE

if TYPE_CHECKING:
    from charseq.training.tuning.trials import FinishedTrial

FOLDER = "tune"
"""Subfolder of the run for the files of the search."""
TRIALS_FILE = "trials.jsonl"
TRIAL = "trial-[0-9]{3,}"
"""Names of the trials' run folders, as a regular expression."""
SCORES = ("examples", "exact_match", "wer", "ser", "perplexity")
"""Scores of an evaluation that are stored with a trial."""
NO_TIME_LIMIT = ("minutes", 0)
"""Value of ``minutes`` that a training by epochs has anyway."""


@dataclass(frozen=True)
class Plan:
    """Data, settings, search space and budget of a search, and its files.

    Args:
        data: the data as the user named them.
        config: the settings of the first trial.
        space: the search space as a table of JSON values, as ``space.to_json`` gives it.
        folder: the run folder of the best model.
        fingerprint: hash of the data.
        most: number of trials of all calls; None: any.
        hours: hours of training of all calls, after which no trial begins; None: any.
    """

    data: str | Path
    config: Config
    space: Mapping[str, Any]
    folder: Path
    fingerprint: str
    most: int | None = None
    hours: float | None = None

    @property
    def conditions(self) -> dict[str, Any]:
        """Data, settings and search space in JSON values; equal in every call of one search."""
        settings = self.config.to_json()
        return {"data": self.fingerprint, "settings": settings, "space": dict(self.space)}

    @property
    def trials(self) -> Path:
        """Path of the list of trials."""
        return self.folder / FOLDER / TRIALS_FILE

    @property
    def settings(self) -> Path:
        """Path of the TOML file with the best settings."""
        return self.folder / FOLDER / SETTINGS_FILE

    @property
    def task(self) -> TaskType:
        """The class of the task, which knows the objective of the search."""
        return task_type(self.config.task)

    def trial_folder(self, number: int) -> Path:
        """Run folder of a trial, which exists while the trial is trained."""
        return self.folder / FOLDER / f"trial-{number:03}"


def describe(plan: Plan) -> list[str]:
    """Lines with the search space and the budget."""
    config, most, hours = plan.config, plan.most, plan.hours
    heads = ["search", *[""] * (len(plan.space) - 1)]
    lines = [
        f"{head:10} {name:17} {range_text(entry)}"
        for head, (name, entry) in zip(heads, plan.space.items(), strict=True)
    ]
    each = f"{config.epochs} epochs" if config.epochs else f"{config.minutes:g} minutes"
    budget = [f"trials of {each}" if most is None else f"{most} trials of {each} each"]
    if most is not None and config.minutes:
        budget.append(f"{most * config.minutes / 60:.1f} h at most")
    if hours is not None:
        budget.append(f"none begun after {hours:g} h")
    return [*lines, f"{'budget':10} {'; '.join(budget)}"]


def outcome(plan: Plan, notes: Mapping[str, Any]) -> str:
    """Scores of a finished trial, and its state where it is not done."""
    scores = notes["scores"]
    shown = ""
    if scores and None not in scores.values():
        shown = plan.task.summary(scores)
    state = "" if notes["state"] == DONE else notes["state"]
    return "  ".join(part for part in (shown, state) if part)


def table(plan: Plan, trials: Sequence[FinishedTrial]) -> list[str]:
    """Lines of a table: a head with the names that are searched, then a trial a line."""
    heads = ["trial", "seconds", *plan.space, "scores"]
    rows = [
        [
            str(trial.number),
            f"{trial.notes['seconds']:.0f}",
            *map(value_text, trial.settings.values()),
            outcome(plan, trial.notes),
        ]
        for trial in trials
    ]
    *widths, _ = (max(map(len, column)) for column in zip(heads, *rows, strict=True))
    return [
        "  ".join([*(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True)), last])
        for *cells, last in [heads, *rows]
    ]


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as NAME=VALUE in one line."""
    return " ".join(f"{name}={value_text(value)}" for name, value in settings.items())


def value_text(value: Any) -> str:
    """A setting's value as ``--set`` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def range_text(entry: Sequence[Any] | Mapping[str, Any]) -> str:
    """Choices or a range of the search space, as a table ``[tune]`` has them -> a few words."""
    if not isinstance(entry, Mapping):
        return " | ".join(map(value_text, entry))
    step = f" by {entry['step']:g}" if "step" in entry else ""
    return f"{entry['low']:g}…{entry['high']:g}{step}{' (log)' if 'log' in entry else ''}"


def command(plan: Plan, settings: Mapping[str, Any]) -> str:
    """The command that trains with the settings of a run."""
    given = [f"--set={name}={value_text(value)}" for name, value in _given(plan, settings).items()]
    return shlex.join(["charseq", "train", str(plan.data), *given])


def toml(plan: Plan, settings: Mapping[str, Any]) -> str:
    """The settings of a run as the text of DATA/charseq.toml."""
    given = _given(plan, settings).items()
    return "".join(f"{name} = {_toml_value(value)}\n" for name, value in given)


def _given(plan: Plan, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run that must be given: the task, the searched ones, those not at default."""
    usual = defaults(settings["task"], settings["cell"]).to_json()
    return {
        name: value
        for name, value in settings.items()
        if name in ("task", *plan.space)
        or (value != usual[name] and (name, value) != NO_TIME_LIMIT)
    }


def _toml_value(value: Any) -> str:
    """A value in TOML. JSON writes it alike, except for the control character DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
