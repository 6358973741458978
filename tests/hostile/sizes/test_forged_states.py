"""Training states with right sha256 and wrong contents: one line, and the other state is taken."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from toy_pairs import TINY, reversed_words

from charseq.config import configure
from charseq.errors import CheckpointError, Interrupted, NewerVersionError
from charseq.inference.loading import read_run
from charseq.runs import folder as checkpoint
from charseq.runs.training_state import kept_name
from charseq.runs.weights import load_arrays
from charseq.training import train
from charseq.training.averaging import average
from charseq.training.distillation import saved_labels

SMALL = {**TINY, "evaluations": 6, "epochs": 4, "keep": 3, "save_seconds": 0}
CONFIG = configure(SMALL)

Note = dict[str, Any]
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reversed_words(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def stopped(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was stopped at its third evaluation, with two states."""
    run, seen = tmp_path_factory.mktemp("stopped") / "run", []

    def report(line: str) -> None:
        seen.extend(["."] * ("dev exact" in line))
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train.train(data, run=run, config=CONFIG, report=report)
    return run


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def newest(run: Path) -> str:
    saves = {
        slot: checkpoint.read_json(run, f"resume.{slot}.json")["progress"]["saves"] for slot in "ab"
    }
    return max(saves, key=lambda slot: saves[slot])


def resumed(data: Path, run: Path) -> list[str]:
    """The lines of the training that goes on, which ends with a sound run."""
    lines: list[str] = []
    train.train(data, run=run, config=CONFIG, report=lines.append)
    assert checkpoint.is_finished(run)
    read_run(run)
    return lines


def check(data: Path, run: Path, slot: str, name: str) -> None:
    lines = resumed(data, run)
    (warning,) = [line for line in lines if "damaged" in line]
    assert warning.startswith(f"{run}/{name}: is damaged")
    assert warning.endswith("; the other state is taken")
    assert any(line.startswith("resume     at step") for line in lines)


PROGRESS: list[Callable[[Note], Any]] = [
    lambda note: note.clear(),
    lambda note: note.update(progress=[]),
    lambda note: note.update(progress={}),
    lambda note: note.update(settings=None),
    lambda note: note.update(fingerprint=7),
    lambda note: note.update(symbols=["x"]),
    lambda note: note.update(distilled="teacher"),
    lambda note: note.update(kernels=[1]),
    lambda note: note["progress"].update(seconds="12"),
    lambda note: note["progress"].update(seconds=-1.0),
    lambda note: note["progress"].update(seconds=10**400),
    lambda note: note["progress"].update(scoring=True),
    lambda note: note["progress"].update(epochs=None),
    lambda note: note["progress"].update(evaluations=-(10**12)),
    lambda note: note["progress"].update(evaluations=2.5),
    lambda note: note["progress"].update(saves=10**30),
    lambda note: note["progress"].update(halved=10**9),
    lambda note: note["progress"].update(halved=-1),
    lambda note: note["progress"].update(scores={"exact_match": "all"}),
    lambda note: note["progress"].update(scores={"perplexity": 2.0}),
    lambda note: note["progress"].update(scores=[1, 2]),
    lambda note: note["progress"].update(metrics={"step": 1}),
    lambda note: note["progress"].update(metrics=[["step"]]),
    lambda note: note["progress"].update(metrics=[{"step": {"a": []}}]),
    lambda note: note["progress"].update(pending={"loss": "big"}),
    lambda note: note["progress"].update(pending={"other": 1}),
    lambda note: note["progress"].update(pending=5),
    lambda note: note["progress"].update(further=5),
]


@pytest.mark.parametrize("number", range(len(PROGRESS)))
def test_a_forged_note(number: int, data: Path, run: Path) -> None:
    slot = newest(run)
    name = f"resume.{slot}.json"
    note = checkpoint.read_json(run, name)
    PROGRESS[number](note)
    checkpoint.publish(run, {name: json.dumps(note).encode()})
    at = name if number != 19 else f"resume.{slot}.safetensors"  # only the task knows its scores
    check(data, run, slot, at)


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"{", b'{"a": ' * 100_000, b'{"progress": 1e999}',
     b'{"progress": {"saves": 1, "seconds": 1e999}}', b'{"progress": {"saves": NaN}}', b"\xff\xfe",
     b'{"progress": {"saves": ' + b"9" * 5000 + b"}}"],
    ids=range(10),
)  # fmt: skip
def test_a_note_that_is_no_note(content: bytes, data: Path, run: Path) -> None:
    slot = newest(run)
    checkpoint.publish(run, {f"resume.{slot}.json": content})
    check(data, run, slot, f"resume.{slot}.json")


def without(arrays: Arrays, name: str) -> None:
    del arrays[name]


ARRAYS: list[Callable[[Arrays], Any]] = [
    lambda arrays: arrays.clear(),
    lambda arrays: without(arrays, "weights"),
    lambda arrays: without(arrays, "exp_avg_sq"),
    lambda arrays: without(arrays, "counts"),
    lambda arrays: arrays.update(weights=arrays["weights"][:-1].copy()),
    lambda arrays: arrays.update(weights=arrays["weights"].reshape(1, -1)),
    lambda arrays: arrays.update(average=arrays["average"].astype(np.int32)),
    lambda arrays: arrays.update(weights=arrays["weights"] * np.float32("nan")),
    lambda arrays: arrays.update(step=np.zeros(3, np.float32)),
    lambda arrays: arrays.update(counts=np.array([1, 2])),
    lambda arrays: arrays.update(counts=np.array([-1, 0, 0])),
    lambda arrays: arrays.update(counts=np.array([2**62, 0, 0])),
    lambda arrays: arrays.update(counts=np.array([1.5, 0.0, 0.0])),
    lambda arrays: arrays.update(carried=np.zeros((1, 1, 4, 8), np.float32)),
    lambda arrays: arrays.update({"best/more": np.zeros(3, np.float32)}),
    lambda arrays: [without(arrays, name) for name in list(arrays) if name.startswith("best/")],
]


@pytest.mark.parametrize("number", range(len(ARRAYS)))
def test_forged_arrays(number: int, data: Path, run: Path) -> None:
    slot = newest(run)
    name = f"resume.{slot}.safetensors"
    arrays = load_arrays(checkpoint.read(run, name))
    ARRAYS[number](arrays)
    checkpoint.publish(run, {name: save(arrays)})
    lines = resumed(data, run)
    (warning,) = [line for line in lines if name in line]
    assert warning.endswith("; the other state is taken")


def test_where_both_are_forged_it_begins_anew(data: Path, run: Path) -> None:
    checkpoint.publish(run, {f"resume.{slot}.json": b'{"progress": {}}' for slot in "ab"})
    lines = resumed(data, run)
    assert sum("training begins anew" in line for line in lines) == 2


def test_a_state_of_a_newer_version_is_kept(data: Path, run: Path) -> None:
    """It is not damaged, so it is not overwritten by a training that begins anew."""
    for slot in "ab":
        note = checkpoint.read_json(run, f"resume.{slot}.json")
        note["version"] = "7.0.0"
        note["progress"]["curvature"] = 1
        checkpoint.publish(run, {f"resume.{slot}.json": json.dumps(note).encode()})
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(NewerVersionError, match=r"newer charseq \(7\.0\.0\): upgrade charseq"):
        train.train(data, run=run, config=CONFIG)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize("places", [None, 0, -3, 10**6, [1, 2], 1.0])
def test_the_state_of_an_ensemble(places: Any, data: Path, tmp_path: Path) -> None:
    config = configure({**SMALL, "ensemble": 2, "keep": 0, "epochs": 1, "evaluations": 1})
    run = tmp_path / "run"
    train.train(data, run=run, config=config)
    about = checkpoint.read_json(run, "about.json")
    arrays = {} if places is None else {"places": np.array(places)}
    note = {
        "settings": about["settings"], "fingerprint": about["data"]["fingerprint"], "start": None,
        "symbols": "x", "progress": {"saves": 1},
    }  # fmt: skip
    publish_state(run, note, arrays)
    with pytest.raises(CheckpointError, match="other weights or symbols"):
        train.train(data, run=run, config=config)
    sides = [about["source"], about["target"]]
    note["symbols"] = hashlib.sha256(json.dumps(sides).encode()).hexdigest()
    publish_state(run, note, arrays)
    lines: list[str] = []
    train.train(data, run=run, config=config, report=lines.append)
    assert any("is no state of an ensemble; training begins anew" in line for line in lines)


def publish_state(run: Path, note: Note, arrays: Arrays) -> None:
    about = checkpoint.read_json(run, "about.json") | {"finished": False}
    content = {"resume.a.json": note, "about.json": about}
    checkpoint.publish(
        run,
        {name: json.dumps(part).encode() for name, part in content.items()}
        | {"resume.a.safetensors": save(arrays)},
    )


# --- kept evaluations, and labels of a teacher


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    train.train(data, run=run, config=CONFIG)
    return run


@pytest.mark.parametrize(
    "forge",
    [
        lambda arrays: {name: part * np.float32("nan") for name, part in arrays.items()},
        lambda arrays: {name: part.astype(np.float64) for name, part in arrays.items()},
        lambda arrays: {name: part.astype(np.int32) for name, part in arrays.items()},
        lambda arrays: {name: part[:1].copy() for name, part in arrays.items()},
        lambda _: {},
    ],
)
def test_a_forged_kept_evaluation(
    forge: Callable[[Arrays], Arrays], whole: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    name = kept_name(6)
    arrays = load_arrays(checkpoint.read(run, name))
    checkpoint.publish(run, {name: save(forge(arrays))})
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        average([run], tmp_path / "mean", report=lambda _: None)
    assert not (tmp_path / "mean").exists()


@pytest.mark.parametrize("line", [b"null", b"[" * 50_000, b"{}", b'{"exact_match": "x"}', b"5"])
def test_forged_metrics_of_kept_evaluations(line: bytes, whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    checkpoint.publish(run, {"metrics.jsonl": b"\n".join([line] * 6)})
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl"):
        average([run], tmp_path / "mean", best=2, report=lambda _: None)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"null", b'{"key": "k"}\n5', b'{"key": "k"}\n[["a"]]', b'{"key": "k"}\n[[1, 2]]',
     b'{"key": "k"}\n[["a", 1e999]]', b'{"key": "k"}\n[["a", -1.0]]', b'{"key": "k"}\n' + b"[" * 99,
     b'{"key": "k"}\n"}'],
    ids=range(10),
)  # fmt: skip
def test_forged_labels_of_a_teacher(content: bytes, tmp_path: Path) -> None:
    good = b'{"key": "k"}\n[["ab", 0.5]]\n[]\n'
    checkpoint.publish(tmp_path, {"resume.labels.00000000.jsonl": good})
    assert saved_labels(tmp_path, "k", pytest.fail) == [[("ab", 0.5)], []]
    checkpoint.publish(tmp_path, {"resume.labels.00000002.jsonl": content})
    lines: list[str] = []
    assert len(saved_labels(tmp_path, "k", lines.append)) == 2
    assert len(lines) == (content != b"{}"), "another key is no damage"
