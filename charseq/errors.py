"""Errors of charseq: one tree, one sentence each.

    CharseqError                    exit 1: a fault that the user can correct
    ├── UsageError                  exit 2: the arguments of a command or function are wrong
    │   ├── SettingError            a setting is unknown, of the wrong type or out of its limits
    │   └── ArgumentError           an argument of a function is unknown or of the wrong type
    ├── DataError                   a file of rows cannot be read (path, line)
    │   └── AccessError             the system refuses to read or write it; its rows are no fault
    ├── CheckpointError             a run folder is missing, damaged, foreign or in use (path)
    │   └── NewerVersionError       a newer charseq wrote the run, and this one cannot read it
    ├── MissingExtraError           a package that this needs is not installed
    ├── TrainingError               the training cannot continue
    └── Interrupted                 a signal stopped the training (exit 129, 130, 143); it is saved

Inner code names the fault, the caller that knows the file and the line adds them, and the command
line prints the sentence. A message names arguments and settings by :func:`argument`, so that
callers of Python read ``force=True`` and users of the command line ``--force``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

OPENING, CLOSING = "\ufdd0", "\ufdd1"
"""Around an argument in a message: noncharacters of Unicode, which are in no text."""
_ARGUMENT = re.compile(f"{OPENING}([^{OPENING}{CLOSING}]*){CLOSING}")

Show = Callable[[str, Any], str]
"""Name and value of an argument -> how a message shows it; the value is None where none is told."""


def argument(name: str, value: bool | float | str | None = None) -> str:
    """An argument or setting, perhaps with a value for it, marked in the message of an error."""
    return f"{OPENING}{json.dumps([name, value])}{CLOSING}"


def as_keyword(name: str, value: Any) -> str:
    """An argument as callers of Python write it, such as ``force=True``."""
    return name if value is None else f"{name}={value!r}"


def with_arguments(message: str, show: Show) -> str:
    """A message with each marked argument as ``show`` writes it."""

    def written(found: re.Match[str]) -> str:
        try:
            name, value = json.loads(found[1])
            return show(name, value)
        except (ValueError, TypeError):  # no mark of ours, but a text with these characters
            return found[0]

    return _ARGUMENT.sub(written, message)


def reduced(fault: BaseException) -> tuple[Any, ...]:
    """The ``__reduce__`` of errors whose ``__init__`` makes its message: pickle keeps all facts."""
    return _restored, (type(fault), fault.args, fault.__dict__)


def _restored(kind: type[BaseException], args: tuple[Any, ...], facts: dict[str, Any]) -> Any:
    """An error with these arguments and attributes, made without the ``__init__`` of its class."""
    fault = kind.__new__(kind)
    builtin: Any = next(one for one in kind.__mro__ if one.__module__ == "builtins")
    builtin.__init__(fault, *args)
    fault.__dict__.update(facts)
    return fault


class CharseqError(Exception):
    """Any fault that the user can correct; its text is one line that says what to do."""

    exit_code = 1

    __reduce__ = reduced

    @property
    def marked(self) -> str:
        """The message with its arguments marked, for an error that has it as a part."""
        return super().__str__()

    def told(self, show: Show = as_keyword) -> str:
        """The message with each argument as ``show`` writes it; ``str`` shows them as in Python."""
        return with_arguments(self.marked, show)

    def __str__(self) -> str:
        return self.told()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class UsageError(CharseqError):
    """The arguments of a command or function are wrong, whatever the files contain."""

    exit_code = 2


class SettingError(UsageError):
    """A setting is unknown, of the wrong type, or out of its limits."""


class ArgumentError(UsageError, TypeError):
    """An argument of a function is unknown, missing, or of the wrong type."""


class DataError(CharseqError):
    """A file of rows cannot be read as the settings or options say.

    The caller that knows ``path`` and ``line`` (from 1) may add them later with :meth:`at`.
    """

    def __init__(
        self, message: str, *, path: str | Path | None = None, line: int | None = None
    ) -> None:
        super().__init__(message)
        self.path = path
        self.line = line

    @property
    def message(self) -> str:
        """The message without path and line."""
        return with_arguments(self.args[0], as_keyword)

    def at(self, path: str | Path, line: int | None = None) -> DataError:
        """The same fault with a path and a line, where it has none yet."""
        return type(self)(
            self.args[0],
            path=path if self.path is None else self.path,
            line=line if self.line is None else self.line,
        )

    @property
    def marked(self) -> str:
        """``path:line: message``, as far as they are known, with arguments marked."""
        place = "".join(f"{part}:" for part in (self.path, self.line) if part is not None)
        return f"{place} {self.args[0]}" if place else str(self.args[0])


class AccessError(DataError):
    """The system refuses to read or write a file: no space left, too many open files, no rights.

    The rows of the file are no fault, so the same call may succeed later.
    """


class CheckpointError(CharseqError):
    """A run folder is missing, damaged, of another format, or in use by another process."""

    def __init__(self, message: str, *, path: str | Path | None = None) -> None:
        super().__init__(message if path is None else f"{path}: {message}")
        self.path = path


class NewerVersionError(CheckpointError):
    """A newer charseq wrote the run, and this one cannot read it: it is not damaged."""


class MissingExtraError(CharseqError):
    """A package is needed and not installed, one of an extra or of charseq's own requirements."""

    def __init__(self, package: str, purpose: str) -> None:
        """``package``: its name on the index of packages; ``purpose``: needed for it."""
        super().__init__(f"{purpose} needs {package}: pip install {requirement(package)}")


def requirement(package: str) -> str:
    """A package with the versions that charseq asks for, as the shell takes it for ``pip``.

    They are those of charseq's own metadata (PEP 508), with and without its extras; the bare name
    where these name no such package.
    """
    import shlex
    from importlib.metadata import PackageNotFoundError, requires

    try:
        asked = requires("charseq") or []
    except PackageNotFoundError:  # charseq is not installed: it runs where it was unpacked
        asked = []
    for line in asked:
        found = re.match(r"([\w.-]+)(\[[^\]]*\])?([^;]*)", line)
        if found and re.sub(r"[-_.]+", "-", found[1]).lower() == package.replace("_", "-").lower():
            return shlex.quote(f"{found[1]}{found[2] or ''}{found[3].replace(' ', '')}")
    return package


def require(package: str, purpose: str) -> None:
    """Raise MissingExtraError where a package cannot be imported; it is not imported here."""
    try:
        is_there = find_spec(package) is not None
    except (ImportError, ValueError):  # an import hook refuses it, or it is set to None
        is_there = False
    if not is_there:
        raise MissingExtraError(package, purpose)


class TrainingError(CharseqError):
    """The training cannot continue, for example because the loss stays non-finite."""


class Interrupted(CharseqError):
    """A signal stopped the training; its state is saved, and the same call continues it."""

    def __init__(self, message: str, *, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Terminated(BaseException):
    """SIGTERM or SIGHUP as an exception: to a command what KeyboardInterrupt is for SIGINT."""

    __reduce__ = reduced

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.exit_code = 128 + signal_number
