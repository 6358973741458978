"""The models that come with charseq do what their cards say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cores import each_core, run_on

import charseq
from charseq.inference.language_model import LanguageModel

SHIPPED = Path(__file__).parents[2] / "checkpoints"


@pytest.mark.parametrize("name", ["dates", "sentences"])
def test_a_shipped_model_is_small_and_finished(name: str) -> None:
    size = sum(path.stat().st_size for path in (SHIPPED / name).iterdir())
    assert size < 3_000_000
    assert charseq.load(SHIPPED / name).metadata["finished"]


def test_dates() -> None:
    model = charseq.load(SHIPPED / "dates")
    found = model.predict(["3. März 2021", "le 14 juillet 1789"])
    assert [one.prediction for one in found] == ["2021-03-03", "1789-07-14"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Jun 14 2016 9:25 pm", "2016-06-14"),
        ("le 3 mai 2016 à 18h30", "2016-05-03"),
        ("Invoice date: 3 March 2021", "2021-03-03"),
        ("2021-03-03T10:15:00.000Z", "2021-03-03"),
        ("März 2021", "2021-03"),
        ("2021", "2021"),
        ("2021-03-03 - 2021-03-05", "2021-03-03/2021-03-05"),
        ("31 February 2020", ""),
        ("24/7", ""),
        ("192.168.0.1", ""),
        ("3 March", ""),
        ("The quick brown fox jumps over the lazy dog", ""),
    ],
)
def test_a_string_is_read_as_a_date_only_where_it_is_one(text: str, answer: str) -> None:
    (found,) = charseq.load(SHIPPED / "dates").predict([text])
    assert found.prediction == answer
    assert not found.truncated


def test_sentences() -> None:
    model = charseq.load(SHIPPED / "sentences")
    assert isinstance(model, LanguageModel)
    assert model.predict(["I love machine"])[0].prediction == "learning"
    assert model.complete(["I love mach"])[0].prediction == "machine"
    keyboard = model.session()
    keyboard.feed("I love")
    keyboard.feed("machine")
    assert keyboard.predict().prediction == "learning"
    good, bad = model.score(["I love machine learning.", "Learning love I machine."])
    assert good.score > bad.score + 5


PROGRAM = f"""
import numpy as np
import charseq
import os
import subprocess
import sys
from pathlib import Path
for name, texts in (("dates", ["3. März 2021", "le 14 juillet"]), ("sentences", ["I love", ""])):
    model = charseq.load(Path({str(SHIPPED)!r}) / name)
    for one in model.predict(texts, n=5):
        print([(c.prediction, c.score.hex(), c.probability.hex()) for c in one.candidates])
"""


@pytest.mark.parametrize("kernels", ["compiled", "off"])
@each_core
def test_bits_of_answers_do_not_depend_on_the_number_of_threads(core: str, kernels: str) -> None:
    """In a program that loads NumPy before charseq can say anything about threads."""
    switch = {} if kernels == "compiled" else {"CHARSEQ_KERNELS": kernels}
    one, two = (run_on(core, PROGRAM, OPENBLAS_NUM_THREADS=count, **switch) for count in "12")
    assert len(one.splitlines()) == 4
    assert one == two


def test_the_models_are_in_an_installed_package(tmp_path: Path) -> None:
    """What a wheel would hold, without the compiled kernels."""
    pytest.importorskip("setuptools", minversion="77")
    root, built = SHIPPED.parent, tmp_path / "built"
    build = ["build_py", "--build-lib", os.fspath(built)]
    subprocess.run(
        [sys.executable, "-c", f"from setuptools import setup; setup(script_args={build})"],
        cwd=root, capture_output=True, check=True,
    )  # fmt: skip
    there = sorted(path.name for path in (built / "charseq" / "checkpoints").iterdir())
    assert there == ["dates", "sentences"], "and no run of the user's own"
    for name in there:
        copies = built / "charseq" / "checkpoints" / name
        assert {path.name: path.read_bytes() for path in copies.iterdir()} == {
            path.name: path.read_bytes() for path in (SHIPPED / name).iterdir() if path.is_file()
        }
        assert not copies.is_symlink()
    (tmp_path / "empty").mkdir()
    for words, answer in (
        (["predict", "-m", "sentences", "I love machine"], "learning"),
        (["predict", "-m", "dates", "3 May 2020"], "2020-05-03"),
        (["predict", "3 May 2020"], "2020-05-03"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "charseq", *words],
            cwd=tmp_path / "empty", env={**os.environ, "PYTHONPATH": os.fspath(built)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout == f"{answer}\n"
