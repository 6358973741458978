"""A run folder: two states in turn, the best model so far, and who may go on with it."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq import __version__
from charseq.config import Config
from charseq.data.text.tokenizer import Tokenizer
from charseq.data.text.vocabulary import Vocabulary
from charseq.errors import CheckpointError
from charseq.kernels import library as kernels
from charseq.runs import folder as checkpoint
from charseq.runs import weights as weights_module
from charseq.runs.model_card import render
from charseq.runs.training_state import (
    Progress,
    TrainingState,
    due,
    halve,
    kept_evaluations,
    kept_name,
)

SIDE = Vocabulary("characters", "NFC", "NFC", ("a", "b")).to_json()
SCORES = {"examples": 20, "exact_match": 75.0, "wer": 25.0, "ser": 12.5}


def about(fingerprint: str = "f" * 64, **settings: Any) -> dict[str, Any]:
    return {
        "settings": {**Config().to_json(), **settings},
        "source": SIDE,
        "target": SIDE,
        "limits": [0, 4],
        "start": None,
        "data": {"name": "toy", "fingerprint": fingerprint, "examples": {"train": 9, "dev": 1}},
    }


def state(number: int) -> dict[str, np.ndarray]:
    return {
        "weights": np.full(4, number, np.float32),
        "step": np.asarray(number, np.float32),
        "counts": np.array([number, 0, 0]),
    }


def best(number: int) -> dict[str, np.ndarray]:
    """Weights of a model; one is called as a part of the state is."""
    return {"weights": np.full((2, 3), number, np.float32), "a.b": np.ones(5, np.float32)}


def saved(folder: Path, count: int, **settings: Any) -> TrainingState:
    """A run with so many states; state and seconds carry the number of the save, from 1."""
    run = TrainingState(folder, about(**settings))
    for number in range(1, count + 1):
        run.progress.seconds = float(number)
        run.best = best(number)
        run.save(state(number), better=False)
    return run


def equal(one: Any, other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        one[k].dtype == other[k].dtype and np.array_equal(one[k], other[k]) for k in other
    )


def silent(line: str) -> None:
    pytest.fail(line)


def take(*_state: Any) -> None:
    """Any state that was saved is right."""


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_saved_state_comes_back(tmp_path: Path) -> None:
    run = TrainingState(tmp_path / "run", about())
    run.progress = Progress(12.5, 1.5, 2.25, 3, 0, dict(SCORES), [{"loss": 1.25, "text": "é"}])
    run.best = best(7)
    run.save(state(3), better=False)
    again = TrainingState(tmp_path / "run", about())
    found = again.resume(silent, take)
    assert found is not None
    assert equal(found, state(3))
    assert equal(again.best, best(7))
    assert again.progress == run.progress
    assert again.progress.saves == 1


def test_an_empty_or_missing_folder_holds_no_state(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        run = TrainingState(folder, about())
        assert run.resume(silent, take) is None
        assert run.progress == Progress()
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 10, 11])
def test_the_newest_of_two_states_is_taken(tmp_path: Path, count: int) -> None:
    """By the number of the save: neither slot nor text order says which is newer."""
    saved(tmp_path, count)
    run = TrainingState(tmp_path, about())
    found = run.resume(silent, take)
    assert found is not None
    assert equal(found, state(count))
    assert equal(run.best, best(count))
    assert run.progress.seconds == count
    assert len(list(tmp_path.glob("resume.*"))) == 2 * min(count, 2)


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_damaged_state_gives_way_to_the_one_before_it(tmp_path: Path, suffix: str) -> None:
    saved(tmp_path, 5)
    flip(tmp_path / f"resume.a.{suffix}")
    warnings: list[str] = []
    run = TrainingState(tmp_path, about())
    found = run.resume(warnings.append, take)
    assert found is not None
    assert equal(found, state(4))
    assert equal(run.best, best(4))
    (warning,) = warnings
    assert warning.startswith(f"{tmp_path}/resume.a.{suffix}: is damaged")
    assert "\n" not in warning

    run.save(state(50), better=False)  # into the damaged place: the sound one is kept
    for damaged, wanted in ((None, 50), ("a", 4)):
        if damaged:
            flip(tmp_path / f"resume.{damaged}.safetensors")
        found = TrainingState(tmp_path, about()).resume(lambda _: None, take)
        assert found is not None
        assert equal(found, state(wanted))


def test_where_both_states_are_damaged_there_is_none(tmp_path: Path) -> None:
    saved(tmp_path, 2)
    flip(tmp_path / "resume.a.safetensors")
    (tmp_path / "resume.b.json").unlink()
    warnings: list[str] = []
    run = TrainingState(tmp_path, about())
    assert run.resume(warnings.append, take) is None
    assert [Path(line.split(": ")[0]).name for line in warnings] == [
        "resume.a.safetensors",
        "resume.b.json",
    ]
    assert run.progress == Progress()
    assert run.best == {}


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (
            about(fingerprint="e" * 64),
            "was begun on other data (the files have changed); force=True",
        ),
        (about(fingerprint="e" * 64, hidden=9), "was begun on other data"),
        (about(hidden=9), "was begun with hidden = 256, now it is 9; give the same settings"),
        (about(attention="none"), "was begun with attention = auto, now it is none"),
        (about(columns="target,source"), "was begun with columns = , now it is target,source"),
    ],
)
def test_other_settings_or_data_are_not_resumed(
    tmp_path: Path, now: dict[str, Any], said: str
) -> None:
    saved(tmp_path, 3)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CheckpointError) as caught:
        TrainingState(tmp_path, now).resume(silent, take)
    assert str(caught.value).startswith(f"{tmp_path}: {said}")
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def other_symbols(**settings: Any) -> dict[str, Any]:
    side = Vocabulary("characters", "NFC", "NFC", ("a", "c")).to_json()
    return {**about(**settings), "target": side}


def words(*known: str, case: str = "keep", **settings: Any) -> dict[str, Any]:
    """What a run that predicts words says of itself."""
    units = Tokenizer(Vocabulary("spaced", "NFC", "NFC", known), case=case).to_json()
    told = {k: v for k, v in about(**settings).items() if k not in ("source", "target", "limits")}
    return {**told, "units": units}


@pytest.mark.parametrize(
    ("begun", "now", "said"),
    [
        (about(), other_symbols(), "was begun from other weights or symbols"),
        (about(), other_symbols(hidden=9), "was begun with hidden = 256, now it is 9"),
        (about(), {**about(), "start": "e" * 64}, "was begun from other weights or symbols"),
        (words("a", "b"), words("b", "a"), "was begun from other weights or symbols"),
        (words("a"), words("a", case="lower"), "was begun from other weights or symbols"),
        (
            words("a", "b", min_count=1),
            words("a", min_count=2),
            "was begun with min_count = 1, now it is 2",
        ),
    ],
)
def test_other_symbols_are_not_resumed(
    tmp_path: Path, begun: dict[str, Any], now: dict[str, Any], said: str
) -> None:
    """Where settings differ these are named, since symbols follow from them."""
    run = TrainingState(tmp_path, begun)
    run.save(state(1), better=False)
    with pytest.raises(CheckpointError) as caught:
        TrainingState(tmp_path, now).resume(silent, take)
    assert str(caught.value).startswith(f"{tmp_path}: {said}")
    assert "\n" not in str(caught.value)
    found = TrainingState(tmp_path, begun).resume(silent, take)
    assert found is not None
    assert equal(found, state(1))


def test_every_setting_counts(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    for name, value in Config().to_json().items():
        other = not value if isinstance(value, bool) else f"{value}1"
        with pytest.raises(CheckpointError, match=f"was begun with {name} = "):
            TrainingState(tmp_path, about(**{name: other})).resume(silent, take)


def test_a_better_model_is_published_and_a_worse_one_is_not(tmp_path: Path) -> None:
    run = saved(tmp_path, 1)
    assert not (tmp_path / "model.safetensors").exists()
    assert not checkpoint.is_finished(tmp_path)
    run.best = best(3)
    run.progress.scores = dict(SCORES)
    run.progress.metrics = [{"loss": 1.5}]
    run.save(state(2), better=True)
    written, weights = checkpoint.load_model(tmp_path)
    assert equal(weights, best(3))
    assert written["finished"] is False
    assert written["scores"] == SCORES
    model = (tmp_path / "model.safetensors").read_bytes()
    run.progress.metrics = [{"loss": 1.5}, {"loss": 2.5}]
    run.save(state(3), better=False)
    assert (tmp_path / "model.safetensors").read_bytes() == model
    assert (tmp_path / "metrics.jsonl").read_text(encoding="utf-8") == '{"loss": 1.5}\n'


def test_other_kernels_are_a_warning_on_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They change the last bits, so the result is not that of a run without a break."""
    monkeypatch.setattr(kernels, "find", lambda: None)
    saved(tmp_path, 1)
    assert TrainingState(tmp_path, about()).resume(silent, take) is not None
    monkeypatch.setattr(kernels, "find", lambda: SimpleNamespace(level="plain"))
    warnings: list[str] = []
    found = TrainingState(tmp_path, about()).resume(warnings.append, take)
    assert equal(found, state(1))
    (warning,) = warnings
    assert "compiled kernels off, now they are plain" in warning


def test_a_finished_run_holds_the_model_and_nothing_to_resume(tmp_path: Path) -> None:
    run = saved(tmp_path / "dates", 3)
    run.best = best(3)
    run.progress.seconds, run.progress.epochs = 12.345, 2.3456
    run.progress.scores = dict(SCORES)
    run.progress.metrics = [{"loss": 1.5, "note": "é"}, {"loss": 0.5}]
    run.finish()
    folder = tmp_path / "dates"
    assert checkpoint.is_finished(folder)
    wanted = {"about.json", "model.safetensors", "README.md", "metrics.jsonl"}
    assert checkpoint.names(folder) == wanted
    assert {path.name for path in folder.iterdir()} == {*wanted, "manifest.json"}
    written, weights = checkpoint.load_model(folder)
    assert equal(weights, best(3))
    given = about()
    assert {name: written[name] for name in given} == given
    facts = {"format": 1, "finished": True, "seconds": 12.3, "epochs": 2.35, "parameters": 11}
    assert {name: written[name] for name in facts} == facts
    assert written["scores"] == SCORES
    assert written["versions"]["charseq"] == __version__
    library = kernels.find()
    assert written["versions"]["kernels"] == ("off" if library is None else library.level)
    assert {"python", "torch", "numpy", "safetensors", "sentencepiece"} < written["versions"].keys()
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    assert lines == '{"loss": 1.5, "note": "é"}\n{"loss": 0.5}\n'
    assert (folder / "README.md").read_text(encoding="utf-8") == render("dates", written)
    listed = json.loads((folder / "manifest.json").read_bytes())["files"]
    for name in wanted:
        assert listed[name]["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert TrainingState(folder, about()).resume(silent, take) is None


def test_reset_deletes_the_states_and_keeps_the_model(tmp_path: Path) -> None:
    run = saved(tmp_path, 3)
    run.best, run.progress.scores = best(3), dict(SCORES)
    run.save(state(4), better=True)
    other = TrainingState(tmp_path, about(hidden=9))
    other.reset()
    assert not list(tmp_path.glob("resume.*"))
    assert equal(checkpoint.load_model(tmp_path)[1], best(3))
    other.save(state(9), better=False)
    found = TrainingState(tmp_path, about(hidden=9)).resume(silent, take)
    assert found is not None
    assert equal(found, state(9))
    TrainingState(tmp_path / "none", about()).reset()
    assert not (tmp_path / "none").exists()


def test_a_save_makes_no_copy_of_state_and_best(tmp_path: Path) -> None:
    """Nor does an evaluation that is kept."""
    run = TrainingState(tmp_path, about())
    large = {"weights": np.ones((2**10, 2**12), np.float32)}
    run.best, run.progress.scores = {"a.b": 2 * large["weights"]}, dict(SCORES)
    tracemalloc.start()
    try:
        run.record({"loss": 1.0})
        run.keep(run.best, 1)
        run.save(large, better=True)
        assert tracemalloc.get_traced_memory()[1] < 0.2 * large["weights"].nbytes
    finally:
        tracemalloc.stop()
    assert equal(checkpoint.load_model(tmp_path)[1], run.best)
    found = TrainingState(tmp_path, about()).resume(silent, take)
    assert found is not None
    assert equal(found, large)


# --- weights of evaluations that are kept


def evaluated(run: TrainingState, number: int, most: int) -> None:
    run.record({"loss": float(number)})
    run.keep(best(number), most)


def test_the_last_evaluations_are_kept_and_no_others(tmp_path: Path) -> None:
    run = saved(tmp_path, 1)
    for number in range(1, 13):
        evaluated(run, number, 3)
        assert number not in kept_evaluations(tmp_path), "with the next save, all or nothing"
        run.save(state(number), better=False)
        assert kept_evaluations(tmp_path) == list(range(max(1, number - 2), number + 1))
    evaluated(run, 13, 3)
    run.finish()
    assert kept_evaluations(tmp_path) == [11, 12, 13]
    for number in (11, 12, 13):
        content = checkpoint.read(tmp_path, kept_name(number))
        assert equal(weights_module.load_arrays(content), best(number))
    TrainingState(tmp_path, about()).reset()
    assert kept_evaluations(tmp_path) == []
    assert not list(tmp_path.glob("kept.*"))


def test_evaluations_kept_after_a_damaged_state_are_deleted(tmp_path: Path) -> None:
    """The evaluations of the state before it are made again, with the same numbers."""
    run = saved(tmp_path, 1)
    for number in (1, 2, 3):
        evaluated(run, number, 2)
        run.save(state(number), better=False)
    flip(tmp_path / "resume.b.safetensors")  # the fourth save
    again = TrainingState(tmp_path, about())
    again.resume(lambda _: None, take)
    assert len(again.progress.metrics) == 2
    evaluated(again, 30, 1)
    again.save(state(30), better=False)
    assert kept_evaluations(tmp_path) == [3]
    content = checkpoint.read(tmp_path, kept_name(3))
    assert equal(weights_module.load_arrays(content), best(30))


def test_by_default_no_evaluation_is_kept(tmp_path: Path) -> None:
    run = saved(tmp_path, 1)
    evaluated(run, 1, 0)
    run.save(state(1), better=False)
    assert kept_evaluations(tmp_path) == []


# --- a teacher


def taught(**teacher: Any) -> dict[str, Any]:
    told = {"teacher": "A", "fingerprint": "a" * 64, "unlabelled": None, **teacher}
    return {**about(), "distilled": told}


@pytest.mark.parametrize(
    "now", [about(), taught(fingerprint="b" * 64), taught(unlabelled="c" * 64)]
)
def test_another_teacher_is_not_resumed(tmp_path: Path, now: dict[str, Any]) -> None:
    """That is told before its labels are made, when the symbols are not known yet."""
    run = TrainingState(tmp_path, taught())
    run.check_origin()
    run.save(state(1), better=False)
    for ask in (
        TrainingState(tmp_path, now).check_origin,
        lambda: TrainingState(tmp_path, now).resume(silent, take),
    ):
        with pytest.raises(CheckpointError, match="begun with another teacher or other unlabelled"):
            ask()
    moved = {**taught(teacher="moved"), "target": {"symbols": ["not known yet"]}}
    TrainingState(tmp_path, moved).check_origin()
    assert TrainingState(tmp_path, taught(teacher="moved")).resume(silent, take) is not None


def test_before_labels_are_made_settings_and_data_are_compared(tmp_path: Path) -> None:
    run = TrainingState(tmp_path, taught())
    run.save(state(1), better=False)
    with pytest.raises(CheckpointError, match="was begun on other data"):
        TrainingState(tmp_path, about(fingerprint="e" * 64)).check_origin()
    with pytest.raises(CheckpointError, match="was begun with hidden = 256, now it is 9"):
        TrainingState(tmp_path, about(hidden=9)).check_origin()
    (tmp_path / "resume.a.json").write_bytes(b"{}")
    TrainingState(tmp_path, about()).check_origin()  # damaged: resume() tells


def test_half_the_batch_is_twice_the_steps() -> None:
    state = {"weights": np.ones(2), "carried": np.ones(3), "counts": np.array([7, 2, 1])}
    after = halve(state)
    assert after.keys() == {"weights", "counts"}
    assert after["counts"].tolist() == [14, 2, 0]
    assert state["counts"].tolist() == [7, 2, 1]


def test_a_save_needs_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = TrainingState(tmp_path, about())
    run.require_space(1000)
    monkeypatch.setattr(
        "charseq.runs.training_state.shutil.disk_usage", lambda _: SimpleNamespace(free=24_000_000)
    )
    run.require_space(1_000_000)
    with pytest.raises(CheckpointError, match="a save takes 24 MB, its disk has 24 MB left"):
        run.require_space(1_000_001)


@given(st.integers(1, 400))
def test_evaluations_are_denser_towards_the_end(planned: int) -> None:
    times = [due(number, planned) for number in range(planned)]
    assert times[-1] == 1.0
    assert times[0] > 0
    gaps = np.diff([0.0, *times])
    assert (gaps > 0).all()
    if planned > 2:
        assert gaps[-1] < gaps[0]
    assert due(planned, planned) == due(planned + 5, planned) == float("inf")
