"""The written rules of the dates: what a string without month names means, and what is no date.

The card of the data (data/README.md) has the same rules in words.
"""

from __future__ import annotations

import re
from datetime import date

# A time of day, with seconds and their fraction, is passed over: its numbers are no part of a date.
TIME = re.compile(
    r"(?:(?<=\d)T|(?<![\d:.-])T?)\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?![\d:])(?:Z|\s*[+-]\d\d:?\d\d)?|"
    r"(?<=\d)T\d{2,6}Z?(?!\d)"
)
ONE_NUMBER = re.compile(r"\W*(\d{2}|\d{4})(\d{2})(\d{2})\W*")
# Not within a longer row of numbers, such as the address of a computer.
THREE_NUMBERS = re.compile(
    r"(?<!\d)(?<!\d[.:/_-])(\d{1,4})([\W_]+)(\d{1,2})[\W_]+(\d{1,4})(?!\d)(?![.:/_-]\d)"
)
MONTH = re.compile(
    r"\W*(?:(?P<y>1[5-9]\d\d|20\d\d)[-/.](?P<m>\d\d?)|(?P<m2>\d\d?)[-/.](?P<y2>1[5-9]\d\d|20\d\d))\W*"
)
YEAR = re.compile(r"\W*(1[5-9]\d\d|20\d\d)\W*")
# Two years, or a year and the last two digits of a later one: an interval.
YEARS = re.compile(r"\W*(?:1[5-9]\d\d|20\d\d)\s*[-–—/]\s*(?:1[5-9]\d\d|20\d\d|\d\d)\W*")


def settled(text: str) -> date | None:
    """The date of digits without letters between them, by the written rule; None for the rest.

    One group: eight digits are year month day, six are two-digit year, month, day. Three groups:
    a first number over 31 is the year, then month, day. Else the year is last; of the other two
    a number over 12 is the day; otherwise a slash between ASCII digits puts the month first, and
    any other sign, or other digits, the day. Two digits are a year from 1950 to 2049. A time of
    day beside them, with colons, does not count.

    Raises:
        ValueError: the rule reads a day that no month has, or a year of one digit.
    """
    text = TIME.sub(" ", text)
    single = ONE_NUMBER.fullmatch(text)
    if single:
        year, month, day = single.groups()
        return date(full_year(year), int(month), int(day))
    triple = THREE_NUMBERS.search(text)
    if not triple:
        return None
    first, between, second, third = triple.groups()
    if int(first) > 31 or len(first) == 4:
        return date(full_year(first), int(second), int(third)) if len(third) < 3 else None
    if len(first) > 2 or len(third) == 3:
        return None
    if len(third) == 1:
        raise ValueError(f"{third} is no year")
    if int(first) > 12 or int(second) > 12:
        month_first = int(second) > 12
    else:
        month_first = "/" in between and first.isascii()
    month, day = (first, second) if month_first else (second, first)
    return date(full_year(third), int(month), int(day))


def full_year(digits: str) -> int:
    """Two digits lie from 1950 to 2049; four are the year itself."""
    year = int(digits)
    return year if len(digits) > 2 else year + (1900 if year >= 50 else 2000)


def reading(text: str) -> str | None:
    """The target of a string without month names: a day, a month, a year; "" for an impossible one.

    None where no rule reads it. A month has two numbers, of which one is a year from 1500 to 2099;
    a year is such a number alone. ISO weeks and days of the year are not read: see the card.
    """
    try:
        if day := settled(text):
            return day.isoformat()
    except ValueError:
        return ""
    if found := MONTH.fullmatch(text):
        year, month = found["y"] or found["y2"], int(found["m"] or found["m2"])
        if found["y"] and "." not in text and month > max(12, int(year) % 100):
            return None  # a year and the last two digits of a later one: two years
        return f"{int(year):04}-{month:02}" if 1 <= month <= 12 else ""
    if found := YEAR.fullmatch(text):
        return f"{int(found[1]):04}"
    return None
