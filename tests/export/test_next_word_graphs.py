"""The graphs of a next-word network: their shapes, and lines side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exported_runs import words_run

from charseq.data.text.vocabulary import BOS
from charseq.decoding.next_word_numpy import NumpyNextWord
from charseq.export import manifest
from charseq.export.next_word_graphs import NextWordGraphs
from charseq.export.runtime.predict import Graph

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.mark.parametrize(
    ("cell", "layers", "shape"),
    [("lstm", 2, (2, 2, 12)), ("gru", 1, (1, 1, 12)), ("mlp", 1, (1, 3, 8))],
)
def test_lines_are_read_side_by_side(
    cell: str, layers: int, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    run = words_run(tmp_path / "run", cell=cell, layers=layers, context=4)
    config, weights = manifest.read(run).groups[0].members[0]
    graphs = NextWordGraphs(weights, cell, layers, config.context, "fp32")
    assert graphs.shape == shape
    reader, writer = Graph(graphs.reader({})), Graph(graphs.writer({}))
    engine = NumpyNextWord(weights, cell=cell, layers=layers, context=4)
    lines = [[4, 5, 6, 7, 8], [3, 12, 4, 4, 5]]
    state = np.zeros((shape[0], shape[1], 2, shape[2]), dtype=np.float32)
    for column in [[BOS, BOS], *zip(*lines, strict=True)]:
        found = reader(symbols=np.array(column), state=state)
        state = found["state_after"]
    wanted, _ = engine.step(*engine.start(lines))
    logs = writer(hidden=found["hidden"])["log_probs"]
    assert np.allclose(logs, wanted, atol=1e-5)
