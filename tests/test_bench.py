"""The benchmark runs, for a moment and on a small model, so that it cannot rot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent.parent / "scripts" / "bench.py"


def bench(*words: str) -> str:
    small = ("--rounds", "1", "--seconds", "0.01", "--hidden", "16", "--batch-size", "4")
    done = subprocess.run(
        [sys.executable, BENCH, *small, *words], check=True, capture_output=True, text=True
    )
    return done.stdout


def test_every_rate_is_measured() -> None:
    found = json.loads(bench("--only", "tanh", "--json"))
    assert [row["name"] for row in found["rates"]] == ["train tanh", "greedy tanh", "beam 5 tanh"]
    for row in found["rates"]:
        assert 0 < row["lowest"] <= row["median"] <= row["highest"]
    assert found["batch_size"] == 4


def test_the_table_has_a_row_for_each() -> None:
    lines = bench("--only", "product").splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "product numpy float32",
        "product torch float32",
        "product torch bfloat16",
    ]
