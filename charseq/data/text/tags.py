"""the cell of a row's features <-> tags, in order; nested tags become paths."""

from __future__ import annotations

import re

DEEPEST_FEATURE = 16


def split_features(text: str, separator: str = ";") -> list[str]:
    """The features of one row, in order; nested tags become paths, so that parts are shared.

    ``V;NOM(3,SG)`` gives ``V``, ``NOM(3)``, ``NOM(SG)``. Inside brackets a comma separates too.
    Text whose brackets do not pair up, or hold nothing, is cut at the separators only.
    """
    plain = [part for piece in text.split(separator) if (part := piece.strip(" "))]
    if "(" not in text:
        return plain
    found: list[str] = []
    path: list[str] = []
    name, before = "", ""
    for cut in re.split(f"([(),]|{re.escape(separator)})", text):
        if cut == "(":
            if before == ")" or len(path) == DEEPEST_FEATURE:
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
