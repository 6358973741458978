"""files -> windows of rows -> predictions -> files, any format to the same format.

A shard of rows is in memory at a time, and each distinct string is computed once (see
``answer_cache``). Rows, order and all other columns stay as they are; the file appears under its
name when it is complete, and never otherwise.

    plain text  each line is replaced by its prediction; where the model predicts the next word
                (it has ``append``), the line is extended by it; an empty line stays empty; with
                n > 1 the n best are separated by tabs
    tables      gain the columns NAME, then NAME_2 ... NAME_n for n > 1, then with ``scores``
                NAME_probability, NAME_2_probability ..., then NAME_note; NAME is ``to``, by
                default "prediction"

The columns that are read: see ``columns``.

A file has a header if ``column`` is a name, or by the rule of ``headers``, which training follows
as well. Without a header the new columns have no names. The columns that are read are reported.

A note says what is special about a row: "empty" (no text, no prediction), "no answer" (to this
text), "unknown U+00DF" (symbols that training has never seen), "truncated" (the longest prediction
allowed), "lexicon" (the prediction stands in the user's own file), "flattened" (a tab or line end
in the prediction, written as a space in text and TSV); mostly it is empty. For plain text the notes
are reported instead, by line, up to :data:`MAX_LISTED`; those of the lexicon are only counted.

With ``mass`` a row has fewer than n predictions if those have this probability together.

A row that cannot be read keeps its position, with the note "rejected", and stands with its bytes
and the reason in FILE.rejects.jsonl (see ``writer``): ok and rejected rows are all rows.

From file to file, the same call resumes an interrupted conversion (see ``journal``).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from charseq import files
from charseq.data.columns import column_names, column_reader
from charseq.data.formats import rows
from charseq.data.formats.opening import UTF8, packed_ending
from charseq.data.formats.reader import FORMATS, find_format, read_table, sniff
from charseq.data.formats.rows import Format, Row, Table, Window
from charseq.data.formats.sqlite import renamed, split_location
from charseq.data.formats.writer import (
    Rejected,
    Rejects,
    rejecting,
    rejects_path,
    replacing,
    writing,
)
from charseq.display import KEPT, ONE_LINE, describe
from charseq.errors import AccessError, DataError, UsageError
from charseq.inference.answer_cache import (
    AnswerCache,
    RowAnswer,
    Shard,
    TextMemoryError,
    Texts,
    cache_of,
    distinct_texts,
    limits,
    shards,
)
from charseq.inference.journal import Journal, fingerprint, journal_path, open_journal
from charseq.inference.pool import files_read
from charseq.inference.prediction import check_counts

if TYPE_CHECKING:
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.pool import WorkerPool
    from charseq.inference.predictor import PairsModel

DEFAULT_NAME = "prediction"
MAX_LISTED = 20
"""Notes and rejected rows that are reported one by one."""


def convert(
    model: PairsModel | LanguageModel | WorkerPool,
    path: str | Path,
    out: str | Path,
    *,
    column: str | int | None = None,
    to: str | None = None,
    n: int = 1,
    beam: int | None = None,
    mass: float | None = None,
    scores: bool = False,
    batch_size: int = 256,
    format: str = "auto",
    header: str = "auto",
    delimiter: str = "auto",
    encoding: str = "auto",
    force: bool = False,
    kept_for: str | None = None,
    report: Callable[[str], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda _rows, _bytes: None,
) -> ConvertReport:
    """Rewrite one file; ``-`` is stdin or stdout.

    Args:
        model: a loaded run, or a pool of workers that have it.
        path: the input.
        out: the output, in the format of the input.
        column: the column to read, a name or a number from 1; see ``columns``.
        to: the name of the new column.
        n: predictions a row.
        beam: the width of the beam; None: the run's own.
        mass: fill only as many columns as have this probability together.
        scores: add a column with the probability of each prediction.
        batch_size: texts that are computed side by side.
        format: the format's name; "auto": by the file's name, else by its content.
        header: "auto", "yes" or "no".
        delimiter: see :func:`charseq.data.formats.reader.read_table`.
        encoding: see there.
        force: overwrite ``out``, and replace columns that have the new columns' names.
        kept_for: a hash of the model and of all that decides its answers. With it the answers are
            kept beside ``out`` until that is complete, and the same call resumes after an
            interruption.
        report: gets lines for people.
        progress: gets the rows that are written and about how many bytes of the input they take,
            again and again.

    Raises:
        UsageError: arguments that do not fit together, or ``out`` exists.
        DataError: with path and line: the input cannot be read or the output cannot be written.
    """
    path, (origin, source), (out, name) = str(path), split_location(path), split_location(out)
    check_counts(n=n, beam=beam, mass=mass, batch_size=batch_size)
    expected = find_format(sniff(path) if format == "auto" else format)
    if expected.has_columns:  # else its content tells
        _check_out(out, expected, [origin], force=True)
    names = column_names(column, features=model.has_features)
    new = _new_names(to or DEFAULT_NAME, n, scores=scores)
    how = {"format": format, "delimiter": delimiter, "encoding": encoding}
    table = read_table(path, header=header, names=names, added=new, faulty=True, **how)
    table, found = renamed(table, name), table.format
    if found.holds_pairs:
        raise UsageError(f"{table.path}: no {found.title} has a place for a new column")
    _check_columns(table, column=column, to=to, scores=scores, how=how)
    new = new if found.has_columns else []
    has_journal = os.path.lexists(journal_path(Path(out)))  # what is there may be of that attempt
    reads: list[str | Path] = [origin, *files_read(model)]
    _check_out(out, found, reads, force=force or has_journal)
    for line in filter(None, [table.note, f"new columns {', '.join(new)}" if new else ""]):
        report(f"{table.path}: {line}")
    read_text = text_reader(model, table, column, report)
    options: dict[str, Any] = {"column": column, "n": n, "beam": beam, "mass": mass}
    options |= {"as": [*how.values(), header, source, name], **({"scores": True} if scores else {})}
    rejected = rejects_path(path, out)
    files.refuse(rejected, force=force or has_journal, inputs=reads, what="file of rejects")
    result = ConvertReport(table.path, "stdout" if out == "-" else out)
    with _journal(origin, out, kept_for, options, force=force, report=report) as journal:
        if journal and journal.answers:
            report(f"{path}: goes on after {journal.answers:,} answers of an interrupted attempt")
            result.kept = journal.answers
        cache = cache_of(
            model, found, journal,
            n=n, beam=beam, mass=mass, scores=scores, batch_size=batch_size,
        )  # fmt: skip
        done = 0
        with (
            _outputs(out, rejected, journal, force=force) as (file, rejects),
            writing(table, file, new, force=force) as write,
        ):
            for shard in shards(read_texts(table, read_text, rejects), cache):
                known = _answers(shard, cache, table)
                result.distinct = cache.computed
                for window, read in shard:
                    texts, answers = _answer_rows(table, window, read, known, cache, rejects)
                    _count(window, texts, answers, result=result, report=report)
                    write(window, [None if answer is None else answer.cells for answer in answers])
                    done += window.bytes
                    progress(result.rows, done)
            result.rejected, result.rejects = rejects.count, str(rejects.path)
            if not result.rows and path != "-" and table.header is None:
                raise DataError("the file is empty, expected rows", path=table.path)
    for line in summary(result):
        report(line)
    return result


@contextmanager
def _outputs(
    out: str, rejected: Path, journal: Journal | None, *, force: bool
) -> Iterator[tuple[BinaryIO, Rejects]]:
    """The output and its rejects, which get their names together when the block ends well.

    What an attempt has published that was killed before its end may be overwritten.
    """

    def may_write(path: Path) -> bool:
        return force or bool(journal and journal.made(path))

    def publish(part: Path | None) -> None:
        rejects.close()
        if journal and part:
            parts = {Path(out): part} | ({rejected: rejects.part} if rejects.part else {})
            journal.publishing(parts)
        rejects.finish()

    with (
        rejecting(rejected, force=may_write(rejected)) as rejects,
        replacing(out, force=may_write(Path(out)), ready=publish) as file,
    ):
        yield file, rejects


def _answers(shard: Shard, cache: AnswerCache, table: Table) -> dict[str, RowAnswer]:
    """The answer to each text of a shard.

    Raises:
        AccessError: with path and line: memory is too short for the text that stands there.
    """
    try:
        return cache.answer(text for _, texts in shard for text in distinct_texts(texts))
    except TextMemoryError as fault:
        lines = (
            row.line
            for window, texts in shard
            for row, text in zip(window.rows, texts, strict=True)
            if text == fault.text
        )
        message = f"memory is too short for {fault}: shorten it, or give the process more"
        raise AccessError(message, path=table.path, line=next(lines, None)) from None


def text_reader(
    model: PairsModel | LanguageModel | WorkerPool,
    table: Table,
    column: str | int | None,
    report: Callable[[str], None],
) -> Callable[[Row], str | None]:
    """The function from a row to the text for ``model``; ``report`` gets the column it reads."""
    return column_reader(
        table,
        column,
        features=model.has_features,
        separator=getattr(model, "feature_separator", ";"),
        report=lambda text: report(f"{table.path}: {text}") if text else None,
    )


def read_texts(
    table: Table, read_text: Callable[[Row], str | None], rejects: Rejects
) -> Iterator[tuple[Window, list[str | Rejected | None]]]:
    """Each window with its rows' texts; rows that cannot be read go to ``rejects``."""
    stored = table.format.stored
    lead = [*table.preamble, *filter(None, [table.header_row])]
    offset = sum(len(stored(row.raw)) for row in lead)
    for window in table.windows:
        texts: list[str | Rejected | None] = []
        for row in window.rows:
            raw = stored(row.raw)
            try:
                if row.fault:
                    raise Rejected(row.fault)
                texts.append(read_text(row))
            except Rejected as fault:
                rejects.add(row.line, offset if raw else None, fault.message, raw)
                texts.append(fault)
            offset += len(raw)
        yield window, texts


def _answer_rows(
    table: Table,
    window: Window,
    texts: Texts,
    known: Mapping[str, RowAnswer],
    cache: AnswerCache,
    rejects: Rejects,
) -> tuple[Texts, list[RowAnswer | None]]:
    """The texts and answers of a window; a row is rejected if its file's encoding has no answer."""
    answers = [_row_answer(text, known, cache) for text in texts]
    if table.format.encoding == UTF8:
        return texts, answers
    kept = list(texts)
    for index, (row, answer) in enumerate(zip(window.rows, answers, strict=True)):
        try:
            table.format.stored("".join(answer.cells).encode() if answer else b"")
        except UnicodeEncodeError as fault:
            sign = describe(fault.object[fault.start])
            message = f"an answer with {sign}, not in {table.format.encoding}"
            kept[index] = Rejected(message)
            rejects.add(row.line, None, message, table.format.stored(row.raw))
            answers[index] = cache.rejected
    return kept, answers


def _journal(
    path: str,
    out: str,
    kept_for: str | None,
    options: Mapping[str, Any],
    *,
    force: bool,
    report: Callable[[str], None],
) -> AbstractContextManager[Journal | None]:
    """The journal of a conversion from file to file; pipes and devices have none."""
    final = Path(out)
    plain = not files.is_system(out) and out != "-" and path != "-" and Path(path).is_file()
    if kept_for is None or not plain or (final.exists() and not final.is_file()):
        return nullcontext()
    identity = {
        "the input": fingerprint(Path(path)),
        "the model": kept_for,
        "the options": {**options, "window": [rows.WINDOW, *limits()]},
    }
    n = options["n"]
    return open_journal(final, identity, force=force, n=n, report=report)


def _row_answer(
    text: str | Rejected | None, known: Mapping[str, RowAnswer], cache: AnswerCache
) -> RowAnswer | None:
    """The new cells of a row; None for a blank line, which stays."""
    if text is None:
        return None
    if isinstance(text, Rejected):
        return cache.rejected
    return known[text] if text else cache.empty


def _count(
    window: Window,
    texts: Texts,
    answers: Sequence[RowAnswer | None],
    *,
    result: ConvertReport,
    report: Callable[[str], None],
) -> None:
    """Add the rows of a window to ``result``, and report the first that are special."""
    result.rows += len(answers) - answers.count(None)
    result.empty += texts.count("")
    for row, text, answer in zip(window.rows, texts, answers, strict=True):
        if isinstance(text, Rejected):
            if result.listed < MAX_LISTED:
                result.listed += 1
                report(f"{result.path}:{row.line}: rejected: {text.message}")
        elif answer is not None and not answer.is_plain:
            _count_special(answer, row, result, report)


def _count_special(
    answer: RowAnswer, row: Row, result: ConvertReport, report: Callable[[str], None]
) -> None:
    result.truncated += answer.truncated
    result.looked_up += answer.from_lexicon
    result.missed += answer.misses_mass
    result.flagged += bool(answer.unknown)
    for symbol in answer.unknown:
        if symbol in result.unknown or len(result.unknown) < KEPT:
            result.unknown[symbol] += 1
    if answer.note and result.listed < MAX_LISTED:
        result.listed += 1
        report(f"{result.path}:{row.line}: {answer.note}")
    elif answer.note:
        result.unlisted += 1


def _new_names(to: str, n: int, *, scores: bool) -> list[str]:
    names = [to, *(f"{to}_{rank}" for rank in range(2, n + 1))]
    probabilities = [f"{name}_probability" for name in names] if scores else []
    return [*names, *probabilities, f"{to}_note"]


def _check_columns(
    table: Table,
    *,
    column: str | int | None,
    to: str | None,
    scores: bool,
    how: Mapping[str, str],
) -> None:
    found = table.format
    if not found.has_columns and (column is not None or to is not None or scores):
        raise UsageError("plain text has no columns: in the format tsv (or csv, jsonl) it has")
    if to is not None and (not to or to != to.translate(ONE_LINE)):
        raise UsageError("the new column's name is empty or has a tab or line end in it")
    if to is not None and found.may_have_header and table.header is None:
        raise UsageError(
            f"{table.path} has no header, so the new column cannot be named '{to}': header=yes "
            "makes its first row the header"
        )
    if how["delimiter"] != "auto" and (found.packs_itself or not found.may_have_header):
        raise UsageError(f"{found.title} has no delimiter")
    if how["encoding"] != "auto" and found.packs_itself:
        raise UsageError(f"{found.title} has no encoding")


def _check_out(out: str, format: Format, reads: Sequence[str | Path], *, force: bool) -> None:
    if out == "-":
        return
    named = FORMATS[sniff(out)]
    if named.has_columns and not set(named.endings) & set(format.endings):
        raise UsageError(
            f"{out} is named as {named.title}, but {format.title} is written: give -o a name that "
            f"ends in {format.endings[0]}"
        )
    ending = packed_ending(out)
    if format.packs_itself and ending:
        raise UsageError(f"{out}: {format.title} is packed inside, name it without {ending}")
    files.refuse(out, force=force, inputs=reads)


@dataclass
class ConvertReport:
    """Counts of one conversion.

    ``rows``: rows written, without header and blank lines (plain text: lines).
    ``rejected``: those of them that could not be read, which are in the file ``rejects``.
    ``distinct``: texts computed, each once while it is remembered; ``kept``: those of them that an
    interrupted attempt had computed. ``empty``: rows without a text.
    ``flagged``: rows with an unseen symbol; ``unknown``: for each unseen symbol, the rows that
    have it. ``truncated``: rows whose prediction was cut. ``looked_up``: rows whose prediction
    stands in the lexicon. ``missed``: rows whose predictions have less than ``mass`` together.
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
    missed: int = 0
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
        return f"{self.rejected:,} row{'s' * (self.rejected != 1)} rejected"


def summary(result: ConvertReport) -> list[str]:
    """The report as lines for people: counts, then the rows that are special."""
    counts = f"{result.rows:,} rows, {result.distinct:,} strings computed"
    if result.kept:
        counts += f" ({result.kept:,} of them before it was interrupted)"
    lines = [f"{result.path}: {counts} -> {result.out}"]
    if result.rejected:
        lines.append(f"{result.path}: {result.refused}, {result.ok:,} ok -> {result.rejects}")
    if result.unlisted:
        lines.append(f"{result.path}: {result.unlisted:,} more lines with notes, not listed")
    if result.unknown:
        most = result.unknown.most_common(MAX_LISTED)
        named = ", ".join(f"{describe(symbol)} ({count:,})" for symbol, count in most)
        more = len(result.unknown) - len(most)
        lines.append(
            f"{result.path}: unseen symbols in {result.flagged:,} rows: {named}"
            + (f" and {more:,} more" if more else "")
        )
    if result.truncated:
        lines.append(f"{result.path}: {result.truncated:,} predictions cut at the longest length")
    if result.missed:
        lines.append(f"{result.path}: {result.missed:,} rows have less than the mass asked for")
    if result.looked_up:
        lines.append(f"{result.path}: {result.looked_up:,} predictions from the lexicon")
    return lines
