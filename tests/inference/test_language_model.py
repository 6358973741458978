"""Next words against what the network says of whole lines; the same answer for the same text."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from charseq.config import configure
from charseq.data.text.tokenizer import Tokenizer, build
from charseq.data.text.vocabulary import BOS, EOS, SPECIALS, UNK, Vocabulary
from charseq.decoding.next_word_numpy import NumpyNextWord, shapes_of
from charseq.errors import SettingError, UsageError
from charseq.inference import language_model
from charseq.inference.language_model import LanguageModel
from charseq.inference.prediction import Prediction

LINES = [
    "the cat sat on the mat", "the dog sat", "a cat can see the dog", "the man, the mat", "a dog!",
    "can a man sit on a mat?", "see the cat", "the cathedral and the mantle", "don't sit there.",
]  # fmt: skip
KINDS = ("words", "subwords", "bpe", "characters")
CELLS = ("lstm", "gru", "mlp")
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def short_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random network may never end a word; these have up to nine letters."""
    monkeypatch.setattr(language_model, "LONGEST_WORD", 12)


def units_of(kind: str, lines: Sequence[str] = LINES, **options: Any) -> Tokenizer:
    return build(lines, kind=kind, limit=1000, min_count=1, subword_size=320, seed=1, **options)[0]


def model_of(
    units: Tokenizer, *, cell: str = "gru", scale: float = 1.5, end: float = 0.0, beam: int = 4
) -> LanguageModel:
    """A network of random weights, whose lines end more or less soon."""
    size = len(units.vocabulary)
    shapes = shapes_of(
        cell=cell, embedding=8, hidden=12, layers=1, context=2, tied=False, symbols=size
    )
    random = np.random.default_rng(5)
    weights = {
        name: random.normal(0, scale / np.sqrt(shape[-1]), shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    weights["output"] *= np.float32(2.5)
    weights["output_bias"][EOS] += np.float32(end)
    network = NumpyNextWord(weights, cell=cell, layers=1, context=2)
    config = configure({"beam": beam})
    return LanguageModel(Path("runs/toy"), {"scores": {}}, config, units, network)


MODELS = {kind: model_of(units_of(kind)) for kind in KINDS}


def bits(predictions: Sequence[Prediction]) -> list[Any]:
    return [
        (one.source, one.unknown, [(c.prediction, c.score.hex()) for c in one.candidates])
        for one in predictions
    ]


def chance(model: LanguageModel, ids: Sequence[int]) -> np.ndarray:
    """T V of the probabilities along a line, in float64."""
    found = np.zeros((len(ids) + 1, len(model.tokenizer.vocabulary)))
    for _, positions, _, logs in model.network.scan([list(ids)]):
        found[positions] = np.exp(logs.astype("f8"))
    return found


# --- words, which are one symbol each


def test_the_next_words_are_the_likeliest_of_all_words() -> None:
    model = MODELS["words"]
    for text in ("", "the", "the cat sat", "  a   dog! ", "the zebra"):
        expected = chance(model, model.tokenizer.encode(text))[-1]
        expected[[EOS, UNK]] = 0
        (found,) = model.predict([text], n=6)
        order = np.argsort(-expected)[:6]
        assert [c.prediction for c in found.candidates] == [
            model.tokenizer.spelling(k) for k in order
        ]
        assert [c.probability for c in found.candidates] == pytest.approx(expected[order], rel=1e-5)
        assert (found.source, found.truncated) == (text, False)
        assert found.prediction == found.candidates[0].prediction
        assert found.probability == found.candidates[0].probability


def test_neither_the_end_nor_the_unknown_is_a_word() -> None:
    for kind, token in itertools.product(KINDS, (EOS, UNK)):
        model = model_of(units_of(kind))
        model.network.output[1][token] += 50
        answers = [*model.predict(["the cat", ""], n=9), *model.complete(["the c", ""], n=9)]
        for one in answers:
            words = [c.prediction for c in one.candidates]
            assert "" not in words
            assert not any("<unk>" in word for word in words)


def test_all_words_are_listed_if_asked_for() -> None:
    model = MODELS["words"]
    (found,) = model.predict(["the"], n=1000)
    assert sorted(c.prediction for c in found.candidates) == sorted(
        model.tokenizer.vocabulary.symbols
    )
    assert sum(c.probability for c in found.candidates) < 1


def test_a_completion_is_among_the_words_with_the_prefix() -> None:
    model = MODELS["words"]
    for text, prefix in (("the ca", "ca"), ("a m", "m"), ("the", "the"), ("a ", ""), ("", "")):
        before = model.tokenizer.encode(text.removesuffix(prefix))
        after = chance(model, before)[-1]
        words = {
            word: after[number]
            for number, word in enumerate(model.tokenizer.vocabulary.symbols, SPECIALS)
            if word.startswith(prefix)
        }
        total = sum(words.values())
        (found,) = model.complete([text], n=1000)
        assert {c.prediction: c.probability for c in found.candidates} == pytest.approx(
            {word: value / total for word, value in words.items()}, rel=1e-5
        )
        assert found.probability == max(c.probability for c in found.candidates)


def test_nothing_begins_with_an_unknown_prefix() -> None:
    for kind in ("words", "characters"):
        (found,) = MODELS[kind].complete(["the xqz"], n=3)
        assert found.candidates == []
        assert (found.prediction, found.probability) == ("", 0.0)


def test_case_and_punctuation_are_those_of_the_units() -> None:
    lines = ["The Cat sat.", "the dog, the Cat", "(the cat)"]
    lower = model_of(units_of("words", lines, case="lower", punctuation="split"))
    keep = model_of(units_of("words", lines))

    def words(model: LanguageModel, text: str) -> set[str]:
        return {c.prediction for c in model.complete([text], n=99)[0].candidates}

    assert words(lower, "The C") == words(lower, "the c") == {"cat"}
    assert words(keep, "The C") == {"Cat"}
    assert words(keep, "The c") == {"cat)"}
    assert words(lower, "sat (d") == {"dog"}
    assert words(keep, "sat (d") == set()
    assert bits(lower.predict(["THE CAT"])) == [
        ("THE CAT", *rest) for _, *rest in bits(lower.predict(["the cat"]))
    ]


def test_unknown_symbols_are_named_once_in_order() -> None:
    words, characters = MODELS["words"], MODELS["characters"]
    assert words.predict(["the zoo zoo cat yak"])[0].unknown == ["zoo", "yak"]
    # an unfinished word is no unknown one
    assert words.complete(["zoo the yak zoo ca"])[0].unknown == ["zoo", "yak"]
    assert characters.predict(["the Zoo ZQ"])[0].unknown == ["Z", "Q"]
    assert characters.complete(["Zoo Q"])[0].unknown == ["Z"]


# --- words of several symbols


def tiny(cell: str = "gru") -> LanguageModel:
    """A model of the characters a, b and the space."""
    units = Tokenizer(Vocabulary("characters", "NFC", "NFC", ("a", "b", " ")))
    return model_of(units, cell=cell, end=1.0)


def enumerate_words(model: LanguageModel, text: str, limit: int) -> dict[str, float]:
    """P(word | the text's words are over) of every word of up to ``limit`` letters."""
    units = model.tokenizer
    space = units.encode(" ")[0]

    def closing(after: np.ndarray) -> float:
        return float(after[EOS] + after[space])

    before = units.encode(text)
    over = closing(chance(model, before)[-1]) if text else 1.0
    found = {}
    for length in range(1, limit + 1):
        for letters in itertools.product("ab", repeat=length):
            word = "".join(letters)
            ids = units.encode(f"{text} {word}" if text else word)
            after = chance(model, ids)
            steps = range(len(before), len(ids))
            path = math.prod(after[k, ids[k]] for k in steps)
            found[word] = path * closing(after[-1]) / over
    return found


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("text", ["", "a", "ab ba", "ab ba  "])
def test_words_of_characters_are_as_likely_as_their_letters(cell: str, text: str) -> None:
    model = tiny(cell)
    expected = enumerate_words(model, text.rstrip(), limit=6)
    (found,) = model.predict([text], n=40, beam=150)
    assert len(found.candidates) == 40
    values = [c.probability for c in found.candidates]
    assert values == sorted(values, reverse=True)
    known = [c for c in found.candidates if len(c.prediction) <= 6]
    assert len(known) > 20
    for one in known:
        assert one.probability == pytest.approx(expected[one.prediction], rel=1e-4)
    assert sum(values) < 1


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("before", "prefix"), [("", "ab"), ("ab ba", "b"), ("b", "")])
def test_completions_of_characters_are_among_the_words_with_the_prefix(
    cell: str, before: str, prefix: str
) -> None:
    model = tiny(cell)
    words = enumerate_words(model, before, limit=6)
    begins = {word: value for word, value in words.items() if word.startswith(prefix)}
    # Longer words are there as well: together they are what the path to the prefix is.
    (found,) = model.complete([f"{before} {prefix}"], n=30, beam=150)
    first = found.candidates[0]
    for one in found.candidates:
        assert one.prediction.startswith(prefix)
        if len(one.prediction) <= 6:
            ratio = begins[one.prediction] / begins[first.prediction]
            assert one.probability / first.probability == pytest.approx(ratio, rel=1e-4)
    units = model.tokenizer
    ids = units.encode(f"{before} {prefix}".lstrip())
    path = chance(model, ids)
    start = len(units.encode(before))
    space = units.encode(" ")[0]
    over = path[start, [EOS, space]].sum() if before else 1.0
    reached = math.prod(path[k, ids[k]] for k in range(start, len(ids))) / over
    if not prefix:
        reached *= path[-1, units.encode("ab")].sum()
    assert first.probability == pytest.approx(begins[first.prediction] / reached, rel=1e-4)


@pytest.mark.parametrize("kind", ["subwords", "bpe"])
def test_words_of_pieces_are_as_likely_as_the_ways_to_cut_them(kind: str) -> None:
    """Of each candidate: every way to cut it, its close, and a space that must come first."""
    model = model_of(MODELS[kind].tokenizer)
    # leave the single bytes out, of which there are too many ways to spell anything
    first = SPECIALS + 256
    model.network.output[1][SPECIALS:first] -= 20
    units = model.tokenizer
    texts = {k: units.spelling(k) for k in range(first, len(units.vocabulary))}
    spaces = [k for k, text in texts.items() if text[0].isspace()]

    def ways(rest: str) -> list[list[int]]:
        if not rest:
            return [[]]
        heads = [k for k, text in texts.items() if rest.startswith(text)]
        return [[k, *more] for k in heads for more in ways(rest[len(texts[k]) :])]

    before = units.encode("the cat")
    over = chance(model, before)[-1][[EOS, *spaces]].sum()
    (found,) = model.predict(["the cat"], n=5, beam=400)
    assert len(found.candidates) == 5
    for one in found.candidates:
        expected = 0.0
        for way in ways(" " + one.prediction):
            after = chance(model, [*before, *way])
            path = math.prod(after[len(before) + k, number] for k, number in enumerate(way))
            expected += path * after[-1][[EOS, *spaces]].sum()
        # a narrow way may have been left out, none can be too many
        assert one.probability <= expected / over * (1 + 1e-4)
        assert one.probability == pytest.approx(expected / over, rel=0.02)


@each_kind
def test_the_beam_is_that_of_the_run_unless_it_is_asked_for(kind: str) -> None:
    units = units_of(kind)
    texts = ["", "the cat", "a"]
    narrow, wide = model_of(units, beam=1), model_of(units, beam=9)
    assert bits(narrow.predict(texts)) == bits(wide.predict(texts, beam=1))
    assert bits(wide.predict(texts)) == bits(narrow.predict(texts, beam=9))
    # n candidates need a beam of n
    assert bits(narrow.predict(texts, n=5)) == bits(wide.predict(texts, n=5, beam=5))


# --- continuations


@each_kind
def test_a_continuation_makes_a_line_of_the_text(kind: str) -> None:
    model = model_of(MODELS[kind].tokenizer, scale=0.7, end=-3.0)
    texts = ["", "the cat", "the cat ", "a dog!"]
    for text, found in zip(texts, model.generate(texts, count=30, most=4), strict=True):
        assert len(found) == 30
        assert len(set(found)) > 10
        for more in found:
            assert len(more.split()) <= 4
            assert "<unk>" not in more
            if not text or text.endswith(" "):
                assert more == more.lstrip()
            else:
                assert more == "" or re.match(r"\s", more)


@each_kind
def test_the_likeliest_continuation_is_the_likeliest_symbol_each_time(kind: str) -> None:
    model = MODELS[kind]
    ids = model.tokenizer.encode("the cat")
    (found,) = model.generate(["the cat"], most=3, temperature=0.0)
    if kind != "words":
        assert found[0] == model.generate(["the cat"], most=3, top_p=1e-9, seed=9)[0][0]
        return
    words = []
    for _ in range(3):
        after = chance(model, ids)[-1]
        after[UNK] = 0
        if after.argmax() == EOS:
            break
        ids.append(int(after.argmax()))
        words.append(model.tokenizer.spelling(ids[-1]))
    assert found == [" " + " ".join(words)]


@each_kind
def test_the_same_text_and_seed_have_the_same_continuations(kind: str) -> None:
    model = MODELS[kind]
    texts = ["", "the cat", "a dog sat on", "see the zebra", "a"]
    found = model.generate(texts, count=3, seed=7, most=6)
    assert [model.generate([text], count=3, seed=7, most=6)[0] for text in texts] == found
    assert model.generate([*texts[::-1], "a"], count=3, seed=7, most=6) == [*found[::-1], found[-1]]
    assert [one[:2] for one in found] == model.generate(texts, count=2, seed=7, most=6)
    assert model.generate(texts, count=3, seed=8, most=6) != found


def test_each_text_has_draws_of_its_own() -> None:
    """Even where texts are the same to the model."""
    one, other = MODELS["words"].generate(["the zoo", "the yak"], count=20)
    assert one != other


def test_first_words_are_drawn_as_often_as_they_are_likely() -> None:
    model = MODELS["words"]
    (drawn,) = model.generate(["the cat"], count=2000, most=1)
    after = chance(model, model.tokenizer.encode("the cat"))[-1]
    after[UNK] = 0
    after /= after.sum()
    for number in np.argsort(-after)[:5]:
        word = model.tokenizer.spelling(int(number))
        share = drawn.count(f" {word}" if number != EOS else "") / 2000
        assert share == pytest.approx(after[number], abs=4 * math.sqrt(after[number] / 2000))


def test_signs_stand_close_to_their_words() -> None:
    lines = ["the cat , the dog .", "( the cat ) sat ."]
    model = model_of(units_of("words", lines, punctuation="split"))
    model.network.output[1][model.tokenizer.encode(",")[0]] += 100
    assert model.generate(["the cat"], most=2) == [[",,"]]
    assert model.generate(["the cat "], most=1) == [[","]]


# --- scores


@each_kind
def test_a_score_is_the_sum_over_the_line_with_its_end(kind: str) -> None:
    model = MODELS[kind]
    texts = ["the cat sat", "", "a dog!", "the zebra sat", "the cat sat"]
    for text, found in zip(texts, model.score(texts, batch_size=3), strict=True):
        ids = model.tokenizer.encode(text)
        path = chance(model, ids)
        expected = sum(math.log(path[k, number]) for k, number in enumerate([*ids, EOS]))
        assert found.score == pytest.approx(expected, rel=1e-6)
        assert found.words == len(text.split()) + 1
        assert found.unknown == model.tokenizer.unknown(text)
    assert model.score(texts)[3].unknown == {"words": ["zebra"], "characters": ["z", "b"]}.get(
        kind, []
    )


def test_next_words_and_the_end_of_the_line_have_probability_one() -> None:
    """Scores of lines, of next words and of their completions are the same model's."""
    model = MODELS["words"]
    (words,) = model.predict(["the cat"], n=1000)
    beginning = model.score(["the cat"])[0].score
    ends = math.exp(beginning - score_of(model, "the cat"))
    unknown = chance(model, model.tokenizer.encode("the cat"))[-1][UNK]
    assert sum(c.probability for c in words.candidates) + ends + unknown == pytest.approx(1)


def score_of(model: LanguageModel, text: str) -> float:
    """The logarithm of the probability that a line begins with these words."""
    ids = model.tokenizer.encode(text)
    path = chance(model, ids)
    return sum(math.log(path[k, number]) for k, number in enumerate(ids))


# --- sessions


PARTS = ["the", "cat sat ", " on", "zebra", "the mat, a", "dog!"]


@each_kind
@pytest.mark.parametrize("cell", CELLS)
def test_a_session_predicts_as_the_model_for_the_whole_text(kind: str, cell: str) -> None:
    model = model_of(MODELS[kind].tokenizer, cell=cell)
    session = model.session()
    for turn in range(2):
        text = ""
        for part in PARTS[turn:]:
            assert bits([session.predict(4)]) == bits(model.predict([text], n=4))
            for prefix in ("", "ca", "m", "the ca"):
                whole = f"{text} {prefix}"
                assert bits([session.complete(prefix, 3)]) == bits(model.complete([whole], n=3))
            session.feed(part)
            text = f"{text} {part.strip()}".strip()
            assert session.text == text
        session.reset()
        assert session.text == ""


def test_a_session_reads_each_symbol_once() -> None:
    model = model_of(units_of("words"))
    network, read = model.network, []
    run = network._run

    def counted(ids: np.ndarray, past: np.ndarray) -> Any:
        read.append(ids.shape[1])
        return run(ids, past)

    network._run = counted  # type: ignore[method-assign]
    session = model.session()
    for part in ("the cat", "sat", "on the mat"):
        session.feed(part)
    # all six symbols but the last, which is read where something is asked
    assert sum(read) == 6
    session.predict()
    session.complete("ca")
    assert sum(read) == 8


class Fickle(Tokenizer):
    """Reads the first word as another once the line goes on with "sat"."""

    def encode(self, text: str) -> list[int]:
        return super().encode(text.replace("the", "a") if text.endswith("sat") else text)


def test_earlier_words_may_be_tokenized_anew() -> None:
    model = model_of(Fickle(MODELS["words"].tokenizer.vocabulary))
    session = model.session()
    session.feed("the cat")
    session.feed("sat")
    assert bits([session.predict(3)]) == bits(model.predict(["the cat sat"], n=3))
    assert bits(model.predict(["the cat sat"])) != bits(MODELS["words"].predict(["the cat sat"]))


# --- the same text, the same answer

SENTENCES = [
    *map(" ".join, itertools.product(["the", "a"], ["cat", "dog", "zoo"], ["sat", "can", "ma"])),
    "", "the", "a cat can see the dog", "the man, the mat on the mat and the man", " ",
]  # fmt: skip


@each_kind
@pytest.mark.parametrize("cell", CELLS)
def test_an_answer_does_not_depend_on_the_other_texts(kind: str, cell: str) -> None:
    model = model_of(MODELS[kind].tokenizer, cell=cell)
    order = np.random.default_rng(1).permutation(len(SENTENCES)).tolist()

    def lines(texts: Sequence[str], size: int) -> list[str]:
        return [f"{one.score.hex()} {one.words}" for one in model.score(texts, batch_size=size)]

    asked: list[Callable[[Sequence[str], int], list[Any]]] = [
        lambda texts, size: bits(model.predict(texts, n=3, batch_size=size)),
        lambda texts, size: bits(model.complete(texts, n=3, batch_size=size)),
        lines,
    ]
    for ask in asked:
        expected = ask(SENTENCES, 257)
        assert len({str(one) for one in expected}) > 10
        for size, every in ((1, 3), (7, 1)):
            assert ask(SENTENCES[::every], size) == expected[::every]
        assert ask([SENTENCES[k] for k in order], 16) == [expected[k] for k in order]
        assert ask([SENTENCES[0]] * 2, 16) == expected[:1] * 2
        assert ask([], 16) == []


# --- what is refused


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("name", ["n", "beam", "batch_size"])
def test_counts_below_one_are_refused(name: str, value: int) -> None:
    for model in MODELS.values():
        for ask in (model.predict, model.complete):
            with pytest.raises(SettingError, match=f"^{name} is {value}, expected 1 or more"):
                ask(["the"], **{name: value})  # type: ignore[arg-type]
    if name == "batch_size":
        with pytest.raises(SettingError, match=f"^batch_size is {value}"):
            MODELS["words"].score(["the"], batch_size=value)
    else:
        session = MODELS["words"].session()
        with pytest.raises(SettingError, match=f"^{name} is {value}"):
            session.predict(**{name: value})
        with pytest.raises(SettingError, match=f"^{name} is {value}"):
            session.complete("c", **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("count", 0, "1 or more"),
        ("most", 0, "1 or more"),
        ("temperature", -0.1, "0 or more"),
        ("temperature", math.nan, "0 or more"),
        ("seed", -1, "0 or more"),
        ("top_p", 0.0, "more than 0, up to 1"),
        ("top_p", 1.01, "more than 0, up to 1"),
        ("top_p", math.nan, "more than 0, up to 1"),
    ],
)
def test_sampling_options_out_of_their_limits_are_refused(
    name: str, value: float, expected: str
) -> None:
    with pytest.raises(SettingError, match=f"^{name} is {value}, expected {expected}"):
        MODELS["words"].generate(["the"], **{name: value})  # type: ignore[arg-type]


def test_name_path_and_metadata() -> None:
    model = MODELS["words"]
    assert (model.name, model.path, model.has_features) == ("toy", Path("runs/toy"), False)
    assert model.metadata == {"scores": {}}
    assert model.network.begin == BOS


ASKS: dict[str, Callable[[LanguageModel, Any], Any]] = {
    "predict": lambda model, texts: model.predict(texts, n=2),
    "complete": lambda model, texts: model.complete(texts, n=2),
    "generate": lambda model, texts: model.generate(texts, count=2),
    "score": lambda model, texts: model.score(texts),
}


@pytest.mark.parametrize("name", ASKS)
def test_texts_of_every_kind_are_answered(name: str) -> None:
    model, ask = MODELS["words"], ASKS[name]
    texts = ["the cat", "a", "the cat"]
    expected = ask(model, texts)
    assert len(expected) == 3
    assert ask(model, (text for text in texts)) == expected
    assert ask(model, texts[0]) == expected[:1]
    answers = ask(model, pd.Series([*texts[:2], None], index=[4, 4, 2]))
    assert answers.tolist() == [*expected[:2], None]
    assert answers.index.tolist() == [4, 4, 2]
    for wrong in (None, [None], [b"a"], ["a", math.nan]):
        with pytest.raises(UsageError, match=r"^texts"):
            ask(model, wrong)
