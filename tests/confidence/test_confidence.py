"""Probabilities by the formula in plain arithmetic; a fit that holds for dev and for strangers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.confidence import confidence, strangers
from charseq.confidence.calibration import Calibration, Event, expected_calibration_error
from charseq.confidence.confidence import SHARE, Confidence, StrangerEvent, auroc, fit
from charseq.confidence.familiarity import FEATURES, Familiarity, Ngrams
from charseq.errors import CheckpointError

SYLLABLES = ("ka", "lo", "mi", "ru", "te", "na", "so")
CALIBRATION = Calibration(1.0, -2.0, 20.0, 1.0, 500)
SCORES = st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=6).map(
    lambda parts: sorted((math.log(part / (sum(parts) * 1.02)) for part in parts), reverse=True)
)


def words(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return ["".join(random.choice(SYLLABLES, random.integers(2, 5))) for _ in range(count)]


FAMILIARITY = Familiarity.of(Ngrams.count(words(2000, 1)), words(500, 2))
ONE = Confidence(CALIBRATION, FAMILIARITY, (0.8, -1.0, -0.5, -2.0, -1.0, 0.7), 300, 90.0, 2.0)


def dev(seed: int = 3, rows: int = 1000, accuracy: float = 0.9) -> list[Event]:
    """Rows with a sure answer that is right as often as ``accuracy``."""
    random = np.random.default_rng(seed)
    return [
        Event(word, [math.log(0.9), math.log(0.05)], 0 if random.random() < accuracy else None)
        for word in words(rows, seed)
    ]


def strange(*, sure: float = 0.9, right: int | None = None) -> list[StrangerEvent]:
    """Strangers, whose answers the network is as sure of."""
    scores = [math.log(sure), math.log(0.05)]
    made = strangers.make(words(2000, 1), seed=5)
    return [StrangerEvent(Event(one.text, scores, right), one.kind) for one in made]


# --- the formula


@given(SCORES, st.floats(-30, 0))
def test_the_formula(scores: list[float], penalty: float) -> None:
    shares = CALIBRATION.probabilities(scores)
    found = ONE.probabilities(penalty, scores)
    logit = 0.8 * math.log(shares[0] / (1 - shares[0])) + penalty + 0.7
    wanted = min(1 / (1 + math.exp(-logit)), shares[0] / math.fsum(shares))
    assert found[0] == pytest.approx(wanted, rel=1e-6)
    for one, share in zip(found, shares, strict=True):
        assert one == pytest.approx(share * found[0] / shares[0], rel=1e-9)


@given(SCORES, st.floats(-30, 0))
def test_probabilities_keep_their_order_and_sum_to_at_most_1(
    scores: list[float], penalty: float
) -> None:
    found = ONE.probabilities(penalty, scores)
    assert all(0 <= one <= 1 for one in found)
    assert found == sorted(found, reverse=True)
    assert math.fsum(found) <= 1 + 1e-12
    assert ONE.probabilities(penalty - 1, scores)[0] <= found[0]


def test_no_answer_has_no_probability() -> None:
    assert ONE.probabilities(-1.0, []) == []


def test_a_source_has_the_penalty_of_its_features() -> None:
    texts = ["kalomi", "xyz 99", "ka" * 30]
    features = FAMILIARITY.features(texts)
    for number, one in enumerate(ONE.sources(texts)):
        assert one.penalty == pytest.approx(float(features[number] @ ONE.weights[1:-1]))
        assert one == ONE.sources([texts[number]])[0]
    assert ONE.sources([]) == []


# --- the fit


def test_strangers_lose_their_probability_and_dev_keeps_its_own() -> None:
    events = dev()
    found = fit(CALIBRATION, FAMILIARITY, events, strange())
    assert found is not None
    assert found.sure_before == 100
    assert found.sure_after < 8
    known = found.sources([event.source for event in events])
    sure = [
        found.probabilities(one.penalty, event.scores)[0]
        for one, event in zip(known, events, strict=True)
    ]
    assert expected_calibration_error(sure, [event.right == 0 for event in events]) < 0.03
    assert found.calibration.ece_after < 5
    assert np.mean([one.familiarity for one in known]) > 0.8
    odd = found.sources([one.text for one in strangers.make(words(2000, 1), seed=6)])
    assert np.median([one.familiarity for one in odd]) < 0.2


def test_kinds_that_are_like_dev_are_left_out() -> None:
    events, own = dev(), words(200, 9)
    like = [StrangerEvent(Event(word, [math.log(0.9)], None), "like") for word in own]
    reports: list[str] = []
    assert fit(CALIBRATION, FAMILIARITY, events, like, reports.append) is None
    assert reports == ["no kind of strangers is unlike the sources of dev"]
    both = fit(CALIBRATION, FAMILIARITY, events, [*like, *strange()])
    alone = fit(CALIBRATION, FAMILIARITY, events, strange())
    assert both is not None
    assert alone is not None
    assert both.strangers == alone.strangers
    assert "cut" not in {one.kind for one in strange()[: both.strangers]}


def test_strangers_that_are_rightly_refused_stay_sure() -> None:
    """A model that was taught that some sources have no answer is right to give an empty one."""
    found = fit(CALIBRATION, FAMILIARITY, dev(accuracy=0.8), strange(sure=0.999, right=0))
    assert found is not None
    assert found.sure_before == found.sure_after == 0
    (odd,) = found.sources(["https://example.org"])
    assert found.probabilities(odd.penalty, [math.log(0.999)])[0] > 0.9


def test_a_confidence_that_does_not_help_changes_nothing_but_tells_what_is_familiar() -> None:
    """Strangers that the calibration gives next to nothing already."""
    reports: list[str] = []
    plain = replace(CALIBRATION, rest=0.0)  # 0.9 of dev's answers are right, and have 0.9
    odd = [replace(one, event=replace(one.event, scores=[-14.0, -14.0])) for one in strange()]
    found = fit(plain, FAMILIARITY, dev(), odd, reports.append)
    assert found is not None
    assert reports == ["held-out rows would be no likelier"]
    assert found.calibration == plain
    assert found.sure_before == found.sure_after == 0
    (known,) = found.sources(["https://example.org"])
    assert known.familiarity < 0.1
    scores = [math.log(0.7), math.log(0.2)]
    assert found.probabilities(known.penalty, scores) == pytest.approx(plain.probabilities(scores))


def test_strangers_have_their_share_of_the_weight_whatever_their_number() -> None:
    events = dev()
    once, twice = (fit(CALIBRATION, FAMILIARITY, events, strange() * n) for n in (1, 2))
    assert once is not None
    assert twice is not None
    assert once.weights == pytest.approx(twice.weights, rel=1e-3)
    rows = confidence._Rows.of(
        CALIBRATION, [*events, Event("odd", [-1.0], None)], np.zeros((1001, len(FEATURES))), 1000
    )
    assert rows.shares[-1] / rows.shares.sum() == pytest.approx(SHARE)


# --- the AUROC


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.lists(st.integers(0, 5), min_size=1))
def test_auroc_is_the_share_of_pairs(high: list[int], low: list[int]) -> None:
    pairs = [(a > b) + 0.5 * (a == b) for a in high for b in low]
    found = auroc(np.array(high, float), np.array(low, float))
    assert found == pytest.approx(sum(pairs) / len(pairs))


def test_auroc_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 and 1 values"):
        auroc(np.zeros(0), np.zeros(1))


# --- the stored form


def test_json_gives_an_equal_confidence() -> None:
    other = Confidence.from_json(json.loads(json.dumps(ONE.to_json())), CALIBRATION)
    assert other is not None
    assert other.to_json() == ONE.to_json()
    assert other.sources(["kalo", "??"]) == ONE.sources(["kalo", "??"])
    assert Confidence.from_json(None, None) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weights", [1.0]),
        ("strangers", 0),
        ("strangers", "many"),
        ("sure_before", -1),
        ("sure_after", math.inf),
        ("familiarity", None),
        ("more", 1),
    ],
)
def test_a_damaged_confidence_is_refused(key: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match="is damaged"):
        Confidence.from_json({**ONE.to_json(), key: value}, CALIBRATION)


def test_a_confidence_without_a_calibration_is_refused() -> None:
    with pytest.raises(CheckpointError, match="beside a calibration"):
        Confidence.from_json(ONE.to_json(), None)
