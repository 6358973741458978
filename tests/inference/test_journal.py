"""Answers that were kept come back in order, and nothing else ever does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charseq.errors import DataError, UsageError
from charseq.inference.answer_cache import predict_texts
from charseq.inference.journal import Journal, JournalEntry, open_journal
from charseq.inference.prediction import Candidate, Prediction

IDENTITY = {"the input": "a" * 64, "the model": "m", "the options": {"n": 1}}
FEW = [JournalEntry(("x", "y\n\ud800"), ("ß",), truncated=False, origin="model")]
NONE = [JournalEntry((), (), truncated=False, origin="model")]
MORE = [JournalEntry((f"{n}" * 50,), (), truncated=True, origin="lexicon") for n in range(3)]


class Killed(BaseException): ...


def attempt(
    out: Path, *added: list[JournalEntry], identity: Any = None, force: bool = False
) -> list[JournalEntry]:
    """What an attempt finds that is killed after it has added this."""
    found: list[JournalEntry] = []

    def until_killed() -> None:
        with open_journal(out, identity or IDENTITY, force=force, n=2) as journal:
            assert journal is not None
            found.extend(journal.replay())
            assert len(found) == journal.answers
            for answers in added:
                journal.add(answers)
            raise Killed

    with pytest.raises(Killed):
        until_killed()
    return found


def journal_of(out: Path) -> Path:
    (path,) = out.parent.glob(".charseq-*.journal")
    return path


def test_what_was_kept_comes_back_in_order(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert attempt(out, FEW, MORE, NONE) == []
    assert attempt(out, MORE) == FEW + MORE + NONE
    assert attempt(out) == FEW + MORE + NONE + MORE


def test_it_is_gone_when_all_went_well_or_the_input_must_change(tmp_path: Path) -> None:
    out = tmp_path / ("x" * 250)  # a name as long as may be
    attempt(out, FEW)
    with open_journal(out, IDENTITY, force=False):
        pass
    assert list(tmp_path.iterdir()) == []
    attempt(out, FEW)
    with pytest.raises(DataError), open_journal(out, IDENTITY, force=False):
        raise DataError("a quote")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answers", [FEW, []])
def test_after_a_full_disk_answers_stay(tmp_path: Path, answers: list[JournalEntry]) -> None:
    def fail() -> None:
        with open_journal(tmp_path / "out", IDENTITY, force=False) as journal:
            assert journal is not None
            journal.add(answers)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert len(list(tmp_path.iterdir())) == bool(answers), "nor a journal without any"


@settings(max_examples=300)
@given(st.integers(0, 2**16), st.booleans())
def test_of_a_damaged_journal_only_whole_lines_count(
    tmp_path_factory: Any, number: int, cut: bool
) -> None:
    out = tmp_path_factory.mktemp("journal") / "out"
    attempt(out, FEW, MORE, FEW)
    path = journal_of(out)
    whole = path.read_bytes()
    start = whole.index(b"\n") + 1
    place = start + number % (len(whole) - start)
    if cut:
        path.write_bytes(whole[:place])
    else:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :])
    found = attempt(out, MORE)
    assert found in ([], FEW, FEW + MORE)
    assert attempt(out) == found + MORE, "what comes after goes where the damage began"


def test_a_half_written_beginning_is_no_beginning(tmp_path: Path) -> None:
    out = tmp_path / "out"
    attempt(out, FEW)
    journal_of(out).write_bytes(journal_of(out).read_bytes()[:20])
    assert attempt(out, MORE) == []
    assert attempt(out) == MORE


def test_another_conversion_is_refused_and_by_force_begun_anew(tmp_path: Path) -> None:
    out = tmp_path / "out"
    attempt(out, FEW)
    other = {**IDENTITY, "the model": "n", "the options": {"n": 2}}
    told = "since then the model and the options changed: force=True begins anew"
    with pytest.raises(UsageError, match=told), open_journal(out, other, force=False):
        pass
    assert attempt(out) == FEW, "and it is still there"
    assert attempt(out, force=True) == FEW, "force is no reason to lose what fits"
    assert attempt(out, MORE, identity=other, force=True) == []
    assert attempt(out, identity=other) == MORE


HOLDER = """
import sys
from pathlib import Path
from charseq.inference.journal import open_journal
with open_journal(Path(sys.argv[1]), {}, force=False):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(UsageError, match="is being written by another process"):
            open_journal(out, {}, force=False).__enter__()
        holder.kill()
        holder.wait()
    with open_journal(out, {}, force=False) as journal:
        assert isinstance(journal, Journal)


def test_where_it_cannot_be_written_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none/out: cannot be written: No such file"):
        open_journal(tmp_path / "none" / "out", {}, force=False).__enter__()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    attempt(tmp_path / "out", FEW)
    path = journal_of(tmp_path / "out")
    path.unlink()
    (tmp_path / "victim").write_bytes(b"dear")
    path.symlink_to(tmp_path / "victim")
    with pytest.raises(DataError, match="cannot be written"):
        open_journal(tmp_path / "out", {}, force=True).__enter__()
    assert (tmp_path / "victim").read_bytes() == b"dear"
    assert path.is_symlink()


# --- texts are computed in chunks


TEXTS = ["ccc", "a", "bb", "dddd", "e", "ff"]


class Model:
    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> list[Prediction]:
        self.calls.append(list(texts))
        return [self.outcome(text) for text in texts]

    def outcome(self, text: str) -> Prediction:
        outputs = [text.upper(), f"{text}1", f"{text}2"]
        candidates = [Candidate(output, 0.3, -1.0) for output in outputs]
        return Prediction(text, outputs[0], 0.3, ["ß"], len(text) > 3, candidates)


class AddedTo:
    """A journal that holds the calls of add."""

    def __init__(self) -> None:
        self.added: list[list[JournalEntry]] = []

    def add(self, entries: list[JournalEntry]) -> None:
        self.added.append(entries)


def predicting(
    model: Model, journal: Any = None, kept: Sequence[JournalEntry] = (), **options: Any
) -> Any:
    given = {"n": 1, "mass": None, "batch_size": 2, **options}
    return partial(predict_texts, predict=model, journal=journal, kept=iter(kept), **given)


def test_without_a_journal_all_texts_are_computed_at_once_in_their_order() -> None:
    model = Model()
    found = predicting(model)(TEXTS)
    assert model.calls == [TEXTS]
    assert {text: one.texts for text, one in found.items()} == {t: (t.upper(),) for t in TEXTS}
    assert predicting(model)([]) == {}
    assert len(model.calls) == 1


def test_with_a_journal_texts_are_computed_in_chunks_and_each_is_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("charseq.inference.answer_cache.CHUNK_SECONDS", 0.0)
    model, journal = Model(), AddedTo()
    found = predicting(model, journal)(TEXTS)
    assert model.calls == [["a", "e"], ["bb", "ff"], ["ccc", "dddd"]]
    assert [[one.texts[0] for one in entries] for entries in journal.added] == [
        ["A", "E"], ["BB", "FF"], ["CCC", "DDDD"],
    ]  # fmt: skip
    assert found["dddd"] == JournalEntry(("DDDD",), ("ß",), truncated=True, origin="model")
    again = Model()
    kept = [one for part in journal.added[:2] for one in part]
    assert predicting(again, AddedTo(), kept)(TEXTS) == found
    assert again.calls == [["ccc", "dddd"]]


def test_chunks_grow_while_they_are_quick() -> None:
    model = Model()
    predicting(model, AddedTo())([str(number) for number in range(100, 120)])
    assert list(map(len, model.calls)) == [2, 4, 8, 6]


def test_an_answer_has_n_outputs_or_as_many_as_have_the_mass() -> None:
    assert predicting(Model(), n=3)(["a"])["a"].texts == ("A", "a1", "a2")
    assert predicting(Model(), n=3, mass=0.5)(["a"])["a"].texts == ("A", "a1")
