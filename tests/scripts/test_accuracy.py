"""The accuracy script trains, scores, passes over what is not there, and repeats nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ACCURACY = Path(__file__).parents[2] / "scripts" / "accuracy.py"


def accuracy(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ACCURACY, *map(str, words)], check=True, capture_output=True, text=True
    )


def test_a_set_is_trained_once_and_scored(tmp_path: Path) -> None:
    folder = tmp_path / "benchmarks" / "g2p" / "ita"
    folder.mkdir(parents=True)
    words = ["".join("abcde"[(k // 5**i) % 5] for i in range(3)) for k in range(60)]
    rows = [f"{word}\t{' '.join(word.upper())}\n" for word in words]
    (folder / "train.tsv").write_text("".join(rows[:50]))
    (folder / "dev.tsv").write_text("".join(rows[50:]))
    options = (tmp_path / "benchmarks", "-o", tmp_path / "runs", "--only", "g2p", "--share", "0.02")
    first = accuracy(*options, "--json")
    found = json.loads(first.stdout)
    assert (found["set"], found["examples"]) == ("g2p/ita", 10)
    assert found["wer"] == 100 - found["exact_match"]
    assert "slv is not there" in first.stderr
    assert "ita is not there" not in first.stderr
    second = accuracy(*options)
    assert second.stdout.startswith("g2p/ita ")
    assert f"wer {found['wer']:5.2f} %" in second.stdout
    assert "pair 1" in first.stderr
    assert "pair 1" not in second.stderr  # it was not trained again
