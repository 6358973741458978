"""The hand-written columns are well formed and kept apart; their scores are a hand count's."""

from __future__ import annotations

import importlib.util
import re
import sys
import unicodedata
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from charseq.data import pairs, splits

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
SCRIPT = ROOT / "scripts" / "columns.py"
COLUMNS = sorted((DATA / "columns").glob("*.tsv"))
spec = importlib.util.spec_from_file_location("columns", SCRIPT)
assert spec is not None
assert spec.loader is not None
columns: Any = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = columns  # a dataclass looks for its module
spec.loader.exec_module(columns)

each_column = pytest.mark.parametrize("path", COLUMNS, ids=lambda path: path.stem)


def read(path: Path) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = columns.read_pairs(path)
    return found


def is_calendar_date(text: str) -> bool:
    """Whether a text is a day, a month or a year of the calendar."""
    if not re.fullmatch(r"\d{4}(-\d\d){0,2}", text):
        return False
    try:
        date.fromisoformat(f"{text}-01-01"[:10] if len(text) < 10 else text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("text", ["2021-02-29", "2021-13", "21-01-01", "2021-1-1", "0000", "x"])
def test_the_rule_for_targets_sees(text: str) -> None:
    assert not is_calendar_date(text)


def test_there_are_ten_kinds_of_columns() -> None:
    assert len(COLUMNS) == 10


@each_column
def test_every_target_is_a_date_two_dates_or_none(path: Path) -> None:
    rows = read(path)
    assert 40 <= len(rows) <= 60
    for source, target in rows:
        dates = target.split("/") if target else []
        assert len(dates) <= 2, source
        assert all(map(is_calendar_date, dates)), source
        assert dates == sorted(set(dates)), f"{source}: the earlier date comes first"
        assert source.strip(), target
    assert any(not target for _, target in rows), "each column has cells without a date"
    assert len({source for source, _ in rows}) == len(rows)


@each_column
def test_a_weekday_in_english_is_the_true_one(path: Path) -> None:
    days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    for source, target in read(path):
        found = re.search(rf"\b({'|'.join(days)})([a-z]*day)?\b", source)
        if found and len(target) == 10:
            assert days[date.fromisoformat(target).weekday()] == found[1], source


def test_the_strangers_are_different_texts_without_a_date() -> None:
    lines = (DATA / "columns" / "strangers.txt").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    assert len(lines) == len(set(lines)) == 245
    assert all(line.strip() == line != "" and "\t" not in line for line in lines)
    dated = {source for path in COLUMNS for source, target in read(path) if target}
    assert not dated & set(lines)
    for line in lines:
        digits = re.findall(r"(?<!\d)\d{4}-\d\d-\d\d(?!\d)", line)
        assert not any(map(is_calendar_date, digits)), line


def test_the_files_are_text_in_nfc() -> None:
    for path in (*COLUMNS, DATA / "columns" / "strangers.txt"):
        text = path.read_bytes().decode("utf-8")
        assert "\r" not in text
        assert unicodedata.is_normalized("NFC", text)


def test_no_source_is_among_the_dates_to_train_or_tune_on() -> None:
    dates = pairs.load(DATA, columns="source,target", empty_targets=True)
    known = {row.source for row in (*dates.train, *dates.dev)}
    assert len(known) > 40_000, "the folder above is read without this one"
    texts = {source for path in COLUMNS for source, _ in read(path)}
    texts |= set((DATA / "columns" / "strangers.txt").read_text(encoding="utf-8").splitlines())
    assert not known & texts


def test_the_folder_of_the_dates_is_read_without_the_columns() -> None:
    found = splits.find_files(DATA, splits.is_table)
    assert {path.parent for path in found.values()} == {DATA}


# --- the script


class Reader:
    """A model that knows two dates, refuses "x", and takes all else for a day with probability."""

    def predict(self, texts: list[str]) -> list[Any]:
        known = {"a": ("2021-03-03", 0.99), "b": ("2021", 0.8), "x": ("", 0.95)}
        found = [(text, *known.get(text, ("1999-01-01", len(text) / 10))) for text in texts]
        return [
            SimpleNamespace(source=text, prediction=answer, probability=sure)
            for text, answer, sure in found
        ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(columns.charseq, "load", lambda _run: Reader())
    (tmp_path / "one.tsv").write_text("a\t2021-03-03\nb\t2021\nx\t\nlonglonglo\t\n")
    (tmp_path / "two.tsv").write_text("longlonglo \t2020/2021\n")
    (tmp_path / "strangers.txt").write_text("x\nshort\nlonglonglo\n")
    return tmp_path


def test_the_table_is_that_of_a_hand_count(folder: Path) -> None:
    found = CliRunner().invoke(columns.main, ["--data", str(folder)])
    assert found.exit_code == 0, found.output
    assert found.output.splitlines() == [
        "| column | rows | exact | given at 0.9 | wrong of given |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| one | 4 | 75.0 % | 50.0 % | 50.0 % |",
        "| two | 1 | 0.0 % | 100.0 % | 100.0 % |",
        "| **all** | 5 | 60.0 % | 60.0 % | 66.7 % |",
        "| a day | 1 | 100.0 % | 100.0 % | 0.0 % |",
        "| a month or a year | 1 | 100.0 % | 0.0 % | - |",
        "| no date | 2 | 50.0 % | 50.0 % | 100.0 % |",
        "| two dates | 1 | 0.0 % | 100.0 % | 100.0 % |",
        "",
        "strangers answered",
        "at 0.5              2 of 3",
        "at 0.9              1 of 3",
        "at 0.99             1 of 3",
    ]


def test_the_wrong_answers_are_listed(folder: Path) -> None:
    found = CliRunner().invoke(columns.main, ["--data", str(folder), "--wrong"])
    assert found.output == (
        "one\tlonglonglo\t\t1999-01-01\t1.0000\ntwo\tlonglonglo \t2020/2021\t1999-01-01\t1.1000\n"
    )


def test_a_line_that_is_no_pair_is_named(folder: Path) -> None:
    (folder / "two.tsv").write_text("a\t2021\nb 2020\n")
    found = CliRunner().invoke(columns.main, ["--data", str(folder)])
    assert found.exit_code == 1
    assert "two.tsv:2: 0 tabs, expected one" in found.output
    found = CliRunner().invoke(columns.main, ["--data", str(folder / "none")])
    assert "has no .tsv file, expected one for each kind of column" in found.output
