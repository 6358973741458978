"""Evaluation of a next-word model: perplexity, hit@k, keystrokes saved, all of them per word.

    perplexity       = exp(-Σ log P(line) / words)       words: with a line end for every line
    bits             = -Σ log2 P(line) / characters      characters: with a line end for every line
    hit@k            = 100 * words among the first k suggestions / words without line ends
    keystrokes saved = 100 * (1 - keystrokes / keystrokes by hand)

By hand a word takes a keystroke for each letter and one for the space behind it. The simulated
keyboard shows ``SUGGESTIONS`` words, given the letters typed so far. As soon as the right word is
among them, one keystroke completes it, with the space. An unknown word is a miss, typed by hand.

A model of words has one symbol for all unknown words, whose letters cost nothing. Perplexities can
therefore only be compared at the same rate of unknown words (``oov``). Running text is read in
``STREAMS`` parts, each of which begins with a fresh state and keeps its state from line to line;
suggestions that need a search see their own line only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.data import corpus
from charseq.data.splits import SPLITS
from charseq.data.text.normalise import normalise
from charseq.data.text.vocabulary import EOS, SPECIALS, UNK
from charseq.errors import DataError
from charseq.evaluation.dynamic import adapted_loss, session_loss
from charseq.evaluation.metrics import measure_all, signature
from charseq.evaluation.scoring import run_facts
from charseq.inference.prediction import require_numbers

if TYPE_CHECKING:
    from jaxtyping import Float32, Int

    from charseq.evaluation.scoring import Watch
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.prediction import Prediction

    Weights = Mapping[str, np.ndarray]

SUGGESTIONS = 3
"""Words that the keyboard shows."""
MAX_SAMPLED = 500
"""Words, evenly spread, that are typed where a word has several symbols and needs a search."""
LINES_AT_ONCE = 10_000
"""Lines whose ids are in memory at the same time."""
HITS = (1, 3, 5)
"""The k of hit@k."""
STREAMS = 16
"""Parts of running text that are read side by side, each with a state of its own."""


@dataclass
class TypedWords:
    """Counts of the words that a simulated user has typed with the keyboard."""

    words: int = 0
    by_hand: int = 0
    saved: int = 0
    hits: list[int] = field(default_factory=lambda: [0] * len(HITS))

    def add(self, rank: int | float, letters: int, keystrokes: int) -> None:
        """Count a word; ``rank``: better suggestions than it before its first letter was typed."""
        self.words += 1
        self.by_hand += letters + 1
        self.saved += letters + 1 - keystrokes
        self.hits = [hits + (rank < k) for hits, k in zip(self.hits, HITS, strict=True)]


@dataclass(frozen=True)
class NextWordScores:
    """Counts of an evaluation, and the metrics that follow from them."""

    loss: float
    """Negative log-likelihood of all lines with their ends, in nats."""
    count: int
    """Words without line ends."""
    lines: int
    unknown: int
    """Words with a symbol that the model does not know."""
    characters: int
    """Characters of all lines without their ends; white space counts as one space."""
    typed: TypedWords
    by_hand: int
    """Keystrokes for the words by hand."""
    sampled: int | None
    """Number of words that hits and keystrokes are counted on; None: all words."""

    @property
    def words(self) -> int:
        """Words and line ends: the number of events that perplexity is an average over."""
        return self.count + self.lines

    @property
    def perplexity(self) -> float:
        """Perplexity per word, line ends counted."""
        return _per_word(self.loss, self.words)

    @property
    def bits_per_character(self) -> float:
        """Negative log-likelihood in bits per character, line ends counted."""
        return self.loss / math.log(2) / (self.characters + self.lines)

    def hit_at(self, k: int) -> float:
        """Words in percent that are among the first ``k`` suggestions; ``k`` is one of HITS."""
        typed = self.count if self.sampled is None else self.sampled
        return _percent(self.typed.hits[HITS.index(k)], typed)

    @property
    def keystrokes_saved(self) -> float:
        """Keystrokes in percent that the keyboard saves."""
        return _percent(self.typed.saved, self.by_hand)

    @property
    def oov(self) -> float:
        """Words in percent, without line ends, that have an unknown symbol."""
        return _percent(self.unknown, self.count)


def measure(
    model: LanguageModel, lines: Sequence[str], *, watch: Watch | None = None
) -> NextWordScores:
    """The scores of ``model`` on ``lines``; ``watch`` gets the lines that are scored.

    Raises:
        DataError: there are no lines.
        CheckpointError: the weights are so large that no probability is a number.
    """
    if not lines:
        raise DataError("no lines to score")
    loss = 0.0
    keyboard = _Keyboard(model)
    for number, rows in enumerate(_read(model, lines)):
        if watch is not None:
            watch(number * LINES_AT_ONCE, number * LINES_AT_ONCE / len(lines))
        for _, _, labels, logs in model.network.scan(rows):
            loss -= float(logs[np.arange(len(labels)), labels].sum(dtype=np.float64))
            if model.has_word_symbols:
                keyboard.type(labels, logs)
    require_numbers([loss], model.path)
    count, unknown, letters = _count(model, lines)
    typed = keyboard.typed if model.has_word_symbols else _search(model, lines)
    return NextWordScores(
        loss=loss,
        count=count,
        lines=len(lines),
        unknown=unknown,
        characters=sum(len(" ".join(line.split())) for line in lines),
        typed=typed,
        # the keyboard of words has not typed the unknown ones
        by_hand=letters + count if model.has_word_symbols else typed.by_hand,
        sampled=None if model.has_word_symbols else typed.words,
    )


def perplexity_of(model: LanguageModel, lines: Sequence[str]) -> float:
    """Perplexity alone, as :func:`measure` gives it.

    Raises:
        DataError: there are no lines.
    """
    if not lines:
        raise DataError("no lines to score")
    loss = 0.0
    for rows in _read(model, lines):
        for _, logs in model.network.score(rows):
            loss -= float(logs.sum(dtype=np.float64))
    return _per_word(loss, _count(model, lines)[0] + len(lines))


class _Keyboard:
    """Simulated keyboard for words that are one symbol each, from the probabilities of all words.

    A word is suggested if fewer than ``SUGGESTIONS`` words with the same typed prefix are likelier.
    In alphabetical order the words with a prefix are one range.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.typed = TypedWords()
        self.texts = model.symbol_table.texts
        self.index = model.symbol_table.index
        self._ranges = lru_cache(maxsize=100_000)(self._find)

    def type(self, labels: Int[np.ndarray, "M"], logs: Float32[np.ndarray, "M V"]) -> None:
        """Type each of ``labels`` that is a known word, given the log-probabilities ``logs``."""
        for label, row in zip(labels.tolist(), logs, strict=True):
            if label in (EOS, UNK):
                continue
            value = row[label]
            # of equally likely words the one with the lower id is suggested first
            better = np.count_nonzero(row[SPECIALS:] > value)
            rank = int(better) + int(np.count_nonzero(row[SPECIALS:label] == value))
            letters = len(self.texts[label])
            keystrokes = 1 if rank < SUGGESTIONS else self._strokes(label, row, letters + 1)
            self.typed.add(rank, letters, keystrokes)

    def _strokes(self, label: int, row: Float32[np.ndarray, "V"], by_hand: int) -> int:
        """Keystrokes for a word that is not suggested before its first letter is typed."""
        starts, stops = self._ranges(label)
        if not len(starts):
            return by_hand
        ids = self.index.ids[starts[0] : stops[0]]
        values = row[ids]
        better = (values > row[label]) | ((values == row[label]) & (ids < label))
        sums = np.concatenate([[0], np.cumsum(better)])
        ranks = sums[stops - starts[0]] - sums[starts - starts[0]]
        offered = np.flatnonzero(ranks < SUGGESTIONS)
        return int(offered[0]) + 2 if len(offered) else by_hand

    def _find(self, label: int) -> tuple[Int[np.ndarray, "P"], Int[np.ndarray, "P"]]:
        """Starts and ends of the ranges of words that share one letter, two letters, … with it."""
        text = self.texts[label]
        found = [self.index.range(text[:length]) for length in range(1, len(text))]
        ends = np.array([(one.start, one.stop) for one in found], dtype=np.int64).reshape(-1, 2)
        return ends[:, 0], ends[:, 1]


def _read(model: LanguageModel, lines: Sequence[str]) -> Iterator[list[list[int]]]:
    """The ids of lines, some at a time, as the network reads them."""
    for first in range(0, len(lines), LINES_AT_ONCE):
        rows = [model.tokenizer.encode(line) for line in lines[first : first + LINES_AT_ONCE]]
        if model.carries_state:
            rows = _join(rows)
        yield rows


def _join(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Running text: the lines in ``STREAMS`` parts, with line ends as symbols between them."""
    size = -(-len(rows) // STREAMS)
    parts = [rows[first : first + size] for first in range(0, len(rows), size)]
    return [[symbol for row in part for symbol in (*row, EOS)][:-1] for part in parts]


def _adapted(model: LanguageModel, lines: Sequence[str], words: int) -> dict[str, float | None]:
    """The perplexities of a session and of dynamic evaluation; None: not of words."""
    session = session_loss(model, lines) if model.has_word_symbols else None
    return {
        "session_perplexity": None if session is None else _per_word(session, words),
        "adapted_perplexity": _per_word(adapted_loss(model, lines), words),
    }


def _count(model: LanguageModel, lines: Sequence[str]) -> tuple[int, int, int]:
    """The number of words, of words with an unknown symbol, and of letters."""
    count, unknown, letters = 0, 0, 0
    for line in lines:
        words = model.tokenizer.words(line)
        count += len(words)
        letters += sum(map(len, words))
        ids = model.tokenizer.encode(line)
        if model.has_word_symbols:
            unknown += ids.count(UNK)
        elif UNK in ids:
            unknown += sum(UNK in model.tokenizer.encode(word) for word in words)
    return count, unknown, letters


def _search(model: LanguageModel, lines: Sequence[str]) -> TypedWords:
    """The counts of a sample of the words, whose suggestions are found by a search."""
    contexts, words = _sample_words(lines, model.tokenizer.vocabulary.written)
    found = _suggestions(model.predict(contexts, n=max(HITS)))
    ranks = [
        shown.index(word) if word in shown else math.inf
        for word, shown in zip(words, found, strict=True)
    ]
    keystrokes = {k: 1 for k, rank in enumerate(ranks) if rank < SUGGESTIONS}
    for length in range(1, max(map(len, words), default=0)):
        pending = [k for k, word in enumerate(words) if k not in keystrokes and length < len(word)]
        texts = [f"{contexts[k]} {words[k][:length]}" for k in pending]
        found = _suggestions(model.complete(texts, n=SUGGESTIONS))
        for k, shown in zip(pending, found, strict=True):
            if words[k] in shown:
                keystrokes[k] = length + 1
    typed = TypedWords()
    for k, word in enumerate(words):
        typed.add(ranks[k], len(word), keystrokes.get(k, len(word) + 1))
    return typed


def _sample_words(lines: Sequence[str], form: str) -> tuple[list[str], list[str]]:
    """A sample of the words between spaces, evenly spread, and the text before each."""
    positions = [(row, word) for row, line in enumerate(lines) for word in range(len(line.split()))]
    spread = (
        np.linspace(0, len(positions) - 1, min(len(positions), MAX_SAMPLED)).round().astype(int)
    )
    contexts, words = [], []
    for row, position in (positions[k] for k in spread):
        parts = lines[row].split()
        contexts.append(" ".join(parts[:position]))
        words.append(normalise(parts[position], form))
    return contexts, words


def _suggestions(found: Sequence[Prediction]) -> list[list[str]]:
    return [[one.prediction for one in prediction.candidates] for prediction in found]


def _per_word(loss: float, words: int) -> float:
    return math.exp(min(loss / words, 700.0))  # the exponential of more overflows


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def evaluate(
    model: LanguageModel,
    data: str | Path,
    *,
    split: str | None = None,
    encoding: str = "auto",
    adapt: bool = False,
    watch: Watch | None = None,
    version: str,
) -> dict[str, Any]:
    """Score ``model`` on the lines of a split of ``data``.

    Without ``split`` the lines are those of the test split, or all lines of a single file that the
    model was not trained on. ``encoding`` is that of the files; ``version``, the program's, is part
    of the signature. ``adapt`` adds the perplexities of a model that learns from what it has read:
    session_perplexity (words only) and adapted_perplexity, see :mod:`charseq.evaluation.dynamic`.
    ``watch`` gets the lines that are scored, and the share that they are.

    Returns:
        run, parameters, seconds (of training), epochs, data, split, words, perplexity,
        bits_per_character, hit_at_1, hit_at_3, hit_at_5, keystrokes_saved, oov, sampled, signature.

    Raises:
        DataError: the split has no lines.
    """
    units = model.tokenizer.kind
    how: dict[str, Any] = {"running": model.carries_state, "encoding": encoding, "units": units}
    if split is None or split == "all":
        is_folder = Path(data).is_dir()
        splits = ("test",) if is_folder and not split else SPLITS
        found = corpus.load(data, splits=splits, **how)
        trained_on = found.fingerprint == model.metadata["data"]["fingerprint"]
        if split is None and (is_folder or trained_on):
            return facts(model, data, found.test, "test", adapt=adapt, watch=watch, version=version)
        every = [*found.train, *found.dev, *found.test]
        return facts(model, data, every, "all", adapt=adapt, watch=watch, version=version)
    lines = corpus.load(data, splits=(split,), **how).split(split)
    return facts(model, data, lines, split, adapt=adapt, watch=watch, version=version)


def facts(
    model: LanguageModel,
    data: str | Path,
    lines: Iterable[str],
    split: str,
    *,
    adapt: bool = False,
    watch: Watch | None = None,
    version: str,
) -> dict[str, Any]:
    """The report that :func:`evaluate` returns, for lines that are read already."""
    lines = list(lines)
    if not lines:
        raise DataError(f"no lines for the {split} split", path=data)
    scores = measure(model, lines, watch=watch)
    return {
        **run_facts(model, data, split),
        "words": scores.words,
        **measure_all("next-word", scores),
        **(_adapted(model, lines, scores.words) if adapt else {}),
        "sampled": scores.sampled,
        "signature": signature(
            charseq=version,
            split=split,
            n=scores.words,
            unit="word",
            units=model.tokenizer.kind,
            case=model.tokenizer.case,
            punctuation=model.tokenizer.punctuation,
            state="running" if model.carries_state else "by line",
            suggestions=SUGGESTIONS,
            typed="all" if scores.sampled is None else scores.sampled,
        ),
    }
