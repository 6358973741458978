"""train / evaluate / check / info: each whole flow on one page.

    files -> pairs or sentences -> steps -> best weights -> run folder
    run folder, files -> predictions -> scores

Nothing here prints: lines for people go to ``report``, results are returned.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from charseq.config import Config, configure, defaults
from charseq.data import settings_file
from charseq.data.corpus import choose_task
from charseq.errors import CheckpointError, SettingError, UsageError
from charseq.inference.describe import describe_calibration
from charseq.inference.predictor import load
from charseq.runs.folder import is_finished, lock
from charseq.runs.training_state import TrainingState
from charseq.training import ensemble
from charseq.training.distillation import add_teacher_labels, teacher_of
from charseq.training.loop import Report, Watch, learn, silent
from charseq.training.next_word import NextWordTask
from charseq.training.pairs import PairsTask
from charseq.version import __version__

if TYPE_CHECKING:
    pass
Lesson = PairsTask | NextWordTask


def train(
    data: str | Path,
    *,
    run: str | Path | None = None,
    config: Config | None = None,
    init_from: str | Path | None = None,
    distil_from: str | Path | None = None,
    unlabelled: str | Path | None = None,
    force: bool = False,
    dry_run: bool = False,
    report: Report = silent,
    progress: bool = False,
    watch: Watch | None = None,
    evaluated: bool = True,
) -> dict[str, Any]:
    """Train on ``data`` and leave a model in ``run``; an unfinished run goes on where it stopped.

    Args:
        data: a folder with ``train.*`` (and ``dev.*``), or one file.
        run: the folder to make, by default ``checkpoints/<name of data>``.
        config: settings, from :func:`charseq.config.configure`; by default the defaults, with
            what ``DATA/charseq.toml`` says.
        init_from: a run whose weights are the start (fine-tuning); new symbols join its own.
        distil_from: a run of pairs that labels the training sources; its outputs are learnt too.
        unlabelled: a file of further sources for it to label.
        force: begin anew where there is a run already.
        dry_run: read and report, but train nothing.
        report: takes each line for people.
        progress: whether to show a progress bar on stderr.
        watch: is shown the run's progress after each evaluation but the last, when it is saved;
            what it raises ends the training there. The members of an ensemble are not watched.
        evaluated: whether to evaluate the model at the end; if not, nothing is returned.

    Returns:
        run, parameters, seconds, epochs and, on the dev split, what :func:`evaluate` returns.

    Raises:
        CharseqError: the data, the settings or the run folder do not allow it.
        Interrupted: a signal asked to stop; the state is saved, and the same call goes on.
    """
    started = time.monotonic()
    config = resolve_task(data, config)
    if config.device == "cuda" and not dry_run:  # say that there is none before all is read
        from charseq.models.device import choose_device

        choose_device(config.device)
    lesson = task_of(data, config, init_from)
    teacher = teacher_of(distil_from, unlabelled, best=config.teacher_best)
    if teacher is not None and isinstance(lesson, NextWordTask):
        raise UsageError("--distil-from is for pairs, these data are text")
    folder = Path(run) if run else Path("checkpoints") / lesson.name
    for line in lesson.describe():
        report(line)
    if dry_run:
        return {"run": str(folder), "seconds": time.monotonic() - started, "epochs": 0}
    with lock(folder):
        journal = TrainingState(folder, lesson.about)
        if force:
            journal.forget()
        elif not journal.can_resume() and is_finished(folder):
            what = "is finished already: --force trains it anew, -o names another folder"
            raise CheckpointError(what, path=folder)
        if teacher is not None and isinstance(lesson, PairsTask):
            began = time.monotonic()
            add_teacher_labels(lesson, teacher, journal, report=report)
            started += time.monotonic() - began
        if config.ensemble > 1 and isinstance(lesson, PairsTask):
            job = ensemble.Job(
                *(str(data), str(folder), config.to_json()),
                init_from=None if init_from is None else str(init_from),
                distil_from=None if distil_from is None else str(distil_from),
                unlabelled=None if unlabelled is None else str(unlabelled),
            )
            ensemble.train(lesson, journal, job, started, report=report)
        else:
            learn(lesson, journal, started, report=report, progress=progress, watch=watch)
        _calibrate(lesson, journal, report)
        journal.finish()
        ensemble.clear(folder)
    report(f"kept       {folder}")
    return lesson.evaluate(cast("Any", load(folder)), version=__version__) if evaluated else {}


def resolve_task(data: str | Path, config: Config | None) -> Config:
    """``config``, else the defaults with what the data's folder says; its task is found out."""
    if config is None:
        settings = settings_file.settings_of(data)
        task = choose_task(data, settings.get("task", "auto"))
        base = defaults(task, settings.get("cell", ""))
        config = configure({**settings, "task": task}, base=base)
    return replace(config, task=choose_task(data, config.task))


def task_of(data: str | Path, config: Config, init_from: str | Path | None) -> Lesson:
    """What is to be learnt. Raises SettingError for an ensemble that predicts words."""
    if config.task != "next-word":
        return PairsTask(data, config, init_from)
    if config.ensemble > 1:
        raise SettingError("ensembles are for pairs, these data are text")
    return NextWordTask(data, config, init_from)


def _calibrate(lesson: Lesson, journal: TrainingState, report: Report) -> None:
    """Let the run say what its probabilities are worth, where its family can tell."""
    if isinstance(lesson, PairsTask):
        journal.about |= lesson.calibrate(journal.best)
        for line in describe_calibration(journal.about):
            report(line)
