"""JSON Lines: keys and values as they were written, and members that nobody asked to change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_files import CELL, fault, read, rewrite

from charseq.data.formats.reader import read_table

JSON_VALUES = st.none() | st.booleans() | st.integers() | CELL | st.lists(CELL, max_size=2)


@given(st.lists(st.dictionaries(CELL, JSON_VALUES, max_size=4), max_size=5))
def test_jsonl_gives_back_keys_and_values(tmp_path_factory: Any, objects: list[Any]) -> None:
    folder = tmp_path_factory.getbasetemp()
    content = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects)
    rows = read(folder, "a.jsonl", content)
    assert [dict(zip(row.names, row.cells, strict=True)) for row in rows] == objects


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'a': 1}", "not valid JSON: Expecting property name"),
        ('{"a": 1', "not valid JSON: Expecting ',' delimiter"),
        ('{"a": 1} {"a": 2}', "not valid JSON: Extra data at column 10"),
        ("[1, 2]", "a JSON list, expected one object a line"),
        ("[", "a list begins here, expected one object a line: jq -c '.[]' makes them"),
        ('"word"', "a JSON str, expected one object a line"),
        ('{"a": "x", "a": "y"}', "the key 'a' stands 2 times in it, expected once"),
        ('{"a" :"x", "b\\":": 1, "\\u0061"\t: {"b": ":"}}', "the key 'a' stands 2 times"),
        ('{"a": ' + "[" * 100_000 + "}", "not readable JSON: maximum recursion depth"),
        ('{"a": ' + "9" * 5_000 + "}", "not readable JSON: Exceeds the limit"),
    ],
)
def test_bad_json_is_named(tmp_path: Path, line: str, message: str) -> None:
    caught = fault(tmp_path, "a.jsonl", f'{{"a": 1}}\n{line}\n')
    assert str(caught).startswith(f"{tmp_path / 'a.jsonl'}:2: {message}")


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ('{"a": "1:2", "b": "\\":"}', ("1:2", '":')),
        ('{"a" : "x"}', ("x",)),
        ('{"a": {"b": 1, "b": 2}, "b": [{"a": 3}]}', ({"b": 2}, [{"a": 3}])),
    ],
)
def test_colons_and_inner_keys_are_no_keys_of_the_row(
    tmp_path: Path, line: str, cells: tuple[Any, ...]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    assert [tuple(row.cells) for row in read_table(path).rows] == [cells]


def test_json_keeps_its_numbers_escapes_and_key_order(tmp_path: Path) -> None:
    line = '{"b": 1.10, "a":1e400,"c": "\\u00e4 ä", "d" : {"p": [1]} } \r\n'
    expected = '{"b": 1.10, "a":1e400,"c": "\\u00e4 ä", "d" : {"p": [1]} , "p": "ß\\n"} \r\n'
    assert rewrite(line.encode(), tmp_path, "jsonl", ["p"], ["ß\n"]) == expected.encode()
    assert rewrite(b"{}\n", tmp_path, "jsonl", ["p", "q"], ["1", "2"]) == b"{}\n"  # blank: no cells
    marked = b'\xef\xbb\xbf{"a": "x"}'
    assert rewrite(marked, tmp_path, "jsonl", ["p"], ["1"]) == marked[:-1] + b', "p": "1"}'
