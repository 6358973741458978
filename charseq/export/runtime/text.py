"""Texts <-> ids of an exported model: Unicode forms, symbols, features, words.

The rules are those of ``charseq.data.text``, for the kinds of symbols that are exported.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = 4
DOTTED_CIRCLE = "\u25cc"
MAX_FEATURE_DEPTH = 16
BRACKETS = "(", ")"


def normalise(text: str, form: Any) -> str:
    """``text`` in the Unicode form NFC, NFD, NFKC or NFKD; unchanged for ``none``."""
    return text if form == "none" or text.isascii() else unicodedata.normalize(form, text)


class Vocabulary:
    """The symbols and features of one side; see ``charseq.data.text.vocabulary``."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.kind: str = fields["kind"]
        self.form: str = fields["form"]
        self.written: str = fields["written"]
        self.symbols: list[str] = fields["symbols"]
        self.features: list[str] = fields["features"]
        self.separator: str = fields["feature_separator"]
        self.spaced = self.kind in ("spaced", "decomposed")
        self.ids = {symbol: number for number, symbol in enumerate(self.symbols, SPECIALS)}
        first = SPECIALS + len(self.symbols)
        self.feature_ids = {name: number for number, name in enumerate(self.features, first)}
        self._spellings = [""] * SPECIALS + self.symbols + [""] * len(self.features)
        self._marks = {one for one in self.symbols if len(one) == 2 and DOTTED_CIRCLE in one}

    def split(self, text: str) -> list[str]:
        """Text -> its symbols, known or not."""
        text = normalise(text, self.form)
        if self.kind == "characters":
            return list(text)
        if self.kind == "graphemes":
            import regex  # the one package that only some models need

            return list(regex.findall(r"\X", text))
        pieces = [piece for piece in text.split(" ") if piece]
        if self.kind == "spaced":
            return pieces
        return [symbol for piece in pieces for symbol in self._split_marks(piece)]

    def encode(
        self, text: str, features: str = "", *, ended: bool = False, backward: bool = False
    ) -> list[int]:
        """The ids of ``text``, then those of ``features``, with EOS between if ``ended``."""
        ids = [self.ids.get(symbol, UNK) for symbol in self.split(text)]
        if backward:
            ids.reverse()
        if ended:
            ids.append(EOS)
        if features:
            ids += [self.feature_ids.get(one, UNK) for one in self.split_features(features)]
        return ids

    def unknown(self, text: str, features: str = "") -> list[str]:
        """Unknown symbols, then unknown features; each once, in order."""
        found = [symbol for symbol in self.split(text) if symbol not in self.ids]
        if features:
            parts = self.split_features(features)
            found += [one for one in parts if one not in self.feature_ids]
        return list(dict.fromkeys(found))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids``; specials and features give none."""
        spellings = [spelling for one in ids if (spelling := self._spellings[one])]
        text = (" " if self.spaced else "").join(spellings)
        if self.kind == "decomposed":
            text = f" {text} ".replace(" " + DOTTED_CIRCLE, "").replace(DOTTED_CIRCLE + " ", "")
            text = text.strip(" ")
        return normalise(text, self.written)

    def key(self, text: str, features: str) -> str:
        """Source and features as the memory names them."""
        parts = self.split_features(features) if features else []
        return f"{normalise(text, self.form)}\t{self.separator.join(parts)}"

    def split_features(self, features: str) -> list[str]:
        """The features of one cell in order; each nested one has the path of its brackets."""
        text = normalise(features, "NFC")
        plain = [part for piece in text.split(self.separator) if (part := piece.strip(" "))]
        return (_nested(text, self.separator) if "(" in text else None) or plain

    def _split_marks(self, phone: str) -> list[str]:
        """A phone -> the marks at its beginning, its letter, and the marks at its end."""
        first, last = 0, len(phone)
        while last > 1 and DOTTED_CIRCLE + phone[last - 1] in self._marks:
            last -= 1
        while first < last - 1 and phone[first] + DOTTED_CIRCLE in self._marks:
            first += 1
        before = [mark + DOTTED_CIRCLE for mark in phone[:first]]
        return [*before, phone[first:last], *(DOTTED_CIRCLE + mark for mark in phone[last:])]


def _nested(text: str, separator: str) -> list[str] | None:
    """The features of a cell with brackets; None where these are unpaired or empty."""
    found: list[str] = []
    path: list[str] = []
    name, before = "", ""
    for cut in re.split(f"([(),]|{re.escape(separator)})", text):
        if cut == BRACKETS[0]:
            if before == BRACKETS[1] or len(path) == MAX_FEATURE_DEPTH:
                return None
            path.append(name)
            name, before = "", cut
        elif cut in (BRACKETS[1], separator) or (cut == "," and path):
            closes = cut == BRACKETS[1]
            if closes and (not path or (before == BRACKETS[0] and not name)):
                return None
            found += ["(".join([*path, name]) + ")" * len(path)] if name else []
            if closes:
                path.pop()
            name, before = "", cut
        elif cut.strip(" "):
            if before == BRACKETS[1]:
                return None
            name += cut.strip(" ")
    if path:
        return None
    return [*found, name] if name else found


# --- words of a language model

_LETTERS = frozenset("w0mz")
_QUOTE = re.compile("['<>]")
_WORD = re.compile(
    r"(?:wm*\.){2,}(?:-[w0mz]+)*"
    r"|-{2,}|\.{2,}"
    r"|s[smz]*"
    r"|['>-]?[w0mz]+(?:(?:['>&.-]|(?<=0):(?=0))[w0mz]+)*(?:['>]|-(?!-))?"
    r"|[^ ]"
)
_AFTER = frozenset(".,?!;:%\u2026\u00b0\u060c\u061f\u061b\u06d4\u0964\u0965\u0589")
_BEFORE = frozenset("#\u00bf\u00a1")
_BETWEEN = frozenset(("/", "\u2014", "--"))
_SIGNS = {
    "'": "'", "\u2019": ">", "\u2018": "<", "-": "-", "\u2010": "-", "\u2011": "-", ".": ".",
    ",": ":", ":": ":", "/": ":", "\u2013": ":", "&": "&", "@": "&", "_": "w", "\u200d": "z",
    "^": "p", "`": "p",
}  # fmt: skip
_CLASSES = {"L": "w", "M": "m", "N": "0", "P": "p", "S": "p"}


class Tokenizer:
    """A vocabulary and rules for words; see ``charseq.data.text.tokenizer``."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.vocabulary = Vocabulary(fields["vocabulary"])
        self.has_words = self.vocabulary.kind == "spaced"
        self._lower = fields["case"] == "lower"
        self._splits = fields["punctuation"] == "split"

    def words(self, text: str) -> list[str]:
        """The words of a line, known or not."""
        text = normalise(text, self.vocabulary.form)
        if self._lower:
            text = normalise(text.lower(), self.vocabulary.form)
        if not self._splits:
            return text.split()
        classes = _separate_quotes("".join(map(_class_of, text)))
        return [text[found.start() : found.end()] for found in _WORD.finditer(classes)]

    def encode(self, text: str) -> list[int]:
        """The ids of a line; UNK for unknown symbols."""
        if not self.has_words:
            return self.vocabulary.encode(text)
        return [self.vocabulary.ids.get(word, UNK) for word in self.words(text)]

    def unknown(self, text: str) -> list[str]:
        """The unknown symbols of a line; each once, in order."""
        parts = self.words(text) if self.has_words else self.vocabulary.split(text)
        return list(dict.fromkeys(one for one in parts if one not in self.vocabulary.ids))

    def append(self, text: str, word: str) -> str:
        """``text`` with one more word, spaces set as the rules want them."""
        if not self.has_words:
            return f"{text.rstrip()} {word}" if text.strip() else f"{text}{word}"
        words = self.words(text)
        return text.rstrip() + self._join([*words, word])[len(self._join(words)) :]

    def _join(self, words: Sequence[str]) -> str:
        """Words -> text; there is no space between a sign and its word."""
        if not self._splits:
            return " ".join(words)
        text: list[str] = []
        opened: set[str] = set()
        attached = True
        for word in words:
            before, after = _attachment(word)
            if word in ('"', "'"):
                before, after = word in opened, word not in opened
                opened ^= {word}
            text += [word] if attached or before else [" ", word]
            attached = after
        return "".join(text)


def _class_of(sign: str) -> str:
    """The letter of a character's class, on which the rules for words are expressions."""
    category = unicodedata.category(sign)
    found = " " if sign.isspace() else _CLASSES.get(category[0], "w")
    return _SIGNS.get(sign, "s" if category in ("So", "Sk") else found)


def _separate_quotes(classes: str) -> str:
    """The classes with p for each quotation mark that opens or closes a quotation."""
    opened: set[str] = set()
    marks = list(classes)
    for found in _QUOTE.finditer(classes):
        sign, kind = found[0], "'" if found[0] == "'" else "<"
        before = classes[found.start() - 1] if found.start() else " "
        after = classes[found.end()] if found.end() < len(classes) else " "
        closes = kind in opened and before != " " and after not in _LETTERS
        opens = kind not in opened and sign != ">" and before not in _LETTERS and after != " "
        if closes or opens:
            opened ^= {kind}
            marks[found.start()] = "p"
    return "".join(marks)


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
