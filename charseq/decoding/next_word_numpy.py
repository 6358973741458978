"""prefixes -> state; symbols, state -> log-probabilities, state: the next-word network in NumPy.

The forward pass of ``models.next_word`` without torch, from weights of the same names.

    x_t      = M[symbol_t]
    h_t      = RNN(x_t, h_{t-1})                    tanh, residual (sheet B), GRU or LSTM
      or     = tanh(W [x_{t-n+1}; ...; x_t] + b)    cell "mlp", zeros before the first symbol
    logits_t = M (W_r h_t + b_r) + b                or a matrix of its own, if not tied

Same text, same answer: texts are columns of blocks (see ``blocks``), so a line read step by step
has the same bits as a line read at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from charseq.data.text.vocabulary import BOS, EOS, PAD
from charseq.decoding.blocks import (
    BLOCK,
    one_thread,
    pick_rows,
    run_cell,
    scale_cell,
    to_blocks,
    to_rows,
)
from charseq.kernels.cell_table import CELLS

if TYPE_CHECKING:
    from jaxtyping import Float32, Int

MAX_STEPS = 16
"""Steps whose states are in memory together."""
MAX_LINES = 256
"""Lines that are read side by side."""
MAX_TABLE = 2**22
"""Numbers up to which every symbol's W_x x + b is kept in a table, else computed when needed."""
OUTPUT_TILE = 512
"""Rows of the output matrix that stay in the cache for all blocks."""
SCORED_BLOCKS = 4
"""Blocks whose logits are in memory together where only those of the labels are asked for."""
PARTIAL_SUMS = 32
"""Partial sums over V, added at the end, so that many small terms are not lost to rounding."""


@dataclass(frozen=True)
class NextWordState:
    """The state of each line, in blocks; of the cell "mlp" the last n - 1 vectors x."""

    past: Float32[np.ndarray, "L K G S 16"]
    rows: int


class NumpyNextWord:
    """The weights of a next-word network, in the blocked layout. All arrays are float32.

    ``begin`` is the symbol before a line: BOS, or EOS after training on running text.
    """

    def __init__(
        self,
        weights: Mapping[str, np.ndarray],
        *,
        cell: str,
        layers: int,
        context: int,
        begin: int = BOS,
    ) -> None:
        self.cell = cell
        self.begin = begin
        self.named = named = {
            name: np.asarray(value, dtype=np.float32) for name, value in weights.items()
        }
        self.embedding = named["embedding"]
        self.readout = named["readout.weight"], named["readout.bias"][:, None]
        bias = named["output_bias"].copy()
        bias[[PAD, BOS]] = -np.inf  # never predicted
        self.output = np.ascontiguousarray(named.get("output", self.embedding)), bias[:, None]
        size = self.embedding.shape[1]
        if cell == "mlp":
            self.mixer = named["hidden.weight"], named["hidden.bias"][:, None]
            self._shape = 1, context - 1, size
        else:
            names = [f"recurrence.cells.{layer}" for layer in range(layers)]
            self.cells = [scale_cell(named, name, cell) for name in names]
            self._shape = layers, CELLS[cell].states, self.cells[0].recurrent.shape[1]
        self._table = self._project_all()

    def start(
        self, prefixes: Sequence[Sequence[int]]
    ) -> tuple[Int[np.ndarray, "N"], NextWordState]:
        """The last symbol of each line and the state before it. Prefixes may be empty."""
        layers, kept, size = self._shape
        blocks = -(-len(prefixes) // BLOCK)
        past = np.zeros((layers, kept, blocks, size, BLOCK), dtype=np.float32)
        symbols = np.full(len(prefixes), self.begin)
        return self.extend(symbols, NextWordState(past, len(prefixes)), prefixes)

    def extend(
        self, symbols: Int[np.ndarray, "N"], state: NextWordState, more: Sequence[Sequence[int]]
    ) -> tuple[Int[np.ndarray, "N"], NextWordState]:
        """Read ``symbols`` and ``more``; the last symbol of each row is returned unread."""
        last, after, _ = self._extend(symbols, state, more, traced=False)
        return last, after

    def trace(
        self, symbols: Int[np.ndarray, "N"], state: NextWordState, more: Sequence[Sequence[int]]
    ) -> tuple[Int[np.ndarray, "N"], NextWordState, list[Float32[np.ndarray, "T E"]]]:
        """As :meth:`extend`, with the vectors r from which the symbols of ``more`` are predicted.

        A row of T more symbols has T vectors, the first of them before its first symbol.
        """
        last, after, hidden = self._extend(symbols, state, more, traced=True)
        weight, bias = self.readout
        return last, after, [one @ weight.T + bias[:, 0] for one in hidden]

    def _extend(
        self,
        symbols: Int[np.ndarray, "N"],
        state: NextWordState,
        more: Sequence[Sequence[int]],
        *,
        traced: bool,
    ) -> tuple[Int[np.ndarray, "N"], NextWordState, list[Float32[np.ndarray, "T H"]]]:
        """The last symbols unread, the states before them; ``traced``: the h before ``more``."""
        lengths = np.array([len(ids) for ids in more], dtype=np.int64)
        # longest first, so that whole blocks are done one after the other
        order = np.argsort(-lengths, kind="stable")
        rows = [[int(symbols[row]), *more[row]] for row in order]
        units = self.readout[0].shape[1]
        hidden = [np.empty((len(row) - 1, units), np.float32) for row in rows if traced]
        lengths = lengths[order]
        past = pick_rows(state.past, order)
        final = past.copy()
        for begin in range(0, max(lengths, default=0), MAX_STEPS):
            active = int((lengths > begin).sum())
            # the last symbol of a row is returned unread
            ids = _fill(
                [row[begin : min(begin + MAX_STEPS, len(row) - 1)] for row in rows[:active]], PAD
            )
            tops, states = self._run(ids, past[:, :, : len(ids) // BLOCK])
            for row, found in enumerate(hidden[:active]):
                part = found[begin : begin + MAX_STEPS]
                part[...] = tops[: len(part), row // BLOCK, :, row % BLOCK]
            past = states[-1]
            ended = np.flatnonzero(lengths[:active] <= begin + MAX_STEPS)
            block, column = ended // BLOCK, ended % BLOCK
            step = lengths[ended] - begin - 1
            final[:, :, block, :, column] = states[step, :, :, block, :, column]
        inverse = np.argsort(order)
        last = np.array([row[-1] for row in rows], dtype=np.int64)
        after = NextWordState(pick_rows(final, inverse), state.rows)
        return last[inverse], after, [hidden[k] for k in inverse if traced]

    def step(
        self, symbols: Int[np.ndarray, "N"], state: NextWordState
    ) -> tuple[Float32[np.ndarray, "N V"], NextWordState]:
        """Log-probabilities of the symbol after ``symbols``, one row each, and the next state."""
        ids = np.full((state.past.shape[2] * BLOCK, 1), PAD)
        ids[: state.rows, 0] = symbols
        tops, states = self._run(ids, state.past)
        return self._log_probabilities(tops[0], state.rows), NextWordState(states[0], state.rows)

    def select(
        self, state: NextWordState, rows: Int[np.ndarray, "M"], _width: int
    ) -> NextWordState:
        """The state of other rows: repeated, reordered or left out, of any text."""
        return NextWordState(pick_rows(state.past, rows), len(rows))

    def scan(
        self, rows: Sequence[Sequence[int]], *, size: int = 256
    ) -> Iterator[
        tuple[
            Int[np.ndarray, "M"],
            Int[np.ndarray, "M"],
            Int[np.ndarray, "M"],
            Float32[np.ndarray, "M V"],
        ]
    ]:
        """Log-probabilities of whole lines, given without BOS and EOS, in any order.

        Yields (numbers of the rows, positions, labels, log-probabilities), where a label is the
        symbol at the position and the last label of a line is EOS; up to ``size`` positions at a
        time. Memory is bounded: lines of any length and number are read ``MAX_LINES`` x
        ``MAX_STEPS`` at once.
        """
        for numbers, position, labels, hidden in self._parts(rows, size):
            yield numbers, position, labels, self._log_probabilities(hidden, len(labels))

    def score(
        self, rows: Sequence[Sequence[int]], *, size: int = 256
    ) -> Iterator[tuple[Int[np.ndarray, "M"], Float32[np.ndarray, "M"]]]:
        """The log-probabilities of the labels alone, as :meth:`scan` gives them, and in its order.

        Yields (numbers of the rows, log-probabilities). The log-probabilities of all symbols are in
        memory for ``SCORED_BLOCKS`` blocks at a time.
        """
        for numbers, _, labels, hidden in self._parts(rows, size):
            yield numbers, self._label_log_probabilities(hidden, labels)

    def judge(self, vectors: Float32[np.ndarray, "T E"]) -> Float32[np.ndarray, "T V"]:
        """The log-probabilities that follow from vectors r, as :meth:`trace` gives them."""
        matrix, bias = self.output
        logits = vectors @ matrix.T + bias[:, 0]
        logits -= logits.max(axis=1, keepdims=True)
        found: np.ndarray = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return found

    def _parts(
        self, rows: Sequence[Sequence[int]], size: int
    ) -> Iterator[
        tuple[
            Int[np.ndarray, "M"],
            Int[np.ndarray, "M"],
            Int[np.ndarray, "M"],
            Float32[np.ndarray, "G H 16"],
        ]
    ]:
        """(numbers of the rows, positions, labels, h in blocks) of up to ``size`` positions."""
        order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
        for first in range(0, len(order), MAX_LINES):
            group = order[first : first + MAX_LINES]
            for column, position, labels, tops in self._read([rows[row] for row in group]):
                for cut in range(0, len(column), size):
                    part = slice(cut, cut + size)
                    hidden = to_blocks(_whole_blocks(tops[part]))
                    yield np.array(group)[column[part]], position[part], labels[part], hidden

    def _read(
        self, rows: Sequence[Sequence[int]]
    ) -> Iterator[
        tuple[
            Int[np.ndarray, "M"],
            Int[np.ndarray, "M"],
            Int[np.ndarray, "M"],
            Float32[np.ndarray, "M H"],
        ]
    ]:
        """(row, position, label, h) of all positions of lines, the longest line first."""
        _, state = self.start([[] for _ in rows])
        past = state.past
        whole = [[self.begin, *row, EOS] for row in rows]
        lengths = np.array([len(row) - 1 for row in whole])
        for begin in range(0, int(lengths[0]), MAX_STEPS):
            end = begin + MAX_STEPS
            active = int((lengths > begin).sum())
            ids = _fill([row[begin : min(end, len(row) - 1)] for row in whole[:active]], PAD)
            labels = _fill([row[begin + 1 : end + 1] for row in whole[:active]], PAD)
            tops, states = self._run(ids, past[:, :, : len(ids) // BLOCK])
            past = states[-1]
            known = np.arange(begin, begin + ids.shape[1]) < lengths[:active, None]
            column, step = np.nonzero(known)
            hidden = tops[step, column // BLOCK, :, column % BLOCK]
            yield column, begin + step, labels[column, step], hidden

    @one_thread
    def _run(
        self, ids: Int[np.ndarray, "N T"], past: Float32[np.ndarray, "L K G S 16"]
    ) -> tuple[Float32[np.ndarray, "T G H 16"], Float32[np.ndarray, "T L K G S 16"]]:
        """H and the whole state after every step."""
        if self.cell == "mlp":
            return self._feed_forward(ids, past)
        layers: list[np.ndarray] = []
        projected = self._project(ids)
        for cell, before in zip(self.cells, past, strict=True):
            if layers:
                projected = np.matmul(cell.input, layers[-1][:, 0]) + cell.bias
            layers.append(run_cell(self.cell, cell.recurrent, projected, before))
        return layers[-1][:, 0], np.stack(layers, axis=1)

    def _feed_forward(
        self, ids: Int[np.ndarray, "N T"], past: Float32[np.ndarray, "1 K G S 16"]
    ) -> tuple[Float32[np.ndarray, "T G H 16"], Float32[np.ndarray, "T 1 K G S 16"]]:
        """The cell "mlp": h of the last n vectors; the state is the last n - 1."""
        kept, steps = past.shape[1], ids.shape[1]
        known = np.concatenate([past[0], self._vectors(ids)])
        seen = np.concatenate([known[k : k + steps] for k in range(kept + 1)], axis=2)
        weight, bias = self.mixer
        hidden = np.tanh(np.matmul(weight, seen) + bias)
        windows = sliding_window_view(known[1:], kept, axis=0)
        return hidden, np.moveaxis(windows, -1, 1)[:, None]

    def _vectors(self, ids: Int[np.ndarray, "N T"]) -> Float32[np.ndarray, "T G E 16"]:
        """The vectors x of the symbols."""
        return to_blocks(self.embedding[ids])

    def _project(self, ids: Int[np.ndarray, "N T"]) -> Float32[np.ndarray, "T G GH 16"]:
        """W_x x + b of the first layer, from the table if there is one, with the same bits."""
        if self._table is not None:
            return to_blocks(self._table[ids])
        projected: np.ndarray = np.matmul(self.cells[0].input, self._vectors(ids))
        projected += self.cells[0].bias
        return projected

    @one_thread
    def _project_all(self) -> Float32[np.ndarray, "V GH"] | None:
        """W_x x + b of every symbol, unless the table would exceed ``MAX_TABLE``."""
        self._table = None
        symbols = len(self.embedding)
        if self.cell == "mlp" or symbols * len(self.cells[0].input) > MAX_TABLE:
            return None
        ids = _fill([[symbol] for symbol in range(symbols)], PAD)
        return to_rows(self._project(ids)[0])[:symbols]

    @one_thread
    def _log_probabilities(
        self, hidden: Float32[np.ndarray, "G H 16"], rows: int
    ) -> Float32[np.ndarray, "N V"]:
        """Log-probabilities of the first ``rows`` rows."""
        logits = self._logits(hidden)
        found = np.empty((len(logits), BLOCK, logits.shape[1]), dtype=np.float32)
        for block, transposed in zip(logits, found, strict=True):
            _normalise(block)
            transposed[...] = block.T
        return found.reshape(-1, logits.shape[1])[:rows]

    @one_thread
    def _label_log_probabilities(
        self, hidden: Float32[np.ndarray, "G H 16"], labels: Int[np.ndarray, "M"]
    ) -> Float32[np.ndarray, "M"]:
        """Log-probabilities of ``labels``, of which each row has one."""
        found = np.empty(len(labels), dtype=np.float32)
        for first in range(0, len(hidden), SCORED_BLOCKS):
            logits = self._logits(hidden[first : first + SCORED_BLOCKS])
            for number, block in enumerate(logits, first):
                _normalise(block)
                own = labels[number * BLOCK : (number + 1) * BLOCK]
                found[number * BLOCK :][: len(own)] = block[own, np.arange(len(own))]
        return found

    def _logits(self, hidden: Float32[np.ndarray, "G H 16"]) -> Float32[np.ndarray, "G V 16"]:
        """The logits of all symbols."""
        weight, bias = self.readout
        mixed = np.matmul(weight, hidden) + bias
        matrix, bias = self.output
        logits = np.empty((len(mixed), len(matrix), BLOCK), dtype=np.float32)
        for first in range(0, len(matrix), OUTPUT_TILE):
            tile = slice(first, first + OUTPUT_TILE)
            np.matmul(matrix[tile], mixed, out=logits[:, tile])
        logits += bias
        return logits


def shapes_of(
    *,
    cell: str,
    embedding: int,
    hidden: int,
    layers: int,
    context: int,
    tied: bool,
    symbols: int,
) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight that a checkpoint of this network holds."""
    shapes: dict[str, tuple[int, ...]] = {
        "embedding": (symbols, embedding),
        "readout.weight": (embedding, hidden),
        "readout.bias": (embedding,),
        "output_bias": (symbols,),
    }
    if not tied:
        shapes["output"] = (symbols, embedding)
    if cell == "mlp":
        shapes["hidden.weight"] = (hidden, context * embedding)
        shapes["hidden.bias"] = (hidden,)
        return shapes
    rows = CELLS[cell].gates * hidden
    for layer in range(layers):
        name = f"recurrence.cells.{layer}"
        shapes[f"{name}.input"] = (rows, hidden if layer else embedding)
        shapes[f"{name}.bias"] = (rows,)
        shapes[f"{name}.recurrent"] = (rows, hidden)
    return shapes


def _normalise(block: Float32[np.ndarray, "V 16"]) -> None:
    """Logits -> log-probabilities, in place."""
    np.subtract(block, _reduce(np.maximum, block), out=block)
    np.subtract(block, np.log(_reduce(np.add, np.exp(block))), out=block)


def _reduce(ufunc: np.ufunc, values: Float32[np.ndarray, "V 16"]) -> Float32[np.ndarray, "16"]:
    """The sum or maximum over V, in an order that depends on V alone."""
    whole = len(values) // PARTIAL_SUMS * PARTIAL_SUMS
    wide = values[:whole].reshape(-1, PARTIAL_SUMS * BLOCK)
    parts = [ufunc.reduce(wide, axis=0).reshape(PARTIAL_SUMS, BLOCK)] if whole else []
    folded: np.ndarray = ufunc.reduce(np.concatenate([*parts, values[whole:]]), axis=0)
    return folded


def _fill(rows: Sequence[Sequence[int]], idle: int) -> Int[np.ndarray, "N T"]:
    """Rows, longest first, padded to the longest and to whole blocks."""
    filled = np.full((-(-len(rows) // BLOCK) * BLOCK, len(rows[0])), idle)
    for column, row in enumerate(rows):
        filled[column, : len(row)] = row
    return filled


def _whole_blocks(rows: Float32[np.ndarray, "M H"]) -> Float32[np.ndarray, "N H"]:
    """Rows padded with zeros to whole blocks."""
    filled = np.zeros((-(-len(rows) // BLOCK) * BLOCK, rows.shape[1]), dtype=np.float32)
    filled[: len(rows)] = rows
    return filled
