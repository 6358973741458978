"""Two days, two months or two years -> a string that says both, and its interval in ISO 8601.

The first of the two may leave out what the second says: the year, or the month as well. The words
between them are the spans, pairs and periods of date_words.toml.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from random import Random
from typing import NamedTuple

from date_forms import clock, template, words
from date_writing import NUMBERED, all_names, folded, month_name, ordinal, weekday_name

# Signs between two parts that share a month or a year.
TIGHT = (
    "{from}–{to}", "{from}–{to}", "{from}-{to}", "{from}-{to}", "{from} - {to}", "{from} – {to}",
    "{from}/{to}", "{from} — {to}", "{from}—{to}", "{from} ‐ {to}", "{from} to {to}",
    "{from}~{to}",
)  # fmt: skip
DOTTED = ("de", "de_AT", "da", "nb", "cs", "sk", "sl", "hr", "sr", "sr_Latn", "fi", "et", "is")
YEAR_FIRST = ("hu", "lt", "lv", "eu", "mn", "si", "ne", "ml", "my", "kk", "ka")
# By programs: f and t are the days in one of these forms.
PROGRAMS = (
    "{f}/{t}", "{f}/{t}", "{f}..{t}", "{f}...{t}", "{f}_{t}", "{f}--{t}", "{f} {t}", "{f},{t}",
    "{f};{t}", "[{f}, {t}]", "[{f} TO {t}]", "{f} -> {t}", "start={f} end={t}",
    "start={f}&end={t}", "since={f}&until={t}", "begin={f};end={t}", "{f}:{t}", "{f}|{t}",
    "{f}_to_{t}", "{w}_{f}_{t}", "{w}_{f}_{t}.csv", "{f}_{t}_{w}.pdf", "{w}-{f}-to-{t}.xlsx",
    "after:{f} before:{t}", "{w} {f} to {t}", "{w}: {f} / {t}", "{f} – {t} {w}",
    "BETWEEN '{f}' AND '{t}'",
)  # fmt: skip
PROGRAM_WORDS = (
    "report", "export", "log", "sales", "data", "trip", "backup", "orders", "usage", "stats",
)  # fmt: skip
MONTH_NUMBERS = (
    "{m:02}/{y}", "{m}/{y}", "{y}-{m:02}", "{y}-{m:02}", "{m:02}.{y}", "{y}/{m:02}", "{m:02}-{y}",
)  # fmt: skip
OF_YEAR = ("es", "pt_BR", "pt_PT", "gl", "ca")  # languages that write "de" before the year


class Span(NamedTuple):
    """A string with its two ends in ISO 8601."""

    text: str
    first: str
    last: str


def span(rng: Random, locale: str, whole: Callable[[date], str | None]) -> Span | None:
    """Two days, months or years in a language; ``whole`` writes one day of a pattern.

    None where the words would not say them: a month's name that means another one elsewhere.
    """
    made: Made = rng.choices(list(KINDS), list(KINDS.values()))[0]
    found = days(rng, locale, whole) if made is None else made(rng, locale)
    if found is None:
        return None
    if made is not by_program and rng.random() < 0.25:
        form = template(locale, "periods", rng)
        found = found._replace(text=form.replace("{date}", found.text))
    return found


def ends(rng: Random, *, same_year: bool = False, same_month: bool = False) -> tuple[date, date]:
    """Two days, the second mostly days or weeks later."""
    low, high = rng.choice(((1985, 2030), (1985, 2030), (1950, 2035), (1800, 2098)))
    first = date(rng.randint(low, high), rng.randint(1, 12), rng.randint(1, 28))
    if same_month:
        first = first.replace(day=rng.choice((1, rng.randint(1, 27), rng.randint(1, 27))))
        month_end = (first.replace(day=28) + timedelta(4)).replace(day=1) - timedelta(1)
        last = rng.choice((month_end, first.replace(day=rng.randint(first.day + 1, 28))))
        return first, last
    last = first + timedelta(rng.randint(1, rng.choice((6, 6, 20, 20, 60, 400, 4000))))
    if same_year and last.year != first.year:
        first = date(first.year, rng.randint(1, 6), first.day)
        last = date(first.year, rng.randint(7, 12), min(last.day, 28))
    return first, last


def connected(rng: Random, locale: str, *, tight: float) -> str:
    """A template of two parts: signs that all languages have, or words of the language."""
    if locale == "und":
        locale = rng.choice(sorted(words().keys() - {"every"}))
    if rng.random() < tight:
        form = rng.choice(TIGHT)
        return form.replace(" to ", "-") if " to " in form and not locale.startswith("en") else form
    return template(locale, "spans", rng, own=0.75)


def days(rng: Random, locale: str, whole: Callable[[date], str | None]) -> Span | None:
    """Two whole days, perhaps with times, with a word or a sign between or a label each."""
    first, last = ends(rng)
    texts = [text for when in (first, last) if (text := whole(when)) is not None]
    if len(texts) < 2:
        return None
    speaker = locale if locale != "und" else rng.choice(sorted(words().keys() - {"every"}))
    if rng.random() < 0.12:
        texts = [f"{text} {clock('24', speaker, rng)}" for text in texts]
    form = template(speaker, "pairs" if rng.random() < 0.3 else "spans", rng)
    sign = form.replace("{from}", "").replace("{to}", "")
    if sign in ("-", "–", "/", "~", "—") and re.search(r"[/ -]", texts[0]):
        form = form.replace(sign, f" {sign} ")
    if texts[0].isascii() != texts[1].isascii():
        return None
    return Span(put(form, texts[0], texts[1]), first.isoformat(), last.isoformat())


def put(form: str, first: str, last: str) -> str:
    """A template of two parts, filled in."""
    return form.replace("{from}", first).replace("{to}", last)


# The first part leaves out the month or the year that the second says, or the other way round: a
# and b are the days, n and o the months' names, w and v weekdays. The second list is of two months.
SAME_MONTH = (
    ("{a}", "{b} {n} {y}"), ("{a}", "{b} {n} {y}"), ("{a}", "{b} {n} {y}"), ("{a}", "{b} {n}, {y}"),
    ("{n} {a}", "{b}, {y}"), ("{n} {a}", "{b} {y}"), ("{w} {a}", "{v} {b} {n} {y}"),
)  # fmt: skip
SAME_YEAR = (
    ("{a} {n}", "{b} {o} {y}"), ("{a} {n}", "{b} {o} {y}"), ("{a} {n}", "{b} {o}, {y}"),
    ("{n} {a}", "{o} {b}, {y}"), ("{n} {a}", "{o} {b} {y}"), ("{w} {a} {n}", "{v} {b} {o} {y}"),
)  # fmt: skip
OWN_SAME_MONTH: Mapping[str, tuple[tuple[str, str], ...]] = {
    "ja": (("{y}年{m}月{a}日", "{b}日"),), "zh": (("{y}年{m}月{a}日", "{b}日"),),
    "zh_Hant": (("{y}年{m}月{a}日", "{b}日"),), "ko": (("{y}년 {m}월 {a}일", "{b}일"),),
    "vi": (("{a}", "{b} tháng {m} năm {y}"), ("ngày {a}", "ngày {b}/{m}/{y}")),
    "es": (("{a}", "{b} de {n} de {y}"),), "pt_BR": (("{a}", "{b} de {n} de {y}"),),
    "pt_PT": (("{a}", "{b} de {n} de {y}"),), "gl": (("{a}", "{b} de {n} de {y}"),),
}  # fmt: skip
OWN_SAME_YEAR: Mapping[str, tuple[tuple[str, str], ...]] = {
    "ja": (("{y}年{m}月{a}日", "{x}月{b}日"),), "zh": (("{y}年{m}月{a}日", "{x}月{b}日"),),
    "zh_Hant": (("{y}年{m}月{a}日", "{x}月{b}日"),), "ko": (("{y}년 {m}월 {a}일", "{x}월 {b}일"),),
    "vi": (("{a} tháng {m}", "{b} tháng {x} năm {y}"),),
    "es": (("{a} de {n}", "{b} de {o} de {y}"),), "pt_BR": (("{a} de {n}", "{b} de {o} de {y}"),),
    "pt_PT": (("{a} de {n}", "{b} de {o} de {y}"),), "gl": (("{a} de {n}", "{b} de {o} de {y}"),),
}  # fmt: skip


def shared(rng: Random, locale: str) -> Span | None:
    """Two days of one year, and perhaps of one month, by names: the second part says the rest."""
    if locale == "und":
        return shared_numbers(rng, locale)
    same_month = rng.random() < 0.6
    first, last = ends(rng, same_year=True, same_month=same_month)
    same_month = first.month == last.month
    own = (OWN_SAME_MONTH if same_month else OWN_SAME_YEAR).get(locale, ())
    forms: tuple[tuple[str, str], ...] = SAME_MONTH if same_month else SAME_YEAR
    if own and (locale in NUMBERED or rng.random() < 0.7):
        forms = own
    if not own and locale in YEAR_FIRST and rng.random() < 0.7:
        forms = (("{y} {n} {a}", "{b}" if same_month else "{o} {b}"),)
    pair = rng.choice(forms)
    field = rng.choice(("MMMM", "MMMM", "MMM", "LLL"))
    names = [month_name(locale, field, when.month) for when in (first, last)]
    if locale not in NUMBERED and not said(names, (first, last)):
        return None
    dot = "." if locale in DOTTED or (locale == "hu" and "{y} " in pair[0]) else ""
    numbers = [f"{when.day}{dot}" for when in (first, last)]
    counted = locale.startswith("en") and rng.random() < 0.25
    if counted or (locale in ("fr", "it") and first.day == 1):
        numbers = [f"{when.day}{ordinal(when.day, locale)}" for when in (first, last)]
    if rng.random() < 0.1 and not dot:
        numbers = [f"{when.day:02}" for when in (first, last)]
    short = rng.choice(("EEEE", "EEE"))
    values = {
        "a": numbers[0], "b": numbers[1], "n": names[0], "o": names[1], "y": first.year,
        "m": first.month, "x": last.month, "w": weekday_name(locale, short, first),
        "v": weekday_name(locale, short, last),
    }  # fmt: skip
    parts = [part.format(**values) for part in pair]
    text = put(connected(rng, locale, tight=0.55), *parts)
    return Span(cased(text, locale, rng), first.isoformat(), last.isoformat())


def said(names: list[str], ends_: tuple[date, date]) -> bool:
    """Whether names mean the months of two days, in every language that has them."""
    return all(
        all_names().get(folded(name)) == when.month for name, when in zip(names, ends_, strict=True)
    )


def cased(text: str, locale: str, rng: Random) -> str:
    """The text as it is, or now and then in capitals or small letters."""
    if locale in ("tr", "az", "ka", "el", "lt") or rng.random() > 0.1:
        return text
    return rng.choice((text.upper(), text.lower()))


def shared_numbers(rng: Random, locale: str) -> Span | None:
    """Two days of one year, and perhaps of one month, by numbers."""
    first, last = ends(rng, same_year=True, same_month=rng.random() < 0.5)
    a, b, m, x, y = first.day, last.day, first.month, last.month, first.year
    yy = f"{y % 100:02}" if 1950 <= y < 2050 and rng.random() < 0.25 else f"{y}"
    pad = "02" if rng.random() < 0.75 else ""
    aa, bb, mm, xx = (format(number, pad) for number in (a, b, m, x))
    forms = [
        (f"{aa}.{mm}.", f"{bb}.{xx}.{yy}"), (f"{aa}.{mm}.", f"{bb}.{xx}.{yy}"),
        (f"{aa}.{mm}", f"{bb}.{xx}.{yy}"), (f"{aa}. {mm}.", f"{bb}. {xx}. {y}"),
        (f"{mm}/{aa}", f"{xx}/{bb}/{yy}"),
    ]  # fmt: skip
    if m == x:
        forms += [(f"{aa}.", f"{bb}.{mm}.{yy}"), (f"{aa}", f"{bb}.{mm}.{yy}")]
        forms.append((f"{aa}.", f"{bb}. {mm}. {y}"))
    if a > 12 and b > 12:
        forms += [(f"{aa}/{mm}", f"{bb}/{xx}/{yy}")] * 3
    tail = f"{bb}" if m == x and rng.random() < 0.5 else None
    year_first = [
        (f"{y}-{m:02}-{a:02}", tail or f"{x:02}-{b:02}"),
        (f"{y}.{mm}.{aa}", tail or f"{xx}.{bb}"), (f"{y}/{mm}/{aa}", tail or f"{xx}/{bb}"),
        (f"{y}. {mm}. {aa}.", tail or f"{xx}. {bb}."),
    ]  # fmt: skip
    early = rng.random() < 0.3
    one, other = rng.choice(year_first if early else forms)
    form = connected(rng, locale, tight=0.6)
    sign = form.replace("{from}", "").replace("{to}", "")
    if ("/" in sign and "/" in one + other) or (sign == "-" and "-" in one + other):
        form = "{from} - {to}"
    if early and not re.fullmatch(r"\W+", sign):
        form = "{from} ~ {to}"
    return Span(put(form, one, other), first.isoformat(), last.isoformat())


def by_program(rng: Random, _: str) -> Span:
    """Two days as programs write them: names of files, queries, ISO 8601."""
    first, last = ends(rng)
    way = rng.randrange(8)
    texts = [when.isoformat() for when in (first, last)]
    form = rng.choice(PROGRAMS)
    if way == 0:
        texts = [text.replace("-", "") for text in texts]
    elif way == 1:
        texts = [f"{text}T{rng.randrange(24):02}:{rng.randrange(60):02}:00Z" for text in texts]
    elif way == 2:
        texts = [f"{text} {rng.randrange(24):02}:{rng.randrange(60):02}" for text in texts]
    elif way == 3:
        texts = [text.replace("-", rng.choice("/.")) for text in texts]
        form = "{f} - {t}" if "/" in texts[0] + texts[1] else form
    word = rng.choice(PROGRAM_WORDS)
    text = form.replace("{f}", texts[0]).replace("{t}", texts[1]).replace("{w}", word)
    return Span(text, first.isoformat(), last.isoformat())


def months(rng: Random, locale: str) -> Span | None:
    """Two months, of one year or of two."""
    first = date(rng.randint(1950 if rng.random() < 0.8 else 1800, 2030), rng.randint(1, 12), 1)
    last = first.replace(month=rng.randint(1, 12))
    if rng.random() < 0.4 or last <= first:
        last = last.replace(year=first.year + rng.choice((1, 1, 1, 2, 3, 5)))
    one_year = first.year == last.year
    form = connected(rng, locale, tight=0.5)
    if locale in ("ja", "zh", "zh_Hant"):
        later = "" if one_year else f"{last.year}年"
        parts = f"{first.year}年{first.month}月", f"{later}{last.month}月"
    elif locale == "ko":
        later = "" if one_year else f"{last.year}년 "
        parts = f"{first.year}년 {first.month}월", f"{later}{last.month}월"
    elif locale in ("und", "vi") or rng.random() < 0.15:
        shape = rng.choice(MONTH_NUMBERS)
        texts = [shape.format(m=when.month, y=when.year) for when in (first, last)]
        parts = texts[0], texts[1]
        sign = form.replace("{from}", "").replace("{to}", "")
        if sign in ("-", "/", "–", "—", "~") and not (sign == "/" and "/" not in shape):
            form = form.replace(sign, f" {sign} ")
    else:
        field = rng.choice(("NNNN", "MMMM", "MMM", "LLL"))
        names = [month_name(locale, field, when.month) for when in (first, last)]
        if not said(names, (first, last)):
            return None
        of = rng.choice((" ", " ", " ", " de " if locale in OF_YEAR else " "))
        former = names[0] if one_year else f"{names[0]}{of}{first.year}"
        parts = former, f"{names[1]}{of}{last.year}"
        if one_year and locale in YEAR_FIRST and rng.random() < 0.6:
            parts = f"{first.year} {names[0]}", names[1]
    text = put(form, *parts)
    return Span(cased(text, locale, rng), first.isoformat()[:7], last.isoformat()[:7])


def years(rng: Random, locale: str) -> Span | None:
    """Two years; the second may have its last two digits alone."""
    first = rng.randint(*rng.choice(((1900, 2030), (1950, 2030), (1800, 2060), (1500, 1900))))
    last = first + rng.randint(1, rng.choice((2, 5, 10, 40, 90)))
    if last > 2099:
        return None
    form = rng.choice(TIGHT[:9]) if rng.random() < 0.5 else connected(rng, locale, tight=0)
    if rng.random() < 0.15:
        form = template(locale, "pairs", rng)
    shown = f"{last}"
    if first // 100 == last // 100 and rng.random() < 0.5:
        sign = re.sub(r"\{\w+\}", "", form).strip()
        # 1998-05 is a month, 1998-14 none: those of a month are short behind a long dash alone
        if sign in ("–", "—") or (sign in ("-", "/") and last % 100 > 12):
            shown = f"{last % 100:02}"
    text = put(form, f"{first}", shown)
    if rng.random() < 0.25:
        text = template(locale, "about", rng).replace("{date}", text)
    return Span(text, f"{first}", f"{last}")


Made = Callable[[Random, str], Span | None] | None
# None stands for days(), which needs the days of its caller.
KINDS: Mapping[Made, float] = {
    None: 3, shared: 3, shared_numbers: 2, by_program: 1.2, months: 1.6, years: 2.4,
}  # fmt: skip
