"""running text <-> words, pieces or characters <-> ids.

It knows no files and no models. A :class:`Units` is a vocabulary and the rules by which text falls
into words; the words matter for every kind, since perplexity is told per word. Ids are those of
`vocabulary`: 0 PAD, 1 BOS, 2 EOS (here the end of a line), 3 UNK, then symbols.

    words       the vocabulary is "spaced": the words of a line joined by one space
    subwords    pieces of a unigram model    bpe    pieces of a BPE model    both lossless
    characters  graphemes                    lossless, but for what the training text never had

Text is first brought into the vocabulary's Unicode form, then, with case "lower", into small
letters. All white space parts words, a no-break or ideographic space too, and words give it back as
one space; a line of nothing else has no words. With punctuation "keep" a word is what stands
between white space ("machine,"). With "split" a word is one of

    don't well-fed R&D e-mail@site.org   letters, with ' - . & @ between them
    boys' -5 pre-                        a lone ' or - that touches letters
    3.50 10:30 1,000 24/7 1914-18        digits, with . , : / as well, or a dash
    e.g. U.S.                            single letters, each with a full stop
    ... --                               several full stops or hyphens
    😀🎉                                 symbols that stand together, as emoji do
    “ ” , ? ( $ and so on                any other sign alone, an isolated ' too

A ' before a word opens a quotation and is split off like “, unless one is open already; a ' behind
a word or sign closes what is open, otherwise it belongs to the word (boys'). So do ‘ and ’, but ’
never opens. Nothing depends on what follows the next space: the words of a line's beginning are
the beginning of its words. The signs ' and ’ are not the same: don't and don’t are two words.
Letters are those of every script with their marks; a script without spaces is cut at its
punctuation only, so there subwords or characters serve better than words.
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
from charseq.data.text.normalise import choose_form, normalise
from charseq.data.text.subwords import MOST_TEXTS
from charseq.data.text.vocabulary import (
    FORMS,
    LONGEST_SYMBOL,
    MOST_SYMBOLS,
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
UNSEEN = "<unk>"

# How many lines decide the Unicode form.
FORM_TEXTS = 5000

_LETTERS = frozenset("w0mz")
_QUOTE = re.compile("['<>]")
_WORD = re.compile(
    r"(?:wm*\.){2,}(?:-[w0mz]+)*"
    r"|-{2,}|\.{2,}"
    r"|s[smz]*"
    r"|['>-]?[w0mz]+(?:(?:['>&.-]|(?<=0):(?=0))[w0mz]+)*(?:['>]|-(?!-))?"
    r"|[^ ]"
)

# Signs that stand close to the word before them, the word after them, or both; beside them
# brackets, curly quotes and signs of currency by their Unicode categories.
_AFTER = frozenset(".,?!;:%\u2026\u00b0\u060c\u061f\u061b\u06d4\u0964\u0965\u0589")
_BEFORE = frozenset("#\u00bf\u00a1")
_BETWEEN = frozenset(("/", "\u2014", "--"))
_TWO_SIDED = frozenset("\"'")


class _Shapes(dict[int, str]):
    """What each character is to the rules, as one letter, found when it is first met."""

    SPECIAL = {  # noqa: RUF012 - nobody changes it
        "'": "'", "\u2019": ">", "\u2018": "<", "-": "-", "\u2010": "-", "\u2011": "-", ".": ".",
        ",": ":", ":": ":", "/": ":", "\u2013": ":", "&": "&", "@": "&", "_": "w", "\u200d": "z",
        "^": "p", "`": "p",
    }  # fmt: skip
    GENERAL = {"L": "w", "M": "m", "N": "0", "P": "p", "S": "p"}  # noqa: RUF012

    def __missing__(self, code: int) -> str:
        char = chr(code)
        category = unicodedata.category(char)
        shape = " " if char.isspace() else self.GENERAL.get(category[0], "w")
        if category in ("So", "Sk"):
            shape = "s"
        self[code] = shape = self.SPECIAL.get(char, shape)
        return shape


_SHAPES = _Shapes()


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary and how text falls into words. Made by :func:`build` or :meth:`from_json`."""

    vocabulary: Vocabulary
    case: str = "keep"
    punctuation: str = "keep"

    @property
    def kind(self) -> str:
        """One of ``KINDS``."""
        return "words" if self.vocabulary.kind == "spaced" else self.vocabulary.kind

    def encode(self, text: str) -> list[int]:
        """The ids of a line; UNK for the unseen, no BOS or EOS. A blank line of words has none.

        Raises:
            MissingExtraError: grapheme clusters without the package ``regex``.
        """
        if self.kind == "words":
            return self.vocabulary.number(self.words(text))
        return self.vocabulary.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids`` in the vocabulary's ``written`` form. Specials say nothing.

        Raises:
            IndexError: an id that the vocabulary does not have.
        """
        text = self.vocabulary.decode(ids)
        return self.join(text.split(" ")) if self.kind == "words" else text

    def words(self, text: str) -> list[str]:
        """The words of ``text`` by the rules above, whatever the kind, seen or not."""
        text = normalise(text, self.vocabulary.form)
        if self.case == "lower":
            # Small letters of some capitals are not in the form, and some forms make capitals.
            text = normalise(text.lower(), self.vocabulary.form)
        return text.split() if self.punctuation == "keep" else _split(text)

    def join(self, words: Iterable[str]) -> str:
        """Words back to text: with "split", signs stand close to the words they belong to.

        The signs " and ' open and close in turn. English as it is usually printed comes back as it
        was; elsewhere a space may be lost or won beside a sign, never a letter.
        """
        return " ".join(words) if self.punctuation == "keep" else _join(words)

    def unknown(self, text: str) -> list[str]:
        """The symbols that the vocabulary has never seen: each once, in order."""
        text = " ".join(self.words(text)) if self.kind == "words" else text
        return self.vocabulary.unknown(text)

    def spelling(self, number: int) -> str:
        """The text that one id stands for: "" for PAD, BOS and EOS, ``UNSEEN`` for UNK.

        A piece has its space, such as " love"; a byte that is no character alone is U+FFFD.

        Raises:
            IndexError: an id that the vocabulary does not have.
        """
        return UNSEEN if number == UNK else self.vocabulary.decode([number])

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; :meth:`from_json` gives equal units."""
        return {
            "vocabulary": self.vocabulary.to_json(),
            "case": self.case,
            "punctuation": self.punctuation,
        }

    @classmethod
    def from_json(cls, value: Any) -> Tokenizer:
        """The units that :meth:`to_json` wrote, checked: they may come from a stranger.

        Raises:
            CheckpointError: anything missing, surplus, of the wrong type, or out of its limits.
        """
        if not isinstance(value, dict) or set(value) != {"vocabulary", "case", "punctuation"}:
            raise CheckpointError("units: expected vocabulary, case and punctuation")
        units = cls(Vocabulary.from_json(value["vocabulary"]))
        try:
            _check(units.kind, value["case"], value["punctuation"])
        except SettingError as fault:
            raise CheckpointError(f"units: {fault}") from None
        return replace(units, case=value["case"], punctuation=value["punctuation"])


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
    """The units of ``lines``, and one line for people: how many, and what they leave out.

    ``lines`` is gone through twice and never kept, so it must start again at each ``for``. Symbols
    stand in the order of their counts, then of their code points: at most ``limit``, each seen at
    least ``min_count`` times; a symbol of more than ``LONGEST_SYMBOL`` characters counts as unseen.
    Subwords and BPE have ``subword_size`` pieces instead, learnt from ``MOST_TEXTS`` lines at most,
    drawn by ``seed``.

    Raises:
        SettingError: an unknown kind, case, punctuation or form, or small letters without words.
        MissingExtraError: grapheme clusters without the package ``regex``.
    """
    _check(kind, case, punctuation)
    if form not in ("auto", *FORMS):
        raise SettingError(f"form is '{form}', expected one of auto, {', '.join(FORMS)}")
    sample = _sample(lines, MOST_TEXTS if kind in SUBWORDS else FORM_TEXTS, seed)
    form, written, why = choose_form(sample, form)
    cut = "spaced" if kind == "words" else kind
    draft = Tokenizer(Vocabulary(cut, form, written, ()), case, punctuation)
    if kind in SUBWORDS:
        normal = [normalise(text, form) for text in sample]
        model = SUBWORDS[kind]
        pieces, numbers = subwords.train(normal, size=subword_size, seed=seed, model=model)
        symbols, scores = tuple(pieces), tuple(numbers)
        how = f"{len(symbols):,} pieces ({model}), none is {UNSEEN}"
    else:
        symbols, how = _count(lines, draft, min(limit, MOST_SYMBOLS), min_count)
        scores = ()
    vocabulary = replace(draft.vocabulary, symbols=symbols, scores=scores)
    return replace(draft, vocabulary=vocabulary), f"{how}; Unicode form {form} ({why})"


def encode(lines: Iterable[str], units: Tokenizer) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The ids of all lines in one row, 4 bytes each, and where each line starts.

    Line i is ``ids[offsets[i]:offsets[i + 1]]``, without BOS and EOS; N lines have N + 1 offsets.
    Only the ids are kept in memory, not the text.
    """
    ids, offsets = array("i"), array("q", [0])
    for line in lines:
        ids.extend(units.encode(line))
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
    """All parts of the lines in their order, or ``most`` of them, each with the same chance."""
    rng = random.Random(seed)
    kept: list[str] = []
    parts = (part for line in lines for part in subwords.parts(line))
    for number, part in enumerate(parts):
        if number < most:
            kept.append(part)
        elif (place := rng.randrange(number + 1)) < most:
            kept[place] = part
    return kept


def _count(
    lines: Iterable[str], draft: Tokenizer, limit: int, min_count: int
) -> tuple[tuple[str, ...], str]:
    """The symbols of the lines by their counts, and what that leaves out, for people."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(draft.words(line) if draft.kind == "words" else draft.vocabulary.split(line))
    seen = [s for s, n in counts.items() if n >= min_count and len(s) <= LONGEST_SYMBOL]
    kept = sorted(seen, key=lambda symbol: (-counts[symbol], symbol))[:limit]
    unseen = 1 - sum(counts[symbol] for symbol in kept) / max(1, counts.total())
    times = "once" if min_count == 1 else f"{min_count} times"
    first = "the first " if len(kept) < len(seen) else ""
    how = f"{first}{len(kept):,} {draft.kind} seen at least {times}, of {len(counts):,}"
    return tuple(kept), f"{how}; {100 * unseen:.1f} % of the text is {UNSEEN}"


def _split(text: str) -> list[str]:
    """Words and signs. The rules see one letter for each character, its shape."""
    shape = _part_quotes(text.translate(_SHAPES))
    return [text[found.start() : found.end()] for found in _WORD.finditer(shape)]


def _part_quotes(shape: str) -> str:
    """The same with each ' ‘ ’ that opens or closes a quotation as a sign of its own, p."""
    opened: set[str] = set()
    marks = list(shape)
    for found in _QUOTE.finditer(shape):
        sign, kind = found[0], "'" if found[0] == "'" else "<"
        before = shape[found.start() - 1] if found.start() else " "
        after = shape[found.end()] if found.end() < len(shape) else " "
        closes = kind in opened and before != " " and after not in _LETTERS
        if closes or (
            kind not in opened and sign != ">" and before not in _LETTERS and after != " "
        ):
            opened ^= {kind}
            marks[found.start()] = "p"
    return "".join(marks)


def _join(words: Iterable[str]) -> str:
    text: list[str] = []
    opened: set[str] = set()
    close = True
    for word in words:
        before, after = _closeness(word)
        if word in _TWO_SIDED:
            before, after = word in opened, word not in opened
            opened ^= {word}
        text += [word] if close or before else [" ", word]
        close = after
    return "".join(text)


def _closeness(word: str) -> tuple[bool, bool]:
    """Whether no space stands before a word, and none after it."""
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
