"""Tables in memory, by pandas: Excel, OpenDocument and Feather; also read as .gz.

The whole table is in memory, and pandas is imported when such a file is opened. Of a spreadsheet
the first sheet is read (:attr:`Table.note` names it), and the values of its cells: of a formula the
value that was saved with it. In Excel, a formula that no spreadsheet program has computed yet is
read as its own text (the note counts them), and an error such as #DIV/0! as that text. Rows have
their cells as text: whole numbers by their digits, dates as 2021-03-03, an empty cell as "". The
words null, NA and nan stay words.

A conversion writes the values of that sheet with new columns. Cells keep their types: numbers stay
numbers and dates dates. Formulas, other sheets, colours and widths of columns are not written.
Equal rows give equal bytes: no date is left in the file.
"""

from __future__ import annotations

import abc
import datetime as dt
import importlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Literal

from charseq.data.formats import parquet
from charseq.data.formats.opening import Source, open_seekable, reading, refuse_stdin
from charseq.data.formats.rows import (
    Format,
    Row,
    Table,
    Window,
    Write,
    cell_text,
    group,
    is_day,
    is_missing,
)
from charseq.errors import DataError, MissingExtraError, require

if TYPE_CHECKING:
    import pandas as pd

MAX_CELL = 32_767
"""Characters of a cell that Excel can hold."""
MAX_COLUMNS = 16_384
"""Columns of a sheet that spreadsheet programs, and pandas, can hold."""
MAX_GRID = 2**24
"""Rows times columns that a sheet may span if few of its cells are filled."""
FILLED = 64
"""Such a sheet has fewer filled cells than one in so many."""
MAX_UNPACKED = 2 * 2**30
"""Bytes of a workbook's sheets, unpacked."""
_SHEET = re.compile(r"xl/worksheets/.*\.xml")
_REFERENCE = re.compile(rb'<c [^>]*?r="([A-Z]{1,3})([0-9]{1,7})"')
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SPACES = re.compile("^ | $|  ")
_READABLE = (OSError, ValueError, SyntaxError, RuntimeError)
"""Errors of parsers whose messages are for people; RuntimeError, for example, of a password."""
_DATES = re.compile(rb"<dcterms:(created|modified)[^>]*>[^<]*</dcterms:\1>")
_NAMESPACE = re.compile(rb' xmlns:([a-z]+)="[^"]*"')
_WITH_NAMESPACES = {"content.xml", "styles.xml", "meta.xml"}


@dataclass(frozen=True)
class Worksheet:
    """A table in memory, and the name of its sheet if it has one."""

    frame: pd.DataFrame
    name: str = ""


class WholeTable(Format):
    """A format that pandas reads and writes as a whole."""

    package: ClassVar[str]
    """The package behind pandas that reads and writes the format."""
    packs_itself = True

    @abc.abstractmethod
    def load(self, file: BinaryIO) -> tuple[Worksheet, str]:
        """The table, and a note for people or ""."""

    @abc.abstractmethod
    def save(self, sheet: Worksheet, file: BinaryIO) -> None:
        """Write a table."""

    @abc.abstractmethod
    def widen(
        self, table: Table, names: Sequence[str], columns: Sequence[tuple[int | None, list[Any]]]
    ) -> Worksheet:
        """The table with new columns.

        ``columns``: for each name the position of the column that it replaces, or None, and its
        texts; None in place of a text keeps the cell.
        """

    def read(self, source: Source, *, faulty: bool) -> Table:  # noqa: ARG002
        """Read a table whole; see :meth:`Format.read`."""
        path = source.path
        refuse_stdin(path, self.title)
        self._require(f"reading {self.title}")
        with reading(path):
            file = open_seekable(path)
        with file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl's, about styles that are not read here
            try:
                sheet, note = self.load(file)
            except _parser_errors() as fault:
                reason = " ".join(str(fault).split())
                if not reason or not isinstance(fault, _READABLE):  # in the parser's own words
                    reason = f"it is no {self.title} file, or a damaged one"
                raise DataError(f"cannot be read as {self.title}: {reason}", path=path) from None
        return self.open(path, sheet, note)

    @abc.abstractmethod
    def open(self, path: str, sheet: Worksheet, note: str) -> Table:
        """The rows of a table in memory."""

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
        """Write the table with new columns when all rows are there; see :meth:`Format.append`."""
        self._require(f"writing {self.title}")
        texts: list[Sequence[str] | None] = []

        def write(window: Window, values: Sequence[Sequence[str] | None]) -> None:
            for row, new in zip(window.rows, values, strict=True):
                for text in new or ():
                    self._check_text(text, table.path, row.line)
                texts.append(new)

        yield write
        columns: list[tuple[int | None, list[Any]]] = [
            (position, [new and new[i] for new in texts]) for i, position in enumerate(positions)
        ]
        try:
            self.save(self.widen(table, names, columns), file)
        except ValueError as fault:  # such as more rows than a sheet can hold
            message = f"cannot be written as {self.title}: {' '.join(str(fault).split())}"
            raise DataError(message, path=table.path) from None

    def _check_text(self, text: str, path: str, line: int) -> None:
        """Raise DataError for a text that a cell of this format cannot hold."""

    def _require(self, purpose: str) -> None:
        require("pandas", purpose)
        try:
            importlib.import_module(self.package)
        except ImportError:
            name = {"odf": "odfpy"}.get(self.package, self.package)
            raise MissingExtraError(name, purpose) from None


class Spreadsheet(WholeTable):
    """A sheet of cells, each with a type of its own."""

    engine: ClassVar[Literal["openpyxl", "odf"]]
    """The name by which pandas knows the package."""
    may_have_header = True
    expects_header = True

    def load(self, file: BinaryIO) -> tuple[Worksheet, str]:
        """The first sheet; its cells as Python values, an empty one as ""."""
        import pandas as pd

        self.measure(file)
        with pd.ExcelFile(file, engine=self.engine) as book:
            name = str(book.sheet_names[0])
            # object, not str: the cells keep their types for the output
            frame = pd.read_excel(
                book, sheet_name=0, header=None, dtype=object, keep_default_na=False
            )
            count = len(book.sheet_names)
            frame, restored = self.restore(frame, book.book, file)
        note = f"sheet '{name}' is read" + (f", the first of {count}" if count > 1 else "")
        return Worksheet(frame, name), note + restored

    def open(self, path: str, sheet: Worksheet, note: str) -> Table:
        """Rows numbered as in the sheet; a row without any text is blank."""
        return Table(path, self, None, group(_sheet_rows(sheet.frame)), source=sheet, note=note)

    def widen(
        self, table: Table, names: Sequence[str], columns: Sequence[tuple[int | None, list[Any]]]
    ) -> Worksheet:
        """The sheet with new columns, named in its header row if it has one.

        Raises:
            DataError: a sheet has no room for them.
        """
        import pandas as pd

        sheet: Worksheet = table.source
        added = sum(position is None for position, _ in columns)
        size = len(sheet.frame.columns) + added
        if size > MAX_COLUMNS:
            message = f"{added} more columns make {size:,}, a sheet holds {MAX_COLUMNS:,}"
            raise DataError(message, path=table.path)
        wide = sheet.frame.map(_storable).astype(object).copy()  # one block, not one a column
        for name, (position, texts) in zip(names, columns, strict=True):
            label = len(wide.columns) if position is None else position
            head = [None] * len(table.preamble) + ([] if table.header_row is None else [name])
            old = [""] * len(wide) if position is None else list(wide[position])
            pairs = zip(old, head + texts, strict=True)
            new = [before if text is None else text for before, text in pairs]
            wide[label] = pd.Series(new, dtype=object)
        return Worksheet(wide, sheet.name)

    def save(self, sheet: Worksheet, file: BinaryIO) -> None:
        """Write one sheet."""
        import pandas as pd

        packed = io.BytesIO()
        with pd.ExcelWriter(packed, engine=self.engine) as writer:
            sheet.frame.to_excel(writer, sheet_name=sheet.name, header=False, index=False)
            self.mend(sheet, writer)
        _write_reproducible(packed, file)

    def restore(
        self,
        frame: pd.DataFrame,
        book: Any,  # noqa: ARG002
        file: BinaryIO,  # noqa: ARG002
    ) -> tuple[pd.DataFrame, str]:
        """The table with the cells that pandas has dropped, and a note about them."""
        return frame, ""

    def measure(self, file: BinaryIO) -> None:
        """Raise ValueError for a workbook that would take far more room than it has content."""

    @abc.abstractmethod
    def mend(self, sheet: Worksheet, writer: Any) -> None:
        """Correct the cells that pandas does not write as they are."""

    def _check_text(self, text: str, path: str, line: int) -> None:
        found = _NOT_IN_XML.search(text)
        if found:
            message = f"an answer with U+{ord(found.group()):04X}, which {self.title} cannot hold"
            raise DataError(message, path=path, line=line)
        if len(text) > MAX_CELL:
            message = f"an answer of {len(text):,} characters, {self.title} holds {MAX_CELL:,}"
            raise DataError(message, path=path, line=line)


class Excel(Spreadsheet):
    """Excel workbooks, by openpyxl."""

    name = "xlsx"
    title = "Excel"
    endings = (".xlsx",)
    package = "openpyxl"
    engine = "openpyxl"

    def measure(self, file: BinaryIO) -> None:
        """One far cell makes pandas fill the whole grid up to it."""
        number_of = importlib.import_module("openpyxl.utils").column_index_from_string
        for xml in _worksheets(file):
            places = _REFERENCE.findall(xml)
            columns = {number_of(name.decode()) for name, _ in set(places)}
            rows = max((int(row) for _, row in places), default=0)
            if rows * max(columns, default=0) > max(MAX_GRID, FILLED * len(places)):
                what = (
                    f"{len(places):,} cells, spread over {rows:,} rows and {max(columns):,} columns"
                )
                raise ValueError(f"a sheet has {what}: delete those far from the others")

    def restore(self, frame: pd.DataFrame, book: Any, file: BinaryIO) -> tuple[pd.DataFrame, str]:
        """Errors, and formulas without a saved value, which pandas reads as empty cells."""
        if not _has_formulas_or_errors(file):
            return frame, ""
        values = {_position(cell): cell for cell in _cells(book.worksheets[0])}
        found = {at: str(cell.value) for at, cell in values.items() if cell.data_type == "e"}
        file.seek(0)
        formulas = importlib.import_module("openpyxl").load_workbook(file, read_only=True)
        count = 0
        for cell in _cells(formulas.worksheets[0]):
            if cell.data_type == "f" and _position(cell) not in values:
                found[_position(cell)] = str(getattr(cell.value, "text", cell.value))  # or an array
                count += 1
        formulas.close()
        for (row, column), text in found.items():
            if row >= len(frame) or column >= len(frame.columns):  # pandas cuts empty edges off
                rows, columns = max(row + 1, len(frame)), max(column + 1, len(frame.columns))
                frame = frame.reindex(index=range(rows), columns=range(columns), fill_value="")
            frame.iat[row, column] = text
        if not count:
            return frame, ""
        return frame, (
            f"; {count:,} formula{'s' * (count > 1)} without a saved value, read as text: open "
            "and save the file in a spreadsheet program to have the values"
        )

    def mend(self, sheet: Worksheet, writer: Any) -> None:
        """Texts such as =A1 or #N/A stay texts, and times stay times."""
        cells = writer.sheets[sheet.name]
        for row, values in zip(cells.iter_rows(), sheet.frame.to_numpy(), strict=True):
            for cell, value in zip(row, values, strict=True):
                if cell.data_type in ("f", "e"):
                    cell.data_type = "s"
                elif isinstance(value, (dt.time, dt.timedelta)):
                    cell.value = value


class OpenDocument(Spreadsheet):
    """OpenDocument spreadsheets, by odfpy."""

    name = "ods"
    title = "OpenDocument"
    endings = (".ods",)
    package = "odf"
    engine = "odf"

    def load(self, file: BinaryIO) -> tuple[Worksheet, str]:
        """As of any spreadsheet. odfpy prints that XML is damaged, and gives what is before it."""
        with redirect_stdout(io.StringIO()) as printed:
            found = super().load(file)
        if printed.getvalue():
            raise ValueError("it is damaged, and a part of its XML cannot be read")
        return found

    def mend(self, sheet: Worksheet, writer: Any) -> None:  # noqa: ARG002
        """Several spaces in a row, or at an end, are written as elements, or they are lost."""
        from odf.table import TableCell
        from odf.text import P, S

        for cell in writer.book.getElementsByType(TableCell):
            for paragraph in list(cell.childNodes):
                nodes = list(paragraph.childNodes)
                if not any(_SPACES.search(str(getattr(node, "data", ""))) for node in nodes):
                    continue
                new = P()
                for node in nodes:
                    if node.nodeType != node.TEXT_NODE:
                        new.addElement(node)
                        continue
                    for part in filter(None, re.split("( +)", str(node.data))):
                        if part.isspace():
                            new.addElement(S(c=len(part)))
                        else:
                            new.addText(part)
                cell.removeChild(paragraph)
                cell.addElement(new)


class Feather(WholeTable):
    """Feather (Arrow's file format): typed columns, by pyarrow."""

    name = "feather"
    title = "Feather"
    endings = (".feather",)
    package = "pyarrow"
    has_lines = False

    def load(self, file: BinaryIO) -> tuple[Worksheet, str]:
        """The table with the types of Arrow, so that integers stay integers beside nulls."""
        import pandas as pd

        table = parquet.arrow("reading Feather", "pyarrow.feather").read_table(file)
        table.validate(full=True)  # of a damaged file Arrow reads memory that is not its own
        return Worksheet(table.to_pandas(types_mapper=pd.ArrowDtype)), ""

    def open(self, path: str, sheet: Worksheet, note: str) -> Table:  # noqa: ARG002
        """Numbered rows, each with the names of the columns."""
        names = tuple(map(str, sheet.frame.columns))
        rows = sheet.frame.itertuples(index=False, name=None)
        numbered = (
            Row(number, tuple(map(cell_text, cells)), names)
            for number, cells in enumerate(rows, start=1)
        )
        return Table(path, self, names, group(numbered), source=sheet)

    def widen(
        self, table: Table, names: Sequence[str], columns: Sequence[tuple[int | None, list[Any]]]
    ) -> Worksheet:
        """The table with new columns of strings."""
        import pandas as pd

        wide = table.source.frame.copy(deep=False)
        for name, (_, texts) in zip(names, columns, strict=True):
            wide[name] = pd.array(texts, dtype="string[pyarrow]")
        return Worksheet(wide)

    def save(self, sheet: Worksheet, file: BinaryIO) -> None:
        """Write a table."""
        packed = io.BytesIO()
        # not frame.to_feather: it notes types of pandas that pandas itself cannot read again
        arrow = parquet.arrow("writing Feather")
        table = arrow.Table.from_pandas(sheet.frame, preserve_index=False)
        feather = parquet.arrow("writing Feather", "pyarrow.feather")
        feather.write_feather(table.replace_schema_metadata(None), packed)
        file.write(packed.getbuffer())


def _has_formulas_or_errors(file: BinaryIO) -> bool:
    """Whether a sheet of an Excel workbook has a formula, or a cell that is an error."""
    return any(b"<f>" in xml or b"<f " in xml or b't="e"' in xml for xml in _worksheets(file))


def _worksheets(file: BinaryIO) -> Iterator[bytes]:
    """The XML of each sheet of an Excel workbook. Raises ValueError where it is too large."""
    import zipfile

    file.seek(0)
    with zipfile.ZipFile(file) as parts:
        sheets = [part for part in parts.infolist() if _SHEET.fullmatch(part.filename)]
        if sum(part.file_size for part in sheets) > MAX_UNPACKED:
            raise ValueError(f"its sheets unpack to more than {MAX_UNPACKED // 2**30} GiB")
        for part in sheets:
            yield parts.read(part)


def _cells(sheet: Any) -> Iterator[Any]:
    """The cells of a sheet of openpyxl that are not empty."""
    sheet.reset_dimensions()  # a file may tell a wrong size
    for row in sheet.iter_rows():
        yield from (cell for cell in row if cell.value is not None)


def _position(cell: Any) -> tuple[int, int]:
    """Row and column of a cell of openpyxl, from 0."""
    return cell.row - 1, cell.column - 1


def _parser_errors() -> tuple[type[Exception], ...]:
    """The errors that the parsers behind pandas raise for damaged files."""
    import zipfile
    import zlib
    from xml.sax import SAXException

    return (
        *_READABLE, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError,
        EOFError, SAXException, zlib.error, zipfile.BadZipFile,
    )  # fmt: skip


def _sheet_rows(frame: pd.DataFrame) -> Iterator[Row]:
    for number, cells in enumerate(frame.itertuples(index=False, name=None), start=1):
        texts = tuple(map(cell_text, cells))
        yield Row(number, texts if any(texts) else ())


def _storable(value: Any) -> Any:
    """A cell as pandas is to write it: a day as a date, and an error as an empty cell."""
    if is_missing(value):
        return ""
    return value.date() if isinstance(value, dt.datetime) and is_day(value) else value


def _write_reproducible(packed: io.BytesIO, file: BinaryIO) -> None:
    """A zip file of XML, without dates and without marks of what the process did before."""
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            if member.filename == "docProps/core.xml":
                content = _DATES.sub(b"", content)
            elif member.filename in _WITH_NAMESPACES:
                content = _without_unused_namespaces(content)
            undated = zipfile.ZipInfo(member.filename)
            undated.compress_type = member.compress_type
            undated.external_attr = member.external_attr
            new.writestr(undated, content)
    file.write(out.getbuffer())


def _without_unused_namespaces(content: bytes) -> bytes:
    # odfpy declares every namespace that any file of the process has used so far.
    used = set(re.findall(rb"[</ ]([a-z]+):", content)) - {b"xmlns"}
    return _NAMESPACE.sub(lambda found: found[0] if found[1] in used else b"", content)
