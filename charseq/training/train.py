"""Data -> a trained model in a run folder: the flow of a training, from the files to its scores.

    files -> task -> (teacher's labels) -> loop or ensemble -> calibration -> run folder -> scores

Nothing is printed: lines for people go to ``report``, and results are returned.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, cast

from charseq import files
from charseq.config import Config, cells_of, configure, defaults, naming
from charseq.data import settings_file
from charseq.data.corpus import choose_task, data_files, names_columns
from charseq.data.corpus import task_of as task_of_data
from charseq.data.splits import name_of
from charseq.display import field
from charseq.errors import CheckpointError, SettingError, argument, require
from charseq.inference.describe import describe_calibration
from charseq.inference.hub.download import find
from charseq.inference.loading import check_storable, shapes_of
from charseq.inference.predictor import load
from charseq.kernels import library
from charseq.process import WorkClock
from charseq.runs.folder import check_place, is_finished, lock, refuse_inputs
from charseq.runs.training_state import Progress, TrainingState
from charseq.training import ensemble
from charseq.training.callbacks.protocol import Callback, tell
from charseq.training.distillation import Teacher, distil, teacher_of
from charseq.training.loop import Report, Task, Watch, learn, silent
from charseq.training.next_word import NextWordTask
from charseq.training.pairs import PairsTask
from charseq.training.report import describe_end, describe_members_end, describe_plan
from charseq.version import __version__

TaskType: TypeAlias = type[PairsTask] | type[NextWordTask]


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
    callbacks: Sequence[Callback] = (),
    evaluated: bool = True,
) -> dict[str, Any]:
    """Train on ``data`` and leave a model in ``run``; an unfinished run is resumed.

    Args:
        data: a folder with ``train.*`` (and ``dev.*``), or one file; for ``charseq.train`` also a
            DataFrame.
        run: the folder to make, by default ``checkpoints/<name of data>``.
        config: settings, from :func:`charseq.config.configure`; by default the defaults. Settings
            that it was not given are those of ``DATA/charseq.toml``, unless it has a ``base``.
        init_from: a run whose weights are the start (fine-tuning); new symbols join its own.
        distil_from: a run of pairs that labels the training sources; its outputs are learnt too.
        unlabelled: a file of further sources for it to label.
        force: begin anew where there is a run already.
        dry_run: read, check all that the training needs, and report, but train nothing.
        report: callback for each line for people.
        progress: whether to show a progress bar on stderr.
        watch: callback for the run's progress after each evaluation but the last, when it is
            saved; an exception that it raises ends the training there. The members of an ensemble
            are not watched.
        callbacks: followers of the steps, the evaluations and the end. An exception of one of them
            is a warning, and the training goes on without it.
        evaluated: whether to evaluate the model at the end; if not, nothing is returned.

    Returns:
        run, parameters, seconds, epochs, and the scores on the dev split: see ``evaluate`` of
        ``evaluation.pairs`` and of ``evaluation.next_word``.

    Raises:
        CharseqError: the data, the settings or the run folder do not allow it.
        MissingExtraError: torch is not installed.
        Interrupted: a signal asked to stop; the state is saved, and the same call resumes.
    """
    if run is not None:
        files.check_name(run)
    require("torch", "training")
    with WorkClock() as clock:
        config = resolve_task(data, config)
        if config.device not in ("auto", "cpu"):  # before all is read
            from charseq.models.device import choose_device

            choose_device(config.device)
        folder = Path(run) if run else Path("checkpoints") / name_of(Path(data))
        if not force:
            _refuse_finished(TrainingState(folder, {}))
        task = task_of(data, config, init_from)
        teacher = teacher_of(distil_from, unlabelled, best=config.teacher_best)
        student = None if teacher is None else task.student()
        refuse_inputs(folder, [*_reads(data, init_from, teacher), config.target_words or None])
        check_storable(task.metadata, folder)
        for line in (*task.describe(), *_plan(task, folder)):
            report(line)
        _report_kernels(config.device, report)
        if dry_run:
            _check_place(task, folder, force=force)
            return {"run": str(folder), "seconds": clock(), "epochs": 0}
        with lock(folder, force=force):
            state = TrainingState(folder, task.metadata)
            _check_folder(state, force=force)
            known = {name: task.metadata[name] for name in ("settings", "data")}
            tell(callbacks, "begin", {"run": str(folder), **known})
            if teacher is not None and student is not None:
                before = clock()
                distil(student, teacher, state, clock, report=report)
                clock.add(before - clock())  # the time of labelling is not of the budget
                check_storable(task.metadata, folder)
            if config.ensemble > 1:
                job = ensemble.Job(
                    *(str(data), str(folder), config.to_json()),
                    init_from=None if init_from is None else str(init_from),
                    distil_from=None if distil_from is None else str(distil_from),
                    unlabelled=None if unlabelled is None else str(unlabelled),
                )
                ensemble.train(task, state, job, clock, report=report, callbacks=callbacks)
            else:
                learn(
                    task, state, clock, report=report, progress=progress, watch=watch,
                    callbacks=callbacks,
                )  # fmt: skip
            _report_end(task, state.progress, report)
            state.metadata |= task.calibrate(state.best, report)
            for line in describe_calibration(state.metadata):
                report(line)
            state.finish()
            ensemble.clear(folder)
    model = load(folder)  # a run that cannot be loaded is an error, whether it is evaluated or not
    report(f"kept       {folder}")
    return task.evaluate(cast("Any", model), version=__version__) if evaluated else {}


def resolve_task(data: str | Path, config: Config | None) -> Config:
    """The settings, with those of the data's folder that are not given; the task is resolved.

    Without ``config`` the others are the defaults of the task. A ``config`` with a base of its own
    has all settings.
    """
    if config is None or config.given is not None:
        settings = settings_file.settings_of(data)
        if config is None:
            task = task_of_data(data)
            base, settings = defaults(task, settings.get("cell", "")), {**settings, "task": task}
        else:
            base, known = config, config.given or ()
            settings = {name: one for name, one in settings.items() if name not in known}
        with naming(f"{Path(data) / settings_file.SETTINGS_FILE}: "):
            config = configure(settings, base=base)
            if config.task == "pairs":
                cells_of(config)
    given = names_columns({"columns": config.columns, "delimiter": config.delimiter})
    return replace(config, task=choose_task(data, config.task, has_columns=given))


def task_type(name: str) -> TaskType:
    """The class for the setting ``task``; the first runs of pairs have "auto"."""
    return NextWordTask if name == "next-word" else PairsTask


def task_of(data: str | Path, config: Config, init_from: str | Path | None) -> Task:
    """The task on ``data`` for the setting ``task``, with the data read.

    Raises:
        SettingError: the settings ask for an ensemble, and tasks of this kind have none.
    """
    kind = task_type(config.task)
    if config.ensemble > 1 and not kind.may_ensemble:
        raise SettingError("ensembles are for pairs, these data are text")
    return kind(data, config, init_from)


def _reads(
    data: str | Path, init_from: str | Path | None, teacher: Teacher | None
) -> list[str | Path | None]:
    """The files and runs that a training reads."""
    runs = [None if init_from is None else find(init_from)]
    if teacher is not None:
        runs += [teacher.path, None if teacher.unlabelled is None else Path(teacher.unlabelled)]
    return [*data_files(data), *runs]


def _check_folder(state: TrainingState, *, force: bool) -> None:
    """Begin anew with ``force``. Raises CheckpointError for a finished run without."""
    if force:
        state.reset()
    else:
        _refuse_finished(state)


def _refuse_finished(state: TrainingState) -> None:
    """Raise CheckpointError for a finished run."""
    if not state.can_resume() and is_finished(state.folder):
        anew = argument("force", True)
        what = f"is finished already: {anew} trains it anew, {argument('run')} names another folder"
        raise CheckpointError(what, path=state.folder)


def _check_place(task: Task, folder: Path, *, force: bool) -> None:
    """Check, writing nothing, that the run can be begun in its folder, or goes on there.

    Raises:
        CheckpointError: the folder cannot be written, holds files of something else, a finished run
            or one begun with other settings or data; or its disk is too small.
    """
    check_place(folder, force=force)
    state = TrainingState(folder, task.metadata)
    if not force:
        _refuse_finished(state)
        state.check_origin()
    state.require_space(_parameters(task))


def _plan(task: Task, folder: Path) -> list[str]:
    """Lines on network, budget, device and folder."""
    from charseq.models import device
    from charseq.training.parallel.pace import choose_workers

    config = task.config
    where = device.choose_device(config.device)
    timed = not config.epochs
    workers = 1 if config.ensemble > 1 else choose_workers(config, where.type)
    threads = device.choose_threads(1 if workers > 1 else config.threads, timed=timed)
    precision = device.choose_precision(config.precision, where)
    return describe_plan(
        config,
        folder,
        parameters=_parameters(task),
        examples=task.metadata["data"]["examples"]["train"],
        device=device.describe(where, precision, threads, timed=timed, workers=workers),
    )


def _parameters(task: Task) -> int:
    """The number of weights of one network of the task."""
    return sum(math.prod(shape) for shape in shapes_of(task.metadata).values())


def _report_kernels(device: str, report: Report) -> None:
    """Say that the compiled kernels are missing; a caller without a report gets a warning."""
    from charseq.models.device import choose_device

    if choose_device(device).type == "cpu" and (slow := library.absence()):
        report(field("kernels", slow))
        if report is silent:
            warnings.warn(slow, RuntimeWarning, stacklevel=3)


def _report_end(task: Task, progress: Progress, report: Report) -> None:
    """Say how fast the training was, and what would help."""
    kind = task_type(task.config.task)
    measured = [line for line in progress.metrics if "evaluation" in line]
    scores = map(kind.objective, measured)
    errors = [score if kind.minimize else 100 - score for score in scores]
    if task.config.ensemble > 1:
        for line in describe_members_end(measured, errors, epochs=progress.epochs):
            report(line)
        return
    examples = task.metadata["data"]["examples"]["train"]
    for line in describe_end(progress, errors, task.config, examples=examples):
        report(line)
