"""Files of rows for the tests of formats: written, read, and written again with new columns."""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import strategies as st

from charseq.data.formats.reader import read_table
from charseq.data.formats.rows import Row
from charseq.data.formats.writer import replacing, writing
from charseq.errors import CharseqError

# Characters that some reader somewhere takes for a line end, a blank, a quote or nothing at all.
ODD = "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e\u00a0\u3000\ufeff\x00\"',;\\# null"
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\t")
CELL = st.text(LETTERS | st.sampled_from(ODD), max_size=6)
QUOTED = CELL | st.sampled_from(["a\nb", "\r\n", "\r", '"\n"', ',"\n,'])
TABLES = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=6)
)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def read(folder: Path, name: str, content: str | bytes, **options: str) -> list[Row]:
    return list(read_table(write(folder, name, content), **options).rows)


def cells(folder: Path, name: str, content: str | bytes, **options: str) -> list[tuple[Any, ...]]:
    return [row.cells for row in read(folder, name, content, **options)]


def fault(folder: Path, name: str, content: str | bytes, **options: str) -> CharseqError:
    """What reading the whole file raises; its message has the folder cut off."""
    path = write(folder, name, content)
    with pytest.raises(CharseqError) as caught:
        list(read_table(path, **options).rows)
    return caught.value


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))


def rewrite(
    content: bytes,
    folder: Path,
    name: str,
    names: Sequence[str],
    values: Sequence[str],
    *,
    header: str = "no",
    force: bool = False,
) -> bytes:
    """The file's bytes after every row got the same new ``values``; blank lines are kept."""
    source, target = folder / f"in.{name}", folder / f"out.{name}"
    source.write_bytes(content)
    table = read_table(source, header=header, format="text" if name == "txt" else "auto")
    with (
        replacing(target, force=True) as file,
        writing(table, file, names, force=force) as write,
    ):
        for window in table.windows:
            write(window, [values if row.cells else None for row in window.rows])
    return target.read_bytes()


def faulty(folder: Path, name: str, content: bytes, **options: Any) -> list[Row]:
    (folder / name).write_bytes(content)
    return list(read_table(folder / name, faulty=True, **options).rows)
