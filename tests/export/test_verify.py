"""What is compared before an export is written, and the texts that are asked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from exported_runs import MARKED, SOURCE, WITH_FEATURES, lines_of, pairs_run

from charseq.data.text.vocabulary import Vocabulary
from charseq.decoding.seq2seq_numpy import NumpySeq2Seq
from charseq.errors import CharseqError, DataError
from charseq.export import manifest, verify
from charseq.inference.prediction import Candidate, Prediction


class Batched:
    """The engine as a network that takes texts of several lengths; ``gap`` is its fault."""

    def __init__(self, engine: NumpySeq2Seq, gap: float) -> None:
        self.engine, self.gap = engine, gap

    def start(self, sources: list[list[int]]) -> list[Any]:
        return [self.engine.start([ids]) for ids in sources]

    def step(self, symbols: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        pairs = zip(symbols, states, strict=True)
        logs, after = zip(*(self.engine.step(np.array([s]), one) for s, one in pairs), strict=True)
        return np.concatenate(logs) + np.float32(self.gap), list(after)


@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("source", [SOURCE, WITH_FEATURES])
def test_a_difference_is_found(kind: str, source: Vocabulary, tmp_path: Path) -> None:
    member = manifest.read(pairs_run(tmp_path / "run", source=source, attention=kind)).groups[0]
    (one,) = member.members
    engine = NumpySeq2Seq(one.weights, cell=one.config.cell, layers=1)
    assert verify.check_seq2seq(one, "fp32", Batched(engine, 0.0), source) == 0.0
    with pytest.raises(CharseqError, match=r"differs from the engine by .*nothing was written"):
        verify.check_seq2seq(one, "fp32", Batched(engine, 1e-3), source)
    with pytest.raises(CharseqError, match="differs from the engine by inf"):
        verify.check_seq2seq(one, "fp32", Batched(engine, np.nan), source)


def prediction(*answers: tuple[str, float]) -> Prediction:
    candidates = [Candidate(text, share, -1.0) for text, share in answers]
    return Prediction("", answers[0][0], answers[0][1], [], False, candidates)


def test_answers_are_counted_and_ties_apart() -> None:
    ours = [
        prediction(("a", 0.9)),
        prediction(("a", 0.5), ("b", 0.4999)),
        prediction(("a", 0.5), ("b", 0.4)),
        prediction(("a", 0.5)),
    ]
    theirs = [
        SimpleNamespace(prediction=text, probability=share)
        for text, share in (("a", 0.8), ("b", 0.5), ("b", 0.5), ("c", 0.5))
    ]
    found = verify.agreement(["1", "2", "3", "4"], lambda _: ours, lambda _: theirs)
    assert found == (4, 1, 1, pytest.approx(0.1))
    assert not found.complete
    assert str(found).startswith("1 of 4 answers are equal, 1 more are ties; ")


def test_texts_of_a_file_end_at_their_tab(tmp_path: Path) -> None:
    path = lines_of(tmp_path / "texts", ["a b\tx", "c", ""])
    assert verify.read_texts(path, features=False) == ["a b", "c", ""]
    assert verify.read_texts(path, features=False, most=1) == ["a b"]
    with pytest.raises(DataError, match="texts:2: no tab"):
        verify.read_texts(path, features=True)
    assert verify.read_texts(path, features=True, most=1) == ["a b\tx"]
    with pytest.raises(DataError, match="has no lines"):
        verify.read_texts(lines_of(tmp_path / "none", []), features=False)


@pytest.mark.parametrize("source", [SOURCE, WITH_FEATURES, MARKED], ids=lambda one: one.kind)
def test_made_texts_are_of_the_models_symbols(source: Vocabulary) -> None:
    texts = verify.made_texts(source, 9, 200)
    assert texts == verify.made_texts(source, 9, 200)
    assert len(texts) == 200
    parts = [text.split("\t") for text in texts]
    assert {len(part) for part in parts} == {2 if source.features else 1}
    unknown = [source.unknown(*part) for part in parts]
    assert ["\u2603"] in unknown
    if source is not MARKED:  # where a mark may stand alone, which is no symbol
        assert set(map(tuple, unknown)) == {(), ("\u2603",)}
    assert len({tuple(source.encode(*part)) for part in parts}) > 100
