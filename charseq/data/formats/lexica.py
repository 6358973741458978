"""Pronouncing dictionaries and UniMorph: text files whose own format says what their columns are.

    kaldi     harbour HH AA1 R B ER0                 lexicon.txt; spaces or tabs
    kaldip    harbour 0.8 HH AA1 R B ER0             lexiconp.txt, with the probability
    cmudict   HARBOUR(1)  HH AH1 R B ER0 # comment   a variant of HARBOUR; ;;; is a comment
    mfa       harbour TAB 0.99 TAB HH AA1 R B ER0    Montreal Forced Aligner; 0, 1 or 4 numbers
    unimorph  walk TAB walked TAB V;PST              lemma, form, features, in any order of these

The columns are called source, target, weight and features, as their roles are. Phones are
separated by single spaces. These formats are told from text and from other tables by the first
lines of a file and by its name. A few of these lines may be odd (:func:`_allowed`): they are rows
with a fault then.
"""

from __future__ import annotations

import abc
import copy
import re
import statistics
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache, partial
from itertools import compress, islice
from typing import BinaryIO, ClassVar, NamedTuple, Self

from charseq.data.formats.delimited import Tsv
from charseq.data.formats.lines import rows_by_line
from charseq.data.formats.opening import Lines, Source
from charseq.data.formats.rows import Format, Row, Table, Write, group
from charseq.errors import DataError, UsageError

MIN_UNNAMED = 50
"""Entries that tell a lexicon of unknown phones from text, where no name does."""
MAX_PHONES = 400
"""Different phones of a lexicon, at most."""
MAX_PHONE = 8
"""Characters of a phone, at most."""
STRANGE_SHARE = 0.1
"""Share of the lines with strange phones, at most; where more have them, they are not strange."""
FEW_TABS = 0.1
"""Share of the lines of a CMUdict dictionary that have tabs in place of spaces, at most."""
FEW_ODD = 5
"""Odd lines among the first, at most, where 1 % of them are fewer."""
LEAST_PROBABILITY = 1e-6
"""Probabilities below are written as this one: a lexicon has none of 0."""

_SPACES = re.compile("[ \t]+")
_VARIANT = re.compile(r"(?<=.)\(\d+\)$")
_COMMENT = re.compile("(?:^|[ \t])#.*")
_DICTIONARY_SIGN = re.compile(r"^;;;|^\S+\(\d+\)\s|[ \t]#")
_CMUDICT_SIGN = re.compile(_DICTIONARY_SIGN.pattern + r"|\S  \S")
_PROBABILITY = re.compile(r"(?:0?\.\d+|0|1|1\.0*|\d(?:\.\d+)?[eE]-\d+)")
_WORD = re.compile("[A-Za-z]{3}")
_DECIMAL = re.compile(r"\d*\.\d+")
_NUMBER = re.compile(r"\d*\.?\d+(?:[eE][+-]?\d+)?")
_NAMED = re.compile(r"(?:^|[_.-])lexiconp?(?:[_.-]|$)")
_ARPABET = re.compile(
    "(?:(?P<vowel>A[AEHOWXY]|AXR|E[HRY]|I[HXY]|O[WY]|U[HWX])[0-2]?"
    "|B|CH|D|DH|DX|E[LMN]|F|G|HH|JH|K|L|M|N|NG|NX|P|Q|R|S|SH|T|TH|V|W|WH|Y|Z|ZH"
    "|SIL|SPN|NSN|LAU|BRH|OOV)(?:_[BEIS])?"
)
_PARTS_OF_SPEECH = (
    r"(?:N|PROPN|ADJ|PRO|CLF|ART|DET|V|ADV|AUX|V\.(?:PTCP|MSDR|CVB|VBN)|ADP|COMP|CONJ|NUM"
    "|PART|INTJ)"
)
_BUNDLE = re.compile(rf"{_PARTS_OF_SPEECH}(?:[;(][A-Za-z0-9.+/{{}}()<>,*:?_;-]*)?")
_LIKE_FEATURES = re.compile(r"[A-Z][A-Za-z0-9.+/{}()<>,*:?_;|-]*")
_ROLES = ("source", "target", "segmentation")


class Entry(NamedTuple):
    """One pronunciation to be written: a text, its answer, its rank among them (from 0)."""

    source: str
    target: str
    probability: float
    rank: int = 0


class Dictionary(Format):
    """A pronouncing dictionary: an entry a line, of a word, phones and perhaps a probability."""

    holds_pairs = True
    one_line_cells = True
    has_weights: ClassVar[bool] = False
    has_tabs: ClassVar[bool] = False
    """Whether there are tabs in all entries; else they stand for spaces, after the word."""

    @abc.abstractmethod
    def split(self, text: str) -> Sequence[str]:
        """A line -> word, probability if the format has one, and phones; () for a comment.

        Raises:
            DataError: no entry (the caller adds path and line).
        """

    @abc.abstractmethod
    def entry(self, entry: Entry) -> str:
        """An entry as a line, without its line end."""

    def fitting(self, text: str) -> Sequence[str] | None:
        """The cells of a line, () for a comment; None: it is no usual entry of the format."""
        if "\t" not in text if self.has_tabs else _has_words_before_tab(text):
            return None
        try:
            cells = self.split(text)
        except DataError:
            return None
        is_usual = not cells or (
            len(max(cells[-1].split(" "), key=len)) <= MAX_PHONE
            and (not self.has_weights or _PROBABILITY.fullmatch(cells[1]))
            and not any(map(_DECIMAL.fullmatch, cells[-1].split(" ")))
        )
        return cells if is_usual else None

    def rows(self, path: str, lines: Lines, *, faulty: bool) -> Iterator[Row]:
        """A row for each entry; comments are no rows."""
        found = rows_by_line(
            lambda text: (self.split(text), ()), path, lines, faulty=faulty, odd=self.odd
        )
        return (row for row in found if row.cells or row.fault or not row.raw.strip())

    def recognise(self, sample: Sequence[str], name: str) -> Self | None:
        """The format if these are words and phones; see :meth:`Format.recognise`."""
        found = _recognise(tuple(sample), name)
        return self.with_odd(found.odd) if found and found.name == self.name else None

    def read(self, source: Source, *, faulty: bool) -> Table:
        """Open a dictionary; see :meth:`Format.read`."""
        found = copy.copy(self)
        found.encoding = source.encoding
        names = ("source", "weight", "target") if self.has_weights else ("source", "target")
        rows = found.rows(source.shown, source.lines(), faulty=faulty)
        return Table(source.shown, found, names, group(rows), note="; ".join(source.notes))

    def append(
        self,
        table: Table,  # noqa: ARG002
        file: BinaryIO,  # noqa: ARG002
        names: Sequence[str],  # noqa: ARG002
        positions: Sequence[int | None],  # noqa: ARG002
        *,
        force: bool,  # noqa: ARG002
    ) -> AbstractContextManager[Write]:
        """Refuse new columns. Raises UsageError."""
        raise UsageError(f"a {self.title} has no place for further columns")

    def encode(self, entry: Entry) -> bytes:
        """An entry as a line.

        Raises:
            DataError: the format cannot hold it (the caller adds path and line).
        """
        if _SPACES.search(entry.source) or not entry.source:
            raise DataError(f"'{entry.source[:40]}' is not one word, so no {self.title} holds it")
        return (
            self.entry(entry._replace(target=_required(entry.target, entry.source))) + "\n"
        ).encode()


class Kaldi(Dictionary):
    """The lexicon of Kaldi: ``word phones``."""

    name = "kaldi"
    title = "Kaldi lexicon"
    recognised = "a Kaldi lexicon"
    endings = (".txt",)

    def split(self, text: str) -> Sequence[str]:
        """Word and phones."""
        word, phones = _cut(text)
        return (word, _required(phones, text)) if word else ()

    def entry(self, entry: Entry) -> str:
        """Word, space, phones."""
        return f"{entry.source} {entry.target}"


class KaldiWithProbabilities(Dictionary):
    """The lexicon of Kaldi with the probability of each pronunciation: ``word 0.8 phones``."""

    name = "kaldip"
    title = "Kaldi lexicon with probabilities"
    recognised = "a Kaldi lexicon with probabilities"
    endings = (".txt",)
    has_weights = True

    def split(self, text: str) -> Sequence[str]:
        """Word, probability and phones."""
        word, rest = _cut(text)
        probability, phones = _cut(rest)
        if not word:
            return ()
        if not _NUMBER.fullmatch(probability):
            raise DataError(f"'{text[:40]}', expected a word, its probability and phones")
        return word, probability, _required(phones, text)

    def entry(self, entry: Entry) -> str:
        """Word, probability, phones."""
        return f"{entry.source} {_probability(entry)} {entry.target}"


class CmuDict(Dictionary):
    """The dictionary of Carnegie Mellon University: ``WORD(1)  phones # comment``."""

    name = "cmudict"
    title = "CMUdict dictionary"
    recognised = "a CMUdict dictionary without its comments, WORD(1) read as WORD"
    endings = (".dict",)

    def split(self, text: str) -> Sequence[str]:
        """Word without the number of its variant, and phones."""
        word, phones = _cut(text)
        if text.startswith(";;;") or not word.strip("#"):
            return ()
        word = _VARIANT.sub("", word)
        return word, _required(_COMMENT.sub("", phones), text)

    def entry(self, entry: Entry) -> str:
        """Word, number of the variant, two spaces, phones."""
        variant = f"({entry.rank})" if entry.rank else ""
        return f"{entry.source}{variant}  {entry.target}"


class Mfa(Dictionary):
    """The dictionary of the Montreal Forced Aligner: cells between tabs.

    Of four numbers the first is the probability of the pronunciation, the others are of silence
    beside the word. An entry without a number has the probability 1, as MFA reads it.
    """

    name = "mfa"
    title = "MFA dictionary"
    recognised = "an MFA dictionary"
    endings = (".dict",)
    has_weights = True
    has_tabs = True

    def split(self, text: str) -> Sequence[str]:
        """Word, probability and phones."""
        if not text.strip():
            return ()
        word, *numbers, phones = text.split("\t") if "\t" in text else _cut(text)
        if len(numbers) not in (0, 1, 4) or not all(map(_NUMBER.fullmatch, numbers)):
            raise DataError(
                f"'{text[:40]}', expected a word, phones, and between them nothing, a probability "
                "or four numbers"
            )
        return word.strip(" "), numbers[0] if numbers else "1", _required(phones, text)

    def entry(self, entry: Entry) -> str:
        """Word, probability and phones between tabs."""
        return f"{entry.source}\t{_probability(entry)}\t{entry.target}"


class UniMorph(Tsv):
    """UniMorph: lemma, form and features between tabs; the features may be in any column."""

    name = "unimorph"
    title = "UniMorph"
    recognised = "a UniMorph table"
    may_have_header = False

    def recognise(self, sample: Sequence[str], name: str) -> Self | None:  # noqa: ARG002
        """The format if one column has features; see :meth:`Format.recognise`."""
        found = _find_features(sample)
        return None if found is None else self.with_odd(found.odd)

    def read(self, source: Source, *, faulty: bool) -> Table:
        """Open a table; see :meth:`Format.read`."""
        found = _find_features(source.first_lines)
        names = list(_ROLES[: found.width - 1]) if found else []
        names.insert(found.column if found else 0, "features")
        return replace(super().read(source, faulty=faulty), header=tuple(names))


LEXICA: tuple[Format, ...] = (Kaldi(), KaldiWithProbabilities(), CmuDict(), Mfa(), UniMorph())
"""The formats of this module."""
_BY_SIGNS: tuple[Dictionary, ...] = (Mfa(), KaldiWithProbabilities(), CmuDict(), Kaldi())
"""Dictionaries, those with most signs first."""


class _Recognised(NamedTuple):
    """The name of the format of first lines, and those of the lines that do not fit it."""

    name: str
    odd: tuple[str, ...] = ()


class _Features(NamedTuple):
    """The number of columns of a table of UniMorph, and that of the features (from 0)."""

    width: int
    column: int
    odd: tuple[str, ...] = ()


def _allowed(count: int) -> int:
    """How many of the first ``count`` lines may be odd: 1 % of them, or a few."""
    return max(count // 100, min(FEW_ODD, count // 10))


@lru_cache(maxsize=1)
def _recognise(lines: tuple[str, ...], name: str) -> _Recognised | None:
    """The dictionary that has these first lines, but for a few odd ones; None: another file.

    The formats with most signs come first: an odd line hides none of them. Of lines that are all
    entries only those that look like prose are odd. Lines with one tab each are pairs in any case,
    and a first line with tabs may be a header.
    """
    whole = _name_of(lines, name)
    allowed = _allowed(len(lines))
    is_table = {line.count("\t") for line in lines} == {1}
    if not allowed or (is_table and not name.endswith(CmuDict.endings)):
        return _Recognised(whole) if whole else None
    for one in _BY_SIGNS:
        for odd in islice(_odd_lines(one, lines, allowed), 1 if whole == one.name else 2):
            rest = [line for line in lines if line not in odd]
            is_headed = lines[0] in odd and "\t" in lines[0]
            if not odd or len(lines) - len(rest) > allowed or is_headed:
                continue
            if _name_of(rest, name, has_odd=whole != one.name) == one.name:
                return _Recognised(one.name, tuple(sorted(odd)))
        if whole == one.name:
            return _Recognised(whole)
    return None


def _odd_lines(format: Dictionary, lines: Sequence[str], allowed: int) -> Iterator[set[str]]:
    """The lines that may be odd in a dictionary: the fewest, then more.

    Odd are lines that are no entries, and those of which half of the phones, two at least, are none
    of ARPAbet where most lines have no others, or are words where most lines have none.
    """
    entries: dict[str, Sequence[str]] = {}
    unfit: set[str] = set()
    for line in lines:
        cells = format.fitting(line)
        if cells is None:
            unfit.add(line)
        elif cells:
            entries[line] = cells[-1].split(" ")
        if len(unfit) > allowed:
            return
    strange: dict[str, int] = {}
    for is_strange in (lambda phone: not _ARPABET.fullmatch(phone), _WORD.search):
        counts = {line: sum(map(bool, map(is_strange, entries[line]))) for line in entries}
        strange = {line: count for line, count in counts.items() if count}
        if len(strange) <= STRANGE_SHARE * len(entries):
            break
        strange = {}
    yield unfit | {line for line, n in strange.items() if 1 < n >= len(entries[line]) / 2}
    yield unfit | strange.keys() | {line for line in lines if "\t" in line and not format.has_tabs}


def _name_of(lines: Sequence[str], name: str, *, has_odd: bool = False) -> str | None:
    """The name of the dictionary that all of these lines are of; None: another file.

    Words and phones are told from text by phones of ARPAbet, by a ``name`` such as lexicon.txt, or,
    from ``MIN_UNNAMED`` entries on, by few, short phones whose number goes with the word's length.
    ``has_odd``: other lines were left out, so the name alone is not enough.
    """
    dict_named = name.endswith(CmuDict.endings)
    named = dict_named or bool(_NAMED.search(name))
    is_pronounced = partial(_is_pronounced, named=named, has_odd=has_odd)
    tabs = [line.count("\t") for line in lines]
    is_table = bool(lines) and all(tabs) and (dict_named or max(tabs) > 1)
    weighted = Mfa() if is_table else KaldiWithProbabilities()
    entries = _entries(weighted, lines)
    if entries and all(_PROBABILITY.fullmatch(weight) for _, weight, _ in entries):
        return weighted.name if is_pronounced(entries) else None
    # a tab may also end a text of several words, and then no name tells these phones
    if is_table or any(map(_has_words_before_tab, lines)):
        return None
    signs = _DICTIONARY_SIGN if named else _CMUDICT_SIGN
    has_few_tabs = sum(map(bool, tabs)) <= FEW_TABS * len(lines)
    if has_few_tabs and (dict_named or any(map(signs.search, lines))):
        return CmuDict.name if is_pronounced(_entries(CmuDict(), lines)) else None
    entries = _entries(Kaldi(), lines)
    return Kaldi.name if is_pronounced(entries, named=named and not any(tabs)) else None


def _has_words_before_tab(line: str) -> bool:
    return "\t" in line and line.partition("\t")[0] != _cut(line)[0]


def _entries(format: Dictionary, lines: Sequence[str]) -> list[Sequence[str]]:
    """The entries of lines in a format, without comments; none where one is no entry of it."""
    try:
        return [cells for line in lines if (cells := format.split(line))]
    except DataError:
        return []


def _is_pronounced(entries: Sequence[Sequence[str]], *, named: bool, has_odd: bool) -> bool:
    """Whether the last cells of entries are phones; ``named``: the file's name says so, too."""
    phones = [phone for entry in entries for phone in entry[-1].split(" ")]
    if not entries or len(max(phones, key=len)) > MAX_PHONE:
        return False
    found = list(map(_ARPABET.fullmatch, phones))
    if all(found):
        return 2 * sum(bool(one and one["vowel"]) for one in found) >= len(entries)
    kinds = set(phones)
    words = {entry[0] for entry in entries}
    are_short = statistics.fmean(map(len, phones)) < min(3, statistics.fmean(map(len, words)))
    if named or len(entries) < MIN_UNNAMED:
        return named and len(kinds) <= MAX_PHONES and (are_short or not has_odd)
    length = len(phones) / len(entries)
    fitting = sum(
        len(entry[0]) / 4 <= 1 + entry[-1].count(" ") <= 3 * len(entry[0]) + 1 for entry in entries
    )
    return (
        5 * len(kinds) <= len(phones)
        and len(kinds) <= MAX_PHONES
        and length > 1.5
        and are_short
        and len(words) >= len(entries) / 2
        and len(words & kinds) <= len(words) / 10
        and fitting >= 0.95 * len(entries)
    )


def _find_features(lines: Sequence[str]) -> _Features | None:
    """The one column of lines between tabs that holds features of UniMorph.

    Of the odd lines some have another number of columns, and some no features in that one. Cells
    such as PST, which are like features, are taken for features.
    """
    rows = [line.split("\t") for line in lines]
    width = statistics.mode(map(len, rows)) if rows else 0
    if width not in (3, 4):
        return None
    whole = [row for row in rows if len(row) == width]
    missing = [sum(not _BUNDLE.fullmatch(row[at]) for row in whole) for at in range(width)]
    fewest, second = sorted(missing)[:2]
    column = missing.index(fewest)
    count = len(rows) - len(whole) + fewest
    if not count:
        return _Features(width, column) if second else None
    allowed = _allowed(len(rows))
    is_headed = len(rows[0]) == width and not _BUNDLE.fullmatch(rows[0][column])
    several = sum(";" in row[column] for row in whole)
    if count > allowed or second <= allowed or is_headed or 2 * several < len(whole):
        return None
    is_odd = (len(row) != width or not _LIKE_FEATURES.fullmatch(row[column]) for row in rows)
    return _Features(width, column, tuple(sorted(set(compress(lines, is_odd)))))


def _cut(text: str) -> tuple[str, str]:
    """The first word of a text, and the rest of it."""
    word, *rest = _SPACES.split(text.strip(" \t"), maxsplit=1)
    return word, "".join(rest)


def _required(phones: str, line: str) -> str:
    """Phones between single spaces. Raises DataError where there are none."""
    found = " ".join(phones.split())
    if not found:
        raise DataError(f"'{line[:40]}', expected a word and phones")
    return found


def _probability(entry: Entry) -> str:
    return f"{max(entry.probability, LEAST_PROBABILITY):.6f}".rstrip("0").rstrip(".")
