"""Columns of a table -> their roles: source, target, features and weight.

Roles are given by the setting ``columns``, or found: by the names in the header, by the format, or
by the number of columns.
"""

from __future__ import annotations

from collections.abc import Sequence

from charseq.data.formats.headers import roles_among
from charseq.data.formats.rows import Row, Table, count_columns, locate
from charseq.data.settings_file import ROLES, Roles
from charseq.errors import DataError, argument

ColumnNumbers = tuple[int, int, int | None, int | None]
"""The columns of source, target, features and weight, counted from 0."""


def locate_roles(roles: Roles, table: Table, row: Row) -> ColumnNumbers:
    """The columns of the roles in rows like this one. Raises DataError if they are not there."""
    names = row.names or table.header or ()
    width = len(row.cells)
    if isinstance(roles, dict):
        found = {role: locate(name, names, width) for role, name in roles.items()}
    elif roles and table.format.has_keys:
        example = argument("columns", "source=NAME,target=NAME")
        raise DataError(f"JSON has names, not positions: {example}")
    elif roles:
        if table.format.holds_pairs and width == 3 and len(roles) == 2:
            roles = (roles[0], "weight", roles[1])  # its probabilities are weights
        if len(roles) != width:
            named = f"{argument('columns')} names {len(roles)}"
            raise DataError(f"{count_columns(width)}, but {named} (skip is one)")
        found = {role: number for number, role in enumerate(roles) if role in ROLES}
    else:
        found = _locate_unnamed(names, width, fixed=not table.format.may_have_header)
    return found["source"], found["target"], found.get("features"), found.get("weight")


def _locate_unnamed(names: Sequence[str], width: int, *, fixed: bool) -> dict[str, int]:
    """Columns that are named like roles, in any case; else two columns, source and target."""
    found = roles_among(names)
    if "source" in found and "target" in found:
        return found
    if width == 2 and not fixed:
        return {"source": 0, "target": 1}
    called = f" ({', '.join(names)})" if names else ""
    if width < 2:
        hint = "" if fixed else ": the setting delimiter tells what stands between cells"
        raise DataError(f"{count_columns(width)}{called}, expected source and target{hint}")
    first = [name for name in names if name][:2]
    example = "source={},target={}".format(*first) if first[1:] else "source,features,target"
    raise DataError(
        f"{count_columns(width)}{called}, expected source and target: "
        f"say which is which, for example {argument('columns', example)}"
    )


def describe_roles(numbers: ColumnNumbers, table: Table, row: Row) -> str:
    """A text such as ``target = column 1 (native), source = column 2 (roman)``."""
    names = row.names or (() if table.format.recognised else table.header) or ()
    roles = sorted((n, role) for role, n in zip(ROLES, numbers, strict=True) if n is not None)
    if table.format.has_keys:
        return ", ".join(f"{role} = {names[number]}" for number, role in roles)
    return ", ".join(
        f"{role} = column {number + 1}" + (f" ({names[number]})" if names else "")
        for number, role in roles
    )
