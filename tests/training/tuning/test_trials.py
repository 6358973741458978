"""Trials of a search: repeatable proposals, ranks, pruning, an older file, damage."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from world import hurry_sqlite

from charseq.errors import CheckpointError
from charseq.training.tuning.space import Space, contains, to_json
from charseq.training.tuning.trials import FinishedTrial, Search, open_search

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
    hurry_sqlite(monkeypatch)


def search_in(folder: Path, **changes: Any) -> AbstractContextManager[Search]:
    how = {"seed": 1, "minimize": False, "warmup": 2, **changes}
    return open_search(folder / "trials.sqlite", how.pop("space", SPACE), **how)


def value_of(settings: dict[str, Any]) -> float:
    """Best at a rate of 0.01 with little dropout."""
    return -abs(math.log10(settings["rate"]) + 2) - settings["dropout"]


def go_on(search: Search, last: int) -> list[FinishedTrial]:
    """Run trials up to number ``last``, each with its value."""
    for number in range(len(search.finished()) + 1, last + 1):
        trial = search.ask(number, FIRST)
        trial.tell(value_of(trial.settings), {"number": number})
    return search.finished()


def test_the_first_trial_is_as_given_the_others_are_in_their_ranges(tmp_path: Path) -> None:
    with search_in(tmp_path) as search:
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
    with search_in(tmp_path) as search:
        trial = search.ask(1, FIRST | {"hidden": 250, "cell": "tanh"})
    assert trial.settings["hidden"] in range(128, 513, 64)
    assert trial.settings["cell"] in ("gru", "lstm")
    assert (trial.settings["rate"], trial.settings["dropout"]) == (0.002, 0.3)


def test_it_learns_from_its_trials(tmp_path: Path) -> None:
    """By chance the mean were -1.13: 0.83 decades off, and a dropout of 0.3."""
    with search_in(tmp_path) as search:
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
    with search_in(tmp_path, seed=seed) as search:
        for number, settings in enumerate(expected, 1):
            trial = search.ask(number, FIRST)
            assert trial.settings == settings, number
            trial.tell(None if number % 6 == 5 else value_of(settings), {"number": number})


def earlier_file(folder: Path) -> sqlite3.Connection:
    """A file of an earlier version: trial 1 was killed once, 2 was pruned, 3 is not finished."""
    file = sqlite3.connect(folder / "trials.sqlite")
    file.executescript((FIXTURES / "trials.sql").read_text(encoding="utf-8"))
    return file


def test_the_file_of_an_earlier_version_is_resumed(tmp_path: Path) -> None:
    frozen = json.loads((FIXTURES / "proposals.json").read_text(encoding="utf-8"))
    earlier_file(tmp_path).close()
    with search_in(tmp_path) as search:
        assert search.conditions == {"data": "abc", "space": to_json(SPACE)}
        assert [(trial.number, trial.value, trial.notes) for trial in search.finished()] == [
            (1, 0.5, {"seconds": 60}), (2, None, {"seconds": 20}),
        ]  # fmt: skip
        found = [trial.settings for trial in search.finished()]
        trial = search.ask(3, FIRST)
        assert [*found, trial.settings] == frozen["proposals"]["1"][:3]
        trial.tell(0.75, {"seconds": 60})
        best = search.best()
        assert best is not None
        assert (best.number, best.value) == (3, 0.75)


def test_a_killed_trial_keeps_its_settings_whatever_the_sampler_draws_now(tmp_path: Path) -> None:
    """Another version of Optuna may draw otherwise, and the trial's run is begun already."""
    with closing(earlier_file(tmp_path)) as file, file:
        file.execute("UPDATE trial_params SET param_value = 448 WHERE trial_id = 4 "
                     "AND param_name = 'hidden'")  # fmt: skip
    with search_in(tmp_path) as search:
        assert search.ask(3, FIRST).settings == {
            "rate": 0.0471, "dropout": 0.45, "hidden": 448, "batch": 13, "cell": "gru",
            "tied": True,
        }  # fmt: skip


@pytest.mark.parametrize("last", [3, 11])
def test_a_killed_search_goes_on_as_if_nothing_had_been(last: int, tmp_path: Path) -> None:
    """Opened anew for each trial, and each trial begun twice: the same proposals."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "torn").mkdir()
    with search_in(tmp_path / "whole") as search:
        whole = go_on(search, last)
    for number in range(1, last + 1):
        with search_in(tmp_path / "torn") as search:
            left = search.ask(number, FIRST).settings  # and killed
        with search_in(tmp_path / "torn") as search:
            assert len(search.finished()) == number - 1
            trial = search.ask(number, FIRST)
            assert trial.settings == left == whole[number - 1].settings
            trial.should_prune(1, 0.5)
            trial.tell(value_of(trial.settings), {"number": number})
    with search_in(tmp_path / "torn") as search:
        assert search.finished() == whole
        assert len({tuple(trial.settings.values()) for trial in whole}) == last


def test_killed_while_it_lays_a_trial_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was laid ready is taken once, and not again for the trial after it."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with search_in(tmp_path) as search:
        with monkeypatch.context() as patch:
            patch.setattr(optuna.Study, "ask", killed)
            with pytest.raises(KeyboardInterrupt):
                search.ask(1, FIRST)
        finished = go_on(search, 2)
    assert finished[0].settings == {name: FIRST[name] for name in SPACE}
    assert finished[1].settings != finished[0].settings


def test_another_seed_proposes_something_else(tmp_path: Path) -> None:
    found = []
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        with search_in(tmp_path / str(seed), seed=seed) as search:
            found.append([trial.settings for trial in go_on(search, 4)])
    assert found[0][0] == found[1][0]
    assert all(one != other for one, other in zip(found[0][1:], found[1][1:], strict=True))


@pytest.mark.parametrize(("minimize", "order"), [(False, [2, 4, 1, 3]), (True, [1, 2, 4, 3])])
def test_the_best_comes_first_and_of_equals_the_first(
    minimize: bool, order: list[int], tmp_path: Path
) -> None:
    with search_in(tmp_path, minimize=minimize) as search:
        assert search.best() is None
        assert search.ranked() == []
        assert search.is_best(-1e9)
        assert not search.is_best(float("nan"))
        for number, value in enumerate((1.0, 7.0, None, 7.0), 1):
            trial = search.ask(number, FIRST)
            trial.should_prune(1, 99.0)  # a value on the way is none at the end
            trial.tell(value, {"at": [number, None]})
        assert [trial.number for trial in search.finished()] == [1, 2, 3, 4]
        assert [trial.number for trial in search.ranked()] == order
        best = search.best()
        assert best is not None
        assert (best.number, best.notes) == (order[0], {"at": [order[0], None]})
        assert search.finished()[2].value is None
        assert search.is_best(0.5) is minimize
        assert search.is_best(7.5) is not minimize
        assert not search.is_best(best.value or 0.0), "as good is not better"


def test_a_value_that_is_no_number_is_none(tmp_path: Path) -> None:
    with search_in(tmp_path) as search:
        for number, value in enumerate((float("nan"), float("inf")), 1):
            trial = search.ask(number, FIRST)
            trial.should_prune(1, float("nan"))
            trial.tell(value, {})
        assert [trial.value for trial in search.finished()] == [None, None]
        assert search.best() is None
        go_on(search, 12)  # and the sampler can live with them


@pytest.mark.parametrize("minimize", [False, True])
def test_worse_than_the_median_is_pruned_after_the_warmup(minimize: bool, tmp_path: Path) -> None:
    sign = -1 if minimize else 1
    with search_in(tmp_path, minimize=minimize) as search:
        for number, level in enumerate((10, 20, 30, 40), 1):
            trial = search.ask(number, FIRST)
            curve = [trial.should_prune(at, sign * level * at) for at in (1, 2, 3)]
            assert not any(curve), "the first few always come to their ends"
            trial.tell(sign * level * 3.0, {})
        bad = search.ask(5, FIRST)
        assert not bad.should_prune(1, sign * 5.0), "too early to say"
        assert bad.should_prune(2, sign * 10.0)
        bad.tell(None, {})
        fair = search.ask(6, FIRST)
        assert not fair.should_prune(2, sign * 60.0)
        assert not fair.should_prune(2, sign * 0.0), "noted before"
        assert not fair.should_prune(4, sign * 0.0), "no other trial has come so far"
        fair.tell(1.0, {})


def test_the_conditions_of_a_search_are_stored(tmp_path: Path) -> None:
    with search_in(tmp_path) as search:
        assert search.conditions is None
        search.store_conditions({"data": "abc", "space": {"rate": [1, 0.5]}})
    with search_in(tmp_path) as search:
        assert search.conditions == {"data": "abc", "space": {"rate": [1, 0.5]}}


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "50 %20?mode=ro#é;"
    folder.mkdir()
    with search_in(folder) as search:
        go_on(search, 2)
    assert [path.name for path in folder.iterdir()] == ["trials.sqlite"]
    with search_in(folder) as search:
        assert len(search.finished()) == 2


def test_a_damaged_file_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "trials.sqlite"
    path.write_bytes(b"no database " * 1000)
    with (
        pytest.raises(CheckpointError, match=r"trials\.sqlite: is damaged") as caught,
        search_in(tmp_path),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert "--force begins anew" in str(caught.value)


def test_a_file_that_breaks_on_the_way_is_told_in_one_line(tmp_path: Path) -> None:
    def spoil() -> None:
        with search_in(tmp_path) as search:
            go_on(search, 1)
            (tmp_path / "trials.sqlite").write_bytes(b"no database " * 1000)
            go_on(search, 2)

    with pytest.raises(CheckpointError, match=r"trials\.sqlite: is damaged"):
        spoil()


def test_tables_of_another_version_are_told_in_one_line(tmp_path: Path) -> None:
    with search_in(tmp_path) as search:
        go_on(search, 1)
    with closing(sqlite3.connect(tmp_path / "trials.sqlite")) as file, file:
        file.execute("UPDATE alembic_version SET version_num = 'v9.9.9'")
    with pytest.raises(CheckpointError, match="is damaged, or cannot be used"), search_in(tmp_path):
        pass
