"""Compact sequences: growing arrays that spill to disk, ragged arrays of ids, packed records.

An array grows in memory up to ``MAX_IN_MEMORY`` bytes. A larger one goes to an unnamed file, which
the system removes when the process ends, and is read from there through a memory map. The memory
of a training therefore does not grow with its data. The file lies in the folder that the variable
TMPDIR names, else in /var/tmp, which is a disk where /tmp may be memory.

``SpillingArray``   numbers, appended -> one NumPy array
``Ragged``          rows of different lengths in one array, and the offset of each row
``PackedRecords``   records of texts and a weight as UTF-8 in one array
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import compress, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, NamedTuple, TypeVar, cast, overload

import numpy as np

from charseq.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Integer

MAX_IN_MEMORY = 32 * 2**20
"""Bytes of the largest array that is held in memory."""
WRITE_BYTES = 2**20
"""Bytes that are written to a file at once."""
DTYPES = {"B": np.uint8, "H": np.uint16, "I": np.uint32, "q": np.int64, "d": np.float64}
"""Type code of the module ``array`` -> type of NumPy."""
READ_ROWS = 4096
"""Rows that are read at once in a pass over all rows."""
MAX_OBJECTS = 2**16
"""Records that are held as objects; more records are packed."""
MAX_READ = 8 * 2**20
"""Bytes that are read at once. Selected rows that are farther apart are read one by one."""
_SEPARATOR = b"\xff"  # never a byte of UTF-8

Record = TypeVar("Record")
Item = TypeVar("Item")


class SpillingArray:
    """An array that grows at its end until it is closed."""

    def __init__(self, code: str) -> None:
        """``code`` is the type code of the numbers, a key of ``DTYPES``."""
        self.size = 0
        self._buffer = array(code)
        self._file: BinaryIO | None = None
        self._limit = MAX_IN_MEMORY // self._buffer.itemsize

    def append(self, number: float | int) -> None:
        """Append one number."""
        self._buffer.append(cast("Any", number))
        self.size += 1
        if len(self._buffer) >= self._limit:
            self._spill()

    def extend(self, numbers: Sequence[int]) -> None:
        """Append numbers."""
        self._buffer.extend(numbers)
        self.size += len(numbers)
        if len(self._buffer) >= self._limit:
            self._spill()

    def write(self, data: bytes | memoryview) -> None:
        """Append the numbers whose bytes are ``data``."""
        self._buffer.frombytes(data)
        self.size += len(data) // self._buffer.itemsize
        if len(self._buffer) >= self._limit:
            self._spill()

    def close(self) -> np.ndarray:
        """The read-only array; nothing can be appended after this."""
        dtype = np.dtype(DTYPES[self._buffer.typecode])
        if self._file is None:
            return np.frombuffer(self._buffer, dtype=dtype) if self.size else np.empty(0, dtype)
        self._spill()
        with self._file:
            self._file.flush()
            return np.memmap(self._file, dtype=dtype, mode="r").view(np.ndarray)

    def _spill(self) -> None:
        """Write the buffer to the file, which the first call opens."""
        try:
            if self._file is None:
                self._file = cast("BinaryIO", tempfile.TemporaryFile(dir=_folder()))  # noqa: SIM115
                self._limit = max(1, min(WRITE_BYTES, MAX_IN_MEMORY) // self._buffer.itemsize)
            self._file.write(self._buffer)
        except OSError as fault:
            with suppress(OSError, AttributeError):  # closing flushes, which fails like the write
                self._file.close()  # type: ignore[union-attr]
            raise DataError(
                f"no room for the data: {fault.strerror or fault}; TMPDIR names another folder",
                path=_folder() or tempfile.gettempdir(),
            ) from None
        del self._buffer[:]


class Ragged(Sequence[list[int]]):
    """A ragged array: row i is the list of ``flat[offsets[i]:offsets[i + 1]]``."""

    def __init__(self, flat: Integer[np.ndarray, "_"], offsets: Int[np.ndarray, "_"]) -> None:
        self.flat = flat
        self.offsets = offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> list[int]: ...

    @overload
    def __getitem__(self, index: slice) -> list[list[int]]: ...

    def __getitem__(self, index: int | slice) -> list[int] | list[list[int]]:
        if isinstance(index, slice):
            first, end, step = index.indices(len(self))
            if step == 1:
                return list(self._between(first, max(first, end)))
            return [self[row] for row in range(first, end, step)]
        row = range(len(self))[index]
        found: list[int] = self.flat[self.offsets[row] : self.offsets[row + 1]].tolist()
        return found

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(0, len(self), READ_ROWS):
            yield from self._between(first, min(first + READ_ROWS, len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(list.__eq__, self, map(list, other)))

    __hash__ = None  # type: ignore[assignment]  # equality compares rows

    @property
    def lengths(self) -> Int[np.ndarray, "N"]:
        """The length of each row."""
        return np.diff(self.offsets)

    def take(
        self, rows: Int[np.ndarray, "B"]
    ) -> tuple[Integer[np.ndarray, "_"], Bool[np.ndarray, "B W"], Int[np.ndarray, "B"]]:
        """Rows -> their numbers, one row after the other; a mask of a padded table; the lengths.

        ``table[mask] = numbers`` fills a table that has a line for each row and as many columns as
        the longest row.
        """
        begins = self.offsets[rows]
        lengths = self.offsets[rows + 1] - begins
        columns = np.arange(lengths.max(initial=0))
        mask = columns < lengths[:, None]
        return self.flat[(begins[:, None] + columns)[mask]], mask, lengths

    def _between(self, first: int, end: int) -> Iterator[list[int]]:
        """The rows from ``first`` to ``end``, read at once."""
        offsets = self.offsets[first : end + 1].tolist()
        numbers = self.flat[offsets[0] : offsets[-1]].tolist()
        base = offsets[0]
        for begin, stop in pairwise(offsets):
            yield numbers[begin - base : stop - base]


def pack(rows: Iterable[Sequence[int]], *, size: int) -> Ragged:
    """Rows of numbers from 0 to ``size`` - 1, in as few bytes for each number as hold it.

    Raises:
        DataError: the disk is full.
    """
    flat = SpillingArray("B" if size <= 2**8 else "H" if size <= 2**16 else "I")
    offsets = SpillingArray("q")
    offsets.append(0)
    for row in rows:
        flat.extend(row)
        offsets.append(flat.size)
    return Ragged(flat.close(), offsets.close())


def as_ragged(rows: Sequence[Sequence[int]]) -> Ragged:
    """Rows as a ragged array, which they may be already."""
    if isinstance(rows, Ragged):
        return rows
    return pack(rows, size=max((max(row, default=0) for row in rows), default=0) + 1)


def _folder() -> str | None:
    """The folder for large arrays; None: the system's folder for temporary files."""
    lasting = Path("/var/tmp")  # noqa: S108 - only files without a name are made there
    named = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    return None if named or not os.access(lasting, os.W_OK) else str(lasting)


class PackedRecords(Sequence[Record]):
    """Records of texts and a weight, which are made when they are read."""

    def __init__(
        self,
        make: Callable[..., Record],
        flat: Integer[np.ndarray, "_"],
        offsets: Int[np.ndarray, "_"],
        weights: Float[np.ndarray, "_"] | None = None,
        selected: Int[np.ndarray, "_"] | None = None,
    ) -> None:
        """``make`` takes the texts of a record, and its weight where ``weights`` is not None.

        ``selected``: numbers of the records that belong to this sequence; None: all.
        """
        self._make = make
        self._flat = flat
        self._offsets = offsets
        self._weights = weights
        self._selected = selected

    def __len__(self) -> int:
        return len(self._offsets) - 1 if self._selected is None else len(self._selected)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        return next(self._between(row, row + 1))

    def __iter__(self) -> Iterator[Record]:
        for first in range(0, len(self), READ_ROWS):
            yield from self._between(first, min(first + READ_ROWS, len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # equality compares records

    @property
    def weights(self) -> Float[np.ndarray, "N"] | None:
        """The weight of each record; None: all are 1."""
        if self._weights is None or self._selected is None:
            return self._weights
        weights: np.ndarray = self._weights[self._selected]
        return weights

    def column(self, number: int) -> TextColumn:
        """The text with this number of each record."""
        return TextColumn(self, number)

    def select(self, wanted: Bool[np.ndarray, "N"]) -> PackedRecords[Record]:
        """The wanted records; the bytes are shared, not copied."""
        selected = SpillingArray("q")
        for first in range(0, len(self), READ_ROWS):
            rows = self._rows(first, min(first + READ_ROWS, len(self)))
            chosen = rows[wanted[first : first + READ_ROWS]]
            selected.write(chosen.astype(np.int64).tobytes())
        return PackedRecords(self._make, self._flat, self._offsets, self._weights, selected.close())

    def weighted(self, weights: Float[np.ndarray, "N"]) -> PackedRecords[Record]:
        """The same records with these weights."""
        every = weights
        if self._selected is not None:
            every = np.ones(len(self._offsets) - 1)
            every[self._selected] = weights
        return PackedRecords(self._make, self._flat, self._offsets, every, self._selected)

    def read(self, first: int, end: int) -> Iterator[list[bytes]]:
        """The texts of the records from ``first`` to ``end``, in UTF-8."""
        rows = self._rows(first, end)
        begins, ends = self._offsets[rows].tolist(), self._offsets[rows + 1].tolist()
        base = begins[0]
        if ends[-1] - base > MAX_READ:
            for begin, stop in zip(begins, ends, strict=True):
                yield self._flat[begin:stop].tobytes().split(_SEPARATOR)
            return
        block = self._flat[base : ends[-1]].tobytes()
        for begin, stop in zip(begins, ends, strict=True):
            yield block[begin - base : stop - base].split(_SEPARATOR)

    def _between(self, first: int, end: int) -> Iterator[Record]:
        """The records from ``first`` to ``end``, read at once."""
        if self._weights is None:
            for texts in self.read(first, end):
                yield self._make(*map(bytes.decode, texts))
            return
        weights = self._weights[self._rows(first, end)].tolist()
        for texts, weight in zip(self.read(first, end), weights, strict=True):
            yield self._make(*map(bytes.decode, texts), weight)

    def _rows(self, first: int, end: int) -> Int[np.ndarray, "_"]:
        """The stored rows of the records from ``first`` to ``end``."""
        return np.arange(first, end) if self._selected is None else self._selected[first:end]


class TextColumn(Sequence[str]):
    """One text of each record, in the order of the records."""

    def __init__(self, records: PackedRecords[Any], number: int) -> None:
        self._records = records
        self._number = number

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        return next(self._records.read(row, row + 1))[self._number].decode()

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), READ_ROWS):
            for texts in self._records.read(first, min(first + READ_ROWS, len(self))):
                yield texts[self._number].decode()


class RecordBuilder(Generic[Record]):
    """Records and their line numbers, appended one by one and packed when they become many."""

    def __init__(
        self,
        make: Callable[..., Record],
        unmake: Callable[[Record], tuple[Sequence[str], float]],
    ) -> None:
        """``unmake`` gives the texts and the weight from which ``make`` makes an equal record."""
        self._make = make
        self._unmake = unmake
        self._records: list[Record] = []
        self._lines: list[int] = []
        self._packed: _PackedArrays | None = None
        self._weighted = False

    def __len__(self) -> int:
        unpacked = len(self._records)
        return unpacked if self._packed is None else unpacked + self._packed.weights.size

    def add(self, record: Record, line: int) -> None:
        """Append a record and its line number."""
        self._records.append(record)
        self._lines.append(line)
        if len(self._records) >= (MAX_OBJECTS if self._packed is None else READ_ROWS):
            self._pack()

    def close(self) -> tuple[Sequence[Record], Sequence[int]]:
        """The records and their line numbers; nothing can be appended after this."""
        if self._packed is None:
            return self._records, self._lines
        self._pack()
        flat, offsets, weights, lines = (array.close() for array in self._packed)
        records = PackedRecords(self._make, flat, offsets, weights if self._weighted else None)
        return records, Numbers(lines)

    def _pack(self) -> None:
        """Move the records from the list into arrays."""
        if self._packed is None:
            self._packed = _PackedArrays(*map(SpillingArray, "Bqdq"))
            self._packed.offsets.append(0)
        flat, offsets, weights, lines = self._packed
        for record in self._records:
            texts, weight = self._unmake(record)
            flat.write(_SEPARATOR.join([text.encode() for text in texts]))
            offsets.append(flat.size)
            weights.append(weight)
            self._weighted = self._weighted or weight != 1.0
        lines.extend(self._lines)
        self._records.clear()
        self._lines.clear()


class _PackedArrays(NamedTuple):
    """The arrays of a builder: bytes of all texts, offsets of records, weights, line numbers."""

    flat: SpillingArray
    offsets: SpillingArray
    weights: SpillingArray
    lines: SpillingArray


class Numbers(Sequence[int]):
    """An array as a sequence of plain integers."""

    def __init__(self, array: Int[np.ndarray, "_"]) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> list[int]: ...

    def __getitem__(self, index: int | slice) -> int | list[int]:
        found: int | list[int] = self.array[index].tolist()
        return found

    def select(self, wanted: Bool[np.ndarray, "N"]) -> Numbers:
        """The wanted numbers."""
        return Numbers(self.array[wanted])


def select(rows: Sequence[Item], wanted: Bool[np.ndarray, "N"]) -> Sequence[Item]:
    """The wanted rows in their order. Packed records are not copied."""
    if isinstance(rows, PackedRecords | Numbers):
        return cast("Sequence[Item]", rows.select(wanted))
    return list(compress(rows, wanted))
