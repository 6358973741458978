"""gradient, moments -> weights and their average: a step of AdamW in one pass over memory.

The compiled form (``native/adam.c``) of torch's AdamW (Loshchilov & Hutter 2019) with gradient
scaling and the running average of the weights. It also avoids the import of torch.optim, which
takes seconds.
"""

from __future__ import annotations

import ctypes
import math
from typing import NamedTuple

import torch
from torch import Tensor

from charseq.kernels import library


class StepSizes(NamedTuple):
    """The numbers of one step."""

    scale: float
    """Factor of the gradient."""
    rate: float
    decay: float
    """Weight decay, multiplied by the rate."""
    beta1: float
    beta2: float
    follow: float
    """Weight of the new weights in their average, if there is one."""
    epsilon: float = 1e-8


class Adam(ctypes.Structure):
    """``struct adam`` of ``native/adam.c``."""

    _fields_ = tuple(
        (name, ctypes.c_float)
        for name in (
            "scale", "shrink", "first", "second", "rate", "root", "epsilon", "follow",
        )
    )  # fmt: skip


def fits(weights: Tensor) -> bool:
    """Whether the compiled library is there and takes weights of this device and format."""
    return (
        weights.device.type == "cpu"
        and weights.dtype == torch.float32
        and library.find() is not None
    )


def advance(
    weights: Tensor,
    gradient: Tensor,
    moments: dict[str, Tensor],
    average: Tensor | None,
    by: StepSizes,
) -> None:
    """One step in place. ``moments`` have torch.optim's names; ``moments["step"]`` is incremented.

    Raises:
        ValueError: an array of another size, or one with gaps.
    """
    arrays = [weights, gradient, moments["exp_avg"], moments["exp_avg_sq"]]
    arrays += [] if average is None else [average]
    found = library.find()
    if found is None or not all(
        one.dtype == torch.float32 and one.is_contiguous() and one.shape == weights.shape
        for one in arrays
    ):
        raise ValueError("AdamW takes arrays of float32 of one size, and the library")
    moments["step"] += 1
    steps = int(moments["step"])
    adam = Adam(
        scale=by.scale,
        shrink=1 - by.rate * by.decay,
        first=1 - by.beta1,
        second=by.beta2,
        rate=by.rate / (1 - by.beta1**steps),
        root=1 / math.sqrt(1 - by.beta2**steps),
        epsilon=by.epsilon,
        follow=by.follow,
    )
    found.library.charseq_adam(
        ctypes.byref(adam),
        ctypes.c_int64(found.number),
        ctypes.c_int64(weights.numel()),
        *(ctypes.c_void_p(one.data_ptr()) for one in arrays),
        *([ctypes.c_void_p(None)] if average is None else []),
    )
