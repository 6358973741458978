"""batches -> what a step on a GPU is fed with: few shapes, and data that are there already.

A step is recorded once for each shape of a batch (see ``recorder``), so shapes are rounded up and
there are few. Pairs and lines lie on the device from the start, all symbols one after another; of
a batch only the numbers of its rows are sent, and the step gathers the symbols itself. Running
text is sent as it is. A batch of fewer rows than others is filled up with rows of no weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from charseq.data.batches import Batches, Lines, Stream
from charseq.data.text.vocabulary import BOS, EOS, PAD

if TYPE_CHECKING:
    from jaxtyping import Int, Integer

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
    """The tensors of a batch; see :class:`charseq.models.loss.Given`."""

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


class Resident:
    """Pairs or lines on the device; a batch is sent as the numbers of its rows."""

    goes_on = False

    def __init__(self, batches: Batches | Lines, device: torch.device) -> None:
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


class Sent:
    """Running text, whose batches are sent as they are."""

    goes_on = True

    def __init__(self, batches: Stream, device: torch.device) -> None:
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
        return shape, count, batch.goes_on

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


def feed_of(batches: Batches | Lines | Stream, device: torch.device) -> Resident | Sent:
    """How the batches of a run come to the device."""
    if isinstance(batches, Stream):
        return Sent(batches, device)
    return Resident(batches, device)


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
