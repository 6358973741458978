"""Command line -> a command of :data:`COMMANDS` -> exit code: the program ``charseq``.

Importing this module loads click, the settings and the errors, nothing else. The module of a
command is imported when the command is run, and the command imports what it needs (NumPy, torch)
inside its function, so that help comes at once.

Data go to stdout, everything else to stderr. :func:`run` turns every fault into one line on stderr
and an exit code: 0 done, 1 a fault in the data, the model or the machine, 2 a wrong command line,
129 terminal closed (SIGHUP), 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
"""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import sys
import warnings
from collections import UserDict
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, TextIO

import click

from charseq.cli import console, options
from charseq.config import SETTINGS
from charseq.display import MAX_LINE, printable
from charseq.errors import CharseqError, MissingExtraError, Terminated
from charseq.process import STOP_SIGNALS
from charseq.version import __version__

HUNG_UP = 129
COMMANDS = {
    "train": "train",
    "tune": "tune",
    "average": "average",
    "predict": "predict",
    "convert": "convert",
    "export": "deploy.export",
    "serve": "deploy.serve",
    "push": "deploy.push",
    "evaluate": "evaluate",
    "score": "predict",
    "check": "check",
    "info": "check",
    "verify": "check",
    "plot": "pictures.plot",
    "gradients": "gradients",
}
"""Command -> the module below ``charseq.cli`` that holds the function of the same name.

The order is that of the help: from training a model to looking inside it. A new command is a
module and a line here.
"""

OPTIONS = {
    "learning_rate": "--lr",
    "model": "-m",
    **dict.fromkeys(("run", "out", "output"), "-o"),
}
"""Arguments of the library -> their options, where these have other names."""


def main() -> None:
    """Run the command line of this process, then end the process with the exit code."""
    _open_standard_streams()
    _raise_at_signals()
    code = run(sys.argv[1:])
    if not _flush(sys.__stdout__, 1):  # output that could not be written before; run() reported why
        code = code or 1
    _flush(sys.__stderr__, 2)  # messages that nobody can read any more change no exit code
    sys.exit(code)


def _open_standard_streams() -> None:
    """Let no file take the number of a standard stream that the caller has closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _flush(stream: TextIO | None, number: int) -> bool:
    """Whether a standard stream could be flushed; if not, what is left in it goes nowhere."""
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, number)  # Python flushes once more at its end, which must not fail as well
        return False
    return True


def _raise_at_signals() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: blocks and child processes in order.

    Nothing changes for a signal that the command was started to ignore, such as by ``nohup``.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        raise Terminated(number)

    for number in STOP_SIGNALS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, handle)


def run(words: Sequence[str]) -> int:
    """Run one command line. Returns the exit code; a fault is reported in one line on stderr."""
    before_texts = words[: words.index("--")] if "--" in words else words
    try:
        with warnings.catch_warnings():
            # of NumPy, such as an overflow, which is an error of charseq's where it matters
            warnings.simplefilter("ignore", RuntimeWarning)
            code = program.main(args=list(words), prog_name="charseq", standalone_mode=False)
    except SystemExit as end:  # from click: stdout is closed, or a shell completion is printed
        code = end.code
    except BaseException as fault:  # noqa: BLE001 - the edge of the program: nothing goes further
        code, message = _explain(fault)
        with suppress(OSError):  # as in console.note
            if "--debug" in before_texts:
                import traceback

                for line in "".join(traceback.format_exception(fault)).rstrip().split("\n"):
                    console.note(line)
            click.echo(message, err=True)
    return code if isinstance(code, int) else 0


def _explain(fault: BaseException) -> tuple[int, str]:
    """Exit code and message for the exception that ended a command."""
    if isinstance(fault, KeyboardInterrupt | click.Abort):
        return 130, "charseq: interrupted"
    if isinstance(fault, Terminated):
        is_hangup = fault.exit_code == HUNG_UP
        return fault.exit_code, f"charseq: {'terminal closed' if is_hangup else 'terminated'}"
    if isinstance(fault, click.exceptions.NoArgsIsHelpError):
        return 2, fault.format_message()
    if isinstance(fault, click.ClickException):
        return fault.exit_code, _error(_explain_usage(fault))
    package = fault.name if isinstance(fault, ModuleNotFoundError) and fault.name else "charseq"
    if (package := package.partition(".")[0]) != "charseq":
        fault = MissingExtraError(package, "this")
    if isinstance(fault, CharseqError):
        return fault.exit_code, _error(fault.told(as_option))
    if isinstance(fault, OSError):
        reason = fault.strerror or str(fault) or type(fault).__name__
        return 1, _error(f"{fault.filename}: {reason}" if fault.filename else reason)
    if isinstance(fault, MemoryError) or "can't allocate memory" in str(fault):
        return 1, _error(
            f"out of memory: {str(fault).split(chr(10))[0][:200] or 'no more is free'}"
        )
    what = f"{type(fault).__name__}: {fault}" if str(fault) else type(fault).__name__
    return 1, _error(f"internal error: {what}; run again with --debug for the traceback")


def as_option(name: str, value: Any) -> str:
    """An argument or setting in the message of an error, as the command line has it.

    A setting without an option of its own is ``--set NAME=VALUE``, and without a value its name.
    """
    if name in SETTINGS and name not in options.NAMED:
        return name if value is None else f"--set {name}={value}"
    option = OPTIONS.get(name) or f"--{name.replace('_', '-')}"
    return option if value is None or value is True else f"{option} {shlex.quote(str(value))}"


def _explain_usage(fault: click.ClickException) -> str:
    """The message for a wrong command line, with the command whose help says more."""
    context = fault.ctx if isinstance(fault, click.UsageError) else None
    message = fault.format_message().rstrip(".")
    if isinstance(fault, click.NoSuchOption) and context:
        said = options.advice(fault.option_name, context.command)
        message = f"no option '{fault.option_name}': {said}" if said else message
    return f"{message} (see `{context.command_path} --help`)" if context else message


def _error(text: str) -> str:
    return f"charseq: error: {printable(text, most=MAX_LINE)}"


class _Commands(UserDict[str, Any]):
    """:data:`COMMANDS` as click wants them; a command is imported when it is looked up."""

    def __getitem__(self, name: str) -> click.Command:
        module = importlib.import_module(f"charseq.cli.{self.data[name]}")
        command: click.Command = getattr(module, name)
        return command


class _Program(click.Group):
    """The group of commands; it lists them in the order of :data:`COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)


@click.group(
    cls=_Program,
    commands=_Commands(COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=options.example(
        "charseq train data/ --minutes 5",
        'charseq predict "3. März 2021"',
        "charseq convert orders.csv --column date",
    ),
)
@click.version_option(__version__, prog_name="charseq")
@options.debug
def program() -> None:
    """Learn to rewrite strings from pairs of examples, then rewrite texts and files.

    Or learn from plain text to predict the next word.
    """
