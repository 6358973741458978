"""Pronouncing dictionaries and UniMorph: text files whose own format says what their columns are.

    kaldi     harbour HH AA1 R B ER0                 lexicon.txt; spaces or tabs
    kaldip    harbour 0.8 HH AA1 R B ER0             lexiconp.txt, with the probability
    cmudict   HARBOUR(1)  HH AH1 R B ER0 # comment   a variant of HARBOUR; ;;; is a comment
    mfa       harbour TAB 0.99 TAB HH AA1 R B ER0    Montreal Forced Aligner; 0, 1 or 4 numbers
    unimorph  walk TAB walked TAB V;PST              lemma, form, features, in any order of these

The columns are called source, target, weight and features, as their roles are. Phones are
separated by single spaces. These formats are told from text and from other tables by the first
lines of a file and by its name.
"""

from __future__ import annotations

import abc
import copy
import re
import statistics
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache
from typing import BinaryIO, ClassVar, NamedTuple

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
LEAST_PROBABILITY = 1e-6
"""Probabilities below are written as this one: a lexicon has none of 0."""

_SPACES = re.compile("[ \t]+")
_VARIANT = re.compile(r"(?<=.)\(\d+\)$")
_COMMENT = re.compile("(?:^|[ \t])#.*")
_DICTIONARY_SIGN = re.compile(r"^;;;|^\S+\(\d+\)\s|[ \t]#")
_CMUDICT_SIGN = re.compile(_DICTIONARY_SIGN.pattern + r"|\S  \S")
_PROBABILITY = re.compile(r"(?:0?\.\d+|0|1|1\.0*|\d(?:\.\d+)?[eE]-\d+)")
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

    @abc.abstractmethod
    def split(self, text: str) -> Sequence[str]:
        """A line -> word, probability if the format has one, and phones; () for a comment.

        Raises:
            DataError: no entry (the caller adds path and line).
        """

    @abc.abstractmethod
    def entry(self, entry: Entry) -> str:
        """An entry as a line, without its line end."""

    def rows(self, path: str, lines: Lines, *, faulty: bool) -> Iterator[Row]:
        """A row for each entry; comments are no rows."""
        found = rows_by_line(lambda text: (self.split(text), ()), path, lines, faulty=faulty)
        return (row for row in found if row.cells or row.fault or not row.raw.strip())

    def recognises(self, sample: Sequence[str], name: str) -> bool:
        """Whether these are words and phones; see :meth:`Format.recognises`."""
        return _recognise(tuple(sample), name) == self.name

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

    def recognises(self, sample: Sequence[str], name: str) -> bool:  # noqa: ARG002
        """Whether one column has features; see :meth:`Format.recognises`."""
        return _features_column(sample) is not None

    def read(self, source: Source, *, faulty: bool) -> Table:
        """Open a table; see :meth:`Format.read`."""
        lines = source.first_lines
        names = list(_ROLES[: lines[0].count("\t")]) if lines else []
        names.insert(_features_column(lines) or 0, "features")
        return replace(super().read(source, faulty=faulty), header=tuple(names))


LEXICA: tuple[Format, ...] = (Kaldi(), KaldiWithProbabilities(), CmuDict(), Mfa(), UniMorph())
"""The formats of this module."""


@lru_cache(maxsize=1)
def _recognise(lines: tuple[str, ...], name: str) -> str | None:
    """The name of the dictionary that has these first lines; None: another file.

    Words and phones are told from text by phones of ARPAbet, by a ``name`` such as lexicon.txt, or,
    from ``MIN_UNNAMED`` entries on, by few, short phones whose number goes with the word's length.
    """
    dict_named = name.endswith(CmuDict.endings)
    named = dict_named or bool(_NAMED.search(name))
    tabs = [line.count("\t") for line in lines]
    if not any(tabs):
        signs = _DICTIONARY_SIGN if named else _CMUDICT_SIGN
        if dict_named or any(map(signs.search, lines)):
            return CmuDict.name if _is_pronounced(_entries(CmuDict(), lines), named) else None
    elif all(tabs) and (dict_named or max(tabs) > 1):
        entries = _entries(Mfa(), lines)
        if entries and all(_PROBABILITY.fullmatch(weight) for _, weight, _ in entries):
            return Mfa.name if _is_pronounced(entries, named) else None
        return None
    return _recognise_kaldi(lines, named=named, tabs=any(tabs))


def _recognise_kaldi(lines: Sequence[str], *, named: bool, tabs: bool) -> str | None:
    """The name of the format of lines of words and phones; None: other lines."""
    entries = _entries(KaldiWithProbabilities(), lines)
    if entries and all(_PROBABILITY.fullmatch(weight) for _, weight, _ in entries):
        return KaldiWithProbabilities.name if _is_pronounced(entries, named) else None
    # a tab may also end a text of several words, and then no name tells these phones
    if any("\t" in line and line.partition("\t")[0] != _cut(line)[0] for line in lines):
        return None
    entries = _entries(Kaldi(), lines)
    return Kaldi.name if _is_pronounced(entries, named and not tabs) else None


def _entries(format: Dictionary, lines: Sequence[str]) -> list[Sequence[str]]:
    """The entries of lines in a format, without comments; none where one is no entry of it."""
    try:
        return [cells for line in lines if (cells := format.split(line))]
    except DataError:
        return []


def _is_pronounced(entries: Sequence[Sequence[str]], named: bool) -> bool:
    """Whether the last cells of entries are phones; ``named``: the file's name says so, too."""
    phones = [phone for entry in entries for phone in entry[-1].split(" ")]
    if not entries or len(max(phones, key=len)) > MAX_PHONE:
        return False
    found = list(map(_ARPABET.fullmatch, phones))
    if all(found):
        return 2 * sum(bool(one and one["vowel"]) for one in found) >= len(entries)
    kinds = set(phones)
    if named or len(entries) < MIN_UNNAMED:
        return named and len(kinds) <= MAX_PHONES
    words = {entry[0] for entry in entries}
    length = len(phones) / len(entries)
    fitting = sum(
        len(entry[0]) / 4 <= 1 + entry[-1].count(" ") <= 3 * len(entry[0]) + 1 for entry in entries
    )
    return (
        5 * len(kinds) <= len(phones)
        and len(kinds) <= MAX_PHONES
        and length > 1.5
        and statistics.fmean(map(len, phones)) < min(3, statistics.fmean(map(len, words)))
        and len(words) >= len(entries) / 2
        and len(words & kinds) <= len(words) / 10
        and fitting >= 0.95 * len(entries)
    )


def _features_column(lines: Sequence[str]) -> int | None:
    """The one column of lines between tabs that holds features of UniMorph."""
    rows = [line.split("\t") for line in lines]
    width = len(rows[0])
    if width not in (3, 4) or any(len(row) != width for row in rows):
        return None
    found = [at for at in range(width) if all(_BUNDLE.fullmatch(row[at]) for row in rows)]
    return found[0] if len(found) == 1 else None


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
