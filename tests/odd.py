"""odd bytes and words -> what every door of charseq does with them: a result, or one line.

``CASES`` are checks by name, each of what it draws itself; the tests run each some thousand times,
``scripts/soak`` for minutes with new seeds. Nothing here may end in another exception than
charseq's own, and nothing may compute for longer than ``SECONDS``.
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
# A seed, and not a strategy for every part, and several cases of each seed: many times as many
# cases in the same time.
EACH = 5


def drawn(case: Callable[[random.Random], None]) -> Callable[[], None]:
    """A hypothesis test of ``EACH`` cases."""

    @given(st.integers(0, 2**62))
    def run(number: int) -> None:
        draw = random.Random(number)
        for _ in range(EACH):
            case(draw)

    return run


def odd_bytes(draw: random.Random) -> bytes:
    """What trips readers, between a few bytes of any kind."""
    parts = [
        draw.choice(BREAKS + WORDS) if draw.random() < 0.7 else draw.randbytes(draw.randint(0, 4))
        for _ in range(draw.randint(0, 12))
    ]
    return b"".join(parts)


def odd_json(draw: random.Random, depth: int = 2) -> Any:
    """A value of any kind that JSON has, and some that it should not have."""
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
def quickly() -> Iterator[None]:
    """The block ends in time."""
    begun = time.process_time()
    yield
    assert time.process_time() - begun < SECONDS


def one_line(fault: CharseqError) -> None:
    """What is told is one line, and not all that the file holds."""
    assert "\n" not in str(fault)
    assert len(str(fault)) < 600


def readers(draw: random.Random) -> None:
    """Every byte comes back in a row, or there is one fault."""
    content, kind = odd_bytes(draw), draw.choice(["text", "tsv", "csv", "jsonl"])
    titled, faulty = draw.random() < 0.5, draw.random() < 0.5
    stdin = SimpleNamespace(buffer=io.BytesIO(content))
    header = "yes" if titled and kind in ("tsv", "csv") else "auto"
    with quickly(), mock.patch.object(sys, "stdin", stdin):
        try:
            table = reader.read_table("-", format=kind, header=header, faulty=faulty)
            rows = [*([table.header_row] if table.header_row else []), *table.rows]
        except DataError as fault:
            one_line(fault)
            told = str(fault)
        else:
            told = ""
    if told:
        assert not faulty or re.search("not closed|expected a header row", told)
        return
    assert b"".join(row.raw for row in rows) == content
    assert not any(row.fault and row.cells for row in rows)


ARRAYS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, dtype=np.float16)}
WHOLE = weights.save_arrays(ARRAYS)


def odd_header(draw: random.Random) -> dict[str, Any]:
    """What a safetensors header may say of arrays, and what it may not."""
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
    """Weights are read, or there is one fault; nothing else, whatever the file says of itself."""
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
    with quickly():
        try:
            found = weights.load_arrays(bytes(content))
        except CheckpointError as fault:
            one_line(fault)
            return
    assert sum(value.nbytes for value in found.values()) <= len(content)


SOUND: dict[str, Any] = Vocabulary("characters", "NFC", "NFC", tuple("abc"), ("V",)).to_json()
CUT: dict[str, Any] = Tokenizer(Vocabulary("spaced", "NFC", "NFC", ("I", "am"))).to_json()


def vocabularies(draw: random.Random) -> None:
    """A vocabulary from a stranger's file is refused, or works on any text."""
    given_one = {**SOUND, draw.choice(sorted(SOUND)): odd_json(draw)}
    text = "".join(draw.choices(LETTERS, k=draw.randint(0, 8)))
    with quickly():
        try:
            if draw.random() < 0.5:
                found = Tokenizer.from_json({**CUT, "vocabulary": given_one}).vocabulary
            else:
                found = Vocabulary.from_json(given_one)
        except CharseqError as fault:
            one_line(fault)
            return
        ids = found.encode(text)
        assert all(0 <= one < len(found) for one in ids)
        found.decode([one for one in ids if one < len(found) - len(found.features)])


def manifests(draw: random.Random) -> None:
    """Whatever a manifest holds, it is one fault."""
    listed = {"format": 1, "files": odd_json(draw), "seal": odd_json(draw)}
    content = json.dumps(listed).encode() if draw.random() < 0.7 else odd_bytes(draw)
    path = SimpleNamespace(parent=Path("run"))
    opened = mock.patch.object(store, "_open_plain", return_value=io.BytesIO(content))
    try:
        with opened:
            store._decode_manifest(path)  # type: ignore[arg-type]
    except CheckpointError as fault:
        one_line(fault)


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """In a folder of its own, with one file of rows."""
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
    """Any words end in an exit code, and in one line where it is not 0."""
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
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    stdin = SimpleNamespace(buffer=io.BytesIO(b"a\tb\n"), isatty=lambda: False)
    with (
        elsewhere(),
        quickly(),
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
