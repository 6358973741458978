"""words -> what they have in common with others: stem, shape, beginning, endings.

A word seen three times has a poor vector of its own. "walked," shares its stem with "walked", its
shape with every small word before a comma, and its ending with "talked,": a vector that is the sum
of a word's own and those of its traits learns from all of them (after Alexandrescu & Kirchhoff
2006, and Bojanowski et al. 2017). Once learnt, the sums are vectors like any others, so only
training knows of traits. It knows no ids and no models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int

Trait = Callable[[str], str]


def stem(word: str) -> str:
    """The word in small letters without the signs around it; all of it, if it is only signs."""
    first = next((k for k, letter in enumerate(word) if letter.isalnum()), None)
    if first is None:
        return word
    last = next(k for k in range(len(word), 0, -1) if word[k - 1].isalnum())
    return word[first:last].lower()


def shape(word: str) -> str:
    """The signs around the word, and how it is written: x small, X capital, XX capitals, 0 digits.

    For example ``"Xx,`` of ``"Hello,``.
    """
    core = stem(word)
    place = word.lower().find(core)
    inner = word[place : place + len(core)] if len(word.lower()) == len(word) else word
    if not any(letter.isalnum() for letter in inner):
        return word
    kind = "x"
    if inner[:1].isdigit():
        kind = "0"
    elif len(inner) > 1 and inner.isupper():
        kind = "XX"
    elif inner[:1].isupper():
        kind = "Xx"
    return f"{word[:place]}{kind}{word[place + len(core) :]}"


TRAITS: tuple[Trait, ...] = (
    stem,
    shape,
    lambda word: stem(word)[:4],
    lambda word: stem(word)[-3:],
    lambda word: stem(word)[-2:],
)


def traits_of(words: Sequence[str]) -> tuple[Int[np.ndarray, "K V"], int]:
    """The number of each word's value of each trait, and how many values there are in all.

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
    return table, count
