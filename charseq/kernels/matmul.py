"""matrix, matrix -> their product in bfloat16, by the compiled library or by torch.

A linear layer under autocast, forward and backward, where the processor multiplies bfloat16: by AMX
or by AVX512_BF16 (``native/matrix.c``). With AMX a product of these models' sizes takes a third of
torch's time. torch does everything else. Sums are float32, and so are gradients of weights.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from charseq.kernels import library

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

    from charseq.kernels.library import Kernels

EDGE = 32
"""Rows and columns of a block of the product."""
_SHARED = 2**25
"""Multiplications from which a second thread pays."""
FORMATS = (torch.float32, torch.bfloat16)
"""Number formats of factors and of products."""


class Matrix(ctypes.Structure):
    """``struct matrix`` of ``native/matrix.h``."""

    _fields_ = (
        ("values", ctypes.c_void_p),
        ("bf16", ctypes.c_int64),
        ("stride", ctypes.c_int64),
        ("transposed", ctypes.c_int64),
    )


class Product(ctypes.Structure):
    """``struct matmul`` of ``native/matrix.h``."""

    _fields_ = (
        ("left", Matrix),
        ("right", Matrix),
        ("m", ctypes.c_int64),
        ("k", ctypes.c_int64),
        ("n", ctypes.c_int64),
        ("bias", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("bf16", ctypes.c_int64),
        ("stride", ctypes.c_int64),
        ("level", ctypes.c_int64),
    )


def available() -> bool:
    """Whether the library is there, and the processor multiplies bfloat16 at its level."""
    found = library.find()
    return found is not None and _multiplies(found)


@cache
def _multiplies(found: Kernels) -> bool:
    return bool(found.library.charseq_has_bf16(found.number))


def linear(
    inputs: Float[Tensor, "*time I"], weight: Float[Tensor, "O I"], bias: Tensor | None = None
) -> Float[Tensor, "*time O"]:
    """The product x W^T + b, as ``torch.nn.functional.linear``; bfloat16 under autocast."""
    kind = inputs.device.type
    if (
        kind != "cpu"
        or not torch.is_autocast_enabled(kind)
        or torch.get_autocast_dtype(kind) != torch.bfloat16
        or weight.dtype != torch.float32
        or inputs.dtype not in FORMATS
        or not available()
    ):
        return nn.functional.linear(inputs, weight, bias)
    found: Tensor = Linear.apply(inputs, weight, bias)
    return found


class Linear(torch.autograd.Function):
    """``linear`` by the library; the output and its gradient are bfloat16."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Products of bfloat16, sums of float32."""
        rows = inputs.contiguous().view(-1, inputs.shape[-1])
        out = torch.empty(len(rows), len(weight), dtype=torch.bfloat16)
        multiply(rows, weight.T, out, bias)
        ctx.save_for_backward(rows, weight)
        ctx.shape = inputs.shape
        ctx.biased = bias is not None
        return out.view(*inputs.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """∂L/∂x = W^T ∂L/∂y, ∂L/∂W = Σ ∂L/∂y x^T, ∂L/∂b = Σ ∂L/∂y."""
        rows, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous().view(len(rows), len(weight))
        to_inputs = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_inputs = multiply(gradient, weight, torch.empty_like(rows)).view(ctx.shape)
        if ctx.needs_input_grad[1]:
            to_weight = multiply(gradient.T, rows, torch.empty_like(weight))
        if ctx.biased and ctx.needs_input_grad[2]:
            to_bias = add_rows(gradient)
        return to_inputs, to_weight, to_bias


def share(work: Callable[[int, int], None], rows: int) -> None:
    """``work(first, end)`` over all rows, in as many parts at a time as torch has threads.

    Parts begin at multiples of ``EDGE``. The library lets go of Python's lock while it works.
    """
    blocks = -(-rows // EDGE)
    count = min(torch.get_num_threads(), blocks)
    cuts = [min(EDGE * (blocks * part // count), rows) for part in range(count + 1)]
    others = [_pool(count).submit(work, *part) for part in pairwise(cuts[1:])]
    work(*cuts[:2])
    for one in others:
        one.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1)


def multiply(left: Tensor, right: Tensor, out: Tensor, bias: Tensor | None = None) -> Tensor:
    """``left @ right + bias``, M K times K N, into ``out``, where it is :func:`available`.

    All are float32 or bfloat16, and factors may be transposed views. Factors are rounded to
    bfloat16; sums and bias are float32.

    Raises:
        ValueError: shapes, formats or strides do not fit.
        MemoryError: no memory to pack a matrix.
    """
    (m, k), n = left.shape, right.shape[1]
    if right.shape[0] != k or out.shape != (m, n) or out.stride(1) != 1:
        raise ValueError(f"{left.shape} times {right.shape} into {out.shape}")
    if out.dtype not in FORMATS or (bias is not None and bias.dtype != torch.float32):
        raise ValueError(f"a product of {out.dtype} and a bias cannot be made")
    found = library.find()
    if found is None or not _multiplies(found):
        raise ValueError("there is no compiled library, or it does not multiply bfloat16 here")
    bias = None if bias is None else bias.contiguous()
    whole = m * k * n < _SHARED

    def rows(first: int, end: int) -> None:
        part, target = left[first:end], out[first:end]
        call = Product(
            left=matrix_of(part),
            right=matrix_of(right),
            m=end - first,
            k=k,
            n=n,
            bias=None if bias is None else bias.data_ptr(),
            out=target.data_ptr(),
            bf16=out.dtype == torch.bfloat16,
            stride=out.stride(0),
            level=found.number,
        )
        if not found.library.charseq_multiply(ctypes.byref(call)):
            raise MemoryError("no memory for a product")

    if whole:
        rows(0, m)
    else:
        share(rows, m)
    return out


def add_rows(matrix: Float[Tensor, "M N"]) -> Float[Tensor, "N"]:
    """The sum of the rows in float32. Raises ValueError for one that is not bfloat16 in rows."""
    found = library.find()
    if matrix.dtype != torch.bfloat16 or matrix.stride(1) != 1 or found is None:
        raise ValueError(f"rows of {matrix.dtype}, strides {matrix.stride()}, cannot be added")
    out = torch.empty(matrix.shape[1])
    found.library.charseq_sum_rows(
        ctypes.c_void_p(matrix.data_ptr()),
        *map(ctypes.c_int64, (matrix.stride(0), *matrix.shape)),
        ctypes.c_void_p(out.data_ptr()),
    )
    return out


def matrix_of(matrix: Float[Tensor, "M N"]) -> Matrix:
    """``struct matrix`` of a tensor. Raises ValueError for one that the library cannot read."""
    if matrix.dtype not in FORMATS or 1 not in matrix.stride():
        raise ValueError(f"a matrix of {matrix.dtype}, strides {matrix.stride()}, cannot be read")
    transposed = matrix.stride(1) != 1
    return Matrix(
        values=matrix.data_ptr(),
        bf16=matrix.dtype == torch.bfloat16,
        stride=matrix.stride(1 if transposed else 0),
        transposed=transposed,
    )
