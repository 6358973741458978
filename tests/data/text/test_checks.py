"""Checks by hand, by published numbers, and by changing a digit; names of checks."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest

from charseq.data.text.checks import CHECKS, named
from charseq.data.text.pattern import Pattern
from charseq.errors import UsageError

VALID = {
    "date": ["2021-03-03", "2000-02-29", "0001-01-01", "9999-12-31", "2024-02-29"],
    "time": ["00:00", "23:59", "12:30:59", "12:30:59.123", "12:30Z", "12:30:01+05:30"],
    "number": ["0", "-1", "+3.5", ".5", "5.", "1e6", "1.5E-10", "007"],
    "isbn": ["0-306-40615-2", "0306406152", "978-0-306-40615-7", "9780306406157", "080442957X"],
    "iban": ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "NO9386011117947"],
    "luhn": ["79927398713", "4111 1111 1111 1111", "378282246310005", "00"],
}
"""Among them the examples of ISO 2108, of ISO 13616 and of the patent of Luhn."""
INVALID = {
    "date": ["2021-02-29", "1900-02-29", "2021-04-31", "2021-13-01", "2021-3-3", "0000-01-01",
             "2021-03-03 ", "٢٠٢١-٠٣-٠٣", "20210303", ""],
    "time": ["24:00", "12:60", "1:30", "12:30:60", "12:30+24:00", "12.30", ""],
    "number": ["", ".", "1,5", "1e", "--1", "٣", "1 000", "inf", "nan", "0x1"],
    "isbn": ["0-306-40615-3", "9780306406158", "080442957x", "X804429570", "978030640615", ""],
    "iban": ["GB82 WEST 1234 5698 7654 33", "DE88370400440532013000", "de89370400440532013000", ""],
    "luhn": ["79927398710", "4111 1111 1111 1112", "0", "", "4111--1111", "٧٩٩٢٧٣٩٨٧١٣"],
}  # fmt: skip


def test_every_check_has_examples() -> None:
    assert VALID.keys() == INVALID.keys() == CHECKS.keys()


@pytest.mark.parametrize(("name", "text"), [(k, text) for k, v in VALID.items() for text in v])
def test_valid_texts_pass(name: str, text: str) -> None:
    assert CHECKS[name].holds(text)


@pytest.mark.parametrize(("name", "text"), [(k, text) for k, v in INVALID.items() for text in v])
def test_invalid_texts_do_not_pass(name: str, text: str) -> None:
    assert not CHECKS[name].holds(text)


@pytest.mark.parametrize("name", ["isbn", "iban", "luhn"])
def test_a_changed_digit_is_found(name: str) -> None:
    for text in VALID[name]:
        for at, sign in enumerate(text):
            if sign.isdigit():
                other = str((int(sign) + 1) % 10)
                assert not CHECKS[name].holds(text[:at] + other + text[at + 1 :])


def test_the_shape_of_a_date_has_all_days_and_no_others() -> None:
    """Without a look at the calendar but for the year 0000: the search writes no other day."""
    shape = re.compile(CHECKS["date"].shape)
    day, end = date(1890, 1, 1), date(2110, 1, 1)
    while day < end:
        assert shape.fullmatch(day.isoformat())
        day += timedelta(1)
    for year in range(1890, 2110):
        for month in range(14):
            for number in (0, *range(28, 33)):
                text = f"{year}-{month:02}-{number:02}"
                assert bool(shape.fullmatch(text)) == CHECKS["date"].holds(text), text


def test_shapes_are_regular() -> None:
    for name, check in CHECKS.items():
        found = Pattern(check.shape)
        assert all(found.matches(text) for text in VALID[name])


def test_names_are_a_list_or_have_commas_and_count_once() -> None:
    assert named("date,luhn") == ("date", "luhn")
    assert named(["date, luhn", "date"]) == ("date", "luhn")
    assert named(()) == ()


@pytest.mark.parametrize("names", ["dates", "date,", ["date", "x"]])
def test_an_unknown_check_is_refused(names: str | list[str]) -> None:
    said = "expected some of date, time, number, isbn, iban, luhn"
    with pytest.raises(UsageError, match=said):
        named(names)
