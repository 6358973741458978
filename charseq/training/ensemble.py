"""lesson -> members of an ensemble, each in a process of its own -> one run.

    RUN/members/1 2 ...    ordinary runs, which may be resumed; gone when the ensemble is published

With a wall-clock budget all members are trained side by side and share the cores: each anneals to
the same clock. Where memory does not allow that, they come in waves that share the minutes. With
epochs no clock runs, so there are no more processes than cores.

It knows what a member is (an ordinary run) and how to start, hear and stop a process; how a member
is trained is the business of ``apprentice``, which is started here by its name alone.
"""

from __future__ import annotations

import json
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from charseq.child import Child, cores
from charseq.decoding.ensemble import cells_of, join
from charseq.errors import CheckpointError, Interrupted, TrainingError
from charseq.inference.loading import read_run, shapes_of
from charseq.process import stopping
from charseq.runs.folder import is_finished, read

if TYPE_CHECKING:
    from charseq.config import Config
    from charseq.runs.training_state import TrainingState

FOLDER = "members"
APPRENTICE = "charseq.training.worker"
POLL = 0.1
"""Seconds between two looks at signals and at the clock."""
GRACE = 4.0
"""Seconds that members have to save what they learnt, once they are asked to stop."""
LIBRARIES = 500 * 2**20
"""Bytes that torch and a step's intermediate values take in a process of its own."""
PER_PARAMETER = 40
"""Bytes for each weight: itself, its gradient, average and moments, copies to save and to score."""

Report = Callable[[str], None]
Heard: TypeAlias = "queue.Queue[tuple[int, str | None]]"
"""Lines of processes, each with the number of its member; None where it is over."""


class Lesson(Protocol):
    """A training of pairs, as far as an ensemble must know it."""

    config: Config

    @property
    def about(self) -> dict[str, Any]:
        """What the run says of itself before training."""

    def score(self, weights: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Dev scores of the weights of a whole ensemble."""

    def tell(self, scores: Mapping[str, float]) -> str:
        """Dev scores in a few words."""


@dataclass(frozen=True)
class Job:
    """What a process is told: one member of the ensemble that ``config`` describes."""

    data: str
    run: str
    config: dict[str, Any]
    number: int = 0
    """Counted from 0."""
    started: float = 0.0
    """When its clock began to run, by ``time.monotonic``."""
    init_from: str | None = None
    distil_from: str | None = None
    unlabelled: str | None = None

    @property
    def folder(self) -> Path:
        """Where the member is trained."""
        return Path(self.run) / FOLDER / str(self.number + 1)

    @property
    def name(self) -> str:
        """What people call it."""
        return f"member {self.number + 1}"


def train(
    lesson: Lesson, journal: TrainingState, job: Job, started: float, *, report: Report
) -> None:
    """Train all members and leave the ensemble in ``journal``, to be finished.

    ``job`` is the pattern of every member's; the clock counts from ``started``.

    Raises:
        Interrupted: a signal asked to stop; every member is saved.
        TrainingError: a member failed or was killed; the others are saved.
        CheckpointError: the ensemble was begun with other settings or other data.
    """
    config, state = lesson.config, journal.resume(report)
    if state is None:
        clear(journal.folder)
        clocked = not config.epochs
        side_by_side = places(config.ensemble, clocked=clocked, need=_need(lesson))
        state = {"places": np.array(side_by_side)}
        journal.save(state, better=False)
    else:
        report(f"resume     {journal.progress.seconds:.0f} s spent")
    side_by_side = int(state["places"])
    jobs = _jobs(job, config, side_by_side)
    before = journal.progress.seconds
    saved = time.monotonic()

    def note(*, now: bool = False) -> None:
        """Keep count of the seconds, in case nobody can ask us later."""
        nonlocal saved
        journal.progress.seconds = before + time.monotonic() - started
        if now or time.monotonic() - saved >= config.save_seconds:
            journal.save(state, better=False)
            saved = time.monotonic()

    left = [one for one in jobs if not is_finished(one.folder)]
    with stopping() as stop:
        work(left, side_by_side, started, stop=stop, tick=note, report=report)
        note(now=True)
        if asked := stop():
            raise Interrupted(
                f"stopped by {asked.name}; what was learnt is in {journal.folder}, and the same "
                "command (without --force) goes on from there",
                signal_number=asked,
            )
    assemble(lesson, journal, [one.folder for one in jobs])
    journal.progress.seconds = before + time.monotonic() - started
    report(f"ensemble   {len(jobs)} members  {lesson.tell(journal.progress.scores)}")


def work(
    jobs: Sequence[Job],
    side_by_side: int,
    started: float,
    *,
    stop: Callable[[], Any],
    tick: Callable[[], None],
    report: Report,
) -> None:
    """Do every job, some at a time, until all are done or ``stop()`` says so.

    ``tick()`` is called often. The clock of a job that waited begins when it is its turn.

    Raises:
        TrainingError: a job failed; the others were stopped and saved.
    """
    heard: Heard = queue.Queue()
    waiting = list(jobs)
    working: dict[int, Worker] = {}
    try:
        while (waiting or working) and not stop():
            while waiting and len(working) < side_by_side:
                first = len(jobs) - len(waiting) < side_by_side
                worker = Worker(waiting.pop(0), started if first else time.monotonic(), heard)
                working[worker.job.number] = worker
            tick()
            try:
                number, line = heard.get(timeout=POLL)
            except queue.Empty:
                continue
            worker = working[number]
            if line is None:
                del working[number]
                worker.close()
            elif said := worker.hear(line):
                report(f"{worker.job.name:10} {said}")
    finally:
        dismiss(working.values())


class Worker:
    """One process with one job; what it says comes into a queue, line by line, then None."""

    def __init__(self, job: Job, started: float, heard: Heard) -> None:
        self.job = job
        self.fault = ""
        self.child = Child(APPRENTICE)
        with suppress(BrokenPipeError):  # it is over already: its end says why
            self.child.tell({**asdict(job), "started": started})
        pipe = self.child.process.stdout
        threading.Thread(target=self._listen, args=(pipe, heard), daemon=True).start()

    def hear(self, line: str) -> str:
        """What one line of the process says to people; a fault is remembered instead."""
        with suppress(ValueError):
            said = json.loads(line)
            self.fault = said.get("fault", self.fault)
            return str(said.get("say", ""))
        return ""

    def close(self) -> None:
        """The process is over. Raises TrainingError where it did not do its job."""
        if ended := self.child.end():
            what = self.fault or f"{ended}; the same command goes on from what is saved"
            raise TrainingError(f"{self.job.name}{':' if self.fault else ''} {what}")

    def _listen(self, pipe: IO[bytes] | None, heard: Heard) -> None:
        if pipe is not None:
            with pipe:
                for line in pipe:
                    heard.put((self.job.number, line.decode("utf-8", "replace")))
        heard.put((self.job.number, None))


def dismiss(workers: Iterable[Worker]) -> None:
    """Ask processes to save and stop; who takes too long is killed, and keeps its last save."""
    workers = list(workers)
    for worker in workers:
        worker.child.process.terminate()
    deadline = time.monotonic() + GRACE
    for worker in workers:
        worker.child.wait(deadline - time.monotonic())
        with suppress(TrainingError):  # that it was stopped
            worker.close()


def assemble(lesson: Lesson, journal: TrainingState, folders: Sequence[Path]) -> None:
    """The members' weights as those of one model, scored on dev.

    Raises:
        CheckpointError: a member is damaged, or was trained on other data or symbols.
    """
    told, weights = lesson.about, []
    journal.about = dict(told, members=[])
    journal.progress.metrics = []
    for number, folder in enumerate(folders):
        about, config, *_, arrays, _ = read_run(folder)
        for part in ("data", "source", "target", "limits", "start", "distilled"):
            if about.get(part) != told.get(part):
                what = f"was trained on another '{part}' than its ensemble; --force starts anew"
                raise CheckpointError(what, path=folder)
        weights.append(arrays)
        facts = {name: about[name] for name in ("scores", "seconds", "epochs")}
        journal.about["members"].append({"seed": config.seed, "cell": config.cell, **facts})
        for line in read(folder, "metrics.jsonl").decode().splitlines():
            journal.record({"member": number + 1, **json.loads(line)})
    journal.best = join(weights)
    progress, members = journal.progress, journal.about["members"]
    progress.epochs = sum(member["epochs"] for member in members) / len(members)
    progress.scores = lesson.score(journal.best)
    journal.record({"members": len(members), "seconds": progress.seconds, **progress.scores})


def clear(run: str | Path) -> None:
    """Remove the members below a run, which are of no more use."""
    with suppress(FileNotFoundError):
        shutil.rmtree(Path(run) / FOLDER)


def places(count: int, *, clocked: bool, need: int) -> int:
    """How many of ``count`` processes, of ``need`` bytes each, are to run side by side."""
    most = count if clocked else min(count, cores())
    memory = available_memory()
    return most if memory is None else max(1, min(most, memory // max(need, 1)))


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that processes may still take: the machine's, or less by the container's limit."""
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


def _need(lesson: Lesson) -> int:
    """About how many bytes the training of the largest member takes."""
    import resource  # POSIX only, as training is

    largest = 0
    for cell in set(cells_of(lesson.config)):
        settings = {**lesson.about["settings"], "cell": cell}
        shapes = shapes_of({**lesson.about, "settings": settings})
        largest = max(largest, sum(int(np.prod(shape)) for shape in shapes.values()))
    kilobytes = 1 if sys.platform == "darwin" else 1024
    data = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobytes
    return data + LIBRARIES + PER_PARAMETER * largest


def _jobs(job: Job, config: Config, side_by_side: int) -> list[Job]:
    """Every member's job; where they come in waves, each has its share of the minutes."""
    waves = -(-config.ensemble // side_by_side) if config.minutes else 1
    settings = {**config.to_json(), "minutes": config.minutes / waves}
    fields = asdict(job) | {"config": settings}
    return [Job(**fields | {"number": number}) for number in range(config.ensemble)]
