"""Every network that can be exported answers from its graphs as from the run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported_runs import (
    LINES,
    MARKED,
    SPACED,
    TEXTS,
    WEIGHED,
    WITH_FEATURES,
    lines_of,
    measures,
    pairs_run,
    trained_run,
    weighed_run,
    with_words,
    without_ngrams,
    words_run,
)

from charseq.data.text.vocabulary import Vocabulary
from charseq.errors import CharseqError, MissingExtraError, SettingError, UsageError
from charseq.export import onnx as exporter
from charseq.export.onnx import program, to_onnx
from charseq.export.runtime import joint_ngrams
from charseq.export.runtime import predict as runtime
from charseq.inference.predictor import load

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

CELLS = ("tanh", "residual", "gru", "lstm")
NETWORKS: dict[str, dict[str, Any]] = {
    **{f"{cell} {kind}": {"cell": cell, "attention": kind}
       for cell in CELLS for kind in ("soft", "hard", "none")},
    "two layers": {"cell": "lstm", "attention": "soft", "layers": 2},
    "two layers, hard": {"cell": "residual", "attention": "hard", "layers": 2},
    "untied": {"attention": "soft", "tie_embeddings": False},
    "a prior": {"attention": "hard", "alignment_prior": True},
    "backward": {"attention": "hard", "direction": "backward"},
    "empty outputs": {"attention": "soft", "empty_targets": True},
    "a length penalty": {"attention": "soft", "length_penalty": 1.5},
    "greedy": {"attention": "soft", "beam": 1},
    "an ensemble": {"attention": "soft", "ensemble": 3, "cells": "gru,lstm"},
    "both directions": {"attention": "hard", "ensemble": 3, "direction": "auto"},
}  # fmt: skip


def check(run: Path, folder: Path, texts: list[str], **options: Any) -> dict[str, Any]:
    """Export a run; its answers, with all candidates and facts, are those of the run."""
    told = to_onnx(run, folder, texts=lines_of(folder.parent / "texts", texts), **options)
    ours, theirs = load(run).predict(texts, n=4), runtime.load(folder).predict(texts, n=4)
    for own, other in zip(ours, theirs, strict=True):
        assert [one.text for one in other.candidates] == [c.prediction for c in own.candidates]
        assert [one.probability for one in other.candidates] == pytest.approx(
            [c.probability for c in own.candidates], abs=1e-4
        )
        assert other.source == own.source
        assert (other.prediction, other.truncated) == (own.prediction, own.truncated)
        assert other.unknown == own.unknown
        assert other.familiarity == pytest.approx(own.familiarity, abs=1e-9)
    return told


@pytest.mark.parametrize("settings", NETWORKS.values(), ids=NETWORKS)
def test_the_answers_are_those_of_the_run(settings: dict[str, Any], tmp_path: Path) -> None:
    run = pairs_run(tmp_path / "run", **settings)
    told = check(run, tmp_path / "out", TEXTS)
    assert (told["texts"], told["equal"]) == (len(TEXTS), len(TEXTS))
    assert 0 < told["difference"] < 1e-5


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_features_are_read(kind: str, tmp_path: Path) -> None:
    run = pairs_run(tmp_path / "run", source=WITH_FEATURES, attention=kind)
    texts = ["abc\tV;PST", "abc\tN(SG)", "é\tV", "a\tN(SG,X);V", "dab\tunseen", "abc\t"]
    check(run, tmp_path / "out", texts)
    with pytest.raises(ValueError, match="expected one tab"):
        runtime.load(tmp_path / "out").predict(["abc"])


@pytest.mark.parametrize("target", [SPACED, MARKED], ids=["spaced", "decomposed"])
def test_phones_are_read_and_written(target: Vocabulary, tmp_path: Path) -> None:
    run = pairs_run(tmp_path / "run", source=target, target=target, attention="soft")
    texts = ["HH AH0", "a\u02d0 ku", "\u02c8a\u02d0 k", "  L  OW1 ", "k \u02c8 u"]
    check(run, tmp_path / "out", texts)


def test_probabilities_are_those_of_the_run(tmp_path: Path) -> None:
    run = pairs_run(tmp_path / "run", attention="soft", more=measures())
    check(run, tmp_path / "out", [*TEXTS, "abba", "bead"])


@pytest.mark.parametrize("settings", WEIGHED.values(), ids=WEIGHED)
def test_joint_ngrams_weigh_the_answers(settings: dict[str, Any], tmp_path: Path) -> None:
    run = weighed_run(tmp_path / "run", **settings)
    told = check(run, tmp_path / "out", TEXTS)
    assert told["equal"] == len(TEXTS)
    found = [one.prediction for one in runtime.load(tmp_path / "out").predict(TEXTS)]
    assert found != without_ngrams(run, TEXTS)


def test_joint_ngrams_are_beside_all_other_measures(tmp_path: Path) -> None:
    run = weighed_run(tmp_path / "run", source=WITH_FEATURES)
    texts = ["abc\tV;PST", "abc\tN(SG)", "é\tV", "a\tN(SG,X);V", "dab\tunseen", "abc\t"]
    check(run, tmp_path / "out", texts)
    assert [one.prediction for one in load(run).predict(texts)] != without_ngrams(run, texts)
    run = weighed_run(tmp_path / "measured", more=measures())
    check(run, tmp_path / "more", [*TEXTS, "abba", "bead"])


def test_joint_ngrams_of_a_training_are_exported(tmp_path: Path) -> None:
    """Networks in both directions, which know little; with the n-grams nearly all is right."""
    run, texts = trained_run(tmp_path / "data", ensemble=2)
    told = check(run, tmp_path / "out", texts)
    assert told["equal"] == len(texts)
    right = [text.replace("ca", "ka").replace("c", "s").upper() for text in texts]
    found = [one.prediction for one in runtime.load(tmp_path / "out").predict(texts)]
    hits, before = (
        sum(one == target for one, target in zip(answers, right, strict=True))
        for answers in (found, without_ngrams(run, texts))
    )
    assert hits > before + 5


def test_another_hash_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = weighed_run(tmp_path / "run")
    right = joint_ngrams.mixed
    monkeypatch.setattr(joint_ngrams, "mixed", lambda *given: right(*given) ^ np.uint32(1))
    with pytest.raises(CharseqError, match="nothing was written"):
        to_onnx(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_list_of_words_is_left_out_and_told(tmp_path: Path) -> None:
    run = with_words(tmp_path / "run", TEXTS)
    told: list[str] = []
    found = to_onnx(
        run, tmp_path / "out", texts=lines_of(tmp_path / "t", TEXTS), report=told.append
    )
    assert [line for line in told if line.startswith("the list of words is left out: ")]
    assert found["equal"] == len(TEXTS), "compared with the model without its list"
    model: Any = load(run)
    answers = [one.prediction for one in runtime.load(tmp_path / "out").predict(TEXTS)]
    assert answers != [one.prediction for one in model.predict(TEXTS)]
    model.translator = model.translator.having()
    assert answers == [one.prediction for one in model.predict(TEXTS)]


@pytest.mark.parametrize("cell", [*CELLS, "mlp"])
@pytest.mark.parametrize("stateful", [False, True])
def test_words_are_those_of_the_run(cell: str, stateful: bool, tmp_path: Path) -> None:
    run = words_run(
        tmp_path / "run", cell=cell, layers=1 if cell == "mlp" else 2, stateful=stateful
    )
    to_onnx(run, tmp_path / "out", texts=lines_of(tmp_path / "texts", LINES))
    ours, theirs = load(run), runtime.load(tmp_path / "out")
    answers = [
        (ours.predict(LINES, n=5), theirs.predict(LINES, n=5)),
        (ours.complete(LINES, n=5), theirs.predict(LINES, n=5, complete=True)),
    ]
    for own, other in (pair for both in answers for pair in zip(*both, strict=True)):
        assert [c.text for c in other.candidates] == [c.prediction for c in own.candidates]
        assert [c.probability for c in other.candidates] == pytest.approx(
            [c.probability for c in own.candidates], abs=1e-5
        )
        assert other.unknown == own.unknown


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("make", [pairs_run, words_run])
def test_a_smaller_precision_is_that_of_its_weights(
    precision: str, make: Callable[..., Path], tmp_path: Path
) -> None:
    run = make(tmp_path / "run", hidden=64, embedding=64)
    lines = lines_of(tmp_path / "texts", TEXTS)
    whole, packed = (
        to_onnx(run, tmp_path / one, precision=one, texts=lines) for one in ("fp32", precision)
    )
    sizes = [
        sum(size for name, size in one["files"].items() if name.endswith(".onnx"))
        for one in (whole, packed)
    ]
    assert sizes[1] < (0.6 if precision == "fp16" else 0.4) * sizes[0]
    assert packed["difference"] < 1e-5
    assert packed["texts"] == len(TEXTS)


def test_the_folder_answers_without_charseq(tmp_path: Path) -> None:
    run = pairs_run(tmp_path / "run", attention="hard")
    to_onnx(run, tmp_path / "out", texts=lines_of(tmp_path / "texts", TEXTS))
    alone = (
        "import sys, runpy; sys.modules['charseq'] = None; "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    call = [sys.executable, "-c", alone, str(tmp_path / "out" / "predict.py")]
    (own,) = load(run).predict(["abcde"], n=2)
    said = subprocess.run(
        [*call, "-n", "2", "abcde"], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    assert said == "".join(
        f"abcde\t{number}\t{one.prediction}\t{one.probability:.6f}\n"
        for number, one in enumerate(own.candidates, 1)
    )
    said = subprocess.run(
        [*call, "--json"], input="abcde\n\n", capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    first, second = map(json.loads, said.splitlines())
    assert (first["prediction"], second["source"]) == (own.prediction, "")


def test_the_runner_is_one_sound_file() -> None:
    text = program()
    compile(text, "predict.py", "exec")
    assert "charseq.export" not in text.replace("``charseq.export", "")
    assert text.count("from __future__") == 1


def test_a_graph_that_is_wrong_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch's exporter has it: the reset gate of a GRU before the product."""
    from charseq.export.graph import GraphBuilder

    before = GraphBuilder.ops

    def ops(self: Any, kind: str, *inputs: Any, **attributes: Any) -> Any:
        attributes.pop("linear_before_reset", None)
        return before(self, kind, *inputs, **attributes)

    monkeypatch.setattr(GraphBuilder, "ops", ops)
    run = pairs_run(tmp_path / "run", cell="gru", attention="soft")
    with pytest.raises(CharseqError, match="differs from the engine by"):
        to_onnx(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_answers_that_differ_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "LENGTH_MARGIN", 0.1)
    run = pairs_run(tmp_path / "run", attention="soft")
    with pytest.raises(CharseqError, match=r"answers are equal.*nothing was written"):
        to_onnx(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    run = pairs_run(tmp_path / "run")
    texts = lines_of(tmp_path / "texts", TEXTS)
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        to_onnx(run, out, texts=texts)
    to_onnx(run, out, texts=texts, force=True)
    assert (out / "mine").read_text() == "mine"
    (out / "decoder.onnx").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"decoder\.onnx is not the graph"):
        runtime.load(out)
    (out / "model.json").unlink()
    (out / "model.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is a link"):
        to_onnx(run, out, texts=texts, force=True)
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(UsageError, match="is a link"):
        to_onnx(run, tmp_path / "link", texts=texts)
    assert not list(out.glob("*.part"))


def test_wrong_arguments_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = pairs_run(tmp_path / "run")
    with pytest.raises(SettingError, match="expected fp32, fp16, int8"):
        to_onnx(run, tmp_path / "out", precision="int4")
    monkeypatch.setattr(exporter, "require", _missing)
    with pytest.raises(MissingExtraError, match="pip install"):
        to_onnx(run, tmp_path / "out")


def _missing(package: str, purpose: str) -> None:
    raise MissingExtraError(package, purpose)
