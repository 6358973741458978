"""The arguments of a Python call -> checked texts, or a file of rows; pandas where it is given.

    Texts(["3 May 2020"])        a str, any iterable of them (read once), or a pandas Series
    Texts.answers(found)         the answers as a list, or as a Series with the given one's index
    frame_file(frame, columns)   a DataFrame as a file of pairs, for all that reads files

pandas is never imported here: an argument of its types shows that it is loaded.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from charseq.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    Series: TypeAlias = "pd.Series[Any]"
    Frame: TypeAlias = pd.DataFrame

FRAME = "frame"
"""The name of a DataFrame in messages, and of its data in a run."""
MAX_SHOWN = 40
"""Characters of a wrong value that a message shows."""

Answer = TypeVar("Answer")
Model = TypeVar("Model")
P = ParamSpec("P")


def is_series(value: object) -> bool:
    """Whether a value is a pandas Series."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.Series)


def is_frame(value: object) -> bool:
    """Whether a value is a pandas DataFrame."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


class Texts(Sequence[str]):
    """The texts of a call, each checked to be a str. Nulls of a Series are left out."""

    def __init__(self, given: str | Iterable[str], name: str = "texts") -> None:
        """Read ``given`` once.

        Args:
            given: one text, an iterable of texts, or a Series of texts and nulls.
            name: the name of the argument, for messages.

        Raises:
            UsageError: with the position: a value that is no str, such as None, NaN or bytes.
        """
        series: Any = given
        self._series = series if is_series(given) else None
        values = [given] if isinstance(given, str) else list(_iterable(given, name))
        self._is_text = [True] * len(values)
        if self._series is not None:
            self._is_text = [not null for null in self._series.isna()]
        for position, (value, wanted) in enumerate(zip(values, self._is_text, strict=True)):
            if wanted and not isinstance(value, str):
                one_text(value, f"{name}[{position}]")
        self._texts: list[str] = [
            text for text, wanted in zip(values, self._is_text, strict=True) if wanted
        ]

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, position: Any) -> Any:
        return self._texts[position]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def answers(self, found: Sequence[Answer]) -> list[Answer]:
        """One answer for each text, as the texts were given: a list, or a Series.

        The Series has the index, order and name of the one given; its values are the answers, of
        type object, and None where the text was null.
        """
        if self._series is None:
            return list(found)
        rest = iter(found)
        values = [next(rest) if wanted else None for wanted in self._is_text]
        series: Any = type(self._series)
        made: Any = series(values, index=self._series.index, name=self._series.name, dtype=object)
        return made  # type: ignore[no-any-return]


def over_texts(
    method: Callable[Concatenate[Model, Sequence[str], P], list[Answer]],
) -> Callable[Concatenate[Model, str | Iterable[str], P], list[Answer]]:
    """A method of a model whose ``texts`` may be whatever :class:`Texts` takes.

    A Series gives a Series, which type checkers take for a list.
    """

    @functools.wraps(method)
    def call(
        self: Model, texts: str | Iterable[str], *args: P.args, **options: P.kwargs
    ) -> list[Answer]:
        given = Texts(texts)
        return given.answers(method(self, given, *args, **options))

    made: Any = call
    return made  # type: ignore[no-any-return]


def one_text(value: object, name: str) -> str:
    """A single text, checked. Raises UsageError for what is no str; ``name``: the argument's."""
    if not isinstance(value, str):
        raise UsageError(f"{name} is {shown_value(value)}, expected a str")
    return value


def check_path(value: object, name: str, expected: str) -> None:
    """Raise UsageError for what is no path; ``name``: the argument's."""
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{name} is {shown_value(value)}, expected {expected}")


def _iterable(given: Any, name: str) -> Iterable[Any]:
    """The values of an iterable that may hold texts; others are refused."""
    if is_frame(given):
        raise UsageError(f"{name} is a DataFrame, expected one of its columns: frame['NAME']")
    if isinstance(given, bytes | bytearray | memoryview | Mapping) or not isinstance(
        given, Iterable
    ):
        raise UsageError(
            f"{name} is {shown_value(given)}, expected a str or several in an iterable"
        )
    return given


def shown_value(value: Any) -> str:
    """A wrong value with its type, for a message."""
    kind = type(value).__name__
    if value is None:
        return "None"
    text = " ".join(repr(value).split())
    shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    hint = ", not decoded" if isinstance(value, bytes | bytearray) else ""
    return f"{shown} ({kind}{hint})"


@contextmanager
def frame_file(frame: Frame, columns: str = "") -> Iterator[tuple[Path, str]]:
    """A DataFrame as a file of pairs, which is deleted when the block ends.

    The columns have their roles by the same rule as those of files: by the setting ``columns``,
    else by their names, else two columns are source and target. The same cells give the same bytes,
    and so the same fingerprint of the data. The file is JSON Lines, where rows count as lines: row
    1 is line 1.

    Args:
        frame: each row is a pair; its index is not read.
        columns: the setting ``columns``.

    Yields:
        the path, and the setting ``columns`` for that file.

    Raises:
        DataError: the names of the columns do not allow it, or while the block reads the file,
            with the path "frame" and the row as the line.
        SettingError: ``columns`` is not valid.
    """
    import tempfile

    from charseq import files
    from charseq.data.formats.rows import cell_text

    names, columns = _named(list(map(str, frame.columns)), columns)
    lines = [
        json.dumps(dict(zip(names, map(cell_text, cells), strict=True)), default=str)
        for cells in frame.itertuples(index=False, name=None)
    ]
    with tempfile.TemporaryDirectory(prefix="charseq-") as folder:
        path = Path(folder) / f"{FRAME}.jsonl"
        files.create(path, "".join(f"{line}\n" for line in lines).encode())
        try:
            yield path, columns
        except DataError as fault:
            if fault.path is not None and Path(fault.path) == path:
                fault.path = FRAME
            raise


def _named(names: list[str], columns: str) -> tuple[list[str], str]:
    """The keys of the file for columns of these names, and its setting ``columns``."""
    from charseq.data.settings_file import IGNORED, format_columns, parse_columns

    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{names.count(name)} columns are named '{name}'", path=FRAME)
    roles = parse_columns(columns)
    if isinstance(roles, tuple) and roles:
        if len(roles) != len(names):
            found = f"{len(names)} columns ({', '.join(names)})"
            raise DataError(f"{found}, but columns names {len(roles)} (skip is one)", path=FRAME)
        by_name = {
            role: name for role, name in zip(roles, names, strict=True) if role not in IGNORED
        }
        return names, format_columns(by_name)
    lower = [name.lower() for name in names]
    if not roles and len(names) == 2 and not {"source", "target"} <= set(lower):
        return ["source", "target"], columns
    return names, columns


def with_columns(
    frame: Frame, names: Sequence[str], rows: Sequence[Sequence[str | None]], *, force: bool
) -> Frame:
    """A copy of a DataFrame with new columns of texts; None is a null.

    Raises:
        DataError: there is a column of such a name, without ``force``.
    """
    from charseq.data.formats.rows import column_taken

    for name in names:
        if name in frame.columns and not force:
            raise column_taken(name).at(FRAME)
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    return frame.assign(**dict(zip(names, map(list, columns), strict=True)))
