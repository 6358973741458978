"""projected inputs, W_h, first state -> states; and back: one launch for all steps, in Triton.

The kernels of ``fused``, which alone imports this: Triton comes with torch where torch has CUDA,
and nowhere else.

    tanh      h_t = tanh(p_t + h_{t-1} W)              (W is W_h transposed; sheet A)
    residual  h_t = tanh(p_t + h_{t-1} W) + h_{t-1}    (sheet B3)

A program owns a few rows of the batch in one direction and walks through time: what a row needs of
the step before, its own program has just computed, so nobody waits for others. h_t stays in
registers in float32. Up to ``RESIDENT`` units, so does W, from the first step to the last: a
program reads it once. A larger W is read again in every step, tile by tile, from the cache that all
share, and h_{t-1} from where it was just stored.

Backwards δ walks the other way: δ += ∂L/∂h_t; ĝ_t = δ (1 - tanh²); δ = ĝ_t W^T (+ δ, residual).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def forward(  # noqa: ANN201, PLR0917 - Triton compiles it, by place
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
    """States D T+1 B H, of which the first is given, and slopes 1 - tanh², like p D T B H."""
    direction = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    units = tl.arange(0, UNITS)
    inside = (rows[:, None] < batch) & (units[None, :] < hidden)
    place = rows[:, None] * hidden + units[None, :]
    size = (batch * hidden).to(tl.int64)
    weight += direction * hidden * hidden
    given = projected + direction * steps * size
    state = states + direction * (steps + 1) * size
    slope = slopes + direction * steps * size
    if RESIDENT:
        square = units[:, None] * hidden + units[None, :]
        known = (units[:, None] < hidden) & (units[None, :] < hidden)
        matrix = tl.load(weight + square, mask=known, other=0.0)
    value = tl.load(state + place, mask=inside, other=0.0).to(tl.float32)
    entering = tl.load(given + place, mask=inside, other=0.0)
    for step in range(steps):
        gate = entering.to(tl.float32)
        # asked for before the product, so that it is there after it; the last one again, at the end
        following = tl.minimum(step + 1, steps - 1) * size
        entering = tl.load(given + following + place, mask=inside, other=0.0)
        if RESIDENT:
            gate = tl.dot(value.to(matrix.dtype), matrix, gate)
        else:
            tl.debug_barrier()
            for first in range(0, hidden, TILE):
                part = first + tl.arange(0, TILE)
                left = tl.load(
                    state + rows[:, None] * hidden + part[None, :],
                    mask=(rows[:, None] < batch) & (part[None, :] < hidden),
                    other=0.0,
                )
                right = tl.load(
                    weight + part[:, None] * hidden + units[None, :],
                    mask=(part[:, None] < hidden) & (units[None, :] < hidden),
                    other=0.0,
                )
                gate = tl.dot(left.to(right.dtype), right, gate)
        bent = 2.0 * tl.sigmoid(2.0 * gate) - 1.0
        if RESIDUAL:
            value += bent
        else:
            value = bent
        state += size
        tl.store(state + place, value.to(states.dtype.element_ty), mask=inside)
        tl.store(slope + place, (1.0 - bent * bent).to(slopes.dtype.element_ty), mask=inside)
        slope += size


@triton.jit
def backward(  # noqa: ANN201, PLR0917
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
    direction = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    units = tl.arange(0, UNITS)
    inside = (rows[:, None] < batch) & (units[None, :] < hidden)
    place = rows[:, None] * hidden + units[None, :]
    size = (batch * hidden).to(tl.int64)
    weight += direction * hidden * hidden
    last = (direction + 1) * steps * size - size
    outside, slope, gates = arriving + last, slopes + last, collected + last
    if RESIDENT:
        square = units[:, None] * hidden + units[None, :]
        known = (units[:, None] < hidden) & (units[None, :] < hidden)
        matrix = tl.load(weight + square, mask=known, other=0.0)
    delta = tl.zeros((ROWS, UNITS), dtype=tl.float32)
    entering = tl.load(outside + place, mask=inside, other=0.0)
    bend = tl.load(slope + place, mask=inside, other=0.0)
    for step in range(steps):
        delta += entering.to(tl.float32)
        gate = delta * bend.to(tl.float32)
        tl.store(gates + place, gate.to(collected.dtype.element_ty), mask=inside)
        following = tl.minimum(step + 1, steps - 1) * size
        entering = tl.load(outside - following + place, mask=inside, other=0.0)
        bend = tl.load(slope - following + place, mask=inside, other=0.0)
        if not RESIDUAL:
            delta = tl.zeros((ROWS, UNITS), dtype=tl.float32)
        if RESIDENT:
            delta = tl.dot(gate.to(matrix.dtype), matrix, delta)
        else:
            tl.debug_barrier()
            for begin in range(0, hidden, TILE):
                part = begin + tl.arange(0, TILE)
                left = tl.load(
                    gates + rows[:, None] * hidden + part[None, :],
                    mask=(rows[:, None] < batch) & (part[None, :] < hidden),
                    other=0.0,
                )
                right = tl.load(
                    weight + part[:, None] * hidden + units[None, :],
                    mask=(part[:, None] < hidden) & (units[None, :] < hidden),
                    other=0.0,
                )
                delta = tl.dot(left.to(right.dtype), right, delta)
        gates -= size
    tl.store(first + direction * size + place, delta.to(first.dtype.element_ty), mask=inside)


@triton.jit
def tanh(x):  # noqa: ANN001, ANN201, D103
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def tile_of(matrix, rows, columns, most_rows, most_columns, width):  # noqa: ANN001, ANN201, D103
    inside = (rows[:, None] < most_rows) & (columns[None, :] < most_columns)
    return tl.load(matrix + rows[:, None] * width + columns[None, :], mask=inside, other=0.0)


@triton.jit
def run_gru(  # noqa: ANN201, PLR0917 - Triton compiles it, by place
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
    """States D T+1 B H, of which the first is given; gates D T B 4H: r, z, n and W_n h."""
    direction = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    units = tl.arange(0, UNITS)
    inside = (rows[:, None] < batch) & (units[None, :] < hidden)
    place = rows[:, None] * hidden + units[None, :]
    wide = rows[:, None] * (3 * hidden) + units[None, :]
    kept = rows[:, None] * (4 * hidden) + units[None, :]
    size = (batch * hidden).to(tl.int64)
    matrix = weight + direction * (3 * hidden * hidden)
    given = projected + direction * steps * (3 * size)
    state = states + direction * (steps + 1) * size
    gate = gates + direction * steps * (4 * size)
    value = tl.load(state + place, mask=inside, other=0.0).to(tl.float32)
    for _ in range(steps):
        reset = tl.load(given + wide, mask=inside, other=0.0).to(tl.float32)
        update = tl.load(given + hidden + wide, mask=inside, other=0.0).to(tl.float32)
        new = tl.load(given + 2 * hidden + wide, mask=inside, other=0.0).to(tl.float32)
        product = tl.zeros((ROWS, UNITS), dtype=tl.float32)
        tl.debug_barrier()
        for first in range(0, hidden, TILE):
            part = first + tl.arange(0, TILE)
            left = tile_of(state, rows, part, batch, hidden, hidden).to(weight.dtype.element_ty)
            one = tile_of(matrix, part, units, hidden, hidden, 3 * hidden)
            reset = tl.dot(left, one, reset)
            two = tile_of(matrix + hidden, part, units, hidden, hidden, 3 * hidden)
            update = tl.dot(left, two, update)
            three = tile_of(matrix + 2 * hidden, part, units, hidden, hidden, 3 * hidden)
            product = tl.dot(left, three, product)
        reset = tl.sigmoid(reset)
        update = tl.sigmoid(update)
        new = tanh(new + reset * product)
        value = new + update * (value - new)
        state += size
        tl.store(state + place, value.to(states.dtype.element_ty), mask=inside)
        tl.store(gate + kept, reset.to(gates.dtype.element_ty), mask=inside)
        tl.store(gate + hidden + kept, update.to(gates.dtype.element_ty), mask=inside)
        tl.store(gate + 2 * hidden + kept, new.to(gates.dtype.element_ty), mask=inside)
        tl.store(gate + 3 * hidden + kept, product.to(gates.dtype.element_ty), mask=inside)
        given += 3 * size
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
    direction = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    units = tl.arange(0, UNITS)
    inside = (rows[:, None] < batch) & (units[None, :] < hidden)
    place = rows[:, None] * hidden + units[None, :]
    wide = rows[:, None] * (3 * hidden) + units[None, :]
    kept = rows[:, None] * (4 * hidden) + units[None, :]
    size = (batch * hidden).to(tl.int64)
    matrix = weight + direction * (3 * hidden * hidden)
    last = (direction + 1) * steps - 1
    outside, gate = arriving + last * size, gates + last * (4 * size)
    state = states + (last + direction) * size
    to_given, to_product = collected + last * (3 * size), through + last * (3 * size)
    delta = tl.zeros((ROWS, UNITS), dtype=tl.float32)
    for _ in range(steps):
        delta += tl.load(outside + place, mask=inside, other=0.0).to(tl.float32)
        reset = tl.load(gate + kept, mask=inside, other=0.0).to(tl.float32)
        update = tl.load(gate + hidden + kept, mask=inside, other=0.0).to(tl.float32)
        new = tl.load(gate + 2 * hidden + kept, mask=inside, other=0.0).to(tl.float32)
        product = tl.load(gate + 3 * hidden + kept, mask=inside, other=0.0).to(tl.float32)
        before = tl.load(state + place, mask=inside, other=0.0).to(tl.float32)
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
        tl.debug_barrier()
        for first in range(0, 3 * hidden, TILE):
            part = first + tl.arange(0, TILE)
            left = tile_of(to_product, rows, part, batch, 3 * hidden, 3 * hidden)
            right = tile_of(matrix, part, units, 3 * hidden, hidden, hidden)
            delta = tl.dot(left.to(right.dtype), right, delta)
        outside -= size
        gate -= 4 * size
        state -= size
        to_given -= 3 * size
        to_product -= 3 * size
    tl.store(initial + direction * size + place, delta, mask=inside)
