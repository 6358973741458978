"""Odd files under a limit of memory: wide rows, ever new keys, dictionaries, one long text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charseq.data.formats.reader import read_table

CHILD = """
import resource, sys
from types import SimpleNamespace as S
from charseq.errors import CharseqError
from charseq.inference.convert import convert
if sys.argv[1].endswith("parquet"):
    import pyarrow.parquet

def current():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()

def peak():  # in kB; that of getrusage would be the parent's
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

def predict(texts, **options):
    if max(map(len, texts)) > 10**6:
        bytearray(1000 * max(map(len, texts)))
    best = S(prediction="x")
    return [S(prediction="x", unknown=[], truncated=False, origin="model", candidates=[best])
            for _ in texts]

before = peak()
limit = current() + int(sys.argv[3]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    found = convert(S(has_features=False, predict=predict), sys.argv[1], sys.argv[2],
                    column=sys.argv[4] or None)
except CharseqError as fault:
    sys.exit(str(fault))
print(found.rows, found.rejected)
print((peak() - before) // 1024, file=sys.stderr)
"""
ARROW = 4096
"""Megabytes of address space that Arrow may reserve; what it really takes is measured."""


def child(source: Path, megabytes: int, column: str) -> subprocess.CompletedProcess[str]:
    out = source.with_name(f"out.{source.name}")
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(source), str(out), str(megabytes), column],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_wide_rows(tmp_path: Path) -> None:
    """5,000 rows of 60 KB are 300 MB."""
    with (tmp_path / "a.tsv").open("w") as file:
        file.write("w\twide\n")
        for number in range(5000):
            file.write(f"{number % 10}\t{'x' * 60_000}\n")
    done = child(tmp_path / "a.tsv", 120, "w")
    assert done.stdout == "5000 0\n", done.stderr[-500:]


def test_ever_new_keys(tmp_path: Path) -> None:
    """80,000 rows with 20 keys that no other row has take 200 MB if all are remembered."""
    with (tmp_path / "a.jsonl").open("w") as file:
        for row in range(80_000):
            new = ", ".join(f'"key {row} {number}": 0' for number in range(20))
            file.write(f'{{"w": "{row % 10}", {new}}}\n')
    done = child(tmp_path / "a.jsonl", ARROW, "w")
    assert done.stdout == "80000 0\n", done.stderr[-500:]
    assert int(done.stderr) < 135, "megabytes"


@pytest.mark.parametrize("kind", ["wide", "coded", "repeated"])
def test_parquet(tmp_path: Path, kind: str) -> None:
    rows = {"wide": 5_000, "coded": 200_000, "repeated": 20_000}[kind]
    source = tmp_path / "a.parquet"
    if kind == "coded":  # the dictionary has 20 MB, and each batch gets a copy
        wide = pa.array([f"{row:0100d}" for row in range(rows)]).dictionary_encode()
    else:
        texts = [f"{row % 20} {'x' * 60_000}" for row in range(20 if kind == "repeated" else rows)]
        wide = pa.array([texts[row % len(texts)] for row in range(rows)], pa.large_string())
    schema = pa.schema([("w", pa.string()), ("wide", wide.type)])
    with pq.ParquetWriter(source, schema, use_dictionary=kind != "wide") as writer:
        words = pa.array([str(row % 10) for row in range(rows)])
        writer.write_table(pa.table([words, wide], schema=schema), row_group_size=10_000)
    done = child(source, ARROW, "w")
    assert done.stdout == f"{rows} 0\n", done.stderr[-500:]
    assert int(done.stderr) < 450, "megabytes"
    out = tmp_path / "out.a.parquet"
    assert pq.read_schema(out).field("wide").type == wide.type
    if kind == "coded":
        assert out.stat().st_size < 3 * source.stat().st_size
        assert pq.read_table(out)["wide"].slice(0, 3).to_pylist() == wide.slice(0, 3).to_pylist()


def test_a_text_of_parquet_that_is_not_utf_8_is_one_rejected_row(tmp_path: Path) -> None:
    binary = pa.array([b"a", b"\xe9", b"c", None])
    text = pa.StringArray.from_buffers(4, binary.buffers()[1], binary.buffers()[2],
                                       binary.buffers()[0])  # fmt: skip
    source = tmp_path / "a.parquet"
    pq.write_table(pa.table({"w": text, "other": ["x", "y", "z", ""]}), source)
    done = child(source, ARROW, "w")
    assert done.stdout == "4 1\n", done.stderr[-500:]
    rejects = (tmp_path / "out.a.parquet.rejects.jsonl").read_text()
    assert '"line": 2' in rejects
    assert "bytes, expected text in UTF-8" in rejects
    table = read_table(source)
    assert [row.cells[1] for row in table.rows] == ["x", "y", "z", ""]


def test_one_long_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\nb\n" + "x" * 2_000_000 + "\nc\n")
    done = child(tmp_path / "a.txt", 500, "")
    assert done.returncode == 1
    assert done.stderr == (
        f"{tmp_path / 'a.txt'}:3: memory is too short for a text of 2,000,000 characters: shorten "
        "it, or give the process more\n"
    )


def test_a_journal_does_not_grow_with_what_is_in_its_place(tmp_path: Path) -> None:
    """A journal with a hole of 8 GB is read no further than a line may be long."""
    from charseq.inference.journal import journal_path

    (tmp_path / "a.txt").write_text("a\n")
    with journal_path(tmp_path / "out.a.txt").open("wb") as file:
        file.truncate(8 * 2**30)
    program = CHILD.replace("column=sys.argv[4] or None", "kept_for='m'")
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.txt"), str(tmp_path / "out.a.txt"),
         "200", ""], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "1 0\n", done.stderr[-500:]
