"""Outputs and a list of words: the sums stay within 1, and what was cut gains nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.confidence.word_list import WordList
from charseq.confidence.word_prior import WordPrior
from charseq.inference import reranking
from charseq.inference.prediction import FoundTexts, Prediction, ScoredText
from charseq.inference.reranking import marked, reranked

PRIOR = WordPrior(WordList.count([("one", 5.0), ("two", 1.0)]), (0.3, -2.0, 0.01, -0.1, -1.0))


def outputs(*texts: tuple[str, float], removed: float = 0.0) -> FoundTexts:
    return FoundTexts([ScoredText(text, math.log(share)) for text, share in texts], removed)


@given(
    st.lists(st.floats(1e-12, 0.3), min_size=1, max_size=3),
    st.floats(0.0, 0.1),
)
def test_outputs_and_what_a_rule_removes_sum_to_at_most_one(
    shares: list[float], removed: float
) -> None:
    texts = zip(("one", "twe", "two"), shares, strict=False)
    ((found, _),) = reranked([outputs(*texts, removed=removed)], PRIOR)
    total = math.fsum([*(math.exp(one.score) for one in found.texts), found.removed])
    assert 0 < total <= 1 + 1e-9


def test_an_output_that_was_cut_counts_as_what_was_not_found() -> None:
    cut = ScoredText("one", -4.0, 1.0, math.log(0.5))
    ((found, lifted),) = reranked([FoundTexts([cut, *outputs(("two", 0.25)).texts])], PRIOR)
    first, second = found.texts
    assert first.beginning is not None
    gain = float(PRIOR.gains(["two"])[0][0])
    assert second.score - first.beginning == pytest.approx(math.log(0.5) + gain - PRIOR.rest)
    assert first.score - first.beginning == pytest.approx(-4.0 - math.log(0.5))
    assert lifted == {"two": 1}


def test_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [outputs(("one", 0.1 * k), ("twe", 0.05)) for k in range(1, 6)]
    whole = list(reranked(many, PRIOR))
    monkeypatch.setattr(reranking, "PORTION", 2)
    assert list(reranked(many, PRIOR)) == whole


def test_an_answer_without_listed_candidates_stays_as_it_is() -> None:
    answer = Prediction("a", "", 0.0, [], truncated=False, candidates=[])
    assert marked(answer, {}) is answer
