"""SQLite: read-only, one table of it, values as they are stored, and nothing of a stranger run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from charseq.data import pairs
from charseq.data.formats import rows as rows_of_formats
from charseq.data.formats.reader import read_table, sniff
from charseq.data.formats.rows import Table, text_of
from charseq.data.formats.sqlite import plain_location, renamed, split_location
from charseq.data.formats.writer import replacing, targets, writing
from charseq.errors import DataError, UsageError

ORDERS = (
    'CREATE TABLE orders (id INTEGER PRIMARY KEY, "ordered on" VARCHAR(20), price REAL, n INT, '
    "b BLOB)"
)
ROWS: list[tuple[Any, ...]] = [
    (1, "3 Mar 2021", 2.5, None, b"\0\xff"),
    (2, None, 3.0, 7, None),
    (9, "NA", None, 8, None),
]


def database(path: Path, *statements: str, rows: Iterable[Sequence[Any]] = ()) -> Path:
    """A database; ``rows`` go into the table orders."""
    with closing(sqlite3.connect(path)) as opened:
        for statement in statements:
            opened.execute(statement)
        for row in rows:
            opened.execute(f"INSERT INTO orders VALUES ({','.join('?' * len(row))})", row)
        opened.commit()
    return path


def content(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as opened:
        return list(opened.iterdump())


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def texts(table: Table) -> list[tuple[str, ...]]:
    return [tuple(map(text_of, row.cells)) for row in table.rows]


def widen(path: str, out: Path, names: Sequence[str], name: str = "", force: bool = False) -> None:
    """Every row gets new cells such as "p2"; the row with the id 2 gets none."""
    table = renamed(read_table(path), name)
    with replacing(out, force=force) as file, writing(table, file, names, force=force) as write:
        for window in table.windows:
            new = [
                None if row.cells[0] == "2" else [f"{n}{row.line}" for n in names]
                for row in window.rows
            ]
            write(window, new)


# --- read


@pytest.mark.parametrize(
    ("path", "file", "table"),
    [
        ("sqlite:///a.db#t", "a.db", "t"),
        ("sqlite:////x/a.sqlite3#t u", "/x/a.sqlite3", "t u"),
        ("sqlite:///a.DB", "a.DB", ""),
        ("x/a.sqlite#t", "x/a.sqlite", "t"),
        ("a.db", "a.db", ""),
        ("a.txt#t", "a.txt#t", ""),
        ("-", "-", ""),
    ],
)
def test_a_location_is_a_file_and_a_table(path: str, file: str, table: str) -> None:
    assert split_location(path) == (file, table)
    assert split_location(plain_location(path)) == (file, table)
    assert (sniff(path) == "sqlite") == (".txt" not in path and path != "-")


def test_a_file_with_a_hash_in_its_name_is_that_file(tmp_path: Path) -> None:
    path = database(tmp_path / "a.db#t", ORDERS)
    assert split_location(path) == (str(path), "")
    with pytest.raises(UsageError, match=r"expected sqlite:///FILE.db#TABLE"):
        split_location("sqlite:///a.csv#t")


def test_values_are_read_as_text(tmp_path: Path) -> None:
    path = database(tmp_path / "a.db", ORDERS, rows=[(*row[:4], None) for row in ROWS])
    table = read_table(path)
    assert table.header == ("id", "ordered on", "price", "n", "b")
    assert table.note == "table 'orders' is read"
    assert texts(table) == [
        ("1", "3 Mar 2021", "2.5", "", ""), ("2", "", "3", "7", ""), ("9", "NA", "", "8", ""),
    ]  # fmt: skip
    assert [row.line for row in read_table(f"sqlite:///{path}#orders").rows] == [1, 2, 3]
    assert read_table(f"{path}#orders").note == ""


def test_bytes_and_texts_that_are_not_utf8_are_faults_of_their_row(tmp_path: Path) -> None:
    path = database(tmp_path / "a.db", "CREATE TABLE t (a TEXT)")
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("INSERT INTO t VALUES (CAST(x'ff41' AS TEXT)), ('b'), (x'00')")
        opened.commit()
    cells = [row.cells[0] for row in read_table(path).rows]
    assert cells == [b"\xffA", "b", b"\0"]
    with pytest.raises(DataError, match="bytes, expected text in UTF-8"):
        text_of(cells[0])


def test_pairs_are_read_by_the_names_of_columns(tmp_path: Path, monkeypatch: Any) -> None:
    statement = "CREATE TABLE p (target TEXT, weight REAL, source TEXT)"
    fill = "INSERT INTO p VALUES ('x', 0.5, 'a'), ('y', 2, 'b')"
    database(tmp_path / "a.db", statement, fill, ORDERS)
    expected = [pairs.Example("a", "x", "", 0.5), pairs.Example("b", "y", "", 2.0)]
    monkeypatch.chdir(tmp_path)
    for place in ("a.db#p", "sqlite:///a.db#p", f"sqlite:///{tmp_path}/a.db#p"):
        assert pairs.read_file(place).examples == expected
        found = pairs.load(place)
        assert found.name == "a"
        assert len(found.train) + len(found.dev) + len(found.test) == 2


def test_rows_come_in_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(i, "x" * i, None, None, None) for i in range(1, 11)]
    path = database(tmp_path / "a.db", ORDERS, "CREATE INDEX i ON orders (n, id)", rows=rows)
    monkeypatch.setattr(rows_of_formats, "WINDOW", 4)
    assert [len(window.rows) for window in read_table(path).windows] == [4, 4, 2]
    monkeypatch.setattr(rows_of_formats, "WINDOW_BYTES", 6)
    sizes = [window.bytes for window in read_table(path).windows]
    assert sizes == [6, 9, 6, 7, 8, 9, 10]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("a.db", "2 tables, name one as FILE#TABLE: 'orders', 'p'"),
        ("a.db#v", "no table 'v', its tables are: 'orders', 'p'"),
        ("a.db#f", "no table 'f', its tables are: 'orders', 'p'"),
        ("a.db#sqlite_master", "no table 'sqlite_master', its tables are: 'orders', 'p'"),
        ("empty.db", "is no SQLite database"),
        ("text.db", "is no SQLite database"),
        ("cut.db", "cannot be read as SQLite: "),
        ("none.db", "cannot be read: No such file"),
        ("none.db.gz", "a packed database cannot be read: unpack it first"),
    ],
)
def test_faults_name_the_file(tmp_path: Path, place: str, message: str) -> None:
    view = "CREATE VIEW v AS SELECT * FROM orders"
    path = database(tmp_path / "a.db", ORDERS, "CREATE TABLE p (a)", view)
    (tmp_path / "empty.db").write_bytes(b"")
    (tmp_path / "text.db").write_text("a\tb\n")
    (tmp_path / "cut.db").write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError) as caught:
        list(read_table(tmp_path / place).rows)
    assert str(caught.value).startswith(f"{tmp_path / place}: {message}")


def test_virtual_tables_and_generated_columns_are_not_read(tmp_path: Path) -> None:
    path = database(tmp_path / "a.db", "CREATE TABLE t (a, b AS (hex(a)))")
    assert read_table(path).header == ("a",)
    try:
        database(path, "CREATE VIRTUAL TABLE f USING fts5(a)")
    except sqlite3.OperationalError as fault:
        pytest.skip(str(fault))
    with pytest.raises(DataError, match="no table 'f', its tables are: 'f_config'"):
        read_table(f"{path}#f")
    assert read_table(f"{path}#t").header == ("a",)


def test_a_pipe_is_no_database() -> None:
    with pytest.raises(UsageError, match="SQLite is read from a file, not from stdin"):
        read_table("-", format="sqlite")


def test_reading_writes_nothing_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    database(path, "PRAGMA journal_mode = WAL", ORDERS, rows=ROWS)
    before = path.read_bytes()
    assert listed(tmp_path) == ["a.db"]
    assert len(list(read_table(path).rows)) == 3
    assert listed(tmp_path) == ["a.db"]
    assert path.read_bytes() == before


def test_changes_that_are_in_a_log_are_not_passed_over(tmp_path: Path) -> None:
    path = database(tmp_path / "a.db", "PRAGMA journal_mode = WAL", ORDERS)
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("INSERT INTO orders (id) VALUES (7)")
        opened.commit()
        with pytest.raises(DataError, match="has changes in its log"):
            read_table(path)
    assert [row.cells[0] for row in read_table(path).rows] == ["7"]


# --- written


def test_values_and_types_stay_and_columns_are_added(tmp_path: Path) -> None:
    path = database(tmp_path / "a.db", ORDERS, "CREATE TABLE other (a)", rows=ROWS)
    widen(f"{path}#orders", tmp_path / "out.db", ["p", 'q"'])
    assert content(tmp_path / "out.db") == [
        "BEGIN TRANSACTION;",
        (
            'CREATE TABLE "orders" ("id" INTEGER, "ordered on" VARCHAR(20), "price" REAL, "n" INT, '
            '"b" BLOB, "p" TEXT, "q""" TEXT);'
        ),
        "INSERT INTO \"orders\" VALUES(1,'3 Mar 2021',2.5,NULL,X'00FF','p1','q\"1');",
        'INSERT INTO "orders" VALUES(2,NULL,3.0,7,NULL,NULL,NULL);',
        "INSERT INTO \"orders\" VALUES(9,'NA',NULL,8,NULL,'p3','q\"3');",
        "COMMIT;",
    ]
    widen(f"{path}#orders", tmp_path / "again.db", ["p", 'q"'])
    assert (tmp_path / "again.db").read_bytes() == (tmp_path / "out.db").read_bytes()


def test_a_table_gets_another_name_and_a_column_is_replaced(tmp_path: Path) -> None:
    path = database(tmp_path / "a.db", ORDERS, rows=[(*row[:4], None) for row in ROWS])
    out = tmp_path / "out.db"
    with pytest.raises(DataError, match="there is a column 'n'"):
        widen(str(path), out, ["n"])
    widen(str(path), out, ["n"], name="new", force=True)
    assert '"n" TEXT' in content(out)[1]
    assert [row.cells[3] for row in read_table(f"{out}#new").rows] == ["n1", "7", "n3"]


def test_what_sqlite_cannot_hold_leaves_no_file(tmp_path: Path) -> None:
    path = database(tmp_path / "a.db", ORDERS, rows=ROWS)
    for names, name in ((["N"], ""), (["p"], "sqlite_x")):
        with pytest.raises(DataError, match="cannot be written as SQLite: "):
            widen(str(path), tmp_path / "out.db", names, name=name)
    assert listed(tmp_path) == ["a.db"]
    (tmp_path / "a.csv").write_text("source,target\na,b\n")
    with pytest.raises(UsageError, match="CSV has no tables, so none can be named 'new'"):
        renamed(read_table(tmp_path / "a.csv"), "new")


def test_an_odd_type_is_left_out(tmp_path: Path) -> None:
    path = database(tmp_path / "a.db", 'CREATE TABLE orders (id "INT); DROP TABLE x", b INT(1, 2))')
    widen(str(path), tmp_path / "out.db", ["p"])
    assert content(tmp_path / "out.db")[1] == (
        'CREATE TABLE "orders" ("id", "b" INT(1, 2), "p" TEXT);'
    )


def test_outputs_are_named_beside_the_file(tmp_path: Path) -> None:
    assert targets(["sqlite:///x/a.db#t"], None) == ["x/a.converted.db#t"]
    assert targets(["a.db#t"], str(tmp_path)) == [f"{tmp_path}/a.db#t"]
    with pytest.raises(UsageError, match=r"2 inputs would be written to 'a\.converted\.db'"):
        targets(["a.db#t", "a.db#u"], None)
    with pytest.raises(UsageError, match=r"a\.db#u is an input and would be overwritten"):
        targets(["sqlite:///a.db#t"], "a.db#u")
