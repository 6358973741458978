"""The functions of the package ``charseq``: those of its modules, for callers of Python.

    charseq.train(frame)                 data may be a pandas DataFrame as well as files
    charseq.convert(frame, model)        a file or a DataFrame -> the same with a model's answers

A module is imported when its function is first asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar, overload

from charseq.arguments import (
    COLUMN,
    FLAG,
    FUNCTION,
    MAPPING,
    NUMBER,
    PATH,
    TEXT,
    WHOLE,
    Kind,
    check_path,
    checking,
    shown_value,
)
from charseq.config import SETTINGS, Config, configure, parse
from charseq.data.frames import (
    FRAME,
    frame_columns,
    frame_file,
    frame_rows,
    is_frame,
    with_columns,
)
from charseq.errors import SettingError, UsageError

if TYPE_CHECKING:
    from charseq.data.frames import Frame
    from charseq.inference.conversion.columns import ConvertReport
    from charseq.inference.conversion.entries import LexiconReport
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.predictor import PairsModel

P = ParamSpec("P")
Result = TypeVar("Result")
Data: TypeAlias = "str | Path | Frame"


def _are_names(value: Any) -> bool:
    """Whether a value is a str, or a list of them."""
    listed = value if isinstance(value, list | tuple | set | frozenset) else [value]
    return all(isinstance(one, str) for one in listed)


CONFIG = Kind("what charseq.configure returns", lambda value: isinstance(value, Config))
CALLBACKS = Kind(
    "a list of objects of classes made from charseq.Callback",
    lambda value: isinstance(value, list | tuple) and all(map(_is_callback, value)),
)
KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("run", "init_from", "distil_from", "unlabelled", "errors", "out"), PATH),
    **dict.fromkeys(("lexicon", "strangers", "plot", "review", "within", "target_words"), PATH),
    **dict.fromkeys(
        ("force", "dry_run", "progress", "evaluated", "scores", "align", "adapt"), FLAG
    ),
    **dict.fromkeys(("report", "watch"), FUNCTION),
    **dict.fromkeys(("n", "beam", "jobs", "batch_size"), WHOLE),
    **dict.fromkeys(("mass", "threshold", "length_penalty"), NUMBER),
    **dict.fromkeys(("split", "to", "format", "header", "delimiter", "encoding"), TEXT),
    "pattern": TEXT,
    "check": Kind("the name of a check, or a list of names", _are_names),
    **dict.fromkeys(("device", "lexicon_columns", "to_format"), TEXT),
    **dict.fromkeys(("config", "base"), CONFIG),
    "values": Kind("a dict of settings by name", MAPPING.fits),
    "reading": Kind("a dict of settings that say how data are read", MAPPING.fits),
    "models": Kind("two models", lambda value: isinstance(value, list | tuple)),
    **dict.fromkeys(("column", "strangers_column"), COLUMN),
    "callbacks": CALLBACKS,
}
"""The kinds of arguments by name: the same name means the same in every function."""


def _is_callback(value: Any) -> bool:
    """Whether a value has the methods of a callback; a class itself is none."""
    names = ("begin", "step", "evaluation", "end")
    return not isinstance(value, type) and all(callable(getattr(value, one, None)) for one in names)


def _setting_hint(name: str) -> str:
    """What to do with a setting that is given as an argument; "" for other names."""
    import difflib

    near = difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0.8)
    return f"settings are given by charseq.configure({{'{near[0]}': ...}})" if near else ""


def _further(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The parameters of the conversion of files that ``charseq.convert`` passes on."""
    parameters = signature(function).parameters
    return tuple(
        parameters[name] for name in parameters if name not in ("model", "path", "kept_for")
    )


def taking_frames(
    function: Callable[Concatenate[str | Path, P], Result],
) -> Callable[Concatenate[Data, P], Result]:
    """The function of a file of pairs, for a DataFrame as well: see :func:`frame_file`.

    The columns are those of the argument ``config``, else of the model or the first of the models.
    """

    @functools.wraps(function)
    def call(data: Any, *args: P.args, **options: P.kwargs) -> Any:
        if not is_frame(data):
            check_path(data, "data", "a path or a DataFrame with columns for both sides")
            return function(data, *args, **_checked(options))
        given = _checked(options)
        config = given.get("config")
        models = [*given.get("models", ()), given.get("model")]
        settings = config or getattr(models[0], "config", None)
        columns = settings.columns if settings else ""
        with frame_file(data, columns) as (path, found):
            if found != columns:
                if config is None:
                    what = f"the model's columns are by position ({columns})"
                    raise UsageError(f"{what}, expected a file in which they stand so")
                given["config"] = replace(config, columns=found)
            if report := given.get("report"):
                given["report"] = lambda line: report(line.replace(str(path), FRAME))
            return _renamed(function(path, *args, **given), str(path))

    made: Any = call
    return made  # type: ignore[no-any-return]


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Arguments with the models loaded that were given as paths; wrong types are refused."""
    given = dict(options)
    if given.get("reading") is not None:
        given["reading"] = _checked_reading(given["reading"])
    if given.get("model") is not None:
        given["model"] = as_model(given["model"])
    if "models" in given:
        given["models"] = tuple(map(as_model, given["models"]))
        if (count := len(given["models"])) != 2:
            raise UsageError(f"models has {count}, expected two to compare")
    return given


def _checked_reading(reading: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that say how data are read. Raises SettingError for others, or a wrong value."""
    from charseq.data import pairs

    for name in reading:
        if name not in pairs.SETTINGS:
            known = ", ".join(pairs.SETTINGS)
            raise SettingError(f"reading has {shown_value(name)}, expected some of {known}")
    return {name: parse(name, value) for name, value in reading.items()}


def as_model(model: Any) -> Any:
    """A loaded model as it is; the path of a run, or None for the default one, is loaded."""
    from charseq.inference.predictor import load

    if hasattr(model, "predict"):
        return model
    if model is not None:
        check_path(model, "model", "a loaded model, or the folder or name of a run")
    return load(model)


def with_rule(model: Any, **rule: Any) -> Any:
    """The model with a rule, if one is given; see ``PairsModel.constrained``."""
    if not any(value not in (None, ()) for value in rule.values()):
        return model
    if not hasattr(model, "constrained"):
        raise UsageError(f"a rule is for runs of pairs; {model.path} predicts words")
    return model.constrained(**rule)


def _renamed(result: Any, path: str) -> Any:
    """The report of an evaluation in which the data are called "frame", not by their file."""
    if isinstance(result, dict):
        return {name: _renamed(value, path) for name, value in result.items()}
    if isinstance(result, list):
        return [_renamed(value, path) for value in result]
    return FRAME if result == path else result


def public(name: str) -> Callable[..., Any]:
    """The function of this name, as callers of ``charseq`` get it."""
    function: Any
    further: tuple[Parameter, ...] = ()
    match name:
        case "load":
            from charseq.inference import predictor

            function = predictor.load
        case "train":
            from charseq.training import train
            from charseq.training.callbacks.protocol import guarding

            function = taking_frames(guarding(train.train))
        case "evaluate" | "compare":
            from charseq.evaluation import evaluate

            function = taking_frames(getattr(evaluate, name))
        case "convert":
            from charseq.inference.convert import convert as of_files

            function, further = convert, _further(of_files)
        case _:
            function = configure
    made = checking(function, KINDS, hint=_setting_hint, further=further)
    made.__module__ = "charseq"  # where pickle finds it
    return made


@overload
def convert(
    data: str | Path,
    model: PairsModel | LanguageModel | str | Path | None = None,
    out: str | Path | None = None,
    *,
    column: str | int | None = None,
    to: str | None = None,
    to_format: None = None,
    n: int = 1,
    beam: int | None = None,
    mass: float | None = None,
    threshold: float | None = None,
    force: bool = False,
    jobs: int = 1,
    pattern: str | None = None,
    within: str | Path | None = None,
    check: str | Iterable[str] = (),
    **options: Any,
) -> ConvertReport | LexiconReport: ...
@overload
def convert(
    data: str | Path,
    model: PairsModel | LanguageModel | str | Path | None = None,
    out: str | Path | None = None,
    *,
    to_format: str,
    column: str | int | None = None,
    n: int = 1,
    beam: int | None = None,
    mass: float | None = None,
    threshold: float | None = None,
    force: bool = False,
    jobs: int = 1,
    pattern: str | None = None,
    within: str | Path | None = None,
    check: str | Iterable[str] = (),
    **options: Any,
) -> LexiconReport: ...
@overload
def convert(
    data: Frame,
    model: PairsModel | LanguageModel | str | Path | None = None,
    *,
    column: str | int | None = None,
    to: str | None = None,
    n: int = 1,
    beam: int | None = None,
    mass: float | None = None,
    threshold: float | None = None,
    force: bool = False,
    jobs: int = 1,
    pattern: str | None = None,
    within: str | Path | None = None,
    check: str | Iterable[str] = (),
) -> Frame: ...
def convert(
    data: str | Path | Frame,
    model: PairsModel | LanguageModel | str | Path | None = None,
    out: str | Path | None = None,
    *,
    column: str | int | None = None,
    to: str | None = None,
    to_format: str | None = None,
    n: int = 1,
    beam: int | None = None,
    mass: float | None = None,
    threshold: float | None = None,
    force: bool = False,
    jobs: int = 1,
    pattern: str | None = None,
    within: str | Path | None = None,
    check: str | Iterable[str] = (),
    **options: Any,
) -> ConvertReport | LexiconReport | Frame:
    """Rewrite one column of a file or of a pandas DataFrame with a model's answers.

    Rows, their order and all other columns stay as they are; the new columns are ``to``, then
    ``to_2`` to ``to_n``, then ``to_note``. In a DataFrame the index stays, and a null has null
    answers.

    With ``to_format`` the answers become a lexicon: each different text once, in the order of the
    file, with its ``n`` best answers as entries of their own. A file that is a pronouncing
    dictionary becomes a dictionary of its own format.

    Args:
        data: a file, or a DataFrame, which is not changed.
        model: from :func:`charseq.load`, or the folder of a run; by default the run that ``load``
            chooses.
        out: the file to write; by default ``words.converted.csv`` beside ``words.csv``.
        column: the column to rewrite, its name or its number from 1; by default the one named
            source, else the first. With features two: ``lemma,features``.
        to: the name of the new column, by default "prediction".
        to_format: for a file, write a lexicon: kaldi, kaldip (with probabilities), cmudict, mfa,
            tsv, csv or jsonl.
        n: answers a row, best first.
        beam: beam width; by default the run's own.
        mass: only as many answers as have this probability together.
        threshold: a row whose best answer is less probable has no answers, and the note "unsure".
        force: overwrite ``out``, and replace columns that have the new columns' names.
        jobs: processes that answer for a file; 0: one for each core.
        pattern: a rule that all answers keep, like ``within`` and ``check``; see ``charseq.load``.
            A row without such an answer has the note "no answer".
        within: the same, a file of answers.
        check: the same, names of checks.
        options: for a file, further arguments of ``charseq.inference.convert.convert``.

    Returns:
        For a file the counts of the conversion, or of the lexicon; for a DataFrame a new one.

    Raises:
        UsageError: arguments that do not fit together, or ``out`` exists.
        DataError: with path and line: the input cannot be read or the output cannot be written;
            in a DataFrame, of the path "frame" and the row as the line.
    """
    loaded = with_rule(as_model(model), pattern=pattern, within=within, check=check)
    if not isinstance(data, str | Path):
        if not is_frame(data):
            check_path(data, "data", "the path of a file or a DataFrame")
        for_files = {"out": out, "to_format": to_format}
        if given := [*(name for name, one in for_files.items() if one is not None), *options]:
            raise UsageError(f"{', '.join(given)}: for files, not for a DataFrame")
        return _convert_frame(
            data, loaded, column=column, to=to, n=n, beam=beam, mass=mass, threshold=threshold,
            force=force,
        )  # fmt: skip
    from charseq.data.formats.reader import find_lexicon_format
    from charseq.data.formats.writer import targets
    from charseq.inference import convert as conversion
    from charseq.inference.pool import sharing
    from charseq.inference.predictor import fingerprint
    from charseq.version import __version__

    identity = fingerprint(loaded)
    ending = "" if to_format is None else find_lexicon_format(to_format).endings[0]
    (path,) = targets([str(data)], None if out is None else str(out), ending)
    with sharing(loaded, jobs, identity, getattr(loaded, "options", None)) as pool:
        return conversion.convert(
            pool, data, path, column=column, to=to, to_format=to_format, n=n, beam=beam, mass=mass,
            threshold=threshold, force=force, kept_for=f"{__version__} {identity}", **options,
        )  # fmt: skip


def _convert_frame(
    frame: Frame,
    model: PairsModel | LanguageModel,
    *,
    column: str | int | None,
    to: str | None,
    n: int,
    beam: int | None,
    mass: float | None,
    threshold: float | None,
    force: bool,
) -> Frame:
    """The frame with new columns, by the rules of a file whose rows have names for their cells."""
    from charseq.data.formats.writer import Rejected
    from charseq.inference.conversion.batches import BatchAnswers

    answers = BatchAnswers(
        model, path=FRAME, column=str(column) if column in list(frame.columns) else column,
        to=to, n=n, beam=beam, mass=mass, threshold=threshold,
    )  # fmt: skip
    columns = frame_columns(frame, answers.positions(list(map(str, frame.columns))))
    texts = answers.texts(columns)
    for number, text in enumerate(texts, 1):
        if isinstance(text, Rejected):
            raise text.at(FRAME, number) from None
    rows = frame_rows(columns[0], [found.cells for found in answers.answer(texts)])
    return with_columns(frame, answers.names, rows, force=force)


if TYPE_CHECKING:
    from charseq.evaluation import evaluate as _evaluation
    from charseq.training import train as _training

    compare = taking_frames(_evaluation.compare)
    evaluate = taking_frames(_evaluation.evaluate)
    train = taking_frames(_training.train)
