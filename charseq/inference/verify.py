"""Run folder -> its faults, one line each: every check that does not use the model.

    manifest.json       equals its own sha256; every file in it is a plain file of this size and
                        sha256
    model.safetensors   header, types, shapes by the settings, finite numbers
    about.json          settings, symbols, limits, scores, calibration
    kept.*, resume.*    headers and finite numbers; JSON
    members/*, tune     are checked as runs of their own, where there are any

The first fault of each file is reported. A file that the manifest does not list is never read by
charseq; it is reported as a note. Nothing in the folder is executed, unpacked or changed, and no
link is followed.
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
from charseq.runs.folder import ABOUT, WEIGHTS
from charseq.runs.store import (
    LOCK,
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
"""Bytes that are read at a time."""
MAX_LINES = 2**18
"""Lines of JSON in a file, at most."""
_BESIDE = {MANIFEST, NEW, LOCK}
_RUNS = ("members", "tune")
"""Folders inside a run that are a run, or hold runs."""


@dataclass
class Verification:
    """The result of the checks of one run folder."""

    run: str
    files: int = 0
    """Files in the manifest."""
    weights: int = 0
    """Numbers in the model."""
    faults: list[str] = field(default_factory=list)
    """Reasons not to use the run, one line each; none in a sound run."""
    notes: list[str] = field(default_factory=list)
    """Facts that do no harm, one line each."""

    def to_json(self) -> dict[str, Any]:
        """All fields, and whether the run is ``sound``."""
        return {**vars(self), "sound": not self.faults}

    def lines(self) -> list[str]:
        """Lines for people: each fault, or one line that says that there is none; the notes."""
        sound = [f"{self.run}: sound: {self.files} files, {self.weights:,} weights"]
        return [*(self.faults or sound), *(f"note: {note}" for note in self.notes)]


def verify(run: str | Path) -> Verification:
    """Check the run folder ``run``, whose content may come from a stranger."""
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
    loaded = _read(folder, found)
    blamed = {fault.partition(": ")[0] for fault in found.faults}
    for name in sorted(state.files):
        if str(folder / name) not in blamed:
            _check_file(state, name, loaded, found)
    found.notes += (f"{folder / name}: is not listed, and never read" for name in _unlisted(state))
    for inner in _inner_runs(folder):
        below = verify(inner)
        found.faults += below.faults
        found.notes += below.notes
    return found


def _read(folder: Path, found: Verification) -> LoadedRun | None:
    """The loaded run; None without a model (a note), or where it is not sound (a fault)."""
    if WEIGHTS not in state_of(folder).files:
        found.notes.append(f"{folder}: no model yet")
        return None
    try:
        run = read_run(folder)
    except CheckpointError as fault:
        found.faults.append(str(fault))
        return None
    found.weights = sum(int(value.size) for value in run.weights.values())
    return run


def _check_file(state: FolderState, name: str, run: LoadedRun | None, found: Verification) -> None:
    """Check the bytes of one listed file, then its content."""
    path = state.folder / name
    try:
        _compare(state, name)
        if name.endswith(".json") and name != ABOUT:
            parse_object(fetch(state, name), path)
        elif name.endswith(".jsonl"):
            lines = fetch(state, name).splitlines()
            if len(lines) > MAX_LINES:
                raise CheckpointError(f"has {len(lines):,} lines, more than any run", path=path)
            for line in lines:
                parse_object(line, path)
        elif name.endswith(".safetensors") and (name != WEIGHTS or run is None):
            shapes = check_arrays(fetch(state, name), path)
            if name.startswith("kept.") and run and shapes != shapes_of(run.metadata):
                raise CheckpointError("has other weights than the settings call for", path=path)
    except CheckpointError as fault:
        found.faults.append(str(fault))


def _compare(state: FolderState, name: str) -> None:
    """Compare size and sha256 of one file with the manifest, a chunk at a time."""
    with open_file(state, name) as file:
        entry, digest = state.files[name], hashlib.sha256()
        same = os.fstat(file.fileno()).st_size == entry.size
        while same and (chunk := file.read(CHUNK)):
            digest.update(chunk)
    if not same or digest.hexdigest() != entry.sha256:
        raise CheckpointError(f"is damaged: it differs from {MANIFEST}", path=state.folder / name)


def _unlisted(state: FolderState) -> Iterator[str]:
    """Names in the folder that are no part of the run."""
    try:
        there = sorted(entry.name for entry in os.scandir(state.folder))
    except OSError as fault:
        raise CheckpointError(reason(fault), path=state.folder) from fault
    own = _BESIDE | {
        inner.relative_to(state.folder).parts[0] for inner in _inner_runs(state.folder)
    }
    return (shown(name) for name in there if name not in own | state.files.keys())


def _inner_runs(folder: Path) -> Iterator[Path]:
    """Runs inside the run: those of the members of an ensemble, and of a search."""
    for name in _RUNS:
        outer = folder / name
        if _is_folder(outer):
            for inner in (outer, *sorted(outer.iterdir())):
                if _is_folder(inner) and (inner / MANIFEST).exists():
                    yield inner


def _is_folder(path: Path) -> bool:
    """Whether ``path`` is a folder, and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False
