"""Model, batches -> training steps on a GPU, as CUDA graphs: one per batch shape.

The step of a small model is some hundred kernels of a few microseconds, which take longer to launch
than to run. The whole step, from the ids to the running average of the weights, is therefore a CUDA
graph. The first batch of a shape runs without a graph, the second is captured, and every later one
is a single launch. Between launches nothing depends on the host:

- the inputs that change from step to step, the learning rate and the numbers of the batch's rows,
  are copied into fixed buffers on the device;
- noise is a function of (seed, step): torch's generator is seeded before each launch, and a graph
  draws from the generator's state, so a step has the same numbers with and without a graph;
- a non-finite loss or gradient is found on the device: AdamW then leaves weights and moments as
  they are (``found_inf``), the average stays too, and a counter is increased.

Losses stay on the device until :meth:`GraphedStep.read`. On a CPU the same step runs without
graphs. The data are on the device as well: :class:`DeviceDataset` gathers the rows of a batch
there, :class:`StreamUpload` copies the batches of running text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from charseq.data.batches import Batches, StreamBatches
from charseq.data.text.vocabulary import BOS, EOS, PAD
from charseq.models.loss import TensorBatch, TrainableModel

if TYPE_CHECKING:
    from jaxtyping import Int, Integer

    from charseq.data.batches import LineBatches

PINNED_SLOTS = 64
"""Buffers for copies to the device that may be under way at once: more than the steps from one
reading to the next, for which the host waits."""
MAX_TABLE = 2**27
"""Largest number of ids of all texts, with padding, that are kept as a padded table."""
MIN_STEP = 4
"""Smallest step of padded lengths; see :func:`padded_length`."""


class Shape(NamedTuple):
    """B, S (0 without sources) and T of a batch."""

    rows: int
    source: int
    target: int


class DeviceBatch(NamedTuple):
    """The tensors of a batch; see :class:`charseq.models.loss.TensorBatch`."""

    source: Tensor
    source_lengths: Tensor
    inputs: Tensor
    labels: Tensor
    weights: Tensor


class DeviceTexts:
    """The ids of texts on a device; ``offsets`` has the beginning of each in ``ids``, and the end.

    The texts are a table, padded to the longest, or one after another where it were too large.
    """

    def __init__(
        self, ids: Integer[np.ndarray, "_"], offsets: Int[np.ndarray, "_"], device: torch.device
    ) -> None:
        sizes = np.diff(offsets).astype(np.int64)
        self.ids = torch.from_numpy(np.ascontiguousarray(ids, dtype=np.int32)).to(device)
        self.begins = torch.from_numpy(offsets[:-1].astype(np.int64)).to(device)
        self.lengths = torch.from_numpy(sizes).to(device)
        self.table: Tensor | None = None
        longest = padded_length(int(sizes.max(initial=1)))
        if len(sizes) * longest <= MAX_TABLE:
            rows = torch.arange(len(sizes), device=device)
            self.table = self._gather(rows, longest).int()

    def take(self, rows: Tensor, columns: int) -> Tensor:
        """Texts ``rows``, padded to ``columns``."""
        if self.table is not None:
            return self.table.index_select(0, rows)[:, :columns].long()
        return self._gather(rows, columns)

    def _gather(self, rows: Tensor, columns: int) -> Tensor:
        positions = torch.arange(columns, device=rows.device)
        inside = positions < self.lengths[rows][:, None]
        index = self.begins[rows][:, None] + positions
        found = self.ids.take(index.clamp_(max=max(len(self.ids) - 1, 0)))
        return torch.where(inside, found, PAD).long()


class DeviceDataset:
    """Pairs or lines on the device; of a batch only the numbers of its rows are copied there."""

    continues = False
    """Whether rows continue in the next batch."""

    def __init__(self, batches: Batches | LineBatches, device: torch.device) -> None:
        self._batches = batches
        self._source: DeviceTexts | None = None
        if isinstance(batches, Batches):
            self._source = DeviceTexts(batches.sources.flat, batches.sources.offsets, device)
            ids, offsets = batches.targets.flat, batches.targets.offsets
            self._lengths = batches.lengths
            weights = batches.weights
        else:
            ids, offsets = batches.ids, batches.offsets
            lengths = np.diff(offsets)
            self._lengths = np.stack([np.zeros_like(lengths), lengths], axis=1)
            weights = np.ones(len(lengths), dtype=np.float32)
        self._target = DeviceTexts(*_delimited(ids, offsets), device)
        self._weights = torch.from_numpy(weights).to(device)
        self._size = min(batches.batch_size, len(weights))
        # row numbers, and in the last column how many of them are the batch's
        self._slots = torch.zeros(
            PINNED_SLOTS, self._size + 1, dtype=torch.int64, pin_memory=device.type == "cuda"
        )
        self._rows = torch.zeros(self._size + 1, dtype=torch.int64, device=device)
        self._numbers = torch.arange(self._size, device=device)

    def upload(self, step: int) -> tuple[Shape, int, bool]:
        """Copy the row numbers of a batch to the device.

        Returns:
            its shape, its number of examples, and whether its rows continue in the next batch.
        """
        rows = self._batches.rows(step)
        slot = self._slots[step % PINNED_SLOTS]
        numbers = slot.numpy()
        numbers[: len(rows)] = rows
        numbers[len(rows) : -1] = rows[0]
        numbers[-1] = len(rows)
        self._rows.copy_(slot, non_blocking=True)
        source, target = map(int, self._lengths[rows].max(axis=0))
        ordinary = max(source, target) <= self._batches.longest
        count = self._size if ordinary else len(rows)
        # a target has one symbol more: the inputs' BOS, or the labels' EOS
        shape = Shape(count, padded_length(source), padded_length(target + 2) - 1)
        return shape, len(rows), False

    def batch(self, shape: Shape) -> DeviceBatch:
        """The uploaded batch, padded to ``shape``; no operation depends on a value."""
        rows, count = self._rows[: shape.rows], self._rows[-1]
        if self._source is None:
            source = rows.new_zeros(shape.rows, 0)
            lengths = torch.zeros_like(rows)
        else:
            source = self._source.take(rows, shape.source)
            lengths = self._source.lengths[rows]
        whole = self._target.take(rows, shape.target + 1)
        # of BOS, symbols, EOS the inputs are all but the last, the labels all but the first
        inputs, labels = whole[:, :-1], whole[:, 1:]
        inputs = inputs.masked_fill(labels == PAD, PAD)
        weights = self._weights[rows] * (self._numbers[: shape.rows] < count)
        return DeviceBatch(source, lengths, inputs, labels, weights)


class StreamUpload:
    """Running text, whose batches are copied to the device whole."""

    continues = True
    """Whether rows continue in the next batch."""

    def __init__(self, batches: StreamBatches, device: torch.device) -> None:
        self._batches = batches
        self._device = device
        self._buffers: dict[Shape, tuple[Tensor, Tensor]] = {}

    def upload(self, step: int) -> tuple[Shape, int, bool]:
        """Copy a batch to the device; the same result as :meth:`DeviceDataset.upload`."""
        batch = self._batches[step]
        count, columns = batch.inputs.shape
        shape = Shape(count, 0, columns)
        both = zip(self._buffer(shape), (batch.inputs, batch.labels), strict=True)
        for buffer, values in both:
            buffer.copy_(torch.from_numpy(values))
        return shape, count, batch.continues

    def batch(self, shape: Shape) -> DeviceBatch:
        """The uploaded batch."""
        inputs, labels = self._buffer(shape)
        lengths = inputs.new_zeros(shape.rows)
        weights = torch.ones(shape.rows, device=inputs.device)
        return DeviceBatch(inputs[:, :0], lengths, inputs, labels, weights)

    def _buffer(self, shape: Shape) -> tuple[Tensor, Tensor]:
        if shape not in self._buffers:
            size = (2, shape.rows, shape.target)
            both = torch.zeros(size, dtype=torch.int64, device=self._device)
            self._buffers[shape] = both[0], both[1]
        return self._buffers[shape]


def upload_of(
    batches: Batches | LineBatches | StreamBatches, device: torch.device
) -> DeviceDataset | StreamUpload:
    """The way of these batches to the device."""
    if isinstance(batches, StreamBatches):
        return StreamUpload(batches, device)
    return DeviceDataset(batches, device)


def padded_length(length: int) -> int:
    """A length rounded up, so that there are few shapes and each has its graph.

    The step is ``MIN_STEP``, or more than an eighth and at most a quarter of the length.
    """
    step = max(MIN_STEP, 1 << max(length.bit_length() - 3, 0))
    return -(-length // step) * step


def _delimited(
    ids: Integer[np.ndarray, "_"], offsets: Int[np.ndarray, "_"]
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and offsets of the same texts, each with BOS before it and EOS after it."""
    count = len(offsets) - 1
    wider = offsets + 2 * np.arange(count + 1)
    found = np.empty(wider[-1], dtype=np.int32)
    found[wider[:-1]] = BOS
    found[wider[1:] - 1] = EOS
    inner = np.ones(len(found), dtype=bool)
    inner[wider[:-1]] = False
    inner[wider[1:] - 1] = False
    found[inner] = ids[offsets[0] : offsets[-1]]
    return found, wider


EPSILON = 1e-8
"""AdamW's epsilon."""
MAX_GRAPHS = 96
"""Shapes that are captured; batches of further shapes run without a graph."""


class Buffers(NamedTuple):
    """Flat buffers, in the order of the parameters, that a step updates; and AdamW's step count."""

    weights: Tensor
    average: Tensor | None
    exp_avg: Tensor
    exp_avg_sq: Tensor
    step: Tensor


@dataclass(frozen=True)
class Reading:
    """Loss and gradient norm of the last step, and counts of skipped steps, from the device."""

    loss: float
    norm: float
    skipped: int
    in_a_row: int
    """Skipped steps in a row, up to the last step."""
    worst: int
    """The maximum of ``in_a_row`` since the counts were set."""


class GraphedStep:
    """The steps of one training on the flat buffers of weights, average and moments."""

    def __init__(
        self,
        model: TrainableModel,
        batches: Batches | LineBatches | StreamBatches,
        buffers: Buffers,
        *,
        precision: torch.dtype,
        clip: float,
        smoothing: float,
        decay: float,
        betas: tuple[float, float],
    ) -> None:
        """``clip`` is the largest norm of a gradient; ``decay`` and ``betas`` are AdamW's."""
        self.model = model
        self.buffers = buffers
        self.precision = precision
        self.clip = clip
        self.smoothing = smoothing
        self.decay = decay
        self.betas = betas
        self.carried_state: Tensor | None = None
        """The recurrent state at the end of each row, where rows continue in the next batch."""
        self._parts = list(model.parameters())
        device = buffers.weights.device
        self._data = upload_of(batches, device)
        # learning rate, and the weight of the new weights in the average
        self._slots = torch.zeros(PINNED_SLOTS, 2, pin_memory=device.type == "cuda")
        self._rates = torch.zeros(2, device=device)
        self._loss_and_norm = torch.zeros(2, device=device)
        self._counts = torch.zeros(3, device=device)  # skipped, in a row, worst
        self._not_finite = torch.zeros((), device=device)
        self._gradient = torch.zeros_like(buffers.weights)
        self._graphs: dict[Shape, torch.cuda.CUDAGraph | None] = {}
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._pool: Any = None

    def step(self, number: int, rate: float, follow: float) -> int:
        """Start step ``number``, counted from 0: the number of its examples.

        ``follow`` is the weight of the new weights in the running average. The caller seeds torch's
        generator, from which the noise is drawn.
        """
        slot = self._slots[number % PINNED_SLOTS]
        slot[0], slot[1] = rate, follow
        self._rates.copy_(slot, non_blocking=True)
        shape, examples, continues = self._data.upload(number)
        graph = self._graphs.get(shape)
        if graph is not None:
            graph.replay()
        elif self._can_capture(shape):
            self._graphs[shape] = graph = self._capture(shape)
            graph.replay()
        else:
            self._graphs.setdefault(shape, None)
            self._run(shape)
        if self.carried_state is not None and not continues:
            self.carried_state.zero_()
        return examples

    def scale_dropout(self, _factor: float) -> None:
        """Drop the captured graphs: dropout, a constant of the step, has changed."""
        if self._stream is not None:
            torch.cuda.synchronize()
        self._graphs.clear()

    def read(self) -> Reading:
        """Wait for the device, and read loss, norm and counts back."""
        found = torch.cat([self._loss_and_norm, self._counts])
        loss, norm, skipped, in_a_row, worst = found.tolist()
        return Reading(loss, norm, int(skipped), int(in_a_row), int(worst))

    def set_counts(self, reading: Reading) -> None:
        """Set loss, norm and counts on the device, for a resumed training."""
        counts = [reading.skipped, reading.in_a_row]
        self._loss_and_norm.copy_(torch.tensor([reading.loss, reading.norm]))
        self._counts.copy_(torch.tensor([*counts, reading.in_a_row], dtype=torch.float32))

    def _can_capture(self, shape: Shape) -> bool:
        """Whether a step of this shape has run before, and there are fewer than MAX_GRAPHS graphs.

        The buffer of the carried state, if there is one, must exist before the capture.
        """
        ready = self.carried_state is not None or not self._data.continues
        captured = sum(graph is not None for graph in self._graphs.values())
        seen = self._stream is not None and shape in self._graphs
        return seen and ready and captured < MAX_GRAPHS

    def _capture(self, shape: Shape) -> torch.cuda.CUDAGraph:
        """The graph of a step, captured but not yet launched."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.stream(self._stream):
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                self._run(shape)
            finally:
                graph.capture_end()
        self._pool = graph.pool()
        return graph

    def _run(self, shape: Shape) -> None:
        """A whole step on the device, on the uploaded batch and rates."""
        batch = TensorBatch(*self._data.batch(shape), state=self.carried_state, fixed=True)
        kind, low = self._rates.device.type, self.precision != torch.float32
        with torch.autocast(kind, dtype=self.precision, enabled=low):
            found = self.model.loss(batch, smoothing=self.smoothing)
        mean = found.total / found.count
        gradients = torch.autograd.grad(mean, self._parts, materialize_grads=True)
        torch.cat([part.reshape(-1) for part in gradients], out=self._gradient)
        norm = torch.linalg.vector_norm(self._gradient)
        finite = mean.detach().isfinite() & norm.isfinite()
        self._not_finite.copy_(~finite)
        self._gradient.mul_(torch.where(norm > self.clip, self.clip / norm, 1.0))
        self._update()
        if self.buffers.average is not None:
            self.buffers.average.lerp_(self.buffers.weights, self._rates[1] * finite)
        self._loss_and_norm.copy_(torch.stack([mean.detach().float(), norm.float()]))
        self._count()
        if self._data.continues and found.state is not None:
            self._carry_over(found.state.detach(), finite)

    def _update(self) -> None:
        """AdamW in one kernel, which changes nothing if the loss or the gradient is not finite.

        ``torch.optim.AdamW(fused=True)`` calls the same kernel; that class takes seconds to load.
        """
        buffers = self.buffers
        buffers.step.add_(1.0 - self._not_finite)
        torch.ops.aten._fused_adamw_.tensor_lr(
            [buffers.weights],
            [self._gradient],
            [buffers.exp_avg],
            [buffers.exp_avg_sq],
            [],
            [buffers.step],
            lr=self._rates[0],
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=self.decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
            found_inf=self._not_finite,
        )

    def _count(self) -> None:
        """Count skipped steps: all, those in a row, and the maximum of these."""
        skipped, in_a_row, worst = self._counts.unbind()
        in_a_row = (in_a_row + 1) * self._not_finite
        found = [skipped + self._not_finite, in_a_row, torch.maximum(worst, in_a_row)]
        self._counts.copy_(torch.stack(found))

    def _carry_over(self, state: Tensor, finite: Tensor) -> None:
        """Keep the state for the next batch; zeros after a step that was not finite."""
        if self.carried_state is None:
            self.carried_state = torch.zeros_like(state)
        self.carried_state.copy_(torch.where(finite, state, 0.0))
