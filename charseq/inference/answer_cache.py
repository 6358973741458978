"""texts -> the new cells of their rows: the model answers each text once, as far as memory goes.

Of an answer only the new cells of a row are remembered, up to :data:`MAX_BYTES` bytes of them. In
running text the frequent words stay, and a file of any length takes no more memory.

    shards(read, cache)     windows of rows that are answered together
    cache.answer(texts)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from charseq.data.columns import Texts
from charseq.data.formats.headers import NO_ANSWER
from charseq.data.formats.rows import Format, Window
from charseq.display import ONE_LINE, code_points, describe
from charseq.errors import AccessError, reduced
from charseq.inference.journal import Journal, JournalEntry
from charseq.inference.prediction import (
    LEXICON,
    MODEL,
    Prediction,
    is_unlikely,
    is_unsure,
    reach,
)
from charseq.lru import ByteLru

if TYPE_CHECKING:
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.pool import WorkerPool
    from charseq.inference.predictor import PairsModel

MAX_BYTES = 16 * 2**20
SHARD_ROWS = 2**15
"""Rows that are answered together, at most; they are in memory together."""
SHARD_BYTES = 8 * 2**20
"""Bytes of such rows in the file; the last window of a shard may go beyond."""
FULL_BATCHES = 2048
"""New texts that end a shard: with so many, the model's batches are full."""
CHUNK_SECONDS = 1.0
"""Seconds of computing that a kill may cost, once the pace is known."""
UNSURE = "unsure"
UNLIKELY = "unlikely"
"""The note of an answer that is withheld."""
LETTER_BYTES = 4
"""Bytes of a letter, at most: what is forgotten must not depend on how Python stores a text."""

Align = Callable[[Sequence[str], Sequence[str]], Sequence[str]]
"""Texts and their answers -> alignments, as text."""
Shard = list[tuple[Window, Texts]]


class TextMemoryError(MemoryError):
    """Memory is too short to answer one text."""

    __reduce__ = reduced

    def __init__(self, text: str) -> None:
        super().__init__(f"a text of {len(text):,} characters")
        self.text = text

    def at(self, path: str, line: int | None) -> AccessError:
        """The error for people, of the row in which the text stands."""
        message = f"memory is too short for {self}: shorten it, or give the process more"
        return AccessError(message, path=path, line=line)


@dataclass(frozen=True, slots=True, eq=False)
class RowAnswer:
    """The new cells for the rows of one text, and the facts that people are told.

    ``cells``: with the note as the last, except in plain text. ``note``: the note of plain text,
    which has no column for it. ``to_review``: the answer and its note, for a review file.
    """

    cells: tuple[str, ...]
    note: str = ""
    unknown: tuple[str, ...] = ()
    truncated: bool = False
    origin: str = MODEL
    misses_mass: bool = False
    unsure: bool = False
    to_review: tuple[JournalEntry, str] | None = None

    @property
    def is_plain(self) -> bool:
        """True if there is nothing to report."""
        facts = (self.unknown, self.note, self.truncated, self.origin != MODEL, self.misses_mass)
        return not any((*facts, self.unsure))


class AnswerCache:
    """The answers of a model to texts, as new cells of rows."""

    def __init__(
        self,
        predict: Callable[[list[str]], Mapping[str, JournalEntry]],
        *,
        format: Format,
        n: int,
        append: Callable[[str, str], str] | None = None,
        scores: bool = False,
        mass: float | None = None,
        threshold: float | None = None,
        reviewed: bool = False,
        align: Align | None = None,
        ruled: bool = False,
    ) -> None:
        """An empty cache.

        Args:
            predict: the answers to different texts, up to ``n`` outputs for each.
            format: the format of the file.
            n: the number of columns for outputs.
            append: joins a text and its output to one cell (next-word models, plain text).
            scores: whether the probabilities of the outputs are cells as well.
            mass: the probability that the outputs of a text should have together.
            threshold: the outputs of a text are withheld if the best is less probable.
            reviewed: whether answers are kept for a review file.
            align: the alignment of each text with its answer, as text; it is a cell as well.
            ruled: whether answers keep a rule, and an unlikely one is told; they have their
                probabilities then.
        """
        self.computed = 0
        """Texts that the model was asked for."""
        self._predict = predict
        self._n = n
        self._append = append
        self._scores = scores
        self._mass = mass
        self._threshold = threshold
        self._reviewed = reviewed
        self._align = align
        self._ruled = ruled
        self._has_notes = format.has_columns
        self._one_line = format.one_line_cells
        self._memory: ByteLru[str, RowAnswer] = ByteLru(MAX_BYTES)
        self.empty = self._without_text("empty")
        self.rejected = self._without_text("rejected")

    def answer(self, texts: Iterable[str]) -> dict[str, RowAnswer]:
        """The answer to each of the texts, none of which is empty.

        The texts that the model is asked for depend on earlier calls and on nothing else. So the
        answers of an interrupted attempt are met again in their order.
        """
        known: dict[str, RowAnswer] = {}
        new: list[str] = []
        for text in dict.fromkeys(texts):
            found = self._memory.get(text)
            if found is None:
                new.append(text)
            else:
                known[text] = found
        if new:
            self.computed += len(new)
            predictions = self._predict(new)
            aligned = self._alignments(new, predictions)
            for text in new:
                entry, alignment = predictions[text], aligned.get(text, "")
                answer = known[text] = self._row_answer(text, entry, alignment)
                letters = len(text) + sum(map(len, answer.cells))
                letters += sum(map(len, answer.to_review[0].texts)) if answer.to_review else 0
                self._memory.put(text, answer, LETTER_BYTES * letters)
        return known

    def is_missing(self, text: str) -> bool:
        """True if the model would have to be asked."""
        return text not in self._memory

    def _without_text(self, note: str) -> RowAnswer:
        count = self._n * (1 + self._scores) + (self._align is not None)
        return RowAnswer((*[""] * count, note) if self._has_notes else ("",))

    def _alignments(
        self, texts: Sequence[str], entries: Mapping[str, JournalEntry]
    ) -> dict[str, str]:
        """The alignments of texts with their best answers; none of those that are withheld."""
        if self._align is None:
            return {}
        best = {
            text: entries[text].texts[0]
            for text in texts
            if entries[text].texts and not is_withheld(entries[text], self._threshold)
        }
        found = self._align(list(best), list(best.values()))
        return dict(zip(best, found, strict=True))

    def _row_answer(self, text: str, entry: JournalEntry, alignment: str) -> RowAnswer:
        unsure = is_withheld(entry, self._threshold)
        chances = entry.probabilities[: self._n]
        cells = [""] if unsure else list(entry.texts[: self._n] or ("",))
        if self._append is not None:
            cells = [self._append(text, cell) for cell in cells]
        cells += [""] * (self._n - len(cells))
        flattened = self._one_line and any(cell != cell.translate(ONE_LINE) for cell in cells)
        if self._scores:
            cells += [f"{probability:.6f}" for probability in chances[: 1 if unsure else None]]
            cells += [""] * (2 * self._n - len(cells))
        if self._align is not None:
            cells.append(alignment)
        misses_mass = self._mass is not None and not reach(chances, self._mass)
        unlikely = self._ruled and bool(chances) and is_unlikely(chances[0], entry.origin)
        named = partial(note_on, entry, unsure=unsure, unlikely=unlikely, flattened=flattened)
        note = named()
        wanted = self._reviewed and is_doubtful(entry, unsure=unsure)
        facts = (
            entry.unknown, entry.truncated, entry.origin, misses_mass, unsure,
            (entry, note) if wanted else None,
        )  # fmt: skip
        if not self._has_notes:
            plain = named(name=describe)
            return RowAnswer(tuple(cells), plain, *facts)
        notes = (LEXICON if entry.origin == LEXICON else "", note)
        return RowAnswer((*cells, "; ".join(filter(None, notes))), "", *facts)


def answering(
    model: PairsModel | LanguageModel | WorkerPool,
    journal: Journal | None = None,
    *,
    n: int,
    beam: int | None,
    mass: float | None,
    batch_size: int,
    scored: bool = False,
) -> Callable[[list[str]], dict[str, JournalEntry]]:
    """The function from different texts to their answers, which come from the journal first.

    ``scored``: whether the answers have their probabilities. The other arguments are those of
    :func:`charseq.inference.convert.convert`.
    """
    return partial(
        predict_texts,
        predict=partial(model.predict, n=n, beam=beam, batch_size=batch_size),
        n=n,
        mass=mass,
        batch_size=batch_size,
        scored=scored or mass is not None or keeps_rule(model),
        kept=iter(journal.replay() if journal else ()),
        journal=journal,
    )


def keeps_rule(model: PairsModel | LanguageModel | WorkerPool) -> bool:
    """Whether all answers of a model keep a rule."""
    return getattr(model, "rule", None) is not None


def shards(read: Iterable[tuple[Window, Texts]], cache: AnswerCache) -> Iterator[Shard]:
    """Windows with their texts, grouped until a group has enough new texts, rows or bytes."""
    held: Shard = []
    rows, size, new = 0, 0, 0
    for window, texts in read:
        held.append((window, texts))
        rows += len(texts)
        size += window.bytes
        new += sum(cache.is_missing(text) for text in distinct_texts(texts))
        is_large = size >= SHARD_BYTES or rows + len(texts) > SHARD_ROWS
        if new >= FULL_BATCHES or is_large:
            yield held
            held, rows, size, new = [], 0, 0, 0
    if held:
        yield held


def limits() -> list[int]:
    """The constants that, with the rows, decide the order in which texts are computed."""
    return [MAX_BYTES, SHARD_ROWS, SHARD_BYTES, FULL_BATCHES]


def distinct_texts(texts: Texts) -> Iterator[str]:
    """The different texts of rows, without those that are empty, rejected or None."""
    return (text for text in dict.fromkeys(texts) if text and isinstance(text, str))


def is_withheld(entry: JournalEntry, threshold: float | None) -> bool:
    """Whether an answer, which has its probabilities, is less probable than the threshold."""
    if threshold is None or not entry.probabilities:
        return False
    return is_unsure(entry.probabilities[0], entry.origin, threshold)


def is_doubtful(entry: JournalEntry, *, unsure: bool) -> bool:
    """Whether a person should look at an answer: it is withheld, cut, or not there."""
    return unsure or entry.truncated or not entry.texts


def note_on(
    entry: JournalEntry,
    *,
    unsure: bool = False,
    unlikely: bool = False,
    flattened: bool = False,
    name: Callable[[str], str] = code_points,
) -> str:
    """The note on an answer; ``name`` gives the names of unknown symbols."""
    unknown = f"unknown {' '.join(map(name, entry.unknown))}" if entry.unknown else ""
    has_answer = bool(entry.texts and entry.texts[0]) or entry.truncated
    answered = "" if has_answer or unsure else NO_ANSWER
    cut = "truncated" if entry.truncated else ""
    doubt = UNSURE if unsure else UNLIKELY if unlikely and has_answer else ""
    parts = (doubt, unknown, answered, cut, "flattened" if flattened else "")
    return "; ".join(filter(None, parts))


def predict_texts(
    texts: list[str],
    *,
    predict: Callable[[Sequence[str]], Sequence[Prediction]],
    n: int,
    mass: float | None,
    batch_size: int,
    scored: bool = False,
    kept: Iterator[JournalEntry],
    journal: Journal | None,
) -> dict[str, JournalEntry]:
    """The answer to each text: first those that were ``kept``, then new ones of the model.

    With a journal the texts are computed in chunks, sorted by length, and each chunk is added to
    the journal. A chunk is as large as takes about a second. A chunk for which memory is short is
    halved.

    Args:
        texts: different texts.
        predict: the model.
        n: outputs for each text, at most.
        mass: only as many outputs as have this probability together.
        batch_size: the size of the first chunk.
        scored: whether the answers have their probabilities.
        kept: answers of earlier attempts; as many as there are texts are taken.
        journal: the journal for new answers, if there is one.

    Raises:
        TextMemoryError: memory is too short for one text alone.
    """
    size, growing = len(texts), journal is not None
    if journal is not None:
        texts, size = sorted(texts, key=len), batch_size
    found = list(islice(kept, len(texts)))
    while len(found) < len(texts):
        chunk, began = texts[len(found) : len(found) + size], time.monotonic()
        try:
            predictions = predict(chunk)
        except MemoryError:
            if len(chunk) == 1:
                raise TextMemoryError(chunk[0]) from None
            size, growing = len(chunk) // 2, False
            continue
        if mass is not None:
            predictions = [one.reaching(mass) for one in predictions]
        entries = [_entry(one, n, scored=scored) for _, one in zip(chunk, predictions, strict=True)]
        if journal is not None:
            journal.add(entries)
        found += entries
        if growing and time.monotonic() - began < CHUNK_SECONDS / 2:
            size *= 2
    return dict(zip(texts, found, strict=True))


def _entry(found: Prediction, n: int, *, scored: bool) -> JournalEntry:
    texts = tuple(one.prediction for one in found.candidates[:n])
    chances = tuple(one.probability for one in found.candidates[: n if scored else 0])
    return JournalEntry(texts, tuple(found.unknown), found.truncated, found.origin, chances)
