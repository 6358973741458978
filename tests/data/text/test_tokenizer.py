"""Words, ids and texts: nothing is lost, the rules for words hold, bad JSON is refused."""

from __future__ import annotations

import json
import os
import sys
import tracemalloc
import unicodedata
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charseq.data import corpus
from charseq.data.text.tokenizer import KINDS, UNKNOWN, Tokenizer, build, encode
from charseq.data.text.vocabulary import BOS, EOS, MAX_SYMBOL_LENGTH, PAD, UNK, Vocabulary
from charseq.errors import CharseqError, CheckpointError, MissingExtraError, SettingError

SENTENCES = Path(__file__).parents[3] / "data" / "sentences"
DATA = Path(os.environ.get("PUBLIC_DATA", Path(__file__).parents[4] / "shared" / "data"))

LINES = ["I love machine learning.", "I love you, don't I?", "You love machine code."]
FORMS_OF_WORDS = [
    "the learner learns learning and unlearning",
    "the machine machines machinery and machinist",
]

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TRICKY = st.text(
    st.sampled_from("aé\u0301 한\u1112\u1161👩\u200d👧ﬁ\u2581\u3000.'’‘\"-“”—,:3$(\t"), max_size=14
)


def made(
    lines: list[str],
    kind: str = "words",
    *,
    case: str = "keep",
    punctuation: str = "keep",
    limit: int = 1000,
    min_count: int = 1,
    form: str = "auto",
    subword_size: int = 300,
    seed: int = 1,
) -> Tokenizer:
    return build(
        lines, kind=kind, case=case, punctuation=punctuation, limit=limit, min_count=min_count,
        form=form, subword_size=subword_size, seed=seed,
    )[0]  # fmt: skip


def rules(punctuation: str = "split", case: str = "keep", form: str = "NFC") -> Tokenizer:
    """No words, only rules."""
    return Tokenizer(Vocabulary("spaced", form, "NFC", ()), case, punctuation)


# --- words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I love machine learning.", "I|love|machine|learning|."),
        ("I don't know, it's well-fed!", "I|don't|know|,|it's|well-fed|!"),
        ("Don’t say “no”.", "Don’t|say|“|no|”|."),
        ("the boys' house", "the|boys'|house"),
        ("the boys’ house", "the|boys’|house"),
        ("'tis the '90s, get 'em!", "'|tis|the|'90s|,|get|'em|!"),
        ("'One,' he said, 'two (the boys').'", "'|One|,|'|he|said|,|'|two|(|the|boys|'|)|.|'"),
        ("He's 6' tall, she's 5'11", "He's|6'|tall|,|she's|5'11"),
        ("He said 'hello there' to me.", "He|said|'|hello|there|'|to|me|."),
        ("'I don't know,' he said.", "'|I|don't|know|,|'|he|said|."),
        ("‘It’s late’", "‘|It’s|late|’"),
        ("rock 'n' roll o'clock", "rock|'|n|'|roll|o'clock"),
        ("rock ’n’ roll", "rock|’n’|roll"),
        ("a ' b", "a|'|b"),
        ("mother-in-law, pre- and post-war", "mother-in-law|,|pre-|and|post-war"),
        ("yes - no -- or—well–now", "yes|-|no|--|or|—|well|–|now"),
        ("word--word", "word|--|word"),
        ("It's -5, $3.50 at 10:30.", "It's|-5|,|$|3.50|at|10:30|."),
        ("1,000 of 24/7, 1914–18: 50%", "1,000|of|24/7|,|1914–18|:|50|%"),
        ("3.", "3|."),
        ("5,a", "5|,|a"),
        ("e.g. the U.S.-based Ph.D. at 5 p.m.", "e.g.|the|U.S.-based|Ph.D|.|at|5|p.m."),
        ("E.g., i.e.", "E.g.|,|i.e."),
        ("A. B", "A|.|B"),
        ("and/or R&D a@b.com snake_case", "and|/|or|R&D|a@b.com|snake_case"),
        ("wait... what?!", "wait|...|what|?|!"),
        ('She said "yes" (maybe).', 'She|said|"|yes|"|(|maybe|)|.'),
        ("great😀🎉 ❤️ 👍🏽 👩‍👩‍👧", "great|😀🎉|❤️|👍🏽|👩‍👩‍👧"),
        ("2+2=4 <unk> `a^b`", "2|+|2|=|4|<|unk|>|`|a|^|b|`"),
        ("你好，世界。", "你好|，|世界|。"),
        ("नमस्ते दुनिया।", "नमस्ते|दुनिया|।"),
        ("می\u200cخواهم، چه؟", "می\u200cخواهم|،|چه|؟"),
        ("e\u0301te\u0301, l’e\u0301te\u0301", "été|,|l’été"),
        (" a\u00a0b\u3000c\td\u2028e ", "a|b|c|d|e"),
    ],
)
def test_split_cuts_signs_from_words(text: str, words: str) -> None:
    assert rules().words(text) == words.split("|")


def test_keep_cuts_at_white_space_only() -> None:
    text = " I  love\u00a0“machine\u3000learning.”\tDon't... "
    assert rules("keep").words(text) == text.split()
    assert rules("keep").join(["a", ",", "b"]) == "a , b"


@pytest.mark.parametrize("punctuation", ["keep", "split"])
@pytest.mark.parametrize("text", ["", " ", "\u3000\t\u00a0"])
def test_a_blank_line_has_no_words(text: str, punctuation: str) -> None:
    units = rules(punctuation)
    assert units.words(text) == []
    assert units.encode(text) == []
    assert units.decode([]) == ""


def test_lower_case_is_a_setting() -> None:
    lower = rules("split", "lower")
    assert lower.words("ÉTÉ, Don't Straße ΟΔΟΣ") == ["été", ",", "don't", "straße", "οδος"]
    # Some forms make capitals of signs that have no small letter.
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        units = rules("keep", "lower", form)
        for word in units.words("ℂ É İ e\u0301"):
            assert unicodedata.is_normalized(form, word)
    assert made(["The the THE"], case="lower").vocabulary.symbols == ("the",)
    assert made(["The the"]).vocabulary.symbols == ("The", "the")


def test_words_are_in_the_vocabularys_form() -> None:
    units = made(["l’été e\u0301te\u0301 ﬁn"], form="NFKC")
    assert units.vocabulary.symbols == ("fin", "l’été", "été")
    assert units.words("e\u0301te\u0301 ﬁn") == ["été", "fin"]
    assert units.encode("e\u0301te\u0301 ﬁn été") == [6, 4, 6]
    # A sign that becomes a space and a mark parts words, in the form they are counted in.
    assert made(["a\u00a8b"], form="NFKC").encode("a\u00a8b") == [4, 5]


# --- back to text


@pytest.mark.parametrize(
    "text",
    [
        "I love machine learning.",
        'He said: "Don\'t!" - and left (at 10:30), for $3.50; why?',
        '"One" "two" \'three\' "four".',
        "“Yes,” she said, ‘no’ [it’s 50% of #1]…",
        "and/or the U.S. word—word wait... no",
        "rock 'n' roll, the boys' club, 'tis 'em",
        "¿Qué? ¡No! “Sí”",
        "你好，世界。再见（你）",
        "مرحبا، كيف؟",
    ],
)
def test_words_come_back_as_they_are_printed(text: str) -> None:
    units = rules()
    assert units.join(units.words(text)) == text
    assert units.join(["", *units.words(text)]).strip() == text


def test_the_bundled_sentences_are_restored() -> None:
    found = corpus.load(SENTENCES)
    units = rules()
    lines = list(chain(found.train, found.dev, found.test))
    assert len(lines) >= 3000
    assert [units.join(units.words(line)) for line in lines] == lines


@settings(max_examples=300)
@given(text=TEXT | TRICKY, case=st.sampled_from(["keep", "lower"]))
@pytest.mark.parametrize("punctuation", ["keep", "split"])
def test_no_sign_but_white_space_is_lost(punctuation: str, text: str, case: str) -> None:
    units = rules(punctuation, case)
    words = units.words(text)
    expected = unicodedata.normalize("NFC", text)
    if case == "lower":
        expected = unicodedata.normalize("NFC", expected.lower())
    assert "".join(words) == "".join(expected.split())
    assert all(words)
    assert "".join(units.join(words).split()) == "".join(words)


@settings(max_examples=200)
@given(texts=st.lists(TEXT | TRICKY, min_size=2, max_size=4))
@pytest.mark.parametrize("punctuation", ["keep", "split"])
def test_the_words_of_a_beginning_are_the_beginning_of_the_words(
    punctuation: str, texts: list[str]
) -> None:
    units = rules(punctuation)
    words = units.words(" ".join(texts))
    for number in range(len(texts)):
        first = units.words(" ".join(texts[:number]))
        assert words[: len(first)] == first
        assert units.join(words).startswith(units.join(first))


@settings(max_examples=200)
@given(
    words=st.lists(
        st.sampled_from(["I", "don't", "well-fed", "3.50", "10:30", "boys'", "e.g.", "été"]),
        min_size=1,
        max_size=8,
    ),
    signs=st.lists(st.sampled_from(["", "", "", ",", ";", ":", "?", "!", "...", ")"]), min_size=8),
)
def test_ordinary_lines_come_back(words: list[str], signs: list[str]) -> None:
    line = " ".join(word + sign for word, sign in zip(words, signs, strict=False))
    units = rules()
    assert units.join(units.words(line)) == line
    assert len(units.words(line)) == len(words) + sum(map(bool, signs[: len(words)]))


# --- ids


def test_ids_are_by_count_then_code_point_and_unseen_words_are_marked() -> None:
    units, how = build(
        LINES, kind="words", punctuation="split", limit=6, min_count=1, subword_size=300, seed=1
    )
    assert units.vocabulary.symbols == ("I", "love", ".", "machine", ",", "?")
    assert units.encode("I love\u00a0machine code, You?") == [4, 5, 7, UNK, 8, UNK, 9]
    assert units.unknown("I love code, You code?") == ["code", "You"]
    assert units.decode([BOS, 4, 5, UNK, 8, 7, 6, EOS, PAD]) == "I love, machine."
    assert how == (
        "the first 6 words seen at least once, of 11; 29.4 % of the text is <unk>; "
        "Unicode form NFC (the default)"
    )


def test_rare_words_are_left_out() -> None:
    units, how = build(LINES, kind="words", limit=9, min_count=2, subword_size=300, seed=1)
    assert units.vocabulary.symbols == ("love", "I", "machine")
    assert how.startswith("3 words seen at least 2 times, of 9; 46.2 % of the text is <unk>; ")
    assert made(LINES, "characters", min_count=3).encode("I z") == [
        made(LINES, "characters", min_count=3).encode("I")[0],
        made(LINES, "characters", min_count=3).encode(" ")[0],
        UNK,
    ]
    assert len(made(LINES, "graphemes", limit=5).vocabulary.symbols) == 5


def test_a_word_too_long_for_a_checkpoint_counts_as_unseen() -> None:
    longest, longer = "x" * MAX_SYMBOL_LENGTH, "y" * (MAX_SYMBOL_LENGTH + 1)
    units = made([f"{longest} {longer}"] * 3)
    assert units.vocabulary.symbols == (longest,)
    assert units.encode(f"{longer} {longest}") == [UNK, 4]
    assert units.unknown(longer) == [longer]
    grapheme = "x" + "\u0301" * MAX_SYMBOL_LENGTH
    assert made([grapheme, "a"], "graphemes").vocabulary.symbols == ("a",)
    for one in (units, made([grapheme, "a"], "graphemes")):
        assert Tokenizer.from_json(one.to_json()) == one


def test_spellings_are_the_texts_of_ids() -> None:
    words = made(LINES)
    assert [words.spelling(i) for i in range(5)] == ["", "", "", UNKNOWN, "love"]
    for kind in ("subwords", "bpe"):
        units = made(["I love", "you love"] * 20, kind, subword_size=280)
        ids = units.encode("you love é")
        assert "".join(units.spelling(i) for i in ids[:-2]) == "you love "
        assert any(units.spelling(i).startswith(" l") for i in ids)
        assert [units.spelling(i) for i in ids[-2:]] == ["\ufffd", "\ufffd"]
        assert units.decode(ids) == "you love é"
    with pytest.raises(IndexError):
        words.spelling(len(words.vocabulary))


@pytest.mark.parametrize("kind", ["subwords", "bpe"])
def test_frequent_words_become_pieces(kind: str) -> None:
    units, how = build(
        FORMS_OF_WORDS * 9, kind=kind, limit=9, min_count=99, subword_size=300, seed=1
    )
    assert how.startswith(f"{len(units.vocabulary.symbols)} pieces")
    assert "none is <unk>" in how
    assert len(units.encode("the machine learning learner")) <= 8
    assert units.words("I love, you") == ["I", "love,", "you"]
    assert units.unknown("é ☃") == []


@settings(max_examples=40)
@given(lines=st.lists(TEXT | TRICKY, max_size=6), others=st.lists(TEXT | TRICKY, max_size=4))
@pytest.mark.parametrize("kind", ["subwords", "bpe"])
def test_pieces_lose_nothing_seen_or_unseen(kind: str, lines: list[str], others: list[str]) -> None:
    units = made(lines, kind, form="none")
    for line in lines + others:
        ids = units.encode(line)
        assert UNK not in ids
        assert units.decode(ids) == line


@settings(max_examples=40)
@given(lines=st.lists(TEXT | TRICKY, max_size=6))
@pytest.mark.parametrize("kind", ["characters", "graphemes"])
def test_characters_lose_nothing_seen(kind: str, lines: list[str]) -> None:
    units = made(lines, kind, form="none")
    for line in lines:
        assert units.decode(units.encode(line)) == line
        assert units.unknown(line) == []
        assert "".join(map(units.spelling, units.encode(line))) == line


@settings(max_examples=60)
@given(lines=st.lists(TEXT | TRICKY, max_size=6))
@pytest.mark.parametrize("punctuation", ["keep", "split"])
def test_words_seen_are_known(punctuation: str, lines: list[str]) -> None:
    units = made(lines, punctuation=punctuation)
    for line in lines:
        words = units.words(line)
        ids = units.encode(line)
        assert UNK not in ids
        assert [units.vocabulary.symbols[i - 4] for i in ids] == words
        back = unicodedata.normalize(units.vocabulary.written, units.join(words))
        assert units.decode(ids) == back


# --- building


class Counted:
    """Lines that can be gone through again, and how often that was done."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.rounds = 0

    def __iter__(self) -> Iterator[str]:
        self.rounds += 1
        for number in range(self.count):
            yield f"w{number % 7} x{number % 11} " * 20


def test_lines_are_iterated_twice_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charseq.data.text.tokenizer.FORM_LINES", 500)
    lines = Counted(10_000)
    tracemalloc.start()
    units = build(lines, kind="words", limit=99, min_count=1, subword_size=300, seed=1)[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert lines.rounds == 2
    assert len(units.vocabulary.symbols) == 18
    assert peak < 0.5e6  # all lines are 1.6 MB


@pytest.mark.parametrize("kind", ["subwords", "bpe"])
def test_pieces_are_learnt_from_a_sample(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charseq.data.text.tokenizer.MAX_TEXTS", 300)
    lines = [line for line in FORMS_OF_WORDS for _ in range(700)]
    first, again = made(lines, kind, seed=3), made(lines, kind, seed=3)
    assert first == again
    # The sample is of the whole, not of the start.
    for word in ("learning", "machine"):
        assert len(first.encode(f" {word} {word}")) <= 6


def test_long_lines_are_learnt_from_too() -> None:
    line = "machine learning " * 5000  # sentencepiece passes over more than 4,192 bytes
    units = made([line, "x" * 80_000], "bpe", subword_size=290)
    assert len(units.encode("machine learning machine learning")) < 8
    assert units.decode(units.encode(line)) == line


def test_hangul_words_come_back_composed() -> None:
    units = made(["한국어 한국어"])
    assert units.vocabulary.form == "NFD"
    assert units.decode(units.encode("한국어")) == "한국어"


def test_no_lines_give_no_words() -> None:
    for kind in KINDS:
        units = made([], kind)
        assert Tokenizer.from_json(units.to_json()) == units
        assert units.kind == kind
        assert units.encode("") == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "spaced"}, "units is 'spaced', expected one of words, subwords"),
        ({"case": "upper"}, "case is 'upper'"),
        ({"punctuation": "drop"}, "punctuation is 'drop'"),
        ({"form": "NFX"}, "form is 'NFX'"),
        ({"kind": "bpe", "case": "lower"}, "only words can be, not bpe"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        made(LINES, **wrong)  # type: ignore[arg-type]


def test_graphemes_without_regex_name_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "regex", None)
    with pytest.raises(MissingExtraError, match=r"pip install regex$"):
        made(LINES, "graphemes")


# --- a split as ids


@pytest.mark.parametrize("kind", KINDS)
def test_all_lines_are_encoded_into_one_array(kind: str) -> None:
    units = made(LINES[:2], kind)
    lines = [*LINES, "", "machine"]
    ids, offsets = encode((line for line in lines), units)
    assert (ids.dtype, offsets.dtype) == (np.int32, np.int64)
    rows = [ids[a:b].tolist() for a, b in pairwise(offsets)]
    assert rows == [units.encode(line) for line in lines]
    assert offsets[0] == 0
    assert offsets[-1] == len(ids)


def test_no_lines_are_no_ids() -> None:
    ids, offsets = encode([], made(LINES))
    assert (ids.dtype, offsets.dtype) == (np.int32, np.int64)
    assert (len(ids), offsets.tolist()) == (0, [0])


def test_a_symbol_takes_four_bytes() -> None:
    lines = Counted(5000)
    units = made(list(lines)[:100])
    tracemalloc.start()
    ids, _ = encode(lines, units)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(ids) == 200_000
    assert peak < 2.5 * ids.nbytes  # the row may be copied once as it grows


# --- JSON


@settings(max_examples=40)
@given(
    lines=st.lists(TEXT, max_size=5),
    kind=st.sampled_from(KINDS),
    punctuation=st.sampled_from(["keep", "split"]),
)
def test_json_round_trip(lines: list[str], kind: str, punctuation: str) -> None:
    units = made(lines, kind, punctuation=punctuation)
    back = Tokenizer.from_json(json.loads(json.dumps(units.to_json())))
    assert back == units
    assert [back.encode(line) for line in lines] == [units.encode(line) for line in lines]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"case": "upper"}, "units: case is 'upper'"),
        ({"case": ["lower"]}, "units: case is"),
        ({"punctuation": None}, "units: punctuation is None"),
        ({"vocabulary": None}, "vocabulary: found NoneType"),
        ({"vocabulary": {"kind": "words"}}, "vocabulary: "),
        ({"more": 1}, "units: expected vocabulary, case and punctuation"),
        ({"case": "lower", "vocabulary": made(["a"], "bpe").vocabulary.to_json()}, "not bpe"),
    ],
)
def test_an_invalid_tokenizer_is_refused_in_one_line(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        Tokenizer.from_json(made(LINES).to_json() | changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, [], "a", {}, {"vocabulary": 1}])
def test_something_else_is_refused(value: object) -> None:
    with pytest.raises(CharseqError, match="units: expected"):
        Tokenizer.from_json(value)


# --- the public set


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no public data at {DATA}")
def test_words_of_the_public_set_are_those_that_were_published() -> None:
    train = corpus.load(DATA / "sentences" / "war_and_peace").train
    units, how = build(train, kind="words", limit=1_000_000, min_count=2, subword_size=1000, seed=1)
    assert len(units.vocabulary.symbols) == 15_611
    assert how.startswith("15,611 words seen at least 2 times, of 34,553; 4.8 % of the text")
    split = rules()
    lines = [line for _, line in zip(range(5000), train, strict=False)]
    back = sum(split.join(split.words(line)) == " ".join(line.split()) for line in lines)
    assert back > 0.99 * len(lines)
