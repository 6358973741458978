"""Lines -> stdout (data) and stderr (messages)."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import click

from charseq.display import MARK, MAX_LINE, printable

DRAW_SECONDS = 0.5
"""Seconds between two drawings of a line, at least."""
WAIT_SECONDS = 1.0
"""Seconds before the first drawing of a line that only tells the time."""


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

    def __init__(
        self,
        size: float | None,
        *,
        quiet: bool,
        unit: str = "rows",
        before: str = "",
        after: str = "",
    ) -> None:
        """See :func:`rows_line`."""
        self._size, self._unit, self._after = size, unit, after
        self._waiting = ExitStack()
        if before:
            self._waiting.enter_context(waiting(before, quiet=quiet))
        self._quiet = quiet
        self._shown = bool(listening(quiet=quiet)["progress"])
        self._begun = self._drawn = time.monotonic()
        self._rows, self._done = 0, 0.0
        self._is_drawn = False
        self.was_drawn = False
        """Whether the line was ever drawn: the work took longer than a moment."""

    def show(self, rows: int, done: float) -> None:
        """Draw the line, if the last time is long enough ago.

        ``rows`` are done, which take ``done`` of the size of the input. Where they are fewer than
        the last time, another pass over them has begun.
        """
        now = time.monotonic()
        self._waiting.close()
        if rows < self._rows:
            self._begun = now
        self._rows = rows
        if self._after and self._size and done >= self._size:
            self.clear()
            self._waiting.enter_context(waiting(self._after, quiet=self._quiet))
            return
        if not self._shown or now - self._drawn < DRAW_SECONDS or now == self._begun:
            return
        spent, self._drawn, self._is_drawn, self.was_drawn = now - self._begun, now, True, True
        text = f"{rows:,} {self._unit}, {rows / spent:,.0f} {self._unit}/s"
        share = min(done / self._size, 1.0) if self._size else 0.0
        if share:
            minutes, seconds = divmod(round(spent * (1 - share) / share), 60)
            text += f", {share:.0%}, {minutes}:{seconds:02} left"
        with suppress(OSError):
            click.echo(f"\r{text}\x1b[K", err=True, nl=False)

    def add(self, rows: int, done: float) -> None:
        """Count further rows, and draw the line as :meth:`show`."""
        self._done += done
        self.show(self._rows + rows, self._done)

    def clear(self) -> None:
        """Take the line away."""
        self._waiting.close()
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
def rows_line(
    size: float | None, *, quiet: bool, unit: str = "rows", before: str = "", after: str = ""
) -> Iterator[RowsLine]:
    """A line that is taken away at the end, however that comes.

    ``size``: the size of the input, such as its bytes; None where the time left cannot be told from
    it. ``unit``: the name of what is counted. ``before`` and ``after`` name the work before
    the first row and after the last one, whose time is told.
    """
    line = RowsLine(size, quiet=quiet, unit=unit, before=before, after=after)
    try:
        yield line
    finally:
        line.clear()


@contextmanager
def waiting(text: str, *, quiet: bool) -> Iterator[None]:
    """A line on a terminal while the block takes longer than a moment: ``text`` and the time spent.

    For work of which no part can be counted. The line is taken away at the end.
    """
    if not listening(quiet=quiet)["progress"]:
        yield
        return
    over, begun = threading.Event(), time.monotonic()

    def draw() -> None:
        is_drawn = False
        while not over.wait(WAIT_SECONDS if not is_drawn else DRAW_SECONDS):
            minutes, seconds = divmod(round(time.monotonic() - begun), 60)
            is_drawn = True
            with suppress(OSError):
                click.echo(f"\r{text}, {minutes}:{seconds:02}\x1b[K", err=True, nl=False)
        if is_drawn:
            with suppress(OSError):
                click.echo("\r\x1b[K", err=True, nl=False)

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def preparing(text: str, *, quiet: bool, again: bool = False) -> Iterator[dict[str, Any]]:
    """The arguments of :func:`listening` for work whose first message may take long.

    Until then, a line on a terminal says ``text`` and the time spent; with ``again`` also after
    each message, until the next one or the end. Otherwise a progress bar may follow.
    """
    found = listening(quiet=quiet)
    with ExitStack() as stack:
        stack.enter_context(waiting(text, quiet=quiet))
        report = found["report"]

        def tell(line: str) -> None:
            stack.close()
            report(line)
            if again:
                stack.enter_context(waiting(text, quiet=quiet))

        yield {**found, "report": tell}


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
