"""texts -> pieces and scores -> sentencepiece processor: subwords that lose nothing.

It knows no ids and no Unicode forms; `vocabulary` gives it normalised text. A model is kept as two
plain lists, pieces and their scores, the 256 byte pieces first. The binary model that sentencepiece
wants is rebuilt from the lists, so none is ever read from a file. There are two kinds of model::

    unigram   score = log probability; a text is cut so that the sum is largest (Kudo 2018)
    bpe       score = -rank of the merge; the best pair is merged first (Sennrich et al. 2016)

The settings that make it lossless: normalisation "identity", no dummy prefix, extra spaces kept,
unseen characters spelled as bytes.
"""

from __future__ import annotations

import io
import math
import random
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
# sentencepiece writes a space as this character, so the character itself goes through bytes.
SPACE_MARK = "\u2581"
# More texts than this do not change a small inventory, they only take memory.
MOST_TEXTS = 500_000
# Characters in a text that sentencepiece learns from: it passes over more than 4,192 bytes.
LONGEST_TEXT = 1000
# Kinds of model, by their number in sentencepiece_model.proto.
MODELS = {"unigram": 1, "bpe": 2}


def train(
    texts: Sequence[str], *, size: int, seed: int, model: str = "unigram"
) -> tuple[list[str], list[float]]:
    """``size`` pieces (fewer if the texts give fewer) with their scores, bytes first.

    ``model``: unigram or bpe.

    The characters of the texts and the bytes must fit; if they do not, rare characters are left
    to the bytes, and what then still does not fit makes the inventory larger than ``size``.
    Texts without anything to learn (none, for example) give bytes and single characters. A text
    longer than ``LONGEST_TEXT`` is learnt from in parts.
    The same texts, size and seed give the same pieces.
    """
    import sentencepiece

    if len(texts) > MOST_TEXTS:
        texts = random.Random(seed).sample(texts, MOST_TEXTS)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    coverage, needed = _coverage(counts, size)
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(part for text in texts for part in parts(text)),
            model_writer=written,
            model_type=model,
            vocab_size=max(size, needed),
            hard_vocab_limit=False,
            character_coverage=coverage,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            byte_fallback=True,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError:
        # Nothing to learn from, such as no text at all: then characters are the pieces.
        return _characters(counts)
    trained = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    ids = range(1, trained.get_piece_size())
    if len(ids) == len(BYTES):
        return _characters(counts)
    return [trained.id_to_piece(i) for i in ids], [trained.get_score(i) for i in ids]


def processor(pieces: Sequence[str], scores: Sequence[float], *, model: str = "unigram") -> Any:
    """The sentencepiece processor of these pieces: piece i has its id i + 1.

    ``model``: unigram or bpe, as they were trained.

    Raises:
        ValueError: the pieces do not make a model.
    """
    import sentencepiece

    try:
        return sentencepiece.SentencePieceProcessor(model_proto=_model(pieces, scores, model))
    except (RuntimeError, OverflowError) as error:
        raise ValueError(str(error)) from None


def parts(text: str) -> Iterator[str]:
    """``text`` in parts of at most ``LONGEST_TEXT`` characters, cut before spaces if it can be."""
    start = 0
    while len(text) - start > LONGEST_TEXT:
        space = text.rfind(" ", start + 1, start + LONGEST_TEXT + 1)
        end = space if space > 0 else start + LONGEST_TEXT
        yield text[start:end]
        start = end
    yield text[start:]


def _coverage(counts: Counter[str], size: int) -> tuple[float, int]:
    """The share of characters to keep whole, and the least size of an inventory with them."""
    room = 16
    fixed = len(BYTES) + 1 + room
    if len(counts) + fixed <= size:
        return 1.0, len(counts) + fixed
    # The least coverage that sentencepiece accepts.
    least = 0.98
    kept, covered = 0, 0
    for _, count in counts.most_common():
        if covered >= least * counts.total():
            break
        kept, covered = kept + 1, covered + count
    return least, kept + fixed


def _characters(counts: Counter[str]) -> tuple[list[str], list[float]]:
    """The bytes, a space (a model must have one piece that is no byte), and each character."""
    letters = sorted(c for c in counts if c not in ("\0", " ", SPACE_MARK))
    scores = [math.log(counts[c] / counts.total()) for c in letters]
    return [*BYTES, SPACE_MARK, *letters], [0.0] * (len(BYTES) + 1) + scores


def _model(pieces: Sequence[str], scores: Sequence[float], model: str) -> bytes:
    """A ModelProto of sentencepiece, as its sentencepiece_model.proto numbers the fields."""
    unknown, normal, byte = 2, 1, 6
    blocks = [_block(1, _piece("<unk>", 0.0, unknown))]
    for number, (piece, score) in enumerate(zip(pieces, scores, strict=True)):
        blocks.append(_block(1, _piece(piece, score, byte if number < len(BYTES) else normal)))
    absent = 2**64 - 1
    kind, byte_fallback, unk_id, bos_id, eos_id = 3, 35, 40, 41, 42
    trainer = {kind: MODELS[model], byte_fallback: 1, unk_id: 0, bos_id: absent, eos_id: absent}
    dummy_prefix, extra_spaces, escape_spaces = 3, 4, 5
    normalizer = {dummy_prefix: 0, extra_spaces: 0, escape_spaces: 1}
    blocks.append(_block(2, _numbers(trainer)))
    blocks.append(_block(3, _block(1, b"identity") + _numbers(normalizer)))
    return b"".join(blocks)


def _piece(text: str, score: float, kind: int) -> bytes:
    return _block(1, text.encode()) + b"\x15" + struct.pack("<f", score) + _numbers({3: kind})


def _block(field: int, payload: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(payload)) + payload


def _numbers(values: dict[int, int]) -> bytes:
    return b"".join(_varint(field << 3) + _varint(value) for field, value in values.items())


def _varint(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
