"""Dataset -> Report: what is in it, and what could spoil a training. `charseq check` prints it.

It changes nothing and judges little: it counts, and says where the first case stands. Texts that
Unicode calls equal (NFC) count as the same text. Of a row nothing but hash values is kept.
"""

from __future__ import annotations

import dataclasses
import hashlib
import unicodedata
from bisect import bisect
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from charseq.data.corpus import Corpus
from charseq.data.pairs import Dataset, Example, side
from charseq.data.splits import SPLITS
from charseq.data.storage import SpillingArray
from charseq.data.text.tokenizer import Tokenizer, build
from charseq.data.text.vocabulary import split_features

SIDES = ("source", "target")
SHOWN = 80
# Controls, formats (zero-width, bidirectional, byte order mark), private use, unassigned, and
# white space other than the space itself. U+FFFD is what broken text was turned into.
ODD = frozenset({"Cc", "Cf", "Co", "Cn", "Zs", "Zl", "Zp"})
CONTROLS = {"\0": "NULL", "\t": "TAB", "\n": "LINE FEED", "\r": "CARRIAGE RETURN"}
KINDS = {"Cc": "CONTROL CHARACTER", "Co": "PRIVATE USE", "Cn": "UNASSIGNED"}


@dataclass(frozen=True)
class Lengths:
    """Numbers of characters (code points)."""

    least: int
    median: float
    most: int


@dataclass(frozen=True)
class PairsSplit:
    """One split. ``sources``: different ones. ``repeated``: rows equal to one before them.

    ``ambiguous``: different sources (with their features) that have several targets.
    """

    name: str
    rows: int
    sources: int
    repeated: int
    ambiguous: int
    source: Lengths
    target: Lengths


@dataclass(frozen=True)
class Leak:
    """``sources`` of split ``later`` that stand in split ``earlier`` too.

    ``same``: how many of them with the same features. ``place``: of the first, in ``later``.
    """

    earlier: str
    later: str
    sources: int
    same: int
    first: str
    place: str


@dataclass(frozen=True)
class Forms:
    """Texts of one side by Unicode form, those that are both left out.

    ``place``: of the first text of the rarest form that there is.
    """

    side: str
    composed: int
    decomposed: int
    neither: int
    place: str


@dataclass(frozen=True)
class Odd:
    """A character that people do not see, or do not expect. ``place``: of the first."""

    side: str
    code: str
    name: str
    count: int
    place: str


@dataclass(frozen=True)
class Inventory:
    """The characters (or ``features``) of one side, the most frequent first.

    ``unseen``: for dev and test, what stands there and not in train.
    """

    side: str
    symbols: tuple[str, ...]
    unseen: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class PairsReport:
    """What :func:`inspect` found. ``notes`` are the data set's own, from reading it."""

    name: str
    columns: str
    fingerprint: str
    splits: tuple[PairsSplit, ...]
    inventories: tuple[Inventory, ...]
    leaks: tuple[Leak, ...]
    forms: tuple[Forms, ...]
    odd: tuple[Odd, ...]
    edges: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """The report for people: plain text in aligned columns."""
        rows = [("data", self.name), ("columns", self.columns), ("sha256", self.fingerprint)]
        rows += [("note", note) for note in self.notes]
        rows += [("splits" if i == 0 else "", line) for i, line in enumerate(_table(self.splits))]
        for inventory in self.inventories:
            rows += list(_inventory_lines(inventory))
        rows += [("leakage", line) for line in map(_leak_line, self.leaks)]
        rows += [("forms", line) for line in map(_forms_line, self.forms)]
        rows += [("odd", line) for line in map(_odd_line, self.odd)]
        if self.edges:
            texts = _count(self.edges, "text")
            rows.append(("spaces", f"{texts} with one at an end, or with two in a row"))
        width = max(len(name) for name, _ in rows)
        return [f"{name:<{width}}  {line}" for name, line in rows]


def inspect_pairs(dataset: Dataset, *, feature_separator: str = ";") -> PairsReport:
    """Look through all splits of ``dataset``, one text after the other."""
    splits = [name for name in SPLITS if dataset.split(name)]
    marks = {name: _Marks(dataset.split(name)) for name in splits}
    counts = {name: _symbols(dataset, name, feature_separator) for name in (*SIDES, "features")}
    return PairsReport(
        name=dataset.name,
        columns=dataset.columns,
        fingerprint=dataset.fingerprint,
        splits=tuple(_split(name, dataset.split(name), marks[name]) for name in splits),
        inventories=tuple(_inventories(counts)),
        leaks=tuple(_leaks(dataset, marks)),
        forms=tuple(f for name in SIDES for f in _forms(dataset, name)),
        odd=tuple(o for name in SIDES for o in _odd(dataset, name, counts[name])),
        edges=sum(_edges(text) for name in SIDES for _, _, text in _texts(dataset, name)),
        notes=tuple(dataset.problems),
    )


class _Marks:
    """Hash values of the rows of a split: 8 bytes for each source, input and row.

    Of ten million rows two different ones have the same with a chance of one in 400,000.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        kept = [SpillingArray("q") for _ in range(3)]
        for one in examples:
            source = _same(one.source)
            given = (source, one.features)
            for part, key in zip(kept, (source, given, (given, _same(one.target))), strict=True):
                part.append(hash(key))
        self.sources, self.inputs, self.rows = (part.close() for part in kept)


def _texts(dataset: Dataset, name: str) -> Iterator[tuple[str, int, str]]:
    """Every text of a side, with its split and number."""
    for split in SPLITS:
        for number, text in enumerate(side(dataset.split(split), name)):
            yield split, number, text


def _place(dataset: Dataset, split: str, number: int) -> str:
    return f"{dataset.files[split]}:{dataset.lines[split][number]}"


def _same(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _split(name: str, examples: Sequence[Example], marks: _Marks) -> PairsSplit:
    different, first = np.unique(marks.rows, return_index=True)
    _, targets = np.unique(marks.inputs[first], return_counts=True)
    return PairsSplit(
        name=name,
        rows=len(examples),
        sources=len(np.unique(marks.sources)),
        repeated=len(examples) - len(different),
        ambiguous=int((targets > 1).sum()),
        source=_lengths(side(examples, "source")),
        target=_lengths(side(examples, "target")),
    )


def _lengths(texts: Sequence[str]) -> Lengths:
    lengths = SpillingArray("I")
    for text in texts:
        lengths.append(len(text))
    counts = Counter(dict(enumerate(np.bincount(lengths.close()).tolist())))
    found = sorted((+counts).items())
    ends = list(accumulate(count for _, count in found))
    low, high = (found[bisect(ends, place)][0] for place in ((ends[-1] - 1) // 2, ends[-1] // 2))
    return Lengths(found[0][0], low if ends[-1] % 2 else (low + high) / 2, found[-1][0])


def _edges(text: str) -> bool:
    """Whether a space stands at an end, or two in a row."""
    return text.startswith(" ") or text.endswith(" ") or "  " in text


def _leaks(dataset: Dataset, marks: Mapping[str, _Marks]) -> Iterator[Leak]:
    """For each two splits, the sources that stand in both."""
    for later in SPLITS[1:]:
        for earlier in SPLITS[: SPLITS.index(later)]:
            if earlier not in marks or later not in marks:
                continue
            before, now = marks[earlier], marks[later]
            there = np.isin(now.sources, before.sources)
            if there.any():
                same = np.isin(now.inputs, before.inputs)
                number = int(there.argmax())
                yield Leak(
                    earlier,
                    later,
                    sources=len(np.unique(now.sources[there])),
                    same=len(np.unique(now.sources[same])),
                    first=_same(dataset.split(later)[number].source),
                    place=_place(dataset, later, number),
                )


def _forms(dataset: Dataset, name: str) -> Iterator[Forms]:
    """The side's mix of Unicode forms, if it is one."""
    counts = Counter({"composed": 0, "decomposed": 0, "neither": 0})
    first: dict[str, str] = {}
    for split, number, text in _texts(dataset, name):
        if text.isascii():
            continue
        composed = unicodedata.is_normalized("NFC", text)
        decomposed = unicodedata.is_normalized("NFD", text)
        if not (composed and decomposed):
            form = "composed" if composed else "decomposed" if decomposed else "neither"
            counts[form] += 1
            if form not in first:
                first[form] = _place(dataset, split, number)
    if len(first) > 1 or "neither" in first:
        rarest = min(first, key=lambda form: counts[form])
        yield Forms(name, **counts, place=first[rarest])


def _odd(dataset: Dataset, name: str, symbols: Mapping[str, Counter[str]]) -> Iterator[Odd]:
    odd = {c: n for c, n in sum(symbols.values(), Counter()).items() if _is_odd(c)}
    first: dict[str, str] = {}
    for split, number, text in _texts(dataset, name) if odd else ():
        for c in odd.keys() & set(text) - first.keys():
            first[c] = _place(dataset, split, number)
        if len(first) == len(odd):
            break
    for c in sorted(odd):
        yield Odd(name, _code(c), _name(c), odd[c], first[c])


def _symbols(dataset: Dataset, name: str, separator: str) -> dict[str, Counter[str]]:
    """How often each character of a side, or each feature, stands in each split."""
    found: dict[str, Counter[str]] = {}
    for split in SPLITS:
        counts = found[split] = Counter()
        texts = side(dataset.split(split), name)
        if name == "features":
            for text, times in Counter(texts).items():
                for symbol in split_features(text, separator):
                    counts[symbol] += times
        else:
            for text in texts:
                counts.update(text)
    return found


def _inventories(every: Mapping[str, Mapping[str, Counter[str]]]) -> Iterator[Inventory]:
    for name, counts in every.items():
        known = counts["train"]
        unseen = {s: tuple(sorted(counts[s].keys() - known.keys())) for s in SPLITS[1:] if known}
        total = sum(counts.values(), Counter())
        if total:
            symbols = sorted(total, key=lambda symbol: (-total[symbol], symbol))
            yield Inventory(
                name, tuple(symbols), {s: found for s, found in unseen.items() if found}
            )


def _is_odd(character: str) -> bool:
    return (unicodedata.category(character) in ODD and character != " ") or character == "\ufffd"


def _code(character: str) -> str:
    return f"U+{ord(character):04X}"


def _name(character: str) -> str:
    if character in CONTROLS:
        return CONTROLS[character]
    return unicodedata.name(character, KINDS.get(unicodedata.category(character), "NO NAME"))


def _shown(symbol: str) -> str:
    """A character as it can be seen in a terminal; features as they are."""
    if len(symbol) > 1:
        return symbol
    if symbol == " " or _is_odd(symbol):
        return _code(symbol)
    return f"\u25cc{symbol}" if unicodedata.category(symbol).startswith("M") else symbol


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _list(symbols: Sequence[str]) -> str:
    more = f" and {len(symbols) - SHOWN:,} more" if len(symbols) > SHOWN else ""
    return " ".join(map(_shown, symbols[:SHOWN])) + more


def _inventory_lines(inventory: Inventory) -> Iterator[tuple[str, str]]:
    what = "features" if inventory.side == "features" else "characters"
    yield inventory.side, f"{len(inventory.symbols):,} {what}: {_list(inventory.symbols)}"
    for split, symbols in inventory.unseen.items():
        yield "", f"{len(symbols):,} of them in {split}, not in train: {_list(symbols)}"


def _table(splits: Sequence[PairsSplit]) -> list[str]:
    head = [
        "",
        "rows",
        "sources",
        "repeated",
        "several targets",
        "source min/median/max",
        "target min/median/max",
    ]
    table = [head]
    for s in splits:
        counts = [f"{n:,}" for n in (s.rows, s.sources, s.repeated, s.ambiguous)]
        lengths = [f"{x.least}/{x.median:g}/{x.most}" for x in (s.source, s.target)]
        table.append([s.name, *counts, *lengths])
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table
    ]


def _leak_line(leak: Leak) -> str:
    same = "" if leak.same == leak.sources else f" ({leak.same:,} with the same features)"
    return (
        f"{_count(leak.sources, 'source')} of {leak.later} in {leak.earlier} too{same}: "
        f"{leak.first!r}, {leak.place}"
    )


def _forms_line(forms: Forms) -> str:
    return (
        f"{forms.side}: {_count(forms.composed, 'text')} composed (NFC), "
        f"{forms.decomposed:,} decomposed (NFD), {forms.neither:,} neither: {forms.place}"
    )


def _odd_line(odd: Odd) -> str:
    times = "once" if odd.count == 1 else f"{odd.count:,} times"
    return f"{odd.side}: {odd.code} {odd.name}, {times}: {odd.place}"


@dataclass(frozen=True)
class LinesSplit:
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
class LinesReport:
    """What :func:`inspect` found. ``notes`` are the corpus's own, from reading it."""

    name: str
    fingerprint: str
    symbols: str
    splits: tuple[LinesSplit, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """The report for people: plain text in aligned columns."""
        rows = [("data", f"{self.name}, lines of text"), ("sha256", self.fingerprint)]
        rows += [("note", note) for note in self.notes]
        rows += [
            ("splits" if i == 0 else "", line) for i, line in enumerate(_lines_table(self.splits))
        ]
        rows += [("symbols", self.symbols)]
        return [f"{name:<7}  {line}" for name, line in rows]


def inspect_lines(
    corpus: Corpus, *, case: str, punctuation: str, limit: int, min_count: int, form: str
) -> LinesReport:
    """Go through all splits of ``corpus``, by the rules of ``tokenizer.build``."""
    rules: dict[str, Any] = {"case": case, "punctuation": punctuation, "form": form}
    rules |= {"limit": limit, "min_count": min_count, "subword_size": 0, "seed": 1}
    units, symbols = build(corpus.train, kind="words", **rules)
    known, before = frozenset(units.vocabulary.symbols), set[bytes]()
    splits = tuple(
        _lines_split(name, corpus.split(name), units, known, before)
        for name in SPLITS
        if corpus.split(name)
    )
    return LinesReport(corpus.name, corpus.fingerprint, symbols, splits, tuple(corpus.problems))


def _lines_split(
    name: str, lines: Iterable[str], units: Tokenizer, known: Container[str], before: set[bytes]
) -> LinesSplit:
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
    return LinesSplit(
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


def _lines_table(splits: Sequence[LinesSplit]) -> list[str]:
    head = ["", "lines", "words", "longest line", "distinct words", "once", "unknown"]
    table = [[*head, "repeated lines", "in earlier split"]]
    for s in splits:
        counts = [f"{n:,}" for n in (s.lines, s.words, s.longest, s.distinct, s.once)]
        table.append([s.name, *counts, f"{s.unknown:.1f} %", f"{s.repeated:,}", f"{s.leaked:,}"])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table
    ]
