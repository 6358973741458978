"""a file of the user's own pairs -> answers that go before the model's.

It knows no models. A source is looked up as a whole, in the Unicode form in which the model's
vocabulary reads sources, and with all of its features, in their order; capital and small letters
are different. Its targets are given as they stand in the file, the heaviest first, equals in the
order of the file. They share the probability 1 by their weights: the file is taken at its word.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from charseq.data import pairs
from charseq.data.pairs import Example, Part
from charseq.data.text.normalise import normalise
from charseq.data.text.vocabulary import Vocabulary
from charseq.errors import DataError, UsageError
from charseq.inference.prediction import LEXICON, Candidate, Prediction

Key = tuple[str, tuple[str, ...]]
Ask = Callable[[list[str]], Sequence[Prediction]]


class Lexicon:
    """Sources and what they become, whatever a model says of them."""

    def __init__(self, vocabulary: Vocabulary, entries: Iterable[Example]) -> None:
        """``vocabulary`` is that of the model's sources; a pair that comes twice counts once."""
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
        """A hash of all that it says."""
        return hashlib.sha256(repr(sorted(self._answers.items())).encode()).hexdigest()

    def find(self, source: str, features: str = "") -> list[Candidate]:
        """The file's answers, best first; none where the source is not in it."""
        return self._answers.get(self._key(source, features), [])

    def answer(
        self, texts: Mapping[str, tuple[str, str]], n: int, ask: Ask
    ) -> dict[str, Prediction]:
        """Up to ``n`` candidates for each text: the file's, then others of the model.

        ``texts``: source and features of each. ``ask``, the model, is asked for texts whose
        answers in the file are fewer than ``n``. Nothing is unknown in a text that is in the file.
        """
        own = {text: self.find(*parts)[:n] for text, parts in texts.items()}
        asked = [text for text, found in own.items() if len(found) < n]
        told = dict(zip(asked, ask(asked), strict=True))
        return {text: _joined(text, own[text], told.get(text), n) for text in texts}

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
    """The lexicon in a file, for a model whose sources have ``vocabulary``.

    Its columns are ``columns``, as that setting is written; else by a header that names source and
    target; else as in the data of the training, by its ``settings``.

    Raises:
        UsageError: ``path`` is "-".
        DataError: with path and line: no such file, a row that cannot be read or is no pair; or
            features where the model takes none, or none where it takes them.
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
            feature_separator=settings["feature_separator"],
        )
    except DataError as fault:
        told = fault.message.replace("--columns", "--lexicon-columns")
        raise DataError(told, path=fault.path, line=fault.line) from None
    _check_features(part, bool(vocabulary.features))
    return Lexicon(vocabulary, part.examples)


def _names_roles(path: str | Path) -> bool:
    """Whether the first row, or its keys, name a source and a target."""
    table = pairs.open_table(path)
    first = next(table.rows, None)
    names = table.header or (() if first is None else first.names)
    return {"source", "target"} <= {name.lower() for name in names}


def _check_features(part: Part, wanted: bool) -> None:
    """Refuse rows that could never be met, or that would be met by more than they say."""
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
    """The heaviest first."""
    ranked = sorted(targets.items(), key=lambda item: -item[1])
    most = ranked[0][1]
    total = math.fsum(weight / most for _, weight in ranked)
    base = math.log(most) + math.log(total)
    return [
        Candidate(text, weight / most / total, math.log(weight) - base, LEXICON)
        for text, weight in ranked
    ]


def _joined(text: str, own: list[Candidate], told: Prediction | None, n: int) -> Prediction:
    """The file's candidates, then those of the model that it does not have."""
    if not own and told is not None:
        return told
    known = {unicodedata.normalize("NFC", one.prediction) for one in own}
    others = [
        one
        for one in (told.candidates if told is not None else ())
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
    )
