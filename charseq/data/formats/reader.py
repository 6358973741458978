"""path -> format -> table of rows: the registry of formats, and the one door to read a file.

Plain text, TSV, CSV, JSON Lines and Parquet are streams: one window of rows (``rows.WINDOW`` rows
or ``rows.WINDOW_BYTES`` bytes) is in memory at a time, and so is SQLite. Excel, OpenDocument and
Feather are read whole (see ``tables``). Every format but SQLite is also read as ``.gz``.

A blank line of a table is no row of it, but is not lost: it comes as a Row whose ``cells`` are
``()``. A row that cannot be read is an error that names its line, or, with ``faulty``, a Row with a
``fault``. If it is unclear where rows end (half a .gz, a quote that is never closed), that is an
error in any case.
"""

from __future__ import annotations

from pathlib import Path

from charseq.data.formats.delimited import Csv, Text, Tsv
from charseq.data.formats.jsonl import JsonLines
from charseq.data.formats.lexica import LEXICA, recognise
from charseq.data.formats.lines import TextFormat
from charseq.data.formats.parquet import Parquet
from charseq.data.formats.rows import Format, Table
from charseq.data.formats.sqlite import Sqlite, split_location
from charseq.data.formats.tables import Excel, Feather, OpenDocument
from charseq.errors import UsageError

FORMATS: dict[str, Format] = {
    known.name: known
    for known in (
        Text(),
        Tsv(),
        Csv(),
        JsonLines(),
        Parquet(),
        Feather(),
        Excel(),
        OpenDocument(),
        Sqlite(),
        *LEXICA,
    )
}
"""The registry: a format is known as soon as it has an entry here, under its name."""


def sniff(path: str | Path, *, default: str = "text") -> str:
    """The name of the format by the file's ending, a trailing ``.gz`` aside.

    ``default``: the format of a file whose ending says nothing about columns (``.txt``, or none).
    """
    found = _by_ending(path)
    return found.name if found and found.has_columns else default


def detect(path: str | Path, *, default: str = "text") -> str:
    """The name of the format by the file's ending, else by its first lines.

    ``default``: as for :func:`sniff`. A pipe has no first lines to look at.
    """
    known = _by_ending(path)
    found = recognise(path) if known is None or known.shares_endings else None
    return found or sniff(path, default=default)


def has_known_ending(path: str | Path) -> bool:
    """True for a file's name that ends as files of some format do; ``.gz`` may follow."""
    return _by_ending(path) is not None


def lexicon_formats() -> list[str]:
    """The names of the formats in which pairs are written: dictionaries, TSV, CSV, JSON Lines."""
    return [
        name
        for name, known in FORMATS.items()
        if known.holds_pairs
        or (isinstance(known, TextFormat) and (known.may_have_header or known.has_keys))
    ]


def find_format(name: str) -> Format:
    """The format called ``name``.

    Raises:
        UsageError: no such format.
    """
    if name not in FORMATS:
        raise UsageError(f"unknown format '{name}', expected one of auto, {', '.join(FORMATS)}")
    return FORMATS[name]


def read_table(
    path: str | Path, *, format: str = "auto", header: str = "auto", faulty: bool = False
) -> Table:
    """Open a file of rows.

    Args:
        path: the file; ``-`` is stdin, and a name that ends in ``.gz`` is unpacked.
        format: the format's name; "auto": by :func:`detect`.
        header: for formats that may have a header row: "yes", "no", or "auto", which takes the
            first row for a header if it has the cells ``source`` and ``target``, in whatever case.
        faulty: give a row that cannot be read as a row with a ``fault``.

    Raises:
        UsageError: an unknown format or header, or a binary format through a pipe.
        DataError: with path and line: no such file, bytes that are not UTF-8, a half .gz,
            a quote never closed, a ragged row, a line that is no JSON object, no header row.
            Raised here for the first row, for the others when they are reached.
        MissingExtraError: the package that reads the format is not installed.
    """
    found = find_format(detect(path) if format == "auto" else format)
    if header not in ("auto", "yes", "no"):
        raise UsageError(f"header is '{header}', expected auto, yes or no")
    return found.read(str(path), header=header, faulty=faulty)


def _by_ending(path: str | Path) -> Format | None:
    name = Path(split_location(path)[0]).name
    ending = Path(name.lower().removesuffix(".gz")).suffix
    return next((known for known in FORMATS.values() if ending in known.endings), None)
