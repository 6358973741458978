"""Model, batches, progress -> optimisation steps, from a generator that resumes exactly.

    for step in trainer.steps(progress): ...

The trainer knows no files and no scores: it yields, and ``loop`` saves and scores. It knows no
task either: the loss is the model's. Where the rows of a batch continue in the next one, the
recurrent state is carried over without its gradient (truncated back-propagation through time,
Williams & Peng 1990).

All parameters are views into one flat buffer, so that clipping, AdamW (Loshchilov & Hutter 2019)
and the running average are one operation each. On a GPU the step is that of ``gpu_step``, which
does the same without waiting for the device; the loss is read back every ``READ_EVERY`` steps. The
learning rate follows the progress p of the budget, in steps or in seconds: a linear warm-up, then
half a cosine to 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from charseq.data.batches import Batch, Batches, LineBatches, StreamBatches
from charseq.errors import CheckpointError, TrainingError, argument
from charseq.kernels import adamw
from charseq.models.device import seed_all
from charseq.models.loss import TrainableModel
from charseq.training.gpu_step import Buffers, GraphedStep, Reading
from charseq.training.parallel.gradient import loss_of, to_tensors
from charseq.training.parallel.group import Build, Group

if TYPE_CHECKING:
    from jaxtyping import Float32

Flat = TypeVar("Flat", Tensor, np.ndarray)

BETA1 = 0.9
"""AdamW's decay of gradients."""
READ_EVERY = 32
"""Steps on a GPU from one reading of the loss to the next."""
MAX_SKIPPED = 10
"""Steps in a row with a non-finite loss or gradient after which training stops."""
MAX_STEPS = 2**48
"""Steps of a saved state, at most."""


@dataclass(frozen=True)
class Step:
    """The facts of one step; ``loss`` is in nats per symbol, ``progress`` that before the step.

    On a GPU loss and norm are those of the last step that was read back. ``skipped`` is then true
    where a step was skipped since the reading before.
    """

    number: int
    epoch: float
    progress: float
    loss: float
    gradient_norm: float
    learning_rate: float
    examples: int
    skipped: bool
    member: int | None = None
    """Its number in an ensemble, from 1; None where one network is trained."""


@dataclass(frozen=True)
class OptimizerSettings:
    """The settings of optimiser, learning rate, regularisation and average."""

    learning_rate: float = 2e-3
    warmup: float = 0.03
    weight_decay: float = 0.01
    beta2: float = 0.98
    clip: float = 1.0
    label_smoothing: float = 0.1
    ema: float = 0.998
    dropout_growth: float = 0.0
    seed: int = 1


class Trainer:
    """The state of a training: weights, their average, AdamW's moments, and the number of steps.

    In the middle of running text, the recurrent state at the end of each row belongs to it.
    """

    def __init__(
        self,
        model: TrainableModel,
        batches: Batches | LineBatches | StreamBatches,
        settings: OptimizerSettings,
        *,
        device: torch.device,
        precision: torch.dtype = torch.float32,
        graphed: bool | None = None,
        ranks: int = 1,
        build: Build | None = None,
    ) -> None:
        """``graphed``: take the steps of ``gpu_step``; by default on a GPU.

        ``ranks``: processes that share each batch on a CPU; ``build`` makes the network in them.
        """
        self.model = model.to(device)
        self.batches = batches
        self.settings = settings
        self.device = device
        self.precision = precision
        self.number = 0
        self.skipped = 0
        self._streak = 0
        self._carried_state: Tensor | None = None
        self._shapes = {name: value.shape for name, value in model.named_parameters()}
        self.group: Group | None = None
        if ranks > 1 and device.type == "cpu":
            smoothing, seed = settings.label_smoothing, settings.seed
            self.group = Group(
                self.model, ranks, precision=precision, smoothing=smoothing, seed=seed, build=build
            )
            self.weights = self.group.weights
        else:
            self.weights = flatten(self.model)
        self.average = self._shared("average") if settings.ema else None
        if self.average is not None:
            self.average.copy_(self.weights.data)
        self._moments = {
            "exp_avg": self._shared("exp_avg"),
            "exp_avg_sq": self._shared("exp_avg_sq"),
            "step": torch.zeros((), device=device),
        }
        self._dropout_factor = 1.0
        self._graphed: GraphedStep | None = None
        self._reading = Reading(math.nan, math.nan, 0, 0, 0)
        self.interruptible: Callable[[], AbstractContextManager[None]] = nullcontext
        """The context of the longest part of a step on a CPU, after which nothing has changed."""
        if graphed or (graphed is None and device.type == "cuda"):
            self._graphed = GraphedStep(
                self.model,
                batches,
                Buffers(self.weights.data, self.average, **self._moments),
                precision=precision,
                clip=settings.clip,
                smoothing=settings.label_smoothing,
                decay=settings.weight_decay,
                betas=(BETA1, settings.beta2),
            )
            self.free_gradient()

    def _shared(self, name: str) -> Tensor:
        """A buffer of zeros, as large as the weights: in memory of the group, if there is one."""
        if self.group is not None:
            return cast("Tensor", getattr(self.group.memory, name))
        return torch.zeros_like(self.weights.data)

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW of torch, for weights that the compiled one cannot update."""
        settings = self.settings
        optimizer = torch.optim.AdamW(
            [self.weights],
            lr=settings.learning_rate,
            betas=(BETA1, settings.beta2),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        optimizer.state[self.weights] = dict(self._moments)
        return optimizer

    def steps(self, progress: Callable[[int], float]) -> Iterator[Step]:
        """Train until ``progress(number of steps done)``, from 0 to 1, reaches 1.

        Raises:
            TrainingError: the loss or its gradient was not finite ten steps in a row.
        """
        self.model.train()
        while (done := progress(self.number)) < 1.0:
            self._set_dropout()
            yield self._step(done) if self._graphed is None else self._queue(self._graphed, done)

    def _set_dropout(self) -> None:
        """Let dropout grow with the passes over the data; see :func:`dropout_factor`."""
        before, growth = self._dropout_factor, self.settings.dropout_growth
        self._dropout_factor = dropout_factor(self.number // len(self.batches), growth)
        if self._dropout_factor != before:
            for holder in (self.model, self.group, self._graphed):
                if holder is not None:
                    holder.scale_dropout(self._dropout_factor)

    def free_gradient(self) -> None:
        """Free the memory of the gradient, which the next step makes anew."""
        for part in (self.weights, *self.model.parameters()):
            part.grad = None

    def averaged(self, *, copied: bool = True) -> dict[str, Float32[np.ndarray, "..."]]:
        """The weights to score and to keep, by name: copies on the CPU.

        What is not ``copied`` may be that of the trainer itself, until its next step.
        """
        source = self.weights.detach() if self.average is None else self.average
        return self._split(source.to("cpu", copy=copied).numpy())

    def state(self, *, copied: bool = True) -> dict[str, Float32[np.ndarray, "..."]]:
        """Everything that an exact resume needs, by name: copies on the CPU.

        What is not ``copied`` is that of the trainer itself, until its next step.
        """
        tensors = self._tensors()
        carried = self._carried_state if self._graphed is None else self._graphed.carried_state
        if carried is not None:
            tensors["carried"] = carried.float()
        arrays = {name: value.to("cpu", copy=copied).numpy() for name, value in tensors.items()}
        if self._graphed is not None:
            self._read_back(self._graphed)
            seen = np.array([self._reading.loss, self._reading.norm], dtype=np.float32)
            if np.isfinite(seen).all():  # not so after a step that was skipped
                arrays["seen"] = seen
        counts = np.array([self.number, self.skipped, self._streak], dtype=np.int64)
        return {**arrays, "counts": counts}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from :meth:`state`. Raises CheckpointError for one of another model."""
        tensors = self._tensors()
        self._check_state(state, tensors)
        for name, value in tensors.items():
            _fill(value, state[name])
        self.number, self.skipped, self._streak = (int(count) for count in state["counts"])
        self._carried_state = None
        if "carried" in state:
            self._carried_state = torch.from_numpy(np.array(state["carried"])).to(self.device)
        if self._graphed is not None:
            loss, norm = map(float, state.get("seen", (math.nan, math.nan)))
            self._reading = Reading(loss, norm, self.skipped, self._streak, self._streak)
            self._graphed.set_counts(self._reading)
            self._graphed.carried_state = self._carried_state

    def _tensors(self) -> dict[str, Tensor]:
        """What a state holds of the buffers, by name."""
        average = {} if self.average is None else {"average": self.average}
        return {"weights": self.weights.data, **average, **self._moments}

    def _check_state(self, state: Mapping[str, np.ndarray], tensors: Mapping[str, Tensor]) -> None:
        """Raise CheckpointError where the arrays of a state do not have the shapes of this one."""
        shapes = {name: tuple(value.shape) for name, value in tensors.items()}
        kinds = dict.fromkeys(shapes, "f") | {"counts": "i"}
        shapes["counts"] = (3,)
        if "seen" in state:
            shapes["seen"], kinds["seen"] = (2,), "f"
        if "carried" in state:  # of the shape that any batch ends with
            with torch.no_grad():
                found = self.model.loss(
                    to_tensors(self.batches[0], self._carried_state, self.device), smoothing=0.0
                )
            shapes["carried"] = () if found.state is None else tuple(found.state.shape)
            kinds["carried"] = "f"
        for name, shape in shapes.items():
            part = state.get(name)
            if part is None or part.shape != shape or part.dtype.kind != kinds[name]:
                raise CheckpointError(f"is damaged: {name} is not that of this training")
        if not 0 <= state["counts"].min() <= state["counts"].max() <= MAX_STEPS:
            raise CheckpointError("is damaged: counts is not that of this training")

    def start_from(self, weights: Mapping[str, np.ndarray]) -> None:
        """Begin with given weights instead of random ones.

        Raises:
            ValueError: names or shapes are not the model's.
        """
        for name, part in self._split(self.weights.data).items():
            if name not in weights or weights[name].shape != tuple(part.shape):
                found = weights[name].shape if name in weights else "nothing"
                raise ValueError(f"{name} is {found}, expected {tuple(part.shape)}")
            _fill(part, weights[name])
        if self.average is not None:
            self.average.copy_(self.weights.data)

    def _step(self, progress: float) -> Step:
        settings = self.settings
        batch = self.batches[self.number]
        rate = settings.learning_rate * schedule(progress, settings.warmup)
        shared = self.group is not None and self.group.split
        loss, norm, count = self._share(batch) if shared else self._compute(batch)
        finite = math.isfinite(loss) and math.isfinite(norm)
        if finite:
            scale = settings.clip / norm if norm > settings.clip else 1.0
            self._update(rate, scale / count, shared=shared)
        else:
            self._carried_state = None
        self._count(finite)
        self.number += 1
        return Step(
            number=self.number,
            epoch=self.number / len(self.batches),
            progress=progress,
            loss=loss,
            gradient_norm=norm,
            learning_rate=rate,
            examples=len(batch.weights),
            skipped=not finite,
        )

    def _queue(self, graphed: GraphedStep, progress: float) -> Step:
        """Start a step on a GPU, which may still run when this returns."""
        settings = self.settings
        seed_all(settings.seed, self.number)
        rate = settings.learning_rate * schedule(progress, settings.warmup)
        examples = graphed.step(self.number, rate, self._average_step())
        self.number += 1
        before = self.skipped
        if self.number == 1 or self.number % READ_EVERY == 0:
            self._read_back(graphed)
        return Step(
            number=self.number,
            epoch=self.number / len(self.batches),
            progress=progress,
            loss=self._reading.loss,
            gradient_norm=self._reading.norm,
            learning_rate=rate,
            examples=examples,
            skipped=self.skipped > before,
        )

    def _read_back(self, graphed: GraphedStep) -> None:
        """Wait for the device, and take over its loss and counts."""
        self._reading = graphed.read()
        self.skipped, self._streak = self._reading.skipped, self._reading.in_a_row
        if self._reading.worst >= MAX_SKIPPED:
            self._raise_diverged()

    def _compute(self, batch: Batch) -> tuple[float, float, float]:
        """Mean loss, norm of its gradient, and 1; the gradient is ``grad`` of the flat buffer."""
        seed_all(self.settings.seed, self.number)
        if self.group is not None:  # its ranks have gradients of their own
            self.weights.grad = None
        if self.weights.grad is None:
            into = None if self.group is None else self.group.memory.gradients[0]
            gradient = add_gradient(self.weights, self.model.parameters(), into)
        else:
            gradient = self.weights.grad.zero_()
        loss = self._backward(batch)
        return loss, float(torch.linalg.vector_norm(gradient)), 1.0

    def _backward(self, batch: Batch) -> float:
        """The mean loss of a batch; its gradient is added to ``grad`` of the flat buffer."""
        with self.interruptible():
            given = to_tensors(batch, self._carried_state, self.device)
            smoothing = self.settings.label_smoothing
            found = loss_of(self.model, given, precision=self.precision, smoothing=smoothing)
            mean = found.total / found.count
            mean.backward()
        carried = found.state if batch.continues else None
        self._carried_state = None if carried is None else carried.detach()
        return float(mean.detach())

    def _share(self, batch: Batch) -> tuple[float, float, float]:
        """Mean loss, norm of its gradient, and count: all ranks compute the gradient of the sum."""
        group = cast("Group", self.group)
        before = self._carried_state
        with self.interruptible():
            sums, used = group.gradient(
                batch,
                self.number,
                None if before is None else before.to(self.weights.dtype).numpy(),
            )
        self._carried_state = None if sums.state is None else torch.from_numpy(sums.state)
        norm = group.add_up(used)
        self.weights.grad = group.memory.gradients[0]
        count = sums.count or math.nan
        return sums.total / count, norm / count, count

    def _update(self, rate: float, scale: float, *, shared: bool) -> None:
        """A step of AdamW by a scaled gradient; the running average (Polyak & Juditsky 1992)."""
        settings, follow = self.settings, self._average_step()
        gradient = cast("Tensor", self.weights.grad)
        if adamw.fits(self.weights):
            by = adamw.StepSizes(scale, rate, settings.weight_decay, BETA1, settings.beta2, follow)
            if self.group is not None and shared:
                steps, averaged = int(self._moments["step"]), self.average is not None
                self.group.update(by, steps, averaged=averaged)
                self._moments["step"] += 1
            else:
                adamw.advance(self.weights.data, gradient, self._moments, self.average, by)
            return
        gradient.mul_(scale)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        if self.average is not None:
            self.average.lerp_(self.weights.data, follow)

    def _average_step(self) -> float:
        """The weight of the new weights in the running average: 1 - decay; 0 without an average.

        It is larger at the start of a run.
        """
        ema = self.settings.ema
        return 1 - (min(ema, (1 + self.number) / (10 + self.number)) if ema else 1.0)

    def _count(self, finite: bool) -> None:
        self._streak = 0 if finite else self._streak + 1
        self.skipped += not finite
        if self._streak >= MAX_SKIPPED:
            self._raise_diverged()

    def _raise_diverged(self) -> NoReturn:
        last = self.number + (self._graphed is None)  # a step that was queued has been counted
        raise TrainingError(
            f"the loss was not finite for {MAX_SKIPPED} steps in a row (the last was step "
            f"{last}); begin anew with {argument('force', True)} and a lower "
            f"{argument('learning_rate', 0.001)}"
        )

    def _split(self, flat: Flat) -> dict[str, Flat]:
        """Views into a flat buffer, by the parameters' names."""
        parts, offset = {}, 0
        for name, shape in self._shapes.items():
            size = shape.numel()
            parts[name] = flat[offset : offset + size].reshape(tuple(shape))
            offset += size
        return parts


def _fill(tensor: Tensor, array: np.ndarray) -> None:
    """Give a tensor the values of an array, on a CPU without a copy of it."""
    if tensor.device.type == "cpu":
        np.copyto(tensor.numpy(), array)
    else:
        tensor.copy_(torch.from_numpy(np.array(array)))


def flatten(model: nn.Module) -> nn.Parameter:
    """One buffer for all parameters of a model, which become views into it, gradients included."""
    parameters = list(model.parameters())
    flat = nn.Parameter(torch.cat([value.detach().reshape(-1) for value in parameters]))
    offset = 0
    for value in parameters:
        value.data = flat.data[offset : offset + value.numel()].view_as(value)
        offset += value.numel()
    add_gradient(flat, parameters)
    return flat


def add_gradient(
    flat: nn.Parameter, parameters: Iterable[nn.Parameter], into: Tensor | None = None
) -> Tensor:
    """A buffer of zeros for the gradient of a flat buffer; those of its parts are views.

    The buffer is a new one, or ``into``.
    """
    flat.grad = torch.zeros_like(flat) if into is None else into.zero_()
    offset = 0
    for value in parameters:
        value.grad = flat.grad[offset : offset + value.numel()].view_as(value)
        offset += value.numel()
    return flat.grad


def dropout_factor(passes: int, growth: float) -> float:
    """The factor of every dropout after so many whole passes: 1 + growth (floor(log2(1 + n)) - 1).

    A network that sees the data for the first time cannot learn them by heart, and after many
    passes it does. So dropout grows in training (curriculum dropout, Morerio et al. 2017), here
    with each doubling of the passes. It depends on the number of steps alone, so that a resumed
    training has the same.
    """
    return 1.0 + growth * ((1 + passes).bit_length() - 2)


def schedule(progress: float, warmup: float) -> float:
    """The share of the peak learning rate at a progress from 0 to 1."""
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    rest = (progress - warmup) / max(1.0 - warmup, 1e-9)
    return 0.5 * (1.0 + math.cos(math.pi * min(rest, 1.0)))
