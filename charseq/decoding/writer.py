"""a decoder's weights; beginnings of texts, limits -> outputs: whole beam searches, compiled.

The search of ``decoding``, to the last bit. There every step goes through dozens of arrays in
Python; here many texts are searched side by side in one call, each ends for itself, and then the
next one takes its place. What is impossible gets no row.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charseq.data.text.vocabulary import BOS, EOS
from charseq.decoding.search import Hypothesis, penalty
from charseq.kernels.layout import address
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
    from jaxtyping import Float32, Int64

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
class Memory:
    """What soft attention looks at, of all texts that were read: M texts, S positions."""

    keys: Float32[np.ndarray, "M S H"]
    values: Float32[np.ndarray, "M S E"]
    lengths: Int64[np.ndarray, "M"]


@dataclass(frozen=True)
class Track:
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
class State:
    """Rows of a search: ``width`` rows for each of T texts, text by text."""

    hidden: Float32[np.ndarray, "L K N H"]
    memory: Memory | None
    track: Track | None
    texts: Int64[np.ndarray, "T"]
    """The texts that are still there, by their numbers among those that were read."""
    places: Int64[np.ndarray, "N"]
    """Where hard attention stands, before the next symbol is read; else 0."""
    width: int


class Writer:
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
        self, state: State, limits: Sequence[int], *, width: int, length_penalty: float
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

    def _what_is_read(self, state: State, count: int) -> tuple[int, list[int | Gather | None]]:
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
