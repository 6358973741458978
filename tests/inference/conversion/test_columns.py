"""The counts of a conversion, and the lines in which people are told of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from charseq.inference.conversion.columns import ConvertReport
from charseq.inference.convert import convert
from charseq.inference.prediction import Candidate, Prediction


class Odd:
    """A model of which a text is the answer, and each text is an unseen symbol."""

    has_features = False

    def predict(self, texts: Sequence[str], **_: Any) -> list[Prediction]:
        return [
            Prediction(
                text, text, 0.5, [text], truncated=False, candidates=[Candidate(text, 0.5, -1.0)]
            )
            for text in texts
        ]


def test_the_count_of_unseen_symbols_has_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charseq.inference.conversion.columns.KEPT", 1)
    source = tmp_path / "a.txt"
    source.write_text("ß\n+\nß\n")
    report = convert(Odd(), source, tmp_path / "b.txt")
    assert (report.flagged, report.unknown) == (3, Counter({"ß": 2}))


def test_few_rows_are_told_one_by_one_and_all_are_counted(tmp_path: Path) -> None:
    source, told = tmp_path / "a.txt", list[str]()
    source.write_bytes(b"\xff\n" * 15 + b"+\n" * 15)
    report = convert(Odd(), source, tmp_path / "b.txt", report=told.append)
    assert isinstance(report, ConvertReport)
    assert (report.rows, report.rejected, report.flagged) == (30, 15, 15)
    assert (report.listed, report.unlisted) == (20, 10)
    assert told[0].endswith("a.txt:1: rejected: byte 0xff at column 1 is not UTF-8")
    assert told[19].endswith("a.txt:20: unknown U+002B '+' PLUS SIGN")


def test_a_report_without_anything_special_takes_one_line() -> None:
    found = ConvertReport("a.csv", "b.csv", rows=1234, distinct=1000)
    assert found.summary() == ["a.csv: 1,234 rows, 1,000 strings computed -> b.csv"]


def test_rejected_rows_and_kept_answers_are_reported() -> None:
    found = ConvertReport(
        "a", "b", rows=9, rejected=2, rejects="b.rejects.jsonl", distinct=5, kept=4
    )
    assert found.ok == 7
    assert ConvertReport("a", "b", rows=9, rejected=1).refused == "1 row rejected"
    assert found.summary() == [
        "a: 9 rows, 5 strings computed (4 of them before it was interrupted) -> b",
        "a: 2 rows rejected, 7 ok -> b.rejects.jsonl",
    ]


def test_flaws_are_counted() -> None:
    unknown = Counter({chr(0x4E00 + number): 30 - number for number in range(22)})
    found = ConvertReport(
        "a", "b", flagged=40, truncated=3, looked_up=5, remembered=1234, unlisted=7, unknown=unknown
    )
    _, listed, unseen, cut, looked_up, remembered = found.summary()
    assert listed == "a: 7 more lines with notes, not listed"
    assert unseen.startswith("a: unseen symbols in 40 rows: ")
    assert unseen.endswith(" and 2 more")
    assert cut == "a: 3 predictions cut at the longest length"
    assert looked_up == "a: 5 predictions from the lexicon"
    assert remembered == "a: 1,234 predictions from the memory of the run"
