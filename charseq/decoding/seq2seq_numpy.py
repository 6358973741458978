"""source ids -> state; symbols, state -> log-probabilities, state: the encoder-decoder in NumPy.

The forward pass of ``models.seq2seq``, from weights of the same names, without torch, whose import
takes seconds. Equations and sources are there. A search needs ``step`` and ``select`` of it.

Same text, same answer: texts are columns of blocks (see ``blocks``), and attention is computed text
by text, over the text's length rounded up to a multiple of ``WIDTH``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import BOS, EOS, PAD, SPECIALS, UNK
from charseq.decoding.blocks import (
    BLOCK,
    cell_step,
    log_softmax,
    one_thread,
    pick_rows,
    run_cell,
    scale_cell,
    sum_rows,
    to_blocks,
    to_rows,
)
from charseq.kernels.cell_table import CELLS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int, Int64

MAX_STEPS = 256
"""Steps whose blocks are in memory together: of a long text they would be gigabytes."""
WIDTH = 4
"""Lengths are rounded up to a multiple of this; texts of one call share the rounded length."""


@dataclass(frozen=True)
class AttentionMemory:
    """Keys and values of soft attention: N texts, S positions.

    Keys are scaled by 1/√H. Positions from a text's length on are padding.
    """

    keys: Float32[np.ndarray, "N S H"]
    values: Float32[np.ndarray, "N S E"]
    lengths: Int64[np.ndarray, "N"]


@dataclass(frozen=True)
class PositionContext:
    """Hard attention at each of S positions of N texts, multiplied out before the search."""

    decoder_input: Float32[np.ndarray, "N S GH"]
    """Added to the gates of the decoder's first layer."""
    readout_input: Float32[np.ndarray, "N S E"]
    """Added to the readout."""
    ids: Int64[np.ndarray, "N S"]
    """Source symbols: rows of the prior, which is added to the logits."""
    ends: Int64[np.ndarray, "N"]
    """The position of each text's EOS, the last that actions can reach."""


@dataclass(frozen=True)
class NumpyState:
    """Rows of a search: ``width`` rows for each of N texts, text by text, in blocks."""

    hidden: Float32[np.ndarray, "L K G H 16"]
    memory: AttentionMemory | None
    context: PositionContext | None
    positions: Int64[np.ndarray, "N"]
    """Hard attention's position of each row before the next symbol is read; else 0."""
    rows: int
    width: int


class NumpySeq2Seq:
    """The weights of an encoder-decoder, in the blocked layout. All arrays are float32."""

    def __init__(self, weights: Mapping[str, np.ndarray], *, cell: str, layers: int) -> None:
        self.cell = cell
        self.layers = layers
        named = {name: np.asarray(value, dtype=np.float32) for name, value in weights.items()}
        self.encoder = [
            [scale_cell(named, f"encoder.cells.{2 * layer + d}", cell) for d in range(2)]
            for layer in range(layers)
        ]
        self.decoder = [
            scale_cell(named, f"decoder.cells.{layer}", cell) for layer in range(layers)
        ]
        self.hidden = self.decoder[0].recurrent.shape[1]
        embedding = named["target_embedding"]
        scale = np.float32(math.sqrt(embedding.shape[1]))
        self.embedding = named["source_embedding"]
        self.source_table = [cell.table(named["source_embedding"]) for cell in self.encoder[0]]
        self.target_table = self.decoder[0].table(embedding * scale)
        self.bridge = named["bridge.weight"], named["bridge.bias"][:, None]
        self.readout = named["readout.weight"], named["readout.bias"][:, None]
        self.key = named.get("attention.key.weight")
        self.value = named.get("attention.value.weight")
        self.pointer = named.get("pointer.input.weight"), named.get("pointer.output.weight")
        self.prior = named.get("prior")
        bias = named["output_bias"].copy()
        bias[[PAD, BOS, UNK]] = -np.inf  # never predicted
        self.actions: Actions | None = None
        if self.pointer[0] is not None:
            self.actions = Actions.of(len(bias))
            bias[self.actions.symbols : self.actions.symbols + SPECIALS] = -np.inf
        self.output = np.ascontiguousarray(named.get("output", embedding)), bias[:, None]

    @one_thread
    def start(self, sources: Sequence[Sequence[int]]) -> NumpyState:
        """The state of texts whose lengths round up to one multiple of ``WIDTH``: one row each.

        Raises ValueError for texts that do not share a rounded length, or are empty.
        """
        padded, lengths = pad_sources(sources)
        count, padded_length = padded.shape
        steps = int(lengths.max())
        columns = -(-count // BLOCK) * BLOCK
        ids = np.full((columns, padded_length), PAD)
        ids[:count] = padded
        lengths = np.concatenate([lengths, np.ones(columns - count, dtype=lengths.dtype)])
        shared = None
        if self.actions is not None:
            shared, ids, lengths = self._share_features(ids, lengths)
        memory, final = self._encode(ids[:, :steps], lengths, count, shared)
        weight, bias = self.bridge
        state = np.matmul(weight, final) + bias
        attention = self._attention_memory(memory, lengths[:count], padded_length)
        context = self._position_context(memory, ids[:count])
        return NumpyState(state, attention, context, np.zeros(count, dtype=np.int64), count, 1)

    @one_thread
    def step(
        self, symbols: Int[np.ndarray, "N"], state: NumpyState
    ) -> tuple[Float32[np.ndarray, "N V"], NumpyState]:
        """Log-probabilities of the symbol after ``symbols``, one row each, and the next state."""
        columns = state.hidden.shape[2] * BLOCK
        padded = np.zeros(columns, dtype=np.int64)
        padded[: state.rows] = symbols
        inputs = self.target_table[padded]
        positions, readout_input, prior, ended = state.positions, None, None, None
        if state.context is not None and self.actions is not None:
            positions = positions + (symbols >= self.actions.symbols)
            texts = np.arange(state.rows) // state.width
            # impossible actions may fill a beam: their positions stay within the text
            positions = np.minimum(positions, state.context.ends[texts])
            inputs[: state.rows] += state.context.decoder_input[texts, positions]
            readout_input = np.zeros(
                (columns, state.context.readout_input.shape[2]), dtype=np.float32
            )
            readout_input[: state.rows] = state.context.readout_input[texts, positions]
            if self.prior is not None:
                prior = np.zeros((columns, self.prior.shape[1]), dtype=np.float32)
                prior[: state.rows] = self.prior[state.context.ids[texts, positions]]
            ended = np.ones(columns, dtype=bool)
            ended[: state.rows] = positions == state.context.ends[texts]
        projected = to_blocks(inputs)
        hidden = np.empty_like(state.hidden)
        for layer, cell in enumerate(self.decoder):
            if layer:
                projected = np.matmul(cell.input, hidden[layer - 1, 0]) + cell.bias
            cell_step(self.cell, cell.recurrent, projected, state.hidden[layer], hidden[layer])
        weight, bias = self.readout
        mixed = np.matmul(weight, hidden[-1, 0])
        mixed += bias
        if readout_input is not None:
            mixed += to_blocks(readout_input)
        if state.memory is not None:
            mixed += self._attend(hidden[-1, 0], state.memory, state.rows, state.width)
        np.tanh(mixed, out=mixed)
        matrix, bias = self.output
        logits = np.matmul(matrix, mixed)
        logits += bias
        if prior is not None:
            logits += to_blocks(prior)
        if ended is not None:
            self._mask_actions(logits, ended.reshape(-1, 1, BLOCK))
        after = replace(state, hidden=hidden, positions=positions)
        return log_softmax(logits, state.rows), after

    def select(self, state: NumpyState, rows: Int[np.ndarray, "M"], width: int) -> NumpyState:
        """The state with other rows: repeated, reordered within their texts, or left out.

        ``rows`` names old rows, ``width`` for each text that stays.
        """
        hidden = pick_rows(state.hidden, rows)
        memory = state.memory
        texts = rows[::width] // state.width
        if memory is not None and len(texts) != len(memory.lengths):
            memory = AttentionMemory(*(part[texts] for part in vars(memory).values()))
        context = state.context
        if context is not None and len(texts) != len(context.ends):
            context = PositionContext(*(part[texts] for part in vars(context).values()))
        return NumpyState(hidden, memory, context, state.positions[rows], len(rows), width)

    def _share_features(
        self, ids: Int[np.ndarray, "N S"], lengths: Int[np.ndarray, "N"]
    ) -> tuple[Float32[np.ndarray, "G E 16"], Int[np.ndarray, "N T"], Int[np.ndarray, "N"]]:
        """The features' vector for hard attention; ids up to EOS, and their number."""
        ends = (ids == EOS).argmax(axis=1)
        positions = np.arange(ids.shape[1])
        behind = (positions > ends[:, None]) & (positions < lengths[:, None])
        first = int(behind.any(axis=0).argmax())
        vectors = self.embedding[ids[:, first:]]
        vectors[~behind[:, first:]] = 0.0
        count = np.maximum(behind.sum(axis=1, keepdims=True), 1).astype(np.float32)
        shared = sum_rows(vectors)[:, 0] / np.sqrt(count)
        return to_blocks(shared), ids[:, : int(ends.max()) + 1], ends + 1

    def _encode(
        self,
        ids: Int[np.ndarray, "C S"],
        lengths: Int[np.ndarray, "C"],
        count: int,
        shared: Float32[np.ndarray, "G E 16"] | None = None,
    ) -> tuple[Float32[np.ndarray, "N S M"], Float32[np.ndarray, "L K G M 16"]]:
        """The outputs for the first ``count`` texts, and every layer's final state in blocks."""
        columns, steps = ids.shape
        time = np.arange(steps)
        mirrored = np.where(time < lengths[:, None], lengths[:, None] - 1 - time, time)
        rows = np.arange(columns)[:, None]
        memory = np.empty((count, steps, 2 * self.hidden), dtype=np.float32)
        finals = []
        for layer, pair in enumerate(self.encoder):
            last = []
            below = memory
            memory = np.empty_like(below)
            for direction, cell in enumerate(pair):
                half = slice(direction * self.hidden, (direction + 1) * self.hidden)
                shape = (CELLS[self.cell].states, columns // BLOCK, self.hidden, BLOCK)
                state = np.zeros(shape, dtype=np.float32)
                ends = np.zeros((shape[0], columns, self.hidden), dtype=np.float32)
                for begin in range(0, steps, MAX_STEPS):
                    part = slice(begin, begin + MAX_STEPS)
                    at = (rows, mirrored[:, part]) if direction else (slice(None), part)
                    own = (rows[:count], mirrored[:count, part]) if direction else at
                    if layer == 0:
                        projected = to_blocks(self.source_table[direction][ids[at]])
                        if shared is not None:
                            projected += np.matmul(cell.input, shared)
                    else:
                        inputs = _whole_blocks(below[own])
                        projected = np.matmul(cell.input, inputs) + cell.bias
                    states = run_cell(self.cell, cell.recurrent, projected, state)
                    state = states[-1]
                    memory[(*own, half)] = to_rows(states[:, 0])[:count]
                    ended = np.flatnonzero((begin < lengths) & (lengths <= begin + MAX_STEPS))
                    step, block, column = lengths[ended] - 1 - begin, ended // BLOCK, ended % BLOCK
                    for kept in range(shape[0]):
                        ends[kept, ended] = states[step, kept, block, :, column]
                last.append([to_blocks(end) for end in ends])
            finals.append(np.concatenate(last, axis=2))
        return memory, np.stack(finals)

    def _attention_memory(
        self, memory: Float32[np.ndarray, "N S M"], lengths: Int64[np.ndarray, "N"], width: int
    ) -> AttentionMemory | None:
        """Keys and values, padded with zeros to ``width`` positions."""
        if self.key is None or self.value is None:
            return None
        made = []
        for weight in (self.key * np.float32(1 / math.sqrt(self.hidden)), self.value):
            padded = np.zeros((len(memory), width, len(weight)), dtype=np.float32)
            padded[:, : memory.shape[1]] = _multiply(memory, weight)
            made.append(padded)
        padding = np.arange(width) >= lengths[:, None]
        made[0][padding] = 0.0
        made[1][padding] = 0.0
        return AttentionMemory(made[0], made[1], lengths)

    def _position_context(
        self, memory: Float32[np.ndarray, "N S M"], ids: Int[np.ndarray, "N T"]
    ) -> PositionContext | None:
        """Hard attention of texts; a text's symbols are followed by EOS, then its features."""
        decoder_input, readout_input = self.pointer
        if decoder_input is None or readout_input is None:
            return None
        gates = _multiply(memory, decoder_input, self.decoder[0].input)
        ends = (ids == EOS).argmax(axis=1)
        return PositionContext(gates, _multiply(memory, readout_input), ids, ends)

    def _mask_actions(
        self, logits: Float32[np.ndarray, "G V 16"], ended: Bool[np.ndarray, "G 1 16"]
    ) -> None:
        """At a text's end no action advances; before it, no output ends."""
        if self.actions is not None:
            advancing = logits[:, self.actions.symbols :]
            np.copyto(advancing, -np.inf, where=ended)
            np.copyto(logits[:, EOS : EOS + 1], -np.inf, where=~ended)

    def _attend(
        self, hidden: Float32[np.ndarray, "G H 16"], memory: AttentionMemory, rows: int, width: int
    ) -> Float32[np.ndarray, "G E 16"]:
        """Soft attention's context of each row, computed text by text."""
        weights = self._weights(hidden, memory, rows, width)
        context = np.matmul(np.ascontiguousarray(weights.transpose(0, 2, 1)), memory.values)
        filled = np.zeros((hidden.shape[0] * BLOCK, context.shape[2]), dtype=np.float32)
        filled[:rows] = context.reshape(rows, -1)
        return to_blocks(filled)

    def _weights(
        self, hidden: Float32[np.ndarray, "G H 16"], memory: AttentionMemory, rows: int, width: int
    ) -> Float32[np.ndarray, "T S W"]:
        """Soft attention's weights of the W rows of each text."""
        count, steps, _ = memory.keys.shape
        queries = np.ascontiguousarray(
            to_rows(hidden)[:rows].reshape(count, width, -1).transpose(0, 2, 1)
        )
        scores = np.matmul(memory.keys, queries)
        padding = np.arange(steps) >= memory.lengths[:, None]
        np.copyto(scores, np.float32(-np.inf), where=padding[:, :, None])
        weights: np.ndarray = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= sum_rows(weights)
        return weights

    @one_thread
    def attended(self, state: NumpyState) -> Float32[np.ndarray, "N S"] | None:
        """Soft attention's weights of each row in the step that led to ``state``; else None."""
        if state.memory is None:
            return None
        weights = self._weights(state.hidden[-1, 0], state.memory, state.rows, state.width)
        return np.ascontiguousarray(weights.transpose(0, 2, 1)).reshape(state.rows, -1)


def _whole_blocks(rows: Float32[np.ndarray, "N S I"]) -> Float32[np.ndarray, "S G I 16"]:
    """Sequences of rows in blocks; the last block is padded with zeros."""
    if len(rows) % BLOCK == 0:
        return to_blocks(rows)
    filled = np.zeros((-(-len(rows) // BLOCK) * BLOCK, *rows.shape[1:]), dtype=np.float32)
    filled[: len(rows)] = rows
    return to_blocks(filled)


def _multiply(
    rows: Float32[np.ndarray, "N S I"], *weights: Float32[np.ndarray, "_ _"]
) -> Float32[np.ndarray, "N S O"]:
    """Sequences of rows times one transposed matrix after the other."""
    parts = []
    for begin in range(0, rows.shape[1], MAX_STEPS):
        blocks = _whole_blocks(rows[:, begin : begin + MAX_STEPS])
        for weight in weights:
            blocks = np.matmul(weight, blocks)
        parts.append(to_rows(blocks)[: len(rows)])
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def pad_sources(
    sources: Sequence[Sequence[int]],
) -> tuple[Int[np.ndarray, "N S"], Int[np.ndarray, "N"]]:
    """Texts in one array, padded to a multiple of ``WIDTH``, and their lengths.

    Raises ValueError for texts that do not share that multiple, or are empty.
    """
    lengths = np.array([len(ids) for ids in sources], dtype=np.int64)
    steps = int(lengths.max())
    padded_length = -(-steps // WIDTH) * WIDTH
    if int(lengths.min()) <= max(padded_length - WIDTH, 0):
        raise ValueError(f"lengths {lengths.min()} to {steps} do not round up to one length")
    ids = np.full((len(sources), padded_length), PAD)
    ids[np.arange(padded_length) < lengths[:, None]] = np.fromiter(
        chain.from_iterable(sources), np.int64
    )
    return ids, lengths


def shapes_of(
    *,
    cell: str,
    embedding: int,
    hidden: int,
    layers: int,
    attention: bool,
    pointer: bool = False,
    prior: bool = False,
    tied: bool,
    sources: int,
    targets: int,
) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight that a checkpoint of this network holds."""
    shapes: dict[str, tuple[int, ...]] = {
        "source_embedding": (sources, embedding),
        "target_embedding": (targets, embedding),
        "bridge.weight": (hidden, 2 * hidden),
        "bridge.bias": (hidden,),
        "readout.weight": (embedding, hidden),
        "readout.bias": (embedding,),
        "output_bias": (targets,),
    }
    if attention:
        shapes["attention.key.weight"] = (hidden, 2 * hidden)
        shapes["attention.value.weight"] = (embedding, 2 * hidden)
    if pointer:
        shapes["pointer.input.weight"] = (embedding, 2 * hidden)
        shapes["pointer.output.weight"] = (embedding, 2 * hidden)
    if prior:
        shapes["prior"] = (sources, targets)
    if not tied:
        shapes["output"] = (targets, embedding)
    rows = CELLS[cell].gates * hidden
    for layer in range(layers):
        for name, below in (
            (f"encoder.cells.{2 * layer}", 2 * hidden),
            (f"encoder.cells.{2 * layer + 1}", 2 * hidden),
            (f"decoder.cells.{layer}", hidden),
        ):
            shapes[f"{name}.input"] = (rows, below if layer else embedding)
            shapes[f"{name}.bias"] = (rows,)
            shapes[f"{name}.recurrent"] = (rows, hidden)
    return shapes
