"""Corpus -> Report: what a text holds, and what could spoil a training. `charseq check` prints it.

The like of ``survey`` for lines of text. It changes nothing and keeps no line; words are cut, and
known, as in a training with the same settings. Lines that Unicode calls equal (NFC) are the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from charseq.data.corpus import Corpus
from charseq.data.splits import SPLITS
from charseq.data.text.tokenizer import Units, build


@dataclass(frozen=True)
class Split:
    """One split. ``distinct``: different words; ``once``: those of them that come only once.

    ``repeated``: lines equal to one before them; ``leaked``: lines that stand in an earlier split.
    ``unknown``: percent of its words that the training would not know.
    """

    name: str
    lines: int
    words: int
    longest: int
    distinct: int
    once: int
    unknown: float
    repeated: int
    leaked: int


@dataclass(frozen=True)
class Report:
    """What :func:`inspect` found. ``notes`` are the corpus's own, from reading it."""

    name: str
    fingerprint: str
    symbols: str
    splits: tuple[Split, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """The report for people: plain text in aligned columns."""
        rows = [("data", f"{self.name}, lines of text"), ("sha256", self.fingerprint)]
        rows += [("note", note) for note in self.notes]
        rows += [("splits" if i == 0 else "", line) for i, line in enumerate(_table(self.splits))]
        rows += [("symbols", self.symbols)]
        return [f"{name:<7}  {line}" for name, line in rows]


def inspect(
    corpus: Corpus, *, case: str, punctuation: str, limit: int, min_count: int, form: str
) -> Report:
    """Go through all splits of ``corpus``, by the rules of ``tokenizer.build``."""
    rules: dict[str, Any] = {"case": case, "punctuation": punctuation, "form": form}
    rules |= {"limit": limit, "min_count": min_count, "subword_size": 0, "seed": 1}
    units, symbols = build(corpus.train, kind="words", **rules)
    known, before = frozenset(units.vocabulary.symbols), set[bytes]()
    splits = tuple(
        _split(name, corpus.split(name), units, known, before)
        for name in SPLITS
        if corpus.split(name)
    )
    return Report(corpus.name, corpus.fingerprint, symbols, splits, tuple(corpus.problems))


def _split(
    name: str, lines: Iterable[str], units: Units, known: Container[str], before: set[bytes]
) -> Split:
    """Counts of one split. ``before``: marks of the lines of earlier splits; these are added."""
    words: Counter[str] = Counter()
    marks: Counter[bytes] = Counter()
    longest = 0
    for line in lines:
        found = units.words(line)
        words.update(found)
        longest = max(longest, len(found))
        marks[hashlib.sha256(unicodedata.normalize("NFC", line).encode()).digest()[:12]] += 1
    unknown = sum(count for word, count in words.items() if word not in known)
    leaked = sum(count for mark, count in marks.items() if mark in before)
    before.update(marks)
    return Split(
        name=name,
        lines=marks.total(),
        words=words.total(),
        longest=longest,
        distinct=len(words),
        once=sum(count == 1 for count in words.values()),
        unknown=100 * unknown / max(1, words.total()),
        repeated=marks.total() - len(marks),
        leaked=leaked,
    )


def _table(splits: Sequence[Split]) -> list[str]:
    head = ["", "lines", "words", "longest line", "distinct words", "once", "unknown"]
    table = [[*head, "repeated lines", "in earlier split"]]
    for s in splits:
        counts = [f"{n:,}" for n in (s.lines, s.words, s.longest, s.distinct, s.once)]
        table.append([s.name, *counts, f"{s.unknown:.1f} %", f"{s.repeated:,}", f"{s.leaked:,}"])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table
    ]
