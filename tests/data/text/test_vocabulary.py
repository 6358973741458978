"""Symbols and ids: no letter is lost, ids are in order, bad JSON is refused."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charseq.data.text.normalise import normalise
from charseq.data.text.subwords import BYTES
from charseq.data.text.vocabulary import (
    EOS,
    KINDS,
    MAX_SYMBOL_LENGTH,
    SPACED,
    SUBWORDS,
    UNK,
    Vocabulary,
    build,
)
from charseq.errors import CharseqError, CheckpointError, MissingExtraError, SettingError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TRICKY = st.text(
    st.sampled_from("abé\u0301 한\u1112\u1161👩\u200d👧ﬁ\u2581\u0000\n\u3000"), max_size=12
)
TEXTS = st.lists(TEXT | TRICKY, max_size=8)

each_subword = pytest.mark.parametrize("kind", SUBWORDS)


def small(kind: str, changes: dict[str, object]) -> dict[str, object]:
    """A sound vocabulary as JSON, with fields changed."""
    return build(["ab", "ba", "b"], kind=kind, features=["V;PST", "N"])[0].to_json() | changes


# --- ids


def test_ids_are_specials_then_symbols_by_count_then_features() -> None:
    vocabulary, _ = build(["bca", "bc", "b"], features=["V;PST", "V"])
    assert vocabulary.symbols == ("b", "c", "a")
    assert vocabulary.features == ("V", "PST")
    assert len(vocabulary) == 9
    assert vocabulary.encode("abc", "PST;V") == [6, 4, 5, 8, 7]


def test_equal_counts_are_ordered_by_code_point_whatever_the_order_of_the_texts() -> None:
    one, _ = build(["zé", "ba"])
    other, _ = build(["ab", "éz"])
    assert one == other
    assert one.symbols == ("a", "b", "z", "é")


def test_unseen_symbols_and_features_are_marked_and_named_once_in_order() -> None:
    vocabulary, _ = build(["ab"], features=["V"])
    assert vocabulary.encode("axbyx", "V;Q") == [4, UNK, 5, UNK, UNK, 6, UNK]
    assert vocabulary.unknown("ayxbx", "Q;V;Q") == ["y", "x", "Q"]
    assert vocabulary.unknown("ab", "V") == []


def test_a_feature_and_a_symbol_of_the_same_name_have_different_ids() -> None:
    vocabulary, _ = build(["V"], features=["V"])
    assert vocabulary.encode("V", "V") == [4, 5]


@pytest.mark.parametrize("kind", KINDS)
def test_eos_stands_before_features_if_ended(kind: str) -> None:
    """It says nothing when it is read back, and is there without features or symbols."""
    vocabulary, _ = build(["ab", "ba", "b"], kind=kind, features=["V;PST"])
    text, tags = vocabulary.encode("ba b"), vocabulary.encode("", "V;PST")
    ended = vocabulary.encode("ba b", "V;PST", ended=True)
    assert ended == [*text, EOS, *tags]
    assert vocabulary.decode(ended) == vocabulary.decode(text)
    assert vocabulary.encode("ba b", ended=True) == [*text, EOS]
    assert vocabulary.encode("", ended=True) == [EOS]
    assert vocabulary.encode("ba b", "V;PST") == [*text, *tags]


def test_decode_skips_specials_and_features_and_refuses_foreign_ids() -> None:
    vocabulary, _ = build(["ab"], features=["V"])
    assert vocabulary.decode([1, 4, 0, 3, 5, 6, 2]) == "ab"
    with pytest.raises(IndexError):
        vocabulary.decode([7])


def test_min_count_leaves_out_rare_symbols_only() -> None:
    vocabulary, _ = build(["aab", "ac"], min_count=2, features=["V"])
    assert vocabulary.symbols == ("a",)
    assert vocabulary.features == ("V",)


# --- kinds


def test_spaced_cuts_at_the_space_character_only() -> None:
    vocabulary, _ = build(["t͡ʃ a", "\u00a0 \u3000 \u2009"], kind="spaced")
    assert vocabulary.split("  t͡ʃ  a ") == ["t͡ʃ", "a"]
    assert vocabulary.split("\u00a0 \u3000\t") == ["\u00a0", "\u3000\t"]
    assert vocabulary.decode(vocabulary.encode(" t͡ʃ  a")) == "t͡ʃ a"


PHONES = ["ǎː a t", "a aː b", "ǔ u t t", "i iː b", "i ǐ ǐ", "uː u ǔ uː", "ǎ t͡ʃ a"] * 2


def test_marks_that_stand_on_many_letters_are_symbols_of_their_own() -> None:
    vocabulary, line = build(PHONES)
    assert vocabulary.kind == "decomposed"
    assert set(vocabulary.symbols) == {"a", "i", "u", "b", "t", "t͡ʃ", "◌ː", "◌\u030c"}
    assert (vocabulary.form, vocabulary.written) == ("NFD", "NFC")
    assert "marks" in line
    assert vocabulary.split(" ǎː  b") == ["a", "◌\u030c", "◌ː", "b"]
    assert vocabulary.pieces(" ǎː  b") == ["a\u030cː", "b"]  # errors are counted in phones
    for text in PHONES:
        assert vocabulary.decode(vocabulary.encode(text)) == text
        backward = vocabulary.encode(text, backward=True)
        assert vocabulary.decode(reversed(backward)) == text
    assert vocabulary.unknown("ěː") == ["e"]  # what is known of marks holds for unseen letters
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


def test_phones_may_be_kept_whole_and_marks_be_cut_where_few_have_them() -> None:
    assert "ǎː" in build(PHONES, kind="spaced")[0].symbols
    few = ["b c d f g"] * 80 + PHONES
    assert build(few)[0].kind == "spaced"
    assert "◌ː" in build(few, kind="decomposed")[0].symbols
    composed, _ = build(PHONES, kind="decomposed", form="NFC")  # a letter and its tone are one then
    assert composed.split("ǎː") == ["ǎ", "◌ː"]


def test_a_dotted_circle_in_the_texts_is_not_taken_for_a_mark() -> None:
    vocabulary, _ = build([*PHONES, "a ◌ː b"])
    assert vocabulary.kind == "spaced"
    assert vocabulary.decode(vocabulary.encode("a ◌ː")) == "a ◌ː"
    with pytest.raises(SettingError, match="take spaced"):
        build(["◌ː a"], kind="decomposed")


def test_graphemes_keep_a_family_and_a_syllable_whole() -> None:
    vocabulary, _ = build(["👩‍👩‍👧नि"], kind="graphemes")
    assert vocabulary.split("नि👩‍👩‍👧") == ["नि", "👩‍👩‍👧"]
    assert len(vocabulary.symbols) == 2


def test_graphemes_without_regex_name_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "regex", None)
    with pytest.raises(MissingExtraError, match=r"pip install regex$"):
        build(["a"], kind="graphemes")


def test_hangul_is_learnt_as_jamo_and_written_as_syllables() -> None:
    vocabulary, line = build(["한국어", "학교 abc"])
    assert (vocabulary.form, vocabulary.written) == ("NFD", "NFC")
    assert vocabulary.split("한") == ["\u1112", "\u1161", "\u11ab"]
    assert vocabulary.decode(vocabulary.encode("한국")) == "한국"
    assert "jamo" in line


def test_composed_and_decomposed_spellings_are_the_same_symbols() -> None:
    vocabulary, _ = build(["é"])
    assert vocabulary.encode("e\u0301") == vocabulary.encode("é") == [4]


def test_decomposed_texts_come_back_decomposed() -> None:
    vocabulary, line = build(["e\u0301a", "u\u0308", "o"])
    assert vocabulary.written == "NFD"
    assert vocabulary.decode(vocabulary.encode("é")) == "e\u0301"
    assert "NFD" in line


def test_form_none_changes_nothing() -> None:
    vocabulary, _ = build(["e\u0301é"], form="none")
    assert vocabulary.decode(vocabulary.encode("ée\u0301")) == "ée\u0301"


def test_symbols_that_are_cut_already_have_the_same_ids() -> None:
    vocabulary, _ = build(["a bc", "bc"], kind="spaced")
    assert vocabulary.symbol_ids(["bc", "x", "a"]) == vocabulary.encode("bc x a") == [4, UNK, 5]


@pytest.mark.parametrize("kind", ["spaced", "graphemes"])
def test_a_symbol_too_long_for_a_checkpoint_is_left_out(kind: str) -> None:
    longer = "x" + "\u0331" * MAX_SYMBOL_LENGTH
    vocabulary, _ = build([longer, "a"], kind=kind)
    assert vocabulary.symbols == ("a",)
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


@each_subword
def test_unseen_text_comes_back_exactly_from_subwords(kind: str) -> None:
    vocabulary, _ = build(["the cat", "the hat"] * 20, kind=kind)
    for text in [
        " a  b ",
        "\u2581x\u2581",
        "😀",
        "\0\t\r\n",
        "<0x41><unk>",
        "\ufeff\u3000",
        "null",
    ]:
        assert vocabulary.decode(vocabulary.encode(text)) == text
        assert vocabulary.unknown(text) == []
    assert "".join(vocabulary.split("the")) == "the"


@each_subword
def test_subwords_of_texts_without_spaces_still_return_spaces(kind: str) -> None:
    vocabulary, _ = build(["ab", "ba"] * 5, kind=kind)
    assert vocabulary.decode(vocabulary.encode(" a \u2581 b ")) == " a \u2581 b "


@each_subword
def test_broken_bytes_from_a_model_become_a_replacement_character(kind: str) -> None:
    vocabulary, _ = build(["ab"], kind=kind)
    assert vocabulary.decode([4 + 0xE2, 4 + 0x41]) == "\ufffdA"


@settings(deadline=None, max_examples=60)
@given(texts=TEXTS, form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD", "none"]))
@pytest.mark.parametrize("kind", ["characters", "graphemes"])
def test_text_comes_back(kind: str, texts: list[str], form: str) -> None:
    vocabulary, _ = build(texts, kind=kind, form=form)
    for text in texts:
        assert vocabulary.unknown(text) == []
        back = vocabulary.decode(vocabulary.encode(text))
        assert back == normalise(normalise(text, form), vocabulary.written)
        assert len(vocabulary.encode(text)) == len(vocabulary.split(text))


@settings(deadline=None, max_examples=60)
@given(texts=TEXTS)
@pytest.mark.parametrize("kind", SPACED)
def test_spaced_text_comes_back_with_single_spaces(kind: str, texts: list[str]) -> None:
    texts = [text.replace("◌", "") for text in texts]
    vocabulary, _ = build(texts, kind=kind, form="none")
    for text in texts:
        pieces = [piece for piece in text.split(" ") if piece]
        assert vocabulary.decode(vocabulary.encode(text)) == " ".join(pieces)


@settings(deadline=None, max_examples=25)
@given(texts=TEXTS, others=TEXTS)
@each_subword
def test_subwords_lose_nothing_seen_or_unseen(
    kind: str, texts: list[str], others: list[str]
) -> None:
    vocabulary, _ = build(texts, kind=kind, form="none", subword_size=300)
    for text in texts + others:
        ids = vocabulary.encode(text)
        assert vocabulary.decode(ids) == text
        assert UNK not in ids


# --- building


@each_subword
def test_building_twice_gives_the_same_subwords(kind: str) -> None:
    texts = ["banana bandana", "ananas", "a band"] * 10
    assert build(texts, kind=kind) == build(texts, kind=kind)


def test_bpe_and_unigram_are_learnt_and_read_by_their_own_rules() -> None:
    texts = ["banana bandana", "ananas", "a band"] * 10
    pieces = {kind: build(texts, kind=kind)[0] for kind in SUBWORDS}
    assert pieces["bpe"].symbols != pieces["subwords"].symbols
    # Merged first where the pair was most frequent, whatever is left over.
    assert pieces["bpe"].split("bandanas") == ["band", "anas"]
    assert pieces["bpe"].extended(build(["xyz"])[0]) == pieces["bpe"]
    # The same pieces and scores: a and bc have the larger sum, ab is the better pair.
    symbols, scores = (*BYTES, "a", "b", "c", "ab", "bc"), (0.0,) * 256 + (-1, -9, -9, -2, -9)
    for kind, cut in {"subwords": ["a", "bc"], "bpe": ["ab", "c"]}.items():
        assert Vocabulary(kind, "NFC", "NFC", symbols, scores=scores).split("abc") == cut


def test_texts_may_be_a_generator_or_empty() -> None:
    assert build(text for text in ["ab"])[0].symbols == ("a", "b")
    for kind in ("auto", *KINDS):
        assert build([], kind=kind)[0].encode("") == []


@pytest.mark.parametrize(
    "wrong", [{"kind": "words"}, {"form": "NFX"}, {"feature_separator": ""}], ids=str
)
def test_wrong_settings_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(SettingError):
        build(["a"], **wrong)  # type: ignore[arg-type]


# --- JSON


@settings(deadline=None, max_examples=40)
@given(texts=TEXTS, kind=st.sampled_from(KINDS), features=st.lists(TEXT, max_size=3))
def test_json_round_trip(texts: list[str], kind: str, features: list[str]) -> None:
    vocabulary, _ = build(texts, kind=kind, features=features)
    back = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert back == vocabulary
    assert [back.encode(t) for t in texts] == [vocabulary.encode(t) for t in texts]


def test_a_vocabulary_that_was_used_can_be_sent_to_another_process() -> None:
    for kind in KINDS:
        vocabulary, _ = build(["a b", "b"], kind=kind)
        ids = vocabulary.encode("a b")
        assert pickle.loads(pickle.dumps(vocabulary)).encode("a b") == ids


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "auto"}, "kind is 'auto', expected one of characters"),
        ({"kind": ["characters"]}, "kind is"),
        ({"form": "nfc"}, "form is 'nfc'"),
        ({"written": "NFKC"}, "written is 'NFKC'"),
        ({"symbols": "ab"}, "symbols is not a list"),
        ({"symbols": {"a": 1}}, "symbols is not a list"),
        ({"symbols": ["a", 1]}, r"symbols\[1\] is 1, expected text"),
        ({"symbols": ["a", None]}, r"symbols\[1\] is None"),
        ({"symbols": ["a", "b", "a"]}, r"symbols\[2\] 'a' stands there twice"),
        ({"symbols": ["a", ""]}, r"symbols\[1\] is empty"),
        ({"symbols": ["\ud800"]}, r"symbols\[0\] .* not Unicode"),
        ({"symbols": ["x" * 1001]}, "too long"),
        ({"symbols": ["ab"]}, "several characters"),
        ({"kind": "spaced", "symbols": ["a b"]}, "a symbol holds a space"),
        ({"kind": "decomposed", "symbols": ["a b"]}, "a symbol holds a space"),
        ({"kind": "decomposed", "symbols": ["a", "◌"]}, "neither a phone nor a mark"),
        ({"kind": "decomposed", "symbols": ["a", "◌ːː"]}, "neither a phone nor a mark"),
        ({"features": ["V", "V"]}, r"features\[1\] 'V' stands there twice"),
        ({"features": None}, "features is not a list"),
        ({"feature_separator": ""}, "feature_separator is ''"),
        ({"feature_separator": 1}, "feature_separator is 1"),
        ({"scores": [0.5, 0.5]}, "scores are for subwords"),
        ({"kind": "subwords"}, "0 scores for 2 subwords"),
        ({"kind": "subwords", "scores": [0.0, 0.0]}, "256 bytes"),
        ({"kind": "bpe"}, "0 scores for 2 subwords"),
        ({"kind": "bpe", "scores": [0.0, 0.0]}, "256 bytes"),
        ({"more": 1}, "'more' is not a field"),
    ],
)
def test_an_invalid_vocabulary_is_refused_in_one_line(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        Vocabulary.from_json(small("characters", changes))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", sorted(small("characters", {})))
def test_a_missing_field_is_named(name: str) -> None:
    value = small("characters", {})
    del value[name]
    with pytest.raises(CheckpointError, match=f"'{name}' is missing"):
        Vocabulary.from_json(value)


@pytest.mark.parametrize("value", [None, [], "a", 3])
def test_something_else_than_an_object_is_refused(value: object) -> None:
    with pytest.raises(CheckpointError, match="expected an object"):
        Vocabulary.from_json(value)


@pytest.mark.parametrize(
    "score", [True, "1", None, float("nan"), float("inf"), 1e30, 10**99], ids=repr
)
@each_subword
def test_a_score_that_is_no_number_is_refused(kind: str, score: object) -> None:
    value = small(kind, {})
    scores = copy.copy(value["scores"])
    assert isinstance(scores, list)
    scores[-1] = score
    with pytest.raises(CheckpointError, match=r"scores\[\d+\]"):
        Vocabulary.from_json({**value, "scores": scores})


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_mangled_vocabulary_is_refused_or_works(data: st.DataObject) -> None:
    """Whatever stands in a field, the worst that comes is a CharseqError."""
    lists = st.lists(TEXT | st.integers(), max_size=4)
    objects = st.dictionaries(TEXT, TEXT, max_size=2)
    junk = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT, lists, objects)
    value = small(data.draw(st.sampled_from(KINDS)), {})
    name = data.draw(st.sampled_from(sorted(value)))
    value[name] = data.draw(junk)
    told, ids, size = "", [], 0
    try:
        vocabulary = Vocabulary.from_json(value)
        ids, size = vocabulary.encode("ab \u2581é", "V;X"), len(vocabulary)
        vocabulary.decode(ids)
    except CharseqError as refusal:
        told = str(refusal)
    assert "\n" not in told
    assert all(0 <= number < size for number in ids)


# --- start-up


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, charseq.data.text.vocabulary;"
        "print([m for m in ('numpy', 'regex', 'sentencepiece', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@each_subword
def test_decoding_subwords_needs_no_sentencepiece(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    vocabulary, _ = build(["ab"], kind=kind)
    ids = vocabulary.encode("ab é")
    fresh = Vocabulary.from_json(vocabulary.to_json())
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    assert fresh.decode(ids) == "ab é"


def test_normalise_knows_every_form() -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert normalise("ﬁé한", form) == unicodedata.normalize(form, "ﬁé한")
    assert normalise("ﬁé", "none") == "ﬁé"
