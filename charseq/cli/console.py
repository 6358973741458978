"""Lines -> stdout (data) and stderr (messages)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import click

from charseq.display import MARK, MAX_LINE, printable


def note(text: str) -> None:
    """Print a message on stderr.

    Where stderr is lost (its terminal was closed, its reader has ended, its disk is full) the
    message is lost too; the work goes on, and the exit code says how it ended.
    """
    with suppress(OSError):
        click.echo(printable(text, most=MAX_LINE), err=True)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    note(f"charseq: warning: {text}")


def tell_lexicon(model: Any, *, quiet: bool) -> None:
    """Print how the lexicon of a model was read, if it has one."""
    lexicon = getattr(model, "lexicon", None)
    for line in () if quiet or lexicon is None else lexicon.notes:
        note(line)


def silence(text: str) -> None:
    """Print nothing: :func:`note` and :func:`warn` with ``--quiet``."""


def listening(*, quiet: bool) -> dict[str, Any]:
    """Arguments of a training: where its messages go, and whether it shows a progress bar."""
    return {
        "report": silence if quiet else note,
        "progress": not quiet and sys.stderr is not None and sys.stderr.isatty(),
    }


def show(lines: Iterable[str]) -> None:
    """Print lines for people on stdout; names out of files cannot steer the terminal.

    For answers, which are data, take :func:`write`.
    """
    write(printable(line, kept=MARK, most=MAX_LINE) for line in lines)


def write(lines: Iterable[str]) -> None:
    """Print lines on stdout as they are, in UTF-8 and with LF on every system."""
    from charseq.files import standard_stream

    out = standard_stream("stdout").buffer
    out.write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
    out.flush()


def write_json(facts: Mapping[str, Any] | list[Any]) -> None:
    """Print one line of JSON on stdout, with invisible characters as JSON's escapes."""
    text = json.dumps(facts, ensure_ascii=False, allow_nan=False)
    if not text.isprintable():
        odd = {ord(letter) for letter in set(text) if not letter.isprintable()}
        text = text.translate({code: json.dumps(chr(code))[1:-1] for code in odd})
    write([text])
