"""state before a word -> its most probable words, symbol by symbol; texts -> those with a prefix.

For models of subwords or characters a word takes several symbols. It ends before the first boundary
symbol, which starts with white space or is EOS:

    P(word) = P(its symbols) x P(a boundary symbol)

The probabilities of several segmentations of a word add up. As in ``search``, the model is known by
``step`` and ``select`` alone.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.data.text.vocabulary import EOS
from charseq.decoding.search import StepModel, add_logs, top_k

if TYPE_CHECKING:
    from jaxtyping import Float, Int


NO_TEXT = "\ufffd"
"""U+FFFD, the replacement of undecodable bytes; a text with it is no word."""


class Index:
    """The sorted texts of symbols: those with a common prefix are a range."""

    def __init__(self, texts: Sequence[str]) -> None:
        """``texts`` by id; ids of empty texts are never found."""
        named = [number for number, text in enumerate(texts) if text]
        ranked = sorted(named, key=texts.__getitem__)
        self.ids = np.array(ranked, dtype=np.int64)
        self.texts = [texts[number] for number in ranked]
        self.every = np.array(named, dtype=np.int64)

    def range(self, prefix: str) -> slice:
        """The range of ``ids`` and ``texts`` that start with ``prefix``."""
        size = len(prefix)
        first = bisect_left(self.texts, prefix, key=lambda text: text[:size])
        last = bisect_right(self.texts, prefix, lo=first, key=lambda text: text[:size])
        return slice(first, last)

    def starting(self, prefix: str) -> Int[np.ndarray, "K"]:
        """The ids of texts that start with ``prefix``, in ascending order."""
        return np.sort(self.ids[self.range(prefix)]) if prefix else self.every

    def heads(self, text: str) -> list[int]:
        """The ids of texts that are proper prefixes of ``text``."""
        found = []
        for length in range(1, len(text)):
            index = bisect_left(self.texts, text[:length])
            while self.texts[index : index + 1] == [text[:length]]:
                found.append(int(self.ids[index]))
                index += 1
        return found


class SymbolTable:
    """The text of each symbol of a model, and the symbols by their part in a word."""

    def __init__(self, texts: Sequence[str]) -> None:
        """``texts`` by id; "" for symbols that are part of no word."""
        self.texts = texts
        self.index = Index(texts)
        spaces = [number for number, text in enumerate(texts) if text[:1].isspace()]
        self.spaces = np.array(spaces, dtype=np.int64)
        self.boundaries = np.array([EOS, *spaces])
        inner = np.ones(len(texts), dtype=bool)
        inner[self.spaces] = False
        self.letters = self.index.every[inner[self.index.every]]
        self.blank = np.array([not text.strip() for text in texts])


@dataclass(frozen=True)
class Words:
    """Words found at one position, as log-probabilities."""

    scores: dict[str, float]
    """Log-probability of each word with its boundary; all words have the prefix."""
    prefix: float
    """Log-probability of all texts with the prefix, found or not."""
    boundary: float
    """Log-probability that the first symbol is a boundary symbol; NaN where, at any step, the
    model's probabilities are."""


def find_words(
    model: StepModel,
    symbols: Int[np.ndarray, "N"],
    state: Any,
    wanted: Sequence[str],
    table: SymbolTable,
    *,
    n: int,
    width: int,
    limit: int,
    decode: Callable[[Sequence[int]], str],
) -> list[Words]:
    """The most probable words after ``symbols`` that start with ``wanted``, for each row.

    ``wanted`` starts with a space where a word must end first. The search keeps the ``width`` most
    probable prefixes. It ends when none is more probable than word number ``n``, or has ``limit``
    symbols. ``Words.prefix`` is exact while ``wanted`` has at most ``width`` segmentations, so
    always for characters.
    """
    searches = [_Search(text, table, n, width, decode) for text in wanted]
    alive = searches
    for length in range(limit + 1):
        logs, state = model.step(symbols, state)
        parents: list[int] = []
        chosen: list[int] = []
        active = []
        end = 0
        for search in alive:
            first, end = end, end + len(search.rows)
            found = search.advance(logs[first:end])
            parents += [first + row for row, _ in found]
            chosen += [symbol for _, symbol in found]
            active += [search] if found else []
        alive = active
        if not alive or length == limit:
            break
        state = model.select(state, np.array(parents), 1)
        symbols = np.array(chosen)
    return [search.found() for search in searches]


class WordLimit:
    """A model that continues lines with at most ``max_words`` whole words, for sampling."""

    def __init__(self, model: StepModel, table: SymbolTable, max_words: int) -> None:
        self.model = model
        self.table = table
        self.max_words = max_words

    def start(
        self, symbols: Int[np.ndarray, "N"], state: Any, wanted: Sequence[str]
    ) -> tuple[Any, Int[np.ndarray, "N"]]:
        """A state of the model with the number of words started: none where a space is wanted."""
        started = np.array([0 if text else 1 for text in wanted])
        # the first step reads these symbols, but they belong to the text before
        return state, started - np.isin(symbols, self.table.spaces)

    def step(self, symbols: Int[np.ndarray, "N"], state: Any) -> tuple[Any, Any]:
        """As the model's; the first word must be started, and the last can only be finished."""
        inner, counts = state
        logs, inner = self.model.step(symbols, inner)
        counts = counts + np.isin(symbols, self.table.spaces)
        after = logs.astype(np.float64)
        for row, count in enumerate(counts):
            if count == 0:
                after[row, self.table.letters] = -np.inf
            elif count >= self.max_words:
                end = log_sum(after[row, self.table.boundaries])
                after[row, self.table.boundaries] = -np.inf
                after[row, EOS] = end
        return after, (inner, counts)

    def select(self, state: Any, rows: Int[np.ndarray, "M"], width: int) -> Any:
        """The state of other rows."""
        inner, counts = state
        return self.model.select(inner, rows, width), counts[rows]


def log_sum(logs: Float[np.ndarray, "K"]) -> float:
    """Log Σ e^x; -inf for no numbers."""
    largest = logs.max(initial=-np.inf)
    return float(largest + np.log(np.exp(logs - largest).sum())) if largest > -np.inf else -math.inf


@dataclass(frozen=True)
class _Prefix:
    """A prefix of a word, as a row of the search."""

    ids: tuple[int, ...]
    score: float
    rest: str
    """The part of ``wanted`` that is not written yet."""
    started: bool
    """Whether a letter was written."""

    @property
    def complete(self) -> bool:
        """Whether all of ``wanted`` is written, so that any letter or a boundary may follow."""
        return self.started and not self.rest


class _Search:
    """The search for words at one position."""

    def __init__(
        self,
        wanted: str,
        table: SymbolTable,
        n: int,
        width: int,
        decode: Callable[[Sequence[int]], str],
    ) -> None:
        self.table = table
        self.n = n
        self.width = width
        self.decode = decode
        self.rows = [_Prefix((), 0.0, wanted, started=False)]
        self.scores: dict[str, float] = {}
        self.prefixes: list[float] = []
        self.boundary: float | None = None

    def advance(self, logs: Float[np.ndarray, "R V"]) -> list[tuple[int, int]]:
        """Extend each row; returns (row, symbol) of the new rows, none when the search is over."""
        if np.isnan(logs[:, EOS]).any():  # then the whole row is
            self.boundary = math.nan
        totals = np.full(logs.shape, -np.inf)
        for row, after, total in zip(self.rows, logs.astype(np.float64), totals, strict=True):
            if self.boundary is None:
                self.boundary = log_sum(after[self.table.boundaries])
            allowed, completing = self._allow(row)
            total[allowed] = row.score + after[allowed]
            if row.complete:
                self._finish(row, row.score + log_sum(after[self.table.boundaries]))
            else:
                self.prefixes.append(log_sum(total[completing]))
        candidates = [divmod(int(k), logs.shape[1]) for k in top_k(totals.ravel(), self.width)]
        active = [index for index in candidates if totals[index] > -np.inf]
        best = sorted(self.scores.values(), reverse=True)
        if len(best) >= self.n and active and totals[active[0]] <= best[self.n - 1]:
            return []
        self.rows = [
            self._write(self.rows[parent], symbol, float(totals[parent, symbol]))
            for parent, symbol in active
        ]
        return active

    def found(self) -> Words:
        """The words, when the search is over."""
        boundary = -math.inf if self.boundary is None else self.boundary
        return Words(self.scores, log_sum(np.array(self.prefixes)), boundary)

    def _allow(self, row: _Prefix) -> tuple[Int[np.ndarray, "K"], Int[np.ndarray, "J"]]:
        """The symbols that may follow a row, and those that complete ``wanted``."""
        table = self.table
        if not row.rest:
            return table.letters, table.letters
        completing = table.index.starting(row.rest)
        heads = np.array(table.index.heads(row.rest), dtype=np.int64)
        allowed = np.concatenate([completing, heads])
        return allowed, completing if row.started else completing[~table.blank[completing]]

    def _write(self, row: _Prefix, symbol: int, score: float) -> _Prefix:
        text = self.table.texts[symbol]
        started = row.started or bool(text.strip())
        return _Prefix((*row.ids, symbol), score, row.rest[len(text) :], started)

    def _finish(self, row: _Prefix, score: float) -> None:
        word = self.decode(row.ids).strip()
        if NO_TEXT in word:
            return
        before = self.scores.get(word)
        self.scores[word] = score if before is None else add_logs(before, score)
