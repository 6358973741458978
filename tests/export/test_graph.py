"""Weights are stored as the precision says, and a graph unpacks what was packed."""

from __future__ import annotations

import numpy as np
import pytest

from charseq.export.graph import PRECISIONS, GraphBuilder, halve, quantise, stored
from charseq.export.runtime.predict import Graph

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

WEIGHT = np.random.default_rng(1).normal(0, 3, (7, 5)).astype(np.float32)
WEIGHT[3] = 0.0


def test_rows_of_eight_bits_are_within_half_a_step() -> None:
    codes, scales = quantise(WEIGHT)
    assert codes.dtype == np.int8
    assert np.abs(codes).max(axis=1).tolist() == [127, 127, 127, 0, 127, 127, 127]
    assert (np.abs(codes * scales[:, None] - WEIGHT) <= scales[:, None] * 0.5001).all()


def test_half_precision_has_no_infinity() -> None:
    assert halve(np.array([1e9, -1e9, 0.5], dtype=np.float32)).tolist() == [65504, -65504, 0.5]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_graph_unpacks_what_was_packed(precision: str) -> None:
    graph = GraphBuilder("test", precision)
    ids = graph.input("ids", "int", "rows")
    inputs = graph.input("inputs", "float", "rows", 5)
    matrix = graph.matrix("weight", WEIGHT)
    assert graph.matrix("weight", WEIGHT) == matrix
    graph.output("products", graph.linear(inputs, matrix), "float", "rows", 7)
    graph.output("chosen", graph.rows("weight", WEIGHT, ids), "float", "rows", 5)
    x = np.random.default_rng(2).normal(size=(3, 5)).astype(np.float32)
    found = Graph(graph.model({"run": "test"}))(ids=np.array([3, 0, 6]), inputs=x)
    own = stored(WEIGHT, precision)
    assert np.allclose(found["chosen"], own[[3, 0, 6]], atol=1e-6)
    assert np.allclose(found["products"], x @ own.T, atol=1e-5)
    assert np.array_equal(own, WEIGHT) == (precision == "fp32")


def test_a_weight_is_stored_once() -> None:
    sizes = []
    weight = np.ones((300, 50), dtype=np.float32)
    for both in (False, True):
        graph = GraphBuilder("test", "fp32")
        ids = graph.input("ids", "int", "rows")
        rows = graph.rows("weight", weight, ids)
        more = graph.linear(rows, graph.matrix("weight", weight)) if both else rows
        graph.output("out", more, "float", "rows", 300 if both else 50)
        sizes.append(len(graph.model({})))
    assert sizes[1] - sizes[0] < 1000
