"""a search over settings -> what is told and kept of it: lines for people, a TOML file.

It knows what is searched for and where that is kept, but not how one searches or trains.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charseq.config import Config, defaults
from charseq.data.settings_file import SETTINGS_FILE
from charseq.training.next_word import Sentences
from charseq.training.pairs import Pairs
from charseq.training.tuning.space import Space
from charseq.training.tuning.trials import Trial

FOLDER = "tune"
"""Beside the model, in its run folder: what only the search needs."""
DONE, GIVEN_UP, FAILED = "done", "given up", "failed"
SCORES = ("examples", "exact_match", "wer", "ser", "perplexity")
"""What is noted of an evaluation."""
NO_CLOCK = ("minutes", 0)
"""What epochs imply."""


@dataclass(frozen=True)
class Plan:
    """What a search is about, and where it is kept."""

    data: str | Path
    config: Config
    space: Space
    folder: Path
    fingerprint: str
    """Of the data."""

    @property
    def begun(self) -> dict[str, Any]:
        """What must not change before the search has ended, in JSON values."""
        axes = {name: axis.to_json() for name, axis in self.space.items()}
        return {"data": self.fingerprint, "settings": self.config.to_json(), "space": axes}

    @property
    def trials(self) -> Path:
        """The file of the trials."""
        return self.folder / FOLDER / "trials.sqlite"

    @property
    def settings(self) -> Path:
        """The file of the settings that were found."""
        return self.folder / FOLDER / SETTINGS_FILE

    def place(self, number: int) -> Path:
        """The folder of a trial while it is trained."""
        return self.folder / FOLDER / f"trial-{number:03}"


def family(task: str) -> type[Pairs | Sentences]:
    """The family of trainings to which a task belongs."""
    return Sentences if task == "next-word" else Pairs


def worth(scores: Mapping[str, Any]) -> float:
    """Dev scores as one number: perplexity, the less the better, or for pairs the more the better.

    There it is the exact match less a part of what one example counts, which grows with the symbol
    error rate: no change of that outweighs an example, as in ``Pairs.rank``.
    """
    if "perplexity" in scores:
        found = scores["perplexity"]
        return math.nan if found is None else float(found)
    part = scores["ser"] / (100 + scores["ser"])
    return float(scores["exact_match"] - part * 100 / scores["examples"])


def describe(plan: Plan, most: int | None, hours: float | None) -> list[str]:
    """What is searched, and how long it takes at most."""
    config = plan.config
    heads = ["search", *[""] * (len(plan.space) - 1)]
    lines = [
        f"{head:10} {name:17} {axis}"
        for head, (name, axis) in zip(heads, plan.space.items(), strict=True)
    ]
    each = f"{config.epochs} epochs" if config.epochs else f"{config.minutes:g} minutes"
    ends = [f"trials of {each}" if most is None else f"{most} trials of {each} each"]
    if most is not None and config.minutes:
        ends.append(f"{most * config.minutes / 60:.1f} h at most")
    if hours is not None:
        ends.append(f"none begun after {hours:g} h")
    return [*lines, f"{'budget':10} {'; '.join(ends)}"]


def told(notes: Mapping[str, Any]) -> str:
    """How a trial ended, in a few words."""
    scores = notes["scores"]
    shown = ""
    if scores and None not in scores.values():
        shown = family("next-word" if "perplexity" in scores else "pairs").tell(scores)
    state = "" if notes["state"] == DONE else notes["state"]
    return "  ".join(part for part in (shown, state) if part)


def table(plan: Plan, trials: Sequence[Trial]) -> list[str]:
    """The trials in this order, one a line below the names of what was searched."""
    heads = ["trial", "seconds", *plan.space, "scores"]
    rows = [
        [
            str(trial.number),
            f"{trial.notes['seconds']:.0f}",
            *map(word, trial.settings.values()),
            told(trial.notes),
        ]
        for trial in trials
    ]
    *widths, _ = (max(map(len, column)) for column in zip(heads, *rows, strict=True))
    return [
        "  ".join([*(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True)), last])
        for *cells, last in [heads, *rows]
    ]


def words(settings: Mapping[str, Any]) -> str:
    """Settings in one line."""
    return " ".join(f"{name}={word(value)}" for name, value in settings.items())


def word(value: Any) -> str:
    """A setting's value as ``--set`` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def command(plan: Plan, settings: Mapping[str, Any]) -> str:
    """What trains once more with the settings of a run."""
    chosen = [f"--set={name}={word(value)}" for name, value in _chosen(plan, settings).items()]
    return shlex.join(["charseq", "train", str(plan.data), *chosen])


def toml(plan: Plan, settings: Mapping[str, Any]) -> str:
    """The settings of a run, as DATA/charseq.toml."""
    chosen = _chosen(plan, settings).items()
    return "".join(f"{name} = {_value(value)}\n" for name, value in chosen)


def _chosen(plan: Plan, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of the settings of a run: the task, what was searched, and what is not as by default."""
    usual = defaults(settings["task"], settings["cell"]).to_json()
    return {
        name: value
        for name, value in settings.items()
        if name in ("task", *plan.space) or (value != usual[name] and (name, value) != NO_CLOCK)
    }


def _value(value: Any) -> str:
    """A value as TOML writes it: as JSON does, but for one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
