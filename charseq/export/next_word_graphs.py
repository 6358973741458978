"""Weights of a next-word network -> two graphs: to read a word, and to say which comes next.

The mathematics is that of ``decoding.next_word_numpy``; R lines side by side.

    reader: symbols R, state L K R H -> hidden R H, state_after L K R H
    writer: hidden R H               -> log_probs R V

Only the last word of a prefix needs the writer, whose matrix is the largest. The state before a
line is zeros; the first symbol is BOS, or EOS after training on running text. The state of the
cell "mlp" holds the vectors of the last n - 1 words, 1 (n - 1) R E.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charseq.data.text.vocabulary import BOS, PAD
from charseq.export import cells
from charseq.export.graph import GraphBuilder
from charseq.kernels.cell_table import CELLS

if TYPE_CHECKING:
    from jaxtyping import Float32


@dataclass(frozen=True)
class NextWordGraphs:
    """A network with its weights in float32, and the precision in which graphs store them."""

    weights: Mapping[str, np.ndarray]
    cell: str
    layers: int
    context: int
    precision: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """L, K and the size of a state."""
        if self.cell == "mlp":
            return 1, self.context - 1, self.weights["embedding"].shape[1]
        size = self.weights["recurrence.cells.0.recurrent"].shape[1]
        return self.layers, CELLS[self.cell].states, size

    @property
    def hidden(self) -> int:
        """H."""
        return int(self.weights["readout.weight"].shape[1])

    def reader(self, facts: Mapping[str, str]) -> bytes:
        """One step of the recurrence as an ONNX model; ``facts`` are its metadata."""
        graph = GraphBuilder("reader", self.precision)
        layers, kept, size = self.shape
        symbols = graph.input("symbols", "int", "rows")
        state = graph.input("state", "float", layers, kept, "rows", size)
        read = graph.rows("embedding", self.weights["embedding"], symbols)
        if self.cell == "mlp":
            hidden, after = self._feed_forward(graph, read, state)
        else:
            hidden, after = self._recur(graph, read, state)
        graph.output("hidden", hidden, "float", "rows", self.hidden)
        graph.output("state_after", after, "float", layers, kept, "rows", size)
        return graph.model(facts)

    def writer(self, facts: Mapping[str, str]) -> bytes:
        """The distribution over the next word as an ONNX model; ``facts`` are its metadata."""
        graph, weights = GraphBuilder("writer", self.precision), self.weights
        hidden = graph.input("hidden", "float", "rows", self.hidden)
        matrix = graph.matrix("readout.weight", weights["readout.weight"])
        mixed = graph.linear(hidden, matrix, graph.vector("readout.bias", weights["readout.bias"]))
        name = "output" if "output" in weights else "embedding"
        logits = graph.linear(mixed, graph.matrix(name, weights[name]),
                              graph.vector("output_bias", self._bias()))  # fmt: skip
        logs = graph.op("LogSoftmax", logits, axis=1)
        graph.output("log_probs", logs, "float", "rows", len(weights["output_bias"]))
        return graph.model(facts)

    def _recur(self, graph: GraphBuilder, read: str, state: str) -> tuple[str, str]:
        """The hidden state and the whole state after one step of all layers."""
        layers, kept, _ = self.shape
        below, after = read, []
        for layer in range(layers):
            own = graph.op("Gather", state, graph.constant(layer), axis=0)
            states = [graph.op("Gather", own, graph.constant(k), axis=0) for k in range(kept)]
            name = f"recurrence.cells.{layer}"
            found = cells.step(graph, self.cell, self.weights, name, inputs=below, states=states)
            below = found[0]
            wide = [graph.op("Unsqueeze", one, graph.constant([0, 1])) for one in found]
            after.append(graph.op("Concat", *wide, axis=1))
        return below, graph.op("Concat", *after, axis=0)

    def _feed_forward(self, graph: GraphBuilder, read: str, state: str) -> tuple[str, str]:
        """The cell "mlp": the last n vectors, the new one behind them."""
        kept = self.shape[1]
        new = graph.op("Unsqueeze", read, graph.constant([0, 1]))
        whole = graph.op("Concat", state, new, axis=1)
        parts = [
            graph.op("Gather", graph.op("Squeeze", whole, graph.constant([0])),
                     graph.constant(place), axis=0)
            for place in range(kept + 1)
        ]  # fmt: skip
        seen = graph.op("Concat", *parts, axis=1)
        matrix = graph.matrix("hidden.weight", self.weights["hidden.weight"])
        bias = graph.vector("hidden.bias", self.weights["hidden.bias"])
        hidden = graph.op("Tanh", graph.linear(seen, matrix, bias))
        after = graph.op("Slice", whole, graph.constant([1]), graph.constant([kept + 1]),
                         graph.constant([1]))  # fmt: skip
        return hidden, after

    def _bias(self) -> Float32[np.ndarray, "V"]:
        """The output's bias, in which symbols that are never written are impossible."""
        bias = self.weights["output_bias"].copy()
        bias[[PAD, BOS]] = -np.inf
        return bias
