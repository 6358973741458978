"""settings, this machine -> the number of processes that share each batch, and whether they gain.

A training of so many epochs has the number that is set, since the number changes the last bits of
a result. One of so many minutes has one for each core, and goes on alone where that is faster:
beside a busy neighbour the processes wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from charseq.config import Config
from charseq.display import field
from charseq.errors import SettingError, argument
from charseq.models.device import Pace, choose_threads
from charseq.process import cores
from charseq.training.parallel.rank import can_share

if TYPE_CHECKING:
    from charseq.training.parallel.group import Group

MOST = 4
"""Processes that a training takes of itself."""
MIN_ROWS = 32
"""Rows of a batch for each process: the products of fewer rows take as long."""
MIN_MINUTES = 1.0
"""Budget from which further processes are started, which takes seconds of a core for each."""
HOLD = 30.0
"""Seconds from one comparison of the processes with one alone to the next, at least."""


def choose_workers(config: Config, device: str) -> int:
    """The number of processes of a training, this one included.

    Raises:
        SettingError: several are set, and several threads as well, or the system cannot share
            memory between processes.
    """
    if config.workers > 1 and config.threads > 1:
        raise SettingError(
            f"workers is {config.workers} and threads is {config.threads}, but each of several "
            f"processes has one thread: {argument('threads', 1)}"
        )
    if config.workers > 1 and not can_share():
        what = "but this system has no memory without a name for processes to share"
        raise SettingError(f"workers is {config.workers}, {what}: {argument('workers', 1)}")
    if device != "cpu":
        return 1
    if config.workers:
        return config.workers
    if config.epochs or config.minutes < MIN_MINUTES or config.threads or not can_share():
        return 1
    return max(1, min(MOST, cores(), config.batch_size // MIN_ROWS))


class GroupPace:
    """Whether the ranks of a group share the steps of a training, by their speed."""

    def __init__(
        self,
        group: Group,
        *,
        timed: bool,
        clock: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        """``timed``: whether speed may decide; if not, all steps are shared."""
        self._group = group
        self._timed = timed
        self._clock = clock
        self._report = report
        self._pace: Pace | None = None
        self._told = False
        group.split = not timed

    def note(self, examples: int) -> None:
        """Count the examples of one step, and change who takes the next one when that is due."""
        ready = self._group.ready()
        if not self._timed or not ready:
            return
        if self._pace is None:
            self._pace = Pace(self._group.ranks, use=self._use, clock=self._clock, hold=HOLD)
            self._use(self._group.ranks)
            return
        self._pace.note(examples)
        if self._pace.gain is not None and not self._told:
            self._told = True
            ranks, gain = self._group.ranks, self._pace.gain
            said = f"{ranks} share each batch, {gain:.2f} times as fast as one"
            if gain <= 1:
                said = f"one, for now: {ranks} are {gain:.2f} times as fast"
            self._report(field("processes", said))

    def _use(self, processes: int) -> None:
        self._group.split = processes > 1


def pace_of(
    group: Group | None,
    config: Config,
    clock: Callable[[], float],
    report: Callable[[str], None],
) -> Pace | GroupPace:
    """An object that counts the steps of a training, and sets threads or processes by its speed."""
    timed = not config.epochs
    if group is not None:
        return GroupPace(group, timed=timed, clock=clock, report=report)
    return Pace(choose_threads(config.threads) if timed else 1, clock=clock)
