"""a job on stdin -> one member of an ensemble, trained; what it says -> stdout, as lines of JSON.

The process that ``members`` starts for each member: ``python -m charseq.training.worker``. Its
parent ends it by a signal. Where the parent is no more, stdin ends: the state is saved, and this
ends too.

    {"say": "..."}      a line for people
    {"fault": "..."}    why it could not do its job
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from charseq.config import configure
from charseq.errors import CharseqError, CheckpointError, SettingError
from charseq.process import prepare_training
from charseq.runs.folder import is_finished, lock
from charseq.runs.training_state import TrainingState
from charseq.training import loop, train
from charseq.training.distillation import teacher_of
from charseq.training.ensemble import Job
from charseq.training.pairs import PairsTask

PATIENCE = 10.0
"""Seconds to wait for a member's folder, which the orphan of a killed command may still save to."""


def main() -> int:
    """Do the job; the exit code."""
    prepare_training()
    line = sys.stdin.buffer.readline()
    if not line:
        return 2
    job = Job(**json.loads(line))
    threading.Thread(target=_heed_parent, daemon=True).start()
    try:
        _wait_for(job)
        train_member(job, report=lambda said: _tell(say=said))
    except CharseqError as fault:
        _tell(fault=str(fault))
        return fault.exit_code
    return 0


def train_member(job: Job, *, report: Callable[[str], None]) -> None:
    """Train one member of an ensemble: an ordinary run, but for the symbols, which all share.

    Raises:
        CharseqError: as :func:`charseq.training.train.train`.
    """
    lesson = train.task_of(job.data, configure(job.config), job.init_from)
    if not isinstance(lesson, PairsTask):
        raise SettingError("ensembles are for pairs, these data are text")
    teacher = teacher_of(job.distil_from, job.unlabelled, best=lesson.config.teacher_best)
    if teacher is not None:
        sources = teacher.sources(lesson.task.dataset.train)
        lesson.attend(sources, teacher.known(sources, Path(job.run)), teacher.about)
    member = lesson.member(job.number)
    with lock(job.folder):
        if not is_finished(job.folder):
            journal = TrainingState(job.folder, member.about)
            loop.learn(member, journal, job.started, report=report)
            journal.finish()


def _wait_for(job: Job) -> None:
    """Until nobody writes to the member's folder, or for as long as one may wait."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with lock(job.folder):
                return
        except CheckpointError:
            time.sleep(0.2)


def _tell(**message: str) -> None:
    with suppress(OSError):  # nobody listens any more; the end of stdin will say so
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def _heed_parent() -> None:
    """Stop as by a signal when the parent is no more, and with it the other end of stdin."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
