"""Run folder <-> the state of a training: saved, resumed, and published as a model.

The state is arrays by name and JSON; data and network are not known here. A run folder holds

    model.safetensors   the best weights so far, by the scores on dev
    about.json          how they were made: settings, symbols, scores, data, versions
    README.md           the model card
    metrics.jsonl       a line per evaluation
    kept.N.safetensors  the weights of the last evaluations (setting keep); N is the line in
                        metrics.jsonl
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
"""Names of the two places of a saved state; a save overwrites the older one."""
MAX_HALVINGS = 5
"""How often, at most, the batch size is halved where memory is short."""
_KEPT = re.compile(r"kept\.([0-9]{1,9})\.safetensors")
_BEST = "best/"
"""Prefix of the best weights among the arrays of a state."""
_BYTES_PER_WEIGHT = 4 * 6
"""Bytes of a save for each weight: value, average, two moments, and the best twice."""


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
        self._new: dict[str, bytes] = {}
        """Weights of evaluations to keep that are not on disk yet, by file name."""
        self._surplus: set[str] = set()
        """Files of kept evaluations to delete with the next save."""

    def resume(self, warn: Callable[[str], None]) -> Arrays | None:
        """The newest undamaged state of an unfinished run, or None without one.

        ``warn`` gets a line for a damaged state, and the one before it is taken.

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
        before = note.get("kernels", _kernels())
        if before != _kernels():
            warn(
                f"was begun with the compiled kernels {before}, now they are {_kernels()}: it goes "
                "on, but not to the same last bits"
            )
        self.progress = Progress(**note["progress"])
        self.best = {k.removeprefix(_BEST): v for k, v in arrays.items() if k.startswith(_BEST)}
        return {k: v for k, v in arrays.items() if not k.startswith(_BEST)}

    def require_space(self, numbers: int) -> None:
        """Check that the disk can take the save of a network with so many weights.

        Raises:
            CheckpointError: it has less free space.
        """
        need, free = _BYTES_PER_WEIGHT * numbers, shutil.disk_usage(self.folder).free
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
                changed[ABOUT] = _json(read_json(self.folder, ABOUT) | {"finished": False})
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
        for slot in SLOTS:
            if f"resume.{slot}.json" in names(self.folder):
                with contextlib.suppress(CheckpointError):  # damaged: resume() warns
                    note = read_json(self.folder, f"resume.{slot}.json")
                    break
        else:
            return
        self._compare_origin(note)

    def keep(self, weights: Arrays, limit: int) -> None:
        """Keep the weights of the evaluation recorded last; the next save writes them.

        Only the last ``limit`` kept evaluations stay; with 0 none is kept.
        """
        if limit:
            last = len(self.progress.metrics)
            self._new[kept_name(last)] = save_arrays(weights)
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
        """Publish the model as finished, and delete the states to resume from."""
        self._publish(self._model(finished=True), drop=self._states())

    def _publish(self, files: Mapping[str, bytes], *, drop: set[str]) -> None:
        publish(self.folder, {**files, **self._new}, drop=drop | self._surplus)
        self._new, self._surplus = {}, set()

    def _states(self) -> set[str]:
        return {name for name in names(self.folder) if name.startswith("resume.")}

    def _model(self, *, finished: bool) -> dict[str, bytes]:
        progress = self.progress
        self.metadata |= {
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
            ABOUT: _json(self.metadata),
            "README.md": render(self.folder.name, self.metadata).encode(),
            "metrics.jsonl": "".join(lines).encode(),
        }

    def _read_state(self, slot: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        note = read_json(self.folder, f"resume.{slot}.json")
        name = f"resume.{slot}.safetensors"
        return note, load_arrays(read(self.folder, name), path=self.folder / name)

    def _symbols(self) -> str:
        """The sha256 of the symbols, in the order of their ids."""
        sides = [
            self.metadata[side] for side in ("source", "target", "units") if side in self.metadata
        ]
        return hashlib.sha256(json.dumps(sides).encode()).hexdigest()

    def _compare(self, note: Mapping[str, Any]) -> None:
        """Raise CheckpointError where the saved run had other settings, data or symbols."""
        self._compare_origin(note)
        if note.get("start") != self.metadata["start"] or note.get("symbols") != self._symbols():
            raise CheckpointError(
                "was begun from other weights or symbols (see --init-from); --force starts it anew",
                path=self.folder,
            )

    def _compare_origin(self, note: Mapping[str, Any]) -> None:
        if note["fingerprint"] != self.metadata["data"]["fingerprint"]:
            raise CheckpointError(
                "was begun on other data (the files have changed); --force starts it anew",
                path=self.folder,
            )
        for name, value in self.metadata["settings"].items():
            before = note["settings"].get(name)
            if before != value:
                raise CheckpointError(
                    f"was begun with {name} = {before}, now it is {value}; give the same "
                    "settings to resume, --force to start anew, or another -o",
                    path=self.folder,
                )
        before, now = (one.get("distilled") or {} for one in (note, self.metadata))
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


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def _kernels() -> str:
    """The level of the compiled kernels, on which the last bits depend; "off" without them."""
    found = library.find()
    return "off" if found is None else found.level


def _versions() -> dict[str, str]:
    """Versions of everything that the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("charseq", "torch", "numpy", "safetensors", "sentencepiece"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found | {"kernels": _kernels()}
