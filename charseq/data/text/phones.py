"""Phones between spaces <-> letters and diacritic marks as symbols: ǎː ˈu is a ◌̌ ◌ː ˈ◌ u.

Marks of length, tone and stress occur with many letters. Where a letter with its marks is a single
symbol, a model learns nothing about a long u from a long a. A mark is worth being a symbol of its
own if it occurs with several letters that also occur without it. Such a symbol is the mark beside a
dotted circle, as Unicode prints a mark alone, which distinguishes it from a phone.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

from charseq.errors import SettingError

DOTTED_CIRCLE = "\u25cc"
MIN_LETTERS = 3
"""Letters with and without a mark, at least, for the mark to be a symbol of its own."""
MIN_COUNT = 2
"""Occurrences of such a letter with the mark, and without it, at least."""

_LETTERS = frozenset(("Lu", "Ll", "Lt", "Lo"))
_TIES = frozenset("\u035c\u0361")  # tie bars join two letters


def split_marks(phone: str, marks: Collection[str]) -> list[str]:
    """A phone -> the ``marks`` at its beginning, its letter, and the ``marks`` at its end."""
    first, last = 0, len(phone)
    while last > 1 and DOTTED_CIRCLE + phone[last - 1] in marks:
        last -= 1
    while first < last - 1 and phone[first] + DOTTED_CIRCLE in marks:
        first += 1
    before = [mark + DOTTED_CIRCLE for mark in phone[:first]]
    return [*before, phone[first:last], *(DOTTED_CIRCLE + mark for mark in phone[last:])]


def join_marks(symbols: Iterable[str]) -> str:
    """Symbols -> phones between single spaces; the inverse of :func:`split_marks`."""
    spaced = "".join([" ", *" ".join(symbols), " "])
    return spaced.replace(" " + DOTTED_CIRCLE, "").replace(DOTTED_CIRCLE + " ", "").strip(" ")


def is_mark(symbol: str) -> bool:
    """Whether a symbol is a mark: one character beside the dotted circle."""
    return len(symbol) == 2 and DOTTED_CIRCLE in symbol


def find_marks(phones: Mapping[str, int]) -> list[str]:
    """Phones in NFD and their counts -> the marks that are worth being symbols, as symbols."""
    forms: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for phone, number in phones.items():
        letters = [at for at, character in enumerate(phone) if not _is_separable(character)]
        if letters:
            first, last = letters[0], letters[-1] + 1
            before = [mark + DOTTED_CIRCLE for mark in phone[:first]]
            marks = (*before, *(DOTTED_CIRCLE + mark for mark in phone[last:]))
            forms[phone[first:last]][marks] += number
    found: Counter[str] = Counter()
    for seen in forms.values():
        total = seen.total()
        for mark in set().union(*seen):
            marked = sum(number for marks, number in seen.items() if mark in marks)
            found[mark] += marked >= MIN_COUNT and total - marked >= MIN_COUNT
    return sorted(mark for mark, letters in found.items() if letters >= MIN_LETTERS)


def marked_share(phones: Mapping[str, int], marks: Collection[str]) -> float:
    """Phones in NFD and their counts -> the share of them with any of ``marks``."""
    marked = sum(number for phone, number in phones.items() if len(split_marks(phone, marks)) > 1)
    return marked / max(1, sum(phones.values()))


def count_symbols(phones: Mapping[str, int]) -> Counter[str]:
    """Phones in NFD and their counts -> letters and marks, and their counts.

    Raises:
        SettingError: a phone contains the dotted circle.
    """
    for phone in phones:
        if DOTTED_CIRCLE in phone:
            raise SettingError(
                f"symbols are decomposed, but '{phone[:40]}' has {DOTTED_CIRCLE}, as marks do: "
                "take spaced"
            )
    marks = find_marks(phones)
    found: Counter[str] = Counter()
    for phone, number in phones.items():
        for symbol in split_marks(phone, marks):
            found[symbol] += number
    return found


def _is_separable(character: str) -> bool:
    """Whether a character may be a mark: neither a letter nor a tie bar."""
    return unicodedata.category(character) not in _LETTERS and character not in _TIES
