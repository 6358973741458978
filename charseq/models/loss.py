"""logits, labels -> (sum, count): cross-entropy, in nats, over the symbols that are not padding.

    L = -Σ_i w_i Σ_k q_k log softmax(o_i)_k,   q = (1 - ε) y + ε / V
with label smoothing ε (Szegedy et al. 2016) and a weight w per row. Sum and count are apart, so
that sums over batches, devices or ranks are divided by the right count.

With tens of thousands of words, logits and softmax are most of the work. There the loss takes the
readout r instead of the logits o = W r + b, and computes its gradient in the forward pass, so that
only a part of the logits exists at a time. Over a sample S of the words (sampled softmax) it is
    L = -log (e^{o_y} / (e^{o_y} + Σ_{k in S, k ≠ y} e^{o_k} / π_k))
where π_k is the probability that S has k. The expected sum is the exact one (Bengio & Senecal 2008;
Jean et al. 2015), and with every word in S the loss is the exact one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from charseq.data.text.vocabulary import EOS, PAD
from charseq.kernels import matmul

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int

OUTCOMES = EOS
"""The first symbol that may be predicted; padding and BOS come before."""

MAX_LOGITS = 2**25
"""Logits that exist at a time in :class:`Softmax`, in the format of the products."""
MAX_FLOAT32_LOGITS = 2**19
"""Logits in float32 at a time on a CPU: few enough for its cache."""


@dataclass(frozen=True)
class TensorBatch:
    """A batch as tensors, with the state to start from where it continues the batch before."""

    source: Int[Tensor, "B S"]
    source_lengths: Int[Tensor, "B"]
    inputs: Int[Tensor, "B T"]
    labels: Int[Tensor, "B T"]
    weights: Float[Tensor, "B"]
    state: Float[Tensor, "L K B H"] | None = None
    fixed: bool = False
    """Whether no shape may depend on a value, so that a CUDA graph can be captured."""


@dataclass(frozen=True)
class Loss:
    """The weighted sum over a batch, its weighted count, and the state after the batch, if any."""

    total: Float[Tensor, ""]
    count: Float[Tensor, ""]
    state: Float[Tensor, "L K B H"] | None = None


DROPOUTS = ("dropout", "embedding_dropout", "recurrent_dropout")
"""Attributes of modules with the shares of their values that are zero in training."""
MAX_GROWN_DROPOUT = 0.65
"""Largest share that a dropout grows to; a larger one does not grow."""


class TrainableModel(nn.Module):
    """A network with a loss: all that the trainer needs."""

    def scale_dropout(self, factor: float) -> None:
        """Set every dropout to ``factor`` times what it was at first, at most 0.65."""
        for module in self.modules():
            first: dict[str, float] = module.__dict__.setdefault("first_dropouts", {})
            for name in DROPOUTS:
                if hasattr(module, name):
                    share = first.setdefault(name, getattr(module, name))
                    setattr(module, name, min(factor * share, max(MAX_GROWN_DROPOUT, share)))

    def loss(self, given: TensorBatch, *, smoothing: float) -> Loss:
        """The loss of a batch, with label smoothing ``smoothing``."""
        raise TypeError(f"{type(self).__name__} has no loss for {given.labels.shape}, {smoothing}")


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


class SoftmaxSample(NamedTuple):
    """The symbols of a sampled softmax: those of the batch, and those drawn."""

    symbols: Tensor
    """K, in ascending order."""
    correction: Tensor
    """K: -log π_k, added to a logit; -inf for a symbol of the batch that was not drawn."""
    positions: Tensor
    """V: the index of each symbol among ``symbols``, where it is one of them."""


def draw(
    probabilities: Float[Tensor, "V"], own: Int[Tensor, "..."], *, size: int | None = None
) -> SoftmaxSample:
    """A sample of each symbol by itself with its probability, besides the batch's ``own`` symbols.

    With ``size`` the sample has that size: the batch's symbols, then those drawn, then others as
    padding, which have no effect.
    """
    drawn = torch.rand_like(probabilities) < probabilities
    correction = torch.where(drawn, -probabilities.log(), -torch.inf)
    taken = drawn.index_fill(0, own.flatten(), value=True)
    if size is None:
        symbols = taken.nonzero()[:, 0]
        return SoftmaxSample(symbols, correction[symbols], taken.cumsum(0) - 1)
    rank = 2 - taken.int() - torch.zeros_like(taken).index_fill(0, own.flatten(), value=True).int()
    order = rank.sort(stable=True).indices
    positions = torch.empty_like(order).scatter_(
        0, order, torch.arange(len(order), device=own.device)
    )
    return SoftmaxSample(order[:size], correction[order[:size]], positions)


def sample_size(samples: int, own: int, symbols: int) -> int:
    """A ``size`` for :func:`draw` that loses a drawn symbol once in a billion steps.

    The number drawn has a standard deviation below √samples; ``own`` counts the batch's symbols.
    """
    return min(symbols, own + samples + math.ceil(6 * math.sqrt(samples)))


def sampling_probabilities(counts: Int[Tensor, "V"], samples: int) -> Float[Tensor, "V"]:
    """π: proportional to count^0.75 (Mikolov et al. 2013), at most 1, summing to ``samples``.

    A symbol that never occurs counts as occurring once. Symbols below ``OUTCOMES`` are never drawn.
    """
    shares = counts.clamp(min=1).double()[OUTCOMES:] ** 0.75
    ranked = shares.sort(descending=True).values
    left = samples - torch.arange(len(ranked), device=counts.device)
    # scale[k]: the factor of all other shares if the k most frequent symbols are certain
    scale = left / ranked.flip(0).cumsum(0).flip(0)
    certain = int((scale * ranked > 1).sum())
    found = torch.ones_like(shares)
    if certain < len(shares):
        found = (shares * scale[certain]).clamp(max=1)
    return nn.functional.pad(found, (OUTCOMES, 0)).float()


def softmax_loss(
    outputs: Float[Tensor, "N E"],
    matrix: Float[Tensor, "K E"],
    bias: Float[Tensor, "K"],
    labels: Int[Tensor, "N"],
    *,
    weights: Float[Tensor, "N"],
    correction: Float[Tensor, "K"] | None = None,
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Weighted sum of the losses of the logits ``outputs @ matrix.T + bias``.

    Products are in autocast's format where that is on, the softmax in float32 or better. Without
    ``correction`` the rows of the matrix are all symbols. With the correction of a
    :class:`SoftmaxSample` they are its symbols, and ``labels`` are indices of these; the smoothed
    part of the loss is then estimated from the sample, too.
    """
    if correction is None:
        correction = torch.zeros_like(bias)
        correction[:OUTCOMES] = -torch.inf
    kind = outputs.device.type
    low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else outputs.dtype
    wide = torch.promote_types(outputs.dtype, torch.float32)
    total: Tensor = Softmax.apply(
        outputs, matrix, bias, labels, weights.to(wide), correction.to(wide), smoothing, low
    )
    return total


class Softmax(torch.autograd.Function):
    """The loss of a softmax with the product before it, a block of rows at a time.

    With p = softmax(o), ∂L/∂o = w (p - q), and the rest are three products:
    ∂L/∂r = W^T ∂L/∂o, ∂L/∂W = Σ ∂L/∂o r^T, ∂L/∂b = Σ ∂L/∂o  (sheet A).
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - torch passes them by position
        ctx: Any,
        outputs: Tensor,
        matrix: Tensor,
        bias: Tensor,
        labels: Tensor,
        weights: Tensor,
        correction: Tensor,
        smoothing: float,
        low: torch.dtype,
    ) -> Tensor:
        """Σ_i w_i L_i, in the format of ``weights``; products are in ``low``."""
        product, factors = _product(outputs, matrix, low)
        to_outputs, to_matrix, to_bias = map(torch.zeros_like, (outputs, matrix, bias))
        total = weights.new_zeros(())
        size = max(1, MAX_LOGITS // len(matrix))
        for start in range(0, len(outputs), size):
            part = slice(start, start + size)
            weight = weights[part, None]
            logits = product(outputs[part], factors.T, bias)
            total += (
                losses_and_gradients(logits, labels[part], correction, smoothing) @ weights[part]
            )
            to_outputs[part] = product(logits, factors) * weight
            to_matrix += product(logits.T, (outputs[part] * weight).to(low))
            to_bias += product(weight.T, logits)[0]
        ctx.save_for_backward(to_outputs, to_matrix, to_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the forward pass, times the gradient of the sum."""
        found = (gradient * gradients[0] for gradient in ctx.saved_tensors)
        return *found, None, None, None, None, None


def _product(
    outputs: Tensor, matrix: Tensor, low: torch.dtype
) -> tuple[Callable[..., Tensor], Tensor]:
    """``product(left, right, bias)`` with factors in ``low``, and the matrix as a factor of it.

    With a bias the product is in ``low``; without one it may be in float32.

    On a CPU bfloat16 products are those of the compiled library, where it is there: torch compiles
    and keeps code for every new shape, and with a sampled softmax the shapes are new at each step.
    """
    own = (
        not outputs.is_cuda
        and low == torch.bfloat16
        and outputs.dtype in matmul.FORMATS
        and matrix.dtype == torch.float32
        and matmul.available()
    )

    def multiply(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
        kind = torch.float32 if bias is None else low
        out = torch.empty(len(left), right.shape[1], dtype=kind)
        return matmul.multiply(left, right, out, bias)

    def multiply_in_torch(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
        if bias is None:
            return left.to(low) @ right
        return torch.addmm(bias.to(low), left.to(low), right)

    return (multiply, matrix) if own else (multiply_in_torch, matrix.to(low))


def losses_and_gradients(
    logits: Tensor, labels: Tensor, correction: Tensor, smoothing: float
) -> Tensor:
    """The losses L_i of rows of logits; the logits are replaced by their gradients p - q."""
    losses = []
    even = correction.exp()
    even *= smoothing / even.sum().clamp(min=1)  # without a sample there is no smoothing
    spread = even.sum()
    size = max(1, (MAX_LOGITS if logits.is_cuda else MAX_FLOAT32_LOGITS) // logits.shape[1])
    for start in range(0, len(logits), size):
        block, positions = logits[start : start + size], labels[start : start + size, None]
        scores = block.to(correction.dtype)
        own = scores.gather(1, positions)
        shares = (scores + correction).scatter_(1, positions, own).softmax(1)
        share = shares.gather(1, positions)
        # a share below the format's smallest number counts as that; its gradient is right anyway
        losses.append(-share.clamp(min=torch.finfo(share.dtype).tiny).log())
        shares.scatter_(1, positions, share - 1)
        if smoothing:
            losses[-1] += spread * own - (scores @ even)[:, None]
            shares.sub_(even).scatter_add_(1, positions, spread.expand_as(share))
        block.copy_(shares)
    return torch.cat(losses)[:, 0]
