"""The number of processes: by settings and cores, and by what was measured."""

from __future__ import annotations

from typing import Any, cast

import pytest

from charseq.config import configure
from charseq.errors import SettingError
from charseq.models.device import Pace
from charseq.training.parallel import pace as module
from charseq.training.parallel.group import Group
from charseq.training.parallel.pace import HOLD, GroupPace, choose_workers, pace_of


@pytest.mark.parametrize(
    ("settings", "cores", "expected"),
    [
        ({"minutes": 5}, 2, 2),
        ({"minutes": 5}, 1, 1),
        ({"minutes": 5, "workers": 1}, 2, 1),
        ({"minutes": 5, "batch_size": 256}, 64, 4),
        ({"minutes": 5, "batch_size": 63}, 2, 1),
        ({"minutes": 0.5}, 2, 1),
        ({"minutes": 0.5, "workers": 2}, 1, 2),
        ({"minutes": 5, "threads": 2}, 2, 1),
        ({"minutes": 5, "threads": 1}, 2, 1),
        ({"epochs": 5}, 2, 1),
        ({"epochs": 5, "workers": 3}, 2, 3),
    ],
)
def test_workers_by_settings_and_cores(
    settings: dict[str, Any], cores: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "cores", lambda: cores)
    config = configure({"workers": 0, **settings})
    assert choose_workers(config, "cpu") == expected
    assert choose_workers(config, "cuda") == 1


def test_a_system_that_shares_no_memory_has_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cores", lambda: 2)
    monkeypatch.setattr(module, "can_share", lambda: False)
    assert choose_workers(configure({"minutes": 5, "workers": 0}), "cpu") == 1
    with pytest.raises(SettingError, match="workers is 2, but this system has no memory"):
        choose_workers(configure({"workers": 2}), "cpu")


def test_threads_and_workers_exclude_each_other() -> None:
    with pytest.raises(SettingError, match="workers is 2 and threads is 3"):
        choose_workers(configure({"workers": 2, "threads": 3}), "cpu")


class FakeGroup:
    """A group whose children are ready when the test says so."""

    ranks = 2

    def __init__(self) -> None:
        self.split = True
        self.started = False

    def ready(self) -> bool:
        return self.started


class Machine:
    """A clock by the speed of steps, which a test sets for one process and for two."""

    def __init__(self, *, timed: bool) -> None:
        self.now = 0.0
        self.seconds = {False: 0.1, True: 0.1}
        self.said: list[str] = []
        self.group = FakeGroup()
        self.pace = GroupPace(
            cast("Group", self.group), timed=timed, clock=lambda: self.now, report=self.said.append
        )

    def run(self, seconds: float) -> float:
        """The share of the time in which steps were shared."""
        begun, shared = self.now, 0.0
        while self.now - begun < seconds:
            took = self.seconds[self.group.split]
            shared += took * self.group.split
            self.now += took
            self.pace.note(64)
        return shared / (self.now - begun)


def test_two_processes_take_the_steps_where_they_are_faster() -> None:
    machine = Machine(timed=True)
    machine.seconds[True] = 0.05
    assert machine.run(5) == 0, "the other process is not ready"
    machine.group.started = True
    assert machine.run(100) > 0.9
    assert machine.said == ["processes  2 share each batch, 2.00 times as fast as one"]
    machine.seconds[True] = 0.4  # a neighbour comes
    machine.run(HOLD + 10)
    assert machine.run(HOLD) < 0.25
    machine.seconds[True] = 0.05
    machine.run(4 * HOLD)
    assert machine.run(HOLD) > 0.9
    assert len(machine.said) == 1


def test_one_process_goes_on_alone_where_two_are_slower() -> None:
    machine = Machine(timed=True)
    machine.group.started = True
    machine.seconds[True] = 0.125
    assert machine.run(60) < 0.1
    assert machine.said == ["processes  one, for now: 2 are 0.80 times as fast"]


def test_the_speed_changes_nothing_in_a_training_of_epochs() -> None:
    machine = Machine(timed=False)
    machine.seconds[True] = 5.0
    machine.group.started = True
    assert machine.run(60) == 1
    assert machine.said == []


def test_a_training_without_a_group_has_threads() -> None:
    config = configure({"epochs": 2})
    found = pace_of(None, config, lambda: 0.0, lambda _line: None)
    assert isinstance(found, Pace)
    assert found.most == 1
