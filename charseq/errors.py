"""Errors of charseq: one tree, one sentence each.

    CharseqError                    exit 1: a fault that the user can correct
    ├── UsageError                  exit 2: the arguments of a command or function are wrong
    │   └── SettingError            a setting is unknown, of the wrong type or out of its limits
    ├── DataError                   a file of rows cannot be read (path, line)
    │   └── AccessError             the system refuses to read or write it; its rows are no fault
    ├── CheckpointError             a run folder is missing, damaged, foreign or in use (path)
    │   └── NewerVersionError       a newer charseq wrote the run, and this one cannot read it
    ├── MissingExtraError           an optional package is not installed
    ├── TrainingError               the training cannot continue
    └── Interrupted                 a signal stopped the training (exit 129, 130, 143); it is saved

Inner code names the fault, the caller that knows the file and the line adds them, and the command
line prints the sentence.
"""

from __future__ import annotations

from pathlib import Path


class CharseqError(Exception):
    """Any fault that the user can correct; its text is one line that says what to do."""

    exit_code = 1


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
    """An optional package is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'charseq[{extra}]'")


class TrainingError(CharseqError):
    """The training cannot continue, for example because the loss stays non-finite."""


class Interrupted(CharseqError):
    """A signal stopped the training; its state is saved, and the same call continues it."""

    def __init__(self, message: str, *, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Terminated(BaseException):
    """SIGTERM or SIGHUP as an exception: to a command what KeyboardInterrupt is for SIGINT."""

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.exit_code = 128 + signal_number
