"""rows of numbers, of different lengths -> one array and where each begins; large ones in a file.

It knows neither what the numbers mean nor who reads them. An array grows in memory up to
:data:`MOST` bytes; what is larger goes to a file without a name, which the system removes with the
process, however that ends, and is read from there as if it stood in memory. So what a training
holds of its data does not grow with them. The file lies where TMPDIR says, else in /var/tmp, which
is a disk where /tmp may be memory.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import compress, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, TypeVar, cast, overload

import numpy as np

from charseq.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Integer

MOST = 32 * 2**20
"""Bytes of an array that is held in memory."""
BLOCK = 2**20
"""Bytes that are written to a file at once."""
KINDS = {"B": np.uint8, "H": np.uint16, "I": np.uint32, "q": np.int64, "d": np.float64}
"""Types of numbers, by their codes in the module ``array``."""
CHUNK = 4096
"""Rows that are read at once where all are read in order."""


class SpillingArray:
    """One array that grows at its end, until :meth:`close` gives it out."""

    def __init__(self, code: str) -> None:
        """``code`` is the type of its numbers, one of :data:`KINDS`."""
        self.size = 0
        self._held = array(code)
        self._file: BinaryIO | None = None
        self._room = MOST // self._held.itemsize

    def append(self, number: float | int) -> None:
        """Add one number."""
        self._held.append(cast("Any", number))
        self.size += 1
        if len(self._held) >= self._room:
            self._spill()

    def extend(self, numbers: Sequence[int]) -> None:
        """Add some."""
        self._held.extend(numbers)
        self.size += len(numbers)
        if len(self._held) >= self._room:
            self._spill()

    def write(self, data: bytes | memoryview) -> None:
        """Add the numbers that stand in ``data`` as bytes."""
        self._held.frombytes(data)
        self.size += len(data) // self._held.itemsize
        if len(self._held) >= self._room:
            self._spill()

    def close(self) -> np.ndarray:
        """The array, which is not to be written to; nothing can be added any more."""
        kind = np.dtype(KINDS[self._held.typecode])
        if self._file is None:
            return np.frombuffer(self._held, dtype=kind) if self.size else np.empty(0, kind)
        self._spill()
        with self._file:
            self._file.flush()
            return np.memmap(self._file, dtype=kind, mode="r").view(np.ndarray)

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = cast("BinaryIO", tempfile.TemporaryFile(dir=_folder()))  # noqa: SIM115
                self._room = max(1, min(BLOCK, MOST) // self._held.itemsize)
            self._file.write(self._held)
        except OSError as fault:
            with suppress(OSError, AttributeError):  # what is held cannot be written either
                self._file.close()  # type: ignore[union-attr]
            raise DataError(
                f"no room for the data: {fault.strerror or fault}; TMPDIR names another folder",
                path=_folder() or tempfile.gettempdir(),
            ) from None
        del self._held[:]


class Ragged(Sequence[list[int]]):
    """Rows of numbers; row i is ``flat[offsets[i]:offsets[i + 1]]``, and comes as a list."""

    def __init__(self, flat: Integer[np.ndarray, "_"], offsets: Int[np.ndarray, "_"]) -> None:
        self.flat = flat
        self.offsets = offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, place: int) -> list[int]: ...

    @overload
    def __getitem__(self, place: slice) -> list[list[int]]: ...

    def __getitem__(self, place: int | slice) -> list[int] | list[list[int]]:
        if isinstance(place, slice):
            first, end, step = place.indices(len(self))
            if step == 1:
                return list(self._between(first, max(first, end)))
            return [self[row] for row in range(first, end, step)]
        row = range(len(self))[place]
        found: list[int] = self.flat[self.offsets[row] : self.offsets[row + 1]].tolist()
        return found

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(0, len(self), CHUNK):
            yield from self._between(first, min(first + CHUNK, len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(list.__eq__, self, map(list, other)))

    __hash__ = None  # type: ignore[assignment]  # it is compared by its rows

    @property
    def lengths(self) -> Int[np.ndarray, "N"]:
        """The number of numbers of each row."""
        return np.diff(self.offsets)

    def take(
        self, rows: Int[np.ndarray, "B"]
    ) -> tuple[Integer[np.ndarray, "_"], Bool[np.ndarray, "B W"], Int[np.ndarray, "B"]]:
        """All numbers of some rows, one row after another; where they stand in a table; lengths."""
        begins = self.offsets[rows]
        lengths = self.offsets[rows + 1] - begins
        columns = np.arange(lengths.max(initial=0))
        inside = columns < lengths[:, None]
        return self.flat[(begins[:, None] + columns)[inside]], inside, lengths

    def _between(self, first: int, end: int) -> Iterator[list[int]]:
        offsets = self.offsets[first : end + 1].tolist()
        numbers = self.flat[offsets[0] : offsets[-1]].tolist()
        base = offsets[0]
        for begin, stop in pairwise(offsets):
            yield numbers[begin - base : stop - base]


def pack(rows: Iterable[Sequence[int]], *, size: int) -> Ragged:
    """Rows of numbers from 0 to ``size`` - 1, in as few bytes as hold them.

    Raises:
        DataError: there is no room for a large one on the disk.
    """
    flat = SpillingArray("B" if size <= 2**8 else "H" if size <= 2**16 else "I")
    offsets = SpillingArray("q")
    offsets.append(0)
    for row in rows:
        flat.extend(row)
        offsets.append(flat.size)
    return Ragged(flat.close(), offsets.close())


def as_ragged(rows: Sequence[Sequence[int]]) -> Ragged:
    """Rows that may be so already."""
    if isinstance(rows, Ragged):
        return rows
    return pack(rows, size=max((max(row, default=0) for row in rows), default=0) + 1)


def _folder() -> str | None:
    """Where large arrays go; None: where the system's temporary files do."""
    lasting = Path("/var/tmp")  # noqa: S108 - only files without a name are made there
    named = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    return None if named or not os.access(lasting, os.W_OK) else str(lasting)


FEW = 2**16
"""Rows that are held as objects."""
FAR = 8 * 2**20
"""Bytes that are read at once to come from one row to the next that is wanted."""
_MARK = b"\xff"  # which is never a byte of UTF-8

Made = TypeVar("Made")
Item = TypeVar("Item")


class PackedRecords(Sequence[Made]):
    """Objects that are made of texts and a weight when they are asked for."""

    def __init__(
        self,
        make: Callable[..., Made],
        flat: Integer[np.ndarray, "_"],
        offsets: Int[np.ndarray, "_"],
        weights: Float[np.ndarray, "_"] | None = None,
        places: Int[np.ndarray, "_"] | None = None,
    ) -> None:
        """``weights``: None where all are 1. ``places``: of those that belong to it; None: all."""
        self._make = make
        self._flat = flat
        self._offsets = offsets
        self._weights = weights
        self._places = places

    def __len__(self) -> int:
        return len(self._offsets) - 1 if self._places is None else len(self._places)

    @overload
    def __getitem__(self, place: int) -> Made: ...

    @overload
    def __getitem__(self, place: slice) -> list[Made]: ...

    def __getitem__(self, place: int | slice) -> Made | list[Made]:
        if isinstance(place, slice):
            return [self[row] for row in range(*place.indices(len(self)))]
        row = range(len(self))[place]
        return next(self._between(row, row + 1))

    def __iter__(self) -> Iterator[Made]:
        for first in range(0, len(self), CHUNK):
            yield from self._between(first, min(first + CHUNK, len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it is compared by what is in it

    @property
    def weights(self) -> Float[np.ndarray, "N"] | None:
        """The weight of each; None: all are 1."""
        if self._weights is None or self._places is None:
            return self._weights
        weights: np.ndarray = self._weights[self._places]
        return weights

    def column(self, number: int) -> Column:
        """One text of each."""
        return Column(self, number)

    def choose(self, wanted: Bool[np.ndarray, "N"]) -> PackedRecords[Made]:
        """Some of them; the bytes are shared."""
        places = SpillingArray("q")
        for first in range(0, len(self), CHUNK):
            chosen = self._rows(first, min(first + CHUNK, len(self)))
            places.write(chosen[wanted[first : first + CHUNK]].astype(np.int64).tobytes())
        return PackedRecords(self._make, self._flat, self._offsets, self._weights, places.close())

    def raw(self, first: int, end: int) -> Iterator[list[bytes]]:
        """The texts of the records from ``first`` to ``end``, in UTF-8."""
        rows = self._rows(first, end)
        begins, ends = self._offsets[rows].tolist(), self._offsets[rows + 1].tolist()
        base = begins[0]
        if ends[-1] - base > FAR:
            for begin, stop in zip(begins, ends, strict=True):
                yield self._flat[begin:stop].tobytes().split(_MARK)
            return
        block = self._flat[base : ends[-1]].tobytes()
        for begin, stop in zip(begins, ends, strict=True):
            yield block[begin - base : stop - base].split(_MARK)

    def _between(self, first: int, end: int) -> Iterator[Made]:
        if self._weights is None:
            for texts in self.raw(first, end):
                yield self._make(*map(bytes.decode, texts))
            return
        weights = self._weights[self._rows(first, end)].tolist()
        for texts, weight in zip(self.raw(first, end), weights, strict=True):
            yield self._make(*map(bytes.decode, texts), weight)

    def _rows(self, first: int, end: int) -> Int[np.ndarray, "_"]:
        return np.arange(first, end) if self._places is None else self._places[first:end]


class Column(Sequence[str]):
    """One text of each record, in their order."""

    def __init__(self, records: PackedRecords[Any], number: int) -> None:
        self._records = records
        self._number = number

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[row] for row in range(*place.indices(len(self)))]
        row = range(len(self))[place]
        return next(self._records.raw(row, row + 1))[self._number].decode()

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), CHUNK):
            for texts in self._records.raw(first, min(first + CHUNK, len(self))):
                yield texts[self._number].decode()


class RecordBuilder(Generic[Made]):
    """Objects and their lines, added one after the other."""

    def __init__(
        self, make: Callable[..., Made], unmake: Callable[[Made], tuple[Sequence[str], float]]
    ) -> None:
        """``unmake`` gives the texts and the weight of which ``make`` makes the same again."""
        self._make = make
        self._unmake = unmake
        self._made: list[Made] = []
        self._lines: list[int] = []
        self._packed: tuple[SpillingArray, SpillingArray, SpillingArray, SpillingArray] | None = (
            None
        )
        self._weighed = False

    def __len__(self) -> int:
        held = len(self._made)
        return held if self._packed is None else held + self._packed[1].size - 1

    def add(self, made: Made, line: int) -> None:
        """Add an object, and the line where it stands."""
        self._made.append(made)
        self._lines.append(line)
        if len(self._made) >= (FEW if self._packed is None else CHUNK):
            self._pack()

    def close(self) -> tuple[Sequence[Made], Sequence[int]]:
        """The objects and their lines; nothing can be added any more."""
        if self._packed is None:
            return self._made, self._lines
        self._pack()
        flat, offsets, weights, lines = (part.close() for part in self._packed)
        records = PackedRecords(self._make, flat, offsets, weights if self._weighed else None)
        return records, Numbers(lines)

    def _pack(self) -> None:
        if self._packed is None:
            self._packed = (
                SpillingArray("B"),
                SpillingArray("q"),
                SpillingArray("d"),
                SpillingArray("q"),
            )
            self._packed[1].append(0)
        flat, offsets, weights, lines = self._packed
        for made in self._made:
            texts, weight = self._unmake(made)
            flat.write(_MARK.join([text.encode() for text in texts]))
            offsets.append(flat.size)
            weights.append(weight)
            self._weighed = self._weighed or weight != 1.0
        lines.extend(self._lines)
        self._made.clear()
        self._lines.clear()


class Numbers(Sequence[int]):
    """An array as a sequence of plain numbers."""

    def __init__(self, array: Int[np.ndarray, "_"]) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, place: int) -> int: ...

    @overload
    def __getitem__(self, place: slice) -> list[int]: ...

    def __getitem__(self, place: int | slice) -> int | list[int]:
        found: int | list[int] = self.array[place].tolist()
        return found

    def choose(self, wanted: Bool[np.ndarray, "N"]) -> Numbers:
        """Some of them."""
        return Numbers(self.array[wanted])


def choose(rows: Sequence[Item], wanted: Bool[np.ndarray, "N"]) -> Sequence[Item]:
    """Those of the rows that are wanted, in their order; of many rows nothing is copied."""
    if isinstance(rows, PackedRecords | Numbers):
        return cast("Sequence[Item]", rows.choose(wanted))
    return list(compress(rows, wanted))
