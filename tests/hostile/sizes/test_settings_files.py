"""TOML files that are deep, long or full of digits: one line that names the file, at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from charseq.cli.main import run

SECONDS = 2.0
"""A second, and the time to load what the command needs."""
FILES = {
    "deep arrays": "beam = " + "[" * 5000,
    "deep arrays, closed": "beam = " + "[" * 900 + "]" * 900,
    "deep tables": "beam = " + "{a=" * 600 + "1" + "}" * 600,
    "a number of 100,000 digits": "beam = " + "1" * 100_000,
    "a number of 2,000 digits": "beam = " + "1" * 2_000,
    "a number of 5,000 digits, in lines": "beam = [\n" + "1" * 2_000 + ",\n" + "0" * 2_000 + "]",
    "a hexadecimal number of 2,000 digits": "beam = 0x" + "f" * 2_000,
    "a number of 65 bits": "beam = 18446744073709551616",
    "a column of 65 bits": "[columns]\nsource = 0x1ffffffffffffffff\ntarget = 2",
    "200 KB of dotted keys": "a" + ".a" * 100_000 + " = 1",
    "60 KB of dotted keys": "a" + ".a" * 30_000 + " = 1",
    "dotted keys in a header": "[" + ".".join("a" * 900) + "]\n"
    + "\n".join(f"k{n} = 1" for n in range(6000)),
    "quoted keys": "\n".join('"" . ' * 400 + f"k{n} = 1" for n in range(30)),
    "a long line": "columns = '" + "x" * 60_000 + "'",
    "a large file": "# nothing\n" * 20_000,
    "half a character at the limit": ("# " + "\u20ac" * 600 + "\n") * 60,
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.tsv").write_text("a\tb\nb\tc\n", encoding="utf-8")
    return tmp_path / "data"


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], float]:
    """Exit code, lines on stderr and seconds of a command."""
    begun = time.monotonic()
    code = run(words)
    return code, capsys.readouterr().err.splitlines(), time.monotonic() - begun


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_settings_beside_the_data(
    content: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / "charseq.toml"
    path.write_text(content, encoding="utf-8")
    for words in (["check", str(data)], ["train", str(data), "--dry-run"]):
        code, lines, seconds = told(words, capsys)
        assert code in (1, 2)
        assert len(lines) == 1
        assert lines[0].startswith(f"charseq: error: {path}:")
        assert len(lines[0]) < 600
        assert "internal error" not in lines[0]
        assert seconds < SECONDS


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_ranges_to_tune(content: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    from charseq.training.tuning import space, tune  # noqa: F401 - the time to load is not counted

    path = data.parent / "ranges.toml"
    path.write_text(content, encoding="utf-8")
    words = ["tune", str(data), "--dry-run", "--ranges", str(path), "-o", str(data / "run")]
    code, lines, seconds = told(words, capsys)
    assert code in (1, 2)
    assert len(lines) == 1
    assert lines[0].startswith(f"charseq: error: {path}:")
    assert "internal error" not in lines[0]
    assert seconds < SECONDS
    (data / "charseq.toml").write_text(f"[tune]\n{content}", encoding="utf-8")
    code, lines, seconds = told(words[:3], capsys)
    assert (code in (1, 2), len(lines)) == (True, 1)
    assert "internal error" not in lines[0]
    assert seconds < SECONDS


@pytest.mark.parametrize("name", ["a.b.c = 1", "x = 18446744073709551615", "beam = [1]"])
def test_messages_are_short(name: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "charseq.toml").write_text(name, encoding="utf-8")
    code, lines, _ = told(["train", str(data), "--dry-run"], capsys)
    assert (code in (1, 2), len(lines)) == (True, 1)
    assert lines[0].startswith(f"charseq: error: {data / 'charseq.toml'}:")
