"""Bytes of a JSON file that may come from a stranger -> its object; names and faults for messages.

Two readers of one file must find the same in it, and reading must end soon. So a key that stands
twice in an object is refused, and so are numbers that a reader could round or take for infinite,
texts that UTF-8 cannot encode, and more or deeper values than any file of charseq holds.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from charseq.errors import CheckpointError

MAX_CONTAINERS = 2**18
"""Most objects and lists in a JSON file; a vocabulary is one list. In memory an empty one takes 25
times its size in the file."""
MAX_COMMAS, MAX_COLONS = 3 * 2**19, 2**18
"""Most commas and colons in a JSON file, so that any is read within seconds. The largest vocabulary
is a list of a million symbols, some of which hold such signs."""
MAX_DEPTH = 32
"""Deepest nesting of objects and lists in a JSON file."""
MAX_DIGITS = 20
"""Most characters of a whole number in a JSON file: 64 bits."""
MAX_NUMBER = 100
"""Most characters of any other number."""

_ODD_NUMBER = re.compile(rb"[0-9]{21}|[eE][+]?[0-9]{3}")
"""Bytes of every number that :func:`_whole` and :func:`_finite` refuse, and of some texts."""
_SURROGATE = re.compile(rb"\\u[dD][89abAB]")
_MAX_SHOWN = 60


def parse_object(content: bytes, path: str | Path | None) -> dict[str, Any]:
    """The bytes of an untrusted JSON file -> its object; ``path`` is named in errors.

    Raises:
        CheckpointError: not UTF-8, not JSON, no object or too many of them, nested deeper than
            :data:`MAX_DEPTH`, a key twice in one object, a number that is not finite or has more
            digits than 64 bits, or a text with half a surrogate pair.
    """
    if content.count(b"{") + content.count(b"[") > MAX_CONTAINERS:
        raise CheckpointError("is damaged: more objects than any run holds", path=path)
    if content.count(b",") > MAX_COMMAS or content.count(b":") > MAX_COLONS:
        raise CheckpointError("is damaged: more values than any run holds", path=path)
    # the two functions take longer than all the rest, and nearly every file does without them
    numbers: dict[str, Any] = {}
    if _ODD_NUMBER.search(content):
        numbers = {"parse_int": _whole, "parse_float": _finite}
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            **numbers,
        )
        _check_depth(value)
        if _SURROGATE.search(content):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        what = "is damaged: a text in it is no Unicode text"
        raise CheckpointError(what, path=path) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"is damaged: no JSON: {reason(error)}", path=path) from error
    if not isinstance(value, dict):
        raise CheckpointError("is damaged: expected a JSON object", path=path)
    return value


def shown(name: str) -> str:
    """An untrusted name for a message: quoted, escaped and cut."""
    return ascii(name if len(name) <= _MAX_SHOWN else name[:_MAX_SHOWN] + "...")


def reason(error: BaseException) -> str:
    """The message of an exception, in one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError for a key that is there twice: readers would differ."""
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"{shown(twice)} is there twice")
    return found


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text) if len(text) <= MAX_NUMBER else math.inf
    if not math.isfinite(number):
        raise ValueError(f"{text:.20} is no finite number")
    return number


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _check_depth(value: Any) -> None:
    """Raise ValueError for a value that is nested deeper than :data:`MAX_DEPTH`."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} deep")
