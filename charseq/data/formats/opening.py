"""path -> bytes -> numbered lines in UTF-8: packed files, encodings, line ends, binary files.

:class:`Source` opens a file once, so that a pipe can be read as well, and decides by its first
bytes (:data:`HEAD_BYTES`) in which encoding it is. A byte order mark decides first, then NUL bytes
at every second place (UTF-16). A file that is not UTF-8 is cp1252 where it has single letters of
Western Europe beside ASCII letters, and no sequence of UTF-8. Every choice but UTF-8 is among the
``notes``.

Lines come as UTF-8 whatever the encoding of the file. A byte or half a character that has no
meaning there comes as a surrogate, which no UTF-8 has: such a line is a faulty one, and
:func:`stored` turns it into the same bytes again. Only LF and CRLF end a line: U+2028, U+0085, VT,
FF and a lone CR are characters like others, and no white space is ever stripped.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import itertools
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

from charseq.errors import AccessError, DataError, UsageError
from charseq.files import standard_stream

HEAD_BYTES = 2**16
"""Bytes at the start of a file by which its encoding and its delimiter are found."""
SAMPLE_LINES = 1000
"""Lines by which a format is recognised, at most."""
MAX_LINE_BYTES = 16 * 2**20
BOM = b"\xef\xbb\xbf"
UTF8 = "utf-8"
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""Byte order marks; that of UTF-32 begins as that of UTF-16."""
WESTERN = "cp1252"
WESTERN_SIGNS = "«»‹›“”‘’„‚–—…°§£€·º¹²³½¼¿¡ªß\xa0"
"""Signs of cp1252 that stand in running text."""
PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
"""Endings of packed files, and how they are opened."""
UNREAD = (".zst",)
"""Endings of packed files that are known and not read."""

MAGIC = (
    (b"PK\x03\x04", "a workbook or another zip file: the format xlsx is Excel, ods OpenDocument"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (.xls): save it as .xlsx"),
    (b"PAR1", "a Parquet file: name it .parquet"),
    (b"ARROW1", "a Feather file: name it .feather"),
    (b"SQLite format 3\0", "a database of SQLite: name it .db"),
    (b"\x1f\x8b", "packed: name it .gz"),
    (b"\xfd7zXZ\0", "packed: name it .xz"),
    (b"BZh", "packed: name it .bz2"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd: unpack it first"),
    (b"%PDF-", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x7fELF", "a program"),
)  # fmt: skip
"""First bytes of files that are no text, and how such a file is called."""
CONTROLS = bytes(sorted({*range(32), 127} - {9, 10, 11, 12, 13, 27}))
MAX_CONTROLS = 0.1
"""Share of control characters in the first bytes; with more of them a file is no text."""
FEWEST_BYTES = 512
"""Bytes of a file, at least, of which control characters are counted."""

Lines = Iterator[tuple[int, bytes]]
"""Numbered lines (from 1) as UTF-8, each with its line end."""

_HIGH = re.compile(rb"[\x80-\xff]+")
_ASCII = re.compile(rb"[A-Za-z0-9]")
_LETTERS = re.compile(rb"[A-Za-z\x80-\xff]")
_SIGN_IN_WORD = re.compile(rb"[A-Za-z][\xa1-\xb6\xb8-\xb9\xbb-\xbf][A-Za-z]")
_LATIN = re.compile(rb"[A-Za-z][\x80-\xff]|[\x80-\xff][A-Za-z]")


class Source:
    """A file that is opened when its first bytes are asked for, and read once.

    ``path``: the file; "-" is stdin. ``shown``: the path for messages. ``encoding``: the name of
    the encoding, or "auto" to find it. ``delimiter``: of cells, or "auto"; for formats that have
    one. ``notes``: choices that people should know of.
    """

    def __init__(self, path: str, *, encoding: str = "auto", delimiter: str = "auto") -> None:
        """Raises UsageError for an unknown encoding."""
        self.path = path
        self.shown = "stdin" if path == "-" else path
        self.delimiter = delimiter
        self.notes: list[str] = []
        self._wanted = encoding if encoding == "auto" else find_codec(encoding)
        self._file: BinaryIO | None = None

    def close(self) -> None:
        """Close the file, unless it is stdin."""
        if self._file is not None and self._file is not getattr(sys.stdin, "buffer", None):
            self._file.close()

    @cached_property
    def head(self) -> bytes:
        """The first bytes, unpacked.

        Raises:
            DataError: the file cannot be read.
        """
        with reading(self.path):
            self._file = _open(self.path)
            head = self._file.read(HEAD_BYTES)
            if self.path != "-" and self._file.seekable():
                self._file.seek(0)
            else:
                rest = _Resumed(head, self._file, is_own=self.path != "-")
                self._file = cast(BinaryIO, io.BufferedReader(rest))
        return head

    @cached_property
    def encoding(self) -> str:
        """The encoding of the text: "utf-8", or another name of Python.

        Raises:
            DataError: the file cannot be read, or is no text.
        """
        head = self.head
        if self._wanted in ("utf-16", "utf-32"):
            return _by_marks(head) or f"{self._wanted}-le"
        if self._wanted != "auto":
            return self._wanted
        refuse_binary(head, self.shown)
        found = _by_marks(head)
        if not found and _is_western(self._evidence()):
            found = WESTERN
            self.notes.append(f"read as {WESTERN}, since it is not UTF-8 (encoding names another)")
        elif found:
            self.notes.append(f"read as {found.upper()}")
        return found or UTF8

    def _evidence(self) -> bytes:
        """The first bytes that are not all ASCII, as far as they can be found without unpacking."""
        file = cast(BinaryIO, self._file)
        block = self.head
        if self.path == "-" or packed_ending(self.path) or not file.seekable():
            return block
        while block and block.isascii():
            block = file.read(HEAD_BYTES)
        file.seek(0)
        return block

    @property
    def sample(self) -> str:
        """The first bytes as text, without a byte order mark, up to the last line end among them.

        Raises:
            DataError: as :attr:`encoding`; or the lines end in CR alone.
        """
        text = self.head.decode(self.encoding, "replace").removeprefix("\ufeff")
        if "\r" in text and "\n" not in text:
            message = "lines end in CR alone, as on old Macs, expected LF or CRLF: tr '\\r' '\\n'"
            raise DataError(f"{message} mends that", path=self.shown, line=1)
        return text if len(self.head) < HEAD_BYTES else text[: text.rfind("\n") + 1]

    @property
    def first_lines(self) -> Sequence[str]:
        """The lines of the sample that are not blank, without line ends, by which formats are told.

        Raises:
            DataError: as :attr:`sample`.
        """
        lines = self.sample.split("\n", SAMPLE_LINES)[:SAMPLE_LINES]
        return tuple(line.removesuffix("\r") for line in lines if line.strip())

    def lines(self) -> Lines:
        """Numbered lines in UTF-8, each with its line end.

        Raises:
            DataError: the file cannot be read, is packed and damaged, has a line without end, or
                its lines end in CR alone.
        """
        encoding, _ = self.encoding, self.sample
        del self.head  # else it is in memory to the end
        file = cast(BinaryIO, self._file)
        with reading(self.path), file:
            if encoding == UTF8 or is_ascii_based(encoding):
                for number, raw in _cut(file, self.shown):
                    yield number, raw if encoding == UTF8 else self._utf8(raw, encoding, number)
            else:
                yield from self._decoded(file, encoding)

    def _utf8(self, raw: bytes, encoding: str, line: int) -> bytes:
        """A line in UTF-8. Raises DataError where the same bytes could not be written again."""
        text = raw.decode(encoding, "surrogateescape")
        if text.encode(encoding, "surrogateescape") != raw:
            message = f"bytes that cannot be written again in {encoding}: convert it to UTF-8 first"
            raise DataError(message, path=self.shown, line=line)
        return text.encode("utf-8", "surrogatepass")

    def _decoded(self, file: BinaryIO, encoding: str) -> Lines:
        """Lines of an encoding whose line ends are not those of ASCII, such as UTF-16."""
        with io.TextIOWrapper(file, encoding, _errors(encoding), newline="\n") as texts:
            for number in itertools.count(1):
                try:
                    text = texts.readline(MAX_LINE_BYTES + 1)
                except UnicodeDecodeError as fault:
                    message = f"not {encoding.upper()}: {fault.reason}"
                    raise DataError(message, path=self.shown, line=number) from None
                if not text:
                    return
                if len(text) > MAX_LINE_BYTES:
                    raise _without_end(self.shown, number)
                yield number, text.encode("utf-8", "surrogatepass")


class _Resumed(io.RawIOBase):
    """A stream whose first bytes were read before."""

    def __init__(self, head: bytes, stream: BinaryIO, *, is_own: bool) -> None:
        """``is_own``: the stream is closed with this one."""
        self._head = memoryview(head)
        self._stream = stream
        self._is_own = is_own

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if self._is_own:
            self._stream.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), len(self._head))
        if not size:
            return cast(int, cast(Any, self._stream).readinto1(buffer))
        buffer[:size], self._head = self._head[:size], self._head[size:]
        return size


def stored(raw: bytes, encoding: str) -> bytes:
    """Lines in UTF-8, as :meth:`Source.lines` gives them, in the encoding of their file.

    Raises:
        UnicodeEncodeError: a character that the encoding does not have.
    """
    if encoding == UTF8:
        return raw
    return raw.decode("utf-8", "surrogatepass").encode(encoding, _errors(encoding))


def find_codec(name: str) -> str:
    """The name of an encoding as Python has it; "utf-16" is decided by the file's mark.

    Raises:
        UsageError: there is no such encoding of texts.
    """
    try:
        found = codecs.lookup(name).name
        "\n".encode(found)
    except (LookupError, ValueError, TypeError):
        known = f"auto, {UTF8}, utf-16, {WESTERN} or another that Python knows"
        raise UsageError(f"unknown encoding '{name:.40}', expected {known}") from None
    return UTF8 if found == "utf-8-sig" else found


def is_ascii_based(encoding: str) -> bool:
    """Whether the first 128 bytes are ASCII, so that lines can be cut before they are decoded."""
    ascii_bytes = bytes(range(128))
    try:
        return ascii_bytes.decode(encoding) == ascii_bytes.decode("ascii")
    except UnicodeDecodeError:
        return False


def _errors(encoding: str) -> str:
    return "surrogateescape" if is_ascii_based(encoding) else "surrogatepass"


def _by_marks(head: bytes) -> str:
    """UTF-16 or UTF-32 by a byte order mark, or UTF-16 by NUL bytes; else ""."""
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name
    odd, even = head[1::2], head[::2]
    for zeros, letters, name in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        share = 0.4 * len(zeros)
        if zeros.count(0) > share and not letters.count(0) and len(_ASCII.findall(letters)) >= 8:
            return name
    return ""


def _is_western(sample: bytes) -> bool:
    """Whether bytes that are not UTF-8 look like a text in cp1252.

    Words of other alphabets are runs of bytes that are not ASCII; in Western Europe such a byte
    stands beside ASCII letters. A sign within a word is a letter of Central Europe (cp1250).
    """
    high = _HIGH.findall(sample)
    if not _LATIN.search(sample) or _SIGN_IN_WORD.search(sample) or any(map(_has_utf8, high)):
        return False
    try:
        signs = set(b"".join(high).decode(WESTERN))
    except UnicodeDecodeError:
        return False
    is_known = all(sign.isalpha() or sign in WESTERN_SIGNS for sign in signs)
    return is_known and sum(map(len, high)) < 0.4 * len(_LETTERS.findall(sample))


def _has_utf8(run: bytes) -> bool:
    return any(letter != "\ufffd" for letter in run.decode(UTF8, "replace"))


def refuse_binary(head: bytes, shown: str) -> None:
    """Raise DataError for a file whose first bytes are those of no text, whatever its name says."""
    for start, what in MAGIC:
        if head.startswith(start):
            kind, colon, advice = what.partition(":")
            raise DataError(f"is {kind}, expected text{colon}{advice}", path=shown)
    controls = len(head) - len(head.translate(None, CONTROLS))
    is_binary = b"\0" in head and controls > MAX_CONTROLS * len(head)
    if len(head) >= FEWEST_BYTES and is_binary and not _by_marks(head):
        raise DataError("is a binary file, expected text", path=shown)


def unpacked_name(path: str | Path) -> str:
    """The name of a file without the ending of a packed one, such as .gz."""
    name = Path(path).name
    return name[: len(name) - len(packed_ending(name))]


def packed_ending(path: str | Path) -> str:
    """The ending of a packed file as it is written, such as .gz; "" for any other."""
    ending = Path(path).suffix
    return ending if ending.lower() in (*PACKED, *UNREAD) else ""


@contextmanager
def packing(file: BinaryIO, path: str) -> Iterator[BinaryIO]:
    """The file for unpacked bytes; equal bytes are packed as equal bytes, without a date.

    Raises:
        UsageError: the ending of ``path`` is that of a packed file that is not written.
    """
    ending = packed_ending(path).lower()
    if ending in UNREAD:
        raise UsageError(f"{path}: {ending} is not written, expected {', '.join(PACKED)} or none")
    if not ending:
        yield file
        return
    packed: Any
    if ending == ".gz":
        packed = gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0)
    else:
        packed = PACKED[ending](cast(Any, file), "wb")
    with packed:
        yield cast(BinaryIO, packed)


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Faults of the system and of a packed file as a DataError that names the file."""
    shown = "stdin" if path == "-" else path
    damaged = f"the {packed_ending(path).lower()} is damaged or incomplete"
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as fault:
        raise DataError(f"{damaged} ({fault})", path=shown) from None
    except OSError as fault:
        if fault.errno is None and packed_ending(path):  # of bz2
            raise DataError(f"{damaged} ({fault})", path=shown) from None
        raise AccessError(f"cannot be read: {fault.strerror or fault}", path=shown) from None


def _open(path: str) -> BinaryIO:
    """The file's bytes, unpacked."""
    if path == "-":
        return standard_stream("stdin").buffer
    ending = packed_ending(path).lower()
    if not ending:
        return Path(path).open("rb")
    _refuse_unread(path)
    return cast(BinaryIO, io.BufferedReader(cast(Any, PACKED[ending](path, "rb"))))


def _refuse_unread(path: str) -> None:
    ending = packed_ending(path).lower()
    if ending in UNREAD:
        Path(path).open("rb").close()  # a missing file is the first fault
        message = f"{ending} is not read: unpack it, or pack it as {', '.join(PACKED)}"
        raise DataError(message, path=path)


def _cut(file: BinaryIO, shown: str) -> Lines:
    for number in itertools.count(1):
        raw = file.readline(MAX_LINE_BYTES + 1)
        if not raw:
            return
        if len(raw) > MAX_LINE_BYTES:
            raise _without_end(shown, number)
        yield number, raw


def _without_end(shown: str, line: int) -> DataError:
    return DataError(f"no line end within {MAX_LINE_BYTES:,} bytes", path=shown, line=line)


def refuse_stdin(path: str, title: str) -> None:
    """Raise UsageError for "-": a format called ``title`` cannot be read from a pipe."""
    if path == "-":
        raise UsageError(f"{title} is read from a file, not from stdin")


def open_seekable(path: str) -> BinaryIO:
    """A file that can be read from its end; a packed one is unpacked to a temporary file.

    Raises:
        OSError, EOFError, zlib.error, lzma.LZMAError: see :func:`reading`.
    """
    ending = packed_ending(path).lower()
    if not ending:
        return Path(path).open("rb")
    import shutil
    import tempfile

    _refuse_unread(path)
    file = tempfile.TemporaryFile()  # noqa: SIM115, the caller closes it
    try:
        with PACKED[ending](path, "rb") as packed:
            shutil.copyfileobj(packed, file)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return cast(BinaryIO, file)


def decode(raw: bytes, path: str, line: int) -> str:
    """A line in UTF-8 as text; a byte order mark at its start is no letter of the first line.

    Raises:
        DataError: with path, line and column: a byte that is not of the file's encoding.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as fault:
        column = len(raw[: fault.start].decode("utf-8")) + 1
        message = f"byte 0x{raw[fault.start]:02x} at column {column} is not UTF-8"
        with suppress(UnicodeDecodeError):  # a surrogate: see Source.lines
            byte = ord(raw[fault.start : fault.start + 3].decode("utf-8", "surrogatepass")) - 0xDC00
            found = f"byte 0x{byte:02x}" if 0x80 <= byte <= 0xFF else "half a surrogate pair"
            message = f"{found} at column {column} is no character of the file's encoding"
        raise DataError(message, path=path, line=line) from None
    return text.removeprefix("\ufeff") if line == 1 else text
