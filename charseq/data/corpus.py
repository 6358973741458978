"""Text files -> lines of text in the splits train, dev and test, read one by one.

A line ends with LF or CRLF and is not changed. Lines of white space alone are skipped and counted.
A file is never in memory as a whole: the lines of a split are a :class:`CorpusLines`, and each pass
over them reads the file again.

    DATA/train.txt  dev.txt  test.txt     a file for each split (also .gz)
    DATA.txt                              divided 90/5/5

Lines are held out by their SHA-256: equal lines fall into the same split, and a line stays in its
split when lines are added. A running text must stay in one piece, so there the last lines are held
out, in the order train, dev, test; they change when the text grows.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from charseq.data.formats.reader import has_known_ending, read_table
from charseq.data.settings_file import SETTINGS_FILE
from charseq.data.splits import (
    HASH_BITS,
    SPLITS,
    check_splits,
    hash_key,
    hash_ranges,
    is_split,
    load_splits,
    stem,
    tail_ranges,
)
from charseq.errors import DataError

FIRST_LINES = 1000
"""Lines by which text is distinguished from pairs."""
BINS = 2**16
"""Bins of keys, by which lines are held out."""


@dataclass(frozen=True)
class CorpusLines:
    """The lines of a file or of one split, without line ends; each pass reads the file again.

    ``count``: the number of lines. With ``bins``, the number of lines of the file in each bin of
    keys, these are the lines whose bin is at least ``first`` and below ``end``. Without ``bins``,
    ``first`` and ``end`` are line numbers, blank lines not counted.

    Raises:
        DataError: while reading, with path and line, as :func:`load`: the file has changed.
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
    """The lines of each split; a split that is absent or not wanted is empty.

    ``fingerprint``: SHA-256 of the bytes of the files read, in the order train, dev, test.
    ``problems``: messages on blank lines and on held-out lines.
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
            UsageError: an unknown split.
        """
        check_splits([name])
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]


def is_corpus(data: str | Path) -> bool:
    """Whether ``data`` is text for :func:`load`, and not pairs: a .txt file without tabs.

    True for a folder with train.txt, or for one .txt file, also as .gz, without a tab in its first
    ``FIRST_LINES`` lines that are not blank. A file that cannot be read so far is text, too:
    :func:`load` then raises the fault. False for anything else, also for a missing file.
    """
    path = Path(data)
    try:
        if path.is_dir():
            trains = [file for file in path.iterdir() if _is_train(file)]
            # Two files for train are a fault, which `pairs.load` reports.
            path = trains[0] if len(trains) == 1 else path
        if not is_text(path):
            return False
    except OSError:
        return False
    try:
        texts = (row.cells[0] for row in read_table(path, format="text").rows)
        return not any("\t" in text for text in islice(filter(str.strip, texts), FIRST_LINES))
    except DataError:
        return True


def choose_task(data: str | Path, task: str = "auto") -> str:
    """``task``, or for ``auto`` the task that the data are made for: ``pairs`` or ``next-word``."""
    if task != "auto":
        return task
    return "next-word" if is_corpus(data) else "pairs"


def load(data: str | Path, *, splits: Sequence[str] = SPLITS, running: bool = False) -> Corpus:
    """The lines of a folder or of one file; each file that the ``splits`` need is read once.

    This pass counts the lines and finds all faults before a training begins.

    Args:
        data: a folder or a file.
        splits: the wanted splits.
        running: whether the last lines are held out, instead of lines chosen by their hash. Without
            a dev file 5 % of train are held out, at most ``MAX_HELD_OUT`` lines.

    Raises:
        DataError: with path and line: no such file, no train file, two files for one split, no
            lines, bytes that are not UTF-8, a NUL, an incomplete .gz; or no lines for a wanted
            split, unless it is wanted together with train.
        UsageError: an unknown split.
    """
    rule = "the last ones" if running else "by the line's hash"
    found = load_splits(
        Path(data),
        splits,
        takes=is_text,
        read=lambda path, divided: _count(path, hashed=divided and not running),
        empty=CorpusLines,
        words=("lines", "lines", rule),
        expected="train.txt or train.txt.gz",
    )
    return Corpus(
        **found.rows, name=found.name, fingerprint=found.fingerprint, problems=found.problems
    )


def is_text(path: Path) -> bool:
    """Whether a file is called as files of running text are: ``.txt``; ``.gz`` may follow."""
    return path.name.lower().removesuffix(".gz").endswith(".txt") and path.is_file()


def data_files(path: str | Path) -> list[Path]:
    """The files that commands read of some data: a file itself, or splits and settings of a folder.

    An output never takes the place of one of them.
    """
    folder = Path(path)
    if not folder.is_dir():
        return [folder]
    there = sorted(folder.iterdir())
    return [one for one in there if is_split(one) or one.name == SETTINGS_FILE]


def _is_train(path: Path) -> bool:
    """Whether a file could be the train split of pairs or of text."""
    return stem(path).lower() == "train" and has_known_ending(path) and path.is_file()


def _read(path: Path) -> Iterator[tuple[int, str]]:
    """The number and the text of every line, also of blank lines."""
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
