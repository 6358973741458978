"""state before a word -> its likeliest words, symbol by symbol; texts -> those that begin alike.

For models whose symbols are pieces or characters, a word takes several symbols. It is closed by
the first symbol that begins with white space, or by EOS, which belong to what follows:

    P(word) = P(its symbols) x P(a symbol that closes)

and of several ways to cut a word into symbols the probabilities add up. It knows no networks;
like ``decoding`` it meets them in ``step`` and ``select``.
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
"""What bytes are decoded as that are no text; such are no words."""


class Index:
    """The texts of symbols in order, so that those that begin alike stand together."""

    def __init__(self, texts: Sequence[str]) -> None:
        """``texts`` by id; an id whose text is empty is never found."""
        named = [number for number, text in enumerate(texts) if text]
        ranked = sorted(named, key=texts.__getitem__)
        self.ids = np.array(ranked, dtype=np.int64)
        self.texts = [texts[number] for number in ranked]
        self.every = np.array(named, dtype=np.int64)

    def range(self, prefix: str) -> slice:
        """Where in ``ids`` and ``texts`` those stand that begin with ``prefix``."""
        size = len(prefix)
        first = bisect_left(self.texts, prefix, key=lambda text: text[:size])
        last = bisect_right(self.texts, prefix, lo=first, key=lambda text: text[:size])
        return slice(first, last)

    def starting(self, prefix: str) -> Int[np.ndarray, "K"]:
        """The ids of the texts that begin with ``prefix``, the smallest first."""
        return np.sort(self.ids[self.range(prefix)]) if prefix else self.every

    def heads(self, text: str) -> list[int]:
        """The ids of the texts that ``text`` begins with, itself left out."""
        found = []
        for length in range(1, len(text)):
            place = bisect_left(self.texts, text[:length])
            while self.texts[place : place + 1] == [text[:length]]:
                found.append(int(self.ids[place]))
                place += 1
        return found


class SymbolTable:
    """What each symbol of a model spells, as the search for words needs it."""

    def __init__(self, texts: Sequence[str]) -> None:
        """``texts`` by id; "" for symbols that stand in no word."""
        self.texts = texts
        self.index = Index(texts)
        spaces = [number for number, text in enumerate(texts) if text[:1].isspace()]
        self.spaces = np.array(spaces, dtype=np.int64)
        self.closing = np.array([EOS, *spaces])
        inner = np.ones(len(texts), dtype=bool)
        inner[self.spaces] = False
        self.letters = self.index.every[inner[self.index.every]]
        self.blank = np.array([not text.strip() for text in texts])


@dataclass(frozen=True)
class Words:
    """What was found in one place, as logarithms of probabilities."""

    scores: dict[str, float]
    """Of each word and its close; all of them begin as was wanted."""
    beginning: float
    """Of everything that begins as was wanted, found or not."""
    closed: float
    """Of the first symbol being one that closes what stood before."""


def find_words(
    model: StepModel,
    symbols: Int[np.ndarray, "N"],
    state: Any,
    wanted: Sequence[str],
    inventory: SymbolTable,
    *,
    n: int,
    width: int,
    limit: int,
    decode: Callable[[Sequence[int]], str],
) -> list[Words]:
    """The likeliest words after ``symbols``, one place a row, that begin with ``wanted``.

    What is wanted begins with a space where a word must first be closed. The search keeps the
    ``width`` likeliest beginnings and is over when none is likelier than the ``n``-th word, or has
    ``limit`` symbols. ``beginning`` is exact as long as there are no more than ``width`` ways to
    cut what is wanted into symbols, so always for characters.
    """
    searches = [_Search(text, inventory, n, width, decode) for text in wanted]
    alive = searches
    for length in range(limit + 1):
        logs, state = model.step(symbols, state)
        parents: list[int] = []
        chosen: list[int] = []
        going = []
        end = 0
        for search in alive:
            first, end = end, end + len(search.rows)
            found = search.advance(logs[first:end])
            parents += [first + row for row, _ in found]
            chosen += [symbol for _, symbol in found]
            going += [search] if found else []
        alive = going
        if not alive or length == limit:
            break
        state = model.select(state, np.array(parents), 1)
        symbols = np.array(chosen)
    return [search.found() for search in searches]


class Bounded:
    """A model whose lines go on with whole words, ``most`` of them: what may be drawn from."""

    def __init__(self, model: StepModel, inventory: SymbolTable, most: int) -> None:
        self.model = model
        self.inventory = inventory
        self.most = most

    def start(
        self, symbols: Int[np.ndarray, "N"], state: Any, wanted: Sequence[str]
    ) -> tuple[Any, Int[np.ndarray, "N"]]:
        """A state of the model, and how many words are begun: none where a space is wanted."""
        begun = np.array([0 if text else 1 for text in wanted])
        # the symbols are read in the first step, but they belong to the text before
        return state, begun - np.isin(symbols, self.inventory.spaces)

    def step(self, symbols: Int[np.ndarray, "N"], state: Any) -> tuple[Any, Any]:
        """As the model's, but the last word can only be finished, and the first must be begun."""
        inner, counts = state
        logs, inner = self.model.step(symbols, inner)
        counts = counts + np.isin(symbols, self.inventory.spaces)
        after = logs.astype(np.float64)
        for row, count in enumerate(counts):
            if count == 0:
                after[row, self.inventory.letters] = -np.inf
            elif count >= self.most:
                end = log_sum(after[row, self.inventory.closing])
                after[row, self.inventory.closing] = -np.inf
                after[row, EOS] = end
        return after, (inner, counts)

    def select(self, state: Any, rows: Int[np.ndarray, "M"], width: int) -> Any:
        """The state of other rows."""
        inner, counts = state
        return self.model.select(inner, rows, width), counts[rows]


def log_sum(logs: Float[np.ndarray, "K"]) -> float:
    """The logarithm of the sum of e^x; -inf for nothing."""
    most = logs.max(initial=-np.inf)
    return float(most + np.log(np.exp(logs - most).sum())) if most > -np.inf else -math.inf


@dataclass(frozen=True)
class _Row:
    """The beginning of a word."""

    ids: tuple[int, ...]
    score: float
    rest: str
    """What is wanted and not spelt yet."""
    begun: bool
    """Whether a letter was written."""

    @property
    def open(self) -> bool:
        """Whether it begins as was wanted, so that any letter may follow, or the end."""
        return self.begun and not self.rest


class _Search:
    """The search for the words of one place."""

    def __init__(
        self,
        wanted: str,
        inventory: SymbolTable,
        n: int,
        width: int,
        decode: Callable[[Sequence[int]], str],
    ) -> None:
        self.inventory = inventory
        self.n = n
        self.width = width
        self.decode = decode
        self.rows = [_Row((), 0.0, wanted, begun=False)]
        self.scores: dict[str, float] = {}
        self.beginnings: list[float] = []
        self.closed: float | None = None

    def advance(self, logs: Float[np.ndarray, "R V"]) -> list[tuple[int, int]]:
        """Take in what may follow each row; (row, symbol) of what goes on, none if it is over."""
        totals = np.full(logs.shape, -np.inf)
        for row, after, total in zip(self.rows, logs.astype(np.float64), totals, strict=True):
            if self.closed is None:
                self.closed = log_sum(after[self.inventory.closing])
            allowed, opening = self._allow(row)
            total[allowed] = row.score + after[allowed]
            if row.open:
                self._finish(row, row.score + log_sum(after[self.inventory.closing]))
            else:
                self.beginnings.append(log_sum(total[opening]))
        places = [divmod(int(k), logs.shape[1]) for k in top_k(totals.ravel(), self.width)]
        going = [place for place in places if totals[place] > -np.inf]
        best = sorted(self.scores.values(), reverse=True)
        if len(best) >= self.n and going and totals[going[0]] <= best[self.n - 1]:
            return []
        self.rows = [
            self._write(self.rows[parent], symbol, float(totals[parent, symbol]))
            for parent, symbol in going
        ]
        return going

    def found(self) -> Words:
        """Everything, when the search is over."""
        closed = -math.inf if self.closed is None else self.closed
        return Words(self.scores, log_sum(np.array(self.beginnings)), closed)

    def _allow(self, row: _Row) -> tuple[Int[np.ndarray, "K"], Int[np.ndarray, "J"]]:
        """The symbols that may follow a row, and those of them that make it open."""
        inventory = self.inventory
        if not row.rest:
            return inventory.letters, inventory.letters
        opening = inventory.index.starting(row.rest)
        heads = np.array(inventory.index.heads(row.rest), dtype=np.int64)
        allowed = np.concatenate([opening, heads])
        return allowed, opening if row.begun else opening[~inventory.blank[opening]]

    def _write(self, row: _Row, symbol: int, score: float) -> _Row:
        text = self.inventory.texts[symbol]
        begun = row.begun or bool(text.strip())
        return _Row((*row.ids, symbol), score, row.rest[len(text) :], begun)

    def _finish(self, row: _Row, score: float) -> None:
        word = self.decode(row.ids).strip()
        if NO_TEXT in word:
            return
        before = self.scores.get(word)
        self.scores[word] = score if before is None else add_logs(before, score)
