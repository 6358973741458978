"""Symbols by code point, and long texts by their beginning."""

from __future__ import annotations

import pytest

from charseq.display import LONG, code_points, describe, shorten


@pytest.mark.parametrize(
    ("symbol", "points", "shown"),
    [
        ("ß", "U+00DF", "U+00DF 'ß' LATIN SMALL LETTER SHARP S"),
        ("😀", "U+1F600", "U+1F600 '😀' GRINNING FACE"),
        ("\u200b", "U+200B", "U+200B ZERO WIDTH SPACE"),
        (" ", "U+0020", "U+0020 SPACE"),
        ("\x00", "U+0000", "U+0000"),
        ("\n", "U+000A", "U+000A"),
        ("e\u0301", "U+0065+U+0301", "U+0065+U+0301 'e\u0301'"),
        ("SG", "'SG'", "'SG'"),
        ("t\u0283", "U+0074+U+0283", "U+0074+U+0283 't\u0283'"),
        ("caf\u00e9", "'caf\u00e9'", "'caf\u00e9'"),
        ("\u043a\u043e\u0442", "'\u043a\u043e\u0442'", "'\u043a\u043e\u0442'"),
        ("e\u0301\u0302\u0303", "U+0065+U+0301+U+0302+U+0303",
         "U+0065+U+0301+U+0302+U+0303 'e\u0301\u0302\u0303'"),
        ("a\u200bbc", "U+0061+U+200B+U+0062+U+0063", "U+0061+U+200B+U+0062+U+0063"),
        ("x" * 61, f"'{'x' * 60}\u2026'", f"'{'x' * 60}\u2026'"),
        ("\x00" * 61, "U+0000+" * 60 + "\u2026", "U+0000+" * 60 + "\u2026"),
    ],
)  # fmt: skip
def test_symbols_are_named_by_code_point(symbol: str, points: str, shown: str) -> None:
    assert code_points(symbol) == points
    assert describe(symbol) == shown


def test_a_long_text_is_shown_by_its_beginning() -> None:
    assert shorten("x" * LONG) == "x" * LONG
    assert shorten("x" * (LONG + 1)) == "x" * LONG + "\u2026"
