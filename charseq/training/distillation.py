"""Knowledge distillation: a trained run labels sources, and a student learns these pairs as well.

Sequence-level knowledge distillation (Kim & Rush 2016): the teacher's best outputs for a source,
each weighted by its probability, join the true pairs. Sources without a target may be added. With a
teacher that is an earlier student of the same data, this is self-training.

Labels are saved in the student's run folder as they are made, and deleted when it is finished:

    resume.labels.NNNNNNNN.jsonl    labels from source NNNNNNNN on; line 1 has a key of the teacher
                                    and its sources
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from charseq.data.formats.headers import roles_among
from charseq.data.formats.reader import read_table
from charseq.data.formats.rows import Row, locate, text_of
from charseq.data.pairs import Example
from charseq.errors import (
    CheckpointError,
    DataError,
    Interrupted,
    SettingError,
    UsageError,
    argument,
)
from charseq.inference.hub.download import find
from charseq.inference.language_model import LanguageModel
from charseq.inference.predictor import load
from charseq.process import catch_signals
from charseq.runs.folder import ABOUT, WEIGHTS, is_finished, names, publish, read, read_all
from charseq.runs.untrusted import encode, parse_object

if TYPE_CHECKING:
    from charseq.config import Config
    from charseq.data.formats.rows import Table
    from charseq.inference.predictor import PairsModel
    from charseq.runs.training_state import TrainingState
    from charseq.training.prepare import PreparedPairs

MIN_PROBABILITY = 0.05
"""Outputs that the teacher finds less probable than this are not learnt."""
WINDOW = 128
"""Sources that are labelled between two checks for signals and for a save that is due."""
_PREFIX = "resume.labels."

Source = tuple[str, str]
"""A text and its features."""
Label = list[tuple[str, float]]
"""Outputs for one source and their probabilities, best first."""
Report = Callable[[str], None]


class Student(Protocol):
    """A training on pairs that can learn from a teacher."""

    config: Config
    prepared: PreparedPairs
    distilled: dict[str, Any] | None
    """The teacher's metadata."""

    @property
    def metadata(self) -> dict[str, Any]:
        """The contents of the run's about.json that are known before training."""

    def add_teacher_labels(
        self, sources: Sequence[Source], labels: Sequence[Label], teacher: Mapping[str, Any]
    ) -> None:
        """Add the labels of ``sources`` to the training pairs."""


class Teacher:
    """A finished run that labels the training sources, and those of a file of texts."""

    def __init__(self, run: str | Path, unlabelled: str | Path | None, *, best: int) -> None:
        """Find the run; ``best`` is the maximum number of outputs to learn for one source.

        Raises:
            CheckpointError: there is no such run, or it is not finished.
        """
        self.path = find(run)
        self.unlabelled = unlabelled
        self.best = best
        if not is_finished(self.path):
            raise CheckpointError("is not finished, so it is no teacher yet", path=self.path)
        files = read_all(self.path, [ABOUT, WEIGHTS])
        self.fingerprint = _digest(files[ABOUT], files[WEIGHTS])

    @property
    def metadata(self) -> dict[str, Any]:
        """The teacher in the student's metadata: name and fingerprints."""
        texts = None if self.unlabelled is None else _digest(_bytes(self.unlabelled))
        name = encode(self.path.name).decode()
        return {"teacher": name, "fingerprint": self.fingerprint, "unlabelled": texts}

    def sources(self, train: Sequence[Example], *, report: Report = lambda _: None) -> list[Source]:
        """The sources to label, each once: those of the training pairs, then those of the file.

        ``report`` gets a line on how the file was read, if there is something to tell.

        Raises:
            DataError: the file of texts cannot be read.
        """
        found = dict.fromkeys((one.source, one.features) for one in train)
        if self.unlabelled is not None:
            featured = any(one.features for one in train)
            texts = read_sources(self.unlabelled, features=featured, report=report)
            found |= dict.fromkeys(texts)
        return list(found)

    def labels(
        self,
        sources: Sequence[Source],
        folder: Path,
        clock: Callable[[], float],
        *,
        every: float,
        report: Report,
        empty: bool = False,
    ) -> list[Label]:
        """The outputs to learn for each source; with ``empty`` also that there is none.

        They are saved to ``folder`` every ``every`` seconds by ``clock``. Labels that
        are saved there are not computed again. The caller holds the folder's lock.

        Raises:
            Interrupted: a signal asked to stop; the labels so far are saved.
            SettingError: the run is no teacher of such pairs.
        """
        key = self._key(sources)
        done = saved_labels(folder, key, report)
        if len(done) == len(sources):
            return done
        model = self._model(sources)
        new: list[Label] = []
        saved = clock()
        with catch_signals() as stop:
            while len(done) + len(new) < len(sources):
                begin = len(done) + len(new)
                new += _label(model, sources[begin : begin + WINDOW], self.best, empty=empty)
                asked, complete = stop(), len(done) + len(new) == len(sources)
                if asked or complete or clock() - saved >= every:
                    publish(folder, {f"{_PREFIX}{len(done):08d}.jsonl": _encode(key, new)})
                    done, new, saved = done + new, [], clock()
                    report(f"labelled   {len(done):,} of {len(sources):,} sources")
                if asked:
                    raise Interrupted(
                        f"stopped by {asked.name} while {self.path} labelled; its labels are in "
                        f"{folder}, and the same training (without "
                        f"{argument('force', True)}) goes on from there",
                        signal_number=asked,
                    )
        return done

    def read_labels(self, sources: Sequence[Source], folder: Path) -> list[Label]:
        """The labels that :meth:`labels` has saved in ``folder``.

        Raises:
            CheckpointError: there are none, or not of all sources.
        """
        done = saved_labels(folder, self._key(sources), lambda _line: None)
        if len(done) < len(sources):
            raise CheckpointError("holds no labels of this teacher", path=folder)
        return done

    def _key(self, sources: Sequence[Source]) -> str:
        """The sha256 of everything that decides the labels: teacher, sources, their number."""
        return _digest(self.fingerprint.encode(), json.dumps([sources, self.best]).encode())

    def _model(self, sources: Sequence[Source]) -> PairsModel:
        model = load(self.path)
        if isinstance(model, LanguageModel):
            raise SettingError(f"{self.path} predicts words, it is no teacher of pairs")
        if model.has_features != any(features for _, features in sources):
            has = "has features" if model.has_features else "has no features"
            raise SettingError(f"{self.path} {has}, unlike the data, so it is no teacher of them")
        return model


def teacher_of(
    run: str | Path | None, unlabelled: str | Path | None, *, best: int
) -> Teacher | None:
    """The teacher that the options ask for, if any.

    Raises:
        UsageError: unlabelled texts without a teacher.
        CheckpointError: there is no such run, or it is not finished.
    """
    if run is not None:
        return Teacher(run, unlabelled, best=best)
    if unlabelled is not None:
        raise UsageError(
            f"{argument('unlabelled')} wants a model that labels its texts: train one, and name "
            f"it by {argument('distil_from')}"
        )
    return None


def distil(
    student: Student,
    teacher: Teacher,
    state: TrainingState,
    clock: Callable[[], float],
    *,
    report: Report,
) -> None:
    """Label the sources, and add the labels to the student's training pairs.

    Raises:
        CheckpointError: the run was begun with another teacher.
        Interrupted: a signal asked to stop; the labels so far are saved.
    """
    student.distilled = teacher.metadata
    state.metadata = dict(student.metadata)
    state.check_origin()
    true = len(student.prepared.dataset.train)
    sources = teacher.sources(student.prepared.dataset.train, report=report)
    every = student.config.save_seconds
    empty = student.config.empty_targets
    labels = teacher.labels(sources, state.folder, clock, every=every, report=report, empty=empty)
    student.add_teacher_labels(sources, labels, student.distilled)
    state.metadata = dict(student.metadata)
    added = len(student.prepared.dataset.train) - true
    report(f"teacher    {teacher.path}: {len(sources):,} sources labelled, {added:,} pairs added")


def saved_labels(folder: Path, key: str, warn: Report) -> list[Label]:
    """The labels in a run folder with this ``key``, up to the first gap or damaged file.

    ``warn`` gets a line for a damaged file, whose labels are made again.
    """
    found: list[Label] = []
    for name in sorted(name for name in names(folder) if name.startswith(_PREFIX)):
        if name != f"{_PREFIX}{len(found):08d}.jsonl":
            break
        try:
            head, *lines = read(folder, name).splitlines() or [b""]
            if parse_object(head, folder / name) != {"key": key}:
                break
            found += [_decode(line, folder / name) for line in lines]
        except CheckpointError as fault:
            warn(f"{fault}; its labels are made again")
            break
    return found


def _decode(line: bytes, path: Path) -> Label:
    """The label in one line of a file of labels. Raises CheckpointError where it is damaged."""
    label = parse_object(b'{"label": %b}' % line, path).get("label")
    for pair in label if isinstance(label, list) else [None]:
        match pair:
            case [str(text), float(weight)] if text and 0 < weight <= 1:
                continue
        raise CheckpointError("is damaged: expected pairs of an output and its weight", path=path)
    return [(text, weight) for text, weight in label or ()]


def mix(
    train: Sequence[Example], sources: Sequence[Source], labels: Sequence[Label]
) -> list[Example]:
    """The true pairs and the teacher's; of equal pairs one, with the sum of their weights.

    Targets are equal up to Unicode normalisation.
    """
    mixed = list(train)
    rows: dict[tuple[str, str, str], int] = {}
    for row, one in enumerate(mixed):
        rows.setdefault((one.source, one.features, _normal(one.target)), row)
    for (source, features), label in zip(sources, labels, strict=True):
        for text, weight in label:
            key = (source, features, _normal(text))
            if key in rows:
                before = mixed[rows[key]]
                mixed[rows[key]] = replace(before, weight=before.weight + weight)
            else:
                rows[key] = len(mixed)
                mixed.append(Example(source, text, features, weight))
    return mixed


def read_sources(
    path: str | Path, *, features: bool, report: Report = lambda _: None
) -> list[Source]:
    """The texts of a file: the lines of plain text, or a column of a table.

    The columns ``source`` and ``features`` are read, else the first, or the first two. In plain
    text the features follow a tab. Empty texts are skipped. ``report`` gets a line on what was
    found out about the file.

    Raises:
        DataError: with path and line: the file cannot be read, or a row has too few columns.
    """
    table = read_table(path)
    if table.note:
        report(f"note       {table.path}: {table.note}")
    found = []
    for row in table.rows:
        try:
            if row.cells and (source := _source(table, row, features=features))[0].strip(" "):
                found.append(source)
        except DataError as fault:
            raise fault.at(table.path, row.line) from None
    if not found:
        raise DataError("no texts in it", path=path)
    return found


def _source(table: Table, row: Row, *, features: bool) -> Source:
    """The text of one row, and its features where pairs have them."""
    if not table.format.has_columns:
        parts = text_of(row.cells[0]).split("\t") if features else [text_of(row.cells[0])]
    else:
        header = table.header or row.names
        roles = roles_among(header)
        named = [header[roles[role]] for role in ("source", "features") if role in roles]
        wanted: list[str | int] = [*named, "features"] if "source" in roles else [1, 2]
        columns = [locate(one, header, len(row.cells)) for one in wanted[: 1 + features]]
        parts = [text_of(row.cells[column]) for column in columns]
    if len(parts) != 1 + features:
        raise DataError(f"{len(parts) - 1} tabs, expected one, between source and features")
    return parts[0], parts[1] if features else ""


def _label(model: PairsModel, sources: Sequence[Source], best: int, *, empty: bool) -> list[Label]:
    """The outputs for some sources that are probable enough and complete.

    ``empty``: whether the student may learn empty ones.
    """
    texts = [f"{text}\t{features}" if model.has_features else text for text, features in sources]
    return [
        [
            (one.prediction if one.prediction.strip(" ") else "", one.probability)
            for one in found.candidates
            if one.probability >= MIN_PROBABILITY
            and (empty or one.prediction.strip(" "))
            and not found.truncated
        ]
        for found in model.predict(texts, n=best, beam=max(best, model.beam))
    ]


def _encode(key: str, labels: Sequence[Label]) -> bytes:
    lines = [{"key": key}, *labels]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _digest(*parts: bytes) -> str:
    """The sha256 of the sha256 of each part, so that the cuts between the parts count as well."""
    inner = [hashlib.sha256(part).digest() for part in parts]
    return hashlib.sha256(b"".join(inner)).hexdigest()


def _bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as fault:
        raise DataError(f"cannot be read: {fault.strerror or fault}", path=path) from None
