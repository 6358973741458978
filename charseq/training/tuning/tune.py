"""Data -> the settings with the best dev score, and the model trained with them.

A search is a sequence of trials. Each trial is an ordinary training with the same budget. The dev
score by which training chooses its weights chooses the settings as well: for pairs the exact
match, then the symbol error rate; for text the perplexity. Files in a run folder RUN:

    RUN                      the model of the best trial so far, a run like any other
    RUN/tune/trials.jsonl    every trial, a line each (see ``storage``)
    RUN/tune/charseq.toml    the settings of the best trial, to be copied beside the data
    RUN/tune/trial-004       the run of trial 4, only while it is trained

The process may be killed at any point. A trial's model is copied into RUN before the trial is
stored as finished, and the trial's own run is deleted after that. All of these files may be a
stranger's, and are checked before they are used. This module prints nothing.
Optuna is an extra and is imported when a search begins.
"""

from __future__ import annotations

import math
import os
import re
import signal
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from charseq import files
from charseq.config import Config, configure
from charseq.data import settings_file
from charseq.data.corpus import data_files
from charseq.data.settings_file import SETTINGS_FILE
from charseq.errors import (
    CheckpointError,
    Interrupted,
    SettingError,
    TrainingError,
    UsageError,
    argument,
    require,
)
from charseq.inference.loading import NEEDED_SCORES, check_metadata
from charseq.process import WorkClock
from charseq.runs.folder import (
    ABOUT,
    check_links,
    delete,
    delete_inner,
    is_finished,
    lock,
    names,
    publish,
    read_all,
    read_json,
    refuse_inputs,
)
from charseq.runs.training_state import Progress, TrainingState, about_files
from charseq.runs.untrusted import reason
from charseq.training import train
from charseq.training.loop import Report, silent
from charseq.training.tuning.report import (
    FOLDER,
    SCORES,
    TRIAL,
    TRIALS_FILE,
    Plan,
    command,
    describe,
    outcome,
    settings_text,
    table,
    toml,
    value_text,
)
from charseq.training.tuning.storage import (
    ANEW,
    DONE,
    ELSEWHERE,
    FAILED,
    GIVEN_UP,
    MAX_TRIALS,
    TrialStorage,
    read_trials,
)

if TYPE_CHECKING:
    from charseq.training.tuning.space import Space
    from charseq.training.tuning.trials import RunningTrial, Search

USUAL_TRIALS = 20
"""Number of trials where neither trials nor hours are given."""
WARMUP = 1 / 3
"""Share of a trial's evaluations before it may be pruned."""
DATABASE = "trials.sqlite"
"""File of the trials in earlier versions, which is not opened any more."""


def tune(
    data: str | Path,
    *,
    run: str | Path | None = None,
    config: Config | None = None,
    ranges: str | Path | None = None,
    fixed: Collection[str] = (),
    trials: int | None = None,
    hours: float | None = None,
    force: bool = False,
    dry_run: bool = False,
    report: Report = silent,
    progress: bool = False,
) -> dict[str, Any]:
    """Search for the settings that do best on the dev split of ``data``.

    The first trial has the given settings. A later call resumes an unfinished search, and
    continues a finished one if ``trials`` is larger.

    Args:
        data: a folder with ``train.*`` (and ``dev.*``), or one file.
        run: the folder for the best model, by default ``checkpoints/<name of data>-tuned``.
        config: settings, with the budget of each trial; by default those of
            :func:`charseq.training.train.train`.
        ranges: a TOML file with the search space, see ``space``; by default the table ``[tune]``
            of ``DATA/charseq.toml``, else the usual ranges of settings not set there.
        fixed: settings that are not searched, whatever the ranges are.
        trials: number of trials, including earlier calls, 10,000 at most; by default 20, or with
            ``hours`` 10,000.
        hours: hours of training after which no trial begins, including earlier calls.
        force: begin anew; a model in the folder stays until a trial is done.
        dry_run: report the search space, and train nothing.
        report: callback for each line for people.
        progress: whether to show a progress bar on stderr.

    Returns:
        run, settings (path of the TOML file), seconds, best (number of a trial), and for each
        of the trials: number, settings, state, scores (on dev, by greedy search), seconds.

    Raises:
        MissingExtraError: Optuna is not installed.
        CharseqError: the data, the settings or the folder do not allow the search.
        Interrupted: a signal stopped the search; its state is saved, and the same call resumes.
    """
    require("optuna", "searching for settings")
    require("torch", "training")
    for name, value in (("trials", trials), ("hours", hours)):
        if value is not None and not value > 0:
            raise UsageError(f"{name} is {value}, expected more than 0")
    if trials is not None and trials > MAX_TRIALS:
        raise UsageError(f"trials is {trials}, expected {MAX_TRIALS} at most")
    config = _settings(data, config)
    space = _space(data, config.task, ranges, fixed)
    most = USUAL_TRIALS if trials is None and hours is None else trials
    if run is not None:
        files.check_name(run)
    plan = replace(_plan(data, config, space, run, report), most=most, hours=hours)
    refuse_inputs(plan.folder, [*data_files(data), ranges])
    for line in describe(plan):
        report(line)
    if dry_run:
        return {"run": str(plan.folder), "space": plan.conditions["space"], "trials": []}
    return _search(plan, space, force=force, report=report, progress=progress)


def _settings(data: str | Path, config: Config | None) -> Config:
    """The settings of the first trial, with the task that the data imply.

    Raises:
        SettingError: the settings ask for an ensemble.
    """
    config = train.resolve_task(data, config)
    if config.ensemble > 1:
        raise SettingError(
            "an ensemble is not tuned as a whole: tune with ensemble=1, and train the ensemble "
            "with the settings that are found"
        )
    return config


def _space(data: str | Path, task: str, ranges: str | Path | None, fixed: Collection[str]) -> Space:
    """The search space: of a file, of the table ``[tune]``, or the usual one.

    Raises:
        UsageError: every setting is fixed.
    """
    from charseq.training.tuning.space import read_data, read_file, usual

    found = read_data(data, task) if ranges is None else read_file(Path(ranges), task)
    if found is None:
        fixed = {*fixed, *settings_file.settings_of(data)}
        found = usual(task)
    space = {name: distribution for name, distribution in found.items() if name not in fixed}
    if not space:
        raise UsageError("nothing is left to search: every setting is given (see [tune])")
    return space


def _plan(
    data: str | Path, config: Config, space: Space, run: str | Path | None, report: Report
) -> Plan:
    """The plan of the search; the data are read once, reported, and kept as a fingerprint only."""
    from charseq.training.tuning.space import to_json

    task = train.task_of(data, config, None)
    for line in task.describe():
        report(line)
    folder = Path(run) if run else Path("checkpoints") / f"{task.name}-tuned"
    return Plan(data, config, to_json(space), folder, task.metadata["data"]["fingerprint"])


def _search(
    plan: Plan, space: Space, *, force: bool, report: Report, progress: bool
) -> dict[str, Any]:
    """Begin or resume the search in the plan's folder, under its lock: the facts."""
    from charseq.training.tuning.trials import Search

    with lock(plan.folder, force=force):
        _make_room(plan.folder, force=force)
        stored = read_trials(plan.trials, NEEDED_SCORES[plan.config.task])
        _check_conditions(stored, plan)
        search = Search(
            stored,
            space,
            seed=plan.config.seed,
            minimize=plan.task.minimize,
            warmup=math.ceil(WARMUP * plan.config.evaluations),
        )
        try:
            _run(search, plan, report=report, progress=progress)
        except Interrupted as stop:
            _stop(search, plan, signal.Signals(stop.exit_code - 128))
        except KeyboardInterrupt:
            _stop(search, plan, signal.SIGINT)
        return _close(search, plan, report)


def _make_room(folder: Path, *, force: bool) -> None:
    """Make the folder of the search; ``force`` deletes an earlier search or unfinished training.

    Raises:
        CheckpointError: the folder holds a run that no search has made, or a search that cannot
            be continued.
    """
    check_links(folder / FOLDER)
    run, old = TrainingState(folder, {}), folder / FOLDER / DATABASE
    if force:
        run.reset()
        _delete_search(folder / FOLDER)
    elif run.can_resume():
        what = "holds an unfinished training, which charseq train goes on with"
        raise CheckpointError(f"{what}: {ELSEWHERE}, {ANEW}", path=folder)
    elif is_finished(folder) and "tuned" not in read_json(folder, ABOUT):
        what = "holds a model that no search has made"
        raise CheckpointError(f"{what}: {ELSEWHERE}, {ANEW}", path=folder)
    elif os.path.lexists(old) and not os.path.lexists(folder / FOLDER / TRIALS_FILE):
        what = "is a search of an earlier charseq, which cannot be continued"
        raise CheckpointError(f"{what}: {ELSEWHERE}, {ANEW}", path=old)
    try:
        (folder / FOLDER).mkdir(exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"cannot be written: {reason(error)}", path=folder / FOLDER
        ) from error


def _delete_search(folder: Path) -> None:
    """Delete an earlier search: its trials' runs and its own files, nothing else."""
    delete_inner(folder, TRIAL)
    try:
        for name in (TRIALS_FILE, SETTINGS_FILE, DATABASE, f"{DATABASE}-journal"):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(f"{name} cannot be deleted: {reason(error)}", path=folder) from error


def _check_conditions(stored: TrialStorage, plan: Plan) -> None:
    """Store the conditions of a new search, or compare them with the stored ones.

    Raises:
        CheckpointError: data, settings or ranges have changed, so scores would not be comparable.
    """
    now, before = plan.conditions, stored.conditions
    if before is None:
        stored.begin_search(now)
        return
    if before["data"] != now["data"]:
        what = f"was tuned on other data (the files have changed); {ANEW}"
        raise CheckpointError(what, path=plan.folder)
    for key, kind in (("settings", ""), ("space", "the range of ")):
        for name in sorted(before[key].keys() | now[key].keys()):
            old, new = before[key].get(name, "nothing"), now[key].get(name, "nothing")
            if old != new:
                raise CheckpointError(
                    f"was tuned with {kind}{name:.80} = {value_text(old):.200}, now it is "
                    f"{value_text(new):.200}; give the same to go on, "
                    f"{argument('force', True)} to begin anew, or another {argument('run')}",
                    path=plan.folder,
                )


def _run(search: Search, plan: Plan, *, report: Report, progress: bool) -> None:
    """Run trials until their number or their hours of training are reached."""
    most, seconds = min(plan.most or MAX_TRIALS, MAX_TRIALS), 3600 * (plan.hours or math.inf)
    while True:
        finished = search.finished()
        number = len(finished) + 1
        _delete_trials(plan, number)
        spent = sum(trial.notes["seconds"] for trial in finished)
        if number > most or spent >= seconds:
            return
        trial = search.ask(number, plan.config.to_json())
        resumed = " (goes on)" if names(plan.trial_folder(number)) else ""
        report(f"trial {number:<4} {settings_text(trial.settings)}{resumed}")
        value, notes = _train(trial, plan, progress=progress)
        best = value is not None and search.is_best(value)
        if best:
            _keep(plan, number)
        trial.tell(value, notes)
        report(f"{'':10} {outcome(plan, notes)}{'  best so far' if best else ''}")


def _train(
    trial: RunningTrial, plan: Plan, *, progress: bool
) -> tuple[float | None, dict[str, Any]]:
    """Train with a trial's settings: its value, None unless it is done, and its notes."""
    from optuna import TrialPruned

    run, clock = plan.trial_folder(trial.number), WorkClock()
    last: dict[str, Any] = {}

    def watch(state: Progress) -> None:
        for line in state.metrics:  # all evaluations so far, of a resumed training as well
            last.update(line)
            if trial.should_prune(line["evaluation"], plan.task.objective(line)):
                raise TrialPruned

    try:
        if not is_finished(run):  # it is, if the process was killed before tell()
            config = configure(trial.settings, base=plan.config)
            with clock:
                train.train(
                    plan.data, run=run, config=config, progress=progress, watch=watch,
                    evaluated=False,
                )  # fmt: skip
    except (TrialPruned, TrainingError) as fault:
        state = FAILED if isinstance(fault, TrainingError) else GIVEN_UP
        scores = {name: last[name] for name in SCORES if name in last}
        seconds = max(last.get("seconds", 0.0), clock())
        return None, {"state": state, "scores": scores, "seconds": round(seconds, 1)}
    about = _about(run)
    notes = {"state": DONE, "scores": about["scores"], "seconds": about["seconds"]}
    try:
        return plan.task.objective(about["scores"]), notes
    except (KeyError, ArithmeticError) as error:  # of a forged run; a training has checked its own
        raise CheckpointError("is damaged: no sound 'scores'", path=run / ABOUT) from error


def _about(run: Path) -> dict[str, Any]:
    """The metadata of a finished run, checked, with settings as runs have them now."""
    about = read_json(run, ABOUT)
    config, _ = check_metadata(run, about)
    return about | {"settings": config.to_json()}


def _keep(plan: Plan, number: int) -> None:
    """Copy a trial's model into the run folder, and write its settings as TOML."""
    folder = plan.trial_folder(number)
    content = read_all(folder, names(folder))
    about = _about(folder) | {"tuned": {"trial": number, "trials": number}}
    gone = names(plan.folder) - content.keys()
    publish(plan.folder, {**content, **about_files(plan.folder.name, about)}, drop=gone)
    _write_settings(plan, about["settings"])


def _delete_trials(plan: Plan, number: int) -> None:
    """Delete the runs of all trials but ``number``, which may be resumed."""
    for folder in sorted((plan.folder / FOLDER).iterdir()):
        if re.fullmatch(TRIAL, folder.name) and folder != plan.trial_folder(number):
            delete(folder)


def _stop(search: Search, plan: Plan, asked: signal.Signals) -> NoReturn:
    """Raises Interrupted, with the state of the search and how to resume it."""
    count = len(search.finished())
    there = f"{plan.folder} holds the best of {count}" if search.best() else "none has ended well"
    raise Interrupted(
        f"stopped by {asked.name} in trial {count + 1}; {there}, and the same search (without "
        f"{argument('force', True)}) goes on from there",
        signal_number=asked,
    )


def _close(search: Search, plan: Plan, report: Report) -> dict[str, Any]:
    """Report the trials, store their number in the run, and return the facts.

    Raises:
        TrainingError: no trial is done.
    """
    finished, best = search.finished(), search.best()
    if best is None:
        raise TrainingError(
            f"none of {len(finished)} trials came to its end, the loss was not finite: lower the "
            "range of learning_rate"
        )
    about = _about(plan.folder)
    about["tuned"] = {"trial": best.number, "trials": len(finished)}
    publish(plan.folder, about_files(plan.folder.name, about))
    _write_settings(plan, about["settings"])
    for line in table(plan, search.ranked()):
        report(line)
    report(f"{'kept':10} {plan.folder}: the model of trial {best.number}")
    report(f"{'settings':10} {plan.settings}")
    report(f"{'again':10} {command(plan, about['settings'])}")
    return {
        "run": str(plan.folder),
        "settings": str(plan.settings),
        "seconds": round(sum(trial.notes["seconds"] for trial in finished), 1),
        "best": best.number,
        "trials": [
            {"number": trial.number, "settings": trial.settings, **trial.notes}
            for trial in finished
        ],
    }


def _write_settings(plan: Plan, settings: Mapping[str, Any]) -> None:
    """Write the settings of a run as TOML: the file appears whole or not at all."""
    files.replace(plan.settings, toml(plan, settings).encode())
