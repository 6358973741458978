"""Finite weights whose sums are not: one line that names the run, and never an answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import save_arrays
from frozen import FIXTURES
from hostile.models.corpus import ABOUT, WEIGHTS, seal

import charseq
from charseq.cli.main import run
from charseq.decoding import ensemble
from charseq.errors import CheckpointError
from charseq.inference.verify import verify
from charseq.kernels import library
from charseq.runs.weights import load_arrays

PAIRS = [
    ["predict", "-m", "RUN", "3.4.77"],
    ["predict", "-m", "RUN", "--beam", "1", "3.4.77"],
    ["predict", "-m", "RUN", "-n", "3", "--json", "3.4.77"],
    ["predict", "-m", "RUN", "--length-penalty", "1", "3.4.77"],
    ["convert", "FILE", "-m", "RUN", "-o", "OUT"],
    ["evaluate", "DATA", "-m", "RUN"],
]
WORDS = [
    ["predict", "-m", "RUN", "I love"],
    ["predict", "-m", "RUN", ""],
    ["predict", "-m", "RUN", "-n", "3", "--json", "I love"],
    ["predict", "-m", "RUN", "--complete", "I lo"],
    ["predict", "-m", "RUN", "--generate", "2", "I"],
    ["predict", "-m", "RUN", "--generate", "2", "--top-p", "0.5", "I"],
    ["score", "-m", "RUN", "I love"],
    ["score", "--json", "-m", "RUN", "I love"],
    ["convert", "FILE", "-m", "RUN", "-o", "OUT"],
    ["evaluate", "LINES", "-m", "RUN"],
]


def overflowing(base: str, folder: Path, value: float = 3e38) -> Path:
    """A copy of a run, all of whose weights are so large; an ensemble of two copies of "hard"."""
    shutil.copytree(FIXTURES / ("hard" if base == "ensemble" else base), folder)
    weights = load_arrays((folder / WEIGHTS).read_bytes())
    weights = {name: np.full_like(array, value) for name, array in weights.items()}
    about: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
    if base == "ensemble":
        weights = ensemble.join([weights, weights])
        about["settings"] |= {"ensemble": 2, "direction": "auto"}
        about["members"] = [
            {"seed": number, "cell": "gru", "scores": {}, "seconds": 1, "epochs": 1}
            for number in range(2)
        ]
    if base == "words":  # characters: words are searched for
        about["settings"]["units"] = "characters"
        symbols = [" ", *map(chr, range(97, 123))]
        symbols += [chr(0x4E00 + n) for n in range(len(weights["output_bias"]) - 4 - len(symbols))]
        about["units"]["vocabulary"] |= {"kind": "characters", "symbols": symbols}
    (folder / WEIGHTS).write_bytes(save_arrays(weights))
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    seal(folder)
    return folder


@pytest.fixture(params=["compiled", "plain"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":
        monkeypatch.setattr(library, "find", lambda: None)
    elif library.find() is None:
        pytest.skip("the library is not built here")
    return request.param


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    ("base", "value"),
    [
        ("hard", 3e38),
        ("soft", 3e38),
        ("soft", -3e38),
        ("ensemble", 3e38),
        ("words", 3e38),
        ("known words", -3e38),
    ],
)
def test_one_line_and_no_answer(
    base: str, value: float, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    folder = tmp_path / "run"
    if base == "known words":
        shutil.copytree(FIXTURES / "words", folder)
        arrays = load_arrays((folder / WEIGHTS).read_bytes())
        changed = {name: np.full_like(array, value) for name, array in arrays.items()}
        (folder / WEIGHTS).write_bytes(save_arrays(changed))
        seal(folder)
    else:
        overflowing(base, folder, value)
    assert verify(folder).faults == []
    (tmp_path / "texts.txt").write_text("3.4.77\nI love\n", encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.tsv").write_text("3.4.77\tx\n", encoding="utf-8")
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "test.txt").write_text("I love\n", encoding="utf-8")
    named = {"RUN": "run", "FILE": "texts.txt", "DATA": "data", "LINES": "lines", "OUT": "out.txt"}
    for words in WORDS if "words" in base else PAIRS:
        code = run([str(tmp_path / named[word]) if word in named else word for word in words])
        out, err = capsysbinary.readouterr()
        told = f"charseq: error: {folder}: its weights overflow: no probability is a number\n"
        assert (code, out, err.decode().splitlines(keepends=True)[-1]) == (1, b"", told), words
        assert not (tmp_path / "out.txt").exists()


def test_a_session_says_so_as_well(tmp_path: Path) -> None:
    folder = overflowing("words", tmp_path / "words")
    with np.errstate(all="ignore"):
        model: Any = charseq.load(folder)
        session = model.session()
        with pytest.raises(CheckpointError, match="its weights overflow"):
            session.predict()


def test_no_other_line_is_printed_by_the_program(tmp_path: Path) -> None:
    """NumPy would warn of each overflow."""
    folder = overflowing("soft", tmp_path / "run")
    done = subprocess.run(
        [sys.executable, "-m", "charseq", "predict", "-m", str(folder), "3.4.77"],
        env={"CHARSEQ_KERNELS": "off", "PYTHONPATH": str(FIXTURES.parent.parent)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
