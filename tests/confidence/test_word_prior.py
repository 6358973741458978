"""The weights of a list of words: fitted on dev, refused where they help none or are no numbers."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from charseq.confidence.word_list import WordList
from charseq.confidence.word_prior import DEFAULT_WEIGHTS, FoundRow, WordPrior, fit
from charseq.errors import CheckpointError

WORDS = WordList.count([(f"word{number}", 1.0 + number) for number in range(400)])


def rows(count: int, *, listed: float, seed: int = 1) -> list[FoundRow]:
    """Rows with two candidates of about the same score, of which one is right and one is listed.

    ``listed``: the share of rows in which the listed one is right.
    """
    random, found = Random(seed), []
    for number in range(count):
        texts = [f"word{number}", f"wird{number}"]
        right = texts[random.random() >= listed]
        random.shuffle(texts)
        scores = [-0.9 - random.random() + 0.4 * (text == right) for text in texts]
        found.append(FoundRow(str(number), texts, scores, frozenset({texts.index(right)})))
    return found


def test_a_list_of_right_answers_is_fitted_and_lifts_them() -> None:
    prior = fit(WORDS, rows(300, listed=0.9))
    assert prior is not None
    assert prior.right_after > prior.right_before + 5
    assert min(prior.weights[0], prior.weights[2]) >= 0
    assert prior.rows == 300
    (listed, other), known = prior.gains(["word7", "wird7"])
    assert listed > other
    assert known.tolist() == [True, False]


def test_a_list_that_does_not_fit_is_left_out_with_the_reason() -> None:
    told: list[str] = []
    other = WordList.count([("quite", 1.0), ("different", 2.0)])
    assert fit(other, rows(300, listed=0.9), told.append) is None
    assert "of 300 rows of dev it would make right" in told[0]
    assert "without it" in told[0]


def test_few_rows_decide_nothing() -> None:
    told: list[str] = []
    assert fit(WORDS, rows(99, listed=1.0), told.append) is None
    same = [row._replace(source="one") for row in rows(200, listed=1.0)]
    assert fit(WORDS, same, told.append) is None
    assert told[0] == "dev has 99 answered rows of 99 sources, expected 100 rows of 20"
    assert "200 answered rows of 1 sources" in told[1]


def test_rows_without_a_right_candidate_make_what_was_not_found_likelier() -> None:
    good = rows(300, listed=0.9)
    bad = [
        row._replace(source=f"x{row.source}", texts=["aa", "bb"], right=frozenset()) for row in good
    ]
    some, many = fit(WORDS, good), fit(WORDS, [*good, *bad])
    assert some is not None
    assert many is not None
    unlisted = [float(prior.gains(["aa"])[0][0]) - prior.rest for prior in (some, many)]
    assert unlisted[1] < unlisted[0]


def test_what_is_stored_is_read_again() -> None:
    prior = fit(WORDS, rows(300, listed=0.9))
    assert prior is not None
    again = WordPrior.from_json(json.loads(json.dumps(prior.to_json())))
    assert again is not None
    assert again.to_json() == prior.to_json()
    assert again.gains(["word7"])[0] == prior.gains(["word7"])[0]
    assert WordPrior.from_json(None) is None


def test_a_file_for_a_run_without_a_list_says_that_its_weights_are_the_default_ones() -> None:
    prior = WordPrior(WORDS)
    assert prior.weights == DEFAULT_WEIGHTS
    assert prior.notes == []


@pytest.mark.parametrize(
    "change",
    [
        {"weights": [1.0] * 4},
        {"weights": [1.0, 1.0, 1.0, 1.0, 1e9]},
        {"weights": ["1"] * 5},
        {"weights": [True] * 5},
        {"rows": -1},
        {"rows": 1.5},
        {"right_after": 101},
        {"list": None},
        {"further": 1},
    ],
)
def test_a_strangers_prior_is_refused(change: dict[str, Any]) -> None:
    stored = WordPrior(WORDS).to_json()
    with pytest.raises(CheckpointError, match="word list"):
        WordPrior.from_json(stored | change)
