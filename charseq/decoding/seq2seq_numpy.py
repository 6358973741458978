"""source ids -> state; symbols, state -> log-probabilities, state: seq2seq, forward only, in NumPy.

The same network as ``seq2seq``, from the same weights by the same names, without torch, whose
import alone takes seconds. It knows no search and no texts.

Same text, same answer: texts are lanes of blocks (see ``lanes``), and attention is computed text
by text, over that text's own length rounded up to a multiple of ``WIDTH``.
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
    GATES,
    STATES,
    CellWeights,
    add_up,
    cell_step,
    log_softmax,
    one_thread,
    pick_rows,
    run_cell,
    scale_cell,
    to_blocks,
    to_rows,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int

WIDTH = 4
"""Lengths are rounded up to a multiple of this; the texts of one call share the result."""


@dataclass(frozen=True)
class NumpyMemory:
    """What attention looks at, text by text: N texts, S positions."""

    keys: Float32[np.ndarray, "N S H"]
    values: Float32[np.ndarray, "N S E"]
    mask: Float32[np.ndarray, "N S 1"]
    """0 where there is a symbol, -inf where there is padding."""


@dataclass(frozen=True)
class PositionContext:
    """What hard attention reads at each of S places of N texts: multiplied out, before the search.

    ``heard`` goes into the first layer's gates, ``said`` into the readout.
    """

    heard: Float32[np.ndarray, "N S GH"]
    said: Float32[np.ndarray, "N S E"]
    ids: Int[np.ndarray, "N S"]
    """The source symbols, which say what is added to the logits where there is a prior."""
    ends: Int[np.ndarray, "N"]
    """The place behind each text's last symbol, before its features."""


@dataclass(frozen=True)
class NumpyState:
    """Rows of a search: ``width`` rows for each of N texts, text by text, in blocks of lanes."""

    hidden: Float32[np.ndarray, "L K G H 16"]
    memory: NumpyMemory | None
    track: PositionContext | None
    places: Int[np.ndarray, "N"]
    """Where hard attention stands, before the next symbol is read; else 0."""
    rows: int
    width: int


class NumpySeq2Seq:
    """The weights of an encoder-decoder, laid out for use. All arrays are float32."""

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
        self.read = [cell.table(named["source_embedding"]) for cell in self.encoder[0]]
        self.given = self.decoder[0].table(embedding * scale)
        self.bridge = named["bridge.weight"], named["bridge.bias"][:, None]
        self.readout = named["readout.weight"], named["readout.bias"][:, None]
        self.key = named.get("attention.key.weight")
        self.value = named.get("attention.value.weight")
        self.pointer = named.get("pointer.input.weight"), named.get("pointer.output.weight")
        self.prior = named.get("prior")
        bias = named["output_bias"].copy()
        bias[[PAD, BOS, UNK]] = -np.inf  # never written
        self.actions: Actions | None = None
        if self.pointer[0] is not None:
            self.actions = Actions.of(len(bias))
            bias[self.actions.symbols : self.actions.symbols + SPECIALS] = -np.inf
        self.output = np.ascontiguousarray(named.get("output", embedding)), bias[:, None]

    @one_thread
    def start(self, sources: Sequence[Sequence[int]]) -> NumpyState:
        """Read texts whose lengths round up to the same multiple of ``WIDTH``: one row each.

        Raises ValueError for texts that do not share a rounded length, or are empty.
        """
        given, lengths = side_by_side(sources)
        count, room = given.shape
        steps = int(lengths.max())
        lanes = -(-count // BLOCK) * BLOCK
        ids = np.full((lanes, room), PAD)
        ids[:count] = given
        lengths = np.concatenate([lengths, np.ones(lanes - count, dtype=lengths.dtype)])
        shared = None
        if self.actions is not None:
            shared, ids, lengths = self._share_features(ids, lengths)
        memory, final = self._encode(ids[:, :steps], lengths, shared)
        weight, bias = self.bridge
        state = np.matmul(weight, final) + bias
        soft = self._memory(memory, lengths, count, room)
        track = self._track(memory, ids[:count])
        return NumpyState(state, soft, track, np.zeros(count, dtype=np.int64), count, 1)

    @one_thread
    def step(
        self, symbols: Int[np.ndarray, "N"], state: NumpyState
    ) -> tuple[Float32[np.ndarray, "N V"], NumpyState]:
        """Log-probabilities of the symbol after ``symbols``, one row each, and the next state."""
        lanes = state.hidden.shape[2] * BLOCK
        padded = np.zeros(lanes, dtype=np.int64)
        padded[: state.rows] = symbols
        given = self.given[padded]
        places, said, likely, ended = state.places, None, None, None
        if state.track is not None and self.actions is not None:
            places = places + (symbols >= self.actions.symbols)
            texts = np.arange(state.rows) // state.width
            # what is impossible may fill a beam: it stays within its text
            places = np.minimum(places, state.track.ends[texts])
            given[: state.rows] += state.track.heard[texts, places]
            said = np.zeros((lanes, state.track.said.shape[2]), dtype=np.float32)
            said[: state.rows] = state.track.said[texts, places]
            if self.prior is not None:
                likely = np.zeros((lanes, self.prior.shape[1]), dtype=np.float32)
                likely[: state.rows] = self.prior[state.track.ids[texts, places]]
            ended = np.ones(lanes, dtype=bool)
            ended[: state.rows] = places == state.track.ends[texts]
        projected = to_blocks(given)
        hidden = np.empty_like(state.hidden)
        for layer, cell in enumerate(self.decoder):
            if layer:
                projected = np.matmul(cell.input, hidden[layer - 1, 0]) + cell.bias
            cell_step(self.cell, cell.recurrent, projected, state.hidden[layer], hidden[layer])
        weight, bias = self.readout
        mixed = np.matmul(weight, hidden[-1, 0])
        mixed += bias
        if said is not None:
            mixed += to_blocks(said)
        if state.memory is not None:
            mixed += self._context(hidden[-1, 0], state.memory, state.rows, state.width)
        np.tanh(mixed, out=mixed)
        matrix, bias = self.output
        logits = np.matmul(matrix, mixed)
        logits += bias
        if likely is not None:
            logits += to_blocks(likely)
        if ended is not None:
            self._forbid(logits, ended.reshape(-1, 1, BLOCK))
        after = replace(state, hidden=hidden, places=places)
        return log_softmax(logits, state.rows), after

    def select(self, state: NumpyState, rows: Int[np.ndarray, "M"], width: int) -> NumpyState:
        """The state with other rows: repeated, reordered within their texts, or left out.

        ``rows`` names old rows, ``width`` for each text that stays.
        """
        hidden = pick_rows(state.hidden, rows)
        memory = state.memory
        texts = rows[::width] // state.width
        if memory is not None and len(texts) != len(memory.mask):
            memory = NumpyMemory(memory.keys[texts], memory.values[texts], memory.mask[texts])
        track = state.track
        if track is not None and len(texts) != len(track.ends):
            track = PositionContext(*(part[texts] for part in vars(track).values()))
        return NumpyState(hidden, memory, track, state.places[rows], len(rows), width)

    def _share_features(
        self, ids: Int[np.ndarray, "N S"], lengths: Int[np.ndarray, "N"]
    ) -> tuple[Float32[np.ndarray, "G E 16"], Int[np.ndarray, "N T"], Int[np.ndarray, "N"]]:
        """What hard attention adds to every symbol; the ids up to EOS, and their number."""
        ends = (ids == EOS).argmax(axis=1)
        places = np.arange(ids.shape[1])
        behind = (places > ends[:, None]) & (places < lengths[:, None])
        vectors = self.embedding[ids]
        vectors[~behind] = 0.0
        count = np.maximum(behind.sum(axis=1, keepdims=True), 1).astype(np.float32)
        shared = add_up(vectors)[:, 0] / np.sqrt(count)
        return to_blocks(shared), ids[:, : int(ends.max()) + 1], ends + 1

    def _encode(
        self,
        ids: Int[np.ndarray, "N S"],
        lengths: Int[np.ndarray, "N"],
        shared: Float32[np.ndarray, "G E 16"] | None = None,
    ) -> tuple[Float32[np.ndarray, "N S M"], Float32[np.ndarray, "L K G M 16"]]:
        """The memory, row by row, and every layer's final state in blocks."""
        lanes, steps = ids.shape
        time = np.arange(steps)
        turned = np.where(time < lengths[:, None], lengths[:, None] - 1 - time, time)
        rows = np.arange(lanes)[:, None]
        memory = np.empty((lanes, steps, 2 * self.hidden), dtype=np.float32)
        finals = []
        for layer, pair in enumerate(self.encoder):
            ends = []
            below = memory
            memory = np.empty_like(below)
            for direction, cell in enumerate(pair):
                order = turned if direction else np.broadcast_to(time, ids.shape)
                if layer == 0:
                    projected = to_blocks(self.read[direction][ids[rows, order]])
                    if shared is not None:
                        projected += np.matmul(cell.input, shared)
                else:
                    projected = np.matmul(cell.input, to_blocks(below[rows, order])) + cell.bias
                states = self._run(cell, projected)
                outputs = to_rows(states[:, 0])
                half = slice(direction * self.hidden, (direction + 1) * self.hidden)
                memory[:, :, half] = outputs[rows, order]
                lane = rows[:, 0]
                last = [
                    states[lengths - 1, k, lane // BLOCK, :, lane % BLOCK]
                    for k in range(STATES[self.cell])
                ]
                ends.append([to_blocks(end) for end in last])
            finals.append(np.concatenate(ends, axis=2))
        return memory, np.stack(finals)

    def _run(
        self, cell: CellWeights, projected: Float32[np.ndarray, "S G GH 16"]
    ) -> Float32[np.ndarray, "S K G H 16"]:
        """The states after every step of one direction of one layer, from zero."""
        shape = (STATES[self.cell], projected.shape[1], self.hidden, BLOCK)
        start = np.zeros(shape, dtype=np.float32)
        return run_cell(self.cell, cell.recurrent, projected, start)

    def _memory(
        self,
        memory: Float32[np.ndarray, "N S M"],
        lengths: Int[np.ndarray, "N"],
        count: int,
        room: int,
    ) -> NumpyMemory | None:
        """Keys and values, padded to ``room`` positions with zeros that the mask hides."""
        if self.key is None or self.value is None:
            return None
        blocks = to_blocks(memory)
        made = []
        for weight in (self.key * np.float32(1 / math.sqrt(self.hidden)), self.value):
            rows = to_rows(np.matmul(weight, blocks))
            padded = np.zeros((count, room, rows.shape[2]), dtype=np.float32)
            padded[:, : rows.shape[1]] = rows[:count]
            made.append(padded)
        beyond = np.arange(room) >= lengths[:count, None]
        mask = np.where(beyond, np.float32(-np.inf), np.float32(0.0))
        made[0][beyond] = 0.0
        made[1][beyond] = 0.0
        return NumpyMemory(made[0], made[1], mask[:, :, None])

    def _track(
        self, memory: Float32[np.ndarray, "N S M"], ids: Int[np.ndarray, "C T"]
    ) -> PositionContext | None:
        """What hard attention reads; a text's symbols are followed by EOS, then its features."""
        heard, said = self.pointer
        if heard is None or said is None:
            return None
        blocks = to_blocks(memory)
        gates = np.matmul(self.decoder[0].input, np.matmul(heard, blocks))
        told = np.matmul(said, blocks)
        count = len(ids)
        ends = (ids == EOS).argmax(axis=1)
        return PositionContext(to_rows(gates)[:count], to_rows(told)[:count], ids, ends)

    def _forbid(
        self, logits: Float32[np.ndarray, "G V 16"], ended: Bool[np.ndarray, "G 1 16"]
    ) -> None:
        """At a text's end there is nowhere to go on to; before it, writing is not over."""
        if self.actions is not None:
            going = logits[:, self.actions.symbols :]
            np.copyto(going, -np.inf, where=ended)
            np.copyto(logits[:, EOS : EOS + 1], -np.inf, where=~ended)

    def _context(
        self, hidden: Float32[np.ndarray, "G H 16"], memory: NumpyMemory, rows: int, width: int
    ) -> Float32[np.ndarray, "G E 16"]:
        """What attention brings to each row, computed text by text."""
        count = len(memory.mask)
        queries = np.ascontiguousarray(
            to_rows(hidden)[:rows].reshape(count, width, -1).transpose(0, 2, 1)
        )
        scores = np.matmul(memory.keys, queries)
        scores += memory.mask
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= add_up(weights)
        context = np.matmul(np.ascontiguousarray(weights.transpose(0, 2, 1)), memory.values)
        filled = np.zeros((hidden.shape[0] * BLOCK, context.shape[2]), dtype=np.float32)
        filled[:rows] = context.reshape(rows, -1)
        return to_blocks(filled)


def side_by_side(
    sources: Sequence[Sequence[int]],
) -> tuple[Int[np.ndarray, "N S"], Int[np.ndarray, "N"]]:
    """Texts in one array, filled up to a multiple of ``WIDTH``, and their lengths.

    Raises ValueError for texts that do not share that multiple, or are empty.
    """
    lengths = np.array([len(ids) for ids in sources], dtype=np.int64)
    steps = int(lengths.max())
    room = -(-steps // WIDTH) * WIDTH
    if int(lengths.min()) <= max(room - WIDTH, 0):
        raise ValueError(f"lengths {lengths.min()} to {steps} do not round up to one length")
    ids = np.full((len(sources), room), PAD)
    ids[np.arange(room) < lengths[:, None]] = np.fromiter(chain.from_iterable(sources), np.int64)
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
    """Name and shape of every weight of such a network: what a checkpoint must hold."""
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
    rows = GATES[cell] * hidden
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
