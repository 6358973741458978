"""Which run is meant: names, the run trained last by its own record, delivered runs."""

import json
import os
from pathlib import Path

import pytest
from arrays import save_arrays

from charseq.errors import CheckpointError
from charseq.runs import lookup, store
from charseq.runs.folder import ABOUT, WEIGHTS


def run_of(folder: Path, trained_at: object = None, task: str = "pairs") -> Path:
    about = {"format": 1, "finished": True, "settings": {"task": task}}
    about |= {} if trained_at is None else {lookup.TRAINED_AT: trained_at}
    store.publish(folder, {ABOUT: json.dumps(about).encode(), WEIGHTS: save_arrays({})})
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and a package beside it with the delivered runs."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("CHARSEQ_MODEL", raising=False)
    package = tmp_path / "site" / "charseq"
    monkeypatch.setattr(lookup, "__file__", str(package / "runs" / "lookup.py"))
    run_of(package / "checkpoints" / "dates")
    run_of(package / "checkpoints" / "sentences", task="next-word")
    return folder


def test_the_record_of_a_run_decides_and_the_times_of_files_do_not(here: Path) -> None:
    old = run_of(here / "checkpoints" / "old", "2026-03-01T10:00:00Z")
    new = run_of(here / "checkpoints" / "new", "2026-03-01T10:00:01Z")
    for file in new.iterdir():
        os.utime(file, (1e9, 1e9))
    for file in old.iterdir():
        os.utime(file, (2e9, 2e9))
    assert lookup.choose() == (
        Path("checkpoints/new"),
        "trained last here, 2026-03-01 10:00 UTC",
    )
    assert lookup.find("checkpoints/old") == Path("checkpoints/old")
    assert lookup.choose("checkpoints/old").reason == "", "it was named"


def test_only_runs_of_the_task_are_chosen(here: Path) -> None:
    run_of(here / "checkpoints" / "pairs", "2026-03-01T10:00:00Z")
    run_of(here / "checkpoints" / "words", "2026-03-02T10:00:00Z", task="next-word")
    assert lookup.choose().path == Path("checkpoints/words")
    assert lookup.choose(task="next-word").path == Path("checkpoints/words")
    assert lookup.choose(task="pairs").path == Path("checkpoints/pairs")
    assert lookup.choose("words", task="pairs").path == Path("checkpoints/words"), "it was named"


@pytest.mark.parametrize(
    "record",
    [None, "", "yesterday", 7, "9999-01-01T00:00:00Z", "2026-03-01", "2026-13-01T00:00:00Z"],
)
def test_a_run_without_a_sound_record_is_only_used_by_name(here: Path, record: object) -> None:
    run_of(here / "checkpoints" / "copied", record)
    choice = lookup.choose()
    assert choice.path.parts[-3:] == ("charseq", "checkpoints", "dates")
    assert choice.reason == "comes with charseq; none that fits was trained here"
    assert lookup.find("copied") == Path("checkpoints/copied")


def test_damaged_runs_and_other_files_are_passed_over(here: Path) -> None:
    sound = run_of(here / "checkpoints" / "sound", "2026-03-01T10:00:00Z")
    for number, name in enumerate(["manifest.json", ABOUT]):
        damaged = run_of(here / "checkpoints" / f"damaged{number}", "2026-03-02T10:00:00Z")
        (damaged / name).write_text("{}")
    weightless = run_of(here / "checkpoints" / "weightless", "2026-03-02T10:00:00Z")
    store.remove(weightless, [WEIGHTS])
    (here / "checkpoints" / "README.md").touch()
    assert lookup.find() == Path("checkpoints") / sound.name


def test_a_delivered_run_in_the_clone_is_not_trained_here(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "__file__", str(here / "charseq" / "runs" / "lookup.py"))
    (here / "charseq").mkdir()
    (here / "charseq" / "checkpoints").symlink_to("../checkpoints")
    dates = run_of(here / "checkpoints" / "dates", "2026-03-01T10:00:00Z")
    run_of(here / "checkpoints" / "sentences", "2026-03-02T10:00:00Z", task="next-word")
    assert lookup.choose() == (dates, "comes with charseq; none that fits was trained here")
    mine = run_of(here / "checkpoints" / "mine", "2026-02-01T10:00:00Z")
    assert lookup.find() == Path("checkpoints") / mine.name


def test_names_are_looked_up_here_and_then_among_the_delivered_runs(
    here: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site" / "charseq" / "checkpoints"
    assert lookup.find("sentences") == site / "sentences"
    assert lookup.choose(task="next-word").path == site / "sentences"
    own = run_of(here / "checkpoints" / "dates")
    assert lookup.find("dates") == Path("checkpoints") / own.name
    (here / "dates").mkdir()  # a folder of data of the same name
    assert lookup.find("dates") == Path("checkpoints/dates")
    nearer = run_of(here / "dates")
    assert lookup.find("dates") == Path(nearer.name)
    assert lookup.find(nearer) == nearer


def test_the_environment_names_a_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_of(here / "checkpoints" / "mine", "2026-03-01T10:00:00Z")
    monkeypatch.setenv("CHARSEQ_MODEL", "dates")
    assert lookup.choose().path.name == "dates"
    assert lookup.choose().reason == ""
    assert lookup.find("mine") == Path("checkpoints/mine")
    monkeypatch.setenv("CHARSEQ_MODEL", "nowhere")
    with pytest.raises(CheckpointError, match="nowhere: there is no such run; there are"):
        lookup.find()


def test_an_unknown_name_is_answered_with_the_names_that_there_are(here: Path) -> None:
    run_of(here / "checkpoints" / "mine")
    (here / "checkpoints" / "README.md").touch()
    with pytest.raises(CheckpointError) as caught:
        lookup.find("date")
    told = "date: there is no such run; there are checkpoints/mine, dates, sentences"
    assert str(caught.value) == told
    for absent, why in [("../mine", "no such run"), (".", "no trained"), ("..", "no trained"),
                        ("checkpoints/README.md", "is a file")]:  # fmt: skip
        with pytest.raises(CheckpointError, match=why):
            lookup.find(absent)


def test_without_any_run_the_message_says_what_to_do(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "__file__", str(here / "charseq" / "runs" / "lookup.py"))
    with pytest.raises(CheckpointError) as caught:
        lookup.find()
    told = "there is no trained model here: name one with model, or train one"
    assert str(caught.value) == told
