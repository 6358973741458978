"""Finished trials -> next settings to try: an Optuna study in memory, fed from the stored trials.

Settings are proposed by the tree-structured Parzen estimator (Bergstra et al. 2011) of Optuna
(Akiba et al. 2019); the first few are drawn at random. A trial is pruned when its best value so
far is worse than the median of the other trials at the same evaluation.

The proposal for trial n is a function of the seed, n, and the trials before it: the sampler is
made anew for each trial, and none of its state is kept. So a search that was killed in trial n
proposes the same settings again, and those that were stored for it already are taken as they are.
This module needs Optuna, an extra, from its first line on: callers check that Optuna is installed,
then import it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from charseq.errors import CheckpointError
from charseq.training.tuning.space import Distribution, Space, contains, rounded
from charseq.training.tuning.storage import ANEW, Outcome, StoredTrial, TrialStorage

RANDOM_TRIALS = 8
"""Trials that are drawn at random before the estimator starts, the first trial included."""
UNPRUNED_TRIALS = 4
"""Trials that must be complete before any is pruned."""
COMPARED_TRIALS = 3
"""Complete trials that must have made an evaluation before a trial is pruned there."""


@dataclass(frozen=True)
class FinishedTrial:
    """Number, from 1, and settings of a trial; ``value`` is None after pruning or failure."""

    number: int
    settings: dict[str, Any]
    value: float | None
    notes: dict[str, Any]
    """State, scores and seconds."""


class Search:
    """An Optuna study whose trials are numbered from 1, and stored as they begin and end."""

    def __init__(
        self, storage: TrialStorage, space: Space, *, seed: int, minimize: bool, warmup: int
    ) -> None:
        """The search that ``storage`` holds, or a new one.

        Args:
            storage: the trials so far.
            space: the search space.
            seed: seed of every proposal.
            minimize: whether the smallest value is the best; otherwise the largest.
            warmup: evaluations of a trial before it may be pruned.

        Raises:
            CheckpointError: values of a stored trial are not in the search space.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._storage = storage
        self._space = space
        self._seed = seed
        self._sign = 1 if minimize else -1
        self._study = optuna.create_study(
            direction=StudyDirection.MINIMIZE if minimize else StudyDirection.MAXIMIZE,
            pruner=optuna.pruners.MedianPruner(
                UNPRUNED_TRIALS, warmup, n_min_trials=COMPARED_TRIALS
            ),
        )
        self._finished: list[FinishedTrial] = []
        for number, trial in enumerate(storage.trials, 1):
            known = self._known(trial, number)
            if trial.outcome is not None:
                self._study.add_trial(known)
                self._add(trial, trial.outcome)

    def _known(self, trial: StoredTrial, number: int) -> FrozenTrial:
        """A stored trial as Optuna has it. Raises CheckpointError for values not of the space."""
        outcome = trial.outcome or Outcome(None, "", {}, 0.0)
        sound = trial.drawn.keys() == self._space.keys() and all(
            _has_type(distribution, trial.drawn[name]) for name, distribution in self._space.items()
        )
        try:
            if not sound:
                raise ValueError
            return create_trial(
                state=TrialState.PRUNED if outcome.value is None else TrialState.COMPLETE,
                value=outcome.value,
                params=dict(trial.drawn),
                distributions=dict(self._space),
                intermediate_values={
                    step: math.nan if value is None else float(value)
                    for step, value in outcome.reported
                },
            )
        except ValueError:  # Optuna checks that the values lie in their ranges
            what = f"is damaged: trial {number} has values outside of the ranges; {ANEW}"
            raise CheckpointError(what, path=self._storage.path) from None

    def _add(self, trial: StoredTrial, outcome: Outcome) -> None:
        settings = self._settings(trial.drawn)
        number = len(self._finished) + 1
        self._finished.append(FinishedTrial(number, settings, outcome.value, outcome.notes))

    def finished(self) -> list[FinishedTrial]:
        """The finished trials in their order."""
        return list(self._finished)

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

        Raises:
            CheckpointError: the trial cannot be stored, or there is no room for it.
        """
        known = {name: first[name] for name, distribution in self._space.items()
                 if number == 1 and contains(distribution, first[name])}  # fmt: skip
        if self._storage.running:
            known = dict(self._storage.running.drawn)
        if known:
            self._study.enqueue_trial(known)
        state = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=state, n_startup_trials=RANDOM_TRIALS)
        trial = self._study.ask(dict(self._space))
        drawn = {
            name: distribution.to_external_repr(distribution.to_internal_repr(trial.params[name]))
            for name, distribution in self._space.items()
        }
        self._storage.begin(drawn)
        return RunningTrial(self, trial, number, self._settings(drawn))

    def end(self, trial: optuna.Trial, outcome: Outcome) -> None:
        """Store the outcome of the running trial; see :meth:`RunningTrial.tell`."""
        self._storage.end(outcome)
        self._add(self._storage.trials[-1], outcome)
        if outcome.value is None:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, outcome.value)

    def _settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Drawn parameters -> settings: rounded, in the order of the search space."""
        return {
            name: rounded(distribution, params[name]) for name, distribution in self._space.items()
        }


class RunningTrial:
    """A trial that is being trained: its number, from 1, and its settings."""

    def __init__(
        self, search: Search, trial: optuna.Trial, number: int, settings: dict[str, Any]
    ) -> None:
        self.number = number
        self.settings = settings
        self._search = search
        self._trial = trial
        self._reported: dict[int, float] = {}

    def should_prune(self, evaluation: int, value: float) -> bool:
        """Report the value at an evaluation, from 1; whether to prune the trial there.

        A second report of the same evaluation is ignored.
        """
        if evaluation in self._reported:
            return False
        self._reported[evaluation] = value if math.isfinite(value) else math.nan
        self._trial.report(self._reported[evaluation], evaluation)
        return self._trial.should_prune()

    def tell(self, value: float | None, notes: Mapping[str, Any]) -> None:
        """Finish the trial, with a value or without; ``notes`` are state, scores and seconds."""
        reported = tuple(
            (step, None if math.isnan(found) else found)
            for step, found in sorted(self._reported.items())
        )
        finite = value if value is not None and math.isfinite(value) else None
        self._search.end(self._trial, Outcome(finite, reported=reported, **notes))


def _has_type(distribution: Distribution, value: Any) -> bool:
    """Whether a stored value has the type of those that are drawn: true is no 1, 1.0 is no 1."""
    if isinstance(distribution, CategoricalDistribution):
        return any(type(one) is type(value) and one == value for one in distribution.choices)
    return type(value) is (int if isinstance(distribution, IntDistribution) else float)
