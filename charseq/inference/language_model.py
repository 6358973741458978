"""run, texts -> next words, completions, continuations, scores: the API of a next-word model.

    model.predict(["I love machine"], n=3)
    model.complete(["I love mach"], n=3)
    model.generate(["I love"], count=2, seed=1)

It knows no files and no command line. Where one symbol is one word, the likeliest words are read
off one distribution; where words are spelt in pieces or characters, they are searched for (see
``spelling``), given that the text's last word is over. No answer has an unknown word in it, and no
answer of :meth:`LanguageModel.predict` is the end of the line: its probability is not listed.

Equal texts are computed once, and what else is in a batch changes no answer (see ``language``).
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

from charseq.data.text.normalise import normalise
from charseq.data.text.vocabulary import SPECIALS, UNK
from charseq.decoding.search import Hypothesis, sample, top_k
from charseq.decoding.word_search import Bounded, SymbolTable, find_words, log_sum
from charseq.errors import SettingError
from charseq.inference.prediction import Candidate, Prediction, rank

if TYPE_CHECKING:
    from jaxtyping import Int

    from charseq.config import Config
    from charseq.data.text.tokenizer import Tokenizer
    from charseq.decoding.next_word_numpy import NextWordState, NumpyNextWord

LONGEST_WORD = 40
"""Most symbols in a word that is searched for; longer ones are not found."""
ROWS = 256
"""Continuations that are drawn at once."""


@dataclass(frozen=True)
class LineScore:
    """How likely a line is, with its end."""

    score: float
    """The natural logarithm of the line's probability."""
    words: int
    """Its words, and one for its end."""
    unknown: list[str]
    """Symbols that the model has never seen, each once; all such are one to the model."""


@dataclass(frozen=True)
class Query:
    """What is asked of one place in a line."""

    ids: list[int]
    """The symbols before it."""
    wanted: str
    """What the word begins with: letters, or a space where the word before must be closed."""
    unknown: list[str]
    """What the model has never seen of the text before."""


class LanguageModel:
    """A trained next-word run, ready to use."""

    has_features = False

    def __init__(
        self,
        path: Path,
        about: dict[str, Any],
        config: Config,
        units: Tokenizer,
        network: NumpyNextWord,
    ) -> None:
        self.path = path
        self.name = path.name
        self.about = about
        self.config = config
        self.units = units
        self.network = network
        self.whole = units.kind == "words"
        """Whether one symbol is one word."""

    def predict(
        self,
        texts: Sequence[str],
        *,
        n: int = 1,
        beam: int | None = None,
        batch_size: int = 256,
    ) -> list[Prediction]:
        """The ``n`` likeliest words after each text, whose own words are taken as finished.

        Args:
            texts: beginnings of lines; an empty one asks for a line's first word.
            n: candidates per text, best first; there may be fewer.
            beam: width of the search for words of several symbols; by default as the run was made.
            batch_size: texts computed at once; it changes the speed, never an answer.

        Raises:
            SettingError: n, beam or batch_size below 1.
        """
        queries = {text: self.after(text) for text in dict.fromkeys(texts)}
        found = self._predict(queries, n=n, beam=beam, batch_size=batch_size, given=False)
        return [found[text] for text in texts]

    def complete(
        self,
        texts: Sequence[str],
        *,
        n: int = 1,
        beam: int | None = None,
        batch_size: int = 256,
    ) -> list[Prediction]:
        """The ``n`` likeliest words that begin with the last, unfinished word of each text.

        A text that ends in white space has an empty one. Probabilities are among the words that
        begin so; there may be none. Arguments and errors are those of :meth:`predict`.
        """
        queries = {text: self.within(text) for text in dict.fromkeys(texts)}
        found = self._predict(queries, n=n, beam=beam, batch_size=batch_size, given=True)
        return [found[text] for text in texts]

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
        """``count`` ways to go on from each text to the end of its line, drawn at random.

        Text and continuation together are the line; the continuation has ``most`` words at most.
        ``temperature`` and ``top_p`` are those of ``search.sample``. The same text
        and seed give the same continuations, whatever the other texts.

        Raises:
            SettingError: count or most below 1, temperature or seed below 0, top_p outside (0, 1].
        """
        _refuse_below(1, count=count, most=most)
        _refuse_below(0, temperature=temperature, seed=seed)
        if not 0 < top_p <= 1:
            raise SettingError(f"top_p is {top_p}, expected more than 0, up to 1")
        found: dict[str, list[str]] = {text: [] for text in texts}
        rows = [(text, number) for text in found for number in range(count)]
        for first in range(0, len(rows), ROWS):
            group = rows[first : first + ROWS]
            drawn = self._draw(
                [self.after(text) for text, _ in group],
                most,
                temperature=temperature,
                top_p=top_p,
                seeds=[
                    (seed, zlib.crc32(text.encode(errors="surrogatepass")), number)
                    for text, number in group
                ],
            )
            for (text, _), one in zip(group, drawn, strict=True):
                found[text].append(self._continuation(text, one.ids))
        return [list(found[text]) for text in texts]

    def score(self, texts: Sequence[str], *, batch_size: int = 256) -> list[LineScore]:
        """How likely each text is as a whole line.

        ``batch_size`` counts symbols that are computed at once; it never changes an answer.

        Raises:
            SettingError: batch_size below 1.
        """
        _refuse_below(1, batch_size=batch_size)
        distinct = list(dict.fromkeys(texts))
        parts: list[list[float]] = [[] for _ in distinct]
        rows = [self.units.encode(text) for text in distinct]
        for numbers, _, labels, logs in self.network.scan(rows, size=batch_size):
            chosen = logs[np.arange(len(labels)), labels]
            for number, value in zip(numbers.tolist(), chosen.tolist(), strict=True):
                parts[number].append(value)
        found = {
            text: LineScore(
                math.fsum(part), len(self.units.words(text)) + 1, self.units.unknown(text)
            )
            for text, part in zip(distinct, parts, strict=True)
        }
        return [found[text] for text in texts]

    def append(self, text: str, word: str) -> str:
        """``text`` with one more word, spaced as its words are."""
        if not self.whole:
            return f"{text.rstrip()} {word}" if text.strip() else f"{text}{word}"
        words = self.units.words(text)
        line = self.units.join([*words, word])
        return text.rstrip() + line[len(self.units.join(words)) :]

    def session(self) -> Session:
        """A line that is read word by word, as on a keyboard."""
        return Session(self)

    def after(self, text: str) -> Query:
        """The place of the word after a text."""
        text = text.rstrip()
        wanted = " " if text and not self.whole else ""
        return Query(self.units.encode(text), wanted, self.units.unknown(text))

    def within(self, text: str) -> Query:
        """The place of the last word of a text, which is unfinished."""
        if not text.strip() or text[-1].isspace():
            return self.after(text)
        if self.whole:
            *words, last = self.units.words(text)
            ids = self.units.encode(text)[:-1]
            unseen = [word for word, number in zip(words, ids, strict=True) if number == UNK]
            return Query(ids, last, list(dict.fromkeys(unseen)))
        last = text.rsplit(maxsplit=1)[-1]
        before = self.after(text.removesuffix(last))
        last = normalise(last, self.units.vocabulary.form)
        return Query(before.ids, before.wanted + last, before.unknown)

    def answer(
        self,
        symbols: Int[np.ndarray, "N"],
        state: NextWordState,
        wanted: Sequence[str],
        *,
        n: int,
        width: int,
        given: bool,
    ) -> list[list[Candidate]]:
        """The ``n`` likeliest words after what was read, for each row.

        ``given``: probabilities are among the words that begin as ``wanted``, not among all words
        and the end of the line. The ``width`` of a search is raised to ``n`` where it is less.
        """
        if self.whole:
            return self._look_up(symbols, state, wanted, n=n, given=given)
        found = find_words(
            self.network,
            symbols,
            state,
            wanted,
            self.inventory,
            n=n,
            width=max(width, n),
            limit=LONGEST_WORD,
            decode=self.units.decode,
        )
        answers = []
        for text, words in zip(wanted, found, strict=True):
            before = words.closed if text else 0.0
            base = words.beginning if given else before
            answers.append(rank({w: min(s - base, 0.0) for w, s in words.scores.items()}, n))
        return answers

    @cached_property
    def inventory(self) -> SymbolTable:
        """What every symbol spells, in the form that texts are read in."""
        form = self.units.vocabulary.form
        spelt = [self.units.spelling(k) for k in range(SPECIALS, len(self.units.vocabulary))]
        return SymbolTable([""] * SPECIALS + [normalise(text, form) for text in spelt])

    def _predict(
        self,
        queries: Mapping[str, Query],
        *,
        n: int,
        beam: int | None,
        batch_size: int,
        given: bool,
    ) -> dict[str, Prediction]:
        width = self.config.beam if beam is None else beam
        _refuse_below(1, n=n, beam=width, batch_size=batch_size)
        # texts of similar length end together
        order = sorted(queries, key=lambda text: len(queries[text].ids))
        found = {}
        for first in range(0, len(order), batch_size):
            group = [(text, queries[text]) for text in order[first : first + batch_size]]
            symbols, state = self.network.start([query.ids for _, query in group])
            wanted = [query.wanted for _, query in group]
            answers = self.answer(symbols, state, wanted, n=n, width=width, given=given)
            for (text, query), candidates in zip(group, answers, strict=True):
                found[text] = _prediction(text, query, candidates)
        return found

    def _look_up(
        self,
        symbols: Int[np.ndarray, "N"],
        state: NextWordState,
        wanted: Sequence[str],
        *,
        n: int,
        given: bool,
    ) -> list[list[Candidate]]:
        """The answer where one symbol is one word, so that nothing is to be searched for."""
        logs, _ = self.network.step(symbols, state)
        answers = []
        for row, text in zip(logs, wanted, strict=True):
            ids = self.inventory.index.starting(text)
            scores = row[ids].astype(np.float64)
            base = log_sum(scores) if given else 0.0
            best = {
                self.units.spelling(int(ids[place])): min(float(scores[place]) - base, 0.0)
                for place in top_k(scores, n)
            }
            answers.append(rank(best, n))
        return answers

    def _draw(
        self, queries: Sequence[Query], most: int, *, seeds: Sequence[Any], **how: float
    ) -> list[Hypothesis]:
        """One continuation for each place."""
        symbols, state = self.network.start([query.ids for query in queries])
        forbidden = [UNK]
        if self.whole:
            limits = [most] * len(queries)
            return sample(
                self.network, symbols, state, limits, seeds=seeds, forbidden=forbidden, **how
            )
        model = Bounded(self.network, self.inventory, most)
        begun = model.start(symbols, state, [query.wanted for query in queries])
        limits = [most * LONGEST_WORD] * len(queries)
        return sample(model, symbols, begun, limits, seeds=seeds, forbidden=forbidden, **how)

    def _continuation(self, text: str, ids: Sequence[int]) -> str:
        """What stands behind ``text``, so that both together are the line."""
        if self.whole:
            words = self.units.words(text)
            line = self.units.join([*words, *map(self.units.spelling, ids)])
            more = line[len(self.units.join(words)) :]
        else:
            more = self.units.decode(ids)
        return more.lstrip() if not text or text[-1].isspace() else more


class Session:
    """A line that is read word by word; what it says is what the model says of the whole text."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.reset()

    def reset(self) -> None:
        """Begin a new line."""
        self.text = ""
        """The line so far, its parts joined by a space."""
        self._ids: list[int] = []
        self._place = self.model.network.start([[]])

    def feed(self, text: str) -> None:
        """Read one or more whole words more."""
        self.text = " ".join(filter(None, [self.text, text.strip()]))
        ids = self.model.after(self.text).ids
        self._place, self._ids = self._read(ids), ids

    def predict(self, n: int = 1, *, beam: int | None = None) -> Prediction:
        """The ``n`` likeliest next words. Raises SettingError for n or beam below 1."""
        query = self.model.after(self.text)
        return _prediction(self.text, query, self._answer(query, n, beam, given=False))

    def complete(self, prefix: str, n: int = 1, *, beam: int | None = None) -> Prediction:
        """The ``n`` likeliest words that begin with ``prefix``. Errors as those of predict."""
        text = f"{self.text} {prefix}"
        query = self.model.within(text)
        return _prediction(text, query, self._answer(query, n, beam, given=True))

    def _answer(self, query: Query, n: int, beam: int | None, *, given: bool) -> list[Candidate]:
        width = self.model.config.beam if beam is None else beam
        _refuse_below(1, n=n, beam=width)
        place = self._read(query.ids)
        return self.model.answer(*place, [query.wanted], n=n, width=width, given=given)[0]

    def _read(self, ids: list[int]) -> tuple[Int[np.ndarray, "1"], NextWordState]:
        """The place after ``ids``, from where the line is if they only go on from there."""
        known = len(self._ids)
        if ids[:known] == self._ids:
            return self.model.network.extend(*self._place, [ids[known:]])
        return self.model.network.start([ids])


def _prediction(text: str, query: Query, candidates: list[Candidate]) -> Prediction:
    best = candidates[0] if candidates else Candidate("", 0.0, -math.inf)
    return Prediction(
        text,
        best.prediction,
        best.probability,
        query.unknown,
        truncated=False,
        candidates=candidates,
    )


def _refuse_below(least: int, **values: int | float) -> None:
    for name, value in values.items():
        if not value >= least:
            raise SettingError(f"{name} is {value}, expected {least} or more")
