"""Random encoder-decoders, texts and searches for the tests of several modules."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from charseq.data.batches import buckets
from charseq.data.text.alignment import Actions
from charseq.data.text.vocabulary import BOS, EOS, SPECIALS
from charseq.decoding.search import beam, greedy
from charseq.decoding.seq2seq_numpy import WIDTH, NumpySeq2Seq, shapes_of

SOURCES, TARGETS = 30, 25
ODD = {"33/17": (33, 17), "100/50": (100, 50), "48/24": (48, 24), "256/128": (256, 128)}
"""Hidden and embedding sizes that leave every kernel of a library with an odd rest."""


def make(
    cell: str, *, hidden: int = 12, embedding: int = 8, layers: int = 1, attention: str = "soft"
) -> NumpySeq2Seq:
    """A random network whose outputs differ in length and come to an end."""
    random = np.random.default_rng(hidden)
    shapes = shapes_of(
        cell=cell,
        embedding=embedding,
        hidden=hidden,
        layers=layers,
        attention=attention == "soft",
        pointer=attention == "hard",
        prior=attention == "hard",
        tied=True,
        sources=SOURCES,
        targets=TARGETS,
    )
    weights = {}
    for name, shape in shapes.items():
        scale = 2.0 if "embedding" in name else 1.5 / np.sqrt(shape[-1])
        weights[name] = random.normal(0, scale, shape).astype(np.float32)
    weights["target_embedding"] *= np.float32(2 / np.sqrt(embedding))
    weights["output_bias"][EOS] += 1.0
    return NumpySeq2Seq(weights, cell=cell, layers=layers)


def some_texts(counts: Sequence[int], seed: int = 3) -> list[list[int]]:
    """``counts[i]`` texts whose lengths round up to ``WIDTH * (i + 1)``."""
    random = np.random.default_rng(seed)
    lengths = [
        WIDTH * place + int(random.integers(1, WIDTH + 1))
        for place, count in enumerate(counts)
        for _ in range(count)
    ]
    return [random.integers(4, SOURCES, size=length).tolist() for length in lengths]


def ended(texts: Sequence[list[int]], seed: int = 4) -> list[list[int]]:
    """The texts with an EOS somewhere, which what hard attention calls features stands behind."""
    random = np.random.default_rng(seed)
    places = [int(random.integers(len(text))) for text in texts]
    return [
        [*text[:place], EOS, *text[place + 1 :]] for text, place in zip(texts, places, strict=True)
    ]


Answer = list[tuple[tuple[int, ...], str]]


def answers(
    network: NumpySeq2Seq, texts: Sequence[list[int]], *, size: int, width: int
) -> list[Answer]:
    """Outputs and scores, to the last bit, in the order of the texts."""
    found: list[Answer] = [[]] * len(texts)
    for group in buckets([len(text) for text in texts], width=WIDTH, size=size):
        state = network.start([texts[row] for row in group])
        limits = [min(len(texts[row]), 6) for row in group]
        if width == 1:
            hypotheses = [[best] for best in greedy(network, state, limits)]
        else:
            hypotheses = beam(network, state, limits, width=width)
        for row, ones in zip(group, hypotheses, strict=True):
            found[row] = [(one.ids, one.score.hex()) for one in ones]
    return found


def digest() -> str:
    """A hash of many answers, by products large enough to be shared between threads."""
    sha = hashlib.sha256()
    for cell, hidden, embedding in (("gru", 256, 128), ("lstm", 100, 50), ("residual", 33, 17)):
        network = make(cell, hidden=hidden, embedding=embedding)
        texts = some_texts([2, 17])
        if cell == "lstm":
            network = make(cell, hidden=hidden, embedding=embedding, attention="hard")
            texts = ended(texts)
        for width in (1, 3):
            found = answers(network, texts, size=64, width=width)
            if answers(network, texts[::5], size=1, width=width) != found[::5]:
                return "an answer depends on its company"
            sha.update(repr(found).encode())
        tables = *network.source_table, network.target_table
        sha.update(b"".join(table.tobytes() for table in tables))
    return sha.hexdigest()


def tiny(symbols: int, *, staying: float = 0.0) -> NumpySeq2Seq:
    """A network that writes so many symbols; ``staying`` is added to the logits of what stays."""
    random = np.random.default_rng(symbols)
    size = SPECIALS + symbols
    shapes = shapes_of(
        cell="gru", embedding=6, hidden=7, layers=1, attention=False, pointer=True, tied=True,
        sources=9, targets=Actions(size).size,
    )  # fmt: skip
    weights = {name: random.normal(0, 1, shape) for name, shape in shapes.items()}
    weights["output_bias"][SPECIALS:size] += staying
    return NumpySeq2Seq(weights, cell="gru", layers=1)


def every(network: NumpySeq2Seq, text: list[int], longest: int) -> dict[tuple[int, ...], float]:
    """Every output of up to ``longest`` actions, and its score, one after the other."""
    found: dict[tuple[int, ...], float] = {}

    def follow(written: tuple[int, ...], before: int, state: Any, score: float) -> None:
        logs, after = network.step(np.array([before]), state)
        for action in np.flatnonzero(logs[0] > -np.inf).tolist():
            total = score + float(logs[0, action])
            if action == EOS:
                found[written] = total
            elif len(written) < longest:
                follow((*written, action), action, after, total)

    follow((), BOS, network.start([text]), 0.0)
    return found
