"""Texts <-> symbols <-> ids: the vocabulary of one side of the pairs, source or target.

A :class:`Vocabulary` has all that is needed to read and write texts (Unicode form, symbols, scores
of subwords) and is stored as JSON. The ids of a side are::

    0 PAD   1 BOS   2 EOS   3 UNK   4 ... symbols ...   then the features of the source side

    text  --normalise-->  text in `form`  --split-->  symbols  --index-->  ids
    ids   --symbols-->  concatenated (spaced: joined by one space)  --normalise-->  `written` form

Of several Unicode spellings of a text, the model learns the one in `form`, and outputs have the one
in `written`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

from charseq.data.text import phones, subwords
from charseq.data.text.features import split_features
from charseq.data.text.normalise import choose_form, choose_kind, normalise
from charseq.data.text.subwords import BYTES, SPACE_MARK
from charseq.errors import CheckpointError, MissingExtraError, SettingError

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = 4
KINDS = ("characters", "graphemes", "spaced", "decomposed", "subwords", "bpe")
SPACED = ("spaced", "decomposed")
"""Kinds for phones between spaces; decomposed, their marks are symbols of their own."""
SUBWORDS = {"subwords": "unigram", "bpe": "bpe"}
"""Kinds whose symbols sentencepiece learns -> its type of model."""
FORMS = ("NFC", "NFD", "NFKC", "NFKD", "none")
WRITTEN = ("NFC", "NFD", "none")

MAX_SYMBOLS = 1_000_000
"""Symbols of a stored vocabulary."""
MAX_SUBWORDS = 200_000
"""Subwords of a stored vocabulary: twice the largest setting. They are loaded within a second."""
MAX_SYMBOL_LENGTH = 1000
"""Characters of a symbol."""
_SURROGATES = re.compile("[\ud800-\udfff]")
MAX_SCORE = 1e6
"""Bound of the absolute scores of subwords."""


@dataclass(frozen=True)
class Vocabulary:
    """The symbols and features of one side; see :func:`build` and :meth:`from_json`."""

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
        """Text -> its symbols in the Unicode form ``form``, known or not.

        Raises:
            MissingExtraError: grapheme clusters without the package ``regex``.
        """
        if self.kind == "decomposed":
            marks = self._marks
            return [s for phone in self.pieces(text) for s in phones.split_marks(phone, marks)]
        return self.pieces(text)

    @property
    def piece_kind(self) -> str:
        """The kind of the units of the symbol error rate: whole phones for ``decomposed``."""
        return "spaced" if self.kind == "decomposed" else self.kind

    def pieces(self, text: str) -> list[str]:
        """Text -> the units of the symbol error rate: its symbols, but phones with their marks.

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
        """The ids of ``text``, then those of ``features``; UNK for unknown symbols, no BOS.

        ``ended``: EOS stands between them, as hard attention needs it in a source. ``backward``:
        the ids of the text, not of the features, are in reverse order.
        """
        if self.kind in SUBWORDS:
            ids = self._subword_ids(normalise(text, self.form))
        else:
            ids = self.symbol_ids(self.split(text))
        if backward:
            ids.reverse()
        if ended:
            ids.append(EOS)
        if features:
            ids += [self._feature_index.get(f, UNK) for f in self.split_features(features)]
        return ids

    def symbol_ids(self, symbols: Iterable[str]) -> list[int]:
        """The ids of symbols, which are in ``form`` already; UNK for unknown symbols."""
        index = self._index
        return [index.get(symbol, UNK) for symbol in symbols]

    def unknown(self, text: str, features: str = "") -> list[str]:
        """Unknown symbols, then unknown features; each once, in order."""
        found: list[str] = []
        if self.kind not in SUBWORDS:
            found += [s for s in self.split(text) if s not in self._index]
        if features:
            parts = self.split_features(features)
            found += [f for f in parts if f not in self._feature_index]
        return list(dict.fromkeys(found))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids`` in the form ``written``. Specials and features give no text.

        Raises:
            IndexError: an id outside of the vocabulary.
        """
        if self.kind in SUBWORDS:
            table = self.subword_bytes
            text = b"".join(table[i] for i in ids).decode("utf-8", errors="replace")
        elif self.kind == "spaced":
            spellings = self._spellings
            text = " ".join([s for i in ids if (s := spellings[i])])
        elif self.kind == "decomposed":
            spellings = self._spellings
            text = phones.join_marks(s for i in ids if (s := spellings[i]))
        else:
            spellings = self._spellings
            text = "".join([spellings[i] for i in ids])
        return normalise(text, self.written)

    def extended(self, other: Vocabulary) -> Vocabulary:
        """This vocabulary with the missing symbols and features of ``other`` at its end.

        Subwords are not extended: their bytes can encode any text.
        """
        if self.kind in SUBWORDS:
            return self
        return replace(
            self,
            symbols=tuple(dict.fromkeys(self.symbols + other.symbols)),
            features=tuple(dict.fromkeys(self.features + other.features)),
        )

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as JSON values; :meth:`from_json` gives an equal one."""
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
        """The vocabulary of :meth:`to_json`; all values are checked, as they may be malicious.

        Raises:
            CheckpointError: a value is missing, unexpected, of a wrong type, or beyond its limit.
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
        """The features of one cell in order, known or not."""
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
    def subword_bytes(self) -> tuple[bytes, ...]:
        """The bytes that each id of a vocabulary of subwords writes."""
        raw = [bytes([byte]) for byte in range(len(BYTES))]
        pieces = [s.replace(SPACE_MARK, " ").encode() for s in self.symbols[len(BYTES) :]]
        return (b"",) * SPECIALS + (*raw, *pieces) + (b"",) * len(self.features)

    @cached_property
    def _clusters(self) -> Any:
        try:
            import regex
        except ImportError:
            raise MissingExtraError("regex", "cutting text into graphemes") from None
        return regex.compile(r"\X")

    @cached_property
    def _processor(self) -> Any:
        try:
            return subwords.build_processor(self.symbols, self.scores, model=SUBWORDS[self.kind])
        except ValueError as error:
            raise CheckpointError(f"vocabulary: the subwords do not load ({error})") from None

    @cached_property
    def _unmarked(self) -> re.Pattern[str]:
        """Matches what sentencepiece would confuse: its mark for spaces, and unknown spaces."""
        return re.compile(f"({SPACE_MARK})" if SPACE_MARK in self.symbols else f"([{SPACE_MARK} ])")

    def _subword_ids(self, text: str) -> list[int]:
        # Id 0 of the processor is its unknown symbol, which does not occur with byte pieces.
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
    outputs: bool = False,
) -> tuple[Vocabulary, str]:
    """The vocabulary of a side, and a line for people with the kind and the form, and why.

    Symbols and features are sorted by their counts, then by their code points.

    Args:
        texts: all texts of the side.
        kind: kind of symbols, one of ``KINDS``, or auto.
        form: Unicode form, one of ``FORMS``, or auto.
        features: the cell of each row that has features.
        feature_separator: separates the features of a cell.
        min_count: least number of occurrences of a symbol; subwords ignore it.
        subword_size: number of subwords.
        seed: of the sample that subwords are learnt from.
        outputs: whether the texts are targets, whose Unicode form outputs should have.

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
    form, written, form_why = choose_form(texts, form, apart=kind == "decomposed", outputs=outputs)
    parts: Counter[str] = Counter()
    for row, count in Counter(features).items():
        for part in split_features(normalise(row, "NFC"), feature_separator):
            parts[part] += count
    draft = Vocabulary(kind, form, written, (), tuple(_ranked(parts)), feature_separator)
    made, long = _fill(draft, texts, min_count, subword_size, seed)
    left_out = f"; {long:,} symbols of more than {MAX_SYMBOL_LENGTH:,} characters are unknown"
    return made, f"{kind} ({why}), Unicode form {form} ({form_why}){left_out if long else ''}"


def _fill(
    draft: Vocabulary, texts: Sequence[str], min_count: int, size: int, seed: int
) -> tuple[Vocabulary, int]:
    """``draft`` with the symbols of ``texts``, and the number of those that are too long."""
    if draft.kind in SUBWORDS:
        normal = [normalise(text, draft.form) for text in texts]
        pieces, scores = subwords.train(normal, size=size, seed=seed, model=SUBWORDS[draft.kind])
        return replace(draft, symbols=tuple(pieces), scores=tuple(scores)), 0
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(draft.pieces(text))
    if draft.kind == "decomposed":
        counts = phones.count_symbols(counts)
    seen = [s for s in _ranked(counts) if counts[s] >= min_count]
    kept = [s for s in seen if len(s) <= MAX_SYMBOL_LENGTH]  # from_json refuses longer symbols
    return replace(draft, symbols=tuple(kept)), len(seen) - len(kept)


def _ranked(counts: Counter[str]) -> list[str]:
    """Symbols by their counts, then by their code points."""
    return sorted(counts, key=lambda symbol: (-counts[symbol], symbol))


def _invalid(fault: str) -> CheckpointError:
    return CheckpointError(f"vocabulary: {fault}")


def _fields(value: Any) -> Mapping[str, Any]:
    expected = ["kind", "form", "written", "symbols", "features", "feature_separator", "scores"]
    if not isinstance(value, dict):
        raise _invalid(f"found {type(value).__name__}, expected an object")
    for name in expected:
        if name not in value:
            raise _invalid(f"'{name}' is missing")
    for name in value:
        if name not in expected:
            raise _invalid(f"'{name!s:.40}' is not a field of it")
    return value


def _choice(fields: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = fields[name]
    if not isinstance(value, str) or value not in choices:
        raise _invalid(f"{name} is {value!r:.40}, expected one of {', '.join(choices)}")
    return value


def _texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of distinct, non-empty texts that UTF-8 can encode."""
    values = fields[name]
    if not isinstance(values, list) or len(values) > MAX_SYMBOLS:
        raise _invalid(f"{name} is not a list of at most {MAX_SYMBOLS} texts")
    if _are_texts(values):
        return tuple(values)
    seen: set[str] = set()
    for number, text in enumerate(values):
        if not isinstance(text, str):
            raise _invalid(f"{name}[{number}] is {text!r:.40}, expected text")
        if not 0 < len(text) <= MAX_SYMBOL_LENGTH or _SURROGATES.search(text):
            raise _invalid(
                f"{name}[{number}] is empty, too long or not Unicode text: it has {len(text):,} "
                f"characters, expected 1 to {MAX_SYMBOL_LENGTH:,}, and begins with {text[:20]!a}"
            )
        if text in seen:
            raise _invalid(f"{name}[{number}] {text!r:.40} stands there twice")
        seen.add(text)
    return tuple(values)


def _are_texts(values: list[Any]) -> bool:
    """Whether all is well with a list of texts: a quick answer for a million of them."""
    try:
        whole = "".join(values)
    except TypeError:
        return False
    if len(set(values)) < len(values) or _SURROGATES.search(whole):
        return False
    return "" not in values and max(map(len, values), default=0) <= MAX_SYMBOL_LENGTH


def _separator(fields: Mapping[str, Any]) -> str:
    value = fields["feature_separator"]
    if not isinstance(value, str) or not 0 < len(value) <= MAX_SYMBOL_LENGTH:
        raise _invalid(f"feature_separator is {value!r:.40}, expected text")
    return value


def _scores(fields: Mapping[str, Any]) -> tuple[float, ...]:
    values = fields["scores"]
    if not isinstance(values, list) or len(values) > MAX_SYMBOLS:
        raise _invalid(f"scores is not a list of at most {MAX_SYMBOLS} numbers")
    for number, score in enumerate(values):
        # Larger numbers could overflow in sentencepiece. NaN fails the comparison, too.
        if type(score) not in (int, float) or not abs(score) < MAX_SCORE:
            raise _invalid(f"scores[{number}] is {score!r:.40}, expected a number")
    return tuple(float(score) for score in values)


def _check_kind(vocabulary: Vocabulary) -> None:
    """Check the symbols and scores by the rules of their kind."""
    symbols, scores = vocabulary.symbols, vocabulary.scores
    if vocabulary.kind == "characters" and any(len(symbol) != 1 for symbol in symbols):
        raise _invalid("a symbol of several characters, where the kind is characters")
    if vocabulary.kind in SPACED and any(" " in symbol for symbol in symbols):
        raise _invalid("a symbol holds a space, where spaces stand between symbols")
    if vocabulary.kind == "decomposed" and any(
        phones.DOTTED_CIRCLE in symbol and not phones.is_mark(symbol) for symbol in symbols
    ):
        raise _invalid("a symbol is neither a phone nor a mark beside a dotted circle")
    if vocabulary.kind not in SUBWORDS:
        if scores:
            raise _invalid(f"scores are for subwords, the kind is {vocabulary.kind}")
        return
    if len(scores) != len(symbols):
        raise _invalid(f"{len(scores)} scores for {len(symbols)} subwords")
    after = symbols[len(BYTES) :]
    if symbols[: len(BYTES)] != BYTES or not after or any("\0" in symbol for symbol in after):
        raise _invalid("the subwords are not the 256 bytes and pieces without NUL after them")
    if len(symbols) > MAX_SUBWORDS or subwords.UNKNOWN in after:
        raise _invalid(f"more than {MAX_SUBWORDS:,} subwords, or {subwords.UNKNOWN} among them")
