"""JSON Lines: one object a line, whose keys name its cells.

``names`` are the keys of a row and ``cells`` their values as JSON types. A blank line, or ``{}``,
is a Row whose ``cells`` are ``()``. New members are added before the closing brace; numbers,
escapes, white space and the order of the other members stay as they are.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from charseq.data.formats.lines import TextFormat, line_end, rows_by_line
from charseq.data.formats.opening import Lines
from charseq.data.formats.rows import Row
from charseq.errors import DataError

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


class JsonLines(TextFormat):
    """JSON Lines: one object a line."""

    name = "jsonl"
    title = "JSON Lines"
    endings = (".jsonl", ".ndjson", ".json")
    has_keys = True

    def rows(self, path: str, lines: Lines, *, faulty: bool) -> Iterator[Row]:
        """A row for each line."""
        return rows_by_line(_read_object, path, lines, faulty=faulty)

    def encode(self, names: Sequence[str], values: Sequence[str]) -> bytes:
        """The members of the new keys, without braces."""
        members = zip(names, values, strict=True)
        return ", ".join([f"{_json(key)}: {_json(value)}" for key, value in members]).encode()

    def extend(self, row: Row, cells: bytes) -> bytes:
        """The object with new members at its end."""
        body = row.raw.rstrip(b" \t\r\n")
        return body[:-1] + (b", " if row.names else b"") + cells + row.raw[len(body) - 1 :]

    def extend_faulty(self, row: Row, names: Sequence[str], values: Sequence[str]) -> bytes:
        """An object of the new keys alone."""
        return b"{" + self.encode(names, values) + b"}" + line_end(row.raw)

    def replace(
        self,
        row: Row,
        names: Sequence[str],
        values: Sequence[str],
        positions: Sequence[int | None],  # noqa: ARG002
    ) -> bytes:
        """The object with some values replaced."""
        new = dict(zip(names, values, strict=True))
        text = row.raw.decode()
        body = text.rstrip(" \t\r\n")
        end = text[len(body) :]
        for key, start, stop in reversed(list(_members(body))):
            if key in new:
                body = body[:start] + _json(new[key]) + body[stop:]
        added = [f", {_json(key)}: {_json(new[key])}" for key in names if key not in row.names]
        return (body[:-1] + "".join(added) + "}" + end).encode()


def _read_object(text: str) -> tuple[Sequence[Any], Sequence[str]]:
    if not text:
        return (), ()
    try:
        value = json.loads(text)
    except json.JSONDecodeError as fault:
        if text.lstrip().startswith("["):
            message = "a list begins here, expected one object a line: jq -c '.[]' makes them"
            raise DataError(message) from None
        raise DataError(f"not valid JSON: {fault.msg} at column {fault.colno}") from None
    except (ValueError, RecursionError) as fault:
        raise DataError(f"not readable JSON: {fault}") from None
    if not isinstance(value, dict):
        raise DataError(f"a JSON {type(value).__name__}, expected one object a line")
    if _has_more_keys(text, len(value)):
        keys = Counter(key for key, _, _ in _members(text))
        for key, times in keys.items():
            if times > 1:
                raise DataError(f"the key '{key}' stands {times} times in it, expected once")
    return tuple(value.values()), tuple(value)


def _has_more_keys(text: str, count: int) -> bool:
    """Whether an object may have more than ``count`` keys: a fast test, true where in doubt."""
    if text.count(":") <= count:
        return False
    return text.count('":') > count or any(f"{space}:" in text for space in " \t\r")


def _members(text: str) -> Iterator[tuple[str, int, int]]:
    """Each key of a valid JSON object, with the start and stop of its value."""
    at = _after_space(text, text.index("{") + 1)
    while text[at] == '"':
        key, at = _DECODER.raw_decode(text, at)
        start = _after_space(text, _after_space(text, at) + 1)
        _, stop = _DECODER.raw_decode(text, start)
        yield key, start, stop
        comma = _after_space(text, stop)
        if text[comma] != ",":
            return
        at = _after_space(text, comma + 1)


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
