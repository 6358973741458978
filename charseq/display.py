"""symbols and texts -> how people are told of them.

It knows no models and no files.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

LONG = 60
"""Characters of a text that people are shown."""
SYMBOL = 8
"""Width of a symbol in a table, in cells of a terminal."""
KEPT = 100_000
"""Different unseen symbols that are counted, so that memory has a bound."""
LISTED_SYMBOLS = 80
"""Symbols that :func:`list_symbols` lists."""
SHOWN_SYMBOLS = 40
"""Symbols of an inventory that people are shown."""
ODD_CATEGORIES = frozenset({"Cc", "Cf", "Co", "Cn", "Zs", "Zl", "Zp"})
"""Controls, formats (zero-width, bidirectional, byte order mark), private use, unassigned
characters, and white space other than the space itself."""
REPLACEMENT = "\ufffd"
"""The character that decoders put in the place of broken text."""
CONTROLS = {"\0": "NULL", "\t": "TAB", "\n": "LINE FEED", "\r": "CARRIAGE RETURN"}
UNNAMED = {"Cc": "CONTROL CHARACTER", "Co": "PRIVATE USE", "Cn": "UNASSIGNED"}
"""Names by category for characters without a Unicode name."""
MAX_LINE = 4000
"""Characters of a line for people; the rest of a longer line is left out."""
MARK = "\u200e"
"""LEFT-TO-RIGHT MARK, which :func:`fill` sets around right-to-left letters."""
ONE_LINE = str.maketrans("\t\n\r", "   ")
"""What would break a line of text or TSV; it is written as a space there."""


def printable(text: str, *, kept: str = "", most: int | None = None) -> str:
    """``text`` on one line, with invisible characters escaped, so that no file steers a terminal.

    Escaped are control characters (C0 and C1), formats such as changes of direction, line and
    paragraph separators, lone surrogates and unassigned characters, but not those in ``kept``. Of
    more than ``most`` characters the first ones stay.
    """
    if most is not None and len(text) > most:
        text = f"{text[:most]}\u2026 ({len(text) - most:,} more characters)"
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter in kept
        else letter.encode("unicode_escape").decode()
        for letter in text.replace("\n", " ")
    )


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


def is_odd(character: str) -> bool:
    """Whether a character is invisible, or a sign of broken text."""
    odd = unicodedata.category(character) in ODD_CATEGORIES and character != " "
    return odd or character == REPLACEMENT


def character_name(character: str) -> str:
    """The Unicode name of a character, or the name of its kind."""
    if character in CONTROLS:
        return CONTROLS[character]
    kind = UNNAMED.get(unicodedata.category(character), "NO NAME")
    return unicodedata.name(character, kind)


def visible(symbol: str) -> list[str]:
    """The letters of a symbol, each such that it can be seen.

    An open box is a space, U+XXXX what has no glyph; a combining mark at the beginning sits on a
    dotted circle.
    """
    parts: list[str] = []
    for c in symbol:
        kind = unicodedata.category(c)
        seen = "␣" if c == " " else f"U+{ord(c):04X}" if kind[0] in "CZ" else c
        parts.append(f"◌{c}" if kind[0] == "M" and not parts else seen)
    return parts


def shown(symbol: str) -> str:
    """A symbol that can be seen (see :func:`visible`); what is long is cut."""
    parts = visible(symbol)
    while width("".join(parts)) > SYMBOL:
        parts = [*parts[:-2], "…"]
    return "".join(parts)


def list_symbols(symbols: Sequence[str]) -> str:
    """Symbols between spaces: spaces and odd characters by code point, features unchanged."""
    more = len(symbols) - LISTED_SYMBOLS
    listed = " ".join(map(_listed, symbols[:LISTED_SYMBOLS]))
    return f"{listed} and {more:,} more" if more > 0 else listed


def _listed(symbol: str) -> str:
    if len(symbol) > 1:
        return symbol
    if symbol == " " or is_odd(symbol):
        return code_points(symbol)
    return f"\u25cc{symbol}" if unicodedata.category(symbol)[0] == "M" else symbol


def count(number: int, noun: str) -> str:
    """A number with its noun: 1 text, 1,000 texts."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def width(text: str) -> int:
    """Cells of a terminal: two for East Asian wide characters, none for combining marks."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.category(c) in ("Mn", "Me") for c in text)


def fill(text: str, cells: int) -> str:
    """Right-aligned; marks keep a terminal from turning columns of right-to-left letters round."""
    mark = MARK * any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in text)
    return " " * (cells - width(text)) + mark + text + mark


def field(head: str, text: str) -> str:
    """A line for people: the name of a fact in ten columns, and the fact."""
    return f"{head:10} {text}"


def table(rows: Sequence[Sequence[str]], align: str = "<>") -> list[str]:
    """Rows of cells -> lines of aligned columns, two spaces apart, without spaces at their ends.

    Args:
        rows: cells, the same number in every row; a head is a row like the others.
        align: ``<`` (left) or ``>`` (right) for each column, the last one for all further columns.
            By default the first column is left-aligned and the others are right-aligned.

    Raises:
        ValueError: rows of different lengths.
    """
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    sides = align[: len(widths)].ljust(len(widths), align[-1])
    lines = []
    for row in rows:
        cells = [
            fill(cell, size) if side == ">" else cell + " " * (size - width(cell))
            for cell, size, side in zip(row, widths, sides, strict=True)
        ]
        lines.append("  ".join(cells).rstrip(" "))
    return lines
