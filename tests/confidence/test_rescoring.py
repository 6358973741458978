"""Joint n-grams and the scores of a network: their weight by dev, and what the sums are."""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

import pytest

from charseq.confidence.joint_ngrams import JointNgrams
from charseq.confidence.rescoring import EXPECTED, Rescoring, WeighedRow, fit
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import SPECIALS
from charseq.errors import CheckpointError

ACTIONS = Actions(SPECIALS + 2)
A, B = SPECIALS, SPECIALS + 1
GO = ACTIONS.symbols
NGRAMS = JointNgrams.count([[A, A], [B, A]] * 9, [[GO + A, GO + A], [GO + B, GO + B]] * 9, ACTIONS)
"""A is written as A, but as B behind a B."""


def rows(count: int, *, tells: float, seed: int = 1) -> list[WeighedRow]:
    """Rows of two candidates of random scores; the right one gains ``tells`` more by the n-grams,
    give or take one, and half a nat by the network."""
    random, found = Random(seed), []
    for number in range(count):
        right = random.randrange(2)
        scores = [random.gauss(-1, 1) + 0.5 * (one == right) for one in range(2)]
        joint = [random.gauss(-20, 1) + tells * (one == right) for one in range(2)]
        found.append(WeighedRow(str(number), scores, joint, frozenset({right})))
    return found


def test_the_scores_of_a_source_share_what_they_had_by_what_the_ngrams_say() -> None:
    found = Rescoring({False: NGRAMS}, weight=0.5)
    outputs = [((GO + B, GO + A), math.log(0.6)), ((GO + B, GO + B), math.log(0.3))]
    joint = NGRAMS.scores([[B, A]] * 2, [ids for ids, _ in outputs])
    ((first, second),) = found.scores([[B, A]], [outputs], backward=False)
    assert math.exp(first) + math.exp(second) == pytest.approx(0.9)
    assert second > first, "the n-grams know better"
    assert second - first == pytest.approx(math.log(0.5) + 0.5 * float(joint[1] - joint[0]))


def test_without_weight_or_another_output_nothing_changes() -> None:
    outputs = [((GO + B, GO + A), -0.5), ((GO + B, GO + B), -1.2)]
    ((first, second),) = Rescoring({True: NGRAMS}, weight=0.0).scores(
        [[B, A]], [outputs], backward=True
    )
    assert (first, second) == pytest.approx((-0.5, -1.2))
    whole = Rescoring({True: NGRAMS}, weight=3.0)
    assert whole.scores([[B, A], [A]], [outputs[:1], []], backward=True) == [[-0.5], []]


def test_a_source_does_not_change_the_scores_of_others() -> None:
    found = Rescoring({False: NGRAMS}, weight=0.7)
    sources = [[A, A], [B, A], [A]]
    outputs = [
        [((GO + A, GO + A), -0.1), ((GO + A, GO + B), -2.5)],
        [((GO + B, GO + A), -0.4), ((GO + B, GO + B), -1.5), ((GO + A, GO + B), -5.0)],
        [((GO + A,), -0.01)],
    ]
    together = found.scores(sources, outputs, backward=False)
    alone = [found.scores([one], [two], backward=False)[0]
             for one, two in zip(sources, outputs, strict=True)]  # fmt: skip
    assert together == alone


def test_ngrams_that_tell_right_from_wrong_are_weighed() -> None:
    found = fit({False: NGRAMS}, rows(400, tells=2.0))
    assert found is not None
    assert found.right_after > found.right_before + 5
    assert found.rows == 400
    weak = fit({False: NGRAMS}, rows(400, tells=0.7))
    assert weak is not None
    assert weak.weight < found.weight


def test_ngrams_that_say_nothing_are_left_out_with_the_reason() -> None:
    told: list[str] = []
    assert fit({False: NGRAMS}, rows(400, tells=-0.5), told.append) is None
    assert "of 400 rows of dev they would make right" in told[0]
    assert fit({False: NGRAMS}, rows(49, tells=3.0), told.append) is None
    assert told[1] == "dev has 49 answered rows, expected 50"


def test_each_half_is_judged_by_the_weight_of_the_other() -> None:
    """In one half of the sources the n-grams are right, in the other they are always wrong."""
    mixed = [
        row if number % 2 else row._replace(joint=[-one for one in row.joint])
        for number, row in enumerate(rows(300, tells=4.0))
    ]
    assert fit({False: NGRAMS}, mixed) is None


def test_rows_without_a_right_candidate_decide_nothing() -> None:
    empty = [row._replace(right=frozenset()) for row in rows(100, tells=2.0)]
    told: list[str] = []
    assert fit({False: NGRAMS}, empty, told.append) is None
    with_them = fit({False: NGRAMS}, [*rows(200, tells=2.0), *empty])
    without = fit({False: NGRAMS}, rows(200, tells=2.0))
    assert with_them is not None
    assert without is not None
    assert with_them.weight == without.weight


def test_few_rows_do_not_move_the_weight_far() -> None:
    few, many = (fit({False: NGRAMS}, rows(count, tells=6.0)) for count in (60, 3000))
    assert few is not None
    assert many is not None
    assert EXPECTED < few.weight < many.weight


def test_what_is_stored_is_read_again() -> None:
    found = Rescoring({True: NGRAMS, False: NGRAMS}, 0.35, 200, 70.0, 75.5)
    again = Rescoring.from_json(json.loads(json.dumps(found.to_json())), ACTIONS)
    assert again is not None
    assert (again.weight, again.rows, again.right_before, again.right_after) == (
        0.35,
        200,
        70,
        75.5,
    )
    asked: Any = ([[A, A]], [[((GO + A, GO + A), -1.0), ((GO + A, GO + B), -1.0)]])
    assert again.scores(*asked, backward=True) == found.scores(*asked, backward=True)
    assert Rescoring.from_json(None, ACTIONS) is None


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1}, {"rows": -1}, {"rows": 1.5}, {"weight": -0.1}, {"weight": 11},
        {"weight": "0.3"}, {"weight": math.nan}, {"right_after": 101}, {"right_before": None},
        {"forward": 7}, {"backward": {}},
    ],
)  # fmt: skip
def test_strangers_ngrams_are_refused(change: dict[str, Any]) -> None:
    stored = Rescoring({False: NGRAMS}, 0.3, 100, 50.0, 60.0).to_json()
    with pytest.raises(CheckpointError, match="joint n-grams"):
        Rescoring.from_json({**stored, **change}, ACTIONS)
    with pytest.raises(CheckpointError, match="joint n-grams"):
        Rescoring.from_json([], ACTIONS)
