"""Inference needs click, NumPy and safetensors only; any other missing package is one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from frozen import FIXTURES

from charseq.errors import MissingExtraError, require

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch", "pandas", "sentencepiece", "tqdm", "rapidfuzz", "regex", "pyarrow", "openpyxl", "odf",
    "matplotlib", "optuna", "jaxtyping", "beartype", "huggingface_hub",
)  # fmt: skip
"""Packages that an install for inference does not have."""

PROGRAM = """
import sys
from importlib.abc import MetaPathFinder

absent = set(sys.argv.pop(1).split(","))

class Absent(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from charseq.cli.main import main
main()
"""


def charseq(folder: Path, *words: str, absent: tuple[str, ...] = HEAVY) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command line without some packages."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(absent), *words],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_texts_are_answered(tmp_path: Path) -> None:
    assert charseq(tmp_path, "predict", "-m", "dates", "3. März 2021") == (0, "2021-03-03\n", "")
    code, out, err = charseq(tmp_path, "predict", "3 May 2020")
    assert (code, out, err.count("\n")) == (0, "2020-05-03\n", 1)
    assert "comes with charseq" in err
    words = charseq(tmp_path, "predict", "-m", "sentences", "I love machine")
    assert words == (0, "learning\n", "")
    code, out, _ = charseq(tmp_path, "score", "-m", "sentences", "I love you.")
    assert code == 0
    assert out.startswith("-11.")


@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "in.jsonl", "in.txt"])
def test_files_are_converted(tmp_path: Path, name: str) -> None:
    row = '{"source": "3 May 2020"}' if name == "in.jsonl" else "3 May 2020"
    head = "" if name in ("in.jsonl", "in.txt") else "source\n"
    (tmp_path / name).write_text(f"{head}{row}\n")
    column = ["--column", "source"] if head else []
    code, out, _ = charseq(tmp_path, "convert", name, "-o", "-", *column)
    assert code == 0
    assert "2020-05-03" in out


def test_runs_and_data_are_looked_at(tmp_path: Path) -> None:
    assert charseq(tmp_path, "info", "dates")[0] == 0
    assert charseq(tmp_path, "verify", "dates")[0] == 0
    assert charseq(tmp_path, "verify", str(FIXTURES / "hard"))[0] == 0
    (tmp_path / "pairs.tsv").write_text("".join(f"a{n}\tb{n}\n" for n in range(20)))
    code, out, err = charseq(tmp_path, "check", "pairs.tsv")
    assert (code, err) == (0, "")
    assert "pairs.tsv" in out or "20" in out
    (tmp_path / "lines.txt").write_text("I love machine learning.\nYou love it.\n" * 20)
    code, out, _ = charseq(tmp_path, "evaluate", "lines.txt", "-m", "sentences", "--split", "all")
    assert code == 0
    assert "perplexity" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("train pairs.tsv --epochs 1", "training needs torch: pip install torch"),
        ("train pairs.tsv --epochs 1 --dry-run", "training needs torch: pip install torch"),
        ("tune pairs.tsv", "searching for settings needs optuna: pip install optuna"),
        ("gradients", "this needs torch: pip install torch"),
        ("predict -m dates --device cuda x", "device cuda needs torch: pip install torch"),
        ("evaluate pairs.tsv -m dates", "evaluating pairs needs rapidfuzz: pip install rapidfuzz"),
        ("evaluate pairs.tsv -m dates -m sentences", "runs of pairs can be compared"),
        (
            "predict -m hf://a/b x",
            "a model of the Hugging Face Hub needs huggingface_hub: pip inst",
        ),
        ("push dates a/b", "charseq push needs huggingface_hub: pip install "),
        ("convert -m dates book.xlsx", "reading Excel needs pandas: pip install pandas"),
        ("convert -m dates book.ods", "reading OpenDocument needs pandas: pip install pandas"),
        ("convert -m dates book.parquet", "needs pyarrow: pip install pyarrow"),
        ("convert -m dates book.feather", "reading Feather needs pandas: pip install pandas"),
    ],
)
def test_the_rest_says_in_one_line_what_to_install(tmp_path: Path, words: str, told: str) -> None:
    (tmp_path / "pairs.tsv").write_text("".join(f"a{n}\tb{n}\n" for n in range(20)))
    for ending in ("xlsx", "ods", "parquet", "feather"):
        (tmp_path / f"book.{ending}").write_bytes(b"PK")
    code, out, err = charseq(tmp_path, *words.split())
    assert (code, out) in ((1, ""), (2, ""))
    assert err.startswith("charseq: error: ")
    assert told in err
    assert err.count("\n") == 1
    assert list(tmp_path.glob("checkpoints")) == []


@pytest.mark.parametrize("package", ["numpy", "safetensors"])
def test_without_what_inference_needs_there_is_one_line(tmp_path: Path, package: str) -> None:
    told = f"charseq: error: this needs {package}: pip install {package}\n"
    assert charseq(tmp_path, "predict", "x", absent=(package,)) == (1, "", told)


def test_packages_are_looked_for_without_being_loaded() -> None:
    require("sys", "this")
    require("optuna", "this")
    with pytest.raises(MissingExtraError, match=r"^this needs nothing_such: pip install nothing_s"):
        require("nothing_such", "this")
    sys.modules["nothing_such"] = None  # type: ignore[assignment]
    try:
        with pytest.raises(MissingExtraError, match="pip install nothing_such"):
            require("nothing_such", "this")
    finally:
        del sys.modules["nothing_such"]
