"""Each text is computed once, and the cells of its rows carry its note."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from charseq.data.formats.reader import FORMATS
from charseq.data.formats.rows import Row, Window
from charseq.data.formats.writer import Rejected
from charseq.inference.answer_cache import AnswerCache, RowAnswer, distinct_texts, shards
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


def cache(asked: Asked, *, format: str = "tsv", n: int = 1, **options: Any) -> AnswerCache:
    return AnswerCache(asked, format=FORMATS[format], n=n, **options)


def read(*texts: Sequence[str]) -> list[Any]:
    return [(Window([Row(1, (text,)) for text in part]), list(part)) for part in texts]


def test_a_text_is_computed_once() -> None:
    asked = Asked()
    known = cache(asked)
    assert {t: r.cells for t, r in known.answer(["a", "b", "a"]).items()} == {
        "a": ("A", ""),
        "b": ("B", ""),
    }
    assert set(known.answer(["c", "a"])) == {"a", "c"}
    assert asked.calls == [["a", "b"], ["c"]]
    assert (known.computed, known.is_missing("a"), known.is_missing("d")) == (3, False, True)


def test_an_answer_has_its_note() -> None:
    known = cache(Asked()).answer(["a", "aß", "a" * 11])
    assert known["a"].is_plain
    assert (known["aß"].unknown, known["aß"].cells[1]) == (("ß",), "unknown U+00DF")
    assert (known["a" * 11].truncated, known["a" * 11].cells[1]) == (True, "truncated")
    nothing = JournalEntry(("",), (), False, "model", ())
    unanswered = AnswerCache(
        lambda texts: dict.fromkeys(texts, nothing), format=FORMATS["csv"], n=1
    )
    assert unanswered.answer(["a"])["a"].cells == ("", "no answer")
    text = cache(Asked(), format="text").answer(["aß"])["aß"]
    assert (text.cells, text.is_plain) == (("ASS",), False)
    assert text.note.startswith("unknown")


@pytest.mark.parametrize(("format", "n"), [("text", 1), ("tsv", 1), ("csv", 3)])
def test_all_answers_are_as_wide(format: str, n: int) -> None:
    known = cache(Asked(), format=format, n=n)
    widths = {len(one.cells) for one in (known.answer(["a"])["a"], known.rejected, known.empty)}
    assert widths == {1} if format == "text" else {n + 1}


def entry(*chances: float, origin: str = "model", cut: bool = False) -> JournalEntry:
    texts = tuple(f"T{rank}" for rank in range(len(chances)))
    return JournalEntry(texts, (), cut, origin, chances)


def answered(found: JournalEntry, *, format: str = "tsv", **options: Any) -> RowAnswer:
    known = AnswerCache(lambda _: {"x": found}, format=FORMATS[format], **options)
    return known.answer(["x"])["x"]


def test_below_the_threshold_all_outputs_are_withheld() -> None:
    found = answered(entry(0.8, 0.1), n=2, threshold=0.9)
    assert (found.cells, found.unsure, found.is_plain) == (("", "", "unsure"), True, False)
    sure = answered(entry(0.9, 0.1), n=2, threshold=0.9)
    assert (sure.cells, sure.unsure, sure.to_review) == (("T0", "T1", ""), False, None)
    own = answered(entry(0.5, origin="lexicon"), n=1, threshold=0.9)
    assert (own.cells, own.unsure) == (("T0", "lexicon"), False)


def test_of_the_probabilities_of_withheld_outputs_the_best_stays() -> None:
    found = answered(entry(0.8, 0.1), n=2, scores=True, threshold=0.9)
    assert found.cells == ("", "", "0.800000", "", "unsure")


def test_a_cut_output_is_withheld_by_its_own_probability() -> None:
    cut = entry(0.2, 0.7, cut=True)
    assert answered(cut, n=1, threshold=0.5).cells == ("", "unsure; truncated")
    assert answered(cut, n=1, threshold=0.1).cells == ("T0", "truncated")


def test_more_outputs_than_columns_are_kept_for_the_review() -> None:
    three = entry(0.5, 0.2, 0.1)
    found = answered(three, n=1, threshold=0.9, reviewed=True)
    assert (found.cells, found.to_review) == (("", "unsure"), (three, "unsure"))
    sure = answered(three, n=1, scores=True, threshold=0.5, reviewed=True)
    assert (sure.cells, sure.to_review) == (("T0", "0.500000", ""), None)
    cut = entry(0.6, cut=True)
    assert answered(cut, n=1, threshold=0.5, reviewed=True).to_review == (cut, "truncated")


def test_a_text_without_an_answer_is_to_be_reviewed_too() -> None:
    """A rule allows none that was found, so there is nothing to withhold."""
    none = JournalEntry((), (), False, "model", ())
    found = answered(none, n=1, threshold=0.9, reviewed=True)
    assert (found.cells, found.unsure) == (("", "no answer"), False)
    assert found.to_review == (none, "no answer")


def test_an_answer_that_only_a_rule_has_left_is_noted() -> None:
    entries = {
        "doubted": JournalEntry(("x",), (), False, "model", (0.009,)),
        "sound": JournalEntry(("x",), (), False, "model", (0.01,)),
        "own": JournalEntry(("x",), (), False, "lexicon", (0.001,)),
        "refused": JournalEntry(("",), (), False, "model", (0.001,)),
    }
    ruled = AnswerCache(lambda texts: entries, format=FORMATS["csv"], n=1, ruled=True)
    notes = {text: one.cells[-1] for text, one in ruled.answer(entries).items()}
    assert notes == {
        "doubted": "unlikely", "sound": "", "own": "lexicon", "refused": "no answer",
    }  # fmt: skip
    free = AnswerCache(lambda texts: entries, format=FORMATS["csv"], n=1)
    assert free.answer(entries)["doubted"].cells[-1] == ""
    withheld = AnswerCache(
        lambda texts: entries, format=FORMATS["csv"], n=1, ruled=True, threshold=0.5
    )
    assert withheld.answer(entries)["doubted"].cells[-1] == "unsure"
    plain = AnswerCache(lambda texts: entries, format=FORMATS["text"], n=1, ruled=True)
    assert plain.answer(entries)["doubted"].note == "unlikely"


def test_plain_text_has_an_empty_line_and_the_note_apart() -> None:
    found = answered(entry(0.1), format="text", n=1, threshold=0.9)
    assert (found.cells, found.note) == (("",), "unsure")


def test_an_answer_may_go_on_from_its_text() -> None:
    known = cache(Asked(), format="text", append="{}-{}".format)
    assert known.answer(["a"])["a"].cells == ("a-A",)


def test_empty_rejected_and_repeated_texts_are_left_out() -> None:
    assert list(distinct_texts(["b", None, "", Rejected("x"), "a", "b"])) == ["b", "a"]


def test_a_shard_ends_when_the_batches_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charseq.inference.answer_cache.FULL_BATCHES", 2)
    known = cache(Asked())
    known.answer(["a", "b"])
    given = read(["a", "b"], ["a", "c"], ["d", "a"], ["b", "a"])
    found = [[texts for _, texts in shard] for shard in shards(given, known)]
    assert found == [[["a", "b"], ["a", "c"], ["d", "a"]], [["b", "a"]]]


def test_a_shard_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charseq.inference.answer_cache.SHARD_ROWS", 4)
    given = read(*[["a", "a"]] * 5)
    assert [len(shard) for shard in shards(given, cache(Asked()))] == [2, 2, 1]


def test_a_shard_is_bounded_in_bytes_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charseq.inference.answer_cache.SHARD_BYTES", 100)
    windows: list[Any] = [(Window([Row(1, ("a",))], bytes=40), ["a"]) for _ in range(7)]
    assert [len(shard) for shard in shards(windows, cache(Asked()))] == [3, 3, 1]


@pytest.mark.parametrize("n", [1, 2])
def test_a_text_without_an_answer_has_empty_cells_and_a_note(n: int) -> None:
    def silent(texts: list[str]) -> dict[str, JournalEntry]:
        return {text: JournalEntry((), ("ß",), False, "model") for text in texts}

    (answer,) = AnswerCache(silent, format=FORMATS["csv"], n=n).answer(["aß"]).values()
    assert answer.cells == (*[""] * n, "unknown U+00DF; no answer")
    (answer,) = AnswerCache(silent, format=FORMATS["text"], n=n).answer(["aß"]).values()
    assert answer.cells == ("",) * n
    assert answer.note.endswith("; no answer")


def test_alignments_are_cells_before_the_note() -> None:
    asked: list[tuple[list[str], list[str]]] = []

    def align(texts: Sequence[str], answers: Sequence[str]) -> list[str]:
        asked.append((list(texts), list(answers)))
        return [f"{one}→{two}" for one, two in zip(texts, answers, strict=True)]

    aligned = cache(Asked(), n=2, align=align)
    found = aligned.answer(["a", "ß"])
    assert found["a"].cells == ("A", "", "a→A", "")
    assert found["ß"].cells == ("SS", "", "ß→SS", "unknown U+00DF")
    assert aligned.answer(["a"]) == {"a": found["a"]}
    assert asked == [(["a", "ß"], ["A", "SS"])], "each text once"
    assert aligned.empty.cells == ("", "", "", "empty")


def test_an_answer_that_is_withheld_has_no_alignment() -> None:
    aligned = AnswerCache(
        lambda texts: {text: entry(0.2, 0.1) for text in texts},
        format=FORMATS["tsv"], n=1, threshold=0.5, align=lambda texts, _: ["x"] * len(texts),
    )  # fmt: skip
    assert aligned.answer(["a"])["a"].cells == ("", "", "unsure")
