"""what was tried -> what to try next: the trials of a search, in one SQLite file.

It knows neither what is trained nor what the values mean. The only room with Optuna (Akiba et al.
2019), an extra that is loaded when a search is opened. What is proposed is drawn by the
tree-structured Parzen estimator (Bergstra et al. 2011), the first few trials at random. A trial
is given up half-way if its best value so far is worse than the median of the others' at the same
evaluation.

The proposal for trial n is a function of the seed, n, and the trials before it. So a search that
was killed in trial n proposes the same again, and nothing of the sampler's state is kept. What a
killed process left is a trial without an end: it does not count.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.errors import CheckpointError, MissingExtraError
from charseq.training.tuning.space import Choice, Range, Space

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

AT_RANDOM = 8
"""Trials drawn at random before anything is inferred from them, the first one included."""
NEVER_GIVEN_UP = 4
"""Trials that come to their ends before any is given up."""
MOST_COMPARED = 3
"""At an evaluation that fewer trials have made, none is given up."""
_NAME = "charseq"
_BEGUN, _NUMBER, _NOTES = "begun", "number", "notes"


@dataclass(frozen=True)
class Trial:
    """A trial that has ended. ``value`` is None where it was given up, or failed."""

    number: int
    settings: dict[str, Any]
    value: float | None
    notes: dict[str, Any]


def require_optuna() -> None:
    """Raises MissingExtraError without Optuna: before the work, not after it."""
    if find_spec("optuna") is None:
        raise MissingExtraError("optuna", "tune", "searching for settings")


@contextmanager
def opened(
    path: Path, space: Space, *, seed: int, smallest: bool, patience: int
) -> Iterator[Search]:
    """The search in ``path``, which is made if it is not there.

    Args:
        path: the SQLite file.
        space: what is searched.
        seed: of every proposal.
        smallest: whether the smallest value is the best; otherwise the largest.
        patience: evaluations of a trial before it may be given up.

    Raises:
        CheckpointError: here or later: the file is damaged, foreign, or cannot be written.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    faults = (SQLAlchemyError, sqlite3.Error, optuna.exceptions.OptunaError)
    storage = None
    try:
        try:
            # by a connection and not by an address, in which ? and % would have a meaning
            how = {"creator": lambda: sqlite3.connect(path)}
            storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs=how)
        except RuntimeError as error:  # the tables of another version
            raise CheckpointError(_damage(error), path=path) from error
        study = optuna.create_study(
            storage=storage,
            study_name=_NAME,
            load_if_exists=True,
            direction="minimize" if smallest else "maximize",
            pruner=optuna.pruners.MedianPruner(
                NEVER_GIVEN_UP, patience, n_min_trials=MOST_COMPARED
            ),
        )
        yield Search(study, space, seed=seed, sign=1 if smallest else -1)
    except faults as error:
        raise CheckpointError(_damage(error), path=path) from error
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


class Search:
    """The trials of one search; see :func:`opened`."""

    def __init__(self, study: optuna.Study, space: Space, *, seed: int, sign: int) -> None:
        self._study = study
        self._axes = {name: _distribution(axis) for name, axis in space.items()}
        self._space = space
        self._seed = seed
        self._sign = sign

    @property
    def begun(self) -> dict[str, Any] | None:
        """With what the search was begun, as it was noted; None for a new one."""
        return self._study.user_attrs.get(_BEGUN)

    def note(self, begun: Mapping[str, Any]) -> None:
        """Note, in JSON values, with what the search is begun."""
        self._study.set_user_attr(_BEGUN, dict(begun))

    def ended(self) -> list[Trial]:
        """The trials that have ended, in their order."""
        from optuna.trial import TrialState

        found = self._study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
        trials = [
            Trial(
                number=one.user_attrs[_NUMBER],
                settings=self._plain(one.params),
                value=one.value if one.state is TrialState.COMPLETE else None,
                notes=one.user_attrs[_NOTES],
            )
            for one in found
            if {_NUMBER, _NOTES} <= one.user_attrs.keys()
        ]
        return sorted(trials, key=lambda trial: trial.number)

    def ranked(self) -> list[Trial]:
        """Those that have ended, the best value first, of equals the first; then without value."""
        return sorted(
            self.ended(),
            key=lambda trial: (trial.value is None, self._sign * (trial.value or 0.0)),
        )

    def best(self) -> Trial | None:
        """The trial with the best value; None where there is no value."""
        first = self.ranked()[:1]
        return first[0] if first and first[0].value is not None else None

    def beats(self, value: float) -> bool:
        """Whether a value is better than that of every trial that has ended."""
        best = self.best()
        return math.isfinite(value) and (
            best is None or self._sign * value < self._sign * (best.value or 0.0)
        )

    def begin(self, number: int, first: Mapping[str, Any]) -> Attempt:
        """Begin trial ``number``, from 1; the settings to try ``first`` are those of trial 1.

        Of those, what lies outside of its range is drawn.
        """
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        known = {name: first[name] for name, axis in self._space.items()
                 if number == 1 and axis.holds(first[name])}  # fmt: skip
        left = self._study.get_trials(states=(TrialState.RUNNING,))
        for one in left:
            self._study.tell(one.number, state=TrialState.FAIL)
            known = one.params if one.params.keys() == self._axes.keys() else known
        state = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = TPESampler(seed=state, n_startup_trials=AT_RANDOM)
        # what a killed process has laid ready is for this trial
        if known and not self._study.get_trials(states=(TrialState.WAITING,)):
            self._study.enqueue_trial(known)
        trial = self._study.ask(self._axes)
        trial.set_user_attr(_NUMBER, number)
        return Attempt(self._study, trial, number, self._plain(trial.params))

    def _plain(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """The settings as they are tried: with no more digits than matter, in the space's order."""
        axes = self._space.items()
        return {
            name: axis.plain(drawn[name]) if isinstance(axis, Range) else drawn[name]
            for name, axis in axes
        }


class Attempt:
    """A trial that runs: its number from 1, and the settings to try."""

    def __init__(
        self, study: optuna.Study, trial: optuna.Trial, number: int, settings: dict[str, Any]
    ) -> None:
        self.number = number
        self.settings = settings
        self._study = study
        self._trial = trial
        self._reported: set[int] = set()

    def is_hopeless(self, evaluation: int, value: float) -> bool:
        """Note the value at an evaluation, from 1; whether to give the trial up there.

        A value that was noted before says nothing new.
        """
        if evaluation in self._reported:
            return False
        self._reported.add(evaluation)
        self._trial.report(value, evaluation)
        return self._trial.should_prune()

    def end(self, value: float | None, notes: Mapping[str, Any]) -> None:
        """The trial has ended, with a value or without; ``notes`` in JSON values."""
        from optuna.trial import TrialState

        self._trial.set_user_attr(_NOTES, dict(notes))
        if value is None or not math.isfinite(value):
            self._study.tell(self._trial, state=TrialState.PRUNED)
        else:
            self._study.tell(self._trial, value)


def _distribution(axis: Choice | Range) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(axis, Choice):
        return CategoricalDistribution(axis.values)
    if axis.whole:
        low, high, step = int(axis.low), int(axis.high), int(axis.step or 1)
        return IntDistribution(low, high, log=axis.log, step=step)
    return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)


def _damage(error: BaseException) -> str:
    reason = str(error.__cause__ or error).split("\n")[0]
    return f"is damaged, or cannot be used: {reason}; --force begins anew"
