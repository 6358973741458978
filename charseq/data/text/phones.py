"""phones between spaces <-> letters, and marks of their own: ǎː ˈu is a ◌̌ ◌ː ˈ◌ u.

Length, tone and stress stand on many letters. Where each letter with its marks is one symbol, what
is learnt of a long a says nothing of a long u. A mark that stands on several letters which are
also seen without it may be a symbol of its own: it keeps a dotted circle, as Unicode prints a mark
that stands alone, so that it is told from a phone. It knows no ids.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

from charseq.errors import SettingError

HOLDER = "\u25cc"
FEWEST_LETTERS = 3
"""On how many letters a mark stands, at least, to be a symbol of its own."""
SEEN = 2
"""How often a letter is seen, at least, with a mark and without it."""

_LETTERS = frozenset(("Lu", "Ll", "Lt", "Lo"))
_TIES = frozenset("\u035c\u0361")  # they stand between two letters


def cut(phone: str, marks: Collection[str]) -> list[str]:
    """A phone's letter, and around it those of ``marks`` that it begins or ends with."""
    first, last = 0, len(phone)
    while last > 1 and HOLDER + phone[last - 1] in marks:
        last -= 1
    while first < last - 1 and phone[first] + HOLDER in marks:
        first += 1
    before = [mark + HOLDER for mark in phone[:first]]
    return [*before, phone[first:last], *(HOLDER + mark for mark in phone[last:])]


def join(symbols: Iterable[str]) -> str:
    """Phones between single spaces, each with its marks; the inverse of :func:`cut`."""
    spaced = "".join([" ", *" ".join(symbols), " "])
    return spaced.replace(" " + HOLDER, "").replace(HOLDER + " ", "").strip(" ")


def is_mark(symbol: str) -> bool:
    """Whether a symbol is a mark and not a phone: one character beside the dotted circle."""
    return len(symbol) == 2 and HOLDER in symbol


def marks_of(phones: Mapping[str, int]) -> list[str]:
    """The marks that are worth to be symbols, as such, of phones in NFD with their counts."""
    forms: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for phone, number in phones.items():
        letters = [place for place, one in enumerate(phone) if not _may_be_cut(one)]
        if letters:
            first, last = letters[0], letters[-1] + 1
            before = [mark + HOLDER for mark in phone[:first]]
            marks = (*before, *(HOLDER + mark for mark in phone[last:]))
            forms[phone[first:last]][marks] += number
    found: Counter[str] = Counter()
    for seen in forms.values():
        total = seen.total()
        for mark in set().union(*seen):
            having = sum(number for marks, number in seen.items() if mark in marks)
            found[mark] += having >= SEEN and total - having >= SEEN
    return sorted(mark for mark, letters in found.items() if letters >= FEWEST_LETTERS)


def share(phones: Mapping[str, int], marks: Collection[str]) -> float:
    """How many of the phones, in NFD with their counts, have any of ``marks``."""
    marked = sum(number for phone, number in phones.items() if len(cut(phone, marks)) > 1)
    return marked / max(1, sum(phones.values()))


def count(phones: Mapping[str, int]) -> Counter[str]:
    """The symbols of phones with their counts: letters, and marks that are worth it.

    Raises:
        SettingError: a phone has the dotted circle of marks.
    """
    for phone in phones:
        if HOLDER in phone:
            raise SettingError(
                f"symbols are parts, but '{phone[:40]}' has {HOLDER}, as marks do: take spaced"
            )
    marks = marks_of(phones)
    found: Counter[str] = Counter()
    for phone, number in phones.items():
        for symbol in cut(phone, marks):
            found[symbol] += number
    return found


def _may_be_cut(character: str) -> bool:
    return unicodedata.category(character) not in _LETTERS and character not in _TIES
