"""answers -> a journal beside the output, from which an interrupted conversion is resumed.

    with open_journal(Path("out.csv"), identity, force=False) as journal:
        for entry in journal.replay(): ...     the answers of earlier attempts
        journal.add(entries)                   the answers of this attempt

The journal holds answers, not output. A resumed conversion writes the whole output from its
beginning, from the same rows and the same answers, so the output is the same to the last byte in
every format. Entries are appended in the order of the rows, a line for a chunk of them; a line that
a kill cut short is dropped. ``identity`` names everything that the answers and their order depend
on; a journal with another identity is refused. The journal is deleted when the conversion is
complete, or when faults of the rows have ended it: then the input has to change.

Each line is signed with a key of the user (see ``charseq.state``), together with all lines before
it. So lines cannot be forged, moved or put in another order by somebody who can write beside the
output. A journal that is not signed by this user, and this version of the format, is replaced, and
the conversion begins anew. Where no key can be kept, a key of this process alone signs.

The last line notes the files that are about to get their names. If a kill comes between two
renames, the next attempt may overwrite them.

A kill loses the chunk that is being computed, a power cut a second or two. One process holds it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charseq import files, state
from charseq.errors import AccessError, DataError, UsageError, argument
from charseq.inference.prediction import ORIGINS

SYNC_SECONDS = 1.0
MAX_LINE_BYTES = 2**25
"""Bytes of a line, at most; a longer one was not written here."""
MAX_ENTRY_LETTERS = 2**21
"""Letters of JSON in a line, at most; a letter takes up to 4 bytes."""
SIGNATURE_LETTERS = 32
"""Hexadecimal digits of a line's signature: the first 16 bytes of an HMAC-SHA256."""
MAX_REPLACED = 3
"""Files that are replaced in a row; more than one means that somebody else makes them."""
NOT_YOURS = (
    "its journal is not one that you have written with this version: the conversion begins anew"
)


@dataclass(frozen=True)
class JournalEntry:
    """The part of a prediction that a conversion writes."""

    texts: tuple[str, ...]
    """The outputs, best first; none where a rule allows no output that was found."""
    unknown: tuple[str, ...]
    truncated: bool
    origin: str
    probabilities: tuple[float, ...] = ()
    """Of the outputs, where the conversion needs them."""


class Journal:
    """The answers of earlier attempts, to be read once, and a file for those of this attempt."""

    def __init__(self, handle: int, key: bytes, n: int) -> None:
        """A journal in the locked file ``handle``.

        Args:
            handle: a descriptor, which is closed by :meth:`close`.
            key: the key of the signatures.
            n: outputs of an answer, at most.
        """
        self.answers = 0
        """The number of answers from earlier attempts."""
        self.is_empty = True
        """Whether it holds nothing, of this attempt or earlier ones, that a later one could use."""
        self._file = os.fdopen(handle, "rb")
        self._chain = _Chain(key)
        self._n = n
        self._end = 0
        self._published: dict[str, list[int]] = {}
        self._synced = time.monotonic()
        self._is_full = False

    def close(self) -> None:
        """Close the file, which frees its lock."""
        self._file.close()

    def begin(self, identity: Mapping[str, Any]) -> bool:
        """Write the first line, if this is a new file; whether it is."""
        if not self._is_ours() or os.fstat(self._file.fileno()).st_size:
            return False
        os.fchmod(self._file.fileno(), 0o600)  # the answers may be as private as the input
        self._append_text(_json(identity))
        self._start, self._chain_at_start = self._end, self._chain
        return True

    def resume(self, identity: Mapping[str, Any], *, force: bool) -> str | None:
        """Find the answers of earlier attempts, and cut off what was written after them.

        Returns:
            None, or the reason why none can be used; "" if the reason is ``force``.

        Raises:
            UsageError: they are of another conversion, and ``force`` is false.
        """
        before = self._chain.verify(self._file.readline(MAX_LINE_BYTES)) if self._is_ours() else 0
        if not isinstance(before, dict):
            return NOT_YOURS
        if before != identity:
            if force:
                return ""
            changed = [name for name in identity if before.get(name) != identity[name]]
            raise UsageError(
                f"a conversion of it was interrupted, and since then {' and '.join(changed)} "
                f"changed: {argument('force', True)} begins anew"
            )
        self._start = self._end = self._file.tell()
        self._chain_at_start = self._chain
        while self._read_line(chain := self._chain.copy()):
            self._chain, self._end = chain, self._file.tell()
        os.ftruncate(self._file.fileno(), self._end)
        self.is_empty = not (self.answers or self._published)
        return None

    def _read_line(self, chain: _Chain) -> bool:
        """Count the answers of the next line; False if there is none, or it is not sound."""
        value = chain.verify(self._file.readline(MAX_LINE_BYTES))
        published = _published(value)
        if published is not None:
            self._published = published
            return True
        entries = _entries(value, self._n)
        self.answers += len(entries or ())
        return entries is not None

    def _is_ours(self) -> bool:
        """Whether the file is plain, belongs to the user, and has no other name."""
        facts = os.fstat(self._file.fileno())
        is_plain = stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1
        return is_plain and facts.st_uid == os.geteuid()

    def replay(self) -> Iterator[JournalEntry]:
        """The answers of earlier attempts, in order; all of them before :meth:`add`.

        Raises:
            AccessError: the file has changed since it was opened.
        """
        chain, offset, end = self._chain_at_start.copy(), self._start, self._end
        while offset < end:
            self._file.seek(offset)
            line = self._file.readline(MAX_LINE_BYTES)
            value = chain.verify(line)
            if value is None:
                raise AccessError("the journal of this conversion was changed while it was read")
            offset += len(line)
            yield from _entries(value, self._n) or ()

    def add(self, entries: Sequence[JournalEntry]) -> None:
        """Append the next answers; a kill cannot lose them when this returns.

        After answers that take more than a line may have, no more are kept: the next attempt
        computes these again.
        """
        listed: list[str] = []
        size = 0
        for one in entries:
            text = _json(list(vars(one).values()))
            self._is_full = self._is_full or len(text) > MAX_ENTRY_LETTERS
            if self._is_full:
                break
            if size + len(text) > MAX_ENTRY_LETTERS:
                self._append_entries(listed)
                listed, size = [], 0
            listed.append(text)
            size += len(text)
        self._append_entries(listed)
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def publishing(self, parts: Mapping[Path, Path]) -> None:
        """Note that the files ``parts`` are complete and about to get their names, the keys.

        An attempt after a kill between two renames may then overwrite them (:meth:`made`).
        """
        self._published = {os.path.realpath(name): _marks(part) for name, part in parts.items()}
        self._append_text(_json({"published": self._published}))
        self.is_empty = False
        os.fsync(self._file.fileno())

    def made(self, path: Path) -> bool:
        """Whether ``path`` is a file that an earlier attempt has published, unchanged since."""
        try:
            return self._published.get(os.path.realpath(path)) == _marks(path)
        except OSError:
            return False

    def _append_entries(self, listed: list[str]) -> None:
        if listed:
            self.is_empty = False
            self._append_text("[" + ", ".join(listed) + "]")

    def _append_text(self, text: str) -> None:
        """Append a line. If that fails, what it wrote is overwritten by the next one."""
        chain = self._chain.copy()
        line = chain.sign(text.encode("utf-8", "surrogatepass"))
        written = 0
        while written < len(line):
            written += os.pwrite(self._file.fileno(), line[written:], self._end + written)
        self._end += len(line)
        self._chain = chain


@contextlib.contextmanager
def open_journal(
    out: Path,
    identity: Mapping[str, Any],
    *,
    force: bool,
    n: int = 1,
    report: Callable[[str], None] = lambda _: None,
) -> Iterator[Journal | None]:
    """The journal of the output ``out``; deleted if the block ends well or by faults of the rows.

    A block that ends otherwise leaves the answers, and the next attempt resumes from them. A
    journal that cannot be trusted is replaced; where something else has its name there is none.

    Args:
        out: the output.
        identity: everything that the answers and their order depend on.
        force: whether to begin anew where the journal has another identity.
        n: outputs of an answer, at most.
        report: gets a line about a journal that is replaced or cannot be kept.

    Raises:
        UsageError: it is of another conversion, and ``force`` is false; or another process is
            converting to the same output.
        AccessError: it cannot be written, or its name is a link.
    """
    path = journal_path(out)
    named: dict[str, Any] = json.loads(_json(dict(identity)))  # tuples are lists there

    def tell(text: str) -> None:
        report(f"{out}: {text}")

    try:
        try:
            journal = _claim(path, named, n=n, force=force, tell=tell)
        except PermissionError:
            if not os.path.lexists(path):
                raise
            journal = None  # another user's
    except files.BusyError:
        raise UsageError(f"{out} is being written by another process") from None
    except UsageError as fault:
        raise UsageError(f"{out}: {fault.marked}") from None
    except OSError as fault:
        raise AccessError(f"cannot be written: {fault.strerror or fault}", path=out) from None
    if journal is None:
        tell(f"'{path.name}' is no journal of yours: an interrupted conversion will begin anew")
        yield None
        return
    with contextlib.closing(journal):
        try:
            yield journal
        except BaseException as fault:
            is_of_rows = isinstance(fault, DataError) and not isinstance(fault, AccessError)
            if is_of_rows or (isinstance(fault, Exception) and journal.is_empty):
                path.unlink(missing_ok=True)  # no answer of it can be used, or there is none
            raise
        path.unlink(missing_ok=True)


def journal_path(out: Path) -> Path:
    """The journal of an output, a hidden file beside it."""
    return files.hidden_path(out, "journal")


def fingerprint(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _claim(
    path: Path,
    identity: dict[str, Any],
    *,
    n: int,
    force: bool,
    tell: Callable[[str], None],
) -> Journal | None:
    """The locked journal of this conversion; None where something else has its name.

    Raises:
        UsageError: it is of another conversion (see :func:`open_journal`).
    """
    try:
        key, lasting = state.user_key("journal"), True
    except OSError as fault:
        key, lasting = state.process_key(), False
        tell(f"{fault.strerror or fault}: an interrupted conversion will begin anew")
    for _ in range(MAX_REPLACED):
        files.refuse_link(path)
        if os.path.lexists(path) and not path.is_file():
            return None
        try:
            journal, is_new = Journal(files.lock(path, flags=os.O_NONBLOCK), key, n), True
        except files.HardLinkError:
            path.unlink()
            tell(NOT_YOURS)
            continue
        try:
            if journal.begin(identity):
                return journal
            is_new = False
            reason = journal.resume(identity, force=force)
            if reason is None:
                return journal
            path.unlink()
        except BaseException:
            if is_new:
                path.unlink(missing_ok=True)
            journal.close()
            raise
        journal.close()
        if reason and lasting:
            tell(reason)
    raise OSError(errno.EBUSY, "another program writes its journal")


class _Chain:
    """Signatures of lines, each of which covers the lines before it as well.

    A line is its signature in hexadecimal digits, a space, JSON, and a line end.
    """

    def __init__(self, key: bytes, last: bytes = b"charseq journal 3\n") -> None:
        self._key = key
        self._last = last

    def copy(self) -> _Chain:
        return _Chain(self._key, self._last)

    def sign(self, text: bytes) -> bytes:
        """The next line."""
        self._last = self._signature(text)
        return self._last.hex().encode() + b" " + text + b"\n"

    def verify(self, line: bytes) -> Any:
        """The value of the next line; None for one that is cut short or not signed."""
        text = line[SIGNATURE_LETTERS + 1 : -1]
        signature = self._signature(text)
        if not hmac.compare_digest(
            line[: SIGNATURE_LETTERS + 1], signature.hex().encode() + b" "
        ) or not line.endswith(b"\n"):
            return None
        self._last = signature
        try:
            return json.loads(text.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError):
            return None

    def _signature(self, text: bytes) -> bytes:
        whole = hmac.digest(self._key, self._last + text, "sha256")
        return whole[: SIGNATURE_LETTERS // 2]


def _entries(value: Any, n: int) -> list[JournalEntry] | None:
    """The answers of a line, of up to ``n`` texts each; None where it holds anything else."""
    if not isinstance(value, list):
        return None
    found = []
    for one in value:
        match one:
            case [list(texts), list(unknown), bool(cut), str(origin), list(numbers)] if (
                len(texts) <= n
                and origin in ORIGINS
                and all(isinstance(text, str) for text in [*texts, *unknown])
                and len(numbers) in (0, len(texts))
                and all(isinstance(one, float) and 0 <= one <= 1 for one in numbers)
            ):
                found.append(
                    JournalEntry(tuple(texts), tuple(unknown), cut, origin, tuple(numbers))
                )
            case _:
                return None
    return found


def _published(value: Any) -> dict[str, list[int]] | None:
    """The marks of published files in a line; None where it holds anything else."""
    match value:
        case {"published": dict(marks), **rest} if not rest:
            return marks
    return None


def _marks(path: Path) -> list[int]:
    """Facts of a file that renaming keeps and that no other file has."""
    facts = path.lstat()
    return [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
