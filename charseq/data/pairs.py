"""files -> rows -> Example(source, target): who plays which role, and which split is whose.

It knows no symbols and no models, and changes no text. Every row becomes one example: several
targets of one source are all kept, and so is a pair that stands there twice.

    DATA/train.tsv  dev.tsv  test.tsv     each its own file (also .csv .jsonl .parquet, .gz)
    DATA.tsv                              split 90/5/5 by the sha256 of the source

A source never falls into two splits that are made here, and it stays in its split when rows are
added to the file. ``DATA/charseq.toml`` may hold settings, a table ``[columns]``, and a table
``[tune]``, which ``space`` reads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.data import settings_file as grammar
from charseq.data.formats.reader import ENDINGS, read_table, sniff
from charseq.data.formats.rows import Row, Table, locate, text_of
from charseq.data.settings_file import ROLES, Roles
from charseq.data.splits import (
    HASH_BITS,
    SPLITS,
    check_splits,
    count_keys,
    hash_key,
    hash_ranges,
    load_splits,
)
from charseq.data.storage import PackedRecords, RecordBuilder, SpillingArray, select
from charseq.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Float

# Where source, target, features and weight stand in a row.
Places = tuple[int, int, int | None, int | None]


@dataclass(frozen=True, slots=True)
class Example:
    """One pair. ``features`` is the cell as it stands, not cut; ``weight`` is above 0."""

    source: str
    target: str
    features: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Dataset:
    """The examples of each split (none where it was not wanted or is not there).

    ``fingerprint``: sha256 of the bytes of the files read, in the order train, dev, test.
    ``columns``: the columns' roles as they were understood, for people.
    ``files``: where each split comes from; ``lines``: on which line of it each example starts.
    ``problems``: what was passed over or decided, one line each.
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

    def split(self, name: str) -> Sequence[Example]:
        """The examples of ``train``, ``dev`` or ``test``.

        Raises:
            UsageError: another name.
        """
        check_splits([name])
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]


@dataclass
class Part:
    """Examples, the line of each, and how many blank lines are between them."""

    path: Path
    columns: str = ""
    examples: Sequence[Example] = field(default_factory=list)
    lines: Sequence[int] = field(default_factory=list)
    blanks: int = 0
    first_blank: int = 0

    def __len__(self) -> int:
        return len(self.examples)

    def divide(self, names: Sequence[str]) -> dict[str, Part]:
        """The part divided into splits: all examples of a source fall into the same split."""
        keys = SpillingArray("d")
        for source in side(self.examples, "source"):
            keys.append(hash_key(source) / 2**HASH_BITS)
        hashes = keys.close()
        found = {}
        for name, (first, end, _) in hash_ranges(*count_keys(hashes), names).items():
            wanted = (first <= hashes) & (hashes < end)
            rows = select(self.examples, wanted), select(self.lines, wanted)
            found[name] = Part(self.path, self.columns, *rows)
        return found


def load(
    data: str | Path,
    *,
    columns: str = "",
    header: str = "auto",
    feature_separator: str = ";",
    splits: Sequence[str] = SPLITS,
) -> Dataset:
    """The examples of a folder or of one file; only what the wanted ``splits`` need is read.

    ``columns``: see the module ``columns``; empty: by the header or the keys if they are called
    as the roles, else two columns, source and target. ``header``: auto, yes or no.
    ``feature_separator`` joins features that a JSON file gives as a list.

    Raises:
        DataError: with path and line: no such file, no train file, two files for one split, a
            row that cannot be read, an empty source or target, a weight that is not above 0; or
            no examples for a wanted split, unless it is wanted together with train.
        SettingError: ``columns`` is not understood.
        UsageError: an unknown split or header.
        MissingExtraError: Parquet without pyarrow.
    """
    roles = grammar.parse(columns)
    found = load_splits(
        Path(data),
        splits,
        takes=_is_table,
        read=lambda path, _: _read(path, roles, header, feature_separator),
        empty=Part,
        words=("examples", "rows", "by the source's hash"),
        expected="one such as train.tsv or train.jsonl",
    )
    parts = {split: part for split, part in found.rows.items() if part.examples}
    return Dataset(
        **{split: part.examples for split, part in found.rows.items()},
        name=found.name,
        fingerprint=found.fingerprint,
        columns=next((part.columns for part in parts.values()), ""),
        files={split: part.path for split, part in parts.items()},
        lines={split: part.lines for split, part in parts.items()},
        problems=found.problems,
    )


def read_file(
    path: str | Path, *, columns: str = "", header: str = "auto", feature_separator: str = ";"
) -> Part:
    """The examples of one file, which is no split of anything. Arguments as for :func:`load`.

    Raises:
        DataError: with path and line, as :func:`load`.
        SettingError: ``columns`` is not understood.
        MissingExtraError: Parquet without pyarrow.
    """
    return _read(Path(path), grammar.parse(columns), header, feature_separator)


def open_table(path: str | Path, *, header: str = "auto") -> Table:
    """A file of pairs as rows, before anyone knows who plays which role.

    A name such as pairs.txt says nothing about columns, and tabs are what is in such files.

    Raises:
        DataError: with path and line: it cannot be read.
    """
    kind = sniff(path)
    return read_table(path, format="tsv" if kind == "text" else kind, header=header)


def _is_table(path: Path) -> bool:
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    return ending in (*ENDINGS, ".txt") and path.is_file()


def _read(path: Path, roles: Roles, header: str, separator: str) -> Part:
    """All rows of one file."""
    by_name = isinstance(roles, dict) and not all(name.isdigit() for name in roles.values())
    table = open_table(path, header="yes" if by_name and header == "auto" else header)
    part = Part(path)
    places: dict[tuple[str, ...], Places] = {}
    found = RecordBuilder(Example, _unmake)
    for row in table.rows:
        if not row.cells:
            part.blanks += 1
            part.first_blank = part.first_blank or row.line
            continue
        try:
            if row.names not in places:
                places[row.names] = _locate(roles, table, row)
                part.columns = part.columns or _understood(places[row.names], table, row)
            found.add(_example(row.cells, places[row.names], separator), row.line)
        except DataError as fault:
            raise fault.at(path, row.line) from None
    part.examples, part.lines = found.close()
    if not part.examples:
        raise DataError("no rows in it, expected pairs", path=path)
    return part


def _example(cells: tuple[Any, ...], places: Places, separator: str) -> Example:
    source, target, features, weight = places
    example = Example(
        text_of(cells[source]),
        text_of(cells[target]),
        "" if features is None else _features(cells[features], separator),
        1.0 if weight is None else _weight(cells[weight]),
    )
    # Where spaces stand between symbols, spaces alone are no symbol at all.
    if not example.source.strip(" "):
        raise DataError("the source is empty")
    if not example.target.strip(" "):
        raise DataError("the target is empty")
    return example


def _features(value: Any, separator: str) -> str:
    return separator.join(map(text_of, value)) if isinstance(value, list) else text_of(value)


def _weight(value: Any) -> float:
    try:
        weight = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        weight = math.nan
    if not 0 < weight < math.inf:
        raise DataError(f"the weight is {str(value)[:40]!r}, expected a number above 0")
    return weight


def _locate(roles: Roles, table: Table, row: Row) -> Places:
    """Where the roles stand in rows like this one."""
    names = row.names or table.header or ()
    width = len(row.cells)
    if isinstance(roles, dict):
        found = {role: locate(name, names, width) for role, name in roles.items()}
    elif roles and table.format == "jsonl":
        raise DataError("JSON has names, not positions: --columns source=NAME,target=NAME")
    elif roles:
        if len(roles) != width:
            raise DataError(f"{_columns(width)}, but --columns names {len(roles)} (skip is one)")
        found = {role: place for place, role in enumerate(roles) if role in ROLES}
    else:
        found = _locate_unnamed(names, width, fixed=table.format in ("jsonl", "parquet"))
    return found["source"], found["target"], found.get("features"), found.get("weight")


def _locate_unnamed(names: Sequence[str], width: int, *, fixed: bool) -> dict[str, int]:
    """Roles by columns that are called so, in whatever case; else two columns in their order."""
    called_so = [name.lower() for name in names]
    if "source" in called_so and "target" in called_so:
        return {role: locate(role, called_so, width) for role in ROLES if role in called_so}
    if width == 2 and not fixed:
        return {"source": 0, "target": 1}
    called = f" ({', '.join(names)})" if names else ""
    if width < 2:
        raise DataError(f"{_columns(width)}{called}, expected source and target")
    example = f"source={names[0]},target={names[1]}" if names else "source,features,target"
    raise DataError(
        f"{_columns(width)}{called}, expected source and target: "
        f"say which is which, for example --columns {example}"
    )


def _columns(count: int) -> str:
    return f"{count} column" if count == 1 else f"{count} columns"


def _understood(places: Places, table: Table, row: Row) -> str:
    """For example ``target = column 1 (native), source = column 2 (roman)``."""
    names = row.names or table.header or ()
    played = sorted((p, role) for role, p in zip(ROLES, places, strict=True) if p is not None)
    if table.format == "jsonl":
        return ", ".join(f"{role} = {names[place]}" for place, role in played)
    return ", ".join(
        f"{role} = column {place + 1}" + (f" ({names[place]})" if names else "")
        for place, role in played
    )


def side(rows: Sequence[Example], name: str) -> Sequence[str]:
    """The ``source``, ``target`` or ``features`` of each, all at hand or made when asked for."""
    if isinstance(rows, PackedRecords):
        return rows.column(("source", "target", "features").index(name))
    return [getattr(one, name) for one in rows]


def weights(rows: Sequence[Example]) -> Float[np.ndarray, "N"] | None:
    """The weight of each; None where all are 1 and there are many."""
    return (
        rows.weights if isinstance(rows, PackedRecords) else np.array([one.weight for one in rows])
    )


def _unmake(one: Example) -> tuple[tuple[str, str, str], float]:
    return (one.source, one.target, one.features), one.weight
