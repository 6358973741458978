"""Forward passes of the worked sheets in torch, whose gradients autograd computes.

Functions and names are those of ``derivations``, whose gradients are compared with these. The
forward passes are written independently, in torch's layout (rows times a transposed matrix) and
with its own cross-entropy, so that no mistake is made in both. ``W(t)`` is the copy of a shared
matrix that only step t uses. Sizes: T steps, I inputs, H hidden, O outputs, N words, M hidden of
sheet B.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, mse_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

Tensors = dict[str, Tensor]


def derivative(tensors: Tensors, name: str) -> Tensor:
    """The derivative ``name``: for ``"∂E/∂W_hh"`` of E with respect to W_hh, both in ``tensors``.

    The derivative of a vector is its Jacobian. ``"∂L_t/∂W_H(k)"`` stands for all steps t and k
    and is T T H H; it is zero for k > t, since a loss does not depend on later steps.
    ``"∂⁺h_2/∂W"`` is the immediate derivative: that of h_2 with respect to W(2), the copy of W
    that only step 2 uses.
    """
    above, below = name.removeprefix("∂").split("/∂")
    if above.startswith("⁺"):
        return derivative(tensors, f"∂{above[1:]}/∂{below}({above.rpartition('_')[2]})")
    if above.endswith("_t"):
        steps = range(1, len(tensors["x"]) + 1)
        names = [
            [f"∂{above[:-1]}{t}/∂{below.replace('(k)', f'({k})')}" for k in steps] for t in steps
        ]
        return torch.stack(
            [torch.stack([derivative(tensors, one) for one in row]) for row in names]
        )
    top, bottom = tensors[above], tensors[below]
    rows = [
        torch.autograd.grad(entry, bottom, retain_graph=True, materialize_grads=True)[0]
        for entry in top.reshape(-1)
    ]
    return torch.stack(rows).reshape((*top.shape, *bottom.shape))


def tanh_rnn(
    x: Float[Tensor, "T I"],
    y: Float[Tensor, "T O"],
    *,
    W_xh: Float[Tensor, "H I"],
    W_hh: Float[Tensor, "H H"],
    W_hz: Float[Tensor, "O H"],
    b_h: Float[Tensor, "H"],
    b_z: Float[Tensor, "O"],
    h_0: Float[Tensor, "H"],
) -> Tensors:
    """Sheet A: h_t, o_t, E_t, W_hh(t) and E."""
    found, h = {}, h_0
    for t in range(1, len(x) + 1):
        own = found[f"W_hh({t})"] = W_hh.clone()
        found[f"h_{t}"] = h = torch.tanh(linear(x[t - 1], W_xh, b_h) + linear(h, own))
        found[f"o_{t}"] = o = linear(h, W_hz, b_z)
        found[f"E_{t}"] = cross_entropy(o, y[t - 1])
    return found | {"E": _sum(found, "E_")}


def bigram(
    x: Float[Tensor, "N"],
    y: Float[Tensor, "N"],
    *,
    W_embed: Float[Tensor, "M N"],
    W_unembed: Float[Tensor, "N M"],
) -> Tensors:
    """Sheet B1: h, s and J."""
    h = linear(x, W_embed)
    s = linear(h, W_unembed)
    return {"h": h, "s": s, "J": -cross_entropy(s, y)}


def next_word(
    x: Float[Tensor, "T N"],
    y: Float[Tensor, "N"],
    *,
    W_e: Float[Tensor, "M N"],
    W_r: Float[Tensor, "M M"],
    W_u: Float[Tensor, "N M"],
    h_0: Float[Tensor, "M"],
    residual: bool = False,
) -> Tensors:
    """Sheets B2 and, if ``residual``, B3: h_t, s and J."""
    found, h = {}, h_0
    for t, word in enumerate(x, 1):
        new = torch.tanh(linear(torch.cat([word, h]), torch.cat([W_e, W_r], dim=1)))
        found[f"h_{t}"] = h = new + h if residual else new
    s = linear(h, W_u)
    return found | {"s": s, "J": -cross_entropy(s, y)}


def double_sum(
    x: Float[Tensor, "T I"],
    y: Float[Tensor, "T O"],
    *,
    W_x: Float[Tensor, "H I"],
    W_H: Float[Tensor, "H H"],
    W_y: Float[Tensor, "O H"],
    h_0: Float[Tensor, "H"],
) -> Tensors:
    """Sheet C: h_t, L_t, W_H(t) and L."""
    found, h = {}, h_0
    for t in range(1, len(x) + 1):
        own = found[f"W_H({t})"] = W_H.clone()
        found[f"h_{t}"] = h = torch.tanh(linear(x[t - 1], W_x) + linear(h, own))
        found[f"L_{t}"] = cross_entropy(linear(h, W_y), y[t - 1])
    return found | {"L": _sum(found, "L_")}


def linear_rnn(
    x: Float[Tensor, "T *I"],
    y: Float[Tensor, "T *O"],
    *,
    w_x: Tensor,
    w_h: Tensor,
    w_y: Tensor,
    h_0: Tensor,
    activation: Callable[[Tensor], Tensor] = torch.positive,
) -> Tensors:
    """Sheet D, of numbers or of matrices: h_t, ŷ_t, L_t, w_h(t) and L."""
    found, h = {}, h_0
    for t in range(1, len(x) + 1):
        own = found[f"w_h({t})"] = w_h.clone()
        found[f"h_{t}"] = h = activation(_times(w_x, x[t - 1]) + _times(own, h))
        found[f"ŷ_{t}"] = _times(w_y, h)
        found[f"L_{t}"] = mse_loss(found[f"ŷ_{t}"], y[t - 1], reduction="sum")
    return found | {"L": _sum(found, "L_")}


def sigmoid_rnn(
    x: Float[Tensor, "T I"],
    targets: Float[Tensor, "T O"],
    *,
    W_xh: Float[Tensor, "H I"],
    W_hh: Float[Tensor, "H H"],
    W_hy: Float[Tensor, "O H"],
    b_h: Float[Tensor, "H"],
    b_y: Float[Tensor, "O"],
    h_0: Float[Tensor, "H"],
) -> Tensors:
    """Sheet F with the logistic function for σ: h_t, y_t, L_t, W_xh(t), W_hh(t) and L."""
    found, h = {}, h_0
    for t in range(1, len(x) + 1):
        found[f"W_xh({t})"], found[f"W_hh({t})"] = own = W_xh.clone(), W_hh.clone()
        found[f"h_{t}"] = h = torch.sigmoid(linear(x[t - 1], own[0], b_h) + linear(h, own[1]))
        found[f"y_{t}"] = y = torch.sigmoid(linear(h, W_hy, b_y))
        found[f"L_{t}"] = mse_loss(y, targets[t - 1], reduction="sum")
    return found | {"L": _sum(found, "L_")}


def _times(weight: Tensor, value: Tensor) -> Tensor:
    """The product of matrix and vector, or of two numbers."""
    return linear(value, weight) if weight.dim() else weight * value


def _sum(found: Tensors, prefix: str) -> Tensor:
    """The sum of the losses of all steps."""
    return torch.stack([value for name, value in found.items() if name.startswith(prefix)]).sum()
