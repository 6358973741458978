"""Random checks of everything that reads foreign input: readers, weights, vocabularies, options.

``CASES`` are checks by name. Each takes a random generator, draws its input and raises an error if
charseq fails on it. The tests run every check some thousand times, ``scripts/soak`` runs them for
minutes with new seeds. charseq may only raise its own exceptions, with one line of text, and may
not compute for longer than ``SECONDS``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import click
import numpy as np
from arrays import save_arrays
from hypothesis import given
from hypothesis import strategies as st

from charseq.cli import main
from charseq.data.formats import reader
from charseq.data.text.tokenizer import Tokenizer
from charseq.data.text.vocabulary import Vocabulary
from charseq.errors import CharseqError, CheckpointError, DataError
from charseq.runs import store, weights

SECONDS = 5.0
NUMBERS = [-1, 0, 1, 2, 3, 8, 24, 2**31, 2**53, 2**63, 2**200, 1.5, True, None, "2"]
LETTERS = ["a", "b", "ß", "\u0301", " ", "\t", "\n", "\ud800", "\u2581", "한", "👩\u200d👧"]
BREAKS = [b"\n", b"\r\n", b"\r", b"\t", b",", b'"', b'""', b"{", b"}", b"[", b":", b"\0", b"\xff"]
WORDS = [b"source", b"target", b'{"source": "a"}', b"null", b"NaN", b"1e999", b"\xef\xbb\xbf"]
CASES_PER_SEED = 5
"""Hypothesis draws a seed only, and each seed gives several cases: many more in the same time."""


def drawn(case: Callable[[random.Random], None]) -> Callable[[], None]:
    """A hypothesis test, with several cases for each example."""

    @given(st.integers(0, 2**62))
    def run(number: int) -> None:
        draw = random.Random(number)
        for _ in range(CASES_PER_SEED):
            case(draw)

    return run


def odd_bytes(draw: random.Random) -> bytes:
    """Line ends, quotes, brackets and other signs of file formats, between a few random bytes."""
    parts = [
        draw.choice(BREAKS + WORDS) if draw.random() < 0.7 else draw.randbytes(draw.randint(0, 4))
        for _ in range(draw.randint(0, 12))
    ]
    return b"".join(parts)


def odd_json(draw: random.Random, depth: int = 2) -> Any:
    """A value of any type in JSON, and numbers that JSON does not allow."""
    kind = draw.randrange(9 if depth else 7)
    if kind == 7:
        return [odd_json(draw, depth - 1) for _ in range(draw.randint(0, 3))]
    if kind == 8:
        return {draw.choice(LETTERS): odd_json(draw, depth - 1) for _ in range(draw.randint(0, 3))}
    text = "".join(draw.choices(LETTERS, k=draw.randint(0, 4)))
    return (None, True, draw.choice(NUMBERS), draw.choice(NUMBERS), 1e400, text, draw.random())[
        kind
    ]


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """A block that may compute for ``SECONDS``."""
    begun = time.process_time()
    yield
    assert time.process_time() - begun < SECONDS


def check_message(fault: CharseqError) -> None:
    """Check that a message is one line, and does not quote a whole file."""
    assert "\n" not in str(fault)
    assert len(str(fault)) < 600


def readers(draw: random.Random) -> None:
    """Every byte is part of a row, or the reader raises one error."""
    content, kind = odd_bytes(draw), draw.choice(["text", "tsv", "csv", "jsonl"])
    titled, faulty = draw.random() < 0.5, draw.random() < 0.5
    stdin = SimpleNamespace(buffer=io.BytesIO(content))
    header = "yes" if titled and kind in ("tsv", "csv") else "auto"
    with time_limit(), mock.patch.object(sys, "stdin", stdin):
        try:
            table = reader.read_table("-", format=kind, header=header, faulty=faulty)
            head = [table.header_row] if table.header_row else []
            rows = [*table.preamble, *head, *table.rows]
        except DataError as fault:
            check_message(fault)
            message = str(fault)
        else:
            message = ""
    if message:
        told = "not closed|expected a header row|in CR alone|, expected text|truncated data"
        assert not faulty or re.search(told, message)
        return
    assert table.format.stored(b"".join(row.raw for row in rows)) == content
    assert not any(row.fault and row.cells for row in rows)


ARRAYS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, dtype=np.float16)}
WHOLE = save_arrays(ARRAYS)


def odd_header(draw: random.Random) -> dict[str, Any]:
    """A safetensors header, with valid and invalid entries."""
    parts: dict[str, Callable[[], Any]] = {
        "dtype": lambda: draw.choice(["F32", "F32", "F16", "BOOL", "O", "", 7]),
        "shape": lambda: [draw.choice(NUMBERS) for _ in range(draw.randint(0, 3))],
        "data_offsets": lambda: [draw.choice(NUMBERS) for _ in range(draw.randint(1, 3))],
        "code": lambda: "import os",
    }
    return {
        draw.choice(["w", "b", "__metadata__", "", "\n"]): {
            name: make() for name, make in parts.items() if draw.random() < 0.85
        }
        for _ in range(draw.randint(0, 3))
    }


def headers(draw: random.Random) -> None:
    """Weights are read, or the reader raises one error, whatever the header claims."""
    content = bytearray(WHOLE)
    kind = draw.randrange(3)
    if kind == 0:
        content = bytearray(draw.randbytes(draw.randint(0, 60)))
    elif kind == 1:
        header = json.dumps(odd_header(draw)).encode()
        body = draw.randbytes(draw.choice([0, 4, 8, 24, 30]))
        content = bytearray(len(header).to_bytes(8, "little") + header + body)
    else:
        for _ in range(draw.randint(0, 4)):
            content[draw.randrange(len(content))] = draw.randrange(256)
    with time_limit():
        try:
            found = weights.load_arrays(bytes(content))
        except CheckpointError as fault:
            check_message(fault)
            return
    assert sum(value.nbytes for value in found.values()) <= len(content)


SOUND: dict[str, Any] = Vocabulary("characters", "NFC", "NFC", tuple("abc"), ("V",)).to_json()
CUT: dict[str, Any] = Tokenizer(Vocabulary("spaced", "NFC", "NFC", ("I", "am"))).to_json()


def vocabularies(draw: random.Random) -> None:
    """A foreign vocabulary is refused, or encodes and decodes any text."""
    given_one = {**SOUND, draw.choice(sorted(SOUND)): odd_json(draw)}
    text = "".join(draw.choices(LETTERS, k=draw.randint(0, 8)))
    with time_limit():
        try:
            if draw.random() < 0.5:
                found = Tokenizer.from_json({**CUT, "vocabulary": given_one}).vocabulary
            else:
                found = Vocabulary.from_json(given_one)
        except CharseqError as fault:
            check_message(fault)
            return
        ids = found.encode(text)
        assert all(0 <= one < len(found) for one in ids)
        found.decode([one for one in ids if one < len(found) - len(found.features)])


def manifests(draw: random.Random) -> None:
    """A damaged manifest is one error."""
    listed = {"format": 1, "files": odd_json(draw), "seal": odd_json(draw)}
    content = json.dumps(listed).encode() if draw.random() < 0.7 else odd_bytes(draw)
    path = SimpleNamespace(parent=Path("run"))
    opened = mock.patch.object(store, "open_plain", return_value=io.BytesIO(content))
    try:
        with opened:
            store._decode_manifest(path)  # type: ignore[arg-type]
    except CheckpointError as fault:
        check_message(fault)


@contextlib.contextmanager
def working_folder() -> Iterator[None]:
    """A block in a new working folder, with one file of rows."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        Path("rows.tsv").write_text("source\ttarget\na\tb\nc\td\n", encoding="utf-8")
        try:
            yield
        finally:
            os.chdir(before)


FLAGS = sorted(
    {
        (name, flag)
        for name, command in main.program.commands.items()
        for option in command.params
        if isinstance(option, click.Option)
        for flag in option.opts
        if flag not in ("-h", "--help")
    }
)
VALUES = [
    "", "-", "0", "-1", "1", "nan", "inf", "1e400", "2**9", "a=b", "hidden=x", "hidden=8", "=",
    "rows.tsv", "none", ".", "..", "rows.tsv/x", "\udcff", "a\nb", "\x1b[2J", "source", "ß",
]  # fmt: skip


def words(draw: random.Random) -> None:
    """Any command line ends with an exit code, and with a message if the code is not 0."""
    command = draw.choice(sorted(main.program.commands))
    own = [flag for name, flag in FLAGS if name == command]
    line = [command]
    for _ in range(draw.randint(0, 3)):
        kinds = ([draw.choice(VALUES)], [draw.choice(own), draw.choice(VALUES)], [draw.choice(own)])
        line += draw.choice(kinds)
    if command in ("train", "tune"):  # nothing is trained here
        line[1:1] = ["none"]
    if command == "gradients":
        line.append("--sheet=X")
    if command == "serve":  # nothing is served: there is no such run
        line += ["-m", "none"]
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    stdin = SimpleNamespace(buffer=io.BytesIO(b"a\tb\n"), isatty=lambda: False)
    with (
        working_folder(),
        time_limit(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "stdin", stdin),
    ):
        code = main.run(line)
    assert code in (0, 1, 2), (line, code, err.getvalue())
    assert "internal error" not in err.getvalue(), (line, err.getvalue())
    assert "Traceback" not in err.getvalue() or "--debug" in line, line
    assert code == 0 or err.getvalue() or "verify" in line, line


CASES: dict[str, Callable[[random.Random], None]] = {
    "readers": readers,
    "headers": headers,
    "vocabularies": vocabularies,
    "manifests": manifests,
    "words": words,
}
