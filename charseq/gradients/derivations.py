"""Hand-derived gradients of the worked sheets A to D and F, in NumPy.

Every function takes the vectors and matrices of one sheet, and returns its forward quantities and
its gradients for one sequence, in the notation of the sheet. The module needs neither torch nor any
other module. ``kernels.bptt``, which trains, must agree with it.

Vectors are columns (``W @ x``), ⊙ is ``*``, and steps count from 1: ``h[0]`` is given, ``h[T]`` is
the last state. A sequence is an array with a row for each step. All numbers are float64, scalars
are 0-dimensional arrays, and results have the names of the sheet: ``values["h_2"]``,
``gradients["∂E/∂W_hh"]``. W(k) is step k's own copy of a shared matrix W: ∂E/∂W(k) is the term of
step k in ∂E/∂W = Σ_k ∂E/∂W(k).

Sizes: T steps, I inputs, H hidden, O outputs, N words, M hidden on sheet B. h_0 is zero unless
given. Shapes that do not fit together raise a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Like = ArrayLike  # anything that NumPy converts to an array
Start = ArrayLike | None  # h_0; None is zero
Steps = dict[int, Array]  # a vector for each step, from 1 or from 0 to T


class Worked(NamedTuple):
    """Forward quantities and gradients of a sheet, by the names of the sheet."""

    values: dict[str, Array]
    gradients: dict[str, Array]


class Activation(NamedTuple):
    """An elementwise function σ and its derivative σ', both of the value before activation."""

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]


def sigmoid(a: Array) -> Array:
    """σ(a) = 1 / (1 + e^-a), in a form that does not overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * a)))


SIGMOID = Activation(sigmoid, lambda a: sigmoid(a) * (1 - sigmoid(a)))
TANH = Activation(np.tanh, lambda a: 1 - np.tanh(a) ** 2)
IDENTITY = Activation(np.positive, np.ones_like)


def tanh_rnn(
    x: Like, y: Like, *, W_xh: Like, W_hh: Like, W_hz: Like, b_h: Like, b_z: Like, h_0: Start = None
) -> Worked:
    """Sheet A: a tanh RNN with softmax output and cross-entropy.

        a_t = W_xh x_t + W_hh h_{t-1} + b_h      h_t = tanh(a_t)
        o_t = W_hz h_t + b_z                     z_t = softmax(o_t)
        E   = Σ_t E_t                            E_t = -Σ_k y_{t,k} log z_{t,k}

    Gradients, backwards from t = T with δ_{T+1} = 0:

        ∂E/∂o_t  = z_t Σ_k y_{t,k} - y_t
        ∂E/∂h_t  = δ_t = W_hz^T ∂E/∂o_t + W_hh^T ((1 - h_{t+1}⊙h_{t+1}) ⊙ δ_{t+1})
        ∂E/∂W_hz = Σ_t ∂E/∂o_t h_t^T             ∂E/∂b_z = Σ_t ∂E/∂o_t
        ∂E/∂W_hh = Σ_t ((1 - h_t⊙h_t) ⊙ δ_t) h_{t-1}^T, a term being ∂E/∂W_hh(t)
        ∂E/∂W_xh: x_t^T in place of h_{t-1}^T    ∂E/∂b_h: without it

    Shapes: x T×I, y T×O (≥ 0), W_xh H×I, W_hh H×H, W_hz O×H, b_h H, b_z O, h_0 H.
    """
    x, y, W_xh, W_hh, W_hz, b_h, b_z, h_0 = _checked(
        "x TI, y TO, W_xh HI, W_hh HH, W_hz OH, b_h H, b_z O, h_0 H",
        (x, y, W_xh, W_hh, W_hz, b_h, b_z, h_0),
    )
    T, x, y = len(x), _from_1(x), _from_1(y)
    a, h, o, z, E = Steps(), Steps({0: h_0}), Steps(), Steps(), Steps()
    for t in range(1, T + 1):
        a[t] = W_xh @ x[t] + W_hh @ h[t - 1] + b_h
        h[t] = np.tanh(a[t])
        o[t] = W_hz @ h[t] + b_z
        z[t] = softmax(o[t])
        E[t] = -(y[t] @ log_softmax(o[t]))

    dE_do, delta, dE_da, dE_dW_hh = Steps(), Steps(), Steps(), Steps()
    later = np.zeros_like(h_0)  # the part of ∂E/∂h_t that comes from step t + 1; 0 for t = T
    for t in range(T, 0, -1):
        dE_do[t] = z[t] * y[t].sum() - y[t]
        delta[t] = W_hz.T @ dE_do[t] + later
        dE_da[t] = (1 - h[t] * h[t]) * delta[t]
        dE_dW_hh[t] = np.outer(dE_da[t], h[t - 1])
        later = W_hh.T @ dE_da[t]
    delta[0] = later
    gradients = {
        "∂E/∂W_hz": sum(np.outer(dE_do[t], h[t]) for t in dE_do),
        "∂E/∂b_z": sum(dE_do.values()),
        "∂E/∂W_hh": sum(dE_dW_hh.values()),
        "∂E/∂W_xh": sum(np.outer(dE_da[t], x[t]) for t in dE_da),
        "∂E/∂b_h": sum(dE_da.values()),
    }
    return Worked(
        _named({"a_t": a, "h_t": h, "o_t": o, "z_t": z, "E_t": E}, {"E": sum(E.values())}),
        _named({"∂E/∂o_t": dE_do, "∂E/∂h_t": delta, "∂E/∂W_hh(t)": dE_dW_hh}, gradients),
    )


def bigram(x: Like, y: Like, *, W_embed: Like, W_unembed: Like) -> Worked:
    """Sheet B1: the next word from one word, by an MLP without an activation function.

        h = W_embed x    s = W_unembed h    p = softmax(s)    J = log p(y|s), maximised

        ∂J/∂s = y - p (the error)         ∂J/∂W_unembed = ∂J/∂s h^T
        ∂J/∂h = W_unembed^T ∂J/∂s         ∂J/∂W_embed   = ∂J/∂h x^T

    Shapes: x N, y N (one-hot), W_embed M×N (columns: the words' embeddings), W_unembed N×M.
    """
    x, y, W_embed, W_unembed = _checked(
        "x N, y N, W_embed MN, W_unembed NM", (x, y, W_embed, W_unembed)
    )
    _check_target(y)
    h = W_embed @ x
    s = W_unembed @ h
    p = softmax(s)
    J = y @ log_softmax(s)

    dJ_ds = y - p
    dJ_dh = W_unembed.T @ dJ_ds
    gradients = {
        "∂J/∂s": dJ_ds,
        "∂J/∂h": dJ_dh,
        "∂J/∂W_unembed": np.outer(dJ_ds, h),
        "∂J/∂W_embed": np.outer(dJ_dh, x),
    }
    return Worked(_named({}, {"h": h, "s": s, "p": p, "J": J}), gradients)


def next_word(
    x: Like, y: Like, *, W_e: Like, W_r: Like, W_u: Like, h_0: Start = None, residual: bool = False
) -> Worked:
    """Sheets B2 and, if ``residual``, B3: the next word from all words before it, by an RNN.

        g_t = W_e x_t + W_r h_{t-1}
        h_t = tanh(g_t)  (B2)                h_t = tanh(g_t) + h_{t-1}  (B3)
        s = W_u h_T    p = softmax(s)        J = log p(y|s), maximised

        ∂J/∂s       = y - p                  ∂J/∂h_T = W_u^T (y - p)
        ∂J/∂h_{t-1} = W_r^T diag(1 - tanh² g_t) ∂J/∂h_t          (B2)
        ∂J/∂h_{t-1} = [W_r^T diag(1 - tanh² g_t) + I] ∂J/∂h_t    (B3)
        ∂J/∂W_r     = Σ_t diag(1 - tanh² g_t) ∂J/∂h_t h_{t-1}^T
        ∂J/∂W_e: x_t^T in place of h_{t-1}^T    ∂J/∂W_u = ∂J/∂s h_T^T

    In B3 h_t is not tanh(g_t), so the factor is 1 - tanh² g_t, never 1 - h_t⊙h_t.
    Shapes: x T×N (one-hot words), y N (the word that follows), W_e M×N, W_r M×M, W_u N×M, h_0 M.
    """
    x, y, W_e, W_r, W_u, h_0 = _checked(
        "x TN, y N, W_e MN, W_r MM, W_u NM, h_0 M", (x, y, W_e, W_r, W_u, h_0)
    )
    _check_target(y)
    T, x = len(x), _from_1(x)
    g, h = Steps(), Steps({0: h_0})
    for t in range(1, T + 1):
        g[t] = W_e @ x[t] + W_r @ h[t - 1]
        h[t] = np.tanh(g[t]) + h[t - 1] if residual else np.tanh(g[t])
    s = W_u @ h[T]
    p = softmax(s)
    J = y @ log_softmax(s)

    dJ_ds = y - p
    dJ_dg, dJ_dh = Steps(), Steps({T: W_u.T @ dJ_ds})
    for t in range(T, 0, -1):
        dJ_dg[t] = (1 - np.tanh(g[t]) ** 2) * dJ_dh[t]
        dJ_dh[t - 1] = W_r.T @ dJ_dg[t] + dJ_dh[t] if residual else W_r.T @ dJ_dg[t]
    gradients = {
        "∂J/∂s": dJ_ds,
        "∂J/∂W_r": sum(np.outer(dJ_dg[t], h[t - 1]) for t in dJ_dg),
        "∂J/∂W_e": sum(np.outer(dJ_dg[t], x[t]) for t in dJ_dg),
        "∂J/∂W_u": np.outer(dJ_ds, h[T]),
    }
    return Worked(
        _named({"g_t": g, "h_t": h}, {"s": s, "p": p, "J": J}),
        _named({"∂J/∂h_t": dJ_dh}, gradients),
    )


def double_sum(x: Like, y: Like, *, W_x: Like, W_H: Like, W_y: Like, h_0: Start = None) -> Worked:
    """Sheet C: the total derivative of a tanh RNN's loss as a double sum, term by term.

        a_t = W_x x_t + W_H h_{t-1}    h_t = tanh(a_t)    ŷ_t = softmax(W_y h_t)
        L_t = -Σ_k y_{t,k} log ŷ_{t,k}                    L = Σ_t L_t

        ∂L_t/∂h_t  = (ŷ_t - y_t)^T W_y
        ∂h_t/∂h_k  = Π_{j=t..k+1} diag(1 - h_j⊙h_j) W_H
        ∂⁺h_k/∂W_H = diag(1 - h_k⊙h_k) for each entry of h_{k-1}, held fixed: H×H×H
        ∂L_t/∂W_H  = Σ_{k=1..t} ∂L_t/∂h_t · ∂h_t/∂h_k · ∂⁺h_k/∂W_H
        ∂L/∂W_H    = Σ_t ∂L_t/∂W_H

    Each term is computed as the product of its three factors. ``gradients["∂L_t/∂W_H(k)"]`` is the
    T×T×H×H table of all terms; its entry [t-1, k-1] is the contribution of step k to ∂L_t/∂W_H.
    Shapes: x T×I (embedded words), y T×O (one-hot), W_x H×I, W_H H×H, W_y O×H, h_0 H.
    """
    x, y, W_x, W_H, W_y, h_0 = _checked(
        "x TI, y TO, W_x HI, W_H HH, W_y OH, h_0 H", (x, y, W_x, W_H, W_y, h_0)
    )
    _check_target(y)
    T, x, y, identity = len(x), _from_1(x), _from_1(y), np.eye(len(h_0))
    a, h, y_hat, L = Steps(), Steps({0: h_0}), Steps(), Steps()
    for t in range(1, T + 1):
        a[t] = W_x @ x[t] + W_H @ h[t - 1]
        h[t] = np.tanh(a[t])
        y_hat[t] = softmax(W_y @ h[t])
        L[t] = -(y[t] @ log_softmax(W_y @ h[t]))

    dL_dh, dL_dW_H = Steps(), Steps()
    terms = np.zeros((T, T, *W_H.shape))
    for t in range(1, T + 1):
        dL_dh[t] = (y_hat[t] - y[t]) @ W_y
        dh_t_dh_k = identity
        for k in range(t, 0, -1):
            immediate = np.einsum("i,ij,l->ijl", 1 - h[k] * h[k], identity, h[k - 1])
            terms[t - 1, k - 1] = np.einsum("i,ij,jlm->lm", dL_dh[t], dh_t_dh_k, immediate)
            dh_t_dh_k = dh_t_dh_k @ np.diag(1 - h[k] * h[k]) @ W_H  # ∂h_t/∂h_{k-1}, for the next k
        dL_dW_H[t] = terms[t - 1].sum(axis=0)
    once = {"∂L_t/∂W_H(k)": terms, "∂L/∂W_H": sum(dL_dW_H.values())}
    return Worked(
        _named({"a_t": a, "h_t": h, "ŷ_t": y_hat, "L_t": L}, {"L": sum(L.values())}),
        _named({"∂L_t/∂h_t": dL_dh, "∂L_t/∂W_H": dL_dW_H}, once),
    )


def shapes(
    *, words: int = 5, embedding: int = 15, hidden: int = 7, vocabulary: int = 10
) -> dict[str, tuple[int, int]]:
    """Sheet C's table of shapes, from the arrays of a network of these sizes.

    Vectors are columns, so x_t is embedding×1. The defaults are the sizes of the sheet.
    """
    sizes = ((hidden, embedding), (hidden, hidden), (vocabulary, hidden))
    W_x, W_H, W_y = (np.zeros(size) for size in sizes)
    x, y = np.zeros((words, embedding)), np.eye(1, vocabulary).repeat(words, axis=0)
    values = double_sum(x, y, W_x=W_x, W_H=W_H, W_y=W_y).values
    a, h, y_hat = (values[f"{name}_{words}"] for name in "ahŷ")
    table = {"x_t": x[-1], "W_x": W_x, "W_H": W_H, "a_t": a, "h_t": h, "W_y": W_y, "ŷ_t": y_hat}
    return {name: (len(array), array[0].size) for name, array in table.items()}


def linear_rnn(
    x: Like,
    y: Like,
    *,
    w_x: Like,
    w_h: Like,
    w_y: Like,
    h_0: Start = None,
    activation: Activation = IDENTITY,
) -> Worked:
    """Sheet D: a linear RNN with squared error; or, as in its question [2], with an activation σ.

        a_t = w_x x_t + w_h h_{t-1}    h_t = σ(a_t), on the sheet a_t itself
        ŷ_t = w_y h_t                  L_t = (ŷ_t - y_t)²    L = Σ_t L_t

        ∂L/∂ŷ_t = 2 (ŷ_t - y_t)        ∂L/∂h_t = w_y^T ∂L/∂ŷ_t + w_h^T (σ'(a_{t+1}) ⊙ ∂L/∂h_{t+1})
        ∂L/∂w_h = Σ_t (σ'(a_t) ⊙ ∂L/∂h_t) h_{t-1}^T    ∂L/∂w_x: x_t^T in place of h_{t-1}^T
        ∂L/∂w_y = Σ_t ∂L/∂ŷ_t h_t^T
        ∂h_T/∂h_0 = Π_{t=T..1} diag(σ'(a_t)) w_h

    ``gradients["∂L_t/∂w_h(k)"]`` is the table of the terms of ∂L/∂w_h, T×T or T×T×H×H: loss t,
    step k. Shapes: if w_x is a number, x and y are T numbers and the rest are numbers, as on the
    sheet; else x T×I, y T×O, w_x H×I, w_h H×H, w_y O×H, h_0 H, and (·)² is summed over the entries.
    """
    numbers = np.ndim(w_x) == 0
    x, y, w_x, w_h, w_y, h_0 = _checked(
        "x T, y T, w_x, w_h, w_y, h_0" if numbers else "x TI, y TO, w_x HI, w_h HH, w_y OH, h_0 H",
        (x, y, w_x, w_h, w_y, h_0),
    )
    T, x, y = len(x), _from_1(x), _from_1(y)
    times, outer = np.dot, np.multiply.outer  # @ and np.outer for numbers as well
    a, h, y_hat, L, slope = Steps(), Steps({0: h_0}), Steps(), Steps(), Steps()
    for t in range(1, T + 1):
        a[t] = times(w_x, x[t]) + times(w_h, h[t - 1])
        h[t], slope[t] = activation.value(a[t]), activation.derivative(a[t])
        y_hat[t] = times(w_y, h[t])
        L[t] = np.sum((y_hat[t] - y[t]) ** 2)

    dL_dy_hat, dL_dh, dL_da = Steps(), Steps(), Steps()
    later, dh_T_dh_0 = np.zeros_like(h_0), np.eye(h_0.size).reshape(w_h.shape)
    for t in range(T, 0, -1):
        dL_dy_hat[t] = 2 * (y_hat[t] - y[t])
        dL_dh[t] = times(w_y.T, dL_dy_hat[t]) + later
        dL_da[t] = slope[t] * dL_dh[t]
        later = times(w_h.T, dL_da[t])
        dh_T_dh_0 = times(dh_T_dh_0 * slope[t], w_h)
    terms = np.zeros((T, T, *w_h.shape))
    for t in range(1, T + 1):
        arriving = times(w_y.T, dL_dy_hat[t])  # ∂L_t/∂h_k, from k = t backwards
        for k in range(t, 0, -1):
            terms[t - 1, k - 1] = outer(slope[k] * arriving, h[k - 1])
            arriving = times(w_h.T, slope[k] * arriving)
    gradients = {
        "∂L/∂w_h": sum(outer(dL_da[t], h[t - 1]) for t in dL_da),
        "∂L/∂w_x": sum(outer(dL_da[t], x[t]) for t in dL_da),
        "∂L/∂w_y": sum(outer(dL_dy_hat[t], h[t]) for t in dL_dy_hat),
        f"∂h_{T}/∂h_0": dh_T_dh_0,
        "∂L_t/∂w_h(k)": terms,
    }
    dL_dh[0] = later
    return Worked(
        _named({"a_t": a, "h_t": h, "ŷ_t": y_hat, "L_t": L}, {"L": sum(L.values())}),
        _named({"∂L/∂ŷ_t": dL_dy_hat, "∂L/∂h_t": dL_dh}, gradients),
    )


def sigmoid_rnn(
    x: Like,
    targets: Like,
    *,
    W_xh: Like,
    W_hh: Like,
    W_hy: Like,
    b_h: Like,
    b_y: Like,
    h_0: Start = None,
    activation: Activation = SIGMOID,
) -> Worked:
    """Sheet F: an RNN with one activation σ for hidden and output, and squared error per step.

        a_t = W_xh x_t + W_hh h_{t-1} + b_h    h_t = σ(a_t)
        o_t = W_hy h_t + b_y                   y_t = σ(o_t)
        L_t = (t_t - y_t)²                     L = Σ_t L_t

        ∂L/∂y_t       = -2 (t_t - y_t)         ∂L_t/∂h_t = ∂L_t/∂y_t σ'(o_t) W_hy
        ∂h_t/∂h_{t-1} = σ'(a_t) W_hh
        ∂⁺h_t/∂W_hh   = σ'(a_t) for each entry of h_{t-1}, held fixed: the immediate derivative
        ∂h_t/∂W_hh    = ∂⁺h_t/∂W_hh + ∂h_t/∂h_{t-1} ∂h_{t-1}/∂W_hh    ∂h_t/∂W_xh: x_t for h_{t-1}
        ∂L/∂h_k       = Σ_{t≥k} ∂L_t/∂h_t ∂h_t/∂h_k = ∂L_k/∂h_k + ∂L/∂h_{k+1} ∂h_{k+1}/∂h_k
        ∂L/∂W         = Σ_t ∂L_t/∂h_t Σ_{k≤t} ∂h_t/∂h_k ∂⁺h_k/∂W = Σ_k ∂L/∂h_k ∂⁺h_k/∂W
                        for W_xh, W_hh, b_h with ∂⁺a_k/∂W = x_k, h_{k-1}, 1
        ∂L/∂W_hy      = Σ_t (∂L/∂y_t σ'(o_t)) h_t^T    ∂L/∂b_y: without h_t^T

    Shapes: x T×I, targets (the sheet's t_t) T×O, W_xh H×I, W_hh H×H, W_hy O×H, b_h H, b_y O, h_0 H.
    """
    x, targets, W_xh, W_hh, W_hy, b_h, b_y, h_0 = _checked(
        "x TI, targets TO, W_xh HI, W_hh HH, W_hy OH, b_h H, b_y O, h_0 H",
        (x, targets, W_xh, W_hh, W_hy, b_h, b_y, h_0),
    )
    T, x, targets = len(x), _from_1(x), _from_1(targets)
    act, act_prime = activation
    a, h, o, y, L = Steps(), Steps({0: h_0}), Steps(), Steps(), Steps()
    for t in range(1, T + 1):
        a[t] = W_xh @ x[t] + W_hh @ h[t - 1] + b_h
        h[t] = act(a[t])
        o[t] = W_hy @ h[t] + b_y
        y[t] = act(o[t])
        L[t] = np.sum((targets[t] - y[t]) ** 2)

    dL_dy, dL_do, dL_t_dh = Steps(), Steps(), Steps()
    dL_dh, dL_da, dh_dh = Steps(), Steps(), Steps()
    later = np.zeros_like(h_0)
    for t in range(T, 0, -1):
        dL_dy[t] = -2 * (targets[t] - y[t])
        dL_do[t] = dL_dy[t] * act_prime(o[t])
        dL_t_dh[t] = dL_do[t] @ W_hy
        dL_dh[t] = dL_t_dh[t] + later
        dL_da[t] = dL_dh[t] * act_prime(a[t])
        dh_dh[t] = np.diag(act_prime(a[t])) @ W_hh
        later = dL_dh[t] @ dh_dh[t]
    dL_dh[0] = later
    slopes = {t: act_prime(a[t]) for t in a}
    gradients = {f"∂h_{t}/∂h_{t - 1}": dh_dh[t] for t in a} | {
        "∂L/∂W_xh": sum(np.outer(dL_da[t], x[t]) for t in a),
        "∂L/∂W_hh": sum(np.outer(dL_da[t], h[t - 1]) for t in a),
        "∂L/∂W_hy": sum(np.outer(dL_do[t], h[t]) for t in a),
        "∂L/∂b_h": sum(dL_da.values()),
        "∂L/∂b_y": sum(dL_do.values()),
    }
    return Worked(
        _named({"a_t": a, "h_t": h, "o_t": o, "y_t": y, "L_t": L}, {"L": sum(L.values())}),
        _named({"∂L/∂y_t": dL_dy, "∂L_t/∂h_t": dL_t_dh, "∂L/∂h_t": dL_dh}, gradients)
        | _by_weights("W_xh", slopes, dh_dh, x)
        | _by_weights("W_hh", slopes, dh_dh, [h_0, *h.values()]),
    )


def _by_weights(
    name: str, slopes: Steps, dh_dh: Steps, read: Sequence[Array] | Array
) -> dict[str, Array]:
    """∂⁺h_t/∂W, the immediate derivative, and ∂h_t/∂W, the total one, of every step t.

    ``read[t]`` is the vector that W multiplies at step t, and ``slopes[t]`` is σ'(a_t). Results
    are H×H×I: the derivative of unit i of h_t with respect to entry (j, l) of W.
    """
    immediate, total = Steps(), Steps()
    for t, slope in slopes.items():
        immediate[t] = np.einsum("i,ij,l->ijl", slope, np.eye(len(slope)), read[t])
        earlier = np.einsum("ij,jlm->ilm", dh_dh[t], total[t - 1]) if t > 1 else 0
        total[t] = immediate[t] + earlier
    return _named({f"∂⁺h_t/∂{name}": immediate, f"∂h_t/∂{name}": total}, {})


def softmax(s: Array) -> Array:
    """The softmax, e^s / Σ e^s."""
    return np.asarray(np.exp(log_softmax(s)))


def log_softmax(s: Array) -> Array:
    """The logarithm of softmax(s), finite for any finite s."""
    shifted = s - s.max()
    return np.asarray(shifted - np.log(np.sum(np.exp(shifted))))


def _from_1(sequence: Array) -> Array:
    """A sequence whose steps count from 1; step 0 is NaN, so that its use would show."""
    return np.concatenate([np.full_like(sequence[:1], np.nan), sequence])


def _named(by_step: Mapping[str, Steps], once: Mapping[str, Like]) -> dict[str, Array]:
    """Arrays by name; _t and (t) in a name are replaced by the step."""
    found: dict[str, Like] = {}
    for name, steps in by_step.items():
        for t in sorted(steps):
            found[name.replace("_t", f"_{t}").replace("(t)", f"({t})")] = steps[t]
    return {name: np.asarray(value, float) for name, value in (found | dict(once)).items()}


def _checked(letters: str, given: Sequence[Like | None]) -> list[Array]:
    """Float64 arrays whose shapes agree, a letter being one size; None (h_0) becomes zeros."""
    sizes: dict[str, int] = {}
    arrays = []
    for entry, value in zip(letters.split(", "), given, strict=True):
        name, _, axes = entry.partition(" ")
        zeros = np.zeros([sizes[axis] for axis in axes if value is None])
        array = zeros if value is None else np.array(value, float)
        if array.ndim == len(axes):
            sizes = {axis: n for axis, n in zip(axes, array.shape, strict=True) if n} | sizes
        found, expected = map(str, array.shape), [str(sizes.get(axis, axis)) for axis in axes]
        if (shape := "×".join(found)) != (wanted := "×".join(expected)):
            raise ValueError(f"{name} is {shape or 'a number'}, expected {wanted or 'a number'}")
        arrays.append(array)
    return arrays


def _check_target(y: Array) -> None:
    """Check that targets sum to 1, which the error y - p presupposes."""
    if not np.allclose(y.sum(axis=-1), 1):
        raise ValueError(f"y sums to {y.sum(axis=-1).tolist()}, expected 1 (one-hot)")
