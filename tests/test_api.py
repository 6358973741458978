"""The package as callers of Python see it: names, arguments in messages, files and DataFrames."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import charseq
from charseq.errors import CharseqError, CheckpointError, DataError, SettingError, UsageError

ROOT = Path(__file__).parent.parent
DATES = ROOT / "checkpoints" / "dates"
SMALL = {"epochs": 1, "hidden": 8, "embedding": 4, "threads": 1, "evaluations": 1}
PAIRS = [(f"{a}{b}{c}", f"{a}{b}{c}".upper()) for a in "abcd" for b in "abcd" for c in "abcd"]


@pytest.fixture(scope="module")
def model() -> Any:
    return charseq.load(DATES)


# --- names


def test_dir_shows_the_names_of_the_package() -> None:
    shown = {name for name in dir(charseq) if not name.startswith("_")}
    assert shown == set(charseq.__all__) - {"__version__"}
    assert {"load", "train", "evaluate", "compare", "convert", "configure"} <= shown
    for name in shown:
        assert callable(getattr(charseq, name))
        assert getattr(charseq, name) is getattr(charseq, name)
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = charseq.trian


def test_functions_can_be_sent_to_other_processes() -> None:
    for name in ("load", "train", "evaluate", "compare", "convert", "configure"):
        function = getattr(charseq, name)
        assert pickle.loads(pickle.dumps(function)) is function


def test_importing_the_package_loads_nothing() -> None:
    code = (
        "import sys, charseq; dir(charseq)\n"
        "print(sorted(name for name in sys.modules if name.startswith('charseq')))\n"
        "charseq.configure({'hidden': 3})\n"
        "print(*{'numpy', 'torch', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["['charseq', 'charseq.version']", ""]


# --- messages


def test_errors_of_calls_name_arguments(tmp_path: Path, model: Any) -> None:
    out = tmp_path / "out.csv"
    out.touch()
    (tmp_path / "in.csv").write_text("source\n3 May 2020\n")
    with pytest.raises(UsageError, match=r"exists: give another name, or force=True to"):
        charseq.convert(tmp_path / "in.csv", model, out)
    with pytest.raises(SettingError, match=r"unknown setting 'foo'; `charseq train --help` lists"):
        charseq.configure({"foo": 1})


def test_a_wrong_setting_beside_the_data_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("a\tA\n")
    settings = tmp_path / "charseq.toml"
    for line, told in (("hidden = 0", "hidden is 0"), ("cells = 'grup'", "cells has 'grup'")):
        settings.write_text(line)
        with pytest.raises(SettingError, match=f"^{re.escape(str(settings))}: {told}, expected"):
            charseq.train(tmp_path)


# --- convert


def test_convert_rewrites_a_file(tmp_path: Path, model: Any) -> None:
    (tmp_path / "in.csv").write_text("id,source\n1,3 May 2020\n2,\n")
    report: Any = charseq.convert(tmp_path / "in.csv", model, to="iso")
    assert (report.rows, report.empty, report.rejected) == (2, 1, 0)
    text = (tmp_path / "in.converted.csv").read_text()
    assert text == "id,source,iso,iso_note\n1,3 May 2020,2020-05-03,\n2,,,empty\n"
    given = charseq.convert(tmp_path / "in.csv", DATES, tmp_path / "x.csv", to="iso", header="yes")
    assert given is not None
    assert (tmp_path / "x.csv").read_text() == text


def test_convert_writes_a_lexicon(tmp_path: Path, model: Any) -> None:
    words = tmp_path / "words.txt"
    words.write_text("2020/05/03\nin two\n2020/05/03\n")
    with pytest.raises(UsageError, match="a lexicon cannot be written as 'xlsx', expected one of"):
        charseq.convert(words, model, to_format="xlsx")
    report: Any = charseq.convert(words, model, to_format="KaldiP", n=2)
    made = tmp_path / "words.converted.txt"
    assert (report.words, report.rejected, report.out) == (1, 1, str(made))
    entries = [line.split(" ") for line in made.read_text().splitlines()]
    best = model.predict(["2020/05/03"], n=2)[0].candidates
    assert [(word, phones) for word, _, phones in entries] == [
        ("2020/05/03", one.prediction)
        for one in best
        if one.prediction  # "" is no entry
    ]
    again: Any = charseq.convert(made, model, tmp_path / "again.txt", format="kaldip")
    assert (again.words, again.entries, again.format) == (1, 1, "kaldip")


def test_convert_rewrites_a_frame(model: Any) -> None:
    frame = pd.DataFrame(
        {"id": [1, 2, 3, 4], "date": ["3 May 2020", None, "☃", ""], "list": [[1], [2], [3], [4]]},
        index=[5, 5, 7, 8],
    )
    before = frame.copy()
    wide: Any = charseq.convert(frame, model, column="date", to="iso", n=2)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(wide[["id", "date", "list"]], before)
    assert list(wide.columns) == ["id", "date", "list", "iso", "iso_2", "iso_note"]
    assert wide["iso"].iloc[0] == "2020-05-03"
    assert wide["iso"].isna().tolist() == [False, True, False, False]
    assert wide["iso_2"].isna().tolist() == [False, True, False, False]
    assert wide["iso"].iloc[3] == ""
    assert wide["iso_note"].iloc[2] == "unknown U+2603; no answer"
    assert wide["iso_note"].iloc[3] == "empty"
    again: Any = charseq.convert(wide, model, column="date", to="iso", n=2, force=True)
    pd.testing.assert_frame_equal(again, wide)


def test_the_column_is_found_as_in_a_file(model: Any) -> None:
    frame = pd.DataFrame({"other": ["4 May 2020"], "source": ["3 May 2020"]})
    assert convert(frame, model)["prediction"].tolist() == ["2020-05-03"]
    assert convert(frame, model, column=1)["prediction"].tolist() == ["2020-05-04"]
    assert convert(frame[["other"]], model)["prediction"].tolist() == ["2020-05-04"]
    numbered = frame.set_axis([1, 0], axis=1)
    assert convert(numbered, model, column=1)["prediction"].tolist() == ["2020-05-04"]
    assert convert(frame.iloc[:0], model).columns[-1] == "prediction_note"


def convert(*words: Any, **options: Any) -> Any:
    return charseq.convert(*words, **options)


def test_unsure_rows_of_a_frame_have_no_answers(model: Any) -> None:
    frame = pd.DataFrame({"d": ["3 May 2020", "5 Eost 2010", None, ""]}, index=[3, 1, 4, 1])
    known = charseq.convert(frame, model, n=2)
    found = charseq.convert(frame, model, n=2, threshold=0.9)
    assert found.index.tolist() == [3, 1, 4, 1]
    assert found["prediction"].fillna("null").tolist() == ["2020-05-03", "", "null", ""]
    assert found["prediction_2"].tolist()[0] == known["prediction_2"].tolist()[0]
    assert found["prediction_2"].tolist()[1] == ""
    assert found["prediction_note"].fillna("null").tolist() == ["", "unsure", "null", "empty"]
    with pytest.raises(UsageError, match=r"^threshold is 2, expected a number above 0, at most 1$"):
        charseq.convert(frame, model, threshold=2)
    with pytest.raises(UsageError, match=r"^review: for files, not for a DataFrame$"):
        charseq.convert(frame, model, threshold=0.9, review="r.csv")


def test_a_file_has_its_review_and_language_models_have_none(model: Any, tmp_path: Path) -> None:
    words = tmp_path / "a.txt"
    words.write_text("3 May 2020\n5 Eost 2010\n")
    review = tmp_path / "r.tsv"
    charseq.convert(words, model, tmp_path / "out.txt", threshold=0.9, review=review)
    assert (tmp_path / "out.txt").read_text() == "2020-05-03\n\n"
    assert [line.split("\t")[0] for line in review.read_text().splitlines()] == [
        "source", "5 Eost 2010",
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"^review is for threshold, below which answers are"):
        charseq.convert(words, model, tmp_path / "other.txt", review=tmp_path / "s.tsv")
    story = ROOT / "checkpoints" / "sentences"
    for data in (words, pd.DataFrame({"d": ["I love"]})):
        with pytest.raises(UsageError, match=r"^threshold is for models that rewrite texts"):
            charseq.convert(data, story, threshold=0.9)


def test_a_frame_for_a_model_of_features_has_two_columns() -> None:
    found = charseq.load(ROOT / "tests" / "fixtures" / "hard")
    assert not found.has_features

    class Featured:
        has_features = True
        asked: Sequence[str] = ()

        def predict(self, texts: Sequence[str], **_: object) -> Any:
            self.asked = list(texts)
            return found.predict(["x"] * len(self.asked))

    model: Any = Featured()
    frame = pd.DataFrame({"features": ["V", "N"], "source": ["go", None], "more": [[], []]})
    wide = convert(frame, model)
    assert model.asked == ["go\tV"]
    assert wide["prediction"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda frame, model: convert(frame, model, column="x"), "frame: no column 'x'"),
        (lambda frame, model: convert(frame, model, out="x"), "out: for files, not for a Data"),
        (lambda frame, model: convert(frame, model, to_format="csv"), "to_format: for files, not"),
        (lambda frame, model: convert(frame, model, header="no"), "header: for files, not"),
        (lambda frame, model: convert(frame, model, to="source"), "there is a column 'source'"),
        (lambda frame, model: convert(frame, model, column="list"), "frame:1: a value of type"),
        (
            lambda frame, model: convert(frame["source"], model),
            "data is .*Series.*expected the path",
        ),
        (lambda frame, model: convert(None, model), "data is None, expected the path of a file"),
        (lambda frame, model: convert("none.csv", model), "No such file|no such file"),
    ],
)
def test_a_conversion_that_cannot_be_is_one_line(call: Any, told: str, model: Any) -> None:
    frame = pd.DataFrame({"source": ["3 May 2020"], "list": [[1]]})
    with pytest.raises(CharseqError, match=told) as caught:
        call(frame, model)
    assert "--" not in str(caught.value)


# --- a frame as data


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("api") / "run"
    lines: list[str] = []
    facts = charseq.train(
        pd.DataFrame(PAIRS, columns=["word", "capitals"]),
        run=run, config=charseq.configure(SMALL), report=lines.append,
    )  # fmt: skip
    assert facts["data"] == "frame"
    assert re.search(r"data +\d+ train, \d+ dev, from frame$", lines[0])
    return run


def test_a_model_is_trained_from_a_frame(trained: Path, tmp_path: Path) -> None:
    metadata = charseq.load(trained).metadata
    assert metadata["finished"]
    assert metadata["data"]["name"] == "frame"
    frame = pd.DataFrame(PAIRS, columns=["Source", "TARGET"]).assign(row=range(len(PAIRS)))
    settings = {**SMALL, "columns": "target=TARGET,source=1"}
    charseq.train(frame[["Source", "TARGET"]], run=tmp_path / "b", config=charseq.configure(SMALL))
    charseq.train(frame, run=tmp_path / "c", config=charseq.configure(settings))
    for run in ("b", "c"):
        assert charseq.load(tmp_path / run).metadata["source"] == metadata["source"]


def test_the_fingerprint_of_a_frame_is_stable(trained: Path) -> None:
    frame = pd.DataFrame(PAIRS, columns=["word", "capitals"], index=np.arange(len(PAIRS)) + 7)
    with pytest.raises(CheckpointError, match="finished already: force=True trains it anew"):
        charseq.train(frame, run=trained, config=charseq.configure(SMALL))
    facts = charseq.evaluate(frame, model=trained)
    assert facts["split"] == "test", "the frame is known as the data of the training"
    assert facts["data"] == "frame"
    other = frame.assign(capitals="X")
    assert charseq.evaluate(other, model=charseq.load(trained))["split"] == "all"


def test_two_models_are_compared_on_a_frame(trained: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame(PAIRS, columns=["word", "capitals"])
    charseq.train(
        frame, run=tmp_path / "other", config=charseq.configure({**SMALL, "seed": 2}),
        evaluated=False,
    )  # fmt: skip
    found = charseq.compare(frame, models=(charseq.load(trained), charseq.load(tmp_path / "other")))
    assert [one["data"] for one in found["models"]] == ["frame", "frame"]


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (
            pd.DataFrame({"a": ["x"], "b": ["y"], "c": ["z"]}),
            "^frame:1: 3 .*columns='source",
        ),
        (pd.DataFrame({"a": ["x", ""], "b": ["y", "z"]}), "^frame:2: the source is empty"),
        (pd.Series(["a"]), "data is .*Series.*expected a path or a DataFrame"),
    ],
)
def test_a_frame_that_cannot_be_learnt_is_one_line(tmp_path: Path, frame: Any, told: str) -> None:
    with pytest.raises(CharseqError, match=told) as caught:
        charseq.train(frame, run=tmp_path / "run", config=charseq.configure(SMALL))
    assert "--" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_columns_by_position_are_for_files_and_trainings(tmp_path: Path) -> None:
    frame = pd.DataFrame(PAIRS, columns=["word", "capitals"])
    config = charseq.configure({**SMALL, "columns": "target,source"})
    charseq.train(frame, run=tmp_path / "run", config=config)
    model = charseq.load(tmp_path / "run")
    assert model.config.columns == "target=word,source=capitals"
    for given in (model, tmp_path / "run", str(tmp_path / "run")):
        assert charseq.evaluate(frame, model=given)["split"] == "test"


# --- the cases of users


def test_what_people_hand_over_is_answered_or_explained(model: Any) -> None:
    texts = ["3 May 2020", "5 May 2020"]
    expected = [one.prediction for one in model.predict(texts)]
    assert expected == ["2020-05-03", "2020-05-05"]
    for given in ((text for text in texts), map(str, texts), tuple(texts), np.array(texts)):
        assert [one.prediction for one in model.predict(given)] == expected
    assert [one.prediction for one in model.predict(texts[0])] == expected[:1]
    series = pd.Series([texts[1], None, texts[0]], index=["x", "y", "y"])
    answers = model.predict(series)
    assert [one and one.prediction for one in answers] == [expected[1], None, expected[0]]
    assert answers.index.tolist() == ["x", "y", "y"]
    for wrong in (None, b"3 May", [texts[0], None], [float("nan")], [b"3 May"]):
        with pytest.raises(UsageError, match="texts"):
            model.predict(wrong)


WRONG: dict[str, tuple[Any, str]] = {
    "run": (lambda model: charseq.load(5), r"run is 5 \(int\), expected a path"),
    "a model as a run": (charseq.load, "run is <.*PairsModel"),
    "lexicon": (lambda model: charseq.load(DATES, lexicon=[1]), r"lexicon is \[1\] \(list\)"),
    "n": (lambda model: model.predict("a", n="3"), "n is '3', expected a whole number"),
    "half": (lambda model: model.predict("a", n=2.5), "n is 2.5, expected a whole number"),
    "beam": (lambda model: model.predict("a", beam=[]), r"beam is \[\], expected a whole number"),
    "data": (lambda model: charseq.train(None), "data is None, expected a path or a DataFrame"),
    "rows": (lambda model: charseq.train([("a", "b")]), r"data is \[\('a', 'b'\)\] \(list\)"),
    "series": (lambda model: charseq.train(pd.Series(["a"])), "data is .*Series"),
    "config": (lambda model: charseq.train("x", config={"epochs": 1}), r"config is {'epochs': 1}"),
    "model": (lambda model: charseq.evaluate("x", model=5), r"model is 5 \(int\), expected a load"),
    "models": (lambda model: charseq.compare("x", models=(model,)), "models has 1, expected two"),
    "twice": (lambda model: charseq.compare("x", models=(DATES, model)), "is given twice"),
    "convert": (lambda model: charseq.convert("x.csv", 5), r"model is 5 \(int\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_argument_of_a_wrong_type_is_named(case: str, model: Any) -> None:
    call, told = WRONG[case]
    with pytest.raises(UsageError, match=told):
        call(model)


def test_numbers_of_numpy_are_numbers(model: Any) -> None:
    assert len(model.predict("Sept 3", n=np.int64(2))[0].candidates) == 2


SESSION = """
import charseq
keyboard = charseq.load("checkpoints/sentences").session()
for ask in (keyboard.feed, keyboard.complete):
    for wrong in (None, b"the"):
        try:
            ask(wrong)
        except charseq.CharseqError as fault:
            print(fault)
"""


def test_a_session_reads_texts_only() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SESSION], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "text is None, expected a str",
        "text is b'the' (bytes, not decoded), expected a str",
        "prefix is None, expected a str",
        "prefix is b'the' (bytes, not decoded), expected a str",
    ]


WORKERS = f"""
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
import charseq
if __name__ == "__main__":
    model = charseq.load({os.fspath(DATES)!r})
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(model.predict, [["3 May 2020"], "5 May 2020"]):
            print(found[0].prediction)
        try:
            pool.submit(charseq.load, "runs/none").result()
        except charseq.CharseqError as fault:
            print(fault)
"""


def test_models_and_errors_travel_between_processes(tmp_path: Path) -> None:
    (tmp_path / "workers.py").write_text(WORKERS)
    done = subprocess.run(
        [sys.executable, "workers.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    *answers, fault = done.stdout.splitlines()
    assert answers == ["2020-05-03", "2020-05-05"]
    assert fault.startswith("runs/none: there is no such run")


def test_data_errors_are_those_of_files_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        charseq.train(tmp_path / "none.tsv", run=tmp_path / "run")


def test_rules_are_arguments_of_predict_convert_and_evaluate(tmp_path: Path, model: Any) -> None:
    days = tmp_path / "days.txt"
    days.write_text("2020-05-03\n2020-05-04\n", encoding="utf-8")
    (tmp_path / "in.csv").write_text("source\n3 May 2020\n4 June 2020\n", encoding="utf-8")
    charseq.convert(tmp_path / "in.csv", model, within=days, pattern=".*4", check="date")
    text = (tmp_path / "in.converted.csv").read_text(encoding="utf-8")
    assert [line.split(",")[1:] for line in text.splitlines()[1:]] == [["2020-05-04", ""]] * 2
    frame = pd.DataFrame({"source": ["3 May 2020"], "target": ["2020-05-03"]})
    made: Any = charseq.convert(frame[["source"]], model, pattern=r"2020-\d\d-.9")
    assert made["prediction"].tolist() == ["2020-05-09"]
    scores: Any = charseq.evaluate(frame, model=model, within=days)
    assert scores["exact_match"] == 100
    rule = scores["signature"].partition("|rule:")[2]
    assert rule == model.constrained(within=days).rule.fingerprint[:8]
    assert charseq.evaluate(frame, model=model, pattern="2020-05-04")["exact_match"] == 0
    with pytest.raises(UsageError, match=r"days\.txt is an input and would be overwritten"):
        charseq.convert(tmp_path / "in.csv", model, days, within=days, force=True, format="text")
    with pytest.raises(UsageError, match=r"rule is for runs of pairs; .*sentences predicts words"):
        charseq.convert(frame, "sentences", check="date")


# --- a run knows how its data are read


def test_a_file_is_read_as_the_run_was_trained(tmp_path: Path) -> None:
    path, lines = tmp_path / "pairs.txt", []
    path.write_text("".join(f"{source}~{target}\n" for source, target in PAIRS))
    config = charseq.configure({**SMALL, "delimiter": "~"})
    charseq.train(path, run=tmp_path / "run", config=config, evaluated=False)
    found = charseq.evaluate(path, model=tmp_path / "run", report=lines.append)
    assert found["split"] == "test"
    told = f"{path}: delimiter ~, as in training (delimiter names another)"
    assert lines[0] == told
    seen: list[str] = []
    report = charseq.convert(path, tmp_path / "run", tmp_path / "out.csv", report=seen.append)
    assert (report.rows, seen[0]) == (len(PAIRS), told)
    first = (tmp_path / "out.csv").read_text().split("\n")[0]
    assert first.startswith("~".join(PAIRS[0]) + "~"), "the answer is a column of its own"
    models = (tmp_path / "run", charseq.load(DATES))
    assert charseq.compare(path, models=models, split="test")["comparison"]
    with pytest.raises(UsageError, match=r"rewrites strings, but .* holds text"):
        charseq.evaluate(path, model=DATES)


# --- the types that a checker sees

SCRIPT = """
from collections.abc import Iterator
from typing import Any, assert_type

import numpy as np
import pandas as pd

import charseq
from charseq.inference.conversion.columns import ConvertReport
from charseq.inference.conversion.entries import LexiconReport
from charseq.inference.language_model import LanguageModel
from charseq.inference.prediction import Prediction
from charseq.inference.predictor import PairsModel

model = charseq.load("dates")
assert_type(model, PairsModel | LanguageModel)
texts: Iterator[str] = iter(["a"])
series = pd.Series(["a", None], index=[3, 4])
assert_type(model.predict("a"), list[Prediction])
assert_type(model.predict(["a"], n=3, beam=2), list[Prediction])
assert_type(model.predict(("a", "b")), list[Prediction])
assert_type(model.predict(texts), list[Prediction])
assert_type(model.predict(text.lower() for text in texts), list[Prediction])
assert_type(model.predict(map(str, [1])), list[Prediction])
assert_type(model.predict(open("a.txt")), list[Prediction])
assert_type(model.predict({"a": 1}.keys() | {"b"}), list[Prediction])
assert_type(model.predict(np.array(["a"])), list[Prediction])
assert_type(model.predict(series), "pd.Series[Any]")
frame = pd.DataFrame({"a": ["b"]})
assert_type(model.predict(frame["a"]), "pd.Series[Any]")
assert_type(charseq.convert("a.csv", model, "b.csv", n=2), ConvertReport | LexiconReport)
assert_type(charseq.convert("a.csv", model, "b.dict", to_format="cmudict"), LexiconReport)
assert_type(charseq.convert(frame, "dates", column="a"), pd.DataFrame)
assert_type(charseq.train(frame, config=charseq.configure({"epochs": 1})), dict[str, Any])
if isinstance(model, LanguageModel):
    assert_type(model.complete("a", n=2), list[Prediction])
    assert_type(model.generate(series), "pd.Series[Any]")
model.predict(5)  # type: ignore[call-overload]
model.predict("a", beem=5)  # type: ignore[call-overload]
charseq.convert(frame, model, "out.csv")  # type: ignore[call-overload]
"""


def test_a_type_checker_sees_what_the_functions_return(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    words = ["--strict", "--follow-imports=silent", str(script)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "Success: no issues found in 1 source file", done.stderr
