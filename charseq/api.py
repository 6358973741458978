"""The functions of the package ``charseq``: those of its modules, for callers of Python.

    charseq.train(frame)                 data may be a pandas DataFrame as well as files
    charseq.convert(frame, model)        a file or a DataFrame -> the same with a model's answers

A module is imported when its function is first asked for. Messages of errors name arguments and
settings (``force=True``), where the command line names options (``--force``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from charseq.config import Config, configure
from charseq.data.frames import (
    FRAME,
    check_path,
    frame_file,
    is_frame,
    shown_value,
    with_columns,
)
from charseq.errors import CharseqError, UsageError

if TYPE_CHECKING:
    from charseq.data.frames import Frame
    from charseq.inference.conversion.columns import ConvertReport
    from charseq.inference.conversion.entries import LexiconReport
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.predictor import PairsModel

P = ParamSpec("P")
Result = TypeVar("Result")
Data: TypeAlias = "str | Path | Frame"

OPTION = re.compile(r"(?<![\w/.=-])--([a-z][a-z-]*[a-z])\b")
"""An option of the command line in a message."""
ARGUMENTS = {
    "the same command (without --force)": "the same call (without force)",
    "`charseq train --help` lists them": "charseq.config.SETTINGS has them",
    "-o names another": "run= names another",
    "or another -o": "or another run",
    "give -o a name": "give out a name",
    "give another -o": "give another out",
    "name one with -m RUN": "name one",
    "--set ": "",
}
"""Words of the command line in messages -> those of Python. Other options lose their dashes."""

FLAGS = {"force": "force=True", "lr": "learning_rate"}
"""Options whose argument or setting has another name, or a value."""


def in_arguments(message: str) -> str:
    """A message in which options of the command line are named as arguments and settings."""
    for words, python in ARGUMENTS.items():
        message = message.replace(words, python)
    return OPTION.sub(lambda found: FLAGS.get(found[1]) or found[1].replace("-", "_"), message)


def rewording(function: Callable[P, Result]) -> Callable[P, Result]:
    """The function with the messages of its errors for callers of Python."""

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> Result:
        try:
            return function(*args, **options)
        except CharseqError as fault:
            fault.reword(in_arguments)
            raise

    return call


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
    if not isinstance(config := given.get("config"), Config | None):
        what = f"config is {shown_value(config)}"
        raise UsageError(f"{what}, expected what charseq.configure returns for it")
    if given.get("model") is not None:
        given["model"] = as_model(given["model"])
    if "models" in given:
        given["models"] = tuple(map(as_model, given["models"]))
        if (count := len(given["models"])) != 2:
            raise UsageError(f"models has {count}, expected two to compare")
    return given


def as_model(model: Any) -> Any:
    """A loaded model as it is; the path of a run, or None for the default one, is loaded."""
    from charseq.inference.predictor import load

    if hasattr(model, "predict"):
        return model
    if model is not None:
        check_path(model, "model", "a loaded model, or the folder or name of a run")
    return load(model)


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
        case _:
            function = {"configure": configure, "convert": convert}[name]
    made = rewording(function)
    made.__module__ = "charseq"  # where pickle finds it
    return made


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
    force: bool = False,
    jobs: int = 1,
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
        force: overwrite ``out``, and replace columns that have the new columns' names.
        jobs: processes that answer for a file; 0: one for each core.
        options: for a file, further arguments of ``charseq.inference.convert.convert``.

    Returns:
        For a file the counts of the conversion, or of the lexicon; for a DataFrame a new one.

    Raises:
        UsageError: arguments that do not fit together, or ``out`` exists.
        DataError: with path and line: the input cannot be read or the output cannot be written;
            in a DataFrame, of the path "frame" and the row as the line.
    """
    loaded = as_model(model)
    if not isinstance(data, str | Path):
        if not is_frame(data):
            check_path(data, "data", "the path of a file or a DataFrame")
        for_files = {"out": out, "to_format": to_format}
        if given := [*(name for name, one in for_files.items() if one is not None), *options]:
            raise UsageError(f"{', '.join(given)}: for files, not for a DataFrame")
        return _convert_frame(
            data, loaded, column=column, to=to, n=n, beam=beam, mass=mass, force=force
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
            force=force, kept_for=f"{__version__} {identity}", **options,
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
    force: bool,
) -> Frame:
    """The frame with new columns, by the rules of a file whose rows have names for their cells."""
    from charseq.data.columns import column_reader
    from charseq.data.formats.reader import find_format
    from charseq.data.formats.rows import Row, Table, cell_text
    from charseq.data.formats.writer import Rejected
    from charseq.inference.answer_cache import AnswerCache, answering
    from charseq.inference.convert import DEFAULT_NAME

    rules, names = find_format("jsonl"), tuple(map(str, frame.columns))
    if column in list(frame.columns):
        column = str(column)
    read = column_reader(Table(FRAME, rules, names, iter(())), column, features=model.has_features)
    cells: list[Any] = list(map(str, range(len(names))))
    positions = list(map(int, (read(Row(0, tuple(cells), names)) or "").split("\t")))
    texts: list[str] = []
    for number, values in enumerate(zip(*(frame.iloc[:, k] for k in positions), strict=True), 1):
        for position, value in zip(positions, values, strict=True):
            cells[position] = cell_text(value)
        try:
            texts.append(read(Row(number, tuple(cells), names)) or "")
        except Rejected as fault:
            raise fault.at(FRAME, number) from None
    answer = answering(model, n=n, beam=beam, mass=mass, batch_size=256)
    cache = AnswerCache(answer, format=rules, n=n)
    answers = cache.answer(filter(None, texts))
    to = DEFAULT_NAME if to is None else to
    new = [to, *(f"{to}_{rank}" for rank in range(2, n + 1)), f"{to}_note"]
    nulls = frame.iloc[:, positions[0]].isna()
    rows = [
        (None,) * len(new) if null else answers[text].cells if text else cache.empty.cells
        for text, null in zip(texts, nulls, strict=True)
    ]
    return with_columns(frame, new, rows, force=force)


if TYPE_CHECKING:
    from charseq.evaluation import evaluate as _evaluation
    from charseq.training import train as _training

    compare = taking_frames(_evaluation.compare)
    evaluate = taking_frames(_evaluation.evaluate)
    train = taking_frames(_training.train)
