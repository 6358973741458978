"""columns of rows in memory -> the new cells of each row: the conversion of tables without a file.

    answers = BatchAnswers(model, column="ordered on", to="date")
    positions = answers.positions(names)                    the columns that the model reads
    texts = answers.texts([columns[k] for k in positions])  a text or a fault for each row
    answers.answer(texts)                                   the new cells, called answers.names

The rules are those of a file whose rows name their cells (JSON Lines): see
:mod:`charseq.inference.convert`. So a text has the same answer and the same note in a file, in a
DataFrame and in a batch of a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from charseq.data.columns import column_reader
from charseq.data.formats.reader import find_format
from charseq.data.formats.rows import Row, Table
from charseq.data.formats.writer import Rejected
from charseq.errors import DataError
from charseq.inference.answer_cache import AnswerCache, RowAnswer, answering, keeps_rule
from charseq.inference.conversion.columns import DEFAULT_NAME, check_new_name, new_names
from charseq.inference.conversion.review import check_threshold
from charseq.inference.prediction import check_counts

if TYPE_CHECKING:
    from typing import Any

    from charseq.inference.language_model import LanguageModel
    from charseq.inference.predictor import PairsModel

ROLES = ("source", "features")
"""Names of the columns that are read, among themselves."""


class BatchAnswers:
    """A model's answers to rows in memory; those to earlier batches are remembered."""

    def __init__(
        self,
        model: PairsModel | LanguageModel,
        *,
        path: str,
        column: str | int | None = None,
        to: str | None = None,
        n: int = 1,
        beam: int | None = None,
        mass: float | None = None,
        scores: bool = False,
        threshold: float | None = None,
        batch_size: int = 256,
    ) -> None:
        """Check the arguments, which are those of :func:`charseq.inference.convert.convert`.

        ``path``: the name of the rows in messages.

        Raises:
            UsageError: an argument is out of its limits.
        """
        check_counts(n=n, beam=beam, mass=mass, batch_size=batch_size)
        check_threshold(model, n, beam, threshold, None)
        check_new_name(to)
        self.names = new_names(DEFAULT_NAME if to is None else to, n, scores=scores)
        """The names of the new columns."""
        self._path, self._column, self._model = path, column, model
        self._rules = find_format("jsonl")
        answer = answering(
            model, n=n, beam=beam, mass=mass, batch_size=batch_size,
            scored=scores or threshold is not None,
        )  # fmt: skip
        self._cache = AnswerCache(
            answer, format=self._rules, n=n, scores=scores, mass=mass, threshold=threshold,
            ruled=keeps_rule(model),
        )  # fmt: skip

    def positions(self, names: Sequence[str]) -> list[int]:
        """The positions, from 0, of the columns that the model reads among columns so named.

        Raises:
            UsageError: another number of columns than the model reads.
            DataError: no such column.
        """
        if not names:
            raise DataError("no columns, expected one to read", path=self._path)
        numbered = Row(0, tuple(map(str, range(len(names)))), tuple(names))
        found = self._reader(numbered.names, self._column)(numbered)
        return [int(number) for number in (found or "").split("\t")]

    def texts(self, columns: Sequence[Iterable[Any]]) -> list[str | Rejected]:
        """The text of each row, "" where there is none, or the reason why it cannot be read.

        ``columns``: the cells of the columns at :meth:`positions`, in that order.
        """
        names = ROLES[: len(columns)]
        read = self._reader(names, None)
        found: list[str | Rejected] = []
        for number, cells in enumerate(zip(*columns, strict=True), 1):
            try:
                found.append(read(Row(number, cells, names)) or "")
            except Rejected as fault:
                found.append(fault)
        return found

    def answer(self, texts: Sequence[str | Rejected]) -> list[RowAnswer]:
        """The new cells of each row, in the order of :attr:`names`; the last is the note.

        Raises:
            TextMemoryError: memory is too short for one of the texts.
        """
        known = self._cache.answer(text for text in texts if text and isinstance(text, str))
        return [
            self._cache.rejected
            if isinstance(text, Rejected)
            else known[text]
            if text
            else self._cache.empty
            for text in texts
        ]

    def _reader(self, names: tuple[str, ...], column: str | int | None) -> Any:
        """The function from a row with these cells to its text."""
        return column_reader(
            Table(self._path, self._rules, names, iter(())),
            column,
            features=self._model.has_features,
            separator=getattr(self._model, "feature_separator", ";"),
        )
