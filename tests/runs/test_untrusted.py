"""JSON of a stranger: one meaning, finite numbers, within seconds; names that cannot mislead."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.errors import CheckpointError
from charseq.runs import untrusted
from charseq.runs.untrusted import parse_object, reason, shown

PATH = Path("run/about.json")
REFUSED = {
    "a key twice": (b'{"a":1,"a":1}', "'a' is there twice"),
    "a key twice, escaped": (b'{"a":1,"\\u0061":2}', "'a' is there twice"),
    "a key twice, inside": (b'{"b":[{"a":1,"a":1}]}', "'a' is there twice"),
    "an infinite float": (b'{"a":1e999}', "1e999 is no finite number"),
    "an infinite float, E+": (b'{"a":1E+400}', "1E[+]400 is no finite number"),
    "an infinite float, digits": (b'{"a":' + b"9" * 310 + b".0}", "is no finite number"),
    "a long float": (b'{"a":0.' + b"1" * 200 + b"}", "0.111111111111111111 is no finite"),
    "a long integer": (b'{"a":1' + b"0" * 20 + b"}", "a number of 21 digits"),
    "NaN": (b'{"a":NaN}', "NaN is no number"),
    "minus infinity": (b'{"a":-Infinity}', "-Infinity is no number"),
    "deep lists": (b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", "nested more than 32 deep"),
    "deep objects": (b'{"a":' * 40 + b"1" + b"}" * 40, "nested more than 32 deep"),
    "deeper than Python": (b"[" * 100_000, "no JSON"),
    "half a pair": (b'{"a":"\\ud800"}', "no Unicode text"),
    "half a pair as a key": (b'{"\\uDFFF":1}', "no Unicode text"),
    "not UTF-8": (b'{"a":"\xff"}', "no JSON"),
    "a list": (b"[1]", "expected a JSON object"),
    "nothing": (b"", "no JSON"),
    "many values": (b'{"a":[' + b"1," * (untrusted.MAX_COMMAS + 1) + b"1]}", "more values"),
    "many keys": (b'{"a":":' + b":" * untrusted.MAX_COLONS + b'"}', "more values"),
    "many lists": (b'{"a":"' + b"[" * (untrusted.MAX_CONTAINERS + 1) + b'"}', "more objects"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    content, said = REFUSED[case]
    begun = time.monotonic()
    with pytest.raises(CheckpointError, match=said) as caught:
        parse_object(content, PATH)
    assert time.monotonic() - begun < 2
    line = str(caught.value)
    assert line.startswith(f"{PATH}: is damaged: ")
    assert line.isprintable()
    assert len(line) < 300


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":{"a":1},"b":{"a":1}}',
        b'{"a":"\\ud83d\\ude00","b":1e100,"c":-1.5e-320,"d":18446744073709551615}',
        b'{"a":"123456789012345678901234567890","b":"1e999"}',
        b'{"a":' + b"[" * 30 + b"]" * 30 + b"}",
        b'{"a":[' + b"1," * 10_000 + b"1]}",
    ],
)
def test_what_is_read(content: bytes) -> None:
    assert parse_object(content, PATH) == json.loads(content)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False,
    allow_infinity=False) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab\x00\u20ac"), inner),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.text("abc"), _VALUES), st.booleans())
def test_all_that_charseq_writes_is_read(value: dict[str, Any], ascii_only: bool) -> None:
    content = json.dumps(value, ensure_ascii=ascii_only, indent=1).encode()
    assert parse_object(content, None) == value


@given(st.text("0123456789.eE+-", min_size=1, max_size=30))
def test_no_number_escapes(number: str) -> None:
    """Each is refused, or read as Python reads it, and finite."""
    try:
        value = parse_object(f'{{"a":{number}}}'.encode(), None)["a"]
    except CheckpointError:
        return
    assert math.isfinite(value)
    assert value == json.loads(number)


def test_names_in_messages() -> None:
    assert shown("a\x1b[31m\n") == "'a\\x1b[31m\\n'"
    assert len(shown("x" * 10_000)) < 100
    assert reason(ValueError("a\nb" * 500)).count("\n") == 0
    assert len(reason(ValueError("a\nb" * 500))) == 200
    assert reason(OSError(2, "No such file", "secret")) == "No such file"
