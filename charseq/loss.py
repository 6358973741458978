"""logits, labels -> (sum, count): cross-entropy, in nats, over the symbols that are not padding.

    L = -Σ_i w_i Σ_k q_k log softmax(o_i)_k,   q = (1 - ε) y + ε / V
with label smoothing ε (Szegedy et al. 2016) and a weight w per row. Sum and count come apart, so
that sums over batches, devices or ranks divide by the right count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from charseq.vocabulary import PAD

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def cross_entropy(
    logits: Float[Tensor, "B T V"],
    labels: Int[Tensor, "B T"],
    *,
    weights: Float[Tensor, "B"] | None = None,
    smoothing: float = 0.0,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Weighted sum of the losses and the weighted count of labels that are not ``PAD``."""
    losses = nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(),
        labels.reshape(-1),
        ignore_index=PAD,
        label_smoothing=smoothing,
        reduction="none",
    ).view_as(labels)
    counted = (labels != PAD).to(losses.dtype)
    if weights is not None:
        losses = losses * weights[:, None]
        counted = counted * weights[:, None]
    return losses.sum(), counted.sum()
