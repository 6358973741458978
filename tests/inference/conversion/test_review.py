"""Review files: every withheld row is in it once, and what a person fills in is used as it is."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from charseq import files
from charseq.config import Config
from charseq.data.pairs import Example, load, read_file
from charseq.data.text.vocabulary import Vocabulary
from charseq.errors import DataError, UsageError
from charseq.inference.conversion import review as module
from charseq.inference.conversion.review import Review
from charseq.inference.convert import convert
from charseq.inference.journal import JournalEntry, journal_path
from charseq.inference.lexicon import read
from charseq.inference.pool import WorkerPool
from charseq.inference.prediction import Candidate, Prediction

HEADER = (
    "source,target,candidate_1,probability_1,candidate_2,probability_2,candidate_3,probability_3,"
    "rows,line,note"
)


class Killed(BaseException): ...


@dataclass
class Doubter:
    """A model of which a text begins with the first digit of its answer's probability.

    Answers to texts with a "!" are cut; those with a "=" are from the lexicon.
    """

    has_features: bool = False
    beam: int = 5
    after: int = 10**9
    """It is killed after so many texts."""
    asked: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    append: ClassVar[None] = None

    @property
    def config(self) -> Any:
        return SimpleNamespace(beam=self.beam)

    def predict(self, texts: Sequence[str], *, n: int, **_: Any) -> list[Prediction]:
        if len(self.asked) >= self.after:
            raise Killed
        self.asked += texts
        self.counts.append(n)
        return [self.answer(text, n) for text in texts]

    @staticmethod
    def answer(text: str, n: int) -> Prediction:
        chance = int(text[0]) / 10
        origin = "lexicon" if "=" in text else "model"
        found = [
            Candidate(f"{text.upper()}{'+' * rank}", chance / 10**rank, -1.0, origin)
            for rank in range(n)
        ]
        cut = "!" in text
        return Prediction(text, found[0].prediction, chance, [], cut, found)


def converted(folder: Path, content: str, **options: Any) -> tuple[str, str, list[str]]:
    """The output, the review file, and the lines for people."""
    told: list[str] = []
    name = options.pop("name", "a.csv")
    (folder / name).write_text(content, encoding="utf-8", newline="")
    review = options.pop("review", folder / "review.csv")
    convert(
        options.pop("model", Doubter()), folder / name, folder / "out", review=review,
        report=told.append, **{"threshold": 0.7, "header": "yes", **options},
    )  # fmt: skip
    return (
        (folder / "out").read_text(encoding="utf-8"),
        review.read_text(encoding="utf-8"),
        [line.replace(f"{folder}{os.sep}", "") for line in told],
    )


def test_each_withheld_source_stands_there_once_the_most_frequent_first(tmp_path: Path) -> None:
    model = Doubter()
    content = "w,v\n6a,1\n9b,2\n3c,3\n,4\n3c,5\n7d,6\n5=,7\n2e,8\n8!,9\n"
    out, review, told = converted(tmp_path, content, model=model)
    assert out.splitlines() == [
        "w,v,prediction,prediction_note",
        "6a,1,,unsure", "9b,2,9B,", "3c,3,,unsure", ",4,,empty", "3c,5,,unsure", "7d,6,7D,",
        "5=,7,5=,lexicon", "2e,8,,unsure", "8!,9,8!,truncated",
    ]  # fmt: skip
    assert review.splitlines() == [
        f"\ufeff{HEADER}",
        "3c,,3C,0.300000,3C+,0.030000,3C++,0.003000,2,4,unsure",
        "6a,,6A,0.600000,6A+,0.060000,6A++,0.006000,1,2,unsure",
        "2e,,2E,0.200000,2E+,0.020000,2E++,0.002000,1,9,unsure",
        "8!,,8!,0.800000,8!+,0.080000,8!++,0.008000,1,10,truncated",
    ]
    assert told[-2:] == ["a.csv: 4 rows unsure, without an answer",
                         "a.csv: 4 sources to review -> review.csv"]  # fmt: skip
    assert model.counts == [3], "as many candidates as are shown"


@pytest.mark.parametrize(("beam", "n", "asked"), [(1, 1, 1), (2, 1, 2), (5, 4, 4), (1, 2, 2)])
def test_a_review_asks_for_no_more_than_the_beam_has(
    tmp_path: Path, beam: int, n: int, asked: int
) -> None:
    """More would need a wider beam, in which other answers may be the best."""
    model = Doubter(beam=beam)
    _, review, _ = converted(tmp_path, "w\n1a\n", model=model, n=n)
    assert model.counts == [asked]
    assert f"candidate_{asked}," in review.splitlines()[0]
    assert f"candidate_{asked + 1}," not in review
    wide = Doubter()
    converted(tmp_path, "w\n1a\n", model=wide, n=n, beam=beam, force=True)
    assert wide.counts == [asked]


def test_columns_of_the_output_are_those_without_a_review(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    content = "w\n1a\n8b\n"
    options: dict[str, Any] = {"n": 2, "scores": True}
    out, _, _ = converted(tmp_path, content, **options)
    convert(
        Doubter(), tmp_path / "a.csv", tmp_path / "other/out", threshold=0.7, header="yes",
        **options,
    )  # fmt: skip
    assert out == (tmp_path / "other/out").read_text()
    assert out.splitlines()[1:] == ["1a,,,0.100000,,unsure", "8b,8B,8B+,0.800000,0.080000,"]


def test_what_is_filled_in_is_a_lexicon_and_data_and_the_rest_is_passed_over(
    tmp_path: Path,
) -> None:
    converted(tmp_path, 'w\n1a\n"2 ""b"", c"\n"3\nd"\n4é\n', review=tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[:3]:
        row["target"] = f"right {row['rows']}{row['source']}"
    with (tmp_path / "r.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    expected = ["1a", '2 "b", c', "3\nd"]
    assert list(read_file(tmp_path / "r.csv").examples) == [
        Example(source, f"right 1{source}") for source in expected
    ]
    known = Vocabulary("characters", "NFC", "NFC", tuple("abc"))
    own = read(tmp_path / "r.csv", known, settings=Config().to_json())
    assert len(own) == 3
    assert [one.prediction for one in own.find('2 "b", c')] == ['right 12 "b", c']
    assert own.notes[-1].endswith("1 of 4 rows passed over, whose target is not filled in")


@pytest.mark.parametrize("ending", ["csv", "tsv", "xlsx"])
def test_a_person_may_say_that_no_answer_is_right(tmp_path: Path, ending: str) -> None:
    """An empty cell is not filled in; the words "no answer", in any case, are an empty target."""
    pandas = pytest.importorskip("pandas")
    converted(tmp_path, "w\n1a\n2b\n3c\n4d\n", review=tmp_path / "r.csv")
    frame = pandas.read_csv(tmp_path / "r.csv", dtype=str, keep_default_na=False)
    filled = tmp_path / f"filled.{ending}"
    frame["target"] = ["no answer", "2B", "", " No  Answer "]
    if ending == "xlsx":
        frame.to_excel(filled, index=False)
    else:
        frame.to_csv(filled, index=False, sep="," if ending == "csv" else "\t")
    known = Vocabulary("characters", "NFC", "NFC", tuple("abcd"))
    own = read(filled, known, settings=Config().to_json())
    found = {text: [one.prediction for one in own.find(text)] for text in ("1a", "2b", "3c", "4d")}
    assert found == {"1a": [""], "2b": ["2B"], "3c": [], "4d": [""]}
    with pytest.raises(DataError, match=r"the target is 'no answer'.*, also line 5.*no answer$"):
        load(filled)
    part = load(filled, empty_targets=True)
    targets = {one.source: one.target for one in [*part.train, *part.dev, *part.test]}
    assert targets == {text: some[0] for text, some in found.items() if some}


def test_the_words_no_answer_are_a_target_like_any_other_in_other_files(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("source\ttarget\nkeine Antwort\tno answer\n")
    assert read_file(path).examples == [Example("keine Antwort", "no answer")]


def test_features_have_a_column_that_lexica_and_trainings_know(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("source\tfeatures\n1a\tV;PST\n1a\tN\n1a\tN\n")
    review = tmp_path / "r.tsv"
    convert(
        Doubter(has_features=True, beam=1), tmp_path / "a.tsv", tmp_path / "out.tsv",
        threshold=0.7, review=review,
    )  # fmt: skip
    lines = review.read_text().splitlines()
    assert [line.split("\t")[:3] for line in lines] == [
        ["source", "features", "target"], ["1a", "N", ""], ["1a", "V;PST", ""],
    ]  # fmt: skip
    review.write_text(review.read_text().replace("1a\tN\t", "1a\tN\tx"))
    assert list(read_file(review).examples) == [Example("1a", "x", "N")]


def test_a_source_that_tsv_cannot_hold_is_counted_and_left_out(tmp_path: Path) -> None:
    review = tmp_path / "r.tsv"
    room = "a review file named .csv has room for them"
    _, found, told = converted(tmp_path, 'w\n"1\ta"\n"1\nb"\n1c\n', review=review)
    assert [line.split("\t")[0] for line in found.splitlines()] == ["source", "1c"]
    assert told[-2:] == [
        "a.csv: 1 source to review -> r.tsv",
        f"a.csv: 2 sources with tabs or line ends left out: {room}",
    ]


def test_without_anything_to_review_the_file_has_its_header_alone(tmp_path: Path) -> None:
    _, review, told = converted(tmp_path, "w\n9a\n")
    assert review == f"\ufeff{HEADER}\n"
    assert told[-1] == "a.csv: 0 sources to review -> review.csv"


def test_sources_have_a_bound_and_rows_of_others_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SOURCES", 2)
    _, review, told = converted(tmp_path, "w\n1a\n1b\n1c\n1a\n1c\n")
    assert [line.split(",")[0] for line in review.splitlines()[1:]] == ["1a", "1b"]
    assert told[-1] == "a.csv: 2 rows of further sources are not in the review file"


def test_a_lexicon_has_no_entries_of_unsure_texts_and_they_are_to_review(tmp_path: Path) -> None:
    content = "1a\n8b\n1a\n2c\n8b\n1a\n9!\n"
    made, review, told = converted(
        tmp_path, content, name="a.txt", header="auto", to_format="tsv", n=2,
        review=tmp_path / "r.tsv",
    )  # fmt: skip
    assert made == (
        "source\ttarget\tweight\n8b\t8B\t0.8\n8b\t8B+\t0.08\n9!\t9!\t0.9\n9!\t9!+\t0.09\n"
    )
    rows = [line.split("\t") for line in review.splitlines()[1:]]
    assert [(row[0], row[-3], row[-2], row[-1]) for row in rows] == [
        ("1a", "3", "1", "unsure"), ("2c", "1", "4", "unsure"), ("9!", "1", "7", "truncated"),
    ]  # fmt: skip
    assert told[-2] == "a.txt: 2 texts unsure, without an entry"


# --- names and interruptions


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("r.txt", r"the review file is '.*r\.txt', expected a name that ends in \.csv or \.tsv"),
        ("-", "the review file is '-', expected a name that ends in"),
        ("out.csv", r"out\.csv is written as the output too: give the review another name"),
        ("a.csv", r"a\.csv is an input and would be overwritten"),
        ("own.csv", r"own\.csv is an input and would be overwritten"),
        ("folder.csv", r"folder\.csv is a folder, expected a review file to write"),
        ("pipe.csv", r"pipe\.csv is a device or a pipe, expected a review file"),
    ],
)
def test_a_name_that_a_review_cannot_have(tmp_path: Path, name: str, told: str) -> None:
    """What the command reads is never overwritten, above all not the file that was filled in."""
    (tmp_path / "a.csv").write_text("w\n1a\n")
    (tmp_path / "own.csv").write_text("source,target\n1a,x\n")
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    model: Any = Doubter()
    model.lexicon = SimpleNamespace(path=tmp_path / "own.csv")
    review = name if name == "-" else tmp_path / name
    with pytest.raises(UsageError, match=told):
        convert(
            model, tmp_path / "a.csv", tmp_path / "out.csv", threshold=0.7, review=review,
            force=True,
        )  # fmt: skip
    assert model.asked == []
    assert not (tmp_path / "out.csv").exists()


def test_a_review_that_exists_is_replaced_by_force_alone(tmp_path: Path) -> None:
    (tmp_path / "review.csv").write_text("hours of work")
    with pytest.raises(UsageError, match=r"review\.csv exists: give another name, or force=True"):
        converted(tmp_path, "w\n1a\n")
    assert (tmp_path / "review.csv").read_text() == "hours of work"
    assert converted(tmp_path, "w\n1a\n", force=True)[1].startswith("\ufeffsource")


@pytest.mark.parametrize("threshold", [0, 1.5, "0.9", float("nan")])
def test_a_threshold_out_of_its_limits(tmp_path: Path, threshold: Any) -> None:
    with pytest.raises(UsageError, match=r"^threshold is .*, expected a number above 0, at most 1"):
        convert(Doubter(), tmp_path / "a.csv", tmp_path / "out.csv", threshold=threshold)


def test_a_review_needs_a_threshold_and_a_model_that_rewrites(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^review is for threshold, below"):
        convert(Doubter(), tmp_path / "a.csv", tmp_path / "out.csv", review=tmp_path / "r.csv")
    words: Any = SimpleNamespace(append=str.__add__, has_features=False)
    with pytest.raises(UsageError, match=r"^threshold is for models that rewrite texts"):
        convert(words, tmp_path / "a.csv", tmp_path / "out.csv", threshold=0.5)


def test_a_conversion_that_fails_leaves_no_review(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        converted(tmp_path, "w\n1a\n", model=Doubter(after=0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv"]


def many(folder: Path) -> Path:
    """A file with a few hundred different texts, some of them several times."""
    words = [f"{k % 9 + 1}w{k * 7919 % 400:x}" for k in range(1500)]
    path = folder / "in.csv"
    path.write_text("w\n" + "".join(f"{word}\n" for word in words))
    return path


@pytest.mark.parametrize("to_format", [None, "tsv"])
def test_an_interrupted_conversion_ends_with_the_same_review(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to_format: str | None
) -> None:
    monkeypatch.setattr("charseq.inference.answer_cache.CHUNK_SECONDS", 0.0)
    monkeypatch.setattr("charseq.inference.answer_cache.MAX_BYTES", 4000)
    monkeypatch.setattr("charseq.data.formats.rows.WINDOW", 300)
    source = many(tmp_path)
    go = partial(
        convert, threshold=0.7, header="yes", kept_for="m", batch_size=20, to_format=to_format
    )
    names = ("out.tsv", "r.csv") if to_format else ("out.csv", "r.csv")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    go(Doubter(), source, whole / names[0], review=whole / names[1])
    for after in (100, 200):
        with pytest.raises(Killed):
            go(Doubter(after=after), source, parts / names[0], review=parts / names[1])
        assert not (parts / names[1]).exists()
    last = Doubter()
    found = go(last, source, parts / names[0], review=parts / names[1])
    assert found.kept >= 200
    for name in names:
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    assert sorted(path.name for path in parts.iterdir()) == sorted(names)


def test_another_threshold_is_another_conversion(tmp_path: Path) -> None:
    source = many(tmp_path)
    go = partial(convert, header="yes", kept_for="m", batch_size=20)
    with pytest.raises(Killed):
        go(Doubter(after=20), source, tmp_path / "b.csv", threshold=0.7)
    with pytest.raises(UsageError, match="since then the options changed"):
        go(Doubter(), source, tmp_path / "b.csv", threshold=0.8)


@pytest.mark.parametrize("renames", [1, 2])
def test_a_kill_between_the_renames_is_made_good_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """The output and the review of one name, in two folders, are told apart."""
    source, out = many(tmp_path), tmp_path / "out" / "same.csv"
    review = tmp_path / "review" / "same.csv"
    out.parent.mkdir()
    review.parent.mkdir()
    go = partial(convert, threshold=0.7, header="yes", kept_for="m")
    go(Doubter(), source, out, review=review)
    expected = out.read_bytes(), review.read_bytes()
    out.unlink()
    review.unlink()
    publish, done = files.publish, []

    def killing(part: Path, path: Path) -> None:
        publish(part, path)
        done.append(path)
        if len(done) == renames:
            raise Killed

    monkeypatch.setattr(files, "publish", killing)
    with pytest.raises(Killed):
        go(Doubter(), source, out, review=review)
    monkeypatch.undo()
    assert done == [out, review][:renames]
    assert journal_path(out).exists()
    again = Doubter()
    go(again, source, out, review=review)
    assert again.asked == []
    assert (out.read_bytes(), review.read_bytes()) == expected
    assert [path.name for path in (*out.parent.iterdir(), *review.parent.iterdir())] == [
        "same.csv", "same.csv",
    ]  # fmt: skip


def test_a_pool_gives_the_review_of_one_process(tmp_path: Path) -> None:
    """The width of the beam is that of the model in the pool."""
    pool = WorkerPool(SimpleNamespace(path="run", has_features=False, config=None), 2, "", {})  # type: ignore[arg-type]
    pool.model = Doubter(beam=2)  # type: ignore[assignment]
    try:
        _, review, _ = converted(tmp_path, "w\n1a\n", model=pool)
    finally:
        pool.close()
    assert review.splitlines()[1] == "1a,,1A,0.100000,1A+,0.010000,1,2,unsure"


def test_line_ends_in_a_candidate_stay_in_its_cell(tmp_path: Path) -> None:
    sheet = Review(tmp_path / "r.csv", candidates=1, features=False)
    sheet.add("a", 1, JournalEntry(("b\nc\td",), (), False, "model", (0.25,)), "unsure")
    with (tmp_path / "r.csv").open("wb") as file:
        sheet.write(file)
    with (tmp_path / "r.csv").open(encoding="utf-8-sig", newline="") as text:
        (row,) = csv.DictReader(text)
    assert (row["candidate_1"], row["probability_1"], row["note"]) == (
        "b c d",
        "0.250000",
        "unsure",
    )


def test_a_candidate_that_says_no_answer_can_be_copied_into_the_target(tmp_path: Path) -> None:
    """An empty cell would be read as not filled in."""
    found = Review(tmp_path / "r.csv", candidates=2, features=False)
    answer = JournalEntry(("", "5"), (), False, "model", (0.6, 0.3))
    cut = JournalEntry(("", "5"), (), True, "model", (0.0, 0.3))
    found.add("x", 1, answer, "unsure")
    found.add("y", 2, cut, "truncated")
    with (tmp_path / "r.csv").open("wb") as file:
        found.write(file)
    with (tmp_path / "r.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["candidate_1"] for row in rows] == ["no answer", ""]
