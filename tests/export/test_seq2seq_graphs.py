"""The graphs of an encoder-decoder: their inputs and outputs, and rows of a search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exported_runs import pairs_run

from charseq.decoding.seq2seq_numpy import NumpySeq2Seq
from charseq.export import manifest
from charseq.export.runtime.predict import Graph, Network
from charseq.export.seq2seq_graphs import Seq2SeqGraphs

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

TEXTS = {
    "soft": [[4, 5, 6, 7, 8], [9], [4, 4, 3]],
    "hard": [[4, 5, 6, 2], [2], [9, 3, 2]],
    "none": [[4, 5], [6], [7, 8, 9]],
}
READS = {
    "soft": {"symbols", "state", "keys", "values", "lengths"},
    "hard": {"symbols", "state", "positions", "ends", "contexts", "readouts"},
    "none": {"symbols", "state"},
}


@pytest.mark.parametrize("kind", TEXTS)
def test_rows_of_a_search_are_those_of_the_engine(kind: str, tmp_path: Path) -> None:
    """Rows are repeated, reordered within their texts, and a text is left out."""
    run = pairs_run(tmp_path / "run", attention=kind, cell="gru", layers=2)
    config, weights = manifest.read(run).groups[0].members[0]
    graphs = Seq2SeqGraphs(weights, config.cell, config.layers, "fp32")
    encoder, decoder = Graph(graphs.encoder({})), Graph(graphs.decoder({}))
    assert set(decoder.inputs) == READS[kind] | ({"source"} if "prior" in weights else set())
    network = Network(encoder, decoder)
    engine = NumpySeq2Seq(weights, cell=config.cell, layers=config.layers)
    found = network.start(TEXTS[kind])
    parts = [engine.start([ids]) for ids in TEXTS[kind]]
    assert found.hidden.shape == (2, 1, 3, config.hidden)
    found = network.select(found, np.repeat(np.arange(3), 2), 2)
    parts = [engine.select(part, np.array([0, 0]), 2) for part in parts]
    moves = [[4, 5], [6, 7], [8, graphs.size - 1]]
    logs, found = network.step(np.array(moves).ravel(), found)
    for number, part in enumerate(parts):
        wanted, parts[number] = engine.step(np.array(moves[number]), part)
        assert np.allclose(logs[2 * number : 2 * number + 2], wanted, atol=1e-5)
    found = network.select(found, np.array([1, 0, 5, 5]), 2)
    kept = [(parts[0], [1, 0]), (parts[2], [1, 1])]
    logs, _ = network.step(np.array([5, 6, 7, 4]), found)
    for place, (part, rows) in enumerate(kept):
        own = engine.select(part, np.array(rows), 2)
        wanted, _ = engine.step(np.array([[5, 6], [7, 4]][place]), own)
        assert np.allclose(logs[2 * place : 2 * place + 2], wanted, atol=1e-5)


def test_the_time_axis_is_free(tmp_path: Path) -> None:
    """No length of a text is frozen in the graph."""
    run = pairs_run(tmp_path / "run", attention="soft", cell="residual")
    config, weights = manifest.read(run).groups[0].members[0]
    encoder = Graph(Seq2SeqGraphs(weights, config.cell, 1, "fp32").encoder({"run": "run"}))
    for length in (1, 3, 50):
        found = encoder(source=np.full((2, length), 4), lengths=np.array([length, 1]))
        assert found["keys"].shape == (2, length, config.hidden)
