"""Runs with random weights for the tests of exporters, of every network that can be exported."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from arrays import save_arrays

from charseq.confidence.calibration import Calibration
from charseq.confidence.confidence import Confidence
from charseq.confidence.familiarity import Familiarity, Ngrams
from charseq.confidence.joint_ngrams import JointNgrams
from charseq.confidence.memory import Memory
from charseq.confidence.rescoring import Rescoring
from charseq.confidence.word_list import WordList
from charseq.confidence.word_prior import WordPrior
from charseq.config import cells_of, configure, defaults
from charseq.data.text.tokenizer import Tokenizer
from charseq.data.text.vocabulary import EOS, Vocabulary
from charseq.export.verify import made_texts
from charseq.inference.loading import shapes_of
from charseq.inference.predictor import load
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
WEIGHED: dict[str, dict[str, Any]] = {
    "forward": {},
    "backward": {"direction": "backward", "cell": "lstm"},
    "both directions": {"ensemble": 2, "direction": "auto"},
    "cut outputs": {"empty_targets": True, "length_penalty": 1.5},
}
"""Settings of runs with joint n-grams."""
LINES = ["", "the cat", "the c", "the cat sat, ", "can't", "(the", "unseen the", "ö", "Ö", "s"]


def facts() -> dict[str, Any]:
    """What every run says of itself."""
    return {
        "format": 1, "finished": True, "parameters": 7, "seconds": 1.5, "epochs": 2.0,
        "scores": {}, "versions": {"python": "3"}, "start": None,
        "data": {"name": "toy", "fingerprint": "f" * 64, "columns": "", "examples": {"train": 9}},
    }  # fmt: skip


def weights_of(about: dict[str, Any], *, advances: bool = False) -> dict[str, np.ndarray]:
    """Random weights with which outputs differ in length and come to an end.

    ``advances``: hard attention rarely inserts, so that most outputs end before their limit.
    """
    draw, made = np.random.default_rng(3), {}
    for name, shape in shapes_of(about).items():
        scale = 1.0 if "embedding" in name else 1.5 / np.sqrt(shape[-1])
        made[name] = draw.normal(0, scale, shape).astype(np.float32)
        if name.endswith("output_bias"):
            made[name][EOS] += 1.0
            made[name][: len(made[name]) // 2 if advances else 0] -= 2.0
    return made


def publish(folder: Path, about: dict[str, Any], *, advances: bool = False) -> Path:
    """The run in a folder."""
    weights = save_arrays(weights_of(about, advances=advances))
    files = {"about.json": json.dumps(about).encode(), "model.safetensors": weights}
    checkpoint.publish(folder, files)
    return folder


def pairs_run(
    folder: Path, *, source: Vocabulary = SOURCE, target: Vocabulary = TARGET,
    more: dict[str, Any] | None = None, advances: bool = False, **settings: Any,
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
    return publish(folder, about, advances=advances)


def weighed_run(folder: Path, *, weight: float = 0.8, **settings: Any) -> Path:
    """A run of pairs with joint n-grams, which prefer the last outputs that its networks find."""
    settings = {"attention": "hard", "tie_embeddings": False, "advances": True, **settings}
    more = settings.pop("more", {})
    model: Any = load(pairs_run(folder.with_name("plain"), **settings))
    translator, ngrams = model.translator, {}
    for group in translator.direction_groups:
        sources, outputs = [], []
        for text in made_texts(translator.source, 9, 60):
            ids = translator.encode(*translator.parts(text), backward=group.backward)
            (found,) = translator.search([ids], 4, group)
            ended = [one.ids for one in found if not one.truncated][-2:]
            sources += [ids] * len(ended)
            outputs += ended
        ngrams[group.backward] = JointNgrams.count(sources, outputs, translator.actions)
    stored = {"ngrams": Rescoring(ngrams, weight).to_json()}
    return pairs_run(folder, more={**more, **stored}, **settings)


def trained_run(folder: Path, ensemble: int) -> tuple[Path, list[str]]:
    """A run that was taught to write C as K before A, else as S; and texts for it.

    Its networks are of one epoch and know the letters, its joint n-grams know what is before.
    """
    from charseq.training.train import train

    draw = random.Random(5)
    words = sorted({"".join(draw.choices("abc", k=draw.randint(3, 8))) for _ in range(1200)})
    draw.shuffle(words)
    pairs = [f"{word}\t{word.replace('ca', 'ka').replace('c', 's').upper()}" for word in words]
    folder.mkdir(parents=True)
    lines_of(folder / "dev.tsv", pairs[:200])
    lines_of(folder / "train.tsv", pairs[200:800])
    settings = {"attention": "hard", "hidden": 4, "embedding": 4, "epochs": 1, "beam": 5}
    more = {"batch_size": 64, "learning_rate": 0.002, "ensemble": ensemble}
    config = configure({**settings, **more}, base=defaults("pairs"))
    train(folder, run=folder / "run", config=config)
    return folder / "run", words[:40]


def with_words(folder: Path, texts: list[str]) -> Path:
    """A run whose list of words prefers the worst of its candidates."""
    plain: Any = load(pairs_run(folder.with_name("plain"), attention="soft"))
    words = [(one.candidates[-1].prediction, 5.0) for one in plain.predict(texts, n=4)]
    listed = WordPrior(WordList.count(words), (1.0, -30.0, 0.0, 0.0, 0.0), rows=100)
    return pairs_run(folder, attention="soft", more={"words": listed.to_json()})


def without_ngrams(run: Path, texts: list[str]) -> list[str]:
    """The answers of a run by its networks alone."""
    model: Any = load(run)
    model.translator = model.translator.rescored(None)
    return [one.prediction for one in model.predict(texts)]


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
