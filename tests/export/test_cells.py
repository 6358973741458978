"""A cell's nodes compute the cell of the engine, over sequences of several lengths and in steps."""

from __future__ import annotations

import numpy as np
import pytest

from charseq.decoding.blocks import CellWeights, run_cell, scale_cell, to_blocks, to_rows
from charseq.errors import UsageError
from charseq.export import cells
from charseq.export.graph import GraphBuilder
from charseq.export.runtime.predict import Graph
from charseq.kernels.cell_table import CELLS

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

H, I, STEPS = 6, 4, 7  # noqa: E741
LENGTHS = [7, 1, 4]


def weights(cell: str) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    rows = CELLS[cell].gates * H
    shapes = {"input": (rows, I), "recurrent": (rows, H), "bias": (rows,)}
    return {
        f"{name}.{part}": draw.normal(0, 0.7, shape).astype(np.float32)
        for name in ("ahead", "back")
        for part, shape in shapes.items()
    }


def engine(cell: str, own: CellWeights, inputs: np.ndarray) -> np.ndarray:
    """States S K H of one sequence S I."""
    padded = np.zeros((16, *inputs.shape), dtype=np.float32)
    padded[0] = inputs
    projected = np.matmul(own.input, to_blocks(padded)) + own.bias
    begin = np.zeros((CELLS[cell].states, 1, H, 16), dtype=np.float32)
    states = run_cell(cell, own.recurrent, projected, begin)
    return np.stack([to_rows(states[:, kept])[0] for kept in range(len(begin))], axis=1)


@pytest.mark.parametrize("cell", cells.STEPS)
def test_sequences_of_both_directions_end_where_the_texts_do(cell: str) -> None:
    own = weights(cell)
    graph = GraphBuilder("test", "fp32")
    inputs = graph.input("inputs", "float", "length", "texts", I)
    lengths = graph.op("Cast", graph.input("lengths", "int", "texts"), to=6)
    found = cells.run_both(graph, cell, own, ("ahead", "back"), inputs=inputs, lengths=lengths)
    graph.output("outputs", found.outputs, "float", "length", "texts", 2 * H)
    for number, final in enumerate(found.finals):
        graph.output(f"final{number}", final, "float", "texts", 2 * H)
    x = np.random.default_rng(2).normal(size=(STEPS, 3, I)).astype(np.float32)
    made = Graph(graph.model({}))(inputs=x, lengths=np.array(LENGTHS))
    assert len(found.finals) == CELLS[cell].states
    for text, length in enumerate(LENGTHS):
        ahead, back = (scale_cell(own, name, cell) for name in ("ahead", "back"))
        one = engine(cell, ahead, x[:length, text])
        other = engine(cell, back, x[:length, text][::-1])
        both = np.concatenate([one[:, 0], other[::-1, 0]], axis=1)
        assert np.allclose(made["outputs"][:length, text], both, atol=1e-5)
        for kept in range(CELLS[cell].states):
            last = np.concatenate([one[-1, kept], other[-1, kept]])
            assert np.allclose(made[f"final{kept}"][text], last, atol=1e-5)


@pytest.mark.parametrize("cell", cells.STEPS)
def test_steps_are_those_of_the_sequence(cell: str) -> None:
    own, kept = weights(cell), CELLS[cell].states
    graph = GraphBuilder("test", "fp32")
    inputs = graph.input("inputs", "float", "rows", I)
    states = [graph.input(f"state{k}", "float", "rows", H) for k in range(kept)]
    after = cells.step(graph, cell, own, "ahead", inputs=inputs, states=states)
    for number, one in enumerate(after):
        graph.output(f"after{number}", one, "float", "rows", H)
    run = Graph(graph.model({}))
    x = np.random.default_rng(2).normal(size=(STEPS, I)).astype(np.float32)
    wanted = engine(cell, scale_cell(own, "ahead", cell), x)
    state = [np.zeros((1, H), dtype=np.float32)] * kept
    for step in range(STEPS):
        named = {f"state{k}": one for k, one in enumerate(state)}
        found = run(inputs=x[step : step + 1], **named)
        state = [found[f"after{k}"] for k in range(kept)]
        assert np.allclose(np.concatenate(state), wanted[step], atol=1e-5)


def test_another_cell_is_refused() -> None:
    cells.check("gru")
    with pytest.raises(UsageError, match="cell mlp cannot be exported"):
        cells.check("mlp")
