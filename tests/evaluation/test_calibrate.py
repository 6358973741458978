"""Which rows are answered to fit probabilities by, and what is told where there is no fit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from charseq.confidence.joint_ngrams import JointNgrams
from charseq.confidence.memory import Memory
from charseq.confidence.rescoring import Rescoring
from charseq.confidence.word_list import WordList
from charseq.data.pairs import Example
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import Vocabulary
from charseq.evaluation import calibrate as module
from charseq.evaluation.calibrate import calibrate
from charseq.inference.prediction import Candidate, Prediction

ROWS = [Example(f"w{number}", "x") for number in range(150)]


def ask(dev: list[Example], told: list[str]) -> dict[str, Any]:
    translator: Any = object()
    return calibrate(translator, ROWS, dev, beam=3, seed=1, limit=None, report=told.append)


def test_few_inputs_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "score_examples", None)
    told: list[str] = []
    assert ask(ROWS[:99] * 3, told) == {}
    assert told == ["calibrated no: dev has 99 inputs, expected 100"]


@pytest.mark.parametrize(("most", "step"), [(150, 1), (149, 2), (50, 3)])
def test_rows_come_from_all_over_dev(most: int, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def spy(_translator: Any, rows: Any, **options: Any) -> Any:
        asked.append((list(rows), options))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "score_examples", spy)
    monkeypatch.setattr(module, "MAX_ROWS", most)
    with pytest.raises(KeyboardInterrupt):
        ask(ROWS, [])
    assert asked == [(ROWS[::step], {"width": 3, "n": 3, "limit": None})]


# --- memory


class Halves:
    """A translator whose answer "x" is right for half of the words; it has seen some of them."""

    source = Vocabulary("characters", "NFC", "NFC", tuple("w0123456789"))
    target = Vocabulary("characters", "NFC", "NFC", tuple("xyz"))
    words: Any = None

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.judged: list[dict[str, Any]] = []

    def having(self, **parts: Any) -> Halves:
        self.judged.append(parts)
        return self

    def predict(self, texts: list[str], **_: Any) -> list[Prediction]:
        self.asked.append(list(texts))
        found = [Candidate("x", 0.3, math.log(0.3)), Candidate("y", 0.2, math.log(0.2))]
        return [Prediction(text, "x", 0.3, [], False, found) for text in texts]


def remembering(
    seen: int, new: int, *, target: str = "y", told: list[str] | None = None
) -> tuple[dict[str, Any], Halves]:
    """Rows of seen and of new words; of the new ones half are x, the others are y."""
    known = [Example(f"w{number}", "y") for number in range(seen)]
    dev = [replace(row, target=target) for row in known]
    dev += [Example(f"w{1000 + number}", "xy"[number // 2 % 2]) for number in range(new)]
    memory = Memory.count((f"{row.source}\t", row.target, 3.0) for row in known)
    translator = Halves()
    given: Any = translator
    made = calibrate(
        given, [*known, Example("w", "x")], dev,
        memory=memory, beam=2, seed=1, limit=None, report=([] if told is None else told).append,
    )  # fmt: skip
    return made, translator


def test_the_model_is_calibrated_by_what_was_not_seen_and_the_memory_by_what_was() -> None:
    told: list[str] = []
    made, translator = remembering(150, 120, told=told)
    assert made["calibration"]["examples"] == 120
    assert set(translator.asked[0]) == {f"w{1000 + n}" for n in range(120)}
    assert set(translator.asked[-1]) == {f"w{number}" for number in range(150)}
    assert made["memory"]["rows"] == 150
    assert (made["memory"]["right_before"], made["memory"]["right_after"]) == (0, 100)
    (judged,) = translator.judged
    assert judged["calibration"].to_json() == made["calibration"]
    assert not any("memory" in line for line in told)


def test_with_few_new_rows_the_model_is_calibrated_by_all() -> None:
    made, translator = remembering(150, 99)
    assert len(translator.asked[0]) == 249
    assert made["memory"]["rows"] == 150


@pytest.mark.parametrize(("seen", "target"), [(150, "x"), (99, "y")])
def test_without_gain_there_is_no_memory_and_all_of_dev_calibrates(seen: int, target: str) -> None:
    """Where dev has other targets than training had, the memory is wrong."""
    told: list[str] = []
    made, translator = remembering(seen, 120, target=target, told=told)
    assert "memory" not in made
    assert [line for line in told if line.startswith("memory     no: ")]
    assert len(translator.asked[-2]) == seen + 120 or len(translator.asked[-1]) == seen + 120


# --- a list of words


class Doubtful(Halves):
    """A translator whose answer is always "x"; where "y" is right it is nearly as likely."""

    def having(self, **parts: Any) -> Halves:
        self.words = parts.get("words")
        return super().having(**parts)

    def predict(self, texts: list[str], **_: Any) -> list[Prediction]:
        self.asked.append(list(texts))
        found = []
        for text in texts:
            first, second = (0.7, 0.1) if text.endswith("0") else (0.45, 0.4)
            pairs = (("x", first), ("y", second))
            candidates = [Candidate(one, share, math.log(share)) for one, share in pairs]
            found.append(Prediction(text, "x", first, [], False, candidates))
        return found


def listing(word: str, told: list[str]) -> tuple[dict[str, Any], Doubtful]:
    """Nine of ten rows have the second candidate as the right answer; the list has one word."""
    dev = [Example(f"w{number}", "x" if number % 10 == 0 else "y") for number in range(150)]
    translator = Doubtful()
    given: Any = translator
    made = calibrate(
        given, [Example("w", "x")], dev,
        words=WordList.count([(word, 1.0)]), beam=2, seed=1, limit=None, report=told.append,
    )  # fmt: skip
    return made, translator


def test_a_list_is_weighed_before_probabilities_are_calibrated_with_it() -> None:
    made, translator = listing("y", [])
    assert made["words"]["rows"] == 150
    assert made["words"]["right_before"] == pytest.approx(10)
    assert made["words"]["right_after"] == pytest.approx(90)
    assert translator.judged[0]["words"].to_json() == made["words"]
    assert "calibration" in made


def test_a_list_that_gains_nothing_is_told_and_not_stored() -> None:
    told: list[str] = []
    made, _ = listing("q", told)
    assert "words" not in made
    (line,) = [line for line in told if line.startswith("words")]
    assert line.startswith("words      no: ")


def test_a_list_with_a_small_dev_is_told_to_be_unused() -> None:
    told: list[str] = []
    translator: Any = object()
    made = calibrate(
        translator, ROWS, ROWS[:9],
        words=WordList.count([("x", 1.0)]), beam=3, seed=1, limit=None, report=told.append,
    )  # fmt: skip
    assert made == {}
    assert [line.split()[0] for line in told] == ["calibrated", "words"]


# --- joint n-grams

NGRAMS: Any = {False: JointNgrams.count([[9]], [[9]], Actions(8))}


class Hesitant(Doubtful):
    """A translator whose answer "y" comes first only with n-grams, by their weight."""

    weight = 0.0

    def rescored(self, rescoring: Rescoring) -> Hesitant:
        other = Hesitant()
        other.asked, other.judged = self.asked, self.judged
        other.weight = rescoring.weight
        return other

    def predict(self, texts: list[str], **options: Any) -> list[Prediction]:
        found = []
        for one in super().predict(texts, **options):
            scores = {each.prediction: each.score for each in one.candidates}
            if one.source.endswith("0"):
                scores["x"] += 2 * self.weight
            else:
                scores["y"] += 2 * self.weight
            total = math.log(sum(map(math.exp, scores.values())) / 0.9)
            candidates = sorted(
                (Candidate(text, math.exp(score - total), score - total)
                 for text, score in scores.items()),
                key=lambda each: -each.score,
            )  # fmt: skip
            best = candidates[0]
            found.append(
                replace(one, prediction=best.prediction, probability=best.probability,
                        candidates=candidates)
            )  # fmt: skip
        return found


def weighing(target: str) -> tuple[dict[str, Any], list[str]]:
    told: list[str] = []
    dev = [Example(f"w{number}", "x" if number % 10 == 0 else target) for number in range(150)]
    given: Any = Hesitant()
    made = calibrate(
        given, [Example("w", "x")], dev,
        ngrams=NGRAMS, beam=2, seed=1, limit=None, report=told.append,
    )  # fmt: skip
    return made, told


def test_ngrams_are_weighed_before_probabilities_are_calibrated_with_them() -> None:
    made, _ = weighing("y")
    assert made["ngrams"]["rows"] == 150
    assert made["ngrams"]["right_before"] == pytest.approx(10)
    assert made["ngrams"]["right_after"] == pytest.approx(100)
    assert made["ngrams"]["weight"] > 0
    # with the answers of the n-grams, which are right
    assert made["calibration"]["ece_before"] < 50


def test_ngrams_that_gain_nothing_are_told_and_not_stored() -> None:
    made, told = weighing("x")
    assert "ngrams" not in made
    (line,) = [line for line in told if line.startswith("ngrams")]
    assert line.startswith("ngrams     no: of 150 rows of dev they would make right")
