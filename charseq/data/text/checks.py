"""Validators of texts: calendar dates, times, numbers, and numbers with check digits.

A check has a shape, which is a regular expression that a search can follow, and a rest that is
counted, such as the sum of the digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date
from typing import NamedTuple

from charseq.errors import UsageError

_LEAP = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE = (
    "[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP}-02-29"
)
_HOUR, _MINUTE = "(?:[01][0-9]|2[0-3])", "[0-5][0-9]"
_TIME = f"{_HOUR}:{_MINUTE}(?::{_MINUTE}(?:[.][0-9]+)?)?(?:Z|[+-]{_HOUR}:{_MINUTE})?"
_NUMBER = "[+-]?(?:[0-9]+(?:[.][0-9]*)?|[.][0-9]+)(?:[eE][+-]?[0-9]+)?"
_ISBN = "97[89](?:[- ]?[0-9]){10}|[0-9](?:[- ]?[0-9]){8}[- ]?[0-9X]"
_IBAN = "[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}"
_LUHN = "[0-9](?:[- ]?[0-9])+"


class Check(NamedTuple):
    """A validator: ``shape`` must match the whole text, and then ``rest`` must be true of it."""

    shape: str
    rest: Callable[[str], bool]
    title: str

    def holds(self, text: str) -> bool:
        """Whether ``text`` is valid."""
        return re.fullmatch(self.shape, text) is not None and self.rest(text)


def named(names: str | Iterable[str]) -> tuple[str, ...]:
    """Names of checks, each once; a text has commas between them.

    Raises:
        UsageError: a name that is no check.
    """
    given = names.split(",") if isinstance(names, str) else list(names)
    found = tuple(dict.fromkeys(name.strip() for one in given for name in one.split(",")))
    for name in found:
        if name not in CHECKS:
            raise UsageError(f"check '{name:.40}', expected some of {', '.join(CHECKS)}")
    return found


def is_luhn(text: str) -> bool:
    """Whether the digits end with the check digit of Luhn (ISO/IEC 7812-1, annex B)."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_iban(text: str) -> bool:
    """Whether the number of a bank account has the right check digits (ISO 13616-1).

    The length of each country is not checked.
    """
    plain = text.replace(" ", "")
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def is_isbn(text: str) -> bool:
    """Whether the number of a book, of 10 or 13 digits, has the right last digit (ISO 2108)."""
    plain = text.replace(" ", "").replace("-", "")
    if len(plain) == 13:
        return sum(int(sign) * (1 + 2 * (at % 2)) for at, sign in enumerate(plain)) % 10 == 0
    digits = [10 if sign == "X" else int(sign) for sign in plain]
    return sum(digit * (10 - at) for at, digit in enumerate(digits)) % 11 == 0


def _is_date(text: str) -> bool:
    """Whether the day exists; the year 0000 does not."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_any(_: str) -> bool:
    """True: the shape says all."""
    return True


CHECKS = {
    "date": Check(_DATE, _is_date, "a date YYYY-MM-DD that exists"),
    "time": Check(_TIME, _is_any, "a time HH:MM or HH:MM:SS, with or without a zone"),
    "number": Check(_NUMBER, _is_any, "a number such as 12, -0.5 or 1e6"),
    "isbn": Check(_ISBN, is_isbn, "an ISBN of 10 or 13 digits"),
    "iban": Check(_IBAN, is_iban, "an IBAN"),
    "luhn": Check(_LUHN, is_luhn, "digits that end with the check digit of Luhn, as of a card"),
}
