"""a step function on a GPU -> best sequences: greedy and beam search, all texts at once.

The searches of ``search`` for a device that is fast at a thousand texts and slow at one: no text
leaves before all are done, all choices are made on the device, a step is a CUDA graph (see
``cuda_graphs``), and the host checks only every ``CHECK_EVERY`` steps whether any text is
unfinished. Outputs are the same, except where continuations are exactly equally probable and not
all of them are kept.

N texts, W rows for each, text by text: R = N W. Scores are float64, as in ``search``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from charseq.data.text.vocabulary import BOS, EOS
from charseq.decoding.search import Hypothesis, penalty
from charseq.kernels.cuda_graphs import GraphCache

if TYPE_CHECKING:
    from jaxtyping import Int

    from charseq.data.text.automaton import Automaton
    from charseq.decoding.constrained import Outputs

CHECK_EVERY = 4
"""Steps between two checks whether any text is unfinished."""
LENGTH_MULTIPLE = 8
"""Buffers of symbols have a multiple of this length, so that few shapes occur."""
IMPOSSIBLE = -torch.inf


@runtime_checkable
class GpuStepModel(Protocol):
    """A model on a GPU that predicts step by step."""

    def step(self, symbols: Int[Tensor, "R"], fixed: Any, state: Any) -> tuple[Tensor, Any]:
        """Log-probabilities R V of the next symbol of every row, and the state after it."""
        ...

    def reorder(self, state: Any, rows: Int[Tensor, "R"]) -> Any:
        """The state of as many rows, each a copy of an old row of the same text."""
        ...


class Greedy(NamedTuple):
    """State of a greedy search: N texts, up to T symbols."""

    step: Tensor
    symbols: Tensor
    written: Tensor
    """N T."""
    scores: Tensor
    sizes: Tensor
    alive: Tensor
    blank: Tensor
    """Whether the row cannot end yet, since nothing is written."""
    truncated: Tensor
    end_logs: Tensor
    """Log-probabilities of EOS after truncated outputs; 0 for others."""
    state: Any


def greedy(
    model: GpuStepModel,
    fixed: Any,
    state: Any,
    limits: Int[Tensor, "N"],
    graphs: GraphCache,
    *,
    silent: int | None = None,
    empty: bool = False,
) -> list[Hypothesis]:
    """The most probable symbol at every step, one row per text; see :func:`.search.greedy`.

    ``fixed`` and ``state`` are the model's memory and its state before the first step. ``silent``:
    the symbol that writes nothing. ``empty``: whether an output may be empty.
    """
    count, device = len(limits), limits.device
    longest = int(limits.max())
    none = torch.zeros(count, dtype=torch.int64, device=device)
    alive = torch.ones(count, dtype=torch.bool, device=device)
    no_output = -1 if silent is None else silent
    begun = Greedy(
        step=torch.zeros((), dtype=torch.int64, device=device),
        symbols=torch.full_like(none, BOS),
        written=none[:, None].repeat(1, buffer_length(longest)),
        scores=none.double(),
        sizes=none,
        alive=alive,
        blank=torch.full_like(alive, not empty),
        truncated=~alive,
        end_logs=none.double(),
        state=state,
    )

    def advance(constant: tuple[Any, Tensor], rows: Greedy) -> Greedy:
        model_memory, bounds = constant
        logs, after = model.step(rows.symbols, model_memory, rows.state)
        logs = logs.clone()  # the model's own may not be changed
        logs[:, EOS].masked_fill_(rows.blank, IMPOSSIBLE)
        symbols = logs.argmax(dim=1)
        ended = symbols == EOS
        cut = rows.alive & ~ended & (bounds <= rows.step)
        gain = logs.gather(1, symbols[:, None])[:, 0].double()
        active = rows.alive & ~(ended | cut)
        index = rows.step.expand(len(symbols), 1)
        return Greedy(
            step=rows.step + 1,
            symbols=symbols,
            written=rows.written.scatter(1, index, symbols[:, None]),
            scores=rows.scores + torch.where(rows.alive & ~cut, gain, 0.0),
            sizes=rows.sizes + active,
            alive=active,
            blank=rows.blank & (symbols == no_output),
            truncated=rows.truncated | cut,
            end_logs=torch.where(cut, logs[:, EOS].double(), rows.end_logs),
            state=after,
        )

    loop = graphs.begin("greedy", advance, (fixed, limits), begun)
    for step in range(longest + 1):
        loop.step()
        if step % CHECK_EVERY == CHECK_EVERY - 1 and not bool(loop.moving.alive.any()):
            break
    rows = loop.moving
    columns = (rows.written, rows.sizes, rows.scores, rows.truncated, rows.end_logs)
    found = zip(*(column.tolist() for column in columns), strict=True)
    return [Hypothesis(tuple(ids[:size]), *rest) for ids, size, *rest in found]


class Edges(NamedTuple):
    """An automaton on a GPU; see :class:`charseq.data.text.automaton.Automaton`."""

    keys: Int[Tensor, "E"]
    targets: Int[Tensor, "E"]

    @classmethod
    def of(cls, automaton: Automaton, device: torch.device) -> Edges:
        """The edges of ``automaton``."""
        keys, targets = (
            torch.from_numpy(np.asarray(part, dtype=np.int64)).to(device)
            for part in (automaton.keys, automaton.targets)
        )
        return cls(keys, targets)

    def mask(self, logs: Tensor, scores: Tensor, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Make symbols without an edge impossible.

        ``logs`` is N W V, ``scores`` and ``states`` of the automaton are N W. Also returned are the
        probability that is removed from each text, N, and the states after every symbol, N W V.
        """
        wanted = states[:, :, None] * logs.shape[2] + torch.arange(
            logs.shape[2], device=logs.device
        )
        edges = torch.searchsorted(self.keys, wanted).clamp_(max=len(self.keys) - 1)
        missing = self.keys[edges] != wanted
        lost = torch.where(missing, logs.double().exp(), 0.0).sum(dim=2)
        removed = (scores.exp() * lost).sum(dim=1)
        return logs.masked_fill(missing, IMPOSSIBLE), removed, self.targets[edges]


class Beams(NamedTuple):
    """State of a beam search: unfinished rows of every text, and its W best finished outputs.

    N texts, W rows for each, up to T symbols; finished outputs are best first.
    """

    step: Tensor
    symbols: Tensor
    """R."""
    scores: Tensor
    """N W."""
    written: Tensor
    """N W T."""
    blank: Tensor
    """N W, rows that cannot end yet, since they have written nothing."""
    done: Tensor
    """N."""
    ids: Tensor
    """N W T, of finished outputs."""
    totals: Tensor
    """N W, scores of finished outputs; -inf where there is none."""
    normalised: Tensor
    """N W, scores over the length penalty."""
    sizes: Tensor
    """N W."""
    truncated: Tensor
    """N, whether the first output is truncated."""
    end_logs: Tensor
    """N, log-probability of EOS after the first output, if that is truncated; else 0."""
    state: Any
    nodes: Tensor | None = None
    """N W, states of the automaton; None without one."""
    removed: Tensor | None = None
    """N, the probability of impossible continuations; None without an automaton."""

    @classmethod
    def begin(
        cls, count: int, width: int, longest: int, state: Any, device: torch.device, *, empty: bool
    ) -> Beams:
        """One empty row for each text, and no finished outputs."""
        none = torch.full((count, width), IMPOSSIBLE, dtype=torch.float64, device=device)
        sizes = torch.zeros(count, width, dtype=torch.int64, device=device)
        written = sizes[:, :, None].repeat(1, 1, buffer_length(longest))
        done = torch.zeros(count, dtype=torch.bool, device=device)
        return cls(
            step=torch.zeros((), dtype=torch.int64, device=device),
            symbols=torch.full((count * width,), BOS, device=device),
            scores=none.index_fill(1, sizes[0, :1], 0.0),
            written=written,
            blank=none.index_fill(1, sizes[0, :1], IMPOSSIBLE if empty else 0.0) == 0.0,
            done=done,
            ids=written,
            totals=none,
            normalised=none,
            sizes=sizes,
            truncated=done,
            end_logs=none.new_zeros(count),
            state=state,
        )

    def finish(self, ends: Tensor, totals: Tensor, parents: Tensor, divisor: Tensor) -> Beams:
        """Add the outputs that end in this step, N W, and sort; ties keep their order."""
        width = ends.shape[1]
        new = torch.where(ends & ~self.done[:, None], totals, IMPOSSIBLE)
        normalised = torch.cat([self.normalised, new / divisor], dim=1)
        order = normalised.sort(dim=1, descending=True, stable=True).indices[:, :width]
        sizes = torch.cat([self.sizes, self.step.expand_as(self.sizes)], dim=1)
        ids = torch.cat([self.ids, _pick(self.written, parents)], dim=1)
        return self._replace(
            normalised=normalised.gather(1, order),
            totals=torch.cat([self.totals, new], dim=1).gather(1, order),
            sizes=sizes.gather(1, order),
            ids=_pick(ids, order),
        )

    def cut(self, first: Tensor, parents: Tensor, ends: Tensor) -> Beams:
        """Put the rows ``parents``, N 1, ``first`` as truncated outputs, where that is true, N.

        ``ends``: log-probabilities of EOS after each row, N W.
        """

        def insert(new: Tensor, old: Tensor) -> Tensor:
            here = first.view(-1, *[1] * (old.dim() - 1))
            return torch.where(here, torch.cat([new, old[:, :-1]], dim=1), old)

        return self._replace(
            ids=insert(_pick(self.written, parents), self.ids),
            totals=insert(self.scores.gather(1, parents), self.totals),
            sizes=insert(self.step.expand_as(parents), self.sizes),
            truncated=self.truncated | first,
            end_logs=torch.where(first, ends.gather(1, parents)[:, 0].double(), self.end_logs),
        )

    def best(self) -> list[list[Hypothesis]]:
        """The finished outputs of every text, best first."""
        columns = (self.ids, self.sizes, self.totals, self.truncated, self.end_logs)
        found = []
        for rows, sizes, scores, cut, end in zip(*(c.tolist() for c in columns), strict=True):
            outputs = [
                Hypothesis(tuple(row[:size]), score)
                for row, size, score in zip(rows, sizes, scores, strict=True)
                if score != IMPOSSIBLE
            ]
            if cut:
                outputs[0] = replace(outputs[0], truncated=True, end=end)
            found.append(outputs)
        return found


def beam(
    model: GpuStepModel,
    fixed: Any,
    state: Any,
    limits: Int[Tensor, "N"],
    graphs: GraphCache,
    *,
    width: int,
    length_penalty: float = 0.0,
    silent: int | None = None,
    empty: bool = False,
) -> list[list[Hypothesis]]:
    """Up to ``width`` outputs per text, best first; see :func:`.search.beam`.

    ``fixed`` and ``state`` are the model's memory and its first state, ``width`` rows a text.
    """
    return _search(
        model, fixed, state, limits, graphs, None,
        width=width, length_penalty=length_penalty, silent=silent, empty=empty,
    ).best()  # fmt: skip


def constrained(
    model: GpuStepModel,
    fixed: Any,
    state: Any,
    limits: Int[Tensor, "N"],
    graphs: GraphCache,
    edges: Edges,
    *,
    width: int,
    length_penalty: float = 0.0,
    silent: int | None = None,
    empty: bool = False,
) -> Outputs:
    """As :func:`beam` along an automaton; see :func:`charseq.decoding.constrained.constrained`."""
    beams = _search(
        model, fixed, state, limits, graphs, edges,
        width=width, length_penalty=length_penalty, silent=silent, empty=empty,
    )  # fmt: skip
    return beams.best(), [] if beams.removed is None else beams.removed.tolist()


def _search(
    model: GpuStepModel,
    fixed: Any,
    state: Any,
    limits: Int[Tensor, "N"],
    graphs: GraphCache,
    edges: Edges | None,
    *,
    width: int,
    length_penalty: float,
    silent: int | None,
    empty: bool,
) -> Beams:
    """The state of a beam search at its end."""
    count, device = len(limits), limits.device
    longest = int(limits.max())
    sizes = range(1, buffer_length(longest) + 2)
    divisors = torch.tensor(
        [penalty(size, length_penalty) for size in sizes], dtype=torch.float64, device=device
    )
    no_output = -1 if silent is None else silent

    def advance(constant: tuple[Any, Tensor, Tensor, Edges | None], beams: Beams) -> Beams:
        model_memory, bounds, by_size, guide = constant
        logs, after = model.step(beams.symbols, model_memory, beams.state)
        logs = logs.view(len(bounds), width, -1)
        beams, logs, nodes = _follow(guide, beams, logs)
        parents, chosen, totals = expand(beams.scores, logs, beams.blank)
        ends = (chosen == EOS) & (totals > IMPOSSIBLE)
        beams = beams.finish(
            ends[:, :width],
            totals[:, :width],
            parents[:, :width],
            by_size.gather(0, beams.step[None]),
        )
        active = (chosen == EOS).int().sort(dim=1, stable=True).indices[:, :width]
        continued = totals.gather(1, active)
        parents, symbols = parents.gather(1, active), chosen.gather(1, active)
        stuck = continued[:, 0] == IMPOSSIBLE
        normalised = continued[:, 0] / by_size[bounds]
        beaten = normalised <= beams.normalised[:, -1]
        over = bounds <= beams.step
        first_is_cut = over & ~stuck & ~beams.done & (normalised > beams.normalised[:, 0])
        ends = logs[:, :, EOS].masked_fill(beams.blank, IMPOSSIBLE)
        beams = beams.cut(first_is_cut, parents[:, :1], ends)
        index = beams.step.expand(*symbols.shape, 1)
        first = torch.arange(len(bounds), device=device)[:, None] * width
        return beams._replace(
            step=beams.step + 1,
            symbols=symbols.flatten(),
            scores=continued,
            written=_pick(beams.written, parents).scatter(2, index, symbols[:, :, None]),
            blank=beams.blank.gather(1, parents) & (symbols == no_output),
            done=beams.done | stuck | beaten | over,
            nodes=None if nodes is None else _picked_nodes(nodes, parents, symbols),
            state=model.reorder(after, (first + parents).flatten()),
        )

    begun = Beams.begin(count, width, longest, state, device, empty=empty)
    if edges is not None:
        begun = begun._replace(nodes=begun.sizes, removed=begun.end_logs)
    name = f"beam {width}" if edges is None else f"constrained beam {width}"
    loop = graphs.begin(name, advance, (fixed, limits, divisors, edges), begun)
    for step in range(longest + 1):
        loop.step()
        if step % CHECK_EVERY == CHECK_EVERY - 1 and bool(loop.moving.done.all()):
            break
    beams: Beams = loop.moving
    return beams


def _follow(edges: Edges | None, beams: Beams, logs: Tensor) -> tuple[Beams, Tensor, Tensor | None]:
    """The beams with what an automaton removes, its log-probabilities, and all next states."""
    if edges is None or beams.nodes is None or beams.removed is None:
        return beams, logs, None
    possible = logs.clone()  # an impossible end is not removed by the automaton
    possible[:, :, EOS].masked_fill_(beams.blank, IMPOSSIBLE)
    logs, removed, nodes = edges.mask(possible, beams.scores, beams.nodes)
    total = beams.removed + torch.where(beams.done, 0.0, removed)
    return beams._replace(removed=total), logs, nodes


def _picked_nodes(nodes: Tensor, parents: Tensor, symbols: Tensor) -> Tensor:
    """The states N W after the symbols of some rows, of all next states N W V."""
    return _pick(nodes, parents).gather(2, symbols[:, :, None])[:, :, 0]


def expand(
    scores: Tensor, logs: Tensor, blank: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The 2 W best continuations of every text, best first: parent row, symbol, total score.

    ``blank``: rows that cannot end, N W.
    """
    count, width, size = logs.shape
    every = scores[:, :, None] + logs.double()
    if blank is not None:
        every[:, :, EOS].masked_fill_(blank, IMPOSSIBLE)
    totals = every.view(count, width * size)
    found, indices = totals.topk(min(2 * width, width * size), dim=1)
    # ties are ordered by index
    indices, order = indices.sort(dim=1)
    found, order = found.gather(1, order).sort(dim=1, descending=True, stable=True)
    indices = indices.gather(1, order)
    return indices // size, indices % size, found


def buffer_length(longest: int) -> int:
    """Length of a buffer for outputs of up to ``longest`` symbols; few values, so shapes recur."""
    return -(-(longest + 1) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE


def limits_of(limits: Sequence[int], count: int, device: torch.device) -> Int[Tensor, "N"]:
    """The limits of texts, padded with 0 to ``count``; padding texts end at once."""
    filled = [*limits, *([0] * (count - len(limits)))]
    return torch.tensor(filled, dtype=torch.int64, device=device)


def _pick(values: Tensor, rows: Tensor) -> Tensor:
    """N K T at N M rows: N M T."""
    return values.gather(1, rows[:, :, None].expand(-1, -1, values.shape[2]))
