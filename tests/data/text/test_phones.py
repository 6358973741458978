"""Marks of phones: nothing is lost, and marks are found by their counts."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charseq.data.text.phones import (
    DOTTED_CIRCLE,
    count_symbols,
    find_marks,
    join_marks,
    marked_share,
    split_marks,
)
from charseq.errors import SettingError

LONG, HIGH, STRESS = DOTTED_CIRCLE + "ː", DOTTED_CIRCLE + "\u0301", "ˈ" + DOTTED_CIRCLE
TONES = Counter({"a": 9, "aː": 5, "i": 9, "iː": 5, "u": 2, "uː": 2, "t": 9, "t͡s": 9, "a\u0301": 1})


@pytest.mark.parametrize(
    ("phone", "symbols"),
    [
        ("a", ["a"]),
        ("aː", ["a", LONG]),
        ("a\u0301ː", ["a", HIGH, LONG]),
        ("a\u0303ː", ["a\u0303", LONG]),  # the tilde is none of the marks
        ("aː\u0303", ["aː\u0303"]),  # and what stands before it is not taken out of the middle
        ("ː", ["ː"]),  # a mark alone is a phone
        ("ːː", ["ː", LONG]),
        ("t͡s", ["t͡s"]),
        ("ˈa\u0301", [STRESS, "a", HIGH]),
        ("ˈː", ["ˈ", LONG]),
        ("ˈ", ["ˈ"]),
    ],
)
def test_marks_are_cut_from_both_ends_and_a_letter_stays(phone: str, symbols: list[str]) -> None:
    assert split_marks(phone, {LONG, HIGH, STRESS}) == symbols


def test_symbols_are_joined_to_phones_wherever_marks_stand() -> None:
    assert join_marks(["a", HIGH, LONG, "t", "i", LONG]) == "a\u0301ː t iː"
    assert join_marks([STRESS, "a", LONG, STRESS, "e"]) == "ˈaː ˈe"
    assert join_marks([LONG, "a", STRESS]) == "ː a ˈ"  # a network may write what no text has
    assert join_marks([]) == ""
    assert join_marks(["a"]) == "a"


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text("aeˈː\u0301\u0300͡s", min_size=1, max_size=5), max_size=6))
def test_cutting_and_joining_lose_nothing(phones: list[str]) -> None:
    marks = {LONG, HIGH, STRESS}
    assert join_marks(
        [symbol for phone in phones for symbol in split_marks(phone, marks)]
    ) == " ".join(phones)


def test_a_mark_is_a_symbol_if_several_letters_occur_with_and_without_it() -> None:
    assert find_marks(TONES) == [LONG]
    assert find_marks(TONES + Counter(e=1, eː=9)) == [LONG]
    for changed in ({"u": 1}, {"uː": 1}, {"u": 0}):  # too rarely without it, with it, never
        assert find_marks({**TONES, **changed}) == []
    # dental letters are not seen without their mark; aspiration is another matter
    dental = {"t̪": 9, "t̪ʰ": 9, "d̪": 9, "d̪ʰ": 9, "n̪": 9, "n̪ʰ": 9}
    assert find_marks(dental) == [DOTTED_CIRCLE + "ʰ"]
    # ARPAbet: of a vowel's stresses each is seen without the others
    stress = {vowel + digit: 3 for vowel in ("AA", "IY", "ER") for digit in "012"}
    assert find_marks(stress) == [DOTTED_CIRCLE + digit for digit in "012"]
    before = {mark + vowel: 3 for vowel in "aeo" for mark in ("", "ˈ", "'")}
    assert find_marks({**before, "ˈ": 9, "''": 9}) == ["'" + DOTTED_CIRCLE, STRESS]
    assert find_marks({f"{one}{two}": 9 for one in "123" for two in "456"}) == []  # no letter
    assert find_marks({}) == []


def test_a_tie_bar_and_the_letter_after_it_are_no_marks() -> None:
    assert find_marks({a + b: 9 for a in "tdkp" for b in ("", "͡s", "͡", "s")}) == []


def test_the_share_of_marked_phones() -> None:
    assert marked_share(TONES, [LONG]) == pytest.approx(12 / 51)
    assert marked_share(TONES, []) == 0.0
    assert marked_share({}, [LONG]) == 0.0


def test_symbols_of_phones_are_counted() -> None:
    counted = count_symbols(TONES)
    assert counted == {"a": 14, "i": 14, "u": 4, LONG: 12, "t": 9, "t͡s": 9, "a\u0301": 1}


@pytest.mark.parametrize("phone", [LONG, "a" + DOTTED_CIRCLE, DOTTED_CIRCLE])
def test_a_phone_with_the_circle_of_marks_is_refused(phone: str) -> None:
    with pytest.raises(SettingError, match=f"symbols are decomposed, but '{phone}' has ◌"):
        count_symbols({"a": 1, phone: 1})
