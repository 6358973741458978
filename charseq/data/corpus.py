"""Text files -> lines of text in the splits train, dev and test, read one by one.

A line ends with LF or CRLF and is not changed. Lines of white space alone are skipped and counted.
A file is never in memory as a whole: the lines of a split are a :class:`CorpusLines`, and each pass
over them reads the file again.

    DATA/train.txt  dev.txt  test.txt     a file for each split (also packed)
    DATA.txt                              divided 90/5/5

Lines are held out by their SHA-256: equal lines fall into the same split, and a line stays in its
split when lines are added. A running text must stay in one piece, so there the last lines are held
out, in the order train, dev, test; they change when the text grows.
"""

from __future__ import annotations

import codecs
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from charseq.data.batches import outlier_length
from charseq.data.formats.lines import TextFormat
from charseq.data.formats.opening import UTF8, WESTERN, Source, unpacked_name
from charseq.data.formats.reader import FORMATS, detect, read_table, sniff
from charseq.data.formats.rows import Watch
from charseq.data.formats.sqlite import split_location
from charseq.data.settings_file import SETTINGS_FILE, settings_of
from charseq.data.splits import (
    HASH_BITS,
    SPLITS,
    check_splits,
    find_files,
    hash_key,
    hash_ranges,
    is_split,
    is_table,
    load_splits,
    tail_ranges,
)
from charseq.data.storage import SpillingArray
from charseq.data.text.continuity import (
    MIN_OPEN,
    SCRIPT_LINES,
    Continuity,
    continuity,
    lacks_spaces,
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
    encoding: str = "auto"

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[str]:
        if not self.count:
            return
        texts = (text for _, text in _read(self.path, self.encoding) if text.strip())
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
            name: replace(self, count=rows, first=first, end=end, blanks=0, first_blank=0)
            for name, (first, end, rows) in ranges.items()
        }


@dataclass(frozen=True)
class Corpus:
    """The lines of each split; a split that is absent or not wanted is empty.

    ``fingerprint``: SHA-256 of the bytes of the files read, in the order train, dev, test.
    ``problems``: messages on blank lines, held-out lines and lines out of all proportion.
    ``running``: whether the lines continue each other. ``reason``: how that was found; "" where
    it was given.
    """

    train: CorpusLines
    dev: CorpusLines
    test: CorpusLines
    name: str
    fingerprint: str
    problems: list[str]
    running: bool = False
    reason: str = ""

    def split(self, name: str) -> CorpusLines:
        """The lines of ``train``, ``dev`` or ``test``.

        Raises:
            UsageError: an unknown split.
        """
        check_splits([name])
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]


def is_corpus(data: str | Path) -> bool:
    """Whether ``data`` is text for :func:`load`, and not pairs: a .txt file without tabs.

    True for a folder with train.txt, or for one .txt file, packed or not, without a tab in its
    first ``FIRST_LINES`` lines that are not blank. A file that cannot be read so far is text, too:
    :func:`load` then raises the fault. False for anything else, also for a missing file, and for a
    pronouncing dictionary, of words and phones between spaces.

    Raises:
        DataError: with path and line: a tab in a few of these lines.
    """
    path = Path(data)
    try:
        if path.is_dir():
            path = find_files(path, is_table).get("train", path)
        if not is_text(path):
            return False
    except OSError:
        return False
    except DataError:  # two files for train, which `pairs.load` reports
        return False
    try:
        if detect(path).has_columns:
            return False
        rows = (row for row in read_table(path, format="text").rows if row.cells[0].strip())
        tabs = [(row.line, "\t" in row.cells[0]) for row in islice(rows, FIRST_LINES)]
    except DataError:
        return True
    stray = [line for line, has_tab in tabs if has_tab]
    if stray and 2 * len(stray) < len(tabs):
        raise DataError(
            f"a tab, which {len(tabs) - len(stray)} of the first {len(tabs)} lines do not have: "
            "text has no tabs, and pairs have one in each line. Make it a space, or set "
            "task=next-word, which reads it as a space",
            path=path,
            line=stray[0],
        )
    return not stray


def choose_task(data: str | Path, task: str = "auto", *, has_columns: bool = False) -> str:
    """``task``, or for ``auto`` the task that the data are made for: ``pairs`` or ``next-word``.

    ``has_columns``: the settings name columns or a delimiter, so the data are pairs.

    Raises:
        DataError: as :func:`is_corpus`.
    """
    if task != "auto":
        return task
    return "next-word" if not has_columns and is_corpus(data) else "pairs"


def names_columns(settings: Mapping[str, Any]) -> bool:
    """Whether settings name columns or a delimiter, so that the data are pairs."""
    return bool(settings.get("columns")) or settings.get("delimiter", "auto") != "auto"


def task_of(data: str | Path, reading: Mapping[str, str] | None = None) -> str:
    """The task that ``data`` are made for, by their settings, by ``reading`` and by their rows."""
    settings = {**settings_of(data), **(reading or {})}
    given = names_columns(settings)
    return choose_task(data, settings.get("task", "auto"), has_columns=given)


def trained_reading(
    data: str | Path, trained: Mapping[str, Any], given: Mapping[str, str] | None = None
) -> tuple[dict[str, str], list[str]]:
    """How ``data`` are read for a run: as in its training, where the data tell nothing else.

    The delimiter of the training is taken where it stands in each of the first lines, and these
    are one cell each without it. The encoding is taken where the first bytes are not UTF-8 and no
    mark tells their encoding. A pipe is not asked.

    Args:
        data: a folder or a file.
        trained: the settings of the run.
        given: settings that come before these of the run and those of ``data``.

    Returns:
        the settings given, with a delimiter and an encoding where they are taken from the run; and
        a line on each of these for people.
    """
    wanted, lines = dict(given or {}), []
    known = {**settings_of(data), **wanted}
    for name in ("encoding", "delimiter"):
        value = str(trained.get(name, "auto"))
        if value == "auto" or known.get(name, "auto") != "auto":
            continue
        paths = [Path(data)]
        with suppress(DataError, OSError):  # faults that are told when the data are read
            if Path(data).is_dir():
                paths = list(find_files(Path(data), is_table).values())
            there = [path for path in paths if path.is_file()]
            encoding = value if name == "encoding" else wanted.get("encoding", "auto")
            fits = _fits_encoding if name == "encoding" else partial(_fits_delimiter, value)
            if there and all(fits(path, encoding) for path in there):
                wanted[name] = value
                lines.append(f"{data}: {name} {value}, as in training ({name} names another)")
    return wanted, lines


def _fits_delimiter(delimiter: str, path: Path, encoding: str) -> bool:
    """Whether the first lines are single cells, of which this delimiter makes several."""
    if not isinstance(FORMATS[sniff(path)], TextFormat) or detect(path).has_keys:
        return False
    how: dict[str, Any] = {"default": "tsv", "header": "no", "encoding": encoding}
    counts = []
    for one in ("auto", delimiter):
        rows = islice(read_table(path, delimiter=one, faulty=True, **how).rows, FIRST_LINES)
        counts.append([len(row.cells) for row in rows if row.cells or row.fault])
    return set(counts[0]) == {1} and min(counts[1]) > 1


def _fits_encoding(path: Path, encoding: str) -> bool:
    """Whether the first bytes are of this encoding, and neither UTF-8 nor marked as another."""
    source = Source(str(path))
    try:
        if source.encoding not in (UTF8, WESTERN):
            return False
        with suppress(UnicodeDecodeError):
            codecs.getincrementaldecoder(UTF8)().decode(source.head)
            return source.encoding == WESTERN
        codecs.getincrementaldecoder(encoding)().decode(source.head)
    except UnicodeDecodeError:
        return False
    finally:
        source.close()
    return True


def load(
    data: str | Path,
    *,
    splits: Sequence[str] = SPLITS,
    running: bool | None = False,
    encoding: str = "auto",
    units: str = "words",
    watch: Watch | None = None,
) -> Corpus:
    """The lines of a folder or of one file; each file that the ``splits`` need is read once.

    This pass counts the lines and finds all faults before a training begins.

    Args:
        data: a folder or a file.
        splits: the wanted splits.
        running: whether lines continue each other, so that the last ones are held out, instead of
            lines chosen by their hash; None: the lines decide. Without a dev file 5 % of train are
            held out, at most ``MAX_HELD_OUT`` lines.
        encoding: of the files; see :func:`charseq.data.formats.reader.read_table`.
        units: what lines are cut into; with "words" a script without spaces is a problem.
        watch: gets numbers of lines that are read, and the bytes that they take in their file.

    Raises:
        DataError: with path and line: no such file, no train file, two files for one split, no
            lines, bytes that are not UTF-8, a NUL, an incomplete .gz; or no lines for a wanted
            split, unless it is wanted together with train.
        UsageError: an unknown split.
    """
    notes: list[str] = []
    running, reason = (running, "") if running is not None else _decide(Path(data), encoding)
    rule = "the last ones" if running else "by the line's hash"

    def read(path: Path, divided: bool) -> CorpusLines:
        hashed = divided and not running
        return _count(path, encoding, notes, hashed=hashed, running=running, watch=watch)

    found = load_splits(
        Path(data),
        splits,
        takes=is_text,
        read=read,
        empty=CorpusLines,
        words=("lines", "lines", rule),
        expected="train.txt or train.txt.gz",
    )
    if units == "words" and lacks_spaces(list(islice(found.rows["train"], SCRIPT_LINES))):
        notes.append(
            "most letters are of a script without spaces between words, so that a word is a whole "
            "phrase: units=characters or units=subwords cuts it"
        )
    return Corpus(
        found.rows["train"], found.rows["dev"], found.rows["test"],
        name=found.name, fingerprint=found.fingerprint, problems=[*notes, *found.problems],
        running=running, reason=reason,
    )  # fmt: skip


def _decide(data: Path, encoding: str) -> tuple[bool, str]:
    """Whether the lines of train, and of a dev file, continue each other; and the reason.

    A dev file of scattered lines decides against it: the model would be judged by texts that are
    not as those that it has learnt.
    """
    found: dict[str, Continuity] = {}
    with suppress(DataError, OSError):  # a fault that is told when the data are read
        for name, path in find_files(data, is_text).items():
            if name != "test" and path.is_file():  # a pipe can be read only once
                found[name or "train"] = continuity(text for _, text in _read(path, encoding))
    train, dev = (found.get(name, Continuity()) for name in ("train", "dev"))
    share = f"{100 * train.share:.0f} % begin inside a sentence"
    if train.continues and not dev.refutes:
        return True, f"continue each other ({share})"
    if train.continues:
        return False, f"each for itself (in train they continue each other, {share}; not in dev)"
    if train.share >= MIN_OPEN:
        share += ", but not in that of the line before"
    return False, f"each for itself ({share})"


def is_text(path: Path) -> bool:
    """Whether a file is called as files of running text are: ``.txt``, packed or not."""
    return unpacked_name(path).lower().endswith(".txt") and path.is_file()


def data_files(path: str | Path) -> list[Path]:
    """The files that commands read of some data: a file itself, or splits and settings of a folder.

    An output never takes the place of one of them.
    """
    folder = Path(split_location(path)[0])
    if not folder.is_dir():
        return [folder]
    listed = sorted(folder.iterdir())
    there = [one for one in listed if is_split(one) or one.name == SETTINGS_FILE]
    with suppress(DataError):  # a fault that is told when the data are read
        there += find_files(folder, is_table).values()
    return there


def _read(
    path: Path, encoding: str, notes: list[str] | None = None, watch: Watch | None = None
) -> Iterator[tuple[int, str]]:
    """The number and the text of every line, also of blank lines; ``notes`` gets the table's."""
    table = read_table(path, format="text", encoding=encoding).watched(watch)
    if notes is not None and table.note:
        notes.append(f"{path}: {table.note}")
    for row in table.rows:
        text = row.cells[0]
        if "\0" in text:
            raise DataError("a NUL byte, expected text", path=path, line=row.line)
        yield row.line, text


def _count(
    path: Path,
    encoding: str,
    notes: list[str],
    *,
    hashed: bool,
    running: bool,
    watch: Watch | None = None,
) -> CorpusLines:
    """All lines of a file, counted; ``hashed``: also by the bins of their keys.

    ``notes`` gets messages on the file, and unless the text is ``running`` on the longest line,
    where it is out of all proportion.
    """
    bins = array("q", [0]) * BINS if hashed else None
    count = blanks = first_blank = 0
    longest = (0, 0)  # words, and the line before which no line is as long
    sizes = SpillingArray("I")
    for number, text in _read(path, encoding, notes, watch):
        if not text.strip():
            blanks += 1
            first_blank = first_blank or number
            continue
        count += 1
        sizes.append(words := text.count(" ") + 1)
        longest = max(longest, (words, -number))
        if bins is not None:
            bins[_bin(text)] += 1
    if not count:
        raise DataError("no lines in it, expected text", path=path)
    lengths = sizes.close()
    if not running and longest[0] > outlier_length(lengths):
        notes.append(
            f"{path}:{-longest[1]}: {longest[0]:,} words, half of the lines have at most "
            f"{float(np.median(lengths)):g}: it takes much time; put each sentence on a line "
            "of its own, or train with the setting stateful"
        )
    return CorpusLines(path, count, 0, math.inf, bins, blanks, first_blank, encoding)


def _bin(text: str) -> int:
    """The bin of a line's key, below ``BINS``."""
    return hash_key(text) * BINS >> HASH_BITS
