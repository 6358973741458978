"""Dynamic evaluation and sessions: no word sees itself, and what was read is learnt."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported_runs import words_run

import charseq
from charseq import errors
from charseq.data.text.tokenizer import build
from charseq.errors import MissingExtraError, UsageError
from charseq.evaluation.dynamic import AdaptiveNetwork, adapted_loss, session_loss
from charseq.evaluation.next_word import perplexity_of
from charseq.inference.language_model import LanguageModel

LINES = ["the cat sat on the mat", "a dog sat", "a cat can see the dog", "the man", "see the cat"]
TEXT = ["see the wolf", "the dog sat on the mat", "a man can see the cat", "the dog"] * 3


@pytest.fixture(scope="module", params=["no", "yes"], ids=["lines", "running"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LanguageModel:
    rules = {"limit": 100, "min_count": 1, "subword_size": 300, "seed": 1}
    units = build(LINES, kind="words", **rules)[0]
    place = tmp_path_factory.mktemp("runs") / "run"
    found = charseq.load(words_run(place, units, stateful=request.param, cell="lstm"))
    assert isinstance(found, LanguageModel)
    return found


def logs_of(model: LanguageModel, lines: list[str], **how: Any) -> list[float]:
    how = {"rate": 0.05, "segment": 4, "sampled": LINES, **how}
    return [one for part in AdaptiveNetwork(model, **how).score(lines) for one in part]


def test_without_steps_it_is_the_evaluation(model: LanguageModel) -> None:
    logs = logs_of(model, TEXT, rate=0.0, decay=0.0)
    wanted = perplexity_of(model, TEXT[:1] if model.carries_state else TEXT)
    if model.carries_state:  # there the evaluation reads the text in parts
        logs = logs_of(model, TEXT[:1], rate=0.0, decay=0.0)
    assert math.exp(-sum(logs) / len(logs)) == pytest.approx(wanted, rel=1e-4)


def test_later_words_change_no_earlier_probability(model: LanguageModel) -> None:
    logs = logs_of(model, TEXT)
    for line in range(1, len(TEXT)):
        other = logs_of(model, [*TEXT[:line], "sat sat sat", "a a a a"])
        known = sum(len(text.split()) + 1 for text in TEXT[:line])
        assert other[:known] == pytest.approx(logs[:known], abs=1e-6)


def test_probabilities_of_a_word_sum_to_one_whatever_was_learnt(model: LanguageModel) -> None:
    """A probability that depended on its own word would not."""
    known = [model.tokenizer.spelling(k) for k in range(4, len(model.tokenizer.vocabulary))]
    place = sum(len(text.split()) + 1 for text in TEXT[:5]) + 1
    assert place > 16, "there were steps before"
    total = 0.0
    for word in [*known, "\N{SNOWMAN}"]:
        logs = logs_of(model, [*TEXT[:5], f"the {word}"])
        total += math.exp(logs[place])
    ended = logs_of(model, [*TEXT[:5], "the"])
    assert total + math.exp(ended[place]) == pytest.approx(1, abs=1e-4)


def test_what_repeats_is_learnt_and_the_run_stays(model: LanguageModel) -> None:
    before = {name: value.copy() for name, value in model.network.named.items()}
    text = ["the man sat on the dog"] * 40
    logs = logs_of(model, text, rate=0.02)
    still = logs_of(model, text, rate=0.0, decay=0.0)
    assert sum(logs[-70:]) > sum(still[-70:]) + 10
    for name, value in model.network.named.items():
        np.testing.assert_array_equal(value, before[name])


def test_the_decay_leads_back(model: LanguageModel) -> None:
    network = AdaptiveNetwork(model, rate=0.0, decay=1e9, segment=4, sampled=LINES)
    for weight in network._weights:
        weight.data += 1.0
    list(network.score(TEXT[:2]))
    moved = [
        float((weight.detach() - trained).abs().max())
        for weight, trained, pull in zip(
            network._weights, network._trained, network._pull, strict=True
        )
        if float(pull.min()) == 1
    ]
    assert moved
    assert max(moved) < 1e-5


def test_the_model_itself_writes_the_lines_for_the_scale(model: LanguageModel) -> None:
    loss = adapted_loss(model, TEXT)
    assert math.isfinite(loss)
    assert loss == adapted_loss(model, TEXT), "the same every time"


def test_a_session_scores_each_line_before_it_learns_it(model: LanguageModel) -> None:
    first = session_loss(model, TEXT[:1])
    assert first == pytest.approx(-model.score(TEXT[:1])[0].score, rel=1e-5)
    repeated = ["see the wolf"] * 60
    plain = session_loss(model, repeated[:1]) * 60
    assert session_loss(model, repeated) < plain * 0.97
    # what comes later changes nothing before
    more = session_loss(model, [*TEXT, "a a a"]) - session_loss(model, TEXT)
    other = session_loss(model, [*TEXT, "the dog"]) - session_loss(model, TEXT)
    assert more != pytest.approx(other)


def test_only_words_are_learnt_by_a_session(tmp_path: Path) -> None:
    units = build(LINES, kind="characters", limit=99, min_count=1, subword_size=300, seed=1)[0]
    pieces = charseq.load(words_run(tmp_path / "run", units))
    assert isinstance(pieces, LanguageModel)
    with pytest.raises(UsageError, match="a session learns words"):
        session_loss(pieces, TEXT)
    assert math.isfinite(adapted_loss(pieces, ["the cat", "x" * 600]))


def test_gradients_need_torch(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match="dynamic evaluation") as caught:
        AdaptiveNetwork(model)
    assert "\n" not in str(caught.value)
