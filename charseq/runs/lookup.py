"""Which run is meant: the one that is named, else the run that was trained last here.

A run is named by its folder, or by the name of a run below ``./checkpoints``, or by the name of a
run that comes with charseq. Without a name it is the run below ``./checkpoints`` that was trained
last, as its own metadata say: the times of files change with every copy and every clone. The last
resort is the run that comes with charseq for the task.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from charseq.errors import CheckpointError, UsageError, argument
from charseq.runs.folder import WEIGHTS, metadata_of, names
from charseq.runs.store import absence

CHECKPOINTS = Path("checkpoints")
TRAINED_AT = "trained_at"
"""Key of the metadata: when the weights were saved, in UTC, such as 2026-03-01T12:30:00Z."""
TIME = "%Y-%m-%dT%H:%M:%SZ"
SHIPPED = {"pairs": "dates", "next-word": "sentences"}
"""Task -> the run that comes with charseq."""
AHEAD = timedelta(days=1)
"""How far in the future a run may have been trained by its own clock to be believed."""


class Choice(NamedTuple):
    """A run, and why it was chosen for people; "" where the user named it."""

    path: Path
    reason: str = ""


def find(model: str | Path | None = None) -> Path:
    """The folder of the run that ``model`` names; without a name as :func:`choose`.

    Raises:
        CheckpointError: as :func:`choose`.
    """
    return choose(model).path


def choose(model: str | Path | None = None, *, task: str | None = None) -> Choice:
    """The run to use, and why.

    Args:
        model: a folder or a name; by default $CHARSEQ_MODEL, else the run of ``task`` in
            ./checkpoints that was trained last, else the one that comes with charseq.
        task: ``pairs`` or ``next-word``, if only runs of this task can be used; a run that is
            named is taken whatever its task.

    Raises:
        CheckpointError: no such run, or there is none at all.
        UsageError: the name is empty.
    """
    if model is not None:
        if not str(model):
            raise UsageError("an empty name, expected a run's folder or its name")
        return Choice(_named(model))
    if variable := os.environ.get("CHARSEQ_MODEL"):
        return Choice(_named(variable))
    own = {path.resolve() for path in shipped().values()}
    found = [
        (when, folder)
        for folder in _folders()
        if (when := _trained_at(folder, task)) and folder.resolve() not in own
    ]
    if found:
        when, folder = max(found)
        return Choice(folder, f"trained last here, {when:%Y-%m-%d %H:%M} UTC")
    last = shipped().get(SHIPPED[task or "pairs"])
    if last is None:
        hint = f"name one with {argument('model')}, or train one"
        raise CheckpointError(f"there is no trained model here: {hint}")
    return Choice(last, "comes with charseq; none that fits was trained here")


def shipped() -> dict[str, Path]:
    """The runs that come with charseq, by name.

    They are in the package, and in a clone beside it, where a link in the package leads.
    """
    place = Path(__file__).resolve().parents[1] / CHECKPOINTS
    found = {name: (place / name).resolve() for name in SHIPPED.values()}
    return {name: folder for name, folder in found.items() if _has_weights(folder)}


def _named(model: str | Path) -> Path:
    """The run of a folder, or of a name. Raises CheckpointError that says which names there are."""
    path = Path(model)
    if names(path):
        return path
    if found := find_by_name(path):
        return found
    known = [str(folder) for folder in _folders() if _has_weights(folder)]
    known += [name for name in shipped() if str(CHECKPOINTS / name) not in known]
    there = f"; there are {', '.join(known[:8])}{', …' * (len(known) > 8)}" if known else ""
    raise CheckpointError(absence(path) + there, path=path)


def find_by_name(name: Path) -> Path | None:
    """The run of a bare name in ./checkpoints, else among those that come with charseq.

    Raises:
        CheckpointError: the one in ./checkpoints is damaged.
    """
    if len(name.parts) != 1 or name.is_absolute() or name.name in ("", ".."):
        return None
    return CHECKPOINTS / name if names(CHECKPOINTS / name) else shipped().get(name.name)


def _folders() -> list[Path]:
    """What lies in ./checkpoints; nothing where it is absent or cannot be listed."""
    try:
        return sorted(CHECKPOINTS.iterdir())
    except OSError:
        return []


def _has_weights(folder: Path) -> bool:
    try:
        return WEIGHTS in names(folder)
    except CheckpointError:
        return False


def _trained_at(folder: Path, task: str | None) -> datetime | None:
    """When a run was trained; None where that is unknown, or where it is no model for ``task``."""
    if not _has_weights(folder):
        return None
    try:
        metadata = metadata_of(folder)
        when = datetime.fromisoformat(str(metadata.get(TRAINED_AT)))
    except (CheckpointError, ValueError):  # named on the command line, a damaged run is an error
        return None
    words = metadata["settings"].get("task") == "next-word"
    fits = task is None or words == (task == "next-word")
    sound = when.tzinfo is not None and when < datetime.now(UTC) + AHEAD
    return when if fits and sound else None
