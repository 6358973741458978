"""files -> windows of rows -> predictions -> files, any format to the same format.

A shard of rows is in memory at a time, and each distinct string is computed once (see ``replies``).
Rows, order and all other columns stay as they are; the file appears under its name when it is
complete, and never otherwise.

    text                       each line is replaced by its prediction, or goes on with it where
                               the model predicts the next word (it has ``append``); an empty
                               line stays empty; with n > 1 the n best are separated by tabs
    tsv, csv, jsonl, parquet   gain the columns NAME, then NAME_2 ... NAME_n for n > 1, then
                               NAME_note; NAME is ``to``, by default "prediction"

Which column is read: ``column`` is a name of the header, else a number counted from 1; by
default the column named ``source`` if there is one, else the first. A model with features reads
two ("lemma,features", "1,2"), by default ``source`` and ``features``, else the first two.

Which file has a header: a CSV has one, a TSV has one if ``column`` is a name or its first row
names ``source`` and ``target``; ``header`` = "yes" or "no" decides otherwise. Without a header
the new columns have no names.

A note says what is to be known of a row: "empty" (no text, no prediction), "unknown U+00DF"
(symbols the model has never seen), "truncated" (the longest prediction allowed), "lexicon" (the
prediction stands in the user's own file), "flattened" (a tab or line end in the prediction,
written as a space in text and TSV); mostly it is empty. For plain text the notes are reported
instead, by line, up to :data:`SHOWN`; those of the lexicon are only counted.

With ``mass`` there are fewer than n predictions in a row where those have the mass together.

A row that cannot be read keeps its place, with the note "rejected", and stands with its bytes and
the reason in FILE.rejects.jsonl (see ``rejects``): ok and rejected rows are all rows.

From file to file an interrupted conversion is gone on with by the same call (see ``journal``).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from charseq.data.formats import rows
from charseq.data.formats.reader import FORMATS, read_table, sniff
from charseq.data.formats.rows import Row, Table, Window, locate, text_of
from charseq.data.formats.writer import (
    Rejected,
    Rejects,
    place,
    refuse,
    rejecting,
    replacing,
    writing,
)
from charseq.display import KEPT, ONE_LINE, describe
from charseq.errors import DataError, UsageError
from charseq.inference.answer_cache import Replies, Reply, Texts, bounds, shards, some
from charseq.inference.journal import Journal, Outcome, answers, fingerprint, open_journal

DEFAULT_NAME = "prediction"


class Predicts(Protocol):
    """A model as conversion needs it (:class:`charseq.inference.predictor.PairsModel` is one)."""

    @property
    def has_features(self) -> bool:
        """Whether a text is "source TAB features"."""

    def predict(
        self, texts: Sequence[str], *, n: int = 1, beam: int | None = None, batch_size: int = 64
    ) -> Sequence[Outcome]:
        """One outcome for each text, in order."""


def convert(
    model: Predicts,
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
    """Rewrite one file; ``-`` is stdin or stdout. ``report`` gets lines for people.

    ``force`` overwrites ``out`` and replaces columns that have the new columns' names.
    ``kept_for`` names the model and all that decides its answers (a hash); with it the answers are
    kept beside ``out`` until that is complete, and the same call goes on where it was interrupted.

    Raises:
        UsageError: arguments that do not fit together, or ``out`` exists.
        DataError: with path and line: what is read or written is not as it should be.
    """
    path, out = str(path), str(out)
    kind = sniff(path) if format == "auto" else format
    _check_counts(n=n, beam=beam, batch_size=batch_size)
    if mass is not None and not 0 < mass <= 1:
        raise UsageError(f"mass is {mass}, expected a number above 0, at most 1")
    _check_columns(kind, column=column, to=to)
    _check_out(path, out, kind, force=force)
    table = read_table(path, format=kind, header=_header(kind, column, header), faulty=True)
    if to is not None and kind in ("tsv", "csv") and table.header is None:
        raise UsageError(f"{table.path} has no header, so the new column cannot be named '{to}'")
    names = [] if kind == "text" else _new_names(to or DEFAULT_NAME, n)
    pick = _picker(table, column, features=model.has_features)
    result = ConvertReport(table.path, "stdout" if out == "-" else out)
    append = getattr(model, "append", None) if kind == "text" else None
    ask = partial(model.predict, n=n, beam=beam, batch_size=batch_size)
    options = {"column": column, "n": n, "beam": beam, "mass": mass, "as": [kind, header]}
    rejected = place(path, out)
    refuse(rejected, force=force)
    with (
        _journal(path, out, kept_for, options, force=force) as journal,
        replacing(out, force=force, part=journal.part if journal else None) as file,
        writing(table, file, names, force=force) as write,
        rejecting(rejected) as rejects,
    ):
        kept = iter(journal.replay() if journal else ())
        if journal and journal.answers:
            report(f"{path}: goes on after {journal.answers:,} answers of an interrupted attempt")
            result.kept = journal.answers
        seek = partial(answers, ask=ask, n=n, mass=mass, batch_size=batch_size)
        seek = partial(seek, kept=kept, journal=journal)
        replies = Replies(seek, kind=table.format, n=n, append=append)
        for shard in shards(_read(table, pick, rejects), replies):
            known = replies.of(text for _, texts in shard for text in some(texts))
            result.distinct = replies.computed
            for window, texts in shard:
                found = [_reply(text, known, replies) for text in texts]
                _count(window, texts, found, table=table, result=result, report=report)
                write(window, [None if reply is None else reply.cells for reply in found])
        result.rejected, result.rejects = rejects.count, str(rejects.path)
        if not result.rows and path != "-" and table.header is None:
            raise DataError("the file is empty, expected rows", path=table.path)
    for line in summary(result):
        report(line)
    return result


def _read(
    table: Table, pick: Callable[[Row], str | None], rejects: Rejects
) -> Iterator[tuple[Window, list[str | Rejected | None]]]:
    """Each window with its rows' texts (see :func:`_picker`); what was rejected is kept."""
    offset = len(table.header_row.raw) if table.header_row else 0
    for window in table.windows:
        texts: list[str | Rejected | None] = []
        for row in window.rows:
            try:
                if row.fault:
                    raise Rejected(row.fault)
                texts.append(pick(row))
            except Rejected as fault:
                place = None if table.format == "parquet" else offset
                rejects.add(row.line, place, fault.message, row.raw)
                texts.append(fault)
            offset += len(row.raw)
        yield window, texts


def _journal(
    path: str, out: str, kept_for: str | None, options: Mapping[str, Any], *, force: bool
) -> AbstractContextManager[Journal | None]:
    """Where answers are kept, from file to file; nowhere else."""
    final = Path(os.path.realpath(out))
    plain = out != "-" and path != "-" and Path(path).is_file()
    if kept_for is None or not plain or (final.exists() and not final.is_file()):
        return nullcontext()
    identity = {
        "the input": fingerprint(Path(path)),
        "the model": kept_for,
        "the options": {**options, "window": [rows.WINDOW, *bounds()]},
    }
    return open_journal(final, identity, force=force)


def targets(paths: Sequence[str], out: str | None) -> list[str]:
    """Where each of ``paths`` is written.

    No ``out``: beside the input, ``words.csv.gz`` as ``words.converted.csv.gz``, stdin to
    stdout. A folder: there, under the input's name. Else ``out`` itself, for a single input.

    Raises:
        UsageError: several inputs and no folder, or two outputs of one name, or an output that
            is an input.
    """
    if out is None:
        found = [_beside(path) for path in paths]
    elif out != "-" and Path(out).is_dir():
        if "-" in paths:
            raise UsageError(f"{out} is a folder, but stdin has no name: give a file or -")
        found = [str(Path(out) / Path(path).name) for path in paths]
    elif len(paths) > 1:
        raise UsageError(f"{len(paths)} files cannot go to '{out}': give a folder that exists")
    else:
        found = [out]
    for name, times in Counter(found).items():
        if times > 1:
            raise UsageError(f"{times} inputs would be written to '{name}': convert them apart")
    inputs = {Path(path).resolve(): path for path in paths if path != "-"}
    for name in found:
        if name != "-" and Path(name).resolve() in inputs:
            raise UsageError(f"{name} is an input and would be overwritten: give another -o")
    return found


def _reply(
    text: str | Rejected | None, known: Mapping[str, Reply], replies: Replies
) -> Reply | None:
    """What is written to a row; None: a blank line, which stays."""
    if text is None:
        return None
    if isinstance(text, Rejected):
        return replies.rejected
    return known[text] if text else replies.empty


def _count(
    window: Window,
    texts: Texts,
    found: Sequence[Reply | None],
    *,
    table: Table,
    result: ConvertReport,
    report: Callable[[str], None],
) -> None:
    """Add the rows of a window to ``result``; what is to be told of some is told."""
    result.rows += len(found) - found.count(None)
    result.empty += texts.count("")
    for row, text, reply in zip(window.rows, texts, found, strict=True):
        if isinstance(text, Rejected):
            if result.listed < SHOWN:
                result.listed += 1
                report(f"{table.path}:{row.line}: rejected: {text.message}")
        elif reply is not None and not reply.plain:
            _tell(reply, row, table, result, report)


def _tell(
    reply: Reply, row: Row, table: Table, result: ConvertReport, report: Callable[[str], None]
) -> None:
    """What is to be known of a row."""
    result.truncated += reply.truncated
    result.looked_up += reply.looked_up
    result.flagged += bool(reply.unknown)
    for symbol in reply.unknown:
        if symbol in result.unknown or len(result.unknown) < KEPT:
            result.unknown[symbol] += 1
    if reply.note and result.listed < SHOWN:
        result.listed += 1
        report(f"{table.path}:{row.line}: {reply.note}")
    elif reply.note:
        result.unlisted += 1


def _picker(
    table: Table, column: str | int | None, *, features: bool
) -> Callable[[Row], str | None]:
    """A function from a row to the model's text ("" if there is none; None: a blank line).

    Raises:
        (now if there is a header, else at a row)
        UsageError: not as many columns as the model reads.
        DataError: with path and line: no such column.
        Rejected: this row alone has no such key, or no text there.
    """
    count = 2 if features and table.format != "text" else 1
    labels: list[str | int] = []
    if table.header is not None:
        labels = _labels(column, table.header, count)
        for label in labels:
            _place(table, label, table.header, len(table.header), 1)

    found: dict[tuple[str, ...], list[int]] = {}
    single = count == 1 and not features

    def locate_in(row: Row) -> list[int]:
        names = table.header or row.names
        alone = bool(labels) and table.format == "jsonl"
        if not labels:
            labels.extend(_labels(column, names, count))
        try:
            return [_place(table, label, names, len(row.cells), row.line) for label in labels]
        except DataError as fault:
            if not alone:
                raise
            raise Rejected(fault.message) from None

    def pick(row: Row) -> str | None:
        cells = row.cells
        if not cells:
            return None
        places = found.get(row.names)
        if places is None:
            places = found[row.names] = locate_in(row)
        if single and type(text := cells[places[0]]) is str and text.isascii():
            return text
        try:
            return _text([text_of(cells[place]) for place in places], features=features)
        except DataError as fault:
            raise Rejected(fault.message) from None

    return pick


def _place(table: Table, label: str | int, names: Sequence[str], width: int, line: int) -> int:
    try:
        return locate(label, names, width)
    except DataError as fault:
        raise fault.at(table.path, None if table.format == "parquet" else line) from None


def _text(parts: list[str], *, features: bool) -> str:
    if len(parts) > 1 and "\t" in parts[0]:
        raise DataError("a tab in the source, which a model with features cannot tell apart")
    text = "\t".join(parts)
    return "" if features and text.startswith("\t") else text


def _labels(column: str | int | None, names: Sequence[str], count: int) -> list[str | int]:
    """What the ``count`` columns to read are called: names, or numbers from 1."""
    if column is not None:
        given = str(column).split(",") if count > 1 else [str(column)]
        if len(given) != count:
            raise UsageError(f"--column is '{column}', expected SOURCE,FEATURES for this model")
        return list(given)
    roles = ("source", "features")[:count]
    if all(role in names for role in roles):
        return list(roles)
    # Names and not numbers where they can be had: keys of JSON may change their order.
    first = list(names[:count])
    return list(first) if len(set(names)) == len(names) >= count else list(range(1, count + 1))


def _header(kind: str, column: str | int | None, header: str) -> str:
    if header != "auto" or kind not in ("tsv", "csv"):
        return header
    numbers = column is None or re.fullmatch("[0-9,]+", str(column))
    return "yes" if kind == "csv" or not numbers else "auto"


def _new_names(to: str, n: int) -> list[str]:
    return [to, *(f"{to}_{rank}" for rank in range(2, n + 1)), f"{to}_note"]


def _check_counts(*, n: int, beam: int | None, batch_size: int) -> None:
    for name, value in (("n", n), ("beam", beam), ("batch size", batch_size)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}, expected 1 or more")


def _check_columns(kind: str, *, column: str | int | None, to: str | None) -> None:
    if kind == "text" and (column is not None or to is not None):
        raise UsageError("plain text has no columns: with --format tsv (or csv, jsonl) it has")
    if to is not None and (not to or to != to.translate(ONE_LINE)):
        raise UsageError("the new column's name is empty or has a tab or line end in it")


def _check_out(path: str, out: str, kind: str, *, force: bool) -> None:
    if out == "-":
        return
    if path != "-" and Path(path).exists() and Path(out).exists() and Path(out).samefile(path):
        raise UsageError(f"{out} is the input itself: give another -o")
    said = sniff(out)
    if said not in ("text", kind) and kind in FORMATS:  # other kinds are refused by the reader
        raise UsageError(f"{out} is named as {said}, but the format stays {kind}: name it so")
    if kind == "parquet" and out.lower().endswith(".gz"):
        raise UsageError(f"{out}: Parquet is packed inside, name it without .gz")
    refuse(out, force=force)


def _beside(path: str) -> str:
    if path == "-":
        return "-"
    place = Path(path)
    if not place.name:  # a folder, or nothing: the reader will say so
        return f"{path}.converted"
    packed = place.name[-3:] if place.name.lower().endswith(".gz") else ""
    name = Path(place.name[: len(place.name) - len(packed)])
    return str(place.with_name(f"{name.stem}.converted{name.suffix}{packed}"))


SHOWN = 20


@dataclass
class ConvertReport:
    """What was converted.

    ``rows``: rows written, without header and blank lines (plain text: lines).
    ``rejected``: those of them that could not be read, which are in the file ``rejects``.
    ``distinct``: texts computed, each once while it is remembered; ``kept``: those of them that an
    interrupted attempt had computed. ``empty``: rows without a text.
    ``flagged``: rows with an unseen symbol; ``unknown``: for each unseen symbol, the rows that
    have it. ``truncated``: rows whose prediction was cut. ``looked_up``: rows whose prediction
    stands in the lexicon. ``listed``, ``unlisted``: lines of plain text with a note that were
    reported, and that were only counted.
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
    """The report as lines for people: counts, then what is to be known of some rows."""
    counts = f"{result.rows:,} rows, {result.distinct:,} strings computed"
    if result.kept:
        counts += f" ({result.kept:,} of them before it was interrupted)"
    lines = [f"{result.path}: {counts} -> {result.out}"]
    if result.rejected:
        lines.append(f"{result.path}: {result.refused}, {result.ok:,} ok -> {result.rejects}")
    if result.unlisted:
        lines.append(f"{result.path}: {result.unlisted:,} more lines with notes, not listed")
    if result.unknown:
        most = result.unknown.most_common(SHOWN)
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
