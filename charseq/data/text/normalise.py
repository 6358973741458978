"""texts -> what counts as one symbol: Unicode forms, and the rules behind `auto`.

It only looks and advises; `vocabulary` cuts and numbers.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from charseq.data.text import phones

# What `auto` looks at: about this many texts, and what it takes for a phone (AH0, t͡ʃʰ).
SAMPLE = 5000
LONGEST_PHONE = 4
MOST_PHONES = 400
# Marks are symbols of their own where so many phones have some, and there are fewer texts than
# it takes to learn each letter with its marks alone.
MARKED = 0.05
FEW = 5000


def normalise(text: str, form: str) -> str:
    """``text`` in the Unicode form NFC, NFD, NFKC or NFKD; unchanged for ``none``."""
    if form == "none" or text.isascii():
        return text
    return unicodedata.normalize(cast("Literal['NFC']", form), text)


def choose_kind(texts: Sequence[str]) -> tuple[str, str]:
    """``spaced`` or ``parts`` if the texts look like phones between single spaces.

    Else ``characters``. With ``parts`` marks that stand on many letters are symbols of their own
    (see ``phones``), which helps where texts are few and makes no difference where they are many.

    Nearly all texts must be cut by single spaces (a lone phone has none). Then either every piece
    is one letter, or pieces are short, mostly letters (not the numbers of a date), several to a
    text, and the same few again and again (not words or initials).
    """
    few = len(texts) < FEW
    texts = _sample(texts)
    spaced = sum(" " in text for text in texts)
    apart = sum(" " in text or len(text) <= LONGEST_PHONE for text in texts)
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
        and _mean(lambda piece: lengths[piece] <= LONGEST_PHONE, pieces) >= 0.99
        and _mean(_spoken, pieces) >= 0.6
        and total >= 3 * len(texts)
        and len(pieces) <= MOST_PHONES
    )
    if ragged > 0.01 * len(texts) or not (single or short):
        return "characters", f"spaces stand between words: {facts}"
    share, marks = _marked(pieces) if few else (0.0, 0)
    if share < MARKED:
        return "spaced", f"phones between spaces: {facts}"
    marked = f"{share:.0%} have some of {marks} marks that stand on many letters"
    return "parts", f"phones between spaces: {facts}, {marked}"


def choose_form(texts: Sequence[str], form: str, *, apart: bool = False) -> tuple[str, str, str]:
    """(form, written, why). Written is the form that the texts themselves keep to, NFC or NFD.

    ``apart`` says that marks are symbols of their own.
    """
    if form == "none":
        return "none", "none", "as set"
    texts = _sample(texts)
    foreign = [text for text in texts if not text.isascii()]
    composed = ["".join(unicodedata.normalize("NFC", text)) for text in foreign]
    decomposed = sum(
        text != whole and text == unicodedata.normalize("NFD", text)
        for text, whole in zip(foreign, composed, strict=True)
    )
    changed = sum(whole != unicodedata.normalize("NFD", whole) for whole in composed)
    written = "NFD" if 2 * decomposed > changed else "NFC"
    note = ", written back as NFD like the texts" if written == "NFD" else ""
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


def _marked(pieces: Mapping[str, int]) -> tuple[float, int]:
    """The share of phones with marks that are worth to be symbols, and how many marks those are.

    None, where the sign that would tell marks from phones stands in the texts.
    """
    whole: Counter[str] = Counter()
    for piece, count in pieces.items():
        whole[normalise(piece, "NFD")] += count
    if any(phones.HOLDER in phone for phone in whole):
        return 0.0, 0
    marks = phones.marks_of(whole)
    return phones.share(whole, marks), len(marks)


def _letters(piece: str) -> int:
    """How many characters stand on their own: marks, ties and modifier letters do not."""
    return sum(unicodedata.category(c) not in ("Mn", "Mc", "Me", "Lm", "Sk") for c in piece)


def _spoken(piece: str) -> bool:
    return any(unicodedata.category(c)[0] in "LM" or unicodedata.category(c) == "Sk" for c in piece)


def _mean(measure: Callable[[str], Any], pieces: Counter[str]) -> float:
    return float(sum(measure(p) * n for p, n in pieces.items()) / max(1, pieces.total()))


def _sample(texts: Sequence[str]) -> Sequence[str]:
    return texts[:: max(1, len(texts) // SAMPLE)]
