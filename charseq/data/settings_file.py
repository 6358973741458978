"""DATA/charseq.toml -> settings; the setting ``columns`` <-> roles of columns.

The roles are source, target, features and weight. ``columns`` names them in one of two ways:

    target,source,weight          the role of each column, in order; skip or - ignores a column
    source=word,target=2          the column of each role, by its name in the header or its number

``charseq.data.pairs`` looks up the columns in the files.
"""

from __future__ import annotations

import csv
import io
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charseq.errors import DataError, SettingError

SETTINGS_FILE = "charseq.toml"
TUNE = "tune"
"""Table of that file with the search space of ``charseq tune``."""
ROLES = ("source", "target", "features", "weight")
IGNORED = ("skip", "-")

Roles = dict[str, str] | tuple[str, ...]
"""Role -> name or number of its column; or the role of each column."""


def settings_of(data: str | Path) -> dict[str, Any]:
    """The settings in ``DATA/charseq.toml`` by name, not checked yet; {} without the file.

    A table ``[columns]`` with ``role = "name"`` or ``role = number`` becomes the setting
    ``columns``. The table ``[tune]`` is left out.

    Raises:
        DataError: with path and line: invalid TOML, or a value that no setting can have.
    """
    path = Path(data) / SETTINGS_FILE
    settings = read_toml(path)
    if isinstance(settings.get(TUNE), dict):
        del settings[TUNE]
    for name, value in settings.items():
        if name == "columns" and isinstance(value, dict):
            try:
                settings[name] = format_columns(value)
            except SettingError as fault:
                raise DataError(str(fault), path=path) from None
        elif not isinstance(value, str | int | float):
            raise DataError(f"'{name}' is no setting, expected text or a number", path=path)
    return settings


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; {} where there is no file.

    Raises:
        DataError: with path and line: the file cannot be read, or is not valid TOML.
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
        message, at = (found[1], int(found[2])) if found else (str(fault), None)
        raise DataError(f"not valid TOML: {message}", path=path, line=at) from None


def parse_columns(columns: str) -> Roles:
    """The setting ``columns`` -> the role of each column, or {role: name or number}.

    An empty setting gives ``()``. A name with a comma or a quote is quoted as in CSV:
    ``"source=last, first",target=2``.

    Raises:
        SettingError: an unknown or repeated role, no source or target, or a mix of both ways.
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


def format_columns(table: Mapping[str, Any]) -> str:
    """{role: name or number} -> the setting ``columns``; the inverse of :func:`parse_columns`.

    Raises:
        SettingError: an unknown role, or a name that is neither text nor a number.
    """
    for role, name in table.items():
        if role not in ROLES or isinstance(name, bool) or not isinstance(name, str | int):
            raise SettingError(
                f"columns has {role} = {name!r}, expected {', '.join(ROLES)} = name or number"
            )
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([f"{r}={name}" for r, name in table.items()])
    columns = out.getvalue()
    parse_columns(columns)
    return columns
