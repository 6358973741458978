"""The arguments of a Python call -> checked texts, or a file of rows; pandas where it is given.

    Texts(["3 May 2020"])        a str, any iterable of them (read once), or a pandas Series
    Texts.answers(found)         the answers as a list, or as a Series with the given one's index
    frame_file(frame, columns)   a DataFrame as a file of pairs, for all that reads files

pandas is never imported here: an argument of its types shows that it is loaded.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    overload,
)

from charseq.arguments import bind, one_text, shown_value
from charseq.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from collections.abc import Generator, Set, ValuesView
    from typing import IO

    import numpy as np
    import pandas as pd

    Series: TypeAlias = pd.Series[Any]
    Frame: TypeAlias = pd.DataFrame
    # Iterable[str] takes a Series as well, of which a type checker then could not tell the answer
    ManyTexts: TypeAlias = (
        Sequence[str]
        | Generator[str, Any, Any]
        | IO[str]
        | Set[str]
        | ValuesView[str]
        | np.ndarray[Any, Any]
        | pd.Index[Any]
    )

FRAME = "frame"
"""The name of a DataFrame in messages, and of its data in a run."""

Answer = TypeVar("Answer")
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
            ArgumentError: with the position: a value that is no str, such as None, NaN or bytes.
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


class TextIterator(Protocol):
    """An iterator of texts, which pandas' types also see in a Series, but for its ``__iter__``."""

    def __iter__(self) -> Self:
        """Itself."""

    def __next__(self) -> str:
        """The next text."""


class SomeSeries(Protocol):
    """What type checkers know of a pandas Series where pandas has no types for them."""

    @property
    def iloc(self) -> Any:
        """Access by position."""

    @property
    def name(self) -> Any:
        """Its name."""


class Answering(Protocol[P, Answer]):
    """A method over texts, as it is called: a Series gives a Series, all else a list."""

    @overload
    def __call__(self, texts: SomeSeries, *args: P.args, **options: P.kwargs) -> Series: ...
    @overload
    def __call__(
        self, texts: str | ManyTexts, *args: P.args, **options: P.kwargs
    ) -> list[Answer]: ...
    @overload
    def __call__(self, texts: TextIterator, *args: P.args, **options: P.kwargs) -> list[Answer]: ...


class OverTexts(Protocol[P, Answer]):
    """A method over texts, as a class has it."""

    def __get__(self, model: Any, kind: Any = None) -> Answering[P, Answer]:
        """The method of one model."""


def over_texts(
    method: Callable[Concatenate[Any, Sequence[str], P], list[Answer]],
) -> OverTexts[P, Answer]:
    """A method of a model whose ``texts`` may be whatever :class:`Texts` takes."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(self: Any, texts: Any, *args: P.args, **options: P.kwargs) -> Any:
        bind(signature, method.__name__, (self, texts, *args), options)
        given = Texts(texts)
        return given.answers(method(self, given, *args, **options))

    made: Any = call
    return made  # type: ignore[no-any-return]


def _iterable(given: Any, name: str) -> Iterable[Any]:
    """The values of an iterable that may hold texts; others are refused."""
    if is_frame(given):
        raise ArgumentError(f"{name} is a DataFrame, expected one of its columns: frame['NAME']")
    if isinstance(given, bytes | bytearray | memoryview | Mapping) or not isinstance(
        given, Iterable
    ):
        raise ArgumentError(
            f"{name} is {shown_value(given)}, expected a str or several in an iterable"
        )
    return given


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


def frame_columns(frame: Frame, positions: Sequence[int]) -> list[list[Any]]:
    """The columns at these positions, with cells as texts; None is a null."""
    from charseq.data.formats.rows import cell_text

    found: list[list[Any]] = []
    for column in (frame.iloc[:, position] for position in positions):
        nulls = column.isna()
        pairs = zip(column, nulls, strict=True)
        found.append([None if null else cell_text(value) for value, null in pairs])
    return found


def frame_rows(
    read: Sequence[Any], rows: Sequence[tuple[str, ...]]
) -> list[tuple[str | None, ...]]:
    """The new cells of each row: nulls where the column that was ``read`` has a null."""
    return [
        (None,) * len(cells) if value is None else cells
        for value, cells in zip(read, rows, strict=True)
    ]


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
