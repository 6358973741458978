"""Excel, OpenDocument and Feather: words stay words, other cells keep their types."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from charseq.data import pairs
from charseq.data.formats import tables
from charseq.data.formats.reader import read_table
from charseq.data.formats.rows import Table, cell_text, text_of
from charseq.data.formats.writer import replacing, writing
from charseq.errors import CharseqError, DataError, MissingExtraError, UsageError

DAY = dt.datetime(2021, 3, 3)  # noqa: DTZ001, a sheet knows no zones
NOON = dt.datetime(2021, 3, 5, 12, 30)  # noqa: DTZ001
CELLS: list[list[Any]] = [
    ["number", "word", "ordered on"],
    [1, "NA", DAY],
    [],
    [2, None, NOON],
    [2.5, "null", None],
    [True, "nan", "  two  spaces "],
]
TEXTS: list[tuple[str, ...]] = [
    ("1", "NA", "2021-03-03"),
    (),
    ("2", "", "2021-03-05 12:30:00"),
    ("2.5", "null", ""),
    ("TRUE", "nan", "  two  spaces "),
]


def write_sheet(path: Path, cells: Sequence[Sequence[Any]], *others: str) -> Path:
    """A workbook of that ending, whose first sheet is called Orders."""
    if path.suffix == ".xlsx":
        book = openpyxl.Workbook()
        sheet = book.active
        assert sheet is not None
        sheet.title = "Orders"
        for row in cells:
            sheet.append(row)
        for name in others:
            book.create_sheet(name).append(["not", "read"])
        book.save(path)
        return path
    width = max(map(len, cells))
    square = [[*row, *[None] * (width - len(row))] for row in cells]
    with pd.ExcelWriter(path, engine="odf") as writer:
        for name in ("Orders", *others):
            pd.DataFrame(square, dtype=object).to_excel(
                writer, sheet_name=name, header=False, index=False
            )
    return path


def widen(table: Table, out: Path, names: Sequence[str], *, force: bool = False) -> Path:
    """Every row with text gets new cells such as "p2"; the number is that of its line."""
    with (
        replacing(out, force=True) as file,
        writing(table, file, names, force=force) as write,
    ):
        for window in table.windows:
            new = [[f"{name}{row.line}" for name in names] for row in window.rows]
            write(window, [n if r.cells else None for n, r in zip(new, window.rows, strict=True)])
    return out


def values(path: Path) -> list[list[Any]]:
    """The cells as openpyxl sees them."""
    sheet = openpyxl.load_workbook(path).worksheets[0]
    return [[cell.value for cell in row] for row in sheet.iter_rows()]


@pytest.mark.parametrize("ending", ["xlsx", "ods"])
def test_cells_are_read_as_text_and_words_such_as_null_stay_words(
    tmp_path: Path, ending: str
) -> None:
    table = read_table(write_sheet(tmp_path / f"a.{ending}", CELLS), header="yes")
    rows = list(table.rows)
    assert table.header == ("number", "word", "ordered on")
    assert [row.cells for row in rows] == TEXTS
    assert [row.line for row in rows] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("ending", ["xlsx", "ods"])
def test_the_first_sheet_is_read_and_named(tmp_path: Path, ending: str) -> None:
    one = read_table(write_sheet(tmp_path / f"a.{ending}", CELLS))
    two = read_table(write_sheet(tmp_path / f"b.{ending}", CELLS, "Other"))
    told = "; line 1 is taken for a header (number, word, ordered on): header=no reads it as a row"
    assert one.note == f"sheet 'Orders' is read{told}"
    assert two.note == f"sheet 'Orders' is read, the first of 2{told}"
    assert len(list(two.rows)) == len(CELLS) - 1


def test_a_header_is_seen_by_its_roles_or_on_demand(tmp_path: Path) -> None:
    path = write_sheet(tmp_path / "a.xlsx", [["Source", "target"], ["a", 1]])
    assert read_table(path).header == ("Source", "target")
    assert read_table(path, header="no").header is None
    assert read_table(write_sheet(path, [["a", "b"]])).header is None
    with pytest.raises(DataError, match=r"a\.xlsx:1: nothing here, expected a header row"):
        read_table(write_sheet(path, [[]]), header="yes")


def test_empty_rows_and_columns_at_the_edges_keep_their_numbers(tmp_path: Path) -> None:
    path = write_sheet(tmp_path / "a.xlsx", [[], [None, "a"], [], [None, "b"], []])
    rows = list(read_table(path).rows)
    assert [(row.line, row.cells) for row in rows[:4]] == [
        (1, ()), (2, ("", "a")), (3, ()), (4, ("", "b")),
    ]  # fmt: skip


def test_a_formula_has_the_value_that_was_saved_and_an_error_is_a_text(tmp_path: Path) -> None:
    path = write_sheet(tmp_path / "a.xlsx", [["sum", "fault"], ["=1+2", "#DIV/0!"]])
    name, saved = "xl/worksheets/sheet1.xml", b"<f>1+2</f><v>3</v>"
    with zipfile.ZipFile(path) as book:
        members = {member: book.read(member) for member in book.namelist()}
    sheet = members[name].replace(b"<f>1+2</f><v></v>", saved).replace(b"<f>1+2</f><v/>", saved)
    sheet = sheet.replace(b"<f>1+2</f><v />", saved)
    assert saved in sheet
    with zipfile.ZipFile(path, "w") as book:
        for member, content in (members | {name: sheet}).items():
            book.writestr(member, content)
    table = read_table(path, header="yes")
    out = widen(table, tmp_path / "b.xlsx", ["p"])
    assert [row.cells for row in read_table(path, header="yes").rows] == [("3", "#DIV/0!")]
    assert values(out) == [["sum", "fault", "p"], [3, "#DIV/0!", "p2"]]


def test_a_formula_without_a_saved_value_is_not_lost(tmp_path: Path) -> None:
    """Programs that only write workbooks save formulas without values, also at the edges."""
    cells = [["word", "n"], ["a", 1], ['="b"&"c"', "=1+1"]]
    path = write_sheet(tmp_path / "a.xlsx", cells)
    book = openpyxl.load_workbook(path)
    book.active["D5"] = "=2+2"
    book.save(path)
    table = read_table(path, header="yes")
    assert table.note == (
        "sheet 'Orders' is read; 3 formulas without a saved value, read as text: open and save "
        "the file in a spreadsheet program to have the values"
    )
    texts = [row.cells for row in table.rows]
    assert texts[:2] == [("a", "1", "", ""), ('="b"&"c"', "=1+1", "", "")]
    assert texts[-1] == ("", "", "", "=2+2")


def test_a_sheet_without_room_for_more_columns_is_named(tmp_path: Path) -> None:
    path = write_sheet(tmp_path / "a.xlsx", [[f"c{n}" for n in range(16_384)], ["x"]])
    table = read_table(path, header="yes")
    with pytest.raises(DataError, match=r"1 more columns make 16,385, a sheet holds 16,384"):
        widen(table, tmp_path / "b.xlsx", ["p"])
    assert not (tmp_path / "b.xlsx").exists()


@pytest.mark.parametrize("name", ["a.xls", "a.xlsm", "a.csv", "a.txt"])
def test_a_workbook_under_another_name_is_not_read_as_text(tmp_path: Path, name: str) -> None:
    path = write_sheet(tmp_path / "a.xlsx", [["word"], ["a"]]).rename(tmp_path / name)
    with pytest.raises(DataError, match=r"is a workbook or another zip file.*format xlsx"):
        list(read_table(path).rows)
    old = tmp_path / f"old-{name}"
    old.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600)
    with pytest.raises(DataError, match=r"old Excel workbook"):
        list(read_table(old).rows)


def test_cells_of_excel_keep_their_types(tmp_path: Path) -> None:
    cells = [*CELLS, ["clock", dt.time(8, 15), "=A2"]]
    path = write_sheet(tmp_path / "a.xlsx", cells)
    book = openpyxl.load_workbook(path)
    book.worksheets[0]["C7"].data_type = "s"
    book.save(path)
    out = widen(read_table(path, header="yes"), tmp_path / "b.xlsx", ["p", "p_note"])
    assert values(out) == [
        ["number", "word", "ordered on", "p", "p_note"],
        [1, "NA", DAY, "p2", "p_note2"],
        [None] * 5,
        [2, None, NOON, "p4", "p_note4"],
        [2.5, "null", None, "p5", "p_note5"],
        [True, "nan", "  two  spaces ", "p6", "p_note6"],
        ["clock", dt.time(8, 15), "=A2", "p7", "p_note7"],
    ]
    sheet = openpyxl.load_workbook(out).worksheets[0]
    assert (sheet.title, sheet["C2"].number_format) == ("Orders", "YYYY-MM-DD")
    assert [sheet[cell].data_type for cell in ("A2", "C2", "C7", "A6")] == ["n", "d", "s", "b"]


def test_cells_of_opendocument_keep_their_types(tmp_path: Path) -> None:
    path = write_sheet(tmp_path / "a.ods", CELLS)
    out = widen(read_table(path, header="yes"), tmp_path / "b.ods", ["p"])
    frame = pd.read_excel(out, header=None, dtype=object, keep_default_na=False)
    assert frame.to_numpy().tolist() == [
        ["number", "word", "ordered on", "p"],
        [1, "NA", pd.Timestamp(DAY), "p2"],
        ["", "", "", ""],
        [2, "", pd.Timestamp(NOON), "p4"],
        [2.5, "null", "", "p5"],
        [True, "nan", "  two  spaces ", "p6"],
    ]
    with zipfile.ZipFile(out) as book:
        content = book.read("content.xml").decode()
    assert '<text:s text:c="2"/>two<text:s text:c="2"/>spaces<text:s' in content


def test_an_answer_that_looks_like_a_formula_or_an_error_is_text(tmp_path: Path) -> None:
    path = write_sheet(tmp_path / "a.xlsx", [["w"], ["a"]])
    table = read_table(path, header="no")
    with replacing(tmp_path / "b.xlsx") as file, writing(table, file, ["p", "q"]) as write:
        for window in table.windows:
            write(window, [["=1+1", "#N/A"], ["'x", "007"]])
    assert values(tmp_path / "b.xlsx") == [["w", "=1+1", "#N/A"], ["a", "'x", "007"]]
    sheet = openpyxl.load_workbook(tmp_path / "b.xlsx").worksheets[0]
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} == {"s"}


@pytest.mark.parametrize("ending", ["xlsx", "ods"])
@pytest.mark.parametrize(
    ("answer", "told"),
    [("a\x0bb", "an answer with U+000B, which"), ("x" * 40_000, "an answer of 40,000 characters")],
)
def test_an_answer_that_no_cell_can_hold_is_named(
    tmp_path: Path, ending: str, answer: str, told: str
) -> None:
    table = read_table(write_sheet(tmp_path / f"a.{ending}", CELLS), header="yes")

    def write_all() -> None:
        with replacing(tmp_path / f"b.{ending}") as file, writing(table, file, ["p"]) as write:
            for window in table.windows:
                write(window, [[answer]] * len(window.rows))

    with pytest.raises(DataError) as caught:
        write_all()
    assert str(caught.value).startswith(f"{tmp_path / 'a'}.{ending}:2: {told}")
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{ending}"]


def test_columns_are_replaced_with_force_only(tmp_path: Path) -> None:
    path = write_sheet(tmp_path / "a.xlsx", [["p", "w"], [1, "a"], [], [2, "b"]])
    with pytest.raises(DataError, match=r"a\.xlsx:1: there is a column 'p'"):
        widen(read_table(path, header="yes"), tmp_path / "b.xlsx", ["p"])
    out = widen(read_table(path, header="yes"), tmp_path / "b.xlsx", ["p", "q"], force=True)
    assert values(out) == [["p", "w", "q"], ["p2", "a", "q2"], [None] * 3, ["p4", "b", "q4"]]


@pytest.mark.parametrize("ending", ["xlsx", "ods", "feather"])
def test_equal_rows_give_equal_bytes(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "feather":
        pd.DataFrame({"w": ["a"]}).to_feather(path)
    else:
        write_sheet(path, CELLS)
    outs = []
    for number in (1, 2):
        outs.append(widen(read_table(path), tmp_path / f"{number}.{ending}", ["p"]).read_bytes())
        time.sleep(2.1 if number == 1 and ending != "feather" else 0)  # a zip counts two seconds
    assert outs[0] == outs[1]


def test_feather_keeps_types_names_and_nulls(tmp_path: Path) -> None:
    path = tmp_path / "a.feather"
    before = pd.DataFrame(
        {
            "k": pd.array([1, None, 3], dtype="Int16"),
            "w": ["null", None, "NA"],
            "d": [DAY, NOON, None],
            "l": [["a"], [], None],
        }
    )
    before.to_feather(path)
    table = read_table(path)
    assert (table.header, table.header_row) == (("k", "w", "d", "l"), None)
    rows = list(table.rows)
    assert [row.cells[:3] for row in rows] == [
        ("1", "null", "2021-03-03"), ("", "", "2021-03-05 12:30:00"), ("3", "NA", ""),
    ]  # fmt: skip
    assert {row.names for row in rows} == {("k", "w", "d", "l")}
    out = widen(read_table(path), tmp_path / "b.feather", ["p"])
    old = pd.read_feather(path, dtype_backend="pyarrow")
    new = pd.read_feather(out, dtype_backend="pyarrow")
    assert new.drop(columns="p").equals(old)
    assert list(new.dtypes[:-1]) == list(old.dtypes)
    assert new["p"].tolist() == ["p1", "p2", "p3"]
    again = widen(read_table(path), tmp_path / "c.feather", ["w"], force=True)
    assert pd.read_feather(again)["w"].tolist() == ["w1", "w2", "w3"]


@pytest.mark.parametrize("value", [["a"], {"a": 1}, b"x"])
def test_a_value_that_is_no_single_cell_is_not_made_text(value: Any) -> None:
    assert cell_text(value) is value


def rezipped(path: Path, part: str, change: Any) -> None:
    """Change one part of a workbook."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in parts.items():
            new.writestr(name, change(content) if name == part else content)


def test_rows_after_a_fault_in_the_xml_are_not_lost_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """odfpy prints such a fault on stdout, and gives the rows before it."""
    path = tmp_path / "a.ods"
    write_sheet(path, [["a"], ["b"], ["c"]])
    rezipped(
        path, "content.xml", lambda content: content.replace(b"<text:p>b", b"<text:p>b</x>", 1)
    )
    with pytest.raises(DataError, match="cannot be read as OpenDocument: it is damaged"):
        read_table(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("ending", "part"), [("xlsx", "xl/worksheets/sheet1.xml"), ("ods", "content.xml")]
)
def test_bytes_that_do_not_unpack_are_one_line(tmp_path: Path, ending: str, part: str) -> None:
    path = tmp_path / f"a.{ending}"
    write_sheet(path, [[f"w{number * 7919 % 977}"] for number in range(400)])
    with zipfile.ZipFile(path) as book:
        info = book.getinfo(part)
    begin = info.header_offset + 30 + len(part)
    whole = bytearray(path.read_bytes())
    for place in range(begin, begin + info.compress_size - 9, 97):  # the last bits may be unused
        path.write_bytes(bytes([*whole[:place], whole[place] ^ 0xFF, *whole[place + 1 :]]))
        with pytest.raises(DataError, match=f"a.{ending}: cannot be read as ") as caught:
            read_table(path)
        assert "\n" not in str(caught.value)


def test_offsets_out_of_a_feather_file_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.feather"
    pd.DataFrame({"w": ["first", "second"]}).to_feather(path, compression="uncompressed")
    whole = path.read_bytes()
    offsets = b"\x00\x00\x00\x00\x05\x00\x00\x00\x0b\x00\x00\x00"
    if offsets not in whole:  # of 64 bits
        offsets = b"\x00" * 8 + b"\x05" + b"\x00" * 7 + b"\x0b" + b"\x00" * 7
    assert whole.count(offsets) == 1
    path.write_bytes(whole.replace(offsets, offsets.replace(b"\x05", b"\xf5", 1)))
    with pytest.raises(DataError, match=r"cannot be read as Feather: .*ffset") as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["xlsx", "ods", "feather"])
def test_a_damaged_file_a_pipe_and_a_gz(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "feather":
        pd.DataFrame({"w": ["a"]}).to_feather(path)
    else:
        write_sheet(path, [["a"]])
    whole = path.read_bytes()
    packed = tmp_path / f"a.{ending}.gz"
    packed.write_bytes(gzip.compress(whole))
    assert [row.cells for row in read_table(packed).rows] == [("a",)]
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged or incomplete"):
        read_table(packed)
    for content in (b"", b"w\nx\n", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as ") as caught:
            read_table(path)
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_table(path)
    with pytest.raises(UsageError, match="is read from a file, not from stdin"):
        read_table("-", format=ending)


@pytest.mark.parametrize(
    ("ending", "package", "told"),
    [
        (
            "xlsx",
            "openpyxl",
            "reading Excel needs openpyxl: pip install openpyxl",
        ),
        (
            "ods",
            "odf",
            "reading OpenDocument needs odfpy: pip install odfpy",
        ),
        (
            "feather",
            "pyarrow",
            "reading Feather needs pyarrow: pip install pyarrow",
        ),
    ],
)
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, ending: str, package: str, told: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as caught:
        read_table(f"a.{ending}")
    assert str(caught.value) == told


def test_pandas_is_loaded_when_a_sheet_is_opened_and_not_before(tmp_path: Path) -> None:
    path = write_sheet(tmp_path / "a.xlsx", [["a"]])
    program = (
        "import sys; from charseq.data.formats.reader import read_table\n"
        "before = {'pandas', 'openpyxl', 'odf', 'pyarrow'} & set(sys.modules)\n"
        f"read_table({str(path)!r}); print(before, 'pandas' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert result.stdout.strip() == b"set() True"


@pytest.mark.parametrize("ending", ["xlsx", "ods"])
def test_pairs_are_learnt_from_a_sheet(tmp_path: Path, ending: str) -> None:
    cells = [["word", "pron", "weight"], ["NA", 1, 2.5], [], ["null", "x", 1]]
    path = write_sheet(tmp_path / f"train.{ending}", cells)
    write_sheet(tmp_path / f"dev.{ending}", [["word", "pron", "weight"], ["a", "b", 1]])
    found = pairs.load(tmp_path, columns="source=word,target=pron,weight=weight")
    examples = [(one.source, one.target, one.weight) for one in found.train]
    assert examples == [("NA", "1", 2.5), ("null", "x", 1.0)]
    assert f"{path}: sheet 'Orders' is read" in found.problems
    assert f"{path}:3: 1 blank line passed over, this is the first" in found.problems
    write_sheet(path, [["word", "pron"], ["a", None]])
    with pytest.raises(CharseqError, match=rf"train\.{ending}:2: the target is empty"):
        pairs.load(tmp_path, columns="source=word,target=pron")


def test_a_table_is_written_to_stdout_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", type("Out", (), {"buffer": out}))
    table = read_table(write_sheet(tmp_path / "a.xlsx", [["a"]]))
    widen(table, Path("-"), ["p"])
    assert list(openpyxl.load_workbook(out).worksheets[0].values) == [("a", "p1")]


# --- types


TYPED: dict[str, tuple[list[Any], list[str]]] = {
    "integers": ([1, None, 3], ["1", "", "3"]),
    "floats": ([2.5, 3.0, 2.0**70], ["2.5", "3", "1.1805916207174113e+21"]),
    "truth": ([True, None, False], ["TRUE", "", "FALSE"]),
    "days": ([dt.date(2021, 3, 3), None, dt.date(1, 1, 1)], ["2021-03-03", "", "0001-01-01"]),
    "times": ([DAY, None, NOON], ["2021-03-03", "", "2021-03-05 12:30:00"]),
    "zones": ([DAY.replace(tzinfo=dt.UTC), None, None], ["2021-03-03 00:00:00+00:00", "", ""]),
    "clock": ([dt.time(12, 30), None, dt.time()], ["12:30:00", "", "00:00:00"]),
    "decimals": ([Decimal("2.50"), None, Decimal("3.00")], ["2.50", "", "3.00"]),
    "spans": (
        [dt.timedelta(hours=2), None, dt.timedelta(days=1)],
        ["2:00:00", "", "1 day, 0:00:00"],
    ),
}


@pytest.mark.parametrize("ending", ["parquet", "feather"])
@pytest.mark.parametrize("name", TYPED)
def test_typed_columns_are_read_as_text(tmp_path: Path, ending: str, name: str) -> None:
    values, expected = TYPED[name]
    frame = pd.DataFrame({"a": pd.Series(values, dtype=object)})
    arrow = pa.Table.from_pydict({"a": values})
    for number, table in enumerate((arrow, pa.Table.from_pandas(frame.infer_objects()))):
        path = tmp_path / f"{number}.{ending}"
        (pq.write_table if ending == "parquet" else feather.write_feather)(table, path)
        assert [text_of(row.cells[0]) for row in read_table(path).rows] == expected


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_integers_that_pandas_keeps_as_floats_have_no_decimals(tmp_path: Path, ending: str) -> None:
    frame = pd.DataFrame({"source": [1, None, 30], "target": [True, None, "x"]})
    assert str(frame["source"].dtype) == "float64"
    path = tmp_path / f"a.{ending}"
    getattr(frame[["source"]], f"to_{ending}")(path)
    assert [text_of(row.cells[0]) for row in read_table(path).rows] == ["1", "", "30"]


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_lists_of_text_are_features(tmp_path: Path, ending: str) -> None:
    rows = {"source": ["a", "b"], "target": ["x", "y"], "features": [["N", "PL"], ["V"]]}
    path = tmp_path / f"a.{ending}"
    getattr(pd.DataFrame(rows), f"to_{ending}")(path)
    found = pairs.read_file(path).examples
    assert [one.features for one in found] == ["N;PL", "V"]


def test_values_that_are_no_text_are_rejected_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    far = pa.array([0, 2**62], pa.timestamp("us"))
    pq.write_table(pa.table({"far": far, "object": [{"a": 1}, None], "bytes": [b"x", None]}), path)
    first, second = read_table(path).rows
    assert text_of(first.cells[0]) == "1970-01-01"
    for cell, message in (
        (second.cells[0], r"a timestamp\[us\] out of the range of dates, expected text"),
        (first.cells[1], "a value of type dict, expected text"),
        (first.cells[2], "bytes, expected text in UTF-8"),
    ):
        with pytest.raises(DataError, match=message):
            text_of(cell)
    assert text_of(second.cells[1]) == text_of(second.cells[2]) == ""


def test_a_nanosecond_after_midnight_is_no_day() -> None:
    assert cell_text(pd.Timestamp(1)) == "1970-01-01 00:00:00.000000001"
    assert cell_text(pd.Timestamp(0)) == "1970-01-01"


# --- sheets that take far more room than they have content


def workbook_with_a_far_cell(path: Path, reference: str) -> Path:
    """A workbook of a header and a row, with one more cell at ``reference``."""
    pd.DataFrame({"date": ["3.4.77"]}).to_excel(path, index=False)
    packed = io.BytesIO(path.read_bytes())
    row = re.sub("[A-Z]+", "", reference)
    cell = f'<row r="{row}"><c r="{reference}" t="n"><v>1</v></c></row></sheetData>'
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(path, "w") as new:
        for part in old.infolist():
            content = old.read(part)
            if part.filename.startswith("xl/worksheets/"):
                content = content.replace(b"</sheetData>", cell.encode())
            new.writestr(part, content)
    return path


def test_a_far_cell_is_named_before_the_grid_is_filled(tmp_path: Path) -> None:
    path = workbook_with_a_far_cell(tmp_path / "far.xlsx", "XFD1048576")
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert str(caught.value) == (
        f"{path}: cannot be read as Excel: a sheet has 3 cells, spread over 1,048,576 rows and "
        "16,384 columns: delete those far from the others"
    )


def test_a_cell_at_some_distance_is_read(tmp_path: Path) -> None:
    table = read_table(workbook_with_a_far_cell(tmp_path / "near.xlsx", "C2000"), header="yes")
    rows = list(table.rows)
    assert len(rows) == 1999
    assert (rows[0].cells, rows[-1].cells) == (("3.4.77", "", ""), ("", "", "1"))


def test_sheets_that_unpack_without_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pd.DataFrame({"date": ["3.4.77"]}).to_excel(tmp_path / "a.xlsx", index=False)
    monkeypatch.setattr(tables, "MAX_UNPACKED", 100)
    with pytest.raises(DataError, match="cannot be read as Excel: its sheets unpack to more than"):
        read_table(tmp_path / "a.xlsx")
