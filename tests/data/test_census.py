"""What `charseq check` tells of a text, each count planted and found."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from charseq.cli import check, options
from charseq.data import corpus
from charseq.data.statistics import LinesReport, inspect_lines
from charseq.errors import DataError

RULES: dict[str, Any] = {
    "case": "keep", "punctuation": "keep", "limit": 1000, "min_count": 1, "form": "auto",
}  # fmt: skip


def census(folder: Path, rules: dict[str, Any] = RULES, **files: str) -> LinesReport:
    for name, text in files.items():
        (folder / f"{name}.txt").write_bytes(text.encode())
    return inspect_lines(corpus.load(folder), **rules)


def test_every_count(tmp_path: Path) -> None:
    report = census(tmp_path, train="a b c\na b\n\nd\n", dev="a e e\n", test="f\n")
    assert [astuple(split) for split in report.splits] == [
        # lines, words, longest, distinct, once, unknown, repeated, leaked
        ("train", 3, 6, 3, 4, 2, 0.0, 0, 0),
        ("dev", 1, 3, 3, 2, 1, pytest.approx(200 / 3), 0, 0),
        ("test", 1, 1, 1, 1, 1, 100.0, 0, 0),
    ]
    assert report.name == tmp_path.name
    assert report.fingerprint == corpus.load(tmp_path).fingerprint
    assert report.symbols.startswith("4 words seen at least once, of 4; 0.0 %")
    assert len(report.notes) == 1
    assert "blank" in report.notes[0]


def test_equal_lines_within_and_across_splits(tmp_path: Path) -> None:
    report = census(
        tmp_path, train="a\nb\na\na\ncaf\u00e9\n", dev="a\na\nc\n", test="c\ncafe\u0301\nd\nA\n"
    )
    assert [(s.repeated, s.leaked) for s in report.splits] == [(2, 0), (1, 2), (0, 2)]


@pytest.mark.parametrize(
    ("rules", "distinct", "unknown"),
    [
        ({}, 4, 0.0),
        ({"case": "lower"}, 3, 0.0),
        ({"punctuation": "split"}, 4, 0.0),
        ({"case": "lower", "punctuation": "split"}, 3, 0.0),
        ({"min_count": 2}, 4, 60.0),
        ({"limit": 3}, 4, 20.0),
    ],
)
def test_words_are_those_of_a_training(
    tmp_path: Path, rules: dict[str, Any], distinct: int, unknown: float
) -> None:
    train = census(tmp_path, RULES | rules, train="Go go Go. a a\n", dev="b\n").splits[0]
    assert train.words == (6 if "punctuation" in rules else 5)
    assert (train.distinct, train.unknown) == (distinct, pytest.approx(unknown))


def test_the_report_is_for_people_and_programs(tmp_path: Path) -> None:
    report = census(tmp_path, train="a b\n" * 1500, dev="a x\n")
    lines = report.lines()
    assert lines[0] == f"data     {tmp_path.name}, lines of text"
    table = [line.split() for line in lines[2:5]]
    assert table[0][:3] == ["splits", "lines", "words"]
    assert table[1] == ["train", "1,500", "3,000", "2", "2", "0", "0.0", "%", "1,499", "0"]
    assert table[2] == ["dev", "1", "2", "2", "2", "2", "50.0", "%", "0", "0"]
    assert len({len(line) for line in lines[2:5]}) == 1
    assert json.loads(json.dumps(report.to_json()))["splits"][1]["name"] == "dev"


def test_check_tells_text_from_pairs_and_reads_its_settings(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("go.\nGo.\nno.\n", encoding="utf-8")
    (tmp_path / "dev.txt").write_text("go\n", encoding="utf-8")
    plain = check.inspect_data(tmp_path)
    assert isinstance(plain, LinesReport)
    assert [s.unknown for s in plain.splits] == [100.0, 100.0], "each word comes once"
    (tmp_path / "charseq.toml").write_text("punctuation = 'split'\ncase = 'lower'\n")
    known = check.inspect_data(tmp_path, config=options.configured(str(tmp_path), {}))
    assert isinstance(known, LinesReport)
    assert [(s.distinct, s.unknown) for s in known.splits] == [(3, pytest.approx(100 / 6)), (1, 0)]
    with pytest.raises(DataError, match="1 column, expected source and target"):
        check.inspect_data(tmp_path, config=options.configured(str(tmp_path), {"task": "pairs"}))
