"""The cell of features of a row -> single features; the separator that a column of them has.

V;PST            V, PST
pos=V,num=SG     pos=V, num=SG       with the separator that :func:`find_separator` finds
V;NOM(3,SG)      V, NOM(3), NOM(SG)  nested, as in UniMorph
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain

SEPARATORS = (";", "|", ",", "+", " ")
"""The separators that are looked for. Of equally frequent ones the first is taken."""
DEFAULT_SEPARATOR = SEPARATORS[0]
AUTO = "auto"
"""The setting ``feature_separator`` that leaves the separator to the data."""
MAX_CELLS = 100_000
"""Different cells by which a separator is found."""
MIN_SHARE = 0.5
"""Share of the different cells that have a separator other than the default."""
_BRACKETS = re.compile(r"\([^()]*\)")
_NUMBER = re.compile(r"[+-]?[\d.]+")
MAX_FEATURE_DEPTH = 16
"""Nesting of brackets in features."""


def split_features(text: str, separator: str = DEFAULT_SEPARATOR) -> list[str]:
    """The features of one cell in order; each nested feature has the path of its brackets.

    ``V;NOM(3,SG)`` gives ``V``, ``NOM(3)``, ``NOM(SG)``. Inside brackets commas separate, too.
    A cell with unpaired or empty brackets is split at the separators only.
    """
    plain = [part for piece in text.split(separator) if (part := piece.strip(" "))]
    if "(" not in text:
        return plain
    found: list[str] = []
    path: list[str] = []
    name, before = "", ""
    for cut in re.split(f"([(),]|{re.escape(separator)})", text):
        if cut == "(":
            if before == ")" or len(path) == MAX_FEATURE_DEPTH:
                return plain
            path.append(name)
            name, before = "", cut
        elif cut in (")", separator) or (cut == "," and path):
            if cut == ")" and (not path or (before == "(" and not name)):
                return plain
            if name:
                found.append("(".join([*path, name]) + ")" * len(path))
            if cut == ")":
                path.pop()
            name, before = "", cut
        elif cut.strip(" "):
            if before == ")":
                return plain
            name += cut.strip(" ")
    if path:
        return plain
    return [*found, name] if name else found


def find_separator(cells: Iterable[str]) -> str:
    """The separator of a column of features: the most frequent of ``SEPARATORS`` that is one.

    The semicolon may be one in any share of the cells. Another sign is one if half of the different
    cells have it, and cutting there makes features that cells share: ``N+PL`` is cut where ``N+SG``
    stands beside it, and a sign in a few tags, such as ``ADP+DET``, is part of them. Cells of
    ``key=value`` are cut where every part is one. Signs in brackets do not count.

    Returns:
        The separator; the semicolon where none is found.
    """
    texts: set[str] = set()
    for cell in filter(None, cells):
        texts.add(_BRACKETS.sub("", cell.strip(" ")))
        if len(texts) >= MAX_CELLS:
            break
    found, most = DEFAULT_SEPARATOR, 0.0
    for separator in SEPARATORS:
        rows = [[p for part in text.split(separator) if (p := part.strip(" "))] for text in texts]
        share = sum(len(row) > 1 for row in rows) / max(1, len(rows))
        if share > most and (separator == DEFAULT_SEPARATOR or _separates(separator, rows, share)):
            found, most = separator, share
    return found


def describe_separator(separator: str) -> str:
    """The separator in words, for people."""
    return "separated by a space" if separator == " " else f"separated by '{separator}'"


def _separates(separator: str, rows: Sequence[Sequence[str]], share: float) -> bool:
    """Whether the parts of cells, cut at a sign, are features, and the sign no part of a name."""
    parts = list(chain.from_iterable(rows))
    kinds = set(parts)
    if all(part.count("=") == 1 for row in rows if len(row) > 1 for part in row):
        return True
    if share < MIN_SHARE or len(kinds) == len(parts) or all(map(_NUMBER.fullmatch, kinds)):
        return False
    # words of a description are features only if they recur in many of them
    return separator != " " or 2 * len(kinds) <= len(rows) or all(p == p.upper() for p in kinds)
