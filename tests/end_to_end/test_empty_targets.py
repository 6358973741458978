"""Pairs with empty targets: from the data to the answers that there is no answer."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

import charseq

CODES, WORDS = ("ab", "bc", "ca", "cb", "ac", "ba"), ("d e", "e f", "f d", "e d")


def ran(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "charseq", *words],
        check=False,
        capture_output=True,
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Codes are written in capitals; words with a space in them are none, and have no answer."""
    folder = tmp_path_factory.mktemp("empty") / "codes"
    folder.mkdir()
    draw = Random(1)
    rows = []
    for _ in range(420):
        one, other = draw.choice(CODES), draw.choice(CODES)
        rows += [f"{one}{other}\t{one.upper()}{other.upper()}\n", f"{draw.choice(WORDS)}{one}\t\n"]
    (folder / "train.tsv").write_text("".join(rows[:800]), encoding="utf-8")
    (folder / "dev.tsv").write_text("".join(rows[800:]), encoding="utf-8")
    (folder / "charseq.toml").write_text("empty_targets = true\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=["hard", "soft", "none"])
def run(
    data: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    path = tmp_path_factory.mktemp("empty") / str(request.param)
    found = ran(
        "train", str(data), "-o", str(path), "--attention", request.param, "--epochs", "30",
        "--set", "counts=none",
        "--hidden", "32", "--set", "embedding=16", "--seed", "2", "--threads", "1", "-q",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return path


def test_the_run_says_that_there_is_no_answer(run: Path, data: Path, tmp_path: Path) -> None:
    model = charseq.load(run)
    code, word = model.predict(["abca", "d eab"])
    assert (code.prediction, word.prediction, word.truncated) == ("ABCA", "", False)
    assert word.probability > 0.3
    assert model.metadata["settings"]["empty_targets"] is True
    said = ran("predict", "-m", str(run), "abca", "d eab")
    assert said.stdout == "ABCA\n\n"
    assert "no answer to 'd eab'" in said.stderr
    said = ran("predict", "-m", str(run), "--json", "d eab")
    assert json.loads(said.stdout)["prediction"] == ""
    assert json.loads(said.stdout)["probability"] == word.probability
    table = tmp_path / "codes.csv"
    table.write_text("id,code\n1,abca\n2,d eab\n", encoding="utf-8")
    out = tmp_path / "new.csv"
    found = ran(
        "convert", str(table), "-m", str(run), "--column", "code", "--to", "big", "-o", str(out)
    )
    assert found.returncode == 0, found.stderr
    with out.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["id", "code", "big", "big_note"], ["1", "abca", "ABCA", ""],
            ["2", "d eab", "", "no answer"],
        ]  # fmt: skip
    found = ran("evaluate", str(data), "-m", str(run), "--split", "dev", "--json")
    assert json.loads(found.stdout)["exact_match"] > 95


def test_without_the_setting_such_rows_are_refused_and_no_output_is_empty(
    data: Path, tmp_path: Path
) -> None:
    other = tmp_path / "plain"
    other.mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (other / name).write_bytes((data / name).read_bytes())
    found = ran("train", str(other), "-o", str(tmp_path / "run"), "--epochs", "1", "-q")
    assert found.returncode == 1
    assert "train.tsv:2: the target is empty" in found.stderr
    assert "--empty-targets takes an empty target as no answer" in found.stderr
    found = ran(
        "train", str(other), "-o", str(tmp_path / "run"), "--epochs", "2", "-q",
        "--set", "bad_rows=skip", "--hidden", "8",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    model = charseq.load(tmp_path / "run")
    assert all(one.prediction for one in model.predict(["abca", "d eab", "e fca"]))
