"""The one rule for headers and comments: no row is lost, and no header is a pair in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from table_files import write

from charseq.data.formats.headers import roles_among
from charseq.data.formats.reader import read_table
from charseq.data.formats.rows import Table
from charseq.errors import DataError


def table(folder: Path, content: str, name: str = "a.tsv", **options: object) -> Table:
    return read_table(write(folder, name, content), **options)


def lines(content: str) -> str:
    """Cells between spaces and rows between slashes, as TSV."""
    return content.replace(" ", "\t").replace("/", "\n") + "\n"


@pytest.mark.parametrize(
    "content",
    [
        "Source TARGET/a b",  # roles
        "target x source/a b c",
        "SRC tgt/a b",
        "input output/a b",
        "word pron/harbour HH",  # usual names
        "Lemma Form Tags/go went V;PST",
        "id ordered_on/1 3.März.2021/2 5.May.2020",  # digits below words
        "nr wann/1 x/2 y",
        "#id word/1 x/2 y",
        " word pron/0 a b/1 c d",  # of pandas
    ],
)
def test_a_header_is_found(tmp_path: Path, content: str) -> None:
    found = table(tmp_path, lines(content))
    first, *others = content.split("/")
    assert found.header == tuple(first.split(" "))
    assert [row.cells for row in found.rows] == [tuple(other.split(" ")) for other in others]


@pytest.mark.parametrize(
    "content",
    [
        "a b/c d",
        "3.März.2021 2021-03-03/5.May.2020 2020-05-05/6.May.2020 2020-05-06",
        "today 2020-05-05/5.May.2020 2020-05-05/6.May.2020 2020-05-06",  # numbers in the first row
        "one 1/two 2/three 3",
        "shh SH/cat K.AE1.T/dog D.AO1.G/go G.OW1",  # phones have few digits
        "word word/form form",  # the same twice
        "word /a b",
        " b/1 c/2 d",
        "word pron",  # nothing else is there
        "wort aussprache/a b/c d",
        "word Wort/a b",
    ],
)
def test_a_row_is_not_lost(tmp_path: Path, content: str) -> None:
    found = table(tmp_path, lines(content))
    assert found.header is None
    assert len(list(found.rows)) == content.count("/") + 1


def test_what_was_decided_is_told_with_the_way_to_change_it(tmp_path: Path) -> None:
    told = table(tmp_path, "\nword\tpron\na\tb\n").note
    assert told == "line 2 is taken for a header (word, pron): header=no reads it as a row"
    assert table(tmp_path, "source\ttarget\na\tb\n").note == ""
    assert table(tmp_path, "a\tb\nc\td\n").note == ""
    assert table(tmp_path, "a,b\nc,d\n", "a.csv").note == (
        "line 1 is read as a row (a, b): header=yes makes it the header"
    )
    assert table(tmp_path, "a,b\nc,d\n", "a.csv", header="no").note == ""
    assert table(tmp_path, "id,b,b\n1,d,e\n", "a.csv").note.endswith("2 columns are named 'b'")


def test_a_csv_needs_less_evidence_than_a_tsv(tmp_path: Path) -> None:
    for content, name, header in (
        ("id,number,ordered on\na,b,c\n", "a.csv", ("id", "number", "ordered on")),
        ("id\tnumber\tordered on\na\tb\tc\n", "a.tsv", None),
        ("name\nJean\n", "a.csv", ("name",)),
        ("name\nJean\n", "a.tsv", None),
        ("wann\n3.5.2020\n", "a.csv", ("wann",)),
    ):
        assert table(tmp_path, content, name).header == header


def test_names_that_are_looked_for_make_a_header(tmp_path: Path) -> None:
    assert table(tmp_path, "a\tb\nc\td\n", names=["b"]).header == ("a", "b")
    assert table(tmp_path, "a\tb\nc\td\n", names=["x"]).header == ("a", "b")
    assert table(tmp_path, "a\tb\nc\td\n", added=["p", "b"]).header == ("a", "b")
    assert table(tmp_path, "a\tb\nc\td\n", added=["p"]).header is None


def test_blank_lines_before_a_header_are_no_rows(tmp_path: Path) -> None:
    found = table(tmp_path, "\n\nsource\ttarget\na\tb\n")
    assert found.header == ("source", "target")
    assert [(row.line, row.cells) for row in found.rows] == [(4, ("a", "b"))]
    assert [row.raw for row in found.preamble] == [b"\n", b"\n"]


@pytest.mark.parametrize(
    ("name", "content", "count"),
    [
        ("a.tsv", "# dates, checked\na\tb\nc\td\n", 1),
        ("a.tsv", "#\n;;; x\n\n#y\na\tb\nc\td\n", 4),
        ("a.tsv", "\ufeff# x\na\tb\n", 1),
        ("a.csv", "# dates, checked by hand\na,b\nc,d\n", 1),
        ("a.csv", "#x,y\na,b\nc,d\n", 0),  # a row that begins with #
        ("a.tsv", "#\thash\n$\tdollar\n", 0),
        ("a.tsv", "a\tb\n# x\tc\n", 0),
    ],
)
def test_comments_are_the_first_lines_only(
    tmp_path: Path, name: str, content: str, count: int
) -> None:
    found = table(tmp_path, content, name, header="no")
    assert len(found.preamble) == count
    rows = list(found.rows)
    assert b"".join(row.raw for row in [*found.preamble, *rows]) == content.encode()
    assert all(len(row.cells) == 2 for row in rows)
    assert ("comment" in found.note) == bool(count)


def test_the_number_of_comments_is_told(tmp_path: Path) -> None:
    assert table(tmp_path, "# x\na\tb\n").note == "1 comment passed over, in line 1"
    told = table(tmp_path, "# x\n# y\na\tb\n").note
    assert told == "2 lines of comments passed over, in line 1"


def test_comments_of_plain_text_and_json_are_lines(tmp_path: Path) -> None:
    assert [row.cells for row in table(tmp_path, "# x\na\n", "a.txt").rows] == [("# x",), ("a",)]
    with pytest.raises(DataError, match=r"a\.jsonl:1: not valid JSON"):
        list(table(tmp_path, '# x\n{"a": 1}\n', "a.jsonl").rows)


def test_roles_are_found_in_any_case() -> None:
    assert roles_among(["Target", " SOURCE", "id"]) == {"source": 1, "target": 0}
    assert roles_among(["src", "source"]) == {"source": 1}
    assert roles_among(["word"]) == {}
    with pytest.raises(DataError, match="2 columns are named 'source'"):
        roles_among(["source", "Source"])
