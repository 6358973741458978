"""Rows, references and splits: what is scored, against what, and what is written of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charseq.config import Config
from charseq.data import pairs
from charseq.data.pairs import Example
from charseq.errors import DataError, UsageError
from charseq.evaluation.scoring import (
    PORTION,
    TimeLimit,
    choose_rows,
    score_examples,
    write_errors,
)


class Fake:
    """A translator that answers from a table, and with the text itself where that says nothing."""

    def __init__(self, table: dict[str, str], *features: str) -> None:
        self.table = table
        self.source = SimpleNamespace(features=features)
        self.target = SimpleNamespace(pieces=str.split)
        self.calls: list[tuple[list[str], dict[str, Any]]] = []

    def predict(self, texts: Sequence[str], **options: Any) -> list[Any]:
        self.calls.append((list(texts), options))
        answers = [self.table.get(text, text) for text in texts]
        return [
            SimpleNamespace(source=text, prediction=answer)
            for text, answer in zip(texts, answers, strict=True)
        ]


ROWS = [
    Example("x", "a b"),
    Example("y", "a b c"),
    Example("x", "a c"),
    Example("z", "q"),
    Example("x", "a b"),
]


def test_any_target_of_a_source_is_right_and_every_row_counts() -> None:
    fake = Fake({"x": "a c", "y": "a b d e", "z": "q"})
    outcome = score_examples(fake, ROWS, width=3, batch_size=7)
    assert fake.calls == [(["x", "y", "x", "z", "x"], {"n": 1, "width": 3, "batch_size": 7})]
    assert outcome.rows == ROWS
    assert [(one.right, one.edits, one.symbols) for one in outcome.judgements] == [
        (True, 0, 2), (False, 2, 3), (True, 0, 2), (True, 0, 1), (True, 0, 2),
    ]  # fmt: skip
    assert outcome.references == [["a b", "a c"], ["a b c"], ["a b", "a c"], ["q"], ["a b", "a c"]]
    assert [one.prediction for one in outcome.predictions] == ["a c", "a b d e", "a c", "q", "a c"]
    scores = outcome.scores
    assert (scores.examples, scores.exact_match) == (5, 80.0)
    assert scores.wer == pytest.approx(20.0)
    assert scores.ser == pytest.approx(100 * 2 / (2 + 3 + 2 + 1 + 2))


def test_candidates_are_asked_for() -> None:
    fake = Fake({})
    score_examples(fake, ROWS[:1], width=5, n=3)
    assert fake.calls == [(["x"], {"n": 3, "width": 5, "batch_size": 256})]


def test_targets_of_other_rows_are_no_references() -> None:
    outcome = score_examples(Fake({"x": "a c"}), ROWS[:2], width=1)
    assert outcome.references == [["a b"], ["a b c"]]
    assert outcome.scores.exact_match == 0.0


def test_features_are_part_of_the_text_where_the_model_has_them() -> None:
    rows = [Example("x", "1", "V"), Example("x", "2", "N"), Example("x", "3", "V")]
    fake = Fake({"x\tV": "3", "x\tN": "3"}, "V", "N")
    outcome = score_examples(fake, rows, width=1)
    assert fake.calls[0][0] == ["x\tV", "x\tN", "x\tV"]
    assert outcome.references == [["1", "3"], ["2"], ["1", "3"]]
    assert outcome.scores.exact_match == pytest.approx(200 / 3)
    fake = Fake({"x": "3"})
    assert score_examples(fake, rows, width=1).references == [["1", "2", "3"]] * 3
    assert fake.calls[0][0] == ["x"] * 3


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(DataError, match="no examples to score"):
        score_examples(Fake({}), [], width=1)


def test_texts_without_an_answer_in_time_have_an_empty_one() -> None:
    class Slow(Fake):
        def predict(self, texts: Sequence[str], **options: Any) -> list[Any]:
            asked.append(list(texts))
            end = time.monotonic() + 20
            while "z" * PORTION in texts and time.monotonic() < end:
                sum(range(1000))
            return super().predict(texts, **options)

    asked: list[list[str]] = []
    long = "z" * PORTION
    rows = [Example(long, "a b"), Example("y", "b"), Example("x", "a")]
    limit = TimeLimit(0.2)
    for _ in range(2):
        outcome = score_examples(Slow({"x": "a", "y": "b"}), rows, width=1, limit=limit)
        assert [one.prediction for one in outcome.predictions] == ["", "b", "a"]
        assert outcome.predictions[0].truncated
        assert [one.right for one in outcome.judgements] == [False, True, True]
        assert limit.late == {long}
    assert asked == [["x", "y"], [long], ["x", "y"]]  # the second time it is not tried again


def test_an_empty_answer_is_right_where_the_target_is_empty_but_not_where_it_came_too_late() -> (
    None
):
    class Late(Fake):
        def predict(self, texts: Sequence[str], **options: Any) -> list[Any]:
            found = super().predict(texts, **options)
            for one in found:
                one.truncated = one.source == "late"
            return found

    rows = [Example("x", ""), Example("y", ""), Example("z", "b c"), Example("late", "")]
    fake = Late({"x": "", "y": "a b", "z": "", "late": ""})
    outcome = score_examples(fake, rows, width=1)
    assert [(one.right, one.edits, one.symbols) for one in outcome.judgements] == [
        (True, 0, 0), (False, 2, 0), (False, 2, 2), (False, 0, 0),
    ]  # fmt: skip


def test_each_wrong_text_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "errors.tsv"
    path.write_text("what was there\n" * 99, encoding="utf-8")
    rows = [*ROWS, Example("e\u0301", "\u00e9"), Example("ü", "null")]
    outcome = score_examples(Fake({"x": "ñ", "y": "a b c"}), rows, width=1)
    assert write_errors(path, outcome, force=True) == 3
    assert path.read_bytes().decode() == (
        "source\tprediction\treferences\nx\tñ\ta b | a c\nz\tz\tq\nü\tü\tnull\n"
    )
    assert [one.name for one in tmp_path.iterdir()] == ["errors.tsv"]
    right = score_examples(Fake({}), [Example("a", "a")], width=1)
    with pytest.raises(UsageError, match=r"errors\.tsv exists: give another name, or force=True"):
        write_errors(path, right, force=False)
    assert write_errors(path, right, force=True) == 0
    assert path.read_bytes() == b"source\tprediction\treferences\n"


def test_errors_that_cannot_be_written_leave_nothing(tmp_path: Path) -> None:
    outcome = score_examples(Fake({}), ROWS, width=1)
    with pytest.raises((OSError, DataError), match="none"):
        write_errors(tmp_path / "none" / "errors.tsv", outcome, force=False)
    assert not list(tmp_path.iterdir())


# --- which rows

SETTINGS = Config().to_json()
OTHER = "0" * 64


def write(path: Path, rows: list[str]) -> None:
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    for name, count in (("train", 4), ("dev", 2), ("test", 3)):
        write(data / f"{name}.tsv", [f"{name}{n}\tx" for n in range(count)])
    return data


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.tsv"
    write(path, [f"word{n}\tx" for n in range(300)])
    return path


def sources(data: Path, split: str | None, fingerprint: str = OTHER) -> tuple[list[str], str]:
    rows, name = choose_rows(data, SETTINGS, split, fingerprint)
    return [row.source for row in rows], name


def test_a_folder_is_scored_on_its_test_split(folder: Path) -> None:
    test = [f"test{n}" for n in range(3)]
    assert sources(folder, None) == (test, "test")
    assert sources(folder, "test") == (test, "test")
    assert sources(folder, "dev") == (["dev0", "dev1"], "dev")
    assert sources(folder, "train") == ([f"train{n}" for n in range(4)], "train")
    everything = [*(f"train{n}" for n in range(4)), "dev0", "dev1", *test]
    assert sources(folder, "all") == (everything, "all")


def test_a_fingerprint_changes_nothing_about_a_folder(folder: Path) -> None:
    whole = pairs.load(folder)
    assert sources(folder, None, whole.fingerprint)[1] == "test"


def test_a_missing_split_is_named(folder: Path) -> None:
    (folder / "test.tsv").unlink()
    for split in (None, "test"):
        with pytest.raises(DataError, match="no examples for the test split"):
            choose_rows(folder, SETTINGS, split, OTHER)
    with pytest.raises(UsageError, match="unknown split 'tset'"):
        choose_rows(folder, SETTINGS, "tset", OTHER)
    assert len(sources(folder, "all")[0]) == 6
    with pytest.raises(DataError, match="no such file or folder"):
        choose_rows(folder / "none", SETTINGS, None, OTHER)


def test_a_file_of_other_data_is_scored_as_a_whole(file: Path) -> None:
    found, split = sources(file, None)
    assert split == "all"
    assert sorted(found) == sorted(f"word{n}" for n in range(300))
    assert sources(file, "all", OTHER) == (found, "all")


def test_the_file_of_the_training_is_scored_on_its_test_split(file: Path) -> None:
    whole = pairs.load(file)
    test = [row.source for row in whole.test]
    assert 5 <= len(test) <= 30
    assert sources(file, None, whole.fingerprint) == (test, "test")
    assert len(sources(file, "all", whole.fingerprint)[0]) == 300
    parts = [sources(file, split, whole.fingerprint)[0] for split in ("train", "dev", "test")]
    assert parts[2] == test
    assert sorted(row for part in parts for row in part) == sorted(f"word{n}" for n in range(300))


def test_columns_are_read_as_the_settings_say(tmp_path: Path) -> None:
    write(tmp_path / "test.tsv", ["a\tV+N\tb"])
    settings = {**SETTINGS, "columns": "target,features,source", "feature_separator": "+"}
    (row,), _ = choose_rows(tmp_path, settings, None, OTHER)
    assert row == Example("b", "a", "V+N")
    with pytest.raises(DataError, match="columns="):
        choose_rows(tmp_path, SETTINGS, None, OTHER)
    write(tmp_path / "test.tsv", ["source\ttarget", "a\tb"])
    assert len(choose_rows(tmp_path, {**SETTINGS, "header": "no"}, None, OTHER)[0]) == 2
    assert len(choose_rows(tmp_path, SETTINGS, None, OTHER)[0]) == 1


def test_the_rows_that_are_answered_are_told_and_nothing_else_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("charseq.evaluation.scoring.WATCHED", 2)
    texts = ["ccc", "a", "bb", "a", "dddd", "é"]
    fake, rows = Fake(dict.fromkeys(texts, "q")), [Example(text, "q") for text in texts]
    told: list[tuple[int, float]] = []
    found = score_examples(fake, rows, width=1, watch=lambda *facts: told.append(facts))
    assert [call[0] for call in fake.calls] == [["a", "é"], ["bb", "ccc"], ["dddd"]]
    assert found == score_examples(fake, rows, width=1)
    assert told == [(3, pytest.approx(2 / 11)), (5, pytest.approx(7 / 11)), (6, 1.0)]
