"""Command line or stdin -> texts, in windows that are answered together.

A window ends early where stdin has no more to read at the moment, so that a program that writes a
line and waits for its answer gets it. A text is one line; for a model with features it is source
TAB features.
"""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from charseq.cli import console
from charseq.errors import DataError, UsageError

WINDOW = 256
"""Texts that are answered together, at most; each alone where a person types them."""
CHUNK = 65_536
"""Bytes that are read from stdin at once."""


def text_windows(texts: tuple[str, ...], *, has_features: bool, quiet: bool) -> Iterator[list[str]]:
    """The texts of the command line, else of stdin, in lists that are answered together."""
    if texts not in ((), ("-",)):
        return windows(read_arguments(texts, has_features=has_features), WINDOW)
    from charseq.files import standard_stream

    stdin = standard_stream("stdin").buffer
    typed = stdin.isatty()
    if typed and not quiet:
        console.note("charseq: one text a line, Ctrl-D ends")
    lines = read_lines(stdin, has_features=has_features)
    return windows(lines, 1 if typed else WINDOW)


def stdin_size(texts: tuple[str, ...]) -> int | None:
    """Bytes that are left in stdin, where the texts come from it and it is a file; else None."""
    from charseq.files import standard_stream

    if texts not in ((), ("-",)):
        return None
    try:
        handle = standard_stream("stdin").fileno()
        found = os.fstat(handle)
        at = os.lseek(handle, 0, os.SEEK_CUR) if stat.S_ISREG(found.st_mode) else 0
        return found.st_size - at if stat.S_ISREG(found.st_mode) else None
    except (AttributeError, OSError, ValueError):  # no file of the system
        return None


@contextmanager
def counting(texts: tuple[str, ...], unit: str, *, quiet: bool) -> Iterator[Counting]:
    """Counts of the texts that are answered, on a line of a terminal.

    There is no line where answers go to the same terminal: they show themselves how far it is. At
    the end of a long input another line says how many were answered.
    """
    size = stdin_size(texts)
    with console.rows_line(size, quiet=quiet or shows_answers(), unit=unit) as line:
        found = Counting(line, quiet=quiet)
        yield found
        if line.was_drawn:
            line.note(f"{found.rows:,} {unit} answered in {time.monotonic() - found.begun:,.0f} s")


class Counting:
    """How many texts are answered, and how many bytes of the input they take."""

    def __init__(self, line: console.RowsLine, *, quiet: bool) -> None:
        self._line, self._quiet = line, quiet
        self.rows = self.bytes = 0
        self.begun = time.monotonic()

    def add(self, window: Sequence[str]) -> None:
        """Count the texts of a window, which are answered."""
        self.rows += len(window)
        self.bytes += sum(len(text.encode("utf-8", "surrogatepass")) + 1 for text in window)
        self._line.show(self.rows, self.bytes)

    def warn(self, text: str) -> None:
        """Print a warning on stderr, in the place of the line, unless this is quiet."""
        self._line.clear()
        if not self._quiet:
            console.warn(text)


def shows_answers() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def read_arguments(texts: Iterable[str], *, has_features: bool) -> Iterator[str]:
    """The texts of the command line.

    Raises:
        UsageError: bytes that are not UTF-8, or tabs that do not fit the model.
    """
    for text in texts:
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise UsageError(f"the text {text!a} is not UTF-8")
        if fault := _tab_fault(text, has_features=has_features):
            raise UsageError(f"the text {text!r} has {fault}")
        yield text


def read_lines(stream: BinaryIO, *, has_features: bool) -> Iterator[str | None]:
    """The lines of stdin. Only LF and CRLF end a line; a byte order mark is dropped.

    None stands where there is nothing more to read at the moment.

    Raises:
        DataError: with the line: bytes that are not UTF-8, or tabs that do not fit the model.
    """
    number = 0
    for raw in _raw_lines(stream):
        if raw is None:
            yield None
            continue
        number += 1
        line = raw.removesuffix(b"\n").removesuffix(b"\r") if raw.endswith(b"\n") else raw
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            reason = f"byte 0x{line[error.start]:02x} at column {error.start + 1} is not UTF-8"
            raise DataError(reason, path="stdin", line=number) from None
        if fault := _tab_fault(text, has_features=has_features):
            raise DataError(fault, path="stdin", line=number)
        yield text


def _raw_lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """The lines of a stream, with their ends; None where a read would wait."""
    try:
        handle = stream.fileno()
    except io.UnsupportedOperation:  # not a file of the system
        yield from stream
        return
    begun: list[bytes] = []
    while True:
        if _waits(handle):
            yield None
        chunk = os.read(handle, CHUNK)
        if not chunk:
            break
        first, *others = chunk.split(b"\n")
        begun.append(first)
        for other in others:
            yield b"".join(begun) + b"\n"
            begun = [other]
    if last := b"".join(begun):
        yield last


def _waits(handle: int) -> bool:
    """Whether a read would wait for more; by poll, as select knows no handles above 1,023."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return not poll.poll(0)


def windows(texts: Iterable[str | None], size: int) -> Iterator[list[str]]:
    """Lists of up to ``size`` texts, and of fewer before a None.

    The texts before a DataError come before the error.
    """
    window: list[str] = []
    try:
        for text in texts:
            if text is not None:
                window.append(text)
            if window and (text is None or len(window) == size):
                yield window
                window = []
    except DataError:
        if window:
            yield window
        raise
    if window:
        yield window


def _tab_fault(text: str, *, has_features: bool) -> str:
    """The reason why the tabs of a text do not fit the model; empty if they do."""
    tabs = text.count("\t")
    if has_features and tabs != 1 and text:
        return f"{tabs} tabs, expected one: source TAB features"
    return "a tab, but the model takes no features" if tabs and not has_features else ""
