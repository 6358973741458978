"""The list of trials as a file: what is stored comes back, and nothing else is taken."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charseq.errors import CheckpointError, NewerVersionError
from charseq.training.tuning import storage
from charseq.training.tuning.storage import Outcome, TrialStorage, read_trials

CONDITIONS = {"data": "f00", "settings": {"hidden": 8}, "space": {"cell": ["gru", "lstm"]}}
SCORED = {"ser"}
GOOD = Outcome(71.25, "done", {"ser": 3.1, "wer": None}, 61.3, ((1, 40.0), (3, None), (4, 0.1)))
BAD = Outcome(None, "failed", {}, 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A search with two finished trials, and a third that has begun."""
    search = TrialStorage(tmp_path / "trials.jsonl")
    search.begin_search(CONDITIONS)
    for outcome in (GOOD, BAD):
        search.begin({"cell": "gru", "rate": 0.1 + 0.2, "tie_embeddings": True})
        search.end(outcome)
    search.begin({"cell": "lstm", "rate": 1e-300, "tie_embeddings": False})
    return search.path


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_what_is_stored_comes_back(path: Path) -> None:
    search = read_trials(path, SCORED)
    assert search.conditions == CONDITIONS
    first, second, third = search.trials
    assert first.drawn == second.drawn == {"cell": "gru", "rate": 0.1 + 0.2, "tie_embeddings": True}
    assert (first.outcome, second.outcome, third.outcome) == (GOOD, BAD, None)
    assert search.running is third
    assert [path.name for path in path.parent.iterdir()] == ["trials.jsonl"]
    head, *trials = lines_of(path)
    assert head == {"format": 1, **CONDITIONS}
    assert [one["trial"] for one in trials] == [1, 2, 3]


def test_a_search_that_is_read_goes_on_as_one_that_was_kept(path: Path) -> None:
    search = read_trials(path, SCORED)
    before = path.read_bytes()
    search.begin({"cell": "lstm", "rate": 1e-300, "tie_embeddings": False})
    assert path.read_bytes() == before, "it had begun with these values"
    search.begin({"cell": "gru", "rate": 0.5, "tie_embeddings": False})
    assert path.read_bytes() != before
    search.end(GOOD)
    assert search.running is None
    assert read_trials(path, SCORED) == search
    assert [trial.drawn["rate"] for trial in search.trials] == [0.1 + 0.2, 0.1 + 0.2, 0.5]


def test_without_a_file_there_is_a_new_search(tmp_path: Path) -> None:
    search = read_trials(tmp_path / "trials.jsonl", SCORED)
    assert (search.conditions, search.trials, search.running) == (None, [], None)
    assert not search.path.exists()


@pytest.mark.parametrize("name", ["rename", "fsync"])
def test_a_write_that_fails_leaves_the_list_before(
    name: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    before, search = path.read_bytes(), read_trials(path, SCORED)
    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if name == "fsync" else (Path, "replace")), fail)
        with pytest.raises(CheckpointError, match=r"trials\.jsonl: cannot be written: No space"):
            search.end(GOOD)
    assert path.read_bytes() == before
    assert search.running is not None
    search.end(GOOD)
    assert read_trials(path, SCORED).running is None
    assert [path.name for path in path.parent.iterdir()] == ["trials.jsonl"]


def test_a_full_list_is_said_before_it_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MAX_TRIALS", 3)
    search = read_trials(path, SCORED)
    search.end(GOOD)
    with pytest.raises(CheckpointError, match="holds 4 trials and has no room for more"):
        search.begin({"cell": "gru"})
    assert len(read_trials(path, SCORED).trials) == 3
    with pytest.raises(CheckpointError, match=r"cannot be stored: .*surrogates not allowed"):
        search.begin({"cell": "\ud800"})


Change = Callable[[list[dict[str, Any]]], Any]

FORGED: dict[str, tuple[int, Change]] = {
    "head without a key": (1, lambda lines: lines[0].pop("space")),
    "head with one more": (1, lambda lines: lines[0].update(x=1)),
    "data of another type": (1, lambda lines: lines[0].update(data=[])),
    "settings of another type": (1, lambda lines: lines[0].update(settings=[])),
    "space of another type": (1, lambda lines: lines[0].update(space="all")),
    "number as text": (2, lambda lines: lines[1].update(trial="../../../x")),
    "number true": (2, lambda lines: lines[1].update(trial=True)),
    "number 1.0": (2, lambda lines: lines[1].update(trial=1.0)),
    "number twice": (3, lambda lines: lines[2].update(trial=1)),
    "a trial left out": (3, lambda lines: lines.pop(2)),
    "drawn as a list": (2, lambda lines: lines[1].update(drawn=[])),
    "drawn missing": (2, lambda lines: lines[1].pop("drawn")),
    "no end before others": (2, lambda lines: lines.insert(1, {**lines[3], "trial": 1})),
    "one key more": (2, lambda lines: lines[1].update(x=1)),
    "one key less": (2, lambda lines: lines[1].pop("seconds")),
    "value as text": (2, lambda lines: lines[1].update(value="1")),
    "value true": (2, lambda lines: lines[1].update(value=True)),
    "value of a failure": (3, lambda lines: lines[2].update(value=1.0)),
    "state unknown": (2, lambda lines: lines[1].update(state="fine")),
    "state as a list": (2, lambda lines: lines[1].update(state=["done"])),
    "seconds as text": (2, lambda lines: lines[1].update(seconds="9")),
    "seconds negative": (2, lambda lines: lines[1].update(seconds=-1e9)),
    "scores as a list": (2, lambda lines: lines[1].update(scores=[1])),
    "scores without one": (2, lambda lines: lines[1].update(scores={"wer": 1})),
    "score as text": (2, lambda lines: lines[1].update(scores={"ser": "1"})),
    "reported as a number": (2, lambda lines: lines[1].update(reported=1)),
    "reported as an object": (2, lambda lines: lines[1].update(reported={"1": 1})),
    "reported without a value": (2, lambda lines: lines[1].update(reported=[[1]])),
    "reported twice": (2, lambda lines: lines[1].update(reported=[[1, 1], [1, 2]])),
    "reported backwards": (2, lambda lines: lines[1].update(reported=[[2, 1], [1, 2]])),
    "reported at 0": (2, lambda lines: lines[1].update(reported=[[0, 1]])),
    "reported at true": (2, lambda lines: lines[1].update(reported=[[True, 1]])),
    "reported at 2**60": (2, lambda lines: lines[1].update(reported=[[2**60, 1]])),
    "reported text": (2, lambda lines: lines[1].update(reported=[[1, "x"]])),
}  # fmt: skip


@pytest.mark.parametrize(("line", "change"), FORGED.values(), ids=FORGED.keys())
def test_a_field_that_no_search_writes_is_told_with_its_line(
    line: int, change: Change, path: Path
) -> None:
    lines = lines_of(path)
    change(lines)
    path.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    with pytest.raises(CheckpointError, match=f"is damaged: line {line}: ") as caught:
        read_trials(path, SCORED)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("force=True begins anew")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no database " * 1000,
        b"{",
        b"[]\n",
        b"\xff\n",
        b"[" * 100_000 + b"\n",
        b"{}\n" * 20_000,
        b'{"format": 1, "format": 1}\n',
        b'{"format": 1e999}\n',
        b'{"format": 1, "data": "", "settings": {}, "space": {}}\n\n',
        b'{"format": 1, "data": "", "settings": {}, "space": {}}',
        b" " * 2**25 + b"\n",
    ],
    ids=lambda content: repr(content[:30]),
)
def test_what_is_no_list_of_trials_is_told_in_one_line(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"trials\.jsonl: is .*") as caught:
        read_trials(path, SCORED)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_a_newer_search_says_so(path: Path) -> None:
    head, *trials = lines_of(path)
    lines = [{**head, "format": 2, "more": 1}, *trials]
    path.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    with pytest.raises(NewerVersionError, match="newer charseq"):
        read_trials(path, SCORED)


def test_nothing_is_read_or_written_through_a_link(path: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    path.rename(mine)
    path.symlink_to(mine)
    with pytest.raises(CheckpointError, match="is a link"):
        read_trials(path, SCORED)
    path.unlink()
    path.hardlink_to(mine)
    before, search = mine.read_bytes(), read_trials(path, SCORED)
    search.end(GOOD)
    assert mine.read_bytes() == before
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pipe").rename(path)
    with pytest.raises(CheckpointError, match="is not a plain file"):
        read_trials(path, SCORED)
