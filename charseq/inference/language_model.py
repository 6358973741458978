"""Texts -> next words, completions, generated lines and scores of a language model.

    model.predict(["I love machine"], n=3)
    model.complete(["I love mach"], n=3)
    model.generate(["I love"], count=2, seed=1)

Where a symbol is a word, the likeliest words are read off one distribution. Where words consist of
subwords or characters, they are searched for (see :mod:`charseq.decoding.word_search`), given that
the last word of the text is finished. No answer contains an unknown word, and no answer of
:meth:`LanguageModel.predict` is the end of the line: its probability is not listed.

A text that occurs several times is computed once, and the other texts of a batch change no answer
(see :mod:`charseq.decoding.next_word_numpy`).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.data.frames import over_texts
from charseq.data.text.normalise import normalise
from charseq.data.text.vocabulary import EOS, SPECIALS, UNK
from charseq.decoding.search import Hypothesis, sample, top_k
from charseq.decoding.word_search import SymbolTable, WordLimit, find_words, log_sum
from charseq.errors import SettingError
from charseq.inference.prediction import (
    Candidate,
    Prediction,
    rank,
    refuse_below,
    require_numbers,
)

if TYPE_CHECKING:
    from jaxtyping import Int

    from charseq.config import Config
    from charseq.data.text.tokenizer import Tokenizer
    from charseq.decoding.next_word_numpy import NextWordState, NumpyNextWord
    from charseq.inference.sessions import session as sessions

LONGEST_WORD = 40
"""Most symbols in a word that is searched for; longer words are not found."""
ROWS = 256
"""Continuations that are sampled together."""


@dataclass(frozen=True)
class LineScore:
    """The probability of a whole line, including its end."""

    score: float
    """Natural logarithm of the line's probability."""
    words: int
    """Number of words, plus one for the end of the line."""
    unknown: list[str]
    """Symbols that the model has never seen, each once; the model does not tell them apart."""


@dataclass(frozen=True)
class Query:
    """The context of a word that is asked for."""

    ids: list[int]
    """The symbols before the word."""
    prefix: str
    """The word's first letters; a space before them where the word before must be ended."""
    unknown: list[str]
    """Symbols of the text that the model has never seen, each once."""


class LanguageModel:
    """A trained model that predicts words, from :func:`charseq.load`.

    It was trained on lines of text. A text is the beginning of a line.
    """

    has_features = False

    def __reduce__(self) -> tuple[Any, ...]:
        from charseq.inference.loading import reloading

        return reloading(self)

    def __init__(
        self,
        path: Path,
        metadata: dict[str, Any],
        config: Config,
        tokenizer: Tokenizer,
        network: NumpyNextWord,
    ) -> None:
        self.path = path
        self.name = path.name
        self.metadata = metadata
        """Everything that the run's ``about.json`` says."""
        self.config = config
        self.beam = config.beam
        self.tokenizer = tokenizer
        self.network = network
        self.has_word_symbols = tokenizer.kind == "words"
        """Whether a symbol is a word; else words consist of subwords or characters."""
        self.carries_state = config.stateful == "yes"
        """Whether lines continue each other, so that the state goes on from line to line."""

    @over_texts
    def predict(
        self,
        texts: Sequence[str],
        *,
        n: int = 1,
        beam: int | None = None,
        batch_size: int = 256,
    ) -> list[Prediction]:
        """The ``n`` likeliest next words after each text, whose last word counts as finished.

        Args:
            texts: beginnings of lines, as any iterable of them, or a single one; after an empty
                text comes the first word of a line. A pandas Series of texts gives a Series of
                answers with its index and its nulls.
            n: number of candidates for each text, best first; there may be fewer.
            beam: beam width of the search for words of several symbols; by default the setting
                ``beam`` of the run.
            batch_size: texts computed together; it changes the speed, never an answer.

        Raises:
            SettingError: n, beam or batch_size below 1.
            UsageError: with the position: a text that is no str.
        """
        queries = {text: next_query(self.tokenizer, text) for text in dict.fromkeys(texts)}
        found = self._predict(queries, n=n, beam=beam, batch_size=batch_size, conditional=False)
        return [found[text] for text in texts]

    @over_texts
    def complete(
        self,
        texts: Sequence[str],
        *,
        n: int = 1,
        beam: int | None = None,
        batch_size: int = 256,
    ) -> list[Prediction]:
        """The ``n`` likeliest words that begin with the last, unfinished word of each text.

        After a text that ends in white space every word is possible. The probability of a word is
        that among the words with this beginning. There may be no such word: then there are no
        candidates. Arguments and errors are those of :meth:`predict`.
        """
        queries = {text: completion_query(self.tokenizer, text) for text in dict.fromkeys(texts)}
        found = self._predict(queries, n=n, beam=beam, batch_size=batch_size, conditional=True)
        return [found[text] for text in texts]

    @over_texts
    def generate(
        self,
        texts: Sequence[str],
        *,
        count: int = 1,
        most: int = 40,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 1,
    ) -> list[list[str]]:
        """Sampled continuations of each text, up to the end of the line.

        A text followed by its continuation is a whole line. The same text and seed give the same
        continuations, whatever the other texts are.

        Args:
            texts: beginnings of lines, as for :meth:`predict`.
            count: number of continuations for each text.
            most: most words of a continuation.
            temperature: 1 samples by the model's probabilities, less prefers likely words, 0 takes
                the likeliest symbol every time.
            top_p: only the likeliest symbols are sampled, as few as have this probability together
                (nucleus sampling).
            seed: another seed gives other continuations.

        Returns:
            For each text, in order, its ``count`` continuations.

        Raises:
            SettingError: count or most below 1, temperature or seed below 0, top_p outside (0, 1].
        """
        refuse_below(1, count=count, most=most)
        refuse_below(0, temperature=temperature, whole=False)
        refuse_below(0, seed=seed)
        if not 0 < top_p <= 1:
            raise SettingError(f"top_p is {top_p}, expected more than 0, up to 1")
        found: dict[str, list[str]] = {text: [] for text in texts}
        rows = [(text, number) for text in found for number in range(count)]
        for first in range(0, len(rows), ROWS):
            group = rows[first : first + ROWS]
            drawn = self._draw(
                [next_query(self.tokenizer, text) for text, _ in group],
                most,
                temperature=temperature,
                top_p=top_p,
                seeds=[
                    (seed, zlib.crc32(text.encode(errors="surrogatepass")), number)
                    for text, number in group
                ],
            )
            require_numbers([one.score for one in drawn], self.path)
            for (text, _), one in zip(group, drawn, strict=True):
                found[text].append(self._continuation(text, one.ids))
        return [list(found[text]) for text in texts]

    @over_texts
    def score(self, texts: Sequence[str], *, batch_size: int = 256) -> list[LineScore]:
        """The probability of each text as a whole line.

        Args:
            texts: whole lines, as for :meth:`predict`.
            batch_size: symbols computed together; it changes the speed, never a score.

        Raises:
            SettingError: batch_size below 1.
        """
        refuse_below(1, batch_size=batch_size)
        distinct = list(dict.fromkeys(texts))
        parts: list[list[float]] = [[] for _ in distinct]
        rows = [self.tokenizer.encode(text) for text in distinct]
        for numbers, values in self.network.score(rows, size=batch_size):
            for number, value in zip(numbers.tolist(), values.tolist(), strict=True):
                parts[number].append(value)
        found = {
            text: LineScore(
                math.fsum(part), len(self.tokenizer.words(text)) + 1, self.tokenizer.unknown(text)
            )
            for text, part in zip(distinct, parts, strict=True)
        }
        require_numbers((one.score for one in found.values()), self.path)
        return [found[text] for text in texts]

    def append(self, text: str, word: str) -> str:
        """``text`` with one more word. Spaces are set as the tokenizer sets them."""
        if not self.has_word_symbols:
            return f"{text.rstrip()} {word}" if text.strip() else f"{text}{word}"
        words = self.tokenizer.words(text)
        line = self.tokenizer.join([*words, word])
        return text.rstrip() + line[len(self.tokenizer.join(words)) :]

    def session(self, learnt: str | Path | None = None) -> sessions.Session:
        """A line that is entered word by word, as on a keyboard; it can learn what was written.

        Args:
            learnt: a text file of lines that it has learnt already: of ``Session.save``, or any.

        Raises:
            DataError: the file cannot be read.
            UsageError: it is given, but the symbols of the model are not words.
        """
        from charseq.inference.sessions.session import Session

        session = Session(self)
        if learnt is not None:
            session.load(learnt)
        return session

    @cached_property
    def symbol_table(self) -> SymbolTable:
        """The spelling of every symbol, in the Unicode form of the texts."""
        form = self.tokenizer.vocabulary.form
        spelt = [
            self.tokenizer.spelling(k) for k in range(SPECIALS, len(self.tokenizer.vocabulary))
        ]
        return SymbolTable([""] * SPECIALS + [normalise(text, form) for text in spelt])

    def _predict(
        self,
        queries: Mapping[str, Query],
        *,
        n: int,
        beam: int | None,
        batch_size: int,
        conditional: bool,
    ) -> dict[str, Prediction]:
        """The prediction for each text, computed in batches of similar length."""
        width = self.beam if beam is None else beam
        refuse_below(1, n=n, beam=width, batch_size=batch_size)
        order = sorted(queries, key=lambda text: len(queries[text].ids))
        found = {}
        for first in range(0, len(order), batch_size):
            group = [(text, queries[text]) for text in order[first : first + batch_size]]
            symbols, state = self.network.start([query.ids for _, query in group])
            prefixes = [query.prefix for _, query in group]
            answers = find_candidates(
                self, symbols, state, prefixes, n=n, width=width, conditional=conditional
            )
            for (text, query), candidates in zip(group, answers, strict=True):
                found[text] = as_prediction(text, query, candidates)
        return found

    def _draw(
        self, queries: Sequence[Query], most: int, *, seeds: Sequence[Any], **sampling: float
    ) -> list[Hypothesis]:
        """One sampled continuation for each query."""
        symbols, state = self.network.start([query.ids for query in queries])
        forbidden = [UNK]
        if self.has_word_symbols:
            limits = [most] * len(queries)
            return sample(
                self.network, symbols, state, limits, seeds=seeds, forbidden=forbidden, **sampling
            )
        model = WordLimit(self.network, self.symbol_table, most)
        begun = model.start(symbols, state, [query.prefix for query in queries])
        limits = [most * LONGEST_WORD] * len(queries)
        return sample(model, symbols, begun, limits, seeds=seeds, forbidden=forbidden, **sampling)

    def _continuation(self, text: str, ids: Sequence[int]) -> str:
        """Sampled ids as the text that follows ``text`` in the line."""
        if self.has_word_symbols:
            words = self.tokenizer.words(text)
            line = self.tokenizer.join([*words, *map(self.tokenizer.spelling, ids)])
            more = line[len(self.tokenizer.join(words)) :]
        else:
            more = self.tokenizer.decode(ids)
        return more.lstrip() if not text or text[-1].isspace() else more


def next_query(tokenizer: Tokenizer, text: str) -> Query:
    """The query for the word after a text."""
    text = text.rstrip()
    prefix = " " if text and tokenizer.kind != "words" else ""
    return Query(tokenizer.encode(text), prefix, tokenizer.unknown(text))


def completion_query(tokenizer: Tokenizer, text: str) -> Query:
    """The query for the last word of a text, which is unfinished."""
    if not text.strip() or text[-1].isspace():
        return next_query(tokenizer, text)
    if tokenizer.kind == "words":
        *words, last = tokenizer.words(text)
        ids = tokenizer.encode(text)[:-1]
        unseen = [word for word, number in zip(words, ids, strict=True) if number == UNK]
        return Query(ids, last, list(dict.fromkeys(unseen)))
    last = text.rsplit(maxsplit=1)[-1]
    before = next_query(tokenizer, text.removesuffix(last))
    last = normalise(last, tokenizer.vocabulary.form)
    return Query(before.ids, before.prefix + last, before.unknown)


def find_candidates(
    model: LanguageModel,
    symbols: Int[np.ndarray, "N"],
    state: NextWordState,
    prefixes: Sequence[str],
    *,
    n: int,
    width: int,
    conditional: bool,
) -> list[list[Candidate]]:
    """The ``n`` likeliest words for each of N rows.

    ``symbols`` are the last symbols read, ``state`` is the network's after them.
    ``conditional`` probabilities are those among the words that begin with the prefix, else
    among all words and the end of the line. ``width``, the beam width of a search, is raised
    to ``n`` where it is less.
    """
    if model.has_word_symbols:
        return _look_up(model, symbols, state, prefixes, n=n, conditional=conditional)
    found = find_words(
        model.network,
        symbols,
        state,
        prefixes,
        model.symbol_table,
        n=n,
        width=max(width, n),
        limit=LONGEST_WORD,
        decode=model.tokenizer.decode,
    )
    answers = []
    for prefix, words in zip(prefixes, found, strict=True):
        before = words.boundary if prefix else 0.0
        base = words.prefix if conditional else before
        scores = {word: score - base for word, score in words.scores.items()}
        require_numbers([words.boundary, *scores.values()], model.path)
        answers.append(rank({word: min(score, 0.0) for word, score in scores.items()}, n))
    return answers


def _look_up(
    model: LanguageModel,
    symbols: Int[np.ndarray, "N"],
    state: NextWordState,
    prefixes: Sequence[str],
    *,
    n: int,
    conditional: bool,
) -> list[list[Candidate]]:
    """The candidates where a symbol is a word: from one distribution, without a search."""
    logs, _ = model.network.step(symbols, state)
    # where one probability of a row is NaN, all are
    require_numbers(logs[:, EOS].tolist(), model.path)
    answers = []
    for row, prefix in zip(logs, prefixes, strict=True):
        ids = model.symbol_table.index.starting(prefix)
        scores = row[ids].astype(np.float64)
        base = log_sum(scores) if conditional else 0.0
        best = {
            model.tokenizer.spelling(int(ids[k])): min(float(scores[k]) - base, 0.0)
            for k in top_k(scores, n)
        }
        require_numbers(best.values(), model.path)
        answers.append(rank(best, n))
    return answers


def as_prediction(text: str, query: Query, candidates: list[Candidate]) -> Prediction:
    """The candidates as a prediction; without any, its answer is empty."""
    best = candidates[0] if candidates else Candidate("", 0.0, -math.inf)
    return Prediction(
        text,
        best.prediction,
        best.probability,
        query.unknown,
        truncated=False,
        candidates=candidates,
    )
