"""The measurement of growth runs, for a moment and on a few rows, so that it cannot rot."""

from __future__ import annotations

import importlib.util
import sys
import unicodedata
from pathlib import Path
from typing import Any

import click
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "growth.py"
spec = importlib.util.spec_from_file_location("growth", SCRIPT)
assert spec is not None
assert spec.loader is not None
growth: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(growth)


def test_data_are_made_up_as_it_says(tmp_path: Path) -> None:
    growth.write_pairs(tmp_path / "a", 1200)
    growth.write_pairs(tmp_path / "b", 1200)
    pairs = [line.split("\t") for line in (tmp_path / "a").read_text().splitlines()]
    assert len(pairs) == 1200
    assert all(target == source.upper() and 4 <= len(source) <= 14 for source, target in pairs)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    growth.write_text(tmp_path / "c", 3000)
    lines = (tmp_path / "c").read_text().splitlines()
    assert (len(lines), len(set(lines)) < 2000) == (3000, True)


def test_letters_are_different_and_stay_as_they_are() -> None:
    letters = "".join(map(growth.letter, range(50_000)))
    assert len(set(letters)) == 50_000
    assert unicodedata.normalize("NFD", letters) == letters


def test_a_process_is_measured_or_named() -> None:
    found = growth.child([sys.executable, "-c", "print('{\"rows\": 3}')"])
    assert found.pop("rows") == 3
    assert set(found) == {"seconds", "megabytes"}
    assert min(found.values()) > 0
    with pytest.raises(click.ClickException, match="ended with 3"):
        growth.child([sys.executable, "-c", "raise SystemExit(3)"])


def test_texts_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TOTAL", 300), ("ROWS_OF_SYMBOLS", 60), ("SECONDS", 0.0)):
        monkeypatch.setattr(growth, name, value)
    monkeypatch.setattr(growth, "case", lambda **facts: facts)
    measured = {"megabytes": 1.0, "seconds": 1.0}
    monkeypatch.setattr(growth, "child", lambda facts: {**measured, **growth.measure(**facts)})
    points = list(growth.by_texts(tmp_path, "symbols")(30))
    assert tuple(point["stage"] for point in points) == growth.PANELS["symbols"]
    assert all(point["seconds"] > 0 for point in points)


def test_points_are_a_table_and_a_picture(tmp_path: Path) -> None:
    points = [
        {"by": by, "stage": stage, "size": size, "seconds": size / 1e4, "megabytes": 50.0}
        for by, stages in growth.PANELS.items()
        for stage in stages
        for size in (1000, 10_000)
    ]
    lines = growth.table(points).split("\n")
    assert lines[1].split() == ["read", "1,000", "rows", "0.100", "100.00", "µs", "50"]
    assert len(lines) == 1 + len(points)
    growth.draw(str(tmp_path / "a.png"), points)
    growth.draw(str(tmp_path / "b.png"), points)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
