"""Running text <-> words, subwords or characters <-> ids: the tokenizer of next-word models.

A :class:`Tokenizer` is a vocabulary and the rules that split text into words. Every kind needs the
words, because perplexity is measured per word. The ids are those of ``Vocabulary``: 0 PAD, 1 BOS, 2
EOS (the end of a line), 3 UNK, then symbols.

    words       the vocabulary is "spaced": the words of a line, joined by single spaces
    subwords    pieces of a unigram model    bpe    pieces of a BPE model    both lossless
    characters  graphemes                    lossless for symbols of the training text

Text is normalised to the Unicode form of the vocabulary and, with case "lower", lowercased. White
space of all sorts separates words, also no-break and ideographic spaces; words are joined by a
plain space. A line of white space has no words. With punctuation "keep", words are separated by
white space only ("machine,"). With "split", a word is one of

    don't well-fed R&D e-mail@site.org   letters, with ' - . & @ between them
    boys' -5 pre-                        a single ' or - next to letters
    3.50 10:30 1,000 24/7 1914-18        digits, with . , : / as well, or a dash
    e.g. U.S.                            single letters, each with a full stop
    ... --                               several full stops or hyphens
    😀🎉                                 adjacent symbols, such as emoji
    “ ” , ? ( $ and so on                any other single sign, also an isolated '

A ' before a word opens a quotation and is split off like “, unless a quotation is open. A ' after a
word or sign closes the open quotation; if there is none, it belongs to the word (boys'). The same
holds for ‘ and ’, but ’ never opens. No rule looks beyond the next space, so the words of the
beginning of a line are the first words of the line. The signs ' and ’ are distinct: don't and don’t
are two words. Letters of all scripts count as letters, with their marks. Scripts without spaces are
split at punctuation only; subwords or characters suit them better than words.
"""

from __future__ import annotations

import random
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.data.text import subwords
from charseq.data.text.normalise import altered_note, choose_form, normalise
from charseq.data.text.subwords import MAX_TEXTS
from charseq.data.text.vocabulary import (
    FORMS,
    MAX_SYMBOL_LENGTH,
    MAX_SYMBOLS,
    SUBWORDS,
    UNK,
    Vocabulary,
)
from charseq.errors import CheckpointError, SettingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = ("words", "subwords", "bpe", "characters", "graphemes")
CASES = ("keep", "lower")
PUNCTUATION = ("keep", "split")
UNKNOWN = "<unk>"
"""The text of UNK."""
FORM_LINES = 5000
"""Lines that decide the Unicode form."""

_LETTERS = frozenset("w0mz")
_QUOTE = re.compile("['<>]")
_WORD = re.compile(
    r"(?:wm*\.){2,}(?:-[w0mz]+)*"
    r"|-{2,}|\.{2,}"
    r"|s[smz]*"
    r"|['>-]?[w0mz]+(?:(?:['>&.-]|(?<=0):(?=0))[w0mz]+)*(?:['>]|-(?!-))?"
    r"|[^ ]"
)

# Signs without a space before them, after them, or on both sides. Brackets, curly quotes and
# currency signs are known by their Unicode categories.
_AFTER = frozenset(".,?!;:%\u2026\u00b0\u060c\u061f\u061b\u06d4\u0964\u0965\u0589")
_BEFORE = frozenset("#\u00bf\u00a1")
_BETWEEN = frozenset(("/", "\u2014", "--"))
_TWO_SIDED = frozenset("\"'")


class _CharacterClasses(dict[int, str]):
    """Code point -> the letter of its class, on which the rules for words are regular expressions.

    w letter, m mark, 0 digit, p punctuation, s symbol, z joiner, space; signs with rules of their
    own stand for themselves. Classes are computed on first use.
    """

    SPECIAL = {  # noqa: RUF012 - read-only
        "'": "'", "\u2019": ">", "\u2018": "<", "-": "-", "\u2010": "-", "\u2011": "-", ".": ".",
        ",": ":", ":": ":", "/": ":", "\u2013": ":", "&": "&", "@": "&", "_": "w", "\u200d": "z",
        "^": "p", "`": "p",
    }  # fmt: skip
    GENERAL = {"L": "w", "M": "m", "N": "0", "P": "p", "S": "p"}  # noqa: RUF012

    def __missing__(self, code: int) -> str:
        char = chr(code)
        category = unicodedata.category(char)
        found = " " if char.isspace() else self.GENERAL.get(category[0], "w")
        if category in ("So", "Sk"):
            found = "s"
        self[code] = found = self.SPECIAL.get(char, found)
        return found


_CLASSES = _CharacterClasses()


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary and rules for words; see :func:`build` and :meth:`from_json`."""

    vocabulary: Vocabulary
    case: str = "keep"
    punctuation: str = "keep"

    @property
    def kind(self) -> str:
        """One of ``KINDS``."""
        return "words" if self.vocabulary.kind == "spaced" else self.vocabulary.kind

    def encode(self, text: str) -> list[int]:
        """The ids of a line; UNK for unknown symbols, no BOS, no EOS.

        Raises:
            MissingExtraError: grapheme clusters without the package ``regex``.
        """
        if self.kind == "words":
            return self.vocabulary.symbol_ids(self.words(text))
        return self.vocabulary.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids`` in the form ``written``. Specials give no text.

        Raises:
            IndexError: an id outside of the vocabulary.
        """
        text = self.vocabulary.decode(ids)
        return self.join(text.split(" ")) if self.kind == "words" else text

    def words(self, text: str) -> list[str]:
        """The words of ``text``, known or not, by the rules of the module; for every kind."""
        text = normalise(text, self.vocabulary.form)
        if self.case == "lower":
            # Lowercase letters may leave the form, and some forms create capitals.
            text = normalise(text.lower(), self.vocabulary.form)
        return text.split() if self.punctuation == "keep" else _split(text)

    def join(self, words: Iterable[str]) -> str:
        """Words -> text; with "split", there is no space between a sign and its word.

        The signs " and ' open and close in turn. English in the usual typography is restored
        exactly; in other text spaces beside signs may differ, never letters.
        """
        return " ".join(words) if self.punctuation == "keep" else _join(words)

    def unknown(self, text: str) -> list[str]:
        """The unknown symbols of ``text``; each once, in order."""
        text = " ".join(self.words(text)) if self.kind == "words" else text
        return self.vocabulary.unknown(text)

    def spelling(self, number: int) -> str:
        """The text of one id: "" for PAD, BOS and EOS, ``UNKNOWN`` for UNK.

        A piece keeps its space (" love"); a byte that is not a character is U+FFFD.

        Raises:
            IndexError: an id outside of the vocabulary.
        """
        return UNKNOWN if number == UNK else self.vocabulary.decode([number])

    def to_json(self) -> dict[str, Any]:
        """The tokenizer as JSON values; :meth:`from_json` gives an equal one."""
        return {
            "vocabulary": self.vocabulary.to_json(),
            "case": self.case,
            "punctuation": self.punctuation,
        }

    @classmethod
    def from_json(cls, value: Any) -> Tokenizer:
        """The tokenizer of :meth:`to_json`; all values are checked, as they may be malicious.

        Raises:
            CheckpointError: a value is missing, unexpected, of a wrong type, or beyond its limit.
        """
        if not isinstance(value, dict) or set(value) != {"vocabulary", "case", "punctuation"}:
            raise CheckpointError("units: expected vocabulary, case and punctuation")
        tokenizer = cls(Vocabulary.from_json(value["vocabulary"]))
        try:
            _check(tokenizer.kind, value["case"], value["punctuation"])
        except SettingError as fault:
            raise CheckpointError(f"units: {fault}") from None
        return replace(tokenizer, case=value["case"], punctuation=value["punctuation"])


def build(
    lines: Iterable[str],
    *,
    kind: str,
    case: str = "keep",
    punctuation: str = "keep",
    limit: int,
    min_count: int,
    form: str = "auto",
    subword_size: int,
    seed: int,
) -> tuple[Tokenizer, str]:
    """The tokenizer for ``lines``, and a line for people with the numbers of symbols.

    Symbols are sorted by their counts, then by their code points. A symbol of more than
    ``MAX_SYMBOL_LENGTH`` characters is unknown.

    Args:
        lines: the training text. It is iterated twice, and must start anew each time.
        kind: kind of symbols, one of ``KINDS``.
        case: keep or lower.
        punctuation: keep or split.
        limit: most symbols, except for subwords and bpe.
        min_count: least number of occurrences of a symbol, except for subwords and bpe.
        form: Unicode form, one of ``FORMS``, or auto.
        subword_size: number of pieces for subwords and bpe.
        seed: of the sample of ``MAX_TEXTS`` lines that pieces are learnt from.

    Raises:
        SettingError: an unknown kind, case, punctuation or form, or lower case without words.
        MissingExtraError: grapheme clusters without the package ``regex``.
    """
    _check(kind, case, punctuation)
    if form not in ("auto", *FORMS):
        raise SettingError(f"form is '{form}', expected one of auto, {', '.join(FORMS)}")
    sample = _sample(lines, MAX_TEXTS if kind in SUBWORDS else FORM_LINES, seed)
    form, written, why = choose_form(sample, form)
    why += altered_note(sample, written)
    cut = "spaced" if kind == "words" else kind
    draft = Tokenizer(Vocabulary(cut, form, written, ()), case, punctuation)
    if kind in SUBWORDS:
        normal = [normalise(text, form) for text in sample]
        model = SUBWORDS[kind]
        pieces, numbers = subwords.train(normal, size=subword_size, seed=seed, model=model)
        symbols, scores = tuple(pieces), tuple(numbers)
        how = f"{len(symbols):,} pieces ({model}), none is {UNKNOWN}"
    else:
        symbols, how = _count(lines, draft, min(limit, MAX_SYMBOLS), min_count)
        scores = ()
    vocabulary = replace(draft.vocabulary, symbols=symbols, scores=scores)
    return replace(draft, vocabulary=vocabulary), f"{how}; Unicode form {form} ({why})"


def encode(
    lines: Iterable[str], tokenizer: Tokenizer
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The ids of all lines in one array, 4 bytes each, and the offsets of the lines.

    Line i is ``ids[offsets[i]:offsets[i + 1]]``, without BOS and EOS; N lines have N + 1 offsets.
    The text is not kept in memory.
    """
    ids, offsets = array("i"), array("q", [0])
    for line in lines:
        ids.extend(tokenizer.encode(line))
        offsets.append(len(ids))
    return np.asarray(ids), np.frombuffer(offsets, dtype=np.int64)


def _check(kind: str, case: str, punctuation: str) -> None:
    given = {
        "units": (kind, KINDS),
        "case": (case, CASES),
        "punctuation": (punctuation, PUNCTUATION),
    }
    for name, (value, choices) in given.items():
        if value not in choices:
            raise SettingError(f"{name} is {value!r:.40}, expected one of {', '.join(choices)}")
    if case == "lower" and kind != "words":
        raise SettingError(f"case is 'lower', which only words can be, not {kind}")


def _sample(lines: Iterable[str], most: int, seed: int) -> list[str]:
    """All chunks of the lines in order, or a uniform sample of ``most`` (reservoir sampling)."""
    rng = random.Random(seed)
    kept: list[str] = []
    chunks = (chunk for line in lines for chunk in subwords.chunks(line))
    for number, chunk in enumerate(chunks):
        if number < most:
            kept.append(chunk)
        elif (slot := rng.randrange(number + 1)) < most:
            kept[slot] = chunk
    return kept


def _count(
    lines: Iterable[str], draft: Tokenizer, limit: int, min_count: int
) -> tuple[tuple[str, ...], str]:
    """The symbols of the lines by their counts, and a line for people with the share of UNK."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(draft.words(line) if draft.kind == "words" else draft.vocabulary.split(line))
    seen = [s for s, n in counts.items() if n >= min_count and len(s) <= MAX_SYMBOL_LENGTH]
    kept = sorted(seen, key=lambda symbol: (-counts[symbol], symbol))[:limit]
    unseen = 1 - sum(counts[symbol] for symbol in kept) / max(1, counts.total())
    times = "once" if min_count == 1 else f"{min_count} times"
    first = "the first " if len(kept) < len(seen) else ""
    how = f"{first}{len(kept):,} {draft.kind} seen at least {times}, of {len(counts):,}"
    return tuple(kept), f"{how}; {100 * unseen:.1f} % of the text is {UNKNOWN}"


def _split(text: str) -> list[str]:
    """Words and signs, by the classes of the characters."""
    classes = _separate_quotes(text.translate(_CLASSES))
    return [text[found.start() : found.end()] for found in _WORD.finditer(classes)]


def _separate_quotes(classes: str) -> str:
    """The classes with p for each ' ‘ ’ that opens or closes a quotation."""
    opened: set[str] = set()
    marks = list(classes)
    for found in _QUOTE.finditer(classes):
        sign, kind = found[0], "'" if found[0] == "'" else "<"
        before = classes[found.start() - 1] if found.start() else " "
        after = classes[found.end()] if found.end() < len(classes) else " "
        closes = kind in opened and before != " " and after not in _LETTERS
        if closes or (
            kind not in opened and sign != ">" and before not in _LETTERS and after != " "
        ):
            opened ^= {kind}
            marks[found.start()] = "p"
    return "".join(marks)


def _join(words: Iterable[str]) -> str:
    """Text with spaces between words that are not attached to each other."""
    text: list[str] = []
    opened: set[str] = set()
    attached = True
    for word in words:
        before, after = _attachment(word)
        if word in _TWO_SIDED:
            before, after = word in opened, word not in opened
            opened ^= {word}
        text += [word] if attached or before else [" ", word]
        attached = after
    return "".join(text)


def _attachment(word: str) -> tuple[bool, bool]:
    """Whether a word is attached to the word before it, and to the word after it."""
    if word in _BETWEEN:
        return True, True
    if not word.strip("."):
        return True, False
    if len(word) > 1:
        return False, False
    category = unicodedata.category(word)
    if category[0] == "P" and unicodedata.east_asian_width(word) in "FW":
        return True, True
    if word in _AFTER or category in ("Pe", "Pf"):
        return True, False
    return False, word in _BEFORE or category in ("Ps", "Pi", "Sc")
