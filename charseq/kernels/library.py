"""native/*.c -> functions on arrays: the compiled kernels, where the install could build them.

The library is plain C (see ``native/README.md``), built when charseq is installed and a compiler is
there. Whoever can use it asks :func:`find`, and does the same work in NumPy or torch on None.

Rows are the numbers of one text, filled up with zeros to whole vectors of ``WIDE``. What is
computed for a row depends on that row alone, to the last bit. Everything is float32, row numbers
are int64, and nothing reaches the library whose type, shape and layout were not checked.

The environment variable ``CHARSEQ_KERNELS`` is ``auto`` (the best that the processor can run),
``off``, or the name of a level: ``plain``, ``avx2``, ``avx512``, ``amx``.
"""

from __future__ import annotations

import ctypes
import math
import os
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charseq.errors import SettingError
from charseq.kernels.layout import WIDE, address, empty, widen, zeros

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64, Shaped

VERSION = 7
"""The library's, as ``native.h`` has it: another one was left behind by an older install."""
LEVELS = ("plain", "avx2", "avx512", "amx")
"""What the kernels are compiled for; each processor can run the first ones, up to its own."""
VARIABLE = "CHARSEQ_KERNELS"
CELLS = {"tanh": (0, 1, 1), "residual": (1, 1, 1), "gru": (2, 3, 1), "lstm": (3, 4, 2)}
"""The library's number of a cell, its gates, and the states that it keeps."""

FLOAT, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
INDEX, FLAG = np.dtype(np.int64), np.dtype(np.bool_)
_PLACE = ctypes.c_void_p
_NO_CELL = -1
_NO_MEMORY = 1


class Gather(ctypes.Structure):
    """``struct gather`` of ``native.h``."""

    _fields_ = (("table", ctypes.c_void_p), ("rows", ctypes.c_void_p), ("limit", ctypes.c_int64))


def structure(name: str, numbers: str, pointers: str) -> type[ctypes.Structure]:
    """A structure of ``native.h``: numbers, pointers, and where a name ends in *, a gather."""
    fields: list[tuple[str, Any]] = [(field, ctypes.c_int64) for field in numbers.split()]
    for field in pointers.split():
        kind = Gather if field.endswith("*") else ctypes.c_void_p
        fields.append((field.rstrip("*"), kind))
    return type(name, (ctypes.Structure,), {"_fields_": tuple(fields)})


_Run = structure(
    "Run",
    "cell count steps hidden backward width offset",
    "order lengths first* second* recurrent memory last",
)
_Step = structure("Step", "cell count hidden", "first* second* recurrent state after")
_Product = structure("Product", "count depth columns squash", "rows weight bias more* out")
_Look = structure(
    "Look", "texts width stored steps hidden value", "numbers queries keys values lengths context"
)
_Softmax = structure("Softmax", "count columns going stop", "ended rows")


@dataclass(frozen=True)
class Packed:
    """A matrix as products want it; ``columns`` are its rows, ``depth`` its columns, both wide."""

    numbers: Float32[np.ndarray, "P"]
    columns: int
    depth: int
    cell: str | None
    bias: Float32[np.ndarray, "M"] | None
    """Added to every row of a product."""
    place: int
    bias_place: int | None


@dataclass(frozen=True)
class Rows:
    """Rows of a table, by their numbers: what is added to something, row by row."""

    table: Float32[np.ndarray, "M W"]
    numbers: Int64[np.ndarray, "*N"] | None = None
    """None: the first row of the table to the first, and so on."""


class Kernels:
    """The library's functions at one level of the processor."""

    def __init__(self, library: ctypes.CDLL, level: str) -> None:
        """Raises ValueError for a level that is not among those of :func:`levels_of`."""
        if level not in levels_of(library):  # which is also what asks for the tiles' registers
            raise ValueError(f"this processor does not run {level}")
        self.level = level
        self.library = library
        self.number = LEVELS.index(level)
        library.charseq_packed.restype = ctypes.c_int64
        library.charseq_packed.argtypes = (ctypes.c_int32, ctypes.c_int64, ctypes.c_int64)
        library.charseq_pack.restype = None
        library.charseq_pack.argtypes = (
            ctypes.c_int32, _PLACE, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, _PLACE,
        )  # fmt: skip
        library.charseq_expand.restype = None
        library.charseq_expand.argtypes = (_PLACE,) * 2 + (ctypes.c_int64,) * 5 + (_PLACE,) * 3

    def pack(
        self,
        matrix: Float32[np.ndarray, "M K"],
        bias: Float32[np.ndarray, "M"] | None = None,
        *,
        cell: str | None = None,
        fill: float = 0.0,
    ) -> Packed:
        """A matrix for :meth:`product`; with a cell, its recurrent one for steps, interleaved.

        A bias is filled up with ``fill``.
        """
        if bias is not None and len(bias) != len(matrix):
            raise ValueError(f"{len(bias)} numbers are no bias of {len(matrix)}")
        given = widen(matrix)
        if given.shape[0] % WIDE:
            given = np.concatenate([given, zeros(-len(given) % WIDE, given.shape[1])])
        columns, depth = given.shape
        numbers = empty(self.library.charseq_packed(self.number, columns, depth))
        self.library.charseq_pack(
            self.number,
            place_of(np.ascontiguousarray(given), (columns, depth)),
            columns,
            depth,
            _NO_CELL if cell is None else CELLS[cell][0],
            place_of(numbers, numbers.shape),
        )
        added = None if bias is None else widen(bias, fill)
        place = None if added is None else place_of(added, (columns,))
        return Packed(numbers, columns, depth, cell, added, place_of(numbers, numbers.shape), place)

    def product(
        self,
        weight: Packed,
        rows: Float32[np.ndarray, "N K"],
        *,
        more: Rows | None = None,
        squash: bool = False,
    ) -> Float32[np.ndarray, "N M"]:
        """Rows times the transposed matrix, plus bias, plus ``more``; with ``squash`` its tanh."""
        if weight.cell is not None:
            raise ValueError("the matrix was packed for the steps of a cell")
        count, columns = len(rows), weight.columns
        out = empty(count, columns)
        self.call(
            "product",
            _Product(
                count, weight.depth, columns, squash,
                place_of(rows, (count, weight.depth)), weight.place, weight.bias_place,
                gather(more, (count,), columns), place_of(out, out.shape),
            ),
        )  # fmt: skip
        return out

    def step(
        self,
        cell: str,
        recurrent: Packed,
        state: Float32[np.ndarray, "K N H"],
        after: Float32[np.ndarray, "K N H"],
        *,
        first: Rows,
        second: Rows | None = None,
    ) -> None:
        """One step of a cell, written into ``after``; rows of ``first`` are added to the gates."""
        number, gates, kept = CELLS[cell]
        _, count, hidden = state.shape
        _fits(recurrent, cell, hidden)
        self.call(
            "step",
            _Step(
                number, count, hidden,
                gather(first, (count,), gates * hidden),
                gather(second, (count,), gates * hidden),
                recurrent.place,
                place_of(state, (kept, count, hidden)), place_of(after, (kept, count, hidden)),
            ),
        )  # fmt: skip

    def run(
        self,
        cell: str,
        recurrent: Packed,
        lengths: Int64[np.ndarray, "N"],
        memory: Float32[np.ndarray, "N S M"],
        last: Float32[np.ndarray, "K N M"],
        *,
        first: Rows,
        second: Rows | None = None,
        offset: int = 0,
        backward: bool = False,
    ) -> None:
        """All steps of a direction of a layer, from zero, or from each row's end with ``backward``.

        h is written into ``memory`` and what is kept at the end into ``last``, in each row from
        ``offset`` on; beyond a row's length ``memory`` is zero.
        """
        number, gates, kept = CELLS[cell]
        count, steps, width = memory.shape
        hidden = recurrent.depth
        _fits(recurrent, cell, hidden)
        if not 0 <= offset <= width - hidden:
            raise ValueError(f"{hidden} numbers from {offset} on are not within rows of {width}")
        order = np.argsort(-lengths, kind="stable")
        self.call(
            "run",
            _Run(
                number, count, steps, hidden, backward, width, offset,
                place_of(order, (count,), INDEX), place_of(lengths, (count,), INDEX),
                gather(first, (count, steps), gates * hidden),
                gather(second, (count,), gates * hidden),
                recurrent.place,
                place_of(memory, (count, steps, width)), place_of(last, (kept, count, width)),
            ),
        )  # fmt: skip

    def look(
        self,
        queries: Float32[np.ndarray, "N H"],
        keys: Float32[np.ndarray, "T S H"],
        values: Float32[np.ndarray, "T S E"],
        lengths: Int64[np.ndarray, "T"],
        texts: Int64[np.ndarray, "M"],
    ) -> Float32[np.ndarray, "N E"]:
        """What soft attention brings to each row; as many rows look at each of ``texts``."""
        count, hidden = queries.shape
        stored, steps, value = values.shape
        if not len(texts) or count % len(texts):
            raise ValueError(f"{count} rows cannot look at {len(texts)} texts")
        context = empty(count, value)
        self.call(
            "look",
            _Look(
                len(texts), count // len(texts), stored, steps, hidden, value,
                place_of(texts, texts.shape, INDEX), place_of(queries, (count, hidden)),
                place_of(keys, (stored, steps, hidden)), place_of(values, (stored, steps, value)),
                place_of(lengths, (stored,), INDEX), place_of(context, (count, value)),
            ),
        )  # fmt: skip
        return context

    def log_softmax(
        self,
        rows: Float32[np.ndarray, "N V"],
        *,
        ended: Bool[np.ndarray, "N"] | None = None,
        going: int = 0,
        stop: int = 0,
    ) -> None:
        """Logits to log-probabilities, in place.

        With ``ended``, rows that have ended do not write symbols from ``going`` on, others not
        ``stop``.
        """
        count, columns = rows.shape
        if not (0 <= going <= columns and 0 <= stop < columns):
            raise ValueError(f"{going} or {stop} is no symbol of {columns}")
        last = None if ended is None else place_of(ended, (count,), FLAG)
        self.call(
            "softmax", _Softmax(count, columns, going, stop, last, place_of(rows, (count, columns)))
        )

    def expand(
        self, scores: Float64[np.ndarray, "B W"], logs: Float32[np.ndarray, "B W V"]
    ) -> tuple[Int64[np.ndarray, "B C"], Int64[np.ndarray, "B C"], Float64[np.ndarray, "B C"]]:
        """The 2 W best of scores + logs of each text, as ``decoding`` wants them."""
        count, width, symbols = logs.shape
        wanted = min(2 * width, width * symbols)
        parents, chosen = np.empty((2, count, wanted), dtype=np.int64)
        totals = np.empty((count, wanted))
        apart = logs.strides[1] // logs.itemsize
        if logs.strides != (width * apart * 4, apart * 4, 4) or logs.dtype != np.float32:
            logs, apart = np.ascontiguousarray(logs, dtype=np.float32), symbols
        self.library.charseq_expand(
            place_of(scores, (count, width), DOUBLE), address(logs),
            count, width, symbols, apart, wanted,
            *(address(out) for out in (parents, chosen, totals)),
        )  # fmt: skip
        return parents, chosen, totals

    def call(self, name: str, what: ctypes.Structure) -> None:
        """One function of the library."""
        code = getattr(self.library, f"charseq_{name}")(self.number, ctypes.byref(what))
        if code == _NO_MEMORY:
            raise MemoryError
        if code:
            raise IndexError(f"{name}: a number of a row, or a length, is out of range")


@cache
def find() -> Kernels | None:
    """The kernels as the environment asks for them; None where they are absent or switched off.

    Raises:
        SettingError: the variable names no level, or one that this processor cannot run.
    """
    wanted = os.environ.get(VARIABLE) or "auto"
    if wanted == "off":
        return None
    if wanted not in ("auto", *LEVELS):
        raise SettingError(f"{VARIABLE} is '{wanted}', expected auto, off, {', '.join(LEVELS)}")
    library = load(Path(__file__).parent / "native")
    if library is None:
        return None
    able = levels_of(library)
    if wanted != "auto" and wanted not in able:
        raise SettingError(f"{VARIABLE} is {wanted}, but this processor runs {', '.join(able)}")
    return Kernels(library, able[-1] if wanted == "auto" else wanted)


def levels_of(library: ctypes.CDLL) -> tuple[str, ...]:
    """The levels that this processor can run, and the system lets it, the best last."""
    return LEVELS[: library.charseq_level() + 1]


def load(folder: Path) -> ctypes.CDLL | None:
    """The library in a folder; None if there is none that this program can use."""
    for suffix in EXTENSION_SUFFIXES:
        path = folder / f"kernels{suffix}"
        if not path.is_file():
            continue
        try:
            library = ctypes.CDLL(str(path))
        except OSError:  # made for another processor or system
            continue
        version = getattr(library, "charseq_version", None)
        if version is not None and version() == VERSION:
            return library
    return None


def place_of(
    array: Shaped[np.ndarray, "..."], shape: tuple[int, ...], kind: np.dtype[Any] = FLOAT
) -> int:
    """Where an array's numbers are, if it is what the library expects.

    Raises:
        ValueError: another shape, type or layout.
    """
    if array.shape != shape or array.dtype != kind or not array.flags.c_contiguous:
        raise ValueError(f"an array {array.dtype} {array.shape}, expected {kind} {shape}, no gaps")
    return address(array)


def gather(rows: Rows | None, shape: tuple[int, ...], width: int) -> Gather:
    """Rows of a table as the library takes them."""
    if rows is None:
        return Gather(None, None, 0)
    limit = len(rows.table)
    numbers = rows.numbers
    if numbers is None and limit != math.prod(shape):
        raise ValueError(f"{limit} rows, expected {shape}")
    at = None if numbers is None else place_of(numbers, shape, INDEX)
    return Gather(place_of(rows.table, (limit, width)), at, limit)


def _fits(recurrent: Packed, cell: str, hidden: int) -> None:
    """Raise ValueError for a matrix that is not this cell's."""
    wanted = CELLS[cell][1] * hidden, hidden
    if recurrent.cell != cell or (recurrent.columns, recurrent.depth) != wanted or hidden % WIDE:
        raise ValueError(f"a matrix packed for {recurrent.cell} is not one of {cell}, {hidden}")
