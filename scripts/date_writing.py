"""A date -> its string in a language: names, patterns, digits and faults.

It needs Babel (names and patterns of CLDR) and RapidFuzz (edit distance). Patterns that people use
besides those of CLDR are in dates.toml, which explains its notation. A string is made of pieces, so
that a fault knows the day from the name of the month.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple

from babel import Locale
from babel.dates import get_day_names, get_month_names
from rapidfuzz.distance import OSA

Piece = tuple[str, str]  # (kind, text); kinds: day month name year weekday ordinal roman text

LANGUAGES = Path(__file__).with_name("dates.toml")

# The share of CLDR's own patterns in a language, and the weight of each among them.
CLDR_SHARE = 0.4
CLDR: Mapping[str, float] = {
    "full": 3, "long": 4, "medium": 4, "short": 3, "yMMMEd": 1.5, "yMEd": 1, "yMd": 1,
}  # fmt: skip

# Patterns that are written in every language with month names, and their share.
SHARED_SHARE = 0.22
SHARED = (
    "d MMMM y",
    "d NNNN y",
    "MMMM d, y",
    "NNNN d, y",
    "d LLL y",
    "LLL d, y",
    "LLL d y",
    "d MMMM, y",
    "d NNNN, y",
    "d-LLL-y",
    "y-LLL-d",
    "d.MMMM.y",
    "d-NNNN-y",
    "EEE d LLL y",
    "EEEE, MMMM d, y",
    "EEE, d MMMM y",
    "EEE, LLL d, y",
    "y MMMM d",
    "d. NNNN y",
    "d/LLL/y",
    "y, d LLL",
    "d LLL yy",
    "d LLL ''yy",
    "EEEE d MMMM y",
    "EEE LLL dd y",
    "EEE. d LLL. y",
    "d LLL. y",
    "dd MMMM y'.'",
    "LLL. d y",
    "d. LLL. y",
    "dd-LLL-y",
    "dd LLL yy",
    "^dd LLL y",
    "^ddLLLy",
    "^ddLLLyy",
    "^d LLL. y",
    "d MMMM y, EEEE",
    "d MMMM y (EEEE)",
    "d NNNN y EEE",
    "EEEE, d. MMMM y",
    "EEE d-LLL-y",
    "EEE, dd.MM.y",
    "EEEE dd.MM.y",
    "dd.MM.y (EEE)",
    "EEEE, y-MM-dd",
    "y-MM-dd EEE",
    "EEEE dd/MM/y",
    "d MMMM (y)",
    "d MMMM - y",
    "y. MMMM d",
    "y LLL d",
    "y, MMMM d",
    "y-MMMM-d",
    "LLL/d/y",
    "LLL-d-y",
)
NUMBERED = ("ja", "zh", "zh_Hant", "ko", "vi")  # months are numbers
# Languages whose CLDR has months that stand alone: other languages inherit wrong ones in Babel.
ALONE = ("ru", "uk", "be", "pl", "cs", "sk", "hr", "el", "fi", "lt", "ca", "hy")

ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")

FAULTS: Mapping[str, float] = {
    "case": 5, "spacing": 2.5, "punctuation": 2, "typo": 7, "accents": 12,
}  # fmt: skip


class NoDay(NamedTuple):
    """Numbers in the place of a date that no calendar has, such as 31 February."""

    year: int
    month: int
    day: int

    def weekday(self) -> int:
        """Some weekday."""
        return (self.year + self.day) % 7


When = date | NoDay


@dataclass(frozen=True)
class Language:
    """How often it is drawn, its patterns with their weights, and what CLDR does not list."""

    weight: float
    patterns: tuple[str, ...]
    weights: tuple[float, ...]
    short: Mapping[int, list[str]]
    digits: str
    digits_share: float


# -- languages -----------------------------------------------------------------------------------


@cache
def languages() -> Mapping[str, Language]:
    """The languages of dates.toml by code; "und" stands for digits alone, in no language."""
    table = tomllib.loads(LANGUAGES.read_text(encoding="utf-8"))
    return {code: language(code, entry) for code, entry in table.items()}


def language(code: str, entry: Mapping[str, Any]) -> Language:
    """One entry of dates.toml with CLDR's patterns put beside its own."""
    known = {} if code == "und" else cldr_patterns(code)
    share = CLDR_SHARE if known else 0.0
    shared = () if code == "und" or code in NUMBERED else shared_patterns(code)
    common = SHARED_SHARE if shared else 0.0
    weighted = [(form, (1 - share - common) / len(entry["forms"])) for form in entry["forms"]]
    weighted += [(form, share * part / sum(CLDR.values())) for form, part in known.items()]
    weighted += [(form, common / len(shared)) for form in shared]
    texts, weights = zip(*weighted, strict=True)
    digits, digits_share = entry.get("digits", ("", 0.0))
    short = {int(month): names for month, names in entry.get("short", {}).items()}
    return Language(entry["weight"], texts, weights, short, digits, digits_share)


def shared_patterns(code: str) -> tuple[str, ...]:
    """The patterns of :data:`SHARED` for a language: Catalan has an article in the long names."""
    if code == "ca":
        return tuple(form.replace("MMMM", "NNNN") for form in SHARED)
    if code == "mn":  # its short months begin with a digit, which would grow together with the day
        return tuple(form for form in SHARED if "ddLLL" not in form)
    return SHARED


def cldr_patterns(code: str) -> dict[str, float]:
    """CLDR's patterns of a language with their weights, as they are typed.

    Without invisible direction marks and with plain spaces for the hard and the narrow ones.
    """
    data = Locale.parse(code)
    found: dict[str, float] = {}
    for name, weight in CLDR.items():
        known = data.date_formats.get(name) or data.datetime_skeletons.get(name)
        if known:
            text = re.sub("[\u00a0\u202f]", " ", known.pattern.replace("\u200f", ""))
            found[text] = found.get(text, 0) + weight
    return found


# -- names ---------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Text without the accents of Latin and Greek letters and the hamza on alef."""
    accented = ("LATIN", "GREEK", "ARABIC LETTER ALEF", "ARABIC LETTER HEH")
    kept: list[str] = []
    for sign in unicodedata.normalize("NFD", text):
        base = unicodedata.name(kept[-1], "") if kept else ""
        if not (unicodedata.category(sign) == "Mn" and base.startswith(accented)):
            kept.append(sign)
    joined = "".join(kept).translate(str.maketrans("łøđıŁØĐ", "lodiLOD"))
    return unicodedata.normalize("NFC", joined)


def folded(name: str) -> str:
    """A name as it is compared: plain, without case and dots."""
    return plain(plain(name).casefold()).replace(".", "")


@cache
def month_name(locale: str, field: str, month: int) -> str:
    """The month in words: MMMM and MMM as in a date, NNNN as it stands alone, LLL without dot.

    A language that inherits the names that stand alone gets those of the language that Babel was
    asked for first, and so with the short ones of Lebanon's Arabic: these are not asked for.
    """
    alone = field == "NNNN" and locale in ALONE
    long = field in ("MMMM", "NNNN") or locale.startswith("ar")
    if alone:
        return unicodedata.normalize("NFC", get_month_names("wide", "stand-alone", locale)[month])
    names = get_month_names("wide" if long else "abbreviated", "format", locale)
    name = unicodedata.normalize("NFC", names[month])
    return name.removesuffix(".") if field == "LLL" else name


@cache
def names_of(locale: str) -> Mapping[str, int]:
    """The months of a language by their folded names."""
    found = {}
    for field, month in product(("MMMM", "NNNN", "MMM"), range(1, 13)):
        found[folded(month_name(locale, field, month))] = month
    for month, others in languages()[locale].short.items():
        found |= {folded(name): month for name in others}
    return found


@cache
def all_names() -> Mapping[str, int]:
    """The month that a folded name means, in the first language of dates.toml that has it.

    A language further down that means another month by it is not written with it.
    """
    found: dict[str, int] = {}
    for code in languages():
        for name, month in (names_of(code) if code != "und" else {}).items():
            found.setdefault(name, month)
    return found


def recoverable(word: str, month: int) -> bool:
    """Whether a misspelt month is at least two edits from every name of every other month."""
    wrong = folded(word)
    return all(
        meant == month or OSA.distance(wrong, name, score_cutoff=1) > 1
        for name, meant in all_names().items()
    )


# -- a date in pieces ----------------------------------------------------------------------------


@cache
def fields(pattern: str) -> tuple[Piece, ...]:
    """A pattern cut into (kind, field) and (text, literal)."""
    cut: list[Piece] = []
    kinds = {
        "d": "day",
        "#": "day",
        "M": "month",
        "%": "month",
        "N": "name",
        "L": "name",
        "y": "year",
    }
    kinds |= {"E": "weekday", "c": "weekday", "G": "era"}
    for match in re.finditer(r"''|'([^']*)'|([dMNLyEcG])\2*|[#%]|.", pattern):
        found = match.group()
        if found == "''":
            cut.append(("text", "'"))
        elif found[0] == "'":
            cut.append(("text", match.group(1)))
        else:
            cut.append((kinds.get(found[0], "text"), found))
    return tuple(cut)


def ordinal(day: int, locale: str) -> str:
    """The suffix of an ordinal day, as in 1st, 2nd."""
    if locale.startswith("en"):
        return "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    if locale == "sv":
        return ":a" if day in (1, 2, 21, 22, 31) else ":e"
    if locale in ("fr", "it", "es", "pt_BR"):
        return ("er" if locale == "fr" else "º") if day == 1 else ""
    return {"el": "η", "ru": "-го", "uk": "-го"}[locale]


def weekday_name(locale: str, field: str, when: When) -> str:
    """The weekday in words; the short ones of Vietnamese are digits and stay out."""
    long = len(field) > 3 or locale == "vi"
    context: Literal["stand-alone", "format"] = "stand-alone" if field == "cccc" else "format"
    return str(get_day_names("wide" if long else "abbreviated", context, locale)[when.weekday()])


def worded(piece: Piece, when: When, locale: str, rng: Random) -> list[Piece]:
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
        others = languages()[locale].short.get(when.month)
        if field == "LLL" and others and rng.random() < 0.4:
            name = rng.choice(others)
        cut = re.fullmatch(r"(\D*)(\d+)(\D*)", name)
        return [("text", cut[1]), ("month", cut[2]), ("text", cut[3])] if cut else [("name", name)]
    return [("text", Locale.parse(locale).eras["abbreviated"][1] if kind == "era" else field)]


def written(pattern: str, when: When, locale: str, rng: Random) -> list[Piece]:
    """A date by a pattern, in pieces, with the digits and capitals that the pattern asks for."""
    pieces: list[Piece] = []
    full = month_name(locale, "MMMM", when.month) if 1 <= when.month <= 12 else ""
    for piece in fields(pattern.removeprefix("^")):
        filled = worded(piece, when, locale, rng)
        # a dot marks a shortened name only
        whole = pieces and pieces[-1] == ("name", full)
        if not (whole and "LLL." in pattern and filled == [("text", ".")]):
            pieces += [(kind, text) for kind, text in filled if text]
    if rng.random() < languages()[locale].digits_share:
        pieces = with_digits(pieces, languages()[locale].digits)
    if pattern.startswith("^"):
        pieces = [(kind, text.upper()) for kind, text in pieces]
    return pieces


def with_digits(pieces: list[Piece], digits: str) -> list[Piece]:
    """Digits of another script, one for one; Chinese days and months become numerals."""
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


def fault(kind: str, pieces: list[Piece], when: When, locale: str, rng: Random) -> list[Piece]:
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
    if locale == "ka" or text.upper() == text.lower() or re.search(r"\b[IVX]+\b", text):
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
    way = rng.choice(
        ("before", "after", "after", "double", "double", "drop", "drop", "hard", "signs")
    )
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
        return rng.choice(("'", "'", "- ", ": ")) + text
    if way == "around":
        left, right = rng.choice(("()", "()", "[]"))
        return text if "(" in text or "（" in text else left + text + right
    spot = r"(?<=\w)[.,،](?= |$)" if way == "drop" else r"(?<=[^\W\d_])(?= \d)|(?<=,)(?= )"
    found = [match.start() for match in re.finditer(spot, text)]
    if not found:
        return text
    at = rng.choice(found)
    if way == "drop":
        return text[:at] + text[at + 1 :]
    return text[:at] + "," + text[at:]
