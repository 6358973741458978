"""What is told of a conversion: how many rows, and what is to be known of some of them."""

from __future__ import annotations

from collections import Counter

from charseq.inference.convert import ConvertReport, summary


def test_what_was_usual_takes_one_line() -> None:
    found = ConvertReport("a.csv", "b.csv", rows=1234, distinct=1000)
    assert summary(found) == ["a.csv: 1,234 rows, 1,000 strings computed -> b.csv"]


def test_rejected_rows_and_kept_answers_are_told() -> None:
    found = ConvertReport(
        "a", "b", rows=9, rejected=2, rejects="b.rejects.jsonl", distinct=5, kept=4
    )
    assert found.ok == 7
    assert ConvertReport("a", "b", rows=9, rejected=1).refused == "1 row rejected"
    assert summary(found) == [
        "a: 9 rows, 5 strings computed (4 of them before it was interrupted) -> b",
        "a: 2 rows rejected, 7 ok -> b.rejects.jsonl",
    ]


def test_flaws_are_counted() -> None:
    unknown = Counter({chr(0x4E00 + number): 30 - number for number in range(22)})
    found = ConvertReport(
        "a", "b", flagged=40, truncated=3, looked_up=5, unlisted=7, unknown=unknown
    )
    _, listed, unseen, cut, looked_up = summary(found)
    assert listed == "a: 7 more lines with notes, not listed"
    assert unseen.startswith("a: unseen symbols in 40 rows: ")
    assert unseen.endswith(" and 2 more")
    assert cut == "a: 3 predictions cut at the longest length"
    assert looked_up == "a: 5 predictions from the lexicon"
