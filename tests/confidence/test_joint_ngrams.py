"""Joint n-grams: their probabilities against a plain reference, pruning, files of strangers."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest

from charseq.confidence import joint_ngrams
from charseq.confidence.joint_ngrams import ORDER, STEPS_PER_NAT, UNSEEN, JointNgrams
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import EOS, SPECIALS
from charseq.errors import CheckpointError

ACTIONS = Actions(SPECIALS + 3)
A, B, C = range(SPECIALS, SPECIALS + 3)
GO, SKIP = ACTIONS.symbols, ACTIONS.deletion
"""``GO + A`` writes A and advances."""

Pairs = tuple[list[list[int]], list[list[int]]]


def made(count: int, seed: int) -> Pairs:
    """Random sources, and edit actions that read each to its end."""
    random = Random(seed)
    sources, outputs = [], []
    for _ in range(count):
        source = [random.choice((A, A, B, C)) for _ in range(random.randint(1, 7))]
        written: list[int] = []
        for symbol in source:
            written += random.choice(([], [], [], [C]))
            written.append(random.choice((GO + symbol, GO + symbol, GO + A, SKIP)))
        sources.append(source)
        outputs.append(written)
    return sources, outputs


def units(source: Sequence[int], output: Sequence[int]) -> list[tuple[int, int]]:
    """Source symbol and action of each unit, as the module's docstring says."""
    found, position = [], 0
    for action in output:
        found.append(([*source, EOS][position], action))
        position += action >= GO
    return [*found, ([*source, EOS][position], EOS)]


class Reference:
    """Interpolated, modified Kneser-Ney smoothing with dictionaries (Chen & Goodman 1999)."""

    def __init__(self, pairs: Pairs, order: int) -> None:
        self.order = order
        self.counts: list[dict[tuple[Any, ...], int]] = [defaultdict(int) for _ in range(order + 1)]
        for source, output in zip(*pairs, strict=True):
            row = ["begin", *units(source, output)]
            for end in range(1, len(row)):
                for size in range(1, order + 1):
                    if size <= end + 1:
                        self.counts[size][tuple(row[end - size + 1 : end + 1])] += 1
        for size in range(1, order):  # after how many different units, but at a beginning
            before = defaultdict(set)
            for gram in self.counts[size + 1]:
                before[gram[1:]].add(gram[0])
            for gram in self.counts[size]:
                if gram[0] != "begin":
                    self.counts[size][gram] = len(before[gram])

    def discount(self, size: int, count: int) -> float:
        often = [sum(one == times for one in self.counts[size].values()) for times in range(5)]
        share = often[1] / max(often[1] + 2 * often[2], 1)
        times = min(count, 3)
        ideal = times - (times + 1) * share * often[times + 1] / max(often[times], 1)
        return min(max(ideal, 0.05 * times), 0.95 * times)

    def chance(self, context: tuple[Any, ...], unit: Any) -> float:
        if len(context) + 1 > self.order:
            context = context[1:]
        size = len(context) + 1
        lower = self.chance(context[1:], unit) if context else 1 / len(self.counts[1])
        after = {g[-1]: c for g, c in self.counts[size].items() if g[:-1] == context}
        if not after:
            return lower
        left = sum(self.discount(size, count) for count in after.values())
        own = after[unit] - self.discount(size, after[unit]) if unit in after else 0.0
        return (own + left * lower) / sum(after.values())

    def log(self, source: Sequence[int], output: Sequence[int]) -> float:
        row: list[Any] = ["begin", *units(source, output)]
        return sum(
            math.log(self.chance(tuple(row[max(0, end - self.order + 1) : end]), row[end]))
            for end in range(1, len(row))
        )


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_are_those_of_kneser_ney(order: int) -> None:
    pairs = made(120, seed=1)
    known = Reference(pairs, order)
    ngrams = JointNgrams.count(*pairs, ACTIONS, order=order)
    seen = set(known.counts[1])
    asked = [
        (source, output)
        for source, output in zip(*made(60, seed=2), strict=True)
        if all((one,) in seen for one in units(source, output))
    ]
    assert len(asked) > 40
    found = ngrams.scores(*map(list, zip(*asked, strict=True)))
    for (source, output), score in zip(asked, found.tolist(), strict=True):
        # a chance and at most order - 1 weights of each unit are rounded
        rounding = 0.5 / STEPS_PER_NAT * order * (len(output) + 1)
        assert score == pytest.approx(known.log(source, output), abs=rounding)


def test_a_unit_that_was_never_seen_has_a_small_share() -> None:
    ngrams = JointNgrams.count([[A]] * 3, [[GO + A]] * 3, ACTIONS, order=1)
    known, unknown = ngrams.scores([[A], [A]], [[GO + A], [GO + B]])
    units = 2  # (A, write A and advance) and the end
    assert unknown - known < -1
    unseen = math.log(UNSEEN / units)
    # the second row has the unknown unit and the same end
    end = float(known) / 2
    assert unknown == pytest.approx(unseen + end, abs=1 / STEPS_PER_NAT)


def test_a_row_does_not_change_the_scores_of_others() -> None:
    ngrams = JointNgrams.count(*made(200, seed=3), ACTIONS)
    sources, outputs = made(40, seed=4)
    together = ngrams.scores(sources, outputs)
    alone = [ngrams.scores([one], [two])[0] for one, two in zip(sources, outputs, strict=True)]
    assert together.tolist() == alone
    assert ngrams.scores([], []).tolist() == []


def test_features_behind_the_end_are_not_read() -> None:
    sources, outputs = made(100, seed=5)
    ngrams = JointNgrams.count(sources, outputs, ACTIONS)
    longer = [[*one, EOS, SPECIALS + 7, SPECIALS + 8] for one in sources]
    assert ngrams.scores(longer, outputs).tolist() == ngrams.scores(sources, outputs).tolist()
    again = JointNgrams.count(longer, outputs, ACTIONS)
    assert again.scores(sources, outputs).tolist() == ngrams.scores(sources, outputs).tolist()


def test_what_follows_in_training_is_likelier_than_what_does_not() -> None:
    """A is written as A after A, and as B after C."""
    sources, outputs = [[A, A], [C, A]] * 20, [[GO + A, GO + A], [GO + C, GO + B]] * 20
    ngrams = JointNgrams.count(sources, outputs, ACTIONS)
    right, wrong = ngrams.scores([[C, A], [C, A]], [[GO + C, GO + B], [GO + C, GO + A]])
    assert right > wrong + 2


def test_rare_ngrams_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = made(300, seed=6)
    whole = JointNgrams.count(*pairs, ACTIONS)
    monkeypatch.setattr(joint_ngrams, "MAX_NGRAMS", 400)
    small = JointNgrams.count(*pairs, ACTIONS)
    assert len(small) <= 401 < len(whole)  # and the beginning
    for short, long in zip(small.keys, whole.keys, strict=True):
        assert np.isin(short, long).all()
    assert [len(one) for one in small.keys[:2]] == [len(one) for one in whole.keys[:2]]


def test_of_very_many_pairs_some_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    sources, outputs = made(300, seed=7)
    monkeypatch.setattr(joint_ngrams, "MAX_UNITS", sum(len(one) + 2 for one in outputs) // 2)
    some = JointNgrams.count(sources, outputs, ACTIONS)
    half = [list(one[::3]) for one in (sources, outputs)]
    other = [list(one[::2]) for one in (sources, outputs)]
    sizes = [len(JointNgrams.count(*one, ACTIONS)) for one in (half, other)]
    assert len(some) in sizes


def test_what_is_stored_is_read_again() -> None:
    ngrams = JointNgrams.count(*made(100, seed=8), ACTIONS)
    stored = json.loads(json.dumps(ngrams.to_json()))
    again = JointNgrams.from_json(stored, ACTIONS)
    asked = made(30, seed=9)
    assert again.scores(*asked).tolist() == ngrams.scores(*asked).tolist()
    assert len(again) == len(ngrams)


def test_an_empty_order_is_no_fault() -> None:
    ngrams = JointNgrams.count([[A]], [[GO + A]], ACTIONS)
    assert [len(one) for one in ngrams.keys] == [3, 2, 1, 0, 0, 0]
    again = JointNgrams.from_json(ngrams.to_json(), ACTIONS)
    assert again.scores([[A]], [[GO + A]]).tolist() == ngrams.scores([[A]], [[GO + A]]).tolist()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"more": 1}, "must have keys, chances, backoffs"),
        ({"keys": "AAAA"}, "of several orders"),
        ({"keys": [], "chances": [], "backoffs": []}, "of 0 orders, expected 1 to 6"),
        ({"keys": ["AAAAAA=="] * ORDER}, "of several sizes"),
        ({"keys": ["AAAA"] * ORDER}, "of at most"),
        ({"chances": [7] * ORDER}, "of at most"),
        ({"backoffs": ["no base64 !"] * ORDER}, "of at most"),
    ],
)
def test_strangers_tables_are_refused(change: dict[str, Any], what: str) -> None:
    stored = JointNgrams.count(*made(20, seed=1), ACTIONS).to_json()
    with pytest.raises(CheckpointError, match=what):
        JointNgrams.from_json({**stored, **change}, ACTIONS)
    with pytest.raises(CheckpointError, match="must have"):
        JointNgrams.from_json([], ACTIONS)


def test_keys_that_are_not_in_order_are_refused() -> None:
    ngrams = JointNgrams.count(*made(20, seed=1), ACTIONS)
    turned = JointNgrams(
        ACTIONS, tuple(one[::-1] for one in ngrams.keys), ngrams.chances, ngrams.backoffs
    )
    with pytest.raises(CheckpointError, match="not in order"):
        JointNgrams.from_json(turned.to_json(), ACTIONS)
