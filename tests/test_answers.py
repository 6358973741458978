"""One text in, one answer out, in order; faults and unseen characters by name."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq import answers
from charseq.errors import DataError, UsageError


@dataclass(frozen=True)
class Candidate:
    prediction: str
    probability: float


@dataclass(frozen=True)
class Answer:
    candidates: list[Candidate]
    unknown: list[str] = field(default_factory=list)
    truncated: bool = False

    @property
    def prediction(self) -> str:
        return self.candidates[0].prediction

    @property
    def probability(self) -> float:
        return self.candidates[0].probability


ODD = "a\u2028b\x0bc\x0cd\x85e\u3000"
BOTH = Answer([Candidate("a\tb\nc", 0.75), Candidate("d", 0.125)], ["ß"], truncated=True)


def lines(content: bytes, *, has_features: bool = False) -> list[str]:
    return list(answers.from_lines(io.BytesIO(content), has_features=has_features))


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"", []),
        (b"a\nb", ["a", "b"]),
        (b"a\r\n\r\nb\r\n", ["a", "", "b"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        (f"{ODD}\n\xa0f \n".encode(), [ODD, "\xa0f "]),
        (b"a\rb\n", ["a\rb"]),
        (b"a\r", ["a\r"]),
        (b" \n\x00\n", [" ", "\x00"]),
    ],
)  # fmt: skip
def test_only_lf_and_crlf_end_a_line(content: bytes, texts: list[str]) -> None:
    assert lines(content) == texts


@given(st.lists(st.text().filter(lambda t: not set("\n\t") & set(t) and t[-1:] != "\r")))
def test_every_line_is_one_text(texts: list[str]) -> None:
    texts = [text.removeprefix("\ufeff") for text in texts]
    assert lines("".join(f"{text}\n" for text in texts).encode()) == texts


def test_bytes_that_are_not_utf8_are_named() -> None:
    with pytest.raises(DataError, match=r"^stdin:2: byte 0xe4 at column 2 is not UTF-8$"):
        lines(b"ok\nM\xe4rz\n")
    with pytest.raises(UsageError, match=r"^the text 'M\\udce4rz' is not UTF-8$"):
        list(answers.from_words(["ok", "M\udce4rz"], has_features=False))


def test_tabs_fit_the_model() -> None:
    words = ["run\tV;PST", "", "run\t"]
    assert list(answers.from_words(words, has_features=True)) == words
    assert lines(b"run\tV;PST\n\n", has_features=True) == ["run\tV;PST", ""]
    with pytest.raises(DataError, match=r"^stdin:2: 0 tabs, expected one: source TAB features"):
        lines(b"run\tV\nrun\n", has_features=True)
    with pytest.raises(UsageError, match="has 2 tabs, expected one"):
        list(answers.from_words(["a\tb\tc"], has_features=True))
    with pytest.raises(DataError, match=r"^stdin:1: a tab, but the model takes no features"):
        lines(b"run\tV\n")


def test_windows_hold_everything_in_order() -> None:
    assert list(answers.windows("abcdefg", 3)) == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert list(answers.windows("abc", 3)) == [["a", "b", "c"]]
    assert list(answers.windows("", 3)) == []


def test_what_comes_before_a_fault_is_answered() -> None:
    def texts() -> Iterator[str]:
        yield "a"
        yield "b"
        raise DataError("bad")

    found = answers.windows(texts(), 10)
    assert next(found) == ["a", "b"]
    with pytest.raises(DataError, match="bad"):
        next(found)


def test_answers_stay_in_their_line_and_column() -> None:
    assert list(answers.as_text("x", BOTH)) == ["a b c"]
    assert list(answers.as_text("", None)) == [""]
    assert list(answers.as_table("x\tV;PST", BOTH)) == [
        "x\t1\ta b c\t0.750000", "x\t2\td\t0.125000",
    ]  # fmt: skip
    assert list(answers.as_table("", None)) == ["\t1\t\t"]


def test_json_has_everything_as_it_is() -> None:
    [line] = answers.as_json("x\tß", BOTH)
    assert "ß" in line
    assert json.loads(line) == {
        "source": "x\tß",
        "prediction": "a\tb\nc",
        "probability": 0.75,
        "unknown": ["ß"],
        "truncated": True,
        "candidates": [
            {"prediction": "a\tb\nc", "probability": 0.75},
            {"prediction": "d", "probability": 0.125},
        ],
    }
    [line] = answers.as_json("", None)
    assert json.loads(line) == {
        "source": "", "prediction": "", "probability": None, "unknown": [], "truncated": False,
        "candidates": [],
    }  # fmt: skip


def test_an_unknown_symbol_is_named_once_and_counted() -> None:
    seen: Counter[str] = Counter()
    plain = Answer([Candidate("y", 1.0)])
    first = list(answers.warnings([("Straße", BOTH), ("x", plain), ("", None)], seen))
    assert len(first) == 2
    assert "U+00DF" in first[0]
    assert "LATIN SMALL LETTER SHARP S" in first[0]
    assert "'Straße'" in first[0]
    assert "'Straße' is cut" in first[1]
    assert answers.totals(seen) == ""
    again = Answer([Candidate("y", 1.0)], ["ß", "ё"])
    second = list(answers.warnings([("Maß", again)], seen))
    assert len(second) == 1
    assert "U+0451" in second[0]
    assert seen == {"ß": 2, "ё": 1}
    assert "SHARP S in 2 texts" in answers.totals(seen)
    assert "U+0451" not in answers.totals(seen)
