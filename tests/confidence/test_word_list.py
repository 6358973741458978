"""Lists of words: read from files, looked up in any form, and refused from strangers."""

from __future__ import annotations

import math
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.confidence import word_list as module
from charseq.confidence.word_list import WordList, form_of, read
from charseq.errors import CheckpointError, DataError, UsageError
from charseq.runs.store import MAX_BYTES


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "words.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def frequency(words: WordList, text: str) -> float | None:
    """The logarithm of the count of a text over the least; None where it is not listed."""
    row = words.features([text])[0]
    return None if row[1] else float(row[0])


def near(value: float) -> Any:
    return pytest.approx(math.log(value), abs=0.05)


@pytest.mark.parametrize(
    "content", ["house\ngarden\n", "\ufeffhouse\r\n\r\ngarden", "house\ngarden"]
)
def test_a_word_a_line_is_listed(tmp_path: Path, content: str) -> None:
    words = read(written(tmp_path, content))
    assert len(words) == 2
    assert [frequency(words, text) for text in ("house", "garden", "hous")] == [0.0, 0.0, None]


@pytest.mark.parametrize("separator", ["\t", " "])
def test_counts_stand_after_a_tab_or_in_every_line_after_a_space(
    tmp_path: Path, separator: str
) -> None:
    content = "".join(f"{word}{separator}{n}\n" for word, n in (("the", 1000), ("owl", 10)))
    words = read(written(tmp_path, content))
    assert frequency(words, "the") == near(100)
    assert frequency(words, "owl") == 0.0


def test_a_number_after_a_space_is_part_of_the_text_where_not_every_line_has_one(
    tmp_path: Path,
) -> None:
    words = read(written(tmp_path, "route 66\nmain street\n"))
    assert frequency(words, "route 66") == 0.0
    assert frequency(words, "route") is None


def test_counts_of_one_word_in_several_forms_are_added(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "été")
    words = read(written(tmp_path, f"été\t3\nÉté\t2\n{decomposed}\t3\nau\t1\n"))
    assert len(words) == 2
    assert frequency(words, "été") == near(8)
    assert frequency(words, unicodedata.normalize("NFD", "ÉTÉ")) == frequency(words, "été")


def test_a_word_without_count_counts_like_the_rarest(tmp_path: Path) -> None:
    words = read(written(tmp_path, "a\t40\nb\nc\t4\n"))
    assert [frequency(words, text) for text in "abc"] == [near(10), 0.0, 0.0]


def test_a_text_of_listed_words_is_listed_with_the_rarest() -> None:
    words = WordList.count([("new", 80.0), ("york", 10.0), ("owl", 1.0), ("red owl", 30.0)])
    assert frequency(words, "New York") == near(10)
    assert frequency(words, "new, york!") == near(10)
    assert frequency(words, "new yorq") is None
    assert frequency(words, "red owl") == near(30)
    long, short = words.features(["new, york new york", "york"])
    assert long.tolist() == short.tolist(), "more words are no more evidence"
    assert words.features([",", "", "?!"]).tolist() == [[0.0, 1.0, 0.0, 0.0]] * 3


def test_the_spelling_of_likely_words_is_likelier() -> None:
    words = WordList.count([(text, 1.0) for text in ("nation", "ration", "station", "motion")])
    features = words.features(["lation", "ltaion", "nation"])
    assert features[0, 2] > features[1, 2]
    assert (features[0, 3], features[2, 2]) == (0.0, 0.0)
    assert features[2, 3] < 0


@given(st.lists(st.text(max_size=12), max_size=8))
def test_a_text_has_the_same_features_in_any_company(texts: list[str]) -> None:
    words = WordList.count([("one", 5.0), ("two", 1.0), ("éa", 2.0)])
    together = words.features(texts)
    for row, text in zip(together, texts, strict=True):
        assert np.array_equal(row, words.features([text])[0])


def test_the_most_frequent_words_are_kept() -> None:
    words = WordList.count([("a", 1.0), ("b", 4.0), ("c", 1.0), ("d", 2.0)], most=3)
    assert len(words) == 3
    assert words.left_out == 1
    assert [frequency(words, text) is None for text in "abcd"] == [False, False, True, False]


def test_more_words_than_a_run_holds_are_neither_stored_nor_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert MAX_BYTES[".json"] > 4 * module.MAX_WORDS * 9 * 4 / 3
    words = WordList.count(((f"w{number:x}", 1.0) for number in range(1005)), most=1000)
    assert (len(words), words.left_out) == (1000, 5)
    again = WordList.from_json(words.to_json())
    assert again.fingerprint == words.fingerprint
    monkeypatch.setattr(module, "MAX_WORDS", 999)
    with pytest.raises(CheckpointError, match="at most"):
        WordList.from_json(words.to_json())


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("a\t1\nb\tmany\n", 2, "'many' after the word 'b', expected its count, a number"),
        ("a\t1\nb\t-1\n", 2, "'-1' after the word 'b'"),
        ("a\tnan\n", 1, "'nan' after the word 'a'"),
        ("a\tinf\n", 1, "'inf'"),
        ("a\t1\t2\n", 1, "expected its count"),
        ("a\n\t7\n", 2, "no word before the count"),
        ("x" * 1001 + "\n", 1, "1,001 characters"),
        ("", None, "has no words"),
        ("\n \n", None, "has no words"),
    ],
)
def test_a_file_that_is_no_list_is_refused_with_its_line(
    tmp_path: Path, content: str, line: int | None, message: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=re.escape(message)) as fault:
        read(path)
    assert (fault.value.path, fault.value.line) == (path, line)


def test_too_many_lines_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINES", 2)
    with pytest.raises(DataError, match="more than 2 lines"):
        read(written(tmp_path, "a\nb\nc\n"))


def test_folders_and_stdin_are_no_lists(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(UsageError, match="not stdin"):
        read("-")


@pytest.mark.parametrize(
    "change",
    [
        {"keys": "AAAA"},
        {"keys": 3},
        {"keys": ""},
        {"codes": "AA=="},
        {"codes": "!!!!"},
        {"left_out": -1},
        {"left_out": True},
        {"ngrams": {}},
        {"ngrams": {"symbols": 0, "keys": "", "counts": ""}},
        {"further": 1},
    ],
)
def test_a_strangers_list_is_refused(change: dict[str, Any]) -> None:
    stored = WordList.count([("a", 1.0), ("b", 2.0)]).to_json()
    assert len(WordList.from_json(stored)) == 2
    with pytest.raises(CheckpointError, match="word list"):
        WordList.from_json(stored | change)


def test_hashes_out_of_order_are_refused() -> None:
    stored = WordList.count([("a", 1.0), ("b", 2.0)])
    turned = WordList(stored.keys[::-1], stored.codes, stored.ngrams)
    with pytest.raises(CheckpointError, match="in order"):
        WordList.from_json(turned.to_json())


def test_the_form_of_a_word_is_composed_and_folded() -> None:
    assert form_of(" STRASSE ") == form_of("straße") == "strasse"
    assert form_of("É") == form_of("é") == "é"
