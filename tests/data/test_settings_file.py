"""The setting `columns`: two ways to say it, and every way to say it wrongly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.data.settings_file import ROLES, parse, write
from charseq.errors import SettingError


@pytest.mark.parametrize(
    ("columns", "roles"),
    [
        ("", ()),
        (" ", ()),
        ("source,target", ("source", "target")),
        ("target, source, weight", ("target", "source", "weight")),
        ("skip,source,-,target", ("skip", "source", "-", "target")),
        ("source=word,target=pron", {"source": "word", "target": "pron"}),
        ("target=2, source=1", {"target": "2", "source": "1"}),
        ('"source=last, first",target=b=c', {"source": "last, first", "target": "b=c"}),
    ],
)
def test_columns_are_read(columns: str, roles: object) -> None:
    assert parse(columns) == roles


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("source", "no 'target' in it"),
        ("target,weight", "no 'source' in it"),
        ("source,source,target", "'source' stands there twice"),
        ("source,sink", "the role 'sink', expected source, target"),
        ("source,target,", "the role ''"),
        ("source=a,target", "or role=NAME for each"),
        ("source=a,target=b,skip=c", "the role 'skip'"),
        ('"source=a,target=b', "columns is"),
    ],
)
def test_wrong_columns_are_refused_in_one_line(columns: str, message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        parse(columns)
    assert "\n" not in str(caught.value)


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6) | st.integers(1, 99)


@given(st.fixed_dictionaries({"source": NAMES, "target": NAMES}, optional={"weight": NAMES}))
def test_a_table_is_written_as_it_is_read(table: dict[str, str | int]) -> None:
    assert parse(write(table)) == {role: str(name) for role, name in table.items()}


@pytest.mark.parametrize(
    "table",
    [
        {"source": "a"},
        {"source": "a", "target": 1.5},
        {"source": "a", "target": True},
        {"source": "a", "target": ["b"]},
        {"source": "a", "target": "b", "skip": "c"},
    ],
    ids=str,
)
def test_a_wrong_table_is_refused(table: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        write(table)


def test_roles_are_the_fields_of_an_example() -> None:
    assert ROLES == ("source", "target", "features", "weight")
