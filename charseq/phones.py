"""phones between spaces <-> letters, and marks of their own: ǎː ǔ is a ◌̌ ◌ː u ◌̌.

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

_MARKS = frozenset(("Mn", "Lm", "Sk", "No", "Nd"))
_TIES = frozenset("\u035c\u0361")  # they stand between two letters


def cut(phone: str, marks: Collection[str]) -> list[str]:
    """A phone's letter, and behind it each of ``marks`` that it ends with, as a symbol."""
    end = len(phone)
    while end > 1 and HOLDER + phone[end - 1] in marks:
        end -= 1
    return [phone[:end], *(HOLDER + mark for mark in phone[end:])]


def join(symbols: Iterable[str]) -> str:
    """Phones between single spaces, each with its marks; the inverse of :func:`cut`."""
    return "".join([" ", *" ".join(symbols)]).replace(" " + HOLDER, "").removeprefix(" ")


def marks_of(phones: Mapping[str, int]) -> list[str]:
    """The marks that are worth to be symbols, as such, of phones in NFD with their counts."""
    forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for phone, count in phones.items():
        end = len(phone)
        while end > 1 and _may_be_cut(phone[end - 1]):
            end -= 1
        forms[phone[:end]][phone[end:]] += count
    letters: Counter[str] = Counter()
    for seen in forms.values():
        total = seen.total()
        for mark in set().union(*seen):
            having = sum(count for marks, count in seen.items() if mark in marks)
            letters[mark] += having >= SEEN and total - having >= SEEN
    return sorted(HOLDER + mark for mark, count in letters.items() if count >= FEWEST_LETTERS)


def share(phones: Mapping[str, int], marks: Collection[str]) -> float:
    """How many of the phones, in NFD with their counts, have any of ``marks``."""
    marked = sum(count for phone, count in phones.items() if len(cut(phone, marks)) > 1)
    return marked / max(1, sum(phones.values()))


def count(phones: Mapping[str, int]) -> Counter[str]:
    """The symbols of phones with their counts: letters, and marks that are worth it.

    Raises:
        SettingError: a phone begins like the symbol of a mark.
    """
    for phone in phones:
        if phone.startswith(HOLDER):
            raise SettingError(
                f"symbols are parts, but the phone '{phone[:40]}' begins with {HOLDER}, as marks "
                "do: take spaced"
            )
    marks = marks_of(phones)
    found: Counter[str] = Counter()
    for phone, number in phones.items():
        for symbol in cut(phone, marks):
            found[symbol] += number
    return found


def _may_be_cut(character: str) -> bool:
    return unicodedata.category(character) in _MARKS and character not in _TIES
