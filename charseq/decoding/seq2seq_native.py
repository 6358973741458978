"""source ids -> state; symbols, state -> log-probabilities, state: by compiled kernels.

The network of ``inference``, laid out for ``kernels``, with the same ``start``, ``step`` and
``select``; searches cannot tell the two apart, but for the speed and the last digits.

Same text, same answer: states, gates and logits are rows, one for each text, and a kernel computes
each row for itself, so neither blocks nor idle lanes are needed. It knows no search and no texts.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from charseq.data.text.vocabulary import BOS, EOS
from charseq.decoding.search import Hypothesis, penalty
from charseq.decoding.seq2seq_numpy import NumpySeq2Seq, side_by_side
from charseq.kernels.layout import address, empty, interleave, wide, widen, zeros
from charseq.kernels.library import (
    CELLS,
    DOUBLE,
    INDEX,
    Gather,
    Kernels,
    Packed,
    Rows,
    gather,
    place_of,
    structure,
)

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


class NativeSeq2Seq:
    """A network's weights, packed for the kernels."""

    def __init__(self, network: NumpySeq2Seq, kernels: Kernels) -> None:
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
        self.writer = NativeWriter(
            kernels, cell, [(layer.input, layer.recurrent) for layer in self.decoder],
            given=self.given, readout=self.readout, output=self.output, prior=self.prior,
            symbols=self.symbols, going=self.going,
        )  # fmt: skip

    def start(self, sources: Sequence[Sequence[int]]) -> NativeState:
        """As :meth:`charseq.decoding.seq2seq_numpy.NumpySeq2Seq.start`."""
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
            soft = NativeMemory(keys, values, lengths)
        if self.pointer is not None:
            heard, said = (self.kernels.product(weight, rows) for weight in self.pointer)
            heard = self.kernels.product(self.decoder[0].input, heard)
            hard = NativePositionContext(heard, said, lengths - 1, ids.ravel(), memory.shape[1])
        shape = len(self.decoder), self.kept, count, self.hidden
        places = np.zeros(count, dtype=np.int64)
        return NativeState(hidden.reshape(shape), soft, hard, np.arange(count), places, 1)

    def step(
        self, symbols: Int[np.ndarray, "N"], state: NativeState
    ) -> tuple[Float32[np.ndarray, "N V"], NativeState]:
        """As :meth:`charseq.decoding.seq2seq_numpy.NumpySeq2Seq.step`."""
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
        self, state: NativeState, limits: Sequence[int], *, width: int, length_penalty: float
    ) -> list[list[Hypothesis]]:
        """As :func:`charseq.decoding.search.beam`, from a state as :meth:`start` gives it."""
        return self.writer.write(state, limits, width=width, length_penalty=length_penalty)

    def select(self, state: NativeState, rows: Int[np.ndarray, "M"], width: int) -> NativeState:
        """As :meth:`charseq.decoding.seq2seq_numpy.NumpySeq2Seq.select`."""
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


STINT = 1 << 18
"""Steps of rows in one call, about a second: nothing can stop a call that has begun."""

_Decoder = structure(
    "Decoder",
    "cell layers hidden value columns symbols given begin stop going",
    "table input bias recurrent readout readout_bias output output_bias",
)
_Search = structure(
    "Search",
    "texts steps first last width most",
    "decoder state keys values lengths heard said ends likely* limits penalties"
    " found sizes scores cut written",
)


@dataclass(frozen=True)
class NativeMemory:
    """What soft attention looks at, of all texts that were read: M texts, S positions."""

    keys: Float32[np.ndarray, "M S H"]
    values: Float32[np.ndarray, "M S E"]
    lengths: Int64[np.ndarray, "M"]


@dataclass(frozen=True)
class NativePositionContext:
    """What hard attention reads at each of S places of M texts: multiplied out, in rows.

    ``heard`` goes into the first layer's gates, ``said`` into the readout.
    """

    heard: Float32[np.ndarray, "MS GH"]
    said: Float32[np.ndarray, "MS E"]
    ends: Int64[np.ndarray, "M"]
    """The place behind each text's last symbol, before its features."""
    ids: Int64[np.ndarray, "MS"]
    """The source symbols, which say what is added to the logits where there is a prior."""
    steps: int


@dataclass(frozen=True)
class NativeState:
    """Rows of a search: ``width`` rows for each of T texts, text by text."""

    hidden: Float32[np.ndarray, "L K N H"]
    memory: NativeMemory | None
    track: NativePositionContext | None
    texts: Int64[np.ndarray, "T"]
    """The texts that are still there, by their numbers among those that were read."""
    places: Int64[np.ndarray, "N"]
    """Where hard attention stands, before the next symbol is read; else 0."""
    width: int


class NativeWriter:
    """The half of a network that writes, with its weights where the kernels find them.

    ``layers`` are the matrices of inputs and of states, ``going`` the first symbol that goes on to
    the next place (see ``alignment``).
    """

    def __init__(
        self,
        kernels: Kernels,
        cell: str,
        layers: Sequence[tuple[Packed, Packed]],
        *,
        given: Float32[np.ndarray, "V GH"],
        readout: Packed,
        output: Packed,
        prior: Float32[np.ndarray, "S C"] | None,
        symbols: int,
        going: int,
    ) -> None:
        self.kernels = kernels
        self.prior = prior
        self.gates = given.shape[1]
        self.value, self.columns = readout.columns, output.columns
        self.hidden = layers[0][1].depth
        self.layers, self.kept = len(layers), CELLS[cell][2]
        above = [None, *(below for below, _ in layers[1:])]
        places = [
            _pointers([None if one is None else one.place for one in above]),
            _pointers([None if one is None else one.bias_place for one in above]),
            _pointers([recurrent.place for _, recurrent in layers]),
        ]
        self._alive = given, layers, readout, output, places  # the library has but their places
        self._decoder = _Decoder(
            CELLS[cell][0], self.layers, self.hidden, self.value, output.columns,
            symbols, len(given), BOS, EOS, going,
            place_of(given, (len(given), self.gates)), *map(ctypes.addressof, places),
            readout.place, readout.bias_place, output.place, output.bias_place,
        )  # fmt: skip

    def write(
        self, state: NativeState, limits: Sequence[int], *, width: int, length_penalty: float
    ) -> list[list[Hypothesis]]:
        """As :func:`charseq.decoding.search.beam`, for texts that were read and not yet begun.

        Raises:
            ValueError: rows of the state were selected or have gone on, or there are not as many
                limits as texts.
        """
        count, most = len(limits), max(limits)
        as_read = np.array_equal(state.texts, np.arange(count))
        if state.width != 1 or state.places.any() or not as_read:
            raise ValueError(
                f"{count} limits are not for the {len(state.texts)} texts as they begin"
            )
        found = np.zeros(count, dtype=np.int64)
        sizes, scores = np.empty((count, width), dtype=np.int64), np.empty((count, width))
        cut, written = np.empty((count, width), np.bool_), np.empty((count, width, most), np.int32)
        bounds = np.array(limits, dtype=np.int64)
        penalties = np.array([penalty(length, length_penalty) for length in range(most + 2)])
        shape = self.layers, self.kept, count, self.hidden
        steps, read = self._what_is_read(state, count)
        for first, last in _stints(limits, width):
            what = _Search(
                count, steps, first, last, width, most,
                ctypes.addressof(self._decoder), place_of(state.hidden, shape), *read,
                place_of(bounds, (count,), INDEX), place_of(penalties, (most + 2,), DOUBLE),
                *(address(array) for array in (found, sizes, scores, cut, written)),
            )  # fmt: skip
            self.kernels.call("search", what)
        facts = (array.tolist() for array in (found, sizes, scores, cut, written))
        return [
            [
                Hypothesis(tuple(ids[:size]), score, over)
                for ids, size, score, over in zip(
                    texts[:n], ends[:n], totals[:n], cuts[:n], strict=True
                )
            ]
            for n, ends, totals, cuts, texts in zip(*facts, strict=True)
        ]

    def _what_is_read(
        self, state: NativeState, count: int
    ) -> tuple[int, list[int | Gather | None]]:
        """S, and where keys, values, lengths, heard, said, ends and the prior of each place are."""
        soft, hard = state.memory, state.track
        found: list[int | Gather | None] = [*(None,) * 6, gather(None, (), 0)]
        steps = 1
        if soft is not None:
            steps = soft.keys.shape[1]
            found[:3] = (
                place_of(soft.keys, (count, steps, self.hidden)),
                place_of(soft.values, (count, steps, self.value)),
                place_of(soft.lengths, (count,), INDEX),
            )
        if hard is not None:
            steps = hard.steps
            places = (count * steps,)
            found[3:6] = (
                place_of(hard.heard, (*places, self.gates)),
                place_of(hard.said, (*places, self.value)),
                place_of(hard.ends, (count,), INDEX),
            )
            if self.prior is not None:
                found[6] = gather(Rows(self.prior, hard.ids), places, self.columns)
        return steps, found


def _pointers(places: Sequence[int | None]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(places))(*places)


def _stints(limits: Sequence[int], width: int) -> Iterator[tuple[int, int]]:
    """Texts from one to another, with about as many steps of rows as a call should have."""
    first = rows = 0
    for text, limit in enumerate(limits):
        rows += (limit + 1) * width
        if rows >= STINT or text + 1 == len(limits):
            yield first, text + 1
            first, rows = text + 1, 0
