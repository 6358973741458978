from collections.abc import Sequence
from typing import Any

import pytest

from charseq.data.formats.rows import Row, Window
from charseq.data.formats.writer import Rejected
from charseq.inference.answer_cache import Replies, shards, some
from charseq.inference.journal import JournalEntry


class Asked:
    """Writes capitals, knows no ß, and cuts what is longer than ten letters."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: list[str]) -> dict[str, JournalEntry]:
        self.calls.append(texts)
        return {
            text: JournalEntry(
                (text.upper()[:10],), ("ß",) if "ß" in text else (), len(text) > 10, "model"
            )
            for text in texts
        }


def replies(asked: Asked, **options: Any) -> Replies:
    return Replies(asked, **{"kind": "tsv", "n": 1, **options})


def read(*texts: Sequence[str]) -> list[Any]:
    return [(Window([Row(1, (text,)) for text in part]), list(part)) for part in texts]


def test_a_text_is_sought_once() -> None:
    asked = Asked()
    known = replies(asked)
    assert {t: r.cells for t, r in known.of(["a", "b", "a"]).items()} == {
        "a": ("A", ""),
        "b": ("B", ""),
    }
    assert set(known.of(["c", "a"])) == {"a", "c"}
    assert asked.calls == [["a", "b"], ["c"]]
    assert (known.computed, known.lacks("a"), known.lacks("d")) == (3, False, True)


def test_a_reply_says_what_is_to_be_told() -> None:
    known = replies(Asked()).of(["a", "aß", "a" * 11])
    assert known["a"].plain
    assert (known["aß"].unknown, known["aß"].cells[1]) == (("ß",), "unknown U+00DF")
    assert (known["a" * 11].truncated, known["a" * 11].cells[1]) == (True, "truncated")
    text = replies(Asked(), kind="text").of(["aß"])["aß"]
    assert (text.cells, text.plain) == (("ASS",), False)
    assert text.note.startswith("unknown")


@pytest.mark.parametrize(("kind", "n"), [("text", 1), ("tsv", 1), ("csv", 3)])
def test_all_replies_are_as_wide(kind: str, n: int) -> None:
    known = replies(Asked(), kind=kind, n=n)
    widths = {len(one.cells) for one in (known.of(["a"])["a"], known.rejected, known.empty)}
    assert widths == {1} if kind == "text" else {n + 1}


def test_an_answer_may_go_on_from_its_text() -> None:
    known = replies(Asked(), kind="text", append="{}-{}".format)
    assert known.of(["a"])["a"].cells == ("a-A",)


def test_some_are_different_texts_that_are_there() -> None:
    assert list(some(["b", None, "", Rejected("x"), "a", "b"])) == ["b", "a"]


def test_a_shard_ends_where_there_is_enough_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charseq.inference.answer_cache.ENOUGH", 2)
    known = replies(Asked())
    known.of(["a", "b"])
    given = read(["a", "b"], ["a", "c"], ["d", "a"], ["b", "a"])
    found = [[texts for _, texts in shard] for shard in shards(given, known)]
    assert found == [[["a", "b"], ["a", "c"], ["d", "a"]], [["b", "a"]]]


def test_a_shard_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charseq.inference.answer_cache.SHARD", 4)
    given = read(*[["a", "a"]] * 5)
    assert [len(shard) for shard in shards(given, replies(Asked()))] == [2, 2, 1]
