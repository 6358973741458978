"""The setting `columns` in its two forms with their faults, and the settings file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.data.settings_file import ROLES, format_columns, parse_columns, settings_of
from charseq.errors import DataError, SettingError


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
    assert parse_columns(columns) == roles


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
        parse_columns(columns)
    assert "\n" not in str(caught.value)


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6) | st.integers(1, 99)


@given(st.fixed_dictionaries({"source": NAMES, "target": NAMES}, optional={"weight": NAMES}))
def test_a_table_is_written_as_it_is_read(table: dict[str, str | int]) -> None:
    assert parse_columns(format_columns(table)) == {role: str(name) for role, name in table.items()}


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
        format_columns(table)


def test_roles_are_the_fields_of_an_example() -> None:
    assert ROLES == ("source", "target", "features", "weight")


# --- charseq.toml


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_the_search_space_is_not_among_the_settings(tmp_path: Path) -> None:
    put(tmp_path, "charseq.toml", "hidden = 8\n[tune]\nlayers = [1, 2]\n")
    assert settings_of(tmp_path) == {"hidden": 8}
    put(tmp_path, "charseq.toml", "hidden = 8\n[tuned]\nlayers = [1, 2]\n")
    with pytest.raises(DataError, match="'tuned' is no setting"):
        settings_of(tmp_path)


def test_settings_of_a_folder(tmp_path: Path) -> None:
    assert settings_of(tmp_path) == {}
    assert settings_of(tmp_path / "file.tsv") == {}
    put(
        tmp_path,
        "charseq.toml",
        'cell = "lstm"\nepochs = 3\ntied = false\ncolumns = "target,source"\n',
    )
    assert settings_of(tmp_path) == {
        "cell": "lstm", "epochs": 3, "tied": False, "columns": "target,source",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a = 1\nb = \n", r"charseq.toml:2: not valid TOML"),
        (b"a = 1\nb = '\xff'\n", "charseq.toml:2: not UTF-8"),
        ("[model]\ncell = 'gru'\n", "'model' is no setting"),
        ("cell = ['gru']\n", "'cell' is no setting"),
        ("[columns]\nsource = 'a'\n", "no 'target' in it"),
        ('columns = "source,target\\u001b[31m"\n', "columns has the role 'target"),
        ("[columns]\nsource = 'a'\ntarget = []\n", "columns has target = "),
        ("[columns]\nsource = 'a'\ntarget = 'b'\nid = 'c'\n", "columns has id = 'c'"),
    ],
)
def test_wrong_settings_files_are_refused(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    put(tmp_path, "charseq.toml", content)
    with pytest.raises(DataError, match=message) as caught:
        settings_of(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "charseq.toml"))
    assert "\n" not in str(caught.value)
