"""The table of settings in README.md says what charseq.config declares."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from charseq.config import SETTINGS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("settings", ROOT / "scripts" / "settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_is_current(script: ModuleType) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == script.insert(text), "run scripts/settings.py"


def test_every_setting_has_one_row(script: ModuleType) -> None:
    rows = script.table().rstrip("\n").split("\n")[2:]
    assert [row.split(" | ")[1] for row in rows] == [f"`{name}`" for name in SETTINGS]
    assert {row.replace(r"\|", "").count("|") for row in rows} == {6}


def test_two_defaults_stand_in_one_cell(script: ModuleType) -> None:
    rows = {row.split(" | ")[1]: row.split(" | ")[2] for row in script.table().split("\n")[2:-1]}
    assert rows["`cell`"] == "`gru / lstm`"
    assert rows["`beam`"] == "`5`"
    assert rows["`columns`"] == ""


def test_only_what_is_between_the_markers_changes(script: ModuleType) -> None:
    text = f"before\n{script.BEGIN}\n| old |\n{script.END}\nafter\n"
    assert script.insert(text) == f"before\n{script.BEGIN}\n{script.table()}{script.END}\nafter\n"
    assert script.insert(script.insert(text)) == script.insert(text)


def test_missing_markers_are_said(script: ModuleType) -> None:
    with pytest.raises(ValueError, match="settings:begin"):
        script.insert("nothing here\n")
    with pytest.raises(ValueError, match="settings:begin"):
        script.insert(f"{script.END}\n{script.BEGIN}\n")
