"""What words share: stems, shapes, beginnings and endings, from a table of words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charseq.training.next_word import TRAITS, shape, stem, traits_of

WORDS = {
    # word: (stem, shape)
    "walked": ("walked", "x"),
    "Walked,": ("walked", "Xx,"),
    "WALKED!?": ("walked", "XX!?"),
    '"Hello,"': ("hello", '"Xx,"'),
    "“Hello”": ("hello", "“Xx”"),
    "(and": ("and", "(x"),
    "I": ("i", "Xx"),
    "a": ("a", "x"),
    "McDonald's": ("mcdonald's", "Xx"),
    "iPhone": ("iphone", "x"),
    # an apostrophe or hyphen inside is part of the word, outside it is a sign
    "don't": ("don't", "x"),
    "'tis": ("tis", "'x"),
    "boys'": ("boys", "x'"),
    "well-fed,": ("well-fed", "x,"),
    "U.S.": ("u.s", "XX."),
    # digits
    "1812": ("1812", "0"),
    "3.50,": ("3.50", "0,"),
    "1st": ("1st", "0"),
    "'90s": ("90s", "'0"),
    "B2B": ("b2b", "XX"),
    "x2": ("x2", "x"),
    "C4": ("c4", "XX"),
    # signs alone are their own stem and shape
    "--": ("--", "--"),
    "...": ("...", "..."),
    "—": ("—", "—"),
    "'": ("'", "'"),
    "❤\ufe0f": ("❤\ufe0f", "❤\ufe0f"),
    "": ("", ""),
    # small letters that are more, fewer or other than their capitals
    "İ": ("i\u0307", "Xx"),
    '"İstanbul,': ("i\u0307stanbul", '"Xx,'),
    "«İSTANBUL»": ("i\u0307stanbul", "«XX»"),
    "ΟΔΟΣ,": ("οδος", "XX,"),
    "ẞ": ("ß", "Xx"),
    # a mark belongs to the letter before it, also to the last
    "cafe\u0301,": ("cafe\u0301", "x,"),
    "E\u0301,": ("e\u0301", "Xx,"),
    "CAFE\u0301": ("cafe\u0301", "XX"),
    "हिन्दी।": ("हिन्दी", "x।"),
    "good❤\ufe0f": ("good", "x❤\ufe0f"),
    # scripts without capitals
    "«мир»": ("мир", "«x»"),
    "世界。": ("世界", "x。"),
}


@pytest.mark.parametrize("word", WORDS)
def test_stem_and_shape(word: str) -> None:
    assert (stem(word), shape(word)) == WORDS[word]


@given(st.text())
def test_any_text_has_traits(word: str) -> None:
    """Signs around a stem change the shape, and nothing else but the shape."""
    core, form = stem(word), shape(word)
    letters = [letter for letter in word if letter.isalnum()]
    assert (core == word == form) or letters
    if letters:
        quoted = f'"{word},'
        assert stem(quoted) == core
        assert shape(quoted) == f'"{form},'


def test_the_traits_are_stem_shape_beginning_and_endings() -> None:
    assert [trait("“Walking,") for trait in TRAITS] == ["walking", "“Xx,", "walk", "ing", "ng"]
    assert [trait("Ox") for trait in TRAITS] == ["ox", "Xx", "ox", "ox", "ox"]


def test_equal_values_have_one_number_and_different_ones_have_different_numbers() -> None:
    words = ["walked", "Walked,", "talked", "--", "walked", "ked", "WALKED"]
    table = traits_of(words)
    assert table.shape == (len(TRAITS), len(words))
    assert table.dtype == np.int64
    for row, trait in zip(table, TRAITS, strict=True):
        values = [trait(word) for word in words]
        for one, other in zip(values, row, strict=True):
            for value, number in zip(values, row, strict=True):
                assert (one == value) == (other == number)
    assert np.array_equal(table[:, 0], table[:, 4])
    assert sorted(set(table.flat)) == list(range(table.max() + 1)), "no number is left out"


def test_no_number_is_of_two_traits() -> None:
    """The same letters as stem, beginning and ending are three values."""
    table = traits_of(["ox", "cat", "ox"])
    numbers = [set(row) for row in table]
    assert sum(map(len, numbers)) == len(set().union(*numbers)) == table.max() + 1


def test_values_are_numbered_in_the_order_of_the_words() -> None:
    """So further words behind the others leave the numbers of each trait in their order."""
    table = traits_of(["walked", "Talked", "walked"])
    assert table.tolist() == [[0, 1, 0], [2, 3, 2], [4, 5, 4], [6, 6, 6], [7, 7, 7]]
    again = traits_of(["walked", "Talked", "walked"])
    assert np.array_equal(table, again)


def test_without_words_there_are_no_values() -> None:
    assert traits_of([]).shape == (len(TRAITS), 0)
