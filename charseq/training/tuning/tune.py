"""data -> the settings that do best on dev, and the model that was trained with them.

A search is a row of trainings, each an ordinary run with the same budget. The dev score by which
training chooses its weights chooses the settings as well: for pairs the exact match, then the
symbol error rate; for text the perplexity. What stands in a run folder RUN:

    RUN                      the model of the best trial so far, a run like any other
    RUN/tune/trials.sqlite   every trial, as Optuna keeps them
    RUN/tune/charseq.toml    the settings of the best, to lay beside the data
    RUN/tune/trial-004       only while trial 4 is trained: its run

Each step may be killed: a trial's model is copied into RUN before the trial is noted as ended, and
its own run goes after that. Nothing here prints.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

from charseq.config import Config, configure
from charseq.data import settings_file
from charseq.errors import (
    CheckpointError,
    Interrupted,
    SettingError,
    TrainingError,
    UsageError,
)
from charseq.runs.folder import ABOUT, is_finished, lock, names, publish, read_all, read_json
from charseq.runs.model_card import render
from charseq.runs.training_state import Progress, Run
from charseq.training import train
from charseq.training.loop import Report, silent
from charseq.training.tuning import space
from charseq.training.tuning.report import (
    DONE,
    FAILED,
    FOLDER,
    GIVEN_UP,
    SCORES,
    Plan,
    command,
    describe,
    family,
    table,
    told,
    toml,
    word,
    words,
    worth,
)
from charseq.training.tuning.space import Space
from charseq.training.tuning.trials import Attempt, Search, opened, require_optuna

USUAL_TRIALS = 20
PATIENCE = 1 / 3
"""Share of a trial's evaluations before it may be given up."""


class _Hopeless(Exception):
    """A trial is given up."""


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

    The first trial has the settings as they are given. An unfinished search goes on where it
    stopped, a finished one with more ``trials``.

    Args:
        data: a folder with ``train.*`` (and ``dev.*``), or one file.
        run: the folder for the best model, by default ``checkpoints/<name of data>-tuned``.
        config: settings, with the budget of each trial; by default those of
            :func:`charseq.training.train.train`.
        ranges: a TOML file that says what is searched, see ``space``; by default the table
            ``[tune]`` of ``DATA/charseq.toml``, else the usual ranges of what is not set there.
        fixed: settings that are not searched, whatever the ranges are.
        trials: how many, those of earlier calls counted; by default 20, or with ``hours`` any.
        hours: after so many hours of training no trial is begun, earlier calls counted.
        force: begin anew where there is a search or a run already.
        dry_run: say what would be searched, but train nothing.
        report: takes each line for people.
        progress: whether to show a progress bar on stderr.

    Returns:
        run, settings (the path of the TOML file), seconds, best (the number of a trial), and
        trials: number, settings, state, scores (on dev, by greedy search) and seconds of each.

    Raises:
        CharseqError: the data, the settings or the folder do not allow it.
        Interrupted: a signal asked to stop; the state is saved, and the same call goes on.
    """
    require_optuna()
    for name, value in (("trials", trials), ("hours", hours)):
        if value is not None and not value > 0:
            raise UsageError(f"{name} is {value}, expected more than 0")
    config = _settings(data, config)
    axes = _axes(data, config.task, ranges, fixed)
    most = USUAL_TRIALS if trials is None and hours is None else trials
    plan = _plan(data, config, axes, run, report)
    for line in describe(plan, most, hours):
        report(line)
    if dry_run:
        return {"run": str(plan.folder), "space": plan.begun["space"], "trials": []}
    with lock(plan.folder):
        _make_room(plan.folder, force=force)
        with opened(
            plan.trials,
            axes,
            seed=config.seed,
            smallest=config.task == "next-word",
            patience=math.ceil(PATIENCE * config.evaluations),
        ) as search:
            _compare(search, plan)
            try:
                _run(search, plan, most, hours, report=report, progress=progress)
            except Interrupted as stop:
                _stop(search, plan, signal.Signals(stop.exit_code - 128))
            except KeyboardInterrupt:
                _stop(search, plan, signal.SIGINT)
            return _close(search, plan, report)


def _settings(data: str | Path, config: Config | None) -> Config:
    """The settings of the first trial; the task is found out.

    Raises:
        SettingError: an ensemble.
    """
    config = train.settled(data, config)
    if config.ensemble > 1:
        raise SettingError(
            "an ensemble is not tuned as a whole: tune with ensemble=1, and train the ensemble "
            "with the settings that are found"
        )
    return config


def _axes(data: str | Path, task: str, ranges: str | Path | None, fixed: Collection[str]) -> Space:
    """What is searched.

    Raises:
        UsageError: nothing is.
    """
    if ranges is not None:
        found: Space | None = space.read_file(Path(ranges), task)
    else:
        found = space.read_data(data, task)
    if found is None:
        fixed = {*fixed, *settings_file.settings_of(data)}
        found = space.usual(task)
    axes = {name: axis for name, axis in found.items() if name not in fixed}
    if not axes:
        raise UsageError("nothing is left to search: every setting is given (see [tune])")
    return axes


def _plan(
    data: str | Path, config: Config, axes: Space, run: str | Path | None, report: Report
) -> Plan:
    """Read the data once, say what was understood, and keep no more than their fingerprint."""
    lesson = family(config.task)(data, config)
    for line in lesson.describe():
        report(line)
    folder = Path(run) if run else Path("checkpoints") / f"{lesson.name}-tuned"
    return Plan(data, config, axes, folder, lesson.about["data"]["fingerprint"])


def _make_room(folder: Path, *, force: bool) -> None:
    """The folder is ours, or becomes so.

    Raises:
        CheckpointError: it holds a model that no search has made.
    """
    run = Run(folder, {})
    if force:
        run.forget()
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
    elif run.can_resume():
        what = "holds an unfinished training: charseq train goes on with it, -o names another"
        raise CheckpointError(f"{what} folder, --force begins anew", path=folder)
    elif is_finished(folder) and "tuned" not in read_json(folder, ABOUT):
        what = "holds a model that no search has made: -o names another folder, --force begins anew"
        raise CheckpointError(what, path=folder)
    (folder / FOLDER).mkdir(exist_ok=True)


def _compare(search: Search, plan: Plan) -> None:
    """Refuse to go on with another search: the trials would not compare.

    Raises:
        CheckpointError: data, settings or ranges are not those of the beginning.
    """
    now, before = plan.begun, search.begun
    if before is None:
        search.note(now)
        return
    if before["data"] != now["data"]:
        what = "was tuned on other data (the files have changed); --force begins anew"
        raise CheckpointError(what, path=plan.folder)
    for key, kind in (("settings", ""), ("space", "the range of ")):
        for name in sorted(before[key].keys() | now[key].keys()):
            old, new = before[key].get(name, "nothing"), now[key].get(name, "nothing")
            if old != new:
                raise CheckpointError(
                    f"was tuned with {kind}{name} = {word(old)}, now it is {word(new)}; give "
                    "the same to go on, --force to begin anew, or another -o",
                    path=plan.folder,
                )


def _run(
    search: Search,
    plan: Plan,
    most: int | None,
    hours: float | None,
    *,
    report: Report,
    progress: bool,
) -> None:
    """Trial after trial, until there are enough of them."""
    while True:
        ended = search.ended()
        number = len(ended) + 1
        _tidy(plan, number)
        spent = sum(trial.notes["seconds"] for trial in ended)
        if number > (most or math.inf) or spent >= 3600 * (hours or math.inf):
            return
        attempt = search.begin(number, plan.config.to_json())
        begun = " (goes on)" if names(plan.place(number)) else ""
        report(f"trial {number:<4} {words(attempt.settings)}{begun}")
        value, notes = _try(attempt, plan, progress=progress)
        won = value is not None and search.beats(value)
        if won:
            _keep(plan, number)
        attempt.end(value, notes)
        report(f"{'':10} {told(notes)}{'  best so far' if won else ''}")


def _try(attempt: Attempt, plan: Plan, *, progress: bool) -> tuple[float | None, dict[str, Any]]:
    """Train with the attempt's settings: its value, where it came to its end, and what to note."""
    place, started = plan.place(attempt.number), time.monotonic()
    last: dict[str, Any] = {}

    def watch(state: Progress) -> None:
        for line in state.metrics:  # more than one, if it was stopped at an evaluation
            last.update(line)
            if attempt.is_hopeless(line["evaluation"], worth(line)):
                raise _Hopeless

    try:
        if not is_finished(place):  # else it was killed before it was noted
            config = configure(attempt.settings, base=plan.config)
            train.train(
                plan.data, run=place, config=config, progress=progress, watch=watch, evaluated=False
            )
    except (_Hopeless, TrainingError) as fault:
        state = GIVEN_UP if isinstance(fault, _Hopeless) else FAILED
        scores = {name: last[name] for name in SCORES if name in last}
        seconds = max(last.get("seconds", 0.0), time.monotonic() - started)
        return None, {"state": state, "scores": scores, "seconds": round(seconds, 1)}
    about = read_json(place, ABOUT)
    notes = {"state": DONE, "scores": about["scores"], "seconds": about["seconds"]}
    return worth(about["scores"]), notes


def _keep(plan: Plan, number: int) -> None:
    """The model of a trial becomes that of the run folder; its settings are written out."""
    place = plan.place(number)
    files = read_all(place, names(place))
    about = read_json(place, ABOUT) | {"tuned": {"trial": number, "trials": number}}
    gone = names(plan.folder) - files.keys()
    publish(plan.folder, {**files, **_about(plan, about)}, drop=gone)
    _write_settings(plan, about["settings"])


def _about(plan: Plan, about: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of a run that say how it was made."""
    content = json.dumps(about, ensure_ascii=False, indent=1) + "\n"
    return {ABOUT: content.encode(), "README.md": render(plan.folder.name, about).encode()}


def _tidy(plan: Plan, number: int) -> None:
    """The runs of trials that have ended go; that of the trial ``number`` may go on."""
    for folder in (plan.folder / FOLDER).glob("trial-*"):
        if folder != plan.place(number):
            shutil.rmtree(folder)


def _stop(search: Search, plan: Plan, asked: signal.Signals) -> NoReturn:
    """Raises Interrupted: what there is, and how to go on."""
    ended = len(search.ended())
    there = f"{plan.folder} holds the best of {ended}" if search.best() else "none has ended well"
    raise Interrupted(
        f"stopped by {asked.name} in trial {ended + 1}; {there}, and the same command (without "
        "--force) goes on from there",
        signal_number=asked,
    )


def _close(search: Search, plan: Plan, report: Report) -> dict[str, Any]:
    """Say what was found, note in the run of how many it is the best; the facts."""
    ended, best = search.ended(), search.best()
    if best is None:
        raise TrainingError(
            f"none of {len(ended)} trials came to its end, the loss was not finite: lower the "
            "range of learning_rate"
        )
    about = read_json(plan.folder, ABOUT)
    about["tuned"] = {"trial": best.number, "trials": len(ended)}
    publish(plan.folder, _about(plan, about))
    _write_settings(plan, about["settings"])
    for line in table(plan, search.ranked()):
        report(line)
    report(f"{'kept':10} {plan.folder}: the model of trial {best.number}")
    report(f"{'settings':10} {plan.settings}")
    report(f"{'again':10} {command(plan, about['settings'])}")
    return {
        "run": str(plan.folder),
        "settings": str(plan.settings),
        "seconds": round(sum(trial.notes["seconds"] for trial in ended), 1),
        "best": best.number,
        "trials": [
            {"number": trial.number, "settings": trial.settings, **trial.notes} for trial in ended
        ],
    }


def _write_settings(plan: Plan, settings: Mapping[str, Any]) -> None:
    """The settings of a run to their file, whole or not at all."""
    part = plan.settings.with_suffix(".part")
    part.write_text(toml(plan, settings), encoding="utf-8", newline="")
    part.replace(plan.settings)
