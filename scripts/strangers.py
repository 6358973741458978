"""Strings that are no dates, as columns have them: each teaches an empty target.

Every kind is a function of a random generator. Names of places, languages, countries, currencies
and units come from CLDR by Babel, templates and further words from strangers.toml. A string that
the rules of the dates may read as a day, a month or a year is never given: :func:`looks_dated`.
"""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

from babel import Locale, dates, numbers, units
from date_forms import clock
from date_rules import TIME, YEARS, reading
from date_writing import all_names, folded, languages, month_name

WORDS = Path(__file__).with_name("strangers.toml")
UNITS = (
    "length-meter", "length-kilometer", "mass-kilogram", "mass-gram", "volume-liter",
    "temperature-celsius",
    "speed-kilometer-per-hour", "duration-hour", "duration-minute", "duration-day",
    "digital-megabyte", "area-square-meter",
    "length-mile", "energy-kilowatt-hour", "duration-month", "duration-week", "volume-milliliter",
    "length-inch",
)  # fmt: skip
CURRENCIES = (
    "EUR",
    "USD",
    "GBP",
    "JPY",
    "CHF",
    "PLN",
    "CZK",
    "SEK",
    "TRY",
    "INR",
    "BRL",
    "CNY",
    "RUB",
    "MXN",
)
LETTERS = string.ascii_letters


@cache
def known() -> Mapping[str, Any]:
    """The words and templates of strangers.toml."""
    return tomllib.loads(WORDS.read_text(encoding="utf-8"))


@cache
def spoken() -> tuple[str, ...]:
    """The languages of dates.toml, without digits alone."""
    return tuple(code for code in languages() if code != "und")


@cache
def lists(code: str) -> Mapping[str, Sequence[str]]:
    """CLDR's names in a language: places, languages, countries, currencies."""
    data = Locale.parse(code)
    cities = [zone["city"] for zone in data.time_zones.values() if zone.get("city")]
    countries = [name for key, name in data.territories.items() if not key.isdigit()]
    found = {
        "place": cities or countries,
        "country": countries,
        "language": list(data.languages.values()),
        # the names of old currencies say from which year to which
        "currency": [name for name in data.currencies.values() if not re.search(r"\d", name)],
    }
    return {name: sorted(set(values)) for name, values in found.items()}


def looks_dated(text: str) -> bool:
    """Whether the rules may read a day, month or year in a string.

    Also where a name of a month stands beside a number that can be a year, or two numbers, and
    where an ISO date or the digits of a date stand within a longer string.
    """
    if reading(text):
        return True
    for found in re.findall(r"(?<![\d.:])\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?![\d.:])", text):
        if reading(found):
            return True
    if YEARS.fullmatch(text):
        return True
    bare = TIME.sub(" ", text)
    numbers_in = [int(found) for found in re.findall(r"\d+", bare) if len(found) < 6]
    if any(sign in text for sign in "年月년월") and len(numbers_in) > 1:
        return True
    said = any(folded(word) in all_names() for word in re.findall(r"[^\W\d_]+", text))
    return said and (len(numbers_in) > 1 or any(1000 < found < 3000 for found in numbers_in))


# -- parts ----------------------------------------------------------------------------------------


def number(rng: Random) -> str:
    """A number that is no year."""
    most = rng.choice((9, 30, 99, 500, 999))
    return str(rng.randint(1, most))


def drawn(rng: Random, signs: str, size: int) -> str:
    """``size`` of the ``signs`` at random."""
    return "".join(rng.choice(signs) for _ in range(size))


def word(rng: Random) -> str:
    """A made-up word."""
    parts = (
        rng.choice("bcdfghklmnprstvwz") + rng.choice("aeiouy") for _ in range(rng.randint(1, 4))
    )
    text = "".join(parts) + rng.choice(("", "n", "r", "s", "l"))
    return rng.choice((text, text, text.capitalize(), text.upper()))


def filled(form: str, rng: Random, code: str) -> str:
    """A template with its slots filled."""

    def fill(match: re.Match[str]) -> str:
        slot = match[1]
        if slot in ("place", "country", "language", "currency"):
            return rng.choice(lists(code)[slot])
        if slot in ("first", "last"):
            return str(rng.choice(known()[slot]))
        if slot == "month":
            return month_name(code, "MMMM", rng.randint(1, 12))
        if slot == "thing":
            return str(rng.choice(known()["things"]))
        made: Mapping[str, Callable[[Random], Any]] = {
            "n": number,
            "word": word,
            "letter": lambda rng: rng.choice("ABCDEFab"),
            "y": some_year,
            "dec": lambda rng: f"{rng.randint(150, 203)}0",
            "q": lambda rng: str(rng.randint(1, 4)),
            "h2": lambda rng: str(rng.randint(1, 2)),
            "w": lambda rng: f"{rng.randint(1, 53):02}",
            "d": lambda rng: str(rng.randint(1, 29)),
            "m": lambda rng: str(rng.randint(1, 12)),
            "hy": lambda rng: str(rng.randint(1380, 1450)),
            "jy": lambda rng: str(rng.randint(5700, 5790)),
            "e": lambda rng: str(rng.randint(1, 40)),
            "e2": lambda rng: str(rng.randint(50, 115)),
            "roman": lambda rng: rng.choice(("II", "V", "VIII", "X")),
        }
        return str(made[slot](rng))  # fmt: skip

    return re.sub(r"\{([^}]+)\}", fill, form)


def some_year(rng: Random) -> str:
    """A number that would be a year where it stood alone."""
    return str(rng.randint(*((1500, 2090) if rng.random() < 0.3 else (1900, 2040))))


def thing(rng: Random) -> str:
    """A noun of columns, in one of a few languages, as a word beside a date."""
    return str(rng.choice(known()["labels"]))


# -- kinds ----------------------------------------------------------------------------------------


def listed(name: str) -> Callable[[Random], str]:
    """Strings of a list of strangers.toml, in some language."""

    def draw(rng: Random) -> str:
        return filled(rng.choice(known()[name]), rng, rng.choice(spoken()))

    return draw


def sentence(rng: Random) -> str:
    """A sentence or a word of a column of remarks; some are two."""
    text = listed("sentences")(rng)
    while rng.random() < 0.3:
        text = (
            f"{text.rstrip('.')}{rng.choice(('. ', ', ', '; ', ' - '))}{listed('sentences')(rng)}"
        )
    return text


def person(rng: Random) -> str:
    """A name of a person or a firm."""
    first, last = rng.choice(known()["first"]), rng.choice(known()["last"])
    form = rng.choice(
        (
            "{f} {l}",
            "{f} {l}",
            "{l}, {f}",
            "{f} {l} {l2}",
            "{f}",
            "{l}",
            "{f} & {f2} {l}",
            "{i}. {l}",
        )
    )
    return str(
        form.format(
            f=first,
            l=last,
            i=first[:1],
            l2=rng.choice(known()["last"]),
            f2=rng.choice(known()["first"]),
        )
    )


def names(rng: Random) -> str:
    """Names of places, languages, countries and currencies, alone or some of them."""
    code = rng.choice(spoken())
    some = lists(code)[rng.choice(("place", "country", "language", "currency", "place"))]
    count = rng.choice((1, 1, 1, 2, 2, 3))
    text = rng.choice((", ", " / ", " ", " - ", "; ", "、", " + ")).join(
        rng.choice(some) for _ in range(count)
    )
    return text if rng.random() < 0.8 else f"{text} {number(rng)}"


def price(rng: Random) -> str:
    """An amount of money as languages write it."""
    code, amount = rng.choice(spoken()), round(rng.choice((20, 500, 9000, 10**6)) * rng.random(), 2)
    if rng.random() < 0.6:
        return clean(numbers.format_currency(amount, rng.choice(CURRENCIES), locale=code))
    sign = rng.choice(("€", "$", "£", "EUR", "USD", "zł", "kr", "¥", "₹", "Rs.", "CHF", "руб."))
    shown = rng.choice(
        (
            f"{amount:.2f}",
            f"{amount:,.2f}",
            f"{amount:.0f}",
            f"{int(amount)},-",
            f"{amount:.2f}".replace(".", ","),
        )
    )
    return rng.choice(
        (
            f"{sign}{shown}",
            f"{shown} {sign}",
            f"{sign} {shown}",
            f"{shown}{sign}",
            f"-{sign}{shown}",
        )
    )


def clean(text: str) -> str:
    """Text with plain spaces and without direction marks."""
    return re.sub("[\u200e\u200f\u061c]", "", re.sub("[\u00a0\u202f\u2009]", " ", text))


def quantity(rng: Random) -> str:
    """A measure, a share, or a number as languages write it."""
    code, amount = (
        rng.choice(spoken()),
        round(rng.choice((1, 10, 300, 10**5)) * rng.random(), rng.randint(0, 4)),
    )
    way = rng.randrange(6)
    if way == 0:
        return clean(numbers.format_percent(rng.random() * rng.choice((1, 1, 10)), locale=code))
    if way == 1:
        return clean(numbers.format_decimal(amount * 1000, locale=code))
    if way < 4:
        length: Any = rng.choice(("long", "short", "narrow"))
        return clean(units.format_unit(amount, rng.choice(UNITS), length=length, locale=code))
    one, other = number(rng), number(rng)
    return rng.choice((
        f"{amount}%", f"{amount} kg", f"{one}x{other}", f"{one} x {other} x {number(rng)}",
        f"±{amount}", f"{amount}e-{one}",
        f"{one}-{other}", f"{one}–{other}", f"{one}/{other}", f"{one}:{other}", f"{one} of {other}",
        f"{one}.{other}", f"{one},{other}",
        f"{one} 1/2", f"{one}/{other} inch", f"{amount}°C", f"{one}°{other}'N", f"-{amount}",
        f"+{one}", f"{one}k", f"{one}M", f"x{one}", f"#{one}",
        f"{one}th", f"{one}.", f"({one})", f"{one} {other}", f"{one}; {other}; {number(rng)}",
        f"{one}*", f"No. {one}", f"Nr. {one}", f"№{one}", f"§ {one}",
    ))  # fmt: skip


def lone(rng: Random) -> str:
    """A number alone, of any length."""
    size = rng.choice((1, 2, 3, 3, 4, 5, 5, 6, 6, 7, 8, 8, 9, 10, 12, 14, 16))
    text = "".join(rng.choice(string.digits) for _ in range(size))
    return text if rng.random() < 0.85 else " ".join(re.findall(".{1,3}", text))


def phone(rng: Random) -> str:
    """A phone number."""
    d = partial(drawn, rng, string.digits)
    return rng.choice((
        f"+{rng.randint(1, 99)} {d(3)} {d(7)}", f"({d(3)}) {d(3)}-{d(4)}", f"{d(3)}-{d(3)}-{d(4)}",
        f"{d(3)}.{d(3)}.{d(4)}", f"0{d(2)} {d(4)} {d(4)}",
        f"+{rng.randint(1, 99)}-{d(2)}-{d(4)}-{d(4)}", f"0{d(3)}/{d(6)}",
        f"0{d(1)} {d(2)} {d(2)} {d(2)} {d(2)}", f"tel. {d(3)} {d(3)} {d(3)}", f"+{d(11)}",
        f"{d(3)}-{d(4)}", f"ext. {d(4)}", f"0{d(2)}-{d(3)}-{d(4)}", f"00{d(2)} {d(9)}",
        f"Fax: {d(6)}", f"8 ({d(3)}) {d(3)}-{d(2)}-{d(2)}", f"{d(3)} {d(2)} {d(2)}",
    ))  # fmt: skip


def code(rng: Random) -> str:
    """A product code, id, postcode, hash or number of a register."""
    d = partial(drawn, rng, string.digits)
    u = partial(drawn, rng, string.ascii_uppercase)
    h = partial(drawn, rng, "0123456789abcdef")
    m = partial(drawn, rng, string.ascii_uppercase + string.digits)
    return rng.choice((
        f"{u(2)}-{d(4)}", f"{u(3)}{d(5)}", f"{u(1)}{d(2)}-{d(3)}", f"SKU-{m(8)}",
        f"{m(5)}-{m(5)}-{m(5)}", f"{u(2)} {d(3)} {u(2)}", h(7), h(32), h(40), f"0x{h(8)}",
        f"{h(8)}-{h(4)}-4{h(3)}-a{h(3)}-{h(12)}", f"978-{d(1)}-{d(4)}-{d(4)}-{d(1)}",
        f"ISBN {d(1)}-{d(3)}-{d(5)}-{rng.choice('0123456789X')}", f"978{d(10)}",
        f"ISSN {d(4)}-{d(4)}",
        f"{u(2)}{d(2)} {d(4)} {d(4)} {d(4)} {d(4)} {d(2)}", f"DE{d(20)}",
        f"GB{d(2)} {u(4)} {d(4)} {d(4)} {d(4)} {d(2)}", f"{d(4)} {d(4)} {d(4)} {d(4)}",
        f"{d(4)}-{d(4)}-{d(4)}-{d(4)}",
        f"{u(2)}{d(1)} {d(1)}{u(2)}", f"{d(5)}-{d(4)}",
        f"{d(5)} {rng.choice(lists('de')['place'])}", f"{d(4)} {u(2)}", f"D-{d(5)}",
        f"{d(2)}-{d(3)}", f"{d(3)}-{d(2)}-{d(4)}", f"{d(2)}-{d(7)}",
        f"{u(1)}{d(1)}", f"{u(2)}{d(1)}", f"INV-{d(6)}", f"#{d(5)}", f"PO {d(7)}",
        f"{u(1)}-{d(1)}/{d(2)}", f"{d(3)}/{u(2)}/{d(3)}", f"{d(1)}{u(1)}{d(2)}{u(1)}",
        f"10.{d(4)}/{u(3).lower()}.{d(6)}",
        f"rs{d(6)}", f"NCT0{d(7)}", f"{u(3)}-{d(3)}-{u(2)}",
        f"{h(2)}:{h(2)}:{h(2)}:{h(2)}:{h(2)}:{h(2)}", f"urn:{u(3).lower()}:{d(4)}",
        f"{u(3)} {d(4)}", f"{m(10)}", f"{m(4)} {m(3)}", f"{d(3)}.{d(3)}.{d(3)}-{d(2)}",
        f"{d(2)}.{d(3)}.{d(3)}/0001-{d(2)}", f"{d(6)}-{d(4)}", f"{d(11)}", f"{u(1)}{d(8)}",
        f"{d(8)}{u(1)}", f"{d(1)}/{d(4)}", f"{u(4)}_{d(3)}", f"LOT {d(5)}{u(1)}", f"S/N {m(9)}",
        f"{d(13)}", f"CAS {d(4)}-{d(2)}-{d(1)}",
    ))  # fmt: skip


def net(rng: Random) -> str:
    """An address of a computer, a page, a mailbox or a file; a version."""
    byte = partial(rng.randint, 0, 255)
    host = (
        f"{word(rng).lower()}.{rng.choice(('com', 'org', 'de', 'io', 'co.uk', 'fr', 'net', 'jp'))}"
    )
    first = re.sub(r"\W", "", rng.choice(known()["first"])).lower() or "me"

    def small() -> int:
        return rng.randint(0, rng.choice((3, 9, 30)))

    return rng.choice((
        f"{byte()}.{byte()}.{byte()}.{byte()}", f"{byte()}.{byte()}.{byte()}.{byte()}",
        f"{byte()}.{byte()}.{byte()}.{byte()}:{rng.randint(80, 9999)}",
        f"{byte()}.{byte()}.{byte()}.0/{rng.choice((8, 16, 24))}", f"10.0.{small()}.{small()}",
        f"192.168.{small()}.{small()}", f"fe80::{byte():x}:{byte():x}", f"https://{host}",
        f"https://www.{host}/{word(rng).lower()}/{number(rng)}",
        f"www.{host}", f"{first}@{host}", f"{first}.{word(rng).lower()}{number(rng)}@{host}",
        f"/home/{first}/{word(rng).lower()}.txt", f"C:\\{word(rng)}\\{word(rng)}.doc",
        f"IMG_{rng.randint(0, 9999):04}.jpg",
        f"{word(rng)}.{rng.choice(('pdf', 'csv', 'xlsx', 'tar.gz', 'py'))}",
        f"v{small()}.{small()}.{small()}", f"{small()}.{small()}", f"{small()}.{small()}.{small()}",
        f"v{small()}.{small()}", f"{small()}.{small()}.{small()}-rc{small()}",
        f"{small()}.{small()}.{small()}.{small()}", f"{word(rng)} {small()}.{small()}",
        f"python{small()}.{small()}", f"{small()}.{small()}.{small()}b{small()}", f"@{first}",
        f"#{word(rng)}", f"localhost:{rng.randint(1000, 9999)}", f"ver. {small()}.{small()}",
        f"{word(rng).lower()}-{small()}.{small()}.{small()}.tar.gz", f"<{word(rng).lower()}>",
        f"{word(rng).lower()}_{small()}", f"{small()}.{small()}.x",
        f"^{small()}.{small()}.{small()}", f">={small()}.{small()}",
    ))  # fmt: skip


def place_in_space(rng: Random) -> str:
    """Coordinates, scores, verses, ratios."""
    a, b = rng.uniform(-90, 90), rng.uniform(-180, 180)
    n, m = number(rng), number(rng)

    def team() -> str:
        return rng.choice(lists(rng.choice(("en_US", "de", "es", "fr")))["place"])

    return rng.choice((
        f"{a:.4f}, {b:.4f}", f"{a:.5f},{b:.5f}", f"{abs(a):.2f}° N, {abs(b):.2f}° E",
        f"{int(abs(a))}°{rng.randint(0, 59)}'{rng.randint(0, 59)}\"N", f"{a:.3f} {b:.3f}",
        f"{team()} {n}:{m} {team()}", f"{team()} {n} - {m} {team()}",
        f"{rng.randint(0, 9)}:{rng.randint(0, 9)}", f"{rng.randint(0, 9)}-{rng.randint(0, 9)}",
        f"6-4, {rng.randint(0, 7)}-{rng.randint(0, 7)}", f"John {n}:{m}", f"Genesis {n}:{m}-{m}",
        f"1:{n}", f"{n}:{m}:{number(rng)}", f"1/{n}", f"{n} in {m}",
        "24/7", "50/50", "9-5", f"{rng.randint(1, 99)}/{rng.randint(1, 99)}",
        f"{rng.randint(1, 31)}/{rng.randint(1, 12)}", f"{rng.randint(1, 12)}/{rng.randint(1, 31)}",
        f"{rng.randint(1, 31)}.{rng.randint(1, 12)}.",
        f"{rng.randint(1, 31):02}.{rng.randint(1, 12):02}",
        f"{rng.randint(1, 12):02}-{rng.randint(1, 31):02}",
        f"3/{n} cup", f"f/{n}", f"{n}/5 stars", f"{n} / 10", "AC/DC",
        f"1. {rng.choice(known()['things'])}", f"{n}) {rng.choice(known()['things'])}",
        f"{n}.{m}.{n}.{m}", f"{n}-{m}-{n}-{m}", f"{n}/{m}/{n}/{m}",
    ))  # fmt: skip


def part_of_a_date(rng: Random) -> str:
    """A day and month without a year, a month, a weekday or a time alone."""
    code = rng.choice(spoken())
    when = date(rng.randint(1990, 2030), rng.randint(1, 12), rng.randint(1, 28))
    way = rng.randrange(9)
    if way < 2:
        skeleton = Locale.parse(code).datetime_skeletons.get(
            rng.choice(("MMMd", "MMMMd", "MEd", "MMMEd"))
        )
        if skeleton is not None:
            return clean(dates.format_date(when, skeleton.pattern, locale=code))
    if way < 4:
        name = month_name(code, rng.choice(("MMMM", "NNNN", "LLL")), when.month)
        return rng.choice(
            (
                f"{when.day} {name}",
                f"{name} {when.day}",
                f"{when.day}. {name}",
                name,
                name,
                f"{name}.",
                name.upper(),
                f"{name} {when.day}, {clock('24', code, rng)}",
                f"{when.day:02}-{name}",
            )
        )
    if way < 6:
        name = clean(
            dates.get_day_names(rng.choice(("wide", "abbreviated")), "format", code)[when.weekday()]
        )
        time = clock(rng.choice(("24", "12", "24s")), code, rng)
        return rng.choice(
            (
                name,
                name,
                name.upper(),
                f"{name} {time}",
                f"{name}, {time}",
                f"{name} {when.day}",
                f"{name}s",
            )
        )
    time = clock(rng.choice(("24", "24", "12", "24s", "12s", "24.")), code, rng)
    return rng.choice(
        (
            time,
            time,
            time,
            f"{time} - {clock('24', code, rng)}",
            f"{time} Uhr",
            f"at {time}",
            f"{time} UTC",
            f"T{time}",
            f"({time})",
            f"{time} h",
        )
    )


def ago(rng: Random) -> str:
    """A duration, or how long ago something was, in words of CLDR."""
    code = rng.choice(spoken())
    span = timedelta(
        seconds=rng.choice((1, 60, 3600, 86400, 604800, 2600000, 31600000))
        * rng.randint(1, 20)
        * rng.choice((1, -1))
    )
    return clean(
        dates.format_timedelta(span, add_direction=rng.random() < 0.7, threshold=1, locale=code)
    )


def noise(rng: Random) -> str:
    """Letters, digits and signs without sense."""
    pool = rng.choice(
        (
            LETTERS,
            LETTERS + string.digits,
            string.digits + "/-.",
            string.digits + " ",
            string.printable[:94],
            "0123456789abcdefghij -",
            string.digits + ":",
        )
    )
    return "".join(rng.choice(pool) for _ in range(rng.randint(2, 18)))


KINDS: Mapping[str, tuple[Callable[[Random], str], float]] = {
    "people and firms": (person, 5),
    "places, languages, currencies": (names, 7),
    "sentences and words": (sentence, 14),
    "street addresses": (listed("streets"), 4),
    "no value": (listed("placeholders"), 4),
    "relative times": (listed("relative"), 3),
    "durations": (ago, 4),
    "vague times": (listed("vague"), 9),
    "other calendars": (listed("eras"), 2.5),
    "prices": (price, 6),
    "numbers and measures": (quantity, 9),
    "digits alone": (lone, 5),
    "phone numbers": (phone, 6),
    "codes and numbers of registers": (code, 11),
    "addresses of the net, files, versions": (net, 9),
    "coordinates, scores, fractions": (place_in_space, 9),
    "parts of a date": (part_of_a_date, 12),
    "noise": (noise, 3),
}


def stranger(rng: Random) -> tuple[str, str]:
    """A string that is no date, and its kind."""
    while True:
        kind = rng.choices(list(KINDS), [weight for _, weight in KINDS.values()])[0]
        text = clean(KINDS[kind][0](rng)).strip()
        if rng.random() < 0.06 and text.isascii():
            text = rng.choice(
                (text.upper(), text.lower(), f"({text})", f"{text}.", f"{text},", f"'{text}'")
            )
        if (
            text
            and "\t" not in text
            and "\n" not in text
            and len(text) <= (100 if kind.startswith("sent") else 60)
            and not looks_dated(text)
        ):
            return text, kind
