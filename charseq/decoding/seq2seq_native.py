"""source ids -> state; symbols, state -> log-probabilities, state: the encoder-decoder, compiled.

The network of ``seq2seq_numpy`` with its weights packed for ``kernels.library``. ``start``,
``step`` and ``select`` are the same, but for the speed and the last digits; ``beam`` runs whole
searches in C.

Same text, same answer: states, gates and logits are rows, one for each text, and a kernel computes
each row by itself, so neither blocks nor padding rows are needed.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from charseq.data.text.vocabulary import BOS, EOS
from charseq.decoding.search import Hypothesis, penalty
from charseq.decoding.seq2seq_numpy import (
    AttentionMemory,
    NumpySeq2Seq,
    PositionContext,
    pad_sources,
)
from charseq.kernels import library
from charseq.kernels.cell_table import CELLS
from charseq.kernels.layout import address, empty, interleave, pad_rows, padded_size, zeros
from charseq.kernels.library import (
    DOUBLE,
    INDEX,
    Kernels,
    Packed,
    RowGather,
    Rows,
    gather,
    number_of,
    pointer_to,
    structure,
)

if TYPE_CHECKING:
    from jaxtyping import Float32, Int, Int64

    from charseq.data.text.automaton import Automaton
    from charseq.decoding.blocks import CellWeights
    from charseq.decoding.constrained import Outputs
    from charseq.decoding.search import Hypothesis
    from charseq.kernels.library import Packed

_Decoder = structure(
    "Decoder",
    "cell layers hidden value columns symbols given bos eos advance_from",
    "table input bias recurrent readout readout_bias output output_bias",
)
_Search = structure(
    "Search",
    "texts steps width max_length budget empty",
    "decoder state keys values lengths decoder_input readout_input ends prior* limits penalties"
    " edges edge_symbols edge_targets removed found sizes scores truncated end_logs written work",
)


@dataclass(frozen=True)
class Layer:
    """A cell's packed matrices. ``input`` has the bias, in the first layer tables have it."""

    input: Packed
    recurrent: Packed


@dataclass(frozen=True)
class NativeState:
    """Rows of a search: ``width`` rows for each of T texts, text by text.

    Memory and context stay those of all texts that were encoded; ``texts`` are indices into them.
    """

    hidden: Float32[np.ndarray, "L K N H"]
    memory: AttentionMemory | None
    context: PositionContext | None
    texts: Int64[np.ndarray, "T"]
    positions: Int64[np.ndarray, "N"]
    """Hard attention's position of each row before the next symbol is read; else 0."""
    width: int


class NativeSeq2Seq:
    """An encoder-decoder's weights, packed for the kernels."""

    def __init__(self, network: NumpySeq2Seq, kernels: Kernels) -> None:
        """Raises ValueError for a cell that the library does not have."""
        self.kernels = kernels
        self.cell = cell = network.cell
        self.cell_number = number_of(cell)
        self.gates, self.states = CELLS[cell].gates, CELLS[cell].states
        self.hidden = padded_size(network.hidden)
        self.actions = network.actions
        self.symbols = len(network.output[0])
        pack = kernels.pack
        self.source_table = [_gate_table(self.gates, table) for table in network.source_table]
        self.target_table = _gate_table(self.gates, network.target_table)
        self.embedding = pad_rows(network.embedding)
        self.encoder = [
            [self._layer(one, 2 if number else 0) for one in pair]
            for number, pair in enumerate(network.encoder)
        ]
        self.decoder = [
            self._layer(one, 1 if number else 0) for number, one in enumerate(network.decoder)
        ]
        self.bridge = self._pack_both(network.bridge[0], network.bridge[1][:, 0])
        self.readout = pack(network.readout[0], network.readout[1][:, 0])
        self.output = pack(network.output[0], network.output[1][:, 0], fill=-math.inf)
        self.attention = None
        if network.key is not None and network.value is not None:
            key = network.key * np.float32(1 / math.sqrt(network.hidden))
            self.attention = self._pack_both(key), self._pack_both(network.value)
        self.prior = None if network.prior is None else pad_rows(network.prior)
        self.pointer = None
        decoder_input, readout_input = network.pointer
        if decoder_input is not None and readout_input is not None:
            self.pointer = self._pack_both(decoder_input), self._pack_both(readout_input)
        self.advance_from = 0 if self.actions is None else self.actions.symbols
        above = [None, *(layer.input for layer in self.decoder[1:])]
        self._pointers = (
            _pointers([None if one is None else one.address for one in above]),
            _pointers([None if one is None else one.bias_address for one in above]),
            _pointers([layer.recurrent.address for layer in self.decoder]),
        )

    def start(self, sources: Sequence[Sequence[int]]) -> NativeState:
        """As :meth:`charseq.decoding.seq2seq_numpy.NumpySeq2Seq.start`."""
        ids, lengths = pad_sources(sources)
        count = len(ids)
        shared = None
        if self.actions is not None:
            shared, ids, lengths = self._share_features(ids, lengths)
        ids = np.ascontiguousarray(ids[:, : int(lengths.max())])
        outputs, last = self._encode(ids, lengths, shared)
        hidden = self.kernels.product(self.bridge, last.reshape(-1, 2 * self.hidden))
        memory = context = None
        steps = outputs.shape[1]
        rows = outputs.reshape(-1, 2 * self.hidden)
        if self.attention is not None:
            keys, values = (
                self.kernels.product(weight, rows).reshape(count, steps, -1)
                for weight in self.attention
            )
            memory = AttentionMemory(keys, values, lengths)
        if self.pointer is not None:
            to_decoder, to_readout = (self.kernels.product(weight, rows) for weight in self.pointer)
            gates = self.kernels.product(self.decoder[0].input, to_decoder)
            context = PositionContext(
                gates.reshape(count, steps, -1),
                to_readout.reshape(count, steps, -1),
                ids,
                lengths - 1,
            )
        shape = len(self.decoder), self.states, count, self.hidden
        positions = np.zeros(count, dtype=np.int64)
        texts = np.arange(count)
        return NativeState(hidden.reshape(shape), memory, context, texts, positions, 1)

    def step(
        self, symbols: Int[np.ndarray, "N"], state: NativeState
    ) -> tuple[Float32[np.ndarray, "N V"], NativeState]:
        """As :meth:`charseq.decoding.seq2seq_numpy.NumpySeq2Seq.step`."""
        kernels = self.kernels
        first = Rows(self.target_table, np.ascontiguousarray(symbols, dtype=np.int64))
        positions, decoder_input, addend, prior, ended = state.positions, None, None, None, None
        if state.context is not None and self.actions is not None:
            texts = np.repeat(state.texts, state.width)
            ends = state.context.ends[texts]
            # impossible actions may fill a beam: their positions stay within the text
            positions = np.minimum(positions + (symbols >= self.actions.symbols), ends)
            numbers = texts * state.context.ids.shape[1] + positions
            decoder_input = Rows(_flat(state.context.decoder_input), numbers)
            addend = Rows(_flat(state.context.readout_input), numbers)
            if self.prior is not None:
                prior = Rows(self.prior, state.context.ids.ravel()[numbers])
            ended = positions == ends
        hidden = empty(*state.hidden.shape)
        for number, layer in enumerate(self.decoder):
            if number:
                first = self._project(layer, hidden[number - 1, 0])
            kernels.step(
                self.cell, layer.recurrent, state.hidden[number], hidden[number],
                first=first, second=None if number else decoder_input,
            )  # fmt: skip
        top = hidden[-1, 0]
        if state.memory is not None:
            memory = state.memory
            context = kernels.attend(top, memory.keys, memory.values, memory.lengths, state.texts)
            addend = Rows(context)
        mixed = kernels.product(self.readout, top, addend=addend, tanh=True)
        logs = kernels.product(self.output, mixed, addend=prior)
        kernels.log_softmax(logs, ended=ended, advance_from=self.advance_from, eos=EOS)
        return logs[:, : self.symbols], replace(state, hidden=hidden, positions=positions)

    def attended(self, state: NativeState) -> Float32[np.ndarray, "N S"] | None:
        """As :meth:`charseq.decoding.seq2seq_numpy.NumpySeq2Seq.attended`."""
        if state.memory is None:
            return None
        texts = np.repeat(state.texts, state.width)
        scores = np.einsum("nsh,nh->ns", state.memory.keys[texts], state.hidden[-1, 0])
        padding = np.arange(scores.shape[1]) >= state.memory.lengths[texts][:, None]
        scores[padding] = -np.inf
        weights: np.ndarray = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        return weights

    def select(self, state: NativeState, rows: Int[np.ndarray, "M"], width: int) -> NativeState:
        """As :meth:`charseq.decoding.seq2seq_numpy.NumpySeq2Seq.select`."""
        hidden = empty(*state.hidden.shape[:2], len(rows), self.hidden)
        np.take(state.hidden, rows, axis=2, out=hidden, mode="clip")
        texts = state.texts[rows[::width] // state.width]
        positions = state.positions[rows]
        return replace(state, hidden=hidden, texts=texts, positions=positions, width=width)

    def beam(
        self,
        state: NativeState,
        limits: Sequence[int],
        *,
        width: int,
        length_penalty: float,
        empty: bool = False,
    ) -> list[list[Hypothesis]]:
        """As :func:`charseq.decoding.search.beam`, from a state of :meth:`start`.

        Raises:
            ValueError: rows of the state were selected or have taken a step, or there are not as
                many limits as texts.
        """
        return self._beam(state, limits, None, width, length_penalty, empty=empty)[0]

    def constrained_beam(
        self,
        state: NativeState,
        limits: Sequence[int],
        automaton: Automaton,
        *,
        width: int,
        length_penalty: float,
    ) -> Outputs:
        """As :func:`charseq.decoding.constrained.constrained`, from a state of :meth:`start`.

        Raises:
            ValueError: as :meth:`beam`; or the automaton is one of other symbols.
        """
        if automaton.size != self.symbols:
            raise ValueError(f"{automaton.size} symbols, expected {self.symbols}")
        return self._beam(state, limits, automaton, width, length_penalty, empty=automaton.empty)

    def _beam(
        self,
        state: NativeState,
        limits: Sequence[int],
        automaton: Automaton | None,
        width: int,
        length_penalty: float,
        *,
        empty: bool,
    ) -> Outputs:
        """A whole search in C."""
        count, longest = len(limits), max(limits)
        as_read = np.array_equal(state.texts, np.arange(count))
        if state.width != 1 or state.positions.any() or not as_read:
            raise ValueError(
                f"{count} limits are not for the {len(state.texts)} texts of a fresh state"
            )
        found = np.zeros(count, dtype=np.int64)
        sizes, scores = np.empty((count, width), dtype=np.int64), np.empty((count, width))
        truncated, end_logs = np.empty((count, width), np.bool_), np.empty((count, width))
        written = np.empty((count, width, longest), np.int32)
        bounds = np.array(limits, dtype=np.int64)
        penalties = np.array([penalty(length, length_penalty) for length in range(longest + 2)])
        shape = len(self.decoder), self.states, count, self.hidden
        removed = np.zeros(count)
        guide: list[int | None] = [None] * 4
        if automaton is not None:
            parts = automaton.offsets, automaton.symbols, automaton.targets, removed
            guide = [address(part) for part in parts]
        steps, encoded = self._encoded_pointers(state, count)
        decoder = self._decoder_structure()
        search = _Search(
            count, steps, width, longest, library.MULTIPLICATIONS, empty,
            ctypes.addressof(decoder), pointer_to(state.hidden, shape), *encoded,
            pointer_to(bounds, (count,), INDEX), pointer_to(penalties, (longest + 2,), DOUBLE),
            *guide,
            *(address(a) for a in (found, sizes, scores, truncated, end_logs, written)), None,
        )  # fmt: skip
        try:
            while self.kernels.call("search", search):
                pass  # Python takes signals here
        except BaseException:
            self.kernels.library.charseq_search_end(ctypes.byref(search))
            raise
        columns = (array.tolist() for array in (found, written, sizes, scores, truncated, end_logs))
        outputs = [
            [
                Hypothesis(tuple(ids[:size]), *rest)
                for ids, size, *rest in zip(*(part[:n] for part in parts), strict=True)
            ]
            for n, *parts in zip(*columns, strict=True)
        ]
        return outputs, removed.tolist()

    def _share_features(
        self, ids: Int64[np.ndarray, "N S"], lengths: Int64[np.ndarray, "N"]
    ) -> tuple[Float32[np.ndarray, "N E"] | None, Int64[np.ndarray, "N T"], Int64[np.ndarray, "N"]]:
        """The features' vector for hard attention, if any; ids up to EOS, and their number."""
        ends = (ids == EOS).argmax(axis=1)
        positions = np.arange(ids.shape[1])
        behind = (positions > ends[:, None]) & (positions < lengths[:, None])
        if not behind.any():
            return None, ids, ends + 1
        shared = zeros(len(ids), self.embedding.shape[1])
        for position in np.flatnonzero(behind.any(axis=0)):
            rows = np.flatnonzero(behind[:, position])
            shared[rows] += self.embedding[ids[rows, position]]
        count = np.maximum(behind.sum(axis=1, keepdims=True), 1).astype(np.float32)
        shared /= np.sqrt(count)
        return shared, ids, ends + 1

    def _encode(
        self,
        ids: Int64[np.ndarray, "N S"],
        lengths: Int64[np.ndarray, "N"],
        shared: Float32[np.ndarray, "N E"] | None,
    ) -> tuple[Float32[np.ndarray, "N S M"], Float32[np.ndarray, "L K N M"]]:
        """The encoder's outputs, and every layer's final states."""
        count, steps = ids.shape
        width = 2 * self.hidden
        last = empty(len(self.encoder), self.states, count, width)
        outputs = below = empty(0)
        for number, pair in enumerate(self.encoder):
            outputs = empty(count, steps, width)
            for direction, layer in enumerate(pair):
                second = None
                if number == 0:
                    first = Rows(self.source_table[direction], ids)
                    if shared is not None:
                        second = Rows(self.kernels.product(layer.input, shared))
                else:
                    first = self._project(layer, below.reshape(-1, width))
                self.kernels.run(
                    self.cell, layer.recurrent, lengths, outputs, last[number], first=first,
                    second=second, offset=direction * self.hidden, backward=direction == 1,
                )  # fmt: skip
            below = outputs
        return outputs, last

    def _project(self, layer: Layer, below: Float32[np.ndarray, "N I"]) -> Rows:
        """The projected inputs of a layer above the first, row by row."""
        return Rows(self.kernels.product(layer.input, below))

    def _layer(self, cell: CellWeights, states: int) -> Layer:
        """A layer's weights; its input is ``states`` states side by side, or with 0 a vector."""
        inputs = interleave(self.gates, cell.input)
        recurrent = self.kernels.pack(interleave(self.gates, cell.recurrent), cell=self.cell)
        if not states:
            return Layer(self.kernels.pack(inputs), recurrent)
        bias = interleave(self.gates, cell.bias)[:, 0]
        return Layer(self.kernels.pack(_pad_columns(inputs, states), bias), recurrent)

    def _pack_both(
        self, weight: Float32[np.ndarray, "X M"], bias: Float32[np.ndarray, "X"] | None = None
    ) -> Packed:
        """A matrix that multiplies the states of both directions side by side."""
        return self.kernels.pack(_pad_columns(weight, 2), bias)

    def _decoder_structure(self) -> ctypes.Structure:
        """``struct decoder``: addresses of arrays that this object owns."""
        table = self.target_table
        return _Decoder(
            self.cell_number, len(self.decoder), self.hidden, self.readout.columns,
            self.output.columns, self.symbols, len(table), BOS, EOS, self.advance_from,
            pointer_to(table, (len(table), self.gates * self.hidden)),
            *map(ctypes.addressof, self._pointers),
            self.readout.address, self.readout.bias_address,
            self.output.address, self.output.bias_address,
        )  # fmt: skip

    def _encoded_pointers(
        self, state: NativeState, count: int
    ) -> tuple[int, list[int | RowGather | None]]:
        """S, and the fields ``keys`` to ``prior`` of ``struct search``."""
        found: list[int | RowGather | None] = [*(None,) * 6, gather(None, (), 0)]
        steps, value = 1, self.readout.columns
        if state.memory is not None:
            steps = state.memory.keys.shape[1]
            found[:3] = (
                pointer_to(state.memory.keys, (count, steps, self.hidden)),
                pointer_to(state.memory.values, (count, steps, value)),
                pointer_to(state.memory.lengths, (count,), INDEX),
            )
        if state.context is not None:
            steps = state.context.ids.shape[1]
            found[3:6] = (
                pointer_to(state.context.decoder_input, (count, steps, self.gates * self.hidden)),
                pointer_to(state.context.readout_input, (count, steps, value)),
                pointer_to(state.context.ends, (count,), INDEX),
            )
            if self.prior is not None:
                ids = Rows(self.prior, state.context.ids.ravel())
                found[6] = gather(ids, (count * steps,), self.output.columns)
        return steps, found


def _flat(values: Float32[np.ndarray, "N S W"]) -> Float32[np.ndarray, "NS W"]:
    """A view with one row for each position of each text."""
    return values.reshape(-1, values.shape[2])


def _gate_table(gates: int, table: Float32[np.ndarray, "V GH"]) -> Float32[np.ndarray, "V GW"]:
    """A table of gates, interleaved and padded as steps read it."""
    return pad_rows(interleave(gates, np.ascontiguousarray(table.T)).T)


def _pad_columns(weight: Float32[np.ndarray, "X I"], parts: int) -> Float32[np.ndarray, "X W"]:
    """A matrix whose columns, in ``parts`` equal parts, are padded part by part."""
    split = weight.reshape(len(weight), parts, -1)
    return pad_rows(split).reshape(len(weight), -1)


def _pointers(addresses: Sequence[int | None]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(addresses))(*addresses)
