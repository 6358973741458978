"""files -> windows of rows -> predictions -> files, any format to the same format, or to a lexicon.

A shard of rows is in memory at a time, and each distinct string is computed once (see
``answer_cache``). Rows, order and all other columns stay as they are; the file appears under its
name when it is complete, and never otherwise.

    plain text  each line is replaced by its prediction; where the model predicts the next word
                (it has ``append``), the line is extended by it; an empty line stays empty; with
                n > 1 the n best are separated by tabs
    tables      gain the columns NAME, then NAME_2 ... NAME_n for n > 1, then with ``scores``
                NAME_probability, NAME_2_probability ..., with ``align`` NAME_alignment, then
                NAME_note; NAME is ``to``, by default "prediction"

The columns that are read: see ``columns``.

A file has a header if ``column`` is a name, or by the rule of ``headers``, which training follows
as well. Without a header the new columns have no names. The columns that are read are reported.

A note says what is special about a row: "empty" (no text, no prediction), "unknown U+00DF"
(symbols that training has never seen), "truncated" (the longest prediction allowed), "lexicon" (the
prediction stands in the user's own file), "flattened" (a tab or line end in the prediction,
written as a space in text and TSV); mostly it is empty. For plain text the notes are reported
instead, by line, up to a limit; those of the lexicon are only counted. Predictions from the memory
of the run have no note, since most may be from there; they are counted.

With ``mass`` a row has fewer than n predictions if those have this probability together.

With ``threshold`` the predictions of a row are withheld if the best is less probable: the cells are
empty, and the note is "unsure". Of the new probabilities the best stays. Predictions of the lexicon
are never withheld. A review file gets the texts of such rows (see
:mod:`charseq.inference.conversion.review`).

With ``to_format``, and where the input is a pronouncing dictionary, the answers become a lexicon
(see :class:`charseq.inference.conversion.entries.EntryWriter`).

A row that cannot be read keeps its position, with the note "rejected", and stands with its bytes
and the reason in FILE.rejects.jsonl (see ``writer``): ok and rejected rows are all rows.

From file to file, the same call resumes an interrupted conversion (see ``journal``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from charseq import files
from charseq.data.columns import column_names, column_reader, read_texts
from charseq.data.formats import rows
from charseq.data.formats.opening import packed_ending
from charseq.data.formats.reader import FORMATS, find_format, read_table, sniff
from charseq.data.formats.rows import Format, Row, Table
from charseq.data.formats.sqlite import renamed, split_location
from charseq.data.formats.writer import Rejects, rejecting, rejects_path, replacing, writing
from charseq.errors import DataError, UsageError, argument
from charseq.inference.answer_cache import AnswerCache, answering, keeps_rule, limits
from charseq.inference.conversion.columns import (
    DEFAULT_NAME,
    ColumnWriter,
    ConvertReport,
    check_new_name,
    new_names,
)
from charseq.inference.conversion.entries import EntryWriter, LexiconReport, find_target
from charseq.inference.conversion.review import Review, check_threshold, reviewing
from charseq.inference.journal import Journal, fingerprint, journal_path, open_journal
from charseq.inference.pool import aligning, as_trained, files_read
from charseq.inference.prediction import check_counts

if TYPE_CHECKING:
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.pool import WorkerPool
    from charseq.inference.predictor import PairsModel


def convert(
    model: PairsModel | LanguageModel | WorkerPool,
    path: str | Path,
    out: str | Path,
    *,
    column: str | int | None = None,
    to: str | None = None,
    to_format: str | None = None,
    n: int = 1,
    beam: int | None = None,
    mass: float | None = None,
    scores: bool = False,
    align: bool = False,
    threshold: float | None = None,
    review: str | Path | None = None,
    batch_size: int = 256,
    format: str = "auto",
    header: str = "auto",
    delimiter: str = "auto",
    encoding: str = "auto",
    force: bool = False,
    kept_for: str | None = None,
    report: Callable[[str], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda _rows, _bytes: None,
) -> ConvertReport | LexiconReport:
    """Rewrite one file; ``-`` is stdin or stdout.

    Args:
        model: a loaded run, or a pool of workers that have it.
        path: the input.
        out: the output, in the format of the input.
        column: the column to read, a name or a number from 1; see ``columns``.
        to: the name of the new column.
        to_format: write a lexicon of this format, one of ``reader.lexicon_formats()``: each text
            once, with its n best predictions. None: of the input's, if that is a dictionary.
        n: predictions a row.
        beam: the width of the beam; None: the run's own.
        mass: fill only as many columns as have this probability together.
        scores: add a column with the probability of each prediction.
        align: add a column with the parts of the text and the first prediction that belong
            together, as ``k→k ae→æ t→t``; for models with attention.
        threshold: withhold the predictions of a row if the best is less probable.
        review: a .csv or .tsv file for the texts whose predictions are withheld or truncated, to
            be filled in by a person.
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

    Returns:
        The counts of the conversion, or of the lexicon.

    Raises:
        UsageError: arguments that do not fit together, or ``out`` exists.
        DataError: with path and line: the input cannot be read or the output cannot be written.
    """
    path, (origin, source), (out, name) = str(path), split_location(path), split_location(out)
    check_counts(n=n, beam=beam, mass=mass, batch_size=batch_size)
    most = check_threshold(model, n, beam, threshold, review)
    asked = {"format": format, "delimiter": delimiter, "encoding": encoding}
    how = as_trained(model, path, asked, report)
    table, target, new = _open(
        model, path, out, column=column, to=to, to_format=to_format, n=n, scores=scores,
        align=align, header=header, how=how,
    )  # fmt: skip
    table = table if target else renamed(table, name)
    rejected = rejects_path(path, out)
    doubtful = Review.of(model, review, candidates=most)
    reads: list[str | Path] = [origin, *files_read(model)]
    _check_outputs(out, rejected, doubtful, target or table.format, reads, force=force)
    _tell(table, new, report)
    read_text = _text_reader(model, table, column, report)
    options: dict[str, Any] = {"column": column, "n": n, "beam": beam, "mass": mass}
    options |= {"as": [*how.values(), header, source, name]}
    options |= {name: True for name, asked in (("scores", scores), ("align", align)) if asked}
    options |= {"lexicon": target.name} if target else {}
    options |= {} if threshold is None else {"threshold": threshold, "most": most}
    shown = "stdout" if out == "-" else out
    result: ConvertReport | LexiconReport
    with (
        _journal(origin, out, kept_for, options, most, force=force, report=report) as journal,
        _outputs(out, rejected, doubtful, journal, force=force) as (file, rejects),
    ):
        if kept := journal.answers if journal else 0:
            report(f"{path}: goes on after {kept:,} answers of an interrupted attempt")
        answer = answering(
            model, journal, n=most, beam=beam, mass=mass, batch_size=batch_size,
            scored=scores or target is not None or threshold is not None,
        )  # fmt: skip
        read = read_texts(table, read_text, rejects)
        if target:
            result = LexiconReport(table.path, shown, target.name, kept=kept)
            entries = EntryWriter(
                table, file, rejects, result, report=report, features=model.has_features, n=n,
                threshold=threshold, review=doubtful,
            )  # fmt: skip
            entries.write(read, answer, progress)
        else:
            result = ConvertReport(table.path, shown, kept=kept)
            append = None if table.format.has_columns else getattr(model, "append", None)
            cache = AnswerCache(
                answer, format=table.format, n=n, append=append, scores=scores, mass=mass,
                threshold=threshold, reviewed=doubtful is not None, align=aligning(model, on=align),
                ruled=keeps_rule(model),
            )  # fmt: skip
            with writing(table, file, new, force=force) as write:
                ColumnWriter(
                    table, write, cache, rejects, result, report=report, review=doubtful
                ).write(read, progress)
        result.rejected, result.rejects = rejects.count, str(rejects.path)
        if not result.rows and path != "-" and table.header is None:
            raise DataError("the file is empty, expected rows", path=table.path)
    result.to_review = tuple(doubtful.summary(table.path)) if doubtful else ()
    for line in result.summary():
        report(line)
    return result


def _open(
    model: PairsModel | LanguageModel | WorkerPool,
    path: str,
    out: str,
    *,
    column: str | int | None,
    to: str | None,
    to_format: str | None,
    n: int,
    scores: bool,
    align: bool,
    header: str,
    how: Mapping[str, str],
) -> tuple[Table, Format | None, list[str]]:
    """The table, the format of the lexicon if one is written, and the names of the new columns."""
    aligning(model, on=align)  # which refuses a model without attention
    target = find_target(model, to_format) if to_format else None
    expected = target or find_format(sniff(path) if how["format"] == "auto" else how["format"])
    if expected.has_columns:  # else its content tells
        _check_out(out, expected, [split_location(path)[0]], force=True)
    names = column_names(column, features=model.has_features)
    new = [] if target else new_names(to or DEFAULT_NAME, n, scores=scores, align=align)
    table = read_table(path, header=header, names=names, added=new, faulty=True, **how)
    if target is None and table.format.holds_pairs:
        target = find_target(model, table.format.name)
    if target:
        _refuse_columns(table, to=to, scores=scores, align=align, is_named=to_format is not None)
    else:
        _check_columns(table, column=column, to=to, added=scores or align)
    _check_reading(table.format, how)
    return table, target, new if table.format.has_columns and not target else []


@contextmanager
def _outputs(
    out: str, rejected: Path, review: Review | None, journal: Journal | None, *, force: bool
) -> Iterator[tuple[BinaryIO, Rejects]]:
    """The output, its rejects and its review, which get their names when the block ends well.

    What an attempt has published that was killed before its end may be overwritten.
    """

    def may_write(path: Path) -> bool:
        return force or bool(journal and journal.made(path))

    def publish(part: Path | None) -> None:
        rejects.close()
        parts = {rejected: rejects.part} if rejects.part else {}
        if review and sheet:
            review.write(sheet)
            files.sync(sheet)
            parts[review.path] = Path(sheet.name)
        if journal and part:
            journal.publishing({Path(out): part, **parts})
        rejects.finish()

    with (
        reviewing(review, force=bool(review and may_write(review.path))) as sheet,
        rejecting(rejected, force=may_write(rejected)) as rejects,
        replacing(out, force=may_write(Path(out)), ready=publish) as file,
    ):
        yield file, rejects


def _tell(table: Table, new: Sequence[str], report: Callable[[str], None]) -> None:
    """Report how a table is read, and its new columns."""
    for line in filter(None, [table.note, f"new columns {', '.join(new)}" if new else ""]):
        report(f"{table.path}: {line}")


def _text_reader(
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


def _journal(
    path: str,
    out: str,
    kept_for: str | None,
    options: Mapping[str, Any],
    n: int,
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
        "the model, its lexicon or its rule": kept_for,
        "the options": {**options, "window": [rows.WINDOW, *limits()]},
    }
    return open_journal(final, identity, force=force, n=n, report=report)


def _check_reading(found: Format, how: Mapping[str, str]) -> None:
    """Raise UsageError for a delimiter or an encoding of a format that has none."""
    if how["delimiter"] != "auto" and (found.packs_itself or not found.may_have_header):
        raise UsageError(f"{found.title} has no delimiter")
    if how["encoding"] != "auto" and found.packs_itself:
        raise UsageError(f"{found.title} has no encoding")


def _check_columns(table: Table, *, column: str | int | None, to: str | None, added: bool) -> None:
    """Raise UsageError for columns that the table cannot have."""
    found = table.format
    if not found.has_columns and (column is not None or to is not None or added):
        raise UsageError("plain text has no columns: in the format tsv (or csv, jsonl) it has")
    check_new_name(to)
    if to is not None and found.may_have_header and table.header is None:
        raise UsageError(
            f"{table.path} has no header, so the new column cannot be named '{to}': "
            f"{argument('header', 'yes')} makes its first row the header"
        )


def _refuse_columns(
    table: Table, *, to: str | None, scores: bool, align: bool, is_named: bool
) -> None:
    """Raise UsageError for new columns of a lexicon; ``is_named``: the caller has named its format.

    Otherwise the format is that of the input, which is a table of TSV as well.
    """
    hint = ""
    if not is_named:
        title = table.format.title
        tsv = argument("format", "tsv")
        hint = f" ({table.path} is read as a {title}: {tsv} adds columns to its lines)"
    if to is not None:
        raise UsageError(f"{argument('to')} names a new column, and a lexicon has none{hint}")
    if scores:
        what = "adds columns: lexica have probabilities where their format does"
        raise UsageError(f"{argument('scores', True)} {what}{hint}")
    if align:
        raise UsageError(f"{argument('align', True)} adds a column, and a lexicon has none{hint}")


def _check_outputs(
    out: str,
    rejected: Path,
    review: Review | None,
    format: Format,
    reads: Sequence[str | Path],
    *,
    force: bool,
) -> None:
    """Raise UsageError for outputs that must not be written; ``reads``: all that is read."""
    # what is there may be of an interrupted attempt
    force = force or os.path.lexists(journal_path(Path(out)))
    _check_out(out, format, reads, force=force)
    files.refuse(rejected, force=force, inputs=reads, what="file of rejects")
    if review:
        review.check(writes=[Path(out), rejected], reads=reads, force=force)


def _check_out(out: str, format: Format, reads: Sequence[str | Path], *, force: bool) -> None:
    if out == "-":
        return
    named = FORMATS[sniff(out)]
    if named.has_columns and not set(named.endings) & set(format.endings):
        raise UsageError(
            f"{out} is named as {named.title}, but {format.title} is written: {argument('out')} "
            f"needs a name that ends in {format.endings[0]}"
        )
    ending = packed_ending(out)
    if format.packs_itself and ending:
        raise UsageError(f"{out}: {format.title} is packed inside, name it without {ending}")
    files.refuse(out, force=force, inputs=reads)
