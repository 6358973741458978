"""Scores of lines against counting by hand, and against a keyboard played letter by letter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charseq.config import configure
from charseq.data.text.tokenizer import Tokenizer, build
from charseq.data.text.vocabulary import BOS, EOS, UNK, Vocabulary
from charseq.decoding.next_word_numpy import NumpyNextWord, shapes_of
from charseq.errors import DataError
from charseq.evaluation import metrics, next_word
from charseq.evaluation.next_word import NextWordScores, measure, perplexity_of
from charseq.inference import language_model
from charseq.inference.language_model import LanguageModel

LINES = [
    "the cat sat on the mat", "the dog sat", "a cat can see the dog", "the man, the mat", "a dog!",
    "can a man sit on a mat?", "see the cat", "the cathedral and the mantle", "don't sit there.",
    "", "the zebra sat",
]  # fmt: skip
KINDS = ("words", "subwords", "bpe", "characters")
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def short_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random network may never end a word; these have up to ten letters."""
    monkeypatch.setattr(language_model, "LONGEST_WORD", 11)


def units_of(kind: str, lines: Sequence[str] = LINES[:-1], **options: Any) -> Tokenizer:
    return build(lines, kind=kind, limit=1000, min_count=1, subword_size=320, seed=1, **options)[0]


def model_of(
    units: Tokenizer, *, scale: float = 1.0, running: bool = False, beam: int = 4
) -> LanguageModel:
    """A network of random weights; with the scale 0 all outcomes are as likely."""
    size = len(units.vocabulary)
    shapes = shapes_of(
        cell="gru", embedding=8, hidden=12, layers=1, context=1, tied=False, symbols=size
    )
    random = np.random.default_rng(5)
    weights = {
        name: random.normal(0, scale, shape).astype(np.float32) for name, shape in shapes.items()
    }
    begin = EOS if running else BOS
    network = NumpyNextWord(weights, cell="gru", layers=1, context=1, begin=begin)
    config = configure({"beam": beam, "running": running})
    return LanguageModel(Path("toy"), {}, config, units, network)


# --- perplexity


@pytest.mark.parametrize("running", [False, True])
def test_where_all_is_as_likely_the_perplexity_is_the_number_of_outcomes(running: bool) -> None:
    """All words, the unknown one and the end of a line."""
    units = units_of("words")
    found = measure(model_of(units, scale=0.0, running=running), LINES)
    assert found.perplexity == pytest.approx(len(units.vocabulary) - 2, rel=1e-6)
    characters = sum(len(line) + 1 for line in LINES)
    bits = found.words * math.log2(len(units.vocabulary) - 2) / characters
    assert found.bits_per_character == pytest.approx(bits, rel=1e-6)
    assert found.words == sum(len(line.split()) + 1 for line in LINES)


@each_kind
def test_perplexity_is_of_the_lines_and_per_word(kind: str) -> None:
    model = model_of(units_of(kind))
    loss = -math.fsum(one.score for one in model.score(LINES))
    words = sum(len(line.split()) + 1 for line in LINES)
    characters = sum(len(line) + 1 for line in LINES)
    found = measure(model, LINES)
    assert found.words == words
    assert found.perplexity == pytest.approx(math.exp(loss / words), rel=1e-5)
    assert found.bits_per_character == pytest.approx(loss / math.log(2) / characters, rel=1e-5)
    assert perplexity_of(model, LINES) == found.perplexity


def test_white_space_counts_as_it_is_read() -> None:
    model = model_of(units_of("words"))
    assert measure(model, ["  the   cat\t"]) == measure(model, ["the cat"])


def test_words_are_those_of_the_units() -> None:
    units = units_of("words", LINES, punctuation="split")
    found = measure(model_of(units), ["the man, the mat", "a dog!"])
    assert found.words == 5 + 3 + 2


def test_running_text_is_read_on_in_parts_of_whole_lines() -> None:
    units = units_of("words")
    lines = [line for line in LINES if line] * 5
    model = model_of(units, running=True)
    size = -(-len(lines) // 16)
    loss = 0.0
    for first in range(0, len(lines), size):
        stream = [k for line in lines[first : first + size] for k in (*units.encode(line), EOS)]
        for _, positions, labels, logs in model.network.scan([stream[:-1]]):
            assert labels.tolist() == [stream[k] for k in positions]
            loss -= logs[np.arange(len(labels)), labels].sum()
    found = measure(model, lines)
    assert found.perplexity == pytest.approx(math.exp(loss / found.words), rel=1e-5)
    apart = model_of(units)
    assert measure(apart, lines).perplexity != pytest.approx(found.perplexity, rel=1e-3)


@pytest.mark.parametrize("kind", ["words", "bpe"])
def test_many_lines_are_read_in_parts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(units_of(kind))
    expected = metrics.measure_all("next-word", measure(model, LINES))
    monkeypatch.setattr(next_word, "LINES_AT_ONCE", 4)
    assert metrics.measure_all("next-word", measure(model, LINES)) == pytest.approx(expected)


def test_a_hopeless_model_has_a_finite_perplexity() -> None:
    model = model_of(units_of("words"))
    model.network.output[1][EOS] -= 1e9
    assert 1e300 < measure(model, LINES).perplexity < math.inf


def test_without_lines_there_is_nothing_to_score() -> None:
    for score in (measure, perplexity_of):
        with pytest.raises(DataError, match="no lines"):
            score(model_of(units_of("words")), [])


@each_kind
def test_lines_without_words_have_no_hits(kind: str) -> None:
    found = measure(model_of(units_of(kind)), ["", " "])
    assert (found.words, found.hit_at(5), found.keystrokes_saved, found.oov) == (2, 0, 0, 0)


# --- unknown words


@pytest.mark.parametrize(("kind", "expected"), [("words", 2), ("characters", 2), ("bpe", 0)])
def test_words_with_something_unknown_are_counted(kind: str, expected: int) -> None:
    model = model_of(units_of(kind))
    found = measure(model, ["the zebra sat", "a QQ", "the end"[:3]])
    assert found.oov == pytest.approx(100 * expected / 6)


# --- suggestions


RANKED = ("the", "a", "an", "cat", "cow", "dog", "mouse", "moth", "mole", "mop", "so")


def test_strokes_by_hand() -> None:
    """The words are as likely everywhere, in this order; three are shown."""
    units = Tokenizer(Vocabulary("spaced", "NFC", "NFC", RANKED))
    model = model_of(units, scale=0.0)
    model.network.output[1][4:, 0] = -np.arange(len(RANKED))
    model.network.output[1][[EOS, UNK]] = 5.0
    strokes = {
        "the": 1, "an": 1,  # shown at once
        "cat": 2, "dog": 2,  # shown after the first letter
        "mole": 2,  # after m there are mouse and moth, and mole is the third
        "mop": 4,  # three are shown before it, after m and after mo
        "so": 2,
        "zebra": 6, "m": 2,  # unknown
    }  # fmt: skip
    for word, count in strokes.items():
        saved = 100 * (1 - count / (len(word) + 1))
        assert measure(model, [word]).keystrokes_saved == pytest.approx(saved)
    found = measure(model, [" ".join(strokes)])
    by_hand = sum(len(word) + 1 for word in strokes)
    assert found.keystrokes_saved == pytest.approx(100 * (1 - sum(strokes.values()) / by_hand))
    assert found.hit_at(1) == pytest.approx(100 * 1 / 9)
    assert found.hit_at(3) == pytest.approx(100 * 2 / 9)
    assert found.hit_at(5) == pytest.approx(100 * 3 / 9)
    assert found.oov == pytest.approx(100 * 2 / 9)


def play(model: LanguageModel, lines: Sequence[str]) -> dict[str, float]:
    """The same, with a keyboard that asks the model before every letter."""
    hits = {1: 0, 3: 0, 5: 0}
    strokes = by_hand = words = 0
    for line in lines:
        parts = model.tokenizer.words(line)
        for place, word in enumerate(parts):
            before = " ".join(parts[:place])
            shown = [one.prediction for one in model.predict([before], n=5)[0].candidates]
            for k in hits:
                hits[k] += word in shown[:k]
            for typed in range(len(word)):
                if typed:
                    (found,) = model.complete([f"{before} {word[:typed]}"], n=3)
                    shown = [one.prediction for one in found.candidates]
                if word in shown[:3]:
                    strokes += typed + 1
                    break
            else:
                strokes += len(word) + 1
            words += 1
            by_hand += len(word) + 1
    found = {f"hit_at_{k}": 100 * count / words for k, count in hits.items()}
    return found | {"keystrokes_saved": 100 * (1 - strokes / by_hand)}


def suggested(found: NextWordScores) -> dict[str, float]:
    names = ("hit_at_1", "hit_at_3", "hit_at_5", "keystrokes_saved")
    scores = metrics.measure_all("next-word", found)
    return {name: scores[name] for name in names}


@each_kind
@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0])
def test_the_keyboard_shows_what_the_model_suggests(kind: str, scale: float) -> None:
    """Also where many are as likely, so that the first of them are shown."""
    model = model_of(units_of(kind), scale=scale)
    lines = LINES if kind == "words" else LINES[2:5] + LINES[-1:]
    found = measure(model, lines)
    assert suggested(found) == pytest.approx(play(model, lines))
    words = sum(len(line.split()) for line in lines)
    assert found.sampled == (None if kind == "words" else words)


def test_the_keyboard_follows_the_rules_of_the_units() -> None:
    lines = ["The cat, the Cat!", "THE DOG (the cat)", "a cat; A dog"]
    model = model_of(units_of("words", lines, case="lower", punctuation="split"))
    assert suggested(measure(model, lines)) == pytest.approx(play(model, lines))


def test_where_words_are_searched_for_some_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(units_of("characters"))
    monkeypatch.setattr(next_word, "MAX_SAMPLED", 7)
    places = [(line, k) for line in LINES for k in range(len(line.split()))]
    asked: list[str] = []
    predict = model.predict

    def noted(texts: Sequence[str], **options: Any) -> Any:
        asked.extend(texts)
        return predict(texts, **options)

    model.predict = noted  # type: ignore[method-assign]
    assert measure(model, LINES).sampled == 7
    spread = [round(k * (len(places) - 1) / 6) for k in range(7)]
    expected = [" ".join(line.split()[:k]) for line, k in (places[k] for k in spread)]
    assert asked == expected
