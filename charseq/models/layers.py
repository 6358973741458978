"""Layers besides the recurrence: attention, embedding, dropout.

Soft attention is scaled dot-product attention (Luong et al. 2015; Vaswani et al. 2017, eq. 1) for
all output steps at once, since the decoder's recurrence does not depend on the contexts:
    weights_t = softmax_s(q_t · k_s / √H)      context_t = Σ_s weights_{t,s} v_s
Keys and values are computed from the memory once per text. Masked positions get exactly zero
weight.

Hard monotonic attention (Aharoni & Goldberg 2017) reads the memory at one position per step, to
which the actions written so far have advanced; see ``data.text.alignment``.

Dropout (Srivastava et al. 2014) draws its noise in whole bytes, which is cheap on a CPU.
"""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from charseq.data.text.alignment import Actions
from charseq.kernels import library
from charseq.kernels.matmul import linear

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class Attention(nn.Module):
    """Soft attention: key and value matrices over a memory of M units."""

    def __init__(self, query: int, memory: int, value: int) -> None:
        super().__init__()
        self.key = nn.Linear(memory, query, bias=False)
        self.value = nn.Linear(memory, value, bias=False)
        self.scale = 1.0 / math.sqrt(query)
        for layer in (self.key, self.value):
            nn.init.xavier_uniform_(layer.weight)

    def forward(
        self,
        queries: Float[Tensor, "T B H"],
        memory: Float[Tensor, "S B M"],
        mask: Bool[Tensor, "B S"],
    ) -> tuple[Float[Tensor, "T B E"], Float[Tensor, "B T S"]]:
        """Contexts of all steps, and the weights. ``mask`` is false in the padding."""
        keys = linear(memory, self.key.weight).permute(1, 2, 0)
        values = linear(memory, self.value.weight).transpose(0, 1)
        scores = (queries.transpose(0, 1) * self.scale) @ keys
        scores = scores.to(self.key.weight.dtype).masked_fill(~mask[:, None], -math.inf)
        weights = scores.softmax(dim=-1)
        contexts = weights.to(values.dtype) @ values
        return contexts.transpose(0, 1), weights


class Pointer(nn.Module):
    """Hard attention: the memory at each step's position, for the decoder and for the readout."""

    def __init__(self, memory: int, value: int, actions: Actions) -> None:
        super().__init__()
        self.actions = actions
        self.input = nn.Linear(memory, value, bias=False)
        self.output = nn.Linear(memory, value, bias=False)
        for layer in (self.input, self.output):
            nn.init.xavier_uniform_(layer.weight)

    def forward(
        self, memory: Float[Tensor, "S B M"], positions: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "T B E"], Float[Tensor, "T B E"]]:
        """The addends to the decoder's input and to the readout, by the position of each step."""
        both = linear(memory, torch.cat([self.input.weight, self.output.weight]))
        if memory.is_cuda:
            decoder_input, readout_input = select_positions(both, positions.T).chunk(2, dim=-1)
            return decoder_input, readout_input
        rows = positions.T * memory.shape[1] + torch.arange(
            memory.shape[1], device=positions.device
        )
        decoder_input, readout_input = embed(rows, both.flatten(0, 1)).chunk(2, dim=-1)
        return decoder_input, readout_input

    def positions(self, inputs: Int[Tensor, "B T"], steps: int) -> Int[Tensor, "B T"]:
        """The position of each step, 0 to ``steps`` - 1; ``inputs`` are the actions before it."""
        return (inputs >= self.actions.symbols).cumsum(dim=1).clamp(max=steps - 1)


def select_positions(
    values: Float[Tensor, "S B E"], positions: Int[Tensor, "T B"]
) -> Float[Tensor, "T B E"]:
    """Each row's values at its positions, as a product with one-hot rows.

    Its gradient sums in a fixed order on a GPU; the gradient of a gather does not.
    """
    rows = torch.arange(len(values), device=positions.device) == positions.T[:, :, None]
    return (rows.to(values.dtype) @ values.transpose(0, 1)).transpose(0, 1)


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
    rows: Tensor = GatherRows.apply(ids, matrix)
    return rows


class GatherRows(torch.autograd.Function):
    """x^T M for one-hot x; ∂L/∂M = Σ_t x_t (∂L/∂e_t)^T sums the gradients of equal symbols."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, matrix: Tensor) -> Tensor:
        """The rows of ``matrix`` at ``ids``."""
        ctx.save_for_backward(ids)
        ctx.size = matrix.shape[0]
        return matrix.index_select(0, ids.flatten()).view(*ids.shape, matrix.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        """The sum over steps for each symbol, in the order of the steps."""
        (ids,) = ctx.saved_tensors
        gradient = gradients[0].reshape(ids.numel(), gradients[0].shape[-1])
        if gradient.is_cuda:  # index_add_ sums in no fixed order there
            return None, sum_by_id(ids, gradient, ctx.size)
        total = gradient.new_zeros(ctx.size, gradient.shape[1])
        return None, total.index_add_(0, ids.flatten(), gradient)


def select(ids: Int[Tensor, "N"], matrix: Float[Tensor, "V E"]) -> Float[Tensor, "N E"]:
    """:func:`embed` for ids that are all different, with a gradient as in :func:`sum_rows`."""
    rows: Tensor = SumRows.apply(ids[:, None], matrix) if _adds_rows(matrix) else embed(ids, matrix)
    return rows


def sum_rows(ids: Int[Tensor, "N K"], matrix: Float[Tensor, "V E"]) -> Float[Tensor, "N E"]:
    """The sum of the K rows of each line of ``ids``.

    Where the gradient is added to a buffer, only the rows with ids are. A gradient of all rows, as
    large as the matrix and nearly all zeros, would else be made in every step.
    """
    if _adds_rows(matrix):
        summed: Tensor = SumRows.apply(ids, matrix)
        return summed
    return nn.functional.embedding_bag(ids, matrix, mode="sum")


def _adds_rows(matrix: Tensor) -> bool:
    """Whether a gradient is added to a dense buffer on a CPU, where it may be sparse."""
    return matrix.is_leaf and matrix.grad is not None and not matrix.is_cuda


class SumRows(torch.autograd.Function):
    """Sums of rows, with a sparse gradient of the same bits as the dense one of torch."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, matrix: Tensor) -> Tensor:
        """The sums of the rows of ``matrix`` at ``ids``."""
        ctx.save_for_backward(ids)
        ctx.shape = matrix.shape
        return nn.functional.embedding_bag(ids, matrix, mode="sum")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        """Each gradient at all of its rows; those of a row are in the order of torch's sort."""
        (ids,) = ctx.saved_tensors
        rows, order = ids.reshape(-1).sort()
        values = gradients[0].index_select(0, order // ids.shape[1])
        return None, torch.sparse_coo_tensor(rows[None], values, ctx.shape, check_invariants=False)


MAX_ONE_HOT = 512
"""Rows up to which a one-hot product is faster on a GPU than sorting the ids."""


def sum_by_id(
    ids: Int[Tensor, "*time"], gradient: Float[Tensor, "N E"], size: int
) -> Float[Tensor, "V E"]:
    """The sum of the rows of each id, in an order that depends on the shapes only."""
    if size > MAX_ONE_HOT:
        summed: Tensor = torch.ops.aten.embedding_dense_backward(
            gradient, ids.flatten(), size, -1, scale_grad_by_freq=False
        )
        return summed
    symbols = torch.arange(size, device=ids.device)
    return (symbols[:, None] == ids.flatten()).to(gradient.dtype) @ gradient


_FUNCTIONS = {torch.float32: "charseq_dropout", torch.bfloat16: "charseq_dropout_bf16"}


def variational_dropout(
    values: Float[Tensor, "T B H"], probability: float, *, training: bool
) -> Float[Tensor, "T B H"]:
    """Dropout with one mask for all steps of a row (Gal & Ghahramani 2016)."""
    if not training or not probability:
        return values
    factors: Tensor = Dropout.apply(torch.ones_like(values[:1]), probability)
    return values * factors


class Dropout(torch.autograd.Function):
    """Each value is 0 with the given probability, in steps of 1/256; the others are scaled up.

    On a CPU one random byte decides a value. Drawn eight at a time, bytes cost a tenth of torch's
    Bernoulli numbers. The compiled library applies them in one pass; without it torch does, with
    the same noise. On a GPU torch's own kernel is used, and the probability is exact.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, probability: float) -> Tensor:
        """The values after dropout."""
        ctx.probability = probability
        if values.is_cuda:
            dropped, kept = torch.ops.aten.native_dropout(values, probability, train=True)
            ctx.save_for_backward(kept)
            return cast("Tensor", dropped)
        limit = round(256 * probability)
        words = torch.empty(-(-values.numel() // 8), dtype=torch.int64, device=values.device)
        drawn = words.random_(-(2**63), None).view(torch.uint8)[: values.numel()]
        ctx.limit = limit if _fits(values) else None
        if ctx.limit is not None:
            ctx.save_for_backward(drawn)
            return _drop(values, drawn, limit)
        # a byte below the limit gives 0, any other 1
        factors = drawn.view(values.shape).to(values.dtype).sub_(limit - 1).clamp_(0, 1)
        ctx.save_for_backward(factors.mul_(256 / (256 - limit)))
        return values * factors

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient under the same mask."""
        (noise,) = ctx.saved_tensors
        if noise.is_cuda:
            scale = 1 / (1 - ctx.probability)
            return torch.ops.aten.native_dropout_backward(gradients[0], noise, scale), None
        if ctx.limit is not None:
            return _drop(gradients[0], noise, ctx.limit), None
        return gradients[0] * noise, None


def _fits(values: Tensor) -> bool:
    """Whether the compiled library is there and takes the format."""
    return values.device.type == "cpu" and values.dtype in _FUNCTIONS and library.find() is not None


def _drop(values: Tensor, drawn: Tensor, limit: int) -> Tensor:
    """0 where a value's byte is below ``limit``, else the value scaled up; by the library."""
    found = library.find()
    if found is None:
        raise RuntimeError("there is no compiled library")
    values = values.contiguous()
    dropped = torch.empty_like(values)
    getattr(found.library, _FUNCTIONS[values.dtype])(
        ctypes.c_void_p(values.data_ptr()),
        ctypes.c_void_p(drawn.data_ptr()),
        ctypes.c_int64(values.numel()),
        ctypes.c_int32(limit),
        ctypes.c_float(256 / (256 - limit)),
        ctypes.c_void_p(dropped.data_ptr()),
    )
    return dropped
