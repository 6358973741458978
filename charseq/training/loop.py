"""task, training state -> trained weights: the loop between saving, scoring and the clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

from charseq.config import Config
from charseq.errors import Interrupted
from charseq.process import SignalReceived, catch_signals
from charseq.runs.training_state import Progress, TrainingState, due
from charseq.training.report import bar, describe_scores

if TYPE_CHECKING:
    import signal

    from charseq.training.train import Lesson
    from charseq.training.trainer import Trainer

Report = Callable[[str], None]
Watch = Callable[[Progress], None]

MOST_SCORING = 0.06
"""Share of a wall-clock budget for scoring the dev split; where it is spent, one is left out."""


def silent(_line: str) -> None:
    """A report that nobody reads."""


def learn(
    lesson: Lesson,
    journal: TrainingState,
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


def fit(
    lesson: Lesson,
    trainer: Trainer,
    journal: TrainingState,
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
    with catch_signals() as stop, bar(shown=progress) as show:
        score = partial(
            _score, lesson, trainer, journal, report=report, interruptible=stop.interruptible
        )
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


def _keep(
    trainer: Trainer, journal: TrainingState, asked: signal.Signals | None, *, better: bool
) -> None:
    """Save. Raises Interrupted where a signal has asked to stop."""
    journal.save(trainer.state(), better=better)
    if asked:
        raise Interrupted(
            f"stopped by {asked.name} after step {trainer.number:,}; what was learnt is in "
            f"{journal.folder}, and the same command (without --force) goes on from there",
            signal_number=asked,
        )


def _score(
    lesson: Lesson,
    trainer: Trainer,
    journal: TrainingState,
    now: float,
    loss: float | None,
    *,
    report: Report,
    interruptible: Callable[[], AbstractContextManager[None]],
) -> bool:
    """Score the averaged weights on dev; keep them if they are the best.

    Where a signal asks to stop meanwhile, that waits until a resumed run begins with it.
    """
    config, state, begun = lesson.config, journal.progress, time.monotonic()
    state.pending = {"loss": loss if loss is None or math.isfinite(loss) else None}
    weights = lesson.publish(trainer.averaged())
    try:
        with interruptible():
            scores = lesson.score(weights)
    except SignalReceived:
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
