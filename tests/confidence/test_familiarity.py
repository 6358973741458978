"""Surprise against the formula in plain arithmetic; what a text's numbers may depend on."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.confidence.familiarity import (
    BACKOFF,
    END,
    FEATURES,
    MAX_NGRAMS,
    START,
    UNIGRAM_BACKOFF,
    UNSEEN,
    Familiarity,
    Ngrams,
)
from charseq.errors import CheckpointError

WORDS = ["banana", "bandana", "cabana", "nab", "ban", "can", "cab", "a"] * 4
TEXTS = st.lists(st.text(max_size=12), min_size=1, max_size=8)


def by_hand(words: list[str], text: str) -> list[float]:
    """-log p3 of each symbol of the text and of its end, with dictionaries."""
    count: Counter[str] = Counter()
    for word in words:
        whole = START + START + word + END
        count.update(whole[1:])
        count.update(whole[i : i + 2] for i in range(len(whole) - 1))
        count.update(whole[i : i + 3] for i in range(len(whole) - 2))
    symbols = sum(len(word) + 1 for word in words)
    whole, nats = START + START + text + END, []
    for i in range(2, len(whole)):
        one, two, three = whole[i], whole[i - 1 : i + 1], whole[i - 2 : i + 1]
        p1 = (count[one] + UNIGRAM_BACKOFF * UNSEEN) / (symbols + UNIGRAM_BACKOFF)
        p2 = (count[two] + BACKOFF * p1) / (count[two[0]] + BACKOFF)
        p3 = (count[three] + BACKOFF * p2) / (count[three[:2]] + BACKOFF)
        nats.append(-math.log(p3))
    return nats


@pytest.mark.parametrize("text", ["banana", "nanaba", "xyz", "", "b", "banana banana", "ünï𝔘"])
def test_surprise_is_that_of_the_interpolated_trigrams(text: str) -> None:
    nats = by_hand(WORDS, text)
    found = Ngrams.count(WORDS).surprise([text])
    # counts are rounded by up to 3.5 %
    assert found.mean[0] == pytest.approx(sum(nats) / len(nats), abs=0.1)
    padded = [0.0, 0.0, *nats]
    windows = [sum(padded[i : i + 3]) / 3 for i in range(len(nats))]
    assert found.strangest[0] == pytest.approx(max(windows), abs=0.1)
    assert found.length[0] == len(text)


@given(TEXTS)
def test_a_text_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    ngrams = Ngrams.count(WORDS)
    together = ngrams.surprise(texts)
    alone = [ngrams.surprise([text]) for text in texts]
    assert together.mean.tolist() == [one.mean[0] for one in alone]
    assert together.strangest.tolist() == [one.strangest[0] for one in alone]


def test_rare_ngrams_are_left_out_of_too_many() -> None:
    random = np.random.default_rng(1)
    odd = ["".join(map(chr, random.integers(0x4E00, 0x9000, 8))) for _ in range(3000)]
    ngrams = Ngrams.count([*odd, *["frequent"] * 50])
    assert len(ngrams.keys) == len(ngrams.codes) == MAX_NGRAMS
    assert ngrams.surprise(["frequent"]).mean[0] < 1 < ngrams.surprise(["tneuqerf"]).mean[0]


def familiarity() -> Familiarity:
    return Familiarity.of(Ngrams.count(WORDS), WORDS)


def test_features_are_zero_for_the_ordinary_and_never_negative() -> None:
    features = familiarity().features(["banana", "zzzz", "banana" * 9, ""])
    assert features.shape == (4, len(FEATURES))
    assert (features >= 0).all()
    assert features[0] == pytest.approx([0, 0, 0, 0], abs=0.3)
    assert features[1][:2].min() > 5
    assert features[2][2] == pytest.approx(math.log(54 / 7))
    assert familiarity().features([]).shape == (0, len(FEATURES))


def test_json_gives_an_equal_familiarity() -> None:
    one = familiarity()
    other = Familiarity.from_json(json.loads(json.dumps(one.to_json())))
    texts = ["banana", "quark", "", "ba" * 40]
    assert (one.features(texts) == other.features(texts)).all()
    assert other.to_json() == one.to_json()


def test_a_run_grows_by_less_than_200_kilobytes() -> None:
    random = np.random.default_rng(2)
    odd = ["".join(map(chr, random.integers(0x4E00, 0x9000, 8))) for _ in range(9000)]
    one = Familiarity.of(Ngrams.count(odd), odd[:500])
    assert len(json.dumps(one.to_json())) < 200_000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("surprise", "2"),
        ("strangest", math.nan),
        ("longest", 0),
        ("shortest", 1.5),
        ("symbols", True),
        ("weights", [0.0]),
        ("weights", [1e9] * 5),
        ("keys", "!!"),
        ("keys", "AAAA"),
        ("counts", ""),
        ("counts", None),
    ],
)
def test_a_damaged_familiarity_is_refused(key: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match="is damaged"):
        Familiarity.from_json({**familiarity().to_json(), key: value})


def test_keys_out_of_order_or_too_large_are_refused() -> None:
    whole = familiarity().to_json()
    one = Ngrams(np.array([5, 4], "<u4"), np.array([1, 1], np.uint8), 3)
    other = Ngrams(np.array([4, 2**22], "<u4"), np.array([1, 1], np.uint8), 3)
    for ngrams in (one, other):
        made = Familiarity(ngrams, 1.0, 1.0, 5, 1).to_json()
        with pytest.raises(CheckpointError, match="keys"):
            Familiarity.from_json({**whole, "keys": made["keys"], "counts": made["counts"]})
    for wrong in (None, [], {**whole, "more": 1}):
        with pytest.raises(CheckpointError, match="must have"):
            Familiarity.from_json(wrong)
