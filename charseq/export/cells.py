"""Weights of a cell -> its nodes in a graph: whole sequences in the encoder, a step elsewhere.

tanh, LSTM and GRU are ONNX's own operators ``RNN``, ``LSTM`` and ``GRU`` over a sequence. They take
the lengths of the texts, so that padding changes nothing, and GRU has ``linear_before_reset``: here
the reset gate scales the product U h. The residual cell is no operator of ONNX, and is a ``Scan``.
The equations of the steps are those of ``decoding.blocks``, with gates that are not halved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charseq.errors import UsageError
from charseq.kernels.cell_table import CELLS

if TYPE_CHECKING:
    from charseq.export.graph import GraphBuilder

Weights = Mapping[str, np.ndarray]


class Operator(NamedTuple):
    """An operator of ONNX for a cell: its order of the gates, by their places here."""

    name: str
    gates: tuple[int, ...]


OPERATORS = {
    "tanh": Operator("RNN", (0,)),
    "gru": Operator("GRU", (1, 0, 2)),  # z r h there; r z n here
    "lstm": Operator("LSTM", (0, 3, 1, 2)),  # i o f c there; i f g o here
}


class Sequences(NamedTuple):
    """The outputs of both directions for every position, and the states after the last one."""

    outputs: str
    """S N 2H."""
    finals: list[str]
    """K states N 2H."""


def check(cell: str) -> None:
    """Raise UsageError for a cell that has no graph."""
    if cell not in STEPS or CELLS.get(cell) is None:
        raise UsageError(f"cell {cell} cannot be exported, expected one of {', '.join(STEPS)}")


def run_both(
    graph: GraphBuilder, cell: str, weights: Weights, names: tuple[str, str], *, inputs: str,
    lengths: str,
) -> Sequences:  # fmt: skip
    """A bidirectional layer. ``inputs``: S N I; ``lengths``: N, as int32."""
    if cell in OPERATORS:
        return _run_operator(graph, OPERATORS[cell], weights, names, inputs, lengths)
    outputs, finals = [], []
    for direction, name in enumerate(names):
        read = inputs
        if direction:
            read = _reverse(graph, inputs, lengths)
        states, final = _run_scan(graph, cell, weights, name, read, lengths)
        outputs.append(_reverse(graph, states, lengths) if direction else states)
        finals.append(final)
    return Sequences(graph.op("Concat", *outputs, axis=2), [graph.op("Concat", *finals, axis=1)])


def _run_operator(
    graph: GraphBuilder, operator: Operator, weights: Weights, names: tuple[str, str], inputs: str,
    lengths: str,
) -> Sequences:  # fmt: skip
    """One of ONNX's operators, in both directions."""
    size = weights[f"{names[0]}.recurrent"].shape[1]
    parts = []
    for part in ("input", "recurrent"):
        matrices = [
            graph.op(
                "Unsqueeze",
                graph.matrix(f"{name}.{part}", _order(weights[f"{name}.{part}"], operator, size)),
                graph.constant([0]),
            )
            for name in names
        ]
        parts.append(graph.op("Concat", *matrices, axis=0))
    biases = [_order(weights[f"{name}.bias"], operator, size) for name in names]
    both = np.stack([np.concatenate([bias, np.zeros_like(bias)]) for bias in biases])
    bias = graph.vector(f"{names[0]}.both.bias", both)
    more = {"linear_before_reset": 1} if operator.name == "GRU" else {}
    count = 3 if operator.name == "LSTM" else 2
    found = graph.ops(
        operator.name, count, inputs, *parts, bias, lengths,
        hidden_size=size, direction="bidirectional", **more,
    )  # fmt: skip
    # S 2 N H -> S N 2H, and 2 N H -> N 2H
    outputs = graph.op("Transpose", found[0], perm=[0, 2, 1, 3])
    outputs = graph.op("Reshape", outputs, graph.constant([0, 0, 2 * size]))
    finals = [graph.op("Transpose", final, perm=[1, 0, 2]) for final in found[1:]]
    return Sequences(
        outputs, [graph.op("Reshape", one, graph.constant([0, 2 * size])) for one in finals]
    )


def _order(weight: np.ndarray, operator: Operator, size: int) -> np.ndarray:
    """The rows of a weight in the operator's order of the gates."""
    return np.concatenate([weight[gate * size : (gate + 1) * size] for gate in operator.gates])


def _reverse(graph: GraphBuilder, sequences: str, lengths: str) -> str:
    """Each of S N I from its last position to its first; padding stays behind."""
    wide = graph.op("Cast", lengths, to=7)
    return graph.op("ReverseSequence", sequences, wide, time_axis=0, batch_axis=1)


def _run_scan(
    graph: GraphBuilder, cell: str, weights: Weights, name: str, inputs: str, lengths: str
) -> tuple[str, str]:
    """A cell with one state, step by step; a text that has ended keeps its state."""
    size = weights[f"{name}.recurrent"].shape[1]
    recurrent = graph.matrix(f"{name}.recurrent", weights[f"{name}.recurrent"])
    below = graph.op(
        "Transpose", graph.matrix(f"{name}.input", weights[f"{name}.input"]), perm=[1, 0]
    )
    projected = graph.op("MatMul", inputs, below)
    projected = graph.op("Add", projected, graph.vector(f"{name}.bias", weights[f"{name}.bias"]))
    shape = graph.op("Shape", inputs)
    steps = graph.op("Gather", shape, graph.constant(0))
    texts = graph.op("Gather", shape, graph.constant([1]))
    zero = graph.op("Concat", texts, graph.constant([size]), axis=0)
    begin = graph.op("Expand", graph.constant(0.0, np.float32), zero)
    time = graph.op("Range", graph.constant(0), steps, graph.constant(1))
    column = graph.op("Unsqueeze", time, graph.constant([1]))
    under_way = graph.op("Less", column, graph.op("Cast", lengths, to=7))
    mask = graph.op("Cast", graph.op("Unsqueeze", under_way, graph.constant([2])), to=1)
    body = graph.body()
    state = body.input(f"state_{name}", "float", "texts", size)
    here = body.input(f"projected_{name}", "float", "texts", size)
    active = body.input(f"mask_{name}", "float", "texts", 1)
    product = body.linear(state, recurrent)
    (after,) = STEPS[cell](body, product, here, [state], size)
    change = body.op("Mul", active, body.op("Sub", after, state))
    kept = body.op("Add", state, change)
    body.output(f"after_{name}", kept, "float", "texts", size)
    body.output(f"hidden_{name}", kept, "float", "texts", size)
    final, states = graph.ops(
        "Scan", 2, begin, projected, mask, body=body.graph(), num_scan_inputs=2
    )
    return states, final


def step(
    graph: GraphBuilder, cell: str, weights: Weights, name: str, *, inputs: str, states: list[str]
) -> list[str]:
    """The states N H after one step of a cell that reads rows N I."""
    recurrent = weights[f"{name}.recurrent"]
    product = graph.linear(states[0], graph.matrix(f"{name}.recurrent", recurrent))
    matrix = graph.matrix(f"{name}.input", weights[f"{name}.input"])
    projected = graph.linear(inputs, matrix, graph.vector(f"{name}.bias", weights[f"{name}.bias"]))
    return STEPS[cell](graph, product, projected, states, recurrent.shape[1])


def _step_tanh(
    graph: GraphBuilder, product: str, projected: str, _states: list[str], _size: int
) -> list[str]:
    return [graph.op("Tanh", graph.op("Add", product, projected))]


def _step_residual(
    graph: GraphBuilder, product: str, projected: str, states: list[str], _size: int
) -> list[str]:
    change = graph.op("Tanh", graph.op("Add", product, projected))
    return [graph.op("Add", states[0], change)]


def _step_gru(
    graph: GraphBuilder, product: str, projected: str, states: list[str], size: int
) -> list[str]:
    sizes = graph.constant([size] * 3)
    of_state, of_input = (graph.ops("Split", 3, one, sizes, axis=1) for one in (product, projected))
    reset, keep = (
        graph.op("Sigmoid", graph.op("Add", *pair))
        for pair in zip(of_state[:2], of_input[:2], strict=True)
    )
    new = graph.op("Add", graph.op("Mul", reset, of_state[2]), of_input[2])
    new = graph.op("Tanh", new)
    kept = graph.op("Mul", keep, graph.op("Sub", states[0], new))
    return [graph.op("Add", kept, new)]


def _step_lstm(
    graph: GraphBuilder, product: str, projected: str, states: list[str], size: int
) -> list[str]:
    gates = graph.op("Add", product, projected)
    parts = graph.ops("Split", 4, gates, graph.constant([size] * 4), axis=1)
    write, forget, show = (graph.op("Sigmoid", parts[gate]) for gate in (0, 1, 3))
    new = graph.op("Mul", write, graph.op("Tanh", parts[2]))
    cell = graph.op("Add", graph.op("Mul", forget, states[1]), new)
    return [graph.op("Mul", show, graph.op("Tanh", cell)), cell]


Step = Callable[["GraphBuilder", str, str, list[str], int], list[str]]

STEPS: dict[str, Step] = {
    "tanh": _step_tanh,
    "residual": _step_residual,
    "gru": _step_gru,
    "lstm": _step_lstm,
}
"""(graph, U h, W x + b, states, H) -> the states after, for each cell."""
