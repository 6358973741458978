"""Callbacks: a training tells other programs of its steps, evaluations and end.

    class Printer(charseq.Callback):
        def evaluation(self, facts):
            print(facts["step"], facts["loss"])

    charseq.train("data/", callbacks=[Printer()])

A training is worth more than its followers: a callback that raises an exception is left out from
then on, with a warning that names it, and the training goes on, is saved and comes to its end. To
end a training, raise an exception that is no ``Exception``, such as ``KeyboardInterrupt``.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from charseq.training.trainer import Step

P = ParamSpec("P")
Facts = Mapping[str, Any]


class Callback:
    """A follower of a training. A subclass overrides the methods that it needs.

    They are called in the process of the training, between two steps, so their time is of the
    training's budget.

    The members of an ensemble are trained in processes of their own, and the process that started
    them passes on what each does, in the order of each. So there is one :meth:`begin`; then steps,
    evaluations and an :meth:`end` of each member, which tell its number, from 1, as ``member``; and
    at last the end of the whole, without one. Members take turns in no certain order, and a slow
    callback lags behind them. A member that an earlier call has finished tells nothing.
    """

    def begin(self, facts: Facts) -> None:
        """Before the first step: ``run`` (its folder), ``settings`` (resolved) and ``data``."""

    def step(self, step: Step) -> None:
        """After each step: its ``number``, ``epoch``, ``loss``, ``member`` and others.

        ``loss`` is in nats per symbol, with label smoothing; see
        :class:`charseq.training.trainer.Step`.
        """

    def evaluation(self, facts: Facts) -> None:
        """After each evaluation on dev: the line of ``metrics.jsonl``, and ``best``.

        That is ``evaluation`` (from 1), ``step``, ``epoch``, ``seconds``, ``loss``, and the scores
        of the task. ``best``: whether they are the best so far. Of an ensemble's member also
        ``member``, and all are those of this member alone.
        """

    def end(self, facts: Facts) -> None:
        """Once, when the training is over: ``finished``, and what :func:`charseq.train` returns.

        Where it is not ``finished``, ``fault`` is the message of the exception that ended it. Of an
        ensemble before that once for each member: ``member``, ``finished``, and its ``seconds``,
        ``epochs`` and scores, or ``fault``.
        """


class Guarded(Callback):
    """A callback whose exceptions end neither the training nor the other callbacks."""

    def __init__(self, callback: Callback, report: Callable[[str], None]) -> None:
        self._callback: Callback | None = callback
        self._report = report
        self._has_begun = False

    def begin(self, facts: Facts) -> None:
        """Pass on."""
        self._has_begun = True
        self._call("begin", facts)

    def step(self, step: Step) -> None:
        """Pass on."""
        self._call("step", step)

    def evaluation(self, facts: Facts) -> None:
        """Pass on."""
        self._call("evaluation", facts)

    def end(self, facts: Facts) -> None:
        """Pass on, if the training has begun."""
        if self._has_begun:
            self._call("end", facts)

    def _call(self, name: str, facts: Any) -> None:
        if self._callback is None:
            return
        try:
            getattr(self._callback, name)(facts)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the training goes on
            what = f"{type(self._callback).__name__}.{name}: {type(fault).__name__}: {fault}"
            self._callback = None
            message = f"callback {what}; it is called no more, the training goes on"
            self._report(f"note       {message}")
            warnings.warn(message, RuntimeWarning, stacklevel=2)


def guarding(train: Callable[P, dict[str, Any]]) -> Callable[P, dict[str, Any]]:
    """A training whose argument ``callbacks`` is guarded; they are told of its end."""

    @functools.wraps(train)
    def call(*args: P.args, **options: P.kwargs) -> dict[str, Any]:
        given: dict[str, Any] = options
        report: Callable[[str], None] = given.get("report") or (lambda _line: None)
        callbacks = [Guarded(one, report) for one in given.get("callbacks") or ()]
        given["callbacks"] = callbacks
        try:
            facts = train(*args, **given)
        except BaseException as fault:
            ending = {"finished": False, "fault": str(fault) or type(fault).__name__}
            tell(callbacks, "end", ending)
            raise
        tell(callbacks, "end", {"finished": True, **facts})
        return facts

    made: Any = call
    return made  # type: ignore[no-any-return]


def tell(callbacks: Sequence[Callback], name: str, facts: Any) -> None:
    """Call the method ``name`` of every callback."""
    for one in callbacks:
        getattr(one, name)(facts)
