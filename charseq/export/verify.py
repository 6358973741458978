"""Graphs and runners against charseq's own engine: numbers within 1e-5, answers of many texts.

A graph of eight or sixteen bits is compared with the engine of the weights as the graph unpacks
them, so the bound holds in every precision. Answers are compared with those of the run itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charseq.data.formats.opening import Source, decode
from charseq.data.text.vocabulary import BOS, EOS, SPECIALS, Vocabulary
from charseq.decoding.next_word_numpy import NumpyNextWord
from charseq.decoding.seq2seq_numpy import NumpySeq2Seq
from charseq.errors import CharseqError, DataError
from charseq.export.graph import stored

if TYPE_CHECKING:
    from jaxtyping import Float

    from charseq.export.manifest import Member
    from charseq.inference.prediction import Prediction

TOLERANCE = 1e-5
"""Largest difference of log-probabilities, as a share of the largest of the row where that is
beyond -1: so float32 rounds sums of large terms."""
LENGTHS = (2, 9, 33)
BATCHES = (1, 5)
STEPS = 6
"""Steps of the decoder that are compared."""
TEXTS = 1000
TIE = 1e-3
"""Answers whose probabilities differ by less are as good as each other; rounding decides."""


class Agreement(NamedTuple):
    """How many answers of a runner are those of the engine."""

    texts: int
    equal: int
    ties: int
    """Others, whose probability is that of the engine's answer but for :data:`TIE`."""
    largest: float
    """Largest difference of the probabilities of equal answers."""

    @property
    def complete(self) -> bool:
        """Whether all answers are equal, or as good as equal."""
        return self.equal + self.ties == self.texts

    def __str__(self) -> str:
        """For people."""
        tied = f", {self.ties} more are ties" if self.ties else ""
        told = f"{self.equal:,} of {self.texts:,} answers are equal{tied}"
        return f"{told}; their probabilities differ by at most {self.largest:.1g}"


def unpacked(member: Member, precision: str) -> dict[str, np.ndarray]:
    """The weights as a graph of this precision unpacks them; biases are never packed."""
    return {
        name: stored(weight, precision) if weight.ndim == 2 else weight
        for name, weight in member.weights.items()
    }


def check_seq2seq(member: Member, precision: str, network: Any, source: Vocabulary) -> float:
    """The largest difference between two graphs and the engine.

    ``network`` has ``start``, ``step`` and ``select`` over the graphs. Texts of several lengths
    are one batch there and are alone in the engine, so that padding is tested as well.

    Raises:
        CharseqError: it is larger than :data:`TOLERANCE`.
    """
    config = member.config
    engine = NumpySeq2Seq(unpacked(member, precision), cell=config.cell, layers=config.layers)
    random, largest = np.random.default_rng(1), 0.0
    for length in LENGTHS:
        for size in BATCHES:
            sources = [
                _source(
                    random, max(1, length - 3 * number), source, ended=engine.actions is not None
                )
                for number in range(size)
            ]
            states = [engine.start([ids]) for ids in sources]
            state, symbols = network.start(sources), np.full(size, BOS)
            for _ in range(STEPS):
                found, state = network.step(symbols, state)
                rows = []
                for number, own in enumerate(states):
                    logs, states[number] = engine.step(symbols[number : number + 1], own)
                    rows.append(logs)
                wanted = np.concatenate(rows)
                largest = max(largest, _compare(wanted, found))
                symbols = np.array([_next(random, row) for row in wanted])
    return largest


def check_next_word(member: Member, precision: str, runner: Any) -> float:
    """The largest difference between the graphs of a next-word run and the engine.

    Raises:
        CharseqError: it is larger than :data:`TOLERANCE`.
    """
    config, begin = member.config, runner.facts["begin"]
    engine = NumpyNextWord(
        unpacked(member, precision), cell=config.cell, layers=config.layers,
        context=config.context, begin=begin,
    )  # fmt: skip
    random, largest = np.random.default_rng(1), 0.0
    for length in LENGTHS:
        for size in BATCHES:
            lines = random.integers(EOS + 1, len(engine.embedding), (size, length))
            state = np.zeros([*runner.facts["state"][:2], size, runner.facts["state"][3]], "f4")
            for column in [np.full(size, begin), *lines.T]:
                read = runner.reader(symbols=column, state=state)
                state = read["state_after"]
            found = runner.writer(hidden=read["hidden"])["log_probs"]
            symbols, own = engine.start(lines.tolist())
            wanted, _ = engine.step(symbols, own)
            largest = max(largest, _compare(wanted, found))
    return largest


def _compare(wanted: Float[np.ndarray, "N V"], found: Float[np.ndarray, "N V"]) -> float:
    """The largest difference; impossible symbols must be the same."""
    possible = np.isfinite(wanted)
    own, other = (np.where(possible, logs, 0.0) for logs in (wanted, found))
    gaps = np.abs(own - other).max(axis=1) / np.maximum(np.abs(own).max(axis=1), 1.0)
    largest = float(gaps.max()) if (possible == np.isfinite(found)).all() else math.inf
    if not largest <= TOLERANCE:
        what = f"a graph differs from the engine by {largest:.2g}, expected {TOLERANCE:g} at most"
        raise CharseqError(f"{what}: nothing was written")
    return largest


def _source(
    random: np.random.Generator, length: int, vocabulary: Vocabulary, *, ended: bool
) -> list[int]:
    """Random ids: unknown and known symbols, for hard attention EOS, then features."""
    ids: list[int] = random.integers(
        SPECIALS - 1, SPECIALS + len(vocabulary.symbols), length
    ).tolist()
    ids += [EOS] if ended else []
    if vocabulary.features:
        ids += random.integers(SPECIALS + len(vocabulary.symbols), len(vocabulary), 2).tolist()
    return ids


def _next(random: np.random.Generator, logs: Float[np.ndarray, "V"]) -> int:
    """A random symbol that goes on."""
    possible = np.flatnonzero(np.isfinite(logs) & (np.arange(len(logs)) != EOS))
    return int(random.choice(possible)) if len(possible) else EOS


def agreement(
    texts: Sequence[str],
    engine: Callable[[Sequence[str]], Sequence[Prediction]],
    runner: Callable[[Sequence[str]], Sequence[Any]],
) -> Agreement:
    """How far the answers of a runner are those of the engine, which gives several for a text."""
    equal = ties = 0
    largest = 0.0
    for own, other in zip(engine(texts), runner(texts), strict=True):
        gap = abs(own.probability - other.probability)
        if own.prediction == other.prediction:
            equal += 1
            largest = max(largest, gap)
        else:
            chances = {one.prediction: one.probability for one in own.candidates}
            ties += own.probability - chances.get(other.prediction, -math.inf) < TIE
    return Agreement(len(texts), equal, ties, largest)


def read_texts(path: str | Path, *, features: bool, most: int = TEXTS) -> list[str]:
    """The first texts of a file, a text in each line: what is before its first tab.

    ``features``: the model takes some; they are behind that tab, up to the next.

    Raises:
        DataError: the file cannot be read, has no texts, or a line has no features.
    """
    columns = 2 if features else 1
    found = []
    source = Source(str(path))
    try:
        for number, raw in islice(source.lines(), most):
            cells = decode(raw, str(path), number).rstrip("\r\n").split("\t")
            if len(cells) < columns:
                what = "no tab, expected one between source and features"
                raise DataError(what, path=path, line=number)
            found.append("\t".join(cells[:columns]))
    finally:
        source.close()
    if not found:
        raise DataError("has no lines, expected a text in each", path=path)
    return found


def made_texts(vocabulary: Vocabulary, longest: int, count: int = TEXTS) -> list[str]:
    """Texts of the model's own symbols, the frequent ones often, some of them unknown.

    ``longest``: most symbols of a text.
    """
    random = np.random.default_rng(1)
    size = len(vocabulary.symbols)
    shares = 1 / np.arange(1, size + 1)
    ids = random.choice(size, (count, longest), p=shares / shares.sum()) + SPECIALS
    texts = []
    for row, length in zip(ids.tolist(), random.integers(1, longest + 1, count), strict=True):
        text = vocabulary.decode(row[:length])
        if random.random() < 0.05:
            text += " \u2603" if vocabulary.kind in ("spaced", "decomposed") else "\u2603"
        if vocabulary.features:
            chosen = random.choice(vocabulary.features, 2)
            text += "\t" + vocabulary.feature_separator.join(map(str, chosen))
        texts.append(text)
    return texts
