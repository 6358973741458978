"""Every kind of stranger is what it says, new, and the same for the same seed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, product

import pytest

from charseq.confidence.strangers import KINDS, PER_KIND, everyday_texts, make

SOURCES = list(
    map("".join, product(("ma", "le", "ro"), ("ri", "nda", "sto"), ("na", "co", "tir", "bel", "s")))
)


def test_every_kind_is_there_once_each_and_none_is_a_source() -> None:
    made = make(SOURCES, seed=1)
    counts = Counter(one.kind for one in made)
    assert counts.keys() == KINDS.keys()
    assert all(PER_KIND - 5 <= count <= PER_KIND for count in counts.values())
    texts = [one.text for one in made]
    assert len(set(texts)) == len(texts)
    assert not set(texts) & set(SOURCES)
    assert all(text == text.strip() != "" and "\t" not in text for text in texts)


def test_the_seed_decides() -> None:
    assert make(SOURCES, seed=1) == make(SOURCES, seed=1) != make(SOURCES, seed=2)


def of_kind(kind: str) -> list[str]:
    return [one.text for one in make(SOURCES, seed=3) if one.kind == kind]


def test_shuffled_have_the_characters_of_a_source() -> None:
    assert {"".join(sorted(text)) for text in of_kind("shuffled")} <= {
        "".join(sorted(source)) for source in SOURCES
    }


def test_foreign_have_as_many_letters_in_another_alphabet() -> None:
    found = of_kind("foreign")
    assert {len(text) for text in found} <= {len(source) for source in SOURCES}
    assert sum(not text.isascii() for text in found) > len(found) / 2


@pytest.mark.parametrize("kind", ["drawn", "chained", "spliced", "cut"])
def test_texts_of_the_same_characters(kind: str) -> None:
    assert set("".join(of_kind(kind))) <= set("".join(SOURCES))


def test_chained_follow_each_other_as_in_sources() -> None:
    pairs = {a + b for source in SOURCES for a, b in pairwise(source)}
    assert all(a + b in pairs for text in of_kind("chained") for a, b in pairwise(text))


def test_cuts_are_parts_of_a_source() -> None:
    assert all(any(text in source for source in SOURCES) for text in of_kind("cut"))


def test_everyday_texts_keep_all_but_their_digits() -> None:
    def without(text: str) -> str:
        return "".join("0" if sign.isdigit() else sign for sign in text)

    assert set(map(without, of_kind("everyday"))) <= set(map(without, everyday_texts()))
    assert len(everyday_texts()) == len(set(everyday_texts())) > 100


def test_few_and_short_sources_give_what_they_can() -> None:
    made = make(["a"], seed=1)
    assert {one.kind for one in made} >= {"everyday", "joined"}
    assert all(one.text != "a" for one in made)
