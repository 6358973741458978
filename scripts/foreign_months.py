"""Words in the place of a month that no taught language has: a date with one has no answer.

Names of months of CLDR's other languages, except those that are held out to measure by, and words
that are made up in the letters of a month's name. A word that resembles a taught name is none.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from random import Random

from babel import Locale
from babel.dates import get_month_names
from babel.localedata import locale_identifiers
from date_writing import all_names, folded, languages
from rapidfuzz.distance import OSA

# Languages whose months are in no row, to measure what a model does with what it was not taught.
HELD_OUT = ("br", "yo", "rw", "fy")
LIKE = 0.5  # from this similarity on, a word may be a taught name with its ending or a slip


@cache
def others() -> tuple[str, ...]:
    """The names of months of the languages that are neither taught nor held out."""
    taught = {code.partition("_")[0] for code in languages()} | {"no", "nn", "tl", "sh"}
    letters = {sign for name in all_names() for sign in name}
    found: set[str] = set()
    for code in sorted(locale_identifiers()):
        if "_" in code or code in taught or code in HELD_OUT:
            continue
        if not Locale.parse(code).months["format"].get("wide"):
            continue
        for width in ("wide", "abbreviated"):
            names = get_month_names(width, "format", code)
            found |= {unicodedata.normalize("NFC", str(name)) for name in names.values()}
    # a sign that no taught name has would only make the model's inventory larger
    known = (name for name in found if letters >= {*folded(name)} - {" ", "."})
    return tuple(sorted(name for name in known if is_word(name) and not resembles(name)))


def is_word(name: str) -> bool:
    """Whether a name has letters, and no digits that would say the month."""
    return len(name) > 1 and not any(sign.isnumeric() for sign in name) and name[0].isalpha()


def resembles(word: str) -> bool:
    """Whether a word is like the name of a month of a taught language, or begins like one."""
    found = folded(word)
    return any(
        (found[:3] == name[:3] and len(name) > 2)
        or OSA.normalized_similarity(found, name, score_cutoff=LIKE) >= LIKE
        for name in all_names()
    )


def foreign_month(name: str, rng: Random) -> str | None:
    """A word for the place of a month's name, of another language or made up of its letters."""
    if rng.random() < 0.5:
        return rng.choice(others())
    letters = list(dict.fromkeys(rng.choice(tuple(all_names())) for _ in range(3)))
    script = unicodedata.name(name[0], "").partition(" ")[0]
    pool = [
        sign
        for word in (*letters, folded(name), folded(name))
        for sign in word
        if unicodedata.name(sign, "").startswith(script)
    ]
    size = rng.randint(2, 9)
    if len(pool) < size or script not in ("LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW"):
        return None
    made = "".join(rng.sample(pool, size))
    made = rng.choice((made, made.capitalize(), made.capitalize()))
    return None if resembles(made) else made
