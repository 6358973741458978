"""Lexicon: the user's own file of pairs, whose targets come before the answers of the model.

A text is looked up as a whole: in the Unicode form in which the vocabulary of the model reads
sources, with all of its features in their order, and case-sensitively. The targets of a source are
given as they are in the file, those of the largest weight first, equal ones in the order of the
file. They share the probability 1 in proportion to their weights.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from charseq.data import pairs
from charseq.data.bad_rows import EMPTY_HINT, SKIP_HINT
from charseq.data.formats.headers import roles_among
from charseq.data.formats.sqlite import split_location
from charseq.data.pairs import Example, Part
from charseq.data.text.normalise import normalise
from charseq.data.text.vocabulary import Vocabulary
from charseq.display import count as counted
from charseq.errors import DataError, UsageError, argument, with_arguments
from charseq.inference.prediction import LEXICON, Candidate, Prediction

Key = tuple[str, tuple[str, ...]]
"""Normalised source and features."""
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

    def within(self, allows: Callable[[str], bool]) -> Lexicon:
        """The same lexicon without the targets that are not allowed; others share their part.

        An empty target stays: it says that there is no answer, and is none.
        """

        def _stays(one: Candidate) -> bool:
            return not one.prediction or allows(one.prediction)

        found = Lexicon(self._vocabulary, (), self.path, notes=self.notes)
        lost = 0
        for key, answers in self._answers.items():
            left = {one.prediction: one.probability for one in answers if _stays(one)}
            found._answers |= {key: _candidates(left)} if left else {}
            lost += len(answers) - len(left)
        if lost:
            note = f"{self.path}: {counted(lost, 'target')} left out that the rule excludes"
            found.notes = [*self.notes, note]
        return found

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
        message = fault.args[0].removesuffix(EMPTY_HINT).removesuffix(SKIP_HINT)
        message = with_arguments(message, _of_lexicon)
        raise DataError(message, path=fault.path, line=fault.line) from None
    _check_features(part, bool(vocabulary.features))
    read_as = f"{path}: a lexicon of {counted(len(part), 'pair')}, {part.columns}"
    notes = [read_as, *(f"{path}: {note}" for note in part.notes)]
    return Lexicon(vocabulary, part.examples, Path(split_location(path)[0]), notes=notes)


def _of_lexicon(name: str, value: Any) -> str:
    """An argument of the data in a message, as that of a lexicon; it stays marked."""
    return argument("lexicon_columns" if name == "columns" else name, value)


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
                + argument("lexicon_columns", "source,features,target"),
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
