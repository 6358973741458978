"""Statistics of a data set: counts, and faults that could spoil a training (`charseq check`).

For pairs: sizes, repeated rows, sources with several targets, lengths, symbols, sources that two
splits share (leakage), mixed Unicode forms, odd characters and stray spaces. For lines of text:
sizes, words, repeated lines, lines that two splits share. Each fault has the place of its first
case. Texts that are equal in NFC count as the same text. Only hash values of rows are held in
memory. No data is changed.
"""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from charseq import display
from charseq.data.corpus import Corpus
from charseq.data.pairs import Dataset, Example, side
from charseq.data.splits import SPLITS
from charseq.data.storage import SpillingArray
from charseq.data.text.features import describe_separator, split_features
from charseq.data.text.normalise import normalise
from charseq.data.text.tokenizer import Tokenizer, build

SIDES = ("source", "target")


@dataclass(frozen=True)
class DataReport(abc.ABC):
    """Facts about data, for people and for programs."""

    def to_json(self) -> dict[str, Any]:
        """All facts as JSON values."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """All facts for people: plain text in aligned columns."""
        return display.table(list(self._facts()), "<")

    @abc.abstractmethod
    def _facts(self) -> Iterator[tuple[str, str]]:
        """Names of facts and one line of text for each; an empty name continues the one before."""


@dataclass(frozen=True)
class Lengths:
    """Least, median and largest number of characters (code points) of texts."""

    least: int
    median: float
    most: int

    def __str__(self) -> str:
        return f"{self.least}/{self.median:g}/{self.most}"


@dataclass(frozen=True)
class PairsSplit:
    """Counts of one split of pairs.

    ``sources``: distinct sources. ``repeated``: rows that are equal to an earlier row.
    ``ambiguous``: distinct sources, with their features, that have several targets.
    """

    name: str
    rows: int
    sources: int
    repeated: int
    ambiguous: int
    source: Lengths
    target: Lengths

    def cells(self) -> dict[str, str]:
        """Column of a table -> the count as text."""
        return {
            "rows": f"{self.rows:,}",
            "sources": f"{self.sources:,}",
            "repeated": f"{self.repeated:,}",
            "several targets": f"{self.ambiguous:,}",
            "source min/median/max": str(self.source),
            "target min/median/max": str(self.target),
        }


@dataclass(frozen=True)
class Leak:
    """Leakage: the number of ``sources`` that the splits ``earlier`` and ``later`` share.

    ``same``: the number of those that have the same features in both. ``first``: the first shared
    source of ``later``. ``place``: its file and line.
    """

    earlier: str
    later: str
    sources: int
    same: int
    first: str
    place: str

    def __str__(self) -> str:
        same = "" if self.same == self.sources else f" ({self.same:,} with the same features)"
        shared = (
            f"{display.count(self.sources, 'source')} of {self.later} in {self.earlier} too{same}"
        )
        return f"{shared}: {self.first!r}, {self.place}"


@dataclass(frozen=True)
class UnicodeForms:
    """Numbers of texts of one side by Unicode form, where the side mixes them.

    Texts that are both composed (NFC) and decomposed (NFD) are not counted. ``place``: file and
    line of the first text of the rarest form.
    """

    side: str
    composed: int
    decomposed: int
    neither: int
    place: str

    def __str__(self) -> str:
        composed = f"{display.count(self.composed, 'text')} composed (NFC)"
        others = f"{self.decomposed:,} decomposed (NFD), {self.neither:,} neither"
        return f"{self.side}: {composed}, {others}: {self.place}"


@dataclass(frozen=True)
class OddCharacter:
    """An invisible or unexpected character. ``place``: file and line of its first occurrence."""

    side: str
    code: str
    name: str
    count: int
    place: str

    def __str__(self) -> str:
        times = "once" if self.count == 1 else f"{self.count:,} times"
        return f"{self.side}: {self.code} {self.name}, {times}: {self.place}"


@dataclass(frozen=True)
class Inventory:
    """The characters of one side, or the features, the most frequent first.

    ``unseen``: for dev and test, the symbols that train lacks. ``separator``: that of features.
    """

    side: str
    symbols: tuple[str, ...]
    unseen: dict[str, tuple[str, ...]]
    separator: str = ""

    def facts(self) -> Iterator[tuple[str, str]]:
        """All symbols, then those that train lacks."""
        noun = f"features, {describe_separator(self.separator)}" if self.separator else "characters"
        yield self.side, f"{len(self.symbols):,} {noun}: {display.list_symbols(self.symbols)}"
        for split, symbols in self.unseen.items():
            listed = display.list_symbols(symbols)
            yield "", f"{len(symbols):,} of them in {split}, not in train: {listed}"


@dataclass(frozen=True)
class PairsReport(DataReport):
    """Facts about pairs. ``notes``: the messages of the data set from its reading.

    ``edges``: texts with a space at an end, or with two in a row.
    """

    name: str
    columns: str
    fingerprint: str
    splits: tuple[PairsSplit, ...]
    inventories: tuple[Inventory, ...]
    leaks: tuple[Leak, ...]
    forms: tuple[UnicodeForms, ...]
    odd: tuple[OddCharacter, ...]
    edges: int
    notes: tuple[str, ...]

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield from (("data", self.name), ("columns", self.columns), ("sha256", self.fingerprint))
        yield from (("note", note) for note in self.notes)
        yield from _split_facts(self.splits)
        yield from (fact for inventory in self.inventories for fact in inventory.facts())
        for name, found in (("leakage", self.leaks), ("forms", self.forms), ("odd", self.odd)):
            yield from ((name, str(fact)) for fact in found)
        if self.edges:
            yield (
                "spaces",
                f"{display.count(self.edges, 'text')} with one at an end, or with two in a row",
            )


def inspect_pairs(dataset: Dataset) -> PairsReport:
    """Count and check all splits of ``dataset``, which are read several times."""
    splits = [name for name in SPLITS if dataset.split(name)]
    hashes = {name: _RowHashes(dataset.split(name)) for name in splits}
    counts = {name: _symbols(dataset, name) for name in (*SIDES, "features")}
    return PairsReport(
        name=dataset.name,
        columns=dataset.columns,
        fingerprint=dataset.fingerprint,
        splits=tuple(_pairs_split(name, dataset.split(name), hashes[name]) for name in splits),
        inventories=tuple(_inventories(counts, dataset.feature_separator)),
        leaks=tuple(_leaks(dataset, hashes)),
        forms=tuple(forms for name in SIDES for forms in _unicode_forms(dataset, name)),
        odd=tuple(odd for name in SIDES for odd in _odd(dataset, name, counts[name])),
        edges=sum(_has_stray_space(text) for name in SIDES for *_, text in _texts(dataset, name)),
        notes=tuple(dataset.problems),
    )


class _RowHashes:
    """Hash values of the rows of a split: 8 bytes for each source, input and row.

    An input is a source with its features. Two of ten million different rows have the same hash
    value with a probability of one in 400,000.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        arrays = [SpillingArray("q") for _ in range(3)]
        for one in examples:
            source = normalise(one.source, "NFC")
            given = (source, one.features)
            keys = (source, given, (given, normalise(one.target, "NFC")))
            for array, key in zip(arrays, keys, strict=True):
                array.append(hash(key))
        self.sources, self.inputs, self.rows = (array.close() for array in arrays)


def _texts(dataset: Dataset, name: str) -> Iterator[tuple[str, int, str]]:
    """The split and number of every text of a side, and the text."""
    for split in SPLITS:
        for number, text in enumerate(side(dataset.split(split), name)):
            yield split, number, text


def _place(dataset: Dataset, split: str, number: int) -> str:
    """File and line of an example."""
    return f"{dataset.files[split]}:{dataset.lines[split][number]}"


def _pairs_split(name: str, examples: Sequence[Example], hashes: _RowHashes) -> PairsSplit:
    """Counts of one split."""
    distinct, first = np.unique(hashes.rows, return_index=True)
    _, targets = np.unique(hashes.inputs[first], return_counts=True)
    return PairsSplit(
        name=name,
        rows=len(examples),
        sources=len(np.unique(hashes.sources)),
        repeated=len(examples) - len(distinct),
        ambiguous=int((targets > 1).sum()),
        source=_lengths(side(examples, "source")),
        target=_lengths(side(examples, "target")),
    )


def _lengths(texts: Sequence[str]) -> Lengths:
    """The lengths of texts, from the cumulative number of texts of each length."""
    lengths = SpillingArray("I")
    for text in texts:
        lengths.append(len(text))
    ends = np.bincount(lengths.close()).cumsum()
    count = int(ends[-1])
    ranks = (0, (count - 1) // 2, count // 2)
    least, low, high = np.searchsorted(ends, ranks, side="right").tolist()
    return Lengths(least, low if count % 2 else (low + high) / 2, len(ends) - 1)


def _has_stray_space(text: str) -> bool:
    """Whether a text begins or ends with a space, or has two in a row."""
    return text.startswith(" ") or text.endswith(" ") or "  " in text


def _leaks(dataset: Dataset, hashes: Mapping[str, _RowHashes]) -> Iterator[Leak]:
    """The leakage between each two splits."""
    for earlier, later in combinations(hashes, 2):
        before, now = hashes[earlier], hashes[later]
        shared = np.isin(now.sources, before.sources)
        if shared.any():
            same = np.isin(now.inputs, before.inputs)
            number = int(shared.argmax())
            yield Leak(
                earlier,
                later,
                sources=len(np.unique(now.sources[shared])),
                same=len(np.unique(now.sources[same])),
                first=normalise(dataset.split(later)[number].source, "NFC"),
                place=_place(dataset, later, number),
            )


def _unicode_forms(dataset: Dataset, name: str) -> Iterator[UnicodeForms]:
    """The Unicode forms of a side, if it mixes them."""
    counts = Counter({"composed": 0, "decomposed": 0, "neither": 0})
    first: dict[str, str] = {}
    for split, number, text in _texts(dataset, name):
        if text.isascii():
            continue
        composed = unicodedata.is_normalized("NFC", text)
        decomposed = unicodedata.is_normalized("NFD", text)
        if composed and decomposed:
            continue
        form = "composed" if composed else "decomposed" if decomposed else "neither"
        counts[form] += 1
        if form not in first:
            first[form] = _place(dataset, split, number)
    if len(first) > 1 or "neither" in first:
        rarest = min(first, key=lambda form: counts[form])
        yield UnicodeForms(name, **counts, place=first[rarest])


def _odd(dataset: Dataset, name: str, counts: dict[str, Counter[str]]) -> Iterator[OddCharacter]:
    """The odd characters of a side, and the place of the first of each."""
    odd = {c: n for c, n in sum(counts.values(), Counter()).items() if display.is_odd(c)}
    first: dict[str, str] = {}
    for split, number, text in _texts(dataset, name) if odd else ():
        for c in odd.keys() & set(text) - first.keys():
            first[c] = _place(dataset, split, number)
        if len(first) == len(odd):
            break
    for c in sorted(odd):
        named = display.code_points(c), display.character_name(c)
        yield OddCharacter(name, *named, odd[c], first[c])


def _symbols(dataset: Dataset, name: str) -> dict[str, Counter[str]]:
    """Split -> the number of occurrences of each character of a side, or of each feature."""
    found: dict[str, Counter[str]] = {}
    for split in SPLITS:
        counts = found[split] = Counter()
        texts = side(dataset.split(split), name)
        if name == "features":
            for text, times in Counter(texts).items():
                for symbol in split_features(text, dataset.feature_separator):
                    counts[symbol] += times
        else:
            for text in texts:
                counts.update(text)
    return found


def _inventories(
    every: Mapping[str, Mapping[str, Counter[str]]], separator: str
) -> Iterator[Inventory]:
    """The inventories of the sides that have symbols."""
    for name, counts in every.items():
        known = counts["train"]
        unseen = {s: tuple(sorted(counts[s].keys() - known.keys())) for s in SPLITS[1:] if known}
        total = sum(counts.values(), Counter())
        if total:
            symbols = tuple(sorted(total, key=lambda symbol: (-total[symbol], symbol)))
            lacking = {s: found for s, found in unseen.items() if found}
            yield Inventory(name, symbols, lacking, separator if name == "features" else "")


def _split_facts(splits: Sequence[PairsSplit | LinesSplit]) -> Iterator[tuple[str, str]]:
    """A table with a head and a row for each split."""
    rows = [["", *splits[0].cells()], *([one.name, *one.cells().values()] for one in splits)]
    for number, line in enumerate(display.table(rows)):
        yield "" if number else "splits", line


@dataclass(frozen=True)
class LinesSplit:
    """Counts of one split of lines.

    ``longest``: words of the longest line. ``distinct``: distinct words; ``once``: those of them
    with one occurrence. ``unknown``: percent of the words that the vocabulary of train lacks.
    ``repeated``: lines that are equal to an earlier line. ``leaked``: lines that an earlier split
    has, too.
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

    def cells(self) -> dict[str, str]:
        """Column of a table -> the count as text."""
        return {
            "lines": f"{self.lines:,}",
            "words": f"{self.words:,}",
            "longest line": f"{self.longest:,}",
            "distinct words": f"{self.distinct:,}",
            "once": f"{self.once:,}",
            "unknown": f"{self.unknown:.1f} %",
            "repeated lines": f"{self.repeated:,}",
            "in earlier split": f"{self.leaked:,}",
        }


@dataclass(frozen=True)
class LinesReport(DataReport):
    """Facts about lines of text. ``notes``: the messages of the corpus from its reading.

    ``flow``: whether lines continue each other, and how that was found.
    """

    name: str
    fingerprint: str
    symbols: str
    splits: tuple[LinesSplit, ...]
    notes: tuple[str, ...]
    flow: str

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield from (("data", f"{self.name}, lines of text"), ("sha256", self.fingerprint))
        yield "lines", self.flow
        yield from (("note", note) for note in self.notes)
        yield from _split_facts(self.splits)
        yield "symbols", self.symbols


def inspect_lines(
    corpus: Corpus, *, case: str, punctuation: str, limit: int, min_count: int, form: str
) -> LinesReport:
    """Count all splits of ``corpus``; the arguments are those of ``tokenizer.build``."""
    rules: dict[str, Any] = {"case": case, "punctuation": punctuation, "form": form}
    rules |= {"limit": limit, "min_count": min_count, "subword_size": 0, "seed": 1}
    tokenizer, symbols = build(corpus.train, kind="words", **rules)
    known, earlier = frozenset(tokenizer.vocabulary.symbols), set[bytes]()
    splits = tuple(
        _lines_split(name, corpus.split(name), tokenizer, known, earlier)
        for name in SPLITS
        if corpus.split(name)
    )
    how = "continue each other" if corpus.running else "each for itself"
    flow = corpus.reason or f"{how}, as set"
    facts = corpus.name, corpus.fingerprint, symbols, splits, tuple(corpus.problems)
    return LinesReport(*facts, flow)


def _lines_split(
    name: str,
    lines: Iterable[str],
    tokenizer: Tokenizer,
    known: Container[str],
    earlier: set[bytes],
) -> LinesSplit:
    """Counts of one split. ``earlier``: hashes of the lines of earlier splits; these are added."""
    words: Counter[str] = Counter()
    hashes: Counter[bytes] = Counter()
    longest = 0
    for line in lines:
        found = tokenizer.words(line)
        words.update(found)
        longest = max(longest, len(found))
        hashes[hashlib.sha256(normalise(line, "NFC").encode()).digest()[:12]] += 1
    unknown = sum(count for word, count in words.items() if word not in known)
    leaked = sum(count for line_hash, count in hashes.items() if line_hash in earlier)
    earlier.update(hashes)
    return LinesSplit(
        name=name,
        lines=hashes.total(),
        words=words.total(),
        longest=longest,
        distinct=len(words),
        once=sum(count == 1 for count in words.values()),
        unknown=100 * unknown / max(1, words.total()),
        repeated=hashes.total() - len(hashes),
        leaked=leaked,
    )
