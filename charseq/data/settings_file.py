"""DATA/charseq.toml -> settings; the setting ``columns`` <-> roles of columns.

The roles are source, target, features and weight. ``columns`` names them in one of two ways:

    target,source,weight          the role of each column, in order; skip or - ignores a column
    source=word,target=2          the column of each role, by its name in the header or its number

``charseq.data.pairs`` looks up the columns in the files.
"""

from __future__ import annotations

import csv
import io
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charseq.errors import DataError, SettingError
from charseq.files import kind

SETTINGS_FILE = "charseq.toml"
TUNE = "tune"
"""Table of that file with the search space of ``charseq tune``."""
MAX_TOML_BYTES = 64 * 2**10
"""Largest TOML file; one with every setting has 5 KiB."""
MAX_TOML_LINE = 2048
"""Characters of a line."""
MAX_TOML_PARTS = 8
"""Parts of a dotted key. The time to read a file grows with their square."""
MAX_TOML_INTEGER = 2**63
ROLES = ("source", "target", "features", "weight")
IGNORED = ("skip", "-")

_PART = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DEEP_KEY = re.compile(rf"[ \t\[]*{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{MAX_TOML_PARTS}}}")

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
        if name == "columns" and isinstance(value, dict | str):
            try:
                if isinstance(value, dict):
                    settings[name] = format_columns(value)
                else:
                    parse_columns(value)
            except SettingError as fault:
                raise DataError(fault.marked, path=path) from None
        elif not isinstance(value, str | int | float):
            raise DataError(f"'{name}' is no setting, expected text or a number", path=path)
    return settings


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; {} where there is no file.

    Raises:
        DataError: with path and line: the file cannot be read, is not valid TOML, or is larger,
            deeper or of larger numbers than any file of settings.
    """
    try:
        if not path.is_file():
            if not os.path.lexists(path):
                return {}
            raise DataError(f"is {kind(path)}, expected a file of settings", path=path)
        with path.open("rb") as file:
            content = file.read(MAX_TOML_BYTES + 1)
        if len(content) > MAX_TOML_BYTES:
            most = f"{MAX_TOML_BYTES // 2**10} KiB"
            raise DataError(f"has more than {most}, too much for a file of settings", path=path)
        text = content.decode("utf-8")
        _check_lines(text, path)
        table = tomllib.loads(text)
        _check_integers(table)
    except OSError as fault:
        raise DataError(f"cannot be read: {fault.strerror}", path=path) from None
    except UnicodeDecodeError as fault:
        line = fault.object[: fault.start].count(b"\n") + 1
        raise DataError("not UTF-8", path=path, line=line) from None
    except tomllib.TOMLDecodeError as fault:
        found = re.search(r"(.*) \(at line (\d+)", str(fault))
        message, at = (found[1], int(found[2])) if found else (str(fault), None)
        raise DataError(f"not valid TOML: {message}", path=path, line=at) from None
    except (ValueError, OverflowError):  # from Python's conversion of digits
        raise DataError("a number has more than 64 bits, as no setting has", path=path) from None
    except RecursionError:
        raise DataError("lists or tables are nested deeper than any setting", path=path) from None
    return table


def _check_lines(text: str, path: Path) -> None:
    """Refuse lines that take long to read. Raises DataError with path and line."""
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > MAX_TOML_LINE:
            what = f"a line of {len(line):,} characters, expected at most {MAX_TOML_LINE:,}"
            raise DataError(what, path=path, line=number)
        if _DEEP_KEY.match(line):
            what = f"a key of more than {MAX_TOML_PARTS} parts, expected the name of a setting"
            raise DataError(what, path=path, line=number)


def _check_integers(value: Any) -> None:
    """Raise OverflowError for a whole number that is out of the 64 bits of TOML."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_integers(item)
    elif isinstance(value, int) and not -MAX_TOML_INTEGER <= value < MAX_TOML_INTEGER:
        raise OverflowError


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
                + _by_names(roles, named)
            )
    for role in ROLES:
        if roles.count(role) > 1:
            raise SettingError(f"columns is '{columns}': '{role}' stands there twice")
        if role in ("source", "target") and role not in roles:
            raise SettingError(f"columns is '{columns}': no '{role}' in it")
    if not any(named):
        return tuple(roles)
    return {role: name for role, (_, _, name) in zip(roles, pairs, strict=True)}


def _by_names(roles: list[str], named: list[bool]) -> str:
    """How to give names of columns, where they stand in place of roles; else ""."""
    if any(named) or len(roles) < 2 or any(role in ROLES for role in roles):
        return ""
    return f"; by names: source={roles[0]},target={roles[1]}"


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
