"""model, batches, progress -> steps: the training loop, a generator; resume is exact.

    for step in trainer.steps(progress): ...

It knows no files, no scores and no pictures: it yields, and ``recipes`` saves, scores and draws.
Nor does it know what is learnt: a model says its own loss. Where a batch goes on in the next one,
the model's state is carried over, its gradient is not (truncated back-propagation through time,
Williams & Peng 1990).

All parameters are views into one flat buffer, so that clipping, AdamW (Loshchilov & Hutter 2019)
and the running average are one operation each. On a GPU the step is that of ``recorder``, which
does the same without waiting for the device; it is asked how it went every ``READ`` steps. The
learning rate follows the progress p of the budget, be it steps or seconds: a linear rise over the
first ``warmup``, then half a cosine to 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from charseq.data.batches import Batch, Batches, LineBatches, StreamBatches
from charseq.errors import TrainingError
from charseq.kernels import adamw
from charseq.models.device import seed_all
from charseq.models.loss import TensorBatch, TrainableModel
from charseq.training.gpu_step import Buffers, GraphedStep, Reading

if TYPE_CHECKING:
    from jaxtyping import Float32

Flat = TypeVar("Flat", Tensor, np.ndarray)

BETA1 = 0.9
"""AdamW's decay of gradients."""
READ = 32
"""Steps on a GPU between two looks at the loss."""
MOST_SKIPPED = 10
"""Steps with a non-finite loss or gradient, in a row, after which training stops."""


@dataclass(frozen=True)
class Step:
    """What one step did; ``loss`` is in nats per symbol, ``progress`` that before the step.

    On a GPU loss, norm and whether a step was skipped are those of the last step looked at.
    """

    number: int
    epoch: float
    progress: float
    loss: float
    gradient_norm: float
    learning_rate: float
    examples: int
    skipped: bool


@dataclass(frozen=True)
class OptimizerSettings:
    """The numbers of a training run that are not the model's."""

    learning_rate: float = 2e-3
    warmup: float = 0.03
    weight_decay: float = 0.01
    beta2: float = 0.98
    clip: float = 1.0
    label_smoothing: float = 0.1
    ema: float = 0.998
    seed: int = 1


class Trainer:
    """The state of one run: weights, their average, AdamW's moments, and the number of steps.

    And in the middle of running text, the state of the model at the end of each row.
    """

    def __init__(
        self,
        model: TrainableModel,
        batches: Batches | LineBatches | StreamBatches,
        recipe: OptimizerSettings,
        *,
        device: torch.device,
        precision: torch.dtype = torch.float32,
        recorded: bool | None = None,
    ) -> None:
        """``recorded``: take the steps of ``recorder``; by default on a GPU."""
        self.model = model.to(device)
        self.batches = batches
        self.recipe = recipe
        self.device = device
        self.precision = precision
        self.number = 0
        self.skipped = 0
        self._in_a_row = 0
        self._carried: Tensor | None = None
        self._shapes = {name: value.shape for name, value in model.named_parameters()}
        self.weights = flatten(self.model)
        self.average = self.weights.detach().clone()
        self._moments = {
            "exp_avg": torch.zeros_like(self.average),
            "exp_avg_sq": torch.zeros_like(self.average),
            "step": torch.zeros((), device=device),
        }
        self._recorder: GraphedStep | None = None
        self._reading = Reading(math.nan, math.nan, 0, 0, 0)
        if recorded or (recorded is None and device.type == "cuda"):
            self._recorder = GraphedStep(
                self.model,
                batches,
                Buffers(self.weights.data, self.average, **self._moments),
                precision=precision,
                clip=recipe.clip,
                smoothing=recipe.label_smoothing,
                decay=recipe.weight_decay,
                betas=(BETA1, recipe.beta2),
            )

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """That of torch, where the compiled one does not do its work."""
        recipe = self.recipe
        optimizer = torch.optim.AdamW(
            [self.weights],
            lr=recipe.learning_rate,
            betas=(BETA1, recipe.beta2),
            weight_decay=recipe.weight_decay,
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
            yield self._step(done) if self._recorder is None else self._queue(self._recorder, done)

    def averaged(self) -> dict[str, Float32[np.ndarray, "..."]]:
        """The weights to score and to keep, by name: copies, on the CPU."""
        source = self.average if self.recipe.ema else self.weights.detach()
        flat = source.to("cpu", copy=True).numpy()
        return {name: part.copy() for name, part in self._split(flat).items()}

    def state(self) -> dict[str, Float32[np.ndarray, "..."]]:
        """Everything a resumed run needs, as arrays: copies, on the CPU."""
        tensors = {"weights": self.weights.detach(), "average": self.average, **self._moments}
        carried = self._carried if self._recorder is None else self._recorder.carried
        if carried is not None:
            tensors["carried"] = carried.float()
        arrays = {name: value.to("cpu", copy=True).numpy() for name, value in tensors.items()}
        if self._recorder is not None:
            self._look(self._recorder)
            arrays["seen"] = np.array([self._reading.loss, self._reading.norm], dtype=np.float32)
        counts = np.array([self.number, self.skipped, self._in_a_row], dtype=np.int64)
        return {**arrays, "counts": counts}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from :meth:`state`. Raises KeyError or RuntimeError if it is of another model."""
        tensors = {"weights": self.weights.data, "average": self.average, **self._moments}
        for name, value in tensors.items():
            value.copy_(torch.from_numpy(np.array(state[name])))
        self.number, self.skipped, self._in_a_row = (int(count) for count in state["counts"])
        self._carried = None
        if "carried" in state:
            self._carried = torch.from_numpy(np.array(state["carried"])).to(self.device)
        if self._recorder is not None:
            loss, norm = map(float, state.get("seen", (math.nan, math.nan)))
            self._reading = Reading(loss, norm, self.skipped, self._in_a_row, self._in_a_row)
            self._recorder.set_counts(self._reading)
            self._recorder.carried = self._carried

    def start_from(self, weights: Mapping[str, np.ndarray]) -> None:
        """Begin with given weights instead of random ones.

        Raises:
            ValueError: names or shapes are not the model's.
        """
        for name, part in self._split(self.weights.data).items():
            if name not in weights or weights[name].shape != tuple(part.shape):
                found = weights[name].shape if name in weights else "nothing"
                raise ValueError(f"{name} is {found}, expected {tuple(part.shape)}")
            part.copy_(torch.from_numpy(np.array(weights[name])))
        self.average.copy_(self.weights.data)

    def _step(self, progress: float) -> Step:
        recipe = self.recipe
        batch = self.batches[self.number]
        seed_all(recipe.seed, self.number)
        rate = recipe.learning_rate * schedule(progress, recipe.warmup)
        loss = self._backward(batch)
        gradient = self.weights.grad
        if gradient is None:
            raise TrainingError("the model has no weights to train")
        norm = float(torch.linalg.vector_norm(gradient))
        sound = math.isfinite(loss) and math.isfinite(norm)
        if sound:
            self._update(gradient, rate, recipe.clip / norm if norm > recipe.clip else 1.0)
        else:
            self._carried = None
        self._count(sound)
        self.number += 1
        return Step(
            number=self.number,
            epoch=self.number / len(self.batches),
            progress=progress,
            loss=loss,
            gradient_norm=norm,
            learning_rate=rate,
            examples=len(batch.weights),
            skipped=not sound,
        )

    def _queue(self, recorder: GraphedStep, progress: float) -> Step:
        """A step on a GPU: it has begun, and may not be done."""
        recipe = self.recipe
        seed_all(recipe.seed, self.number)
        rate = recipe.learning_rate * schedule(progress, recipe.warmup)
        examples = recorder.step(self.number, rate, self._following())
        self.number += 1
        before = self.skipped
        if self.number == 1 or self.number % READ == 0:
            self._look(recorder)
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

    def _look(self, recorder: GraphedStep) -> None:
        """Wait for the device, and see how it went."""
        self._reading = recorder.read()
        self.skipped, self._in_a_row = self._reading.skipped, self._reading.in_a_row
        if self._reading.worst >= MOST_SKIPPED:
            self._give_up()

    def _backward(self, batch: Batch) -> float:
        """The mean loss of a batch; its gradient is left in the flat buffer's ``grad``."""
        if self.weights.grad is not None:
            self.weights.grad.zero_()
        low = self.precision != torch.float32
        with torch.autocast(self.device.type, dtype=self.precision, enabled=low):
            found = self.model.loss(self._give(batch), smoothing=self.recipe.label_smoothing)
        mean = found.total / found.count
        mean.backward()
        carried = found.state if batch.continues else None
        self._carried = None if carried is None else carried.detach()
        return float(mean.detach())

    def _give(self, batch: Batch) -> TensorBatch:
        """The batch on the device, with what is carried over from the batch before."""
        names = ("source", "source_lengths", "inputs", "labels", "weights")
        arrays = {name: getattr(batch, name) for name in names}
        tensors: dict[str, Any] = {
            name: torch.from_numpy(part).to(self.device) for name, part in arrays.items()
        }
        return TensorBatch(**tensors, state=self._carried)

    def _update(self, gradient: Tensor, rate: float, scale: float) -> None:
        """A step of AdamW by a scaled gradient; the running average (Polyak & Juditsky 1992)."""
        recipe, follow = self.recipe, self._following()
        if adamw.fits(self.weights):
            by = adamw.StepSizes(scale, rate, recipe.weight_decay, BETA1, recipe.beta2, follow)
            adamw.advance(self.weights.data, gradient, self._moments, self.average, by)
            return
        gradient.mul_(scale)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.average.lerp_(self.weights.data, follow)

    def _following(self) -> float:
        """The share of the way that the average goes towards the weights in this step.

        It is more at the start of a run, and none where there is no average.
        """
        ema = self.recipe.ema
        return 1 - (min(ema, (1 + self.number) / (10 + self.number)) if ema else 1.0)

    def _count(self, sound: bool) -> None:
        self._in_a_row = 0 if sound else self._in_a_row + 1
        self.skipped += not sound
        if self._in_a_row >= MOST_SKIPPED:
            self._give_up()

    def _give_up(self) -> None:
        last = self.number + (self._recorder is None)  # a step that was queued has been counted
        raise TrainingError(
            f"the loss was not finite for {MOST_SKIPPED} steps in a row (the last was step "
            f"{last}); begin anew with --force and a lower --set learning_rate=0.001"
        )

    def _split(self, flat: Flat) -> dict[str, Flat]:
        """Views into a flat buffer, by the parameters' names."""
        parts, place = {}, 0
        for name, shape in self._shapes.items():
            size = shape.numel()
            parts[name] = flat[place : place + size].reshape(tuple(shape))
            place += size
        return parts


def flatten(model: nn.Module) -> nn.Parameter:
    """One buffer for all parameters of a model, which become views into it, gradients included."""
    parameters = list(model.parameters())
    flat = nn.Parameter(torch.cat([value.detach().reshape(-1) for value in parameters]))
    flat.grad = torch.zeros_like(flat)
    place = 0
    for value in parameters:
        part = slice(place, place + value.numel())
        value.data = flat.data[part].view_as(value)
        value.grad = flat.grad[part].view_as(value)
        place += value.numel()
    return flat


def schedule(progress: float, warmup: float) -> float:
    """The share of the peak learning rate at a progress from 0 to 1."""
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    rest = (progress - warmup) / max(1.0 - warmup, 1e-9)
    return 0.5 * (1.0 + math.cos(math.pi * min(rest, 1.0)))
