"""A folder or a file -> the rows of each split: train, dev, test.

Pairs and lines of text share this module. It finds the file of each split and decides which rows
are held out where a file is missing; ``charseq.data.pairs`` and ``charseq.data.corpus`` read rows.

Rows are held out by a key, the SHA-256 hash of a text. Keys are spread evenly, so the smallest
keys are a random sample. Rows with the same text have the same key and fall into one split, and a
row stays in its split when other rows are added to the file.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np

from charseq import files
from charseq.data.formats.opening import unpacked_name
from charseq.data.formats.reader import has_known_ending
from charseq.data.formats.sqlite import split_location
from charseq.data.formats.writer import REJECTS_ENDING
from charseq.data.text.normalise import normalise
from charseq.errors import DataError, UsageError

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Num

SPLITS = ("train", "dev", "test")
STEMS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "devel", "development", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Names of files without their endings, and their splits."""
MAX_NAMED = 6
"""Files that a message names."""
HELD_OUT = 0.05
"""Share of a file that is held out for dev, or for test, where there is no file for it."""
MAX_HELD_OUT = 2000
"""Rows of train that are held out at most where only the dev file is missing."""
HASH_BITS = 64
"""Bits of a key: the first eight bytes of the SHA-256."""


@runtime_checkable
class SplitRows(Protocol):
    """Rows of a file, or of one split of it, and the blank lines between them."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def blanks(self) -> int:
        """The number of blank lines that were passed over."""
        ...

    @property
    def first_blank(self) -> int:
        """The line number of the first of them."""
        ...

    def __len__(self) -> int: ...

    def divide(self: Rows, names: Sequence[str]) -> dict[str, Rows]:
        """The rows divided into train and dev, or into train, dev and test."""
        ...


Rows = TypeVar("Rows", bound=SplitRows)


@dataclass(frozen=True)
class LoadedSplits(Generic[Rows]):
    """The rows of train, dev and test; name and SHA-256 of the data; messages on what was done."""

    rows: dict[str, Rows]
    name: str
    fingerprint: str
    problems: list[str]


class KeyRange(NamedTuple):
    """Rows whose key is at least ``first`` and below ``end``, and the number of these rows."""

    first: float | int
    end: float | int
    rows: int


def load_splits(
    path: Path,
    splits: Sequence[str],
    *,
    takes: Callable[[Path], bool],
    read: Callable[[Path, bool], Rows],
    empty: Callable[[Path], Rows],
    words: tuple[str, str, str],
    expected: str,
) -> LoadedSplits[Rows]:
    """Read the files that the wanted ``splits`` need; hold out rows where a file is missing.

    One file alone is divided into train, dev and test. A folder without a dev file gives up some
    rows of train for it.

    Args:
        path: a folder or a file.
        splits: the wanted splits.
        takes: whether a file of the folder is read at all.
        read: file, whether it will be divided -> its rows.
        empty: path -> the rows of a split that is absent or not wanted.
        words: for messages: the rows of a split, the rows that are held out, and by which rule.
        expected: for messages: the names that the file of train could have.

    Raises:
        DataError: with path and line: no such file, no train file, two files for one split, or no
            rows for a wanted split, unless that is wanted together with train; or a fault that
            ``read`` found.
        UsageError: an unknown split.
    """
    check_splits(splits)
    named, counted, rule = words
    by_split = find_files(path, takes)
    needed = choose_files(path, by_split, splits, expected=expected)
    divided = "" if "" in by_split else "train" if "dev" not in by_split else None
    found = {name: read(by_split[name], name == divided) for name in needed}
    problems = [
        f"{by_split[name].name} is read as the {name} split"
        for name in needed
        if name and stem(by_split[name]).lower() not in STEMS
    ]
    problems += [line for rows in found.values() for line in _blank_lines(rows)]
    if divided == "":
        found = found[""].divide(SPLITS)
        sizes = ", ".join(f"{name} {len(found[name])}" for name in SPLITS)
        problems.append(f"one file, split 90/5/5, {rule}: {sizes}")
    elif divided in found:
        found |= found["train"].divide(("train", "dev"))
        held = f"{len(found['dev'])} {counted} of train are held out"
        problems.append(f"no dev file: {held}, {rule}")
    kept = {s: found[s] if s in splits and s in found else empty(path) for s in SPLITS}
    for split in splits:
        if not len(kept[split]) and (split == "train" or "train" not in splits):
            hint = f", expected {expected.replace('train', split)}" if path.is_dir() else ""
            raise DataError(f"no {named} for the {split} split{hint}", path=path)
    return LoadedSplits(kept, name_of(path), fingerprint([by_split[s] for s in needed]), problems)


def hash_key(text: str) -> int:
    """The key of a text, below ``2 ** HASH_BITS``; equal for texts that are equal in NFC."""
    digest = hashlib.sha256(normalise(text, "NFC").encode()).digest()
    return int.from_bytes(digest[: HASH_BITS // 8], "big")


def count_keys(
    keys: Float[np.ndarray, "N"],
) -> tuple[Float[np.ndarray, "K"], Int[np.ndarray, "K"]]:
    """Keys from 0 to 1, one for each row -> the distinct keys in order, and the rows of each.

    Keys above those that are held out are counted together, so that little memory is used.
    """
    low = keys[keys < 2 * HELD_OUT]
    values, counts = np.unique(low, return_counts=True)
    if len(values) < 2 or values[-1] < HELD_OUT:  # too few for test and dev
        return np.unique(keys, return_counts=True)
    if len(low) == len(keys):
        return values, counts
    return np.append(values, 2 * HELD_OUT), np.append(counts, len(keys) - len(low))


def hash_ranges(
    keys: Num[np.ndarray, "K"],
    counts: Int[np.ndarray, "K"],
    names: Sequence[str],
    *,
    scale: int = 1,
) -> dict[str, KeyRange]:
    """Distinct keys in order, and the rows of each -> the range of keys of each split.

    Test has the smallest keys, if it is among ``names``, then comes dev, and train has the rest.
    Test and dev have keys below a share of all keys, ``HELD_OUT`` each. They have one key at
    least, but the largest key is left to train. ``scale`` is the end of all possible keys.
    """
    test, most = 0, MAX_HELD_OUT
    if "test" in names:
        most = int(counts.sum())
        test = _held_out(keys, counts, 0, HELD_OUT * scale, most)
    # Of the keys that are left, dev gets a share as large as that of test.
    share = (2 if "test" in names else 1) * HELD_OUT
    dev = _held_out(keys, counts, test, share * scale, most)
    places = {"train": (dev, len(keys)), "dev": (test, dev), "test": (0, test)}
    ends = [*keys.tolist(), math.inf]
    return {
        name: KeyRange(ends[first], ends[end], int(counts[first:end].sum()))
        for name, (first, end) in places.items()
        if name in names
    }


def tail_ranges(count: int, names: Sequence[str]) -> dict[str, KeyRange]:
    """The number of rows -> the range of row numbers of each split: the last rows are held out.

    Dev and test have one row at least, unless there is no other for train.
    """
    dev, test = min(max(1, int(HELD_OUT * count)), count - 1), 0
    if "test" in names:
        test = min(dev, count - 1 - dev)
    else:
        dev = min(dev, MAX_HELD_OUT)
    sizes = {"train": count - dev - test, "dev": dev, "test": test}
    ends = dict(zip(SPLITS, accumulate(sizes[name] for name in SPLITS), strict=True))
    return {name: KeyRange(ends[name] - sizes[name], ends[name], sizes[name]) for name in names}


def check_splits(splits: Sequence[str]) -> None:
    """Raise UsageError for a name that is not a split."""
    for split in splits:
        if split not in SPLITS:
            raise UsageError(f"unknown split '{split}', expected one of {', '.join(SPLITS)}")


def name_of(path: Path) -> str:
    """The name of the data: that of the folder, or of the file without its ending."""
    return path.resolve().name if path.is_dir() else stem(path)


def stem(path: Path) -> str:
    """The file's name without the ending of a packed file and without that of its format."""
    return Path(unpacked_name(path)).stem


def find_files(path: Path, takes: Callable[[Path], bool]) -> dict[str, Path]:
    """A folder -> its file for each split, of the files it ``takes``; a file -> ``{"": file}``.

    Raises:
        DataError: no such file or folder, it cannot be read, two files for one split, or a thing
            with the name of a split that is no file.
    """
    try:
        if not Path(split_location(path)[0]).exists():
            raise DataError("no such file or folder", path=path)
        if not path.is_dir():
            return {"": path}
        listed = sorted(path.iterdir())
        odd = next((one for one in listed if is_split(one) and not one.is_file()), None)
        if odd is not None:
            raise DataError(f"is {files.kind(odd)}, expected a file of rows", path=odd)
        there = [file for file in listed if takes(file)]
    except OSError as fault:
        raise DataError(f"cannot be read: {fault.strerror}", path=path) from None
    named = [(STEMS[name], file) for file in there if (name := stem(file).lower()) in STEMS]
    found: dict[str, Path] = {}
    for split, file in named or _odd_names(there, path):
        if split in found:
            both = f"both {found[split].name} and {file.name}"
            raise DataError(f"{both}, expected one file for the {split} split", path=path)
        found[split] = file
    return found


def _odd_names(listed: Sequence[Path], folder: Path) -> list[tuple[str, Path]]:
    """Splits and files with more in their names, such as eng_train.tsv and eng_dev.tsv.

    The rest of the name is the same for all splits of a data set.

    Raises:
        DataError: there are several data sets.
    """
    sets: dict[tuple[str, ...], list[tuple[str, Path]]] = {}
    for file in listed:
        parts = re.split("[._-]+", stem(file).lower())
        found = [part for part in parts if part in STEMS]
        rest = tuple(part for part in parts if part not in STEMS)
        if len(found) == 1 and not file.name.endswith(REJECTS_ENDING):
            sets.setdefault(rest, []).append((STEMS[found[0]], file))
    whole = [named for named in sets.values() if "train" in dict(named)] or list(sets.values())
    if len(whole) > 1:
        names = ", ".join(named[0][1].name for named in whole[:MAX_NAMED])
        more = f" and {len(whole) - MAX_NAMED} more" if len(whole) > MAX_NAMED else ""
        raise DataError(
            f"{names}{more} are of several data sets: make a folder of each", path=folder
        )
    return whole[0] if whole else []


def is_split(file: Path) -> bool:
    """Whether a file has the name of a split, in some format."""
    return stem(file).lower() in STEMS and has_known_ending(file)


def is_table(file: Path) -> bool:
    """Whether there is such a file, with the ending of some format."""
    return has_known_ending(file) and file.is_file()


def choose_files(
    path: Path, files: dict[str, Path], splits: Sequence[str], *, expected: str
) -> list[str]:
    """The names of the files to read: where the dev file is missing, dev comes out of train.

    Raises:
        DataError: the file for train is missing and needed; ``expected`` says which it could be.
    """
    if "" in files:
        return [""]
    from_train = "train" in splits or ("dev" in splits and "dev" not in files)
    if from_train and "train" not in files:
        there: list[str] = []
        with suppress(OSError):  # the missing file is the fault to tell
            there = sorted(file.name for file in path.iterdir() if file.is_file())
        names = ", ".join(there[:MAX_NAMED]) + (", ..." if len(there) > MAX_NAMED else "")
        found = f"; there are {names}" if there else ""
        raise DataError(f"no train file, expected {expected}{found}", path=path)
    return [s for s in SPLITS if s in files and (s in splits or (s == "train" and from_train))]


def _blank_lines(rows: SplitRows) -> list[str]:
    """The message on blank lines, if there are any."""
    lines = "blank line" if rows.blanks == 1 else "blank lines"
    first = f"{rows.path}:{rows.first_blank}"
    return [f"{first}: {rows.blanks} {lines} passed over, this is the first"] * bool(rows.blanks)


def _held_out(
    keys: Num[np.ndarray, "K"], counts: Int[np.ndarray, "K"], first: int, limit: float, most: int
) -> int:
    """The end of the held-out keys, of which ``keys[first]`` is the first.

    They are below ``limit`` and have ``most`` rows at most; the first key always belongs to them,
    the last key of all never does.
    """
    last = len(keys) - 1
    below = int(np.searchsorted(keys[:last], limit))
    within = first + int(np.searchsorted(counts[first:last].cumsum(), most, side="right"))
    return min(max(first + 1, min(below, within)), last)


def fingerprint(files: Sequence[Path]) -> str:
    """SHA-256 of the bytes of all files, one after the other: ``cat FILES | sha256sum``."""
    digest = hashlib.sha256()
    for path in files:
        with Path(split_location(path)[0]).open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()
