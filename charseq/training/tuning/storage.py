"""Trials of a search <-> JSON Lines, each field checked when it is read.

    {"format": 1, "data": "9f...", "settings": {...}, "space": {...}}   the conditions of the search
    {"trial": 1, "drawn": {"hidden": 192, ...}, "value": 71.2, "state": "done",
     "scores": {"ser": 3.1, ...}, "seconds": 61.3, "reported": [[1, 40.0], [2, 55.5]]}
    {"trial": 2, "drawn": {"hidden": 256, ...}}                         the trial that is trained

The file may come from a stranger: nothing but JSON is read, of bounded size, and a field that no
search writes is an error that names the line. The file is written anew when a trial begins and when
it ends, and replaced by a rename: a kill leaves the list before or the list after. Whether drawn
values lie in the search space is for the caller to check.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charseq import files
from charseq.errors import CheckpointError, argument
from charseq.runs.store import FORMAT, check_format, open_plain
from charseq.runs.untrusted import parse_object, reason

MAX_TRIALS = 10_000
"""Trials of a search, at most."""
MAX_BYTES = 8 * 2**20
"""Bytes of the file, at most: 10,000 trials of 12 evaluations each, read within seconds."""
DONE, GIVEN_UP, FAILED = "done", "given up", "failed"
"""States of a finished trial: it came to its end, was pruned, or its loss was not finite."""
ANEW = f"{argument('force', True)} begins anew"
ELSEWHERE = f"{argument('run')} names another folder"
_CONDITIONS = {"format": int, "data": str, "settings": dict, "space": dict}
_OUTCOME = ("value", "state", "scores", "seconds", "reported")


@dataclass(frozen=True)
class Outcome:
    """The end of a trial."""

    value: float | None
    """The objective; None after pruning or failure, and where it was not finite."""
    state: str
    """:data:`DONE`, :data:`GIVEN_UP` or :data:`FAILED`."""
    scores: Mapping[str, float | None]
    """Dev scores by name; None where one was not finite."""
    seconds: float
    reported: tuple[tuple[int, float | None], ...] = ()
    """(evaluation, objective there), in order; None where it was not finite."""

    @property
    def notes(self) -> dict[str, Any]:
        """State, scores and seconds by name."""
        return {"state": self.state, "scores": dict(self.scores), "seconds": self.seconds}


@dataclass(frozen=True)
class StoredTrial:
    """The values that were drawn for a trial, not rounded, and its end if it has come."""

    drawn: Mapping[str, Any]
    outcome: Outcome | None = None


@dataclass
class TrialStorage:
    """The conditions and the trials of a search, in the file ``path``.

    All trials but the last have an outcome. Conditions are None for a new search.
    """

    path: Path
    conditions: dict[str, Any] | None = None
    trials: list[StoredTrial] = field(default_factory=list)
    _lines: list[bytes] = field(default_factory=list)

    @property
    def running(self) -> StoredTrial | None:
        """The trial that has begun and not ended."""
        last = self.trials[-1] if self.trials else None
        return last if last and last.outcome is None else None

    def begin_search(self, conditions: Mapping[str, Any]) -> None:
        """Store the conditions of a new search: JSON values of data, settings and space.

        Raises:
            CheckpointError: they cannot be stored, as in all methods that store something.
        """
        self._write([_encode({"format": FORMAT, **conditions}, self.path)])
        self.conditions = dict(conditions)

    def begin(self, drawn: Mapping[str, Any]) -> None:
        """Store the values drawn for the next trial, unless it has begun with these already."""
        if self.running and self.running.drawn == drawn:
            return
        trial = StoredTrial(dict(drawn))
        kept = self.trials[:-1] if self.running else self.trials
        lines = self._lines[: 1 + len(kept)]
        self._write([*lines, _encode(_trial_json(len(kept) + 1, trial), self.path)])
        self.trials = [*kept, trial]

    def end(self, outcome: Outcome) -> None:
        """Store the outcome of the running trial."""
        trial = StoredTrial(self.trials[-1].drawn, outcome)
        line = _encode(_trial_json(len(self.trials), trial), self.path)
        self._write([*self._lines[:-1], line])
        self.trials[-1] = trial

    def _write(self, lines: list[bytes]) -> None:
        """Replace the file by these lines; if that fails the old one stays."""
        content = b"".join(lines)
        if len(content) > MAX_BYTES or len(lines) > MAX_TRIALS + 1:
            what = f"holds {len(lines) - 1:,} trials and has no room for more"
            raise CheckpointError(f"{what}: {ELSEWHERE}", path=self.path)
        try:
            part = files.hidden_path(self.path, "part")  # one that a killed process left goes
            with files.replacing(self.path, part=part) as (file, _):
                file.write(content)
                files.sync(file)
            files.publish(part, self.path)
        except OSError as error:
            raise CheckpointError(f"cannot be written: {reason(error)}", path=self.path) from error
        self._lines = lines


def read_trials(path: Path, scored: Collection[str]) -> TrialStorage:
    """The search in the file ``path``; a new one where there is no such file.

    Args:
        path: the file.
        scored: names of the scores that a scored trial has at least.

    Raises:
        CheckpointError: the file is no list of trials, or cannot be read.
        NewerVersionError: a newer charseq wrote it.
    """
    try:
        with open_plain(path) as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return TrialStorage(path)
    except OSError as error:
        raise CheckpointError(f"cannot be read: {reason(error)}", path=path) from error
    if len(content) > MAX_BYTES or content.count(b"\n") > MAX_TRIALS + 1:
        raise CheckpointError(f"is larger than any list of trials; {ANEW}", path=path)
    *lines, rest = content.split(b"\n")
    if not lines or rest:
        raise _damage(path, len(lines) + 1, "expected a line of JSON and a line end")
    head = _parse(path, 1, lines[0])
    check_format(head, path)
    conditions = {name: head.get(name) for name in _CONDITIONS}
    if head != conditions or not all(isinstance(head[n], _CONDITIONS[n]) for n in head):
        raise _damage(path, 1, "expected format, data, settings and space of a search")
    trials = []
    for number, line in enumerate(lines[1:], 1):
        trial = _trial(_parse(path, number + 1, line), number, scored)
        if trial is None or (trial.outcome is None and number < len(lines) - 1):
            raise _damage(path, number + 1, f"expected trial {number} with sound values")
        trials.append(trial)
    del conditions["format"]
    return TrialStorage(path, conditions, trials, [line + b"\n" for line in lines])


def _damage(path: Path, line: int, what: str) -> CheckpointError:
    return CheckpointError(f"is damaged: line {line}: {what}; {ANEW}", path=path)


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """The object in a line."""
    try:
        return parse_object(line, None)
    except CheckpointError as fault:
        raise _damage(path, number, fault.marked.removeprefix("is damaged: ")) from fault


def _encode(value: Mapping[str, Any], path: Path) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode() + b"\n"
    except ValueError as error:  # a text that is no Unicode, a number that is not finite
        raise CheckpointError(f"cannot be stored: {reason(error)}", path=path) from error


def _trial_json(number: int, trial: StoredTrial) -> dict[str, Any]:
    line = {"trial": number, "drawn": dict(trial.drawn)}
    if trial.outcome is not None:
        line |= {name: getattr(trial.outcome, name) for name in _OUTCOME}
        line["scores"] = dict(trial.outcome.scores)
    return line


def _trial(line: Mapping[str, Any], number: int, scored: Collection[str]) -> StoredTrial | None:
    """The trial of a line; None where it is not trial ``number`` in every field."""
    drawn = line.get("drawn")
    if type(line.get("trial")) is not int or line["trial"] != number or not isinstance(drawn, dict):
        return None
    if len(line) == 2:
        return StoredTrial(drawn)
    fields = {name: item for name, item in line.items() if name not in ("trial", "drawn")}
    outcome = _outcome(fields, scored)
    return None if outcome is None else StoredTrial(drawn, outcome)


def _outcome(fields: Mapping[str, Any], scored: Collection[str]) -> Outcome | None:
    """The outcome with these fields; None where one is missing, unknown or not sound."""
    if fields.keys() != {*_OUTCOME}:
        return None
    value, state, scores, seconds, reported = (fields[name] for name in _OUTCOME)
    sound = (
        state in (DONE, GIVEN_UP, FAILED)
        and (value is None or (state == DONE and _is_number(value)))
        and _is_number(seconds)
        and seconds >= 0
        and isinstance(scores, dict)
        and (not scores or {*scored} <= scores.keys())
        and all(item is None or _is_number(item) for item in scores.values())
        and isinstance(reported, list)
    )
    if not sound or not all(map(_is_report, reported)):
        return None
    steps = [step for step, _ in reported]
    if steps != sorted({*steps}):
        return None
    return Outcome(value, state, scores, seconds, tuple((step, found) for step, found in reported))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_report(value: Any) -> bool:
    """Whether a value is [evaluation, objective or null]."""
    match value:
        case [int(step), found] if type(step) is int and 1 <= step < 2**31:
            return found is None or _is_number(found)
    return False
