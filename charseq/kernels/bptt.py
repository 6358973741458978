"""projected inputs, recurrent matrix, first state -> states; and back, by hand.

Back-propagation through time (Werbos 1990) of four recurrences, derived by hand, without autograd.
No code is shared with ``models.cells``, so that each checks the other.

Letters: D directions, T steps, B batch, H hidden. ``projected`` (D T B GH) holds W_x x_t + b of
all steps, computed once outside; ``recurrent`` (D H GH) is W_h transposed, gates side by side,
possibly in bfloat16, in which case only the products are; ``initial`` (K D B H) is the state
before the first step. The states of all steps come back as K D T B H, index 0 being the output h.

    tanh      h_t = tanh(g_t)                    g_t = p_t + W_h h_{t-1}          (sheet A)
    residual  h_t = tanh(g_t) + h_{t-1}                                           (sheet B3)
    gru       r, z = σ(p + W h);  n = tanh(p_n + r ⊙ W_n h);  h_t = (1-z) ⊙ n + z ⊙ h_{t-1}
              (Cho et al. 2014, with the reset gate after the product, as in cuDNN)
    lstm      i, f, o = σ(·);  c_t = f ⊙ c_{t-1} + i ⊙ tanh(·);  h_t = o ⊙ tanh(c_t)
              (Hochreiter & Schmidhuber 1997; Gers et al. 2000; gates in the order i f g o)

Backward, ``arriving`` (K D T B H) is the gradient of every state from outside the recurrence. The
loop passes on only δ_t = ∂L/∂h_t. The gradients of all steps' gate inputs are collected, and each
weight gradient is one product over all steps at the end:
    ∂L/∂W_h = Σ_t h_{t-1} (∂L/∂g_t)^T.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Trace(NamedTuple):
    """Values that the forward pass saves for the backward pass."""

    states: Tensor
    """K D T+1 B H: the state before the first step and after every step."""
    gates: Tensor
    """D T B ·: the gates after their nonlinearity, side by side."""


class Gradients(NamedTuple):
    """Gradients of the loss with respect to a recurrence's three arguments."""

    projected: Tensor
    recurrent: Tensor
    initial: Tensor


def run_tanh(projected: Tensor, recurrent: Tensor, initial: Tensor) -> Trace:
    """Sheet A: h_t = tanh(g_t). The gates of the trace are empty: h_t is enough."""
    states = _states(projected, initial, gates=1)
    for step in range(projected.shape[1]):
        gate = _product(states[0, :, step], recurrent).add_(projected[:, step])
        _tanh(gate, states[0, :, step + 1])
    return Trace(states, projected.new_empty(0))


def back_tanh(trace: Trace, recurrent: Tensor, arriving: Tensor) -> Gradients:
    """δ_{t-1} = ∂L_{t-1} + W_h^T ((1 - h_t ⊙ h_t) ⊙ δ_t)  (sheet A)."""
    hidden = trace.states[0]
    outputs = arriving[0]
    collected = torch.empty_like(outputs)
    delta = torch.zeros_like(arriving[0, :, 0])
    back = recurrent.transpose(1, 2)
    for step in reversed(range(outputs.shape[1])):
        delta += outputs[:, step]
        value = hidden[:, step + 1]
        gate = torch.addcmul(delta, delta * value, value, value=-1.0)
        collected[:, step] = gate
        delta = _product(gate, back)
    weight = _weight(hidden, collected, recurrent)
    return Gradients(collected, weight, delta[None])


def run_residual(projected: Tensor, recurrent: Tensor, initial: Tensor) -> Trace:
    """Sheet B3: h_t = tanh(g_t) + h_{t-1}. The gates hold tanh(g_t), which is not h_t."""
    states = _states(projected, initial, gates=1)
    gates = torch.empty_like(projected)
    for step in range(projected.shape[1]):
        before = states[0, :, step]
        gate = _product(before, recurrent).add_(projected[:, step])
        _tanh(gate, gates[:, step])
        torch.add(gates[:, step], before, out=states[0, :, step + 1])
    return Trace(states, gates)


def back_residual(trace: Trace, recurrent: Tensor, arriving: Tensor) -> Gradients:
    """δ_{t-1} = ∂L_{t-1} + [W_h^T diag(1 - tanh² g_t) + I] δ_t  (sheet B3)."""
    outputs = arriving[0]
    collected = torch.empty_like(outputs)
    delta = torch.zeros_like(arriving[0, :, 0])
    back = recurrent.transpose(1, 2)
    for step in reversed(range(outputs.shape[1])):
        delta += outputs[:, step]
        value = trace.gates[:, step]
        gate = torch.addcmul(delta, delta * value, value, value=-1.0)
        collected[:, step] = gate
        delta += _product(gate, back)
    weight = _weight(trace.states[0], collected, recurrent)
    return Gradients(collected, weight, delta[None])


def run_gru(projected: Tensor, recurrent: Tensor, initial: Tensor) -> Trace:
    """The gates of the trace are r, z, n and the product W_n h, side by side (4H)."""
    states = _states(projected, initial, gates=3)
    size = initial.shape[-1]
    gates = projected.new_empty((*projected.shape[:-1], 4 * size))
    for step in range(projected.shape[1]):
        before, inputs = states[0, :, step], projected[:, step]
        product = _product(before, recurrent)
        saved = gates[:, step]
        torch.add(product[..., : 2 * size], inputs[..., : 2 * size], out=saved[..., : 2 * size])
        saved[..., : 2 * size].sigmoid_()
        saved[..., 3 * size :] = product[..., 2 * size :]
        reset, update, new = (saved[..., k * size : (k + 1) * size] for k in range(3))
        _tanh(torch.addcmul(inputs[..., 2 * size :], reset, product[..., 2 * size :]), new)
        torch.addcmul(new, update, before - new, out=states[0, :, step + 1])
    return Trace(states, gates)


def back_gru(trace: Trace, recurrent: Tensor, arriving: Tensor) -> Gradients:
    """The reset gate multiplies W_n h, so the two gradients of the new gate differ by r.

    With δ = ∂L/∂h_t: ∂n̂ = δ (1-z)(1-n²), ∂ẑ = δ (h_{t-1} - n) z(1-z), ∂r̂ = ∂n̂ (W_n h) r(1-r);
    δ_{t-1} = δ z + W_h^T [∂r̂; ∂ẑ; r ∂n̂].
    """
    hidden = trace.states[0]
    size = hidden.shape[-1]
    outputs = arriving[0]
    collected = outputs.new_empty((*outputs.shape[:-1], 3 * size))
    through = torch.empty_like(collected)
    delta = torch.zeros_like(arriving[0, :, 0])
    back = recurrent.transpose(1, 2)
    for step in reversed(range(outputs.shape[1])):
        delta += outputs[:, step]
        reset, update, new, product = trace.gates[:, step].split(size, dim=-1)
        gate, back_in = collected[:, step], through[:, step]
        saved = delta * update
        towards = delta - saved
        torch.addcmul(towards, towards * new, new, value=-1.0, out=gate[..., 2 * size :])
        change = (hidden[:, step] - new).mul_(saved)
        torch.addcmul(change, change, update, value=-1.0, out=gate[..., size : 2 * size])
        torch.mul(gate[..., 2 * size :], reset, out=back_in[..., 2 * size :])
        change = back_in[..., 2 * size :] * product
        torch.addcmul(change, change, reset, value=-1.0, out=gate[..., :size])
        back_in[..., : 2 * size] = gate[..., : 2 * size]
        delta = saved.add_(_product(back_in, back))
    weight = _weight(hidden, through, recurrent)
    return Gradients(collected, weight, delta[None])


def run_lstm(projected: Tensor, recurrent: Tensor, initial: Tensor) -> Trace:
    """The gates of the trace are i, f, g, o and tanh(c_t), side by side (5H)."""
    states = _states(projected, initial, gates=4)
    size = initial.shape[-1]
    gates = projected.new_empty((*projected.shape[:-1], 5 * size))
    for step in range(projected.shape[1]):
        product = _product(states[0, :, step], recurrent).add_(projected[:, step])
        saved = gates[:, step]
        torch.sigmoid(product[..., : 2 * size], out=saved[..., : 2 * size])
        torch.sigmoid(product[..., 3 * size :], out=saved[..., 3 * size : 4 * size])
        _tanh(product[..., 2 * size : 3 * size], saved[..., 2 * size : 3 * size])
        enter, forget, new, output, memory_tanh = saved.split(size, dim=-1)
        memory = states[1, :, step + 1]
        torch.mul(forget, states[1, :, step], out=memory)
        memory.addcmul_(enter, new)
        _tanh(memory.clone(), memory_tanh)
        torch.mul(output, memory_tanh, out=states[0, :, step + 1])
    return Trace(states, gates)


def back_lstm(trace: Trace, recurrent: Tensor, arriving: Tensor) -> Gradients:
    """Two gradients pass from step to step: δ through h and ε through the memory c.

    ε += δ o (1 - tanh² c_t); ∂î = ε g i(1-i), ∂f̂ = ε c_{t-1} f(1-f), ∂ĝ = ε i (1-g²),
    ∂ô = δ tanh(c_t) o(1-o); δ_{t-1} = W_h^T [∂î; ∂f̂; ∂ĝ; ∂ô]; ε_{t-1} = ε f.
    """
    memory = trace.states[1]
    size = memory.shape[-1]
    outputs = arriving[0]
    collected = outputs.new_empty((*outputs.shape[:-1], 4 * size))
    delta, carried = torch.zeros_like(arriving[:, :, 0]).unbind()
    back = recurrent.transpose(1, 2)
    for step in reversed(range(outputs.shape[1])):
        delta += outputs[:, step]
        carried += arriving[1, :, step]
        enter, forget, new, output, memory_tanh = trace.gates[:, step].split(size, dim=-1)
        gate = collected[:, step]
        shown = delta * output
        carried += torch.addcmul(shown, shown * memory_tanh, memory_tanh, value=-1.0)
        for gate_index, change, value in (
            (0, carried * new * enter, enter),
            (1, carried * memory[:, step] * forget, forget),
            (3, shown.mul_(memory_tanh), output),
        ):
            part = gate[..., gate_index * size : (gate_index + 1) * size]
            torch.addcmul(change, change, value, value=-1.0, out=part)
        change = carried * enter
        part = gate[..., 2 * size : 3 * size]
        torch.addcmul(change, change * new, new, value=-1.0, out=part)
        delta = _product(gate, back)
        carried *= forget
    weight = _weight(trace.states[0], collected, recurrent)
    return Gradients(collected, weight, torch.stack([delta, carried]))


Run = Callable[[Tensor, Tensor, Tensor], Trace]
Back = Callable[[Trace, Tensor, Tensor], Gradients]

RECURRENCES: dict[str, tuple[Run, Back]] = {
    "tanh": (run_tanh, back_tanh),
    "residual": (run_residual, back_residual),
    "gru": (run_gru, back_gru),
    "lstm": (run_lstm, back_lstm),
}


def _states(projected: Tensor, initial: Tensor, *, gates: int) -> Tensor:
    """K D T+1 B H with the first state in gate_index."""
    saved, directions, batch, size = initial.shape
    if projected.shape[-1] != gates * size:
        raise ValueError(f"projected has {projected.shape[-1]} columns, expected {gates} x {size}")
    states = projected.new_empty((saved, directions, projected.shape[1] + 1, batch, size))
    states[:, :, 0] = initial
    return states


def _product(left: Tensor, right: Tensor) -> Tensor:
    """D B I times D I O in the format of ``right``, inputs back in the format of ``left``."""
    return torch.bmm(left.to(right.dtype), right).to(left.dtype)


def _tanh(values: Tensor, out: Tensor) -> None:
    """tanh(x) = 2 σ(2x) - 1, in gate_index of ``values`` and into ``out``.

    torch's tanh takes seven times as long as its sigmoid on a CPU; the absolute error stays at
    one rounding of 1.
    """
    torch.sigmoid(values.mul_(2.0), out=out).mul_(2.0).sub_(1.0)


def _weight(hidden: Tensor, collected: Tensor, recurrent: Tensor) -> Tensor:
    """Σ_t h_{t-1} (∂L/∂g_t)^T as one product over all steps: D H GH."""
    directions, steps, batch, _ = collected.shape
    before = hidden[:, :steps].reshape(directions, steps * batch, -1).to(recurrent.dtype)
    after = collected.reshape(directions, steps * batch, -1).to(recurrent.dtype)
    return torch.bmm(before.transpose(1, 2), after)
