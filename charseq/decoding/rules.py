"""Rules that the user knows -> automata of a network's outputs, and a last look at each answer.

A rule is a regular expression that an answer matches as a whole, a file with the answers that there
are, checks such as that of a calendar date, or several of these. A search follows the expression or
the file (:mod:`charseq.decoding.constrained`), without both the shape of the first check. Whatever
it finds is compared with the whole rule, and an answer outside is never given.

The expression is compared with answers as they are written, in the Unicode form of the vocabulary.
An answer from a file is the line as it stands there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from charseq.data.formats.opening import Source, decode
from charseq.data.text import phones
from charseq.data.text.automaton import (
    MAX_EDGES,
    Automaton,
    Spelling,
    of_pattern,
    of_sequences,
    of_texts,
)
from charseq.data.text.checks import CHECKS, named
from charseq.data.text.normalise import normalise
from charseq.data.text.pattern import Pattern
from charseq.data.text.subwords import SPACE_MARK
from charseq.data.text.vocabulary import SPACED, SPECIALS, SUBWORDS, UNK, Vocabulary
from charseq.display import count, describe, shorten
from charseq.errors import DataError, UsageError

if TYPE_CHECKING:
    from charseq.data.text.alignment import Actions

MAX_LINE_SYMBOLS = 10_000
"""Symbols of a line of a file of answers; a search must be able to write the longest."""
LAST_COMPOSED = 0x30000
"""Characters from here on are not composed of others in NFC, but for some Chinese ones."""


@dataclass(frozen=True)
class Rule:
    """What all answers of a model keep; from :func:`read`."""

    pattern: Pattern | None = None
    """The regular expression."""
    lines: tuple[str, ...] | None = None
    """The different lines of the file, in order."""
    checks: tuple[str, ...] = ()
    """Names of :data:`charseq.data.text.checks.CHECKS`."""
    path: Path | None = None
    """The file."""
    notes: tuple[str, ...] = ()
    """How it was read, for people."""

    @property
    def fingerprint(self) -> str:
        """sha256 of everything that decides which answers keep the rule."""
        parts = self.pattern and self.pattern.source, self.lines, self.checks
        return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()

    @property
    def guide(self) -> Pattern | None:
        """The expression that a search follows where there is no file."""
        if self.pattern is not None or not self.checks:
            return self.pattern
        return Pattern(CHECKS[self.checks[0]].shape)

    def fits(self, text: str) -> bool:
        """Whether a text matches the expression and passes the checks."""
        if self.pattern is not None and not self.pattern.matches(text):
            return False
        return all(CHECKS[name].holds(text) for name in self.checks)

    def allows(self, text: str) -> bool:
        """Whether a text keeps the rule."""
        return self.fits(text) and (self.lines is None or text in self._known)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.lines or ())


def is_given(pattern: str | None, within: str | Path | None, check: str | Iterable[str]) -> bool:
    """Whether any of the arguments of :func:`read` is there."""
    return pattern is not None or within is not None or bool(check)


def read(
    pattern: str | None = None,
    within: str | Path | None = None,
    check: str | Iterable[str] = (),
) -> Rule | None:
    """The rule of some arguments; None where all of them are absent.

    Args:
        pattern: a regular expression, see :mod:`charseq.data.text.pattern`.
        within: a file with an answer in each line. Blank lines do not count.
        check: names of checks.

    Raises:
        UsageError: the expression is none, or not regular; an unknown check; or a name that is no
            file.
        DataError: with path and line: the file cannot be read, or has no lines.
    """
    if not is_given(pattern, within, check):
        return None
    checks = named(check) if check else ()
    expression = None if pattern is None else Pattern(pattern)
    if within is None:
        return Rule(expression, None, checks)
    if str(within) == "-":
        raise UsageError("the answers that there are come from a file, not from stdin")
    path = Path(within)
    lines, notes = _read_lines(path)
    return Rule(expression, lines, checks, path, notes)


def _read_lines(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The different lines of a file, without their ends; and notes on its encoding."""
    if path.is_dir():
        raise DataError("is a folder, expected a file with an answer in each line", path=path)
    found: dict[str, None] = {}
    size = 0
    with closing(Source(str(path))) as source:
        for number, raw in source.lines():
            text = decode(raw, str(path), number).removesuffix("\n").removesuffix("\r")
            if text.strip() and text not in found:
                size += len(text)
                if size > MAX_EDGES:
                    what = f"more than {MAX_EDGES:,} characters in its lines: give fewer answers"
                    raise DataError(what, path=path, line=number)
                found[text] = None
    if not found:
        raise DataError("has no lines, expected an answer in each", path=path)
    return tuple(found), tuple(f"{path}: {note}" for note in source.notes)


class TargetRule:
    """A rule for the outputs of one model."""

    def __init__(
        self,
        rule: Rule,
        target: Vocabulary,
        actions: Actions | None,
        *,
        backward: Iterable[bool] = (False,),
        empty: bool = False,
    ) -> None:
        """Make the automata of the directions in which the model writes.

        ``empty``: the model was taught that some texts have no answer; it may say so under any
        rule.

        Raises:
            UsageError: the model cannot write any answer, or an automaton would be too large.
            DataError: with path: it cannot write any line of the file; or one is too long.
        """
        self.rule = rule
        self.notes = list(rule.notes)
        """How the file was read, for people."""
        self._answers: dict[str, str] | None = None
        self._automata: dict[tuple[bool, bool], Automaton] = {}
        self._reads = actions is not None
        self._empty = empty
        ids = None if rule.lines is None else self._encoded(target)
        for direction in dict.fromkeys(backward):
            if ids is not None:
                made = _of_lines(ids, target, backward=direction)
            elif rule.guide is not None:
                made = _of_guide(rule, rule.guide, target, backward=direction)
            else:
                raise UsageError("a rule needs a pattern, a file of answers or a check")
            for refusing in {False, empty}:
                wanted = made.with_empty() if refusing else made
                wanted = wanted if actions is None else wanted.for_actions(actions)
                self._automata[direction, refusing] = wanted

    @property
    def only_refuses(self) -> bool:
        """Whether an empty output says that there is no answer, and is none by the rule itself."""
        return self._empty and not self.rule.allows("")

    def automaton(self, *, backward: bool = False, refusing: bool = True) -> Automaton:
        """The automaton of the outputs that are written in one direction.

        ``refusing``: with the empty output, if the model was taught it.
        """
        return self._automata[backward, refusing and self._empty]

    def limit(self, limit: int, size: int) -> int:
        """The length limit for a source of ``size`` symbols, with room for the rule.

        Hard attention also deletes symbols of the source.
        """
        least = max(one.least for one in self._automata.values())
        return max(limit, least + (size if self._reads else 0))

    def answer(self, text: str) -> str | None:
        """The answer that an output's text stands for; None where that is outside of the rule."""
        if not text and self._empty:
            return text
        if self._answers is not None:
            return self._answers.get(text)
        return text if self.rule.fits(text) else None

    def _encoded(self, target: Vocabulary) -> list[list[int]]:
        """The ids of the lines that keep the rest of the rule and that the model can write."""
        rule = self.rule
        lines = [line for line in rule.lines or () if rule.fits(line)]
        total, ids, self._answers, strange = len(rule.lines or ()), [], {}, ""
        for line in lines:
            row = target.encode(line)
            if len(row) > MAX_LINE_SYMBOLS:
                raise DataError(
                    f"the line '{shorten(line)}' has {len(row):,} symbols, expected at most "
                    f"{MAX_LINE_SYMBOLS:,}",
                    path=rule.path,
                )
            if UNK not in row and row:
                ids.append(row)
                self._answers.setdefault(target.decode(row), line)
            elif not strange:
                strange = _strange(line, target)
        if not ids:
            why = "keeps the rest of the rule"
            if lines:
                why = f"has only symbols of the model{strange}"
            raise DataError(f"none of its {count(total, 'line')} {why}", path=rule.path)
        self.notes.append(f"{rule.path}: answers come from {count(len(self._answers), 'line')}")
        if total > len(lines):
            left = count(total - len(lines), "line")
            self.notes.append(f"{rule.path}: {left} left out that the rest of the rule excludes")
        if len(lines) > len(ids):
            left = count(len(lines) - len(ids), "line")
            what = f"with symbols that the model cannot write{strange}"
            self.notes.append(f"{rule.path}: {left} left out {what}")
        return ids


def _strange(line: str, target: Vocabulary) -> str:
    """The first symbol of a line that a model cannot write, such as a space at its end."""
    found = target.unknown(line)
    return f": {describe(found[0])} in '{shorten(line)}'" if found else ""


def _of_guide(rule: Rule, guide: Pattern, target: Vocabulary, *, backward: bool) -> Automaton:
    """As :func:`_of_texts`; an error names the check where there is no pattern."""
    try:
        return _of_texts(guide, target, backward=backward)
    except UsageError:
        if rule.pattern is not None:
            raise
        name = rule.checks[0]
        what = f"{CHECKS[name].title}, which the model cannot write"
        raise UsageError(f"the check {name} wants {what}") from None


def _of_lines(lines: Sequence[Sequence[int]], target: Vocabulary, *, backward: bool) -> Automaton:
    """The automaton of some outputs; with subwords of all that write the same texts."""
    order = -1 if backward else 1
    if target.kind not in SUBWORDS:
        return of_sequences([one[::order] for one in lines], len(target))
    spellings = [
        Spelling(one.symbol, one.text[::order]) for one in _spellings(target, target.written)
    ]
    raw = target.subword_bytes
    texts = (_as_bytes(b"".join([raw[i] for i in ids]))[::order] for ids in lines)
    return of_texts(texts, spellings, len(target), least=max(map(len, lines)))


def _of_texts(pattern: Pattern, target: Vocabulary, *, backward: bool) -> Automaton:
    """The automaton of the outputs whose text matches an expression."""
    form, written = target.form, target.written
    composes = form in ("NFD", "NFKD") and written == "NFC"
    spellings = list(_spellings(target, "none" if composes else written))
    if target.kind in SUBWORDS:
        texts = [symbol.replace(SPACE_MARK, " ") for symbol in target.symbols]
        alphabet = dict.fromkeys("".join(map(chr, range(128))) + "".join(texts) + pattern.source)
    else:
        alphabet = dict.fromkeys("".join(one.text for one in spellings))
        alphabet |= dict.fromkeys(" " if target.kind in SPACED else "")
    letters = {one: one for one in alphabet}
    if composes:
        for code in range(128, LAST_COMPOSED):
            whole = chr(code)
            parts = normalise(whole, form)
            if alphabet.keys() >= set(parts) and normalise(whole, written) == whole:
                letters[whole] = parts
    if target.kind in SUBWORDS:
        letters = {one: _as_bytes(text.encode()) for one, text in letters.items()}
    separator = " " if target.kind in SPACED else ""
    return of_pattern(
        pattern, letters, spellings, len(target), separator=separator, backward=backward
    )


def _spellings(target: Vocabulary, form: str) -> Iterator[Spelling]:
    """The texts of the symbols; for subwords their bytes, as characters of the same numbers."""
    if target.kind in SUBWORDS:
        for number, raw in enumerate(target.subword_bytes[SPECIALS:], SPECIALS):
            if raw:
                yield Spelling(number, _as_bytes(raw))
        return
    for number, symbol in enumerate(target.symbols, SPECIALS):
        text, before, after = symbol, target.kind not in SPACED, target.kind not in SPACED
        if target.kind == "decomposed" and phones.DOTTED_CIRCLE in symbol:
            before = symbol.startswith(phones.DOTTED_CIRCLE)
            text, after = symbol.replace(phones.DOTTED_CIRCLE, ""), not before
        yield Spelling(number, normalise(text, form), before, after)


def _as_bytes(raw: bytes) -> str:
    """Bytes as the characters of the same numbers."""
    return raw.decode("latin-1")
