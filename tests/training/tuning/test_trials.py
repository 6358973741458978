"""Trials of a search: repeatable proposals, ranks, pruning, values that nobody has drawn."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from charseq.errors import CheckpointError
from charseq.training.tuning.space import Space, contains, to_json
from charseq.training.tuning.storage import Outcome, read_trials
from charseq.training.tuning.trials import FinishedTrial, Search

FIXTURES = Path(__file__).parents[2] / "fixtures" / "tune"

SPACE: Space = {
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "dropout": FloatDistribution(0.0, 0.6, step=0.05),
    "hidden": IntDistribution(128, 512, step=64),
    "batch": IntDistribution(8, 512, log=True),
    "cell": CategoricalDistribution(["gru", "lstm"]),
    "tied": CategoricalDistribution([True, False]),
}
FIRST = {
    "rate": 0.002, "dropout": 0.3, "hidden": 256, "batch": 64, "cell": "gru", "tied": True,
    "other": 5,
}  # fmt: skip


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def search_in(folder: Path, **changes: Any) -> Search:
    stored = read_trials(folder / "trials.jsonl", ())
    if stored.conditions is None:
        stored.begin_search({"data": "abc", "settings": {}, "space": to_json(SPACE)})
    return Search(stored, SPACE, **{"seed": 1, "minimize": False, "warmup": 2, **changes})


def notes(state: str = "done", **scores: float | None) -> dict[str, Any]:
    return {"state": state, "scores": scores, "seconds": 1.5}


def value_of(settings: dict[str, Any]) -> float:
    """Best at a rate of 0.01 with little dropout."""
    return -abs(math.log10(settings["rate"]) + 2) - settings["dropout"]


def go_on(search: Search, last: int) -> list[FinishedTrial]:
    """Run trials up to number ``last``, each with its value."""
    for number in range(len(search.finished()) + 1, last + 1):
        trial = search.ask(number, FIRST)
        trial.tell(value_of(trial.settings), notes())
    return search.finished()


def test_the_first_trial_is_as_given_the_others_are_in_their_ranges(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    finished = go_on(search, 14)
    first, *others = [trial.settings for trial in finished]
    assert first == {name: FIRST[name] for name in SPACE}
    assert len({tuple(one.values()) for one in others}) == 13
    for settings in others:
        assert list(settings) == list(SPACE)
        for name, distribution in SPACE.items():
            assert contains(distribution, settings[name]), (name, settings)
        assert type(settings["hidden"]) is type(settings["batch"]) is int
        assert type(settings["tied"]) is bool
        assert len(str(settings["dropout"])) <= 4, "0.15, not 0.15000000000000002"
    assert {settings["cell"] for settings in others} == {"gru", "lstm"}


def test_what_is_given_outside_of_its_range_is_drawn(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    trial = search.ask(1, FIRST | {"hidden": 250, "cell": "tanh"})
    assert trial.settings["hidden"] in range(128, 513, 64)
    assert trial.settings["cell"] in ("gru", "lstm")
    assert (trial.settings["rate"], trial.settings["dropout"]) == (0.002, 0.3)


def test_it_learns_from_its_trials(tmp_path: Path) -> None:
    """By chance the mean were -1.13: 0.83 decades off, and a dropout of 0.3."""
    search = search_in(tmp_path)
    finished = go_on(search, 40)
    late = [value_of(trial.settings) for trial in finished[25:]]
    assert sum(late) / len(late) > -0.7


@pytest.mark.parametrize("seed", [1, 2])
def test_proposals_are_those_of_earlier_versions(seed: int, tmp_path: Path) -> None:
    """Trials 5 and 11 are pruned; trials 9 to 16 are drawn by the estimator."""
    frozen = json.loads((FIXTURES / "proposals.json").read_text(encoding="utf-8"))
    if optuna.__version__ != frozen["optuna"]:
        pytest.skip(f"the proposals are those of Optuna {frozen['optuna']}")
    expected = frozen["proposals"][str(seed)]
    for number, settings in enumerate(expected, 1):
        search = search_in(tmp_path, seed=seed)  # opened anew for each trial
        trial = search.ask(number, FIRST)
        assert trial.settings == settings, number
        trial.tell(
            *((None, notes("given up")) if number % 6 == 5 else (value_of(settings), notes()))
        )


@pytest.mark.parametrize("last", [3, 11])
def test_a_killed_search_goes_on_as_if_nothing_had_been(last: int, tmp_path: Path) -> None:
    """Opened anew for each trial, and each trial begun twice: the same proposals."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "torn").mkdir()
    search = search_in(tmp_path / "whole")
    whole = go_on(search, last)
    for number in range(1, last + 1):
        search = search_in(tmp_path / "torn")
        left = search.ask(number, FIRST).settings  # and killed
        search = search_in(tmp_path / "torn")
        assert len(search.finished()) == number - 1
        trial = search.ask(number, FIRST)
        assert trial.settings == left == whole[number - 1].settings
        trial.should_prune(1, 0.5)
        trial.tell(value_of(trial.settings), notes())
    search = search_in(tmp_path / "torn")
    assert search.finished() == whole
    assert len({tuple(trial.settings.values()) for trial in whole}) == last


def test_another_seed_proposes_something_else(tmp_path: Path) -> None:
    found = []
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        search = search_in(tmp_path / str(seed), seed=seed)
        found.append([trial.settings for trial in go_on(search, 4)])
    assert found[0][0] == found[1][0]
    assert all(one != other for one, other in zip(found[0][1:], found[1][1:], strict=True))


@pytest.mark.parametrize(("minimize", "order"), [(False, [2, 4, 1, 3]), (True, [1, 2, 4, 3])])
def test_the_best_comes_first_and_of_equals_the_first(
    minimize: bool, order: list[int], tmp_path: Path
) -> None:
    search = search_in(tmp_path, minimize=minimize)
    assert search.best() is None
    assert search.ranked() == []
    assert search.is_best(-1e9)
    assert not search.is_best(float("nan"))
    for number, value in enumerate((1.0, 7.0, None, 7.0), 1):
        trial = search.ask(number, FIRST)
        trial.should_prune(1, 99.0)  # a value on the way is none at the end
        trial.tell(value, notes(ser=number))
    assert [trial.number for trial in search.finished()] == [1, 2, 3, 4]
    assert [trial.number for trial in search.ranked()] == order
    best = search.best()
    assert best is not None
    assert (best.number, best.notes) == (order[0], notes(ser=order[0]))
    assert search.finished()[2].value is None
    assert search.is_best(0.5) is minimize
    assert search.is_best(7.5) is not minimize
    assert not search.is_best(best.value or 0.0), "as good is not better"


def test_a_value_that_is_no_number_is_none(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    for number, value in enumerate((float("nan"), float("inf")), 1):
        trial = search.ask(number, FIRST)
        trial.should_prune(1, float("nan"))
        trial.tell(value, notes())
    assert [trial.value for trial in search.finished()] == [None, None]
    assert search.best() is None
    go_on(search, 12)  # and the sampler can live with them


@pytest.mark.parametrize("minimize", [False, True])
def test_worse_than_the_median_is_pruned_after_the_warmup(minimize: bool, tmp_path: Path) -> None:
    sign = -1 if minimize else 1
    search = search_in(tmp_path, minimize=minimize)
    for number, level in enumerate((10, 20, 30, 40), 1):
        trial = search.ask(number, FIRST)
        curve = [trial.should_prune(at, sign * level * at) for at in (1, 2, 3)]
        assert not any(curve), "the first few always come to their ends"
        trial.tell(sign * level * 3.0, notes())
    bad = search.ask(5, FIRST)
    assert not bad.should_prune(1, sign * 5.0), "too early to say"
    assert bad.should_prune(2, sign * 10.0)
    bad.tell(None, notes("given up"))
    fair = search.ask(6, FIRST)
    assert not fair.should_prune(2, sign * 60.0)
    assert not fair.should_prune(2, sign * 0.0), "noted before"
    assert not fair.should_prune(4, sign * 0.0), "no other trial has come so far"
    fair.tell(1.0, notes())


@pytest.mark.parametrize(
    "changes",
    [
        {"rate": 1.0},
        {"rate": "0.002"},
        {"rate": True},
        {"dropout": 0.31},
        {"dropout": 0},
        {"hidden": 257},
        {"hidden": 256.0},
        {"hidden": 2**63},
        {"cell": "mlp"},
        {"cell": ["gru"]},
        {"tied": 1},
        {"more": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("ended", [True, False])
def test_values_that_cannot_have_been_drawn_are_refused(
    ended: bool, changes: dict[str, Any], tmp_path: Path
) -> None:
    search = search_in(tmp_path)
    go_on(search, 1)
    stored = read_trials(tmp_path / "trials.jsonl", ())
    stored.begin({name: FIRST[name] for name in SPACE} | changes)
    if ended:
        stored.end(Outcome(1.0, "done", {}, 1.0))
    with pytest.raises(CheckpointError, match="trial 2 has values outside of the ranges"):
        search_in(tmp_path)


def test_what_was_reported_counts_after_the_search_is_opened_again(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    for level in (10.0, 20.0, 30.0, 40.0):
        trial = search.ask(len(search.finished()) + 1, FIRST)
        for at in (1, 2, 3):
            trial.should_prune(at, level * at)
        trial.tell(level * 3, notes())
    bad = search_in(tmp_path).ask(5, FIRST)
    assert not bad.should_prune(1, 5.0)
    assert bad.should_prune(2, 10.0)


def test_a_killed_trial_keeps_its_values_whatever_the_sampler_draws_now(tmp_path: Path) -> None:
    """Another version of Optuna may draw otherwise, and the trial's run is begun already."""
    go_on(search_in(tmp_path), 2)
    stored = read_trials(tmp_path / "trials.jsonl", ())
    drawn = {
        "rate": 0.0471, "dropout": 0.45, "hidden": 448, "batch": 13, "cell": "gru", "tied": True,
    }  # fmt: skip
    stored.begin(drawn)
    assert search_in(tmp_path).ask(3, FIRST).settings == drawn
