"""Declaration of the settings -> options; the options that several commands share.

The name, choices, limits, default and help of a setting are declared in :mod:`charseq.config` only.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from charseq.cli import console
from charseq.config import (
    SETTINGS,
    Config,
    cells_of,
    configure,
    defaults,
    describe,
    naming,
    unknown,
)
from charseq.errors import SettingError, UsageError
from charseq.setting import RENAMED

NAMED = (
    "task", "cell", "hidden", "layers", "dropout", "attention", "minutes", "epochs", "batch_size",
    "learning_rate", "seed", "threads", "workers", "device", "columns", "header", "delimiter",
    "encoding", "bad_rows", "empty_targets", "ensemble", "cells", "target_words",
)  # fmt: skip
"""Settings with an option of their own; the others are set with ``--set``."""
SHORT = {"learning_rate": "--lr"}
"""Second names of options."""
VARIABLES = {
    *(f"CHARSEQ_{name.upper()}" for name in (*SETTINGS, *RENAMED)),
    "CHARSEQ_MODEL",
    "CHARSEQ_KERNELS",
}
"""The environment variables that charseq reads."""
SETS = "--set {}=VALUE sets it"
ELSEWHERE: Mapping[str, str] = {
    "--resume": "the same command continues what was interrupted in -o, and --force begins anew",
    "--continue": "the same command continues what was interrupted in -o, and --force begins anew",
    "--config": "settings are read from DATA/charseq.toml, and --set NAME=VALUE sets one",
    "--gpu": "it is --device cuda",
    "--cuda": "it is --device cuda",
    "--num-layers": "it is --layers",
    "--rnn-size": "it is --hidden",
    "--hidden-size": "it is --hidden",
    "--embedding-size": SETS.format("embedding"),
    "--arch": "it is --cell for the recurrent cell, and --attention for the attention",
    "--optimizer": "AdamW is the only one; --lr and --set weight_decay=VALUE are its settings",
    "--max-epochs": "it is --epochs, or --minutes for a budget of time",
    "--time": "it is --minutes",
    "--beam-size": "it is --beam",
    "--beam-width": "it is --beam",
    "--nbest": "it is -n",
    "--n-best": "it is -n",
    "--input": "files and texts are arguments without an option",
    "--out": "it is -o",
    "--checkpoint": "it is -m",
    "--verbose": "messages are on stderr already; -q silences them",
}
"""An option of other tools -> what takes its place here."""
_OPTION = re.compile(r"(?<!\S)--?[a-z][a-z-]*")
_WITH_UNIT = re.compile(r"\s*(\d+(?:[.,]\d+)?)\s*([a-df-z%][a-z]*|e[a-z]+)\s*", re.IGNORECASE)
MAX_CANDIDATES = 64
WIDTH = 96
"""Longest line of the table of settings in the help, in characters."""

Command = TypeVar("Command", bound=Callable[..., Any])


class Number(click.FloatRange):
    """A number within limits."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. Raises click.BadParameter."""
        _refuse_unit(value, param, ctx)
        return super().convert(value, param, ctx)


class Integer(click.IntRange):
    """A whole number within limits."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. Raises click.BadParameter."""
        _refuse_unit(value, param, ctx)
        return super().convert(value, param, ctx)


class Name(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """The name of a file or folder to read; an empty one, such as of an unset variable, is none."""

    name = "path"

    def __init__(self, kind: type[str] | type[Path] = str) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The name, as ``kind``. Raises click.BadParameter."""
        if not str(value):
            raise click.BadParameter("an empty name", ctx=ctx, param=param)
        return self.kind(value)


class OutputName(Name):
    """The name of a file or folder to write."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The name, as ``kind``. Raises click.BadParameter."""
        from charseq.files import check_name

        try:
            check_name(value)
        except UsageError as fault:
            raise click.BadParameter(str(fault), ctx=ctx, param=param) from None
        return self.kind(value)


def _refuse_unit(value: Any, param: click.Parameter | None, ctx: click.Context | None) -> None:
    """Raise click.BadParameter for a text such as 5m, with the number alone."""
    if found := _WITH_UNIT.fullmatch(str(value)):
        what = f"{value!r} has a unit, expected a number alone, such as {found[1]}"
        raise click.BadParameter(what, ctx=ctx, param=param)


def setting(name: str) -> Callable[[Command], Command]:
    """The option ``--name`` for a setting; None where the user does not give it."""
    item = SETTINGS[name]
    facts, flag = item.metadata, f"--{name.replace('_', '-')}"
    kind: click.ParamType[Any] = click.STRING
    if facts["choices"]:
        kind = click.Choice(facts["choices"])
    elif isinstance(item.default, bool):
        flag, kind = f"{flag}/--no-{flag.removeprefix('--')}", click.BOOL
    elif isinstance(item.default, int):
        kind = Integer(facts["least"], facts["most"])
    elif isinstance(item.default, float):
        kind = Number(facts["least"], facts["most"])
    text = f"{facts['help'][0].upper()}{facts['help'][1:]}."
    shown = str(item.default).lower()
    if facts["next-word"] != item.default:
        shown += f"; next-word: {facts['next-word']}".lower()
    if shown:
        text += f"  [default: {shown}]"
    flags = (flag, SHORT[name]) if name in SHORT else (flag,)
    return click.option(*flags, name, type=kind, default=None, help=text)


def together(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator; the help lists them in this order."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def settings(command: Command) -> Command:
    """An option for each setting in :data:`NAMED`, in this order, and ``--no-attention``."""
    for name in reversed(NAMED):
        command = setting(name)(command)
        if name == "attention":
            command = click.option(
                "--no-attention", is_flag=True, help="The same as --attention none."
            )(command)
    return command


READING = ("columns", "header", "delimiter", "encoding", "bad_rows", "empty_targets")
"""Settings that say how files of data are read."""


def reading(command: Command) -> Command:
    """An option for each setting in :data:`READING`."""
    return together(*map(setting, READING))(command)


def once(_: click.Context, param: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Callback of an option that takes one value: None, or its value.

    Raises:
        UsageError: the option is given twice, of which click would take the last in silence.
    """
    if len(values) > 1:
        both = " and ".join(f"'{value}'" for value in values)
        raise UsageError(f"{param.opts[0]} is given {len(values)} times, {both}: expected once")
    return values[0] if values else None


def given(named: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """The settings on the command line, from options and from NAME=VALUE.

    Raises:
        UsageError: no ``=``, or a setting given twice.
    """
    flags = {name: value for name, value in named.items() if value is not None}
    if flags.pop("no_attention", False) and flags.setdefault("attention", "none") != "none":
        raise UsageError("--no-attention and --attention exclude each other")
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        name = name.replace("-", "_")
        name = RENAMED.get(name, name)
        if not equals:
            raise UsageError(f"--set '{assignment}', expected NAME=VALUE")
        if name in flags:
            raise UsageError(f"the setting {name} is given twice")
        flags[name] = value
    return flags


def configured(data: str, flags: Mapping[str, Any]) -> Config:
    """The settings of a command: defaults, DATA/charseq.toml, environment, command line.

    A later source overrides an earlier one. The defaults depend on the task, which is set or
    chosen by the format of DATA.

    Raises:
        SettingError: an unknown setting or a wrong value; the message names its source, where
            that is not the command line.
    """
    from charseq.data.corpus import choose_task, names_columns
    from charseq.data.settings_file import settings_of

    layers = (
        (f"{Path(data) / 'charseq.toml'}: ", settings_of(data)),
        ("environment, CHARSEQ_...: ", environment()),
        ("", flags),
    )
    config = Config()
    for origin, values in layers:
        first = {name: values[name] for name in ("task", "cell") if name in values}
        config = _overlay(config, first, origin)
    has_columns = any(names_columns(values) for _, values in layers)
    task = choose_task(data, config.task, has_columns=has_columns)
    config = defaults(task, config.cell)
    for origin, values in layers:
        config = _overlay(config, values, origin)
    config = _overlay(config, {"task": task}, "")
    if task == "pairs":
        origins = [origin for origin, values in layers if "cells" in values]
        with naming(*origins[-1:]):
            cells_of(config)
    return config


def environment() -> dict[str, str]:
    """The settings in environment variables (CHARSEQ_CELL and so on), as text.

    Raises:
        SettingError: a variable that begins like these and is none of charseq's.
    """
    for name in os.environ:
        if name.startswith("CHARSEQ_") and name not in VARIABLES:
            setting = name.removeprefix("CHARSEQ_").lower()
            raise SettingError(f"the environment has {name}: {unknown(setting)}, or unset it")
    variables = {name: os.environ.get(f"CHARSEQ_{name.upper()}") for name in (*RENAMED, *SETTINGS)}
    return {name: value for name, value in variables.items() if value is not None}


def _overlay(config: Config, values: Mapping[str, Any], origin: str) -> Config:
    """``config`` with ``values`` in place of its own; an error begins with ``origin``."""
    with naming(origin):
        return configure(values, base=config)


def is_typed(name: str) -> bool:
    """Whether an option of the running command is on the command line, not in the environment."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def table() -> str:
    """All settings with defaults and help: a block for the end of a command's help."""
    lines, last = ["\b", "Settings for --set NAME=VALUE (two defaults: pairs / next-word):"], ""
    for group, name, default, _, text in describe():
        lines += [f"  {group}"] if group != last else []
        last = group
        head = f"    {name:17} {default:13} "
        lines += textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
    return "\n".join(lines)


def example(*lines: str) -> str:
    """Command lines to paste: a block for the end of a command's help."""
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])


delimiter = setting("delimiter")
encoding = setting("encoding")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Print nothing on stderr but errors.")
debug = click.option(
    "--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."
)
reporting = together(as_json, quiet, debug)
"""``--json``, ``--quiet`` and ``--debug``."""

data = click.argument("data", type=Name(), metavar="DATA")
"""A folder of data, or one file."""


# --- training


def output(metavar: str, text: str, *, required: bool = False) -> Callable[[Command], Command]:
    """The option ``-o, --output``, a path."""
    name = OutputName(Path)
    return click.option("-o", "--output", type=name, metavar=metavar, required=required, help=text)


def assignments(text: str) -> Callable[[Command], Command]:
    """The option ``--set NAME=VALUE``."""
    return click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help=text)


def training(output_help: str, set_help: str) -> Callable[[Command], Command]:
    """``DATA``, ``-o RUN`` and the settings: the arguments that every training has."""
    return together(data, output("RUN", output_help), settings, assignments(set_help))


def force(text: str) -> Callable[[Command], Command]:
    """The flag ``--force``."""
    return click.option("--force", is_flag=True, help=text)


def dry_run(text: str) -> Callable[[Command], Command]:
    """The flag ``--dry-run``."""
    return click.option("--dry-run", is_flag=True, help=text)


# --- a trained model


def _model(*names: str, text: str, multiple: bool = False) -> Callable[[Command], Command]:
    default = "[default: $CHARSEQ_MODEL, else the run in ./checkpoints that was trained last, "
    default += "else the one that comes with charseq]"
    return click.option(
        "-m", *names, type=Name(), metavar="RUN", multiple=multiple, help=f"{text}  {default}"
    )


model = _model("--model", text="Run folder of the model, its name, or hf://OWNER/NAME.")
models = _model(
    "--model",
    "models",
    text="Run folder of the model, or its name; given twice, the two models are compared.",
    multiple=True,
)
beam = click.option(
    "--beam",
    type=Integer(1, MAX_CANDIDATES),
    metavar="K",
    envvar="CHARSEQ_BEAM",
    help="Beam width; 1 is greedy search.  [default: the model's]",
)
device = click.option(
    "--device",
    type=click.Choice(("cpu", "cuda")),
    help="Where to compute; cuda, a GPU, is faster for many texts.  [default: cpu]",
)
_once: Mapping[str, Any] = {"multiple": True, "callback": once}
rule = together(
    click.option("--pattern", **_once, metavar="REGEX",
        help="Only answers that match this regular expression in full."),
    click.option("--within", **_once, type=Name(), metavar="FILE",
        help="Only answers that are lines of this file, such as names or codes."),
    click.option("--check", multiple=True, metavar="NAME",
        help="Only answers that pass this check; may be repeated: date, time, number, isbn, iban, "
        "luhn."),
)  # fmt: skip
"""What all answers keep; arguments of ``predictor.load``."""
target_words = click.option("--target-words", **_once, type=Name(), metavar="FILE", help="Words of "
    "the target language, with counts if any: they come up.  [default: the model's]")  # fmt: skip
inference = together(
    model,
    click.option(
        "-n",
        type=Integer(1, MAX_CANDIDATES),
        metavar="N",
        help="Give the N best answers for each text.  [default: 1]",
    ),
    click.option(
        "--mass",
        type=Number(0, 1, min_open=True),
        metavar="P",
        help="Give the best answers until their probabilities sum to P, at most N (or the beam "
        "width).",
    ),
    beam,
    click.option(
        "--lexicon",
        type=Name(),
        metavar="FILE",
        help="File of your own pairs: their targets come before the model's answers. "
        "Case-sensitive.",
    ),
    click.option(
        "--lexicon-columns",
        metavar="ROLES",
        help="Columns of the lexicon, such as source,target.  [default: by its header, else as "
        "in training]",
    ),
    target_words,
    rule,
    click.option(
        "--length-penalty",
        type=Number(0, 5),
        metavar="A",
        help="Prefer longer answers in beam search; 0: not at all.  [default: the model's]",
    ),
    device,
)
"""Which model, how it is loaded (see :func:`load_arguments`), and how many answers it gives."""


def chosen(model: str | None, *, task: str | None = None, quiet: bool = False) -> Path:
    """The run of ``--model``; one that is not named on the command line is told on stderr.

    ``task``: ``pairs`` or ``next-word``, if only runs of this task can do what is asked for.
    """
    from charseq.inference.hub.download import choose

    choice = choose(model, task=task)
    if choice.reason and not quiet:
        console.note(f"model {choice.path} ({choice.reason})")
    return choice.path


def load_arguments(named: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of ``predictor.load`` that the user gave.

    Raises:
        UsageError: columns of a lexicon that is not given.
    """
    if named["lexicon_columns"] and named["lexicon"] is None:
        raise UsageError("--lexicon-columns is for --lexicon")
    return {name: value for name, value in named.items() if value not in (None, ())}


def candidate_count(model: Any, *, n: int | None, beam: int | None, mass: float | None) -> int:
    """The candidates to ask a model for: N, else 1; with ``--mass``, as many as the beam has."""
    if n is not None or mass is None:
        return n or 1
    return int(model.beam if beam is None else beam)


def warn_of_wider_beam(model: Any, n: int, *, beam: int | None, quiet: bool) -> None:
    """Say that ``n`` answers need a wider beam than the one that is set, and what that changes."""
    if n == 1 or quiet or getattr(model, "has_word_symbols", False):
        return
    width = model.beam if beam is None else beam
    if n > width:
        console.note(
            f"charseq: {n} answers need a beam of {n} instead of {width}: the first answer may be "
            f"another than without -n, as with --beam {n}"
        )


# --- wrong command lines


def advice(name: str, command: click.Command) -> str:
    """What to type instead of the option ``name``, which ``command`` has not; "" if unknown."""
    known = {flag for item in command.params for flag in item.opts}
    setting = name.lstrip("-").replace("-", "_")
    said = ELSEWHERE.get(name, SETS.format(setting) if setting in SETTINGS else "")
    return said if known.issuperset(_OPTION.findall(said)) else ""
