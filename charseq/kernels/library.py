"""native/*.c -> functions on arrays: the compiled kernels, where a C compiler built them.

The library is plain C (see ``native/README.md``), built with charseq where there is a compiler.
:func:`find` returns None where there is no library; callers then use NumPy or torch, and
:func:`absence` says so. A source tree in which nothing was built takes the library of the installed
charseq.

A row is the numbers of one text, padded with zeros to whole vectors of ``VECTOR``. A row's results
depend on that row alone, to the last bit. Everything is float32, row numbers are int64, and type,
shape and layout of every array are checked here.

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
from charseq.kernels.cell_table import CELLS
from charseq.kernels.layout import VECTOR, address, empty, pad_rows, zeros

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64, Shaped

VERSION = 12
"""Version of the library in ``native.h``; a library of another version is not loaded."""
LEVELS = ("plain", "avx2", "avx512", "amx")
"""Instruction sets that the kernels are compiled for; a processor runs all up to its own."""
VARIABLE = "CHARSEQ_KERNELS"

FLOAT, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
INDEX, FLAG = np.dtype(np.int64), np.dtype(np.bool_)
_POINTER = ctypes.c_void_p
_NO_CELL = -1
_NO_MEMORY, _UNFINISHED = 1, 3
MULTIPLICATIONS = 2**28
"""Work of one call, a tenth of a second: Python takes no signal while a call of C runs."""


class RowGather(ctypes.Structure):
    """``struct gather`` of ``native.h``."""

    _fields_ = (("table", ctypes.c_void_p), ("rows", ctypes.c_void_p), ("limit", ctypes.c_int64))


def structure(name: str, numbers: str, pointers: str) -> type[ctypes.Structure]:
    """A structure of ``native.h``: numbers, then pointers, and gathers where a name ends in *."""
    fields: list[tuple[str, Any]] = [(field, ctypes.c_int64) for field in numbers.split()]
    for field in pointers.split():
        kind = RowGather if field.endswith("*") else ctypes.c_void_p
        fields.append((field.rstrip("*"), kind))
    return type(name, (ctypes.Structure,), {"_fields_": tuple(fields)})


_Run = structure(
    "Run",
    "cell count steps hidden backward width offset begin end",
    "order lengths first* second* recurrent memory last state",
)
_Step = structure("Step", "cell count hidden", "first* second* recurrent state after")
_Product = structure("Product", "begin end depth columns tanh", "rows weight bias addend* out")
_Attend = structure(
    "Attend",
    "begin end texts width stored steps hidden value",
    "numbers queries keys values lengths context",
)
_Softmax = structure("Softmax", "count columns advance_from eos", "ended rows")


@dataclass(frozen=True)
class Packed:
    """A matrix packed for products: ``columns`` are its rows, ``depth`` its columns, padded."""

    numbers: Float32[np.ndarray, "P"]
    columns: int
    depth: int
    cell: str | None
    bias: Float32[np.ndarray, "M"] | None
    """Added to every row of the product."""
    address: int
    bias_address: int | None


@dataclass(frozen=True)
class Rows:
    """Rows of a table by their numbers, to be added row by row."""

    table: Float32[np.ndarray, "M W"]
    numbers: Int64[np.ndarray, "*N"] | None = None
    """None: row i of the table belongs to row i."""


class Kernels:
    """The library's functions at one level of the processor."""

    def __init__(self, library: ctypes.CDLL, level: str) -> None:
        """Raises ValueError for a level that is not among those of :func:`levels_of`."""
        if level not in levels_of(library):  # which also requests AMX from the system
            raise ValueError(f"this processor does not run {level}")
        self.level = level
        self.library = library
        self.number = LEVELS.index(level)
        library.charseq_packed.restype = ctypes.c_int64
        library.charseq_packed.argtypes = (ctypes.c_int32, ctypes.c_int64, ctypes.c_int64)
        library.charseq_pack.restype = None
        library.charseq_pack.argtypes = (
            ctypes.c_int32, _POINTER, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, _POINTER,
        )  # fmt: skip
        library.charseq_run_state.restype = ctypes.c_int64
        library.charseq_run_state.argtypes = (ctypes.c_int64, ctypes.c_int64)
        library.charseq_expand.restype = None
        library.charseq_expand.argtypes = (_POINTER,) * 2 + (ctypes.c_int64,) * 5 + (_POINTER,) * 3

    def pack(
        self,
        matrix: Float32[np.ndarray, "M K"],
        bias: Float32[np.ndarray, "M"] | None = None,
        *,
        cell: str | None = None,
        fill: float = 0.0,
    ) -> Packed:
        """A matrix for :meth:`product`, or a cell's interleaved recurrent matrix for its steps.

        The bias is padded with ``fill``.
        """
        if bias is not None and len(bias) != len(matrix):
            raise ValueError(f"{len(bias)} numbers are no bias of {len(matrix)}")
        given = pad_rows(matrix)
        if given.shape[0] % VECTOR:
            given = np.concatenate([given, zeros(-len(given) % VECTOR, given.shape[1])])
        columns, depth = given.shape
        numbers = empty(self.library.charseq_packed(self.number, columns, depth))
        self.library.charseq_pack(
            self.number,
            pointer_to(np.ascontiguousarray(given), (columns, depth)),
            columns,
            depth,
            _NO_CELL if cell is None else number_of(cell),
            pointer_to(numbers, numbers.shape),
        )
        added = None if bias is None else pad_rows(bias, fill)
        bias_address = None if added is None else pointer_to(added, (columns,))
        return Packed(
            numbers, columns, depth, cell, added, pointer_to(numbers, numbers.shape), bias_address
        )

    def product(
        self,
        weight: Packed,
        rows: Float32[np.ndarray, "N K"],
        *,
        addend: Rows | None = None,
        tanh: bool = False,
    ) -> Float32[np.ndarray, "N M"]:
        """Rows times the transposed matrix, plus bias, plus ``addend``; with ``tanh`` its tanh."""
        if weight.cell is not None:
            raise ValueError("the matrix was packed for the steps of a cell")
        count, columns = len(rows), weight.columns
        out = empty(count, columns)
        what = _Product(
            0, count, weight.depth, columns, tanh,
            pointer_to(rows, (count, weight.depth)), weight.address, weight.bias_address,
            gather(addend, (count,), columns), pointer_to(out, out.shape),
        )  # fmt: skip
        self._in_portions("product", what, count, weight.depth * columns)
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
        number, gates, states = number_of(cell), CELLS[cell].gates, CELLS[cell].states
        _, count, hidden = state.shape
        _fits(recurrent, cell, hidden)
        self.call(
            "step",
            _Step(
                number, count, hidden,
                gather(first, (count,), gates * hidden),
                gather(second, (count,), gates * hidden),
                recurrent.address,
                pointer_to(state, (states, count, hidden)),
                pointer_to(after, (states, count, hidden)),
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
        """All steps of one direction of a layer, with ``backward`` from each row's last symbol.

        ``memory`` receives h after each symbol and ``last`` the state after the last one, in
        columns from ``offset`` on; beyond a row's length ``memory`` is zero.
        """
        number, gates, states = number_of(cell), CELLS[cell].gates, CELLS[cell].states
        count, steps, width = memory.shape
        hidden = recurrent.depth
        _fits(recurrent, cell, hidden)
        if not 0 <= offset <= width - hidden:
            raise ValueError(f"{hidden} numbers from {offset} on are not within rows of {width}")
        order = np.argsort(-lengths, kind="stable")
        what = _Run(
            number, count, steps, hidden, backward, width, offset, 0, steps,
            pointer_to(order, (count,), INDEX), pointer_to(lengths, (count,), INDEX),
            gather(first, (count, steps), gates * hidden),
            gather(second, (count,), gates * hidden),
            recurrent.address,
            pointer_to(memory, (count, steps, width)),
            pointer_to(last, (states, count, width)),
        )  # fmt: skip
        work = count * gates * hidden * hidden
        if steps * work > MULTIPLICATIONS:
            kept = empty(self.library.charseq_run_state(count, hidden))
            what.state = pointer_to(kept, kept.shape)
        self._in_portions("run", what, steps, work)

    def attend(
        self,
        queries: Float32[np.ndarray, "N H"],
        keys: Float32[np.ndarray, "T S H"],
        values: Float32[np.ndarray, "T S E"],
        lengths: Int64[np.ndarray, "T"],
        texts: Int64[np.ndarray, "M"],
    ) -> Float32[np.ndarray, "N E"]:
        """Soft attention's context of each row; equally many rows attend to each of ``texts``."""
        count, hidden = queries.shape
        stored, steps, value = values.shape
        if not len(texts) or count % len(texts):
            raise ValueError(f"{count} rows cannot attend to {len(texts)} texts")
        context = empty(count, value)
        what = _Attend(
            0, count, len(texts), count // len(texts), stored, steps, hidden, value,
            pointer_to(texts, texts.shape, INDEX), pointer_to(queries, (count, hidden)),
            pointer_to(keys, (stored, steps, hidden)),
            pointer_to(values, (stored, steps, value)),
            pointer_to(lengths, (stored,), INDEX), pointer_to(context, (count, value)),
        )  # fmt: skip
        self._in_portions("attend", what, count, steps * (hidden + value))
        return context

    def log_softmax(
        self,
        rows: Float32[np.ndarray, "N V"],
        *,
        ended: Bool[np.ndarray, "N"] | None = None,
        advance_from: int = 0,
        eos: int = 0,
    ) -> None:
        """Logits to log-probabilities, in place.

        With ``ended``, rows that have ended do not write symbols from ``advance_from`` on, others
        not ``eos``.
        """
        count, columns = rows.shape
        if not (0 <= advance_from <= columns and 0 <= eos < columns):
            raise ValueError(f"{advance_from} or {eos} is no symbol of {columns}")
        last = None if ended is None else pointer_to(ended, (count,), FLAG)
        self.call(
            "softmax",
            _Softmax(count, columns, advance_from, eos, last, pointer_to(rows, (count, columns))),
        )

    def expand(
        self, scores: Float64[np.ndarray, "B W"], logs: Float32[np.ndarray, "B W V"]
    ) -> tuple[Int64[np.ndarray, "B C"], Int64[np.ndarray, "B C"], Float64[np.ndarray, "B C"]]:
        """The 2 W best continuations of each text, as in ``decoding.search``."""
        count, width, symbols = logs.shape
        wanted = min(2 * width, width * symbols)
        parents, chosen = np.empty((2, count, wanted), dtype=np.int64)
        totals = np.empty((count, wanted))
        stride = logs.strides[1] // logs.itemsize
        if logs.strides != (width * stride * 4, stride * 4, 4) or logs.dtype != np.float32:
            logs, stride = np.ascontiguousarray(logs, dtype=np.float32), symbols
        self.library.charseq_expand(
            pointer_to(scores, (count, width), DOUBLE), address(logs),
            count, width, symbols, stride, wanted,
            *(address(out) for out in (parents, chosen, totals)),
        )  # fmt: skip
        return parents, chosen, totals

    def call(self, name: str, what: ctypes.Structure) -> bool:
        """One function of the library; whether it has to be called again to go on."""
        code = getattr(self.library, f"charseq_{name}")(self.number, ctypes.byref(what))
        if code == _UNFINISHED:
            return True
        if code == _NO_MEMORY:
            raise MemoryError
        if code:
            raise IndexError(f"{name}: a number of a row, or a length, is out of range")
        return False

    def _in_portions(
        self, name: str, what: ctypes.Structure, count: int, multiplications: int
    ) -> None:
        """A function over ``count`` rows or steps of so many multiplications each.

        Python takes signals between two calls.
        """
        size = max(1, MULTIPLICATIONS // max(1, multiplications))
        if count <= size:
            self.call(name, what)
            return
        for first in range(0, count, size):
            what.begin, what.end = first, min(first + size, count)
            self.call(name, what)


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
    library = load(Path(__file__).parent / "native") or _load_installed()
    if library is None:
        return None
    able = levels_of(library)
    if wanted != "auto" and wanted not in able:
        raise SettingError(f"{VARIABLE} is {wanted}, but this processor runs {', '.join(able)}")
    return Kernels(library, able[-1] if wanted == "auto" else wanted)


def absence() -> str:
    """A line for people where the kernels are wanted and there are none; else nothing.

    Raises:
        SettingError: as :func:`find`.
    """
    wanted = os.environ.get(VARIABLE) or "auto"
    if wanted == "off" or find() is not None:
        return ""
    return (
        "compiled kernels not found, up to three times slower: install charseq where there is a C "
        "compiler (cc)"
    )


def _load_installed() -> ctypes.CDLL | None:
    """The library of an installed charseq, where this one is a source tree without a library."""
    import sysconfig  # slow to load, and needed by source trees alone

    places = dict.fromkeys(sysconfig.get_path(name) for name in ("platlib", "purelib"))
    found = (load(Path(place, "charseq", "kernels", "native")) for place in places)
    return next((library for library in found if library is not None), None)


def levels_of(library: ctypes.CDLL) -> tuple[str, ...]:
    """The levels that the processor and the system support, the best last."""
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


def pointer_to(
    array: Shaped[np.ndarray, "..."], shape: tuple[int, ...], kind: np.dtype[Any] = FLOAT
) -> int:
    """The address of an array that has the shape, type and layout that the library expects.

    Raises:
        ValueError: another shape, type or layout.
    """
    if array.shape != shape or array.dtype != kind or not array.flags.c_contiguous:
        raise ValueError(f"an array {array.dtype} {array.shape}, expected {kind} {shape}, no gaps")
    return address(array)


def number_of(cell: str) -> int:
    """The library's number of a cell. Raises ValueError for a cell that it does not have."""
    native = CELLS[cell].native if cell in CELLS else None
    if native is None:
        raise ValueError(f"the compiled library has no cell {cell}")
    return native.number


def has_cell(cell: str) -> bool:
    """Whether the compiled library has a cell."""
    return cell in CELLS and CELLS[cell].native is not None


def gather(rows: Rows | None, shape: tuple[int, ...], width: int) -> RowGather:
    """``struct gather`` of rows of a table."""
    if rows is None:
        return RowGather(None, None, 0)
    limit = len(rows.table)
    numbers = rows.numbers
    if numbers is None and limit != math.prod(shape):
        raise ValueError(f"{limit} rows, expected {shape}")
    at = None if numbers is None else pointer_to(numbers, shape, INDEX)
    return RowGather(pointer_to(rows.table, (limit, width)), at, limit)


def _fits(recurrent: Packed, cell: str, hidden: int) -> None:
    """Raise ValueError for a matrix that is not this cell's."""
    wanted = CELLS[cell].gates * hidden, hidden
    if recurrent.cell != cell or (recurrent.columns, recurrent.depth) != wanted or hidden % VECTOR:
        raise ValueError(f"a matrix packed for {recurrent.cell} is not one of {cell}, {hidden}")
