"""A search along an automaton: only the outputs that it accepts.

A row of a beam carries its state of the automaton (:mod:`charseq.data.text.automaton`), and a
symbol without an edge there is impossible. The same search runs in C and on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from charseq.decoding.blocks import BLOCK
from charseq.decoding.search import Hypothesis, StepModel, beam

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from charseq.data.text.automaton import Automaton

Outputs = tuple[list[list[Hypothesis]], list[float]]
"""Up to W outputs for each text, best first; and for each text the probability removed."""


@runtime_checkable
class ConstrainedBeamSearcher(Protocol):
    """A model with such a search of its own, from a fresh state, such as the compiled one."""

    def constrained_beam(
        self,
        state: Any,
        limits: Sequence[int],
        automaton: Automaton,
        *,
        width: int,
        length_penalty: float,
    ) -> Outputs:
        """As :func:`constrained`: the same outputs, to the last bit."""
        ...


@runtime_checkable
class ConstrainedSearcher(Protocol):
    """A network with such a search of its own, from sources to outputs, such as on a GPU."""

    def constrained_search(
        self,
        sources: Sequence[Sequence[int]],
        limits: Sequence[int],
        automaton: Automaton,
        *,
        width: int,
        length_penalty: float = 0.0,
    ) -> Outputs:
        """As :func:`constrained`."""
        ...


def constrained(
    model: StepModel,
    state: Any,
    limits: Sequence[int],
    automaton: Automaton,
    *,
    width: int,
    length_penalty: float = 0.0,
    silent: int | None = None,
) -> Outputs:
    """The outputs of :func:`.search.beam` that ``automaton`` accepts; a width of 1 is greedy.

    The probability removed from a text is that of the impossible continuations of its rows, so no
    output of the automaton is in it. It does not count what a beam leaves out. Hence an output of
    probability p has at least p / (1 - removed), given that the output is one of the automaton, and
    exactly that where the beam holds all of them. The end of a truncated output is mostly
    impossible.
    """
    if isinstance(model, ConstrainedBeamSearcher):
        return model.constrained_beam(
            state, limits, automaton, width=width, length_penalty=length_penalty
        )
    walk = Walk(automaton, len(limits), width)
    found = beam(
        model, state, limits,
        width=width, length_penalty=length_penalty, silent=silent, guide=walk,
        empty=automaton.empty,
    )  # fmt: skip
    return found, walk.removed.tolist()


def search_within(
    network: Any,
    sources: Sequence[Sequence[int]],
    limits: Sequence[int],
    automaton: Automaton,
    *,
    width: int,
    length_penalty: float,
    silent: int | None,
) -> Outputs:
    """As :func:`constrained`, from the sources, with whatever search the network has."""
    if isinstance(network, ConstrainedSearcher):
        return network.constrained_search(
            sources, limits, automaton, width=width, length_penalty=length_penalty
        )
    return constrained(
        network, network.start(sources), limits, automaton,
        width=width, length_penalty=length_penalty, silent=silent,
    )  # fmt: skip


class Walk:
    """The states of the rows of a search over N texts, W rows for each, and what is removed."""

    def __init__(self, automaton: Automaton, count: int, width: int) -> None:
        self.automaton = automaton
        self.removed = np.zeros(count)
        """For each text the probability of the impossible continuations of its rows."""
        self._states = np.zeros((count, width), dtype=np.int64)

    def mask(
        self,
        logs: Float[np.ndarray, "B W V"],
        scores: Float[np.ndarray, "B W"],
        texts: Int[np.ndarray, "B"],
    ) -> None:
        """Make the symbols without an edge impossible, in place, and add up what that removes."""
        states, flat = self._states.ravel(), logs.reshape(-1, logs.shape[2])
        first = self.automaton.offsets[states]
        sizes = self.automaton.offsets[states + 1] - first
        rows = np.repeat(np.arange(len(states)), sizes)
        ends = sizes.cumsum()
        edges = np.arange(ends[-1]) + np.repeat(first - ends + sizes, sizes)
        symbols = self.automaton.symbols[edges]
        # whole blocks, as in `ensemble`: the same code path for every element
        lost = np.full((-(-len(flat) // BLOCK) * BLOCK, flat.shape[1]), -np.inf)
        lost[: len(flat)] = flat
        lost[rows, symbols] = -np.inf
        sums = np.exp(lost).sum(axis=1)[: len(flat)].reshape(scores.shape)
        allowed = np.full_like(flat, -np.inf)
        allowed[rows, symbols] = flat[rows, symbols]
        logs[:] = allowed.reshape(logs.shape)
        self.removed[texts] += (np.exp(scores) * sums).sum(axis=1)

    def follow(
        self,
        stays: Int[np.ndarray, "S"],
        parents: Int[np.ndarray, "S W"],
        chosen: Int[np.ndarray, "S W"],
    ) -> None:
        """Go on from the rows ``parents`` of the texts that stay, by the symbols ``chosen``."""
        automaton = self.automaton
        keys = np.take_along_axis(self._states[stays], parents, axis=1) * automaton.size + chosen
        # a row whose continuation is impossible gets the state of some other edge
        edges = np.minimum(np.searchsorted(automaton.keys, keys), len(automaton.keys) - 1)
        self._states = automaton.targets[edges].astype(np.int64)
