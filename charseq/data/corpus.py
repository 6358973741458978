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

import hashlib
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from charseq.data.formats.reader import ENDINGS, read_table
from charseq.data.splits import (
    HELD_OUT,
    MOST_HELD_OUT,
    SPLITS,
    check_splits,
    choose_files,
    find_files,
    fingerprint,
    stem,
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
    first: int = 0
    end: int = 0
    by_hash: bool = False

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[str]:
        if not self.count:
            return
        texts = (text for _, text in _read(self.path) if text.strip())
        for number, text in enumerate(texts):
            if self.first <= (_bin(text) if self.by_hash else number) < self.end:
                yield text


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


@dataclass
class LineCounts:
    """What one reading of a file tells: how many lines, how many in each bin of hash values."""

    path: Path
    count: int = 0
    blanks: int = 0
    first_blank: int = 0
    bins: array[int] = field(default_factory=lambda: array("q"))


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
    A folder without dev gives up 5 % of train for it, at most ``MOST_HELD_OUT`` lines. With
    ``running`` held-out lines are the last ones, otherwise they are chosen by their hash.

    Raises:
        DataError: with path and line: no such file, no train file, two files for one split, no
            lines, bytes that are not UTF-8, a NUL, a half .gz; or no lines for a wanted split,
            unless it is wanted together with train.
        UsageError: an unknown split.
    """
    check_splits(splits)
    path = Path(data)
    files = find_files(path, _is_text)
    needed = choose_files(path, files, splits, expected="train.txt or train.txt.gz")
    held_out = "" in files or "dev" not in files
    counted = {s: _count(files[s], hashed=held_out and not running) for s in needed}
    found = {s: CorpusLines(one.path, one.count, 0, one.count) for s, one in counted.items()}
    problems = [line for one in counted.values() for line in _blank_lines(one)]
    how = "the last ones" if running else "by the line's hash"
    if "" in found:
        found = _split_three(counted[""], running=running)
        sizes = ", ".join(f"{name} {lines.count}" for name, lines in found.items())
        problems.append(f"one file, split 90/5/5, {how}: {sizes}")
    elif "train" in found and "dev" not in files:
        found |= _split_two(counted["train"], running=running)
        problems.append(f"no dev file: {found['dev'].count} lines of train are held out, {how}")
    kept = {s: found[s] if s in splits and s in found else CorpusLines(path) for s in SPLITS}
    for split in splits:
        if not kept[split] and (split == "train" or "train" not in splits):
            wanted = f", expected {split}.txt" if path.is_dir() else ""
            raise DataError(f"no lines for the {split} split{wanted}", path=path)
    return Corpus(
        **kept,
        name=path.resolve().name if path.is_dir() else stem(path),
        fingerprint=fingerprint([files[s] for s in needed]),
        problems=problems,
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


def _count(path: Path, *, hashed: bool) -> LineCounts:
    census = LineCounts(path)
    if hashed:
        census.bins = array("q", [0]) * BINS
    for number, text in _read(path):
        if not text.strip():
            census.blanks += 1
            census.first_blank = census.first_blank or number
            continue
        census.count += 1
        if hashed:
            census.bins[_bin(text)] += 1
    if not census.count:
        raise DataError("no lines in it, expected text", path=path)
    return census


def _bin(text: str) -> int:
    """The line's hash value, below ``BINS``; the same for spellings that Unicode calls equal."""
    normal = text if text.isascii() else unicodedata.normalize("NFC", text)
    digest = hashlib.sha256(normal.encode()).digest()
    return int.from_bytes(digest[:8], "big") * BINS >> 64


def _blank_lines(one: LineCounts) -> list[str]:
    if not one.blanks:
        return []
    lines = "blank line" if one.blanks == 1 else "blank lines"
    return [f"{one.path}:{one.first_blank}: {one.blanks} {lines} passed over, this is the first"]


def _split_two(one: LineCounts, *, running: bool) -> dict[str, CorpusLines]:
    if running:
        dev = min(_share(one.count), MOST_HELD_OUT)
        return _cut(one, {"train": one.count - dev, "dev": one.count})
    return _cut_bins(one, {"dev": _end(one, 0, HELD_OUT, MOST_HELD_OUT), "train": BINS})


def _split_three(one: LineCounts, *, running: bool) -> dict[str, CorpusLines]:
    if running:
        dev = _share(one.count)
        test = min(dev, one.count - 1 - dev)
        cuts = {"train": one.count - dev - test, "dev": one.count - test, "test": one.count}
        return _cut(one, cuts)
    test = _end(one, 0, HELD_OUT, one.count)
    # Of what is left, the same number of hash values again.
    dev = _end(one, test, 2 * HELD_OUT, one.count)
    found = _cut_bins(one, {"test": test, "dev": dev, "train": BINS})
    return {split: found[split] for split in SPLITS}


def _share(count: int) -> int:
    """So many of ``count`` lines are held out: one at least, unless there is no other."""
    return min(max(1, int(HELD_OUT * count)), count - 1)


def _end(one: LineCounts, first: int, share: float, most: int) -> int:
    """Where the bins from ``first`` end: at that share of all bins, or with ``most`` lines.

    One bin with lines at least, but never the last of those, which is left to train.
    """
    last = next(number for number in reversed(range(BINS)) if one.bins[number])
    end, rows = first, 0
    for number in range(first, last):
        rows += one.bins[number]
        if end > first and (number >= share * BINS or rows > most):
            break
        if one.bins[number]:
            end = number + 1
    return end


def _cut(one: LineCounts, ends: dict[str, int]) -> dict[str, CorpusLines]:
    """Consecutive lines, each split up to its end."""
    starts = [0, *ends.values()]
    return {
        split: CorpusLines(one.path, end - first, first, end)
        for (split, end), first in zip(ends.items(), starts, strict=False)
    }


def _cut_bins(one: LineCounts, ends: dict[str, int]) -> dict[str, CorpusLines]:
    """Consecutive hash values, each split up to its end."""
    starts = [0, *ends.values()]
    return {
        split: CorpusLines(one.path, sum(one.bins[first:end]), first, end, by_hash=True)
        for (split, end), first in zip(ends.items(), starts, strict=False)
    }
