"""Finished trials -> next settings to try: an Optuna study in one SQLite file.

Settings are proposed by the tree-structured Parzen estimator (Bergstra et al. 2011) of Optuna
(Akiba et al. 2019); the first few are drawn at random. A trial is pruned when its best value so
far is worse than the median of the other trials at the same evaluation.

The proposal for trial n is a function of the seed, n, and the trials before it: the sampler is
made anew for each trial, and none of its state is kept. So a search that was killed in trial n
proposes the same settings again. Optuna counts the killed trial as failed; it has no notes and
does not count here. This module needs Optuna, an extra, from its first line on: callers check
that Optuna is installed, then import it.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from charseq.errors import CheckpointError
from charseq.training.tuning.space import Space, contains, rounded

RANDOM_TRIALS = 8
"""Trials that are drawn at random before the estimator starts, the first trial included."""
UNPRUNED_TRIALS = 4
"""Trials that must be complete before any is pruned."""
COMPARED_TRIALS = 3
"""Complete trials that must have made an evaluation before a trial is pruned there."""
_STUDY = "charseq"
_CONDITIONS, _NUMBER, _NOTES = "begun", "number", "notes"
"""Keys of Optuna's user attributes in the file."""


@dataclass(frozen=True)
class FinishedTrial:
    """Number, from 1, and settings of a trial; ``value`` is None after pruning or failure."""

    number: int
    settings: dict[str, Any]
    value: float | None
    notes: dict[str, Any]


@contextmanager
def open_search(
    path: Path, space: Space, *, seed: int, minimize: bool, warmup: int
) -> Iterator[Search]:
    """The search in the SQLite file ``path``, which is created if it does not exist.

    Args:
        path: the SQLite file.
        space: the search space.
        seed: seed of every proposal.
        minimize: whether the smallest value is the best; otherwise the largest.
        warmup: evaluations of a trial before it may be pruned.

    Raises:
        CheckpointError: at once or inside the context: the file is damaged, of another program,
            or cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = None
    try:
        try:
            # a connection instead of a URL, where ? and % in a path would have a meaning
            connect = {"creator": lambda: sqlite3.connect(path)}
            storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs=connect)
        except RuntimeError as error:  # the tables of another version
            raise CheckpointError(_damage(error), path=path) from error
        study = optuna.create_study(
            storage=storage,
            study_name=_STUDY,
            load_if_exists=True,
            direction=StudyDirection.MINIMIZE if minimize else StudyDirection.MAXIMIZE,
            pruner=optuna.pruners.MedianPruner(
                UNPRUNED_TRIALS, warmup, n_min_trials=COMPARED_TRIALS
            ),
        )
        yield Search(study, space, seed=seed)
    except (SQLAlchemyError, sqlite3.Error, optuna.exceptions.OptunaError) as error:
        raise CheckpointError(_damage(error), path=path) from error
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


class Search:
    """An Optuna study whose trials are numbered from 1; see :func:`open_search`."""

    def __init__(self, study: optuna.Study, space: Space, *, seed: int) -> None:
        self._study = study
        self._space = space
        self._seed = seed
        self._sign = 1 if study.direction is StudyDirection.MINIMIZE else -1

    @property
    def conditions(self) -> dict[str, Any] | None:
        """Data, settings and ranges of the search as they were stored; None for a new search."""
        return self._study.user_attrs.get(_CONDITIONS)

    def store_conditions(self, conditions: Mapping[str, Any]) -> None:
        """Store, in JSON values, what every call of the search must have in common."""
        self._study.set_user_attr(_CONDITIONS, dict(conditions))

    def finished(self) -> list[FinishedTrial]:
        """The finished trials in their order."""
        found = self._study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
        return [
            FinishedTrial(
                number=trial.user_attrs[_NUMBER],
                settings=self._settings(trial.params),
                value=trial.value if trial.state is TrialState.COMPLETE else None,
                notes=trial.user_attrs[_NOTES],
            )
            for trial in found
            if {_NUMBER, _NOTES} <= trial.user_attrs.keys()
        ]

    def ranked(self) -> list[FinishedTrial]:
        """The finished trials, best value first, then those without a value; ties in order."""
        return sorted(
            self.finished(),
            key=lambda trial: (trial.value is None, self._sign * (trial.value or 0.0)),
        )

    def best(self) -> FinishedTrial | None:
        """The trial with the best value, of equals the first; None without a value."""
        return next((trial for trial in self.ranked() if trial.value is not None), None)

    def is_best(self, value: float) -> bool:
        """Whether a value is better than that of every finished trial."""
        best = self.best()
        return math.isfinite(value) and (
            best is None or self._sign * value < self._sign * (best.value or 0.0)
        )

    def ask(self, number: int, first: Mapping[str, Any]) -> RunningTrial:
        """Begin trial ``number``, from 1.

        Trial 1 has the settings ``first``; those outside of their ranges are drawn. A trial that
        a killed process left is begun again with the same settings.
        """
        known = {name: first[name] for name, distribution in self._space.items()
                 if number == 1 and contains(distribution, first[name])}  # fmt: skip
        for left in self._study.get_trials(states=(TrialState.RUNNING,)):
            self._study.tell(left.number, state=TrialState.FAIL)
            known = left.params if left.params.keys() == self._space.keys() else known
        # a process killed between enqueue_trial and ask has left the settings of this trial
        if known and not self._study.get_trials(states=(TrialState.WAITING,)):
            self._study.enqueue_trial(known)
        state = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=state, n_startup_trials=RANDOM_TRIALS)
        trial = self._study.ask(dict(self._space))
        trial.set_user_attr(_NUMBER, number)
        return RunningTrial(self._study, trial, number, self._settings(trial.params))

    def _settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Drawn parameters -> settings: rounded, in the order of the search space."""
        return {
            name: rounded(distribution, params[name]) for name, distribution in self._space.items()
        }


class RunningTrial:
    """A trial that is being trained: its number, from 1, and its settings."""

    def __init__(
        self, study: optuna.Study, trial: optuna.Trial, number: int, settings: dict[str, Any]
    ) -> None:
        self.number = number
        self.settings = settings
        self._study = study
        self._trial = trial
        self._reported: set[int] = set()

    def should_prune(self, evaluation: int, value: float) -> bool:
        """Report the value at an evaluation, from 1; whether to prune the trial there.

        A second report of the same evaluation is ignored.
        """
        if evaluation in self._reported:
            return False
        self._reported.add(evaluation)
        self._trial.report(value, evaluation)
        return self._trial.should_prune()

    def tell(self, value: float | None, notes: Mapping[str, Any]) -> None:
        """Finish the trial, with a value or without; ``notes`` are JSON values."""
        self._trial.set_user_attr(_NOTES, dict(notes))
        if value is None or not math.isfinite(value):
            self._study.tell(self._trial, state=TrialState.PRUNED)
        else:
            self._study.tell(self._trial, value)


def _damage(error: BaseException) -> str:
    reason = str(error.__cause__ or error).split("\n")[0]
    return f"is damaged, or cannot be used: {reason}; --force begins anew"
