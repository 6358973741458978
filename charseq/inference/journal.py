"""answers -> a journal beside the output, from which an interrupted conversion is resumed.

    with open_journal(Path("out.csv"), identity, force=False) as journal:
        for entry in journal.replay(): ...     the answers of earlier attempts
        journal.add(entries)                   the answers of this attempt

The journal holds answers, not output. A resumed conversion writes the whole output from its
beginning, from the same rows and the same answers, so the output is the same to the last byte in
every format. Entries are appended in the order of the rows, a line for a chunk of them, each line
with its checksum; a line that a kill cut short is dropped. ``identity`` names everything that the
answers and their order depend on; a journal with another identity is refused. The journal is
deleted when the conversion is complete.

A kill loses the chunk that is being computed, a power cut a second or two. One process at a time
holds a journal; the system frees it if that process is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from charseq import files
from charseq.errors import DataError, UsageError
from charseq.inference.prediction import Prediction

SYNC_SECONDS = 1.0
CHUNK_SECONDS = 1.0
"""Seconds of computing that a kill may cost, once the pace is known."""
MAX_LINE_BYTES = 2**30
_CHECKSUM_BYTES = 9
"""Bytes of a line's checksum, with the space after it."""


@dataclass(frozen=True)
class JournalEntry:
    """The part of a prediction that a conversion writes."""

    texts: tuple[str, ...]
    """The outputs, best first."""
    unknown: tuple[str, ...]
    truncated: bool
    origin: str


class Journal:
    """The answers of earlier attempts, to be read once, and a file for those of this attempt."""

    def __init__(self, file: BinaryIO, part: Path, *, start: int, end: int, answers: int) -> None:
        self.part = part
        """The file that holds the output until it is complete."""
        self.answers = answers
        """The number of answers from earlier attempts."""
        self._file = file
        self._start = start
        self._end = end
        self._synced = time.monotonic()

    def replay(self) -> Iterator[JournalEntry]:
        """The answers of earlier attempts, in order; all of them before :meth:`add`."""
        offset = self._start
        while offset < self._end:
            self._file.seek(offset)
            line = self._file.readline()
            offset += len(line)
            for texts, unknown, truncated, origin in _decode(line) or ():
                yield JournalEntry(tuple(texts), tuple(unknown), bool(truncated), origin)

    def add(self, entries: Sequence[JournalEntry]) -> None:
        """Append the next answers; a kill cannot lose them when this returns."""
        listed = [[one.texts, one.unknown, one.truncated, one.origin] for one in entries]
        self._file.seek(0, os.SEEK_END)
        self._file.write(_encode(listed))
        self._file.flush()
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            files.sync(self._file)
            self._synced = time.monotonic()


@contextlib.contextmanager
def open_journal(out: Path, identity: Mapping[str, Any], *, force: bool) -> Iterator[Journal]:
    """The journal of the output ``out``; deleted if the block ends well or in a DataError.

    A block that ends otherwise leaves the journal, and the next attempt resumes from it.

    Raises:
        UsageError: it is of another conversion, and ``force`` is false; or another process is
            converting to the same output.
        DataError: it cannot be written.
    """
    path = _hidden_path(out, "journal")
    try:
        file = os.fdopen(files.lock(path, flags=os.O_NOFOLLOW), "r+b")
    except files.BusyError:
        raise UsageError(f"{out} is being written by another process") from None
    except OSError as fault:
        raise DataError(f"cannot be written: {fault.strerror or fault}", path=out) from None
    with file:
        journal = _open(file, out, dict(identity), force=force)
        try:
            yield journal
        except DataError:  # the input has to change, so none of the answers can be used
            path.unlink(missing_ok=True)
            raise
        path.unlink(missing_ok=True)


def fingerprint(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def predict_texts(
    texts: list[str],
    *,
    predict: Callable[[Sequence[str]], Sequence[Prediction]],
    n: int,
    mass: float | None,
    batch_size: int,
    kept: Iterator[JournalEntry],
    journal: Journal | None,
) -> dict[str, JournalEntry]:
    """The answer to each text: first those that were ``kept``, then new ones of the model.

    With a journal the texts are computed in chunks, sorted by length, and each chunk is added to
    the journal. A chunk is as large as takes about a second.

    Args:
        texts: different texts.
        predict: the model.
        n: outputs for each text, at most.
        mass: only as many outputs as have this probability together.
        batch_size: the size of the first chunk.
        kept: answers of earlier attempts; as many as there are texts are taken.
        journal: the journal for new answers, if there is one.
    """
    size = len(texts)
    if journal is not None:
        texts, size = sorted(texts, key=len), batch_size
    found = list(islice(kept, len(texts)))
    while len(found) < len(texts):
        chunk, began = texts[len(found) : len(found) + size], time.monotonic()
        predictions = predict(chunk)
        if mass is not None:
            predictions = [one.reaching(mass) for one in predictions]
        entries = [_entry(one, n) for _, one in zip(chunk, predictions, strict=True)]
        if journal is not None:
            journal.add(entries)
        found += entries
        if time.monotonic() - began < CHUNK_SECONDS / 2:
            size *= 2
    return dict(zip(texts, found, strict=True))


def _entry(found: Prediction, n: int) -> JournalEntry:
    others = (other.prediction for other in found.candidates[1:n])
    texts = (found.prediction, *others)
    return JournalEntry(texts, tuple(found.unknown), found.truncated, found.origin)


def _hidden_path(out: Path, ending: str) -> Path:
    """A hidden name beside ``out``, of the same length for every output."""
    name = hashlib.sha256(os.fsencode(out.name)).hexdigest()[:16]
    return out.with_name(f".charseq-{name}.{ending}")


def _open(file: BinaryIO, out: Path, identity: dict[str, Any], *, force: bool) -> Journal:
    """The journal in a locked file, if it is of this conversion; else an empty one."""
    part = _hidden_path(out, "part")
    before = _decode(file.readline(MAX_LINE_BYTES))
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
    while (entries := _decode(file.readline(MAX_LINE_BYTES))) is not None:
        answers += len(entries)
        end = file.tell()
    file.truncate(end)
    return Journal(file, part, start=start, end=end, answers=answers)


def _encode(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _decode(line: bytes) -> Any:
    """The value of a whole line; None for a line that was cut short or damaged."""
    text = line[_CHECKSUM_BYTES:-1]
    if not line.endswith(b"\n") or line[:_CHECKSUM_BYTES] != b"%08x " % zlib.crc32(text):
        return None
    return json.loads(text.decode("utf-8", "surrogatepass"))
