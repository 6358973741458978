"""Unicode normalisation, and the rules of ``auto`` for kinds of symbols and Unicode forms.

``charseq.data.text.vocabulary`` splits texts and numbers symbols by what is chosen here.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, cast

from charseq.data.text import phones

SAMPLE_TEXTS = 5000
"""About the number of texts that are examined."""
MAX_PHONE_LENGTH = 4
"""Letters of a phone, such as AH0 or t͡ʃʰ."""
MAX_PHONES = 400
"""Different phones."""
MIN_MARKED_SHARE = 0.05
"""Share of phones with marks from which marks are symbols of their own."""
FEW_TEXTS = 5000
"""Number of texts from which each letter with its marks can be learnt by itself."""


def normalise(text: str, form: str) -> str:
    """``text`` in the Unicode form NFC, NFD, NFKC or NFKD; unchanged for ``none``."""
    if form == "none" or text.isascii():
        return text
    return unicodedata.normalize(cast("Literal['NFC']", form), text)


def choose_kind(texts: Sequence[str]) -> tuple[str, str]:
    """Texts -> the kind of their symbols, and why.

    ``spaced`` and ``decomposed`` are for phones between single spaces. Nearly all texts must have
    single spaces (a lone phone has none). Then either every piece is one letter; or pieces are
    short, mostly letters (unlike the numbers of a date), several in a text, and of few types
    (unlike words or initials). With ``decomposed``, marks that occur with many letters are symbols
    of their own (see ``phones``): this helps where texts are few, and changes little where they are
    many. All other texts are of ``characters``.
    """
    few = len(texts) < FEW_TEXTS
    texts = _sample(texts)
    spaced = sum(" " in text for text in texts)
    apart = sum(" " in text or len(text) <= MAX_PHONE_LENGTH for text in texts)
    ragged = sum("  " in text or text.strip(" ") != text for text in texts)
    if not spaced or spaced < 0.5 * len(texts) or apart < 0.95 * len(texts):
        return "characters", "the texts are not cut by spaces" if spaced else "no spaces in them"
    pieces = Counter(piece for text in texts for piece in text.split(" ") if piece)
    total = pieces.total()
    lengths = {piece: _letters(piece) for piece in pieces}
    letters = _mean(lengths.__getitem__, pieces)
    facts = f"{total / len(texts):.1f} pieces a text, {letters:.1f} letters each"
    single = _mean(lambda piece: lengths[piece] <= 1, pieces) >= 0.99
    short = (
        letters <= 2.5
        and _mean(lambda piece: lengths[piece] <= MAX_PHONE_LENGTH, pieces) >= 0.99
        and _mean(_spoken, pieces) >= 0.6
        and total >= 3 * len(texts)
        and len(pieces) <= MAX_PHONES
    )
    if ragged > 0.01 * len(texts) or not (single or short):
        return "characters", f"spaces stand between words: {facts}"
    share, marks = _marked(pieces) if few else (0.0, 0)
    if share < MIN_MARKED_SHARE:
        return "spaced", f"phones between spaces: {facts}"
    marked = f"{share:.0%} have some of {marks} marks that stand on many letters"
    return "decomposed", f"phones between spaces: {facts}, {marked}"


def choose_form(
    texts: Sequence[str], form: str, *, apart: bool = False, outputs: bool = False
) -> tuple[str, str, str]:
    """Texts and the setting -> the form of symbols, the form of outputs, and why.

    The form of outputs is that of most of the texts, NFC or NFD. ``outputs``: the texts are
    targets, and outputs are to be like them. Where more of them are in neither form (such as
    letters that no form composes, or marks in another order) than in one alone, ``auto`` is
    ``none``: symbols and outputs stay as they are. ``apart``: marks are symbols of their own.
    """
    if form == "none":
        return "none", "none", "as set"
    every, texts = texts, _sample(texts)
    foreign = [text for text in texts if not text.isascii()]
    composed = ["".join(unicodedata.normalize("NFC", text)) for text in foreign]
    decomposed = sum(
        text != whole and text == unicodedata.normalize("NFD", text)
        for text, whole in zip(foreign, composed, strict=True)
    )
    changed = sum(whole != unicodedata.normalize("NFD", whole) for whole in composed)
    written = "NFD" if 2 * decomposed > changed else "NFC"
    note = ", written back as NFD like the texts" if written == "NFD" else ""
    if outputs:
        neither, either = _count_forms(every)
        if form == "auto" and not apart and neither > either:
            return "none", "none", f"as they are: {neither:,} texts are neither NFC nor NFD"
        note += altered_note(every, written)
    if form != "auto":
        return form, written, "as set" + note
    if apart:
        return "NFD", written, "marks fall apart" + note
    hangul = sum(0xAC00 <= ord(c) <= 0xD7A3 for text in composed for c in text)
    letters = sum(c.isalpha() for text in composed for c in text)
    letters += sum(c.isalpha() for text in texts if text.isascii() for c in text)
    if 2 * hangul > letters:
        return "NFD", written, "Hangul falls apart into jamo" + note
    return "NFC", written, "the default" + note


def altered_note(texts: Iterable[str], written: str) -> str:
    """How many outputs cannot be as the texts are, byte for byte; empty if all can."""
    altered = sum(text != normalise(text, written) for text in texts)
    return f", {altered:,} texts are in another form and come out as {written}" if altered else ""


def _count_forms(texts: Iterable[str]) -> tuple[int, int]:
    """The texts in neither NFC nor NFD, and those in only one of them."""
    neither = either = 0
    for text in texts:
        if not text.isascii():
            forms = sum(unicodedata.is_normalized(form, text) for form in ("NFC", "NFD"))
            neither += forms == 0
            either += forms == 1
    return neither, either


def _marked(pieces: Mapping[str, int]) -> tuple[float, int]:
    """The share of phones with marks that are worth being symbols, and the number of these marks.

    Both are 0 where the texts contain the dotted circle, which distinguishes marks from phones.
    """
    whole: Counter[str] = Counter()
    for piece, count in pieces.items():
        whole[normalise(piece, "NFD")] += count
    if any(phones.DOTTED_CIRCLE in phone for phone in whole):
        return 0.0, 0
    marks = phones.find_marks(whole)
    return phones.marked_share(whole, marks), len(marks)


def _letters(piece: str) -> int:
    """The number of characters other than marks, tie bars and modifier letters."""
    return sum(unicodedata.category(c) not in ("Mn", "Mc", "Me", "Lm", "Sk") for c in piece)


def _spoken(piece: str) -> bool:
    """Whether a piece has a letter, unlike a number or a sign."""
    return any(unicodedata.category(c)[0] in "LM" or unicodedata.category(c) == "Sk" for c in piece)


def _mean(measure: Callable[[str], Any], pieces: Counter[str]) -> float:
    """The mean of a measure over all occurrences of pieces."""
    return float(sum(measure(p) * n for p, n in pieces.items()) / max(1, pieces.total()))


def _sample(texts: Sequence[str]) -> Sequence[str]:
    return texts[:: max(1, len(texts) // SAMPLE_TEXTS)]
