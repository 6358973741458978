"""Lines -> stdout (data) and stderr (messages)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import click

from charseq.display import MARK, MAX_LINE, printable

DRAW_SECONDS = 0.5
"""Seconds between two drawings of a line, at least."""


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
    """Print how the lexicon, the file of the rule and the list of words of a model were read."""
    rule = getattr(getattr(model, "translator", None), "rule", None)
    for part in (getattr(model, "lexicon", None), rule, getattr(model, "word_prior", None)):
        for line in () if quiet or part is None else part.notes:
            note(line)


def silence(text: str) -> None:
    """Print nothing: :func:`note` and :func:`warn` with ``--quiet``."""


def listening(*, quiet: bool) -> dict[str, Any]:
    """Arguments of a training: where its messages go, and whether it shows a progress bar."""
    return {
        "report": silence if quiet else note,
        "progress": not quiet and sys.stderr is not None and sys.stderr.isatty(),
    }


class RowsLine:
    """One line on a terminal that is drawn again and again: rows, their pace, and the time left."""

    def __init__(self, size: int | None, *, quiet: bool) -> None:
        self._size = size
        self._quiet = quiet
        self._shown = bool(listening(quiet=quiet)["progress"])
        self._begun = self._drawn = time.monotonic()
        self._is_drawn = False

    def show(self, rows: int, done: int) -> None:
        """Draw the line, if the last time is long enough ago.

        ``rows`` have been written, which take ``done`` bytes of the input.
        """
        now = time.monotonic()
        if not self._shown or now - self._drawn < DRAW_SECONDS:
            return
        spent, self._drawn, self._is_drawn = now - self._begun, now, True
        text = f"{rows:,} rows, {rows / spent:,.0f} rows/s"
        share = min(done / self._size, 1.0) if self._size else 0.0
        if share:
            minutes, seconds = divmod(round(spent * (1 - share) / share), 60)
            text += f", {share:.0%}, {minutes}:{seconds:02} left"
        with suppress(OSError):
            click.echo(f"\r{text}\x1b[K", err=True, nl=False)

    def clear(self) -> None:
        """Take the line away."""
        if self._is_drawn:
            self._is_drawn = False
            with suppress(OSError):
                click.echo("\r\x1b[K", err=True, nl=False)

    def note(self, text: str) -> None:
        """Print a message in the place of the line, unless this is quiet."""
        self.clear()
        if not self._quiet:
            note(text)


@contextmanager
def rows_line(size: int | None, *, quiet: bool) -> Iterator[RowsLine]:
    """A line that is taken away at the end, however that comes.

    ``size``: bytes of the input; None where the time left cannot be told from them.
    """
    line = RowsLine(size, quiet=quiet)
    try:
        yield line
    finally:
        line.clear()


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
