"""batches of rows -> the same with a model's answers: one callable for every engine.

    convert = Converter("dates", column="ordered on", to="date")
    convert(batch)             a pyarrow Table or RecordBatch, a pandas or Polars DataFrame
    convert.batches(batches)   the same for an iterator of them, as Spark hands over

The callable is picklable and small: it holds the path of the run and its fingerprint, not the
weights. A process loads the model when the first batch comes, and keeps it for all callables and
tasks that ask for the same model. A run that has changed on the way is refused.

Rows, their order, their index and all other columns stay. No row raises: one that cannot be read,
such as bytes that are no UTF-8, has no answer and the note "rejected", as in a file. Arguments and
columns that do not exist raise at once.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from charseq.arguments import check_path
from charseq.data.formats.writer import Rejected
from charseq.distributed.batches import batch_of
from charseq.inference.answer_cache import RowAnswer, TextMemoryError
from charseq.inference.conversion.batches import BatchAnswers
from charseq.inference.loading import fingerprint, loaded_again
from charseq.inference.predictor import load
from charseq.process import prepare_inference

if TYPE_CHECKING:
    from charseq.inference.language_model import LanguageModel
    from charseq.inference.predictor import PairsModel

MODELS = 2
"""Models that a process keeps."""
ROWS = "batch"
"""The name of the rows in messages."""

Batch = TypeVar("Batch")

_turn = threading.Lock()
"""Held while a batch is answered: an engine may call from several threads of a process."""


@dataclass(frozen=True)
class SharedModel:
    """A loaded model by its run folder, which other processes load again."""

    path: str
    options: str
    """The arguments of :func:`charseq.load`, as JSON."""
    known: str
    """The fingerprint of the model."""

    @classmethod
    def of(cls, model: PairsModel | LanguageModel) -> SharedModel:
        """The model by its folder."""
        options = json.dumps(dict(getattr(model, "options", {})), sort_keys=True)
        return cls(str(model.path.absolute()), options, fingerprint(model))

    def load(self) -> PairsModel | LanguageModel:
        """The model of this process, which loads it once.

        Raises:
            CheckpointError: the run is missing on this machine, or has changed.
        """
        return _loaded(self)


class Converter:
    """A model's answers as new columns, for batches of any engine."""

    def __init__(
        self,
        model: PairsModel | LanguageModel | str | Path | None = None,
        *,
        column: str | int | None = None,
        to: str | None = None,
        n: int = 1,
        beam: int | None = None,
        mass: float | None = None,
        scores: bool = False,
        threshold: float | None = None,
        force: bool = False,
        batch_size: int = 256,
    ) -> None:
        """Check the arguments, and load the model to know its fingerprint.

        Args:
            model: from :func:`charseq.load`, with its lexicon, list of words or rule; or the folder
                or name of a run. All machines need the run under the same path.
            column: the column to read, its name or its number from 1; by default the one named
                source, else the first. With features two: ``lemma,features``.
            to: the name of the new column, by default "prediction".
            n: answers a row, best first.
            beam: the width of the beam; by default the run's own.
            mass: only as many answers as have this probability together.
            scores: add columns with the probability of each answer.
            threshold: a row whose best answer is less probable has no answer, and the note
                "unsure".
            force: replace columns that have the new columns' names.
            batch_size: texts computed together; it changes the speed, never an answer.

        Raises:
            UsageError: an argument is out of its limits.
            CheckpointError: as :func:`charseq.load`.
        """
        if model is None or isinstance(model, str | Path):
            model = load(model)
        elif not hasattr(model, "predict"):
            check_path(model, "model", "a loaded model, or the folder or name of a run")
        self._model = SharedModel.of(model)
        options: dict[str, Any] = {"column": column, "to": to, "n": n, "beam": beam, "mass": mass}
        options |= {"scores": scores, "threshold": threshold, "batch_size": batch_size}
        self.names = tuple(BatchAnswers(model, path=ROWS, **options).names)
        """The names of the new columns, all of them texts; the last one holds the notes."""
        self._options = tuple(options.items())
        self._force = force

    def __call__(self, batch: Batch) -> Batch:
        """A new batch of the same type, with the new columns at the end.

        In a pandas DataFrame a null has null answers; elsewhere its answer is empty and its note
        "empty", as in a file.

        Raises:
            ArgumentError: a batch of another type.
            DataError: the column to read does not exist, or a new one exists and ``force`` is
                false.
        """
        given = batch_of(batch)
        with _turn:
            answers = _answers(self._model, self._options)
            columns = given.columns(answers.positions(given.names))
            rows = [found.cells for found in _answer(answers, answers.texts(columns))]
        made: Batch = given.extended(self.names, columns[0], rows, force=self._force)
        return made

    def batches(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches with the new columns, one after another; for Spark's ``mapInArrow``."""
        return map(self, batches)


@lru_cache(maxsize=MODELS)
def _loaded(model: SharedModel) -> PairsModel | LanguageModel:
    prepare_inference()
    return loaded_again(Path(model.path), json.loads(model.options), model.known)


@lru_cache(maxsize=MODELS)
def _answers(model: SharedModel, options: tuple[tuple[str, Any], ...]) -> BatchAnswers:
    """The answers of this process, which remember those to earlier batches."""
    return BatchAnswers(model.load(), path=ROWS, **dict(options))


def _answer(answers: BatchAnswers, texts: list[str | Rejected]) -> list[RowAnswer]:
    """The answer to each row; a text for which memory is too short is rejected."""
    while True:
        try:
            return answers.answer(texts)
        except TextMemoryError as fault:
            texts = [Rejected(str(fault)) if text == fault.text else text for text in texts]
