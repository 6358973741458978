"""Training of an ensemble: data -> members, each in a process of its own -> one run.

    RUN/members/1 2 ...    ordinary runs that may be resumed; removed when the ensemble is published

With a budget in minutes all members are trained side by side and share the cores: the learning rate
of each is annealed by the same clock. Where memory is too short for that, the members are trained
in waves that share the minutes. With epochs no clock runs, so there are no more processes than
cores.

This module starts, follows and stops the processes and joins their runs. How a member is trained is
the business of the worker process (:data:`WORKER`), which is known here by its name alone. A thread
for each process reads its reports (``concurrent.futures.ThreadPoolExecutor``); the first process
starts and stops all others.
"""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.config import cells_of
from charseq.decoding.ensemble import join
from charseq.errors import (
    CheckpointError,
    Interrupted,
    TrainingError,
    argument,
    as_keyword,
    with_arguments,
)
from charseq.inference.loading import read_run, shapes_of
from charseq.process import ChildProcess, catch_signals, cores, terminate
from charseq.runs.folder import delete_inner, is_finished, read
from charseq.runs.untrusted import parse_object
from charseq.training.callbacks.protocol import tell

if TYPE_CHECKING:
    from charseq.config import Config
    from charseq.process import WorkClock
    from charseq.runs.training_state import TrainingState
    from charseq.training.callbacks.protocol import Callback
    from charseq.training.loop import Report, Task

FOLDER = "members"
WORKER = "charseq.training.worker"
POLL = 0.1
"""Seconds between two checks for signals and for a save that is due."""
GRACE = 4.0
"""Seconds that members have to save their state before they are killed."""
LIBRARIES = 500 * 2**20
"""Bytes that torch and the intermediate values of a step take in each process."""
PER_PARAMETER = 40
"""Bytes for each weight: value, gradient, average, moments, and copies to save and to score."""


@dataclass(frozen=True)
class Job:
    """The task of one worker process: a member of the ensemble that ``config`` describes."""

    data: str
    run: str
    config: dict[str, Any]
    number: int = 0
    """Counted from 0."""
    spent: float = 0.0
    """Seconds of its budget that the command has spent before the process starts."""
    init_from: str | None = None
    distil_from: str | None = None
    unlabelled: str | None = None
    followed: bool = False
    """Whether the worker sends steps and evaluations, for callbacks."""

    @property
    def folder(self) -> Path:
        """The run folder of the member."""
        return Path(self.run) / FOLDER / str(self.number + 1)

    @property
    def name(self) -> str:
        """The member's name in messages."""
        return f"member {self.number + 1}"


def train(
    task: Task,
    state: TrainingState,
    job: Job,
    clock: WorkClock,
    *,
    report: Report,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train all members and join them in ``state``, which the caller finishes.

    ``job`` is the pattern of every member's job; ``clock`` counts the seconds of this command.
    ``callbacks`` are told of each member's steps, evaluations and end.

    Raises:
        Interrupted: a signal asked to stop; every member is saved.
        TrainingError: a member failed or was killed; the others are saved.
        CheckpointError: the ensemble was begun with other settings or other data.
    """
    config = task.config
    arrays = state.resume(report, partial(_check_state, most=config.ensemble))
    if arrays is None:
        clear(state.folder)
        clocked = not config.epochs
        side_by_side = slots(config.ensemble, clocked=clocked, need=_need(task))
        arrays = {"places": np.array(side_by_side)}
        state.save(arrays, better=False)
    else:
        report(f"resume     {state.progress.seconds:.0f} s spent")
    side_by_side = int(arrays["places"])
    jobs = _jobs(replace(job, followed=bool(callbacks)), config, side_by_side)
    before = state.progress.seconds
    saved = clock()

    def note(*, now: bool = False) -> None:
        """Save the seconds spent, so that a killed command resumes with them."""
        nonlocal saved
        state.progress.seconds = before + clock()
        if now or clock() - saved >= config.save_seconds:
            state.save(arrays, better=False)
            saved = clock()

    left = [one for one in jobs if not is_finished(one.folder)]
    with catch_signals() as stop:
        work(left, side_by_side, clock, stop=stop, tick=note, report=report, callbacks=callbacks)
        note(now=True)
        if asked := stop():
            raise Interrupted(
                f"stopped by {asked.name}; what was learnt is in {state.folder}, and the same "
                f"training (without {argument('force', True)}) goes on from there",
                signal_number=asked,
            )
    assemble(task, state, [one.folder for one in jobs])
    # a command that was stopped has worked for less than its members, which were not
    longest = max(member["seconds"] for member in state.metadata["members"])
    state.progress.seconds = max(before + clock(), longest)
    report(f"ensemble   {len(jobs)} members  {task.summary(state.progress.scores)}")


def work(
    jobs: Sequence[Job],
    side_by_side: int,
    clock: Callable[[], float],
    *,
    stop: Callable[[], Any],
    tick: Callable[[], None],
    report: Report,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Do every job, ``side_by_side`` of them at a time, until all are done or ``stop()`` is true.

    ``tick()`` is called every :data:`POLL` seconds or more often. The first jobs begin with the
    seconds that ``clock`` has counted; a job that had to wait for a slot begins with none.
    ``callbacks`` are called in this thread.

    Raises:
        TrainingError: a job failed; the others were stopped and saved.
    """
    events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def pass_on() -> None:
        while not events.empty():
            kind, facts = events.get()
            if kind == "say":
                report(facts)
            else:
                tell(callbacks, kind, facts)

    waiting = list(jobs)
    running: dict[Future[None], ChildProcess] = {}
    try:
        with ThreadPoolExecutor(side_by_side) as threads:
            try:
                while (waiting or running) and not stop():
                    while waiting and len(running) < side_by_side:
                        first = len(jobs) - len(waiting) < side_by_side
                        job, child = waiting.pop(0), ChildProcess(WORKER)
                        child.send({**asdict(job), "spent": clock() if first else 0.0})
                        running[threads.submit(_follow, job, child, events.put)] = child
                    tick()
                    done = wait(running, POLL, FIRST_COMPLETED).done
                    pass_on()
                    for future in done:
                        del running[future]
                        future.result()
            finally:
                terminate(running.values(), GRACE)
    finally:
        pass_on()


def _check_state(
    arrays: Mapping[str, np.ndarray], _best: object, _so_far: object, *, most: int
) -> None:
    """Raise CheckpointError where a saved state is not that of an ensemble with ``most`` members.

    Its one number is that of the members side by side.
    """
    places = arrays.get("places")
    sound = places is not None and places.shape == () and places.dtype.kind in "iu"
    if places is None or not sound or not 1 <= int(places) <= most:
        raise CheckpointError("is damaged: it is no state of an ensemble")


def _follow(job: Job, child: ChildProcess, put: Callable[[tuple[str, Any]], None]) -> None:
    """Pass on what a member's process sends until it ends.

    ``put`` gets ("say", line for people), and for callbacks the name of a method and its facts.

    Raises:
        TrainingError: it did not do its job.
    """
    from charseq.training.trainer import Step

    fault, number = "", job.number + 1
    ended: dict[str, Any] = {}
    while (message := child.receive()) is not None:
        fault, ended = message.get("fault", fault), message.get("end", ended)
        if line := message.get("say"):
            put(("say", f"{job.name:10} {line}"))
        if step := message.get("step"):
            put(("step", Step(**step | {"member": number})))
        if facts := message.get("evaluation"):
            put(("evaluation", {"member": number, **facts}))
    end = child.end()
    if job.followed:
        told = {"fault": with_arguments(fault or end, as_keyword)} if end else ended
        put(("end", {"member": number, "finished": not end, **told}))
    if end:
        what = f": {fault}" if fault else f" {end}; the same training goes on from what is saved"
        raise TrainingError(f"{job.name}{what}")


def assemble(task: Task, state: TrainingState, folders: Sequence[Path]) -> None:
    """Join the members' weights into one model, and score it on dev.

    Raises:
        CheckpointError: a member is damaged, or was trained on other data or symbols.
    """
    expected, weights = task.metadata, []
    state.metadata = dict(expected, members=[])
    state.progress.metrics = []
    for number, folder in enumerate(folders):
        about, config, *_, arrays, _ = read_run(folder)
        for part in ("data", "source", "target", "limits", "start", "distilled"):
            if about.get(part) != expected.get(part):
                anew = argument("force", True)
                what = f"was trained on another '{part}' than its ensemble; {anew} starts anew"
                raise CheckpointError(what, path=folder)
        weights.append(arrays)
        facts = {name: about[name] for name in ("scores", "seconds", "epochs")}
        state.metadata["members"].append({"seed": config.seed, "cell": config.cell, **facts})
        for line in read(folder, "metrics.jsonl").splitlines():
            metrics = parse_object(line, folder / "metrics.jsonl")
            state.record({"member": number + 1, **metrics})
    state.best = join(weights)
    progress, members = state.progress, state.metadata["members"]
    progress.epochs = sum(member["epochs"] for member in members) / len(members)
    progress.scores = task.score(state.best)
    state.record({"members": len(members), "seconds": progress.seconds, **progress.scores})


def clear(run: str | Path) -> None:
    """Remove the member runs inside a run folder."""
    delete_inner(Path(run) / FOLDER, "[0-9]+")


def slots(count: int, *, clocked: bool, need: int) -> int:
    """Number of processes to run side by side, out of ``count`` with ``need`` bytes each."""
    most = count if clocked else min(count, cores())
    memory = available_memory()
    return most if memory is None else max(1, min(most, memory // max(need, 1)))


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes of free memory: the machine's, or less where the container has a limit."""
    limits = []
    with suppress(OSError, ValueError, StopIteration):
        lines = (root / "proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        limits.append(int(line.split()[1]) * 1024)
    with suppress(OSError, ValueError):  # "max" where there is no limit
        group = root / "sys/fs/cgroup"
        most, used = ((group / f"memory.{name}").read_text() for name in ("max", "current"))
        limits.append(max(int(most) - int(used), 0))
    return min(limits, default=None)


def _need(task: Task) -> int:
    """Estimate of the bytes that the training of the largest member takes."""
    import resource  # POSIX only, as training is

    largest = 0
    for cell in set(cells_of(task.config)):
        settings = {**task.metadata["settings"], "cell": cell}
        shapes = shapes_of({**task.metadata, "settings": settings})
        largest = max(largest, sum(int(np.prod(shape)) for shape in shapes.values()))
    kilobytes = 1 if sys.platform == "darwin" else 1024
    data = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobytes
    return data + LIBRARIES + PER_PARAMETER * largest


def _jobs(job: Job, config: Config, side_by_side: int) -> list[Job]:
    """The members' jobs; where members are trained in waves, each has a share of the minutes."""
    waves = -(-config.ensemble // side_by_side) if config.minutes else 1
    settings = {**config.to_json(), "minutes": config.minutes / waves}
    fields = asdict(job) | {"config": settings}
    return [Job(**fields | {"number": number}) for number in range(config.ensemble)]
