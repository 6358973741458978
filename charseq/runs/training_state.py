"""Run folder <-> the state of a training: saved, resumed, and published as a model.

The state is arrays by name and JSON; data and network are not known here. A run folder holds

    model.safetensors   the best weights so far, by the scores on dev
    about.json          how they were made: settings, symbols, scores, data, versions
    README.md           the model card
    metrics.jsonl       a line per evaluation
    kept.N.safetensors  the weights of the last evaluations (setting keep_checkpoints); N is the
                        line in metrics.jsonl
    resume.{a,b}.*      the last two states of an unfinished run, in two slots written in turn
    manifest.json       size and sha256 of every file (see ``store``)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq.errors import CheckpointError, NewerVersionError, TrainingError, argument
from charseq.files import Content
from charseq.kernels import library
from charseq.runs.folder import (
    ABOUT,
    FORMAT,
    WEIGHTS,
    is_newer,
    names,
    publish,
    read,
    read_json,
    remove,
)
from charseq.runs.lookup import TIME, TRAINED_AT
from charseq.runs.model_card import render
from charseq.runs.store import MANIFEST, check_size
from charseq.runs.untrusted import encode, encode_json
from charseq.runs.weights import ArrayFile, check_finite, load_arrays
from charseq.setting import RENAMED_KINDS, renamed
from charseq.version import __version__

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]

SLOTS = ("a", "b")
"""Names of the two places of a saved state; a save overwrites the older one."""
MAX_HALVINGS = 5
"""How often, at most, the batch size is halved where memory is short."""
_KEPT = re.compile(r"kept\.([0-9]{1,9})\.safetensors")
_BEST = "best/"
"""Prefix of the best weights among the arrays of a state."""
_BYTES_PER_WEIGHT = 4 * 6
"""Bytes of a save for each weight: value, average, two moments, and the best twice."""
_STATE_BYTES_PER_WEIGHT = 4 * 5
"""Bytes of a state for each weight, the largest file of a run: the above, with the best once."""
_OTHER = "the other state is taken"
_LARGEST = 1e15
"""Bound of the counts and seconds of a saved state, so that no sum of them overflows."""
ANEW = f"{argument('force', True)} starts it anew"
_SCALARS = (str, int, float, bool, type(None))


@dataclass
class Progress:
    """The progress of a training, apart from its arrays; saved as JSON."""

    seconds: float = 0.0
    scoring: float = 0.0
    """Seconds of ``seconds`` that were spent on scoring."""
    epochs: float = 0.0
    evaluations: int = 0
    saves: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    """Dev scores of the best weights; empty before the first evaluation."""
    metrics: list[dict[str, Any]] = field(default_factory=list)
    prepared: float = 0.0
    """Seconds of ``seconds`` before the first step; the schedule begins after them."""
    halved: int = 0
    """Number of times that the batch size was halved, because memory was short."""
    pending: dict[str, Any] | None = None
    """The loss of an evaluation that a signal ended; a resumed run begins with the evaluation."""


class TrainingState:
    """A training's run folder; the caller holds :func:`charseq.runs.folder.lock`.

    ``metadata`` are the contents of about.json, ``best`` the weights with the best dev scores.
    """

    def __init__(self, folder: Path, metadata: Mapping[str, Any]) -> None:
        self.folder = folder
        self.metadata = dict(metadata)
        self.progress = Progress()
        self.best: dict[str, np.ndarray] = {}
        self._new: dict[str, ArrayFile] = {}
        """Weights of evaluations to keep that are not on disk yet, by file name."""
        self._surplus: set[str] = set()
        """Files of kept evaluations to delete with the next save."""

    def resume(
        self, warn: Callable[[str], None], restore: Callable[[Arrays, Arrays, Progress], None]
    ) -> Arrays | None:
        """The newest sound state of an unfinished run, or None without one.

        ``restore(arrays, best, progress)`` takes a state over. It raises CheckpointError for one
        that it cannot use, which is then damaged like a state whose bytes are. ``warn`` gets a
        line for each damaged state, and the one before it is taken.

        Raises:
            CheckpointError: the run was begun with other settings or other data, or by a newer
                charseq.
        """
        notes, faults = [], []
        for slot in self._slots():
            try:
                notes.append((self._read_note(slot), slot))
            except NewerVersionError:
                raise
            except CheckpointError as error:
                faults.append(str(error))
        found = None
        for note, slot in sorted(notes, key=lambda one: one[0]["progress"]["saves"], reverse=True):
            self._compare(note)
            try:
                found = self._restore(note, slot, restore)
                break
            except CheckpointError as error:
                faults.append(str(error))
        for fault in sorted(faults):
            warn(f"{fault}; " + ("training begins anew" if found is None else _OTHER))
        if found is not None and note.get("kernels", _kernels()) != _kernels():
            warn(
                f"was begun with the compiled kernels {note['kernels']}, now they are "
                f"{_kernels()}: it goes on, but not to the same last bits"
            )
        return found

    def _slots(self) -> list[str]:
        """The slots that hold a state, damaged or not."""
        there = names(self.folder)
        return [slot for slot in SLOTS if f"resume.{slot}.json" in there]

    def _read_note(self, slot: str) -> dict[str, Any]:
        """The JSON of a state. Raises CheckpointError where it is damaged."""
        name = f"resume.{slot}.json"
        note = read_json(self.folder, name)
        check_note(note, self.folder / name)
        return note

    def _restore(
        self,
        note: Mapping[str, Any],
        slot: str,
        restore: Callable[[Arrays, Arrays, Progress], None],
    ) -> Arrays:
        """Take a state over. Raises CheckpointError, with its path, where it is damaged."""
        path = self.folder / f"resume.{slot}.safetensors"
        found = load_arrays(read(self.folder, path.name), path=path)
        check_finite(found, path)
        best = {k.removeprefix(_BEST): v for k, v in found.items() if k.startswith(_BEST)}
        arrays = {k: v for k, v in found.items() if not k.startswith(_BEST)}
        progress = Progress(**note["progress"])
        try:
            restore(arrays, best, progress)
        except CheckpointError as error:
            raise CheckpointError(str(error), path=path) from error
        self.progress, self.best = progress, best
        return arrays

    def require_space(self, numbers: int) -> None:
        """Check that disk and run folder can take the save of a network with so many weights.

        Raises:
            CheckpointError: the disk has less free space, or the state is larger than a file of a
                run may be.
        """
        size = _STATE_BYTES_PER_WEIGHT * numbers
        check_size(f"resume.{SLOTS[0]}.safetensors", size, self.folder)
        parents = (self.folder, *self.folder.absolute().parents)
        disk = next(path for path in parents if path.exists())
        need, free = _BYTES_PER_WEIGHT * numbers, shutil.disk_usage(disk).free
        if free < need:
            what = f"a save takes {need / 1e6:,.0f} MB, its disk has {free / 1e6:,.0f} MB left"
            raise CheckpointError(what, path=self.folder)

    def halve(self, batch_size: int, state: Callable[[], Arrays], short: str) -> tuple[int, Arrays]:
        """The batch size halved once more, and the state with it, after memory was ``short``.

        Raises:
            TrainingError: it was halved five times, or memory does not hold the state itself.
        """
        size = batch_size >> self.progress.halved
        if self.progress.halved == MAX_HALVINGS or size < 2:
            raise TrainingError(f"out of memory, even with batches of {size}: {short}")
        try:
            after = halve(state())
        except (MemoryError, RuntimeError):
            raise TrainingError(f"out of memory, whatever the batch: {short}") from None
        self.progress.halved += 1
        return size // 2, after

    def reset(self) -> None:
        """Begin anew: delete saved states; a model stays until the first save with a better one.

        The model counts as unfinished from now on, so that the new training can be resumed.
        """
        try:
            states = self._states() | set(map(kept_name, kept_evaluations(self.folder)))
        except CheckpointError:  # the manifest is damaged: begin without any of the files
            (self.folder / MANIFEST).unlink()
            return
        changed = {}
        if ABOUT in names(self.folder):
            with contextlib.suppress(CheckpointError):  # damaged: deleted below
                changed[ABOUT] = encode_json(read_json(self.folder, ABOUT) | {"finished": False})
            states |= {ABOUT} - changed.keys()
        if changed:
            publish(self.folder, changed, drop=states)
        elif states:
            remove(self.folder, states)

    def can_resume(self) -> bool:
        """Whether there is a state to resume from, damaged or not."""
        return bool(self._states())

    def check_origin(self) -> None:
        """Check that an unfinished run may be resumed, by the facts known before its symbols.

        Raises:
            CheckpointError: the run was begun with other settings, other data or another teacher.
        """
        for slot in self._slots():
            try:
                note = self._read_note(slot)
            except CheckpointError:  # damaged: resume() warns
                continue
            self._compare_origin(note)
            return

    def keep(self, weights: Arrays, limit: int) -> None:
        """Keep the weights of the evaluation recorded last; the next save writes them.

        Only the last ``limit`` kept evaluations stay; with 0 none is kept.
        """
        if limit:
            last = len(self.progress.metrics)
            self._new[kept_name(last)] = ArrayFile(weights)
            kept = kept_evaluations(self.folder)
            self._surplus = {kept_name(one) for one in kept if not last - limit < one <= last}

    def record(self, line: Mapping[str, Any]) -> None:
        """Add a line to the metrics; NaN and infinity become null."""
        bad = {k for k, v in line.items() if isinstance(v, float) and not math.isfinite(v)}
        self.progress.metrics.append({k: None if k in bad else v for k, v in line.items()})

    def save(self, state: Arrays, *, better: bool) -> None:
        """Write a state to resume from; with ``better`` the model too. Atomic."""
        slot = SLOTS[self.progress.saves % len(SLOTS)]
        self.progress.saves += 1
        note = {
            "settings": self.metadata["settings"],
            "fingerprint": self.metadata["data"]["fingerprint"],
            "symbols": self._symbols(),
            "start": self.metadata["start"],
            "distilled": self.metadata.get("distilled"),
            "kernels": _kernels(),
            "version": __version__,
            "progress": asdict(self.progress),
        }
        kept = {_BEST + name: value for name, value in self.best.items()}
        files: dict[str, Content] = {
            f"resume.{slot}.safetensors": ArrayFile({**state, **kept}),
            f"resume.{slot}.json": encode_json(note),
        }
        files |= self._model(finished=False) if better else {}
        self._publish(files, drop=set())

    def finish(self) -> None:
        """Publish the model as finished, and delete the states to resume from."""
        self._publish(self._model(finished=True), drop=self._states())

    def _publish(self, files: Mapping[str, Content], *, drop: set[str]) -> None:
        publish(self.folder, {**files, **self._new}, drop=drop | self._surplus)
        self._new, self._surplus = {}, set()

    def _states(self) -> set[str]:
        return {name for name in names(self.folder) if name.startswith("resume.")}

    def _model(self, *, finished: bool) -> dict[str, Content]:
        progress = self.progress
        self.metadata |= {
            "format": FORMAT,
            "finished": finished,
            TRAINED_AT: time.strftime(TIME, time.gmtime()),
            "seconds": round(progress.seconds, 1),
            "epochs": round(progress.epochs, 2),
            "parameters": sum(int(value.size) for value in self.best.values()),
            "scores": progress.scores,
            "versions": _versions(),
        }
        lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in progress.metrics]
        return {
            WEIGHTS: ArrayFile(self.best),
            **about_files(self.folder.name, self.metadata),
            "metrics.jsonl": encode("".join(lines)),
        }

    def _symbols(self) -> str:
        """The sha256 of the symbols, in the order of their ids."""
        sides = [
            self.metadata[side] for side in ("source", "target", "units") if side in self.metadata
        ]
        first = {new: old for old, new in RENAMED_KINDS.items()}  # as states of all versions have
        sides = [
            {**side, "kind": first.get(side["kind"], side["kind"])} if "kind" in side else side
            for side in sides
        ]
        return hashlib.sha256(json.dumps(sides).encode()).hexdigest()

    def _compare(self, note: Mapping[str, Any]) -> None:
        """Raise CheckpointError where the saved run had other settings, data or symbols."""
        self._compare_origin(note)
        if note.get("start") != self.metadata["start"] or note.get("symbols") != self._symbols():
            raise CheckpointError(
                f"was begun from other weights or symbols (see {argument('init_from')}); {ANEW}",
                path=self.folder,
            )

    def _compare_origin(self, note: Mapping[str, Any]) -> None:
        if note["fingerprint"] != self.metadata["data"]["fingerprint"]:
            raise CheckpointError(
                f"was begun on other data (the files have changed); {ANEW}",
                path=self.folder,
            )
        for name, value in self.metadata["settings"].items():
            before = renamed(note["settings"]).get(name)
            if before != value:
                raise CheckpointError(
                    f"was begun with {name} = {before}, now it is {value}; give the same "
                    f"settings to resume, {argument('force', True)} to start anew, or another "
                    f"{argument('run')}",
                    path=self.folder,
                )
        before, now = (one.get("distilled") or {} for one in (note, self.metadata))
        if any(before.get(part) != now.get(part) for part in ("fingerprint", "unlabelled")):
            raise CheckpointError(
                "was begun with another teacher or other unlabelled texts (see "
                f"{argument('distil_from')}); {ANEW}",
                path=self.folder,
            )


def kept_name(evaluation: int) -> str:
    """The file of the weights of one evaluation, counted from 1."""
    return f"kept.{evaluation}.safetensors"


def kept_evaluations(folder: str | Path) -> list[int]:
    """The evaluations of a run whose weights are kept, in order."""
    found = (_KEPT.fullmatch(name) for name in names(folder))
    return sorted(int(match[1]) for match in found if match)


def due(evaluations: int, planned: int) -> float:
    """The progress, from 0 to 1, at which the next evaluation is due: denser towards the end.

    After the last of the ``planned`` evaluations, at 1, it is infinity.
    """
    if evaluations >= planned:
        return float("inf")
    left = 1.0 - (evaluations + 1) / planned
    return 1.0 - left * math.sqrt(left)


def halve(state: Arrays) -> Arrays:
    """A state with batches of half the size: the number of steps doubles."""
    counts = state["counts"] * [2, 1, 0]
    return {**{k: v for k, v in state.items() if k != "carried"}, "counts": counts}


def about_files(name: str, metadata: Mapping[str, Any]) -> dict[str, bytes]:
    """The metadata and the model card of the run ``name``, as files."""
    return {ABOUT: encode_json(metadata), "README.md": encode(render(name, metadata))}


def check_note(note: Mapping[str, Any], path: Path) -> None:
    """Check the JSON of a saved state, which may be forged: every field, its type, its range.

    Raises:
        CheckpointError: a field is missing or not sound.
    """
    progress, version = note.get("progress"), note.get("version", "")
    sound = isinstance(progress, dict) and {
        **{key: isinstance(note.get(key), str) for key in ("fingerprint", "symbols")},
        "version": isinstance(version, str),
        "settings": isinstance(note.get("settings"), dict),
        "start": isinstance(note.get("start"), str | None),
        "distilled": isinstance(note.get("distilled"), dict | None),
        "kernels": isinstance(note.get("kernels", ""), str),
        **_sound_progress(progress),
    }
    fault = (
        "progress" if not sound else next((key for key, is_so in sound.items() if not is_so), "")
    )
    if fault:
        if isinstance(version, str) and is_newer(version):
            what = f"was written by a newer charseq ({version}): upgrade charseq"
            raise NewerVersionError(what, path=path)
        raise CheckpointError(f"is damaged: no sound '{fault[:60]}'", path=path)


def _sound_progress(progress: Mapping[str, Any]) -> dict[str, bool]:
    """Whether each field of a saved :class:`Progress` is sound; older states have fewer."""
    whole, pending = ("evaluations", "saves", "halved"), progress.get("pending")
    found = {name: name in Progress.__dataclass_fields__ for name in progress}
    for name in ("seconds", "scoring", "epochs", "prepared", *whole):
        value = progress.get(name, 0)
        found[name] = (
            type(value) in (int, *[float] * (name not in whole)) and 0 <= value <= _LARGEST
        )
    found["saves"] = found["saves"] and "saves" in progress
    found["halved"] = found["halved"] and progress.get("halved", 0) <= MAX_HALVINGS
    found["scores"] = _is_record(progress.get("scores", {}), (int, float))
    lines = progress.get("metrics", [])
    found["metrics"] = isinstance(lines, list) and all(_is_record(one, _SCALARS) for one in lines)
    found["pending"] = pending is None or (
        isinstance(pending, dict)
        and pending.keys() == {"loss"}
        and _is_record(pending, (int, float, type(None)))
    )
    return found


def _is_record(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether ``value`` is an object whose values have these types; its numbers are finite."""
    return isinstance(value, dict) and all(
        type(one) in kinds and (type(one) not in (int, float) or abs(one) <= sys.float_info.max)
        for one in value.values()
    )


def _kernels() -> str:
    """The level of the compiled kernels, on which the last bits depend; "off" without them."""
    found = library.find()
    return "off" if found is None else found.level


def _versions() -> dict[str, str]:
    """Versions of everything that the numbers depend on."""
    found = {"python": platform.python_version(), "charseq": __version__}
    for package in ("torch", "numpy", "safetensors", "sentencepiece"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found | {"kernels": _kernels()}
