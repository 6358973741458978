"""projected inputs, W_h, first state -> states; and back: one launch for all steps, in Triton.

The kernels of ``rnn_fused``, the only importer: Triton is installed with torch for CUDA only.

    tanh      h_t = tanh(p_t + h_{t-1} W)              (W is W_h transposed; sheet A)
    residual  h_t = tanh(p_t + h_{t-1} W) + h_{t-1}    (sheet B3)
    gru       r, z = σ(p + h W);  n = tanh(p_n + r ⊙ h W_n);  h_t = (1-z) ⊙ n + z ⊙ h_{t-1}

A program owns a few rows of the batch in one direction and loops over time. A row depends on its
own past only, so programs never wait for each other. h_t stays in registers in float32. Up to
``RESIDENT`` units W stays there too, read once (a persistent kernel: Diamos et al. 2016). A larger
W, and the three matrices of a GRU, are read again in every step, tile by tile, from the shared
cache, and h_{t-1} from where it was just stored.

Backward, δ = ∂L/∂h_t: δ += arriving_t; for tanh and residual ġ_t = δ (1 - tanh²) and
δ = ġ_t W^T (+ δ, residual); the GRU's equations are those of ``bptt``.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tanh(x):  # noqa: ANN001, ANN201, D103
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def locate(batch, hidden, ROWS: tl.constexpr, UNITS: tl.constexpr):  # noqa: ANN001, ANN201
    """Direction, rows and units of a program, the mask of existing ones, and B H."""
    direction = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    units = tl.arange(0, UNITS)
    inside = (rows[:, None] < batch) & (units[None, :] < hidden)
    size = (batch * hidden).to(tl.int64)
    return direction, rows, units, inside, size


@triton.jit
def load_tile(matrix, rows, columns, max_rows, max_columns, width):  # noqa: ANN001, ANN201
    """Rows and columns of a matrix whose rows are ``width`` apart; 0 outside."""
    inside = (rows[:, None] < max_rows) & (columns[None, :] < max_columns)
    return tl.load(matrix + rows[:, None] * width + columns[None, :], mask=inside, other=0.0)


@triton.jit
def add_product(left, right, rows, units, total, batch, depth, hidden, TILE: tl.constexpr):  # noqa: ANN001, ANN201, PLR0917
    """``total`` plus rows of B ``depth`` times a matrix of ``depth`` H, tile by tile."""
    tl.debug_barrier()  # the left factor was stored by other threads of the program
    for first in range(0, depth, TILE):
        part = first + tl.arange(0, TILE)
        factor = load_tile(left, rows, part, batch, depth, depth)
        weight = load_tile(right, part, units, depth, hidden, hidden)
        total = tl.dot(factor.to(weight.dtype), weight, total)
    return total


@triton.jit
def run_ungated(  # noqa: ANN201, PLR0917 - Triton compiles it, by at
    projected,  # noqa: ANN001 - pointers and numbers, as Triton passes them
    weight,  # noqa: ANN001
    states,  # noqa: ANN001
    slopes,  # noqa: ANN001
    steps,  # noqa: ANN001
    batch,  # noqa: ANN001
    hidden,  # noqa: ANN001
    RESIDUAL: tl.constexpr,
    RESIDENT: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    TILE: tl.constexpr,
):
    """States D T+1 B H, of which the first is inputs, and slopes 1 - tanh², like p D T B H."""
    direction, rows, units, inside, size = locate(batch, hidden, ROWS, UNITS)
    at = rows[:, None] * hidden + units[None, :]
    weight += direction * hidden * hidden
    inputs = projected + direction * steps * size
    state = states + direction * (steps + 1) * size
    slope = slopes + direction * steps * size
    if RESIDENT:
        matrix = load_tile(weight, units, units, hidden, hidden, hidden)
    value = tl.load(state + at, mask=inside, other=0.0).to(tl.float32)
    loaded = tl.load(inputs + at, mask=inside, other=0.0)
    for step in range(steps):
        gate = loaded.to(tl.float32)
        # the next step's input is loaded during the product; the last step loads its own again
        following = tl.minimum(step + 1, steps - 1) * size
        loaded = tl.load(inputs + following + at, mask=inside, other=0.0)
        if RESIDENT:
            gate = tl.dot(value.to(matrix.dtype), matrix, gate)
        else:
            gate = add_product(state, weight, rows, units, gate, batch, hidden, hidden, TILE)
        value_tanh = tanh(gate)
        if RESIDUAL:
            value += value_tanh
        else:
            value = value_tanh
        state += size
        tl.store(state + at, value.to(states.dtype.element_ty), mask=inside)
        tl.store(
            slope + at, (1.0 - value_tanh * value_tanh).to(slopes.dtype.element_ty), mask=inside
        )
        slope += size


@triton.jit
def back_ungated(  # noqa: ANN201, PLR0917
    arriving,  # noqa: ANN001
    slopes,  # noqa: ANN001
    weight,  # noqa: ANN001
    collected,  # noqa: ANN001
    first,  # noqa: ANN001
    steps,  # noqa: ANN001
    batch,  # noqa: ANN001
    hidden,  # noqa: ANN001
    RESIDUAL: tl.constexpr,
    RESIDENT: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    TILE: tl.constexpr,
):
    """Gradients of p (D T B H) and of the first state (D B H); ``weight`` is W^T, D H H."""
    direction, rows, units, inside, size = locate(batch, hidden, ROWS, UNITS)
    at = rows[:, None] * hidden + units[None, :]
    weight += direction * hidden * hidden
    last = (direction + 1) * steps * size - size
    arriving_now, slope, gates = arriving + last, slopes + last, collected + last
    if RESIDENT:
        matrix = load_tile(weight, units, units, hidden, hidden, hidden)
    delta = tl.zeros((ROWS, UNITS), dtype=tl.float32)
    loaded = tl.load(arriving_now + at, mask=inside, other=0.0)
    slope_now = tl.load(slope + at, mask=inside, other=0.0)
    for step in range(steps):
        delta += loaded.to(tl.float32)
        gate = delta * slope_now.to(tl.float32)
        tl.store(gates + at, gate.to(collected.dtype.element_ty), mask=inside)
        following = tl.minimum(step + 1, steps - 1) * size
        loaded = tl.load(arriving_now - following + at, mask=inside, other=0.0)
        slope_now = tl.load(slope - following + at, mask=inside, other=0.0)
        if not RESIDUAL:
            delta = tl.zeros((ROWS, UNITS), dtype=tl.float32)
        if RESIDENT:
            delta = tl.dot(gate.to(matrix.dtype), matrix, delta)
        else:
            delta = add_product(gates, weight, rows, units, delta, batch, hidden, hidden, TILE)
        gates -= size
    tl.store(first + direction * size + at, delta.to(first.dtype.element_ty), mask=inside)


@triton.jit
def run_gru(  # noqa: ANN201, PLR0917 - Triton compiles it, by at
    projected,  # noqa: ANN001
    weight,  # noqa: ANN001
    states,  # noqa: ANN001
    gates,  # noqa: ANN001
    steps,  # noqa: ANN001
    batch,  # noqa: ANN001
    hidden,  # noqa: ANN001
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    TILE: tl.constexpr,
):
    """States D T+1 B H, of which the first is inputs; gates D T B 4H: r, z, n and W_n h."""
    direction, rows, units, inside, size = locate(batch, hidden, ROWS, UNITS)
    at = rows[:, None] * hidden + units[None, :]
    wide = rows[:, None] * (3 * hidden) + units[None, :]
    kept = rows[:, None] * (4 * hidden) + units[None, :]
    matrix = weight + direction * (3 * hidden * hidden)
    inputs = projected + direction * steps * (3 * size)
    state = states + direction * (steps + 1) * size
    gate = gates + direction * steps * (4 * size)
    value = tl.load(state + at, mask=inside, other=0.0).to(tl.float32)
    for _ in range(steps):
        reset = tl.load(inputs + wide, mask=inside, other=0.0).to(tl.float32)
        update = tl.load(inputs + hidden + wide, mask=inside, other=0.0).to(tl.float32)
        new = tl.load(inputs + 2 * hidden + wide, mask=inside, other=0.0).to(tl.float32)
        product = tl.zeros((ROWS, UNITS), dtype=tl.float32)
        tl.debug_barrier()
        for first in range(0, hidden, TILE):
            part = first + tl.arange(0, TILE)
            left = load_tile(state, rows, part, batch, hidden, hidden).to(weight.dtype.element_ty)
            one = load_tile(matrix, part, units, hidden, hidden, 3 * hidden)
            reset = tl.dot(left, one, reset)
            two = load_tile(matrix + hidden, part, units, hidden, hidden, 3 * hidden)
            update = tl.dot(left, two, update)
            three = load_tile(matrix + 2 * hidden, part, units, hidden, hidden, 3 * hidden)
            product = tl.dot(left, three, product)
        reset = tl.sigmoid(reset)
        update = tl.sigmoid(update)
        new = tanh(new + reset * product)
        value = new + update * (value - new)
        state += size
        tl.store(state + at, value.to(states.dtype.element_ty), mask=inside)
        tl.store(gate + kept, reset.to(gates.dtype.element_ty), mask=inside)
        tl.store(gate + hidden + kept, update.to(gates.dtype.element_ty), mask=inside)
        tl.store(gate + 2 * hidden + kept, new.to(gates.dtype.element_ty), mask=inside)
        tl.store(gate + 3 * hidden + kept, product.to(gates.dtype.element_ty), mask=inside)
        inputs += 3 * size
        gate += 4 * size


@triton.jit
def back_gru(  # noqa: ANN201, PLR0917
    arriving,  # noqa: ANN001
    states,  # noqa: ANN001
    gates,  # noqa: ANN001
    weight,  # noqa: ANN001
    collected,  # noqa: ANN001
    through,  # noqa: ANN001
    initial,  # noqa: ANN001
    steps,  # noqa: ANN001
    batch,  # noqa: ANN001
    hidden,  # noqa: ANN001
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    TILE: tl.constexpr,
):
    """Gradients of p and of W h, D T B 3H, and of the first state; ``weight`` is W^T, D 3H H."""
    direction, rows, units, inside, size = locate(batch, hidden, ROWS, UNITS)
    at = rows[:, None] * hidden + units[None, :]
    wide = rows[:, None] * (3 * hidden) + units[None, :]
    kept = rows[:, None] * (4 * hidden) + units[None, :]
    matrix = weight + direction * (3 * hidden * hidden)
    last = (direction + 1) * steps - 1
    arriving_now, gate = arriving + last * size, gates + last * (4 * size)
    state = states + (last + direction) * size
    to_given, to_product = collected + last * (3 * size), through + last * (3 * size)
    delta = tl.zeros((ROWS, UNITS), dtype=tl.float32)
    for _ in range(steps):
        delta += tl.load(arriving_now + at, mask=inside, other=0.0).to(tl.float32)
        reset = tl.load(gate + kept, mask=inside, other=0.0).to(tl.float32)
        update = tl.load(gate + hidden + kept, mask=inside, other=0.0).to(tl.float32)
        new = tl.load(gate + 2 * hidden + kept, mask=inside, other=0.0).to(tl.float32)
        product = tl.load(gate + 3 * hidden + kept, mask=inside, other=0.0).to(tl.float32)
        before = tl.load(state + at, mask=inside, other=0.0).to(tl.float32)
        stays = delta * update
        to_new = (delta - stays) * (1.0 - new * new)
        to_update = (before - new) * stays * (1.0 - update)
        to_reset = to_new * product * reset * (1.0 - reset)
        kind = collected.dtype.element_ty
        tl.store(to_given + wide, to_reset.to(kind), mask=inside)
        tl.store(to_given + hidden + wide, to_update.to(kind), mask=inside)
        tl.store(to_given + 2 * hidden + wide, to_new.to(kind), mask=inside)
        tl.store(to_product + wide, to_reset.to(kind), mask=inside)
        tl.store(to_product + hidden + wide, to_update.to(kind), mask=inside)
        tl.store(to_product + 2 * hidden + wide, (to_new * reset).to(kind), mask=inside)
        delta = stays
        delta = add_product(to_product, matrix, rows, units, delta, batch, 3 * hidden, hidden, TILE)
        arriving_now -= size
        gate -= 4 * size
        state -= size
        to_given -= 3 * size
        to_product -= 3 * size
    tl.store(initial + direction * size + at, delta, mask=inside)
