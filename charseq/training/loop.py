"""Task, training state -> trained weights: the training loop with its clock, scores and saves.

A :class:`Task` says what is learnt and how that is scored. :func:`learn` trains it from its last
state to the end of the budget, and knows no kind of task: a further kind is a further class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from charseq.config import Config
from charseq.errors import CheckpointError, Interrupted, TrainingError, argument
from charseq.process import SignalReceived, WorkClock, catch_signals, return_memory
from charseq.runs.training_state import Progress, TrainingState, due
from charseq.training.callbacks.protocol import Callback, tell
from charseq.training.report import Speed, describe_scores, progress_bar

if TYPE_CHECKING:
    import signal

    import numpy as np

    from charseq.training.distillation import Student
    from charseq.training.trainer import Step, Trainer

    Weights = Mapping[str, np.ndarray]

Report = Callable[[str], None]
Watch = Callable[[Progress], None]

CALMER = f"begin anew with {argument('force', True)} and a lower {argument('learning_rate', 0.001)}"
MAX_SCORING_SHARE = 0.06
"""Share of the minutes for scoring dev; evaluations are left out where it is spent."""


class Task(Protocol):
    """A kind of training on some data, before, during and after.

    The functions of this module need ``config``, ``trainer``, ``publish``, ``score``, ``rank`` and
    ``summary``; :func:`charseq.training.train.train` needs all. A class that
    :func:`charseq.training.train.task_type` chooses also has ``may_ensemble`` (whether there are
    ensembles of it), ``of_run`` (the task of a trained run again), and for a search over settings
    ``objective`` and ``minimize``.
    """

    config: Config
    """The settings, as far as they are resolved before training."""
    name: str
    """The name of the data, by default that of the run folder."""

    @property
    def metadata(self) -> dict[str, Any]:
        """The contents of the run's about.json that are known before training."""

    def describe(self) -> list[str]:
        """Lines for people: the data as understood."""

    def student(self) -> Student:
        """The task as one that can learn from a teacher's labels.

        Raises:
            UsageError: this kind of task cannot.
        """

    def trainer(self, halvings: int = 0) -> Trainer:
        """The trainer before its first step; its batch size is halved ``halvings`` times."""

    def publish(self, weights: Weights) -> Weights:
        """The trainer's weights as the run keeps them, in arrays of their own."""

    def score(self, weights: Weights) -> dict[str, float]:
        """The dev scores of published weights."""

    def rank(self, scores: Mapping[str, float]) -> tuple[float, ...]:
        """A key for sorting by quality: the higher is the better."""

    def summary(self, scores: Mapping[str, float]) -> str:
        """Dev scores in a few words."""

    def calibrate(self, weights: Weights, report: Callable[[str], None]) -> dict[str, Any]:
        """Metadata on the calibration of probabilities by dev; empty without.

        ``report`` gets a line with the reason where a task that calibrates has none.
        """

    def evaluate(self, model: Any, *, version: str) -> dict[str, Any]:
        """The evaluation of the finished model on the dev split."""


def silent(_line: str) -> None:
    """A report that is thrown away."""


def learn(
    task: Task,
    state: TrainingState,
    clock: WorkClock,
    *,
    report: Report,
    progress: bool = False,
    watch: Watch | None = None,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train one model, from its last state if there is one.

    The budget counts by ``clock``, to which the seconds of the processes before this one are
    added. Where memory is short the batch size is halved, at most five times.

    Raises:
        CheckpointError: the run was begun with other settings or other data, or the disk or a
            file of a run cannot take its state.
        TrainingError: memory is short, whatever the batch size, or no scores were finite.
    """
    from charseq.models.device import is_out_of_memory

    trainer, arrays = _resumed(task, state, report), None
    so_far = state.progress
    clock.add(so_far.seconds)
    if trainer is not None:
        report(f"resume     at step {trainer.number:,}, {so_far.seconds:.0f} s spent")
    while True:
        try:
            if trainer is None:
                trainer = task.trainer(so_far.halved)
                if arrays is not None:
                    trainer.restore(arrays)
            state.require_space(trainer.weights.numel())
            fit(
                task, trainer, state, clock, report=report, progress=progress, watch=watch,
                callbacks=callbacks,
            )  # fmt: skip
        except (MemoryError, RuntimeError) as fault:
            if trainer is None or not is_out_of_memory(fault):
                raise
            short = str(fault).split("\n")[0][:200]
        else:
            break
        # outside of the handler: the exception holds references to the tensors of the step
        size, arrays = state.halve(task.config.batch_size, trainer.state, short)
        trainer = None  # before the next trainer needs its memory
        report(f"memory     is short: from now on batches of {size}")
    if not so_far.scores:
        raise TrainingError(
            f"no evaluation had finite scores, so there is no model to keep; {CALMER}"
        )


def _resumed(task: Task, state: TrainingState, report: Report) -> Trainer | None:
    """The trainer in the newest sound state of the run folder; None where there is none."""
    trainer: Trainer | None = None

    def restore(arrays: Weights, best: Weights, so_far: Progress) -> None:
        nonlocal trainer
        trainer = None  # before the next trainer needs its memory
        restored = task.trainer(so_far.halved)
        restored.restore(arrays)
        if so_far.scores:
            _check_best(task, task.publish(restored.averaged(copied=False)), best, so_far.scores)
        trainer = restored

    return trainer if state.resume(report, restore) is not None else None


def _check_best(task: Task, like: Weights, best: Weights, scores: Mapping[str, float]) -> None:
    """Raise CheckpointError where the best weights or their scores are not those of the task."""
    expected, found = ({name: one.shape for name, one in part.items()} for part in (like, best))
    if found != expected:
        raise CheckpointError("is damaged: its best weights are not those of this network")
    try:
        task.rank(scores)
    except (LookupError, TypeError):
        raise CheckpointError("is damaged: its scores are not those of this task") from None


def fit(
    task: Task,
    trainer: Trainer,
    state: TrainingState,
    clock: WorkClock,
    *,
    report: Report,
    progress: bool,
    watch: Watch | None = None,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train to the end of the budget, which counts by ``clock``; save on the way.

    Raises:
        Interrupted: a signal asked to stop; the state is saved.
    """
    from charseq.training.parallel.pace import pace_of

    config, so_far = task.config, state.progress
    total = config.epochs * len(trainer.batches)
    saved = clock()
    if not trainer.number:
        so_far.prepared = saved
    left = 60 * config.minutes - so_far.prepared

    def done(step: int) -> float:
        if total or not step:  # however small the budget, there is a first step
            return step / max(total, 1)
        return (clock() - so_far.prepared) / left if left > 0 else 1.0

    pace = pace_of(trainer.group, config, clock, report)
    loss, scored_at, speed = None, -1, Speed(clock, report)
    with (
        catch_signals() as stop,
        progress_bar(clock, shown=progress) as show,
        trainer.group or nullcontext(),
    ):
        score = partial(
            _score, task, trainer, state, clock, report=report, interruptible=stop.interruptible,
            callbacks=callbacks,
        )  # fmt: skip
        if so_far.pending is not None:
            better = score(min(done(trainer.number), 1.0), so_far.pending["loss"])
            _save(trainer, state, stop(), better=better)
            scored_at = trainer.number
        trainer.interruptible = stop.interruptible
        for step in _until_signal(trainer.steps(done)):
            now, loss = min(done(step.number), 1.0), step.loss
            show(now, step)
            tell(callbacks, "step", step)
            pace.note(step.examples)
            speed.note(step, now)
            so_far.seconds, so_far.epochs = clock(), step.epoch
            better = False
            if _is_due(now, so_far, config, by_steps=bool(total)):
                better, scored_at = score(now, loss), step.number
            asked = stop()
            if scored_at == step.number or asked or clock() - saved >= config.save_seconds:
                _save(trainer, state, asked, better=better)
                saved = clock()
            if watch is not None and scored_at == step.number and now < 1.0:
                watch(so_far)
        so_far.seconds = clock()
        if stop() and done(trainer.number) < 1.0:  # within a step, which a resumed run begins anew
            _save(trainer, state, stop(), better=False)
        if scored_at != trainer.number:  # the clock ran out during a save, or before a resume
            better = score(1.0, loss)
            if stop():
                _save(trainer, state, stop(), better=better)


def _until_signal(steps: Iterator[Step]) -> Iterator[Step]:
    """The steps up to one that a signal ended, however long it would have taken."""
    with suppress(SignalReceived):
        yield from steps


def _is_due(now: float, so_far: Progress, config: Config, *, by_steps: bool) -> bool:
    """Whether to score after this step: by the steps alone, or by the time spent as well."""
    affordable = by_steps or now == 1.0 or so_far.scoring <= MAX_SCORING_SHARE * so_far.seconds
    return affordable and now >= due(so_far.evaluations, config.evaluations)


def _save(
    trainer: Trainer, state: TrainingState, asked: signal.Signals | None, *, better: bool
) -> None:
    """Save. Raises Interrupted where a signal has asked to stop."""
    state.save(trainer.state(copied=False), better=better)  # copies may take much memory
    if asked:
        raise Interrupted(
            f"stopped by {asked.name} after step {trainer.number:,}; what was learnt is in "
            f"{state.folder}, and the same training (without {argument('force', True)}) goes on "
            "from there",
            signal_number=asked,
        )


def _score(
    task: Task,
    trainer: Trainer,
    state: TrainingState,
    clock: WorkClock,
    now: float,
    loss: float | None,
    *,
    report: Report,
    interruptible: Callable[[], AbstractContextManager[None]],
    callbacks: Sequence[Callback],
) -> bool:
    """Score the averaged weights on dev, keep them if they are the best, and say whether.

    A signal ends the evaluation unfinished; it stays pending, and a resumed run begins with it.
    """
    from charseq.training.trainer import schedule

    config, so_far, begun = task.config, state.progress, clock()
    trainer.free_gradient()  # the memory of the steps, before scoring needs its own
    return_memory()
    so_far.pending = {"loss": loss if loss is None or math.isfinite(loss) else None}
    weights = task.publish(trainer.averaged(copied=False))
    try:
        with interruptible():
            scores = task.score(weights)
    except SignalReceived:
        return False
    so_far.pending = None
    finite = all(map(math.isfinite, scores.values()))
    better = finite and (not so_far.scores or task.rank(scores) > task.rank(so_far.scores))
    if better:
        so_far.scores, state.best = scores, dict(weights)
    so_far.evaluations += 1
    while now >= due(so_far.evaluations, config.evaluations):  # several fell into one step
        so_far.evaluations += 1
    so_far.scoring += clock() - begun
    line = {
        "step": trainer.number, "epoch": so_far.epochs, "seconds": so_far.seconds, "loss": loss,
        "learning_rate": config.learning_rate * schedule(now, config.warmup),
    }  # fmt: skip
    state.record({"evaluation": so_far.evaluations, **line, **scores})
    state.keep(weights, config.keep_checkpoints)
    tell(callbacks, "evaluation", {**so_far.metrics[-1], "best": better})
    report(describe_scores(now, so_far, loss, task.summary(scores), best=better))
    return better
