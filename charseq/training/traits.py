"""words -> what they have in common with others: stem, shape, beginning, endings.

A word seen three times has a poor vector of its own. "walked," shares its stem with "walked", its
shape with every small word before a comma, and its ending with "talked,": a vector that is the sum
of a word's own and those of its traits learns from all of them (after Alexandrescu & Kirchhoff
2006, and Bojanowski et al. 2017). Once learnt, the sums are vectors like any others, so only
training knows of traits. It knows no ids and no models.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int

Trait = Callable[[str], str]


def stem(word: str) -> str:
    """The word in small letters without the signs around it; all of it, if it is only signs."""
    core = word[_core(word)]
    return core.lower() if core else word


def shape(word: str) -> str:
    """The signs around the word, and how it is written: x small, X capital, XX capitals, 0 digits.

    For example ``"Xx,`` of ``"Hello,``.
    """
    place = _core(word)
    core = word[place]
    if not core:
        return word
    kind = "x"
    if core[0].isdigit():
        kind = "0"
    elif core.isupper() and sum(letter.isalnum() for letter in core) > 1:
        kind = "XX"
    elif core[0].isupper():
        kind = "Xx"
    return f"{word[: place.start]}{kind}{word[place.stop :]}"


def _core(word: str) -> slice:
    """Where the first letter or digit stands to the last, with its marks; empty without any."""
    places = [k for k, letter in enumerate(word) if letter.isalnum()]
    if not places:
        return slice(0, 0)
    end = places[-1] + 1
    while end < len(word) and unicodedata.category(word[end])[0] == "M":
        end += 1
    return slice(places[0], end)


TRAITS: tuple[Trait, ...] = (
    stem,
    shape,
    lambda word: stem(word)[:4],
    lambda word: stem(word)[-3:],
    lambda word: stem(word)[-2:],
)


def traits_of(words: Sequence[str]) -> Int[np.ndarray, "K V"]:
    """The number of each word's value of each trait.

    Values are numbered in the order of the words, one trait after the other, so equal words in
    equal order have equal numbers.
    """
    table = np.empty((len(TRAITS), len(words)), dtype=np.int64)
    count = 0
    for row, trait in enumerate(TRAITS):
        numbers: dict[str, int] = {}
        table[row] = [numbers.setdefault(trait(word), len(numbers)) for word in words]
        table[row] += count
        count += len(numbers)
    return table
