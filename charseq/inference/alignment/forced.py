"""source ids, target ids -> attention of each target symbol: forced decoding, without a search.

The network reads a given target as in training (teacher forcing), so that any answer has its
attention: one of the search, of a lexicon, or one that a person types.

Soft attention has a distribution over the source at each step (Bahdanau et al. 2015). Hard
attention has one position at each step (Aharoni & Goldberg 2017); of the many sequences of actions
that write a target the likeliest is searched for with a beam, in which states of one position and
one number of written symbols are merged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charseq.data.batches import buckets
from charseq.data.text.alignment import Actions, source_length
from charseq.data.text.vocabulary import BOS, EOS
from charseq.decoding.seq2seq_numpy import WIDTH

if TYPE_CHECKING:
    from jaxtyping import Float

KEPT = 16
"""States of a text that are followed at once, with hard attention."""
BATCH = 64
"""Texts that are read together, with soft attention."""

Ids = Sequence[int]


class _Path(NamedTuple):
    """Actions that write the beginning of a target."""

    score: float
    position: int
    places: tuple[int, ...]
    """The position at which each symbol was written."""
    action: int
    """The last action."""


def attention(
    network: Any, sources: Sequence[Ids], targets: Sequence[Ids]
) -> list[Float[np.ndarray, "T S"] | None]:
    """The weights of T target symbols over S source symbols, for each text; rows sum to 1.

    ``network``: one with ``start``, ``step``, ``select`` and ``attended``. ``sources`` and
    ``targets`` are ids as the network reads and writes them; a source of hard attention has EOS,
    which is a place too. None stands for a network without attention, an empty side, and for a
    target that the network cannot write.
    """
    found: list[Float[np.ndarray, "T S"] | None] = [None] * len(sources)
    if network.actions is not None:
        for number, (source, target) in enumerate(zip(sources, targets, strict=True)):
            places = hard_places(network, source, target) if source and target else None
            if places is not None:
                found[number] = np.eye(source_length(source) + 1)[list(places)]
        return found
    sizes = [len(source) if target else 0 for source, target in zip(sources, targets, strict=True)]
    for batch in buckets(sizes, width=WIDTH, size=BATCH):
        rows = [row for row in batch if sizes[row]]
        weights = soft_weights(network, [sources[r] for r in rows], [targets[r] for r in rows])
        for row, one in zip(rows, weights, strict=False):
            found[row] = one[:, : sizes[row]]
    return found


def soft_weights(
    network: Any, sources: Sequence[Ids], targets: Sequence[Ids]
) -> list[Float[np.ndarray, "T S"]]:
    """The weights of soft attention for texts of one rounded length; none for a network without."""
    if not sources:
        return []
    state, steps = network.start(sources), []
    symbols = np.full(len(sources), BOS, dtype=np.int64)
    for step in range(max(map(len, targets))):
        _, state = network.step(symbols, state)
        weights = network.attended(state)
        if weights is None:
            return []
        steps.append(weights)
        symbols = np.array([ids[step] if step < len(ids) else EOS for ids in targets])
    table = np.stack(steps, axis=1)
    return [rows[: len(ids)].astype(np.float64) for rows, ids in zip(table, targets, strict=True)]


def hard_places(network: Any, source: Ids, target: Ids) -> tuple[int, ...] | None:
    """The position at which hard attention writes each symbol, on the likeliest way to do so.

    A position is that of a source symbol, or the number of them: the end. None: there is no way.
    """
    actions, end = network.actions, source_length(source)
    state = network.start([source])
    paths, best, places = [_Path(0.0, 0, (), BOS)], -math.inf, None
    for _ in range(end + len(target) + 1):
        logs, state = network.step(np.array([path.action for path in paths]), state)
        after: dict[tuple[int, int], tuple[_Path, int]] = {}
        for row, path in enumerate(paths):
            if path.position == end and len(path.places) == len(target):
                score = path.score + float(logs[row, EOS])
                if score > best:
                    best, places = score, path.places
            for new in _further(path, logs[row], target, actions, end):
                key = new.position, len(new.places)
                if key not in after or new.score > after[key][0].score:
                    after[key] = new, row
        kept = sorted(after.values(), key=lambda one: -one[0].score)[:KEPT]
        kept = [one for one in kept if one[0].score > best]
        if not kept:
            break
        paths = [path for path, _ in kept]
        state = network.select(state, np.array([row for _, row in kept]), len(kept))
    return places


def _further(
    path: _Path, logs: Float[np.ndarray, "A"], target: Ids, actions: Actions, end: int
) -> list[_Path]:
    """The paths with one more action, as far as it writes the target."""
    found, here, written = [], path.position, path.places
    following = target[len(written)] if len(written) < len(target) else None
    if following is not None:
        found.append((following, here, (*written, here)))
    if here < end:
        found.append((actions.deletion, here + 1, written))
        if following is not None:
            found.append((actions.symbols + following, here + 1, (*written, here)))
    return [
        _Path(path.score + float(logs[action]), place, places, action)
        for action, place, places in found
        if logs[action] > -math.inf
    ]
