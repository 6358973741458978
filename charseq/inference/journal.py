"""answers -> a file beside the output, for the next attempt if this one is interrupted.

    with keeping("out.csv", identity, force=False) as journal:
        for answer in journal.replay(): ...     what an attempt before this one has computed
        journal.add(answers)                    what is computed now

Answers are kept, not output: whoever goes on writes the whole output from its beginning, from the
same rows and the same answers, so it is the same to the last byte in every format. Answers are
appended in the order of the rows, a line for a piece, each with its checksum; a line that a kill
cut short is dropped. ``identity`` names all that the answers and their order depend on; where it
differs the journal is refused. It is gone when the conversion is complete.

A kill loses the piece in hand, a power cut a second or two. One process at a time holds a journal;
the system frees it if that is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from charseq.errors import DataError, UsageError

SYNC_SECONDS = 1.0
LARGEST_LINE = 2**30
_CRC = 9
"""Bytes of a line's checksum, with the space after it."""


@dataclass(frozen=True)
class JournalEntry:
    """One answer, as far as a conversion needs it; it is a candidate of itself as well."""

    texts: tuple[str, ...]
    """The n best, the best first."""
    unknown: tuple[str, ...]
    truncated: bool
    origin: str

    @property
    def prediction(self) -> str:
        """The best output."""
        return self.texts[0]


class Journal:
    """The answers of earlier attempts, to be read once, and a place for those of this one."""

    def __init__(self, file: BinaryIO, part: Path, *, start: int, end: int, answers: int) -> None:
        self.part = part
        """Where the output may be written until it is complete."""
        self.answers = answers
        """So many are there from earlier attempts."""
        self._file = file
        self._start = start
        self._end = end
        self._synced = time.monotonic()

    def replay(self) -> Iterator[JournalEntry]:
        """The answers of earlier attempts, in order; all of them before :meth:`add`."""
        place = self._start
        while place < self._end:
            self._file.seek(place)
            line = self._file.readline()
            place += len(line)
            yield from (
                JournalEntry(tuple(t), tuple(u), bool(c), o) for t, u, c, o in _decode(line) or ()
            )

    def add(self, answers: Sequence[JournalEntry]) -> None:
        """Keep the next answers; they are safe from a kill when this returns."""
        listed = [[one.texts, one.unknown, one.truncated, one.origin] for one in answers]
        self._file.seek(0, os.SEEK_END)
        self._file.write(_encode(listed))
        self._file.flush()
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()


@contextlib.contextmanager
def open_journal(out: Path, identity: Mapping[str, Any], *, force: bool) -> Iterator[Journal]:
    """The journal of the output ``out``; gone if the block ends well, or in a DataError.

    Whatever else ends the block leaves it, and the next attempt goes on.

    Raises:
        UsageError: it is of another conversion, and ``force`` is false; or another process is
            converting to the same output.
        DataError: it cannot be written.
    """
    path = _beside(out, "journal")
    try:
        file = _hold(path, out)
    except OSError as fault:
        raise DataError(f"cannot be written: {fault.strerror or fault}", path=out) from None
    with file:
        journal = _open(file, out, dict(identity), force=force)
        try:
            yield journal
        except DataError:  # the input has to change, so nothing of it can be used
            path.unlink(missing_ok=True)
            raise
        path.unlink(missing_ok=True)


def fingerprint(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(out: Path, ending: str) -> Path:
    """A hidden name that is as long as any, whatever the output is called."""
    name = hashlib.sha256(os.fsencode(out.name)).hexdigest()[:16]
    return out.with_name(f".charseq-{name}.{ending}")


def _hold(path: Path, out: Path) -> BinaryIO:
    """The journal's file, locked."""
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        file = os.fdopen(number, "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(number), path.stat()):
                return file
        except BlockingIOError:
            file.close()
            raise UsageError(f"{out} is being written by another process") from None
        file.close()  # it was finished and taken away meanwhile


def _open(file: BinaryIO, out: Path, identity: dict[str, Any], *, force: bool) -> Journal:
    """What is there, if it is of this conversion; else an empty journal."""
    part = _beside(out, "part")
    before = _decode(file.readline(LARGEST_LINE))
    if isinstance(before, dict) and before != identity and not force:
        changed = [name for name in identity if before.get(name) != identity[name]]
        raise UsageError(
            f"{out}: a conversion of it was interrupted, and since then {' and '.join(changed)} "
            "changed: --force begins anew"
        )
    if before != identity:
        file.seek(0)
        file.truncate()
        file.write(_encode(identity))
        file.flush()
    start = end = file.tell()
    answers = 0
    while (found := _decode(file.readline(LARGEST_LINE))) is not None:
        answers += len(found)
        end = file.tell()
    file.truncate(end)
    return Journal(file, part, start=start, end=end, answers=answers)


def _encode(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _decode(line: bytes) -> Any:
    """What a whole line holds; None for one that was cut short or damaged."""
    text = line[_CRC:-1]
    if not line.endswith(b"\n") or line[:_CRC] != b"%08x " % zlib.crc32(text):
        return None
    return json.loads(text.decode("utf-8", "surrogatepass"))


SECONDS = 1.0
"""Of work that a kill may cost, once the pace is known."""


class Candidate(Protocol):
    """One of the best outputs."""

    @property
    def prediction(self) -> str:
        """The output text."""


class Outcome(Protocol):
    """What a model says of one text; ``candidates`` are the n best, the prediction first."""

    @property
    def prediction(self) -> str:
        """The best output."""

    @property
    def unknown(self) -> Sequence[str]:
        """The symbols of the text that the model has never seen, each once."""

    @property
    def truncated(self) -> bool:
        """Whether the output was cut at the longest length allowed."""

    @property
    def candidates(self) -> Sequence[Candidate]:
        """The n best outputs, best first."""

    @property
    def origin(self) -> str:
        """Where the best output comes from: the model, or the user's lexicon."""

    def reaching(self, mass: float) -> Outcome:
        """The same with as many candidates as have so much probability together."""


def answers(
    texts: list[str],
    *,
    ask: Callable[[Sequence[str]], Sequence[Outcome]],
    n: int,
    mass: float | None,
    batch_size: int,
    kept: Iterator[JournalEntry],
    journal: Journal | None,
) -> dict[str, JournalEntry]:
    """The answer to each text: those ``kept`` first, the others asked for, and kept in turn.

    With a journal they are asked for in pieces, in the order of their length, so that a piece
    costs no more than its share; each is as large as takes a second.
    """
    size = len(texts)
    if journal is not None:
        texts, size = sorted(texts, key=len), batch_size
    found = list(islice(kept, len(texts)))
    while len(found) < len(texts):
        piece, began = texts[len(found) : len(found) + size], time.monotonic()
        outcomes = ask(piece)
        if mass is not None:
            outcomes = [outcome.reaching(mass) for outcome in outcomes]
        told = [_kept(outcome, n) for _, outcome in zip(piece, outcomes, strict=True)]
        if journal is not None:
            journal.add(told)
        found += told
        if time.monotonic() - began < SECONDS / 2:
            size *= 2
    return dict(zip(texts, found, strict=True))


def _kept(outcome: Outcome, n: int) -> JournalEntry:
    others = (other.prediction for other in outcome.candidates[1:n])
    texts = (outcome.prediction, *others)
    return JournalEntry(texts, tuple(outcome.unknown), outcome.truncated, outcome.origin)
