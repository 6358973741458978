"""answers -> new columns of a table, and the counts of a conversion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from charseq.data.columns import Texts
from charseq.data.formats.opening import UTF8
from charseq.data.formats.rows import Row, Table, Window, Write
from charseq.data.formats.writer import Rejected, Rejects
from charseq.display import KEPT, ONE_LINE, describe
from charseq.display import count as counted
from charseq.errors import UsageError
from charseq.inference.answer_cache import (
    AnswerCache,
    RowAnswer,
    Shard,
    TextMemoryError,
    distinct_texts,
    shards,
)
from charseq.inference.conversion.review import Review
from charseq.inference.prediction import LEXICON, MEMORY, WORDS

DEFAULT_NAME = "prediction"
"""Name of the new column where none is asked for."""
MAX_LISTED = 20
"""Notes and rejected rows that are reported one by one."""


def new_names(to: str, n: int, *, scores: bool, align: bool = False) -> list[str]:
    """The names of the new columns for ``n`` answers a row; the last one holds the notes."""
    names = [to, *(f"{to}_{rank}" for rank in range(2, n + 1))]
    probabilities = [f"{name}_probability" for name in names] if scores else []
    return [*names, *probabilities, *([f"{to}_alignment"] if align else []), f"{to}_note"]


def check_new_name(to: str | None) -> None:
    """Raise UsageError for a name that no column can have."""
    if to is not None and (not to or to != to.translate(ONE_LINE)):
        raise UsageError("the new column's name is empty or has a tab or line end in it")


@dataclass
class ConvertReport:
    """Counts of one conversion.

    ``rows``: rows written, without header and blank lines (plain text: lines).
    ``rejected``: those of them that could not be read, which are in the file ``rejects``.
    ``distinct``: texts computed, each once while it is remembered; ``kept``: those of them that an
    interrupted attempt had computed. ``empty``: rows without a text.
    ``flagged``: rows with an unseen symbol; ``unknown``: for each unseen symbol, the rows that
    have it. ``truncated``: rows whose prediction was cut. ``looked_up``: rows whose prediction
    stands in the lexicon; ``remembered``: in the memory of the run; ``lifted``: moved up by
    a list of words. ``missed``: rows whose
    predictions have less than ``mass`` together. ``unsure``: rows whose prediction is withheld;
    ``to_review``: lines on the review file.
    ``listed``, ``unlisted``: lines of plain text with a note that were
    reported, and others that were only counted.
    """

    path: str
    out: str
    rows: int = 0
    rejected: int = 0
    rejects: str = ""
    distinct: int = 0
    kept: int = 0
    empty: int = 0
    flagged: int = 0
    truncated: int = 0
    looked_up: int = 0
    remembered: int = 0
    lifted: int = 0
    missed: int = 0
    unsure: int = 0
    to_review: tuple[str, ...] = ()
    listed: int = 0
    unlisted: int = 0
    unknown: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> int:
        """Rows that could be read: ``ok + rejected == rows``."""
        return self.rows - self.rejected

    @property
    def refused(self) -> str:
        """How many rows could not be read, in words."""
        return f"{counted(self.rejected, 'row')} rejected"

    def add(self, other: ConvertReport) -> None:
        """Count the rows of another file as well; its lines with notes were not reported."""
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.unlisted += other.listed
        for symbol, rows in other.unknown.items():
            if symbol in self.unknown or len(self.unknown) < KEPT:
                self.unknown[symbol] += rows

    def summary(self) -> list[str]:
        """The report as lines for people: counts, then the rows that are special."""
        counts = f"{self.rows:,} rows, {self.distinct:,} strings computed"
        if self.kept:
            counts += f" ({self.kept:,} of them before it was interrupted)"
        lines = [f"{self.path}: {counts} -> {self.out}"]
        if self.rejected:
            lines.append(f"{self.path}: {self.refused}, {self.ok:,} ok -> {self.rejects}")
        if self.unlisted:
            lines.append(f"{self.path}: {self.unlisted:,} more lines with notes, not listed")
        if self.unknown:
            most = self.unknown.most_common(MAX_LISTED)
            named = ", ".join(f"{describe(symbol)} ({count:,})" for symbol, count in most)
            more = len(self.unknown) - len(most)
            lines.append(
                f"{self.path}: unseen symbols in {self.flagged:,} rows: {named}"
                + (f" and {more:,} more" if more else "")
            )
        if self.truncated:
            lines.append(f"{self.path}: {self.truncated:,} predictions cut at the longest length")
        if self.missed:
            lines.append(f"{self.path}: {self.missed:,} rows have less than the mass asked for")
        if self.looked_up:
            lines.append(f"{self.path}: {self.looked_up:,} predictions from the lexicon")
        if self.remembered:
            seen = counted(self.remembered, "prediction")
            lines.append(f"{self.path}: {seen} from the memory of the run")
        if self.lifted:
            lines.append(f"{self.path}: {counted(self.lifted, 'prediction')} by the list of words")
        if self.unsure:
            lines.append(f"{self.path}: {counted(self.unsure, 'row')} unsure, without an answer")
        return [*lines, *self.to_review]


COUNTS = (
    "rows", "rejected", "distinct", "kept", "empty", "flagged", "truncated", "looked_up",
    "remembered", "lifted", "missed", "unsure", "unlisted",
)  # fmt: skip
"""Counts of a report that are those of all files where several are converted."""


class ColumnWriter:
    """Texts of a table -> its rows with their answers as new columns."""

    def __init__(
        self,
        table: Table,
        write: Write,
        cache: AnswerCache,
        rejects: Rejects,
        result: ConvertReport,
        *,
        report: Callable[[str], None],
        review: Review | None = None,
    ) -> None:
        """Rows of ``table`` go to ``write``.

        Args:
            table: the rows.
            write: see :func:`charseq.data.formats.writer.writing`.
            cache: the answers.
            rejects: gets the rows whose answer cannot be written.
            result: is counted in.
            report: gets lines for people.
            review: gets the answers that a person should look at.
        """
        self._review = review
        self._table, self._write, self._cache = table, write, cache
        self._rejects, self._result, self._report = rejects, result, report

    def write(
        self, read: Iterable[tuple[Window, Texts]], progress: Callable[[int, int], None]
    ) -> None:
        """Write all windows, each with its texts.

        ``progress`` gets the rows that are written, and the bytes that they take in the input.

        Raises:
            AccessError: with path and line: memory is too short for the text that stands there.
        """
        done = 0
        for shard in shards(read, self._cache):
            known = self._answers(shard)
            self._result.distinct = self._cache.computed
            for window, texts in shard:
                kept, answers = self._answer_rows(window, texts, known)
                self._count(window, kept, answers)
                self._write(window, [None if one is None else one.cells for one in answers])
                done += window.bytes
                progress(self._result.rows, done)

    def _answers(self, shard: Shard) -> dict[str, RowAnswer]:
        """The answer to each text of a shard."""
        try:
            return self._cache.answer(text for _, texts in shard for text in distinct_texts(texts))
        except TextMemoryError as fault:
            lines = (
                row.line
                for window, texts in shard
                for row, text in zip(window.rows, texts, strict=True)
                if text == fault.text
            )
            raise fault.at(self._table.path, next(lines, None)) from None

    def _answer_rows(
        self, window: Window, texts: Texts, known: Mapping[str, RowAnswer]
    ) -> tuple[Texts, list[RowAnswer | None]]:
        """The texts and answers of a window; a row is rejected if its encoding has no answer."""
        stored = self._table.format.stored
        answers = [self._row_answer(text, known) for text in texts]
        if self._table.format.encoding == UTF8:
            return texts, answers
        kept = list(texts)
        for index, (row, answer) in enumerate(zip(window.rows, answers, strict=True)):
            try:
                stored("".join(answer.cells).encode() if answer else b"")
            except UnicodeEncodeError as fault:
                sign = describe(fault.object[fault.start])
                message = f"an answer with {sign}, not in {self._table.format.encoding}"
                kept[index] = Rejected(message)
                self._rejects.add(row.line, None, message, stored(row.raw))
                answers[index] = self._cache.rejected
        return kept, answers

    def _row_answer(
        self, text: str | Rejected | None, known: Mapping[str, RowAnswer]
    ) -> RowAnswer | None:
        """The new cells of a row; None for a blank line, which stays."""
        if text is None:
            return None
        if isinstance(text, Rejected):
            return self._cache.rejected
        return known[text] if text else self._cache.empty

    def _count(self, window: Window, texts: Texts, answers: Sequence[RowAnswer | None]) -> None:
        """Count the rows of a window, and report the first that are special."""
        result = self._result
        result.rows += len(answers) - answers.count(None)
        result.empty += texts.count("")
        for row, text, answer in zip(window.rows, texts, answers, strict=True):
            if isinstance(text, Rejected):
                if result.listed < MAX_LISTED:
                    result.listed += 1
                    self._report(f"{result.path}:{row.line}: rejected: {text.message}")
            elif answer is not None and not answer.is_plain:
                self._count_special(answer, row)
                if self._review and answer.to_review and text:
                    self._review.add(text, row.line, *answer.to_review)

    def _count_special(self, answer: RowAnswer, row: Row) -> None:
        result = self._result
        result.unsure += answer.unsure
        result.truncated += answer.truncated
        result.looked_up += answer.origin == LEXICON
        result.remembered += answer.origin == MEMORY
        result.lifted += answer.origin == WORDS
        result.missed += answer.misses_mass
        result.flagged += bool(answer.unknown)
        for symbol in answer.unknown:
            if symbol in result.unknown or len(result.unknown) < KEPT:
                result.unknown[symbol] += 1
        if answer.note and result.listed < MAX_LISTED:
            result.listed += 1
            self._report(f"{result.path}:{row.line}: {answer.note}")
        elif answer.note:
            result.unlisted += 1
