"""a seed -> dates as people write them, each with its ISO 8601 date -> train, dev and test TSV.

Knows nothing of models: needs Babel (names and patterns of CLDR) and RapidFuzz (edit distance).
Patterns are CLDR's (``d`` day, ``M`` month, ``y`` year, ``E`` weekday, text in quotes) with four
signs of our own: ``#`` a day with its ordinal ending, ``%`` a Roman month, ``LLL`` the short month
without its dot, and a leading ``^`` for capitals. The rule for ambiguous orders is `settled`; a
date that the rule would read otherwise is never written. The card of the data is data/README.md.
"""

from __future__ import annotations

import argparse
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from random import Random

import babel
from babel import Locale
from babel.core import get_cldr_version
from babel.dates import get_day_names, get_month_names
from rapidfuzz.distance import OSA

Piece = tuple[str, str]  # (kind, text); kinds: day month name year weekday text

# How often each language is drawn. "und" stands for digits alone, in no language.
LOCALES: Mapping[str, float] = {
    "und": 6.5, "en_US": 5, "en_GB": 4, "de": 2, "fr": 2, "es": 2, "it": 1.5, "pt_BR": 1.5,
    "ru": 1.5, "ja": 1.5, "zh": 1.3, "ar_EG": 1.2, "nl": 1, "sv": 1, "da": 1, "nb": 1, "fi": 1,
    "lt": 1, "pl": 1, "cs": 1, "sk": 1, "sl": 1, "ro": 1, "hu": 1, "tr": 1, "id": 1, "vi": 1,
    "el": 1, "uk": 1, "bg": 1, "sr": 1, "he": 1, "ar_LB": 1, "fa": 1, "hi": 1, "mr": 1, "bn": 1,
    "th": 1, "ko": 1, "ka": 1, "hy": 1, "de_AT": 0.6, "zh_Hant": 0.6,
}  # fmt: skip

# The share of CLDR's own patterns in a language, and of each among them; the rest are FORMS.
CLDR_SHARE = 0.45
CLDR: Mapping[str, float] = {
    "full": 3, "long": 4, "medium": 4, "short": 3, "yMMMEd": 1.5, "yMEd": 1, "yMd": 1,
}  # fmt: skip

# What people write beside CLDR's patterns; a pattern that stands twice is drawn twice as often.
FORMS: Mapping[str, str] = {
    "und": "y-MM-dd | y-MM-dd | y-MM-dd | y-MM-dd | yMMdd | yMMdd | y/MM/dd | y.MM.dd | y_MM_dd"
    " | y MM dd | y-M-d | y/M/d | y.M.d | yyMMdd | yy-MM-dd | dd.MM.y | d.M.y | dd.MM.yy | d.M.yy"
    " | dd-MM-y | d-M-y | dd-MM-yy | d-M-yy | MM/dd/y | MM/dd/y | M/d/y | M/d/y | MM/dd/yy"
    " | M/d/yy | dd/MM/y | d/M/y | dd/MM/yy | dd MM y | d M y | dd MM yy",
    "en_US": "MMMM #, y | MMMM #, y | MMM #, y | MMMM # y | MMMM d y | MMM d y | LLL. d, y"
    " | EEEE, MMMM #, y | EEE, MMM d, y | EEE MMM d y | MMM d, yy | MMM d ''yy | LLL-dd-y"
    " | d LLL y | d-LLL-yy | y LLL d | y MMMM d | 'the' # 'of' MMMM, y | MMMM 'the' #, y"
    " | MM-dd-y | M-d-yy | EEE MM/dd/y | EEE M/d/yy | EEEE M/d/y | ^LLL dd y | ^MMMM d, y",
    "en_GB": "# MMMM y | # MMMM y | # MMM y | EEEE # MMMM y | EEE # MMM y | EEE d MMM y"
    " | d LLL yy | # 'of' MMMM y | # 'of' MMMM, y | 'the' # 'of' MMMM y | dd LLL y | d MMMM, y"
    " | EEEE 'the' # 'of' MMMM y | d-LLL-y | dd-LLL-y | dd-LLL-yy | dd/LLL/y | d LLL ''yy"
    " | dd/MM/yy | dd.MM.yy | d.M.y | dd-MM-y | ^ddLLLy | ^ddLLLyy | ^dd LLL y | ^dd-LLL-y",
    "de": "d. MMMM y | dd. MMMM y | d. MMM y | d. LLL y | d.MMMM y | d MMMM y | EEE, d. MMMM y"
    " | EEE, d. MMM y | EEEE, 'den' d. MMMM y | 'den' d. MMMM y | EEEE d. MMMM y | EEE d.M.y"
    " | dd. LLL yy | d. LLL ''yy | EEE dd.MM.yy | EEEE, dd.MM.y | d.M.yy | d.M.y | dd-MM-y"
    " | d. M. y | 'am' d. MMMM y",
    "fr": "# MMMM y | # MMMM y | EEEE # MMMM y | 'le' # MMMM y | 'le' EEEE # MMMM y | # MMM y"
    " | EEE # MMM y | d LLL y | d LLL yy | d-LLL-y | dd/MM/y | dd/MM/yy | dd-MM-y | dd.MM.y"
    " | 'le' dd/MM/y",
    "es": "d 'de' MMMM 'de' y | d 'de' MMMM 'del' y | d MMMM y | # 'de' MMMM 'de' y | d LLL yy"
    " | EEEE d 'de' MMMM 'de' y | EEEE, d 'de' MMMM 'del' y | d-LLL-y | d/LLL/y | dd/MM/y"
    " | dd-MM-y | dd-MM-yy | d.M.y | EEE dd/MM/y | 'el' d 'de' MMMM 'de' y",
    "it": "# MMMM y | d MMMM y | EEEE # MMMM y | EEEE, d MMMM y | d MMM y | EEE d MMM y | d LLL yy"
    " | 'lì' d MMMM y | 'il' d MMMM y | d-LLL-y | dd/MM/y | d/M/yy | dd-MM-y | dd.MM.yy",
    "pt_BR": "# 'de' MMMM 'de' y | d 'de' MMMM 'de' y | EEEE, # 'de' MMMM 'de' y | d MMMM y"
    " | d/LLL/y | d LLL y | dd/LLL/yy | d-LLL-y | dd/MM/y | dd/MM/yy | dd-MM-y | dd.MM.y"
    " | EEE, d LLL y",
    "ru": "d MMMM y | d MMMM y | d MMMM y 'года' | d MMMM y 'г'. | d MMMM y'г'. | # MMMM y 'года'"
    " | EEEE, d MMMM y 'года' | EEEE, d MMMM y | EEE, d MMM y | d LLL y | '«'dd'»' MMMM y 'г'."
    " | dd.MM.y | dd.MM.yy | d.MM.y | dd.MM.y 'г'. | d.%.y | dd-MM-y | EEE, dd.MM.y",
    "ja": "y年M月d日 | y年M月d日 | y年MM月dd日 | y年M月d日(EEE) | y年M月d日（EEE） | y年M月d日 EEEE"
    " | y年 M月 d日 | y/M/d | y/MM/dd(EEE) | y/M/d (EEE) | y.M.d | y-MM-dd | yy年M月d日"
    " | yy/MM/dd | '西暦'y年M月d日",
    "zh": "y年M月d日 | y年M月d日 | y年MM月dd日 | y年M月d日 EEEE | y年M月d日(EEE) | y年M月d日，EEEE"
    " | y年M月d号 | y年 M月 d日 | y-M-d | y-MM-dd | y.M.d | y/M/d | yy年M月d日 | '公元'y年M月d日",
    "zh_Hant": "y年M月d日 | y年MM月dd日 | y年M月d日 EEEE | y年M月d日(EEE) | y年M月d日（EEE）"
    " | '西元'y年M月d日 | y/MM/dd | y-MM-dd | yy年M月d日",
    "ko": "y년 M월 d일 | y년 M월 d일 | y년 M월 d일 EEEE | y년 M월 d일 (EEE) | y년 MM월 dd일"
    " | y년M월d일 | y년 M월 d일(EEE) | yy년 M월 d일 | y.M.d | y.MM.dd | y. M. d. | y.MM.dd(EEE)"
    " | y. MM. dd | y-MM-dd | y/M/d",
    "ar_EG": "d MMMM y | d MMMM y | d MMMM، y | EEEE d MMMM y | EEEE، d MMMM y | d MMMM y'م'"
    " | d MMMM y 'م' | 'يوم' EEEE d MMMM y | d/M/y | dd/MM/y | y/M/d | dd-MM-y | d-M-y | y-MM-dd",
    "ar_LB": "d MMMM y | d MMMM y | d MMMM، y | EEEE d MMMM y | EEEE، d MMMM y | EEEE في d MMMM y"
    " | d/M/y | dd/MM/y | y/M/d | dd-MM-y | d-M-y",
    "fa": "d MMM y | d MMM y | EEEE d MMM y | EEEE، d MMM y | d MMMM y 'میلادی' | d MMM y 'میلادی'"
    " | y/M/d | y/MM/dd | EEEE y/M/d | y-MM-dd",
    "he": "d בMMMM y | d בMMMM y | d MMMM y | 'ה-'d בMMMM y | EEEE, d בMMMM y | EEEE d בMMMM y"
    " | d.M.y | d.M.yy | dd.MM.y | dd/MM/y | EEEE, d.M.y | d בLLL y",
    "nl": "d MMMM y | d MMMM y | EEEE d MMMM y | EEE d MMM y | d LLL y | d LLL. y | d-M-y"
    " | dd-MM-yy | dd/MM/y | d-LLL-y | d LLL ''yy | EEE d-M-yy | 'op' d MMMM y",
    "sv": "d MMMM y | 'den' d MMMM y | # MMMM y | 'den' # MMMM y | EEEE'en' 'den' d MMMM y"
    " | EEEE d MMMM y | EEE d LLL y | d LLL y | y-MM-dd | y-MM-dd | d.M.y | EEE y-MM-dd",
    "da": "d. MMMM y | 'den' d. MMMM y | d MMMM y | EEEE d. MMMM y | EEE d. MMM y | 'd'. d. MMMM y"
    " | dd.MM.y | dd-MM-y | d.M.yy | d. LLL y | dd.MM.yy",
    "nb": "d. MMMM y | d. MMMM y | 'den' d. MMMM y | d MMMM y | EEEE d. MMMM y | EEE d. LLL y"
    " | d. LLL y | dd.MM.y | dd.MM.yy | d.M.yy | d.M.y",
    "fi": "d. MMMM y | d. MMMM y | EEEE d. MMMM y | d.MMMM y | d. MMMM'n' y | d.M.y | dd.MM.y"
    " | d.M.yy | EEE d.M.y | EEEE d.M.y",
    "lt": "y 'm'. MMMM d 'd'. | y 'm'. MMMM dd 'd'. | y MMMM d | y 'm' MMMM d 'd' | y.MM.dd"
    " | y 'm'. MMMM d 'd'., EEEE | y MM dd | y-MM-dd",
    "pl": "d MMMM y | d MMMM y 'r'. | EEEE, d MMMM y 'r'. | EEEE d MMMM y | EEE, d MMM y | d LLL y"
    " | d.MM.y 'r'. | dd.MM.y 'r'. | dd.MM.y | d.M.yy | dd-MM-y | d % y | d.%.y",
    "cs": "d. MMMM y | d. MMMM y | EEEE d. MMMM y | EEEE, d. MMMM y | d.MMMM y | d. M. y | d.M.y"
    " | dd.MM.y | d.M.yy | EEE d. M. y | 'dne' d. MMMM y | d. %. y",
    "sk": "d. MMMM y | d. MMMM y | EEEE d. MMMM y | EEEE, d. MMMM y | d.MMMM y | d. M. y | d.M.y"
    " | dd.MM.y | d.M.yy | EEE d. M. y | 'dňa' d. MMMM y",
    "sl": "d. MMMM y | d. MMMM y | EEEE, d. MMMM y | 'dne' d. MMMM y | d. MMM y | d. M. y | d.M.y"
    " | dd.MM.y | d.M.yy",
    "ro": "d MMMM y | d MMMM y | EEEE, d MMMM y | EEEE d MMMM y | d LLL y | d-LLL-y | dd.MM.y"
    " | d.MM.y | dd.MM.yy | dd/MM/y | d %. y | d.%.y",
    "hu": "y. MMMM d. | y. MMMM d. | y. MMMM d., EEEE | y. MMM d. | y MMMM d. | y. MMMM dd."
    " | y.MM.dd. | y. MM. dd. | y.MM.dd | y. %. d. | y. M. d.",
    "tr": "d MMMM y | d MMMM y | d MMMM y EEEE | d MMMM y, EEEE | d LLL y | dd.MM.y | d.M.y"
    " | dd/MM/y | dd.MM.yy | d MMMM EEEE y",
    "id": "d MMMM y | d MMMM y | dd MMMM y | EEEE, d MMMM y | EEEE d MMMM y | 'tanggal' d MMMM y"
    " | 'tgl'. d LLL y | d LLL y | d-LLL-yy | dd-MM-y | dd/MM/y",
    "vi": "'ngày' d 'tháng' M 'năm' y | 'ngày' dd 'tháng' MM 'năm' y | d 'tháng' M 'năm' y"
    " | EEEE, 'ngày' d 'tháng' M 'năm' y | EEEE, d/M/y | dd/MM/y | d-M-y | dd.MM.y",
    "el": "d MMMM y | d MMMM y | # MMMM y | EEEE d MMMM y | EEEE, d MMMM y | EEE d LLL y | d LLL y"
    " | dd/MM/y | d/M/y | dd.MM.y | dd-MM-y | 'στις' d MMMM y",
    "uk": "d MMMM y 'року' | d MMMM y | d MMMM y 'р'. | EEEE, d MMMM y 'року' | EEE, d LLL y"
    " | '«'dd'»' MMMM y 'р'. | # MMMM y 'року' | dd.MM.y | d.MM.y | dd.MM.yy | dd.MM.y 'р'.",
    "bg": "d MMMM y | d MMMM y 'г'. | d MMMM y 'година' | EEEE, d MMMM y 'г'. | dd.MM.y 'г'."
    " | d.M.y | dd.MM.y | d.%.y 'г'. | d LLL y",
    "sr": "d. MMMM y. | d. MMMM y | EEEE, d. MMMM y. | d. LLL y. | d.M.y. | dd.MM.y. | d. M. y."
    " | dd.MM.y | d. MMMM y. 'године'",
    "hi": "d MMMM y | d MMMM y | d MMMM, y | EEEE, d MMMM y | EEEE d MMMM y | d LLL y | d/M/y"
    " | d-M-y | dd-MM-y | dd.MM.y | 'दिनांक' d MMMM y",
    "mr": "d MMMM y | d MMMM y | d MMMM, y | EEEE, d MMMM y | EEEE d MMMM y | d/M/y | dd-MM-y"
    " | d-M-y | 'दिनांक' d MMMM y",
    "bn": "d MMMM y | d MMMM, y | EEEE, d MMMM y | EEEE d MMMM, y | d MMM y | d/M/y | dd-MM-y"
    " | d-M-y | d.M.y",
    "th": "d MMMM y | d MMMM y | d MMM y | EEEE'ที่' d MMMM y | 'วันที่' d MMMM y | EEEE d MMMM y"
    " | d MMMM 'ค.ศ.' y | d/M/y | dd-MM-y",
    "ka": "d MMMM, y | d MMMM y | y 'წლის' d MMMM | EEEE, d MMMM, y | d LLL. y | d MMMM, y 'წ'."
    " | dd.MM.y | d.MM.y",
    "hy": "d MMMM y | d MMMM, y թ. | y թ. MMMM d | EEEE, d MMMM y | dd.MM.y | d MMMM y 'թվական'"
    " | dd.MM.yy | y 'թվականի' MMMM d",
    "de_AT": "d. MMMM y | dd. MMMM y | d. LLL y | EEEE, 'den' d. MMMM y | EEE, d. MMMM y",
}

# Short names in use that CLDR does not list.
OTHER_NAMES: Mapping[tuple[str, int], str] = {
    ("de", 3): "Mrz", ("de", 9): "Sep", ("en_US", 9): "Sept", ("en_GB", 9): "Sep",
    ("es", 9): "sep", ("it", 9): "sett", ("fr", 7): "jul", ("nl", 3): "maa",
}  # fmt: skip

# Digits of the script beside 0-9, and the share of the language's rows that are written in them.
DIGITS: Mapping[str, tuple[str, float]] = {
    "ar_EG": ("٠١٢٣٤٥٦٧٨٩", 0.5), "ar_LB": ("٠١٢٣٤٥٦٧٨٩", 0.4), "fa": ("۰۱۲۳۴۵۶۷۸۹", 0.65),
    "hi": ("०१२३४५६७८९", 0.35), "mr": ("०१२३४५६७८९", 0.5), "bn": ("০১২৩৪৫৬৭৮৯", 0.75),
    "th": ("๐๑๒๓๔๕๖๗๘๙", 0.12), "ja": ("０１２３４５６７８９", 0.08), "zh": ("〇一二三四五六七八九", 0.12),
    "zh_Hant": ("〇一二三四五六七八九", 0.12),
}  # fmt: skip

ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")

# Kept out of all three files, in any spelling with the same letters and digits: examples to show.
RESERVED = ("3. März 2021", "March 3rd, 2021", "2021年3月3日", "٣ مارس ٢٠٢١")

NOISE_SHARE = 0.28  # rows with a fault; one in six of them has two
NOISE: Mapping[str, float] = {"case": 3, "spacing": 3, "punctuation": 2.5, "typo": 3, "accents": 3}


@dataclass(frozen=True)
class Row:
    """One pair, with what its counts in the card are made of."""

    source: str
    target: str
    locale: str
    tags: frozenset[str]


# -- the rule ------------------------------------------------------------------------------------


def settled(text: str) -> date | None:
    """The date of digits without letters between them, by the written rule; None for the rest.

    One group: eight digits are year month day, six are two-digit year, month, day. Three groups:
    a first number over 31 is the year, then month, day. Else the year is last; of the other two
    a number over 12 is the day; otherwise a slash between ASCII digits puts the month first, and
    any other sign, or other digits, the day. Two digits are a year from 1950 to 2049.
    """
    single = re.fullmatch(r"\W*(\d{2}|\d{4})(\d{2})(\d{2})\W*", text)
    if single:
        year, month, day = single.groups()
        return date(full_year(year), int(month), int(day))
    triple = re.search(r"(?<!\d)(\d+)([\W_]+)(\d+)[\W_]+(\d+)(?!\d)", text)
    if not triple:
        return None
    first, between, second, third = triple.groups()
    if int(first) > 31:
        return date(full_year(first), int(second), int(third))
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


# -- names ---------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Without the accents of Latin and Greek letters and the hamza on alef: what lazy hands type."""
    kept: list[str] = []
    for sign in unicodedata.normalize("NFD", text):
        base = unicodedata.name(kept[-1], "") if kept else ""
        if not (unicodedata.category(sign) == "Mn" and base.startswith(("LATIN", "GREEK", "ARABIC"))):
            kept.append(sign)
    joined = "".join(kept).translate(str.maketrans("łøđıŁØĐ", "lodiLOD"))
    return unicodedata.normalize("NFC", joined)


def folded(name: str) -> str:
    """A name as it is compared: plain, without case and dots."""
    return plain(plain(name).casefold()).replace(".", "")


@cache
def month_name(locale: str, field: str, month: int) -> str:
    """The month in words. Only CLDR's "format" names: Babel's cache mixes up the stand-alone ones
    of languages that inherit them, and the short ones of Arabic, which are the long ones anyway."""
    width = "wide" if field == "MMMM" or locale.startswith("ar") else "abbreviated"
    name = unicodedata.normalize("NFC", get_month_names(width, "format", locale)[month])
    return name.removesuffix(".") if field == "LLL" else name


@cache
def all_names() -> Mapping[str, frozenset[int]]:
    """folded name -> its months, over all languages; more than one month makes it unusable."""
    found: dict[str, set[int]] = {}
    spoken = [(locale, month) for locale in LOCALES if locale != "und" for month in range(1, 13)]
    for locale, month in spoken:
        names = [month_name(locale, field, month) for field in ("MMMM", "MMM")]
        for name in [*names, OTHER_NAMES.get((locale, month), names[0])]:
            found.setdefault(folded(name), set()).add(month)
    return {name: frozenset(months) for name, months in found.items()}


def recoverable(word: str, month: int) -> bool:
    """Whether a misspelt month is at least two edits from every name of every other month."""
    wrong = folded(word)
    return all(
        months == {month} or OSA.distance(wrong, name, score_cutoff=1) > 1
        for name, months in all_names().items()
    )


# -- a date in pieces ----------------------------------------------------------------------------


@cache
def fields(pattern: str) -> tuple[Piece, ...]:
    """A pattern cut into (kind, field) and (text, literal)."""
    cut: list[Piece] = []
    kinds = {"d": "day", "#": "day", "M": "month", "%": "month", "L": "name", "y": "year"}
    kinds |= {"E": "weekday", "c": "weekday", "G": "era"}
    for match in re.finditer(r"''|'([^']*)'|([dMLyEcG])\2*|[#%]|.", pattern):
        found = match.group()
        if found == "''":
            cut.append(("text", "'"))
        elif found[0] == "'":
            cut.append(("text", match.group(1)))
        else:
            cut.append((kinds.get(found[0], "text"), found))
    return tuple(cut)


@cache
def patterns(locale: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """The patterns of a language with their weights: CLDR's and those of FORMS."""
    extra = FORMS[locale].split(" | ")
    if locale == "und":
        return tuple(extra), (1.0,) * len(extra)
    data = Locale.parse(locale)
    weighted = [(pattern, (1 - CLDR_SHARE) / len(extra)) for pattern in extra]
    for name, weight in CLDR.items():
        known = data.date_formats.get(name) or data.datetime_skeletons.get(name)
        if known:
            # CLDR's invisible direction marks and narrow spaces are typeset, not typed.
            text = re.sub("[\u00a0\u202f]", " ", known.pattern.replace("\u200f", ""))
            weighted.append((text, CLDR_SHARE * weight / sum(CLDR.values())))
    return tuple(text for text, _ in weighted), tuple(weight for _, weight in weighted)


def ordinal(day: int, locale: str) -> str:
    """What is written behind the day's digits where it is read as an ordinal."""
    if locale.startswith("en"):
        return "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    if locale == "sv":
        return ":a" if day in (1, 2, 21, 22, 31) else ":e"
    if locale in ("fr", "it", "es", "pt_BR"):
        return ("er" if locale == "fr" else "º") if day == 1 else ""
    return {"el": "η", "ru": "-го", "uk": "-го"}[locale]


def weekday_name(locale: str, field: str, when: date) -> str:
    """The weekday in words; the short ones of Vietnamese are digits and stay out."""
    width = "wide" if len(field) > 3 or locale == "vi" else "abbreviated"
    context = "stand-alone" if field == "cccc" else "format"
    return get_day_names(width, context, locale)[when.weekday()]


def worded(piece: Piece, when: date, locale: str, rng: Random) -> list[Piece]:
    """One field of a pattern, filled in."""
    kind, field = piece
    if kind == "day":
        ending = [("ordinal", ordinal(when.day, locale))] if field == "#" else []
        return [("day", f"{when.day:02}" if field == "dd" else str(when.day)), *ending]
    if kind == "year":
        return [("year", f"{when.year % 100:02}" if field == "yy" else f"{when.year:04}")]
    if kind == "weekday":
        return [("weekday", weekday_name(locale, field, when))]
    if field == "%":
        return [("roman", ROMAN[when.month - 1])]
    if field in ("M", "MM"):
        return [("month", f"{when.month:02}" if field == "MM" else str(when.month))]
    if kind in ("month", "name"):
        name = month_name(locale, field, when.month)
        if field == "LLL" and rng.random() < 0.4:
            name = OTHER_NAMES.get((locale, when.month), name)
        cut = re.fullmatch(r"(\D*)(\d+)(\D*)", name)
        return [("text", cut[1]), ("month", cut[2]), ("text", cut[3])] if cut else [("name", name)]
    return [("text", Locale.parse(locale).eras["abbreviated"][1] if kind == "era" else field)]


def written(pattern: str, when: date, locale: str, rng: Random) -> list[Piece]:
    """A date by a pattern, in pieces, with the digits and capitals that the pattern asks for."""
    pieces: list[Piece] = []
    for piece in fields(pattern.removeprefix("^")):
        filled = worded(piece, when, locale, rng)
        # a dot marks a shortened name only
        whole = pieces and pieces[-1] == ("name", month_name(locale, "MMMM", when.month))
        if not (whole and "LLL." in pattern and filled == [("text", ".")]):
            pieces += [(kind, text) for kind, text in filled if text]
    digits, share = DIGITS.get(locale, ("", 0.0))
    if rng.random() < share:
        pieces = with_digits(pieces, digits)
    if pattern.startswith("^"):
        pieces = [(kind, text.upper()) for kind, text in pieces]
    return pieces


def with_digits(pieces: list[Piece], digits: str) -> list[Piece]:
    """The same in other digits: one for one, but Chinese days and months are read as numbers."""
    if digits[0] == "〇":
        if not any("年" in text for _, text in pieces):
            return pieces
        count = {"day": chinese, "month": chinese}
        pieces = [(kind, count[kind](text) if kind in count else text) for kind, text in pieces]
    table = str.maketrans("0123456789/", digits + ("／" if digits[0] == "０" else "/"))
    return [(kind, text.translate(table)) for kind, text in pieces]


def chinese(number: str) -> str:
    """1 to 31 as Chinese numerals: 3 三, 10 十, 23 二十三."""
    tens, ones = divmod(int(number), 10)
    signs = "〇一二三四五六七八九"
    return (signs[tens] if tens > 1 else "") + "十" * (tens > 0) + (signs[ones] if ones else "")


# -- faults --------------------------------------------------------------------------------------


def joined(pieces: Iterable[Piece]) -> str:
    """The string of the pieces, NFC."""
    return unicodedata.normalize("NFC", "".join(text for _, text in pieces))


def fault(kind: str, pieces: list[Piece], when: date, locale: str, rng: Random) -> list[Piece]:
    """The pieces with one fault of the kind; the same pieces where it does not apply."""
    if kind == "case":
        return miscased(pieces, locale, rng)
    if kind == "accents":
        return unaccented(pieces, locale, rng)
    if kind == "typo":
        return misspelt(pieces, when.month, rng)
    text = joined(pieces)
    return [("text", spaced(text, rng) if kind == "spacing" else punctuated(text, rng))]


def miscased(pieces: list[Piece], locale: str, rng: Random) -> list[Piece]:
    """All capitals, all small, or names that start the other way; only in scripts with cases."""
    text = joined(pieces)
    if locale == "ka" or text.upper() == text.lower() or any(kind == "roman" for kind, _ in pieces):
        return pieces
    way = rng.choice(("upper", "upper", "lower", "lower", "first"))
    if way == "first":
        swap = {"name", "weekday"}
        return [(kind, text.capitalize() if kind in swap else text) for kind, text in pieces]
    return [(kind, cased(text, way, locale)) for kind, text in pieces]


def cased(text: str, way: str, locale: str) -> str:
    """Capitals or small letters as the language has them: Turkish dots, Greek without accents."""
    if way == "lower":
        return (text.replace("I", "ı").replace("İ", "i") if locale == "tr" else text).lower()
    if locale == "tr":
        text = text.replace("i", "İ")
    return (plain(text) if locale == "el" else text).upper()


def unaccented(pieces: list[Piece], locale: str, rng: Random) -> list[Piece]:
    """Without accents; German umlauts also as ae, oe, ue."""
    if locale.startswith("de") and rng.random() < 0.5:
        spelt = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae"})
        return [(kind, text.translate(spelt)) for kind, text in pieces]
    return [(kind, plain(text)) for kind, text in pieces]


def misspelt(pieces: list[Piece], month: int, rng: Random) -> list[Piece]:
    """The month with two letters swapped, one left out or one doubled, if it stays recoverable."""
    place = next((i for i, (kind, _) in enumerate(pieces) if kind == "name"), None)
    if place is None:
        return pieces
    word = pieces[place][1]
    if len(word) < 5 or any(unicodedata.category(sign)[0] != "L" for sign in word):
        return pieces
    at = rng.randrange(1, len(word) - 1)
    way = rng.choice(("swap", "drop", "double"))
    middle = {"swap": word[at + 1] + word[at], "drop": word[at + 1], "double": word[at] * 2}[way]
    wrong = word[:at] + middle + word[at + (1 if way == "double" else 2) :]
    if not recoverable(wrong, month):
        return pieces
    return [*pieces[:place], ("name", wrong), *pieces[place + 1 :]]


def spaced(text: str, rng: Random) -> str:
    """Spaces too many, too few, or of the unbreakable kind. Digits never grow together."""
    way = rng.choice(("before", "after", "after", "double", "double", "drop", "drop", "hard", "signs"))
    if way == "before":
        return " " * rng.choice((1, 1, 2)) + text
    if way == "after":
        return text + " " * rng.choice((1, 1, 2))
    if way == "signs":
        return re.sub(r"(?<=\d)([/.-])(?=\d)", r" \1 ", text)
    spot = {
        "drop": r"(?<=\d) (?=[^\W\d_])|(?<=[^\W\d_]) (?=\d)|(?<=[.,،]) (?=\w)",
        "double": " ",
        "hard": " ",
    }[way]
    found = [match.start() for match in re.finditer(spot, text)]
    if not found or (way == "drop" and re.search(r"\b[IVX]+\b", text)):
        return text
    at = rng.choice(found)
    return text[:at] + {"drop": "", "double": "  ", "hard": "\u00a0"}[way] + text[at + 1 :]


def punctuated(text: str, rng: Random) -> str:
    """A stray sign at an end, brackets around, or a comma or dot too many or too few inside."""
    way = rng.choice(("end", "end", "start", "around", "drop", "drop", "more", "more"))
    if way == "end":
        return text + rng.choice(".,;,") if text[-1].isalnum() else text
    if way == "start":
        return rng.choice(("'", "- ", "* ", ": ")) + text
    if way == "around":
        left, right = rng.choice(("()", "()", "[]"))
        return text if "(" in text or "（" in text else left + text + right
    spot = r"(?<=\w)[.,،](?= |$)" if way == "drop" else r"(?<=[^\W\d_])(?= \d)|(?<=[.,])(?= )"
    found = [match.start() for match in re.finditer(spot, text)]
    if not found:
        return text
    at = rng.choice(found)
    if way == "drop":
        return text[:at] + text[at + 1 :]
    return text[:at] + (text[at - 1] if text[at - 1] in ".," else ",") + text[at:]


# -- rows ----------------------------------------------------------------------------------------


def pick_date(rng: Random, pattern: str, locale: str) -> date:
    """A day, mostly of 1950 to 2035; the first of the month more often where it has an ending."""
    way = rng.random()
    if re.search(r"(?<!y)yy(?!y)", pattern):
        first, last = (1950, 2035) if way < 0.92 else (2036, 2049)
    else:
        first, last = (1985, 2030) if way < 0.55 else (1950, 2035) if way < 0.85 else (1800, 2099)
    when = date.fromordinal(
        rng.randint(date(first, 1, 1).toordinal(), date(last, 12, 31).toordinal())
    )
    only_first = locale in ("fr", "it", "es", "pt_BR") and "#" in pattern
    return when.replace(day=1) if only_first and rng.random() < 0.4 else when


def decided(pieces: list[Piece], when: date) -> bool:
    """Whether the string says its date: by the rule, or by a name that only one month has."""
    text = joined(pieces)
    if re.search(r"(?<!\d)\d+[\W_]+\d+[\W_]+\d+(?!\d)", text) or re.fullmatch(r"\W*\d+\W*", text):
        try:
            return settled(text) == when
        except ValueError:  # the rule reads a day that no month has
            return False
    names = [folded(text) for kind, text in pieces if kind == "name"]
    return all(all_names().get(name) in (None, {when.month}) for name in names)


def make_row(rng: Random, locale: str) -> Row | None:
    """One pair in a language; None if its string would not be decided by the rule."""
    texts, weights = patterns(locale)
    pattern = rng.choices(texts, weights)[0]
    when = pick_date(rng, pattern, locale)
    pieces = written(pattern, when, locale, rng)
    tags = set(described(pieces, locale))
    if not decided(pieces, when):
        return None
    faults = 0 if rng.random() >= NOISE_SHARE else 1 if rng.random() < 5 / 6 else 2
    for _ in range(8):  # a kind that does not apply gives way to another
        if not faults:
            break
        kind = rng.choices(list(NOISE), list(NOISE.values()))[0]
        changed = fault(kind, pieces, when, locale, rng)
        if f"noise: {kind}" not in tags and joined(changed) != joined(pieces):
            tags.add(f"noise: {kind}")
            pieces, faults = changed, faults - 1
    if not decided(pieces, when):
        return None
    return Row(joined(pieces), when.isoformat(), locale, frozenset(tags))


def described(pieces: list[Piece], locale: str) -> Iterator[str]:
    """The names under which a row is counted in the card."""
    kinds = dict(pieces)
    text = joined(pieces)
    if "name" in kinds:
        long = {month_name(locale, "MMMM", month).casefold() for month in range(1, 13)}
        yield "month: name" if kinds["name"].casefold() in long else "month: short name"
    elif "roman" in kinds:
        yield "month: Roman number"
    elif settled_shape(text):
        yield "month: number"
    else:
        yield "month: number with a word (年, 월, tháng)"
    if not any(sign.isalpha() for sign in text):
        yield "digits and signs alone"
    if "weekday" in kinds:
        yield "weekday"
    if "ordinal" in kinds:
        yield "ordinal ending"
    if len(kinds["year"]) == 2:
        yield "two-digit year"
    if not kinds["year"].isascii():
        yield "other digits"


def settled_shape(text: str) -> bool:
    """Whether no letter stands between the numbers."""
    return re.search(r"\d[^\W\d_]+\s*\d|[〇一二三四五六七八九]年|\d\s*[^\W\d_]+\s*\d", text) is None


def identity(source: str) -> str:
    """What is the same in two rows that differ in case, spaces and signs only."""
    text = unicodedata.normalize("NFC", source).casefold()
    kept = "".join(sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in text)
    return " ".join(kept.split(" ")).strip(" ")


def rows(seed: int) -> Iterator[Row]:
    """Rows without end, no two with the same letters and digits, none of RESERVED."""
    rng = Random(seed)
    seen = {identity(source) for source in RESERVED}
    targets: dict[str, str] = {}
    while True:
        row = make_row(rng, rng.choices(list(LOCALES), list(LOCALES.values()))[0])
        if row is None:
            continue
        if targets.setdefault(row.source, row.target) != row.target:
            raise ValueError(f"two dates for {row.source!r}: {targets[row.source]}, {row.target}")
        if identity(row.source) not in seen:
            seen.add(identity(row.source))
            yield row


# -- files ---------------------------------------------------------------------------------------


def make(out: Path, seed: int, sizes: Mapping[str, int]) -> dict[str, list[Row]]:
    """Writes ``out``/SPLIT.tsv for each split of ``sizes``, in that order from one stream."""
    stream = rows(seed)
    splits = {name: [next(stream) for _ in range(size)] for name, size in sizes.items()}
    out.mkdir(parents=True, exist_ok=True)
    for name, made in splits.items():
        lines = "".join(f"{row.source}\t{row.target}\n" for row in made)
        (out / f"{name}.tsv").write_bytes(lines.encode("utf-8"))
    return splits


def summary(splits: Mapping[str, list[Row]]) -> str:
    """The counts of the card, as Markdown."""
    every = [row for made in splits.values() for row in made]
    lines = [f"Babel {babel.__version__}, CLDR {get_cldr_version()}", ""]
    lines += [f"- {name}: {len(made):,}" for name, made in splits.items()]
    tags = Counter(tag for row in every for tag in row.tags)
    noisy = sum(any(tag.startswith("noise") for tag in row.tags) for row in every)
    tags["noise: any"] = noisy
    lines += ["", "| rows with | count | share |", "| --- | ---: | ---: |"]
    lines += [f"| {tag} | {n:,} | {100 * n / len(every):.1f} % |" for tag, n in sorted(tags.items())]
    langs = Counter(row.locale for row in every)
    lines += ["", ", ".join(f"{code} {count:,}" for code, count in langs.most_common())]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make the dates data set.")
    parser.add_argument("--out", type=Path, default=Path("data"), help="folder (default: data)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other rows")
    for split, size in (("train", 40_000), ("dev", 2_000), ("test", 2_000)):
        parser.add_argument(f"--{split}", type=int, default=size, metavar="N", help="rows")
    options = parser.parse_args(arguments)
    # the test rows first: they stay the same whatever the size of the training data
    sizes = {split: getattr(options, split) for split in ("test", "dev", "train")}
    print(summary(make(options.out, options.seed, sizes)))


if __name__ == "__main__":
    main()
