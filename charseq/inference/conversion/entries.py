"""answers -> a lexicon: each text once, with its best answers as entries of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from charseq.data.columns import Texts
from charseq.data.formats.lexica import Dictionary, Entry
from charseq.data.formats.lines import TextFormat
from charseq.data.formats.reader import find_lexicon_format
from charseq.data.formats.rows import Format, Row, Table, Window
from charseq.data.formats.writer import Rejected, Rejects
from charseq.display import ONE_LINE
from charseq.display import count as counted
from charseq.errors import DataError, UsageError
from charseq.inference.answer_cache import TextMemoryError, is_doubtful, is_withheld, note_on
from charseq.inference.conversion.columns import MAX_LISTED
from charseq.inference.conversion.review import Review
from charseq.inference.journal import JournalEntry

if TYPE_CHECKING:
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.pool import WorkerPool
    from charseq.inference.predictor import PairsModel


@dataclass
class LexiconReport:
    """Counts of a lexicon that was written.

    ``format``: the name of its format. ``rows``: rows that were read; ``words``: different texts
    with answers; ``entries``: these answers, as many lines. ``rejected``: rows that could not be
    read and texts that the format cannot hold, which are in the file ``rejects``. ``kept``: texts
    that an interrupted attempt had computed. ``flagged``: words with an unseen symbol;
    ``truncated``: words whose answer was cut; ``spaced``: words whose answer has a space.
    ``unsure``: texts whose answers are withheld; ``to_review``: lines on the review file.
    """

    path: str
    out: str
    format: str
    rows: int = 0
    kept: int = 0
    words: int = 0
    entries: int = 0
    rejected: int = 0
    rejects: str = ""
    flagged: int = 0
    truncated: int = 0
    spaced: int = 0
    unsure: int = 0
    to_review: tuple[str, ...] = ()

    @property
    def refused(self) -> str:
        """How many rows were rejected, in words."""
        return f"{counted(self.rejected, 'row')} rejected"

    def summary(self) -> list[str]:
        """The report as lines for people: counts, then the texts that are special."""
        path, form = self.path, find_lexicon_format(self.format)
        counts = f"{self.words:,} texts, {self.entries:,} entries ({form.title})"
        if self.kept:
            counts += f", {self.kept:,} texts computed before it was interrupted"
        lines = [f"{path}: {counts} -> {self.out}"]
        if self.rejected:
            lines.append(f"{path}: {self.refused} -> {self.rejects}")
        if self.flagged:
            lines.append(f"{path}: texts with unseen symbols: {self.flagged:,}")
        if self.truncated:
            lines.append(f"{path}: {self.truncated:,} predictions cut at the longest length")
        if form.holds_pairs and self.words and not self.spaced:
            lines.append(f"{path}: no answer has a space in it, so each is written as one phone")
        if self.unsure:
            lines.append(f"{path}: {counted(self.unsure, 'text')} unsure, without an entry")
        return [*lines, *self.to_review]


class EntryWriter:
    """Texts of a table -> lines of a lexicon: each text once, in order, with its best answers.

    An answer is an entry of its own, with its probability where the format has one: in TSV, CSV and
    JSON Lines the columns are source, features if the model has them, target and weight. A text
    that the format cannot hold, such as two words in a Kaldi lexicon, is among the rejects.
    """

    def __init__(
        self,
        table: Table,
        file: BinaryIO,
        rejects: Rejects,
        result: LexiconReport,
        *,
        report: Callable[[str], None],
        features: bool,
        n: int,
        threshold: float | None = None,
        review: Review | None = None,
    ) -> None:
        """A lexicon in ``file``, of the rows of ``table``.

        Args:
            table: the rows.
            file: the lexicon.
            rejects: gets the texts that have no entry.
            result: is counted in, and names the format of the lexicon.
            report: gets lines for people.
            features: whether a text has features, after a tab.
            n: entries of a text, at most.
            threshold: a text whose best answer is less probable has no entry.
            review: gets the answers that a person should look at.
        """
        self._n, self._threshold, self._review = n, threshold, review
        self._table, self._file, self._rejects = table, file, rejects
        self._format = find_lexicon_format(result.format)
        self._result, self._report = result, report
        self._names = ["source", *["features"] * features, "target", "weight"]
        self._known: set[str] = set()
        self._told = 0
        if self._format.may_have_header:
            file.write(self._cells(self._names))

    def write(
        self,
        read: Iterable[tuple[Window, Texts]],
        answer: Callable[[list[str]], Mapping[str, JournalEntry]],
        progress: Callable[[int, int], None],
    ) -> None:
        """Write the entries of the texts of all windows.

        ``answer`` gets the different texts of a window that are new. ``progress`` gets the rows
        that were read, and the bytes that they take in the input.

        Raises:
            AccessError: with path and line: memory is too short for the text that stands there.
        """
        done = 0
        for window, texts in read:
            self._add_window(window, texts, answer)
            done += window.bytes
            progress(self._result.rows, done)

    def _add_window(
        self,
        window: Window,
        texts: Texts,
        answer: Callable[[list[str]], Mapping[str, JournalEntry]],
    ) -> None:
        new: dict[str, Row] = {}
        repeated: list[str] = []
        for row, text in zip(window.rows, texts, strict=True):
            self._result.rows += text is not None
            if isinstance(text, Rejected):
                self._tell(row, text)
            elif text and text not in self._known and text not in new:
                new[text] = row
            elif text:
                repeated.append(text)
        self._known |= new.keys()
        try:
            answers = answer(list(new)) if new else {}
        except TextMemoryError as fault:
            raise fault.at(self._table.path, new[fault.text].line) from None
        for text, row in new.items():
            self._add(text, row, answers[text])
        if self._review:
            self._review.add_again(repeated)

    def _add(self, text: str, row: Row, answer: JournalEntry) -> None:
        """Write the entries of one text; a text that has none is rejected, or is unsure."""
        unsure = is_withheld(answer, self._threshold)
        if self._review and is_doubtful(answer, unsure=unsure):
            self._review.add(text, row.line, answer, note_on(answer, unsure=unsure))
        if unsure:
            self._result.unsure += 1
            return
        source, features = text, ""
        if "features" in self._names:
            source, _, features = text.partition("\t")
        try:
            found = [
                self._entry(Entry(source, target, probability, rank), features)
                for rank, (target, probability) in enumerate(
                    zip(answer.texts[: self._n], answer.probabilities, strict=False)
                )
                if target.strip()
            ]
            if not found:
                raise Rejected("an empty answer")
        except DataError as fault:
            raw = self._table.format.stored(row.raw)
            self._rejects.add(row.line, None, fault.message, raw)
            self._tell(row, fault)
            return
        self._file.write(b"".join(found))
        result = self._result
        result.words += 1
        result.entries += len(found)
        result.flagged += bool(answer.unknown)
        result.truncated += answer.truncated
        result.spaced += " " in answer.texts[0]

    def _tell(self, row: Row, fault: DataError) -> None:
        """Report a rejected row, up to ``MAX_LISTED`` of them."""
        self._told += 1
        if self._told <= MAX_LISTED:
            self._report(f"{self._result.path}:{row.line}: rejected: {fault.message}")

    def _entry(self, entry: Entry, features: str) -> bytes:
        if isinstance(self._format, Dictionary):
            return self._format.encode(entry)
        parts = [features] * ("features" in self._names)
        cells = (entry.source, *parts, entry.target)
        if self._format.one_line_cells and any(one != one.translate(ONE_LINE) for one in cells):
            title = self._format.title
            raise Rejected(f"a tab or line end, which {title} cannot hold: csv has room for them")
        return self._cells([*cells, f"{entry.probability:.6g}"])

    def _cells(self, values: Sequence[str]) -> bytes:
        """A row of a table, where other formats put a separator before each cell."""
        if self._format.has_keys:
            *texts, weight = values
            members = dict(zip(self._names, [*texts, float(weight)], strict=True))
            return json.dumps(members, ensure_ascii=False).encode() + b"\n"
        return cast(TextFormat, self._format).encode(self._names, values)[1:] + b"\n"


def find_target(model: PairsModel | LanguageModel | WorkerPool, name: str) -> Format:
    """The format of a lexicon of the model's answers, one of ``reader.lexicon_formats()``.

    Raises:
        UsageError: another format, or the model or the format has no such pairs.
    """
    found = find_lexicon_format(name)
    if getattr(model, "append", None) is not None:
        raise UsageError("the model predicts words, and a lexicon needs one that rewrites texts")
    if found.holds_pairs and model.has_features:
        raise UsageError(f"{found.title}: it has no features, which the model reads; tsv has")
    return found
