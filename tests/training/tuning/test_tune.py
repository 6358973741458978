"""The search as a whole: a row of trainings, of which the best stays; stopped, killed, refused.

Most trainings here are played, so that their scores are known and they take no time.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charseq.cli import options
from charseq.config import Config, configure, defaults
from charseq.errors import (
    CheckpointError,
    DataError,
    Interrupted,
    MissingExtraError,
    SettingError,
    TrainingError,
    UsageError,
)
from charseq.inference.predictor import load
from charseq.runs import folder as checkpoint
from charseq.runs.training_state import TrainingState
from charseq.training import train as recipes
from charseq.training.pairs import PairsTask
from charseq.training.tuning import trials
from charseq.training.tuning import tune as room
from charseq.training.tuning.trials import RunningTrial
from charseq.training.tuning.tune import tune

RANGES = """
learning_rate = {low = 0.001, high = 0.1, log = true}
dropout = {low = 0.0, high = 0.5, step = 0.05}
cell = ["gru", "lstm"]
"""
EVALUATIONS = 4


def config_of(**settings: Any) -> Config:
    small = {
        "epochs": 2, "threads": 1, "device": "cpu", "precision": "float32", "hidden": 8,
        "embedding": 6, "batch_size": 8, "evaluations": EVALUATIONS, "learning_rate": 0.01,
        "beam": 2, "attention": "soft",
    }  # fmt: skip
    return configure({**small, **settings})


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for the disk, and nothing comes from the environment."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    for name in options.environment():
        monkeypatch.delenv(f"CHARSEQ_{name.upper()}")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "upper"
    folder.mkdir()
    draw = random.Random(1)
    words = dict.fromkeys("".join(draw.choices("abcd", k=draw.randint(2, 5))) for _ in range(90))
    rows = [f"{word}\t{word.upper()}\n" for word in words]
    (folder / "dev.tsv").write_text("".join(rows[:20]))
    (folder / "train.tsv").write_text("".join(rows[20:60]))
    (folder / "charseq.toml").write_text(f"[tune]{RANGES}")
    return folder


Curve = Callable[[Config], list[float]]


def rising(config: Config) -> list[float]:
    """Exact matches at each evaluation, best with a learning rate of 0.03 and without dropout."""
    top = 100 - 40 * abs(np.log10(config.learning_rate / 0.03)) - 50 * config.dropout
    return [float(round(top * at / EVALUATIONS, 1)) for at in range(1, EVALUATIONS + 1)]


@dataclass
class Played:
    """Trainings that are played: evaluations with given scores, saved and watched as always."""

    curve: Curve = rising
    seconds: float = 60.0
    stop: tuple[int, int] | None = None
    """(training, evaluation) after which a signal stops it."""
    configs: list[Config] = field(default_factory=list)
    evaluations: list[int] = field(default_factory=list)
    """How many each of them made."""

    def train(
        self, data: Path, *, run: Path, config: Config, watch: Callable[..., None], **_: Any
    ) -> dict[str, Any]:
        self.configs.append(config)
        self.evaluations.append(0)
        run = Path(run)
        with checkpoint.lock(run):
            journal = TrainingState(run, PairsTask(data, config).metadata)
            if not journal.can_resume() and checkpoint.is_finished(run):
                raise CheckpointError("is finished already", path=run)
            journal.resume(lambda line: None, lambda *_: None)
            for exact in self.curve(config)[journal.progress.evaluations :]:
                self._evaluate(journal, exact)
                if self.stop == (len(self.configs), journal.progress.evaluations):
                    raise Interrupted("stopped", signal_number=signal.SIGTERM)
                if journal.progress.evaluations < EVALUATIONS:
                    watch(journal.progress)
            journal.finish()
        return {}

    def _evaluate(self, journal: TrainingState, exact: float) -> None:
        state = journal.progress
        state.evaluations += 1
        self.evaluations[-1] += 1
        state.seconds = self.seconds * state.evaluations / EVALUATIONS
        scores = {"examples": 20, "exact_match": exact, "wer": 100 - exact, "ser": 100 - exact}
        journal.record({"evaluation": state.evaluations, "seconds": state.seconds, **scores})
        better = not state.scores or exact > state.scores["exact_match"]
        if better:
            state.scores = scores
            journal.best = {"exact": np.array([exact], dtype=np.float32)}
        journal.save({"state": np.zeros(1, dtype=np.float32)}, better=better)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    result = Played()
    monkeypatch.setattr(recipes, "train", result.train)
    return result


def kept(run: Path) -> tuple[dict[str, Any], float]:
    """What the run says of itself but for the time, and the exact match in its weights."""
    about, weights = checkpoint.load_model(run)
    del about["trained_at"]
    return about, float(weights["exact"][0])


# --- what is found


def test_the_best_model_stays_with_its_settings(
    played: Played, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    facts = tune(data, config=config_of(), trials=12, report=lines.append)
    run = Path("checkpoints") / "upper-tuned"
    assert facts["run"] == str(run)
    assert [trial["number"] for trial in facts["trials"]] == list(range(1, 13))
    assert len(played.configs) == 12
    first = facts["trials"][0]["settings"]
    assert first == {"learning_rate": 0.01, "dropout": config_of().dropout, "cell": "gru"}
    for trial, config in zip(facts["trials"], played.configs, strict=True):
        assert config == configure({"task": "pairs", **trial["settings"]}, base=config_of())
    done = [trial for trial in facts["trials"] if trial["state"] == "done"]
    top = max(done, key=lambda trial: trial["scores"]["exact_match"])
    assert facts["best"] == top["number"]
    assert top["scores"]["exact_match"] > done[0]["scores"]["exact_match"]
    about, exact = kept(run)
    assert exact == pytest.approx(top["scores"]["exact_match"])
    assert about["finished"]
    assert about["scores"] == top["scores"]
    assert about["tuned"] == {"trial": top["number"], "trials": 12}
    assert {name: about["settings"][name] for name in top["settings"]} == top["settings"]
    card = (run / "README.md").read_text(encoding="utf-8")
    assert "\n---\n\n# upper-tuned\n" in card
    assert "the best of 12 trials by these scores" in card
    assert {path.name for path in (run / "tune").iterdir()} == {"trials.jsonl", "charseq.toml"}
    written = tomllib.loads(Path(facts["settings"]).read_text(encoding="utf-8"))
    assert written.items() >= {"hidden": 8, "epochs": 2, **top["settings"]}.items()
    json.dumps(facts, allow_nan=False)
    table = lines[lines.index(next(line for line in lines if line.startswith("trial  "))) :]
    assert len(lines) > 20
    assert [line.split()[0] for line in table[-3:]] == ["kept", "settings", "again"]


def test_bad_trials_are_given_up_and_leave_nothing(
    played: Played, data: Path, tmp_path: Path
) -> None:
    bad: list[int] = []

    def curve(config: Config) -> list[float]:
        if len(played.configs) == 6:
            bad.append(6)
            return [1.0] * EVALUATIONS
        return rising(config)

    played.curve = curve
    facts = tune(data, run=tmp_path / "run", config=config_of(), trials=7)
    assert bad == [6]
    given_up = facts["trials"][5]
    assert given_up["state"] == "given up"
    assert given_up["scores"]["exact_match"] == 1.0
    assert played.evaluations[5] == 2, "a third of the evaluations is its patience"
    assert given_up["seconds"] == 30.0
    assert played.evaluations[:5] == [EVALUATIONS] * 4 + played.evaluations[4:5]
    assert len(facts["trials"]) == 7


def test_settings_that_learn_nothing_do_not_end_the_search(
    played: Played, data: Path, tmp_path: Path
) -> None:
    def curve(config: Config) -> list[float]:
        if len(played.configs) == 2:
            raise TrainingError("the loss was not finite")
        return rising(config)

    played.curve = curve
    facts = tune(data, run=tmp_path / "run", config=config_of(), trials=3)
    assert [trial["state"] for trial in facts["trials"]] == ["done", "failed", "done"]
    assert facts["trials"][1]["scores"] == {}
    assert facts["best"] != 2


def test_if_none_learns_anything_that_is_said(played: Played, data: Path, tmp_path: Path) -> None:
    def curve(config: Config) -> list[float]:
        raise TrainingError("the loss was not finite")

    played.curve = curve
    with pytest.raises(TrainingError, match="none of 2 trials came to its end"):
        tune(data, run=tmp_path / "run", config=config_of(), trials=2)
    assert not checkpoint.names(tmp_path / "run")
    played.curve = rising
    assert tune(data, run=tmp_path / "run", config=config_of(), trials=3)["best"] == 3


# --- stopping and going on


def test_a_stopped_search_goes_on_where_it_was(played: Played, data: Path, tmp_path: Path) -> None:
    """To the same trials, each with what it would have had."""
    whole = tune(data, run=tmp_path / "whole", config=config_of(), trials=7)
    assert {trial["state"] for trial in whole["trials"]} == {"done", "given up"}
    evaluations = list(played.evaluations)
    for stopped_at in (1, 5, 7):
        run = tmp_path / f"run{stopped_at}"
        played.configs, played.evaluations, played.stop = [], [], (stopped_at, 2)
        with pytest.raises(Interrupted) as caught:
            tune(data, run=run, config=config_of(), trials=7)
        assert caught.value.exit_code == 143
        assert f"stopped by SIGTERM in trial {stopped_at}; " in str(caught.value)
        assert ("holds the best of" in str(caught.value)) is (stopped_at > 1)
        assert (run / "tune" / f"trial-{stopped_at:03}").is_dir()
        played.stop = None
        lines: list[str] = []
        facts = tune(data, run=run, config=config_of(), trials=7, report=lines.append)
        (resumed,) = [line for line in lines if line.endswith("(goes on)")]
        assert resumed.startswith(f"trial {stopped_at} ")
        assert facts["trials"] == whole["trials"]
        assert facts["best"] == whole["best"]
        assert kept(run) == kept(tmp_path / "whole")
        both = played.evaluations[stopped_at - 1] + played.evaluations[stopped_at]
        lost = both - evaluations[stopped_at - 1]
        assert lost in (0, 1), "one more where it should have been given up when it was stopped"


def test_ctrl_c_between_trials_says_how_to_go_on(
    played: Played, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        seen: list[int] = []

        def ask(search: Any, number: int, first: Any) -> RunningTrial:
            seen.append(number)
            if number == 3:
                raise KeyboardInterrupt
            return real(search, number, first)

        real = trials.Search.ask
        patch.setattr(trials.Search, "ask", ask)
        with pytest.raises(Interrupted, match=r"SIGINT in trial 3; .* the best of 2") as caught:
            tune(data, run=tmp_path / "run", config=config_of(), trials=3)
    assert caught.value.exit_code == 130
    facts = tune(data, run=tmp_path / "run", config=config_of(), trials=3)
    assert len(played.configs) == 3
    assert len(facts["trials"]) == 3


@pytest.mark.parametrize("place", ["publish", "tell", "_delete_trials"])
def test_killed_between_the_end_of_a_trial_and_the_next(
    place: str, played: Played, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No training is repeated, no trial counted twice, nothing left behind."""

    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    owner: Any = RunningTrial if place == "tell" else room
    with monkeypatch.context() as patch:
        if place == "_delete_trials":
            delete = room._delete_trials
            patch.setattr(room, place, lambda plan, n: kill() if n == 2 else delete(plan, n))
        else:
            patch.setattr(owner, place, kill)
        with pytest.raises(Killed):
            tune(data, run=tmp_path / "run", config=config_of(), trials=2)
    assert (tmp_path / "run" / "tune" / "trial-001").is_dir()
    facts = tune(data, run=tmp_path / "run", config=config_of(), trials=2)
    assert len(played.configs) == 2
    assert [trial["number"] for trial in facts["trials"]] == [1, 2]
    assert not list((tmp_path / "run" / "tune").glob("trial-*"))
    whole = tune(data, run=tmp_path / "whole", config=config_of(), trials=2)
    assert facts["trials"] == whole["trials"]
    assert kept(tmp_path / "run") == kept(tmp_path / "whole")


def test_a_finished_search_says_it_again_or_goes_on_with_more(
    played: Played, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    first = tune(data, run=run, config=config_of(), trials=3)
    assert tune(data, run=run, config=config_of(), trials=3) == first
    assert tune(data, run=run, config=config_of(), trials=2) == first
    assert len(played.configs) == 3
    more = tune(data, run=run, config=config_of(), trials=5)
    assert more["trials"][:3] == first["trials"]
    assert len(more["trials"]) == len(played.configs) == 5
    assert kept(run)[0]["tuned"]["trials"] == 5


def test_hours_end_it_as_well(played: Played, data: Path, tmp_path: Path) -> None:
    """Those of earlier calls counted; without a number of trials there may be any."""
    played.seconds, played.curve = 600.0, lambda config: [50.0] * EVALUATIONS
    facts = tune(data, run=tmp_path / "run", config=config_of(), hours=0.3)
    assert len(facts["trials"]) == 2
    facts = tune(data, run=tmp_path / "run", config=config_of(), hours=0.6)
    assert len(facts["trials"]) == 4
    assert facts["seconds"] == 2400.0
    facts = tune(data, run=tmp_path / "run", config=config_of(), hours=100, trials=5)
    assert len(facts["trials"]) == 5


# --- what is searched


def searched(data: Path, **changes: Any) -> dict[str, Any]:
    result: dict[str, Any] = tune(data, config=config_of(), dry_run=True, **changes)["space"]
    return result


def test_what_is_set_is_not_searched(data: Path, tmp_path: Path) -> None:
    assert list(searched(data)) == ["learning_rate", "dropout", "cell"]
    assert list(searched(data, fixed={"cell", "hidden"})) == ["learning_rate", "dropout"]
    mine = tmp_path / "mine.toml"
    mine.write_text("layers = [1, 2]\ncell = true\n")
    assert searched(data, ranges=mine, fixed=["cell"]) == {"layers": [1, 2]}
    with pytest.raises(UsageError, match="nothing is left to search"):
        searched(data, ranges=mine, fixed=["cell", "layers"])
    (data / "charseq.toml").write_text("hidden = 8\nembedding = 4\n")
    usual = searched(data, fixed=["cell"])
    assert "learning_rate" in usual
    assert not {"hidden", "embedding", "cell"} & usual.keys()
    (data / "charseq.toml").write_text(f"dropout = 0.1\n[tune]{RANGES}")
    assert "dropout" in searched(data), "its value is that of the first trial"


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(
    played: Played, data: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    facts = tune(data, run=tmp_path / "run", config=config_of(), dry_run=True, report=lines.append)
    assert facts["trials"] == played.configs == []
    assert not (tmp_path / "run").exists()
    assert lines[0].startswith("data       40 train, 20 dev")
    assert "search     learning_rate     0.001…0.1 (log)" in lines
    assert lines[-1] == "budget     20 trials of 2 epochs each"


# --- what is refused


def test_another_search_is_not_gone_on_with(played: Played, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tune(data, run=run, config=config_of(), trials=1)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"config": config_of(hidden=9)}, "was tuned with hidden = 8, now it is 9"),
        ({"fixed": ["cell"]}, "was tuned with the range of cell = .*, now it is nothing"),
    ]
    for changes, said in refused:
        with pytest.raises(CheckpointError, match=f"{run}: {said}; give the same to go on"):
            tune(data, run=run, **{"config": config_of(), "trials": 2, **changes})
    (data / "charseq.toml").write_text(f"[tune]{RANGES}".replace("0.1", "0.2"))
    with pytest.raises(CheckpointError, match=r"the range of learning_rate = .*0\.2"):
        tune(data, run=run, config=config_of(), trials=2)
    (data / "charseq.toml").write_text(f"[tune]{RANGES}")
    (data / "train.tsv").write_text((data / "train.tsv").read_text() + "abc\tABC\n")
    with pytest.raises(CheckpointError, match=r"was tuned on other data \(the files have changed"):
        tune(data, run=run, config=config_of(), trials=2)
    assert len(played.configs) == 1
    facts = tune(data, run=run, config=config_of(), trials=2, force=True)
    assert len(played.configs) == 3
    assert len(facts["trials"]) == 2


def test_the_model_of_another_training_is_not_overwritten(
    played: Played, data: Path, tmp_path: Path
) -> None:
    run, config = tmp_path / "run", config_of(task="pairs", hidden=5)
    played.stop = (1, 3)
    silent: dict[str, Any] = {"watch": lambda state: None}
    with pytest.raises(Interrupted):
        played.train(data, run=run, config=config, **silent)
    with pytest.raises(CheckpointError, match=f"{run}: holds an unfinished training, .*run names"):
        tune(data, run=run, config=config_of(), trials=1)
    played.stop = None
    played.train(data, run=run, config=config, **silent)
    before = kept(run)
    with pytest.raises(CheckpointError, match=f"{run}: holds a model that no search has made"):
        tune(data, run=run, config=config_of(), trials=1)
    assert kept(run) == before
    played.stop = (3, 3)
    with pytest.raises(Interrupted):
        tune(data, run=run, config=config_of(), trials=1, force=True)
    assert kept(run)[1] == before[1], "until there is another"
    played.stop = None
    tune(data, run=run, config=config_of(), trials=1)
    assert kept(run)[0]["settings"]["hidden"] == 8


def test_what_cannot_be_is_refused_and_leaves_no_folder(
    played: Played, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    refused: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"data": tmp_path / "none"}, DataError, "no such file or folder"),
        ({"config": config_of(ensemble=2)}, SettingError, "an ensemble is not tuned as a whole"),
        ({"trials": 0}, UsageError, "trials is 0, expected more than 0"),
        ({"trials": 10_001}, UsageError, "trials is 10001, expected 10000 at most"),
        ({"hours": float("nan")}, UsageError, "hours is nan, expected more than 0"),
        ({"ranges": tmp_path / "none.toml"}, UsageError, "there is no such file"),
    ]
    for changes, fault, said in refused:
        with pytest.raises(fault, match=said):
            tune(**{"data": data, "run": run, "config": config_of(), **changes})
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install optuna$"):
        tune(tmp_path / "none", run=run)
    assert not run.exists()
    assert not played.configs


def test_damaged_trials_are_told_in_one_line(played: Played, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tune(data, run=run, config=config_of(), trials=1)
    (run / "tune" / "trials.jsonl").write_bytes(b"no database " * 1000)
    with pytest.raises(CheckpointError, match=r"trials\.jsonl: is damaged.*force=True begins anew"):
        tune(data, run=run, config=config_of(), trials=1)
    tune(data, run=run, config=config_of(), trials=1, force=True)
    assert len(played.configs) == 2


def test_a_search_of_an_earlier_version_is_left_as_it_is(
    played: Played, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    tune(data, run=run, config=config_of(), trials=1)
    old = run / "tune" / "trials.sqlite"
    (run / "tune" / "trials.jsonl").rename(old)
    before, content = kept(run), old.read_bytes()
    with pytest.raises(CheckpointError, match=r"trials\.sqlite: is a search of an earlier charseq"):
        tune(data, run=run, config=config_of(), trials=2)
    assert (kept(run), old.read_bytes()) == (before, content)
    assert len(tune(data, run=run, config=config_of(), trials=2, force=True)["trials"]) == 2
    assert not old.exists()


# --- with real trainings


def test_what_is_found_can_be_trained_again(data: Path, tmp_path: Path) -> None:
    """Laid beside the data, the settings give the same model, bit for bit."""
    run = tmp_path / "run"
    facts = tune(data, run=run, config=config_of(), trials=2)
    assert all(trial["state"] == "done" for trial in facts["trials"])
    assert load(run).predict(["abc"])[0].source == "abc"
    again = tmp_path / "again"
    shutil.copytree(data, again)
    shutil.copy(facts["settings"], again / "charseq.toml")
    config = options.configured(str(again), {})
    assert config.to_json() == checkpoint.read_json(run, "about.json")["settings"]
    recipes.train(again, run=tmp_path / "trained", config=config)
    found, trained = (checkpoint.load_model(path)[1] for path in (run, tmp_path / "trained"))
    assert found.keys() == trained.keys()
    assert all(np.array_equal(found[name], trained[name]) for name in found)


def test_a_signal_in_the_middle_of_a_trial_costs_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        real = RunningTrial.should_prune

        def should_prune(trial: RunningTrial, evaluation: int, value: float) -> bool:
            if (trial.number, evaluation) == (2, 2):
                os.kill(os.getpid(), signal.SIGTERM)
            return real(trial, evaluation, value)

        patch.setattr(RunningTrial, "should_prune", should_prune)
        with pytest.raises(Interrupted, match=r"SIGTERM in trial 2; .*the best of 1"):
            tune(data, run=tmp_path / "run", config=config_of(), trials=2)
    assert checkpoint.names(tmp_path / "run" / "tune" / "trial-002")
    facts = tune(data, run=tmp_path / "run", config=config_of(), trials=2)
    whole = tune(data, run=tmp_path / "whole", config=config_of(), trials=2)
    for one, other in zip(facts["trials"], whole["trials"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    found, uncut = (checkpoint.load_model(tmp_path / name)[1] for name in ("run", "whole"))
    assert all(np.array_equal(found[name], uncut[name]) for name in uncut)


def test_text_is_tuned_by_its_perplexity(tmp_path: Path) -> None:
    text = tmp_path / "lines.txt"
    draw = random.Random(2)
    text.write_text("".join(" ".join(draw.choices("abcdefg", k=5)) + "\n" for _ in range(150)))
    (tmp_path / "mine.toml").write_text("learning_rate = [0.00001, 0.02]\n")
    small = {"hidden": 8, "embedding": 6, "epochs": 1, "evaluations": 2, "device": "cpu",
             "learning_rate": 0.00001, "threads": 1}  # fmt: skip
    config = configure(small, base=defaults("next-word"))
    facts = tune(text, run=tmp_path / "run", config=config, ranges=tmp_path / "mine.toml", trials=4)
    by_rate = {trial["settings"]["learning_rate"]: trial for trial in facts["trials"]}
    slow, fast = by_rate[0.00001], by_rate[0.02]
    assert fast["scores"]["perplexity"] < slow["scores"]["perplexity"]
    best = next(trial for trial in facts["trials"] if trial["number"] == facts["best"])
    assert best["settings"]["learning_rate"] == 0.02
    assert load(tmp_path / "run").predict(["a b"], n=2)
