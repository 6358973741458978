"""names and ranges -> what is searched: the axes of a search over settings.

It knows neither how one searches nor training. As a user writes it, in a table ``[tune]`` of
DATA/charseq.toml or in a file of its own:

    cell = ["gru", "lstm"]                                choices
    hidden = {low = 128, high = 512, step = 64}           both ends are included
    learning_rate = {low = 0.0005, high = 0.008, log = true}
    dropout = true                                        the usual range
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from charseq.config import SETTINGS, parse
from charseq.data.settings_file import SETTINGS_FILE, TUNE, read_toml
from charseq.errors import SettingError, UsageError

_BOTH: dict[str, Any] = {
    "batch_size": [16, 32, 64, 128],
    "cell": ["gru", "lstm"],
    "dropout": {"low": 0.0, "high": 0.6, "step": 0.05},
    "weight_decay": {"low": 1e-3, "high": 0.1, "log": True},
}
USUAL: dict[str, Any] = {
    "learning_rate": {"low": 5e-4, "high": 8e-3, "log": True},
    **_BOTH,
    "layers": [0, 1, 2],
    "hidden": {"low": 128, "high": 512, "step": 64},
    "embedding": {"low": 64, "high": 256, "step": 32},
    "label_smoothing": {"low": 0.0, "high": 0.2, "step": 0.05},
    "ema": [0.99, 0.995, 0.998, 0.999],
}
"""What is searched for pairs where nothing else is said."""
USUAL_NEXT_WORD: dict[str, Any] = {
    "learning_rate": {"low": 1e-3, "high": 2e-2, "log": True},
    **_BOTH,
    "layers": [1, 2],
    "hidden": {"low": 256, "high": 768, "step": 128},
    "embedding": {"low": 128, "high": 512, "step": 64},
    "embedding_dropout": {"low": 0.0, "high": 0.3, "step": 0.05},
    "recurrent_dropout": {"low": 0.0, "high": 0.5, "step": 0.05},
}
"""The same for the next word. What smooths labels or averages weights is no help there."""
SYMBOLS = ("source_symbols", "target_symbols", "source_form", "target_form", "subword_size",
           "min_count")  # fmt: skip
"""Of the settings that say what the data are, those that leave the scores of pairs comparable."""
APART = (
    "minutes", "epochs", "seed", "threads", "device", "precision", "evaluations", "dev_limit",
    "save_seconds", "keep", "ensemble", "cells", "teacher_best",
)  # fmt: skip
"""What says how much is computed, or where, or several networks: nothing to choose by a score."""
DIGITS = 3
"""Digits that matter of a number drawn from a range without steps,"""
EXACT = 10
"""and with steps, where only what is added by binary fractions goes."""


@dataclass(frozen=True)
class Choice:
    """One of these values, which have no order."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether the value is among them."""
        return value in self.values

    def to_json(self) -> list[Any]:
        """As a user writes it."""
        return list(self.values)

    def __str__(self) -> str:
        return " | ".join(_word(value) for value in self.values)


@dataclass(frozen=True)
class Range:
    """A number from ``low`` to ``high``, in steps or, with ``log``, by its logarithm."""

    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether the numbers are whole."""
        return isinstance(self.low, int)

    def holds(self, value: Any) -> bool:
        """Whether the value is one of its numbers."""
        inside = bool(self.low <= value <= self.high)
        return inside and (self.step is None or not _remainder(self.low, value, self.step))

    def plain(self, value: float) -> float:
        """The value, with no more digits than matter."""
        if self.whole:
            return value
        digits = DIGITS if self.step is None else EXACT
        return min(max(float(f"{value:.{digits}g}"), self.low), self.high)

    def to_json(self) -> dict[str, Any]:
        """As a user writes it."""
        ends: dict[str, Any] = {"low": self.low, "high": self.high}
        if self.step is not None:
            ends["step"] = self.step
        return ends | ({"log": True} if self.log else {})

    def __str__(self) -> str:
        how = "" if self.step is None else f" by {self.step:g}"
        return f"{self.low:g}…{self.high:g}{how}{' (log)' if self.log else ''}"


Space = dict[str, Choice | Range]


def usual(task: str) -> Space:
    """What is searched for ``pairs`` or ``next-word`` where nothing else is said."""
    table = USUAL_NEXT_WORD if task == "next-word" else USUAL
    return {name: _axis(name, value) for name, value in table.items()}


def read(table: Mapping[str, Any], task: str, *, origin: str = "") -> Space:
    """A user's table; ``origin`` stands before what is said of a fault in it.

    Raises:
        SettingError: a name that is no setting or cannot be searched, a value out of its limits,
            or a range without numbers.
    """
    space: Space = {}
    for name, value in table.items():
        try:
            _check_name(name, task)
            if value is True and not isinstance(SETTINGS[name].default, bool):
                space[name] = _usual_axis(name, task)
            else:
                space[name] = _axis(name, value)
            if name == "cell" and task == "pairs" and space[name].holds("mlp"):
                raise SettingError("the cell mlp predicts words, it does not rewrite")
        except SettingError as fault:
            raise SettingError(f"{origin}{fault}") from None
    return space


def read_file(path: Path, task: str) -> Space:
    """A TOML file with one axis a line.

    Raises:
        DataError: it cannot be read, or is no valid TOML.
        SettingError: as :func:`read`.
        UsageError: there is no such file, or nothing in it.
    """
    table = read_toml(path)
    if not table:
        what = "says of no setting what is searched" if path.is_file() else "there is no such file"
        raise UsageError(f"{path}: {what}")
    return read(table, task, origin=f"{path}: ")


def read_data(data: str | Path, task: str) -> Space | None:
    """The table ``[tune]`` of DATA/charseq.toml, None where there is none.

    Raises:
        DataError, SettingError: as :func:`read_file`.
    """
    path = Path(data) / SETTINGS_FILE
    table = read_toml(path).get(TUNE)
    if table is None:
        return None
    if not isinstance(table, Mapping):
        raise SettingError(f"{path}: {TUNE} is {_word(table)}, expected a table [{TUNE}]")
    return read(table, task, origin=f"{path}: ")


def _check_name(name: str, task: str) -> None:
    """Raises SettingError for what is no setting, or none that a score can choose."""
    if name not in SETTINGS:
        parse(name, None)  # says so, and which name is near
    group = SETTINGS[name].metadata["group"]
    if group == "data" and task == "pairs" and name in SYMBOLS:
        return
    if group not in ("model", "training") or name in APART:
        raise SettingError(f"{name} can be set, but not searched")


def _usual_axis(name: str, task: str) -> Choice | Range:
    axes = usual(task)
    if name not in axes:
        raise SettingError(
            f"{name} has no usual range: {name} = [...] or {{low = ..., high = ...}}"
        )
    return axes[name]


def _axis(name: str, value: Any) -> Choice | Range:
    """Choices or a range, from what stands in a table."""
    if isinstance(value, list):
        values = tuple(dict.fromkeys(parse(name, one) for one in value))
        if len(values) < 2:
            raise SettingError(f"{name} needs two choices or more; --set {name}=... sets it")
        return Choice(values)
    if not isinstance(value, Mapping) or not {"low", "high"} <= value.keys():
        raise SettingError(
            f"{name} is {_word(value)}, expected [choices] or {{low = ..., high = ...}}"
        )
    if unknown := value.keys() - {"low", "high", "step", "log"}:
        raise SettingError(f"{name}: '{min(unknown)}' is unknown, expected low, high, step, log")
    if type(SETTINGS[name].default) not in (int, float):
        raise SettingError(f"{name} is no number: expected [choices]")
    return _range(name, value)


def _range(name: str, ends: Mapping[str, Any]) -> Range:
    low, high = parse(name, ends["low"]), parse(name, ends["high"])
    step, log = ends.get("step"), ends.get("log", False)
    if low >= high:
        raise SettingError(f"{name}: low is {low}, expected less than high, which is {high}")
    if not isinstance(log, bool):
        raise SettingError(f"{name}: log is {_word(log)}, expected true or false")
    if log and (step is not None or low <= 0):
        raise SettingError(f"{name}: with log, low is above 0 and there is no step")
    if step is None:
        return Range(low, high, 1 if isinstance(low, int) and not log else None, log)
    if isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step <= high - low:
        raise SettingError(f"{name}: step is {_word(step)}, expected a part of {high - low:g}")
    if isinstance(low, int) and step != int(step):
        raise SettingError(f"{name}: step is {step}, expected a whole number")
    if _remainder(low, high, step):
        raise SettingError(f"{name}: steps of {step:g} from {low:g} do not meet {high:g}")
    return Range(low, high, type(low)(step))


def _remainder(low: float, value: float, step: float) -> bool:
    """Whether no number of steps leads from ``low`` to ``value``, in decimals as written."""
    distance = Decimal(str(value)) - Decimal(str(low))
    return bool(distance % Decimal(str(step)))


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
