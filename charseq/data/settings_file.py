"""the setting `columns` -> roles: which column is the source, the target, the features, the weight.

It knows no files: where a role stands in a row, `examples` finds out.

    target,source,weight          roles in the order of the columns; skip or - passes one over
    source=word,target=2          each role by the header's name, or by the column's number
"""

from __future__ import annotations

import csv
import io
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq.errors import DataError, SettingError

if TYPE_CHECKING:
    pass

SETTINGS_FILE = "charseq.toml"
TUNE = "tune"
"""The table of that file that says what is searched."""


def settings_of(data: str | Path) -> dict[str, Any]:
    """The settings in ``DATA/charseq.toml``, by name and not checked yet; {} without the file.

    A table ``[columns]`` with ``role = "name"`` or ``role = number`` becomes the setting
    ``columns``. The table ``[tune]`` is left out.

    Raises:
        DataError: with path and line: no valid TOML, or something that is no setting's value.
    """
    path = Path(data) / SETTINGS_FILE
    settings = read_toml(path)
    if isinstance(settings.get(TUNE), dict):
        del settings[TUNE]
    for name, value in settings.items():
        if name == "columns" and isinstance(value, dict):
            try:
                settings[name] = write(value)
            except SettingError as fault:
                raise DataError(str(fault), path=path) from None
        elif not isinstance(value, str | int | float):
            raise DataError(f"'{name}' is no setting, expected text or a number", path=path)
    return settings


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file holds; {} where there is none.

    Raises:
        DataError: with path and line: it cannot be read, or it is no valid TOML.
    """
    try:
        if not path.is_file():
            return {}
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as fault:
        raise DataError(f"cannot be read: {fault.strerror}", path=path) from None
    except UnicodeDecodeError as fault:
        line = fault.object[: fault.start].count(b"\n") + 1
        raise DataError("not UTF-8", path=path, line=line) from None
    except tomllib.TOMLDecodeError as fault:
        found = re.search(r"(.*) \(at line (\d+)", str(fault))
        message, place = (found[1], int(found[2])) if found else (str(fault), None)
        raise DataError(f"not valid TOML: {message}", path=path, line=place) from None


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
