"""values -> the same values, some of them zero: noise for training.

Dropout (Srivastava et al. 2014) sets each value to zero with probability p and divides the others
by 1 - p, so that the mean stays. It knows no modules and asks nobody whether training is on.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from charseq.kernels import library

if TYPE_CHECKING:
    from jaxtyping import Float

_THIN = {torch.float32: "charseq_thin", torch.bfloat16: "charseq_thin_coarse"}


def drop_locked(
    values: Float[Tensor, "T B H"], probability: float, *, training: bool
) -> Float[Tensor, "T B H"]:
    """One mask for all steps of a row (Gal & Ghahramani 2016), another for each row and unit."""
    if not training or not probability:
        return values
    factors: Tensor = Dropout.apply(torch.ones_like(values[:1]), probability)
    return values * factors


class Dropout(torch.autograd.Function):
    """Each value is 0 with the given probability, in steps of 1/256, the others scaled up.

    One random byte decides a value. Drawn eight at a time they cost a tenth of torch's Bernoulli
    numbers on a CPU. What is done with them is one pass of the compiled library, where it is there,
    or else arithmetic instead of comparisons; the noise is the same. On a GPU torch has one kernel
    for all of it, and the probability is exact.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, probability: float) -> Tensor:
        """The thinned values."""
        ctx.probability = probability
        if values.is_cuda:
            thinned, kept = torch.ops.aten.native_dropout(values, probability, train=True)
            ctx.save_for_backward(kept)
            return cast("Tensor", thinned)
        limit = round(256 * probability)
        words = torch.empty(-(-values.numel() // 8), dtype=torch.int64, device=values.device)
        drawn = words.random_(-(2**63), None).view(torch.uint8)[: values.numel()]
        ctx.limit = limit if _fits(values) else None
        if ctx.limit is not None:
            ctx.save_for_backward(drawn)
            return _thin(values, drawn, limit)
        # a byte below the limit gives 0, any other 1
        factors = drawn.view(values.shape).to(values.dtype).sub_(limit - 1).clamp_(0, 1)
        ctx.save_for_backward(factors.mul_(256 / (256 - limit)))
        return values * factors

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient goes where the values went."""
        (noise,) = ctx.saved_tensors
        if noise.is_cuda:
            scale = 1 / (1 - ctx.probability)
            return torch.ops.aten.native_dropout_backward(gradients[0], noise, scale), None
        if ctx.limit is not None:
            return _thin(gradients[0], noise, ctx.limit), None
        return gradients[0] * noise, None


def _fits(values: Tensor) -> bool:
    """Whether the compiled library is there and knows the format."""
    return values.device.type == "cpu" and values.dtype in _THIN and library.find() is not None


def _thin(values: Tensor, drawn: Tensor, limit: int) -> Tensor:
    """``values`` without those whose byte lies below the limit, the others scaled up."""
    found = library.find()
    if found is None:
        raise RuntimeError("there is no compiled library")
    values = values.contiguous()
    thinned = torch.empty_like(values)
    getattr(found.library, _THIN[values.dtype])(
        ctypes.c_void_p(values.data_ptr()),
        ctypes.c_void_p(drawn.data_ptr()),
        ctypes.c_int64(values.numel()),
        ctypes.c_int32(limit),
        ctypes.c_float(256 / (256 - limit)),
        ctypes.c_void_p(thinned.data_ptr()),
    )
    return thinned
