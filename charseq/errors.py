"""Errors of charseq: one tree, one sentence each.

    CharseqError                    exit 1: a fault that the user can correct
    ├── UsageError                  exit 2: the arguments of a command or function are wrong
    │   └── SettingError            a setting is unknown, of the wrong type or out of its limits
    ├── DataError                   a file of rows cannot be read (path, line)
    │   └── AccessError             the system refuses to read or write it; its rows are no fault
    ├── CheckpointError             a run folder is missing, damaged, foreign or in use (path)
    │   └── NewerVersionError       a newer charseq wrote the run, and this one cannot read it
    ├── MissingExtraError           a package that this needs is not installed
    ├── TrainingError               the training cannot continue
    └── Interrupted                 a signal stopped the training (exit 129, 130, 143); it is saved

Inner code names the fault, the caller that knows the file and the line adds them, and the command
line prints the sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any


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

    def reword(self, words: Callable[[str], str]) -> None:
        """Pass the message through ``words``, in place; path and line stay."""
        self.args = tuple(words(part) if isinstance(part, str) else part for part in self.args)


class UsageError(CharseqError):
    """The arguments of a command or function are wrong, whatever the files contain."""

    exit_code = 2


class SettingError(UsageError):
    """A setting is unknown, of the wrong type, or out of its limits."""


class DataError(CharseqError):
    """A file of rows cannot be read as the settings or options say.

    The caller that knows ``path`` and ``line`` (from 1) may add them later with :meth:`at`.
    """

    def __init__(
        self, message: str, *, path: str | Path | None = None, line: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.line = line

    def at(self, path: str | Path, line: int | None = None) -> DataError:
        """The same fault with a path and a line, where it has none yet."""
        return type(self)(
            self.message,
            path=path if self.path is None else self.path,
            line=line if self.line is None else self.line,
        )

    def reword(self, words: Callable[[str], str]) -> None:
        """Pass the message through ``words``, in place; path and line stay."""
        super().reword(words)
        self.message = words(self.message)

    def __str__(self) -> str:
        """``path:line: message``, as far as they are known."""
        place = "".join(f"{part}:" for part in (self.path, self.line) if part is not None)
        return f"{place} {self.message}" if place else self.message


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
    """A package is needed and not installed. ``extra``: the one of charseq with it, or ""."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        wanted = f"'.[{extra}]'" if extra else package
        super().__init__(f"{purpose} needs {package}: pip install {wanted}")


def require(package: str, purpose: str, extra: str = "") -> None:
    """Raise MissingExtraError where a package cannot be imported; it is not imported here."""
    try:
        is_there = find_spec(package) is not None
    except (ImportError, ValueError):  # an import hook refuses it, or it is set to None
        is_there = False
    if not is_there:
        raise MissingExtraError(package, extra, purpose)


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
