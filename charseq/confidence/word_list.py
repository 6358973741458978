"""Word list: the words that there are and how often they occur, from a file or from a run.

A list of the target language says what a few thousand pairs cannot: which of the spellings that a
network finds likely is a word. Words are compared in Unicode form NFC and without regard to case.
A list keeps a hash of each word and not the word (64 bits: of a million words and a thousand
million answers, one in ten thousand million is taken for another word), so a million words take
nine megabytes. For words that are not listed it has the character trigrams of those that are.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.confidence.familiarity import Ngrams
from charseq.data.formats.opening import Source, decode
from charseq.display import shorten
from charseq.errors import CheckpointError, DataError, UsageError

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8, UInt64

MAX_WORDS = 1_000_000
"""Words of a list, the most frequent ones: nine bytes each, in base64 twelve."""
MAX_LINES = 5_000_000
"""Lines of a file."""
MAX_LENGTH = 1000
"""Characters of a line."""
STEPS_PER_OCTAVE = 8
"""Counts are stored as round(8 log2(count / least)), in one byte: within 5 %, up to 3,900 million
times the least."""
FEATURES = ("frequency", "unlisted", "spelling_unlisted", "spelling_listed")
"""Of a text: the logarithm of its count over the least of the list, 0 where it is not listed; 1
where it is not listed; the logarithm of its probability by the trigrams of the list, where it is
not listed, and where it is."""
SAMPLE = 1000
"""Lines that say whether a count follows the word after a space."""
_TABLES = ("keys", "codes", "ngrams")
_KEYS = {*_TABLES, "left_out"}


@dataclass(frozen=True, eq=False)
class WordList:
    """Words with their counts, and the trigrams of their characters."""

    keys: UInt64[np.ndarray, "M"]
    """Hashes of the words, ascending."""
    codes: UInt8[np.ndarray, "M"]
    """Their counts; see ``STEPS_PER_OCTAVE``."""
    ngrams: Ngrams
    left_out: int = 0
    """Rarer words that were read and are not kept."""
    path: Path | None = None
    """The file that it was read from; None where a run has stored it."""
    notes: Sequence[str] = ()
    """How the file was read, for people."""

    @classmethod
    def count(
        cls,
        words: Iterable[tuple[str, float]],
        *,
        most: int = MAX_WORDS,
        path: Path | None = None,
        notes: Sequence[str] = (),
    ) -> WordList:
        """The list of some words and their counts; those of a word that is there twice are added.

        A count of 0 says that there is none: such a word counts like the rarest. Of more than
        ``most`` words the most frequent are kept, and of equal ones the first.

        Raises:
            DataError: there is no word; with ``path``.
        """
        spelled: dict[str, float] = {}
        for text, count in words:
            word = form_of(text)
            if word:
                spelled[word] = spelled.get(word, 0.0) + count
        if not spelled:
            raise DataError("has no words, expected one a line", path=path)
        chosen, counts = list(spelled), np.fromiter(spelled.values(), np.float64, len(spelled))
        if len(chosen) > most:
            kept = np.sort(np.argsort(-counts, kind="stable")[:most])
            chosen, counts = [chosen[index] for index in kept.tolist()], counts[kept]
        counted = counts[counts > 0]
        least = float(counted.min()) if len(counted) else 1.0
        octaves = np.log2(np.maximum(counts, least)) - math.log2(least)
        codes = np.minimum(np.rint(STEPS_PER_OCTAVE * octaves), 255).astype(np.uint8)
        keys, first = np.unique(_hashes(chosen), return_index=True)
        return cls(
            keys, codes[first], Ngrams.count(chosen), len(spelled) - len(chosen), path, tuple(notes)
        )

    def __len__(self) -> int:
        """The number of words."""
        return len(self.keys)

    @property
    def fingerprint(self) -> str:
        """sha256 of all that changes an answer."""
        tables = (self.keys, self.codes, self.ngrams.keys, self.ngrams.codes)
        digest = hashlib.sha256(str(self.ngrams.symbols).encode())
        for table in tables:
            digest.update(table.tobytes())
        return digest.hexdigest()

    def features(self, texts: Sequence[str]) -> Float[np.ndarray, "N F"]:
        """The :data:`FEATURES` of each text; a text does not change those of others.

        A text of several words that is not listed as a whole is listed where each of its words
        is, with count and spelling of the rarest. A text without a letter or digit, such as a
        comma, is an unlisted one whose spelling says nothing.
        """
        found = np.zeros((len(texts), len(FEATURES)))
        if not texts:
            return found
        forms = [form_of(text) for text in texts]
        frequencies = self._frequencies(forms)
        apart = np.flatnonzero(np.isnan(frequencies)).tolist()
        words = [_words(forms[row]) for row in apart]
        flat = self._frequencies([word for row in words for word in row])
        begin = 0
        for row, parts in zip(apart, words, strict=True):
            own = flat[begin : begin + len(parts)]
            begin += len(parts)
            if parts and not np.isnan(own).any():  # the rarest word stands for the text
                rarest = int(np.argmin(own))
                frequencies[row], forms[row] = float(own[rarest]), parts[rarest]
        says = np.array([any(map(_is_letter, form)) for form in forms])
        surprise = self.ngrams.surprise(forms)
        spelling = np.where(says, -surprise.mean * (surprise.length + 1), 0.0)
        listed = ~np.isnan(frequencies)
        found[:, 0] = np.where(listed, frequencies, 0.0)
        found[:, 1] = ~listed
        found[:, 2] = np.where(listed, 0.0, spelling)
        found[:, 3] = np.where(listed, spelling, 0.0)
        return found

    def _frequencies(self, words: Sequence[str]) -> Float[np.ndarray, "N"]:
        """The logarithm of the count of each word over the least; NaN where it is not listed."""
        hashes = _hashes(words)
        places = np.minimum(np.searchsorted(self.keys, hashes), len(self.keys) - 1)
        logs = self.codes[places] * (math.log(2) / STEPS_PER_OCTAVE)
        found: np.ndarray = np.where(self.keys[places] == hashes, logs, np.nan)
        return found

    def to_json(self) -> dict[str, Any]:
        """Tables in base64; the inverse of :meth:`from_json`."""
        return {
            "keys": base64.b64encode(self.keys.astype("<u8").tobytes()).decode(),
            "codes": base64.b64encode(self.codes.tobytes()).decode(),
            "ngrams": self.ngrams.to_json(),
            "left_out": self.left_out,
        }

    @classmethod
    def from_json(cls, value: Any) -> WordList:
        """The list from an object that may come from a stranger.

        Raises:
            CheckpointError: not an object of these fields, or a value out of its limits.
        """
        if not isinstance(value, dict) or value.keys() != _KEYS:
            raise damaged(f"must have {', '.join(sorted(_KEYS))}")
        if type(value["left_out"]) is not int or not 0 <= value["left_out"] <= MAX_LINES:
            raise damaged("left_out is no number of words")
        keys = np.frombuffer(_bytes(value["keys"], 8), "<u8")
        codes = np.frombuffer(_bytes(value["codes"], 1), np.uint8)
        if len(keys) != len(codes) or (keys[1:] <= keys[:-1]).any():
            raise damaged("keys must be in order, one for each count")
        return cls(keys, codes, Ngrams.from_json(value["ngrams"], "word list"), value["left_out"])


def form_of(text: str) -> str:
    """A text as it is compared: NFC, case folded, without white space at its ends."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).strip()


def read(path: str | Path) -> WordList:
    """The list in a file: a word a line, or a word and its count.

    Between word and count is a tab, or a space where every line ends in a number. Blank lines do
    not count.

    Raises:
        UsageError: ``path`` is "-".
        DataError: with path and line: the file cannot be read, has no words or too many lines; a
            line is too long, or a count is no number.
    """
    if str(path) == "-":
        raise UsageError("a list of words is a file, not stdin")
    file = Path(path)
    if file.is_dir():
        raise DataError("is a folder, expected a file with a word in each line", path=file)
    with closing(Source(str(file))) as source:
        lines = _lines(source, file)
        first = list(islice(lines, SAMPLE))
        spaced = all(_ends_in_number(text) for _, text in first)
        return WordList.count(
            (_entry(text, file, line, spaced=spaced) for line, text in _chained(first, lines)),
            path=file,
            notes=[f"{file}: {note}" for note in source.notes],
        )


def _lines(source: Source, path: Path) -> Iterator[tuple[int, str]]:
    """The lines with content, and their numbers."""
    for number, raw in source.lines():
        text = decode(raw, str(path), number).rstrip("\r\n")
        if number > MAX_LINES:
            what = f"more than {MAX_LINES:,} lines: give the most frequent words"
            raise DataError(what, path=path, line=number)
        if len(text) > MAX_LENGTH:
            what = f"{len(text):,} characters, expected a word of at most {MAX_LENGTH:,}"
            raise DataError(what, path=path, line=number)
        if text.strip():
            yield number, text


def _chained(
    first: list[tuple[int, str]], rest: Iterator[tuple[int, str]]
) -> Iterator[tuple[int, str]]:
    yield from first
    yield from rest


def _ends_in_number(text: str) -> bool:
    word, space, count = text.strip().rpartition(" ")
    return bool(word and space and "\t" not in text and _number(count) is not None)


def _number(text: str) -> float | None:
    """A count; None where the text is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def _entry(text: str, path: Path, line: int, *, spaced: bool) -> tuple[str, float]:
    """The word of a line, and its count; 0 where it has none."""
    word, separator, cell = text.partition("\t") if not spaced else text.strip().rpartition(" ")
    if not separator:
        return text, 0.0
    if not word.strip():
        raise DataError("no word before the count", path=path, line=line)
    count = _number(cell.strip())
    if count is None:
        what = f"'{shorten(cell)}' after the word '{shorten(word)}', expected its count, a number"
        raise DataError(what, path=path, line=line)
    return word, count


def _words(form: str) -> list[str]:
    """The words of a text that have a letter or digit, without the signs at their ends."""
    found = []
    for part in form.split():
        inner = [index for index, sign in enumerate(part) if _is_letter(sign)]
        if inner:
            found.append(part[inner[0] : inner[-1] + 1])
    return found


def _is_letter(sign: str) -> bool:
    return unicodedata.category(sign)[0] in "LMN"


def _hashes(words: Sequence[str]) -> UInt64[np.ndarray, "N"]:
    digests = b"".join(
        hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for word in words
    )
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def _bytes(value: Any, size: int) -> bytes:
    """The bytes of a table with ``size`` of them for each word."""
    try:
        content = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        content = b""
    if not content or len(content) > size * MAX_WORDS or len(content) % size:
        raise damaged(f"tables must have at most {MAX_WORDS:,} words")
    return content


def damaged(what: str) -> CheckpointError:
    """The error of a word list in a run that is none."""
    return CheckpointError(f"is damaged: the word list's {what}")
