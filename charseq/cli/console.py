"""lines -> stdout (data) and stderr (everything else)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click


def printable(text: str) -> str:
    """One line that cannot steer a terminal, whatever the files hold."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in " ".join(text.split("\n"))
    )


def note(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(printable(text), err=True)


def warn(text: str) -> None:
    """A line on stderr about what may be wrong."""
    note(f"charseq: warning: {text}")


def silence(text: str) -> None:
    """What -q makes of :func:`note`."""


def listening(*, quiet: bool) -> dict[str, Any]:
    """Where a training's lines for people go, and whether it shows a bar."""
    return {
        "report": silence if quiet else note,
        "progress": not quiet and sys.stderr.isatty(),
    }


def write(lines: Iterable[str]) -> None:
    """Lines to stdout: UTF-8 and LF, whatever the system prefers."""
    out = sys.stdout.buffer
    out.write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
    out.flush()


def write_json(facts: Mapping[str, Any] | list[Any]) -> None:
    """One line of JSON on stdout."""
    write([json.dumps(facts, ensure_ascii=False, allow_nan=False)])
