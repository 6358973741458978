"""fault -> one sentence: the tree of what can go wrong.

    CharseqError                    exit 1: anything a user can meet and mend
    ├── UsageError                  exit 2: the command line itself is wrong
    │   └── SettingError            a setting is unknown, of the wrong type or out of its limits
    ├── DataError                   a file of rows cannot be read as asked (path, line)
    ├── CheckpointError             a run folder is missing, damaged, foreign or in use (path)
    ├── MissingExtraError           an optional package is not installed
    ├── TrainingError               training cannot go on
    └── Interrupted                 a signal asked to stop (exit 130 or 143); the state is saved

Inner code names the fault; whoever knows the file and the line adds them; the command line
prints the one sentence. Nothing here knows how it is printed.
"""

from __future__ import annotations

from pathlib import Path


class CharseqError(Exception):
    """A fault in the user's world, told in one line that says what to do."""

    exit_code = 1


class UsageError(CharseqError):
    """The words of the command do not fit together, whatever the files hold."""

    exit_code = 2


class SettingError(UsageError):
    """A setting is unknown, of the wrong type, or out of its limits."""


class DataError(CharseqError):
    """A file of rows cannot be read as asked.

    ``path`` and ``line`` (counted from 1) may be added later, by the caller that knows them,
    with :meth:`at`.
    """

    def __init__(
        self, message: str, *, path: str | Path | None = None, line: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.line = line

    def at(self, path: str | Path, line: int | None = None) -> DataError:
        """The same fault with its place, where it has none yet."""
        return DataError(
            self.message,
            path=path if self.path is None else self.path,
            line=line if self.line is None else self.line,
        )

    def __str__(self) -> str:
        """``path:line: message``, as far as they are known."""
        place = "".join(f"{part}:" for part in (self.path, self.line) if part is not None)
        return f"{place} {self.message}" if place else self.message


class CheckpointError(CharseqError):
    """A run folder is missing, damaged, of another format, or in use by another process."""

    def __init__(self, message: str, *, path: str | Path | None = None) -> None:
        super().__init__(message if path is None else f"{path}: {message}")
        self.path = path


class MissingExtraError(CharseqError):
    """An optional package is needed for what was asked."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'charseq[{extra}]'")


class TrainingError(CharseqError):
    """Training cannot go on, for example because the loss stays non-finite."""


class Interrupted(CharseqError):
    """A signal asked to stop; what was learnt so far is on disk."""

    def __init__(self, message: str, *, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
