"""A teacher labels texts, a student learns what it wrote, and a stopped labelling goes on."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from world import write_capitals

from charseq.config import Config, configure
from charseq.data.pairs import Example
from charseq.errors import (
    CheckpointError,
    DataError,
    Interrupted,
    SettingError,
    UsageError,
)
from charseq.inference.prediction import Prediction
from charseq.inference.predictor import load
from charseq.process import WorkClock
from charseq.runs import folder as checkpoint
from charseq.training import distillation
from charseq.training import train as recipes
from charseq.training.distillation import (
    MIN_PROBABILITY,
    Teacher,
    mix,
    read_sources,
    saved_labels,
    teacher_of,
)
from charseq.training.pairs import PairsTask


def config_of(**settings: Any) -> Config:
    small = {
        "epochs": 2, "threads": 1, "device": "cpu", "precision": "float32", "hidden": 12,
        "embedding": 6, "batch_size": 8, "evaluations": 2, "learning_rate": 0.01, "beam": 2,
        "task": "pairs", "save_seconds": 0.0,
    }  # fmt: skip
    return configure({**small, **settings})


def words_of(count: int, letters: str, seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(draw.choices(letters, k=draw.randint(2, 5)))] = None
    return list(found)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = words_of(160, "abc")
    folder = tmp_path_factory.mktemp("distil") / "upper"
    return write_capitals(folder, dev=words[:8], train=words[8:])


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher that knows its task somewhat."""
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    recipes.train(data, run=folder, config=config_of(epochs=8, learning_rate=0.03, dropout=0))
    return folder


# --- what is to be labelled


def test_texts_come_from_lines_or_a_column(tmp_path: Path) -> None:
    files = {
        "words.txt": "ab\n\nc d\n\n",
        "words.csv": "n,source\n1,ab\n2,\n3,c d\n",
        "words.jsonl": '{"target": "x", "source": "ab"}\n{"target": "y", "source": "c d"}\n',
        "first.tsv": "ab\tX\nc d\tY\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        assert read_sources(tmp_path / name, features=False) == [("ab", ""), ("c d", "")]


def test_a_role_in_another_case_is_found_and_a_header_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    path = tmp_path / "words.csv"
    for text, note in (("Target;SRC\nx;ab\ny;c d\n", 1), ("word;nr\nab;1\nc d;2\n", 2)):
        path.write_text(text)
        found = read_sources(path, features=False, report=told.append)
        assert found == [("ab", ""), ("c d", "")]
        assert len(told) == note
    assert told[1].endswith("line 1 is taken for a header (word, nr): header=no reads it as a row")


def test_features_stand_beside_their_text(tmp_path: Path) -> None:
    for name, text in {
        "w.txt": "run\tV;PST\nox\tN;PL\n",
        "w.tsv": "run\tV;PST\nox\tN;PL\n",
        "w.csv": "features,source\nV;PST,run\nN;PL,ox\n",
    }.items():
        (tmp_path / name).write_text(text)
        assert read_sources(tmp_path / name, features=True) == [("run", "V;PST"), ("ox", "N;PL")]


@pytest.mark.parametrize(
    ("name", "text", "features", "said"),
    [
        ("w.txt", "run\tV\nox\n", True, "w.txt:2: 0 tabs, expected one, between source and feat"),
        ("w.txt", "run\tV\tx\nox\n", True, "w.txt:1: 2 tabs, expected one"),
        ("w.tsv", "run\n", True, "w.tsv:1: no column '2': only 1 column and no header"),
        ("w.txt", "\n\n", False, "w.txt: no texts in it"),
        ("none.txt", None, False, "none.txt: cannot be read: No such file"),
    ],
)
def test_files_without_texts_are_refused(
    name: str, text: str | None, features: bool, said: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        read_sources(tmp_path / name, features=features)
    assert str(caught.value).startswith(f"{tmp_path}/{said}")


def test_each_source_is_labelled_once(run: Path, tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("new\nab\nnew\nother\n")
    train = [Example("ab", "AB"), Example("ab", "Ab"), Example("c", "C")]
    assert Teacher(run, None, best=1).sources(train) == [("ab", ""), ("c", "")]
    more = Teacher(run, tmp_path / "more.txt", best=1).sources(train)
    assert more == [("ab", ""), ("c", ""), ("new", ""), ("other", "")]


# --- labels


def silent(line: str) -> None: ...


def test_labels_are_the_teachers_best_outputs(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = 0.02
    monkeypatch.setattr(distillation, "MIN_PROBABILITY", least)
    sources = [(word, "") for word in words_of(300, "abcx", seed=4)]
    labels = Teacher(run, None, best=2).labels(
        sources, tmp_path, WorkClock(), every=9e9, report=silent
    )
    model = load(run)
    wanted = [
        [
            (one.prediction, one.probability)
            for one in found.candidates
            if one.probability >= least and not found.truncated
        ]
        for found in model.predict([text for text, _ in sources], n=2)
    ]
    assert labels == wanted
    assert {len(label) for label in labels} >= {1, 2}
    assert saved_labels(tmp_path, Teacher(run, None, best=2)._key(sources), silent) == labels


class Scripted:
    """A model that counts what it is asked, and may ask to stop after so many windows."""

    has_features = False
    config = SimpleNamespace(beam=1)
    beam = 1

    def __init__(self, stop_after: int = 10**9) -> None:
        self.asked: list[str] = []
        self.windows = 0
        self.stop_after = stop_after

    def predict(self, texts: Sequence[str], *, n: int, beam: int) -> list[Prediction]:
        self.asked += texts
        self.windows += 1
        if self.windows == self.stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return [
            SimpleNamespace(  # type: ignore[misc]
                truncated=text == "cut",
                candidates=[
                    SimpleNamespace(prediction=text.upper(), probability=0.1 + 2**-9),
                    SimpleNamespace(prediction=" ", probability=0.5),
                    SimpleNamespace(prediction="?", probability=MIN_PROBABILITY / 2),
                ],
            )
            for text in texts
        ]


@pytest.fixture
def played(run: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Scripted], Teacher]:
    def play(model: Scripted) -> Teacher:
        monkeypatch.setattr(Teacher, "_model", lambda *_: model)
        return Teacher(run, None, best=3)

    return play


def test_improbable_empty_or_truncated_outputs_are_not_learnt(
    played: Callable[[Scripted], Teacher], tmp_path: Path
) -> None:
    teacher = played(Scripted())
    found = teacher.labels(
        [("ab", ""), ("cut", "")], tmp_path, WorkClock(), every=9e9, report=silent
    )
    assert found == [[("AB", 0.1 + 2**-9)], []]


def test_a_student_that_may_answer_nothing_learns_that_there_is_no_answer(
    played: Callable[[Scripted], Teacher], tmp_path: Path
) -> None:
    found = played(Scripted()).labels(
        [("ab", "")], tmp_path, WorkClock(), every=9e9, report=silent, empty=True
    )
    assert found == [[("AB", 0.1 + 2**-9), ("", 0.5)]]


def test_an_interrupted_labelling_resumes(
    played: Callable[[Scripted], Teacher], tmp_path: Path
) -> None:
    sources = [(word, "") for word in words_of(5 * distillation.WINDOW + 7, "abcdef")]
    first = Scripted(stop_after=3)
    with pytest.raises(Interrupted, match=r"while .*teacher labelled; its labels are in") as caught:
        played(first).labels(sources, tmp_path, WorkClock(), every=9e9, report=silent)
    assert caught.value.exit_code == 143
    assert len(first.asked) == 3 * distillation.WINDOW
    teacher = played(second := Scripted())
    with pytest.raises(CheckpointError, match="holds no labels of this teacher"):
        teacher.read_labels(sources, tmp_path)
    lines: list[str] = []
    found = teacher.labels(sources, tmp_path, WorkClock(), every=0.0, report=lines.append)
    assert first.asked + second.asked == [text for text, _ in sources]
    assert lines[-1] == f"labelled   {len(sources):,} of {len(sources):,} sources"
    assert len(lines) == 3
    assert found == [[(text.upper(), 0.1 + 2**-9)] for text, _ in sources]
    assert (
        played(third := Scripted()).labels(sources, tmp_path, WorkClock(), every=0, report=silent)
        == found
    )
    assert third.asked == []
    assert teacher.read_labels(sources, tmp_path) == found


@pytest.mark.parametrize("change", ["sources", "best", "teacher"])
def test_labels_with_another_key_are_not_used(
    change: str, played: Callable[[Scripted], Teacher], tmp_path: Path
) -> None:
    sources = [("ab", ""), ("c", "")]
    played(Scripted()).labels(sources, tmp_path, WorkClock(), every=0, report=silent)
    teacher = played(model := Scripted())
    if change == "sources":
        sources = [("ab", ""), ("d", "")]
    elif change == "best":
        teacher.best = 1
    else:
        teacher.fingerprint = "0" * 64
    teacher.labels(sources, tmp_path, WorkClock(), every=0, report=silent)
    assert model.asked == [text for text, _ in sources]


# --- the mixture


def test_true_pairs_and_labels_are_mixed() -> None:
    train = [
        Example("a", "A", "", 2.0), Example("a", "Ä"), Example("a", "A"), Example("b", "B", "f"),
    ]  # fmt: skip
    labels = [[("A\u0308", 0.5), ("A", 0.25), ("x", 0.125)], [("B", 0.75)], [("C", 1.0)], []]
    sources = [("a", ""), ("b", ""), ("c", "g"), ("d", "")]
    assert mix(train, sources, labels) == [
        Example("a", "A", "", 2.25), Example("a", "Ä", "", 1.5), Example("a", "A"),
        Example("b", "B", "f"), Example("a", "x", "", 0.125), Example("b", "B", "", 0.75),
        Example("c", "C", "g", 1.0),
    ]  # fmt: skip
    assert train[0].weight == 2.0


# --- the whole journey


def test_a_student_learns_the_outputs_of_its_teacher(data: Path, run: Path, tmp_path: Path) -> None:
    """Of texts with a new symbol too; what is kept is a run like others."""
    (tmp_path / "more.txt").write_text("".join(f"{word}\n" for word in words_of(40, "abcz", 5)))
    student, lines = tmp_path / "student", list[str]()
    recipes.train(
        data, run=student, config=config_of(), distil_from=run, unlabelled=tmp_path / "more.txt",
        report=lines.append,
    )  # fmt: skip
    about = checkpoint.read_json(student, "about.json")
    assert "z" in about["source"]["symbols"]
    assert about["distilled"]["teacher"] == "teacher"
    assert about["distilled"]["unlabelled"] is not None
    assert about["data"] == checkpoint.read_json(run, "about.json")["data"], "the true pairs"
    assert not [name for name in checkpoint.names(student) if "labels" in name]
    assert load(student).predict(["abz"])[0].unknown == []
    assert any(line.startswith(f"teacher    {run}: ") for line in lines)
    alone = tmp_path / "alone"
    recipes.train(data, run=alone, config=config_of())
    assert "distilled" not in checkpoint.read_json(alone, "about.json")


def test_more_pairs_are_trained_on(data: Path, run: Path) -> None:
    task = PairsTask(data, config_of())
    before = len(task.trainer().batches)
    sources = [(word, "") for word in words_of(100, "xyz")]
    task.add_teacher_labels(sources, [[(text, 0.5)] for text, _ in sources], {"teacher": "t"})
    assert len(task.prepared.dataset.train) == 152 + 100
    assert len(task.trainer().batches) > before
    assert {"x", "y", "z"} <= set(task.metadata["target"]["symbols"])
    assert task.metadata["data"]["examples"]["train"] == 152


def test_labels_do_not_change_the_network(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charseq.training.prepare.MANY_PAIRS", 200)
    task = PairsTask(data, config_of(attention="hard", layers=0))
    sources = [(word, "") for word in words_of(100, "xyz")]
    task.add_teacher_labels(sources, [[(text, 0.5)] for text, _ in sources], {"teacher": "t"})
    assert len(task.prepared.dataset.train) > 200
    assert (task.config.layers, task.config.direction) == (1, "backward")


def test_an_interrupted_student_resumes_with_its_teacher_only(
    data: Path, run: Path, tmp_path: Path
) -> None:
    student, config = tmp_path / "student", config_of(epochs=3)

    def stop(line: str) -> None:
        if "dev exact" in line:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        recipes.train(data, run=student, config=config, distil_from=run, report=stop)
    (tmp_path / "more.txt").write_text("abab\n")
    files = {path: path.read_bytes() for path in student.iterdir()}
    other = {"distil_from": run, "unlabelled": tmp_path / "more.txt"}
    for teacher in ({}, other):
        with pytest.raises(CheckpointError, match="begun with another teacher") as caught:
            recipes.train(data, run=student, config=config, **teacher)
        assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in student.iterdir()} == files
    lines: list[str] = []
    recipes.train(data, run=student, config=config, distil_from=run, report=lines.append)
    assert any(line.startswith("resume     at step ") for line in lines)
    assert not any(line.startswith("labelled") for line in lines)
    recipes.train(data, run=tmp_path / "whole", config=config, distil_from=run)
    weights = [(one / "model.safetensors").read_bytes() for one in (student, tmp_path / "whole")]
    assert weights[0] == weights[1]


def test_members_have_the_same_teacher(data: Path, run: Path, tmp_path: Path) -> None:
    config = config_of(ensemble=2, epochs=1, evaluations=1)
    recipes.train(data, run=tmp_path / "run", config=config, distil_from=run)
    about = checkpoint.read_json(tmp_path / "run", "about.json")
    assert about["distilled"]["teacher"] == "teacher"
    assert len(about["members"]) == 2


def test_runs_that_cannot_teach_are_refused(data: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unlabelled wants a model that labels its texts"):
        teacher_of(None, "words.txt", best=1)
    assert teacher_of(None, None, best=1) is None
    with pytest.raises(CheckpointError, match="there is no such run"):
        teacher_of(tmp_path / "none", None, best=1)
    (tmp_path / "f.tsv").write_text("".join(f"{word}\tV\t{word}\n" for word in words_of(40, "ab")))
    config = config_of(columns="source,features,target")
    with pytest.raises(SettingError, match="teacher has no features, unlike the data"):
        recipes.train(tmp_path / "f.tsv", run=tmp_path / "x", config=config, distil_from=run)
    assert not (tmp_path / "x").exists()
    (tmp_path / "train.txt").write_text("".join(f"the line {n}\n" for n in range(40)))
    words = config_of(task="next-word", min_count=1)
    with pytest.raises(UsageError, match="distil_from is for pairs"):
        recipes.train(tmp_path / "train.txt", run=tmp_path / "x", config=words, distil_from=run)
    about = json.loads((run / "about.json").read_text())
    part = tmp_path / "part"
    files = {"about.json": json.dumps({**about, "finished": False}).encode()}
    model = (run / "model.safetensors").read_bytes()
    checkpoint.publish(part, {**files, "model.safetensors": model})
    with pytest.raises(CheckpointError, match="is not finished, so it is no teacher yet"):
        teacher_of(part, None, best=1)
