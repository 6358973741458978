"""Files of pairs -> examples of a source and a target, in the splits train, dev and test.

Each row becomes one example, unchanged: all targets of a source are kept, and so are repeated
rows. The setting ``columns`` or the header decides which column is the source, the target, the
features and the weight.

    DATA/train.tsv  dev.tsv  test.tsv     a file for each split, in any format
    DATA.tsv                              divided 90/5/5 by the SHA-256 of the source

All rows of a source fall into the same split of a divided file, and stay there when rows are added
to the file. ``DATA/charseq.toml`` may hold settings, see ``charseq.data.settings_file``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.data.bad_rows import EMPTY_TARGET, REFUSED_TARGET, BadRows
from charseq.data.batches import outlier_length
from charseq.data.columns import features_text
from charseq.data.formats.headers import is_review, says_no_answer
from charseq.data.formats.reader import read_table
from charseq.data.formats.rows import Table, Watch, text_of
from charseq.data.formats.sqlite import plain_location
from charseq.data.formats.writer import Rejects
from charseq.data.roles import ColumnNumbers, describe_roles, locate_roles
from charseq.data.settings_file import Roles, parse_columns
from charseq.data.splits import (
    HASH_BITS,
    SPLITS,
    check_splits,
    count_keys,
    hash_key,
    hash_ranges,
    is_table,
    load_splits,
)
from charseq.data.storage import PackedRecords, RecordBuilder, SpillingArray, select
from charseq.data.text.features import AUTO, DEFAULT_SEPARATOR, find_separator
from charseq.display import count
from charseq.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Float, Integer

SETTINGS = (
    "columns", "header", "delimiter", "encoding", "bad_rows", "empty_targets", "feature_separator",
)  # fmt: skip
"""Settings that :func:`load` takes."""
MAX_TRAINED = 4096
"""Characters of the longest pair to train on, where it is an outlier. Memory and time of its step
grow with the square of its length."""


@dataclass(frozen=True)
class Reading:
    """How files of pairs are read; see :func:`load`."""

    roles: Roles = ()
    header: str = "auto"
    delimiter: str = "auto"
    encoding: str = "auto"
    bad_rows: str = "stop"
    empty_targets: bool = False
    feature_separator: str = AUTO
    no_answers: bool = False
    """Whether a review file may say of a source that it has no answer, even where targets may not
    be empty."""

    @property
    def joiner(self) -> str:
        """The separator that joins the features of a list."""
        return DEFAULT_SEPARATOR if self.feature_separator == AUTO else self.feature_separator


@dataclass(frozen=True, slots=True)
class Example:
    """One pair. ``features`` is the whole cell, not split; ``weight`` is above 0.

    An empty ``target`` says that the source has no answer.
    """

    source: str
    target: str
    features: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Dataset:
    """The examples of each split; a split that is absent or not wanted is empty.

    ``fingerprint``: SHA-256 of the bytes of the files read, in the order train, dev, test.
    ``columns``: the roles of the columns, for people. ``files``: the file of each split;
    ``lines``: the first line of each example in this file. ``problems``: messages on blank lines,
    held-out rows and rows out of all proportion. ``too_long``: numbers of the examples of train
    that are too long to be trained on. ``feature_separator``: the given one, or the one that was
    found.
    """

    train: Sequence[Example]
    dev: Sequence[Example]
    test: Sequence[Example]
    name: str
    fingerprint: str
    columns: str
    files: dict[str, Path]
    lines: dict[str, Sequence[int]]
    problems: list[str]
    feature_separator: str = DEFAULT_SEPARATOR
    too_long: tuple[int, ...] = ()
    rows: int = 0
    """Rows of train before equal ones were merged (:mod:`charseq.data.counts`); 0: they are not."""

    def trainable(self) -> Dataset:
        """The data without the examples of train that are too long."""
        if not self.too_long:
            return self
        wanted = np.ones(len(self.train), dtype=bool)
        wanted[list(self.too_long)] = False
        lines = {**self.lines, "train": select(self.lines["train"], wanted)}
        return replace(self, train=select(self.train, wanted), lines=lines, too_long=())

    def split(self, name: str) -> Sequence[Example]:
        """The examples of ``train``, ``dev`` or ``test``.

        Raises:
            UsageError: an unknown split.
        """
        check_splits([name])
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]


@dataclass
class Part:
    """Examples of a file or of one split, and the line of each; blank lines that were skipped."""

    path: Path
    columns: str = ""
    examples: Sequence[Example] = field(default_factory=list)
    lines: Sequence[int] = field(default_factory=list)
    sizes: Integer[np.ndarray, "N"] = field(default_factory=lambda: np.empty(0, dtype=np.uint32))
    """Characters of the longer side of each example."""
    blanks: int = 0
    first_blank: int = 0
    notes: list[str] = field(default_factory=list)
    """Choices that were made when the file was read, such as the sheet, and rows passed over."""
    unfilled: int = 0
    """Rows of a review file without a target, which were passed over."""
    has_features: bool = False
    has_lists: bool = False
    """Whether features came as lists, whose items were joined."""

    def __len__(self) -> int:
        return len(self.examples)

    def divide(self, names: Sequence[str]) -> dict[str, Part]:
        """The examples divided into splits; all examples of a source fall into the same split."""
        keys = SpillingArray("d")
        for source in side(self.examples, "source"):
            keys.append(hash_key(source) / 2**HASH_BITS)
        hashes = keys.close()
        found = {}
        for name, (first, end, _) in hash_ranges(*count_keys(hashes), names).items():
            wanted = (first <= hashes) & (hashes < end)
            rows = select(self.examples, wanted), select(self.lines, wanted)
            found[name] = Part(
                self.path, self.columns, *rows, self.sizes[wanted], has_features=self.has_features
            )
        return found

    def outliers(self) -> list[int]:
        """The numbers of the examples that are much longer than the others, the longest first."""
        found = np.flatnonzero(self.sizes > outlier_length(self.sizes))
        ordered: list[int] = found[np.argsort(-self.sizes[found].astype(np.int64))].tolist()
        return ordered


def load(
    data: str | Path,
    *,
    columns: str = "",
    header: str = "auto",
    delimiter: str = "auto",
    encoding: str = "auto",
    bad_rows: str = "stop",
    empty_targets: bool = False,
    feature_separator: str = AUTO,
    splits: Sequence[str] = SPLITS,
    rejects: Rejects | None = None,
    watch: Watch | None = None,
) -> Dataset:
    """The examples of a folder or of one file; only files that the ``splits`` need are read.

    Args:
        data: a folder or a file.
        columns: see ``charseq.data.settings_file``. If empty, columns that are named like roles
            have these roles; otherwise there must be two columns, source and target.
        header: whether the first row is a header: auto, yes or no; see ``formats.headers``.
        delimiter: of the cells of a CSV; see :func:`charseq.data.formats.reader.read_table`.
        encoding: of files of text; see there.
        bad_rows: "stop": rows that are no pair are an error; "skip": they are passed over.
        empty_targets: whether a target may be empty, which says that its source has no answer.
        feature_separator: stands between two features; "auto": found in the data, see
            ``charseq.data.text.features``. The features of a list are joined by it, by default by
            a semicolon.
        splits: the wanted splits.
        rejects: keeps the rows that are passed over.
        watch: gets numbers of rows that are read, and the bytes that they take in their file.

    Raises:
        DataError: with path and line: no such file, no train file, two files for one split, a
            row that cannot be read, an empty source, an empty target without ``empty_targets``,
            or a weight that is not above 0; no examples for a wanted split, unless it is wanted
            together with train.
        SettingError: ``columns`` is not valid.
        UsageError: an unknown split or header.
        MissingExtraError: the package that reads the format is not installed.
    """
    how = Reading(
        parse_columns(columns), header, delimiter, encoding, bad_rows, empty_targets,
        feature_separator,
    )  # fmt: skip
    notes: list[str] = []
    joined: list[bool] = []

    def read(path: Path, _: bool) -> Part:
        part = _read(path, how, rejects, watch)
        joined.append(part.has_lists)
        notes.extend(f"{path}: {note}" for note in part.notes)
        return part

    found = load_splits(
        Path(plain_location(data)),
        splits,
        takes=is_table,
        read=read,
        empty=Part,
        words=("examples", "rows", "by the source's hash"),
        expected="one such as train.tsv or train.jsonl",
    )
    parts = {split: part for split, part in found.rows.items() if part.examples}
    outliers = {split: part.outliers() for split, part in parts.items()}
    too_long = [n for n in outliers.get("train", []) if parts["train"].sizes[n] > MAX_TRAINED]
    notes += [_describe_outliers(parts[split], rows) for split, rows in outliers.items() if rows]
    if too_long:
        notes.append(
            f"{count(len(too_long), 'pair')} of more than {MAX_TRAINED:,} left out of training"
        )
    if feature_separator == AUTO and not any(joined):
        cells = (side(part.examples, "features") for part in parts.values() if part.has_features)
        feature_separator = find_separator(chain.from_iterable(cells))
    return Dataset(
        train=found.rows["train"].examples,
        dev=found.rows["dev"].examples,
        test=found.rows["test"].examples,
        name=found.name,
        fingerprint=found.fingerprint,
        columns=next((part.columns for part in parts.values()), ""),
        files={split: part.path for split, part in parts.items()},
        lines={split: part.lines for split, part in parts.items()},
        problems=[*notes, *found.problems],
        feature_separator=replace(how, feature_separator=feature_separator).joiner,
        too_long=tuple(too_long),
    )


def read_file(
    path: str | Path,
    *,
    columns: str = "",
    header: str = "auto",
    empty_targets: bool = False,
    feature_separator: str = AUTO,
) -> Part:
    """All examples of one file, undivided. Arguments as for :func:`load`.

    A review file may say of a source that it has no answer: its target is empty.

    Raises:
        DataError: with path and line, as :func:`load`.
        SettingError: ``columns`` is not valid.
        MissingExtraError: the package that reads the format is not installed.
    """
    how = Reading(
        parse_columns(columns),
        header,
        empty_targets=empty_targets,
        feature_separator=feature_separator,
        no_answers=True,
    )
    return _read(Path(plain_location(path)), how)


def open_table(path: str | Path, how: Reading) -> Table:
    """The rows of a file of pairs, before roles are given to columns.

    A file of another ending, such as pairs.txt, is read as TSV where its content tells no format.

    Raises:
        DataError: with path and line: the file cannot be read.
    """
    named = how.roles.values() if isinstance(how.roles, dict) else ()
    names = [name for name in named if not name.isdigit()]
    return read_table(
        path,
        default="tsv",
        header=how.header,
        names=names,
        delimiter=how.delimiter,
        encoding=how.encoding,
        faulty=True,
    )


def _read(
    path: Path, how: Reading, rejects: Rejects | None = None, watch: Watch | None = None
) -> Part:
    """All rows of one file."""
    table = open_table(path, how).watched(watch)
    part = Part(path, notes=[table.note] if table.note else [])
    numbers: dict[tuple[str, ...], ColumnNumbers] = {}
    found, sizes = RecordBuilder(Example, _fields), SpillingArray("I")
    bad, emptied, is_reviewed = BadRows(how.bad_rows, path, rejects), 0, False
    for row in bad.passing(table):
        if not row.cells and not row.fault:
            part.blanks += 1
            part.first_blank = part.first_blank or row.line
            continue
        try:
            if row.fault:
                raise DataError(row.fault)
            if row.names not in numbers:
                numbers[row.names] = locate_roles(how.roles, table, row)
                part.columns = part.columns or describe_roles(numbers[row.names], table, row)
                is_reviewed = is_review(row.names or table.header or ())
            _, target, features, _ = numbers[row.names]
            reviewed = text_of(row.cells[target]) if is_reviewed else None
            if reviewed is not None and not reviewed.strip():
                part.unfilled += 1
                continue
            if features is not None:
                part.has_features = True
                part.has_lists = part.has_lists or isinstance(row.cells[features], list)
            refused = reviewed is not None and says_no_answer(reviewed)
            example = _example(row.cells, numbers[row.names], how, refused=refused)
            found.add(example, row.line)
            emptied += not example.target
            sizes.append(max(len(example.source), len(example.target)))
        except DataError as fault:
            if not numbers and not row.fault:  # the columns are not those of pairs
                raise fault.at(path, row.line) from None
            bad.add(row, fault.message)
    (part.examples, part.lines), part.sizes = found.close(), sizes.close()
    note = bad.finish(good=len(part.examples))
    part.notes += [note] if note else []
    part.notes += [f"{emptied:,} of {len(part):,} targets are empty: no answer"] if emptied else []
    if part.unfilled:
        part.notes.append(_unfilled(part))
    if not part.examples:
        raise DataError("no rows in it, expected pairs", path=path)
    if table.format.holds_pairs:
        known = table.format.recognised
        size = _count_entries(part, "source" if numbers[()][0] == 0 else "target")
        part.notes[0] = part.notes[0].replace(known, known + size, 1)
    return part


def _describe_outliers(part: Part, rows: Sequence[int]) -> str:
    """The longest of the outliers, with its line; ``rows`` are their numbers, it is the first."""
    size, typical = int(part.sizes[rows[0]]), float(np.median(part.sizes))
    more = f" ({count(len(rows), 'pair')} of more than {outlier_length(part.sizes):,})"
    return (
        f"{part.path}:{part.lines[rows[0]]}: {size:,} characters, half of the pairs have at most "
        f"{typical:g}{more if len(rows) > 1 else ''}: it takes much time; if the line is not "
        "meant, split it or remove it"
    )


def _unfilled(part: Part) -> str:
    """A note on the rows of a review file that have no target yet.

    Raises:
        DataError: none has one.
    """
    if not part.examples:
        what = f"none of the {count(part.unfilled, 'row')} to review has a target"
        raise DataError(f"{what}: write the right answers into that column", path=part.path)
    rows = part.unfilled + len(part)
    return f"{part.unfilled:,} of {rows:,} rows passed over, whose target is not filled in"


def _count_entries(part: Part, name: str) -> str:
    """The size of a pronouncing dictionary, whose words are on the side ``name``, for people."""
    words = len(set(side(part.examples, name)))
    entries = f"{len(part):,} pronunciations of " if len(part) > words else ""
    found = weights(part.examples)
    weighted = found is not None and bool((found != 1).any())
    return f", {entries}{words:,} words{' (probabilities as weights)' if weighted else ''}"


def _example(
    cells: tuple[Any, ...], numbers: ColumnNumbers, how: Reading, *, refused: bool
) -> Example:
    """The pair of a row. ``refused``: the row of a review file says that there is no answer."""
    source, target, features, weight = numbers
    example = Example(
        text_of(cells[source]),
        text_of(cells[target]),
        "" if features is None else features_text(cells[features], how.joiner),
        1.0 if weight is None else _weight(cells[weight]),
    )
    # Spaces may separate symbols, so a text of spaces alone has no symbols.
    if not example.source.strip(" "):
        raise DataError("the source is empty")
    if refused or not example.target.strip(" "):
        if not (how.empty_targets or (refused and how.no_answers)):
            raise DataError(REFUSED_TARGET if refused else EMPTY_TARGET)
        return replace(example, target="")
    return example


def _weight(value: Any) -> float:
    try:
        weight = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        weight = math.nan
    if not 0 < weight < math.inf:
        raise DataError(f"the weight is {str(value)[:40]!r}, expected a number above 0")
    return weight


def side(rows: Sequence[Example], name: str) -> Sequence[str]:
    """The ``source``, ``target`` or ``features`` of each example; packed rows are read lazily."""
    if isinstance(rows, PackedRecords):
        return rows.column(("source", "target", "features").index(name))
    return [getattr(one, name) for one in rows]


def weights(rows: Sequence[Example]) -> Float[np.ndarray, "N"] | None:
    """The weight of each example; None where rows are packed and all weights are 1."""
    return (
        rows.weights if isinstance(rows, PackedRecords) else np.array([one.weight for one in rows])
    )


def _fields(one: Example) -> tuple[tuple[str, str, str], float]:
    return (one.source, one.target, one.features), one.weight
