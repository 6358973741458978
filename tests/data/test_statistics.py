"""Reports on pairs and on lines of text: each fault is planted once and found at its line."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from charseq.cli import check, options
from charseq.data import corpus
from charseq.data.pairs import load
from charseq.data.statistics import (
    Inventory,
    Leak,
    Lengths,
    LinesReport,
    OddCharacter,
    PairsReport,
    UnicodeForms,
    inspect_lines,
    inspect_pairs,
)
from charseq.errors import DataError


def pairs_report(folder: Path, columns: str = "", **files: str) -> PairsReport:
    for name, text in files.items():
        (folder / f"{name}.tsv").write_bytes(text.encode())
    return inspect_pairs(load(folder, columns=columns))


def test_a_clean_set_has_counts_and_nothing_else(tmp_path: Path) -> None:
    report = pairs_report(tmp_path, train="ab\tx\nc\tyyy\nabcd\tz\n", dev="d\tx\n", test="dd\ty\n")
    assert [(s.name, s.rows, s.sources, s.repeated, s.ambiguous) for s in report.splits] == [
        ("train", 3, 3, 0, 0), ("dev", 1, 1, 0, 0), ("test", 1, 1, 0, 0),
    ]  # fmt: skip
    assert report.splits[0].source == Lengths(1, 2, 4)
    assert report.splits[0].target == Lengths(1, 1, 3)
    assert (report.leaks, report.forms, report.odd, report.edges) == ((), (), (), 0)
    assert report.inventories == (
        Inventory("source", ("d", "a", "b", "c"), {}),
        Inventory("target", ("y", "x", "z"), {}),
    )


def test_repeated_pairs_and_several_targets(tmp_path: Path) -> None:
    report = pairs_report(tmp_path, train="a\tx\na\tx\na\ty\nb\tx\nb\tx\nb\tx\n", dev="c\tx\n")
    train = report.splits[0]
    assert (train.rows, train.sources, train.repeated, train.ambiguous) == (6, 2, 3, 1)


def test_equal_spellings_are_the_same_pair(tmp_path: Path) -> None:
    train = pairs_report(tmp_path, train="é\tü\ne\u0301\tu\u0308\n", dev="c\tx\n").splits[0]
    assert (train.rows, train.sources, train.repeated, train.ambiguous) == (2, 1, 1, 0)


def test_features_make_another_row_but_not_another_source(tmp_path: Path) -> None:
    report = pairs_report(
        tmp_path,
        "source,features,target",
        train="a\tV;NOM(1,SG)\tx\na\tN\ty\nb\tN\tx\n",
        dev="a\tN\tx\nb\tX;N\ty\n",
    )
    assert (report.splits[0].repeated, report.splits[0].ambiguous) == (0, 0)
    leak = Leak("train", "dev", 2, 1, "a", f"{tmp_path}/dev.tsv:1")
    assert report.leaks == (leak,)
    assert report.inventories[2] == Inventory(
        "features", ("N", "NOM(1)", "NOM(SG)", "V", "X"), {"dev": ("X",)}, ";"
    )


def test_leakage_between_each_two_splits_counts_sources_whatever_their_form(tmp_path: Path) -> None:
    report = pairs_report(
        tmp_path, train="a\tx\né\tx\n", dev="b\tx\ne\u0301\tx\ne\u0301\ty\n", test="b\tx\na\ty\n"
    )
    assert report.leaks == (
        Leak("train", "dev", 1, 1, "é", f"{tmp_path}/dev.tsv:2"),
        Leak("train", "test", 1, 1, "a", f"{tmp_path}/test.tsv:2"),
        Leak("dev", "test", 1, 1, "b", f"{tmp_path}/test.tsv:1"),
    )


def test_a_mix_of_forms_is_found_at_the_rarest(tmp_path: Path) -> None:
    text = "é\ta\nü\ta\nu\u0308\ta\nabc\ta\nde\ta\née\u0301\ta\n"
    report = pairs_report(tmp_path, train=text, dev="x\ta\n")
    assert report.forms == (UnicodeForms("source", 2, 1, 1, f"{tmp_path}/train.tsv:3"),)


def test_one_form_throughout_is_no_mix(tmp_path: Path) -> None:
    report = pairs_report(tmp_path, train="e\u0301\té\nu\u0308\tü\n", dev="x\ta\n")
    assert report.forms == ()


def test_odd_characters_have_code_name_count_and_place(tmp_path: Path) -> None:
    text = "ab\tx\na\u200bb\u200b\tx\u00a0\nc\u202e\tx\n\ue000\tx\nd\ta\x01\ufffd\n"
    report = pairs_report(tmp_path, train=text, dev="z\u200b\tx\n")
    place = f"{tmp_path}/train.tsv"
    assert report.odd == (
        OddCharacter("source", "U+200B", "ZERO WIDTH SPACE", 3, f"{place}:2"),
        OddCharacter("source", "U+202E", "RIGHT-TO-LEFT OVERRIDE", 1, f"{place}:3"),
        OddCharacter("source", "U+E000", "PRIVATE USE", 1, f"{place}:4"),
        OddCharacter("target", "U+0001", "CONTROL CHARACTER", 1, f"{place}:5"),
        OddCharacter("target", "U+00A0", "NO-BREAK SPACE", 1, f"{place}:2"),
        OddCharacter("target", "U+FFFD", "REPLACEMENT CHARACTER", 1, f"{place}:5"),
    )


def test_spaces_at_edges_and_doubled_are_counted(tmp_path: Path) -> None:
    report = pairs_report(tmp_path, train=" a\tx\nb\tx \nc  d\tx\ne f\tx\n", dev="z\tx\n")
    assert report.edges == 3


def test_characters_that_train_lacks_are_listed(tmp_path: Path) -> None:
    report = pairs_report(tmp_path, train="ab\tx\n", dev="bq\tx\n", test="aw\tv\n")
    assert report.inventories[0].unseen == {"dev": ("q",), "test": ("w",)}
    assert report.inventories[1].unseen == {"test": ("v",)}


def test_the_report_as_text(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    report = pairs_report(folder, train="a b\té\n\nb\te\u0301\nb\t\u00a0c \n", dev="b\tx\n")
    expected = [
        "data     set",
        "columns  source = column 1, target = column 2",
        f"sha256   {report.fingerprint}",
        f"note     {folder}/train.tsv:2: 1 blank line passed over, this is the first",
        (
            "splits          rows  sources  repeated  several targets  "
            "source min/median/max  target min/median/max"
        ),
        (
            "         train     3        2         0                1  "
            "                1/1/3                  1/2/3"
        ),
        (
            "         dev       1        1         0                0  "
            "                1/1/1                  1/1/1"
        ),
        "source   3 characters: b U+0020 a",
        "target   7 characters: U+0020 c e x U+00A0 é ◌\u0301",
        "         1 of them in dev, not in train: x",
        f"leakage  1 source of dev in train too: 'b', {folder}/dev.tsv:1",
        (
            "forms    target: 1 text composed (NFC), 1 decomposed (NFD), 0 neither: "
            f"{folder}/train.tsv:1"
        ),
        f"odd      target: U+00A0 NO-BREAK SPACE, once: {folder}/train.tsv:4",
        "spaces   1 text with one at an end, or with two in a row",
    ]
    assert report.lines() == expected


def test_the_report_as_json(tmp_path: Path) -> None:
    report = pairs_report(tmp_path, train="a\tx\n", dev="a\ty\n")
    value = json.loads(json.dumps(report.to_json()))
    assert value["splits"][0]["rows"] == 1
    assert value["leaks"][0]["earlier"] == "train"


def test_a_long_inventory_is_cut_and_says_so(tmp_path: Path) -> None:
    text = "".join(f"{chr(0x4E00 + i)}\tx\n" for i in range(200))
    lines = pairs_report(tmp_path, train=text, dev="x\tx\n").lines()
    assert any(line.endswith("and 121 more") for line in lines)
    assert max(map(len, lines)) < 250


# --- lines of text

RULES: dict[str, Any] = {
    "case": "keep", "punctuation": "keep", "limit": 1000, "min_count": 1, "form": "auto",
}  # fmt: skip


def lines_report(folder: Path, rules: dict[str, Any] = RULES, **files: str) -> LinesReport:
    for name, text in files.items():
        (folder / f"{name}.txt").write_bytes(text.encode())
    return inspect_lines(corpus.load(folder), **rules)


def test_every_count_of_lines(tmp_path: Path) -> None:
    report = lines_report(tmp_path, train="a b c\na b\n\nd\n", dev="a e e\n", test="f\n")
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
    report = lines_report(
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
    train = lines_report(tmp_path, RULES | rules, train="Go go Go. a a\n", dev="b\n").splits[0]
    assert train.words == (6 if "punctuation" in rules else 5)
    assert (train.distinct, train.unknown) == (distinct, pytest.approx(unknown))


def test_the_report_on_lines_as_text_and_as_json(tmp_path: Path) -> None:
    report = lines_report(tmp_path, train="a b\n" * 1500, dev="a x\n")
    lines = report.lines()
    assert lines[0] == f"data     {tmp_path.name}, lines of text"
    assert lines[2] == "lines    each for itself, as set"
    table = [line.split() for line in lines[3:6]]
    assert table[0][:3] == ["splits", "lines", "words"]
    assert table[1] == ["train", "1,500", "3,000", "2", "2", "0", "0.0", "%", "1,499", "0"]
    assert table[2] == ["dev", "1", "2", "2", "2", "2", "50.0", "%", "0", "0"]
    assert len({len(line) for line in lines[3:6]}) == 1
    assert json.loads(json.dumps(report.to_json()))["splits"][1]["name"] == "dev"


def test_check_distinguishes_text_from_pairs_and_reads_the_settings_file(tmp_path: Path) -> None:
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
