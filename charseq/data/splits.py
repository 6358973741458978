"""a folder or a file -> the file of each split: train, dev, test.

What pairs and lines of text have in common. It knows no rows and no formats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from charseq.errors import DataError, UsageError

SPLITS = ("train", "dev", "test")
STEMS = {"train": "train", "dev": "dev", "valid": "dev", "validation": "dev", "test": "test"}
HELD_OUT = 0.05
"""Share of a file that is held out for dev, or for test, where there is no file for it."""
MOST_HELD_OUT = 2000


def check_splits(splits: Sequence[str]) -> None:
    """Raises UsageError for a name that is no split's."""
    for split in splits:
        if split not in SPLITS:
            raise UsageError(f"unknown split '{split}', expected one of {', '.join(SPLITS)}")


def stem(path: Path) -> str:
    """The file's name without .gz and without the ending of its format."""
    return Path(path.name[:-3] if path.name.lower().endswith(".gz") else path.name).stem


def find_files(path: Path, takes: Callable[[Path], bool]) -> dict[str, Path]:
    """The folder's file for each split, of those it ``takes``, or one file under the name ``""``.

    Raises:
        DataError: no such file or folder, it cannot be read, or two files for one split.
    """
    try:
        if not path.exists():
            raise DataError("no such file or folder", path=path)
        if not path.is_dir():
            return {"": path}
        there = sorted(file for file in path.iterdir() if takes(file))
    except OSError as fault:
        raise DataError(f"cannot be read: {fault.strerror}", path=path) from None
    found: dict[str, Path] = {}
    for file in there:
        split = STEMS.get(stem(file).lower())
        if split in found:
            both = f"both {found[split].name} and {file.name}"
            raise DataError(f"{both}, expected one file for the {split} split", path=path)
        if split:
            found[split] = file
    return found


def choose_files(
    path: Path, files: dict[str, Path], splits: Sequence[str], *, expected: str
) -> list[str]:
    """The names of the files to read. Where there is no dev file, train gives it up.

    Raises:
        DataError: there is no file for train where one is needed; ``expected`` says which.
    """
    if "" in files:
        return [""]
    from_train = "train" in splits or ("dev" in splits and "dev" not in files)
    if from_train and "train" not in files:
        raise DataError(f"no train file, expected {expected}", path=path)
    return [s for s in SPLITS if s in files and (s in splits or (s == "train" and from_train))]


def fingerprint(files: Sequence[Path]) -> str:
    """What ``cat FILES | sha256sum`` prints."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()
