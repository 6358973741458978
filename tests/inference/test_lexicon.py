"""The user's own pairs: found as they stand, before the model, with every fault in its line."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from charseq.config import Config
from charseq.data.pairs import Example
from charseq.data.text.vocabulary import Vocabulary
from charseq.errors import CharseqError, SettingError, UsageError
from charseq.inference.lexicon import Lexicon, read
from charseq.inference.prediction import Candidate, Prediction

PLAIN = Vocabulary("characters", "NFC", "NFC", tuple("abc"))
TAGGED = Vocabulary("characters", "NFC", "NFC", tuple("abc"), features=("V", "N"))
SETTINGS = Config().to_json()


def write(folder: Path, content: str, name: str = "own.tsv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return path


def lexicon(*rows: tuple[str, str], vocabulary: Vocabulary = PLAIN) -> Lexicon:
    return Lexicon(vocabulary, [Example(*row) for row in rows])


def texts(found: Sequence[Candidate]) -> list[str]:
    return [one.prediction for one in found]


# --- what is found


def test_a_source_is_found_as_a_whole_and_with_its_capitals() -> None:
    own = lexicon(("ab", "x"), ("c d ", "y"))
    assert own.find("ab") == [Candidate("x", 1.0, 0.0, "lexicon")]
    assert texts(own.find("c d ")) == ["y"]
    for other in ("AB", "Ab", "a", "abc", " ab", "ab ", "c d", ""):
        assert own.find(other) == []
    assert len(own) == 2


@pytest.mark.parametrize(
    ("form", "equal"), [("NFC", True), ("NFD", True), ("NFKC", True), ("none", False)]
)
def test_a_source_is_found_in_every_unicode_form(form: str, equal: bool) -> None:
    known = Vocabulary("characters", form, "none" if form == "none" else "NFC", tuple("ab"))
    own = lexicon(("ma\u0308rz", "ma\u0308r"), vocabulary=known)
    assert bool(own.find("m\u00e4rz")) is equal
    assert texts(own.find("ma\u0308rz")) == ["ma\u0308r"], "the target stays as it is in the file"
    wide = lexicon(("\uff41", "x"), vocabulary=known)
    assert bool(wide.find("a")) is (form == "NFKC")


def test_features_belong_to_the_source_as_the_vocabulary_cuts_them() -> None:
    own = Lexicon(TAGGED, [Example("ab", "x", "V;PST"), Example("ab", "y", "V;PRS")])
    assert texts(own.find("ab", "V;PST")) == ["x"]
    assert texts(own.find("ab", " V ;; PRS")) == ["y"]
    assert own.find("ab", "PST;V") == own.find("ab", "V") == own.find("ab") == []


def test_several_targets_in_the_order_of_the_file_and_once() -> None:
    own = lexicon(("a", "z"), ("b", "q"), ("a", "x"), ("a", "z"), ("a", "y"))
    assert texts(own.find("a")) == ["z", "x", "y"]
    assert [one.probability for one in own.find("a")] == pytest.approx([1 / 3] * 3)


def test_weights_decide_before_the_order() -> None:
    rows = [Example("a", "x", "", 1.0), Example("a", "y", "", 3.0), Example("a", "z", "", 1.0)]
    found = Lexicon(PLAIN, rows).find("a")
    assert texts(found) == ["y", "x", "z"]
    assert [one.probability for one in found] == pytest.approx([0.6, 0.2, 0.2])
    assert [math.exp(one.score) for one in found] == pytest.approx([0.6, 0.2, 0.2])


def test_weights_of_any_size_stay_probabilities() -> None:
    rows = [
        Example("a", "x", "", 1e308),
        Example("a", "y", "", 1e308),
        Example("a", "z", "", 5e-324),
    ]
    found = Lexicon(PLAIN, rows).find("a")
    assert [one.probability for one in found] == pytest.approx([0.5, 0.5, 0.0])
    assert all(math.isfinite(one.score) for one in found)


# --- before the model


class Asked:
    """A model that says of every text: itself, then itself with a mark, then "x"."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: list[str]) -> list[Prediction]:
        self.calls.append(texts)
        return [
            Prediction(
                text, text, 0.5, ["?"], truncated=True,
                candidates=[
                    Candidate(text, 0.5, -0.7), Candidate(f"{text}!", 0.25, -1.4),
                    Candidate("x", 0.125, -2.1),
                ],
            )
            for text in texts
        ]  # fmt: skip


def parts(*words: str) -> dict[str, tuple[str, str]]:
    return {word: (word, "") for word in words}


def test_the_model_predicts_only_where_the_file_has_too_few_targets() -> None:
    own, model = lexicon(("a", "x"), ("b", "y"), ("b", "z")), Asked()
    found = own.answer(parts("a", "b", "c"), 1, model)
    assert model.calls == [["c"]]
    assert [found[word].prediction for word in "abc"] == ["x", "y", "c"]
    assert [found[word].origin for word in "abc"] == ["lexicon", "lexicon", "model"]
    assert texts(found["b"].candidates) == ["y"]
    own.answer(parts("a", "b", "c"), 2, model)
    assert model.calls[1:] == [["a", "c"]]


def test_the_models_other_candidates_come_after_the_files() -> None:
    own = lexicon(("a", "x"), ("a", "y"))
    assert [
        [(one.prediction, one.probability, one.origin) for one in found.candidates]
        for n in (3, 9)
        for found in own.answer(parts("a"), n, Asked()).values()
    ] == [
        [("x", 0.5, "lexicon"), ("y", 0.5, "lexicon"), ("a", 0.5, "model")],
        [("x", 0.5, "lexicon"), ("y", 0.5, "lexicon"), ("a", 0.5, "model"), ("a!", 0.25, "model")],
    ]


def test_the_same_text_in_another_unicode_form_is_no_further_candidate() -> None:
    own = lexicon(("\u00e4", "a\u0308"))
    (found,) = own.answer(parts("\u00e4"), 5, Asked()).values()
    assert texts(found.candidates) == ["a\u0308", "\u00e4!", "x"]


def test_an_answer_of_the_file_has_no_unknown_symbols() -> None:
    own, model = lexicon(("a", "y")), Asked()
    found = own.answer(parts("a", "b"), 2, model)
    assert (found["a"].unknown, found["a"].truncated, found["a"].probability) == ([], False, 1.0)
    assert found["b"] == model(["b"])[0]


def test_targets_of_the_file_reach_a_mass_alone() -> None:
    (found,) = lexicon(("a", "x"), ("a", "y")).answer(parts("a"), 5, Asked()).values()
    assert texts(found.reaching(0.9).candidates) == ["x", "y"]


# --- files


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("own.tsv", "a\tx\nb\ty\na\tz\n"),
        ("own.txt", "a\tx\r\nb\ty\r\n\r\na\tz\r\n"),
        ("own.tsv", "target\tsource\nx\ta\ny\tb\nz\ta\n"),
        ("own.csv", "a,x\nb,y\na,z\n"),
        ("own.csv", "weight,Target,Source\n2,x,a\n1,y,b\n1,z,a\n"),
        ("own.jsonl", "".join(json.dumps({"source": s, "target": t}) + "\n"
                              for s, t in (("a", "x"), ("b", "y"), ("a", "z")))),
    ],
)  # fmt: skip
def test_every_format_of_data_is_read(tmp_path: Path, name: str, content: str) -> None:
    own = read(write(tmp_path, content, name), PLAIN, settings=SETTINGS)
    assert len(own) == 2
    assert texts(own.find("a")) == ["x", "z"]
    assert texts(own.find("b")) == ["y"]


@pytest.mark.parametrize(
    ("content", "columns", "settings"),
    [
        ("x\ta\n", "", {"columns": "target,source"}),
        ("source\ttarget\na\tx\n", "", {"columns": "target,source"}),
        ("x\ta\n", "target,source", {"columns": "source,skip,target"}),
        ("pron\tword\nx\ta\n", "", {"columns": "source=word,target=pron"}),
        ("source\ttarget\na\tx\n", "", {"columns": "source=word,target=pron"}),
        ("pron\tword\nx\ta\n", "", {"columns": "target,source", "header": "yes"}),
        ("source\tweight\ttarget\na\t2\tx\n", "", {"columns": "target,source"}),
    ],
)
def test_columns_come_from_the_option_else_the_header_else_the_training(
    tmp_path: Path, content: str, columns: str, settings: dict[str, str]
) -> None:
    own = read(write(tmp_path, content), PLAIN, settings={**SETTINGS, **settings}, columns=columns)
    assert len(own) == 1
    assert texts(own.find("a")) == ["x"]


def test_features_of_a_model_that_takes_them(tmp_path: Path) -> None:
    settings = {**SETTINGS, "columns": "source,features,target", "feature_separator": "+"}
    path = write(tmp_path, '{"source": "a", "features": ["V", "N"], "target": "x"}\n', "own.jsonl")
    tagged = Vocabulary("characters", "NFC", "NFC", ("a",), ("V", "N"), feature_separator="+")
    assert texts(read(path, tagged, settings=settings).find("a", "V+N")) == ["x"]
    path = write(tmp_path, "a\tV+N\tx\n")
    assert texts(read(path, tagged, settings=settings).find("a", "V+N")) == ["x"]


def fault(path: Path, vocabulary: Vocabulary = PLAIN, **options: Any) -> str:
    with pytest.raises(CharseqError) as caught:
        read(path, vocabulary, **{"settings": SETTINGS, **options})
    told = str(caught.value)
    assert "\n" not in told
    return told.replace(str(path), path.name)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a\tx\nb\n", "own.tsv:2: 1 column, expected 2"),
        ("a\tx\n\ty\n", "own.tsv:2: the source is empty"),
        ("a\tx\n\nb\t\n", "own.tsv:3: the target is empty"),
        ("a\tx\ty\n", "own.tsv:1: 3 columns, expected source and target"),
        ("", "own.tsv: no rows in it, expected pairs"),
        ("source\ttarget\tweight\na\tx\t0\n", "own.tsv:2: the weight is '0'"),
        ("source\ttarget\tfeatures\na\tx\t\nb\ty\tV\n",
         "own.tsv:3: the features 'V', but the model takes none"),
    ],
)  # fmt: skip
def test_an_error_names_its_line(tmp_path: Path, content: str, said: str) -> None:
    assert fault(write(tmp_path, content)).startswith(said)


def test_a_model_with_features_needs_them_in_every_row(tmp_path: Path) -> None:
    told = fault(write(tmp_path, "a\tx\n"), TAGGED)
    assert told.startswith("own.tsv:1: no features, but the model takes them")
    told = fault(write(tmp_path, "source\tfeatures\ttarget\na\tV\tx\na\t\tx\n"), TAGGED)
    assert told.startswith("own.tsv:3: no features")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert fault(tmp_path / "none.tsv").startswith("none.tsv: cannot be read: No such file")
    assert "cannot be read: Is a directory" in fault(tmp_path)
    (tmp_path / "own.tsv").write_bytes(b"a\tx\nb\t\xff\n")
    for columns in ("", "target,source"):
        settings = {**SETTINGS, "columns": columns}
        assert "own.tsv:2: byte 0xff" in fault(tmp_path / "own.tsv", settings=settings)
    with pytest.raises(UsageError, match=r"^a lexicon is a file, not stdin$"):
        read("-", PLAIN, settings=SETTINGS)
    with pytest.raises(SettingError, match="no 'target' in it"):
        read(write(tmp_path, "a\tx\n"), PLAIN, settings=SETTINGS, columns="source")


def test_columns_of_the_training_that_do_not_fit_are_named(tmp_path: Path) -> None:
    settings = {**SETTINGS, "columns": "source,skip,target"}
    told = fault(write(tmp_path, "a\tx\n"), settings=settings)
    assert told == "own.tsv:1: 2 columns, but lexicon_columns names 3 (skip is one)"


def test_a_header_is_no_entry_and_how_it_was_read_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "word\tpron\na\tx\nb\ty\n")
    found = read(path, PLAIN, settings=SETTINGS)
    assert len(found) == 2
    assert found.find("word") == []
    assert found.notes == [
        f"{path}: a lexicon of 2 pairs, source = column 1 (word), target = column 2 (pron)",
        f"{path}: line 1 is taken for a header (word, pron): header=no reads it as a row",
    ]


def test_all_wrong_rows_are_told_at_once(tmp_path: Path) -> None:
    told = fault(write(tmp_path, "a\tx\n\ty\nb\t\n"))
    assert told == "own.tsv:2: the source is empty (2 such rows, also line 3: the target is empty)"


def test_a_lexicon_may_be_a_table_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes("Target;SOURCE\r\nx, y;b\xe4r\r\n".encode("cp1252"))
    found = read(path, PLAIN, settings=SETTINGS)
    assert [one.prediction for one in found.find("b\xe4r")] == ["x, y"]


# --- dictionaries


def test_a_pronouncing_dictionary_is_read_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path, "a 0.2 B IY1\na 0.6 AH0\nb 1.0 B IY1\n", "lexiconp.txt")
    for columns in ("", "source,target"):
        found = read(path, PLAIN, settings=SETTINGS, columns=columns).find("a")
        assert texts(found) == ["AH0", "B IY1"]
        assert [one.probability for one in found] == pytest.approx([0.75, 0.25])
    path = write(tmp_path, ";;; comment\nA  AH0\nA(1)  EY1 # as a letter\n", "cmu.dict")
    other = {**SETTINGS, "columns": "target,source,weight"}
    assert texts(read(path, PLAIN, settings=other).find("A")) == ["AH0", "EY1"]


def test_targets_that_are_not_allowed_leave_their_part_to_others() -> None:
    rows = [("a", "x", 1.0), ("a", "y", 2.0), ("a", "z", 1.0), ("b", "y", 1.0)]
    own = Lexicon(
        PLAIN, [Example(source, target, weight=weight) for source, target, weight in rows]
    )
    found = own.within(lambda text: text != "y")
    assert [(one.prediction, one.probability) for one in found.find("a")] == [
        ("x", 0.5),
        ("z", 0.5),
    ]
    assert found.find("b") == []
    assert texts(own.find("a")) == ["y", "x", "z"]
    assert found.fingerprint != own.fingerprint
    assert [note.partition(": ")[2] for note in found.notes] == [
        "2 targets left out that the rule excludes"
    ]
    assert not own.within(lambda _: True).notes


def test_that_there_is_no_answer_holds_under_every_rule() -> None:
    found = lexicon(("x", ""), ("y", "b")).within("a".__eq__)
    assert [one.prediction for one in found.find("x")] == [""]
    assert found.find("y") == []
