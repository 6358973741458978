"""The runner makes probabilities of scores as charseq does."""

from __future__ import annotations

import pytest
from exported_runs import measures
from hypothesis import given
from hypothesis import strategies as st

from charseq.confidence.calibration import Calibration as WholeCalibration
from charseq.confidence.confidence import Confidence as WholeConfidence
from charseq.confidence.memory import Memory as WholeMemory
from charseq.export.runtime.probabilities import (
    Answer,
    Calibration,
    Confidence,
    Memory,
    ScoredText,
    merge,
    rank,
)
from charseq.inference import prediction

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCORES = st.lists(st.floats(-20, -0.7), min_size=1, max_size=5).map(
    lambda found: sorted(found, reverse=True)
)
FACTS = measures()


@given(source=TEXT, scores=SCORES)
def test_familiarity_and_probabilities_are_those_of_the_run(
    source: str, scores: list[float]
) -> None:
    calibration = WholeCalibration.from_json(FACTS["calibration"])
    whole = WholeConfidence.from_json(FACTS["confidence"], calibration)
    assert whole is not None
    own = Confidence(FACTS["confidence"], Calibration(FACTS["calibration"]))
    (wanted,) = whole.sources([source])
    familiarity, penalty = own.measures(source)
    assert familiarity == pytest.approx(wanted.familiarity, abs=1e-12)
    assert penalty == pytest.approx(wanted.penalty, abs=1e-12)
    assert own.probabilities(penalty, scores) == pytest.approx(
        whole.probabilities(wanted.penalty, scores), abs=1e-12
    )


def test_the_memory_is_mixed_as_in_the_run() -> None:
    whole = WholeMemory.from_json(FACTS["memory"])
    assert whole is not None
    own = Memory(FACTS["memory"])
    model = [Answer("w", 0.6), Answer("other", 0.3), Answer("uvu", 0.1)]
    counts = own.find("abba\t")
    assert counts == whole.find("abba\t") == {"uvu": 3.0, "w": 1.0}
    assert own.find("unseen\t") == {}
    wanted = whole.mixed("abba\t", {one.text: one.probability for one in model})
    assert {one.text: one.probability for one in own.mixed(counts, model)} == pytest.approx(wanted)
    assert [one.text for one in own.mixed(counts, model)] == list(wanted)


BEGUN = st.one_of(st.none(), st.floats(-3, -0.1))
FOUND = st.lists(
    st.tuples(st.sampled_from("abcd"), st.floats(-9, -3.1), st.floats(1, 2), BEGUN), max_size=6
)


@given(found=FOUND, calibrated=st.booleans())
def test_answers_are_merged_and_ranked_as_in_the_run(
    found: list[tuple[str, float, float, float | None]], calibrated: bool
) -> None:
    chances = Calibration(FACTS["calibration"]).probabilities if calibrated else None
    answers, truncated = rank(merge([ScoredText(*one) for one in found]), chances)
    texts: dict[str, prediction.ScoredText] = {}
    for one in (prediction.ScoredText(*each) for each in found):
        texts[one.text] = texts[one.text].merged(one) if one.text in texts else one
    wanted = prediction.best_of(
        "", prediction.FoundTexts(list(texts.values())), [], 9, calibrated=chances, by_merit=True
    )
    assert [tuple(one) for one in answers] == [
        (one.prediction, pytest.approx(one.probability)) for one in wanted.candidates
    ]
    assert truncated == wanted.truncated
