"""The models that come with charseq do what their cards say."""

from __future__ import annotations

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
