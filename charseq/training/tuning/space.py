"""Table of settings -> search space: for each setting a distribution of Optuna.

The table is ``[tune]`` of DATA/charseq.toml, or a TOML file of its own:

    cell = ["gru", "lstm"]                                choices
    hidden = {low = 128, high = 512, step = 64}           both ends are included
    learning_rate = {low = 0.0005, high = 0.008, log = true}
    dropout = true                                        the usual range

Choices become a CategoricalDistribution, a range of whole numbers an IntDistribution, any other
range a FloatDistribution. This module needs Optuna, an extra, from its first line on: callers
check that Optuna is installed, then import it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from charseq.config import SETTINGS, WORDS_ONLY, parse
from charseq.data.settings_file import SETTINGS_FILE, TUNE, read_toml
from charseq.errors import SettingError, UsageError, argument
from charseq.setting import renamed

Range = IntDistribution | FloatDistribution
Distribution = CategoricalDistribution | Range
Space = dict[str, Distribution]

_USUAL_BOTH: dict[str, Any] = {
    "batch_size": [16, 32, 64, 128],
    "cell": ["gru", "lstm"],
    "dropout": {"low": 0.0, "high": 0.6, "step": 0.05},
    "weight_decay": {"low": 1e-3, "high": 0.1, "log": True},
}
USUAL_PAIRS: dict[str, Any] = {
    "learning_rate": {"low": 5e-4, "high": 8e-3, "log": True},
    **_USUAL_BOTH,
    "layers": [0, 1, 2],
    "hidden": {"low": 128, "high": 512, "step": 64},
    "embedding": {"low": 64, "high": 256, "step": 32},
    "label_smoothing": {"low": 0.0, "high": 0.2, "step": 0.05},
    "ema": [0.99, 0.995, 0.998, 0.999],
}
"""The search space for pairs where the user gives none."""
USUAL_NEXT_WORD: dict[str, Any] = {
    "learning_rate": {"low": 1e-3, "high": 2e-2, "log": True},
    **_USUAL_BOTH,
    "layers": [1, 2],
    "hidden": {"low": 256, "high": 768, "step": 128},
    "embedding": {"low": 128, "high": 512, "step": 64},
    "embedding_dropout": {"low": 0.0, "high": 0.3, "step": 0.05},
    "recurrent_dropout": {"low": 0.0, "high": 0.5, "step": 0.05},
}
"""The search space for the next word where the user gives none.

Label smoothing and weight averaging are left out: they do not lower the perplexity.
"""
SEARCHABLE_DATA = (
    "source_symbols", "target_symbols", "source_form", "target_form", "subword_size", "min_count",
)  # fmt: skip
"""Settings of the data that may be searched for pairs: dev scores stay comparable."""
NOT_SEARCHABLE = (
    "minutes", "epochs", "seed", "threads", "workers", "device", "precision", "evaluations",
    "dev_limit", "save_seconds", "keep_checkpoints", "ensemble", "cells", "teacher_best",
)  # fmt: skip
"""Settings of a training or model that a dev score cannot choose.

They set the budget, the hardware, the seed, or train several networks.
"""
CONTINUOUS_DIGITS = 3
"""Significant digits of a number from a range without steps."""
STEP_DIGITS = 10
"""Significant digits of a number from a range with steps: 0.15, not 0.15000000000000002."""


def usual(task: str) -> Space:
    """The search space for ``pairs`` or ``next-word`` where the user gives none."""
    table = USUAL_NEXT_WORD if task == "next-word" else USUAL_PAIRS
    return {name: _distribution(name, value) for name, value in table.items()}


def read(table: Mapping[str, Any], task: str, *, origin: str = "") -> Space:
    """A user's table -> its search space; ``origin`` is put before the message of an error.

    Raises:
        SettingError: a name is unknown or not searchable, a value is outside its limits, or a
            range holds no numbers.
    """
    space: Space = {}
    for name, value in renamed(table).items():
        try:
            _check_name(name, task)
            if value is True and not isinstance(SETTINGS[name].default, bool):
                space[name] = _usual_distribution(name, task)
            else:
                space[name] = _distribution(name, value)
            if name == "cell" and task == "pairs" and contains(space[name], "mlp"):
                raise SettingError(WORDS_ONLY)
        except SettingError as fault:
            raise SettingError(f"{origin}{fault.marked}") from None
    return space


def read_file(path: Path, task: str) -> Space:
    """A TOML file, one setting a line -> its search space.

    Raises:
        DataError: the file cannot be read, or is not valid TOML.
        SettingError: as :func:`read`.
        UsageError: the file is missing or empty.
    """
    table = read_toml(path)
    if not table:
        what = "says of no setting what is searched" if path.is_file() else "there is no such file"
        raise UsageError(f"{path}: {what}")
    return read(table, task, origin=f"{path}: ")


def read_data(data: str | Path, task: str) -> Space | None:
    """The table ``[tune]`` of DATA/charseq.toml -> its search space; None without a table.

    Raises:
        DataError, SettingError: as :func:`read_file`.
    """
    path = Path(data) / SETTINGS_FILE
    table = read_toml(path).get(TUNE)
    if table is None:
        return None
    if not isinstance(table, Mapping):
        raise SettingError(f"{path}: {TUNE} is {_text(table)}, expected a table [{TUNE}]")
    return read(table, task, origin=f"{path}: ")


def to_json(space: Space) -> dict[str, Any]:
    """A search space -> the table that :func:`read` takes, in JSON values."""
    return {name: _table_entry(distribution) for name, distribution in space.items()}


def contains(distribution: Distribution, value: Any) -> bool:
    """Whether a value is one of the choices, or lies in the range and on one of its steps."""
    try:  # Optuna checks the values of every trial that is made
        create_trial(params={"value": value}, distributions={"value": distribution}, value=0.0)
    except ValueError:
        return False
    return True


def rounded(distribution: Distribution, value: Any) -> Any:
    """A drawn value with few digits, within the range; choices and whole numbers as they are."""
    if not isinstance(distribution, FloatDistribution):
        return value
    digits = CONTINUOUS_DIGITS if distribution.step is None else STEP_DIGITS
    return min(max(float(f"{value:.{digits}g}"), distribution.low), distribution.high)


def _table_entry(distribution: Distribution) -> list[Any] | dict[str, Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    ends: dict[str, Any] = {"low": distribution.low, "high": distribution.high}
    if distribution.log:
        return ends | {"log": True}
    return ends if distribution.step is None else ends | {"step": distribution.step}


def _check_name(name: str, task: str) -> None:
    """Raises SettingError for an unknown setting, and for one that a dev score cannot choose."""
    if name not in SETTINGS:
        parse(name, None)  # raises, and suggests the nearest name
    group = SETTINGS[name].metadata["group"]
    if group == "data" and task == "pairs" and name in SEARCHABLE_DATA:
        return
    if group not in ("model", "training") or name in NOT_SEARCHABLE:
        raise SettingError(f"{name} can be set, but not searched")


def _usual_distribution(name: str, task: str) -> Distribution:
    space = usual(task)
    if name not in space:
        raise SettingError(
            f"{name} has no usual range: {name} = [...] or {{low = ..., high = ...}}"
        )
    return space[name]


def _distribution(name: str, value: Any) -> Distribution:
    """An entry of the table, a list or a range -> its distribution."""
    if isinstance(value, list):
        choices = list(dict.fromkeys(parse(name, choice) for choice in value))
        if len(choices) < 2:
            raise SettingError(f"{name} needs two choices or more; {argument(name, '...')} sets it")
        return CategoricalDistribution(choices)
    if not isinstance(value, Mapping) or not {"low", "high"} <= value.keys():
        raise SettingError(
            f"{name} is {_text(value)}, expected [choices] or {{low = ..., high = ...}}"
        )
    if unknown := value.keys() - {"low", "high", "step", "log"}:
        raise SettingError(f"{name}: '{min(unknown)}' is unknown, expected low, high, step, log")
    if type(SETTINGS[name].default) not in (int, float):
        raise SettingError(f"{name} is no number: expected [choices]")
    return _range(name, value)


def _range(name: str, ends: Mapping[str, Any]) -> Range:
    low, high = parse(name, ends["low"]), parse(name, ends["high"])
    step, log = ends.get("step"), ends.get("log", False)
    whole = isinstance(low, int)
    if low >= high:
        raise SettingError(f"{name}: low is {low}, expected less than high, which is {high}")
    if not isinstance(log, bool):
        raise SettingError(f"{name}: log is {_text(log)}, expected true or false")
    if log and (step is not None or low <= 0):
        raise SettingError(f"{name}: with log, low is above 0 and there is no step")
    if step is None:
        return IntDistribution(low, high, log) if whole else FloatDistribution(low, high, log)
    if isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step <= high - low:
        raise SettingError(f"{name}: step is {_text(step)}, expected a part of {high - low:g}")
    if whole and step != int(step):
        raise SettingError(f"{name}: step is {step}, expected a whole number")
    # Optuna lowers a high that no step meets, and cannot count steps that are too fine
    with warnings.catch_warnings(action="ignore"), suppress(ArithmeticError):
        stepped: Range = (
            IntDistribution(low, high, step=int(step))
            if whole
            else FloatDistribution(low, high, step=step)
        )
        if stepped.high == high:
            return stepped
    raise SettingError(f"{name}: steps of {step:g} from {low:g} do not meet {high:g}")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
