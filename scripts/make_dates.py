"""Generator of the dates data set: dates as people write them, with their ISO 8601 dates, as TSV.

It needs Babel (names and patterns of CLDR) and RapidFuzz (edit distance). Patterns that people use
besides those of CLDR are in dates.toml, which explains its notation. `settled` is the rule for
ambiguous orders of day and month; a date that it reads otherwise is never written. The same seed
and the same Babel give the same bytes. The card of the data is data/README.md.
"""

from __future__ import annotations

import argparse
import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, Literal

import babel
from babel import Locale
from babel.core import get_cldr_version
from babel.dates import get_day_names, get_month_names
from rapidfuzz.distance import OSA

Piece = tuple[str, str]  # (kind, text); kinds: day month name year weekday text

LANGUAGES = Path(__file__).with_name("dates.toml")

# The share of CLDR's own patterns in a language, and the weight of each among them.
CLDR_SHARE = 0.45
CLDR: Mapping[str, float] = {
    "full": 3, "long": 4, "medium": 4, "short": 3, "yMMMEd": 1.5, "yMEd": 1, "yMd": 1,
}  # fmt: skip

ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")

# Kept out of all three files, in any spelling with the same letters and digits: examples to show.
RESERVED = ("3. März 2021", "March 3rd, 2021", "2021年3月3日", "٣ مارس ٢٠٢١")

FAULT_SHARE = 0.28  # rows with a fault; one in six of them has two
FAULTS: Mapping[str, float] = {
    "case": 4, "spacing": 2.5, "punctuation": 2, "typo": 5, "accents": 15,
}  # fmt: skip


@dataclass(frozen=True)
class Language:
    """How often it is drawn, its patterns with their weights, and what CLDR does not list."""

    weight: float
    patterns: tuple[str, ...]
    weights: tuple[float, ...]
    short: Mapping[int, list[str]]
    digits: str
    digits_share: float


@dataclass(frozen=True)
class Row:
    """One pair, with the properties that the card counts."""

    source: str
    target: str
    locale: str
    tags: frozenset[str]


# What the rule reads: numbers without letters between them.
ONE_NUMBER = re.compile(r"\W*(\d{2}|\d{4})(\d{2})(\d{2})\W*")
THREE_NUMBERS = re.compile(r"(?<!\d)(\d+)([\W_]+)(\d+)[\W_]+(\d+)(?!\d)")


# -- the rule ------------------------------------------------------------------------------------


def settled(text: str) -> date | None:
    """The date of digits without letters between them, by the written rule; None for the rest.

    One group: eight digits are year month day, six are two-digit year, month, day. Three groups:
    a first number over 31 is the year, then month, day. Else the year is last; of the other two
    a number over 12 is the day; otherwise a slash between ASCII digits puts the month first, and
    any other sign, or other digits, the day. Two digits are a year from 1950 to 2049.
    """
    single = ONE_NUMBER.fullmatch(text)
    if single:
        year, month, day = single.groups()
        return date(full_year(year), int(month), int(day))
    triple = THREE_NUMBERS.search(text)
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
    weighted = [(form, (1 - share) / len(entry["forms"])) for form in entry["forms"]]
    weighted += [(form, share * part / sum(CLDR.values())) for form, part in known.items()]
    texts, weights = zip(*weighted, strict=True)
    digits, digits_share = entry.get("digits", ("", 0.0))
    short = {int(month): names for month, names in entry.get("short", {}).items()}
    return Language(entry["weight"], texts, weights, short, digits, digits_share)


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
    """The month in words.

    Only CLDR's "format" names: a language that inherits the stand-alone ones gets those of the
    language that Babel was asked for first, and so with the short ones of Lebanon's Arabic.
    """
    long = field == "MMMM" or locale.startswith("ar")
    names = get_month_names("wide" if long else "abbreviated", "format", locale)
    name = unicodedata.normalize("NFC", names[month])
    return name.removesuffix(".") if field == "LLL" else name


@cache
def all_names() -> Mapping[str, frozenset[int]]:
    """The months that a folded name means in any language; with more than one it is not used."""
    found: dict[str, set[int]] = {}
    spoken = [code for code in languages() if code != "und"]
    for code, month in product(spoken, range(1, 13)):
        names = [month_name(code, field, month) for field in ("MMMM", "MMM")]
        for name in [*names, *languages()[code].short.get(month, [])]:
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


def ordinal(day: int, locale: str) -> str:
    """The suffix of an ordinal day, as in 1st, 2nd."""
    if locale.startswith("en"):
        return "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    if locale == "sv":
        return ":a" if day in (1, 2, 21, 22, 31) else ":e"
    if locale in ("fr", "it", "es", "pt_BR"):
        return ("er" if locale == "fr" else "º") if day == 1 else ""
    return {"el": "η", "ru": "-го", "uk": "-го"}[locale]


def weekday_name(locale: str, field: str, when: date) -> str:
    """The weekday in words; the short ones of Vietnamese are digits and stay out."""
    long = len(field) > 3 or locale == "vi"
    context: Literal["stand-alone", "format"] = "stand-alone" if field == "cccc" else "format"
    return str(get_day_names("wide" if long else "abbreviated", context, locale)[when.weekday()])


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
        others = languages()[locale].short.get(when.month)
        if field == "LLL" and others and rng.random() < 0.4:
            name = rng.choice(others)
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
    try:
        read = settled(joined(pieces))
    except ValueError:  # the rule reads a day that no month has
        return False
    if read:
        return read == when
    names = [folded(text) for kind, text in pieces if kind == "name"]
    return all(all_names().get(name) in (None, {when.month}) for name in names)


def make_row(rng: Random, locale: str) -> Row | None:
    """One pair in a language; None if its string would not be decided by the rule."""
    pattern = rng.choices(languages()[locale].patterns, languages()[locale].weights)[0]
    when = pick_date(rng, pattern, locale)
    pieces = written(pattern, when, locale, rng)
    if not decided(pieces, when):
        return None
    tags = set(described(pieces, locale))
    faults = 0 if rng.random() >= FAULT_SHARE else 1 if rng.random() < 5 / 6 else 2
    for _ in range(20):  # a kind that does not apply gives way to another
        if not faults:
            break
        kind = rng.choices(list(FAULTS), list(FAULTS.values()))[0]
        changed = fault(kind, pieces, when, locale, rng)
        if f"fault: {kind}" not in tags and joined(changed) != joined(pieces):
            tags.add(f"fault: {kind}")
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
    elif settled(text):
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


def identity(source: str) -> str:
    """The key of a row without case, accents, spaces and signs, by which duplicates are found."""
    text = plain(source).casefold()
    kept = "".join(sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in text)
    return " ".join(re.sub(r"(\d+)", r" \1 ", kept).split())


def rows(seed: int) -> Iterator[Row]:
    """An endless stream of rows, no two with the same identity, none of RESERVED."""
    rng = Random(seed)
    seen = {identity(source) for source in RESERVED}
    targets: dict[str, str] = {}
    codes, weights = zip(*((c, one.weight) for c, one in languages().items()), strict=True)
    while True:
        row = make_row(rng, rng.choices(codes, weights)[0])
        if row is None:
            continue
        if targets.setdefault(row.source, row.target) != row.target:
            raise ValueError(f"two dates for {row.source!r}: {targets[row.source]}, {row.target}")
        if identity(row.source) not in seen:
            seen.add(identity(row.source))
            yield row


# -- files ---------------------------------------------------------------------------------------


def make(out: Path, seed: int, sizes: Mapping[str, int]) -> dict[str, list[Row]]:
    """Write ``out``/SPLIT.tsv for each split of ``sizes``, in that order from one stream."""
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
    tags = Counter(tag for row in every for tag in row.tags)
    tags["no fault"] = sum(not any(tag.startswith("fault") for tag in row.tags) for row in every)
    lines = ["| rows | count | share |", "| --- | ---: | ---: |"]
    lines += [
        f"| {name} | {count:,} | {count / len(every):.1%} |" for name, count in in_order(tags)
    ]
    codes = Counter(row.locale for row in every)
    counted = (f"{name_of(code)} {count:,}" for code, count in codes.most_common())
    return "\n".join([*lines, "", ", ".join(counted) + "."]) + "\n"


def in_order(tags: Counter[str]) -> list[tuple[str, int]]:
    """Names of counts, sorted: month first, then the rest, then the faults; most frequent first."""
    groups = {"mont": 0, "no f": 2, "faul": 3}
    return sorted(tags.items(), key=lambda item: (groups.get(item[0][:4], 1), -item[1], item[0]))


def name_of(code: str) -> str:
    """The English name of a language, with its code."""
    known = "digits in no language" if code == "und" else Locale.parse(code).english_name
    return f"{known} (`{code}`)"


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
    splits = make(options.out, options.seed, sizes)
    counts = ", ".join(f"{name} {len(made):,}" for name, made in splits.items())
    print(f"seed {options.seed}, Babel {babel.__version__}, CLDR {get_cldr_version()}: {counts}\n")
    print(summary(splits), end="")


if __name__ == "__main__":
    main()
