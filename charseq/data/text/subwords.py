"""Normalised texts -> pieces and scores -> a sentencepiece processor: lossless subwords.

A model is stored as two lists: pieces, of which the first 256 are the single bytes, and scores. The
binary model of sentencepiece is rebuilt from these lists, so no binary model is read from a file.
There are two types of models::

    unigram   score = log probability; the segmentation with the largest sum is chosen (Kudo 2018)
    bpe       score = -rank of the merge; the best pair is merged first (Sennrich et al. 2016)

Segmentation is lossless by these settings: normalisation "identity", no dummy prefix, extra spaces
kept, unseen characters as bytes.
"""

from __future__ import annotations

import io
import math
import random
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from charseq.errors import require

PURPOSE = "cutting text into subwords"
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
SPACE_MARK = "\u2581"
"""The character that stands for a space in pieces; in texts it is encoded as bytes."""
UNKNOWN = "<unk>"
"""The piece that sentencepiece has for unknown text; no piece of a model is called so."""
MAX_TEXTS = 500_000
"""Texts of the training sample. More of them hardly change a small set of pieces."""
MAX_CHARACTERS = 1000
"""Characters of a training text; sentencepiece ignores texts of more than 4,192 bytes."""
MODEL_TYPES = {"unigram": 1, "bpe": 2}
"""Type of model -> its number in sentencepiece_model.proto."""


def train(
    texts: Sequence[str], *, size: int, seed: int, model: str = "unigram"
) -> tuple[list[str], list[float]]:
    """Learn pieces and their scores; the same texts, size and seed give the same pieces.

    Args:
        texts: normalised texts. A text of more than ``MAX_CHARACTERS`` is learnt in chunks. Texts
            from which nothing can be learnt, such as no texts, give bytes and single characters.
        size: number of pieces, bytes included. There are fewer where the texts give fewer, and
            more where the bytes and the frequent characters do not fit.
        seed: of the sample of ``MAX_TEXTS`` texts.
        model: unigram or bpe.
    """
    require("sentencepiece", PURPOSE)
    import sentencepiece

    if len(texts) > MAX_TEXTS:
        texts = random.Random(seed).sample(texts, MAX_TEXTS)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    coverage, needed = _coverage(counts, size)
    proto = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(chunk for text in texts for chunk in chunks(text)),
            model_writer=proto,
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
        # sentencepiece refuses texts from which nothing can be learnt.
        return _characters(counts)
    trained = sentencepiece.SentencePieceProcessor(model_proto=proto.getvalue())
    ids = range(1, trained.get_piece_size())
    if len(ids) == len(BYTES):
        return _characters(counts)
    return [trained.id_to_piece(i) for i in ids], [trained.get_score(i) for i in ids]


def build_processor(
    pieces: Sequence[str], scores: Sequence[float], *, model: str = "unigram"
) -> Any:
    """A sentencepiece processor, in which piece i has the id i + 1.

    ``model``: unigram or bpe, as in the training.

    Raises:
        ValueError: the pieces are not a valid model.
        MissingExtraError: sentencepiece is not installed.
    """
    require("sentencepiece", PURPOSE)
    import sentencepiece

    try:
        return sentencepiece.SentencePieceProcessor(model_proto=_model(pieces, scores, model))
    except (RuntimeError, OverflowError) as error:
        raise ValueError(str(error)) from None


def chunks(text: str) -> Iterator[str]:
    """``text`` in chunks of at most ``MAX_CHARACTERS``, which begin with spaces where possible."""
    start = 0
    while len(text) - start > MAX_CHARACTERS:
        space = text.rfind(" ", start + 1, start + MAX_CHARACTERS + 1)
        end = space if space > 0 else start + MAX_CHARACTERS
        yield text[start:end]
        start = end
    yield text[start:]


def _coverage(counts: Counter[str], size: int) -> tuple[float, int]:
    """The character coverage for sentencepiece, and the number of pieces that it needs."""
    spare = 16
    fixed = len(BYTES) + 1 + spare
    if len(counts) + fixed <= size:
        return 1.0, len(counts) + fixed
    least = 0.98  # the smallest coverage that sentencepiece accepts
    kept, covered = 0, 0
    for _, count in counts.most_common():
        if covered >= least * counts.total():
            break
        kept, covered = kept + 1, covered + count
    return least, kept + fixed


def _characters(counts: Counter[str]) -> tuple[list[str], list[float]]:
    """Pieces and scores of a model of single characters: bytes, a space, and each character."""
    letters = sorted(c for c in counts if c not in ("\0", " ", SPACE_MARK))
    scores = [math.log(counts[c] / counts.total()) for c in letters]
    return [*BYTES, SPACE_MARK, *letters], [0.0] * (len(BYTES) + 1) + scores


def _model(pieces: Sequence[str], scores: Sequence[float], model: str) -> bytes:
    """The bytes of a ModelProto of sentencepiece; field numbers as in sentencepiece_model.proto."""
    unknown, normal, byte = 2, 1, 6
    blocks = [_block(1, _piece(UNKNOWN, 0.0, unknown))]
    for number, (piece, score) in enumerate(zip(pieces, scores, strict=True)):
        blocks.append(_block(1, _piece(piece, score, byte if number < len(BYTES) else normal)))
    absent = 2**64 - 1
    model_type, byte_fallback, unk_id, bos_id, eos_id = 3, 35, 40, 41, 42
    trainer = {model_type: MODEL_TYPES[model], byte_fallback: 1, unk_id: 0}
    trainer |= {bos_id: absent, eos_id: absent}
    dummy_prefix, extra_spaces, escape_spaces = 3, 4, 5
    normalizer = {dummy_prefix: 0, extra_spaces: 0, escape_spaces: 1}
    blocks.append(_block(2, _numbers(trainer)))
    blocks.append(_block(3, _block(1, b"identity") + _numbers(normalizer)))
    return b"".join(blocks)


def _piece(text: str, score: float, kind: int) -> bytes:
    return _block(1, text.encode()) + b"\x15" + struct.pack("<f", score) + _numbers({3: kind})


def _block(field: int, payload: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    return _varint(field << 3 | 2) + _varint(len(payload)) + payload


def _numbers(values: dict[int, int]) -> bytes:
    """Integer fields of a protocol buffer by their numbers."""
    return b"".join(_varint(field << 3) + _varint(value) for field, value in values.items())


def _varint(value: int) -> bytes:
    """A variable-length integer of a protocol buffer."""
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
