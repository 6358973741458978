"""Texts, tables and docstrings -> Markdown, for scripts/reference.py."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

NOTE = "<!-- Written by scripts/reference.py from the program. Edits made here are lost. -->"


def page(title: str, *parts: str) -> str:
    """A whole page: title, note and parts, one blank line between them."""
    return "\n\n".join([f"# {title}", NOTE, *(part for part in parts if part)]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines
    )


def plain(text: str) -> str:
    """Plain text -> Markdown: options and variables are set as code, other marks are escaped."""
    parts = re.split(r"((?<![\w-])--?[A-Za-z][\w-]*|\$?CHARSEQ_\w*)", text)
    marked = [re.sub(r"([*<`\\])", r"\\\1", part) for part in parts[::2]]
    code = [f"`{part}`" for part in parts[1::2]]
    return "".join(a + b for a, b in zip(marked, [*code, ""], strict=True))


def code(text: str) -> str:
    """Text as code; nothing for no text."""
    return f"`{text}`" if text else ""


def block(text: str, language: str = "") -> str:
    """Lines as a block of code."""
    return f"```{language}\n{text}\n```"


def flat(text: str) -> str:
    """A text without its line breaks."""
    return " ".join(text.split())


def docstring(thing: Any) -> Iterator[str]:
    """A Google docstring as Markdown: paragraphs, and a list for each of its sections."""
    for paragraph in re.split(r"\n\n+(?! )", inspect.cleandoc(thing.__doc__ or "")):
        head, _, rest = paragraph.partition("\n")
        if head in ("Args:", "Returns:", "Raises:", "Yields:"):
            yield f"**{head.rstrip(':')}**"
            yield _section(textwrap.dedent(rest), named=head in ("Args:", "Raises:"))
        else:
            yield markdown(paragraph)


def _section(text: str, *, named: bool) -> str:
    """The entries of a section; a line that is indented continues the entry before it."""
    entries = re.split(r"\n(?! )", text) if named else [text]
    lines = []
    for entry in entries:
        name, colon, rest = flat(entry).partition(": ")
        if named and colon:
            lines.append(f"- `{name}`: {markdown(rest)}")
        else:
            lines.append(f"- {markdown(flat(entry))}")
    return "\n".join(lines)


def markdown(text: str) -> str:
    """A docstring's reStructuredText -> Markdown: roles and literals become code."""
    text = re.sub(r":\w+:`[~.]*([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")
