"""the setting `columns` -> roles: which column is the source, the target, the features, the weight.

It knows no files: where a role stands in a row, `examples` finds out.

    target,source,weight          roles in the order of the columns; skip or - passes one over
    source=word,target=2          each role by the header's name, or by the column's number
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from charseq.errors import SettingError

ROLES = ("source", "target", "features", "weight")
IGNORED = ("skip", "-")

Roles = dict[str, str] | tuple[str, ...]


def parse(columns: str) -> Roles:
    """Roles in the order of the columns, or {role: name or number}; ``()`` for an empty text.

    A name that holds a comma or a quote is quoted as in CSV: ``"source=last, first",target=2``.

    Raises:
        SettingError: an unknown or repeated role, no source or target, or both ways mixed.
    """
    if not columns.strip(" "):
        return ()
    try:
        items = next(csv.reader([columns], skipinitialspace=True, strict=True))
    except csv.Error as fault:
        raise SettingError(f"columns is '{columns}': {fault}") from None
    pairs = [item.partition("=") for item in items]
    roles = [role.strip(" ") for role, _, _ in pairs]
    named = [bool(equals) for _, equals, _ in pairs]
    if any(named) and not all(named):
        raise SettingError(f"columns is '{columns}', expected roles only, or role=NAME for each")
    for role in roles:
        if role not in (ROLES if any(named) else (*ROLES, *IGNORED)):
            raise SettingError(
                f"columns has the role '{role}', expected {', '.join(ROLES)} or skip"
            )
    for role in ROLES:
        if roles.count(role) > 1:
            raise SettingError(f"columns is '{columns}': '{role}' stands there twice")
        if role in ("source", "target") and role not in roles:
            raise SettingError(f"columns is '{columns}': no '{role}' in it")
    if not any(named):
        return tuple(roles)
    return {role: name for role, (_, _, name) in zip(roles, pairs, strict=True)}


def write(table: Mapping[str, Any]) -> str:
    """The setting for ``{role: name or number}``, such that :func:`parse` gives it back.

    Raises:
        SettingError: a role or a name that cannot be one.
    """
    for role, name in table.items():
        if role not in ROLES or isinstance(name, bool) or not isinstance(name, str | int):
            raise SettingError(
                f"columns has {role} = {name!r}, expected {', '.join(ROLES)} = name or number"
            )
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([f"{r}={name}" for r, name in table.items()])
    columns = out.getvalue()
    parse(columns)
    return columns
