"""files -> lines of text, one by one: which split is whose, whatever the size.

It knows no words and no models, and changes no text. A line is what stands before an LF or CRLF;
lines of white space alone are passed over and counted. A file is never in memory as a whole: each
split is a :class:`Lines`, which reads its file again every time it is gone through.

    DATA/train.txt  dev.txt  test.txt     each its own file (also .gz)
    DATA.txt                              split 90/5/5

Lines are held out by their sha256, so equal lines are in one split, and a line stays in its split
when others are added. Running text must not be torn apart: there the held-out lines are the last
ones, in the order train, dev, test, and they move when the text grows.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from charseq.data.formats.reader import ENDINGS, read_table
from charseq.data.splits import (
    HASH_BITS,
    SPLITS,
    check_splits,
    hash_key,
    hash_ranges,
    load_splits,
    stem,
    tail_ranges,
)
from charseq.errors import DataError

# Lines that `is_corpus` looks at.
FIRST_LINES = 1000
# How finely hash values are told apart when lines are held out by them.
BINS = 2**16


@dataclass(frozen=True)
class CorpusLines:
    """The lines of one split, without their line ends; each ``for`` reads the file from its start.

    ``count``: how many there are, also ``len()``. Those of the file whose mark is at least
    ``first`` and below ``end`` belong here; the mark is the line's number among those with text,
    or, ``by_hash``, its hash value.

    Raises:
        DataError: while reading, with path and line: as :func:`load`, if the file has changed.
    """

    path: Path
    count: int = 0
    first: float | int = 0
    end: float | int = 0
    bins: array[int] | None = field(default=None, repr=False)
    blanks: int = 0
    first_blank: int = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[str]:
        if not self.count:
            return
        texts = (text for _, text in _read(self.path) if text.strip())
        for number, text in enumerate(texts):
            if self.first <= (number if self.bins is None else _bin(text)) < self.end:
                yield text

    def divide(self, names: Sequence[str]) -> dict[str, CorpusLines]:
        """The lines of a file divided by their keys, or by their numbers without ``bins``."""
        if self.bins is None:
            ranges = tail_ranges(self.count, names)
        else:
            counts = np.frombuffer(self.bins, dtype=np.int64)
            keys = np.flatnonzero(counts)
            ranges = hash_ranges(keys, counts[keys], names, scale=BINS)
        return {
            name: CorpusLines(self.path, rows, first, end, self.bins)
            for name, (first, end, rows) in ranges.items()
        }


@dataclass(frozen=True)
class Corpus:
    """The lines of each split (none where it was not wanted or is not there).

    ``fingerprint``: sha256 of the bytes of the files read, in the order train, dev, test.
    ``problems``: what was passed over or decided, one line each.
    """

    train: CorpusLines
    dev: CorpusLines
    test: CorpusLines
    name: str
    fingerprint: str
    problems: list[str]

    def split(self, name: str) -> CorpusLines:
        """The lines of ``train``, ``dev`` or ``test``.

        Raises:
            UsageError: another name.
        """
        check_splits([name])
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]


def is_corpus(data: str | Path) -> bool:
    """Whether ``data`` is text for :func:`load`, and not pairs: .txt without tabs.

    A folder with train.txt, or one .txt file, either also as .gz, that has no tab in its first
    ``FIRST_LINES`` lines with text. False for anything else, a missing file included. True for a
    text that cannot be read to there: :func:`load` says why.
    """
    path = Path(data)
    try:
        if path.is_dir():
            trains = [file for file in path.iterdir() if _is_train(file)]
            # With a second file for train, neither is meant; `examples` names both.
            path = trains[0] if len(trains) == 1 else path
        if not _is_text(path):
            return False
    except OSError:
        return False
    try:
        texts = (row.cells[0] for row in read_table(path, format="text").rows)
        return not any("\t" in text for text in islice(filter(str.strip, texts), FIRST_LINES))
    except DataError:
        return True


def choose_task(data: str | Path, task: str = "auto") -> str:
    """``pairs`` or ``next-word``: as asked, else by what ``data`` looks like."""
    if task != "auto":
        return task
    return "next-word" if is_corpus(data) else "pairs"


def load(data: str | Path, *, splits: Sequence[str] = SPLITS, running: bool = False) -> Corpus:
    """The lines of a folder or of one file; each file that the wanted ``splits`` need is read once.

    That reading counts the lines and finds whatever is wrong, before anything is learnt from them.
    A folder without dev gives up 5 % of train for it, at most ``MAX_HELD_OUT`` lines. With
    ``running`` held-out lines are the last ones, otherwise they are chosen by their hash.

    Raises:
        DataError: with path and line: no such file, no train file, two files for one split, no
            lines, bytes that are not UTF-8, a NUL, a half .gz; or no lines for a wanted split,
            unless it is wanted together with train.
        UsageError: an unknown split.
    """
    rule = "the last ones" if running else "by the line's hash"
    found = load_splits(
        Path(data),
        splits,
        takes=_is_text,
        read=lambda path, divided: _count(path, hashed=divided and not running),
        empty=CorpusLines,
        words=("lines", "lines", rule),
        expected="train.txt or train.txt.gz",
    )
    return Corpus(
        **found.rows, name=found.name, fingerprint=found.fingerprint, problems=found.problems
    )


def _is_text(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(".txt") and path.is_file()


def _is_train(path: Path) -> bool:
    """A file that `examples` would take for the train split."""
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    return stem(path).lower() == "train" and ending in (*ENDINGS, ".txt") and path.is_file()


def _read(path: Path) -> Iterator[tuple[int, str]]:
    """Every line, blank ones too, with its number."""
    for row in read_table(path, format="text").rows:
        text = row.cells[0]
        if "\0" in text:
            raise DataError("a NUL byte, expected text", path=path, line=row.line)
        yield row.line, text


def _count(path: Path, *, hashed: bool) -> CorpusLines:
    """All lines of a file, counted; ``hashed``: also by the bins of their keys."""
    bins = array("q", [0]) * BINS if hashed else None
    count = blanks = first_blank = 0
    for number, text in _read(path):
        if not text.strip():
            blanks += 1
            first_blank = first_blank or number
            continue
        count += 1
        if bins is not None:
            bins[_bin(text)] += 1
    if not count:
        raise DataError("no lines in it, expected text", path=path)
    return CorpusLines(path, count, 0, math.inf, bins, blanks, first_blank)


def _bin(text: str) -> int:
    """The bin of a line's key, below ``BINS``."""
    return hash_key(text) * BINS >> HASH_BITS
