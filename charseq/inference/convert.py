"""files -> windows of rows -> predictions -> files, any format to the same format.

A shard of rows is in memory at a time, and each distinct string is computed once (see
``answer_cache``). Rows, order and all other columns stay as they are; the file appears under its
name when it is complete, and never otherwise.

    plain text  each line is replaced by its prediction; where the model predicts the next word
                (it has ``append``), the line is extended by it; an empty line stays empty; with
                n > 1 the n best are separated by tabs
    tables      gain the columns NAME, then NAME_2 ... NAME_n for n > 1, then NAME_note; NAME is
                ``to``, by default "prediction"

The columns that are read: see ``columns``.

The files that have a header: a CSV and a spreadsheet have one, a TSV has one if ``column`` is a
name or its first row names ``source`` and ``target``; ``header`` = "yes" or "no" decides otherwise.
Without a header the new columns have no names.

A note says what is special about a row: "empty" (no text, no prediction), "unknown U+00DF"
(symbols that training has never seen), "truncated" (the longest prediction allowed), "lexicon" (the
prediction stands in the user's own file), "flattened" (a tab or line end in the prediction,
written as a space in text and TSV); mostly it is empty. For plain text the notes are reported
instead, by line, up to :data:`MAX_LISTED`; those of the lexicon are only counted.

With ``mass`` a row has fewer than n predictions if those have this probability together.

A row that cannot be read keeps its position, with the note "rejected", and stands with its bytes
and the reason in FILE.rejects.jsonl (see ``writer``): ok and rejected rows are all rows.

From file to file, the same call resumes an interrupted conversion (see ``journal``).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from charseq import files
from charseq.data.columns import column_reader
from charseq.data.formats import rows
from charseq.data.formats.reader import FORMATS, find_format, read_table, sniff
from charseq.data.formats.rows import Format, Row, Table, Window
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
    Texts,
    distinct_texts,
    limits,
    shards,
)
from charseq.inference.journal import (
    Journal,
    TextMemoryError,
    fingerprint,
    journal_path,
    open_journal,
    predict_texts,
)
from charseq.inference.pool import files_read

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
    batch_size: int = 256,
    format: str = "auto",
    header: str = "auto",
    force: bool = False,
    kept_for: str | None = None,
    report: Callable[[str], None] = lambda _: None,
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
        batch_size: texts that are computed side by side.
        format: the format's name; "auto": by the file's name.
        header: "auto", "yes" or "no".
        force: overwrite ``out``, and replace columns that have the new columns' names.
        kept_for: a hash of the model and of all that decides its answers. With it the answers are
            kept beside ``out`` until that is complete, and the same call resumes after an
            interruption.
        report: gets lines for people.

    Raises:
        UsageError: arguments that do not fit together, or ``out`` exists.
        DataError: with path and line: the input cannot be read or the output cannot be written.
    """
    path, out = str(path), str(out)
    found = find_format(sniff(path) if format == "auto" else format)
    _check_counts(n=n, beam=beam, batch_size=batch_size)
    if mass is not None and not 0 < mass <= 1:
        raise UsageError(f"mass is {mass}, expected a number above 0, at most 1")
    _check_columns(found, column=column, to=to)
    has_journal = os.path.lexists(journal_path(Path(out)))  # what is there may be of that attempt
    reads: list[str | Path] = [path, *files_read(model)]
    _check_out(out, found, reads, force=force or has_journal)
    table = read_table(path, format=found.name, header=_header(found, column, header), faulty=True)
    if to is not None and found.may_have_header and table.header is None:
        raise UsageError(f"{table.path} has no header, so the new column cannot be named '{to}'")
    if table.note:
        report(f"{table.path}: {table.note}")
    names = _new_names(to or DEFAULT_NAME, n) if found.has_columns else []
    read_text = column_reader(table, column, features=model.has_features)
    options = {"column": column, "n": n, "beam": beam, "mass": mass, "as": [found.name, header]}
    rejected = rejects_path(path, out)
    files.refuse(rejected, force=force or has_journal, inputs=reads, what="file of rejects")
    result = ConvertReport(table.path, "stdout" if out == "-" else out)
    with _journal(path, out, kept_for, options, force=force, report=report) as journal:
        if journal and journal.answers:
            report(f"{path}: goes on after {journal.answers:,} answers of an interrupted attempt")
            result.kept = journal.answers
        cache = _cache(model, found, journal, n=n, beam=beam, mass=mass, batch_size=batch_size)
        with (
            _outputs(out, rejected, journal, force=force) as (file, rejects),
            writing(table, file, names, force=force) as write,
        ):
            for shard in shards(_read(table, read_text, rejects), cache):
                known = _answers(shard, cache, table)
                result.distinct = cache.computed
                for window, texts in shard:
                    answers = [_row_answer(text, known, cache) for text in texts]
                    _count(window, texts, answers, result=result, report=report)
                    write(window, [None if answer is None else answer.cells for answer in answers])
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


def _cache(
    model: PairsModel | LanguageModel | WorkerPool,
    format: Format,
    journal: Journal | None,
    *,
    n: int,
    beam: int | None,
    mass: float | None,
    batch_size: int,
) -> AnswerCache:
    """The model behind the journal and a cache."""
    predict = partial(
        predict_texts,
        predict=partial(model.predict, n=n, beam=beam, batch_size=batch_size),
        n=n,
        mass=mass,
        batch_size=batch_size,
        kept=iter(journal.replay() if journal else ()),
        journal=journal,
    )
    append = None if format.has_columns else getattr(model, "append", None)
    return AnswerCache(predict, format=format, n=n, append=append)


def _read(
    table: Table, read_text: Callable[[Row], str | None], rejects: Rejects
) -> Iterator[tuple[Window, list[str | Rejected | None]]]:
    """Each window with its rows' texts; rows that cannot be read go to ``rejects``."""
    offset = len(table.header_row.raw) if table.header_row else 0
    for window in table.windows:
        texts: list[str | Rejected | None] = []
        for row in window.rows:
            try:
                if row.fault:
                    raise Rejected(row.fault)
                texts.append(read_text(row))
            except Rejected as fault:
                rejects.add(row.line, offset if row.raw else None, fault.message, row.raw)
                texts.append(fault)
            offset += len(row.raw)
        yield window, texts


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


def targets(paths: Sequence[str], out: str | None) -> list[str]:
    """The output file of each of ``paths``.

    No ``out``: beside the input, ``words.csv.gz`` as ``words.converted.csv.gz``, stdin to
    stdout. A folder: there, under the input's name. Else ``out`` itself, for a single input.

    Raises:
        UsageError: several inputs and no folder, or two outputs of one name, or an output that
            is an input.
    """
    if out is not None and files.is_stdout(out):
        out = "-"
    if out is None:
        found = [_beside(path) for path in paths]
    elif out != "-" and Path(out).is_dir():
        if "-" in paths:
            raise UsageError(f"{out} is a folder, but stdin has no name: give a file or -")
        found = [str(Path(out) / Path(path).name) for path in paths]
    elif len(paths) > 1:
        raise UsageError(f"{len(paths)} files cannot go to '{out}': give a folder that exists")
    elif out.endswith(os.sep):
        raise UsageError(f"{out}: there is no such folder; make it, or give the name of a file")
    else:
        found = [out]
    rejects = [str(rejects_path(path, name)) for path, name in zip(paths, found, strict=True)]
    for name, times in Counter([*found, *rejects]).items():
        if times > 1:
            raise UsageError(f"{times} inputs would be written to '{name}': convert them apart")
    inputs = {os.path.realpath(path) for path in paths if path != "-"}
    for name in (*found, *rejects):
        if name != "-" and os.path.realpath(name) in inputs:
            raise UsageError(f"{name} is an input and would be overwritten: give another -o")
    return found


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
    result.flagged += bool(answer.unknown)
    for symbol in answer.unknown:
        if symbol in result.unknown or len(result.unknown) < KEPT:
            result.unknown[symbol] += 1
    if answer.note and result.listed < MAX_LISTED:
        result.listed += 1
        report(f"{result.path}:{row.line}: {answer.note}")
    elif answer.note:
        result.unlisted += 1


def _header(format: Format, column: str | int | None, header: str) -> str:
    if header != "auto" or not format.may_have_header:
        return header
    has_number = column is None or re.fullmatch("[0-9,]+", str(column))
    return "yes" if format.expects_header or not has_number else "auto"


def _new_names(to: str, n: int) -> list[str]:
    return [to, *(f"{to}_{rank}" for rank in range(2, n + 1)), f"{to}_note"]


def _check_counts(*, n: int, beam: int | None, batch_size: int) -> None:
    for name, value in (("n", n), ("beam", beam), ("batch size", batch_size)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}, expected 1 or more")


def _check_columns(format: Format, *, column: str | int | None, to: str | None) -> None:
    if not format.has_columns and (column is not None or to is not None):
        raise UsageError("plain text has no columns: with --format tsv (or csv, jsonl) it has")
    if to is not None and (not to or to != to.translate(ONE_LINE)):
        raise UsageError("the new column's name is empty or has a tab or line end in it")


def _check_out(out: str, format: Format, reads: Sequence[str | Path], *, force: bool) -> None:
    if out == "-":
        return
    named = FORMATS[sniff(out)]
    if named.has_columns and named.name != format.name:
        raise UsageError(
            f"{out} is named as {named.title}, but {format.title} is written: give -o a name that "
            f"ends in {format.endings[0]}"
        )
    if format.packs_itself and out.lower().endswith(".gz"):
        raise UsageError(f"{out}: {format.title} is packed inside, name it without .gz")
    files.refuse(out, force=force, inputs=reads)


def _beside(path: str) -> str:
    if path == "-":
        return "-"
    target = Path(path)
    if not target.name:  # a folder, or nothing: the reader refuses it
        return f"{path}.converted"
    packed = target.name[-3:] if target.name.lower().endswith(".gz") else ""
    name = Path(target.name[: len(target.name) - len(packed)])
    return str(target.with_name(f"{name.stem}.converted{name.suffix}{packed}"))


@dataclass
class ConvertReport:
    """Counts of one conversion.

    ``rows``: rows written, without header and blank lines (plain text: lines).
    ``rejected``: those of them that could not be read, which are in the file ``rejects``.
    ``distinct``: texts computed, each once while it is remembered; ``kept``: those of them that an
    interrupted attempt had computed. ``empty``: rows without a text.
    ``flagged``: rows with an unseen symbol; ``unknown``: for each unseen symbol, the rows that
    have it. ``truncated``: rows whose prediction was cut. ``looked_up``: rows whose prediction
    stands in the lexicon. ``listed``, ``unlisted``: lines of plain text with a note that were
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
    if result.looked_up:
        lines.append(f"{result.path}: {result.looked_up:,} predictions from the lexicon")
    return lines
