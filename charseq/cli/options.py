"""the declaration of settings -> options of the command line, and the options commands share.

Names, choices, limits, defaults and help of a setting are said once, in :mod:`charseq.config`.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from charseq.config import SETTINGS, Config, configure, defaults, describe
from charseq.errors import SettingError, UsageError

# The settings that have an option of their own; the others are reached with --set.
NAMED = (
    "task", "cell", "minutes", "epochs", "seed", "threads", "device", "columns", "attention",
    "ensemble", "cells",
)  # fmt: skip
MOST = 64
WIDTH = 96

Command = TypeVar("Command", bound=Callable[..., Any])


def setting(name: str) -> Callable[[Command], Command]:
    """The option ``--name`` for a setting; None where the user does not give it."""
    item = SETTINGS[name]
    facts, flag = item.metadata, f"--{name.replace('_', '-')}"
    kind: click.ParamType[Any] = click.STRING
    if facts["choices"]:
        kind = click.Choice(facts["choices"])
    elif isinstance(item.default, bool):
        flag, kind = f"{flag}/--no-{name}", click.BOOL
    elif isinstance(item.default, int):
        kind = click.IntRange(facts["least"], facts["most"])
    elif isinstance(item.default, float):
        kind = click.FloatRange(facts["least"], facts["most"])
    text = f"{facts['help'][0].upper()}{facts['help'][1:]}."
    shown = str(item.default).lower()
    if facts["next-word"] != item.default:
        shown += f"; next-word: {facts['next-word']}".lower()
    if shown:
        text += f"  [default: {shown}]"
    return click.option(flag, name, type=kind, default=None, help=text)


def together(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, in this order."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def settings(command: Command) -> Command:
    """Options for all settings in :data:`NAMED`, in this order."""
    for name in reversed(NAMED):
        command = setting(name)(command)
        if name == "attention":
            command = click.option(
                "--no-attention", is_flag=True, help="The same as --attention none."
            )(command)
    return command


def given(named: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """The settings that the user gave, as options or as NAME=VALUE.

    Raises:
        UsageError: no ``=``, or a setting given twice.
    """
    flags = {name: value for name, value in named.items() if value is not None}
    if flags.pop("no_attention", False) and flags.setdefault("attention", "none") != "none":
        raise UsageError("--no-attention and --attention exclude each other")
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        name = name.replace("-", "_")
        if not equals:
            raise UsageError(f"--set '{assignment}', expected NAME=VALUE")
        if name in flags:
            raise UsageError(f"the setting {name} is given twice")
        flags[name] = value
    return flags


def configured(data: str, flags: Mapping[str, Any]) -> Config:
    """Defaults, over them DATA/charseq.toml, the environment, and last the command line.

    The defaults are those of the task: as set, or by what DATA looks like.

    Raises:
        SettingError: with the place, where it is not the command line.
    """
    from charseq.data.corpus import choose_task
    from charseq.data.settings_file import settings_of

    layers = (
        (f"{Path(data) / 'charseq.toml'}: ", settings_of(data)),
        ("environment, CHARSEQ_...: ", environment()),
        ("", flags),
    )
    config = Config()
    for origin, values in layers:
        first = {name: values[name] for name in ("task", "cell") if name in values}
        config = _lay(config, first, origin)
    config = defaults(choose_task(data, config.task), config.cell)
    for origin, values in layers:
        config = _lay(config, values, origin)
    return _lay(config, {"task": choose_task(data, config.task)}, "")


def environment() -> dict[str, str]:
    """The settings that the environment gives, as text."""
    variables = {name: os.environ.get(f"CHARSEQ_{name.upper()}") for name in SETTINGS}
    return {name: value for name, value in variables.items() if value is not None}


def _lay(config: Config, values: Mapping[str, Any], origin: str) -> Config:
    """``values`` over ``config``; an error names their ``origin``."""
    try:
        return configure(values, base=config)
    except SettingError as error:
        raise SettingError(f"{origin}{error}") from error


def chosen(named: Mapping[str, Any]) -> dict[str, Any]:
    """The options of :func:`searching` that the user gave.

    Raises:
        UsageError: columns of a lexicon that is not given.
    """
    if named["lexicon_columns"] and named["lexicon"] is None:
        raise UsageError("--lexicon-columns is for --lexicon")
    return {name: value for name, value in named.items() if value is not None}


def is_typed(name: str) -> bool:
    """Whether the running command's option stands on its line, and not in the environment."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def table() -> str:
    """All settings with default and help, a block for the end of a command's help."""
    lines, last = ["\b", "Settings for --set NAME=VALUE (two defaults: pairs / next-word):"], ""
    for group, name, default, _, text in describe():
        lines += [f"  {group}"] if group != last else []
        last = group
        head = f"    {name:17} {default:13} "
        lines += textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
    return "\n".join(lines)


def example(*lines: str) -> str:
    """Lines that can be pasted, a block for the end of a command's help."""
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors on stderr.")
debug = click.option(
    "--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."
)
model = click.option(
    "-m",
    "--model",
    metavar="RUN",
    help="Folder of the model.  [default: $CHARSEQ_MODEL, else the newest run in ./checkpoints, "
    "else checkpoints/dates]",
)
models = click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="RUN",
    help="Folder of the model; given twice, two models are compared.  [default: $CHARSEQ_MODEL, "
    "else the newest run in ./checkpoints, else checkpoints/dates]",
)
beam = click.option(
    "--beam",
    type=click.IntRange(1, MOST),
    metavar="K",
    envvar="CHARSEQ_BEAM",
    help="Beam width; 1 is greedy search.  [default: the model's]",
)
header = click.option(
    "--header",
    type=click.Choice(("auto", "yes", "no")),
    default="auto",
    help="Whether the first row names the columns.  [default: yes for CSV; for TSV if --column "
    "is a name]",
)
answers = click.option(
    "-n",
    type=click.IntRange(1, MOST),
    metavar="N",
    help="Give the N best answers.  [default: 1]",
)
mass = click.option(
    "--mass",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="P",
    help="Give as many answers as are right with probability P together, at most N, or as many "
    "as the beam has.",
)


device = click.option(
    "--device",
    type=click.Choice(("cpu", "cuda")),
    help="Where to compute; cuda is a GPU, worth it for many texts.  [default: cpu]",
)
searching = together(
    click.option(
        "--lexicon",
        metavar="FILE",
        help="Your own pairs: their answers come first.  Capitals matter.",
    ),
    click.option(
        "--lexicon-columns",
        metavar="ROLES",
        help="Columns of the lexicon.  [default: by its header, else as in training]",
    ),
    click.option(
        "--length-penalty",
        type=click.FloatRange(0, 5),
        metavar="A",
        help="Prefer longer answers, with a beam.  [default: the model's]",
    ),
    device,
)
"""The user's own pairs, what the beam prefers, and where (``predictor.load``)."""


complete = click.option(
    "--complete", is_flag=True, help="The last word is unfinished: words that begin so."
)


generate = together(
    click.option(
        "--generate",
        type=click.IntRange(1, 10_000),
        metavar="N",
        help="Draw N lines that begin with the text.",
    ),
    click.option(
        "--temperature",
        type=click.FloatRange(0, 100),
        metavar="T",
        help="With --generate: below 1 likelier words, 0 the likeliest.  [default: 1]",
    ),
    click.option(
        "--top-p",
        type=click.FloatRange(0, 1, min_open=True),
        metavar="P",
        help="With --generate: draw from the likeliest words that have P together.  [default: 1]",
    ),
    click.option(
        "--most",
        type=click.IntRange(1, 10_000),
        metavar="W",
        help="With --generate: most words.  [default: 40]",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0),
        metavar="S",
        help="With --generate: another seed, other lines.  [default: 1]",
    ),
)
"""``--generate`` and how to draw."""
