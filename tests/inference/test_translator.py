"""Texts in, predictions out: each computed once, in order, with the truth about what is odd."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.confidence.calibration import Calibration
from charseq.confidence.joint_ngrams import JointNgrams
from charseq.confidence.memory import Memory, key_of
from charseq.confidence.rescoring import Rescoring
from charseq.confidence.word_list import WordList
from charseq.confidence.word_prior import WordPrior
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import BOS, EOS, SPECIALS, Vocabulary
from charseq.decoding import rules
from charseq.decoding.ensemble import DirectionGroup
from charseq.decoding.rules import TargetRule
from charseq.decoding.search import LengthLimits
from charseq.errors import SettingError
from charseq.inference import translator as translator_module
from charseq.inference.prediction import FoundTexts, ScoredText
from charseq.inference.predictor import Prediction, load
from charseq.inference.translator import Translator, marked, reranked

SOURCE = Vocabulary("characters", "NFC", "NFC", tuple("abcdefgh"))
TARGET = Vocabulary("characters", "NFC", "NFC", tuple("xyz"))
TAGGED = Vocabulary("characters", "NFC", "NFC", tuple("abcdefgh"), features=("V", "N"))

Rows = list[tuple[tuple[int, ...], tuple[int, ...]]]


class Scripted:
    """A network that gives whole outputs the probabilities of a table; others have none.

    A state is a list of rows: the source's ids and what was written so far.
    """

    actions: Actions | None = None

    def __init__(self, outputs: dict[str, float], target: Vocabulary = TARGET) -> None:
        self.size = len(target)
        self.outputs = {(*target.encode(text), EOS): p for text, p in outputs.items()}
        self.started: list[list[tuple[int, ...]]] = []

    def start(self, sources: Sequence[Sequence[int]]) -> Rows:
        self.started.append([tuple(ids) for ids in sources])
        return [(tuple(ids), ()) for ids in sources]

    def step(self, symbols: np.ndarray, state: Rows) -> tuple[np.ndarray, Rows]:
        after = [
            (source, written if symbol == BOS else (*written, int(symbol)))
            for symbol, (source, written) in zip(symbols, state, strict=True)
        ]
        with np.errstate(divide="ignore"):
            return np.log(np.array([self.following(written) for _, written in after])), after

    def following(self, written: tuple[int, ...]) -> np.ndarray:
        found = np.zeros(self.size)
        for ids, probability in self.outputs.items():
            if ids[: len(written)] == written and len(ids) > len(written):
                found[ids[len(written)]] += probability
        return found / (found.sum() or 1.0)

    def select(self, state: Rows, rows: np.ndarray, _width: int) -> Rows:
        return [state[row] for row in rows]


def scripted(
    outputs: dict[str, float], source: Vocabulary = SOURCE, target: Vocabulary = TARGET
) -> tuple[Translator, Scripted]:
    network = Scripted(outputs, target)
    limits = LengthLimits((0, 2))
    return Translator([DirectionGroup(network)], source, target, limits), network  # type: ignore[arg-type]


def found(prediction: Prediction) -> list[tuple[str, float]]:
    return [(one.prediction, round(one.probability, 9)) for one in prediction.candidates]


# --- a translator


def test_an_empty_output_is_an_answer_of_a_model_that_may_say_so() -> None:
    for empty, best in ((False, [("x", 1.0)]), (True, [("", 0.75), ("x", 0.25)])):
        network = Scripted({"x": 0.25}, TARGET)
        network.outputs |= {(EOS,): 0.75}
        translator = Translator(
            [DirectionGroup(network)], SOURCE, TARGET, LengthLimits((0, 2)), empty=empty
        )  # type: ignore[arg-type]
        (answer,) = translator.predict(["a"], n=2)
        assert [one.prediction for one in answer.candidates] == [text for text, _ in best]
        assert not answer.truncated
        assert answer.probability == pytest.approx(0.75 if empty else 0.25)


def test_each_text_is_computed_once_and_the_order_is_kept() -> None:
    translator, network = scripted({"x": 1.0})
    texts = ["a", "abcdefgh", "b", "a", "", "abcde", "b", "a"]
    answers = translator.predict(texts, batch_size=2)
    assert [one.source for one in answers] == texts
    computed = [ids for group in network.started for ids in group]
    assert sorted(computed) == sorted({tuple(SOURCE.encode(text)) for text in texts if text})
    assert max(map(len, network.started)) == 2
    assert [one.prediction for one in answers] == ["x", "x", "x", "x", "", "x", "x", "x"]
    assert translator.predict([]) == []


def test_a_text_without_symbols_has_an_empty_answer() -> None:
    spaced = Vocabulary("spaced", "NFC", "NFC", ("a",))
    translator, network = scripted({"x": 1.0}, source=spaced)
    for answer in translator.predict(["", "  "], n=3, width=3):
        assert found(answer) == [("", 1.0)]
        assert answer.unknown == []
        assert not answer.truncated
    assert network.started == []


def test_unknown_symbols_are_named_once_in_order() -> None:
    translator, _ = scripted({"x": 1.0}, source=TAGGED)
    texts = ["abc\tV", "aßbßñ\tV", "a\tV;Q;N;Q", "ñ\tQ"]
    unknown = [one.unknown for one in translator.predict(texts)]
    assert unknown == [[], ["ß", "ñ"], ["Q"], ["ñ", "Q"]]
    plain, _ = scripted({"x": 1.0})
    assert plain.predict(["a\tb"])[0].unknown == ["\t"]


@pytest.mark.parametrize("text", ["a", "", "a\tV\tN", "\t\t"])
def test_features_follow_one_tab(text: str) -> None:
    translator, network = scripted({"x": 1.0}, source=TAGGED)
    with pytest.raises(SettingError, match=f"has {text.count(chr(9))} tabs, expected one"):
        translator.predict(["a\tV", text])
    assert network.started == [], "nothing is computed before every text is understood"
    ids = TAGGED.encode("a", "V;N")
    translator.predict(["a\tV;N", "\tV", "a\t"])
    assert sorted(network.started[0]) == sorted([tuple(ids), tuple(ids[1:2]), tuple(ids[:1])])


OUTPUTS = {"x": 0.4, "yx": 0.3, "yy": 0.25, "z": 0.05}


@pytest.mark.parametrize(("n", "width"), [(1, 4), (2, 4), (4, 1), (4, 4), (9, 1), (3, 9)])
def test_candidates_are_the_likeliest_outputs(n: int, width: int) -> None:
    translator, _ = scripted(OUTPUTS)
    (answer,) = translator.predict(["abc"], n=n, width=width)
    assert found(answer) == [*OUTPUTS.items()][:n]
    assert (answer.prediction, answer.probability) == ("x", pytest.approx(0.4))
    for one in answer.candidates:
        assert one.score == pytest.approx(math.log(OUTPUTS[one.prediction]))
    assert not answer.truncated


def test_greedy_takes_the_likeliest_symbol_and_a_beam_the_likeliest_output() -> None:
    translator, _ = scripted(OUTPUTS)
    assert found(translator.predict(["abc"], width=1)[0]) == [("yx", 0.3)]
    assert found(translator.predict(["abc"], width=2)[0]) == [("x", 0.4)]


def test_outputs_that_spell_the_same_are_one_candidate() -> None:
    """Together they are likelier than the output that was ahead of each."""
    target = Vocabulary("graphemes", "none", "NFC", ("x", "e\u0301", "e", "\u0301"))
    network = Scripted({}, target)
    first = SPECIALS
    network.outputs = {
        (first, EOS): 0.4,
        (first + 1, EOS): 0.35,
        (first + 2, first + 3, EOS): 0.25,
    }
    translator = Translator([DirectionGroup(network)], SOURCE, target, LengthLimits((0, 2)))  # type: ignore[arg-type]
    (answer,) = translator.predict(["a"], n=5, width=5)
    assert found(answer) == [("\u00e9", 0.6), ("x", 0.4)]
    assert answer.prediction == "\u00e9"
    assert answer.probability == pytest.approx(0.6)


# --- hard attention

V = len(TARGET)
X, Y, Z = range(SPECIALS, V)
GO, SKIP = V, 2 * V
WALKS = {
    (X, GO + Y): 0.2,
    (GO + X, Y): 0.15,
    (X, Y, SKIP): 0.1,
    (GO + Z,): 0.3,
    (SKIP, GO + X): 0.15,
    (SKIP,): 0.1,
}
SPELT = {"xy": 0.45, "z": 0.3, "x": 0.15}
"""A deletion alone writes nothing, and no output is empty."""


def walking(source: Vocabulary = SOURCE, **options: Any) -> tuple[Translator, Scripted]:
    """A network that writes actions; those of ``WALKS``."""
    network = Scripted({})
    network.actions = Actions(V)
    network.size = Actions(V).size
    network.outputs = {(*ids, EOS): probability for ids, probability in WALKS.items()}
    return Translator(
        [DirectionGroup(network)], source, TARGET, LengthLimits((0, 2)), **options
    ), network  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "width"), [(4, 6), (2, 6), (1, 9)])
def test_action_sequences_that_write_the_same_are_one_candidate(n: int, width: int) -> None:
    """Together they are likelier than the walk that was ahead of each."""
    translator, _ = walking()
    (answer,) = translator.predict(["abc"], n=n, width=width)
    assert found(answer) == [*SPELT.items()][:n]
    assert (answer.prediction, round(answer.probability, 9)) == ("xy", 0.45)
    assert answer.candidates[0].score == pytest.approx(math.log(0.45))
    assert found(translator.predict(["abc"], width=1)[0]) == [("xy", 0.2)], "greedy takes one walk"


def test_sums_over_action_sequences_are_calibrated() -> None:
    translator, _ = walking(calibration=CALIBRATION)
    (answer,) = translator.predict(["abc"], width=9)
    chances = CALIBRATION.probabilities([math.log(p) for p in SPELT.values()])
    assert answer.probability == pytest.approx(chances[0])


def test_hard_attention_reads_the_end_of_a_text_before_its_features() -> None:
    translator, network = walking(TAGGED)
    answers = translator.predict(["abc\tV;N", "\tV", "\t", "a\t"], width=2)
    a, b, c, v, n = TAGGED.encode("abc", "V;N")
    started = {ids for group in network.started for ids in group}
    assert started == {(a, b, c, EOS, v, n), (EOS, v), (a, EOS)}
    assert found(answers[2]) == [("", 1.0)], "without a symbol nothing is searched"
    plain, network = walking()
    assert found(plain.predict([""], n=2, width=2)[0]) == [("", 1.0)]
    assert network.started == []


@pytest.mark.parametrize("width", [1, 3])
def test_an_action_sequence_without_an_end_is_truncated(width: int) -> None:
    translator, network = walking()
    network.outputs = {(*(X, GO + Y) * 40, EOS): 1.0}
    (answer,) = translator.predict(["a"], n=width, width=width)
    assert answer.truncated
    assert answer.prediction == "xyxyxyx"


def test_the_limit_lets_an_action_sequence_reach_the_end_of_the_source() -> None:
    """However short what was written in training, and however many features stand behind."""
    translator, network = walking(TAGGED)
    network.outputs = {(*[GO + X] * 40, EOS): 1.0}
    (answer,) = translator.predict([f"{'a' * 40}\tV;N"])
    assert (answer.prediction, answer.truncated) == ("x" * 40, False)


# --- calibration and length

CALIBRATION = Calibration(temperature=0.5, rest=-1.0, ece_before=20.0, ece_after=2.0, examples=200)


def calibrated(outputs: dict[str, float], **options: Any) -> Translator:
    translator, network = scripted(outputs)
    return Translator(
        [DirectionGroup(network)],
        SOURCE,
        TARGET,
        translator.limits,
        calibration=CALIBRATION,
        **options,
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_probabilities_are_calibrated_by_all_that_the_beam_found(n: int) -> None:
    """Of x, yx and yy the beam finds all, whatever n; what is left, z, counts for 1/e of itself."""
    (answer,) = calibrated(OUTPUTS).predict(["abc"], n=n, width=3)
    total = 0.4**2 + 0.3**2 + 0.25**2 + math.exp(-1) * 0.05**2
    expected = [0.4**2 / total, 0.3**2 / total, 0.25**2 / total][:n]
    assert [one.prediction for one in answer.candidates] == ["x", "yx", "yy"][:n]
    assert [one.probability for one in answer.candidates] == pytest.approx(expected)
    assert answer.probability == answer.candidates[0].probability
    scores = [math.exp(one.score) for one in answer.candidates]
    assert scores == pytest.approx([0.4, 0.3, 0.25][:n]), "the model's own"


def test_an_empty_output_is_certain_and_not_calibrated() -> None:
    (answer,) = calibrated(OUTPUTS).predict([""], n=3, width=3)
    assert found(answer) == [("", 1.0)]
    (answer,) = calibrated({"x": 1.0}).predict(["a"], width=1)
    assert 0.99 < answer.probability < 1


def test_backward_networks_read_and_write_in_reversed_order() -> None:
    """The network is given the source from its end, and what it writes is read from the end."""
    _, network = scripted({"xy": 0.7, "yy": 0.3})
    read: list[list[int]] = []
    start = network.start
    network.start = lambda sources: (read.extend(map(list, sources)), start(sources))[1]  # type: ignore[method-assign]
    group = DirectionGroup(network, backward=True)  # type: ignore[arg-type]
    translator = Translator([group], SOURCE, TARGET, LengthLimits((0, 2)))
    (answer,) = translator.predict(["abc"], n=2, width=2)
    assert read == [SOURCE.encode("abc")[::-1]]
    assert found(answer) == [("yx", 0.7), ("yy", 0.3)]


def test_an_output_has_the_mean_of_the_groups_probabilities() -> None:
    """By shares; the backward one writes xy where it means yx."""
    groups = [
        DirectionGroup(scripted({"x": 0.5, "yx": 0.4, "yy": 0.1})[1], weight=0.75),  # type: ignore[arg-type]
        DirectionGroup(scripted({"xy": 0.8, "x": 0.2})[1], backward=True, weight=0.25),  # type: ignore[arg-type]
    ]
    translator = Translator(groups, SOURCE, TARGET, LengthLimits((0, 2)))
    (answer,) = translator.predict(["abc"], n=3, width=3)
    assert found(answer) == [
        ("yx", pytest.approx(0.75 * 0.4 + 0.25 * 0.8)),
        ("x", pytest.approx(0.75 * 0.5 + 0.25 * 0.2)),
        ("yy", pytest.approx(0.75 * 0.1)),
    ]
    (greedily,) = translator.predict(["abc"])
    assert found(greedily) == [("x", pytest.approx(0.75 * 0.5))]
    assert found(translator.predict([""], n=2)[0]) == [("", 1.0)]


def test_a_length_penalty_prefers_the_longer_output_and_keeps_the_scores() -> None:
    translator, network = scripted(OUTPUTS)
    (plain,) = translator.predict(["abc"], n=3, width=3)
    longer = Translator(
        [DirectionGroup(network)], SOURCE, TARGET, translator.limits, length_penalty=3.0
    )  # type: ignore[arg-type]
    (answer,) = longer.predict(["abc"], n=3, width=3)
    assert [one.prediction for one in plain.candidates] == ["x", "yx", "yy"]
    assert [one.prediction for one in answer.candidates] == ["yx", "x", "yy"]
    scores = {one.prediction: one.score for one in plain.candidates}
    assert {one.prediction: one.score for one in answer.candidates} == scores


@pytest.mark.parametrize("width", [1, 3])
def test_an_output_without_an_end_is_truncated(width: int) -> None:
    """The limit after texts of up to two target symbols: a quarter more, and four."""
    translator, _ = scripted({"xy" * 40: 1.0})
    (answer,) = translator.predict(["a"], n=width, width=width)
    assert answer.truncated
    assert answer.prediction == "xyxyxyx"
    whole, _ = scripted({"xyxyxyx": 1.0})
    (answer,) = whole.predict(["a"], n=width, width=width)
    assert not answer.truncated
    assert answer.prediction == "xyxyxyx"


def test_a_truncated_answer_has_the_probability_that_it_ends_there() -> None:
    """Half of the outputs that begin so are longer than the limit; the rest are no answer here."""
    outputs = {"xyxyxyx": 0.1, "xyxyxyxyyy": 0.5, "yx": 0.3, "z": 0.1}
    translator, _ = scripted(outputs)
    (answer,) = translator.predict(["a"], n=4, width=4)
    assert answer.truncated
    assert found(answer) == [("xyxyxyx", 0.1), ("yx", 0.3), ("z", 0.1)]
    (greedily,) = translator.predict(["a"])
    assert found(greedily) == [("xyxyxyx", 0.1)]
    assert greedily.truncated
    (sure,) = calibrated(outputs).predict(["a"], n=4, width=4)
    total = 0.5**2 + 0.3**2 + 2 * 0.1**2  # nothing is left; what goes on counts like a candidate
    assert [one.probability for one in sure.candidates] == pytest.approx(
        [0.1**2 / total, 0.3**2 / total, 0.1**2 / total], rel=1e-4
    )


def test_a_truncated_answer_of_one_direction_may_end_in_the_other() -> None:
    groups = [
        DirectionGroup(scripted({"x" * 20: 0.9, "y": 0.1})[1], weight=0.5),  # type: ignore[arg-type]
        DirectionGroup(scripted({"x" * 7: 0.6, "yz": 0.4})[1], backward=True, weight=0.5),  # type: ignore[arg-type]
    ]
    translator = Translator(groups, SOURCE, TARGET, LengthLimits((0, 2)))
    (answer,) = translator.predict(["a"], n=4, width=4)
    assert not answer.truncated
    assert found(answer) == [("x" * 7, 0.3), ("zy", 0.2), ("y", 0.05)]


def test_a_text_shorter_than_all_learnt_may_have_as_long_an_answer() -> None:
    translator, _ = scripted({"xyxyxyxy": 1.0})
    short = Translator(translator.direction_groups, SOURCE, TARGET, LengthLimits((0, 0, 0, 8)))
    (answer,) = short.predict(["a"])
    assert (answer.prediction, answer.truncated) == ("xyxyxyxy", False)


@pytest.mark.parametrize("beam", [1, 2, 5, 8])
def test_short_dates_have_whole_answers(beam: int) -> None:
    expected = {"2021": "2021", "4月20日": "", "1.1.": "", "March 2021": "2021-03"}
    model = load(Path(__file__).parents[2] / "checkpoints" / "dates")
    for answer in model.predict(list(expected), beam=beam, n=beam):
        assert not answer.truncated
        assert answer.prediction == expected[answer.source]
        assert len(answer.candidates) == len({one.prediction for one in answer.candidates})


# --- a rule


RULED = {"x": 0.4, "xy": 0.3, "z": 0.2, "zy": 0.1}


def ruled(outputs: dict[str, float], *rule: Any, **options: Any) -> Translator:
    translator, _ = scripted(outputs)
    translator.rule = TargetRule(rules.read(*rule, **options), TARGET, None)
    return translator


@pytest.mark.parametrize(
    ("pattern", "answers"),
    [
        (".", [("x", 0.4 / 0.6), ("z", 0.2 / 0.6)]),
        ("x.*", [("x", 0.4 / 0.7), ("xy", 0.3 / 0.7)]),
        ("zy", [("zy", 1.0)]),
        (".*", [("x", 0.4), ("xy", 0.3), ("z", 0.2), ("zy", 0.1)]),
        ("y+", []),
    ],
)
def test_probabilities_are_those_given_the_rule(
    pattern: str, answers: list[tuple[str, float]]
) -> None:
    (answer,) = ruled(RULED, pattern).predict(["a"], n=4, width=4)
    assert [one.prediction for one in answer.candidates] == [text for text, _ in answers]
    for one, (text, probability) in zip(answer.candidates, answers, strict=True):
        assert one.probability == pytest.approx(probability, abs=1e-4)
        assert one.score == pytest.approx(math.log(RULED[text]))
    assert answer.prediction == (answers[0][0] if answers else "")
    assert answer.probability == pytest.approx(answers[0][1] if answers else 0.0, abs=1e-4)


def test_a_greedy_search_under_a_rule_bounds_the_probability_from_below() -> None:
    (answer,) = ruled(RULED, ".").predict(["a"])
    # "z" is not followed, so it counts as within the rule, with all that goes on after it
    assert found(answer) == [("x", pytest.approx(0.4 / 0.7, abs=1e-4))]


def test_calibration_sees_scores_given_the_rule() -> None:
    translator = ruled(RULED, ".")
    translator.calibration = Calibration(2.0, 0.5, 0.0, 0.0, 100)
    (answer,) = translator.predict(["a"], n=2, width=4)
    given = [math.log(0.4 / 0.6), math.log(0.2 / 0.6)]
    expected = translator.calibration.probabilities(given)
    assert [one.probability for one in answer.candidates] == pytest.approx(expected, abs=5e-3)
    assert sum(one.probability for one in answer.candidates) < 1


def test_a_rule_has_room_for_its_shortest_text_beyond_the_length_limit() -> None:
    outputs = {"x": 0.5, "xyxyxyxyxyxy": 0.5}
    free, _ = scripted(outputs)
    assert free.predict(["a"], width=2)[0].prediction == "x"
    (answer,) = ruled(outputs, "(xy){6}").predict(["a"])
    assert found(answer) == [("xyxyxyxyxyxy", pytest.approx(1.0, abs=1e-4))]


def test_an_answer_that_the_limit_cut_within_the_rule_is_marked_and_others_are_not_given() -> None:
    outputs = {"y" * 20: 1.0}
    (answer,) = ruled(outputs, "y*").predict(["a"])
    assert (answer.prediction, answer.truncated) == ("", False)
    (answer,) = ruled({"y" * 20: 0.9, "y" * 7: 0.1}, "y{7}|y{20,}z").predict(["a"], width=3)
    assert (answer.prediction, answer.candidates) == ("y" * 7, [answer.candidates[0]])


def test_an_empty_source_has_no_answer_unless_the_rule_allows_the_empty_text() -> None:
    assert ruled({"x": 1.0}, "x").predict([""])[0].candidates == []
    assert found(ruled({"x": 1.0}, "x?").predict([""])[0]) == [("", 1.0)]


def test_checks_remove_what_the_search_has_found() -> None:
    digits = Vocabulary("characters", "NFC", "NFC", tuple("018"))
    network = Scripted({"18": 0.3, "10": 0.5, "00": 0.2}, digits)
    translator = Translator([DirectionGroup(network)], SOURCE, digits, LengthLimits((0, 2)))  # type: ignore[arg-type]
    translator.rule = TargetRule(rules.read(check="luhn"), digits, None)
    (answer,) = translator.predict(["a"], n=3, width=3)
    expected = [("18", pytest.approx(0.6, abs=1e-4)), ("00", pytest.approx(0.4, abs=1e-4))]
    assert found(answer) == expected
    (answer,) = translator.predict(["a"])  # the only output of a beam of one fails
    assert answer.candidates == []


def test_groups_of_both_directions_keep_the_rule() -> None:
    """The mean of the groups: one has not found what the other has."""
    groups = [
        DirectionGroup(Scripted({"xy": 0.6, "z": 0.4}), weight=0.5),  # type: ignore[arg-type]
        DirectionGroup(Scripted({"yx": 0.2, "z": 0.8}), backward=True, weight=0.5),  # type: ignore[arg-type]
    ]
    translator = Translator(groups, SOURCE, TARGET, LengthLimits((0, 2)))
    translator.rule = TargetRule(rules.read("xy?"), TARGET, None, backward=[False, True])
    (answer,) = translator.predict(["a"], n=3, width=3)
    assert found(answer) == [("xy", pytest.approx(1.0, abs=1e-4))]
    assert answer.candidates[0].score == pytest.approx(math.log(0.4))


# --- memory


def remembering(
    outputs: dict[str, float],
    seen: Sequence[tuple[str, str, float]],
    source: Vocabulary = SOURCE,
    **options: Any,
) -> Translator:
    """A translator that has seen sources (with features) with their targets, strength 2."""
    translator, network = scripted(outputs, source)
    pairs = (
        (key_of(source, *translator.parts(text)), target, count) for text, target, count in seen
    )
    memory = replace(Memory.count(pairs), strength=2.0)
    return Translator(
        [DirectionGroup(network)], source, TARGET, translator.limits, memory=memory, **options
    )  # type: ignore[arg-type]


def origins(prediction: Prediction) -> list[str]:
    return [one.origin for one in prediction.candidates]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_counts_of_training_are_weighed_against_the_model(n: int) -> None:
    """x was seen three times, z once, of four; the model's word counts for two occurrences."""
    translator = remembering(OUTPUTS, [("abc", "x", 3.0), ("abc", "z", 1.0), ("b", "y", 5.0)])
    (answer,) = translator.predict(["abc"], n=n, width=3)
    expected = [("x", 3.8 / 6), ("z", 1 / 6), ("yx", 0.6 / 6), ("yy", 0.5 / 6)]
    assert found(answer) == [(text, round(p, 9)) for text, p in expected[:n]]
    assert origins(answer) == ["memory", "memory", "model", "model"][:n]
    assert (answer.prediction, answer.origin) == ("x", "memory")
    assert answer.probability == answer.candidates[0].probability
    scores = [one.score for one in answer.candidates]
    expected_scores = [math.log(0.4), -math.inf, math.log(0.3), math.log(0.25)]
    assert scores == pytest.approx(expected_scores[:n]), "the model's own"


def test_a_remembered_target_that_the_model_doubts_may_be_second() -> None:
    translator = remembering({"x": 0.9, "y": 0.1}, [("a", "y", 0.5)])
    (answer,) = translator.predict(["a"], n=2, width=2)
    assert found(answer) == [("x", 0.72), ("y", 0.28)]
    assert origins(answer) == ["model", "memory"]
    assert answer.origin == "model"


def test_what_was_not_seen_has_the_models_answer() -> None:
    translator, _ = scripted(OUTPUTS)
    other = remembering(OUTPUTS, [("abc", "z", 3.0)])
    texts = ["ab", "ABC", "", "abcd"]
    assert other.predict(texts, n=3, width=3) == translator.predict(texts, n=3, width=3)


def test_a_source_is_remembered_in_every_unicode_form() -> None:
    translator = remembering({"x": 1.0}, [("é", "z", 3.0)])
    composed, decomposed = translator.predict(["\u00e9", "e\u0301"])
    assert composed.prediction == decomposed.prediction == "z"
    assert composed.origin == decomposed.origin == "memory"


def test_no_symbol_is_unknown_in_a_remembered_source() -> None:
    translator = remembering({"x": 1.0}, [("é", "z", 3.0), ("ö", "z", 0.1)])
    seen, doubted, other = translator.predict(["é", "ö", "ü"])
    assert (seen.prediction, seen.unknown) == ("z", [])
    assert (doubted.prediction, doubted.unknown) == ("x", ["ö"]), "it is the model's answer"
    assert other.unknown == ["ü"]


def test_features_belong_to_what_is_remembered() -> None:
    translator = remembering({"x": 1.0}, [("a\tV;N", "z", 3.0)], TAGGED)
    answers = translator.predict(["a\tV;N", "a\tN;V", "a\tV", "a\t", "a\tV; N"])
    assert [one.origin for one in answers] == ["memory", "model", "model", "model", "memory"]


def test_a_truncated_answer_gives_way_to_a_remembered_one() -> None:
    seen = remembering({"xy" * 40: 1.0}, [("a", "z", 0.001)])
    cut, other = seen.predict(["a", "b"], n=3, width=3)
    assert other.truncated
    assert (cut.prediction, cut.truncated, cut.origin) == ("z", False, "memory")
    assert math.fsum(one.probability for one in cut.candidates) <= 1


def test_calibrated_probabilities_are_what_counts_are_weighed_against() -> None:
    raw = calibrated(OUTPUTS).predict(["abc"], n=3, width=3)[0]
    translator = remembering(OUTPUTS, [("abc", "yx", 1.0)], calibration=CALIBRATION)
    (answer,) = translator.predict(["abc"], n=3, width=3)
    before = {one.prediction: one.probability for one in raw.candidates}
    expected = {text: 2 / 3 * p + (text == "yx") / 3 for text, p in before.items()}
    assert {one.prediction: one.probability for one in answer.candidates} == pytest.approx(expected)
    assert answer.prediction == "yx"


def test_a_length_penalty_leaves_the_order_by_probability() -> None:
    translator = remembering(
        {"x": 0.5, "yyy": 0.4}, [("a", "x", 1.0), ("a", "y", 1.0)], length_penalty=5.0
    )
    (answer,) = translator.predict(["a"], n=3, width=3)
    chances = [one.probability for one in answer.candidates]
    assert chances == sorted(chances, reverse=True)
    assert answer.prediction == "x"


def test_only_remembered_targets_that_keep_the_rule_count() -> None:
    """y was seen most often, and is outside of the rule; the rest is as if it had not been seen."""
    translator = remembering(OUTPUTS, [("a", "y", 90.0), ("a", "z", 1.0), ("b", "y", 9.0)])
    translator.rule = TargetRule(rules.read("x|z"), TARGET, None)
    seen, other = translator.predict(["a", "b"], n=3, width=3)
    free, _ = scripted(OUTPUTS)
    free.rule = translator.rule
    (alone,) = free.predict(["a"], n=3, width=3)
    model = {one.prediction: one.probability for one in alone.candidates}
    expected = {text: (2 * model.get(text, 0.0) + (text == "z")) / 3 for text in "xz"}
    assert {one.prediction: one.probability for one in seen.candidates} == pytest.approx(expected)
    assert math.fsum(expected.values()) <= 1 + 1e-9
    assert [one.prediction for one in other.candidates] == [*model]
    assert other.origin == "model"


def test_a_remembered_answer_is_there_where_the_model_has_none_within_the_rule() -> None:
    translator = remembering({"x": 1.0}, [("a", "zz", 2.0)])
    translator.rule = TargetRule(rules.read("zz"), TARGET, None)
    (answer,) = translator.predict(["a"])
    assert (answer.prediction, answer.origin, answer.truncated) == ("zz", "memory", False)


# --- joint n-grams


def test_joint_ngrams_lift_an_output_that_training_makes_likelier() -> None:
    """``z`` is what training always wrote for ``ab``; the network prefers ``xy``."""
    without, _ = walking()
    pairs = [SOURCE.encode("ab", ended=True)] * 5, [[GO + Z]] * 5
    ngrams = JointNgrams.count(*pairs, Actions(V))
    options: dict[str, Any] = {"n": 4, "width": 9}
    (before,) = without.predict(["ab"], **options)
    translator = without.rescored(Rescoring({False: ngrams}, weight=2.0))
    (after,) = translator.predict(["ab"], **options)
    assert before.prediction == "xy"
    assert after.prediction == "z"
    assert {one.prediction for one in after.candidates} == {
        one.prediction for one in before.candidates
    }
    total = sum(one.probability for one in before.candidates)
    assert sum(one.probability for one in after.candidates) == pytest.approx(total, abs=1e-6)
    assert translator.rescored(None).predict(["ab"], **options) == [before]
    assert translator.having().predict(["ab"], **options) == [after], "they are the model's own"
    assert translator.predict(["ab"]) == without.predict(["ab"]), "a greedy search has one output"


def test_a_backward_group_is_weighed_by_its_own_ngrams() -> None:
    translator, network = walking()
    translator.direction_groups = (DirectionGroup(network, backward=True),)
    (before,) = translator.predict(["ab"], n=4, width=9)
    pairs = [SOURCE.encode("ab", ended=True, backward=True)] * 5, [[GO + Z]] * 5
    other = [SOURCE.encode("ab", ended=True)] * 5, [[X, GO + Y, SKIP]] * 5
    own, none = (JointNgrams.count(*one, Actions(V)) for one in (pairs, other))
    (after,) = translator.rescored(Rescoring({True: own, False: none}, weight=2.0)).predict(
        ["ab"], n=4, width=9
    )
    assert (before.prediction, after.prediction) == ("yx", "z")


# --- a list of words


def listing(
    outputs: dict[str, float], *words: str, weights: Sequence[float] = (0.0, -3.0, 0.0, 0.0, -2.0)
) -> Translator:
    """A translator with a list of words; by ``weights`` an unlisted answer loses three nats."""
    translator, _ = scripted(outputs)
    translator.words = WordPrior(WordList.count([(one, 1.0) for one in words]), tuple(weights))
    return translator


def test_a_listed_word_is_lifted_over_a_likelier_unlisted_one() -> None:
    (answer,) = listing({"x": 0.5, "y": 0.3, "z": 0.2}, "y", "other").predict(["a"], n=3, width=8)
    assert [one.prediction for one in answer.candidates] == ["y", "x", "z"]
    assert origins(answer) == ["words", "model", "model"]
    masses = 0.3, 0.5 * math.exp(-3), 0.2 * math.exp(-3)
    expected = [mass / sum(masses) for mass in masses]
    assert [one.probability for one in answer.candidates] == pytest.approx(expected, 1e-5)
    assert [one.score for one in answer.candidates] == pytest.approx(
        [*map(math.log, expected)], 1e-4
    )


def test_probabilities_with_a_list_sum_to_less_than_one() -> None:
    for words in (["x"], ["zzz"], ["x", "y", "z"]):
        (answer,) = listing({"x": 0.6, "y": 0.3, "z": 0.1}, *words).predict(["a"], n=3, width=8)
        assert sum(one.probability for one in answer.candidates) <= 1


def test_a_listed_answer_that_was_the_first_before_is_the_models() -> None:
    (answer,) = listing({"x": 0.6, "y": 0.3}, "x", "y").predict(["a"], n=2, width=8)
    assert origins(answer) == ["model", "model"]


def test_a_list_of_no_weight_changes_no_bit() -> None:
    outputs = {"x": 0.5, "y": 0.3, "z": 0.1}
    without, _ = scripted(outputs)
    assert listing(outputs, "y", weights=[0.0] * 5).predict(["a", "b"], n=3, width=8) == (
        without.predict(["a", "b"], n=3, width=8)
    )


def test_answers_with_a_list_do_not_depend_on_their_neighbours() -> None:
    outputs = {"x": 0.5, "y": 0.3, "xy": 0.05, "z": 0.1}
    translator = listing(outputs, "y", "xy", "zz", weights=(0.2, 3.5, 0.03, -0.4, 2.0))
    texts = ["a", "bb", "c", "dd", "", "ef"]
    together = translator.predict(texts, n=3, width=8, batch_size=4)
    for size in (1, 2):
        assert translator.predict(texts, n=3, width=8, batch_size=size) == together
    assert [translator.predict([text], n=3, width=8)[0] for text in texts] == together
    assert together[4].candidates[0].probability == 1


def test_a_list_and_a_rule_together_stay_within_the_rule() -> None:
    translator = ruled({"x": 0.5, "y": 0.3, "z": 0.1}, "[yz]")
    translator.words = WordPrior(WordList.count([("z", 1.0)]), (0.0, -3.0, 0.0, 0.0, -2.0))
    (answer,) = translator.predict(["a"], n=3, width=8)
    assert [one.prediction for one in answer.candidates] == ["z", "y"]
    total = sum(one.probability for one in answer.candidates)
    assert 0.9 < total <= 1


def test_a_truncated_output_is_no_word() -> None:
    translator, _ = scripted({"xyzxyzxyz": 0.9, "y": 0.05})
    translator.words = WordPrior(WordList.count([("y", 1.0)]), (0.0, -6.0, 0.0, 0.0, -6.0))
    (answer,) = translator.predict(["a"], n=2, width=8)
    assert (answer.prediction, answer.truncated) == ("y", False)
    assert sum(one.probability for one in answer.candidates) <= 1


def test_what_is_remembered_is_weighed_against_answers_with_the_list() -> None:
    translator = remembering({"x": 0.5, "y": 0.4}, [("a", "z", 1.0)])
    translator.words = WordPrior(WordList.count([("y", 1.0)]), (0.0, -3.0, 0.0, 0.0, -2.0))
    (answer,) = translator.predict(["a"], n=3, width=8)
    assert dict(zip((c.prediction for c in answer.candidates), origins(answer), strict=True)) == {
        "z": "memory",
        "y": "words",
        "x": "model",
    }


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
    monkeypatch.setattr(translator_module, "PORTION", 2)
    assert list(reranked(many, PRIOR)) == whole


def test_an_answer_without_listed_candidates_stays_as_it_is() -> None:
    answer = Prediction("a", "", 0.0, [], truncated=False, candidates=[])
    assert marked(answer, {}) is answer
