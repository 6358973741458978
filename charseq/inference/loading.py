"""Run folder -> settings, vocabularies and weights, each checked against the others.

A run folder may come from a stranger. Everything in it that does not have the type, the range or
the shape of a run of charseq ends in a CheckpointError, one line that names the file. Runs of pairs
and next-word runs differ in their symbols, limits, shapes and scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from charseq.confidence.calibration import Calibration
from charseq.confidence.confidence import Confidence
from charseq.confidence.memory import Memory
from charseq.confidence.rescoring import Rescoring
from charseq.confidence.word_prior import WordPrior
from charseq.config import Config, cells_of, configure
from charseq.data.text.alignment import Actions
from charseq.data.text.tokenizer import Tokenizer
from charseq.data.text.vocabulary import SPECIALS, Vocabulary
from charseq.decoding import networks
from charseq.decoding.ensemble import direction_of, name_of
from charseq.errors import CheckpointError, SettingError
from charseq.inference.language_model import LanguageModel
from charseq.runs.folder import ABOUT, FORMAT, WEIGHTS, load_model
from charseq.runs.lookup import TRAINED_AT
from charseq.runs.store import check_size, state_of
from charseq.runs.untrusted import encode_json, parse_object, shown

if TYPE_CHECKING:
    import numpy as np

    from charseq.inference.predictor import PairsModel

ABSENT = {
    "alignment_prior": False,
    "direction": "forward",
    "counts": "none",
    "memory": "off",
    "stateful": "no",
}
"""Values of settings that runs of the first versions do not have."""

Kinds = dict[str, type | tuple[type, ...]]
Shapes = dict[str, tuple[int, ...]]
_Symbols = tuple[Vocabulary, Vocabulary, Tokenizer | None]
_Checked = tuple[Config, _Symbols]

_NUMBER = (int, float)
_METADATA: Kinds = {
    "parameters": int,
    "seconds": _NUMBER,
    "epochs": _NUMBER,
    "scores": dict,
    "versions": dict,
    "data": dict,
}
_DATA: Kinds = {"name": str, "fingerprint": str, "columns": str, "examples": dict}
_MEMBER: Kinds = {"seed": int, "cell": str, "scores": dict, "seconds": _NUMBER, "epochs": _NUMBER}
"""Keys and types of each of the ``members`` of an ensemble."""
NEEDED_SCORES = {"pairs": {"examples", "exact_match", "ser"}, "next-word": {"perplexity"}}
"""Scores that every run has that was scored."""


class LoadedRun(NamedTuple):
    """The content of a run folder."""

    metadata: dict[str, Any]
    """The object in ``about.json``, with settings as runs have them now."""
    config: Config
    source: Vocabulary
    target: Vocabulary
    """The same vocabulary as ``source`` in a next-word run."""
    weights: dict[str, np.ndarray]
    """By name; the shapes are those of :func:`shapes_of`."""
    tokenizer: Tokenizer | None
    """That of the lines in a next-word run; None for pairs."""


def read_run(path: Path) -> LoadedRun:
    """The content of the run folder ``path``, checked.

    Raises:
        CheckpointError: missing, damaged, or not a run of charseq.
    """
    checked: list[_Checked] = []

    def check(metadata: dict[str, Any], found: Shapes) -> None:
        checked.append(_check(path, metadata, found))

    metadata, weights = load_model(path, check=check)
    config, (source, target, tokenizer) = checked[-1]
    metadata = {**metadata, "settings": config.to_json()}  # older runs have fewer settings
    return LoadedRun(metadata, config, source, target, weights, tokenizer)


def check_storable(metadata: Mapping[str, Any], folder: str | Path) -> None:
    """Check, before training, that a run with this metadata can be stored and loaded again.

    ``metadata`` are those known before training; the rest is filled in by plain values.

    Raises:
        CheckpointError: a reader would refuse the run, for example for a symbol that is too long.
    """
    rest: dict[str, Any] = {"seconds": 0.0, "epochs": 0.0, "scores": {}}
    known: dict[str, Any] = {"format": FORMAT, "finished": False, "parameters": 0, "versions": {}}
    about = {**known, **rest, **metadata}
    path = Path(folder)
    try:
        config = _settings(about, path)
        if config.ensemble > 1:
            about["members"] = [{"seed": 0, "cell": cell} | rest for cell in cells_of(config)]
        content = encode_json(about)
        check_size(ABOUT, len(content), path)
        about = parse_object(content, path / ABOUT)
        _check(path, about, shapes_of(about))
    except CheckpointError as fault:
        what = str(fault).removeprefix(f"{path / ABOUT}: ").removeprefix("is damaged: ")
        raise CheckpointError(
            f"such a run could not be loaded after the training ({what}); change the data or the "
            "settings",
            path=path,
        ) from fault


def is_next_word(metadata: Mapping[str, Any]) -> bool:
    """Whether a run predicts words. The first runs of pairs have no setting ``task``."""
    return bool(metadata["settings"].get("task") == "next-word")


def shapes_of(metadata: Mapping[str, Any]) -> Shapes:
    """Name and shape of every weight of a run, from its metadata."""
    if "members" not in metadata:
        return _network_shapes(metadata, metadata["settings"]["cell"])
    return {
        name_of(number, name): shape
        for number, member in enumerate(metadata["members"])
        for name, shape in _network_shapes(metadata, member["cell"]).items()
    }


def _network_shapes(metadata: Mapping[str, Any], cell: str) -> Shapes:
    """Name and shape of every weight of one network with this cell."""
    if is_next_word(metadata):
        task, symbols = "next-word", {"units": _size(metadata["units"]["vocabulary"])}
    else:
        task, symbols = "pairs", {name: _size(metadata[name]) for name in ("source", "target")}
    return networks.NETWORKS[task].shapes(metadata["settings"], cell, symbols)


def _size(vocabulary: Mapping[str, Any]) -> int:
    return SPECIALS + len(vocabulary["symbols"]) + len(vocabulary["features"])


def _settings(metadata: Mapping[str, Any], path: Path) -> Config:
    """The settings in ``metadata``. Raises CheckpointError where charseq has no such settings."""
    try:
        config = configure({**ABSENT, **metadata["settings"]})
        cells_of(config)
    except SettingError as error:
        raise CheckpointError(f"is damaged: {error.marked}", path=path / ABOUT) from error
    if not config.layers:  # 0 is resolved to a number before the training begins
        raise CheckpointError("is damaged: layers is 0, expected 1 or more", path=path / ABOUT)
    return config


def _symbols(metadata: Mapping[str, Any], config: Config, path: Path) -> _Symbols:
    """Vocabularies and tokenizer of a run. Raises CheckpointError where they are malformed."""
    try:
        if config.task == "next-word":
            tokenizer = Tokenizer.from_json(metadata.get("units"))
            has = tokenizer.kind, tokenizer.case, tokenizer.punctuation
            if has != (config.units, config.case, config.punctuation):
                raise CheckpointError(f"is damaged: units {', '.join(has)}, not as in the settings")
            return tokenizer.vocabulary, tokenizer.vocabulary, tokenizer
        source, target = (Vocabulary.from_json(metadata.get(side)) for side in ("source", "target"))
    except CheckpointError as error:
        raise CheckpointError(str(error), path=path / ABOUT) from error
    return source, target, None


def _check(path: Path, metadata: dict[str, Any], found: Shapes) -> _Checked:
    """The content of sound metadata; weights of other shapes than theirs are refused."""
    checked = check_metadata(path, metadata)
    wanted = shapes_of(metadata | {"settings": checked[0].to_json()})
    check_shapes(wanted, found, path / WEIGHTS)
    return checked


def check_shapes(wanted: Shapes, found: Shapes, path: Path) -> None:
    """Raise CheckpointError where the weights in the file ``path`` have not the shapes wanted."""
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise CheckpointError(
                f"has {shown(name)} as {found.get(name, 'nothing')}, expected "
                f"{wanted.get(name, 'nothing')} from the settings",
                path=path,
            )


def check_metadata(path: Path, metadata: dict[str, Any]) -> _Checked:
    """Settings and symbols of the run folder ``path``, from its metadata.

    Raises:
        CheckpointError: keys are missing, of wrong types, or contradict each other.
    """
    for part, kinds in (("", _METADATA), ("data", _DATA)):
        fields = metadata[part] if part else metadata
        for key, kind in kinds.items():
            if not _is_sound(fields.get(key), kind):
                raise CheckpointError(f"is damaged: no sound '{key}'", path=path / ABOUT)
    if not _is_sound(metadata["data"].get("rows", 0), int):
        raise CheckpointError("is damaged: no sound 'rows'", path=path / ABOUT)
    config = _settings(metadata, path)
    words = config.task == "next-word"
    _check_numbers(metadata, NEEDED_SCORES["next-word" if words else "pairs"], path)
    if not words:
        _check_limits(metadata.get("limits"), path)
        if config.cell == "mlp":
            raise CheckpointError("is damaged: a run of pairs with cell mlp", path=path / ABOUT)
    _check_members(metadata, config, path)
    _check_origin(metadata, path)
    try:
        calibration = Calibration.from_json(metadata.get("calibration"))
        Confidence.from_json(metadata.get("confidence"), calibration)
        Memory.from_json(metadata.get("memory"))
        WordPrior.from_json(metadata.get("words"))
        symbols = _symbols(metadata, config, path)
        rescoring_of(metadata, config, symbols[1])
    except CheckpointError as error:
        what = str(error).removeprefix(f"{path / ABOUT}: ")
        raise CheckpointError(what, path=path / ABOUT) from error
    return config, symbols


def rescoring_of(
    metadata: Mapping[str, Any], config: Config, target: Vocabulary
) -> Rescoring | None:
    """The joint n-grams of a run of pairs; None without.

    Raises:
        CheckpointError: they are damaged, or not those of its directions.
    """
    stored = metadata.get("ngrams")
    if stored is None:
        return None
    if config.task == "next-word" or config.attention != "hard":
        raise CheckpointError("is damaged: joint n-grams without hard attention")
    found = Rescoring.from_json(stored, Actions(len(target)))
    needed = {direction_of(config, number) == "backward" for number in range(config.ensemble)}
    if found is not None and found.ngrams.keys() != needed:
        raise CheckpointError("is damaged: the joint n-grams are of other directions")
    return found


def _is_sound(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether a value has its type; numbers are neither negative nor true or false."""
    if not isinstance(value, kind) or isinstance(value, bool):
        return False
    return not isinstance(value, int | float) or value >= 0


def _check_numbers(metadata: Mapping[str, Any], wanted: set[str], path: Path) -> None:
    """Refuse scores and counts that are missing, or that are no numbers."""
    if not isinstance(metadata.get(TRAINED_AT, ""), str):
        raise CheckpointError(f"is damaged: no sound '{TRAINED_AT}'", path=path / ABOUT)
    if any(not isinstance(version, str) for version in metadata["versions"].values()):
        raise CheckpointError("is damaged: no sound 'versions'", path=path / ABOUT)
    scores, counts = metadata["scores"], metadata["data"]["examples"]
    for key, values in (("scores", scores), ("examples", counts)):
        if any(type(value) not in _NUMBER for value in values.values()):
            raise CheckpointError(f"is damaged: no sound '{key}'", path=path / ABOUT)
    if scores and not wanted <= scores.keys():
        raise CheckpointError("is damaged: no sound 'scores'", path=path / ABOUT)


def _check_members(metadata: Mapping[str, Any], config: Config, path: Path) -> None:
    """Refuse ``members`` that do not agree with the settings, or that have wrong keys.

    Only runs of pairs are ensembles; another run has no ``members``.
    """
    if config.ensemble == 1 and "members" not in metadata:
        return
    members = metadata.get("members")
    sound = isinstance(members, list) and len(members) == config.ensemble > 1
    if not sound or config.task == "next-word":
        raise CheckpointError(
            "is damaged: 'members' are not those of the settings", path=path / ABOUT
        )
    for number, (member, cell) in enumerate(zip(members or (), cells_of(config), strict=True)):
        fields = member if isinstance(member, dict) else {}
        for key, kind in _MEMBER.items():
            if not _is_sound(fields.get(key), kind):
                raise CheckpointError(
                    f"is damaged: no sound '{key}' of member {number + 1}", path=path / ABOUT
                )
        scores = fields["scores"]
        sound = NEEDED_SCORES["pairs"] <= scores.keys() or not scores
        sound = sound and all(type(value) in _NUMBER for value in scores.values())
        if fields["cell"] != cell or not sound:
            raise CheckpointError(
                f"is damaged: member {number + 1} is not that of the settings", path=path / ABOUT
            )


def _check_origin(metadata: Mapping[str, Any], path: Path) -> None:
    """Refuse wrong entries for the runs that a run was made from: ``averaged``, ``distilled``."""
    for key, part in (("averaged", "of"), ("distilled", "teacher")):
        origin = metadata.get(key, {part: ""})
        if not isinstance(origin, dict) or not isinstance(origin.get(part), str):
            raise CheckpointError(f"is damaged: no sound '{key}'", path=path / ABOUT)


def _check_limits(limits: Any, path: Path) -> None:
    """Refuse a table of length limits that is no list of whole numbers."""
    if not isinstance(limits, list):
        raise CheckpointError("is damaged: no sound 'limits'", path=path / ABOUT)
    if not limits or any(type(item) is not int or not 0 <= item < 2**20 for item in limits):
        raise CheckpointError(
            "is damaged: 'limits' must be a list of whole numbers", path=path / ABOUT
        )


# --- the same run again


def reloading(model: PairsModel | LanguageModel) -> tuple[Any, ...]:
    """The ``__reduce__`` of a model: its run by the path, its options and its fingerprint."""
    options = dict(getattr(model, "options", {}))
    return loaded_again, (model.path.absolute(), options, fingerprint(model))


def loaded_again(path: Path, options: Mapping[str, Any], known: str) -> PairsModel | LanguageModel:
    """The model that pickle or a copy stored by its path. ``known``: its :func:`fingerprint`.

    Raises:
        CheckpointError: as :func:`load`, or the run, lexicon or rule has changed since then.
    """
    from charseq.inference.predictor import load

    model = load(path, **options)
    if fingerprint(model) != known:
        raise CheckpointError(
            "the run, its lexicon or its rule has changed since it was pickled", path=path
        )
    return model


def fingerprint(model: PairsModel | LanguageModel) -> str:
    """sha256 of all that decides a model's answers: files, lexicon, words, rule, length penalty."""
    files = state_of(model.path).files
    parts: list[Any] = [sorted((name, entry.sha256) for name, entry in files.items())]
    if not is_next_word(model.metadata):
        pairs: Any = model
        parts += [pairs.config.length_penalty, pairs.lexicon and pairs.lexicon.fingerprint]
        parts += [pairs.rule.fingerprint] if pairs.rule else []
        parts += [pairs.word_prior.words.fingerprint] if pairs.word_prior else []
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def language_model(
    path: Path,
    metadata: dict[str, Any],
    config: Config,
    tokenizer: Tokenizer,
    weights: Mapping[str, np.ndarray],
) -> LanguageModel:
    """A language model with these weights, from a run folder or from a training."""
    network = networks.build("next-word", config, weights)
    return LanguageModel(path, metadata, config, tokenizer, network)
