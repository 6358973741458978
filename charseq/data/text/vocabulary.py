"""text <-> symbols <-> ids: what counts as one symbol, and its number.

One :class:`Vocabulary` serves one side, source or target. It knows no files, no tensors and no
models; everything it needs to read and write text (Unicode form, inventory, subword scores)
travels with it as JSON. The ids of a side are::

    0 PAD   1 BOS   2 EOS   3 UNK   4 ... symbols ...   then, on the source side, features

    text  --normalise-->  text in `form`  --split-->  symbols  --index-->  ids
    ids   --symbols-->  concatenated (spaced: joined by one space)  --normalise-->  `written` form

Of several spellings of the same letters, `form` is the one that is learnt, `written` the one that
is given back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

from charseq.data.text import phones, subwords
from charseq.data.text.normalise import choose_form, choose_kind, normalise
from charseq.data.text.subwords import BYTES, SPACE_MARK
from charseq.errors import CheckpointError, MissingExtraError, SettingError

DEEPEST_FEATURE = 16


def split_features(text: str, separator: str = ";") -> list[str]:
    """The features of one row, in order; nested tags become paths, so that parts are shared.

    ``V;NOM(3,SG)`` gives ``V``, ``NOM(3)``, ``NOM(SG)``. Inside brackets a comma separates too.
    Text whose brackets do not pair up, or hold nothing, is cut at the separators only.
    """
    plain = [part for piece in text.split(separator) if (part := piece.strip(" "))]
    if "(" not in text:
        return plain
    found: list[str] = []
    path: list[str] = []
    name, before = "", ""
    for cut in re.split(f"([(),]|{re.escape(separator)})", text):
        if cut == "(":
            if before == ")" or len(path) == DEEPEST_FEATURE:
                return plain
            path.append(name)
            name, before = "", cut
        elif cut in (")", separator) or (cut == "," and path):
            if cut == ")" and (not path or (before == "(" and not name)):
                return plain
            if name:
                found.append("(".join([*path, name]) + ")" * len(path))
            if cut == ")":
                path.pop()
            name, before = "", cut
        elif cut.strip(" "):
            if before == ")":
                return plain
            name += cut.strip(" ")
    if path:
        return plain
    return [*found, name] if name else found


PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = 4
KINDS = ("characters", "graphemes", "spaced", "parts", "subwords", "bpe")
SPACED = ("spaced", "parts")
"""Kinds whose phones stand between spaces; with parts, marks on them are symbols of their own."""
SUBWORDS = {"subwords": "unigram", "bpe": "bpe"}
"""Kinds whose symbols sentencepiece learns, and its name for them."""
FORMS = ("NFC", "NFD", "NFKC", "NFKD", "none")
WRITTEN = ("NFC", "NFD", "none")

MOST_SYMBOLS = 1_000_000
LONGEST_SYMBOL = 1000
LARGEST_SCORE = 1e6


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of one side. Made by :func:`build` or :meth:`from_json`."""

    kind: str
    form: str
    written: str
    symbols: tuple[str, ...]
    features: tuple[str, ...] = ()
    feature_separator: str = ";"
    scores: tuple[float, ...] = ()

    def __len__(self) -> int:
        """The number of ids: specials, symbols and features."""
        return SPECIALS + len(self.symbols) + len(self.features)

    def split(self, text: str) -> list[str]:
        """``text`` in the side's Unicode form, cut into symbols, seen or not.

        Raises:
            MissingExtraError: grapheme clusters without the package ``regex``.
        """
        if self.kind == "parts":
            marks = self._marks
            return [symbol for phone in self.pieces(text) for symbol in phones.cut(phone, marks)]
        return self.pieces(text)

    @property
    def piece_kind(self) -> str:
        """The kind of what errors are counted in."""
        return "spaced" if self.kind == "parts" else self.kind

    def pieces(self, text: str) -> list[str]:
        """What the errors of ``text`` are counted in: its symbols, but phones with their marks.

        Raises:
            MissingExtraError: as :meth:`split`.
        """
        text = normalise(text, self.form)
        if self.kind == "characters":
            return list(text)
        if self.kind in SPACED:
            return [piece for piece in text.split(" ") if piece]
        if self.kind == "graphemes":
            return cast("list[str]", self._clusters.findall(text))
        return [self.symbols[i - SPECIALS] for i in self._subword_ids(text)]

    def encode(
        self, text: str, features: str = "", *, ended: bool = False, backward: bool = False
    ) -> list[int]:
        """The ids of ``text``, then those of ``features``; UNK for the unseen, no BOS.

        EOS stands between them only if ``ended``, which hard attention wants of a source. With
        ``backward`` the text, not the features, is read from its end.
        """
        if self.kind in SUBWORDS:
            ids = self._subword_ids(normalise(text, self.form))
        else:
            ids = self.number(self.split(text))
        if backward:
            ids.reverse()
        if ended:
            ids.append(EOS)
        if features:
            ids += [self._feature_index.get(f, UNK) for f in self.split_features(features)]
        return ids

    def number(self, symbols: Iterable[str]) -> list[int]:
        """The ids of symbols that are cut already and in the side's form; UNK for the unseen."""
        index = self._index
        return [index.get(symbol, UNK) for symbol in symbols]

    def unknown(self, text: str, features: str = "") -> list[str]:
        """Symbols, then features, that the side has never seen: each once, in order."""
        unseen: list[str] = []
        if self.kind not in SUBWORDS:
            unseen += [s for s in self.split(text) if s not in self._index]
        if features:
            parts = self.split_features(features)
            unseen += [f for f in parts if f not in self._feature_index]
        return list(dict.fromkeys(unseen))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids`` in the ``written`` form. Specials and features say nothing.

        Raises:
            IndexError: an id that the side does not have.
        """
        if self.kind in SUBWORDS:
            table = self._subword_bytes
            text = b"".join(table[i] for i in ids).decode("utf-8", errors="replace")
        elif self.kind == "spaced":
            spellings = self._spellings
            text = " ".join([s for i in ids if (s := spellings[i])])
        elif self.kind == "parts":
            spellings = self._spellings
            text = phones.join(s for i in ids if (s := spellings[i]))
        else:
            spellings = self._spellings
            text = "".join([spellings[i] for i in ids])
        return normalise(text, self.written)

    def extended(self, other: Vocabulary) -> Vocabulary:
        """This side with the symbols and features of ``other`` that it lacks behind its own.

        Subwords stay as they are: what they have not seen, their bytes spell.
        """
        if self.kind in SUBWORDS:
            return self
        return replace(
            self,
            symbols=tuple(dict.fromkeys(self.symbols + other.symbols)),
            features=tuple(dict.fromkeys(self.features + other.features)),
        )

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; :meth:`from_json` gives an equal vocabulary."""
        return {
            "kind": self.kind,
            "form": self.form,
            "written": self.written,
            "symbols": list(self.symbols),
            "features": list(self.features),
            "feature_separator": self.feature_separator,
            "scores": list(self.scores),
        }

    @classmethod
    def from_json(cls, value: Any) -> Vocabulary:
        """The vocabulary that :meth:`to_json` wrote, checked: it may come from a stranger.

        Raises:
            CheckpointError: anything missing, surplus, of the wrong type, or out of its limits.
        """
        fields = _fields(value)
        kind = _choice(fields, "kind", KINDS)
        vocabulary = cls(
            kind=kind,
            form=_choice(fields, "form", FORMS),
            written=_choice(fields, "written", WRITTEN),
            symbols=_texts(fields, "symbols"),
            features=_texts(fields, "features"),
            feature_separator=_separator(fields),
            scores=_scores(fields),
        )
        _check_kind(vocabulary)
        return vocabulary

    def split_features(self, features: str) -> list[str]:
        """The features of one cell, seen or not, in their order."""
        return split_features(normalise(features, "NFC"), self.feature_separator)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols, SPECIALS)}

    @cached_property
    def _feature_index(self) -> dict[str, int]:
        return {f: i for i, f in enumerate(self.features, SPECIALS + len(self.symbols))}

    @cached_property
    def _marks(self) -> frozenset[str]:
        return frozenset(filter(phones.is_mark, self.symbols))

    @cached_property
    def _spellings(self) -> tuple[str, ...]:
        return ("",) * SPECIALS + self.symbols + ("",) * len(self.features)

    @cached_property
    def _subword_bytes(self) -> tuple[bytes, ...]:
        raw = [bytes([byte]) for byte in range(len(BYTES))]
        pieces = [s.replace(SPACE_MARK, " ").encode() for s in self.symbols[len(BYTES) :]]
        return (b"",) * SPECIALS + (*raw, *pieces) + (b"",) * len(self.features)

    @cached_property
    def _clusters(self) -> Any:
        try:
            import regex
        except ImportError:
            raise MissingExtraError("regex", "unicode", "cutting text into graphemes") from None
        return regex.compile(r"\X")

    @cached_property
    def _processor(self) -> Any:
        try:
            return subwords.processor(self.symbols, self.scores, model=SUBWORDS[self.kind])
        except ValueError as error:
            raise CheckpointError(f"vocabulary: the subwords do not load ({error})") from None

    @cached_property
    def _unmarked(self) -> re.Pattern[str]:
        """Cuts out what sentencepiece would confuse: its mark for a space, and unseen spaces."""
        return re.compile(f"({SPACE_MARK})" if SPACE_MARK in self.symbols else f"([{SPACE_MARK} ])")

    def _subword_ids(self, text: str) -> list[int]:
        # The processor's id 0 is its own unknown, which with byte pieces never comes out.
        ids: list[int] = []
        for part in self._unmarked.split(text):
            if part in (SPACE_MARK, " "):
                ids += [SPECIALS + byte for byte in part.encode()]
            elif part:
                ids += [i + SPECIALS - 1 for i in self._processor.encode(part)]
        return ids


def build(
    texts: Iterable[str],
    *,
    kind: str = "auto",
    form: str = "auto",
    features: Iterable[str] = (),
    feature_separator: str = ";",
    min_count: int = 1,
    subword_size: int = 1000,
    seed: int = 1,
) -> tuple[Vocabulary, str]:
    """The vocabulary of a side, and one line for people: how symbols are told apart, and why.

    ``features`` are strings as they stand in the rows, one a row, not cut yet.
    Symbols and features stand in the order of their counts, then of their code points.
    ``min_count`` does not touch subwords: what they have not seen, their bytes spell.

    Raises:
        SettingError: an unknown kind or form, or an empty separator.
        MissingExtraError: grapheme clusters without the package ``regex``.
    """
    if kind not in ("auto", *KINDS) or form not in ("auto", *FORMS) or not feature_separator:
        raise SettingError(f"symbols '{kind}', form '{form}', separator '{feature_separator}'")
    texts = texts if isinstance(texts, Sequence) else list(texts)
    why = "as set"
    if kind == "auto":
        kind, why = choose_kind(texts)
    form, written, form_why = choose_form(texts, form, apart=kind == "parts")
    parts: Counter[str] = Counter()
    for row, count in Counter(features).items():
        for part in split_features(normalise(row, "NFC"), feature_separator):
            parts[part] += count
    draft = Vocabulary(kind, form, written, (), tuple(_ranked(parts)), feature_separator)
    made = _fill(draft, texts, min_count, subword_size, seed)
    return made, f"{kind} ({why}), Unicode form {form} ({form_why})"


def _fill(
    draft: Vocabulary, texts: Sequence[str], min_count: int, size: int, seed: int
) -> Vocabulary:
    """``draft`` with the symbols of ``texts``."""
    if draft.kind in SUBWORDS:
        normal = [normalise(text, draft.form) for text in texts]
        pieces, scores = subwords.train(normal, size=size, seed=seed, model=SUBWORDS[draft.kind])
        return replace(draft, symbols=tuple(pieces), scores=tuple(scores))
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(draft.pieces(text))
    if draft.kind == "parts":
        counts = phones.count(counts)
    # A longer symbol would make a checkpoint that from_json refuses.
    kept = [s for s in _ranked(counts) if counts[s] >= min_count and len(s) <= LONGEST_SYMBOL]
    return replace(draft, symbols=tuple(kept))


def _ranked(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda symbol: (-counts[symbol], symbol))


def _bad(what: str) -> CheckpointError:
    return CheckpointError(f"vocabulary: {what}")


def _fields(value: Any) -> Mapping[str, Any]:
    expected = ["kind", "form", "written", "symbols", "features", "feature_separator", "scores"]
    if not isinstance(value, dict):
        raise _bad(f"found {type(value).__name__}, expected an object")
    for name in expected:
        if name not in value:
            raise _bad(f"'{name}' is missing")
    for name in value:
        if name not in expected:
            raise _bad(f"'{name!s:.40}' is not a field of it")
    return value


def _choice(fields: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = fields[name]
    if not isinstance(value, str) or value not in choices:
        raise _bad(f"{name} is {value!r:.40}, expected one of {', '.join(choices)}")
    return value


def _texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of different, non-empty texts that can be written as UTF-8."""
    values = fields[name]
    if not isinstance(values, list) or len(values) > MOST_SYMBOLS:
        raise _bad(f"{name} is not a list of at most {MOST_SYMBOLS} texts")
    seen: set[str] = set()
    for number, text in enumerate(values):
        if not isinstance(text, str):
            raise _bad(f"{name}[{number}] is {text!r:.40}, expected text")
        if not 0 < len(text) <= LONGEST_SYMBOL or re.search("[\ud800-\udfff]", text):
            raise _bad(f"{name}[{number}] is empty, too long or not Unicode text")
        if text in seen:
            raise _bad(f"{name}[{number}] {text!r:.40} stands there twice")
        seen.add(text)
    return tuple(values)


def _separator(fields: Mapping[str, Any]) -> str:
    value = fields["feature_separator"]
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_SYMBOL:
        raise _bad(f"feature_separator is {value!r:.40}, expected text")
    return value


def _scores(fields: Mapping[str, Any]) -> tuple[float, ...]:
    values = fields["scores"]
    if not isinstance(values, list) or len(values) > MOST_SYMBOLS:
        raise _bad(f"scores is not a list of at most {MOST_SYMBOLS} numbers")
    for number, score in enumerate(values):
        # Larger numbers could overflow inside sentencepiece; a NaN is not below anything.
        if type(score) not in (int, float) or not abs(score) < LARGEST_SCORE:
            raise _bad(f"scores[{number}] is {score!r:.40}, expected a number")
    return tuple(float(score) for score in values)


def _check_kind(vocabulary: Vocabulary) -> None:
    """What a kind asks of its symbols."""
    symbols, scores = vocabulary.symbols, vocabulary.scores
    if vocabulary.kind == "characters" and any(len(symbol) != 1 for symbol in symbols):
        raise _bad("a symbol of several characters, where the kind is characters")
    if vocabulary.kind in SPACED and any(" " in symbol for symbol in symbols):
        raise _bad("a symbol holds a space, where spaces stand between symbols")
    if vocabulary.kind == "parts" and any(
        phones.HOLDER in symbol and not phones.is_mark(symbol) for symbol in symbols
    ):
        raise _bad("a symbol is neither a phone nor a mark beside a dotted circle")
    if vocabulary.kind not in SUBWORDS:
        if scores:
            raise _bad(f"scores are for subwords, the kind is {vocabulary.kind}")
        return
    if len(scores) != len(symbols):
        raise _bad(f"{len(scores)} scores for {len(symbols)} subwords")
    after = symbols[len(BYTES) :]
    if symbols[: len(BYTES)] != BYTES or not after or any("\0" in symbol for symbol in after):
        raise _bad("the subwords are not the 256 bytes and pieces without NUL after them")
