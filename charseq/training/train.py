"""train / evaluate / check / info: each whole flow on one page.

    files -> pairs or sentences -> steps -> best weights -> run folder
    run folder, files -> predictions -> scores

Nothing here prints: lines for people go to ``report``, results are returned.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from charseq import __version__
from charseq.config import Config, configure, defaults
from charseq.data import census, corpus, statistics
from charseq.data import pairs as examples
from charseq.data.corpus import choose_task
from charseq.errors import CheckpointError, Interrupted, SettingError, UsageError
from charseq.inference.language_model import LanguageModel
from charseq.inference.loading import read_run, shapes_of
from charseq.inference.predictor import load
from charseq.process import Hurried, stopping
from charseq.runs.folder import find, is_finished, lock
from charseq.runs.training_state import Progress, Run, due
from charseq.training import ensemble, next_word, pairs
from charseq.training.distillation import attend, teacher_of
from charseq.training.next_word import Sentences
from charseq.training.pairs import Pairs
from charseq.training.report import bar, describe_calibration, describe_run, describe_scores

if TYPE_CHECKING:
    import signal

    from charseq.inference.predictor import Model
    from charseq.training.trainer import Trainer

Report = Callable[[str], None]
Watch = Callable[[Progress], None]
Lesson = Pairs | Sentences

MOST_SCORING = 0.06
"""Share of a wall-clock budget for scoring the dev split; where it is spent, one is left out."""


def silent(_line: str) -> None:
    """A report that nobody reads."""


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
    config = settled(data, config)
    if config.device == "cuda" and not dry_run:  # say that there is none before all is read
        from charseq.models.device import choose_device

        choose_device(config.device)
    lesson = lesson_of(data, config, init_from)
    teacher = teacher_of(distil_from, unlabelled, best=config.teacher_best)
    if teacher is not None and isinstance(lesson, Sentences):
        raise UsageError("--distil-from is for pairs, these data are text")
    folder = Path(run) if run else Path("checkpoints") / lesson.name
    for line in lesson.describe():
        report(line)
    if dry_run:
        return {"run": str(folder), "seconds": time.monotonic() - started, "epochs": 0}
    with lock(folder):
        journal = Run(folder, lesson.about)
        if force:
            journal.forget()
        elif not journal.can_resume() and is_finished(folder):
            what = "is finished already: --force trains it anew, -o names another folder"
            raise CheckpointError(what, path=folder)
        if teacher is not None and isinstance(lesson, Pairs):
            began = time.monotonic()
            attend(lesson, teacher, journal, report=report)
            started += time.monotonic() - began
        if config.ensemble > 1 and isinstance(lesson, Pairs):
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


def settled(data: str | Path, config: Config | None) -> Config:
    """``config``, else the defaults with what the data's folder says; its task is found out."""
    if config is None:
        settings = examples.settings_of(data)
        task = choose_task(data, settings.get("task", "auto"))
        base = defaults(task, settings.get("cell", ""))
        config = configure({**settings, "task": task}, base=base)
    return replace(config, task=choose_task(data, config.task))


def lesson_of(data: str | Path, config: Config, init_from: str | Path | None) -> Lesson:
    """What is to be learnt. Raises SettingError for an ensemble that predicts words."""
    if config.task != "next-word":
        return Pairs(data, config, init_from)
    if config.ensemble > 1:
        raise SettingError("ensembles are for pairs, these data are text")
    return Sentences(data, config, init_from)


def learn(
    lesson: Lesson,
    journal: Run,
    started: float,
    *,
    report: Report,
    progress: bool = False,
    watch: Watch | None = None,
) -> None:
    """Train one model, from its last state if there is one.

    Where memory is short the batch is halved, at most five times.

    Raises:
        TrainingError: memory is short even so.
    """
    from charseq.models.device import is_out_of_memory

    state, since, trainer = journal.resume(report), journal.progress, None
    while True:
        try:
            trainer = lesson.trainer(since.halved)
            journal.require_space(trainer.weights.numel())
            if state is not None:
                trainer.restore(state)
                report(f"resume     at step {trainer.number:,}, {since.seconds:.0f} s spent")
            fit(lesson, trainer, journal, started, report=report, progress=progress, watch=watch)
        except (MemoryError, RuntimeError) as fault:
            if trainer is None or not is_out_of_memory(fault):
                raise
            short = str(fault).split("\n")[0][:200]
        else:
            return
        # not before the fault is gone, which holds on to all that the step had made
        size, state = journal.halve(lesson.config.batch_size, trainer.state, short)
        trainer = None  # before the next one needs its memory
        report(f"memory     is short: from now on batches of {size}")


def _calibrate(lesson: Lesson, journal: Run, report: Report) -> None:
    """Let the run say what its probabilities are worth, where its family can tell."""
    if isinstance(lesson, Pairs):
        journal.about |= lesson.calibrate(journal.best)
        for line in describe_calibration(journal.about):
            report(line)


def fit(
    lesson: Lesson,
    trainer: Trainer,
    journal: Run,
    started: float,
    *,
    report: Report,
    progress: bool,
    watch: Watch | None = None,
) -> None:
    """Train to the end of the budget, which counts from ``started``; save on the way.

    Raises:
        Interrupted: a signal asked to stop; the state is saved.
    """
    from charseq.models.device import Pace, choose_threads

    config, state = lesson.config, journal.progress
    total = config.epochs * len(trainer.batches)
    begin = started - state.seconds
    saved = time.monotonic()
    if not trainer.number:
        state.prepared = saved - begin
    left = 60 * config.minutes - state.prepared

    def done(step: int) -> float:
        if total or not step:  # however small the budget, there is a first step
            return step / max(total, 1)
        return (time.monotonic() - begin - state.prepared) / left if left > 0 else 1.0

    pace = Pace(1 if total else choose_threads(config.threads))
    loss, scored_at = None, -1
    with stopping() as stop, bar(shown=progress) as show:
        score = partial(_score, lesson, trainer, journal, report=report, hurry=stop.hurrying)
        if state.pending is not None:
            better = score(min(done(trainer.number), 1.0), state.pending["loss"])
            _keep(trainer, journal, stop(), better=better)
            scored_at = trainer.number
        for step in trainer.steps(done):
            now, loss = min(done(step.number), 1.0), step.loss
            show(now, step)
            pace.note(step.examples)
            state.seconds, state.epochs = time.monotonic() - begin, step.epoch
            better = False
            if _is_due(now, state, config, ruled=bool(total)):
                better, scored_at = score(now, loss), step.number
            asked = stop()
            if scored_at == step.number or asked or time.monotonic() - saved >= config.save_seconds:
                _keep(trainer, journal, asked, better=better)
                saved = time.monotonic()
            if watch is not None and scored_at == step.number and now < 1.0:
                watch(state)
        state.seconds = time.monotonic() - begin
        if scored_at != trainer.number:  # the clock ran out during a save, or before a resume
            better = score(1.0, loss)
            if stop():
                _keep(trainer, journal, stop(), better=better)


def _is_due(now: float, state: Progress, config: Config, *, ruled: bool) -> bool:
    """Whether to score after this step; ``ruled`` by steps alone, or by the clock as well."""
    affordable = ruled or now == 1.0 or state.scoring <= MOST_SCORING * state.seconds
    return affordable and now >= due(state.evaluations, config.evaluations)


def _keep(trainer: Trainer, journal: Run, asked: signal.Signals | None, *, better: bool) -> None:
    """Save. Raises Interrupted where a signal has asked to stop."""
    journal.save(trainer.state(), better=better)
    if asked:
        raise Interrupted(
            f"stopped by {asked.name} after step {trainer.number:,}; what was learnt is in "
            f"{journal.folder}, and the same command (without --force) goes on from there",
            signal_number=asked,
        )


def evaluate(
    data: str | Path,
    *,
    model: Model | LanguageModel | None = None,
    split: str | None = None,
    beam: int | None = None,
    errors: str | Path | None = None,
) -> dict[str, Any]:
    """Score ``model`` on a split of ``data``; its columns are read as in the model's training.

    Args:
        data: a folder or one file; its ``charseq.toml`` goes before the model's settings.
        model: from :func:`charseq.load`; by default the run that ``load`` chooses.
        split: train, dev, test, or all. By default test, or every row of one file, if it is not
            the file that the model was trained on.
        beam: width of the beam; by default the model's.
        errors: a file for the wrong rows: source, prediction, references, by tabs.

    Returns:
        run, parameters, seconds (of training), epochs, data, split, signature, and the scores:
        see :func:`charseq.training.pairs.evaluate` and :func:`charseq.training.next_word.evaluate`.
    """
    model = load() if model is None else model
    if isinstance(model, LanguageModel):
        if beam is not None or errors is not None:
            raise UsageError("beam and errors are for runs of pairs; this run predicts words")
        return next_word.evaluate(model, data, split=split, version=__version__)
    return pairs.evaluate(model, data, split=split, beam=beam, errors=errors, version=__version__)


def compare(
    data: str | Path,
    *,
    models: tuple[Model | LanguageModel, Model | LanguageModel],
    split: str | None = None,
    beam: int | None = None,
) -> dict[str, Any]:
    """Score two models of pairs on the same rows of ``data``, and tell which is better.

    Without ``split`` as in :func:`evaluate`; test, if ``data`` is one file that either was
    trained on. ``beam`` is by default each model's own.

    Returns:
        what :func:`charseq.training.pairs.compare` returns.

    Raises:
        UsageError: the same run twice, a run of sentences, or features in only one of the runs.
    """
    first, second = models
    if first.path.resolve() == second.path.resolve():
        raise UsageError(f"{first.path} is given twice, expected two runs to compare")
    if isinstance(first, LanguageModel) or isinstance(second, LanguageModel):
        words = first if isinstance(first, LanguageModel) else second
        raise UsageError(f"runs of pairs can be compared; {words.path} predicts words")
    return pairs.compare(first, second, data, split=split, beam=beam, version=__version__)


def check(data: str | Path, *, config: Config | None = None) -> statistics.Report | census.Report:
    """Counts, inventories, duplicates, contradictions, leakage and odd characters of ``data``.

    Of text, which has no pairs: counts, duplicates, leakage and the words that are not known.
    """
    config = config or defaults(choose_task(data))
    if choose_task(data, config.task) == "next-word":
        return census.inspect(
            corpus.load(data, running=config.running),
            case=config.case,
            punctuation=config.punctuation,
            limit=config.word_limit,
            min_count=config.min_count,
            form=config.target_form,
        )
    dataset = examples.load(
        data,
        columns=config.columns,
        header=config.header,
        feature_separator=config.feature_separator,
    )
    return statistics.inspect(dataset, feature_separator=config.feature_separator)


def info(run: str | Path | None = None) -> tuple[dict[str, Any], list[str]]:
    """What a run says of itself, with the shapes of its weights, and the same in lines."""
    about = read_run(find(run)).about
    shapes = {name: list(shape) for name, shape in shapes_of(about).items()}
    return {**about, "shapes": shapes}, describe_run(about)


def _score(
    lesson: Lesson,
    trainer: Trainer,
    journal: Run,
    now: float,
    loss: float | None,
    *,
    report: Report,
    hurry: Callable[[], AbstractContextManager[None]],
) -> bool:
    """Score the averaged weights on dev; keep them if they are the best.

    Where a signal asks to stop meanwhile, that waits until a resumed run begins with it.
    """
    config, state, begun = lesson.config, journal.progress, time.monotonic()
    state.pending = {"loss": loss if loss is None or math.isfinite(loss) else None}
    weights = lesson.publish(trainer.averaged())
    try:
        with hurry():
            scores = lesson.score(weights)
    except Hurried:
        return False
    state.pending = None
    better = not state.scores or lesson.rank(scores) > lesson.rank(state.scores)
    if better:
        state.scores, journal.best = scores, dict(weights)
    state.evaluations += 1
    while now >= due(state.evaluations, config.evaluations):  # several fell into one step
        state.evaluations += 1
    state.scoring += time.monotonic() - begun
    line = {"step": trainer.number, "epoch": state.epochs, "seconds": state.seconds, "loss": loss}
    journal.record({"evaluation": state.evaluations, **line, **scores})
    journal.keep(weights, config.keep)
    report(describe_scores(now, state, loss, lesson.tell(scores), best=better))
    return better
