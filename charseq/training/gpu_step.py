"""model, batches -> steps on a GPU, each recorded once for its shape and then played again.

A step of so small a model is some hundred kernels of a few microseconds, which take longer to
start than to run. So all of it, from the symbols to the average of the weights, is a CUDA graph:
the first batch of a shape runs as it is, the second is recorded, and from then on one call starts
everything. Nothing may depend on the host in between, and nothing does:

- what changes from step to step, the rate and which rows are read, lies in memory that is sent to;
- noise comes from (seed, step): torch's generator is seeded before each play, and a graph draws
  from where the generator stands, so recorded or not, the numbers are the same;
- whether loss and gradient are finite is decided on the device: if not, AdamW is told so and leaves
  weights and moments alone, the average does not move, and a counter does.

Losses stay on the device until they are read. On a CPU the same step runs without recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from charseq.data.batches import Batches, LineBatches, StreamBatches
from charseq.data.text.vocabulary import BOS, EOS, PAD
from charseq.models.loss import TensorBatch, TrainableModel

if TYPE_CHECKING:
    from jaxtyping import Int, Integer

    from charseq.data.batches import Batches, LineBatches, StreamBatches

RING = 64
"""Batches whose numbers may be on their way at once; the trainer waits more often than that."""
TABLE = 2**27
"""Most symbols of texts, padding included, that are kept as a table."""
FINEST = 4
"""Lengths are rounded up to a multiple of this, or of an eighth to a quarter of themselves."""


class Shape(NamedTuple):
    """Rows, symbols of a source (0 where there are none), symbols of inputs and labels."""

    rows: int
    source: int
    target: int


class Fed(NamedTuple):
    """The tensors of a batch; see :class:`charseq.models.loss.TensorBatch`."""

    source: Tensor
    source_lengths: Tensor
    inputs: Tensor
    labels: Tensor
    weights: Tensor


class Texts:
    """Texts on a device; ``offsets`` has the beginning of each among ``ids``, and the end.

    As a table, padded to the longest, if that is not too large; else one after another.
    """

    def __init__(
        self, ids: Integer[np.ndarray, "_"], offsets: Int[np.ndarray, "_"], device: torch.device
    ) -> None:
        sizes = np.diff(offsets).astype(np.int64)
        self.ids = torch.from_numpy(np.ascontiguousarray(ids, dtype=np.int32)).to(device)
        self.begins = torch.from_numpy(offsets[:-1].astype(np.int64)).to(device)
        self.lengths = torch.from_numpy(sizes).to(device)
        self.table: Tensor | None = None
        longest = rounded(int(sizes.max(initial=1)))
        if len(sizes) * longest <= TABLE:
            everyone = torch.arange(len(sizes), device=device)
            self.table = self._gather(everyone, longest).int()

    def take(self, rows: Tensor, columns: int) -> Tensor:
        """Texts ``rows``, padded to ``columns``."""
        if self.table is not None:
            return self.table.index_select(0, rows)[:, :columns].long()
        return self._gather(rows, columns)

    def _gather(self, rows: Tensor, columns: int) -> Tensor:
        places = torch.arange(columns, device=rows.device)
        inside = places < self.lengths[rows][:, None]
        index = self.begins[rows][:, None] + places
        found = self.ids.take(index.clamp_(max=max(len(self.ids) - 1, 0)))
        return torch.where(inside, found, PAD).long()


class DeviceDataset:
    """Pairs or lines on the device; a batch is sent as the numbers of its rows."""

    goes_on = False

    def __init__(self, batches: Batches | LineBatches, device: torch.device) -> None:
        self._batches = batches
        self._source: Texts | None = None
        if isinstance(batches, Batches):
            self._source = Texts(batches.sources.flat, batches.sources.offsets, device)
            ids, offsets = batches.targets.flat, batches.targets.offsets
            self._lengths = batches.lengths
            weights = batches.weights
        else:
            ids, offsets = batches.ids, batches.offsets
            lengths = np.diff(offsets)
            self._lengths = np.stack([np.zeros_like(lengths), lengths], axis=1)
            weights = np.ones(len(lengths), dtype=np.float32)
        self._target = Texts(*_between(ids, offsets), device)
        self._weights = torch.from_numpy(weights).to(device)
        self._size = min(batches.batch_size, len(weights))
        # the last number of a row is how many of the others are meant
        pinned = device.type == "cuda"
        self._ring = torch.zeros(RING, self._size + 1, dtype=torch.int64, pin_memory=pinned)
        self._rows = torch.zeros(self._size + 1, dtype=torch.int64, device=device)
        self._places = torch.arange(self._size, device=device)

    def feed(self, step: int) -> tuple[Shape, int, bool]:
        """Send a batch: its shape, its examples, and whether its rows go on in the next one."""
        rows = self._batches.rows(step)
        slot = self._ring[step % RING]
        sent = slot.numpy()
        sent[: len(rows)] = rows
        sent[len(rows) : -1] = rows[0]
        sent[-1] = len(rows)
        self._rows.copy_(slot, non_blocking=True)
        source, target = self._lengths[rows].max(axis=0)
        # a target has one symbol more: the inputs' BOS, or the labels' EOS
        shape = Shape(self._size, rounded(int(source)), rounded(int(target) + 2) - 1)
        return shape, len(rows), False

    def give(self, shape: Shape) -> Fed:
        """The batch that was sent, padded to ``shape``; nothing here depends on a value."""
        rows, count = self._rows[:-1], self._rows[-1]
        if self._source is None:
            source = rows.new_zeros(shape.rows, 0)
            lengths = torch.zeros_like(rows)
        else:
            source = self._source.take(rows, shape.source)
            lengths = self._source.lengths[rows]
        whole = self._target.take(rows, shape.target + 1)
        # of BOS, symbols and EOS the inputs have all but the end, the labels all but the beginning
        inputs, labels = whole[:, :-1], whole[:, 1:]
        inputs = inputs.masked_fill(labels == PAD, PAD)
        weights = self._weights[rows] * (self._places < count)
        return Fed(source, lengths, inputs, labels, weights)


class StreamUpload:
    """Running text, whose batches are sent as they are."""

    goes_on = True

    def __init__(self, batches: StreamBatches, device: torch.device) -> None:
        self._batches = batches
        self._device = device
        self._rooms: dict[Shape, tuple[Tensor, Tensor]] = {}

    def feed(self, step: int) -> tuple[Shape, int, bool]:
        """Send a batch: its shape, its examples, and whether its rows go on in the next one."""
        batch = self._batches[step]
        count, columns = batch.inputs.shape
        shape = Shape(count, 0, columns)
        for room, values in zip(self._room(shape), (batch.inputs, batch.labels), strict=True):
            room.copy_(torch.from_numpy(values))
        return shape, count, batch.continues

    def give(self, shape: Shape) -> Fed:
        """The batch that was sent."""
        inputs, labels = self._room(shape)
        lengths = inputs.new_zeros(shape.rows)
        weights = torch.ones(shape.rows, device=inputs.device)
        return Fed(inputs[:, :0], lengths, inputs, labels, weights)

    def _room(self, shape: Shape) -> tuple[Tensor, Tensor]:
        if shape not in self._rooms:
            size = (2, shape.rows, shape.target)
            both = torch.zeros(size, dtype=torch.int64, device=self._device)
            self._rooms[shape] = both[0], both[1]
        return self._rooms[shape]


def feed_of(
    batches: Batches | LineBatches | StreamBatches, device: torch.device
) -> DeviceDataset | StreamUpload:
    """How the batches of a run come to the device."""
    if isinstance(batches, StreamBatches):
        return StreamUpload(batches, device)
    return DeviceDataset(batches, device)


def rounded(length: int) -> int:
    """A length that few others share, up to a quarter longer where it is more than sixteen."""
    step = max(FINEST, 1 << max(length.bit_length() - 3, 0))
    return -(-length // step) * step


def _between(
    ids: Integer[np.ndarray, "_"], offsets: Int[np.ndarray, "_"]
) -> tuple[np.ndarray, np.ndarray]:
    """The same texts, each with BOS before it and EOS behind it."""
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
"""AdamW's."""
MOST_GRAPHS = 96
"""Shapes that are recorded; others, if there are more, run as they are."""


class Buffers(NamedTuple):
    """What a step moves, one after the other in the order of the parameters; and AdamW's count."""

    weights: Tensor
    average: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    step: Tensor


@dataclass(frozen=True)
class Reading:
    """What the device says of the last step, and of the steps that were skipped so far."""

    loss: float
    norm: float
    skipped: int
    in_a_row: int
    """Skipped steps in a row, up to now."""
    worst: int
    """The most there were since the counts were set."""


class GraphedStep:
    """The steps of one training: the model, one buffer of its weights, average, moments."""

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
        """``decay`` and ``betas`` are those of AdamW."""
        self.model = model
        self.buffers = buffers
        self.precision = precision
        self.clip = clip
        self.smoothing = smoothing
        self.decay = decay
        self.betas = betas
        self.carried: Tensor | None = None
        """The state at the end of each row, where rows go on in the next batch."""
        self._parts = list(model.parameters())
        device = buffers.weights.device
        self._feed = feed_of(batches, device)
        # rate, and how far the average follows
        self._ring = torch.zeros(RING, 2, pin_memory=device.type == "cuda")
        self._told = torch.zeros(2, device=device)
        self._seen = torch.zeros(2, device=device)
        self._counts = torch.zeros(3, device=device)
        self._broken = torch.zeros((), device=device)
        self._gradient = torch.zeros_like(buffers.average)
        self._graphs: dict[Shape, torch.cuda.CUDAGraph | None] = {}
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._pool: Any = None

    def step(self, number: int, rate: float, follow: float) -> int:
        """Start step ``number``, counted from 0; how many examples it has.

        ``follow`` is the share of the way that the average goes towards the weights. The noise is
        that of torch's generator, which is to be seeded before.
        """
        slot = self._ring[number % RING]
        slot[0], slot[1] = rate, follow
        self._told.copy_(slot, non_blocking=True)
        shape, examples, goes_on = self._feed.feed(number)
        graph = self._graphs.get(shape)
        if graph is not None:
            graph.replay()
        elif self._may_record(shape):
            self._graphs[shape] = graph = self._record(shape)
            graph.replay()
        else:
            self._graphs.setdefault(shape, None)
            self._run(shape)
        if self.carried is not None and not goes_on:
            self.carried.zero_()
        return examples

    def read(self) -> Reading:
        """Wait for the device, and see."""
        loss, norm, skipped, in_a_row, worst = torch.cat([self._seen, self._counts]).tolist()
        return Reading(loss, norm, int(skipped), int(in_a_row), int(worst))

    def set_counts(self, reading: Reading) -> None:
        """Go on counting from here."""
        seen, counts = [reading.loss, reading.norm], [reading.skipped, reading.in_a_row]
        self._seen.copy_(torch.tensor(seen))
        self._counts.copy_(torch.tensor([*counts, reading.in_a_row], dtype=torch.float32))

    def _may_record(self, shape: Shape) -> bool:
        """Whether a step of this shape has run before, and there is room for one more graph.

        And the state that is carried, if any, must have its place by then.
        """
        ready = self.carried is not None or not self._feed.goes_on
        recorded = sum(graph is not None for graph in self._graphs.values())
        seen = self._stream is not None and shape in self._graphs
        return seen and ready and recorded < MOST_GRAPHS

    def _record(self, shape: Shape) -> torch.cuda.CUDAGraph:
        """The graph of a step; it has not run yet."""
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
        """A whole step on the device, of what was sent; see the module."""
        given = TensorBatch(*self._feed.give(shape), state=self.carried, fixed=True)
        kind, low = self._told.device.type, self.precision != torch.float32
        with torch.autocast(kind, dtype=self.precision, enabled=low):
            found = self.model.loss(given, smoothing=self.smoothing)
        mean = found.total / found.count
        gradients = torch.autograd.grad(mean, self._parts, materialize_grads=True)
        torch.cat([part.reshape(-1) for part in gradients], out=self._gradient)
        norm = torch.linalg.vector_norm(self._gradient)
        sound = mean.detach().isfinite() & norm.isfinite()
        self._broken.copy_(~sound)
        self._gradient.mul_(torch.where(norm > self.clip, self.clip / norm, 1.0))
        self._update()
        self.buffers.average.lerp_(self.buffers.weights, self._told[1] * sound)
        self._seen.copy_(torch.stack([mean.detach().float(), norm.float()]))
        self._count()
        if self._feed.goes_on and found.state is not None:
            self._carry(found.state.detach(), sound)

    def _update(self) -> None:
        """AdamW in one kernel, which does nothing after a broken step.

        It is what ``torch.optim.AdamW(fused=True)`` calls; that class takes seconds to load.
        """
        known = self.buffers
        known.step.add_(1.0 - self._broken)
        torch.ops.aten._fused_adamw_.tensor_lr(
            [known.weights],
            [self._gradient],
            [known.exp_avg],
            [known.exp_avg_sq],
            [],
            [known.step],
            lr=self._told[0],
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=self.decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
            found_inf=self._broken,
        )

    def _count(self) -> None:
        """Skipped steps: all, in a row, and the most in a row."""
        skipped, in_a_row, worst = self._counts.unbind()
        in_a_row = (in_a_row + 1) * self._broken
        found = [skipped + self._broken, in_a_row, torch.maximum(worst, in_a_row)]
        self._counts.copy_(torch.stack(found))

    def _carry(self, state: Tensor, sound: Tensor) -> None:
        """What the next batch begins with: the state, or nothing after a broken step."""
        if self.carried is None:
            self.carried = torch.zeros_like(state)
        self.carried.copy_(torch.where(sound, state, 0.0))
