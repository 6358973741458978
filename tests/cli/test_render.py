"""One text in, one answer out, in order; faults and unseen characters by name."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import Storyteller, Upper

from charseq.cli import render
from charseq.errors import DataError, UsageError
from charseq.inference.language_model import LineScore


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
    return list(render.from_lines(io.BytesIO(content), has_features=has_features))


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
        list(render.from_words(["ok", "M\udce4rz"], has_features=False))


def test_tabs_fit_the_model() -> None:
    words = ["run\tV;PST", "", "run\t"]
    assert list(render.from_words(words, has_features=True)) == words
    assert lines(b"run\tV;PST\n\n", has_features=True) == ["run\tV;PST", ""]
    with pytest.raises(DataError, match=r"^stdin:2: 0 tabs, expected one: source TAB features"):
        lines(b"run\tV\nrun\n", has_features=True)
    with pytest.raises(UsageError, match="has 2 tabs, expected one"):
        list(render.from_words(["a\tb\tc"], has_features=True))
    with pytest.raises(DataError, match=r"^stdin:1: a tab, but the model takes no features"):
        lines(b"run\tV\n")


def test_windows_hold_everything_in_order() -> None:
    assert list(render.windows("abcdefg", 3)) == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert list(render.windows("abc", 3)) == [["a", "b", "c"]]
    assert list(render.windows("", 3)) == []


def test_what_comes_before_a_fault_is_answered() -> None:
    def texts() -> Iterator[str]:
        yield "a"
        yield "b"
        raise DataError("bad")

    found = render.windows(texts(), 10)
    assert next(found) == ["a", "b"]
    with pytest.raises(DataError, match="bad"):
        next(found)


def test_answers_stay_in_their_line_and_column() -> None:
    assert list(render.as_text("x", BOTH)) == ["a b c"]
    assert list(render.as_text("", None)) == [""]
    assert list(render.as_table("x\tV;PST", BOTH)) == [
        "x\t1\ta b c\t0.750000", "x\t2\td\t0.125000",
    ]  # fmt: skip
    assert list(render.as_table("", None)) == ["\t1\t\t"]
    nothing = SimpleNamespace(prediction="", probability=0.0, candidates=[], unknown=[])
    assert list(render.as_table("x", nothing)) == ["x\t1\t\t"], "a line for each text"
    assert list(render.as_text("x", nothing)) == [""]


def test_json_has_everything_as_it_is() -> None:
    [line] = render.as_json("x\tß", BOTH)
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
    [line] = render.as_json("", None)
    assert json.loads(line) == {
        "source": "", "prediction": "", "probability": None, "unknown": [], "truncated": False,
        "candidates": [],
    }  # fmt: skip


def test_an_unknown_symbol_is_named_once_and_counted() -> None:
    seen: Counter[str] = Counter()
    plain = Answer([Candidate("y", 1.0)])
    first = list(render.warnings([("Straße", BOTH), ("x", plain), ("", None)], seen))
    assert len(first) == 2
    assert "U+00DF" in first[0]
    assert "LATIN SMALL LETTER SHARP S" in first[0]
    assert "'Straße'" in first[0]
    assert "'Straße' is cut" in first[1]
    assert render.totals(seen) == ""
    again = Answer([Candidate("y", 1.0)], ["ß", "ё"])
    second = list(render.warnings([("Maß", again)], seen))
    assert len(second) == 1
    assert "U+0451" in second[0]
    assert seen == {"ß": 2, "ё": 1}
    assert "SHARP S in 2 texts" in render.totals(seen)
    assert "U+0451" not in render.totals(seen)


def test_a_stranger_is_named_up_to_a_number_and_the_rest_is_counted() -> None:
    seen: Counter[str] = Counter()
    words = [f"word{number}" for number in range(30)]
    said = list(render.strangers(" ".join(words), words, seen))
    assert len(said) == render.SHOWN == 20
    assert "'word19' is unknown" in said[-1]
    assert all(len(line) < 120 for line in said), "of a long text the beginning"
    assert render.totals(seen) == "unknown to the model: 30 symbols"
    assert list(render.strangers("word3 word29", ["word3", "word29"], seen)) == []
    assert render.totals(seen) == (
        "unknown to the model: 'word3' in 2 texts, 'word29' in 2 texts, 28 others"
    )


def test_the_memory_of_strangers_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "KEPT", 3)
    seen: Counter[str] = Counter()
    list(render.strangers("", "abcdea", seen))
    assert seen == {"a": 2, "b": 1, "c": 1}


# --- what is asked of a model


def ask(model: Any, texts: list[str], **how: Any) -> list[Any]:
    defaults: dict[str, Any] = {
        "n": 1, "beam": None, "mass": None, "scores": False, "complete": False, "generate": None,
        "how": {},
    }  # fmt: skip
    return list(render.asker(model, **defaults | how)(texts))


def test_a_model_of_pairs_is_not_asked_about_nothing() -> None:
    model = Upper()
    found = ask(model, ["a", "", "b", ""], n=2, beam=3)
    assert model.calls == [(["a", "b"], 2, 3)]
    assert [one and one.prediction for one in found] == ["A", None, "B", None]
    assert ask(model, ["", ""]) == [None, None]


def test_to_a_model_of_sentences_an_empty_text_is_a_line_that_has_not_begun() -> None:
    model = Storyteller()
    for how in ({}, {"complete": True}):
        found = ask(model, ["", "see you "], n=2, **how)
        assert [one.prediction for one in found] == ["tomorrow", "tomorrow"]
    assert [line.lines for line in ask(model, [""], generate=2)] == [[" and 0.", " and 1."]]
    assert model.calls == [
        ("predict", ["", "see you "], {"n": 2, "beam": None}),
        ("complete", ["", "see you "], {"n": 2, "beam": None}),
        ("generate", [""], {"count": 2}),
    ]


def test_lines_are_the_text_and_how_it_goes_on() -> None:
    model = Storyteller()
    how = {"temperature": 0.5, "seed": 7}
    [first, second] = ask(model, ["see xyzzy", "b"], generate=2, how=how)
    assert first == render.Lines(["see xyzzy and 0.", "see xyzzy and 1."], ["xyzzy"])
    assert second == render.Lines(["b and 0.", "b and 1."], [])
    assert model.calls[0][2] == {"count": 2, **how}
    assert list(render.as_lines("see xyzzy", first)) == first.lines
    assert list(render.as_lines("", render.Lines(["a\tb\nc"], []))) == ["a b c"]
    [line] = render.as_json("see xyzzy", first)
    assert json.loads(line) == {
        "source": "see xyzzy", "lines": first.lines, "unknown": ["xyzzy"],
    }  # fmt: skip
    said = list(render.warnings([("see xyzzy", first), ("b", second)], Counter()))
    assert said == ["'xyzzy' is unknown to the model (in 'see xyzzy')"]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"how": {"temperature": 1.0}}, "^--temperature is for --generate$"),
        ({"how": {"top_p": 0.5}}, "^--top-p is for --generate$"),
        ({"how": {"most": 3}, "complete": True}, "^--most is for --generate$"),
        ({"how": {"seed": 1}}, "^--seed is for --generate$"),
        ({"generate": 1, "complete": True}, "^--generate goes with none of --complete, --scores"),
        ({"generate": 1, "n": 2}, "^--generate goes with none of"),
        ({"generate": 1, "beam": 1}, "^--generate goes with none of"),
        ({"generate": 1, "mass": 0.9}, "^--generate goes with none of .*--mass and --beam$"),
        ({"generate": 1, "scores": True}, "^--generate goes with none of"),
    ],
)
def test_what_does_not_go_together(how: dict[str, Any], said: str) -> None:
    model = Storyteller()
    with pytest.raises(UsageError, match=said):
        ask(model, ["a"], **how)
    assert model.calls == []


@pytest.mark.parametrize("how", [{"complete": True}, {"generate": 1}])
def test_pairs_have_no_next_word(how: dict[str, Any]) -> None:
    pairs: Any = SimpleNamespace(path="runs/dates")
    with pytest.raises(UsageError, match=r"wants a model of sentences, but runs/dates rewrites"):
        ask(pairs, ["a"], **how)
    with pytest.raises(UsageError, match=r"^score wants a model of sentences"):
        render.reader(pairs, "score")


def test_scores_stay_in_their_row() -> None:
    one = LineScore(-12.34567, 3, ["xyzzy"])
    assert render.score_as_row("a\nxyzzy", one) == "-12.3457\t3\ta xyzzy"
    assert json.loads(render.score_as_json("a\nxyzzy", one)) == {
        "text": "a\nxyzzy", "log_probability": -12.34567, "words": 3, "unknown": ["xyzzy"],
    }  # fmt: skip
