"""A lexicon of a model's answers: each text once, every entry right, resumed to the same bytes."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from charseq.config import Config
from charseq.data.text.vocabulary import Vocabulary
from charseq.errors import AccessError, DataError, UsageError
from charseq.inference.conversion.entries import LexiconReport
from charseq.inference.convert import convert
from charseq.inference.journal import journal_path
from charseq.inference.lexicon import read
from charseq.inference.prediction import Candidate, Prediction

PLAIN = Vocabulary("characters", "NFC", "NFC", tuple("abc"))
SETTINGS = Config().to_json()


class Speaker:
    """A model of pairs that spells a text in phones, ever slower."""

    append = None

    def __init__(self, *, features: bool = False) -> None:
        self.has_features = features
        self.asked: list[str] = []

    def predict(self, texts: list[str], *, n: int, **_: Any) -> list[Prediction]:
        self.asked += texts
        return [self._answer(text, n) for text in texts]

    def _answer(self, text: str, n: int) -> Prediction:
        phones = "" if text == "mute" else " ".join(text.partition("\t")[0].upper())
        found = [Candidate(phones + " E" * k, 0.5**k / 2, -1.0) for k in range(n)]
        unknown = ["?"] if text == "odd" else []
        return Prediction(text, phones, 0.5, unknown, truncated=False, candidates=found)


def write(folder: Path, content: str, name: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return path


def written(
    folder: Path, content: str, name: str = "words.txt", **options: Any
) -> tuple[str, LexiconReport, list[str]]:
    """The lexicon, the report, and its lines."""
    lines: list[str] = []
    out = folder / "made"
    model = options.pop("model", None) or Speaker()
    path = write(folder, content, name)
    found = convert(model, path, out, report=lines.append, force=True, **options)
    assert isinstance(found, LexiconReport)
    return out.read_text(encoding="utf-8"), found, lines


@pytest.mark.parametrize(
    ("to_format", "expected"),
    [
        ("kaldi", "ab A B\nab A B E\nodd O D D\nodd O D D E\n"),
        ("kaldip", "ab 0.5 A B\nab 0.25 A B E\nodd 0.5 O D D\nodd 0.25 O D D E\n"),
        ("cmudict", "ab  A B\nab(1)  A B E\nodd  O D D\nodd(1)  O D D E\n"),
        ("mfa", "ab\t0.5\tA B\nab\t0.25\tA B E\nodd\t0.5\tO D D\nodd\t0.25\tO D D E\n"),
        (
            "tsv",
            (
                "source\ttarget\tweight\nab\tA B\t0.5\nab\tA B E\t0.25\n"
                "odd\tO D D\t0.5\nodd\tO D D E\t0.25\n"
            ),
        ),
        (
            "csv",
            "source,target,weight\nab,A B,0.5\nab,A B E,0.25\nodd,O D D,0.5\nodd,O D D E,0.25\n",
        ),
    ],
)
def test_each_text_is_written_once_with_its_best_answers(
    tmp_path: Path, to_format: str, expected: str
) -> None:
    model = Speaker()
    made, found, lines = written(tmp_path, "ab\n\nodd\nab\n", model=model, to_format=to_format, n=2)
    assert made == expected
    assert (found.words, found.entries, found.rejected) == (2, 4, 0)
    assert model.asked == ["ab", "odd"]
    assert lines[-1].endswith("texts with unseen symbols: 1")
    name = "again.csv" if to_format == "csv" else f"again.{'tsv' if to_format == 'tsv' else 'dict'}"
    name = "lexicon.txt" if to_format.startswith("kaldi") else name
    again = read(write(tmp_path, made, name), PLAIN, settings=SETTINGS)
    assert [one.prediction for one in again.find("ab")] == ["A B", "A B E"]


def test_sherpa_onnx_reads_the_best_answers_of_a_kaldi_lexicon(tmp_path: Path) -> None:
    """Of its lines: a word without capitals, then phones; of a word's lines the first counts."""
    made, _, _ = written(tmp_path, "ab\nODD\nodd\n", to_format="kaldi", n=2)
    found: dict[str, list[str]] = {}
    for line in made.splitlines():
        word, *phones = line.split()
        found.setdefault(word.lower(), phones)
    assert found == {"ab": ["A", "B"], "odd": ["O", "D", "D"]}


def test_json_has_numbers_and_features_a_column(tmp_path: Path) -> None:
    model = Speaker(features=True)
    content = "ab\tV;PST\n"
    made, _, _ = written(tmp_path, content, "a.tsv", model=model, to_format="jsonl")
    row = {"source": "ab", "features": "V;PST", "target": "A B", "weight": 0.5}
    assert json.loads(made) == row
    with pytest.raises(UsageError, match="Kaldi lexicon: it has no features, which the model"):
        written(tmp_path, content, "a.tsv", model=model, to_format="kaldi")


def test_mass_ends_the_answers(tmp_path: Path) -> None:
    made, _, _ = written(tmp_path, "ab\n", to_format="kaldi", n=3, mass=0.7)
    assert made == "ab A B\nab A B E\n"


def test_texts_that_are_no_entry_are_rejected_and_the_others_written(tmp_path: Path) -> None:
    made, found, lines = written(tmp_path, "ab\nin two\nmute\n", to_format="kaldi")
    assert made == "ab A B\n"
    assert found.refused == "2 rows rejected"
    assert lines[0].endswith(
        "words.txt:2: rejected: 'in two' is not one word, so no Kaldi lexicon holds it"
    )
    assert lines[1].endswith("words.txt:3: rejected: an empty answer")
    kept = [json.loads(line) for line in Path(found.rejects).read_text().splitlines()]
    assert [(one["line"], one["raw"]) for one in kept] == [(2, "aW4gdHdvCg=="), (3, "bXV0ZQo=")]


@pytest.mark.parametrize("to_format", ["csv", "jsonl", "tsv"])
def test_a_source_with_a_tab_or_a_line_end_is_whole_or_rejected(
    tmp_path: Path, to_format: str
) -> None:
    """Only models with features take a tab for the end of the source."""
    sources = ["a\tb", "a\nb", "ab"]
    content = "word\n" + "".join(f'"{one}"\n' for one in sources)
    text, report, _ = written(tmp_path, content, "w.csv", to_format=to_format)
    made = write(tmp_path, text, f"own.{to_format}")
    own = read(made, PLAIN, settings=SETTINGS)
    kept = ["ab"] if to_format == "tsv" else sources
    assert report.rejected == len(sources) - len(kept)
    assert len(own) == len(kept)
    assert all(own.find(one) for one in kept)


def test_a_rejected_row_keeps_the_bytes_of_its_encoding(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("ab\nin zwei Käse\n".encode("cp1252"))
    found = convert(Speaker(), path, tmp_path / "made", to_format="kaldi")
    assert (tmp_path / "made").read_text() == "ab A B\n"
    (kept,) = map(json.loads, Path(found.rejects).read_text().splitlines())
    assert base64.b64decode(kept["raw"]) == "in zwei Käse\n".encode("cp1252")


def test_answers_without_spaces_are_told(tmp_path: Path) -> None:
    _, _, lines = written(tmp_path, "a\nb\n", to_format="kaldi")
    assert lines[-1].endswith("no answer has a space in it, so each is written as one phone")
    _, _, lines = written(tmp_path, "a\nab\n", to_format="kaldi")
    assert "no answer" not in lines[-1]


def test_wrong_arguments_write_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "ab\n", "words.txt")
    out = tmp_path / "out.csv"
    for options, message in (
        ({"to_format": "xlsx"}, "a lexicon cannot be written as 'xlsx', expected one of tsv, csv"),
        ({"to_format": "kaldi"}, "out.csv is named as CSV, but Kaldi lexicon is written"),
        ({"to_format": "csv", "n": 0}, "n is 0, expected 1 or more"),
        ({"to_format": "csv", "mass": 2.0}, "mass is 2.0, expected"),
    ):
        with pytest.raises(UsageError, match=message):
            convert(Speaker(), path, out, **options)
    words = Speaker()
    words.append = lambda *_: ""
    with pytest.raises(UsageError, match="the model predicts words"):
        convert(words, path, out, to_format="csv")
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        convert(Speaker(), path, out, to_format="csv")
    with pytest.raises(UsageError, match=r"out\.csv is"):
        convert(Speaker(), out, out, to_format="csv", force=True)
    assert out.read_text() == "mine"


def test_an_empty_file_makes_no_lexicon(tmp_path: Path) -> None:
    path = write(tmp_path, "", "words.txt")
    with pytest.raises(DataError, match="the file is empty, expected rows"):
        convert(Speaker(), path, tmp_path / "out.txt", to_format="kaldi")
    assert [one.name for one in tmp_path.iterdir()] == ["words.txt"]


def test_a_dictionary_is_told_where_new_columns_are_wanted(tmp_path: Path) -> None:
    path = write(tmp_path, "quay K IY1\nsea S IY1\n", "lexicon.txt")
    hint = r"lexicon.txt is read as a Kaldi lexicon: format='tsv' adds columns to its lines"
    for options, said in (
        ({"to": "x"}, "to names a new column"),
        ({"scores": True}, "scores=True"),
    ):
        with pytest.raises(UsageError, match=rf"{said}.*{hint}"):
            convert(Speaker(), path, tmp_path / "out.txt", **options)
        with pytest.raises(UsageError, match=said) as caught:
            convert(Speaker(), path, tmp_path / "o", to_format="mfa", **options)
        assert "is read as" not in str(caught.value)


def test_memory_that_is_too_short_names_the_line(tmp_path: Path) -> None:
    class Short(Speaker):
        def predict(self, texts: list[str], **options: Any) -> list[Prediction]:
            if "endless" in texts:
                raise MemoryError
            return super().predict(texts, **options)

    path = write(tmp_path, "a\nb\nendless\n", "words.txt")
    with pytest.raises(AccessError, match=r"words.txt:3: memory is too short for a text of 7 char"):
        convert(Short(), path, tmp_path / "out.txt", to_format="kaldi")


# --- interrupted

WORDS = [f"w{number * 7919 % 5000:x}" for number in range(600)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows and chunks of a few rows."""
    monkeypatch.setattr("charseq.data.formats.rows.WINDOW", 100)
    monkeypatch.setattr("charseq.inference.answer_cache.CHUNK_SECONDS", 0.0)


class Halting(Speaker):
    """A model that is stopped after so many texts."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def predict(self, texts: list[str], **options: Any) -> list[Prediction]:
        if len(self.asked) >= self.after:
            raise KeyboardInterrupt
        return super().predict(texts, **options)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("to_format", "options"),
    [("kaldip", {"n": 2}), ("cmudict", {"n": 3, "mass": 0.6}), ("jsonl", {}), ("mfa", {})],
)
def test_an_interrupted_lexicon_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, to_format: str, options: dict[str, Any]
) -> None:
    lines = [*WORDS[:300], "two words", "", *WORDS[200:], "mute"]
    path = write(tmp_path, "\n".join(lines) + "\n", "words.txt")
    given = {"to_format": to_format, "kept_for": "m", "batch_size": 10, **options}
    whole, out = tmp_path / "whole", tmp_path / "out"
    convert(Speaker(), path, whole, **given)
    kept = 0
    for after in (150, 50, 0, 200):
        model = Halting(after)
        with pytest.raises(KeyboardInterrupt):
            convert(model, path, out, **given)
        kept += len(model.asked)
        assert not out.exists()
    last, told = Speaker(), list[str]()
    found = convert(last, path, out, report=told.append, **given)
    assert isinstance(found, LexiconReport)
    assert out.read_bytes() == whole.read_bytes()
    one, other = (path.with_name(f"{name}.rejects.jsonl") for name in ("whole", "out"))
    assert one.read_bytes() == other.read_bytes()
    assert found.kept == kept >= 400
    assert len(last.asked) == len(set(lines) - {""}) - kept
    assert f"{path}: goes on after {kept} answers of an interrupted attempt" in told
    assert any(f"{kept} texts computed before it was interrupted" in line for line in told)
    assert not list(tmp_path.glob(".charseq-*"))


@pytest.mark.usefixtures("small")
def test_another_lexicon_is_not_gone_on_with(tmp_path: Path) -> None:
    path = write(tmp_path, "\n".join(WORDS), "words.txt")
    out = tmp_path / "out"
    given = {"kept_for": "m", "batch_size": 10}
    with pytest.raises(KeyboardInterrupt):
        convert(Halting(50), path, out, to_format="kaldi", **given)
    for to_format in ("kaldip", None):
        with pytest.raises(
            UsageError, match="since then the options changed: force=True begins anew"
        ):
            convert(Speaker(), path, out, to_format=to_format, **given)
    convert(Speaker(), path, out, to_format="kaldip", force=True, **given)
    assert out.read_text().startswith("w0 0.5 W 0\n")


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import test_entries as here
from charseq.data.formats import rows
from charseq.inference import answer_cache
rows.WINDOW, answer_cache.CHUNK_SECONDS = 100, 0.0

class Killing(here.Speaker):
    def predict(self, texts, **options):
        if len(self.asked) >= 250:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(texts, **options)

here.convert(Killing(), sys.argv[2], sys.argv[3], to_format="kaldi", kept_for="m", batch_size=10)
"""


@pytest.mark.usefixtures("small")
def test_a_killed_lexicon_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path, "\n".join(WORDS), "words.txt")
    out, whole = tmp_path / "out", tmp_path / "whole"
    here = str(Path(__file__).parent)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, here, str(path), str(out)], check=False, env=os.environ
    )
    assert killed.returncode == -signal.SIGKILL
    assert journal_path(out).exists()
    given = {"to_format": "kaldi", "kept_for": "m", "batch_size": 10}
    convert(Speaker(), path, whole, **given)
    found = convert(Speaker(), path, out, **given)
    assert found.kept == 250
    assert out.read_bytes() == whole.read_bytes()
