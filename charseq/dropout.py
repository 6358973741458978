"""values -> the same values, some of them zero: noise for training.

Dropout (Srivastava et al. 2014) sets each value to zero with probability p and divides the others
by 1 - p, so that the mean stays. It knows no modules and asks nobody whether training is on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


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

    One random byte decides a value. Drawn eight at a time, and made into factors by arithmetic
    instead of comparisons, they cost a tenth of torch's Bernoulli numbers on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, probability: float) -> Tensor:
        """The thinned values."""
        limit = round(256 * probability)
        words = torch.empty(-(-values.numel() // 8), dtype=torch.int64, device=values.device)
        drawn = words.random_(-(2**63), None).view(torch.uint8)[: values.numel()]
        # a byte below the limit gives 0, any other 1
        factors = drawn.view(values.shape).to(values.dtype).sub_(limit - 1).clamp_(0, 1)
        ctx.save_for_backward(factors.mul_(256 / (256 - limit)))
        return values * factors

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient goes where the values went."""
        (factors,) = ctx.saved_tensors
        return gradients[0] * factors, None
