"""ids <-> one-hot rows, and the gather that equals the product.

A symbol enters a network as the one-hot vector x of length V (sheet E). The first thing done to it
is a product with an embedding matrix, and since x has a single 1, that product is one row of the
matrix: the gather below is the product, without the multiplications by zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def encode(ids: Int[Tensor, "*time"], size: int) -> Float[Tensor, "*time V"]:
    """One-hot rows: 1 at each id, 0 elsewhere. Raises ValueError for an id outside 0..size-1."""
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= size):
        raise ValueError(f"ids from {int(ids.min())} to {int(ids.max())}, expected 0 to {size - 1}")
    rows = torch.zeros(*ids.shape, size, device=ids.device)
    return rows.scatter_(-1, ids[..., None], 1.0)


def decode(rows: Float[Tensor, "*time V"]) -> Int[Tensor, "*time"]:
    """The id of the largest value of each row: the inverse of :func:`encode`, and of a softmax."""
    return rows.argmax(dim=-1)


def embed(ids: Int[Tensor, "*time"], matrix: Float[Tensor, "V E"]) -> Float[Tensor, "*time E"]:
    """``encode(ids, V) @ matrix`` as a gather: the same values, bit for bit, and its gradient."""
    rows: Tensor = Gather.apply(ids, matrix)
    return rows


class Gather(torch.autograd.Function):
    """x^T M for one-hot x; backwards ∂L/∂M = Σ_t x_t (∂L/∂e_t)^T, which adds up equal symbols."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, matrix: Tensor) -> Tensor:
        """The rows of ``matrix`` at ``ids``."""
        ctx.save_for_backward(ids)
        ctx.size = matrix.shape[0]
        return matrix.index_select(0, ids.flatten()).view(*ids.shape, matrix.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        """The sum over steps, for each symbol, in the order of the steps."""
        (ids,) = ctx.saved_tensors
        gradient = gradients[0].reshape(ids.numel(), gradients[0].shape[-1])
        if gradient.is_cuda:  # index_add_ there adds in no fixed order
            return None, add_up(ids, gradient, ctx.size)
        total = gradient.new_zeros(ctx.size, gradient.shape[1])
        return None, total.index_add_(0, ids.flatten(), gradient)


FEW = 512
"""Rows of a matrix whose gradient a GPU has sooner as a product than by sorting the ids."""


def add_up(
    ids: Int[Tensor, "*time"], gradient: Float[Tensor, "N E"], size: int
) -> Float[Tensor, "V E"]:
    """The sum of the rows of equal ids, in an order that their number alone decides."""
    if size > FEW:
        summed: Tensor = torch.ops.aten.embedding_dense_backward(
            gradient, ids.flatten(), size, -1, scale_grad_by_freq=False
        )
        return summed
    symbols = torch.arange(size, device=ids.device)
    return (symbols[:, None] == ids.flatten()).to(gradient.dtype) @ gradient
