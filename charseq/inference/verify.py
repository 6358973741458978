"""Run folder -> its faults, one line each: every check that does not use the model.

    manifest.json       equals its own sha256; every file in it is a plain file of this size and
                        sha256
    model.safetensors   header, types, shapes by the settings, finite numbers
    about.json          settings, symbols, limits, scores, calibration
    kept.*, resume.*    headers and finite numbers; JSON
    members/*, tune     are checked as runs of their own, where there are any

The first fault of each file is reported. A file that the manifest does not list is never read by
charseq; it is reported as a note. Nothing in the folder is executed, unpacked or changed, and no
link is followed. What is read is counted first, and all of it together has a bound; a file that has
several names (hard links) is read once.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from charseq.errors import CheckpointError
from charseq.inference.loading import LoadedRun, read_run, shapes_of
from charseq.runs.folder import ABOUT, WEIGHTS
from charseq.runs.lookup import find_by_name
from charseq.runs.store import (
    LOCK,
    MANIFEST,
    NEW,
    FolderState,
    absence,
    fetch,
    open_file,
    state_of,
)
from charseq.runs.untrusted import parse_object, parse_value, reason, shown
from charseq.runs.weights import NUMBER_TYPES, check_arrays, header_of, read_header

CHUNK = 2**20
"""Bytes that are read at a time."""
MAX_LINES = 2**17
"""Lines of metrics in a run, at most: training refuses more before it begins."""
MAX_TEXT_BYTES = 256 * 2**20
"""Bytes of all files but those of weights, of a run and its inner runs together."""
MAX_VALUES = 4 * 2**20
"""Values in all JSON of a run and its inner runs together; a line, an array and a file count as
several, by the time that they take."""
LINE_VALUES, HEADER_VALUES, FILE_VALUES = 8, 8, 128
"""Values that a line of JSON counts as, each value in a header of arrays, and a file."""
MAX_STATE = 8
"""Size of a state to resume from, at most, as a multiple of the model's."""
MAX_INNER_RUNS = 128
MAX_ENTRIES = 10_000
"""Names of a folder that are looked at."""
MAX_FAULTS, MAX_NOTES = 100, 100
_BESIDE = {MANIFEST, NEW, LOCK}
_INNER = {
    "members": re.compile(r"[1-9][0-9]?"),
    "tune": re.compile(r"trial-[0-9]{3,6}"),
}
"""Folders inside a run that hold runs, and the names of these."""
_KINDS = {
    "arrays": re.compile(r"(resume\.[ab]|model)\.safetensors"),
    "kept": re.compile(r"kept\.[0-9]+\.safetensors"),
    "labels": re.compile(r"resume\.labels\.[0-9]+\.jsonl"),
    "lines": re.compile(r"metrics\.jsonl"),
    "object": re.compile(r"(about|resume\.[ab])\.json"),
}
"""Kinds of files with a content that is checked; of others the bytes are."""
_SEARCH = re.compile(r"trials\.(jsonl|sqlite)|charseq\.toml")
"""Files of a search in ``tune``."""


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
    """Check the run folder ``run``, whose content may come from a stranger.

    A hostile folder takes seconds. A sound one takes the time to read its weights.
    """
    folder = Path(run)
    if not os.path.lexists(folder):
        folder = find_by_name(folder) or folder
    found = Verification(str(folder))
    checks = _Checks(found)
    if not checks.check(folder):
        return found
    found.files = len(state_of(folder).files)
    for number, inner in enumerate(_inner_runs(folder)):
        if number == MAX_INNER_RUNS:
            found.faults.append(f"{folder}: holds more than {number} runs: verify each by itself")
        if number == MAX_INNER_RUNS or len(found.faults) >= MAX_FAULTS:
            break
        checks.check(inner)
    found.faults[MAX_FAULTS:] = []
    if len(found.notes) > MAX_NOTES:
        found.notes[MAX_NOTES:] = [f"{folder}: further files are not listed, and never read"]
    return found


class _Checks:
    """The checks of a run and its inner runs, which share one bound of text and values."""

    def __init__(self, found: Verification) -> None:
        self.found = found
        self._bytes, self._values = MAX_TEXT_BYTES, MAX_VALUES
        self._checked: dict[tuple[Any, ...], str] = {}
        """A file on the disk, and how it was checked -> its fault, or nothing."""
        self._loaded: set[tuple[int, int]] = set()
        """Files on the disk that were loaded as models."""

    def check(self, folder: Path) -> bool:
        """Check one run, without its inner runs; whether ``folder`` is a run at all."""
        found = self.found
        try:
            state = state_of(folder)
            if not state.files:
                raise CheckpointError(absence(folder), path=folder)
            self._spend_values(FILE_VALUES * len(state.files), folder)
            run = self._read(state)
            blamed = {fault.partition(": ")[0] for fault in found.faults}
            for name in sorted(state.files):
                if str(folder / name) not in blamed and len(found.faults) < MAX_FAULTS:
                    self._check_file(state, name, run)
            found.notes += _unlisted(state)
        except CheckpointError as fault:
            found.faults.append(str(fault))
            return False
        return True

    def _read(self, state: FolderState) -> LoadedRun | None:
        """The loaded run; None without a model (a note), or where it is not sound (a fault)."""
        if WEIGHTS not in state.files:
            self.found.notes.append(f"{state.folder}: no model yet")
            return None
        try:
            self._fetch_json(state, ABOUT)
            self._spend_header(state, WEIGHTS)
            inode = _inode(state, WEIGHTS)
            if inode in self._loaded:  # with other names, or in another run
                self._spend_bytes(state, WEIGHTS)
            self._loaded.add(inode)
            run = read_run(state.folder)
        except CheckpointError as fault:
            self.found.faults.append(str(fault))
            return None
        if state.folder == Path(self.found.run):
            self.found.weights = sum(int(value.size) for value in run.weights.values())
        return run

    def _fetch_json(self, state: FolderState, name: str) -> bytes:
        """The content of a file of JSON, whose bytes are counted first, and then its values.

        Raises:
            CheckpointError: it is damaged, or more than any run has.
        """
        self._spend_bytes(state, name)
        content = fetch(state, name)
        lines = content.count(b"\n") + content.count(b"\r") if name.endswith(".jsonl") else 0
        self._spend_values(_values(content) + LINE_VALUES * lines, _of(state, name))
        return content

    def _spend_header(self, state: FolderState, name: str) -> None:
        """Count the values in the header of a file of arrays, before it is parsed."""
        with open_file(state, name) as file:
            size = os.fstat(file.fileno()).st_size
            content = header_of(file, size, _of(state, name))
        self._spend_values(HEADER_VALUES * _values(content), _of(state, name))

    def _spend_values(self, count: int, path: Path) -> None:
        if count > self._values:
            what = f"is not checked: more than {MAX_VALUES:,} values of JSON up to here"
            raise CheckpointError(f"{what}: verify inner runs by themselves", path=path)
        self._values -= count

    def _spend_bytes(self, state: FolderState, name: str) -> None:
        size = state.files[name].size
        if size > self._bytes:
            what = f"is not checked: more than {MAX_TEXT_BYTES // 2**20} MiB without weights up to"
            raise CheckpointError(f"{what} here", path=_of(state, name))
        self._bytes -= size

    def _check_file(self, state: FolderState, name: str, run: LoadedRun | None) -> None:
        """Check one listed file, unless it was checked under another name."""
        if name in (ABOUT, WEIGHTS) and run is not None:
            return  # read_run has read it
        try:
            kind = _kind(name)
            model = state.folder if kind in ("arrays", "kept") else None  # to be compared with
            key = (_inode(state, name), state.files[name], kind, model)
            if key not in self._checked:
                self._checked[key] = self._fault_in(state, name, run)
            if self._checked[key]:
                raise CheckpointError(self._checked[key], path=_of(state, name))
        except CheckpointError as fault:
            self.found.faults.append(str(fault))

    def _fault_in(self, state: FolderState, name: str, run: LoadedRun | None) -> str:
        """The fault of one listed file, or nothing."""
        try:
            self._check_content(state, name, run)
        except CheckpointError as fault:
            return str(fault).removeprefix(f"{_of(state, name)}: ")
        return ""

    def _check_content(self, state: FolderState, name: str, run: LoadedRun | None) -> None:
        """Check the bytes of one listed file, then its content.

        Raises:
            CheckpointError: it is not that of a run.
        """
        path, kind = _of(state, name), _kind(name)
        if kind in ("arrays", "kept"):
            self._spend_header(state, name)
            _check_header(state, name, run)
            check_arrays(fetch(state, name), path)
        elif kind:
            content = self._fetch_json(state, name)
            # the lines of a teacher's labels are lists
            parse = parse_value if kind == "labels" else parse_object
            for line in [content] if kind == "object" else content.splitlines():
                parse(line, path)
        else:
            self._spend_bytes(state, name)
            _compare(state, name)


def _kind(name: str) -> str:
    """The kind of a file among :data:`_KINDS`, by its name; "" for others."""
    return next((kind for kind, names in _KINDS.items() if names.fullmatch(name)), "")


def _values(content: bytes) -> int:
    """About the number of values in JSON, from above but for values that are alone."""
    return sum(content.count(sign) for sign in (b",", b":", b"["))


def _inode(state: FolderState, name: str) -> tuple[int, int]:
    """The file on the disk that has this name."""
    with open_file(state, name) as file:
        facts = os.fstat(file.fileno())
    return facts.st_dev, facts.st_ino


def _of(state: FolderState, name: str) -> Path:
    return state.folder / name


def _check_header(state: FolderState, name: str, run: LoadedRun | None) -> None:
    """Compare the shapes in a file of arrays with the model, before its numbers are read.

    Raises:
        CheckpointError: they are not those of a run of such settings.
    """
    path = _of(state, name)
    with open_file(state, name) as file:
        size = os.fstat(file.fileno()).st_size
        if size != state.files[name].size:
            raise CheckpointError(f"is damaged: it differs from {MANIFEST}", path=path)
        shapes = read_header(file, size, path, NUMBER_TYPES)
    if run is None:
        return
    if _kind(name) == "kept" and shapes != shapes_of(run.metadata):
        raise CheckpointError("has other weights than the settings call for", path=path)
    if size > MAX_STATE * (state.files[WEIGHTS].size + CHUNK):
        raise CheckpointError("is larger than any state of such a model", path=path)


def _compare(state: FolderState, name: str) -> None:
    """Compare size and sha256 of one file with the manifest, a chunk at a time."""
    with open_file(state, name) as file:
        entry, digest = state.files[name], hashlib.sha256()
        same = os.fstat(file.fileno()).st_size == entry.size
        while same and (chunk := file.read(CHUNK)):
            digest.update(chunk)
    if not same or digest.hexdigest() != entry.sha256:
        raise CheckpointError(f"is damaged: it differs from {MANIFEST}", path=_of(state, name))


def _unlisted(state: FolderState) -> Iterator[str]:
    """A note for each name that is no part of the run, in its folder and those of inner runs."""
    folder = state.folder
    own = _BESIDE | state.files.keys()
    for name in _names(folder):
        inner = _INNER.get(name)
        if inner is not None and _may_hold(folder, name) and _is_folder(folder / name):
            for below in _names(folder / name):
                known = inner.fullmatch(below) and _is_folder(folder / name / below)
                if not known and not (name == "tune" and _SEARCH.fullmatch(below)):
                    yield f"{folder / name}/{shown(below)}: is not listed, and never read"
        elif name not in own:
            yield f"{folder}/{shown(name)}: is not listed, and never read"


def _inner_runs(folder: Path) -> Iterator[Path]:
    """Runs inside a run: the members of an ensemble, the trials of a search, and their members.

    Members hold no runs. No link is followed.
    """
    for name, pattern in _INNER.items():
        if _may_hold(folder, name) and _is_folder(folder / name):
            for inner in _names(folder / name):
                path = folder / name / inner
                if pattern.fullmatch(inner) and _is_folder(path):
                    if os.path.lexists(path / MANIFEST) or os.path.lexists(path / NEW):
                        yield path
                    yield from _inner_runs(path)


def _may_hold(folder: Path, name: str) -> bool:
    """Whether a run may hold inner runs in its folder ``name``: by where the run itself is."""
    if _INNER["tune"].fullmatch(folder.name) and folder.parent.name == "tune":
        return name == "members"
    return not (_INNER["members"].fullmatch(folder.name) and folder.parent.name == "members")


def _names(folder: Path) -> list[str]:
    """The names in a folder, in order, or the first ones of very many.

    Raises:
        CheckpointError: the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in islice(entries, MAX_ENTRIES))
    except OSError as fault:
        raise CheckpointError(reason(fault), path=folder) from fault


def _is_folder(path: Path) -> bool:
    """Whether ``path`` is a folder, and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False
