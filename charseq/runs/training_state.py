"""run folder <-> the state of a training run: what is saved, resumed, kept and published.

It knows no data and no network, only names, arrays and JSON. A run folder holds

    model.safetensors   the best weights so far, by the scores on dev
    about.json          how they were made: settings, symbols, scores, data, versions
    README.md           the model card
    metrics.jsonl       a line per evaluation
    kept.N.safetensors  the weights of the last evaluations, where they are wanted; N is the line
    resume.{a,b}.*      the last two states of an unfinished run, written in turn
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
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq.errors import CheckpointError, TrainingError
from charseq.kernels import library
from charseq.runs.folder import ABOUT, FORMAT, WEIGHTS, names, publish, read, read_json, remove
from charseq.runs.model_card import render
from charseq.runs.store import MANIFEST
from charseq.runs.weights import load_arrays, save_arrays

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]

SLOTS = ("a", "b")
MOST_HALVED = 5
_KEPT = re.compile(r"kept\.([0-9]{1,9})\.safetensors")
_BEST = "best/"
_BYTES = 4 * 6
"""Bytes that a save takes for each weight: itself, average, two moments, the best twice."""


@dataclass
class Progress:
    """How far a run has come, apart from its arrays."""

    seconds: float = 0.0
    scoring: float = 0.0
    """Seconds spent on scoring, out of ``seconds``."""
    epochs: float = 0.0
    evaluations: int = 0
    saves: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    """Dev scores of the weights that are kept; empty before the first evaluation."""
    metrics: list[dict[str, Any]] = field(default_factory=list)
    prepared: float = 0.0
    """Seconds before the first step, out of ``seconds``; the schedule begins after them."""
    halved: int = 0
    """How often the batch was halved, because memory was short."""
    pending: dict[str, Any] | None = None
    """Of an evaluation that a signal cut short, and with which a resumed run begins: its loss."""


class TrainingState:
    """One run folder; hold :func:`charseq.runs.folder.lock` while writing."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder
        self.about = dict(about)
        self.progress = Progress()
        self.best: dict[str, np.ndarray] = {}
        self._new: dict[str, bytes] = {}
        """Weights of evaluations that are to be kept and not on disk yet, by file."""
        self._surplus: set[str] = set()

    def resume(self, warn: Callable[[str], None]) -> Arrays | None:
        """The newest sound state of an unfinished run, or None where there is none.

        A damaged state is named to ``warn`` and the one before it is taken.

        Raises:
            CheckpointError: the run was begun with other settings or other data.
        """
        found, faults = [], []
        for slot in SLOTS:
            if f"resume.{slot}.json" in names(self.folder):
                try:
                    found.append(self._read_state(slot))
                except CheckpointError as error:
                    faults.append(str(error))
        for fault in faults:
            warn(f"{fault}; " + ("the other state is taken" if found else "training begins anew"))
        if not found:
            return None
        note, arrays = max(found, key=lambda pair: int(pair[0]["progress"]["saves"]))
        self._compare(note)
        before = note.get("kernels", _level())
        if before != _level():
            warn(
                f"was begun with the compiled kernels {before}, now they are {_level()}: it goes "
                "on, but not to the same last bits"
            )
        self.progress = Progress(**note["progress"])
        self.best = {k.removeprefix(_BEST): v for k, v in arrays.items() if k.startswith(_BEST)}
        return {k: v for k, v in arrays.items() if not k.startswith(_BEST)}

    def require_space(self, numbers: int) -> None:
        """Refuse to begin where the next save is known to fail: ``numbers`` weights and a state.

        Raises:
            CheckpointError: the disk has less room than that.
        """
        need, free = _BYTES * numbers, shutil.disk_usage(self.folder).free
        if free < need:
            what = f"a save takes {need / 1e6:,.0f} MB, its disk has {free / 1e6:,.0f} MB left"
            raise CheckpointError(what, path=self.folder)

    def halve(self, batch_size: int, state: Callable[[], Arrays], short: str) -> tuple[int, Arrays]:
        """The next size of a batch, for whose training memory was ``short``, and the state then.

        Raises:
            TrainingError: it was halved five times, or memory does not hold the state itself.
        """
        size = batch_size >> self.progress.halved
        if self.progress.halved == MOST_HALVED or size < 2:
            raise TrainingError(f"out of memory, even with batches of {size}: {short}")
        try:
            after = halve(state())
        except (MemoryError, RuntimeError):
            raise TrainingError(f"out of memory, whatever the batch: {short}") from None
        self.progress.halved += 1
        return size // 2, after

    def forget(self) -> None:
        """Begin anew: states to resume from go; a model stays until there is another.

        It counts as unfinished from now on, so that a run stopped on its way can be resumed.
        """
        try:
            states = self._states() | set(map(kept_name, kept_evaluations(self.folder)))
        except CheckpointError:  # no file of it can be trusted, and it was to begin anew
            (self.folder / MANIFEST).unlink()
            return
        changed = {}
        if ABOUT in names(self.folder):
            with contextlib.suppress(CheckpointError):  # damaged: then it goes as well
                changed[ABOUT] = _json(read_json(self.folder, ABOUT) | {"finished": False})
            states |= {ABOUT} - changed.keys()
        if changed:
            publish(self.folder, changed, drop=states)
        elif states:
            remove(self.folder, states)

    def can_resume(self) -> bool:
        """Whether there is a state to resume from, sound or not."""
        return bool(self._states())

    def check_origin(self) -> None:
        """Whether an unfinished run may go on, by what is known before its symbols are learnt.

        Raises:
            CheckpointError: the run was begun with other settings, other data or another teacher.
        """
        for slot in SLOTS:
            if f"resume.{slot}.json" in names(self.folder):
                with contextlib.suppress(CheckpointError):  # damaged: resume() tells
                    note = read_json(self.folder, f"resume.{slot}.json")
                    break
        else:
            return
        self._compare_origin(note)

    def keep(self, weights: Arrays, most: int) -> None:
        """Keep the weights of the evaluation that was recorded last, with the next save.

        Of all that are kept the last ``most`` stay.
        """
        if most:
            last = len(self.progress.metrics)
            self._new[kept_name(last)] = save_arrays(weights)
            there = kept_evaluations(self.folder)
            self._surplus = {kept_name(one) for one in there if not last - most < one <= last}

    def record(self, line: Mapping[str, Any]) -> None:
        """Add a line to the metrics; what is not a finite number is written as null."""
        unsound = {k for k, v in line.items() if isinstance(v, float) and not math.isfinite(v)}
        self.progress.metrics.append({k: None if k in unsound else v for k, v in line.items()})

    def save(self, state: Arrays, *, better: bool) -> None:
        """Write a state to resume from; with ``better``, the model as well. All or nothing."""
        slot = SLOTS[self.progress.saves % len(SLOTS)]
        self.progress.saves += 1
        note = {
            "settings": self.about["settings"],
            "fingerprint": self.about["data"]["fingerprint"],
            "symbols": self._symbols(),
            "start": self.about["start"],
            "distilled": self.about.get("distilled"),
            "kernels": _level(),
            "progress": asdict(self.progress),
        }
        kept = {_BEST + name: value for name, value in self.best.items()}
        files = {
            f"resume.{slot}.safetensors": save_arrays({**state, **kept}),
            f"resume.{slot}.json": _json(note),
        }
        files |= self._model(finished=False) if better else {}
        self._publish(files, drop=set())

    def finish(self) -> None:
        """Publish the model as finished; what only a resumed run would need goes."""
        self._publish(self._model(finished=True), drop=self._states())

    def _publish(self, files: Mapping[str, bytes], *, drop: set[str]) -> None:
        publish(self.folder, {**files, **self._new}, drop=drop | self._surplus)
        self._new, self._surplus = {}, set()

    def _states(self) -> set[str]:
        return {name for name in names(self.folder) if name.startswith("resume.")}

    def _model(self, *, finished: bool) -> dict[str, bytes]:
        progress = self.progress
        self.about |= {
            "format": FORMAT,
            "finished": finished,
            "seconds": round(progress.seconds, 1),
            "epochs": round(progress.epochs, 2),
            "parameters": sum(int(value.size) for value in self.best.values()),
            "scores": progress.scores,
            "versions": _versions(),
        }
        lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in progress.metrics]
        return {
            WEIGHTS: save_arrays(self.best),
            ABOUT: _json(self.about),
            "README.md": render(self.folder.name, self.about).encode(),
            "metrics.jsonl": "".join(lines).encode(),
        }

    def _read_state(self, slot: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        note = read_json(self.folder, f"resume.{slot}.json")
        name = f"resume.{slot}.safetensors"
        return note, load_arrays(read(self.folder, name), path=self.folder / name)

    def _symbols(self) -> str:
        """The sha256 of everything that gives an id its meaning."""
        sides = [self.about[side] for side in ("source", "target", "units") if side in self.about]
        return hashlib.sha256(json.dumps(sides).encode()).hexdigest()

    def _compare(self, note: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings or data: the result would be neither run's."""
        self._compare_origin(note)
        if note.get("start") != self.about["start"] or note.get("symbols") != self._symbols():
            raise CheckpointError(
                "was begun from other weights or symbols (see --init-from); --force starts it anew",
                path=self.folder,
            )

    def _compare_origin(self, note: Mapping[str, Any]) -> None:
        if note["fingerprint"] != self.about["data"]["fingerprint"]:
            raise CheckpointError(
                "was begun on other data (the files have changed); --force starts it anew",
                path=self.folder,
            )
        for name, value in self.about["settings"].items():
            before = note["settings"].get(name)
            if before != value:
                raise CheckpointError(
                    f"was begun with {name} = {before}, now it is {value}; give the same "
                    "settings to resume, --force to start anew, or another -o",
                    path=self.folder,
                )
        before, now = (one.get("distilled") or {} for one in (note, self.about))
        if any(before.get(part) != now.get(part) for part in ("fingerprint", "unlabelled")):
            raise CheckpointError(
                "was begun with another teacher or other unlabelled texts (see --distil-from); "
                "--force starts it anew",
                path=self.folder,
            )


def kept_name(evaluation: int) -> str:
    """The file of the weights of one evaluation, counted from 1."""
    return f"kept.{evaluation}.safetensors"


def kept_evaluations(folder: str | Path) -> list[int]:
    """The evaluations of a run whose weights are there, in order."""
    found = (_KEPT.fullmatch(name) for name in names(folder))
    return sorted(int(match[1]) for match in found if match)


def due(evaluations: int, planned: int) -> float:
    """The progress at which the next evaluation is made: more often towards the end.

    After the last one, at 1, nothing is due.
    """
    if evaluations >= planned:
        return float("inf")
    left = 1.0 - (evaluations + 1) / planned
    return 1.0 - left * math.sqrt(left)


def halve(state: Arrays) -> Arrays:
    """A state as it is with batches of half the size: twice as many steps were done."""
    counts = state["counts"] * [2, 1, 0]
    return {**{k: v for k, v in state.items() if k != "carried"}, "counts": counts}


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def _level() -> str:
    """The compiled kernels that take part in the numbers, or that there are none."""
    found = library.find()
    return "off" if found is None else found.level


def _versions() -> dict[str, str]:
    """Of everything that takes part in the numbers."""
    found = {"python": platform.python_version()}
    for package in ("charseq", "torch", "numpy", "safetensors", "sentencepiece"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found | {"kernels": _level()}
