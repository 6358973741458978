"""run folder -> its faults, each in one line: all that can be told without using the model.

    manifest.json       agrees with its seal; every file it lists is there, plain, of its size and
                        sha256
    model.safetensors   header, types, shapes by the settings, finite numbers
    about.json          settings, symbols, limits, scores, calibration
    kept.*, resume.*    headers and finite numbers; JSON
    members/*, tune     runs of their own, where there are any

Of each file the first fault is told. What the manifest does not list is never read by charseq, and
is named as a note. Nothing in the folder is run, followed, unpacked or changed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charseq.errors import CheckpointError
from charseq.inference.loading import LoadedRun, read_run, shapes_of
from charseq.runs.folder import ABOUT, LOCK, WEIGHTS
from charseq.runs.store import (
    MANIFEST,
    NEW,
    FolderState,
    absence,
    fetch,
    open_file,
    parse_object,
    reason,
    shown,
    state_of,
)
from charseq.runs.weights import check_arrays

CHUNK = 2**20
MOST_LINES = 2**18
_BESIDE = {MANIFEST, NEW, LOCK}
_RUNS = ("members", "tune")
"""Folders inside a run that hold runs, or one."""


@dataclass
class Verification:
    """What was found in one run folder: ``faults`` by which it must not be trusted, and notes."""

    run: str
    files: int = 0
    weights: int = 0
    """Numbers in the model."""
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The same as an object."""
        return {**vars(self), "sound": not self.faults}

    def lines(self) -> list[str]:
        """The same for people: one line a fault, or one that says that there is none."""
        sound = [f"{self.run}: sound: {self.files} files, {self.weights:,} weights"]
        return [*(self.faults or sound), *(f"note: {note}" for note in self.notes)]


def verify(run: str | Path) -> Verification:
    """Check the run folder ``run``; what it holds may come from a stranger."""
    folder = Path(run)
    found = Verification(str(folder))
    try:
        state = state_of(folder)
        if not state.files:
            raise CheckpointError(absence(folder), path=folder)
    except CheckpointError as fault:
        found.faults.append(str(fault))
        return found
    found.files = len(state.files)
    contents = _read(folder, found)
    blamed = {fault.partition(": ")[0] for fault in found.faults}
    for name in sorted(state.files):
        if str(folder / name) not in blamed:
            _look(state, name, contents, found)
    found.notes += (f"{folder / name}: is not listed, and never read" for name in _strays(state))
    for inner in _inner(folder):
        below = verify(inner)
        found.faults += below.faults
        found.notes += below.notes
    return found


def _read(folder: Path, found: Verification) -> LoadedRun | None:
    """The model, where there is one and it is sound; a fault else."""
    if WEIGHTS not in state_of(folder).files:
        found.notes.append(f"{folder}: no model yet")
        return None
    try:
        contents = read_run(folder)
    except CheckpointError as fault:
        found.faults.append(str(fault))
        return None
    found.weights = sum(int(value.size) for value in contents.weights.values())
    return contents


def _look(state: FolderState, name: str, contents: LoadedRun | None, found: Verification) -> None:
    """One listed file: its bytes, then what it says."""
    path = state.folder / name
    try:
        _compare(state, name)
        if name.endswith(".json") and name != ABOUT:
            parse_object(fetch(state, name), path)
        elif name.endswith(".jsonl"):
            lines = fetch(state, name).splitlines()
            if len(lines) > MOST_LINES:
                raise CheckpointError(f"has {len(lines):,} lines, more than any run", path=path)
            for line in lines:
                parse_object(line, path)
        elif name.endswith(".safetensors") and (name != WEIGHTS or contents is None):
            shapes = check_arrays(fetch(state, name), path)
            if name.startswith("kept.") and contents and shapes != shapes_of(contents.metadata):
                raise CheckpointError("has other weights than the settings call for", path=path)
    except CheckpointError as fault:
        found.faults.append(str(fault))


def _compare(state: FolderState, name: str) -> None:
    """Size and sha256 of one file with the manifest's, a piece at a time."""
    with open_file(state, name) as file:
        entry, digest = state.files[name], hashlib.sha256()
        same = os.fstat(file.fileno()).st_size == entry.size
        while same and (piece := file.read(CHUNK)):
            digest.update(piece)
    if not same or digest.hexdigest() != entry.sha256:
        raise CheckpointError(f"is damaged: it differs from {MANIFEST}", path=state.folder / name)


def _strays(state: FolderState) -> Iterator[str]:
    """What lies in the folder and is no part of the run."""
    try:
        there = sorted(entry.name for entry in os.scandir(state.folder))
    except OSError as fault:
        raise CheckpointError(reason(fault), path=state.folder) from fault
    own = _BESIDE | {inner.relative_to(state.folder).parts[0] for inner in _inner(state.folder)}
    return (shown(name) for name in there if name not in own | state.files.keys())


def _inner(folder: Path) -> Iterator[Path]:
    """Runs inside the run: of an ensemble's members, of a search."""
    for name in _RUNS:
        place = folder / name
        if _is_folder(place):
            for inner in (place, *sorted(place.iterdir())):
                if _is_folder(inner) and (inner / MANIFEST).exists():
                    yield inner


def _is_folder(path: Path) -> bool:
    """A folder itself, not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False
