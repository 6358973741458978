"""Outputs of a search -> the same outputs, weighed anew by joint n-grams of source and actions.

As in ``charseq.confidence.joint_ngrams`` and ``charseq.confidence.rescoring``, where n-grams are
counted and weighed, and their formulas are derived. Only hard attention has them.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from charseq.export.runtime.search import Hypothesis
from charseq.export.runtime.text import EOS

STEPS_PER_NAT = 16
UNSEEN_SHARE = 0.1


class JointNgrams:
    """The n-grams of one direction, by their orders; of each the hashes, which ascend."""

    def __init__(self, fields: Mapping[str, Any], writes: int) -> None:
        self.writes = writes
        tables = zip(fields["keys"], fields["chances"], fields["backoffs"], strict=True)
        self.orders = [
            (_table(keys, "<u4"), _table(chances, np.uint8), _table(backoffs, np.uint8))
            for keys, chances, backoffs in tables
        ]
        known = max(len(self.orders[0][0]), 1)
        self.unseen = min(255, round(STEPS_PER_NAT * math.log(known / UNSEEN_SHARE)))

    def scores(self, source: Sequence[int], outputs: Sequence[Sequence[int]]) -> list[float]:
        """Log P(x, y) of a source, as the network reads it, and each of its outputs."""
        sizes = [len(one) + 2 for one in outputs]
        units = np.concatenate([self._units(source, one) for one in outputs])
        place = np.concatenate([np.arange(size) for size in sizes])
        hashes = np.zeros_like(units)
        total = np.full(len(units), self.unseen)
        backoff = np.zeros(len(units), dtype=np.int64)
        for order, (keys, chances, backoffs) in enumerate(self.orders, 1):
            if not len(keys):
                break
            whole = place >= order - 1  # what is rolled into the others is not used
            more = np.uint32(order if order > 1 else 0)
            hashes = mixed(hashes + more, np.roll(units, order - 1))
            at = np.minimum(np.searchsorted(keys, hashes), len(keys) - 1)
            known = whole & (keys[at] == hashes)
            total = np.where(known, chances[at], total + whole * np.roll(backoff, 1))
            backoff = np.where(known, backoffs[at], 0)
        total[place == 0] = 0
        firsts = np.cumsum([0, *sizes[:-1]])
        found: list[float] = (np.add.reduceat(total, firsts) / -STEPS_PER_NAT).tolist()
        return found

    def _units(self, source: Sequence[int], output: Sequence[int]) -> Any:
        """The sign of the beginning, and each action with the source symbol that it is taken at."""
        actions = np.array([EOS, *output, EOS])
        position = np.cumsum(actions >= self.writes)
        position[1:] = position[:-1]
        symbols = np.array([*source, EOS])[position]
        units = (symbols * (2 * self.writes + 1) + actions + 1).astype(np.uint32)
        units[0] = 0
        return units


class Rescoring:
    """The joint n-grams of each direction, and their weight beside the network."""

    def __init__(self, fields: Mapping[str, Any], writes: int) -> None:
        self.weight: float = fields["weight"]
        self.ngrams = {
            backward: JointNgrams(fields[name], writes)
            for name, backward in (("forward", False), ("backward", True))
            if fields[name] is not None
        }

    def weighed(
        self, source: Sequence[int], outputs: Sequence[Hypothesis], *, backward: bool
    ) -> list[Hypothesis]:
        """The outputs of a source, best first; one that the limit has cut stays as it is.

        Together they are as likely as before.
        """
        ended = [one for one in outputs if not one.truncated and one.score > -math.inf]
        if len(ended) < 2:
            return list(outputs)
        joint = self.ngrams[backward].scores(source, [one.ids for one in ended])
        powers = [one.score + self.weight * log for one, log in zip(ended, joint, strict=True)]
        level = _log_sum([one.score for one in ended]) - _log_sum(powers)
        shared = [
            one._replace(score=power + level) for one, power in zip(ended, powers, strict=True)
        ]
        others = [one for one in outputs if one.truncated or one.score == -math.inf]
        return sorted([*others, *shared], key=lambda one: (not one.truncated, -one.score))


def mixed(hashes: Any, values: Any) -> Any:
    """Hashes of 32 bits with one more value each."""
    found = (hashes ^ values) * np.uint32(0x9E3779B1)
    found ^= found >> np.uint32(15)
    found *= np.uint32(0x85EBCA77)
    found ^= found >> np.uint32(13)
    return found


def _log_sum(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(math.fsum(math.exp(one - top) for one in logs))


def _table(text: str, kind: Any) -> Any:
    return np.frombuffer(base64.b64decode(text), kind)
