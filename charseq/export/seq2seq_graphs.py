"""Weights of an encoder-decoder -> two graphs: the encoder, and one step of the decoder.

The mathematics is that of ``decoding.seq2seq_numpy``; T texts of S symbols, R rows of a search.

    encoder: source T S, lengths T -> state L K T H
                                      soft attention: keys T S H, values T S E
                                      hard attention: contexts T S E, readouts T S E, ends T
    decoder: symbols R, state L K R H, the arrays of the texts
                                   -> log_probs R V, state_after; hard: positions_after R

A source is padded with 0; ``lengths`` count its ids. With hard attention it has EOS behind its
symbols, then its features. R is a multiple of T: the rows of a text stand side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import BOS, EOS, PAD, SPECIALS, UNK
from charseq.export import cells
from charseq.export.graph import GraphBuilder
from charseq.kernels.cell_table import CELLS

if TYPE_CHECKING:
    from jaxtyping import Float32

INT64, INT32, FLOAT = 7, 6, 1
"""Numbers of the types in onnx.proto."""


@dataclass(frozen=True)
class Seq2SeqGraphs:
    """A network with its weights in float32, and the precision in which graphs store them."""

    weights: Mapping[str, np.ndarray]
    cell: str
    layers: int
    precision: str

    @property
    def hidden(self) -> int:
        """H."""
        return int(self.weights["decoder.cells.0.recurrent"].shape[1])

    @property
    def states(self) -> int:
        """K."""
        return CELLS[self.cell].states

    @property
    def is_soft(self) -> bool:
        """Whether the decoder has soft attention."""
        return "attention.key.weight" in self.weights

    @property
    def is_hard(self) -> bool:
        """Whether the decoder has hard attention, so that it writes actions."""
        return "pointer.input.weight" in self.weights

    @property
    def size(self) -> int:
        """V: symbols or actions that the decoder writes."""
        return len(self.weights["output_bias"])

    def encoder(self, facts: Mapping[str, str]) -> bytes:
        """The encoder as an ONNX model; ``facts`` are its metadata."""
        graph = GraphBuilder("encoder", self.precision)
        source = graph.input("source", "int", "texts", "length")
        lengths = graph.input("lengths", "int", "texts")
        read = graph.rows("source_embedding", self.weights["source_embedding"], source)
        if self.is_hard:
            ends = self._ends(graph, source)
            read = graph.op("Add", read, self._shared(graph, source, read, ends, lengths))
            graph.output("ends", ends, "int", "texts")
            lengths = graph.op("Add", ends, graph.constant(1))
        short = graph.op("Cast", lengths, to=INT32)
        below, finals = graph.op("Transpose", read, perm=[1, 0, 2]), []
        for layer in range(self.layers):
            names = f"encoder.cells.{2 * layer}", f"encoder.cells.{2 * layer + 1}"
            found = cells.run_both(
                graph, self.cell, self.weights, names, inputs=below, lengths=short
            )
            below = found.outputs
            finals.append(self._stack(graph, found.finals))
        self._bridge(graph, self._stack(graph, finals))
        self._memories(graph, graph.op("Transpose", below, perm=[1, 0, 2]))
        return graph.model(facts)

    def decoder(self, facts: Mapping[str, str]) -> bytes:
        """One step of the decoder as an ONNX model; ``facts`` are its metadata."""
        graph, weights = GraphBuilder("decoder", self.precision), self.weights
        symbols = graph.input("symbols", "int", "rows")
        state = graph.input("state", "float", self.layers, self.states, "rows", self.hidden)
        scale = graph.constant(math.sqrt(weights["target_embedding"].shape[1]), np.float32)
        read = graph.rows("target_embedding", weights["target_embedding"], symbols)
        read = graph.op("Mul", read, scale)
        readout, mask, prior = "", "", ""
        if self.is_hard:
            read, readout, mask, prior = self._positions(graph, symbols, read)
        below, after = read, []
        for layer in range(self.layers):
            states = [self._pick(graph, state, layer, kept) for kept in range(self.states)]
            name = f"decoder.cells.{layer}"
            found = cells.step(graph, self.cell, weights, name, inputs=below, states=states)
            below = found[0]
            after.append(self._stack(graph, found))
        graph.output("state_after", self._stack(graph, after), "float",
                     self.layers, self.states, "rows", self.hidden)  # fmt: skip
        matrix = graph.matrix("readout.weight", weights["readout.weight"])
        mixed = graph.linear(below, matrix, graph.vector("readout.bias", weights["readout.bias"]))
        if readout:
            mixed = graph.op("Add", mixed, readout)
        if self.is_soft:
            mixed = graph.op("Add", mixed, self._attend(graph, below))
        mixed = graph.op("Tanh", mixed)
        logits = graph.linear(mixed, self._output(graph), graph.vector("bias", self._bias()))
        if self.is_hard:
            logits = graph.op("Add", logits, mask)
        if prior:
            logits = graph.op("Add", logits, prior)
        logs = graph.op("LogSoftmax", logits, axis=1)
        graph.output("log_probs", logs, "float", "rows", self.size)
        return graph.model(facts)

    # --- encoder

    def _ends(self, graph: GraphBuilder, source: str) -> str:
        """The position of each text's EOS."""
        equal = graph.op("Cast", graph.op("Equal", source, graph.constant(EOS)), to=INT32)
        return graph.op("ArgMax", equal, axis=1, keepdims=0)

    def _shared(self, graph: GraphBuilder, source: str, read: str, ends: str, lengths: str) -> str:
        """The features' vector T 1 E: their sum over the root of their number."""
        steps = graph.op("Gather", graph.op("Shape", source), graph.constant(1))
        time = graph.op("Range", graph.constant(0), steps, graph.constant(1))
        column = [graph.op("Unsqueeze", one, graph.constant([1])) for one in (ends, lengths)]
        behind = graph.op(
            "And", graph.op("Greater", time, column[0]), graph.op("Less", time, column[1])
        )
        mask = graph.op("Unsqueeze", graph.op("Cast", behind, to=FLOAT), graph.constant([2]))
        total = graph.op("ReduceSum", graph.op("Mul", read, mask), graph.constant([1]))
        count = graph.op("ReduceSum", mask, graph.constant([1]))
        count = graph.op("Max", count, graph.constant(1.0, np.float32))
        return graph.op("Div", total, graph.op("Sqrt", count))

    def _bridge(self, graph: GraphBuilder, finals: str) -> None:
        """The decoder's first state from the encoder's last ones, L K T 2H."""
        matrix = graph.matrix("bridge.weight", self.weights["bridge.weight"])
        state = graph.op("MatMul", finals, graph.op("Transpose", matrix, perm=[1, 0]))
        state = graph.op("Add", state, graph.vector("bridge.bias", self.weights["bridge.bias"]))
        graph.output("state", state, "float", self.layers, self.states, "texts", self.hidden)

    def _memories(self, graph: GraphBuilder, memory: str) -> None:
        """What attention reads of every position, as outputs; ``memory``: T S 2H."""
        named: dict[str, Float32[np.ndarray, "O M"]] = {}
        if self.is_soft:
            named["keys"] = self.weights["attention.key.weight"]
            named["values"] = self.weights["attention.value.weight"]
        if self.is_hard:
            named["contexts"] = self.weights["pointer.input.weight"]
            named["readouts"] = self.weights["pointer.output.weight"]
        for name, weight in named.items():
            matrix = graph.op("Transpose", graph.matrix(name + ".weight", weight), perm=[1, 0])
            made = graph.op("MatMul", memory, matrix)
            if name == "keys":
                scale = graph.constant(1 / math.sqrt(self.hidden), np.float32)
                made = graph.op("Mul", made, scale)
            graph.output(name, made, "float", "texts", "length", len(weight))

    # --- decoder

    def _positions(self, graph: GraphBuilder, symbols: str, read: str) -> tuple[str, str, str, str]:
        """Hard attention: rows with their context, readout, mask of actions, and prior."""
        size = self.weights["target_embedding"].shape[1]
        actions = Actions.of(self.size)
        positions = graph.input("positions", "int", "rows")
        ends = graph.input("ends", "int", "texts")
        advances = graph.op("GreaterOrEqual", symbols, graph.constant(actions.symbols))
        after = graph.op("Add", positions, graph.op("Cast", advances, to=INT64))
        texts = graph.op("Shape", ends)
        shape = graph.op("Concat", texts, graph.constant([-1]), axis=0)
        last = graph.op("Unsqueeze", ends, graph.constant([1]))
        # impossible actions may fill a beam: their positions stay within the text
        after = graph.op("Min", graph.op("Reshape", after, shape), last)
        at = graph.op("Unsqueeze", after, graph.constant([2]))
        found = []
        for name in ("contexts", "readouts"):
            values = graph.input(name, "float", "texts", "length", size)
            chosen = graph.op("GatherND", values, at, batch_dims=1)
            found.append(graph.op("Reshape", chosen, graph.constant([-1, size])))
        prior = ""
        if "prior" in self.weights:
            source = graph.input("source", "int", "texts", "length")
            ids = graph.op("GatherND", source, at, batch_dims=1)
            ids = graph.op("Reshape", ids, graph.constant([-1]))
            prior = graph.rows("prior", self.weights["prior"], ids)
        ended = graph.op("Reshape", graph.op("Equal", after, last), graph.constant([-1, 1]))
        at_end, before_end = np.zeros((2, 1, self.size), dtype=np.float32)
        at_end[:, actions.symbols :] = -np.inf  # at a text's end no action advances
        before_end[:, EOS] = -np.inf  # before it, no output ends
        masks = graph.vector("at_end", at_end), graph.vector("before_end", before_end)
        mask = graph.op("Where", ended, *masks)
        graph.output("positions_after", graph.op("Reshape", after, graph.constant([-1])), "int",
                     "rows")  # fmt: skip
        return graph.op("Add", read, found[0]), found[1], mask, prior

    def _attend(self, graph: GraphBuilder, hidden: str) -> str:
        """Soft attention's context of each row, R E."""
        size = self.weights["readout.weight"].shape[0]
        keys = graph.input("keys", "float", "texts", "length", self.hidden)
        values = graph.input("values", "float", "texts", "length", size)
        lengths = graph.input("lengths", "int", "texts")
        shape = graph.op("Shape", keys)
        texts = graph.op("Gather", shape, graph.constant([0]))
        by_text = graph.op("Concat", texts, graph.constant([-1, self.hidden]), axis=0)
        queries = graph.op("Reshape", hidden, by_text)
        scores = graph.op("MatMul", queries, graph.op("Transpose", keys, perm=[0, 2, 1]))
        steps = graph.op("Gather", shape, graph.constant(1))
        time = graph.op("Range", graph.constant(0), steps, graph.constant(1))
        inside = graph.op("Less", time, graph.op("Unsqueeze", lengths, graph.constant([1, 2])))
        scores = graph.op("Where", inside, scores, graph.constant(-np.inf, np.float32))
        context = graph.op("MatMul", graph.op("Softmax", scores, axis=2), values)
        return graph.op("Reshape", context, graph.constant([-1, size]))

    def _output(self, graph: GraphBuilder) -> str:
        """The output matrix; tied, it is that of the embedding."""
        name = "output" if "output" in self.weights else "target_embedding"
        return graph.matrix(name, self.weights[name])

    def _bias(self) -> Float32[np.ndarray, "V"]:
        """The output's bias, in which symbols that are never written are impossible."""
        bias = self.weights["output_bias"].copy()
        bias[[PAD, BOS, UNK]] = -np.inf
        if self.is_hard:
            first = Actions.of(len(bias)).symbols
            bias[first : first + SPECIALS] = -np.inf
        return bias

    def _pick(self, graph: GraphBuilder, state: str, layer: int, kept: int) -> str:
        """One state R H of L K R H."""
        chosen = graph.op("Gather", state, graph.constant(layer), axis=0)
        return graph.op("Gather", chosen, graph.constant(kept), axis=0)

    def _stack(self, graph: GraphBuilder, parts: list[str]) -> str:
        """Arrays under a new first axis."""
        wide = [graph.op("Unsqueeze", part, graph.constant([0])) for part in parts]
        return graph.op("Concat", *wide, axis=0)
