"""Adapters: the losses and scores of a training, for TensorBoard and for Weights & Biases.

    charseq.train("data/", callbacks=[TensorBoard("logs/mine")])
    charseq.train("data/", callbacks=[WandB(project="names")])

Both log the same values under the same names: ``train/loss``, ``train/learning_rate`` and
``train/gradient_norm`` every ``every`` steps, ``dev/...`` at each evaluation. Those of an
ensemble's members begin with ``member 1/`` and so on. The packages are extras of charseq, and are
imported when an adapter is made.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charseq.errors import SettingError, require
from charseq.training.callbacks.protocol import Callback, Facts

if TYPE_CHECKING:
    from charseq.training.trainer import Step

NO_SCORES = {"member", "evaluation", "step", "epoch", "seconds", "loss", "best"}
"""Facts of an evaluation that are no scores."""


class _Logger(Callback, abc.ABC):
    """The numbers of a training by name, passed to :meth:`log`."""

    def __init__(self, every: int) -> None:
        if every < 1:
            raise SettingError(f"every is {every}, expected 1 or more")
        self.every = every

    @abc.abstractmethod
    def log(self, values: Mapping[str, float], step: int, member: int | None) -> None:
        """Keep the values of a step, perhaps of an ensemble's member."""

    @abc.abstractmethod
    def close(self, facts: Facts) -> None:
        """End with the facts of :meth:`end`."""

    def end(self, facts: Facts) -> None:
        """Close the log, at the end of the whole training."""
        if "member" not in facts:
            self.close(facts)

    def step(self, step: Step) -> None:
        """Loss, learning rate and norm of the gradient, of one step in ``every``."""
        if step.number % self.every == 0:
            values = {name: getattr(step, name) for name in ("loss", "learning_rate")}
            values["gradient_norm"] = step.gradient_norm
            named = {f"train/{name}": value for name, value in values.items()}
            self.log(_of_member(named, step.member), step.number, step.member)

    def evaluation(self, facts: Facts) -> None:
        """The scores on dev, and the epoch."""
        values = dict(_scores(facts)) | {"dev/epoch": facts["epoch"]}
        member = facts.get("member")
        self.log(_of_member(values, member), facts["step"], member)


def _of_member(values: Mapping[str, float], member: int | None) -> dict[str, float]:
    """Values under the names that those of an ensemble's member have."""
    return {name if member is None else f"member {member}/{name}": values[name] for name in values}


def _scores(facts: Facts) -> Iterator[tuple[str, float]]:
    """The scores of an evaluation by name."""
    for name, value in facts.items():
        if name not in NO_SCORES and isinstance(value, int | float):
            yield f"dev/{name}", value


class TensorBoard(_Logger):
    """Event files for TensorBoard: ``tensorboard --logdir FOLDER`` shows them.

    Raises:
        MissingExtraError: tensorboard is not installed.
        SettingError: ``every`` is below 1.
    """

    def __init__(self, folder: str | Path, *, every: int = 50) -> None:
        """A logger into ``folder``, of one step in ``every``; a resumed training adds a file."""
        super().__init__(every)
        require("tensorboard", "logging for TensorBoard")
        self.folder = Path(folder)
        self._writer: Any = None

    def begin(self, facts: Facts) -> None:
        """Open the event file, with the settings as text."""
        from torch.utils import tensorboard

        writer: Any = tensorboard.SummaryWriter
        self._writer = writer(str(self.folder))
        lines = [f"    {name} = {value}" for name, value in facts["settings"].items()]
        self._writer.add_text("settings", "\n".join(lines))

    def log(self, values: Mapping[str, float], step: int, member: int | None) -> None:  # noqa: ARG002
        """Write scalars."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, facts: Facts) -> None:  # noqa: ARG002
        """Close the event file."""
        self._writer.close()


class WandB(_Logger):
    """A run of Weights & Biases, with the settings as its config.

    Raises:
        MissingExtraError: wandb is not installed.
        SettingError: ``every`` is below 1.
    """

    def __init__(self, *, every: int = 50, **options: Any) -> None:
        """A logger of one step in ``every``. ``options``: those of ``wandb.init``."""
        super().__init__(every)
        require("wandb", "logging for Weights & Biases")
        self.options = options
        self._run: Any = None
        self._members: set[int] = set()

    def begin(self, facts: Facts) -> None:
        """Begin a run, named like the run folder unless ``options`` name it."""
        import wandb

        own = {"name": Path(facts["run"]).name, "config": dict(facts["settings"])}
        self._run = wandb.init(**own | self.options)

    def log(self, values: Mapping[str, float], step: int, member: int | None) -> None:
        """Log values of a step. Steps of a run only grow, so each member counts its own."""
        if member is None:
            self._run.log(dict(values), step=step)
            return
        own = f"member {member}/step"
        if member not in self._members:
            self._members.add(member)
            self._run.define_metric(f"member {member}/*", step_metric=own)
        self._run.log({**values, own: step})

    def close(self, facts: Facts) -> None:
        """Keep the final scores as the run's summary, and finish it."""
        scores = {name: facts[name] for name in facts if isinstance(facts[name], int | float)}
        self._run.summary.update(scores)
        self._run.finish(exit_code=0 if facts["finished"] else 1)
