"""a step function on a GPU -> best sequences: greedy and beam search, all texts at once.

The searches of ``decoding`` once more, for a device that is fast at a thousand texts and slow at
one: no text leaves before all are done, every choice is made on the device, a step is recorded and
played again (see ``player``), and the device is asked only now and then whether anything goes on.
What is found is the same; where continuations are exactly equally probable and not all of them are
kept, it may be another of them.

N texts, W rows for each, one text's after another: R = N W. Scores are in float64, as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from charseq.data.text.vocabulary import BOS, EOS
from charseq.decoding.search import Hypothesis, penalty
from charseq.kernels.cuda_graphs import GraphCache

if TYPE_CHECKING:
    from jaxtyping import Int

ASKED = 4
"""Steps between two questions whether anything goes on."""
COLUMNS = 8
"""Places for symbols come in multiples of this."""
NEVER = -torch.inf


@runtime_checkable
class Stepper(Protocol):
    """What these searches ask of a model."""

    def step(self, symbols: Int[Tensor, "R"], fixed: Any, state: Any) -> tuple[Tensor, Any]:
        """Log-probabilities R V of the next symbol of every row, and the state after it."""
        ...

    def reorder(self, state: Any, rows: Int[Tensor, "R"]) -> Any:
        """The state of as many rows, each a copy of an old one of the same text."""
        ...


class Line(NamedTuple):
    """What moves in a greedy search: N texts, T symbols at most."""

    step: Tensor
    symbols: Tensor
    written: Tensor
    """N T."""
    scores: Tensor
    sizes: Tensor
    alive: Tensor
    truncated: Tensor
    state: Any


def greedy(
    model: Stepper, fixed: Any, state: Any, limits: Int[Tensor, "N"], player: GraphCache
) -> list[Hypothesis]:
    """The likeliest symbol at every step, for one row per text; see ``decoding.greedy``.

    ``fixed`` and ``state`` are the model's: what stays, and what moves.
    """
    count, device = len(limits), limits.device
    most = int(limits.max())
    none = torch.zeros(count, dtype=torch.int64, device=device)
    alive = torch.ones(count, dtype=torch.bool, device=device)
    begun = Line(
        step=torch.zeros((), dtype=torch.int64, device=device),
        symbols=torch.full_like(none, BOS),
        written=none[:, None].repeat(1, room_for(most)),
        scores=none.double(),
        sizes=none,
        alive=alive,
        truncated=~alive,
        state=state,
    )

    def advance(given: tuple[Any, Tensor], line: Line) -> Line:
        stays, bounds = given
        logs, after = model.step(line.symbols, stays, line.state)
        symbols = logs.argmax(dim=1)
        ended = symbols == EOS
        cut = ~ended & (bounds <= line.step)
        gain = logs.gather(1, symbols[:, None])[:, 0].double()
        going = line.alive & ~(ended | cut)
        place = line.step.expand(len(symbols), 1)
        return Line(
            step=line.step + 1,
            symbols=symbols,
            written=line.written.scatter(1, place, symbols[:, None]),
            scores=line.scores + torch.where(line.alive & ~cut, gain, 0.0),
            sizes=line.sizes + going,
            alive=going,
            truncated=line.truncated | (line.alive & cut),
            state=after,
        )

    loop = player.begin("greedy", advance, (fixed, limits), begun)
    for step in range(most + 1):
        loop.step()
        if step % ASKED == ASKED - 1 and not bool(loop.moving.alive.any()):
            break
    line = loop.moving
    columns = (line.written, line.sizes, line.scores, line.truncated)
    found = zip(*(column.tolist() for column in columns), strict=True)
    return [Hypothesis(tuple(ids[:size]), score, cut) for ids, size, score, cut in found]


class Beams(NamedTuple):
    """What moves in a beam: what goes on of every text, and the best W that are finished.

    N texts, W rows for each, T symbols at most; what is finished stands best first.
    """

    step: Tensor
    symbols: Tensor
    """R."""
    scores: Tensor
    """N W."""
    written: Tensor
    """N W T."""
    done: Tensor
    """N."""
    ids: Tensor
    """N W T, of what is finished."""
    totals: Tensor
    """N W, its scores; -inf where nothing is finished."""
    merits: Tensor
    """N W, what it is compared by."""
    sizes: Tensor
    """N W."""
    truncated: Tensor
    """N."""
    state: Any

    @classmethod
    def begin(cls, count: int, width: int, most: int, state: Any, device: torch.device) -> Beams:
        """One empty output for each text, and nothing finished."""
        none = torch.full((count, width), NEVER, dtype=torch.float64, device=device)
        sizes = torch.zeros(count, width, dtype=torch.int64, device=device)
        written = sizes[:, :, None].repeat(1, 1, room_for(most))
        done = torch.zeros(count, dtype=torch.bool, device=device)
        return cls(
            step=torch.zeros((), dtype=torch.int64, device=device),
            symbols=torch.full((count * width,), BOS, device=device),
            scores=none.index_fill(1, sizes[0, :1], 0.0),
            written=written,
            done=done,
            ids=written,
            totals=none,
            merits=none,
            sizes=sizes,
            truncated=done,
            state=state,
        )

    def finish(self, ends: Tensor, totals: Tensor, parents: Tensor, divisor: Tensor) -> Beams:
        """Take in what ends in this step, N W; all is sorted anew, of equals the earlier first."""
        width = ends.shape[1]
        new = torch.where(ends & ~self.done[:, None], totals, NEVER)
        merits = torch.cat([self.merits, new / divisor], dim=1)
        order = merits.sort(dim=1, descending=True, stable=True).indices[:, :width]
        sizes = torch.cat([self.sizes, self.step.expand_as(self.sizes)], dim=1)
        ids = torch.cat([self.ids, _pick(self.written, parents)], dim=1)
        return self._replace(
            merits=merits.gather(1, order),
            totals=torch.cat([self.totals, new], dim=1).gather(1, order),
            sizes=sizes.gather(1, order),
            ids=_pick(ids, order),
        )

    def cut(self, over: Tensor) -> Beams:
        """Texts whose limit is reached with nothing finished keep the best that goes on."""
        lonely = over & ~self.done & (self.totals[:, 0] == NEVER)
        best = self.scores.argmax(dim=1, keepdim=True)
        own = _pick(self.written, best), self.scores.gather(1, best)
        first = torch.zeros_like(self.sizes)
        first[:, 0] = 1
        here = lonely[:, None] & (first > 0)
        return self._replace(
            ids=torch.where(here[:, :, None], own[0], self.ids),
            totals=torch.where(here, own[1], self.totals),
            sizes=torch.where(here, self.step, self.sizes),
            truncated=self.truncated | lonely,
        )

    def best(self) -> list[list[Hypothesis]]:
        """The finished outputs of every text, best first."""
        columns = (self.ids, self.sizes, self.totals, self.truncated)
        return [
            [
                Hypothesis(tuple(row[:size]), score, cut)
                for row, size, score in zip(rows, sizes, scores, strict=True)
                if score != NEVER
            ]
            for rows, sizes, scores, cut in zip(
                *(column.tolist() for column in columns), strict=True
            )
        ]


def beam(
    model: Stepper,
    fixed: Any,
    state: Any,
    limits: Int[Tensor, "N"],
    player: GraphCache,
    *,
    width: int,
    length_penalty: float = 0.0,
) -> list[list[Hypothesis]]:
    """Up to ``width`` outputs per text, best first; see ``decoding.beam``.

    ``fixed`` and ``state`` are the model's: what stays, and what moves; ``width`` rows a text.
    """
    count, device = len(limits), limits.device
    most = int(limits.max())
    sizes = range(1, room_for(most) + 2)
    divisors = torch.tensor(
        [penalty(size, length_penalty) for size in sizes], dtype=torch.float64, device=device
    )

    def advance(given: tuple[Any, Tensor, Tensor], beams: Beams) -> Beams:
        stays, bounds, by_size = given
        logs, after = model.step(beams.symbols, stays, beams.state)
        parents, chosen, totals = expand(beams.scores, logs.view(len(bounds), width, -1))
        ends = (chosen == EOS) & (totals > NEVER)
        beams = beams.finish(
            ends[:, :width],
            totals[:, :width],
            parents[:, :width],
            by_size.gather(0, beams.step[None]),
        )
        going = (chosen == EOS).int().sort(dim=1, stable=True).indices[:, :width]
        ahead = totals.gather(1, going)
        stuck = ahead[:, 0] == NEVER
        beaten = ahead[:, 0] / by_size[bounds] <= beams.merits[:, -1]
        over = bounds <= beams.step
        beams = beams.cut(over & ~stuck)
        parents, symbols = parents.gather(1, going), chosen.gather(1, going)
        place = beams.step.expand(*symbols.shape, 1)
        first = torch.arange(len(bounds), device=device)[:, None] * width
        return beams._replace(
            step=beams.step + 1,
            symbols=symbols.flatten(),
            scores=ahead,
            written=_pick(beams.written, parents).scatter(2, place, symbols[:, :, None]),
            done=beams.done | stuck | beaten | over,
            state=model.reorder(after, (first + parents).flatten()),
        )

    begun = Beams.begin(count, width, most, state, device)
    loop = player.begin(f"beam {width}", advance, (fixed, limits, divisors), begun)
    for step in range(most + 1):
        loop.step()
        if step % ASKED == ASKED - 1 and bool(loop.moving.done.all()):
            break
    beams: Beams = loop.moving
    return beams.best()


def expand(scores: Tensor, logs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The 2 W best continuations of every text, best first: parent row, symbol, total score."""
    count, width, size = logs.shape
    totals = (scores[:, :, None] + logs.double()).view(count, width * size)
    found, places = totals.topk(min(2 * width, width * size), dim=1)
    # of equal totals the earlier place comes first
    places, order = places.sort(dim=1)
    found, order = found.gather(1, order).sort(dim=1, descending=True, stable=True)
    places = places.gather(1, order)
    return places // size, places % size, found


def room_for(most: int) -> int:
    """Places for symbols of outputs of up to ``most``; few numbers, so that shapes come again."""
    return -(-(most + 1) // COLUMNS) * COLUMNS


def limits_of(limits: Sequence[int], count: int, device: torch.device) -> Int[Tensor, "N"]:
    """The limits of texts, and of as many idle ones as ``count`` asks for, which end at once."""
    filled = [*limits, *([0] * (count - len(limits)))]
    return torch.tensor(filled, dtype=torch.int64, device=device)


def _pick(values: Tensor, rows: Tensor) -> Tensor:
    """N K T at N M rows: N M T."""
    return values.gather(1, rows[:, :, None].expand(-1, -1, values.shape[2]))
