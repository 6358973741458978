"""Lexicon: a file of pairs, whose targets come before the answers of the model, or are answers.

:func:`read` takes the user's own pairs; :func:`write` makes a lexicon of a model's answers.

A text is looked up as a whole: in the Unicode form in which the vocabulary of the model reads
sources, with all of its features in their order, and case-sensitively. The targets of a source are
given as they are in the file, those of the largest weight first, equal ones in the order of the
file. They share the probability 1 in proportion to their weights.
"""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from charseq import files
from charseq.data import pairs
from charseq.data.bad_rows import EMPTY_HINT, SKIP_HINT
from charseq.data.columns import column_names
from charseq.data.formats.headers import roles_among
from charseq.data.formats.lexica import Dictionary, Entry
from charseq.data.formats.lines import TextFormat
from charseq.data.formats.reader import (
    FORMATS,
    lexicon_formats,
    read_table,
    sniff,
)
from charseq.data.formats.rows import Format, Row
from charseq.data.formats.sqlite import split_location
from charseq.data.formats.writer import Rejected, Rejects, rejecting, rejects_path, replacing
from charseq.data.pairs import Example, Part
from charseq.data.text.normalise import normalise
from charseq.data.text.vocabulary import Vocabulary
from charseq.display import count as counted
from charseq.errors import DataError, UsageError
from charseq.inference.prediction import LEXICON, Candidate, Prediction, check_counts

if TYPE_CHECKING:
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.pool import WorkerPool
    from charseq.inference.predictor import PairsModel

Key = tuple[str, tuple[str, ...]]
"""Normalised source and features."""
MAX_LISTED = 20
"""Rejected rows that are reported one by one."""
Predict = Callable[[list[str]], Sequence[Prediction]]


class Lexicon:
    """Sources and their targets, which come before the answers of a model."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        entries: Iterable[Example],
        path: Path | None = None,
        *,
        notes: Sequence[str] = (),
    ) -> None:
        """Index ``entries`` by source and features, as ``vocabulary`` normalises sources.

        A pair that occurs twice counts once, with its larger weight. ``path`` is their file;
        ``notes``: how the entries were read, for people.
        """
        self.path = path
        self.notes = notes
        self._vocabulary = vocabulary
        weights: dict[Key, dict[str, float]] = {}
        for one in entries:
            targets = weights.setdefault(self._key(one.source, one.features), {})
            targets[one.target] = max(targets.get(one.target, 0.0), one.weight)
        self._answers = {key: _candidates(targets) for key, targets in weights.items()}

    def __len__(self) -> int:
        """The number of sources."""
        return len(self._answers)

    @property
    def fingerprint(self) -> str:
        """sha256 of all sources and targets."""
        return hashlib.sha256(repr(sorted(self._answers.items())).encode()).hexdigest()

    def find(self, source: str, features: str = "") -> list[Candidate]:
        """The targets of a source as candidates, best first; none where it is not in the file."""
        return self._answers.get(self._key(source, features), [])

    def answer(
        self, texts: Mapping[str, tuple[str, str]], n: int, predict: Predict
    ) -> dict[str, Prediction]:
        """Up to ``n`` candidates for each text: targets of the lexicon, then those of the model.

        Args:
            texts: source and features of each text.
            n: the most candidates for each text.
            predict: the model. It is called with the texts that have fewer than ``n`` targets.

        Returns:
            The prediction for each text. No symbol is unknown in a text of the lexicon.
        """
        own = {text: self.find(*parts)[:n] for text, parts in texts.items()}
        missing = [text for text, found in own.items() if len(found) < n]
        predicted = dict(zip(missing, predict(missing), strict=True))
        return {text: _joined(text, own[text], predicted.get(text), n) for text in texts}

    def _key(self, source: str, features: str) -> Key:
        known = self._vocabulary
        parts = tuple(known.split_features(features)) if features else ()
        return normalise(source, known.form), parts


def read(
    path: str | Path,
    vocabulary: Vocabulary,
    *,
    settings: Mapping[str, Any],
    columns: str = "",
) -> Lexicon:
    """Read a lexicon for a model whose sources have this ``vocabulary``.

    Args:
        path: a file of pairs in any format of training data.
        vocabulary: that of the model's sources.
        settings: the settings of the model's training.
        columns: roles of the columns, as in the setting ``columns``; by default those in a header
            that names source and target, else as in the data of the training.

    Raises:
        UsageError: ``path`` is "-".
        DataError: with path and line: the file is missing; a row cannot be read or is no pair; it
            has features and the model takes none, or the other way round.
        SettingError: ``columns`` is not understood.
    """
    if str(path) == "-":
        raise UsageError("a lexicon is a file, not stdin")
    header = "auto"
    if not columns and settings["columns"] and not _names_roles(path):
        columns, header = settings["columns"], settings["header"]
    try:
        part = pairs.read_file(
            path,
            columns=columns,
            header=header,
            empty_targets=settings["empty_targets"],
            feature_separator=settings["feature_separator"],
        )
    except DataError as fault:
        message = fault.message.removesuffix(EMPTY_HINT).removesuffix(SKIP_HINT)
        message = message.replace("--columns", "--lexicon-columns")
        raise DataError(message, path=fault.path, line=fault.line) from None
    _check_features(part, bool(vocabulary.features))
    read_as = f"{path}: a lexicon of {counted(len(part), 'pair')}, {part.columns}"
    notes = [read_as, *(f"{path}: {note}" for note in part.notes)]
    return Lexicon(vocabulary, part.examples, Path(split_location(path)[0]), notes=notes)


def _names_roles(path: str | Path) -> bool:
    """Whether the header, or the keys of the first row, name a source and a target."""
    table = pairs.open_table(path, pairs.Reading())
    first = next(table.rows, None)
    names = table.header or (() if first is None else first.names)
    return {"source", "target"} <= roles_among(names).keys()


def _check_features(part: Part, wanted: bool) -> None:
    """Refuse features where the model takes none, and rows without them where it does.

    A text of such a model would never match, or a row would match texts of other features.
    """
    for one, line in zip(part.examples, part.lines, strict=True):
        if one.features and not wanted:
            raise DataError(
                f"the features '{one.features}', but the model takes none: skip their column",
                path=part.path,
                line=line,
            )
        if wanted and not one.features:
            raise DataError(
                "no features, but the model takes them: name their column, for example "
                "--lexicon-columns source,features,target",
                path=part.path,
                line=line,
            )


def _candidates(targets: Mapping[str, float]) -> list[Candidate]:
    """Targets and weights as candidates, the largest weight first; probabilities sum to 1."""
    ranked = sorted(targets.items(), key=lambda item: -item[1])
    most = ranked[0][1]
    total = math.fsum(weight / most for _, weight in ranked)
    base = math.log(most) + math.log(total)
    return [
        Candidate(text, weight / most / total, math.log(weight) - base, LEXICON)
        for text, weight in ranked
    ]


def _joined(text: str, own: list[Candidate], predicted: Prediction | None, n: int) -> Prediction:
    """The candidates of the lexicon, then those of the model that are not among them."""
    if not own and predicted is not None:
        return predicted
    known = {unicodedata.normalize("NFC", one.prediction) for one in own}
    others = [
        one
        for one in (predicted.candidates if predicted is not None else ())
        if unicodedata.normalize("NFC", one.prediction) not in known
    ]
    best = own[0]
    return Prediction(
        text,
        best.prediction,
        best.probability,
        unknown=[],
        truncated=False,
        candidates=[*own, *others][:n],
        familiarity=predicted.familiarity if predicted else None,
    )


# --- answers -> a lexicon


@dataclass
class LexiconReport:
    """Counts of a lexicon that was written.

    ``words``: different texts; ``entries``: their answers, as many lines; ``rejected``: rows that
    could not be read and texts that the format cannot hold, which are in the file ``rejects``.
    """

    path: str
    words: int = 0
    entries: int = 0
    rejected: int = 0
    rejects: str = ""
    flagged: int = 0
    truncated: int = 0
    spaced: int = 0

    @property
    def refused(self) -> str:
        """How many rows were rejected, in words."""
        return f"{self.rejected:,} row{'s' * (self.rejected != 1)} rejected"


def write(
    model: PairsModel | LanguageModel | WorkerPool,
    path: str | Path,
    out: str | Path,
    *,
    to_format: str,
    column: str | int | None = None,
    n: int = 1,
    beam: int | None = None,
    mass: float | None = None,
    batch_size: int = 256,
    format: str = "auto",
    header: str = "auto",
    delimiter: str = "auto",
    encoding: str = "auto",
    force: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> LexiconReport:
    """Write a lexicon: each text of a file once, in order, with its ``n`` best answers.

    An answer is an entry of its own, with its probability where the format has one: in TSV, CSV and
    JSON Lines the columns are source, features if the model has them, target and weight. A text
    that the format cannot hold, such as two words in a Kaldi lexicon, is among the rejects. The
    other arguments are those of :func:`charseq.inference.convert.convert`.

    Args:
        model: a loaded run of pairs, or a pool of workers that have it.
        path: the file of texts.
        out: the lexicon; ``-`` is stdout.
        to_format: its format, one of ``reader.lexicon_formats()``.
        column: the column to read.
        n: answers for each text, at most.
        beam: the width of the beam.
        mass: answers until their probabilities sum to it.
        batch_size: texts that are computed side by side.
        format: the format of ``path``.
        header: "auto", "yes" or "no".
        delimiter: see :func:`charseq.data.formats.reader.read_table`.
        encoding: see there.
        force: overwrite ``out``.
        report: gets lines for people.

    Raises:
        UsageError: arguments that do not fit together, a model without pairs, or ``out`` exists.
        DataError: with path and line: the input cannot be read or the output cannot be written.
    """
    from charseq.inference.convert import read_texts, text_reader
    from charseq.inference.pool import files_read

    path, out = str(path), str(out)
    inputs: list[str | Path] = [split_location(path)[0], *files_read(model)]
    check_counts(n=n, beam=beam, mass=mass, batch_size=batch_size)
    target = _target(model, to_format, out)
    files.refuse(out, force=force, inputs=inputs)
    names = column_names(column, features=model.has_features)
    how = {"format": format, "header": header, "delimiter": delimiter, "encoding": encoding}
    table = read_table(path, names=names, faulty=True, **how)
    if table.note:
        report(f"{table.path}: {table.note}")
    read_text = text_reader(model, table, column, report)
    rejected = rejects_path(path, out)
    files.refuse(rejected, force=force, inputs=inputs, what="file of rejects")
    result = LexiconReport(table.path, rejects=str(rejected))
    known: set[str] = set()
    with rejecting(rejected, force=force) as rejects, replacing(out, force=force) as file:
        stored = table.format.stored
        lines = _EntryWriter(
            target, file, rejects, result, report, stored, features=model.has_features
        )
        for window, texts in read_texts(table, read_text, rejects):
            new: dict[str, Row] = {}
            for row, text in zip(window.rows, texts, strict=True):
                if isinstance(text, Rejected):
                    lines.tell(row, text)
                elif text and text not in known:
                    new.setdefault(text, row)
            known |= new.keys()
            answers = model.predict(list(new), n=n, beam=beam, batch_size=batch_size)
            for row, one in zip(new.values(), answers, strict=True):
                lines.add(row, one if mass is None else one.reaching(mass))
        result.rejected = rejects.count
    for line in _summary(result, target, "stdout" if out == "-" else out):
        report(line)
    return result


class _EntryWriter:
    """Answers -> lines of a lexicon."""

    def __init__(
        self,
        format: Format,
        file: BinaryIO,
        rejects: Rejects,
        result: LexiconReport,
        report: Callable[[str], None],
        stored: Callable[[bytes], bytes],
        *,
        features: bool,
    ) -> None:
        """``stored`` gives the bytes of a row as they are in the input."""
        self._stored = stored
        self._format, self._file, self._rejects = format, file, rejects
        self._result, self._report = result, report
        self._names = ["source", *["features"] * features, "target", "weight"]
        self._told = 0
        if format.may_have_header:
            file.write(self._cells(self._names))

    def add(self, row: Row, answer: Prediction) -> None:
        """Write the entries of one text; a text that has none is rejected."""
        source, _, features = answer.source.partition("\t")
        try:
            found = [
                self._entry(Entry(source, one.prediction, one.probability, rank), features)
                for rank, one in enumerate(answer.candidates)
                if one.prediction.strip()
            ]
            if not found:
                raise Rejected("an empty answer")
        except DataError as fault:
            self._rejects.add(row.line, None, fault.message, self._stored(row.raw))
            self.tell(row, fault)
            return
        self._file.write(b"".join(found))
        result = self._result
        result.words += 1
        result.entries += len(found)
        result.flagged += bool(answer.unknown)
        result.truncated += answer.truncated
        result.spaced += " " in answer.prediction

    def tell(self, row: Row, fault: DataError) -> None:
        """Report a rejected row, up to ``MAX_LISTED`` of them."""
        self._told += 1
        if self._told <= MAX_LISTED:
            self._report(f"{self._result.path}:{row.line}: rejected: {fault.message}")

    def _entry(self, entry: Entry, features: str) -> bytes:
        if isinstance(self._format, Dictionary):
            return self._format.encode(entry)
        parts = [features] * ("features" in self._names)
        return self._cells([entry.source, *parts, entry.target, f"{entry.probability:.6g}"])

    def _cells(self, values: Sequence[str]) -> bytes:
        """A row of a table, where other formats put a separator before each cell."""
        if self._format.has_keys:
            *texts, weight = values
            members = dict(zip(self._names, [*texts, float(weight)], strict=True))
            return json.dumps(members, ensure_ascii=False).encode() + b"\n"
        return cast(TextFormat, self._format).encode(self._names, values)[1:] + b"\n"


def _target(model: PairsModel | LanguageModel | WorkerPool, name: str, out: str) -> Format:
    """The format of a lexicon. Raises UsageError where it, or the model, has no pairs."""
    if name not in lexicon_formats():
        known = ", ".join(lexicon_formats())
        raise UsageError(f"a lexicon cannot be written as '{name}', expected one of {known}")
    if getattr(model, "append", None) is not None:
        raise UsageError("the model predicts words, and a lexicon needs one that rewrites texts")
    found, named = FORMATS[name], FORMATS[sniff(out)]
    if found.holds_pairs and model.has_features:
        raise UsageError(f"{found.title}: it has no features, which the model reads; tsv has")
    if out != "-" and named.has_columns and not set(named.endings) & set(found.endings):
        raise UsageError(
            f"{out} is named as {named.title}, but {found.title} is written: give the output a "
            f"name that ends in {found.endings[0]}"
        )
    return found


def _summary(result: LexiconReport, format: Format, out: str) -> list[str]:
    """The report as lines for people: counts, then the texts that are special."""
    path = result.path
    counts = f"{result.words:,} texts, {result.entries:,} entries ({format.title})"
    lines = [f"{path}: {counts} -> {out}"]
    if result.rejected:
        lines.append(f"{path}: {result.refused} -> {result.rejects}")
    if result.flagged:
        lines.append(f"{path}: texts with unseen symbols: {result.flagged:,}")
    if result.truncated:
        lines.append(f"{path}: {result.truncated:,} predictions cut at the longest length")
    if format.holds_pairs and result.words and not result.spaced:
        lines.append(f"{path}: no answer has a space in it, so each is written as one phone")
    return lines
