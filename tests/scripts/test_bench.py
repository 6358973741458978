"""The benchmark runs, for a moment and on a small model, so that it cannot rot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from charseq.kernels.matmul import available

BENCH = Path(__file__).parents[2] / "scripts" / "bench.py"


def bench(*words: str) -> str:
    small = ("--rounds", "1", "--seconds", "0.01", "--hidden", "16", "--batch-size", "4")
    done = subprocess.run(
        [sys.executable, BENCH, *small, *words], check=True, capture_output=True, text=True
    )
    return done.stdout


def test_every_rate_is_measured() -> None:
    found = json.loads(bench("--only", "tanh", "--json"))
    assert [row["name"] for row in found["rates"]] == [
        "train tanh",
        "train tanh in torch",
        "train tanh by autograd",
        "recurrence tanh",
        "recurrence tanh in torch",
        "recurrence tanh by autograd",
        "greedy tanh",
        "greedy tanh by NumPy",
        "beam 5 tanh",
        "beam 5 tanh by NumPy",
        "product numpy float32",
        "product torch float32",
        "product torch bfloat16",
        "product library bfloat16",
        "product kernels",
    ]
    assert {name: gain > 0 for name, gain in found["ratios"].items()} == {
        "train tanh over in torch": True,
        "train tanh over by autograd": True,
        "recurrence tanh over in torch": True,
        "recurrence tanh over by autograd": True,
        "greedy tanh over by NumPy": True,
        "beam 5 tanh over by NumPy": True,
    }
    absent = [] if available() else ["product library bfloat16"]
    absent += ["product kernels"] if found["kernels"] == "none" else []
    for row in found["rates"]:
        assert 0 <= row["lowest"] <= row["median"] <= row["highest"]
        assert row["lowest"] > 0 or row["name"] in absent
    searches = ["greedy tanh", "greedy tanh by NumPy", "beam 5 tanh", "beam 5 tanh by NumPy"]
    if found["kernels"] == "none":
        searches = searches[1::2]
    assert list(found["shares"]) == ["train tanh", *searches]
    assert found["shares"]["train tanh"] > 0
    assert found["batch_size"] == 4


def test_the_gain_of_the_derivation_is_told() -> None:
    last = bench("--only", "recurrence gru").splitlines()[-1]
    assert last.startswith("recurrence gru over by autograd ")
    assert last.endswith(" times")


def test_the_table_has_a_row_for_each() -> None:
    lines = bench("--only", "product").splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "product numpy float32",
        "product torch float32",
        "product torch bfloat16",
        "product library bfloat16",
        "product kernels",
    ]


def test_hard_attention_and_large_batches_are_measured() -> None:
    found = json.loads(bench("--only", "greedy lstm", "--json"))
    names = [row["name"] for row in found["rates"] if row["unit"] == "words/s"]
    assert names[::2] == [
        "greedy lstm", "greedy lstm, hard", "greedy lstm, 512", "greedy lstm, hard, 512",
    ]  # fmt: skip
    assert names[1::2] == [f"{name} by NumPy" for name in names[::2]]


def test_words_are_measured_as_well() -> None:
    found = json.loads(bench("--only", "next word, 15,000", "--json"))
    assert [(row["name"], row["unit"]) for row in found["rates"]] == [
        ("next word, 15,000, all", "words/s"),
        ("next word, 15,000, 2000", "words/s"),
        ("next word, 15,000, latency", "s"),
    ]
    assert all(row["lowest"] > 0 for row in found["rates"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, BENCH, "--device", "cuda"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "Error: device is cuda, but torch finds no CUDA device here: use device='cpu'\n"
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_the_rates_of_a_gpu_are_measured() -> None:
    rows = json.loads(bench("--device", "cuda", "--only", "gru", "--json"))["rates"]
    assert {row["batch"] for row in rows} == {64, 512, 4096}
    assert all(row["median"] > 0 for row in rows)


def test_every_way_of_a_gpu_has_a_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that can be said of it without one: names, units, and a table with a column a batch."""
    monkeypatch.syspath_prepend(BENCH.parent)
    import bench_gpu

    made = bench_gpu.variants(16, 4, 0.01, torch.device("cpu"))
    assert {unit for unit, _ in made.values()} == {"sequences/s", "examples/s", "words/s"}
    assert {f"train {cell}{how}" for cell in bench_gpu.CELLS for how in ("", ", not recorded")} < {
        *made
    }
    rows = [
        {"name": "train gru", "batch": batch, "median": 1000.0 * batch, "unit": "examples/s"}
        for batch in (64, 512)
    ]
    first, *lines = bench_gpu.table({"machine": "a card"}, rows).split("\n")
    assert first == "machine a card"
    assert [line.split() for line in lines] == [
        ["batch", "64", "512"],
        ["train", "gru", "64,000", "512,000", "examples/s"],
    ]
