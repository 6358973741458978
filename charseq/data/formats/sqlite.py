"""SQLite: one table of a database file, by the sqlite3 of Python; no package is needed.

    sqlite:///words.db#pairs       the table pairs of words.db in this folder
    sqlite:////data/words.db       four slashes: an absolute path; the only table of the file
    words.db#pairs                 the same, without the scheme

A database is opened read-only, and nothing of it is run: views, triggers and virtual tables are not
read. Rows come in the order of the table. Numbers are read as text, as in other typed tables.

A conversion writes a new database of one table. Values and declared types stay as they are, and new
columns are TEXT; keys, defaults, indices and other tables are not written. Equal rows give equal
bytes.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from charseq.data.formats import rows
from charseq.data.formats.opening import Source, packed_ending, reading, refuse_stdin
from charseq.data.formats.rows import Format, Row, Table, Window, Write, typed_text
from charseq.errors import DataError, UsageError

SCHEME = "sqlite:///"
MAGIC = b"SQLite format 3\0"
SHOWN_TABLES = 20
"""Tables that a message lists."""

_WITH_TABLE = re.compile(r"(.+\.(?:db|sqlite|sqlite3))#(.*)", re.IGNORECASE | re.DOTALL)
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_ ]*(?:\( *\d+ *(?:, *\d+ *)?\))?")


@dataclass(frozen=True)
class Chosen:
    """The table that is read, the name of the one to be written, and the type of each column."""

    name: str
    types: tuple[str, ...]


class Sqlite(Format):
    """SQLite: a table of a database file."""

    name = "sqlite"
    title = "SQLite"
    endings = (".db", ".sqlite", ".sqlite3")
    has_lines = False
    packs_itself = True

    def read(self, source: Source, *, faulty: bool) -> Table:  # noqa: ARG002
        """Open a table of a database; see :meth:`Format.read`."""
        path = source.path
        refuse_stdin(path, self.title)
        file, wanted = split_location(path)
        database = _connect(file, path)
        try:
            with _reading(path):
                name, note = _choose(database, wanted)
                facts = database.execute(f"PRAGMA table_info({_quoted(name)})").fetchall()
        except BaseException:
            database.close()
            raise
        names = tuple(str(fact[1]) for fact in facts)
        chosen = Chosen(name, tuple(str(fact[2]) for fact in facts))
        windows = _windows(database, name, names, path)
        return Table(path, self, names, windows, source=chosen, note=note)

    @contextmanager
    def append(
        self,
        table: Table,
        file: BinaryIO,
        names: Sequence[str],
        positions: Sequence[int | None],
        *,
        force: bool,  # noqa: ARG002
    ) -> Iterator[Write]:
        """Write a new database with more columns of text; see :meth:`Format.append`."""
        columns = list(zip(table.header or (), table.source.types, strict=True))
        for name, position in zip(names, positions, strict=True):
            if position is None:
                columns.append((name, "TEXT"))
            else:
                columns[position] = (name, "TEXT")
        declared = ", ".join(
            f"{_quoted(name)} {_declared(kind)}".rstrip() for name, kind in columns
        )
        target = _quoted(table.source.name)
        insert = f"INSERT INTO {target} VALUES ({', '.join('?' * len(columns))})"  # noqa: S608

        def widen(old: Sequence[Any], texts: Sequence[str] | None) -> Sequence[Any]:
            found = list(old)
            for i, position in enumerate(positions):
                text = None if texts is None else texts[i]
                if position is None:
                    found.append(text)
                elif text is not None:
                    found[position] = text
            return found

        def write(window: Window, values: Sequence[Sequence[str] | None]) -> None:
            with _writing(table.path):
                database.executemany(insert, map(widen, window.batch, values))

        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "part.db"
            with closing(sqlite3.connect(part, isolation_level=None)) as database:
                with _writing(table.path):
                    for statement in ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF"):
                        database.execute(statement)
                    database.execute("BEGIN")
                    database.execute(f"CREATE TABLE {target} ({declared})")
                yield write
                with _writing(table.path):
                    database.execute("COMMIT")
            with part.open("rb") as made:
                shutil.copyfileobj(made, file)


def split_location(path: str | Path) -> tuple[str, str]:
    """A path, or ``sqlite:///FILE#TABLE`` -> the file, and the table or "".

    Raises:
        UsageError: the file of a ``sqlite:///`` is not named as a database.
    """
    text = str(path).removeprefix(SCHEME)
    found = _WITH_TABLE.fullmatch(text)
    if str(path).startswith(SCHEME) and not (found or _WITH_TABLE.fullmatch(f"{text}#")):
        expected = "expected sqlite:///FILE.db#TABLE, or .sqlite or .sqlite3 in place of .db"
        raise UsageError(f"{path}: {expected}")
    return (text, "") if found is None or Path(text).exists() else (found[1], found[2])


def plain_location(path: str | Path) -> str:
    """A path without ``sqlite:///``: a file, and ``#TABLE`` if a table is named."""
    file, table = split_location(path)
    return f"{file}#{table}" if table else file


def renamed(table: Table, name: str) -> Table:
    """An opened table that is written under another name, if one is given.

    Raises:
        UsageError: the format of ``table`` has no names of tables.
    """
    if not name:
        return table
    if not isinstance(table.source, Chosen):
        raise UsageError(f"{table.format.title} has no tables, so none can be named '{name}'")
    return replace(table, source=replace(table.source, name=name))


def _connect(file: str, path: str) -> sqlite3.Connection:
    """A database, opened read-only.

    Raises:
        DataError: it cannot be read, is no database, or has changes that are not in the file yet.
    """
    if packed_ending(file):
        raise DataError("a packed database cannot be read: unpack it first", path=path)
    with reading(path), Path(file).open("rb") as opened:
        head = opened.read(100)
    if not head.startswith(MAGIC):
        raise DataError("is no SQLite database", path=path)
    options = "mode=ro"
    if 2 in head[18:20]:  # a log beside the file, which even a reader would have to make
        log = Path(f"{file}-wal")
        if log.exists() and log.stat().st_size:
            message = "has changes in its log (-wal) that are not in the file: close the program "
            raise DataError(f"{message}that writes it, or run PRAGMA wal_checkpoint", path=path)
        options += "&immutable=1"
    with _reading(path):
        name = quote(str(Path(file).absolute()))
        database = sqlite3.connect(f"file:{name}?{options}", uri=True)
        database.execute("PRAGMA trusted_schema = OFF")
    database.text_factory = _text
    return database


def _choose(database: sqlite3.Connection, wanted: str) -> tuple[str, str]:
    """The name of the table to read, and a note where it was not named."""
    found = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
        "AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
    )
    names = [str(name) for (name,) in found]
    listed = ", ".join(f"'{name}'" for name in names[:SHOWN_TABLES]) or "none"
    if wanted and wanted not in names:
        raise DataError(f"no table '{wanted}', its tables are: {listed}")
    if not wanted and len(names) != 1:
        raise DataError(f"{len(names)} tables, name one as FILE#TABLE: {listed}")
    return wanted or names[0], "" if wanted else f"table '{names[0]}' is read"


def _windows(
    database: sqlite3.Connection, name: str, names: tuple[str, ...], path: str
) -> Iterator[Window]:
    columns = ", ".join(map(_quoted, names))
    query = f"SELECT {columns} FROM {_quoted(name)} NOT INDEXED"  # noqa: S608
    number = 1
    with closing(database):
        with _reading(path):
            cursor = database.execute(query)
        while True:
            raw: list[tuple[Any, ...]] = []
            size = 0
            with _reading(path):
                for row in islice(cursor, rows.WINDOW):
                    raw.append(row)
                    size += sum(len(cell) for cell in row if isinstance(cell, str | bytes))
                    if size >= rows.WINDOW_BYTES:
                        break
            if not raw:
                return
            found = [
                Row(number + i, tuple(map(typed_text, row)), names) for i, row in enumerate(raw)
            ]
            yield Window(found, raw, size)
            number += len(raw)


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Faults of SQLite as a DataError that names the file."""
    try:
        yield
    except sqlite3.Error as fault:
        raise DataError(f"cannot be read as SQLite: {fault}", path=path) from None
    except DataError as fault:
        raise fault.at(path) from None


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """Faults of SQLite as a DataError that names the input."""
    try:
        yield
    except sqlite3.Error as fault:
        raise DataError(f"cannot be written as SQLite: {fault}", path=path) from None


def _text(raw: bytes) -> str | bytes:
    """A text; bytes where they are not UTF-8, so that only their own row is refused."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


def _quoted(name: str) -> str:
    """A name as SQL quotes it."""
    return '"' + name.replace('"', '""') + '"'


def _declared(kind: str) -> str:
    """The type of a column, unless it is odd."""
    return kind if _TYPE.fullmatch(kind) else ""
