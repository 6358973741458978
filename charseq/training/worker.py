"""Worker process of an ensemble: a job on stdin -> one trained member; reports -> stdout.

``ensemble`` starts one such process for each member and ends it by SIGTERM. When the parent process
has ended, stdin is closed: the worker saves its state and ends too. Reports are lines of JSON:

    {"say": "..."}      a line for people
    {"fault": "..."}    the reason why the member could not be trained

and where the job is followed by callbacks:

    {"step": {...}}         a step
    {"evaluation": {...}}   an evaluation
    {"end": {...}}          the seconds, epochs and scores of the trained member
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from charseq.config import configure
from charseq.errors import CharseqError, CheckpointError
from charseq.process import WorkClock, prepare_training, send_to_parent
from charseq.runs.folder import is_finished, lock
from charseq.runs.training_state import TrainingState
from charseq.training import loop
from charseq.training.callbacks.protocol import Callback, Facts
from charseq.training.distillation import teacher_of
from charseq.training.ensemble import Job
from charseq.training.pairs import PairsTask

if TYPE_CHECKING:
    from charseq.training.trainer import Step

PATIENCE = 10.0
"""Seconds to wait for a member's folder: a worker of a killed command may still save to it."""


def main() -> int:
    """Train the member of the job on stdin; the exit code of a worker."""
    prepare_training()
    clock = WorkClock()
    line = sys.stdin.buffer.readline()
    if not line:
        return 2
    job = Job(**json.loads(line))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _wait_for_folder(job)
        clock.add(job.spent)
        with clock:
            end = train_member(job, clock, report=lambda line: send_to_parent({"say": line}))
            if job.followed:
                send_to_parent({"end": end})
    except CharseqError as fault:
        send_to_parent({"fault": fault.marked})
        return fault.exit_code
    return 0


class Sender(Callback):
    """Sends steps and evaluations to the process of the ensemble, which has its callbacks."""

    def step(self, step: Step) -> None:
        """Send a step."""
        send_to_parent({"step": vars(step)})

    def evaluation(self, facts: Facts) -> None:
        """Send an evaluation."""
        send_to_parent({"evaluation": dict(facts)})


def train_member(
    job: Job, clock: WorkClock, *, report: Callable[[str], None]
) -> dict[str, float | None]:
    """Train one member of an ensemble: an ordinary run with the symbols that all members share.

    Returns:
        its seconds, epochs and scores on dev.

    Raises:
        CharseqError: as :func:`charseq.training.train.train`.
    """
    task = PairsTask(job.data, configure(job.config), job.init_from, keep_rejects=False)
    teacher = teacher_of(job.distil_from, job.unlabelled, best=task.config.teacher_best)
    if teacher is not None:
        sources = teacher.sources(task.prepared.dataset.train)
        labels = teacher.read_labels(sources, Path(job.run))
        task.add_teacher_labels(sources, labels, teacher.metadata)
    member = task.member(job.number)
    state = TrainingState(job.folder, member.metadata)
    with lock(job.folder):
        if not is_finished(job.folder):
            callbacks = [Sender()] if job.followed else []
            loop.learn(member, state, clock, report=report, callbacks=callbacks)
            state.finish()
    progress = state.progress
    return {"seconds": progress.seconds, "epochs": progress.epochs, **progress.scores}


def _wait_for_folder(job: Job) -> None:
    """Return when no process writes to the member's folder, at the latest after PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with lock(job.folder):
                return
        except CheckpointError:
            time.sleep(0.2)


def _end_with_parent() -> None:
    """Stop as SIGTERM does when the parent has ended, and with it the other end of stdin."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
