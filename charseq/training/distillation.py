"""teacher, sources -> pairs: a trained run labels texts, and a student learns what it wrote.

Sequence-level knowledge distillation (Kim & Rush 2016): the teacher's best outputs for a source,
each with its probability as its weight, join the true pairs. Sources without a target may be added;
where the teacher is an earlier student of the same data, that is self-training.

Labels are kept in the student's run folder as they are made, and go when it is finished:

    resume.labels.NNNNNNNN.jsonl    from source NNNNNNNN on; its first line says whose labels it has
"""

from __future__ import annotations

import hashlib
import json
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from charseq.data.formats.reader import FORMATS, read_table, sniff
from charseq.data.formats.rows import Row, locate, text_of
from charseq.data.pairs import Example
from charseq.errors import CheckpointError, DataError, Interrupted, SettingError, UsageError
from charseq.inference.language_model import LanguageModel
from charseq.inference.predictor import load
from charseq.process import catch_signals
from charseq.runs.folder import ABOUT, WEIGHTS, find, is_finished, names, publish, read, read_all

if TYPE_CHECKING:
    from charseq.config import Config
    from charseq.data.formats.rows import Table
    from charseq.inference.predictor import PairsModel
    from charseq.runs.training_state import TrainingState
    from charseq.training.prepare import PreparedPairs

LEAST = 0.05
"""Outputs that the teacher finds less probable than this are not learnt."""
WINDOW = 128
"""Sources that are labelled between two looks at signals and at the clock."""
_CACHE = "resume.labels."

Source = tuple[str, str]
"""A text and its features."""
Label = list[tuple[str, float]]
"""Outputs for one source and their probabilities, best first."""
Report = Callable[[str], None]


class Pupil(Protocol):
    """A training of pairs, as far as it can be taught."""

    config: Config
    task: PreparedPairs
    distilled: dict[str, Any] | None

    @property
    def about(self) -> dict[str, Any]:
        """What the run says of itself before training."""

    def attend(
        self, sources: Sequence[Source], labels: Sequence[Label], teacher: Mapping[str, Any]
    ) -> None:
        """Learn what a teacher says of ``sources`` as well."""


class Teacher:
    """A finished run that labels the training sources, and those of another file."""

    def __init__(self, run: str | Path, unlabelled: str | Path | None, *, best: int) -> None:
        """Find the run; ``best`` is the most outputs to learn for one source.

        Raises:
            CheckpointError: there is no such run, or it is not finished.
        """
        self.path = find(run)
        self.unlabelled = unlabelled
        self.best = best
        if not is_finished(self.path):
            raise CheckpointError("is not finished, so it is no teacher yet", path=self.path)
        parts = read_all(self.path, [ABOUT, WEIGHTS])
        self.fingerprint = _digest(parts[ABOUT], parts[WEIGHTS])

    @property
    def about(self) -> dict[str, Any]:
        """What a student's run says of its teacher."""
        texts = None if self.unlabelled is None else _digest(_bytes(self.unlabelled))
        return {"teacher": self.path.name, "fingerprint": self.fingerprint, "unlabelled": texts}

    def sources(self, train: Sequence[Example]) -> list[Source]:
        """What is to be labelled, each once: the training sources, then the other file's.

        Raises:
            DataError: the file of texts cannot be read.
        """
        found = dict.fromkeys((one.source, one.features) for one in train)
        if self.unlabelled is not None:
            featured = any(one.features for one in train)
            found |= dict.fromkeys(read_sources(self.unlabelled, features=featured))
        return list(found)

    def labels(
        self, sources: Sequence[Source], folder: Path, *, every: float, report: Report
    ) -> list[Label]:
        """The outputs to learn for each source; saved to ``folder`` after every so many seconds.

        What stands there is not computed again. The caller holds the folder's lock.

        Raises:
            Interrupted: a signal asked to stop; the labels so far are saved.
            SettingError: the run is no teacher of such pairs.
        """
        key = self._key(sources)
        done = cached(folder, key)
        if len(done) == len(sources):
            return done
        model = self._model(sources)
        new: list[Label] = []
        saved = time.monotonic()
        with catch_signals() as stop:
            while len(done) + len(new) < len(sources):
                begin = len(done) + len(new)
                new += _label(model, sources[begin : begin + WINDOW], self.best)
                asked, over = stop(), len(done) + len(new) == len(sources)
                if asked or over or time.monotonic() - saved >= every:
                    publish(folder, {f"{_CACHE}{len(done):08d}.jsonl": _encode(key, new)})
                    done, new, saved = done + new, [], time.monotonic()
                    report(f"labelled   {len(done):,} of {len(sources):,} sources")
                if asked:
                    raise Interrupted(
                        f"stopped by {asked.name} while {self.path} labelled; its labels are in "
                        f"{folder}, and the same command (without --force) goes on from there",
                        signal_number=asked,
                    )
        return done

    def known(self, sources: Sequence[Source], folder: Path) -> list[Label]:
        """The labels that :meth:`labels` has left in ``folder``. Raises CheckpointError: none."""
        done = cached(folder, self._key(sources))
        if len(done) < len(sources):
            raise CheckpointError("holds no labels of this teacher", path=folder)
        return done

    def _key(self, sources: Sequence[Source]) -> str:
        """Whose labels these are: the teacher's, of these sources, so many."""
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
    """The teacher, if one is wanted.

    Raises:
        UsageError: texts without anyone to label them.
        CheckpointError: there is no such run, or it is not finished.
    """
    if run is not None:
        return Teacher(run, unlabelled, best=best)
    if unlabelled is not None:
        raise UsageError(
            "--unlabelled wants a model that labels its texts: train one, and then "
            "--distil-from RUN --unlabelled FILE"
        )
    return None


def add_teacher_labels(
    pupil: Pupil, teacher: Teacher, journal: TrainingState, *, report: Report
) -> None:
    """Let the teacher label its sources, and the pupil learn from that too.

    Raises:
        CheckpointError: the run was begun with another teacher.
        Interrupted: a signal asked to stop; the labels so far are saved.
    """
    pupil.distilled = teacher.about
    journal.about = dict(pupil.about)
    journal.check_origin()
    true = len(pupil.task.dataset.train)
    sources = teacher.sources(pupil.task.dataset.train)
    every = pupil.config.save_seconds
    labels = teacher.labels(sources, journal.folder, every=every, report=report)
    pupil.attend(sources, labels, pupil.distilled)
    journal.about = dict(pupil.about)
    added = len(pupil.task.dataset.train) - true
    report(f"teacher    {teacher.path}: {len(sources):,} sources labelled, {added:,} pairs added")


def cached(folder: Path, key: str) -> list[Label]:
    """The labels in a run folder, as far as they follow each other and are ``key``'s."""
    found: list[Label] = []
    for name in sorted(name for name in names(folder) if name.startswith(_CACHE)):
        lines = read(folder, name).decode().splitlines()
        head = json.loads(lines[0])
        if head != {"key": key} or name != f"{_CACHE}{len(found):08d}.jsonl":
            break
        found += [[(text, weight) for text, weight in json.loads(line)] for line in lines[1:]]
    return found


def mix(
    train: Sequence[Example], sources: Sequence[Source], labels: Sequence[Label]
) -> list[Example]:
    """The true pairs and the teacher's; where both say the same, one pair with both weights.

    Spellings that Unicode calls equal are the same.
    """
    mixed = list(train)
    places: dict[tuple[str, str, str], int] = {}
    for place, one in enumerate(mixed):
        places.setdefault((one.source, one.features, _normal(one.target)), place)
    for (source, features), label in zip(sources, labels, strict=True):
        for text, weight in label:
            key = (source, features, _normal(text))
            if key in places:
                before = mixed[places[key]]
                mixed[places[key]] = replace(before, weight=before.weight + weight)
            else:
                places[key] = len(mixed)
                mixed.append(Example(source, text, features, weight))
    return mixed


def read_sources(path: str | Path, *, features: bool) -> list[Source]:
    """The texts of a file: each line of text, else a column.

    The columns ``source`` and ``features`` are read, else the first, or the first two; in plain
    text features stand behind a tab. A CSV has a header, as in ``convert``. Empty texts are passed
    over.

    Raises:
        DataError: with path and line: it cannot be read, or a row has no features or too many.
    """
    table = read_table(path, header="yes" if FORMATS[sniff(path)].expects_header else "auto")
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
        called = table.header or row.names
        wanted: list[str | int] = ["source", "features"] if "source" in called else [1, 2]
        places = [locate(one, called, len(row.cells)) for one in wanted[: 1 + features]]
        parts = [text_of(row.cells[place]) for place in places]
    if len(parts) != 1 + features:
        raise DataError(f"{len(parts) - 1} tabs, expected one, between source and features")
    return parts[0], parts[1] if features else ""


def _label(model: PairsModel, sources: Sequence[Source], best: int) -> list[Label]:
    """The outputs of some sources that are probable enough, came to their end and say something."""
    texts = [f"{text}\t{features}" if model.has_features else text for text, features in sources]
    return [
        [
            (one.prediction, one.probability)
            for one in found.candidates
            if one.probability >= LEAST and one.prediction.strip(" ") and not found.truncated
        ]
        for found in model.predict(texts, n=best, beam=max(best, model.config.beam))
    ]


def _encode(key: str, labels: Sequence[Label]) -> bytes:
    lines = [{"key": key}, *labels]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _digest(*parts: bytes) -> str:
    """The sha256 of the parts' own, so that a byte on the other side of a cut is seen."""
    inner = [hashlib.sha256(part).digest() for part in parts]
    return hashlib.sha256(b"".join(inner)).hexdigest()


def _bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as fault:
        raise DataError(f"cannot be read: {fault.strerror or fault}", path=path) from None
