"""path -> format -> table of rows: the registry of formats, and the one door to read a file.

Plain text, TSV, CSV, JSON Lines, Parquet and SQLite are streams: one window of rows
(``rows.WINDOW`` rows or ``rows.WINDOW_BYTES`` bytes) is in memory at a time. Excel, OpenDocument
and Feather are read whole (see ``tables``). Every format but SQLite is also read as ``.gz``,
``.xz`` and ``.bz2``.

Training, evaluation, conversion and lexicon read through :func:`read_table`, so that format,
delimiter, encoding, comments and header are decided in one way.

A blank line of a table is no row of it, but is not lost: it comes as a Row whose ``cells`` are
``()``. A row that cannot be read is an error that names its line, or, with ``faulty``, a Row with a
``fault``. If it is unclear where rows end (half a .gz, a quote that is never closed), that is an
error in any case.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from charseq.data.formats.delimited import Csv, Text, Tsv, parse_delimiter
from charseq.data.formats.headers import HEADERS, take_header
from charseq.data.formats.jsonl import JsonLines
from charseq.data.formats.lexica import LEXICA
from charseq.data.formats.lines import TextFormat
from charseq.data.formats.opening import Source, unpacked_name
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
"""The registry: a format is known as soon as it has an entry here, under its name.

Where a file's name tells no format, or several, one whose :meth:`Format.recognise` finds it reads
it. Of several the last one does, which is the most special.
"""


def sniff(path: str | Path, *, default: str = "text") -> str:
    """The name of the format by the file's ending, that of a packed file aside.

    ``default``: the format of a file whose ending says nothing about columns (``.txt``, or none).
    """
    found = _by_ending(path)
    return found.name if found and found.has_columns else default


def has_known_ending(path: str | Path) -> bool:
    """True for a file's name that ends as files of some format do, packed or not."""
    return _by_ending(path) is not None


def detect(path: str | Path, *, default: str = "text") -> Format:
    """The format of a file by its name, else by its first lines, else ``default``; not of a pipe.

    Raises:
        DataError: the file cannot be read.
    """
    source = Source(str(path))
    try:
        return _choose(source, default)
    finally:
        source.close()


def lexicon_formats() -> list[str]:
    """The names of the formats in which pairs are written: dictionaries, TSV, CSV, JSON Lines."""
    return [
        name
        for name, known in FORMATS.items()
        if known.holds_pairs
        or (isinstance(known, TextFormat) and (known.may_have_header or known.has_keys))
    ]


def find_lexicon_format(name: str) -> Format:
    """The format called ``name``, in any case, one of :func:`lexicon_formats`.

    Raises:
        UsageError: no format, or one in which no pairs are written.
    """
    known = lexicon_formats()
    if name.lower() not in known:
        message = f"a lexicon cannot be written as '{name}', expected one of {', '.join(known)}"
        raise UsageError(message)
    return FORMATS[name.lower()]


def find_format(name: str) -> Format:
    """The format called ``name``, in any case.

    Raises:
        UsageError: no such format.
    """
    if name.lower() not in FORMATS:
        raise UsageError(f"unknown format '{name}', expected one of auto, {', '.join(FORMATS)}")
    return FORMATS[name.lower()]


def read_table(
    path: str | Path,
    *,
    format: str = "auto",
    default: str = "text",
    header: str = "auto",
    names: Sequence[str] = (),
    added: Sequence[str] = (),
    delimiter: str = "auto",
    encoding: str = "auto",
    faulty: bool = False,
) -> Table:
    """Open a file of rows.

    Args:
        path: the file; ``-`` is stdin, and a packed file (.gz, .xz, .bz2) is unpacked.
        format: the format's name; "auto": by the file's name, else by its first lines.
        default: the format of a file for which neither tells the format.
        header: for formats that may have a header row: "yes", "no", or "auto", see ``headers``.
        names: names of columns that the caller looks for; with any there is a header.
        added: names of columns that are added to the table; a first row that has one is a header.
        delimiter: of the cells of a CSV: auto, tab, comma, semicolon, pipe or one sign. With a
            delimiter other than a tab, plain text and TSV are read as CSV.
        encoding: of a file of text, as Python names it, or "auto", see ``opening``.
        faulty: give a row that cannot be read as a row with a ``fault``.

    Raises:
        UsageError: an unknown format, header, delimiter or encoding, or a binary format through a
            pipe.
        DataError: with path and line: no such file, no text, bytes that are not of the encoding, a
            damaged packed file, a quote never closed, a ragged row, a line that is no JSON object,
            no header row. Raised here for the first rows, for the others when they are reached.
        MissingExtraError: the package that reads the format is not installed.
    """
    if header not in HEADERS:
        raise UsageError(f"header is '{header}', expected auto, yes or no")
    sign = parse_delimiter(delimiter)
    source = Source(str(path), encoding=encoding, delimiter=delimiter)
    try:
        found = _choose(source, default) if format == "auto" else find_format(format)
        if format == "auto" and sign and found.name in ("text", "tsv"):
            found = FORMATS["tsv" if sign == "\t" else "csv"]
        return take_header(
            found.read(source, faulty=faulty), header=header, names=names, added=added
        )
    except BaseException:
        source.close()
        raise


def _choose(source: Source, default: str) -> Format:
    """The format of a file by its name, else by its first lines, else ``default``.

    With a delimiter that is given, the first lines are not asked.
    """
    named = _by_ending(source.path)
    known = list(FORMATS.values())
    if named is not None and named.has_columns:
        default = named.name
        known = [one for one in known if not set(one.endings).isdisjoint(named.endings)]
    found = FORMATS[default]
    if len(known) > 1 and source.delimiter == "auto":
        lines, name = source.first_lines, unpacked_name(source.path).lower()
        asked = (one.recognise(lines, name) for one in known if lines)
        found = [found, *filter(None, asked)][-1]
    if found.recognised or found.name != default:
        told = found.recognised or f"read as {found.title} (format names another)"
        source.notes.append(told)
    if found.odd:
        lines = source.first_lines
        odd = [line for line in lines if line in found.odd]
        are = f"{len(lines):,} lines {'is' if len(odd) == 1 else 'are'}"
        source.notes.append(f"{len(odd)} of its first {are} not like the others: '{odd[0][:40]}'")
    return found


def _by_ending(path: str | Path) -> Format | None:
    ending = Path(unpacked_name(split_location(path)[0]).lower()).suffix
    return next((known for known in FORMATS.values() if ending in known.endings), None)
