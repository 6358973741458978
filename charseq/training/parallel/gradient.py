"""batch -> parts, part -> sum of the losses and its gradient: the work of one rank.

    g = Σ_r g_r / Σ_r n_r
with g_r the gradient of Σ_i w_i L_i over the rows of rank r, and n_r the weighted count of labels.

Sums and counts are added over the ranks and divided once. A mean of means would give the symbols of
a small part more weight. Row i of a batch belongs to rank i mod W; the rows of a batch are sorted
by length, so all ranks have nearly the same work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from charseq.data.batches import Batch
from charseq.data.text.vocabulary import PAD
from charseq.models.loss import Loss, TensorBatch, TrainableModel

if TYPE_CHECKING:
    from jaxtyping import Float

_ARRAYS = ("source", "source_lengths", "inputs", "labels", "weights")


@dataclass(frozen=True)
class Sums:
    """The results of a rank on its rows, besides the gradient."""

    total: float
    """Weighted sum of the losses, in nats."""
    count: float
    """Weighted count of the labels."""
    state: Float[np.ndarray, "L K B H"] | None
    """The recurrent state after its rows, where the next batch continues them."""


def split(batch: Batch, ranks: int) -> list[Batch]:
    """The rows of every rank, without the padding that they do not need; no rank without rows."""
    found = []
    for rank in range(min(ranks, len(batch.weights))):
        rows: dict[str, Any] = {name: getattr(batch, name)[rank::ranks] for name in _ARRAYS}
        longest = int(rows["source_lengths"].max())
        steps = int((rows["labels"] != PAD).sum(axis=1).max())
        rows["source"] = rows["source"][:, :longest]
        rows["inputs"], rows["labels"] = rows["inputs"][:, :steps], rows["labels"][:, :steps]
        rows = {name: np.ascontiguousarray(array) for name, array in rows.items()}
        found.append(replace(batch, **rows))
    return found


def to_tensors(batch: Batch, state: Tensor | None, device: torch.device) -> TensorBatch:
    """The batch on a device, with the recurrent state from the batch before."""
    tensors: dict[str, Any] = {
        name: torch.from_numpy(getattr(batch, name)).to(device) for name in _ARRAYS
    }
    return TensorBatch(**tensors, state=state)


def loss_of(
    model: TrainableModel, given: TensorBatch, *, precision: torch.dtype, smoothing: float
) -> Loss:
    """The loss of a batch, with products in a number format."""
    low = precision != torch.float32
    with torch.autocast(given.labels.device.type, dtype=precision, enabled=low):
        return model.loss(given, smoothing=smoothing)
