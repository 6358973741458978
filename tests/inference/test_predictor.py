"""Models: loaded from run folders, checked, copied; their answers do not change."""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from arrays import save_arrays
from frozen import FIXTURES
from frozen import TEXTS as FROZEN

from charseq.confidence.calibration import Calibration
from charseq.config import configure, defaults
from charseq.data.text.alignment import Actions
from charseq.data.text.tokenizer import Tokenizer
from charseq.data.text.vocabulary import BOS, EOS, Vocabulary
from charseq.decoding import next_word_numpy, seq2seq_gpu
from charseq.decoding.seq2seq_native import NativeSeq2Seq
from charseq.decoding.seq2seq_numpy import NumpySeq2Seq, shapes_of
from charseq.errors import CheckpointError, DataError, SettingError, UsageError
from charseq.inference.language_model import LanguageModel
from charseq.inference.loading import language_model
from charseq.inference.predictor import PairsModel, fingerprint, load
from charseq.models import device
from charseq.runs import folder as checkpoint

ROOT = Path(__file__).parents[2]


# --- a run folder


SOURCE = Vocabulary("characters", "NFC", "NFC", tuple("abcdefgh"))
TARGET = Vocabulary("characters", "NFC", "NFC", tuple("xyz"))
TAGGED = Vocabulary("characters", "NFC", "NFC", tuple("abcdefgh"), features=("V", "N"))
CALIBRATION = Calibration(temperature=0.5, rest=-1.0, ece_before=20.0, ece_after=2.0, examples=200)
SMALL = {"hidden": 12, "embedding": 7, "layers": 1, "beam": 3, "attention": "soft"}


def run_of(
    folder: Path, *, source: Vocabulary = SOURCE, scale: float = 1.0, **settings: Any
) -> Path:
    """A finished run with random weights."""
    config = configure({**SMALL, **settings})
    shapes = shapes_of(
        cell=config.cell, embedding=config.embedding, hidden=config.hidden, layers=config.layers,
        attention=config.attention == "soft", pointer=(hard := config.attention == "hard"),
        prior=hard and config.alignment_prior,
        tied=config.tie_embeddings, sources=len(source),
        targets=Actions(len(TARGET)).size if hard else len(TARGET),
    )  # fmt: skip
    draw = np.random.default_rng(1)
    weights = {
        name: (scale * draw.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()
    }
    about = {
        "format": 1, "finished": True, "settings": config.to_json(), "source": source.to_json(),
        "target": TARGET.to_json(), "limits": [0, 2, 3, 4], "parameters": 1, "seconds": 2.0,
        "epochs": 3.0, "scores": {}, "versions": {}, "trained_at": "2026-03-01T10:00:00Z",
        "data": {
            "name": "toy", "fingerprint": "f" * 64, "columns": "", "examples": {"train": 1},
        },
    }  # fmt: skip
    publish(folder, about, weights)
    return folder


def publish(folder: Path, about: Any, weights: dict[str, np.ndarray]) -> None:
    files = {"about.json": json.dumps(about).encode()}
    checkpoint.publish(folder, {**files, "model.safetensors": save_arrays(weights)})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("models") / "toy")


TEXTS = ["a", "abc", "hgfedcba", "bb", "cab", "ß", "dddd", "abcd", "hh", "gab"]


def test_a_run_is_loaded_by_name_or_from_the_environment(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = load(run)
    assert (model.path, model.name, model.has_features) == (run, "toy", False)
    assert model.config.beam == 3
    assert model.metadata["limits"] == [0, 2, 3, 4]
    monkeypatch.setenv("CHARSEQ_MODEL", str(run))
    assert load().path == run
    monkeypatch.delenv("CHARSEQ_MODEL")
    monkeypatch.chdir(tmp_path)
    run_of(tmp_path / "checkpoints" / "here", source=TAGGED)
    assert load().path == Path("checkpoints") / "here"
    assert load().has_features
    with pytest.raises(CheckpointError, match=r"^none: there is no such run; there are"):
        load("none")


def test_the_beam_is_the_runs_unless_given(run: Path) -> None:
    model = load(run)
    usual = model.predict(TEXTS, n=3)
    assert usual == model.predict(TEXTS, n=3, beam=3)
    assert model.predict(TEXTS) != model.predict(TEXTS, beam=1)
    wide = model.predict(TEXTS, n=9, beam=9)
    assert any(len(a.candidates) > len(b.candidates) for a, b in zip(wide, usual, strict=True))


@pytest.mark.parametrize("name", ["n", "beam", "batch_size"])
@pytest.mark.parametrize("value", [0, -1])
def test_counts_below_one_are_refused(run: Path, name: str, value: int) -> None:
    with pytest.raises(SettingError, match=f"{name} is {value}, expected 1 or more"):
        load(run).predict(["a"], **{name: value})


def test_neighbours_and_batches_change_no_bit(run: Path) -> None:
    model = load(run)
    wanted = {text: model.predict([text], n=4)[0] for text in TEXTS}
    for size in (1, 2, 3, 64):
        for texts in (TEXTS, TEXTS[::-1], [*TEXTS, *TEXTS[:3]]):
            assert model.predict(texts, n=4, batch_size=size) == [wanted[text] for text in texts]


def test_candidates_are_sorted_and_their_scores_are_true(run: Path) -> None:
    model = load(run)
    network = model.translator.direction_groups[0].network
    for answer in model.predict(TEXTS, n=8):
        scores = [one.score for one in answer.candidates]
        ended = scores[answer.truncated :]  # a truncated one is first by what may come after it
        assert ended == sorted(ended, reverse=True)
        assert len({one.prediction for one in answer.candidates}) == len(scores)
        assert 1 <= len(scores) <= 8
        assert sum(one.probability for one in answer.candidates) <= 1 + 1e-6
        assert answer.prediction == answer.candidates[0].prediction
        assert answer.probability == answer.candidates[0].probability
        for one in answer.candidates:
            state = network.start([SOURCE.encode(answer.source)])
            total, before = 0.0, BOS
            for symbol in [*TARGET.encode(one.prediction), EOS]:
                logs, state = network.step(np.array([before]), state)
                total, before = total + float(logs[0, symbol]), symbol
            assert one.score == pytest.approx(total, abs=1e-5)
            assert one.probability == pytest.approx(math.exp(total), rel=1e-4)


def test_an_unfinished_run_with_a_model_can_be_used(run: Path, tmp_path: Path) -> None:
    about, weights = checkpoint.load_model(run)
    publish(tmp_path / "half", {**about, "finished": False}, weights)
    assert load(tmp_path / "half").predict(TEXTS) == load(run).predict(TEXTS)
    checkpoint.publish(tmp_path / "early", {"resume.a.json": b"{}"})
    with pytest.raises(CheckpointError, match=r"early/about\.json: is not part of this run$"):
        load(tmp_path / "early")


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh", "residual"])
def test_a_run_with_hard_attention_is_used_like_any(
    cell: str, direction: str, tmp_path: Path
) -> None:
    """No bit depends on batches; a candidate's score is that of all its walks in the beam."""
    backward = direction == "backward"
    how = {"attention": "hard", "cell": cell, "direction": direction}
    run = run_of(tmp_path / "hard", source=TAGGED, scale=0.5, **how)
    model = load(run)
    texts = [f"{text}\t{tags}" for text in TEXTS for tags in ("V", "")]
    alone = {text: model.predict([text], n=16)[0] for text in texts}
    for size in (1, 3, 64):
        for some in (texts, texts[::-1], texts[::5]):
            assert model.predict(some, n=16, batch_size=size) == [alone[text] for text in some]
    actions = Actions(len(TARGET))
    sums = 0
    for text in texts:
        ids = model.translator.encode(*model.translator.parts(text), backward=backward)
        walks = model.translator.search([ids], 16)[0]
        step = -1 if backward else 1
        for one in alone[text].candidates:
            spelt = {w: TARGET.decode(actions.target_ids(w.ids)[::step]) for w in walks}
            same = [walk for walk, told in spelt.items() if told == one.prediction]
            first = walks[0]
            whole = [w for w in same if w is first or not first.truncated or w.ids != first.ids]
            total = sum(math.exp(walk.score + walk.end) for walk in whole)
            assert one.probability == pytest.approx(total, rel=1e-5)
            sums += len(same) > 1
        if not walks[0].truncated:
            going = {sum(action >= actions.symbols for action in walk.ids) for walk in walks}
            assert going == {len(text.partition("\t")[0])}
    assert sums


# --- the user's own pairs


def test_the_lexicon_answers_before_the_model(run: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.tsv"
    own.write_text("abc\tword\nabc\tother\nß\tss\n", encoding="utf-8")
    plain, model = load(run), load(run, lexicon=own)
    answers = model.predict(["abc", "ß", "cab", "abc"], n=1)
    assert [one.prediction for one in answers[:2]] == ["word", "ss"]
    assert [one.origin for one in answers] == ["lexicon", "lexicon", "model", "lexicon"]
    assert answers[1].unknown == []
    assert answers[2] == plain.predict(["cab"])[0]
    assert answers[3] == answers[0]
    (several,) = model.predict(["abc"], n=4)
    assert [one.prediction for one in several.candidates[:2]] == ["word", "other"]
    assert several.candidates[2:] == plain.predict(["abc"], n=4)[0].candidates[:2]


def test_a_threshold_withholds_answers_of_the_model_alone(run: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.tsv"
    own.write_text("abc\tOWN\nabc\tOTHER\n", encoding="utf-8")
    model: Any = load(run, lexicon=own)
    texts = ["abc", "cab", "hgf", "aabb", ""]
    known = model.predict(texts, n=2)
    between = sorted(one.probability for one in known[1:4])[1]
    found = model.predict(texts, n=2, threshold=between)
    assert sum(one.unsure for one in found) == 1, "the least probable of three"
    for before, after in zip(known, found, strict=True):
        unsure = before.origin == "model" and before.probability < between
        assert after == replace(
            before, unsure=unsure, prediction="" if unsure else before.prediction
        )
    assert found[0].probability == 0.5
    with pytest.raises(SettingError, match=r"^threshold is 0, expected a number above 0"):
        model.predict(["a"], threshold=0)


def test_a_lexicon_knows_features(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", source=TAGGED, columns="source,features,target")
    own = tmp_path / "own.tsv"
    own.write_text("abc\tV;N\tword\n", encoding="utf-8")
    model = load(run, lexicon=own)
    answers = model.predict(["abc\tV;N", "abc\tV"])
    assert answers[0].prediction == "word"
    assert answers[0].source == "abc\tV;N"
    assert answers[1] == load(run).predict(["abc\tV"])[0]
    with pytest.raises(SettingError, match="has 0 tabs, expected one"):
        model.predict(["abc\tV;N", "abc"])
    turned = tmp_path / "turned.tsv"
    turned.write_text("word\tabc\tV;N\n", encoding="utf-8")
    again = load(run, lexicon=turned, lexicon_columns="target,source,features")
    assert again.predict(["abc\tV;N"]) == answers[:1]


def test_a_run_is_calibrated_and_prefers_lengths_as_it_says(run: Path, tmp_path: Path) -> None:
    about, weights = checkpoint.load_model(run)
    told = {**about, "calibration": CALIBRATION.to_json()}
    told["settings"] = {**about["settings"], "length_penalty": 3.0}
    publish(tmp_path / "told", told, weights)
    model = load(run)
    plain = model.predict(TEXTS, n=3)
    same = load(tmp_path / "told", length_penalty=0.0).predict(TEXTS, n=3)
    for before, after in zip(plain, same, strict=True):
        scores = [one.score for one in before.candidates]
        assert [(one.prediction, one.score) for one in after.candidates] == [
            (one.prediction, one.score) for one in before.candidates
        ]
        if before.truncated:  # what goes on after the first candidate is another one
            first = model.translator.encode(before.source, "")
            ((cut, *_),) = model.translator.search([first], 3)
            scores.append(cut.score + math.log1p(-math.exp(cut.end)))
        chances = CALIBRATION.probabilities(scores)[: len(before.candidates)]
        assert [one.probability for one in after.candidates] == pytest.approx(chances)
    longer = load(tmp_path / "told").predict(TEXTS)
    assert longer == [
        one.reaching(1e-9) for one in load(tmp_path / "told", length_penalty=3.0).predict(TEXTS)
    ]
    count = sum(len(one.prediction) for one in longer)
    assert count > sum(len(one.prediction) for one in same)


def test_neighbours_and_batches_change_no_bit_of_what_is_calibrated(
    run: Path, tmp_path: Path
) -> None:
    about, weights = checkpoint.load_model(run)
    publish(tmp_path / "told", {**about, "calibration": CALIBRATION.to_json()}, weights)
    model = load(tmp_path / "told")
    alone = [model.predict([text], n=3)[0] for text in TEXTS]
    for size in (1, 3, 64):
        assert model.predict(TEXTS[::-1], n=3, batch_size=size) == alone[::-1]


# --- models by strangers


def changed(**changes: Any) -> Any:
    return lambda about, weights: about.update(changes)


def setting(**changes: Any) -> Any:
    return lambda about, weights: about["settings"].update(changes)


def side(**changes: Any) -> Any:
    return lambda about, weights: about["source"].update(changes)


def calibration(**changes: Any) -> Any:
    return changed(calibration={**CALIBRATION.to_json(), **changes})


def weight(name: str, *shape: int) -> Any:
    return lambda about, weights: weights.update({name: np.zeros(shape, np.float32)})


HOSTILE = {
    "no source": (lambda about, weights: about.pop("source"), "about.json"),
    "source is a list": (changed(source=[1]), "about.json"),
    "target of another field": (lambda about, weights: about["target"].update(x=1), "about.json"),
    "symbols are numbers": (side(symbols=[1, 2]), "about.json"),
    "symbols twice": (side(symbols=["a", "a"]), "about.json"),
    "another kind": (side(kind="python"), "about.json"),
    "more symbols than rows": (side(symbols=[*"abcdefghi"]), "model.safetensors"),
    "settings are none": (changed(settings=None), "about.json"),
    "unknown setting": (setting(code="import os"), "about.json"),
    "hidden is a list": (setting(hidden=[1]), "about.json"),
    "hidden is enormous": (setting(hidden=2**40), "about.json"),
    "hidden is another": (setting(hidden=4096, layers=8), "model.safetensors"),
    "layers are infinite": (setting(layers=1e400), "about.json"),
    "another cell": (setting(cell="lstm"), "model.safetensors"),
    "an unknown cell": (setting(cell="os.system"), "about.json"),
    "no attention": (setting(attention=False), "model.safetensors"),
    "not tied": (setting(tied=False), "model.safetensors"),
    "a weight too long": (weight("bridge.bias", 13), "model.safetensors"),
    "a weight of other axes": (weight("bridge.bias", 12, 1), "model.safetensors"),
    "a weight without axes": (weight("bridge.bias"), "model.safetensors"),
    "a weight too many": (weight("x" * 999, 1), "model.safetensors"),
    "a weight less": (lambda about, weights: weights.pop("bridge.bias"), "model.safetensors"),
    "no weights": (lambda about, weights: weights.clear(), "model.safetensors"),
    "no limits": (lambda about, weights: about.pop("limits"), "about.json"),
    "limits are none": (changed(limits=[]), "about.json"),
    "limits are an object": (changed(limits={"0": 1}), "about.json"),
    "limits are texts": (changed(limits=["1"]), "about.json"),
    "limits are true": (changed(limits=[True]), "about.json"),
    "limits are fractions": (changed(limits=[1.5]), "about.json"),
    "limits are negative": (changed(limits=[-1]), "about.json"),
    "limits are enormous": (changed(limits=[2**31]), "about.json"),
    "calibration is a list": (changed(calibration=[1]), "about.json"),
    "temperature is nan": (calibration(temperature=math.nan), "about.json"),
    "temperature is 0": (calibration(temperature=0.0), "about.json"),
    "temperature is negative": (calibration(temperature=-1.0), "about.json"),
    "temperature is text": (calibration(temperature="1" * 999), "about.json"),
    "length penalty is text": (setting(length_penalty="long"), "about.json"),
    "a newer format": (changed(format=99), "about.json"),
    "a format of text": (changed(format="1"), "about.json"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_is_refused_in_one_line(name: str, run: Path, tmp_path: Path) -> None:
    spoil, file = HOSTILE[name]
    about, weights = checkpoint.load_model(run)
    spoil(about, weights)
    publish(tmp_path / "bad", about, weights)
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "bad")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/bad/{file}: ")
    assert len(message) < 500 + len(str(tmp_path))
    assert "\n" not in message


# --- no torch

PROGRAM = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "pandas"):
            raise ImportError(f"{name} is not for this path")

sys.meta_path.insert(0, Refuse())
import charseq
assert "numpy" not in sys.modules
run, texts, out = sys.argv[1:]
model = charseq.load(run)
assert model.predict(["abc"], n=2)[0].source == "abc"
from charseq.cli.check import inspect_data
from charseq.evaluation.evaluate import evaluate
from charseq.inference.convert import convert
from charseq.inference.describe import info
convert(model, texts, out, report=lambda line: None)
assert evaluate(texts, model=model)["examples"] == 2
info(run)
inspect_data(texts)
assert not {"torch", "pandas"} & sys.modules.keys()
"""


def test_using_a_model_never_loads_torch(run: Path, tmp_path: Path) -> None:
    pairs, out = tmp_path / "pairs.tsv", tmp_path / "out.tsv"
    pairs.write_text("abc\tx\nb\ty\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(run), str(pairs), str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    predicted = [one.prediction for one in load(run).predict(["abc", "b"])]
    rows = [line.split("\t") for line in out.read_text(encoding="utf-8").split("\n")[:-1]]
    assert [row[2] for row in rows] == predicted


def words_of(folder: Path, **changes: Any) -> Path:
    """A finished run that predicts words, with random weights."""
    units = Tokenizer(Vocabulary("spaced", "NFC", "NFC", ("I", "love", "you")))
    small = {"hidden": 12, "embedding": 7, **changes}
    config = configure(small, base=defaults("next-word"))
    shapes = next_word_numpy.shapes_of(
        cell=config.cell, embedding=7, hidden=12, layers=1, context=3, tied=True,
        symbols=len(units.vocabulary),
    )  # fmt: skip
    draw = np.random.default_rng(1)
    weights = {name: draw.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    about = {
        "format": 1, "finished": True, "settings": config.to_json(), "units": units.to_json(),
        "parameters": 1, "seconds": 2.0, "epochs": 3.0, "scores": {}, "versions": {},
        "data": {
            "name": "toy", "fingerprint": "f" * 64, "columns": "", "examples": {"train": 1},
        },
    }  # fmt: skip
    publish(folder, about, weights)
    return folder


WORDS_PROGRAM = (
    PROGRAM.partition("import charseq\n")[0]
    + """
import charseq
run, text = sys.argv[1:]
model = charseq.load(run)
assert model.predict(["I love"], n=2)[0].source == "I love"
assert model.complete(["I lo"]) and model.generate(["I"], most=3) and model.score(["I love you"])
from charseq.evaluation.evaluate import evaluate
from charseq.inference.describe import info
assert evaluate(text, model=model)["words"] == 7
info(run)
assert not {"torch", "pandas"} & sys.modules.keys()
"""
)


def test_predicting_words_never_loads_torch(tmp_path: Path) -> None:
    run, text = words_of(tmp_path / "words"), tmp_path / "lines.txt"
    text.write_text("I love you\nyou love\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WORDS_PROGRAM, str(run), str(text)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("running", "begin"), [(False, BOS), (True, EOS)])
def test_a_next_word_run_begins_lines_as_in_training(
    running: bool, begin: int, tmp_path: Path
) -> None:
    run = words_of(tmp_path / "words", running=running, cell="mlp", beam=3)
    model = load(run)
    assert isinstance(model, LanguageModel)
    assert (model.path, model.name, model.has_features) == (run, "words", False)
    assert (model.config.beam, model.network.begin, model.network.cell) == (3, begin, "mlp")
    weights = checkpoint.load_model(run)[1]
    again = language_model(run, model.metadata, model.config, model.tokenizer, weights)
    assert again.predict(["I", ""], n=3) == model.predict(["I", ""], n=3)


def test_networks_of_every_kind_are_loaded(tmp_path: Path) -> None:
    for number, settings in enumerate(
        [{"cell": "lstm", "layers": 2}, {"cell": "tanh", "tied": False}, {"cell": "residual"},
         {"attention": "none"}, {"attention": "hard"}, {"attention": "hard", "layers": 2}]
    ):  # fmt: skip
        model = load(run_of(tmp_path / str(number), scale=0.3, **settings))
        assert isinstance(
            model.translator.direction_groups[0].network, NumpySeq2Seq | NativeSeq2Seq
        )
        assert model.predict(["abc"])[0].candidates
        assert model.config == configure(settings, base=configure(SMALL))


# --- what decides the answers


def test_a_fingerprint_tells_models_lexicons_and_penalties_apart(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("to\tx\n", encoding="utf-8")
    (tmp_path / "b.tsv").write_text("to\ty\n", encoding="utf-8")
    hard, soft = FIXTURES / "hard", FIXTURES / "soft"
    given: list[dict[str, Any]] = [
        {"run": hard},
        {"run": soft},
        {"run": FIXTURES / "words"},
        {"run": hard, "length_penalty": 0.5},
        {"run": hard, "lexicon": tmp_path / "a.tsv"},
        {"run": hard, "lexicon": tmp_path / "b.tsv"},
    ]
    found = [fingerprint(load(**one)) for one in given]
    assert len(set(found)) == len(found)
    assert found == [fingerprint(load(**one)) for one in given]
    shutil.copytree(hard, tmp_path / "copy")
    assert fingerprint(load(tmp_path / "copy")) == found[0], "wherever it lies"


# --- on a GPU


def test_a_missing_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingError, match="no CUDA device here: use device='cpu'"):
        load(FIXTURES / "hard", device="cuda")
    with pytest.raises(SettingError, match=r"words predicts words, on the CPU only"):
        load(FIXTURES / "words", device="cuda")


@pytest.mark.parametrize("run", ["hard", "soft"])
def test_a_network_that_searches_by_itself_answers_the_same(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of a GPU, on a CPU: answers, their order and, nearly, their probabilities."""
    monkeypatch.setattr(device, "choose_device", lambda _: torch.device("cpu"))
    monkeypatch.setattr(seq2seq_gpu, "MAX_ROWS", 40)
    plain, other = load(FIXTURES / run), load(FIXTURES / run, device="cuda")
    assert isinstance(other.translator.direction_groups[0].network, seq2seq_gpu.GpuEnsemble)
    texts = FROZEN[run] * 2
    for one, two in zip(plain.predict(texts, n=3), other.predict(texts, n=3), strict=True):
        assert [c.prediction for c in one.candidates] == [c.prediction for c in two.candidates]
        scores = [[c.score for c in answer.candidates] for answer in (one, two)]
        np.testing.assert_allclose(*scores, rtol=1e-4)


# --- texts of every kind, and copies of a model


def test_a_generator_is_read_once_and_its_texts_are_answered() -> None:
    model = load(FIXTURES / "hard")
    texts = FROZEN["hard"][:3]
    expected = model.predict(texts)
    assert model.predict(text for text in texts) == expected
    assert model.predict(texts[0]) == expected[:1]
    with pytest.raises(UsageError, match=r"^texts\[1\] is None, expected a str$"):
        model.predict([texts[0], None])  # type: ignore[list-item]


@pytest.mark.parametrize("name", ["hard", "words"])
def test_a_copy_of_a_model_answers_as_the_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(FIXTURES / name, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    model = load("run")
    stored = pickle.dumps(model)
    assert len(stored) < 1000, "the path, not the weights"
    monkeypatch.chdir("/")  # a worker's folder may be another one
    other = pickle.loads(stored)
    assert type(other) is type(model)
    assert other.predict(["a"], n=3) == model.predict(["a"], n=3)
    monkeypatch.chdir(tmp_path)
    assert copy.deepcopy(model).predict(["a"]) == model.predict(["a"])
    assert pickle.loads(pickle.dumps(model.predict))(["a"]) == model.predict(["a"])


def test_a_copy_has_the_options_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "own.tsv").write_text("source\ttarget\nabc\tmine\n")
    model = load(FIXTURES / "hard", lexicon=tmp_path / "own.tsv", length_penalty=0.5)
    other = pickle.loads(pickle.dumps(model))
    assert other.config.length_penalty == 0.5
    assert other.predict("abc")[0].prediction == "mine"
    assert fingerprint(other) == fingerprint(model)
    stored = pickle.dumps(model)
    (tmp_path / "own.tsv").write_text("source\ttarget\nabc\tother\n")
    with pytest.raises(CheckpointError, match="has changed since it was pickled"):
        pickle.loads(stored)


def test_a_run_that_has_changed_is_not_taken_for_the_pickled_one(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(FIXTURES / "hard", run)
    stored = pickle.dumps(load(run))
    shutil.rmtree(run)
    shutil.copytree(FIXTURES / "soft", run)
    with pytest.raises(CheckpointError, match="has changed since it was pickled"):
        pickle.loads(stored)
    shutil.rmtree(run)
    with pytest.raises(CheckpointError, match="no such run"):
        pickle.loads(stored)


# --- a rule


@pytest.fixture(scope="module")
def dates() -> Any:
    return load("dates")


def test_answers_of_a_run_keep_the_rule(dates: Any, tmp_path: Path) -> None:
    texts = ["3. März 2021", "31 June 2020", "no date", "le 14 juillet 1789"]
    days = tmp_path / "days.txt"
    days.write_text("2020-06-30\n1789-07-14\n", encoding="utf-8")
    for beam in (1, 5):
        for answer in dates.predict(texts, n=beam, beam=beam, check="date"):
            assert len(answer.candidates) == beam
            for one in answer.candidates:
                if one.prediction:  # this model may say under any rule that there is no answer
                    date.fromisoformat(one.prediction)
            assert math.fsum(one.probability for one in answer.candidates) <= 1 + 1e-9
        answers = dates.predict(texts, beam=beam, within=days)
        assert {one.prediction for one in answers} <= {"", "2020-06-30", "1789-07-14"}
        assert answers[3].prediction == "1789-07-14"
    best = [one.prediction for one in dates.predict(texts, pattern=r"\d{4}-0[67]-\d\d")]
    greedy = dates.predict(texts, beam=1, pattern=r"\d{4}-0[67]-\d\d")
    assert [one.prediction for one in greedy][1:] == best[1:]
    assert greedy[0].prediction.startswith("2021-0")
    # a text without an answer has none under a rule; another is not refused for the rule alone
    assert best[0].startswith(("2021-06-", "2021-07-"))
    assert best[1:] == ["", "", "1789-07-14"]
    # a rule of one call leaves the model as it was
    assert dates.predict(["31 June 2020"])[0].prediction == ""
    assert load("dates", check="date").predict(texts) == dates.predict(texts, check=["date"])


def test_an_answer_under_a_rule_does_not_depend_on_its_company(dates: Any) -> None:
    texts = [f"{day}. März {year}" for day in range(1, 32) for year in (1999, 2021)] + ["no date"]
    whole = dates.predict(texts, n=3, pattern=r"\d+-0[1-5]-[0-3]*")
    assert len({one.prediction for one in whole}) > 10
    for size in (1, 7):
        some = dates.predict(texts[::5], n=3, pattern=r"\d+-0[1-5]-[0-3]*", batch_size=size)
        assert some == whole[::5]


def answers_of(model: Any, **rule: Any) -> list[str]:
    """The candidates for a date, without that of no answer."""
    (found,) = model.predict(["30 June 2020"], n=3, **rule)
    return [one.prediction for one in found.candidates if one.prediction]


def test_rules_are_in_fingerprints_and_copies(dates: Any, tmp_path: Path) -> None:
    days = tmp_path / "days.txt"
    days.write_text("2020-06-30\n", encoding="utf-8")
    made = [dates.constrained(pattern="2.*"), dates.constrained(within=days), dates]
    assert len({fingerprint(one) for one in made}) == 3
    copied = pickle.loads(pickle.dumps(made[1]))
    assert answers_of(copied) == ["2020-06-30"]
    days.write_text("2020-06-29\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match="its rule has changed"):
        pickle.loads(pickle.dumps(made[1]))
    # the next call reads the file again
    assert answers_of(dates, within=days) == ["2020-06-29"]
    assert {one[0] for one in answers_of(made[1].constrained(pattern="3.*"))} == {"3"}


def test_lexicon_answers_outside_of_the_rule_are_not_used(tmp_path: Path) -> None:
    own = tmp_path / "own.tsv"
    own.write_text("today\t2024-01-01\t1\ntoday\tnow\t3\nsoon\tlater\t1\n", encoding="utf-8")
    model = load("dates", lexicon=own, lexicon_columns="source,target,weight")
    assert model.predict(["today"])[0].prediction == "now"
    today, soon = model.predict(["today", "soon"], n=2, check="date")
    first = today.candidates[0]
    assert (first.prediction, round(first.probability, 9)) == ("2024-01-01", 1.0)
    assert [one.origin for one in today.candidates] == ["lexicon", "model"]
    assert soon.origin == "model"
    assert soon.prediction != "later"


def test_a_language_model_takes_no_rule() -> None:
    with pytest.raises(UsageError, match="a rule is for runs of pairs"):
        load("sentences", pattern="a")


def test_a_list_of_words_is_named_at_use(run: Path, tmp_path: Path) -> None:
    listed = tmp_path / "words.txt"
    listed.write_text("one\ntwo\n")
    without, model = load(run), load(run, target_words=listed)
    assert isinstance(without, PairsModel)
    assert isinstance(model, PairsModel)
    assert (without.word_prior, without.beam) == (None, without.config.beam)
    assert model.word_prior is not None
    assert model.beam == 20
    (note,) = model.word_prior.notes
    assert note.startswith(f"{listed}: a list of 2 words; the run was trained without one")
    assert fingerprint(model) != fingerprint(without)
    again = pickle.loads(pickle.dumps(model))
    texts = ["ab", "ba", "", "abab"]
    assert again.predict(texts, n=3) == model.predict(texts, n=3)
    for one in model.predict(texts, n=3):
        assert sum(each.probability for each in one.candidates) <= 1 + 1e-9
    listed.write_text("three\n")
    assert fingerprint(load(run, target_words=listed)) != fingerprint(model)
    with pytest.raises(DataError, match="nothere"):
        load(run, target_words=tmp_path / "nothere.txt")
