"""Runs with random weights for the tests of exporters, of every network that can be exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from arrays import save_arrays

from charseq.confidence.calibration import Calibration
from charseq.confidence.confidence import Confidence
from charseq.confidence.familiarity import Familiarity, Ngrams
from charseq.confidence.memory import Memory
from charseq.config import cells_of, configure, defaults
from charseq.data.text.tokenizer import Tokenizer
from charseq.data.text.vocabulary import EOS, Vocabulary
from charseq.inference.loading import shapes_of
from charseq.runs import folder as checkpoint

SOURCE = Vocabulary("characters", "NFC", "NFC", tuple("abcdeé'"))
WITH_FEATURES = Vocabulary("characters", "NFD", "NFC", tuple("abcde"), ("V", "PST", "N(SG)"))
TARGET = Vocabulary("characters", "NFC", "NFC", tuple("uvwxyzäö"))
SPACED = Vocabulary("spaced", "NFC", "NFC", ("HH", "AH0", "L", "OW1"))
MARKED = Vocabulary("decomposed", "NFD", "NFC", ("a", "u", "k", "\u25cc\u02d0", "\u02c8\u25cc"))
WORDS = Tokenizer(
    Vocabulary("spaced", "NFC", "NFC", ("the", "cat", "can't", "sat", ",", ".", "(", ")", "Öl")),
    punctuation="split",
)
SMALL = {"hidden": 12, "embedding": 8, "layers": 1, "epochs": 1}
TEXTS = ["a", "abcde", "Abba", "édé'a", "x", "", "ab" * 12, "e\u0301d", "cab dab", "\u2603", "bead"]
LINES = ["", "the cat", "the c", "the cat sat, ", "can't", "(the", "unseen the", "ö", "Ö", "s"]


def facts() -> dict[str, Any]:
    """What every run says of itself."""
    return {
        "format": 1, "finished": True, "parameters": 7, "seconds": 1.5, "epochs": 2.0,
        "scores": {}, "versions": {"python": "3"}, "start": None,
        "data": {"name": "toy", "fingerprint": "f" * 64, "columns": "", "examples": {"train": 9}},
    }  # fmt: skip


def weights_of(about: dict[str, Any]) -> dict[str, np.ndarray]:
    """Random weights with which outputs differ in length and come to an end."""
    draw, made = np.random.default_rng(3), {}
    for name, shape in shapes_of(about).items():
        scale = 1.0 if "embedding" in name else 1.5 / np.sqrt(shape[-1])
        made[name] = draw.normal(0, scale, shape).astype(np.float32)
        if name.endswith("output_bias"):
            made[name][EOS] += 1.0
    return made


def publish(folder: Path, about: dict[str, Any]) -> Path:
    """The run in a folder."""
    files = {"about.json": json.dumps(about).encode()}
    checkpoint.publish(folder, {**files, "model.safetensors": save_arrays(weights_of(about))})
    return folder


def pairs_run(
    folder: Path, *, source: Vocabulary = SOURCE, target: Vocabulary = TARGET,
    more: dict[str, Any] | None = None, **settings: Any,
) -> Path:  # fmt: skip
    """A run of pairs."""
    config = configure({**SMALL, "direction": "forward", **settings}, base=defaults("pairs"))
    sides = {"source": source.to_json(), "target": target.to_json(), "limits": [0, 2, 4, 9]}
    about = {**facts(), "settings": config.to_json(), **sides, **(more or {})}
    if config.ensemble > 1:
        about["members"] = [
            {"seed": number, "cell": cell, "scores": {}, "seconds": 1.0, "epochs": 1}
            for number, cell in enumerate(cells_of(config), 1)
        ]
    return publish(folder, about)


def words_run(folder: Path, units: Tokenizer = WORDS, **settings: Any) -> Path:
    """A run that predicts words."""
    told = {"units": units.kind, "case": units.case, "punctuation": units.punctuation}
    config = configure({**SMALL, **told, **settings}, base=defaults("next-word"))
    scores = {"scores": {"perplexity": 12.5}, "units": units.to_json()}
    return publish(folder, {**facts(), "settings": config.to_json(), **scores})


def measures() -> dict[str, Any]:
    """A calibration, a confidence and a memory, as runs store them."""
    calibration = Calibration(0.7, -2.0, 9.0, 1.0, 100)
    texts = ["abc", "cab", "abba", "dead", "bead"]
    familiarity = Familiarity.of(Ngrams.count(texts), texts)
    weighted = Familiarity(
        familiarity.ngrams, familiarity.surprise, familiarity.strangest, familiarity.longest,
        familiarity.shortest, (-1.0, -0.5, -0.2, -0.3, 2.0),
    )  # fmt: skip
    confidence = Confidence(calibration, weighted, (0.9, -0.8, -0.3, -0.2, -0.1, 0.4), 9, 50.0, 5.0)
    seen = [("abba\t", "uvu", 3.0), ("abba\t", "w", 1.0), ("bead\t", "xyz", 2.0)]
    return {
        "calibration": calibration.to_json(),
        "confidence": confidence.to_json(),
        "memory": Memory.count(seen).to_json(),
    }


def lines_of(path: Path, texts: list[str]) -> Path:
    """A file with these texts."""
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path
