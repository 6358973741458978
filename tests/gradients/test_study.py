"""Journeys of gradients: the shipped run and small recurrences, for programs and for people."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from charseq.config import configure, defaults
from charseq.data.batches import pad
from charseq.data.text.vocabulary import BOS, EOS, SPECIALS
from charseq.errors import MissingExtraError, UsageError
from charseq.gradients import study
from charseq.inference.loading import read_run
from charseq.inference.predictor import load
from charseq.training import train

DATES = Path(__file__).parents[2] / "checkpoints" / "dates"
TEXT = "3. März 2021"


@pytest.fixture(scope="module")
def found() -> study.Study:
    return study.study_run(DATES, TEXT)


def test_the_trainable_model_is_the_one_that_predicts() -> None:
    """The probability that torch gives to the prediction is the one that NumPy gives."""
    contents = read_run(DATES)
    answer = load(DATES).predict([TEXT])[0]
    source, target = contents.source.encode(TEXT), contents.target.encode(answer.prediction)
    given = (pad([np.array(source)]), np.array([len(source)]), pad([np.array([BOS, *target])]))
    logits = study.trainable(contents).eval()(*map(torch.from_numpy, given)).detach()
    logits[..., [0, 1, 3]] = -torch.inf  # never written
    logs = logits[0].log_softmax(dim=-1)
    score = sum(float(logs[place, symbol]) for place, symbol in enumerate([*target, EOS]))
    assert score == pytest.approx(answer.candidates[0].score, rel=1e-4)


def test_a_run_tells_what_reaches_each_symbol(found: study.Study) -> None:
    facts = json.loads(json.dumps(found.facts, allow_nan=False))
    assert facts["prediction"] == "2021-03-03"
    assert facts["inputs"] == list(TEXT)
    assert facts["outputs"] == [*"2021-03-03", "<end>"]
    received = np.array(facts["gradients"])
    assert received.shape == (len(facts["outputs"]), len(facts["inputs"]))
    assert (received > 0).all()
    # the last digit of the day reads the day, the year reads the year
    shares = received / received.sum(axis=1, keepdims=True)
    assert shares[9].argmax() < 2
    assert shares[2].argmax() >= len(TEXT) - 4
    assert [one["name"] for one in facts["flows"]] == [
        "encoder 1 forward",
        "encoder 1 backward",
        "decoder 1",
    ]


def test_lines_show_the_text_and_the_tables(found: study.Study) -> None:
    assert found.lines[0] == "3. März 2021 => 2021-03-03"
    assert any(line.split()[:1] == ["<end>"] for line in found.lines)
    assert any("encoder 1 backward" in line for line in found.lines)


def test_a_text_without_symbols_is_refused() -> None:
    with pytest.raises(UsageError, match="no symbols"):
        study.study_run(DATES, "")


def test_a_run_that_predicts_words_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"a b{k}\n" for k in range(40)))
    small = {"hidden": 4, "embedding": 4, "epochs": 1, "min_count": 1, "device": "cpu"}
    train.train(text, run=tmp_path / "run", config=configure(small, base=defaults("next-word")))
    with pytest.raises(UsageError, match=f"^{tmp_path / 'run'} predicts words; "):
        study.study_run(tmp_path / "run", "a b")


@pytest.fixture(scope="module")
def walking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with hard attention and features, hardly trained."""
    folder = tmp_path_factory.mktemp("study")
    words = ["".join(letters) for letters in itertools.product("abc", repeat=4)]
    rows = [f"{word}\t{tag}\t{word.upper()}{tag}\n" for word in words for tag in ("x", "y")]
    (folder / "forms.tsv").write_text("".join(rows), encoding="utf-8")
    small = {
        "hidden": 6, "embedding": 5, "epochs": 1, "device": "cpu", "attention": "hard",
        "columns": "source,features,target", "threads": 1, "direction": "forward",
    }  # fmt: skip
    train.train(folder / "forms.tsv", run=folder / "run", config=configure(small))
    return folder / "run"


def test_a_run_with_hard_attention_tells_its_actions(walking: Path, tmp_path: Path) -> None:
    """An arrow where it goes on; its input has an end, and features behind it."""
    found = study.study_run(walking, "abca\ty")
    facts = json.loads(json.dumps(found.facts, allow_nan=False))
    assert facts["inputs"] == ["a", "b", "c", "a", "<end>", "y"]
    assert "".join(facts["outputs"]).count("→") == 4
    assert facts["outputs"][-1] == "<end>"
    answer = load(walking).predict(["abca\ty"], beam=1)[0].prediction
    assert "".join(facts["outputs"][:-1]).replace("→", "") == facts["prediction"] == answer
    received = np.array(facts["gradients"])
    assert received.shape == (len(facts["outputs"]), 6)
    assert (received > 0).all()
    assert [one["name"] for one in facts["flows"]][-1] == "decoder 1"
    assert len(facts["flows"][-1]["logs"]) == 1 + len(facts["outputs"])
    assert found.lines[0] == f"abca\ty => {answer}"
    assert [path.exists() for path in found.draw(tmp_path)] == [True, True]


def test_a_run_that_writes_from_the_end_is_told_in_its_own_order(
    walking: Path, tmp_path: Path
) -> None:
    small = {**read_run(walking).config.to_json(), "direction": "backward"}
    data = walking.parent / "forms.tsv"
    train.train(data, run=tmp_path / "run", config=configure(small))
    facts = study.study_run(tmp_path / "run", "abcc\ty").facts
    assert facts["inputs"] == ["c", "c", "b", "a", "<end>", "y"]
    answer = load(tmp_path / "run").predict(["abcc\ty"], beam=1)[0].prediction
    assert facts["prediction"] == answer
    assert "".join(facts["outputs"][:-1]).replace("→", "") == answer[::-1]
    assert facts["outputs"][-1] == "<end>"


def test_the_trainable_model_walks_as_the_one_that_predicts(walking: Path) -> None:
    """The probability that torch gives to the best walk is the one that NumPy gives."""
    contents = read_run(walking)
    translator = cast("Model", load(walking)).translator
    source = translator.encode("abca", "y")
    best = translator.search([source], 1)[0][0]
    given = (pad([np.array(source)]), np.array([len(source)]), pad([np.array([BOS, *best.ids])]))
    logits = study.trainable(contents).eval()(*map(torch.from_numpy, given)).detach()[0]
    size = len(contents.target)
    logits[:, [0, 1, 3, *range(size, size + SPECIALS)]] = -torch.inf  # never written
    score, going = 0.0, 4
    for place, action in enumerate([*best.ids, *[EOS] * (not best.truncated)]):
        logits[place, EOS if going else slice(size, None)] = -torch.inf
        score += float(logits[place].log_softmax(dim=-1)[action])
        going -= action >= size
    assert score == pytest.approx(best.score, rel=1e-4)


def test_cells_are_told_by_scale(tmp_path: Path) -> None:
    small = study.study_cells(["tanh", "lstm"], scales=[0.5, 2.0], steps=12, hidden=5)
    facts = json.loads(json.dumps(small.facts, allow_nan=False))
    assert [(one["cell"], one["name"]) for one in facts["flows"]] == [
        (cell, name) for cell in ("tanh", "lstm") for name in ("0.5", "2", "start")
    ]
    assert {len(one["logs"]) for one in facts["flows"]} == {13}
    assert np.array(facts["terms"]["lstm"]).shape == (12, 12)
    drawn = small.draw(tmp_path / "new" / "folder")
    assert [path.name for path in drawn] == ["flow.png", "terms.png"]
    for path in drawn:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_pictures_of_a_run(found: study.Study, tmp_path: Path) -> None:
    names = ["run-characters.png", "run-flow.png"]
    assert [path.name for path in found.draw(tmp_path)] == names


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    study.require_plots()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match="pip install matplotlib"):
        study.require_plots()
