"""the user's words -> a command -> words for the user: the command ``charseq``.

Importing this loads click, the settings and the errors, nothing else: help comes at once, and
each command loads what it needs when it runs. Data go to stdout, everything else to stderr.

Every fault becomes one line on stderr and an exit code, in :func:`run`:
0 done, 1 a fault in the data or the world, 2 a wrong command line, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from charseq.cli import console, options
from charseq.cli.commands import convert, evaluate, predict, score, train
from charseq.cli.inspection import check, gradients, info, verify
from charseq.cli.merging import average
from charseq.cli.tuning import tune
from charseq.errors import CharseqError
from charseq.version import __version__


def main() -> None:
    """The program: runs the command line of this process and ends it."""
    code = run(sys.argv[1:])
    try:
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
    except OSError:  # what could not be written before; run() has told why
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)  # Python's last flush shall not fail as well
        code = code or 1
    sys.exit(code)


def run(words: Sequence[str]) -> int:
    """Run one command line; the exit code. Every fault is told here, in one line on stderr."""
    before_texts = words[: words.index("--")] if "--" in words else words
    try:
        code = program.main(args=list(words), prog_name="charseq", standalone_mode=False)
    except SystemExit as end:  # click's way out where nobody reads any more, or has completed
        code = end.code
    except BaseException as fault:  # noqa: BLE001 - the edge of the program: nothing goes further
        code, message = _explain(fault)
        if "--debug" in before_texts:
            import traceback

            traceback.print_exception(fault)
        click.echo(message, err=True)
    return code if isinstance(code, int) else 0


def _explain(fault: BaseException) -> tuple[int, str]:
    """(exit code, what to print) for whatever ended a command."""
    if isinstance(fault, KeyboardInterrupt | click.Abort):
        return 130, "charseq: interrupted"
    if isinstance(fault, click.exceptions.NoArgsIsHelpError):
        return 2, fault.format_message()
    if isinstance(fault, click.ClickException):
        path = fault.ctx.command_path if isinstance(fault, click.UsageError) and fault.ctx else ""
        hint = f" (see `{path} --help`)" if path else ""
        return fault.exit_code, _error(fault.format_message().rstrip(".") + hint)
    if isinstance(fault, CharseqError):
        return fault.exit_code, _error(str(fault))
    if isinstance(fault, OSError):
        reason = fault.strerror or str(fault) or type(fault).__name__
        return 1, _error(f"{fault.filename}: {reason}" if fault.filename else reason)
    if isinstance(fault, MemoryError) or "can't allocate memory" in str(fault):
        return 1, _error(
            f"out of memory: {str(fault).split(chr(10))[0][:200] or 'no more is free'}"
        )
    what = f"{type(fault).__name__}: {fault}" if str(fault) else type(fault).__name__
    return 1, _error(f"internal error: {what}; run again with --debug for the traceback")


def _error(text: str) -> str:
    return f"charseq: error: {console.printable(text)}"


class _Program(click.Group):
    """The group that lists its commands in the order in which one needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)


@click.group(
    cls=_Program,
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
    """Learn to rewrite strings from pairs of examples, and rewrite files with what was learnt.

    Or learn from plain text which word comes next.
    """


for command in (
    train, tune, average, predict, convert, evaluate, score, check, info, verify, gradients,
):  # fmt: skip
    program.add_command(command)
