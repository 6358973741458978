"""The trials of a search: proposals that can be repeated, ranks, giving up, damage."""

from __future__ import annotations

import math
import sqlite3
import sys
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest
from world import hurry_sqlite

from charseq.errors import CheckpointError, MissingExtraError
from charseq.training.tuning import trials
from charseq.training.tuning.space import Choice, Range, Space
from charseq.training.tuning.trials import Search, Trial, opened, require_optuna

SPACE: Space = {
    "rate": Range(1e-4, 1e-1, log=True),
    "dropout": Range(0.0, 0.6, 0.05),
    "hidden": Range(128, 512, 64),
    "batch": Range(8, 512, log=True),
    "cell": Choice(("gru", "lstm")),
    "tied": Choice((True, False)),
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
    how = {"seed": 1, "smallest": False, "patience": 2, **changes}
    return opened(folder / "trials.sqlite", how.pop("space", SPACE), **how)


def value_of(settings: dict[str, Any]) -> float:
    """Best at a rate of 0.01 with little dropout."""
    return -abs(math.log10(settings["rate"]) + 2) - settings["dropout"]


def go_on(search: Search, last: int) -> list[Trial]:
    """As many trials as make ``last``, each with its value."""
    for number in range(len(search.ended()) + 1, last + 1):
        attempt = search.begin(number, FIRST)
        attempt.end(value_of(attempt.settings), {"number": number})
    return search.ended()


def test_the_first_trial_is_as_given_the_others_are_in_their_ranges(tmp_path: Path) -> None:
    with search_in(tmp_path) as search:
        ended = go_on(search, 14)
    first, *others = [trial.settings for trial in ended]
    assert first == {name: FIRST[name] for name in SPACE}
    assert len({tuple(one.values()) for one in others}) == 13
    for settings in others:
        assert list(settings) == list(SPACE)
        for name, axis in SPACE.items():
            assert axis.holds(settings[name]), (name, settings)
        assert type(settings["hidden"]) is type(settings["batch"]) is int
        assert type(settings["tied"]) is bool
        assert len(str(settings["dropout"])) <= 4, "0.15, not 0.15000000000000002"
    assert {settings["cell"] for settings in others} == {"gru", "lstm"}


def test_what_is_given_outside_of_its_range_is_drawn(tmp_path: Path) -> None:
    with search_in(tmp_path) as search:
        attempt = search.begin(1, FIRST | {"hidden": 250, "cell": "tanh"})
    assert attempt.settings["hidden"] in range(128, 513, 64)
    assert attempt.settings["cell"] in ("gru", "lstm")
    assert (attempt.settings["rate"], attempt.settings["dropout"]) == (0.002, 0.3)


def test_it_learns_from_its_trials(tmp_path: Path) -> None:
    """By chance the mean were -1.13: 0.83 decades off, and a dropout of 0.3."""
    with search_in(tmp_path) as search:
        ended = go_on(search, 40)
    late = [value_of(trial.settings) for trial in ended[25:]]
    assert sum(late) / len(late) > -0.7


@pytest.mark.parametrize("last", [3, 11])
def test_a_killed_search_goes_on_as_if_nothing_had_been(last: int, tmp_path: Path) -> None:
    """Opened anew for each trial, and each trial begun twice: the same proposals."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "torn").mkdir()
    with search_in(tmp_path / "whole") as search:
        whole = go_on(search, last)
    for number in range(1, last + 1):
        with search_in(tmp_path / "torn") as search:
            left = search.begin(number, FIRST).settings  # and killed
        with search_in(tmp_path / "torn") as search:
            assert len(search.ended()) == number - 1
            attempt = search.begin(number, FIRST)
            assert attempt.settings == left == whole[number - 1].settings
            attempt.is_hopeless(1, 0.5)
            attempt.end(value_of(attempt.settings), {"number": number})
    with search_in(tmp_path / "torn") as search:
        assert search.ended() == whole
        assert len({tuple(trial.settings.values()) for trial in whole}) == last


def test_killed_while_it_lays_a_trial_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was laid ready is taken once, and not again for the trial after it."""
    import optuna

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with search_in(tmp_path) as search:
        with monkeypatch.context() as patch:
            patch.setattr(optuna.Study, "ask", killed)
            with pytest.raises(KeyboardInterrupt):
                search.begin(1, FIRST)
        ended = go_on(search, 2)
    assert ended[0].settings == {name: FIRST[name] for name in SPACE}
    assert ended[1].settings != ended[0].settings


def test_another_seed_proposes_something_else(tmp_path: Path) -> None:
    found = []
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        with search_in(tmp_path / str(seed), seed=seed) as search:
            found.append([trial.settings for trial in go_on(search, 4)])
    assert found[0][0] == found[1][0]
    assert all(one != other for one, other in zip(found[0][1:], found[1][1:], strict=True))


@pytest.mark.parametrize(("smallest", "order"), [(False, [2, 4, 1, 3]), (True, [1, 2, 4, 3])])
def test_the_best_comes_first_and_of_equals_the_first(
    smallest: bool, order: list[int], tmp_path: Path
) -> None:
    with search_in(tmp_path, smallest=smallest) as search:
        assert search.best() is None
        assert search.ranked() == []
        assert search.beats(-1e9)
        assert not search.beats(float("nan"))
        for number, value in enumerate((1.0, 7.0, None, 7.0), 1):
            attempt = search.begin(number, FIRST)
            attempt.is_hopeless(1, 99.0)  # a value on the way is none at the end
            attempt.end(value, {"at": [number, None]})
        assert [trial.number for trial in search.ended()] == [1, 2, 3, 4]
        assert [trial.number for trial in search.ranked()] == order
        best = search.best()
        assert best is not None
        assert (best.number, best.notes) == (order[0], {"at": [order[0], None]})
        assert search.ended()[2].value is None
        assert search.beats(0.5) is smallest
        assert search.beats(7.5) is not smallest
        assert not search.beats(best.value or 0.0), "as good is not better"


def test_a_value_that_is_no_number_is_none(tmp_path: Path) -> None:
    with search_in(tmp_path) as search:
        for number, value in enumerate((float("nan"), float("inf")), 1):
            attempt = search.begin(number, FIRST)
            attempt.is_hopeless(1, float("nan"))
            attempt.end(value, {})
        assert [trial.value for trial in search.ended()] == [None, None]
        assert search.best() is None
        go_on(search, 12)  # and the sampler can live with them


@pytest.mark.parametrize("smallest", [False, True])
def test_worse_than_the_median_is_given_up_after_some_patience(
    smallest: bool, tmp_path: Path
) -> None:
    sign = -1 if smallest else 1
    with search_in(tmp_path, smallest=smallest) as search:
        for number, level in enumerate((10, 20, 30, 40), 1):
            attempt = search.begin(number, FIRST)
            curve = [attempt.is_hopeless(at, sign * level * at) for at in (1, 2, 3)]
            assert not any(curve), "the first few always come to their ends"
            attempt.end(sign * level * 3.0, {})
        bad = search.begin(5, FIRST)
        assert not bad.is_hopeless(1, sign * 5.0), "too early to say"
        assert bad.is_hopeless(2, sign * 10.0)
        bad.end(None, {})
        fair = search.begin(6, FIRST)
        assert not fair.is_hopeless(2, sign * 60.0)
        assert not fair.is_hopeless(2, sign * 0.0), "noted before"
        assert not fair.is_hopeless(4, sign * 0.0), "no other trial has come so far"
        fair.end(1.0, {})


def test_with_what_it_was_begun(tmp_path: Path) -> None:
    with search_in(tmp_path) as search:
        assert search.begun is None
        search.note({"data": "abc", "space": {"rate": [1, 0.5]}})
    with search_in(tmp_path) as search:
        assert search.begun == {"data": "abc", "space": {"rate": [1, 0.5]}}


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "50 %20?mode=ro#é;"
    folder.mkdir()
    with search_in(folder) as search:
        go_on(search, 2)
    assert [path.name for path in folder.iterdir()] == ["trials.sqlite"]
    with search_in(folder) as search:
        assert len(search.ended()) == 2


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


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_optuna()
    monkeypatch.setattr(trials, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"optuna: pip install 'charseq\[tune\]'"):
        require_optuna()


def test_optuna_is_loaded_late() -> None:
    import subprocess

    heavy = "{'optuna', 'sqlalchemy'}"
    code = f"import sys, charseq.training.tuning.trials; print({{*sys.modules}} & {heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.strip() == b"set()"
