"""Lines for people on a run, and the object behind ``charseq info``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import save_arrays
from frozen import FIXTURES

from charseq.confidence.confidence import UNCHANGED
from charseq.config import Config, configure, defaults
from charseq.data.text.alignment import Actions
from charseq.data.text.tokenizer import Tokenizer
from charseq.data.text.vocabulary import Vocabulary
from charseq.inference.describe import describe_calibration, describe_run, info
from charseq.inference.loading import read_run, shapes_of
from charseq.models.factory import build, build_next_word
from charseq.runs import folder

SHIPPED = Path(__file__).parents[2] / "checkpoints"


def metadata_of_pairs(**changes: Any) -> dict[str, Any]:
    side = Vocabulary("characters", "NFC", "NFC", tuple(map(chr, range(0x4E00, 0x4E00 + 60))))
    other = Vocabulary("spaced", "NFD", "NFC", ("a", "b"), features=("V", "N"))
    return {
        "finished": True, "epochs": 3.5, "seconds": 61.4, "parameters": 1234567,
        "scores": {"examples": 20, "exact_match": 75.0, "wer": 25.0, "ser": 12.5},
        "data": {"name": "toy", "fingerprint": "f" * 64, "examples": {"train": 4000, "dev": 1}},
        "versions": {"python": "3.11", "charseq": "0.1"},
        "source": other.to_json(), "target": side.to_json(),
        "settings": Config(hidden=32, embedding=16).to_json(), **changes,
    }  # fmt: skip


def test_a_run_is_described_with_all_settings_and_shapes() -> None:
    metadata = metadata_of_pairs()
    lines = describe_run(metadata)
    assert lines[:5] == [
        "training   finished; 3.5 epochs, 61 s",
        "scores     dev exact match 75.00 %, ser 12.50 %, 20 examples, greedy",
        "data       toy, 4,000 train, 1 dev",
        "           sha256 " + "f" * 64,
        "versions   python 3.11, charseq 0.1",
    ]
    assert lines[5] == "source     2 spaced, NFD, 2 features: a b"
    shown = " ".join(map(chr, range(0x4E00, 0x4E00 + 40)))
    assert lines[6] == f"target     60 characters, NFC: {shown} …"
    words = [line.split() for line in lines]
    first, last = lines.index("settings"), lines.index("shapes")
    listed = dict(line.split(maxsplit=1) for line in lines[first + 1 : last])
    resolved = {
        "task": "pairs", "source_symbols": "spaced", "source_form": "NFD",
        "target_symbols": "characters", "target_form": "NFC",
    }  # fmt: skip
    idle = {
        "units", "word_limit", "case", "punctuation", "word_features", "stateful", "context",
        "embedding_dropout", "recurrent_dropout", "segment", "sampled_softmax",  # of next-word
        "alignment_prior", "joint_ngrams",  # of hard attention
        "epochs", "cells", "columns", "target_words",  # not given
    }  # fmt: skip
    assert listed.keys() == metadata["settings"].keys() - idle
    assert listed.items() >= resolved.items()
    for name in listed.keys() - resolved.keys():
        assert listed[name] == str(metadata["settings"][name]).lower()
    for name, shape in shapes_of(metadata).items():
        assert [name, "×".join(map(str, shape))] in words
    assert ["target_embedding", "64×16"] in words
    assert ["source_embedding", "8×16"] in words
    assert lines[-1] == "parameters 1,234,567"


def test_an_unfinished_run_without_scores() -> None:
    lines = describe_run(metadata_of_pairs(finished=False, scores={}))
    assert lines[0].startswith("training   not finished; ")
    assert lines[1] == "scores     none yet"


@pytest.mark.parametrize(
    "settings",
    [
        {"attention": "soft"},
        {"cell": "lstm", "layers": 2, "tie_embeddings": False},
        {"cell": "tanh", "attention": "none"},
        {"attention": "hard"},
        {"cell": "residual", "layers": 3},
    ],
)
def test_the_shapes_are_those_of_the_model(settings: dict[str, Any]) -> None:
    config = configure({"hidden": 6, "embedding": 5, "layers": 1, **settings})
    targets = Actions(4 + 60).size if config.attention == "hard" else 4 + 60
    prior = np.zeros((4 + 2 + 2, targets)) if config.attention == "hard" else None
    model = build(config, sources=4 + 2 + 2, targets=targets, prior=prior)
    wanted = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert shapes_of(metadata_of_pairs(settings=config.to_json())) == wanted


def metadata_of_words(kind: str = "spaced", **settings: Any) -> dict[str, Any]:
    vocabulary = Vocabulary(kind, "NFC", "NFC", tuple("abc"))
    config = defaults("next-word").to_json() | {"hidden": 6, "embedding": 5, **settings}
    if kind != "spaced":
        config["units"] = kind
    metadata = metadata_of_pairs(
        settings=config, units=Tokenizer(vocabulary).to_json(), scores={"perplexity": 87.654}
    )
    return {name: value for name, value in metadata.items() if name not in ("source", "target")}


@pytest.mark.parametrize(("kind", "name"), [("spaced", "words"), ("characters", "characters")])
def test_a_run_that_predicts_words_is_described_by_its_symbols(kind: str, name: str) -> None:
    metadata = metadata_of_words(kind)
    lines = describe_run(metadata)
    assert lines[1] == "scores     dev perplexity 87.7 per word"
    assert lines[5] == f"symbols    3 {name}, NFC: a b c"
    assert not [line for line in lines if line.startswith(("source ", "target "))]
    words = [line.split() for line in lines]
    assert ["embedding", "7×5"] in words
    assert ["task", "next-word"] in words
    assert describe_run({**metadata, "scores": {}})[1] == "scores     none yet"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"cell": "gru", "layers": 2, "tie_embeddings": False},
        {"cell": "tanh"},
        {"cell": "residual", "layers": 3},
        {"cell": "mlp", "context": 4},
    ],
)
def test_the_shapes_of_words_are_those_of_the_model(settings: dict[str, Any]) -> None:
    metadata = metadata_of_words(**settings)
    model = build_next_word(
        configure(metadata["settings"]), counts=np.ones(7, np.int64), traits=None, samples=0
    )
    wanted = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert shapes_of(metadata) == wanted


def test_info_leaves_out_the_tables_of_ngrams(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "dates", tmp_path / "dates")
    facts, lines = info(tmp_path / "dates")
    familiarity = facts["confidence"]["familiarity"]
    assert not {"keys", "counts"} & familiarity.keys()
    assert familiarity["longest"] > 20
    assert any(line.startswith("strangers  ") for line in lines)


def test_strangers_have_a_line_of_their_own() -> None:
    calibration = {
        "temperature": 0.8, "rest": -1.7, "ece_before": 18.0, "ece_after": 2.0, "examples": 200,
    }  # fmt: skip
    judged: dict[str, Any] = {"strangers": 1480, "sure_before": 80.04, "sure_after": 1.26}
    judged["weights"] = [0.9, *UNCHANGED[1:]]
    lines = describe_calibration({"calibration": calibration, "confidence": judged})
    assert lines[1:] == [
        "strangers  1,480 texts unlike the data; answers above a half 80.0 -> 1.3 %"
    ]
    judged |= {"weights": list(UNCHANGED), "sure_after": 80.04}
    assert describe_calibration({"calibration": calibration, "confidence": judged})[1:] == [
        "strangers  1,480 texts unlike the data change no probability, but tell how familiar one is"
    ]


def test_a_calibration_is_described_in_one_line() -> None:
    found = {
        "temperature": 0.8124, "rest": -1.7, "ece_before": 18.27, "ece_after": 2.43,
        "examples": 1783,
    }  # fmt: skip
    (line,) = describe_calibration({"calibration": found})
    assert line == (
        "calibrated temperature 0.81, rest -1.70; error of probabilities 18.3 -> 2.4 %, "
        "1,783 examples"
    )
    assert describe_calibration({}) == []


@pytest.mark.parametrize("name", ["soft", "hard", "words"])
def test_info_adds_the_shapes_to_the_metadata(name: str) -> None:
    run = read_run(FIXTURES / name)
    facts, lines = info(FIXTURES / name)
    assert facts["shapes"] == {key: list(value.shape) for key, value in run.weights.items()}
    assert {key: value for key, value in facts.items() if key != "shapes"} == run.metadata
    assert lines == describe_run(run.metadata)
    assert json.loads(json.dumps(facts)) == facts


MEMORY = {
    "strength": 0.512, "rows": 1494, "right_before": 89.71, "right_after": 98.96, "left_out": 0,
    "entries": "a\t\tx\t2\nb\t\t\t1",
}  # fmt: skip


def test_a_memory_is_described_in_one_line() -> None:
    beginning = "memory     2 sources of train"
    end = ", strength 0.51; right 89.7 -> 99.0 %, 1,494 examples with such sources"
    assert describe_calibration({"memory": MEMORY}) == [beginning + end]
    assert describe_calibration({"memory": {**MEMORY, "left_out": 1234}}) == [
        f"{beginning} (1,234 rarer ones left out){end}"
    ]


def test_the_rows_that_were_merged_are_told() -> None:
    data = metadata_of_pairs()["data"] | {"rows": 60811}
    assert "data       toy, 4,000 train (distinct pairs of 60,811 rows), 1 dev" in describe_run(
        metadata_of_pairs(data=data)
    )


def test_info_counts_the_sources_of_a_memory_and_does_not_list_them(tmp_path: Path) -> None:
    about, weights = folder.load_model(FIXTURES / "hard")
    contents = {
        "about.json": json.dumps({**about, "memory": MEMORY}).encode(),
        "model.safetensors": save_arrays(weights),
    }
    folder.publish(tmp_path, contents)
    found, lines = info(tmp_path)
    assert found["memory"]["sources"] == 2
    assert "entries" not in found["memory"]
    assert any(line.startswith("memory     2 sources of train") for line in lines)
