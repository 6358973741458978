"""Strangers: texts unlike the sources that a model was taught, made from these sources.

No answer to them is right, but perhaps for none at all, so they show a model's probabilities what
is out of its reach. Some kinds may be ordinary sources of some data: half a word can be pronounced,
two words in a row can be one name. :mod:`charseq.confidence.confidence` leaves out the kinds that
the sources themselves do not tell apart from dev's.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import resources
from random import Random
from typing import NamedTuple

PER_KIND = 60
"""Strangers of each kind."""
ATTEMPTS = 10
"""Draws for each stranger: one that is a source of the data, or was drawn before, is none."""
ALPHABETS = (
    (0x61, 26), (0x3B1, 25), (0x430, 32), (0x561, 38), (0x5D0, 27), (0x628, 19), (0x905, 50),
    (0xE01, 46), (0x10D0, 33), (0x3042, 80), (0x4E00, 3000), (0xAC00, 3000),
)  # fmt: skip
"""First letter and number of letters: Latin, Greek, Cyrillic, Armenian, Hebrew, Arabic,
Devanagari, Thai, Georgian, Hiragana, Han, Hangul."""
SEPARATORS = (" ", ", ", " - ", "/")
MAX_CHAIN = 100
MAX_SOURCES = 20_000


class Stranger(NamedTuple):
    """A text without a right answer."""

    text: str
    kind: str


class _Sources:
    """The sources of a training, and ways to make strangers of them."""

    def __init__(self, sources: Sequence[str], random: Random) -> None:
        self.sources = sources
        self.random = random
        self.characters = "".join(sources)
        self.followers: dict[str, list[str]] = {}
        for source in sources:
            for first, second in zip(["", *source], [*source, ""], strict=True):
                self.followers.setdefault(first, []).append(second)

    def everyday(self) -> str:
        """A text of an everyday kind (prices, addresses, sentences, ...) with other digits."""
        text = self.random.choice(everyday_texts())
        digits = (self.random.choice("0123456789") for _ in text)
        return "".join(new if old.isdigit() else old for old, new in zip(text, digits, strict=True))

    def foreign(self) -> str:
        """A source in the letters of another alphabet."""
        first, size = self.random.choice(ALPHABETS)
        return "".join(
            chr(first + 7 * ord(sign) % size) if unicodedata.category(sign)[0] in "LM" else sign
            for sign in self._source()
        )

    def shuffled(self) -> str:
        """The characters of a source in another order."""
        text = [*self._source()]
        self.random.shuffle(text)
        return "".join(text)

    def drawn(self) -> str:
        """Characters drawn one by one, as frequent as in the sources, as many as a source has."""
        return "".join(self.random.choice(self.characters) for _ in self._source())

    def chained(self) -> str:
        """Characters that follow each other in sources, by a character bigram model."""
        text: list[str] = []
        while len(text) < MAX_CHAIN:
            text.append(self.random.choice(self.followers[text[-1] if text else ""]))
            if not text[-1]:
                break
        return "".join(text)

    def joined(self) -> str:
        """Two to four sources in a row."""
        count = self.random.randint(2, 4)
        return self.random.choice(SEPARATORS).join(self._source() for _ in range(count))

    def spliced(self) -> str:
        """The beginning of one source before the end of another."""
        first, second = self._source(), self._source()
        begin = first[: self.random.randint(1, max(1, len(first) - 1))]
        return begin + second[self.random.randint(0, max(0, len(second) - 1)) :]

    def cut(self) -> str:
        """The beginning or the end of a source: at most two thirds."""
        text = self._source()
        size = self.random.randint(1, max(1, 2 * len(text) // 3))
        return text[:size] if self.random.random() < 0.5 else text[-size:]

    def _source(self) -> str:
        return self.random.choice(self.sources)


KINDS: dict[str, Callable[[_Sources], str]] = {
    "everyday": _Sources.everyday,
    "foreign": _Sources.foreign,
    "shuffled": _Sources.shuffled,
    "drawn": _Sources.drawn,
    "chained": _Sources.chained,
    "joined": _Sources.joined,
    "spliced": _Sources.spliced,
    "cut": _Sources.cut,
}
"""Each kind and how one of it is made."""


def make(sources: Sequence[str], *, seed: int, per_kind: int = PER_KIND) -> list[Stranger]:
    """Strangers of every kind to ``sources``, which are not empty; none is a source itself.

    The same sources and seed give the same strangers. There may be fewer of a kind than
    ``per_kind`` where the sources are few or short.
    """
    known = set(sources)
    maker = _Sources(sources[:: -(-len(sources) // MAX_SOURCES)], Random(seed))
    return list(_drawn(maker, known, per_kind))


def _drawn(maker: _Sources, known: set[str], per_kind: int) -> Iterator[Stranger]:
    for kind, draw in KINDS.items():
        left = per_kind
        for _ in range(ATTEMPTS * per_kind):
            text = draw(maker).strip()
            if text and text not in known and "\t" not in text:
                known.add(text)
                yield Stranger(text, kind)
                left -= 1
            if not left:
                break


@cache
def everyday_texts() -> tuple[str, ...]:
    """The lines of ``everyday.txt``."""
    text = resources.files(__package__).joinpath("everyday.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
