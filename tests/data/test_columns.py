"""The columns that a model reads: by name, by number, by role, and for each row with keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from charseq.data.columns import column_names, column_reader
from charseq.data.formats.reader import read_table
from charseq.data.formats.writer import Rejected
from charseq.errors import DataError, UsageError


def texts(
    folder: Path, name: str, content: str, column: Any = None, *, features: bool = False, **how: Any
) -> list[Any]:
    """The text of each row; of a rejected row its fault."""
    (folder / name).write_text(content, encoding="utf-8")
    table = read_table(folder / name, **how)
    read = column_reader(table, column, features=features)
    found: list[Any] = []
    for row in table.rows:
        try:
            found.append(read(row))
        except Rejected as fault:
            found.append(fault)
    return [str(one) if isinstance(one, Rejected) else one for one in found]


def test_a_column_is_chosen_by_name_by_number_or_by_its_role(tmp_path: Path) -> None:
    content = "id,source,word\n1,a,b\n\n2,,c\n"
    assert texts(tmp_path, "a.csv", content, "word", header="yes") == ["b", None, "c"]
    assert texts(tmp_path, "a.csv", content, 1, header="yes") == ["1", None, "2"]
    assert texts(tmp_path, "a.csv", content, header="yes") == ["a", None, ""]
    assert texts(tmp_path, "a.csv", content.replace("source", "x"), header="yes")[0] == "1"
    assert texts(tmp_path, "a.txt", "a b\n\n") == ["a b", ""]


def test_two_columns_are_read_for_features(tmp_path: Path) -> None:
    content = "form,features,source\nx,V,go\ny,V,\n"
    assert texts(tmp_path, "a.csv", content, features=True, header="yes") == ["go\tV", ""]
    assert texts(tmp_path, "a.csv", content, "form,source", features=True, header="yes") == [
        "x\tgo", "y\t",
    ]  # fmt: skip
    assert texts(tmp_path, "a.txt", "go\tV\n", features=True) == ["go\tV"]
    with pytest.raises(UsageError, match="expected SOURCE,FEATURES"):
        texts(tmp_path, "a.csv", content, "form", features=True, header="yes")


def test_keys_are_found_in_any_order_and_a_row_without_the_key_is_rejected(tmp_path: Path) -> None:
    content = '{"w": "a", "k": 1}\n{"k": 2, "w": "b"}\n{"k": "c"}\n{"w": 1.5}\n{"w": null}\n'
    assert texts(tmp_path, "a.jsonl", content) == [
        "a", "b", "no column 'w': expected one of 'k'", "a value of type float, expected text", "",
    ]  # fmt: skip


def test_a_wrong_column_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv:1: no column 'z': expected one of 'a', 'b'"):
        texts(tmp_path, "a.csv", "a,b\nc,d\n", "z", header="yes")
    with pytest.raises(DataError, match=r"a\.tsv:2: no column '3': only 2 columns and no header"):
        texts(tmp_path, "a.tsv", "\na\tb\n", 3)


def test_a_tab_in_the_source_is_rejected_where_features_follow(tmp_path: Path) -> None:
    assert texts(tmp_path, "a.csv", '"a\tb",V\n', features=True)[0].startswith("a tab in the sou")
    assert texts(tmp_path, "a.csv", '"a\tb",V\n') == ["a\tb"]


def test_ever_new_keys_do_not_lead_to_a_wrong_cell(tmp_path: Path) -> None:
    rows = [
        f'{{"k{n % 150}": "no", "w": "{n}"}}\n{{"w": "{n}", "z{n % 7}": "no"}}' for n in range(300)
    ]
    found = texts(tmp_path, "a.jsonl", "\n".join(rows) + "\n", "w")
    assert found == [str(n) for n in range(300) for _ in range(2)]


def test_a_role_is_found_in_any_case(tmp_path: Path) -> None:
    assert texts(tmp_path, "a.csv", "Target,SOURCE\na,b\n") == ["b"]
    assert texts(tmp_path, "a.jsonl", '{"Target": "a", "Source": "b"}\n') == ["b"]
    assert texts(tmp_path, "a.csv", "Datum,Ort\na,b\n", "ort", header="yes") == ["b"]
    assert texts(tmp_path, "a.csv", "ort,Ort\na,b\n", "Ort", header="yes") == ["b"]


def test_a_list_of_features_is_joined_by_the_separator(tmp_path: Path) -> None:
    content = '{"source": "go", "features": ["V", "PST"]}\n{"source": "go", "features": [[1]]}\n'
    assert texts(tmp_path, "a.jsonl", content, features=True) == [
        "go\tV;PST", "a value of type list, expected text",
    ]  # fmt: skip
    table = read_table(tmp_path / "a.jsonl")
    read = column_reader(table, None, features=True, separator="|")
    assert read(next(table.rows)) == "go\tV|PST"


def test_a_tab_in_the_features_is_rejected(tmp_path: Path) -> None:
    found = texts(tmp_path, "a.csv", 'a,"V\tW"\nb,V\n', features=True, header="no")
    assert found == [
        "a tab in the features, which a model with features cannot tell apart", "b\tV",
    ]  # fmt: skip


def test_a_line_with_another_number_of_tabs_is_rejected_where_features_follow(
    tmp_path: Path,
) -> None:
    assert texts(tmp_path, "a.txt", "a\tV\nb\nc\tV\tW\n\n", features=True, format="text") == [
        "a\tV",
        "0 tabs, expected one, between source and features",
        "2 tabs, expected one, between source and features",
        "",
    ]


@pytest.mark.parametrize(
    ("name", "content", "column", "told"),
    [
        ("a.csv", "a,ordered on\n1,x\n", 2, "column 2 (ordered on)"),
        ("a.tsv", "x\ty\n", None, "column 1"),
        ("a.jsonl", '{"a": "x", "b": "y"}\n', "b", "key 'b'"),
        ("a.txt", "x\n", None, ""),
    ],
)
def test_the_column_that_is_read_is_told_once(
    tmp_path: Path, name: str, content: str, column: Any, told: str
) -> None:
    (tmp_path / name).write_text(content)
    table, reports = read_table(tmp_path / name), []
    read = column_reader(table, column, features=False, report=reports.append)
    assert [read(row) for row in table.rows]
    assert reports == [told]


def test_names_among_labels() -> None:
    assert column_names("lemma,2", features=True) == ["lemma"]
    assert column_names("last, first", features=False) == ["last, first"]
    assert column_names(3, features=False) == column_names(None, features=True) == []
