"""symbols and texts -> how people are told of them.

It knows no models and no files.
"""

from __future__ import annotations

import unicodedata

LONG = 60
"""Characters of a text that people are shown."""


def shorten(text: str) -> str:
    """The text, or its beginning."""
    return text if len(text) <= LONG else f"{text[:LONG]}\u2026"


def code_points(symbol: str) -> str:
    """U+00DF; for a symbol of several characters U+0065+U+0301, or 'SG', 'naïve' as it is."""
    if len(symbol) > 1 and symbol.isprintable() and (symbol.isascii() or _is_word(symbol)):
        return f"'{shorten(symbol)}'"
    more = "+\u2026" if len(symbol) > LONG else ""
    return "+".join(f"U+{ord(letter):04X}" for letter in symbol[:LONG]) + more


def describe(symbol: str) -> str:
    """The code point with the symbol itself and its Unicode name, where it has them."""
    points = code_points(symbol)
    if points.startswith("'"):
        return points
    shown = f" '{shorten(symbol)}'" if symbol.isprintable() and symbol != " " else ""
    name = unicodedata.name(symbol, "") if len(symbol) == 1 else ""
    return f"{points}{shown} {name}".rstrip()


def _is_word(symbol: str) -> bool:
    """Whether people read it at a glance: three letters or more, marks not counted."""
    letters = unicodedata.normalize("NFC", symbol)
    return sum(unicodedata.category(letter)[0] != "M" for letter in letters) > 2
