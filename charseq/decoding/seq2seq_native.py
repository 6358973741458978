"""source ids -> state; symbols, state -> log-probabilities, state: by compiled kernels.

The network of ``inference``, laid out for ``kernels``, with the same ``start``, ``step`` and
``select``; searches cannot tell the two apart, but for the speed and the last digits.

Same text, same answer: states, gates and logits are rows, one for each text, and a kernel computes
each row for itself, so neither blocks nor idle lanes are needed. It knows no search and no texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from charseq.data.text.vocabulary import EOS
from charseq.decoding.seq2seq_numpy import Network, side_by_side
from charseq.decoding.writer import Memory, State, Track, Writer
from charseq.kernels.layout import empty, interleave, wide, widen, zeros
from charseq.kernels.library import CELLS, Kernels, Rows

if TYPE_CHECKING:
    from jaxtyping import Float32, Int, Int64

    from charseq.decoding.blocks import CellWeights
    from charseq.decoding.search import Hypothesis
    from charseq.kernels.library import Packed


@dataclass(frozen=True)
class Layer:
    """A cell: the matrix of its input, with the bias above the first layer, and the recurrent one.

    In the first layer tables have the bias.
    """

    input: Packed
    recurrent: Packed


class Engine:
    """A network's weights, packed for the kernels."""

    def __init__(self, network: Network, kernels: Kernels) -> None:
        self.kernels = kernels
        self.cell = cell = network.cell
        _, self.gates, self.kept = CELLS[cell]
        self.hidden = wide(network.hidden)
        self.actions = network.actions
        self.symbols = len(network.output[0])
        pack = kernels.pack
        self.read = [_columns(self.gates, table) for table in network.read]
        self.given = _columns(self.gates, network.given)
        self.embedding = widen(network.embedding)
        self.encoder = [
            [self._layer(one, 2 if number else 0) for one in pair]
            for number, pair in enumerate(network.encoder)
        ]
        self.decoder = [
            self._layer(one, 1 if number else 0) for number, one in enumerate(network.decoder)
        ]
        self.bridge = self._pack_memory(network.bridge[0], network.bridge[1][:, 0])
        self.readout = pack(network.readout[0], network.readout[1][:, 0])
        self.output = pack(network.output[0], network.output[1][:, 0], fill=-math.inf)
        self.attention = None
        if network.key is not None and network.value is not None:
            key = network.key * np.float32(1 / math.sqrt(network.hidden))
            self.attention = self._pack_memory(key), self._pack_memory(network.value)
        self.prior = None if network.prior is None else widen(network.prior)
        self.pointer = None
        heard, said = network.pointer
        if heard is not None and said is not None:
            self.pointer = self._pack_memory(heard), self._pack_memory(said)
        self.going = 0 if self.actions is None else self.actions.symbols
        self.writer = Writer(
            kernels, cell, [(layer.input, layer.recurrent) for layer in self.decoder],
            given=self.given, readout=self.readout, output=self.output, prior=self.prior,
            symbols=self.symbols, going=self.going,
        )  # fmt: skip

    def start(self, sources: Sequence[Sequence[int]]) -> State:
        """As :meth:`charseq.decoding.seq2seq_numpy.Network.start`."""
        ids, lengths = side_by_side(sources)
        count = len(ids)
        shared = None
        if self.actions is not None:
            shared, ids, lengths = self._share_features(ids, lengths)
        ids = np.ascontiguousarray(ids[:, : int(lengths.max())])
        memory, last = self._encode(ids, lengths, shared)
        hidden = self.kernels.product(self.bridge, last.reshape(-1, 2 * self.hidden))
        soft = hard = None
        rows = memory.reshape(-1, 2 * self.hidden)
        if self.attention is not None:
            keys, values = (
                self.kernels.product(weight, rows).reshape(count, memory.shape[1], -1)
                for weight in self.attention
            )
            soft = Memory(keys, values, lengths)
        if self.pointer is not None:
            heard, said = (self.kernels.product(weight, rows) for weight in self.pointer)
            heard = self.kernels.product(self.decoder[0].input, heard)
            hard = Track(heard, said, lengths - 1, ids.ravel(), memory.shape[1])
        shape = len(self.decoder), self.kept, count, self.hidden
        places = np.zeros(count, dtype=np.int64)
        return State(hidden.reshape(shape), soft, hard, np.arange(count), places, 1)

    def step(
        self, symbols: Int[np.ndarray, "N"], state: State
    ) -> tuple[Float32[np.ndarray, "N V"], State]:
        """As :meth:`charseq.decoding.seq2seq_numpy.Network.step`."""
        kernels = self.kernels
        given = Rows(self.given, np.ascontiguousarray(symbols, dtype=np.int64))
        places, heard, more, likely, ended = state.places, None, None, None, None
        if state.track is not None and self.actions is not None:
            texts = np.repeat(state.texts, state.width)
            ends = state.track.ends[texts]
            # what is impossible may fill a beam: it stays within its text
            places = np.minimum(places + (symbols >= self.actions.symbols), ends)
            numbers = texts * state.track.steps + places
            heard = Rows(state.track.heard, numbers)
            more = Rows(state.track.said, numbers)
            if self.prior is not None:
                likely = Rows(self.prior, state.track.ids[numbers])
            ended = places == ends
        hidden = empty(*state.hidden.shape)
        for number, layer in enumerate(self.decoder):
            if number:
                given = self._feed(layer, hidden[number - 1, 0])
            kernels.step(
                self.cell, layer.recurrent, state.hidden[number], hidden[number],
                first=given, second=None if number else heard,
            )  # fmt: skip
        top = hidden[-1, 0]
        if state.memory is not None:
            memory = state.memory
            context = kernels.look(top, memory.keys, memory.values, memory.lengths, state.texts)
            more = Rows(context)
        mixed = kernels.product(self.readout, top, more=more, squash=True)
        logs = kernels.product(self.output, mixed, more=likely)
        kernels.log_softmax(logs, ended=ended, going=self.going, stop=EOS)
        return logs[:, : self.symbols], replace(state, hidden=hidden, places=places)

    def write(
        self, state: State, limits: Sequence[int], *, width: int, length_penalty: float
    ) -> list[list[Hypothesis]]:
        """As :func:`charseq.decoding.search.beam`, from a state as :meth:`start` gives it."""
        return self.writer.write(state, limits, width=width, length_penalty=length_penalty)

    def select(self, state: State, rows: Int[np.ndarray, "M"], width: int) -> State:
        """As :meth:`charseq.decoding.seq2seq_numpy.Network.select`."""
        hidden = empty(*state.hidden.shape[:2], len(rows), self.hidden)
        np.take(state.hidden, rows, axis=2, out=hidden, mode="clip")
        texts = state.texts[rows[::width] // state.width]
        return replace(state, hidden=hidden, texts=texts, places=state.places[rows], width=width)

    def _share_features(
        self, ids: Int64[np.ndarray, "N S"], lengths: Int64[np.ndarray, "N"]
    ) -> tuple[Float32[np.ndarray, "N E"] | None, Int64[np.ndarray, "N T"], Int64[np.ndarray, "N"]]:
        """What hard attention adds to every symbol, or nothing; ids up to EOS, and their number."""
        ends = (ids == EOS).argmax(axis=1)
        places = np.arange(ids.shape[1])
        behind = (places > ends[:, None]) & (places < lengths[:, None])
        if not behind.any():
            return None, ids, ends + 1
        shared = zeros(len(ids), self.embedding.shape[1])
        for place in np.flatnonzero(behind.any(axis=0)):
            rows = np.flatnonzero(behind[:, place])
            shared[rows] += self.embedding[ids[rows, place]]
        count = np.maximum(behind.sum(axis=1, keepdims=True), 1).astype(np.float32)
        shared /= np.sqrt(count)
        return shared, ids, ends + 1

    def _encode(
        self,
        ids: Int64[np.ndarray, "N S"],
        lengths: Int64[np.ndarray, "N"],
        shared: Float32[np.ndarray, "N E"] | None,
    ) -> tuple[Float32[np.ndarray, "N S M"], Float32[np.ndarray, "L K N M"]]:
        """The memory of every text, and every layer's final states."""
        count, steps = ids.shape
        width = 2 * self.hidden
        last = empty(len(self.encoder), self.kept, count, width)
        memory = below = empty(0)
        for number, pair in enumerate(self.encoder):
            memory = empty(count, steps, width)
            for direction, layer in enumerate(pair):
                second = None
                if number == 0:
                    first = Rows(self.read[direction], ids)
                    if shared is not None:
                        second = Rows(self.kernels.product(layer.input, shared))
                else:
                    first = self._feed(layer, below.reshape(-1, width))
                self.kernels.run(
                    self.cell, layer.recurrent, lengths, memory, last[number], first=first,
                    second=second, offset=direction * self.hidden, backward=direction == 1,
                )  # fmt: skip
            below = memory
        return memory, last

    def _feed(self, layer: Layer, below: Float32[np.ndarray, "N I"]) -> Rows:
        """What a layer above the first adds to its gates, row by row."""
        return Rows(self.kernels.product(layer.input, below))

    def _layer(self, cell: CellWeights, states: int) -> Layer:
        """A layer's weights; what it reads are so many states side by side, or else a vector."""
        given = interleave(self.gates, cell.input)
        recurrent = self.kernels.pack(interleave(self.gates, cell.recurrent), cell=self.cell)
        if not states:
            return Layer(self.kernels.pack(given), recurrent)
        bias = interleave(self.gates, cell.bias)[:, 0]
        return Layer(self.kernels.pack(_spread(given, states), bias), recurrent)

    def _pack_memory(
        self, weight: Float32[np.ndarray, "X M"], bias: Float32[np.ndarray, "X"] | None = None
    ) -> Packed:
        """A matrix that is multiplied with both directions' states side by side."""
        return self.kernels.pack(_spread(weight, 2), bias)


def _columns(gates: int, table: Float32[np.ndarray, "V GH"]) -> Float32[np.ndarray, "V GW"]:
    """A table of gates in the order of steps."""
    return widen(interleave(gates, np.ascontiguousarray(table.T)).T)


def _spread(weight: Float32[np.ndarray, "X I"], halves: int) -> Float32[np.ndarray, "X W"]:
    """A matrix whose columns are filled up to whole vectors, half by half."""
    split = weight.reshape(len(weight), halves, -1)
    return widen(split).reshape(len(weight), -1)
