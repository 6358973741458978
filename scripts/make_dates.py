"""Generator of the dates data set: strings of columns with their dates in ISO 8601, as TSV.

A row is a date as people and programs write it, with a time, in words, or a month, a year, two
dates; or a string that is no date, whose target is empty. Dates are written by date_writing.py and
date_forms.py, from dates.toml and date_words.toml, strings that are none by strangers.py; the rules
of date_rules.py decide what a string of numbers means. The same seed and the same Babel give the
same bytes. The card of the data is data/README.md.
"""

from __future__ import annotations

import argparse
import re
import unicodedata
from calendar import monthrange
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from random import Random

import babel
from babel import Locale
from babel.core import get_cldr_version
from date_forms import (
    NAMED_MONTHS,
    NAMED_YEARS,
    counted,
    month_pattern,
    named,
    technical,
    template,
    timed,
    words,
    year_form,
)
from date_rules import reading, settled
from date_spans import span
from date_writing import (
    FAULTS,
    NoDay,
    Piece,
    When,
    all_names,
    fault,
    folded,
    joined,
    languages,
    month_name,
    plain,
    written,
)
from foreign_months import foreign_month
from strangers import code, lists, person, stranger, thing

# Kept out of all three files, in any spelling with the same letters and digits: examples to show.
RESERVED = ("3. März 2021", "March 3rd, 2021", "2021年3月3日", "٣ مارس ٢٠٢١")

# Rows by another hand, to test with: none of them is a row here.
COLUMNS = Path(__file__).resolve().parent.parent / "data" / "columns"

FAULT_SHARE = 0.3  # dates with a fault; one in six of them has two


@dataclass(frozen=True)
class Row:
    """One pair, with its kind and the properties that the card counts."""

    source: str
    target: str
    locale: str
    kind: str
    tags: frozenset[str]


# -- rows ----------------------------------------------------------------------------------------


def pick_locale(rng: Random) -> str:
    """A language by its weight."""
    codes, weights = zip(*((c, one.weight) for c, one in languages().items()), strict=True)
    return str(rng.choices(codes, weights)[0])


def pick_date(rng: Random, pattern: str, locale: str) -> date:
    """A day, mostly of 1950 to 2035; the first of the month more often where it has an ending."""
    way = rng.random()
    if re.search(r"(?<!y)yy(?!y)", pattern):
        first, last = (1950, 2035) if way < 0.92 else (2036, 2049)
    else:
        first, last = (1985, 2030) if way < 0.6 else (1950, 2035) if way < 0.86 else (1800, 2099)
        if way > 0.96:
            first, last = 1500, 1800
    when = date.fromordinal(
        rng.randint(date(first, 1, 1).toordinal(), date(last, 12, 31).toordinal())
    )
    only_first = locale in ("fr", "it", "es", "pt_BR") and "#" in pattern
    return when.replace(day=1) if only_first and rng.random() < 0.4 else when


def decided(pieces: list[Piece], when: When) -> bool:
    """Whether the string says its date: by the rule, or by a name that only one month has."""
    try:
        read = settled(joined(pieces))
    except ValueError:  # the rule reads a day that no month has
        return False
    if read:
        return read == when
    return named_rightly(pieces, when)


def named_rightly(pieces: list[Piece], when: When) -> bool:
    """Whether no month name in the pieces means another month in a language further up."""
    names = [folded(text) for kind, text in pieces if kind == "name"]
    return all(all_names().get(name) in (None, when.month) for name in names)


def pick_pattern(rng: Random, locale: str) -> str:
    """A pattern of a language."""
    language = languages()[locale]
    return rng.choices(language.patterns, language.weights)[0]


def whole(rng: Random, locale: str, *, faults: float = FAULT_SHARE) -> Row | None:
    """A day in a language; None if its string would not be decided by the rule."""
    pattern = pick_pattern(rng, locale)
    when = pick_date(rng, pattern, locale)
    pieces = written(pattern, when, locale, rng)
    if not decided(pieces, when):
        return None
    tags = set(described(pieces, locale))
    pieces, found = faulty(pieces, when, locale, rng, faults)
    if not decided(pieces, when):
        return None
    return Row(joined(pieces), when.isoformat(), locale, "a day", frozenset(tags | found))


def faulty(
    pieces: list[Piece], when: When, locale: str, rng: Random, share: float
) -> tuple[list[Piece], set[str]]:
    """The pieces with none, one or two faults, and the tags of these."""
    tags: set[str] = set()
    faults = 0 if rng.random() >= share else 1 if rng.random() < 5 / 6 else 2
    for _ in range(20):  # a kind that does not apply gives way to another
        if not faults:
            break
        kind = rng.choices(list(FAULTS), list(FAULTS.values()))[0]
        changed = fault(kind, pieces, when, locale, rng)
        if f"fault: {kind}" not in tags and joined(changed) != joined(pieces):
            tags.add(f"fault: {kind}")
            pieces, faults = changed, faults - 1
    return pieces, tags


def with_time(rng: Random, locale: str) -> Row | None:
    """A day with a time of day beside it, and perhaps a zone."""
    day = whole(rng, locale, faults=0.1)
    if day is None:
        return None
    return Row(
        timed(day.source.strip(), locale, rng), day.target, locale, "a day with a time", day.tags
    )


def speaker(locale: str, rng: Random) -> str:
    """The language of the words beside a date: any of them beside digits alone."""
    return locale if locale != "und" else rng.choice(tuple(words())[1:])


def dressed(form: str, locale: str, rng: Random, day: str = "") -> str | None:
    """A template with a date and words in its slots; None where a word may be a part of a date."""
    certain = True

    def fill(match: re.Match[str]) -> str:
        nonlocal certain
        slot = match[1]
        if slot == "date":
            return day
        if slot == "n":
            return str(rng.choice((rng.randint(1, 9), rng.randint(1, 99), rng.randint(100, 999))))
        text = thing(rng) if slot == "thing" else code(rng) if slot == "code" else name(locale, rng)
        words_in = re.findall(r"[^\W\d_]+", text)
        certain = certain and not any(folded(word) in all_names() for word in words_in)
        # no number that may be a year or a date itself, and none in a name
        sizes = {len(number) for number in re.findall(r"\d+", text)}
        certain = certain and not sizes & ({4, 6, 8} if slot == "code" else set(range(99)))
        return text

    text = re.sub(r"\{(\w+)\}", fill, form)
    return text if certain else None


def name(locale: str, rng: Random) -> str:
    """A name of a place, mostly as the language has it, or of a person or firm."""
    if rng.random() < 0.35:
        return person(rng)
    known = locale if locale in languages() and rng.random() < 0.7 else "en_US"
    return rng.choice(lists(known)["place"])


def in_words(rng: Random, locale: str) -> Row | None:
    """A day with words beside it, and perhaps a time."""
    day = whole(rng, locale, faults=0.1) if rng.random() < 0.85 else with_time(rng, locale)
    if day is None:
        return None
    said_in = speaker(locale, rng)
    form = template(said_in, "around", rng, own=0.6)
    text = dressed(form, said_in, rng, day.source.strip())
    if text is None or not agrees(text, day.target):
        return None
    return Row(text, day.target, locale, "a day in words", day.tags)


def agrees(text: str, target: str) -> bool:
    """Whether the rules read the target in a string, or nothing."""
    try:
        read = settled(text)
    except ValueError:  # the rule reads a day that no month has
        return False
    return read is None or read.isoformat() == target


def by_program(rng: Random, _: str) -> Row | None:
    """A day as programs write it."""
    two_digits = "yy"
    when = pick_date(rng, two_digits, "und")
    text = technical(when, rng)
    if not agrees(text, when.isoformat()):
        return None
    return Row(text, when.isoformat(), "und", "a day by a program", frozenset())


def by_name(rng: Random, _: str) -> Row | None:
    """A day in the name of a file or a field, as programs write them."""
    when = pick_date(rng, "yy", "und")
    text = named(when, rng)
    if not agrees(text, when.isoformat()):
        return None
    return Row(text, when.isoformat(), "und", "a day in the name of a file or field", frozenset())


def by_count(rng: Random, _: str) -> Row | None:
    """A day by its ISO week, or its number in the year. Its target is empty: see the card."""
    when = pick_date(rng, "yy", "und")
    return Row(counted(when, rng), "", "und", "no answer: weeks and days of the year", frozenset())


def month(rng: Random, locale: str) -> Row | None:
    """A month with its year, and perhaps words beside it."""
    locale = "und" if rng.random() < 0.25 else locale
    pattern = month_pattern(locale, rng)
    when = pick_date(rng, pattern, locale).replace(day=15)
    target = when.isoformat()[:7]
    if locale == "und" and rng.random() < 0.3:
        return Row(named(when, rng, NAMED_MONTHS), target, "und", "a month", frozenset())
    pieces = written(pattern, when, locale, rng)
    pieces, tags = faulty(pieces, when, locale, rng, 0.12)
    text: str | None = joined(pieces)
    short = re.search(r"(?<!y)yy(?!y)", pattern)
    # "Jul 21" may be a day, "Jul 86" is none, and "Jul-21" is how spreadsheets write a month
    if short and not re.search("-yy|''", pattern) and when.year % 100 < 32:
        return None
    if not named_rightly(pieces, when) or reading(str(text)) not in (None, target):
        return None
    if rng.random() < 0.5:
        said_in = speaker(locale, rng)
        text = dressed(template(said_in, "months", rng), said_in, rng, str(text))
    return None if text is None else Row(text, target, locale, "a month", frozenset(tags))


def year(rng: Random, locale: str) -> Row | None:
    """A year alone, or with words beside it."""
    number = pick_date(rng, "y", locale).year
    if rng.random() < 0.2:
        return Row(str(number), str(number), "und", "a year", frozenset())
    if rng.random() < 0.15:
        text: str | None = named(date(number, 1, 1), rng, NAMED_YEARS)
    else:
        said_in = speaker(locale, rng)
        text = dressed(year_form(said_in, rng), said_in, rng, str(number))
    return None if text is None else Row(text, str(number), locale, "a year", frozenset())


def two_dates(rng: Random, locale: str) -> Row | None:
    """Two days, two months or two years, as an interval."""
    if rng.random() < 0.3:
        locale = "und"
    pattern = pick_pattern(rng, locale)

    def day(when: date) -> str | None:
        pieces = written(pattern, when, locale, rng)
        if "yy" in pattern.replace("yyyy", "") and not 1950 <= when.year < 2050:
            return None
        return joined(pieces) if decided(pieces, when) else None

    found = span(rng, locale, day)
    if found is None:
        return None
    text = dressed(found.text, speaker(locale, rng), rng)
    if text is None:
        return None
    return Row(text, f"{found.first}/{found.last}", locale, "two dates", frozenset())


def foreign(rng: Random, locale: str) -> Row | None:
    """A day whose month is a word of no language that is taught. Its target is empty."""
    pattern = pick_pattern(rng, locale if locale != "und" else "en_US")
    locale = locale if locale != "und" else "en_US"
    when = pick_date(rng, pattern, locale)
    pieces = written(pattern, when, locale, rng)
    if "name" not in dict(pieces):
        return None
    other = foreign_month(dict(pieces)["name"], rng)
    if other is None:
        return None
    pieces = [(kind, other if kind == "name" else text) for kind, text in pieces]
    text = joined(pieces)
    if reading(text):
        return None
    if rng.random() < 0.15:
        text = timed(text, locale, rng)
    return Row(text, "", locale, "no answer: month of another language", frozenset())


def no_day(rng: Random, locale: str) -> Row | None:
    """A date that no calendar has: 31 February, month 13, day 45. Its target is empty."""
    pattern = pick_pattern(rng, locale)
    when = pick_date(rng, pattern, locale)
    number, day = when.month, when.day
    way = rng.random()
    if way < 0.5:
        number = rng.choice((2, 2, 2, 4, 6, 9, 11))
        days = monthrange(when.year, number)[1]
        day = rng.choice((days + 1, days + 1, 31))
    elif way < 0.75:
        day = rng.choice((0, 32, 33, 35, 39, 40, 45, 50, 60, 75, 88, 99))
    else:
        number, day = (
            rng.choice((0, 13, 13, 14, 15, 16, 19, 20, 25, 31, 45, 99)),
            rng.randint(13, 45),
        )
        if re.search("MMM|LLL|NNN|%", pattern):
            return None
    if re.search("[#〇]", pattern) and not locale.startswith("en"):
        return None
    pieces = written(pattern, NoDay(when.year, number, day), locale, rng)
    text = joined(pieces)
    if (
        reading(text)
        or not named_rightly(pieces, NoDay(when.year, number, day))
        or "〇" in text
        or "十" in text
    ):
        return None
    if rng.random() < 0.15:
        text = timed(text, locale, rng)
    return Row(text, "", locale, "no answer: impossible day", frozenset())


def cut(rng: Random, locale: str) -> Row | None:
    """A date that was cut or spliced and says no day, month or year. Its target is empty."""
    day = whole(rng, locale, faults=0.0)
    if day is None or day.locale in ("ja", "zh", "zh_Hant", "ko"):
        return None
    year_at = re.search(r"(?<!\d)\d{4}(?!\d)", day.source)
    if year_at is None or not year_at[0].isascii():
        return None
    digits = year_at[0]
    before, after = day.source[: year_at.start()], day.source[year_at.end() :]
    way = rng.randrange(4)
    if way == 0 and re.search(r"\d", after):  # what is left may be a day and a short year
        return None
    if way == 0:
        text = before + digits[: rng.choice((1, 3))] + after
    elif way == 1:
        text = before + digits + rng.choice("0123456789") + after
    elif way == 2:
        text = (before + after).strip(" ,./-")
    else:
        text = re.sub(r"(?<!\d)\d{1,2}(?!\d)", lambda m: m[0] + rng.choice("xX?_"), day.source)
    if (
        (way < 3 and len(re.findall(r"\d+", text)) > 2 - (way == 2))
        or reading(text)
        or text == day.source
    ):
        return None
    return Row(text, "", locale, "no answer: cut date", frozenset())


def no_date(rng: Random, _: str) -> Row | None:
    """A string that is no date. Its target is empty."""
    text, kind = stranger(rng)
    return Row(text, "", "und", f"no answer: {kind}", frozenset())


KINDS: Mapping[Callable[[Random, str], Row | None], float] = {
    whole: 37, with_time: 15, in_words: 9, by_program: 6, by_name: 3, by_count: 1, month: 6,
    year: 3.6, two_dates: 7, foreign: 2, no_day: 4, cut: 1.5, no_date: 18,
}  # fmt: skip
NO_DATES = (no_day, cut, by_count, no_date, foreign)


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


def reserved() -> set[str]:
    """The strings that are in no row: RESERVED in any spelling, and those of data/columns."""
    kept = {identity(source) for source in RESERVED}
    for path in sorted(COLUMNS.iterdir()):
        if path.suffix in (".tsv", ".txt"):
            lines = path.read_text(encoding="utf-8").split("\n")
            kept |= {line.partition("\t")[0] for line in lines}
    return kept


def rows(seed: int) -> Iterator[Row]:
    """An endless stream of rows, no two with the same identity, none of :func:`reserved`."""
    rng = Random(seed)
    seen = reserved()
    targets: dict[str, str] = {}
    while True:
        make = rng.choices(list(KINDS), list(KINDS.values()))[0]
        row = make(rng, pick_locale(rng))
        if row is None or (make not in NO_DATES and len(row.source) > 64):
            continue
        row = replace(row, source=unicodedata.normalize("NFC", row.source))
        # a string that is read in two ways is not certain
        if targets.setdefault(row.source.strip(), row.target) != row.target:
            continue
        key = row.source if make in (no_date, year) else identity(row.source)
        if key not in seen and row.source not in seen:
            seen |= {identity(row.source), row.source}
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
    """The counts of the card, as Markdown: kinds of rows, properties of days, languages."""
    every = [row for made in splits.values() for row in made]
    kinds = Counter(row.kind for row in every)
    tags = Counter(tag for row in every for tag in row.tags)
    lines = [
        *table("kind", sorted(kinds.items(), key=order_of_kinds), len(every)),
        "",
        *table("days and months", sorted(tags.items(), key=order_of_tags), len(every)),
    ]
    codes = Counter(row.locale for row in every)
    counted = (f"{name_of(code)} {count:,}" for code, count in codes.most_common())
    return "\n".join([*lines, "", ", ".join(counted) + "."]) + "\n"


def table(head: str, counts: list[tuple[str, int]], total: int) -> list[str]:
    """Counts and shares as a table of Markdown."""
    rows = [f"| {name} | {count:,} | {count / total:.1%} |" for name, count in counts]
    return [f"| {head} | rows | share |", "| --- | ---: | ---: |", *rows]


def order_of_kinds(item: tuple[str, int]) -> tuple[bool, int, str]:
    """Rows with an answer first; the most frequent kinds first."""
    return item[0].startswith("no answer"), -item[1], item[0]


def order_of_tags(item: tuple[str, int]) -> tuple[int, int, str]:
    """How the month is written first, faults last; the most frequent first."""
    groups = {"mont": 0, "faul": 2}
    return groups.get(item[0][:4], 1), -item[1], item[0]


def name_of(code: str) -> str:
    """The English name of a language, with its code."""
    known = "digits in no language" if code == "und" else Locale.parse(code).english_name
    return f"{known} (`{code}`)"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make the dates data set.")
    parser.add_argument("--out", type=Path, default=Path("data"), help="folder (default: data)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other rows")
    for split, size in (("train", 94_000), ("dev", 3_000), ("test", 3_000)):
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
