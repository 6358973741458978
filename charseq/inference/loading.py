"""run folder -> settings, symbols and weights, each checked against the others.

A run folder may come from a stranger: what is not as a run of charseq says it must be ends in one
line that names the file. It knows how two kinds of runs differ, pairs and next-word, and no use.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from charseq.config import Config, configure
from charseq.data.text.alignment import Actions
from charseq.data.text.tokenizer import Tokenizer
from charseq.data.text.vocabulary import SPECIALS, Vocabulary
from charseq.decoding import next_word_numpy, seq2seq_numpy
from charseq.decoding.ensemble import cells_of, name_of
from charseq.errors import CheckpointError, SettingError
from charseq.inference.calibration import Calibration
from charseq.runs.folder import ABOUT, WEIGHTS, load_model

if TYPE_CHECKING:
    import numpy as np

ABSENT = {"prior": False, "direction": "forward"}
"""Settings of runs that were made before there were such."""

Kinds = dict[str, type | tuple[type, ...]]
Shapes = dict[str, tuple[int, ...]]

_NUMBER = (int, float)
_ABOUT: Kinds = {
    "parameters": int,
    "seconds": _NUMBER,
    "epochs": _NUMBER,
    "scores": dict,
    "versions": dict,
    "data": dict,
}
_DATA: Kinds = {"name": str, "fingerprint": str, "columns": str, "examples": dict}
_MEMBER: Kinds = {"seed": int, "cell": str, "scores": dict, "seconds": _NUMBER, "epochs": _NUMBER}
"""What an ensemble says of each of its members."""
_SCORES = {"pairs": {"examples", "exact_match", "ser"}, "next-word": {"perplexity"}}
"""What every run that was scored says of it."""


class LoadedRun(NamedTuple):
    """A run folder as read. Of a next-word run ``source`` and ``target`` are the same symbols."""

    about: dict[str, Any]
    config: Config
    source: Vocabulary
    target: Vocabulary
    weights: dict[str, np.ndarray]
    units: Tokenizer | None
    """How a next-word run cuts its lines; None for pairs."""


def read_run(path: Path) -> LoadedRun:
    """What stands in the run folder ``path``.

    Raises:
        CheckpointError: missing, damaged, or not what a run of charseq holds.
    """
    about, weights = load_model(path, check=partial(_check, path))
    config = _settings(about, path)
    about = {**about, "settings": config.to_json()}  # an older run's as they are written now
    source, target, units = _symbols(about, config, path)
    return LoadedRun(about, config, source, target, weights, units)


def is_next_word(about: Mapping[str, Any]) -> bool:
    """Whether a run predicts words; the first runs of pairs did not say."""
    return bool(about["settings"].get("task") == "next-word")


def shapes_of(about: Mapping[str, Any]) -> Shapes:
    """Name and shape of every weight, from what a run says of itself."""
    if "members" not in about:
        return _network_shapes(about, about["settings"]["cell"])
    return {
        name_of(number, name): shape
        for number, member in enumerate(about["members"])
        for name, shape in _network_shapes(about, member["cell"]).items()
    }


def _network_shapes(about: Mapping[str, Any], cell: str) -> Shapes:
    """Name and shape of every weight of one network with this cell."""
    settings = about["settings"]
    shared = {name: settings[name] for name in ("embedding", "hidden", "layers", "tied")}
    if is_next_word(about):
        symbols = _size(about["units"]["vocabulary"])
        return next_word_numpy.shapes_of(
            cell=cell, **shared, context=settings["context"], symbols=symbols
        )
    targets, hard = _size(about["target"]), settings["attention"] == "hard"
    return seq2seq_numpy.shapes_of(
        cell=cell,
        **shared,
        attention=settings["attention"] == "soft",
        pointer=hard,
        prior=hard and settings["prior"],
        sources=_size(about["source"]),
        targets=Actions(targets).size if hard else targets,
    )


def _size(vocabulary: Mapping[str, Any]) -> int:
    return SPECIALS + len(vocabulary["symbols"]) + len(vocabulary["features"])


def _settings(about: Mapping[str, Any], path: Path) -> Config:
    """The settings in ``about``. Raises CheckpointError where they are not settings of ours."""
    try:
        config = configure({**ABSENT, **about["settings"]})
        cells_of(config)
    except SettingError as error:
        raise CheckpointError(f"is damaged: {error}", path=path / ABOUT) from error
    if not config.layers:  # a setting that leaves them open, which a run has settled
        raise CheckpointError("is damaged: layers is 0, expected 1 or more", path=path / ABOUT)
    return config


def _symbols(
    about: Mapping[str, Any], config: Config, path: Path
) -> tuple[Vocabulary, Vocabulary, Tokenizer | None]:
    """Source, target and units of a run. Raises CheckpointError where they are malformed."""
    try:
        if config.task == "next-word":
            units = Tokenizer.from_json(about.get("units"))
            has = units.kind, units.case, units.punctuation
            if has != (config.units, config.case, config.punctuation):
                raise CheckpointError(f"is damaged: units {', '.join(has)}, not as in the settings")
            return units.vocabulary, units.vocabulary, units
        source, target = (Vocabulary.from_json(about.get(side)) for side in ("source", "target"))
    except CheckpointError as error:
        raise CheckpointError(str(error), path=path / ABOUT) from error
    return source, target, None


def _check(path: Path, about: dict[str, Any], found: Shapes) -> None:
    """Refuse what a run does not say of itself, and weights that its settings do not call for."""
    for part, kinds in (("", _ABOUT), ("data", _DATA)):
        fields = about[part] if part else about
        for key, kind in kinds.items():
            if not isinstance(fields.get(key), kind) or isinstance(fields[key], bool):
                raise CheckpointError(f"is damaged: no sound '{key}'", path=path / ABOUT)
    config = _settings(about, path)
    words = config.task == "next-word"
    _check_numbers(about, _SCORES["next-word" if words else "pairs"], path)
    if not words:
        _check_limits(about.get("limits"), path)
        if config.cell == "mlp":
            raise CheckpointError("is damaged: a run of pairs with cell mlp", path=path / ABOUT)
    _check_members(about, config, path)
    _check_origin(about, path)
    try:
        Calibration.from_json(about.get("calibration"))
    except CheckpointError as error:
        raise CheckpointError(str(error), path=path / ABOUT) from error
    _symbols(about, config, path)
    wanted = shapes_of(about | {"settings": config.to_json()})
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise CheckpointError(
                f"has {name[:60]!r} as {found.get(name, 'nothing')}, expected "
                f"{wanted.get(name, 'nothing')} from the settings",
                path=path / WEIGHTS,
            )


def _check_numbers(about: Mapping[str, Any], wanted: set[str], path: Path) -> None:
    """Refuse scores and counts that could not be told to people."""
    scores, counts = about["scores"], about["data"]["examples"]
    for key, values in (("scores", scores), ("examples", counts)):
        if any(type(value) not in _NUMBER for value in values.values()):
            raise CheckpointError(f"is damaged: no sound '{key}'", path=path / ABOUT)
    if scores and not wanted <= scores.keys():
        raise CheckpointError("is damaged: no sound 'scores'", path=path / ABOUT)


def _check_members(about: Mapping[str, Any], config: Config, path: Path) -> None:
    """Refuse members that are not those of the settings, or that say nothing sound of themselves.

    An ensemble is of pairs; a run that is none says nothing of members.
    """
    if config.ensemble == 1 and "members" not in about:
        return
    members = about.get("members")
    sound = isinstance(members, list) and len(members) == config.ensemble > 1
    if not sound or config.task == "next-word":
        what = "is damaged: 'members' are not those of the settings"
        raise CheckpointError(what, path=path / ABOUT)
    for number, (member, cell) in enumerate(zip(members or (), cells_of(config), strict=True)):
        fields = member if isinstance(member, dict) else {}
        for key, kind in _MEMBER.items():
            if not isinstance(fields.get(key), kind) or isinstance(fields[key], bool):
                what = f"is damaged: no sound '{key}' of member {number + 1}"
                raise CheckpointError(what, path=path / ABOUT)
        scores = fields["scores"]
        sound = _SCORES["pairs"] <= scores.keys() or not scores
        sound = sound and all(type(value) in _NUMBER for value in scores.values())
        if fields["cell"] != cell or not sound:
            what = f"is damaged: member {number + 1} is not that of the settings"
            raise CheckpointError(what, path=path / ABOUT)


def _check_origin(about: Mapping[str, Any], path: Path) -> None:
    """Refuse what a run says of the runs that it was made from, where it could not be told."""
    for key, part in (("averaged", "of"), ("distilled", "teacher")):
        told = about.get(key, {part: ""})
        if not isinstance(told, dict) or not isinstance(told.get(part), str):
            raise CheckpointError(f"is damaged: no sound '{key}'", path=path / ABOUT)


def _check_limits(limits: Any, path: Path) -> None:
    """Refuse a table of length limits that is none."""
    if not isinstance(limits, list):
        raise CheckpointError("is damaged: no sound 'limits'", path=path / ABOUT)
    if not limits or any(type(item) is not int or not 0 <= item < 2**20 for item in limits):
        raise CheckpointError(
            "is damaged: 'limits' must be a list of whole numbers", path=path / ABOUT
        )
