"""A line that is entered word by word; a session that learns the lines that were written.

    session = model.session()
    session.feed("I love")
    session.predict(3)
    session.learn("I love Wolfsbane.")    the words of a line come up from now on, also new ones
    session.save("mine.txt")              a text file of these lines, to be read, edited, deleted

The network is not changed; see :mod:`charseq.inference.sessions.cache`. A session that has learnt
nothing answers as the model does, bit for bit.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from charseq import files
from charseq.arguments import one_text
from charseq.data.text.vocabulary import EOS, UNK
from charseq.decoding.search import top_k
from charseq.decoding.word_search import log_sum
from charseq.errors import DataError, UsageError
from charseq.inference import language_model as lookup
from charseq.inference.prediction import (
    Candidate,
    Prediction,
    rank,
    refuse_below,
    require_numbers,
)
from charseq.inference.sessions.cache import CAPACITY, ContinuousCache

if TYPE_CHECKING:
    from jaxtyping import Int

    from charseq.decoding.next_word_numpy import NextWordState

LINES_AT_ONCE = 256
"""Lines that are learnt side by side, where each begins anew."""


class Session:
    """A line that is entered word by word; its predictions are those for the whole text.

    The state of the network is kept, so that only new words are computed. Where the model was
    trained on running text, a line goes on from the state after the lines that were learnt.
    """

    def __init__(self, model: lookup.LanguageModel) -> None:
        self.model = model
        self._begin = model.network.start([[]])
        self._cache = ContinuousCache(model.network.readout[0].shape[0])
        self._new: dict[str, int] = {}  # words that the model does not know, and their numbers
        self._learnt: deque[tuple[str, int]] = deque()  # lines, and their words and ends
        self.reset()

    def reset(self) -> None:
        """Begin a new line."""
        self.text = ""
        """The line so far, its parts joined by a space."""
        self._ids: list[int] = []
        self._state = self._begin

    def feed(self, text: str) -> None:
        """Add one or more whole words to the line."""
        self.text = " ".join(filter(None, [self.text, one_text(text, "text").strip()]))
        ids = lookup.next_query(self.model.tokenizer, self.text).ids
        self._state, self._ids = self._read(ids), ids

    def predict(self, n: int = 1, *, beam: int | None = None) -> Prediction:
        """The ``n`` likeliest next words.

        Raises:
            SettingError: n or beam below 1.
        """
        query = lookup.next_query(self.model.tokenizer, self.text)
        found = self._answer(query, n, beam, conditional=False)
        return lookup.as_prediction(self.text, query, found)

    def complete(self, prefix: str, n: int = 1, *, beam: int | None = None) -> Prediction:
        """The ``n`` likeliest words that begin with ``prefix``.

        Raises:
            SettingError: n or beam below 1.
        """
        text = f"{self.text} {one_text(prefix, 'prefix')}"
        query = lookup.completion_query(self.model.tokenizer, text)
        return lookup.as_prediction(text, query, self._answer(query, n, beam, conditional=True))

    def learn(self, text: str | None = None) -> None:
        """Learn the lines of a text that was written, and begin a new line.

        Their words become likelier where the context is similar; words that the model does not know
        are suggested as well. The last ``CAPACITY`` words are remembered.

        Args:
            text: one or more lines; by default the line so far.

        Raises:
            UsageError: the symbols of the model are not words.
        """
        if not self.model.has_word_symbols:
            raise UsageError(f"a session learns words, but {self.model.path} has other symbols")
        text = self.text if text is None else one_text(text, "text")
        self._learn(line for line in text.splitlines() if line.strip())
        self.reset()

    @property
    def learnt(self) -> list[str]:
        """The lines that are remembered, the oldest first."""
        return [line for line, _ in self._learnt]

    def save(self, path: str | Path) -> None:
        """Write the lines that are remembered to a text file, which only its owner can read.

        ``model.session(path)`` reads it, for this model or another one.

        Raises:
            UsageError: the file cannot be written.
        """
        try:
            files.check_name(path)
            place = Path(path)
            files.refuse_link(place)
            with suppress(FileExistsError):  # O_EXCL: a link that appears here is none, too
                os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            files.replace(place, "".join(f"{line}\n" for line in self.learnt).encode())
        except OSError as fault:
            raise UsageError(f"{path}: cannot be written: {fault.strerror}") from None

    def load(self, path: str | Path) -> None:
        """Learn the lines of a text file in UTF-8, one that :meth:`save` wrote or any other.

        Raises:
            DataError: the file cannot be read.
            UsageError: as :meth:`learn`.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except OSError as fault:
            raise DataError(f"cannot be read: {fault.strerror}", path=path) from None
        except UnicodeDecodeError as fault:
            raise DataError(f"byte {fault.start + 1} is not UTF-8", path=path) from None
        self.learn(text)

    def _learn(self, lines: Iterable[str]) -> None:
        """Read lines, keep the contexts of their words, and carry the state where lines go on."""
        network, tokenizer = self.model.network, self.model.tokenizer
        size = 1 if self.model.carries_state else LINES_AT_ONCE
        waiting: list[tuple[str, list[int], list[int]]] = []

        def read() -> None:
            symbols, state = self._begin
            rows = np.zeros(len(waiting), dtype=np.int64)
            start = network.select(state, rows, len(rows))
            symbols, state, contexts = network.trace(
                symbols[rows], start, [ids for _, ids, _ in waiting]
            )
            for (line, _, words), found in zip(waiting, contexts, strict=True):
                self._cache.add(found, words)
                self._learnt.append((line, len(words)))
            if self.model.carries_state:
                self._begin = symbols, state
            waiting.clear()

        recent, total = deque[tuple[str, list[int]]](), 0
        for line in lines:
            recent.append((line, tokenizer.encode(line)))
            total += len(recent[-1][1]) + 1
            while total - len(recent[0][1]) > CAPACITY:  # older ones are forgotten at once
                total -= len(recent.popleft()[1]) + 1
        for line, known in recent:
            words = zip(tokenizer.words(line), known, strict=True)
            numbers = [self._number(word) if number == UNK else number for word, number in words]
            waiting.append((line, [*known, EOS], [*numbers, EOS]))
            if len(waiting) == size:
                read()
        if waiting:
            read()
        total = sum(words for _, words in self._learnt)
        while self._learnt and total - self._learnt[0][1] >= CAPACITY:
            total -= self._learnt.popleft()[1]

    def _number(self, word: str) -> int:
        """The number of a word that the model does not know."""
        return self._new.setdefault(word, len(self.model.tokenizer.vocabulary) + len(self._new))

    def _answer(
        self, query: lookup.Query, n: int, beam: int | None, *, conditional: bool
    ) -> list[Candidate]:
        width = self.model.beam if beam is None else beam
        refuse_below(1, n=n, beam=width)
        state = self._read(query.ids)
        if len(self._cache):
            return self._look_up(*state, query.prefix, n=n, conditional=conditional)
        (found,) = lookup.find_candidates(
            self.model, *state, [query.prefix], n=n, width=width, conditional=conditional
        )
        return found

    def _look_up(
        self,
        symbols: Int[np.ndarray, "1"],
        state: NextWordState,
        prefix: str,
        *,
        n: int,
        conditional: bool,
    ) -> list[Candidate]:
        """The candidates by network and cache together, among them words new to the model."""
        model, known = self.model, len(self.model.tokenizer.vocabulary)
        logs, _ = model.network.step(symbols, state)
        _, _, contexts = model.network.trace(symbols, state, [[EOS]])
        mixed = self._cache.mixed(logs[0], contexts[0][0], known + len(self._new))
        require_numbers([float(mixed[EOS])], model.path)
        new = {number: word for word, number in self._new.items() if word.startswith(prefix)}
        more = [number for number in new if mixed[number] > -np.inf]
        ids = np.array([*model.symbol_table.index.starting(prefix), *more], dtype=np.int64)
        scores = mixed[ids]
        base = log_sum(scores) if conditional else 0.0
        best = {
            new.get(number) or model.tokenizer.spelling(number): min(mixed[number] - base, 0.0)
            for number in ids[top_k(scores, n)].tolist()
        }
        require_numbers(best.values(), model.path)
        return rank(best, n)

    def _read(self, ids: list[int]) -> tuple[Int[np.ndarray, "1"], NextWordState]:
        """Last symbol and state after ``ids``; only new ids are computed where they continue."""
        known = len(self._ids)
        if ids[:known] == self._ids:
            return self.model.network.extend(*self._state, [ids[known:]])
        return self.model.network.extend(*self._begin, [ids])
